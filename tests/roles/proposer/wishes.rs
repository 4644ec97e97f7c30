//! What an operator asks of the members, and what a leader does about it (M1, M8).

use super::members::entered;
use super::*;
use multipaxos::members::{Configuration, Member};
use multipaxos::message::{
    Answer, MemberChange, MembersAnswer, MembersQuery, Obstacle, VoteAim, Wish,
};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::Address;

fn set(ids: &[ReplicaId]) -> ReplicaSet {
    let mut set = ReplicaSet::EMPTY;
    ids.iter().for_each(|id| {
        set.insert(*id);
    });
    set
}

/// Asks, and returns the answer and what is proposed.
fn asks(seat: &mut Subject, wish: Option<Wish>) -> (MembersAnswer, Vec<(u64, Value)>) {
    let sent = seat.handle(Input::Members(address(9), MembersQuery { number: 7, wish }));
    match &answers(&sent)[..] {
        [(to, Answer::Members(answer))] => {
            assert_eq!((*to, answer.number), (address(9), 7));
            ((**answer).clone(), proposed(&sent))
        }
        other => panic!("{other:?}"),
    }
}

/// Asks for this change of configuration `base` until the leader has looked who is there, of whom
/// it hears these. Returns what stands in the way then, and what is proposed.
fn wishes(
    seat: &mut Subject,
    hears: &[ReplicaId],
    base: u16,
    change: MemberChange,
) -> (Option<Obstacle>, Vec<(u64, Value)>) {
    for _ in 0..100 {
        let (answer, proposed) = asks(seat, Some(Wish { base, change, forced: false }));
        if answer.obstacle != Some(Obstacle::Unsure) {
            return (answer.obstacle, proposed);
        }
        assert_eq!(proposed, []);
        in_touch(seat, HEARTBEAT_US, hears);
    }
    panic!("it never knows")
}

/// Replica 0 leads, and hears these for as long as it takes to know whom it hears.
fn leader_hearing(peers: &[ReplicaId]) -> Subject {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 4 * ELECTION_MAX_US, peers);
    seat
}

/// A replica without a vote is heard on this directory.
fn observes(seat: &mut Subject, from: ReplicaId, other: u64, applied: u64) {
    let (directory, applied) = (DirectoryId(other), Slot(applied));
    let observes = ToProposer::Observes { directory, applied, vote: VoteAim::IfAdded };
    assert_eq!(proposed(&seat.handle(Input::Peer(from, observes))), []);
}

#[test]
fn every_replica_says_who_the_members_are_and_a_leader_whom_it_hears() {
    let mut leader = leader_hearing(&[R1]);
    let started = membership(3, R0).started();
    let (answer, _) = asks(&mut leader, None);
    assert!(answer.leads && answer.configuration == Some(started.clone()));
    assert_eq!((answer.heard, answer.observers.len()), (set(&[R0, R1]), 0));
    observes(&mut leader, R2, 999, 5);
    let (answer, _) = asks(&mut leader, None);
    let [observer] = answer.observers[..] else { panic!("{answer:?}") };
    assert_eq!((observer.id, observer.directory.0, observer.applied), (R2, 999, Slot(5)));
    let mut follower = proposer(3, R1);
    let (answer, _) = asks(&mut follower, None);
    assert!(!answer.leads && answer.configuration == Some(started));
}

#[test]
fn a_leader_proposes_the_change_that_is_wanted_of_just_its_configuration() {
    let remove = MemberChange::Remove(R2);
    let mut seat = leader_hearing(&[R1]);
    assert_eq!(wishes(&mut seat, &[R1], 1, remove), (None, vec![]), "another one's");
    let (obstacle, proposals) = wishes(&mut seat, &[R1], 0, remove);
    assert_eq!((obstacle, proposals), (None, vec![(0, change(&removed(3, R2)))]));
    assert_eq!(wishes(&mut seat, &[R1], 0, remove), (None, vec![]), "it is on its way");
    let mut follower = proposer(3, R1);
    assert_eq!(wishes(&mut follower, &[], 0, remove), (None, vec![]));
}

#[test]
fn a_lost_directory_is_replaced_by_the_one_that_is_heard_there() {
    let mut seat = leader_hearing(&[R1]);
    let replace = MemberChange::Replace(R2);
    assert_eq!(wishes(&mut seat, &[R1], 0, replace), (Some(Obstacle::NobodyThere), vec![]));
    observes(&mut seat, R2, 999, 0);
    let add = MemberChange::Add(R2);
    assert_eq!(
        wishes(&mut seat, &[R1], 0, add),
        (Some(Obstacle::NoChange), vec![]),
        "it is a member"
    );
    let (obstacle, proposals) = wishes(&mut seat, &[R1], 0, replace);
    assert_eq!((obstacle, proposals), (None, vec![(0, change(&replaced(3, R2)))]));
}

#[test]
fn a_place_without_a_vote_in_the_beginning_gets_one_unless_it_is_never_to_vote() {
    let mut seat = leader_hearing(&[R1, R2]);
    let add = MemberChange::Add(R3);
    assert_eq!(wishes(&mut seat, &[R1, R2], 0, add), (Some(Obstacle::NobodyThere), vec![]));
    let (directory, applied) = (DirectoryId(103), Slot(0));
    let never = ToProposer::Observes { directory, applied, vote: VoteAim::Never };
    seat.handle(Input::Peer(R3, never));
    assert_eq!(wishes(&mut seat, &[R1, R2], 0, add), (Some(Obstacle::NeverVotes), vec![]));
    assert!(!Obstacle::NeverVotes.may_pass());
    observes(&mut seat, R3, 103, 0);
    let (obstacle, proposals) = wishes(&mut seat, &[R1, R2], 0, add);
    let member = multipaxos::members::Member { id: R3, directory, address: None };
    let next = membership(3, R0).started().with(member).expect("a fourth");
    assert_eq!((obstacle, proposals), (None, vec![(0, change(&next))]));
}

#[test]
fn a_member_that_is_heard_is_not_replaced() {
    let mut seat = leader_hearing(&[R1, R2]);
    let replace = MemberChange::Replace(R2);
    let still_there = (Some(Obstacle::StillThere), vec![]);
    assert_eq!(wishes(&mut seat, &[R1, R2], 0, replace), still_there);
    assert_eq!(wishes(&mut seat, &[], 0, MemberChange::Replace(R0)), still_there, "it leads");
}

#[test]
fn who_has_not_caught_up_waits() {
    let mut seat = leader_hearing(&[R1]);
    let of = Slot(PROPOSE_WINDOW_SLOTS + 10);
    seat.handle(progress(of.0, false));
    observes(&mut seat, R2, 999, 9);
    let behind = Obstacle::Behind { applied: Slot(9), of };
    assert_eq!(wishes(&mut seat, &[R1], 0, MemberChange::Replace(R2)), (Some(behind), vec![]));
}

#[test]
fn members_of_whom_too_few_are_heard_are_made_by_force_alone() {
    let mut seat = leader_hearing(&[R1]);
    let change = MemberChange::Remove(R1);
    let heard = set(&[R0]);
    assert_eq!(wishes(&mut seat, &[R1], 0, change), (Some(Obstacle::NoQuorum { heard }), vec![]));
    let (answer, proposals) = asks(&mut seat, Some(Wish { base: 0, change, forced: true }));
    assert_eq!((answer.obstacle, proposals.len()), (None, 1));
}

#[test]
fn whoever_has_just_died_is_not_counted() {
    let mut seat = leader_hearing(&[R1, R2]);
    // Both were heard a moment ago. From here on replica 1 is dead.
    let change = MemberChange::Remove(R2);
    let heard = set(&[R0]);
    assert_eq!(wishes(&mut seat, &[R2], 0, change), (Some(Obstacle::NoQuorum { heard }), vec![]));
    let change = MemberChange::Remove(R1);
    assert_eq!(
        wishes(&mut seat, &[R2], 0, change),
        (None, vec![(0, super::change(&removed(3, R1)))])
    );
}

#[test]
fn a_member_moves_if_the_others_are_enough_until_it_is_heard_where_it_goes() {
    let mut seat = leader_hearing(&[R1, R2]);
    let started = membership(3, R0).started();
    let moves = |id, to| MemberChange::Move(id, to);
    let at = |id: ReplicaId, to| Member { address: Some(to), ..*started.member(id).expect("one") };
    let nowhere = Address("0.0.0.0:7".parse().expect("an address"));
    for (id, to) in [(R3, address(7)), (R2, nowhere)] {
        assert_eq!(
            wishes(&mut seat, &[R1, R2], 0, moves(id, to)),
            (Some(Obstacle::NoChange), vec![])
        );
    }
    // It is heard still, where it was.
    let heard = set(&[R0]);
    assert_eq!(
        wishes(&mut seat, &[R2], 0, moves(R2, address(7))),
        (Some(Obstacle::NoQuorum { heard }), vec![])
    );
    let mut seat = leader_hearing(&[R1, R2]);
    let (obstacle, proposals) = wishes(&mut seat, &[R1], 0, moves(R2, address(7)));
    let next = started.with(at(R2, address(7))).expect("it moves");
    assert_eq!((obstacle, proposals), (None, vec![(0, change(&next))]));
    // Of itself the leader does not know it either.
    let mut seat = leader_hearing(&[R1]);
    let heard = set(&[R1]);
    assert_eq!(
        wishes(&mut seat, &[R1], 0, moves(R0, address(7))),
        (Some(Obstacle::NoQuorum { heard }), vec![])
    );
    let mut seat = leader_hearing(&[R1, R2]);
    let (obstacle, proposals) = wishes(&mut seat, &[R1, R2], 0, moves(R0, address(7)));
    let next = started.with(at(R0, address(7))).expect("it moves");
    assert_eq!((obstacle, proposals), (None, vec![(0, change(&next))]));
}

#[test]
fn a_new_directory_is_where_the_lost_one_was() {
    let started = membership(3, R0).started();
    let member = Member { address: Some(address(7)), ..*started.member(R2).expect("a member") };
    let next = started.with(member).expect("it moves");
    let mut seat = first_leader(3);
    seat.handle(entered(1, &next));
    let ballot = next.next_owned(Ballot::ZERO, R0).expect("a member");
    seat.handle(Input::OwnPromise {
        ballot,
        first: Slot(1),
        trimmed: Slot::ZERO,
        accepted: vec![],
    });
    seat.handle(page(R1, ballot.0, (1, true), 0, &[]));
    in_touch(&mut seat, 4 * ELECTION_MAX_US, &[R1]);
    observes(&mut seat, R2, 999, 1);
    let (obstacle, proposals) = wishes(&mut seat, &[R1], 1, MemberChange::Replace(R2));
    let replaced = next.with(Member { directory: DirectoryId(999), ..member }).expect("another");
    assert_eq!((obstacle, proposals), (None, vec![(1, change(&replaced))]));
}

#[test]
fn whoever_was_removed_is_added_again() {
    let mut seat = first_leader(3);
    let two: Configuration = removed(3, R2);
    seat.handle(entered(1, &two));
    seat.handle(Input::OwnPromise {
        ballot: Ballot::of(1, 2),
        first: Slot(1),
        trimmed: Slot::ZERO,
        accepted: vec![],
    });
    seat.handle(page(R1, Ballot::of(1, 2).0, (1, true), 0, &[]));
    assert_eq!(seat.role.leading(), Some(Ballot::of(1, 2)));
    in_touch(&mut seat, 4 * ELECTION_MAX_US, &[R1]);
    let remove = MemberChange::Remove(R2);
    assert_eq!(
        wishes(&mut seat, &[R1], 1, remove),
        (Some(Obstacle::NoChange), vec![]),
        "it is gone"
    );
    observes(&mut seat, R2, directory(R2).0, 1);
    let (obstacle, proposals) = wishes(&mut seat, &[R1], 1, MemberChange::Add(R2));
    let next = two.with(*membership(3, R0).started().member(R2).expect("a member"));
    assert_eq!((obstacle, proposals), (None, vec![(1, change(&next.expect("a third")))]));
}
