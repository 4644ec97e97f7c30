//! The longest of some times, over a while.
//!
//! A mean forgets what happens once in ten seconds, and so does a peak that fades with each
//! measurement where hundreds come in a second. So the longest time is kept by the clock: of
//! the present stretch and of the one before. It is remembered in full for the length of a
//! stretch, and for twice that at most.

use crate::aside::NotState;
use crate::types::Time;

/// The longest time within the last `KEPT_US` microseconds, or twice as many.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Longest<const KEPT_US: u64> {
    /// In the present stretch.
    present_us: u64,
    /// In the stretch before.
    before_us: u64,
    /// When the present stretch began.
    began: Time,
}

impl<const KEPT_US: u64> NotState for Longest<KEPT_US> {}

impl<const KEPT_US: u64> Longest<KEPT_US> {
    /// Something took so long.
    pub(super) fn observe(&mut self, now: Time, us: u64) {
        if now >= self.began.plus_us(KEPT_US) {
            let is_old = now >= self.began.plus_us(2 * KEPT_US);
            self.before_us = if is_old { 0 } else { self.present_us };
            (self.present_us, self.began) = (0, now);
        }
        self.present_us = self.present_us.max(us);
    }

    /// The longest that is remembered; 0 if nothing is.
    pub(super) fn us(&self) -> u64 {
        self.present_us.max(self.before_us)
    }
}
