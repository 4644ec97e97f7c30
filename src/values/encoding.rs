//! One value as bytes, and back.
//!
//! ```text
//! a Noop       0
//! a command    1  client 8  session 8  seq 8  birth 8  length 4  line
//! a change     2  ... (`members`)
//! ```
//!
//! All numbers are little endian. [`length_of`] checks every byte of a value that comes from
//! elsewhere. [`split_first`] reads what was checked, and fails no more.

use crate::members::{CHANGE_TAG, Configuration, change_length};
use crate::types::{Change, ClientId, Command, LINE_BYTES_MAX, Session, Slot, Value};
use std::fmt;

/// How many bytes a command takes beside its line.
pub const COMMAND_BYTES: usize = 1 + 4 * 8 + 4;

/// The first byte of a Noop.
pub(super) const NOOP: u8 = 0;
/// The first byte of a command.
const COMMAND: u8 = 1;

/// Why bytes are no list of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a list of values")
    }
}

/// A command in its encoded form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommandRef<'a> {
    /// The session it belongs to.
    pub session: Session,
    /// Its number in the session, from 0.
    pub seq: u64,
    /// A decided slot at which the session was born.
    pub birth: Slot,
    /// The line for the chat log: UTF-8, which was checked.
    pub line: &'a [u8],
}

impl CommandRef<'_> {
    /// The same, taken out of its batch.
    pub fn to_command(self) -> Command {
        let CommandRef { session, seq, birth, line } = self;
        let line = std::str::from_utf8(line).expect("a line was checked when it came").into();
        Command { session, seq, birth, line }
    }
}

impl<'a> From<&'a Command> for CommandRef<'a> {
    fn from(command: &'a Command) -> CommandRef<'a> {
        let Command { session, seq, birth, line } = command;
        CommandRef { session: *session, seq: *seq, birth: *birth, line: line.as_bytes() }
    }
}

/// A change of members in its encoded form, which was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChangeRef<'a>(&'a [u8]);

impl ChangeRef<'_> {
    /// The next configuration, taken out of the batch.
    pub fn to_configuration(self) -> Configuration {
        Configuration::read(self.0).expect("a change was checked when it came")
    }
}

/// A value in its encoded form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueRef<'a> {
    /// See [`Value::Noop`].
    Noop,
    /// See [`Value::Command`].
    Command(CommandRef<'a>),
    /// See [`Value::Change`].
    Change(ChangeRef<'a>),
}

impl<'a> ValueRef<'a> {
    /// The same, taken out of its batch.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Noop => Value::Noop,
            ValueRef::Command(command) => Value::Command(command.to_command()),
            ValueRef::Change(change) => Value::Change(Change::checked(change.0)),
        }
    }

    /// The command, if it is one.
    pub fn command(self) -> Option<CommandRef<'a>> {
        match self {
            ValueRef::Noop | ValueRef::Change(_) => None,
            ValueRef::Command(command) => Some(command),
        }
    }

    /// The change of members, if it is one.
    pub fn change(self) -> Option<ChangeRef<'a>> {
        match self {
            ValueRef::Noop | ValueRef::Command(_) => None,
            ValueRef::Change(change) => Some(change),
        }
    }

    /// How many bytes it takes.
    pub fn encoded_bytes(self) -> usize {
        match self {
            ValueRef::Noop => 1,
            ValueRef::Command(command) => COMMAND_BYTES + command.line.len(),
            ValueRef::Change(change) => change.0.len(),
        }
    }

    /// Writes it into as many bytes as it takes.
    pub(super) fn write(self, bytes: &mut [u8]) {
        match self {
            ValueRef::Noop => bytes[0] = NOOP,
            ValueRef::Command(command) => {
                let (head, line) = bytes.split_at_mut(COMMAND_BYTES);
                head.copy_from_slice(&head_of(command));
                line.copy_from_slice(command.line);
            }
            ValueRef::Change(change) => bytes.copy_from_slice(change.0),
        }
    }

    /// Appends its bytes.
    pub(super) fn append_to(self, bytes: &mut Vec<u8>) {
        match self {
            ValueRef::Noop => bytes.push(NOOP),
            ValueRef::Command(command) => {
                bytes.reserve(COMMAND_BYTES + command.line.len());
                bytes.extend_from_slice(&head_of(command));
                bytes.extend_from_slice(command.line);
            }
            ValueRef::Change(change) => bytes.extend_from_slice(change.0),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> ValueRef<'a> {
        match value {
            Value::Noop => ValueRef::Noop,
            Value::Command(command) => ValueRef::Command(command.into()),
            Value::Change(change) => ValueRef::Change(ChangeRef(change.bytes())),
        }
    }
}

/// The bytes before a command's line.
fn head_of(command: CommandRef<'_>) -> [u8; COMMAND_BYTES] {
    let CommandRef { session, seq, birth, line } = command;
    assert!(line.len() <= LINE_BYTES_MAX, "a line of {} bytes", line.len());
    let mut head = [0; COMMAND_BYTES];
    head[0] = COMMAND;
    let words = [session.client.0, session.id, seq, birth.0];
    for (place, word) in head[1..33].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    head[33..].copy_from_slice(&(line.len() as u32).to_le_bytes());
    head
}

/// The length of the value that `bytes` begin with, if it is well-formed.
pub(super) fn length_of(bytes: &[u8]) -> Result<usize, Malformed> {
    match *bytes.first().ok_or(Malformed)? {
        NOOP => Ok(1),
        COMMAND => {
            let (head, rest) = bytes.split_first_chunk::<COMMAND_BYTES>().ok_or(Malformed)?;
            let length = line_bytes(head);
            if length > LINE_BYTES_MAX {
                return Err(Malformed);
            }
            let line = rest.get(..length).ok_or(Malformed)?;
            // Most lines are ASCII, which takes a quarter of the time to see.
            if !line.is_ascii() {
                std::str::from_utf8(line).map_err(|_| Malformed)?;
            }
            Ok(COMMAND_BYTES + length)
        }
        CHANGE_TAG => {
            let length = change_length(bytes).ok_or(Malformed)?;
            let change = bytes.get(..length).and_then(Configuration::read);
            change.map(|_| length).ok_or(Malformed)
        }
        _ => Err(Malformed),
    }
}

/// The first of some values that were checked, and the bytes of the others.
pub(super) fn split_first(bytes: &[u8]) -> (ValueRef<'_>, &[u8]) {
    if bytes[0] == NOOP {
        return (ValueRef::Noop, &bytes[1..]);
    }
    if bytes[0] == CHANGE_TAG {
        let length = change_length(bytes).expect("it was checked");
        let (change, rest) = bytes.split_at(length);
        return (ValueRef::Change(ChangeRef(change)), rest);
    }
    let (head, rest) = bytes.split_first_chunk::<COMMAND_BYTES>().expect("it was checked");
    let word = |at: usize| {
        let bytes = head[at..at + 8].first_chunk().expect("eight bytes");
        u64::from_le_bytes(*bytes)
    };
    let session = Session { client: ClientId(word(1)), id: word(9) };
    let (line, rest) = rest.split_at(line_bytes(head));
    (ValueRef::Command(CommandRef { session, seq: word(17), birth: Slot(word(25)), line }), rest)
}

/// How long the line is behind this head.
fn line_bytes(head: &[u8; COMMAND_BYTES]) -> usize {
    u32::from_le_bytes([head[33], head[34], head[35], head[36]]) as usize
}
