//! A cluster that moves only when a command tells it to.
//!
//! The roles are the real ones, on the simulator's storage. Between replicas a message arrives
//! only if a command delivers it, and time passes only if a command lets it. Inside a replica
//! messages between roles arrive at once, unless a role is stalled. The simulator's checker
//! sees everything that happens, and a broken invariant is a line of the output.

mod clients;
mod logged;
mod network;
mod replicas;
mod time;

use crate::node::Node;
use clients::{Completed, Visitor};
use history::print;
use history::{Event, History};
use logged::capture_logs;
use multipaxos::paxos::{Limits, Settings};
use multipaxos::types::{BootId, ReplicaId, Slot, Time};
use network::{Latency, Pending};
use replicas::directory_id;
use simulator::checker::{Checker, Violation};
use simulator::store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// The travel time of a datagram while a command lets time pass, unless a command sets another.
const LATENCY_US: u64 = 1_000;

/// For `stabilize` the cluster is quiet if nothing has happened for this long.
const QUIET_US: u64 = 1_500_000;

/// The longest time that `stabilize` waits until the cluster is quiet.
pub(crate) const STABILIZE_US: u64 = 20_000_000;

/// The largest number of steps at one moment. A cluster with more spins, and is stopped.
const STEPS_MAX: u32 = 100_000;

/// The port of client 0. Client k has port k above it.
const CLIENT_PORT: u16 = 1_000;

/// The options of a cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) replicas: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) checkpoint_slots: u64,
    pub(crate) session_window_slots: u64,
    /// How many slots an acceptor may hold.
    pub(crate) held_slots: u64,
    pub(crate) skip_slot: Option<Slot>,
    /// Whether the script itself delivers the messages of warm-up.
    pub(crate) by_hand: bool,
}

/// The amount of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loud {
    /// Everything, messages included.
    All,
    /// Everything but messages: saved and applied records, log lines, and answers.
    Events,
    /// Nothing but broken invariants.
    Nothing,
}

/// The cluster.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) setup: Setup,
    pub(crate) loud: Loud,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Vec<Pending>,
    now: Time,
    /// The time from which printed times count.
    epoch: Time,
    /// Whether printed lines begin with the time.
    clocked: bool,
    latency_us: u64,
    /// The directions of links that take another time.
    latencies: BTreeMap<(ReplicaId, ReplicaId), Latency>,
    lines: Vec<String>,
    /// The last time at which something other than a heartbeat happened.
    stirred_at: Time,
    clients: BTreeMap<u64, Visitor>,
    /// How many reads have asked for a mark.
    marks: u64,
    /// The sessions of each client.
    sessions: BTreeMap<u64, BTreeMap<u64, Completed>>,
    counters: BTreeMap<char, u32>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    generations: Vec<u64>,
    /// By replica, a copy of its disk, if one was made.
    copies: Vec<Option<Store>>,
    checker: Checker,
    /// Everything that happened, for `why`.
    pub(crate) history: History,
}

impl Stage {
    pub(crate) fn new(setup: Setup) -> Self {
        capture_logs();
        let n = setup.replicas;
        let settings = |id| Settings {
            id,
            n,
            places: n,
            boot: BootId(0),
            payload_bytes: setup.payload_bytes,
            heartbeat_us: 50_000,
            election_min_us: 300_000,
            election_max_us: 600_000,
            checkpoint_slots: setup.checkpoint_slots,
            skip_slot: setup.skip_slot,
            limits: Limits { accept_slots: setup.held_slots, ..Limits::DEFAULT },
        };
        let node = |index: usize| Node {
            id: ReplicaId(index as u8),
            settings: settings(ReplicaId(index as u8)),
            store: Store::records(directory_id(index, 1), setup.session_window_slots),
            life: None,
            lives: 0,
            ahead_us: 0,
            draw: 300_000 / n as u64 * index as u64,
            sync_us: 0,
            syncing: None,
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
            latencies: BTreeMap::new(),
            lines: Vec::new(),
            stirred_at: Time(0),
            clients: BTreeMap::new(),
            marks: 0,
            sessions: BTreeMap::new(),
            counters: BTreeMap::new(),
            cut: BTreeSet::new(),
            generations: vec![1; n],
            copies: (0..n).map(|_| None).collect(),
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

    /// Takes the lines that were printed since the last call.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    // --- printing ------------------------------------------------------------------

    pub(crate) fn say(&mut self, line: String) {
        let ms = self.now.since_us(self.epoch) / 1_000;
        self.lines.push(if self.clocked { format!("{ms:>5} ms  {line}") } else { line });
    }

    /// Adds an event to the history.
    fn record(&mut self, event: Event) {
        self.history.push(self.now.since_us(self.epoch), event);
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

    // --- showing states --------------------------------------------------------------

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

    /// Prints the chat logs of the replicas that are up. Replicas with equal logs share one.
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
