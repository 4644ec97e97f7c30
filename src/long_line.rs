//! Long lines: what a copy of one costs on a slow path. (L8)
//!
//! A short line is cheap, so whoever does not know what became of one sends it again, and to
//! everybody. Copies of a long line fill a slow path, and then the line that they are copies
//! of does not get through. So a long line is sent again only after a slow path would have
//! carried it, and until then its sender asks for its fate without it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// Lines of at most this many bytes are short. A longer one takes four datagrams or more. So even
/// where a third of all is lost, some piece of it arrives, and its receiver asks for the others.
pub const SHORT_BYTES_MAX: usize = 3_072;

/// What a slow path carries of a line in a millisecond: half a megabit a second. The other half
/// of a megabit may be for others.
const SLOW_BYTES_PER_MS: u64 = 60;

/// Whether a line of this many bytes is long.
pub fn is_long(bytes: usize) -> bool {
    bytes > SHORT_BYTES_MAX
}

/// In how many microseconds a slow path carries a line of this many bytes. None for a short
/// line.
pub fn carry_us(bytes: usize) -> u64 {
    if is_long(bytes) { bytes as u64 * 1_000 / SLOW_BYTES_PER_MS } else { 0 }
}

/// In how many microseconds slow paths carry a line of this many bytes from its client to the
/// leader of `n` replicas, and from there to the others.
pub fn commit_us(bytes: usize, n: usize) -> u64 {
    n as u64 * carry_us(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_line_takes_time() {
        assert_eq!((carry_us(0), carry_us(SHORT_BYTES_MAX)), (0, 0));
        assert_eq!((carry_us(60_000), commit_us(60_000, 3)), (1_000_000, 3_000_000));
    }
}
