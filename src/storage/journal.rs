//! One slot's entry in the journal of decided slots.
//!
//! All in little endian:
//!
//! ```text
//!  0  text_end   8  where the slot's line ends in the chat log
//!  8  aside_end  8  where its text ends in the asides
//! 16  kind       8  0 Noop, 1 a command that took effect, 2 one that did not
//! 24  client     8  \
//! 32  session    8   | of the command; 0 for a Noop
//! 40  seq        8   |
//! 48  birth      8  /
//! 56  hash       8  xxh3 of the 56 bytes before, the line and the aside (if any), seeded with
//!                   the hash of the slot before: a running hash of the whole log
//! ```

use super::chat_log::{is_nop_line, read_line};
use crate::types::{ClientId, LINE_BYTES_MAX, Session, Slot};
use crate::values::{Builder, CommandRef, ValueRef};
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How long an entry is.
pub(super) const ENTRY_BYTES: usize = 64;

/// Where its hash stands.
const AT_HASH: usize = 56;

fn hash_of(entry: &[u8; ENTRY_BYTES], before: u64, line: &[u8], aside: &[u8]) -> u64 {
    let hash = xxh3_64_with_seed(&entry[..AT_HASH], before);
    let hash = xxh3_64_with_seed(line, hash);
    if aside.is_empty() { hash } else { xxh3_64_with_seed(aside, hash) }
}

/// Where the log stands after a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) text_end: u64,
    pub(super) aside_end: u64,
    pub(super) hash: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Noop,
    Applied,
    Repeated,
}

/// One slot's entry in the journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) session: Session,
    pub(super) seq: u64,
    pub(super) birth: Slot,
    pub(super) after: Mark,
}

impl Entry {
    /// The entry of a value, given where its texts end; `hash` is not known yet.
    pub(super) fn of(value: ValueRef<'_>, applied: bool, text_end: u64, aside_end: u64) -> Entry {
        let after = Mark { text_end, aside_end, hash: 0 };
        match value {
            ValueRef::Noop => {
                let (session, birth) = (Session::default(), Slot::ZERO);
                Entry { kind: Kind::Noop, session, seq: 0, birth, after }
            }
            ValueRef::Command(CommandRef { session, seq, birth, .. }) => {
                let kind = if applied { Kind::Applied } else { Kind::Repeated };
                Entry { kind, session, seq, birth, after }
            }
        }
    }

    pub(super) fn words(&self) -> [u64; 8] {
        let kind = match self.kind {
            Kind::Noop => 0,
            Kind::Applied => 1,
            Kind::Repeated => 2,
        };
        let Session { client, id } = self.session;
        let Mark { text_end, aside_end, hash } = self.after;
        [text_end, aside_end, kind, client.0, id, self.seq, self.birth.0, hash]
    }

    pub(super) fn bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        self.write(&mut bytes);
        bytes
    }

    fn write(&self, bytes: &mut [u8; ENTRY_BYTES]) {
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.words()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Entry> {
        let mut words = [0; 8];
        for (word, place) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(*place.first_chunk()?);
        }
        let [text_end, aside_end, kind, client, id, seq, birth, hash] = words;
        let kind = match kind {
            0 => Kind::Noop,
            1 => Kind::Applied,
            2 => Kind::Repeated,
            _ => return None,
        };
        let session = Session { client: ClientId(client), id };
        let after = Mark { text_end, aside_end, hash };
        Some(Entry { kind, session, seq, birth: Slot(birth), after })
    }

    /// The running hash, if this entry follows one with the hash `before`.
    pub(super) fn hash(&self, before: u64, line: &[u8], aside: &[u8]) -> u64 {
        hash_of(&self.bytes(), before, line, aside)
    }

    /// Appends its bytes, with that hash in its place; returns the hash.
    pub(super) fn append_to(
        &self,
        journal: &mut Vec<u8>,
        before: u64,
        line: &[u8],
        aside: &[u8],
    ) -> u64 {
        // Written once, in its place: to copy what was just written, in larger parts than it
        // was written in, would wait for it to arrive in memory.
        journal.extend_from_slice(&[0; ENTRY_BYTES]);
        let bytes = journal.last_chunk_mut().expect("so many were added");
        self.write(bytes);
        let hash = hash_of(bytes, before, line, aside);
        bytes[AT_HASH..].copy_from_slice(&hash.to_le_bytes());
        hash
    }

    /// Adds the value to a page, out of the slot's line in the chat log and its aside;
    /// says whether it could be made out. The line must be this slot's: that alone tells
    /// an entry that was written in another's place.
    pub(super) fn read_value(
        &self,
        slot: Slot,
        line: &[u8],
        aside: &[u8],
        into: &mut Builder,
    ) -> bool {
        let line = match self.kind {
            Kind::Noop | Kind::Repeated if !is_nop_line(line, slot) => return false,
            Kind::Noop => {
                into.push(ValueRef::Noop);
                return true;
            }
            Kind::Repeated => str::from_utf8(aside).ok().map(|_| Cow::Borrowed(aside)),
            Kind::Applied => read_line(line, slot, self.session.client),
        };
        let Some(line) = line.filter(|line| line.len() <= LINE_BYTES_MAX) else { return false };
        let Entry { session, seq, birth, .. } = *self;
        into.push(ValueRef::Command(CommandRef { session, seq, birth, line: &line }));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    fn entry() -> Entry {
        let value = Request::new(7, 5, 2, "x").commands;
        Entry { birth: Slot(4), ..Entry::of(value.get(0), true, 30, 10) }
    }

    #[test]
    fn the_running_hash_covers_every_word_the_line_the_aside_and_what_was_before() {
        let first = entry().hash(1, b"line", b"");
        let session = |client, id| Session { client: ClientId(client), id };
        let after = |text_end, aside_end| Mark { text_end, aside_end, hash: 0 };
        let others = [
            Entry { after: after(31, 10), ..entry() },
            Entry { after: after(30, 11), ..entry() },
            Entry { kind: Kind::Repeated, ..entry() },
            Entry { session: session(8, 5), ..entry() },
            Entry { session: session(7, 6), ..entry() },
            Entry { seq: 3, ..entry() },
            Entry { birth: Slot(5), ..entry() },
        ];
        for other in others {
            assert_ne!(other.hash(1, b"line", b""), first, "{other:?}");
        }
        assert_ne!(entry().hash(2, b"line", b""), first);
        assert_ne!(entry().hash(1, b"lane", b""), first);
        assert_ne!(entry().hash(1, b"line", b"aside"), first);
        // Where the hash itself will stand does not count.
        let hashed = Entry { after: Mark { hash: 9, ..entry().after }, ..entry() };
        assert_eq!(hashed.hash(1, b"line", b""), first);
    }

    #[test]
    fn a_value_is_read_only_from_the_line_of_its_slot() {
        let read = |entry: Entry, line: &[u8], aside: &[u8]| {
            let mut values = Builder::default();
            entry.read_value(Slot(3), line, aside, &mut values).then(|| values.take().to_vec())
        };
        let noop = Entry::of(ValueRef::Noop, false, 0, 0);
        let repeated = Entry { kind: Kind::Repeated, ..entry() };
        let session = Session { client: ClientId(7), id: 5 };
        let line = CommandRef { session, seq: 2, birth: Slot(4), line: b"x" };
        let command = vec![ValueRef::Command(line).to_value()];
        assert_eq!(read(noop, b"3 - - NOP\n", b""), Some(vec![ValueRef::Noop.to_value()]));
        assert_eq!(read(repeated, b"3 - - NOP\n", b"x"), Some(command.clone()));
        assert_eq!(read(entry(), b"3 7 9 x\n", b""), Some(command));
        for entry in [noop, repeated] {
            assert_eq!(read(entry, b"4 - - NOP\n", b"x"), None);
            assert_eq!(read(entry, b"3 7 9 x\n", b"x"), None);
        }
        assert_eq!(read(entry(), b"4 7 9 x\n", b""), None);
        assert_eq!(read(repeated, b"3 - - NOP\n", b"\xFF"), None);
        let long = [b"3 7 9 ".as_slice(), &vec![b'x'; LINE_BYTES_MAX + 1], b"\n"].concat();
        assert_eq!(read(entry(), &long, b""), None);
    }
}
