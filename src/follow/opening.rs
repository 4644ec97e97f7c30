//! The beginning of a follower: who is there, and how far the log is.
//!
//! A welcome is the word of a replica that hears a quorum, and carries the cluster id, without which
//! no other question is taken. The leader knows of every line that is complete. So the log ends, for
//! whoever wants what there is, where the leader and a quorum say; or, if the leader does not answer
//! soon, where all say who have.

use crate::quorum::quorum;
use crate::types::{Ballot, ReplicaId, Slot, Time};

/// How long after the first welcome others are waited for.
pub(super) const OTHERS_US: u64 = 100_000;

/// The welcomes so far.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// When the first came.
    began: Option<Time>,
    /// One for each replica: how far the log is, and the ballot that leads.
    welcomes: Vec<(ReplicaId, Slot, Ballot)>,
}

impl Opening {
    /// A replica that hears a quorum says how far the log is.
    pub(super) fn welcome(&mut self, now: Time, from: ReplicaId, applied: Slot, ballot: Ballot) {
        self.began.get_or_insert(now);
        self.welcomes.retain(|(of, ..)| *of != from);
        self.welcomes.push((from, applied, ballot));
    }

    /// The replica that leads, as far as those say who have welcomed.
    fn leader(&self, n: usize) -> Option<ReplicaId> {
        self.welcomes.iter().map(|(.., ballot)| *ballot).max().map(|ballot| ballot.owner(n))
    }

    /// Whether enough have welcomed, of a cluster of `n`.
    pub(super) fn is_over(&self, now: Time, n: usize) -> bool {
        let leader = self.leader(n);
        let has_led = self.welcomes.iter().any(|(of, ..)| Some(*of) == leader);
        let is_late = self.deadline().is_some_and(|at| at <= now);
        is_late || has_led && self.welcomes.len() >= quorum(n)
    }

    /// When nobody else is waited for.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.began.map(|began| began.plus_us(OTHERS_US))
    }

    /// Every slot below this is decided.
    pub(super) fn end(&self) -> Slot {
        self.welcomes.iter().map(|(_, applied, _)| *applied).max().unwrap_or_default()
    }

    /// Whom to ask first: one that does not lead, if there is one, since the leader has other work.
    pub(super) fn source(&self, n: usize, draw: u64) -> Option<ReplicaId> {
        let leader = self.leader(n);
        let all: Vec<ReplicaId> = self.welcomes.iter().map(|(of, ..)| *of).collect();
        let others: Vec<ReplicaId> = all.iter().copied().filter(|of| Some(*of) != leader).collect();
        let some = if others.is_empty() { all } else { others };
        some.get((draw % some.len().max(1) as u64) as usize).copied()
    }
}
