//! The slots that a phase 2b message names, as ranges.
//!
//! A leader numbers its slots in a row, so the slots that an acceptor accepts in one
//! burst are few ranges. On the wire a range is its start and its length, since a
//! length mostly takes one byte where an end takes three.

use super::MESSAGE_SLOTS_MAX;
use crate::types::{Slot, SlotRange};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::hash::{Hash, Hasher};

/// Exact ranges of slots, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotList(Vec<SlotRange>);

impl SlotList {
    /// Adds a range, or lengthens the last one if the new one begins where that one ends.
    pub fn push(&mut self, range: SlotRange) {
        match self.0.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }

    /// Puts a range before the others, or lengthens the first one if it begins where the new
    /// one ends.
    pub fn put_before(&mut self, range: SlotRange) {
        match self.0.first_mut() {
            _ if range.is_empty() => {}
            Some(first) if first.start == range.end => first.start = range.start,
            _ => self.0.insert(0, range),
        }
    }

    /// The same ranges in order, in lists of at most `ranges_max`.
    pub fn split(self, ranges_max: usize) -> impl Iterator<Item = SlotList> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let rest = left.split_off(left.len().min(ranges_max));
            let list = std::mem::replace(&mut left, rest);
            (!list.is_empty()).then_some(SlotList(list))
        })
    }

    /// How many ranges it has room for: a test checks that no datagram makes it reserve
    /// more than its bytes justify.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The ranges.
    pub fn ranges(&self) -> &[SlotRange] {
        &self.0
    }
}

impl From<Vec<SlotRange>> for SlotList {
    fn from(ranges: Vec<SlotRange>) -> SlotList {
        SlotList(ranges)
    }
}

/// Hashes each range as it travels: its start and its length.
impl Hash for SlotList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.0.len());
        self.0.iter().for_each(|range| (range.start, range.len()).hash(state));
    }
}

impl Serialize for SlotList {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|range| (range.start, range.len())))
    }
}

impl<'de> Deserialize<'de> for SlotList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SlotList, D::Error> {
        let ranges: Vec<(Slot, u64)> = super::bounded::list(from, MESSAGE_SLOTS_MAX)?;
        Ok(SlotList(
            ranges.into_iter().map(|(start, len)| SlotRange::with_len(start, len)).collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_begins_where_the_last_one_ends_melts_into_it() {
        let mut list = SlotList::default();
        for (start, len) in [(3, 2), (5, 1), (7, 1), (6, 1)] {
            list.push(SlotRange::with_len(Slot(start), len));
        }
        let ranges: Vec<String> = list.ranges().iter().map(SlotRange::to_string).collect();
        assert_eq!(ranges, ["3..6", "7..8", "6..7"]);
    }

    #[test]
    fn a_range_that_ends_where_the_first_one_begins_melts_into_it() {
        let mut list = SlotList::default();
        for (start, len) in [(7, 2), (5, 2), (4, 0), (1, 3)] {
            list.put_before(SlotRange::with_len(Slot(start), len));
        }
        let ranges: Vec<String> = list.ranges().iter().map(SlotRange::to_string).collect();
        assert_eq!(ranges, ["1..4", "5..9"]);
    }

    #[test]
    fn a_long_list_is_split_into_lists_that_a_message_may_carry() {
        let range = |slot: &u64| SlotRange::with_len(Slot(*slot), 1);
        let list = |slots: &[u64]| SlotList(slots.iter().map(range).collect());
        let split = |slots: &[u64]| list(slots).split(2).collect::<Vec<_>>();
        assert_eq!(split(&[1, 3, 5, 7, 9]), [list(&[1, 3]), list(&[5, 7]), list(&[9])]);
        assert_eq!(split(&[1, 3]), [list(&[1, 3])]);
        assert_eq!(split(&[]), []);
    }

    #[test]
    fn a_range_travels_as_its_start_and_its_length() {
        let list = SlotList::from(vec![SlotRange::with_len(Slot(1_000), 5)]);
        let bytes = postcard::to_stdvec(&list).expect("encodes");
        assert_eq!(bytes, [1, 0xE8, 0x07, 5]);
        assert_eq!(postcard::from_bytes(&bytes), Ok(list));
    }
}
