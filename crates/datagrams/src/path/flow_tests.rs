//! A simulated path: a line with a drop-tail queue, a latency, and losses at random.

use super::super::receipt::{HELD_MAX, Receipt, STAMP_BYTES};
use super::super::shared::Traffic;
use super::*;

const WINDOW_FIRST: u32 = DATAGRAMS_FIRST * DATAGRAM_BYTES;

const DATAGRAM: usize = 1_400;
const SHORT: usize = 100;

struct World {
    now: u64,
    flow: Flow,
    receipt: Receipt,
    bits_per_s: u64,
    queue_bytes: u64,
    /// One way.
    latency_us: u64,
    /// So much longer at most: datagrams overtake one another.
    varies_us: u64,
    loss: f64,
    rng: fastrand::Rng,
    /// When the line has sent all that it has taken.
    line_free_at: u64,
    /// Datagrams to the peer and from it: when, the stamp, the bytes.
    there: VecDeque<(u64, Stamp, usize)>,
    back: VecDeque<(u64, Stamp)>,
    /// What the peer sends of its own accord: a heartbeat.
    next_beat: u64,
    sent: u64,
    arrived: u64,
    dropped: u64,
    /// The longest time in the queue.
    waited_us: u64,
}

impl World {
    fn new(bits_per_s: u64, latency_us: u64, queue_us: u64) -> Self {
        World {
            now: 1_000_000,
            flow: Flow::new(u32::MAX - 100_000),
            receipt: Receipt::default(),
            bits_per_s,
            queue_bytes: bits_per_s / 8 * queue_us / 1_000_000,
            latency_us,
            varies_us: 0,
            loss: 0.0,
            rng: fastrand::Rng::with_seed(7),
            line_free_at: 0,
            there: VecDeque::new(),
            back: VecDeque::new(),
            next_beat: 0,
            sent: 0,
            arrived: 0,
            dropped: 0,
            waited_us: 0,
        }
    }

    fn send(&mut self, bytes: usize) {
        let stamp = self.flow.send(self.now, bytes);
        self.sent += bytes as u64;
        let waits_us = self.line_free_at.saturating_sub(self.now);
        if waits_us * self.bits_per_s / 8_000_000 > self.queue_bytes {
            self.dropped += bytes as u64;
            return;
        }
        self.waited_us = self.waited_us.max(waits_us);
        let takes = (bytes as u64 * 8_000_000).div_ceil(self.bits_per_s);
        self.line_free_at = self.line_free_at.max(self.now) + takes;
        if self.rng.f64() >= self.loss {
            let at = self.line_free_at + self.latency_us + self.rng.u64(..=self.varies_us);
            let place = self.there.partition_point(|&(other, ..)| other <= at);
            self.there.insert(place, (at, stamp, bytes));
        }
    }

    fn answer(&mut self) {
        let mut stamp = Stamp::default();
        self.receipt.tell(self.now, &mut stamp);
        if self.rng.f64() >= self.loss {
            let at = self.now + self.latency_us + self.rng.u64(..=self.varies_us);
            let place = self.back.partition_point(|&(other, _)| other <= at);
            self.back.insert(place, (at, stamp));
        }
    }

    /// Runs for a while. Somebody who has `always` something to send does so when there is
    /// room; both sides send heartbeats.
    fn run(&mut self, for_us: u64, always: bool) {
        let end = self.now + for_us;
        while self.now < end {
            if self.now >= self.next_beat {
                self.next_beat = self.now + 50_000;
                self.send(SHORT);
                self.answer();
            }
            if self.receipt.due().is_some_and(|due| due <= self.now) {
                self.answer();
            }
            let mut next = self.next_beat;
            if always {
                self.flow.poll(self.now);
                while self.flow.admits(self.now, DATAGRAM) {
                    self.send(DATAGRAM);
                }
                next = next.min(self.flow.deadline(DATAGRAM));
            }
            next = next.min(self.receipt.due().unwrap_or(next));
            next = next.min(self.there.front().map_or(next, |&(at, ..)| at));
            next = next.min(self.back.front().map_or(next, |&(at, ..)| at));
            self.now = next.max(self.now + 1);
            while self.there.front().is_some_and(|&(at, ..)| at <= self.now) {
                let (_, stamp, bytes) = self.there.pop_front().expect("just seen");
                self.arrived += bytes as u64;
                self.receipt.received(self.now, 1, stamp, bytes);
            }
            while self.back.front().is_some_and(|&(at, ..)| at <= self.now) {
                let (_, stamp) = self.back.pop_front().expect("just seen");
                self.flow.heard(self.now, 1, stamp);
            }
        }
    }

    /// What arrives in so many seconds, as a share of what the line could carry, and the
    /// share of what was sent that its queue dropped.
    fn shares(&mut self, seconds: u64) -> (f64, f64) {
        let (sent, arrived, dropped) = (self.sent, self.arrived, self.dropped);
        self.run(seconds * 1_000_000, true);
        let could = (self.bits_per_s / 8 * seconds) as f64;
        let sent = (self.sent - sent) as f64;
        ((self.arrived - arrived) as f64 / could, (self.dropped - dropped) as f64 / sent)
    }
}

#[test]
fn a_line_is_filled_and_its_queue_is_not() {
    for (bits_per_s, latency_us, queue_us) in [
        (1_000_000, 100, 200_000),
        (2_000_000, 100, 50_000),
        (10_000_000, 100, 50_000),
        (10_000_000, 100, 200_000),
        (10_000_000, 25_000, 50_000),
        (100_000_000, 10_000, 50_000),
        (100_000_000, 25_000, 20_000),
        (10_000_000, 300_000, 200_000),
    ] {
        let mut world = World::new(bits_per_s, latency_us, queue_us);
        // Heartbeats have told how long a round trip takes.
        world.run(1_000_000, false);
        world.run(10_000_000, true);
        let (used, dropped) = world.shares(20);
        let of = format!("{bits_per_s} bit/s, {latency_us} µs, a queue of {queue_us} µs");
        assert!(used > 0.85, "{of}: {used:.2} used");
        assert!(dropped < 0.05, "{of}: {dropped:.2} dropped");
    }
}

#[test]
fn a_way_that_becomes_longer_is_no_queue() {
    let mut world = World::new(10_000_000, 100, 100_000);
    world.run(1_000_000, true);
    world.latency_us = 50_000;
    world.run(2_000_000, true);
    let (used, wasted) = world.shares(5);
    assert!(used > 0.8 && wasted < 0.01, "{used} of the line, {wasted} wasted");
}

#[test]
fn where_datagrams_overtake_one_another_a_way_that_varies_is_no_queue() {
    for varies_us in [20_000, 200_000, 1_000_000] {
        let mut world = World::new(1_000_000_000, 100, 50_000);
        world.varies_us = varies_us;
        world.run(20_000_000, true);
        let before = world.arrived;
        world.run(10_000_000, true);
        let rate = (world.arrived - before) / 10;
        assert!(rate > 1_000_000, "{varies_us} µs: {rate} bytes a second");
    }
    // A queue is one all the same.
    let mut world = World::new(10_000_000, 100, 200_000);
    world.varies_us = 20_000;
    world.run(10_000_000, true);
    let (used, dropped) = world.shares(20);
    assert!(used > 0.85 && dropped < 0.05, "{used:.2} used, {dropped:.2} dropped");
}

#[test]
fn word_that_was_overtaken_is_no_news() {
    let mut flow = Flow::new(0);
    flow.send(0, 10_000);
    let word = |reached, taken| Stamp { reached, taken, ..Stamp::default() };
    assert!(flow.heard(10, 1, word(1_000, 1_000)) && flow.heard(20, 1, word(4_000, 3_000)));
    let before = format!("{flow:?}");
    for overtaken in [word(1_000, 1_000), word(3_000, 2_500), word(4_000, 2_999)] {
        assert!(flow.heard(30, 1, overtaken), "it is of this life");
        assert_eq!(format!("{flow:?}"), before);
    }
    flow.heard(30, 1, word(4_000, 3_500));
    assert_eq!((flow.round.lost, flow.round.late), (500, 500));
    flow.heard(30 + SHORTEST_US, 1, word(3_000, 3_000));
    assert_eq!(flow.word, (3_000, 3_000), "the numbers have wrapped");
}

#[test]
fn a_peer_that_begins_another_life_is_sent_to_at_once() {
    let mut traffic = Traffic::new(7, HEADER_BYTES);
    let heard = |traffic: &mut Traffic, now, boot| {
        traffic.received(now, boot, Stamp::default(), 100);
        traffic.take_reborn()
    };
    assert!(!heard(&mut traffic, 0, 1), "it was not known before");
    for now in 1..100 {
        traffic.flow.poll(now * 1_000_000);
        while traffic.flow.admits(now * 1_000_000, DATAGRAM) {
            traffic.flow.send(now * 1_000_000, DATAGRAM);
        }
    }
    assert!(!heard(&mut traffic, 100_000_000, 1), "it lives");
    assert!(heard(&mut traffic, 100_000_000, 2));
    assert!(traffic.flow.admits(100_000_000, DATAGRAM));
    assert_eq!((traffic.flow.under_way(), traffic.flow.window()), (0, WINDOW_FIRST));
}

#[test]
fn nothing_is_known_of_the_path_to_a_peer_that_has_moved() {
    let mut world = World::new(1_000_000_000, 100, 50_000);
    world.run(5_000_000, true);
    assert!(world.flow.window() > WINDOW_FIRST && world.flow.round_trip_us().is_some());
    world.flow.begin_anew();
    assert_eq!((world.flow.under_way(), world.flow.window()), (0, WINDOW_FIRST));
    assert_eq!(world.flow.round_trip_us(), None);
    world.run(5_000_000, true);
    assert!(world.flow.window() > WINDOW_FIRST, "what has arrived is understood as before");
}

#[test]
fn the_first_seconds_waste_little() {
    let mut world = World::new(10_000_000, 100, 50_000);
    world.run(1_000_000, false);
    let (used, dropped) = world.shares(5);
    assert!(used > 0.85 && dropped < 0.10, "{used:.2} used, {dropped:.2} dropped");
}

#[test]
fn losses_without_a_queue_shrink_nothing() {
    for loss in [0.05, 0.3] {
        let mut world = World::new(1_000_000_000, 100, 50_000);
        world.loss = loss;
        world.run(5_000_000, true);
        let window = world.flow.window();
        assert!(window > 500_000, "{loss}: {window} bytes");
    }
}

#[test]
fn nothing_is_held_back_on_a_path_that_is_fast() {
    let mut world = World::new(10_000_000_000, 20, 100_000);
    world.run(100_000, true);
    assert!(world.flow.window() > 500_000, "{}", world.flow.window());
    assert_eq!(world.dropped, 0);
}

#[test]
fn silence_stops_what_can_wait_but_for_a_trickle() {
    let mut world = World::new(100_000_000, 1_000, 50_000);
    world.run(1_000_000, true);
    world.loss = 1.0;
    world.run(5_000_000, true);
    let before = world.sent;
    world.run(10_000_000, true);
    let bytes = world.sent - before;
    assert!(bytes < 100_000, "{bytes} bytes in ten seconds");
    world.loss = 0.0;
    world.run(3_000_000, true);
    let (used, _) = world.shares(5);
    assert!(used > 0.8, "{used:.2} used afterwards");
}

#[test]
fn word_that_was_given_late_is_no_round_trip() {
    // A client sends short datagrams and is told of them only when it asks.
    let (mut flow, mut receipt) = (Flow::new(0), Receipt::default());
    for number in 0..1_000_000 {
        let now = number * 100;
        let stamp = flow.send(now, SHORT);
        receipt.received(now + 50, 1, stamp, SHORT);
        if receipt.due().is_some_and(|due| due <= now) {
            let mut stamp = Stamp::default();
            receipt.tell(now + 60, &mut stamp);
            flow.heard(now + 110, 1, stamp);
        }
    }
    assert_eq!(flow.window(), WINDOW_MAX, "{flow:?}");
    let round_trip = flow.round_trip_us().expect("measured");
    assert!((100..500).contains(&round_trip), "{round_trip} µs");
}

#[test]
fn a_flow_that_nobody_uses_keeps_its_window() {
    let mut world = World::new(100_000_000, 1_000, 50_000);
    world.run(1_000_000, true);
    world.run(200_000, false);
    let window = world.flow.window();
    // Threads wait for a core: answers take 30 ms now.
    world.latency_us = 15_000;
    world.run(10_000_000, false);
    assert_eq!(world.flow.window(), window);
}

#[test]
fn a_stamp_is_what_its_bytes_say() {
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..1_000 {
        let stamp = Stamp {
            offset: rng.u32(..),
            reached: rng.u32(..),
            taken: rng.u32(..),
            held: rng.u16(..=HELD_MAX),
            asks: rng.bool(),
        };
        assert_eq!(Stamp::from_bytes(&stamp.to_bytes()), stamp);
        let bytes = [0; STAMP_BYTES].map(|_: u8| rng.u8(..));
        assert_eq!(Stamp::from_bytes(&bytes).to_bytes(), bytes);
    }
}

fn told(receipt: &mut Receipt, now: u64) -> (u32, u32) {
    let mut stamp = Stamp::default();
    receipt.tell(now, &mut stamp);
    (stamp.reached, stamp.taken)
}

#[test]
fn what_arrives_twice_or_late_is_counted_once() {
    let mut receipt = Receipt::default();
    let at = |offset: u32| Stamp { offset, ..Stamp::default() };
    assert_eq!(told(&mut receipt, 0), (0, 0));
    receipt.received(0, 1, at(100), 10);
    assert_eq!(told(&mut receipt, 0), (110, 110));
    receipt.received(0, 1, at(130), 10);
    assert_eq!(told(&mut receipt, 0), (140, 120));
    for _ in 0..2 {
        receipt.received(0, 1, at(110), 10);
        receipt.received(0, 1, at(130), 10);
        assert_eq!(told(&mut receipt, 0), (140, 130));
    }
    // Of before the first: nothing that is known to be lost.
    receipt.received(0, 1, at(120), 10);
    receipt.received(0, 1, at(40), 10);
    assert_eq!(told(&mut receipt, 0), (140, 140));
    // A new life begins anew.
    receipt.received(0, 2, at(7), 10);
    assert_eq!(told(&mut receipt, 0), (17, 17));
}

#[test]
fn word_is_due_when_somebody_asks_and_no_sooner() {
    let mut receipt = Receipt::default();
    let asks = |offset: u32, asks| Stamp { offset, asks, ..Stamp::default() };
    receipt.received(10, 1, asks(0, false), 10);
    assert_eq!(receipt.due(), None);
    receipt.received(20, 1, asks(10, true), 10);
    assert_eq!(receipt.due(), Some(20 + ASKED_US));
    receipt.received(30, 1, asks(20, true), 10);
    assert_eq!(receipt.due(), Some(0));
    told(&mut receipt, 40);
    assert_eq!(receipt.due(), None);
}

#[test]
fn word_about_an_earlier_life_of_the_sender_says_nothing() {
    let mut flow = Flow::new(5_000);
    flow.send(0, 100);
    for reached in [4_999, 5_101, 0, u32::MAX] {
        flow.heard(10, 1, Stamp { reached, taken: reached, ..Stamp::default() });
        assert_eq!(flow.under_way(), 100, "{reached}");
    }
    flow.heard(10, 1, Stamp { reached: 5_100, taken: 5_100, ..Stamp::default() });
    assert_eq!(flow.under_way(), 0);
}

#[test]
fn no_word_whatever_makes_a_flow_panic_or_leave_its_bounds() {
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..200 {
        let (mut flow, mut receipt) = (Flow::new(rng.u32(..)), Receipt::default());
        let mut now = 0;
        for _ in 0..1_000 {
            now += rng.u64(..10_000);
            let near = flow.sent.wrapping_sub(rng.u32(..20_000));
            let mut any = || if rng.bool() { rng.u32(..) } else { near };
            let (offset, reached, taken) = (any(), any(), any());
            let held = rng.u16(..=HELD_MAX);
            let stamp = Stamp { offset, reached, taken, held, asks: rng.bool() };
            flow.heard(now, rng.u64(..2), stamp);
            receipt.received(now, rng.u64(..2), stamp, rng.usize(..65_508));
            flow.send(now, rng.usize(..65_508));
            flow.poll(now);
            let admits = flow.admits(now, WINDOW_MAX as usize + 1);
            assert_eq!(admits, flow.under_way() == 0 && flow.deadline(1_400) <= now);
            assert!((DATAGRAMS_MIN * DATAGRAM_BYTES..=WINDOW_MAX).contains(&flow.window()));
            told(&mut receipt, now);
        }
    }
}
