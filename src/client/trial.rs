//! Whether a late answer means slow answers or lost datagrams: tried out.
//!
//! If a line was sent more than once, nobody knows which copy was answered. Where answers take
//! longer than the client waits, that is so of each line, and no answer is ever measured. Where
//! datagrams are lost, to take the whole time for the time of an answer makes the next waits
//! longer, and the next answer still later, without end. So after a line that the leader answered
//! late, the first copy of the next one is given twice that time: where disks are slow, a line may
//! wait for a sync that is under way, and then for its own. If it is answered, its answer was
//! measured. If not, it was lost, and the lines after it are not tried.

use super::ASK_ALL_US;
use crate::paxos::pace::WAIT_MAX_US;
use crate::types::{Ballot, ReplicaId, Time};

/// How many lines are not tried after a trial in vain.
const REST_LINES: u8 = 4;

/// What is tried with the line in flight, and what may be tried with the next.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// When the message in flight was first sent, and which replica was asked as the leader of
    /// which ballot.
    asked_at: Time,
    led: Option<(Ballot, ReplicaId)>,
    /// The last line was answered after this time.
    late_us: Option<u64>,
    /// The line in flight is a trial.
    is_on: bool,
    /// How many lines are not tried.
    rest: u8,
    /// The leader has said that it has the line in flight.
    is_held: bool,
}

impl Trial {
    /// A line is sent first. Returns how long that copy is waited for, if it is a trial.
    pub(super) fn begin(&mut self) -> Option<u64> {
        let wait_us = self.late_us.take().map(|us| us.saturating_mul(2).min(WAIT_MAX_US));
        self.is_on = wait_us.is_some();
        wait_us
    }

    /// A message is sent first, to the replica that is believed to lead with `ballot`.
    pub(super) fn asked(&mut self, now: Time, ballot: Ballot, whom: ReplicaId) {
        (self.asked_at, self.led, self.is_held) = (now, Some((ballot, whom)), false);
    }

    /// The leader of `ballot`, which is `from`, has the line already.
    pub(super) fn held(&mut self, ballot: Ballot, from: ReplicaId) {
        self.is_held |= self.led == Some((ballot, from));
    }

    /// The line is complete, as `from` says while `ballot` leads. It was sent `again`, or once.
    /// Returns how long its answer took, if that is known although it was sent again.
    pub(super) fn end(
        &mut self,
        now: Time,
        again: bool,
        ballot: Ballot,
        from: ReplicaId,
    ) -> Option<u64> {
        let took_us = now.since_us(self.asked_at);
        // Another replica that answers says nothing about the one that was asked.
        let is_late = self.led == Some((ballot, from)) && took_us >= ASK_ALL_US;
        let is_slow = again && is_late && self.is_held;
        let in_vain = self.is_on && again && !is_slow;
        self.rest = if in_vain { REST_LINES } else { self.rest.saturating_sub(1) };
        self.late_us = (again && is_late && !is_slow && self.rest == 0).then_some(took_us);
        is_slow.then_some(took_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R0: ReplicaId = ReplicaId(0);

    /// A line that takes `ms` milliseconds, and how long its first copy is waited for.
    fn line(trial: &mut Trial, again: bool, ms: u64, from: ReplicaId) -> Option<u64> {
        trial.asked(Time(7), Ballot(3), R0);
        let wait_us = trial.begin();
        assert_eq!(trial.end(Time(7 + 1_000 * ms), again, Ballot(3), from), None);
        wait_us.map(|us| us / 1_000)
    }

    #[test]
    fn a_line_after_a_late_one_is_a_trial_and_after_a_vain_trial_there_is_a_rest() {
        let mut trial = Trial::default();
        let mut line = |again, ms, from| line(&mut trial, again, ms, from);
        assert_eq!(line(true, 99, R0), None);
        assert_eq!(line(false, 400, R0), None, "the one before was not late");
        assert_eq!(line(true, 400, ReplicaId(1)), None, "the one before was measured");
        assert_eq!(line(true, 400, R0), None, "another replica than the leader has answered");
        assert_eq!(line(true, 900, R0), Some(800));
        for _ in 0..REST_LINES {
            assert_eq!(line(true, 400, R0), None, "the trial was in vain");
        }
        assert_eq!(line(false, 400, R0), Some(800));
        assert_eq!(line(true, 60_000, R0), None, "it was not in vain");
        assert_eq!(line(true, 400, R0), Some(WAIT_MAX_US / 1_000));
    }

    #[test]
    fn an_answer_of_a_leader_that_had_the_line_is_measured_from_the_first_copy() {
        let mut trial = Trial::default();
        let mut end = |held_by: Option<ReplicaId>, again, ms: u64| {
            trial.asked(Time(7), Ballot(3), R0);
            let is_trial = trial.begin().is_some();
            held_by.into_iter().for_each(|by| trial.held(Ballot(3), by));
            let took_us = trial.end(Time(7 + 1_000 * ms), again, Ballot(3), R0);
            (is_trial, took_us)
        };
        assert_eq!(end(Some(R0), true, 400), (false, Some(400_000)));
        assert_eq!(end(Some(R0), true, 99), (false, None), "no later than it is waited for anyway");
        assert_eq!(end(Some(ReplicaId(1)), true, 400), (false, None), "another replica has it");
        assert_eq!(end(None, true, 400), (true, None), "what was said is of the line before");
    }
}
