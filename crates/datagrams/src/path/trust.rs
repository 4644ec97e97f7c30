//! Whether datagrams leave several in one call: what a process believes of batches. (W5)
//!
//! Only a try shows whether the kernel and the device behind it take a batch. A refusal counts
//! where the same datagrams pass one by one: then those to that destination leave so, and after
//! [`REFUSED_CHANCES`] chances for a batch there is another try. (A route that refuses everything
//! says nothing of batches, and one peer's nothing of another's.) Where a batch is taken and
//! nothing arrives, the path to that peer notices it (see [`length`](super::length)), and datagrams
//! to it leave one by one until batches arrive there again. The paths to clients are not tested:
//! they get no batches as long as they do not arrive at some peer.
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
    /// By peer: whether the batches that the kernel takes vanish on the way.
    vanish: Vec<AtomicBool>,
    /// Whether that is so at some peer.
    any_vanish: AtomicBool,
}

impl BatchTrust {
    /// Of a process with this many peers. `has` says whether the kernel has batches at all.
    /// `refused_chances`: see [`REFUSED_CHANCES`].
    pub fn new(has: bool, peers: usize, refused_chances: u32) -> Self {
        let refused = (0..=peers).map(|_| AtomicU32::new(0)).collect();
        let vanish = (0..peers).map(|_| AtomicBool::new(false)).collect();
        BatchTrust { has, refused, refused_chances, vanish, any_vanish: AtomicBool::new(false) }
    }

    /// Whether several datagrams may be sent at once to this peer, or to a client. Each question
    /// counts as a chance for a batch.
    pub fn batches(&self, peer: Option<usize>) -> bool {
        if !self.has {
            return false;
        }
        let refused = self.refused_of(peer);
        match refused.load(Ordering::Relaxed) {
            0 => !self.vanish(peer),
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

    /// Whether batches to this peer are taken and do not arrive, or to a client might not.
    pub fn vanish(&self, peer: Option<usize>) -> bool {
        let vanish = peer.and_then(|peer| self.vanish.get(peer)).unwrap_or(&self.any_vanish);
        vanish.load(Ordering::Relaxed)
    }

    /// Whether a process that has a batch for this peer should have tested whether batches arrive
    /// there again: for that reason alone it does not leave as one.
    pub fn wants_test(&self, peer: usize) -> bool {
        self.vanish(Some(peer)) && self.takes(Some(peer))
    }

    fn refused_of(&self, peer: Option<usize>) -> &AtomicU32 {
        let clients = self.refused.len() - 1;
        &self.refused[peer.map_or(clients, |peer| peer.min(clients))]
    }

    /// Notes at which peers the batches arrive that the kernel takes, in the order of their
    /// numbers. Returns whether it is news that all do or that some do not.
    pub fn arrive(&self, at: impl Iterator<Item = bool>) -> bool {
        let mut all = true;
        for (vanish, arrive) in self.vanish.iter().zip(at) {
            vanish.store(!arrive, Ordering::Relaxed);
            all &= arrive;
        }
        let is_news = self.any_vanish.load(Ordering::Relaxed) == all;
        self.any_vanish.store(!all, Ordering::Relaxed);
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
    fn batches_that_do_not_arrive_at_a_peer_are_sent_to_it_and_to_clients_no_more() {
        let trust = BatchTrust::new(true, 2, 64);
        assert!(!trust.arrive([true, true].into_iter()), "it is no news");
        assert!(trust.arrive([true, false].into_iter()));
        assert!(!trust.arrive([true, false].into_iter()));
        let sent = || [Some(0), Some(1), None].map(|peer| trust.batches(peer));
        assert_eq!(sent(), [true, false, false]);
        assert!(!trust.vanish(Some(0)) && trust.vanish(Some(1)) && trust.vanish(None));
        assert!(trust.wants_test(1) && !trust.wants_test(0));
        trust.refused(Some(1), &Errno::IO.into(), 1);
        assert!(!trust.wants_test(1), "the kernel does not take them");
        (0..64).for_each(|_| assert!(!trust.batches(Some(1))));
        assert!(!trust.arrive([false, true].into_iter()));
        assert_eq!(sent(), [false, true, false]);
        assert!(trust.arrive([true, true].into_iter()));
        assert_eq!(sent(), [true, true, true]);
    }
}
