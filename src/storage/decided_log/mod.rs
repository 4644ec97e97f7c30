//! The learner's storage: the decided log, on disk alone.
//!
//! It has four files. The *chat log*, which people read, is described in `chat_log`; the
//! other three are in the data directory:
//!
//! ```text
//! learner<id>.txt  one line for each slot; a slot that changed nothing is a NOP line
//! journal          40 bytes for each slot, so slot k begins at byte 40 k
//! asides           the overflow: commands that were decided once more, and changes of members,
//!                  whose lines are NOPs
//! checkpoint       where a restart goes on: replaced whole
//! ```
//!
//! A journal entry (`journal`) says where the slot's line ends, what the line does not show
//! of the command, and the running hash of the whole log. So every decided value can be read
//! back from the files and checked. Pages for peers are read from here, and nothing is kept
//! in memory. A value that fails its check is not served, and the peer asks another replica.
//! Journal and overflow are the same on all replicas.
//!
//! **Between checkpoints** the files are only written, never synced, because what is decided
//! is safe in the acceptors. The thread writes when it has nothing else to do, when a block is
//! full, and every few milliseconds. It formats a slot's line after the slot's answer has left, since that takes as long
//! as applying it.
//!
//! **A checkpoint** comes in parts. With the first, the three files are written up to its slot;
//! each part goes to a new checkpoint file. After the last, the three files are synced, and then
//! the new file is synced and replaces the old one. Only then
//! may acceptors forget. That work runs in the background (`background`), and the learner
//! counts it as durable once the next checkpoint begins. Under `--durability os` nothing
//! waits for the disk before the log is closed; under `none` there are no checkpoints.
//!
//! **A restart** goes on from the checkpoint. It applies the slots above it that are still
//! whole, cuts off what is torn, and makes a checkpoint of the result. It reads only the last
//! entries below, so it takes the same time however long the log is.
//!
//! **A chat log that was moved, deleted or cut** is noticed at the next write or the next start,
//! and mended (`chat_file`, `mending`). One that is changed near its end is refused. A change
//! further up is found when a peer asks for that slot.
//!
//! Appending is here, and so is the making of a checkpoint. `opening` begins and opens a log,
//! `mending` opens one whose chat log is not whole, `reading` reads values back, and
//! `checkpoint_file`, `chat_file` and `growing_file` are the files.

mod chat_file;
mod checkpoint_file;
mod growing_file;
mod mending;
mod opening;
mod reading;

pub use chat_file::is_lost;
pub use checkpoint_file::CHECKPOINT;
pub use opening::Location;

use super::Durability;
use super::background::Background;
use super::chat_log::write_line;
use super::disk::{Disk, DiskFile};
use super::journal::{Entry, EntryKind, Mark};
use super::upkeep::Upkeep;
use crate::machine::Host;
use crate::paxos::learner::{Checkpoint, PART_SESSIONS, Part, Record};
use crate::paxos::{DecidedPages, Storage};
use crate::types::{DirectoryId, Slot};
use crate::values::{ValueRef, Values};
use chat_file::ChatFile;
use checkpoint_file::Making;
use growing_file::GrowingFile;
use mending::Goal;
use std::io;
use std::sync::Arc;

/// The journal's name in the data directory.
pub const JOURNAL: &str = "journal";
/// As long as there is a file of this name, lines of the chat log may be missing or torn.
pub const MENDING: &str = "mending";
/// The name of the overflow: logs of earlier builds have it under this name.
pub const OVERFLOW: &str = "asides";

/// A learner's storage.
#[derive(Debug)]
pub struct DecidedLog<D: Disk> {
    data: Arc<D>,
    directory: DirectoryId,
    durability: Durability,
    /// The machine that its commands change; for the chat there is none.
    host: Host,
    text: ChatFile<D>,
    /// Whether other replicas have what is lost here.
    others: bool,
    journal: GrowingFile<D::File>,
    overflow: GrowingFile<D::File>,
    applied: Slot,
    hash: u64,
    /// Appended, and not made into text yet.
    pending: Vec<Pending>,
    /// The newest checkpoint that is whole covers every slot below.
    saved: Slot,
    /// The checkpoint whose last part has not come.
    making: Option<Making<D::File>>,
    /// How far the log went before its chat log was cut, while slots below that are missing.
    goal: Option<Goal>,
    /// Makes a checkpoint durable.
    background: Background,
    /// Whether blocks of the chat log were written since [`Upkeep::rest_if_old`] asked last.
    has_written: bool,
    failed: bool,
}

/// See [`Record::Applied`].
#[derive(Debug)]
struct Pending {
    first: Slot,
    values: Values,
    client_seqs: Vec<Option<u64>>,
}

impl<D: Disk> DecidedLog<D> {
    /// Whether no line is missing that was cut off the chat log, as far as that was noticed.
    pub fn is_whole(&self) -> bool {
        self.goal.is_none()
    }

    /// Every slot below this is written.
    pub fn applied(&self) -> Slot {
        self.applied
    }

    fn apply(&mut self, slot: Slot, value: ValueRef<'_>, client_seq: Option<u64>) {
        assert!(slot == self.applied, "slots are applied in order, without gaps");
        let added = &mut self.text.grown.added;
        let (line, overflow) = (added.len(), self.overflow.added.len());
        write_line(added, slot, value, client_seq);
        let kind = match (value, client_seq) {
            (ValueRef::Noop, _) => EntryKind::Noop,
            (ValueRef::Command(command), Some(_)) => EntryKind::applied(command),
            (ValueRef::Command(_), None) | (ValueRef::Change(_), _) => {
                let from = self.overflow.end();
                self.overflow.added.extend_from_slice(Values::from(value).bytes());
                EntryKind::Repeated { overflow: from..self.overflow.end() }
            }
        };
        let after = Mark { text_end: self.text.end(), hash: 0 };
        let (line, overflow) = (&self.text.grown.added[line..], &self.overflow.added[overflow..]);
        let entry = Entry { kind, after };
        self.hash = entry.append_to(&mut self.journal.added, self.hash, line, overflow);
        self.applied = slot.next();
        if let Some(goal) = &mut self.goal
            && goal.applied == self.applied
        {
            goal.found = Some(self.hash);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.text.write()?;
        self.journal.write()?;
        self.overflow.write()
    }

    /// Writes a part of a checkpoint. After the last one, returns the work that makes it the
    /// checkpoint.
    fn take_part(
        &mut self,
        part: &Part,
    ) -> io::Result<Option<impl FnOnce() -> io::Result<()> + Send + use<D>>> {
        if part.is_first {
            assert!(part.applied == self.applied, "a checkpoint of exactly what is applied");
            let mark = Mark { text_end: self.text.length(), hash: self.hash };
            let (directory, overflow_end) = (self.directory, self.overflow.length);
            self.making =
                Some(Making::begin(&*self.data, &self.host, directory, mark, overflow_end, part)?);
        }
        let Some(mut making) = self.making.take() else { return Ok(None) };
        making.add(part)?;
        if part.is_last {
            return Ok(Some(self.saving(making)));
        }
        self.making = Some(making);
        Ok(None)
    }

    /// The work that makes what is written durable, and then the checkpoint that speaks
    /// of it.
    fn saving(
        &mut self,
        making: Making<D::File>,
    ) -> impl FnOnce() -> io::Result<()> + Send + use<D> {
        let waits = self.durability == Durability::Sync;
        let mut files = Vec::new();
        if waits {
            files.extend([
                self.text.grown.unsynced(),
                self.journal.unsynced(),
                self.overflow.unsynced(),
            ]);
        }
        let data = Arc::clone(&self.data);
        self.saved = making.applied;
        move || {
            files.into_iter().flatten().try_for_each(|file| file.sync())?;
            making.finish(&*data, waits)
        }
    }

    /// Makes a checkpoint of the state after what is written, while nobody waits.
    fn save(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        for part in checkpoint.parts(PART_SESSIONS) {
            if let Some(work) = self.take_part(&part)? {
                work()?;
            }
        }
        Ok(())
    }

    fn append_part(&mut self, part: &Part) -> io::Result<()> {
        if part.is_first {
            self.enter()?;
            self.write()?;
            // The checkpoint before is durable, and the name is free of the next.
            self.background.finish()?;
            self.making = None;
            // While the log is mended, the checkpoint that is there is the better one.
            if self.durability == Durability::None || self.saved > self.applied {
                return Ok(());
            }
        } else if self.making.is_none() {
            return Ok(());
        }
        match self.take_part(part)? {
            Some(work) => self.background.begin(work),
            None => Ok(()),
        }
    }

    fn append_burst(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        self.enter()?;
        for record in records.drain(..) {
            match record {
                Record::Applied { first, values, client_seqs } => {
                    self.pending.push(Pending { first, values, client_seqs });
                }
                Record::Checkpoint(part) => self.append_part(&part)?,
            }
        }
        Ok(())
    }

    /// Makes text and entries of what was appended.
    fn enter(&mut self) -> io::Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        for Pending { first, values, client_seqs } in pending.drain(..) {
            let slots = (first.0..).map(Slot);
            for ((slot, value), client_seq) in slots.zip(values.iter()).zip(client_seqs) {
                self.apply(slot, value, client_seq);
            }
        }
        self.pending = pending;
        self.note_mended()?;
        let before = self.text.length();
        self.text.write_blocks()?;
        self.has_written |= self.text.length() > before;
        self.journal.write_blocks()?;
        self.overflow.write_blocks()
    }

    /// Runs a call, unless one has failed before.
    fn guarded<T>(&mut self, call: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Err(already_failed());
        }
        // Stays so if the call does not come back.
        self.failed = true;
        let result = call(self)?;
        self.failed = false;
        Ok(result)
    }
}

fn already_failed() -> io::Error {
    io::Error::other("an earlier call to the decided log has failed")
}

impl<D: Disk> Storage<Record> for DecidedLog<D> {
    fn append(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        self.guarded(|log| log.append_burst(records))
    }

    /// Does nothing. When `append` returns, everything up to the last checkpoint but one is
    /// durable; the acceptors hold the rest.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Disk> Upkeep for DecidedLog<D> {
    fn settle(&mut self) -> io::Result<()> {
        self.guarded(Self::enter)
    }

    fn rest(&mut self) -> io::Result<()> {
        self.guarded(|log| {
            log.enter()?;
            // A write looks first.
            if log.text.grown.added.is_empty() {
                log.text.look()?;
            }
            log.write()
        })
    }

    fn rest_if_old(&mut self) -> io::Result<()> {
        // A part of a block that is written makes the rest of that block slow (`growing_file`).
        if std::mem::take(&mut self.has_written) { Ok(()) } else { self.rest() }
    }

    fn joined(&mut self, is_member: bool) -> io::Result<()> {
        self.guarded(
            |log| if is_member && log.applied == Slot::ZERO { log.text.part() } else { Ok(()) },
        )
    }

    fn decided_pages(&mut self) -> Option<&mut dyn DecidedPages> {
        Some(self)
    }

    fn close(mut self) -> io::Result<()> {
        match self.rest() {
            Err(error) if is_lost(&error) => {
                log::warn!("{error}: it is mended at the next start");
                self.journal.write()?;
                self.overflow.write()?;
            }
            rested => rested?,
        }
        self.background.finish()?;
        if self.durability == Durability::None {
            return Ok(());
        }
        self.text.grown.file.sync()?;
        self.journal.file.sync()?;
        self.overflow.file.sync()?;
        let gone = || io::Error::other(format!("{} has gone", self.data.describe(CHECKPOINT)));
        self.data.open(CHECKPOINT)?.ok_or_else(gone)?.sync()?;
        self.data.sync_dir()
    }
}
