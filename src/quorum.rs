//! Quorums: how many replicas are enough, and which ones have been counted.
//!
//! A cluster of n = 2f + 1 replicas decides with any f + 1 of them. Two such sets always
//! share a member, and the safety of Paxos rests on that member. (Paxos Made Simple, §2.2.)

use crate::types::{REPLICAS_MAX, ReplicaId};
use serde::{Deserialize, Serialize};

/// How many of `n` replicas make a quorum.
pub fn quorum(n: usize) -> usize {
    n / 2 + 1
}

/// A set of replicas. Each counts once, however often it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ReplicaSet(u64);

impl ReplicaSet {
    /// The empty set.
    pub const EMPTY: ReplicaSet = ReplicaSet(0);

    /// Adds `id`. Says whether it was not in the set before.
    pub fn insert(&mut self, id: ReplicaId) -> bool {
        assert!(id.index() < REPLICAS_MAX, "replica id {id} is out of range");
        let bit = 1 << id.0;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }

    /// The set without `id`.
    #[must_use]
    pub fn without(self, id: ReplicaId) -> ReplicaSet {
        assert!(id.index() < REPLICAS_MAX, "replica id {id} is out of range");
        ReplicaSet(self.0 & !(1 << id.0))
    }

    /// Whether `id` is in the set.
    pub fn contains(self, id: ReplicaId) -> bool {
        id.index() < REPLICAS_MAX && self.0 & (1 << id.0) != 0
    }

    /// How many replicas are in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The replicas, by id.
    pub fn iter(self) -> impl Iterator<Item = ReplicaId> {
        (0..REPLICAS_MAX as u8).map(ReplicaId).filter(move |id| self.contains(*id))
    }

    /// Whether the set is a quorum of a cluster of `n`.
    pub fn is_quorum(self, n: usize) -> bool {
        self.len() >= quorum(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_quorums_always_intersect() {
        for n in 1..=REPLICAS_MAX {
            assert!(2 * quorum(n) > n, "n={n}");
        }
    }

    #[test]
    fn a_replica_that_answers_twice_counts_once() {
        let mut set = ReplicaSet::EMPTY;
        assert!(set.insert(ReplicaId(2)));
        assert!(!set.insert(ReplicaId(2)));
        assert_eq!(set.len(), 1);
        assert!(!set.is_quorum(3));
        assert!(set.insert(ReplicaId(0)));
        assert!(set.is_quorum(3));
    }

    #[test]
    fn a_set_holds_those_that_were_put_in_and_nobody_else() {
        let ids = || (0..=u8::MAX).map(ReplicaId);
        let mut set = ReplicaSet::EMPTY;
        assert!(set.is_empty());
        for id in ids().take(REPLICAS_MAX).filter(|id| id.0 % 3 == 1) {
            set.insert(id);
        }
        assert!(!set.is_empty());
        for id in ids() {
            assert_eq!(set.contains(id), id.index() < REPLICAS_MAX && id.0 % 3 == 1, "{id}");
        }
        for gone in ids().take(REPLICAS_MAX) {
            let less = set.without(gone);
            assert_eq!(less.len(), set.len() - usize::from(set.contains(gone)));
            assert!(ids().all(|id| less.contains(id) == (set.contains(id) && id != gone)));
        }
    }
}
