//! What an acceptor remembers of phase 2: for every slot from its trim mark on, the value
//! that it accepted there at the highest ballot.

use super::Limits;
use super::acceptor::Inherited;
use crate::message::{Run, SlotList, Spans};
use crate::runs::{Comparison, Runs};
use crate::types::{Ballot, Slot, SlotRange};

/// How many bytes a run takes on the wire beside its values: two varints and a length.
const RUN_OVERHEAD_BYTES: usize = 25;

/// How many bytes a message of phase 1 takes beside its spans or runs.
const PAGE_OVERHEAD_BYTES: usize = 64;

/// How many pages answer one prepare. A candidate that needs more asks again.
pub(super) const PROMISE_PAGES_MAX: usize = 64;

/// Of how many runs a vote repeats that they are held.
const REPEATED_RUNS_MAX: usize = 32;

/// How many bytes of values answer one request for values, give or take a message. All that
/// a leader had in flight is a few such answers.
pub(super) const VALUES_BYTES_MAX: usize = 512 * 1024;

/// A part of what the log holds, as one phase 1b message says it.
#[derive(Debug)]
pub(super) struct Page {
    /// The slots that the page covers.
    pub(super) slots: SlotRange,
    /// Whether no slot above them holds anything.
    pub(super) last: bool,
    /// Which of them hold values, and at which ballots.
    pub(super) accepted: Spans,
}

/// The accepted values by slot, and the trim mark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct AcceptedLog {
    /// Slots below this are decided and applied here, and forgotten.
    pub(super) trimmed: Slot,
    /// What the slots from `trimmed` on hold.
    pub(super) accepted: Runs,
}

impl AcceptedLog {
    /// How the parts of `run` compare with what is held. Slots that are trimmed are left out.
    pub(super) fn compare(&self, run: &Run) -> Vec<(Run, Comparison)> {
        self.accepted.compare(&run.within(SlotRange::onward(self.trimmed)))
    }

    /// The beginning of a run that compares as new, as far as there is room for it (L5).
    ///
    /// What lies below the highest slot that is held has twice the room of what lies above. A
    /// leader that has to fill a hole gets nothing applied before it has, and nothing is
    /// forgotten before something is applied. So a hole must not wait for room.
    pub(super) fn admit(&self, run: &Run, limits: &Limits) -> Run {
        let held = self.accepted.len() as u64;
        let room = |share: u64| {
            let is_full = self.accepted.bytes() as u64 >= share * limits.accept_bytes as u64;
            if is_full { 0 } else { (share * limits.accept_slots).saturating_sub(held) }
        };
        let end = self.accepted.end().unwrap_or_default();
        let below = end.since(run.first).min(run.values.len() as u64);
        let admitted = match room(2) {
            room if room < below => room,
            _ => below + room(1).saturating_sub(below),
        };
        run.within(SlotRange::with_len(run.first, admitted))
    }

    /// Accepts `run`. A slot that holds a value at the same ballot or at a higher one keeps
    /// it, so accepting is harmless in any order and any number of times (D1).
    pub(super) fn accept(&mut self, run: &Run) {
        // At one ballot a slot has one value (I2). If it had two, the first one would stay.
        let _ = self.accepted.insert(run.within(SlotRange::onward(self.trimmed)));
    }

    /// Adds to `slots` which slots below them and from `from` on are held at exactly `ballot` as
    /// well: as far as `ranges_max` ranges name all, and as the last few runs tell.
    pub(super) fn held_at(
        &self,
        ballot: Ballot,
        from: Slot,
        mut slots: SlotList,
        ranges_max: usize,
    ) -> SlotList {
        let ranges = slots.ranges();
        let start = ranges.iter().map(|range| range.start).min().unwrap_or_default();
        if start <= from {
            return slots;
        }
        let runs_max = ranges_max.saturating_sub(ranges.len()).min(REPEATED_RUNS_MAX);
        let below = self.accepted.ranges_in(SlotRange::new(from, start)).rev().take(runs_max);
        below.filter(|(_, at)| *at == ballot).for_each(|(held, _)| slots.put_before(held));
        slots
    }

    /// One above the highest slot that was ever accepted here and may be chosen (E5). What is held
    /// above the end of what a leader has inherited, at lower ballots than the leader's, was not
    /// chosen and will not be.
    pub(super) fn mark(&self, inherited: Option<Inherited>) -> Slot {
        let end = self.accepted.end().unwrap_or_default().max(self.trimmed);
        let Some(Inherited { ballot, end: found }) = inherited else { return end };
        let mut above = self.accepted.ranges_in(SlotRange::onward(found)).rev();
        match above.find(|(_, at)| *at >= ballot) {
            Some((slots, _)) => slots.end,
            None => end.min(found).max(self.trimmed),
        }
    }

    /// Whether a change of members is held below `end`. Nothing at its ballot lies above it (M1), so
    /// it is the last value of a run.
    pub(super) fn has_change_below(&self, end: Slot) -> bool {
        let mut held = self.accepted.range(SlotRange::new(self.trimmed, end));
        held.any(|run| run.values.get(run.values.len() - 1).change().is_some())
    }

    /// Forgets every slot below `end`.
    pub(super) fn trim(&mut self, end: Slot) {
        self.trimmed = self.trimmed.max(end);
        self.accepted.trim(self.trimmed);
    }

    /// What is held from slot `first` on, in pages that fit messages of `payload_bytes`. A
    /// page begins where the one before it ends.
    pub(super) fn promise_pages(
        &self,
        first: Slot,
        payload_bytes: usize,
        limits: &Limits,
    ) -> Vec<Page> {
        let start = first.max(self.trimmed);
        let spans = self.accepted.spans(SlotRange::onward(start));
        let room = payload_bytes.saturating_sub(PAGE_OVERHEAD_BYTES);
        let (mut pages, mut from) = (Vec::new(), first);
        for accepted in spans.pages(room, limits.promise_spans).take(limits.promise_pages) {
            let slots = SlotRange::new(from, accepted.end());
            from = slots.end;
            pages.push(Page { slots, last: slots.end == spans.end(), accepted });
        }
        if pages.is_empty() {
            let slots = SlotRange::new(first, start);
            pages.push(Page { slots, last: true, accepted: Spans::default() });
        }
        pages
    }

    /// Those of the `wanted` values that are held, in parts that fit messages of
    /// `payload_bytes`: one part at least, possibly without a value. A value that is longer
    /// than such a message is a part of its own.
    pub(super) fn values(
        &self,
        wanted: &Spans,
        payload_bytes: usize,
        limits: &Limits,
    ) -> Vec<Vec<Run>> {
        let room_max = payload_bytes.saturating_sub(PAGE_OVERHEAD_BYTES);
        let (mut parts, mut room, mut left) = (vec![Vec::new()], room_max, limits.values_bytes);
        let held = wanted.iter().flat_map(|span| {
            self.accepted.range(span.slots).filter(move |run| run.ballot == span.ballot)
        });
        for mut run in held {
            while !run.values.is_empty() && left > 0 {
                let is_first = parts.last().is_some_and(Vec::is_empty);
                let fitting = run.values.fitting(room.saturating_sub(RUN_OVERHEAD_BYTES));
                if fitting == 0 && !is_first {
                    parts.push(Vec::new());
                    room = room_max;
                    continue;
                }
                let part = run.within(SlotRange::with_len(run.first, fitting.max(1) as u64));
                run = run.within(SlotRange::onward(part.end()));
                let bytes = RUN_OVERHEAD_BYTES + part.values.bytes().len();
                (room, left) = (room.saturating_sub(bytes), left.saturating_sub(bytes));
                parts.last_mut().expect("there is one").push(part);
            }
        }
        parts
    }
}
