//! A set of slots, kept as ranges: votes name many neighbours at once.

use crate::types::Slot;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct SlotSet {
    /// First slot to end, exclusive; no two overlap or touch.
    ranges: BTreeMap<Slot, Slot>,
}

impl SlotSet {
    /// Adds the slots from `from` on and below `upto`.
    pub(super) fn insert(&mut self, from: Slot, upto: Slot) {
        if from >= upto {
            return;
        }
        let (mut from, mut upto) = (from, upto);
        // Whatever begins at or below the new end and reaches its beginning melts into it.
        while let Some((&first, &end)) = self.ranges.range(..=upto).next_back()
            && end >= from
        {
            self.ranges.remove(&first);
            from = from.min(first);
            upto = upto.max(end);
        }
        self.ranges.insert(from, upto);
    }

    /// The first slot at or above `slot` that is not in the set.
    pub(super) fn end_from(&self, slot: Slot) -> Slot {
        let below = self.ranges.range(..=slot).next_back();
        below.map_or(slot, |(_, end)| slot.max(*end))
    }

    /// One above the last slot in the set; 0 if it is empty.
    pub(super) fn end(&self) -> Slot {
        self.ranges.last_key_value().map_or(Slot::ZERO, |(_, end)| *end)
    }

    /// The first slot at or above `slot` that is in the set; the last of all if none is.
    pub(super) fn gap_end(&self, slot: Slot) -> Slot {
        if self.end_from(slot) > slot {
            return slot;
        }
        self.ranges.range(slot..).next().map_or(Slot(u64::MAX), |(first, _)| *first)
    }

    /// Takes out everything below `end`.
    pub(super) fn trim(&mut self, end: Slot) {
        while let Some(entry) = self.ranges.first_entry()
            && *entry.key() < end
        {
            let upto = entry.remove();
            if upto > end {
                self.ranges.insert(end, upto);
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
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut set, mut model) = (SlotSet::default(), BTreeSet::new());
            for _ in 0..12 {
                let (from, upto) = (rng.u64(..30), rng.u64(..30));
                if rng.u8(..6) == 0 {
                    set.trim(Slot(from));
                    model = model.split_off(&from);
                } else {
                    set.insert(Slot(from), Slot(upto));
                    model.extend(from..upto);
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
