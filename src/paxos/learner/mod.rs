//! The learner: which slots are decided, applied in order and without gaps.
//!
//! The role routes its inputs to four parts, each with its own state:
//!
//! - `decisions`: which slots are decided, by the acceptances of a quorum (`tally`), a
//!   leader's decided mark, or a peer's decided log. (Paxos Made Simple, §2.3.)
//! - `peers`: how far each of the others has applied its log.
//! - `catch_up`: which peer to ask for decided slots that are missing here, and how much of
//!   each at a time (`fetch_window`), and how soon (`lag`).
//! - `execution`: decided slots change the [`Chat`], become records of the decided log,
//!   and from time to time a checkpoint (`checkpoints`). `history` is the running hash of it
//!   all, and `differences` what the others say of theirs.
//! - `pending_clients`: clients that wait here, and requests that are kept for the
//!   replica that leads; `fate` is what the log says of each.
//! - `followers`: those who read the chat log, and wait here for its next line.
//!
//! An answer leaves after the commit of the slot that it rests on, because both go through
//! one outbox. Every table is bounded.

mod awaited_runs;
mod catch_up;
mod checkpoints;
mod decisions;
mod differences;
mod execution;
mod fate;
mod fetch_window;
mod followers;
mod history;
mod lag;
mod path_loss;
mod peers;
mod pending_clients;
mod tally;

pub use catch_up::{AHEAD_SLOTS, FETCH_SLOTS_MAX, FETCHES_MAX, STRETCHES_MAX};
pub use checkpoints::PART_SESSIONS;
pub use decisions::EARLY_BYTES_MAX;
pub use execution::{Assembly, Checkpoint, Part, Record};
pub use followers::{FOLLOWER_QUESTIONS_MAX, FOLLOWERS_MAX};
pub use history::running_hash;
pub use pending_clients::{WAITING_BYTES_MAX, WAITING_MAX};

use catch_up::CatchUp;
use decisions::Decisions;
use differences::{Differences, Step};
use execution::Execution;
use followers::Followers;
use peers::Peers;
use pending_clients::{PendingClients, Route};

use super::pace::Trip;
use super::standing::{Memory, Standing, Verdict};
use super::{Bound, Membership, Notice, Role, Settings, acceptor, outbox, proposer};
use crate::aside::{Aside, NotState};
use crate::chat::Chat;
use crate::members::Configuration;
use crate::message::{
    Answer, Decided, EXCERPT_AROUND_BYTES, EXCERPT_TEXT_BYTES_MAX, FollowQuery, Heartbeat, Inquiry,
    Leadership, Request, Run, SlotList, Status, StatusQuery, ToLearner, Voter,
};
use crate::quorum::ReplicaSet;
use crate::requesters::Requesters;
use crate::types::{Address, Ballot, DirectoryId, ReplicaId, Slot, SlotRange, Time};
use crate::values::Values;
use serde::{Deserialize, Serialize};

/// The outbox of a learner.
type Outbox = outbox::Outbox<Record>;

/// How many bytes of a page's datagram are not values.
/// For so long, in microseconds, clients are told of the same member that has moved.
const MOVED_TURN_US: u64 = 1_000;

const PAGE_OVERHEAD_BYTES: usize = 16;

/// What a learner is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// A message, and the replica that sent it.
    Peer(ReplicaId, ToLearner),
    /// A peer's heartbeat: how far it has applied its log and, if it leads, what it knows
    /// to be decided.
    Heartbeat(ReplicaId, Box<Heartbeat>),
    /// A client asks how far the log is.
    Hello(Address),
    /// A follower asks for a piece of the chat log.
    Follow(Address, FollowQuery),
    /// A client asks what became of a request. It is not on its way at the proposer of this
    /// replica.
    Inquiry(Address, Inquiry),
    /// An operator asks how this replica is, as far as its proposer does not know.
    Status {
        /// Where the answer is to go.
        origin: Address,
        /// What is asked.
        query: StatusQuery,
        /// What the proposer knows.
        leadership: Box<Leadership>,
    },
    /// The proposer of this replica could not propose a request at once: answer it, keep
    /// it, or pass it on.
    RequestNotProposed {
        /// Where the client is answered.
        origin: Address,
        /// What the client asked.
        request: Request,
        /// Whether the request came from the client itself, not through another replica.
        direct: bool,
    },
    /// The proposer of this replica leads and has proposed these values. It repeats this
    /// until they are applied.
    Proposed {
        /// The first slot of the leader's phase 2.
        start: Slot,
        /// The proposed values, at the leader's ballot.
        run: Run,
        /// The clients to answer, as far as the leader knows them.
        requesters: Requesters,
    },
    /// The proposer of this replica leads. Repeated.
    Leading(Ballot),
    /// The proposer of this replica has measured how long the answers of a peer take. Told again
    /// whenever that changes; without it, waits are longer.
    Trip(ReplicaId, Trip),
    /// The members of which two lives run at once (S12). Told again while that lasts, and for a
    /// while after.
    Beside(ReplicaSet),
    /// The proposer of this replica has found out which life of a member counts (S10, S12).
    Heard(ReplicaId, DirectoryId, Memory),
    /// The acceptor of this replica has durably accepted these values.
    OwnAccepted {
        /// The accepted values, each run at its ballot.
        runs: Vec<Run>,
        /// What the leader knew to be decided when it sent the values.
        decided: Decided,
    },
}

/// The learner role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Learner {
    settings: Aside<Settings>,
    /// This replica's directory.
    directory: Aside<DirectoryId>,
    /// The configuration that the applied slots make.
    configuration: Configuration,
    /// Whose votes count (S6, S10).
    standing: Standing,
    /// The highest ballot that is known to lead.
    leader: Option<Ballot>,
    decisions: Decisions,
    peers: Peers,
    catch_up: CatchUp,
    execution: Execution,
    /// What is known of the others' logs.
    differences: Aside<Differences>,
    pending: PendingClients,
    followers: Aside<Followers>,
    /// Whether the other roles are due to hear of a change.
    announce: bool,
    /// Whether the other roles are due to hear of everything, changed or not.
    remind: bool,
    /// Whether the proposer was last told that something waits.
    told_pending: bool,
    /// The configuration whose addresses the process was told.
    told_places: u16,
    /// The durable checkpoint that the acceptor was last told of.
    told_durable: Slot,
    /// When everything is told again, and requests are passed on again.
    next_tick: Aside<Time>,
    gap: Aside<Gap>,
}

/// Slots that are known to be decided and do not come. Perhaps no log that is left holds them, but
/// acceptors do: then a leader has to propose them again (S5), and nothing else shows it, since no
/// request can be judged before them.
#[derive(Debug, Clone, Copy, Default)]
struct Gap {
    /// Every slot below this was applied here, before lines were cut off the chat log.
    once: Slot,
    /// Where they began at the last tick.
    at: Option<Slot>,
    /// Whether that has not moved since the tick before.
    stays: bool,
}

impl NotState for Gap {}

impl Gap {
    /// A tick has come. Every slot below `applied` is applied, and every slot below `horizon` is
    /// decided.
    fn tick(&mut self, applied: Slot, horizon: Slot) {
        let at = (applied < horizon.max(self.once)).then_some(applied);
        *self = Gap { at, stays: at.is_some() && at == self.at, ..*self };
    }
}

impl Learner {
    /// A learner that goes on from `checkpoint`, as storage returned it. On a replica's
    /// first start that is the empty one.
    pub fn new(settings: Settings, membership: Membership, checkpoint: Checkpoint) -> Self {
        let execution = Execution::new(&settings, checkpoint);
        let directory = membership.voter.directory;
        let warmed_up = membership.fresh && membership.is_voter(settings.id);
        let mut standing = membership.standing();
        let changed = execution.chat().configuration();
        changed.into_iter().for_each(|configuration| standing.set_configuration(configuration));
        let configuration = changed.cloned().unwrap_or_else(|| membership.started());
        let is_member = configuration.is_member(settings.id, directory);
        Learner {
            settings: Aside(settings),
            directory: Aside(directory),
            standing,
            leader: None,
            decisions: Decisions::new(&settings, &configuration, execution.applied()),
            peers: Peers::new(&settings, warmed_up),
            catch_up: CatchUp::new(&settings),
            differences: Aside(Differences::new(&settings, is_member, configuration.quorum())),
            configuration,
            pending: PendingClients::new(settings.limits),
            followers: Aside(Followers::default()),
            announce: true,
            remind: true,
            told_pending: false,
            told_places: 0,
            told_durable: execution.durable(),
            execution,
            next_tick: Aside(Time(0)),
            gap: Aside(Gap::default()),
        }
    }

    /// This learner, which had applied every slot below `end` before lines were cut off its chat
    /// log. They are decided, whoever remembers that besides.
    #[must_use]
    pub fn once_at(mut self, end: Slot) -> Self {
        self.gap.once = end;
        self
    }

    /// Every slot below this is applied.
    pub fn applied(&self) -> Slot {
        self.execution.applied()
    }

    /// Tells which bounds its state has come up to.
    pub fn reached(&self, tell: &mut dyn FnMut(Bound)) {
        self.catch_up.reached(&self.decisions, tell);
        if self.pending.is_full() {
            tell(Bound::Waiting);
        }
    }

    /// What is remembered of a member.
    pub fn memory(&self, of: ReplicaId) -> Memory {
        self.standing.memory(of)
    }

    /// The state that all replicas share.
    pub fn chat(&self) -> &Chat {
        self.execution.chat()
    }

    /// Whether this replica owns `ballot`.
    fn owns(&self, ballot: Ballot) -> bool {
        self.configuration.owner(ballot) == Some(self.settings.id)
    }

    /// The configuration that the applied slots make.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    fn route(&self) -> Route {
        // Of a later configuration the owner is not known yet.
        let leader = self.leader.and_then(|it| Some((it, self.configuration.owner(it)?)));
        let proposal_us = leader.map_or(0, |(_, owner)| self.peers.proposal_us(owner));
        Route { me: self.settings.id, n: self.settings.places, leader, proposal_us }
    }

    // --- deciding ----------------------------------------------------------------

    /// Phase 2b: an acceptor has accepted slots at `ballot`.
    fn handle_accepted(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        voter: Voter,
        slots: &SlotList,
        out: &mut Outbox,
    ) {
        if !self.owns(ballot) || ballot < self.decisions.tally.ballot() {
            return;
        }
        // An acceptor that lost its disk or was put back may have forgotten promises, so it
        // never counts (S6, S10). It learns why.
        let verdict = self.standing.judge(from, voter);
        if verdict != Verdict::Counts {
            return acceptor::refuse(from, voter, verdict, out);
        }
        self.begin_tally(ballot);
        self.announce |= self.decisions.count(from, slots.ranges());
        self.announce = self.announce || !self.decisions.tally.lost(self.settings.id).is_empty();
    }

    fn begin_tally(&mut self, ballot: Ballot) {
        if self.decisions.tally.begin(ballot, self.configuration.quorum()) {
            self.pending.forget_awaited();
        }
    }

    /// Phase 2a: this replica leads and proposes `run`. Its phase 2 begins at `start`.
    fn handle_proposed(
        &mut self,
        start: Slot,
        run: &Run,
        requesters: Requesters,
        out: &mut Outbox,
    ) {
        // M5: what was proposed in an earlier configuration is applied, or void.
        if run.ballot < self.decisions.tally.ballot() || !self.configuration.has(run.ballot) {
            return;
        }
        self.begin_tally(run.ballot);
        self.announce |= self.decisions.tally.set_start(start);
        self.leader = self.leader.max(Some(run.ballot));
        self.pending.await_run(run, requesters, self.execution.state(), out);
        self.decisions.keep_accepted(run);
    }

    /// Another leader says what it knows to be decided.
    fn handle_mark(&mut self, mark: Decided) {
        // A mark at an own ballot is from this replica's own tally, which knows more.
        if !self.owns(mark.ballot) {
            self.decisions.keep_mark(mark);
        }
    }

    /// A peer sends a part of its decided log.
    fn handle_page(&mut self, now: Time, from: ReplicaId, first: Slot, values: Values) {
        // Decided values have no ballot: no acceptance takes their place.
        let page = Run { first, ballot: Ballot::ZERO, values };
        let kept = self.decisions.keep_page(&page);
        if let Some((slots, new_bytes)) = kept {
            self.catch_up.take_page(now, from, slots, new_bytes);
        }
        if !page.values.is_empty() {
            let again = kept.is_some_and(|(_, new_bytes)| new_bytes == 0);
            self.catch_up.heard(now, from, again);
        }
    }

    // --- applying and answering --------------------------------------------------

    /// Applies what is decided, up to the first slot that is not (E1).
    fn apply(&mut self, now: Time, out: &mut Outbox) {
        let before = self.applied();
        while let Some(run) = self.decisions.next(self.applied()) {
            self.apply_run(now, run, out);
            self.enter_configuration();
            // L6: not once for all that waited above a gap. The acceptor may be full of it, and
            // may forget only what lies below the checkpoint before the last one.
            while let Some(part) = self.execution.take_part() {
                out.persist(Record::Checkpoint(part));
            }
        }
        if self.applied() > before {
            self.announce = true;
            self.catch_up.progressed(now);
            self.decisions.trim(self.applied());
            self.differences.progressed(self.execution.history());
            self.followers.applied(self.execution.applied(), out);
        }
    }

    /// M1: what is applied may have changed the members.
    fn enter_configuration(&mut self) {
        let Some(next) = self.execution.chat().configuration() else { return };
        if next.number() <= self.configuration.number() {
            return;
        }
        self.configuration = next.clone();
        self.standing.set_configuration(next);
        self.decisions.enter(next);
        let is_member = next.is_member(self.settings.id, *self.directory);
        self.differences.enter(is_member, next.quorum());
        // The other roles hear of it at once.
        self.remind = true;
    }

    fn apply_run(&mut self, now: Time, run: Run, out: &mut Outbox) {
        let (pending, mut is_due) = (&mut self.pending, false);
        let record = self.execution.apply(run, |log, slot, command, client_seq| {
            is_due |= pending.answer(now, slot, command, client_seq, log, out);
        });
        out.persist(record);
        if is_due {
            *self.next_tick = now;
        }
    }

    /// A client is about to open a session: it may be born where this replica knows the
    /// decided slots to end (E2). A replica that hears no quorum does not know that. It answers
    /// whom it follows, so that the client knows that it lives, and asks the other replicas.
    fn handle_hello(&mut self, now: Time, origin: Address, out: &mut Outbox) {
        let ballot = self.leader.unwrap_or_default();
        let quorum = self.configuration.quorum();
        self.tell_who_asks(now, origin, out);
        if self.peers.is_in_touch(now, self.settings.election_max_us, quorum) {
            let known = self.decisions.marked().max(self.peers.furthest());
            let applied = known.max(self.applied());
            out.answer(origin, Answer::Welcome { applied, ballot });
        } else {
            out.answer(origin, Answer::Leader { ballot });
        }
    }

    /// M9: whoever asks goes by a cluster file that may be old. It is told of one member that has moved,
    /// each time of another one: its question pays for no more (W3).
    fn tell_who_asks(&self, now: Time, origin: Address, out: &mut Outbox) {
        let configuration = self.configuration.number();
        let count = self.configuration.moved().count();
        let turn = now.0 / MOVED_TURN_US + u64::from(self.settings.id.0);
        let moved = turn.checked_rem(count as u64);
        if let Some(moved) = moved.and_then(|at| self.configuration.moved().nth(at as usize)) {
            out.answer(origin, Answer::Moved { configuration, moved });
        }
    }

    /// An operator asks how this replica is.
    fn handle_status(
        &self,
        now: Time,
        origin: Address,
        query: StatusQuery,
        leadership: Leadership,
        out: &mut Outbox,
    ) {
        self.tell_who_asks(now, origin, out);
        let applied = self.applied();
        let decided = catch_up::horizon(&self.decisions, &self.peers).max(applied);
        let hash = self.execution.history().below(query.below);
        let status = Status { leadership, applied, decided, hash };
        out.answer(origin, Answer::Status(Box::new(status)));
    }

    /// A follower asks for a piece of the chat log. Storage has the log, and is read after the
    /// commit.
    fn handle_follow(&mut self, now: Time, origin: Address, query: FollowQuery, out: &mut Outbox) {
        let most = self.settings.payload_bytes.saturating_sub(EXCERPT_AROUND_BYTES);
        let room = usize::from(query.room).min(most).min(EXCERPT_TEXT_BYTES_MAX);
        let query = FollowQuery { room: room as u16, ..query };
        match query.slot < self.applied() {
            true => out.send_excerpt(origin, query, self.applied()),
            false => self.followers.wait(now, origin, query),
        }
    }

    /// A replica leads at `ballot`. If that is news, it gets what is pending here at once.
    fn follow(&mut self, now: Time, ballot: Ballot) {
        if self.leader.is_none_or(|leader| leader < ballot) {
            self.leader = Some(ballot);
            self.pending.retry_all(now, self.route());
            *self.next_tick = now;
        }
    }

    /// S11: other lines are decided elsewhere.
    fn judge_differences(&mut self, now: Time, out: &mut Outbox) {
        let Some(step) = self.differences.judge(now) else { return };
        self.differences.report(now, step);
        if let Step::Stop(diverged) = step {
            out.tell(Notice::Diverged(diverged));
        }
    }

    // --- what the other roles are told -------------------------------------------

    /// M9: where members are that have moved. A new life is told it by what it has applied before.
    fn tell_places(&mut self, out: &mut Outbox) {
        if self.configuration.number() != self.told_places {
            self.told_places = self.configuration.number();
            out.tell(Notice::Places(self.configuration.moved().collect()));
        }
    }

    /// If something waits that a serving leader would have got applied (L1): how long slow
    /// paths need for the longest line of it.
    fn pending_us(&self) -> Option<u64> {
        let is_open = self.decisions.has_open(self.leader.unwrap_or_default());
        let open = (is_open || self.gap.stays).then_some(0);
        open.max(self.pending.next_commit_us(self.execution.state(), self.settings.places))
    }

    /// Tells the proposer and the acceptor how far this replica is. A follower tells them
    /// no more than they need at once: each notice costs them a burst.
    fn tell_others(&mut self, out: &mut Outbox) {
        self.tell_places(out);
        let (pending, remind) = (self.pending_us(), std::mem::take(&mut self.remind));
        if remind || self.route().leads() || pending.is_some() != self.told_pending {
            self.told_pending = pending.is_some();
            let tally = &self.decisions.tally;
            out.tell(Notice::Proposer(proposer::Input::Progress {
                applied: self.applied(),
                hash: self.execution.history().newest().hash,
                configuration: self.execution.chat().configuration().cloned(),
                decided: tally.decided(),
                pending,
                lost: tally.lost(self.settings.id),
            }));
        }
        // The acceptor may forget what a durable checkpoint covers, and no more (E4).
        let durable = self.execution.durable();
        if remind || durable != self.told_durable {
            self.told_durable = durable;
            let configuration = self.execution.durable_configuration().cloned();
            out.tell(Notice::Acceptor(acceptor::Input::Applied(durable, configuration)));
        }
    }
}

impl Role for Learner {
    type Input = Input;
    type Record = Record;

    fn handle(&mut self, now: Time, _draw: u64, input: Input, out: &mut Outbox) {
        match input {
            Input::Peer(from, ToLearner::Accepted { ballot, voter, slots }) => {
                self.handle_accepted(from, ballot, voter, &slots, out);
            }
            Input::Peer(from, ToLearner::Fetch { slots }) => {
                // Storage holds every applied slot, and is read after the commit.
                let limit = self.applied().min(slots.start.plus(self.settings.limits.fetch_slots));
                let slots = SlotRange::new(slots.start, slots.end.min(limit));
                let page_bytes = self.settings.payload_bytes.saturating_sub(PAGE_OVERHEAD_BYTES);
                out.send_decided(from, slots, page_bytes);
            }
            Input::Peer(from, ToLearner::Page { first, values }) => {
                self.handle_page(now, from, first, values);
            }
            Input::Heartbeat(from, heartbeat) => {
                match self.standing.judge(from, heartbeat.voter) {
                    Verdict::Counts => self.standing.note_written(from, heartbeat.written),
                    Verdict::NotMember => {}
                    // S10: its log may be another one.
                    Verdict::Forgotten { .. } | Verdict::Former | Verdict::Beside => return,
                }
                self.peers.handle_heartbeat(now, from, &heartbeat);
                self.catch_up.note_heartbeat(from, heartbeat.voter.boot, heartbeat.round);
                self.differences.hear(from, heartbeat.history, self.execution.history());
                if heartbeat.leading {
                    self.follow(now, heartbeat.ballot);
                    self.handle_mark(heartbeat.decided);
                }
            }
            Input::Hello(origin) => self.handle_hello(now, origin, out),
            Input::Follow(origin, query) => self.handle_follow(now, origin, query, out),
            Input::Status { origin, query, leadership } => {
                self.handle_status(now, origin, query, *leadership, out);
            }
            Input::Inquiry(origin, inquiry) => {
                let (log, route) = (self.execution.state(), self.route());
                self.pending.handle_inquiry(now, origin, inquiry, log, route, out);
            }
            Input::RequestNotProposed { origin, request, direct } => {
                let (log, route) = (self.execution.state(), self.route());
                self.pending.hold(now, (origin, &request), direct, log, route, out);
            }
            Input::Proposed { start, run, requesters } => {
                self.handle_proposed(start, &run, requesters, out);
            }
            Input::Leading(ballot) => {
                self.peers.handle_leading(now);
                self.follow(now, ballot);
            }
            Input::Trip(peer, trip) => {
                self.peers.note_trip(peer, trip);
                self.catch_up.note_trip(peer, trip);
            }
            Input::Beside(beside) => self.standing.set_beside(beside),
            Input::Heard(of, directory, memory) => self.standing.note(of, directory, memory),
            Input::OwnAccepted { runs, decided } => {
                for run in &runs {
                    self.decisions.keep_accepted(run);
                    self.catch_up.note_accepted(now, run.slots());
                }
                self.handle_mark(decided);
            }
        }
        // Every input may have decided the next slot.
        self.apply(now, out);
    }

    fn handle_timeout(&mut self, now: Time, _draw: u64, out: &mut Outbox) {
        self.followers.tick(now, self.execution.applied(), out);
        if now >= *self.next_tick {
            *self.next_tick = now.plus_us(self.settings.heartbeat_us);
            (self.announce, self.remind) = (true, true);
            let horizon = catch_up::horizon(&self.decisions, &self.peers);
            self.gap.tick(self.execution.applied(), horizon);
            let (log, route) = (self.execution.state(), self.route());
            let proposed = self.decisions.proposed_at(self.leader.unwrap_or_default());
            self.pending.retry(now, log, route, proposed, out);
            self.judge_differences(now, out);
        }
    }

    fn flush(&mut self, now: Time, out: &mut Outbox) {
        let leader = self.route().leader.map(|(_, owner)| owner);
        self.catch_up.ask(now, leader, &self.decisions, &self.peers, out);
        if std::mem::take(&mut self.announce) {
            self.tell_others(out);
        }
    }

    /// A follower that holds no request and fetches nothing only applies lines of which
    /// their clients know already. So its thread lets others go first.
    fn is_urgent(&self) -> bool {
        self.route().leads() || !self.pending.is_idle() || self.catch_up.is_fetching()
    }

    fn deadline(&self) -> Option<Time> {
        let ask_at = self.catch_up.deadline(&self.decisions);
        let hold_ends = self.followers.deadline();
        ask_at.into_iter().chain(hold_ends).chain([*self.next_tick]).min()
    }
}
