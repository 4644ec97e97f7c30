//! Several flows of one host, which share its line and the queue in front of it.

use super::super::receipt::Receipt;
use super::*;

const DATAGRAM: usize = 1_400;
const SHORT: usize = 100;
const BEAT_US: u64 = 50_000;

/// One of the flows.
struct Peer {
    flow: Flow,
    receipt: Receipt,
    /// From when on there is always something to send.
    from: u64,
    next_beat: u64,
    /// Datagrams to the peer and from it: when, the stamp, the bytes.
    there: VecDeque<(u64, Stamp, usize)>,
    back: VecDeque<(u64, Stamp)>,
    arrived: u64,
}

/// The host's line, with a drop-tail queue in front, and paths that are equally long.
struct Line {
    now: u64,
    bits_per_s: u64,
    queue_us: u64,
    /// One way.
    latency_us: u64,
    free_at: u64,
    peers: Vec<Peer>,
}

impl Line {
    fn new(bits_per_s: u64, latency_us: u64, queue_us: u64, begin_us: &[u64]) -> Self {
        let peer = |(index, begin_us): (usize, &u64)| Peer {
            flow: Flow::new(index as u32),
            receipt: Receipt::default(),
            from: *begin_us,
            next_beat: index as u64 * BEAT_US / 3,
            there: VecDeque::new(),
            back: VecDeque::new(),
            arrived: 0,
        };
        let peers = begin_us.iter().enumerate().map(peer).collect();
        Line { now: 0, bits_per_s, queue_us, latency_us, free_at: 0, peers }
    }

    fn send(&mut self, index: usize, bytes: usize) {
        let peer = &mut self.peers[index];
        let stamp = peer.flow.send(self.now, bytes);
        if self.free_at.saturating_sub(self.now) <= self.queue_us {
            let takes = (bytes as u64 * 8_000_000).div_ceil(self.bits_per_s);
            self.free_at = self.free_at.max(self.now) + takes;
            peer.there.push_back((self.free_at + self.latency_us, stamp, bytes));
        }
    }

    fn answer(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let mut stamp = Stamp::default();
        peer.receipt.tell(self.now, &mut stamp);
        peer.back.push_back((self.now + self.latency_us, stamp));
    }

    /// Lets one peer send and receive what is due now. Returns the time at which more is due.
    fn turn(&mut self, index: usize) -> u64 {
        if self.now >= self.peers[index].next_beat {
            self.peers[index].next_beat = self.now + BEAT_US;
            self.send(index, SHORT);
            self.answer(index);
        }
        if self.peers[index].receipt.due().is_some_and(|due| due <= self.now) {
            self.answer(index);
        }
        let mut next = self.peers[index].next_beat;
        if self.now < self.peers[index].from {
            next = next.min(self.peers[index].from);
        } else {
            self.peers[index].flow.poll(self.now);
            while self.peers[index].flow.admits(self.now, DATAGRAM) {
                self.send(index, DATAGRAM);
            }
            next = next.min(self.peers[index].flow.deadline(DATAGRAM));
        }
        let peer = &mut self.peers[index];
        while peer.there.front().is_some_and(|&(at, ..)| at <= self.now) {
            let (_, stamp, bytes) = peer.there.pop_front().expect("just seen");
            peer.arrived += bytes as u64;
            peer.receipt.received(self.now, 1, stamp, bytes);
        }
        while peer.back.front().is_some_and(|&(at, ..)| at <= self.now) {
            let (_, stamp) = peer.back.pop_front().expect("just seen");
            peer.flow.heard(self.now, 1, stamp);
        }
        let arrivals = peer.there.front().map(|&(at, ..)| at);
        let words = peer.back.front().map(|&(at, _)| at);
        [peer.receipt.due(), arrivals, words].into_iter().flatten().fold(next, u64::min)
    }

    /// Runs for so long, and returns what arrived at each peer meanwhile.
    fn run(&mut self, for_us: u64) -> Vec<u64> {
        let end = self.now + for_us;
        let before: Vec<_> = self.peers.iter().map(|peer| peer.arrived).collect();
        while self.now < end {
            let next = (0..self.peers.len()).map(|index| self.turn(index)).min();
            self.now = next.unwrap_or(end).max(self.now + 1);
        }
        self.peers.iter().zip(before).map(|(peer, before)| peer.arrived - before).collect()
    }
}

/// Lines: megabits a second, milliseconds one way, milliseconds of queue.
const LINES: [(u64, u64, u64); 5] =
    [(2, 5, 200), (10, 25, 50), (10, 25, 200), (100, 10, 50), (1_000, 5, 50)];

const SECOND: u64 = 1_000_000;

#[test]
fn two_flows_through_one_queue_come_to_like_shares() {
    for (mbit, latency_ms, queue_ms) in LINES {
        for later_us in [0, SECOND / 10, SECOND, 4 * SECOND] {
            let begin_us = [2 * SECOND, 2 * SECOND + later_us];
            let bits_per_s = mbit * 1_000_000;
            let mut line = Line::new(bits_per_s, latency_ms * 1_000, queue_ms * 1_000, &begin_us);
            line.run(begin_us[1] + 8 * SECOND);
            let arrived = line.run(8 * SECOND);
            let (least, all) = (arrived.iter().min().expect("two"), arrived.iter().sum::<u64>());
            let text = format!("{mbit} Mbit/s, {latency_ms} ms, {later_us} µs later: {arrived:?}");
            assert!(least * 3 >= all, "one gets less than half as much as the other: {text}");
            assert!(all >= bits_per_s * 9 / 10, "the line is used: {text}");
        }
    }
}
