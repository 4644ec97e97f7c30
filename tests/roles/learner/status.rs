//! What a replica says to an operator of its log.

use super::*;
use multipaxos::message::{Conduct, Leadership, Status, StatusQuery};
use multipaxos::paxos::learner::running_hash;

const LEADERSHIP: Leadership = Leadership {
    conduct: Conduct::Follows,
    leader: Some(Ballot(3)),
    ballot: Ballot(4),
    configuration: 0,
    members: multipaxos::quorum::ReplicaSet::EMPTY,
    sync_ms: 5,
};

/// The answer to a query that names this slot.
fn told(seat: &mut Subject, below: u64) -> Status {
    let (origin, query) = (address(9), StatusQuery { below: Slot(below) });
    let sent = seat.handle(Input::Status { origin, query, leadership: Box::new(LEADERSHIP) });
    match &answers(&sent)[..] {
        [(to, Answer::Status(status))] if *to == origin => **status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replica_says_how_far_its_log_is_and_how_far_it_could_be() {
    let mut seat = learner(3, R2);
    let nothing =
        Status { leadership: LEADERSHIP, applied: Slot(0), decided: Slot(0), hash: Some(0) };
    assert_eq!(told(&mut seat, 0), nothing);
    seat.handle(page(R0, 0, &[command(1, 0, "a"), command(1, 1, "b")]));
    seat.handle(applied(R0, 1, 7));
    let status = told(&mut seat, 0);
    assert_eq!((status.applied, status.decided), (Slot(2), Slot(7)));
    assert_eq!(status.leadership, LEADERSHIP, "as its proposer says");
}

#[test]
fn a_replica_says_what_its_log_is_below_any_slot_that_it_has_lately_applied() {
    let mut seat = learner(3, R2);
    let lines = [command(1, 0, "a"), command(1, 1, "b"), command(1, 2, "c")];
    seat.handle(page(R0, 0, &lines));
    for below in 0..=3 {
        let hash = running_hash(0, &lines[..below].into());
        assert_eq!(told(&mut seat, below as u64).hash, Some(hash), "below {below}");
    }
    assert_eq!(told(&mut seat, 4).hash, None, "it has not applied slot 3");
    assert_eq!(told(&mut seat, u64::MAX).hash, None);
}
