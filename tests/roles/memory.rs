//! An acceptor's disk in memory.
//!
//! It remembers like a disk does, apart from the role: what was appended survives only once
//! it is synced, so that a test can crash a role and build it again from what would really
//! have been left.

use multipaxos::paxos::{Storage, acceptor};
use multipaxos::storage::upkeep::Upkeep;
use std::io;

/// An acceptor's disk, in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    unsynced: Vec<acceptor::Record>,
    synced: acceptor::State,
    syncs: u64,
    fails: bool,
}

impl Memory {
    /// What an acceptor finds after a crash: everything that was synced.
    pub(crate) fn state(&self) -> &acceptor::State {
        &self.synced
    }

    /// How often it was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    /// From here on every sync fails.
    pub(crate) fn fail(&mut self) {
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

#[test]
fn records_survive_once_they_are_synced() {
    let promise = acceptor::Record::Promise(multipaxos::types::Ballot(3));
    let mut memory = Memory::default();
    for syncs in 1..=3 {
        memory.append(&mut vec![promise.clone()]).unwrap();
        assert_eq!(memory.syncs(), syncs - 1);
        memory.sync().unwrap();
        assert_eq!(memory.syncs(), syncs);
    }
    assert_eq!(memory.state().promised(), Some(multipaxos::types::Ballot(3)));
    memory.fail();
    assert!(memory.sync().is_err());
    assert_eq!(memory.syncs(), 3);
}
