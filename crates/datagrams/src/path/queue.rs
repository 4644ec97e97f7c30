//! What waits for room on the way to one peer. (W6)
//!
//! Only what can wait comes here: accepts, pages of a decided log, fragments. A datagram that
//! waits already, or is under way, is not queued again, so a sender that repeats itself adds
//! nothing. A datagram that has waited for [`AGE_MAX_US`] is dropped: whoever needs it has asked for it
//! anew, or needs it no more. And what the receiver needs no more, because it has come so far by
//! other ways, is dropped as soon as it says so.
//!
//! A piece of a long message that has arrived is not queued again either, as long as its receiver
//! remembers it and does not ask for it. The first piece is: it shows that the message is being sent
//! again. So to repeat a message that has arrived costs one piece.
//!
//! A receiver comes so far step by step. What it needs for the next step holds up all that waits
//! for later ones, however late it was added: it was lost on its way before, and is sent again. So
//! it goes before them.
//!
//! **Guarantees.** Bounded in bytes. What leaves does so in its order, but for what is needed
//! sooner.
//!
//! **Does not** decide when anything leaves ([`Flow`] does), or read a
//! clock.

use super::flow::Flow;
use super::receipt::is_before;
use super::shared::Traffic;
use crate::HEADER_BYTES;
use crate::codec::ALWAYS_NEEDED;
use std::collections::{HashMap, HashSet, VecDeque};
use xxhash_rust::xxh3::xxh3_64;

/// The most bytes that wait for one peer.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;

/// So many bytes may wait on any path: the longest message eight times.
pub const QUEUE_BYTES_MIN: usize = 512 << 10;

/// Above that no more may wait than the path takes in this time. What is admitted leaves soon
/// and whole; of what is not, somebody will ask again. If more waited than leaves in time,
/// nothing would ever leave whole.
pub const QUEUE_US_MAX: u64 = 2_000_000;

/// The longest time that a datagram waits.
pub const AGE_MAX_US: u64 = 5_000_000;

/// For how long a piece that has arrived is not sent again: its receiver keeps what it has joined
/// for so long.
pub const ARRIVED_US: u64 = crate::fragment::JOINED_US;

/// The most pieces that have arrived and are remembered.
pub const ARRIVED_MAX: usize = 4_096;

/// Whether a datagram that has arrived is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It is, as often as somebody sends it.
    Always,
    /// Not while its receiver remembers it: a piece that nobody has asked for.
    UnlessArrived,
}

/// Datagrams that wait for one peer.
#[derive(Debug, Default)]
pub struct BulkQueue {
    waiting: VecDeque<Waiting>,
    /// The digests of what waits and what is under way: of the bodies, since every datagram
    /// has a header of its own.
    digests: HashMap<u64, Repeat>,
    bytes: usize,
    /// What has left and may still be under way, the oldest first.
    left: VecDeque<HasLeft>,
    arrived: Arrived,
}

/// The pieces that have arrived lately.
#[derive(Debug, Default)]
struct Arrived {
    digests: HashSet<u64>,
    /// And since when that is known, the oldest first.
    since: VecDeque<(u64, u64)>,
}

impl Arrived {
    fn add(&mut self, now: u64, digest: u64) {
        if self.since.len() == ARRIVED_MAX {
            self.forget_oldest();
        }
        self.digests.insert(digest);
        self.since.push_back((digest, now));
    }

    fn has(&mut self, now: u64, digest: u64) -> bool {
        while self.since.front().is_some_and(|(_, at)| now.saturating_sub(*at) > ARRIVED_US) {
            self.forget_oldest();
        }
        self.digests.contains(&digest)
    }

    fn forget_oldest(&mut self) {
        if let Some((digest, _)) = self.since.pop_front() {
            self.digests.remove(&digest);
        }
    }
}

/// The most datagrams under way that are remembered.
pub const LEFT_MAX: usize = 16_384;

#[derive(Debug)]
struct Waiting {
    datagram: Vec<u8>,
    digest: u64,
    since: u64,
    /// The receiver needs it until it has come so far.
    until: u64,
}

/// A datagram that has left.
#[derive(Debug, Clone, Copy)]
struct HasLeft {
    /// Where it ended in the flow.
    end: u32,
    digest: u64,
    at: u64,
}

/// What became of a datagram that was to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Waits,
    /// The same datagram waits already, or is under way.
    Known,
    /// There is no room.
    Full,
}

impl BulkQueue {
    /// Adds a sealed datagram that is to leave in `flow`, and which the receiver needs until it
    /// has come as far as `until`.
    pub fn push(
        &mut self,
        now: u64,
        datagram: &[u8],
        until: u64,
        repeat: Repeat,
        flow: &Flow,
    ) -> Pushed {
        let digest = xxh3_64(&datagram[HEADER_BYTES.min(datagram.len())..]);
        let mut has_arrived = || repeat == Repeat::UnlessArrived && self.arrived.has(now, digest);
        if self.digests.contains_key(&digest) || has_arrived() {
            return Pushed::Known;
        }
        // Before anything is known of the path, what is not admitted here would be lost on every
        // path, and a line that is lost whole is sent again late.
        let most = flow.takes_within(QUEUE_US_MAX).unwrap_or(QUEUE_BYTES_MAX);
        let most = most.clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX);
        if self.bytes + datagram.len() > most {
            return Pushed::Full;
        }
        self.digests.insert(digest, repeat);
        self.bytes += datagram.len();
        let at = self.place_of(until);
        // Among what is older it counts as old as that, so that the oldest stay in front.
        let since = self.waiting.get(at).map_or(now, |behind| behind.since);
        self.waiting.insert(at, Waiting { datagram: datagram.to_vec(), digest, since, until });
        Pushed::Waits
    }

    /// Where a datagram waits that is needed until the receiver has come as far as `until`: before
    /// all that are needed for longer, of those that say how long. The receiver can do nothing with
    /// these before it has that one.
    fn place_of(&self, until: u64) -> usize {
        let end = self.waiting.len();
        let last = self.waiting.iter().rev().find(|it| it.until != ALWAYS_NEEDED);
        if until == ALWAYS_NEEDED || last.is_none_or(|last| last.until <= until) {
            return end;
        }
        let is_behind = |it: &Waiting| it.until > until && it.until != ALWAYS_NEEDED;
        self.waiting.iter().position(is_behind).unwrap_or(end)
    }

    /// Drops what has waited for too long, and returns how many datagrams that were.
    pub fn drop_old(&mut self, now: u64) -> usize {
        let mut dropped = 0;
        while self.waiting.front().is_some_and(|it| now.saturating_sub(it.since) > AGE_MAX_US) {
            if let Some((_, digest)) = self.pop() {
                self.digests.remove(&digest);
            }
            dropped += 1;
        }
        dropped
    }

    /// The receiver says that it has come so far. Drops what it needs no more, and returns how
    /// many datagrams that were. Of what comes later it says so again: in another life it may have
    /// come less far.
    pub fn drop_needless(&mut self, has: u64) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| {
            let is_needed = waiting.until > has;
            if !is_needed {
                self.digests.remove(&waiting.digest);
                self.bytes -= waiting.datagram.len();
            }
            is_needed
        });
        before - self.waiting.len()
    }

    /// The path carries datagrams of up to `length` bytes only. Drops longer ones, and returns how
    /// many they were. What has left may be lost with them, so it may be queued again.
    pub fn narrow(&mut self, length: usize) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.datagram.len() <= length);
        self.bytes = self.waiting.iter().map(|waiting| waiting.datagram.len()).sum();
        let mut digests = std::mem::take(&mut self.digests);
        let waiting = self.waiting.iter().map(|waiting| waiting.digest);
        self.digests = waiting.filter_map(|digest| digests.remove_entry(&digest)).collect();
        self.left.clear();
        self.arrived = Arrived::default();
        before - self.waiting.len()
    }

    /// The peer may have begun another life, or have moved: then what waits was meant for the one
    /// before, and nothing of it has arrived at this one. Drops it, and returns how many datagrams
    /// that were. Comes before anything is added or leaves, so that nothing is dropped that was
    /// added since.
    pub fn follow(&mut self, traffic: &mut Traffic) -> usize {
        if traffic.take_reborn() { self.narrow(0) } else { 0 }
    }

    /// The bytes of the next datagram.
    pub fn next_bytes(&self) -> Option<usize> {
        self.waiting.front().map(|it| it.datagram.len())
    }

    /// The next datagram, and its digest: for [`BulkQueue::leaves`].
    pub fn pop(&mut self) -> Option<(Vec<u8>, u64)> {
        let Waiting { datagram, digest, .. } = self.waiting.pop_front()?;
        self.bytes -= datagram.len();
        Some((datagram, digest))
    }

    /// A datagram leaves now, and ends at `end` in the flow.
    pub fn leaves(&mut self, now: u64, end: u32, digest: u64) {
        if self.left.len() == LEFT_MAX
            && let Some(oldest) = self.left.pop_front()
        {
            self.digests.remove(&oldest.digest);
        }
        self.left.push_back(HasLeft { end, digest, at: now });
    }

    /// Nothing is under way any more that `flow` has settled, or that left so long ago that
    /// there should have been word.
    pub fn settle(&mut self, now: u64, flow: &Flow) {
        let since = now.saturating_sub(flow.patience_us());
        while let Some(&HasLeft { end, digest, at }) = self.left.front()
            && (!is_before(flow.settled(), end) || at < since)
        {
            self.left.pop_front();
            let repeat = self.digests.remove(&digest);
            if repeat == Some(Repeat::UnlessArrived) && flow.has_arrived(end) {
                self.arrived.add(now, digest);
            }
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Repeat::{Always, UnlessArrived};
    use super::*;
    use crate::codec::ALWAYS_NEEDED;
    use crate::path::flow::ROUND_US;
    use crate::path::receipt::Stamp;

    fn datagram(body: u8) -> Vec<u8> {
        let mut datagram = vec![0; HEADER_BYTES];
        datagram.extend([body; 100]);
        datagram
    }

    #[test]
    fn what_waits_already_is_not_queued_again_whatever_its_header_says() {
        let mut queue = BulkQueue::default();
        assert_eq!(
            queue.push(0, &datagram(1), ALWAYS_NEEDED, Always, &Flow::new(0)),
            Pushed::Waits
        );
        let mut again = datagram(1);
        again[20] = 7;
        assert_eq!(queue.push(0, &again, ALWAYS_NEEDED, Always, &Flow::new(0)), Pushed::Known);
        assert_eq!(
            queue.push(0, &datagram(2), ALWAYS_NEEDED, Always, &Flow::new(0)),
            Pushed::Waits
        );
        assert_eq!(queue.next_bytes(), Some(HEADER_BYTES + 100));
        let mut flow = Flow::new(u32::MAX - 200);
        let next = |queue: &mut BulkQueue, flow: &mut Flow| {
            let (datagram, digest) = queue.pop().expect("one waits");
            flow.send(0, datagram.len());
            queue.leaves(0, flow.sent(), digest);
            datagram
        };
        let arrived = |flow: &mut Flow| {
            let (reached, taken) = (flow.sent(), flow.sent());
            flow.heard(1, 1, Stamp { reached, taken, ..Stamp::default() });
        };
        assert_eq!(next(&mut queue, &mut flow), datagram(1));
        queue.settle(0, &flow);
        assert_eq!(
            queue.push(0, &again, ALWAYS_NEEDED, Always, &Flow::new(0)),
            Pushed::Known,
            "it is under way"
        );
        arrived(&mut flow);
        queue.settle(0, &flow);
        assert_eq!(
            queue.push(0, &again, ALWAYS_NEEDED, Always, &Flow::new(0)),
            Pushed::Waits,
            "it has arrived or is lost"
        );
        assert_eq!(next(&mut queue, &mut flow), datagram(2));
        assert_eq!(next(&mut queue, &mut flow), again);
        queue.settle(flow.patience_us(), &flow);
        assert_eq!(
            queue.push(0, &again, ALWAYS_NEEDED, Always, &Flow::new(0)),
            Pushed::Known,
            "it may be under way"
        );
        queue.settle(flow.patience_us() + 1, &flow);
        assert_eq!(
            queue.push(0, &again, ALWAYS_NEEDED, Always, &Flow::new(0)),
            Pushed::Waits,
            "there should have been word"
        );
        assert_eq!(next(&mut queue, &mut flow), again);
        arrived(&mut flow);
        queue.settle(0, &flow);
        assert!(queue.is_empty() && queue.bytes() == 0 && queue.digests.is_empty());
    }

    #[test]
    fn a_piece_that_has_arrived_leaves_again_only_if_it_is_asked_for_or_forgotten() {
        let mut queue = BulkQueue::default();
        let mut flow = Flow::new(u32::MAX - 200);
        let push = |queue: &mut BulkQueue, now, body, repeat, flow: &Flow| {
            queue.settle(now, flow);
            queue.push(now, &datagram(body), ALWAYS_NEEDED, repeat, flow)
        };
        // All wait, and leave at once.
        let leave = |queue: &mut BulkQueue, flow: &mut Flow| {
            while let Some((datagram, digest)) = queue.pop() {
                flow.send(0, datagram.len());
                queue.leaves(0, flow.sent(), digest);
            }
        };
        // So many bytes of all have arrived.
        let heard = |flow: &mut Flow, lost: u32| {
            let (reached, taken) = (flow.sent(), flow.sent().wrapping_sub(lost));
            flow.heard(1, 1, Stamp { reached, taken, ..Stamp::default() });
        };
        // The first word of a life says nothing of what was before.
        heard(&mut flow, 0);
        for (body, repeat) in [(1, Always), (2, UnlessArrived), (3, UnlessArrived)] {
            assert_eq!(push(&mut queue, 0, body, repeat, &flow), Pushed::Waits);
        }
        leave(&mut queue, &mut flow);
        heard(&mut flow, 0);
        assert_eq!(push(&mut queue, 1, 1, Always, &flow), Pushed::Waits);
        for body in [2, 3] {
            assert_eq!(push(&mut queue, 1, body, UnlessArrived, &flow), Pushed::Known);
        }
        assert_eq!(push(&mut queue, 1, 2, Always, &flow), Pushed::Waits, "it is asked for");
        leave(&mut queue, &mut flow);
        // Of these two one is lost, nobody knows which.
        for body in [4, 5] {
            assert_eq!(push(&mut queue, 1, body, UnlessArrived, &flow), Pushed::Waits);
        }
        leave(&mut queue, &mut flow);
        heard(&mut flow, 131);
        for body in [4, 5] {
            assert_eq!(push(&mut queue, 1, body, UnlessArrived, &flow), Pushed::Waits);
        }
        assert_eq!(push(&mut queue, 1 + ARRIVED_US, 3, UnlessArrived, &flow), Pushed::Known);
        assert_eq!(push(&mut queue, 2 + ARRIVED_US, 3, UnlessArrived, &flow), Pushed::Waits);
        // Another life of the receiver has nothing of it.
        assert_eq!(queue.narrow(0), 3);
        assert_eq!(push(&mut queue, 2, 2, UnlessArrived, &flow), Pushed::Waits);
    }

    #[test]
    fn what_waits_for_the_peers_new_life_stays_and_what_waited_for_the_former_does_not() {
        let (mut queue, mut traffic) = (BulkQueue::default(), Traffic::new(0, HEADER_BYTES));
        traffic.received(0, 1, Stamp::default(), 100);
        assert_eq!(queue.follow(&mut traffic), 0);
        for life in 2..4 {
            let pushed = queue.push(0, &datagram(7), ALWAYS_NEEDED, Always, &traffic.flow);
            assert_eq!((pushed, queue.follow(&mut traffic)), (Pushed::Waits, 0), "life {life}");
            traffic.received(0, life, Stamp::default(), 100);
            assert_eq!(queue.follow(&mut traffic), 1, "life {life}");
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn the_pieces_that_have_arrived_and_are_remembered_are_bounded() {
        let (mut queue, flow) = (BulkQueue::default(), Flow::new(0));
        for digest in 0..=ARRIVED_MAX as u64 {
            queue.arrived.add(0, digest);
        }
        assert_eq!(queue.arrived.digests.len(), ARRIVED_MAX);
        assert!(!queue.arrived.has(0, 0) && queue.arrived.has(0, 1));
        assert!(!queue.arrived.has(ARRIVED_US + 1, 1) && queue.arrived.digests.is_empty());
        assert_eq!(queue.push(0, &datagram(1), 1, UnlessArrived, &flow), Pushed::Waits);
    }

    #[test]
    fn what_has_waited_for_too_long_is_dropped() {
        let mut queue = BulkQueue::default();
        for (at, body) in [(0, 1), (10, 2), (20, 3)] {
            queue.push(at, &datagram(body), ALWAYS_NEEDED, Always, &Flow::new(0));
        }
        assert_eq!(queue.drop_old(AGE_MAX_US), 0);
        assert_eq!(queue.drop_old(AGE_MAX_US + 11), 2);
        assert_eq!(queue.pop().map(|(datagram, _)| datagram), Some(datagram(3)));
    }

    #[test]
    fn what_the_receiver_needs_no_more_does_not_leave() {
        let (mut queue, flow) = (BulkQueue::default(), Flow::new(0));
        for (body, until) in [(1, 10), (2, 20), (3, ALWAYS_NEEDED), (4, 15), (5, 21)] {
            assert_eq!(queue.push(0, &datagram(body), until, Always, &flow), Pushed::Waits);
        }
        assert_eq!(queue.drop_needless(9), 0);
        assert_eq!(queue.drop_needless(20), 3);
        assert_eq!(queue.bytes(), 2 * datagram(0).len());
        assert_eq!(
            queue.push(0, &datagram(2), 21, Always, &flow),
            Pushed::Waits,
            "it is not known any more"
        );
        let left = std::iter::from_fn(|| queue.pop()).map(|(datagram, _)| datagram);
        assert_eq!(left.collect::<Vec<_>>(), [3, 5, 2].map(datagram));
        // The receiver may have begun another life.
        assert_eq!(queue.push(0, &datagram(1), 10, Always, &flow), Pushed::Waits);
    }

    #[test]
    fn what_its_receiver_needs_sooner_leaves_before_what_it_needs_later() {
        let (mut queue, flow) = (BulkQueue::default(), Flow::new(0));
        let untils = [(1, 10), (2, 20), (3, ALWAYS_NEEDED), (4, 30), (5, 20), (6, 5), (7, 30)];
        for (body, until) in untils {
            assert_eq!(queue.push(0, &datagram(body), until, Always, &flow), Pushed::Waits);
        }
        queue.push(0, &datagram(8), ALWAYS_NEEDED, Always, &flow);
        queue.push(0, &datagram(9), 25, Always, &flow);
        let left = std::iter::from_fn(|| queue.pop()).map(|(datagram, _)| datagram);
        assert_eq!(left.collect::<Vec<_>>(), [6, 1, 2, 3, 5, 9, 4, 7, 8].map(datagram));
    }

    #[test]
    fn what_has_gone_before_older_datagrams_keeps_none_of_them() {
        let (mut queue, flow) = (BulkQueue::default(), Flow::new(0));
        for (at, body, until) in [(0, 1, 20), (10, 2, 30), (AGE_MAX_US, 3, 10)] {
            queue.push(at, &datagram(body), until, Always, &flow);
        }
        assert_eq!(queue.drop_old(AGE_MAX_US + 1), 2, "the first one, and what goes before it");
        assert_eq!(queue.pop().map(|(datagram, _)| datagram), Some(datagram(2)));
    }

    #[test]
    fn what_turns_out_to_be_too_long_for_the_path_is_dropped() {
        let (mut queue, flow) = (BulkQueue::default(), Flow::new(0));
        let long = [datagram(1), vec![7; 50]].concat();
        let longer = [datagram(1), vec![7; 60]].concat();
        for datagram in [datagram(1), long.clone(), longer, datagram(2)] {
            queue.push(0, &datagram, ALWAYS_NEEDED, Always, &flow);
        }
        assert!(!queue.is_empty());
        assert_eq!(queue.narrow(datagram(0).len()), 2);
        assert_eq!(queue.bytes(), 2 * datagram(0).len());
        assert_eq!(
            queue.push(0, &long, ALWAYS_NEEDED, Always, &flow),
            Pushed::Waits,
            "it is not known any more"
        );
        assert_eq!(queue.push(0, &datagram(2), ALWAYS_NEEDED, Always, &flow), Pushed::Known);
    }

    /// A flow that has measured this round trip, and has lost so much that its window, of 14,000
    /// bytes, does not double any more.
    fn measured(round_trip_us: u64) -> Flow {
        let mut flow = Flow::new(0);
        let mut arrive = |sent_at: u64, bytes, reached, taken| {
            flow.send(sent_at, bytes);
            flow.heard(sent_at + round_trip_us, 1, Stamp { reached, taken, ..Stamp::default() });
        };
        arrive(0, 100, 100, 100);
        arrive(ROUND_US + round_trip_us, 60_000, 60_100, 14_100);
        assert_eq!((flow.window(), flow.round_trip_us()), (14_000, Some(round_trip_us)));
        flow
    }

    /// How many bytes wait when no more are taken.
    fn filled(flow: &Flow) -> usize {
        let (mut queue, mut bytes) = (BulkQueue::default(), vec![0; 60_000]);
        for number in 0..100_u32 {
            bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&number.to_le_bytes());
            if queue.push(0, &bytes, ALWAYS_NEEDED, Always, flow) == Pushed::Full {
                return queue.bytes();
            }
        }
        panic!("the bytes that wait have no bound");
    }

    #[test]
    fn the_bytes_that_wait_are_bounded_by_what_the_path_takes_in_time() {
        let whole = |most: usize| most - most % 60_000;
        assert_eq!(filled(&measured(1_000)), whole(QUEUE_BYTES_MAX), "14,000 bytes a millisecond");
        assert_eq!(filled(&measured(28_000)), whole(1_000_000), "500 bytes a millisecond");
        assert_eq!(filled(&measured(10_000_000)), whole(QUEUE_BYTES_MIN));
    }

    #[test]
    fn a_first_burst_waits_whole_before_it_is_known_how_much_the_path_takes() {
        // Sixteen of the longest lines, which a client with many sessions may send at once.
        let (mut queue, flow) = (BulkQueue::default(), Flow::new(0));
        let mut piece = vec![0; 1_400];
        for number in 0..16 * 48_u32 {
            piece[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&number.to_le_bytes());
            assert_eq!(queue.push(0, &piece, ALWAYS_NEEDED, Always, &flow), Pushed::Waits);
        }
        let whole = QUEUE_BYTES_MAX - QUEUE_BYTES_MAX % 60_000;
        assert_eq!(filled(&flow), whole);
        // The losses were no sign of what the path takes: they were too long for it.
        let mut narrowed = measured(10_000_000);
        narrowed.forget();
        assert_eq!(filled(&narrowed), whole);
    }

    #[test]
    fn a_queue_is_filled_to_the_byte() {
        let (mut queue, flow) = (BulkQueue::default(), measured(10_000_000));
        assert_eq!(
            queue.push(0, &vec![1; QUEUE_BYTES_MIN - 100], ALWAYS_NEEDED, Always, &flow),
            Pushed::Waits
        );
        assert_eq!(queue.push(0, &[2; 101], ALWAYS_NEEDED, Always, &flow), Pushed::Full);
        assert_eq!(queue.push(0, &[2; 100], ALWAYS_NEEDED, Always, &flow), Pushed::Waits);
    }

    #[test]
    fn of_what_is_under_way_only_the_latest_datagrams_are_remembered() {
        let (mut queue, flow) = (BulkQueue::default(), Flow::new(0));
        queue.push(0, &datagram(1), ALWAYS_NEEDED, Always, &flow);
        let (_, first) = queue.pop().expect("one waits");
        queue.leaves(0, 1, first);
        for other in 1..LEFT_MAX as u64 {
            queue.leaves(0, 2, !first ^ other);
        }
        assert_eq!(queue.push(0, &datagram(1), ALWAYS_NEEDED, Always, &flow), Pushed::Known);
        queue.leaves(0, 2, !first);
        assert_eq!(queue.left.len(), LEFT_MAX);
        assert_eq!(queue.push(0, &datagram(1), ALWAYS_NEEDED, Always, &flow), Pushed::Waits);
    }
}
