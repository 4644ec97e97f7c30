//! How many questions of a client a replica hears while others want to be heard too.
//!
//! A hello, a status query or an inquiry is cheap to send, and several threads work for the answer.
//! A client that asks without a pause would take the time of all others. So while there are others
//! each may ask [`AT_ONCE_MAX`] at once, and after that one each [`EVERY_US`]. What is beyond that
//! is lost, as any datagram may be, and whoever needs an answer asks again. A client that is alone
//! may ask what it likes.
//!
//! Lines are not limited here: there the client waits for each, and a flood of them only takes what
//! the socket gives to one sender (`datagrams`).
//!
//! **Guarantees.** Pure; of constant size. A client is held back only for what clients have asked
//! at its place, of [`PLACES`], which its port chooses.

use crate::types::{Address, Time};

/// The most questions at once.
const AT_ONCE_MAX: u64 = 4_096;

/// One more may be asked after this time: 4,000 a second.
const EVERY_US: u64 = 250;

/// A client is alone if nobody else has sent anything for so long.
const ALONE_US: u64 = 1_000_000;

/// How many senders are told apart.
const PLACES: usize = 64;

/// What clients have asked lately.
#[derive(Debug, Clone)]
pub(super) struct Questions {
    /// By place, the time up to which its questions are paid for, if one came each [`EVERY_US`].
    paid_until: Box<[u64; PLACES]>,
    /// The place that was heard last.
    last: usize,
    /// Whether it has changed since a question came.
    has_changed: bool,
    /// When a question came after it had changed.
    changed_at: Option<u64>,
}

impl Default for Questions {
    fn default() -> Self {
        let paid_until = Box::new([0; PLACES]);
        Questions { paid_until, last: PLACES, has_changed: false, changed_at: None }
    }
}

impl Questions {
    /// This client has sent something.
    pub(super) fn note(&mut self, from: Address) {
        let place = place_of(from);
        self.has_changed |= self.last != place && self.last != PLACES;
        self.last = place;
    }

    /// Whether a question from this client is heard now.
    pub(super) fn hears(&mut self, now: Time, from: Address) -> bool {
        self.note(from);
        if std::mem::take(&mut self.has_changed) {
            self.changed_at = Some(now.0);
        }
        if self.changed_at.is_none_or(|at| now.0.saturating_sub(at) > ALONE_US) {
            return true;
        }
        let paid_until = &mut self.paid_until[self.last];
        let next = now.0.max(*paid_until) + EVERY_US;
        let is_heard = next <= now.0 + AT_ONCE_MAX * EVERY_US;
        if is_heard {
            *paid_until = next;
        }
        is_heard
    }
}

fn place_of(Address(address): Address) -> usize {
    usize::from(address.port()) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(port: u16) -> Address {
        Address(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn a_client_that_asks_without_a_pause_is_held_to_its_share_while_another_is_there() {
        let mut questions = Questions::default();
        questions.note(at(8));
        // A question each microsecond, for four seconds; the other sends a line now and then.
        let mut hears = |now| {
            if now % 1_000 == 0 {
                questions.note(at(8));
            }
            questions.hears(Time(now), at(7))
        };
        let heard = (0..4 * SECOND).filter(|now| hears(*now)).count() as u64;
        let share = AT_ONCE_MAX + 4 * SECOND / EVERY_US;
        assert!((share - 2..=share).contains(&heard), "{heard}");
        let now = Time(4 * SECOND);
        assert!(questions.hears(now, at(8)), "the other is heard");
        questions.hears(now, at(7));
        assert!(!questions.hears(now, at(7 + PLACES as u16)), "they share a place");
    }

    #[test]
    fn a_client_that_is_alone_may_ask_what_it_likes() {
        let mut questions = Questions::default();
        assert!((0..2 * AT_ONCE_MAX).all(|_| questions.hears(Time(5), at(7))));
        questions.note(at(8));
        let heard = (0..2 * AT_ONCE_MAX).filter(|_| questions.hears(Time(5), at(7))).count();
        assert_eq!(heard as u64, AT_ONCE_MAX, "there was another");
        let later = Time(5 + ALONE_US + 1);
        assert!((0..2 * AT_ONCE_MAX).all(|_| questions.hears(later, at(7))), "it has gone");
    }
}
