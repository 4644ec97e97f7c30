//! A whole cluster in one thread, on virtual time.
//!
//! The world owns the event queue, the network, the replicas and the clients. It handles one
//! event at a time. Everything that a role sends goes through the [`Checker`] and then into
//! the network. Everything random is drawn from streams of one seed.
//!
//! A run has two phases. In the first, faults happen as the [`Profile`] says. Then the faults
//! stop for a quorum drawn at random; the other replicas die, are cut off, or work on. In the
//! second phase every line that a client has sent must complete, and the logs of the quorum
//! must become equal, within [`LIVENESS_US`] of virtual time (I9).

mod datagrams;
mod guests;
mod lives;
mod strikes;

use super::checker::{Checker, Violation};
use super::faults::{Links, PARTITIONS, Partition, Profile, Switches};
use super::node::{Arrival, Node, Process, ROLES, RoleName};
use super::queue::Queue;
use super::reach::{Reach, Situation};
use super::store::{Closed, Death, Store, SyncFault};
use super::trace::TraceHash;
use super::visitor::{ADDRESS_PORT, Visitor};
use super::wire::{Frames, Wire};
use durable::sim_disk;
use fastrand::Rng;
use multipaxos::chat::SESSION_WINDOW_SLOTS;
use multipaxos::client::{self, Outcome};
use multipaxos::message::{Answer, ClientMessage, Message, Party};
use multipaxos::net::pack::payload_bytes;
use multipaxos::net::{DATAGRAM_BYTES_MIN, Endpoint, Incoming, Outgoing};
use multipaxos::paxos::{Envelope, Notice, Settings};
use multipaxos::quorum::quorum;
use multipaxos::seed::derive_seed;
use multipaxos::types::{Address, BootId, ClientId, DirectoryId, ReplicaId, Slot, Time};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The longest duration of the second phase, in virtual microseconds.
pub const LIVENESS_US: u64 = 20_000_000;

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

/// A power cut of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerCut {
    /// The replica.
    pub replica: ReplicaId,
    /// The call of its disk during which the power is cut, as [`sim_disk::SimDisk::calls`] counts.
    pub call: u64,
}

/// The kind of a run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The number of replicas. `None`: 3, 5 or 7, drawn from the seed.
    pub replicas: Option<usize>,
    /// The faults that may happen.
    pub switches: Switches,
    /// How long the first phase lasts, in virtual microseconds.
    pub safety_us: u64,
    /// One partition for the whole first phase, and no other fault.
    pub partition: Option<Partition>,
    /// The percentage of runs with the real storage code on simulated disks.
    pub sectors_percent: u8,
    /// The percentage of runs with real datagrams.
    pub wire_percent: u8,
    /// The power cut of one replica. A run with a power cut uses the real storage code.
    pub power_cut: Option<PowerCut>,
    /// Print every event.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            replicas: None,
            switches: Switches::ALL,
            safety_us: 8_000_000,
            partition: None,
            sectors_percent: 15,
            wire_percent: 10,
            power_cut: None,
            trace: false,
        }
    }
}

impl Options {
    /// The same options with the real storage code, and with this power cut as the only crash
    /// and the only disk fault.
    #[must_use]
    pub fn with_power_cut(self, power_cut: Option<PowerCut>) -> Self {
        let switches = Switches { crashes: false, disk: false, ..self.switches };
        Options { switches, sectors_percent: 100, power_cut, ..self }
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The number of replicas.
    pub n: usize,
    /// The number of events.
    pub events: u64,
    /// The virtual time that passed, in microseconds.
    pub virtual_us: u64,
    /// The number of completed lines.
    pub lines: u64,
    /// How often another replica became leader.
    pub leader_changes: u64,
    /// The highest ballot promised at the end.
    pub ballot: u64,
    /// The broken invariant, if there is one.
    pub violation: Option<Violation>,
    /// A hash over every event.
    pub hash: u64,
    /// The situations that the run met.
    pub reach: Reach,
    /// The calls of each replica's disk until the faults stopped, with the real storage code.
    pub disk_calls: Vec<u64>,
    /// Under a fixed partition: the longest time in which no line was completed.
    pub gap_us: u64,
    /// Under a fixed partition: how far ballots rose while it lasted.
    pub ballot_rise: u64,
}

impl Report {
    /// The power cuts that cover every call of every disk, in the order of replicas and calls.
    pub fn power_cuts(&self) -> impl Iterator<Item = PowerCut> {
        self.disk_calls.iter().zip(0..).flat_map(|(calls, replica)| {
            (0..*calls).map(move |call| PowerCut { replica: ReplicaId(replica), call })
        })
    }
}

#[derive(Debug)]
enum Event {
    Arrive { to: ReplicaId, arrival: Arrival },
    Wake { node: ReplicaId, life: u32, role: RoleName },
    Timer { node: ReplicaId, life: u32, role: RoleName },
    Answer { client: usize, life: u32, from: ReplicaId, answer: Answer },
    Frame { client: usize, life: u32, bytes: Vec<u8> },
    Missing { node: ReplicaId, life: u32 },
    ClientTimer { client: usize, life: u32 },
    Submit { client: usize, life: u32 },
    Fault(Fault),
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
    /// Replicas that are not needed in the second phase.
    out: Vec<bool>,
    /// Replicas that have lost their disk, and so their right to accept.
    wiped: Vec<bool>,
    clients: Vec<Visitor>,
    /// Whether messages travel as real datagrams.
    wired: bool,
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
    calm_since: Option<Time>,
    /// The time of the last completion, or of the beginning of the fixed partition.
    completed_at: Time,
    gap_us: u64,
    ballot_before: u64,
    ballot_rise: u64,
}

type Step = Result<(), Violation>;

impl World {
    /// Prepares the run of `seed`.
    pub fn new(seed: u64, options: Options) -> Self {
        let stream = |name: &str| Rng::with_seed(derive_seed(seed, name));
        let mut setup = stream("setup");
        let drawn = [3, 3, 3, 5, 5, 7][setup.usize(..6)];
        let n = options.replicas.unwrap_or(drawn);
        let mut profile = Profile::draw(options.switches, &mut setup);
        let mut options = options;
        if options.partition.is_some() {
            profile = Profile::CALM;
        } else {
            let shortest = options.safety_us / 2;
            options.safety_us = shortest + setup.u64(0..=shortest.max(1));
        }
        let small = setup.u8(0..3) == 0;
        // Some runs send real datagrams.
        let wired = setup.u8(0..100) < options.wire_percent && options.partition.is_none();
        // Short election waits make leaders change all the time.
        let hasty = options.partition.is_none() && setup.u8(0..5) == 0;
        let settings = Settings {
            id: ReplicaId(0),
            n,
            boot: BootId(0),
            // Small payloads split messages that would rarely be split otherwise.
            payload_bytes: match (wired, small) {
                (true, _) => payload_bytes(DATAGRAM_BYTES_MIN),
                (false, true) => 120,
                (false, false) => 1_300,
            },
            heartbeat_us: if hasty { 4_000 } else { 50_000 },
            election_min_us: if hasty { 12_000 } else { 300_000 },
            election_max_us: if hasty { 40_000 } else { 600_000 },
            checkpoint_slots: if setup.bool() { setup.u64(1..=20) } else { 4_096 },
            skip_slot: profile.skip_slot.map(Slot),
        };
        let session_window_slots =
            if setup.u8(0..10) == 0 { setup.u64(5..60) } else { SESSION_WINDOW_SLOTS };
        // Some runs use the real storage code, on simulated disks.
        let sectors = setup.u8(0..100) < options.sectors_percent && options.partition.is_none();
        let session_window_slots =
            if sectors { SESSION_WINDOW_SLOTS } else { session_window_slots };
        let slow = setup.usize(..n);
        let nodes: Vec<Node> = (0..n)
            .map(|index| {
                let id = ReplicaId(index as u8);
                Node {
                    id,
                    settings: Settings { id, ..settings },
                    store: match sectors {
                        true => {
                            let rng = stream(&format!("disk {id}"));
                            Store::sectors(DirectoryId(setup.u64(1..)), rng)
                        }
                        false => Store::records(DirectoryId(setup.u64(1..)), session_window_slots),
                    },
                    wire: None,
                    started: false,
                    flipped: false,
                    process: None,
                    life: 0,
                    paused_until: None,
                    backlog: VecDeque::new(),
                    slow_us: if index == slow { profile.slow_us } else { 0 },
                }
            })
            .collect();
        if let Some(PowerCut { replica, call }) = options.power_cut {
            let disk = nodes.get(replica.index()).and_then(|node| node.store.disk());
            let disk = disk.expect("the power of a replica with a disk is cut");
            disk.cut_at(call, stream(&format!("tear {call}")).usize(..TEAR_BYTES_MAX));
        }
        World {
            seed,
            options,
            profile,
            now: Time(0),
            queue: Queue::default(),
            nodes,
            links: Links::new(n),
            out: vec![false; n],
            wiped: vec![false; n],
            clients: Vec::new(),
            wired,
            checker: Checker::new(n, session_window_slots),
            reach: Reach::default(),
            disk_calls: Vec::new(),
            hash: TraceHash::default(),
            events: 0,
            lines: 0,
            leader_changes: 0,
            leader: None,
            streams: Streams {
                network: stream("network"),
                crashes: stream("crashes"),
                disk: stream("disk"),
                workload: stream("workload"),
                roles: stream("roles"),
                schedule: stream("schedule"),
            },
            faults_on: true,
            calm_since: None,
            completed_at: Time(0),
            gap_us: 0,
            ballot_before: 0,
            ballot_rise: 0,
        }
    }

    fn begin(&mut self) -> Step {
        for index in 0..self.nodes.len() {
            let id = ReplicaId(index as u8);
            self.begin_life(id)?;
        }
        let clients =
            if self.options.partition.is_some() { 2 } else { self.streams.workload.usize(1..=4) };
        // All clients together send about ten lines a second.
        let every_us = 100_000 * clients as u64;
        for client in 0..clients {
            let n = self.nodes.len();
            self.clients.push(Visitor::new(ClientId(client as u64), n, every_us));
            self.wire_client(client);
            self.submit_later(client);
        }
        let Profile { crash_every_us, pause_every_us, partition_every_us, client_every_us, .. } =
            self.profile;
        self.fault_later(crash_every_us, Fault::Crash);
        self.fault_later(pause_every_us, Fault::Pause);
        self.fault_later(partition_every_us, Fault::Partition);
        self.fault_later(client_every_us, Fault::ClientDies);
        self.fault_later(self.profile.wipe_after_us, Fault::Wipe);
        Ok(())
    }

    /// Runs to the end.
    pub fn run(mut self) -> Report {
        let violation = self.begin().and_then(|()| self.run_phases()).err();
        if let Some(violation) = &violation {
            self.trace(|| format!("VIOLATION {} (slot {:?})", violation.what, violation.slot));
        }
        for index in 0..self.nodes.len() {
            self.note_wire(ReplicaId(index as u8));
        }
        self.reach.add(Situation::HoleFilled, self.checker.noops);
        self.reach.add(Situation::DuplicateSuppressed, self.checker.duplicates);
        Report {
            seed: self.seed,
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
        let deadline = self.now.plus_us(LIVENESS_US);
        while !self.is_settled() {
            if self.now >= deadline || self.queue.is_empty() {
                return Err(self.stuck());
            }
            let until = self.now.plus_us(100_000);
            self.run_until(until)?;
        }
        Ok(())
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
        }
        self.now = end;
        Ok(())
    }

    fn step(&mut self, event: Event) -> Step {
        match event {
            Event::Arrive { to, arrival } => self.arrive(to, arrival),
            Event::Wake { node, life, role } => self.wake(node, life, role, false),
            Event::Timer { node, life, role } => self.wake(node, life, role, true),
            Event::Answer { client, life, from, answer } => {
                self.answered(client, life, from, answer)
            }
            Event::Frame { client, life, bytes } => self.frame_to_client(client, life, &bytes),
            Event::Missing { node, life } => self.ask_for_fragments(node, life),
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
        }
    }

    fn answered(&mut self, client: usize, life: u32, from: ReplicaId, answer: Answer) -> Step {
        if self.clients[client].life != life {
            return Ok(());
        }
        self.trace(|| format!("client {client} <- {from}: {answer:?}"));
        if matches!(answer, Answer::Expired { .. }) {
            self.reach.count(Situation::SessionExpired);
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
    let IpAddr::V4(ip) = address.0.ip() else { unreachable!("addresses here are IPv4") };
    ((address.0.port() - ADDRESS_PORT) as usize, u32::from(ip) - 0x0a00_0000)
}
