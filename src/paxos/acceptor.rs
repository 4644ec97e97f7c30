//! The acceptor: promises and acceptances, the only state that safety rests on.
//!
//! It remembers the highest ballot that it promised and, for every slot above its
//! trim mark, the value it accepted at the highest ballot. It refuses everything
//! below its promise. Accepting is also promising, so the promise rises with it.
//! (Paxos Made Simple, §2.2 and §2.5; Paxos Made Moderately Complex, §2.2.)
//!
//! What it guarantees:
//!
//! - The promise never goes down, and nothing that rests on a promise or an
//!   acceptance leaves before that is durable (the outbox sees to it).
//! - No ballot of this replica's own is licensed in two lives of the process.
//! - A vote names exact slots accepted at exactly its ballot; no prefix is implied.
//! - The ballot is checked before the slot: a stale leader learns nothing else.
//! - What it holds is bounded: it refuses slots [`ACCEPT_WINDOW_SLOTS`] or more above
//!   its trim mark, and trims what its own learner has durably applied. The mark
//!   stands on every page of a promise, so that nobody takes "trimmed" for "empty".
//!
//! [`State`] is what survives; replaying its records in any state that contains
//! them is harmless, since acceptances replay highest ballot first.

use super::planted::Bug;
use super::{ACCEPT_WINDOW_SLOTS, Membership, Notice, Outbox, Role, Settings};
use super::{learner, proposer};
use crate::message::{
    Accept, Accepted, MESSAGE_SLOTS_MAX, Message, Promise, SlotRange, ToAcceptor, ToLearner,
    ToProposer,
};
use crate::types::{Ballot, ReplicaId, Slot, Time, Value};
use std::collections::BTreeMap;

/// What one entry of a promise's page takes on the wire beside its value: two
/// varints.
const ACCEPTED_OVERHEAD_BYTES: usize = 20;

/// What a page takes beside its entries.
const PAGE_OVERHEAD_BYTES: usize = 64;

/// What one range of a vote takes on the wire.
const RANGE_BYTES_MAX: usize = 20;

/// What must survive a crash, one step at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Nothing below this ballot is accepted any more.
    Promise(Ballot),
    /// These values were accepted in consecutive slots; promises `ballot` too, in
    /// one record, so that no crash can part the two.
    Accept {
        /// At which ballot.
        ballot: Ballot,
        /// The slot of the first value.
        first: Slot,
        /// One value a slot.
        values: Vec<Value>,
    },
    /// Slots below this are decided and applied here, and forgotten.
    Trim(Slot),
}

/// An acceptor's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct State {
    promised: Option<Ballot>,
    trimmed: Slot,
    accepted: BTreeMap<Slot, (Ballot, Value)>,
}

impl State {
    /// Takes one record; also how a log of them is replayed.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Promise(ballot) => self.promised = self.promised.max(Some(*ballot)),
            Record::Accept { ballot, first, values } => {
                self.promised = self.promised.max(Some(*ballot));
                for (slot, value) in (first.0..).map(Slot).zip(values) {
                    if slot < self.trimmed {
                        continue;
                    }
                    let held =
                        self.accepted.entry(slot).or_insert_with(|| (*ballot, value.clone()));
                    if held.0 < *ballot {
                        *held = (*ballot, value.clone());
                    }
                }
            }
            Record::Trim(slot) => {
                self.trimmed = self.trimmed.max(*slot);
                self.accepted = self.accepted.split_off(&self.trimmed);
            }
        }
    }

    /// The highest ballot promised.
    pub fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    /// Slots below this are decided and forgotten.
    pub fn trimmed(&self) -> Slot {
        self.trimmed
    }

    /// What is accepted in `slot`, and at which ballot.
    pub fn accepted(&self, slot: Slot) -> Option<&(Ballot, Value)> {
        self.accepted.get(&slot)
    }

    /// What is accepted from `first` on, below `upto`.
    pub fn range(
        &self,
        first: Slot,
        upto: Slot,
    ) -> impl Iterator<Item = (&Slot, &(Ballot, Value))> {
        self.accepted.range(first..upto.max(first))
    }

    /// How many slots hold something.
    pub fn len(&self) -> usize {
        self.accepted.len()
    }

    /// Whether no slot holds anything.
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty()
    }
}

/// What an acceptor takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message, and who sent it.
    Peer(ReplicaId, ToAcceptor),
    /// The learner of this replica has applied every slot below, and its checkpoint is
    /// durable.
    /// Cumulative, and repeated.
    Applied(Slot),
}

/// The acceptor role.
#[derive(Debug)]
pub struct Acceptor {
    settings: Settings,
    membership: Membership,
    state: State,
    /// What was promised before this life of the process. If that is a ballot of this
    /// replica's own, it is used up.
    promised_before: Option<Ballot>,
    /// Votes of this burst, to leave as one message a ballot.
    votes: Vec<(Ballot, SlotRange)>,
    /// The promise has risen, or a reminder is due.
    announce: bool,
}

impl Acceptor {
    /// An acceptor that remembers `state`, as storage gave it back: empty on a
    /// replica's first start.
    pub fn new(settings: Settings, membership: Membership, state: State) -> Self {
        let promised_before = state.promised;
        Acceptor { settings, membership, state, promised_before, votes: Vec::new(), announce: true }
    }

    /// What it remembers.
    pub fn state(&self) -> &State {
        &self.state
    }

    fn record(&mut self, record: Record, out: &mut Outbox<Record>) {
        let before = self.state.promised;
        self.state.apply(&record);
        assert!(self.state.promised >= before, "a promise never goes down");
        let planted = self.settings.planted;
        match record {
            Record::Accept { .. } if planted.has(Bug::AcceptanceDoesNotPromise) => {
                self.state.promised = before;
            }
            Record::Trim(_) if planted.has(Bug::TrimForgetsPromise) => self.state.promised = None,
            _ => {}
        }
        self.announce |= self.state.promised > before;
        out.persist(record);
    }

    /// Says no to the owner of `ballot`, and which ballot stands in its way.
    fn refuse(&self, ballot: Ballot, promised: Ballot, out: &mut Outbox<Record>) {
        let nack = ToProposer::Nack { ballot, promised };
        out.send(ballot.owner(self.settings.n), Message::Proposer(nack));
    }

    fn handle_prepare(&mut self, ballot: Ballot, first: Slot, out: &mut Outbox<Record>) {
        match self.state.promised {
            Some(promised) if ballot < promised => return self.refuse(ballot, promised, out),
            // The licence to use a ballot is the rise of the promise to it, in this life:
            // what was proposed under it in an earlier one is forgotten.
            Some(promised)
                if self.promised_before == Some(ballot)
                    && ballot.owner(self.settings.n) == self.settings.id
                    && !self.settings.planted.has(Bug::BallotUsedAgainAfterRestart) =>
            {
                return self.refuse(ballot, promised, out);
            }
            Some(promised) if ballot == promised => {}
            _ => self.record(Record::Promise(ballot), out),
        }
        let page = self.page(ballot, first);
        out.send(ballot.owner(self.settings.n), Message::Proposer(ToProposer::Promise(page)));
    }

    /// What is accepted from `first` on, as far as one message carries it.
    fn page(&self, ballot: Ballot, first: Slot) -> Promise {
        let start = first.max(self.state.trimmed);
        let mut room = self.settings.payload_bytes.saturating_sub(PAGE_OVERHEAD_BYTES);
        let mut accepted = Vec::new();
        let mut last = true;
        for (&slot, (held, value)) in self.state.accepted.range(start..) {
            let bytes = ACCEPTED_OVERHEAD_BYTES + value.wire_bytes_max();
            if !accepted.is_empty() && (bytes > room || accepted.len() == MESSAGE_SLOTS_MAX) {
                last = false;
                break;
            }
            room = room.saturating_sub(bytes);
            accepted.push(Accepted { slot, ballot: *held, value: value.clone() });
        }
        Promise {
            ballot,
            directory: self.membership.directory,
            first,
            upto: accepted.last().map_or(start, |entry| entry.slot.next()),
            last,
            trimmed: match self.settings.planted.has(Bug::PromiseHidesTrimmedSlots) {
                true => Slot::ZERO,
                false => self.state.trimmed,
            },
            accepted,
        }
    }

    fn handle_accept(&mut self, accept: Accept, out: &mut Outbox<Record>) {
        let Accept { ballot, first, values, decided } = accept;
        let stands = match self.state.accepted(first) {
            held if self.settings.planted.has(Bug::AcceptChecksLastAccepted) => {
                held.map(|(ballot, _)| *ballot)
            }
            _ => self.state.promised,
        };
        if let Some(promised) = stands
            && ballot < promised
        {
            return self.refuse(ballot, promised, out);
        }
        let end = self.state.trimmed.plus(ACCEPT_WINDOW_SLOTS);
        let mut runs: Vec<(Slot, Vec<Value>)> = Vec::new();
        let mut unwritten: Vec<(Slot, Vec<Value>)> = Vec::new();
        for (slot, value) in (first.0..).map(Slot).zip(values) {
            if slot < self.state.trimmed || slot >= end {
                continue;
            }
            match self.state.accepted.get(&slot) {
                Some((held, same)) if *held == ballot => {
                    if *same != value {
                        log::error!("two values for slot {slot} at ballot {ballot}: refused");
                        continue;
                    }
                }
                _ => append_run(&mut unwritten, slot, value.clone()),
            }
            append_run(&mut runs, slot, value);
        }
        for (first, values) in unwritten {
            self.record(Record::Accept { ballot, first, values }, out);
        }
        for (first, values) in &runs {
            self.vote(ballot, SlotRange { first: *first, count: values.len() as u64 });
        }
        out.tell(Notice::Learner(learner::Input::Voted { ballot, runs, decided }));
    }

    /// Gathers votes; neighbours become one range.
    fn vote(&mut self, ballot: Ballot, slots: SlotRange) {
        if let Some((held, range)) = self.votes.last_mut()
            && *held == ballot
            && range.first.plus(range.count) == slots.first
        {
            range.count += slots.count;
        } else {
            self.votes.push((ballot, slots));
        }
    }
}

/// Adds a value to the last run if it continues it, else begins another.
fn append_run(runs: &mut Vec<(Slot, Vec<Value>)>, slot: Slot, value: Value) {
    match runs.last_mut() {
        Some((first, values)) if first.plus(values.len() as u64) == slot => values.push(value),
        _ => runs.push((slot, vec![value])),
    }
}

impl Role for Acceptor {
    type Input = Input;
    type Record = Record;

    fn handle(&mut self, _now: Time, _draw: u64, input: Input, out: &mut Outbox<Record>) {
        match input {
            // A directory that is not on the started list has no vote to give.
            Input::Peer(..) if !self.membership.is_voter(self.settings.id) => {}
            Input::Peer(from, ToAcceptor::Prepare { ballot, first }) => {
                if ballot.owner(self.settings.n) == from {
                    self.handle_prepare(ballot, first, out);
                }
            }
            Input::Peer(from, ToAcceptor::Accept(accept)) => {
                if accept.ballot.owner(self.settings.n) == from {
                    self.handle_accept(accept, out);
                }
            }
            Input::Applied(applied) => {
                if applied > self.state.trimmed {
                    self.record(Record::Trim(applied), out);
                }
                self.announce = true;
            }
        }
    }

    fn handle_timeout(&mut self, _now: Time, _draw: u64, _out: &mut Outbox<Record>) {}

    fn flush(&mut self, _now: Time, out: &mut Outbox<Record>) {
        let per_message =
            (self.settings.payload_bytes / RANGE_BYTES_MAX / 2).clamp(1, MESSAGE_SLOTS_MAX);
        let mut votes = self.votes.drain(..).peekable();
        while let Some((ballot, range)) = votes.next() {
            let mut slots = vec![range];
            while slots.len() < per_message
                && let Some((_, range)) = votes.next_if(|(other, _)| *other == ballot)
            {
                slots.push(range);
            }
            let directory = self.membership.directory;
            let message = ToLearner::Votes { ballot, directory, slots };
            out.send(ballot.owner(self.settings.n), Message::Learner(message));
        }
        if self.announce {
            self.announce = false;
            if let Some(promised) = self.state.promised {
                out.tell(Notice::Proposer(proposer::Input::Promised(promised)));
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}
