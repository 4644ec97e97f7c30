//! Reading decided values back from the files: for a restart, and in pages for peers.
//!
//! The journal's entries say where each slot's line and overflow are, and the running hash
//! shows whether they are what was written. Reading stops at the first slot that fails its
//! check, so a caller gets fewer values than it asked for, and never a wrong one.

use super::DecidedLog;
use crate::paxos::DecidedPages;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::journal::{ENTRY_BYTES, Entry, Mark, OVERFLOW_BYTES_MAX};
use crate::storage::upkeep::Upkeep;
use crate::types::{LINE_BYTES_MAX, Slot, SlotRange};
use crate::values::{Builder, COMMAND_BYTES, Values};
use std::io;

/// How many entries one page is made of at most.
pub(super) const PAGE_ENTRIES_MAX: u64 = 1_024;

/// The longest line of the chat log: every character escaped, and the three numbers.
const TEXT_LINE_BYTES_MAX: u64 = 6 * LINE_BYTES_MAX as u64 + 64;

impl<D: Disk> DecidedLog<D> {
    /// How far chat log and overflow go.
    pub(super) fn reach(&self) -> (u64, u64) {
        (self.text.length(), self.overflow.length)
    }

    /// The entries of these slots, as far as they can be right. `reach` says how far
    /// chat log and overflow may go.
    pub(super) fn entries(
        &self,
        first: Slot,
        upto: Slot,
        reach: (u64, u64),
    ) -> io::Result<Entries> {
        let from = first.0.saturating_sub(1) * ENTRY_BYTES as u64;
        let bytes = self.journal.read(from, upto.0 * ENTRY_BYTES as u64)?;
        let mut read = bytes.chunks_exact(ENTRY_BYTES).map_while(Entry::read);
        let before = match first {
            Slot::ZERO => Some(Mark::default()),
            _ => read.next().map(|entry| entry.after),
        };
        let Some(before) = before else { return Ok(Entries::default()) };
        let mut end = before.text_end;
        let fits = |entry: &Entry| {
            let (overflow, text_end) = (entry.overflow(), entry.after.text_end);
            let text = text_end.checked_sub(std::mem::replace(&mut end, text_end));
            text.is_some_and(|bytes| bytes <= TEXT_LINE_BYTES_MAX)
                && overflow.end - overflow.start <= OVERFLOW_BYTES_MAX
                && text_end <= reach.0
                && overflow.end <= reach.1
        };
        Ok(Entries { before, list: read.take_while(fits).collect() })
    }

    /// The values of the first `count` of these entries, as far as the texts are those
    /// that were written.
    pub(super) fn values(
        &self,
        first: Slot,
        entries: &Entries,
        count: usize,
    ) -> io::Result<Values> {
        self.values_in(&self.text.grown.file, first, entries, count)
    }

    /// The same, with the lines of another file.
    pub(super) fn values_in(
        &self,
        lines: &D::File,
        first: Slot,
        entries: &Entries,
        count: usize,
    ) -> io::Result<Values> {
        let list = &entries.list[..count];
        let mut before = entries.before;
        let Some(end) = list.last().map(|entry| entry.after) else {
            return Ok(Values::default());
        };
        let mut text = vec![0; (end.text_end - before.text_end) as usize];
        lines.read_at(before.text_end, &mut text)?;
        let mut text = text.as_slice();
        let mut values = Builder::default();
        for (slot, entry) in (first.0..).map(Slot).zip(list) {
            let (line, rest) = text.split_at((entry.after.text_end - before.text_end) as usize);
            text = rest;
            let overflow = match entry.overflow() {
                overflow if overflow.is_empty() => Vec::new(),
                overflow => self.overflow.read(overflow.start, overflow.end)?,
            };
            if entry.hash(before.hash, line, &overflow) != entry.after.hash {
                break;
            }
            if !entry.read_value(slot, line, &overflow, &mut values) {
                break;
            }
            before = entry.after;
        }
        Ok(values.take())
    }
}

/// Consecutive entries, and the mark before them.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) before: Mark,
    pub(super) list: Vec<Entry>,
}

impl Entries {
    /// How many of them take about `bytes`; one at least.
    pub(super) fn fitting(&self, bytes: usize) -> usize {
        let mut hidden = 0;
        let fits = self.list.iter().take_while(|entry| {
            let overflow = entry.overflow();
            hidden += overflow.end - overflow.start;
            entry.after.text_end - self.before.text_end + hidden <= bytes as u64
        });
        fits.count().max(1).min(self.list.len())
    }
}

impl<D: Disk> DecidedPages for DecidedLog<D> {
    fn decided(&mut self, slots: SlotRange, bytes: usize) -> io::Result<Values> {
        let SlotRange { start: first, end: upto } = slots;
        self.settle()?;
        let entries_max = (bytes / COMMAND_BYTES + 1).min(PAGE_ENTRIES_MAX as usize) as u64;
        let upto = upto.min(self.applied).min(first.plus(entries_max));
        if first >= upto {
            return Ok(Values::default());
        }
        self.rest()?;
        let entries = self.entries(first, upto, self.reach())?;
        let values = self.values(first, &entries, entries.fitting(bytes))?;
        if values.is_empty() {
            let name = self.text.described();
            log::error!("{name} or its journal is damaged at slot {first}: not served to peers");
            return Ok(values);
        }
        Ok(values.slice(0..values.fitting(bytes).max(1)))
    }
}
