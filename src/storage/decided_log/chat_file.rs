//! The chat log as a file that people can reach.
//!
//! People and their tools rename, delete and cut log files. This file is the replica's data, so
//! each write is preceded by a look at what its name leads to, and followed by a look at the byte
//! before what was written:
//!
//! - *Its name leads elsewhere* (`rm`, logrotate with `create`): the open file is whole still. It
//!   is copied, and the copy gets the name.
//! - *It is shorter than what was written* (`: >`, logrotate with `copytruncate`), or zeros stand
//!   where a line was, because it was cut between the look and the write: its lines are lost
//!   here. That is an error, [`is_lost`], and whoever runs the learner opens the log again
//!   (`mending`).
//!
//! **An earlier chat.** A replica that lost its state begins at slot 0, and finds the chat log of
//! its earlier life. What the cluster's log has in common with it stays where it is. With the first
//! byte that differs, the earlier chat gets another name.

use super::growing_file::GrowingFile;
use crate::storage::disk::{Disk, DiskFile, FileId};
use durable::atomic_file::temporary;
use std::fmt;
use std::io;

/// How many bytes are copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// The chat log was cut: lines that were written are not there any more.
#[derive(Debug)]
struct Lost {
    file: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: was cut by another process", self.file)
    }
}

impl std::error::Error for Lost {}

/// Whether the log must be opened again, because its chat log was cut.
pub fn is_lost(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Lost>())
}

/// The chat log, and what is about to be added to it.
#[derive(Debug)]
pub(super) struct ChatFile<D: Disk> {
    log_dir: D,
    name: String,
    id: FileId,
    pub(super) grown: GrowingFile<D::File>,
    /// The length of the earlier chat that the file holds. What lies behind `grown` has not
    /// been compared yet.
    former: u64,
    /// How long the file is while what it holds is read, and written again in its place.
    read_to: u64,
}

/// Locks a chat log, for as long as it is open.
pub(super) fn lock<D: Disk>(log_dir: &D, name: &str, file: &D::File) -> io::Result<()> {
    if file.try_lock()? {
        return Ok(());
    }
    let file = log_dir.describe(name);
    let said = format!("{file}: in use by another process: each cluster needs its own --log_dir");
    Err(io::Error::new(io::ErrorKind::ResourceBusy, said))
}

/// The chat log, locked. It is made if there is none.
pub(super) fn opened<D: Disk>(log_dir: &D, name: &str) -> io::Result<D::File> {
    let file = match log_dir.open(name)? {
        Some(file) => file,
        None => log_dir.create(name)?,
    };
    lock(log_dir, name, &file)?;
    Ok(file)
}

/// Renames a chat log to the first free of `<name>.1`, `<name>.2`, …, durably, and returns that
/// name. What takes its place next would otherwise be there after a power cut, and it nowhere.
pub(super) fn move_aside<D: Disk>(disk: &D, name: &str) -> io::Result<String> {
    for number in 1u32.. {
        let aside = format!("{name}.{number}");
        if disk.look(&aside)?.is_none() {
            disk.rename(name, &aside)?;
            disk.sync_dir()?;
            return Ok(disk.describe(&aside));
        }
    }
    unreachable!("some number is free")
}

/// A durable copy of the first bytes of a file, under a temporary name, locked.
pub(super) fn copied<D: Disk>(
    log_dir: &D,
    name: &str,
    from: &D::File,
    length: u64,
) -> io::Result<D::File> {
    let copy = log_dir.create(&temporary(name))?;
    lock(log_dir, name, &copy)?;
    let mut at = 0;
    while at < length {
        let mut piece = vec![0; (length - at).min(COPY_BYTES) as usize];
        from.read_at(at, &mut piece)?;
        copy.write_at(at, &piece)?;
        at += piece.len() as u64;
    }
    copy.sync()?;
    Ok(copy)
}

/// Gives a copy the chat log's name, durably.
pub(super) fn put_in_place<D: Disk>(log_dir: &D, name: &str) -> io::Result<()> {
    log_dir.rename(&temporary(name), name)?;
    log_dir.sync_dir()
}

impl<D: Disk> ChatFile<D> {
    /// An open and locked file, of which the first `length` bytes are lines of this log, and
    /// the rest up to `former` may be.
    pub(super) fn new(
        log_dir: D,
        name: &str,
        file: D::File,
        length: u64,
        former: u64,
    ) -> io::Result<Self> {
        let id = file.id()?;
        let grown = GrowingFile::reopened(file, length);
        Ok(ChatFile { log_dir, name: name.to_owned(), id, grown, former, read_to: 0 })
    }

    /// Its name in messages.
    pub(super) fn described(&self) -> String {
        self.log_dir.describe(&self.name)
    }

    /// The directory that it is in, and its name there.
    pub(super) fn place(&self) -> (&D, &String) {
        (&self.log_dir, &self.name)
    }

    /// Opens the file that has the name now; makes one if there is none.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let seen = self.log_dir.look(&self.name)?;
        if seen.is_some_and(|seen| seen.id == self.id) {
            return Ok(());
        }
        let file = opened(&self.log_dir, &self.name)?;
        self.go_on_in(file)
    }

    /// Goes on in another file.
    pub(super) fn go_on_in(&mut self, file: D::File) -> io::Result<()> {
        self.id = file.id()?;
        self.grown.replace(file);
        Ok(())
    }

    /// The file holds `length` bytes, which are about to be read and written again.
    pub(super) fn read_to(&mut self, length: u64) {
        self.read_to = length;
    }

    /// The file holds `length` bytes of lines, which are about to be written again.
    pub(super) fn expect(&mut self, length: u64) {
        self.grown.added.clear();
        (self.grown.length, self.former) = (0, length);
    }

    /// Where it will end.
    pub(super) fn end(&self) -> u64 {
        self.grown.end()
    }

    /// How many bytes are written.
    pub(super) fn length(&self) -> u64 {
        self.grown.length
    }

    /// Writes all that has gathered.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.write_to(self.grown.end())
    }

    /// Writes what fills blocks, as [`GrowingFile::write_blocks`] does.
    pub(super) fn write_blocks(&mut self) -> io::Result<()> {
        self.grown.block_end().map_or(Ok(()), |end| self.write_to(end))
    }

    fn write_to(&mut self, end: u64) -> io::Result<()> {
        if end == self.grown.length {
            return Ok(());
        }
        self.look()?;
        self.compare(end)?;
        let before = self.grown.length;
        self.grown.write_to(end)?;
        if before > 0 && self.grown.length > before {
            let mut last = [0];
            match self.grown.file.read_at(before - 1, &mut last) {
                // No line has a zero byte.
                Ok(()) if last != [0] => {}
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                _ => return Err(self.lost()),
            }
        }
        Ok(())
    }

    fn lost(&self) -> io::Error {
        io::Error::other(Lost { file: self.described() })
    }

    /// Looks whether the file is there as it was left, and puts it back if it is not.
    ///
    /// # Errors
    ///
    /// [`is_lost`] if it was cut; otherwise what the file system says.
    pub(super) fn look(&mut self) -> io::Result<()> {
        let expected = self.grown.length.max(self.former).max(self.read_to);
        let seen = self.log_dir.look(&self.name)?;
        match seen.filter(|seen| seen.id == self.id) {
            Some(seen) if seen.length == expected => Ok(()),
            Some(seen) if seen.length > expected => {
                let name = self.described();
                log::warn!("{name}: another process has added to it: cut off again");
                self.grown.file.set_length(expected)
            }
            Some(_) => Err(self.lost()),
            None if self.grown.file.length()? < expected => Err(self.lost()),
            None => self.put_back(seen.is_some_and(|other| other.length > 0), expected),
        }
    }

    /// The name leads to no file or to another one, which may hold something.
    fn put_back(&mut self, other_holds: bool, length: u64) -> io::Result<()> {
        let name = self.described();
        let copy = copied(&self.log_dir, &self.name, &self.grown.file, length)?;
        if other_holds {
            let other = self.log_dir.open(&self.name)?;
            other.as_ref().map_or(Ok(()), |file| lock(&self.log_dir, &self.name, file))?;
            let aside = move_aside(&self.log_dir, &self.name)?;
            log::warn!("{name}: another file has taken its place: renamed to {aside}");
        }
        put_in_place(&self.log_dir, &self.name)?;
        self.go_on_in(copy)?;
        log::warn!(
            "{name}: was moved or deleted by another process: written again ({length} bytes)"
        );
        Ok(())
    }

    /// Compares what is about to be written up to `end` with the earlier chat. With the first
    /// difference that gets another name. What is the same is written again in its place: the
    /// page cache may hold it, and the disk not.
    fn compare(&mut self, end: u64) -> io::Result<()> {
        let (from, until) = (self.grown.length, end.min(self.former));
        if from >= until
            || self.grown.read(from, until)? == self.grown.added[..(until - from) as usize]
        {
            return Ok(());
        }
        self.part()
    }

    /// From here on this log and the earlier chat have nothing in common: the earlier chat gets
    /// another name.
    pub(super) fn part(&mut self) -> io::Result<()> {
        if self.former <= self.grown.length {
            return Ok(());
        }
        let copy = copied(&self.log_dir, &self.name, &self.grown.file, self.grown.length)?;
        let aside = move_aside(&self.log_dir, &self.name)?;
        put_in_place(&self.log_dir, &self.name)?;
        self.former = 0;
        self.go_on_in(copy)?;
        let name = self.described();
        log::warn!("{name} holds a chat that this replica does not remember: renamed to {aside}");
        Ok(())
    }
}
