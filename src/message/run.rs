//! Values of consecutive slots.

use crate::types::{Ballot, Slot, SlotRange};
use crate::values::Values;
use serde::{Deserialize, Serialize};

/// Consecutive slots that hold values at one ballot: what an acceptor accepted, as it
/// keeps it and as it sends it to a candidate that lacks it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// The slot of the first value.
    pub first: Slot,
    /// The ballot at which all of them are held.
    pub ballot: Ballot,
    /// One value for each slot, from `first` on.
    pub values: Values,
}

impl Run {
    /// The slot after the last value.
    pub fn end(&self) -> Slot {
        self.first.plus(self.values.len() as u64)
    }

    /// Its slots.
    pub fn slots(&self) -> SlotRange {
        SlotRange::new(self.first, self.end())
    }

    /// The part of it that lies in `slots`; possibly nothing.
    pub fn within(&self, slots: SlotRange) -> Run {
        let start = slots.start.since(self.first).min(self.values.len() as u64);
        let end = slots.end.since(self.first).clamp(start, self.values.len() as u64);
        Run {
            first: self.first.plus(start),
            ballot: self.ballot,
            values: self.values.slice(start as usize..end as usize),
        }
    }
}
