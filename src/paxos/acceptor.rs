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
//! - No ballot of this replica's own is promised anew in a second life of the process.
//! - A vote names exact slots accepted at exactly its ballot; no prefix is implied.
//! - The ballot is checked before the slot: a stale leader learns nothing else.
//! - What it holds is bounded: it refuses slots [`ACCEPT_WINDOW_SLOTS`] or more above
//!   its trim mark, and new ones above [`ACCEPT_BYTES_MAX`], and trims what its own learner has durably applied. The mark
//!   stands on every page of a promise, so that nobody takes "trimmed" for "empty".
//!
//! [`State`] is what survives; replaying its records in any state that contains
//! them is harmless, since acceptances replay highest ballot first.

use super::aside::Aside;
use super::{ACCEPT_BYTES_MAX, ACCEPT_WINDOW_SLOTS, Membership, Notice, Outbox, Role, Settings};
use super::{learner, proposer};
use crate::message::{
    Accept, MESSAGE_SLOTS_MAX, Message, Promise, Run, SlotList, ToAcceptor, ToLearner, ToProposer,
};
use crate::runs::{Comparison, Runs};
use crate::types::{Ballot, ReplicaId, Slot, SlotRange, Time};
use crate::values::{ValueRef, Values};

/// What one entry of a promise's page takes on the wire beside its values: two
/// varints and a length.
const ACCEPTED_OVERHEAD_BYTES: usize = 25;

/// What a page takes beside its entries.
const PAGE_OVERHEAD_BYTES: usize = 64;

/// What one range of a vote takes on the wire.
const RANGE_BYTES_MAX: usize = 20;

/// What must survive a crash, one step at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
        values: Values,
    },
    /// Slots below this are decided and applied here, and forgotten.
    Trim(Slot),
}

/// An acceptor's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct State {
    promised: Option<Ballot>,
    trimmed: Slot,
    accepted: Runs,
}

impl State {
    /// Takes one record; also how a log of them is replayed.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Promise(ballot) => self.promised = self.promised.max(Some(*ballot)),
            Record::Accept { ballot, first, values } => {
                self.promised = self.promised.max(Some(*ballot));
                let run = Run { first: *first, ballot: *ballot, values: values.clone() };
                // What is held at the same ballot is the same; if not, it was here first.
                let _ = self.accepted.insert(run.within(SlotRange::onward(self.trimmed)));
            }
            Record::Trim(slot) => {
                self.trimmed = self.trimmed.max(*slot);
                self.accepted.trim(self.trimmed);
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
    pub fn accepted(&self, slot: Slot) -> Option<(Ballot, ValueRef<'_>)> {
        self.accepted.get(slot)
    }

    /// What is accepted in `slots`, in order.
    pub fn range(&self, slots: SlotRange) -> impl Iterator<Item = Run> {
        self.accepted.range(slots)
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// A message, and who sent it.
    Peer(ReplicaId, ToAcceptor),
    /// The learner of this replica has applied every slot below, and its checkpoint is
    /// durable.
    /// Cumulative, and repeated.
    Applied(Slot),
}

/// The acceptor role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acceptor {
    settings: Aside<Settings>,
    membership: Aside<Membership>,
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
        Acceptor {
            settings: Aside(settings),
            membership: Aside(membership),
            state,
            promised_before,
            votes: Vec::new(),
            announce: true,
        }
    }

    /// What it remembers.
    pub fn state(&self) -> &State {
        &self.state
    }

    fn record(&mut self, record: Record, out: &mut Outbox<Record>) {
        let before = self.state.promised;
        self.state.apply(&record);
        assert!(self.state.promised >= before, "a promise never goes down");
        self.announce |= self.state.promised > before;
        out.persist(record);
    }

    /// Says no to the owner of `ballot`, and which ballot stands in its way.
    fn nack(&self, ballot: Ballot, promised: Ballot, out: &mut Outbox<Record>) {
        let nack = ToProposer::Nack { ballot, promised };
        out.send(ballot.owner(self.settings.n), Message::Proposer(nack));
    }

    fn handle_prepare(&mut self, ballot: Ballot, first: Slot, out: &mut Outbox<Record>) {
        match self.state.promised {
            Some(promised) if ballot < promised => return self.nack(ballot, promised, out),
            // A ballot may be used once the own promise has risen to it, in this life:
            // what was proposed under it in an earlier one is forgotten.
            Some(promised)
                if self.promised_before == Some(ballot)
                    && ballot.owner(self.settings.n) == self.settings.id =>
            {
                return self.nack(ballot, promised, out);
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
        let (mut end, mut last) = (start, true);
        for run in self.state.range(SlotRange::onward(start)) {
            room = room.saturating_sub(ACCEPTED_OVERHEAD_BYTES);
            // One value at least, however long it is.
            let least = usize::from(accepted.is_empty());
            let fitting = run.values.fitting(room).max(least);
            let part = run.within(SlotRange::with_len(run.first, fitting as u64));
            room = room.saturating_sub(part.values.bytes().len());
            if fitting > 0 {
                end = part.end();
                let Run { first, ballot, values } = part;
                accepted.push(Run { first, ballot, values });
            }
            if fitting < run.values.len() {
                last = false;
                break;
            }
        }
        Promise {
            ballot,
            directory: self.membership.directory,
            slots: SlotRange::new(first, end),
            last,
            trimmed: self.state.trimmed,
            accepted,
        }
    }

    fn handle_accept(&mut self, accept: Accept, out: &mut Outbox<Record>) {
        let Accept { ballot, first, values, decided } = accept;
        if let Some(promised) = self.state.promised
            && ballot < promised
        {
            return self.nack(ballot, promised, out);
        }
        let window = SlotRange::with_len(self.state.trimmed, ACCEPT_WINDOW_SLOTS);
        let run = Run { first, ballot, values }.within(window);
        let full = self.state.accepted.bytes() >= ACCEPT_BYTES_MAX;
        let mut runs: Vec<Run> = Vec::with_capacity(1);
        for (part, comparison) in self.state.accepted.compare(&run) {
            match comparison {
                Comparison::News if full => continue,
                Comparison::News => {
                    let (first, values) = (part.first, part.values.clone());
                    self.record(Record::Accept { ballot, first, values }, out);
                }
                Comparison::Same => {}
                Comparison::Conflict => {
                    log::error!("two values for slot {} at ballot {ballot}: refused", part.first);
                    continue;
                }
                Comparison::Older => unreachable!("the promise is as high as anything accepted"),
            }
            self.vote(ballot, part.slots());
            runs.push(part);
        }
        out.tell(Notice::Learner(learner::Input::OwnAccepted { runs, decided }));
    }

    /// Gathers votes; neighbours become one range.
    fn vote(&mut self, ballot: Ballot, slots: SlotRange) {
        if let Some((held, range)) = self.votes.last_mut()
            && *held == ballot
            && range.end == slots.start
        {
            range.end = slots.end;
        } else {
            self.votes.push((ballot, slots));
        }
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
            let slots = SlotList::from(slots);
            let message = ToLearner::Accepted { ballot, directory, slots };
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
