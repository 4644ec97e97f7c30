//! Kernels whose batches cannot be relied on.
//!
//! A process hands several datagrams to the kernel in one call. A kernel, or the card behind it,
//! may say that it has sent them and send nothing; it may refuse every batch, or those that go a
//! certain way; and a route may refuse whatever goes there. Each host has at most one such
//! [`Fault`], for a while or for ever. The real code
//! of a process decides what it believes of batches (`datagrams::path::trust`), and what it does
//! with one that was refused.
//!
//! **Not** here: clients without a route. A client that was cut off sends a long line ever more
//! rarely, and the bounds of liveness have no term for that.

use crate::terrain::Host;
use fastrand::Rng;
use multipaxos::types::{ReplicaId, Time};
use rustix::io::Errno;
use seeds::stream;
use std::collections::BTreeMap;
use std::io;

/// A process sends this many batches one by one after the kernel has refused one. It is less than
/// in a real process, so that a run of some seconds sees the next try.
pub const REFUSED_CHANCES: u32 = 64;

/// Batches that do not arrive are tried again after so long, for the same reason.
pub const BATCHES_RETRY_US: u64 = 2_000_000;

/// The longest time for which a route refuses everything: it is a fault of the network, which
/// ends before the cluster must do its work.
const ROUTE_US_MAX: u64 = 2_000_000;

/// What a kernel does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It says that it has sent a batch, and sends nothing.
    BatchesVanish,
    /// It refuses batches with this error.
    BatchesRefused(Errno),
    /// It refuses everything with this error.
    AllRefused(Errno),
}

/// What is wrong at one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What it does.
    pub wrong: Wrong,
    /// The only replica to which it does that; none if all.
    pub to: Option<ReplicaId>,
    /// Since when.
    pub from: Time,
    /// Until when.
    pub until: Time,
}

/// What becomes of what a process hands to its kernel.
#[derive(Debug)]
pub enum Fate {
    /// It leaves.
    Leaves,
    /// It counts as sent, and is gone.
    Vanishes,
    /// The kernel returns this error.
    Refused(io::Error),
}

impl Fault {
    /// Draws what is wrong at a host of a cluster of `n`, whose other faults stop after
    /// `safety_us`. Its routes may be wrong if it `has_routes`.
    fn draw(n: usize, safety_us: u64, has_routes: bool, rng: &mut Rng) -> Option<Fault> {
        let errno = [Errno::INVAL, Errno::IO][rng.usize(..2)];
        let (one, all) = (ReplicaId(rng.usize(..n) as u8), rng.bool());
        let (from, lasts) = (rng.u64(..safety_us), rng.u64(..safety_us));
        let for_ever = rng.bool();
        let (wrong, to) = match rng.u8(0..8) {
            0..2 => return None,
            2..5 => (Wrong::BatchesVanish, (!all).then_some(one)),
            5..7 => (Wrong::BatchesRefused(errno), (!all).then_some(one)),
            _ if !has_routes => return None,
            _ => {
                let from = from.min(safety_us.saturating_sub(ROUTE_US_MAX));
                let until = Time(from + lasts.min(ROUTE_US_MAX));
                let wrong = Wrong::AllRefused(errno);
                return Some(Fault { wrong, to: Some(one), from: Time(from), until });
            }
        };
        let until = if for_ever { Time(u64::MAX) } else { Time(from + lasts) };
        Some(Fault { wrong, to, from: Time(from), until })
    }

    /// What becomes of so many datagrams to this replica, or to a client, in one call.
    fn fate(&self, now: Time, to: Option<ReplicaId>, count: usize) -> Fate {
        let is_meant = self.to.is_none_or(|only| to == Some(only));
        if !is_meant || now < self.from || now >= self.until {
            return Fate::Leaves;
        }
        match self.wrong {
            Wrong::BatchesVanish if count > 1 => Fate::Vanishes,
            Wrong::BatchesRefused(errno) if count > 1 => Fate::Refused(errno.into()),
            Wrong::AllRefused(errno) => Fate::Refused(errno.into()),
            Wrong::BatchesVanish | Wrong::BatchesRefused(_) => Fate::Leaves,
        }
    }
}

/// What is wrong at the hosts of a run.
#[derive(Debug)]
pub struct Kernels {
    seed: u64,
    n: usize,
    safety_us: u64,
    hosts: BTreeMap<Host, Option<Fault>>,
}

impl Kernels {
    /// Those of the run of `seed`: a cluster of `n`, whose faults stop after `safety_us`.
    pub fn new(seed: u64, n: usize, safety_us: u64) -> Self {
        Kernels { seed, n, safety_us, hosts: BTreeMap::new() }
    }

    /// What becomes of so many datagrams from one host to another in one call.
    pub fn fate(&mut self, now: Time, (from, to): (Host, Host), count: usize) -> Fate {
        let Kernels { seed, n, safety_us, hosts } = self;
        let fault = hosts.entry(from).or_insert_with(|| {
            let mut draws = stream(*seed, &format!("offload {from:?}"));
            Fault::draw(*n, *safety_us, matches!(from, Host::Replica(_)), &mut draws)
        });
        let to = match to {
            Host::Replica(to) => Some(to),
            Host::Client(_) => None,
        };
        fault.map_or(Fate::Leaves, |fault| fault.fate(now, to, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_is_drawn_and_a_route_comes_back_before_the_faults_stop() {
        let (mut kinds, mut ends) = ([0; 4], [0; 2]);
        for seed in 0..200 {
            let drawn = Fault::draw(3, 8_000_000, true, &mut stream(seed, "offload"));
            let kind = match drawn.map(|fault| fault.wrong) {
                None => 0,
                Some(Wrong::BatchesVanish) => 1,
                Some(Wrong::BatchesRefused(_)) => 2,
                Some(Wrong::AllRefused(_)) => 3,
            };
            kinds[kind] += 1;
            let Some(fault) = drawn else { continue };
            ends[usize::from(fault.until == Time(u64::MAX))] += 1;
            if kind == 3 {
                assert!(fault.until <= Time(8_000_000) && fault.to.is_some(), "{seed}");
            }
        }
        assert!(kinds.iter().chain(&ends).all(|count| *count > 10), "{kinds:?} {ends:?}");
    }

    #[test]
    fn a_fault_is_of_its_time_its_replica_and_what_it_says() {
        let fault = |wrong, to| Fault { wrong, to, from: Time(10), until: Time(20) };
        let (one, all) = (Some(ReplicaId(1)), None);
        let invalid = Wrong::BatchesRefused(Errno::INVAL);
        for (wrong, only, now, to, count, expected) in [
            (Wrong::BatchesVanish, all, 10, None, 2, 'v'),
            (Wrong::BatchesVanish, all, 9, None, 2, 'l'),
            (Wrong::BatchesVanish, all, 20, None, 2, 'l'),
            (Wrong::BatchesVanish, all, 10, None, 1, 'l'),
            (invalid, one, 10, one, 2, 'r'),
            (invalid, one, 10, one, 1, 'l'),
            (invalid, one, 10, None, 2, 'l'),
            (invalid, one, 10, Some(ReplicaId(2)), 2, 'l'),
            (Wrong::AllRefused(Errno::IO), one, 10, one, 1, 'r'),
        ] {
            let fate = match fault(wrong, only).fate(Time(now), to, count) {
                Fate::Leaves => 'l',
                Fate::Vanishes => 'v',
                Fate::Refused(_) => 'r',
            };
            assert_eq!(fate, expected, "{wrong:?} {only:?} {now} {to:?} {count}");
        }
    }
}
