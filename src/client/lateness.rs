//! Whether a late answer means slow answers or lost datagrams.
//!
//! If a line was sent more than once, nobody knows which copy was answered. Where answers take
//! longer than the client waits, that is so of each line, and no answer would ever be measured.
//! Where datagrams are lost, to take the whole time for the time of an answer makes the next waits
//! longer, and the next answer still later, without end. Two facts tell the one from the other:
//!
//! - A leader that has the line already says so, when a copy comes. Then one of the copies before
//!   that one was not lost, and the line takes as long as it takes. (A follower says who leads when
//!   the first copy comes, too.)
//! - An answer that comes as soon after a copy as that word did is the answer to this copy. The
//!   line may have been complete long before, and the first answer was lost.
//!
//! So an answer is measured if the leader had the line, and did not answer because it was asked
//! again. It is measured from the copy before that which the leader first had a word for: the ones
//! before may all have been lost. That is too short rather than too long, and longer than the last
//! wait, so the waits become as long as answers take.

use super::ASK_ALL_US;
use crate::types::{Ballot, ReplicaId, Time};

/// An answer counts as one to the last copy if it comes within so many times the time that the
/// leader's word took.
const WORDS: u64 = 2;

/// What the leader says of the line in flight.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// When the message in flight was first sent, and of which ballot the leader was asked: of none
    /// if another replica was.
    asked_at: Time,
    led: Option<(Ballot, ReplicaId)>,
    /// When it was last sent, and when it was sent before.
    sent_at: Time,
    before: Option<Time>,
    /// The leader has said that it has the line in flight.
    word: Option<Word>,
}

/// What the leader has said of the line in flight.
#[derive(Debug, Clone, Copy)]
struct Word {
    /// It had it since this copy, or longer.
    since: Time,
    /// How long after a copy it has said so.
    took_us: u64,
}

impl Lateness {
    /// A message is sent first: to this leader of this ballot, or to another replica.
    pub(super) fn asked(&mut self, now: Time, led: Option<(Ballot, ReplicaId)>) {
        *self = Lateness { asked_at: now, led, sent_at: now, before: None, word: None };
    }

    /// It is sent again.
    pub(super) fn asked_again(&mut self, now: Time) {
        self.before = Some(std::mem::replace(&mut self.sent_at, now));
    }

    /// When the message in flight was first sent.
    pub(super) fn asked_at(&self) -> Time {
        self.asked_at
    }

    /// The replica `from` says that `ballot` leads. If it is the leader that was asked, it has the
    /// line already.
    pub(super) fn held(&mut self, now: Time, ballot: Ballot, from: ReplicaId) {
        if self.led != Some((ballot, from)) {
            return;
        }
        let Some(before) = self.before else { return };
        let last_us = now.since_us(self.sent_at);
        let Word { since, took_us } = self.word.unwrap_or(Word { since: before, took_us: 0 });
        self.word = Some(Word { since, took_us: took_us.max(last_us) });
    }

    /// The line is complete, as `from` says while `ballot` leads. Returns how long its answer took
    /// at least, if it was sent more than once and that is known.
    pub(super) fn end(&self, now: Time, ballot: Ballot, from: ReplicaId) -> Option<u64> {
        let Word { since, took_us: word_us } = self.word?;
        // Another replica that answers says nothing about the one that was asked.
        let is_leader = self.led == Some((ballot, from));
        let is_late = now.since_us(self.asked_at) >= ASK_ALL_US;
        let is_unasked = now.since_us(self.sent_at) > WORDS * word_us;
        (is_leader && is_late && is_unasked).then_some(now.since_us(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R0: ReplicaId = ReplicaId(0);
    const R1: ReplicaId = ReplicaId(1);

    /// What is known of a line that the leader, replica 0, was sent at 0, 100 and 300 ms, and that
    /// is complete after `ms` and `us`, as `answered_by` says. `by` said 300 µs after the last copy
    /// that replica 0 leads.
    fn line(by: Option<ReplicaId>, ms: u64, us: u64, answered_by: ReplicaId) -> Option<u64> {
        let at = |ms: u64, us: u64| Time(7 + 1_000 * ms + us);
        let mut lateness = Lateness::default();
        lateness.asked(at(0, 0), Some((Ballot(3), R0)));
        [100, 300].into_iter().for_each(|ms| lateness.asked_again(at(ms, 0)));
        by.into_iter().for_each(|by| lateness.held(at(300, 300), Ballot(3), by));
        lateness.end(at(ms, us), Ballot(3), answered_by)
    }

    #[test]
    fn an_answer_of_a_leader_that_had_the_line_is_measured_from_the_copy_before() {
        assert_eq!(line(Some(R0), 700, 0, R0), Some(600_000));
        assert_eq!(line(Some(R1), 700, 0, R0), None, "another replica has it");
        assert_eq!(line(Some(R0), 700, 0, R1), None, "another replica has answered");
        assert_eq!(line(None, 700, 0, R0), None, "nobody has said that he has it");
    }

    #[test]
    fn an_answer_that_comes_as_soon_as_word_did_is_not_measured() {
        assert_eq!(line(Some(R0), 300, 600, R0), None, "the one before it may have been lost");
        assert_eq!(line(Some(R0), 300, 601, R0), Some(200_601));
    }

    #[test]
    fn no_follower_tells_by_its_word_that_it_had_the_line() {
        let mut lateness = Lateness::default();
        lateness.asked(Time(0), None);
        lateness.asked_again(Time(3_000_000));
        lateness.held(Time(3_000_300), Ballot(3), R1);
        assert_eq!(lateness.end(Time(3_300_000), Ballot(3), R1), None);
    }

    #[test]
    fn what_was_said_is_of_the_line_in_flight() {
        let mut lateness = Lateness::default();
        lateness.asked(Time(0), Some((Ballot(3), R0)));
        lateness.held(Time(100), Ballot(3), R0);
        assert_eq!(lateness.end(Time(400_000), Ballot(3), R0), None, "it is of the line before");
        lateness.asked_again(Time(100_000));
        lateness.held(Time(100_300), Ballot(3), R0);
        lateness.asked_again(Time(200_000));
        lateness.held(Time(200_200), Ballot(3), R0);
        assert_eq!(lateness.end(Time(200_600), Ballot(3), R0), None, "the longest counts");
        assert_eq!(lateness.end(Time(200_601), Ballot(3), R0), Some(200_601), "the first word");
        lateness.asked(Time(500_000), Some((Ballot(3), R0)));
        assert_eq!(lateness.end(Time(900_000), Ballot(3), R0), None, "it was of the last line");
    }

    #[test]
    fn no_answer_is_measured_that_came_no_later_than_it_is_waited_for_anyway() {
        let mut lateness = Lateness::default();
        lateness.asked(Time(0), Some((Ballot(3), R0)));
        lateness.asked_again(Time(ASK_ALL_US / 2));
        lateness.held(Time(ASK_ALL_US / 2 + 1), Ballot(3), R0);
        assert_eq!(lateness.end(Time(ASK_ALL_US - 1), Ballot(3), R0), None);
        assert_eq!(lateness.end(Time(ASK_ALL_US), Ballot(3), R0), Some(ASK_ALL_US));
    }
}
