//! The votes of one reign: which slots a quorum has accepted, and which were lost.

use crate::message::SlotRange;
use crate::paxos::slot_set::SlotSet;
use crate::quorum::quorum;
use crate::types::{Ballot, ReplicaId, Slot};

/// How many stretches of slots are called lost at a time.
const LOST_RANGES_MAX: usize = 16;

/// Votes for slots of one ballot, which this replica owns. Nothing is ever counted
/// across ballots: a higher one begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tally {
    pub(super) ballot: Ballot,
    /// The first slot of the reign, once the proposer has said so.
    pub(super) from: Option<Slot>,
    /// Every slot of the reign below this has a quorum.
    pub(super) upto: Slot,
    /// Which slots each acceptor has voted for, by replica id.
    pub(super) votes: Vec<SlotSet>,
}

impl Tally {
    pub(super) fn new(ballot: Ballot, n: usize) -> Self {
        let votes = vec![SlotSet::default(); n];
        Tally { ballot, from: None, upto: Slot::ZERO, votes }
    }

    /// The first slot at or above `slot` for which no quorum has voted.
    pub(super) fn quorum_end(&self, slot: Slot) -> Slot {
        let mut end = slot;
        loop {
            let mut ends: Vec<Slot> = self.votes.iter().map(|set| set.end_from(end)).collect();
            ends.sort_unstable();
            // So many have voted for everything below.
            let next = ends[ends.len() - quorum(ends.len())];
            if next == end {
                return end;
            }
            end = next;
        }
    }

    /// The first slots without a quorum, as far as so many peers have voted for slots
    /// above them, and not for them, that the others are none.
    pub(super) fn lost(&self, me: ReplicaId) -> Vec<SlotRange> {
        let mut lost = Vec::new();
        let (n, mut at) = (self.votes.len(), self.upto);
        while self.from.is_some() && lost.len() < LOST_RANGES_MAX {
            let passed_over = self.votes.iter().enumerate().filter(|(id, votes)| {
                *id != me.index() && votes.end() > at && votes.end_from(at) == at
            });
            let until = passed_over.clone().map(|(_, votes)| votes.gap_end(at)).min();
            let Some(until) = until.filter(|_| n - passed_over.count() < quorum(n)) else { break };
            lost.push(SlotRange { first: at, count: until.since(at) });
            at = self.quorum_end(until);
        }
        lost
    }
}
