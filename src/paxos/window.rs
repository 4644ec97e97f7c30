//! What a leader has proposed and not yet seen applied.
//!
//! A leader proposes in consecutive slots, within bounds of slots and bytes above what its
//! learner has applied (rule L5; [`Limits`]). Values that were proposed together stay
//! together: one [`Proposal`] is sent, waits and is sent again as one, unless a part of it is
//! known to be lost.

use super::Limits;
use super::request_queue::request_of;
use crate::aside::{Aside, NotState};
use crate::long_line::{commit_us, is_long};
use crate::message::{MESSAGE_SLOTS_MAX, Request};
use crate::requesters::Requesters;
use crate::retransmitter::{Backoff, Retransmitter};
use crate::types::{Address, ReplicaId, Slot, SlotRange, Time};
use crate::values::Values;
use std::collections::VecDeque;

/// How many bytes of lines may be proposed and not yet applied.
pub const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;

/// How many bytes of values are sent again in one turn.
const RESEND_BYTES_MAX: usize = 64 * 1024;

/// A proposed run, without the slots of it that are applied.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Proposal {
    /// The slot of the first value.
    pub(super) first: Slot,
    /// One value for each slot.
    pub(super) values: Values,
    /// Who asked for the values.
    pub(super) requesters: Requesters,
    waits: Retransmitter,
    /// When votes for it were last asked for without sending it.
    asked: Retransmitter,
    again: Aside<SentAgain>,
}

/// How a proposal that has waited too long is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// As a whole.
    Copy,
    /// By its slots and ballot alone: a copy of a long line may still be on its way, and whoever
    /// has it may have voted in vain (L8).
    Name,
}

/// What was sent again because it was lost: the parts that may still be on their way, to whom,
/// and when each left. Empty as long as nothing was.
#[derive(Debug, Clone, Default)]
struct SentAgain(Vec<(ReplicaId, SlotRange, Time)>);

impl NotState for SentAgain {}

impl SentAgain {
    /// Whether every slot of `part` was sent again to `peer` less than `answer_us` ago. Forgets
    /// what was sent to it before.
    fn has(&mut self, peer: ReplicaId, part: SlotRange, now: Time, answer_us: u64) -> bool {
        self.0.retain(|(to, _, at)| *to != peer || now < at.plus_us(answer_us));
        let mut left = part;
        while !left.is_empty()
            && let Some((_, sent, _)) =
                self.0.iter().find(|(to, sent, _)| *to == peer && sent.contains(left.start))
        {
            left.start = sent.end.min(left.end);
        }
        left.is_empty()
    }

    /// `part` is sent again to `peer`.
    fn note(&mut self, peer: ReplicaId, part: SlotRange, now: Time) {
        let is_within = |sent: SlotRange| part.intersect(sent) == sent;
        self.0.retain(|(to, sent, _)| *to != peer || !is_within(*sent));
        self.0.push((peer, part, now));
    }
}

impl Proposal {
    /// Whether a copy of it has its time (L8).
    fn is_long(&self) -> bool {
        is_long(self.values.longest())
    }

    /// Takes away the values below `applied`.
    fn take_applied(&mut self, applied: Slot) -> Values {
        let count = applied.since(self.first).min(self.values.len() as u64);
        let done = self.values.slice(0..count as usize);
        self.first = self.first.plus(count);
        self.values = self.values.skip(count as usize);
        self.requesters.take(count as usize);
        done
    }

    /// A part of it is lost on the way to `peer`. Returns whether to send that part again, and
    /// notes it. What was sent there again less than `answer_us` ago may still be on its way,
    /// and so may what was sent first less than `overtakes_us` ago.
    pub(super) fn resend_lost(
        &mut self,
        part: SlotRange,
        peer: ReplicaId,
        now: Time,
        answer_us: u64,
        overtakes_us: u64,
    ) -> bool {
        let again = self.again.has(peer, part, now, answer_us)
            || self.waits.sent_again_within(now, answer_us);
        let on_its_way = again || self.waits.sent_within(now, overtakes_us);
        if !on_its_way {
            self.waits.send_part_again();
            self.again.note(peer, part, now);
        }
        !on_its_way
    }
}

/// The proposals that are not applied, and the next slot: see the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Window {
    limits: Aside<Limits>,
    /// The slot that the next value gets.
    next: Slot,
    /// Every slot below this is applied here.
    applied: Slot,
    /// In the order of their slots; none is empty.
    proposals: VecDeque<Proposal>,
    /// How many bytes of values the proposals hold.
    bytes: usize,
    /// The time that slow paths need for the longest line since the window was empty (L8).
    commit_us: u64,
    /// How many of the proposals were sent.
    sent: usize,
}

impl Window {
    /// Nothing is proposed; `first` is the first slot to be used.
    pub(super) fn new(limits: Limits, first: Slot, applied: Slot) -> Self {
        let limits = Aside(limits);
        Window {
            limits,
            next: first,
            applied,
            proposals: VecDeque::new(),
            bytes: 0,
            commit_us: 0,
            sent: 0,
        }
    }

    /// Every slot below this is applied here.
    pub(super) fn applied(&self) -> Slot {
        self.applied
    }

    /// The slots that the next `count` values get.
    pub(super) fn next_slots(&self, count: usize) -> SlotRange {
        SlotRange::with_len(self.next, count as u64)
    }

    /// Whether everything that was proposed is applied.
    pub(super) fn is_empty(&self) -> bool {
        self.proposals.is_empty()
    }

    /// The time that slow paths need for the longest line that is proposed and not applied, or
    /// for a longer one before it.
    pub(super) fn commit_us(&self) -> u64 {
        if self.proposals.is_empty() { 0 } else { self.commit_us }
    }

    /// Whether nothing that waits to be applied was sent.
    pub(super) fn is_silent(&self) -> bool {
        self.sent == 0
    }

    /// How many values may be proposed in one run now, and how many bytes of them.
    pub(super) fn room(&self) -> (usize, usize) {
        let slots =
            self.limits.propose_slots.saturating_sub(self.next.since(self.applied)) as usize;
        let bytes = self.limits.in_flight_bytes.saturating_sub(self.bytes);
        (slots.min(MESSAGE_SLOTS_MAX), bytes)
    }

    /// Gives the next slots to these values.
    pub(super) fn propose(&mut self, values: Values, requesters: Requesters, n: usize, now: Time) {
        if values.is_empty() {
            return;
        }
        let first = self.next;
        self.next = first.plus(values.len() as u64);
        self.bytes += values.bytes().len();
        self.commit_us = self.commit_us().max(commit_us(values.longest(), n));
        self.proposals.push_back(Proposal {
            first,
            values,
            requesters,
            waits: Retransmitter::new(now),
            asked: Retransmitter::new(now),
            again: Aside(SentAgain::default()),
        });
    }

    /// Leaves the next slot open.
    pub(super) fn skip_slot(&mut self) {
        self.next = self.next.next();
    }

    /// What was not sent yet.
    pub(super) fn unsent(&self) -> impl Iterator<Item = &Proposal> {
        self.proposals.range(self.sent..)
    }

    /// Everything that is proposed was sent.
    pub(super) fn note_sent(&mut self) {
        self.sent = self.proposals.len();
    }

    /// The places of the proposals that were sent and have waited too long, and how each is sent
    /// again. They count as sent. The copies together hold at most [`RESEND_BYTES_MAX`], unless a
    /// single one does. That of a long line has the time that slow paths need for it among `n`
    /// replicas, and until then votes are asked for by its name (L8).
    pub(super) fn take_due(
        &mut self,
        now: Time,
        backoff: Backoff,
        n: usize,
    ) -> Vec<(usize, Again)> {
        let (mut room, mut copies) = (RESEND_BYTES_MAX, 0);
        let mut due = Vec::new();
        for (place, proposal) in self.proposals.range_mut(..self.sent).enumerate() {
            let bytes = proposal.values.bytes().len();
            let is_due = |after| proposal.waits.is_due(now.minus_us(after), backoff);
            if is_due(0) && is_due(commit_us(proposal.values.longest(), n)) {
                if copies > 0 && bytes > room {
                    break;
                }
                room = room.saturating_sub(bytes);
                copies += 1;
                proposal.waits.send_again(now);
                proposal.asked = Retransmitter::new(now);
                due.push((place, Again::Copy));
            } else if proposal.is_long() && proposal.asked.is_due(now, backoff) {
                proposal.waits.send_part_again();
                proposal.asked.send_again(now);
                due.push((place, Again::Name));
            }
        }
        due
    }

    /// Whether a long line is in flight.
    pub(super) fn has_long(&self) -> bool {
        self.proposals.iter().any(Proposal::is_long)
    }

    /// The proposal at `place`, counted from the oldest.
    pub(super) fn at(&self, place: usize) -> &Proposal {
        &self.proposals[place]
    }

    /// The beginning of `slots`, as far as one proposal holds it and `bytes` carry it,
    /// but one value at least.
    pub(super) fn part(
        &mut self,
        slots: SlotRange,
        bytes: usize,
    ) -> Option<(&mut Proposal, Values)> {
        let above = self.proposals.partition_point(|proposal| proposal.first <= slots.start);
        let proposal = &mut self.proposals[above.checked_sub(1)?];
        let length = proposal.values.len() as u64;
        let start = slots.start.since(proposal.first).min(length) as usize;
        let end = slots.end.since(proposal.first).min(length) as usize;
        let held = proposal.values.slice(start..end);
        if held.is_empty() {
            return None;
        }
        let part = held.slice(0..held.fitting(bytes).max(1));
        Some((proposal, part))
    }

    /// The learner has applied every slot below `applied`. Cumulative.
    pub(super) fn advance(&mut self, applied: Slot) {
        self.applied = self.applied.max(applied);
    }

    /// Takes out applied values, of one proposal at a time. If that was the last of the
    /// proposal, also says how long it took, unless it was sent more than once.
    pub(super) fn take_applied(&mut self, now: Time) -> Option<(Values, Option<u64>)> {
        let proposal = self.proposals.front_mut().filter(|oldest| oldest.first < self.applied)?;
        let done = proposal.take_applied(self.applied);
        self.bytes -= done.bytes().len();
        let mut took_us = None;
        if proposal.values.is_empty() {
            took_us = proposal.waits.took_us(now);
            self.proposals.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        Some((done, took_us))
    }

    /// What is proposed and not applied, as the requests that asked for it.
    pub(super) fn into_requests(self) -> impl Iterator<Item = (Address, Request)> {
        self.proposals.into_iter().flat_map(|proposal| {
            let mut start = 0;
            proposal.requesters.into_iter().filter_map(move |origin| {
                let commands = proposal.values.slice(start..start + origin.count());
                start += origin.count();
                origin.asked().map(|asker| (asker.address, request_of(asker, commands)))
            })
        })
    }
}
