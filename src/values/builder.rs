//! Where a list of values is put together.
//!
//! A [`Builder`] gathers values, or reads and checks their bytes, and moves all of them into
//! one allocation. Each thread keeps the room of its last short list ([`SCRATCH`]), so a list
//! costs no allocation but its own.

use super::batch::Batch;
use super::encoding::{Malformed, ValueRef, length_of};
use super::{VALUES_MAX, Values};
use std::cell::RefCell;
use std::sync::Arc;

/// How many bytes a thread keeps for its next list.
pub(super) const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// Where a list is put together before it moves into its one allocation.
    pub(super) static SCRATCH: RefCell<Builder> = RefCell::default();
}

/// Puts values into one batch, and then into the next.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    pub(super) bytes: Vec<u8>,
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
    /// If its line is longer than [`LINE_BYTES_MAX`](crate::types::LINE_BYTES_MAX).
    pub fn push(&mut self, value: ValueRef<'_>) {
        let bytes = &mut self.bytes;
        value.append_to(bytes);
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
    pub(super) fn put_back(mut self) {
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
