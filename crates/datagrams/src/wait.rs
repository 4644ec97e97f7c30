//! How a thread waits for input: it polls for a while, or it sleeps.
//!
//! Waking a thread that sleeps on another core takes 30 µs and more, longer than most turns
//! of a thread. So a thread that expects input soon polls for it, and yields its core to
//! other threads between two polls. A thread learns from its last waits: it polls only after
//! several short waits in a row, and longer after more of them. After a poll that found
//! nothing it polls less. So an idle process sleeps, and a busy one hardly ever does, on a
//! fast host and on a slow one alike.
//!
//! Polling takes processor time, and not every process has enough of it. Under a quota, the
//! polls of a period use up what its work needs, and the whole process stands still until the
//! next. Beside busy processes of others, a thread that yields is put behind them. Both show in
//! the same way: between two polls of a wait a thread was off its core for milliseconds. If that
//! adds up, no thread of the process polls for some seconds (`Absences`).
//!
//! **Does not** read a clock, yield, or sleep: it tells the caller which of them to do.
//! Times are microseconds since any fixed moment, about the same one for all threads of a
//! process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

/// Between two polls a thread yields, and comes back within a turn or two of the others. If it
/// was away for at least this long, others had its core, or its process was throttled.
const ABSENCE_US_MIN: u64 = 4_000;

/// If the threads of a process were absent for longer than this within about a second, none of
/// them polls for a while. A process that was throttled was often absent for longer at once.
const ABSENT_US_MAX: u64 = 20_000;

/// This part of the time that passes is taken off the absences: 20 ms in a second.
const FORGIVEN_DIVISOR: u64 = 50;

/// For so long no thread polls at first. A try under a quota makes a process stand still for up
/// to a tenth of a second, so it must be rare.
const PAUSE_US_MIN: u64 = 10_000_000;

/// If a try fails soon, the next pause is twice as long, up to this bound: then tries take a
/// thousandth of the time.
const PAUSE_US_MAX: u64 = 80_000_000;

/// Tells one thread how to wait.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    short_waits: u32,
    /// When this wait began.
    since: Option<u64>,
    /// When the thread yielded last in this wait.
    yielded_at: Option<u64>,
    absences: Arc<Absences>,
}

impl Patience {
    /// For another thread of the same process.
    #[must_use]
    pub fn of_another_thread(&self) -> Self {
        Patience { absences: Arc::clone(&self.absences), ..Patience::default() }
    }

    /// The caller found no input at `now`. Returns whether to yield and poll again, rather
    /// than sleep.
    pub fn polls_again(&mut self, now: u64) -> bool {
        let since = *self.since.get_or_insert(now);
        self.back(now);
        if self.short_waits < SHORT_WAITS_MIN || !self.absences.may_poll(now) {
            return false;
        }
        let polls = now.saturating_sub(since) < u64::from(self.short_waits) * POLL_STEP_US;
        if polls {
            self.yielded_at = Some(now);
        } else {
            self.short_waits /= VAIN_POLL_DIVISOR;
        }
        polls
    }

    /// The caller found input at `now`, at once or after a wait.
    pub fn found(&mut self, now: u64) {
        self.back(now);
        let waited_us = self.since.take().map_or(0, |since| now.saturating_sub(since));
        let short = waited_us <= POLL_US_MAX;
        self.short_waits = if short { SHORT_WAITS_MAX.min(self.short_waits + 1) } else { 0 };
    }

    /// The wait ended without input. A timer says nothing about when input comes.
    pub fn ended(&mut self) {
        self.since = None;
        self.yielded_at = None;
    }

    /// The thread has done something else than to yield since it polled.
    pub fn worked(&mut self) {
        self.yielded_at = None;
    }

    /// The thread runs at `now`, perhaps after it has yielded.
    fn back(&mut self, now: u64) {
        if let Some(yielded_at) = self.yielded_at.take() {
            self.absences.back(yielded_at, now);
        }
    }
}

/// Whether the threads of a process may poll, after what yielding has cost them.
#[derive(Debug, Default)]
struct Absences {
    /// No thread polls before this.
    polls_from: AtomicU64,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// The sum of the absences until `at`, less what was forgiven.
    absent_us: u64,
    at: u64,
    /// The length of the last pause.
    pause_us: u64,
}

impl Absences {
    fn may_poll(&self, now: u64) -> bool {
        now >= self.polls_from.load(Ordering::Relaxed)
    }

    /// A thread has yielded at `from` and runs again at `now`.
    fn back(&self, from: u64, now: u64) {
        // What another thread has noticed already is over, and so is a pause.
        if now.saturating_sub(from) < ABSENCE_US_MIN || !self.may_poll(now) {
            return;
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let Counted { absent_us, at, pause_us } = &mut *counted;
        let forgiven_us = now.saturating_sub(*at) / FORGIVEN_DIVISOR;
        // Several threads are away at the same time: that counts once.
        *absent_us = absent_us.saturating_sub(forgiven_us) + now.saturating_sub(from.max(*at));
        *at = now.max(*at);
        if *absent_us <= ABSENT_US_MAX {
            return;
        }
        *absent_us = 0;
        let tried_us = now.saturating_sub(self.polls_from.load(Ordering::Relaxed));
        let again = tried_us < *pause_us;
        *pause_us = if again { PAUSE_US_MAX.min(2 * *pause_us) } else { PAUSE_US_MIN };
        self.polls_from.store(now + *pause_us, Ordering::Relaxed);
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

    /// A wait with one poll at `from`, whose yield takes this long and finds input.
    fn yields(patience: &mut Patience, from: u64, away_us: u64) {
        assert!(patience.polls_again(from), "it polls");
        patience.found(from + away_us);
        for _ in 0..SHORT_WAITS_MAX {
            patience.found(from + away_us);
        }
    }

    /// From when on it polls again, if it does not poll at `now`.
    fn polls_again_from(patience: &Patience, now: u64) -> u64 {
        let polls = |at: u64| patience.clone().polls_again(at);
        let step = 1_000_000;
        let by = (0..=80).find(|steps| polls(now + steps * step)).expect("it polls again");
        now + by * step
    }

    #[test]
    fn a_thread_that_was_off_its_core_for_long_does_not_poll_for_a_while() {
        let mut patience = after(12);
        let from = 1_000_000;
        yields(&mut patience, from, ABSENT_US_MAX);
        assert!(patience.clone().polls_again(from + ABSENT_US_MAX), "that may happen");
        let mut patience = after(12);
        yields(&mut patience, from, ABSENT_US_MAX + 1);
        let back = from + ABSENT_US_MAX + 1;
        assert!(!patience.clone().polls_again(back));
        assert!(!patience.clone().polls_again(back + PAUSE_US_MIN - 1));
        assert!(patience.polls_again(back + PAUSE_US_MIN));
    }

    #[test]
    fn an_absence_counts_where_the_next_look_finds_nothing() {
        let mut patience = after(12);
        assert!(patience.polls_again(1_000_000));
        assert!(!patience.polls_again(1_080_000));
        patience.found(1_080_000);
        (0..SHORT_WAITS_MAX).for_each(|_| patience.found(1_080_000));
        assert_eq!(polls_again_from(&patience, 1_080_000), 1_080_000 + PAUSE_US_MIN);
    }

    #[test]
    fn short_absences_count_together_and_are_forgiven() {
        let absences_until_it_sleeps = |every_us: u64| {
            let mut patience = after(12);
            (1..=100).find(|nth| {
                let from = nth * every_us;
                yields(&mut patience, from, 5_000);
                !patience.clone().polls_again(from + 5_000)
            })
        };
        assert_eq!(absences_until_it_sleeps(10_000), Some(5));
        assert_eq!(absences_until_it_sleeps(250_000), None);
    }

    #[test]
    fn what_one_thread_notices_all_threads_of_its_process_know() {
        let mut one = after(12);
        let mut two = Patience { short_waits: SHORT_WAITS_MAX, ..one.of_another_thread() };
        assert!(two.polls_again(990_000));
        yields(&mut one, 1_000_000, 80_000);
        // It was absent at the same time, which makes the pause no longer.
        assert!(!two.polls_again(1_090_000));
        two.ended();
        let polls_from = 1_080_000 + PAUSE_US_MIN;
        for thread in [&one, &Patience { short_waits: SHORT_WAITS_MAX, ..two }] {
            assert_eq!(polls_again_from(thread, 1_080_000), polls_from);
        }
        let mut process = Patience { absences: Arc::default(), ..after(12) };
        assert!(process.polls_again(2_000_000), "another process does");
    }

    #[test]
    fn an_absence_of_several_threads_counts_once() {
        let one = after(12);
        for _ in 0..100 {
            let mut thread = Patience { short_waits: SHORT_WAITS_MAX, ..one.of_another_thread() };
            yields(&mut thread, 1_000_000, ABSENT_US_MAX);
        }
        let mut thread = Patience { short_waits: SHORT_WAITS_MAX, ..one };
        assert!(thread.polls_again(1_000_000 + ABSENT_US_MAX));
    }

    #[test]
    fn work_between_two_looks_is_no_absence() {
        let mut patience = after(12);
        assert!(patience.polls_again(1_000_000));
        patience.worked();
        patience.found(1_080_000);
        (0..SHORT_WAITS_MAX).for_each(|_| patience.found(1_080_000));
        assert!(patience.polls_again(1_080_000));
    }

    #[test]
    fn turns_of_other_threads_are_no_absence() {
        let mut patience = after(12);
        for nth in 1..1_000 {
            yields(&mut patience, nth * 10_000, ABSENCE_US_MIN - 1);
        }
        assert!(patience.polls_again(10_000_000));
    }

    #[test]
    fn each_try_that_fails_soon_makes_the_next_one_later_up_to_a_bound() {
        let mut patience = after(12);
        let mut from = 1_000_000;
        for seconds in [10, 20, 40, 80, 80] {
            yields(&mut patience, from, 80_000);
            from += 80_000;
            assert_eq!(polls_again_from(&patience, from), from + seconds * 1_000_000);
            from += seconds * 1_000_000;
        }
        // It has polled for as long as it had not: what was is forgotten.
        from += PAUSE_US_MAX;
        yields(&mut patience, from, 80_000);
        assert_eq!(polls_again_from(&patience, from + 80_000), from + 80_000 + PAUSE_US_MIN);
    }

    #[test]
    fn a_sleep_is_no_absence() {
        let mut patience = after(12);
        assert!(patience.polls_again(10_000));
        assert!(!patience.polls_again(10_000 + POLL_US_MAX));
        // It sleeps, and its input comes late, or its timer is due.
        patience.found(1_000_000);
        assert!(!patience.polls_again(1_000_000));
        patience.ended();
        (0..SHORT_WAITS_MAX).for_each(|_| patience.found(2_000_000));
        assert!(patience.polls_again(2_000_000));
    }

    #[test]
    fn a_timer_neither_makes_nor_ends_a_run() {
        let mut patience = after(5);
        assert!(patience.polls_again(2_000));
        patience.ended();
        assert_eq!(poll_us(patience), 500);
    }
}
