//! Pre-votes: which replica may campaign.

use super::*;

#[test]
fn nobody_campaigns_without_a_quorum_of_pre_votes() {
    let mut seat = proposer(5, R1);
    let mut sent = seat.wait_us(ELECTION_MIN_US);
    let asked = pre_votes(&sent);
    assert_eq!(asked.iter().map(|(to, ..)| to.0).collect::<Vec<_>>(), [0, 2, 3, 4]);
    let round = asked[0].2;
    sent = seat.handle(grant(R2, round));
    sent.extend(seat.handle(grant(R2, round)));
    sent.extend(seat.handle(reply(R0, round, false, None)));
    sent.extend(seat.handle(grant(R3, round - 1)));
    assert_eq!(prepares(&sent), [], "two pre-votes of five are no quorum");
    let foreign =
        ToProposer::PreVoteReply { round, granted: true, promised: None, voter: foreign(R1) };
    let sent = seat.handle(Input::Peer(R3, foreign));
    assert_eq!(prepares(&sent), []);
    let told = ToBootstrap::NotMember { directory: DirectoryId(999) };
    assert_eq!(
        to_replicas(&sent),
        [(R3, told)],
        "the foreign directory is told that it is no member"
    );
    let sent = seat.handle(grant(R3, round));
    assert_eq!(prepares(&sent), [(R1, 1, 0)], "the own promise is asked for first");
}

#[test]
fn pre_votes_of_one_round_do_not_count_in_the_next() {
    let mut seat = proposer(5, R1);
    let (_, _, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.handle(grant(R2, round));
    let mut next = round;
    while next == round {
        next = pre_votes(&seat.wait_us(HEARTBEAT_US)).pop().map_or(round, |(_, _, next)| next);
    }
    assert_eq!(
        prepares(&seat.handle(grant(R3, next))),
        [],
        "a pre-vote of an older round does not count"
    );
    assert_eq!(prepares(&seat.handle(grant(R2, next))), [(R1, 1, 0)]);
}

#[test]
fn a_pre_vote_refused_for_a_higher_promise_is_asked_again_above_it() {
    let mut seat = proposer(3, R1);
    let (_, ballot, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    assert_eq!(ballot, Ballot(1));
    let again = pre_votes(&seat.handle(reply(R2, round, false, Some(11))));
    assert_eq!(again[0].1, Ballot(13));
    assert!(again[0].2 > round);
}

#[test]
fn pre_votes_are_refused_while_a_serving_leader_is_heard() {
    let mut seat = proposer(3, R2);
    seat.handle(serving(R0, 1, 0));
    assert!(!grants(&mut seat, R1, 1));
    seat.now = Time(ELECTION_MIN_US - 1);
    assert!(!grants(&mut seat, R1, 1));
    seat.now = Time(ELECTION_MIN_US);
    assert!(grants(&mut seat, R1, 1), "the leader was silent for long enough");
    assert!(!grants(&mut seat, R1, 3), "a ballot that is not the candidate's");
}

#[test]
fn pre_votes_are_granted_by_a_replica_that_is_unsatisfied() {
    let mut seat = proposer(3, R2);
    for round in 1..=20 {
        seat.now = Time(round * HEARTBEAT_US);
        seat.handle(serving(R0, round, 0));
        seat.handle(progress(0, true));
        let unsatisfied = seat.now.since_us(Time(HEARTBEAT_US)) >= ELECTION_MAX_US;
        assert_eq!(grants(&mut seat, R1, 1), unsatisfied, "at {:?}", seat.now);
    }
    seat.handle(progress(1, true));
    assert!(!grants(&mut seat, R1, 1), "progress satisfies it");
}

#[test]
fn a_serving_leader_grants_a_pre_vote_only_when_nothing_gets_applied() {
    let mut seat = first_leader(3);
    assert!(!grants(&mut seat, R1, 1));
    seat.handle(request_is_next(1, 0, "stuck"));
    seat.handle(progress(0, true));
    let stuck_at = seat.now;
    in_touch(&mut seat, ELECTION_MAX_US - HEARTBEAT_US, &[R1, R2]);
    assert!(!grants(&mut seat, R1, 1));
    seat.now = stuck_at.plus_us(ELECTION_MAX_US);
    assert!(grants(&mut seat, R1, 1), "though its own timer has not fired yet");
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
}

#[test]
fn pre_votes_are_refused_at_or_below_the_own_promise_and_by_strangers() {
    let mut seat = proposer(3, R2);
    seat.handle(Input::Promised { ballot: Ballot(4), written: 0 });
    assert!(!grants(&mut seat, R1, 4));
    assert!(!grants(&mut seat, R1, 1));
    assert!(grants(&mut seat, R1, 7));
    let mut stranger = build(settings(3, R2), stranger(3, R2));
    assert!(!grants(&mut stranger, R1, 7));
}

#[test]
fn a_stranger_neither_suspects_nor_sends_heartbeats() {
    let mut seat = build(settings(3, R2), stranger(3, R2));
    assert_eq!(seat.wait_us(20 * ELECTION_MAX_US), []);
    seat.handle(serving(R0, 1, 0));
    let sent = seat.wait_us(ELECTION_MAX_US);
    let observes = |message: &ToProposer| matches!(message, ToProposer::Observes { .. });
    assert!(to_proposers(&sent).iter().all(|(to, it)| *to == R0 && observes(it)), "{sent:?}");
    assert_eq!((heartbeats(&sent), pre_votes(&sent)), (vec![], vec![]));
}

#[test]
fn only_replicas_that_have_not_granted_are_asked_for_a_pre_vote_again() {
    let mut seat = proposer(5, R1);
    let (_, _, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.handle(grant(R2, round));
    assert_eq!(pre_votes(&seat.wait_us(39_999)), [], "they have time to answer");
    let asked: Vec<u8> = pre_votes(&seat.wait_us(1)).iter().map(|(to, ..)| to.0).collect();
    assert_eq!(asked, [0, 3, 4]);
}

#[test]
fn a_candidate_that_hears_a_leader_stops_asking_for_pre_votes_unless_nothing_gets_applied() {
    for stuck in [false, true] {
        let mut seat = proposer(3, R1);
        seat.handle(progress(0, stuck));
        let mut asked = Vec::new();
        for round in 1..=20 {
            // A replica suspects a leader that it hears only if nothing gets applied.
            if stuck {
                seat.handle(serving(R0, round, 0));
            }
            asked.extend(pre_votes(&seat.wait_us(HEARTBEAT_US)));
            if !asked.is_empty() {
                break;
            }
        }
        assert!(!asked.is_empty());
        seat.handle(serving(R0, 21, 0));
        let sent = seat.handle(grant(R2, asked[0].2));
        assert_eq!(!prepares(&sent).is_empty(), stuck);
    }
}

#[test]
fn the_promise_of_another_acceptor_is_not_the_own_one() {
    let mut seat = proposer(3, R1);
    let nack = ToProposer::Nack { ballot: Ballot(1), promised: Ballot(8) };
    seat.handle(Input::Peer(R2, nack.clone()));
    assert!(grants(&mut seat, R2, 5));
    seat.handle(Input::Peer(R1, nack));
    assert!(!grants(&mut seat, R2, 5));
}
