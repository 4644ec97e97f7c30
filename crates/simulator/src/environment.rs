//! Where a cluster runs: its paths, disks, processors, and how much its clients ask of it.
//!
//! Each named environment is a place that users have: a rack, two continents, a satellite, a
//! tunnel that drops long packets, an SD card, a container with a quota. It says within
//! which limits the seed draws, for each directed path and each host apart. `any` draws every
//! part from another environment, so that combinations come up that have no name.
//!
//! The environment is not a fault: it stays as it is when faults stop. So it says how long
//! a cluster in it may take for what.

use crate::node::{Process, Work};
use crate::path::{Delay, Loss, PathProfile, Rate, TooLong};
use fastrand::Rng;
use multipaxos::types::Time;
use std::fmt;

/// The packets of Ethernet.
const ETHERNET: usize = 1_500;

/// One link or host that does not limit anything.
const WIDE: u64 = 10_000_000_000;

macro_rules! places {
    ($($(#[$doc:meta])* $place:ident = $name:literal,)*) => {
        /// The name of an environment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Place {
            $($(#[$doc])* $place,)*
        }

        impl Place {
            /// All places.
            pub const ALL: &[Place] = &[$(Place::$place,)*];

            /// As an option names it.
            pub fn name(self) -> &'static str {
                match self { $(Place::$place => $name,)* }
            }
        }
    };
}

places! {
    /// One rack: a gigabit, quick disks.
    Lan = "lan",
    /// Sites of one continent: 10 to 60 ms one way.
    Wan = "wan",
    /// Sites all over the world: 100 to 350 ms one way.
    Globe = "globe",
    /// A satellite: 270 ms, and losses in bursts.
    Satellite = "satellite",
    /// Each host has an uplink of 1 to 10 Mbit/s with a long queue.
    Dsl = "dsl",
    /// 56 kbit/s and packets of 576 bytes.
    Modem = "modem",
    /// Losses in bursts, and packets that overtake each other.
    Wifi = "wifi",
    /// Any time between nothing and a second.
    Jitter = "jitter",
    /// Packets longer than 1,000 to 1,400 bytes vanish.
    Tunnel = "tunnel",
    /// Syncs take 50 ms mostly, and up to 5 s.
    SdCard = "sdcard",
    /// Every sync takes 0.7 s.
    SlowDisk = "slow_disk",
    /// Each process may use a fifth of a core, and the clients send hundreds of lines a second.
    Quota = "quota",
    /// Hundreds of clients with long lines in flight.
    Crowd = "crowd",
    /// Paths of one place, disks and processors of another, clients of a third.
    Any = "any",
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    const NEAR: PathLimits = PathLimits {
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
    /// What everything is in a rack. The other places change what is special there.
    fn near() -> Self {
        Environment {
            between: PathLimits::NEAR,
            to_clients: PathLimits::NEAR,
            uplink: Some(Rate { bits_per_s: 1_000_000_000, queue_bytes: 500_000 }),
            processor: Processor { turn_us: 5, input_ns: 1_000, quota: None },
            disk: DiskSpeed { sync: Delay::Between(200, 5_000), bytes_per_s: 200_000_000 },
            workload: Workload { clients: 16, pause_us: 100_000, line_bytes: (0, 1_200) },
            datagram_max: 1_400,
            heartbeat_us: 50_000,
            election_us: (300_000, 600_000),
        }
    }

    /// Draws the environment of one seed.
    pub fn draw(place: Place, rng: &mut Rng) -> Self {
        let mut it = Environment::near();
        match place {
            Place::Lan => {
                it.workload.clients = rng.usize(1..=64);
                it.workload.pause_us = rng.u64(5_000..=200_000);
            }
            Place::Wan => {
                it.between.latency_us = (10_000, 60_000);
                it.to_clients.latency_us = (1_000, 60_000);
                it.between.loss = Loss::Independent(rng.u32(0..=2_000));
                it.uplink = Some(Rate { bits_per_s: 100_000_000, queue_bytes: 250_000 });
                it.workload.clients = rng.usize(1..=32);
            }
            Place::Globe => {
                it.between.latency_us = (100_000, 350_000);
                it.to_clients.latency_us = (10_000, 300_000);
                it.uplink = Some(Rate { bits_per_s: 100_000_000, queue_bytes: 1_000_000 });
                it.workload.clients = rng.usize(1..=16);
            }
            Place::Satellite => {
                it.between.latency_us = (240_000, 300_000);
                it.between.loss = Loss::Bursts(1_000, 200_000);
                it.uplink = Some(Rate { bits_per_s: 10_000_000, queue_bytes: 500_000 });
                it.workload = Workload { clients: 8, pause_us: 500_000, line_bytes: (0, 5_000) };
            }
            Place::Dsl => {
                let bits_per_s = rng.u64(1_000_000..=10_000_000);
                // From 50 to 500 ms.
                let queue_bytes = bits_per_s / 8 * rng.u64(50..=500) / 1_000;
                let queue_bytes = queue_bytes.max(20_000);
                it.between.latency_us = (5_000, 20_000);
                it.between.mtu = (1_492, 1_492);
                it.to_clients.latency_us = (5_000, 20_000);
                it.uplink = Some(Rate { bits_per_s, queue_bytes });
                it.workload.clients = rng.usize(1..=8);
                it.workload.pause_us = 1_000_000;
                it.workload.line_bytes = (0, [200, 5_000, 60_000][rng.usize(..3)]);
            }
            Place::Modem => {
                it.between.latency_us = (50_000, 150_000);
                it.between.mtu = (576, 576);
                it.to_clients.latency_us = (50_000, 150_000);
                it.to_clients.mtu = (576, 576);
                it.uplink = Some(Rate { bits_per_s: 56_000, queue_bytes: 8_000 });
                it.workload = Workload { clients: 1, pause_us: 2_000_000, line_bytes: (0, 200) };
                // The heartbeats of seven replicas would fill the line.
                it.heartbeat_us *= 5;
                it.election_us = (5 * it.election_us.0, 5 * it.election_us.1);
            }
            Place::Wifi => {
                it.between.latency_us = (1_000, 10_000);
                it.between.variation = Variation::HeavyTailed;
                it.between.reorders = true;
                it.between.loss = Loss::Bursts(rng.u32(1_000..=20_000), 100_000);
                it.between.duplicate_ppm = 5_000;
                it.uplink = Some(Rate { bits_per_s: 50_000_000, queue_bytes: 250_000 });
            }
            Place::Jitter => {
                it.between.latency_us = (100_000, 1_000_000);
                it.between.variation = Variation::FromNothing;
                it.between.reorders = true;
                it.workload = Workload { clients: 4, pause_us: 500_000, line_bytes: (0, 1_200) };
            }
            Place::Tunnel => {
                it.between.latency_us = (1_000, 20_000);
                it.between.mtu = (1_000, 1_400);
                it.between.too_long = TooLong::Vanishes;
                it.to_clients.mtu = (1_000, 1_500);
                it.to_clients.too_long = TooLong::Vanishes;
                it.workload.clients = 4;
                it.workload.line_bytes = (0, [1_200, 5_000, 60_000][rng.usize(..3)]);
            }
            Place::SdCard => {
                it.disk.sync = Delay::HeavyTailed(50_000, 5_000_000);
                it.disk.bytes_per_s = 5_000_000;
            }
            Place::SlowDisk => it.disk.sync = Delay::Constant(700_000),
            Place::Quota => {
                it.processor = Processor {
                    turn_us: 10,
                    input_ns: 3_000,
                    quota: Some(Quota { period_us: 100_000, share_us: 20_000 }),
                };
                it.workload = Workload { clients: 64, pause_us: 200_000, line_bytes: (0, 100) };
            }
            Place::Any => return Environment::draw_any(rng),
            Place::Crowd => {
                let loss = [Loss::Never, Loss::Independent(300_000)][rng.usize(..2)];
                it.between.loss = loss;
                it.to_clients.loss = loss;
                it.between.latency_us = (50, [500, 25_000, 100_000][rng.usize(..3)]);
                it.uplink = Some(Rate { bits_per_s: WIDE, queue_bytes: 4_000_000 });
                it.workload =
                    Workload { clients: 300, pause_us: 300_000, line_bytes: (1_100, 1_300) };
            }
        }
        it
    }

    /// Draws every part from an environment of its own.
    fn draw_any(rng: &mut Rng) -> Self {
        let mut any = || {
            let named = Place::ALL.len() - 1;
            Environment::draw(Place::ALL[rng.usize(..named)], rng)
        };
        let (paths, hosts, clients) = (any(), any(), any());
        let mut it = Environment { processor: hosts.processor, disk: hosts.disk, ..paths };
        let lines = clients.workload;
        // Only what the paths can carry within seconds is worth asking for.
        let narrow = it.bits_per_s() / 8;
        let mut workload = lines;
        while workload.in_flight_bytes() > narrow && workload.clients > 1 {
            workload.clients /= 2;
        }
        if workload.in_flight_bytes() > narrow {
            workload.line_bytes = (0, 200);
        }
        workload.pause_us = workload.pause_us.max(it.workload.pause_us);
        it.workload = workload;
        it
    }

    /// How long faults happen: long enough for some view changes, and at least as long as
    /// asked for.
    pub fn safety_us(&self, asked_us: u64) -> u64 {
        asked_us.max(VIEW_CHANGES * (1_000_000 + 2 * self.round_trip_us() + 3 * self.sync_us()))
    }

    /// What a host can send to one peer, if it sends the same to all `n`.
    fn bits_per_s(&self) -> u64 {
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
        computed.plus_us(self.disk.sync.draw(rng) + written_us)
    }

    /// The longest sync.
    pub fn sync_us(&self) -> u64 {
        self.disk.sync.longest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_draws_an_environment_within_what_the_simulator_can_do() {
        for place in Place::ALL {
            for seed in 0..50 {
                let mut rng = Rng::with_seed(seed);
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
    fn a_drawn_combination_asks_for_no_more_than_its_paths_carry_in_a_second() {
        for seed in 0..500 {
            let it = Environment::draw(Place::Any, &mut Rng::with_seed(seed));
            let in_flight = it.workload.in_flight_bytes();
            assert!(in_flight <= it.bits_per_s() / 8 || it.workload.clients == 1, "{seed}");
        }
    }
}
