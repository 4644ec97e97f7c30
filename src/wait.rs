//! How a thread waits: looking a while, or asleep.
//!
//! Waking a thread that sleeps on another core costs more than most turns of a role
//! do (30 µs and more). So a thread that expects input soon looks again and again,
//! yielding its core in between to whoever has something to do, and lies down only
//! when that was in vain. What it expects is what has been: it looks only after
//! several short waits in a row, and one look in vain ends that. An idle process
//! therefore sleeps, and a busy one hardly does.
//!
//! **Does not** read a clock, yield, or sleep: it says which, and whoever waits does it.

use crate::types::Time;

/// How long a thread looks before it sleeps. Measured with three replicas on two cores:
/// at 60 µs one line in flight is twice as fast as with threads that sleep at once, but
/// 64 are not; at 300 µs these are half as fast again, and lines that are synced gain
/// as well; at 500 µs an idle process uses twice what it must.
pub const LOOK_US: u64 = 300;

/// So many waits in a row must have been short before a thread looks instead of
/// sleeping: more than a heartbeat brings, so that an idle cluster sleeps.
const SHORT_WAITS_MIN: u32 = 3;

/// What one thread expects of its next wait.
#[derive(Debug, Clone)]
pub struct Patience {
    look_us: u64,
    short_waits: u32,
    since: Option<Time>,
}

impl Patience {
    /// For a thread that looks for at most `look_us` before it sleeps; a wait is short
    /// if it takes no longer.
    pub const fn new(look_us: u64) -> Self {
        Patience { look_us, short_waits: 0, since: None }
    }

    /// Nothing is there at `now`: whether to yield and look again, rather than sleep.
    pub fn looks_again(&mut self, now: Time) -> bool {
        let since = *self.since.get_or_insert(now);
        if self.short_waits < SHORT_WAITS_MIN {
            return false;
        }
        let looks = now.since_us(since) < self.look_us;
        if !looks {
            self.short_waits = 0;
        }
        looks
    }

    /// Something was there at `now`, at once or after a wait.
    pub fn found(&mut self, now: Time) {
        let waited_us = self.since.take().map_or(0, |since| now.since_us(since));
        self.short_waits =
            if waited_us <= self.look_us { SHORT_WAITS_MIN.min(self.short_waits + 1) } else { 0 };
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
        let mut patience = Patience::new(LOOK_US);
        for _ in 0..short_waits {
            patience.looks_again(Time(990));
            patience.found(Time(1_000));
        }
        patience
    }

    #[test]
    fn only_a_run_of_short_waits_makes_it_look() {
        for short_waits in 0..SHORT_WAITS_MIN {
            assert!(!after(short_waits).looks_again(Time(1_000)));
        }
        assert!(after(SHORT_WAITS_MIN).looks_again(Time(1_000)));
    }

    #[test]
    fn input_that_was_there_at_once_counts_as_a_short_wait() {
        let mut patience = Patience::new(LOOK_US);
        (0..SHORT_WAITS_MIN).for_each(|at| patience.found(Time(1_000_000 * u64::from(at))));
        assert!(patience.looks_again(Time(9_000_000)));
    }

    #[test]
    fn it_looks_for_a_bounded_time_and_after_a_look_in_vain_it_sleeps_at_once() {
        let mut patience = after(SHORT_WAITS_MIN);
        assert!(patience.looks_again(Time(2_000)));
        assert!(patience.looks_again(Time(2_000 + LOOK_US - 1)));
        assert!(!patience.looks_again(Time(2_000 + LOOK_US)));
        // Woken for nothing: the wait goes on, and so does the sleep.
        assert!(!patience.looks_again(Time(2_000 + LOOK_US + 1)));
        patience.found(Time(52_000));
        assert!(!patience.looks_again(Time(52_001)));
    }

    #[test]
    fn a_long_wait_ends_the_run() {
        let mut patience = after(SHORT_WAITS_MIN - 1);
        assert!(!patience.looks_again(Time(2_000)));
        patience.found(Time(2_000 + LOOK_US + 1));
        for short_waits in 0..SHORT_WAITS_MIN {
            assert!(!patience.looks_again(Time(3_000)), "{short_waits}");
            patience.found(Time(3_000));
        }
        assert!(patience.looks_again(Time(3_000)));
    }

    #[test]
    fn short_sleeps_are_short_waits() {
        let mut patience = Patience::new(LOOK_US);
        for _ in 0..SHORT_WAITS_MIN {
            assert!(!patience.looks_again(Time(5_000)));
            patience.found(Time(5_000 + LOOK_US));
        }
        assert!(patience.looks_again(Time(6_000)));
    }

    #[test]
    fn a_timer_neither_makes_nor_ends_a_run() {
        let mut patience = after(SHORT_WAITS_MIN);
        assert!(patience.looks_again(Time(2_000)));
        patience.ended();
        // The next wait begins anew.
        assert!(patience.looks_again(Time(2_050)));
        assert!(patience.looks_again(Time(2_050 + LOOK_US - 1)));
    }
}
