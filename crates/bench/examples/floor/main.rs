//! The floor: the speed of the architecture on this host without a protocol.
//!
//! Three replica processes and a client process run on loopback. They pass each line through the
//! same threads, channels and datagrams as in `bench --outstanding N` with one socket. But they
//! only receive, copy, hand over and send bytes. The difference between the floor and `bench`
//! is the cost of the protocol and its checks. To be faster than the floor, another
//! architecture is needed. Compare the two on a host that does nothing else, in alternating
//! runs.
//!
//! With `--each` every line in flight has a socket of its own, like `bench` with as many
//! `--connections`. One thread waits for all sockets, and each answer and each line is a
//! datagram.
//!
//! ```text
//! client     network: each answer submits its session's next line; the lines of one
//!              burst leave together
//! leader     network  -> proposer: one run of a burst's lines
//!              -> learner, -> acceptor, => both followers
//!            acceptor: keeps it [append, sync] -> learner: an acceptance
//!            network  -> learner: the followers' acceptances
//!            learner: two acceptances of three: chat log and journal, => answers
//! follower   network  -> acceptor: keeps it [append, sync] -> learner, => an acceptance
//!            learner: chat log and journal
//! (-> a channel to another thread, => datagrams)
//! ```
//!
//! With `--threads one` the roles are on the network thread, as with that layout of a replica:
//! they take turns while there is something to do, a learner that nobody waits for when nothing
//! comes. Under `sync` the acceptor keeps a thread of its own.
//!
//! With `--duties` it also does the work that the contract demands for every line, in its
//! shortest form (`duties`). What then remains between it and `bench` could still be saved.
//!
//! **It has**
//!
//! - a thread for each role with the loop of `runtime::role_thread`: whole bursts, a yield of
//!   the roles that nobody waits for, and `wait`'s patience before a thread sleeps;
//! - `net`'s loop: bursts of 64 datagrams, GRO, patience, epoll;
//! - datagrams of at most 8,192 bytes, as many in a call as the kernel takes (GSO), with room
//!   for `net`'s header and for the fields of a command; acceptances of 99 bytes, answers of 25;
//! - a copy of a datagram's lines on arrival, of a burst's lines into a run, of a run into
//!   datagrams for each peer, of a line into the chat log, and of 40 bytes into the journal
//!   for each line. Chat log and journal are written when 64 KiB are there, or before the
//!   thread sleeps;
//! - acceptors that keep the last runs in memory. Unless `--durability none`, they also write
//!   each burst in whole sectors to a file full of zeros. Under `sync` acceptances wait for its
//!   `fdatasync`.
//!
//! **It has not**
//!
//! - without `--duties`: checks, UTF-8, sessions, running hashes, checkpoints;
//! - at all: decoding; ballots, slots, windows, acceptances by slot; elections, heartbeats,
//!   timers, retries, and the bench's thread for its sessions' timers; trimming; the copy from
//!   frames into batches; threads that would only sleep. A follower writes what it has
//!   accepted, whether it is decided or not.
//!
//! An acceptance says how many lines an acceptor has, so the order of datagrams does not matter.
//! Nothing is sent twice: if a datagram is lost, the run fails. Afterwards every replica must
//! have written all lines. Their contents are not checked.

mod duties;
mod port;
mod replica;
mod turns;

use argh::{ArgsInfo, FromArgs};
use bench::cores::Cores;
use command_line::ending::end_on_panic;
use command_line::{Bounded, EXIT_FAILED, parse_args, say};
use driver::Interrupts;
use duties::{ENTRY_BYTES, Line};
use multipaxos::net::frame::HEADER_BYTES;
use multipaxos::net::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::layout::Layout;
use multipaxos::storage::Durability;
use port::{Found, Port, receive_each};
use replica::Replica;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio, exit, id as pid};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, thread};

const ANSWER_BYTES: usize = 25;
/// The time between two looks at what no event announces: signals, and the replicas' files.
const LOOK: Duration = Duration::from_millis(2);
/// The first byte of a datagram.
const REQUEST: u8 = 0;
const ACCEPT: u8 = 1;
const VOTE: u8 = 2;
const ANSWER: u8 = 3;

/// The client: sessions with one line in flight each, on one socket or each on its own.
struct Load {
    ports: Vec<Arc<Port>>,
    leader: SocketAddr,
    began: Instant,
    line: Vec<u8>,
    /// The number of lines that each session has sent, and whether answers are compared with it.
    seqs: Vec<u64>,
    duties: bool,
    /// The time at which each session submitted its line, in nanoseconds.
    since: Vec<u64>,
    buffer: Vec<u8>,
    latencies: Vec<u64>,
    submitted: u64,
    completed: u64,
    stopping: bool,
}

impl Load {
    /// The session whose line an answer completes.
    fn answered(&self, answer: &[u8]) -> usize {
        let session = Line(answer).session() as usize;
        let sent = !self.duties || Line(answer).seq() + 1 == self.seqs[session];
        assert!(sent, "session {session} gets an answer to a line that it has not just sent");
        session
    }

    /// These sessions are free: their lines count as complete, and each submits its next.
    fn turn(&mut self, free: &[usize]) {
        let (now, mut lines) = (self.began.elapsed().as_nanos() as u64, Vec::new());
        for session in free {
            self.latencies.push(now - self.since[*session]);
            self.completed += 1;
            if !self.stopping {
                self.submitted += 1;
                self.since[*session] = now;
                let port = &self.ports[*session % self.ports.len()];
                let seq = self.seqs[*session];
                Line::write(&mut lines, &self.line, *session as u64, port.number, seq);
                self.seqs[*session] += 1;
                if self.ports.len() > 1 {
                    port.send(self.leader, REQUEST, self.line.len(), &lines, &mut self.buffer);
                    lines.clear();
                }
            }
        }
        self.ports[0].send(self.leader, REQUEST, self.line.len(), &lines, &mut self.buffer);
    }
}

/// Measures the architecture without the protocol: the threads, channels, datagrams and files
/// that bench has with one socket, and nothing that decides.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "{command_name} --outstanding 256 --durability none",
    error_code(0, "every replica wrote every line"),
    error_code(1, "the run broke off"),
    error_code(64, "bad usage")
)]
struct Options {
    /// how many lines are in flight (default 64)
    #[argh(option, arg_name = "N", default = "Bounded(64)")]
    outstanding: Bounded<1, 16_384>,
    /// a socket for each of them instead of one for all
    #[argh(switch)]
    each: bool,
    /// also do the work that the contract demands for every line: checks, sessions, chat log,
    /// hashes, checkpoints
    #[argh(switch)]
    duties: bool,
    /// let the operating system move processes between all cores, as with bench
    #[argh(switch)]
    unpinned: bool,
    /// how long a line is (default 64)
    #[argh(option, arg_name = "BYTES", default = "Bounded(64)")]
    size: Bounded<0, 1_300>,
    /// how long the load runs before anything counts (default 1)
    #[argh(option, arg_name = "SECONDS", default = "1.0")]
    warm: f64,
    /// how long the load runs then (default 4)
    #[argh(option, arg_name = "SECONDS", default = "4.0")]
    secs: f64,
    /// the longest datagram to send (default 8192)
    #[argh(option, arg_name = "BYTES", default = "Bounded(8_192)")]
    datagram_max: Bounded<{ DATAGRAM_BYTES_MIN as u64 }, { DATAGRAM_BYTES_MAX as u64 }>,
    /// when an acceptor may send a vote: sync, once it is on the disk; os, once the operating
    /// system has it; none, at once (default sync)
    #[argh(option, arg_name = "MODE", default = "Durability::Sync")]
    durability: Durability,
    /// on which threads a replica runs its roles: per-role, each on its own; one, in turn on the
    /// network thread (default per-role)
    #[argh(option, arg_name = "LAYOUT", default = "Layout::default()")]
    threads: Layout,
}

/// The replicas and their folder. Dropping it ends the replicas and removes the folder.
struct Floor {
    replicas: Vec<Child>,
    dir: String,
    interrupts: Interrupts,
    _cores: Option<Cores>,
}

impl Drop for Floor {
    fn drop(&mut self) {
        for replica in &mut self.replicas {
            drop(replica.stdin.take());
            let _ = replica.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Floor {
    fn start(options: &Options, item: usize, addresses: &[SocketAddr]) -> io::Result<Floor> {
        let (dir, interrupts) = (format!("floor-{}.tmp", pid()), Interrupts::watch()?);
        fs::create_dir(&dir)?;
        let cores = (!options.unpinned).then(|| Cores::for_processes(4)).transpose()?;
        let keep_to = |process| cores.as_ref().map_or(Ok(()), |cores| cores.keep_to(process));
        let mut floor = Floor { replicas: Vec::new(), dir, interrupts, _cores: None };
        for id in 0..3 {
            keep_to(id)?;
            let mut command = Command::new(env::current_exe()?);
            command.args(["replica", &id.to_string(), &item.to_string()]);
            command.args([&options.durability.to_string(), &options.threads.to_string()]);
            command.arg(&floor.dir);
            command.args([options.datagram_max.0.to_string(), options.duties.to_string()]);
            command.args(addresses.iter().map(SocketAddr::to_string));
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let stdout = child.stdout.take().expect("piped");
            floor.replicas.push(child);
            BufReader::new(stdout).read_line(&mut String::new())?;
        }
        keep_to(3)?;
        floor._cores = cores;
        Ok(floor)
    }

    /// Waits until `done`, for at most this many seconds. Returns whether it came true.
    fn until(&self, seconds: f64, done: impl Fn() -> bool) -> io::Result<bool> {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        while !done() && Instant::now() < until {
            if let Some(signal) = self.interrupts.noted() {
                return Err(io::Error::other(format!("interrupted by {signal}")));
            }
            // A file that grows wakes nobody, and a signal is only noted.
            thread::sleep(LOOK);
        }
        Ok(done())
    }

    fn cpu_us(&self) -> [u64; 2] {
        [self.replicas.iter().map(|replica| cpu_us(replica.id())).sum(), cpu_us(pid())]
    }
}

/// User and system time. The kernel counts them in hundredths of a second.
fn cpu_us(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>() * 10_000
}

fn measure(options: &Options) -> io::Result<String> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sockets = if options.each { options.outstanding.0 } else { 1 };
    let port = |_| Ok(Arc::new(Port::bind(any, options.datagram_max.0 as usize, options.duties)?));
    let ports: Vec<Arc<Port>> = (0..sockets).map(port).collect::<io::Result<_>>()?;
    let free = [UdpSocket::bind(any)?, UdpSocket::bind(any)?, UdpSocket::bind(any)?];
    let addresses: io::Result<Vec<SocketAddr>> = free.iter().map(UdpSocket::local_addr).collect();
    let (addresses, n) = (addresses?, options.outstanding.0);
    drop(free);
    let line = Line::template(options.size.0 as usize);
    let floor = Floor::start(options, line.len(), &addresses)?;
    let load = Arc::new(Mutex::new(Load {
        ports: ports.clone(),
        leader: addresses[0],
        began: Instant::now(),
        line,
        seqs: vec![0; n as usize],
        duties: options.duties,
        since: vec![0; n as usize],
        buffer: Vec::new(),
        latencies: Vec::new(),
        // Each session begins as if a line were complete that it never sent.
        submitted: n,
        completed: 0,
        stopping: false,
    }));
    let (connection, mut free) = (load.clone(), Vec::new());
    thread::spawn(move || match ports.as_slice() {
        [port] => port.receive(|datagram| match datagram {
            Found::Datagram(bytes) => {
                let answers = bytes[HEADER_BYTES..].chunks_exact(ANSWER_BYTES);
                let load = connection.lock().expect("no panic");
                free.extend(answers.map(|answer| load.answered(answer)));
                false
            }
            Found::End => {
                connection.lock().expect("no panic").turn(&free);
                free.clear();
                false
            }
            Found::Nothing | Found::Sleep => false,
        }),
        ports => receive_each(ports, |bytes| {
            let mut load = connection.lock().expect("no panic");
            let session = load.answered(&bytes[HEADER_BYTES..]);
            load.turn(&[session]);
        }),
    });
    let load = || load.lock().expect("no panic");
    load().turn(&(0..n as usize).collect::<Vec<_>>());
    floor.until(options.warm, || false)?;
    load().latencies.clear();
    let (began, before) = (Instant::now(), floor.cpu_us());
    floor.until(options.secs, || false)?;
    let mut latencies = std::mem::take(&mut load().latencies);
    let (elapsed, after) = (began.elapsed().as_secs_f64(), floor.cpu_us());
    load().stopping = true;
    let all_written = || {
        let Load { submitted, completed, .. } = *load();
        let bytes = (submitted - n) * ENTRY_BYTES as u64;
        let path = |id| format!("{}/journal{id}", floor.dir);
        let whole = |id| fs::metadata(path(id)).is_ok_and(|metadata| metadata.len() == bytes);
        submitted == completed && (0..3).all(whole)
    };
    if !floor.until(5.0, all_written)? || latencies.is_empty() {
        return Err(io::Error::other("datagrams were lost, or a replica has ended"));
    }
    latencies.sort_unstable();
    let lines = latencies.len() as f64;
    let quantile = |share: f64| latencies[((lines - 1.0) * share) as usize] as f64 / 1_000.0;
    let header = "     N  durab.      ops/s     p50 µs     p99 µs   p99.9 µs     max µs  \
                  CPU µs/op  client";
    let mut row = format!("{n:6}  {:6} {:10.0}", options.durability.to_string(), lines / elapsed);
    for share in [0.5, 0.99, 0.999, 1.0] {
        row += &format!(" {:10.1}", quantile(share));
    }
    let [cpu, client] = [0, 1].map(|of| (after[of] - before[of]) as f64 / lines);
    Ok(format!("{header}\n{row} {cpu:10.2} {client:7.2}"))
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = if args.first().is_some_and(|arg| arg == "replica") {
        end_on_panic();
        Replica::run(&args[1..])
    } else {
        measure(&parse_args("floor", &[])).and_then(|text| writeln!(io::stdout(), "{text}"))
    };
    if let Err(error) = done {
        say(format!("floor: {error}"));
        exit(EXIT_FAILED)
    }
}
