//! What a change of members means to those who lead, or would (M1, M5, M6, M7).

use super::*;
use multipaxos::members::Configuration;
use multipaxos::message::VoteAim;
use multipaxos::types::PLACES_MAX;

/// Replica 0's learner has applied all below `applied`, and the change to `next` among it.
pub(super) fn entered(applied: u64, next: &Configuration) -> Input {
    let (applied, configuration) = (Slot(applied), Some(next.clone()));
    let (decided, lost) = (nothing_decided(0), Vec::new());
    Input::Progress { applied, hash: 0, configuration, decided, pending: None, lost }
}

/// Replica 0 of `n`, which has no first ballot to lead with.
fn restarted(n: usize) -> Subject {
    build(settings(n, R0), Membership { fresh: false, ..membership(n, R0) })
}

/// What phase 1 of `ballot` reports: slots, ballots and values.
type Reported<'a> = &'a [(u64, Ballot, Value)];

/// Replica 0's acceptor and `helper` promise `ballot`; the former reports this. Returns what is
/// proposed then.
fn succeeds(
    seat: &mut Subject,
    helper: ReplicaId,
    ballot: Ballot,
    held: Reported<'_>,
) -> Vec<(u64, Value)> {
    let run = |(slot, ballot, value): &(u64, Ballot, Value)| Run {
        first: Slot(*slot),
        ballot: *ballot,
        values: value.into(),
    };
    let accepted = held.iter().map(run).collect();
    let (first, trimmed) = (Slot::ZERO, Slot::ZERO);
    let mut sent = seat.handle(Input::OwnPromise { ballot, first, trimmed, accepted });
    let from_here = Slot(seat_first(&sent));
    let promise = Promise {
        ballot,
        voter: voter(helper),
        slots: SlotRange::new(from_here, from_here),
        last: true,
        trimmed,
        accepted: Spans::default(),
    };
    sent = seat.handle(Input::Peer(helper, ToProposer::Promise(promise)));
    assert_eq!(seat.role.leading(), Some(ballot));
    let to_helper = accepts_to(&sent, helper).into_iter();
    to_helper.flat_map(|it| (it.first.0..).zip(it.values.to_vec())).collect()
}

/// The first slot that a prepare asks for.
fn seat_first(envelopes: &[Envelope]) -> u64 {
    prepares(envelopes).first().map_or(0, |(_, _, first)| *first)
}

/// The ballots of the prepares that a replica sends to its own acceptor.
fn own_prepares(envelopes: &[Envelope]) -> Vec<Ballot> {
    let own = prepares(envelopes).into_iter().filter(|(to, ..)| *to == R0);
    own.map(|(_, ballot, _)| Ballot(ballot)).collect()
}

#[test]
fn nothing_is_proposed_above_a_change() {
    let mut seat = first_leader(3);
    let next = replaced(3, R2);
    let sent = seat.burst([
        request_is_next(1, 0, "before"),
        Input::Change(next.clone()),
        request_is_next(2, 0, "after"),
    ]);
    // What waits for the next ballot is queued already, or comes later.
    let proposals: Vec<Value> = proposed(&sent).into_iter().map(|(_, value)| value).collect();
    assert_eq!(proposals.last(), Some(&change(&next)), "{proposals:?}");
    assert_eq!(proposed(&seat.handle(request_is_next(3, 0, "later"))), []);
    assert_eq!(proposed(&seat.handle(Input::Change(removed(3, R2)))), [], "nor another one");
}

#[test]
fn a_leader_refuses_what_is_no_single_change_of_its_own_configuration() {
    let mut seat = first_leader(3);
    let later = replaced(3, R2).without(R1).expect("it has three");
    let id = ReplicaId(PLACES_MAX as u8);
    let member = multipaxos::members::Member { id, directory: directory(id), address: None };
    let without_a_place = membership(3, R0).started().with(member).expect("a fourth");
    for next in [later, without_a_place, membership(3, R0).started()] {
        assert_eq!(proposed(&seat.handle(Input::Change(next.clone()))), [], "{next}");
    }
    assert_eq!(proposed(&seat.handle(request_is_next(1, 0, "x"))).len(), 1, "it goes on");
}

#[test]
fn a_leader_that_stays_a_member_campaigns_at_once_with_the_next_configurations_ballot() {
    let (mut seat, next) = (first_leader(3), replaced(3, R2));
    seat.handle(Input::Change(next.clone()));
    let sent = seat.handle(entered(1, &next));
    assert_eq!(own_prepares(&sent), [Ballot::of(1, 3)]);
    // Who lags learns that the change is decided.
    let marks: Vec<bool> = heartbeats(&sent).iter().map(|(_, it)| it.leading).collect();
    assert_eq!(marks, [true, true]);
    let lines = succeeds(&mut seat, R1, Ballot::of(1, 3), &[]);
    assert_eq!(lines, []);
    let sent = seat.handle(request_is_next(1, 0, "x"));
    assert_eq!(accepts_to(&sent, R1)[0].ballot, Ballot::of(1, 3));
}

#[test]
fn a_removed_leader_falls_silent_as_a_leader_and_goes_on_saying_how_far_it_is() {
    let (mut seat, next) = (first_leader(3), removed(3, R0));
    seat.handle(Input::Change(next.clone()));
    let sent = seat.handle(entered(1, &next));
    assert_eq!((seat.role.leading(), own_prepares(&sent)), (None, vec![]));
    let sent = seat.wait_us(20 * ELECTION_MAX_US);
    assert_eq!((pre_votes(&sent), prepares(&sent)), (vec![], vec![]));
    assert!(heartbeats(&sent).iter().any(|(_, it)| it.applied == Slot(1)));
    assert_eq!(proposed(&seat.handle(request_is_next(1, 0, "x"))), []);
}

#[test]
fn a_campaign_ends_when_the_own_log_brings_a_change() {
    let mut seat = restarted(3);
    let ballot = campaign(&mut seat, R1);
    seat.handle(own_promise(ballot.0, &[]));
    seat.handle(entered(1, &replaced(3, R2)));
    seat.handle(promise(R1, ballot.0, &[]));
    assert_eq!(seat.role.leading(), None);
    let next = campaign(&mut seat, R1);
    assert_eq!(next.configuration(), 1);
}

#[test]
fn a_later_ballot_that_is_heard_of_makes_no_next_one_of_this_configuration_higher() {
    let mut seat = restarted(3);
    seat.handle(serving(R1, 1, Ballot::of(1, 4).0));
    let ballot = Ballot(4);
    seat.handle(Input::Peer(R1, ToProposer::Nack { ballot, promised: Ballot::of(2, 9) }));
    assert_eq!(campaign(&mut seat, R1), Ballot(3));
}

#[test]
fn reports_of_an_earlier_configuration_count_for_nothing() {
    let (mut seat, next) = (first_leader(3), replaced(3, R2));
    seat.handle(entered(1, &next));
    let old = [(1, Ballot(2), value("old")), (2, Ballot::of(1, 1), value("new"))];
    let lines = succeeds(&mut seat, R1, Ballot::of(1, 3), &old);
    assert_eq!(lines, [(1, Value::Noop), (2, value("new"))]);
}

#[test]
fn a_change_that_is_reported_is_proposed_again_and_nothing_above_it() {
    let mut seat = restarted(3);
    let next = replaced(3, R2);
    let ballot = campaign(&mut seat, R1);
    let held = [
        (0, Ballot(1), value("a")),
        (1, Ballot(2), change(&next)),
        (2, Ballot(1), value("never chosen")),
    ];
    let lines = succeeds(&mut seat, R1, ballot, &held);
    assert_eq!(lines, [(0, value("a")), (1, change(&next))]);
    assert_eq!(proposed(&seat.handle(request_is_next(1, 0, "x"))), [], "the change is the last");
}

#[test]
fn a_change_below_something_of_a_higher_ballot_is_out_of_date() {
    let mut seat = restarted(3);
    let ballot = campaign(&mut seat, R1);
    let held = [(0, Ballot(1), change(&replaced(3, R2))), (1, Ballot(2), value("b"))];
    let lines = succeeds(&mut seat, R1, ballot, &held);
    assert_eq!(lines, [(0, Value::Noop), (1, value("b"))]);
    assert_eq!(proposed(&seat.handle(request_is_next(1, 0, "x"))).len(), 1, "it goes on");
}

#[test]
fn an_acceptor_that_holds_a_change_that_is_out_of_date_is_sent_what_takes_its_place() {
    let mut seat = restarted(3);
    let ballot = campaign(&mut seat, R1);
    let next = replaced(3, R2);
    seat.handle(own_promise(ballot.0, &[(1, 2, "b")]));
    let spans = Spans::from_iter([Span { slots: range(0, 1), ballot: Ballot(1) }]);
    let reports = Promise {
        ballot,
        voter: voter(R1),
        slots: range(0, 1),
        last: true,
        trimmed: Slot::ZERO,
        accepted: spans,
    };
    seat.handle(Input::Peer(R1, ToProposer::Promise(reports)));
    let accepted = vec![Run { first: Slot(0), ballot: Ballot(1), values: (&change(&next)).into() }];
    let held = AcceptedValues { ballot, trimmed: Slot::ZERO, accepted, last: true };
    let sent = seat.handle(Input::Peer(R1, ToProposer::AcceptedValues(held)));
    let named = to_acceptors(&sent).into_iter().filter_map(|(to, message)| match message {
        ToAcceptor::AcceptHeld { held, .. } if to == R1 => Some(held),
        _ => None,
    });
    assert!(named.into_iter().all(|held| held.iter().all(|span| span.slots.start > Slot(0))));
    assert_eq!(proposed(&sent), [(0, Value::Noop), (1, value("b"))]);
}

#[test]
fn more_than_half_of_an_even_number_have_to_promise() {
    let mut seat = restarted(4);
    let next = replaced(4, R3);
    seat.handle(entered(1, &next));
    let ballot = campaign_of_four(&mut seat);
    seat.handle(Input::OwnPromise {
        ballot,
        first: Slot(1),
        trimmed: Slot::ZERO,
        accepted: vec![],
    });
    for (helper, leads) in [(R1, None), (R3, None), (R2, Some(ballot))] {
        seat.handle(page(helper, ballot.0, (1, true), 0, &[]));
        assert_eq!(seat.role.leading(), leads, "replica 3 of before is no member ({helper})");
    }
}

/// Lets `seat` suspect, get pre-votes of two others and campaign. Returns its ballot.
fn campaign_of_four(seat: &mut Subject) -> Ballot {
    for _ in 0..100 {
        let sent = seat.wait_us(HEARTBEAT_US);
        if let Some((_, ballot, round)) = pre_votes(&sent).pop() {
            seat.handle(grant(R1, round));
            seat.handle(grant(R2, round));
            return ballot;
        }
    }
    panic!("it never asks for pre-votes")
}

/// Replica `from` wants this directory in the place of its lost one.
fn rejoin(from: ReplicaId, directory: u64, applied: u64) -> Input {
    let (directory, applied) = (DirectoryId(directory), Slot(applied));
    Input::Peer(from, ToProposer::Observes { directory, applied, vote: VoteAim::OfLostDisk })
}

fn asks_to_rejoin(envelopes: &[Envelope]) -> Vec<ReplicaId> {
    let asks = |message: &ToProposer| {
        matches!(message, ToProposer::Observes { vote: VoteAim::OfLostDisk, .. })
    };
    let sent = to_proposers(envelopes).into_iter();
    sent.filter(|(_, message)| asks(message)).map(|(to, _)| to).collect()
}

#[test]
fn a_leader_puts_the_directory_that_asks_in_a_lost_ones_place() {
    let mut seat = first_leader(3);
    assert_eq!(proposed(&seat.handle(rejoin(R2, 999, 0))), [], "perhaps it is not lost");
    in_touch(&mut seat, 4 * ELECTION_MAX_US, &[R1]);
    assert_eq!(proposed(&seat.handle(rejoin(R2, 102, 0))), [], "it is the member");
    let sent = seat.handle(rejoin(R2, 999, 0));
    assert_eq!(proposed(&sent), [(0, change(&replaced(3, R2)))]);
    assert_eq!(proposed(&seat.handle(rejoin(R2, 999, 0))), [], "it is on its way");
}

#[test]
fn a_leader_replaces_nobody_whom_it_hears() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 4 * HEARTBEAT_US, &[R1, R2]);
    assert_eq!(proposed(&seat.handle(rejoin(R2, 999, 0))), []);
    in_touch(&mut seat, 4 * ELECTION_MAX_US, &[R1]);
    assert_eq!(proposed(&seat.handle(rejoin(R2, 999, 0))).len(), 1);
}

#[test]
fn a_leader_waits_until_a_joiner_has_caught_up_and_makes_no_new_members() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 4 * ELECTION_MAX_US, &[R1]);
    seat.handle(progress(PROPOSE_WINDOW_SLOTS + 10, false));
    assert_eq!(proposed(&seat.handle(rejoin(R2, 999, 9))), []);
    let mut without = first_leader(3);
    without.handle(entered(1, &removed(3, R2)));
    succeeds(&mut without, R1, Ballot::of(1, 2), &[]);
    in_touch(&mut without, 4 * ELECTION_MAX_US, &[R1]);
    assert_eq!(proposed(&without.handle(rejoin(R2, 999, 1))), []);
    assert_eq!(proposed(&seat.handle(rejoin(R2, 999, 10))).len(), 1);
}

#[test]
fn an_observer_asks_the_leader_that_it_hears_until_it_is_a_member() {
    let mut seat = build(settings(3, R2), stranger(3, R2));
    seat.handle(serving(R0, 1, 0));
    assert_eq!(asks_to_rejoin(&seat.wait_us(ELECTION_MIN_US / 2)), [], "nobody wants it to");
    seat.handle(Input::Aim(VoteAim::OfLostDisk));
    assert_eq!(asks_to_rejoin(&seat.wake()), [R0]);
    let mut asked = Vec::new();
    for round in 2..30 {
        seat.handle(serving(R0, round, 0));
        asked.extend(asks_to_rejoin(&seat.wait_us(HEARTBEAT_US)));
    }
    assert_eq!(asked, [R0, R0], "every half a second");
    let next = entered(1, &replaced(3, R2));
    seat.handle(next);
    assert_eq!(asks_to_rejoin(&seat.wait_us(2 * ELECTION_MAX_US)), []);
}
