//! Fetching slots from peers, and serving them to peers.

use super::*;
use multipaxos::paxos::pace::Trip;
use multipaxos::types::Time;
use std::collections::VecDeque;

/// The proposer has measured that the answers of these peers take a millisecond.
fn near(seat: &mut Subject, peers: &[ReplicaId]) {
    for peer in peers {
        seat.handle(Input::Trip(*peer, Trip::new(1_000, 2_000)));
    }
}

#[test]
fn a_peer_that_is_silent_is_passed_over_for_the_others() {
    let mut seat = learner(5, R0);
    near(&mut seat, &[R1, R2, R3]);
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
    seat.wait_us(100_000);
    seat.handle(page(R1, 0, &noops(4)));
    let mut next = || (0..).find_map(|_| fetches(&seat.wait_us(1_000)).first().copied());
    assert_eq!(next(), Some((R1, 4, 10)), "the learner asks only for missing slots");
    assert_eq!(next(), Some((R2, 4, 10)), "that peer is silent now");
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
fn slots_that_are_decided_and_do_not_come_are_something_that_waits() {
    let mut seat = learner(3, R2);
    assert!(!pending(&mut seat));
    seat.handle(applied(R0, 1, 5));
    assert!(!pending(&mut seat), "they may be on their way");
    assert!(pending(&mut seat), "nothing has come since the last heartbeat");
    seat.handle(page(R0, 0, &noops(3)));
    assert!(!pending(&mut seat), "something has");
    assert!(pending(&mut seat));
    seat.handle(page(R0, 3, &noops(2)));
    assert!(!pending(&mut seat));
}

#[test]
fn slots_that_were_applied_before_lines_were_cut_off_wait_though_no_other_has_them() {
    let learner = Learner::new(settings(3, R2), membership(3, R2), Checkpoint::default());
    let mut seat = Seat::new(learner.once_at(Slot(2)), Log::default());
    assert!(pending(&mut seat));
    seat.handle(page(R0, 0, &noops(2)));
    assert!(!pending(&mut seat) && !pending(&mut seat));
}

#[test]
fn what_waits_above_a_gap_gives_way_to_what_is_lower() {
    let mut settings = settings(3, R0);
    // Room for two lines.
    settings.limits.early_bytes = 2 * (COMMAND_BYTES + 100);
    let learner = Learner::new(settings, membership(3, R0), Checkpoint::default());
    let mut seat: Subject = Seat::new(learner, Log::default());
    let line = [value(&"x".repeat(100))];
    seat.handle(applied(R2, 1, 40));
    seat.wait_us(20_000);
    for slot in [30, 20, 10, 1, 2] {
        seat.handle(page(R2, slot, &line));
    }
    seat.handle(page(R2, 0, &line));
    assert_eq!(seat.role.applied(), Slot(3), "slots 1 and 2 took the places of 10 to 30");
    let gaps: Vec<_> = fetches(&seat.wait_us(1_000_000));
    assert!(gaps.iter().any(|(_, first, end)| (*first..*end).contains(&10)), "{gaps:?}");
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
    let by = |first, count, peers: &[_]| crate::common::lost(range(first, count), peers);
    assert_eq!(lost(&seat.handle(votes(R1, 0, 3, 2))), [by(0, 3, &[R1])]);
    let both = [by(0, 3, &[R1, R2])];
    assert_eq!(lost(&seat.handle(votes(R2, 0, 4, 2))), both, "slot 3 has a quorum");
    seat.handle(votes(R2, 0, 0, 3));
    assert_eq!(seat.role.applied(), Slot(6));
    let one = [by(6, 2, &[R2])];
    assert_eq!(lost(&seat.handle(votes(R2, 0, 8, 1))), one, "replica 1 has not passed over 6");
    seat.handle(votes(R1, 0, 6, 2));
    assert_eq!(seat.role.applied(), Slot(9));
}

#[test]
fn only_a_peer_that_has_more_is_asked_and_for_bounded_stretches() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R1, 1, 0));
    seat.handle(applied(R2, 1, 3 * FETCH_SLOTS_MAX + 5));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    let sent = seat.handle(page(R2, 0, &noops(FETCH_SLOTS_MAX as usize)));
    let next = |from: u64| (R2, from * FETCH_SLOTS_MAX, (from + 1) * FETCH_SLOTS_MAX);
    let last = (R2, 3 * FETCH_SLOTS_MAX, 3 * FETCH_SLOTS_MAX + 5);
    assert_eq!(fetches(&sent), [next(1), next(2), last], "a learner far behind goes on at once");
}

/// A line that takes this many bytes in a page.
fn line_of(bytes: usize) -> Vec<Value> {
    values(&["x".repeat(bytes - COMMAND_BYTES).as_str()])
}

/// How many bytes of lines of this size were asked for.
fn asked_bytes(sent: &[Envelope], bytes: u64) -> u64 {
    fetches(sent).iter().map(|(_, first, end)| (end - first) * bytes).sum()
}

#[test]
fn an_answer_that_ends_at_its_bound_in_bytes_is_followed_by_the_next_request_at_once() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R2, 1, FETCH_SLOTS_MAX));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    let line = line_of(1_024);
    for slot in 0..63 {
        assert_eq!(fetches(&seat.handle(page(R2, slot, &line))), [], "it has not ended yet");
    }
    let sent = seat.handle(page(R2, 63, &line));
    let next: Vec<_> = (4..8).map(|part| (R2, 16 * part, 16 * (part + 1))).collect();
    assert_eq!(fetches(&sent)[..4], next, "of what a slot holds the learner knows now");
    assert_eq!(asked_bytes(&sent, 1_024), ANSWER_BYTES_MAX as u64, "a window of them");
}

#[test]
fn what_is_on_its_way_doubles_with_each_round_trip_and_is_bounded() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R2, 1, 1_000_000));
    let line = line_of(1_024);
    let mut open = fetches(&seat.wait_us(20_000));
    let mut rounds = Vec::new();
    for _ in 0..9 {
        seat.now = seat.now.plus_us(100_000);
        let asked = std::mem::take(&mut open);
        let mut came = 0;
        for (peer, first, end) in asked {
            // A page for each slot, up to the bound of an answer.
            for slot in (first..end).take(ANSWER_BYTES_MAX / 1_024) {
                open.extend(fetches(&seat.handle(page(peer, slot, &line))));
                came += 1_024;
            }
        }
        rounds.push(came >> 10);
    }
    assert_eq!(rounds, [64, 128, 256, 512, 1_024, 1_024, 1_024, 1_024, 1_024]);
    assert!(open.len() <= FETCHES_MAX);
}

#[test]
fn several_peers_are_asked_at_a_time_and_the_leader_only_without_them() {
    let mut seat = learner(5, R0);
    near(&mut seat, &[R1, R2, R3]);
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    seat.burst([R1, R2, R3].map(|peer| applied(peer, 2, 50_000)));
    let part = |peer, part: u64| (peer, part * FETCH_SLOTS_MAX, (part + 1) * FETCH_SLOTS_MAX);
    assert_eq!(fetches(&seat.wait_us(10_000)), [part(R2, 0), part(R3, 1)]);
    // Both are silent: the leader is asked for what they were asked for, and then for more.
    assert_eq!(fetches(&seat.wait_us(60_000))[..2], [part(R1, 0), part(R1, 1)]);
    assert!(fetches(&seat.wait_us(50_000)).is_empty());
}

#[test]
fn of_peers_that_are_all_silent_each_has_its_turn() {
    let mut seat = learner(3, R0);
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    seat.burst([applied(R1, 2, 10), applied(R2, 2, 10)]);
    let mut next = || (0..).find_map(|_| fetches(&seat.wait_us(1_000)).first().copied());
    let asked: Vec<_> = (0..6).filter_map(|_| next()).map(|(peer, ..)| peer).collect();
    assert_eq!(asked, [R2, R1, R2, R1, R2, R1], "the other may have died, and the leader lives");
}

#[test]
fn of_silent_peers_one_whose_heartbeats_have_stopped_comes_last() {
    let mut seat = learner(5, R0);
    near(&mut seat, &[R1, R2, R3]);
    for peer in [R1, R2, R3] {
        seat.handle(applied(peer, 1, 10));
    }
    // Replica 2 dies, and the answers of the others are lost.
    let mut asked = Vec::new();
    for round in 2..50 {
        seat.burst([applied(R1, round, 10), applied(R3, round, 10)]);
        asked.extend(fetches(&seat.wait_us(50_000)).into_iter().map(|(peer, ..)| peer));
    }
    assert_eq!(asked[..6], [R1, R2, R3, R1, R2, R3], "nobody knows yet that it is dead");
    assert!(asked.len() > 8 && !asked[6..].contains(&R2), "{asked:?}");
}

#[test]
fn what_was_asked_for_before_three_pages_of_later_answers_is_lost() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R2, 1, 4 * FETCH_SLOTS_MAX));
    seat.wait_us(10_000);
    let whole = noops(FETCH_SLOTS_MAX as usize);
    let sent = fetches(&seat.handle(page(R2, 0, &whole)));
    assert_eq!(sent.len(), 3);
    let last = sent[2].1;
    assert_eq!(fetches(&seat.handle(page(R2, last, &noops(1)))), [], "it may be overtaken");
    assert_eq!(fetches(&seat.handle(page(R2, last + 1, &noops(1)))), []);
    assert_eq!(fetches(&seat.handle(page(R2, last + 2, &noops(1)))), sent[..2], "at once");
    assert_eq!(fetches(&seat.handle(page(R2, sent[0].1, &whole))), []);
    seat.handle(page(R2, sent[1].1, &whole));
    assert_eq!(fetches(&seat.handle(page(R2, last + 3, &whole[3..]))), []);
    assert_eq!(seat.role.applied(), Slot(4 * FETCH_SLOTS_MAX));
}

#[test]
fn slots_are_fetched_no_further_ahead_than_a_bound() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R2, 1, 1_000_000));
    seat.wait_us(10_000);
    // The first slot is missing, and all others are here.
    let mut open = fetches(&seat.handle(page(R2, 1, &noops(FETCH_SLOTS_MAX as usize - 1))));
    let mut highest = 0;
    while let Some((peer, first, end)) = open.pop() {
        highest = highest.max(end);
        if first > 0 {
            open.extend(fetches(&seat.handle(page(peer, first, &noops((end - first) as usize)))));
        }
    }
    assert_eq!(highest, AHEAD_SLOTS);
    assert_eq!(seat.role.applied(), Slot::ZERO);
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
    let line = line_of(8 * 1_024);
    for slot in (1..400).rev() {
        seat.handle(page(R0, slot, &line));
    }
    seat.handle(page(R0, 0, &line));
    let fit = (2 << 20) / (8 * 1_024);
    assert_eq!(seat.role.applied(), Slot(1 + fit), "the lowest were kept");
    (1 + fit..400).for_each(|slot| drop(seat.handle(page(R0, slot, &line))));
    assert_eq!(seat.role.applied(), Slot(400));
}

#[test]
fn no_more_is_asked_for_than_may_wait_above_a_gap() {
    let mut seat = learner(3, R2);
    let line = line_of(8 * 1_024);
    seat.handle(applied(R0, 1, 100_000));
    seat.wait_us(10_000);
    let (mut open, mut here) = (vec![(R0, 0, FETCH_SLOTS_MAX)], 0);
    while !open.is_empty() {
        let (peer, first, end) = open.remove(0);
        for slot in (first..end).filter(|slot| *slot > 0).take(ANSWER_BYTES_MAX / (8 * 1_024)) {
            open.extend(fetches(&seat.handle(page(peer, slot, &line))));
            here += 1;
        }
        assert!(here < 300, "{here} lines of 8 KiB wait above slot 0");
    }
    assert!(here > 200, "{here}");
    assert_eq!(seat.role.applied(), Slot::ZERO);
}

#[test]
fn the_leader_is_asked_only_if_nobody_else_has_more() {
    for (leader, ballot, first) in [(R1, 1, R2), (R2, 2, R1)] {
        let mut seat = learner(3, R0);
        near(&mut seat, &[R1, R2]);
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
    seat.handle(applied(R2, 1, FETCH_SLOTS_MAX));
    assert_eq!(fetches(&seat.wait_us(10_000)).len(), 1);
    seat.now = seat.now.plus_us(1_000);
    // A page without new slots does not count as an answer.
    assert_eq!(fetches(&seat.handle(page(R2, 0, &[]))), []);
    seat.now = seat.now.plus_us(3_000);
    seat.handle(page(R2, 0, &noops(8)));
    assert_eq!(fetches(&seat.wait_us(7_999)), []);
    assert_eq!(
        fetches(&seat.wait_us(1)),
        [(R2, 8, FETCH_SLOTS_MAX)],
        "the wait is twice the time that the answer took"
    );
}

#[test]
fn a_round_trip_longer_than_the_first_wait_is_waited_for() {
    let mut seat = learner(2, R0);
    near(&mut seat, &[R1]);
    seat.handle(applied(R1, 1, 100_000));
    let (mut asked, began) = (0, seat.now);
    // Each answer takes a second. What it answers has been asked for several times.
    let mut under_way = VecDeque::new();
    while seat.role.applied() < Slot(100_000) {
        let sent = fetches(&seat.wait_us(1_000));
        asked += sent.len();
        under_way.extend(sent.into_iter().map(|fetch| (seat.now, fetch)));
        while under_way.front().is_some_and(|(at, _)| seat.now.since_us(*at) >= 1_000_000) {
            let Some((_, (peer, first, end))) = under_way.pop_front() else { break };
            let sent = fetches(&seat.handle(page(peer, first, &noops((end - first) as usize))));
            asked += sent.len();
            under_way.extend(sent.into_iter().map(|fetch| (seat.now, fetch)));
        }
    }
    assert!(asked < 105, "{asked} fetches for 98 stretches");
    assert!(seat.now.since_us(began) < 9_000_000, "some round trips");
}

#[test]
fn a_peer_that_has_answered_is_asked_for_the_rest_too() {
    let mut seat = learner(3, R0);
    near(&mut seat, &[R1, R2]);
    let part = |peer, part: u64| (peer, part * FETCH_SLOTS_MAX, (part + 1) * FETCH_SLOTS_MAX);
    seat.burst([applied(R1, 1, 4_096), applied(R2, 1, 4_096)]);
    assert_eq!(fetches(&seat.wait_us(10_000)), [part(R1, 0), part(R2, 1)]);
    let noops = noops(FETCH_SLOTS_MAX as usize);
    seat.now = seat.now.plus_us(40_000);
    assert_eq!(
        fetches(&seat.handle(page(R2, FETCH_SLOTS_MAX, &noops))),
        [part(R2, 2), part(R1, 3)]
    );
    assert_eq!(fetches(&seat.wait_us(20_000)), [part(R2, 0)], "replica 1 is silent");
}

#[test]
fn each_gap_may_be_answered_up_to_the_bound_in_bytes() {
    let mut seat = learner(3, R2);
    let line = line_of(8 * 1_024);
    seat.handle(voted(0, 8, &noops(2), decided(0, 0, 20)));
    assert_eq!(fetches(&seat.wait_us(2_000)), [(R0, 0, 8), (R0, 10, 20)]);
    seat.now = seat.now.plus_us(4_000);
    for slot in (0..8).chain(10..12) {
        assert_eq!(fetches(&seat.handle(page(R0, slot, &line))), []);
    }
    assert_eq!(seat.role.applied(), Slot(12));
    assert_eq!(fetches(&seat.wait_us(7_999)), [], "the rest of the answer may still come");
    let rest = [(R0, 12, 14), (R0, 14, 16), (R0, 16, 18), (R0, 18, 20)];
    assert_eq!(fetches(&seat.wait_us(1)), rest);
}

#[test]
fn a_page_left_out_at_the_end_of_an_answer_is_asked_for_once() {
    let mut seat = learner(3, R0);
    let line = line_of(8 * 1_024);
    seat.handle(applied(R2, 1, FETCH_SLOTS_MAX));
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    (0..7).for_each(|slot| drop(seat.handle(page(R2, slot, &line))));
    let sent = seat.handle(page(R2, 8, &line));
    assert_eq!(fetches(&sent)[..3], [(R2, 7, 8), (R2, 9, 11), (R2, 11, 13)]);
    assert_eq!(fetches(&seat.handle(page(R2, 7, &line))).iter().filter(|f| f.1 < 9).count(), 0);
}

#[test]
fn all_gaps_are_asked_for_at_once_up_to_a_bound() {
    let mut seat = learner(3, R2);
    let gaps = STRETCHES_MAX as u64 + 30;
    for slot in (1..2 * gaps).step_by(2) {
        seat.handle(voted(0, slot, &noops(1), nothing_decided(0)));
    }
    seat.handle(leads(R0, 1, 0, decided(0, 0, 2 * gaps)));
    let all: Vec<_> = (0..gaps).map(|gap| (R0, 2 * gap, 2 * gap + 1)).collect();
    seat.burst([]);
    assert_eq!(fetches(&seat.wait_us(2_000)), all[..STRETCHES_MAX]);
    seat.now = seat.now.plus_us(2_000);
    let mut next = Vec::new();
    for slot in (0..20).step_by(2) {
        next.extend(fetches(&seat.handle(page(R0, slot, &noops(1)))));
    }
    assert_eq!(seat.role.applied(), Slot(20));
    assert_eq!(next, all[STRETCHES_MAX..STRETCHES_MAX + 10]);
}

#[test]
fn as_many_slots_are_on_their_way_wherever_the_gaps_are() {
    // Every slot is missing, or every second one.
    for (step, asked) in [(1, vec![(R0, 0, 8), (R0, 8, 16)]), (2, Vec::new())] {
        let mut settings = settings(3, R2);
        (settings.limits.fetches, settings.limits.fetch_slots) = (2, 8);
        let learner = Learner::new(settings, membership(3, R2), Checkpoint::default());
        let mut seat: Subject = Seat::new(learner, Log::default());
        if step == 2 {
            for slot in (1..60).step_by(2) {
                seat.handle(voted(0, slot, &noops(1), nothing_decided(0)));
            }
        }
        let one_by_one = (0..16).map(|gap| (R0, 2 * gap, 2 * gap + 1));
        let asked = if step == 2 { one_by_one.collect() } else { asked };
        seat.handle(leads(R0, 1, 0, decided(0, 0, 60)));
        seat.burst([]);
        assert_eq!(fetches(&seat.wait_us(2_000)), asked);
        let sent = seat.handle(page(R0, 0, &noops(1)));
        let next = if step == 2 { (R0, 32, 33) } else { (R0, 16, 17) };
        assert_eq!(fetches(&sent), [next], "a slot has come, and another one is asked for");
    }
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

/// A path from a peer that has everything: requests arrive after half a round trip, pages
/// leave one behind the other, and those that find the queue full are lost.
struct Path {
    half_trip_us: u64,
    bytes_per_s: u64,
    queue_bytes: u64,
    /// When the line is free again.
    free_at: Time,
    /// The pages that are on their way: when each arrives, its slot.
    pages: VecDeque<(Time, u64)>,
    /// How long each page has waited for the line.
    waited_us: Vec<u64>,
    lost: u64,
}

impl Path {
    fn new(half_trip_us: u64, bytes_per_s: u64, queue_bytes: u64) -> Self {
        Path {
            half_trip_us,
            bytes_per_s,
            queue_bytes,
            free_at: Time(0),
            pages: VecDeque::new(),
            waited_us: Vec::new(),
            lost: 0,
        }
    }

    /// The peer is asked at `now`, and answers with a line of `bytes` in each page.
    fn ask(&mut self, now: Time, first: u64, end: u64, bytes: u64) {
        let at = now.plus_us(self.half_trip_us);
        for slot in (first..end).take(ANSWER_BYTES_MAX.div_ceil(bytes as usize)) {
            let waits_us = self.free_at.since_us(at);
            if waits_us * self.bytes_per_s / 1_000_000 > self.queue_bytes {
                self.lost += 1;
                continue;
            }
            self.waited_us.push(waits_us);
            self.free_at = self.free_at.max(at).plus_us(bytes * 1_000_000 / self.bytes_per_s);
            self.pages.push_back((self.free_at.plus_us(self.half_trip_us), slot));
        }
    }

    /// How long a page waited in the second half of a run, on average.
    fn waits_us(&self) -> u64 {
        let settled = &self.waited_us[self.waited_us.len() / 2..];
        settled.iter().sum::<u64>() / settled.len() as u64
    }

    /// Lets a learner catch up for so many seconds, and returns how many bytes it applied.
    fn run(&mut self, secs: u64, bytes: u64) -> u64 {
        let mut seat = learner(2, R0);
        let line = line_of(bytes as usize);
        seat.handle(applied(R1, 1, u64::from(u32::MAX)));
        let end = seat.now.plus_us(secs * 1_000_000);
        while seat.now < end {
            let mut sent = seat.wait_us(500);
            while self.pages.front().is_some_and(|(at, _)| *at <= seat.now)
                && let Some((_, slot)) = self.pages.pop_front()
            {
                sent.extend(seat.handle(page(R1, slot, &line)));
            }
            for (_, first, end) in fetches(&sent) {
                self.ask(seat.now, first, end, bytes);
            }
        }
        seat.role.applied().0 * bytes
    }
}

#[test]
fn catching_up_takes_most_of_a_long_path_and_leaves_its_queue_short() {
    for (half_trip_us, bytes_per_s, queue_bytes, share) in [
        // 100 Mbit/s with 100 and with 50 ms, 10 Mbit/s with 20 ms, 1 Mbit/s with 50 ms.
        (50_000, 12_500_000, 1_250_000, 60),
        (25_000, 12_500_000, 625_000, 80),
        (10_000, 1_250_000, 62_500, 60),
        (25_000, 125_000, 62_500, 60),
    ] {
        let mut path = Path::new(half_trip_us, bytes_per_s, queue_bytes);
        let applied = path.run(10, 1_300);
        let (most, waits_us) = (10 * bytes_per_s, path.waits_us());
        println!("{applied} of {most} bytes, {waits_us} us in the queue, {} lost", path.lost);
        assert!(applied >= most * share / 100, "{applied} of {most} bytes in ten seconds");
        if bytes_per_s > 10_000_000 {
            assert!(waits_us < 25_000, "others wait {waits_us} us behind these pages");
            assert_eq!(path.lost, 0);
        }
    }
}

// --- accepts that come late ------------------------------------------------------------

#[test]
fn an_accept_that_comes_late_is_waited_for_the_next_time() {
    let mut seat = learner(3, R2);
    let mut late = |slot: u64| {
        seat.handle(applied(R0, slot + 1, slot + 1));
        let asked = fetches(&seat.wait_us(60_000)).len();
        seat.handle(voted(0, slot, &noops(1), decided(0, slot, slot + 1)));
        assert_eq!(seat.role.applied(), Slot(slot + 1));
        asked
    };
    assert!(late(0) > 0, "nobody knew");
    assert_eq!([1, 2, 3].map(&mut late), [0; 3]);
    // One that does not come at all is asked for in the end.
    seat.handle(applied(R0, 9, 5));
    assert!(!fetches(&seat.wait_us(100_000)).is_empty());
}

#[test]
fn an_unknown_way_is_given_a_second_and_a_known_one_what_it_takes() {
    let mut seat = learner(3, R0);
    seat.burst([applied(R1, 1, 10), applied(R2, 1, 10)]);
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R1, 0, 10)]);
    assert_eq!(fetches(&seat.wait_us(999_999)), []);
    assert_eq!(fetches(&seat.wait_us(1)), [(R2, 0, 10)], "nothing is known of replica 1");
    seat.handle(Input::Trip(R2, Trip::new(250_000, 300_000)));
    assert_eq!(fetches(&seat.wait_us(299_999)), []);
    assert_eq!(fetches(&seat.wait_us(1)), [(R1, 0, 10)], "replica 2 would have answered");
}

#[test]
fn where_answers_vary_a_page_that_is_passed_over_is_waited_for() {
    for (longest_us, waits_us) in [(10_000, 0), (60_000, 50_000)] {
        let mut seat = learner(2, R0);
        seat.handle(Input::Trip(R1, Trip::new(10_000, longest_us)));
        seat.handle(applied(R1, 1, 10));
        assert_eq!(fetches(&seat.wait_us(10_000)), [(R1, 0, 10)]);
        seat.now = seat.now.plus_us(10_000);
        let mut asked = fetches(&seat.handle(page(R1, 4, &noops(6))));
        if waits_us > 0 {
            assert_eq!(asked, []);
            assert_eq!(fetches(&seat.wait_us(waits_us - 1)), []);
            asked = fetches(&seat.wait_us(1));
        }
        assert_eq!(asked, [(R1, 0, 4)], "a page may come {waits_us} us late");
    }
}
