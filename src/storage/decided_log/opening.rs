//! Beginning a decided log, and opening one again.
//!
//! A restart reads the checkpoint, checks the last slots below it against the files, and
//! applies the slots above it that are whole. Then it cuts off what is torn and makes a
//! checkpoint of the result. It cuts nothing before the check below the checkpoint shows that
//! the files are those of this directory.

use super::chat_file::{ChatFile, opened};
use super::checkpoint_file::{CHECKPOINT, Saved};
use super::growing_file::GrowingFile;
use super::mending::Goal;
use super::reading::PAGE_ENTRIES_MAX;
use super::{DecidedLog, JOURNAL, MENDING, OVERFLOW};
use crate::machine::Host;
use crate::paxos::learner::{Checkpoint, running_hash};
use crate::storage::Durability;
use crate::storage::background::Background;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::error::OpenError;
use crate::storage::journal::{ENTRY_BYTES, EntryKind, Mark};
use crate::types::{DirectoryId, Slot};
use crate::values::Values;
use std::io;
use std::sync::Arc;

/// How many slots below the checkpoint are checked when the log is opened.
const VERIFIED_SLOTS: u64 = 16;

/// The most slots above its checkpoint that an opened log takes on. Between two checkpoints
/// there are never more.
const ROLLED_SLOTS_MAX: u64 = 131_072;

/// How many bytes of these slots are read at a time, give or take a slot.
const ROLLED_BYTES: usize = 1 << 20;

/// Where a decided log is kept.
#[derive(Debug)]
pub struct Location<'a, D> {
    /// The directory of the chat log.
    pub log_dir: D,
    /// The chat log's name there.
    pub name: &'a str,
    /// The data directory.
    pub data: D,
    /// Its id.
    pub directory: DirectoryId,
    /// Whether other replicas have what is lost here.
    pub others: bool,
    /// The machine that its commands change; for the chat there is none.
    pub host: Host,
}

impl<D: Disk> DecidedLog<D> {
    /// Begins an empty log. A chat log that is there already belongs to a cluster that this
    /// replica does not remember, or to one of which it lost the rest. It stays until the first
    /// line that differs from it, or until [`joined`](crate::storage::upkeep::Upkeep::joined)
    /// says that this is a new cluster.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn create(location: Location<'_, D>, durability: Durability) -> io::Result<Self> {
        let Location { log_dir, name, data, directory, others, host } = location;
        let text = opened(&log_dir, name)?;
        let former = text.length()?;
        let (journal, overflow) = (data.create(JOURNAL)?, data.create(OVERFLOW)?);
        let mut log = DecidedLog {
            data: Arc::new(data),
            directory,
            durability,
            host,
            text: ChatFile::new(log_dir, name, text, 0, former)?,
            others,
            journal: GrowingFile::new(journal, 0),
            overflow: GrowingFile::new(overflow, 0),
            applied: Slot::ZERO,
            hash: 0,
            pending: Vec::new(),
            saved: Slot::ZERO,
            making: None,
            goal: None,
            background: Background::new(D::BACKGROUND),
            has_written: false,
            failed: false,
        };
        log.unmark()?;
        if durability == Durability::Sync {
            // Emptied files must not get their old length back.
            log.text.grown.file.sync()?;
            log.journal.file.sync()?;
            log.overflow.file.sync()?;
        }
        if durability != Durability::None {
            log.keep_name()?;
            log.save(&Checkpoint::hosting(&log.host))?;
        }
        Ok(log)
    }

    /// Takes on the values of the next slots, with which a new cluster begins. `state` is the one
    /// before, and then the one after them.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn take_on(&mut self, values: &Values, state: &mut Checkpoint) -> io::Result<()> {
        for value in values.iter() {
            let client_seq = state.chat.apply(self.applied, value);
            assert!(client_seq.is_some() == value.command().is_some(), "every line takes effect");
            self.apply(self.applied, value, client_seq);
            state.applied = self.applied;
        }
        state.hash = running_hash(state.hash, values);
        self.write()
    }

    /// The log has all values with which the cluster begins: they are durable on return. What an
    /// earlier chat holds behind them gets another name.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn taken_on(&mut self, state: &Checkpoint) -> io::Result<()> {
        self.text.look()?;
        self.text.part()?;
        if self.durability == Durability::None {
            return Ok(());
        }
        self.save(state)
    }

    /// How long the chat log is.
    pub fn text_bytes(&self) -> u64 {
        self.text.length()
    }

    /// Opens the log of this directory. It goes on after the last slot that is whole,
    /// at or above its newest checkpoint; the state there is returned, and durable. If the chat
    /// log was deleted or cut, it goes on where the lines end that are found, and the state
    /// there is returned.
    ///
    /// # Errors
    ///
    /// When another file is missing or shorter than the checkpoint says, when a file is not
    /// what was written, or when lines are lost that no other replica has.
    pub fn open(
        location: Location<'_, D>,
        durability: Durability,
    ) -> Result<(Self, Checkpoint), OpenError> {
        let Location { log_dir, name, data, directory, others, host } = location;
        let Saved { mark, overflow_end, mut checkpoint, .. } = Saved::read(&data, &host)?
            .filter(|saved| saved.directory == directory)
            .ok_or_else(|| OpenError::Damaged {
                file: data.describe(CHECKPOINT),
                offset: 0,
                what: "not a checkpoint of this data directory",
            })?;
        let short = |file: String, found: u64| {
            let what = "it ends below the newest checkpoint";
            OpenError::Damaged { file, offset: found, what }
        };
        let file = |name: &str, length: u64| {
            let described = data.describe(name);
            let file =
                data.open(name)?.ok_or_else(|| OpenError::Missing { file: described.clone() })?;
            let found = file.length()?;
            if found < length {
                return Err(short(described, found));
            }
            Ok(GrowingFile::reopened(file, length))
        };
        let journal = file(JOURNAL, checkpoint.applied.0.saturating_mul(ENTRY_BYTES as u64))?;
        let overflow = file(OVERFLOW, overflow_end)?;
        let (described, is_missing) = (log_dir.describe(name), log_dir.look(name)?.is_none());
        let is_marked = data.look(MENDING)?.is_some();
        let text = opened(&log_dir, name)?;
        let length = text.length()?;
        let mut log = DecidedLog {
            host,
            text: ChatFile::new(log_dir, name, text, mark.text_end, 0)?,
            others,
            journal,
            overflow,
            data: Arc::new(data),
            directory,
            durability,
            applied: checkpoint.applied,
            hash: mark.hash,
            pending: Vec::new(),
            saved: checkpoint.applied,
            making: None,
            goal: None,
            background: Background::new(D::BACKGROUND),
            has_written: false,
            failed: false,
        };
        if durability != Durability::None {
            // It may have been made by a process that was killed.
            log.keep_name()?;
        }
        if is_missing || is_marked || length < mark.text_end {
            let lacks = match is_missing {
                true => OpenError::Missing { file: described },
                false => short(described, length),
            };
            return log.mend(Goal::new(checkpoint.applied, mark), lacks);
        }
        // Nothing is cut off a file before it is known to be ours.
        log.verify_end(mark)?;
        if log.journal.file.length()? == 0 && length > 0 {
            // A replica that was killed when warm-up was over, beside an earlier chat.
            log.text.expect(length);
            log.text.part()?;
        }
        let length = log.text.grown.file.length()?;
        let written = Slot(log.journal.file.length()? / ENTRY_BYTES as u64);
        let end = written.min(log.applied.plus(ROLLED_SLOTS_MAX));
        log.text.read_to(length);
        log.roll_forward(&mut checkpoint, end)?;
        log.text.read_to(0);
        log.cut_tails()?;
        // An earlier life may have left what only the page cache holds.
        if durability != Durability::None {
            log.save(&checkpoint)?;
        }
        Ok((log, checkpoint))
    }

    /// The chat log has its name for good. Otherwise a power cut may bring a file back that was
    /// deleted, or none, and what was synced is in a file without a name.
    pub(super) fn keep_name(&self) -> io::Result<()> {
        self.text.place().0.sync_dir()
    }

    /// Whether the last slots lead to exactly `mark`.
    fn verify_end(&self, mark: Mark) -> Result<(), OpenError> {
        let first = Slot(self.applied.0.saturating_sub(VERIFIED_SLOTS));
        let damaged = |slot: Slot| OpenError::Damaged {
            file: self.text.described(),
            offset: 0,
            what: if slot == self.applied {
                "it does not end as its checkpoint says"
            } else {
                "its last lines are not those of the journal"
            },
        };
        let entries = self.entries(first, self.applied, self.reach())?;
        let last = entries.list.last().map_or(entries.before, |entry| entry.after);
        let count = self.applied.since(first) as usize;
        if entries.list.len() < count || last != mark {
            return Err(damaged(self.applied));
        }
        if self.values(first, &entries, count)?.len() < count {
            return Err(damaged(first));
        }
        Ok(())
    }

    /// Takes on what was written after the checkpoint, as far as it is whole. It is
    /// written again, in its place: after a sync that failed, what the page cache
    /// holds need not be on the disk, and no later sync would bring it there.
    pub(super) fn roll_forward(
        &mut self,
        checkpoint: &mut Checkpoint,
        end: Slot,
    ) -> Result<(), OpenError> {
        let reach = (self.text.grown.file.length()?, self.overflow.file.length()?);
        while self.applied < end {
            let first = self.applied;
            let entries = self.entries(first, end.min(first.plus(PAGE_ENTRIES_MAX)), reach)?;
            let count = entries.fitting(ROLLED_BYTES);
            let values = self.values(first, &entries, count)?;
            for (value, entry) in values.iter().zip(&entries.list) {
                let client_seq = checkpoint.chat.apply(self.applied, value);
                if client_seq.is_some() != matches!(entry.kind, EntryKind::Applied { .. }) {
                    let file = self.data.describe(CHECKPOINT);
                    let what = "the slots above it do not have the effect that they had";
                    return Err(OpenError::Damaged { file, offset: 0, what });
                }
                self.apply(self.applied, value, client_seq);
            }
            checkpoint.hash = running_hash(checkpoint.hash, &values);
            self.write()?;
            if values.len() < count || count == 0 {
                break;
            }
        }
        checkpoint.applied = self.applied;
        Ok(())
    }
}
