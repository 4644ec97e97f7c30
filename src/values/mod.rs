//! Consecutive values, encoded once and shared.
//!
//! A client encodes its line once, and the line stays encoded: datagrams, the acceptor's log
//! and memory, and everything that roles hand each other hold the same bytes. [`Values`] is
//! a list of them, a window on a batch that all its holders share. To hand it on, to keep it
//! and to cut it copies nothing. Only a role that applies a value, or looks for its session,
//! takes it apart, in place.
//!
//! All numbers are little endian:
//!
//! ```text
//! a Noop       0
//! a command    1  client 8  session 8  seq 8  birth 8  length 4  line
//! ```
//!
//! **Guarantee.** Bytes become [`Values`] through [`Builder`] or [`Builder::read`]
//! alone, and every one of them is checked there: a tag that is known, lengths that
//! fit, lines that are UTF-8 and no longer than [`LINE_BYTES_MAX`]. What is read back
//! later can therefore not fail.

use crate::types::{ClientId, Command, LINE_BYTES_MAX, Session, Slot, Value};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// The most values that one message may carry.
pub const VALUES_MAX: usize = 8_192;

/// How many bytes a command takes beside its line.
pub const COMMAND_BYTES: usize = 1 + 4 * 8 + 4;

const NOOP: u8 = 0;
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

/// A value in its encoded form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueRef<'a> {
    /// See [`Value::Noop`].
    Noop,
    /// See [`Value::Command`].
    Command(CommandRef<'a>),
}

impl<'a> ValueRef<'a> {
    /// The same, taken out of its batch.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Noop => Value::Noop,
            ValueRef::Command(command) => Value::Command(command.to_command()),
        }
    }

    /// The command, if it is one.
    pub fn command(self) -> Option<CommandRef<'a>> {
        match self {
            ValueRef::Noop => None,
            ValueRef::Command(command) => Some(command),
        }
    }

    /// How many bytes it takes.
    pub fn encoded_bytes(self) -> usize {
        match self {
            ValueRef::Noop => 1,
            ValueRef::Command(command) => COMMAND_BYTES + command.line.len(),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> ValueRef<'a> {
        match value {
            Value::Noop => ValueRef::Noop,
            Value::Command(command) => ValueRef::Command(command.into()),
        }
    }
}

/// One allocation that all windows on the same values share: the values, then the end of each
/// value, then the number of values. (All these numbers are `u32`.)
#[derive(Clone, Default)]
struct Batch(Arc<[u8]>);

/// The bytes of a number in a batch.
const NUMBER: usize = size_of::<u32>();

impl Batch {
    fn number(&self, at: usize) -> usize {
        let bytes = self.0[at..at + NUMBER].first_chunk().expect("so many bytes");
        u32::from_le_bytes(*bytes) as usize
    }

    /// How many values there are.
    fn len(&self) -> usize {
        self.0.len().checked_sub(NUMBER).map_or(0, |at| self.number(at))
    }

    /// Where the first number is, behind the values.
    fn values_end(&self) -> usize {
        self.0.len().saturating_sub(NUMBER * (self.len() + 1))
    }

    /// The end of the value at `index`.
    fn end(&self, index: usize) -> usize {
        self.number(self.values_end() + NUMBER * index)
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.end(before))
    }
}

/// A list of values, whose bytes are shared and never copied inside a process.
#[derive(Clone, Default)]
pub struct Values {
    batch: Batch,
    from: u32,
    to: u32,
}

impl Values {
    /// Takes bytes apart, and checks every one of them.
    ///
    /// # Errors
    ///
    /// If they are anything but a list of at most [`VALUES_MAX`] values.
    pub fn read(bytes: &[u8]) -> Result<Values, Malformed> {
        let mut builder = SCRATCH.take();
        let read = builder.read(bytes).map(|()| builder.take());
        builder.put_back();
        read
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        (self.to - self.from) as usize
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// The bytes of all values.
    pub fn bytes(&self) -> &[u8] {
        let Values { batch, from, to } = self;
        &batch.0[batch.start(*from as usize)..batch.start(*to as usize)]
    }

    /// The value at `index`.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn get(&self, index: usize) -> ValueRef<'_> {
        assert!(index < self.len(), "value {index} of {}", self.len());
        let at = self.from as usize + index;
        split_first(&self.batch.0[self.batch.start(at)..self.batch.end(at)]).0
    }

    /// The values, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: self.bytes(), left: self.len() }
    }

    /// Those within `range`.
    ///
    /// # Panics
    ///
    /// If it goes beyond the list.
    pub fn slice(&self, range: Range<usize>) -> Values {
        assert!(range.start <= range.end && range.end <= self.len(), "a slice of the list");
        let Values { batch, from, .. } = self;
        let (start, end) = (*from + range.start as u32, *from + range.end as u32);
        Values { batch: batch.clone(), from: start, to: end }
    }

    /// Those behind the first `count`.
    pub fn skip(&self, count: usize) -> Values {
        self.slice(count..self.len())
    }

    /// How many values from the beginning fit into `bytes` bytes.
    pub fn fitting(&self, bytes: usize) -> usize {
        let Values { batch, from, to } = self;
        let (first, end) = (*from as usize, batch.start(*from as usize) + bytes);
        if batch.start(*to as usize) <= end {
            return self.len();
        }
        let (mut fits, mut above) = (0, self.len());
        while fits < above {
            let middle = (fits + above) / 2;
            match batch.end(first + middle) <= end {
                true => fits = middle + 1,
                false => above = middle,
            }
        }
        fits
    }

    /// Replaces the list by one value. The value reuses the batch if it takes as many bytes
    /// and no other list holds the batch.
    pub fn replace(&mut self, value: ValueRef<'_>) {
        match Arc::get_mut(&mut self.batch.0) {
            Some(batch) if batch.len() == value.encoded_bytes() + 2 * NUMBER => {
                write_alone(value, batch);
                (self.from, self.to) = (0, 1);
            }
            _ => *self = value.into(),
        }
    }

    /// The same list, in a batch of its own if the batch that it shares is much larger.
    #[must_use]
    pub fn apart(self) -> Values {
        let much = 2 * self.bytes().len() + SMALL_BATCH_BYTES * self.len();
        if self.batch.0.len() <= much { self } else { self.iter().collect() }
    }

    /// Copies of all values, out of the batch.
    pub fn to_vec(&self) -> Vec<Value> {
        self.iter().map(ValueRef::to_value).collect()
    }

    fn is_same_window(&self, other: &Values) -> bool {
        Arc::ptr_eq(&self.batch.0, &other.batch.0) && self.from == other.from && self.to == other.to
    }
}

/// The iterator of [`Values::iter`]. The length of each value shows where the next begins.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (value, rest) = split_first(self.bytes);
        self.bytes = rest;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl PartialEq for Values {
    fn eq(&self, other: &Values) -> bool {
        // No list of values is the beginning of another one's bytes.
        self.is_same_window(other) || self.bytes() == other.bytes()
    }
}

impl Eq for Values {}

impl Hash for Values {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(ValueRef::to_value)).finish()
    }
}

impl From<ValueRef<'_>> for Values {
    fn from(value: ValueRef<'_>) -> Values {
        let mut batch = [0; SMALL_BATCH_BYTES];
        let Some(batch) = batch.get_mut(..value.encoded_bytes() + 2 * NUMBER) else {
            return [value].into_iter().collect();
        };
        write_alone(value, batch);
        Values { batch: Batch(Arc::from(&*batch)), from: 0, to: 1 }
    }
}

impl<'a, T: Into<ValueRef<'a>>> FromIterator<T> for Values {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Values {
        let mut builder = SCRATCH.take();
        values.into_iter().for_each(|value| builder.push(value.into()));
        let values = builder.take();
        builder.put_back();
        values
    }
}

impl FromIterator<Value> for Values {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Values {
        let mut builder = Builder::default();
        values.into_iter().for_each(|value| builder.push((&value).into()));
        builder.take()
    }
}

impl From<&[Value]> for Values {
    fn from(values: &[Value]) -> Values {
        values.iter().collect()
    }
}

impl From<Vec<Value>> for Values {
    fn from(values: Vec<Value>) -> Values {
        values.iter().collect()
    }
}

impl From<&Value> for Values {
    fn from(value: &Value) -> Values {
        ValueRef::from(value).into()
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.bytes())
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Values, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {VALUES_MAX} encoded values")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Values, E> {
                Values::read(bytes).map_err(E::custom)
            }
        }

        from.deserialize_bytes(Bytes)
    }
}

/// A batch of one value that is at most this long is put together on the stack.
const SMALL_BATCH_BYTES: usize = 192;

/// How many bytes a thread keeps for its next list.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// Where a list is put together before it moves into its one allocation.
    static SCRATCH: RefCell<Builder> = RefCell::default();
}

/// Puts values into one batch, and then into the next.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<u32>,
}

impl Builder {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a value.
    ///
    /// # Panics
    ///
    /// If its line is longer than [`LINE_BYTES_MAX`].
    pub fn push(&mut self, value: ValueRef<'_>) {
        let bytes = &mut self.bytes;
        match value {
            ValueRef::Noop => bytes.push(NOOP),
            ValueRef::Command(command) => {
                bytes.reserve(COMMAND_BYTES + command.line.len());
                bytes.extend_from_slice(&head_of(command));
                bytes.extend_from_slice(command.line);
            }
        }
        let end = u32::try_from(bytes.len()).expect("a batch is far shorter than 4 GiB");
        self.ends.push(end);
    }

    /// Adds all of `values`.
    pub fn extend(&mut self, values: &Values) {
        let Values { batch, from, to } = values;
        let (start, before) = (batch.start(*from as usize), self.bytes.len());
        self.bytes.extend_from_slice(values.bytes());
        u32::try_from(self.bytes.len()).expect("a batch is far shorter than 4 GiB");
        let ends = (*from as usize..*to as usize).map(|index| batch.end(index));
        self.ends.extend(ends.map(|end| (end - start + before) as u32));
    }

    /// Adds the values that `bytes` encode, and checks every byte.
    ///
    /// # Errors
    ///
    /// If the bytes are anything but a list of values, or the list would be longer than
    /// [`VALUES_MAX`]. Then what it holds has no meaning.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let before = self.bytes.len();
        let mut at = 0;
        while at < bytes.len() {
            at += length_of(&bytes[at..])?;
            if self.ends.len() == VALUES_MAX {
                return Err(Malformed);
            }
            self.ends.push(u32::try_from(before + at).map_err(|_| Malformed)?);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns the list, and begins another one.
    pub fn take(&mut self) -> Values {
        let Builder { bytes, ends } = self;
        let to = ends.len() as u32;
        ends.iter().chain([&to]).for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        let batch = if to == 0 { Batch::default() } else { Batch(Arc::from(bytes.as_slice())) };
        self.clear();
        Values { batch, from: 0, to }
    }

    /// For this thread's next list.
    fn put_back(mut self) {
        if self.bytes.capacity() <= SCRATCH_BYTES_MAX {
            self.clear();
            SCRATCH.set(self);
        }
    }

    /// Removes all values.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Makes the batch of one value, which takes all of `batch`.
fn write_alone(value: ValueRef<'_>, batch: &mut [u8]) {
    let bytes = batch.len() - 2 * NUMBER;
    match value {
        ValueRef::Noop => batch[0] = NOOP,
        ValueRef::Command(command) => {
            batch[..COMMAND_BYTES].copy_from_slice(&head_of(command));
            batch[COMMAND_BYTES..bytes].copy_from_slice(command.line);
        }
    }
    batch[bytes..][..NUMBER].copy_from_slice(&(bytes as u32).to_le_bytes());
    batch[bytes + NUMBER..].copy_from_slice(&1_u32.to_le_bytes());
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
fn length_of(bytes: &[u8]) -> Result<usize, Malformed> {
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
        _ => Err(Malformed),
    }
}

/// The first of some values that were checked, and the bytes of the others.
fn split_first(bytes: &[u8]) -> (ValueRef<'_>, &[u8]) {
    if bytes[0] == NOOP {
        return (ValueRef::Noop, &bytes[1..]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::DefaultHasher;

    fn command(seq: u64, line: &str) -> Value {
        let session = Session { client: ClientId(7), id: u64::MAX };
        Value::Command(Command { session, seq, birth: Slot(5), line: line.into() })
    }

    fn some() -> Vec<Value> {
        vec![command(0, "a"), Value::Noop, command(1, ""), command(2, "é\n")]
    }

    #[test]
    fn values_are_read_back_as_they_were() {
        let values = Values::from(some());
        assert_eq!(values.to_vec(), some());
        assert_eq!(Values::read(values.bytes()), Ok(values.clone()));
        let encoded = postcard::to_stdvec(&values).unwrap();
        let (decoded, rest) = postcard::take_from_bytes::<Values>(&encoded).unwrap();
        assert_eq!((decoded, rest), (values, &[][..]));
        assert_eq!(Values::default().to_vec(), []);
    }

    #[test]
    fn a_list_is_the_same_whatever_it_is_made_of() {
        let values = Values::from(some());
        assert_eq!(values.len(), 4);
        assert_eq!(some().into_iter().collect::<Values>(), values);
        assert_eq!(Values::from(some().as_slice()), values);
        assert_eq!(values.iter().collect::<Values>(), values);
    }

    #[test]
    fn a_slice_is_the_list_of_what_it_holds() {
        let values = Values::from(some());
        for start in 0..=4 {
            for end in start..=4 {
                let slice = values.slice(start..end);
                assert_eq!(slice.to_vec(), some()[start..end]);
                assert!((start..end).all(|at| slice.get(at - start) == values.get(at)));
                assert_eq!(slice, Values::from(some()[start..end].to_vec()));
                let mut builder = Builder::default();
                builder.push(ValueRef::Noop);
                builder.extend(&slice);
                assert_eq!(builder.take().skip(1), slice);
            }
        }
        assert_ne!(values.slice(0..1), values.slice(1..2));
    }

    #[test]
    fn a_value_takes_the_place_of_others_that_nobody_else_holds() {
        for (before, now) in [("abc", "xyz"), ("abc", "longer"), ("abc", "")] {
            let mut values = Values::from(&command(1, before));
            let (mut kept, next) = (values.clone(), command(2, now));
            values.replace((&next).into());
            assert_eq!(values.get(0), (&next).into());
            assert_eq!(kept.get(0), (&command(1, before)).into(), "somebody else holds it");
            kept.replace((&next).into());
            assert_eq!((kept.len(), kept.get(0)), (1, (&next).into()));
        }
        let two: Values = vec![Value::Noop, Value::Noop].into();
        let (mut last, one) = (two.skip(1), command(3, ""));
        last.replace((&one).into());
        assert_eq!(last.get(0), (&one).into());
    }

    #[test]
    fn the_values_that_fit_are_counted_from_the_slices_beginning() {
        let values = Values::from(some()).skip(1);
        let sizes: Vec<usize> = values.iter().map(ValueRef::encoded_bytes).collect();
        assert_eq!(sizes, [1, COMMAND_BYTES, COMMAND_BYTES + 3]);
        for (bytes, fitting) in [(0, 0), (1, 1), (COMMAND_BYTES, 1), (COMMAND_BYTES + 1, 2)] {
            assert_eq!(values.fitting(bytes), fitting, "{bytes} bytes");
        }
        assert_eq!(values.fitting(1_000), 3);
    }

    #[test]
    fn a_list_that_is_gone_through_says_how_many_are_left() {
        let values = Values::from(some()).slice(1..4);
        let mut left = values.iter();
        for count in (0..=3).rev() {
            assert_eq!((left.len(), left.size_hint()), (count, (count, Some(count))));
            assert_eq!(left.next(), (count > 0).then(|| values.get(3 - count)));
        }
    }

    #[test]
    fn bytes_of_which_any_is_wrong_are_no_values() {
        let good = Values::from(vec![command(0, "abc")]).bytes().to_vec();
        for cut in 1..good.len() {
            assert_eq!(Values::read(&good[..cut]), Err(Malformed), "cut to {cut}");
        }
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Values::read(&bytes)
        };
        assert_eq!(changed(0, 2), Err(Malformed));
        assert_eq!(changed(33, 4), Err(Malformed));
        assert_eq!(changed(36, 0xFF), Err(Malformed));
        assert_eq!(changed(COMMAND_BYTES, 0xFF), Err(Malformed));
        assert!(changed(1, 0xFF).is_ok());
        assert_eq!(Values::read(&vec![NOOP; VALUES_MAX + 1]), Err(Malformed));
        assert_eq!(
            Values::read(&vec![NOOP; VALUES_MAX]).map(|values| values.len()),
            Ok(VALUES_MAX)
        );
    }

    #[test]
    fn a_line_is_as_long_as_a_line_may_be_and_no_longer() {
        let longest = Values::from(&command(0, &"x".repeat(LINE_BYTES_MAX)));
        assert_eq!(Values::read(longest.bytes()), Ok(longest.clone()));
        let mut longer = longest.bytes().to_vec();
        longer.push(b'x');
        longer[33] += 1;
        assert_eq!(Values::read(&longer), Err(Malformed));
    }

    #[test]
    fn a_value_alone_is_the_list_of_one() {
        for value in [Value::Noop, command(1, ""), command(2, "abc"), command(3, &"x".repeat(200))]
        {
            let alone = Values::from(&value);
            assert_eq!(alone, Values::from_iter([&value]));
            assert_eq!(alone.bytes().len(), ValueRef::from(&value).encoded_bytes());
            assert_eq!((alone.len(), alone.to_vec()), (1, vec![value]));
        }
    }

    #[test]
    fn a_value_that_takes_as_much_is_written_where_the_others_stood() {
        // Two values take as much as the one that replaces them.
        let long = command(2, "12345678");
        let values = Values::from(vec![command(0, "abc"), Value::Noop]).skip(1);
        assert_eq!(values.batch.0.len(), Values::from(&long).batch.0.len());
        for mut values in [values, Values::from(&command(0, "87654321"))] {
            let place = Arc::as_ptr(&values.batch.0);
            values.replace((&long).into());
            assert!(std::ptr::addr_eq(Arc::as_ptr(&values.batch.0), place));
            assert_eq!((values.len(), values.get(0)), (1, (&long).into()));
        }
    }

    #[test]
    fn a_window_leaves_a_batch_that_is_much_larger_than_itself_and_no_other() {
        let shares = |values: &Values, slice: Range<usize>| {
            let slice = values.slice(slice);
            let apart = slice.clone().apart();
            assert_eq!(apart, slice);
            Arc::ptr_eq(&apart.batch.0, &values.batch.0)
        };
        let long: Values = (0..10).map(|seq| command(seq, &"x".repeat(10_000))).collect();
        assert!(shares(&long, 0..10) && shares(&long, 2..8) && !shares(&long, 2..6));
        // A batch of its own costs more than a few bytes.
        let short = |count: usize| Values::from(vec![Value::Noop; count]);
        assert!(shares(&short(100), 5..15) && !shares(&short(1_000), 5..15));
    }

    #[test]
    fn lists_are_equal_and_hash_alike_if_they_hold_the_same() {
        let hash = |values: &Values| {
            let mut state = DefaultHasher::new();
            values.hash(&mut state);
            state.finish()
        };
        // Windows of any place and length, on one batch and on another with the same values.
        let (one, other) = (Values::from(some()), Values::from(some()));
        let windows: Vec<Range<usize>> =
            (0..4).flat_map(|from| (from + 1..=4).map(move |to| from..to)).collect();
        for a in &windows {
            for b in &windows {
                let left = one.slice(a.clone());
                for right in [one.slice(b.clone()), other.slice(b.clone())] {
                    assert_eq!(left == right, a == b, "{a:?} {b:?}");
                    assert_eq!(hash(&left) == hash(&right), a == b, "{a:?} {b:?}");
                }
            }
        }
        assert_ne!(Values::from(&command(1, "a")), Values::from(&command(1, "b")));
        assert_ne!(one, Values::default());
    }

    #[test]
    fn a_builder_says_what_it_holds_and_takes_little_more_room() {
        let mut builder = Builder::default();
        for round in 0..2 {
            assert!(builder.is_empty(), "round {round}");
            assert_eq!((builder.len(), builder.bytes()), (0, 0), "round {round}");
            some().iter().for_each(|value| builder.push(value.into()));
            assert!(!builder.is_empty(), "round {round}");
            let bytes = Values::from(some()).bytes().len();
            assert_eq!((builder.len(), builder.bytes()), (4, bytes), "round {round}");
            assert_eq!(builder.take(), Values::from(some()), "round {round}");
        }
        builder.push((&command(1, &"x".repeat(10_000))).into());
        assert!(builder.bytes.capacity() <= 2 * builder.bytes());
    }

    #[test]
    fn a_thread_keeps_the_room_of_a_short_list_for_its_next_and_none_of_a_long_one() {
        let kept = || SCRATCH.with_borrow(|builder| builder.bytes.capacity());
        let list = |bytes| Values::from_iter([&command(1, &"x".repeat(bytes)), &Value::Noop]);
        assert_eq!(list(2_000).len(), 2);
        assert!(kept() >= 2_000);
        assert_eq!(Values::read(&[NOOP, NOOP, 9]), Err(Malformed));
        assert_eq!(list(3).len(), 2, "what was read in vain leaves nothing behind");
        assert!(kept() >= 2_000);
        assert_eq!(list(SCRATCH_BYTES_MAX).len(), 2);
        assert_eq!(kept(), 0);
    }
}
