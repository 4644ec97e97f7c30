//! Consecutive values, encoded once and shared.
//!
//! A client encodes its line once, and the line stays encoded: datagrams, the acceptor's log
//! and memory, and everything that roles hand each other hold the same bytes. [`Values`] is
//! a list of them, a window on a batch that all its holders share. To hand it on, to keep it
//! and to cut it copies nothing. Only a role that applies a value, or looks for its session,
//! takes it apart, in place.
//!
//! The parts: one value as bytes (`encoding`), the allocation that lists share (`batch`), and
//! what puts a list together ([`Builder`]).
//!
//! **Guarantee.** Bytes become [`Values`] through [`Builder`] or [`Builder::read`]
//! alone, and every one of them is checked there: a tag that is known, lengths that
//! fit, lines that are UTF-8 and no longer than [`LINE_BYTES_MAX`]. What is read back
//! later can therefore not fail.
//!
//! [`LINE_BYTES_MAX`]: crate::types::LINE_BYTES_MAX

mod batch;
mod builder;
mod encoding;

pub use builder::Builder;
pub use encoding::{COMMAND_BYTES, ChangeRef, CommandRef, Malformed, ValueRef};

use crate::types::Value;
use batch::{Batch, NUMBER, write_alone};
use builder::SCRATCH;
use encoding::split_first;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// The most values that one message may carry.
pub const VALUES_MAX: usize = 8_192;

/// A batch of one value that is at most this long is put together on the stack.
const SMALL_BATCH_BYTES: usize = 192;

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

    /// The bytes of the longest value.
    pub fn longest(&self) -> usize {
        let (batch, range) = (&self.batch, self.from as usize..self.to as usize);
        let mut start = batch.start(range.start);
        let lengths = batch.ends(range).map(|end| end - std::mem::replace(&mut start, end));
        lengths.max().unwrap_or(0)
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

    /// The values within `range`.
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

    /// The values behind the first `count`.
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

#[cfg(test)]
mod tests;
