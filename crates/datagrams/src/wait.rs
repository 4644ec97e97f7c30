//! How a thread waits for input: it polls for a while, or it sleeps.
//!
//! Waking a thread that sleeps on another core takes 30 µs and more, longer than most turns
//! of a thread. So a thread that expects input soon polls for it, and yields its core to
//! other threads between two polls. A thread learns from its last waits: it polls only after
//! several short waits in a row, and longer after more of them. After a poll that found
//! nothing it polls less. So an idle process sleeps, and a busy one hardly ever does, on a
//! fast host and on a slow one alike.
//!
//! **Does not** read a clock, yield, or sleep: it tells the caller which of them to do.
//! Times are microseconds since any fixed moment.

/// A thread polls this long for each short wait in a row.
pub const POLL_STEP_US: u64 = 100;

/// The longest that a thread polls before it sleeps. A wait is short if it takes no longer.
/// A round of three processes takes 130 to 700 µs on two slow cores, and a thread must not
/// fall asleep within a round. Twice the bound gains nothing more.
pub const POLL_US_MAX: u64 = 1_200;

/// A thread polls only after this many short waits in a row. A heartbeat causes fewer, so
/// the threads of an idle process sleep.
const SHORT_WAITS_MIN: u32 = 3;

/// More short waits in a row than this are not counted.
const SHORT_WAITS_MAX: u32 = (POLL_US_MAX / POLL_STEP_US) as u32;

/// After a poll that found nothing, a thread keeps a quarter of its count of short waits. Two
/// such polls in a row bring even the largest count below [`SHORT_WAITS_MIN`].
const VAIN_POLL_DIVISOR: u32 = 4;

/// Tells one thread how to wait.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    short_waits: u32,
    /// When this wait began.
    since: Option<u64>,
}

impl Patience {
    /// The caller found no input at `now`. Returns whether to yield and poll again, rather
    /// than sleep.
    pub fn polls_again(&mut self, now: u64) -> bool {
        let since = *self.since.get_or_insert(now);
        if self.short_waits < SHORT_WAITS_MIN {
            return false;
        }
        let polls = now.saturating_sub(since) < u64::from(self.short_waits) * POLL_STEP_US;
        if !polls {
            self.short_waits /= VAIN_POLL_DIVISOR;
        }
        polls
    }

    /// The caller found input at `now`, at once or after a wait.
    pub fn found(&mut self, now: u64) {
        let waited_us = self.since.take().map_or(0, |since| now.saturating_sub(since));
        let short = waited_us <= POLL_US_MAX;
        self.short_waits = if short { SHORT_WAITS_MAX.min(self.short_waits + 1) } else { 0 };
    }

    /// The wait ended without input. A timer says nothing about when input comes.
    pub fn ended(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After this many short waits, the last of which ended at time 1,000.
    fn after(short_waits: u32) -> Patience {
        let mut patience = Patience::default();
        for _ in 0..short_waits {
            patience.polls_again(990);
            patience.found(1_000);
        }
        patience
    }

    /// How long it polls if nothing comes.
    fn poll_us(mut patience: Patience) -> u64 {
        (0..).find(|us| !patience.polls_again(1_000_000 + us)).expect("it sleeps")
    }

    #[test]
    fn only_a_run_of_short_waits_makes_it_poll() {
        for short_waits in 0..SHORT_WAITS_MIN {
            assert_eq!(poll_us(after(short_waits)), 0);
        }
    }

    #[test]
    fn the_longer_the_run_the_longer_it_polls_up_to_a_bound() {
        assert_eq!(poll_us(after(3)), 300);
        assert_eq!(poll_us(after(4)), 400);
        assert_eq!(poll_us(after(11)), 1_100);
        for short_waits in [12, 13, 1_000] {
            assert_eq!(poll_us(after(short_waits)), POLL_US_MAX);
        }
    }

    #[test]
    fn input_that_was_there_at_once_counts_as_a_short_wait() {
        let mut patience = Patience::default();
        (0..SHORT_WAITS_MIN).for_each(|at| patience.found(1_000_000 * u64::from(at)));
        assert_eq!(poll_us(patience), 300);
    }

    #[test]
    fn after_polling_in_vain_twice_it_sleeps_at_once() {
        let mut patience = after(12);
        for polls_us in [1_200, 300, 0, 0] {
            assert_eq!(poll_us(patience.clone()), polls_us);
            patience.polls_again(2_000);
            assert!(!patience.polls_again(2_000 + polls_us));
            // A timer, or woken for nothing: the next wait begins anew.
            patience.ended();
        }
    }

    #[test]
    fn woken_for_nothing_it_sleeps_again() {
        let mut patience = after(12);
        assert!(patience.polls_again(2_000));
        assert!(!patience.polls_again(2_000 + POLL_US_MAX));
        assert!(!patience.polls_again(2_000 + POLL_US_MAX + 1));
    }

    #[test]
    fn a_long_wait_ends_the_run() {
        let mut patience = after(12);
        patience.polls_again(2_000);
        patience.found(2_000 + POLL_US_MAX + 1);
        assert_eq!(poll_us(patience.clone()), 0);
        for _ in 0..SHORT_WAITS_MIN {
            assert!(!patience.polls_again(5_000));
            patience.found(5_000);
        }
        assert_eq!(poll_us(patience), 300);
    }

    #[test]
    fn short_sleeps_are_short_waits() {
        let mut patience = Patience::default();
        for _ in 0..SHORT_WAITS_MIN {
            assert!(!patience.polls_again(5_000));
            patience.found(5_000 + POLL_US_MAX);
        }
        assert_eq!(poll_us(patience), 300);
    }

    #[test]
    fn a_timer_neither_makes_nor_ends_a_run() {
        let mut patience = after(5);
        assert!(patience.polls_again(2_000));
        patience.ended();
        assert_eq!(poll_us(patience), 500);
    }
}
