//! Reading decided values back from the files: for a restart, and in pages for peers.
//!
//! The journal's entries say where each slot's line and overflow are, and the running hash
//! shows whether they are what was written. Reading stops at the first slot that fails its
//! check, so a caller gets fewer values than it asked for, and never a wrong one.
//!
//! Followers of the chat log read pieces of its text, of lines that are checked in the same way.
//! What is not written yet is read from memory, so nobody who follows makes the log write more
//! often.

use super::DecidedLog;
use crate::paxos::{DecidedPages, Text};
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::journal::{ENTRY_BYTES, Entry, Mark, OVERFLOW_BYTES_MAX};
use crate::storage::upkeep::Upkeep;
use crate::types::{LINE_BYTES_MAX, Slot, SlotRange};
use crate::values::{Builder, COMMAND_BYTES, Values};
use std::io;

/// How many entries one page is made of at most.
pub(super) const PAGE_ENTRIES_MAX: u64 = 1_024;

/// The shortest line of the chat log: three numbers, three spaces, a line feed.
const LINE_BYTES_MIN: u64 = 7;

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
        Ok(Entries::among(&bytes, first, reach))
    }

    /// A piece of the chat log, as far as its lines are those that were written. None if not even
    /// the first one is.
    fn piece(&self, slot: Slot, offset: u64, bytes: usize) -> io::Result<Option<Text>> {
        let Some(line) = self.line_begins(slot)? else { return Ok(None) };
        let end = self.text.end();
        let from = line.saturating_add(offset);
        let to = from.saturating_add(bytes as u64);
        let is_behind_all = from >= end || bytes == 0;
        let first = if is_behind_all { slot.next() } else { self.slot_at(slot, from)? };
        // The line from which the offset counts must be where it was, too.
        if first != slot && self.checked_lines(slot, 1, to)?.is_none_or(|it| it.begin != line) {
            return Ok(None);
        }
        if is_behind_all {
            return Ok(Some(Text { bytes: Vec::new(), rest: end.saturating_sub(from), read: 0 }));
        }
        let most = bytes as u64 / LINE_BYTES_MIN + 2;
        let Some(lines) = self.checked_lines(first, most, to)? else { return Ok(None) };
        let Lines { begin, text, read } = lines;
        let to = to.min(begin + text.len() as u64);
        let found = match from.checked_sub(begin) {
            Some(at) => text.get(at as usize..to.saturating_sub(begin) as usize),
            None => None,
        };
        let found = found.filter(|found| !found.is_empty());
        Ok(found.map(|found| Text { bytes: found.to_vec(), rest: end - to, read }))
    }

    /// The lines of `most` slots from `first` on, or up to that in which the byte before `to` is,
    /// as far as they are those that were written. None if not even the first one is.
    fn checked_lines(&self, first: Slot, most: u64, to: u64) -> io::Result<Option<Lines>> {
        let upto = self.applied.min(first.plus(most.min(PAGE_ENTRIES_MAX)));
        let at = first.0.saturating_sub(1) * ENTRY_BYTES as u64;
        let entries = self.journal.read_through(at, upto.0 * ENTRY_BYTES as u64)?;
        let reach = (self.text.end(), self.overflow.end());
        let Entries { before, mut list } = Entries::among(&entries, first, reach);
        list.truncate(list.partition_point(|entry| entry.after.text_end < to) + 1);
        let Some(last) = list.last() else { return Ok(None) };
        let mut text = self.text.grown.read_through(before.text_end, last.after.text_end)?;
        let (read, whole) = (text.len(), self.whole_bytes(&text, before, &list)?);
        text.truncate(whole);
        Ok((whole > 0).then_some(Lines { begin: before.text_end, text, read }))
    }

    /// How many bytes of these lines, the first of which follows the mark `before`, are those that
    /// were written.
    fn whole_bytes(&self, lines: &[u8], mut before: Mark, list: &[Entry]) -> io::Result<usize> {
        let begin = before.text_end;
        for entry in list {
            let at = |end: u64| (end - begin) as usize;
            let Some(line) = lines.get(at(before.text_end)..at(entry.after.text_end)) else {
                break;
            };
            let overflow = match entry.overflow() {
                overflow if overflow.is_empty() => Vec::new(),
                overflow => self.overflow.read_through(overflow.start, overflow.end)?,
            };
            if entry.hash(before.hash, line, &overflow) != entry.after.hash {
                break;
            }
            before = entry.after;
        }
        Ok((before.text_end - begin) as usize)
    }

    /// Where the line of an applied slot begins, if the journal says so.
    fn line_begins(&self, slot: Slot) -> io::Result<Option<u64>> {
        slot.0.checked_sub(1).map_or(Ok(Some(0)), |before| self.line_ends(Slot(before)))
    }

    /// Where it ends.
    fn line_ends(&self, slot: Slot) -> io::Result<Option<u64>> {
        let from = slot.0 * ENTRY_BYTES as u64;
        let entry = self.journal.read_through(from, from + ENTRY_BYTES as u64)?;
        Ok(Entry::read(&entry).map(|entry| entry.after.text_end))
    }

    /// The slot in whose line the byte at `from` lies, which is not below `slot`.
    fn slot_at(&self, slot: Slot, from: u64) -> io::Result<Slot> {
        let is_behind =
            |slot| Ok::<_, io::Error>(self.line_ends(slot)?.is_none_or(|end| end > from));
        // Mostly it is the line of that slot.
        let (mut low, mut high) = (slot, if is_behind(slot)? { slot } else { self.applied });
        while low < high {
            let middle = low.plus(high.since(low) / 2);
            match is_behind(middle)? {
                true => high = middle,
                false => low = middle.next(),
            }
        }
        Ok(low)
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

/// Lines of the chat log, one behind the other.
struct Lines {
    /// Where the first begins.
    begin: u64,
    text: Vec<u8>,
    /// How many bytes were read.
    read: usize,
}

/// Consecutive entries, and the mark before them.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) before: Mark,
    pub(super) list: Vec<Entry>,
}

impl Entries {
    /// Those from `first` on among the bytes of a journal, which begin with the entry before that if
    /// there is one. `reach` says how far chat log and overflow may go.
    fn among(bytes: &[u8], first: Slot, reach: (u64, u64)) -> Self {
        let mut read = bytes.chunks_exact(ENTRY_BYTES).map_while(Entry::read);
        let before = match first {
            Slot::ZERO => Some(Mark::default()),
            _ => read.next().map(|entry| entry.after),
        };
        let Some(before) = before else { return Entries::default() };
        let mut end = before.text_end;
        let fits = |entry: &Entry| {
            let (overflow, text_end) = (entry.overflow(), entry.after.text_end);
            let text = text_end.checked_sub(std::mem::replace(&mut end, text_end));
            text.is_some_and(|bytes| bytes <= TEXT_LINE_BYTES_MAX)
                && overflow.end - overflow.start <= OVERFLOW_BYTES_MAX
                && text_end <= reach.0
                && overflow.end <= reach.1
        };
        Entries { before, list: read.take_while(fits).collect() }
    }

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

    fn text(&mut self, slot: Slot, offset: u64, bytes: usize) -> io::Result<Option<Text>> {
        self.settle()?;
        if slot >= self.applied {
            return Ok(None);
        }
        match self.piece(slot, offset, bytes) {
            // It was cut, which the next write notices.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            found => found,
        }
    }
}
