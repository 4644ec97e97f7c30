//! The votes for one leader: which slots a quorum has accepted, and which were lost.

use crate::paxos::slot_set::SlotSet;
use crate::quorum::quorum;
use crate::types::{Ballot, ReplicaId, Slot, SlotRange};

/// How many stretches of slots are called lost at a time.
const LOST_RANGES_MAX: usize = 16;

/// Votes for slots of one ballot, which this replica owns. Nothing is ever counted
/// across ballots: a higher one begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tally {
    pub(super) ballot: Ballot,
    /// The first slot of phase 2, once the proposer has said so.
    pub(super) from: Option<Slot>,
    /// Every slot of this phase 2 below this has a quorum.
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
            lost.push(SlotRange::new(at, until));
            at = self.quorum_end(until);
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Votes of as many acceptors, each for some stretches of slots, in a phase 2 that
    /// began at 0.
    fn tally(votes: &[&[(u64, u64)]]) -> Tally {
        let mut tally = Tally::new(Ballot(0), votes.len());
        tally.from = Some(Slot(0));
        for (set, ranges) in tally.votes.iter_mut().zip(votes) {
            for (start, end) in *ranges {
                set.insert(SlotRange::new(Slot(*start), Slot(*end)));
            }
        }
        tally.upto = tally.quorum_end(Slot(0));
        tally
    }

    fn lost(tally: &Tally, me: u8) -> Vec<(u64, u64)> {
        let lost = tally.lost(ReplicaId(me));
        lost.iter().map(|range| (range.start.0, range.end.0)).collect()
    }

    #[test]
    fn a_stretch_has_a_quorum_whoever_voted_for_which_part_of_it() {
        let votes: [&[(u64, u64)]; 5] =
            [&[(0, 6)], &[(0, 2), (4, 9)], &[(0, 4)], &[(2, 9)], &[(7, 9)]];
        let tally = tally(&votes);
        assert_eq!(tally.quorum_end(Slot(0)), Slot(6));
        assert_eq!(tally.quorum_end(Slot(6)), Slot(6));
        assert_eq!(tally.quorum_end(Slot(7)), Slot(9));
    }

    #[test]
    fn a_slot_is_lost_if_those_that_have_not_passed_over_it_are_no_quorum() {
        let (all, behind): (&[_], &[_]) = (&[(0, 9)], &[(0, 2), (5, 9)]);
        // Of five, three have passed over 2..5; two of them may have it on its way.
        assert_eq!(lost(&tally(&[all, all, behind, behind, behind]), 0), [(2, 5)]);
        assert_eq!(lost(&tally(&[all, all, &[(0, 2)], behind, behind]), 0), []);
        // Of four, a quorum is three, and two are none.
        assert_eq!(lost(&tally(&[all, all, behind, behind]), 0), [(2, 5)]);
        assert_eq!(lost(&tally(&[all, all, all, behind]), 0), []);
        // The own acceptor is told without the network: it only has not got to it yet.
        assert_eq!(lost(&tally(&[behind, all, behind]), 0), []);
        assert_eq!(lost(&tally(&[all, behind, behind]), 0), [(2, 5)]);
        // Nor is anything that the leader does not know to have proposed.
        let mut early = tally(&[all, behind, behind]);
        early.from = None;
        assert_eq!(lost(&early, 0), []);
    }

    #[test]
    fn several_stretches_may_be_lost_each_as_far_as_all_have_passed_over_it() {
        let all: &[_] = &[(0, 99)];
        let votes: [&[(u64, u64)]; 3] =
            [all, &[(0, 2), (5, 7), (9, 12)], &[(0, 2), (4, 7), (8, 9)]];
        assert_eq!(lost(&tally(&votes), 0), [(2, 4), (7, 8)]);
        let holes: Vec<(u64, u64)> = (0..40).map(|slot| (2 * slot + 1, 2 * slot + 2)).collect();
        let many = lost(&tally(&[all, &holes, &holes]), 0);
        let expected: Vec<(u64, u64)> = (0..16).map(|slot| (2 * slot, 2 * slot + 1)).collect();
        assert_eq!(many, expected, "so many at a time");
    }
}
