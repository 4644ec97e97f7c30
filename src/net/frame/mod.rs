//! The frame of every datagram: its fields, and every check that it must pass.
//! (Rules W1, W3 and W4 of docs/protocol.md.)
//!
//! ```text
//!  offset  bytes  little-endian
//!       0      4  magic
//!       4      1  version
//!       5      1  n, the number of replicas in the sender's configuration
//!       6      1  sender: a replica's id, or 255 for a client
//!       7      1  receiver: likewise
//!       8      8  cluster id, 0 for "not known yet"
//!      16      8  boot id of the sender
//!      24      1  kind of body: messages, a fragment, missing fragments, a probe, its answer,
//!                 nothing, a greeting, a ticket; the highest bit: the frame ends with a proof
//!      25      2  bytes of body
//!      27      4  CRC-32 of body and padding, which begins with a hash of the fields above,
//!                 xored with a hash of the fields below
//!      31      4  bytes sent to the receiver before, in this life of the sender
//!      35      4  where the highest datagram of the receiver ended that has arrived
//!      39      4  how many bytes of the receiver have arrived up to there
//!      43      2  for how long that has been known, in units of 32 µs; the highest bit: the
//!                 sender waits for such word
//!      45      …  body, and behind it zeros: padding
//!       …     35  the proof that the sender has a key of the cluster, if it has one
//! ```
//!
//! A body of messages is one postcard message after the other, to the last byte. Sender
//! and receiver determine the type of the messages: replica to replica, client to
//! replica, or replica to client. A frame that fails any check is counted under its
//! reason and dropped whole.
//!
//! **Padding.** Frames that leave in one system call are equally long (`batch`), and a
//! client's frames have a least size. So zeros may follow any body, and nothing but
//! zeros. The check covers them. A frame is padded in front of its proof.
//!
//! **Clusters.** Warm-up ([`Message::Bootstrap`]), a client's hello and a status query always
//! travel with cluster 0, and nothing else may. Every other message carries
//! the sender's cluster, and only members of the same cluster take it. A client learns
//! its cluster from the first frame that holds an [`Answer::Welcome`], and one that asks for a
//! status from the first answer to that.
//!
//! **Clients are strangers**, and a datagram's source address is easily forged. So
//! a frame from a client must be at least as large as any answer to it could be
//! ([`CLIENT_MESSAGE_BYTES_MIN`] for each, with padding); a smaller one is dropped. A
//! forger therefore cannot make a replica send more to a third party than the forger
//! sends itself.
//!
//! **Refusals.** A client whose frame has another version, another n or another receiver would
//! wait for ever without a word. The replica answers it with a bare header, unless that is longer
//! than the frame, and whose fields tell the client what does not fit. One whose key does not
//! fit is told the same way, once a second. Replicas tell their users what does not fit of each
//! other's frames (`notices`).
//!
//! The parts: the fields (`header`), and what checks and decodes a frame ([`Decoder`]).
//!
//! [`Answer::Welcome`]: crate::message::Answer::Welcome
//! [`Message::Bootstrap`]: crate::message::Message::Bootstrap

mod decoder;
mod header;
mod notices;

pub use decoder::Decoder;
pub(super) use header::{CLIENT, is_proven, padded_body, party_byte};
pub use header::{
    CLIENT_MESSAGE_BYTES_MIN, HEADER_BYTES, MAGIC, OVERHEAD_BYTES, PROOF_BYTES, VERSION,
    answers_to, begin, check_of, excerpt_room, kind_of, pad, seal, sealed_bytes, stamp,
};

use crate::message::Party;
pub use crate::net::guard::Guard;
use crate::types::{BootId, ClusterId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The cluster id, once it is known: shared by all threads of a process.
#[derive(Debug, Clone, Default)]
pub struct ClusterCell(Arc<AtomicU64>);

impl ClusterCell {
    /// A cell without a cluster id.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cluster id, if it is known.
    pub fn known(&self) -> Option<ClusterId> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            id => Some(ClusterId(id)),
        }
    }

    /// Sets the cluster id.
    ///
    /// # Panics
    ///
    /// If `cluster` is [`ClusterId::NONE`], or if another id is known: a process never
    /// changes its cluster.
    pub fn set(&self, cluster: ClusterId) {
        assert_ne!(cluster, ClusterId::NONE, "the cluster id 0 means none");
        let before = self.0.compare_exchange(0, cluster.0, Ordering::AcqRel, Ordering::Acquire);
        assert!(
            before.is_ok() || before == Err(cluster.0),
            "this process belongs to another cluster already"
        );
    }
}

/// The process, as its frames name it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The number of replicas with which the cluster began, as its cluster file says.
    pub n: usize,
    /// How many replicas there may be: their ids are below.
    pub rows: usize,
    /// The replica that this process is, or a client.
    pub me: Party,
    /// This life of the process.
    pub boot: BootId,
    /// The cluster, once it is known.
    pub cluster: ClusterCell,
    /// Which datagrams it believes, and what makes others believe its own.
    pub guard: Guard,
}

#[cfg(test)]
mod tests;
