//! Replicas without a vote: they tell the leader where they are, and it may give them one.
//!
//! An observer follows the log and has no vote: its directory is fresh, or was removed. It tells the
//! leader that it hears which directory it is and how far it has applied, again and again. So the
//! leader knows whom an operator may add, or put in the place of a directory that is lost (`members`).
//!
//! The operator of a replica that has lost its disk may also ask there (`--rejoin`). Then the observer
//! says that it wants the vote of the lost one, and the leader proposes the change (M1) once the log
//! of the one that asks is as near to its own as slots are proposed ahead: the change itself takes
//! effect there when it is applied (M4).
//!
//! A leader that hears the present member of that id does not, nor one that has led for too short a
//! time to tell. Where a member is heard its disk is not lost: somebody has given two processes one
//! id.
//!
//! An operator may also say of an observer that it is never to vote (`--observer`). Then no leader
//! that hears it gives it a vote, whoever asks.
//!
//! **Does not** add a member under an id that has none unless an operator says so (`members`), and
//! keeps nothing: whoever asks is believed as every other replica is.

use super::{Proposer, State, Step};
use crate::aside::NotState;
use crate::members::Member;
use crate::message::{Message, ToProposer, VoteAim};
use crate::types::{DirectoryId, ReplicaId, Slot, Time};

/// How often an observer tells the leader of itself.
const EVERY_US: u64 = 500_000;

/// An observer of which the leader has not heard for so long is not there.
const GONE_US: u64 = 4 * EVERY_US;

/// What is known of observers, and what this replica does if it is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Observers {
    /// When it tells of itself next.
    tells_at: Time,
    /// What its operator wants.
    vote: VoteAim,
    /// Whether the user was told.
    is_said: bool,
    /// By replica id.
    heard: Vec<Option<Heard>>,
}

/// What an observer has said.
#[derive(Debug, Clone, Copy)]
struct Heard {
    directory: DirectoryId,
    applied: Slot,
    never_votes: bool,
    at: Time,
}

impl NotState for Observers {}

impl Proposer {
    /// The operator says which vote this directory is to have.
    pub(super) fn aim_at(&mut self, now: Time, vote: VoteAim) {
        self.observers.vote = vote;
        self.observers.tells_at = now;
    }

    /// When it has something to tell as an observer.
    pub(super) fn observes_at(&self) -> Option<Time> {
        (!self.is_voter()).then_some(self.observers.tells_at)
    }

    /// Tells the leader of itself, if it is an observer and it is time.
    pub(super) fn observe(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        if self.observes_at().is_none_or(|at| now < at) {
            return;
        }
        self.observers.tells_at = now.plus_us(EVERY_US);
        let leader = self.election.leader().filter(|_| self.election.hears_leader(now));
        let Some(to) = leader.and_then(|ballot| self.configuration.owner(ballot)) else { return };
        let (id, applied, vote) = (self.settings.id, self.applied, self.observers.vote);
        let rejoins = vote == VoteAim::OfLostDisk;
        if rejoins && !std::mem::replace(&mut self.observers.is_said, true) {
            log::info!("replica {id}: asks replica {to} for its vote, on a fresh directory");
        }
        let directory = self.membership.voter.directory;
        let observes = ToProposer::Observes { directory, applied, vote };
        step.out.send(to, Message::Proposer(observes));
    }

    /// An observer tells of itself.
    pub(super) fn handle_observes(
        &mut self,
        from: ReplicaId,
        (directory, applied): (DirectoryId, Slot),
        vote: VoteAim,
        step: &mut Step<'_>,
    ) {
        let observers = &mut self.observers;
        observers.heard.resize(self.settings.rows(), None);
        let never_votes = vote == VoteAim::Never;
        observers.heard[from.index()] =
            Some(Heard { directory, applied, never_votes, at: step.now });
        let State::Leading { since, .. } = &self.state else { return };
        let can_tell = self.election.is_established(step.now, **since);
        let is_lost = can_tell && !self.election.is_in_touch(step.now, from);
        let has_caught_up = self.has_caught_up(applied).is_ok();
        let is_another =
            self.configuration.member(from).is_some_and(|it| it.directory != directory);
        // M9: where the lost one was.
        let address = self.configuration.member(from).and_then(|it| it.address);
        let member = Member { id: from, directory, address };
        if let Some(next) = self.configuration.with(member)
            && vote == VoteAim::OfLostDisk
            && is_lost
            && is_another
            && has_caught_up
        {
            self.handle_change(&next, step);
        }
    }

    /// The directory of this observer and how far it has applied, if it is heard.
    pub(super) fn observer(&self, now: Time, id: ReplicaId) -> Option<(DirectoryId, Slot)> {
        let heard = self.observers.heard.get(id.index()).copied().flatten()?;
        let is_here = now.since_us(heard.at) < GONE_US;
        (is_here && !self.configuration.is_member(id, heard.directory))
            .then_some((heard.directory, heard.applied))
    }

    /// Whether this observer has said that it is never to vote.
    pub(super) fn never_votes(&self, id: ReplicaId) -> bool {
        let heard = self.observers.heard.get(id.index()).copied().flatten();
        heard.is_some_and(|heard| heard.never_votes)
    }
}
