//! The learner applies slots in order, and answers their clients.

use super::*;

#[test]
fn slots_are_applied_in_order_and_without_gaps() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b", "c"])));
    seat.burst([votes(R0, 0, 1, 2), votes(R1, 0, 1, 2)]);
    assert_eq!(seat.role.applied(), Slot(0));
    assert!(pending(&mut seat), "a slot decided above a gap is no progress");
    seat.burst([votes(R0, 0, 0, 1), votes(R1, 0, 0, 1)]);
    assert_eq!(seat.storage.values(), values(&["a", "b", "c"]));
    assert!(!pending(&mut seat));
}

#[test]
fn a_chosen_noop_stays() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 0, &[Value::Noop, value("b")]));
    seat.handle(voted(5, 0, &values(&["other"]), decided(4, 0, 1)));
    assert_eq!(seat.storage.values(), [Value::Noop, value("b")]);
    assert_eq!(seat.storage.records[0].client_seq, None);
    assert_eq!(seat.storage.records[1].client_seq, Some(0));
}

#[test]
fn a_command_chosen_in_two_slots_is_applied_once_and_a_nop_the_second_time() {
    let mut seat = learner(3, R2);
    let twice = [command(1, 0, "a"), command(1, 0, "a"), command(1, 1, "b")];
    seat.handle(page(R0, 0, &twice));
    let effects: Vec<_> = seat.storage.records.iter().map(|record| record.client_seq).collect();
    assert_eq!(effects, [Some(0), None, Some(1)]);
    assert_eq!(seat.storage.values(), twice, "peers fetch what was decided, not its effect");
}

#[test]
fn an_answer_leaves_only_after_its_record() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    seat.handle(held(1, 0, "a"));
    seat.handle(proposed(0, 0, &[command(1, 0, "a")]));
    seat.handle(votes(R0, 0, 0, 1));
    seat.storage.fails = true;
    assert!(seat.try_burst([votes(R1, 0, 0, 1)]).is_err());
    assert_eq!(seat.storage.records, []);
}

#[test]
fn a_waiting_client_is_answered_once_when_its_command_is_applied() {
    let mut seat = learner(3, R0);
    let Input::Proposed { start, run, .. } = proposed(0, 0, &[command(1, 0, "a")]) else {
        unreachable!("`proposed` makes this input")
    };
    let origin = Origin::new(1, Some(asker(7)));
    let requesters = [origin].into_iter().collect();
    seat.handle(Input::Proposed { start, run, requesters });
    seat.handle(votes(R0, 0, 0, 1));
    let sent = seat.handle(votes(R1, 0, 0, 1));
    let session = Request::new(1, 1, 0, "a").command().session;
    let complete =
        Answer::Complete { session, seq: 0, slot: Slot(0), client_seq: 0, attempt: Attempt::FIRST };
    assert_eq!(answers(&sent), [(address(7), complete)]);
    assert_eq!(answers(&seat.wait_us(1_000_000)), []);
}

#[test]
fn a_request_just_below_the_next_is_answered_again() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 0, &[command(1, 0, "a"), Value::Noop, command(1, 1, "b")]));
    let session = Request::new(1, 1, 0, "a").command().session;
    for _ in 0..2 {
        let sent = seat.handle(held(1, 1, "b"));
        let complete = Answer::Complete {
            session,
            seq: 1,
            slot: Slot(2),
            client_seq: 1,
            attempt: Attempt::UNKNOWN,
        };
        assert_eq!(answers(&sent), [(address(1), complete)]);
    }
    assert_eq!(
        answers(&seat.handle(held(1, 0, "a"))),
        [],
        "the client has sent a later command since"
    );
    assert!(!pending(&mut seat));
}

/// What a learner answers to a hello.
fn welcome(seat: &mut Subject) -> Option<(Slot, Ballot)> {
    let sent = answers(&seat.handle(Input::Hello(address(9))));
    assert_eq!(sent.len(), 1, "a hello is always answered");
    sent.into_iter().next().and_then(|(_, answer)| match answer {
        Answer::Welcome { applied, ballot } => Some((applied, ballot)),
        // The replica lives, and cannot tell how far the log is.
        Answer::Leader { .. } => None,
        other => panic!("a hello is not answered with {other:?}"),
    })
}

#[test]
fn a_hello_is_answered_with_the_furthest_that_is_known_to_be_decided() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 0, &noops(3)));
    seat.handle(leads(R1, 1, 4, nothing_decided(4)));
    assert_eq!(welcome(&mut seat), Some((Slot(3), Ballot(4))), "its own log");
    seat.handle(applied(R0, 1, 9));
    assert_eq!(welcome(&mut seat), Some((Slot(9), Ballot(4))), "what a peer has applied");
    seat.handle(leads(R1, 2, 4, decided(4, 5, 12)));
    assert_eq!(welcome(&mut seat), Some((Slot(12), Ballot(4))), "what the leader calls decided");
}

#[test]
fn only_a_replica_that_leads_or_hears_a_quorum_welcomes_a_client() {
    let lately_us = settings(5, R2).election_max_us;
    let begin = |fresh| {
        let membership = Membership { fresh, ..membership(5, R2) };
        Seat::new(Learner::new(settings(5, R2), membership, Checkpoint::default()), Log::default())
    };
    let mut seat = begin(true);
    assert_eq!(welcome(&mut seat), Some((Slot(0), Ballot(0))), "it has just warmed up");
    seat.handle(applied(R0, 1, 9));
    assert_eq!(welcome(&mut seat), None, "and hears too few");
    let mut seat = begin(false);
    assert_eq!(welcome(&mut seat), None, "it has just come back");
    seat.handle(applied(R0, 1, 9));
    assert_eq!(welcome(&mut seat), None, "two of five");
    seat.now = seat.now.plus_us(lately_us);
    seat.handle(applied(R3, 1, 7));
    assert_eq!(welcome(&mut seat), Some((Slot(9), Ballot(0))), "three of five");
    seat.now = seat.now.plus_us(1);
    assert_eq!(welcome(&mut seat), None, "replica 0 has fallen silent");
    seat.handle(Input::Leading(Ballot(2)));
    assert_eq!(welcome(&mut seat), Some((Slot(9), Ballot(2))), "it leads");
    seat.now = seat.now.plus_us(lately_us + 1);
    assert_eq!(welcome(&mut seat), None, "it has stepped down");
    let mut seat = learner(1, R0);
    assert_eq!(welcome(&mut seat), Some((Slot(0), Ballot(0))), "alone it is a quorum");
}

#[test]
fn a_session_that_was_born_too_early_is_told_so() {
    let mut seat = learner(3, R2);
    let window = SESSION_WINDOW_SLOTS;
    let mut first = 0;
    while first <= window {
        seat.handle(page(R0, first, &noops(8_192)));
        first += 8_192;
    }
    assert!(seat.role.applied() > Slot(window));
    let ask = Input::RequestNotProposed {
        origin: address(1),
        request: Request::new(1, 1, 0, "first"),
        direct: true,
    };
    let session = Request::new(1, 1, 0, "first").command().session;
    let too_early = Answer::BornTooEarly { session, seq: 0 };
    assert_eq!(answers(&seat.handle(ask)), [(address(1), too_early)]);
}

#[test]
fn only_a_replica_that_is_far_enough_says_expired() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    seat.handle(page(R1, 0, &noops(5)));
    // The client knows that its session's first command took effect in slot 5.
    let mut request = Request::new(1, 1, 1, "second");
    request.after = Slot(6);
    let ask = |request: &Request| Input::RequestNotProposed {
        origin: address(1),
        request: request.clone(),
        direct: true,
    };
    let sent = seat.handle(ask(&request));
    let session = request.command().session;
    let lagging = Answer::Held { session, seq: 1, ballot: Ballot(1) };
    assert_eq!(answers(&sent), [(address(1), lagging)], "the replica lags, and keeps it");
    assert_eq!(forwards(&sent), [(R1, 1)], "the leader can answer");
    assert!(!pending(&mut seat));
    seat.handle(page(R1, 5, &noops(1)));
    let expired = Answer::Expired { session, seq: 1 };
    assert_eq!(answers(&seat.handle(ask(&request))), [(address(1), expired)]);
    // The session was born in a slot above all that this replica knows, so it also lags.
    let unborn = Command { birth: Slot(9), ..Request::new(1, 2, 0, "first").command() };
    let unborn = Request::of(&unborn, Slot(0));
    assert_eq!(forwards(&seat.handle(ask(&unborn))), [(R1, 0)]);
    let window = SESSION_WINDOW_SLOTS;
    assert!(window > 9, "a birth within the window of {window} slots");
}

#[test]
fn a_client_that_talks_nonsense_makes_nobody_suspect_anyone() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(1, 0, "a")]));
    for nonsense in [held(1, 7, "too high"), held(2, 1, "no such session"), held(1, 0, "again")] {
        seat.handle(nonsense);
        assert!(!pending(&mut seat));
    }
    seat.handle(held(1, 1, "the next"));
    assert!(pending(&mut seat));
}
