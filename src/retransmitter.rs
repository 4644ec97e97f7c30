//! When to send something again that has shown no effect (rule L4).
//!
//! One [`Retransmitter`] belongs to one proposal that is not applied. It knows when the
//! proposal was sent last and how often. The wait before the next time doubles, so that a
//! cluster that has become slow does not get ever more to do.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::aside::Aside;
use crate::types::Time;

/// How long to wait, the first time and at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// The wait after the first sending; each later one is twice as long.
    pub(crate) first_us: u64,
    /// The longest wait.
    pub(crate) max_us: u64,
}

/// How often something was sent, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Retransmitter {
    /// When it was sent last.
    sent_at: Aside<Time>,
    /// How often all of it was sent again.
    resent: u32,
    /// Whether any part of it was sent again.
    repeated: bool,
}

impl Retransmitter {
    /// Of something that is sent `now` for the first time.
    pub(crate) fn new(now: Time) -> Self {
        Retransmitter { sent_at: Aside(now), resent: 0, repeated: false }
    }

    /// Whether it has waited long enough to be sent again.
    pub(crate) fn is_due(&self, now: Time, backoff: Backoff) -> bool {
        let doubled = backoff.first_us.saturating_mul(1 << self.resent.min(32));
        let wait_us = doubled.min(backoff.max_us);
        now.since_us(*self.sent_at) >= wait_us
    }

    /// Whether all of it was sent less than `us` ago.
    pub(crate) fn sent_within(&self, now: Time, us: u64) -> bool {
        now.since_us(*self.sent_at) < us
    }

    /// Whether all of it was sent again less than `us` ago.
    pub(crate) fn sent_again_within(&self, now: Time, us: u64) -> bool {
        self.resent > 0 && self.sent_within(now, us)
    }

    /// All of it is sent again.
    pub(crate) fn send_again(&mut self, now: Time) {
        *self.sent_at = now;
        self.resent = self.resent.saturating_add(1);
        self.repeated = true;
    }

    /// A part of it is sent again.
    pub(crate) fn send_part_again(&mut self) {
        self.repeated = true;
    }

    /// How long the effect took to show. Unknown if something was sent twice: nobody can tell
    /// which copy had the effect (Karn and Partridge, *Improving Round-Trip Time Estimates*,
    /// SIGCOMM '87).
    pub(crate) fn took_us(&self, now: Time) -> Option<u64> {
        (!self.repeated).then(|| now.since_us(*self.sent_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first_us: 100, max_us: 350 };

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let mut now = Time(1_000);
        let mut waits = Retransmitter::new(now);
        for wait_us in [100, 200, 350, 350] {
            assert!(!waits.is_due(now.plus_us(wait_us - 1), BACKOFF), "{wait_us} µs");
            now = now.plus_us(wait_us);
            assert!(waits.is_due(now, BACKOFF), "{wait_us} µs");
            waits.send_again(now);
        }
        (0..100).for_each(|_| waits.send_again(now));
        assert!(waits.is_due(now.plus_us(350), BACKOFF), "however often it was sent");
    }

    #[test]
    fn what_was_sent_once_tells_how_long_its_effect_takes() {
        let once = Retransmitter::new(Time(50));
        assert_eq!(once.took_us(Time(80)), Some(30));
        let (mut twice, mut partly) = (once, once);
        twice.send_again(Time(60));
        partly.send_part_again();
        assert_eq!((twice.took_us(Time(80)), partly.took_us(Time(80))), (None, None));
    }
}
