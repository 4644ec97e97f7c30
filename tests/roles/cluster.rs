//! Whole clusters in virtual time: every role of every replica and the clients,
//! joined by one queue that loses, repeats, delays and reorders by a seed.
//!
//! Faults strike until [`CALM_US`]; afterwards everything must come to an end.

use crate::common::{Disk, Log, Seat, address, membership, settings};
use fastrand::Rng;
use multipaxos::message::{Answer, ClientMessage, Message};
use multipaxos::paxos::acceptor::{self, Acceptor};
use multipaxos::paxos::client::{self, Client, Outcome};
use multipaxos::paxos::learner::{self, Learner};
use multipaxos::paxos::proposer::{self, Proposer};
use multipaxos::paxos::{Envelope, NoStorage, Notice, Role, Storage};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{
    Address, Ballot, BootId, ClientId, Line, ReplicaId, Session, Slot, Time, Value,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;

/// When faults end.
const CALM_US: u64 = 4_000_000;

/// When everything must be complete and equal.
const END_US: u64 = 40_000_000;

/// How long a message between two roles of one replica takes.
const INSIDE_US: u64 = 20;

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    loss_percent: u64,
    repeat_percent: u64,
    /// One message in twenty is as late as this.
    late_us: u64,
    /// How many replicas die for good.
    deaths: usize,
    /// How many crash and come back with what they had synced.
    restarts: usize,
    /// How often some links are cut, each for a while.
    cuts: usize,
    skip_slot: Option<u64>,
    /// Leaders are suspected so soon that they change all the time.
    hasty: bool,
    /// From half a second on, and for good, links exist only between these.
    links: Option<&'static [(usize, usize)]>,
}

#[derive(Debug, Clone)]
enum Event {
    Acceptor(usize, acceptor::Input),
    Proposer(usize, proposer::Input),
    Learner(usize, learner::Input),
    Client(usize, client::Input),
    Wake(Target),
    Crash(usize, bool),
    Restart(usize),
    Cut(usize, usize, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Acceptor(usize),
    Proposer(usize),
    Learner(usize),
    Client(usize),
}

struct Node {
    acceptor: Seat<Acceptor, Disk>,
    proposer: Seat<Proposer, NoStorage>,
    learner: Seat<Learner, Log>,
}

/// Remembers what became of a client's lines.
#[derive(Default)]
struct Outcomes(Vec<Outcome>);

impl Storage<Outcome> for Outcomes {
    fn append(&mut self, records: &mut Vec<Outcome>) -> io::Result<()> {
        self.0.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line: when it was submitted, and when and where it was complete.
struct Sent {
    line: String,
    at: Time,
    complete: Option<(Time, u64, Slot)>,
}

struct Patron {
    seat: Seat<Client, Outcomes>,
    sent: Vec<Sent>,
    lines: usize,
}

struct Cluster {
    n: usize,
    faults: Faults,
    payload_bytes: usize,
    now: Time,
    rng: Rng,
    order: u64,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Event>,
    scheduled: BTreeMap<Target, Time>,
    nodes: Vec<Option<Node>>,
    /// What replicas that are down have left.
    remains: Vec<Option<(Disk, Log)>>,
    patrons: Vec<Patron>,
    cut: Vec<Vec<bool>>,
    votes: BTreeMap<(Slot, Ballot), (Value, ReplicaSet)>,
    chosen: BTreeMap<Slot, Value>,
}

impl Cluster {
    fn new(n: usize, clients: usize, lines: usize, faults: Faults, seed: u64) -> Self {
        let mut cluster = Cluster {
            n,
            faults,
            // Small ones make promises and pages of several parts.
            payload_bytes: if seed.is_multiple_of(2) { 1_200 } else { 300 },
            now: Time(0),
            rng: Rng::with_seed(seed),
            order: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            scheduled: BTreeMap::new(),
            nodes: (0..n).map(|_| None).collect(),
            remains: (0..n).map(|_| None).collect(),
            patrons: Vec::new(),
            cut: vec![vec![false; n]; n],
            votes: BTreeMap::new(),
            chosen: BTreeMap::new(),
        };
        for id in 0..n {
            cluster.build(id, true, Disk::default(), Log::default());
        }
        for id in 0..clients {
            let client = Client::new(ClientId(id as u64), n, None);
            let seat = Seat::new(client, Outcomes::default());
            cluster.patrons.push(Patron { seat, sent: Vec::new(), lines });
            cluster.submit(id);
        }
        cluster.plan_faults();
        cluster
    }

    /// Builds a replica from what its disk holds.
    fn build(&mut self, id: usize, fresh: bool, disk: Disk, log: Log) {
        let replica = ReplicaId(id as u8);
        let skip_slot = self.faults.skip_slot.map(Slot);
        let boot = BootId(self.rng.u64(1..));
        let settings = settings(self.n, replica);
        let payload_bytes = self.payload_bytes;
        let settings = multipaxos::paxos::Settings { boot, skip_slot, payload_bytes, ..settings };
        let settings = if self.faults.hasty && self.now < Time(CALM_US) {
            let heartbeat_us = 5_000;
            let (election_min_us, election_max_us) = (12_000, 40_000);
            multipaxos::paxos::Settings {
                heartbeat_us,
                election_min_us,
                election_max_us,
                ..settings
            }
        } else {
            settings
        };
        let membership = multipaxos::paxos::Membership { fresh, ..membership(self.n, replica) };
        let state = disk.memory.state().clone();
        let acceptor = Acceptor::new(settings, membership.clone(), state);
        let draw = self.rng.u64(..);
        let proposer = Proposer::new(settings, membership.clone(), self.now, draw);
        let learner = Learner::new(settings, membership);
        let mut node = Node {
            acceptor: Seat::new(acceptor, disk),
            proposer: Seat::new(proposer, NoStorage),
            learner: Seat::new(learner, Log::default()),
        };
        node.learner.now = self.now;
        let page = multipaxos::message::ToLearner::Page { first: Slot(0), values: log.values() };
        node.learner.handle(learner::Input::Peer(replica, page));
        assert_eq!(node.learner.storage.records, log.records, "replay gives the same effects");
        self.nodes[id] = Some(node);
        for target in [Target::Proposer(id), Target::Learner(id)] {
            self.scheduled.remove(&target);
            self.push(self.now, Event::Wake(target));
        }
    }

    fn plan_faults(&mut self) {
        let Faults { deaths, restarts, cuts, .. } = self.faults;
        let mut victims: Vec<usize> = (0..self.n).collect();
        self.rng.shuffle(&mut victims);
        for &victim in &victims[..deaths] {
            let at = Time(self.rng.u64(0..CALM_US));
            self.push(at, Event::Crash(victim, false));
        }
        for _ in 0..restarts {
            let victim = victims[self.rng.usize(deaths..self.n)];
            let at = Time(self.rng.u64(0..CALM_US));
            self.push(at, Event::Crash(victim, true));
        }
        if let Some(links) = self.faults.links {
            let n = self.n;
            let all = (0..n).flat_map(|a| (0..n).map(move |b| (a, b)));
            for (a, b) in all.filter(|&(a, b)| !links.contains(&(a.min(b), a.max(b)))) {
                self.push(Time(500_000), Event::Cut(a, b, true));
            }
        }
        for _ in 0..cuts {
            let (from, to) = (self.rng.usize(..self.n), self.rng.usize(..self.n));
            let both = self.rng.bool();
            let at = self.rng.u64(0..CALM_US);
            let end = self.rng.u64(at..CALM_US);
            for (from, to) in [(from, to), (to, from)].into_iter().take(1 + usize::from(both)) {
                self.push(Time(at), Event::Cut(from, to, true));
                self.push(Time(end), Event::Cut(from, to, false));
            }
        }
    }

    fn push(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order)));
        self.events.insert(self.order, event);
    }

    /// Over the network: lost, late or repeated, as long as there are faults.
    fn post(&mut self, event: Event) {
        let faulty = self.now < Time(CALM_US);
        if faulty && self.rng.u64(..100) < self.faults.loss_percent {
            return;
        }
        let copies = if faulty && self.rng.u64(..100) < self.faults.repeat_percent { 2 } else { 1 };
        for _ in 0..copies {
            let mut late = self.rng.u64(50..2_000);
            if faulty && self.faults.late_us > 0 && self.rng.u64(..20) == 0 {
                late += self.rng.u64(..self.faults.late_us);
            }
            self.push(self.now.plus_us(late), event.clone());
        }
    }

    fn submit(&mut self, id: usize) {
        let patron = &mut self.patrons[id];
        if patron.sent.len() < patron.lines {
            let line = format!("line {} of client {id}", patron.sent.len());
            // Mostly at once; now and then so late that the session is closed.
            let pause = [0, 0, 10_000, 300_000, 1_200_000][self.rng.usize(..5)];
            let at = self.now.plus_us(pause);
            patron.sent.push(Sent { line: line.clone(), at, complete: None });
            let session = self.rng.u64(1..);
            let input = client::Input::Submit { line: Line::from(line), session };
            self.push(at, Event::Client(id, input));
        }
    }

    // --- the mail ------------------------------------------------------------

    fn deliver(&mut self, from: usize, envelopes: Vec<Envelope>) {
        let me = ReplicaId(from as u8);
        for envelope in envelopes {
            match envelope {
                Envelope::Peer { to, message } => {
                    let inside = to == me;
                    if !inside && self.cut[from][to.index()] {
                        continue;
                    }
                    let to = to.index();
                    for event in route(me, to, message) {
                        if inside {
                            self.push(self.now.plus_us(INSIDE_US), event);
                        } else {
                            self.post(event);
                        }
                    }
                }
                Envelope::Answer { to, answer } => {
                    let client = usize::from(to.0.port());
                    if let Answer::Complete { session, .. } = &answer {
                        assert_eq!(session.client.0, client as u64, "an answer goes astray");
                    }
                    self.post(Event::Client(client, client::Input::Answer(me, answer)));
                }
                Envelope::Notice(notice) => {
                    let event = match notice {
                        Notice::Acceptor(input) => Event::Acceptor(from, input),
                        Notice::Proposer(input) => Event::Proposer(from, input),
                        Notice::Learner(input) => Event::Learner(from, input),
                        Notice::Start(_) => unreachable!("nobody warms up here"),
                    };
                    self.push(self.now.plus_us(INSIDE_US), event);
                }
                Envelope::Call { .. } => unreachable!("a replica calls nobody"),
            }
        }
    }

    fn call(&mut self, client: usize, envelopes: Vec<Envelope>) {
        for envelope in envelopes {
            let Envelope::Call { to, message } = envelope else { unreachable!("clients call") };
            let origin: Address = address(client as u16);
            self.post(match message {
                ClientMessage::Hello => Event::Learner(to.index(), learner::Input::Hello(origin)),
                ClientMessage::Request(request) => {
                    Event::Proposer(to.index(), proposer::Input::Client(origin, request))
                }
            });
        }
    }

    /// Lets a role handle one event. One input in four waits for others before it is
    /// committed with them, or lost with them in a crash.
    fn handle(&mut self, event: Event) {
        let (now, draw) = (self.now, self.rng.u64(..));
        let bursts = self.rng.u64(..4) == 0;
        let commit_at = now.plus_us(self.rng.u64(INSIDE_US..1_000));
        let target = match event {
            Event::Acceptor(id, input) => {
                let Some(node) = &mut self.nodes[id] else { return };
                if bursts {
                    hold(&mut node.acceptor, now, draw, input);
                    return self.push(commit_at, Event::Wake(Target::Acceptor(id)));
                }
                let envelopes = run(&mut node.acceptor, now, draw, Some(input));
                self.note_votes(id);
                self.deliver(id, envelopes);
                Target::Acceptor(id)
            }
            Event::Proposer(id, input) => {
                let Some(node) = &mut self.nodes[id] else { return };
                if bursts {
                    hold(&mut node.proposer, now, draw, input);
                    return self.push(commit_at, Event::Wake(Target::Proposer(id)));
                }
                let envelopes = run(&mut node.proposer, now, draw, Some(input));
                self.deliver(id, envelopes);
                Target::Proposer(id)
            }
            Event::Learner(id, input) => {
                let Some(node) = &mut self.nodes[id] else { return };
                if bursts {
                    hold(&mut node.learner, now, draw, input);
                    return self.push(commit_at, Event::Wake(Target::Learner(id)));
                }
                let envelopes = run(&mut node.learner, now, draw, Some(input));
                self.deliver(id, envelopes);
                Target::Learner(id)
            }
            Event::Client(id, input) => {
                let envelopes = run(&mut self.patrons[id].seat, now, draw, Some(input));
                self.call(id, envelopes);
                self.note_outcomes(id);
                Target::Client(id)
            }
            Event::Wake(target) => {
                self.wake(target, draw);
                target
            }
            Event::Crash(id, comes_back) => {
                let Some(node) = self.nodes[id].take() else { return };
                self.remains[id] = Some((node.acceptor.storage, node.learner.storage));
                if comes_back {
                    let down = self.rng.u64(1_000..1_000_000);
                    self.push(self.now.plus_us(down), Event::Restart(id));
                }
                return;
            }
            Event::Restart(id) => {
                let Some((disk, log)) = self.remains[id].take() else { return };
                return self.build(id, false, disk, log);
            }
            Event::Cut(from, to, cut) => {
                self.cut[from][to] = cut;
                return;
            }
        };
        self.schedule(target);
    }

    fn wake(&mut self, target: Target, draw: u64) {
        let now = self.now;
        match target {
            Target::Client(id) => {
                let envelopes = run(&mut self.patrons[id].seat, now, draw, None);
                self.call(id, envelopes);
                self.note_outcomes(id);
            }
            Target::Acceptor(id) | Target::Proposer(id) | Target::Learner(id) => {
                let Some(node) = &mut self.nodes[id] else { return };
                let envelopes = match target {
                    Target::Acceptor(_) => run(&mut node.acceptor, now, draw, None),
                    Target::Proposer(_) => run(&mut node.proposer, now, draw, None),
                    _ => run(&mut node.learner, now, draw, None),
                };
                self.note_votes(id);
                self.deliver(id, envelopes);
            }
        }
    }

    fn schedule(&mut self, target: Target) {
        let deadline = match target {
            Target::Client(id) => self.patrons[id].seat.role.deadline(),
            Target::Acceptor(id) => {
                self.nodes[id].as_ref().and_then(|node| node.acceptor.role.deadline())
            }
            Target::Proposer(id) => {
                self.nodes[id].as_ref().and_then(|node| node.proposer.role.deadline())
            }
            Target::Learner(id) => {
                self.nodes[id].as_ref().and_then(|node| node.learner.role.deadline())
            }
        };
        let Some(deadline) = deadline else { return };
        // What is due already is looked at when the threads get to it.
        let deadline = deadline.max(self.now.plus_us(INSIDE_US));
        if self.scheduled.get(&target) != Some(&deadline) {
            self.scheduled.insert(target, deadline);
            self.push(deadline, Event::Wake(target));
        }
    }

    // --- what is watched -------------------------------------------------------

    /// A slot and ballot have one value, and a slot has one chosen value.
    fn note_votes(&mut self, id: usize) {
        let Some(node) = &mut self.nodes[id] else { return };
        for record in node.acceptor.storage.records.drain(..) {
            let acceptor::Record::Accept { ballot, first, values } = record else { continue };
            for (slot, value) in (first.0..).map(Slot).zip(values) {
                let vote = self.votes.entry((slot, ballot));
                let (held, voters) = vote.or_insert((value.clone(), ReplicaSet::EMPTY));
                assert_eq!(*held, value, "slot {slot} has two values at ballot {ballot}");
                voters.insert(ReplicaId(id as u8));
                if voters.is_quorum(self.n) {
                    let chosen = self.chosen.entry(slot).or_insert_with(|| value.clone());
                    assert_eq!(*chosen, value, "slot {slot} has two chosen values");
                }
            }
        }
    }

    fn note_outcomes(&mut self, id: usize) {
        let outcomes = std::mem::take(&mut self.patrons[id].seat.storage.0);
        for outcome in outcomes {
            match outcome {
                Outcome::Complete { seq, slot, .. } => {
                    let sent = self.patrons[id].sent.last_mut().expect("a line was sent");
                    sent.complete = Some((self.now, seq, slot));
                    self.submit(id);
                }
                Outcome::Waiting { .. } => {}
                other => panic!("client {id}: {other:?}"),
            }
        }
    }

    fn is_complete(&self) -> bool {
        let told = |patron: &Patron| {
            patron.sent.len() == patron.lines && patron.sent.iter().all(|s| s.complete.is_some())
        };
        self.patrons.iter().all(told)
    }

    /// The logs of those who can be reached.
    fn live_logs(&self) -> Vec<&Log> {
        let reached = |id: &usize| {
            let linked = |&(a, b): &(usize, usize)| a == *id || b == *id;
            self.faults.links.is_none_or(|links| links.iter().any(linked))
        };
        let nodes = (0..self.n).filter(reached).filter_map(|id| self.nodes[id].as_ref());
        nodes.map(|node| &node.learner.storage).collect()
    }

    fn is_settled(&self) -> bool {
        let logs = self.live_logs();
        self.is_complete() && logs.iter().all(|log| log.records.len() == logs[0].records.len())
    }

    /// Runs until all is complete and equal after the faults.
    fn run(&mut self) {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            assert!(at < Time(END_US), "{}", self.what_is_missing());
            let event = self.events.remove(&number).expect("every number has an event");
            self.handle(event);
            if at >= Time(CALM_US) && self.is_settled() {
                break;
            }
        }
        self.check();
    }

    fn what_is_missing(&self) -> String {
        let lengths: Vec<Option<usize>> = self
            .nodes
            .iter()
            .map(|node| node.as_ref().map(|node| node.learner.storage.records.len()))
            .collect();
        let leading: Vec<Option<Ballot>> = self
            .nodes
            .iter()
            .map(|node| node.as_ref().and_then(|node| node.proposer.role.leading()))
            .collect();
        let complete = self.patrons.iter().flat_map(|patron| &patron.sent);
        let complete = complete.filter(|sent| sent.complete.is_some()).count();
        format!("not settled in time: {complete} complete, logs {lengths:?}, leading {leading:?}")
    }

    fn check(&self) {
        let up = self.nodes.iter().flatten().map(|node| &node.learner.storage);
        let mut logs: Vec<&Log> = up.collect();
        logs.extend(self.remains.iter().flatten().map(|(_, log)| log));
        let longest = logs.iter().max_by_key(|log| log.records.len()).expect("somebody lives");
        for log in &logs {
            assert!(longest.records.starts_with(&log.records), "logs are prefixes of each other");
        }
        for record in &longest.records {
            assert_eq!(self.chosen.get(&record.slot), Some(&record.value), "applied is chosen");
        }
        let mut next: BTreeMap<ClientId, u64> = BTreeMap::new();
        let mut seen: BTreeMap<(Session, u64), Slot> = BTreeMap::new();
        let mut standing: BTreeMap<(usize, u64), (Slot, String)> = BTreeMap::new();
        for record in &longest.records {
            let (Value::Command(command), Some(seq)) = (&record.value, record.client_seq) else {
                continue;
            };
            let twice = seen.insert((command.session, command.seq), record.slot);
            assert_eq!(twice, None, "a command takes effect once");
            let client = command.session.client;
            let expected = next.entry(client).or_default();
            assert_eq!(seq, *expected, "client {client}'s lines are numbered in order");
            *expected += 1;
            standing.insert((client.0 as usize, seq), (record.slot, command.line.to_string()));
        }
        let mut all: Vec<(Time, Time, Slot)> = Vec::new();
        for (client, patron) in self.patrons.iter().enumerate() {
            for (number, sent) in patron.sent.iter().enumerate() {
                let (at, seq, slot) = sent.complete.expect("every line is complete");
                assert_eq!(seq, number as u64, "client {client}'s lines are in the order sent");
                assert_eq!(standing.get(&(client, seq)), Some(&(slot, sent.line.clone())));
                all.push((sent.at, at, slot));
            }
        }
        let total: usize = self.patrons.iter().map(|patron| patron.lines).sum();
        assert_eq!(standing.len(), total, "nothing stands that was not sent");
        all.sort_by_key(|(_, _, slot)| *slot);
        let mut latest = Time(0);
        for (sent_at, complete_at, slot) in all {
            latest = latest.max(sent_at);
            assert!(complete_at >= latest, "slot {slot} stands above a line that was sent later");
        }
    }
}

/// One input or, without one, the timer; one commit.
fn run<R: Role, S: Storage<R::Record>>(
    seat: &mut Seat<R, S>,
    now: Time,
    draw: u64,
    input: Option<R::Input>,
) -> Vec<Envelope> {
    seat.now = now;
    seat.draw = draw;
    match input {
        Some(input) => seat.handle(input),
        None if seat.role.deadline().is_some_and(|deadline| deadline <= now) => seat.wake(),
        None => seat.burst([]),
    }
}

/// An input that is handled, and not yet committed.
fn hold<R: Role, S>(seat: &mut Seat<R, S>, now: Time, draw: u64, input: R::Input) {
    seat.role.handle(now, draw, input, &mut seat.out);
}

fn route(from: ReplicaId, to: usize, message: Message) -> Vec<Event> {
    match message {
        Message::Replica(_) => vec![],
        Message::Acceptor(message) => {
            vec![Event::Acceptor(to, acceptor::Input::Peer(from, message))]
        }
        Message::Proposer(message) => {
            vec![Event::Proposer(to, proposer::Input::Peer(from, message))]
        }
        Message::Learner(message) => vec![Event::Learner(to, learner::Input::Peer(from, message))],
        Message::Heartbeat(heartbeat) => vec![
            Event::Proposer(to, proposer::Input::Heartbeat(from, heartbeat)),
            Event::Learner(to, learner::Input::Heartbeat(from, heartbeat)),
        ],
    }
}

/// Runs seeds, three clients with twelve lines each; a failure names the seed.
fn sweep(n: usize, seeds: std::ops::Range<u64>, faults: impl Fn(&mut Rng) -> Faults) {
    for seed in seeds {
        let faults = faults(&mut Rng::with_seed(seed));
        let run = || Cluster::new(n, 3, 12, faults, seed).run();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        assert!(ran.is_ok(), "repeat: sweep({n}, {seed}..{}, |_| {faults:?})", seed + 1);
    }
}

#[test]
fn a_cluster_without_faults_is_done_as_soon_as_it_may_be() {
    sweep(3, 0..20, |_| Faults::default());
    sweep(5, 0..20, |_| Faults::default());
}

fn any_network(draw: &mut Rng) -> Faults {
    Faults {
        loss_percent: draw.u64(0..40),
        repeat_percent: draw.u64(0..20),
        late_us: draw.u64(0..500_000),
        ..Faults::default()
    }
}

#[test]
fn a_network_that_loses_repeats_and_reorders_changes_no_log() {
    sweep(3, 1_000..1_100, any_network);
    sweep(5, 1_000..1_060, any_network);
}

#[test]
fn a_minority_may_die_at_any_moment() {
    sweep(3, 2_000..2_100, |draw| Faults { deaths: 1, ..any_network(draw) });
    sweep(5, 2_000..2_060, |draw| Faults { deaths: draw.usize(1..=2), ..any_network(draw) });
}

#[test]
fn replicas_that_crash_come_back_with_what_they_had_synced() {
    let faults = |draw: &mut Rng| Faults { restarts: draw.usize(1..8), ..any_network(draw) };
    sweep(3, 3_000..3_100, faults);
    sweep(5, 3_000..3_060, faults);
}

#[test]
fn links_that_are_cut_one_way_or_both_stop_nothing_for_ever() {
    let faults = |draw: &mut Rng| Faults { cuts: draw.usize(1..20), ..any_network(draw) };
    sweep(3, 4_000..4_100, faults);
    sweep(5, 4_000..4_060, faults);
}

#[test]
fn a_skipped_slot_is_filled_by_the_next_leader() {
    let faults = |draw: &mut Rng| {
        let skip_slot = Some(draw.u64(0..30));
        let deaths = draw.usize(0..=1);
        Faults { skip_slot, deaths, restarts: draw.usize(0..3), ..any_network(draw) }
    };
    sweep(3, 5_000..5_100, faults);
    sweep(5, 5_000..5_060, faults);
}

#[test]
fn a_replica_that_alone_reaches_all_others_leads_when_nobody_else_can() {
    let links = Some(&[(0, 2), (1, 2), (2, 3), (2, 4)][..]);
    sweep(5, 6_000..6_060, |_| Faults { links, ..Faults::default() });
    sweep(5, 6_100..6_160, |draw| Faults { links, ..any_network(draw) });
}

#[test]
fn a_replica_at_the_end_of_a_chain_deposes_nobody_and_follows() {
    let links = Some(&[(0, 1), (1, 2)][..]);
    sweep(3, 7_000..7_060, |_| Faults { links, ..Faults::default() });
    sweep(3, 7_100..7_160, |draw| Faults { links, ..any_network(draw) });
}

#[test]
fn a_leader_that_is_cut_off_leaves_the_others_to_elect_one_of_their_own() {
    let links = Some(&[(1, 2), (1, 3), (2, 4), (3, 4), (1, 4)][..]);
    sweep(5, 8_000..8_060, |draw| Faults { links, ..any_network(draw) });
}

#[test]
fn leaders_that_change_all_the_time_contradict_nobody() {
    let faults = |draw: &mut Rng| Faults {
        hasty: true,
        loss_percent: draw.u64(0..50),
        late_us: draw.u64(1..60_000),
        restarts: draw.usize(0..20),
        cuts: draw.usize(0..60),
        ..any_network(draw)
    };
    sweep(3, 9_000..9_080, faults);
    sweep(5, 9_000..9_040, faults);
}
