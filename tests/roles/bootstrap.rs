//! The bootstrap role: warm-up, and the members of the cluster.

use crate::common::*;
use multipaxos::message::{Answer, Conduct, Heard, LostState, Ready, Refusal, ToBootstrap, Voter};
use multipaxos::paxos::acceptor::State;
use multipaxos::paxos::bootstrap::{Bootstrap, Input, Record, cluster_id};
use multipaxos::paxos::{Envelope, Membership, Notice, Role, Settings, Storage};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{BootId, ClusterId, DirectoryId, Origin, ReplicaId, Slot, Time};
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

/// The life of the replica under test is the first above this number.
const LIFE: u64 = 7_000;

fn replica(n: usize, id: ReplicaId, own: u64) -> Subject {
    let settings = Settings { boot: BootId(LIFE + 1), ..settings(n, id) };
    let role = Bootstrap::new(settings, DirectoryId(own), Time(0));
    Seat::new(role, Written::default())
}

/// What a peer says of itself before it has started, in answer to the Ready `answers` of this
/// life. 0 answers nothing.
fn ready(from: ReplicaId, round: u64, own: u64, answers: u64) -> Input {
    say(from, round, own, answers, None)
}

/// The same of a peer that has started with these directories.
fn begun(from: ReplicaId, round: u64, own: u64, answers: u64, members: &[u64]) -> Input {
    say(from, round, own, answers, Some(members))
}

fn say(from: ReplicaId, round: u64, own: u64, answers: u64, members: Option<&[u64]>) -> Input {
    let answers = (answers > 0).then_some((answers, 1));
    say_in(from, (own, round), own, answers, members)
}

/// The same with the life in which it says so, and the life that it answers, by the place
/// among the replica's lives.
fn say_in(
    from: ReplicaId,
    (boot, round): (u64, u64),
    own: u64,
    answers: Option<(u64, u64)>,
    members: Option<&[u64]>,
) -> Input {
    let ready = Ready {
        directory: DirectoryId(own),
        boot: BootId(boot),
        round,
        answers: answers.map(|(round, life)| Heard { boot: BootId(LIFE + life), round }),
        started: members.map(ids),
        list: 0,
        origin: None,
    };
    Input::Peer(from, address(from.0.into()), ToBootstrap::Ready(Box::new(ready)))
}

fn said(envelopes: &[Envelope]) -> Vec<(ReplicaId, Ready)> {
    let pick = |(to, message)| match message {
        ToBootstrap::Ready(ready) => Some((to, *ready)),
        _ => None,
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
fn replica_0_draws_up_the_list_once_all_have_answered_its_present_life() {
    let mut seat = replica(3, R0, 10);
    assert_eq!(started(&seat.handle(ready(R1, 1, 11, 1))), []);
    assert_eq!(started(&seat.handle(ready(R2, 1, 12, 0))), [], "2 has not heard of 0");
    let former = say_in(R2, (12, 2), 12, Some((9, 0)), None);
    assert_eq!(started(&seat.handle(former)), [], "2 has heard of a former life of 0");
    let start = the_start(&seat.handle(ready(R2, 3, 12, 1)));
    let members = ids(&[10, 11, 12]);
    assert_eq!(seat.storage.0, [record(members.clone())]);
    let cluster = cluster_id(&members);
    let voter = Voter { directory: DirectoryId(10), ..start.voter };
    let memories = Vec::new();
    assert_eq!(start, Membership { cluster, voter, members, memories, fresh: true });
    assert!(start.is_voter(R0) && !start.is_voter(R1));
}

#[test]
fn an_operator_hears_for_whom_it_waits_until_it_has_started() {
    let mut seat = replica(3, R0, 10);
    let mut asked = |input: Option<Input>| {
        input.into_iter().for_each(|input| drop(seat.handle(input)));
        let sent = seat.handle(Input::Status(address(9)));
        let [Envelope::Answers { to, answers }] = &sent[..] else { return None };
        assert_eq!(*to, address(9));
        let [Answer::Status(status)] = &answers[..] else { panic!("{answers:?}") };
        let Conduct::WarmsUp(of) = status.leadership.conduct else { panic!("{status:?}") };
        Some([R0, R1, R2].map(|id| of.contains(id)))
    };
    assert_eq!(asked(None), Some([false, true, true]));
    assert_eq!(asked(Some(ready(R1, 1, 11, 1))), Some([false, false, true]));
    assert_eq!(asked(Some(ready(R2, 3, 12, 1))), None, "the others answer now");
}

#[test]
fn no_other_replica_draws_up_a_list() {
    let mut seat = replica(3, R1, 11);
    let sent = seat.burst([ready(R0, 1, 10, 1), ready(R2, 1, 12, 1)]);
    assert_eq!(started(&sent), []);
    assert_eq!(started(&seat.wait_us(10_000_000)), []);
}

#[test]
fn the_others_start_from_a_started_peers_list() {
    // A list with this directory on it can be of no other cluster, whatever it answers.
    for answers in [0, 1] {
        let mut seat = replica(3, R1, 11);
        let start = the_start(&seat.handle(begun(R2, 7, 12, answers, &[10, 11, 12])));
        assert_eq!(start.members, ids(&[10, 11, 12]));
        assert!(start.is_voter(R1));
        assert_eq!(seat.storage.0, [record(ids(&[10, 11, 12]))]);
    }
}

/// It was put back from a copy that is older than the start of the cluster, and led ballot 0 a second
/// time: nobody else is asked about that ballot.
#[test]
fn a_replica_0_that_is_shown_a_list_with_its_directory_has_lost_its_state() {
    for answers in [0, 1] {
        let mut seat = replica(3, R0, 10);
        let mut sent = seat.handle(begun(R2, 7, 12, answers, &[10, 11, 12]));
        let said = LostState { by: R2, known: 1, begun: 0 };
        assert_eq!(sent.pop(), Some(Envelope::Notice(Notice::LostState(said))));
        assert_eq!(started(&sent), []);
        assert!(to_replicas(&sent).iter().all(|(_, it)| *it == ToBootstrap::LostState(said)));
        assert_eq!(seat.storage.0, []);
        assert!(!seat.role.is_started());
    }
    // A list without it says that it counts as wiped, as any other does.
    let mut wiped = replica(3, R0, 20);
    let sent = wiped.handle(begun(R2, 7, 12, 1, &[10, 11, 12]));
    let is_lost = |it: &Envelope| matches!(it, Envelope::Notice(Notice::LostState(_)));
    assert!(!sent.iter().any(is_lost), "{sent:?}");
}

#[test]
fn a_directory_off_the_list_of_a_quorum_starts_as_no_voter_and_keeps_the_record() {
    let mut seat = replica(5, R1, 99);
    let list = [10, 11, 12, 13, 14];
    assert_eq!(started(&seat.handle(begun(R0, 7, 10, 1, &list))), []);
    assert_eq!(started(&seat.handle(begun(R0, 8, 10, 2, &list))), [], "the same again");
    assert_eq!(started(&seat.handle(begun(R2, 7, 12, 1, &list))), []);
    let other = [10, 11, 12, 13, 24];
    assert_eq!(
        started(&seat.handle(begun(ReplicaId(4), 7, 24, 1, &other))),
        [],
        "of another cluster"
    );
    let start = the_start(&seat.handle(begun(R3, 7, 13, 1, &list)));
    assert!(!start.is_voter(R1));
    assert_eq!(start.cluster, cluster_id(&ids(&list)));
    // The log may make it a member, and its next life must know that (M4).
    assert_eq!(seat.storage.0, [record(ids(&list))]);
}

#[test]
fn a_list_that_answers_another_life_wipes_nobody() {
    let mut seat = replica(3, R1, 99);
    let list = Some(&[10, 11, 12][..]);
    for answers in [None, Some((1, 0)), Some((5, 2))] {
        let sent = seat.burst([
            say_in(R0, (10, seat.now.0 + 1), 10, answers, list),
            say_in(R2, (12, seat.now.0 + 1), 12, answers, list),
        ]);
        assert_eq!(started(&sent), [], "{answers:?}");
        // Both are asked at once, so that they can answer this life.
        let asked = said(&sent);
        assert_eq!(asked.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [R0, R2]);
        let heard = Some(Heard { boot: BootId(10), round: seat.now.0 + 1 });
        assert_eq!(asked[0].1.answers, heard);
        seat.now = seat.now.plus_us(1);
    }
}

#[test]
fn what_is_left_of_a_former_cluster_is_waited_for_until_it_begins_anew() {
    let mut seat = replica(3, R0, 10);
    seat.handle(ready(R1, 1, 11, 1));
    assert_eq!(started(&seat.handle(begun(R2, 1, 2, 1, &[0, 1, 2]))), []);
    assert_eq!(started(&seat.wait_us(60_000_000)), []);
    let start = the_start(&seat.handle(ready(R2, 1, 12, 2)));
    assert_eq!((start.members.clone(), start.is_voter(R0)), (ids(&[10, 11, 12]), true));
}

#[test]
fn a_started_list_of_another_size_is_ignored() {
    let mut seat = replica(3, R1, 11);
    for members in [&[10, 11][..], &[10, 11, 12, 13], &[]] {
        let sent = seat.handle(begun(R0, members.len() as u64 + 1, 10, 1, members));
        assert_eq!(started(&sent), [], "{members:?}");
    }
}

#[test]
fn a_started_replica_answers_replicas_that_still_ask() {
    let mut seat = replica(3, R1, 11);
    seat.handle(begun(R0, 1, 10, 1, &[10, 11, 12]));
    let sent = seat.handle(ready(R2, 5, 12, 0));
    assert_eq!(sent.len(), 1, "a member is no stray: {sent:?}");
    let sent = said(&sent);
    let [(to, answer)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((*to, answer.directory), (R2, DirectoryId(11)));
    assert_eq!(answer.answers, Some(Heard { boot: BootId(12), round: 5 }));
    assert_eq!(answer.started, Some(ids(&[10, 11, 12])));
    let sent = seat.handle(begun(R2, 6, 12, 1, &[10, 11, 12]));
    assert_eq!(said(&sent), [], "started replicas tell each other nothing");
    assert_eq!(seat.wait_us(10_000_000), []);
}

#[test]
fn a_stray_process_is_told_so_where_it_is() {
    let mut seat = replica(3, R1, 11);
    seat.handle(begun(R0, 1, 10, 1, &[10, 11, 12]));
    let sent = seat.handle(ready(R2, 5, 99, 0));
    assert_eq!(said(&sent).len(), 1, "if that is replica 2, it hears of the list");
    let back = Envelope::Back {
        to: R2,
        at: address(2),
        message: ToBootstrap::NotMember { directory: DirectoryId(99) },
    };
    assert_eq!(sent[1..], [back]);
    // It changes nothing there: it waits for a quorum's answer.
    let mut stray = replica(3, R2, 99);
    let told = ToBootstrap::NotMember { directory: DirectoryId(99) };
    let sent = stray.handle(Input::Peer(R1, address(1), told));
    assert_eq!((sent, stray.role.is_started()), (vec![], false));
}

#[test]
fn a_replica_that_is_told_that_it_lost_its_state_says_so_to_all_and_stops() {
    let settings = Settings { boot: BootId(LIFE + 1), ..settings(3, R1) };
    let mut state = State::default();
    state.set_written(5);
    let role = Bootstrap::restart(settings, DirectoryId(11), ids(&[10, 11, 12]), &state);
    let mut seat = Seat::new(role, Written::default());
    let start = the_start(&seat.wake());
    assert_eq!((start.voter.begun, start.is_voter(R1)), (5, true));
    let told = |life: u64, known| {
        Input::Peer(R2, address(2), ToBootstrap::Forgotten { boot: BootId(LIFE + life), known })
    };
    // Another life was meant, or nothing is lost.
    assert_eq!((seat.handle(told(0, 9)), seat.handle(told(1, 5))), (vec![], vec![]));
    let said = LostState { by: R2, known: 9, begun: 5 };
    let word = ToBootstrap::LostState(said);
    let mut sent = seat.handle(told(1, 9));
    assert_eq!(sent.pop(), Some(Envelope::Notice(Notice::LostState(said))));
    assert_eq!(to_replicas(&sent), [(R0, word.clone()), (R2, word.clone())]);
    assert!(!seat.role.has_said_all(seat.now) && !seat.role.is_started());
    assert_eq!(seat.handle(told(1, 9)), [], "once");
    let again = seat.wait_us(500_000);
    assert_eq!(to_replicas(&again).len(), 2 * 10, "every 50 ms: a word may be lost");
    assert!(to_replicas(&again).iter().all(|(_, other)| *other == word));
    assert!(seat.role.has_said_all(seat.now));
}

#[test]
fn a_refused_datagram_changes_nothing() {
    for begins in [false, true] {
        let mut seat = replica(3, R1, 11);
        if begins {
            seat.handle(begun(R0, 1, 10, 1, &[10, 11, 12]));
        }
        for from in [R0, R1, R2, ReplicaId(3)] {
            let (at, why) = (address(9), Refusal::Cluster(ClusterId(5)));
            for _ in 0..10 {
                assert_eq!(seat.handle(Input::Refused { from, at, why }), []);
            }
            seat.now = seat.now.plus_us(2_000_000);
        }
        assert_eq!(seat.role.is_started(), begins);
    }
}

#[test]
fn until_started_ready_goes_to_all_others_at_every_heartbeat() {
    let mut seat = replica(3, R2, 12);
    seat.handle(ready(R0, 1, 10, 1));
    let first = said(&seat.wake());
    assert_eq!(first.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [R0, R1]);
    assert_eq!(first[0].1.answers, Some(Heard { boot: BootId(10), round: 1 }));
    assert_eq!(first[1].1.answers, None);
    assert!(first.iter().all(|(_, ready)| ready.started.is_none()));
    let next = said(&seat.wait_us(HEARTBEAT_US));
    assert_eq!(next.len(), 2);
    assert!(next[0].1.round > first[0].1.round);
}

#[test]
fn messages_in_its_own_name_or_from_outside_the_cluster_are_ignored() {
    let mut seat = replica(3, R1, 11);
    for from in [R1, ReplicaId(3)] {
        let told = seat.handle(begun(from, 1, 10, 1, &[10, 11, 12]));
        assert_eq!(started(&told), [], "replica {from}");
    }
    the_start(&seat.handle(begun(R0, 1, 10, 1, &[10, 11, 12])));
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
fn two_replicas_that_hear_each_other_do_not_answer_for_ever() {
    let (mut one, mut two) = (replica(3, R1, 11), replica(3, R2, 12));
    let mut sent = said(&one.wake());
    for round in 0.. {
        let to = |id: ReplicaId| move |(to, ready)| (to == id).then_some(ready);
        let back: Vec<_> = sent
            .into_iter()
            .filter_map(to(R2))
            .flat_map(|ready| said(&two.handle(peer(R1, ready))))
            .collect();
        if back.is_empty() {
            assert!(round <= 2, "{round} answers to one message");
            return;
        }
        let heard = back.into_iter().filter_map(to(R1));
        sent = heard.flat_map(|ready| said(&one.handle(peer(R2, ready)))).collect();
    }
}

fn peer(from: ReplicaId, ready: Ready) -> Input {
    Input::Peer(from, address(from.0.into()), ToBootstrap::Ready(Box::new(ready)))
}

#[test]
fn an_older_round_is_dropped() {
    let mut seat = replica(3, R0, 10);
    seat.handle(ready(R1, 1, 11, 1));
    seat.handle(ready(R2, 5, 12, 0));
    assert_eq!(started(&seat.handle(ready(R2, 4, 12, 1))), []);
    the_start(&seat.handle(ready(R2, 6, 12, 1)));
}

#[test]
fn the_last_word_of_a_former_directory_does_not_count() {
    let mut seat = replica(3, R0, 10);
    // Replica 2 is wiped; then its former life's last messages come.
    seat.handle(ready(R2, 1, 22, 9));
    seat.handle(ready(R2, 8, 12, 8));
    seat.handle(ready(R2, 9, 12, 9));
    let start = the_start(&seat.handle(ready(R1, 1, 11, 1)));
    assert_eq!(start.members, ids(&[10, 11, 22]));
}

#[test]
fn a_wiped_peer_is_known_by_its_new_directory() {
    let mut seat = replica(3, R0, 10);
    seat.handle(ready(R1, 9, 11, 3));
    seat.handle(ready(R1, 1, 21, 4));
    let start = the_start(&seat.handle(ready(R2, 1, 12, 1)));
    assert_eq!(start.members, ids(&[10, 21, 12]));
}

#[test]
fn a_replica_that_is_wiped_in_warm_up_cannot_split_the_cluster() {
    // The execution in the module's prose: A (0) and C (2) start with (a, b, c). C is wiped. B (1)
    // has not heard that the cluster started, and hears C's new life.
    let (a, b, c, c_new) = (10, 11, 12, 22);
    let mut first = replica(3, R0, a);
    first.handle(ready(R1, 1, b, 1));
    let list = the_start(&first.handle(ready(R2, 1, c, 1)));
    let mut second = replica(3, R1, b);
    let mut third = replica(3, R2, c_new);
    let between = [
        second.handle(ready(R2, 1, c_new, 1)),
        third.handle(ready(R1, 1, b, 1)),
        second.handle(ready(R2, 2, c_new, 2)),
        third.wait_us(1_000_000),
        second.wait_us(1_000_000),
    ];
    assert!(between.iter().all(|sent| started(sent).is_empty()), "no second list: {between:?}");
    // Then both hear of the started record.
    let known: Vec<u64> = list.members.iter().map(|id| id.0).collect();
    let joined = the_start(&second.handle(begun(R0, 2, a, 2, &known)));
    assert_eq!((joined.cluster, joined.is_voter(R1)), (list.cluster, true));
    third.handle(begun(R0, 2, a, 2, &known));
    let refused = the_start(&third.handle(begun(R1, 2, b, 2, &known)));
    assert_eq!((refused.cluster, refused.is_voter(R2)), (list.cluster, false));
}

#[test]
fn a_wiped_replica_0_draws_up_no_second_list() {
    let mut seat = replica(3, R0, 20);
    seat.handle(ready(R2, 1, 12, 1));
    // Replica 1 has started with the first directory of replica 0; replica 2 soon has.
    assert_eq!(started(&seat.handle(begun(R1, 3, 11, 2, &[10, 11, 12]))), []);
    let start = the_start(&seat.handle(begun(R2, 3, 12, 2, &[10, 11, 12])));
    assert!(!start.is_voter(R0));
    assert_eq!(seat.storage.0, [record(ids(&[10, 11, 12]))]);
    assert_eq!(started(&seat.handle(ready(R1, 9, 11, 3))), [], "it does not start again");
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

#[test]
fn a_replica_that_waits_says_whose_configuration_lists_others() {
    let settings = Settings { boot: BootId(LIFE + 1), ..settings(3, R2) };
    let role = Bootstrap::new(settings, DirectoryId(30), Time(0)).listing(5);
    let mut seat = Subject::new(role, Written::default());
    let sent = said(&seat.wait_us(100_000));
    assert!(!sent.is_empty() && sent.iter().all(|(_, ready)| ready.list == 5));
    let listed = |from: ReplicaId, round: u64, list: u64| match ready(from, round, 10, 0) {
        Input::Peer(from, at, ToBootstrap::Ready(ready)) => {
            Input::Peer(from, at, ToBootstrap::Ready(Box::new(Ready { list, ..*ready })))
        }
        other => panic!("{other:?}"),
    };
    // The same list, and one that is not told.
    seat.handle(listed(R0, 1, 5));
    seat.handle(listed(R1, 1, 0));
    assert_eq!(seat.role.report(), "replicas 0, 1");
    seat.handle(listed(R1, 2, 6));
    let differs = "lists other addresses or another order than this one's";
    let expected = format!("replicas 0, 1; the configuration of replica 1 {differs}");
    assert_eq!(seat.role.report(), expected);
    // Put right, and started again.
    seat.handle(listed(R1, 3, 5));
    assert_eq!(seat.role.report(), "replicas 0, 1");
}

/// A chat log to begin with.
/// The record of a cluster that began empty.
fn record(members: Vec<DirectoryId>) -> Record {
    Record::Started { members, origin: None }
}

fn origin(hash: u64) -> Option<Origin> {
    Some(Origin { end: Slot(700), bytes: 9_000, hash })
}

fn beginning(n: usize, id: ReplicaId, own: u64, origin: Option<Origin>) -> Subject {
    let settings = Settings { boot: BootId(LIFE + 1), ..settings(n, id) };
    let role = Bootstrap::new(settings, DirectoryId(own), Time(0)).beginning_with(origin);
    Seat::new(role, Written::default())
}

/// The same of a peer that begins with this chat log.
fn with(origin: Option<Origin>, input: Input) -> Input {
    match input {
        Input::Peer(from, at, ToBootstrap::Ready(ready)) => {
            Input::Peer(from, at, ToBootstrap::Ready(Box::new(Ready { origin, ..*ready })))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn replica_0_starts_a_cluster_only_of_replicas_that_begin_with_the_same() {
    for (own, other) in [(origin(1), None), (origin(1), origin(2)), (None, origin(1))] {
        let mut seat = beginning(3, R0, 10, own);
        seat.handle(with(own, ready(R1, 1, 11, 1)));
        assert_eq!(
            started(&seat.handle(with(other, ready(R2, 1, 12, 1)))),
            [],
            "{own:?} {other:?}"
        );
        assert!(said(&seat.wait_us(100_000)).iter().all(|(_, ready)| ready.origin == own));
        // It is started again with the same, in the same directory.
        let start = the_start(&seat.handle(with(own, ready(R2, 2, 12, 2))));
        assert_eq!(start.members, ids(&[10, 11, 12]));
        assert_eq!(start.fresh, own.is_none(), "what is decided, phase 1 tells");
        assert_eq!(seat.storage.0.len(), 1);
    }
}

#[test]
fn a_list_with_the_own_directory_starts_no_replica_that_begins_with_something_else() {
    for (own, other) in [(origin(1), None), (origin(1), origin(2)), (None, origin(1))] {
        let mut seat = beginning(3, R2, 12, own);
        seat.wake();
        for from in [R0, R1] {
            let shown = begun(from, 1, 10 + u64::from(from.0), 1, &[10, 11, 12]);
            assert_eq!(started(&seat.handle(with(other, shown))), [], "{own:?} {other:?}");
        }
        assert_eq!(seat.storage.0, []);
        let shown = begun(R0, 2, 10, 2, &[10, 11, 12]);
        let start = the_start(&seat.handle(with(own, shown)));
        assert!(start.is_voter(R2) && start.fresh == own.is_none());
    }
}

#[test]
fn a_wiped_replica_that_begins_with_a_chat_log_follows_no_cluster_that_did_not() {
    for (own, other, follows) in [
        (None, None, true),
        (None, origin(1), true),
        (origin(1), origin(1), true),
        (origin(1), origin(2), false),
        (origin(1), None, false),
    ] {
        let mut seat = beginning(3, R2, 99, own);
        seat.wake();
        seat.handle(with(other, begun(R0, 1, 10, 1, &[10, 11, 12])));
        let sent = seat.handle(with(other, begun(R1, 1, 11, 1, &[10, 11, 12])));
        assert_eq!(started(&sent).len(), usize::from(follows), "{own:?} {other:?}");
        // It says so to others from then on: the log may make it a member, and those may go.
        let noted = Record::Started { members: ids(&[10, 11, 12]), origin: other };
        assert_eq!(seat.storage.0.first(), follows.then_some(&noted), "what it follows it notes");
        assert_eq!(seat.role.report().contains("Two clusters cannot go on"), !follows);
    }
}

#[test]
fn a_replica_that_waits_says_who_begins_with_what() {
    let mut seat = beginning(3, R2, 30, origin(0xF1));
    seat.wake();
    seat.handle(with(origin(0xF1), ready(R0, 1, 10, 0)));
    assert_eq!(seat.role.report(), "replicas 0, 1");
    seat.handle(with(None, ready(R1, 1, 11, 0)));
    let remedy = "this one with a chat log of 700 lines (hash f1): give all the same \
                  --begin_from, or none";
    let one = format!("replicas 0, 1; replica 1 begins with no chat log, {remedy}");
    assert_eq!(seat.role.report(), one);
    seat.handle(with(origin(0xF2), ready(R0, 2, 10, 0)));
    let both = format!(
        "replicas 0, 1; replica 0 begins with a chat log of 700 lines (hash f2), replica 1 begins \
         with no chat log, {remedy}"
    );
    assert_eq!(seat.role.report(), both);
    let mut empty = beginning(3, R2, 30, None);
    empty.handle(with(origin(0xF2), ready(R0, 1, 10, 0)));
    assert!(empty.role.report().ends_with(
        "replica 0 begins with a chat log of 700 lines (hash f2), this one with no chat log: give \
         all the same --begin_from, or none"
    ));
}

#[test]
fn a_place_without_a_vote_in_the_beginning_waits_for_a_quorum_that_has_started() {
    let places = |id| Settings { boot: BootId(LIFE + 1), places: 5, ..settings(3, id) };
    let of = |id, own| {
        let role = Bootstrap::new(places(id), DirectoryId(own), Time(0));
        Seat::new(role, Written::default())
    };
    let mut observer = of(R3, 13);
    let sent = observer.wake();
    assert_eq!(said(&sent).iter().map(|(to, _)| to.0).collect::<Vec<_>>(), [0, 1, 2, 4]);
    assert!(observer.role.report().starts_with("replicas 0, 1, 2"), "{}", observer.role.report());
    let begun_by =
        |from: ReplicaId, answers| begun(from, 2, 10 + u64::from(from.0), answers, &MEMBERS);
    let answers = |sent: &[Envelope], to| {
        said(sent).into_iter().find(|(id, _)| *id == to).expect("it asks").1.round
    };
    assert_eq!(started(&observer.handle(begun_by(R1, answers(&sent, R1)))), []);
    // Another one without a vote knows the list as well.
    let begun_with =
        started(&observer.handle(begun_by(ReplicaId(4), answers(&sent, ReplicaId(4)))));
    assert_eq!(begun_with.len(), 1, "{begun_with:?}");
    assert!(!begun_with[0].is_voter(R3));
    // And nobody waits for it: replica 0 starts the cluster with the three of the beginning.
    let mut first = of(R0, 10);
    let sent = first.wake();
    first.handle(ready(R1, 1, 11, answers(&sent, R1)));
    assert_eq!(started(&first.handle(ready(R2, 1, 12, answers(&sent, R2)))), [], "it listens");
    let begun_with = started(&first.wait_us(1_000_000));
    assert_eq!(begun_with.len(), 1, "{begun_with:?}");
    assert_eq!(begun_with[0].members, ids(&MEMBERS));
}

#[test]
fn who_has_lost_its_disk_begins_no_other_cluster_where_one_that_was_added_answers() {
    let settings = Settings { boot: BootId(LIFE + 1), places: 2, ..settings(1, R0) };
    let begins = || {
        let role = Bootstrap::new(settings, DirectoryId(19), Time(0));
        Seat::new(role, Written::default())
    };
    let mut alone = begins();
    assert_eq!(started(&alone.wake()), []);
    assert_eq!(started(&alone.wait_us(1_000_000))[0].members, ids(&[19]));
    let mut lost = begins();
    let round = said(&lost.wake())[0].1.round;
    let begun_with = started(&lost.handle(begun(R1, 2, 11, round, &[10])));
    assert_eq!(begun_with.len(), 1, "{begun_with:?}");
    assert_eq!(begun_with[0].members, ids(&[10]), "it follows without a vote");
}

const MEMBERS: [u64; 3] = [10, 11, 12];
