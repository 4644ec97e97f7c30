//! A relay of datagrams: a path with delay, jitter, loss and reordering.
//!
//! A [`Relay`] is one direction between two replicas. The sender's configuration has the
//! relay's address in place of the receiver's. A thread takes each datagram, draws from a seed
//! whether it is lost and how long it takes, and sends it on at that time. A replica knows a
//! peer by what stands in the frame, so it does not matter that the relay's address is the
//! source.
//!
//! The relay is in user space, so a busy host may delay a datagram for longer than drawn, and
//! never for less. A relay limits no rate: the kernel's token bucket on an interface does.

use fastrand::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use seeds::stream;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What the kernel keeps for a relay that does not run at the moment.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// No datagram is longer.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// A relay notices within this time that it should end.
const LOOK_MS: u64 = 50;

/// What happens to each datagram of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The shortest delay one way, in milliseconds.
    pub least_ms: u64,
    /// The longest. Each delay is drawn uniformly.
    pub most_ms: u64,
    /// Whether a datagram may overtake another.
    pub overtakes: bool,
    /// How many of a hundred datagrams are lost.
    pub lost_percent: u8,
}

impl Path {
    /// A path on which every datagram takes as long.
    pub const fn constant(ms: u64) -> Path {
        Path { least_ms: ms, most_ms: ms, overtakes: false, lost_percent: 0 }
    }
}

/// One direction of a path. Dropping it ends its thread; what is on the way is lost.
pub struct Relay {
    is_bad: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Relays from `socket` to `to`: without delay and loss until [`worsen`](Self::worsen). The
    /// socket stays in the namespace in which it was opened.
    pub fn start(socket: UdpSocket, to: SocketAddr, path: Path, seed: u64) -> io::Result<Relay> {
        socket.set_nonblocking(true)?;
        // Without the right to go beyond the system's limit, take what it gives.
        let _ = set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES);
        let is_bad = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let flags = (Arc::clone(&is_bad), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("relay".into())
            .spawn(move || carry(&socket, to, &mut Fate::new(path, seed), &flags.0, &flags.1))?;
        Ok(Relay { is_bad, stop, thread: Some(thread) })
    }

    /// From now on datagrams are delayed and lost as the path says.
    pub fn worsen(&self) {
        self.is_bad.store(true, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Draws what happens to a datagram.
struct Fate {
    path: Path,
    rng: Rng,
    /// When the last one arrives, on a path on which none overtakes.
    last: Option<Instant>,
}

impl Fate {
    fn new(path: Path, seed: u64) -> Fate {
        Fate { path, rng: stream(seed, "relay"), last: None }
    }

    /// When a datagram that is sent at `now` arrives; `None` if it is lost.
    fn arrival(&mut self, now: Instant) -> Option<Instant> {
        if self.rng.u8(0..100) < self.path.lost_percent {
            return None;
        }
        let us = self.rng.u64(self.path.least_ms * 1_000..=self.path.most_ms * 1_000);
        let due = now + Duration::from_micros(us);
        if self.path.overtakes {
            return Some(due);
        }
        let due = self.last.map_or(due, |last| last.max(due));
        self.last = Some(due);
        Some(due)
    }
}

fn carry(
    socket: &UdpSocket,
    to: SocketAddr,
    fate: &mut Fate,
    is_bad: &AtomicBool,
    stop: &AtomicBool,
) {
    // The count keeps those that are due at the same time in their order.
    let mut under_way: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>> = BinaryHeap::new();
    let mut count = 0;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while under_way.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            if let Some(Reverse((_, _, datagram))) = under_way.pop() {
                // What the network does not take is lost, as behind any router.
                let _ = socket.send_to(&datagram, to);
            }
        }
        let look = Duration::from_millis(LOOK_MS);
        let wait = under_way.peek().map_or(look, |Reverse((due, ..))| {
            due.saturating_duration_since(Instant::now()).min(look)
        });
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout));
        // An error is the answer to an earlier datagram (nobody listens): go on.
        while let Ok((bytes, _)) = socket.recv_from(&mut buffer) {
            let now = Instant::now();
            let arrival =
                if is_bad.load(Ordering::Relaxed) { fate.arrival(now) } else { Some(now) };
            if let Some(due) = arrival {
                under_way.push(Reverse((due, count, buffer[..bytes].to_vec())));
                count += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn arrivals(path: Path, count: u64) -> Vec<Option<Duration>> {
        let begin = Instant::now();
        let mut fate = Fate::new(path, 1);
        let at = |ms| begin + Duration::from_millis(ms);
        (0..count).map(|ms| fate.arrival(at(ms)).map(|due| due - begin)).collect()
    }

    #[test]
    fn delays_stay_between_their_bounds_and_overtake_only_if_they_may() {
        for overtakes in [true, false] {
            let path = Path { least_ms: 20, most_ms: 80, overtakes, lost_percent: 0 };
            let due: Vec<Duration> =
                arrivals(path, 200).into_iter().map(|due| due.expect("none is lost")).collect();
            for (ms, due) in (0..).zip(&due) {
                let (least, most) =
                    (Duration::from_millis(ms + 20), Duration::from_millis(ms + 80));
                assert!(*due >= least, "{ms}: {due:?}");
                assert!(*due <= most, "{ms}: {due:?}");
            }
            assert_eq!(due.is_sorted(), !overtakes);
        }
    }

    #[test]
    fn as_many_are_lost_as_the_path_says() {
        let lost = |percent| {
            let path = Path { lost_percent: percent, ..Path::constant(5) };
            arrivals(path, 10_000).iter().filter(|due| due.is_none()).count()
        };
        assert_eq!((lost(0), lost(100)), (0, 10_000));
        assert!((2_800..3_200).contains(&lost(30)), "{}", lost(30));
    }

    #[test]
    fn datagrams_arrive_whole_in_order_and_no_sooner_than_the_delay() {
        let open = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let (from, through, to) = (open(), open(), open());
        let address = through.local_addr().expect("it is bound");
        let target = to.local_addr().expect("it is bound");
        let relay = Relay::start(through, target, Path::constant(30), 1).expect("it starts");
        relay.worsen();
        let begin = Instant::now();
        for length in [1_usize, 9_000, 60_000] {
            from.send_to(&vec![length as u8; length], address).expect("it leaves");
        }
        to.set_read_timeout(Some(Duration::from_secs(20))).expect("it is set");
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        for length in [1_usize, 9_000, 60_000] {
            let bytes = to.recv(&mut buffer).expect("it arrives");
            assert_eq!((bytes, buffer[0], buffer[bytes - 1]), (length, length as u8, length as u8));
            assert!(begin.elapsed() >= Duration::from_millis(30));
        }
    }

    #[test]
    fn a_path_is_good_until_it_is_worsened() {
        let open = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let (from, through, to) = (open(), open(), open());
        let address = through.local_addr().expect("it is bound");
        let target = to.local_addr().expect("it is bound");
        let path = Path { lost_percent: 100, ..Path::constant(60_000) };
        let _relay = Relay::start(through, target, path, 1).expect("it starts");
        from.send_to(&[7], address).expect("it leaves");
        to.set_read_timeout(Some(Duration::from_secs(20))).expect("it is set");
        let mut buffer = [0; 9];
        assert_eq!((to.recv(&mut buffer).expect("it arrives"), buffer[0]), (1, 7));
    }
}
