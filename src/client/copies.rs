//! When the whole of a long line is sent again, and to whom. (L8)
//!
//! A copy is given the time in which a slow path carries it, and carries it on from the leader
//! to its followers. The next one goes to the same replica, and those after it to one replica
//! after the other: the client may be cut off from the leader alone. Each copy is given twice
//! the time of the one before. A leader that says that it does not have the line has lost it in a
//! restart, or is another one: it gets a copy as soon as the last one has had the time of the first, or
//! at once if none has gone there in that time.

use crate::long_line::commit_us;
use crate::paxos::pace::WAIT_MAX_US;
use crate::quorum::ReplicaSet;
use crate::types::{ReplicaId, Time};

/// The copies of one line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copies {
    /// When the last copy was due, or left.
    due_at: Time,
    left_at: Time,
    /// To whom copies have left since the last one had its time.
    carried_to: ReplicaSet,
    /// The time that the first copy is given.
    first_us: u64,
    wait_us: u64,
    again: u64,
}

impl Copies {
    /// The first copy leaves to `to` now, in a cluster of `n` whose answers take up to `answer_us`.
    /// The line has this many bytes.
    pub(super) fn new(now: Time, to: ReplicaId, bytes: usize, n: usize, answer_us: u64) -> Self {
        let first_us = answer_us + commit_us(bytes, n);
        let mut carried_to = ReplicaSet::EMPTY;
        carried_to.insert(to);
        Copies { due_at: now, left_at: now, carried_to, first_us, wait_us: first_us, again: 0 }
    }

    /// A replica that leads says that it does not have the line. Returns whether it gets a copy now:
    /// not while one may be on its way there, since a question overtakes a long line.
    pub(super) fn take_lost(&mut self, now: Time, by: ReplicaId) -> bool {
        let is_lost = !self.carried_to.contains(by) || self.had_its_time(now);
        if is_lost {
            self.leaves(now, by);
        }
        is_lost
    }

    fn had_its_time(&self, now: Time) -> bool {
        now >= self.left_at.plus_us(self.first_us)
    }

    /// A copy leaves.
    pub(super) fn leaves(&mut self, now: Time, to: ReplicaId) {
        if self.had_its_time(now) {
            self.carried_to = ReplicaSet::EMPTY;
        }
        self.carried_to.insert(to);
        (self.due_at, self.left_at) = (now, now);
    }

    /// Which replica gets a copy now, if one is due. `first` is the replica that is asked first,
    /// of `n`.
    pub(super) fn take_due(&mut self, now: Time, first: ReplicaId, n: usize) -> Option<ReplicaId> {
        if now < self.due_at.plus_us(self.wait_us) {
            return None;
        }
        let to = (first.index() as u64 + self.again) % n as u64;
        self.due_at = now;
        self.wait_us = (2 * self.wait_us).min(WAIT_MAX_US);
        self.again += 1;
        Some(ReplicaId(to as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_copy_has_twice_the_time_and_goes_to_the_next_replica_after_the_second() {
        let first = ReplicaId(2);
        let mut copies = Copies::new(Time(0), first, 10_000, 3, 100_000);
        let mut sent = Vec::new();
        for ms in 0..10_000 {
            sent.extend(copies.take_due(Time(1_000 * ms), first, 3).map(|to| (ms, to.0)));
        }
        assert_eq!(sent, [(600, 2), (1_800, 0), (4_200, 1), (9_000, 2)]);
        (0..100).for_each(|_| {
            copies.take_due(Time(u64::MAX / 2), first, 3);
        });
        assert!(copies.wait_us <= WAIT_MAX_US);
    }

    #[test]
    fn whoever_lacks_the_line_gets_a_copy_unless_one_may_be_on_its_way_there() {
        let mut copies = Copies::new(Time(0), ReplicaId(0), 10_000, 3, 100_000);
        let takes = |copies: &mut Copies, ms: u64| {
            let all = (0..3).map(ReplicaId);
            all.map(|by| copies.take_lost(Time(1_000 * ms), by)).collect::<Vec<_>>()
        };
        assert_eq!(takes(&mut copies, 1), [false, true, true]);
        assert_eq!(takes(&mut copies, 600), [false; 3]);
        assert_eq!(takes(&mut copies, 601), [true; 3]);
        assert_eq!(takes(&mut copies, 602), [false; 3]);
    }
}
