//! How late accepts come, and so how long to wait before their slots are fetched. (L4)
//!
//! What is decided travels fast, in heartbeats; values wait for room on the way (W6). So a
//! learner often hears that a slot is decided before it has the accept. To ask a peer for
//! that slot would bring the value twice, over a path that is full already. So the wait is
//! somewhat longer than the longest lag of the last seconds.

use crate::aside::NotState;
use crate::paxos::longest::Longest;
use crate::types::{SlotRange, Time};

/// Accepts that come later than this are not waited for.
const FETCH_DELAY_MAX_US: u64 = 1_000_000;

/// How late accepts came is remembered for this time, and at most twice as long.
const LAG_US: u64 = 2_000_000;

/// How late accepts come: how long after this learner has heard that others have decided.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lag {
    longest: Longest<LAG_US>,
    /// Slots that were asked for, and since when they had been missing.
    asked: Option<(SlotRange, Time)>,
}

impl NotState for Lag {}

impl Lag {
    /// These slots are asked for, which have been missing since then. One such range at a time is
    /// watched, as long as its accepts may come.
    pub(super) fn asks(&mut self, slots: SlotRange, since: Time) {
        if self.asked.is_none_or(|(_, before)| since >= before.plus_us(FETCH_DELAY_MAX_US)) {
            self.asked = Some((slots, since));
        }
    }

    /// How long to wait for an accept: somewhat longer than the last ones took.
    pub(super) fn wait_us(&self) -> u64 {
        let longest_us = self.longest.us();
        (longest_us + longest_us / 4).min(FETCH_DELAY_MAX_US)
    }

    /// The own acceptor has accepted these slots. If they were asked for, that was too soon.
    pub(super) fn note_accepted(&mut self, now: Time, slots: SlotRange) {
        let asked = self.asked.filter(|(asked, _)| !asked.intersect(slots).is_empty());
        if let Some((_, since)) = asked {
            self.longest.observe(now, now.since_us(since));
            self.asked = None;
        }
    }

    /// Slots that had been missing since then were applied. If nothing was asked for, their
    /// accepts have come.
    pub(super) fn note_progress(&mut self, now: Time, since: Time) {
        if self.asked.is_none() {
            self.longest.observe(now, now.since_us(since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Slot;

    fn slots(start: u64, end: u64) -> SlotRange {
        SlotRange::new(Slot(start), Slot(end))
    }

    #[test]
    fn accepts_are_waited_for_somewhat_longer_than_the_last_ones_took_up_to_a_bound() {
        let mut lag = Lag::default();
        assert_eq!(lag.wait_us(), 0);
        lag.note_progress(Time(1_400), Time(1_000));
        assert_eq!(lag.wait_us(), 500);
        lag.note_progress(Time(1_400), Time(1_100));
        assert_eq!(lag.wait_us(), 500, "the longest counts");
        lag.note_progress(Time(801_400), Time(1_400));
        assert_eq!(lag.wait_us(), FETCH_DELAY_MAX_US);
        lag.note_progress(Time(1_900_000), Time(0));
        assert_eq!(lag.wait_us(), FETCH_DELAY_MAX_US);
    }

    #[test]
    fn how_late_accepts_came_is_remembered_for_a_while() {
        let mut lag = Lag::default();
        let mut after = |at: u64, us: u64| {
            lag.note_progress(Time(at), Time(at - us));
            lag.wait_us()
        };
        assert_eq!(after(LAG_US - 1, 4_000), 5_000);
        assert_eq!(after(LAG_US, 400), 5_000, "of the time before");
        assert_eq!(after(2 * LAG_US - 1, 800), 5_000);
        assert_eq!(after(2 * LAG_US, 40), 1_000);
        assert_eq!(after(3 * LAG_US, 0), 50);
    }

    #[test]
    fn slots_that_were_asked_for_show_their_lag_when_their_accepts_come() {
        let mut lag = Lag::default();
        lag.asks(slots(5, 9), Time(1_000));
        // They may have come from the peer that was asked.
        lag.note_progress(Time(9_000), Time(1_000));
        lag.note_accepted(Time(9_000), slots(0, 5));
        lag.note_accepted(Time(9_000), slots(9, 12));
        assert_eq!(lag.wait_us(), 0);
        lag.note_accepted(Time(9_000), slots(8, 12));
        assert_eq!(lag.wait_us(), 10_000);
        lag.note_accepted(Time(90_000), slots(5, 9));
        assert_eq!(lag.wait_us(), 10_000, "each once");
    }

    #[test]
    fn one_range_is_watched_at_a_time_as_long_as_its_accepts_may_come() {
        let watched = |later_us: u64| {
            let mut lag = Lag::default();
            lag.asks(slots(0, 1), Time(1_000));
            lag.asks(slots(1, 2), Time(1_000 + later_us));
            lag.asked.expect("one is watched").0
        };
        assert_eq!(watched(FETCH_DELAY_MAX_US - 1), slots(0, 1));
        assert_eq!(watched(FETCH_DELAY_MAX_US), slots(1, 2));
    }
}
