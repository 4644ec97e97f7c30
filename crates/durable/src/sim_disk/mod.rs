//! A disk in memory that can lose its power.
//!
//! It keeps what an operating system keeps about a real disk: the page cache, which of its
//! sectors are durable, and which names are. So it can tell three ends of a process apart
//! (D3):
//!
//! - [`SimDisk::crash_process`]: the page cache survives, locks and open files do not.
//! - [`SimDisk::power_cut`]: each unsynced sector is left as it was at the last sync, or as
//!   any write since then made it. Each unsynced length and change of a name happened or did
//!   not. All of that is drawn at random, or decided by [`Survival`].
//! - a power cut in the middle of a call: [`SimDisk::cut_at`] names the call by its number
//!   and, if it is a write, the byte at which it tears.
//!
//! It also fails on demand: a chosen call returns an error or finds no space, a chosen read
//! fails, bits of durable data flip. After a failed sync every page of the file counts as
//! clean, whether its data arrived or not. So a later sync does nothing for it and succeeds,
//! and a caller that believes the later sync loses data in a test.
//!
//! Calls that change something are numbered from 0 over the whole disk; reads are numbered
//! apart. All randomness comes from the generator that the disk is given.
//!
//! **Does not** simulate sectors that tear without a power cut, misdirected writes, or a
//! file system that loses data that it reported durable.

mod file;
mod state;

pub use file::SimFile;

use crate::background::Executor;
use crate::disk::{Disk, FileId, Seen};
use state::{Inode, NameChange, State};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// A power cut leaves each unit of this size whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// The most versions of one unsynced sector that are kept.
const VERSIONS_MAX: usize = 8;

/// Which unsynced changes a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// All of them, in their last form.
    Everything,
    /// Each of them or not, at random.
    Random,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device reports an error. A write may have happened in part.
    Device,
    /// No space is left.
    Full,
}

/// A handle to one folder of the disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<State>>,
    folder: String,
    life: u64,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(rng: fastrand::Rng) -> Self {
        let state = State {
            rng,
            inodes: BTreeMap::new(),
            next_inode: 0,
            folders: BTreeMap::new(),
            locks: BTreeSet::new(),
            life: 0,
            calls: 0,
            reads: 0,
            syncs: 0,
            written: 0,
            cut: None,
            dark: false,
            faults: BTreeMap::new(),
            read_faults: BTreeSet::new(),
            capacity: None,
        };
        SimDisk { shared: Arc::new(Mutex::new(state)), folder: String::new(), life: 0 }
    }

    /// Another folder of the same disk, made if there is none.
    pub fn folder(&self, name: &str) -> SimDisk {
        SimDisk { shared: Arc::clone(&self.shared), folder: name.to_owned(), life: self.life }
    }

    /// An independent copy, with a generator of its own.
    pub fn fork(&self, rng: fastrand::Rng) -> SimDisk {
        let mut state = self.state().clone();
        state.rng = rng;
        SimDisk { shared: Arc::new(Mutex::new(state)), ..self.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    /// How many calls changed something.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many reads there were.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// How many syncs there were, of files and of folders.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How many bytes were written.
    pub fn written(&self) -> u64 {
        self.state().written
    }

    /// How many bytes all files with a name hold together.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Plans a power cut at call number `call`, counted as [`SimDisk::calls`] does. If that
    /// call is a write, only its first `tear` bytes happen; otherwise nothing of it does.
    /// Every later call fails until [`SimDisk::power_cut`], which decides what survives.
    pub fn cut_at(&self, call: u64, tear: usize) {
        self.state().cut = Some((call, tear));
    }

    /// Whether the call at which the power goes has come.
    pub fn is_dark(&self) -> bool {
        self.state().dark
    }

    /// Plans that call number `call` fails.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().faults.insert(call, fault);
    }

    /// Plans that read number `read` fails.
    pub fn fail_read_at(&self, read: u64) {
        self.state().read_faults.insert(read);
    }

    /// Sets how many bytes all files together may hold from here on. None means no limit.
    pub fn limit(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Cancels all planned faults and the limit.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.read_faults.clear();
        state.cut = None;
        state.capacity = None;
    }

    /// Kills the process: its locks and open files are gone, and nothing else is.
    pub fn crash_process(&mut self) {
        let mut state = self.state();
        state.life += 1;
        state.locks.clear();
        self.life = {
            let life = state.life;
            drop(state);
            life
        };
    }

    /// Cuts the power, and turns it on again.
    pub fn power_cut(&mut self, survival: Survival) {
        self.state().power_cut(survival);
        self.crash_process();
    }

    /// The names and lengths of all files that are certain to survive a power cut.
    pub fn durable_files(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let Some(folder) = state.folders.get(&self.folder) else { return Vec::new() };
        let length = |inode: &u64| state.inodes.get(inode).map_or(0, |file| file.durable.len());
        folder.durable.iter().map(|(name, inode)| (name.clone(), length(inode))).collect()
    }

    /// Someone else cuts a file. A file system does so as a whole, so it is durable at once, and no
    /// call of the process. Returns whether there is such a file.
    pub fn cut_off(&self, name: &str, length: usize) -> bool {
        let mut state = self.state();
        let Some(inode) = self.inode(&state, name) else { return false };
        let file = state.file(inode);
        file.set_length(length);
        file.sync();
        true
    }

    /// Flips one bit of a file, on the disk and in the cache.
    ///
    /// # Panics
    ///
    /// If there is no such file, or it is not that long.
    pub fn flip_bit(&self, name: &str, byte: usize, bit: u32) {
        let mut state = self.state();
        // A name may be gone from the cache and still be on the disk.
        let folder = &state.folders[&self.folder];
        let held = folder.cache.get(name).or_else(|| folder.durable.get(name));
        let inode = *held.expect("there is such a file");
        let file = state.inodes.get_mut(&inode).expect("a name's file exists");
        for contents in [&mut file.cache, &mut file.durable] {
            if let Some(byte) = contents.get_mut(byte) {
                *byte ^= 1 << bit;
            }
        }
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn failed(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

fn fault(fault: Fault) -> io::Error {
    match fault {
        Fault::Device => failed("input/output error"),
        Fault::Full => io::Error::new(io::ErrorKind::StorageFull, "no space left on device"),
    }
}

impl SimDisk {
    fn opened(&self, name: &str, inode: u64) -> SimFile {
        let name = self.describe(name);
        SimFile { shared: Arc::clone(&self.shared), name, inode, life: self.life }
    }

    fn change(&self, state: &mut State, change: NameChange) {
        let folder = state.folders.entry(self.folder.clone()).or_default();
        change.apply(&mut folder.cache);
        folder.pending.push(change);
    }

    fn inode(&self, state: &State, name: &str) -> Option<u64> {
        state.folders.get(&self.folder)?.cache.get(name).copied()
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    const BACKGROUND: Executor = Executor::Caller;

    fn open(&self, name: &str) -> io::Result<Option<SimFile>> {
        let state = self.state();
        state.check(self.life)?;
        Ok(self.inode(&state, name).map(|inode| self.opened(name, inode)))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        state.whole(self.life)?;
        if let Some(inode) = self.inode(&state, name) {
            state.file(inode).set_length(0);
            return Ok(self.opened(name, inode));
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        self.change(&mut state, NameChange::Make(name.to_owned(), inode));
        Ok(self.opened(name, inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole(self.life)?;
        if self.inode(&state, from).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(&mut state, NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole(self.life)?;
        if self.inode(&state, name).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(&mut state, NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn look(&self, name: &str) -> io::Result<Option<Seen>> {
        let state = self.state();
        state.check(self.life)?;
        Ok(self.inode(&state, name).map(|inode| Seen {
            id: FileId { device: 0, inode },
            length: state.inodes.get(&inode).map_or(0, |file| file.cache.len() as u64),
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check(self.life)?;
        let folder = state.folders.get(&self.folder);
        Ok(folder.map(|folder| folder.cache.keys().cloned().collect()).unwrap_or_default())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.whole(self.life)?;
        state.syncs += 1;
        if let Some(folder) = state.folders.get_mut(&self.folder) {
            folder.durable = folder.cache.clone();
            folder.pending.clear();
        }
        state.forget_nameless();
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        if self.folder.is_empty() { name.to_owned() } else { format!("{}/{name}", self.folder) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskFile;
    use seeds::stream;

    fn disk(seed: u64) -> SimDisk {
        SimDisk::new(stream(seed, "disk"))
    }

    fn contents(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
        let file = disk.open(name).unwrap()?;
        let mut bytes = vec![0; file.length().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn a_killed_process_loses_nothing_and_a_power_cut_what_was_not_synced() {
        let mut disk = disk(1);
        let file = disk.create("a").unwrap();
        file.write_at(0, b"one").unwrap();
        file.sync().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(3, b"two").unwrap();
        disk.crash_process();
        assert!(file.write_at(0, b"x").is_err(), "a handle of an earlier life");
        assert_eq!(contents(&disk, "a").unwrap(), b"onetwo");
        disk.power_cut(Survival::Nothing);
        assert_eq!(contents(&disk, "a").unwrap(), b"one");
    }

    #[test]
    fn a_name_is_durable_only_once_its_folder_is_synced() {
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let mut disk = disk(seed);
            let file = disk.create("old").unwrap();
            file.sync().unwrap();
            disk.sync_dir().unwrap();
            disk.rename("old", "new").unwrap();
            disk.create("other").unwrap();
            disk.power_cut(Survival::Random);
            seen.insert(disk.list().unwrap().join(" "));
        }
        let expected = ["new", "new other", "old", "old other"].map(str::to_owned);
        assert_eq!(seen, expected.into_iter().collect());
    }

    #[test]
    fn unsynced_sectors_survive_one_by_one() {
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let mut disk = disk(seed);
            let file = disk.create("a").unwrap();
            file.set_length(2 * SECTOR_BYTES as u64).unwrap();
            file.sync().unwrap();
            disk.sync_dir().unwrap();
            file.write_at(0, &[1; 2 * SECTOR_BYTES]).unwrap();
            disk.power_cut(Survival::Random);
            let bytes = contents(&disk, "a").unwrap();
            seen.insert((bytes[0], bytes[SECTOR_BYTES]));
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn the_power_goes_at_the_call_and_the_byte_named() {
        let mut disk = disk(1);
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        disk.cut_at(disk.calls() + 1, 2);
        file.write_at(0, b"one").unwrap();
        assert!(file.write_at(3, b"two").is_err());
        assert!(disk.is_dark());
        assert!(file.sync().is_err());
        disk.power_cut(Survival::Everything);
        assert_eq!(contents(&disk, "a").unwrap(), b"onetw");
    }

    #[test]
    fn a_sync_after_a_failed_one_succeeds_and_means_nothing() {
        let mut lost = 0;
        for seed in 0..64 {
            let mut disk = disk(seed);
            let file = disk.create("a").unwrap();
            file.write_at(0, b"old").unwrap();
            file.sync().unwrap();
            disk.sync_dir().unwrap();
            file.write_at(0, b"new").unwrap();
            disk.fail_at(disk.calls(), Fault::Device);
            assert!(file.sync().is_err());
            assert!(file.sync().is_ok());
            disk.power_cut(Survival::Everything);
            lost += u32::from(contents(&disk, "a").unwrap() == b"old");
        }
        assert!((16..=60).contains(&lost), "{lost} of 64 lost");
    }
}
