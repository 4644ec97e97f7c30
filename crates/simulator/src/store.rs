//! The storage of a simulated replica: it survives the process.
//!
//! There are two kinds. *Records* keeps records in memory and makes each sync all or nothing.
//! It is fast, and most runs use it. *Sectors* is the real storage code: the data directory,
//! the acceptor's log and the decided log. It runs on a [`SimDisk`] that loses and tears
//! sectors that were not synced, that has no space left, and that fails.
//!
//! The store also keeps the records that became durable, until the checker takes them into
//! its history. If a process dies during a sync, nobody knows whether that burst is durable.
//! The next opening shows it ([`Store::in_doubt`]).

use durable::sim_disk::{Fault, SimDisk, Survival};
use fastrand::Rng;
use multipaxos::chat::Chat;
use multipaxos::message::MESSAGE_SLOTS_MAX;
use multipaxos::paxos::learner::Checkpoint;
use multipaxos::paxos::{DecidedPages, Storage, acceptor, bootstrap, learner};
use multipaxos::storage::Durability;
use multipaxos::storage::acceptor_log::{self, AcceptorLog};
use multipaxos::storage::data_dir::{DataDir, Found, Purpose};
use multipaxos::storage::decided_log::{DecidedLog, Location};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{DirectoryId, ReplicaId, Slot, SlotRange, Value};
use multipaxos::values::Values;
use std::io;

/// The length of a simulated segment. It is short, so that the log begins and drops many.
const SEGMENT_BYTES: u64 = 8 * 1024;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Death {
    /// The process was killed. Its writes are still in the page cache.
    Killed,
    /// The power was cut. Each sector that was not synced survives or is lost, at random.
    PowerCut,
}

/// Why a store could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// An I/O error, or no space. Another attempt may succeed.
    Trouble(String),
    /// The storage code found damage and refused to open.
    Refused(String),
}

fn fail() -> io::Error {
    io::Error::other("injected")
}

/// The storage of one replica, and the open files of its present life.
#[derive(Debug)]
pub struct Store {
    /// The directory's identity.
    pub directory: DirectoryId,
    /// The started record, if it is durable.
    pub started: Option<Vec<DirectoryId>>,
    /// The acceptor's state at the start of a life.
    pub state: acceptor::State,
    /// The checkpoint from which the learner goes on.
    pub checkpoint: Checkpoint,
    /// The storage of the bootstrap role.
    pub bootstrap: BootstrapStore,
    /// The storage of the acceptor.
    pub acceptor: AcceptorStore,
    /// The storage of the learner.
    pub learner: LearnerStore,
    session_window_slots: u64,
    sectors: Option<SimDisk>,
}

impl Store {
    /// An empty directory of a cluster whose sessions expire after this many slots.
    pub fn records(directory: DirectoryId, session_window_slots: u64) -> Self {
        let chat = Chat::with_session_window(session_window_slots);
        let checkpoint = Checkpoint { applied: Slot::ZERO, chat };
        Store {
            directory,
            started: None,
            state: acceptor::State::default(),
            checkpoint: checkpoint.clone(),
            bootstrap: BootstrapStore::Records(None),
            acceptor: AcceptorStore::default(),
            learner: LearnerStore {
                kept: Kept::Records {
                    values: Vec::new(),
                    newest: checkpoint.clone().into(),
                    durable: checkpoint.into(),
                },
                observed: Vec::new(),
            },
            session_window_slots,
            sectors: None,
        }
    }

    /// An empty disk. Sessions expire after as many slots as in a real replica.
    pub fn sectors(directory: DirectoryId, rng: Rng) -> Self {
        let window = multipaxos::chat::SESSION_WINDOW_SLOTS;
        let mut store = Store::records(directory, window);
        store.sectors = Some(SimDisk::new(rng));
        store
    }

    /// The simulated disk, if this store runs on one.
    pub fn disk(&self) -> Option<&SimDisk> {
        self.sectors.as_ref()
    }

    /// Opens the store for a new life of the process.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the disk fails or is damaged.
    pub fn open(&mut self, id: ReplicaId, n: usize) -> Result<(), Closed> {
        let Some(disk) = &self.sectors else {
            let BootstrapStore::Records(started) = &self.bootstrap else { unreachable!("records") };
            self.started.clone_from(started);
            self.state = self.acceptor.synced.clone();
            self.checkpoint = self.learner.cut_back();
            return Ok(());
        };
        let trouble = |error: io::Error| Closed::Trouble(error.to_string());
        let refused = |error: durable::error::OpenError| match error {
            durable::error::OpenError::Io(error) => Closed::Trouble(error.to_string()),
            other => Closed::Refused(other.to_string()),
        };
        let (data, log_dir) = (disk.folder("data"), disk.folder("logs"));
        let purpose = Purpose {
            replica: id,
            n,
            durability: Durability::Sync,
            host_boot: String::new(),
            drawn: self.directory,
        };
        let (dir, found) = DataDir::open(data.clone(), purpose).map_err(|error| match error {
            multipaxos::storage::data_dir::Refused::Unusable(error) => refused(error),
            other => Closed::Refused(other.to_string()),
        })?;
        let directory = dir.directory();
        let place =
            Location { log_dir: &log_dir, name: "learner.txt", data: data.clone(), directory };
        let options = acceptor_log::Options { segment_bytes: SEGMENT_BYTES, waits: true };
        let (log, decided);
        match found {
            Found::Member(members) => {
                let (opened, state) =
                    AcceptorLog::open(data.clone(), directory.0, options).map_err(refused)?;
                let (held, checkpoint) =
                    DecidedLog::open(place, Durability::Sync).map_err(refused)?;
                (log, decided) = (opened, held);
                (self.started, self.state, self.checkpoint) = (Some(members), state, checkpoint);
            }
            Found::Fresh | Found::Wiped(_) => {
                log = AcceptorLog::create(data.clone(), directory.0, options).map_err(trouble)?;
                decided = DecidedLog::create(place, Durability::Sync).map_err(trouble)?.0;
                (self.started, self.state) = (None, acceptor::State::default());
                self.checkpoint = Checkpoint::default();
            }
        }
        self.directory = directory;
        self.bootstrap = BootstrapStore::Sectors(Box::new(dir));
        self.acceptor.log = Some(Box::new(log));
        self.learner.kept = Kept::Sectors(Box::new(decided));
        Ok(())
    }

    /// The process has ended. A killed process loses nothing that it wrote; a power cut loses
    /// sectors that were not synced, at random.
    pub fn crash(&mut self, death: Death) {
        self.acceptor.fault = None;
        self.acceptor.observed.clear();
        self.learner.observed.clear();
        let Some(disk) = &mut self.sectors else {
            self.acceptor.unsynced.clear();
            return;
        };
        self.bootstrap = BootstrapStore::Records(None);
        self.acceptor.log = None;
        self.learner.kept = Kept::Nothing;
        match death {
            Death::Killed => disk.crash_process(),
            Death::PowerCut => disk.power_cut(Survival::Random),
        }
    }

    /// Takes the burst that was being synced when the process died, if it died in a sync.
    pub fn in_doubt(&mut self) -> Vec<acceptor::Record> {
        std::mem::take(&mut self.acceptor.unsynced)
    }

    /// Makes one of the next calls fail: one that changes the disk, or a read.
    pub fn fail_soon(&mut self, fault: Fault, rng: &mut Rng) {
        let (soon, read) = (rng.u64(0..6), rng.u8(0..4) == 0);
        match &self.sectors {
            Some(disk) if read => disk.fail_read_at(disk.reads() + soon),
            Some(disk) => disk.fail_at(disk.calls() + soon, fault),
            None => {}
        }
    }

    /// Replaces the store by an empty one with another directory identity.
    pub fn wipe(&mut self, directory: DirectoryId, rng: Rng) {
        *self = match self.sectors {
            Some(_) => Store::sectors(directory, rng),
            None => Store::records(directory, self.session_window_slots),
        };
    }
}

/// The storage of the started record.
#[derive(Debug)]
pub enum BootstrapStore {
    /// In memory.
    Records(Option<Vec<DirectoryId>>),
    /// On the disk.
    Sectors(Box<DataDir<SimDisk>>),
}

impl BootstrapStore {
    /// The started record, if it is kept as records.
    pub fn started(&self) -> Option<&Vec<DirectoryId>> {
        match self {
            BootstrapStore::Records(started) => started.as_ref(),
            BootstrapStore::Sectors(_) => None,
        }
    }
}

impl Storage<bootstrap::Record> for BootstrapStore {
    fn append(&mut self, records: &mut Vec<bootstrap::Record>) -> io::Result<()> {
        match self {
            BootstrapStore::Records(started) => {
                for bootstrap::Record::Started(members) in records.drain(..) {
                    *started = Some(members);
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
    log: Option<Box<AcceptorLog<SimDisk>>>,
    synced: acceptor::State,
    unsynced: Vec<acceptor::Record>,
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
    kept: Kept,
    /// The records that were appended since the checker last took them.
    pub observed: Vec<learner::Record>,
}

#[derive(Debug)]
enum Kept {
    Nothing,
    Records { values: Vec<Value>, newest: Box<Checkpoint>, durable: Box<Checkpoint> },
    Sectors(Box<DecidedLog<SimDisk>>),
}

impl LearnerStore {
    /// Cuts the log back to the durable checkpoint, from which the learner goes on.
    fn cut_back(&mut self) -> Checkpoint {
        match &mut self.kept {
            Kept::Records { values, newest, durable } => {
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
            Kept::Records { values, newest, durable } => {
                for record in records.drain(..) {
                    match record {
                        learner::Record::Applied { first, values: applied, .. } => {
                            assert!(first.0 == values.len() as u64, "slots are applied in order");
                            values.extend(applied.to_vec());
                        }
                        learner::Record::Checkpoint(checkpoint) => {
                            *durable = std::mem::replace(newest, checkpoint.into());
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
}
