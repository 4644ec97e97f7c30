//! A set of slots, kept as ranges: an acceptor names many neighbours at once.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::types::{Slot, SlotRange};
use std::collections::BTreeMap;

/// A set of slots. It takes memory for each range, not for each slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct SlotSet {
    /// First slot to end, exclusive; no two overlap or touch.
    ranges: BTreeMap<Slot, Slot>,
}

impl SlotSet {
    /// Adds the slots of `range`.
    pub(crate) fn insert(&mut self, range: SlotRange) {
        if range.is_empty() {
            return;
        }
        let SlotRange { mut start, mut end } = range;
        // A range that overlaps the new one, or touches it, becomes a part of it.
        while let Some((&held_start, &held_end)) = self.ranges.range(..=end).next_back()
            && held_end >= start
        {
            self.ranges.remove(&held_start);
            start = start.min(held_start);
            end = end.max(held_end);
        }
        self.ranges.insert(start, end);
    }

    /// The first slot at or above `slot` that is not in the set.
    pub(crate) fn end_from(&self, slot: Slot) -> Slot {
        let below = self.ranges.range(..=slot).next_back();
        below.map_or(slot, |(_, end)| slot.max(*end))
    }

    /// One above the last slot in the set; 0 if it is empty.
    pub(crate) fn end(&self) -> Slot {
        self.ranges.last_key_value().map_or(Slot::ZERO, |(_, end)| *end)
    }

    /// The first slot at or above `slot` that is in the set; the highest slot number if
    /// there is none.
    pub(crate) fn gap_end(&self, slot: Slot) -> Slot {
        if self.end_from(slot) > slot {
            return slot;
        }
        self.ranges.range(slot..).next().map_or(Slot(u64::MAX), |(first, _)| *first)
    }

    /// Takes out every slot below `end`.
    pub(crate) fn trim(&mut self, end: Slot) {
        while let Some(entry) = self.ranges.first_entry()
            && *entry.key() < end
        {
            let held_end = entry.remove();
            if held_end > end {
                self.ranges.insert(end, held_end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_are_a_set_of_slots_however_they_come() {
        for seed in 0..500 {
            let mut rng = seeds::stream(seed, "draws");
            let (mut set, mut model) = (SlotSet::default(), BTreeSet::new());
            for _ in 0..12 {
                let (start, end) = (rng.u64(..30), rng.u64(..30));
                if rng.u8(..6) == 0 {
                    set.trim(Slot(start));
                    model = model.split_off(&start);
                } else {
                    set.insert(SlotRange::new(Slot(start), Slot(end)));
                    model.extend(start..end);
                }
                assert_eq!(set.end().0, model.last().map_or(0, |last| last + 1));
                for slot in 0..32 {
                    let end = (slot..).find(|slot| !model.contains(slot)).map(Slot);
                    let gap_end = model.range(slot..).next().map_or(u64::MAX, |slot| *slot);
                    assert_eq!(set.gap_end(Slot(slot)), Slot(gap_end), "seed {seed}, slot {slot}");
                    assert_eq!(Some(set.end_from(Slot(slot))), end, "seed {seed}, slot {slot}");
                }
                let touching = set.ranges.iter().zip(set.ranges.keys().skip(1));
                assert!({ touching }.all(|((_, end), next)| end < next), "seed {seed}");
            }
        }
    }
}
