//! One directed path between two hosts, as packets meet it.
//!
//! A packet first has to fit: a path carries packets up to its MTU, and drops longer ones in
//! silence or says so. Then it may be lost, alone or in a burst with others (the two-state
//! model of Gilbert and Elliott). Then it passes a pipe: a queue of bounded length in front
//! of a line of bounded rate. A packet that finds the queue full is dropped. At last it
//! travels for the path's latency, which may differ from packet to packet, and it may arrive
//! twice.
//!
//! Everything here is in microseconds, bytes and parts per million. A packet is a datagram
//! and the headers of IP and UDP.

use fastrand::Rng;
use multipaxos::types::Time;

/// What IPv4 and UDP put in front of a datagram.
pub const IP_UDP_BYTES: usize = 28;

/// The longest time that a packet is under way, without its time in queues.
pub const LATENCY_MAX_US: u64 = 1_000_000;

const PPM: u32 = 1_000_000;

/// How long something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// Always as long.
    Constant(u64),
    /// Any time between the two, drawn anew each time.
    Between(u64, u64),
    /// The first time mostly. Each time twice as long is half as likely, up to the second.
    HeavyTailed(u64, u64),
}

impl Delay {
    /// Draws one.
    pub fn draw(self, rng: &mut Rng) -> u64 {
        match self {
            Delay::Constant(us) => us,
            Delay::Between(least, most) => rng.u64(least..=most.max(least)),
            Delay::HeavyTailed(usual, most) => {
                let doublings = rng.u64(..).trailing_zeros().saturating_sub(2);
                let us = usual.saturating_mul(1 << doublings.min(32));
                (us + rng.u64(0..=us / 4)).min(most)
            }
        }
    }

    /// No draw is longer.
    pub fn longest(self) -> u64 {
        match self {
            Delay::Constant(us) => us,
            Delay::Between(_, most) | Delay::HeavyTailed(_, most) => most,
        }
    }
}

/// How packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// None is.
    Never,
    /// Each with this probability.
    Independent(u32),
    /// In bursts: a packet begins one with the first probability and ends it with the
    /// second. In a burst nine of ten packets are lost.
    Bursts(u32, u32),
}

/// Of the packets in a burst of losses, this many are lost.
const LOST_IN_BURST_PPM: u32 = 900_000;

impl Loss {
    /// How many of all packets are lost, in the long run.
    pub fn share(self) -> f64 {
        let in_million = |ppm: u32| f64::from(ppm) / f64::from(PPM);
        match self {
            Loss::Never => 0.0,
            Loss::Independent(ppm) => in_million(ppm),
            Loss::Bursts(begins, ends) => {
                in_million(LOST_IN_BURST_PPM) * f64::from(begins) / f64::from(begins + ends)
            }
        }
    }
}

/// What becomes of a packet that is longer than the path's MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLong {
    /// It is dropped in silence, as by a tunnel that filters ICMP.
    Vanishes,
    /// The sender's own kernel says so, as it does for its own interface.
    IsRefused,
}

/// A line of bounded rate, and the queue in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What the line carries.
    pub bits_per_s: u64,
    /// How much waits at most.
    pub queue_bytes: u64,
}

impl Rate {
    /// How long so many bytes take.
    pub fn takes_us(self, bytes: u64) -> u64 {
        (bytes * 8 * 1_000_000).div_ceil(self.bits_per_s)
    }
}

/// What a path is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathProfile {
    /// How long a packet travels.
    pub latency: Delay,
    /// Whether packets arrive in the order in which they left.
    pub in_order: bool,
    /// The narrowest line on the way, if any is narrow.
    pub rate: Option<Rate>,
    /// The longest packet that passes.
    pub mtu: usize,
    /// What becomes of longer ones.
    pub too_long: TooLong,
    /// How packets are lost.
    pub loss: Loss,
    /// How many of a million packets arrive twice.
    pub duplicate_ppm: u32,
}

/// A rate, and how much waits for it.
#[derive(Debug)]
pub struct Pipe {
    rate: Rate,
    /// When the line has sent everything that waits, in nanoseconds.
    free_at_ns: u64,
}

impl Pipe {
    /// An empty one.
    pub fn new(rate: Rate) -> Self {
        Pipe { rate, free_at_ns: 0 }
    }

    /// When a packet of so many bytes has passed, if it comes `now`. `None`: the queue is
    /// full. A packet that finds nothing waiting always passes.
    pub fn pass(&mut self, now: Time, bytes: usize) -> Option<Time> {
        let now_ns = now.0 * 1_000;
        let wait_ns = self.free_at_ns.saturating_sub(now_ns);
        let waiting = u128::from(wait_ns) * u128::from(self.rate.bits_per_s) / 8_000_000_000;
        let bytes = bytes as u64;
        if wait_ns > 0 && waiting as u64 + bytes > self.rate.queue_bytes {
            return None;
        }
        let takes = u128::from(bytes) * 8_000_000_000 / u128::from(self.rate.bits_per_s);
        self.free_at_ns = self.free_at_ns.max(now_ns) + takes as u64;
        Some(Time(self.free_at_ns.div_ceil(1_000)))
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It arrives, perhaps twice.
    Arrives(Time, Option<Time>),
    /// It is lost on the way.
    Lost,
    /// It finds a full queue.
    Overflows,
    /// It does not fit, and vanishes.
    Vanishes,
    /// It does not fit, and the sender is told.
    IsRefused,
}

/// A path, and what is under way on it.
#[derive(Debug)]
pub struct Path {
    profile: PathProfile,
    pipe: Option<Pipe>,
    in_burst: bool,
    last_arrival: Time,
}

impl Path {
    /// A path on which nothing is under way.
    pub fn new(profile: PathProfile) -> Self {
        let pipe = profile.rate.map(Pipe::new);
        Path { profile, pipe, in_burst: false, last_arrival: Time(0) }
    }

    /// Whether the sender's own system refuses a datagram of this many bytes, and sends nothing.
    pub fn refuses(&self, datagram: usize) -> bool {
        datagram + IP_UDP_BYTES > self.profile.mtu && self.profile.too_long == TooLong::IsRefused
    }

    /// Sends a datagram of this many bytes.
    pub fn send(&mut self, now: Time, datagram: usize, rng: &mut Rng) -> Passage {
        let bytes = datagram + IP_UDP_BYTES;
        if bytes > self.profile.mtu {
            return match self.profile.too_long {
                TooLong::Vanishes => Passage::Vanishes,
                TooLong::IsRefused => Passage::IsRefused,
            };
        }
        if self.loses(rng) {
            return Passage::Lost;
        }
        let left = match &mut self.pipe {
            None => now,
            Some(pipe) => match pipe.pass(now, bytes) {
                None => return Passage::Overflows,
                Some(left) => left,
            },
        };
        let first = self.arrival(left, rng);
        let again = rng.u32(0..PPM) < self.profile.duplicate_ppm;
        Passage::Arrives(first, again.then(|| self.arrival(left, rng)))
    }

    fn arrival(&mut self, left: Time, rng: &mut Rng) -> Time {
        let mut at = left.plus_us(self.profile.latency.draw(rng));
        if self.profile.in_order {
            at = at.max(self.last_arrival);
            self.last_arrival = at;
        }
        at
    }

    fn loses(&mut self, rng: &mut Rng) -> bool {
        match self.profile.loss {
            Loss::Never => false,
            Loss::Independent(ppm) => rng.u32(0..PPM) < ppm,
            Loss::Bursts(begins, ends) => {
                let turns = if self.in_burst { ends } else { begins };
                if rng.u32(0..PPM) < turns {
                    self.in_burst = !self.in_burst;
                }
                self.in_burst && rng.u32(0..PPM) < LOST_IN_BURST_PPM
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that is like nothing at all.
    const PLAIN: PathProfile = PathProfile {
        latency: Delay::Constant(100),
        in_order: true,
        rate: None,
        mtu: 1_500,
        too_long: TooLong::Vanishes,
        loss: Loss::Never,
        duplicate_ppm: 0,
    };

    fn send(path: &mut Path, now: u64, bytes: usize) -> Passage {
        path.send(Time(now), bytes, &mut Rng::with_seed(7))
    }

    #[test]
    fn a_narrow_line_sends_one_packet_after_the_other_and_drops_what_its_queue_does_not_hold() {
        // One bit a microsecond, and room for two packets of a hundred bytes.
        let rate = Rate { bits_per_s: 1_000_000, queue_bytes: 200 };
        let mut path = Path::new(PathProfile { rate: Some(rate), ..PLAIN });
        let datagram = 100 - IP_UDP_BYTES;
        let arrives = |at| Passage::Arrives(Time(at), None);
        assert_eq!(send(&mut path, 0, datagram), arrives(900));
        assert_eq!(send(&mut path, 0, datagram), arrives(1_700));
        assert_eq!(send(&mut path, 0, datagram), Passage::Overflows);
        assert_eq!(send(&mut path, 800, datagram), arrives(2_500));
        assert_eq!(send(&mut path, 10_000, datagram), arrives(10_900), "the queue has emptied");
        assert_eq!(rate.takes_us(100), 800);
    }

    #[test]
    fn a_packet_that_is_longer_than_the_mtu_does_not_pass() {
        let longest = 1_500 - IP_UDP_BYTES;
        for (too_long, passage) in
            [(TooLong::Vanishes, Passage::Vanishes), (TooLong::IsRefused, Passage::IsRefused)]
        {
            let mut path = Path::new(PathProfile { too_long, ..PLAIN });
            assert_eq!(send(&mut path, 0, longest), Passage::Arrives(Time(100), None));
            assert_eq!(send(&mut path, 0, longest + 1), passage);
        }
    }

    #[test]
    fn packets_overtake_each_other_only_where_the_path_lets_them() {
        let mut rng = Rng::with_seed(3);
        for in_order in [true, false] {
            let latency = Delay::Between(0, 1_000);
            let mut path = Path::new(PathProfile { latency, in_order, ..PLAIN });
            let arrivals: Vec<Time> = (0..100)
                .map(|now| match path.send(Time(now), 10, &mut rng) {
                    Passage::Arrives(at, None) => at,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(arrivals.is_sorted(), in_order);
        }
    }

    #[test]
    fn losses_come_alone_or_in_bursts_as_often_as_the_profile_says() {
        let mut rng = Rng::with_seed(5);
        let mut run = |loss| {
            let mut path = Path::new(PathProfile { loss, ..PLAIN });
            let lost: Vec<bool> =
                (0..100_000).map(|_| path.send(Time(0), 10, &mut rng) == Passage::Lost).collect();
            let in_a_row = lost.windows(2).filter(|pair| pair[0] && pair[1]).count();
            (lost.iter().filter(|lost| **lost).count(), in_a_row)
        };
        let (alone, in_a_row) = run(Loss::Independent(100_000));
        assert!((9_500..10_500).contains(&alone) && in_a_row < 1_300, "{alone}, {in_a_row}");
        // One packet in a hundred begins a burst of ten.
        let (burst, in_a_row) = run(Loss::Bursts(10_000, 100_000));
        assert!((6_500..9_500).contains(&burst) && in_a_row > burst / 2, "{burst}, {in_a_row}");
        assert_eq!(run(Loss::Never), (0, 0));
        let share = |loss: Loss| (loss.share() * 100_000.0) as usize;
        assert_eq!(share(Loss::Independent(100_000)), 10_000);
        assert!(share(Loss::Bursts(10_000, 100_000)).abs_diff(burst) < 1_000, "{burst}");
    }

    #[test]
    fn a_heavy_tail_is_mostly_short_and_never_longer_than_its_bound() {
        let mut rng = Rng::with_seed(11);
        let delay = Delay::HeavyTailed(1_000, 50_000);
        let draws: Vec<u64> = (0..100_000).map(|_| delay.draw(&mut rng)).collect();
        let within = |bound| draws.iter().filter(|draw| **draw <= bound).count();
        assert!(draws.iter().all(|draw| (1_000..=50_000).contains(draw)));
        assert!((84_000..91_000).contains(&within(1_250)), "{}", within(1_250));
        assert!(within(20_000) < 100_000, "some are long");
        assert_eq!(delay.longest(), 50_000);
    }
}
