//! The learner's storage: the decided log, on disk alone.
//!
//! It has four files. The *chat log*, which people read, is described in `chat_log`; the
//! other three are in the data directory:
//!
//! ```text
//! learner<id>.txt  one line a slot; a slot that changed nothing is a NOP line
//! journal          40 bytes a slot, so slot k begins at byte 40 k
//! asides           the overflow: commands that were decided once more, so that their line
//!                  is a NOP
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
//! is safe in the acceptors. The thread writes when it has nothing else to do or a block is
//! full. It formats a slot's line after the slot's answer has left, since that takes as long
//! as applying it.
//!
//! **A checkpoint** syncs the three files and then replaces the checkpoint file. Only then
//! may acceptors forget. That work runs in the background (`background`), and the learner
//! counts it as durable once the next checkpoint is made. Under `--durability os` nothing
//! waits for the disk before the log is closed; under `none` there are no checkpoints.
//!
//! **A restart** goes on from the checkpoint. It applies the slots above it that are still
//! whole, cuts off what is torn, and makes a checkpoint of the result. It reads only the last
//! entries below, so it takes the same time however long the log is.
//!
//! A chat log that is missing, shorter than the checkpoint says or changed near its end is
//! refused: a replica never begins again at slot 0. A change further up is found when a peer
//! asks for that slot.

use super::Durability;
use super::atomic_file::{self, Magic};
use super::background::Background;
use super::chat_log::write_line;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::journal::{ENTRY_BYTES, Entry, EntryKind, Mark, OVERFLOW_BYTES_MAX};
use super::upkeep::Upkeep;
use crate::paxos::learner::{Checkpoint, Record};
use crate::paxos::{ACCEPT_WINDOW_SLOTS, DecidedPages, Storage};
use crate::types::{DirectoryId, LINE_BYTES_MAX, Slot, SlotRange};
use crate::values::{Builder, COMMAND_BYTES, ValueRef, Values};
use std::io;
use std::sync::Arc;

/// The journal's name in the data directory.
pub const JOURNAL: &str = "journal";
/// The name of the overflow: logs of earlier builds have it under this name.
pub const OVERFLOW: &str = "asides";
/// The name of the newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

const MAGIC: Magic = *b"mpxchk03";

/// How many entries one page is made of at most.
const PAGE_ENTRIES_MAX: u64 = 1_024;

/// As long as the thread does not sleep, a file is written in blocks of so many bytes, each
/// from a multiple of that on; what is no block yet gathers. The page cache takes a block
/// as one piece where it can: 1.2 µs a page in place of 2.1 for as many bytes from anywhere
/// (ext4 of Linux 6.18), 1.4 and 1.7 in blocks of a half and a quarter of the size.
const BLOCK_BYTES: u64 = 64 << 10;

/// How many slots below the checkpoint are checked when the log is opened.
const VERIFIED_SLOTS: u64 = 16;

/// How many slots above its checkpoint a log is taken on when it is opened; there are
/// never more between two checkpoints.
const ROLLED_SLOTS_MAX: u64 = ACCEPT_WINDOW_SLOTS;

/// How many bytes of them are read at a time, give or take a slot.
const ROLLED_BYTES: usize = 1 << 20;

/// The longest line of the chat log: every character escaped, and the three numbers.
const TEXT_LINE_BYTES_MAX: u64 = 6 * LINE_BYTES_MAX as u64 + 64;

/// A file that only grows, and what is about to be added to it.
#[derive(Debug)]
struct Growing<F> {
    file: Arc<F>,
    length: u64,
    added: Vec<u8>,
    dirty: bool,
}

impl<F: DiskFile> Growing<F> {
    fn new(file: F, length: u64) -> Self {
        Growing { file: Arc::new(file), length, added: Vec::new(), dirty: false }
    }

    /// Where it will end.
    fn end(&self) -> u64 {
        self.length + self.added.len() as u64
    }

    fn write(&mut self) -> io::Result<()> {
        self.write_to(self.end())
    }

    /// Writes what fills blocks once as much has gathered as one holds, and keeps the rest.
    fn write_blocks(&mut self) -> io::Result<()> {
        if self.added.len() as u64 >= BLOCK_BYTES {
            self.write_to(self.end() / BLOCK_BYTES * BLOCK_BYTES)?;
        }
        Ok(())
    }

    fn write_to(&mut self, end: u64) -> io::Result<()> {
        if end > self.length {
            let count = (end - self.length) as usize;
            self.file.write_at(self.length, &self.added[..count])?;
            self.added.drain(..count);
            self.length = end;
            self.dirty = true;
        }
        Ok(())
    }

    /// The file, if it holds what may not be durable; whoever asks makes it so.
    fn unsynced(&mut self) -> Option<Arc<F>> {
        std::mem::take(&mut self.dirty).then(|| Arc::clone(&self.file))
    }

    fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; to.saturating_sub(from) as usize];
        self.file.read_at(from, &mut bytes)?;
        Ok(bytes)
    }
}

/// A learner's storage.
#[derive(Debug)]
pub struct DecidedLog<D: Disk> {
    data: Arc<D>,
    directory: DirectoryId,
    durability: Durability,
    text: Growing<D::File>,
    /// The chat log's name in messages.
    text_name: String,
    journal: Growing<D::File>,
    overflow: Growing<D::File>,
    applied: Slot,
    hash: u64,
    /// Appended, and not made into text yet.
    pending: Vec<Pending>,
    /// Makes a checkpoint durable.
    background: Background,
    failed: bool,
}

/// See [`Record::Applied`].
#[derive(Debug)]
struct Pending {
    first: Slot,
    values: Values,
    client_seqs: Vec<Option<u64>>,
}

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
    /// Begins an empty log. A chat log that already stands there belongs to a cluster
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
        let moved = move_aside(log_dir, name)?;
        let text = log_dir.create(name)?;
        let (journal, overflow) = (data.create(JOURNAL)?, data.create(OVERFLOW)?);
        let mut log = DecidedLog {
            data: Arc::new(data),
            directory,
            durability,
            text: Growing::new(text, 0),
            text_name: log_dir.describe(name),
            journal: Growing::new(journal, 0),
            overflow: Growing::new(overflow, 0),
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
        let missing = |file: String| OpenError::Missing { file };
        let saved = atomic_file::read(&data, CHECKPOINT, MAGIC)?
            .ok_or_else(|| missing(data.describe(CHECKPOINT)))?;
        let Saved { mark, overflow_end, mut checkpoint, .. } = read_saved(&saved)
            .filter(|saved| saved.directory == directory)
            .ok_or_else(|| OpenError::Damaged {
                file: data.describe(CHECKPOINT),
                offset: 0,
                what: "not a checkpoint of this data directory",
            })?;
        let file = |disk: &D, name: &str, length: u64| {
            let described = disk.describe(name);
            let file = disk.open(name)?.ok_or_else(|| missing(described.clone()))?;
            let found = file.length()?;
            if found < length {
                let what = "it ends below the newest checkpoint";
                return Err(OpenError::Damaged { file: described, offset: found, what });
            }
            Ok(Growing { dirty: true, ..Growing::new(file, length) })
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

    /// Every slot below this is written.
    pub fn applied(&self) -> Slot {
        self.applied
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

    /// How far chat log and overflow go.
    fn reach(&self) -> (u64, u64) {
        (self.text.length, self.overflow.length)
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

    /// The entries of these slots, as far as they can be right. `reach` says how far
    /// chat log and overflow may go.
    fn entries(&self, first: Slot, upto: Slot, reach: (u64, u64)) -> io::Result<Entries> {
        let from = first.0.saturating_sub(1) * ENTRY_BYTES as u64;
        let bytes = self.journal.read(from, upto.0 * ENTRY_BYTES as u64)?;
        let mut read = bytes.chunks_exact(ENTRY_BYTES).map_while(Entry::read);
        let before = match first {
            Slot::ZERO => Some(Mark::default()),
            _ => read.next().map(|entry| entry.after),
        };
        let Some(before) = before else { return Ok(Entries::default()) };
        let mut end = before.text_end;
        let fits = |entry: &Entry| {
            let (overflow, text_end) = (entry.overflow(), entry.after.text_end);
            let text = text_end.checked_sub(std::mem::replace(&mut end, text_end));
            text.is_some_and(|bytes| bytes <= TEXT_LINE_BYTES_MAX)
                && overflow.end - overflow.start <= OVERFLOW_BYTES_MAX
                && text_end <= reach.0
                && overflow.end <= reach.1
        };
        Ok(Entries { before, list: read.take_while(fits).collect() })
    }

    /// The values of the first `count` of these entries, as far as the texts are those
    /// that were written.
    fn values(&self, first: Slot, entries: &Entries, count: usize) -> io::Result<Values> {
        let list = &entries.list[..count];
        let mut before = entries.before;
        let Some(end) = list.last().map(|entry| entry.after) else {
            return Ok(Values::default());
        };
        let text = self.text.read(before.text_end, end.text_end)?;
        let mut text = text.as_slice();
        let mut values = Builder::default();
        for (slot, entry) in (first.0..).map(Slot).zip(list) {
            let (line, rest) = text.split_at((entry.after.text_end - before.text_end) as usize);
            text = rest;
            let overflow = match entry.overflow() {
                overflow if overflow.is_empty() => Vec::new(),
                overflow => self.overflow.read(overflow.start, overflow.end)?,
            };
            if entry.hash(before.hash, line, &overflow) != entry.after.hash {
                break;
            }
            if !entry.read_value(slot, line, &overflow, &mut values) {
                break;
            }
            before = entry.after;
        }
        Ok(values.take())
    }

    fn apply(&mut self, slot: Slot, value: ValueRef<'_>, client_seq: Option<u64>) {
        assert!(slot == self.applied, "slots are applied in order, without gaps");
        let (line, overflow) = (self.text.added.len(), self.overflow.added.len());
        write_line(&mut self.text.added, slot, value, client_seq);
        let kind = match (value, client_seq) {
            (ValueRef::Noop, _) => EntryKind::Noop,
            (ValueRef::Command(command), Some(_)) => EntryKind::applied(command),
            (ValueRef::Command(_), None) => {
                let from = self.overflow.end();
                self.overflow.added.extend_from_slice(Values::from(value).bytes());
                EntryKind::Repeated { overflow: from..self.overflow.end() }
            }
        };
        let after = Mark { text_end: self.text.end(), hash: 0 };
        let (line, overflow) = (&self.text.added[line..], &self.overflow.added[overflow..]);
        let entry = Entry { kind, after };
        self.hash = entry.append_to(&mut self.journal.added, self.hash, line, overflow);
        self.applied = slot.next();
    }

    fn write(&mut self) -> io::Result<()> {
        self.text.write()?;
        self.journal.write()?;
        self.overflow.write()
    }

    /// The work that makes what is written durable, and then the checkpoint that speaks
    /// of it.
    fn saving(
        &mut self,
        checkpoint: Checkpoint,
    ) -> impl FnOnce() -> io::Result<()> + Send + use<D> {
        assert!(checkpoint.applied == self.applied, "a checkpoint of exactly what is applied");
        let waits = self.durability == Durability::Sync;
        let mut files = Vec::new();
        if waits {
            files.extend([self.text.unsynced(), self.journal.unsynced(), self.overflow.unsynced()]);
        }
        let (directory, overflow_end) = (self.directory, self.overflow.length);
        let mark = (self.text.length, overflow_end, self.hash);
        let data = Arc::clone(&self.data);
        move || {
            files.into_iter().flatten().try_for_each(|file| file.sync())?;
            let saved = postcard::to_stdvec(&(directory, mark, checkpoint));
            let saved = saved.map_err(io::Error::other)?;
            atomic_file::replace(&*data, CHECKPOINT, MAGIC, &saved, waits)
        }
    }

    fn append_burst(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        self.enter()?;
        for record in records.drain(..) {
            match record {
                Record::Applied { first, values, client_seqs } => {
                    self.pending.push(Pending { first, values, client_seqs });
                }
                Record::Checkpoint(checkpoint) => {
                    self.enter()?;
                    self.write()?;
                    if self.durability != Durability::None {
                        let work = self.saving(checkpoint);
                        self.background.begin(work)?;
                    }
                }
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
        self.text.write_blocks()?;
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

/// Consecutive entries, and where the log stood before them.
#[derive(Debug, Default)]
struct Entries {
    before: Mark,
    list: Vec<Entry>,
}

impl Entries {
    /// How many of them take about `bytes`; one at least.
    fn fitting(&self, bytes: usize) -> usize {
        let mut hidden = 0;
        let fits = self.list.iter().take_while(|entry| {
            let overflow = entry.overflow();
            hidden += overflow.end - overflow.start;
            entry.after.text_end - self.before.text_end + hidden <= bytes as u64
        });
        fits.count().max(1).min(self.list.len())
    }
}

/// What a checkpoint file holds.
struct Saved {
    directory: DirectoryId,
    mark: Mark,
    overflow_end: u64,
    checkpoint: Checkpoint,
}

fn read_saved(bytes: &[u8]) -> Option<Saved> {
    let (saved, rest) = postcard::take_from_bytes(bytes).ok()?;
    let (directory, (text_end, overflow_end, hash), checkpoint) = saved;
    let mark = Mark { text_end, hash };
    rest.is_empty().then_some(Saved { directory, mark, overflow_end, checkpoint })
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

fn already_failed() -> io::Error {
    io::Error::other("an earlier call to the decided log has failed")
}

impl<D: Disk> Storage<Record> for DecidedLog<D> {
    fn append(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        self.guarded(|log| log.append_burst(records))
    }

    /// Everything is durable up to the last checkpoint but one, when `append` returns;
    /// the rest is safe in the acceptors.
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
            log.write()
        })
    }

    fn decided_pages(&mut self) -> Option<&mut dyn DecidedPages> {
        Some(self)
    }

    fn close(mut self) -> io::Result<()> {
        self.rest()?;
        self.background.finish()?;
        if self.durability == Durability::None {
            return Ok(());
        }
        self.text.file.sync()?;
        self.journal.file.sync()?;
        self.overflow.file.sync()?;
        let gone = || io::Error::other(format!("{} has gone", self.data.describe(CHECKPOINT)));
        self.data.open(CHECKPOINT)?.ok_or_else(gone)?.sync()?;
        self.data.sync_dir()
    }
}

impl<D: Disk> DecidedPages for DecidedLog<D> {
    fn decided(&mut self, slots: SlotRange, bytes: usize) -> io::Result<Values> {
        let SlotRange { start: first, end: upto } = slots;
        self.settle()?;
        let entries_max = (bytes / COMMAND_BYTES + 1).min(PAGE_ENTRIES_MAX as usize) as u64;
        let upto = upto.min(self.applied).min(first.plus(entries_max));
        if first >= upto {
            return Ok(Values::default());
        }
        self.rest()?;
        let entries = self.entries(first, upto, self.reach())?;
        let values = self.values(first, &entries, entries.fitting(bytes))?;
        if values.is_empty() {
            let name = &self.text_name;
            log::error!("{name} or its journal is damaged at slot {first}: not served to peers");
            return Ok(values);
        }
        Ok(values.slice(0..values.fitting(bytes).max(1)))
    }
}
