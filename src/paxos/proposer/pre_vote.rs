//! A pre-vote: would a quorum help this replica to lead? (Rule L2.)
//!
//! Nothing is promised, here or at the replicas that answer. The candidate only learns
//! whether a quorum misses a serving leader too. (Ongaro's dissertation, §9.6.)

use crate::aside::{Aside, NotState};
use crate::members::Configuration;
use crate::message::{Message, ToProposer};
use crate::paxos::pace::Waits;
use crate::paxos::{Never, Outbox, Settings};
use crate::quorum::ReplicaSet;
use crate::types::{Ballot, ReplicaId, Time};

/// How long a pre-vote waits for answers before it is sent again. Longer where answers take
/// longer.
const PRE_VOTE_RETRY_US: u64 = 40_000;

/// When something is done without an input.
#[derive(Debug, Clone, Copy)]
struct Timers {
    began_at: Time,
    /// When the replicas that have not granted are asked again.
    resend_at: Time,
    waits: Waits,
}

impl NotState for Timers {}

/// A pre-vote under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PreVote {
    /// The ballot that this replica would campaign with.
    pub(super) ballot: Ballot,
    /// Tells the answers apart from those to an earlier pre-vote.
    round: u64,
    /// The replicas that would help, this one included.
    granted: ReplicaSet,
    timers: Aside<Timers>,
}

impl PreVote {
    /// Asks nobody yet.
    pub(super) fn new(
        settings: &Settings,
        ballot: Ballot,
        round: u64,
        waits: Waits,
        now: Time,
    ) -> Self {
        let mut granted = ReplicaSet::EMPTY;
        granted.insert(settings.id);
        let timers = Timers { began_at: now, resend_at: now, waits };
        PreVote { ballot, round, granted, timers: Aside(timers) }
    }

    /// More has been measured.
    pub(super) fn set_waits(&mut self, waits: Waits) {
        self.timers.waits = waits;
    }

    /// Whether a quorum of the configuration would help.
    pub(super) fn is_granted(&self, configuration: &Configuration) -> bool {
        configuration.is_quorum(self.granted)
    }

    /// When no quorum has granted it for so long that the attempt has come to nothing.
    fn give_up_at(&self, settings: &Settings) -> Time {
        let patience_us = settings.election_min_us.max(self.timers.waits.answers_fail_us);
        self.timers.began_at.plus_us(patience_us)
    }

    /// Whether the attempt has come to nothing.
    pub(super) fn is_hopeless(&self, settings: &Settings, now: Time) -> bool {
        now >= self.give_up_at(settings)
    }

    /// When replicas are asked again, or the pre-vote is given up.
    pub(super) fn deadline(&self, settings: &Settings) -> Time {
        self.timers.resend_at.min(self.give_up_at(settings))
    }

    /// Who would help.
    pub(super) fn granted(&self) -> ReplicaSet {
        self.granted
    }

    /// `from` would help.
    pub(super) fn grant(&mut self, from: ReplicaId) {
        self.granted.insert(from);
    }

    /// Asks the replicas that have not granted, when it is time (L4).
    pub(super) fn ask(&mut self, settings: &Settings, now: Time, out: &mut Outbox<Never>) {
        if now < self.timers.resend_at {
            return;
        }
        self.timers.resend_at = now.plus_us(PRE_VOTE_RETRY_US.max(self.timers.waits.answer_us));
        for peer in settings.peers().filter(|peer| !self.granted.contains(*peer)) {
            let ask = ToProposer::PreVote { ballot: self.ballot, round: self.round };
            out.send(peer, Message::Proposer(ask));
        }
    }
}
