//! A campaign that moves counts like a serving leader, here and at the replicas that hear of it.

use super::*;
use multipaxos::paxos::pace::WAIT_MAX_US;

/// How long the first sync of a disk may take before its replica's campaign moves no more.
const FIRST_SYNC_US: u64 = 1_000_000;

/// A heartbeat of a candidate whose campaign moves.
fn campaigning(from: ReplicaId, round: u64, ballot: u64) -> Input {
    let ballot = Ballot(ballot);
    Input::Heartbeat(
        from,
        Box::new(Heartbeat { ballot, campaigning: true, ..heartbeat(from, round) }),
    )
}

/// The ballot with which the last heartbeat among these messages says that its sender campaigns.
fn said(sent: &[Envelope]) -> Option<Ballot> {
    let (_, heartbeat) = heartbeats(sent).pop().expect("a heartbeat");
    heartbeat.campaigning.then_some(heartbeat.ballot)
}

/// A replica 1 that has just begun to campaign. Its own acceptor has not promised yet.
fn candidate() -> (Subject, Ballot) {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R2);
    (seat, ballot)
}

#[test]
fn a_candidate_says_at_once_that_it_campaigns_and_refuses_pre_votes_while_it_moves() {
    let (mut seat, ballot) = candidate();
    assert_eq!(said(&seat.wait_us(0)), Some(ballot), "rivals hear of it before they ask");
    assert!(!grants(&mut seat, R2, 2), "a higher ballot would throw its work away");
    seat.handle(own_promise(ballot.0, &[]));
    // Each page is progress, and gives it the whole wait anew.
    for slot in 0..5 {
        seat.wait_us(ELECTION_MAX_US - HEARTBEAT_US);
        assert!(!grants(&mut seat, R2, 2), "after page {slot}");
        seat.handle(page(R2, ballot.0, (slot, false), 0, &[(slot, 0, "x")]));
    }
    assert_eq!(said(&seat.wait_us(HEARTBEAT_US)), Some(ballot));
    seat.wait_us(ELECTION_MAX_US);
    assert!(grants(&mut seat, R2, 2), "nothing new has come");
    assert_eq!(said(&seat.wait_us(HEARTBEAT_US)), None);
}

#[test]
fn a_candidate_waits_long_for_its_own_disk_but_holds_up_nobody_for_so_long() {
    let (mut seat, ballot) = candidate();
    let begun = seat.now;
    seat.wait_us(FIRST_SYNC_US - HEARTBEAT_US);
    assert!(!grants(&mut seat, R2, 2));
    let sent = seat.wait_us(2 * HEARTBEAT_US);
    assert_eq!(said(&sent), None, "it moves no more");
    assert!(grants(&mut seat, R2, 2));
    seat.wait_us(WAIT_MAX_US - 2 * FIRST_SYNC_US);
    let asked = prepares(&seat.handle(own_promise(ballot.0, &[])));
    assert_eq!(asked, [(R0, ballot.0, 0), (R2, ballot.0, 0)], "and its campaign goes on");
    assert_eq!(said(&seat.wait_us(HEARTBEAT_US)), Some(ballot));
    let (mut hung, ballot) = candidate();
    hung.now = begun.plus_us(WAIT_MAX_US);
    hung.wait_us(HEARTBEAT_US);
    assert_eq!(prepares(&hung.handle(own_promise(ballot.0, &[]))), [], "given up");
}

#[test]
fn a_campaign_that_is_heard_calms_like_a_leader() {
    let mut seat = proposer(3, R2);
    for round in 1..20 {
        seat.handle(campaigning(R1, round, 1));
        assert_eq!(pre_votes(&seat.wait_us(HEARTBEAT_US)), []);
        assert!(!grants(&mut seat, R0, 3));
    }
    let silent_us = ELECTION_MIN_US - HEARTBEAT_US;
    seat.now = seat.now.plus_us(silent_us - 1);
    assert!(!grants(&mut seat, R0, 3));
    seat.now = seat.now.plus_us(1);
    assert!(grants(&mut seat, R0, 3), "it was not heard for the shortest election wait");
}

#[test]
fn a_candidate_that_asks_again_has_given_its_campaign_up() {
    let mut seat = proposer(3, R2);
    seat.handle(campaigning(R1, 1, 1));
    assert!(!grants(&mut seat, R0, 3));
    assert!(grants(&mut seat, R1, 4));
}

#[test]
fn a_campaign_calms_nobody_whose_acceptor_would_refuse_it_nor_after_a_leader_has_come() {
    let mut seat = proposer(3, R2);
    seat.handle(Input::Promised { ballot: Ballot(6), written: 0 });
    seat.now = Time(ELECTION_MIN_US);
    seat.handle(campaigning(R1, 1, 4));
    assert!(grants(&mut seat, R0, 9), "ballot 6 is promised");
    let mut seat = proposer(3, R2);
    seat.handle(serving(R0, 1, 3));
    seat.now = Time(ELECTION_MIN_US);
    seat.handle(campaigning(R1, 1, 1));
    assert!(grants(&mut seat, R0, 6), "ballot 3 came to lead after it");
    let mut seat = proposer(3, R2);
    seat.handle(campaigning(R1, 1, 3));
    assert!(grants(&mut seat, R0, 6), "ballot 3 is not replica 1's");
}

#[test]
fn promising_calms_but_not_what_is_remembered_from_an_earlier_life() {
    for (fresh, calms) in [(true, true), (false, false)] {
        let membership = Membership { fresh, ..membership(3, R2) };
        let mut seat = build(settings(3, R2), membership);
        seat.handle(Input::Promised { ballot: Ballot(1), written: 0 });
        assert_eq!(!grants(&mut seat, R0, 3), calms, "fresh: {fresh}");
        seat.now = Time(ELECTION_MIN_US);
        seat.handle(Input::Promised { ballot: Ballot(1), written: 0 });
        assert!(grants(&mut seat, R0, 3), "the same promise again says nothing new");
        seat.handle(Input::Promised { ballot: Ballot(4), written: 0 });
        assert!(!grants(&mut seat, R0, 6), "another promise does");
    }
}

#[test]
fn of_two_that_ask_for_pre_votes_the_one_with_the_lower_ballot_gives_way() {
    let mut lower = proposer(3, R1);
    let (_, _, round) = pre_votes(&lower.wait_us(ELECTION_MIN_US))[0];
    assert!(grants(&mut lower, R2, 2));
    assert_eq!(prepares(&lower.handle(grant(R0, round))), [], "it does not ask any more");
    let mut higher = proposer(3, R2);
    let (_, _, round) = pre_votes(&higher.wait_us(ELECTION_MIN_US))[0];
    assert!(grants(&mut higher, R1, 1));
    assert_eq!(prepares(&higher.handle(grant(R0, round))), [(R2, 2, 0)]);
}

#[test]
fn a_replica_that_granted_a_pre_vote_waits_two_round_trips_for_the_campaign() {
    for granted in [false, true] {
        let mut seat = proposer(3, R2);
        let (_, mine) = heartbeats(&seat.wake())[0];
        seat.now = Time(40_000);
        let echo = Heartbeat { echo: mine.round, ..heartbeat(R0, 1) };
        // A round trip of 40 ms, and twice that for its deviation.
        seat.handle(Input::Heartbeat(R0, Box::new(echo)));
        seat.now = Time(ELECTION_MIN_US - 1_000);
        assert_eq!(granted, granted && grants(&mut seat, R1, 1));
        let asked_at = loop {
            if !pre_votes(&seat.wait_us(1_000)).is_empty() {
                break seat.now.0;
            }
        };
        let expected = if granted { ELECTION_MIN_US - 1_000 + 240_000 } else { ELECTION_MIN_US };
        assert!((expected..expected + 2_000).contains(&asked_at), "{asked_at}: {granted}");
    }
}

#[test]
fn a_campaign_of_which_nobody_knows_gives_way_to_a_leader_and_to_a_higher_campaign() {
    for (input, gives_way) in
        [(serving(R0, 9, 0), true), (campaigning(R2, 9, 2), true), (campaigning(R0, 9, 0), false)]
    {
        let (mut seat, ballot) = candidate();
        seat.handle(input.clone());
        let asked = prepares(&seat.handle(own_promise(ballot.0, &[])));
        assert_eq!(asked.is_empty(), gives_way, "{input:?}");
        // Once its prepares have left, only a higher leader stops it.
        let (mut seat, ballot) = candidate();
        seat.handle(own_promise(ballot.0, &[]));
        seat.handle(input);
        seat.handle(promise(R2, ballot.0, &[]));
        assert_eq!(seat.role.leading(), Some(ballot));
    }
}

#[test]
fn a_replica_that_asks_for_pre_votes_stops_when_it_hears_a_campaign_even_if_nothing_is_applied() {
    let mut seat = proposer(3, R2);
    seat.handle(progress(0, true));
    let mut asked = Vec::new();
    while asked.is_empty() {
        asked = pre_votes(&seat.wait_us(HEARTBEAT_US));
    }
    seat.handle(campaigning(R1, 1, 1));
    assert_eq!(prepares(&seat.handle(grant(R0, asked[0].2))), []);
    for round in 2..20 {
        assert_eq!(pre_votes(&seat.wait_us(HEARTBEAT_US)), [], "nothing is applied for {round}");
        seat.handle(campaigning(R1, round, 1));
    }
}
