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
//! Ballot 0 belongs to replica 0 and needs nobody's promise but its own acceptor's,
//! on a cluster that has just warmed up: nothing can have been accepted before it.
//!
//! [`Election`] knows whom to suspect and when, [`Phase1`] is phase 1,
//! [`Phase2`] phase 2. A leader whose ballot was overtaken by an acceptor that no
//! quorum follows goes above it at once; one that a quorum has left, or that a
//! quorum does not hear, or that gets nothing applied, falls silent.

use super::aside::{Aside, NotState};
use super::election::Election;
use super::phase1::{Phase1, Phase1Outcome};
use super::phase2::Phase2;
use super::{Membership, Never, Notice, Outbox, Role, Settings, learner};
use crate::marker::Leads;
use crate::message::{Decided, Heartbeat, Message, Promise, Request, ToBootstrap, ToProposer};
use crate::quorum::ReplicaSet;
use crate::types::{Address, Ballot, DirectoryId, ReplicaId, Slot, SlotRange, Time};

/// How long a pre-vote waits for answers before it is sent again.
const PRE_VOTE_RETRY_US: u64 = 40_000;

/// What a proposer takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// A message, and who sent it.
    Peer(ReplicaId, ToProposer),
    /// A peer's heartbeat.
    Heartbeat(ReplicaId, Heartbeat),
    /// A client's request, and where it is to be answered.
    Client(Address, Request),
    /// The learner of this replica says that this request is its session's next.
    RequestIsNext {
        /// Where the client is to be answered.
        origin: Address,
        /// What it asked.
        request: Request,
    },
    /// How far the learner of this replica is. Cumulative, and repeated.
    Progress {
        /// Every slot below this is applied.
        applied: Slot,
        /// What this replica has tallied in its own phase 2.
        decided: Decided,
        /// Whether something waits that a serving leader would get applied.
        pending: bool,
        /// Slots of the own phase 2 that too few acceptors can still vote for, unless they are
        /// sent again.
        lost: Vec<SlotRange>,
    },
    /// What the acceptor of this replica has promised. Cumulative, and repeated.
    Promised(Ballot),
}

/// When something is done without an input.
#[derive(Debug, Clone, Copy)]
struct Timers {
    resend_at: Time,
    give_up_at: Time,
}

impl NotState for Timers {}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PreVote {
    ballot: Ballot,
    round: u64,
    granted: ReplicaSet,
    timers: Aside<Timers>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Following,
    PreVoting(PreVote),
    Campaigning(Box<Phase1>),
    Leading { phase2: Box<Phase2>, since: Aside<Time> },
}

/// The proposer role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proposer {
    settings: Aside<Settings>,
    membership: Aside<Membership>,
    election: Aside<Election>,
    state: State,
    /// The highest ballot heard of, anywhere.
    seen: Ballot,
    promised: Option<Ballot>,
    applied: Slot,
    pending: bool,
    pre_vote_round: u64,
    /// When this replica, leading, last went above an acceptor's promise.
    went_above_at: Aside<Option<Time>>,
    /// Whether ballot 0 may still be led.
    first_ballot: bool,
}

impl Proposer {
    /// A proposer that follows; replica 0 of a fresh cluster will lead ballot 0 as
    /// soon as its acceptor has promised it.
    pub fn new(settings: Settings, membership: Membership, now: Time, draw: u64) -> Self {
        let first_ballot =
            settings.id == ReplicaId(0) && membership.fresh && membership.is_voter(settings.id);
        Proposer {
            settings: Aside(settings),
            membership: Aside(membership),
            election: Aside(Election::new(settings, now, draw)),
            state: State::Following,
            seen: Ballot::ZERO,
            promised: None,
            applied: Slot::ZERO,
            pending: false,
            pre_vote_round: 0,
            went_above_at: Aside(None),
            first_ballot,
        }
    }

    /// The ballot under which this replica leads, if it does.
    pub fn leading(&self) -> Option<Ballot> {
        match &self.state {
            State::Leading { phase2, .. } => Some(phase2.ballot()),
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
        self.membership.is_voter(self.settings.id)
    }

    /// Whether a vote of `from` counts; tells it if not.
    fn counts(&self, from: ReplicaId, directory: DirectoryId, out: &mut Outbox<Never>) -> bool {
        let counts = self.membership.counts(from, directory);
        if !counts {
            out.send(from, Message::Bootstrap(ToBootstrap::NotMember { directory }));
        }
        counts
    }

    // --- from state to state -------------------------------------------------

    fn follow(&mut self, why: &str, out: &mut Outbox<Never>) {
        let id = self.settings.id;
        match std::mem::replace(&mut self.state, State::Following) {
            State::Following => {}
            State::PreVoting(vote) => {
                log::debug!("replica {id}: drops pre-vote {}: {why}", vote.ballot)
            }
            State::Campaigning(phase1) => {
                log::info!("replica {id}: gives up ballot {}: {why}", phase1.ballot());
            }
            State::Leading { phase2, .. } => {
                log::info!("replica {id}: no longer leads with ballot {}: {why}", phase2.ballot());
                for (origin, request) in phase2.into_requests() {
                    out.tell(Notice::Learner(learner::Input::RequestNotProposed {
                        origin,
                        request,
                        direct: false,
                    }));
                }
            }
        }
    }

    fn begin_pre_vote(&mut self, now: Time, out: &mut Outbox<Never>) {
        self.pre_vote_round += 1;
        let mut granted = ReplicaSet::EMPTY;
        granted.insert(self.settings.id);
        let vote = PreVote {
            ballot: self.seen.next_owned(self.settings.id, self.settings.n),
            round: self.pre_vote_round,
            granted,
            timers: Aside(Timers {
                resend_at: now,
                give_up_at: now.plus_us(self.settings.election_min_us),
            }),
        };
        log::debug!("replica {}: asks for pre-votes for ballot {}", self.settings.id, vote.ballot);
        self.state = State::PreVoting(vote);
        self.continue_pre_vote(now, out);
    }

    /// Asks whoever has not granted yet, or campaigns once a quorum has.
    fn continue_pre_vote(&mut self, now: Time, out: &mut Outbox<Never>) {
        let peers = self.settings.peers();
        let State::PreVoting(vote) = &mut self.state else { return };
        if vote.granted.is_quorum(self.settings.n) {
            let ballot = vote.ballot;
            return self.begin_campaign(now, ballot, out);
        }
        if now >= vote.timers.resend_at {
            vote.timers.resend_at = now.plus_us(PRE_VOTE_RETRY_US);
            for peer in peers.filter(|peer| !vote.granted.contains(*peer)) {
                let ask = ToProposer::PreVote { ballot: vote.ballot, round: vote.round };
                out.send(peer, Message::Proposer(ask));
            }
        }
    }

    fn begin_campaign(&mut self, now: Time, ballot: Ballot, out: &mut Outbox<Never>) {
        self.seen = self.seen.max(ballot);
        let phase1 = Phase1::begin(*self.settings, ballot, self.applied, now, out);
        log::info!("replica {}: campaigns with ballot {ballot}", self.settings.id);
        self.state = State::Campaigning(Box::new(phase1));
    }

    fn lead(&mut self, now: Time, ballot: Ballot, outcome: Phase1Outcome, out: &mut Outbox<Never>) {
        let id = self.settings.id;
        log::info!("replica {id}: {}", Leads(ballot));
        let found = outcome.values.len();
        if found > 0 {
            log::info!(
                "replica {id}: proposes slots {} and the {found} from there on again",
                outcome.first
            );
        }
        let phase2 = Phase2::begin(*self.settings, ballot, outcome, self.applied, now);
        self.state = State::Leading { phase2: Box::new(phase2), since: Aside(now) };
        self.election.lead(now, ballot);
        out.tell(Notice::Learner(learner::Input::Leading(ballot)));
        self.send_heartbeats(now, out);
    }

    // --- messages --------------------------------------------------------------

    fn handle_heartbeat(
        &mut self,
        now: Time,
        draw: u64,
        from: ReplicaId,
        heartbeat: &Heartbeat,
        out: &mut Outbox<Never>,
    ) {
        let member = self.membership.counts(from, heartbeat.directory);
        if !self.election.handle_heartbeat(now, draw, from, heartbeat, member) || !member {
            return;
        }
        self.seen = self.seen.max(heartbeat.ballot).max(heartbeat.promised.unwrap_or_default());
        if heartbeat.leading {
            let deposed = match &self.state {
                State::Following => false,
                State::PreVoting(_) => !self.election.is_unsatisfied(now),
                State::Campaigning(phase1) => phase1.ballot() < heartbeat.ballot,
                State::Leading { phase2, .. } => phase2.ballot() < heartbeat.ballot,
            };
            if deposed {
                self.follow("another leads", out);
            }
        }
        self.go_above(now, out);
    }

    /// Some acceptor has promised more than this leader's ballot: while a quorum still
    /// follows, go above it at once; otherwise give way. (Then a pre-vote tells whether
    /// that acceptor follows a leader that this replica cannot hear.) Twice in a row is
    /// a rival that does the same: give way to it.
    fn go_above(&mut self, now: Time, out: &mut Outbox<Never>) {
        let State::Leading { phase2, .. } = &self.state else { return };
        let ballot = phase2.ballot();
        if self.election.highest_promise().max(self.promised) <= Some(ballot) {
            return;
        }
        let lately = |at: Time| now.since_us(at) < self.settings.election_max_us;
        if self.election.is_followed_by_quorum(now, ballot, self.promised)
            && !self.went_above_at.is_some_and(lately)
        {
            *self.went_above_at = Some(now);
            self.follow("an acceptor has promised a higher one", out);
            let ballot = self.seen.next_owned(self.settings.id, self.settings.n);
            self.begin_campaign(now, ballot, out);
        } else {
            self.follow("too many acceptors have promised a higher one", out);
        }
    }

    fn handle_promise(
        &mut self,
        now: Time,
        from: ReplicaId,
        page: Promise,
        out: &mut Outbox<Never>,
    ) {
        if !self.counts(from, page.directory, out) {
            return;
        }
        let State::Campaigning(phase1) = &mut self.state else { return };
        let ballot = phase1.ballot();
        if let Some(outcome) = phase1.handle_promise(now, from, page, out) {
            self.lead(now, ballot, outcome, out);
        }
    }

    fn handle_nack(
        &mut self,
        now: Time,
        draw: u64,
        from: ReplicaId,
        ballot: Ballot,
        promised: Ballot,
        out: &mut Outbox<Never>,
    ) {
        self.seen = self.seen.max(promised);
        if from == self.settings.id {
            self.promised = self.promised.max(Some(promised));
        } else {
            self.election.note_promise(from, promised);
        }
        match &self.state {
            State::Campaigning(phase1) if phase1.ballot() == ballot => {
                self.follow("refused", out);
                self.election.back_off(now, draw);
            }
            State::Leading { .. } => self.go_above(now, out),
            _ => {}
        }
    }

    /// Would this replica help another to lead?
    fn would_follow(&self, now: Time, ballot: Ballot) -> bool {
        let serves = match &self.state {
            State::Leading { .. } => true,
            _ => self.election.hears_leader(now),
        };
        self.is_voter()
            && self.promised < Some(ballot)
            && (!serves || self.election.is_unsatisfied(now))
    }

    fn handle_pre_vote_reply(
        &mut self,
        now: Time,
        from: ReplicaId,
        granted: bool,
        promised: Option<Ballot>,
        out: &mut Outbox<Never>,
    ) {
        self.seen = self.seen.max(promised.unwrap_or_default());
        let State::PreVoting(vote) = &mut self.state else { return };
        if promised >= Some(vote.ballot) {
            // It could not promise this one; ask everyone about a higher one.
            self.begin_pre_vote(now, out);
        } else if granted {
            vote.granted.insert(from);
            self.continue_pre_vote(now, out);
        }
    }

    /// From a client, or through another replica (`direct` false).
    fn handle_request(
        &mut self,
        origin: Address,
        request: Request,
        direct: bool,
        out: &mut Outbox<Never>,
    ) {
        let mut hold = |origin, request| {
            out.tell(Notice::Learner(learner::Input::RequestNotProposed {
                origin,
                request,
                direct,
            }));
        };
        match &mut self.state {
            State::Leading { phase2, .. } => phase2.admit(origin, request, false, hold),
            _ => hold(origin, request),
        }
    }

    fn send_heartbeats(&mut self, now: Time, out: &mut Outbox<Never>) {
        let round = self.election.begin_round(now);
        let (leading, decided) = match &self.state {
            State::Leading { phase2, .. } => (Some(phase2.ballot()), phase2.decided()),
            _ => (None, Decided::default()),
        };
        if let Some(ballot) = leading {
            out.tell(Notice::Learner(learner::Input::Leading(ballot)));
        }
        for peer in self.settings.peers() {
            let heartbeat = Heartbeat {
                boot: self.settings.boot,
                round,
                echo: self.election.echo_of(peer),
                directory: self.membership.directory,
                ballot: leading.or(self.election.leader()).unwrap_or_default(),
                leading: leading.is_some(),
                promised: self.promised,
                applied: self.applied,
                decided,
            };
            out.send(peer, Message::Heartbeat(heartbeat));
        }
    }

    // --- time --------------------------------------------------------------------

    fn advance(&mut self, now: Time, draw: u64, out: &mut Outbox<Never>) {
        match &mut self.state {
            State::Following if self.first_ballot => {
                self.first_ballot = false;
                let phase1 = Phase1::begin_first(*self.settings, now, out);
                self.state = State::Campaigning(Box::new(phase1));
            }
            State::Following => {
                if self.is_voter() && self.election.suspects(now) {
                    self.election.be_patient(now, draw);
                    self.begin_pre_vote(now, out);
                }
            }
            State::PreVoting(vote) => {
                if now >= vote.timers.give_up_at {
                    self.follow("no quorum would help", out);
                    self.election.back_off(now, draw);
                } else {
                    self.continue_pre_vote(now, out);
                }
            }
            State::Campaigning(phase1) => {
                if phase1.is_hopeless(now) {
                    self.follow("no quorum promised", out);
                    self.election.back_off(now, draw);
                } else {
                    phase1.handle_timeout(now, out);
                }
            }
            State::Leading { phase2, since } => {
                let established = now.since_us(**since) >= self.settings.election_max_us;
                if established && !self.election.is_heard_by_quorum(now) {
                    self.follow("no quorum hears it", out);
                    self.election.back_off(now, draw);
                } else if self.election.is_unsatisfied(now) {
                    self.follow("nothing gets applied", out);
                    self.election.back_off(now, draw);
                } else {
                    phase2.handle_timeout(now, out);
                }
            }
        }
    }

    /// What waits: at the learner, or in the own phase 2.
    fn note_progress(&mut self, now: Time) {
        let proposing = match &self.state {
            State::Leading { phase2, .. } => phase2.is_pending(),
            _ => false,
        };
        self.election.handle_progress(now, self.applied, self.pending || proposing);
    }
}

impl Role for Proposer {
    type Input = Input;
    type Record = Never;

    fn handle(&mut self, now: Time, draw: u64, input: Input, out: &mut Outbox<Never>) {
        self.election.observe(now);
        match input {
            Input::Peer(from, ToProposer::Promise(page)) => {
                self.handle_promise(now, from, page, out);
            }
            Input::Peer(from, ToProposer::Nack { ballot, promised }) => {
                self.handle_nack(now, draw, from, ballot, promised, out);
            }
            Input::Peer(from, ToProposer::PreVote { ballot, round }) => {
                let granted =
                    ballot.owner(self.settings.n) == from && self.would_follow(now, ballot);
                let directory = self.membership.directory;
                let promised = self.promised;
                let reply = ToProposer::PreVoteReply { round, granted, promised, directory };
                out.send(from, Message::Proposer(reply));
            }
            Input::Peer(from, ToProposer::PreVoteReply { round, granted, promised, directory }) => {
                if round == self.pre_vote_round && self.counts(from, directory, out) {
                    self.handle_pre_vote_reply(now, from, granted, promised, out);
                }
            }
            Input::Peer(_, ToProposer::Forward { origin, request }) => {
                self.handle_request(origin, request, false, out);
            }
            Input::Heartbeat(from, heartbeat) => {
                self.handle_heartbeat(now, draw, from, &heartbeat, out);
            }
            Input::Client(origin, request) => self.handle_request(origin, request, true, out),
            Input::RequestIsNext { origin, request } => {
                if let State::Leading { phase2, .. } = &mut self.state {
                    phase2.admit(origin, request, true, |_, _| {});
                }
            }
            Input::Progress { applied, decided, pending, lost } => {
                self.applied = self.applied.max(applied);
                self.pending = pending;
                if let State::Leading { phase2, .. } = &mut self.state {
                    phase2.handle_progress(now, applied, decided);
                    if decided.ballot == phase2.ballot() {
                        phase2.handle_lost(now, &lost, out);
                    }
                }
                self.note_progress(now);
            }
            Input::Promised(ballot) => {
                self.promised = self.promised.max(Some(ballot));
                self.seen = self.seen.max(ballot);
                self.go_above(now, out);
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, draw: u64, out: &mut Outbox<Never>) {
        self.election.observe(now);
        self.note_progress(now);
        self.advance(now, draw, out);
        if self.is_voter() && self.election.heartbeat_due(now) {
            self.send_heartbeats(now, out);
        }
    }

    fn flush(&mut self, now: Time, out: &mut Outbox<Never>) {
        if let State::Leading { phase2, .. } = &mut self.state {
            phase2.flush(now, out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        if !self.is_voter() {
            return None;
        }
        let due = match &self.state {
            State::Following => Some(self.election.suspect_at()),
            State::PreVoting(vote) => Some(vote.timers.resend_at.min(vote.timers.give_up_at)),
            State::Campaigning(phase1) => Some(phase1.deadline()),
            State::Leading { phase2, .. } => phase2.deadline(),
        };
        let heartbeat = self.election.next_heartbeat();
        Some(due.map_or(heartbeat, |due| due.min(heartbeat)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::{ClusterId, NoStorage};
    use crate::types::BootId;
    use std::hash::{DefaultHasher, Hash, Hasher};

    /// Replica 0 of three, in each state.
    fn states() -> [Proposer; 4] {
        let settings = Settings {
            id: ReplicaId(0),
            n: 3,
            boot: BootId(1),
            payload_bytes: 1_200,
            heartbeat_us: 50_000,
            election_min_us: 300_000,
            election_max_us: 600_000,
            checkpoint_slots: 8,
            skip_slot: None,
        };
        let members = vec![DirectoryId(100), DirectoryId(101), DirectoryId(102)];
        let cluster = ClusterId(7);
        let membership = Membership { cluster, directory: members[0], members, fresh: true };
        let following = Proposer::new(settings, membership, Time(0), 0);
        let mut out = Outbox::new();
        let mut voting = following.clone();
        voting.begin_pre_vote(Time(0), &mut out);
        let mut campaigning = following.clone();
        campaigning.begin_campaign(Time(0), Ballot(0), &mut out);
        let mut leading = following.clone();
        let outcome = Phase1Outcome { first: Slot(0), values: Default::default() };
        leading.lead(Time(0), Ballot(0), outcome, &mut out);
        out.commit(&mut NoStorage).expect("no storage never fails");
        [following, voting, campaigning, leading]
    }

    fn hash(state: &State) -> u64 {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn each_state_differs_from_the_others_whenever_it_began() {
        let (first, second) = (states(), states());
        for (at, one) in first.iter().enumerate() {
            for (other_at, other) in second.iter().enumerate() {
                let same = at == other_at;
                assert_eq!(one.state == other.state, same, "{at} and {other_at}");
                assert_eq!(hash(&one.state) == hash(&other.state), same, "{at} and {other_at}");
            }
        }
        let [.., mut later] = second;
        if let State::Leading { since, .. } = &mut later.state {
            **since = Time(1);
        }
        assert!(first[3].state == later.state, "since when only tells the time");
    }

    #[test]
    fn each_state_is_told_in_words() {
        let words = states().map(|proposer| proposer.in_words());
        let expected = [
            "follows nobody",
            "asks for pre-votes for ballot 3",
            "campaigns with ballot 0",
            "leads with ballot 0",
        ];
        assert_eq!(words, expected);
    }
}
