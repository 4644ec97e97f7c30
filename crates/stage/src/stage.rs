//! A cluster that moves only when it is told to.
//!
//! The roles are the real ones, over the simulator's durable state. Between replicas
//! nothing arrives unless a command delivers it, and time stands still unless a command
//! moves it. Inside a replica hand-overs happen at once, unless a role is stalled.
//! Everything that happens passes the simulator's checker, too: a broken invariant is a
//! line of the output.

use super::history::{Event, History, Loss, Party, Said};
use super::node::Node;
use super::print;
use log::{LevelFilter, Log, Metadata, Record as LogRecord};
use multipaxos::message::{Answer, ClientMessage, Message, Request, ToProposer};
use multipaxos::paxos::client::{self, Client, Outcome};
use multipaxos::paxos::proposer::Proposer;
use multipaxos::paxos::{
    Envelope, Membership, Notice, Outbox, Role, Settings, Storage, acceptor, learner,
};
use multipaxos::types::{
    Address, Ballot, BootId, ClientId, DirectoryId, Line, ReplicaId, Slot, Time,
};
use simulator::checker::{Checker, Violation};
use simulator::node::{ROLES, RoleName};
use simulator::store::{Store, SyncFault};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How long a datagram takes where a command lets time pass by itself.
const LATENCY_US: u64 = 1_000;

/// How long nothing must have happened before `stabilize` is content.
const QUIET_US: u64 = 1_500_000;

/// How long `stabilize` waits for that.
pub(crate) const STABILIZE_US: u64 = 20_000_000;

/// A cluster that does so much at one moment spins, and is stopped.
const STEPS_MAX: u32 = 100_000;

/// Client k is answered at this port and k more.
const CLIENT_PORT: u16 = 1_000;

/// How a cluster is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) replicas: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) checkpoint_slots: u64,
    pub(crate) session_window_slots: u64,
    pub(crate) skip_slot: Option<Slot>,
    /// Warm-up is left to the script.
    pub(crate) by_hand: bool,
}

#[derive(Debug, Clone)]
enum Payload {
    Peer(Message),
    Call(ClientMessage),
    Answer(Answer),
}

impl Payload {
    /// What it says about slots and ballots.
    fn said(&self) -> Option<Said> {
        match self {
            Payload::Peer(message) => Said::by_peer(message),
            Payload::Call(message) => Said::by_client(message),
            Payload::Answer(answer) => Said::to_client(answer),
        }
    }

    fn text(&self) -> String {
        match self {
            Payload::Peer(message) => print::message(message),
            Payload::Call(message) => print::call(message),
            Payload::Answer(answer) => print::answer(answer),
        }
    }
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) id: String,
    pub(crate) from: Party,
    pub(crate) to: Party,
    payload: Payload,
    sent_at: Time,
    /// Arrives only when it is named.
    pub(crate) held: bool,
}

impl Pending {
    pub(crate) fn is_heartbeat(&self) -> bool {
        matches!(self.payload, Payload::Peer(Message::Heartbeat(_)))
    }

    /// The first word of what it says.
    pub(crate) fn kind(&self) -> String {
        self.payload.text().split_whitespace().next().unwrap_or_default().replace(':', "")
    }

    pub(crate) fn text(&self) -> String {
        let held = if self.held { " (held)" } else { "" };
        format!("{} {}->{} {}{held}", self.id, self.from, self.to, self.payload.text())
    }
}

/// How much of what happens is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loud {
    /// Messages too.
    All,
    /// What replicas save, apply, say in their logs, and answer.
    Events,
    /// Nothing but broken invariants.
    Nothing,
}

#[derive(Debug)]
struct Visitor {
    role: Client,
    fired_at: Option<Time>,
}

/// What some replica has called complete of a session.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Completed {
    /// How many lines.
    pub(crate) lines: u64,
    /// All of them stand below this slot.
    pub(crate) below: Slot,
}

/// Keeps what a client would show.
#[derive(Debug, Default)]
struct Shown(Vec<Outcome>);

impl Storage<Outcome> for Shown {
    fn append(&mut self, records: &mut Vec<Outcome>) -> std::io::Result<()> {
        self.0.append(records);
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The cluster.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) setup: Setup,
    pub(crate) loud: Loud,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Vec<Pending>,
    now: Time,
    /// What the printed time counts from.
    epoch: Time,
    /// Whether lines carry the time.
    clocked: bool,
    latency_us: u64,
    lines: Vec<String>,
    /// When something other than a heartbeat last happened.
    stirred_at: Time,
    clients: BTreeMap<u64, Visitor>,
    /// Each client's sessions.
    sessions: BTreeMap<u64, BTreeMap<u64, Completed>>,
    counters: BTreeMap<char, u32>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    generations: Vec<u64>,
    checker: Checker,
    /// What happened, for `why`.
    pub(crate) history: History,
}

impl Stage {
    pub(crate) fn new(setup: Setup) -> Self {
        capture_logs();
        let n = setup.replicas;
        let settings = |id| Settings {
            id,
            n,
            boot: BootId(0),
            payload_bytes: setup.payload_bytes,
            heartbeat_us: 50_000,
            election_min_us: 300_000,
            election_max_us: 600_000,
            checkpoint_slots: setup.checkpoint_slots,
            skip_slot: setup.skip_slot,
        };
        let node = |index: usize| Node {
            id: ReplicaId(index as u8),
            settings: settings(ReplicaId(index as u8)),
            store: Store::records(directory_id(index, 1), setup.session_window_slots),
            life: None,
            lives: 0,
            ahead_us: 0,
            draw: 300_000 / n as u64 * index as u64,
            stalled: Vec::new(),
            chat_log: Vec::new(),
        };
        let mut stage = Stage {
            setup,
            loud: Loud::Nothing,
            nodes: (0..n).map(node).collect(),
            network: Vec::new(),
            now: Time(0),
            epoch: Time(0),
            clocked: false,
            latency_us: 0,
            lines: Vec::new(),
            stirred_at: Time(0),
            clients: BTreeMap::new(),
            sessions: BTreeMap::new(),
            counters: BTreeMap::new(),
            cut: BTreeSet::new(),
            generations: vec![1; n],
            checker: Checker::new(n, setup.session_window_slots),
            history: History::new(n),
        };
        if !setup.by_hand {
            for index in 0..n {
                stage.begin(ReplicaId(index as u8));
            }
            stage.pass(200_000, false);
            assert!(stage.nodes.iter().all(Node::is_started), "the cluster warms up");
        }
        stage.network.clear();
        stage.counters.clear();
        stage.history.forget_messages();
        stage.latency_us = LATENCY_US;
        stage.epoch = stage.now;
        stage.loud = Loud::All;
        stage
    }

    /// What was printed since the last look.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    // --- printing ------------------------------------------------------------------

    pub(crate) fn say(&mut self, line: String) {
        let ms = self.now.since_us(self.epoch) / 1_000;
        self.lines.push(if self.clocked { format!("{ms:>5} ms  {line}") } else { line });
    }

    /// Keeps what happened.
    fn record(&mut self, event: Event) {
        let ms = self.now.since_us(self.epoch) / 1_000;
        self.history.push(ms, event);
    }

    fn event(&mut self, line: String) {
        self.stirred_at = self.now;
        if self.loud != Loud::Nothing {
            self.say(line);
        }
    }

    fn note_message(&mut self, line: String) {
        self.stirred_at = self.now;
        if self.loud == Loud::All {
            self.say(line);
        }
    }

    fn check(&mut self, checked: Result<(), Violation>) {
        if let Err(violation) = checked {
            let slot = violation.slot.map_or(String::new(), |slot| format!(" (slot {slot})"));
            self.say(format!("VIOLATION {}{slot}", violation.what));
        }
    }

    // --- replicas ------------------------------------------------------------------

    fn node(&mut self, id: ReplicaId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    pub(crate) fn begin(&mut self, id: ReplicaId) {
        let now = self.now;
        self.node(id).begin(now);
        let lives = self.node(id).lives;
        if lives > 1 {
            self.event(format!("{id} begins again"));
        }
        self.fire(id, RoleName::Bootstrap);
        self.settle(id);
    }

    pub(crate) fn end(&mut self, id: ReplicaId) {
        self.end_by(id, false);
    }

    fn end_by(&mut self, id: ReplicaId, cannot_sync: bool) {
        self.node(id).end();
        self.record(Event::Ended { replica: id, cannot_sync });
        self.event(format!("{id} is down"));
    }

    /// Whether its process runs.
    pub(crate) fn is_up(&self, id: ReplicaId) -> bool {
        self.nodes[id.index()].life.is_some()
    }

    /// Whether only this replica's disk is still what the cluster began with.
    pub(crate) fn is_last_member(&self, id: ReplicaId) -> bool {
        let first = |index: usize| self.generations[index] == 1;
        first(id.index()) && (0..self.nodes.len()).filter(|index| first(*index)).count() == 1
    }

    /// The disk is lost; the process, if it ran, with it.
    pub(crate) fn wipe(&mut self, id: ReplicaId) {
        if self.is_up(id) {
            self.end(id);
        }
        self.generations[id.index()] += 1;
        let directory = directory_id(id.index(), self.generations[id.index()]);
        let window = self.setup.session_window_slots;
        self.nodes[id.index()].store = Store::records(directory, window);
        self.nodes[id.index()].chat_log.clear();
        self.checker.wiped(id);
        self.record(Event::Wiped { replica: id });
        self.event(format!("{id} has an empty disk, {}", print::directory(directory)));
    }

    pub(crate) fn fail_sync(&mut self, id: ReplicaId, kept: bool) {
        let fault = if kept { SyncFault::Kept } else { SyncFault::Lost };
        self.node(id).store.acceptor.fault = Some(fault);
    }

    fn start(&mut self, id: ReplicaId, membership: Membership) {
        let voter = membership.is_voter(id);
        let fresh = membership.fresh;
        let now = self.now;
        self.node(id).start(membership, now);
        let applied = self.applied(id);
        let node = &self.nodes[id.index()];
        let recovered = self.checker.recovered(id, node.store.acceptor.durable());
        self.check(recovered);
        self.checker.restarted(id, applied);
        self.record(Event::Began { replica: id, votes: voter, applied });
        let how = if fresh { "has warmed up" } else { "remembers its cluster" };
        let vote = if voter { "" } else { ", and has no vote in it" };
        self.event(format!("{id} {how}{vote}"));
        for role in [RoleName::Acceptor, RoleName::Proposer, RoleName::Learner] {
            self.fire(id, role);
        }
    }

    /// Hand-overs inside a replica, until nothing more happens there.
    pub(crate) fn settle(&mut self, id: ReplicaId) {
        for _ in 0..STEPS_MAX {
            let Some(role) = self.node(id).busy_role() else { return };
            self.turn(id, role, false);
        }
        panic!("replica {id} spins");
    }

    /// A role looks at its timers.
    fn fire(&mut self, id: ReplicaId, role: RoleName) -> Vec<Message> {
        self.turn(id, role, true)
    }

    /// One turn; returns what left for peers.
    fn turn(&mut self, id: ReplicaId, role: RoleName, timers: bool) -> Vec<Message> {
        let now = self.now;
        let led = self.leading(id);
        let turned = self.node(id).turn(role, now, timers);
        for line in take_logs() {
            self.event(line);
        }
        let lives = self.nodes[id.index()].lives;
        for record in std::mem::take(&mut self.node(id).store.acceptor.observed) {
            self.event(format!("{id} {}", print::saved(&record)));
            match &record {
                acceptor::Record::Promise(ballot) => {
                    self.record(Event::Promised { replica: id, ballot: *ballot });
                }
                acceptor::Record::Accept { ballot, first, values } => {
                    let (ballot, first, values) = (*ballot, *first, values.clone());
                    self.record(Event::Accepted { replica: id, ballot, first, values });
                }
                acceptor::Record::Trim(_) => {}
            }
            let checked = self.checker.durable(id, lives, &record);
            self.check(checked);
        }
        for record in std::mem::take(&mut self.node(id).store.learner.observed) {
            for event in print::learned(&record) {
                self.event(format!("{id} {event}"));
            }
            self.node(id).chat_log.extend(print::chat_lines(&record));
            if let learner::Record::Applied { first, values, client_seqs } = &record {
                let effects = client_seqs.iter().map(Option::is_some).collect();
                let (first, values) = (*first, values.clone());
                self.record(Event::Applied { replica: id, first, values, effects });
            }
            let checked = self.checker.applied(id, &record);
            self.check(checked);
        }
        match self.leading(id) {
            leads if leads == led => {}
            Some(ballot) => self.record(Event::Leads { replica: id, ballot }),
            None => self.record(Event::Resigned { replica: id }),
        }
        match turned {
            Ok(envelopes) => self.post(id, envelopes),
            Err(error) => {
                self.event(format!("{id} cannot sync ({error}): nothing leaves, it ends"));
                self.end_by(id, true);
                Vec::new()
            }
        }
    }

    fn leading(&self, id: ReplicaId) -> Option<Ballot> {
        self.nodes[id.index()].proposer().and_then(Proposer::leading)
    }

    fn post(&mut self, id: ReplicaId, envelopes: Vec<Envelope>) -> Vec<Message> {
        let lives = self.nodes[id.index()].lives;
        let mut sent = Vec::new();
        for envelope in envelopes {
            match envelope {
                Envelope::Peer { to, message } if to == id => {
                    if let Some(said) = Said::by_peer(&message) {
                        self.record(Event::Told { replica: id, said });
                    }
                    self.node(id).accept(id, message);
                }
                Envelope::Peer { to, message } => {
                    let checked = self.checker.leaves(id, lives, &message);
                    self.check(checked);
                    sent.push(message.clone());
                    self.send(Party::Replica(id), Party::Replica(to), Payload::Peer(message));
                }
                Envelope::Answers { to, answers } => {
                    let client = client_of(to);
                    for answer in answers {
                        let checked = self.checker.answers(ClientId(client), &answer);
                        self.check(checked);
                        self.answer(id, client, answer);
                    }
                }
                Envelope::Notice(Notice::Start(membership)) => self.start(id, membership),
                Envelope::Notice(notice) => self.node(id).notify(notice),
                Envelope::Call { .. } => unreachable!("replicas do not call"),
            }
        }
        sent
    }

    /// To a client on the stage; a hand-made request's answer is only shown.
    fn answer(&mut self, from: ReplicaId, client: u64, answer: Answer) {
        let told = match answer {
            Answer::Complete { session, seq, slot, .. } => {
                let known = self.sessions.entry(client).or_default().entry(session.id).or_default();
                known.lines = known.lines.max(seq + 1);
                known.below = known.below.max(slot.next());
                Some(slot)
            }
            _ => None,
        };
        if self.clients.contains_key(&client) {
            let to = Party::Client(client);
            let id = Some(self.send(Party::Replica(from), to, Payload::Answer(answer)));
            if let Some(slot) = told {
                self.record(Event::Answered { replica: from, client, id, slot });
            }
            return;
        }
        if let Some(slot) = told {
            self.record(Event::Answered { replica: from, client, id: None, slot });
        }
        self.event(format!("{from} answers c{client}: {}", print::answer(&answer)));
        if let Answer::Complete { session, seq, slot, client_seq } = answer {
            let checked = self.checker.completed(session, seq, slot, client_seq);
            self.check(checked);
        }
    }

    // --- the network ---------------------------------------------------------------

    fn next_id(&mut self, letter: char) -> String {
        let counter = self.counters.entry(letter).or_default();
        *counter += 1;
        format!("{letter}{counter}")
    }

    /// Sends a message; returns its id.
    fn send(&mut self, from: Party, to: Party, payload: Payload) -> String {
        let letter = match &payload {
            Payload::Peer(message) => print::letter(message),
            Payload::Call(_) => 'r',
            Payload::Answer(_) => 'c',
        };
        let cut = match (from, to) {
            (Party::Replica(from), Party::Replica(to)) => self.cut.contains(&(from, to)),
            _ => false,
        };
        let id = self.next_id(letter);
        if let Some(said) = payload.said() {
            self.record(Event::Sent { id: id.clone(), from, to, said });
        }
        let pending = Pending { id, from, to, payload, sent_at: self.now, held: false };
        if pending.is_heartbeat() {
            // Only the newest of two is of any use.
            let old = |other: &Pending| {
                other.is_heartbeat() && !other.held && (other.from, other.to) == (from, to)
            };
            let overtaken = self.network.extract_if(.., |other| old(other)).map(|old| old.id);
            for id in overtaken.collect::<Vec<_>>() {
                self.record(Event::Lost { id, loss: Loss::Overtaken });
            }
        } else {
            let lost = if cut { " (lost: the link is cut)" } else { "" };
            self.note_message(format!("{}{lost}", pending.text()));
        }
        let id = pending.id.clone();
        if cut {
            self.record(Event::Lost { id: id.clone(), loss: Loss::LinkIsCut });
        } else {
            self.network.push(pending);
        }
        id
    }

    /// Sends again what is already on its way.
    pub(crate) fn duplicate(&mut self, id: &str) {
        let Some(original) = self.network.iter().find(|pending| pending.id == id).cloned() else {
            return;
        };
        let letter = id.chars().next().unwrap_or('?');
        let copy = Pending { id: self.next_id(letter), held: false, ..original };
        if let Some(said) = copy.payload.said() {
            let (id, from, to) = (copy.id.clone(), copy.from, copy.to);
            self.record(Event::Sent { id, from, to, said });
        }
        self.note_message(format!("{} (the same as {id})", copy.text()));
        self.network.push(copy);
    }

    /// A message is held back until it is named.
    pub(crate) fn hold(&mut self, id: &str) {
        for pending in self.network.iter_mut().filter(|pending| pending.id == id) {
            pending.held = true;
        }
        self.record(Event::Held { id: id.to_owned() });
    }

    /// A message is lost.
    pub(crate) fn drop_message(&mut self, id: &str) {
        self.network.retain(|pending| pending.id != id);
        self.record(Event::Lost { id: id.to_owned(), loss: Loss::Dropped });
    }

    /// A message arrives.
    pub(crate) fn deliver(&mut self, id: &str) {
        let Some(index) = self.network.iter().position(|pending| pending.id == id) else { return };
        let Pending { from, to, payload, .. } = self.network.remove(index);
        match (to, payload) {
            (Party::Replica(to), payload) => {
                let heard = match (from, payload) {
                    (Party::Replica(from), Payload::Peer(message)) => {
                        self.node(to).accept(from, message)
                    }
                    (Party::Client(client), Payload::Call(message)) => {
                        self.node(to).accept_client(address_of(client), message)
                    }
                    _ => unreachable!("no such message"),
                };
                if heard {
                    self.record(Event::Arrived { id: id.to_owned() });
                } else {
                    self.record(Event::Lost { id: id.to_owned(), loss: Loss::NobodyHears });
                    if !id.starts_with('h') {
                        self.note_message(format!("{id} is lost: nobody hears it at {to}"));
                    }
                }
                self.settle(to);
            }
            (Party::Client(client), Payload::Answer(answer)) => {
                let Party::Replica(from) = from else { unreachable!("clients do not answer") };
                self.record(Event::Arrived { id: id.to_owned() });
                if let Answer::Complete { session, seq, slot, client_seq } = answer {
                    let checked = self.checker.completed(session, seq, slot, client_seq);
                    self.check(checked);
                }
                self.turn_client(client, Some(client::Input::Answer(from, answer)));
            }
            _ => unreachable!("no such message"),
        }
    }

    /// One direction of a link is cut, or whole again.
    pub(crate) fn cut(&mut self, from: ReplicaId, to: ReplicaId, cut: bool) {
        if cut {
            self.cut.insert((from, to));
        } else {
            self.cut.remove(&(from, to));
        }
    }

    // --- clients -------------------------------------------------------------------

    /// A request made by hand, which arrives at once.
    pub(crate) fn request(&mut self, to: ReplicaId, request: Request) {
        let command = request.command();
        let client = command.session.client.0;
        self.sessions.entry(client).or_default().entry(command.session.id).or_default();
        self.checker.submitted(&command);
        let message = ClientMessage::Request(request);
        if self.node(to).accept_client(address_of(client), message) {
            self.record(Event::Asked { replica: to, command });
            self.settle(to);
        } else {
            self.event(format!("nobody hears it at {to}"));
        }
    }

    /// A client begins, or begins again.
    pub(crate) fn add_client(&mut self, id: u64) {
        let role = Client::new(ClientId(id), self.setup.replicas, None);
        self.clients.insert(id, Visitor { role, fired_at: None });
    }

    pub(crate) fn submit(&mut self, id: u64, line: Line) -> Result<(), String> {
        let visitor = self
            .clients
            .get_mut(&id)
            .ok_or_else(|| format!("there is no client {id}, `client {id}` begins one"))?;
        if visitor.role.is_busy() {
            return Err(format!("client {id} has a line in flight, which comes first"));
        }
        let session = self.new_session(id);
        self.turn_client(id, Some(client::Input::Submit { line, session }));
        Ok(())
    }

    /// A number that no session of this client has had.
    pub(crate) fn new_session(&mut self, client: u64) -> u64 {
        let sessions = self.sessions.entry(client).or_default();
        let session = sessions.last_key_value().map_or(1, |(last, _)| last + 1);
        sessions.insert(session, Completed::default());
        session
    }

    /// What some replica has called complete of a session.
    pub(crate) fn completed(&self, client: u64, session: u64) -> Completed {
        let sessions = self.sessions.get(&client);
        sessions.and_then(|sessions| sessions.get(&session)).copied().unwrap_or_default()
    }

    /// Below which slot a replica has applied everything.
    pub(crate) fn applied(&self, id: ReplicaId) -> Slot {
        self.nodes[id.index()].learner().map_or(Slot::ZERO, |learner| learner.applied())
    }

    fn turn_client(&mut self, id: u64, input: Option<client::Input>) {
        let now = self.now;
        let Some(visitor) = self.clients.get_mut(&id) else { return };
        let mut out = Outbox::new();
        match input {
            Some(input) => visitor.role.handle(now, 0, input, &mut out),
            None => {
                visitor.fired_at = Some(now);
                visitor.role.handle_timeout(now, 0, &mut out);
            }
        }
        visitor.role.flush(now, &mut out);
        let mut shown = Shown::default();
        let envelopes = out.commit(&mut shown).expect("showing never fails");
        for outcome in shown.0 {
            self.event(format!("c{id}: {}", print::outcome(&outcome)));
        }
        for envelope in envelopes {
            let Envelope::Call { to, message } = envelope else { continue };
            if let ClientMessage::Request(request) = &message {
                self.checker.submitted(&request.command());
            }
            self.send(Party::Client(id), Party::Replica(to), Payload::Call(message));
        }
    }

    // --- roles -----------------------------------------------------------------------

    /// A role takes no turn from here on.
    pub(crate) fn stall(&mut self, id: ReplicaId, role: RoleName) {
        self.node(id).stalled.push(role);
        self.record(Event::Stalled { replica: id, role: print::role(role).into() });
    }

    /// A role takes turns again.
    pub(crate) fn unstall(&mut self, id: ReplicaId, role: RoleName) {
        self.node(id).stalled.retain(|stalled| *stalled != role);
        self.record(Event::Unstalled { replica: id, role: print::role(role).into() });
        self.settle(id);
    }

    // --- time ----------------------------------------------------------------------

    /// The earliest timer at `upto` or before.
    fn next_timer(&mut self, upto: Time) -> Option<(Time, Party, RoleName)> {
        let mut timers: Vec<(Time, Party, RoleName)> = Vec::new();
        for index in 0..self.nodes.len() {
            let id = ReplicaId(index as u8);
            for role in ROLES {
                if let Some(at) = self.nodes[index].deadline(role) {
                    timers.push((at, Party::Replica(id), role));
                }
            }
        }
        for (id, visitor) in &self.clients {
            if let Some(at) = visitor.role.deadline() {
                let at = visitor.fired_at.map_or(at, |fired| at.max(fired.plus_us(1)));
                timers.push((at, Party::Client(*id), RoleName::Bootstrap));
            }
        }
        timers
            .into_iter()
            .filter(|(at, _, _)| *at <= upto)
            .min_by_key(|(at, party, _)| (*at, *party))
    }

    /// The first message that is due at `upto` or before.
    fn next_arrival(&self, upto: Time) -> Option<(Time, String)> {
        let due = self.network.iter().filter(|pending| !pending.held);
        due.map(|pending| (pending.sent_at.plus_us(self.latency_us), pending.id.clone()))
            .filter(|(at, _)| *at <= upto)
            .min_by_key(|(at, _)| *at)
    }

    fn fire_timer(&mut self, party: Party, role: RoleName) {
        match party {
            Party::Replica(id) => {
                self.fire(id, role);
                self.settle(id);
            }
            Party::Client(id) => self.turn_client(id, None),
        }
    }

    /// Time passes, timers fire; what they send waits to be delivered.
    pub(crate) fn tick(&mut self, us: u64) {
        let end = self.now.plus_us(us);
        self.clocked = true;
        let mut steps = 0;
        while let Some((at, party, role)) = self.next_timer(end) {
            steps = if at > self.now { 0 } else { steps + 1 };
            assert!(steps < STEPS_MAX, "the cluster spins");
            self.now = self.now.max(at);
            self.fire_timer(party, role);
        }
        self.now = end;
        self.clocked = false;
    }

    /// Time passes, timers fire, messages arrive; until nothing happens any more, if
    /// that is asked for. Returns whether it became quiet.
    pub(crate) fn pass(&mut self, us: u64, until_quiet: bool) -> bool {
        let end = self.now.plus_us(us);
        self.stirred_at = self.now;
        self.clocked = self.loud != Loud::Nothing;
        let mut steps = 0;
        let quiet = loop {
            let waits = self.network.iter().any(|pending| !pending.held && !pending.is_heartbeat());
            if until_quiet && !waits && self.now.since_us(self.stirred_at) >= QUIET_US {
                break true;
            }
            let arrival = self.next_arrival(end);
            let before = arrival.as_ref().map_or(end, |(at, _)| *at);
            let timer = self.next_timer(before);
            let next = timer.as_ref().map(|(at, ..)| *at).or(arrival.as_ref().map(|(at, _)| *at));
            steps = if next > Some(self.now) { 0 } else { steps + 1 };
            assert!(steps < STEPS_MAX, "the cluster spins");
            if let Some((at, party, role)) = timer {
                self.now = self.now.max(at);
                self.fire_timer(party, role);
            } else if let Some((at, id)) = arrival {
                self.now = self.now.max(at);
                self.deliver(&id);
            } else {
                self.now = end;
                break false;
            }
        };
        self.clocked = false;
        quiet
    }

    /// Messages arrive until none is on its way; no time passes.
    pub(crate) fn settle_network(&mut self) {
        for _ in 0..STEPS_MAX {
            let next = self.network.iter().find(|pending| !pending.held);
            let Some(id) = next.map(|pending| pending.id.clone()) else { return };
            self.deliver(&id);
        }
        panic!("the network never settles");
    }

    /// Replica `id` loses patience, its clock put forward by hand, and is granted the
    /// pre-votes it asks for: phase 1 begins.
    pub(crate) fn campaign(&mut self, id: ReplicaId) -> Result<(), String> {
        let loud = std::mem::replace(&mut self.loud, Loud::Nothing);
        for _ in 0..10_000 {
            let now = self.now;
            let Some(deadline) = self.node(id).deadline(RoleName::Proposer) else {
                self.loud = loud;
                return Err(format!("replica {id} is down, or its proposer is stalled"));
            };
            self.node(id).ahead_us += deadline.since_us(now);
            let sent = self.fire(id, RoleName::Proposer);
            let Some(round) = sent.iter().find_map(|message| match message {
                Message::Proposer(ToProposer::PreVote { round, .. }) => Some(*round),
                _ => None,
            }) else {
                self.settle(id);
                continue;
            };
            let me = Party::Replica(id);
            self.network.retain(|pending| !(pending.from == me && pending.id.starts_with('e')));
            self.loud = loud;
            let members = self.node(id).store.bootstrap.started().cloned();
            let members = members.ok_or_else(|| format!("replica {id} has not started"))?;
            for (peer, directory) in (0..).map(ReplicaId).zip(members) {
                if peer != id {
                    let reply = ToProposer::PreVoteReply {
                        round,
                        granted: true,
                        promised: None,
                        directory,
                    };
                    self.node(id).accept(peer, Message::Proposer(reply));
                }
            }
            self.settle(id);
            return Ok(());
        }
        self.loud = loud;
        Err(format!("replica {id} does not lose patience: it leads, or has no vote"))
    }

    // --- what there is to see ------------------------------------------------------

    pub(crate) fn state(&self, id: ReplicaId) -> String {
        let node = &self.nodes[id.index()];
        let (Some(acceptor), Some(proposer), Some(learner)) =
            (node.acceptor(), node.proposer(), node.learner())
        else {
            let what = if node.life.is_some() { "warms up" } else { "is down" };
            let disk = print::acceptor(node.store.acceptor.durable());
            return format!("{id} {what}; on disk: {disk}");
        };
        let sessions = learner.chat().sessions();
        format!(
            "{id} {}; {}; applied below {}; sessions: {sessions}",
            proposer.in_words(),
            print::acceptor(acceptor.state()),
            learner.applied()
        )
    }

    /// Chat logs of the replicas that are up; equal ones together.
    pub(crate) fn show_logs(&mut self) {
        let mut groups: Vec<(Vec<ReplicaId>, Vec<String>)> = Vec::new();
        for node in self.nodes.iter().filter(|node| node.life.is_some()) {
            match groups.iter_mut().find(|(_, log)| *log == node.chat_log) {
                Some((ids, _)) => ids.push(node.id),
                None => groups.push((vec![node.id], node.chat_log.clone())),
            }
        }
        for (ids, log) in groups {
            let ids: Vec<String> = ids.iter().map(ReplicaId::to_string).collect();
            self.say(format!("chat log of {}:", ids.join(" ")));
            match log.as_slice() {
                [] => self.say("  (empty)".into()),
                log => log.iter().for_each(|line| self.lines.push(format!("  {line}"))),
            }
        }
    }
}

fn directory_id(index: usize, generation: u64) -> DirectoryId {
    DirectoryId(100 * generation + index as u64)
}

fn address_of(client: u64) -> Address {
    let port = CLIENT_PORT + u16::try_from(client).expect("client ids here are small");
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port))
}

fn client_of(address: Address) -> u64 {
    u64::from(address.0.port() - CLIENT_PORT)
}

// --- what replicas say in their logs ---------------------------------------------------

thread_local! {
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what is logged on each thread for the script that runs there.
#[derive(Debug)]
struct Capture;

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &LogRecord<'_>) {
        LOGGED.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

fn capture_logs() {
    // Another thread may have been first.
    let _ = log::set_logger(&Capture);
    log::set_max_level(LevelFilter::Debug);
    take_logs();
}

/// Log lines since the last look, as short as the rest.
fn take_logs() -> Vec<String> {
    let lines = LOGGED.with_borrow_mut(std::mem::take);
    let short = |line: String| match line.strip_prefix("replica ") {
        Some(rest) => rest.replacen(": ", " ", 1),
        None => line,
    };
    lines.into_iter().map(short).collect()
}
