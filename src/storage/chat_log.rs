//! The chat log that people read, as text.
//!
//! It has one line for each slot, from 0 without gaps:
//!
//! ```text
//! <slot> <client id> <client seq> <message>
//! <slot> - - NOP
//! ```
//!
//! It has nothing that differs between replicas, so the files of replicas that have
//! applied the same slots are the same to the byte. Control characters and backslashes
//! in a message are escaped. So one slot is one line, and the message can be read back
//! from it.

use crate::types::{ClientId, Slot};
use crate::values::ValueRef;
use std::borrow::Cow;
use std::io::Write;

/// Appends one slot's line.
pub fn write_line(text: &mut Vec<u8>, slot: Slot, value: ValueRef<'_>, client_seq: Option<u64>) {
    write_number(text, slot.0);
    match (value, client_seq) {
        (ValueRef::Command(command), Some(client_seq)) => {
            write_number(text, command.session.client.0);
            write_number(text, client_seq);
            write_escaped(text, command.line);
        }
        _ => text.extend_from_slice(b"- - NOP"),
    }
    text.push(b'\n');
}

/// Appends a number, in decimal, and a space.
fn write_number(text: &mut Vec<u8>, number: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    text.push(b' ');
}

/// Whether a byte may belong to a character that is escaped: an ASCII control character,
/// the backslash, or the first byte of U+0080 to U+009F.
fn may_need_escape(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, 0x7F | 0xC2 | b'\\')
}

/// Appends a line, which is UTF-8, with its control characters escaped.
fn write_escaped(text: &mut Vec<u8>, line: &[u8]) {
    if !line.iter().fold(false, |found, byte| found | may_need_escape(*byte)) {
        return text.extend_from_slice(line);
    }
    let line = std::str::from_utf8(line).expect("a line was checked when it came");
    for part in line.split_inclusive(|c: char| c == '\\' || c.is_control()) {
        let mut chars = part.chars();
        match chars.next_back() {
            Some(last) if last == '\\' || last.is_control() => {
                text.extend_from_slice(chars.as_str().as_bytes());
                let _ = match last {
                    '\\' => text.write_all(b"\\\\"),
                    '\n' => text.write_all(b"\\n"),
                    '\r' => text.write_all(b"\\r"),
                    other => write!(text, "\\u{{{:x}}}", u32::from(other)),
                };
            }
            _ => text.extend_from_slice(part.as_bytes()),
        }
    }
}

/// The client and the message of a line that [`write_line`] wrote, line feed included. None
/// if it is a line of another slot, a NOP, or not such a line.
pub fn read_line(line: &[u8], slot: Slot) -> Option<(ClientId, Cow<'_, [u8]>)> {
    match read(line, slot)? {
        Shown::Nop => None,
        Shown::Line { client, message: Cow::Borrowed(message), .. } => {
            Some((client, Cow::Borrowed(message.as_bytes())))
        }
        Shown::Line { client, message: Cow::Owned(message), .. } => {
            Some((client, Cow::Owned(message.into_bytes())))
        }
    }
}

/// What the line of a slot shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown<'a> {
    /// The slot changed nothing.
    Nop,
    /// A client's line.
    Line {
        /// Whose.
        client: ClientId,
        /// Its number among the lines of that client.
        seq: u64,
        /// The message, without escapes.
        message: Cow<'a, str>,
    },
}

/// What a line shows that [`write_line`] wrote, line feed included. None if it is a line of another
/// slot, or not such a line.
pub fn read(line: &[u8], slot: Slot) -> Option<Shown<'_>> {
    if is_nop_line(line, slot) {
        return Some(Shown::Nop);
    }
    let line = line.strip_suffix(b"\n")?;
    let (_, line) = split_number(line).filter(|(number, _)| *number == slot.0)?;
    let (client, line) = split_number(line)?;
    let (seq, message) = split_number(line)?;
    let text = std::str::from_utf8(message).ok()?;
    let message = match message.contains(&b'\\') {
        true => Cow::Owned(unescaped(text)?),
        false => Cow::Borrowed(text),
    };
    Some(Shown::Line { client: ClientId(client), seq, message })
}

/// Whether this is the line, line feed included, of a slot that changed nothing.
pub(super) fn is_nop_line(line: &[u8], slot: Slot) -> bool {
    split_number(line) == Some((slot.0, b"- - NOP\n"))
}

/// The number at the beginning of a line, and the text after the space that follows.
fn split_number(line: &[u8]) -> Option<(u64, &[u8])> {
    let digits = line.iter().position(|byte| *byte == b' ')?;
    let (number, rest) = line.split_at(digits);
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, &rest[1..]))
}

fn unescaped(message: &str) -> Option<String> {
    let mut text = String::with_capacity(message.len());
    let mut parts = message.split('\\');
    text.push_str(parts.next()?);
    while let Some(part) = parts.next() {
        let rest = match part.chars().next() {
            // Two backslashes in a row are an escaped one. Plain text follows.
            None => {
                text.push('\\');
                parts.next()?
            }
            Some('n') => {
                text.push('\n');
                &part[1..]
            }
            Some('r') => {
                text.push('\r');
                &part[1..]
            }
            Some('u') => {
                let (code, rest) = part.strip_prefix("u{")?.split_once('}')?;
                text.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                rest
            }
            Some(_) => return None,
        };
        text.push_str(rest);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;
    use crate::values::Values;

    fn value(line: &str) -> Values {
        Request::new(7, 1, 0, line).commands
    }

    #[test]
    fn one_slot_is_one_line_whatever_the_message_holds() {
        let mut text = Vec::new();
        write_line(&mut text, Slot(3), value("a\\b\nc\rd\te\u{85}é ").get(0), Some(2));
        write_line(&mut text, Slot(4), value("").get(0), Some(3));
        write_line(&mut text, Slot(5), value("applied below").get(0), None);
        let expected = "3 7 2 a\\\\b\\nc\\rd\\u{9}e\\u{85}é \n4 7 3 \n5 - - NOP\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn numbers_of_every_length_stand_in_full() {
        let ends = (0..20).map(|digits| 10u64.pow(digits));
        let numbers = ends.flat_map(|end| [end - 1, end, end + 1, end / 2, end + end / 2]);
        for number in numbers.chain([u64::MAX]) {
            let mut text = Vec::new();
            let line = Request::new(number, 1, 0, "x").commands;
            write_line(&mut text, Slot(number), line.get(0), Some(number));
            assert_eq!(String::from_utf8(text).unwrap(), format!("{number} {number} {number} x\n"));
        }
    }

    #[test]
    fn every_message_is_read_back_from_its_line() {
        let messages =
            ["", " ", "a b", "\\", "\\\\n", "\\n\n\\", "\r\u{85}\u{0}x\\u{1}", "é\\é", "\n\n"];
        for message in messages {
            let mut text = Vec::new();
            write_line(&mut text, Slot(3), value(message).get(0), Some(2));
            let expected = (ClientId(7), Cow::Borrowed(message.as_bytes()));
            assert_eq!(read_line(&text, Slot(3)), Some(expected));
            assert_eq!(read_line(&text, Slot(4)), None);
            assert_eq!(read_line(&text[..text.len() - 1], Slot(3)), None);
        }
        for line in [
            "",
            "3 - - NOP",
            "3 7 2",
            "3 - 2 x",
            "3 7 - x",
            "3 7 2 \\x",
            "3 7 2 \\u{110000}",
            "3 7 2 \\",
        ] {
            let line = format!("{line}\n");
            assert_eq!(read_line(line.as_bytes(), Slot(3)), None, "{line}");
        }
        assert_eq!(read_line(b"3 7 2 \xFF\n", Slot(3)), None);
    }

    #[test]
    fn a_nop_line_is_that_of_its_slot_to_the_byte() {
        assert!(is_nop_line(b"3 - - NOP\n", Slot(3)));
        for line in ["4 - - NOP\n", "3 - - NOP", "3 7 0 - - NOP\n", "3 7 0 x\n", "", "3"] {
            assert!(!is_nop_line(line.as_bytes(), Slot(3)), "{line:?}");
        }
    }
}
