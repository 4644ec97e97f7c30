//! Markers: the parts of a replica's log that other programs act on.
//!
//! The driver knows a replica only from outside, so it reads the replica's stderr. It
//! starts clients once every replica has logged [`WARM_UP_COMPLETE`], and it learns from
//! [`Leads`] which ballot leads. Both sides take the words from here. The writer logs a
//! marker as the end of a line, `replica <id>: <marker>`. A line that only has the words
//! somewhere inside is no marker.

use crate::types::Ballot;
use std::fmt;

/// This replica takes part, as a member or as one that only follows.
pub const WARM_UP_COMPLETE: &str = "warm-up complete";

const LEADS: &str = "leads with ballot ";

/// This replica has become the leader of this ballot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leads(pub Ballot);

impl fmt::Display for Leads {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{LEADS}{}", self.0)
    }
}

impl Leads {
    /// The marker of this line of a replica's log, if the line carries one.
    pub fn read(line: &str) -> Option<Leads> {
        let ballot = marker(line)?.strip_prefix(LEADS)?;
        ballot.parse().ok().map(Leads)
    }
}

/// Whether this line of a replica's log says that its warm-up is complete.
pub fn is_warm(line: &str) -> bool {
    marker(line) == Some(WARM_UP_COMPLETE)
}

/// The text of a line of a replica's log after `replica <id>: `.
fn marker(line: &str) -> Option<&str> {
    let (_, replica) = line.split_once("replica ")?;
    let (id, said) = replica.split_once(": ")?;
    id.parse::<u8>().is_ok().then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        for ballot in [Ballot(0), Ballot(17), Ballot::of(3, 17)] {
            let line = format!("2026-11-28T12:00:00.000Z [INFO] replica 1: {}", Leads(ballot));
            assert_eq!(Leads::read(&line), Some(Leads(ballot)));
            assert!(!is_warm(&line));
        }
        let line = format!("2026-11-28T12:00:00.000Z [INFO] replica 62: {WARM_UP_COMPLETE}");
        assert!(is_warm(&line));
        assert_eq!(Leads::read(&line), None);
    }

    #[test]
    fn lines_that_only_mention_the_words_are_no_markers() {
        for line in [
            "",
            "leads with ballot 3",
            "replica x: leads with ballot 3",
            "replica 1: no longer leads with ballot 3: an acceptor has promised a higher one",
            "replica 1: leads with ballot 3, or so it seems",
            "replica 1: leads with ballot",
            "replica 1: waits until warm-up complete",
            "warm-up complete",
        ] {
            assert_eq!(Leads::read(line), None, "{line}");
            assert!(!is_warm(line), "{line}");
        }
    }
}
