//! What every datagram says about its path, and what has arrived from a peer. (W6)
//!
//! A sender numbers its bytes. A receiver says where the highest datagram ended that has
//! arrived, and how many bytes arrived in all. Numbers wrap; a new life of the sender begins
//! anew.
//!
//! **Does not** read a clock, or decide when anything leaves. Times are microseconds since any
//! fixed moment.

use std::collections::VecDeque;

/// The arrivals that are remembered, to tell a late datagram from a repeated one.
const RECENT_MAX: usize = 32;

/// The receiver says for how long it has known, in units of this many microseconds.
pub const HELD_UNIT_US: u64 = 32;

/// What every datagram says about the path, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Stamp {
    /// The bytes that were sent to the receiver before, in this life of the sender.
    pub offset: u32,
    /// Where the highest datagram of the receiver ended that has arrived.
    pub reached: u32,
    /// How many bytes have arrived up to there.
    pub taken: u32,
    /// For how long that has been known, in units of [`HELD_UNIT_US`]: 15 bits.
    pub held: u16,
    /// Whether the sender waits for word of what has arrived.
    pub asks: bool,
}

/// The bytes of a stamp on the wire.
pub const STAMP_BYTES: usize = 14;

/// The most that [`Stamp::held`] can say.
pub const HELD_MAX: u16 = 0x7FFF;

impl Stamp {
    /// As it travels.
    pub fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..4].copy_from_slice(&self.offset.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.reached.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.taken.to_le_bytes());
        let last = self.held.min(HELD_MAX) | if self.asks { HELD_MAX + 1 } else { 0 };
        bytes[12..].copy_from_slice(&last.to_le_bytes());
        bytes
    }

    /// From what has travelled; every value is a stamp.
    pub fn from_bytes(bytes: &[u8; STAMP_BYTES]) -> Self {
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let last = u16::from_le_bytes([bytes[12], bytes[13]]);
        Stamp {
            offset: word(0),
            reached: word(4),
            taken: word(8),
            held: last & HELD_MAX,
            asks: last > HELD_MAX,
        }
    }
}

/// What has arrived from one peer.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// The life of the peer; none before anything has arrived.
    boot: Option<u64>,
    reached: u32,
    taken: u32,
    reached_at: u64,
    /// The offsets of the latest datagrams.
    recent: VecDeque<u32>,
    /// How many datagrams have asked for word since it was given last.
    asked: u32,
    /// When the first of them came.
    asked_at: u64,
}

/// Word is given at once when so many datagrams have asked for it.
pub const ASKED_MAX: u32 = 2;

/// Otherwise it may take this long.
pub const ASKED_US: u64 = 5_000;

impl Receipt {
    /// Takes note of a datagram of `bytes` bytes of the peer's life `boot`.
    pub fn received(&mut self, now: u64, boot: u64, stamp: Stamp, bytes: usize) {
        let (offset, bytes) = (stamp.offset, bytes as u32);
        if self.boot != Some(boot) {
            let end = offset.wrapping_add(bytes);
            let (reached, taken, boot) = (end, end, Some(boot));
            *self = Receipt { boot, reached, taken, reached_at: now, ..Receipt::default() };
            self.note(offset);
        } else if is_before(self.reached, offset) || self.reached == offset {
            self.reached = offset.wrapping_add(bytes);
            self.taken = self.taken.wrapping_add(bytes);
            self.reached_at = now;
            self.note(offset);
        } else if !self.recent.contains(&offset) {
            // Late. What was lost before this life was heard first is not counted.
            let lost = self.reached.wrapping_sub(self.taken);
            self.taken = self.taken.wrapping_add(bytes.min(lost));
            self.note(offset);
        }
        if stamp.asks {
            if self.asked == 0 {
                self.asked_at = now;
            }
            self.asked += 1;
        }
    }

    /// Whether something has arrived, of another life of the peer than this.
    pub fn is_of_another_life(&self, boot: u64) -> bool {
        self.boot.is_some_and(|known| known != boot)
    }

    fn note(&mut self, offset: u32) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(offset);
    }

    /// Writes what has arrived into a stamp. Whoever asked is answered with that.
    pub fn tell(&mut self, now: u64, stamp: &mut Stamp) {
        if self.boot.is_some() {
            let held = now.saturating_sub(self.reached_at) / HELD_UNIT_US;
            stamp.reached = self.reached;
            stamp.taken = self.taken;
            stamp.held = held.min(u64::from(HELD_MAX)) as u16;
            self.asked = 0;
        }
    }

    /// When word must be given to a peer that asked and got no other datagram.
    pub fn due(&self) -> Option<u64> {
        match self.asked {
            0 => None,
            1..ASKED_MAX => Some(self.asked_at + ASKED_US),
            _ => Some(0),
        }
    }

    /// When something has arrived last.
    pub fn heard_at(&self) -> u64 {
        self.reached_at
    }
}

/// Whether `a` comes before `b` among numbers that wrap.
pub(super) fn is_before(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) > 0
}
