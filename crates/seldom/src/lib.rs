//! Says a thing once, and then at most once a minute, with a count.
//!
//! A fault that lasts happens thousands of times, and a log that repeats it each time hides
//! everything else. A [`Seldom`] belongs to one kind of fault. Its owner asks it each time the
//! fault happens whether to write the line now, and puts the [`Repeats`] at the end of it.
//!
//! What lasts for a while, such as the silence of a peer, is a [`Spell`]: its beginning is said as
//! seldom, and its end if its beginning was.
//!
//! **Does not** read a clock or write anything. Times are microseconds since any fixed moment.

use std::fmt;

/// The least time between two lines about one thing.
pub const AGAIN_US: u64 = 60_000_000;

/// Knows when a thing was said last, and how often it has happened since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seldom {
    /// When it may be said again; none if it was never said.
    next_us: Option<u64>,
    /// How often it has happened since it was said.
    unsaid: u64,
}

/// How often a thing has happened since its last line. Shown, it is the end of the next line:
/// nothing, or ` (41 times since the last such line)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats(pub u64);

impl Seldom {
    /// For a thing that has not happened yet.
    pub const fn new() -> Self {
        Seldom { next_us: None, unsaid: 0 }
    }

    /// It has happened once more. Returns something if it is to be said now.
    pub fn happened(&mut self, now_us: u64) -> Option<Repeats> {
        if self.next_us.is_some_and(|next| now_us < next) {
            self.unsaid += 1;
            return None;
        }
        self.next_us = Some(now_us.saturating_add(AGAIN_US));
        Some(Repeats(std::mem::take(&mut self.unsaid)))
    }
}

/// A state that begins and ends, and may do so often. Within a minute, the last word about it
/// is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Spell {
    lasts: bool,
    /// Whether the user was told that it lasts.
    is_said: bool,
    /// How often it has begun since a beginning was said.
    begun: u64,
    /// When a beginning may be said again; none if it was never said.
    next_us: Option<u64>,
}

impl Spell {
    /// It has begun, or lasts. Returns something if that is to be said now.
    pub fn lasts(&mut self, now_us: u64) -> Option<Repeats> {
        if !self.lasts {
            self.lasts = true;
            self.begun += 1;
        }
        if self.is_said || self.next_us.is_some_and(|next| now_us < next) {
            return None;
        }
        self.is_said = true;
        self.next_us = Some(now_us.saturating_add(AGAIN_US));
        Some(Repeats(std::mem::take(&mut self.begun) - 1))
    }

    /// It does not last any more, or never did. Returns whether that is to be said.
    pub fn ends(&mut self) -> bool {
        self.lasts = false;
        std::mem::take(&mut self.is_said)
    }
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            unsaid => write!(f, " ({} times since the last such line)", unsaid + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_said_at_once_and_then_once_a_minute_with_a_count() {
        let mut fault = Seldom::new();
        let mut said = Vec::new();
        for second in 0..=180 {
            if let Some(repeats) = fault.happened(5 + second * 1_000_000) {
                said.push((second, repeats.to_string()));
            }
        }
        let counted = " (60 times since the last such line)".to_owned();
        let expected = [(0, String::new()), (60, counted.clone()), (120, counted.clone())];
        assert_eq!(said[..3], expected);
        assert_eq!(said[3..], [(180, counted)]);
    }

    #[test]
    fn a_thing_that_is_rare_is_said_each_time_without_a_count() {
        let mut fault = Seldom::new();
        for at in [0, AGAIN_US, 5 * AGAIN_US] {
            assert_eq!(fault.happened(at), Some(Repeats(0)));
        }
        assert_eq!(fault.happened(6 * AGAIN_US - 1), None);
        assert_eq!(fault.happened(u64::MAX), Some(Repeats(1)));
        assert_eq!(fault.happened(u64::MAX), Some(Repeats(0)), "time has an end");
    }

    #[test]
    fn a_spell_that_is_rare_is_said_with_its_end() {
        let mut silence = Spell::default();
        assert!(!silence.ends(), "it has never begun");
        for at in [3, AGAIN_US + 3, 7 * AGAIN_US] {
            assert_eq!(silence.lasts(at), Some(Repeats(0)));
            assert_eq!(silence.lasts(at + AGAIN_US), None, "it lasts still");
            assert!(silence.ends());
            assert!(!silence.ends(), "once");
        }
    }

    #[test]
    fn a_spell_that_flaps_is_said_once_a_minute_and_in_the_end_what_lasts() {
        let mut silence = Spell::default();
        let mut said = Vec::new();
        for second in 0..130 {
            // Each second it begins and ends; in the last ten seconds it lasts.
            let now_us = second * 1_000_000;
            said.extend(silence.lasts(now_us).map(|repeats| (second, repeats.to_string())));
            if second < 120 && silence.ends() {
                said.push((second, "over".to_owned()));
            }
        }
        let counted = " (60 times since the last such line)";
        let expected = [(0, ""), (0, "over"), (60, counted), (60, "over"), (120, counted)]
            .map(|(at, text)| (at, text.to_owned()));
        assert_eq!(said, expected);
        let mut late = Spell::default();
        assert!(late.lasts(0).is_some() && late.ends());
        assert_eq!((late.lasts(5), late.lasts(AGAIN_US - 1)), (None, None));
        assert_eq!(late.lasts(AGAIN_US), Some(Repeats(0)), "it lasts, and nobody was told");
    }
}
