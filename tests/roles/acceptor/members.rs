//! Which configuration an acceptor votes in (M2 to M5).

use super::*;

/// The learner has durably applied every slot below `end`, and a change among them.
fn entered(end: u64, next: &Configuration) -> Input {
    Input::Applied(Slot(end), Some(next.clone()))
}

fn prepare_of(from: Voter, id: ReplicaId, ballot: Ballot) -> Input {
    Input::Peer(id, ToAcceptor::Prepare { ballot, first: Slot(1), voter: from })
}

fn accept_at(from: ReplicaId, ballot: Ballot, first: u64) -> Input {
    let (first, values) = (Slot(first), (&value("x")).into());
    let accept = Accept { ballot, first, values, decided: Decided::default() };
    Input::Peer(from, ToAcceptor::Accept(accept))
}

/// A joiner: replica 2 with a directory that is not on the started record.
fn joiner(disk: Disk) -> Subject {
    let state = disk.memory.state().clone();
    Seat::new(Acceptor::new(settings(3, R2), stranger(3, R2), state), disk)
}

#[test]
fn a_ballot_of_a_later_configuration_waits_until_the_change_is_on_the_disk() {
    let (mut seat, next) = (acceptor(), replaced(3, R0));
    let ballot = Ballot::of(1, 4);
    assert_eq!(seat.handle(prepare_of(voter(R1), R1, ballot)), []);
    assert_eq!(seat.handle(accept_at(R1, ballot, 1)), []);
    assert_eq!(seat.storage.records, []);
    let sent = seat.handle(entered(1, &next));
    let page = pages(&sent).pop().expect("the prepare that came too early is answered");
    assert_eq!((page.ballot, page.trimmed), (ballot, Slot(1)));
    assert_eq!(seat.storage.records[0], Record::Promise(next.first_ballot()));
    // Only once.
    assert_eq!(pages(&seat.handle(entered(2, &next))), []);
}

#[test]
fn a_ballot_that_the_next_configuration_gives_to_another_is_not_answered() {
    let (mut seat, next) = (acceptor(), removed(4, R0));
    // Of the members 1, 2 and 3 the third owns round 5.
    let ballot = Ballot::of(1, 5);
    assert_eq!(next.owner(ballot), Some(R3));
    seat.handle(prepare_of(voter(R2), R2, ballot));
    assert_eq!(pages(&seat.handle(entered(1, &next))), []);
    assert_eq!(pages(&seat.handle(prepare_of(voter(R1), R1, ballot))), []);
    assert_eq!(pages(&seat.handle(prepare_of(voter(R3), R3, ballot))).len(), 1);
}

#[test]
fn who_has_forgotten_a_change_refuses_all_ballots_before_it_in_every_later_life() {
    let (mut seat, next) = (acceptor(), replaced(3, R0));
    seat.handle(entered(1, &next));
    let refused = ToProposer::Nack { ballot: Ballot(7), promised: next.first_ballot() };
    assert_eq!(to_proposers(&seat.handle(prepare(7, 0))), [(R1, refused.clone())]);
    assert_eq!(to_proposers(&seat.handle(accept(7, 1, &["x"]))), [(R1, refused.clone())]);
    // Lines are cut off the chat log, and the change with them: the learner knows of none.
    let mut again = remembering(seat.storage);
    again.handle(Input::Applied(Slot(0), None));
    assert_eq!(to_proposers(&again.handle(prepare(7, 0))), [(R1, refused)]);
}

#[test]
fn a_removed_member_says_nothing_more() {
    let mut seat = acceptor();
    seat.handle(entered(1, &removed(3, R2)));
    for input in [prepare(7, 0), accept(7, 1, &["x"])] {
        assert_eq!(to_proposers(&seat.handle(input)), []);
    }
    assert_eq!(votes(&seat.handle(accept_at(R1, Ballot::of(1, 1), 1))), []);
}

#[test]
fn a_joiner_votes_once_it_has_applied_the_change_that_names_it_and_remembers_it() {
    let (mut seat, next) = (joiner(Disk::default()), replaced(3, R2));
    let ballot = Ballot::of(1, 1);
    for input in [prepare(4, 0), accept(4, 0, &["x"]), accept_at(R1, ballot, 1)] {
        assert_eq!(seat.handle(input), []);
    }
    seat.handle(entered(1, &next));
    assert_eq!(pages(&seat.handle(prepare_of(voter(R1), R1, ballot))).len(), 1);
    let sent = to_learners(&seat.handle(accept_at(R1, ballot, 1)));
    let [(R1, ToLearner::Accepted { voter, .. })] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(voter.directory, foreign(R2).directory);
    let mut again = joiner(seat.storage);
    again.handle(entered(1, &next));
    let lower = prepare_of(super::voter(R0), R0, Ballot::of(1, 3));
    assert_eq!(pages(&again.handle(lower)).len(), 1, "a higher one");
    let earlier = prepare_of(super::voter(R1), R1, ballot);
    assert_eq!(pages(&again.handle(earlier)), [], "what it has promised binds its next life");
}

#[test]
fn a_directory_that_was_replaced_gets_no_promise() {
    let (mut seat, next) = (acceptor(), replaced(3, R1));
    seat.handle(entered(1, &next));
    let sent = seat.handle(prepare_of(voter(R1), R1, Ballot::of(1, 1)));
    let told = ToBootstrap::NotMember { directory: directory(R1) };
    assert_eq!((pages(&sent), to_replicas(&sent)), (vec![], vec![(R1, told)]));
    let sent = seat.handle(prepare_of(foreign(R1), R1, Ballot::of(1, 1)));
    assert_eq!(pages(&sent).len(), 1);
}

#[test]
fn no_mark_is_given_across_a_change_of_members() {
    let (mut seat, next) = (acceptor(), replaced(3, R0));
    let change = Value::Change(next.to_change());
    let accept_change = |slot: u64, ballot: u64| {
        let (first, values) = (Slot(slot), (&change).into());
        let accept = Accept { ballot: Ballot(ballot), first, values, decided: Decided::default() };
        Input::Peer(Ballot(ballot).owner(3), ToAcceptor::Accept(accept))
    };
    seat.handle(accept(0, 0, &["a", "b"]));
    assert_eq!(mark(&mut seat, None), Some(2));
    seat.handle(accept_change(2, 0));
    assert_eq!(mark(&mut seat, None), None, "it may be chosen, and the next configuration lead");
    let mut again = remembering(seat.storage.clone());
    assert_eq!(mark(&mut again, None), None, "in its next life, too");
    // The leader of ballot 4 has found nothing from slot 2 on. So the change was not chosen.
    assert_eq!(mark(&mut seat, Some((4, 2))), Some(2));
    // That leader has put a line in its place.
    seat.handle(accept(4, 2, &["c"]));
    assert_eq!(mark(&mut seat, None), Some(3));
    // Between lines, it is found as well.
    seat.handle(accept_change(4, 4));
    seat.handle(accept(7, 5, &["e"]));
    assert_eq!(mark(&mut seat, None), None);
    seat.handle(Input::Applied(Slot(5), None));
    assert_eq!(mark(&mut seat, None), Some(6), "another value was chosen in its slot");
}

#[test]
fn a_replica_of_a_later_configuration_gives_marks_of_that_one_alone() {
    let (mut seat, next) = (acceptor(), removed(3, R0));
    seat.handle(accept(0, 0, &["a"]));
    assert_eq!(mark(&mut seat, None), Some(1));
    seat.handle(entered(1, &next));
    assert_eq!(mark(&mut seat, None), None, "it is a member of both");
    assert_eq!(mark_in(&mut seat, 1, None), Some((1, 2)), "above all that was decided before");
    // Of one that it does not know yet, its proposer may have heard first.
    assert_eq!(mark_in(&mut seat, 2, None), None);
    let mut again = remembering(seat.storage);
    assert_eq!(mark(&mut again, None), None, "before its learner has said anything");
    again.handle(Input::Applied(Slot(0), None));
    assert_eq!(mark(&mut again, None), None, "and after the change was cut off its chat log");
    again.handle(entered(1, &next));
    assert_eq!(mark_in(&mut again, 1, None), Some((1, 2)));
}
