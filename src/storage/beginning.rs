//! The chat log with which a new cluster begins, read from a file.
//!
//! A cluster of which no quorum is left can decide nothing more. What is left of it is a chat log,
//! and a new cluster may begin with its lines: they fill the first slots, at every replica the
//! same. This module reads such a file and makes values of its lines. It takes nothing that is not
//! a whole chat log, line by line, so a file that was torn, cut or changed is refused by the number
//! of its first bad line.
//!
//! **Sessions.** A chat log shows a client's lines and their numbers, but not by which session
//! each line came. So the values name sessions of their own: one for each client, and another one
//! where more than [`SESSION_WINDOW_SLOTS`] slots lie between two of its lines, since the first
//! has expired there. What decides is the file alone, so all replicas make the same values of it.
//! Two things follow: a client's numbers go on where the file ends, and no command of a former
//! session is known any more. A client that was running says that another cluster answers, and
//! ends. A NOP line becomes a `Noop`, whatever it was before.

use super::chat_log::{read_line, write_line};
use crate::chat::SESSION_WINDOW_SLOTS;
use crate::types::{ClientId, LINE_BYTES_MAX, Origin, Session, Slot};
use crate::values::{Builder, CommandRef, ValueRef, Values};
use std::fmt;
use std::io::{self, BufRead, Read};
use table::Table;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// How many values, and about how many of their bytes, are handed on at a time.
const BATCH_VALUES: usize = 4_096;
const BATCH_BYTES: usize = 1 << 20;

/// No line of a chat log is longer: three numbers, and a message of control characters only, of
/// which each byte takes five at most (`\u{1f}` six, and `\u{9f}` six for two).
const TEXT_BYTES_MAX: usize = 3 * 21 + 6 * LINE_BYTES_MAX + 1;

/// How much of a file is read at a time to compare it.
const PIECE_BYTES: usize = 1 << 16;

/// Why no cluster can begin with a file.
#[derive(Debug)]
pub enum Unfit {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It holds nothing.
    Empty,
    /// This line, counted from 1, is not the line of a chat log that must stand there.
    Line(u64, BadLine),
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadLine {
    /// The file ends within it.
    Torn,
    /// It is another slot's.
    Slot {
        /// The slot that it names.
        found: u64,
        /// The slot that must stand here.
        expected: Slot,
    },
    /// It is not its client's next line.
    Number {
        /// The client.
        client: ClientId,
        /// The number that it has.
        found: u64,
        /// The number that it must have.
        expected: u64,
    },
    /// Its message is longer than a client may send.
    TooLong,
    /// No replica writes such a line.
    NoLine,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadLine::Torn => write!(f, "the file ends within this line"),
            BadLine::Slot { found, expected } if *found < expected.0 => {
                write!(f, "slot {found} stands here again, where slot {expected} must stand")
            }
            BadLine::Slot { found, expected } => {
                write!(f, "slot {found} stands here, and slot {expected} is missing")
            }
            BadLine::Number { client, found, expected } => write!(
                f,
                "line {found} of client {client} stands here, where its line {expected} must stand"
            ),
            BadLine::TooLong => write!(f, "the message is longer than {LINE_BYTES_MAX} bytes"),
            BadLine::NoLine => write!(f, "not a line of a chat log"),
        }
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Unfit::Unreadable(error)
    }
}

/// What the lines so far say of one client.
#[derive(Debug, Clone, Copy)]
struct Account {
    /// The number of its next line.
    next: u64,
    /// The slot of its last line.
    last: Slot,
    /// The session of its last line: the number of that session's first line, and its slot.
    first: u64,
    birth: Slot,
}

impl Account {
    /// Counts the line in `slot`. Returns the session's id, and the line's number in the session.
    fn advance(&mut self, client: ClientId, slot: Slot) -> (u64, u64) {
        if slot.since(self.last) > SESSION_WINDOW_SLOTS {
            (self.first, self.birth) = (self.next, slot);
        }
        let id = xxh3_64_with_seed(&self.first.to_le_bytes(), client.0);
        let seq = self.next - self.first;
        (self.next, self.last) = (self.next + 1, slot);
        (id, seq)
    }
}

/// Reads a chat log to its end. `each` gets the values of its slots, in order.
///
/// # Errors
///
/// When the file is not a whole chat log, or what `each` says.
pub fn read(
    mut from: impl BufRead,
    mut each: impl FnMut(&Values) -> io::Result<()>,
) -> Result<Origin, Unfit> {
    let mut accounts: Table<ClientId, Account> = Table::default();
    let (mut values, mut hash) = (Builder::default(), Xxh3::new());
    let (mut slot, mut bytes) = (Slot::ZERO, 0);
    let (mut text, mut again) = (Vec::new(), Vec::new());
    loop {
        text.clear();
        let length = from.by_ref().take(TEXT_BYTES_MAX as u64 + 1).read_until(b'\n', &mut text)?;
        if length == 0 {
            break;
        }
        let bad = |what| Unfit::Line(slot.0 + 1, what);
        let line = checked(&text, slot).map_err(bad)?;
        again.clear();
        match line {
            None => {
                write_line(&mut again, slot, ValueRef::Noop, None);
                values.push(ValueRef::Noop);
            }
            Some((client, number, message)) => {
                let unknown = Account { next: 0, last: slot, first: 0, birth: slot };
                let mut account = accounts.get(&client).copied().unwrap_or(unknown);
                if account.next != number {
                    let expected = account.next;
                    return Err(bad(BadLine::Number { client, found: number, expected }));
                }
                let (id, seq) = account.advance(client, slot);
                let session = Session { client, id };
                let birth = account.birth;
                let value = ValueRef::Command(CommandRef { session, seq, birth, line: &message });
                write_line(&mut again, slot, value, Some(number));
                values.push(value);
                accounts.insert(client, account);
            }
        }
        // A number with a leading zero, or another spelling of a message.
        if again != text {
            return Err(bad(BadLine::NoLine));
        }
        hash.update(&text);
        bytes += length as u64;
        slot = slot.next();
        if values.len() >= BATCH_VALUES || values.bytes() >= BATCH_BYTES {
            each(&values.take())?;
        }
    }
    if slot == Slot::ZERO {
        return Err(Unfit::Empty);
    }
    if !values.is_empty() {
        each(&values.take())?;
    }
    Ok(Origin { end: slot, bytes, hash: hash.digest() })
}

type Message<'a> = (ClientId, u64, std::borrow::Cow<'a, [u8]>);

/// The client, the number and the message of a line that must be that of `slot`; none if it is a
/// NOP.
fn checked(text: &[u8], slot: Slot) -> Result<Option<Message<'_>>, BadLine> {
    let Some(line) = text.strip_suffix(b"\n") else {
        let is_long = text.len() > TEXT_BYTES_MAX;
        return Err(if is_long { BadLine::TooLong } else { BadLine::Torn });
    };
    let mut fields = line.splitn(4, |byte| *byte == b' ').map(std::str::from_utf8);
    let mut field = || fields.next().and_then(Result::ok).ok_or(BadLine::NoLine);
    let found = field()?.parse().map_err(|_| BadLine::NoLine)?;
    if found != slot.0 {
        return Err(BadLine::Slot { found, expected: slot });
    }
    let (_, number) = (field()?, field()?);
    if line.ends_with(b" - - NOP") && number == "-" {
        return Ok(None);
    }
    let number = number.parse().map_err(|_| BadLine::NoLine)?;
    let (client, message) = read_line(text, slot).ok_or(BadLine::NoLine)?;
    if message.len() > LINE_BYTES_MAX {
        return Err(BadLine::TooLong);
    }
    Ok(Some((client, number, message)))
}

/// Whether a file begins with the chat log that `origin` names.
///
/// # Errors
///
/// What the file system says.
pub fn is_of(mut from: impl Read, origin: Origin) -> io::Result<bool> {
    let mut hash = Xxh3::new();
    let mut left = origin.bytes;
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let most = left.min(PIECE_BYTES as u64) as usize;
        let length = from.read(&mut piece[..most])?;
        if length == 0 {
            return Ok(false);
        }
        hash.update(&piece[..length]);
        left -= length as u64;
    }
    Ok(hash.digest() == origin.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Chat;

    fn begin(text: &str) -> Result<(Origin, Values), Unfit> {
        let mut found = Builder::default();
        let origin = read(text.as_bytes(), |values| {
            found.extend(values);
            Ok(())
        })?;
        Ok((origin, found.take()))
    }

    const LOG: &str = "0 7 0 hello\n1 - - NOP\n2 8 0 a\\\\b \\u{9}\n3 7 1 \n4 7 2 - - NOP\n";

    #[test]
    fn the_values_of_a_chat_log_lead_to_the_same_chat_log() {
        let (origin, values) = begin(LOG).unwrap();
        assert_eq!((origin.end, origin.bytes), (Slot(5), LOG.len() as u64));
        let (mut chat, mut text) = (Chat::default(), Vec::new());
        for (slot, value) in (0..).map(Slot).zip(values.iter()) {
            let number = chat.apply(slot, value);
            write_line(&mut text, slot, value, number);
        }
        assert_eq!(String::from_utf8(text).unwrap(), LOG);
        assert!(begin(LOG).unwrap() == (origin, values), "the file alone decides");
    }

    #[test]
    fn a_file_that_is_not_a_whole_chat_log_is_refused_by_its_first_bad_line() {
        let long = format!("0 7 0 {}\n", "x".repeat(LINE_BYTES_MAX + 1));
        let longer = "0 7 0 ".to_owned() + &"\u{1}".repeat(8 * LINE_BYTES_MAX);
        let slot = |found, expected| BadLine::Slot { found, expected: Slot(expected) };
        let number = |found, expected| BadLine::Number { client: ClientId(7), found, expected };
        for (text, line, what) in [
            ("0 7 0 a\n1 7 1 b", 2, BadLine::Torn),
            ("0", 1, BadLine::Torn),
            ("0 7 0 a\n2 7 1 b\n", 2, slot(2, 1)),
            ("1 7 0 a\n", 1, slot(1, 0)),
            ("0 7 0 a\n1 7 1 b\n1 7 1 b\n", 3, slot(1, 2)),
            ("0 7 0 a\n1 7 2 b\n", 2, number(2, 1)),
            ("0 7 0 a\n1 7 0 a\n", 2, number(0, 1)),
            ("0 7 1 a\n", 1, number(1, 0)),
            (&long, 1, BadLine::TooLong),
            (&longer, 1, BadLine::TooLong),
            ("\n", 1, BadLine::NoLine),
            ("0 7 0 a\n\n", 2, BadLine::NoLine),
            ("0 7 0\n", 1, BadLine::NoLine),
            ("0 - - NO\n", 1, BadLine::NoLine),
            ("0 - - NOP \n", 1, BadLine::NoLine),
            ("0 - 0 x\n", 1, BadLine::NoLine),
            ("0 07 0 x\n", 1, BadLine::NoLine),
            ("00 7 0 x\n", 1, BadLine::NoLine),
            ("0 7 +0 x\n", 1, BadLine::NoLine),
            ("0 7 0 a\r\n", 1, BadLine::NoLine),
            ("0 7 0 \\u{41}\n", 1, BadLine::NoLine),
            ("0 7 0 \\x\n", 1, BadLine::NoLine),
            ("hello\n", 1, BadLine::NoLine),
        ] {
            match begin(text) {
                Err(Unfit::Line(found, why)) => {
                    assert_eq!((found, &why), (line, &what), "{:.40}", text);
                    assert!(!why.to_string().is_empty());
                }
                other => panic!("{:.40}: {other:?}", text),
            }
        }
        assert!(matches!(begin(""), Err(Unfit::Empty)));
        let bytes = b"0 7 0 \xFF\n".as_slice();
        assert!(matches!(read(bytes, |_| Ok(())), Err(Unfit::Line(1, BadLine::NoLine))));
    }

    #[test]
    fn a_client_that_was_silent_for_a_session_window_gets_another_session() {
        let (client, mut chat) = (ClientId(7), Chat::default());
        let mut account = Account { next: 0, last: Slot(5), first: 0, birth: Slot(5) };
        let slots = [5, 6, 6 + SESSION_WINDOW_SLOTS, 7 + 2 * SESSION_WINDOW_SLOTS].map(Slot);
        let expected = [(0, 0), (1, 0), (2, 0), (0, 1)];
        for ((slot, (seq, is_other)), number) in slots.into_iter().zip(expected).zip(0..) {
            let first = xxh3_64_with_seed(&0u64.to_le_bytes(), client.0);
            let (id, found) = account.advance(client, slot);
            assert_eq!((found, u64::from(id != first)), (seq, is_other));
            let session = Session { client, id };
            let command = CommandRef { session, seq, birth: account.birth, line: b"x" };
            assert_eq!(chat.apply(slot, ValueRef::Command(command)), Some(number));
        }
    }

    #[test]
    fn a_file_that_has_grown_since_is_known_again_and_another_is_not() {
        let (origin, _) = begin(LOG).unwrap();
        let is_it = |text: &str| is_of(text.as_bytes(), origin).unwrap();
        assert!(is_it(LOG) && is_it(&format!("{LOG}5 7 3 torn")));
        assert!(!is_it(&LOG[..LOG.len() - 1]) && !is_it(&LOG.replace("hello", "hullo")));
        assert!(!is_it(""));
    }
}
