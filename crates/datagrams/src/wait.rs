//! How a thread waits: looking a while, or asleep.
//!
//! Waking a thread that sleeps on another core costs more than most turns of a role
//! do (30 µs and more). So a thread that expects input soon looks again and again,
//! yielding its core in between to whoever has something to do, and lies down only
//! when that was in vain. What it expects is what has been: it looks only after
//! several short waits in a row, the longer the more there were, and a look in vain
//! leaves little of that. An idle process therefore sleeps, and a busy one hardly does,
//! on a fast host as on one where a round takes many times as long.
//!
//! **Does not** read a clock, yield, or sleep: it says which, and whoever waits does it.

use crate::types::Time;

/// How long a thread looks for each short wait in a row.
pub const LOOK_STEP_US: u64 = 100;

/// How long a thread looks at most before it sleeps; a wait is short if it takes no longer.
/// Measured with three replicas on two slow cores, where a round takes 130 µs (one line, in
/// memory) to 700 µs (64 lines, synced), against 300 µs however long it has been busy: 1.4
/// times the lines synced with 1 and 64 in flight, as many with 1 in memory. With 2,400 µs
/// there is no more to be gained.
pub const LOOK_US_MAX: u64 = 1_200;

/// So many waits in a row must have been short before a thread looks instead of
/// sleeping: more than a heartbeat brings, so that an idle cluster sleeps.
const SHORT_WAITS_MIN: u32 = 3;

/// More in a row say nothing more.
const SHORT_WAITS_MAX: u32 = (LOOK_US_MAX / LOOK_STEP_US) as u32;

/// What a look in vain leaves of them: a part of so many. From the most it takes two to
/// make a thread sleep at once.
const VAIN_LEAVES: u32 = 4;

/// What one thread expects of its next wait.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    short_waits: u32,
    since: Option<Time>,
}

impl Patience {
    /// Nothing is there at `now`: whether to yield and look again, rather than sleep.
    pub fn looks_again(&mut self, now: Time) -> bool {
        let since = *self.since.get_or_insert(now);
        if self.short_waits < SHORT_WAITS_MIN {
            return false;
        }
        let looks = now.since_us(since) < u64::from(self.short_waits) * LOOK_STEP_US;
        if !looks {
            self.short_waits /= VAIN_LEAVES;
        }
        looks
    }

    /// Something was there at `now`, at once or after a wait.
    pub fn found(&mut self, now: Time) {
        let waited_us = self.since.take().map_or(0, |since| now.since_us(since));
        let short = waited_us <= LOOK_US_MAX;
        self.short_waits = if short { SHORT_WAITS_MAX.min(self.short_waits + 1) } else { 0 };
    }

    /// The wait ended with nothing there: a timer says nothing about input.
    pub fn ended(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After so many short waits, all over at time 1,000.
    fn after(short_waits: u32) -> Patience {
        let mut patience = Patience::default();
        for _ in 0..short_waits {
            patience.looks_again(Time(990));
            patience.found(Time(1_000));
        }
        patience
    }

    /// How long it looks if nothing comes.
    fn look_us(mut patience: Patience) -> u64 {
        (0..).find(|us| !patience.looks_again(Time(1_000_000 + us))).expect("it sleeps")
    }

    #[test]
    fn only_a_run_of_short_waits_makes_it_look() {
        for short_waits in 0..SHORT_WAITS_MIN {
            assert_eq!(look_us(after(short_waits)), 0);
        }
    }

    #[test]
    fn the_longer_the_run_the_longer_it_looks_up_to_a_bound() {
        assert_eq!(look_us(after(3)), 300);
        assert_eq!(look_us(after(4)), 400);
        assert_eq!(look_us(after(11)), 1_100);
        for short_waits in [12, 13, 1_000] {
            assert_eq!(look_us(after(short_waits)), LOOK_US_MAX);
        }
    }

    #[test]
    fn input_that_was_there_at_once_counts_as_a_short_wait() {
        let mut patience = Patience::default();
        (0..SHORT_WAITS_MIN).for_each(|at| patience.found(Time(1_000_000 * u64::from(at))));
        assert_eq!(look_us(patience), 300);
    }

    #[test]
    fn two_looks_in_vain_and_it_sleeps_at_once() {
        let mut patience = after(12);
        for looks_us in [1_200, 300, 0, 0] {
            assert_eq!(look_us(patience.clone()), looks_us);
            patience.looks_again(Time(2_000));
            assert!(!patience.looks_again(Time(2_000 + looks_us)));
            // A timer, or woken for nothing: the next wait begins anew.
            patience.ended();
        }
    }

    #[test]
    fn woken_for_nothing_it_sleeps_again() {
        let mut patience = after(12);
        assert!(patience.looks_again(Time(2_000)));
        assert!(!patience.looks_again(Time(2_000 + LOOK_US_MAX)));
        assert!(!patience.looks_again(Time(2_000 + LOOK_US_MAX + 1)));
    }

    #[test]
    fn a_long_wait_ends_the_run() {
        let mut patience = after(12);
        patience.looks_again(Time(2_000));
        patience.found(Time(2_000 + LOOK_US_MAX + 1));
        assert_eq!(look_us(patience.clone()), 0);
        for _ in 0..SHORT_WAITS_MIN {
            assert!(!patience.looks_again(Time(5_000)));
            patience.found(Time(5_000));
        }
        assert_eq!(look_us(patience), 300);
    }

    #[test]
    fn short_sleeps_are_short_waits() {
        let mut patience = Patience::default();
        for _ in 0..SHORT_WAITS_MIN {
            assert!(!patience.looks_again(Time(5_000)));
            patience.found(Time(5_000 + LOOK_US_MAX));
        }
        assert_eq!(look_us(patience), 300);
    }

    #[test]
    fn a_timer_neither_makes_nor_ends_a_run() {
        let mut patience = after(5);
        assert!(patience.looks_again(Time(2_000)));
        patience.ended();
        assert_eq!(look_us(patience), 500);
    }
}
