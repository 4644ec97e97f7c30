//! A message longer than a datagram travels in fragments. (W2)
//!
//! A fragment names its message (by the digest of its bytes), the message's length, how it
//! was cut, and the number of the piece. So a receiver can begin with any piece. The digest is
//! the message's identity: a sender that sends the same message again completes what the
//! receiver already has, or has it delivered again. A receiver that misses pieces asks for them
//! some time after the last piece came, ever more rarely, and finally gives up. The sender keeps the messages
//! that it has split lately, so that it can answer.
//!
//! ```text
//!  body of a fragment             body of a request for fragments
//!    8  xxh3 of the message         8  xxh3 of the message
//!    4  its length                  4  its length
//!    2  bytes of each piece         2  bytes of each piece
//!    2  number of the piece         2  number of a piece, ascending, once or more
//!    …  the piece
//! ```
//!
//! **Guarantees.** A joined message has the digest that its fragments announced. Memory
//! grows with the bytes that have arrived, never with a length that was claimed. It is
//! bounded for each sender, for all peers, and for all clients: a flood from clients evicts
//! clients' pieces only. A receiver never asks a client with more bytes than the client has
//! sent of that message.
//!
//! **Does not** read a clock, touch a socket, or decode what it joins. Times are
//! microseconds since any fixed moment.

mod fragmenter;
mod reassembler;

pub use fragmenter::Fragmenter;
pub use reassembler::Reassembler;

use crate::path::PATH_BYTES_MIN;
use crate::{CLIENT_BODY_BYTES_MIN, HEADER_BYTES, MESSAGE_BYTES_MAX, OVERHEAD_BYTES};

/// The bytes of a fragment's body before its piece.
pub const FRAGMENT_HEADER_BYTES: usize = 16;

/// The bytes of the smallest piece, except for a message's last: the room in the smallest
/// datagram.
pub const PIECE_BYTES_MIN: usize = PATH_BYTES_MIN - OVERHEAD_BYTES - FRAGMENT_HEADER_BYTES;

/// The most pieces of one message.
pub const PIECES_MAX: usize = MESSAGE_BYTES_MAX.div_ceil(PIECE_BYTES_MIN);

/// The most pieces that one request names; the next one names the rest.
pub const ASKED_PIECES_MAX: usize = 64;

/// The most split messages that a sender keeps in case it is asked.
pub const KEPT_MESSAGES_MAX: usize = 256;

/// The most bytes of the messages that a sender keeps.
pub const KEPT_BYTES_MAX: usize = 8 << 20;

/// A path may turn out to be too narrow for what was sent. What left within this many
/// microseconds before is sent again.
pub const LOST_US: u64 = 5_000_000;

/// The most unfinished messages of one sender.
pub const SENDER_SETS_MAX: usize = 64;

/// The most bytes of one sender's unfinished messages.
pub const SENDER_BYTES_MAX: usize = 4 << 20;

/// The most unfinished messages of all peers together. All clients together may have as many
/// again.
pub const SETS_MAX: usize = 1_024;

/// The most bytes of the unfinished messages of all peers, and of all clients likewise.
pub const BYTES_MAX: usize = 32 << 20;

/// A receiver asks for missing pieces this long after the last one came. Each request that
/// brings nothing doubles the time.
pub const ASK_AFTER_US: u64 = 3_000;

/// On a long path the receiver waits longer: at first for this part of a round trip, and after a
/// request for a whole round trip and such a part more. No piece can come sooner.
pub const TRIP_PARTS: u64 = 4;

/// No request waits for longer.
pub const ASK_WITHIN_US: u64 = 2_000_000;

/// Where pieces come at a pace, a receiver waits for twice the longest time between two of
/// them, and takes no longer time than this into account.
pub const GAP_MAX_US: u64 = 500_000;

/// A receiver gives a message up after this many requests that brought nothing.
pub const ASKS_MAX: u32 = 10;

/// A message that was asked for so often in vain gives way to others of its sender.
pub const VAIN_ASKS: u32 = 3;

/// A piece of a joined message that comes within this time after the piece before counts as
/// late or repeated; where pieces came at longer intervals before, within the longest of them.
/// One that comes after a longer silence means that the message is being sent again: it is
/// delivered again at once. So does a second copy of all pieces.
pub const LATE_US: u64 = 50_000;

/// A joined message is kept for this time after its last piece, to know its late pieces and to
/// deliver it again.
pub const JOINED_US: u64 = 2_000_000;

/// The most joined messages that are kept.
pub const JOINED_MAX: usize = 256;

/// The most bytes of them.
pub const JOINED_BYTES_MAX: usize = 4 << 20;

/// How a message was cut. All its fragments say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cut {
    /// The digest of the message's bytes, and so its identity.
    pub digest: u64,
    /// The length of the message, in bytes.
    pub total: u32,
    /// The bytes of each piece but the last.
    pub piece: u16,
}

impl Cut {
    /// How many pieces there are.
    pub fn pieces(self) -> usize {
        (self.total as usize).div_ceil(usize::from(self.piece))
    }

    /// Where piece `index` lies in the message.
    fn range(self, index: u16) -> std::ops::Range<usize> {
        let first = usize::from(index) * usize::from(self.piece);
        first..(first + usize::from(self.piece)).min(self.total as usize)
    }

    fn write(self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.digest.to_le_bytes());
        body.extend_from_slice(&self.total.to_le_bytes());
        body.extend_from_slice(&self.piece.to_le_bytes());
    }

    fn parse(body: &[u8]) -> Option<(Cut, &[u8])> {
        let (digest, rest) = body.split_first_chunk::<8>()?;
        let (total, rest) = rest.split_first_chunk::<4>()?;
        let (piece, rest) = rest.split_first_chunk::<2>()?;
        let cut = Cut {
            digest: u64::from_le_bytes(*digest),
            total: u32::from_le_bytes(*total),
            piece: u16::from_le_bytes(*piece),
        };
        // A message that fits one piece is not split.
        let sound = usize::from(cut.piece) >= PIECE_BYTES_MIN
            && cut.total as usize <= MESSAGE_BYTES_MAX
            && cut.total > u32::from(cut.piece);
        sound.then_some((cut, rest))
    }
}

/// One piece of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The message that it belongs to.
    pub cut: Cut,
    /// The number of the piece, from 0.
    pub index: u16,
    /// The bytes of the piece.
    pub bytes: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Appends itself to a frame's body.
    pub fn write(&self, body: &mut Vec<u8>) {
        self.cut.write(body);
        body.extend_from_slice(&self.index.to_le_bytes());
        body.extend_from_slice(self.bytes);
    }

    /// Reads a whole body; none if it contradicts itself.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (cut, rest) = Cut::parse(body)?;
        let (index, bytes) = rest.split_first_chunk::<2>()?;
        let index = u16::from_le_bytes(*index);
        let sound = usize::from(index) < cut.pieces() && bytes.len() == cut.range(index).len();
        sound.then_some(Fragment { cut, index, bytes })
    }
}

/// The pieces of a message that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The message that it belongs to.
    pub cut: Cut,
    /// The numbers of the pieces: at least one, at most [`ASKED_PIECES_MAX`], ascending.
    pub indexes: Vec<u16>,
}

impl Missing {
    /// The bytes of a frame that names `pieces` pieces.
    const fn frame_bytes(pieces: usize) -> usize {
        HEADER_BYTES + 14 + 2 * pieces
    }

    /// Appends itself to a frame's body.
    pub fn write(&self, body: &mut Vec<u8>) {
        self.cut.write(body);
        for index in &self.indexes {
            body.extend_from_slice(&index.to_le_bytes());
        }
    }

    /// Reads a whole body; none if it contradicts itself.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (cut, rest) = Cut::parse(body)?;
        let (pairs, odd) = rest.as_chunks::<2>();
        if !odd.is_empty() || pairs.is_empty() || pairs.len() > ASKED_PIECES_MAX {
            return None;
        }
        let indexes: Vec<u16> = pairs.iter().map(|&pair| u16::from_le_bytes(pair)).collect();
        let ascending = indexes.is_sorted_by(|before, after| before < after);
        let sound = ascending && indexes.iter().all(|&index| usize::from(index) < cut.pieces());
        sound.then_some(Missing { cut, indexes })
    }
}

// A client's smallest fragment pays for a request of one piece.
const _: () = assert!(Missing::frame_bytes(1) <= HEADER_BYTES + CLIENT_BODY_BYTES_MIN);
const _: () = assert!(PIECES_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests;
