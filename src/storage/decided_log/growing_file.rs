//! A file that only grows: chat log, journal and overflow.
//!
//! What is appended gathers in memory until its owner asks for a write. A busy owner writes
//! whole blocks, an idle one all that has gathered, and so does a busy one now and then. Nothing here syncs: whoever makes a
//! checkpoint takes the file with [`GrowingFile::unsynced`] and syncs it elsewhere.

use crate::storage::disk::DiskFile;
use std::io;
use std::sync::Arc;

/// While the thread does not sleep, a file is written in whole blocks of this many bytes; a
/// part of a block waits in memory. The page cache takes a block
/// as one piece where it can: 1.2 µs a page in place of 2.1 for as many bytes from anywhere
/// (ext4 of Linux 6.18), 1.4 and 1.7 in blocks of a half and a quarter of the size.
const BLOCK_BYTES: u64 = 64 << 10;

/// A file that only grows, and what is about to be added to it.
#[derive(Debug)]
pub(super) struct GrowingFile<F> {
    pub(super) file: Arc<F>,
    /// How many bytes are written.
    pub(super) length: u64,
    /// What follows them, in memory only.
    pub(super) added: Vec<u8>,
    /// Whether something was written that no sync has covered.
    dirty: bool,
}

impl<F: DiskFile> GrowingFile<F> {
    /// A file that holds `length` bytes, all of them durable.
    pub(super) fn new(file: F, length: u64) -> Self {
        GrowingFile { file: Arc::new(file), length, added: Vec::new(), dirty: false }
    }

    /// A file of an earlier life, of which only the page cache may hold something.
    pub(super) fn reopened(file: F, length: u64) -> Self {
        GrowingFile { dirty: true, ..GrowingFile::new(file, length) }
    }

    /// Where it will end.
    pub(super) fn end(&self) -> u64 {
        self.length + self.added.len() as u64
    }

    /// Writes all that has gathered.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.write_to(self.end())
    }

    /// Writes what fills blocks once as much has gathered as one holds, and keeps the rest.
    pub(super) fn write_blocks(&mut self) -> io::Result<()> {
        self.block_end().map_or(Ok(()), |end| self.write_to(end))
    }

    /// Where the last block ends that is full, once as much has gathered as one holds.
    pub(super) fn block_end(&self) -> Option<u64> {
        let is_much = self.added.len() as u64 >= BLOCK_BYTES;
        is_much.then(|| self.end() / BLOCK_BYTES * BLOCK_BYTES)
    }

    /// Goes on in another file, which holds the same.
    pub(super) fn replace(&mut self, file: F) {
        self.file = Arc::new(file);
        self.dirty = true;
    }

    pub(super) fn write_to(&mut self, end: u64) -> io::Result<()> {
        if end > self.length {
            let count = (end - self.length) as usize;
            self.file.write_at(self.length, &self.added[..count])?;
            self.added.drain(..count);
            self.length = end;
            self.dirty = true;
        }
        Ok(())
    }

    /// The file, if it may hold bytes that are not durable. The caller syncs it.
    pub(super) fn unsynced(&mut self) -> Option<Arc<F>> {
        std::mem::take(&mut self.dirty).then(|| Arc::clone(&self.file))
    }

    /// The bytes from `from` up to `to`, where what is not written yet counts as well.
    pub(super) fn read_through(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let to = to.min(self.end());
        let mut bytes = match from < self.length {
            true => self.read(from, to.min(self.length))?,
            false => Vec::new(),
        };
        let behind = |at: u64| at.saturating_sub(self.length) as usize;
        bytes.extend_from_slice(&self.added[behind(from.min(to))..behind(to)]);
        Ok(bytes)
    }

    /// The bytes from `from` up to `to`.
    pub(super) fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; to.saturating_sub(from) as usize];
        self.file.read_at(from, &mut bytes)?;
        Ok(bytes)
    }
}
