//! The chat log that people read, as text.
//!
//! One line a slot, from 0 without gaps:
//!
//! ```text
//! <slot> <client id> <client seq> <message>
//! <slot> - - NOP
//! ```
//!
//! Nothing that differs between replicas stands in it, so the files of replicas that
//! have applied the same slots are the same to the byte. Control characters of a
//! message are escaped, and the backslash with them, so that one slot is one line, and
//! the message can be read back from it.

use crate::types::{ClientId, Line, Slot, Value};
use std::io::Write;

/// Appends one slot's line.
pub fn write_line(text: &mut Vec<u8>, slot: Slot, value: &Value, client_seq: Option<u64>) {
    match (value, client_seq) {
        (Value::Command(command), Some(client_seq)) => {
            let client = command.session.client;
            let _ = write!(text, "{slot} {client} {client_seq} ");
            write_escaped(text, &command.line);
        }
        _ => {
            let _ = write!(text, "{slot} - - NOP");
        }
    }
    text.push(b'\n');
}

fn write_escaped(text: &mut Vec<u8>, line: &str) {
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

/// The message of a line that [`write_line`] wrote, the line feed left out; nothing
/// if it is of another slot or client, a NOP, or no such line at all.
pub fn read_line(line: &str, slot: Slot, client: ClientId) -> Option<Line> {
    let mut fields = line.splitn(4, ' ');
    let same_slot = fields.next()?.parse() == Ok(slot.0);
    let same_client = fields.next()?.parse() == Ok(client.0);
    fields.next()?.parse::<u64>().ok()?;
    let message = fields.next()?;
    if !same_slot || !same_client {
        return None;
    }
    if !message.contains('\\') {
        return Some(message.into());
    }
    let mut text = String::with_capacity(message.len());
    let mut parts = message.split('\\');
    text.push_str(parts.next()?);
    while let Some(part) = parts.next() {
        let rest = match part.chars().next() {
            // Nothing between two backslashes: they are one, and plain text follows.
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
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    fn value(line: &str) -> Value {
        Value::Command(Request::new(7, 1, 0, line).command)
    }

    #[test]
    fn one_slot_is_one_line_whatever_the_message_holds() {
        let mut text = Vec::new();
        write_line(&mut text, Slot(3), &value("a\\b\nc\rd\te\u{85}é "), Some(2));
        write_line(&mut text, Slot(4), &value(""), Some(3));
        write_line(&mut text, Slot(5), &value("applied below"), None);
        let expected = "3 7 2 a\\\\b\\nc\\rd\\u{9}e\\u{85}é \n4 7 3 \n5 - - NOP\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn every_message_is_read_back_from_its_line() {
        let messages =
            ["", " ", "a b", "\\", "\\\\n", "\\n\n\\", "\r\u{85}\u{0}x\\u{1}", "é\\é", "\n\n"];
        for message in messages {
            let mut text = Vec::new();
            write_line(&mut text, Slot(3), &value(message), Some(2));
            let line = String::from_utf8(text).unwrap();
            let line = line.strip_suffix('\n').unwrap();
            assert_eq!(read_line(line, Slot(3), ClientId(7)).as_deref(), Some(message));
            assert_eq!(read_line(line, Slot(4), ClientId(7)), None);
            assert_eq!(read_line(line, Slot(3), ClientId(8)), None);
        }
        for line in ["", "3 - - NOP", "3 7 2", "3 7 2 \\x", "3 7 2 \\u{110000}", "3 7 2 \\"] {
            assert_eq!(read_line(line, Slot(3), ClientId(7)), None, "{line}");
        }
    }
}
