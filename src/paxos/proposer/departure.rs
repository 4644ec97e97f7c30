//! How a replica that is about to end leaves: the leader hands over first (L9).
//!
//! A leader that ended without a word would cost its followers an election wait. So a leader that
//! is told to leave names a successor, and goes on leading. The successor campaigns at once, with
//! a higher ballot and without pre-votes. Nothing else is special: it runs phase 1, and finds what
//! the old leader had proposed. The old leader gives way to it as to any other.
//!
//! The successor is the member that is farthest with its log, of those that echo this replica's
//! heartbeats and do not leave themselves (Ongaro's dissertation, §3.10; etcd's `MsgTimeoutNow`).
//! A word may be lost, and that member may be unable to campaign. So the leader says it again after
//! a while, and every second time to another member.
//!
//! A replica that leaves never campaigns again. It votes, forwards and answers until its process
//! ends. This module says when that costs nobody an election ([`Notice::MayEnd`]). **Does not**
//! bound how long that takes: the process does.

use super::{Proposer, State, Step};
use crate::aside::Aside;
use crate::message::{HandOver, Message, ToProposer};
use crate::paxos::Notice;
use crate::types::{Ballot, BootId, ReplicaId, Time};

/// How often one member is named before the next one is.
const TRIES: usize = 2;

/// What a replica that is about to end has done about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Departure {
    /// The ballot with which it led last, if it has led since it was told to leave.
    led: Option<Ballot>,
    /// How often it has named a successor.
    tries: Aside<Tries>,
    /// Whether it has said that its process may end.
    is_over: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tries {
    made: usize,
    /// When the next one is due.
    next_at: Time,
}

impl crate::aside::NotState for Tries {}

impl Departure {
    /// When it has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        (self.led.is_some() && !self.is_over).then_some(self.tries.next_at)
    }
}

impl Proposer {
    /// This replica is about to end.
    pub(super) fn leave(&mut self, step: &mut Step<'_>) {
        if self.departure.is_some() {
            return;
        }
        self.departure = Some(Departure::default());
        if matches!(self.state, State::PreVoting(_)) {
            self.follow("this replica is about to end", step);
        }
        self.continue_departure(step);
    }

    /// Whether this replica is about to end.
    pub(super) fn is_leaving(&self) -> bool {
        self.departure.is_some()
    }

    /// Does what there is to do before the end, if this replica is about to end.
    pub(super) fn continue_departure(&mut self, step: &mut Step<'_>) {
        let (now, leading) = (step.now, self.leading());
        let is_campaigning = self.moving_campaign(now).is_some();
        let Some(departure) = &mut self.departure else { return };
        if is_campaigning {
            // Of one that led when the members changed: it looks again.
            let next_at = now.plus_us(self.settings.heartbeat_us);
            departure.tries.next_at = departure.tries.next_at.max(next_at);
        }
        if departure.is_over || is_campaigning {
            return;
        }
        departure.led = leading.or(departure.led);
        let Some(led) = departure.led else { return self.end_departure(None, step) };
        let successor = self.election.leader().filter(|leader| *leader > led);
        if leading.is_none() && successor.is_some() && self.election.hears_leader(now) {
            return self.end_departure(successor, step);
        }
        let others = self.election.who_stays(now);
        if others.len() < self.configuration.quorum() {
            // Without this replica there will be no leader.
            return self.end_departure(None, step);
        }
        self.name_successor(led, &others, step);
    }

    /// Names one of `others` the successor of this replica, when it is time.
    fn name_successor(&mut self, ballot: Ballot, others: &[ReplicaId], step: &mut Step<'_>) {
        let wait_us = self.settings.heartbeat_us.max(2 * self.election.pace().waits().answer_us);
        let is_campaign_heard = self.election.hears_campaign(step.now, self.settings.id);
        let departure = self.departure.as_mut().expect("it leaves");
        if step.now < departure.tries.next_at {
            return;
        }
        departure.tries.next_at = step.now.plus_us(wait_us);
        if is_campaign_heard {
            return;
        }
        let to = others[departure.tries.made / TRIES % others.len()];
        departure.tries.made += 1;
        log::info!("replica {}: hands over to replica {to} (ballot {ballot})", self.settings.id);
        self.say_leaving(Some(HandOver { ballot, to }), step);
    }

    /// The process may end. `successor` leads in this replica's place, if it led.
    fn end_departure(&mut self, successor: Option<Ballot>, step: &mut Step<'_>) {
        let departure = self.departure.as_mut().expect("it leaves");
        departure.is_over = true;
        self.say_leaving(None, step);
        step.out.tell(Notice::MayEnd { successor });
    }

    fn say_leaving(&self, hand_over: Option<HandOver>, step: &mut Step<'_>) {
        let boot = self.settings.boot;
        for peer in self.settings.peers() {
            let leaving = ToProposer::Leaving { boot, hand_over };
            step.out.send(peer, Message::Proposer(leaving));
        }
    }

    /// A peer is about to end. If it leads and names this replica, this one campaigns at once.
    pub(super) fn handle_leaving(
        &mut self,
        from: ReplicaId,
        boot: BootId,
        hand_over: Option<HandOver>,
        step: &mut Step<'_>,
    ) {
        self.election.note_leaving(from, boot);
        let Some(HandOver { ballot, to }) = hand_over else { return };
        // A late word of a leader that has been replaced, or is about to be.
        let is_late = self.election.leader() > Some(ballot)
            || self.election.hears_campaign(step.now, self.settings.id);
        let is_meant = to == self.settings.id && self.configuration.owner(ballot) == Some(from);
        if !is_meant || is_late || self.is_leaving() || !self.may_lead(step.now) {
            return;
        }
        self.see(ballot);
        if matches!(self.state, State::Following | State::PreVoting(_)) {
            self.follow("the leader hands over to this replica", step);
            self.begin_campaign(self.next_ballot(), step);
        }
    }
}
