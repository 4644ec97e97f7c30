//! What the loop and the sending threads share of each path.
//!
//! The loop owns a [`PathLength`](super::length::PathLength) for each peer. The threads read
//! the present length before they pack, and note what they sent, so that the loop knows what
//! to test. None of that orders anything: a note that is lost is made again by the next
//! datagram of its kind.

use super::length::Use;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

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
}

impl SharedPaths {
    /// Paths that begin with these lengths.
    pub(crate) fn new(lengths: impl Iterator<Item = usize>) -> Self {
        let path = |length| SharedPath {
            length: AtomicUsize::new(length),
            used: AtomicU8::new(0),
            refused: AtomicUsize::new(usize::MAX),
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
