//! The running hash of the decided log: equal hashes below a slot are equal logs below it.
//!
//! Each applied value goes into the hash together with all before it. So two replicas that ever
//! applied different values have different hashes from that slot on, however long ago it was. They
//! tell each other how far they are and what their hash is there ([`LogHash`]); `differences` says
//! what becomes of it.
//!
//! A replica knows its hash at its end and at the slots shortly below, since those of the others
//! lie there. The hash is a part of each checkpoint, so that a restart goes on with it.

use crate::message::LogHash;
use crate::types::Slot;
use crate::values::Values;
use std::collections::VecDeque;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Below how many of its last slots a replica remembers its hash.
const RECENT_SLOTS: usize = 4_096;

/// The running hash of the values of all slots below some slot, and then of `values`, if it was
/// `before` ahead of them. That of no values is 0.
pub fn running_hash(before: u64, values: &Values) -> u64 {
    hashes(before, values).last().unwrap_or(before)
}

/// The same after each value.
fn hashes(before: u64, values: &Values) -> impl Iterator<Item = u64> {
    let mut bytes = values.bytes();
    values.iter().scan(before, move |hash, value| {
        let (value, rest) = bytes.split_at(value.encoded_bytes());
        bytes = rest;
        *hash = xxh3_64_with_seed(value, *hash);
        Some(*hash)
    })
}

/// The running hash of an applied log, at its end and shortly below.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct History {
    /// The hash of every slot below the end of the log.
    newest: LogHash,
    /// Those below each slot shortly before that, in order.
    recent: VecDeque<u64>,
}

impl History {
    /// Goes on from here.
    pub(super) fn new(newest: LogHash) -> Self {
        History { newest, recent: VecDeque::new() }
    }

    /// The hash of all that is applied.
    pub(super) fn newest(&self) -> LogHash {
        self.newest
    }

    /// These values are applied in the next slots.
    pub(super) fn add(&mut self, values: &Values) {
        for hash in hashes(self.newest.hash, values) {
            if self.recent.len() == RECENT_SLOTS {
                self.recent.pop_front();
            }
            self.recent.push_back(self.newest.hash);
            self.newest = LogHash { slot: self.newest.slot.next(), hash };
        }
    }

    /// The hash of the slots below `slot`, if that is not above the end and not long before it.
    pub(super) fn below(&self, slot: Slot) -> Option<u64> {
        let back = self.newest.slot.0.checked_sub(slot.0)?;
        match back {
            0 => Some(self.newest.hash),
            _ => Some(self.recent[self.recent.len().checked_sub(usize::try_from(back).ok()?)?]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;
    use crate::types::Value;

    fn line(text: &str) -> Value {
        Value::Command(Request::new(7, 1, 0, text).command())
    }

    fn values(texts: &[&str]) -> Values {
        let values: Vec<Value> = texts.iter().map(|text| line(text)).collect();
        Values::from(values)
    }

    #[test]
    fn the_same_values_have_the_same_hash_however_their_runs_are_cut() {
        let mut whole = History::new(LogHash::default());
        whole.add(&values(&["a", "b", "c", "d"]));
        let mut parts = History::new(LogHash::default());
        for part in [&["a"] as &[&str], &[], &["b", "c"], &["d"]] {
            parts.add(&values(part));
        }
        assert_eq!(whole, parts);
        assert_eq!(whole.newest().slot, Slot(4));
        assert_eq!(whole.newest().hash, running_hash(0, &values(&["a", "b", "c", "d"])));
        // A slice shares its bytes with the values beside it.
        let mut sliced = History::new(LogHash::default());
        sliced.add(&values(&["x", "a", "b", "c", "d", "y"]).slice(1..5));
        assert_eq!(whole, sliced);
    }

    #[test]
    fn a_value_that_differs_shows_in_every_later_hash() {
        let hash = |texts: &[&str]| running_hash(0, &values(texts));
        let same = ["a", "b", "c", "d"];
        for other in [["x", "b", "c", "d"], ["a", "x", "c", "d"], ["a", "b", "c", "x"]] {
            assert_ne!(hash(&same), hash(&other));
        }
        assert_ne!(hash(&["b", "a"]), hash(&["a", "b"]), "their order counts");
        let noop = Values::from(vec![Value::Noop]);
        assert_ne!(running_hash(0, &noop), 0, "a Noop is a value");
        assert_ne!(running_hash(1, &noop), running_hash(2, &noop));
        assert_eq!(running_hash(9, &Values::default()), 9);
    }

    #[test]
    fn the_hashes_below_the_last_slots_are_known_and_no_others() {
        let stamp = LogHash { slot: Slot(100), hash: 77 };
        let mut history = History::new(stamp);
        let known = |history: &History, slot| history.below(Slot(slot));
        assert_eq!(known(&history, 100), Some(77));
        assert_eq!((known(&history, 99), known(&history, 101)), (None, None));
        let one = values(&["a"]);
        let mut expected = vec![77];
        for _ in 0..RECENT_SLOTS + 3 {
            expected.push(running_hash(*expected.last().expect("one"), &one));
            history.add(&one);
        }
        let end = 100 + RECENT_SLOTS as u64 + 3;
        for slot in end - RECENT_SLOTS as u64..=end {
            assert_eq!(known(&history, slot), Some(expected[(slot - 100) as usize]), "{slot}");
        }
        assert_eq!(known(&history, end - RECENT_SLOTS as u64 - 1), None);
        assert_eq!(known(&history, end + 1), None);
    }
}
