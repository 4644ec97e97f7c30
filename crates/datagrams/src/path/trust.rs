//! Whether datagrams leave several in one call: what a process believes of batches. (W5)
//!
//! Only a try shows whether the kernel and the device behind it take a batch. A refusal counts
//! where the same datagrams pass one by one: then those to that destination leave so, and after
//! [`REFUSED_CHANCES`] chances for a batch there is another try. (A route that refuses everything
//! says nothing of batches, and one peer's nothing of another's.) Where a batch is taken and
//! nothing arrives, the paths notice that (see [`length`](super::length)), and all datagrams leave
//! one by one until batches arrive again.
//!
//! **Does not** touch a socket. The loop and the sending threads share it. Nothing depends on the
//! order in which they see a change.

use rustix::io::Errno;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// After a refusal so many batches leave one by one before the next is tried. A network card
/// that takes none costs a call in so many; a route that has changed is used again soon.
pub const REFUSED_CHANCES: u32 = 1_024;

/// What a process believes of the batches that it sends.
#[derive(Debug)]
pub struct BatchTrust {
    /// Whether the kernel has batches at all.
    has: bool,
    /// By peer, and last for all clients: how many batches still leave one by one, because the
    /// kernel refused one.
    refused: Vec<AtomicU32>,
    /// After a refusal so many batches leave one by one.
    refused_chances: u32,
    /// Whether the batches that the kernel takes arrive, as far as that is known.
    trusted: AtomicBool,
}

impl BatchTrust {
    /// Of a process with this many peers. `has` says whether the kernel has batches at all.
    /// `refused_chances`: see [`REFUSED_CHANCES`].
    pub fn new(has: bool, peers: usize, refused_chances: u32) -> Self {
        let refused = (0..=peers).map(|_| AtomicU32::new(0)).collect();
        BatchTrust { has, refused, refused_chances, trusted: AtomicBool::new(true) }
    }

    /// Whether several datagrams may be sent at once to this peer, or to a client. Each question
    /// counts as a chance for a batch.
    pub fn batches(&self, peer: Option<usize>) -> bool {
        if !self.has || !self.trusted.load(Ordering::Relaxed) {
            return false;
        }
        let refused = self.refused_of(peer);
        match refused.load(Ordering::Relaxed) {
            0 => true,
            // Threads may count one chance for two: nothing depends on the number.
            left => {
                refused.store(left - 1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Whether the kernel takes several datagrams at once to this peer, whatever becomes of them.
    pub fn takes(&self, peer: Option<usize>) -> bool {
        self.has && self.refused_of(peer).load(Ordering::Relaxed) == 0
    }

    /// Whether the kernel has batches at all.
    pub fn has(&self) -> bool {
        self.has
    }

    fn refused_of(&self, peer: Option<usize>) -> &AtomicU32 {
        let clients = self.refused.len() - 1;
        &self.refused[peer.map_or(clients, |peer| peer.min(clients))]
    }

    /// Notes whether the batches that the kernel takes arrive. Returns whether that is news.
    pub fn trust(&self, trusted: bool) -> bool {
        let is_news = self.trusted.load(Ordering::Relaxed) != trusted;
        if is_news {
            self.trusted.store(trusted, Ordering::Relaxed);
        }
        is_news
    }

    /// Notes that the kernel refused a batch to this peer, or to a client, of whose datagrams
    /// `passed` then passed one by one. Returns whether there are no batches for a while: only if
    /// the error says that they do not work there.
    pub fn refused(&self, peer: Option<usize>, error: &io::Error, passed: usize) -> bool {
        let not_there = [Errno::IO, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOPROTOOPT]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        // Where nothing passes, the error says nothing of batches.
        let counts = not_there && passed > 0 && self.has;
        if counts {
            self.refused_of(peer).store(self.refused_chances, Ordering::Relaxed);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_of_one_peer_and_does_not_last() {
        let trust = BatchTrust::new(true, 2, 64);
        let all = [Some(0), Some(1), None];
        assert!(all.iter().all(|peer| trust.batches(*peer)));
        for refused in all {
            assert!(trust.refused(refused, &Errno::INVAL.into(), 1));
            for peer in all {
                assert_eq!(trust.takes(peer), peer != refused);
                assert_eq!(trust.batches(peer), peer != refused);
            }
            let asked = (1..64).filter(|_| trust.batches(refused)).count();
            assert_eq!(asked, 0);
            assert!(trust.batches(refused), "it is tried again");
        }
    }

    #[test]
    fn only_what_speaks_of_batches_counts_against_them() {
        let trust = BatchTrust::new(true, 2, 64);
        // A full queue, for example.
        assert!(!trust.refused(Some(0), &Errno::NOBUFS.into(), 2));
        // A route that takes nothing at all.
        assert!(!trust.refused(Some(0), &Errno::INVAL.into(), 0));
        assert!(trust.batches(Some(0)));
        let without = BatchTrust::new(false, 2, 64);
        assert!(!without.batches(Some(0)) && !without.takes(None) && !without.has());
        assert!(!without.refused(Some(0), &Errno::INVAL.into(), 2));
    }

    #[test]
    fn batches_that_do_not_arrive_are_sent_to_nobody_until_they_do() {
        let trust = BatchTrust::new(true, 2, 64);
        assert!(!trust.trust(true), "it is no news");
        assert!(trust.trust(false) && !trust.trust(false));
        assert!(!trust.batches(Some(1)) && !trust.batches(None));
        assert!(trust.takes(Some(1)), "the kernel takes them: they are tested again");
        assert!(trust.trust(true));
        assert!(trust.batches(Some(1)));
    }
}
