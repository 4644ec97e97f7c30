//! Ballot 0, which needs no campaign.

use super::*;

#[test]
fn replica_0_leads_ballot_0_only_after_its_own_acceptors_promise() {
    let mut seat = proposer(3, R0);
    let mut sent = seat.wake();
    sent.extend(seat.burst([request_is_next(1, 0, "early"), request_is_next(2, 0, "early too")]));
    sent.extend(seat.wait_us(200_000));
    assert_eq!(seat.role.leading(), None);
    assert!(prepares(&sent).iter().all(|(to, ..)| *to == R0), "only the own acceptor is asked");
    assert!(accepts_to(&sent, R0).is_empty() && proposed(&sent).is_empty());
    assert!(heartbeats(&sent).iter().all(|(_, heartbeat)| !heartbeat.leading));
    // The promise of another acceptor does not replace the own one.
    seat.handle(promise(R1, 0, &[]));
    seat.handle(promise(R2, 0, &[]));
    let now = seat.handle(own_promise(0, &[]));
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    assert!(heartbeats(&now).iter().all(|(_, heartbeat)| heartbeat.leading));
}

#[test]
fn nobody_else_is_asked_to_promise_ballot_0() {
    let mut seat = proposer(3, R0);
    seat.wake();
    let sent = seat.handle(own_promise(0, &[]));
    assert_eq!((prepares(&sent), seat.role.leading()), (vec![], Some(Ballot(0))));
}

#[test]
fn a_replica_0_that_did_not_warm_up_itself_never_leads_ballot_0() {
    for membership in [Membership { fresh: false, ..membership(3, R0) }, stranger(3, R0)] {
        let mut seat = build(settings(3, R0), membership);
        let mut sent = seat.wake();
        sent.extend(seat.handle(own_promise(0, &[])));
        sent.extend(seat.wait_us(250_000));
        assert_eq!((prepares(&sent), seat.role.leading()), (vec![], None));
    }
    let mut other = proposer(3, R1);
    assert_eq!(prepares(&other.wait_us(250_000)), []);
}

#[test]
fn ballot_0_is_given_up_when_the_own_acceptor_has_promised_more() {
    let mut seat = proposer(3, R0);
    seat.wake();
    let nack = ToProposer::Nack { ballot: Ballot(0), promised: Ballot(1) };
    seat.handle(Input::Peer(R0, nack));
    seat.handle(own_promise(0, &[]));
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn the_skipped_slot_is_left_out_under_ballot_0_and_only_there() {
    let settings = Settings { skip_slot: Some(Slot(2)), ..settings(3, R0) };
    let mut seat = build(settings, membership(3, R0));
    crown(&mut seat);
    let sent = seat.burst((0..4).map(|session| request_is_next(session, 0, "x")));
    let slots: Vec<u64> = proposed(&sent).iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, [0, 1, 3, 4]);
    // After it was deposed and elected again, the slot is an ordinary one.
    seat.handle(serving(R1, 1, 1));
    let ballot = campaign(&mut seat, R1);
    assert!(ballot > Ballot(1));
    seat.handle(own_promise(ballot.0, &[(0, 0, "a"), (1, 0, "b"), (3, 0, "c"), (4, 0, "d")]));
    let sent = seat.handle(promise(R1, ballot.0, &[]));
    let expected = [value("a"), value("b"), Value::Noop, value("c"), value("d")];
    assert_eq!(proposed(&sent), (0..).zip(expected).collect::<Vec<_>>());
}
