//! How a lost disk comes back: its replica asks the leader for a vote for its fresh directory.
//!
//! The replica has joined without a vote, and its operator has said that this directory takes the
//! place of the lost one. It asks the leader, and goes on asking until the log has made it a member.
//! The leader proposes the change (M1) once the log of the one that asks is as near to its own as
//! slots are proposed ahead: the change itself takes effect there when it is applied (M4).
//!
//! A leader that hears the present member of that id does not, nor one that has led for too short a
//! time to tell. Where a member is heard its disk is not lost: somebody has given two processes one
//! id.
//!
//! **Does not** add a member under an id that has none, and keeps nothing: whoever asks is believed
//! as every other replica is.

use super::{Proposer, State, Step};
use crate::aside::NotState;
use crate::members::Member;
use crate::message::{Message, ToProposer};
use crate::paxos::PROPOSE_WINDOW_SLOTS;
use crate::types::{DirectoryId, ReplicaId, Slot, Time};

/// How often it asks.
const EVERY_US: u64 = 500_000;

/// What a replica does about a vote that it has lost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rejoining {
    /// When it asks next, if its operator wants it.
    ask_at: Option<Time>,
    /// Whether the user was told.
    is_said: bool,
}

impl NotState for Rejoining {}

impl Proposer {
    /// The operator wants this directory to vote.
    pub(super) fn begin_to_rejoin(&mut self, now: Time) {
        self.rejoining.ask_at.get_or_insert(now);
    }

    /// When it has something to do.
    pub(super) fn rejoins_at(&self) -> Option<Time> {
        self.rejoining.ask_at.filter(|_| !self.is_voter())
    }

    /// Asks the leader, if it is time.
    pub(super) fn ask_to_rejoin(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        if self.rejoins_at().is_none_or(|at| now < at) {
            return;
        }
        self.rejoining.ask_at = Some(now.plus_us(EVERY_US));
        let leader = self.election.leader().filter(|_| self.election.hears_leader(now));
        let Some(to) = leader.and_then(|ballot| self.configuration.owner(ballot)) else { return };
        let (id, applied) = (self.settings.id, self.applied);
        if !std::mem::replace(&mut self.rejoining.is_said, true) {
            log::info!("replica {id}: asks replica {to} for its vote, on a fresh directory");
        }
        let rejoin = ToProposer::Rejoin { directory: self.membership.voter.directory, applied };
        step.out.send(to, Message::Proposer(rejoin));
    }

    /// A replica that has lost its disk wants a vote for a fresh one.
    pub(super) fn handle_rejoin(
        &mut self,
        from: ReplicaId,
        directory: DirectoryId,
        applied: Slot,
        step: &mut Step<'_>,
    ) {
        let State::Leading { since, .. } = &self.state else { return };
        let can_tell = self.election.is_established(step.now, **since);
        let is_lost = can_tell && !self.election.is_in_touch(step.now, from);
        let has_caught_up = applied.plus(PROPOSE_WINDOW_SLOTS) >= self.applied;
        let is_another =
            self.configuration.member(from).is_some_and(|it| it.directory != directory);
        let member = Member { id: from, directory, address: None };
        if let Some(next) = self.configuration.with(member)
            && is_lost
            && is_another
            && has_caught_up
        {
            self.handle_change(&next, step);
        }
    }
}
