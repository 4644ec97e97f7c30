//! The duties of a role's storage between two commits.
//!
//! The core knows only [`Storage`](crate::paxos::Storage): append and sync. A log may
//! postpone work that no sync waits for. The role's thread tells it here when to do that
//! work.

use crate::paxos::{DecidedPages, NoStorage};
use std::io;

/// The duties of a role's storage beside append and sync. A storage that postpones nothing
/// keeps the defaults.
pub trait Upkeep {
    /// Everything that waited for the last sync has left. The storage now does work that
    /// need not be durable yet and that no client waits for.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the process must end.
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The role has no input, and its thread is about to sleep. The storage now writes what it
    /// has only gathered.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the process must end.
    fn rest(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The thread has not slept for some milliseconds, and this is asked every so often. The
    /// storage now writes what it has gathered, unless it has written since it was asked last:
    /// then what is left is young.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the process must end.
    fn rest_if_old(&mut self) -> io::Result<()> {
        self.rest()
    }

    /// Warm-up is over. `is_member` says whether this replica belongs to the cluster. If not,
    /// it lost its state, and only follows.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the process must end.
    fn joined(&mut self, _is_member: bool) -> io::Result<()> {
        Ok(())
    }

    /// The log of decided values, if peers can be served from this storage.
    fn decided_pages(&mut self) -> Option<&mut dyn DecidedPages> {
        None
    }

    /// Ends the use of this storage cleanly. Afterwards every record that was appended is on
    /// the disk, even one that no sync waited for.
    ///
    /// # Errors
    ///
    /// If that is not certain; then the end was not clean.
    fn close(self) -> io::Result<()>
    where
        Self: Sized,
    {
        Ok(())
    }
}

impl Upkeep for NoStorage {}
