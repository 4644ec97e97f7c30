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
//! Decided slots are applied to the [`Chat`], recorded in the
//! decided log, and answered to whichever client waits here: after the commit, since
//! the answer leaves through the outbox. (Paxos Made Simple, §2.3; Paxos Made Live,
//! §5 on catching up.)
//!
//! Who falls behind asks one peer at a time for what is missing in a bounded stretch,
//! and the next if that one falls silent. Requests that this replica cannot serve are held here and
//! passed to the leader, again whenever another leads, until they are applied or
//! the client has gone. Both tables are bounded.

mod catch_up;
mod pending_clients;
mod tally;

use pending_clients::Asked;
use tally::Tally;

use super::chat::{Chat, Status};
use super::phase2::Origin;
use super::round_trip::RoundTrip;
use super::runs::{Runs, Standing};
use super::state::state_of;
use super::{
    ACCEPT_WINDOW_SLOTS, ANSWER_BYTES_MAX, Membership, Notice, Outbox, Role, Settings, proposer,
};
use crate::message::{
    Answer, Decided, Heartbeat, Message, Request, Run, ToBootstrap, ToLearner, ToProposer,
};
use crate::types::{Address, Ballot, DirectoryId, ReplicaId, Session, Slot, SlotRange, Time};
use crate::values::{CommandRef, ValueRef, Values};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a learner may be behind before it asks: what it lacks is usually on its
/// way.
const FETCH_DELAY_US: u64 = 10_000;

/// The same, if its leader has told it that the slot is decided: then it is lost.
const FETCH_LOST_DELAY_US: u64 = 2_000;

/// How long a peer is waited for before it is asked again, or another, as long as none
/// has answered; the wait then follows what answers take.
const FETCH_RETRY_US: u64 = 60_000;

/// The shortest such wait.
const FETCH_RETRY_MIN_US: u64 = 1_000;

/// How many stretches of missing slots are asked for at once.
const GAPS_MAX: usize = 16;

/// How many slots are asked for at once. (What is sent is bounded in bytes too.)
pub const FETCH_SLOTS_MAX: u64 = 1_024;

/// How many bytes of pages are kept that arrive before what comes before them.
const EARLY_BYTES_MAX: usize = 2 * ANSWER_BYTES_MAX;

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

/// How many values' clients are looked up at once, before they are applied. (With thousands
/// of clients a look-up is what most of a line's way through here is spent on.)
const LOOK_AHEAD: usize = 16;

/// How many held requests are passed on in one turn.
const FORWARD_BURST_MAX: usize = 256;

/// What a learner wants to survive a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Record {
    /// Consecutive slots were applied. The decided log remembers them, and the chat log
    /// shows them.
    Applied {
        /// The slot of the first value.
        first: Slot,
        /// What was decided, one value a slot.
        values: Values,
        /// Each one's number among its client's lines, if it took effect; otherwise the
        /// slot is a NOP line.
        client_seqs: Vec<Option<u64>>,
    },
    /// Everything recorded so far is to be durable, and from here a restart is to go on:
    /// at the latest when the next checkpoint is committed.
    Checkpoint(Checkpoint),
}

/// Where a learner goes on after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Every slot below this is applied.
    pub applied: Slot,
    /// The state after them.
    pub chat: Chat,
}

/// What a learner takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// A message, and who sent it.
    Peer(ReplicaId, ToLearner),
    /// A peer's heartbeat: what it has applied, and what it knows to be decided.
    Heartbeat(ReplicaId, Heartbeat),
    /// A client asks how far the log is.
    Hello(Address),
    /// The proposer of this replica could not serve a request at once: answer it,
    /// hold it, or pass it on.
    RequestNotProposed {
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
        /// The first slot of phase 2.
        from: Slot,
        /// The slot of the first value.
        first: Slot,
        /// One value a slot.
        values: Values,
        /// Whom to answer, where that is known.
        origins: Vec<Origin>,
    },
    /// The proposer of this replica leads. Repeated.
    Leading(Ballot),
    /// The acceptor of this replica has durably accepted these values.
    OwnAccepted {
        /// What, and at which ballot.
        runs: Vec<Run>,
        /// What the leader knew to be decided when it sent them.
        decided: Decided,
    },
}

/// A client that waits for a command of its session, which it asked of this replica
/// when it could not be proposed here at once.
#[derive(Debug, Clone)]
struct Waiting {
    origin: Address,
    seq: u64,
    /// When the client was last heard.
    heard_at: Time,
    /// For that one command.
    request: Request,
    retry_at: Time,
    retry_us: u64,
}

state_of!(Waiting: origin, seq, request, retry_us; aside: heard_at, retry_at);

/// How many bytes of values are applied at most between two checkpoints, give or take
/// a run: acceptors keep them as long.
const CHECKPOINT_BYTES: usize = 8 << 20;

/// With each so many sessions, which a checkpoint holds all, so many more slots lie
/// between two, as far as their distance may grow: else saving them is what lines cost.
const CHECKPOINT_SESSIONS: u64 = 1_024;
const CHECKPOINT_SESSIONS_SLOTS: u64 = 8_192;

/// What is asked of a peer.
#[derive(Debug, Clone)]
struct Fetching {
    /// The end of what has come, lost parts included.
    next: Slot,
    upto: Slot,
    /// How many bytes of values its answer may still bring: the peer counts alike.
    room: usize,
    asked_at: Time,
    /// Whether anything of the answer has come.
    heard: bool,
    deadline: Time,
}

state_of!(Fetching: next, upto, room, heard; aside: asked_at, deadline);

/// The learner role.
#[derive(Debug, Clone)]
pub struct Learner {
    settings: Settings,
    membership: Membership,
    chat: Chat,
    applied: Slot,
    /// The newest checkpoint.
    saved: Slot,
    /// The one before, which is durable: acceptors may forget what is below.
    durable: Slot,
    /// Proposed or accepted here, not yet applied: at the highest ballot known.
    accepted: Runs,
    /// From peers' decided logs, above a gap. (Their ballots mean nothing.)
    fetched: Runs,
    tally: Tally,
    /// The newest mark of another leader.
    mark: Decided,
    peers_applied: Vec<Slot>,
    behind_since: Option<Time>,
    fetching: Option<Fetching>,
    /// From asking to the first page of the answer.
    fetch_trip: RoundTrip,
    /// The peer that was asked last.
    source: usize,
    /// The highest ballot heard to lead.
    leader: Option<Ballot>,
    /// Clients whose commands were proposed here, by the first slot of each run.
    asked: BTreeMap<Slot, Asked>,
    waiting: BTreeMap<Session, Waiting>,
    waiting_bytes: usize,
    /// How many bytes of values were applied since the newest checkpoint.
    unsaved_bytes: usize,
    next_tick: Time,
    /// Something has changed; a reminder of everything is due.
    announce: bool,
    remind: bool,
    /// What the other roles were told last.
    told_pending: bool,
    told_durable: Slot,
}

state_of!(
    Learner: chat, applied, saved, durable, accepted, fetched, tally, mark, peers_applied, fetching, source,
        leader, asked, waiting, waiting_bytes, unsaved_bytes, announce, remind, told_pending, told_durable;
    aside: settings, membership, behind_since, fetch_trip, next_tick
);

impl Learner {
    /// A learner that goes on from `checkpoint`, as storage gave it back: the empty one
    /// on a replica's first start.
    pub fn new(settings: Settings, membership: Membership, checkpoint: Checkpoint) -> Self {
        let Checkpoint { applied, chat } = checkpoint;
        Learner {
            settings,
            membership,
            chat,
            applied,
            saved: applied,
            durable: applied,
            accepted: Runs::default(),
            fetched: Runs::default(),
            tally: Tally::new(Ballot::ZERO, settings.n),
            mark: Decided::default(),
            peers_applied: vec![Slot::ZERO; settings.n],
            behind_since: None,
            fetching: None,
            fetch_trip: RoundTrip::new(FETCH_RETRY_US, FETCH_RETRY_MIN_US, FETCH_RETRY_US),
            source: settings.id.index() + 1,
            leader: None,
            asked: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            unsaved_bytes: 0,
            next_tick: Time(0),
            announce: true,
            remind: true,
            told_pending: false,
            told_durable: applied,
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

    // --- what is known and what is decided ---------------------------------

    /// `run` was proposed or accepted here.
    fn keep_accepted(&mut self, run: &Run) {
        let run = run.within(SlotRange::with_len(self.applied, ACCEPT_WINDOW_SLOTS));
        let (ballot, kept) = (run.ballot, self.accepted.insert(run));
        assert!(kept.is_ok(), "slot {kept:?} has two values at ballot {ballot}");
    }

    /// What is decided from the first slot on that is not applied.
    fn next_decided(&self) -> Option<Run> {
        if let Some(run) = self.fetched.at(self.applied) {
            return Some(run);
        }
        let run = self.accepted.at(self.applied)?;
        let decided =
            run.within(SlotRange::new(run.first, self.decided_end(run.first, run.ballot)));
        (!decided.values.is_empty()).then_some(decided)
    }

    /// How far a run that begins at `first` is decided: as far as a quorum's votes or a
    /// leader's mark say so of exactly the ballot at which its values are known.
    fn decided_end(&self, first: Slot, ballot: Ballot) -> Slot {
        let mut end = first;
        if ballot == self.tally.ballot {
            end = self.tally.quorum_end(first);
        }
        if ballot == self.mark.ballot && self.mark.slots.start <= first {
            end = end.max(self.mark.slots.end);
        }
        end
    }

    fn handle_accepted(
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
            return out.send(from, Message::Bootstrap(ToBootstrap::NotMember { directory }));
        }
        self.begin_tally(ballot);
        let start = self.tally.from.map_or(self.applied, |_| self.tally.upto);
        let window = SlotRange::new(start, start.max(self.applied).plus(ACCEPT_WINDOW_SLOTS));
        let votes = &mut self.tally.votes[from.index()];
        for range in slots {
            votes.insert(range.intersect(window));
        }
        self.advance_tally();
        self.announce |= !self.tally.lost(self.settings.id).is_empty();
    }

    /// Nothing is counted across ballots.
    fn begin_tally(&mut self, ballot: Ballot) {
        if ballot > self.tally.ballot {
            self.tally = Tally::new(ballot, self.settings.n);
            // Who led holds what it proposed, and asks again for whoever still waits.
            self.asked.clear();
        }
    }

    /// Moves the tally's mark over every slot with a quorum.
    fn advance_tally(&mut self) {
        if self.tally.from.is_none() {
            return;
        }
        let end = self.tally.quorum_end(self.tally.upto);
        if end > self.tally.upto {
            self.tally.upto = end;
            self.announce = true;
        }
    }

    fn handle_proposed(
        &mut self,
        from: Slot,
        run: &Run,
        origins: Vec<Origin>,
        out: &mut Outbox<Record>,
    ) {
        if run.ballot < self.tally.ballot {
            return;
        }
        self.begin_tally(run.ballot);
        if self.tally.from.is_none() {
            self.tally.from = Some(from);
            self.tally.upto = from;
        }
        self.leader = self.leader.max(Some(run.ballot));
        self.await_origins(run, origins, out);
        self.keep_accepted(run);
        self.advance_tally();
    }

    fn handle_mark(&mut self, mark: Decided) {
        if mark.ballot.owner(self.settings.n) == self.settings.id
            || mark.ballot < self.mark.ballot
            || mark.slots.is_empty()
        {
            return;
        }
        if mark.ballot > self.mark.ballot || mark.slots.end > self.mark.slots.end {
            self.mark = mark;
        }
    }

    /// Whether anything in these slots is known to be decided, and is something else.
    fn is_decided_otherwise(&self, page: &Run) -> bool {
        self.accepted.range(page.slots()).any(|held| {
            let decided = SlotRange::new(held.first, self.decided_end(held.first, held.ballot));
            let decided = held.within(decided);
            page.within(decided.slots()).values != decided.values
        })
    }

    fn handle_page(&mut self, now: Time, first: Slot, values: Values, out: &mut Outbox<Record>) {
        let run = Run { first, ballot: Ballot::ZERO, values };
        let run = run.within(SlotRange::with_len(self.applied, ACCEPT_WINDOW_SLOTS));
        let early: usize = self.fetched.iter().map(|run| run.values.bytes().len()).sum();
        if run.first > self.applied && early >= EARLY_BYTES_MAX {
            return;
        }
        let parts = self.fetched.compare(&run);
        let conflict = parts.iter().find(|(_, how)| *how == Standing::Conflict);
        if conflict.is_some() || self.is_decided_otherwise(&run) {
            let slot = run.first;
            log::error!("from slot {slot} on a peer has decided otherwise: its page is refused");
            return;
        }
        let news = parts.iter().filter(|(_, how)| *how == Standing::News);
        let bytes: usize = news.map(|(part, _)| part.values.bytes().len()).sum();
        let kept = self.fetched.insert(run.clone());
        assert!(kept.is_ok(), "what contradicts nothing can be kept");
        self.note_answer(now, &run, bytes, out);
        self.apply(now, out);
        self.end_answer();
    }

    // --- applying and answering --------------------------------------------

    fn apply(&mut self, now: Time, out: &mut Outbox<Record>) {
        let before = self.applied;
        while let Some(run) = self.next_decided() {
            self.apply_run(now, run, out);
        }
        if self.applied > before {
            self.announce = true;
            self.behind_since = None;
            self.accepted.trim(self.applied);
            self.fetched.trim(self.applied);
            self.forget_tallied();
        }
        if self.applied >= self.checkpoint_due() || self.unsaved_bytes >= CHECKPOINT_BYTES {
            let checkpoint = Checkpoint { applied: self.applied, chat: self.chat.clone() };
            out.persist(Record::Checkpoint(checkpoint));
            (self.durable, self.saved) = (self.saved, self.applied);
            self.unsaved_bytes = 0;
        }
    }

    fn apply_run(&mut self, now: Time, run: Run, out: &mut Outbox<Record>) {
        let Run { first, values, .. } = run;
        let mut client_seqs = Vec::with_capacity(values.len());
        let mut ahead = values.iter();
        for (slot, value) in (first.0..).map(Slot).zip(values.iter()) {
            if client_seqs.len().is_multiple_of(LOOK_AHEAD) {
                self.chat.look_ahead(ahead.by_ref().take(LOOK_AHEAD));
            }
            let client_seq = self.chat.apply(slot, value);
            client_seqs.push(client_seq);
            self.applied = slot.next();
            if let ValueRef::Command(command) = value {
                self.answer(now, slot, command, client_seq, out);
            }
        }
        self.unsaved_bytes += values.bytes().len();
        out.persist(Record::Applied { first, values, client_seqs });
    }

    /// How many slots lie between two checkpoints. One holds all sessions, so with
    /// very many of them it is made less often; but acceptors forget only below it, so
    /// not much less.
    fn checkpoint_slots(&self) -> u64 {
        let sessions = self.chat.sessions() as u64;
        let by_size = sessions / CHECKPOINT_SESSIONS * CHECKPOINT_SESSIONS_SLOTS;
        self.settings.checkpoint_slots.max(by_size.min(ACCEPT_WINDOW_SLOTS / 4))
    }

    /// The first slot of which a checkpoint is due. Each replica makes its own in other
    /// slots than the others: a disk that is busy with one holds up no quorum, and a disk
    /// that several share is not asked for everything at once.
    fn checkpoint_due(&self) -> Slot {
        let step = self.checkpoint_slots();
        let phase = step * self.settings.id.index() as u64 / self.settings.n as u64;
        let before = (self.saved.0 + step - phase) / step;
        Slot(before * step + phase)
    }

    /// Votes below the tally's mark and the applied point have done their work. A
    /// leader whose slots were fetched instead counts on from there.
    fn forget_tallied(&mut self) {
        if self.tally.from.is_some() && self.applied > self.tally.upto {
            self.tally.upto = self.applied;
            self.tally.from = Some(self.applied);
        }
        let keep = self.tally.upto.min(self.applied);
        self.tally.votes.iter_mut().for_each(|votes| votes.trim(keep));
        self.advance_tally();
    }
}

impl Role for Learner {
    type Input = Input;
    type Record = Record;

    fn handle(&mut self, now: Time, _draw: u64, input: Input, out: &mut Outbox<Record>) {
        match input {
            Input::Peer(from, ToLearner::Accepted { ballot, directory, slots }) => {
                self.handle_accepted(from, ballot, directory, slots.ranges(), out);
            }
            Input::Peer(from, ToLearner::Fetch { slots: SlotRange { start: first, end } }) => {
                let upto = end.min(self.applied).min(first.plus(FETCH_SLOTS_MAX));
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
            Input::RequestNotProposed { origin, request, direct } => {
                self.handle_held(now, origin, &request, direct, out);
            }
            Input::Proposed { ballot, from, first, values, origins } => {
                self.handle_proposed(from, &Run { first, ballot, values }, origins, out);
            }
            Input::Leading(ballot) => self.follow(now, ballot),
            Input::OwnAccepted { runs, decided } => {
                runs.iter().for_each(|run| self.keep_accepted(run));
                self.handle_mark(decided);
            }
        }
        self.apply(now, out);
    }

    fn handle_timeout(&mut self, now: Time, _draw: u64, out: &mut Outbox<Record>) {
        if now >= self.next_tick {
            self.next_tick = now.plus_us(self.settings.heartbeat_us);
            (self.announce, self.remind) = (true, true);
            self.retry_waiting(now, out);
        }
    }

    fn flush(&mut self, now: Time, out: &mut Outbox<Record>) {
        self.catch_up(now, out);
        if std::mem::take(&mut self.announce) {
            let decided = Decided {
                ballot: self.tally.ballot,
                slots: SlotRange::new(self.tally.from.unwrap_or(self.tally.upto), self.tally.upto),
            };
            let pending = self.is_pending();
            let applied = self.applied;
            // Who does not lead need not know at once how far it has come, nor an acceptor
            // what it may not forget yet: it costs them a burst.
            let tick = std::mem::take(&mut self.remind);
            if tick || self.is_leader() || pending != self.told_pending {
                self.told_pending = pending;
                let lost = self.tally.lost(self.settings.id);
                let progress = proposer::Input::Progress { applied, decided, pending, lost };
                out.tell(Notice::Proposer(progress));
            }
            if tick || self.durable != self.told_durable {
                self.told_durable = self.durable;
                out.tell(Notice::Acceptor(super::acceptor::Input::Applied(self.durable)));
            }
        }
    }

    /// Who does not lead, and holds no request, applies what others have long been told of.
    fn is_urgent(&self) -> bool {
        self.is_leader() || !self.waiting.is_empty() || self.fetching.is_some()
    }

    fn deadline(&self) -> Option<Time> {
        let fetch = match (&self.fetching, self.behind_since) {
            (Some(fetching), _) => Some(fetching.deadline),
            (None, Some(since)) => Some(since.plus_us(self.fetch_delay_us())),
            (None, None) => None,
        };
        Some(fetch.map_or(self.next_tick, |fetch| fetch.min(self.next_tick)))
    }
}
