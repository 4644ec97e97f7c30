//! Two processes on copies of one data directory (S12).

use super::*;
use multipaxos::message::{Seen, Voter};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::BootId;

/// Another life of replica 2, as of a process that runs on a copy of its directory.
fn beside() -> Voter {
    Voter { boot: BootId(77), ..voter(R2) }
}

/// What both lives of replica 2 say, round after round. Each echoes what was said last.
fn both_live(seat: &mut Subject, us: u64) -> Vec<Envelope> {
    let (end, mut round, mut all) = (seat.now.plus_us(us), 0, Vec::new());
    while seat.now < end {
        let sent = seat.wait_us(HEARTBEAT_US / 2);
        for (_, mine) in heartbeats(&sent).into_iter().filter(|(to, _)| *to == R2) {
            round += 1;
            for voter in [voter(R2), beside()] {
                let beat = Heartbeat { voter, echo: mine.round, ..heartbeat(R2, round) };
                all.extend(seat.handle(Input::Heartbeat(R2, Box::new(beat))));
            }
        }
        all.extend(sent);
    }
    all
}

/// It hears no leader. Returns the round in which it begins to ask for pre-votes.
fn asks(seat: &mut Subject) -> u64 {
    let mut last = None;
    for _ in 0..2_000 {
        for (_, _, round) in pre_votes(&seat.wait_us(HEARTBEAT_US / 2)) {
            if last.replace(round).is_some_and(|before| before < round) {
                return round;
            }
        }
    }
    panic!("it never asks");
}

fn told_of_copies(envelopes: &[Envelope]) -> Vec<ReplicaSet> {
    let each = told_learner(envelopes).into_iter().filter_map(|input| match input {
        learner::Input::Beside(set) => Some(set),
        _ => None,
    });
    each.collect()
}

#[test]
fn neither_of_two_lives_of_a_member_has_a_vote() {
    let mut seat = proposer(3, R1);
    let sent = both_live(&mut seat, 4 * HEARTBEAT_US);
    let mut two = ReplicaSet::EMPTY;
    two.insert(R2);
    assert_eq!(told_of_copies(&sent).last(), Some(&two), "the other roles are told");
    // Both are told, each of the other.
    let words: BTreeSet<u64> = heartbeats(&sent)
        .into_iter()
        .filter(|(to, _)| *to == R2)
        .filter_map(|(_, mine)| mine.seen.filter(|seen| seen.of == R2))
        .map(|seen| seen.boot.0)
        .collect();
    assert_eq!(words.into_iter().collect::<Vec<_>>(), [voter(R2).boot.0, 77]);
    // No grant of either leads to a campaign.
    let round = asks(&mut seat);
    for voter in [voter(R2), beside()] {
        let granted = ToProposer::PreVoteReply { round, granted: true, promised: None, voter };
        let sent = seat.handle(Input::Peer(R2, granted));
        assert_eq!((prepares(&sent), to_replicas(&sent)), (vec![], vec![]));
    }
    assert_ne!(prepares(&seat.handle(grant(R0, round))), [], "another member's does");
}

#[test]
fn a_member_of_which_one_life_is_left_has_a_vote_again() {
    let mut seat = proposer(3, R1);
    both_live(&mut seat, 4 * HEARTBEAT_US);
    in_touch(&mut seat, 3_200_000, &[R2]);
    let round = asks(&mut seat);
    assert_ne!(prepares(&seat.handle(grant(R2, round))), []);
}

#[test]
fn a_replica_that_is_told_of_its_copy_does_not_campaign_until_it_is_not_told_so() {
    let mut seat = first_leader(3);
    let seen = Some(Seen { of: R0, boot: BootId(77), at: None, reached: 0 });
    let beat = |boot, seen: Option<Seen>, round| {
        let seen = seen.map(|seen| Seen { boot, ..seen });
        Input::Heartbeat(R1, Box::new(Heartbeat { seen, ..heartbeat(R1, round) }))
    };
    seat.handle(beat(voter(R0).boot, seen, 1));
    assert!(seat.role.leading().is_some(), "that is this life");
    seat.handle(beat(BootId(77), seen, 2));
    assert_eq!(seat.role.leading(), None);
    let sent = seat.wait_us(2_900_000);
    assert_eq!(pre_votes(&sent), []);
    assert!(heartbeats(&sent).len() > 50, "it is heard, so that it may be judged");
    let granted = seat.handle(Input::Peer(R1, ToProposer::PreVote { ballot: Ballot(4), round: 9 }));
    let is_refused = |(_, message): &(ReplicaId, ToProposer)| {
        matches!(message, ToProposer::PreVoteReply { granted: false, .. })
    };
    assert!(to_proposers(&granted).iter().any(is_refused));
    let sent = seat.wait_us(200_000 + 2 * ELECTION_MAX_US);
    assert_ne!(pre_votes(&sent), [], "it was not told again");
}
