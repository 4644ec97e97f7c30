//! Whether long datagrams arrive, as the traffic itself shows. (W5)
//!
//! A long datagram asks for word of its arrival, unless one that was at least as long is known to
//! have arrived within [`CONFIRM_US`]. The receiver's word names the end of the highest datagram
//! that has arrived, and so proves that the one which ends there has arrived. Of those before it,
//! it proves nothing: a receiver does not miss what was lost before it heard anything. Only if
//! that word stays out for [`DOUBTED_MIN`] datagrams do probes ask the path
//! ([`length`](super::length)): one or two are lost by chance.
//!
//! **Guarantees.** At most [`MARKS_MAX`] datagrams are remembered. Where more are under way the
//! oldest are, because word of those comes first.
//!
//! **Does not** decide how long datagrams may be, or read a clock. Times are microseconds since
//! any fixed moment.

use super::PATH_BYTES_MIN;
use super::length::CONFIRM_US;
use super::receipt::is_before;
use std::collections::VecDeque;

/// So many long datagrams without word of their arrival make the path's length doubtful.
pub const DOUBTED_MIN: u32 = 4;

/// Long datagrams that left so long ago are forgotten.
const FORGOTTEN_US: u64 = 5 * CONFIRM_US;

/// The most datagrams whose arrival is waited for.
pub const MARKS_MAX: usize = 8;

/// A long datagram that has asked for word of its arrival.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Where it ended in the flow.
    end: u32,
    bytes: usize,
}

/// A long datagram that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Its length.
    pub bytes: usize,
    /// When word of it came.
    pub at: u64,
}

/// Long datagrams that have left, of which none as long is known to have arrived.
#[derive(Debug, Clone, Copy)]
struct Unproven {
    /// When the first of them left.
    since: u64,
    /// When the last did.
    last_at: u64,
    /// The length of the longest.
    bytes: usize,
    /// How many they are.
    count: u32,
}

/// The long datagrams to one peer: which lengths have arrived, and which are in doubt.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The oldest first.
    marks: VecDeque<Mark>,
    proof: Option<Proof>,
    unproven: Option<Unproven>,
}

impl Evidence {
    /// A datagram of this many bytes leaves, and ends at `end` in the flow. Returns whether it
    /// should ask for word.
    pub fn sent(&mut self, now: u64, end: u32, bytes: usize) -> bool {
        let is_proven = |proof: Proof| bytes <= proof.bytes && now < proof.at + CONFIRM_US;
        if bytes <= PATH_BYTES_MIN || self.proof.is_some_and(is_proven) {
            return false;
        }
        let before = self.unproven.filter(|it| now < it.last_at + FORGOTTEN_US);
        self.unproven = Some(Unproven {
            since: before.map_or(now, |it| it.since),
            last_at: now,
            bytes: before.map_or(bytes, |it| it.bytes.max(bytes)),
            count: before.map_or(1, |it| it.count.saturating_add(1)),
        });
        if self.marks.len() < MARKS_MAX {
            self.marks.push_back(Mark { end, bytes });
        }
        true
    }

    /// The peer says that the highest datagram that has arrived ended at `reached`.
    pub fn heard(&mut self, now: u64, reached: u32) {
        while let Some(&Mark { end, bytes }) = self.marks.front()
            && !is_before(reached, end)
        {
            self.marks.pop_front();
            if end == reached {
                self.arrived(now, bytes);
            }
        }
    }

    /// A datagram of this many bytes has arrived: one that was sent, or a probe.
    pub fn arrived(&mut self, now: u64, bytes: usize) {
        self.proof = Some(Proof { bytes, at: now });
        self.unproven = self.unproven.filter(|it| it.bytes > bytes);
    }

    /// The latest proof, if there ever was one.
    pub fn proof(&self) -> Option<Proof> {
        self.proof
    }

    /// Since when long datagrams have left of which none as long is known to have arrived, if
    /// they are many enough for doubt.
    pub fn doubted_since(&self) -> Option<u64> {
        self.unproven.filter(|it| it.count >= DOUBTED_MIN).map(|it| it.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: usize = PATH_BYTES_MIN;

    fn proof(bytes: usize, at: u64) -> Option<Proof> {
        Some(Proof { bytes, at })
    }

    /// So many datagrams of 1,200 bytes have left at 0, and nothing is known of them.
    fn unproven(count: u32) -> Evidence {
        let mut evidence = Evidence::default();
        for number in 1..=count {
            assert!(evidence.sent(0, number * 1_200, 1_200));
        }
        evidence
    }

    #[test]
    fn a_datagram_that_ends_where_the_highest_did_has_arrived() {
        let mut evidence = Evidence::default();
        assert!(!evidence.sent(0, 548, SHORT));
        assert!(evidence.sent(10, 1_097, SHORT + 1) && evidence.sent(20, 2_297, 1_200));
        evidence.heard(30, 548);
        assert_eq!(evidence.proof(), None);
        evidence.heard(40, 2_297);
        assert_eq!(evidence.proof(), proof(1_200, 40));
        assert!(evidence.unproven.is_none() && evidence.marks.is_empty());
    }

    #[test]
    fn what_was_passed_over_may_be_lost() {
        let mut evidence = unproven(DOUBTED_MIN);
        evidence.heard(20, DOUBTED_MIN * 1_200 + 100);
        assert_eq!((evidence.proof(), evidence.doubted_since()), (None, Some(0)));
        assert!(evidence.marks.is_empty());
    }

    #[test]
    fn a_few_without_word_are_no_reason_for_doubt() {
        let mut evidence = unproven(DOUBTED_MIN - 1);
        assert_eq!(evidence.doubted_since(), None);
        evidence.sent(10, DOUBTED_MIN * 1_200, SHORT + 1);
        assert_eq!(evidence.doubted_since(), Some(0));
        evidence.arrived(20, 1_199);
        assert_eq!(evidence.doubted_since(), Some(0), "a shorter one proves nothing of a longer");
        evidence.arrived(30, 1_200);
        assert_eq!((evidence.proof(), evidence.doubted_since()), (proof(1_200, 30), None));
    }

    #[test]
    fn word_is_asked_for_once_a_second_and_for_what_is_longer() {
        let mut evidence = unproven(1);
        evidence.heard(20, 1_200);
        assert!(!evidence.sent(20 + CONFIRM_US - 1, 2_400, 1_200));
        assert!(evidence.sent(20 + CONFIRM_US - 1, 3_601, 1_201));
        assert!(evidence.sent(20 + CONFIRM_US, 4_801, 1_200));
    }

    #[test]
    fn what_left_long_ago_is_forgotten() {
        for (later, expected) in [(FORGOTTEN_US - 1, Some(0)), (FORGOTTEN_US, None)] {
            let mut evidence = unproven(DOUBTED_MIN);
            evidence.sent(later, 6_000, 1_200);
            assert_eq!(evidence.doubted_since(), expected);
        }
    }

    #[test]
    fn the_oldest_of_what_is_under_way_is_remembered_across_the_end_of_the_numbers() {
        let mut evidence = Evidence::default();
        let end = |number: u32| (u32::MAX - 2_000).wrapping_add(number * 1_000);
        for number in 1..=MARKS_MAX as u32 + 1 {
            assert!(evidence.sent(0, end(number), 1_000));
        }
        evidence.heard(5, end(MARKS_MAX as u32 + 1));
        assert_eq!(evidence.proof(), None, "that one is not remembered");
        for number in 11..=18 {
            evidence.sent(5, end(number), 1_000);
        }
        evidence.heard(6, end(11));
        assert_eq!(evidence.proof(), proof(1_000, 6));
        assert_eq!(evidence.marks.len(), MARKS_MAX - 1);
    }
}
