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
//! **In it.** A thread a role in the loop of `runtime::role_thread`: whole bursts, the yield
//! of who is not waited for, and `wait`'s patience before it sleeps. `net`'s loop: bursts of 64
//! datagrams, GRO, patience, epoll. Datagrams of 8,192 bytes at most, as many a call as the
//! kernel takes (GSO), with room for `net`'s header and what a command has beside its
//! line; votes of 50 bytes, answers of 25. A copy of a datagram's lines when it comes, of
//! a burst's into a run, of a run into datagrams for each peer, of a line into the chat
//! log, and 64 bytes of journal a line, written when 64 KiB of text are there or before the
//! thread sleeps. Acceptors keep the last runs in memory; unless `--durability none`, each
//! burst is also written in whole sectors to a file full of zeros, and under `sync` votes
//! wait for its `fdatasync`.
//!
//! **Not in it.** Checksums, decoding, UTF-8; ballots, slots, sessions, tables, windows;
//! elections, heartbeats, timers, retries, and the bench's thread for its sessions' timers;
//! running hashes, checkpoints, trimming; the copy from frames into batches; threads that
//! would only sleep. A follower writes what it has accepted, decided or not.
//!
//! Votes say how many lines an acceptor has, so the order of datagrams is of no concern.
//! Nothing is sent twice: if a datagram is lost, the run fails; afterwards every replica
//! must have written all lines. What they say is not looked at.

use argh::FromArgs;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use mio::{Events, Interest, Poll, Token};
use multipaxos::bench::cores::Cores;
use multipaxos::config::{Bounded, EXIT_FAILED, parse_args, say};
use multipaxos::net::frame::HEADER_BYTES;
use multipaxos::net::udp::{BURST_DATAGRAMS, SOCKET_BUFFER_BYTES};
use multipaxos::net::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::post::INBOX_BATCHES_MAX;
use multipaxos::runtime::process::{Clock, end_on_panic};
use multipaxos::scenario::Interrupts;
use multipaxos::storage::{Durability, segment_log::SEGMENT_BYTES};
use multipaxos::values::COMMAND_BYTES;
use multipaxos::wait::Patience;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio, exit, id as pid};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, thread};

const VOTE_BYTES: usize = 50 - HEADER_BYTES;
const ANSWER_BYTES: usize = 25;
/// Where in a line, and so in its answer, the port stands to which it is answered, behind
/// the number of its session.
const PORT: std::ops::Range<usize> = 8..10;
/// Slot, client and number of a line in the chat log take about as much.
const NUMBERS_BYTES: usize = 16;
const ENTRY_BYTES: usize = 64;
/// As a role thread, a decided log and an acceptor's log have them.
const BURST_INPUTS_MAX: usize = 4_096;
const GATHERED_BYTES: usize = 64 << 10;
const SECTOR_BYTES: usize = 512;
/// So many runs an acceptor keeps.
const KEPT_RUNS: usize = 1_024;
/// Between two looks at what no event tells of: the time, signals, the replicas' files.
const LOOK: Duration = Duration::from_millis(2);
/// The first byte of a datagram.
const REQUEST: u8 = 0;
const ACCEPT: u8 = 1;
const VOTE: u8 = 2;
const ANSWER: u8 = 3;

/// A socket, and what the kernel does for it.
struct Port {
    socket: UdpSocket,
    number: u16,
    kernel: UdpSocketState,
    datagram_max: usize,
}

impl Port {
    fn bind(address: SocketAddr, datagram_max: usize) -> io::Result<Port> {
        let socket = UdpSocket::bind(address)?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket2::SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.set_nonblocking(true)?;
        let kernel = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Port { number: socket.local_addr()?.port(), socket, kernel, datagram_max })
    }

    /// Sends items of `item` bytes each in as few datagrams and calls as they fit.
    fn send(&self, to: SocketAddr, kind: u8, item: usize, items: &[u8], buffer: &mut Vec<u8>) {
        let body = (self.datagram_max - HEADER_BYTES) / item * item;
        let most = self.kernel.max_gso_segments().min(DATAGRAM_BYTES_MAX / self.datagram_max);
        for call in items.chunks(body * most) {
            buffer.clear();
            for body in call.chunks(body) {
                buffer.extend_from_slice(&[kind; HEADER_BYTES]);
                buffer.extend_from_slice(body);
            }
            let segment_size = (call.len() > body).then_some(HEADER_BYTES + body);
            let (destination, contents) = (to, buffer.as_slice());
            let transmit =
                Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
            let sent = match segment_size {
                None => self.socket.send_to(buffer, to).map(|_| ()),
                Some(_) => self.kernel.try_send(UdpSockRef::from(&self.socket), &transmit),
            };
            sent.expect("loopback takes it");
        }
    }

    /// The network thread. `deliver` gets each datagram, and nothing when a burst is over.
    fn receive(&self, mut deliver: impl FnMut(Option<&[u8]>)) {
        let mut poll = Poll::new().expect("there is epoll");
        let mut source =
            mio::net::UdpSocket::from_std(self.socket.try_clone().expect("a second handle"));
        poll.registry().register(&mut source, Token(0), Interest::READABLE).expect("registers");
        let (mut events, mut buffer) = (Events::with_capacity(4), vec![0; usize::from(u16::MAX)]);
        let (clock, mut patience) = (Clock::start(), Patience::default());
        loop {
            let (mut taken, mut drained) = (0, false);
            while taken < BURST_DATAGRAMS && !drained {
                let (mut meta, mut buffers) =
                    ([RecvMeta::default()], [IoSliceMut::new(&mut buffer)]);
                match self.kernel.recv(UdpSockRef::from(&self.socket), &mut buffers, &mut meta) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => drained = true,
                    received => {
                        received.expect("the socket receives");
                        for datagram in buffer[..meta[0].len].chunks(meta[0].stride.max(1)) {
                            deliver(Some(datagram));
                            taken += 1;
                        }
                    }
                }
            }
            if taken > 0 {
                deliver(None);
                patience.found(clock.now());
            }
            if drained && patience.looks_again(clock.now()) {
                thread::yield_now();
            } else if drained {
                // Whatever ends it, the socket is looked at next.
                let _ = poll.poll(&mut events, None);
            }
        }
    }
}

/// The thread of many sockets, none of which ever has two datagrams: `deliver` gets each.
fn receive_each(ports: &[Arc<Port>], mut deliver: impl FnMut(&[u8])) {
    let mut poll = Poll::new().expect("there is epoll");
    let mut sources = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let socket = port.socket.try_clone().expect("a second handle");
        sources.push(mio::net::UdpSocket::from_std(socket));
        poll.registry()
            .register(&mut sources[at], Token(at), Interest::READABLE)
            .expect("registers");
    }
    let (mut events, mut buffer) = (Events::with_capacity(1_024), [0; DATAGRAM_BYTES_MIN]);
    let (clock, mut patience) = (Clock::start(), Patience::default());
    loop {
        // Whatever ends it, the sockets that it names are looked at.
        let _ = poll.poll(&mut events, Some(Duration::ZERO));
        if events.is_empty() {
            if patience.looks_again(clock.now()) {
                thread::yield_now();
                continue;
            }
            let _ = poll.poll(&mut events, None);
        }
        for event in &events {
            if let Ok(bytes) = ports[event.token().0].socket.recv(&mut buffer) {
                deliver(&buffer[..bytes]);
            }
        }
        patience.found(clock.now());
    }
}

/// What a role is asked to do.
enum Turn<T> {
    Handle(T),
    /// The burst is over: commit, and send.
    Flush,
    /// The thread is about to sleep.
    Rest,
}

/// A role's thread. Who is not waited for lets others go first.
fn role<T>(inbox: &Receiver<Vec<T>>, urgent: bool, mut turn: impl FnMut(Turn<T>)) {
    let (clock, mut patience) = (Clock::start(), Patience::default());
    loop {
        let mut next = match inbox.try_recv() {
            Err(TryRecvError::Empty) if patience.looks_again(clock.now()) => {
                thread::yield_now();
                continue;
            }
            Err(TryRecvError::Empty) => {
                turn(Turn::Rest);
                inbox.recv().ok()
            }
            found => found.ok(),
        };
        patience.found(clock.now());
        if !urgent {
            thread::yield_now();
        }
        let mut taken = 0;
        while let Some(batch) = next {
            taken += batch.len();
            batch.into_iter().for_each(|input| turn(Turn::Handle(input)));
            next = if taken < BURST_INPUTS_MAX { inbox.try_recv().ok() } else { None };
        }
        turn(Turn::Flush);
    }
}

fn hand_over<T>(to: &Sender<Vec<T>>, batch: &mut Vec<T>) {
    if !batch.is_empty() {
        assert!(to.try_send(std::mem::take(batch)).is_ok(), "an inbox is full");
    }
}

/// Lines with what a command has beside them, one behind the other.
type Lines = Arc<[u8]>;

enum ToLearner {
    Lines(Lines),
    /// This acceptor has so many lines.
    Vote(usize, u64),
}

/// A replica: what it was told, and its ways out. Replica 0 leads.
#[derive(Clone)]
struct Replica {
    id: usize,
    durability: Durability,
    /// The bytes of a line and what it has beside.
    item: usize,
    /// The replicas', then the client's.
    addresses: Vec<SocketAddr>,
    port: Arc<Port>,
    to_proposer: Sender<Vec<Lines>>,
    to_acceptor: Sender<Vec<Lines>>,
    to_learner: Sender<Vec<ToLearner>>,
}

impl Replica {
    /// Runs one until stdin ends: its parent wants it so, or has gone.
    fn run(args: &[String]) -> io::Result<()> {
        let (id, item) = (args[0].parse().expect("an id"), args[1].parse().expect("a number"));
        let durability = args[2].parse().expect("a durability");
        let datagram_max = args[4].parse().expect("a number");
        let addresses: Vec<SocketAddr> =
            args[5..].iter().map(|address| address.parse().expect("an address")).collect();
        let port = Arc::new(Port::bind(addresses[id], datagram_max)?);
        let (to_proposer, proposer) = bounded(INBOX_BATCHES_MAX);
        let (to_acceptor, acceptor) = bounded(INBOX_BATCHES_MAX);
        let (to_learner, learner) = bounded(INBOX_BATCHES_MAX);
        let create = |name| File::create(format!("{}/{name}{id}", args[3]));
        let (mut log, text, journal) = (create("log")?, create("text")?, create("journal")?);
        if durability != Durability::None {
            log.write_all(&vec![0; SEGMENT_BYTES as usize])?;
            log.sync_all()?;
        }
        #[rustfmt::skip]
        let own = Replica { id, durability, item, addresses, port, to_proposer, to_acceptor, to_learner };
        let [p, a, l] = [(); 3].map(|()| own.clone());
        thread::spawn(move || p.propose(&proposer));
        thread::spawn(move || a.accept(&acceptor, &log));
        thread::spawn(move || l.learn(&learner, text, journal));
        thread::spawn(move || own.receive());
        println!("ready");
        io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
    }

    fn receive(&self) {
        let (mut requests, mut accepts, mut votes) = (Vec::new(), Vec::new(), Vec::new());
        self.port.receive(|datagram| {
            match datagram.map(|bytes| (bytes[0], &bytes[HEADER_BYTES..])) {
                Some((REQUEST, lines)) => requests.push(Lines::from(lines)),
                Some((ACCEPT, lines)) => accepts.push(Lines::from(lines)),
                Some((_, vote)) => votes.push(ToLearner::Vote(vote[8].into(), number(vote))),
                None => {
                    hand_over(&self.to_proposer, &mut requests);
                    hand_over(&self.to_acceptor, &mut accepts);
                    hand_over(&self.to_learner, &mut votes);
                }
            }
        });
    }

    fn propose(&self, inbox: &Receiver<Vec<Lines>>) {
        let (mut run, mut buffer) = (Vec::new(), Vec::new());
        role(inbox, true, |turn| match turn {
            Turn::Handle(lines) => run.extend_from_slice(&lines),
            Turn::Flush => {
                let lines = Lines::from(run.as_slice());
                hand_over(&self.to_acceptor, &mut vec![lines.clone()]);
                hand_over(&self.to_learner, &mut vec![ToLearner::Lines(lines)]);
                for follower in &self.addresses[1..3] {
                    self.port.send(*follower, ACCEPT, self.item, &run, &mut buffer);
                }
                run.clear();
            }
            Turn::Rest => {}
        });
    }

    fn accept(&self, inbox: &Receiver<Vec<Lines>>, log: &File) {
        let (mut kept, mut burst, mut buffer) = (VecDeque::new(), Vec::new(), Vec::new());
        let (mut frame, mut at, mut accepted) = (Vec::new(), 0, 0);
        role(inbox, true, |turn| match turn {
            Turn::Handle(lines) => {
                accepted += (lines.len() / self.item) as u64;
                if self.durability != Durability::None {
                    frame.extend_from_slice(&lines);
                }
                if self.id > 0 {
                    burst.push(ToLearner::Lines(lines.clone()));
                }
                kept.push_back(lines);
                kept.drain(..kept.len().saturating_sub(KEPT_RUNS));
            }
            Turn::Flush => {
                frame.resize(frame.len().next_multiple_of(SECTOR_BYTES), 0);
                at = if at + frame.len() as u64 > SEGMENT_BYTES { 0 } else { at };
                log.write_all_at(&frame, at).expect("the log is written");
                at += frame.len() as u64;
                frame.clear();
                if self.durability == Durability::Sync {
                    log.sync_data().expect("the log is synced");
                }
                if self.id == 0 {
                    burst.push(ToLearner::Vote(0, accepted));
                }
                hand_over(&self.to_learner, &mut burst);
                if self.id > 0 {
                    let mut vote = [self.id as u8; VOTE_BYTES];
                    vote[..8].copy_from_slice(&accepted.to_le_bytes());
                    self.port.send(self.addresses[0], VOTE, VOTE_BYTES, &vote, &mut buffer);
                }
            }
            Turn::Rest => {}
        });
    }

    fn learn(&self, inbox: &Receiver<Vec<ToLearner>>, text: File, journal: File) {
        let (mut text, mut journal) = ((text, Vec::new()), (journal, Vec::new()));
        let (mut runs, mut taken, mut done, mut known) = (VecDeque::<Lines>::new(), 0, 0, 0);
        let (mut votes, mut answers, mut buffer) = ([0; 3], Vec::new(), Vec::new());
        role(inbox, self.id == 0, |turn| match turn {
            Turn::Handle(ToLearner::Lines(lines)) => {
                known += (lines.len() / self.item) as u64;
                runs.push_back(lines);
            }
            Turn::Handle(ToLearner::Vote(from, lines)) => votes[from] = lines.max(votes[from]),
            Turn::Flush => {
                let mut sorted = votes;
                sorted.sort_unstable();
                let decided = if self.id == 0 { sorted[1].min(known) } else { known };
                while done < decided {
                    let line = &runs[0][taken..taken + self.item];
                    text.1.extend_from_slice(&line[..NUMBERS_BYTES]);
                    text.1.extend_from_slice(&line[COMMAND_BYTES..]);
                    text.1.push(b'\n');
                    let mut entry = [0; ENTRY_BYTES];
                    entry[..COMMAND_BYTES].copy_from_slice(&line[..COMMAND_BYTES]);
                    journal.1.extend_from_slice(&entry);
                    if self.id == 0 {
                        answers.extend_from_slice(&line[..ANSWER_BYTES]);
                    }
                    (taken, done) = (taken + self.item, done + 1);
                    if taken == runs[0].len() {
                        runs.pop_front();
                        taken = 0;
                    }
                }
                if text.1.len() >= GATHERED_BYTES {
                    write(&mut text);
                    write(&mut journal);
                }
                for row in rows(&answers) {
                    let port = row[PORT].try_into().map(u16::from_le_bytes).expect("two bytes");
                    let client = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                    self.port.send(client, ANSWER, ANSWER_BYTES, row, &mut buffer);
                }
                answers.clear();
            }
            Turn::Rest => {
                write(&mut text);
                write(&mut journal);
            }
        });
    }
}

fn write((file, added): &mut (File, Vec<u8>)) {
    file.write_all(added).expect("a file is written");
    added.clear();
}

/// The first eight bytes.
fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"))
}

/// Answers that go to one port in a row.
fn rows(mut answers: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let first = &answers.get(..ANSWER_BYTES)?[PORT];
        let same = answers.chunks_exact(ANSWER_BYTES).take_while(|answer| answer[PORT] == *first);
        let (row, rest) = answers.split_at(same.count() * ANSWER_BYTES);
        answers = rest;
        Some(row)
    })
}

/// The client: sessions of one line in flight each, on one socket or each on its own.
struct Load {
    ports: Vec<Arc<Port>>,
    leader: SocketAddr,
    began: Instant,
    line: Vec<u8>,
    /// When each session's line was submitted, in nanoseconds.
    since: Vec<u64>,
    buffer: Vec<u8>,
    latencies: Vec<u64>,
    submitted: u64,
    completed: u64,
    stopping: bool,
}

impl Load {
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
                lines.extend_from_slice(&(*session as u64).to_le_bytes());
                lines.extend_from_slice(&port.number.to_le_bytes());
                lines.extend_from_slice(&self.line[PORT.end..]);
                if self.ports.len() > 1 {
                    port.send(self.leader, REQUEST, self.line.len(), &lines, &mut self.buffer);
                    lines.clear();
                }
            }
        }
        self.ports[0].send(self.leader, REQUEST, self.line.len(), &lines, &mut self.buffer);
    }
}

/// Measure the architecture without the protocol: the same threads, channels, datagrams
/// and files as bench has with one socket. Exit code 0: every replica wrote every line.
#[derive(FromArgs)]
struct Options {
    /// lines in flight (default 64)
    #[argh(option, default = "Bounded(64)")]
    outstanding: Bounded<1, 16_384>,
    /// a socket for each of them, not one for all
    #[argh(switch)]
    each: bool,
    /// let the system move processes between all cores, as with bench
    #[argh(switch)]
    unpinned: bool,
    /// bytes of a line (default 64)
    #[argh(option, default = "Bounded(64)")]
    size: Bounded<0, 1_300>,
    /// seconds under load before anything counts (default 1)
    #[argh(option, default = "1.0")]
    warm: f64,
    /// seconds that count (default 4)
    #[argh(option, default = "4.0")]
    secs: f64,
    /// bytes of a datagram at most (default 8192)
    #[argh(option, default = "Bounded(8_192)")]
    datagram_max: Bounded<{ DATAGRAM_BYTES_MIN as u64 }, { DATAGRAM_BYTES_MAX as u64 }>,
    /// what acceptors wait for before they vote: sync, os or none (default sync)
    #[argh(option, default = "Durability::Sync")]
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
            command.arg(options.datagram_max.0.to_string());
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
    let port = |_| Ok(Arc::new(Port::bind(any, options.datagram_max.0 as usize)?));
    let ports: Vec<Arc<Port>> = (0..sockets).map(port).collect::<io::Result<_>>()?;
    let free = [UdpSocket::bind(any)?, UdpSocket::bind(any)?, UdpSocket::bind(any)?];
    let addresses: io::Result<Vec<SocketAddr>> = free.iter().map(UdpSocket::local_addr).collect();
    let (addresses, n) = (addresses?, options.outstanding.0);
    drop(free);
    let line = vec![b'x'; COMMAND_BYTES + options.size.0 as usize];
    let floor = Floor::start(options, line.len(), &addresses)?;
    let load = Arc::new(Mutex::new(Load {
        ports: ports.clone(),
        leader: addresses[0],
        began: Instant::now(),
        line,
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
                free.extend(answers.map(|answer| number(answer) as usize));
            }
            None => {
                connection.lock().expect("no panic").turn(&free);
                free.clear();
            }
        }),
        ports => receive_each(ports, |bytes| {
            let session = number(&bytes[HEADER_BYTES..]) as usize;
            connection.lock().expect("no panic").turn(&[session]);
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
        let bytes = (submitted - n) * (NUMBERS_BYTES as u64 + options.size.0 + 1);
        let path = |id| format!("{}/text{id}", floor.dir);
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
        measure(&parse_args("floor", &["each", "unpinned"]))
            .and_then(|text| writeln!(io::stdout(), "{text}"))
    };
    if let Err(error) = done {
        say(format!("floor: {error}"));
        exit(EXIT_FAILED)
    }
}
