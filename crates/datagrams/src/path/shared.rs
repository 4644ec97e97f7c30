//! What the loop and the sending threads share of each path.
//!
//! The loop owns a [`PathLength`](super::length::PathLength) for each peer. The threads read
//! the present length before they pack, and note what they sent, so that the loop knows what
//! to test. None of that orders anything: a note that is lost is made again by the next
//! datagram of its kind.
//!
//! What is under way on a path, and what has arrived from the peer, is behind a lock, which
//! each holder keeps for some dozen instructions.

use super::evidence::Evidence;
use super::flow::Flow;
use super::length::Use;
use super::receipt::{Receipt, Stamp};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const LONG: u8 = 1;
const BATCH: u8 = 2;

/// The paths to all peers.
#[derive(Debug)]
pub(crate) struct SharedPaths {
    paths: Vec<SharedPath>,
    /// Whether a thread has noted anything since the loop looked.
    news: AtomicBool,
}

#[derive(Debug)]
struct SharedPath {
    length: AtomicUsize,
    used: AtomicU8,
    /// The shortest datagram that the kernel refused as too long since the loop looked.
    refused: AtomicUsize,
    /// Whether datagrams wait for room at the loop. What is not urgent must not overtake them.
    waits: AtomicBool,
    traffic: Mutex<Traffic>,
}

/// What travels on a path, in both directions.
#[derive(Debug)]
pub struct Traffic {
    /// To the peer.
    pub flow: Flow,
    /// Which long datagrams are known to have arrived there.
    pub evidence: Evidence,
    /// From the peer.
    pub receipt: Receipt,
    /// Whether the peer has begun another life or has moved since [`Traffic::take_reborn`].
    reborn: bool,
}

impl Traffic {
    /// A path on which nothing has travelled, and a datagram without a body has `bare_bytes`. See
    /// [`Flow::new`].
    pub fn new(start: u32, bare_bytes: usize) -> Self {
        Traffic {
            flow: Flow::new(start).with_bare_bytes(bare_bytes),
            evidence: Evidence::default(),
            receipt: Receipt::default(),
            reborn: false,
        }
    }

    /// The stamp of a datagram of this many bytes that leaves now.
    pub fn stamp(&mut self, now: u64, bytes: usize) -> Stamp {
        let mut stamp = self.stamp_probe(now, bytes);
        stamp.asks |= self.evidence.sent(now, self.flow.sent(), bytes);
        stamp
    }

    /// The same of a probe, which is answered, and asks for no other word.
    pub fn stamp_probe(&mut self, now: u64, bytes: usize) -> Stamp {
        let mut stamp = self.flow.send(now, bytes);
        self.receipt.tell(now, &mut stamp);
        stamp
    }

    /// A datagram of the peer's life `boot` has come.
    pub fn received(&mut self, now: u64, boot: u64, stamp: Stamp, bytes: usize) {
        if self.receipt.is_of_another_life(boot) {
            self.flow.forget();
            self.evidence = Evidence::default();
            self.reborn = true;
        }
        self.receipt.received(now, boot, stamp, bytes);
        if self.flow.heard(now, boot, stamp) {
            self.evidence.heard(now, stamp.reached);
        }
    }

    /// The peer has another address, and so another path. What is under way to the former one
    /// does not arrive.
    pub fn moved(&mut self) {
        self.flow.begin_anew();
        self.evidence = Evidence::default();
        self.reborn = true;
    }

    /// Whether the peer has begun another life, or has moved. What waits was meant for the one
    /// before, and may be too much for the path.
    pub fn take_reborn(&mut self) -> bool {
        std::mem::take(&mut self.reborn)
    }
}

impl SharedPaths {
    /// Paths that begin with these lengths, and with this number in their first stamp. See
    /// [`Traffic::new`].
    pub(crate) fn new(lengths: impl Iterator<Item = usize>, start: u32, bare_bytes: usize) -> Self {
        let path = |length| SharedPath {
            length: AtomicUsize::new(length),
            used: AtomicU8::new(0),
            refused: AtomicUsize::new(usize::MAX),
            waits: AtomicBool::new(false),
            traffic: Mutex::new(Traffic::new(start, bare_bytes)),
        };
        SharedPaths { paths: lengths.map(path).collect(), news: AtomicBool::new(false) }
    }

    /// The most bytes of a datagram to `peer` at present.
    pub(crate) fn length(&self, peer: usize) -> usize {
        self.paths[peer].length.load(Ordering::Relaxed)
    }

    pub(crate) fn set_length(&self, peer: usize, length: usize) {
        self.paths[peer].length.store(length, Ordering::Relaxed);
    }

    /// What travels between this process and `peer`.
    pub(crate) fn traffic(&self, peer: usize) -> MutexGuard<'_, Traffic> {
        // A thread that panics ends the process.
        self.paths[peer].traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether datagrams to `peer` wait for room.
    pub(crate) fn waits(&self, peer: usize) -> bool {
        self.paths[peer].waits.load(Ordering::Relaxed)
    }

    pub(crate) fn set_waits(&self, peer: usize, waits: bool) {
        self.paths[peer].waits.store(waits, Ordering::Relaxed);
    }

    /// Notes what was sent to `peer`. Returns whether that is news to the loop.
    pub(crate) fn note(&self, peer: usize, what: Use) -> bool {
        let flags = if what.long { LONG } else { 0 } | if what.batch { BATCH } else { 0 };
        let used = &self.paths[peer].used;
        if flags & !used.load(Ordering::Relaxed) == 0 {
            return false;
        }
        used.fetch_or(flags, Ordering::Relaxed);
        self.news.store(true, Ordering::Relaxed);
        true
    }

    /// Notes that the kernel refused a datagram of this many bytes as too long.
    pub(crate) fn refused(&self, peer: usize, bytes: usize) {
        self.paths[peer].refused.fetch_min(bytes, Ordering::Relaxed);
        self.news.store(true, Ordering::Relaxed);
    }

    /// A peer has moved: the loop should look.
    pub(crate) fn note_move(&self) {
        self.news.store(true, Ordering::Relaxed);
    }

    /// What was sent to `peer` since [`SharedPaths::forget`].
    pub(crate) fn used(&self, peer: usize) -> Use {
        let flags = self.paths[peer].used.load(Ordering::Relaxed);
        Use { long: flags & LONG != 0, batch: flags & BATCH != 0 }
    }

    /// Forgets what was sent to `peer`: a test of it has begun.
    pub(crate) fn forget(&self, peer: usize) {
        self.paths[peer].used.store(0, Ordering::Relaxed);
    }

    /// The length that the kernel refused, once.
    pub(crate) fn take_refused(&self, peer: usize) -> Option<usize> {
        let refused = &self.paths[peer].refused;
        (refused.load(Ordering::Relaxed) < usize::MAX)
            .then(|| refused.swap(usize::MAX, Ordering::Relaxed))
    }

    /// Whether a thread has noted anything.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Relaxed)
    }

    /// The loop looks now.
    pub(crate) fn take_news(&self) -> bool {
        self.has_news() && self.news.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HEADER_BYTES;
    use crate::path::length::Use;

    const BOTH: Use = Use { long: true, batch: true };
    const LONG_ONLY: Use = Use { long: true, batch: false };
    const BATCH_ONLY: Use = Use { long: false, batch: true };

    fn paths() -> SharedPaths {
        SharedPaths::new([1_252, 1_232].into_iter(), 7, HEADER_BYTES)
    }

    #[test]
    fn the_use_of_a_path_is_news_once_until_it_is_forgotten() {
        let paths = paths();
        assert!(!paths.note(1, Use::default()) && !paths.has_news());
        for (what, so_far) in [(LONG_ONLY, LONG_ONLY), (BATCH_ONLY, BOTH)] {
            assert!(paths.note(1, what) && paths.has_news());
            assert!(paths.take_news() && !paths.take_news() && !paths.has_news());
            assert!(!paths.note(1, what) && !paths.has_news());
            assert_eq!((paths.used(0), paths.used(1)), (Use::default(), so_far));
        }
        assert!(!paths.note(1, BOTH));
        paths.forget(1);
        assert_eq!(paths.used(1), Use::default());
        assert!(paths.note(1, BATCH_ONLY));
        assert_eq!(paths.used(1), BATCH_ONLY);
        assert!(paths.note(1, BOTH), "long ones are news");
    }

    #[test]
    fn the_shortest_datagram_that_was_refused_is_told_once() {
        let paths = paths();
        for bytes in [1_300, 1_280, 1_290] {
            paths.refused(0, bytes);
        }
        assert!(paths.take_news());
        assert_eq!((paths.take_refused(1), paths.take_refused(0)), (None, Some(1_280)));
        assert_eq!(paths.take_refused(0), None);
    }

    #[test]
    fn each_path_has_its_length_and_its_queue() {
        let paths = paths();
        paths.set_length(0, 1_400);
        paths.set_waits(1, true);
        assert_eq!((paths.length(0), paths.length(1)), (1_400, 1_232));
        assert!(paths.waits(1) && !paths.waits(0));
        paths.set_waits(1, false);
        assert!(!paths.waits(1));
        paths.note_move();
        assert!(paths.take_news());
    }

    #[test]
    fn a_stamp_says_what_was_sent_before_and_what_has_arrived() {
        let paths = paths();
        let mut traffic = paths.traffic(0);
        traffic.stamp(0, 100);
        traffic.received(1_000, 1, Stamp { offset: 40, ..Stamp::default() }, 10);
        let expected = Stamp { offset: 107, reached: 50, taken: 50, held: 1, asks: false };
        assert_eq!(traffic.stamp(1_040, 100), expected);
    }

    #[test]
    fn what_waits_is_given_up_when_the_peer_moves() {
        let paths = paths();
        let mut traffic = paths.traffic(0);
        traffic.stamp(0, 100);
        assert!(!traffic.take_reborn());
        traffic.moved();
        assert_eq!(traffic.flow.under_way(), 0);
        assert!(traffic.take_reborn() && !traffic.take_reborn());
    }

    #[test]
    fn after_a_move_word_is_understood_as_before() {
        let mut traffic = Traffic::new(7, HEADER_BYTES);
        traffic.flow.send(0, 1_000);
        let word = |reached, taken| Stamp { reached, taken, ..Stamp::default() };
        traffic.flow.heard(10, 1, word(1_007, 507));
        traffic.moved();
        traffic.flow.send(20, 20_000);
        // What it has missed before is no loss of the new path.
        traffic.flow.heard(30, 1, word(21_007, 20_507));
        assert_eq!((traffic.flow.under_way(), traffic.flow.window()), (0, 34_000));
        traffic.flow.send(20, 100);
        traffic.flow.heard(30, 1, word(5, 5));
        assert_eq!(traffic.flow.under_way(), 100, "it speaks of an earlier life");
    }
}
