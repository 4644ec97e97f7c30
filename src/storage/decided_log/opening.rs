//! Beginning a decided log, and opening one again.
//!
//! A restart reads the checkpoint, checks the last slots below it against the files, and
//! applies the slots above it that are whole. Then it cuts off what is torn and makes a
//! checkpoint of the result. It cuts nothing before the check below the checkpoint shows that
//! the files are those of this directory.

use super::checkpoint_file::{CHECKPOINT, Saved};
use super::growing_file::GrowingFile;
use super::reading::PAGE_ENTRIES_MAX;
use super::{DecidedLog, JOURNAL, OVERFLOW};
use crate::paxos::learner::Checkpoint;
use crate::storage::Durability;
use crate::storage::background::Background;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::error::OpenError;
use crate::storage::journal::{ENTRY_BYTES, EntryKind, Mark};
use crate::types::{DirectoryId, Slot};
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
    pub log_dir: &'a D,
    /// The chat log's name there.
    pub name: &'a str,
    /// The data directory.
    pub data: D,
    /// Its id.
    pub directory: DirectoryId,
}

impl<D: Disk> DecidedLog<D> {
    /// Begins an empty log. A chat log that is there already belongs to a cluster
    /// that this replica does not remember: it is moved aside, to the first free of
    /// `<name>.1`, `<name>.2`, …, and its new name is returned.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn create(
        location: Location<'_, D>,
        durability: Durability,
    ) -> io::Result<(Self, Option<String>)> {
        let Location { log_dir, name, data, directory } = location;
        // Nobody moves or empties a file that another process writes.
        let held = log_dir.open(name)?;
        held.as_ref().map_or(Ok(()), |file| lock(log_dir, name, file))?;
        let moved = move_aside(log_dir, name)?;
        drop(held);
        let text = log_dir.create(name)?;
        lock(log_dir, name, &text)?;
        let (journal, overflow) = (data.create(JOURNAL)?, data.create(OVERFLOW)?);
        let mut log = DecidedLog {
            data: Arc::new(data),
            directory,
            durability,
            text: GrowingFile::new(text, 0),
            text_name: log_dir.describe(name),
            journal: GrowingFile::new(journal, 0),
            overflow: GrowingFile::new(overflow, 0),
            applied: Slot::ZERO,
            hash: 0,
            pending: Vec::new(),
            background: Background::new(D::BACKGROUND),
            failed: false,
        };
        if durability == Durability::Sync {
            // Emptied files must not get their old length back.
            log.text.file.sync()?;
            log.journal.file.sync()?;
            log.overflow.file.sync()?;
        }
        if durability != Durability::None {
            // The chat log has its name for good.
            log_dir.sync_dir()?;
            log.saving(Checkpoint::default())()?;
        }
        Ok((log, moved))
    }

    /// Opens the log of this directory. It goes on after the last slot that is whole,
    /// at or above its newest checkpoint; the state there is returned, and durable.
    ///
    /// # Errors
    ///
    /// When a file is missing, shorter than the checkpoint says, or not what was
    /// written.
    pub fn open(
        location: Location<'_, D>,
        durability: Durability,
    ) -> Result<(Self, Checkpoint), OpenError> {
        let Location { log_dir, name, data, directory } = location;
        let Saved { mark, overflow_end, mut checkpoint, .. } = Saved::read(&data)?
            .filter(|saved| saved.directory == directory)
            .ok_or_else(|| OpenError::Damaged {
                file: data.describe(CHECKPOINT),
                offset: 0,
                what: "not a checkpoint of this data directory",
            })?;
        let file = |disk: &D, name: &str, length: u64| {
            let described = disk.describe(name);
            let file =
                disk.open(name)?.ok_or_else(|| OpenError::Missing { file: described.clone() })?;
            let found = file.length()?;
            if found < length {
                let what = "it ends below the newest checkpoint";
                return Err(OpenError::Damaged { file: described, offset: found, what });
            }
            Ok(GrowingFile::reopened(file, length))
        };
        let mut log = DecidedLog {
            text: file(log_dir, name, mark.text_end)?,
            text_name: log_dir.describe(name),
            journal: file(&data, JOURNAL, checkpoint.applied.0.saturating_mul(ENTRY_BYTES as u64))?,
            overflow: file(&data, OVERFLOW, overflow_end)?,
            data: Arc::new(data),
            directory,
            durability,
            applied: checkpoint.applied,
            hash: mark.hash,
            pending: Vec::new(),
            background: Background::new(D::BACKGROUND),
            failed: false,
        };
        lock(log_dir, name, &*log.text.file)?;
        // Nothing is cut off a file before it is known to be ours.
        log.verify_end(mark)?;
        log.roll_forward(&mut checkpoint)?;
        for file in [&log.text, &log.journal, &log.overflow] {
            if file.file.length()? > file.length {
                file.file.set_length(file.length)?;
            }
        }
        // An earlier life may have left what only the page cache holds.
        if durability != Durability::None {
            log.saving(checkpoint.clone())()?;
        }
        Ok((log, checkpoint))
    }

    /// Whether the last slots lead to exactly `mark`.
    fn verify_end(&self, mark: Mark) -> Result<(), OpenError> {
        let first = Slot(self.applied.0.saturating_sub(VERIFIED_SLOTS));
        let damaged = |slot: Slot| OpenError::Damaged {
            file: self.text_name.clone(),
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
    fn roll_forward(&mut self, checkpoint: &mut Checkpoint) -> Result<(), OpenError> {
        let reach = (self.text.file.length()?, self.overflow.file.length()?);
        let written = Slot(self.journal.file.length()? / ENTRY_BYTES as u64);
        let end = written.min(self.applied.plus(ROLLED_SLOTS_MAX));
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
            self.write()?;
            if values.len() < count || count == 0 {
                break;
            }
        }
        checkpoint.applied = self.applied;
        Ok(())
    }
}

/// Locks the chat log, for as long as it is open.
fn lock<D: Disk>(log_dir: &D, name: &str, file: &D::File) -> io::Result<()> {
    if file.try_lock()? {
        return Ok(());
    }
    let file = log_dir.describe(name);
    let said = format!("{file}: in use by another process: each cluster needs its own --log_dir");
    Err(io::Error::new(io::ErrorKind::ResourceBusy, said))
}

/// Gives an old chat log another name; an empty one is not worth keeping.
fn move_aside<D: Disk>(disk: &D, name: &str) -> io::Result<Option<String>> {
    match disk.open(name)? {
        Some(file) if file.length()? > 0 => {}
        _ => return Ok(None),
    }
    for number in 1u32.. {
        let aside = format!("{name}.{number}");
        if disk.open(&aside)?.is_none() {
            disk.rename(name, &aside)?;
            return Ok(Some(disk.describe(&aside)));
        }
    }
    unreachable!("some number is free")
}
