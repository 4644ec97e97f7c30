//! The states of a proposer: how they compare, and how they are printed.

use super::*;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Replica 1 in each state. It was built this many microseconds before it acts.
fn states(us: u64) -> [Proposer; 4] {
    let waited = || {
        let mut seat = proposer(3, R1);
        seat.wait_us(us);
        seat
    };
    let (following, mut voting) = (waited(), waited());
    while pre_votes(&voting.wait_us(HEARTBEAT_US)).is_empty() {}
    let (mut campaigning, mut leading) = (waited(), waited());
    campaign(&mut campaigning, R0);
    succeed(&mut leading, R0, &[]);
    [following, voting, campaigning, leading].map(|seat| seat.role)
}

#[test]
fn each_state_differs_from_the_others_whenever_it_began() {
    let hash = |proposer: &Proposer| {
        let mut hasher = DefaultHasher::new();
        proposer.hash(&mut hasher);
        hasher.finish()
    };
    for (at, one) in states(0).iter().enumerate() {
        for (other_at, other) in states(1_000).iter().enumerate() {
            let same = at == other_at;
            assert_eq!(one == other, same, "{at} and {other_at}");
            assert_eq!(hash(one) == hash(other), same, "{at} and {other_at}");
        }
    }
}

#[test]
fn each_state_is_told_in_words() {
    let expected = [
        "follows nobody",
        "asks for pre-votes for ballot 1",
        "campaigns with ballot 1",
        "leads with ballot 1",
    ];
    assert_eq!(states(0).map(|proposer| proposer.in_words()), expected);
}
