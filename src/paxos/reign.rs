//! A reign: phase 2 under one ballot, from the mandate to whoever comes next.
//!
//! Requests get consecutive slots, in the order in which they come, within a window
//! of [`PROPOSE_WINDOW_SLOTS`] slots and [`IN_FLIGHT_BYTES_MAX`] above what is
//! applied; what does not fit waits in a bounded queue. Everything admitted in one
//! burst of input leaves as one run of slots, cut to datagrams. What is not applied
//! in time is sent again to everyone, at growing intervals. (Paxos Made Simple, §3.)
//!
//! Of each session only the next command is proposed, and only once. Which one is
//! next the learner knows; this side keeps what it was told and what it proposed
//! since, and asks the learner about everything else. A wrong guess costs a NOP line,
//! never a doubled one: the state machine has the last word.

use super::planted::Bug;
use super::{Notice, Outbox, PROPOSE_WINDOW_SLOTS, Settings, learner};
use crate::message::{Accept, Decided, MESSAGE_SLOTS_MAX, Message, Request, ToAcceptor};
use crate::types::{Address, Ballot, ReplicaId, Session, Slot, Time, Value};
use std::collections::{BTreeMap, VecDeque};

/// How many bytes of lines may be proposed and not yet applied.
pub const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;

/// How many requests may wait for a place in the window.
pub const QUEUE_MAX: usize = 16_384;

/// How many bytes of lines may wait for a place in the window.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;

/// How many sessions' next commands are remembered; the learner knows the rest.
const SESSIONS_MAX: usize = 65_536;

/// The first wait before a proposal is sent again; doubled each time.
const RESEND_US: u64 = 40_000;

/// How often that wait doubles.
const RESEND_DOUBLINGS_MAX: u32 = 4;

/// How many bytes of values are sent again in one turn.
const RESEND_BYTES_MAX: usize = 64 * 1024;

/// What an accept takes on the wire beside its values.
const ACCEPT_OVERHEAD_BYTES: usize = 48;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It has a slot, waits for one, or already has one; or the queue is full and the
    /// client will ask again.
    Taken,
    /// Only the learner can tell whether it may be proposed.
    Unsure(Address, Request),
}

#[derive(Debug)]
struct Proposal {
    value: Value,
    /// Who asked for it, and the lowest slot it can stand in; not known of what an
    /// earlier leader proposed.
    asked: Option<(Address, Slot)>,
    sent_at: Time,
    resent: u32,
}

/// A session, as far as this reign knows.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The command that may be proposed.
    next: u64,
    /// Whether it is queued or proposed, and not yet applied.
    in_flight: bool,
    /// Whether the learner knows whom to answer. (Not of what an earlier leader
    /// proposed.)
    answerable: bool,
}

/// Phase 2 under way.
#[derive(Debug)]
pub struct Reign {
    settings: Settings,
    ballot: Ballot,
    first: Slot,
    next: Slot,
    applied: Slot,
    decided: Decided,
    proposals: BTreeMap<Slot, Proposal>,
    proposal_bytes: usize,
    /// The first slot not yet sent.
    unsent: Slot,
    queue: VecDeque<(Address, Request)>,
    queue_bytes: usize,
    sessions: BTreeMap<Session, Known>,
    resend_at: Time,
}

impl Reign {
    /// Begins with what the mandate leaves to propose.
    pub fn begin(
        settings: Settings,
        ballot: Ballot,
        first: Slot,
        values: Vec<Value>,
        applied: Slot,
        now: Time,
    ) -> Self {
        let mut reign = Reign {
            settings,
            ballot,
            first,
            next: first,
            applied,
            decided: Decided::default(),
            proposals: BTreeMap::new(),
            proposal_bytes: 0,
            unsent: first,
            queue: VecDeque::new(),
            queue_bytes: 0,
            sessions: BTreeMap::new(),
            resend_at: now.plus_us(RESEND_US),
        };
        for value in values {
            if let Value::Command(command) = &value {
                let known = Known { next: command.seq, in_flight: true, answerable: false };
                reign.sessions.insert(command.session, known);
            }
            if value == Value::Noop && settings.planted.has(Bug::HolesStayOpen) {
                reign.next = reign.next.next();
                continue;
            }
            reign.propose(value, None, now);
        }
        reign
    }

    /// The ballot of the reign.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// What this leader knows to be decided by its own tally.
    pub fn decided(&self) -> Decided {
        self.decided
    }

    /// Whether something is proposed, or waits to be, that is not applied; or decided
    /// below the reign, and not yet fetched. (If nobody is left who could send that, only
    /// another phase 1 can find it.)
    pub fn is_pending(&self) -> bool {
        !self.proposals.is_empty() || !self.queue.is_empty() || self.applied < self.first
    }

    /// When something is next sent again.
    pub fn deadline(&self) -> Option<Time> {
        (!self.proposals.is_empty()).then_some(self.resend_at)
    }

    /// Takes a request. `confirmed`: the learner says that it is its session's next.
    pub fn admit(&mut self, origin: Address, request: Request, confirmed: bool) -> Admission {
        let (session, seq) = (request.command.session, request.command.seq);
        match self.sessions.get_mut(&session) {
            Some(known) if known.in_flight && known.next == seq => {
                return match std::mem::replace(&mut known.answerable, true) {
                    true => Admission::Taken,
                    false => Admission::Unsure(origin, request),
                };
            }
            Some(known) if !known.in_flight && known.next == seq => {}
            // The learner has looked, and this side has nothing of the session on its
            // way: the learner is right.
            Some(known) if confirmed && !known.in_flight => {}
            None if confirmed => {}
            Some(_) if confirmed => return Admission::Taken,
            _ => return Admission::Unsure(origin, request),
        }
        let bytes = request.command.line.len();
        if self.queue.len() >= QUEUE_MAX || self.queue_bytes + bytes > QUEUE_BYTES_MAX {
            return Admission::Taken;
        }
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.retain(|_, known| known.in_flight);
        }
        self.sessions.insert(session, Known { next: seq, in_flight: true, answerable: true });
        self.queue_bytes += bytes;
        self.queue.push_back((origin, request));
        Admission::Taken
    }

    /// What was admitted and is not applied, for whoever leads next.
    pub fn into_requests(self) -> impl Iterator<Item = (Address, Request)> {
        let proposed = self.proposals.into_values().filter_map(|proposal| {
            let (origin, after) = proposal.asked?;
            match proposal.value {
                Value::Command(command) => Some((origin, Request { command, after })),
                Value::Noop => None,
            }
        });
        proposed.chain(self.queue)
    }

    /// The learner has applied every slot below `applied`. Cumulative.
    pub fn handle_progress(&mut self, applied: Slot, decided: Decided) {
        if decided.ballot == self.ballot {
            self.decided = decided;
        }
        self.applied = self.applied.max(applied);
        while let Some(entry) = self.proposals.first_entry()
            && *entry.key() < self.applied
        {
            let value = entry.remove().value;
            self.proposal_bytes -= value.wire_bytes_max();
            // Whatever the effect: if it had none, the learner knows better.
            if let Value::Command(command) = value
                && let Some(known) = self.sessions.get_mut(&command.session)
                && known.next == command.seq
            {
                *known = Known { next: command.seq + 1, in_flight: false, answerable: true };
            }
        }
    }

    fn propose(&mut self, value: Value, asked: Option<(Address, Slot)>, now: Time) {
        if self.ballot == Ballot::ZERO && self.settings.skip_slot == Some(self.next) {
            log::warn!("replica {}: skips slot {}", self.settings.id, self.next);
            self.next = self.next.next();
        }
        self.proposal_bytes += value.wire_bytes_max();
        self.proposals.insert(self.next, Proposal { value, asked, sent_at: now, resent: 0 });
        self.next = self.next.next();
    }

    /// Gives slots to what is queued, and sends everything that was not sent yet.
    pub fn flush<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        while self.next.since(self.applied) < PROPOSE_WINDOW_SLOTS
            && (self.proposal_bytes < IN_FLIGHT_BYTES_MAX || self.proposals.is_empty())
            && let Some((origin, request)) = self.queue.pop_front()
        {
            self.queue_bytes -= request.command.line.len();
            let asked = Some((origin, request.after));
            self.propose(Value::Command(request.command), asked, now);
        }
        if self.unsent < self.next {
            if self.proposals.len() == self.proposals.range(self.unsent..).count() {
                // Nothing older is in flight, so nothing older is due.
                self.resend_at = now.plus_us(RESEND_US);
            }
            let slots: Vec<Slot> =
                self.proposals.range(self.unsent..).map(|(slot, _)| *slot).collect();
            self.send(&slots, out);
            self.unsent = self.next;
        }
    }

    /// Sends again what has waited too long.
    pub fn handle_timeout<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        if now < self.resend_at || self.proposals.is_empty() {
            return;
        }
        let mut room = RESEND_BYTES_MAX;
        let mut due = Vec::new();
        for (slot, proposal) in self.proposals.range_mut(..self.unsent) {
            let wait = RESEND_US << proposal.resent.min(RESEND_DOUBLINGS_MAX);
            if now.since_us(proposal.sent_at) < wait {
                continue;
            }
            let bytes = proposal.value.wire_bytes_max();
            if !due.is_empty() && bytes > room {
                break;
            }
            room = room.saturating_sub(bytes);
            proposal.sent_at = now;
            proposal.resent += 1;
            due.push(*slot);
        }
        self.send(&due, out);
        self.resend_at = now.plus_us(RESEND_US / 2);
    }

    /// Sends the proposals in `slots` (ascending) to every acceptor and to the own
    /// learner, as few messages as fit datagrams.
    fn send<R>(&mut self, slots: &[Slot], out: &mut Outbox<R>) {
        let room = self.settings.payload_bytes.saturating_sub(ACCEPT_OVERHEAD_BYTES);
        let mut rest = slots;
        while let Some(&first) = rest.first() {
            let mut values = Vec::new();
            let mut origins = Vec::new();
            let mut bytes = 0;
            for (slot, expected) in rest.iter().zip(first.0..) {
                let proposal = &self.proposals[slot];
                bytes += proposal.value.wire_bytes_max();
                let full = bytes > room || values.len() == MESSAGE_SLOTS_MAX;
                if slot.0 != expected || full && !values.is_empty() {
                    break;
                }
                values.push(proposal.value.clone());
                origins.push(proposal.asked.map(|(origin, _)| origin));
            }
            rest = &rest[values.len()..];
            out.tell(Notice::Learner(learner::Input::Proposed {
                ballot: self.ballot,
                from: self.first,
                first,
                values: values.clone(),
                origins,
            }));
            for to in (0..self.settings.n as u8).map(ReplicaId) {
                let accept = Accept {
                    ballot: self.ballot,
                    first,
                    values: values.clone(),
                    decided: self.decided,
                };
                out.send(to, Message::Acceptor(ToAcceptor::Accept(accept)));
            }
        }
    }
}
