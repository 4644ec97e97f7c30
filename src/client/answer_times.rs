//! How long answers take, and so how long to wait for one.
//!
//! While a leader is elected a line takes seconds, once. A mean would make the waits for the next
//! lines as long, and a lost datagram would cost as much. So the estimate is the second longest of
//! the last [`KEPT`] answers, and half as much again: one that took long does not count, and if
//! answers have become slow the second one shows it.

/// How many answers are remembered.
const KEPT: usize = 8;

/// The times that answers took, in microseconds.
#[derive(Debug)]
pub(super) struct AnswerTimes {
    /// The last ones, in a circle.
    times: [u32; KEPT],
    /// How many there were.
    answers: usize,
    longest_us: Option<u64>,
    wait_us: u64,
    min_us: u64,
    max_us: u64,
}

impl AnswerTimes {
    /// Waits `first_us` until the first answer, and never less than `min_us` or more than `max_us`.
    pub(super) fn new(first_us: u64, min_us: u64, max_us: u64) -> Self {
        let (times, answers, longest_us) = ([0; KEPT], 0, None);
        AnswerTimes { times, answers, longest_us, wait_us: first_us, min_us, max_us }
    }

    /// The time that hardly any answer exceeds, if one has ever come.
    pub(super) fn longest_us(&self) -> Option<u64> {
        self.longest_us
    }

    /// How long to wait for an answer.
    pub(super) fn wait_us(&self) -> u64 {
        self.wait_us
    }

    /// An answer took this long.
    pub(super) fn answered(&mut self, took_us: u64) {
        self.times[self.answers % KEPT] = u32::try_from(took_us).unwrap_or(u32::MAX);
        self.answers += 1;
        let (mut first, mut second) = (0, 0);
        for us in self.times {
            (first, second) = (first.max(us), second.max(first.min(us)));
        }
        // Of a single one nobody knows whether it took long.
        let usual_us = u64::from(if self.answers == 1 { first } else { second });
        let longest_us = (usual_us + usual_us / 2).clamp(self.min_us, self.max_us);
        (self.longest_us, self.wait_us) = (Some(longest_us), longest_us);
    }

    /// An answer came this time after the line was last sent, and nobody knows how long it took. If
    /// that is as fast as ever, a datagram was lost, which says nothing about the next one.
    /// Otherwise the wait shrinks, but by less than it has grown.
    pub(super) fn recovered(&mut self, took_us: u64) {
        let Some(longest_us) = self.longest_us else { return };
        let is_late = took_us > longest_us;
        self.wait_us = if is_late { longest_us.max(self.wait_us / 4) } else { longest_us };
    }

    /// No answer came in time. The wait doubles, but not beyond `bound_us`.
    pub(super) fn missed(&mut self, bound_us: u64) {
        let bound_us = bound_us.min(self.max_us).max(self.wait_us);
        self.wait_us = (2 * self.wait_us).min(bound_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(answers: &[u64]) -> AnswerTimes {
        let mut times = AnswerTimes::new(100_000, 120, 10_000_000);
        answers.iter().for_each(|us| times.answered(*us));
        times
    }

    #[test]
    fn one_answer_in_eight_may_take_long_and_does_not_count() {
        assert_eq!((times(&[]).wait_us(), times(&[]).longest_us()), (100_000, None));
        assert_eq!(times(&[4_000_000]).wait_us(), 6_000_000, "nothing else is known");
        assert_eq!(times(&[4_000_000, 8_000]).wait_us(), 12_000);
        assert_eq!(times(&[8_000, 4_000_000]).wait_us(), 12_000);
        assert_eq!(times(&[8_000, 4_000_000, 4_000_000]).wait_us(), 6_000_000);
        let mut later = times(&[4_000_000, 4_000_000]);
        (0..6).for_each(|_| later.answered(8_000));
        assert_eq!(later.wait_us(), 6_000_000);
        later.answered(8_000);
        assert_eq!(later.wait_us(), 12_000);
        assert_eq!(times(&[8, 9]).wait_us(), 120, "never below its bound");
        assert_eq!(times(&[u64::MAX / 2, u64::MAX / 2]).wait_us(), 10_000_000);
    }

    #[test]
    fn the_wait_doubles_up_to_what_its_owner_allows_and_falls_with_an_answer() {
        let mut times = times(&[8_000, 8_000]);
        (0..9).for_each(|_| times.missed(300_000));
        assert_eq!(times.wait_us(), 300_000);
        times.missed(50_000);
        assert_eq!(times.wait_us(), 300_000, "a miss never shortens the wait");
        times.recovered(12_001);
        assert_eq!(times.wait_us(), 75_000);
        times.recovered(12_000);
        assert_eq!(times.wait_us(), 12_000);
    }
}
