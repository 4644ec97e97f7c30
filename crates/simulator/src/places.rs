//! The places that have names, and the one that mixes them.

use crate::environment::{
    DiskSpeed, Environment, PathLimits, Processor, Quota, Stalls, Variation, WIDE, Workload,
};
use crate::path::{Delay, Loss, Rate, TooLong};
use fastrand::Rng;
use std::fmt;

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
    /// Disks on a network: each does nothing for 0.2 to 3 s, again and again.
    Nas = "nas",
    /// Each process may use a fifth of a core, and the clients send hundreds of lines a second.
    Quota = "quota",
    /// Hundreds of clients with long lines in flight.
    Crowd = "crowd",
    /// Thousands of clients in a data centre, with short lines: thousands of lines a second.
    City = "city",
    /// Paths of one place, disks and processors of another, clients of a third.
    Any = "any",
    /// Kernels say that batches have left, and they have not; or refuse them, or everything.
    Offload = "offload",
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In one of so many runs of `any` the kernels are not reliable either.
const MIXED_KERNELS: u8 = 8;

impl Place {
    /// Whether batches cannot be relied on there.
    pub(crate) fn has_faulty_kernels(self, rng: &mut Rng) -> bool {
        match self {
            Place::Offload => true,
            Place::Any => rng.u8(..MIXED_KERNELS) == 0,
            _ => false,
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
            disk: DiskSpeed {
                sync: Delay::Between(200, 5_000),
                bytes_per_s: 200_000_000,
                stalls: None,
            },
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
            Place::Nas => {
                let lasts_us = rng.u64(200_000..=3_000_000);
                let every_us = lasts_us * rng.u64(5..=20);
                it.disk.sync = Delay::Between(1_000, 20_000);
                it.disk.bytes_per_s = 50_000_000;
                it.disk.stalls = Some(Stalls { every_us, lasts_us });
            }
            Place::Quota => {
                it.processor = Processor {
                    turn_us: 10,
                    input_ns: 3_000,
                    quota: Some(Quota { period_us: 100_000, share_us: 20_000 }),
                };
                it.workload = Workload { clients: 64, pause_us: 200_000, line_bytes: (0, 100) };
            }
            Place::Any => return Environment::draw_any(rng),
            Place::City => {
                it.uplink = Some(Rate { bits_per_s: WIDE, queue_bytes: 4_000_000 });
                // Requests come several in a datagram, and each is handled in well below 1 µs.
                it.processor.input_ns = 500;
                let clients = rng.usize(1_000..=4_000);
                it.workload = Workload { clients, pause_us: 1_000_000, line_bytes: (0, 100) };
            }
            Place::Offload => {
                it.between.latency_us = (50, [500, 25_000][rng.usize(..2)]);
                it.between.loss = Loss::Independent(rng.u32(0..=2_000));
                it.uplink = Some(Rate { bits_per_s: WIDE, queue_bytes: 4_000_000 });
                it.workload.clients = rng.usize(4..=32);
                it.workload.line_bytes = (0, [1_200, 5_000, 20_000][rng.usize(..3)]);
            }
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
            let mixed = Place::Any as usize;
            Environment::draw(Place::ALL[rng.usize(..mixed)], rng)
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
}
