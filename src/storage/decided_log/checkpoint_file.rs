//! The checkpoint file: where a restart goes on.
//!
//! It holds the learner's state after some slot, and how far the three growing files went
//! and what their running hash was at that slot. It is replaced whole (`atomic_file`), so a
//! power cut leaves the old checkpoint or the new one. Whoever writes it makes the growing
//! files durable first.
//!
//! The learner hands the state over in parts, behind slots that it applies meanwhile
//! ([`Record::Checkpoint`](crate::paxos::learner::Record)). Each part is written at once, into the
//! page cache and under another name ([`Making`]), so nothing of it gathers in memory. What the
//! file says of the growing files is what they were when the first part came.
//!
//! ```text
//! contents: a head (directory, end of the chat log, end of the overflow, running hash there,
//!           slot, running hash of the values), then one part of the chat after another
//! ```
//!
//! Once the log has changed the members, the configuration stands at the end of the head, and the
//! file is of another version: an earlier build, which knows no changes, refuses it.

use crate::chat::{self, Chat};
use crate::machine::Host;
use crate::members::Configuration;
use crate::paxos::learner::{Checkpoint, Part};
use crate::storage::atomic_file::{self, Magic, Replacement};
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::error::OpenError;
use crate::storage::journal::Mark;
use crate::types::{DirectoryId, Slot};
use serde::Serialize;
use serde_bytes::Bytes;
use std::io;

/// The name of the newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

const MAGIC: Magic = *b"mpxchk05";

/// What a checkpoint of a replica begins with that has a machine of the user. Behind each part of
/// the sessions it has a piece of the machine's image.
const MACHINE_MAGIC: Magic = *b"mpxmch01";

/// The same, once the log has changed the members.
const CHANGED_MAGIC: Magic = *b"mpxchk06";
const MACHINE_CHANGED_MAGIC: Magic = *b"mpxmch02";

fn magic(host: &Host, has_changed: bool) -> Magic {
    match (host.is_chat(), has_changed) {
        (true, false) => MAGIC,
        (true, true) => CHANGED_MAGIC,
        (false, false) => MACHINE_MAGIC,
        (false, true) => MACHINE_CHANGED_MAGIC,
    }
}

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
    pub(super) fn read<D: Disk>(data: &D, host: &Host) -> Result<Option<Saved>, OpenError> {
        let magics = [false, true].map(|has_changed| magic(host, has_changed));
        let (magic, bytes) = atomic_file::read_any(data, CHECKPOINT, &magics)?
            .ok_or_else(|| OpenError::Missing { file: data.describe(CHECKPOINT) })?;
        Ok(Saved::decode(&bytes, host, magic == magics[1]))
    }

    fn decode(bytes: &[u8], host: &Host, has_changed: bool) -> Option<Saved> {
        let (head, mut rest) = postcard::take_from_bytes(bytes).ok()?;
        let mut configuration: Option<Configuration> = None;
        if has_changed {
            (configuration, rest) = postcard::take_from_bytes(rest).ok()?;
        }
        let (directory, (text_end, overflow_end, hash), (applied, values)) = head;
        let mark = Mark { text_end, hash };
        let mut chat = Chat::hosting(host);
        while !rest.is_empty() {
            let mut part: chat::Part;
            (part, rest) = postcard::take_from_bytes(rest).ok()?;
            if !host.is_chat() {
                let image: &Bytes;
                (image, rest) = postcard::take_from_bytes(rest).ok()?;
                part.image = image.to_vec();
            }
            if !chat.take_in(&part) {
                return None;
            }
        }
        if !chat.is_whole() {
            return None;
        }
        chat.set_configuration(configuration);
        let checkpoint = Checkpoint { applied, chat, hash: values };
        Some(Saved { directory, mark, overflow_end, checkpoint })
    }
}

/// A checkpoint file while it is written.
#[derive(Debug)]
pub(super) struct Making<F> {
    /// The slot of the checkpoint.
    pub(super) applied: Slot,
    /// Whether it has a machine.
    hosts: bool,
    replacement: Replacement<F>,
}

impl<F: DiskFile> Making<F> {
    /// Begins the file with the first part. The growing files are written up to its slot: the
    /// chat log as far as `mark` says, the overflow as far as `overflow_end`.
    pub(super) fn begin<D: Disk<File = F>>(
        data: &D,
        host: &Host,
        directory: DirectoryId,
        mark: Mark,
        overflow_end: u64,
        part: &Part,
    ) -> io::Result<Self> {
        let Part { applied, hash, ref configuration, .. } = *part;
        let mark = (mark.text_end, overflow_end, mark.hash);
        let replacement =
            Replacement::begin(data, CHECKPOINT, magic(host, configuration.is_some()))?;
        let mut making = Making { applied, hosts: !host.is_chat(), replacement };
        making.append(&(directory, mark, (applied, hash)))?;
        if configuration.is_some() {
            making.append(configuration)?;
        }
        Ok(making)
    }

    /// Writes a part. Waits for no disk.
    pub(super) fn add(&mut self, part: &Part) -> io::Result<()> {
        assert!(part.applied == self.applied, "parts of one checkpoint");
        self.append(&part.chat)?;
        if self.hosts { self.append(&Bytes::new(&part.chat.image)) } else { Ok(()) }
    }

    fn append(&mut self, what: &impl Serialize) -> io::Result<()> {
        let bytes = postcard::to_stdvec(what).map_err(io::Error::other)?;
        self.replacement.append(&bytes)
    }

    /// The last part is written: this becomes the checkpoint. `waits` says whether it is durable
    /// when this returns.
    pub(super) fn finish<D: Disk<File = F>>(self, data: &D, waits: bool) -> io::Result<()> {
        self.replacement.finish(data, waits)
    }
}
