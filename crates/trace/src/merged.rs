//! All traces as one history.
//!
//! What leaves a process and what arrives at another are put in the order of one time line
//! ([`clocks`](crate::clocks)), together with what became durable, who leads, and which processes
//! began and ended. A [`Recorder`] finds out which messages have arrived.
//!
//! A message may arrive whose leaving is in no trace: its sender was killed before it wrote that, or
//! has no trace. It counts as one that left just before.

use crate::clocks::{Sighting, shifts};
use crate::files::Life;
use crate::replay::roles;
use crate::steps::{Step, steps};
use history::{Event, History, Party, Payload, Recorder, Said};
use multipaxos::client::{self, Outcome};
use multipaxos::message::{ClientMessage, Message};
use multipaxos::paxos::{Envelope, Never, Notice, acceptor, bootstrap, learner, proposer};
use multipaxos::runtime::trace::Who;
use multipaxos::runtime::trace::begin::{Accepting, Beginning};
use multipaxos::runtime::trace::block::{Record, Stream};
use multipaxos::types::{Address, Ballot, ClientId, DirectoryId, ReplicaId, Slot, Time};
use multipaxos::values::ValueRef;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// A process that has said nothing for so long, when others still did, had ended.
const SILENT_US: u64 = 1_000_000;

/// Of things that happen at once, the end of a process is the last.
const RANK_LAST: u8 = 3;

/// Something that happened, in the order of things that happen at once.
#[derive(Debug)]
enum Happening {
    Is(Event),
    Leaves(Party, Party, Payload),
    Arrives(Party, Party, Payload),
}

impl Happening {
    fn rank(&self) -> u8 {
        match self {
            Happening::Is(_) => 0,
            Happening::Leaves(..) => 1,
            Happening::Arrives(..) => 2,
        }
    }
}

/// What a life did, by its own clock.
struct Told {
    who: Who,
    happened: Vec<(Time, Happening)>,
    /// Where what the last turn gave out begins. It is taken back if that was not committed.
    turn: usize,
    /// When that turn ended.
    turn_ends: Time,
    leads: Option<Ballot>,
    /// The directory of a replica.
    directory: Option<DirectoryId>,
    /// Whether nothing is missing.
    is_whole: bool,
}

/// One time line for all lives, in microseconds since the first of them began.
#[derive(Debug)]
pub struct TimeLine {
    /// By life: how far its clock's beginning is from the time line's.
    begins: Vec<u64>,
    /// By life: the last that is known of it.
    last: Vec<u64>,
}

impl TimeLine {
    /// That of these lives.
    pub fn of(lives: &[Life<'_>]) -> TimeLine {
        let clients = clients(lives);
        TimeLine::told(lives, &all_told(lives, &clients))
    }

    fn told(lives: &[Life<'_>], told: &[Told]) -> TimeLine {
        let begin = lives.iter().map(|life| life.header.wall_us).min().unwrap_or_default();
        let wall = |life: usize, now: Time| lives[life].header.wall_us - begin + now.0;
        let whole: Vec<bool> = told.iter().map(|told| told.is_whole).collect();
        let shifts = shifts(&whole, &sightings(told, wall));
        let begins = shifts.iter().enumerate().map(|(life, shift)| wall(life, Time(0)) + shift);
        let begins: Vec<u64> = begins.collect();
        let newest = |told: &Told| told.happened.iter().map(|(now, _)| now.0).max();
        let last = told.iter().zip(&begins).map(|(it, begin)| begin + newest(it).unwrap_or(0));
        TimeLine { last: last.collect(), begins }
    }

    /// When something happened that did so at `now` by the clock of this life.
    pub fn us(&self, life: usize, now: Time) -> u64 {
        self.begins[life] + now.0
    }

    /// What the clock of this life said then. None if it had not begun.
    pub fn clock(&self, life: usize, us: u64) -> Option<Time> {
        us.checked_sub(self.begins[life]).map(Time)
    }

    /// When something happened that is the last that is known of this life.
    pub fn last(&self, life: usize) -> u64 {
        self.last[life]
    }

    /// When the last of all happened.
    pub fn end(&self) -> u64 {
        self.last.iter().copied().max().unwrap_or_default()
    }
}

fn all_told(lives: &[Life<'_>], clients: &BTreeMap<Address, ClientId>) -> Vec<Told> {
    let mut told: Vec<Told> = lives.iter().map(|life| Told::by(life, clients)).collect();
    note_wiped(lives, &mut told);
    told
}

/// How many replicas there are, as far as the traces say. One may have had no vote in the beginning.
pub fn places(lives: &[Life<'_>]) -> usize {
    let own = |life: &Life<'_>| match life.who() {
        Who::Replica(id) => id.index() + 1,
        Who::Client(_) => 0,
    };
    lives.iter().map(|life| own(life).max(life.header.n)).max().unwrap_or(0)
}

/// The history of all lives, with at most so many entries, and whether there are more.
pub fn merge(lives: &[Life<'_>], entries_max: usize) -> (History, bool) {
    let places = places(lives);
    let n = lives.first().map_or(places, |life| life.header.n);
    let told = all_told(lives, &clients(lives));
    let line = TimeLine::told(lives, &told);
    let mut all: Vec<(u64, u8, Happening)> = Vec::new();
    for (life, told) in told.into_iter().enumerate() {
        for (now, happening) in told.happened {
            all.push((line.us(life, now), happening.rank(), happening));
        }
    }
    let newest = line.end();
    for (at, life) in lives.iter().enumerate() {
        let is_silent = line.last(at) + SILENT_US < newest;
        let us = life.end.map(|end| line.us(at, end)).or(is_silent.then_some(line.last(at)));
        if let (Who::Replica(replica), Some(us)) = (life.who(), us) {
            all.push((us, RANK_LAST, Happening::Is(Event::Ended { replica, cannot_sync: false })));
        }
    }
    all.sort_by_key(|(us, rank, _)| (*us, *rank));
    let end = all.last().map_or(0, |(us, ..)| *us);
    record((n, places), all, end, entries_max)
}

fn record(
    (n, places): (usize, usize),
    all: Vec<(u64, u8, Happening)>,
    end: u64,
    entries_max: usize,
) -> (History, bool) {
    let mut recorder = Recorder::new(places, entries_max).founded_by(n);
    let mut under_way: HashMap<(Party, Party, u64), u64> = HashMap::new();
    for (us, _, happening) in all {
        match happening {
            Happening::Is(event) => recorder.happens(us, event),
            Happening::Leaves(from, to, payload) => {
                *under_way.entry((from, to, hash(&payload))).or_default() += 1;
                recorder.leaves(us, from, to, &payload);
            }
            Happening::Arrives(from, to, payload) => {
                let left = under_way.entry((from, to, hash(&payload))).or_default();
                if *left == 0 {
                    *left = 1;
                    recorder.leaves(us, from, to, &payload);
                }
                recorder.arrives(us, from, to, &payload);
            }
        }
    }
    let is_cut = recorder.is_cut();
    (recorder.finish(end), is_cut)
}

/// The slot of a client's line, by its number among the client's lines in the log.
pub fn slot_of(lives: &[Life<'_>], client: ClientId, line: u64) -> Option<Slot> {
    let mut found = None;
    for life in lives.iter().filter(|life| matches!(life.who(), Who::Replica(_))) {
        steps(life, Stream::Learner, |step: Step<learner::Input, learner::Record>| {
            let Step::Record(_, Record::Turn { records, .. }) = step else { return };
            for record in records {
                let learner::Record::Applied { first, values, client_seqs } = record else {
                    continue;
                };
                let is_it = |(value, seq): (ValueRef<'_>, &Option<u64>)| {
                    *seq == Some(line)
                        && value.command().is_some_and(|it| it.session.client == client)
                };
                let at = values.iter().zip(&client_seqs).position(is_it);
                found = at.map(|at| first.plus(at as u64)).or(found);
            }
        });
    }
    found
}

/// A replica that begins with another directory than before has lost its disk.
fn note_wiped(lives: &[Life<'_>], told: &mut [Told]) {
    let mut directories: BTreeMap<Who, DirectoryId> = BTreeMap::new();
    for (life, told) in lives.iter().zip(told) {
        let (Who::Replica(replica), Some(directory)) = (life.who(), told.directory) else {
            continue;
        };
        let before = directories.insert(life.who(), directory);
        if before.is_some_and(|before| before != directory) {
            told.happened.insert(0, (Time(0), Happening::Is(Event::Wiped { replica })));
        }
    }
}

/// The clients that have asked replicas for something, by the addresses from which they did.
fn clients(lives: &[Life<'_>]) -> BTreeMap<Address, ClientId> {
    let mut clients = BTreeMap::new();
    for life in lives.iter().filter(|life| matches!(life.who(), Who::Replica(_))) {
        steps(life, Stream::Proposer, |step: Step<proposer::Input, Never>| {
            if let Step::Record(
                _,
                Record::Input { input: proposer::Input::Client(from, request), .. },
            ) = step
                && let Some(command) = request.iter().next()
            {
                clients.insert(from, command.session.client);
            }
        });
    }
    clients
}

fn sightings(told: &[Told], wall: impl Fn(usize, Time) -> u64) -> Vec<Sighting> {
    let each = |(life, told): (usize, &Told)| {
        let sighting = |(now, happening): &(Time, Happening)| {
            let (leaves, from, to, payload) = match happening {
                Happening::Leaves(from, to, payload) => (true, from, to, payload),
                Happening::Arrives(from, to, payload) => (false, from, to, payload),
                Happening::Is(_) => return None,
            };
            let message = (*from, *to, hash(payload));
            Some(Sighting { life, us: wall(life, *now), leaves, message })
        };
        told.happened.iter().filter_map(sighting).collect::<Vec<_>>()
    };
    told.iter().enumerate().flat_map(each).collect()
}

fn hash(payload: &Payload) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(payload)
}

impl Told {
    fn by(life: &Life<'_>, clients: &BTreeMap<Address, ClientId>) -> Told {
        let (happened, is_whole) = (Vec::new(), true);
        let mut told = Told {
            who: life.who(),
            happened,
            turn: 0,
            turn_ends: Time(0),
            leads: None,
            directory: None,
            is_whole,
        };
        for stream in roles(life.who()) {
            told.turn = told.happened.len();
            match stream {
                Stream::Bootstrap => told.role(life, *stream, Told::bootstrap, clients),
                Stream::Acceptor => told.role(life, *stream, Told::acceptor, clients),
                Stream::Proposer => told.role(life, *stream, Told::proposer, clients),
                Stream::Learner => told.role(life, *stream, Told::learner, clients),
                Stream::Client => told.role(life, *stream, Told::client, clients),
                Stream::Process => {}
            }
        }
        told
    }

    fn role<I: DeserializeOwned, R: DeserializeOwned>(
        &mut self,
        life: &Life<'_>,
        stream: Stream,
        each: Each<I, R>,
        clients: &BTreeMap<Address, ClientId>,
    ) {
        steps(life, stream, |step: Step<I, R>| {
            let Step::Record(_, record) = step else {
                self.is_whole = false;
                return;
            };
            match record {
                Record::Begin { now, beginning, .. } => {
                    each(self, now, What::Begins(beginning), clients);
                }
                Record::Input { now, input, .. } => each(self, now, What::Gets(input), clients),
                Record::Turn { now, records, envelopes, .. } => {
                    (self.turn, self.turn_ends) = (self.happened.len(), now);
                    records.into_iter().for_each(|it| each(self, now, What::Saves(it), clients));
                    envelopes.into_iter().for_each(|it| self.sends(now, it, clients));
                }
                Record::Pages { envelopes } => {
                    let now = self.turn_ends;
                    envelopes.into_iter().for_each(|it| self.sends(now, it, clients));
                }
                Record::Failed => self.happened.truncate(self.turn),
                Record::Timeout { .. } | Record::Dropped { .. } => {}
            }
        });
    }

    fn party(&self) -> Party {
        match self.who {
            Who::Replica(id) => Party::Replica(id),
            Who::Client(id) => Party::Client(id.0),
        }
    }

    /// The replica, of which this is a role.
    fn replica(&self) -> ReplicaId {
        match self.who {
            Who::Replica(id) => id,
            Who::Client(_) => unreachable!("a role of a replica"),
        }
    }

    fn is(&mut self, now: Time, event: Event) {
        self.happened.push((now, Happening::Is(event)));
    }

    fn gets(&mut self, now: Time, from: ReplicaId, message: Message) {
        let from = Party::Replica(from);
        if from != self.party() {
            let arrives = Happening::Arrives(from, self.party(), Payload::Peer(message));
            self.happened.push((now, arrives));
        }
    }

    /// A client's message arrives, if it is one of which more is known.
    fn is_called(&mut self, now: Time, from: Option<&ClientId>, message: ClientMessage) {
        if let Some(client) = from {
            let (from, call) = (Party::Client(client.0), Payload::Call(message));
            self.happened.push((now, Happening::Arrives(from, self.party(), call)));
        }
    }

    fn sends(&mut self, now: Time, envelope: Envelope, clients: &BTreeMap<Address, ClientId>) {
        let from = self.party();
        let mut leaves = |to: Party, payload: Payload| {
            self.happened.push((now, Happening::Leaves(from, to, payload)));
        };
        match envelope {
            Envelope::Peer { to, message } if Party::Replica(to) == from => {
                self.is(now, Event::Told { replica: to, said: Said::by_peer(&message) });
            }
            Envelope::Peer { to, message } => {
                let resigns = matches!(&message, Message::Heartbeat(it) if !it.leading);
                leaves(Party::Replica(to), Payload::Peer(message));
                if resigns {
                    self.leads(now, None);
                }
            }
            Envelope::Back { to, message, .. } => {
                leaves(Party::Replica(to), Payload::Peer(Message::Bootstrap(message)));
            }
            Envelope::Call { to, message } => leaves(Party::Replica(to), Payload::Call(message)),
            Envelope::Answers { to, answers } => {
                if let Some(client) = clients.get(&to) {
                    let to = Party::Client(client.0);
                    answers.into_iter().for_each(|answer| leaves(to, Payload::Answer(answer)));
                }
            }
            Envelope::Notice(Notice::Learner(learner::Input::Leading(ballot))) => {
                self.leads(now, Some(ballot));
            }
            Envelope::Notice(notice) => {
                if let Some(said) = Said::by_own_acceptor(&notice) {
                    let replica = self.replica();
                    self.is(now, Event::Told { replica, said });
                }
            }
        }
    }

    /// From now on the replica leads at this ballot, or does not lead.
    fn leads(&mut self, now: Time, ballot: Option<Ballot>) {
        if std::mem::replace(&mut self.leads, ballot) != ballot {
            let replica = self.replica();
            self.is(
                now,
                match ballot {
                    Some(ballot) => Event::Leads { replica, ballot },
                    None => Event::Resigned { replica },
                },
            );
        }
    }

    fn bootstrap(
        &mut self,
        now: Time,
        what: What<bootstrap::Input, bootstrap::Record>,
        _clients: &BTreeMap<Address, ClientId>,
    ) {
        match what {
            What::Begins(beginning) => {
                if let Beginning::Bootstrap(_, of) = *beginning {
                    self.directory = Some(of.directory);
                }
            }
            What::Gets(bootstrap::Input::Peer(from, _, message)) => {
                self.gets(now, from, Message::Bootstrap(message));
            }
            _ => {}
        }
    }

    fn acceptor(
        &mut self,
        now: Time,
        what: What<acceptor::Input, acceptor::Record>,
        _clients: &BTreeMap<Address, ClientId>,
    ) {
        let replica = self.replica();
        match what {
            What::Begins(beginning) => {
                if let Beginning::Acceptor(_, _, of) = *beginning {
                    self.held(now, &of);
                }
            }
            What::Gets(acceptor::Input::Peer(from, message)) => {
                self.gets(now, from, Message::Acceptor(message));
            }
            What::Saves(acceptor::Record::Promise(ballot)) => {
                self.is(now, Event::Promised { replica, ballot });
            }
            What::Saves(acceptor::Record::Accept(run)) => {
                let (ballot, first, values) = (run.ballot, run.first, run.values);
                self.is(now, Event::Accepted { replica, ballot, first, values });
            }
            _ => {}
        }
    }

    /// What an acceptor has promised and accepted in an earlier life.
    fn held(&mut self, now: Time, of: &Accepting) {
        let replica = self.replica();
        if let Some(ballot) = of.promised {
            self.is(now, Event::Promised { replica, ballot });
        }
        for run in &of.runs {
            let (ballot, first, values) = (run.ballot, run.first, run.values.clone());
            self.is(now, Event::Accepted { replica, ballot, first, values });
        }
    }

    fn proposer(
        &mut self,
        now: Time,
        what: What<proposer::Input, Never>,
        clients: &BTreeMap<Address, ClientId>,
    ) {
        match what {
            What::Gets(proposer::Input::Peer(from, message)) => {
                self.gets(now, from, Message::Proposer(message));
            }
            What::Gets(proposer::Input::Heartbeat(from, heartbeat)) => {
                self.gets(now, from, Message::Heartbeat(heartbeat));
            }
            What::Gets(proposer::Input::Client(from, request)) => {
                self.is_called(now, clients.get(&from), ClientMessage::Request(request));
            }
            What::Gets(proposer::Input::Inquiry(from, inquiry)) => {
                let inquiry = ClientMessage::Inquiry(Box::new(inquiry));
                self.is_called(now, clients.get(&from), inquiry);
            }
            _ => {}
        }
    }

    fn learner(
        &mut self,
        now: Time,
        what: What<learner::Input, learner::Record>,
        clients: &BTreeMap<Address, ClientId>,
    ) {
        let replica = self.replica();
        match what {
            What::Begins(beginning) => {
                if let Beginning::Learner(_, membership, of) = *beginning {
                    let (votes, applied) = (membership.is_voter(replica), of.applied());
                    self.is(now, Event::Began { replica, votes, applied });
                }
            }
            What::Gets(learner::Input::Peer(from, message)) => {
                self.gets(now, from, Message::Learner(message));
            }
            What::Gets(learner::Input::Hello(from)) => {
                self.is_called(now, clients.get(&from), ClientMessage::Hello);
            }
            What::Saves(learner::Record::Applied { first, values, client_seqs }) => {
                let effects = client_seqs.iter().map(Option::is_some).collect();
                self.is(now, Event::Applied { replica, first, values, effects });
            }
            _ => {}
        }
    }

    fn client(
        &mut self,
        now: Time,
        what: What<client::Input, Outcome>,
        _clients: &BTreeMap<Address, ClientId>,
    ) {
        if let What::Gets(client::Input::Answer(from, answer)) = what {
            let (from, answer) = (Party::Replica(from), Payload::Answer(answer));
            self.happened.push((now, Happening::Arrives(from, self.party(), answer)));
        }
    }
}

/// Takes what a role does.
type Each<I, R> = fn(&mut Told, Time, What<I, R>, &BTreeMap<Address, ClientId>);

/// What a role begins with, is given, or wants to survive a crash.
enum What<I, R> {
    Begins(Box<Beginning>),
    Gets(I),
    Saves(R),
}
