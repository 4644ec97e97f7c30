//! Writes down what the roles of a process do, so that it can be replayed and explained (`--trace`).
//!
//! Roles are pure: what a role does follows from what it was built from, its inputs, and the time
//! and the draw that it got with each. All of that goes to a file, and beside it what the role gave
//! out, so that a replay can tell whether the same comes out. The package `trace` reads the files.
//!
//! - [`block`]: the format.
//! - [`begin`]: what a role is built from.
//! - [`lists`]: the lines in it, each once.
//! - `writer`: the thread that writes.
//!
//! A role writes its records into memory ([`Trace`]). One thread takes them from there, several
//! times a second, or earlier if there are many. So no role waits for a file, nobody is woken for a
//! line, and a killed process loses what the last [`EVERY`] brought. If the thread does not keep
//! up, records are dropped and counted, and a replay cannot go on behind them.
//!
//! **Bounded.** Memory by [`PENDING_BYTES_MAX`] for a role. On the disk there are two files of
//! [`FILE_BYTES_MAX`] bytes each, give or take a block: a full one becomes `FILE.1`, in place of the
//! one before. Each begins with a [`Header`], so that it can be read alone.
//!
//! **Does not** change what a role does: a tracer draws nothing and is never asked.

pub mod begin;
pub mod block;
pub mod lists;
mod writer;

use super::process::Clock;
use crate::paxos::{Envelope, Outbox};
use crate::types::{BootId, ClientId, ReplicaId, Time};
use begin::Beginning;
use block::{Block, Stream, Taken};
use interleavings::threads::{self, Sender, bounded};
use lists::Written;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use writer::Writer;

/// How often records are written to the file, if there are few.
pub const EVERY: Duration = Duration::from_millis(50);

/// A role with so many bytes of records has them written at once.
const WAKE_BYTES: usize = 256 << 10;

/// A role with so many bytes of records that are not written writes no more of them, give or take
/// a record.
pub const PENDING_BYTES_MAX: usize = 16 << 20;

/// How long a file becomes, give or take a block.
pub const FILE_BYTES_MAX: u64 = 128 << 20;

/// How often both clocks are looked at.
const CLOCK_LOOKS: usize = 8;

/// What a file of a trace begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The build.
    pub program: String,
    /// The process.
    pub who: Who,
    /// The number of replicas.
    pub n: usize,
    /// The life of the process.
    pub boot: BootId,
    /// How many files of this life came before this one.
    pub file: u64,
    /// The wall-clock time at which the process's own clock began, in microseconds since 1970.
    pub wall_us: u64,
}

/// Whose trace it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Who {
    /// A replica's.
    Replica(ReplicaId),
    /// A client's.
    Client(ClientId),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Replica(id) => write!(f, "replica {id}"),
            Who::Client(id) => write!(f, "client {id}"),
        }
    }
}

impl Who {
    /// The roles of such a process.
    fn streams(self) -> &'static [Stream] {
        match self {
            Who::Replica(_) => {
                &[Stream::Bootstrap, Stream::Acceptor, Stream::Proposer, Stream::Learner]
            }
            Who::Client(_) => &[Stream::Client],
        }
    }
}

/// Locks, whoever has panicked with the lock: what is behind it is never half done in between.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a role of this process writes into: nothing, unless somebody wants a trace.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<Pending>>);

/// What a role has written, and the file has not.
#[derive(Debug)]
struct Pending {
    stream: Stream,
    records: Mutex<Records>,
    /// Has it taken to the file.
    wake: Sender<()>,
}

#[derive(Debug, Default)]
struct Records {
    block: Block,
    /// How many blocks were taken.
    taken: u32,
    /// How many records had no room.
    dropped: u64,
    /// Whether the writer was woken for this block.
    has_woken: bool,
    /// Whether nothing is written any more.
    is_over: bool,
}

impl Trace {
    /// Nothing is written.
    pub fn off() -> Trace {
        Trace(None)
    }

    /// The role is built at `now`, with this draw.
    pub fn begin(&self, now: Time, draw: u64, beginning: impl FnOnce() -> Beginning) {
        if let Some(pending) = &self.0 {
            let beginning = beginning();
            pending.put(|block| block.begin(now, draw, &beginning));
        }
    }

    /// The role is given an input.
    pub fn input(&self, now: Time, draw: u64, input: &impl Serialize) {
        if let Some(pending) = &self.0 {
            pending.put(|block| block.input(now, draw, input));
        }
    }

    /// The role's timer fires.
    pub fn timeout(&self, now: Time, draw: u64) {
        if let Some(pending) = &self.0 {
            pending.put(|block| block.timeout(now, draw));
        }
    }

    /// The role's turn ends. Its outbox still has all of it.
    pub fn turn<R: Serialize>(&self, now: Time, deadline: Option<Time>, out: &Outbox<R>) {
        if let Some(pending) = &self.0 {
            pending.put(|block| block.turn(now, deadline, &out.contents()));
        }
    }

    /// Peers get these pages.
    pub fn pages(&self, envelopes: &[Envelope]) {
        if let Some(pending) = &self.0 {
            pending.put(|block| block.pages(envelopes));
        }
    }

    /// The role's storage has failed.
    pub fn failed(&self) {
        if let Some(pending) = &self.0 {
            pending.put(Block::failed);
        }
    }
}

impl Pending {
    fn new(stream: Stream, written: Arc<Written>, wake: Sender<()>) -> Pending {
        let records = Records { block: Block::new(written), ..Records::default() };
        Pending { stream, records: Mutex::new(records), wake }
    }

    fn put(&self, write: impl FnOnce(&mut Block)) {
        let mut records = lock(&self.records);
        let Records { block, dropped, has_woken, is_over, .. } = &mut *records;
        if *is_over {
            return;
        }
        if block.len() >= PENDING_BYTES_MAX {
            *dropped += 1;
            return;
        }
        if *dropped > 0 {
            block.dropped(std::mem::take(dropped));
        }
        write(block);
        if block.len() >= WAKE_BYTES && !std::mem::replace(has_woken, true) {
            drop(records);
            // If somebody else has woken it, it has not looked yet.
            let _ = self.wake.try_send(());
        }
    }

    /// Takes the block, and leaves an empty one in this memory. None if it is empty.
    fn take(&self, memory: &mut Taken) -> Option<Taken> {
        let mut records = lock(&self.records);
        let Records { block, taken, has_woken, .. } = &mut *records;
        *has_woken = false;
        if block.is_empty() {
            return None;
        }
        let mut block = block.take(std::mem::take(memory));
        let number = *taken;
        *taken += 1;
        drop(records);
        block.seal(self.stream, number);
        Some(block)
    }

    fn end(&self) {
        lock(&self.records).is_over = true;
    }
}

/// The trace of a process.
#[derive(Debug)]
pub struct Tracer {
    clock: Clock,
    pending: Vec<Arc<Pending>>,
    writer: Arc<Mutex<Writer>>,
}

/// How a tracer is begun.
#[derive(Debug, Clone)]
pub struct Beginner {
    /// The file.
    pub file: PathBuf,
    /// How long it becomes, give or take a block.
    pub file_bytes_max: u64,
    /// The process.
    pub who: Who,
    /// The number of replicas.
    pub n: usize,
    /// The life of the process.
    pub boot: BootId,
    /// The process's clock.
    pub clock: Clock,
}

impl Beginner {
    /// Begins the file, and starts the thread that writes. What a former life has left there
    /// becomes `FILE.1`.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, or the system gives no thread.
    pub fn begin(self) -> io::Result<Tracer> {
        let Beginner { file, file_bytes_max, who, n, boot, clock } = self;
        let wall_us = wall_us_at_zero(clock);
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let header = Header { program, who, n, boot, file: 0, wall_us };
        let (wake, woken) = bounded(1);
        let written = Arc::new(Written::default());
        let pending =
            |stream: &Stream| Arc::new(Pending::new(*stream, Arc::clone(&written), wake.clone()));
        let pending: Vec<Arc<Pending>> = who.streams().iter().map(pending).collect();
        let writer = Writer::begin(file, file_bytes_max, header, pending.clone(), written)?;
        let writer = Arc::new(Mutex::new(writer));
        let weak = Arc::downgrade(&writer);
        threads::spawn("trace", move || {
            // The tracer is gone once the process has said its last word.
            while let Some(writer) = weak.upgrade() {
                lock(&writer).write();
                drop(writer);
                let _ = woken.recv_timeout(EVERY);
            }
        })?;
        Ok(Tracer { clock, pending, writer })
    }
}

/// The wall-clock time at which this clock began. The thread may lose its core between two looks, so
/// the one counts that took the least time.
fn wall_us_at_zero(clock: Clock) -> u64 {
    let look = || {
        let (before, wall, after) = (clock.now(), SystemTime::now(), clock.now());
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        (after.since_us(before), (wall.as_micros() as u64).saturating_sub(after.0))
    };
    (0..CLOCK_LOOKS).map(|_| look()).min().map_or(0, |(_, wall_us)| wall_us)
}

impl Tracer {
    /// What the role writes into.
    pub fn of(&self, stream: Stream) -> Trace {
        Trace(self.pending.iter().find(|pending| pending.stream == stream).cloned())
    }

    /// From here on a panic writes what the roles have done up to it, before the process ends.
    pub fn write_on_panic(&self) {
        let (before, writer) = (std::panic::take_hook(), Arc::downgrade(&self.writer));
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(writer) = writer.upgrade()
                && let Ok(mut writer) = writer.try_lock()
            {
                writer.write();
            }
            before(panic);
        }));
    }

    /// The roles have ended: writes what they have done, and that this is all.
    pub fn end(self) {
        lock(&self.writer).end(self.clock.now());
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        lock(&self.writer).write();
    }
}

/// Whether a trace can be written there. Changes nothing but that the file is there afterwards.
///
/// # Errors
///
/// Why it cannot.
pub fn look(file: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(file).map(drop)
}

#[cfg(test)]
mod tests;
