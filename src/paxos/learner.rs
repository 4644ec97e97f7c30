//! The learner: what is decided, applied in order and without gaps.
//!
//! A slot is decided here in one of three ways, and no other:
//!
//! 1. a quorum of acceptors voted for it at one ballot (only the ballot's owner is
//!    sent votes), and the value of that slot at that ballot is known;
//! 2. the leader of ballot b says that it saw that (a [`Decided`] mark), and this
//!    replica's own acceptance of the slot is at exactly b;
//! 3. a peer's decided log holds it ([`ToLearner::Page`]).
//!
//! Decided slots are applied to the [`Chat`], written to the
//! decided log, and answered to whichever client waits here: after the write, since
//! the answer leaves through the outbox. (Paxos Made Simple, §2.3; Paxos Made Live,
//! §5 on catching up.)
//!
//! Who falls behind asks one peer at a time for a bounded stretch, and the next if
//! that one falls silent. Requests that this replica cannot serve are held here and
//! passed to the leader, again whenever another leads, until they are applied or
//! the client has gone. Both tables are bounded.

mod catching_up;
mod waiting;

use super::chat::{Chat, Status};
use super::planted::Bug;
use super::{
    ACCEPT_WINDOW_SLOTS, ANSWER_BYTES_MAX, Membership, Notice, Outbox, Role, Settings, proposer,
};
use crate::message::{
    Answer, Decided, Heartbeat, Message, Request, SlotRange, ToLearner, ToProposer, ToReplica,
};
use crate::quorum::ReplicaSet;
use crate::types::{Address, Ballot, Command, DirectoryId, ReplicaId, Session, Slot, Time, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a learner may be behind before it asks: what it lacks is usually on its
/// way.
const FETCH_DELAY_US: u64 = 10_000;

/// How long one peer is waited for before the next is asked.
const FETCH_RETRY_US: u64 = 60_000;

/// How many slots are asked for at once. (What is sent is bounded in bytes too.)
pub const FETCH_SLOTS_MAX: u64 = 1_024;

/// What a page takes on the wire beside its values.
const PAGE_OVERHEAD_BYTES: usize = 16;

/// The first wait before a held request is passed on again; doubled each time.
const FORWARD_RETRY_US: u64 = 100_000;

/// The longest such wait.
const FORWARD_RETRY_MAX_US: u64 = 1_000_000;

/// How long a request is held for a client that is no longer heard.
const WAITING_US: u64 = 10_000_000;

/// How many clients may wait at one replica; more are dropped, and ask again.
const WAITING_MAX: usize = 65_536;

/// How many bytes of held lines one replica keeps.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// How many held requests are passed on in one turn.
const FORWARD_BURST_MAX: usize = 256;

/// What a learner wants to survive a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A slot was applied. The decided log remembers it, and the chat log shows it.
    Applied {
        /// Where.
        slot: Slot,
        /// What was decided.
        value: Value,
        /// Its number among its client's lines, if it took effect; otherwise the slot
        /// is a NOP line.
        client_seq: Option<u64>,
    },
    /// Everything recorded so far must be durable, and from here a restart goes on.
    Checkpoint(Checkpoint),
}

/// Where a learner goes on after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Every slot below this is applied.
    pub applied: Slot,
    /// The state after them.
    pub chat: Chat,
}

/// What a learner takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message, and who sent it.
    Peer(ReplicaId, ToLearner),
    /// A peer's heartbeat: what it has applied, and what it knows to be decided.
    Heartbeat(ReplicaId, Heartbeat),
    /// A client asks how far the log is.
    Hello(Address),
    /// The proposer of this replica could not serve a request at once: answer it,
    /// hold it, or pass it on.
    Held {
        /// Where the client is to be answered.
        origin: Address,
        /// What it asked.
        request: Request,
        /// Whether it came from the client itself, not through another replica.
        direct: bool,
    },
    /// The proposer of this replica leads and has proposed these values. Repeated
    /// until they are applied.
    Proposed {
        /// At which ballot.
        ballot: Ballot,
        /// The first slot of the reign.
        from: Slot,
        /// The slot of the first value.
        first: Slot,
        /// One value a slot.
        values: Vec<Value>,
        /// Whom to answer, where that is known, one entry a value.
        origins: Vec<Option<Address>>,
    },
    /// The proposer of this replica leads. Repeated.
    Leading(Ballot),
    /// The acceptor of this replica has durably accepted these values.
    Voted {
        /// At which ballot.
        ballot: Ballot,
        /// Runs of consecutive slots, each with its first slot.
        runs: Vec<(Slot, Vec<Value>)>,
        /// What the leader knew to be decided when it sent them.
        decided: Decided,
    },
}

/// Votes for slots of one ballot, which this replica owns. Nothing is ever counted
/// across ballots: a higher one begins anew.
#[derive(Debug, Default)]
struct Tally {
    ballot: Ballot,
    /// The first slot of the reign, once the proposer has said so.
    from: Option<Slot>,
    /// Every slot of the reign below this has a quorum.
    upto: Slot,
    votes: BTreeMap<Slot, ReplicaSet>,
}

/// A client that waits for a command of its session.
#[derive(Debug)]
struct Waiting {
    origin: Address,
    seq: u64,
    /// When the client was last heard.
    heard_at: Time,
    /// The whole request, if it is to be passed on; otherwise it is proposed here.
    request: Option<Request>,
    retry_at: Time,
    retry_us: u64,
}

/// How many sessions a checkpoint may hold for each slot since the last one, as far
/// as its distance may grow.
const CHECKPOINT_SESSIONS_PER_SLOT: u64 = 16;

/// What is asked of a peer.
#[derive(Debug)]
struct Fetching {
    upto: Slot,
    /// How many bytes of values its answer may still bring: the peer counts alike.
    room: usize,
    deadline: Time,
}

/// The learner role.
#[derive(Debug)]
pub struct Learner {
    settings: Settings,
    membership: Membership,
    chat: Chat,
    applied: Slot,
    /// The newest checkpoint: acceptors may forget what is below.
    durable: Slot,
    /// Proposed or accepted here, not yet applied: at the highest ballot known.
    known: BTreeMap<Slot, (Ballot, Value)>,
    /// Decided above a gap.
    decided: BTreeMap<Slot, Value>,
    tally: Tally,
    /// The newest mark of another leader.
    mark: Decided,
    peers_applied: Vec<Slot>,
    behind_since: Option<Time>,
    fetching: Option<Fetching>,
    /// The peer that was asked last.
    source: usize,
    /// The highest ballot heard to lead.
    leader: Option<Ballot>,
    waiting: BTreeMap<Session, Waiting>,
    waiting_bytes: usize,
    next_tick: Time,
    announce: bool,
}

impl Learner {
    /// A learner that goes on from `checkpoint`, as storage gave it back: the empty one
    /// on a replica's first start.
    pub fn new(settings: Settings, membership: Membership, checkpoint: Checkpoint) -> Self {
        let Checkpoint { applied, mut chat } = checkpoint;
        if settings.planted.has(Bug::SessionsLostInRestart) {
            chat = Chat::default();
        }
        Learner {
            settings,
            membership,
            chat,
            applied,
            durable: applied,
            known: BTreeMap::new(),
            decided: BTreeMap::new(),
            tally: Tally::default(),
            mark: Decided::default(),
            peers_applied: vec![Slot::ZERO; settings.n],
            behind_since: None,
            fetching: None,
            source: settings.id.index() + 1,
            leader: None,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            next_tick: Time(0),
            announce: true,
        }
    }

    /// What it was built with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every slot below this is applied.
    pub fn applied(&self) -> Slot {
        self.applied
    }

    /// The state that all replicas share.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    fn is_leader(&self) -> bool {
        self.leader.is_some_and(|ballot| ballot.owner(self.settings.n) == self.settings.id)
    }

    /// Whether `slot` is one that this learner keeps anything about.
    fn is_open(&self, slot: Slot) -> bool {
        slot >= self.applied && slot < self.applied.plus(ACCEPT_WINDOW_SLOTS)
    }

    // --- what is known and what is decided ---------------------------------

    /// `value` is what `slot` holds at `ballot`: proposed or accepted here.
    fn know(&mut self, slot: Slot, ballot: Ballot, value: Value) {
        if !self.is_open(slot) {
            return;
        }
        match self.known.get(&slot) {
            Some((held, _)) if *held > ballot => {}
            Some((held, same)) if *held == ballot => {
                assert!(*same == value, "slot {slot} has two values at ballot {ballot}");
            }
            _ => {
                self.known.insert(slot, (ballot, value));
            }
        }
    }

    /// Decides `slot` if a quorum's votes or a leader's mark say so of exactly the
    /// ballot at which its value is known.
    fn try_decide(&mut self, slot: Slot) {
        if slot < self.applied || self.decided.contains_key(&slot) {
            return;
        }
        let Some((ballot, value)) = self.known.get(&slot) else { return };
        let tallied = *ballot == self.tally.ballot
            && self.tally.votes.get(&slot).is_some_and(|set| set.is_quorum(self.settings.n));
        let same =
            *ballot == self.mark.ballot || self.settings.planted.has(Bug::MarkDecidesAnyBallot);
        let marked = same && self.mark.from <= slot && slot < self.mark.upto;
        if tallied || marked {
            self.decided.insert(slot, value.clone());
        }
    }

    fn handle_votes(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        directory: DirectoryId,
        slots: &[SlotRange],
        out: &mut Outbox<Record>,
    ) {
        if ballot.owner(self.settings.n) != self.settings.id || ballot < self.tally.ballot {
            return;
        }
        if !self.membership.counts(from, directory) {
            return out.send(from, Message::Replica(ToReplica::NotMember { directory }));
        }
        self.begin_tally(ballot);
        let start = self.tally.from.map_or(self.applied, |_| self.tally.upto);
        let end = start.max(self.applied).plus(ACCEPT_WINDOW_SLOTS);
        for range in slots {
            let mut slot = range.first.max(start);
            let stop = range.first.plus(range.count).min(end);
            while slot < stop {
                self.tally.votes.entry(slot).or_default().insert(from);
                self.try_decide(slot);
                slot = slot.next();
            }
        }
        self.advance_tally();
    }

    /// Nothing is counted across ballots.
    fn begin_tally(&mut self, ballot: Ballot) {
        if ballot > self.tally.ballot {
            let votes = match self.settings.planted.has(Bug::TallyAcrossBallots) {
                true => std::mem::take(&mut self.tally.votes),
                false => BTreeMap::new(),
            };
            self.tally = Tally { ballot, votes, ..Tally::default() };
        }
    }

    /// Moves the tally's mark over every slot with a quorum.
    fn advance_tally(&mut self) {
        let n = self.settings.n;
        if self.tally.from.is_none() {
            return;
        }
        while self.tally.votes.get(&self.tally.upto).is_some_and(|set| set.is_quorum(n)) {
            self.tally.upto = self.tally.upto.next();
            self.announce = true;
        }
    }

    fn handle_proposed(
        &mut self,
        now: Time,
        ballot: Ballot,
        from: Slot,
        proposals: impl Iterator<Item = (Slot, Value, Option<Address>)>,
        out: &mut Outbox<Record>,
    ) {
        if ballot < self.tally.ballot {
            return;
        }
        self.begin_tally(ballot);
        if self.tally.from.is_none() {
            self.tally.from = Some(from);
            self.tally.upto = from;
        }
        self.leader = self.leader.max(Some(ballot));
        for (slot, value, origin) in proposals {
            if let (Some(origin), Value::Command(command)) = (origin, &value) {
                let (session, seq) = (command.session, command.seq);
                if self.settings.planted.has(Bug::CompleteBeforeDecided) {
                    out.answer(origin, Answer::Complete { session, seq, slot, client_seq: seq });
                }
                if slot >= self.applied {
                    self.wait(now, session, seq, origin, None);
                } else if let Status::Complete { slot, client_seq } =
                    self.chat.status(command, self.applied)
                {
                    // The votes, and the value from the own acceptor, were here first.
                    out.answer(origin, Answer::Complete { session, seq, slot, client_seq });
                }
            }
            self.know(slot, ballot, value);
            self.try_decide(slot);
        }
        self.advance_tally();
    }

    fn handle_mark(&mut self, mark: Decided) {
        if mark.ballot.owner(self.settings.n) == self.settings.id
            || mark.ballot < self.mark.ballot
            || mark.upto <= mark.from
        {
            return;
        }
        let same = mark.ballot == self.mark.ballot && mark.from == self.mark.from;
        if same && mark.upto <= self.mark.upto {
            return;
        }
        let start = if same { self.mark.upto } else { mark.from };
        self.mark = mark;
        let slots: Vec<Slot> = self
            .known
            .range(start.max(self.applied).min(mark.upto)..mark.upto)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in slots {
            self.try_decide(slot);
        }
    }

    fn handle_page(
        &mut self,
        now: Time,
        first: Slot,
        values: Vec<Value>,
        out: &mut Outbox<Record>,
    ) {
        let before = self.applied;
        let mut bytes = 0;
        for (slot, value) in (first.0..).map(Slot).zip(values) {
            if !self.is_open(slot) {
                continue;
            }
            match self.decided.get(&slot) {
                Some(held) if *held != value => {
                    log::error!("slot {slot} is decided otherwise by a peer: its page is refused");
                    return;
                }
                Some(_) => {}
                None => {
                    bytes += value.wire_bytes_max();
                    self.decided.insert(slot, value);
                }
            }
        }
        self.apply(now, out);
        let Some(fetching) = &mut self.fetching else { return };
        fetching.room = fetching.room.saturating_sub(bytes);
        if self.applied >= fetching.upto || fetching.room == 0 {
            // All that was asked for, or all that is answered at once, is here. Far
            // behind still: go on at once.
            let far = self.horizon().since(self.applied) > FETCH_SLOTS_MAX / 4;
            self.fetching = None;
            self.behind_since = far.then_some(Time(0));
        } else if self.applied > before {
            fetching.deadline = now.plus_us(FETCH_RETRY_US);
        }
    }

    // --- applying and answering --------------------------------------------

    fn apply(&mut self, now: Time, out: &mut Outbox<Record>) {
        let before = self.applied;
        while let Some(value) = self.decided.remove(&self.applied) {
            let slot = self.applied;
            let mut client_seq = self.chat.apply(slot, &value);
            if self.settings.planted.has(Bug::CommandExecutedTwice) && value != Value::Noop {
                client_seq = client_seq.or(Some(0));
            }
            let command = match &value {
                Value::Command(command) => Some(command.clone()),
                Value::Noop => None,
            };
            out.persist(Record::Applied { slot, value, client_seq });
            self.known.remove(&slot);
            self.applied = slot.next();
            if let Some(command) = command {
                self.answer_waiting(now, &command, out);
            }
        }
        if self.applied > before {
            self.announce = true;
            self.behind_since = None;
            self.forget_tallied();
        }
        if self.applied.since(self.durable) >= self.checkpoint_slots() {
            let checkpoint = Checkpoint { applied: self.applied, chat: self.chat.clone() };
            out.persist(Record::Checkpoint(checkpoint));
            self.durable = self.applied;
        }
    }

    /// How many slots lie between two checkpoints. One holds all sessions, so with
    /// very many of them it is made less often; but acceptors forget only below it, so
    /// not much less.
    fn checkpoint_slots(&self) -> u64 {
        let by_size = self.chat.sessions() as u64 / CHECKPOINT_SESSIONS_PER_SLOT;
        self.settings.checkpoint_slots.max(by_size.min(ACCEPT_WINDOW_SLOTS / 4))
    }

    /// The command (or one below it) of a session is applied: whoever waited for it
    /// is answered.
    fn answer_waiting(&mut self, now: Time, command: &Command, out: &mut Outbox<Record>) {
        let Some(waiting) = self.waiting.get(&command.session) else { return };
        let probe = Command { seq: waiting.seq, ..command.clone() };
        match self.chat.status(&probe, self.applied) {
            Status::Complete { slot, client_seq } => {
                let (session, seq) = (command.session, waiting.seq);
                let mut origin = waiting.origin;
                if self.settings.planted.has(Bug::AnswerToAnotherClient) {
                    origin = self.waiting.values().next().map_or(origin, |first| first.origin);
                }
                out.answer(origin, Answer::Complete { session, seq, slot, client_seq });
                self.stop_waiting(session);
            }
            Status::Past | Status::Expired => self.stop_waiting(command.session),
            Status::Next => {
                // It was ahead of this log until now.
                if let Some(waiting) = self.waiting.get_mut(&command.session) {
                    waiting.retry_at = now;
                    self.next_tick = now;
                }
            }
            Status::Ahead => {}
        }
    }

    /// Votes below the tally's mark and the applied point have done their work. A
    /// reign whose slots were fetched instead counts on from there.
    fn forget_tallied(&mut self) {
        if self.tally.from.is_some() && self.applied > self.tally.upto {
            self.tally.upto = self.applied;
            if !self.settings.planted.has(Bug::FetchedSlotsAreMarked) {
                self.tally.from = Some(self.applied);
            }
        }
        let keep = self.tally.upto.min(self.applied);
        if self.tally.votes.first_key_value().is_some_and(|(slot, _)| *slot < keep) {
            self.tally.votes = self.tally.votes.split_off(&keep);
        }
        self.advance_tally();
    }
}

impl Role for Learner {
    type Input = Input;
    type Record = Record;

    fn handle(&mut self, now: Time, _draw: u64, input: Input, out: &mut Outbox<Record>) {
        match input {
            Input::Peer(from, ToLearner::Votes { ballot, directory, slots }) => {
                self.handle_votes(from, ballot, directory, &slots, out);
            }
            Input::Peer(from, ToLearner::Fetch { first, upto }) => {
                let upto = upto.min(self.applied).min(first.plus(FETCH_SLOTS_MAX));
                let page_bytes = self.settings.payload_bytes.saturating_sub(PAGE_OVERHEAD_BYTES);
                out.send_decided(from, first, upto, page_bytes);
            }
            Input::Peer(_, ToLearner::Page { first, values }) => {
                self.handle_page(now, first, values, out);
            }
            Input::Heartbeat(from, heartbeat) => {
                let applied = &mut self.peers_applied[from.index()];
                *applied = (*applied).max(heartbeat.applied);
                if heartbeat.leading {
                    self.follow(now, heartbeat.ballot);
                    self.handle_mark(heartbeat.decided);
                }
            }
            Input::Hello(origin) => {
                let ballot = self.leader.unwrap_or_default();
                out.answer(origin, Answer::Welcome { applied: self.applied, ballot });
            }
            Input::Held { origin, request, direct } => {
                self.handle_held(now, origin, request, direct, out);
            }
            Input::Proposed { ballot, from, first, values, origins } => {
                let slots = (first.0..).map(Slot);
                let proposals = slots.zip(values).zip(origins).map(|((s, v), o)| (s, v, o));
                self.handle_proposed(now, ballot, from, proposals, out);
            }
            Input::Leading(ballot) => self.follow(now, ballot),
            Input::Voted { ballot, runs, decided } => {
                for (first, values) in runs {
                    for (slot, value) in (first.0..).map(Slot).zip(values) {
                        self.know(slot, ballot, value);
                        self.try_decide(slot);
                    }
                }
                self.handle_mark(decided);
            }
        }
        self.apply(now, out);
    }

    fn handle_timeout(&mut self, now: Time, _draw: u64, out: &mut Outbox<Record>) {
        if now >= self.next_tick {
            self.next_tick = now.plus_us(self.settings.heartbeat_us);
            self.announce = true;
            self.retry_waiting(now, out);
        }
    }

    fn flush(&mut self, now: Time, out: &mut Outbox<Record>) {
        self.catch_up(now, out);
        if std::mem::take(&mut self.announce) {
            let decided = Decided {
                ballot: self.tally.ballot,
                from: self.tally.from.unwrap_or(self.tally.upto),
                upto: self.tally.upto,
            };
            let pending = self.is_pending();
            let applied = self.applied;
            let progress = proposer::Input::Progress { applied, decided, pending };
            out.tell(Notice::Proposer(progress));
            out.tell(Notice::Acceptor(super::acceptor::Input::Applied(self.durable)));
        }
    }

    fn deadline(&self) -> Option<Time> {
        let fetch = match (&self.fetching, self.behind_since) {
            (Some(fetching), _) => Some(fetching.deadline),
            (None, Some(since)) => Some(since.plus_us(FETCH_DELAY_US)),
            (None, None) => None,
        };
        Some(fetch.map_or(self.next_tick, |fetch| fetch.min(self.next_tick)))
    }
}
