//! What a follower of the chat log asks, and what it gets.
//!
//! The chat log is a stream of bytes that is the same on all replicas: one line a slot. A place in
//! it is named by a slot and by how many bytes behind the beginning of the slot's line it lies. The
//! place may lie in a later line, so whoever reads can ask for several pieces at once, and any
//! replica can answer each.

use crate::types::Slot;
use serde::{Deserialize, Serialize};

/// How long a replica keeps a question about a slot that it has not applied. Then it answers that
/// there is nothing, so that the follower knows that it lives.
pub const HOLD_US: u64 = 200_000;

/// How many bytes an [`Excerpt`] takes at most beside its text, encoded as an answer.
pub const EXCERPT_AROUND_BYTES: usize = 48;

/// How many bytes of text it has at most. Nobody tests the paths to clients, so it must fit a
/// datagram that nearly every path carries: answers are never split.
pub const EXCERPT_TEXT_BYTES_MAX: usize = 1_072;

/// Asks for a piece of the chat log. A replica that has not applied `slot` answers when it has, or
/// after [`HOLD_US`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FollowQuery {
    /// The slot from whose line on `offset` counts.
    pub slot: Slot,
    /// How many bytes behind the beginning of that line the piece begins.
    pub offset: u64,
    /// How many bytes the piece may have. The question pays for them with its length (W3).
    pub room: u16,
}

/// A piece of the chat log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Excerpt {
    /// As in the question,
    pub slot: Slot,
    /// and this, too.
    pub offset: u64,
    /// The bytes from there on. None if there are none (yet).
    #[serde(with = "serde_bytes")]
    pub text: Vec<u8>,
    /// How many bytes the log of the sender has behind them.
    pub rest: u64,
    /// The sender has applied every slot below this.
    pub applied: Slot,
}
