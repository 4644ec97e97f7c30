//! The storage of each role.

use super::fail;
use durable::sim_disk::SimDisk;
use multipaxos::message::MESSAGE_SLOTS_MAX;
use multipaxos::paxos::learner::{Assembly, Checkpoint, running_hash};
use multipaxos::paxos::{DecidedPages, Storage, Text, acceptor, bootstrap, learner};
use multipaxos::storage::acceptor_log::AcceptorLog;
use multipaxos::storage::data_dir::DataDir;
use multipaxos::storage::decided_log::DecidedLog;
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{DirectoryId, Origin, Slot, SlotRange, Value};
use multipaxos::values::Values;
use std::io;

/// The storage of the started record.
#[derive(Debug)]
pub enum BootstrapStore {
    /// In memory; also the chat log with which the cluster began.
    Records(Option<(Vec<DirectoryId>, Option<Origin>)>),
    /// On the disk.
    Sectors(Box<DataDir<SimDisk>>),
}

impl BootstrapStore {
    /// The started record, if it is kept as records.
    pub fn started(&self) -> Option<&Vec<DirectoryId>> {
        match self {
            BootstrapStore::Records(started) => started.as_ref().map(|(members, _)| members),
            BootstrapStore::Sectors(_) => None,
        }
    }
}

impl Storage<bootstrap::Record> for BootstrapStore {
    fn append(&mut self, records: &mut Vec<bootstrap::Record>) -> io::Result<()> {
        match self {
            BootstrapStore::Records(started) => {
                for bootstrap::Record::Started { members, origin } in records.drain(..) {
                    *started = Some((members, origin));
                }
                Ok(())
            }
            BootstrapStore::Sectors(dir) => dir.append(records),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match self {
            BootstrapStore::Records(_) => Ok(()),
            BootstrapStore::Sectors(dir) => dir.sync(),
        }
    }
}

impl Upkeep for BootstrapStore {}

/// How the next sync of records fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncFault {
    /// The sync fails, and none of its records is durable.
    Lost,
    /// The sync fails, or the process dies in it. All of its records are durable.
    Kept,
}

/// The storage of promises and acceptances.
#[derive(Debug, Default)]
pub struct AcceptorStore {
    pub(super) log: Option<Box<AcceptorLog<SimDisk>>>,
    pub(super) synced: acceptor::State,
    pub(super) unsynced: Vec<acceptor::Record>,
    /// The records that became durable since the checker last took them.
    pub observed: Vec<acceptor::Record>,
    /// How the next sync of records fails. Sectors fail on their own.
    pub fault: Option<SyncFault>,
}

impl AcceptorStore {
    /// The durable state, if it is kept as records.
    pub fn durable(&self) -> &acceptor::State {
        &self.synced
    }

    fn make_durable(&mut self) {
        for record in self.unsynced.drain(..) {
            if self.log.is_none() {
                self.synced.apply(&record);
            }
            self.observed.push(record);
        }
    }
}

impl Storage<acceptor::Record> for AcceptorStore {
    fn append(&mut self, records: &mut Vec<acceptor::Record>) -> io::Result<()> {
        self.unsynced.extend(records.iter().cloned());
        match &mut self.log {
            Some(log) => log.append(records),
            None => {
                records.clear();
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(log) = &mut self.log {
            log.sync()?;
        }
        match self.fault.take() {
            None => {
                self.make_durable();
                Ok(())
            }
            Some(SyncFault::Kept) => {
                self.make_durable();
                Err(fail())
            }
            Some(SyncFault::Lost) => {
                self.unsynced.clear();
                Err(fail())
            }
        }
    }
}

impl Upkeep for AcceptorStore {}

/// The storage of the decided log.
#[derive(Debug)]
pub struct LearnerStore {
    pub(super) kept: Kept,
    /// The records that were appended since the checker last took them.
    pub observed: Vec<learner::Record>,
}

#[derive(Debug)]
pub(super) enum Kept {
    Nothing,
    Records {
        values: Vec<Value>,
        newest: Box<Checkpoint>,
        durable: Box<Checkpoint>,
        /// The checkpoint whose last part has not come.
        making: Box<Assembly>,
    },
    Sectors(Box<DecidedLog<SimDisk>>),
}

impl LearnerStore {
    /// A copy of it, if it keeps records.
    pub(super) fn copied(&self) -> Option<LearnerStore> {
        let Kept::Records { values, newest, durable, making } = &self.kept else { return None };
        let kept = Kept::Records {
            values: values.clone(),
            newest: newest.clone(),
            durable: durable.clone(),
            making: making.clone(),
        };
        Some(LearnerStore { kept, observed: Vec::new() })
    }

    /// The end of the durable checkpoint, if it keeps records.
    pub(super) fn durable(&self) -> Option<Slot> {
        match &self.kept {
            Kept::Records { durable, .. } => Some(durable.applied),
            Kept::Nothing | Kept::Sectors(_) => None,
        }
    }

    /// See [`Store::alter`](super::Store::alter).
    pub(super) fn alter(&mut self, slots: SlotRange) -> Option<Slot> {
        let Kept::Records { values, newest, durable, .. } = &mut self.kept else { return None };
        let end = slots.end.min(durable.applied).0 as usize;
        let commands =
            (slots.start.0..).map(Slot).zip(values.get_mut(slots.start.0 as usize..end)?);
        let found = commands.filter_map(|(slot, value)| match value {
            Value::Command(command) => Some((slot, command)),
            Value::Noop | Value::Change(_) => None,
        });
        let (altered, command) = found.into_iter().next()?;
        command.line = format!("{}, as somebody would have it", command.line).into();
        for checkpoint in [newest, durable] {
            let values: Values = values[..checkpoint.applied.0 as usize].iter().collect();
            checkpoint.hash = running_hash(0, &values);
        }
        Some(altered)
    }

    /// Whether it is open and lacks no line that was cut off its chat log.
    pub fn has_all_lines(&self) -> bool {
        match &self.kept {
            Kept::Sectors(log) => log.is_whole(),
            Kept::Records { .. } => true,
            Kept::Nothing => false,
        }
    }

    /// Cuts the log back to the durable checkpoint, from which the learner goes on.
    pub(super) fn cut_back(&mut self) -> Checkpoint {
        match &mut self.kept {
            Kept::Records { values, newest, durable, making } => {
                **making = making.anew();
                values.truncate(durable.applied.0 as usize);
                newest.clone_from(durable);
                (**durable).clone()
            }
            Kept::Nothing | Kept::Sectors(_) => unreachable!("a disk is opened instead"),
        }
    }
}

impl Upkeep for LearnerStore {
    fn rest(&mut self) -> io::Result<()> {
        match &mut self.kept {
            Kept::Sectors(log) => log.rest(),
            Kept::Records { .. } | Kept::Nothing => Ok(()),
        }
    }

    fn decided_pages(&mut self) -> Option<&mut dyn DecidedPages> {
        Some(self)
    }
}

impl Storage<learner::Record> for LearnerStore {
    fn append(&mut self, records: &mut Vec<learner::Record>) -> io::Result<()> {
        self.observed.extend(records.iter().cloned());
        match &mut self.kept {
            Kept::Records { values, newest, durable, making } => {
                for record in records.drain(..) {
                    match record {
                        learner::Record::Applied { first, values: applied, .. } => {
                            assert!(first.0 == values.len() as u64, "slots are applied in order");
                            values.extend(applied.to_vec());
                        }
                        learner::Record::Checkpoint(part) => {
                            if part.is_first {
                                durable.clone_from(newest);
                            }
                            if let Some(checkpoint) = making.add(&part) {
                                *newest = checkpoint.into();
                            }
                        }
                    }
                }
                Ok(())
            }
            Kept::Sectors(log) => log.append(records),
            Kept::Nothing => Err(fail()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match &mut self.kept {
            Kept::Sectors(log) => log.sync(),
            Kept::Records { .. } | Kept::Nothing => Ok(()),
        }
    }
}

impl DecidedPages for LearnerStore {
    fn decided(&mut self, slots: SlotRange, bytes: usize) -> io::Result<Values> {
        let SlotRange { start: first, end: upto } = slots;
        let values = match &mut self.kept {
            Kept::Records { values, .. } => values,
            Kept::Sectors(log) => return log.decided(SlotRange::new(first, upto), bytes),
            Kept::Nothing => return Err(fail()),
        };
        let end = (upto.0 as usize).min(values.len());
        let start = (first.0 as usize).min(end);
        let values = values[start..end].iter().take(MESSAGE_SLOTS_MAX);
        let page: Values = values.collect();
        let fitting = page.fitting(bytes).max(1).min(page.len());
        Ok(page.slice(0..fitting))
    }

    fn text(&mut self, slot: Slot, offset: u64, bytes: usize) -> io::Result<Option<Text>> {
        match &mut self.kept {
            Kept::Sectors(log) => log.text(slot, offset, bytes),
            // Records are no text.
            Kept::Records { .. } => Ok(None),
            Kept::Nothing => Err(fail()),
        }
    }
}
