//! The invariants, checked after every event against a ghost history.
//!
//! The history records what became durable and what was sent, not what the roles
//! believe. It holds every acceptance of every acceptor at every ballot. So "chosen"
//! here is the definition: a quorum of its configuration accepted one value at one ballot. It is not what
//! some learner concluded.
//!
//! | | invariant |
//! |---|---|
//! | I1 | a slot has at most one chosen value, and no higher ballot proposes another value for it |
//! | I2 | a slot has one value at each ballot |
//! | I3 | an acceptor's promise never goes down, across restarts too |
//! | I4 | applied logs are prefixes of one another, and hold only chosen values |
//! | I5 | every completed line is in the log exactly once, and each session's lines are in order |
//! | I6 | a line that was completed before another was sent has the lower slot |
//! | I7 | the log holds only lines that some client sent |
//! | I8 | the state of a role stays within its bounds |
//! | M1 | at the ballot of a change nothing is proposed above it |
//! | M3, M4 | an acceptor votes only in configurations that name its directory, once it has applied the change that made them, and knows that change in its next life |
//! | S1 | a replica sends an acceptance, a promise or an answer only after the records behind it are durable |
//! | S2 | only one life of one process uses a ballot, and only after the owner's own durable promise |
//! | S5 | a promise reports everything accepted below its ballot, and no trim mark above the acceptor's own |
//! | S7 | a decided mark covers only slots that a quorum accepted at its ballot |
//! | E2 | a client is told that its session expired, or never lived, only if that is true, and asks only about a line in flight; a session is born where everything below is chosen |
//! | E3 | a completion is true, and goes to the client that sent the command |
//! | E5 | a read returns every line that was complete, and all that was read, when it began |
//!
//! In a run with a state machine of a user, the log is also replayed on one more machine: all replicas
//! must be in its state after the same slots (I4), and answer as it does (E3).
//!
//! What a replica tells an operator must agree with these. It calls no slot decided that is not
//! (S7), and two replicas never name different hashes of the log below one slot (I4). What a reader
//! of the chat log is shown are the lines of the decided log (W7).
//!
//! The world checks two more: liveness (I9), because it knows when faults have stopped, and
//! D2: a disk whose process was only killed, or whose power was only cut, opens again.
//! docs/protocol.md explains each rule.

mod beside;
mod members;
mod model;
mod sent;

use super::trace::TraceHash;
use members::Members;
use model::Model;
use multipaxos::message::Run;
use multipaxos::paxos::{Limits, acceptor, learner};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{Ballot, ClientId, Command, Line, ReplicaId, Session, Slot, replicas};
use multipaxos::values::{CommandRef, ValueRef, Values};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

/// How many slots below its floor a read's marks are judged by.
const READ_SLOTS: usize = 64;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's id, and how the run broke it.
    pub what: String,
    /// The first slot concerned, if the rule is about slots.
    pub slot: Option<Slot>,
}

type Checked = Result<(), Violation>;

fn violation(slot: Slot, what: String) -> Checked {
    Err(Violation { what, slot: Some(slot) })
}

#[derive(Debug)]
struct Acceptance {
    value: u64,
    by: ReplicaSet,
    /// A copy of this replica's directory accepted it.
    by_copy: Option<ReplicaId>,
    /// This replica accepted it while a copy ran beside it.
    by_original: Option<ReplicaId>,
}

/// A chosen value, and the ballot at which a quorum first accepted it.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    value: u64,
    ballot: Ballot,
}

/// One applied slot, the same on every replica.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Applied {
    value: u64,
    client_seq: Option<u64>,
    /// The session and sequence number of the line, if the command took effect.
    line: Option<(Session, u64)>,
    /// How many bytes the line has.
    bytes: usize,
}

/// A line that some client has sent.
#[derive(Debug)]
struct Sent {
    line: Line,
    birth: Slot,
    /// Every line that was completed before this one was sent has a slot below this.
    floor: Slot,
    complete: bool,
}

/// The ghost history of a run.
#[derive(Debug)]
pub struct Checker {
    n: usize,
    members: Members,
    accepted: BTreeMap<(Slot, Ballot), Acceptance>,
    chosen: BTreeMap<Slot, Chosen>,
    proposed: BTreeMap<(Slot, Ballot), u64>,
    acceptors: Vec<acceptor::State>,
    /// Each acceptor's promise, computed without the acceptors' own code.
    promised: Vec<Option<Ballot>>,
    /// The life in which the owner of each ballot promised it.
    own_promises: BTreeMap<Ballot, u32>,
    marks: BTreeMap<(Ballot, Slot), Slot>,
    /// The most bytes of values that any acceptor has taken at once.
    longest_run_bytes: usize,
    /// The replica beside which a copy of its directory runs.
    copied: Option<ReplicaId>,
    log: Vec<Applied>,
    applied: Vec<Slot>,
    sent: BTreeMap<(Session, u64), Sent>,
    next_of_session: BTreeMap<Session, u64>,
    last_of_session: BTreeMap<Session, Slot>,
    last_of_client: BTreeMap<ClientId, Slot>,
    /// Sessions that a client was told never lived and never will.
    born_too_early: BTreeSet<Session>,
    session_window_slots: u64,
    /// What replicas have told an operator of their logs below a slot.
    hashes: BTreeMap<Slot, u64>,
    completed_above: Slot,
    /// What reads have returned lies below this slot.
    read_above: Slot,
    /// Where commands change a machine: what it must be.
    model: Option<Model>,
    /// No-ops applied: holes that a new leader filled. For the reach counters.
    pub noops: u64,
    /// Slots that changed the members.
    pub changes: u64,
    /// Commands that were chosen a second time, and so changed nothing.
    pub duplicates: u64,
}

fn fingerprint(value: ValueRef<'_>) -> u64 {
    let mut hash = TraceHash::default();
    hash.add(&value);
    hash.finish()
}

impl Checker {
    /// An empty history of a cluster of `n` whose sessions expire after this many slots.
    pub fn new(n: usize, session_window_slots: u64) -> Self {
        Checker {
            n,
            members: Members::new(n),
            accepted: BTreeMap::new(),
            chosen: BTreeMap::new(),
            proposed: BTreeMap::new(),
            acceptors: vec![acceptor::State::default(); n],
            promised: vec![None; n],
            own_promises: BTreeMap::new(),
            marks: BTreeMap::new(),
            longest_run_bytes: 0,
            copied: None,
            log: Vec::new(),
            // The last is a copy's.
            applied: vec![Slot::ZERO; n + 1],
            sent: BTreeMap::new(),
            next_of_session: BTreeMap::new(),
            last_of_session: BTreeMap::new(),
            last_of_client: BTreeMap::new(),
            born_too_early: BTreeSet::new(),
            session_window_slots,
            hashes: BTreeMap::new(),
            completed_above: Slot::ZERO,
            read_above: Slot::ZERO,
            model: None,
            noops: 0,
            changes: 0,
            duplicates: 0,
        }
    }

    /// The number of slots that at least one replica has applied.
    pub fn log_len(&self) -> u64 {
        self.log.len() as u64
    }

    // --- what became durable ---------------------------------------------------

    /// An acceptor's record has become durable.
    pub fn durable(&mut self, node: ReplicaId, life: u32, record: &acceptor::Record) -> Checked {
        self.acceptors[node.index()].apply(record);
        let before = self.promised[node.index()];
        let (ballot, slot) = match record {
            acceptor::Record::Promise(ballot) => (*ballot, Slot::ZERO),
            acceptor::Record::Accept(Run { ballot, first, .. }) => (*ballot, *first),
            acceptor::Record::Trim(_) | acceptor::Record::Remember(..) => {
                return self.keeps_its_promise(node);
            }
            acceptor::Record::Held(_) => unreachable!("only a log that is written anew has it"),
        };
        if before > Some(ballot) {
            return violation(
                slot,
                format!("I3: replica {node} goes below its promise, to ballot {ballot}"),
            );
        }
        if before < Some(ballot) {
            self.promised[node.index()] = Some(ballot);
            self.may_vote(node, ballot)?;
            if self.owner(ballot) == Some(node) {
                self.own_promises.insert(ballot, life);
            }
        }
        self.keeps_its_promise(node)?;
        if let acceptor::Record::Accept(Run { ballot, first, values }) = record {
            self.longest_run_bytes = self.longest_run_bytes.max(values.bytes().len());
            for (slot, value) in (first.0..).map(Slot).zip(values.iter()) {
                self.accept(node, slot, *ballot, value)?;
            }
        }
        Ok(())
    }

    fn keeps_its_promise(&self, node: ReplicaId) -> Checked {
        let state = &self.acceptors[node.index()];
        if state.promised() == self.promised[node.index()] {
            Ok(())
        } else {
            violation(state.trimmed(), format!("I3: replica {node} forgets its promise"))
        }
    }

    fn accept(
        &mut self,
        node: ReplicaId,
        slot: Slot,
        ballot: Ballot,
        value: ValueRef<'_>,
    ) -> Checked {
        let value = fingerprint(value);
        let entry = self.accepted.entry((slot, ballot)).or_insert(Acceptance {
            value,
            by: ReplicaSet::EMPTY,
            by_copy: None,
            by_original: None,
        });
        if entry.value != value {
            return violation(slot, format!("I2: two values accepted at ballot {ballot}"));
        }
        if self.copied == Some(node) {
            entry.by_original = Some(node);
            return Ok(());
        }
        entry.by.insert(node);
        if self.members.is_quorum(ballot, entry.by) {
            let first = !self.chosen.contains_key(&slot);
            let chosen = *self.chosen.entry(slot).or_insert(Chosen { value, ballot });
            if chosen.value != value {
                return violation(slot, format!("I1: another value is chosen at ballot {ballot}"));
            }
            if first {
                // A proposal at a ballot above the one that chose the value must hold that value.
                let above = self.proposed.range((slot, ballot)..=(slot, Ballot(u64::MAX)));
                if let Some(((_, other), _)) = above.into_iter().find(|(_, v)| **v != value) {
                    return violation(
                        slot,
                        format!("I1: chosen at {ballot}, but {other} proposes another value"),
                    );
                }
            }
        }
        Ok(())
    }

    /// The durable state that this acceptor must have.
    pub fn acceptor(&self, node: ReplicaId) -> &acceptor::State {
        &self.acceptors[node.index()]
    }

    /// The highest ballot that any acceptor has durably promised.
    pub fn highest_promise(&self) -> u64 {
        self.promised.iter().flatten().max().map_or(0, |ballot| ballot.0)
    }

    /// An acceptor begins a life, and has recovered this state.
    pub fn recovered(&mut self, node: ReplicaId, state: &acceptor::State) -> Checked {
        let ghost = &self.acceptors[node.index()];
        if state.promised() < ghost.promised() {
            return violation(
                Slot::ZERO,
                format!("I3: replica {node} came back with a lower promise"),
            );
        }
        if state != ghost {
            return violation(
                state.trimmed(),
                format!("S1: replica {node} came back without a record that was durable"),
            );
        }
        Ok(())
    }

    /// A replica has lost its disk. It begins anew under another directory identity, and
    /// its acceptances must not count from here on.
    pub fn wiped(&mut self, node: ReplicaId) {
        self.acceptors[node.index()] = acceptor::State::default();
        self.promised[node.index()] = None;
        self.applied[node.index()] = Slot::ZERO;
    }

    /// The cluster begins with these values in its first slots.
    pub fn begins_with(&mut self, values: &Values) {
        let mut next_of_client: BTreeMap<ClientId, u64> = BTreeMap::new();
        for (slot, value) in (0..).map(Slot).zip(values.iter()) {
            let fingerprint = fingerprint(value);
            self.chosen.insert(slot, Chosen { value: fingerprint, ballot: Ballot(0) });
            let mut applied =
                Applied { value: fingerprint, client_seq: None, line: None, bytes: 0 };
            if let Some(CommandRef { session, seq, birth, line }) = value.command() {
                let number = next_of_client.entry(session.client).or_default();
                applied.client_seq = Some(*number);
                *number += 1;
                applied.line = Some((session, seq));
                applied.bytes = line.len();
                self.next_of_session.insert(session, seq + 1);
                self.last_of_session.insert(session, slot);
                self.last_of_client.insert(session.client, slot);
                let line = std::str::from_utf8(line).expect("a chat log is UTF-8").into();
                let sent = Sent { line, birth, floor: Slot::ZERO, complete: true };
                self.sent.insert((session, seq), sent);
            }
            self.log.push(applied);
        }
        self.completed_above = Slot(self.log.len() as u64);
    }

    /// This replica begins with the values below `end`.
    pub fn begins_at(&mut self, node: ReplicaId, end: Slot) {
        self.acceptors[node.index()].apply(&acceptor::Record::Trim(end));
        self.applied[node.index()] = end;
    }

    /// An older copy of a replica's disk was put back, with this acceptor's state. What was
    /// accepted stays accepted; whether the replica still knows it is for the others to judge.
    pub fn put_back(&mut self, node: ReplicaId, state: &acceptor::State) {
        self.acceptors[node.index()] = state.clone();
        self.promised[node.index()] = state.promised();
    }

    /// A learner begins a life at its checkpoint.
    pub fn restarted(&mut self, node: ReplicaId, applied: Slot) {
        self.applied[node.index()] = applied;
    }

    /// How many bytes each line has that this learner had applied, and has lost if it begins a
    /// life at `applied`.
    pub fn lost(&self, node: ReplicaId, applied: Slot) -> impl Iterator<Item = usize> + use<'_> {
        let before = self.applied[node.index()].max(applied);
        self.log[applied.0 as usize..before.0 as usize].iter().map(|applied| applied.bytes)
    }

    /// A learner has applied some slots.
    pub fn applied(&mut self, node: ReplicaId, record: &learner::Record) -> Checked {
        let learner::Record::Applied { first, values, client_seqs } = record else {
            return Ok(());
        };
        let slots = (first.0..).map(Slot).zip(values.iter()).zip(client_seqs);
        for ((slot, value), client_seq) in slots {
            self.applied_one(node, slot, value, *client_seq)?;
        }
        Ok(())
    }

    fn applied_one(
        &mut self,
        node: ReplicaId,
        slot: Slot,
        value: ValueRef<'_>,
        client_seq: Option<u64>,
    ) -> Checked {
        let next = &mut self.applied[node.index()];
        if slot != *next {
            return violation(
                slot,
                format!("I4: replica {node} applied this slot, but slot {next} was next"),
            );
        }
        *next = slot.next();
        let fingerprint = fingerprint(value);
        self.choose_with_copy(slot, fingerprint)?;
        if self.chosen.get(&slot).map(|chosen| chosen.value) != Some(fingerprint) {
            return violation(
                slot,
                format!("I4: replica {node} applied a value that was not chosen"),
            );
        }
        let line = match (value, client_seq) {
            (ValueRef::Command(command), Some(_)) => Some((command.session, command.seq)),
            _ => None,
        };
        let bytes = value.command().map_or(0, |command| command.line.len());
        let applied = Applied { value: fingerprint, client_seq, line, bytes };
        match self.log.get(slot.0 as usize) {
            Some(same) if *same == applied => Ok(()),
            Some(_) => {
                violation(slot, format!("I4: replica {node} applied another value than the others"))
            }
            None => self.first_applied(slot, value, applied),
        }
    }

    fn first_applied(&mut self, slot: Slot, value: ValueRef<'_>, applied: Applied) -> Checked {
        match (value, applied.line) {
            (ValueRef::Noop, _) => self.noops += 1,
            (ValueRef::Change(change), _) => {
                self.changes += 1;
                self.members.change(slot, change.to_configuration());
            }
            (ValueRef::Command(_), None) => self.duplicates += 1,
            (ValueRef::Command(command), Some((session, seq))) => {
                let next = self.next_of_session.entry(session).or_default();
                if seq != *next {
                    return violation(
                        slot,
                        format!("I5: {session:?} applied {seq}, next was {next}"),
                    );
                }
                *next += 1;
                if self.born_too_early.contains(&session) {
                    return violation(slot, format!("E2: {session:?} was called born too early"));
                }
                self.last_of_session.insert(session, slot);
                self.last_of_client.insert(session.client, slot);
                let Some(sent) = self.sent.get(&(session, seq)) else {
                    return violation(slot, "I7: no client sent this".into());
                };
                if sent.line.as_bytes() != command.line {
                    return violation(
                        slot,
                        "I7: the log holds another line than the client sent".into(),
                    );
                }
                if slot < sent.floor {
                    return violation(
                        slot,
                        format!(
                            "I6: a line below slot {} was complete before it was sent",
                            sent.floor
                        ),
                    );
                }
            }
        }
        self.log.push(applied);
        if let Some(model) = &mut self.model {
            model.apply(slot, value);
        }
        Ok(())
    }

    // --- what clients see --------------------------------------------------------

    /// A client sends a line for the first time.
    pub fn submitted(&mut self, command: &Command) {
        let floor = self.completed_above;
        let Command { session, seq, birth, line } = command;
        self.sent.entry((*session, *seq)).or_insert(Sent {
            line: line.clone(),
            birth: *birth,
            floor,
            complete: false,
        });
    }

    /// A client asks what became of this line. If it is not in flight, the answer would be taken
    /// for one about the next line.
    pub fn inquired(&self, session: Session, seq: u64) -> Checked {
        match self.sent.get(&(session, seq)) {
            Some(sent) if !sent.complete => Ok(()),
            _ => violation(
                Slot(self.log.len() as u64),
                format!("E2: client {} asks about a line that is not in flight", session.client),
            ),
        }
    }

    /// A client was told that its line is in `slot`.
    pub fn completed(
        &mut self,
        session: Session,
        seq: u64,
        slot: Slot,
        client_seq: u64,
    ) -> Checked {
        let entry = self.log.get(slot.0 as usize);
        let right = entry.is_some_and(|applied| {
            applied.line == Some((session, seq)) && applied.client_seq == Some(client_seq)
        });
        if !right {
            return violation(
                slot,
                "I5: a client was told that its line is here, but the slot holds another".into(),
            );
        }
        if let Some(sent) = self.sent.get_mut(&(session, seq)) {
            sent.complete = true;
        }
        self.completed_above = self.completed_above.max(slot.next());
        Ok(())
    }

    // --- what reads return -----------------------------------------------------------

    /// A read begins. It has to return every slot below the first that this returns. A replica's mark
    /// has to be at least the one that stands at its place: it lies above every slot below the floor
    /// that the replica has helped to choose by now. (Of the last few of them.)
    pub fn read_begins(&self) -> (Slot, Vec<Slot>) {
        let floor = self.completed_above.max(self.read_above);
        let helped = |node, slot: Slot| {
            let ballots = (slot, Ballot::ZERO)..=(slot, Ballot(u64::MAX));
            let mut votes = self.accepted.range(ballots);
            votes.any(|((_, ballot), acceptance)| {
                acceptance.by.contains(node) && self.members.is_quorum(*ballot, acceptance.by)
            })
        };
        let last = |node| {
            let mut slots = self.chosen.range(..floor).rev().map(|(slot, _)| *slot);
            slots.by_ref().take(READ_SLOTS).find(|slot| helped(node, *slot)).map(Slot::next)
        };
        (floor, replicas(self.n).map(|node| last(node).unwrap_or(Slot::ZERO)).collect())
    }

    /// A replica gives its mark, which has to be at least this one (E5).
    pub fn gives_mark(&self, node: ReplicaId, mark: Slot, least: Slot) -> Checked {
        match mark < least {
            false => Ok(()),
            true => violation(
                mark,
                format!(
                    "E5: replica {node} has accepted what lies below {least}, and its mark is {mark}"
                ),
            ),
        }
    }

    /// A read that began with this floor, and was to go as far as `end`, returns the slots below
    /// `returned`.
    pub fn read_ends(&mut self, floor: Slot, end: Slot, returned: Slot) -> Checked {
        if returned.0 > self.log.len() as u64 {
            return violation(returned, "E5: a read returns what nobody has applied".into());
        }
        if end < floor {
            let what =
                format!("E5: a read of the slots below {end} began when {floor} had to be read");
            return violation(end, what);
        }
        self.read_above = self.read_above.max(returned);
        Ok(())
    }

    // --- bounds ----------------------------------------------------------------------

    /// The state of a running acceptor stays within its bounds. An acceptor that has room for
    /// one byte takes a whole run, so it may hold one run more.
    pub fn bounded(&self, node: ReplicaId, acceptor: &acceptor::State, limits: &Limits) -> Checked {
        let (slots, bytes) = (acceptor.len() as u64, acceptor.bytes());
        let is_bounded = slots <= 2 * limits.accept_slots
            && bytes <= 2 * limits.accept_bytes + self.longest_run_bytes;
        if is_bounded {
            return Ok(());
        }
        let what = format!("I8: replica {node}'s acceptor holds {slots} slots with {bytes} bytes");
        violation(acceptor.trimmed(), what)
    }

    /// The slot up to which this replica has applied.
    pub fn applied_by(&self, node: ReplicaId) -> Slot {
        self.applied[node.index()]
    }
}
