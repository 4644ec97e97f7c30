//! One frame of a log: the records of one burst.
//!
//! A frame begins on a sector and is filled up with zeros to the next one, so writing it
//! never touches the sector of a frame that was acknowledged. All numbers are little
//! endian:
//!
//! ```text
//!  0  check     8  xxh3 of everything from the next byte to the payload's end
//!  8  previous  8  the check of the frame before; 0 in the log's first
//! 16  log       8  the log's id
//! 24  segment   8  the segment's number
//! 32  number    8  the frame's number in the log, from 0 without gaps
//! 40  length    4  of the payload, in bytes
//! 44  kind      4  "head" or "brst"
//! 48  payload
//! ```
//!
//! A frame counts only if its whole address is the expected one: log, segment, number, and
//! the check of the frame before. So bytes that an earlier use of the same blocks left
//! behind, or a tail that was cut once, are never taken for a part of the log.

use xxhash_rust::xxh3::xxh3_64;

/// Frames begin at multiples of this.
pub const SECTOR_BYTES: usize = 512;

/// The bytes of a frame before its payload.
pub const HEADER_BYTES: usize = 48;

/// The longest payload. The inputs of a burst bound it far below that.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// The kind of a frame's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// The summary of the log when the segment began.
    Head,
    /// The records of one burst.
    Burst,
}

impl FrameKind {
    fn magic(self) -> [u8; 4] {
        match self {
            FrameKind::Head => *b"head",
            FrameKind::Burst => *b"brst",
        }
    }
}

/// Where in the log a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameAddress {
    /// The log's id.
    pub(super) log: u64,
    /// The segment's number.
    pub(super) segment: u64,
    /// The frame's number, counted over the whole log.
    pub(super) number: u64,
    /// The check of the frame before.
    pub(super) previous: u64,
}

/// A frame whose check is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: FrameKind,
    pub(super) address: FrameAddress,
    pub(super) check: u64,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    /// The bytes that it takes on the disk.
    pub(super) fn bytes(&self) -> usize {
        frame_bytes(self.payload.len())
    }
}

/// The bytes that a frame with such a payload takes on the disk.
pub(super) fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(SECTOR_BYTES)
}

/// Begins a frame. The caller appends the payload to `frame` and then calls [`seal`].
pub(super) fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
}

/// Fills in the header and fills up the last sector. Returns the check.
pub(super) fn seal(frame: &mut Vec<u8>, kind: FrameKind, address: FrameAddress) -> u64 {
    let length = frame.len() - HEADER_BYTES;
    assert!(length <= PAYLOAD_BYTES_MAX, "a burst of {length} bytes");
    frame[8..16].copy_from_slice(&address.previous.to_le_bytes());
    frame[16..24].copy_from_slice(&address.log.to_le_bytes());
    frame[24..32].copy_from_slice(&address.segment.to_le_bytes());
    frame[32..40].copy_from_slice(&address.number.to_le_bytes());
    frame[40..44].copy_from_slice(&(length as u32).to_le_bytes());
    frame[44..48].copy_from_slice(&kind.magic());
    let check = xxh3_64(&frame[8..]);
    frame[..8].copy_from_slice(&check.to_le_bytes());
    frame.resize(frame_bytes(length), 0);
    check
}

/// The frame that `bytes` begin with, if there is a whole one.
pub(super) fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..at + 8)?.first_chunk()?));
    let length = u32::from_le_bytes(*bytes.get(40..44)?.first_chunk()?) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let kind = match bytes.get(44..48)? {
        b"head" => FrameKind::Head,
        b"brst" => FrameKind::Burst,
        _ => return None,
    };
    let check = word(0)?;
    if xxh3_64(bytes.get(8..HEADER_BYTES + length)?) != check {
        return None;
    }
    let address =
        FrameAddress { previous: word(8)?, log: word(16)?, segment: word(24)?, number: word(32)? };
    Some(Frame { kind, address, check, payload: &bytes[HEADER_BYTES..HEADER_BYTES + length] })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: FrameAddress = FrameAddress { log: 1, segment: 2, number: 3, previous: 4 };

    #[test]
    fn a_frame_is_read_back_and_any_flipped_bit_of_it_is_seen() {
        let mut bytes = Vec::new();
        begin(&mut bytes);
        bytes.extend_from_slice(b"payload");
        let check = seal(&mut bytes, FrameKind::Burst, ADDRESS);
        assert_eq!(bytes.len(), SECTOR_BYTES);
        let frame = Frame { kind: FrameKind::Burst, address: ADDRESS, check, payload: b"payload" };
        assert_eq!(read(&bytes), Some(frame));
        for bit in 0..(HEADER_BYTES + 7) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn half_a_frame_is_none() {
        let mut bytes = Vec::new();
        begin(&mut bytes);
        bytes.extend_from_slice(&[7; 1000]);
        seal(&mut bytes, FrameKind::Head, ADDRESS);
        for end in 0..HEADER_BYTES + 1000 {
            assert_eq!(read(&bytes[..end]), None, "{end} bytes");
        }
    }
}
