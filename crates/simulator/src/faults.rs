//! What goes wrong in a run: drawn once per seed, and again as time goes by.
//!
//! Each seed switches every kind of fault on or off for itself and draws how bad it is
//! (a *swarm*: rare combinations come up because most kinds are off in most runs).
//! (Groce et al., *Swarm Testing*, ISSTA '12.) Network, crashes and workload draw from
//! streams of their own, so a new kind of fault does not reshuffle the others.

use fastrand::Rng;
use multipaxos::types::ReplicaId;

/// The kinds of fault that can be switched off by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// Lost, repeated and late datagrams.
    pub network: bool,
    /// Links that are cut for a while.
    pub partitions: bool,
    /// Replicas that die and come back.
    pub crashes: bool,
    /// Replicas that sleep, that are slow, and clocks that run apart.
    pub pauses: bool,
    /// Syncs that fail or are interrupted.
    pub disk: bool,
    /// Clients that die and return under the same id.
    pub clients: bool,
    /// A slot that the first primary leaves out.
    pub skip_slot: bool,
    /// Batches that a full inbox inside a replica loses.
    pub inboxes: bool,
}

impl Switches {
    /// Everything.
    pub const ALL: Switches = Switches {
        network: true,
        partitions: true,
        crashes: true,
        pauses: true,
        disk: true,
        clients: true,
        skip_slot: true,
        inboxes: true,
    };

    /// Nothing.
    pub const NONE: Switches = Switches {
        network: false,
        partitions: false,
        crashes: false,
        pauses: false,
        disk: false,
        clients: false,
        skip_slot: false,
        inboxes: false,
    };
}

/// How bad one run is. Probabilities are in parts per million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// A datagram is lost.
    pub loss_ppm: u32,
    /// A datagram arrives twice.
    pub duplicate_ppm: u32,
    /// A datagram is late by up to [`Profile::late_us`].
    pub late_ppm: u32,
    /// How late.
    pub late_us: u64,
    /// A notice inside a replica is lost.
    pub inbox_ppm: u32,
    /// A role's thread stalls before a turn, for up to 20 ms.
    pub stall_ppm: u32,
    /// A sync fails or is interrupted.
    pub sync_ppm: u32,
    /// Between two crashes, in microseconds; 0: none.
    pub crash_every_us: u64,
    /// Between two pauses.
    pub pause_every_us: u64,
    /// Between two partitions.
    pub partition_every_us: u64,
    /// Between two deaths of a client.
    pub client_every_us: u64,
    /// When a replica loses its disk; 0: never.
    pub wipe_after_us: u64,
    /// How far clocks run apart.
    pub clock_ppm: u64,
    /// One peer is slower than the others by up to this.
    pub slow_us: u64,
    /// The slot that replica 0 leaves out.
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
        pause_every_us: 0,
        partition_every_us: 0,
        client_every_us: 0,
        wipe_after_us: 0,
        clock_ppm: 0,
        slow_us: 0,
        skip_slot: None,
    };

    /// Draws one run's faults.
    pub fn draw(switches: Switches, rng: &mut Rng) -> Self {
        let mut profile = Profile::CALM;
        // Every draw is made whatever the switches say, so that a switch changes nothing
        // but what it names.
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

/// All of them.
pub const PARTITIONS: [Partition; 7] = [
    Partition::Split,
    Partition::Isolate,
    Partition::OneWay,
    Partition::Flap,
    Partition::Hub,
    Partition::Constrained,
    Partition::Chained,
];

/// Which links are cut: from one replica to another, one way.
#[derive(Debug, Clone)]
pub struct Links {
    n: usize,
    cut: Vec<bool>,
}

impl Links {
    /// All links up.
    pub fn new(n: usize) -> Self {
        Links { n, cut: vec![false; n * n] }
    }

    /// Whether nothing gets from `from` to `to`.
    pub fn is_cut(&self, from: ReplicaId, to: ReplicaId) -> bool {
        self.cut[from.index() * self.n + to.index()]
    }

    /// Cuts the link one way.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut[from * self.n + to] = true;
    }

    /// Cuts the link both ways.
    pub fn cut_both(&mut self, one: usize, other: usize) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// All links up again.
    pub fn heal(&mut self) {
        self.cut.fill(false);
    }

    /// Cuts links as `partition` says; `leader` is who leads now, if anyone.
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
                // A chain in which the leader and another are the two ends.
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
