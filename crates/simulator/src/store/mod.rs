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

mod roles;

pub use roles::{AcceptorStore, BootstrapStore, LearnerStore, SyncFault};

use super::beginning::Beginning;
use durable::sim_disk::{Fault, SimDisk, Survival};
use fastrand::Rng;
use multipaxos::chat::Chat;
use multipaxos::machine::Host;
use multipaxos::paxos::acceptor;
use multipaxos::paxos::learner::{Assembly, Checkpoint, Learner, running_hash};
use multipaxos::paxos::{Membership, Settings, Storage as _};
use multipaxos::storage::Durability;
use multipaxos::storage::acceptor_log::{self, AcceptorLog};
use multipaxos::storage::data_dir::{DataDir, Found, Purpose};
use multipaxos::storage::decided_log::{DecidedLog, Location};
use multipaxos::types::{DirectoryId, Origin, ReplicaId, Slot, SlotRange};
use roles::Kept;
use std::io;
use std::sync::Arc;

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
    /// The chat log with which its replica begins.
    pub beginning: Option<Arc<Beginning>>,
    session_window_slots: u64,
    /// The machine that its commands change; for the chat there is none.
    host: Host,
    sectors: Option<SimDisk>,
}

impl Store {
    /// An empty directory of a cluster whose sessions expire after this many slots.
    pub fn records(directory: DirectoryId, session_window_slots: u64) -> Self {
        let chat = Chat::with_session_window(session_window_slots);
        let checkpoint = Checkpoint { chat, ..Checkpoint::default() };
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
                    making: Box::default(),
                },
                observed: Vec::new(),
            },
            beginning: None,
            session_window_slots,
            host: Host::CHAT,
            sectors: None,
        }
    }

    /// This empty store of a replica whose commands change what `host` says.
    #[must_use]
    pub fn hosting(mut self, host: &Host) -> Self {
        let chat = Chat::with_session_window(self.session_window_slots).and_hosting(host);
        self.checkpoint = Checkpoint { chat, ..Checkpoint::default() };
        if self.sectors.is_none() {
            let (newest, durable) =
                (self.checkpoint.clone().into(), self.checkpoint.clone().into());
            let making = Box::new(Assembly::hosting(host));
            self.learner.kept = Kept::Records { values: Vec::new(), newest, durable, making };
        }
        self.host = host.clone();
        self
    }

    /// The same of a replica that begins with this chat log.
    pub fn beginning_with(mut self, beginning: Arc<Beginning>) -> Self {
        let Beginning { origin, values } = &*beginning;
        // On a disk they are written when it is opened.
        if self.sectors.is_none() {
            let trim = acceptor::Record::Trim(origin.end);
            self.acceptor.synced.apply(&trim);
            let checkpoint = &mut self.checkpoint;
            for (slot, value) in (0..).map(Slot).zip(values.iter()) {
                checkpoint.chat.apply(slot, value);
            }
            (checkpoint.applied, checkpoint.hash) = (origin.end, running_hash(0, values));
            let (newest, durable) = (checkpoint.clone().into(), checkpoint.clone().into());
            self.learner.kept =
                Kept::Records { values: values.to_vec(), newest, durable, making: Box::default() };
        }
        self.beginning = Some(beginning);
        self
    }

    /// What tells the chat log with which its replica begins, or began, from others.
    pub fn origin(&self) -> Option<Origin> {
        match &self.bootstrap {
            BootstrapStore::Records(Some((_, origin))) => *origin,
            BootstrapStore::Records(None) => self.beginning.as_ref().map(|it| it.origin),
            BootstrapStore::Sectors(dir) => dir.origin(),
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
            self.started = self.bootstrap.started().cloned();
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
            host_boot: None,
            drawn: self.directory,
        };
        let (mut dir, found) =
            DataDir::open(data.clone(), purpose).map_err(|error| match error {
                multipaxos::storage::data_dir::Refused::Unusable(error) => refused(error),
                other => Closed::Refused(other.to_string()),
            })?;
        let directory = dir.directory();
        let place = Location {
            log_dir,
            name: "learner.txt",
            data: data.clone(),
            directory,
            others: n > 1,
            host: self.host.clone(),
        };
        let options = acceptor_log::Options { segment_bytes: SEGMENT_BYTES, waits: true };
        let (log, decided);
        match found {
            Found::Member(members) => {
                let (opened, state) =
                    AcceptorLog::open(data.clone(), directory.0, options).map_err(refused)?;
                let (held, checkpoint) =
                    DecidedLog::open(place, Durability::Sync).map_err(refused)?;
                dir.opened().map_err(trouble)?;
                (log, decided) = (opened, held);
                (self.started, self.state, self.checkpoint) = (Some(members), state, checkpoint);
            }
            Found::Fresh | Found::Wiped(_) => {
                let mut empty =
                    AcceptorLog::create(data.clone(), directory.0, options).map_err(trouble)?;
                let mut held = DecidedLog::create(place, Durability::Sync).map_err(trouble)?;
                (self.started, self.state) = (None, acceptor::State::default());
                self.checkpoint = Checkpoint::hosting(&self.host);
                if let Some(beginning) = &self.beginning {
                    let Beginning { origin, values } = &**beginning;
                    held.take_on(values, &mut self.checkpoint).map_err(trouble)?;
                    held.taken_on(&self.checkpoint).map_err(trouble)?;
                    let trim = acceptor::Record::Trim(origin.end);
                    self.state.apply(&trim);
                    empty.append(&mut vec![trim]).map_err(trouble)?;
                    empty.sync().map_err(trouble)?;
                    dir.begins_with(*origin);
                }
                (log, decided) = (empty, held);
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

    /// What a learner's thread does after an error of its storage: if the chat log was cut, a new
    /// learner goes on with what is left.
    ///
    /// # Errors
    ///
    /// The same error if it is another one, or one of the disk.
    pub fn mend(
        &mut self,
        error: io::Error,
        settings: Settings,
        membership: &Membership,
    ) -> io::Result<Learner> {
        match std::mem::replace(&mut self.learner.kept, Kept::Nothing) {
            Kept::Sectors(log) => {
                let (log, learner) = log.mended(error, settings, membership)?;
                self.learner.kept = Kept::Sectors(Box::new(log));
                Ok(learner)
            }
            Kept::Records { .. } | Kept::Nothing => Err(error),
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

    /// A copy of what it holds, made while the process runs, of a store that keeps records.
    pub fn copied(&self) -> Option<Store> {
        let BootstrapStore::Records(started) = &self.bootstrap else { return None };
        Some(Store {
            directory: self.directory,
            started: self.bootstrap.started().cloned(),
            state: self.acceptor.synced.clone(),
            checkpoint: self.checkpoint.clone(),
            bootstrap: BootstrapStore::Records(started.clone()),
            acceptor: AcceptorStore { synced: self.acceptor.synced.clone(), ..Default::default() },
            learner: self.learner.copied()?,
            beginning: self.beginning.clone(),
            session_window_slots: self.session_window_slots,
            host: self.host.clone(),
            sectors: None,
        })
    }

    /// Below this the learner goes on after whatever end, if the store keeps records.
    pub fn durable(&self) -> Option<Slot> {
        self.learner.durable()
    }

    /// Somebody changes the line of the first command in `slots` on the disk of a process that does
    /// not run, and everything that depends on it. Returns its slot, or nothing if there is no such
    /// line below the end of what is durable, or the store does not keep records.
    pub fn alter(&mut self, slots: SlotRange) -> Option<Slot> {
        self.learner.alter(slots)
    }

    /// Replaces the store by an empty one with another directory identity. If its replica began
    /// with a chat log, it does so again in half of the cases.
    pub fn wipe(&mut self, directory: DirectoryId, mut rng: Rng) {
        let host = self.host.clone();
        let again = self.beginning.take().filter(|_| rng.bool());
        let empty = match self.sectors {
            Some(_) => Store::sectors(directory, rng),
            None => Store::records(directory, self.session_window_slots),
        }
        .hosting(&host);
        *self = match again {
            Some(beginning) => empty.beginning_with(beginning),
            None => empty,
        };
    }
}
