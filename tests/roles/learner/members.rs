//! What a change of members means to a learner (M1, M3, M4).

use super::*;
use multipaxos::members::{Configuration, Member, Moved};
use multipaxos::paxos::Notice;
use std::collections::BTreeSet;

/// What the acceptor is told: how much it may forget, and the configuration.
fn may_forget(envelopes: &[Envelope]) -> Vec<(Slot, Option<u16>)> {
    let pick = |input| match input {
        acceptor::Input::Applied(slot, next) => Some((slot, next.map(|next| next.number()))),
        _ => None,
    };
    told_acceptor(envelopes).into_iter().filter_map(pick).collect()
}

/// The same of the proposer: how far this replica is.
fn progress(envelopes: &[Envelope]) -> Vec<(Slot, Option<u16>)> {
    let pick = |input| match input {
        proposer::Input::Progress { applied, configuration, .. } => {
            Some((applied, configuration.map(|next: Configuration| next.number())))
        }
        _ => None,
    };
    told_proposer(envelopes).into_iter().filter_map(pick).collect()
}

#[test]
fn the_end_of_what_is_applied_and_the_change_below_it_are_told_together_and_at_once() {
    let mut seat = learner(3, R2);
    seat.burst([]);
    let lines = [value("a"), change(&replaced(3, R0)), value("b")];
    let sent = seat.handle(page(R1, 0, &lines));
    assert_eq!(progress(&sent), [(Slot(3), Some(1))]);
    // Two checkpoints behind it, of which the first is durable: so the acceptor may vote.
    assert_eq!(seat.storage.checkpoints, [Slot(3), Slot(3)]);
    assert_eq!(may_forget(&sent), [(Slot(3), Some(1))]);
    assert_eq!(seat.storage.records[1].client_seq, None, "its line is a NOP");
}

#[test]
fn the_next_life_knows_the_members_from_the_checkpoint() {
    let mut seat = learner(3, R2);
    seat.handle(page(R1, 0, &[value("a"), change(&removed(3, R0))]));
    let mut assembly = Assembly::default();
    let checkpoint = seat.storage.parts.iter().find_map(|part| assembly.add(part));
    let role = Learner::new(settings(3, R2), membership(3, R2), checkpoint.expect("one is whole"));
    let mut again = Seat::new(role, Log::default());
    let sent = again.burst([]);
    assert_eq!(again.role.configuration(), &removed(3, R0));
    assert_eq!((progress(&sent)[0].1, may_forget(&sent)[0].1), (Some(1), Some(1)));
}

#[test]
fn nothing_above_a_change_is_decided_by_acceptances_below_it() {
    let next = replaced(3, R2);
    // A leader that breaks M1 says that it has a quorum in slot 1.
    let mut seat = learner(3, R2);
    seat.handle(voted(0, 1, &[value("x")], decided(0, 0, 2)));
    seat.handle(page(R1, 0, &[change(&next)]));
    assert_eq!(seat.role.applied(), Slot(1));
    // The leader itself counts one.
    let mut leader = learner(3, R0);
    leader.handle(proposed(0, 0, &[value("a"), value("x")]));
    leader.handle(page(R1, 0, &[change(&next)]));
    leader.handle(votes(R0, 0, 0, 2));
    leader.handle(votes(R1, 0, 0, 2));
    assert_eq!(leader.role.applied(), Slot(1));
}

#[test]
fn only_members_of_the_ballots_configuration_are_counted() {
    let ballot = Ballot::of(1, 3).0;
    let in_configuration = |next: &Configuration| {
        let mut seat = learner(4, R0);
        seat.handle(page(R1, 0, &[change(next)]));
        let requesters = Requesters::unknown(1);
        let run = Run { first: Slot(1), ballot: Ballot(ballot), values: (&value("x")).into() };
        seat.handle(Input::Proposed { start: Slot(1), run, requesters });
        seat.handle(votes(R0, ballot, 1, 1));
        seat
    };
    let mut seat = in_configuration(&removed(4, R1));
    seat.handle(votes(R1, ballot, 1, 1));
    assert_eq!(seat.role.applied(), Slot(1), "a removed one does not count");
    seat.handle(votes(R2, ballot, 1, 1));
    assert_eq!(seat.role.applied(), Slot(2), "two of three do");
    let mut seat = in_configuration(&replaced(4, R1));
    let other = vec![range(1, 1)].into();
    let ballot_of_four = Ballot::of(1, 4);
    assert_eq!(seat.role.configuration().owner(ballot_of_four), Some(R0));
    let run = Run { first: Slot(1), ballot: ballot_of_four, values: (&value("x")).into() };
    let requesters = Requesters::unknown(1);
    seat.handle(Input::Proposed { start: Slot(1), run, requesters });
    for (from, expected) in [(R0, 1), (R1, 1), (R2, 1), (R3, 2)] {
        seat.handle(votes(from, ballot_of_four.0, 1, 1));
        let what = "of four three are needed, and the replaced directory of 1 is none of them";
        assert_eq!(seat.role.applied(), Slot(expected), "{from}: {what}");
    }
    let message = ToLearner::Accepted { ballot: ballot_of_four, voter: foreign(R1), slots: other };
    assert_eq!(answers(&seat.handle(Input::Peer(R1, message))), []);
}

/// Where the process is told that members have moved to.
fn told_places(envelopes: &[Envelope]) -> Vec<Vec<Moved>> {
    let pick = |envelope: &Envelope| match envelope {
        Envelope::Notice(Notice::Places(moved)) => Some(moved.clone()),
        _ => None,
    };
    envelopes.iter().filter_map(pick).collect()
}

/// The second of three has moved there.
fn moved_to(to: Address) -> Configuration {
    let started = membership(3, R0).started();
    let member = Member { address: Some(to), ..*started.member(R1).expect("a member") };
    started.with(member).expect("one has moved")
}

#[test]
fn where_a_member_has_moved_is_told_once_in_each_life_and_to_whoever_says_hello() {
    let to = address(77);
    let mut seat = learner(3, R2);
    let none: [Vec<Moved>; 0] = [];
    assert_eq!(told_places(&seat.burst([])), none);
    let sent = seat.handle(page(R0, 0, &[value("a"), change(&moved_to(to))]));
    let moved = Moved { id: R1, to };
    assert_eq!(told_places(&sent), [vec![moved]]);
    assert_eq!(told_places(&seat.handle(page(R0, 2, &[value("b")]))), none);
    let hello = answers(&seat.handle(Input::Hello(address(9))));
    let expected = (address(9), Answer::Moved { configuration: 1, moved });
    assert_eq!((&hello[0], hello.len()), (&expected, 2), "and then it is answered");
    let mut assembly = Assembly::default();
    let checkpoint = seat.storage.parts.iter().find_map(|part| assembly.add(part));
    let role = Learner::new(settings(3, R2), membership(3, R2), checkpoint.expect("one is whole"));
    let mut again = Seat::new(role, Log::default());
    assert_eq!(told_places(&again.burst([])), [vec![moved]]);
    let back = Member { address: Some(address(78)), ..*moved_to(to).member(R2).expect("one") };
    let next = moved_to(to).with(back).expect("another one has moved");
    let sent = seat.handle(page(R0, 3, &[change(&next)]));
    assert_eq!(told_places(&sent), [next.moved().collect::<Vec<_>>()], "all of them");
    let mut named = BTreeSet::new();
    for _ in 0..2 {
        seat.wait_us(1_000);
        let hello = answers(&seat.handle(Input::Hello(address(9))));
        let Answer::Moved { configuration: 2, moved } = &hello[0].1 else { panic!("{hello:?}") };
        named.insert(moved.id);
    }
    assert_eq!(named.len(), 2, "in turn");
}
