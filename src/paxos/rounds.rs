//! A replica's own heartbeats: their numbers, and when each left.
//!
//! A peer echoes the newest number that it has heard. So a replica that remembers when that
//! heartbeat left knows how old the echo is (L2), and how long the round trip took (L4).
//!
//! A peer that has not heard of a new life yet echoes a number of the life before. So each
//! life begins to count somewhere else: that number is hardly ever one of its own.

use super::pace::WAIT_MAX_US;
use crate::types::{BootId, Time};
use std::collections::VecDeque;

/// For how long a replica remembers its own heartbeats: as long as any wait may become, in
/// microseconds.
const KEPT_US: u64 = WAIT_MAX_US;

/// How many of its own heartbeats a replica remembers. If it sends more in that time it
/// remembers only some of them, evenly spread.
const KEPT_MAX: usize = 4_096;

/// A life begins to count below two to the power of this. A larger number would take more
/// bytes on the wire; two lives are told apart as long as they do not begin within some
/// hundred numbers of each other. A replica that took an echo of its former life for one of this
/// life might call a restart a copy (S12), so that must not happen by chance.
const BEGIN_BITS: u32 = 28;

/// The heartbeats that this replica has sent.
#[derive(Debug, Clone)]
pub(super) struct Rounds {
    /// The number of the newest one.
    newest: u64,
    /// Numbers, and when they left, oldest first.
    sent: VecDeque<(u64, Time)>,
}

impl Rounds {
    /// None was sent in this life yet.
    pub(super) fn new(boot: BootId) -> Self {
        // Fibonacci hashing (Knuth, volume 3, 6.4): also of neighbours, as in tests.
        let newest = boot.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BEGIN_BITS);
        Rounds { newest, sent: VecDeque::new() }
    }

    /// The number of the newest one.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The next one leaves now. Returns its number.
    pub(super) fn begin(&mut self, now: Time) -> u64 {
        self.newest += 1;
        // The newest takes the place of the one before it, if that one is so close to its
        // own predecessor that all together would not reach back for as long as they must.
        let mut newest = self.sent.iter().rev().map(|(_, at)| *at);
        if let (Some(last), Some(before)) = (newest.next(), newest.next())
            && last.since_us(before) < KEPT_US / KEPT_MAX as u64
        {
            self.sent.pop_back();
        }
        self.sent.push_back((self.newest, now));
        if self.sent.len() > KEPT_MAX {
            self.sent.pop_front();
        }
        self.newest
    }

    /// When a heartbeat left. Of one that is not remembered: when the one before it did that
    /// is.
    pub(super) fn sent_at(&self, round: u64) -> Option<Time> {
        let above = self.sent.partition_point(|(sent, _)| *sent <= round);
        let is_own = round <= self.newest;
        let (_, at) = self.sent.get(above.checked_sub(1)?).filter(|_| is_own)?;
        Some(*at)
    }

    /// The process was paused: all of them left later by this many microseconds.
    pub(super) fn shift(&mut self, us: u64) {
        self.sent.iter_mut().for_each(|(_, at)| *at = at.plus_us(us));
    }
}
