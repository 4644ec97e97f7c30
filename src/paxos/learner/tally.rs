//! The tally of one leader: which slots a quorum has accepted at its ballot, and which of
//! its accepts were lost.
//!
//! Only the owner of a ballot is sent the acceptances at it. (The commander of Paxos
//! Made Moderately Complex.)

use crate::message::Decided;
use crate::paxos::proposer::Lost;
use crate::quorum::ReplicaSet;
use crate::slot_set::SlotSet;
use crate::types::{Ballot, REPLICAS_MAX, ReplicaId, Slot, SlotRange, replicas};

/// How many ranges of lost slots are named at a time.
const LOST_RANGES_MAX: usize = 64;

/// At how many places the search for them looks.
const LOST_LOOKS_MAX: usize = 4 * LOST_RANGES_MAX;

/// Acceptances at one ballot, which this replica owns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tally {
    ballot: Ballot,
    /// How many acceptances decide a slot: a quorum of the ballot's configuration (M3).
    quorum: usize,
    /// The first slot of phase 2. The acceptances may be here before the proposer says it.
    start: Option<Slot>,
    /// Every slot from `start` on and below this has a quorum.
    end: Slot,
    /// The slots that each acceptor has accepted, by replica id.
    accepted: Vec<SlotSet>,
}

impl Tally {
    /// An empty tally of `ballot`, among `n` replicas of which `quorum` decide.
    pub(super) fn new(ballot: Ballot, n: usize, quorum: usize) -> Self {
        assert!((1..=n).contains(&quorum), "a quorum of {quorum} among {n}");
        let accepted = vec![SlotSet::default(); n];
        Tally { ballot, quorum, start: None, end: Slot::ZERO, accepted }
    }

    /// The ballot at which acceptances are counted.
    pub(super) fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// This replica now uses `ballot`, or an acceptor has answered to it. Returns whether
    /// the ballot is new. If so, the count begins anew, because acceptances are never
    /// counted across ballots (S3). `quorum` acceptances of it decide a slot.
    pub(super) fn begin(&mut self, ballot: Ballot, quorum: usize) -> bool {
        let is_new = ballot > self.ballot;
        if is_new {
            *self = Tally::new(ballot, self.accepted.len(), quorum);
        }
        is_new
    }

    /// The proposer says that its phase 2 begins at `start`. Returns whether more slots are
    /// decided now.
    pub(super) fn set_start(&mut self, start: Slot) -> bool {
        if self.start.is_none() {
            (self.start, self.end) = (Some(start), start);
        }
        self.advance()
    }

    /// Counts what one acceptor has accepted at this ballot: each slot once, however often
    /// the acceptor names it. Every slot below `applied` is applied here. Returns whether
    /// more slots are decided now.
    pub(super) fn count(
        &mut self,
        from: ReplicaId,
        slots: &[SlotRange],
        applied: Slot,
        window_slots: u64,
    ) -> bool {
        let start = self.start.map_or(applied, |_| self.end);
        // What lies further up is asked for again by the leader, once more is applied.
        let window = SlotRange::new(start, start.max(applied).plus(window_slots));
        let accepted = &mut self.accepted[from.index()];
        slots.iter().for_each(|range| accepted.insert(range.intersect(window)));
        self.advance()
    }

    /// Moves the end over every slot that has a quorum.
    fn advance(&mut self) -> bool {
        let before = self.end;
        if self.start.is_some() {
            self.end = self.quorum_end(before);
        }
        self.end > before
    }

    /// The first slot at or above `slot` that no quorum has accepted.
    pub(super) fn quorum_end(&self, slot: Slot) -> Slot {
        if slot < self.end && self.start.is_some_and(|start| start <= slot) {
            return self.end;
        }
        let (mut ends, n) = ([Slot::ZERO; REPLICAS_MAX], self.accepted.len());
        let (ends, mut end) = (&mut ends[..n], slot);
        loop {
            ends.iter_mut().zip(&self.accepted).for_each(|(it, set)| *it = set.end_from(end));
            ends.sort_unstable();
            // A quorum of acceptors has accepted everything below the end of its slowest
            // member. Above it, another quorum may go on.
            let next = ends[n - self.quorum];
            if next == end {
                return end;
            }
            end = next;
        }
    }

    /// The slots that this leader saw accepted by a quorum at its ballot, from the start of
    /// its phase 2: its decided mark (S7).
    pub(super) fn decided(&self) -> Decided {
        let slots = SlotRange::new(self.start.unwrap_or(self.end), self.end);
        Decided { ballot: self.ballot, slots }
    }

    /// The first ranges of undecided slots that peers have passed over, and which peers.
    ///
    /// A peer passes over a slot if it accepts a higher one and not this one. Datagrams
    /// mostly arrive in order, so the accept for that slot was lost on the way to it. Other
    /// acceptors may be a quorum without it, but they may also be slower than another accept
    /// is, and the peer needs the value in any case. This replica, `me`, never counts as
    /// passing over a slot: its own acceptor gets its accepts without the network.
    pub(super) fn lost(&self, me: ReplicaId) -> Vec<Lost> {
        let (mut lost, mut at) = (Vec::new(), self.end);
        for _ in 0..LOST_LOOKS_MAX {
            let (mut by, mut until) = (ReplicaSet::EMPTY, None);
            for (id, accepted) in replicas(self.accepted.len()).zip(&self.accepted) {
                if accepted.end() <= at {
                    continue;
                }
                let accepted_end = accepted.end_from(at);
                let passes_over = accepted_end == at;
                if passes_over && id != me {
                    by.insert(id);
                }
                let change = if passes_over { accepted.gap_end(at) } else { accepted_end };
                until = Some(until.map_or(change, |until: Slot| until.min(change)));
            }
            let Some(until) = until.filter(|_| self.start.is_some()) else { break };
            if !by.is_empty() {
                lost.push(Lost { slots: SlotRange::new(at, until), by });
            }
            if lost.len() == LOST_RANGES_MAX {
                break;
            }
            at = self.quorum_end(until);
        }
        lost
    }

    /// Forgets acceptances that have done their work: every slot below `applied` is applied.
    pub(super) fn trim(&mut self, applied: Slot) {
        if self.start.is_some() && applied > self.end {
            // These slots were fetched from a peer and not counted here. The mark must not
            // cover them, so it begins anew above them.
            (self.start, self.end) = (Some(applied), applied);
        }
        let counted = self.end.min(applied);
        self.accepted.iter_mut().for_each(|accepted| accepted.trim(counted));
        self.advance();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::quorum;

    /// A tally of a phase 2 that began at 0, with the ranges that each acceptor accepted.
    fn tally(accepted: &[&[(u64, u64)]]) -> Tally {
        let n = accepted.len();
        let mut tally = Tally::new(Ballot(0), n, quorum(n));
        tally.start = Some(Slot(0));
        for (set, ranges) in tally.accepted.iter_mut().zip(accepted) {
            for (start, end) in *ranges {
                set.insert(SlotRange::new(Slot(*start), Slot(*end)));
            }
        }
        tally.end = tally.quorum_end(Slot(0));
        tally
    }

    fn lost(tally: &Tally, me: u8) -> Vec<(u64, u64, Vec<u8>)> {
        let by = |by: ReplicaSet| replicas(63).filter(move |id| by.contains(*id)).map(|id| id.0);
        let lost = tally.lost(ReplicaId(me));
        lost.iter().map(|it| (it.slots.start.0, it.slots.end.0, by(it.by).collect())).collect()
    }

    #[test]
    fn a_range_has_a_quorum_if_different_quorums_accepted_its_parts() {
        let accepted: [&[(u64, u64)]; 5] =
            [&[(0, 6)], &[(0, 2), (4, 9)], &[(0, 4)], &[(2, 9)], &[(7, 9)]];
        let tally = tally(&accepted);
        assert_eq!(tally.quorum_end(Slot(0)), Slot(6));
        assert_eq!(tally.quorum_end(Slot(6)), Slot(6));
        assert_eq!(tally.quorum_end(Slot(7)), Slot(9));
    }

    #[test]
    fn an_undecided_slot_is_lost_on_the_way_to_the_peers_that_pass_over_it() {
        let (all, behind): (&[_], &[_]) = (&[(0, 9)], &[(0, 2), (5, 9)]);
        let expected = vec![(2, 5, vec![2, 3, 4])];
        assert_eq!(lost(&tally(&[all, all, behind, behind, behind]), 0), expected);
        // Two have not come so far, and may never.
        let slow: &[_] = &[(0, 2)];
        assert_eq!(lost(&tally(&[all, slow, behind, slow, behind]), 0), [(2, 5, vec![2, 4])]);
        // A quorum has accepted all.
        assert_eq!(lost(&tally(&[all, all, all, behind, behind]), 0), []);
        // The own acceptor gets its accepts without the network: it is only late.
        assert_eq!(lost(&tally(&[behind, all, &[(0, 2)]]), 0), []);
        assert_eq!(lost(&tally(&[all, behind, &[(0, 2)]]), 0), [(2, 5, vec![1])]);
        // Before the proposer has said where its phase 2 begins, no slot is lost.
        let mut early = tally(&[all, behind, behind]);
        early.start = None;
        assert_eq!(lost(&early, 0), []);
    }

    #[test]
    fn several_stretches_may_be_lost_each_to_peers_of_its_own() {
        let all: &[_] = &[(0, 99)];
        let accepted: [&[(u64, u64)]; 3] =
            [all, &[(0, 2), (5, 7), (9, 12)], &[(0, 2), (4, 7), (8, 9)]];
        let expected = vec![
            (2, 4, vec![1, 2]),
            (7, 8, vec![1, 2]),
            // Both have the rest on its way, or have come no further.
        ];
        assert_eq!(lost(&tally(&accepted), 0), expected);
        let holes: Vec<(u64, u64)> = (0..99).map(|slot| (2 * slot + 1, 2 * slot + 2)).collect();
        let many = lost(&tally(&[all, &holes, &holes]), 0);
        let first: Vec<_> = (0..64).map(|slot| (2 * slot, 2 * slot + 1, vec![1, 2])).collect();
        assert_eq!(many, first, "so many ranges at a time");
    }
}
