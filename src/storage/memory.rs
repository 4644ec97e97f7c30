//! Storage in memory.
//!
//! [`Volatile`] forgets: for a replica process that keeps its state in its roles and
//! counts as wiped once it ends. [`Memory`] remembers like a disk does, apart from
//! the role: what was appended survives only once it is synced, so that a test can
//! crash a role and build it again from what would really have been left.

use super::upkeep::Upkeep;
use crate::paxos::{Storage, acceptor};
use std::io;

/// Takes everything, keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Volatile;

impl<R> Storage<R> for Volatile {
    fn append(&mut self, records: &mut Vec<R>) -> io::Result<()> {
        records.clear();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upkeep for Volatile {}

/// An acceptor's disk, in memory.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    unsynced: Vec<acceptor::Record>,
    synced: acceptor::State,
    syncs: u64,
    fails: bool,
}

impl Memory {
    /// What an acceptor finds after a crash: everything that was synced.
    pub fn state(&self) -> &acceptor::State {
        &self.synced
    }

    /// How often it was synced.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// From here on every sync fails.
    pub fn fail(&mut self) {
        self.fails = true;
    }
}

impl Storage<acceptor::Record> for Memory {
    fn append(&mut self, records: &mut Vec<acceptor::Record>) -> io::Result<()> {
        self.unsynced.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.fails {
            return Err(io::Error::other("the disk has failed"));
        }
        for record in self.unsynced.drain(..) {
            self.synced.apply(&record);
        }
        self.syncs += 1;
        Ok(())
    }
}

impl Upkeep for Memory {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Ballot;

    #[test]
    fn records_are_taken_whether_they_are_kept_or_not() {
        let promise = acceptor::Record::Promise(Ballot(3));
        let mut records = vec![promise.clone()];
        Volatile.append(&mut records).unwrap();
        assert!(records.is_empty());
        let mut memory = Memory::default();
        for syncs in 1..=3 {
            memory.append(&mut vec![promise.clone()]).unwrap();
            assert_eq!(memory.syncs(), syncs - 1);
            memory.sync().unwrap();
            assert_eq!(memory.syncs(), syncs);
        }
        assert_eq!(memory.state().promised(), Some(Ballot(3)));
        memory.fail();
        assert!(memory.sync().is_err());
        assert_eq!(memory.syncs(), 3);
    }
}
