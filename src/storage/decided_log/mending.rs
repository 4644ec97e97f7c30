//! Opening a decided log whose chat log is not whole: it was deleted or cut.
//!
//! The journal has a check for every line, but not the line. So what is missing is looked for
//! in all chat logs of the log directory: copies that logrotate has made, and those of other
//! replicas on this host, which are the same to the byte. Of each as many lines count as the
//! journal confirms, from slot 0 on. The longest such beginning becomes the chat log.
//!
//! If that is not all, the learner begins there, and fetches the rest from the other replicas
//! as one that was away. Until it is where it was before (the [`Goal`]), the newest checkpoint
//! stays, so a process that is killed meanwhile mends on; and what was fetched must lead to the
//! running hash that this replica remembers. Then the lines are synced: acceptors have forgotten
//! those below the checkpoint. Until that is done, a power cut may tear lines that the checkpoint
//! covers. So the data directory has a file [`MENDING`] meanwhile, by which the next start knows that
//! this is no damage.

use super::chat_file::{copied, is_lost, move_aside, put_in_place};
use super::reading::PAGE_ENTRIES_MAX;
use super::{DecidedLog, JOURNAL, MENDING};
use crate::paxos::learner::{Checkpoint, Learner};
use crate::paxos::{Membership, Settings};
use crate::storage::Durability;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::error::OpenError;
use crate::storage::journal::{ENTRY_BYTES, Mark};
use crate::types::Slot;
use std::io::{self, ErrorKind::UnexpectedEof};
use std::sync::Arc;

/// How many bytes are checked at a time, give or take a slot.
const CHECKED_BYTES: usize = 1 << 20;

/// Whatever cuts this chat log may cut the others at the same time.
const TRIES_MAX: u32 = 8;

/// How far a log went before its chat log was cut.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    pub(super) applied: Slot,
    pub(super) mark: Mark,
    /// The running hash that was found there, once the log is there again.
    pub(super) found: Option<u64>,
}

impl Goal {
    pub(super) fn new(applied: Slot, mark: Mark) -> Goal {
        Goal { applied, mark, found: None }
    }
}

/// A beginning of the log that some chat log holds.
struct Beginning<F> {
    file: Arc<F>,
    name: String,
    end: Slot,
    mark: Mark,
}

/// Whether a file may hold lines of this log: `learner1.txt`, `learner0.txt.2`.
fn may_hold(name: &str, chat_log: &str) -> bool {
    let stem =
        |name: &str| name.split(|c: char| !c.is_ascii_alphabetic()).next().map(str::to_owned);
    stem(name) == stem(chat_log)
}

impl<D: Disk> DecidedLog<D> {
    /// Mends this log, of which only the journal and the overflow are whole, and returns it
    /// with the state from which the learner goes on. `lacks` is the error if it cannot be
    /// mended, because there are no other replicas.
    pub(super) fn mend(
        mut self,
        goal: Goal,
        lacks: OpenError,
    ) -> Result<(Self, Checkpoint), OpenError> {
        let journal_ends = self.entries(goal.applied, goal.applied, (u64::MAX, u64::MAX))?.before;
        if journal_ends != goal.mark {
            let file = self.data.describe(JOURNAL);
            let what = "it does not end as its checkpoint says";
            return Err(OpenError::Damaged { file, offset: 0, what });
        }
        self.mark()?;
        let mut tries = 0;
        let (source, end, length) = loop {
            let beginning = self.longest_beginning()?;
            let (end, length) =
                beginning.as_ref().map_or_else(Default::default, |it| (it.end, it.mark.text_end));
            if end < goal.applied && !self.others {
                return Err(lacks);
            }
            let source = beginning.as_ref().map(|beginning| beginning.name.clone());
            tries += 1;
            match self.begin_with(beginning) {
                // It was cut while it was copied.
                Err(error) if error.kind() == UnexpectedEof && tries < TRIES_MAX => {}
                result => break result.map(|()| (source, end, length))?,
            }
        };
        let name = self.text.described();
        match source {
            Some(source) if end >= goal.applied => {
                log::warn!(
                    "{name}: was deleted or cut: its {end} lines are restored from {source}"
                );
            }
            _ => log::warn!(
                "{name}: was deleted or cut: its lines from slot {end} to {} are fetched from the \
                 other replicas",
                goal.applied
            ),
        }
        // The lines are applied from slot 0 on, and all files are written as they were.
        self.text.expect(length);
        self.journal.length = 0;
        self.overflow.length = 0;
        (self.applied, self.hash) = (Slot::ZERO, 0);
        let mut checkpoint = Checkpoint::hosting(&self.host);
        self.roll_forward(&mut checkpoint, end)?;
        if self.applied < goal.applied {
            self.goal = Some(goal);
        } else {
            self.cut_tails()?;
        }
        if self.durability != Durability::None && self.applied >= self.saved {
            self.save(&checkpoint)?;
        }
        if self.goal.is_none() {
            self.unmark()?;
        }
        Ok((self, checkpoint))
    }

    /// After an error of this log: if its chat log was cut, the learner goes on where the lines
    /// end that are left, as one that has come back. The other roles do not notice more than that
    /// it is behind. Returns the checkpoint from which it goes on, and the slot below which it had
    /// applied everything.
    ///
    /// # Errors
    ///
    /// `error` if it is another one; that of the file system; or what says that no other replica
    /// has the lines.
    pub fn after(self, error: io::Error) -> io::Result<(Self, Checkpoint, Slot)> {
        if !is_lost(&error) {
            return Err(error);
        }
        let (log, checkpoint) =
            self.reopen().map_err(|error| io::Error::other(error.to_string()))?;
        let once = log.goal.as_ref().map_or(log.applied, |goal| goal.applied);
        Ok((log, checkpoint, once))
    }

    /// The same, with the learner that goes on.
    ///
    /// # Errors
    ///
    /// As [`DecidedLog::after`].
    pub fn mended(
        self,
        error: io::Error,
        settings: Settings,
        membership: &Membership,
    ) -> io::Result<(Self, Learner)> {
        let (log, checkpoint, once) = self.after(error)?;
        let membership = Membership { fresh: false, ..membership.clone() };
        Ok((log, Learner::new(settings, membership, checkpoint).once_at(once)))
    }

    /// Opens this log anew, whose chat log was cut while it was open.
    ///
    /// # Errors
    ///
    /// When the file system fails, or there are no other replicas that have the lines.
    pub fn reopen(mut self) -> Result<(Self, Checkpoint), OpenError> {
        self.background.finish()?;
        self.journal.write()?;
        self.overflow.write()?;
        let goal = Goal::new(self.applied, Mark { text_end: self.text.end(), hash: self.hash });
        let goal = self.goal.take().filter(|before| before.applied > goal.applied).unwrap_or(goal);
        let file = self.text.described();
        self.text.reopen()?;
        if self.durability != Durability::None {
            self.keep_name()?;
        }
        self.pending.clear();
        // The learner begins anew, so the other parts of a checkpoint will not come.
        self.making = None;
        self.failed = false;
        let what = "another process has cut it, and no other replica has its lines";
        self.mend(goal, OpenError::Damaged { file, offset: 0, what })
    }

    /// Of all chat logs of the directory the longest beginning that the journal confirms.
    fn longest_beginning(&self) -> io::Result<Option<Beginning<D::File>>> {
        let written = Slot(self.journal.file.length()? / ENTRY_BYTES as u64);
        let mut best: Option<Beginning<D::File>> = None;
        let (log_dir, chat_log) = self.text.place();
        for name in log_dir.list()?.into_iter().filter(|name| may_hold(name, chat_log)) {
            let file = match name == *chat_log {
                true => Arc::clone(&self.text.grown.file),
                // What cannot be opened is no copy.
                false => match log_dir.open(&name) {
                    Ok(Some(file)) => Arc::new(file),
                    _ => continue,
                },
            };
            let (end, mark) = self.confirmed(&file, written).unwrap_or_default();
            if end > best.as_ref().map_or(Slot::ZERO, |best| best.end) {
                best = Some(Beginning { file, name, end, mark });
            }
        }
        Ok(best)
    }

    /// How many lines of this file are those of the journal, from slot 0 on.
    fn confirmed(&self, file: &D::File, written: Slot) -> io::Result<(Slot, Mark)> {
        let reach = (file.length()?, self.overflow.file.length()?);
        let (mut end, mut mark) = (Slot::ZERO, Mark::default());
        while end < written {
            let upto = written.min(end.plus(PAGE_ENTRIES_MAX));
            let entries = self.entries(end, upto, reach)?;
            let count = entries.fitting(CHECKED_BYTES);
            let whole = self.values_in(file, end, &entries, count)?.len();
            if let Some(last) = whole.checked_sub(1) {
                mark = entries.list[last].after;
            }
            end = end.plus(whole as u64);
            if whole == 0 || whole < count {
                break;
            }
        }
        Ok((end, mark))
    }

    /// The chat log becomes this beginning, and nothing else. What it held beyond is kept under
    /// another name.
    fn begin_with(&mut self, beginning: Option<Beginning<D::File>>) -> io::Result<()> {
        let (log_dir, name) = self.text.place();
        let own = self.text.grown.file.length()?;
        let (length, is_own) = match &beginning {
            Some(beginning) => (beginning.mark.text_end, beginning.name == *name),
            None => (0, true),
        };
        if is_own && own == length {
            return Ok(());
        }
        let from = beginning.as_ref().map_or(&self.text.grown.file, |beginning| &beginning.file);
        let copy = copied(log_dir, name, from, length)?;
        if own > 0 {
            let aside = move_aside(log_dir, name)?;
            log::warn!("{}: what it held is kept as {aside}", self.text.described());
        }
        put_in_place(log_dir, name)?;
        self.text.go_on_in(copy)
    }

    /// The log is where it was before its chat log was cut: what was fetched must be what this
    /// replica remembers.
    pub(super) fn note_mended(&mut self) -> io::Result<()> {
        let Some(Goal { applied, mark, found: Some(found) }) = self.goal else { return Ok(()) };
        self.goal = None;
        let name = self.text.described();
        if found != mark.hash {
            return Err(io::Error::other(format!(
                "{name}: the lines of the other replicas below slot {applied} are not those that \
                 this replica wrote before it was cut: compare the chat logs before anything else"
            )));
        }
        self.write()?;
        // Acceptors have forgotten what lies below the newest checkpoint.
        let files = [self.text.grown.unsynced(), self.journal.unsynced(), self.overflow.unsynced()];
        files.into_iter().flatten().try_for_each(|file| file.sync())?;
        self.unmark()?;
        log::warn!("{name}: is whole again up to slot {applied}");
        Ok(())
    }

    /// Notes durably that lines may be missing or torn, whatever the length of the chat log.
    fn mark(&self) -> io::Result<()> {
        self.data.create(MENDING)?;
        self.data.sync_dir()
    }

    /// Notes durably that no line is missing.
    pub(super) fn unmark(&self) -> io::Result<()> {
        if self.data.look(MENDING)?.is_some() {
            self.data.remove(MENDING)?;
            self.data.sync_dir()?;
        }
        Ok(())
    }

    /// Cuts off the files what stands behind the last whole slot.
    pub(super) fn cut_tails(&self) -> io::Result<()> {
        let files = [(&self.text.grown), (&self.journal), (&self.overflow)];
        for file in files {
            if file.file.length()? > file.length {
                file.file.set_length(file.length)?;
            }
        }
        Ok(())
    }
}
