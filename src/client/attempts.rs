//! When the message in flight was sent, each time.
//!
//! If a line was sent more than once, a client cannot tell by itself which copy was answered, and
//! so not how long the answer took (Karn and Partridge, SIGCOMM '87). Where answers take longer than
//! it waits, that is so of each line. So a request says which attempt it is, and an answer by which
//! attempt the replica first had the line ([`Attempt`]).

use crate::types::{Attempt, Time};

/// How many attempts after the first one an answer can name.
const NAMED_MAX: usize = u8::MAX as usize - 1;

/// The attempts of the message in flight.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    first: Time,
    /// The others that an answer can name. Mostly there is none, and nothing is allocated.
    later: Vec<Time>,
    last: Time,
}

impl Attempts {
    /// A message is sent first.
    pub(super) fn begin(&mut self, now: Time) {
        self.later.clear();
        (self.first, self.last) = (now, now);
    }

    /// It is sent again.
    pub(super) fn again(&mut self, now: Time) {
        if self.later.len() < NAMED_MAX {
            self.later.push(now);
        }
        self.last = now;
    }

    /// The last one.
    pub(super) fn current(&self) -> Attempt {
        match self.later.last().is_none_or(|at| *at == self.last) {
            true => Attempt::after(self.later.len()),
            false => Attempt::UNKNOWN,
        }
    }

    /// Whether the message was sent once.
    pub(super) fn is_first(&self) -> bool {
        self.later.is_empty()
    }

    /// When it was sent first.
    pub(super) fn first_at(&self) -> Time {
        self.first
    }

    /// When it was sent last.
    pub(super) fn last_at(&self) -> Time {
        self.last
    }

    /// How long ago `attempt` was, if it is known.
    pub(super) fn since_us(&self, now: Time, attempt: Attempt) -> Option<u64> {
        let at = match attempt.before()? {
            0 => self.first,
            before => *self.later.get(before - 1)?,
        };
        Some(now.since_us(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_measured_from_the_attempt_that_it_names() {
        let mut attempts = Attempts::default();
        attempts.begin(Time(100));
        assert!(attempts.is_first());
        let first = attempts.current();
        attempts.again(Time(300));
        let second = attempts.current();
        assert!(!attempts.is_first());
        assert_eq!((attempts.first_at(), attempts.last_at()), (Time(100), Time(300)));
        assert_eq!(attempts.since_us(Time(1_000), first), Some(900));
        assert_eq!(attempts.since_us(Time(1_000), second), Some(700));
        assert_eq!(attempts.since_us(Time(1_000), Attempt::UNKNOWN), None);
        attempts.begin(Time(2_000));
        assert_eq!(attempts.since_us(Time(2_500), first), Some(500), "of the next message");
        assert_eq!(attempts.since_us(Time(2_500), second), None, "there was none");
    }

    #[test]
    fn an_attempt_that_no_answer_can_name_is_not_known() {
        let mut attempts = Attempts::default();
        attempts.begin(Time(0));
        (1..=NAMED_MAX as u64).for_each(|at| attempts.again(Time(at)));
        assert_eq!(attempts.since_us(Time(300), attempts.current()), Some(46));
        attempts.again(Time(255));
        assert_eq!(attempts.current(), Attempt::UNKNOWN);
        assert_eq!((attempts.last_at(), attempts.later.len()), (Time(255), NAMED_MAX));
    }
}
