//! Explores the interleavings of whole processes: replicas and their clients.
//!
//! The tests run [`replica::start`] and [`client::run_on`] with everything that those call: a
//! replica's network loop, its three roles on threads of their own or on the loop's (that is
//! drawn), and the bootstrap role on the main thread; a client's stdin, network and role threads;
//! real sockets, but a disk in memory. In three explorations one replica is a cluster of its
//! own. Up to three clients type lines into it, another floods it with questions, and one thread
//! sends the signals. The fourth has three replicas, which must find each other first, and two
//! clients. Channels hold 1 to 64 batches, so that inboxes become full.
//!
//! Each test draws how much the clients type and how that ends, when the signal comes (before
//! anything has begun, between, or in the middle of everything), and the fault: none; a call
//! of the disk fails, at any time, also at the end; a call takes seconds; the reader of the
//! completions goes; a replica ends before the others, or was killed in an earlier life.
//!
//! The tests require:
//!
//! - A replica ends within `CLOSING_MAX` of the check that sees the signal, and a leader has
//!   `HAND_OVER_MAX_US` and `LINGER_US` before that. If nothing is slow, one that is alone ends by
//!   that check: no thread has to be woken twice.
//! - If no call failed and none was slow, the replica ends well. Then everything that it knew
//!   is on the disk, although nothing was ever synced: after a power cut and a new start of
//!   the host it is still a member, and its log and checkpoint open. (So the thread that held
//!   a storage closed it, whether its role had begun or not.)
//! - If a call failed, the replica ends with that error, and no clean end is noted.
//! - A client whose replica lives ends when its input does. Each line that was not refused is
//!   complete, in order. A client also ends if it is told to, if no replica takes its lines,
//!   and if the reader of its completions has gone.
//! - No thread waits for ever (the scheduler checks that), and none panics.
//!
//! Each exploration names the states that it must reach (`ENDS`), so that an exploration which
//! checks nothing is noticed. `bugs/` has eight patches, and one exploration fails under each.
//! `make schedules` tries more schedules.
//!
//! **Not** covered: `ending::fail` when several threads fail at once; what the system does
//! with threads that a process leaves behind; real signals and the parent's death (the tests
//! set the flag that those set). Nor do they require progress where timers are early or one
//! batch fills an inbox: there they check the ends alone (`explore::is_fair`).

#![cfg(test)]

use super::client::{self, ClientOptions, Screen, Source};
use super::departure::{HAND_OVER_MAX_US, LINGER_US};
use super::durable::{Durable, StartError};
use super::launch::CLOSING_MAX;
use super::layout::Layout;
use super::metrics::Readers;
use super::process::{Clock, LOOK};
use super::replica::{self, Process, ReplicaOptions};
use crate::config::{Config, ReplicaAddress};
use crate::machine::Host;
use crate::message::{ClientMessage, Party};
use crate::net::frame::{ClusterCell, Guard, Identity};
use crate::net::{BoundSocket, Network, NetworkConfig};
use crate::net::{DATAGRAM_BYTES_DEFAULT, Outgoing, pack};
use crate::paxos;
use crate::storage::Durability;
use crate::storage::acceptor_log::Options;
use crate::storage::data_dir::{HostBoot, Purpose};
use crate::types::{BootId, ClientId, DirectoryId, ReplicaId};
use command_line::ending::Ending;
use datagrams::counters::{Counters, NetEvent};
use durable::background::Executor;
use durable::disk::{Disk, DiskFile, FileId, Seen};
use durable::sim_disk::{Fault, SimDisk, SimFile, Survival};
use interleavings::threads::explore::{self, End, Exploration};
use seeds::stream;
use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Everything here that ends takes less than this.
const AGES_US: u64 = 120_000_000;

/// The time that the steps alone may take.
const STEPS_US: u64 = 30_000;

// --- a slow disk -------------------------------------------------------------------------

/// A disk in memory. Other threads may go on during each of its calls, and one call may be
/// slow.
#[derive(Debug, Clone)]
struct TriedDisk {
    disk: SimDisk,
    slow: Slow,
}

#[derive(Debug, Clone)]
struct Slow {
    at: Arc<AtomicU64>,
    us: u64,
    /// Whether the main thread made the slow call.
    of_main: Arc<AtomicBool>,
}

#[derive(Debug)]
struct TriedFile {
    file: SimFile,
    disk: TriedDisk,
}

impl TriedDisk {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(stream(seed, "disk"));
        TriedDisk {
            disk,
            slow: Slow { at: Arc::new(AtomicU64::new(u64::MAX)), us: 0, of_main: Arc::default() },
        }
    }

    fn folder(&self, name: &str) -> Self {
        TriedDisk { disk: self.disk.folder(name), slow: self.slow.clone() }
    }

    fn turn(&self) {
        let call = self.disk.calls();
        let slow = self.slow.at.compare_exchange(call, 0, Ordering::SeqCst, Ordering::SeqCst);
        if slow.is_ok() {
            let of_main = thread::current().name() == Some("replica");
            self.slow.of_main.store(of_main, Ordering::SeqCst);
        }
        explore::pause(if slow.is_ok() { self.slow.us } else { 1 });
    }

    fn file(&self, file: SimFile) -> TriedFile {
        TriedFile { file, disk: self.clone() }
    }
}

impl Disk for TriedDisk {
    type File = TriedFile;
    const BACKGROUND: Executor = Executor::Thread;

    fn open(&self, name: &str) -> io::Result<Option<TriedFile>> {
        Ok(self.disk.open(name)?.map(|file| self.file(file)))
    }

    fn create(&self, name: &str) -> io::Result<TriedFile> {
        self.turn();
        Ok(self.file(self.disk.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.turn();
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.turn();
        self.disk.remove(name)
    }

    fn look(&self, name: &str) -> io::Result<Option<Seen>> {
        self.disk.look(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.turn();
        self.disk.sync_dir()
    }

    fn describe(&self, name: &str) -> String {
        self.disk.describe(name)
    }
}

impl DiskFile for TriedFile {
    fn id(&self) -> io::Result<FileId> {
        self.file.id()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_at(at, bytes)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.turn();
        self.file.write_at(at, bytes)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.turn();
        self.file.set_length(length)
    }

    fn preallocate(&self, length: u64) -> io::Result<()> {
        self.disk.turn();
        self.file.preallocate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.turn();
        self.file.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
}

// --- the replica -------------------------------------------------------------------------

const SEGMENT_BYTES: u64 = 4_096;

/// Opens the replica's disk. `host_boot` names the start of the host.
fn open(
    disk: &TriedDisk,
    (id, n): (ReplicaId, usize),
    durability: Durability,
    host_boot: &str,
) -> Result<Durable<TriedDisk>, StartError> {
    let purpose = Purpose {
        replica: id,
        n,
        durability,
        host_boot: Some(HostBoot { id: host_boot.into(), up_s: 5 }),
        drawn: DirectoryId(7 + u64::from(id.0)),
    };
    let kept = Options { segment_bytes: SEGMENT_BYTES, waits: false };
    Durable::open_on(
        purpose,
        &Host::CHAT,
        || Ok(disk.folder("logs")),
        || Ok(disk.folder("data")),
        kept,
        None,
    )
}

/// The addresses of a cluster's replicas.
#[derive(Debug, Clone)]
struct Cluster(Vec<SocketAddr>);

impl Cluster {
    /// A cluster of `n` replicas, and their sockets.
    fn of(n: usize) -> (Cluster, Vec<BoundSocket>) {
        let bind = || BoundSocket::bind("127.0.0.1:0".parse().expect("an address"));
        let sockets: Vec<_> = (0..n).map(|_| bind().expect("a port")).collect();
        (Cluster(sockets.iter().map(BoundSocket::address).collect()), sockets)
    }

    fn config(&self) -> Config {
        let row = |&address: &SocketAddr| {
            let (host, port) = ("here".into(), address.port());
            ReplicaAddress { host, port, line: 1, address }
        };
        Config { f: self.0.len() / 2, replicas: self.0.iter().map(row).collect() }
    }
}

struct Replica {
    /// The replica's id, and the number of replicas.
    place: (ReplicaId, usize),
    disk: TriedDisk,
    durability: Durability,
    counters: Arc<Counters>,
    signal: Arc<AtomicBool>,
    running: explore::Running<Result<(), String>>,
}

/// Starts a replica on a disk. `strike` plans the disk's faults once it is open.
fn begin_replica(
    id: u8,
    cluster: &Cluster,
    socket: BoundSocket,
    disk: TriedDisk,
    durability: Durability,
    strike: impl FnOnce(&SimDisk),
) -> Replica {
    let (id, n, boot) = (ReplicaId(id), cluster.0.len(), BootId(5 + explore::draw(1 << 20)));
    let config = cluster.config();
    let peers = cluster.0.clone();
    let cluster = ClusterCell::new();
    let identity = Identity {
        n,
        rows: n,
        me: Party::Replica(id),
        boot,
        cluster: cluster.clone(),
        guard: Guard::none(),
    };
    let network = NetworkConfig {
        codec: identity,
        peers,
        datagram_max: DATAGRAM_BYTES_DEFAULT,
        offload: true,
        loss: 0.0,
        seed: 1,
    };
    let network = Network::new(socket, network).expect("a network");
    let counters = network.counters();
    let options = ReplicaOptions {
        names: None,
        keys: None,
        id,
        config,
        host: Host::CHAT,
        log_dir: PathBuf::new(),
        data_dir: PathBuf::new(),
        begin_from: None,
        rejoin: false,
        observer: false,
        durability,
        layout: [Layout::PerRole, Layout::One][explore::draw(2) as usize],
        skip_slot: None,
        loss: 0.0,
        seed: 1,
        datagram_bytes: DATAGRAM_BYTES_DEFAULT,
        offload: true,
        heartbeat_us: 50_000,
        election_us: (300_000, 600_000),
        metrics_file: None,
        metrics_address: None,
        trace: None,
        crash_after_accepts: None,
        tells_supervisor: false,
        die_with_parent: false,
    };
    let settings = paxos::Settings {
        id,
        n,
        places: n,
        boot,
        payload_bytes: pack::payload_bytes(DATAGRAM_BYTES_DEFAULT),
        heartbeat_us: options.heartbeat_us,
        election_min_us: options.election_us.0,
        election_max_us: options.election_us.1,
        checkpoint_slots: 4,
        skip_slot: None,
        limits: paxos::Limits::DEFAULT,
    };
    let durable = open(&disk, (id, n), durability, "first").expect("a disk that is well");
    strike(&disk.disk);
    let signal = Arc::new(AtomicBool::new(false));
    let ending = Ending::when(Arc::clone(&signal));
    let running = explore::process("replica", move || {
        let (clock, readers) = (Clock::start(), Readers::default());
        let process = Process { cluster, network, clock, tracer: None, readers };
        replica::start(&options, settings, process, durable, &ending)
            .map_err(|error| error.to_string())
    });
    Replica { place: (id, n), disk, durability, counters, signal, running }
}

/// A replica that is a cluster of its own.
fn begin_alone(
    disk: TriedDisk,
    durability: Durability,
    strike: impl FnOnce(&SimDisk),
) -> (Replica, Cluster) {
    let (cluster, mut sockets) = Cluster::of(1);
    let socket = sockets.remove(0);
    (begin_replica(0, &cluster, socket, disk, durability, strike), cluster)
}

/// Lets this much time pass, even if no thread waits.
fn pass(us: u64) {
    explore::process("time", move || explore::pause(us)).ends();
}

/// Sets `signal` at a moment before `most_us` are over. The result holds that moment.
fn signal_within(signal: &Arc<AtomicBool>, most_us: u64) -> Arc<AtomicU64> {
    let said_at = Arc::new(AtomicU64::new(u64::MAX));
    let (signal, said) = (Arc::clone(signal), Arc::clone(&said_at));
    // Early moments are as likely as late ones.
    let us = explore::draw(1 << (10 + explore::draw(11))).min(most_us);
    explore::process("signals", move || {
        explore::pause(us);
        said.store(explore::now_us(), Ordering::SeqCst);
        signal.store(true, Ordering::SeqCst);
    });
    said_at
}

impl Replica {
    /// Opens the disk as the next life finds it.
    fn left(&self, survives: Survival, host_boot: &str) -> Result<Durable<TriedDisk>, StartError> {
        let mut disk = self.disk.clone();
        disk.disk = disk.disk.fork(fastrand::Rng::with_seed(1));
        disk.disk.heal();
        match survives {
            Survival::Everything => disk.disk.crash_process(),
            survives => disk.disk.power_cut(survives),
        }
        open(&disk, self.place, self.durability, host_boot)
    }

    /// Whether the replica belonged to a cluster when it ended.
    fn had_started(&self) -> bool {
        self.left(Survival::Everything, "first").is_ok_and(|durable| durable.members.is_some())
    }

    /// Whether the replica still belongs to a cluster after a power cut that nothing unsynced
    /// survived, and a new start of the host.
    fn is_member_still(&self) -> bool {
        match self.left(Survival::Nothing, "second") {
            Ok(durable) => durable.members.is_some(),
            Err(error) => {
                explore::require(false, || format!("the disk cannot be opened: {error:?}"));
                false
            }
        }
    }
}

// --- clients -----------------------------------------------------------------------------

/// A user's input.
struct Typed {
    text: Vec<u8>,
    at: usize,
    /// Whether the user stays after that, and types no more.
    stays: bool,
}

impl Read for Typed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Typed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        explore::pause(explore::draw(1 << explore::draw(10)));
        if self.at == self.text.len() && self.stays {
            explore::never();
        }
        // One line per call, as from a terminal.
        let rest = &self.text[self.at..];
        let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        Ok(&rest[..line])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

/// A client's output, until its reader goes.
#[derive(Clone)]
struct Shown {
    text: Arc<Mutex<Vec<u8>>>,
    lines_left: Option<u64>,
}

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(left) = &mut self.lines_left {
            if *left == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            *left -= bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        self.text.lock().expect("no thread panics").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Client {
    signal: Arc<AtomicBool>,
    shown: Arc<Mutex<Vec<u8>>>,
    /// How many lines it has to complete.
    lines: u64,
    /// Whether it has a line that is refused.
    refuses: bool,
    running: explore::Running<Result<i32, String>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Habits {
    stays: bool,
    /// After how many lines the reader of the completions goes.
    reader_goes: Option<u64>,
    timeout_us: Option<u64>,
}

fn begin_client(number: u64, cluster: &Cluster, habits: Habits) -> Client {
    let (mut text, mut lines, mut refuses) = (Vec::new(), 0, false);
    for _ in 0..explore::draw(6) {
        if explore::draw(5) == 0 {
            text.extend(b"\xff\n");
            refuses = true;
            explore::met("a line refused");
        } else {
            text.extend(format!("line {lines}\n").bytes());
            lines += 1;
        }
    }
    if !habits.stays && explore::draw(3) == 0 {
        text.extend(b"SHUTDOWN\nnever read\n");
        explore::met("SHUTDOWN");
    }
    let options = ClientOptions {
        id: ClientId(number),
        config: cluster.config(),
        names: None,
        keys: None,
        loss: if explore::draw(3) == 0 { 0.3 } else { 0.0 },
        seed: number,
        datagram_bytes: DATAGRAM_BYTES_DEFAULT,
        offload: true,
        timeout_us: habits.timeout_us,
        trace: None,
        die_with_parent: false,
    };
    let (signal, shown) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let ending = Ending::when(Arc::clone(&signal));
    let to = Shown { text: Arc::clone(&shown), lines_left: habits.reader_goes };
    let screen = Screen { to, timing: false, prompt: false, tell: Arc::new(|_: &str| {}) };
    let typed = move || Source { from: Typed { text, at: 0, stays: habits.stays }, line_max: None };
    let running = explore::process("client", move || {
        client::run_on(options, &ending, typed, screen).map_err(|error| error.to_string())
    });
    Client { signal, shown, lines, refuses, running }
}

impl Client {
    /// The numbers of the lines that are complete.
    fn complete(&self) -> Vec<u64> {
        let shown = self.shown.lock().expect("no thread panics");
        let text = String::from_utf8(shown.clone()).expect("text");
        let number = |line: &str| line.split(' ').nth(1)?.parse().ok();
        text.lines().map(|line| number(line).expect("client, number, slot")).collect()
    }

    /// Requires that the client ends well, with all its lines complete.
    fn ends_with_all(&self) {
        let ended = self.running.ends_within(AGES_US);
        let code = i32::from(self.refuses);
        explore::require(ended == Some(End::Returned(Ok(code))), || {
            format!("the client ended with {ended:?} instead of {code}")
        });
        let complete = self.complete();
        explore::require(complete == (0..self.lines).collect::<Vec<_>>(), || {
            format!("of {} lines {complete:?} are complete", self.lines)
        });
    }

    /// Requires that the client ends, with any result.
    fn ends(&self) -> i32 {
        let ended = self.running.ends_within(AGES_US);
        explore::require(matches!(ended, Some(End::Returned(Ok(0 | 1)))), || {
            format!("the client ended with {ended:?}")
        });
        let Some(End::Returned(Ok(code))) = ended else { unreachable!("it is required") };
        let complete = self.complete();
        explore::require(complete == (0..complete.len() as u64).collect::<Vec<_>>(), || {
            format!("{complete:?} are complete")
        });
        code
    }
}

/// A client that asks this often and never listens.
fn flood(cluster: &Cluster, questions: u64) {
    let n = cluster.0.len();
    let socket = BoundSocket::for_client(&cluster.0).expect("a port");
    let identity = Identity {
        n,
        rows: n,
        me: Party::Client,
        boot: BootId(9),
        cluster: ClusterCell::new(),
        guard: Guard::none(),
    };
    let peers = cluster.0.clone();
    let settings = NetworkConfig {
        codec: identity,
        peers,
        datagram_max: DATAGRAM_BYTES_DEFAULT,
        offload: true,
        loss: 0.0,
        seed: 1,
    };
    let network = Network::new(socket, settings).expect("a network");
    let mut outlet = network.outlet(1);
    explore::process("flood", move || {
        for _ in 0..questions {
            outlet.send([Outgoing::Call { to: ReplicaId(0), message: ClientMessage::Hello }]);
        }
        drop(network);
    });
}

// --- the explorations --------------------------------------------------------------------

/// A life before the explored one. It ends with a kill: its writes are there, but none is
/// durable for certain.
fn an_earlier_life(disk: TriedDisk) -> TriedDisk {
    let (mut replica, cluster) = begin_alone(disk, Durability::Os, |_| {});
    let client = begin_client(9, &cluster, Habits::default());
    pass(explore::draw(1 << explore::draw(15)));
    replica.running.kill();
    client.signal.store(true, Ordering::SeqCst);
    client.ends();
    replica.disk.disk.crash_process();
    replica.disk
}

/// A replica that a signal ends at any moment, on a disk that may fail or be slow.
fn a_replica_ends() {
    let (well, fails, slow) = match explore::draw(4) {
        0 => (false, true, false),
        1 => (false, false, true),
        _ => (true, false, false),
    };
    let mut disk = TriedDisk::new(1);
    disk.slow.us = 1 << (10 + explore::draw(14));
    let slow_us = if slow { disk.slow.us } else { 0 };
    let slow_at = Arc::clone(&disk.slow.at);
    if explore::draw(4) == 0 {
        disk = an_earlier_life(disk);
    }
    let durability = match explore::draw(8) {
        0 => Durability::None,
        1 => Durability::Sync,
        _ => Durability::Os,
    };
    let mut call = explore::draw(1 << explore::draw(8));
    let (replica, cluster) = begin_alone(disk, durability, |disk| {
        call += disk.calls();
        if fails {
            let fault = if explore::draw(2) == 0 { Fault::Device } else { Fault::Full };
            disk.fail_at(call, fault);
        } else if slow {
            slow_at.store(call, Ordering::SeqCst);
        }
    });
    let began_us = explore::now_us();
    let said_at = signal_within(&replica.signal, u64::MAX);
    let stays = Habits { stays: true, ..Habits::default() };
    let clients: Vec<Client> =
        (0..explore::draw(4)).map(|number| begin_client(number, &cluster, stays)).collect();
    if explore::draw(3) == 0 {
        flood(&cluster, explore::draw(100));
    }
    let ended = replica.running.ends_within(AGES_US);
    let ended_us = replica.running.ended_us().unwrap_or(u64::MAX);
    let took_us = ended_us.saturating_sub(said_at.load(Ordering::SeqCst).max(began_us));
    let failed = fails && replica.disk.disk.calls() > call;
    let on_time = !explore::hurries();
    let started = replica.had_started();
    let member = replica.is_member_still();
    match &ended {
        None => explore::require(false, || "the replica does not end".into()),
        Some(End::Returned(Ok(()))) => {
            let look_us = LOOK.as_micros() as u64;
            // The proposer may share the thread of the disk that is slow.
            let closing_us = CLOSING_MAX.as_micros() as u64 + HAND_OVER_MAX_US + look_us;
            let slow_us = match replica.disk.slow.of_main.load(Ordering::SeqCst) {
                true => slow_us,
                false => slow_us.min(closing_us),
            };
            // A full inbox loses the word to leave, and the next look says it again.
            let full = replica.counters.of(NetEvent::InboxFull) > 0;
            let most_us = look_us * (1 + 2 * u64::from(full)) + STEPS_US + slow_us;
            explore::require(!on_time || took_us <= most_us, || {
                format!("the end took {took_us} µs, more than {most_us}")
            });
            explore::require(!failed, || "the replica ends well although its disk failed".into());
        }
        Some(End::Returned(Err(_)) | End::Failed(_)) => {
            explore::require(failed, || format!("the replica failed: {ended:?}"));
            explore::require(!member || durability != Durability::Os, || {
                format!("a clean end was noted after {ended:?}")
            });
        }
    }
    if well && on_time {
        let kept = started && durability != Durability::None;
        explore::require(member == kept, || {
            format!("a member before the end: {started}, after it: {member}")
        });
    }
    let state = match &ended {
        Some(End::Returned(Ok(()))) if !started => "ended before it began",
        Some(End::Returned(Ok(()))) if slow && started && !member => "a thread was left behind",
        Some(End::Returned(Ok(()))) => "ended well",
        Some(End::Returned(Err(_))) => "the main thread's storage failed",
        _ if said_at.load(Ordering::SeqCst) <= ended_us => "a storage failed at the end",
        _ => "a storage failed",
    };
    explore::met(state);
    if replica.counters.of(NetEvent::InboxFull) > 0 {
        explore::met("a full inbox");
    }
    for client in &clients {
        client.signal.store(true, Ordering::SeqCst);
        client.ends();
    }
}

const ENDS: &[&str] = &[
    "ended before it began",
    "ended well",
    "a thread was left behind",
    "the main thread's storage failed",
    "a storage failed",
    "a storage failed at the end",
    "a full inbox",
];

/// Clients whose replica outlives them.
fn clients_end_with_their_input() {
    let (replica, cluster) = begin_alone(TriedDisk::new(1), Durability::None, |_| {});
    let clients: Vec<Client> = (0..1 + explore::draw(3))
        .map(|number| begin_client(number, &cluster, Habits::default()))
        .collect();
    if explore::draw(2) == 0 {
        flood(&cluster, explore::draw(100));
    }
    clients.iter().for_each(Client::ends_with_all);
    replica.signal.store(true, Ordering::SeqCst);
    let ended = replica.running.ends_within(AGES_US);
    explore::require(ended == Some(End::Returned(Ok(()))), || format!("{ended:?}"));
}

/// A client that ends before its input does.
fn a_client_is_ended() {
    let (replica, cluster) = begin_alone(TriedDisk::new(1), Durability::None, |_| {});
    let mut habits = Habits { stays: explore::draw(2) == 0, ..Habits::default() };
    let why = explore::draw(3);
    match why {
        0 => habits.reader_goes = Some(explore::draw(4)),
        1 => habits.timeout_us = Some(1 + explore::draw(1 << explore::draw(24))),
        _ => {}
    }
    let client = begin_client(1, &cluster, habits);
    if why == 1 {
        signal_within(&replica.signal, 50_000);
    }
    // Nothing else ends a client whose user stays without typing.
    if why == 2 || habits.stays {
        signal_within(&client.signal, u64::MAX);
    }
    let code = client.ends();
    let all = client.complete().len() as u64 == client.lines;
    explore::met(match (why, code) {
        _ if all => "all complete",
        (0, 1) if !client.signal.load(Ordering::SeqCst) => "the reader has gone",
        (1, 1) if !client.signal.load(Ordering::SeqCst) => "gave up",
        (_, 1) => "interrupted",
        _ => "told to end between lines",
    });
    replica.signal.store(true, Ordering::SeqCst);
    let ended = replica.running.ends_within(AGES_US);
    explore::require(ended == Some(End::Returned(Ok(()))), || format!("{ended:?}"));
}

/// Three replicas, which must find each other first, and clients. One replica may end while
/// the clients are at work. The others go on, and every replica ends well. Where the order is
/// fair, all lines become complete.
fn a_cluster_ends() {
    let (cluster, sockets) = Cluster::of(3);
    let replicas: Vec<Replica> = (0..)
        .zip(sockets)
        .map(|(id, socket)| {
            let disk = TriedDisk::new(u64::from(id));
            begin_replica(id, &cluster, socket, disk, Durability::Os, |_| {})
        })
        .collect();
    let clients: Vec<Client> = (0..1 + explore::draw(2))
        .map(|number| begin_client(number, &cluster, Habits::default()))
        .collect();
    let first = explore::draw(6) as usize;
    let end = |replica: &Replica| {
        let (began_us, look_us) = (explore::now_us(), LOOK.as_micros() as u64);
        let most_us = look_us + STEPS_US + HAND_OVER_MAX_US + LINGER_US + look_us;
        replica.signal.store(true, Ordering::SeqCst);
        let ended = replica.running.ends_within(AGES_US);
        explore::require(ended == Some(End::Returned(Ok(()))), || format!("{ended:?}"));
        let took_us = replica.running.ended_us().unwrap_or(u64::MAX).saturating_sub(began_us);
        explore::require(explore::hurries() || took_us <= most_us, || {
            format!("the end took {took_us} µs")
        });
        let (started, member) = (replica.had_started(), replica.is_member_still());
        explore::require(explore::hurries() || started == member, || {
            format!("a member before the end: {started}, after it: {member}")
        });
        if !started {
            explore::met("ended while it waited for the others");
        }
        if started && replica.place.0 == ReplicaId(0) {
            explore::met("the leader ended");
        }
    };
    if let Some(replica) = replicas.get(first) {
        pass(explore::draw(1 << (10 + explore::draw(10))));
        end(replica);
        let mut others = replicas.iter().filter(|other| other.place != replica.place);
        if !others.any(Replica::had_started) {
            // The others do not start without the replica that has gone.
            clients.iter().for_each(|client| client.signal.store(true, Ordering::SeqCst));
        }
    }
    for client in &clients {
        if !explore::is_fair() || client.signal.load(Ordering::SeqCst) {
            // No progress is required then.
            pass(100_000);
            client.signal.store(true, Ordering::SeqCst);
            client.ends();
        } else {
            client.ends_with_all();
            explore::met("all complete");
        }
    }
    for (at, replica) in replicas.iter().enumerate() {
        if at != first {
            end(replica);
        }
    }
}

const STEPS_MAX: u64 = 200_000;
const REPLICA: Exploration = Exploration {
    name: "runtime::schedules::a_replica_ends_from_every_state",
    steps_max: STEPS_MAX,
};
const CLIENTS: Exploration = Exploration {
    name: "runtime::schedules::clients_end_when_their_input_does",
    steps_max: STEPS_MAX,
};
const ENDED: Exploration =
    Exploration { name: "runtime::schedules::a_client_ends_when_it_must", steps_max: STEPS_MAX };

const CLUSTER: Exploration =
    Exploration { name: "runtime::schedules::three_replicas_end_one_by_one", steps_max: STEPS_MAX };

#[test]
fn three_replicas_end_one_by_one() {
    let wanted = ["ended while it waited for the others", "the leader ended", "all complete"];
    explore::try_seeds(CLUSTER, explore::count(120), &wanted, || a_cluster_ends);
}

#[test]
fn a_replica_ends_from_every_state() {
    explore::try_seeds(REPLICA, explore::count(1_200), ENDS, || a_replica_ends);
}

#[test]
fn clients_end_when_their_input_does() {
    explore::try_seeds(CLIENTS, explore::count(200), &["a line refused", "SHUTDOWN"], || {
        clients_end_with_their_input
    });
}

#[test]
fn a_client_ends_when_it_must() {
    let wanted = ["the reader has gone", "gave up", "interrupted", "all complete"];
    explore::try_seeds(ENDED, explore::count(400), &wanted, || a_client_is_ended);
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    for seed in 0..10 {
        let hash = || explore::run_seed(CLUSTER, seed, a_cluster_ends).expect("it goes well").hash;
        assert_eq!(hash(), hash(), "{seed}");
    }
}
