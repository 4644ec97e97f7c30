//! The floor: how fast the architecture is on this host when there is no protocol.
//!
//! Three replica processes and a client process on loopback, as `bench --outstanding N`
//! runs them with one socket, and the same way for each line; but bytes are only received,
//! copied, handed over and sent. What `bench` does not reach of this is the cost of the
//! protocol and its checks; what the floor does not reach needs another architecture.
//! Compare on a host that does nothing else, runs of the two in turn.
//!
//! With `--each` every line in flight has a socket of its own, as with as many
//! `--connections` of `bench`: one thread waits for all of them, and each answer and each
//! line is a datagram.
//!
//! ```text
//! client     network: answers come, each submits its session's next line; those of one
//!              burst leave together
//! leader     network  -> proposer: one run of a burst's lines
//!              -> learner, -> acceptor, => both followers
//!            acceptor: keeps it [append, sync] -> learner: a vote
//!            network  -> learner: the followers' votes
//!            learner: two votes of three: chat log and journal, => answers
//! follower   network  -> acceptor: keeps it [append, sync] -> learner, => a vote
//!            learner: chat log and journal
//! (-> a channel to another thread, => datagrams)
//! ```
//!
//! With `--duties` it also does what the contract demands of every line, in the shortest
//! form (`duties`): what `bench` does not reach of that is what is left to be saved.
//!
//! **In it.** A thread a role in the loop of `runtime::role_thread`: whole bursts, the yield
//! of who is not waited for, and `wait`'s patience before it sleeps. `net`'s loop: bursts of 64
//! datagrams, GRO, patience, epoll. Datagrams of 8,192 bytes at most, as many a call as the
//! kernel takes (GSO), with room for `net`'s header and what a command has beside its
//! line; votes of 50 bytes, answers of 25. A copy of a datagram's lines when it comes, of
//! a burst's into a run, of a run into datagrams for each peer, of a line into the chat
//! log, and 40 bytes of journal a line, written when 64 KiB of text are there or before the
//! thread sleeps. Acceptors keep the last runs in memory; unless `--durability none`, each
//! burst is also written in whole sectors to a file full of zeros, and under `sync` votes
//! wait for its `fdatasync`.
//!
//! **Not in it.** Without `--duties`: checks, UTF-8, sessions, running hashes, checkpoints.
//! Ever: decoding; ballots, slots, windows, votes by slot; elections, heartbeats, timers,
//! retries, and the bench's thread for its sessions' timers; trimming; the copy from frames
//! into batches; threads that would only sleep. A follower writes what it has accepted,
//! decided or not.
//!
//! Votes say how many lines an acceptor has, so the order of datagrams is of no concern.
//! Nothing is sent twice: if a datagram is lost, the run fails; afterwards every replica
//! must have written all lines. What they say is not looked at.

mod duties;
mod port;
mod replica;

use argh::{ArgsInfo, FromArgs};
use bench::cores::Cores;
use command_line::{Bounded, EXIT_FAILED, parse_args, say};
use driver::Interrupts;
use duties::{ENTRY_BYTES, Line};
use multipaxos::net::frame::HEADER_BYTES;
use multipaxos::net::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::process::end_on_panic;
use multipaxos::storage::Durability;
use port::{Port, receive_each};
use replica::Replica;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio, exit, id as pid};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, thread};

const ANSWER_BYTES: usize = 25;
/// Between two looks at what no event tells of: the time, signals, the replicas' files.
const LOOK: Duration = Duration::from_millis(2);
/// The first byte of a datagram.
const REQUEST: u8 = 0;
const ACCEPT: u8 = 1;
const VOTE: u8 = 2;
const ANSWER: u8 = 3;

/// The client: sessions of one line in flight each, on one socket or each on its own.
struct Load {
    ports: Vec<Arc<Port>>,
    leader: SocketAddr,
    began: Instant,
    line: Vec<u8>,
    /// How many lines each session has sent; and whether its answers are compared.
    seqs: Vec<u64>,
    duties: bool,
    /// When each session's line was submitted, in nanoseconds.
    since: Vec<u64>,
    buffer: Vec<u8>,
    latencies: Vec<u64>,
    submitted: u64,
    completed: u64,
    stopping: bool,
}

impl Load {
    /// What an answer tells: whose line is complete.
    fn answered(&self, answer: &[u8]) -> usize {
        let session = Line(answer).session() as usize;
        let sent = !self.duties || Line(answer).seq() + 1 == self.seqs[session];
        assert!(sent, "session {session} is answered for what it did not just send");
        session
    }

    /// These sessions are free: their lines of before count, and each submits its next.
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
    /// also do what every line must have done to it: checks, sessions, words, hashes,
    /// checkpoints
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
}

/// The replicas and their folder; both go when this is dropped.
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
            command.args([&options.durability.to_string(), &floor.dir]);
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

    /// Lets time pass until `done`, at most so many seconds; says whether it was.
    fn until(&self, seconds: f64, done: impl Fn() -> bool) -> io::Result<bool> {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        while !done() && Instant::now() < until {
            if let Some(signal) = self.interrupts.noted() {
                return Err(io::Error::other(format!("interrupted by {signal}")));
            }
            thread::sleep(LOOK);
        }
        Ok(done())
    }

    fn cpu_us(&self) -> [u64; 2] {
        [self.replicas.iter().map(|replica| cpu_us(replica.id())).sum(), cpu_us(pid())]
    }
}

/// User and system time, which the kernel counts in hundredths of a second.
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
        // The lines of before, which nobody ever sent.
        submitted: n,
        completed: 0,
        stopping: false,
    }));
    let (connection, mut free) = (load.clone(), Vec::new());
    thread::spawn(move || match ports.as_slice() {
        [port] => port.receive(|datagram| match datagram {
            Some(bytes) => {
                let answers = bytes[HEADER_BYTES..].chunks_exact(ANSWER_BYTES);
                let load = connection.lock().expect("no panic");
                free.extend(answers.map(|answer| load.answered(answer)));
            }
            None => {
                connection.lock().expect("no panic").turn(&free);
                free.clear();
            }
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
