//! Changes of bytes: of a datagram in the network, or of a file on its disk.

use fastrand::Rng;

/// Numbers at which computations with lengths and counts go wrong.
const EDGES: [u64; 16] = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x1_0000,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    0x1_0000_0000,
    (1 << 62) + 1,
    0x7FFF_FFFF_FFFF_FFFF,
    u64::MAX,
];

pub(crate) fn edge(rng: &mut Rng) -> u64 {
    EDGES[rng.usize(..EDGES.len())]
}

/// Fewer than `below` random bytes. Zeros are common, as in real data.
pub(crate) fn bytes(rng: &mut Rng, below: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.usize(..below)];
    match rng.u8(..4) {
        0 => {}
        1 => bytes.iter_mut().for_each(|byte| *byte = rng.u8(..3)),
        _ => rng.fill(&mut bytes),
    }
    bytes
}

/// A range within `length` things. It is empty only if `length` is 0.
fn stretch(rng: &mut Rng, length: usize, most: usize) -> std::ops::Range<usize> {
    if length == 0 {
        return 0..0;
    }
    let from = rng.usize(..length);
    from..(from + rng.usize(1..=most)).min(length)
}

/// Makes one change. `other` is another input of the same kind.
pub(crate) fn edit(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let length = bytes.len();
    match rng.u8(..13) {
        0 | 1 => {
            for _ in 0..rng.usize(1..=4) {
                if length > 0 {
                    bytes[rng.usize(..length)] ^= 1 << rng.u8(..8);
                }
            }
        }
        2 if length > 0 => bytes[rng.usize(..length)] = edge(rng) as u8,
        3 if length > 0 => bytes[rng.usize(..length)] = rng.u8(..),
        4 => bytes.truncate(rng.usize(..=length)),
        5 => {
            let more = self::bytes(rng, 64);
            bytes.extend_from_slice(&more);
        }
        6 => {
            // A splice: the beginning of this input and the end of the other.
            bytes.truncate(rng.usize(..=length));
            bytes.extend_from_slice(&other[rng.usize(..=other.len())..]);
        }
        7 => drop(bytes.drain(stretch(rng, length, 16))),
        8 => {
            let again = bytes[stretch(rng, length, 64)].to_vec();
            let at = rng.usize(..=length);
            bytes.splice(at..at, again);
        }
        9 => {
            // A number of fixed width: a length, a slot, a check.
            let number = edge(rng).to_le_bytes();
            let width = [2, 4, 8][rng.usize(..3)];
            if length >= width {
                let at = rng.usize(..=length - width);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
        }
        10 => {
            // A number in postcard's encoding replaces one byte or more.
            let mut varint = Vec::new();
            let mut number = edge(rng);
            while number >= 0x80 {
                varint.push(number as u8 | 0x80);
                number >>= 7;
            }
            varint.push(number as u8);
            bytes.splice(stretch(rng, length, 4), varint);
        }
        11 => {
            let (a, b) = (stretch(rng, length, 32), stretch(rng, length, 32));
            for (a, b) in a.zip(b) {
                bytes.swap(a, b);
            }
        }
        _ => bytes[stretch(rng, length, 600)].fill(0),
    }
}

/// Makes one change or a few.
pub(crate) fn edits(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    edit(rng, bytes, other);
    while rng.u8(..3) == 0 {
        edit(rng, bytes, other);
    }
}
