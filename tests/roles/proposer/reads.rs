//! Clients that read: who may give a mark, and what the proposer adds to the question.

use super::*;
use multipaxos::message::Seen;
use multipaxos::paxos::acceptor::Inherited;
use multipaxos::types::BootId;

/// What the acceptor is asked, if it is.
fn asked(seat: &mut Subject) -> Option<Option<(u64, u64)>> {
    let sent = seat.handle(Input::Mark(address(1), 7));
    sent.into_iter().find_map(|envelope| match envelope {
        Envelope::Notice(Notice::Acceptor(acceptor::Input::Mark {
            read: 7, inherited, ..
        })) => Some(inherited.map(|Inherited { ballot, end }| (ballot.0, end.0))),
        _ => None,
    })
}

#[test]
fn a_replica_gives_marks_only_while_a_quorum_echoes_this_life_of_it() {
    let mut seat = proposer(3, R2);
    assert_eq!(asked(&mut seat), None, "nobody has heard it in this life");
    // One that knows more of its directory hears it, and echoes nothing that this life has sent.
    for round in 1..5 {
        seat.wait_us(HEARTBEAT_US);
        seat.handle(Input::Heartbeat(R0, Box::new(heartbeat(R0, round))));
    }
    assert_eq!(asked(&mut seat), None);
    in_touch(&mut seat, 2 * HEARTBEAT_US, &[R0]);
    assert_eq!(asked(&mut seat), Some(None));
    seat.wait_us(ELECTION_MAX_US + HEARTBEAT_US);
    assert_eq!(asked(&mut seat), None, "cut off");
}

#[test]
fn a_replica_without_a_vote_gives_no_mark() {
    let membership = Membership { voter: foreign(R2), ..membership(3, R2) };
    let mut seat = build(settings(3, R2), membership);
    for round in 1..5 {
        seat.wait_us(HEARTBEAT_US);
        seat.handle(serving(R0, round, 3));
    }
    assert_eq!(asked(&mut seat), None);
    // The only replica of a cluster hears itself.
    assert_eq!(asked(&mut proposer(1, R0)), Some(None));
}

#[test]
fn after_a_change_a_quorum_of_the_new_members_has_to_hear_a_replica_that_gives_marks() {
    let mut seat = proposer(3, R2);
    in_touch(&mut seat, 2 * HEARTBEAT_US, &[R0]);
    assert!(asked(&mut seat).is_some());
    seat.handle(super::members::entered(1, &removed(3, R0)));
    in_touch(&mut seat, 2 * ELECTION_MAX_US, &[R0]);
    assert_eq!(asked(&mut seat), None, "replica 0 is a member no more");
    in_touch(&mut seat, 2 * HEARTBEAT_US, &[R1]);
    assert_eq!(asked(&mut seat), Some(None));
    // One that was removed gives none.
    let mut gone = proposer(3, R2);
    gone.handle(super::members::entered(1, &removed(3, R2)));
    in_touch(&mut gone, 2 * HEARTBEAT_US, &[R0, R1]);
    assert_eq!(asked(&mut gone), None);
}

#[test]
fn a_replica_that_is_told_of_its_copy_gives_no_mark() {
    let mut seat = proposer(3, R2);
    in_touch(&mut seat, 2 * HEARTBEAT_US, &[R0, R1]);
    assert!(asked(&mut seat).is_some());
    let seen = Some(Seen { of: R2, boot: BootId(99), at: None, reached: 0 });
    seat.handle(Input::Heartbeat(R0, Box::new(Heartbeat { seen, ..heartbeat(R0, u64::MAX) })));
    assert_eq!(asked(&mut seat), None);
}

#[test]
fn the_question_carries_what_the_highest_leader_has_inherited() {
    let leads = |from, round, ballot: u64, end| {
        let (ballot, inherited) = (Ballot(ballot), Slot(end));
        let says = Heartbeat { ballot, leading: true, inherited, ..heartbeat(from, round) };
        Input::Heartbeat(from, Box::new(says))
    };
    let mut seat = proposer(3, R2);
    in_touch(&mut seat, 2 * HEARTBEAT_US, &[R0, R1]);
    let next = |seat: &Subject| 1_000_000_000 + seat.now.0;
    let round = next(&seat);
    seat.handle(leads(R1, round, 4, 12));
    assert_eq!(asked(&mut seat), Some(Some((4, 12))));
    let round = next(&seat);
    seat.handle(leads(R0, round, 3, 50));
    assert_eq!(asked(&mut seat), Some(Some((4, 12))), "a leader that was replaced");
    seat.handle(leads(R0, round + 1, 6, 9));
    assert_eq!(asked(&mut seat), Some(Some((6, 9))));
}

#[test]
fn a_leader_tells_what_phase_1_has_found() {
    let mut seat = proposer(3, R1);
    let sent = succeed(&mut seat, R2, &[(0, 0, "a"), (3, 0, "b")]);
    let found: Vec<_> = heartbeats(&sent).into_iter().map(|(_, mine)| mine.inherited).collect();
    assert!(!found.is_empty() && found.iter().all(|end| *end == Slot(4)), "{found:?}");
    in_touch(&mut seat, 2 * HEARTBEAT_US, &[R0, R2]);
    let ballot = seat.role.leading().expect("it leads");
    assert_eq!(asked(&mut seat), Some(Some((ballot.0, 4))));
}
