//! What the simulated disk holds: files and names, each as the page cache has it and as it
//! is durable.

use super::{Fault, SECTOR_BYTES, Survival, VERSIONS_MAX, failed, fault};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) cache: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// The versions of each unsynced sector since the last sync, oldest first.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The lengths since the last sync.
    lengths: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Make(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    pub(super) cache: BTreeMap<String, u64>,
    pub(super) durable: BTreeMap<String, u64>,
    /// Changes since the last sync.
    pub(super) pending: Vec<NameChange>,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) next_inode: u64,
    pub(super) folders: BTreeMap<String, Folder>,
    pub(super) locks: BTreeSet<u64>,
    /// The life of the process. Handles of an earlier life fail.
    pub(super) life: u64,
    pub(super) calls: u64,
    pub(super) reads: u64,
    pub(super) syncs: u64,
    pub(super) written: u64,
    pub(super) cut: Option<(u64, usize)>,
    pub(super) dark: bool,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) read_faults: BTreeSet<u64>,
    pub(super) capacity: Option<u64>,
}

/// The result of a call that changes something.
pub(super) enum CallOutcome {
    Happens,
    /// The power goes in the middle of it. If it is a write, this many bytes of it happen.
    Tears(usize),
    Fails(Fault),
}

impl State {
    pub(super) fn check(&self, life: u64) -> io::Result<()> {
        if self.dark {
            return Err(failed("the power is off"));
        }
        if life != self.life {
            return Err(failed("a handle of an earlier life of the process"));
        }
        Ok(())
    }

    /// Counts a call that changes something, and returns its result.
    pub(super) fn next_call(&mut self, life: u64) -> io::Result<CallOutcome> {
        self.check(life)?;
        let call = self.calls;
        self.calls += 1;
        if let Some((at, tear)) = self.cut
            && at == call
        {
            self.dark = true;
            return Ok(CallOutcome::Tears(tear));
        }
        Ok(self.faults.get(&call).map_or(CallOutcome::Happens, |fault| CallOutcome::Fails(*fault)))
    }

    /// [`State::next_call`] for calls that happen whole or not at all.
    pub(super) fn whole(&mut self, life: u64) -> io::Result<()> {
        match self.next_call(life)? {
            CallOutcome::Happens => Ok(()),
            CallOutcome::Tears(_) => Err(failed("the power is off")),
            CallOutcome::Fails(kind) => Err(fault(kind)),
        }
    }

    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<u64> =
            self.folders.values().flat_map(|folder| folder.cache.values().copied()).collect();
        named.iter().filter_map(|inode| self.inodes.get(inode)).map(|f| f.cache.len() as u64).sum()
    }

    /// Whether the file may grow to this length.
    pub(super) fn has_room(&self, inode: u64, length: usize) -> bool {
        let Some(capacity) = self.capacity else { return true };
        let held = self.inodes.get(&inode).map_or(0, |file| file.cache.len());
        length <= held || self.used() + (length - held) as u64 <= capacity
    }

    pub(super) fn file(&mut self, inode: u64) -> &mut Inode {
        self.inodes.entry(inode).or_default()
    }

    pub(super) fn power_cut(&mut self, survival: Survival) {
        let rng = &mut self.rng;
        for file in self.inodes.values_mut() {
            file.power_cut(survival, rng);
        }
        for folder in self.folders.values_mut() {
            for change in std::mem::take(&mut folder.pending) {
                let happened = match survival {
                    Survival::Nothing => false,
                    Survival::Everything => true,
                    Survival::Random => rng.bool(),
                };
                if happened {
                    change.apply(&mut folder.durable);
                }
            }
            folder.cache = folder.durable.clone();
        }
        self.forget_nameless();
        self.cut = None;
        self.dark = false;
        self.faults.clear();
        self.read_faults.clear();
    }

    pub(super) fn forget_nameless(&mut self) {
        let folders = &self.folders;
        self.inodes.retain(|inode, _| {
            folders.values().any(|folder| {
                folder.cache.values().chain(folder.durable.values()).any(|held| held == inode)
            })
        });
    }
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Make(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Inode {
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.lengths.push(end);
        }
        self.cache[at..end].copy_from_slice(bytes);
        self.soil(at, end);
    }

    /// Adds a version of each sector from `at` to `end`: its contents now.
    fn soil(&mut self, at: usize, end: usize) {
        for sector in at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(self.cache.len());
            let mut now = self.cache.get(from..to).unwrap_or_default().to_vec();
            now.resize(SECTOR_BYTES, 0);
            let versions = self.dirty.entry(sector).or_default();
            if versions.len() == VERSIONS_MAX {
                versions.remove(0);
            }
            versions.push(now);
        }
    }

    pub(super) fn set_length(&mut self, length: usize) {
        let before = self.cache.len();
        self.cache.resize(length, 0);
        self.lengths.push(length);
        self.soil(length.min(before), length.max(before));
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cache.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let from = (sector * SECTOR_BYTES).min(self.cache.len());
            let to = (from + SECTOR_BYTES).min(self.cache.len());
            self.durable[from..to].copy_from_slice(&self.cache[from..to]);
        }
        self.lengths.clear();
    }

    /// A sync that fails: each sector arrived on the disk or did not, and all count as clean
    /// from here on. The cache keeps a page, or drops it and then holds what the disk holds.
    pub(super) fn fail_sync(&mut self, rng: &mut fastrand::Rng) {
        if rng.bool() {
            self.durable.resize(self.cache.len(), 0);
        }
        self.lengths.clear();
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(self.cache.len()).min(self.durable.len());
            if from >= to {
                continue;
            }
            match rng.u8(..3) {
                0 => self.durable[from..to].copy_from_slice(&self.cache[from..to]),
                1 => self.cache[from..to].copy_from_slice(&self.durable[from..to]),
                _ => {}
            }
        }
    }

    pub(super) fn power_cut(&mut self, survival: Survival, rng: &mut fastrand::Rng) {
        let chosen = |count: usize, rng: &mut fastrand::Rng| match survival {
            Survival::Nothing => None,
            Survival::Everything => count.checked_sub(1),
            Survival::Random => rng.usize(..=count).checked_sub(1),
        };
        let lengths = std::mem::take(&mut self.lengths);
        let length = chosen(lengths.len(), rng).map_or(self.durable.len(), |i| lengths[i]);
        self.durable.resize(length, 0);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let Some(version) = chosen(versions.len(), rng) else { continue };
            let from = (sector * SECTOR_BYTES).min(length);
            let to = (from + SECTOR_BYTES).min(length);
            self.durable[from..to].copy_from_slice(&versions[version][..to - from]);
        }
        self.cache = self.durable.clone();
    }
}
