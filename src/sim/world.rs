//! A whole cluster in one thread, on virtual time.
//!
//! The world owns the event queue, the network, the replicas and the clients. Each
//! event is handled to its end, everything that leaves a role goes through the
//! [`Checker`] and then into the network, and then the next event happens. All that is
//! random is drawn from streams of one seed.
//!
//! A run has two phases. In the first, faults strike as the [`Profile`] says. Then the
//! faults stop on a quorum drawn at random; the others die, or are cut off, or are
//! well. In the second, every line that a client has sent must be completed, and the
//! quorum's logs must become equal, within [`LIVENESS_US`] of virtual time (I9).

use super::checker::{Checker, Violation};
use super::disk;
use super::faults::{Links, PARTITIONS, Partition, Profile, Switches};
use super::node::{Arrival, Node, Process, ROLES, RoleName};
use super::queue::Queue;
use super::reach::{Reach, What};
use super::store::{Closed, Death, Store, SyncFault};
use super::trace::TraceHash;
use super::visitor::{ADDRESS_PORT, Visitor};
use super::wire::{Frames, Wire};
use crate::message::{Answer, ClientMessage, Message, Party};
use crate::net::pack::payload_bytes;
use crate::net::{self, DATAGRAM_BYTES_MIN, Endpoint, Incoming, Outgoing};
use crate::paxos::chat::SESSION_WINDOW_SLOTS;
use crate::paxos::client::{self, Outcome};
use crate::paxos::planted::{Bug, Planted};
use crate::paxos::{Envelope, Notice, Settings};
use crate::quorum::quorum;
use crate::seed::derive_seed;
use crate::types::{Address, BootId, ClientId, DirectoryId, ReplicaId, Slot, Time};
use fastrand::Rng;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How long the second phase may take, in virtual microseconds.
pub const LIVENESS_US: u64 = 20_000_000;

/// A datagram takes at least this long.
const LATENCY_MIN_US: u64 = 50;

/// And up to so much more, unless it is late.
const LATENCY_SPAN_US: u64 = 450;

/// A notice inside a replica takes up to this long.
const NOTICE_US: u64 = 30;

/// How long a role's thread may stall.
const STALL_US: u64 = 20_000;

/// How long a long line is: more than a small page carries.
const LONG_LINE_BYTES: usize = 300;

/// How long a long line is where messages travel as datagrams: several of the smallest.
const FRAGMENTED_LINE_BYTES: usize = 3_000;

/// How many arrivals a sleeping replica's socket holds.
const BACKLOG_MAX: usize = 2_000;

/// A run with more events than this for each virtual second spins.
const EVENTS_PER_SECOND_MAX: u64 = 400_000;

/// What kind of run this is.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many replicas; drawn among 3, 5 and 7 if not given.
    pub replicas: Option<usize>,
    /// Which faults may strike.
    pub switches: Switches,
    /// How long the first phase lasts, in virtual microseconds.
    pub safety_us: u64,
    /// One partition for the whole first phase, and nothing else.
    pub partition: Option<Partition>,
    /// How many runs of a hundred are on real storage, on simulated disks.
    pub sectors_percent: u8,
    /// How many runs of a hundred send real datagrams.
    pub wire_percent: u8,
    /// Print every event.
    pub trace: bool,
    /// A known bug, in tests.
    pub planted: Planted,
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
            trace: false,
            planted: Planted::NONE,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How many replicas.
    pub n: usize,
    /// How many events.
    pub events: u64,
    /// How much virtual time, in microseconds.
    pub virtual_us: u64,
    /// How many lines were completed.
    pub lines: u64,
    /// How often another replica came to lead.
    pub leader_changes: u64,
    /// The highest ballot in use at the end.
    pub ballot: u64,
    /// What went wrong, if anything did.
    pub violation: Option<Violation>,
    /// A hash over every event.
    pub hash: u64,
    /// What happened.
    pub reach: Reach,
    /// Under a fixed partition: the longest time in which no line was completed.
    pub gap_us: u64,
    /// Under a fixed partition: how far ballots rose while it lasted.
    pub ballot_rise: u64,
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

/// The streams that a run draws from.
#[derive(Debug)]
struct Streams {
    network: Rng,
    crashes: Rng,
    disk: Rng,
    workload: Rng,
    roles: Rng,
    schedule: Rng,
}

/// A run under way.
#[derive(Debug)]
pub struct World {
    seed: u64,
    options: Options,
    profile: Profile,
    now: Time,
    queue: Queue<Event>,
    nodes: Vec<Node>,
    links: Links,
    /// Replicas that the second phase does without.
    out: Vec<bool>,
    /// Replicas that have lost their disk, and their vote.
    wiped: Vec<bool>,
    clients: Vec<Visitor>,
    /// Whether messages travel as datagrams.
    wired: bool,
    checker: Checker,
    reach: Reach,
    hash: TraceHash,
    events: u64,
    lines: u64,
    leader_changes: u64,
    leader: Option<ReplicaId>,
    streams: Streams,
    faults_on: bool,
    calm_since: Option<Time>,
    /// The last completion, or the beginning of the fixed partition.
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
        // Hasty elections make leaders change all the time.
        let hasty = options.partition.is_none() && setup.u8(0..5) == 0;
        let settings = Settings {
            id: ReplicaId(0),
            n,
            boot: BootId(0),
            // Small payloads split what would rarely be split otherwise.
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
            planted: options.planted,
        };
        let session_window_slots =
            if setup.u8(0..10) == 0 { setup.u64(5..60) } else { SESSION_WINDOW_SLOTS };
        // Some runs are on real storage, on simulated disks.
        let sectors = setup.u8(0..100) < options.sectors_percent && options.partition.is_none();
        let session_window_slots =
            if sectors { SESSION_WINDOW_SLOTS } else { session_window_slots };
        let slow = setup.usize(..n);
        let nodes = (0..n)
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
                    }
                    .planted(options.planted),
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
        // Together about ten lines a second.
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
        self.reach.add(What::HoleFilled, self.checker.noops);
        self.reach.add(What::DuplicateSuppressed, self.checker.duplicates);
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
            gap_us: self.gap_us,
            ballot_rise: self.ballot_rise,
        }
    }

    fn run_phases(&mut self) -> Step {
        if let Some(partition) = self.options.partition {
            // A settled cluster first; then the partition, for as long as the rest lasts.
            self.run_until(Time(1_500_000))?;
            let leader = self.leader;
            self.links.impose(partition, leader, &mut self.streams.network);
            self.completed_at = self.now;
            self.ballot_before = self.checker.highest_promise();
            self.reach.count(What::partition(partition));
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
                return Err(Violation { what: "I8: it spins".into(), slot: None });
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
                if self.clients[client].life == life {
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
            self.reach.count(What::SessionExpired);
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

    // --- replicas ------------------------------------------------------------------

    fn begin_life(&mut self, id: ReplicaId) -> Step {
        let (now, n) = (self.now, self.nodes.len());
        let spread = self.profile.clock_ppm;
        let rate_ppm = 1_000_000 - spread / 2 + self.streams.roles.u64(0..=spread);
        let boot = BootId(self.streams.roles.u64(1..));
        if !self.faults_on
            && let Some(disk) = self.nodes[id.index()].store.disk()
        {
            disk.heal();
        }
        if !self.open_store(id)? {
            return Ok(());
        }
        self.note_wire(id);
        let node = &mut self.nodes[id.index()];
        node.wire = self.wired.then(|| Wire::new(n, Party::Replica(id), boot));
        node.life += 1;
        node.paused_until = None;
        node.backlog.clear();
        node.settings.boot = boot;
        assert_eq!(node.settings.n, n, "the cluster keeps its size");
        node.process = Some(Process::begin(node.settings, &node.store, rate_ppm, now));
        let life = node.life;
        self.trace(|| format!("replica {id} begins life {life}"));
        self.schedule(id, RoleName::Replica);
        Ok(())
    }

    /// Opens what survived; says whether a life can begin on it.
    fn open_store(&mut self, id: ReplicaId) -> Result<bool, Violation> {
        let n = self.nodes.len();
        let node = &mut self.nodes[id.index()];
        if let Err(closed) = node.store.open(id, n) {
            let flipped = node.flipped;
            let dark = node.store.disk().is_some_and(|disk| disk.is_dark());
            node.store.crash(if dark { Death::PowerCut } else { Death::Killed });
            self.trace(|| format!("replica {id} does not open: {closed:?}"));
            return match closed {
                Closed::Trouble(_) => {
                    self.reach.count(What::DiskTrouble);
                    self.restart_later(id);
                    Ok(false)
                }
                Closed::Refused(_) if flipped => {
                    self.reach.count(What::Damage);
                    self.out[id.index()] = true;
                    Ok(false)
                }
                Closed::Refused(what) => {
                    Err(Violation { what: format!("D2: replica {id} refuses: {what}"), slot: None })
                }
            };
        }
        let doubt = node.store.in_doubt();
        if self.wiped[id.index()] && node.store.started.is_none() {
            // Not a member: it remembers nothing, and begins anew each time.
            self.checker.wiped(id);
            return Ok(true);
        }
        if node.store.state != *self.checker.acceptor(id) {
            let life = node.life;
            self.reach.add(What::InDoubt, u64::from(!doubt.is_empty()));
            for record in doubt {
                self.checker.durable(id, life, &record)?;
            }
        }
        let node = &mut self.nodes[id.index()];
        if node.flipped && node.store.state != *self.checker.acceptor(id) {
            // A bit of the last frame cannot be told from a torn write: that replica
            // has lost its memory, as the limits say, and whoever runs it makes it begin anew.
            self.reach.count(What::Damage);
            self.wipe(id);
            return self.open_store(id);
        }
        node.started |= node.store.started.is_some();
        self.checker.recovered(id, &self.nodes[id.index()].store.state)?;
        Ok(true)
    }

    fn restart_later(&mut self, id: ReplicaId) {
        let back = self.streams.crashes.u64(1_000..3_000_000);
        self.queue.add(self.now.plus_us(back), Event::Fault(Fault::Restart(id)));
    }

    /// A replica loses its disk, and its vote.
    fn wipe(&mut self, id: ReplicaId) {
        self.trace(|| format!("replica {id} loses its disk"));
        let mut directory = DirectoryId(self.streams.crashes.u64(1..));
        let rng = Rng::with_seed(self.streams.crashes.u64(..));
        let node = &mut self.nodes[id.index()];
        if self.options.planted.has(Bug::WipedReplicaVotes) {
            directory = node.store.directory;
        }
        node.store.wipe(directory, rng);
        node.started = false;
        self.checker.wiped(id);
        self.wiped[id.index()] = true;
    }

    fn end_life(&mut self, id: ReplicaId, death: Death) {
        let node = &mut self.nodes[id.index()];
        let dark = node.store.disk().is_some_and(|disk| disk.is_dark());
        let death = if dark { Death::PowerCut } else { death };
        node.process = None;
        node.backlog.clear();
        node.paused_until = None;
        node.store.crash(death);
        if self.leader == Some(id) {
            self.leader = None;
        }
        if death == Death::PowerCut {
            self.reach.count(What::PowerCut);
        }
        self.trace(|| format!("replica {id} dies: {death:?}"));
    }

    fn drawn_death(&mut self) -> Death {
        if self.streams.crashes.bool() { Death::Killed } else { Death::PowerCut }
    }

    fn arrive(&mut self, to: ReplicaId, arrival: Arrival) -> Step {
        let node = &mut self.nodes[to.index()];
        let Some(process) = &mut node.process else { return Ok(()) };
        if node.paused_until.is_some() {
            if node.backlog.len() < BACKLOG_MAX {
                node.backlog.push_back(arrival);
            }
            return Ok(());
        }
        if let Arrival::Frame(from, bytes) = arrival {
            return self.frame_to_replica(to, from, &bytes);
        }
        if self.options.trace {
            match &arrival {
                Arrival::Frame(..) | Arrival::Peer(_, Message::Heartbeat(_)) => {}
                Arrival::Peer(from, message) => {
                    self.trace(|| format!("{from} -> {to}: {message:?}"))
                }
                Arrival::Client(from, message) => {
                    self.trace(|| format!("{} -> {to}: {message:?}", from.0));
                }
            }
            let node = &mut self.nodes[to.index()];
            let Some(process) = &mut node.process else { return Ok(()) };
            let roles = process.accept(arrival);
            return self.deliver_to(to, roles);
        }
        let roles = process.accept(arrival);
        self.deliver_to(to, roles)
    }

    fn deliver_to(&mut self, to: ReplicaId, roles: [Option<RoleName>; 2]) -> Step {
        for role in roles.into_iter().flatten() {
            self.wake_soon(to, role, 0);
        }
        Ok(())
    }

    /// Makes sure that a role takes a turn, in a moment.
    fn wake_soon(&mut self, id: ReplicaId, role: RoleName, within_us: u64) {
        let rng = &mut self.streams.schedule;
        let mut wait = if within_us > 0 { rng.u64(0..=within_us) } else { 0 };
        if self.faults_on
            && self.profile.stall_ppm > 0
            && rng.u32(0..1_000_000) < self.profile.stall_ppm
        {
            wait += rng.u64(0..=STALL_US);
        }
        let node = &mut self.nodes[id.index()];
        if node.slow_us > 0 && self.faults_on {
            wait += rng.u64(0..=node.slow_us);
        }
        let life = node.life;
        let Some(process) = &mut node.process else { return };
        let Some((woken, _)) = process.marks(role) else { return };
        if !std::mem::replace(woken, true) {
            self.queue.add(self.now.plus_us(wait), Event::Wake { node: id, life, role });
        }
    }

    fn wake(&mut self, id: ReplicaId, life: u32, role: RoleName, timer: bool) -> Step {
        let node = &mut self.nodes[id.index()];
        if node.life != life {
            return Ok(());
        }
        if let Some(until) = node.paused_until {
            // After whatever has arrived meanwhile.
            let event = if timer {
                Event::Timer { node: id, life, role }
            } else {
                Event::Wake { node: id, life, role }
            };
            self.queue.add(until.plus_us(1), event);
            return Ok(());
        }
        let Some(process) = &mut node.process else { return Ok(()) };
        let Some((woken, timer_at)) = process.marks(role) else { return Ok(()) };
        if timer {
            *timer_at = None;
        } else {
            *woken = false;
        }
        if self.faults_on
            && self.profile.sync_ppm > 0
            && role == RoleName::Acceptor
            && self.streams.disk.u32(0..1_000_000) < self.profile.sync_ppm
        {
            let kept = self.streams.disk.bool();
            match node.store.disk() {
                None => {
                    let fault = if kept { SyncFault::Kept } else { SyncFault::Lost };
                    node.store.acceptor.fault = Some(fault);
                }
                Some(_) => {
                    let fault = if kept { disk::Fault::Full } else { disk::Fault::Device };
                    node.store.fail_soon(fault, &mut self.streams.disk);
                    self.reach.count(What::DiskTrouble);
                }
            }
        }
        let turned = process.turn(role, self.now, &mut self.streams.roles, &mut node.store);
        node.store.acceptor.fault = None;
        let node_life = node.life;
        for record in std::mem::take(&mut self.nodes[id.index()].store.acceptor.observed) {
            self.checker.durable(id, node_life, &record)?;
        }
        for record in std::mem::take(&mut self.nodes[id.index()].store.learner.observed) {
            self.trace(|| format!("replica {id}: {record:?}"));
            self.checker.applied(id, &record)?;
        }
        match turned {
            Ok(envelopes) => {
                self.post(id, envelopes)?;
                self.note_leader(id);
                self.schedule(id, role);
            }
            Err(error) => {
                self.reach.count(What::SyncFailed);
                self.trace(|| format!("replica {id}: {error}"));
                let death = self.drawn_death();
                self.end_life(id, death);
                if self.faults_on {
                    self.restart_later(id);
                } else if !self.out[id.index()] {
                    self.begin_life(id)?;
                }
            }
        }
        Ok(())
    }

    /// Adds a timer event for a role's deadline, unless an earlier one is on its way.
    fn schedule(&mut self, id: ReplicaId, role: RoleName) {
        let node = &mut self.nodes[id.index()];
        let life = node.life;
        let Some(process) = &mut node.process else { return };
        let Some(deadline) = process.deadline(role) else { return };
        let at = deadline.max(self.now.plus_us(1));
        let Some((_, timer_at)) = process.marks(role) else { return };
        if timer_at.is_none_or(|timer| timer > at) {
            *timer_at = Some(at);
            self.queue.add(at, Event::Timer { node: id, life, role });
        }
    }

    fn post(&mut self, id: ReplicaId, envelopes: Vec<Envelope>) -> Step {
        let life = self.nodes[id.index()].life;
        let mut outgoing = Vec::new();
        for envelope in envelopes {
            match envelope {
                Envelope::Peer { to, message } if to == id => {
                    let Some(process) = &mut self.nodes[id.index()].process else { return Ok(()) };
                    if self.faults_on
                        && self.streams.network.u32(0..1_000_000) < self.profile.inbox_ppm
                    {
                        self.reach.count(What::InboxFull);
                        continue;
                    }
                    let roles = process.accept(Arrival::Peer(id, message));
                    for role in roles.into_iter().flatten() {
                        self.wake_soon(id, role, NOTICE_US);
                    }
                }
                Envelope::Peer { to, message } => {
                    self.checker.leaves(id, life, &message)?;
                    self.reach.sees(&message);
                    self.hash.add(&message);
                    if self.wired {
                        outgoing.push(Outgoing::Peer { to, message });
                    } else if self.reaches(id, to) {
                        self.send(|| Event::Arrive {
                            to,
                            arrival: Arrival::Peer(id, message.clone()),
                        });
                    }
                }
                Envelope::Answer { to, answer } => {
                    let (client, client_life) = who(to);
                    self.checker.answers(ClientId(client as u64), &answer)?;
                    self.hash.add(&answer);
                    if self.wired {
                        outgoing.push(Outgoing::Answer { to, answer });
                    } else if !self.out[id.index()] {
                        self.send(|| Event::Answer {
                            client,
                            life: client_life,
                            from: id,
                            answer: answer.clone(),
                        });
                    }
                }
                Envelope::Notice(Notice::Start(membership)) => self.start(id, membership)?,
                Envelope::Notice(notice) => {
                    if self.faults_on
                        && self.streams.network.u32(0..1_000_000) < self.profile.inbox_ppm
                    {
                        self.reach.count(What::InboxFull);
                        continue;
                    }
                    let Some(process) = &mut self.nodes[id.index()].process else { return Ok(()) };
                    if let Some(role) = process.notify(notice) {
                        self.wake_soon(id, role, NOTICE_US);
                    }
                }
                Envelope::Call { .. } => unreachable!("replicas do not call"),
            }
        }
        if let Some(wire) = &mut self.nodes[id.index()].wire
            && !outgoing.is_empty()
        {
            let frames = wire.send(&outgoing);
            self.send_frames(id, frames);
        }
        Ok(())
    }

    // --- the wire ------------------------------------------------------------------

    /// Whether anything gets from one replica to another.
    fn reaches(&self, from: ReplicaId, to: ReplicaId) -> bool {
        !self.links.is_cut(from, to) && !self.out[to.index()] && !self.out[from.index()]
    }

    fn send_frames(&mut self, id: ReplicaId, frames: Frames) {
        let from = address_of_replica(id);
        for (to, bytes) in frames {
            match to {
                Endpoint::Replica(to) if self.reaches(id, to) => {
                    self.send(|| Event::Arrive {
                        to,
                        arrival: Arrival::Frame(from, bytes.clone()),
                    });
                }
                Endpoint::Client(to) if !self.out[id.index()] => {
                    let (client, life) = who(to);
                    self.send(|| Event::Frame { client, life, bytes: bytes.clone() });
                }
                Endpoint::Replica(_) | Endpoint::Client(_) => {}
            }
        }
    }

    fn frame_to_replica(&mut self, id: ReplicaId, from: Address, bytes: &[u8]) -> Step {
        let Some(wire) = &mut self.nodes[id.index()].wire else { return Ok(()) };
        let (incoming, frames) = wire.receive(self.now, from, bytes);
        self.send_frames(id, frames);
        for incoming in incoming {
            self.arrive(
                id,
                match incoming {
                    Incoming::Peer { from, message } => Arrival::Peer(from, message),
                    Incoming::Client { from, message } => Arrival::Client(from, message),
                    Incoming::Answer { .. } => unreachable!("a replica opens no answers"),
                },
            )?;
        }
        self.expect_fragments(id);
        Ok(())
    }

    /// Adds a timer event for fragments that are missing, unless there is one.
    fn expect_fragments(&mut self, id: ReplicaId) {
        let node = &mut self.nodes[id.index()];
        let life = node.life;
        let Some(wire) = &mut node.wire else { return };
        if let Some(deadline) = wire.deadline()
            && wire.timer_at.is_none_or(|at| at > deadline)
        {
            let at = deadline.max(self.now.plus_us(1));
            wire.timer_at = Some(at);
            self.queue.add(at, Event::Missing { node: id, life });
        }
    }

    fn ask_for_fragments(&mut self, id: ReplicaId, life: u32) -> Step {
        let node = &mut self.nodes[id.index()];
        if node.life == life
            && let Some(wire) = &mut node.wire
        {
            wire.timer_at = None;
            let frames = wire.poll(self.now);
            self.send_frames(id, frames);
            self.expect_fragments(id);
        }
        Ok(())
    }

    fn frame_to_client(&mut self, client: usize, life: u32, bytes: &[u8]) -> Step {
        let visitor = &mut self.clients[client];
        if visitor.life != life {
            return Ok(());
        }
        let Some(wire) = &mut visitor.wire else { return Ok(()) };
        // A client does not look at addresses: identity travels in the frame.
        let (incoming, frames) = wire.receive(self.now, address_of_replica(ReplicaId(0)), bytes);
        self.send_calls(client, frames);
        for incoming in incoming {
            if let Incoming::Answer { from, answer } = incoming {
                self.answered(client, life, from, answer)?;
            }
        }
        Ok(())
    }

    fn send_calls(&mut self, client: usize, frames: Frames) {
        let from = address_of(client, self.clients[client].life);
        for (to, bytes) in frames {
            if let Endpoint::Replica(to) = to
                && !self.out[to.index()]
            {
                self.send(|| Event::Arrive { to, arrival: Arrival::Frame(from, bytes.clone()) });
            }
        }
    }

    /// What a life's codec has met.
    fn note_wire(&mut self, id: ReplicaId) {
        if let Some(wire) = self.nodes[id.index()].wire.take() {
            for (event, what) in [
                (net::counters::Event::Joined, What::FragmentsJoined),
                (net::counters::Event::FragmentsAsked, What::FragmentsAsked),
                (net::counters::Event::FragmentResent, What::FragmentsResent),
            ] {
                self.reach.add(what, wire.count(event));
            }
        }
    }

    fn start(&mut self, id: ReplicaId, membership: crate::paxos::Membership) -> Step {
        let node = &mut self.nodes[id.index()];
        let Some(process) = &mut node.process else { return Ok(()) };
        if let Some(wire) = &node.wire {
            wire.start(membership.cluster);
        }
        let membership_counts = membership.is_voter(id);
        if !membership_counts {
            self.reach.count(What::NotMember);
        }
        process.start(membership, &mut node.store, self.now, &mut self.streams.roles);
        let applied = process.learner().map_or(Slot::ZERO, |learner| learner.applied());
        node.started |= membership_counts;
        self.checker.restarted(id, applied);
        self.trace(|| format!("replica {id} starts, applied {applied}"));
        for role in ROLES {
            self.wake_soon(id, role, NOTICE_US);
        }
        Ok(())
    }

    fn note_leader(&mut self, id: ReplicaId) {
        let leads =
            self.nodes[id.index()].process.as_ref().and_then(|process| process.leading()).is_some();
        if leads && self.leader != Some(id) {
            self.leader = Some(id);
            self.leader_changes += 1;
            self.reach.count(What::LeaderChange);
            self.trace(|| format!("replica {id} leads"));
        } else if !leads && self.leader == Some(id) {
            self.leader = None;
        }
    }

    // --- the network ---------------------------------------------------------------

    /// Puts a datagram on its way, or loses it, or repeats it.
    fn send(&mut self, event: impl Fn() -> Event) {
        let rng = &mut self.streams.network;
        let mut copies = 1;
        if self.faults_on {
            if rng.u32(0..1_000_000) < self.profile.loss_ppm {
                return;
            }
            if rng.u32(0..1_000_000) < self.profile.duplicate_ppm {
                copies = 2;
            }
        }
        for _ in 0..copies {
            let mut takes = LATENCY_MIN_US + self.streams.network.u64(0..LATENCY_SPAN_US);
            if self.faults_on && self.streams.network.u32(0..1_000_000) < self.profile.late_ppm {
                takes += self.streams.network.u64(0..=self.profile.late_us);
            }
            self.queue.add(self.now.plus_us(takes), event());
        }
    }

    // --- clients ---------------------------------------------------------------------

    fn submit_later(&mut self, client: usize) {
        let visitor = &self.clients[client];
        let wait = self.streams.workload.u64(0..=2 * visitor.every_us);
        let life = visitor.life;
        self.queue.add(self.now.plus_us(wait), Event::Submit { client, life });
    }

    fn submit(&mut self, client: usize, life: u32) -> Step {
        let visitor = &mut self.clients[client];
        if visitor.life != life || !self.faults_on && visitor.farewell {
            return Ok(());
        }
        visitor.farewell = !self.faults_on;
        if visitor.role.is_busy() {
            self.submit_later(client);
            return Ok(());
        }
        let session = self.streams.workload.u64(1..);
        let long = self.streams.workload.u8(0..20) == 0;
        let line = visitor.next_line(match (long, self.wired) {
            (false, _) => 0,
            (true, false) => LONG_LINE_BYTES,
            (true, true) => FRAGMENTED_LINE_BYTES,
        });
        self.trace(|| format!("client {client} submits {line:?}"));
        self.turn_client(client, Some(client::Input::Submit { line, session }))?;
        self.submit_later(client);
        Ok(())
    }

    fn turn_client(&mut self, client: usize, input: Option<client::Input>) -> Step {
        let now = self.now;
        let draws = &mut self.streams.workload;
        let (envelopes, outcomes) = self.clients[client].turn(now, draws, input);
        for outcome in outcomes {
            match outcome {
                Outcome::Complete { seq, slot, .. } => {
                    self.lines += 1;
                    let Some((session, command)) = self.clients[client].in_flight.take() else {
                        continue;
                    };
                    self.trace(|| format!("client {client}: complete in slot {slot}"));
                    self.checker.completed(session, command, slot, seq)?;
                    if self.options.partition.is_some() && self.faults_on {
                        self.gap_us = self.gap_us.max(now.since_us(self.completed_at));
                        self.completed_at = now;
                    }
                }
                Outcome::Expired { .. } | Outcome::GaveUp { .. } => self.begin_client(client),
                Outcome::Waiting { .. } => {}
            }
        }
        let life = self.clients[client].life;
        let address = address_of(client, life);
        for envelope in envelopes {
            let Envelope::Call { to, message } = envelope else {
                unreachable!("a client only calls")
            };
            if let ClientMessage::Request(request) = &message {
                let command = &request.command;
                self.clients[client].in_flight = Some((command.session, command.seq));
                self.checker.submitted(command);
            }
            self.hash.add(&message);
            if let Some(wire) = &mut self.clients[client].wire {
                let frames = wire.send(&[Outgoing::Call { to, message }]);
                self.send_calls(client, frames);
            } else if !self.out[to.index()] {
                self.send(|| Event::Arrive {
                    to,
                    arrival: Arrival::Client(address, message.clone()),
                });
            }
        }
        let visitor = &mut self.clients[client];
        if let Some(deadline) = visitor.deadline() {
            let at = deadline.max(now.plus_us(1));
            if visitor.timer_at.is_none_or(|timer| timer > at) {
                visitor.timer_at = Some(at);
                self.queue.add(at, Event::ClientTimer { client, life });
            }
        }
        Ok(())
    }

    fn wire_client(&mut self, client: usize) {
        let boot = BootId(self.streams.workload.u64(1..));
        let n = self.nodes.len();
        self.clients[client].wire = self.wired.then(|| Wire::new(n, Party::Client, boot));
    }

    /// A client's process is started anew, under the same id.
    fn begin_client(&mut self, client: usize) {
        let n = self.nodes.len();
        self.clients[client].begin_anew(n);
        self.wire_client(client);
        self.submit_later(client);
    }

    // --- faults ----------------------------------------------------------------------

    fn fault_later(&mut self, every_us: u64, fault: Fault) {
        if every_us > 0 {
            let wait = self.streams.crashes.u64(every_us / 2..=every_us + every_us / 2);
            self.queue.add(self.now.plus_us(wait), Event::Fault(fault));
        }
    }

    fn fault(&mut self, fault: Fault) -> Step {
        if !self.faults_on {
            // What heals goes on; nothing new strikes.
            return match fault {
                Fault::Resume(id) => self.resume(id),
                Fault::Restart(id)
                    if self.nodes[id.index()].process.is_none() && !self.out[id.index()] =>
                {
                    self.begin_life(id)
                }
                _ => Ok(()),
            };
        }
        self.hash.add(&fault);
        let n = self.nodes.len();
        match fault {
            Fault::Crash => {
                let every = self.profile.crash_every_us;
                let id = match (self.leader, self.streams.crashes.bool()) {
                    (Some(leader), true) => leader,
                    _ => ReplicaId(self.streams.crashes.usize(..n) as u8),
                };
                if self.nodes[id.index()].process.is_some() {
                    self.reach.count(What::Crash);
                    let soon = self.streams.crashes.u64(0..12);
                    let tear = self.streams.crashes.usize(0..2_000);
                    let death = self.drawn_death();
                    match self.nodes[id.index()].store.disk() {
                        // The power goes in the middle of some write.
                        Some(disk) if soon > 0 => disk.cut_at(disk.calls() + soon, tear),
                        _ => {
                            self.end_life(id, death);
                            self.flip(id);
                            self.restart_later(id);
                        }
                    }
                }
                self.fault_later(every, Fault::Crash);
            }
            Fault::Restart(id) => {
                if self.nodes[id.index()].process.is_none() {
                    self.reach.count(What::Restart);
                    self.begin_life(id)?;
                }
            }
            Fault::Pause => {
                let every = self.profile.pause_every_us;
                let id = match (self.leader, self.streams.crashes.bool()) {
                    (Some(leader), true) => leader,
                    _ => ReplicaId(self.streams.crashes.usize(..n) as u8),
                };
                let node = &mut self.nodes[id.index()];
                if node.process.is_some() && node.paused_until.is_none() {
                    self.reach.count(What::Pause);
                    let until = self.now.plus_us(self.streams.crashes.u64(10_000..3_000_000));
                    node.paused_until = Some(until);
                    self.queue.add(until, Event::Fault(Fault::Resume(id)));
                    self.trace(|| format!("replica {id} sleeps until {}", until.0));
                }
                self.fault_later(every, Fault::Pause);
            }
            Fault::Resume(id) => self.resume(id)?,
            Fault::Partition => {
                let every = self.profile.partition_every_us;
                let kind = PARTITIONS[self.streams.crashes.usize(..PARTITIONS.len())];
                self.reach.count(What::partition(kind));
                let leader = self.leader;
                self.links.impose(kind, leader, &mut self.streams.crashes);
                self.trace(|| format!("partition {kind:?}, leader {leader:?}"));
                let lasts = self.streams.crashes.u64(50_000..5_000_000);
                if kind == Partition::Flap {
                    self.queue.add(self.now.plus_us(100_000), Event::Fault(Fault::Flap(20)));
                } else {
                    self.queue.add(self.now.plus_us(lasts), Event::Fault(Fault::Heal));
                }
                self.fault_later(every + lasts, Fault::Partition);
            }
            Fault::Heal => {
                self.links.heal();
                self.trace(|| "partition heals".into());
            }
            Fault::Flap(0) => self.links.heal(),
            Fault::Flap(left) => {
                let leader = self.leader;
                if left % 2 == 0 {
                    self.links.heal();
                } else {
                    self.links.impose(Partition::Flap, leader, &mut self.streams.crashes);
                }
                let wait = self.streams.crashes.u64(10_000..300_000);
                self.queue.add(self.now.plus_us(wait), Event::Fault(Fault::Flap(left - 1)));
            }
            Fault::Wipe => {
                // Once a run, and only where a quorum of whole disks is left.
                let id = ReplicaId(self.streams.crashes.usize(..n) as u8);
                let all = self.nodes.iter().all(|node| node.started && !node.flipped);
                if n >= 3 && all {
                    self.reach.count(What::Wipe);
                    self.end_life(id, Death::Killed);
                    self.wipe(id);
                    self.restart_later(id);
                }
            }
            Fault::ClientDies => {
                let every = self.profile.client_every_us;
                let client = self.streams.crashes.usize(..self.clients.len());
                self.reach.count(What::ClientDies);
                self.trace(|| format!("client {client} dies and returns"));
                self.begin_client(client);
                self.fault_later(every, Fault::ClientDies);
            }
        }
        Ok(())
    }

    /// A bit of a dead replica's disk flips, now and then; of f replicas at most, those
    /// that have lost their disk included.
    fn flip(&mut self, id: ReplicaId) {
        let rng = &mut self.streams.disk;
        let hit = rng.u8(0..20) == 0;
        let (folder, place, bit) = (rng.bool(), rng.u64(..), rng.u32(0..8));
        let lost = |node: &&Node| node.flipped || self.wiped[node.id.index()];
        let spent = self.nodes.iter().filter(lost).count() >= (self.nodes.len() - 1) / 2;
        let all = self.nodes.iter().all(|node| node.started);
        if !hit || spent || !all || self.nodes.len() < 3 || !self.options.switches.disk {
            return;
        }
        let node = &mut self.nodes[id.index()];
        let Some(disk) = node.store.disk() else { return };
        let disk = disk.folder(if folder { "data" } else { "logs" });
        let files: Vec<_> =
            disk.durable_files().into_iter().filter(|(_, length)| *length > 0).collect();
        if let Some((name, length)) = files.get(place as usize % files.len().max(1)) {
            let byte = (place >> 8) as usize % length;
            disk.flip_bit(name, byte, bit);
            node.flipped = true;
            let name = name.clone();
            self.trace(|| format!("replica {id}: a bit flips in {name} at {byte}"));
        }
    }

    fn resume(&mut self, id: ReplicaId) -> Step {
        let node = &mut self.nodes[id.index()];
        if node.paused_until.is_none_or(|until| until > self.now) {
            return Ok(());
        }
        node.paused_until = None;
        for arrival in std::mem::take(&mut node.backlog) {
            self.arrive(id, arrival)?;
        }
        Ok(())
    }

    /// The second phase: a quorum is well, the rest may be anything.
    fn stop_faults(&mut self) -> Step {
        self.faults_on = false;
        self.calm_since = Some(self.now);
        self.links.heal();
        let n = self.nodes.len();
        let mut ids: Vec<usize> = (0..n).collect();
        self.streams.crashes.shuffle(&mut ids);
        // Whoever has lost its disk, or may have, is not of the quorum.
        ids.sort_by_key(|index| self.wiped[*index] || self.nodes[*index].flipped);
        // A cluster that has not started yet needs everyone.
        let strangers = |node: &&Node| !node.started && !self.wiped[node.id.index()];
        let well = if self.nodes.iter().any(|node| strangers(&node)) { n } else { quorum(n) };
        for (place, index) in ids.into_iter().enumerate() {
            let id = ReplicaId(index as u8);
            if place >= well {
                match self.streams.crashes.u8(0..3) {
                    0 => {
                        self.end_life(id, Death::Killed);
                        self.out[index] = true;
                        continue;
                    }
                    1 => {
                        self.out[index] = true;
                        continue;
                    }
                    _ if self.nodes[index].flipped => {
                        self.out[index] = true;
                        continue;
                    }
                    _ => {}
                }
            }
            if let Some(disk) = self.nodes[index].store.disk() {
                disk.heal();
            }
            if self.nodes[index].process.is_none() && !self.out[index] {
                self.begin_life(id)?;
            }
            if self.nodes[index].paused_until.is_some() {
                self.nodes[index].paused_until = Some(self.now);
                self.queue.add(self.now, Event::Fault(Fault::Resume(id)));
            }
        }
        let out = self.out.clone();
        self.trace(|| format!("faults stop; out: {out:?}"));
        for client in 0..self.clients.len() {
            self.clients[client].farewell = false;
        }
        Ok(())
    }

    /// Whether every line is complete and the well replicas' logs are equal.
    fn is_settled(&self) -> bool {
        let quiet = self.clients.iter().all(|visitor| visitor.farewell && !visitor.role.is_busy());
        let len = self.checker.log_len();
        quiet
            && self.nodes.iter().filter(|node| !self.out[node.id.index()]).all(|node| {
                let learner = node.process.as_ref().and_then(|process| process.learner());
                learner.is_some_and(|learner| learner.applied().0 == len)
            })
    }

    fn stuck(&self) -> Violation {
        let busy: Vec<usize> =
            (0..self.clients.len()).filter(|client| self.clients[*client].role.is_busy()).collect();
        let applied: Vec<String> = self
            .nodes
            .iter()
            .map(|node| match node.process.as_ref().and_then(|process| process.learner()) {
                _ if self.out[node.id.index()] => "out".into(),
                Some(learner) => learner.applied().to_string(),
                None => "down".into(),
            })
            .collect();
        let waited = LIVENESS_US / 1_000_000;
        Violation {
            what: format!(
                "I9: not settled {waited} s after the faults stopped: clients {busy:?} wait, \
                 replicas have applied {applied:?} of {}",
                self.checker.log_len()
            ),
            slot: None,
        }
    }
}

/// Where a client's process is answered; each life has an address of its own.
fn address_of(client: usize, life: u32) -> Address {
    let ip = Ipv4Addr::from(0x0a00_0000 + life);
    Address(SocketAddr::new(IpAddr::V4(ip), ADDRESS_PORT + client as u16))
}

/// Where a replica's datagrams come from.
fn address_of_replica(id: ReplicaId) -> Address {
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 255, 0, id.0)), 1))
}

fn who(address: Address) -> (usize, u32) {
    let IpAddr::V4(ip) = address.0.ip() else { unreachable!("addresses here are IPv4") };
    ((address.0.port() - ADDRESS_PORT) as usize, u32::from(ip) - 0x0a00_0000)
}
