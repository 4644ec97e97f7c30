//! The bootstrap role: warm-up, and the members of the cluster.

use crate::common::*;
use multipaxos::message::{Ready, ToBootstrap};
use multipaxos::paxos::bootstrap::{Bootstrap, Input, Record, cluster_id};
use multipaxos::paxos::{Envelope, Membership, Role, Storage};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{DirectoryId, ReplicaId, Time};
use std::io;

/// The records that a replica has written.
#[derive(Default)]
struct Written(Vec<Record>);

impl Upkeep for Written {}

impl Storage<Record> for Written {
    fn append(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        self.0.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Subject = Seat<Bootstrap, Written>;

fn replica(n: usize, id: ReplicaId, own: u64) -> Subject {
    let role = Bootstrap::new(settings(n, id), DirectoryId(own), Time(0));
    Seat::new(role, Written::default())
}

fn ready(from: ReplicaId, round: u64, own: u64, known: &[u64]) -> Input {
    say(from, round, own, known, false)
}

/// A message about what its sender knows. 0 stands for an unknown directory.
fn say(from: ReplicaId, round: u64, own: u64, known: &[u64], started: bool) -> Input {
    let directory = |id: &u64| (*id != 0).then_some(DirectoryId(*id));
    let known = known.iter().map(directory).collect();
    let ready = Ready { directory: DirectoryId(own), round, known, started };
    Input::Peer(from, ToBootstrap::Ready(ready))
}

fn said(envelopes: &[Envelope]) -> Vec<(ReplicaId, Ready)> {
    let pick = |(to, message)| match message {
        ToBootstrap::Ready(ready) => Some((to, ready)),
        ToBootstrap::NotMember { .. } => None,
    };
    to_replicas(envelopes).into_iter().filter_map(pick).collect()
}

fn ids(list: &[u64]) -> Vec<DirectoryId> {
    list.iter().copied().map(DirectoryId).collect()
}

#[track_caller]
fn the_start(envelopes: &[Envelope]) -> Membership {
    let mut found = started(envelopes);
    assert_eq!(found.len(), 1, "{envelopes:?}");
    found.remove(0)
}

#[test]
fn replica_0_draws_up_the_list_once_all_have_heard_its_present_directory() {
    let mut seat = replica(3, R0, 10);
    assert_eq!(started(&seat.handle(ready(R1, 1, 11, &[10, 11, 0]))), []);
    assert_eq!(started(&seat.handle(ready(R2, 1, 12, &[0, 11, 12]))), [], "2 has not heard of 0");
    assert_eq!(
        started(&seat.handle(ready(R2, 2, 12, &[9, 11, 12]))),
        [],
        "2 has heard of the former directory of 0"
    );
    let start = the_start(&seat.handle(ready(R2, 3, 12, &[10, 0, 12])));
    let members = ids(&[10, 11, 12]);
    assert_eq!(seat.storage.0, [Record::Started(members.clone())]);
    let cluster = cluster_id(&members);
    assert_eq!(start, Membership { cluster, directory: DirectoryId(10), members, fresh: true });
    assert!(start.is_voter(R0) && !start.is_voter(R1));
}

#[test]
fn no_other_replica_draws_up_a_list() {
    let mut seat = replica(3, R1, 11);
    let sent = seat.burst([ready(R0, 1, 10, &[10, 11, 12]), ready(R2, 1, 12, &[10, 11, 12])]);
    assert_eq!(started(&sent), []);
    assert_eq!(started(&seat.wait_us(10_000_000)), []);
}

#[test]
fn the_others_start_from_a_started_peers_list() {
    let mut seat = replica(3, R1, 11);
    let start = the_start(&seat.handle(say(R2, 7, 12, &[10, 11, 12], true)));
    assert_eq!(start.members, ids(&[10, 11, 12]));
    assert!(start.is_voter(R1));
    assert_eq!(seat.storage.0, [Record::Started(ids(&[10, 11, 12]))]);
}

#[test]
fn a_directory_off_the_list_starts_as_no_voter_and_keeps_no_record() {
    let mut seat = replica(3, R1, 99);
    let start = the_start(&seat.handle(say(R0, 7, 10, &[10, 11, 12], true)));
    assert!(!start.is_voter(R1));
    assert_eq!(start.cluster, cluster_id(&ids(&[10, 11, 12])));
    assert_eq!(seat.storage.0, []);
}

#[test]
fn a_started_list_with_a_hole_or_of_another_size_is_ignored() {
    let mut seat = replica(3, R1, 11);
    for known in [&[10, 11, 0][..], &[10, 11], &[10, 11, 12, 13]] {
        assert_eq!(started(&seat.handle(say(R0, 7, 10, known, true))), [], "{known:?}");
    }
}

#[test]
fn a_started_replica_answers_replicas_that_still_ask() {
    let mut seat = replica(3, R1, 11);
    seat.handle(say(R0, 1, 10, &[10, 11, 12], true));
    let sent = said(&seat.handle(ready(R2, 5, 12, &[10, 11, 12])));
    let [(to, answer)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((*to, answer.started, answer.directory), (R2, true, DirectoryId(11)));
    let known: Vec<_> = ids(&[10, 11, 12]).into_iter().map(Some).collect();
    assert_eq!(answer.known, known);
    let sent = seat.handle(say(R2, 6, 12, &[10, 11, 12], true));
    assert_eq!(said(&sent), [], "started replicas tell each other nothing");
    assert_eq!(seat.wait_us(10_000_000), []);
}

#[test]
fn until_started_ready_goes_to_all_others_at_every_heartbeat() {
    let mut seat = replica(3, R2, 12);
    seat.handle(ready(R0, 1, 10, &[10, 0, 0]));
    let first = said(&seat.wake());
    assert_eq!(first.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [R0, R1]);
    let known = vec![Some(DirectoryId(10)), None, Some(DirectoryId(12))];
    assert!(first.iter().all(|(_, ready)| ready.known == known && !ready.started));
    let next = said(&seat.wait_us(HEARTBEAT_US));
    assert_eq!(next.len(), 2);
    assert!(next[0].1.round > first[0].1.round);
}

#[test]
fn messages_in_its_own_name_or_from_outside_the_cluster_are_ignored() {
    let mut seat = replica(3, R1, 11);
    for from in [R1, ReplicaId(3)] {
        let told = seat.handle(say(from, 1, 10, &[10, 11, 12], true));
        assert_eq!(started(&told), [], "replica {from}");
    }
    the_start(&seat.handle(say(R0, 1, 10, &[10, 11, 12], true)));
}

#[test]
fn in_warm_up_it_wakes_when_something_is_due_and_does_not_spin() {
    let mut seat = replica(3, R1, 11);
    seat.wake();
    for _ in 0..1_000 {
        let due = seat.role.deadline().expect("it has not started");
        assert!(due > seat.now);
        seat.now = due;
        seat.wake();
    }
}

#[test]
fn an_older_round_is_dropped() {
    let mut seat = replica(3, R0, 10);
    seat.handle(ready(R1, 1, 11, &[10, 11, 0]));
    // Replica 2 is wiped. A message of its new life comes, and then an old one of that life.
    seat.handle(ready(R2, 5, 12, &[0, 0, 12]));
    assert_eq!(started(&seat.handle(ready(R2, 4, 12, &[10, 0, 12]))), []);
    the_start(&seat.handle(ready(R2, 6, 12, &[10, 0, 12])));
}

#[test]
fn a_wiped_peer_has_to_hear_of_replica_0_again() {
    let mut seat = replica(3, R0, 10);
    seat.handle(ready(R1, 9, 11, &[10, 11, 0]));
    seat.handle(ready(R1, 1, 21, &[0, 21, 0]));
    assert_eq!(started(&seat.handle(ready(R2, 1, 12, &[10, 11, 12]))), []);
    let start = the_start(&seat.handle(ready(R1, 2, 21, &[10, 21, 0])));
    assert_eq!(start.members, ids(&[10, 21, 12]));
}

#[test]
fn a_replica_that_is_wiped_in_warm_up_cannot_split_the_cluster() {
    // The execution in the module's prose: A (0) and C (2) start with (a, b, c). C is wiped. B (1)
    // has not heard that the cluster started, and hears C's new life.
    let (a, b, c, c_new) = (10, 11, 12, 22);
    let mut first = replica(3, R0, a);
    first.handle(ready(R1, 1, b, &[a, b, c]));
    let list = the_start(&first.handle(ready(R2, 1, c, &[a, b, c])));
    let mut second = replica(3, R1, b);
    let mut third = replica(3, R2, c_new);
    let between = [
        second.handle(ready(R2, 1, c_new, &[a, b, c_new])),
        third.handle(ready(R1, 1, b, &[a, b, c_new])),
        second.handle(ready(R2, 2, c_new, &[a, b, c_new])),
        third.wait_us(1_000_000),
        second.wait_us(1_000_000),
    ];
    assert!(between.iter().all(|sent| started(sent).is_empty()), "no second list: {between:?}");
    // Then both hear of the started record.
    let known: Vec<u64> = list.members.iter().map(|id| id.0).collect();
    let joined = the_start(&second.handle(say(R0, 2, a, &known, true)));
    assert_eq!((joined.cluster, joined.is_voter(R1)), (list.cluster, true));
    let refused = the_start(&third.handle(say(R1, 2, b, &known, true)));
    assert_eq!((refused.cluster, refused.is_voter(R2)), (list.cluster, false));
}

#[test]
fn a_wiped_replica_0_draws_up_no_second_list() {
    let mut seat = replica(3, R0, 20);
    seat.handle(ready(R2, 1, 12, &[20, 11, 12]));
    // Replica 1 has started with the first directory of replica 0.
    let start = the_start(&seat.handle(say(R1, 3, 11, &[10, 11, 12], true)));
    assert!(!start.is_voter(R0));
    assert_eq!(seat.storage.0, []);
    assert_eq!(
        started(&seat.handle(ready(R1, 9, 11, &[20, 11, 12]))),
        [],
        "it does not start again"
    );
}

#[test]
fn a_cluster_of_one_starts_at_once() {
    let mut seat = replica(1, R0, 10);
    let start = the_start(&seat.wake());
    assert_eq!((start.members.clone(), start.is_voter(R0)), (ids(&[10]), true));
}

#[test]
fn the_cluster_id_depends_on_every_directory_and_their_order() {
    let id = cluster_id(&ids(&[1, 2, 3]));
    for other in [[1, 2, 4], [2, 1, 3], [9, 2, 3]] {
        assert_ne!(cluster_id(&ids(&other)), id, "{other:?}");
    }
}
