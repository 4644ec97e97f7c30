//! How long an answer takes, and so how long to wait before asking again.
//!
//! The estimate is TCP's (Jacobson, *Congestion Avoidance and Control*, SIGCOMM '88; RFC
//! 6298): a smoothed time and its mean deviation. The wait is the one and `DEVIATIONS`
//! times the other.
//!
//! A question that was asked twice says nothing about the time, since nobody knows which
//! copy was answered (Karn and Partridge, SIGCOMM '87). Instead the wait doubles, until a
//! question is answered at first asking, or as fast as ever after the last. So a cluster
//! that has become slow is not asked ever more.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// How many mean deviations above the smoothed time an answer counts as late.
///
/// TCP takes four, since what it sends again in vain fills a queue that others share. Here
/// a repeated request is told by its number, and a repeated accept is held already. But all
/// the lines of a lost datagram wait until it is sent again. So two deviations, which cost a
/// few repeats more, keep more of the throughput under loss.
const DEVIATIONS: u64 = 2;

/// How many mean deviations above the smoothed time hardly any answer takes (RFC 6298, §2.3).
const DEVIATIONS_AT_MOST: u64 = 4;

/// An estimate that follows what is measured.
#[derive(Debug, Clone)]
pub struct RoundTrip {
    smoothed_us: Option<u64>,
    deviation_us: u64,
    wait_us: u64,
    min_us: u64,
    max_us: u64,
}

impl RoundTrip {
    /// Waits `first_us` until the first answer, and never less than `min_us` or more than
    /// `max_us`.
    pub fn new(first_us: u64, min_us: u64, max_us: u64) -> Self {
        RoundTrip { smoothed_us: None, deviation_us: 0, wait_us: first_us, min_us, max_us }
    }

    /// How long to wait for an answer.
    pub fn wait_us(&self) -> u64 {
        self.wait_us
    }

    /// The time that an answer takes on average, if one has ever come.
    pub fn smoothed_us(&self) -> Option<u64> {
        self.smoothed_us
    }

    /// The time that hardly any answer exceeds, if one has ever come. For waits at whose end
    /// something is given up.
    pub fn longest_us(&self) -> Option<u64> {
        let smoothed_us = self.smoothed_us?;
        let longest_us = smoothed_us.saturating_add(DEVIATIONS_AT_MOST * self.deviation_us);
        Some(longest_us.min(self.max_us))
    }

    /// A question that was asked once was answered after this time.
    pub fn answered(&mut self, took_us: u64) {
        match &mut self.smoothed_us {
            None => {
                self.smoothed_us = Some(took_us);
                self.deviation_us = took_us / 2;
            }
            Some(smoothed_us) => {
                let deviation_us = smoothed_us.abs_diff(took_us);
                self.deviation_us = (3 * self.deviation_us + deviation_us) / 4;
                *smoothed_us = (7 * *smoothed_us + took_us) / 8;
            }
        }
        self.wait_us = self.estimate_us();
    }

    /// A question that was asked again was answered this time after it was last asked. If
    /// that is as fast as ever, a datagram was lost, which says nothing about the next one.
    /// Otherwise the wait shrinks, but by less than it has grown.
    pub fn recovered(&mut self, took_us: u64) {
        let estimate_us = self.estimate_us();
        let late = took_us > estimate_us;
        self.wait_us = if late { estimate_us.max(self.wait_us / 4) } else { estimate_us };
    }

    fn estimate_us(&self) -> u64 {
        let Some(smoothed_us) = self.smoothed_us else { return self.wait_us };
        (smoothed_us + DEVIATIONS * self.deviation_us).clamp(self.min_us, self.max_us)
    }

    /// No answer came in time. The wait doubles, but not beyond `bound_us`.
    pub fn missed(&mut self, bound_us: u64) {
        let bound_us = bound_us.min(self.max_us).max(self.wait_us);
        self.wait_us = (2 * self.wait_us).min(bound_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_US: u64 = 1_000_000;

    fn estimate() -> RoundTrip {
        RoundTrip::new(100_000, 1_000, MAX_US)
    }

    #[test]
    fn steady_answers_bring_the_wait_down_to_what_they_take() {
        let mut trip = estimate();
        assert_eq!((trip.wait_us(), trip.smoothed_us()), (100_000, None));
        trip.answered(8_000);
        assert_eq!((trip.wait_us(), trip.smoothed_us()), (16_000, Some(8_000)));
        (0..100).for_each(|_| trip.answered(8_000));
        assert_eq!(trip.smoothed_us(), Some(8_000));
        assert!((8_000..8_100).contains(&trip.wait_us()), "{}", trip.wait_us());
        (0..100).for_each(|_| trip.answered(50));
        assert_eq!(trip.wait_us(), 1_000, "never below its bound");
    }

    #[test]
    fn hardly_any_answer_takes_longer_than_the_longest() {
        let mut trip = estimate();
        assert_eq!(trip.longest_us(), None);
        trip.answered(8_000);
        assert_eq!(trip.longest_us(), Some(24_000), "half of the first answer is its deviation");
        (0..200).for_each(|round| trip.answered(if round % 2 == 0 { 5_000 } else { 15_000 }));
        let longest_us = trip.longest_us().expect("measured");
        assert!((25_000..35_000).contains(&longest_us), "{longest_us}");
        trip.answered(u64::from(u32::MAX));
        assert_eq!(trip.longest_us(), Some(MAX_US), "never above its bound");
    }

    #[test]
    fn the_wait_doubles_up_to_what_its_owner_allows() {
        let mut trip = estimate();
        (0..5).for_each(|_| trip.missed(300_000));
        assert_eq!(trip.wait_us(), 300_000);
        trip.missed(50_000);
        assert_eq!(trip.wait_us(), 300_000, "a miss never shortens the wait");
        (0..5).for_each(|_| trip.missed(u64::MAX));
        assert_eq!(trip.wait_us(), MAX_US);
    }

    #[test]
    fn answers_that_vary_are_waited_for_longer() {
        let mut trip = estimate();
        (0..200).for_each(|round| trip.answered(if round % 2 == 0 { 5_000 } else { 15_000 }));
        assert!((17_000..25_000).contains(&trip.wait_us()), "{}", trip.wait_us());
    }

    #[test]
    fn what_is_missed_doubles_the_wait_until_an_answer_comes_soon() {
        let mut trip = estimate();
        (0..100).for_each(|_| trip.answered(8_000));
        let settled = trip.wait_us();
        trip.missed(MAX_US);
        trip.missed(MAX_US);
        assert_eq!(trip.wait_us(), 4 * settled);
        (0..20).for_each(|_| trip.missed(MAX_US));
        assert_eq!(trip.wait_us(), 1_000_000);
        trip.answered(8_000);
        assert!(trip.wait_us() < 2 * settled);
        trip.missed(MAX_US);
        (0..3).for_each(|_| trip.missed(MAX_US));
        trip.recovered(20 * settled);
        assert!(trip.wait_us() >= 3 * settled, "that was the answer to the first, and is late");
        trip.recovered(settled / 2);
        assert!(trip.wait_us() < 2 * settled);
    }

    #[test]
    fn a_late_answer_to_what_was_asked_again_leaves_a_quarter_of_the_wait() {
        let mut trip = estimate();
        (0..100).for_each(|_| trip.answered(8_000));
        let settled = trip.wait_us();
        (0..5).for_each(|_| trip.missed(MAX_US));
        trip.recovered(settled + 1);
        assert_eq!(trip.wait_us(), 8 * settled);
        let mut soon = trip.clone();
        soon.recovered(settled);
        assert_eq!(soon.wait_us(), settled, "as fast as ever");
        trip.recovered(settled + 1);
        assert_eq!(trip.wait_us(), 2 * settled);
    }
}
