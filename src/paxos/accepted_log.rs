//! What an acceptor remembers of phase 2: for every slot from its trim mark on, the value
//! that it accepted there at the highest ballot.

use super::Limits;
use crate::message::Run;
use crate::runs::{Comparison, Runs};
use crate::types::{Slot, SlotRange};

/// How many bytes one run of a promise's page takes on the wire beside its values: two
/// varints and a length.
const RUN_OVERHEAD_BYTES: usize = 25;

/// How many bytes a page takes beside its runs.
const PAGE_OVERHEAD_BYTES: usize = 64;

/// A part of the log, as one phase 1b message carries it.
#[derive(Debug)]
pub(super) struct Page {
    /// The end of the slots that the page covers.
    pub(super) end: Slot,
    /// Whether no slot from `end` on holds anything.
    pub(super) last: bool,
    /// What the covered slots hold.
    pub(super) accepted: Vec<Run>,
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
    /// Whether it holds as many bytes as it may. Then it accepts nothing new (rule L5).
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.accepted.bytes() >= limits.accept_bytes
    }

    /// How the parts of `run` compare with what is held. Slots that are trimmed, or that
    /// lie beyond the window above the trim mark, are left out (S4, L5).
    pub(super) fn compare(&self, run: &Run, limits: &Limits) -> Vec<(Run, Comparison)> {
        let window = SlotRange::with_len(self.trimmed, limits.accept_slots);
        self.accepted.compare(&run.within(window))
    }

    /// Accepts `run`. A slot that holds a value at the same ballot or at a higher one keeps
    /// it, so accepting is harmless in any order and any number of times (D1).
    pub(super) fn accept(&mut self, run: &Run) {
        // At one ballot a slot has one value (I2). If it had two, the first one would stay.
        let _ = self.accepted.insert(run.within(SlotRange::onward(self.trimmed)));
    }

    /// Forgets every slot below `end`.
    pub(super) fn trim(&mut self, end: Slot) {
        self.trimmed = self.trimmed.max(end);
        self.accepted.trim(self.trimmed);
    }

    /// The page that begins at slot `first` and fits a message of `payload_bytes`. It
    /// carries one value at least, however long that is.
    pub(super) fn promise_page(&self, first: Slot, payload_bytes: usize) -> Page {
        let start = first.max(self.trimmed);
        let mut room = payload_bytes.saturating_sub(PAGE_OVERHEAD_BYTES);
        let mut page = Page { end: start, last: true, accepted: Vec::new() };
        for run in self.accepted.range(SlotRange::onward(start)) {
            room = room.saturating_sub(RUN_OVERHEAD_BYTES);
            let least = usize::from(page.accepted.is_empty());
            let fitting = run.values.fitting(room).max(least);
            let part = run.within(SlotRange::with_len(run.first, fitting as u64));
            room = room.saturating_sub(part.values.bytes().len());
            if fitting > 0 {
                page.end = part.end();
                page.accepted.push(part);
            }
            if fitting < run.values.len() {
                page.last = false;
                break;
            }
        }
        page
    }
}
