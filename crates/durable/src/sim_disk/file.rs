//! An open file of the simulated disk.

use super::state::{CallOutcome, State};
use super::{Fault, failed, fault, lock};
use crate::disk::{DiskFile, FileId};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// An open file of a [`SimDisk`](super::SimDisk).
#[derive(Debug)]
pub struct SimFile {
    pub(super) shared: Arc<Mutex<State>>,
    pub(super) name: String,
    pub(super) inode: u64,
    pub(super) life: u64,
}

impl SimFile {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.name)))
    }

    fn resize(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.whole(self.life)?;
        let length = length as usize;
        if !state.has_room(self.inode, length) {
            return Err(fault(Fault::Full));
        }
        state.file(self.inode).set_length(length);
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let at = at as usize;
        match state.next_call(self.life)? {
            CallOutcome::Happens if !state.has_room(self.inode, at + bytes.len()) => {
                Err(fault(Fault::Full))
            }
            CallOutcome::Happens => {
                state.written += bytes.len() as u64;
                state.file(self.inode).write(at, bytes);
                Ok(())
            }
            CallOutcome::Tears(tear) => {
                let done = &bytes[..tear.min(bytes.len())];
                state.file(self.inode).write(at, done);
                Err(failed("the power is off"))
            }
            CallOutcome::Fails(kind) => {
                let done = state.rng.usize(..=bytes.len());
                state.file(self.inode).write(at, &bytes[..done]);
                Err(fault(kind))
            }
        }
    }

    fn sync_contents(&self) -> io::Result<()> {
        let mut state = self.state();
        let outcome = state.next_call(self.life)?;
        state.syncs += 1;
        match outcome {
            CallOutcome::Happens => {
                state.file(self.inode).sync();
                Ok(())
            }
            CallOutcome::Tears(_) => Err(failed("the power is off")),
            CallOutcome::Fails(kind) => {
                let mut rng = state.rng.fork();
                state.file(self.inode).fail_sync(&mut rng);
                Err(fault(kind))
            }
        }
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.check(self.life)?;
        let read = state.reads;
        state.reads += 1;
        if state.read_faults.contains(&read) {
            return Err(fault(Fault::Device));
        }
        let at = at as usize;
        let held = state.inodes.get(&self.inode).and_then(|f| f.cache.get(at..at + bytes.len()));
        let held = held.ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(held);
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn id(&self) -> io::Result<FileId> {
        self.state().check(self.life)?;
        Ok(FileId { device: 0, inode: self.inode })
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.state();
        state.check(self.life)?;
        Ok(state.inodes.get(&self.inode).map_or(0, |file| file.cache.len() as u64))
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.told(self.read(at, bytes))
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.told(self.write(at, bytes))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.told(self.resize(length))
    }

    fn preallocate(&self, length: u64) -> io::Result<()> {
        self.told(self.resize(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.told(self.sync_contents())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.state();
        state.check(self.life)?;
        Ok(state.locks.insert(self.inode))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        // Dropping the file releases its lock. A process never opens a locked file twice.
        let mut state = lock(&self.shared);
        if state.life == self.life {
            state.locks.remove(&self.inode);
        }
    }
}
