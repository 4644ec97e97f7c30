//! The faults of a run. Some are drawn once from the seed, others again as time goes by.
//!
//! Each seed switches every kind of fault on or off, and draws how severe it is. Most kinds
//! are off in most runs, so rare combinations come up: a *swarm*. (Groce et al., *Swarm
//! Testing*, ISSTA '12.) Network, crashes and workload draw from streams of their own, so a
//! new kind of fault does not change the draws of the others.

use fastrand::Rng;
use multipaxos::types::ReplicaId;

/// The kinds of fault that a user can switch off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// Datagrams are lost, repeated or late.
    pub network: bool,
    /// Links between replicas are cut for a while.
    pub partitions: bool,
    /// Replicas die and come back.
    pub crashes: bool,
    /// Replicas sleep or are slow, and their clocks run apart.
    pub pauses: bool,
    /// Syncs fail or are interrupted.
    pub disk: bool,
    /// Clients die and return under the same id.
    pub clients: bool,
    /// The initial primary skips a slot.
    pub skip_slot: bool,
    /// A full inbox inside a replica drops its batches.
    pub inboxes: bool,
    /// Processes and datagrams of a former cluster, and stray ones.
    pub strangers: bool,
}

impl Switches {
    /// Every kind of fault.
    pub const ALL: Switches = Switches {
        network: true,
        partitions: true,
        crashes: true,
        pauses: true,
        disk: true,
        clients: true,
        skip_slot: true,
        inboxes: true,
        strangers: true,
    };

    /// No fault at all.
    pub const NONE: Switches = Switches {
        network: false,
        partitions: false,
        crashes: false,
        pauses: false,
        disk: false,
        clients: false,
        skip_slot: false,
        inboxes: false,
        strangers: false,
    };
}

/// How severe the faults of one run are. Probabilities are in parts per million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// A datagram is lost.
    pub loss_ppm: u32,
    /// A datagram arrives twice.
    pub duplicate_ppm: u32,
    /// A datagram is late by up to [`Profile::late_us`].
    pub late_ppm: u32,
    /// The longest delay of a late datagram, in microseconds.
    pub late_us: u64,
    /// A notice inside a replica is lost.
    pub inbox_ppm: u32,
    /// A role's thread stalls before a turn, for up to 20 ms.
    pub stall_ppm: u32,
    /// A sync fails or is interrupted.
    pub sync_ppm: u32,
    /// The mean time between two crashes, in microseconds; 0: no crashes.
    pub crash_every_us: u64,
    /// The mean time between two replicas that are told to end, in microseconds; 0: none.
    pub terminate_every_us: u64,
    /// The mean time between two pauses, in microseconds; 0: none.
    pub pause_every_us: u64,
    /// The mean time between two partitions, in microseconds; 0: none.
    pub partition_every_us: u64,
    /// The mean time between two deaths of a client, in microseconds; 0: none.
    pub client_every_us: u64,
    /// The mean time until a replica loses its disk, in microseconds; 0: never.
    pub wipe_after_us: u64,
    /// The mean time until a replica's disk is copied, in microseconds; 0: never. The copy is put
    /// back later.
    pub copy_after_us: u64,
    /// The mean time until somebody changes a line of a replica's decided log, in microseconds; 0:
    /// never.
    pub alter_after_us: u64,
    /// The mean time between two strikes at a chat log, in microseconds; 0: none.
    pub strike_every_us: u64,
    /// The largest difference between the rates of two clocks, in parts per million.
    pub clock_ppm: u64,
    /// One replica reacts later than the others by up to this, in microseconds.
    pub slow_us: u64,
    /// The slot that replica 0 skips.
    pub skip_slot: Option<u64>,
}

impl Profile {
    /// A run without faults.
    pub const CALM: Profile = Profile {
        loss_ppm: 0,
        duplicate_ppm: 0,
        late_ppm: 0,
        late_us: 0,
        inbox_ppm: 0,
        stall_ppm: 0,
        sync_ppm: 0,
        crash_every_us: 0,
        terminate_every_us: 0,
        pause_every_us: 0,
        partition_every_us: 0,
        client_every_us: 0,
        wipe_after_us: 0,
        copy_after_us: 0,
        alter_after_us: 0,
        strike_every_us: 0,
        clock_ppm: 0,
        slow_us: 0,
        skip_slot: None,
    };

    /// Draws the faults of one run.
    pub fn draw(switches: Switches, rng: &mut Rng) -> Self {
        let mut profile = Profile::CALM;
        // Draw every value whatever the switches say. Then a switch changes only the fault
        // that it names.
        let mut drawn = |on: bool, value: u64, chance: u8| {
            let hit = rng.u8(0..100) < chance;
            let value = if value == 0 { 0 } else { rng.u64(1..=value) };
            if on && hit { value } else { 0 }
        };
        profile.loss_ppm = drawn(switches.network, 300_000, 60) as u32;
        profile.duplicate_ppm = drawn(switches.network, 100_000, 50) as u32;
        profile.late_ppm = drawn(switches.network, 50_000, 50) as u32;
        profile.late_us = 1_000 + drawn(switches.network, 2_000_000, 100);
        profile.inbox_ppm = drawn(switches.inboxes, 20_000, 30) as u32;
        profile.stall_ppm = drawn(switches.pauses, 20_000, 30) as u32;
        profile.sync_ppm = drawn(switches.disk, 5_000, 20) as u32;
        profile.crash_every_us = drawn(switches.crashes, 5_000_000, 50);
        profile.pause_every_us = drawn(switches.pauses, 5_000_000, 30);
        profile.partition_every_us = drawn(switches.partitions, 4_000_000, 50);
        profile.client_every_us = drawn(switches.clients, 5_000_000, 30);
        profile.wipe_after_us = drawn(switches.disk, 6_000_000, 10);
        profile.clock_ppm = drawn(switches.pauses, 100_000, 30);
        profile.slow_us = drawn(switches.pauses, 50_000, 20);
        profile.skip_slot = match drawn(switches.skip_slot, 60, 20) {
            0 => None,
            slot => Some(slot - 1),
        };
        profile.copy_after_us = drawn(switches.disk, 4_000_000, 15);
        for every in [
            &mut profile.crash_every_us,
            &mut profile.pause_every_us,
            &mut profile.partition_every_us,
            &mut profile.client_every_us,
        ] {
            if *every > 0 {
                *every = (*every).max(200_000);
            }
        }
        profile
    }
}

impl Profile {
    /// The same without what ends, stops, cuts off or deprives a replica.
    #[must_use]
    pub fn without_deaths(self) -> Self {
        Profile {
            loss_ppm: self.loss_ppm / 6,
            inbox_ppm: self.inbox_ppm,
            duplicate_ppm: self.duplicate_ppm,
            late_ppm: self.late_ppm,
            late_us: self.late_us,
            client_every_us: self.client_every_us,
            clock_ppm: self.clock_ppm,
            ..Profile::CALM
        }
    }
}

/// What people and their tools do to a chat log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strike {
    /// `: >`
    CutToNothing,
    /// It is cut somewhere.
    CutShort,
    /// `rm`
    Deleted,
    /// logrotate with `copytruncate`: a copy stays beside it, which may lack the last lines.
    CopiedAndCut,
    /// logrotate with `create`: it gets another name, and an empty file its own.
    Replaced,
}

/// Every kind of strike.
pub const STRIKES: [Strike; 5] = [
    Strike::CutToNothing,
    Strike::CutShort,
    Strike::Deleted,
    Strike::CopiedAndCut,
    Strike::Replaced,
];

impl Profile {
    /// Draws, from a stream of its own, whether somebody changes a decided log.
    pub fn draw_alteration(&mut self, switches: Switches, rng: &mut Rng) {
        let (hit, after_us) = (rng.u8(0..100) < 10, rng.u64(1..=6_000_000));
        self.alter_after_us = if switches.disk && hit { after_us } else { 0 };
    }

    /// Draws, from a stream of its own, how often an operator tells a replica to end.
    pub fn draw_departures(&mut self, switches: Switches, rng: &mut Rng) {
        let (hit, every) = (rng.u8(0..100) < 40, rng.u64(300_000..=5_000_000));
        self.terminate_every_us = if switches.crashes && hit { every } else { 0 };
    }

    /// Draws how often chat logs are struck. Only the real storage code has chat logs.
    pub fn draw_strikes(&mut self, switches: Switches, rng: &mut Rng) {
        let (hit, every) = (rng.u8(0..100) < 40, rng.u64(200_000..=3_000_000));
        self.strike_every_us = if switches.disk && hit { every } else { 0 };
    }

    /// Draws the faults of a run in an environment, which has losses and delays of its own:
    /// replicas that die or sleep, disks that fail or are lost, and links that are cut.
    pub fn draw_among_numbers(switches: Switches, rng: &mut Rng) -> Self {
        let mut drawn = |on: bool, chance: u8| {
            let (hit, value) = (rng.u8(0..100) < chance, rng.u64(3_000_000..=20_000_000));
            if on && hit { value } else { 0 }
        };
        let mut profile = Profile {
            crash_every_us: drawn(switches.crashes, 70),
            pause_every_us: drawn(switches.pauses, 20),
            partition_every_us: drawn(switches.partitions, 20),
            client_every_us: drawn(switches.clients, 10),
            ..Profile::CALM
        };
        profile.wipe_after_us = drawn(switches.disk, 10);
        let (hit, sync_ppm) = (rng.u8(0..100) < 20, rng.u32(1..=2_000));
        profile.sync_ppm = if switches.disk && hit { sync_ppm } else { 0 };
        profile
    }
}

/// How a partition cuts links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Partition {
    /// Two sides that do not hear each other.
    Split,
    /// One replica is cut off.
    Isolate,
    /// One replica hears the others and is not heard, or the other way round.
    OneWay,
    /// One link comes and goes.
    Flap,
    /// Quorum loss: all links are cut but those of one hub. (OmniPaxos, §2)
    Hub,
    /// Constrained election: the hub alone is connected to a quorum, and the leader is
    /// cut off from everyone. (OmniPaxos, §2)
    Constrained,
    /// Chained: one link in the middle of a ring of links is cut, so two replicas hear
    /// each other only through others. (OmniPaxos, §2)
    Chained,
}

/// Every kind of partition.
pub const PARTITIONS: [Partition; 7] = [
    Partition::Split,
    Partition::Isolate,
    Partition::OneWay,
    Partition::Flap,
    Partition::Hub,
    Partition::Constrained,
    Partition::Chained,
];

/// The links that are cut. Each link is cut in one direction.
#[derive(Debug, Clone)]
pub struct Links {
    n: usize,
    cut: Vec<bool>,
}

impl Links {
    /// All links are up.
    pub fn new(n: usize) -> Self {
        Links { n, cut: vec![false; n * n] }
    }

    /// Whether the link from `from` to `to` is cut.
    pub fn is_cut(&self, from: ReplicaId, to: ReplicaId) -> bool {
        self.cut[from.index() * self.n + to.index()]
    }

    /// Cuts the link in one direction.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut[from * self.n + to] = true;
    }

    /// Cuts the link in both directions.
    pub fn cut_both(&mut self, one: usize, other: usize) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Mends all links.
    pub fn heal(&mut self) {
        self.cut.fill(false);
    }

    /// Cuts links as `partition` says. `leader` is the present leader, if there is one.
    pub fn impose(&mut self, partition: Partition, leader: Option<ReplicaId>, rng: &mut Rng) {
        self.heal();
        let n = self.n;
        if n < 2 {
            return;
        }
        let leader = leader.map_or_else(|| rng.usize(..n), ReplicaId::index);
        let other = (leader + 1 + rng.usize(..n - 1)) % n;
        match partition {
            Partition::Split => {
                let side: Vec<bool> = (0..n).map(|_| rng.bool()).collect();
                for one in 0..n {
                    for two in 0..one {
                        if side[one] != side[two] {
                            self.cut_both(one, two);
                        }
                    }
                }
            }
            Partition::Isolate => {
                let lonely = if rng.bool() { leader } else { other };
                (0..n).filter(|id| *id != lonely).for_each(|id| self.cut_both(id, lonely));
            }
            Partition::OneWay => {
                let deaf = rng.bool();
                for id in (0..n).filter(|id| *id != leader) {
                    if deaf { self.cut(id, leader) } else { self.cut(leader, id) }
                }
            }
            Partition::Flap => self.cut_both(leader, other),
            Partition::Hub => {
                for one in (0..n).filter(|id| *id != other) {
                    for two in (0..one).filter(|id| *id != other) {
                        self.cut_both(one, two);
                    }
                }
            }
            Partition::Constrained => {
                for one in 0..n {
                    for two in 0..one {
                        let spoke = one == other || two == other;
                        if !spoke || one == leader || two == leader {
                            self.cut_both(one, two);
                        }
                    }
                }
            }
            Partition::Chained => {
                // The leader and `other` are the two ends of the chain.
                let mut chain: Vec<usize> =
                    (0..n).filter(|id| *id != leader && *id != other).collect();
                rng.shuffle(&mut chain);
                chain.insert(0, leader);
                chain.push(other);
                for (at, one) in chain.iter().enumerate() {
                    for two in &chain[..at.saturating_sub(1)] {
                        self.cut_both(*one, *two);
                    }
                }
            }
        }
    }
}
