//! Followers of the chat log that wait here for a slot that is not applied yet.
//!
//! A question about a slot that is applied goes to storage at once. Another one is kept until the
//! slot is applied, and then storage answers. If that takes longer than
//! [`HOLD_US`](crate::message::HOLD_US), the follower is told that there is nothing yet: then it
//! knows that this replica lives, and asks it or another one again. Followers are strangers, and
//! each question is answered once, since it has paid for one answer (W3). What finds no place is
//! dropped, and asked again.

use super::Outbox;
use crate::aside::NotState;
use crate::message::{Answer, Excerpt, FollowQuery, HOLD_US};
use crate::types::{Address, Slot, Time};

/// How many questions may wait.
pub const FOLLOWERS_MAX: usize = 1_024;

/// How many questions from one address may wait. A follower has one that waits; more than that come
/// from one that has just changed to a replica that is behind.
pub const FOLLOWER_QUESTIONS_MAX: usize = 4;

/// A question that waits.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    origin: Address,
    query: FollowQuery,
    /// Until then it waits.
    until: Time,
}

/// The questions that wait, in the order in which they came. They are no state: what a follower is
/// told rests on the decided log alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Followers {
    waiting: Vec<Waiting>,
}

impl NotState for Followers {}

impl Followers {
    /// A question about a slot that is not applied.
    pub(super) fn wait(&mut self, now: Time, origin: Address, query: FollowQuery) {
        let is_same = |it: &Waiting| it.origin == origin && it.query.slot == query.slot;
        self.waiting.retain(|it| !(is_same(it) && it.query.offset == query.offset));
        let own = self.waiting.iter().filter(|it| it.origin == origin).count();
        if own < FOLLOWER_QUESTIONS_MAX && self.waiting.len() < FOLLOWERS_MAX {
            self.waiting.push(Waiting { origin, query, until: now.plus_us(HOLD_US) });
        }
    }

    /// Every slot below `applied` is applied: questions about them are passed to storage.
    pub(super) fn applied(&mut self, applied: Slot, out: &mut Outbox) {
        self.waiting.retain(|it| {
            let waits = it.query.slot >= applied;
            if !waits {
                out.send_excerpt(it.origin, it.query, applied);
            }
            waits
        });
    }

    /// Those who have waited long are told that there is nothing.
    pub(super) fn tick(&mut self, now: Time, applied: Slot, out: &mut Outbox) {
        let due = self.waiting.partition_point(|it| it.until <= now);
        for Waiting { origin, query, .. } in self.waiting.drain(..due) {
            out.answer(origin, Answer::Log(Box::new(nothing(query, applied))));
        }
    }

    /// When somebody has waited long.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting.first().map(|it| it.until)
    }
}

/// The answer that there is nothing.
fn nothing(FollowQuery { slot, offset, .. }: FollowQuery, applied: Slot) -> Excerpt {
    Excerpt { slot, offset, text: Vec::new(), rest: 0, applied }
}
