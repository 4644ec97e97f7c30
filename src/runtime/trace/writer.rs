//! Writes blocks to the file of a trace, and begins the next file when one is full.
//!
//! When the file system fails, the trace ends and the process goes on: what a cluster is for does
//! not depend on its trace.

use super::block::{self, HEAD_BYTES, Stream, Taken, Word};
use super::lists::Written;
use super::{Header, Pending};
use crate::types::Time;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// See the module.
pub(super) struct Writer {
    path: PathBuf,
    /// None once it has ended.
    file: Option<File>,
    length: u64,
    length_max: u64,
    header: Header,
    pending: Vec<Arc<Pending>>,
    /// The lists that this file has.
    written: Arc<Written>,
    /// The memory of each role's last block.
    memory: Vec<Taken>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Writer { path, length, header, .. } = self;
        f.debug_struct("Writer")
            .field("path", path)
            .field("length", length)
            .field("header", header)
            .finish_non_exhaustive()
    }
}

/// Where the older half of a trace is.
pub(super) fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

impl Writer {
    pub(super) fn begin(
        path: PathBuf,
        length_max: u64,
        header: Header,
        pending: Vec<Arc<Pending>>,
        written: Arc<Written>,
    ) -> io::Result<Writer> {
        let memory = pending.iter().map(|_| Taken::default()).collect();
        let (file, length) = (None, 0);
        let mut writer =
            Writer { path, file, length, length_max, header, pending, written, memory };
        writer.begin_file()?;
        Ok(writer)
    }

    /// Writes what the roles have written.
    pub(super) fn write(&mut self) {
        for at in 0..self.pending.len() {
            if self.file.is_none() {
                return;
            }
            let Some(block) = self.pending[at].take(&mut self.memory[at]) else { continue };
            if let Err(error) = self.write_block(block.bytes()) {
                return self.give_up(&error);
            }
            self.memory[at] = block;
        }
    }

    /// Writes the last word.
    pub(super) fn end(&mut self, now: Time) {
        self.write();
        let word = block::only(&Word::End(now), Stream::Process, 1);
        if let Some(mut file) = self.file.take() {
            // A trace without it is one of a process that was killed.
            let _ = file.write_all(&word);
        }
        self.pending.iter().for_each(|pending| pending.end());
    }

    fn write_block(&mut self, bytes: [&[u8]; 2]) -> io::Result<()> {
        let length = bytes.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        let is_full = self.length + length > self.length_max;
        if is_full && self.length > HEADER_BYTES_MAX {
            self.header.file += 1;
            self.begin_file()?;
            self.written.forget();
        }
        self.length += length;
        let Some(file) = &mut self.file else { return Ok(()) };
        bytes.into_iter().try_for_each(|bytes| file.write_all(bytes))
    }

    fn begin_file(&mut self) -> io::Result<()> {
        match fs::rename(&self.path, older(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create(&self.path)?;
        let header = block::only(&Word::Header(self.header.clone()), Stream::Process, 0);
        file.write_all(&header)?;
        (self.file, self.length) = (Some(file), header.len() as u64);
        Ok(())
    }

    fn give_up(&mut self, error: &io::Error) {
        self.file = None;
        self.pending.iter().for_each(|pending| pending.end());
        let (who, path) = (self.header.who, self.path.display());
        log::warn!("{who}: --trace {path}: {error}: the trace ends here, the process goes on");
    }
}

/// No header is longer.
const HEADER_BYTES_MAX: u64 = 256;

const _: () = assert!(HEAD_BYTES < HEADER_BYTES_MAX as usize);
