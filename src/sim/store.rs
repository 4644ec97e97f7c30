//! A simulated replica's durable state, record by record.
//!
//! What was appended survives a crash only once it is synced; a crash in the middle of
//! a sync leaves it done or not done, as drawn. What became durable since the last
//! look is kept for the checker, which keeps its own history of it.

use crate::message::MESSAGE_SLOTS_MAX;
use crate::paxos::chat::Chat;
use crate::paxos::learner::Checkpoint;
use crate::paxos::planted::{Bug, Planted};
use crate::paxos::{Storage, acceptor, learner, replica};
use crate::types::{DirectoryId, Slot, Value};
use std::io;

/// What a sync will do, if not what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncFault {
    /// Fails; nothing has become durable.
    Lost,
    /// Fails, or the process dies in it; everything has become durable.
    Kept,
}

fn fail() -> io::Error {
    io::Error::other("injected")
}

/// All that survives of one replica.
#[derive(Debug)]
pub struct Store {
    /// The directory's identity.
    pub directory: DirectoryId,
    /// The replica role's.
    pub replica: ReplicaStore,
    /// The acceptor's.
    pub acceptor: AcceptorStore,
    /// The learner's.
    pub learner: LearnerStore,
}

impl Store {
    /// An empty directory, of a cluster whose sessions live this many slots.
    pub fn new(directory: DirectoryId, session_window_slots: u64) -> Self {
        let chat = Chat::with_session_window(session_window_slots);
        let checkpoint = Checkpoint { applied: Slot::ZERO, chat };
        Store {
            directory,
            replica: ReplicaStore::default(),
            acceptor: AcceptorStore::default(),
            learner: LearnerStore { checkpoint, ..LearnerStore::default() },
        }
    }

    /// The same, with a planted bug.
    #[must_use]
    pub fn planted(mut self, planted: Planted) -> Self {
        self.acceptor.lazy = planted.has(Bug::AnswerBeforeDurable);
        self
    }

    /// The process has ended: what was not synced is gone.
    pub fn crash(&mut self) {
        self.acceptor.unsynced.clear();
        self.acceptor.fault = None;
        self.acceptor.observed.clear();
        self.learner.observed.clear();
    }
}

/// The started record.
#[derive(Debug, Default)]
pub struct ReplicaStore {
    /// The directories the cluster started with.
    pub started: Option<Vec<DirectoryId>>,
}

impl Storage<replica::Record> for ReplicaStore {
    fn append(&mut self, records: &mut Vec<replica::Record>) -> io::Result<()> {
        for replica::Record::Started(members) in records.drain(..) {
            self.started = Some(members);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Promises and acceptances.
#[derive(Debug, Default)]
pub struct AcceptorStore {
    synced: acceptor::State,
    unsynced: Vec<acceptor::Record>,
    /// What has become durable since the checker looked.
    pub observed: Vec<acceptor::Record>,
    /// A planted bug: a sync makes durable what was appended before the one before.
    lazy: bool,
    /// What the next sync does.
    pub fault: Option<SyncFault>,
}

impl AcceptorStore {
    /// What an acceptor finds at its start.
    pub fn recovered(&self) -> &acceptor::State {
        &self.synced
    }

    fn make_durable(&mut self) {
        for record in self.unsynced.drain(..) {
            self.synced.apply(&record);
            self.observed.push(record);
        }
    }
}

impl Storage<acceptor::Record> for AcceptorStore {
    fn append(&mut self, records: &mut Vec<acceptor::Record>) -> io::Result<()> {
        if self.lazy {
            self.make_durable();
        }
        self.unsynced.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.fault.take() {
            None if self.lazy => Ok(()),
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

/// The decided log.
#[derive(Debug, Default)]
pub struct LearnerStore {
    values: Vec<Value>,
    checkpoint: Checkpoint,
    /// What was recorded since the checker looked.
    pub observed: Vec<learner::Record>,
}

impl LearnerStore {
    /// Cuts the log back to the checkpoint, from where the learner goes on.
    pub fn recover(&mut self) -> Checkpoint {
        self.values.truncate(self.checkpoint.applied.0 as usize);
        self.checkpoint.clone()
    }
}

impl Storage<learner::Record> for LearnerStore {
    fn append(&mut self, records: &mut Vec<learner::Record>) -> io::Result<()> {
        for record in records.drain(..) {
            match &record {
                learner::Record::Applied { slot, value, .. } => {
                    assert!(slot.0 == self.values.len() as u64, "slots are applied in order");
                    self.values.push(value.clone());
                }
                learner::Record::Checkpoint(checkpoint) => self.checkpoint = checkpoint.clone(),
            }
            self.observed.push(record);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn decided(&mut self, first: Slot, upto: Slot, bytes: usize) -> io::Result<Vec<Value>> {
        let end = (upto.0 as usize).min(self.values.len());
        let start = (first.0 as usize).min(end);
        let mut room = bytes;
        let mut page: Vec<Value> = Vec::new();
        for value in self.values[start..end].iter().take(MESSAGE_SLOTS_MAX) {
            let bytes = value.wire_bytes_max();
            if bytes > room && !page.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            page.push(value.clone());
        }
        Ok(page)
    }
}
