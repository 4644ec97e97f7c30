//! A disk of the model: it knows what was written, what is synced, and whether a sync runs.
//!
//! It is a [`Storage`] like any other, and `Outbox::commit` uses it like a real one. A sync only
//! notes that it was asked for. The seat lets the sync end in a step of its own, and holds back
//! what `commit` returned until then. Records that were written and not synced are lost in a
//! crash.

use multipaxos::paxos::{DecidedPages, Storage, acceptor, learner};
use multipaxos::types::{Slot, SlotRange};
use multipaxos::values::{ValueRef, Values};
use std::fmt::Debug;
use std::hash::Hash;
use std::io;

/// The state that synced records make.
pub(crate) trait Kept: Clone + Eq + Hash + Debug {
    type Record: Clone + Eq + Hash + Debug;

    fn keep(&mut self, record: &Self::Record);

    /// The process has died: keeps only what its next life finds.
    fn cut_back(&mut self) {}

    fn decided(&self, first: Slot, upto: Slot) -> Values {
        let _ = (first, upto);
        Values::default()
    }
}

impl Kept for acceptor::State {
    type Record = acceptor::Record;

    fn keep(&mut self, record: &acceptor::Record) {
        self.apply(record);
    }
}

/// The decided log and its newest checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct DecidedLog {
    pub(crate) values: Vec<Values>,
    pub(crate) checkpoint: learner::Checkpoint,
    making: learner::Assembly,
}

impl Kept for DecidedLog {
    type Record = learner::Record;

    fn keep(&mut self, record: &learner::Record) {
        match record {
            learner::Record::Applied { values, .. } => {
                self.values.extend((0..values.len()).map(|at| values.slice(at..at + 1)));
            }
            learner::Record::Checkpoint(part) => {
                if let Some(checkpoint) = self.making.add(part) {
                    self.checkpoint = checkpoint;
                }
            }
        }
    }

    fn cut_back(&mut self) {
        self.making = learner::Assembly::default();
        self.values.truncate(self.checkpoint.applied.0 as usize);
    }

    fn decided(&self, first: Slot, upto: Slot) -> Values {
        let held = (first.0..upto.0).filter_map(|slot| self.values.get(slot as usize));
        held.map(|values| values.get(0)).collect::<Vec<ValueRef<'_>>>().into_iter().collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Disk<K: Kept> {
    pub(crate) kept: K,
    pub(crate) written: Vec<K::Record>,
    /// Whether a sync was asked for and has not ended.
    pub(crate) syncing: bool,
}

impl<K: Kept> Disk<K> {
    pub(crate) fn new(kept: K) -> Self {
        Disk { kept, written: Vec::new(), syncing: false }
    }

    /// The sync ends, and everything written is durable. Returns the records.
    pub(crate) fn end_sync(&mut self) -> Vec<K::Record> {
        self.syncing = false;
        let records = std::mem::take(&mut self.written);
        records.iter().for_each(|record| self.kept.keep(record));
        records
    }

    /// The process dies. `synced` says whether a sync that was running had made its records
    /// durable.
    pub(crate) fn crash(&mut self, synced: bool) -> Vec<K::Record> {
        let records = if synced { self.end_sync() } else { Vec::new() };
        self.written.clear();
        self.syncing = false;
        self.kept.cut_back();
        records
    }
}

impl<K: Kept> Storage<K::Record> for Disk<K> {
    fn append(&mut self, records: &mut Vec<K::Record>) -> io::Result<()> {
        self.written.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncing = true;
        Ok(())
    }
}

impl<K: Kept> DecidedPages for Disk<K> {
    fn decided(&mut self, slots: SlotRange, _bytes: usize) -> io::Result<Values> {
        Ok(self.kept.decided(slots.start, slots.end))
    }
}
