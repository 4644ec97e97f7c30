//! Phase 2 under one ballot, from the outcome of phase 1 until another replica leads.
//!
//! A leader gives consecutive slots to requests in the order in which they come, within
//! a `Window` above what its learner has applied; further requests wait in a bounded
//! `RequestQueue`. What was admitted in one burst of input leaves as one run of slots,
//! cut to datagrams. A run that is not applied in time is sent again to every acceptor, at
//! growing intervals. (Paxos Made Simple, §3; the commander of Paxos Made Moderately
//! Complex, for all slots of a ballot.)
//!
//! The values that phase 1 found come first, and the first time they are mostly not sent at all:
//! an acceptor that has reported just the value that is proposed is asked to accept what it holds.
//! On a long path a window that begins to grow would need several round trips for the values.
//!
//! A change of members is the last value of its ballot: above it nothing is proposed (M1). What
//! was queued meanwhile waits for the next ballot.
//!
//! The `SessionGate` decides which commands are proposed (rule E2). The learner counts the
//! acceptors' answers (S3) and tells this role what is applied.

use super::acceptor::Inherited;
use super::pace::{WAIT_MAX_US, Waits};
use super::phase1::Phase1Outcome;
use super::proposer::Lost;
use super::request_queue::RequestQueue;
use super::session_gate::{Admission, SessionGate};
use super::window::{Again, Proposal, Window};
use super::{Bound, Notice, Outbox, Settings, learner};
use crate::aside::{Aside, NotState};
use crate::members::Configuration;
use crate::message::{
    Accept, Decided, MESSAGE_SLOTS_MAX, Message, Request, Run, Span, Spans, ToAcceptor,
};
use crate::requesters::Requesters;
use crate::retransmitter::Backoff;
use crate::types::{Address, Ballot, ReplicaId, Slot, SlotRange, Time, Value};
use crate::values::{CommandRef, ValueRef, Values};
use round_trip::RoundTrip;

pub use super::request_queue::{QUEUE_BYTES_MAX, QUEUE_MAX};
pub use super::window::IN_FLIGHT_BYTES_MAX;

/// How long a proposal waits to be applied before it is sent again, until the first one
/// is applied. From then on the wait follows how long that takes.
const RESEND_US: u64 = 40_000;

/// The shortest such wait, but never less than the mean round trip: more than one burst takes on the way there and back.
const RESEND_MIN_US: u64 = 200;

/// How often that wait doubles at most.
const RESEND_DOUBLINGS_MAX: u32 = 4;

/// How long a leader waits for a request whose accept tells what is decided, before a heartbeat
/// tells it. Where requests come one after the other none is sent for this. Where a round trip
/// takes longer it waits as long as that, since there a few milliseconds help nobody.
const TELL_US: u64 = 2_000;

/// How many bytes an accept takes on the wire beside its values.
const ACCEPT_OVERHEAD_BYTES: usize = 56;

/// A command that is not proposed, and not dropped either.
pub enum Other<'a> {
    /// It is on its way already.
    Held(CommandRef<'a>),
    /// Only the learner can tell whether it may be proposed.
    Unsure(Request),
}

/// When something is done without an input.
#[derive(Debug, Clone)]
struct Timers {
    /// How long it takes from sending a proposal to knowing that it is applied.
    trip: RoundTrip,
    /// When proposals that wait are looked at next.
    resend_at: Time,
    /// When a quorum last accepted more, or something was applied.
    progress_at: Time,
    /// How far the peers were told what is decided, and when they are told more at the latest.
    told: Slot,
    tell_at: Option<Time>,
    waits: Waits,
}

impl NotState for Timers {}

/// Phase 2 under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Phase2 {
    settings: Aside<Settings>,
    ballot: Ballot,
    /// The first slot of this phase 2: everything below is decided.
    first: Slot,
    /// The end of what phase 1 found (E5).
    inherited: Slot,
    /// What the own learner has tallied under this ballot.
    decided: Decided,
    window: Window,
    /// Which of the values that phase 1 found an acceptor holds, by replica id: until they have
    /// been sent for the first time, or are applied if there is a long line among them.
    held: Vec<Spans>,
    queue: RequestQueue,
    gate: SessionGate,
    /// Whether a change of members is proposed: then nothing else is, at this ballot (M1).
    closed: bool,
    timers: Aside<Timers>,
}

impl Phase2 {
    /// Begins with what phase 1 leaves to propose: these values come before any request
    /// of this leader's own (S4).
    pub fn begin(
        settings: Settings,
        ballot: Ballot,
        outcome: Phase1Outcome,
        applied: Slot,
        waits: Waits,
        now: Time,
    ) -> Self {
        let Phase1Outcome { first, values, held } = outcome;
        let first_us = RESEND_US.max(waits.save_us);
        let mut phase2 = Phase2 {
            settings: Aside(settings),
            ballot,
            first,
            inherited: first.plus(values.len() as u64),
            decided: Decided { ballot, slots: SlotRange::new(first, first) },
            window: Window::new(settings.limits, first, applied),
            held,
            queue: RequestQueue::new(settings.limits),
            gate: SessionGate::default(),
            closed: values.iter().any(|value| value.change().is_some()),
            timers: Aside(Timers {
                trip: RoundTrip::new(RESEND_US, RESEND_MIN_US, RESEND_US),
                resend_at: now.plus_us(first_us),
                progress_at: now,
                told: Slot::ZERO,
                tell_at: None,
                waits,
            }),
        };
        values.iter().filter_map(ValueRef::command).for_each(|it| phase2.gate.propose_again(it));
        let mut rest = values;
        while !rest.is_empty() {
            let count = rest.len().min(MESSAGE_SLOTS_MAX);
            phase2.propose(rest.slice(0..count), Requesters::unknown(count), now);
            rest = rest.skip(count);
        }
        phase2
    }

    /// More has been measured.
    pub fn set_waits(&mut self, waits: Waits) {
        self.timers.waits = waits;
    }

    /// How long a proposal waits before it is sent again for the first time.
    ///
    /// A proposal is applied only behind those before it, so where much is lost the time that
    /// it takes says little about the way. And what is sent again says nothing at all. So
    /// that time counts only up to [`RESEND_US`]. Where the way and the disks take longer,
    /// what the heartbeats measure counts alone.
    fn resend_us(&self) -> u64 {
        let Waits { trip_us, save_us, .. } = self.timers.waits;
        if save_us > RESEND_US { save_us } else { self.timers.trip.wait_us().max(trip_us) }
    }

    /// The ballot of this phase 2.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// What this leader knows of all ballots below its own (E5).
    pub fn inherited(&self) -> Inherited {
        Inherited { ballot: self.ballot, end: self.inherited }
    }

    /// What this leader knows to be decided by its own tally.
    pub fn decided(&self) -> Decided {
        self.decided
    }

    /// If something waits to be applied, how long slow paths need for the longest line of it: a proposal, a queued request, or slots that
    /// were decided below the first one and have to be fetched. (If no replica is left that
    /// could send those, only another phase 1 can find them: S5.)
    pub fn pending_us(&self) -> Option<u64> {
        let lacks_decided = self.window.applied() < self.first;
        let waits = !self.window.is_empty() || !self.queue.is_empty() || lacks_decided;
        waits.then(|| self.window.commit_us())
    }

    /// Tells which bounds what it holds has come up to.
    pub(super) fn reached(&self, tell: &mut dyn FnMut(Bound)) {
        let (slots, bytes) = self.window.room();
        for (bound, is_reached) in [
            (Bound::ProposeSlots, slots == 0),
            (Bound::InFlightBytes, bytes == 0),
            (Bound::Queue, self.queue.is_full()),
        ] {
            if is_reached {
                tell(bound);
            }
        }
    }

    /// When something is next sent again.
    pub fn deadline(&self) -> Option<Time> {
        let resend_at = (!self.window.is_empty()).then_some(self.timers.resend_at);
        resend_at.into_iter().chain(self.timers.tell_at).min()
    }

    /// Whether the peers should be told now what is decided, although nothing is proposed.
    pub fn is_telling(&self, now: Time) -> bool {
        self.timers.tell_at.is_some_and(|at| now >= at)
    }

    /// A message to all peers leaves that tells them what is decided.
    pub fn note_told(&mut self) {
        (self.timers.told, self.timers.tell_at) = (self.decided.slots.end, None);
    }

    /// Takes a request. `confirmed`: the learner says that it is its session's next.
    ///
    /// Each of its commands is queued, handed to `others`, or dropped: if the queue is full, its
    /// client will ask again. `others` gets a command that is on its way already, or of which
    /// only the learner can tell whether it may be proposed.
    pub fn admit(
        &mut self,
        origin: Address,
        request: Request,
        confirmed: bool,
        mut others: impl FnMut(Other<'_>),
    ) {
        // Neighbours that are admitted stay together.
        let mut admitted = 0;
        for (index, command) in request.iter().enumerate() {
            let admission = self.gate.admit(command, confirmed, self.queue.has_room(command));
            if admission == Admission::Propose {
                self.queue.reserve(command);
                continue;
            }
            self.queue.push(origin, &request, admitted..index);
            admitted = index + 1;
            match admission {
                Admission::Held => others(Other::Held(command)),
                Admission::AskLearner => others(Other::Unsure(request.only(index))),
                Admission::Propose | Admission::Drop => {}
            }
        }
        self.queue.push(origin, &request, admitted..request.commands.len());
        self.gate.trim();
    }

    /// Proposes the last value of this ballot, if it has a slot for it: the change to `next` (M1).
    /// What is queued waits for the next ballot. Returns whether it is proposed.
    pub fn close(&mut self, now: Time, next: &Configuration) -> bool {
        let (slots, bytes) = self.window.room();
        if self.closed || slots == 0 || bytes == 0 {
            return false;
        }
        self.closed = true;
        let change = Value::Change(next.to_change());
        self.propose((&change).into(), Requesters::unknown(1), now);
        true
    }

    /// Whether this command is on its way, and its client will be answered.
    pub fn holds(&self, command: CommandRef<'_>) -> bool {
        self.gate.holds(command)
    }

    /// The requests that were admitted and are not applied, for the next leader.
    pub fn into_requests(self) -> impl Iterator<Item = (Address, Request)> {
        self.window.into_requests().chain(self.queue.into_requests())
    }

    /// The learner has applied every slot below `applied`. Cumulative.
    pub fn handle_progress(&mut self, now: Time, applied: Slot, decided: Decided) {
        if applied >= self.inherited {
            self.held.clear();
        }
        // S7: a mark says what this leader tallied itself, at exactly its ballot.
        let before = (self.window.applied(), self.decided.slots.end);
        if decided.ballot == self.ballot {
            self.decided = decided;
            if decided.slots.end > self.timers.told && self.timers.tell_at.is_none() {
                self.timers.tell_at = Some(now.plus_us(self.timers.waits.trip_us.max(TELL_US)));
            }
        }
        if applied > before.0 || self.decided.slots.end > before.1 {
            self.timers.progress_at = now;
        }
        self.window.advance(applied);
        while let Some((done, took_us)) = self.window.take_applied(now) {
            done.iter().filter_map(ValueRef::command).for_each(|it| self.gate.note_applied(it));
            if let Some(took_us) = took_us {
                self.timers.trip.answered(took_us);
            }
        }
    }

    /// Gives the next slots to these values. Under ballot 0 it leaves out the slot that
    /// `--skip_slot` names.
    fn propose(&mut self, values: Values, mut requesters: Requesters, now: Time) {
        let (slots, n) = (self.window.next_slots(values.len()), self.settings.places);
        let skips = |slot: &Slot| self.ballot == Ballot::ZERO && slots.contains(*slot);
        let Some(hole) = self.settings.skip_slot.filter(skips) else {
            return self.window.propose(values, requesters, n, now);
        };
        log::warn!("replica {}: skips slot {hole}", self.settings.id);
        let before = hole.since(slots.start) as usize;
        let behind = requesters.split_at(before);
        self.window.propose(values.slice(0..before), requesters, n, now);
        self.window.skip_slot();
        self.window.propose(values.skip(before), behind, n, now);
    }

    /// Gives slots to what is queued, and sends everything that was not sent yet.
    pub fn flush<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        while !self.queue.is_empty()
            && !self.closed
            && let (slots @ 1.., bytes @ 1..) = self.window.room()
        {
            let (values, requesters) = self.queue.take_run(slots, bytes);
            self.propose(values, requesters, now);
        }
        if self.window.is_silent() {
            // Nothing older is in flight, so nothing older is due.
            self.timers.resend_at = now.plus_us(self.resend_us());
        }
        let mut is_telling = false;
        for proposal in self.window.unsent() {
            self.send(proposal, &self.held, self.decided, out);
            // The accept of a long line says nothing of what is decided.
            is_telling |= proposal.values.longest() <= self.datagram_room();
        }
        if is_telling {
            self.note_told();
        }
        self.window.note_sent();
        if !self.held.is_empty() && !self.window.has_long() {
            self.held.clear();
        }
    }

    /// Sends again what has waited too long (L4). As long as acceptors answer, they show what
    /// is lost; the rest is under way. So it waits for their silence, as TCP does (RFC 6298, §5).
    pub fn handle_timeout<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        if now < self.timers.resend_at || self.window.is_empty() {
            return;
        }
        let first_us = self.resend_us();
        let silent_at = self.timers.progress_at.plus_us(first_us);
        if now < silent_at {
            self.timers.resend_at = silent_at;
            return;
        }
        let max_us = (first_us << RESEND_DOUBLINGS_MAX).min(WAIT_MAX_US).max(first_us);
        let backoff = Backoff { first_us, max_us };
        for (place, again) in self.window.take_due(now, backoff, self.settings.places) {
            let proposal = self.window.at(place);
            match again {
                Again::Copy => self.send(proposal, &[], self.nothing_decided(), out),
                Again::Name => self.ask_for_votes(proposal, out),
            }
        }
        self.timers.resend_at = now.plus_us(first_us / 2);
    }

    /// The learner's tally shows that accepts of these slots were lost on the way to some
    /// acceptors, which have accepted higher ones. Each is sent what it lacks, at once, and once
    /// more when it would have answered that: `answer_us` says how long it takes (L4).
    pub fn handle_lost<R>(
        &mut self,
        now: Time,
        lost: &[Lost],
        answer_us: impl Fn(ReplicaId) -> u64,
        out: &mut Outbox<R>,
    ) {
        let (room, nothing_decided) = (self.datagram_room(), self.nothing_decided());
        for peer in self.settings.peers() {
            let answer_us = answer_us(peer).max(RESEND_MIN_US);
            // Where answers vary much, messages overtake one another, and a slot that is passed
            // over is not lost before the time in which hardly any answer is late.
            let overtakes_us = if answer_us > RESEND_US { answer_us } else { 0 };
            for Lost { slots, .. } in lost.iter().filter(|lost| lost.by.contains(peer)) {
                let mut left = *slots;
                while !left.is_empty()
                    && let Some((proposal, part)) = self.window.part(left, room)
                {
                    let slots = SlotRange::with_len(left.start, part.len() as u64);
                    if proposal.resend_lost(slots, peer, now, answer_us, overtakes_us) {
                        out.send(peer, self.accept(slots.start, part, nothing_decided));
                    }
                    left.start = slots.end;
                }
            }
        }
    }

    /// How many bytes of values fit an accept that fits a datagram.
    fn datagram_room(&self) -> usize {
        self.settings.payload_bytes.saturating_sub(ACCEPT_OVERHEAD_BYTES)
    }

    /// Phase 2a: sends a proposal to every acceptor, and to the own learner, which counts
    /// the answers. A peer that holds a value of it already is told so (S4).
    fn send<R>(&self, proposal: &Proposal, held: &[Spans], decided: Decided, out: &mut Outbox<R>) {
        let (first, values) = (proposal.first, &proposal.values);
        let run = Run { first, ballot: self.ballot, values: values.clone() };
        let (start, requesters) = (self.first, proposal.requesters.clone());
        out.tell(Notice::Learner(learner::Input::Proposed { start, run, requesters }));
        out.send(self.settings.id, self.accept(first, values.clone(), decided));
        let slots = SlotRange::with_len(first, values.len() as u64);
        if held.is_empty() {
            return self.send_values(first, values, self.settings.peers(), decided, out);
        }
        let mut all = Spans::default();
        all.push(slots, self.ballot);
        for peer in self.settings.peers() {
            let held = held[peer.index()].within(slots);
            for held in held.pages(self.datagram_room(), MESSAGE_SLOTS_MAX) {
                let accept_held = ToAcceptor::AcceptHeld { ballot: self.ballot, held };
                out.send(peer, Message::Acceptor(accept_held));
            }
            for Span { slots, .. } in all.without(&held).iter() {
                let start = slots.start.since(first) as usize;
                let rest = values.slice(start..start + slots.len() as usize);
                self.send_values(slots.start, &rest, std::iter::once(peer), decided, out);
            }
        }
    }

    /// Whoever has accepted a long line is asked to say so again: its vote may be lost. Whoever has
    /// held it since an earlier ballot is told again that it is proposed. The others say nothing
    /// (L8).
    fn ask_for_votes<R>(&self, proposal: &Proposal, out: &mut Outbox<R>) {
        let slots = SlotRange::with_len(proposal.first, proposal.values.len() as u64);
        let mut all = Spans::default();
        all.push(slots, self.ballot);
        for peer in self.settings.peers() {
            let before = self.held.get(peer.index()).map(|held| held.within(slots));
            let before = before.unwrap_or_default();
            let held = before.highest(&all.without(&before));
            let accept_held = ToAcceptor::AcceptHeld { ballot: self.ballot, held };
            out.send(peer, Message::Acceptor(accept_held));
        }
    }

    /// Sends these values to some peers, cut to fit datagrams.
    fn send_values<R>(
        &self,
        first: Slot,
        values: &Values,
        peers: impl Iterator<Item = ReplicaId> + Clone,
        decided: Decided,
        out: &mut Outbox<R>,
    ) {
        let mut sent = 0;
        while sent < values.len() {
            let rest = values.skip(sent);
            let part = rest.slice(0..rest.fitting(self.datagram_room()).max(1));
            for peer in peers.clone() {
                out.send(peer, self.accept(first.plus(sent as u64), part.clone(), decided));
            }
            sent += part.len();
        }
    }

    /// What is sent again says that nothing is decided: so it is the same to the byte as any other
    /// copy, and a network layer that still holds one need not send both. Heartbeats tell what
    /// is decided. For a long line that is true of the first copy as well, since its pieces
    /// complete those that have arrived (L8). And the vote for it repeats what is held besides,
    /// as far as a vote does (L4).
    fn nothing_decided(&self) -> Decided {
        Decided { ballot: self.ballot, slots: SlotRange::new(self.first, self.first) }
    }

    fn accept(&self, first: Slot, values: Values, decided: Decided) -> Message {
        let is_long = values.bytes().len() > self.datagram_room();
        let decided = if is_long { self.nothing_decided() } else { decided };
        let ballot = self.ballot;
        Message::Acceptor(ToAcceptor::Accept(Accept { ballot, first, values, decided }))
    }
}
