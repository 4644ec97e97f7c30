//! Builders, and a seat for a role: it gives inputs to the role and returns its messages.

use multipaxos::members::{Configuration, Member};
use multipaxos::message::{
    Answer, ClientMessage, Decided, Heartbeat, LogHash, Message, Request, ToAcceptor, ToBootstrap,
    ToLearner, ToProposer, Voter,
};
use multipaxos::paxos::{
    DecidedPages, Envelope, Limits, Membership, Notice, Outbox, Role, Settings, Storage, Text,
    acceptor, learner, proposer,
};
use multipaxos::quorum::ReplicaSet;
use multipaxos::storage::chat_log::write_line;
use multipaxos::storage::upkeep::Upkeep;
pub(crate) use multipaxos::types::replicas;
use multipaxos::types::{
    Address, Ballot, BootId, ClusterId, DirectoryId, ReplicaId, Slot, SlotRange, Time, Value,
};
use multipaxos::values::Values;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

#[path = "memory.rs"]
mod memory;

pub(crate) use memory::Memory;

pub(crate) const R0: ReplicaId = ReplicaId(0);
pub(crate) const R1: ReplicaId = ReplicaId(1);
pub(crate) const R2: ReplicaId = ReplicaId(2);
pub(crate) const R3: ReplicaId = ReplicaId(3);

pub(crate) const HEARTBEAT_US: u64 = 50_000;
pub(crate) const ELECTION_MIN_US: u64 = 300_000;
pub(crate) const ELECTION_MAX_US: u64 = 600_000;

pub(crate) fn settings(n: usize, id: ReplicaId) -> Settings {
    Settings {
        id,
        n,
        places: n,
        boot: BootId(1 + u64::from(id.0)),
        payload_bytes: 1_200,
        heartbeat_us: HEARTBEAT_US,
        election_min_us: ELECTION_MIN_US,
        election_max_us: ELECTION_MAX_US,
        checkpoint_slots: 8,
        skip_slot: None,
        limits: Limits::DEFAULT,
    }
}

/// The directory of `id` on the started record.
pub(crate) fn directory(id: ReplicaId) -> DirectoryId {
    DirectoryId(100 + u64::from(id.0))
}

/// The first life of `id`.
pub(crate) fn voter(id: ReplicaId) -> Voter {
    Voter { directory: directory(id), boot: BootId(1 + u64::from(id.0)), begun: 0 }
}

/// The same on a directory that is not on the started record.
pub(crate) fn foreign(id: ReplicaId) -> Voter {
    Voter { directory: DirectoryId(999), ..voter(id) }
}

/// The membership of `id` in a cluster of `n` that has just warmed up.
pub(crate) fn membership(n: usize, id: ReplicaId) -> Membership {
    Membership {
        cluster: ClusterId(7),
        voter: voter(id),
        members: replicas(n).map(directory).collect(),
        memories: Vec::new(),
        fresh: true,
    }
}

/// The membership of `id` if its disk was wiped after the cluster had started.
pub(crate) fn stranger(n: usize, id: ReplicaId) -> Membership {
    Membership { voter: foreign(id), ..membership(n, id) }
}

/// The first configuration of `n` after a change: `foreign(id)` has taken the place of `id`.
pub(crate) fn replaced(n: usize, id: ReplicaId) -> Configuration {
    let member = Member { id, directory: foreign(id).directory, address: None };
    membership(n, id).started().with(member).expect("one member is another")
}

/// The same after a change that removes `id`.
pub(crate) fn removed(n: usize, id: ReplicaId) -> Configuration {
    membership(n, id).started().without(id).expect("one member less")
}

/// The change that makes this configuration.
pub(crate) fn change(next: &Configuration) -> Value {
    Value::Change(next.to_change())
}

pub(crate) fn address(port: u16) -> Address {
    Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Command 0 of a session whose number follows from the text.
pub(crate) fn value(line: &str) -> Value {
    let name = |name: u64, byte: u8| name.wrapping_mul(31).wrapping_add(byte.into());
    command(line.bytes().fold(1, name), 0, line)
}

pub(crate) fn command(session: u64, seq: u64, line: &str) -> Value {
    Value::Command(Request::new(1, session, seq, line).command())
}

pub(crate) fn nothing_decided(ballot: u64) -> Decided {
    Decided { ballot: Ballot(ballot), slots: SlotRange::default() }
}

pub(crate) fn decided(ballot: u64, start: u64, end: u64) -> Decided {
    Decided { ballot: Ballot(ballot), slots: SlotRange::new(Slot(start), Slot(end)) }
}

pub(crate) fn range(start: u64, len: u64) -> SlotRange {
    SlotRange::with_len(Slot(start), len)
}

/// These peers have passed over these slots.
pub(crate) fn lost(slots: SlotRange, peers: &[ReplicaId]) -> proposer::Lost {
    let mut by = ReplicaSet::EMPTY;
    peers.iter().for_each(|peer| {
        by.insert(*peer);
    });
    proposer::Lost { slots, by }
}

/// A heartbeat of a member that follows ballot 0.
pub(crate) fn heartbeat(from: ReplicaId, round: u64) -> Heartbeat {
    Heartbeat {
        voter: voter(from),
        written: 0,
        round,
        echo: 0,
        held_us: 0,
        sync_ms: 0,
        ballot: Ballot::ZERO,
        leading: false,
        campaigning: false,
        promised: None,
        applied: Slot::ZERO,
        history: LogHash::default(),
        decided: Decided::default(),
        inherited: Slot::ZERO,
        seen: None,
    }
}

/// A role, its storage and its time.
pub(crate) struct Seat<R: Role, S> {
    pub(crate) role: R,
    pub(crate) storage: S,
    pub(crate) now: Time,
    pub(crate) draw: u64,
    pub(crate) out: Outbox<R::Record>,
}

impl<R: Role, S: Storage<R::Record> + Upkeep> Seat<R, S> {
    pub(crate) fn new(role: R, storage: S) -> Self {
        Seat { role, storage, now: Time(0), draw: 0, out: Outbox::new() }
    }

    /// Handles one input, and commits.
    pub(crate) fn handle(&mut self, input: R::Input) -> Vec<Envelope> {
        self.burst([input])
    }

    /// Handles many inputs, and commits once.
    pub(crate) fn burst(&mut self, inputs: impl IntoIterator<Item = R::Input>) -> Vec<Envelope> {
        self.try_burst(inputs).expect("the storage takes everything")
    }

    pub(crate) fn try_burst(
        &mut self,
        inputs: impl IntoIterator<Item = R::Input>,
    ) -> io::Result<Vec<Envelope>> {
        for input in inputs {
            self.role.handle(self.now, self.draw, input, &mut self.out);
        }
        self.role.flush(self.now, &mut self.out);
        let mut envelopes = self.out.commit(&mut self.storage)?;
        if let Some(log) = self.storage.decided_pages() {
            self.out.read_pages(log, &mut envelopes)?;
        }
        Ok(envelopes)
    }

    /// Lets the role look at its timers. The deadline may have passed or not.
    pub(crate) fn wake(&mut self) -> Vec<Envelope> {
        self.role.handle_timeout(self.now, self.draw, &mut self.out);
        self.burst([])
    }

    /// Lets time pass. Every timer fires when it is due.
    pub(crate) fn wait_us(&mut self, us: u64) -> Vec<Envelope> {
        let end = self.now.plus_us(us);
        let mut envelopes = Vec::new();
        while let Some(due) = self.role.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            envelopes.extend(self.wake());
            let next = self.role.deadline();
            assert!(next.is_none_or(|next| next > self.now), "a timer at {next:?} spins");
        }
        self.now = end;
        envelopes
    }
}

// --- messages ----------------------------------------------------------------

fn peers(envelopes: &[Envelope]) -> impl Iterator<Item = (ReplicaId, &Message)> {
    envelopes.iter().filter_map(|envelope| match envelope {
        Envelope::Peer { to, message } => Some((*to, message)),
        _ => None,
    })
}

pub(crate) fn to_acceptors(envelopes: &[Envelope]) -> Vec<(ReplicaId, ToAcceptor)> {
    let pick = |(to, message): (ReplicaId, &Message)| match message {
        Message::Acceptor(message) => Some((to, message.clone())),
        _ => None,
    };
    peers(envelopes).filter_map(pick).collect()
}

pub(crate) fn to_proposers(envelopes: &[Envelope]) -> Vec<(ReplicaId, ToProposer)> {
    let pick = |(to, message): (ReplicaId, &Message)| match message {
        Message::Proposer(message) => Some((to, message.clone())),
        _ => None,
    };
    peers(envelopes).filter_map(pick).collect()
}

pub(crate) fn to_learners(envelopes: &[Envelope]) -> Vec<(ReplicaId, ToLearner)> {
    let pick = |(to, message): (ReplicaId, &Message)| match message {
        Message::Learner(message) => Some((to, message.clone())),
        _ => None,
    };
    peers(envelopes).filter_map(pick).collect()
}

pub(crate) fn to_replicas(envelopes: &[Envelope]) -> Vec<(ReplicaId, ToBootstrap)> {
    let pick = |(to, message): (ReplicaId, &Message)| match message {
        Message::Bootstrap(message) => Some((to, message.clone())),
        _ => None,
    };
    peers(envelopes).filter_map(pick).collect()
}

pub(crate) fn heartbeats(envelopes: &[Envelope]) -> Vec<(ReplicaId, Heartbeat)> {
    let pick = |(to, message): (ReplicaId, &Message)| match message {
        Message::Heartbeat(heartbeat) => Some((to, **heartbeat)),
        _ => None,
    };
    peers(envelopes).filter_map(pick).collect()
}

pub(crate) fn answers(envelopes: &[Envelope]) -> Vec<(Address, Answer)> {
    let mut found = Vec::new();
    for envelope in envelopes {
        if let Envelope::Answers { to, answers } = envelope {
            found.extend(answers.iter().map(|answer| (*to, answer.clone())));
        }
    }
    found
}

pub(crate) fn calls(envelopes: &[Envelope]) -> Vec<(ReplicaId, ClientMessage)> {
    let pick = |envelope: &Envelope| match envelope {
        Envelope::Call { to, message } => Some((*to, message.clone())),
        _ => None,
    };
    envelopes.iter().filter_map(pick).collect()
}

fn notices(envelopes: &[Envelope]) -> impl Iterator<Item = &Notice> {
    envelopes.iter().filter_map(|envelope| match envelope {
        Envelope::Notice(notice) => Some(notice),
        _ => None,
    })
}

pub(crate) fn told_proposer(envelopes: &[Envelope]) -> Vec<proposer::Input> {
    let pick = |notice: &Notice| match notice {
        Notice::Proposer(input) => Some(input.clone()),
        _ => None,
    };
    notices(envelopes).filter_map(pick).collect()
}

pub(crate) fn told_learner(envelopes: &[Envelope]) -> Vec<learner::Input> {
    let pick = |notice: &Notice| match notice {
        Notice::Learner(input) => Some(input.clone()),
        _ => None,
    };
    notices(envelopes).filter_map(pick).collect()
}

pub(crate) fn told_acceptor(envelopes: &[Envelope]) -> Vec<acceptor::Input> {
    let pick = |notice: &Notice| match notice {
        Notice::Acceptor(input) => Some(input.clone()),
        _ => None,
    };
    notices(envelopes).filter_map(pick).collect()
}

pub(crate) fn started(envelopes: &[Envelope]) -> Vec<Membership> {
    let pick = |notice: &Notice| match notice {
        Notice::Start(membership) => Some(membership.clone()),
        _ => None,
    };
    notices(envelopes).filter_map(pick).collect()
}

// --- storage that tests can inspect ------------------------------------------

/// A learner's record of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) value: Value,
    pub(crate) client_seq: Option<u64>,
}

/// A learner's decided log, in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Applied>,
    /// The slots below which checkpoints began.
    pub(crate) checkpoints: Vec<Slot>,
    pub(crate) parts: Vec<learner::Part>,
    pub(crate) fails: bool,
}

impl Log {
    pub(crate) fn values(&self) -> Vec<Value> {
        self.records.iter().map(|record| record.value.clone()).collect()
    }
}

impl Storage<learner::Record> for Log {
    fn append(&mut self, records: &mut Vec<learner::Record>) -> io::Result<()> {
        if self.fails {
            return Err(io::Error::other("the disk has failed"));
        }
        for record in records.drain(..) {
            match record {
                learner::Record::Applied { first, values, client_seqs } => {
                    assert_eq!(first.0, self.records.len() as u64, "slots are applied in order");
                    let each = values.to_vec().into_iter().zip(client_seqs);
                    let each = each.map(|(value, client_seq)| Applied { value, client_seq });
                    self.records.extend(each);
                }
                learner::Record::Checkpoint(part) => {
                    self.checkpoints.extend(part.is_first.then_some(part.applied));
                    self.parts.push(part);
                }
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upkeep for Log {
    fn decided_pages(&mut self) -> Option<&mut dyn DecidedPages> {
        Some(self)
    }
}

impl DecidedPages for Log {
    fn decided(&mut self, slots: SlotRange, bytes: usize) -> io::Result<Values> {
        let SlotRange { start: first, end: upto } = slots;
        let held = self.records.iter().skip(first.0 as usize).take(upto.since(first) as usize);
        let page: Values = held.map(|record| &record.value).collect();
        Ok(page.slice(0..page.fitting(bytes).max(1).min(page.len())))
    }

    fn text(&mut self, slot: Slot, offset: u64, bytes: usize) -> io::Result<Option<Text>> {
        let (mut all, mut begin) = (Vec::new(), None);
        for (at, Applied { value, client_seq }) in (0..).map(Slot).zip(&self.records) {
            if at == slot {
                begin = Some(all.len());
            }
            write_line(&mut all, at, value.into(), *client_seq);
        }
        let Some(begin) = begin else { return Ok(None) };
        let from = (begin + offset as usize).min(all.len());
        let to = (from + bytes).min(all.len());
        let (bytes, rest) = (all[from..to].to_vec(), (all.len() - to) as u64);
        Ok(Some(Text { bytes, rest, read: to - from }))
    }
}

/// Keeps every record, and an acceptor's memory made from them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) memory: Memory,
    pub(crate) records: Vec<acceptor::Record>,
}

impl Upkeep for Disk {}

impl Storage<acceptor::Record> for Disk {
    fn append(&mut self, records: &mut Vec<acceptor::Record>) -> io::Result<()> {
        self.records.extend(records.iter().cloned());
        self.memory.append(records)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.memory.sync()
    }
}
