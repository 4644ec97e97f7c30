//! How late accepts come, and so how long to wait before their slots are fetched. (L4)
//!
//! What is decided travels fast, in heartbeats; values wait for room on the way (W6). So a
//! learner often hears that a slot is decided before it has the accept. To ask a peer for
//! that slot would bring the value twice, over a path that is full already. So the wait is
//! somewhat longer than the longest lag of the last seconds.

use crate::aside::NotState;
use crate::types::{SlotRange, Time};

/// Accepts that come later than this are not waited for.
const FETCH_DELAY_MAX_US: u64 = 1_000_000;

/// How late accepts came is remembered for this time, and at most twice as long.
const LAG_US: u64 = 2_000_000;

/// How late accepts come: how long after this learner has heard that others have decided.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lag {
    /// The longest since `began`, and the longest in the time before that.
    longest_us: (u64, u64),
    began: Time,
    /// Slots that were asked for, and since when they had been missing.
    asked: Option<(SlotRange, Time)>,
}

impl NotState for Lag {}

impl Lag {
    fn observe(&mut self, now: Time, us: u64) {
        if now >= self.began.plus_us(LAG_US) {
            (self.longest_us, self.began) = ((0, self.longest_us.0), now);
        }
        self.longest_us.0 = self.longest_us.0.max(us);
    }

    /// These slots are asked for, which have been missing since then. One such range at a time is
    /// watched, as long as its accepts may come.
    pub(super) fn asks(&mut self, slots: SlotRange, since: Time) {
        if self.asked.is_none_or(|(_, before)| since >= before.plus_us(FETCH_DELAY_MAX_US)) {
            self.asked = Some((slots, since));
        }
    }

    /// How long to wait for an accept: somewhat longer than the last ones took.
    pub(super) fn wait_us(&self) -> u64 {
        let longest_us = self.longest_us.0.max(self.longest_us.1);
        (longest_us + longest_us / 4).min(FETCH_DELAY_MAX_US)
    }

    /// The own acceptor has accepted these slots. If they were asked for, that was too soon.
    pub(super) fn note_accepted(&mut self, now: Time, slots: SlotRange) {
        let asked = self.asked.filter(|(asked, _)| !asked.intersect(slots).is_empty());
        if let Some((_, since)) = asked {
            self.observe(now, now.since_us(since));
            self.asked = None;
        }
    }

    /// Slots that had been missing since then were applied. If nothing was asked for, their
    /// accepts have come.
    pub(super) fn note_progress(&mut self, now: Time, since: Time) {
        if self.asked.is_none() {
            self.observe(now, now.since_us(since));
        }
    }
}
