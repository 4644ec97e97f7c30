//! Where a cluster runs: its paths, disks, processors, and how much its clients ask of it.
//!
//! Each named environment is a place that users have: a rack, two continents, a satellite, a
//! tunnel that drops long packets, an SD card, a container with a quota. It says within
//! which limits the seed draws, for each directed path and each host apart. `any` draws every
//! part from another environment, so that combinations come up that have no name.
//!
//! The environment is not a fault: it stays as it is when faults stop. So it says how long
//! a cluster in it may take for what.

use crate::node::Process;
use crate::path::{Delay, Loss, PathProfile, Rate, TooLong};
pub use crate::places::Place;
use crate::station::Work;
use fastrand::Rng;
use multipaxos::types::{ReplicaId, Time};

/// The packets of Ethernet.
pub(super) const ETHERNET: usize = 1_500;

/// One link or host that does not limit anything.
pub(super) const WIDE: u64 = 10_000_000_000;

/// A part of a core for one process, as the kernel's quotas give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The length of a period.
    pub period_us: u64,
    /// How much of it the process may run, on all cores together.
    pub share_us: u64,
}

/// How long a role's thread takes, and what it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor {
    /// What a turn of a role takes.
    pub turn_us: u64,
    /// What each input of the turn takes, in nanoseconds.
    pub input_ns: u64,
    /// The process's share, if it is bounded.
    pub quota: Option<Quota>,
}

/// How long a disk takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpeed {
    /// A sync.
    pub sync: Delay,
    /// What it writes in a second.
    pub bytes_per_s: u64,
    /// When it does nothing at all, if it ever does.
    pub stalls: Option<Stalls>,
}

/// A disk does nothing for a while, again and again. A sync that begins then waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalls {
    /// From the beginning of one stall to the next.
    pub every_us: u64,
    /// How long one lasts.
    pub lasts_us: u64,
}

impl Stalls {
    /// When a sync can begin at replica `id`, if it could `now`. Each disk stalls at times of
    /// its own.
    fn begins_at(self, now: Time, id: ReplicaId) -> Time {
        let phase_us = (id.index() as u64 + 1) * self.every_us * 3 / 8;
        let since_us = (now.0 + self.every_us - phase_us % self.every_us) % self.every_us;
        now.plus_us(self.lasts_us.saturating_sub(since_us))
    }
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// How many there are.
    pub clients: usize,
    /// How long each waits between a line that is complete and the next, on average.
    pub pause_us: u64,
    /// The least and most bytes of a line.
    pub line_bytes: (usize, usize),
}

impl Workload {
    /// The most bytes of lines in flight at once.
    pub fn in_flight_bytes(self) -> u64 {
        (self.clients * (self.line_bytes.1 + LINE_OVERHEAD_BYTES)) as u64
    }
}

/// How many view changes a run has time for, as long as there are faults.
const VIEW_CHANGES: u64 = 6;

/// What a line takes on the wire beside its bytes, give or take.
const LINE_OVERHEAD_BYTES: usize = 100;

/// An environment, as one seed has drawn it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Between two replicas: each path is drawn from these limits.
    pub between: PathLimits,
    /// Between a client and a replica.
    pub to_clients: PathLimits,
    /// What a host can send, to all others together.
    pub uplink: Option<Rate>,
    /// The processors of all hosts.
    pub processor: Processor,
    /// The disks of all hosts.
    pub disk: DiskSpeed,
    /// What the clients do.
    pub workload: Workload,
    /// The longest datagram that processes send.
    pub datagram_max: usize,
    /// The time between two heartbeats, and the shortest and longest election wait, as someone
    /// who knows the place configures them.
    pub heartbeat_us: u64,
    /// See [`Environment::heartbeat_us`].
    pub election_us: (u64, u64),
}

/// Within which limits a path is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathLimits {
    /// The least and the most of the usual latency.
    pub latency_us: (u64, u64),
    /// How latency varies on one path.
    pub variation: Variation,
    /// Whether each direction is drawn apart.
    pub asymmetric: bool,
    /// Whether packets may overtake each other.
    pub reorders: bool,
    /// The narrowest line on the way, if any is narrow.
    pub rate: Option<Rate>,
    /// The longest packet: drawn between the two.
    pub mtu: (usize, usize),
    /// What becomes of longer ones.
    pub too_long: TooLong,
    /// How packets are lost.
    pub loss: Loss,
    /// How many of a million packets arrive twice.
    pub duplicate_ppm: u32,
}

/// How latency varies on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variation {
    /// Hardly.
    Steady,
    /// From nothing to the drawn latency.
    FromNothing,
    /// Mostly the drawn one, now and then up to a second.
    HeavyTailed,
}

impl PathLimits {
    pub(super) const NEAR: PathLimits = PathLimits {
        latency_us: (50, 500),
        variation: Variation::Steady,
        asymmetric: true,
        reorders: false,
        rate: None,
        mtu: (ETHERNET, ETHERNET),
        too_long: TooLong::IsRefused,
        loss: Loss::Never,
        duplicate_ppm: 0,
    };

    /// Draws one path.
    pub fn draw(&self, rng: &mut Rng) -> PathProfile {
        let usual = rng.u64(self.latency_us.0..=self.latency_us.1);
        let latency = match self.variation {
            Variation::Steady => Delay::Between(usual, usual + usual / 20),
            Variation::FromNothing => Delay::Between(0, usual),
            Variation::HeavyTailed => Delay::HeavyTailed(usual, self.longest_us()),
        };
        PathProfile {
            latency,
            in_order: !self.reorders,
            rate: self.rate,
            mtu: rng.usize(self.mtu.0..=self.mtu.1),
            too_long: self.too_long,
            loss: self.loss,
            duplicate_ppm: self.duplicate_ppm,
        }
    }

    /// No packet is under way for longer, without its time in queues.
    pub fn longest_us(&self) -> u64 {
        let (_, most) = self.latency_us;
        match self.variation {
            Variation::Steady => most + most / 20,
            Variation::FromNothing => most,
            Variation::HeavyTailed => (20 * most).min(crate::path::LATENCY_MAX_US),
        }
    }
}

impl Environment {
    /// How long faults happen: long enough for some view changes, and at least as long as
    /// asked for.
    pub fn safety_us(&self, asked_us: u64) -> u64 {
        asked_us.max(VIEW_CHANGES * (1_000_000 + 2 * self.round_trip_us() + 3 * self.sync_us()))
    }

    /// What a host can send to one peer, if it sends the same to all `n`.
    pub(super) fn bits_per_s(&self) -> u64 {
        let uplink = self.uplink.map_or(WIDE, |rate| rate.bits_per_s);
        let path = self.between.rate.map_or(WIDE, |rate| rate.bits_per_s);
        uplink.min(path)
    }

    /// How long a full queue takes to empty.
    fn queue_us(&self) -> u64 {
        let takes = |rate: Option<Rate>| rate.map_or(0, |rate| rate.takes_us(rate.queue_bytes));
        takes(self.uplink) + takes(self.between.rate)
    }

    /// The longest round trip between two replicas, queues included.
    pub fn round_trip_us(&self) -> u64 {
        2 * (self.between.longest_us().max(self.to_clients.longest_us()) + self.queue_us())
    }

    /// How many of all datagrams the worst path loses by chance.
    pub fn loss(&self) -> f64 {
        self.between.loss.share().max(self.to_clients.loss.share())
    }

    /// How long it takes to move so many bytes to `copies` peers.
    pub fn moves_us(&self, bytes: u64, copies: u64) -> u64 {
        (bytes * copies * 8 * 1_000_000).div_ceil(self.bits_per_s())
    }

    /// When a turn of a role is over that begins `now`: its work, and its sync if it has
    /// records.
    pub fn done_at(&self, process: &mut Process, now: Time, work: Work, rng: &mut Rng) -> Time {
        let Processor { turn_us, input_ns, quota } = self.processor;
        let cpu_us = turn_us + work.inputs as u64 * input_ns / 1_000;
        let computed = process.run(now, cpu_us, quota);
        if work.records == 0 {
            return computed;
        }
        let written_us = work.record_bytes * 1_000_000 / self.disk.bytes_per_s;
        let began = self.disk.stalls.map_or(computed, |it| it.begins_at(computed, process.id()));
        began.plus_us(self.disk.sync.draw(rng) + written_us)
    }

    /// The longest sync.
    pub fn sync_us(&self) -> u64 {
        self.disk.sync.longest() + self.disk.stalls.map_or(0, |stalls| stalls.lasts_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seeds::stream;

    #[test]
    fn every_place_draws_an_environment_within_what_the_simulator_can_do() {
        for place in Place::ALL {
            for seed in 0..50 {
                let mut rng = stream(seed, "environment");
                let it = Environment::draw(*place, &mut rng);
                assert!(it.workload.clients >= 1, "{place}");
                assert!(it.sync_us() <= 5_000_000, "{place}");
                assert!(it.between.longest_us() <= 2 * crate::path::LATENCY_MAX_US, "{place}");
                let path = it.between.draw(&mut rng);
                assert!(path.latency.longest() <= it.between.longest_us(), "{place}");
            }
        }
    }

    #[test]
    fn a_sync_that_begins_in_a_stall_waits_for_its_end() {
        let stalls = Stalls { every_us: 8_000, lasts_us: 1_000 };
        // The disk of replica 0 stalls from 3 ms to 4 ms, from 11 ms to 12 ms, and so on.
        for (now, begins_at) in [(0, 0), (2_999, 2_999), (3_000, 4_000), (3_400, 4_000)] {
            assert_eq!(stalls.begins_at(Time(now), ReplicaId(0)), Time(begins_at));
            assert_eq!(stalls.begins_at(Time(now + 8_000), ReplicaId(0)), Time(begins_at + 8_000));
        }
        assert_eq!(stalls.begins_at(Time(3_400), ReplicaId(1)), Time(3_400));
        assert_eq!(stalls.begins_at(Time(6_000), ReplicaId(1)), Time(7_000));
    }

    #[test]
    fn a_drawn_combination_asks_for_no_more_than_its_paths_carry_in_a_second() {
        for seed in 0..500 {
            let it = Environment::draw(Place::Any, &mut stream(seed, "environment"));
            let in_flight = it.workload.in_flight_bytes();
            assert!(in_flight <= it.bits_per_s() / 8 || it.workload.clients == 1, "{seed}");
        }
    }
}
