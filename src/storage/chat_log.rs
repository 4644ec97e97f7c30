//! The decided log: the chat log that people read, and what peers fetch from.
//!
//! The chat log is a text file, one line a slot from 0 without gaps:
//!
//! ```text
//! <slot> <client id> <client seq> <message>
//! <slot> - - NOP
//! ```
//!
//! Nothing that differs between replicas stands in it, so the files of replicas that
//! have applied the same slots are the same to the byte. Control characters of a
//! message are escaped, and the backslash with them, so that one slot is one line.
//! The lines of a whole burst leave in one write, before anybody is told of them.
//!
//! The decided values themselves are kept in memory for peers that fell behind; that
//! grows with the log.

use crate::paxos::Storage;
use crate::paxos::learner::Record;
use crate::types::{ClientId, Line, Slot, Value};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A learner's storage.
#[derive(Debug)]
pub struct ChatLog {
    path: PathBuf,
    file: File,
    text: Vec<u8>,
    values: Vec<Value>,
}

impl ChatLog {
    /// Begins an empty chat log at `path`. A file that already stands there belongs
    /// to a cluster that this replica does not remember: it is moved aside, to the
    /// first free of `<path>.1`, `<path>.2`, …, and returned.
    ///
    /// # Errors
    ///
    /// When the file cannot be moved or made.
    pub fn create(path: &Path) -> io::Result<(Self, Option<PathBuf>)> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let moved = match fs::metadata(path) {
            Ok(meta) if meta.len() > 0 => Some(move_aside(path).map_err(named)?),
            _ => None,
        };
        let file =
            OpenOptions::new().create(true).write(true).truncate(true).open(path).map_err(named)?;
        let log = ChatLog { path: path.to_owned(), file, text: Vec::new(), values: Vec::new() };
        Ok((log, moved))
    }
}

fn move_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let aside = PathBuf::from(name);
        if !aside.try_exists()? {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    unreachable!("some number is free")
}

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

impl Storage<Record> for ChatLog {
    fn append(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        self.text.clear();
        for record in records.drain(..) {
            let Record::Applied { slot, value, client_seq } = record else { continue };
            let expected = self.values.len() as u64;
            assert!(slot.0 == expected, "slots are applied in order, without gaps");
            write_line(&mut self.text, slot, &value, client_seq);
            self.values.push(value);
        }
        self.file.write_all(&self.text).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        })
    }

    /// The file is written when `append` returns; it is not forced to the disk.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn decided(&mut self, first: Slot, upto: Slot, bytes: usize) -> io::Result<Vec<Value>> {
        let end = usize::try_from(upto.0).unwrap_or(usize::MAX).min(self.values.len());
        let start = usize::try_from(first.0).unwrap_or(usize::MAX).min(end);
        let mut room = bytes;
        let mut page: Vec<Value> = Vec::new();
        for value in &self.values[start..end] {
            let bytes = value.wire_bytes_max();
            if bytes > room && !page.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            page.push(value.clone());
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    fn record(slot: u64, client_seq: Option<u64>, line: &str) -> Record {
        let value = Value::Command(Request::new(7, 1, 0, line).command);
        Record::Applied { slot: Slot(slot), value, client_seq }
    }

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

    #[test]
    fn a_log_of_an_earlier_run_is_moved_aside_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("learner0.txt");
        fs::write(&path, "0 1 0 old\n").unwrap();
        let (_, moved) = ChatLog::create(&path).unwrap();
        let moved = moved.unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "0 1 0 old\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        let (_, moved) = ChatLog::create(&path).unwrap();
        assert_eq!(moved, None, "an empty file is not worth keeping");
    }

    #[test]
    fn pages_hold_at_most_the_bytes_asked_for_but_one_value_at_least() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = ChatLog::create(&dir.path().join("learner0.txt")).unwrap();
        let mut records = (0..10).map(|slot| record(slot, Some(slot), "0123456789")).collect();
        log.append(&mut records).unwrap();
        let one = Value::Command(Request::new(7, 1, 0, "0123456789").command).wire_bytes_max();
        assert_eq!(log.decided(Slot(2), Slot(9), 3 * one).unwrap().len(), 3);
        assert_eq!(log.decided(Slot(2), Slot(4), 3 * one).unwrap().len(), 2);
        assert_eq!(log.decided(Slot(2), Slot(9), 1).unwrap().len(), 1);
        assert_eq!(log.decided(Slot(10), Slot(20), 1000).unwrap().len(), 0);
    }
}
