//! Fetching slots from peers, and serving them to peers.

use super::*;

#[test]
fn catching_up_asks_one_peer_at_a_time_and_the_next_when_it_is_silent() {
    let mut seat = learner(5, R0);
    for peer in [R1, R2, R3] {
        seat.handle(applied(peer, 1, 10));
    }
    assert_eq!(fetches(&seat.wait_us(5_000)), [], "missing slots may still come");
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R1, 0, 10)]);
    assert_eq!(fetches(&seat.wait_us(50_000)), []);
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, 10)]);
    assert_eq!(fetches(&seat.wait_us(60_000)), [(R3, 0, 10)]);
    assert_eq!(
        fetches(&seat.wait_us(60_000)),
        [(R1, 0, 10)],
        "the learner asks one peer after the other"
    );
    // A part of the answer comes. So that peer is alive, and the learner waits for it.
    seat.wait_us(40_000);
    seat.handle(page(R1, 0, &noops(4)));
    assert_eq!(fetches(&seat.wait_us(50_000)), []);
    assert_eq!(
        fetches(&seat.wait_us(20_000)),
        [(R1, 4, 10)],
        "the learner asks only for missing slots"
    );
    assert_eq!(fetches(&seat.wait_us(60_000)), [(R2, 4, 10)], "that peer is silent now");
    seat.handle(page(R2, 4, &noops(6)));
    assert_eq!(fetches(&seat.wait_us(1_000_000)), []);
}

#[test]
fn a_part_that_is_left_out_of_an_answer_is_asked_for_at_once() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R2, 1, 20));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, 20)]);
    assert_eq!(fetches(&seat.handle(page(R2, 0, &noops(4)))), []);
    assert_eq!(fetches(&seat.handle(page(R2, 8, &noops(4)))), [(R2, 4, 8)]);
    assert_eq!(fetches(&seat.handle(page(R2, 12, &noops(4)))), [], "once");
    assert_eq!(fetches(&seat.handle(page(R2, 18, &noops(2)))), [(R2, 16, 18)]);
    seat.handle(page(R2, 4, &noops(4)));
    seat.handle(page(R2, 16, &noops(2)));
    assert_eq!(seat.role.applied(), Slot(20));
    assert_eq!(fetches(&seat.wait_us(1_000_000)), []);
}

#[test]
fn several_gaps_are_asked_for_in_one_go() {
    let mut seat = learner(3, R2);
    for first in [1, 4, 6] {
        seat.handle(voted(0, first, &noops(1), decided(0, 0, 8)));
    }
    seat.handle(voted(0, 8, &noops(1), decided(0, 0, 9)));
    let gaps = [(R0, 0, 1), (R0, 2, 4), (R0, 5, 6), (R0, 7, 8)];
    assert_eq!(fetches(&seat.wait_us(3_000)), gaps, "the leader said that it has these slots");
}

#[test]
fn votes_that_pass_over_a_slot_say_that_it_was_lost() {
    let mut seat = learner(3, R0);
    let lost = |sent: &[Envelope]| {
        let pick = |input| match input {
            proposer::Input::Progress { lost, .. } => Some(lost),
            _ => None,
        };
        told_proposer(sent).into_iter().filter_map(pick).next_back().unwrap_or_default()
    };
    seat.handle(proposed(0, 0, &noops(9)));
    seat.handle(votes(R0, 0, 0, 9));
    assert_eq!(lost(&seat.handle(votes(R1, 0, 3, 2))), [], "replica 2 may still vote");
    assert_eq!(lost(&seat.handle(votes(R2, 0, 4, 2))), [range(0, 3)], "slot 3 has a quorum");
    seat.handle(votes(R2, 0, 0, 3));
    assert_eq!(seat.role.applied(), Slot(6));
    assert_eq!(lost(&seat.handle(votes(R2, 0, 8, 1))), [], "replica 1 has not passed over 6");
    seat.handle(votes(R1, 0, 6, 2));
    assert_eq!(seat.role.applied(), Slot(9));
}

#[test]
fn only_a_peer_that_has_more_is_asked_and_for_a_bounded_stretch() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R1, 1, 0));
    seat.handle(applied(R2, 1, 10 * FETCH_SLOTS_MAX));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    let sent = seat.handle(page(R2, 0, &noops(FETCH_SLOTS_MAX as usize)));
    let next = (R2, FETCH_SLOTS_MAX, 2 * FETCH_SLOTS_MAX);
    assert_eq!(fetches(&sent), [next], "a learner that is far behind goes on at once");
}

#[test]
fn an_answer_that_ends_at_its_bound_in_bytes_is_followed_by_the_next_request_at_once() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R2, 1, 10 * FETCH_SLOTS_MAX));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    let long = "x".repeat(1_000);
    let lines = values(&[long.as_str(); 8]);
    let bytes = Values::from(lines.as_slice()).bytes().len();
    let pages = ANSWER_BYTES_MAX.div_ceil(bytes) as u64;
    for page_nr in 0..pages - 1 {
        let sent = seat.handle(page(R2, 8 * page_nr, &lines));
        assert_eq!(fetches(&sent), [], "the answer has not ended yet");
    }
    let sent = seat.handle(page(R2, 8 * (pages - 1), &lines));
    let next = 8 * pages;
    assert_eq!(fetches(&sent), [(R2, next, next + FETCH_SLOTS_MAX)]);
}

#[test]
fn a_learner_does_not_ask_for_slots_that_are_on_their_way() {
    let mut seat = learner(3, R2);
    for round in 0..20 {
        seat.handle(applied(R0, round + 1, round + 1));
        let sent = seat.wait_us(8_000);
        assert_eq!(fetches(&sent), [], "round {round}");
        seat.handle(voted(0, round, &noops(1), decided(0, 0, round + 1)));
    }
    assert_eq!(seat.role.applied(), Slot(20));
}

#[test]
fn a_fetch_is_answered_in_pages_that_fit_datagrams_and_to_a_bound() {
    let mut seat = learner(3, R0);
    let line = "x".repeat(400);
    let log: Vec<Value> = (0..400).map(|session| command(session, 0, &line)).collect();
    seat.handle(page(R1, 0, &log));
    let sent = seat.handle(Input::Peer(
        R2,
        ToLearner::Fetch { slots: SlotRange::new(Slot(5), Slot(1 << 40)) },
    ));
    let mut next = Slot(5);
    let mut total = 0;
    for (to, message) in to_learners(&sent) {
        let bytes = postcard::to_stdvec(&Message::Learner(message.clone())).expect("encoded").len();
        assert!(bytes <= settings(3, R0).payload_bytes, "{bytes} bytes");
        let ToLearner::Page { first, values } = message else { panic!("no page: {message:?}") };
        assert_eq!((to, first), (R2, next));
        next = first.plus(values.len() as u64);
        total += bytes;
    }
    assert!(total > ANSWER_BYTES_MAX / 2 && total <= ANSWER_BYTES_MAX + 2_000, "{total} bytes");
    let beyond = ToLearner::Fetch { slots: SlotRange::new(Slot(400), Slot(500)) };
    assert_eq!(to_learners(&seat.handle(Input::Peer(R2, beyond))), []);
}

#[test]
fn a_page_that_contradicts_what_is_decided_is_refused() {
    let mut seat = learner(3, R2);
    seat.handle(voted(1, 1, &values(&["b"]), decided(1, 1, 2)));
    seat.handle(page(R0, 1, &values(&["other", "c"])));
    seat.handle(page(R1, 0, &values(&["a"])));
    assert_eq!(seat.storage.values(), values(&["a", "b"]));
}

#[test]
fn early_pages_are_kept_within_the_window() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 2, &values(&["c"])));
    seat.handle(page(R0, 1 << 40, &values(&["far"])));
    seat.handle(page(R0, 0, &values(&["a", "b"])));
    assert_eq!(seat.storage.values(), values(&["a", "b", "c"]));
}

#[test]
fn early_pages_are_kept_to_a_bound_in_bytes_and_the_next_slot_is_always_taken() {
    let mut seat = learner(3, R2);
    let long = "x".repeat(8 * 1_024 - COMMAND_BYTES);
    let lines = values(&[long.as_str()]);
    for slot in (1..40).rev() {
        seat.handle(page(R0, slot, &lines));
    }
    seat.handle(page(R0, 0, &lines));
    assert_eq!(seat.role.applied(), Slot(1));
    let fit = 2 * ANSWER_BYTES_MAX as u64 / (8 * 1_024);
    (1..40 - fit).for_each(|slot| drop(seat.handle(page(R0, slot, &lines))));
    assert_eq!(seat.role.applied(), Slot(40), "{fit} were kept");
}

#[test]
fn the_leader_is_asked_only_if_nobody_else_has_more() {
    for (leader, ballot, first) in [(R1, 1, R2), (R2, 2, R1)] {
        let mut seat = learner(3, R0);
        seat.handle(leads(leader, 1, ballot, nothing_decided(ballot)));
        seat.burst([applied(R1, 2, 10), applied(R2, 2, 10)]);
        assert_eq!(fetches(&seat.wait_us(10_000)), [(first, 0, 10)]);
        assert_eq!(
            fetches(&seat.wait_us(60_000)),
            [(leader, 0, 10)],
            "after the others, the learner asks the leader"
        );
    }
    let mut seat = learner(5, R2);
    seat.handle(leads(R3, 1, 3, nothing_decided(3)));
    seat.burst([applied(R0, 2, 10), applied(R3, 2, 10)]);
    assert_eq!(
        fetches(&seat.wait_us(10_000)),
        [(R0, 0, 10)],
        "the next id after its own, counted modulo n"
    );
    let mut seat = learner(3, R0);
    seat.handle(leads(R2, 1, 2, nothing_decided(2)));
    seat.handle(applied(R2, 2, 10));
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R2, 0, 10)], "no other peer has these slots");
}

#[test]
fn slots_that_the_leader_calls_decided_are_asked_for_sooner() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R1, 1, 10));
    assert_eq!(fetches(&seat.wait_us(9_999)), []);
    assert_eq!(fetches(&seat.wait_us(1)), [(R1, 0, 10)]);
    let mut seat = learner(3, R0);
    seat.handle(leads(R1, 1, 1, decided(1, 0, 10)));
    seat.burst([]);
    assert_eq!(fetches(&seat.wait_us(1_999)), []);
    assert_eq!(
        fetches(&seat.wait_us(1)),
        [(R1, 0, 10)],
        "the leader itself has applied these slots"
    );
    // If a phase 2 began above a slot, its leader may not know that slot.
    let mut seat = learner(3, R0);
    seat.handle(leads(R1, 1, 1, decided(1, 5, 10)));
    seat.handle(applied(R2, 1, 7));
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R2, 0, 7)]);
}

#[test]
fn the_wait_for_a_peer_follows_what_its_answers_take() {
    let mut seat = learner(3, R0);
    let upto = 10 * FETCH_SLOTS_MAX;
    seat.handle(applied(R2, 1, upto));
    assert_eq!(fetches(&seat.wait_us(10_000)).len(), 1);
    seat.now = seat.now.plus_us(1_000);
    // A page without new slots does not count as an answer.
    assert_eq!(fetches(&seat.handle(page(R2, 0, &[]))), []);
    seat.now = seat.now.plus_us(3_000);
    seat.handle(page(R2, 0, &noops(8)));
    assert_eq!(fetches(&seat.wait_us(7_999)), []);
    assert_eq!(
        fetches(&seat.wait_us(1)),
        [(R2, 8, 8 + FETCH_SLOTS_MAX)],
        "the wait is twice the time that the answer took"
    );
}

#[test]
fn a_peer_that_has_answered_is_asked_for_the_rest_too() {
    let mut seat = learner(3, R0);
    seat.burst([applied(R1, 1, 10_000), applied(R2, 1, 10_000)]);
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R1, 0, FETCH_SLOTS_MAX)]);
    assert_eq!(fetches(&seat.wait_us(60_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    let sent = seat.handle(page(R2, 0, &noops(FETCH_SLOTS_MAX as usize)));
    assert_eq!(fetches(&sent), [(R2, FETCH_SLOTS_MAX, 2 * FETCH_SLOTS_MAX)]);
}

#[test]
fn each_gap_may_be_answered_up_to_the_bound_in_bytes() {
    let mut seat = learner(3, R2);
    let long = "x".repeat(8 * 1_024 - COMMAND_BYTES);
    let lines = values(&[long.as_str()]);
    seat.handle(voted(0, 8, &noops(2), decided(0, 0, 20)));
    assert_eq!(fetches(&seat.wait_us(2_000)), [(R0, 0, 8), (R0, 10, 20)]);
    seat.now = seat.now.plus_us(4_000);
    for slot in (0..8).chain(10..12) {
        assert_eq!(fetches(&seat.handle(page(R0, slot, &lines))), []);
    }
    assert_eq!(seat.role.applied(), Slot(12));
    assert_eq!(fetches(&seat.wait_us(7_999)), [], "the rest of the answer may still come");
    assert_eq!(fetches(&seat.wait_us(1)), [(R0, 12, 20)]);
}

#[test]
fn a_page_left_out_at_the_end_of_an_answer_is_asked_for_once() {
    let mut seat = learner(3, R0);
    let long = "x".repeat(8 * 1_024 - COMMAND_BYTES);
    let lines = values(&[long.as_str()]);
    seat.handle(applied(R2, 1, 10 * FETCH_SLOTS_MAX));
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    (0..7).for_each(|slot| drop(seat.handle(page(R2, slot, &lines))));
    let sent = seat.handle(page(R2, 8, &lines));
    assert_eq!(fetches(&sent), [(R2, 7, 8), (R2, 9, 7 + FETCH_SLOTS_MAX)]);
}

#[test]
fn sixteen_gaps_are_asked_for_at_once() {
    let mut seat = learner(3, R2);
    for slot in (1..60).step_by(2) {
        seat.handle(voted(0, slot, &noops(1), nothing_decided(0)));
    }
    seat.handle(leads(R0, 1, 0, decided(0, 0, 60)));
    let gaps: Vec<_> = (0..16).map(|gap| (R0, 2 * gap, 2 * gap + 1)).collect();
    seat.burst([]);
    assert_eq!(fetches(&seat.wait_us(2_000)), gaps);
    // The last of these messages ends the answer, and the learner asks for the next slots.
    for slot in (0..30).step_by(2) {
        assert_eq!(fetches(&seat.handle(page(R0, slot, &noops(1)))), []);
    }
    seat.handle(page(R0, 30, &noops(1)));
    assert_eq!(seat.role.applied(), Slot(32));
    let next: Vec<_> = (16..30).map(|gap| (R0, 2 * gap, 2 * gap + 1)).collect();
    assert_eq!(fetches(&seat.wait_us(2_000)), next);
}

#[test]
fn slots_that_are_here_are_not_asked_for() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 2, &noops(2)));
    seat.handle(voted(1, 6, &noops(4), nothing_decided(1)));
    seat.handle(leads(R1, 1, 1, decided(1, 0, 8)));
    seat.handle(applied(R1, 2, 12));
    seat.burst([]);
    assert_eq!(fetches(&seat.wait_us(2_000)), [(R1, 0, 2), (R1, 4, 6), (R1, 8, 12)]);
}

#[test]
fn a_value_that_is_not_decided_divides_no_gap() {
    let mut seat = learner(3, R2);
    seat.handle(voted(1, 6, &noops(4), nothing_decided(1)));
    seat.handle(applied(R1, 1, 12));
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R1, 0, 12)]);
}

#[test]
fn a_learner_far_behind_asks_on_at_once_and_one_nearby_waits() {
    for (ahead, at_once) in [(FETCH_SLOTS_MAX / 4, false), (FETCH_SLOTS_MAX / 4 + 1, true)] {
        let mut seat = learner(3, R0);
        seat.handle(applied(R2, 1, 10));
        assert_eq!(fetches(&seat.wait_us(10_000)), [(R2, 0, 10)]);
        seat.handle(applied(R2, 2, 10 + ahead));
        let sent = seat.handle(page(R2, 0, &noops(10)));
        assert_eq!(!fetches(&sent).is_empty(), at_once, "{ahead} slots behind");
    }
}
