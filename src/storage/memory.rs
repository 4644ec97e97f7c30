//! Storage that keeps nothing: for a replica process that has its state in its roles and
//! counts as wiped once it ends.

use super::upkeep::Upkeep;
use crate::paxos::Storage;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_and_forgotten() {
        let mut records = vec!['a', 'b'];
        Volatile.append(&mut records).unwrap();
        Storage::<char>::sync(&mut Volatile).unwrap();
        assert!(records.is_empty());
    }
}
