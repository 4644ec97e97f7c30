//! A whole cluster in one thread, on virtual time.
//!
//! The world owns the event queue, the network, the replicas and the clients. It handles one
//! event at a time. Everything that a role sends goes through the [`Checker`] and then into
//! the network. Everything random is drawn from streams of one seed.
//!
//! A run takes place in a gentle world, with latencies below a millisecond, or in an
//! [`Environment`] with numbers of its own.
//!
//! A run has two phases. In the first, faults happen as the [`Profile`] says. Then the faults
//! stop for a quorum drawn at random; the other replicas die, are cut off, or work on. In the
//! second phase every line that a client has sent must complete, and the logs of the quorum
//! must become equal, within [`LIVENESS_US`] of virtual time (I9). In an environment, the
//! bounds follow its numbers (`cost`).

mod attacker;
mod beside;
mod chat_logs;
mod datagrams;
mod departures;
mod guests;
mod hosting;
mod lives;
mod members;
mod moves;
mod operator;
mod reader;
mod reads;
mod record;
mod setup;
mod strangers;
mod strikes;

use super::checker::{Checker, Violation};
use super::cost::{self, Bounds, Cost};
use super::environment::Environment;
use super::faults::{Links, PARTITIONS, Partition, Profile, STRIKES, Strike};
use super::kinds::Kinds;
use super::node::{Arrival, Node, Process, ROLES, RoleName, Turn};
use super::offload::{Fate, Kernels};
use super::path::{IP_UDP_BYTES, Passage};
use super::queue::Queue;
use super::reach::{Reach, Situation};
use super::report::{Options, PowerCut, Report};
use super::store::{Closed, Death, Store, SyncFault};
use super::terrain::{Host, Terrain};
use super::trace::TraceHash;
use super::visitor::{ADDRESS_PORT, Visitor};
use super::wire::ledger::Seal;
use super::wire::{BatchNews, Frames, Leaving, Wire};
use attacker::Attacker;
use beside::Beside;
use durable::sim_disk;
use fastrand::Rng;
use history::{Party, Payload};
pub use hosting::Hosting;
use members::Changes;
use moves::Moves;
use multipaxos::chat::SESSION_WINDOW_SLOTS;
use multipaxos::client::{self, Outcome};
use multipaxos::message::{self, Answer, ClientMessage, Message};
use multipaxos::net::pack::payload_bytes;
use multipaxos::net::{DATAGRAM_BYTES_MIN, Endpoint, Incoming, Outgoing};
use multipaxos::paxos::{Diverged, Envelope, Limits, Notice, Settings};
use multipaxos::quorum::quorum;
use multipaxos::types::{
    Address, Ballot, BootId, ClientId, DirectoryId, ReplicaId, Slot, SlotRange, Time,
};
use operator::{OPERATOR, Operator};
use reader::{READER, Reader, Readings};
use reads::{Marking, READS, Reads};
use record::Recording;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use strangers::{Strangers, Stray};

/// The longest duration of the second phase, in virtual microseconds.
pub const LIVENESS_US: u64 = 20_000_000;

/// How often it is looked what is sent when nobody waits, until no life begins meanwhile.
const RESTS_MAX: usize = 20;

/// The shortest travel time of a datagram.
const LATENCY_MIN_US: u64 = 50;

/// A datagram that is not late takes up to this much longer.
const LATENCY_SPAN_US: u64 = 450;

/// The longest travel time of a notice inside a replica.
const NOTICE_US: u64 = 30;

/// The longest stall of a role's thread.
const STALL_US: u64 = 20_000;

/// The length of a long line: a small page does not hold it.
const LONG_LINE_BYTES: usize = 300;

/// The length of a long line in a run with real datagrams: it needs several of the smallest.
const FRAGMENTED_LINE_BYTES: usize = 3_000;

/// The number of arrivals that the socket of a sleeping replica holds.
const BACKLOG_MAX: usize = 2_000;

/// A power cut tears a write at most this far from its beginning.
const TEAR_BYTES_MAX: usize = 2_000;

/// A run with more events than this in each virtual second has a role that spins.
const EVENTS_PER_SECOND_MAX: u64 = 400_000;

#[derive(Debug)]
enum Event {
    Arrive { to: ReplicaId, arrival: Arrival },
    Wake { node: ReplicaId, life: u32, role: RoleName },
    Timer { node: ReplicaId, life: u32, role: RoleName },
    Commit { node: ReplicaId, life: u32, role: RoleName },
    Answer { client: usize, life: u32, from: ReplicaId, answer: Answer },
    Frame { client: usize, life: u32, bytes: Vec<u8> },
    Missing { node: ReplicaId, life: u32 },
    ClientWire { client: usize, life: u32 },
    ClientTimer { client: usize, life: u32 },
    Submit { client: usize, life: u32 },
    Fault(Fault),
    Stranger(Stranger),
    Operate,
    Read(Readings),
    Mark(Marking),
}

/// Something happens that is not of the run's cluster.
#[derive(Debug)]
enum Stranger {
    /// The files of a former cluster are removed, and their replica begins anew.
    Removed(ReplicaId),
    /// A stray process sends what is due.
    Timer(usize),
    /// A datagram from this address arrives at a stray process.
    Frame(usize, Address, Vec<u8>),
    /// A data directory is copied, and a process begins on the copy.
    Copied,
    /// Something arrives there.
    AtCopy(Arrival),
    /// That process does what is due.
    CopyWakes,
    /// Somebody ends it.
    CopyEnds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fault {
    Crash,
    Restart(ReplicaId),
    Pause,
    Resume(ReplicaId),
    Partition,
    Heal,
    Flap(u32),
    ClientDies,
    Wipe,
    /// A replica's disk is copied.
    Copy,
    /// The copy is put back.
    PutBack,
    /// A line of a replica's decided log is changed.
    Alter,
    /// Someone strikes at a chat log.
    Strike,
    /// An operator tells a replica to end (SIGTERM).
    Terminate,
    /// This life of it ends.
    Ends(ReplicaId, u32),
    /// An operator changes the members.
    Members,
}

/// The random streams of a run.
#[derive(Debug)]
struct Streams {
    network: Rng,
    crashes: Rng,
    disk: Rng,
    workload: Rng,
    roles: Rng,
    schedule: Rng,
    strangers: Rng,
    strikes: Rng,
    departures: Rng,
    beside: Rng,
    commands: Rng,
}

/// A run in progress.
#[derive(Debug)]
pub struct World {
    seed: u64,
    options: Options,
    profile: Profile,
    now: Time,
    queue: Queue<Event>,
    nodes: Vec<Node>,
    links: Links,
    /// What is not of the cluster, as drawn, and the processes among it.
    strangers: Strangers,
    strays: Vec<Stray>,
    /// The keys, and who has sent what, if this run has keys; and who attacks it.
    seal: Option<Seal>,
    attacker: Option<Attacker>,
    /// Who asks the replicas how they are, if anybody does.
    operator: Option<Operator>,
    /// Who reads the chat log, if anybody does.
    reader: Option<Reader>,
    /// Who asks a quorum how far the log goes, if anybody does.
    reads: Option<Reads>,
    /// A copy of a data directory that runs beside the original, or will, or has.
    beside: Option<Beside>,
    /// Who changes the members, if anybody does.
    changes: Option<Changes>,
    /// Where replicas are, if some move.
    moves: Option<Moves>,
    /// Replicas that are not needed in the second phase.
    out: Vec<bool>,
    /// Replicas that have lost their disk, and so their right to accept, until a change has made
    /// the new one a member; and those that a change has removed.
    wiped: Vec<bool>,
    /// The replica whose decided log somebody has changed, until that is noticed.
    altered: Option<ReplicaId>,
    /// The one before, whose operator has removed what was left, and when it stopped.
    altered_before: Option<(ReplicaId, Time)>,
    /// The replica whose chat log was struck last, and how long it was.
    struck: Option<(ReplicaId, u64)>,
    /// The copy of a replica's disk.
    copy: Option<(ReplicaId, Store)>,
    clients: Vec<Visitor>,
    /// Whether messages travel as real datagrams.
    wired: bool,
    datagram_max: usize,
    /// Where the cluster runs, and its paths, if that is not the gentle world.
    environment: Option<Environment>,
    /// The machine that commands change, and what they are, if that is not the chat.
    hosting: Option<Hosting>,
    terrain: Option<Terrain>,
    /// What the kernels get wrong, in a run where they do.
    kernels: Option<Kernels>,
    cost: Cost,
    kinds: Kinds,
    /// What happens, if somebody wants to read it.
    recording: Option<Box<Recording>>,
    checker: Checker,
    reach: Reach,
    disk_calls: Vec<u64>,
    hash: TraceHash,
    events: u64,
    lines: u64,
    leader_changes: u64,
    leader: Option<ReplicaId>,
    streams: Streams,
    faults_on: bool,
    /// When faults stopped, as long as a line that was in flight then is not complete.
    waiting_since: Option<Time>,
    /// The time of the last completion, or of the beginning of the fixed partition.
    completed_at: Time,
    gap_us: u64,
    ballot_before: u64,
    ballot_rise: u64,
}

type Step = Result<(), Violation>;

impl World {
    /// Runs to the end.
    pub fn run(mut self) -> Report {
        let violation = self.begin().and_then(|()| self.run_phases()).err();
        if let Some(violation) = &violation {
            self.trace(|| format!("VIOLATION {} (slot {:?})", violation.what, violation.slot));
        }
        for index in 0..self.nodes.len() {
            self.note_wire(ReplicaId(index as u8));
        }
        let strange = self.seal.as_ref().map_or(0, Seal::strange_dropped);
        self.reach.add(Situation::ForgeryDropped, strange);
        let recorded = self.recording.take().map(|recording| recording.finish(self.now.0));
        self.reach.add(Situation::HoleFilled, self.checker.noops);
        self.reach.add(Situation::MembersChanged, self.checker.changes);
        self.reach.add(Situation::DuplicateSuppressed, self.checker.duplicates);
        Report {
            seed: self.seed,
            place: self.options.place,
            n: self.nodes.len(),
            events: self.events,
            virtual_us: self.now.0,
            lines: self.lines,
            leader_changes: self.leader_changes,
            ballot: self.checker.highest_promise(),
            violation,
            hash: self.hash.value(),
            reach: self.reach,
            disk_calls: self.disk_calls,
            gap_us: self.gap_us,
            ballot_rise: self.ballot_rise,
            bytes_factor: self.cost.bytes_factor(&self.nodes[0].settings, self.now),
            cost: self.cost,
            kinds: self.kinds,
            recorded,
        }
    }

    fn run_phases(&mut self) -> Step {
        if let Some(partition) = self.options.partition {
            // The cluster first settles. The partition lasts for the rest of the phase.
            self.run_until(Time(1_500_000))?;
            let leader = self.leader;
            self.links.impose(partition, leader, &mut self.streams.network);
            self.completed_at = self.now;
            self.ballot_before = self.checker.highest_promise();
            self.reach.count(Situation::partition(partition));
            self.trace(|| format!("partition {partition:?}, leader {leader:?}"));
        }
        self.run_until(Time(self.options.safety_us))?;
        if self.options.partition.is_some() {
            self.gap_us = self.gap_us.max(self.now.since_us(self.completed_at));
            self.ballot_rise = self.checker.highest_promise() - self.ballot_before;
        }
        self.stop_faults()?;
        let settings = self.nodes[0].settings;
        let behind = self.farthest_behind();
        let bounds = self.environment.as_ref().map(|it| Bounds::of(it, &settings, behind));
        let began = self.now;
        let waits_us = bounds.map_or(LIVENESS_US, |bounds| bounds.last_us);
        let deadline = began.plus_us(waits_us);
        while !self.is_settled() || !self.chat_logs_agree() || !self.has_been_read() {
            if self.now >= deadline || self.queue.is_empty() {
                return Err(self.stuck(waits_us));
            }
            let until = self.now.plus_us(100_000);
            self.run_until(until)?;
        }
        self.know_the_ways()?;
        let Some(bounds) = bounds else { return self.last_read() };
        self.cost.last_us = self.now.since_us(began);
        match self.cost.broken(bounds, &settings, self.now) {
            Some(what) => Err(Violation { what, slot: None }),
            None => self.check_rest(settings).and_then(|()| self.last_read()),
        }
    }

    /// I10: what is sent when nobody waits for anything. A life that begins then, of a replica that
    /// was told to end or comes back late, has to catch up first.
    fn check_rest(&mut self, settings: Settings) -> Step {
        let queues_us = self.environment.as_ref().map_or(0, Environment::round_trip_us);
        let lives = |world: &World| world.nodes.iter().map(|node| node.life).collect::<Vec<_>>();
        for _ in 0..RESTS_MAX {
            let lives_before = lives(self);
            self.run_until(self.now.plus_us(1_000_000 + queues_us))?;
            let before = self.cost.sent_bytes;
            self.run_until(self.now.plus_us(1_000_000))?;
            if lives(self) != lives_before {
                continue;
            }
            let sent = self.cost.sent_bytes - before;
            let heartbeats = cost::heartbeat_bytes(&settings, 1_000_000);
            if sent > cost::IDLE_FACTOR * heartbeats {
                let what = format!("I10: {sent} bytes sent in a second in which nobody waits");
                return Err(Violation { what, slot: None });
            }
            return Ok(());
        }
        let what = "I10: lives begin without end".into();
        Err(Violation { what, slot: None })
    }

    fn run_until(&mut self, end: Time) -> Step {
        while self.queue.next_at().is_some_and(|at| at <= end) {
            let Some((at, event)) = self.queue.pop() else { break };
            self.now = at;
            self.events += 1;
            if self.events > EVENTS_PER_SECOND_MAX * (1 + self.now.0 / 1_000_000) {
                return Err(Violation {
                    what: "I8: a role spins: too many events".into(),
                    slot: None,
                });
            }
            self.hash.add(&at.0);
            self.step(event)?;
            if let Some(what) = self.seal.as_ref().and_then(Seal::fault) {
                return Err(Violation { what, slot: None });
            }
        }
        self.now = end;
        Ok(())
    }

    fn step(&mut self, event: Event) -> Step {
        match event {
            Event::Arrive { to, arrival } => self.arrive(to, arrival),
            Event::Wake { node, life, role } => self.wake(node, life, role, false),
            Event::Timer { node, life, role } => self.wake(node, life, role, true),
            Event::Commit { node, life, role } => self.end_turn(node, life, role),
            Event::Answer { client, life, from, answer } => {
                self.answered(client, life, from, answer)
            }
            Event::Frame { client, life, bytes } => self.frame_to_client(client, life, &bytes),
            Event::Missing { node, life } => self.ask_for_fragments(node, life),
            Event::ClientWire { client, life } => self.poll_client_wire(client, life),
            Event::ClientTimer { client, life } => {
                if self.clients[client].life == life
                    && self.clients[client].timer_at == Some(self.now)
                {
                    self.clients[client].timer_at = None;
                    self.turn_client(client, None)?;
                }
                Ok(())
            }
            Event::Submit { client, life } => self.submit(client, life),
            Event::Fault(fault) => self.fault(fault),
            Event::Stranger(stranger) => self.stranger(stranger),
            Event::Operate => self.operate(),
            Event::Read(what) => self.read(what),
            Event::Mark(what) => self.mark(what),
        }
    }

    fn answered(&mut self, client: usize, life: u32, from: ReplicaId, answer: Answer) -> Step {
        if self.clients[client].life != life {
            return Ok(());
        }
        match answer {
            Answer::Expired { .. } => self.reach.count(Situation::SessionExpired),
            Answer::BornTooEarly { .. } => self.reach.count(Situation::SessionBornTooEarly),
            _ => {}
        }
        if self.clients[client].process.0 == client {
            let at = Party::Client(client as u64);
            self.record_arrival(Party::Replica(from), at, || Payload::Answer(answer.clone()));
        }
        self.turn_client(client, Some(client::Input::Answer(from, answer)))
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.options.trace {
            let us = self.now.0;
            use std::io::Write;
            let _ = writeln!(
                std::io::stdout(),
                "{:>4}.{:06} #{} {}",
                us / 1_000_000,
                us % 1_000_000,
                self.events,
                line()
            );
        }
    }
}

/// The address of a client's process. Each life has an address of its own.
fn address_of(client: usize, life: u32) -> Address {
    let ip = Ipv4Addr::from(0x0a00_0000 + life);
    Address(SocketAddr::new(IpAddr::V4(ip), ADDRESS_PORT + client as u16))
}

/// The source address of a replica's datagrams.
fn address_of_replica(id: ReplicaId) -> Address {
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 255, 0, id.0)), 1))
}

fn who(address: Address) -> (usize, u32) {
    who_if_any(address).expect("addresses here are those of clients")
}

fn who_if_any(address: Address) -> Option<(usize, u32)> {
    let IpAddr::V4(ip) = address.0.ip() else { return None };
    let client = address.0.port().checked_sub(ADDRESS_PORT)?;
    Some((client.into(), u32::from(ip).checked_sub(0x0a00_0000)?))
}
