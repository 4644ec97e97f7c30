//! The proposer: who leads, and what is proposed.
//!
//! A replica is in one of four states, each with just the data it needs:
//!
//! ```text
//!             suspects              quorum would help         quorum promised
//! Following ----------> PreVoting -------------------> Campaigning ------------> Leading
//!     ^                     |                               |                       |
//!     '---------------------'--- refused, hopeless ---------'--- a higher ballot, --'
//!                                                                unheard, unsatisfied
//! ```
//!
//! Ballot 0 belongs to replica 0. On a cluster that has just warmed up it needs the
//! promise of replica 0's own acceptor alone: nothing can have been accepted before it.
//!
//! [`Phase1`] is phase 1, [`Phase2`] is phase 2, and safety rests on these two and on the
//! acceptor. The rest is liveness: [`Election`] knows which leader to suspect and when, and
//! `leadership` moves from state to state. If an acceptor has promised a higher ballot and
//! a quorum still follows the leader, the leader goes above that promise at once. A leader
//! falls silent when no quorum follows it, when no quorum hears it, or when it gets nothing
//! applied. A leader whose process is about to end hands over (`departure`). Clients that read ask
//! every replica how far the log may go (`reads`).

mod copies;
mod departure;
mod leadership;
mod members;
mod observers;
mod outlook;
mod pre_vote;
mod reads;

use departure::Departure;
use members::Wished;
use observers::Observers;
pub use outlook::{NoVote, Outlook, Patience, Refusal};
use pre_vote::PreVote;

use super::acceptor::Inherited;
use super::election::Election;
use super::lives::Lives;
use super::phase1::Phase1;
use super::phase2::{Other, Phase2};
use super::standing::{Memory, Standing, Verdict, Written};
use super::{Bound, Membership, Never, Notice, Outbox, Role, Settings, acceptor, learner};
use crate::aside::{Aside, NotState};
use crate::members::Configuration;
use crate::message::{
    Answer, Conduct, Decided, Heartbeat, Inquiry, Leadership, LogHash, MembersQuery, Request, Run,
    StatusQuery, ToProposer, VoteAim, Voter,
};
use crate::quorum::ReplicaSet;
use crate::types::{Address, Ballot, BootId, ReplicaId, Slot, SlotRange, Time};
use crate::values::CommandRef;
use serde::{Deserialize, Serialize};

/// What a proposer takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// A message, and its sender.
    Peer(ReplicaId, ToProposer),
    /// A peer's heartbeat.
    Heartbeat(ReplicaId, Box<Heartbeat>),
    /// Datagrams of this life of a replica came from this address. Told when a peer's life changes.
    Life(ReplicaId, BootId, Address),
    /// A client's request, and where the client is to be answered.
    Client(Address, Request),
    /// A client asks what became of a request, and where it is to be answered.
    Inquiry(Address, Inquiry),
    /// An operator wants these members. Only a leader proposes that, and only if it is one change of
    /// its own configuration (M1). Nobody answers: the log says what became of it.
    Change(Configuration),
    /// An operator asks how this replica is, and where the answer is to go.
    Status(Address, StatusQuery),
    /// An operator asks who the members are, or for others, and where the answer is to go.
    Members(Address, MembersQuery),
    /// A client reads, and asks for the mark (E5): where it is to be answered, and its number of the
    /// read.
    Mark(Address, u64),
    /// The learner of this replica says that this request is its session's next.
    RequestIsNext {
        /// Where the client is to be answered.
        origin: Address,
        /// What it asked.
        request: Request,
    },
    /// How far the learner of this replica is. Repeated, and never less than before, unless lines
    /// were cut off its chat log.
    Progress {
        /// Every slot below this is applied.
        applied: Slot,
        /// The running hash of their values.
        hash: u64,
        /// The configuration that they make, if they have changed it. It comes together with
        /// their end: a candidate asks for all slots that its configuration may decide (M5).
        configuration: Option<Configuration>,
        /// What this replica has tallied in its own phase 2.
        decided: Decided,
        /// If something waits that a serving leader would get applied: how many microseconds
        /// slow paths need for the longest line of it (L8).
        pending: Option<u64>,
        /// Undecided slots of the own phase 2 whose accepts were lost on the way to peers.
        lost: Vec<Lost>,
    },
    /// What the acceptor of this replica has promised, durably. Cumulative, and repeated.
    Promised {
        /// The promised ballot.
        ballot: Ballot,
        /// How many records the acceptor has written, durably.
        written: u64,
    },
    /// Phase 1b of the own acceptor: it has promised `ballot`, durably. Told again for each
    /// prepare.
    OwnPromise {
        /// The promised ballot.
        ballot: Ballot,
        /// The prepare's first slot.
        first: Slot,
        /// The acceptor's trim mark.
        trimmed: Slot,
        /// Everything that it has accepted from the first slot on.
        accepted: Vec<Run>,
    },
    /// What the acceptor of this replica handed to its disk at `since` is durable now: this
    /// leaves behind the sync. Once in a while.
    Saved {
        /// On this process's clock, as all times.
        since: Time,
    },
    /// The process is about to end (L9). [`Notice::MayEnd`] answers.
    Leave,
    /// The operator says which vote this directory is to have.
    Aim(VoteAim),
}

/// Slots that some peers have passed over: they have accepted higher ones and not these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lost {
    /// The slots.
    pub slots: SlotRange,
    /// The peers.
    pub by: ReplicaSet,
}

/// It is told to the others, and nothing here depends on it.
impl NotState for LogHash {}
/// Reads alone depend on it.
impl NotState for Option<Inherited> {}

/// What this replica does about leading.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Following,
    PreVoting(PreVote),
    Campaigning(Box<Phase1>),
    Leading { phase2: Box<Phase2>, since: Aside<Time> },
}

/// One input or timer: when it comes, a random number, and what is to be sent.
struct Step<'a> {
    now: Time,
    draw: u64,
    out: &'a mut Outbox<Never>,
}

/// The proposer role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proposer {
    settings: Aside<Settings>,
    membership: Aside<Membership>,
    election: Aside<Election>,
    state: State,
    /// The configuration that the applied slots make (M5).
    configuration: Configuration,
    /// Whether this directory was a member of any configuration: then the others hear how far it is.
    was_member: bool,
    /// The highest ballot of this configuration that was heard of, anywhere. Later ones are of no
    /// use to a replica that has not applied their configuration.
    seen: Ballot,
    /// What the own acceptor has promised.
    promised: Option<Ballot>,
    /// Whose votes count (S6, S10).
    standing: Standing,
    /// Which lives of the others are heard (S12).
    lives: Aside<Lives>,
    /// How many records the own acceptor has written.
    written: Aside<Written>,
    /// By replica id, what the own acceptor was last told of it.
    stored: Aside<Vec<Memory>>,
    /// Every slot below this is applied here.
    applied: Slot,
    /// What the decided log was when the learner spoke of it last.
    history: Aside<LogHash>,
    /// What the learner holds that a serving leader would get applied, as it has told.
    pending: Option<u64>,
    pre_vote_round: u64,
    /// Whether this replica may still campaign with ballot 0.
    first_ballot: bool,
    /// What it has done about its end, if the process is about to end.
    departure: Option<Departure>,
    /// What is known of those without a vote, and what it does if it is one of them.
    observers: Aside<Observers>,
    /// What an operator wants of it.
    wished: Aside<Option<Wished>>,
    /// What the highest other leader that was heard has inherited (E5).
    inherited: Aside<Option<Inherited>>,
}

impl Proposer {
    /// A proposer that follows. Replica 0 of a fresh cluster will lead ballot 0 as soon as
    /// its acceptor has promised it.
    pub fn new(settings: Settings, membership: Membership, now: Time, draw: u64) -> Self {
        // S2: only the process that created its directory and warmed up may lead ballot 0.
        let first_ballot =
            settings.id == ReplicaId(0) && membership.fresh && membership.is_voter(settings.id);
        let configuration = membership.started();
        Proposer {
            settings: Aside(settings),
            standing: membership.standing(),
            lives: Aside(Lives::new(&settings, now)),
            written: Aside(Written { records: membership.voter.begun }),
            stored: Aside(membership.memories.clone()),
            was_member: membership.is_voter(settings.id),
            membership: Aside(membership),
            election: Aside(Election::new(settings, configuration.clone(), now, draw)),
            state: State::Following,
            configuration,
            seen: Ballot::ZERO,
            promised: None,
            applied: Slot::ZERO,
            history: Aside::default(),
            pending: None,
            pre_vote_round: 0,
            first_ballot,
            departure: None,
            observers: Aside::default(),
            wished: Aside::default(),
            inherited: Aside::default(),
        }
    }

    /// The ballot under which this replica leads, if it does.
    pub fn leading(&self) -> Option<Ballot> {
        self.phase2().map(Phase2::ballot)
    }

    /// For so long after the last echo of a quorum this replica gives marks to those that read (E5),
    /// at most, in microseconds.
    pub fn gives_marks_within_us(&self) -> u64 {
        self.election.echoes_within_us()
    }

    /// Tells which bounds what it holds has come up to.
    pub fn reached(&self, tell: &mut dyn FnMut(Bound)) {
        if let Some(phase2) = self.phase2() {
            phase2.reached(tell);
        }
    }

    fn phase2(&self) -> Option<&Phase2> {
        match &self.state {
            State::Leading { phase2, .. } => Some(phase2),
            _ => None,
        }
    }

    fn phase2_mut(&mut self) -> Option<&mut Phase2> {
        match &mut self.state {
            State::Leading { phase2, .. } => Some(phase2),
            _ => None,
        }
    }

    /// What this replica does about leading, in words.
    pub fn in_words(&self) -> String {
        match &self.state {
            State::Following => match self.election.leader() {
                Some(ballot) => format!("follows ballot {ballot}"),
                None => "follows nobody".into(),
            },
            State::PreVoting(vote) => format!("asks for pre-votes for ballot {}", vote.ballot),
            State::Campaigning(phase1) => format!("campaigns with ballot {}", phase1.ballot()),
            State::Leading { phase2, .. } => format!("leads with ballot {}", phase2.ballot()),
        }
    }

    fn is_voter(&self) -> bool {
        self.configuration.is_member(self.settings.id, self.membership.voter.directory)
    }

    /// Whether this replica owns `ballot`.
    fn owns(&self, ballot: Ballot) -> bool {
        self.configuration.owner(ballot) == Some(self.settings.id)
    }

    /// A ballot was heard of.
    fn see(&mut self, ballot: Ballot) {
        if self.configuration.has(ballot) {
            self.seen = self.seen.max(ballot);
        }
    }

    /// An operator wants these members.
    fn handle_change(&mut self, next: &Configuration, step: &mut Step<'_>) {
        let id = self.settings.id;
        // Tables of peers have so many rows.
        let rows = self.settings.rows();
        let has_rows = next.members().iter().all(|member| member.id.index() < rows);
        if !has_rows || !self.configuration.may_become(next) {
            return log::warn!("replica {id}: refuses {next}: not one change of its own");
        }
        let now = step.now;
        if self.phase2_mut().is_some_and(|phase2| phase2.close(now, next)) {
            log::info!("replica {id}: proposes {next}");
        }
    }

    /// Whether a vote of `from` counts (S6, S10). A replica whose vote does not is told so.
    fn counts(&mut self, from: ReplicaId, voter: Voter, out: &mut Outbox<Never>) -> bool {
        let verdict = self.standing.judge(from, voter);
        acceptor::refuse(from, voter, verdict, out);
        verdict == Verdict::Counts
    }

    /// S10: the own acceptor stores what is new of the members.
    fn store_memories(&mut self, out: &mut Outbox<Never>) {
        let me = self.settings.id;
        for (of, directory, memory) in self.standing.remembered().filter(|(of, ..)| *of != me) {
            let stored = &mut *self.stored;
            stored.resize(self.settings.rows(), Memory::default());
            if stored[of.index()] != memory {
                stored[of.index()] = memory;
                out.tell(Notice::Acceptor(acceptor::Input::Heard(of, directory, memory)));
            }
        }
    }

    /// A request from a client, or through another replica (`direct` false). Only a leader
    /// proposes; what it cannot propose at once goes to the learner, which knows what the
    /// log says.
    fn handle_request(
        &mut self,
        origin: Address,
        request: Request,
        direct: bool,
        out: &mut Outbox<Never>,
    ) {
        let unsure = |request| {
            Notice::Learner(learner::Input::RequestNotProposed { origin, request, direct })
        };
        let Some(phase2) = self.phase2_mut() else { return out.tell(unsure(request)) };
        let ballot = phase2.ballot();
        phase2.admit(origin, request, false, |other| match other {
            Other::Unsure(request) => out.tell(unsure(request)),
            // L4: the client would take a slow answer for a lost datagram.
            Other::Held(CommandRef { session, seq, .. }) if direct => {
                out.answer(origin, Answer::Held { session, seq, ballot });
            }
            Other::Held(_) => {}
        });
    }

    /// A client asks what became of a command, without its line. What is not on its way here, the
    /// learner knows.
    fn handle_inquiry(&mut self, origin: Address, inquiry: Inquiry, out: &mut Outbox<Never>) {
        match self.phase2().filter(|phase2| phase2.holds(inquiry.command())) {
            Some(phase2) => {
                let (Inquiry { session, seq, .. }, ballot) = (inquiry, phase2.ballot());
                out.answer(origin, Answer::Held { session, seq, ballot });
            }
            None => out.tell(Notice::Learner(learner::Input::Inquiry(origin, inquiry))),
        }
    }

    /// An operator asks how this replica is. The learner answers, which knows the log.
    fn handle_status(
        &self,
        now: Time,
        origin: Address,
        query: StatusQuery,
        out: &mut Outbox<Never>,
    ) {
        let leader = self
            .leading()
            .or_else(|| self.election.leader().filter(|_| self.election.hears_leader(now)));
        let leadership = Box::new(Leadership {
            conduct: match self.state {
                _ if !self.is_voter() => Conduct::Observes,
                State::Leading { .. } => Conduct::Leads,
                State::PreVoting(_) | State::Campaigning(_) => Conduct::Campaigns,
                State::Following => Conduct::Follows,
            },
            leader,
            // One of a later configuration is heard, and cannot be used here.
            ballot: self.seen.max(leader.unwrap_or_default()),
            configuration: self.configuration.number(),
            members: self.configuration.ids(),
            sync_ms: self.election.pace().sync_ms(),
        });
        out.tell(Notice::Learner(learner::Input::Status { origin, query, leadership }));
    }

    /// L1: something waits at the learner, or in the own phase 2.
    fn note_progress(&mut self, now: Time) {
        let pending = self.pending.max(self.phase2().and_then(Phase2::pending_us));
        self.election.handle_progress(now, self.applied, pending);
    }
}

impl Role for Proposer {
    type Input = Input;
    type Record = Never;

    fn handle(&mut self, now: Time, draw: u64, input: Input, out: &mut Outbox<Never>) {
        self.election.observe(now);
        let step = &mut Step { now, draw, out };
        match input {
            Input::Peer(from, ToProposer::Promise(page)) => self.handle_promise(from, page, step),
            Input::Peer(from, ToProposer::AcceptedValues(values)) => {
                self.handle_values(from, values, step);
            }
            Input::Peer(from, ToProposer::Nack { ballot, promised }) => {
                self.handle_nack(from, ballot, promised, step);
            }
            Input::Peer(from, ToProposer::PreVote { ballot, round }) => {
                self.handle_pre_vote(from, ballot, round, step);
            }
            Input::Peer(from, ToProposer::PreVoteReply { round, granted, promised, voter }) => {
                // An answer to an earlier pre-vote says nothing about this one.
                if round == self.pre_vote_round && self.counts(from, voter, step.out) {
                    self.handle_pre_vote_reply(from, granted, promised, step);
                }
            }
            Input::Peer(_, ToProposer::Forward { origin, request }) => {
                self.handle_request(origin, request, false, step.out);
            }
            Input::Peer(from, ToProposer::Leaving { boot, hand_over }) => {
                self.handle_leaving(from, boot, hand_over, step);
            }
            Input::Peer(from, ToProposer::Observes { directory, applied, vote }) => {
                self.handle_observes(from, (directory, applied), vote, step);
            }
            Input::Heartbeat(from, heartbeat) => self.handle_heartbeat(from, &heartbeat, step),
            Input::Life(of, boot, at) => self.note_address(now, of, boot, at),
            Input::Client(origin, request) => self.handle_request(origin, request, true, step.out),
            Input::Inquiry(origin, inquiry) => self.handle_inquiry(origin, inquiry, step.out),
            Input::Change(next) => self.handle_change(&next, step),
            Input::Members(origin, query) => self.handle_members(origin, query, step),
            Input::Status(origin, query) => self.handle_status(now, origin, query, step.out),
            Input::Mark(origin, read) => self.handle_mark(now, origin, read, step.out),
            Input::RequestIsNext { origin, request } => {
                if let Some(phase2) = self.phase2_mut() {
                    phase2.admit(origin, request, true, |_| {});
                }
            }
            Input::Progress { applied, hash, configuration, decided, pending, lost } => {
                *self.history = LogHash { slot: applied, hash };
                // Less than before, if lines were cut off its chat log and are fetched again: a
                // campaign must not leave out what this replica lacks.
                self.applied = applied;
                self.pending = pending;
                if let State::Leading { phase2, .. } = &mut self.state {
                    phase2.handle_progress(now, applied, decided);
                    // S3: what another ballot's tally lacks says nothing about this one.
                    if decided.ballot == phase2.ballot() {
                        let pace = self.election.pace();
                        phase2.handle_lost(now, &lost, |peer| pace.accept_us(peer), step.out);
                    }
                }
                self.note_progress(now);
                if let Some(configuration) = configuration {
                    self.enter(configuration, step);
                }
            }
            Input::OwnPromise { ballot, first: _, trimmed, accepted } => {
                self.handle_own_promise(ballot, trimmed, accepted, step);
            }
            Input::Promised { ballot, written } => {
                self.written.records = self.written.records.max(written);
                // What a restarted acceptor remembers says nothing of a campaign.
                let is_new = self.promised.is_some() || self.membership.fresh;
                // With the first ballot of a later configuration nobody campaigns.
                let is_new = is_new && (ballot.configuration() == 0 || ballot.round() > 0);
                if is_new && self.promised < Some(ballot) && !self.owns(ballot) {
                    self.hear_campaign(ballot, step);
                }
                self.promised = self.promised.max(Some(ballot));
                self.see(ballot);
                self.go_above(step);
            }
            Input::Saved { since } => self.election.note_saved(now, since),
            Input::Leave => self.leave(step),
            Input::Aim(vote) => self.aim_at(now, vote),
        }
        self.continue_departure(step);
    }

    fn handle_timeout(&mut self, now: Time, draw: u64, out: &mut Outbox<Never>) {
        self.election.observe(now);
        self.note_progress(now);
        let step = &mut Step { now, draw, out };
        self.advance(step);
        self.continue_departure(step);
        self.observe(step);
        let is_telling = self.phase2().is_some_and(|phase2| phase2.is_telling(now));
        if self.was_member && (is_telling || now >= self.election.next_heartbeat()) {
            self.send_heartbeats(now, out);
        }
    }

    fn flush(&mut self, now: Time, out: &mut Outbox<Never>) {
        if let Some(phase2) = self.phase2_mut() {
            phase2.flush(now, out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        if !self.was_member {
            return self.observes_at();
        }
        let due = match &self.state {
            State::Following => Some(self.election.suspect_at()),
            State::PreVoting(vote) => Some(vote.deadline(&self.settings)),
            State::Campaigning(phase1) => Some(phase1.deadline()),
            State::Leading { phase2, .. } => phase2.deadline(),
        };
        let leaves = self.departure.as_ref().and_then(Departure::deadline);
        let leaves = leaves.into_iter().chain(self.observes_at());
        due.into_iter().chain(leaves).chain([self.election.next_heartbeat()]).min()
    }
}
