//! A replica: the threads of its roles, and their work for each line.

use crate::duties::{
    self, Checkpoints, Duties, ENTRY_BYTES, LOOK_AHEAD, Line, PORT, Sessions, number,
};
use crate::port::{Found, Port};
use crate::turns::{Pace, Step, burst_here, role};
use crate::{ACCEPT, ANSWER, ANSWER_BYTES, REQUEST, VOTE};
use crossbeam_channel::{Sender, bounded};
use multipaxos::net::frame::HEADER_BYTES;
use multipaxos::runtime::layout::Layout;
use multipaxos::runtime::post::{Here, INBOX_BATCHES_MAX};
use multipaxos::storage::{Durability, acceptor_log::SEGMENT_BYTES};
use multipaxos::values::COMMAND_BYTES;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const VOTE_BYTES: usize = 19;
/// The bytes that slot, client and number of a line take in the chat log, roughly.
const NUMBERS_BYTES: usize = 16;
/// The same bounds as in a decided log and an acceptor's log.
const BLOCK_BYTES: usize = 64 << 10;
const SECTOR_BYTES: usize = 512;
/// The number of runs that an acceptor keeps.
const KEPT_RUNS: usize = 1_024;
/// On the network thread a learner that nobody waits for works when this many batches are there,
/// even if more datagrams are.
const IDLE_BATCHES_MAX: usize = 32;

fn hand_over<T>(to: &Sender<Vec<T>>, batch: &mut Vec<T>) {
    if !batch.is_empty() {
        assert!(to.try_send(std::mem::take(batch)).is_ok(), "an inbox is full");
    }
}

/// Lines with the fields of their commands, one after the other.
type Lines = Arc<[u8]>;

enum ToLearner {
    Lines(Lines),
    /// An acceptor has this many lines.
    Vote(usize, u64),
}

/// A replica: its options and its ways out. Replica 0 leads.
#[derive(Clone)]
pub(crate) struct Replica {
    id: usize,
    durability: Durability,
    duties: bool,
    /// Which roles are on the network thread.
    here: Here,
    dir: String,
    /// The bytes of a line with the fields of its command.
    item: usize,
    /// The addresses of the replicas, then of the client.
    addresses: Vec<SocketAddr>,
    port: Arc<Port>,
    to_proposer: Sender<Vec<Lines>>,
    to_acceptor: Sender<Vec<Lines>>,
    to_learner: Sender<Vec<ToLearner>>,
}

impl Replica {
    /// Runs a replica until stdin ends: its parent has closed it, or has gone.
    pub(crate) fn run(args: &[String]) -> io::Result<()> {
        let (id, item) = (args[0].parse().expect("an id"), args[1].parse().expect("a number"));
        let durability: Durability = args[2].parse().expect("a durability");
        let layout: Layout = args[3].parse().expect("a layout");
        let here = layout.on_loop(durability);
        let datagram_max = args[5].parse().expect("a number");
        let duties = args[6].parse().expect("true or false");
        let addresses: Vec<SocketAddr> =
            args[7..].iter().map(|address| address.parse().expect("an address")).collect();
        let port = Arc::new(Port::bind(addresses[id], datagram_max, duties)?);
        let (to_proposer, proposer) = bounded(INBOX_BATCHES_MAX);
        let (to_acceptor, acceptor) = bounded(INBOX_BATCHES_MAX);
        let (to_learner, learner) = bounded(INBOX_BATCHES_MAX);
        let dir = args[4].clone();
        let create = |name| File::create(format!("{dir}/{name}{id}"));
        let (mut log, text, journal) = (create("log")?, create("text")?, create("journal")?);
        if durability != Durability::None {
            log.write_all(&vec![0; SEGMENT_BYTES as usize])?;
            log.sync_all()?;
        }
        #[rustfmt::skip]
        let own = Replica { id, durability, duties, here, dir, item, addresses, port, to_proposer, to_acceptor, to_learner };
        let [p, a, l] = [(); 3].map(|()| own.clone());
        let (mut p, mut a, mut l) = (p.propose(), Some(a.accept(log)), l.learn(text, journal));
        if here != Here::AllThree {
            let (inbox, a) = (acceptor.clone(), a.take().expect("it has not begun"));
            thread::spawn(move || role(&inbox, true, a));
        }
        if here == Here::Nobody {
            thread::spawn(move || role(&proposer, true, p));
            thread::spawn(move || role(&learner, id == 0, l));
            thread::spawn(move || own.receive(|_| false));
        } else {
            thread::spawn(move || {
                own.receive(|pace| {
                    if pace == Pace::Rest {
                        l(Step::Rest);
                        return false;
                    }
                    let mut worked = false;
                    loop {
                        let mut again = burst_here(&proposer, &mut p);
                        again |= a.as_mut().is_some_and(|a| burst_here(&acceptor, a));
                        if pace == Pace::Idle || id == 0 || learner.len() >= IDLE_BATCHES_MAX {
                            again |= burst_here(&learner, &mut l);
                        }
                        if !again {
                            return worked;
                        }
                        worked = true;
                    }
                });
            });
        }
        println!("ready");
        io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
    }

    /// Receives, and lets the roles on this thread work.
    fn receive(&self, mut roles: impl FnMut(Pace) -> bool) {
        let (mut requests, mut accepts, mut votes) = (Vec::new(), Vec::new(), Vec::new());
        self.port.receive(|found| {
            let bytes = match found {
                Found::Datagram(bytes) => bytes,
                Found::Nothing => return roles(Pace::Idle),
                Found::Sleep => return roles(Pace::Rest),
                Found::End => {
                    hand_over(&self.to_proposer, &mut requests);
                    hand_over(&self.to_acceptor, &mut accepts);
                    hand_over(&self.to_learner, &mut votes);
                    return roles(Pace::Busy);
                }
            };
            let body = &bytes[HEADER_BYTES..];
            match bytes[0] {
                kind @ (REQUEST | ACCEPT) => {
                    if self.duties {
                        duties::check_lines(body, self.item);
                    }
                    let to = if kind == REQUEST { &mut requests } else { &mut accepts };
                    to.push(Lines::from(body));
                }
                _ => votes.push(ToLearner::Vote(body[8].into(), number(body))),
            }
            false
        });
    }

    fn propose(self) -> impl FnMut(Step<Lines>) {
        let (mut run, mut buffer) = (Vec::new(), Vec::new());
        let mut sessions = Sessions::default();
        move |turn| match turn {
            Step::Handle(lines) => {
                if self.duties {
                    lines.chunks(self.item).for_each(|line| sessions.take(Line(line)));
                }
                run.extend_from_slice(&lines);
            }
            Step::Flush => {
                let lines = Lines::from(run.as_slice());
                hand_over(&self.to_acceptor, &mut vec![lines.clone()]);
                hand_over(&self.to_learner, &mut vec![ToLearner::Lines(lines)]);
                for follower in &self.addresses[1..3] {
                    self.port.send(*follower, ACCEPT, self.item, &run, &mut buffer);
                }
                run.clear();
            }
            Step::Rest => {}
        }
    }

    fn accept(self, log: File) -> impl FnMut(Step<Lines>) {
        let (mut kept, mut burst, mut buffer) = (VecDeque::new(), Vec::new(), Vec::new());
        let (mut frame, mut at, mut accepted, mut check) = (Vec::new(), 0, 0, 0);
        move |turn| match turn {
            Step::Handle(lines) => {
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
            Step::Flush => {
                frame.resize(frame.len().next_multiple_of(SECTOR_BYTES), 0);
                if self.duties {
                    check = xxh3_64_with_seed(&frame, check);
                }
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
                if self.here == Here::ProposerAndLearner {
                    self.port.wake();
                }
                if self.id > 0 {
                    let mut vote = [self.id as u8; VOTE_BYTES];
                    vote[..8].copy_from_slice(&accepted.to_le_bytes());
                    self.port.send(self.addresses[0], VOTE, VOTE_BYTES, &vote, &mut buffer);
                }
            }
            Step::Rest => {}
        }
    }

    fn learn(self, text: File, journal: File) -> impl FnMut(Step<ToLearner>) {
        let (text, journal) = (Arc::new(text), Arc::new(journal));
        let mut checkpoints = (self.duties && self.durability == Durability::Sync)
            .then(|| Checkpoints::start(self.dir.clone(), self.id, text.clone(), journal.clone()));
        let mut duties = self.duties.then(Duties::default);
        let (mut text, mut journal) = (Growing::new(text), Growing::new(journal));
        let (mut runs, mut taken, mut done, mut known) = (VecDeque::<Lines>::new(), 0, 0, 0);
        let (mut votes, mut answers, mut buffer) = ([0; 3], Vec::new(), Vec::new());
        move |turn| match turn {
            Step::Handle(ToLearner::Lines(lines)) => {
                known += (lines.len() / self.item) as u64;
                runs.push_back(lines);
            }
            Step::Handle(ToLearner::Vote(from, lines)) => votes[from] = lines.max(votes[from]),
            Step::Flush => {
                let mut sorted = votes;
                sorted.sort_unstable();
                let decided = if self.id == 0 { sorted[1].min(known) } else { known };
                while done < decided {
                    let line = &runs[0][taken..taken + self.item];
                    match &mut duties {
                        Some(duties) => {
                            if taken.is_multiple_of(LOOK_AHEAD * self.item) {
                                let ahead = runs[0][taken..].chunks(LOOK_AHEAD * self.item).next();
                                duties.look_ahead(ahead.expect("a line"), self.item);
                            }
                            duties.apply(done, Line(line), &mut text.added, &mut journal.added);
                        }
                        None => copy(line, &mut text.added, &mut journal.added),
                    }
                    if self.id == 0 {
                        answers.extend_from_slice(&line[..ANSWER_BYTES]);
                    }
                    (taken, done) = (taken + self.item, done + 1);
                    if taken == runs[0].len() {
                        runs.pop_front();
                        taken = 0;
                    }
                }
                let due = checkpoints.as_mut().zip(duties.as_ref());
                let due = due.filter(|(checkpoints, duties)| checkpoints.is_due(duties, done));
                for file in [&mut text, &mut journal] {
                    match due {
                        Some(_) => file.write(file.added.len()),
                        None => file.write_blocks(),
                    }
                }
                if let Some((checkpoints, duties)) = due {
                    checkpoints.make(duties, done);
                }
                for row in rows(&answers) {
                    let port = row[PORT].try_into().map(u16::from_le_bytes).expect("two bytes");
                    let client = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                    self.port.send(client, ANSWER, ANSWER_BYTES, row, &mut buffer);
                }
                answers.clear();
            }
            Step::Rest => {
                text.write(text.added.len());
                journal.write(journal.added.len());
            }
        }
    }
}

/// Copies as many bytes as a line of the chat log and its journal entry take.
fn copy(line: &[u8], text: &mut Vec<u8>, journal: &mut Vec<u8>) {
    text.extend_from_slice(&line[..NUMBERS_BYTES]);
    text.extend_from_slice(&line[COMMAND_BYTES..]);
    text.push(b'\n');
    let mut entry = [0; ENTRY_BYTES];
    entry[..COMMAND_BYTES].copy_from_slice(&line[..COMMAND_BYTES]);
    journal.extend_from_slice(&entry);
}

/// A file, and the bytes that will be added to it.
struct Growing {
    file: Arc<File>,
    length: usize,
    added: Vec<u8>,
}

impl Growing {
    fn new(file: Arc<File>) -> Growing {
        Growing { file, length: 0, added: Vec::new() }
    }

    fn write(&mut self, count: usize) {
        if count > 0 {
            self.file.as_ref().write_all(&self.added[..count]).expect("a file is written");
            self.added.drain(..count);
            self.length += count;
        }
    }

    /// Writes whole blocks of the file, as the replica's learner does.
    fn write_blocks(&mut self) {
        if self.added.len() >= BLOCK_BYTES {
            let end = (self.length + self.added.len()) / BLOCK_BYTES * BLOCK_BYTES;
            self.write(end - self.length);
        }
    }
}

/// Splits answers into rows that go to one port.
fn rows(mut answers: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let first = &answers.get(..ANSWER_BYTES)?[PORT];
        let same = answers.chunks_exact(ANSWER_BYTES).take_while(|answer| answer[PORT] == *first);
        let (row, rest) = answers.split_at(same.count() * ANSWER_BYTES);
        answers = rest;
        Some(row)
    })
}
