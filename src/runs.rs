//! What slots hold, a run of neighbours at a time.
//!
//! Values come in runs, each at one ballot. [`Runs`] keeps them as they came, so that a run
//! costs one step, however many slots it has. It means the same as a map from slots to
//! ballots and values, in which only a higher ballot replaces a slot's entry (S4). How the
//! runs are cut changes nothing but the time it takes.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::message::{Run, Spans};
use crate::types::{Ballot, Slot, SlotRange};
use crate::values::{ValueRef, Values};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// How a part of a run compares with what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Nothing is held there, or something at a lower ballot.
    New,
    /// The same is held, at the same ballot.
    Same,
    /// Something else is held at the same ballot.
    Conflict,
    /// Something is held at a higher ballot.
    Older,
}

/// What slots hold, each the value at the highest ballot that was put there.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    /// By their first slots. No run overlaps another, and none is empty.
    runs: BTreeMap<Slot, (Ballot, Values)>,
    /// How many slots hold something.
    slots: usize,
    /// How many bytes all their values take.
    bytes: usize,
}

impl Runs {
    /// The run that holds `slot`, from there on.
    pub fn at(&self, slot: Slot) -> Option<Run> {
        let (first, (ballot, values)) = self.last_from(slot)?;
        let start = slot.since(*first) as usize;
        let held = start < values.len();
        held.then(|| Run { first: slot, ballot: *ballot, values: values.skip(start) })
    }

    /// What `slot` holds, and at which ballot.
    pub fn get(&self, slot: Slot) -> Option<(Ballot, ValueRef<'_>)> {
        let (first, (ballot, values)) = self.last_from(slot)?;
        let index = slot.since(*first) as usize;
        (index < values.len()).then(|| (*ballot, values.get(index)))
    }

    /// What is held in `slots`, in order.
    pub fn range(&self, slots: SlotRange) -> impl Iterator<Item = Run> {
        let start = self.start_of(slots.start);
        self.runs
            .range(start..slots.end.max(start))
            .map(move |(first, (ballot, values))| {
                let run = Run { first: *first, ballot: *ballot, values: values.clone() };
                run.within(slots)
            })
            .filter(|run| !run.values.is_empty())
    }

    /// The first slot and the ballot of each run.
    pub fn heads(&self) -> impl Iterator<Item = (Slot, Ballot)> {
        self.runs.iter().map(|(first, (ballot, _))| (*first, *ballot))
    }

    /// In which of `slots` something is held, and at which ballots.
    pub fn spans(&self, slots: SlotRange) -> Spans {
        let mut spans = Spans::default();
        self.ranges_in(slots).for_each(|(held, ballot)| spans.push(held, ballot));
        spans
    }

    /// The slots of each run, as far as they are among `slots`, and its ballot. The first may
    /// have none.
    pub fn ranges_in(
        &self,
        slots: SlotRange,
    ) -> impl DoubleEndedIterator<Item = (SlotRange, Ballot)> {
        let start = self.start_of(slots.start);
        self.runs.range(start..slots.end.max(start)).map(move |(first, (ballot, values))| {
            let held = SlotRange::with_len(*first, values.len() as u64);
            (held.intersect(slots), *ballot)
        })
    }

    /// The first slot and the ballot of each run that begins in `slots`.
    pub fn heads_in(&self, slots: SlotRange) -> impl Iterator<Item = (Slot, Ballot)> {
        let runs = self.runs.range(slots.start..slots.end.max(slots.start));
        runs.map(|(first, (ballot, _))| (*first, *ballot))
    }

    /// Everything, in order.
    pub fn iter(&self) -> impl Iterator<Item = Run> {
        self.range(SlotRange::onward(Slot::ZERO))
    }

    /// How many slots hold something.
    pub fn len(&self) -> usize {
        self.slots
    }

    /// How many bytes their values take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no slot holds anything.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The slot after the last one that is held.
    pub fn end(&self) -> Option<Slot> {
        let (first, (_, values)) = self.runs.last_key_value()?;
        Some(first.plus(values.len() as u64))
    }

    /// Whether nothing is held in `slot` or above it.
    fn is_above_all(&self, slot: Slot) -> bool {
        self.end().is_none_or(|end| end <= slot)
    }

    /// Cuts `run` where its comparison changes, and says how each part compares.
    pub fn compare(&self, run: &Run) -> Vec<(Run, Comparison)> {
        let (mut at, end) = (run.first, run.end());
        if at < end && self.is_above_all(at) {
            return vec![(run.clone(), Comparison::New)];
        }
        let mut parts: Vec<(Run, Comparison)> = Vec::with_capacity(1);
        while at < end {
            let (next, comparison) = self.compare_beginning(&run.within(SlotRange::new(at, end)));
            match parts.last_mut() {
                Some((part, same)) if *same == comparison => {
                    *part = run.within(SlotRange::new(part.first, next));
                }
                _ => parts.push((run.within(SlotRange::new(at, next)), comparison)),
            }
            at = next;
        }
        parts
    }

    /// How the beginning of `run` compares, and the end of that beginning. The slots behind it
    /// may compare in the same way.
    fn compare_beginning(&self, run: &Run) -> (Slot, Comparison) {
        let Some(held) = self.at(run.first) else {
            let next = self.runs.range(run.first..run.end()).next();
            return (next.map_or(run.end(), |(first, _)| *first), Comparison::New);
        };
        let part = run.within(held.slots());
        if held.ballot != run.ballot {
            let newer = held.ballot < run.ballot;
            return (part.end(), if newer { Comparison::New } else { Comparison::Older });
        }
        if held.values.slice(0..part.values.len()) == part.values {
            return (part.end(), Comparison::Same);
        }
        let same = held.values.get(0) == part.values.get(0);
        (run.first.next(), if same { Comparison::Same } else { Comparison::Conflict })
    }

    /// Puts a run wherever nothing is held, or something at a lower ballot.
    ///
    /// # Errors
    ///
    /// The first slot that holds another value at the same ballot. That value stays.
    pub fn insert(&mut self, run: Run) -> Result<(), Slot> {
        if run.values.is_empty() {
            return Ok(());
        }
        if self.is_above_all(run.first) {
            self.put(run);
            return Ok(());
        }
        let mut conflict = Ok(());
        for (part, comparison) in self.compare(&run) {
            match comparison {
                Comparison::New => {
                    self.cut_out(part.slots());
                    self.put(part);
                }
                Comparison::Conflict => conflict = conflict.and(Err(part.first)),
                Comparison::Same | Comparison::Older => {}
            }
        }
        conflict
    }

    /// Forgets what is held below `end`.
    pub fn trim(&mut self, end: Slot) {
        while let Some(first) = self.runs.first_key_value().map(|(first, _)| *first)
            && first < end
            && let Some(run) = self.take(first)
        {
            self.put(run.within(SlotRange::onward(end)));
        }
    }

    /// Takes out the highest run that begins above `slot`.
    pub fn pop_above(&mut self, slot: Slot) -> Option<Run> {
        let (last, _) = self.runs.last_key_value().filter(|(first, _)| **first > slot)?;
        self.take(*last)
    }

    /// Forgets what is held in `slots`.
    fn cut_out(&mut self, slots: SlotRange) {
        let SlotRange { start, end } = slots;
        let from = self.start_of(start);
        let touched: Vec<Slot> = self.runs.range(from..end).map(|(first, _)| *first).collect();
        for first in touched {
            let Some(run) = self.take(first) else { continue };
            self.put(run.within(SlotRange::new(run.first, start)));
            self.put(run.within(SlotRange::onward(end)));
        }
    }

    /// Puts a run where nothing is held.
    fn put(&mut self, run: Run) {
        if !run.values.is_empty() {
            self.slots += run.values.len();
            self.bytes += run.values.bytes().len();
            self.runs.insert(run.first, (run.ballot, run.values));
        }
    }

    fn take(&mut self, first: Slot) -> Option<Run> {
        let (ballot, values) = self.runs.remove(&first)?;
        self.slots -= values.len();
        self.bytes -= values.bytes().len();
        Some(Run { first, ballot, values })
    }

    /// The first slot of the last run that begins at or below `slot`; `slot` itself if there
    /// is none.
    fn start_of(&self, slot: Slot) -> Slot {
        self.last_from(slot).map_or(slot, |(first, _)| *first)
    }

    /// The last run that begins at or below `slot`: mostly the last of all, which is found
    /// without a comparison.
    fn last_from(&self, slot: Slot) -> Option<(&Slot, &(Ballot, Values))> {
        let last = self.runs.last_key_value()?;
        if *last.0 <= slot { Some(last) } else { self.runs.range(..=slot).next_back() }
    }

    /// Slot by slot, however the runs are cut.
    fn slots(&self) -> impl Iterator<Item = (Slot, Ballot, ValueRef<'_>)> {
        self.runs.iter().flat_map(|(first, (ballot, values))| {
            let slots = (first.0..).map(Slot);
            slots.zip(values.iter()).map(|(slot, value)| (slot, *ballot, value))
        })
    }
}

impl PartialEq for Runs {
    fn eq(&self, other: &Runs) -> bool {
        self.slots().eq(other.slots())
    }
}

impl Eq for Runs {}

impl Hash for Runs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.slots().for_each(|slot| slot.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Request, Span};
    use crate::types::Value;

    fn value(number: u64) -> Value {
        match number {
            0 => Value::Noop,
            _ => Value::Command(Request::new(7, 1, number, "x").command()),
        }
    }

    fn run(first: u64, ballot: u64, numbers: &[u64]) -> Run {
        let values = numbers.iter().map(|number| value(*number)).collect::<Vec<_>>().into();
        Run { first: Slot(first), ballot: Ballot(ballot), values }
    }

    /// The same, slot by slot.
    type Model = BTreeMap<Slot, (Ballot, Value)>;

    fn insert(model: &mut Model, run: &Run) -> Result<(), Slot> {
        let mut conflict = Ok(());
        for (slot, value) in (run.first.0..).map(Slot).zip(run.values.to_vec()) {
            match model.get(&slot) {
                Some((ballot, held)) if *ballot == run.ballot && *held != value => {
                    conflict = conflict.and(Err(slot));
                }
                Some((ballot, _)) if *ballot >= run.ballot => {}
                _ => {
                    model.insert(slot, (run.ballot, value));
                }
            }
        }
        conflict
    }

    fn assert_same(runs: &Runs, model: &Model) {
        let held: Model =
            runs.slots().map(|(slot, ballot, value)| (slot, (ballot, value.to_value()))).collect();
        assert_eq!(held, *model);
        assert_eq!(runs.len(), model.len());
        let bytes: usize = runs.slots().map(|(_, _, value)| value.encoded_bytes()).sum();
        assert_eq!(runs.bytes(), bytes);
        assert_eq!(runs.is_empty(), model.is_empty());
        assert_eq!(runs.end(), model.last_key_value().map(|(slot, _)| slot.next()));
        for slot in (0..40).map(Slot) {
            let held = runs.get(slot).map(|(ballot, value)| (ballot, value.to_value()));
            assert_eq!(held.as_ref(), model.get(&slot));
            assert_eq!(runs.at(slot).is_some(), model.contains_key(&slot));
        }
    }

    #[test]
    fn runs_are_a_map_of_slots_however_they_come_and_are_cut() {
        for seed in 0..400 {
            let mut rng = seeds::stream(seed, "draws");
            let (mut runs, mut model) = (Runs::default(), Model::default());
            for _ in 0..20 {
                if rng.u8(..8) == 0 {
                    let end = Slot(rng.u64(..20));
                    runs.trim(end);
                    model = model.split_off(&end);
                } else {
                    let numbers: Vec<u64> = (0..rng.usize(..9)).map(|_| rng.u64(..2)).collect();
                    let run = run(rng.u64(..30), rng.u64(..3), &numbers);
                    assert_eq!(runs.insert(run.clone()), insert(&mut model, &run), "seed {seed}");
                }
                assert_same(&runs, &model);
                let (start, end) = (Slot(rng.u64(..40)), Slot(rng.u64(..40)));
                let slots = SlotRange::new(start, end);
                let ranged: usize = runs.range(slots).map(|run| run.values.len()).sum();
                assert_eq!(ranged, model.range(start..end.max(start)).count(), "seed {seed}");
                let spans = runs.spans(slots);
                let each = |span: Span| span.slots.iter().map(move |slot| (slot, span.ballot));
                let held = model.range(start..end.max(start)).map(|(slot, (at, _))| (*slot, *at));
                assert!(spans.iter().flat_map(each).eq(held), "seed {seed}");
            }
        }
    }

    #[test]
    fn equal_contents_are_equal_and_hash_alike_however_they_are_cut() {
        let whole = {
            let mut runs = Runs::default();
            runs.insert(run(3, 1, &[1, 2, 3])).unwrap();
            runs
        };
        let mut pieces = Runs::default();
        for (slot, number) in [(5, 3), (3, 1), (4, 2)] {
            pieces.insert(run(slot, 1, &[number])).unwrap();
        }
        assert_eq!(whole, pieces);
        let hash = |runs: &Runs| {
            let mut hasher = std::hash::DefaultHasher::new();
            runs.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(&whole), hash(&pieces));
        pieces.insert(run(4, 2, &[2])).unwrap();
        assert_ne!(whole, pieces);
        assert_ne!(hash(&whole), hash(&pieces));
    }

    #[test]
    fn a_run_is_cut_where_what_is_held_changes() {
        let mut runs = Runs::default();
        runs.insert(run(2, 1, &[1, 2])).unwrap();
        runs.insert(run(4, 3, &[3])).unwrap();
        let parts = runs.compare(&run(1, 1, &[9, 1, 9, 9, 9]));
        let shown: Vec<(u64, usize, Comparison)> = parts
            .iter()
            .map(|(run, comparison)| (run.first.0, run.values.len(), *comparison))
            .collect();
        assert_eq!(
            shown,
            [
                (1, 1, Comparison::New),
                (2, 1, Comparison::Same),
                (3, 1, Comparison::Conflict),
                (4, 1, Comparison::Older),
                (5, 1, Comparison::New),
            ]
        );
    }

    #[test]
    fn neighbours_that_compare_alike_are_one_part_however_they_are_held() {
        let mut runs = Runs::default();
        for slot in [2, 3, 5] {
            runs.insert(run(slot, 1, &[1])).unwrap();
        }
        for (ballot, comparison) in
            [(0, Comparison::Older), (1, Comparison::Same), (2, Comparison::New)]
        {
            let asked = run(2, ballot, &[1, 1]);
            assert_eq!(runs.compare(&asked), [(asked, comparison)]);
        }
    }
}
