//! The allocation that lists of values share.
//!
//! A batch is one block of bytes, so that to share it is to count one more holder. A batch
//! never changes, unless its only holder writes another value of the same length over it.

use super::encoding::ValueRef;
use std::ops::Range;
use std::sync::Arc;

/// The bytes of a number in a batch.
pub(super) const NUMBER: usize = size_of::<u32>();

/// One allocation that all windows on the same values share: the values, then the end of each
/// value, then the number of values. (All these numbers are `u32`.)
#[derive(Clone, Default)]
pub(super) struct Batch(pub(super) Arc<[u8]>);

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
    pub(super) fn end(&self, index: usize) -> usize {
        self.number(self.values_end() + NUMBER * index)
    }

    /// The ends of the values in `range`, in order.
    pub(super) fn ends(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        let [start, end] = [range.start, range.end].map(|at| self.values_end() + NUMBER * at);
        let numbers = self.0[start..end].chunks_exact(NUMBER);
        numbers.map(|bytes| bytes.iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte)))
    }

    /// Where the value at `index` begins, or where the last one ends.
    pub(super) fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.end(before))
    }
}

/// Makes the batch of one value, which takes all of `batch`.
pub(super) fn write_alone(value: ValueRef<'_>, batch: &mut [u8]) {
    let bytes = batch.len() - 2 * NUMBER;
    value.write(&mut batch[..bytes]);
    batch[bytes..][..NUMBER].copy_from_slice(&(bytes as u32).to_le_bytes());
    batch[bytes + NUMBER..].copy_from_slice(&1_u32.to_le_bytes());
}
