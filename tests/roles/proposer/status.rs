//! What a replica says to an operator of who leads.

use super::*;
use multipaxos::message::{Conduct, Leadership, StatusQuery};

/// What the learner is told, which answers.
fn told(seat: &mut Subject) -> Leadership {
    let (origin, query) = (address(9), StatusQuery { below: Slot(5) });
    let sent = seat.handle(Input::Status(origin, query));
    match &told_learner(&sent)[..] {
        [learner::Input::Status { origin: to, query: asked, leadership }] => {
            assert_eq!((*to, *asked), (origin, query));
            **leadership
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_leader_names_its_own_ballot_until_it_falls_silent() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, ELECTION_MAX_US, &[R1]);
    let Leadership { conduct, leader, ballot, .. } = told(&mut seat);
    assert_eq!((conduct, leader, ballot), (Conduct::Leads, Some(Ballot(0)), Ballot(0)));
    seat.wait_us(10 * ELECTION_MAX_US);
    let Leadership { conduct, leader, .. } = told(&mut seat);
    assert!(conduct != Conduct::Leads && leader.is_none(), "no quorum hears it: {conduct:?}");
}

#[test]
fn a_follower_names_the_leader_that_it_has_lately_heard() {
    let mut seat = proposer(3, R1);
    let before = told(&mut seat);
    assert_eq!((before.conduct, before.leader), (Conduct::Follows, None));
    seat.handle(serving(R2, 1, 2));
    let heard = told(&mut seat);
    assert_eq!((heard.conduct, heard.leader), (Conduct::Follows, Some(Ballot(2))));
    assert_eq!(heard.ballot, Ballot(2));
    seat.wait_us(2 * ELECTION_MAX_US);
    let silent = told(&mut seat);
    assert_eq!((silent.conduct, silent.leader), (Conduct::Campaigns, None));
}

#[test]
fn a_replica_that_is_no_member_observes() {
    let mut seat = build(settings(3, R1), stranger(3, R1));
    seat.handle(serving(R0, 1, 0));
    let Leadership { conduct, leader, .. } = told(&mut seat);
    assert_eq!((conduct, leader), (Conduct::Observes, Some(Ballot(0))));
}
