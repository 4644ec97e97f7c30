//! What a new leader has to propose again, and where its values come from (S4).
//!
//! When a quorum has promised, the candidate knows for each slot the highest ballot at which
//! any of them accepted a value there. The slot and that ballot name one value (I2), and
//! only this value may be proposed again. The candidate takes it from its own acceptor if
//! that accepted it at exactly that ballot. Other values it fetches, from any acceptor that
//! has reported exactly that ballot for the slot.
//!
//! Each acceptor is asked for a bounded number of slots at a time, and different acceptors
//! for different slots. What an answer leaves out is asked for again: at once if the answer
//! brought anything, otherwise with the next prepares, and then of another acceptor first. Who stays
//! silent may have died since it promised: phase 1 can do without it, if a quorum is left (S5).
//!
//! A change of members is the last value of its configuration, so nothing is proposed again above
//! one. But a change that was reported may be out of date: if something above it was accepted at a
//! higher ballot, then the leader of that ballot had a quorum that knew of no change, so the
//! change was not chosen and never will be (M7).
//!
//! A slot below an acceptor's trim mark is decided. The candidate proposes nothing there, so
//! it no longer needs the value.

use super::{Outbox, Settings};
use crate::message::{AcceptedValues, MESSAGE_SLOTS_MAX, Message, Spans, ToAcceptor};
use crate::quorum::ReplicaSet;
use crate::runs::Runs;
use crate::types::{Ballot, ReplicaId, Slot, SlotRange};
use crate::values::{Builder, ValueRef, Values};

/// For how many slots one acceptor is asked at a time. (What it sends is bounded in bytes,
/// too.)
pub(super) const WANTED_SLOTS_MAX: u64 = 4_096;

/// What a request for values takes on the wire beside its spans.
const FETCH_OVERHEAD_BYTES: usize = 24;

/// What a quorum's promises leave to the new leader.
#[derive(Debug, PartialEq, Eq)]
pub struct Phase1Outcome {
    /// The first slot of phase 2: everything below is decided.
    pub first: Slot,
    /// What to propose from there on, without gaps.
    pub values: Values,
    /// Which of these values each acceptor has reported, by replica id, and at which ballots.
    pub held: Vec<Spans>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Recovery {
    /// The first slot that is not known to be decided.
    first: Slot,
    /// In which slots a value is proposed again, and at which ballot it was accepted.
    wanted: Spans,
    /// Those of them whose values are not here.
    lacking: Spans,
    /// What the own acceptor holds, at whatever ballots.
    own: Runs,
    /// What others have sent, at the wanted ballots.
    fetched: Runs,
    /// What each acceptor was asked for and has not answered, by replica id.
    asked: Vec<Spans>,
    /// Who has sent values since the last retry.
    heard: ReplicaSet,
    /// Who has sent none between being asked and the next retry, and none since.
    silent: ReplicaSet,
    /// The replica that is asked first.
    turn: usize,
}

impl Recovery {
    /// `reported`: what a quorum's promises say of the slots from `first` on, each at the
    /// highest ballot. `values`: what the own acceptor holds, and what others have sent before.
    pub(super) fn new(
        settings: &Settings,
        first: Slot,
        reported: &Spans,
        (own, before): (Runs, Runs),
    ) -> Self {
        // A leader proposes within its window above what its learner has applied. So below a
        // slot that was chosen, nothing is missing but within the window. What lies further
        // above the lowest hole was not chosen and never will be. (The window is doubled, so
        // that nothing hangs on its last slot.)
        let hole = reported.hole_from(first);
        let reach = hole.plus(2 * settings.limits.propose_slots);
        let wanted = reported.within(SlotRange::new(first, reach));
        let held = wanted.agreeing(&own.spans(SlotRange::onward(first)));
        let lacking = wanted.without(&held);
        // A value that is not wanted any more must not be in the way of one at a lower ballot.
        let mut fetched = Runs::default();
        let sent = lacking.agreeing(&before.spans(SlotRange::onward(first)));
        for run in sent.iter().flat_map(|span| before.range(span.slots)) {
            let kept = fetched.insert(run);
            assert!(kept.is_ok(), "slot {kept:?} has two values");
        }
        let lacking = lacking.without(&sent);
        Recovery {
            first,
            wanted,
            lacking,
            own,
            fetched,
            asked: vec![Spans::default(); settings.rows()],
            heard: ReplicaSet::EMPTY,
            silent: ReplicaSet::EMPTY,
            turn: 0,
        }
    }

    /// Every slot below `first` is decided.
    pub(super) fn advance(&mut self, first: Slot) {
        if first > self.first {
            self.first = first;
            self.wanted = self.wanted.within(SlotRange::onward(first));
            self.lacking = self.lacking.within(SlotRange::onward(first));
        }
    }

    /// Asks acceptors that wait for no answer for values that nobody was asked for.
    /// `reported`: what each acceptor has reported, by replica id.
    pub(super) fn ask<R>(
        &mut self,
        settings: &Settings,
        ballot: Ballot,
        reported: &[&Spans],
        out: &mut Outbox<R>,
    ) {
        let mut open = self.asked.iter().fold(self.lacking.clone(), |open, it| open.without(it));
        let n = self.asked.len();
        for peer in (0..n).map(|step| (self.turn + step) % n) {
            let is_free = peer != settings.id.index() && self.asked[peer].is_empty();
            if open.is_empty() || !is_free {
                continue;
            }
            let held = open.agreeing(reported[peer]);
            let Some(wanted) = first_part(&held, settings) else { continue };
            open = open.without(&wanted);
            self.asked[peer] = wanted.clone();
            let fetch = ToAcceptor::FetchAccepted { ballot, wanted };
            out.send(ReplicaId(peer as u8), Message::Acceptor(fetch));
        }
    }

    /// Takes values from an acceptor. Returns whether any of them was lacking, or the first
    /// undecided slot has moved.
    pub(super) fn handle_values(
        &mut self,
        settings: &Settings,
        from: ReplicaId,
        values: AcceptedValues,
    ) -> bool {
        // L5: honest acceptors hold no more together.
        let n = settings.places as u64;
        let (slots, bytes) =
            (self.own.len() + self.fetched.len(), self.own.bytes() + self.fetched.bytes());
        let is_full = slots as u64 >= n * 2 * settings.limits.accept_slots
            || bytes as u64 >= n * 2 * settings.limits.accept_bytes as u64;
        if is_full {
            return false;
        }
        let before = self.first;
        self.advance(values.trimmed);
        let mut is_news = self.first > before;
        for run in values.accepted {
            let mut sent = Spans::default();
            sent.push(run.slots(), run.ballot);
            // S4: at another ballot the slot may hold another value.
            let taken = self.lacking.agreeing(&sent);
            for span in taken.iter() {
                let kept = self.fetched.insert(run.within(span.slots));
                assert!(kept.is_ok(), "slot {kept:?} has two values at ballot {}", span.ballot);
            }
            is_news |= !taken.is_empty();
            self.lacking = self.lacking.without(&taken);
            self.asked[from.index()] = self.asked[from.index()].without(&taken);
        }
        if is_news {
            self.heard.insert(from);
            self.silent = self.silent.without(from);
            if values.last {
                // What the answer left out is asked for again.
                self.asked[from.index()] = Spans::default();
            }
        }
        is_news
    }

    /// Acceptors that were asked some time ago and have sent nothing since may be asked again,
    /// others first (L4).
    pub(super) fn retry(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        for (peer, asked) in self.asked.iter_mut().enumerate() {
            if !asked.is_empty() && !heard.contains(ReplicaId(peer as u8)) {
                *asked = Spans::default();
                self.silent.insert(ReplicaId(peer as u8));
                self.turn = peer + 1;
            }
        }
    }

    /// Who was asked for values, has been silent for longer than from one retry to the next, and has
    /// reported something that is still lacking.
    pub(super) fn silent(&self, reported: &[&Spans]) -> ReplicaSet {
        let mut silent = ReplicaSet::EMPTY;
        let holds = |id: &ReplicaId| !self.lacking.agreeing(reported[id.index()]).is_empty();
        self.silent.iter().filter(holds).for_each(|id| {
            silent.insert(id);
        });
        silent
    }

    /// What the own acceptor holds, and what others have sent.
    pub(super) fn into_values(self) -> (Runs, Runs) {
        (self.own, self.fetched)
    }

    /// Once no value is lacking: in every slot from the first one on, the value of the highest
    /// ballot that the quorum reported. Such a value may be chosen already. A slot below
    /// the highest reported one without a value gets a no-op: nothing can have been chosen
    /// there. (Paxos Made Simple, §2.2, P2c, and §3 on the gap.)
    ///
    /// `reported`: what each acceptor has reported, by replica id.
    pub(super) fn outcome(&self, reported: &[&Spans]) -> Option<Phase1Outcome> {
        if !self.lacking.is_empty() {
            return None;
        }
        let mut values = Builder::default();
        for span in self.wanted.iter() {
            let next = self.first.plus(values.len() as u64);
            (0..span.slots.start.since(next)).for_each(|_| values.push(ValueRef::Noop));
            // The own acceptor and others hold what is wanted, each a part of it.
            let mut left = span.slots;
            while !left.is_empty() {
                let held = [&self.own, &self.fetched].map(|runs| runs.at(left.start));
                let run = held.into_iter().flatten().find(|run| run.ballot == span.ballot);
                let run =
                    run.unwrap_or_else(|| panic!("slot {}: no value", left.start)).within(left);
                values.extend(&run.values);
                left.start = run.slots().end;
            }
        }
        let held = reported.iter().map(|reported| self.wanted.agreeing(reported)).collect();
        let found = Phase1Outcome { first: self.first, values: values.take(), held };
        Some(self.up_to_a_change(found))
    }

    /// M1: a change is the last that is proposed. M7: one that is out of date is a Noop.
    fn up_to_a_change(&self, found: Phase1Outcome) -> Phase1Outcome {
        if !found.values.iter().any(|value| value.change().is_some()) {
            return found;
        }
        let Phase1Outcome { first, values, held } = found;
        let (mut kept, mut stale) = (Builder::default(), Spans::default());
        for (slot, value) in (first.0..).map(Slot).zip(values.iter()) {
            let mut spans = self.wanted.iter();
            let at = value.change().and_then(|_| spans.find(|span| span.slots.contains(slot)));
            match at {
                Some(span) if self.is_stale(slot, span.ballot) => {
                    kept.push(ValueRef::Noop);
                    stale.push(SlotRange::with_len(slot, 1), span.ballot);
                }
                Some(_) => {
                    kept.push(value);
                    break;
                }
                None => kept.push(value),
            }
        }
        let slots = SlotRange::with_len(first, kept.len() as u64);
        let held = held.iter().map(|held| held.without(&stale).within(slots)).collect();
        Phase1Outcome { first, values: kept.take(), held }
    }

    /// M7: whether a change that was reported in `slot` at `ballot` is out of date.
    fn is_stale(&self, slot: Slot, ballot: Ballot) -> bool {
        self.wanted.iter().any(|span| span.slots.end > slot.next() && span.ballot > ballot)
    }
}

/// The beginning of `held`, as far as one request names it; nothing if `held` is empty.
fn first_part(held: &Spans, settings: &Settings) -> Option<Spans> {
    let room = settings.payload_bytes.saturating_sub(FETCH_OVERHEAD_BYTES);
    let mut wanted = Spans::default();
    let mut left = settings.limits.wanted_slots;
    for span in held.pages(room, MESSAGE_SLOTS_MAX).next()?.iter() {
        let slots = SlotRange::with_len(span.slots.start, span.slots.len().min(left));
        left -= slots.len();
        wanted.push(slots, span.ballot);
    }
    Some(wanted)
}
