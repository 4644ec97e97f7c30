//! When a slot is decided: acceptances, marks, and the leader to whom they belong.

use super::*;

#[test]
fn a_quorum_of_votes_at_one_ballot_decides() {
    let mut seat = learner(5, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b"])));
    seat.handle(votes(R0, 0, 0, 2));
    seat.handle(votes(R3, 0, 0, 1));
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(votes(R2, 0, 0, 2));
    assert_eq!(seat.storage.values(), values(&["a"]), "slot 1 has two acceptances of five");
    seat.handle(votes(R3, 0, 1, 1));
    assert_eq!(seat.storage.values(), values(&["a", "b"]));
}

#[test]
fn a_vote_that_comes_twice_from_one_acceptor_counts_once() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.burst([votes(R1, 0, 0, 1), votes(R1, 0, 0, 1), votes(R1, 0, 0, 1)]);
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(votes(R2, 0, 0, 1));
    assert_eq!(seat.role.applied(), Slot(1));
}

#[test]
fn votes_may_come_before_the_proposal() {
    let mut seat = learner(3, R0);
    seat.burst([votes(R1, 0, 0, 1), votes(R2, 0, 0, 1)]);
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(proposed(0, 0, &values(&["a"])));
    assert_eq!(seat.storage.values(), values(&["a"]));
}

#[test]
fn votes_are_not_tallied_across_ballots() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.handle(votes(R1, 0, 0, 1));
    // The same value is proposed again, two leaders later.
    seat.handle(proposed(3, 0, &values(&["a"])));
    seat.handle(votes(R2, 3, 0, 1));
    assert_eq!(seat.role.applied(), Slot(0));
    // An acceptance at the older ballot comes late.
    seat.handle(votes(R0, 0, 0, 1));
    seat.handle(votes(R2, 0, 0, 1));
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(votes(R1, 3, 0, 1));
    assert_eq!(seat.role.applied(), Slot(1));
}

#[test]
fn votes_of_an_older_ballot_do_not_help_a_newer_one_whose_votes_come_first() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.handle(votes(R1, 0, 0, 1));
    seat.handle(votes(R2, 3, 0, 1));
    seat.handle(proposed(3, 0, &values(&["b"])));
    assert_eq!(seat.role.applied(), Slot(0), "one acceptance at each ballot is no quorum");
    seat.handle(votes(R1, 3, 0, 1));
    assert_eq!(seat.storage.values(), values(&["b"]));
}

#[test]
fn a_quorum_does_not_decide_a_value_known_at_another_ballot() {
    let mut seat = learner(3, R0);
    // The acceptor accepted at ballot 1. The learner has not heard the proposal at ballot 3.
    seat.handle(voted(1, 0, &values(&["old"]), nothing_decided(1)));
    seat.burst([votes(R1, 3, 0, 1), votes(R2, 3, 0, 1)]);
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(proposed(3, 0, &values(&["new"])));
    assert_eq!(seat.storage.values(), values(&["new"]));
}

#[test]
fn votes_for_a_ballot_of_another_replica_are_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(voted(1, 0, &values(&["a"]), nothing_decided(1)));
    seat.burst([votes(R0, 1, 0, 1), votes(R1, 1, 0, 1), votes(R2, 1, 0, 1)]);
    assert_eq!(seat.role.applied(), Slot(0));
}

#[test]
fn the_acceptance_of_a_foreign_directory_does_not_count_and_the_sender_is_told_so() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.handle(votes(R0, 0, 0, 1));
    let voter = foreign(R1);
    let slots = vec![range(0, 1)].into();
    let foreign = ToLearner::Accepted { ballot: Ballot(0), voter, slots };
    let sent = seat.handle(Input::Peer(R1, foreign));
    assert_eq!(seat.role.applied(), Slot(0));
    assert_eq!(to_replicas(&sent), [(R1, ToBootstrap::NotMember { directory: voter.directory })]);
}

#[test]
fn a_range_of_votes_that_names_every_slot_there_is_costs_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.handle(votes(R1, 0, 0, u64::MAX));
    seat.handle(votes(R2, 0, 0, 1 << 62));
    assert_eq!(seat.storage.values(), values(&["a"]));
}

#[test]
fn a_mark_decides_only_what_was_accepted_here_at_exactly_its_ballot() {
    let mut seat = learner(3, R2);
    seat.handle(voted(0, 0, &values(&["old"]), nothing_decided(0)));
    seat.handle(voted(1, 1, &values(&["b"]), nothing_decided(1)));
    seat.handle(voted(1, 3, &values(&["d"]), nothing_decided(1)));
    seat.handle(leads(R1, 1, 1, decided(1, 0, 3)));
    assert_eq!(seat.role.applied(), Slot(0), "slot 0 is accepted at ballot 0");
    // The learner fetches all other slots.
    seat.handle(applied(R1, 2, 3));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R1, 0, 1), (R1, 2, 3)]);
    seat.handle(page(R1, 0, &values(&["new"])));
    assert_eq!(seat.storage.values(), values(&["new", "b"]), "slot 2 is not held at all");
    seat.handle(page(R1, 2, &values(&["c"])));
    assert_eq!(seat.role.applied(), Slot(3), "slot 3 is accepted and not marked");
}

#[test]
fn a_mark_says_nothing_about_slots_before_phase_2_began() {
    let mut seat = learner(3, R2);
    seat.handle(voted(1, 0, &values(&["a", "b"]), nothing_decided(1)));
    seat.handle(leads(R1, 1, 1, decided(1, 1, 2)));
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(page(R1, 0, &values(&["a"])));
    assert_eq!(seat.role.applied(), Slot(2));
}

#[test]
fn a_mark_that_came_before_the_acceptance_decides_it_later() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R1, 1, 1, decided(1, 0, 2)));
    seat.handle(voted(1, 0, &values(&["a", "b"]), nothing_decided(1)));
    assert_eq!(seat.storage.values(), values(&["a", "b"]));
}

#[test]
fn a_mark_of_an_older_leader_is_not_believed_for_newer_acceptances() {
    let mut seat = learner(3, R2);
    seat.handle(voted(3, 0, &values(&["new"]), nothing_decided(3)));
    seat.handle(leads(R1, 1, 1, decided(1, 0, 1)));
    assert_eq!(seat.role.applied(), Slot(0));
}

#[test]
fn the_own_tally_is_told_as_one_range_from_the_start_of_phase_2() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b", "c"])));
    seat.burst([votes(R0, 0, 0, 3), votes(R1, 0, 2, 1)]);
    assert_eq!(marks(&seat.wait_us(HEARTBEAT_US)).pop(), Some(decided(0, 0, 0)), "a gap at 0");
    let sent = seat.handle(votes(R2, 0, 0, 2));
    assert_eq!(marks(&sent), [decided(0, 0, 3)]);
}

#[test]
fn slots_tallied_above_a_gap_are_told_at_once() {
    let mut seat = learner(3, R0);
    let Input::Proposed { run, requesters, .. } = proposed(0, 5, &values(&["a"])) else {
        unreachable!("`proposed` makes this input")
    };
    seat.handle(Input::Proposed { start: Slot(5), run, requesters });
    seat.handle(votes(R0, 0, 5, 1));
    assert_eq!(marks(&seat.handle(votes(R1, 0, 5, 1))), [decided(0, 5, 6)]);
    assert_eq!(seat.role.applied(), Slot(0));
}

#[test]
fn a_vote_that_changes_nothing_tells_the_proposer_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b"])));
    assert_eq!(told_proposer(&seat.handle(votes(R1, 0, 0, 1))), []);
    assert_eq!(marks(&seat.handle(votes(R2, 0, 0, 1))), [decided(0, 0, 1)]);
    assert_eq!(told_proposer(&seat.handle(votes(R0, 0, 0, 1))), []);
}

#[test]
fn a_leader_whose_slots_were_fetched_counts_on_from_there() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b", "c"])));
    seat.handle(page(R1, 0, &values(&["a", "b"])));
    seat.handle(votes(R1, 0, 2, 1));
    assert_eq!(marks(&seat.handle(votes(R2, 0, 2, 1))), [decided(0, 2, 3)]);
}

#[test]
fn a_learner_that_only_fetches_has_tallied_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(page(R1, 0, &values(&["a", "b"])));
    assert_eq!(marks(&seat.wait_us(HEARTBEAT_US)).pop(), Some(nothing_decided(0)));
}

#[test]
fn the_newest_and_longest_mark_counts() {
    let lines = ["a", "b", "c", "d", "e"];
    // A late message says less than the learner knows.
    let mut seat = learner(3, R2);
    for mark in [decided(1, 0, 5), decided(1, 0, 2), decided(1, 3, 5), nothing_decided(1)] {
        seat.handle(leads(R1, 1, 1, mark));
    }
    seat.handle(leads(R0, 1, 0, decided(0, 0, 9)));
    seat.handle(voted(1, 0, &values(&lines), nothing_decided(1)));
    assert_eq!(seat.storage.values(), values(&lines));
    // If the mark of the next leader is not empty, it is news, however short it is.
    let mut seat = learner(3, R2);
    seat.handle(leads(R1, 1, 1, decided(1, 0, 5)));
    seat.handle(leads(R0, 1, 3, nothing_decided(3)));
    seat.handle(voted(1, 0, &values(&["a"]), nothing_decided(1)));
    assert_eq!(seat.role.applied(), Slot(1));
    seat.handle(leads(R0, 2, 3, decided(3, 0, 2)));
    seat.handle(voted(3, 1, &values(&["b"]), nothing_decided(3)));
    assert_eq!(seat.storage.values(), values(&["a", "b"]));
}

#[test]
fn a_mark_of_the_own_ballot_is_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(voted(0, 0, &values(&["a"]), decided(0, 0, 1)));
    assert_eq!(
        seat.role.applied(),
        Slot(0),
        "a leader counts the acceptances of its own ballot itself"
    );
}

#[test]
fn an_acceptance_that_no_leader_stands_behind_makes_nobody_pending() {
    let mut seat = learner(3, R2);
    seat.handle(voted(0, 0, &values(&["a"]), nothing_decided(0)));
    assert!(pending(&mut seat), "the leader of ballot 0 should get it applied");
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    assert!(!pending(&mut seat), "the next leader does not propose it again");
    seat.handle(voted(1, 0, &values(&["b"]), nothing_decided(1)));
    assert!(pending(&mut seat));
}

#[test]
fn a_decided_value_above_a_gap_is_pending_under_any_leader() {
    let mut seat = learner(3, R2);
    seat.handle(voted(1, 1, &values(&["b"]), decided(1, 0, 2)));
    seat.handle(leads(R0, 1, 3, nothing_decided(3)));
    assert!(pending(&mut seat));
}
