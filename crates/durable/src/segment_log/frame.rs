//! One frame of the acceptor's log: what one burst of inputs left to remember.
//!
//! A frame begins on a sector and is filled up with zeros to the next one, so that
//! writing it never touches the sector of a frame that was acknowledged. All numbers
//! are little endian:
//!
//! ```text
//!  0  check     8  xxh3 of everything from the next byte to the payload's end
//!  8  previous  8  the check of the frame before; 0 in the log's first
//! 16  log       8  the data directory's id
//! 24  segment   8  the segment's number
//! 32  number    8  the frame's number in the log, from 0 without gaps
//! 40  length    4  of the payload, in bytes
//! 44  kind      4  "head" or "brst"
//! 48  payload      postcard
//! ```
//!
//! A frame counts only where its whole address fits: log, segment, number, and the
//! check of the frame before. So what an earlier use of the same blocks left behind,
//! or a tail that was cut once, is never taken for a part of the log.

use xxhash_rust::xxh3::xxh3_64;

/// Where frames begin.
pub(super) const SECTOR_BYTES: usize = 512;

/// What a frame takes beside its payload.
pub(super) const HEADER_BYTES: usize = 48;

/// The longest payload. A burst is bounded by its inputs, far below.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// How things stood when the segment began.
    Head,
    /// The records of one burst.
    Burst,
}

impl Kind {
    fn magic(self) -> [u8; 4] {
        match self {
            Kind::Head => *b"head",
            Kind::Burst => *b"brst",
        }
    }
}

/// Where in the log a frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which log: the data directory's id.
    pub(super) log: u64,
    /// Which segment.
    pub(super) segment: u64,
    /// Which frame, counted over the whole log.
    pub(super) number: u64,
    /// The check of the frame before.
    pub(super) previous: u64,
}

/// A frame whose check is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) check: u64,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    /// What it takes on the disk.
    pub(super) fn bytes(&self) -> usize {
        frame_bytes(self.payload.len())
    }
}

/// What a frame with such a payload takes on the disk.
pub(super) fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(SECTOR_BYTES)
}

/// Begins a frame: the payload is to be appended to `frame`, then [`seal`]ed.
pub(super) fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
}

/// Fills in the header and fills up the last sector. Returns the check.
pub(super) fn seal(frame: &mut Vec<u8>, kind: Kind, place: Place) -> u64 {
    let length = frame.len() - HEADER_BYTES;
    assert!(length <= PAYLOAD_BYTES_MAX, "a burst of {length} bytes");
    frame[8..16].copy_from_slice(&place.previous.to_le_bytes());
    frame[16..24].copy_from_slice(&place.log.to_le_bytes());
    frame[24..32].copy_from_slice(&place.segment.to_le_bytes());
    frame[32..40].copy_from_slice(&place.number.to_le_bytes());
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
        b"head" => Kind::Head,
        b"brst" => Kind::Burst,
        _ => return None,
    };
    let check = word(0)?;
    if xxh3_64(bytes.get(8..HEADER_BYTES + length)?) != check {
        return None;
    }
    let place = Place { previous: word(8)?, log: word(16)?, segment: word(24)?, number: word(32)? };
    Some(Frame { kind, place, check, payload: &bytes[HEADER_BYTES..HEADER_BYTES + length] })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { log: 1, segment: 2, number: 3, previous: 4 };

    #[test]
    fn a_frame_is_read_back_and_any_flipped_bit_of_it_is_seen() {
        let mut bytes = Vec::new();
        begin(&mut bytes);
        bytes.extend_from_slice(b"payload");
        let check = seal(&mut bytes, Kind::Burst, PLACE);
        assert_eq!(bytes.len(), SECTOR_BYTES);
        let frame = Frame { kind: Kind::Burst, place: PLACE, check, payload: b"payload" };
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
        seal(&mut bytes, Kind::Head, PLACE);
        for end in 0..HEADER_BYTES + 1000 {
            assert_eq!(read(&bytes[..end]), None, "{end} bytes");
        }
    }
}
