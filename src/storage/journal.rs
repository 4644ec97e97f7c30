//! One slot's entry in the journal of decided slots.
//!
//! The entry has the parts of the decided value that the slot's line in the chat log does not
//! show, so that both together are the value. Numbers are little endian:
//!
//! ```text
//!  0  end      8  four times the end of the slot's line in the chat log, plus the kind:
//!                 0 a Noop, 1 a command that took effect, 2 one that did not
//!  8  session  8  \
//! 16  seq      8   | of a command that took effect (its line shows the client);
//! 24  birth    8  /  0 for a Noop
//! 32  hash     8  xxh3 of the 32 bytes before, the line and the overflow (if any), seeded with
//!                 the hash of the slot before: a running hash of the whole log
//! ```
//!
//! The line of a command that did not take effect shows nothing of it. The overflow has the
//! whole command, encoded as in `values`. Its entry says where in the overflow the command
//! begins (at 8) and ends (at 16), and has 0 at 24.

use super::chat_log::{is_nop_line, read_line};
use crate::types::{LINE_BYTES_MAX, Session, Slot};
use crate::values::{Builder, COMMAND_BYTES, CommandRef, ValueRef, Values};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How long an entry is.
pub(super) const ENTRY_BYTES: usize = 40;

/// The most bytes that one slot takes in the overflow.
pub(super) const OVERFLOW_BYTES_MAX: u64 = (COMMAND_BYTES + LINE_BYTES_MAX) as u64;

/// Where the hash is in an entry.
const AT_HASH: usize = 32;

/// The end is multiplied by this, to leave room for the kind.
const KINDS: u64 = 4;

fn hash_of(entry: &[u8; ENTRY_BYTES], before: u64, line: &[u8], overflow: &[u8]) -> u64 {
    let hash = xxh3_64_with_seed(&entry[..AT_HASH], before);
    let hash = xxh3_64_with_seed(line, hash);
    if overflow.is_empty() { hash } else { xxh3_64_with_seed(overflow, hash) }
}

/// The end of the chat log after a slot, and the running hash there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) text_end: u64,
    pub(super) hash: u64,
}

/// What a slot did, and the parts of its value that its line does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryKind {
    Noop,
    Applied { session: u64, seq: u64, birth: Slot },
    Repeated { overflow: Range<u64> },
}

impl EntryKind {
    /// The kind for a command that took effect.
    pub(super) fn applied(command: CommandRef<'_>) -> EntryKind {
        let CommandRef { session, seq, birth, .. } = command;
        EntryKind::Applied { session: session.id, seq, birth }
    }
}

/// One slot's entry in the journal.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) kind: EntryKind,
    pub(super) after: Mark,
}

impl Entry {
    fn words(&self) -> [u64; 5] {
        let (kind, [a, b, c]) = match &self.kind {
            EntryKind::Noop => (0, [0; 3]),
            EntryKind::Applied { session, seq, birth } => (1, [*session, *seq, birth.0]),
            EntryKind::Repeated { overflow } => (2, [overflow.start, overflow.end, 0]),
        };
        [KINDS * self.after.text_end + kind, a, b, c, self.after.hash]
    }

    fn write(&self, bytes: &mut [u8; ENTRY_BYTES]) {
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.words()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Entry> {
        let mut words = [0; 5];
        for (word, place) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(*place.first_chunk()?);
        }
        let [end, a, b, c, hash] = words;
        let kind = match (end % KINDS, a, b, c) {
            (0, 0, 0, 0) => EntryKind::Noop,
            (1, session, seq, birth) => EntryKind::Applied { session, seq, birth: Slot(birth) },
            (2, from, to, 0) if from <= to => EntryKind::Repeated { overflow: from..to },
            _ => return None,
        };
        Some(Entry { kind, after: Mark { text_end: end / KINDS, hash } })
    }

    /// The range in the overflow of a command that its line does not show.
    pub(super) fn overflow(&self) -> Range<u64> {
        match &self.kind {
            EntryKind::Repeated { overflow } => overflow.clone(),
            EntryKind::Noop | EntryKind::Applied { .. } => 0..0,
        }
    }

    /// The running hash, if this entry follows one with the hash `before`.
    pub(super) fn hash(&self, before: u64, line: &[u8], overflow: &[u8]) -> u64 {
        let mut bytes = [0; ENTRY_BYTES];
        self.write(&mut bytes);
        hash_of(&bytes, before, line, overflow)
    }

    /// Appends the entry with its running hash, and returns the hash.
    pub(super) fn append_to(
        &self,
        journal: &mut Vec<u8>,
        before: u64,
        line: &[u8],
        overflow: &[u8],
    ) -> u64 {
        // The entry is written directly into the journal. A copy of bytes that were written
        // just now in smaller parts would wait until they have arrived in memory.
        journal.extend_from_slice(&[0; ENTRY_BYTES]);
        let bytes = journal.last_chunk_mut().expect("an entry was added");
        self.write(bytes);
        let hash = hash_of(bytes, before, line, overflow);
        bytes[AT_HASH..].copy_from_slice(&hash.to_le_bytes());
        hash
    }

    /// Makes the value out of the slot's line in the chat log and the overflow, and adds it to
    /// a page. Returns whether it could. An entry does not name its slot, so the line must.
    pub(super) fn read_value(
        &self,
        slot: Slot,
        line: &[u8],
        overflow: &[u8],
        into: &mut Builder,
    ) -> bool {
        match self.kind {
            EntryKind::Noop if is_nop_line(line, slot) => into.push(ValueRef::Noop),
            EntryKind::Repeated { .. } if is_nop_line(line, slot) => {
                let Ok(hidden) = Values::read(overflow) else { return false };
                let mut hidden = hidden.iter();
                let (Some(value), None) = (hidden.next(), hidden.next()) else { return false };
                if value == ValueRef::Noop {
                    return false;
                }
                into.push(value);
            }
            EntryKind::Applied { session, seq, birth } => {
                let Some((client, line)) = read_line(line, slot) else { return false };
                if line.len() > LINE_BYTES_MAX {
                    return false;
                }
                let session = Session { client, id: session };
                into.push(ValueRef::Command(CommandRef { session, seq, birth, line: &line }));
            }
            EntryKind::Noop | EntryKind::Repeated { .. } => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    fn entry(kind: EntryKind) -> Entry {
        Entry { kind, after: Mark { text_end: 30, hash: 0 } }
    }

    fn took_effect(session: u64, seq: u64, birth: u64) -> Entry {
        entry(EntryKind::Applied { session, seq, birth: Slot(birth) })
    }

    #[test]
    fn the_running_hash_covers_every_word_the_line_the_overflow_and_the_hash_before() {
        let one = took_effect(5, 2, 4);
        let first = one.hash(1, b"line", b"");
        let others = [
            Entry { after: Mark { text_end: 31, hash: 0 }, ..one.clone() },
            entry(EntryKind::Noop),
            took_effect(6, 2, 4),
            took_effect(5, 3, 4),
            took_effect(5, 2, 5),
        ];
        for other in others {
            assert_ne!(other.hash(1, b"line", b""), first, "{other:?}");
        }
        assert_ne!(one.hash(2, b"line", b""), first);
        assert_ne!(one.hash(1, b"lane", b""), first);
        assert_ne!(one.hash(1, b"line", b"overflow"), first);
        let repeated = entry(EntryKind::Repeated { overflow: 2..5 });
        assert_ne!(repeated.hash(1, b"", b""), took_effect(2, 5, 0).hash(1, b"", b""));
        // The field of the hash itself does not count.
        let hashed = Entry { after: Mark { text_end: 30, hash: 9 }, ..one };
        assert_eq!(hashed.hash(1, b"line", b""), first);
    }

    #[test]
    fn an_entry_is_read_back_and_nothing_else_is_one() {
        let kinds = [
            EntryKind::Noop,
            EntryKind::Applied { session: u64::MAX, seq: u64::MAX - 1, birth: Slot(u64::MAX - 2) },
            EntryKind::Repeated { overflow: 7..107 },
        ];
        for kind in kinds {
            let mut journal = vec![9];
            let hash = entry(kind.clone()).append_to(&mut journal, 1, b"line", b"");
            assert_eq!(hash, entry(kind.clone()).hash(1, b"line", b""));
            let read = Entry::read(&journal[1..]).expect("an entry");
            assert_eq!((&read.kind, read.after), (&kind, Mark { text_end: 30, hash }));
            assert_eq!(journal.len(), 1 + ENTRY_BYTES);
            let overflow =
                if let EntryKind::Repeated { overflow } = kind { overflow } else { 0..0 };
            assert_eq!(read.overflow(), overflow);
        }
        let read = |words: [u64; 5]| {
            Entry::read(words.map(u64::to_le_bytes).as_flattened()).map(|entry| entry.kind)
        };
        assert_eq!(read([4, 0, 0, 0, 9]), Some(EntryKind::Noop));
        assert_eq!(read([6, 3, 3, 0, 9]), Some(EntryKind::Repeated { overflow: 3..3 }));
        for words in [[4, 1, 0, 0], [4, 0, 1, 0], [4, 0, 0, 1], [6, 4, 3, 0], [6, 3, 4, 1], [7; 4]]
        {
            let [end, a, b, c] = words;
            assert_eq!(read([end, a, b, c, 9]), None, "{words:?}");
        }
    }

    #[test]
    fn a_value_is_read_only_from_the_line_of_its_slot() {
        let read = |entry: &Entry, line: &[u8], overflow: &[u8]| {
            let mut values = Builder::default();
            entry.read_value(Slot(3), line, overflow, &mut values).then(|| values.take().to_vec())
        };
        let (noop, repeated) =
            (entry(EntryKind::Noop), entry(EntryKind::Repeated { overflow: 0..0 }));
        let command = Request::new(7, 5, 2, "x").commands;
        let overflow = command.bytes();
        let applied = entry(EntryKind::applied(command.get(0).command().expect("a command")));
        assert_eq!(read(&noop, b"3 - - NOP\n", b""), Some(vec![ValueRef::Noop.to_value()]));
        assert_eq!(read(&repeated, b"3 - - NOP\n", overflow), Some(command.to_vec()));
        assert_eq!(read(&applied, b"3 7 9 x\n", b""), Some(command.to_vec()));
        for entry in [&noop, &repeated] {
            assert_eq!(read(entry, b"4 - - NOP\n", overflow), None);
            assert_eq!(read(entry, b"3 7 9 x\n", overflow), None);
        }
        assert_eq!(read(&applied, b"4 7 9 x\n", b""), None);
        assert_eq!(read(&applied, b"3 - - NOP\n", b""), None);
        let two = [overflow, overflow].concat();
        for overflow in [b"".as_slice(), b"\0", &overflow[1..], &two] {
            assert_eq!(read(&repeated, b"3 - - NOP\n", overflow), None, "{overflow:?}");
        }
        let long = [b"3 7 9 ".as_slice(), &vec![b'x'; LINE_BYTES_MAX + 1], b"\n"].concat();
        assert_eq!(read(&applied, &long, b""), None);
        assert!(read(&applied, &[&long[..long.len() - 2], b"\n"].concat(), b"").is_some());
    }
}
