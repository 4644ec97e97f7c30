//! Slots and the ballots at which they are held, without the values.
//!
//! Under one ballot a slot has one value (rule I2), so a slot and a ballot name a value.
//! Phase 1 speaks of values by these names, and moves only those that the candidate lacks.
//!
//! On the wire a span is the gap behind the one before it, its length and its ballot. Each
//! of the three mostly takes one byte.

use super::MESSAGE_SLOTS_MAX;
use crate::types::{Ballot, NUMBER_MAX, Slot, SlotRange};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Consecutive slots that are held at one ballot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The slots: one at least.
    pub slots: SlotRange,
    /// The ballot at which each of them is held.
    pub ballot: Ballot,
}

/// Spans in the order of their slots. No two overlap, and two that touch differ in their
/// ballots: so two lists that say the same are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Adds a span behind the others. It melts into the last one if it continues it.
    ///
    /// # Panics
    ///
    /// If it begins below the end of the others.
    pub fn push(&mut self, slots: SlotRange, ballot: Ballot) {
        if slots.is_empty() {
            return;
        }
        assert!(slots.start >= self.end(), "spans ascend");
        match self.0.last_mut() {
            Some(last) if last.slots.end == slots.start && last.ballot == ballot => {
                last.slots.end = slots.end;
            }
            _ => self.0.push(Span { slots, ballot }),
        }
    }

    /// The spans.
    pub fn iter(&self) -> impl Iterator<Item = Span> + Clone {
        self.0.iter().copied()
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no slot is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many spans it has room for: a test checks that no datagram makes it reserve more
    /// than its bytes justify.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The slot after the last one that is held; 0 if none is.
    pub fn end(&self) -> Slot {
        self.0.last().map_or(Slot::ZERO, |last| last.slots.end)
    }

    /// The first slot at or above `slot` that is not held.
    pub fn hole_from(&self, slot: Slot) -> Slot {
        let mut hole = slot;
        for span in self.0.iter().filter(|span| span.slots.end > slot) {
            if span.slots.start > hole {
                break;
            }
            hole = span.slots.end;
        }
        hole
    }

    /// What is held in `slots`.
    #[must_use]
    pub fn within(&self, slots: SlotRange) -> Spans {
        let mut within = Spans::default();
        self.0.iter().for_each(|span| within.push(span.slots.intersect(slots), span.ballot));
        within
    }

    /// What either holds, each slot at the higher of its ballots.
    #[must_use]
    pub fn highest(&self, other: &Spans) -> Spans {
        self.combine(other, Option::max)
    }

    /// What both hold at the same ballot.
    #[must_use]
    pub fn agreeing(&self, other: &Spans) -> Spans {
        self.combine(other, |mine, theirs| mine.filter(|_| mine == theirs))
    }

    /// What this one holds in slots in which the other holds nothing.
    #[must_use]
    pub fn without(&self, other: &Spans) -> Spans {
        self.combine(other, |mine, theirs| mine.filter(|_| theirs.is_none()))
    }

    /// For each slot, what `pick` makes of the ballots at which it is held.
    fn combine(
        &self,
        other: &Spans,
        pick: impl Fn(Option<Ballot>, Option<Ballot>) -> Option<Ballot>,
    ) -> Spans {
        let mut combined = Spans::default();
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut at = Slot::ZERO;
        loop {
            while mine.next_if(|span| span.slots.end <= at).is_some() {}
            while theirs.next_if(|span| span.slots.end <= at).is_some() {}
            let spans = [mine.peek(), theirs.peek()];
            // From here up to the next end or beginning, nothing changes.
            let SlotRange { end, .. } = match spans.map(|span| span.map(|span| span.slots)) {
                [None, None] => return combined,
                [Some(slots), None] | [None, Some(slots)] => unchanged(at, slots),
                [Some(a), Some(b)] => unchanged(at, a).intersect(unchanged(at, b)),
            };
            let held = |span: Option<&&Span>| {
                span.filter(|span| span.slots.start <= at).map(|span| span.ballot)
            };
            if let Some(ballot) = pick(held(spans[0]), held(spans[1])) {
                combined.push(SlotRange::new(at, end), ballot);
            }
            at = end;
        }
    }

    /// The same spans, in lists of at most `spans_max` that take at most `bytes` each, but one
    /// span at least.
    pub fn pages(&self, bytes: usize, spans_max: usize) -> impl Iterator<Item = Spans> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (mut room, mut end, mut count) = (bytes, Slot::ZERO, 0);
            for span in rest {
                let needs = encoded_bytes(end, *span);
                if count > 0 && (needs > room || count >= spans_max.min(MESSAGE_SLOTS_MAX)) {
                    break;
                }
                (room, end, count) = (room.saturating_sub(needs), span.slots.end, count + 1);
            }
            let (page, behind) = rest.split_at(count);
            rest = behind;
            (!page.is_empty()).then(|| Spans(page.to_vec()))
        })
    }
}

/// From `at` on, up to where `slots` begin or end.
fn unchanged(at: Slot, slots: SlotRange) -> SlotRange {
    SlotRange::new(at, if at < slots.start { slots.start } else { slots.end })
}

/// How many bytes a span takes behind slot `end`.
fn encoded_bytes(end: Slot, span: Span) -> usize {
    let varint = |number: u64| (64 - number.leading_zeros() as usize).div_ceil(7).max(1);
    varint(span.slots.start.since(end)) + varint(span.slots.len()) + varint(span.ballot.0)
}

impl FromIterator<Span> for Spans {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Spans {
        let mut all = Spans::default();
        spans.into_iter().for_each(|Span { slots, ballot }| all.push(slots, ballot));
        all
    }
}

impl Serialize for Spans {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut end = Slot::ZERO;
        to.collect_seq(self.0.iter().map(|Span { slots, ballot }| {
            let gap = slots.start.since(end);
            end = slots.end;
            (gap, slots.len(), ballot)
        }))
    }
}

impl<'de> Deserialize<'de> for Spans {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Spans, D::Error> {
        let listed: Vec<(u64, u64, Ballot)> = super::bounded::list(from, MESSAGE_SLOTS_MAX)?;
        let mut spans = Spans(Vec::with_capacity(listed.len()));
        for (gap, len, ballot) in listed {
            let slots = SlotRange::with_len(spans.end().plus(gap), len);
            if slots.is_empty() || slots.end.0 > NUMBER_MAX {
                return Err(D::Error::custom("no span of slots"));
            }
            spans.push(slots, ballot);
        }
        Ok(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The same, slot by slot.
    type Model = BTreeMap<u64, u64>;

    fn model(spans: &Spans) -> Model {
        let each = |span: Span| span.slots.iter().map(move |slot| (slot.0, span.ballot.0));
        spans.iter().flat_map(each).collect()
    }

    fn draw(rng: &mut fastrand::Rng) -> Spans {
        let mut spans = Spans::default();
        for _ in 0..rng.usize(..6) {
            let slots = SlotRange::with_len(spans.end().plus(rng.u64(..3)), rng.u64(..4));
            spans.push(slots, Ballot(rng.u64(..3)));
        }
        spans
    }

    #[test]
    fn spans_are_a_map_of_slots_to_ballots() {
        for seed in 0..2_000 {
            let mut rng = seeds::stream(seed, "draws");
            let (one, other) = (draw(&mut rng), draw(&mut rng));
            let (a, b) = (model(&one), model(&other));
            let slots = SlotRange::new(Slot(rng.u64(..20)), Slot(rng.u64(..20)));
            let keep = |keep: &dyn Fn(u64, u64) -> bool| -> Model {
                a.iter()
                    .map(|(slot, at)| (*slot, *at))
                    .filter(|(slot, at)| keep(*slot, *at))
                    .collect()
            };
            let mut highest = a.clone();
            b.iter().for_each(|(slot, ballot)| {
                let held = highest.entry(*slot).or_default();
                *held = (*held).max(*ballot);
            });
            assert_eq!(model(&one.highest(&other)), highest, "seed {seed}");
            assert_eq!(model(&one.agreeing(&other)), keep(&|slot, at| b.get(&slot) == Some(&at)));
            assert_eq!(model(&one.without(&other)), keep(&|slot, _| !b.contains_key(&slot)));
            assert_eq!(model(&one.within(slots)), keep(&|slot, _| slots.contains(Slot(slot))));
            for slot in 0..20 {
                let hole = (slot..).find(|slot| !a.contains_key(slot));
                assert_eq!(Some(one.hole_from(Slot(slot)).0), hole, "seed {seed}, slot {slot}");
            }
            let again: Spans = one.highest(&other).iter().collect();
            assert_eq!(again, other.highest(&one), "seed {seed}");
            let bytes = postcard::to_stdvec(&one).expect("encodes");
            assert_eq!(postcard::from_bytes(&bytes), Ok(one), "seed {seed}");
        }
    }

    #[test]
    fn pages_hold_everything_and_no_more_bytes_than_they_may() {
        for seed in 0..500 {
            let mut rng = seeds::stream(seed, "draws");
            let mut spans = Spans::default();
            for _ in 0..rng.usize(..40) {
                let far = 1 << rng.u32(..30);
                let slots =
                    SlotRange::with_len(spans.end().plus(rng.u64(..far)), rng.u64(1..far + 1));
                spans.push(slots, Ballot(rng.u64(..far)));
            }
            let (bytes_max, spans_max) = (rng.usize(1..60), rng.usize(1..30));
            let pages: Vec<Spans> = spans.pages(bytes_max, spans_max).collect();
            for page in &pages {
                let bytes = postcard::to_stdvec(page).expect("encodes").len() - 1;
                assert!(bytes <= bytes_max || page.len() == 1, "seed {seed}: {bytes} bytes");
                assert!(page.len() <= spans_max, "seed {seed}: {} spans", page.len());
            }
            assert_eq!(pages.iter().flat_map(Spans::iter).collect::<Spans>(), spans);
        }
        let many: Spans = (0..2 * MESSAGE_SLOTS_MAX as u64)
            .map(|at| Span { slots: SlotRange::with_len(Slot(2 * at), 1), ballot: Ballot(0) })
            .collect();
        assert_eq!(
            many.pages(usize::MAX, usize::MAX).map(|page| page.len()).max(),
            Some(MESSAGE_SLOTS_MAX)
        );
    }

    #[test]
    fn what_says_no_spans_is_refused() {
        let read = |spans: &[(u64, u64, u64)]| {
            let bytes = postcard::to_stdvec(spans).expect("encodes");
            postcard::from_bytes::<Spans>(&bytes).map(|spans| spans.len())
        };
        assert_eq!(read(&[(3, 1, 0), (0, 1, 1), (0, 2, 1)]), Ok(2), "the last two are one");
        assert!(read(&[(3, 0, 0)]).is_err(), "no slot");
        assert!(read(&[(NUMBER_MAX, 1, 0)]).is_err(), "too high");
        assert!(read(&[(1, 1, 0), (u64::MAX, 1, 0)]).is_err(), "too high");
        assert!(read(&[(1, u64::MAX, 0)]).is_err(), "too high");
        assert!(read(&[(1, 1, NUMBER_MAX + 1)]).is_err(), "no ballot");
    }
}
