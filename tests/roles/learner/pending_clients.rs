//! Clients that wait for an answer, and requests that the learner keeps for the leader.

use super::*;
use multipaxos::message::Inquiry;
use multipaxos::paxos::pace::Trip;

#[test]
fn a_held_request_goes_to_the_leader_and_at_once_to_the_next_one() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    let sent = seat.handle(held(1, 0, "a"));
    assert_eq!(forwards(&sent), [(R0, 0)]);
    let session = Request::new(1, 1, 0, "a").command().session;
    let has_it = Answer::Held { session, seq: 0, ballot: Ballot(0) };
    assert_eq!(answers(&sent), [(address(1), has_it)]);
    let sent = seat.wait_us(400_000);
    assert!(
        (1..=3).contains(&forwards(&sent).len()),
        "the request is sent again, in growing intervals"
    );
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    assert_eq!(forwards(&seat.wait_us(1_000)), [(R1, 0)]);
    // The slot is applied because of the next leader. This replica answers the client, too.
    let sent = seat.handle(page(R1, 0, &[command(1, 0, "a")]));
    let complete =
        Answer::Complete { session, seq: 0, slot: Slot(0), client_seq: 0, attempt: Attempt::FIRST };
    assert_eq!(answers(&sent), [(address(1), complete)]);
    assert_eq!(forwards(&seat.wait_us(2_000_000)), []);
}

#[test]
fn a_request_that_another_replica_passed_on_is_not_sent_round_in_circles() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(2, 0, "b")]));
    for (session, seq) in [(1, 0), (2, 2)] {
        let request = Request::new(1, session, seq, "a");
        let sent =
            seat.handle(Input::RequestNotProposed { origin: address(1), request, direct: false });
        assert_eq!((forwards(&sent), answers(&sent)), (vec![], vec![]));
    }
}

#[test]
fn a_leader_is_told_which_request_it_may_serve() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    let sent = seat.handle(held(1, 0, "a"));
    let next =
        proposer::Input::RequestIsNext { origin: address(1), request: Request::new(1, 1, 0, "a") };
    assert!(told_proposer(&sent).contains(&next));
    let sent = seat.handle(held(1, 1, "too early"));
    assert!(
        !told_proposer(&sent).iter().any(|i| matches!(i, proposer::Input::RequestIsNext { .. }))
    );
}

#[test]
fn a_client_that_is_gone_is_forgotten() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(held(1, 0, "a"));
    assert!(pending(&mut seat));
    seat.wait_us(12_000_000);
    assert!(!pending(&mut seat));
    assert_eq!(forwards(&seat.wait_us(2_000_000)), []);
}

#[test]
fn the_table_of_waiting_clients_is_bounded_in_bytes() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    let line = "x".repeat(65_536);
    for session in 0..400 {
        seat.handle(held(session, 0, &line));
    }
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    let sent = seat.wait_us(60_000);
    assert_eq!(forwards(&sent).len(), 256, "16 MiB of lines are held");
}

#[test]
fn each_client_of_a_run_is_answered_for_its_own_line() {
    let mut seat = learner(3, R0);
    let lines: Vec<Value> = (0..6).map(|session| command(session, 0, "x")).collect();
    seat.handle(asked(0, &lines, &[(2, Some(7)), (1, None), (2, Some(8)), (1, Some(7))]));
    seat.handle(votes(R0, 0, 0, 6));
    assert_eq!(completed(&seat.handle(votes(R1, 0, 0, 1))), [(7, 0, 0)]);
    assert_eq!(completed(&seat.handle(votes(R1, 0, 1, 3))), [(7, 1, 1), (8, 3, 3)]);
    assert_eq!(completed(&seat.handle(votes(R1, 0, 4, 2))), [(8, 4, 4), (7, 5, 5)]);
}

#[test]
fn a_run_that_is_proposed_again_is_answered_once_and_the_next_one_too() {
    let mut seat = learner(3, R0);
    let lines: Vec<Value> = (0..4).map(|session| command(session, 0, "x")).collect();
    let runs = [asked(0, &lines[..2], &[(2, Some(7))]), asked(2, &lines[2..], &[(2, Some(8))])];
    seat.burst(runs.clone());
    seat.handle(votes(R0, 0, 0, 4));
    assert_eq!(completed(&seat.handle(votes(R1, 0, 0, 1))), [(7, 0, 0)]);
    assert_eq!(completed(&seat.burst(runs)), []);
    assert_eq!(completed(&seat.handle(votes(R1, 0, 1, 3))), [(7, 1, 1), (8, 2, 2), (8, 3, 3)]);
}

#[test]
fn clients_of_a_run_that_is_applied_already_are_answered_at_once() {
    let mut seat = learner(3, R0);
    let lines: Vec<Value> = (0..4).map(|session| command(session, 0, "x")).collect();
    seat.handle(voted(0, 0, &lines[..2], nothing_decided(0)));
    seat.burst([votes(R1, 0, 0, 3), votes(R2, 0, 0, 2)]);
    assert_eq!(seat.role.applied(), Slot(2));
    let sent = seat.handle(asked(0, &lines, &[(1, Some(7)), (2, Some(8)), (1, Some(9))]));
    assert_eq!(completed(&sent), [(7, 0, 0), (8, 1, 1)]);
    assert_eq!(completed(&seat.handle(votes(R2, 0, 2, 1))), [(8, 2, 2)]);
    seat.handle(votes(R1, 0, 3, 1));
    assert_eq!(completed(&seat.handle(votes(R2, 0, 3, 1))), [(9, 3, 3)]);
}

#[test]
fn nobody_is_answered_for_another_line_in_its_slot() {
    let mut seat = learner(3, R0);
    let lines: Vec<Value> = (0..3).map(|session| command(session, 0, "x")).collect();
    seat.handle(asked(0, &lines, &[(3, Some(7))]));
    let other = [lines[0].clone(), command(9, 0, "other"), Value::Noop, lines[2].clone()];
    assert_eq!(completed(&seat.handle(page(R1, 0, &other))), [(7, 0, 0)]);
}

#[test]
fn a_command_that_is_chosen_twice_is_answered_with_the_slot_where_it_stands() {
    let mut seat = learner(3, R0);
    let twice = [command(1, 0, "x"), command(1, 0, "x")];
    seat.handle(asked(0, &twice, &[(1, Some(7)), (1, Some(8))]));
    seat.handle(votes(R0, 0, 0, 2));
    assert_eq!(completed(&seat.handle(votes(R1, 0, 0, 2))), [(7, 1, 0), (8, 1, 0)]);
}

#[test]
fn a_pending_client_of_a_proposed_command_is_answered_once_but_not_for_an_earlier_leaders_proposal()
{
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    let lines: Vec<Value> = (0..4).map(|session| command(session, 0, "x")).collect();
    (0..4).for_each(|session| drop(seat.handle(held(session, 0, "x"))));
    seat.handle(asked(0, &lines, &[(1, None), (1, Some(7)), (1, None), (1, Some(8))]));
    let next: Vec<u64> = told_proposer(&seat.wait_us(200_000))
        .into_iter()
        .filter_map(|input| match input {
            proposer::Input::RequestIsNext { request, .. } => Some(request.command().session.id),
            _ => None,
        })
        .collect();
    assert_eq!(next, [0, 2], "the askers of the other slots are known");
    seat.handle(votes(R0, 0, 0, 4));
    let answered = completed(&seat.handle(votes(R1, 0, 0, 4)));
    assert_eq!(answered, [(1, 0, 0), (7, 1, 1), (1, 2, 2), (8, 3, 3)]);
}

#[test]
fn a_request_that_came_too_early_is_passed_on_as_soon_as_it_is_next_and_not_answered() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(1, 0, "first")]));
    seat.handle(held(1, 2, "third"));
    seat.wait_us(150_000);
    let sent = seat.handle(page(R0, 1, &[command(1, 1, "second")]));
    assert_eq!(answers(&sent), []);
    assert_eq!(forwards(&seat.wait_us(1)), [(R0, 2)]);
}

#[test]
fn a_leader_passes_to_its_proposer_only_what_is_next() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    seat.handle(page(R1, 0, &[command(2, 0, "first")]));
    let mut told = told_proposer(&seat.burst([held(1, 0, "next"), held(2, 2, "not yet")]));
    told.extend(told_proposer(&seat.wait_us(1_000_000)));
    let sessions = told.iter().filter_map(|input| match input {
        proposer::Input::RequestIsNext { request, .. } => Some(request.command().session.id),
        _ => None,
    });
    let sessions: Vec<u64> = sessions.collect();
    assert!(!sessions.is_empty() && sessions.iter().all(|id| *id == 1), "{sessions:?}");
}

#[test]
fn a_long_line_that_a_leaders_queue_had_no_room_for_is_passed_to_it_again_soon() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    seat.handle(held(1, 0, &"x".repeat(60_000)));
    let again = told_proposer(&seat.wait_us(1_000_000));
    let is_request =
        |input: &&proposer::Input| matches!(input, proposer::Input::RequestIsNext { .. });
    assert!(again.iter().filter(is_request).count() >= 2, "no path has to carry a copy first");
}

#[test]
fn a_follower_passes_on_what_it_does_not_know_to_be_next() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(2, 0, "first")]));
    seat.handle(held(2, 2, "not yet"));
    assert_eq!(forwards(&seat.wait_us(200_000)), [(R0, 2)]);
}

#[test]
fn a_held_request_is_passed_on_at_doubling_intervals_up_to_a_bound() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(held(1, 0, "a"));
    let begun = seat.now;
    let mut times = Vec::new();
    for round in 2..=290 {
        // A heartbeat of the same leader is no news.
        seat.handle(leads(R0, round, 0, nothing_decided(0)));
        // Its client is there.
        seat.handle(inquiry(1, 0));
        if !forwards(&seat.wait_us(HEARTBEAT_US)).is_empty() {
            times.push(seat.now.since_us(begun) / 1_000);
        }
    }
    assert_eq!(times, [100, 300, 700, 1_500, 3_100, 6_300, 10_300, 14_300]);
}

#[test]
fn an_older_leader_is_not_followed() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R1, 1, 4, nothing_decided(4)));
    seat.handle(leads(R0, 1, 3, nothing_decided(3)));
    assert_eq!(forwards(&seat.handle(held(1, 0, "a"))), [(R1, 0)]);
}

#[test]
fn a_client_is_forgotten_ten_seconds_after_it_was_last_heard() {
    let forwarded = |us: u64| {
        let mut seat = learner(3, R2);
        seat.handle(leads(R0, 1, 0, nothing_decided(0)));
        seat.handle(held(1, 0, "a"));
        seat.now = seat.now.plus_us(us);
        forwards(&seat.wake()).len()
    };
    assert_eq!((forwarded(10_000_000), forwarded(10_000_001)), (1, 0));
}

#[test]
fn a_leader_says_that_it_has_a_command_only_to_a_client_that_asks_again() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    assert_eq!(answers(&seat.handle(held(1, 0, "a"))), []);
    let session = Request::new(1, 1, 0, "a").command().session;
    let has_it = Answer::Held { session, seq: 0, ballot: Ballot(0) };
    assert_eq!(answers(&seat.handle(held(1, 0, "a"))), [(address(1), has_it)]);
}

#[test]
fn of_each_command_that_is_open_a_follower_says_that_it_has_it() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(1, 0, "x"), command(2, 0, "x"), command(2, 1, "x")]));
    let ask = |sessions: &[(u64, u64)]| {
        let commands: Vec<Value> =
            sessions.iter().map(|(session, seq)| command(*session, *seq, "x")).collect();
        let request =
            Request { commands: commands.into(), after: Slot(0), attempt: Attempt::FIRST };
        Input::RequestNotProposed { origin: address(1), request, direct: true }
    };
    let has_it = |(session, seq): (u64, u64)| {
        let session = Request::new(1, session, seq, "x").command().session;
        (address(1), Answer::Held { session, seq, ballot: Ballot(0) })
    };
    let sent = answers(&seat.handle(ask(&[(1, 1), (1, 0), (3, 0)])));
    let of_open: Vec<_> = sent.iter().filter(|(_, it)| matches!(it, Answer::Held { .. })).collect();
    assert_eq!(of_open, [&has_it((1, 1)), &has_it((3, 0))]);
    assert_eq!(answers(&seat.handle(ask(&[(2, 0)]))), [], "that command was applied long ago");
}

#[test]
fn the_bytes_of_waiting_clients_are_counted_as_they_come_and_go() {
    let mut seat = learner(3, R2);
    let line = "x".repeat(65_536);
    // However often one session asks, it takes its room only once.
    (0..300).for_each(|_| drop(seat.handle(held(1_000, 0, &line))));
    (0..400).for_each(|session| drop(seat.handle(held(session, 0, &line))));
    let mut held_here = std::collections::BTreeSet::new();
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    for _ in 0..10 {
        for (_, message) in to_proposers(&seat.wait_us(60_000)) {
            if let ToProposer::Forward { request, .. } = message {
                held_here.insert(request.command().session.id);
            }
        }
    }
    assert_eq!(held_here.len(), 256, "16 MiB of lines are held, to the byte");
}

#[test]
fn the_table_of_waiting_clients_is_bounded_in_number() {
    let mut seat = learner(3, R2);
    let many = 65_536;
    let commands = |sessions: std::ops::Range<u64>| {
        let each = sessions.map(|session| command(session, 0, "x"));
        let request = Request {
            commands: each.collect::<Vec<_>>().into(),
            after: Slot(0),
            attempt: Attempt::FIRST,
        };
        Input::RequestNotProposed { origin: address(1), request, direct: true }
    };
    (0..many).step_by(8_192).for_each(|id| drop(seat.handle(commands(id..id + 8_192))));
    seat.handle(commands(many..many + 1));
    let last = |seat: &mut Subject, session: u64| {
        let slot = seat.role.applied().0;
        completed(&seat.handle(page(R0, slot, &[command(session, 0, "x")])))
    };
    assert_eq!(last(&mut seat, many), []);
    assert_eq!(last(&mut seat, many - 1), [(1, many - 1, 1)]);
}

#[test]
fn a_learner_is_urgent_if_somebody_waits_for_what_it_does() {
    use multipaxos::paxos::Role;
    let mut seat = learner(3, R2);
    assert!(!seat.role.is_urgent());
    seat.handle(held(1, 0, "a"));
    assert!(seat.role.is_urgent(), "a client waits");
    let mut seat = learner(3, R2);
    seat.handle(applied(R0, 1, 5));
    assert!(!seat.role.is_urgent());
    seat.wait_us(20_000);
    assert!(seat.role.is_urgent(), "it has asked for what it lacks");
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    assert!(seat.role.is_urgent(), "a leader is urgent");
}

#[test]
fn a_learner_tells_at_once_that_something_waits_and_only_a_leaders_how_far_it_is() {
    let mut seat = learner(3, R2);
    seat.wait_us(1_000);
    assert_eq!(told_proposer(&seat.handle(page(R0, 0, &noops(2)))), []);
    let sent = seat.burst([voted(0, 3, &noops(1), nothing_decided(0)), page(R0, 2, &noops(1))]);
    let waits = |input: &proposer::Input| match input {
        proposer::Input::Progress { pending, .. } => pending.is_some(),
        _ => false,
    };
    assert!(told_proposer(&sent).iter().any(waits));
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    seat.wait_us(1_000);
    assert_eq!(marks(&seat.handle(page(R1, 0, &noops(2)))).len(), 1);
}

#[test]
fn a_request_is_passed_on_again_only_when_the_copy_before_has_had_its_time() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    assert_eq!(forwards(&seat.handle(held(1, 0, "a"))).len(), 1);
    for _ in 0..3 {
        assert_eq!(forwards(&seat.wait_us(30_000)), []);
        assert_eq!(forwards(&seat.handle(held(1, 0, "a"))), [], "its client asks again");
    }
    assert_eq!(forwards(&seat.wait_us(20_000)).len(), 1);
    // Another leader has no copy.
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    assert_eq!(forwards(&seat.wait_us(1_000)), [(R1, 0)]);
}

#[test]
fn a_request_is_passed_on_again_only_when_the_leaders_proposal_could_be_here() {
    let again_ms = |answer_us: u64, sync_ms: u16| {
        let mut seat = learner(3, R2);
        let (ballot, leading) = (Ballot(0), true);
        let says = Heartbeat { ballot, leading, sync_ms, ..heartbeat(R0, 1) };
        seat.handle(Input::Heartbeat(R0, Box::new(says)));
        seat.handle(Input::Trip(R0, Trip::new(answer_us / 2, answer_us)));
        // What others take says nothing of the leader.
        seat.handle(Input::Trip(R1, Trip::new(3_000_000, 3_000_000)));
        seat.handle(held(1, 0, "a"));
        let begun = seat.now;
        while forwards(&seat.wait_us(10_000)).is_empty() {}
        seat.now.since_us(begun) / 1_000
    };
    assert_eq!(again_ms(1_000, 1), 100);
    assert_eq!(again_ms(600_000, 0), 600);
    assert_eq!(again_ms(600_000, 700), 2_000, "a sync that is under way, and its own");
    assert_eq!(again_ms(10_000_000, 0), 4_000, "and no later");
}

#[test]
fn a_request_that_the_leader_has_proposed_is_not_passed_on_to_it_again() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    assert_eq!(forwards(&seat.handle(held(1, 0, "a"))).len(), 1);
    // The accept for slot 0 is lost, so this replica applies nothing.
    seat.handle(voted(0, 1, &[command(1, 0, "a")], nothing_decided(0)));
    for _ in 0..20 {
        assert_eq!(forwards(&seat.wait_us(100_000)), []);
    }
    // Another leader may know nothing of it.
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    assert_eq!(forwards(&seat.wait_us(1_000)), [(R1, 0)]);
}

// --- long lines ----------------------------------------------------------------------

fn inquiry(session: u64, seq: u64) -> Input {
    let Command { session, seq, birth, .. } = Request::new(1, session, seq, "").command();
    Input::Inquiry(address(1), Inquiry { session, birth, seq, after: Slot(0) })
}

#[test]
fn an_inquiry_is_answered_like_the_request_that_it_names() {
    let mut seat = learner(3, R2);
    assert_eq!(answers(&seat.handle(inquiry(1, 0))), [], "nobody leads, as far as is known");
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    let hint = Answer::Leader { ballot: Ballot(0) };
    let sent = seat.handle(inquiry(1, 0));
    assert_eq!((answers(&sent), forwards(&sent)), (vec![(address(1), hint)], vec![]));
    assert!(!pending(&mut seat), "there is no line that anybody could wait for");
    seat.handle(page(R0, 0, &[command(1, 0, "a"), command(1, 1, "b")]));
    let session = Request::new(1, 1, 0, "").command().session;
    let complete = Answer::Complete {
        session,
        seq: 1,
        slot: Slot(1),
        client_seq: 1,
        attempt: Attempt::UNKNOWN,
    };
    assert_eq!(answers(&seat.handle(inquiry(1, 1))), [(address(1), complete)]);
    assert_eq!(answers(&seat.handle(inquiry(1, 0))), [], "its client has seen the answer");
    let has_it = Answer::Held { session, seq: 2, ballot: Ballot(0) };
    seat.handle(held(1, 2, "c"));
    assert_eq!(answers(&seat.handle(inquiry(1, 2))), [(address(1), has_it)]);
}

#[test]
fn an_inquiry_keeps_the_request_of_its_client_alive() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(held(1, 0, "a"));
    for _ in 0..4 {
        seat.wait_us(6_000_000);
        seat.handle(inquiry(1, 0));
    }
    assert!(pending(&mut seat));
}

#[test]
fn a_long_line_is_passed_on_again_only_when_a_slow_path_would_have_carried_it() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    let long = "x".repeat(60_000);
    assert_eq!(forwards(&seat.handle(held(1, 0, &long))).len(), 1);
    for _ in 0..4 {
        assert_eq!(forwards(&seat.wait_us(500_000)), []);
        assert_eq!(forwards(&seat.handle(held(1, 0, &long))), [], "its client asks again");
    }
    assert_eq!(forwards(&seat.wait_us(1_200_000)).len(), 1);
    // Another leader has no copy.
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    assert_eq!(forwards(&seat.wait_us(1_000)), [(R1, 0)]);
}
