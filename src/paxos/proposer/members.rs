//! What an operator asks of the members, and which change a leader proposes for him.
//!
//! An operator names what is to change and the number of the configuration that he has seen. The
//! leader of just that configuration proposes the next one (M1), or says what stands in the way: a
//! replica that has not caught up, or new members of whom too few are heard. So a question that comes
//! again changes nothing more, and one that comes late nothing at all.
//!
//! A configuration that has a leader is established (M8). So whoever asks until the next one is led
//! knows then that those who are members no more may be switched off.
//!
//! **Does not** know who may ask: that the codec has looked at (W8).

use super::{Outbox, Proposer, State, Step};
use crate::aside::NotState;
use crate::members::{CHANGE_MEMBERS_MAX, Configuration, Member};
use crate::message::{
    Answer, MemberChange, MembersAnswer, MembersQuery, OBSERVERS_MAX, Observer, Obstacle, Wish,
};
use crate::paxos::{Never, PROPOSE_WINDOW_SLOTS};
use crate::quorum::ReplicaSet;
use crate::types::{Address, ReplicaId, Slot, Time, replicas};

/// An operator who has not asked for so long has given up.
const ASKS_AGAIN_US: u64 = 5_000_000;

/// What an operator wants, and when he asked first and last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wished {
    wish: Wish,
    began: Time,
    asked: Time,
}

impl NotState for Option<Wished> {}

impl Proposer {
    /// An operator asks who the members are, or for others.
    pub(super) fn handle_members(
        &mut self,
        origin: Address,
        query: MembersQuery,
        step: &mut Step<'_>,
    ) {
        let leads = self.leading().is_some();
        // Of another configuration the operator knows nothing yet.
        let wish = query.wish.filter(|wish| leads && wish.base == self.configuration.number());
        let obstacle = wish.and_then(|wish| self.handle_wish(wish, step).err());
        self.answer_members(step.now, origin, query.number, obstacle, step.out);
    }

    fn answer_members(
        &self,
        now: Time,
        origin: Address,
        number: u64,
        obstacle: Option<Obstacle>,
        out: &mut Outbox<Never>,
    ) {
        let heard = self.heard(now);
        let is_small = self.configuration.members().len() <= CHANGE_MEMBERS_MAX;
        let configuration = is_small.then(|| self.configuration.clone());
        let observers = replicas(self.settings.rows()).filter_map(|id| {
            let (directory, applied) = self.observer(now, id)?;
            Some(Observer { id, directory, applied })
        });
        let observers = observers.take(OBSERVERS_MAX).collect();
        let (leads, applied) = (self.leading().is_some(), self.applied);
        let answer =
            MembersAnswer { number, leads, configuration, heard, observers, applied, obstacle };
        out.answer(origin, Answer::Members(Box::new(answer)));
    }

    /// Proposes what an operator wants. Who is there it looks at from now on: one that has just died
    /// was heard a moment ago.
    fn handle_wish(&mut self, wish: Wish, step: &mut Step<'_>) -> Result<(), Obstacle> {
        let now = step.now;
        let State::Leading { since, .. } = &self.state else { return Err(Obstacle::Unsure) };
        let is_established = self.election.is_established(now, **since);
        let began = match *self.wished {
            Some(Wished { wish: same, began, asked }) if same == wish && lately(now, asked) => {
                began
            }
            _ => now,
        };
        *self.wished = Some(Wished { wish, began, asked: now });
        let knows = is_established && now.since_us(began) >= self.election.echoes_within_us();
        let next = self.next_members(now, wish.change, (began, knows))?;
        let moves = match wish.change {
            MemberChange::Move(id, _) => Some(id),
            MemberChange::Add(_) | MemberChange::Replace(_) | MemberChange::Remove(_) => None,
        };
        let heard = self.heard_since(began, &next, moves);
        if !next.is_quorum(heard) && !wish.forced {
            return Err(if knows { Obstacle::NoQuorum { heard } } else { Obstacle::Unsure });
        }
        self.handle_change(&next, step);
        Ok(())
    }

    /// The configuration after this change, by what was heard since `began`; `knows`: that is long
    /// enough to take who was not heard for lost.
    fn next_members(
        &self,
        now: Time,
        change: MemberChange,
        (began, knows): (Time, bool),
    ) -> Result<Configuration, Obstacle> {
        let id = change.replica();
        if id.index() >= self.settings.rows() {
            return Err(Obstacle::NoChange);
        }
        let present = self.configuration.member(id);
        let next = match change {
            MemberChange::Remove(_) => self.configuration.without(id),
            MemberChange::Move(_, address) => {
                let is_taken = self.configuration.moved().any(|it| it.to == address && it.id != id);
                let moved = present.map(|it| Member { address: Some(address), ..*it });
                let moved = moved.filter(|_| address.is_of_a_host() && !is_taken);
                moved.and_then(|it| self.configuration.with(it))
            }
            MemberChange::Add(_) if present.is_some() => None,
            MemberChange::Replace(_) if present.is_none() => None,
            MemberChange::Add(_) | MemberChange::Replace(_) => {
                let is_self = id == self.settings.id;
                if present.is_some() && (is_self || self.election.has_echoed_since(id, began)) {
                    return Err(Obstacle::StillThere);
                }
                if present.is_some() && !knows {
                    return Err(Obstacle::Unsure);
                }
                let (directory, applied) = self.observer(now, id).ok_or(Obstacle::NobodyThere)?;
                if self.never_votes(id) {
                    return Err(Obstacle::NeverVotes);
                }
                self.has_caught_up(applied)?;
                let address = present.and_then(|it| it.address);
                self.configuration.with(Member { id, directory, address })
            }
        };
        next.ok_or(Obstacle::NoChange)
    }

    /// Whether a replica that has applied so much may become a member: the change itself takes effect
    /// there when it is applied (M4), and until then its vote is missing.
    pub(super) fn has_caught_up(&self, applied: Slot) -> Result<(), Obstacle> {
        match applied.plus(PROPOSE_WINDOW_SLOTS) >= self.applied {
            true => Ok(()),
            false => Err(Obstacle::Behind { applied, of: self.applied }),
        }
    }

    /// The members of the next configuration that were heard since this time, this replica included
    /// if it is one. Who is to become one was heard lately. Of who `moves` nobody knows whether it
    /// is heard where it goes.
    fn heard_since(
        &self,
        since: Time,
        next: &Configuration,
        moves: Option<ReplicaId>,
    ) -> ReplicaSet {
        let is_new = |member: &Member| !self.configuration.is_member(member.id, member.directory);
        let is_heard = |member: &Member| {
            let echoes = || self.election.has_echoed_since(member.id, since);
            moves != Some(member.id)
                && (member.id == self.settings.id || is_new(member) || echoes())
        };
        set_of(next.members().iter().filter(|member| is_heard(member)))
    }

    /// The members that are heard, this replica included if it is one.
    fn heard(&self, now: Time) -> ReplicaSet {
        let is_heard = |member: &Member| match member.id == self.settings.id {
            true => self.is_voter(),
            false => self.election.is_in_touch(now, member.id),
        };
        set_of(self.configuration.members().iter().filter(|member| is_heard(member)))
    }
}

fn set_of<'a>(members: impl Iterator<Item = &'a Member>) -> ReplicaSet {
    let mut set = ReplicaSet::EMPTY;
    members.for_each(|member| {
        set.insert(member.id);
    });
    set
}

/// Whether an operator has asked so lately that he asks again.
fn lately(now: Time, asked: Time) -> bool {
    now.since_us(asked) < ASKS_AGAIN_US
}
