//! Phase 2 of a leader: it proposes, and sends again.

use super::*;

#[test]
fn a_burst_of_requests_leaves_as_one_run_of_slots() {
    let mut seat = first_leader(3);
    let sent = seat.burst((0..5).map(|session| request_is_next(session, 0, "x")));
    for replica in [R0, R1, R2] {
        let accepts = accepts_to(&sent, replica);
        let runs: Vec<_> =
            accepts.iter().map(|accept| (accept.first.0, accept.values.len())).collect();
        assert_eq!(runs, [(0, 5)], "replica {replica}");
    }
}

#[test]
fn only_a_sessions_next_command_is_proposed_and_only_once() {
    let mut seat = first_leader(3);
    let request = |seq| Input::Client(address(1), Request::new(1, 5, seq, "x"));
    let held = |sent: &[Envelope], seq: u64| {
        told_learner(sent).iter().any(|input| match input {
            learner::Input::RequestNotProposed { request, direct: true, .. } => {
                request.command().seq == seq
            }
            _ => false,
        })
    };
    // The session is not known, so the learner is asked.
    let sent = seat.handle(request(0));
    assert!(held(&sent, 0) && proposed(&sent).is_empty());
    assert_eq!(proposed(&seat.handle(request_is_next(5, 0, "x"))).len(), 1);
    for again in [request(0), request_is_next(5, 0, "x")] {
        let sent = seat.handle(again);
        assert!(proposed(&sent).is_empty() && !held(&sent, 0));
    }
    // A command after the next one is dropped for now.
    let sent = seat.handle(request(1));
    assert!(held(&sent, 1) && proposed(&sent).is_empty());
    // The first command is applied. The next may be proposed without asking.
    seat.handle(progress(1, false));
    assert_eq!(proposed(&seat.handle(request(1))), [(1, command(5, 1, "x"))]);
    let sent = seat.handle(request(0));
    assert!(held(&sent, 0) && proposed(&sent).is_empty(), "the learner answers an old command");
}

#[test]
fn what_the_learner_confirms_is_proposed_before_its_news_of_the_command_before() {
    let mut seat = first_leader(3);
    seat.handle(request_is_next(5, 0, "x"));
    // The learner has applied command 0. It passes on what waited for that, and tells how far
    // it is behind that.
    assert_eq!(proposed(&seat.handle(request_is_next(5, 1, "y"))), [(1, command(5, 1, "y"))]);
    assert_eq!(proposed(&seat.handle(request_is_next(5, 0, "x"))), [], "an old word");
    seat.handle(progress(1, false));
    assert_eq!(proposed(&seat.handle(request_is_next(5, 1, "y"))), [], "it is on its way");
    seat.handle(progress(2, false));
    assert_eq!(proposed(&seat.handle(request_is_next(5, 2, "z"))), [(2, command(5, 2, "z"))]);
}

#[test]
fn accepts_are_sent_again_at_growing_intervals_until_they_are_applied() {
    let mut seat = first_leader(3);
    let start = seat.now;
    seat.handle(request_is_next(1, 0, "x"));
    let mut times = Vec::new();
    while seat.now.since_us(start) < 500_000 {
        let sent = in_touch(&mut seat, 10_000, &[R1]);
        if !accepts_to(&sent, R2).is_empty() {
            times.push(seat.now);
        }
    }
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1].since_us(pair[0])).collect();
    assert!(gaps.len() >= 2 && gaps.windows(2).all(|pair| pair[0] < pair[1]), "{gaps:?}");
    seat.handle(progress(1, false));
    let sent = in_touch(&mut seat, 1_000_000, &[R1]);
    assert_eq!(proposed(&sent), []);
}

#[test]
fn the_window_bounds_what_is_proposed() {
    let mut seat = first_leader(3);
    let sent =
        seat.burst((0..PROPOSE_WINDOW_SLOTS).map(|session| request_is_next(session, 0, "x")));
    assert_eq!(proposed(&sent).len() as u64, PROPOSE_WINDOW_SLOTS);
    let more = PROPOSE_WINDOW_SLOTS..PROPOSE_WINDOW_SLOTS + 100;
    let sent = seat.burst(more.map(|session| request_is_next(session, 0, "x")));
    assert_eq!(proposed(&sent), []);
    let sent = seat.handle(progress(10, false));
    let slots: Vec<u64> = proposed(&sent).iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, (PROPOSE_WINDOW_SLOTS..PROPOSE_WINDOW_SLOTS + 10).collect::<Vec<_>>());
}

#[test]
fn long_lines_are_bounded_in_bytes_and_each_has_its_own_accept() {
    let mut seat = first_leader(3);
    let line = "x".repeat(65_536);
    let sent = seat.burst((0..100).map(|session| request_is_next(session, 0, &line)));
    let accepts = accepts_to(&sent, R1);
    let bytes: usize = accepts.iter().map(|accept| accept.values.bytes().len()).sum();
    assert!(accepts.iter().all(|accept| accept.values.len() == 1));
    assert!(bytes <= (4 << 20) + 70_000 && bytes > 3 << 20, "{bytes} bytes in flight");
    let sent = seat.handle(progress(50, false));
    assert!(proposed(&sent).len() >= 30, "what is applied makes room");
}

#[test]
fn accepts_of_short_lines_fit_datagrams() {
    let mut seat = first_leader(3);
    let sent =
        seat.burst((0..500).map(|session| request_is_next(session, 0, "a line of some length")));
    let to_peers = to_acceptors(&sent).into_iter().filter(|(to, _)| *to != R0);
    for (_, accept) in to_peers {
        let bytes = postcard::to_stdvec(&Message::Acceptor(accept)).expect("encoded").len();
        assert!(bytes <= settings(3, R0).payload_bytes, "{bytes} bytes");
    }
}

#[test]
fn what_is_lost_is_sent_again_at_once_and_nothing_else() {
    let mut seat = first_leader(3);
    let line = "x".repeat(300);
    seat.burst((0..12).map(|session| request_is_next(session, 0, &line)));
    let report = |lost| {
        let decided = decided(0, 0, 4);
        Input::Progress {
            applied: Slot(4),
            hash: 0,
            configuration: None,
            decided,
            pending: Some(0),
            lost,
        }
    };
    let sent =
        seat.handle(report(vec![lost(range(4, 2), &[R1, R2]), lost(range(9, 1), &[R1, R2])]));
    let again: Vec<u64> = proposed(&sent).into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(again, [4, 5, 9]);
    assert_eq!(accepts_to(&sent, R0), [], "the own acceptor loses nothing");
    let sent =
        seat.handle(report(vec![lost(range(4, 2), &[R1, R2]), lost(range(9, 1), &[R1, R2])]));
    assert_eq!(proposed(&sent), [], "the proposal is in flight");
}

#[test]
fn a_part_that_was_sent_again_has_its_time_whatever_else_is_lost() {
    let mut seat = first_leader(3);
    let line = "x".repeat(300);
    seat.burst((0..12).map(|session| request_is_next(session, 0, &line)));
    let mut report = |first, count| {
        let (decided, lost) = (decided(0, 0, 4), vec![lost(range(first, count), &[R1])]);
        let input = Input::Progress {
            applied: Slot(4),
            hash: 0,
            configuration: None,
            decided,
            pending: Some(0),
            lost,
        };
        let sent = seat.handle(input);
        proposed(&sent).into_iter().map(|(slot, _)| slot).collect::<Vec<u64>>()
    };
    assert_eq!(report(9, 1), [9]);
    assert_eq!(report(4, 2), [4, 5]);
    assert_eq!(report(9, 1), [0u64; 0], "the lower part says nothing of the higher one");
    assert_eq!(report(4, 2), [0u64; 0]);
}
