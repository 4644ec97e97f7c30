//! When a leader gives way, and to whom.

use super::*;

#[test]
fn a_leader_that_no_quorum_hears_falls_silent() {
    let mut seat = first_leader(5);
    in_touch(&mut seat, 2 * ELECTION_MAX_US, &[R1, R2]);
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    in_touch(&mut seat, ELECTION_MAX_US + 2 * HEARTBEAT_US, &[R1]);
    assert_eq!(seat.role.leading(), None);
    let sent = seat.wait_us(HEARTBEAT_US);
    assert!(heartbeats(&sent).iter().all(|(_, heartbeat)| !heartbeat.leading));
}

#[test]
fn heartbeats_that_echo_nothing_recent_keep_no_leader() {
    let mut seat = first_leader(3);
    let (_, Heartbeat { round: echo, .. }) = heartbeats(&seat.wait_us(HEARTBEAT_US))[0];
    for round in 1..40 {
        seat.wait_us(HEARTBEAT_US);
        let stale = Heartbeat { echo, ..heartbeat(R1, round) };
        seat.handle(Input::Heartbeat(R1, Box::new(stale)));
    }
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn a_leader_that_gets_nothing_applied_gives_way() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, ELECTION_MAX_US, &[R1, R2]);
    seat.handle(request_is_next(1, 0, "stuck"));
    in_touch(&mut seat, ELECTION_MAX_US - HEARTBEAT_US, &[R1, R2]);
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    in_touch(&mut seat, 3 * HEARTBEAT_US, &[R1, R2]);
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn an_idle_leader_stays() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 20 * ELECTION_MAX_US, &[R1]);
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
}

#[test]
fn a_leader_follows_whoever_leads_at_a_higher_ballot_and_hands_its_requests_over() {
    let mut seat = first_leader(3);
    seat.burst((0..PROPOSE_WINDOW_SLOTS).map(|session| request_is_next(session, 0, "x")));
    seat.handle(request_is_next(1 << 20, 0, "queued"));
    let sent = seat.handle(serving(R2, 1, 2));
    assert_eq!(seat.role.leading(), None);
    let held: Vec<_> = told_learner(&sent);
    let queued = learner::Input::RequestNotProposed {
        origin: address(1),
        request: Request::new(1, 1 << 20, 0, "queued"),
        direct: false,
    };
    let commands = held.iter().map(|input| match input {
        learner::Input::RequestNotProposed { request, .. } => request.commands.len() as u64,
        other => panic!("nothing else is told: {other:?}"),
    });
    let all = PROPOSE_WINDOW_SLOTS + 1;
    assert_eq!(commands.sum::<u64>(), all, "what is proposed and what is queued");
    assert_eq!(held.last(), Some(&queued));
    assert_eq!(proposed(&seat.wait_us(250_000)), []);
    // A leader at a lower ballot is no reason to give way.
    let mut seat = proposer(3, R1);
    succeed(&mut seat, R2, &[]);
    seat.handle(serving(R0, 1, 0));
    assert_eq!(seat.role.leading(), Some(Ballot(1)));
}

#[test]
fn a_leader_overtaken_by_one_acceptor_goes_above_it_at_once_if_a_quorum_follows() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 100_000, &[R1]);
    let nack = ToProposer::Nack { ballot: Ballot(0), promised: Ballot(8) };
    let sent = seat.handle(Input::Peer(R2, nack.clone()));
    assert_eq!(prepares(&sent), [(R0, 9, 0)], "no pre-vote, no wait");
    // Without a quorum that follows, the leader gives way: a pre-vote decides who leads.
    let mut alone = first_leader(3);
    let sent = alone.handle(Input::Peer(R2, nack));
    assert_eq!((prepares(&sent), alone.role.leading()), (vec![], None));
}

#[test]
fn a_leader_overtaken_twice_in_a_row_gives_way_to_its_rival() {
    for (later_us, leads) in [(ELECTION_MAX_US - 1, false), (ELECTION_MAX_US, true)] {
        let mut seat = first_leader(3);
        in_touch(&mut seat, 100_000, &[R1, R2]);
        let nack = |ballot, promised| {
            let (ballot, promised) = (Ballot(ballot), Ballot(promised));
            Input::Peer(R2, ToProposer::Nack { ballot, promised })
        };
        let overtaken_at = seat.now;
        assert_eq!(prepares(&seat.handle(nack(0, 2))), [(R0, 3, 0)]);
        seat.handle(own_promise(3, &[]));
        seat.handle(promise(R1, 3, &[]));
        assert_eq!(seat.role.leading(), Some(Ballot(3)));
        in_touch(&mut seat, later_us - 100_000, &[R1]);
        seat.now = overtaken_at.plus_us(later_us);
        assert_eq!(!prepares(&seat.handle(nack(3, 5))).is_empty(), leads, "{later_us} us later");
        assert_eq!(seat.role.leading(), None);
    }
}

#[test]
fn a_leader_that_has_just_begun_need_not_have_been_heard_yet() {
    for (has_ever_been_heard, patience_us) in [(true, ELECTION_MAX_US), (false, 3_000_000)] {
        let mut seat = proposer(3, R0);
        if has_ever_been_heard {
            // An echo of the first heartbeat, so old that it is no sign of life any more.
            let (_, first) = heartbeats(&seat.wake())[0];
            seat.now = Time(HEARTBEAT_US);
            let echo = Heartbeat { echo: first.round, ..heartbeat(R1, 1) };
            seat.handle(Input::Heartbeat(R1, Box::new(echo)));
            seat.now = Time(ELECTION_MAX_US);
            seat.handle(own_promise(0, &[]));
        } else {
            crown(&mut seat);
        }
        seat.wait_us(patience_us - 1);
        assert_eq!(seat.role.leading(), Some(Ballot(0)), "heard: {has_ever_been_heard}");
        seat.wait_us(HEARTBEAT_US);
        assert_eq!(seat.role.leading(), None, "heard: {has_ever_been_heard}");
    }
}

#[test]
fn a_leader_that_a_quorum_has_left_gives_way() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 100_000, &[R1, R2]);
    seat.handle(Input::Promised { ballot: Ballot(8), written: 0 });
    assert_eq!(seat.role.leading(), Some(Ballot(0)), "a campaign that moves is no straggler");
    let promised = Some(Ballot(8));
    let newest = Heartbeat { promised, ..heartbeat(R2, u64::MAX) };
    let sent = seat.handle(Input::Heartbeat(R2, Box::new(newest)));
    assert_eq!((seat.role.leading(), prepares(&sent)), (None, vec![]));
}

#[test]
fn an_older_round_of_heartbeats_is_no_news() {
    let mut seat = proposer(3, R2);
    seat.handle(serving(R0, 5, 0));
    seat.now = Time(ELECTION_MIN_US);
    seat.handle(serving(R0, 5, 0));
    seat.handle(serving(R0, 4, 0));
    assert!(grants(&mut seat, R1, 1), "it was heard for the last time long ago");
}
