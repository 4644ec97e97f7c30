//! Pieces of the chat log, put together to whole lines.
//!
//! A position counts bytes from the beginning of the first line that was asked for. Pieces come in
//! any order, and more than once. What lies behind a gap is kept until the gap is filled; whoever
//! asks for pieces bounds how much that is.
//!
//! **Guarantees.** The lines that leave are those of the slots from the first one on, in order,
//! each once and whole.

use crate::types::{LINE_BYTES_MAX, Slot};
use std::collections::BTreeMap;

/// The longest line of a chat log: every character escaped, and the three numbers.
const TEXT_LINE_BYTES_MAX: usize = 6 * LINE_BYTES_MAX + 64;

/// Whole lines, each with its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// The slot of the first.
    pub first: Slot,
    /// One behind the other.
    pub text: Vec<u8>,
}

/// What came is no line of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotALine(pub(super) Slot);

/// Puts pieces together.
#[derive(Debug)]
pub(super) struct Assembly {
    /// The slot of the next line,
    slot: Slot,
    /// and what has come of that.
    line: Vec<u8>,
    /// Every byte before this position has come.
    at: u64,
    /// What has come behind a gap, by its position.
    early: BTreeMap<u64, Vec<u8>>,
    /// The lines of the slots below this one are all that is wanted.
    until: Slot,
    /// Whole lines that nobody has taken.
    ready: Lines,
}

impl Assembly {
    /// From the line of `first` on, up to that of `until`.
    pub(super) fn new(first: Slot, until: Slot) -> Self {
        let ready = Lines { first, text: Vec::new() };
        let (line, early) = (Vec::new(), BTreeMap::new());
        Assembly { slot: first, line, at: 0, early, until, ready }
    }

    /// The lines of the slots below this one are all that is wanted.
    pub(super) fn ends_at(&mut self, until: Slot) {
        self.until = until;
    }

    /// Whether all lines have come.
    pub(super) fn is_over(&self) -> bool {
        self.slot >= self.until
    }

    /// The slot of the next line.
    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// How much has come of it.
    pub(super) fn offset(&self) -> u64 {
        self.line.len() as u64
    }

    /// Every byte before this position has come.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Takes the whole lines that are here.
    pub(super) fn take(&mut self) -> Option<Lines> {
        let next = Lines { first: self.slot, text: Vec::new() };
        let ready = std::mem::replace(&mut self.ready, next);
        (!ready.text.is_empty()).then_some(ready)
    }

    /// Forgets what has come behind a gap.
    pub(super) fn forget_early(&mut self) {
        self.early.clear();
    }

    /// The bytes from the position `at` on have come.
    pub(super) fn put(&mut self, at: u64, text: Vec<u8>) -> Result<(), NotALine> {
        if at > self.at {
            let kept = self.early.entry(at).or_default();
            if kept.len() < text.len() {
                *kept = text;
            }
            return Ok(());
        }
        self.append(at, &text)?;
        while let Some(entry) = self.early.first_entry()
            && *entry.key() <= self.at
        {
            let (at, text) = entry.remove_entry();
            self.append(at, &text)?;
        }
        Ok(())
    }

    /// The same, of bytes that leave no gap.
    fn append(&mut self, at: u64, text: &[u8]) -> Result<(), NotALine> {
        let known = usize::try_from(self.at - at).unwrap_or(usize::MAX);
        let Some(new) = text.get(known..) else { return Ok(()) };
        self.at += new.len() as u64;
        for part in new.split_inclusive(|byte| *byte == b'\n') {
            if self.is_over() {
                return Ok(());
            }
            self.line.extend_from_slice(part);
            if self.line.len() > TEXT_LINE_BYTES_MAX {
                return Err(NotALine(self.slot));
            }
            if part.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// A line is whole.
    fn end_line(&mut self) -> Result<(), NotALine> {
        let number = format!("{} ", self.slot);
        if !self.line.starts_with(number.as_bytes()) {
            return Err(NotALine(self.slot));
        }
        self.ready.text.append(&mut self.line);
        self.slot = self.slot.next();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Slot = Slot(u64::MAX);

    fn taken(assembly: &mut Assembly) -> Option<(u64, String)> {
        let Lines { first, text } = assembly.take()?;
        Some((first.0, String::from_utf8(text).expect("UTF-8")))
    }

    #[test]
    fn only_whole_lines_leave_and_each_once() {
        let mut assembly = Assembly::new(Slot(7), ALL);
        assembly.put(0, b"7 1 0 a\n8 1 1".to_vec()).expect("lines");
        assert_eq!(taken(&mut assembly), Some((7, "7 1 0 a\n".into())));
        assert_eq!(taken(&mut assembly), None);
        assert_eq!((assembly.slot(), assembly.offset(), assembly.at()), (Slot(8), 5, 13));
        assembly.put(13, b" b\n9 - - NOP\n".to_vec()).expect("lines");
        assert_eq!(taken(&mut assembly), Some((8, "8 1 1 b\n9 - - NOP\n".into())));
        assembly.put(0, b"7 1 0 a\n8 1 1".to_vec()).expect("it was here before");
        assert_eq!(taken(&mut assembly), None);
    }

    #[test]
    fn pieces_in_any_order_and_more_than_once_make_the_same_lines() {
        let text = "0 1 0 one\n1 1 1 \n2 - - NOP\n3 1 2 four and more\n4 1 3 \n";
        let pieces: Vec<(u64, Vec<u8>)> = (0..)
            .step_by(5)
            .zip(text.as_bytes().chunks(5))
            .map(|(at, piece)| (at, piece.to_vec()))
            .collect();
        for seed in 0..200 {
            let mut rng = seeds::stream(seed, "pieces");
            let mut shuffled = [pieces.clone(), pieces.clone()].concat();
            rng.shuffle(&mut shuffled);
            let mut assembly = Assembly::new(Slot(0), ALL);
            let mut found = String::new();
            for (at, mut piece) in shuffled {
                // A shorter copy comes first, sometimes.
                if rng.bool() {
                    assembly.put(at, piece[..rng.usize(..piece.len())].to_vec()).expect("lines");
                }
                assembly.put(at, std::mem::take(&mut piece)).expect("lines");
                found.extend(taken(&mut assembly).map(|(_, text)| text));
            }
            assert_eq!(found, text, "seed {seed}");
            assert!(assembly.early.is_empty());
        }
    }

    #[test]
    fn the_last_line_is_that_before_the_end_whatever_follows() {
        let mut assembly = Assembly::new(Slot(0), Slot(2));
        assert!(!assembly.is_over());
        assembly.put(0, b"0 1 0 a\n1 1 1 b\n2 1 2 c\n".to_vec()).expect("lines");
        assert!(assembly.is_over());
        assert_eq!(taken(&mut assembly), Some((0, "0 1 0 a\n1 1 1 b\n".into())));
        assert!(Assembly::new(Slot(2), Slot(2)).is_over());
    }

    #[test]
    fn what_is_no_line_of_its_slot_is_refused() {
        for text in ["8 1 0 a\n", "70 1 0 a\n", "\n", "7\n"] {
            let mut assembly = Assembly::new(Slot(7), ALL);
            assert_eq!(assembly.put(0, text.into()), Err(NotALine(Slot(7))), "{text:?}");
        }
        let mut assembly = Assembly::new(Slot(7), ALL);
        let endless = vec![b'7'; TEXT_LINE_BYTES_MAX];
        assert_eq!(assembly.put(0, endless), Ok(()));
        assert_eq!(assembly.put(TEXT_LINE_BYTES_MAX as u64, vec![b'7']), Err(NotALine(Slot(7))));
    }
}
