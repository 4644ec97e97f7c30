//! Whether datagrams leave several in one call: what a process believes of batches. (W5)
//!
//! Only a try shows whether the kernel and the device behind it take a batch. A refusal counts
//! where the same datagrams pass one by one: then those to that destination leave so, and after
//! [`REFUSED_CHANCES`] chances for a batch there is another try. (A route that refuses everything
//! says nothing of batches, and one peer's nothing of another's.) Where a batch is taken and
//! nothing arrives, the path to that peer notices it (see [`length`](super::length)), and datagrams
//! to it leave one by one until batches arrive there again. Mostly it is the own kernel, so each
//! other path gets batches only after a test that was answered since. The paths to clients are not
//! tested: they get no batches as long as they do not arrive at some peer.
//!
//! **Does not** touch a socket. The loop and the sending threads share it. Nothing depends on the
//! order in which they see a change.

use super::length::PathLength;
use rustix::io::Errno;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A process sends this many batches one by one after the kernel has refused one. Then it tries
/// again. So a network card that takes no batch costs one call in vain in so many, and a process
/// soon uses a route that has changed.
pub const REFUSED_CHANCES: u32 = 1_024;

/// What a process believes of the batches that it sends.
#[derive(Debug)]
pub struct BatchTrust {
    /// Whether the kernel has batches at all.
    has: bool,
    /// By peer, and last for all clients: how many batches still leave one by one, because the
    /// kernel refused one.
    refused: Vec<AtomicU32>,
    /// How many batches leave one by one after the kernel has refused one.
    refused_chances: u32,
    /// By peer: whether the batches that the kernel takes are known to vanish.
    known: Vec<AtomicBool>,
    /// By peer: whether it must be feared that they vanish.
    vanish: Vec<AtomicBool>,
    /// Whether they are known to vanish on the way to some peer.
    any_vanish: AtomicBool,
}

impl BatchTrust {
    /// Of a process with this many peers. `has` says whether the kernel has batches at all.
    /// `refused_chances`: see [`REFUSED_CHANCES`].
    pub fn new(has: bool, peers: usize, refused_chances: u32) -> Self {
        let refused = (0..=peers).map(|_| AtomicU32::new(0)).collect();
        let none = || (0..peers).map(|_| AtomicBool::new(false)).collect();
        let (known, vanish, any_vanish) = (none(), none(), AtomicBool::new(false));
        BatchTrust { has, refused, refused_chances, known, vanish, any_vanish }
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

    /// Whether batches to this peer, or to a client, are taken and may not arrive.
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

    /// Learns from the paths to all peers, in the order of their numbers, which batches arrive.
    /// Returns whether it is news that all do or that some do not.
    pub fn learn(&self, paths: &mut [PathLength]) -> bool {
        let mut is_new = false;
        for (known, path) in self.known.iter().zip(&*paths) {
            is_new |= !path.batches() && !known.load(Ordering::Relaxed);
            known.store(!path.batches(), Ordering::Relaxed);
        }
        if is_new {
            paths.iter_mut().for_each(PathLength::doubt_batches);
        }
        let all = paths.iter().all(PathLength::batches);
        for (vanish, path) in self.vanish.iter().zip(&*paths) {
            vanish.store(!all && !path.has_proven_batches(), Ordering::Relaxed);
        }
        self.any_vanish.swap(!all, Ordering::Relaxed) == all
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
    use crate::path::length::{BATCHES_RETRY_US, CONFIRM_US, MARGIN_US, TRIES_MAX, Use};

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

    const BATCH: Use = Use { long: false, batch: true };

    /// An attempt ends and the next one begins on each path `wanted`: its short probe is answered,
    /// and its batch if they `arrive`.
    fn test(paths: &mut [PathLength], now: &mut u64, wanted: [bool; 2], arrive: bool) {
        for (path, wanted) in paths.iter_mut().zip(wanted) {
            if wanted {
                path.used(BATCH);
            }
            let mut probes = Vec::new();
            path.poll(*now, |probe| probes.push(probe));
            for probe in probes.iter().filter(|probe| arrive || !probe.batch) {
                path.answered(*now, probe.id);
            }
        }
        *now += 2 * MARGIN_US;
    }

    #[test]
    fn where_batches_vanish_on_one_path_the_others_must_prove_theirs() {
        let trust = BatchTrust::new(true, 2, 64);
        let mut paths = [0; 2].map(|_| PathLength::new(1_252, 1_400));
        let sent = || [Some(0), Some(1), None].map(|peer| trust.batches(peer));
        let mut now = 0;
        test(&mut paths, &mut now, [true, true], true);
        assert!(!trust.learn(&mut paths), "it is no news");
        assert_eq!(sent(), [true; 3]);
        now += 2 * CONFIRM_US;
        // The end of the last attempt is the beginning of another one.
        (0..=TRIES_MAX).for_each(|_| test(&mut paths, &mut now, [false, true], false));
        assert!(trust.learn(&mut paths));
        assert!(!trust.learn(&mut paths));
        assert_eq!(sent(), [false; 3]);
        assert!(trust.wants_test(0) && trust.wants_test(1));
        test(&mut paths, &mut now, [true, false], true);
        assert!(!trust.learn(&mut paths));
        assert_eq!(sent(), [true, false, false]);
        assert!(!trust.wants_test(0));
        trust.refused(Some(1), &Errno::IO.into(), 1);
        assert!(!trust.wants_test(1), "the kernel does not take them");
        (0..64).for_each(|_| assert!(!trust.batches(Some(1))));
        assert!(trust.wants_test(1), "the refusal is over meanwhile");
        now += BATCHES_RETRY_US;
        test(&mut paths, &mut now, [false, true], true);
        assert!(trust.learn(&mut paths));
        assert_eq!(sent(), [true; 3]);
    }
}
