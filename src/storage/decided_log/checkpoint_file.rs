//! The checkpoint file: where a restart goes on.
//!
//! It holds the learner's state after some slot, and how far the three growing files went
//! and what their running hash was at that slot. It is replaced whole (`atomic_file`), so a
//! power cut leaves the old checkpoint or the new one. Whoever writes it makes the growing
//! files durable first.

use crate::paxos::learner::Checkpoint;
use crate::storage::atomic_file::{self, Magic};
use crate::storage::disk::Disk;
use crate::storage::error::OpenError;
use crate::storage::journal::Mark;
use crate::types::DirectoryId;
use std::io;

/// The name of the newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

const MAGIC: Magic = *b"mpxchk04";

/// What a checkpoint file holds.
pub(super) struct Saved {
    /// The data directory that it belongs to.
    pub(super) directory: DirectoryId,
    /// The end of the chat log, and the running hash there.
    pub(super) mark: Mark,
    /// The end of the overflow.
    pub(super) overflow_end: u64,
    /// The learner's state; the journal ends at its last slot.
    pub(super) checkpoint: Checkpoint,
}

impl Saved {
    /// What the file of this directory holds, or `None` if it is not a checkpoint at all.
    ///
    /// # Errors
    ///
    /// When there is no file, or what stands there fails its check.
    pub(super) fn read<D: Disk>(data: &D) -> Result<Option<Saved>, OpenError> {
        let bytes = atomic_file::read(data, CHECKPOINT, MAGIC)?
            .ok_or_else(|| OpenError::Missing { file: data.describe(CHECKPOINT) })?;
        Ok(Saved::decode(&bytes))
    }

    fn decode(bytes: &[u8]) -> Option<Saved> {
        let (saved, rest) = postcard::take_from_bytes(bytes).ok()?;
        let (directory, (text_end, overflow_end, hash), checkpoint) = saved;
        let mark = Mark { text_end, hash };
        rest.is_empty().then_some(Saved { directory, mark, overflow_end, checkpoint })
    }

    /// Replaces the file. `waits` says whether it is durable when this returns.
    pub(super) fn write<D: Disk>(self, data: &D, waits: bool) -> io::Result<()> {
        let Saved { directory, mark, overflow_end, checkpoint } = self;
        let mark = (mark.text_end, overflow_end, mark.hash);
        let saved = postcard::to_stdvec(&(directory, mark, checkpoint));
        let saved = saved.map_err(io::Error::other)?;
        atomic_file::replace(data, CHECKPOINT, MAGIC, &saved, waits)
    }
}
