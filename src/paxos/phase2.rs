//! Phase 2 under one ballot, from the outcome of phase 1 until another replica leads.
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

use super::aside::Aside;
use super::round_trip::RoundTrip;
use super::{Notice, Outbox, PROPOSE_WINDOW_SLOTS, Settings, learner};
use crate::message::{Accept, Decided, MESSAGE_SLOTS_MAX, Message, Request, ToAcceptor};
use crate::table::Table;
use crate::types::{Address, Ballot, Session, Slot, SlotRange, Time};
use crate::values::{Builder, CommandRef, ValueRef, Values};
use std::collections::VecDeque;
use std::ops::Range;

/// How many bytes of lines may be proposed and not yet applied.
pub const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;

/// How many requests may wait for a place in the window.
pub const QUEUE_MAX: usize = 16_384;

/// How many bytes of requests may wait for a place in the window.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;

/// How many sessions' next commands are remembered; the learner knows the rest.
const SESSIONS_MAX: usize = 65_536;

/// How long a proposal waits to be applied before it is sent again, as long as none
/// has been; the wait then follows what it takes, and doubles each time.
const RESEND_US: u64 = 40_000;

/// The shortest such wait: more than one burst takes on the way there and back.
const RESEND_MIN_US: u64 = 200;

/// How often that wait doubles.
const RESEND_DOUBLINGS_MAX: u32 = 4;

/// How many bytes of values are sent again in one turn.
const RESEND_BYTES_MAX: usize = 64 * 1024;

/// What an accept takes on the wire beside its values.
const ACCEPT_OVERHEAD_BYTES: usize = 56;

/// Who asked for some consecutive values of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// How many of them.
    pub count: usize,
    /// Where the client is to be answered, and [`Request::after`]; not known of what an
    /// earlier leader proposed.
    pub asked: Option<(Address, Slot)>,
}

/// A run that was proposed, and what of it is not applied yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Proposal {
    first: Slot,
    values: Values,
    origins: VecDeque<Origin>,
    sent_at: Aside<Time>,
    /// How often all of it was sent again, and whether any of it was.
    resent: u32,
    repeated: bool,
    /// Up to where parts of it were sent again since they were lost, and when the last.
    lost_upto: Slot,
    lost_at: Aside<Time>,
}

/// A session, as far as this leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Known {
    /// The command that may be proposed.
    next: u64,
    /// Whether it is queued or proposed, and not yet applied.
    in_flight: bool,
    /// Whether the learner knows whom to answer. (Not of what an earlier leader
    /// proposed.)
    answerable: bool,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Take,
    Drop,
    Ask,
}

/// Phase 2 under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Phase2 {
    settings: Aside<Settings>,
    ballot: Ballot,
    first: Slot,
    next: Slot,
    applied: Slot,
    decided: Decided,
    /// In the order of their slots; none is empty.
    proposals: VecDeque<Proposal>,
    proposal_bytes: usize,
    /// How many of the proposals were sent.
    sent: usize,
    queue: VecDeque<(Address, Request)>,
    queue_commands: usize,
    queue_bytes: usize,
    /// Where runs are put together.
    builder: Aside<Builder>,
    sessions: Table<Session, Known>,
    /// From sending a proposal to knowing that it is applied.
    trip: Aside<RoundTrip>,
    resend_at: Aside<Time>,
}

impl Phase2 {
    /// Begins with what phase 1 leaves to propose.
    pub fn begin(
        settings: Settings,
        ballot: Ballot,
        first: Slot,
        values: Values,
        applied: Slot,
        now: Time,
    ) -> Self {
        let mut phase2 = Phase2 {
            settings: Aside(settings),
            ballot,
            first,
            next: first,
            applied,
            decided: Decided::default(),
            proposals: VecDeque::new(),
            proposal_bytes: 0,
            sent: 0,
            queue: VecDeque::new(),
            queue_commands: 0,
            queue_bytes: 0,
            builder: Aside::default(),
            sessions: Table::default(),
            trip: Aside(RoundTrip::new(RESEND_US, RESEND_MIN_US, RESEND_US)),
            resend_at: Aside(now.plus_us(RESEND_US)),
        };
        for command in values.iter().filter_map(ValueRef::command) {
            let known = Known { next: command.seq, in_flight: true, answerable: false };
            phase2.sessions.insert(command.session, known);
        }
        let mut rest = values;
        while !rest.is_empty() {
            let count = rest.len().min(MESSAGE_SLOTS_MAX);
            let origin = Origin { count, asked: None };
            phase2.propose(rest.slice(0..count), [origin].into(), now);
            rest = rest.skip(count);
        }
        phase2
    }

    /// The ballot of this phase 2.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// What this leader knows to be decided by its own tally.
    pub fn decided(&self) -> Decided {
        self.decided
    }

    /// Whether something is proposed, or waits to be, that is not applied; or decided
    /// below its first slot, and not yet fetched. (If nobody is left who could send that, only
    /// another phase 1 can find it.)
    pub fn is_pending(&self) -> bool {
        !self.proposals.is_empty() || !self.queue.is_empty() || self.applied < self.first
    }

    /// When something is next sent again.
    pub fn deadline(&self) -> Option<Time> {
        (!self.proposals.is_empty()).then_some(*self.resend_at)
    }

    /// Takes a request. `confirmed`: the learner says that it is its session's next.
    /// What it leaves to `unsure`, only the learner can tell whether it may be proposed.
    /// Everything else has a slot, waits for one, or is dropped since it already has one
    /// or the queue is full; then the client will ask again.
    pub fn admit(
        &mut self,
        origin: Address,
        request: Request,
        confirmed: bool,
        mut unsure: impl FnMut(Address, Request),
    ) {
        // Neighbours that are admitted stay together.
        let mut admitted = 0;
        for (index, command) in request.iter().enumerate() {
            let admission = self.judge(command, confirmed);
            if admission == Admission::Take {
                self.queue_commands += 1;
                self.queue_bytes += ValueRef::Command(command).encoded_bytes();
                continue;
            }
            self.enqueue(origin, &request, admitted..index);
            admitted = index + 1;
            if admission == Admission::Ask {
                unsure(origin, request.only(index));
            }
        }
        self.enqueue(origin, &request, admitted..request.commands.len());
        if self.sessions.len() > SESSIONS_MAX {
            self.sessions.retain(|known| known.in_flight);
        }
    }

    /// What becomes of a command; its session is noted if it is taken.
    fn judge(&mut self, command: CommandRef<'_>, confirmed: bool) -> Admission {
        let bytes = self.queue_bytes + ValueRef::Command(command).encoded_bytes();
        let has_room = self.queue_commands < QUEUE_MAX && bytes <= QUEUE_BYTES_MAX;
        let taken = Known { next: command.seq, in_flight: true, answerable: true };
        match self.sessions.get_mut(&command.session) {
            Some(known) if known.in_flight && known.next == command.seq => {
                match std::mem::replace(&mut known.answerable, true) {
                    true => Admission::Drop,
                    false => Admission::Ask,
                }
            }
            // If not the next, the learner has looked, and this side has nothing of the
            // session on its way: the learner is right.
            Some(known) if !known.in_flight && (confirmed || known.next == command.seq) => {
                if !has_room {
                    return Admission::Drop;
                }
                *known = taken;
                Admission::Take
            }
            None if confirmed && has_room => {
                self.sessions.insert(command.session, taken);
                Admission::Take
            }
            None | Some(_) if confirmed => Admission::Drop,
            _ => Admission::Ask,
        }
    }

    fn enqueue(&mut self, origin: Address, request: &Request, range: Range<usize>) {
        if !range.is_empty() {
            // It may wait long, and must not keep alive much more than itself.
            let commands = request.commands.slice(range).apart();
            self.queue.push_back((origin, Request { commands, after: request.after }));
        }
    }

    /// What was admitted and is not applied, for whoever leads next.
    pub fn into_requests(self) -> impl Iterator<Item = (Address, Request)> {
        let proposed = self.proposals.into_iter().flat_map(|proposal| {
            let mut from = 0;
            proposal.origins.into_iter().filter_map(move |Origin { count, asked }| {
                let commands = proposal.values.slice(from..from + count);
                from += count;
                asked.map(|(origin, after)| (origin, Request { commands, after }))
            })
        });
        proposed.chain(self.queue)
    }

    /// The learner has applied every slot below `applied`. Cumulative.
    pub fn handle_progress(&mut self, now: Time, applied: Slot, decided: Decided) {
        if decided.ballot == self.ballot {
            self.decided = decided;
        }
        self.applied = self.applied.max(applied);
        while let Some(proposal) = self.proposals.front_mut()
            && proposal.first < self.applied
        {
            let length = proposal.values.len() as u64;
            let mut count = self.applied.since(proposal.first).min(length) as usize;
            let done = proposal.values.slice(0..count);
            proposal.first = proposal.first.plus(count as u64);
            proposal.values = proposal.values.skip(count);
            while let Some(origin) = proposal.origins.front_mut()
                && count > 0
            {
                let taken = count.min(origin.count);
                (origin.count, count) = (origin.count - taken, count - taken);
                if origin.count == 0 {
                    proposal.origins.pop_front();
                }
            }
            if proposal.values.is_empty() {
                if !proposal.repeated {
                    self.trip.answered(now.since_us(*proposal.sent_at));
                }
                self.proposals.pop_front();
                self.sent = self.sent.saturating_sub(1);
            }
            self.proposal_bytes -= done.bytes().len();
            // Whatever the effect: if it had none, the learner knows better.
            for command in done.iter().filter_map(ValueRef::command) {
                if let Some(known) = self.sessions.get_mut(&command.session)
                    && known.next == command.seq
                {
                    // Only of what an earlier leader proposed can the number be so high.
                    let next = command.seq.saturating_add(1);
                    *known = Known { next, in_flight: false, answerable: true };
                }
            }
        }
    }

    /// Gives the next slots to these values.
    fn propose(&mut self, values: Values, origins: VecDeque<Origin>, now: Time) {
        if values.is_empty() {
            return;
        }
        if let Some(skipped) = self.settings.skip_slot
            && self.ballot == Ballot::ZERO
            && skipped >= self.next
            && skipped < self.next.plus(values.len() as u64)
        {
            log::warn!("replica {}: skips slot {skipped}", self.settings.id);
            let before = skipped.since(self.next) as usize;
            let (mut left, mut right) = (before, VecDeque::new());
            let mut head = VecDeque::new();
            for Origin { count, asked } in origins {
                let here = count.min(left);
                left -= here;
                if here > 0 {
                    head.push_back(Origin { count: here, asked });
                }
                if count > here {
                    right.push_back(Origin { count: count - here, asked });
                }
            }
            self.put(values.slice(0..before), head, now);
            self.next = skipped.next();
            return self.put(values.skip(before), right, now);
        }
        self.put(values, origins, now);
    }

    fn put(&mut self, values: Values, origins: VecDeque<Origin>, now: Time) {
        if !values.is_empty() {
            self.proposal_bytes += values.bytes().len();
            let first = self.next;
            self.next = first.plus(values.len() as u64);
            self.proposals.push_back(Proposal {
                first,
                values,
                origins,
                sent_at: Aside(now),
                resent: 0,
                repeated: false,
                lost_upto: Slot::ZERO,
                lost_at: Aside(Time(0)),
            });
        }
    }

    /// Gives slots to what is queued, and sends everything that was not sent yet.
    pub fn flush<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        while !self.queue.is_empty() && self.window() > 0 {
            self.propose_queued(now);
        }
        if self.sent == 0 {
            // Nothing older is in flight, so nothing older is due.
            *self.resend_at = now.plus_us(self.trip.wait_us());
        }
        for proposal in self.proposals.range(self.sent..) {
            self.send(proposal, out);
        }
        self.sent = self.proposals.len();
    }

    /// How many more commands may be proposed.
    fn window(&self) -> usize {
        let slots = PROPOSE_WINDOW_SLOTS.saturating_sub(self.next.since(self.applied)) as usize;
        let full = self.proposal_bytes >= IN_FLIGHT_BYTES_MAX;
        if full { 0 } else { slots.min(MESSAGE_SLOTS_MAX) }
    }

    /// Makes one run of what is queued, as far as the window goes.
    fn propose_queued(&mut self, now: Time) {
        let room = self.window();
        let mut run = std::mem::take(&mut *self.builder);
        let mut origins: VecDeque<Origin> = VecDeque::new();
        while run.len() < room
            && self.proposal_bytes + run.bytes() < IN_FLIGHT_BYTES_MAX
            && let Some((origin, request)) = self.queue.pop_front()
        {
            let Request { commands, after } = &request;
            // One at least: so a long line always has its turn.
            let bytes = IN_FLIGHT_BYTES_MAX - self.proposal_bytes - run.bytes();
            let count = commands.fitting(bytes).max(1).min(room - run.len());
            let taken = commands.slice(0..count);
            self.queue_commands -= count;
            self.queue_bytes -= taken.bytes().len();
            run.extend(&taken);
            let asked = Some((origin, *after));
            match origins.back_mut() {
                Some(last) if last.asked == asked => last.count += count,
                _ => origins.push_back(Origin { count, asked }),
            }
            if count < commands.len() {
                let rest = Request { commands: commands.skip(count), after: *after };
                self.queue.push_front((origin, rest));
            }
        }
        let values = run.take();
        *self.builder = run;
        self.propose(values, origins, now);
    }

    /// Sends again what has waited too long.
    pub fn handle_timeout<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        if now < *self.resend_at || self.proposals.is_empty() {
            return;
        }
        let mut room = RESEND_BYTES_MAX;
        let mut due = Vec::new();
        for (at, proposal) in self.proposals.range_mut(..self.sent).enumerate() {
            let wait = self.trip.wait_us() << proposal.resent.min(RESEND_DOUBLINGS_MAX);
            if now.since_us(*proposal.sent_at) < wait {
                continue;
            }
            let bytes = proposal.values.bytes().len();
            if !due.is_empty() && bytes > room {
                break;
            }
            room = room.saturating_sub(bytes);
            *proposal.sent_at = now;
            proposal.resent += 1;
            proposal.repeated = true;
            due.push(at);
        }
        for at in due {
            self.send(&self.proposals[at], out);
        }
        *self.resend_at = now.plus_us(self.trip.wait_us() / 2);
    }

    /// So many acceptors have voted for slots above these, and not for them, that the
    /// others are no quorum: what was sent is lost, and is sent again at once.
    pub fn handle_lost<R>(&mut self, now: Time, lost: &[SlotRange], out: &mut Outbox<R>) {
        let answer_us = self.trip.smoothed_us().unwrap_or(RESEND_US);
        let room = self.datagram_room();
        for range in lost {
            let SlotRange { start: mut at, end } = *range;
            while at < end
                && let Some(index) =
                    self.proposals.partition_point(|held| held.first <= at).checked_sub(1)
            {
                let proposal = &mut self.proposals[index];
                let length = proposal.values.len();
                let start = at.since(proposal.first).min(length as u64) as usize;
                let stop = end.since(proposal.first).min(length as u64) as usize;
                let rest = proposal.values.slice(start..stop);
                if rest.is_empty() {
                    break;
                }
                let part = rest.slice(0..rest.fitting(room).max(1));
                let on_its_way =
                    at < proposal.lost_upto && now < proposal.lost_at.plus_us(answer_us);
                if !on_its_way {
                    proposal.repeated = true;
                    proposal.lost_upto = at.plus(part.len() as u64);
                    *proposal.lost_at = now;
                    self.send_to_peers(at, &part, out);
                }
                at = at.plus(part.len() as u64);
            }
        }
    }

    /// How many bytes of values fit an accept that fits a datagram.
    fn datagram_room(&self) -> usize {
        self.settings.payload_bytes.saturating_sub(ACCEPT_OVERHEAD_BYTES)
    }

    /// Sends a proposal to every acceptor and to the own learner. What goes to peers is
    /// cut to fit datagrams.
    fn send<R>(&self, proposal: &Proposal, out: &mut Outbox<R>) {
        let Proposal { first, values, origins, .. } = proposal;
        out.tell(Notice::Learner(learner::Input::Proposed {
            ballot: self.ballot,
            from: self.first,
            first: *first,
            values: values.clone(),
            origins: origins.iter().copied().collect(),
        }));
        out.send(self.settings.id, self.accept(*first, values.clone()));
        let mut at = 0;
        while at < values.len() {
            let rest = values.skip(at);
            let part = rest.slice(0..rest.fitting(self.datagram_room()).max(1));
            self.send_to_peers(first.plus(at as u64), &part, out);
            at += part.len();
        }
    }

    fn send_to_peers<R>(&self, first: Slot, values: &Values, out: &mut Outbox<R>) {
        for peer in self.settings.peers() {
            out.send(peer, self.accept(first, values.clone()));
        }
    }

    fn accept(&self, first: Slot, values: Values) -> Message {
        let (ballot, decided) = (self.ballot, self.decided);
        Message::Acceptor(ToAcceptor::Accept(Accept { ballot, first, values, decided }))
    }
}
