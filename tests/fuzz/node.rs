//! One replica of a cluster, among peers that the test plays. Acceptor, proposer and learner
//! are the real roles. The node passes on what they tell each other, or loses it as a full
//! inbox does, and checks every envelope before it leaves.
//!
//! **After every turn, whatever the input, the node asserts:**
//!
//! - the promise never goes down, not even when the process dies, and nothing is accepted
//!   below it;
//! - no slot is ever accepted with two values at one ballot, and an acceptance or a page of a
//!   promise names only what is durably accepted;
//! - the proposer proposes and asks for promises only at a ballot that its own acceptor has
//!   durably promised in this life; it leads only after a quorum has promised exactly that
//!   ballot, to the last page; and it proposes one value for each slot at a ballot;
//! - slots are applied in order, each once, with the effect that the state machine gives them,
//!   and the applied slot never goes back;
//! - a client is told of a completion only if it asked, and its command is in that slot;
//! - every message to a peer can be decoded, and one request for decided slots causes no
//!   more pages than its share;
//! - after a timer has fired it is not due any more.

use crate::draw;
use crate::memory::Memory;
use multipaxos::chat::Chat;
use multipaxos::message::{
    Answer, FollowQuery, Inquiry, Message, Request, Run, ToAcceptor, ToLearner, ToProposer, Voter,
};
use multipaxos::paxos::acceptor::{self, Acceptor};
use multipaxos::paxos::learner::{self, Assembly, Checkpoint, Learner};
use multipaxos::paxos::proposer::{self, Proposer};
use multipaxos::paxos::{
    ANSWER_BYTES_MAX, DecidedPages, Envelope, Limits, Membership, NoStorage, Notice, Outbox, Role,
    Settings, Storage,
};
use multipaxos::quorum::quorum;
use multipaxos::types::{
    Address, Ballot, BootId, ClusterId, LINE_BYTES_MAX, ReplicaId, Session, Slot, SlotRange, Time,
    Value, replicas,
};
use multipaxos::values::Values;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

/// The number of messages to peers that are kept, so that a test can answer them.
const SENT_MAX: usize = 64;

/// The largest number of turns that one input may cause.
const TURNS_MAX: usize = 1_000;

/// The number of timers that fire in one wait. The others fire in the next.
const TIMERS_MAX: usize = 300;

pub(crate) fn settings(n: usize, id: ReplicaId, boot: u64) -> Settings {
    Settings {
        id,
        n,
        places: n,
        boot: BootId(boot),
        payload_bytes: 1_200,
        heartbeat_us: 50_000,
        election_min_us: 300_000,
        election_max_us: 600_000,
        checkpoint_slots: 8,
        skip_slot: None,
        // The parts of a checkpoint come with the slots above it.
        limits: Limits { part_sessions: 0, ..Limits::DEFAULT },
    }
}

/// A replica in its first life.
pub(crate) fn voter(id: ReplicaId) -> Voter {
    Voter { directory: draw::directory(id), boot: BootId(1), begun: 0 }
}

pub(crate) fn membership(n: usize, id: ReplicaId, fresh: bool) -> Membership {
    let members = (0..n as u8).map(|id| draw::directory(ReplicaId(id))).collect();
    Membership { cluster: ClusterId(7), voter: voter(id), members, memories: Vec::new(), fresh }
}

/// An acceptor's disk, and everything that it ever accepted.
#[derive(Debug, Default)]
struct Disk {
    memory: Memory,
    written: Vec<acceptor::Record>,
    accepted: BTreeMap<(Slot, Ballot), Value>,
    highest: Option<Ballot>,
    /// The ballots promised in this life.
    promised: BTreeSet<Ballot>,
}

impl Storage<acceptor::Record> for Disk {
    fn append(&mut self, records: &mut Vec<acceptor::Record>) -> io::Result<()> {
        self.written.extend(records.iter().cloned());
        self.memory.append(records)
    }

    fn sync(&mut self) -> io::Result<()> {
        for record in self.written.drain(..) {
            match record {
                acceptor::Record::Promise(ballot) => {
                    self.promised.insert(ballot);
                    self.highest = self.highest.max(Some(ballot));
                }
                acceptor::Record::Trim(_) | acceptor::Record::Remember(..) => {}
                acceptor::Record::Accept(Run { ballot, first, values })
                | acceptor::Record::Held(Run { ballot, first, values }) => {
                    assert!(Some(ballot) >= self.highest, "accepted below the promise");
                    self.highest = Some(ballot);
                    self.promised.insert(ballot);
                    for (slot, value) in (first.0..).map(Slot).zip(values.to_vec()) {
                        let held = self.accepted.entry((slot, ballot)).or_insert(value.clone());
                        assert_eq!(*held, value, "slot {slot}, ballot {ballot}: two values");
                    }
                }
            }
        }
        let before = self.memory.state().promised();
        self.memory.sync()?;
        assert!(self.memory.state().promised() >= before, "the promise went down");
        Ok(())
    }
}

/// A learner's decided log.
#[derive(Debug, Default)]
struct Log {
    values: Vec<Value>,
    /// The state after these values.
    chat: Chat,
    checkpoint: Checkpoint,
    /// The checkpoint whose last part has not come, and the state when its first part came.
    making: Assembly,
    told: Chat,
}

impl Storage<learner::Record> for Log {
    fn append(&mut self, records: &mut Vec<learner::Record>) -> io::Result<()> {
        for record in records.drain(..) {
            match record {
                learner::Record::Applied { first, values, client_seqs } => {
                    assert_eq!(first.0, self.values.len() as u64, "applied out of order");
                    assert_eq!(values.len(), client_seqs.len());
                    let slots = (first.0..).map(Slot);
                    for ((slot, value), client_seq) in slots.zip(values.iter()).zip(client_seqs) {
                        let effect = self.chat.apply(slot, value);
                        assert_eq!(client_seq, effect, "slot {slot} has another effect");
                    }
                    self.values.extend(values.to_vec());
                }
                learner::Record::Checkpoint(part) => {
                    if part.is_first {
                        assert_eq!(part.applied.0, self.values.len() as u64);
                        self.told.clone_from(&self.chat);
                    }
                    if let Some(checkpoint) = self.making.add(&part) {
                        assert_eq!(checkpoint.chat, self.told);
                        self.checkpoint = checkpoint;
                    }
                }
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DecidedPages for Log {
    fn decided(&mut self, slots: SlotRange, bytes: usize) -> io::Result<Values> {
        let SlotRange { start: first, end: upto } = slots;
        let held = self.values.iter().skip(first.0 as usize).take(upto.since(first) as usize);
        let page: Values = held.collect();
        Ok(page.slice(0..page.fitting(bytes).max(1).min(page.len())))
    }
}

enum Inner {
    Acceptor(acceptor::Input),
    Proposer(proposer::Input),
    Learner(learner::Input),
}

pub(crate) struct Node {
    pub(crate) me: ReplicaId,
    pub(crate) n: usize,
    pub(crate) now: Time,
    /// Messages to peers, the latest last.
    pub(crate) sent: VecDeque<(ReplicaId, Message)>,
    /// The number of inputs that the roles got.
    pub(crate) inputs: u64,
    /// The number of messages between roles that are still to be lost.
    pub(crate) to_lose: u32,
    /// Whether everything drawn stays away from the highest numbers. Only then must every message
    /// of the node be decodable.
    pub(crate) encodes: bool,
    boot: u64,
    acceptor: Acceptor,
    proposer: Proposer,
    learner: Learner,
    disk: Disk,
    log: Log,
    inbox: VecDeque<Inner>,
    /// The proposed values, by slot and own ballot.
    proposed: BTreeMap<(Slot, Ballot), Value>,
    promised: Option<Ballot>,
    /// The peers from which complete promises were heard in this life, by ballot.
    promises: BTreeMap<Ballot, BTreeSet<ReplicaId>>,
    /// The client that asked for each command.
    asked: BTreeSet<(Address, Session, u64)>,
}

impl Node {
    /// A replica that has just warmed up.
    pub(crate) fn new(n: usize, me: ReplicaId) -> Node {
        let (settings, membership) = (settings(n, me, 1), membership(n, me, true));
        let mut node = Node {
            me,
            n,
            now: Time(1),
            sent: VecDeque::new(),
            inputs: 0,
            to_lose: 0,
            encodes: true,
            boot: 1,
            acceptor: Acceptor::new(settings, membership.clone(), Default::default()),
            proposer: Proposer::new(settings, membership.clone(), Time(1), 0),
            learner: Learner::new(settings, membership, Checkpoint::default()),
            disk: Disk::default(),
            log: Log::default(),
            inbox: VecDeque::new(),
            proposed: BTreeMap::new(),
            promised: None,
            promises: BTreeMap::new(),
            asked: BTreeSet::new(),
        };
        node.run();
        node
    }

    /// The process dies, and starts again from what is durable.
    pub(crate) fn restart(&mut self) {
        self.boot += 1;
        let settings = settings(self.n, self.me, self.boot);
        let membership = membership(self.n, self.me, false);
        self.inbox.clear();
        self.sent.clear();
        self.disk.written.clear();
        self.disk.promised.clear();
        self.promises.clear();
        self.log.values.truncate(self.log.checkpoint.applied.0 as usize);
        self.log.chat = self.log.checkpoint.chat.clone();
        self.log.making = Assembly::default();
        let state = self.disk.memory.state().clone();
        self.acceptor = Acceptor::new(settings, membership.clone(), state);
        self.proposer = Proposer::new(settings, membership.clone(), self.now, 0);
        self.learner = Learner::new(settings, membership, self.log.checkpoint.clone());
        self.run();
    }

    pub(crate) fn applied(&self) -> Slot {
        self.learner.applied()
    }

    /// A ballot that peers are likely to name.
    pub(crate) fn ballot(&self) -> Ballot {
        self.acceptor.state().promised().unwrap_or_default()
    }

    pub(crate) fn leads(&self) -> bool {
        self.proposer.leading().is_some()
    }

    pub(crate) fn peers(&self) -> Vec<ReplicaId> {
        replicas(self.n).filter(|id| *id != self.me).collect()
    }

    // --- inputs ------------------------------------------------------------------

    /// A message from the network, routed as a replica routes it.
    pub(crate) fn hear(&mut self, from: ReplicaId, message: Message) {
        assert_ne!(from, self.me, "no frame says that it is from its receiver");
        match &message {
            Message::Proposer(ToProposer::Promise(page))
                if page.last && page.voter.directory == draw::directory(from) =>
            {
                self.promises.entry(page.ballot).or_default().insert(from);
            }
            Message::Proposer(ToProposer::Forward { origin, request }) => {
                self.note_asked(*origin, request);
            }
            _ => {}
        }
        self.route(from, message);
        self.run();
    }

    fn route(&mut self, from: ReplicaId, message: Message) {
        let input = match message {
            Message::Bootstrap(_) => return,
            Message::Acceptor(message) => Inner::Acceptor(acceptor::Input::Peer(from, message)),
            Message::Proposer(message) => Inner::Proposer(proposer::Input::Peer(from, message)),
            Message::Learner(message) => Inner::Learner(learner::Input::Peer(from, message)),
            Message::Heartbeat(heartbeat) => {
                let input = proposer::Input::Heartbeat(from, heartbeat.clone());
                self.inbox.push_back(Inner::Proposer(input));
                Inner::Learner(learner::Input::Heartbeat(from, heartbeat))
            }
        };
        self.inbox.push_back(input);
    }

    fn note_asked(&mut self, origin: Address, request: &Request) {
        self.asked.extend(request.iter().map(|command| (origin, command.session, command.seq)));
    }

    pub(crate) fn ask(&mut self, origin: Address, request: Request) {
        self.note_asked(origin, &request);
        self.inbox.push_back(Inner::Proposer(proposer::Input::Client(origin, request)));
        self.run();
    }

    pub(crate) fn greet(&mut self, origin: Address) {
        self.inbox.push_back(Inner::Learner(learner::Input::Hello(origin)));
        self.run();
    }

    pub(crate) fn follow(&mut self, origin: Address, query: FollowQuery) {
        self.inbox.push_back(Inner::Learner(learner::Input::Follow(origin, query)));
        self.run();
    }

    pub(crate) fn inquire(&mut self, origin: Address, inquiry: Inquiry) {
        self.asked.insert((origin, inquiry.session, inquiry.seq));
        self.inbox.push_back(Inner::Proposer(proposer::Input::Inquiry(origin, inquiry)));
        self.run();
    }

    /// Time passes. Timers fire when they are due.
    pub(crate) fn wait_us(&mut self, us: u64, draw: u64) {
        let end = self.now.plus_us(us);
        for _ in 0..TIMERS_MAX {
            let due = [self.acceptor.deadline(), self.proposer.deadline(), self.learner.deadline()];
            let Some(due) = due.into_iter().flatten().min().filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            if self.proposer.deadline().is_some_and(|due| due <= self.now) {
                self.proposer_turn(None, Some(draw));
            }
            if self.learner.deadline().is_some_and(|due| due <= self.now) {
                self.learner_turn(None, true);
            }
            self.run();
        }
        self.now = end;
    }

    // --- turns -------------------------------------------------------------------

    /// Runs turns until no role has anything left for another.
    fn run(&mut self) {
        for _ in 0..TURNS_MAX {
            let Some(input) = self.inbox.pop_front() else { return };
            self.inputs += 1;
            match input {
                Inner::Acceptor(input) => self.acceptor_turn(input),
                Inner::Proposer(input) => self.proposer_turn(Some(input), None),
                Inner::Learner(input) => self.learner_turn(Some(input), false),
            }
        }
        panic!("the roles send each other messages without end");
    }

    fn acceptor_turn(&mut self, input: acceptor::Input) {
        let mut out = Outbox::new();
        self.acceptor.handle(self.now, 0, input, &mut out);
        self.acceptor.flush(self.now, &mut out);
        let envelopes = out.commit(&mut self.disk).expect("memory never fails");
        let promised = self.acceptor.state().promised();
        assert!(promised >= self.promised, "the promise went down");
        assert_eq!(
            self.acceptor.state(),
            self.disk.memory.state(),
            "the acceptor's state is not what is durable"
        );
        self.promised = promised;
        self.dispatch(envelopes, 0);
    }

    fn proposer_turn(&mut self, input: Option<proposer::Input>, timeout: Option<u64>) {
        let mut out = Outbox::new();
        if let Some(input) = input {
            self.proposer.handle(self.now, self.now.0, input, &mut out);
        }
        if let Some(draw) = timeout {
            self.proposer.handle_timeout(self.now, draw, &mut out);
        }
        self.proposer.flush(self.now, &mut out);
        if timeout.is_some() {
            let due = self.proposer.deadline();
            assert!(due.is_none_or(|due| due > self.now), "the proposer's timer spins");
        }
        if let Some(ballot) = self.proposer.leading() {
            let peers = self.promises.get(&ballot).map_or(0, BTreeSet::len);
            let needed = if ballot == Ballot::ZERO { 0 } else { quorum(self.n) - 1 };
            assert!(peers >= needed, "it leads at {ballot} with the promises of {peers} peers");
            assert!(
                self.disk.promised.contains(&ballot),
                "it leads at {ballot} without its own durable promise"
            );
        }
        let envelopes = out.commit(&mut NoStorage).expect("nothing fails");
        self.dispatch(envelopes, 0);
    }

    fn learner_turn(&mut self, input: Option<learner::Input>, timeout: bool) {
        let mut out = Outbox::new();
        let before = self.learner.applied();
        let is_fetch = matches!(input, Some(learner::Input::Peer(_, ToLearner::Fetch { .. })));
        if let Some(input) = input {
            self.learner.handle(self.now, 0, input, &mut out);
        }
        if timeout {
            self.learner.handle_timeout(self.now, 0, &mut out);
        }
        self.learner.flush(self.now, &mut out);
        if timeout {
            let due = self.learner.deadline();
            assert!(due.is_none_or(|due| due > self.now), "the learner's timer spins");
        }
        let mut envelopes = out.commit(&mut self.log).expect("memory never fails");
        out.read_pages(&mut self.log, &mut envelopes).expect("memory never fails");
        assert!(self.learner.applied() >= before, "applied went back");
        assert_eq!(self.learner.applied().0, self.log.values.len() as u64);
        self.dispatch(envelopes, usize::from(is_fetch));
    }

    // --- what the node sends -----------------------------------------------------

    fn dispatch(&mut self, envelopes: Vec<Envelope>, fetches: usize) {
        let mut page_bytes = 0;
        for envelope in envelopes {
            match envelope {
                Envelope::Peer { to, message } => {
                    assert!(to.index() < self.n, "to replica {to} of {}", self.n);
                    if let Message::Learner(ToLearner::Page { values, .. }) = &message {
                        page_bytes += values.bytes().len();
                    }
                    self.look_at(to, &message);
                    if to == self.me {
                        self.hand_over(|node| node.route(node.me, message));
                    } else {
                        self.sent.push_back((to, message));
                        if self.sent.len() > SENT_MAX {
                            self.sent.pop_front();
                        }
                    }
                }
                Envelope::Answers { to, answers } => {
                    answers.iter().for_each(|answer| self.look_at_answer(to, answer));
                }
                Envelope::Back { .. } => panic!("only the bootstrap answers strays"),
                Envelope::Call { .. } => panic!("a replica calls nobody"),
                Envelope::Notice(notice) => self.hand_over(|node| {
                    node.inbox.push_back(match notice {
                        Notice::Acceptor(input) => Inner::Acceptor(input),
                        Notice::Proposer(input) => Inner::Proposer(input),
                        Notice::Learner(input) => Inner::Learner(input),
                        // Whoever says what was said here has another log.
                        Notice::Diverged(_) => return,
                        Notice::Places(_) => return,
                        Notice::Start(_) | Notice::LostState(_) => panic!("it has started"),
                        Notice::MayEnd { .. } => panic!("nobody has told it to end"),
                    });
                }),
            }
        }
        let share = fetches * (ANSWER_BYTES_MAX + LINE_BYTES_MAX + 64);
        assert!(page_bytes <= share, "{page_bytes} bytes of pages for {fetches} requests");
    }

    fn hand_over(&mut self, hand: impl FnOnce(&mut Node)) {
        if self.to_lose > 0 {
            self.to_lose -= 1;
        } else {
            hand(self);
        }
    }

    fn look_at(&mut self, to: ReplicaId, message: &Message) {
        if to != self.me && self.encodes {
            let bytes = postcard::to_stdvec(message).expect("it can be encoded");
            let again: Message = postcard::from_bytes(&bytes).expect("a peer can decode it");
            assert_eq!(again, *message);
        }
        let durable = self.disk.memory.state();
        match message {
            Message::Acceptor(ToAcceptor::Accept(accept)) => {
                let ballot = accept.ballot;
                assert_eq!(ballot.owner(self.n), self.me, "a ballot of another replica");
                assert!(
                    self.disk.promised.contains(&ballot),
                    "ballot {ballot} is used before the own promise is durable"
                );
                for (slot, value) in (accept.first.0..).map(Slot).zip(accept.values.to_vec()) {
                    let held = self.proposed.entry((slot, ballot)).or_insert(value.clone());
                    assert_eq!(*held, value, "slot {slot}, ballot {ballot}: two proposals");
                }
            }
            Message::Acceptor(ToAcceptor::Prepare { ballot, .. }) => {
                assert_eq!(ballot.owner(self.n), self.me, "a ballot of another replica");
                let promised = self.disk.promised.contains(ballot);
                assert!(
                    to == self.me || promised,
                    "ballot {ballot} is used before the own promise is durable"
                );
            }
            Message::Proposer(ToProposer::Promise(page)) => {
                assert!(
                    Some(page.ballot) <= durable.promised(),
                    "a promise leaves before it is durable"
                );
                let mut next = page.slots.start.max(page.trimmed);
                for span in page.accepted.iter() {
                    assert!(span.slots.start >= next && span.ballot <= page.ballot, "{page:?}");
                    next = span.slots.end;
                    assert!(next <= page.slots.end, "{page:?}");
                    for slot in span.slots.iter() {
                        let held = self.disk.accepted.contains_key(&(slot, span.ballot));
                        assert!(held, "a promise reports slot {slot}, which was not accepted so");
                    }
                }
            }
            Message::Acceptor(ToAcceptor::FetchAccepted { ballot, .. }) => {
                assert_eq!(ballot.owner(self.n), self.me, "a ballot of another replica");
                assert_ne!(to, self.me, "the own acceptor has handed its values over");
                assert!(self.disk.promised.contains(ballot), "no durable promise of {ballot}");
            }
            Message::Acceptor(ToAcceptor::AcceptHeld { ballot, held }) => {
                assert_eq!(ballot.owner(self.n), self.me, "a ballot of another replica");
                assert_ne!(to, self.me, "the own acceptor gets the values");
                assert!(self.disk.promised.contains(ballot), "no durable promise of {ballot}");
                assert!(held.iter().all(|span| span.ballot < *ballot), "{held:?}");
            }
            Message::Proposer(ToProposer::AcceptedValues(sent)) => {
                assert!(Some(sent.ballot) <= durable.promised(), "not promised: {sent:?}");
                for run in &sent.accepted {
                    for (slot, value) in (run.first.0..).map(Slot).zip(run.values.to_vec()) {
                        let held = self.disk.accepted.get(&(slot, run.ballot));
                        assert_eq!(held, Some(&value), "slot {slot} was not accepted so");
                    }
                }
            }
            Message::Learner(ToLearner::Accepted { ballot, slots, .. }) => {
                assert_eq!(ballot.owner(self.n), to, "an acceptance goes to the ballot's owner");
                for range in slots.ranges() {
                    for slot in range.iter() {
                        let held = self.disk.accepted.contains_key(&(slot, *ballot));
                        assert!(held, "the acceptance of slot {slot} at {ballot} is not durable");
                    }
                }
            }
            Message::Learner(ToLearner::Page { first, values }) => {
                let written = self.log.values.iter().skip(first.0 as usize).take(values.len());
                assert!(
                    values.to_vec().iter().eq(written),
                    "a page holds other values than the log"
                );
            }
            _ => {}
        }
    }

    fn look_at_answer(&self, to: Address, answer: &Answer) {
        if let Answer::Log(excerpt) = answer {
            let end = self.log.values.len() as u64;
            assert!(excerpt.applied.0 <= end && excerpt.slot >= excerpt.applied, "{answer:?}");
            assert!(excerpt.text.is_empty(), "this log has no text: {answer:?}");
        }
        if let Answer::Complete { session, seq, slot, .. } = answer {
            assert!(self.asked.contains(&(to, *session, *seq)), "{to:?} has not asked: {answer:?}");
            let held = self.log.values.get(slot.0 as usize);
            let is_it = |value: &Value| match value {
                Value::Command(command) => command.session == *session && command.seq == *seq,
                Value::Noop | Value::Change(_) => false,
            };
            assert!(held.is_some_and(is_it), "{answer:?}, but the slot holds {held:?}");
        }
    }
}
