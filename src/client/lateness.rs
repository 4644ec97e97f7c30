//! Whether a late answer means slow answers or lost datagrams.
//!
//! If a line was sent more than once, nobody knows which copy was answered. Where answers take
//! longer than the client waits, that is so of each line, and no answer would ever be measured.
//! Where datagrams are lost, to take the whole time for the time of an answer makes the next waits
//! longer, and the next answer still later, without end. Two facts tell the one from the other:
//!
//! - A leader that has the line already says so, when a copy comes. Then the line was not lost,
//!   and it takes as long as it takes.
//! - An answer that comes as soon after a copy as that word did is the answer to this copy. The
//!   line may have been complete long before, and the first answer was lost.
//!
//! So an answer is measured from the first copy on if the leader had the line, and did not answer
//! because it was asked again.

use super::ASK_ALL_US;
use crate::types::{Ballot, ReplicaId, Time};

/// An answer counts as one to the last copy if it comes within so many times the time that the
/// leader's word took.
const WORDS: u64 = 2;

/// What the leader says of the line in flight.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// When the message in flight was first sent, and which replica was asked as the leader of
    /// which ballot.
    asked_at: Time,
    led: Option<(Ballot, ReplicaId)>,
    /// How long after a copy the leader has said that it has the line in flight, if it has.
    word_us: Option<u64>,
}

impl Lateness {
    /// A message is sent first, to the replica that is believed to lead with `ballot`.
    pub(super) fn asked(&mut self, now: Time, ballot: Ballot, whom: ReplicaId) {
        *self = Lateness { asked_at: now, led: Some((ballot, whom)), word_us: None };
    }

    /// When the message in flight was first sent.
    pub(super) fn asked_at(&self) -> Time {
        self.asked_at
    }

    /// The leader of `ballot`, which is `from`, has the line already. It was last sent `since_us`
    /// ago.
    pub(super) fn held(&mut self, ballot: Ballot, from: ReplicaId, since_us: u64) {
        if self.led == Some((ballot, from)) {
            self.word_us = Some(since_us.max(self.word_us.unwrap_or(0)));
        }
    }

    /// The line is complete, as `from` says while `ballot` leads. It was last sent `since_us` ago,
    /// and not for the first time. Returns how long its answer took, if that is known.
    pub(super) fn end(
        &self,
        now: Time,
        ballot: Ballot,
        from: ReplicaId,
        since_us: u64,
    ) -> Option<u64> {
        let took_us = now.since_us(self.asked_at);
        // Another replica that answers says nothing about the one that was asked.
        let is_late = self.led == Some((ballot, from)) && took_us >= ASK_ALL_US;
        let is_unasked = self.word_us.is_some_and(|us| since_us > WORDS * us);
        (is_late && is_unasked).then_some(took_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R0: ReplicaId = ReplicaId(0);
    const R1: ReplicaId = ReplicaId(1);

    /// What is known of a line that was first sent `ms` ago, and last `since_us` ago. It was said
    /// by `by` that it has the line, 300 µs after a copy.
    fn line(by: Option<ReplicaId>, ms: u64, since_us: u64, answered_by: ReplicaId) -> Option<u64> {
        let mut lateness = Lateness::default();
        lateness.asked(Time(7), Ballot(3), R0);
        by.into_iter().for_each(|by| lateness.held(Ballot(3), by, 300));
        lateness.end(Time(7 + 1_000 * ms), Ballot(3), answered_by, since_us)
    }

    #[test]
    fn an_answer_of_a_leader_that_had_the_line_is_measured_from_the_first_copy() {
        assert_eq!(line(Some(R0), 400, 601, R0), Some(400_000));
        assert_eq!(line(Some(R0), 99, 601, R0), None, "no later than it is waited for anyway");
        assert_eq!(line(Some(R1), 400, 601, R0), None, "another replica has it");
        assert_eq!(line(Some(R0), 400, 601, R1), None, "another replica has answered");
        assert_eq!(line(None, 400, 601, R0), None, "nobody has said that he has it");
    }

    #[test]
    fn an_answer_that_comes_as_soon_as_word_did_is_not_measured() {
        assert_eq!(line(Some(R0), 4_000, 600, R0), None, "the one before it may have been lost");
    }

    #[test]
    fn what_was_said_is_of_the_line_in_flight() {
        let mut lateness = Lateness::default();
        lateness.asked(Time(0), Ballot(3), R0);
        lateness.held(Ballot(3), R0, 300);
        lateness.held(Ballot(3), R0, 200);
        assert_eq!(lateness.end(Time(400_000), Ballot(3), R0, 600), None, "the longest counts");
        assert_eq!(lateness.end(Time(400_000), Ballot(3), R0, 601), Some(400_000));
        lateness.asked(Time(500_000), Ballot(3), R0);
        assert_eq!(lateness.end(Time(900_000), Ballot(3), R0, 601), None, "it is of the last line");
    }
}
