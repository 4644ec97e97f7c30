//! The learner: what is decided, applied, answered and fetched.

use crate::common::*;
use multipaxos::message::{
    Answer, Decided, Heartbeat, Message, Request, ToLearner, ToProposer, ToReplica,
};
use multipaxos::paxos::chat::SESSION_WINDOW_SLOTS;
use multipaxos::paxos::learner::Checkpoint;
use multipaxos::paxos::learner::{FETCH_SLOTS_MAX, Input, Learner};
use multipaxos::paxos::reign::Origin;
use multipaxos::paxos::runs::Run;
use multipaxos::paxos::{ANSWER_BYTES_MAX, Envelope, acceptor, proposer};
use multipaxos::types::{Address, Ballot, Command, DirectoryId, ReplicaId, Slot, Value};
use multipaxos::values::{COMMAND_BYTES, Values};

type Subject = Seat<Learner, Log>;

fn learner(n: usize, id: ReplicaId) -> Subject {
    Seat::new(
        Learner::new(settings(n, id), membership(n, id), Checkpoint::default()),
        Log::default(),
    )
}

fn votes(from: ReplicaId, ballot: u64, first: u64, count: u64) -> Input {
    let (ballot, directory, slots) = (Ballot(ballot), directory(from), vec![range(first, count)]);
    Input::Peer(from, ToLearner::Votes { ballot, directory, slots })
}

/// The own proposer has proposed values from `first` on, in a reign that began at 0.
fn proposed(ballot: u64, first: u64, values: &[Value]) -> Input {
    let origins = vec![Origin { count: values.len(), asked: None }];
    let (ballot, first, values) = (Ballot(ballot), Slot(first), values.into());
    Input::Proposed { ballot, from: Slot(0), first, values, origins }
}

/// The own acceptor has accepted values from `first` on.
fn voted(ballot: u64, first: u64, values: &[Value], decided: Decided) -> Input {
    let run = Run { first: Slot(first), ballot: Ballot(ballot), values: values.into() };
    Input::Voted { runs: vec![run], decided }
}

fn page(from: ReplicaId, first: u64, values: &[Value]) -> Input {
    Input::Peer(from, ToLearner::Page { first: Slot(first), values: values.into() })
}

/// A peer has applied so much.
fn applied(from: ReplicaId, round: u64, applied: u64) -> Input {
    let applied = Slot(applied);
    Input::Heartbeat(from, Heartbeat { applied, ..heartbeat(from, round) })
}

fn leads(from: ReplicaId, round: u64, ballot: u64, decided: Decided) -> Input {
    let ballot = Ballot(ballot);
    let leading = true;
    Input::Heartbeat(from, Heartbeat { ballot, leading, decided, ..heartbeat(from, round) })
}

fn held(session: u64, seq: u64, line: &str) -> Input {
    let request = Request::new(1, session, seq, line);
    Input::Held { origin: address(1), request, direct: true }
}

fn fetches(envelopes: &[Envelope]) -> Vec<(ReplicaId, u64, u64)> {
    let pick = |(to, message)| match message {
        ToLearner::Fetch { first, upto } => Some((to, first.0, upto.0)),
        _ => None,
    };
    to_learners(envelopes).into_iter().filter_map(pick).collect()
}

fn forwards(envelopes: &[Envelope]) -> Vec<(ReplicaId, u64)> {
    let pick = |(to, message)| match message {
        ToProposer::Forward { request, .. } => Some((to, request.command().seq)),
        _ => None,
    };
    to_proposers(envelopes).into_iter().filter_map(pick).collect()
}

fn values(lines: &[&str]) -> Vec<Value> {
    lines.iter().map(|line| value(line)).collect()
}

fn noops(count: usize) -> Vec<Value> {
    vec![Value::Noop; count]
}

/// Whether the learner last said that something waits.
fn pending(seat: &mut Subject) -> bool {
    let told = told_proposer(&seat.wait_us(HEARTBEAT_US));
    let pick = |input: &proposer::Input| match input {
        proposer::Input::Progress { pending, .. } => Some(*pending),
        _ => None,
    };
    told.iter().filter_map(pick).next_back().expect("progress is told at every heartbeat")
}

/// What the proposer is told to be decided.
fn marks(envelopes: &[Envelope]) -> Vec<Decided> {
    let pick = |input: &proposer::Input| match input {
        proposer::Input::Progress { decided, .. } => Some(*decided),
        _ => None,
    };
    told_proposer(envelopes).iter().filter_map(pick).collect()
}

/// The own proposer has proposed values from `first` on; how many of them were asked for
/// from which port.
fn asked(first: u64, values: &[Value], origins: &[(usize, Option<u16>)]) -> Input {
    let origin = |(count, port): &(usize, Option<u16>)| {
        let asked = port.map(|port| (address(port), Slot(0)));
        Origin { count: *count, asked }
    };
    let (ballot, from, first, values) = (Ballot(0), Slot(0), Slot(first), values.into());
    Input::Proposed { ballot, from, first, values, origins: origins.iter().map(origin).collect() }
}

/// Which port is told that the line of which session stands in which slot.
fn completed(envelopes: &[Envelope]) -> Vec<(u16, u64, u64)> {
    let pick = |(to, answer): (Address, Answer)| match answer {
        Answer::Complete { session, slot, .. } => Some((to.0.port(), session.id, slot.0)),
        _ => None,
    };
    answers(envelopes).into_iter().filter_map(pick).collect()
}

// --- what is decided ---------------------------------------------------------------

#[test]
fn a_quorum_of_votes_at_one_ballot_decides() {
    let mut seat = learner(5, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b"])));
    seat.handle(votes(R0, 0, 0, 2));
    seat.handle(votes(R3, 0, 0, 1));
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(votes(R2, 0, 0, 2));
    assert_eq!(seat.storage.values(), values(&["a"]), "slot 1 has two of five");
    seat.handle(votes(R3, 0, 1, 1));
    assert_eq!(seat.storage.values(), values(&["a", "b"]));
}

#[test]
fn a_vote_that_comes_twice_from_one_acceptor_counts_once() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.burst([votes(R1, 0, 0, 1), votes(R1, 0, 0, 1), votes(R1, 0, 0, 1)]);
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(votes(R2, 0, 0, 1));
    assert_eq!(seat.role.applied(), Slot(1));
}

#[test]
fn votes_may_come_before_the_proposal() {
    let mut seat = learner(3, R0);
    seat.burst([votes(R1, 0, 0, 1), votes(R2, 0, 0, 1)]);
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(proposed(0, 0, &values(&["a"])));
    assert_eq!(seat.storage.values(), values(&["a"]));
}

#[test]
fn votes_are_not_tallied_across_ballots() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.handle(votes(R1, 0, 0, 1));
    // The same value, proposed again two reigns later.
    seat.handle(proposed(3, 0, &values(&["a"])));
    seat.handle(votes(R2, 3, 0, 1));
    assert_eq!(seat.role.applied(), Slot(0));
    // One that is late, of the older ballot.
    seat.handle(votes(R0, 0, 0, 1));
    seat.handle(votes(R2, 0, 0, 1));
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(votes(R1, 3, 0, 1));
    assert_eq!(seat.role.applied(), Slot(1));
}

#[test]
fn votes_of_an_older_ballot_do_not_help_a_newer_one_whose_votes_come_first() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.handle(votes(R1, 0, 0, 1));
    seat.handle(votes(R2, 3, 0, 1));
    seat.handle(proposed(3, 0, &values(&["b"])));
    assert_eq!(seat.role.applied(), Slot(0), "one vote at each ballot");
    seat.handle(votes(R1, 3, 0, 1));
    assert_eq!(seat.storage.values(), values(&["b"]));
}

#[test]
fn a_quorum_does_not_decide_a_value_known_at_another_ballot() {
    let mut seat = learner(3, R0);
    // Accepted here at ballot 1; what was proposed at ballot 3 has not been heard.
    seat.handle(voted(1, 0, &values(&["old"]), nothing_decided(1)));
    seat.burst([votes(R1, 3, 0, 1), votes(R2, 3, 0, 1)]);
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(proposed(3, 0, &values(&["new"])));
    assert_eq!(seat.storage.values(), values(&["new"]));
}

#[test]
fn votes_for_a_ballot_of_another_replica_are_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(voted(1, 0, &values(&["a"]), nothing_decided(1)));
    seat.burst([votes(R0, 1, 0, 1), votes(R1, 1, 0, 1), votes(R2, 1, 0, 1)]);
    assert_eq!(seat.role.applied(), Slot(0));
}

#[test]
fn the_vote_of_a_foreign_directory_does_not_count_and_is_told_so() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.handle(votes(R0, 0, 0, 1));
    let directory = DirectoryId(999);
    let slots = vec![range(0, 1)];
    let foreign = ToLearner::Votes { ballot: Ballot(0), directory, slots };
    let sent = seat.handle(Input::Peer(R1, foreign));
    assert_eq!(seat.role.applied(), Slot(0));
    assert_eq!(to_replicas(&sent), [(R1, ToReplica::NotMember { directory })]);
}

#[test]
fn a_range_of_votes_that_names_every_slot_there_is_costs_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a"])));
    seat.handle(votes(R1, 0, 0, u64::MAX));
    seat.handle(votes(R2, 0, 0, 1 << 62));
    assert_eq!(seat.storage.values(), values(&["a"]));
}

#[test]
fn a_mark_decides_only_what_was_accepted_here_at_exactly_its_ballot() {
    let mut seat = learner(3, R2);
    seat.handle(voted(0, 0, &values(&["old"]), nothing_decided(0)));
    seat.handle(voted(1, 1, &values(&["b"]), nothing_decided(1)));
    seat.handle(voted(1, 3, &values(&["d"]), nothing_decided(1)));
    seat.handle(leads(R1, 1, 1, decided(1, 0, 3)));
    assert_eq!(seat.role.applied(), Slot(0), "slot 0 is accepted at ballot 0");
    // Everything else is fetched.
    seat.handle(applied(R1, 2, 3));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R1, 0, 1), (R1, 2, 3)]);
    seat.handle(page(R1, 0, &values(&["new"])));
    assert_eq!(seat.storage.values(), values(&["new", "b"]), "slot 2 is not held at all");
    seat.handle(page(R1, 2, &values(&["c"])));
    assert_eq!(seat.role.applied(), Slot(3), "slot 3 is accepted and not marked");
}

#[test]
fn a_mark_says_nothing_about_slots_before_the_reign() {
    let mut seat = learner(3, R2);
    seat.handle(voted(1, 0, &values(&["a", "b"]), nothing_decided(1)));
    seat.handle(leads(R1, 1, 1, decided(1, 1, 2)));
    assert_eq!(seat.role.applied(), Slot(0));
    seat.handle(page(R1, 0, &values(&["a"])));
    assert_eq!(seat.role.applied(), Slot(2));
}

#[test]
fn a_mark_that_came_before_the_acceptance_decides_it_later() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R1, 1, 1, decided(1, 0, 2)));
    seat.handle(voted(1, 0, &values(&["a", "b"]), nothing_decided(1)));
    assert_eq!(seat.storage.values(), values(&["a", "b"]));
}

#[test]
fn a_mark_of_an_older_leader_is_not_believed_for_newer_acceptances() {
    let mut seat = learner(3, R2);
    seat.handle(voted(3, 0, &values(&["new"]), nothing_decided(3)));
    seat.handle(leads(R1, 1, 1, decided(1, 0, 1)));
    assert_eq!(seat.role.applied(), Slot(0));
}

#[test]
fn the_own_tally_is_told_as_one_stretch_from_the_start_of_the_reign() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b", "c"])));
    seat.burst([votes(R0, 0, 0, 3), votes(R1, 0, 2, 1)]);
    assert_eq!(marks(&seat.wait_us(HEARTBEAT_US)).pop(), Some(decided(0, 0, 0)), "a gap at 0");
    let sent = seat.handle(votes(R2, 0, 0, 2));
    assert_eq!(marks(&sent), [decided(0, 0, 3)]);
}

#[test]
fn what_is_tallied_above_a_gap_is_told_at_once() {
    let mut seat = learner(3, R0);
    let Input::Proposed { ballot, values, origins, .. } = proposed(0, 5, &values(&["a"])) else {
        unreachable!("that is what it is")
    };
    let (from, first) = (Slot(5), Slot(5));
    seat.handle(Input::Proposed { ballot, from, first, values, origins });
    seat.handle(votes(R0, 0, 5, 1));
    assert_eq!(marks(&seat.handle(votes(R1, 0, 5, 1))), [decided(0, 5, 6)]);
    assert_eq!(seat.role.applied(), Slot(0));
}

#[test]
fn a_vote_that_changes_nothing_tells_the_proposer_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b"])));
    assert_eq!(told_proposer(&seat.handle(votes(R1, 0, 0, 1))), []);
    assert_eq!(marks(&seat.handle(votes(R2, 0, 0, 1))), [decided(0, 0, 1)]);
    assert_eq!(told_proposer(&seat.handle(votes(R0, 0, 0, 1))), []);
}

#[test]
fn a_reign_whose_slots_were_fetched_counts_on_from_there() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b", "c"])));
    seat.handle(page(R1, 0, &values(&["a", "b"])));
    seat.handle(votes(R1, 0, 2, 1));
    assert_eq!(marks(&seat.handle(votes(R2, 0, 2, 1))), [decided(0, 2, 3)]);
}

#[test]
fn who_only_fetches_has_tallied_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(page(R1, 0, &values(&["a", "b"])));
    assert_eq!(marks(&seat.wait_us(HEARTBEAT_US)).pop(), Some(nothing_decided(0)));
}

#[test]
fn the_newest_and_longest_mark_counts() {
    let lines = ["a", "b", "c", "d", "e"];
    // What comes late says less than what is known.
    let mut seat = learner(3, R2);
    for mark in [decided(1, 0, 5), decided(1, 0, 2), decided(1, 3, 5), nothing_decided(1)] {
        seat.handle(leads(R1, 1, 1, mark));
    }
    seat.handle(leads(R0, 1, 0, decided(0, 0, 9)));
    seat.handle(voted(1, 0, &values(&lines), nothing_decided(1)));
    assert_eq!(seat.storage.values(), values(&lines));
    // The mark of the next leader is news, however short, if it says anything.
    let mut seat = learner(3, R2);
    seat.handle(leads(R1, 1, 1, decided(1, 0, 5)));
    seat.handle(leads(R0, 1, 3, nothing_decided(3)));
    seat.handle(voted(1, 0, &values(&["a"]), nothing_decided(1)));
    assert_eq!(seat.role.applied(), Slot(1));
    seat.handle(leads(R0, 2, 3, decided(3, 0, 2)));
    seat.handle(voted(3, 1, &values(&["b"]), nothing_decided(3)));
    assert_eq!(seat.storage.values(), values(&["a", "b"]));
}

#[test]
fn a_mark_of_the_own_ballot_is_nothing() {
    let mut seat = learner(3, R0);
    seat.handle(voted(0, 0, &values(&["a"]), decided(0, 0, 1)));
    assert_eq!(seat.role.applied(), Slot(0), "what it decides it tallies itself");
}

// --- applying and answering --------------------------------------------------------

#[test]
fn slots_are_applied_in_order_and_without_gaps() {
    let mut seat = learner(3, R0);
    seat.handle(proposed(0, 0, &values(&["a", "b", "c"])));
    seat.burst([votes(R0, 0, 1, 2), votes(R1, 0, 1, 2)]);
    assert_eq!(seat.role.applied(), Slot(0));
    assert!(pending(&mut seat), "decided above a gap is no progress");
    seat.burst([votes(R0, 0, 0, 1), votes(R1, 0, 0, 1)]);
    assert_eq!(seat.storage.values(), values(&["a", "b", "c"]));
    assert!(!pending(&mut seat));
}

#[test]
fn a_chosen_noop_stays() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 0, &[Value::Noop, value("b")]));
    seat.handle(voted(5, 0, &values(&["other"]), decided(4, 0, 1)));
    assert_eq!(seat.storage.values(), [Value::Noop, value("b")]);
    assert_eq!(seat.storage.records[0].client_seq, None);
    assert_eq!(seat.storage.records[1].client_seq, Some(0));
}

#[test]
fn a_command_chosen_in_two_slots_is_applied_once_and_a_nop_the_second_time() {
    let mut seat = learner(3, R2);
    let twice = [command(1, 0, "a"), command(1, 0, "a"), command(1, 1, "b")];
    seat.handle(page(R0, 0, &twice));
    let effects: Vec<_> = seat.storage.records.iter().map(|record| record.client_seq).collect();
    assert_eq!(effects, [Some(0), None, Some(1)]);
    assert_eq!(seat.storage.values(), twice, "peers fetch what was decided, not its effect");
}

#[test]
fn an_answer_leaves_only_after_its_record() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    seat.handle(held(1, 0, "a"));
    seat.handle(proposed(0, 0, &[command(1, 0, "a")]));
    seat.handle(votes(R0, 0, 0, 1));
    seat.storage.fails = true;
    assert!(seat.try_burst([votes(R1, 0, 0, 1)]).is_err());
    assert_eq!(seat.storage.records, []);
}

#[test]
fn whoever_waits_is_answered_once_when_the_command_is_applied() {
    let mut seat = learner(3, R0);
    let Input::Proposed { ballot, from, first, values, .. } = proposed(0, 0, &[command(1, 0, "a")])
    else {
        unreachable!("that is what it is")
    };
    let origins = vec![Origin { count: 1, asked: Some((address(7), Slot(0))) }];
    seat.handle(Input::Proposed { ballot, from, first, values, origins });
    seat.handle(votes(R0, 0, 0, 1));
    let sent = seat.handle(votes(R1, 0, 0, 1));
    let session = Request::new(1, 1, 0, "a").command().session;
    let complete = Answer::Complete { session, seq: 0, slot: Slot(0), client_seq: 0 };
    assert_eq!(answers(&sent), [(address(7), complete)]);
    assert_eq!(answers(&seat.wait_us(1_000_000)), []);
}

#[test]
fn a_request_just_below_the_next_is_answered_again() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 0, &[command(1, 0, "a"), Value::Noop, command(1, 1, "b")]));
    let session = Request::new(1, 1, 0, "a").command().session;
    for _ in 0..2 {
        let sent = seat.handle(held(1, 1, "b"));
        let complete = Answer::Complete { session, seq: 1, slot: Slot(2), client_seq: 1 };
        assert_eq!(answers(&sent), [(address(1), complete)]);
    }
    assert_eq!(answers(&seat.handle(held(1, 0, "a"))), [], "the client has gone on since");
    assert!(!pending(&mut seat));
}

#[test]
fn a_hello_is_answered_with_what_is_applied_and_who_leads() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 0, &noops(3)));
    seat.handle(leads(R1, 1, 4, nothing_decided(4)));
    let welcome = Answer::Welcome { applied: Slot(3), ballot: Ballot(4) };
    assert_eq!(answers(&seat.handle(Input::Hello(address(9)))), [(address(9), welcome)]);
}

#[test]
fn only_a_replica_that_is_far_enough_says_expired() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    seat.handle(page(R1, 0, &noops(5)));
    // A session whose first command stands at slot 5, as the client knows.
    let mut request = Request::new(1, 1, 1, "second");
    request.after = Slot(6);
    let ask = |request: &Request| Input::Held {
        origin: address(1),
        request: request.clone(),
        direct: true,
    };
    let sent = seat.handle(ask(&request));
    let lagging = Answer::Leader { ballot: Ballot(1) };
    assert_eq!(answers(&sent), [(address(1), lagging)], "it is behind, and knows");
    assert_eq!(forwards(&sent), [(R1, 1)], "whoever leads can tell");
    assert!(!pending(&mut seat));
    seat.handle(page(R1, 5, &noops(1)));
    let session = request.command().session;
    let expired = Answer::Expired { session, seq: 1 };
    assert_eq!(answers(&seat.handle(ask(&request))), [(address(1), expired)]);
    // Born where nobody here has been yet: behind too.
    let unborn = Command { birth: Slot(9), ..Request::new(1, 2, 0, "first").command() };
    let unborn = Request::of(&unborn, Slot(0));
    assert_eq!(forwards(&seat.handle(ask(&unborn))), [(R1, 0)]);
    let window = SESSION_WINDOW_SLOTS;
    assert!(window > 9, "a birth within the window of {window} slots");
}

#[test]
fn a_client_that_talks_nonsense_makes_nobody_suspect_anyone() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(1, 0, "a")]));
    for nonsense in [held(1, 7, "too high"), held(2, 1, "no such session"), held(1, 0, "again")] {
        seat.handle(nonsense);
        assert!(!pending(&mut seat));
    }
    seat.handle(held(1, 1, "the next"));
    assert!(pending(&mut seat));
}

// --- requests that are held ----------------------------------------------------------

#[test]
fn a_held_request_goes_to_the_leader_and_at_once_to_the_next_one() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    let sent = seat.handle(held(1, 0, "a"));
    assert_eq!(forwards(&sent), [(R0, 0)]);
    let hint = Answer::Leader { ballot: Ballot(0) };
    assert_eq!(answers(&sent), [(address(1), hint)]);
    let sent = seat.wait_us(400_000);
    assert!((1..=3).contains(&forwards(&sent).len()), "again, and less and less often");
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    assert_eq!(forwards(&seat.wait_us(1_000)), [(R1, 0)]);
    // Applied by way of the next leader: the client is answered from here too.
    let sent = seat.handle(page(R1, 0, &[command(1, 0, "a")]));
    let session = Request::new(1, 1, 0, "a").command().session;
    let complete = Answer::Complete { session, seq: 0, slot: Slot(0), client_seq: 0 };
    assert_eq!(answers(&sent), [(address(1), complete)]);
    assert_eq!(forwards(&seat.wait_us(2_000_000)), []);
}

#[test]
fn a_request_that_another_replica_passed_on_is_not_sent_round_in_circles() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(2, 0, "b")]));
    for (session, seq) in [(1, 0), (2, 2)] {
        let request = Request::new(1, session, seq, "a");
        let sent = seat.handle(Input::Held { origin: address(1), request, direct: false });
        assert_eq!((forwards(&sent), answers(&sent)), (vec![], vec![]));
    }
}

#[test]
fn a_leader_is_told_which_request_it_may_serve() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    let sent = seat.handle(held(1, 0, "a"));
    let servable =
        proposer::Input::Servable { origin: address(1), request: Request::new(1, 1, 0, "a") };
    assert!(told_proposer(&sent).contains(&servable));
    let sent = seat.handle(held(1, 1, "too early"));
    assert!(!told_proposer(&sent).iter().any(|i| matches!(i, proposer::Input::Servable { .. })));
}

#[test]
fn a_client_that_is_gone_is_forgotten() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(held(1, 0, "a"));
    assert!(pending(&mut seat));
    seat.wait_us(12_000_000);
    assert!(!pending(&mut seat));
    assert_eq!(forwards(&seat.wait_us(2_000_000)), []);
}

#[test]
fn the_table_of_waiting_clients_is_bounded_in_bytes() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    let line = "x".repeat(65_536);
    for session in 0..400 {
        seat.handle(held(session, 0, &line));
    }
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    let sent = seat.wait_us(60_000);
    assert_eq!(forwards(&sent).len(), 256, "16 MiB of lines are held");
}

#[test]
fn each_client_of_a_run_is_answered_for_its_own_line() {
    let mut seat = learner(3, R0);
    let lines: Vec<Value> = (0..6).map(|session| command(session, 0, "x")).collect();
    seat.handle(asked(0, &lines, &[(2, Some(7)), (1, None), (2, Some(8)), (1, Some(7))]));
    seat.handle(votes(R0, 0, 0, 6));
    assert_eq!(completed(&seat.handle(votes(R1, 0, 0, 1))), [(7, 0, 0)]);
    assert_eq!(completed(&seat.handle(votes(R1, 0, 1, 3))), [(7, 1, 1), (8, 3, 3)]);
    assert_eq!(completed(&seat.handle(votes(R1, 0, 4, 2))), [(8, 4, 4), (7, 5, 5)]);
}

#[test]
fn a_run_that_is_proposed_again_is_answered_once_and_the_next_one_too() {
    let mut seat = learner(3, R0);
    let lines: Vec<Value> = (0..4).map(|session| command(session, 0, "x")).collect();
    let runs = [asked(0, &lines[..2], &[(2, Some(7))]), asked(2, &lines[2..], &[(2, Some(8))])];
    seat.burst(runs.clone());
    seat.handle(votes(R0, 0, 0, 4));
    assert_eq!(completed(&seat.handle(votes(R1, 0, 0, 1))), [(7, 0, 0)]);
    assert_eq!(completed(&seat.burst(runs)), []);
    assert_eq!(completed(&seat.handle(votes(R1, 0, 1, 3))), [(7, 1, 1), (8, 2, 2), (8, 3, 3)]);
}

#[test]
fn who_asked_for_what_is_applied_before_this_side_hears_of_it_is_answered_at_once() {
    let mut seat = learner(3, R0);
    let lines: Vec<Value> = (0..4).map(|session| command(session, 0, "x")).collect();
    seat.handle(voted(0, 0, &lines[..2], nothing_decided(0)));
    seat.burst([votes(R1, 0, 0, 3), votes(R2, 0, 0, 2)]);
    assert_eq!(seat.role.applied(), Slot(2));
    let sent = seat.handle(asked(0, &lines, &[(1, Some(7)), (2, Some(8)), (1, Some(9))]));
    assert_eq!(completed(&sent), [(7, 0, 0), (8, 1, 1)]);
    assert_eq!(completed(&seat.handle(votes(R2, 0, 2, 1))), [(8, 2, 2)]);
    seat.handle(votes(R1, 0, 3, 1));
    assert_eq!(completed(&seat.handle(votes(R2, 0, 3, 1))), [(9, 3, 3)]);
}

#[test]
fn nobody_is_answered_for_another_line_in_its_slot() {
    let mut seat = learner(3, R0);
    let lines: Vec<Value> = (0..3).map(|session| command(session, 0, "x")).collect();
    seat.handle(asked(0, &lines, &[(3, Some(7))]));
    let other = [lines[0].clone(), command(9, 0, "other"), Value::Noop, lines[2].clone()];
    assert_eq!(completed(&seat.handle(page(R1, 0, &other))), [(7, 0, 0)]);
}

#[test]
fn a_command_that_is_chosen_twice_is_answered_with_the_slot_where_it_stands() {
    let mut seat = learner(3, R0);
    let twice = [command(1, 0, "x"), command(1, 0, "x")];
    seat.handle(asked(0, &twice, &[(1, Some(7)), (1, Some(8))]));
    seat.handle(votes(R0, 0, 0, 2));
    assert_eq!(completed(&seat.handle(votes(R1, 0, 0, 2))), [(7, 1, 0), (8, 1, 0)]);
}

#[test]
fn who_waits_for_what_is_proposed_is_answered_once_but_not_for_an_earlier_leaders_proposal() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    let lines: Vec<Value> = (0..4).map(|session| command(session, 0, "x")).collect();
    (0..4).for_each(|session| drop(seat.handle(held(session, 0, "x"))));
    seat.handle(asked(0, &lines, &[(1, None), (1, Some(7)), (1, None), (1, Some(8))]));
    let servable: Vec<u64> = told_proposer(&seat.wait_us(200_000))
        .into_iter()
        .filter_map(|input| match input {
            proposer::Input::Servable { request, .. } => Some(request.command().session.id),
            _ => None,
        })
        .collect();
    assert_eq!(servable, [0, 2], "who asked for the others is known");
    seat.handle(votes(R0, 0, 0, 4));
    let answered = completed(&seat.handle(votes(R1, 0, 0, 4)));
    assert_eq!(answered, [(1, 0, 0), (7, 1, 1), (1, 2, 2), (8, 3, 3)]);
}

#[test]
fn who_asked_too_early_is_passed_on_as_soon_as_it_is_next_and_not_answered() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(1, 0, "first")]));
    seat.handle(held(1, 2, "third"));
    seat.wait_us(150_000);
    let sent = seat.handle(page(R0, 1, &[command(1, 1, "second")]));
    assert_eq!(answers(&sent), []);
    assert_eq!(forwards(&seat.wait_us(1)), [(R0, 2)]);
}

#[test]
fn a_leader_passes_to_its_proposer_only_what_is_next() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    seat.handle(page(R1, 0, &[command(2, 0, "first")]));
    let mut told = told_proposer(&seat.burst([held(1, 0, "next"), held(2, 2, "not yet")]));
    told.extend(told_proposer(&seat.wait_us(1_000_000)));
    let sessions = told.iter().filter_map(|input| match input {
        proposer::Input::Servable { request, .. } => Some(request.command().session.id),
        _ => None,
    });
    let sessions: Vec<u64> = sessions.collect();
    assert!(!sessions.is_empty() && sessions.iter().all(|id| *id == 1), "{sessions:?}");
}

#[test]
fn a_follower_passes_on_what_it_does_not_know_to_be_next() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(2, 0, "first")]));
    seat.handle(held(2, 2, "not yet"));
    assert_eq!(forwards(&seat.wait_us(200_000)), [(R0, 2)]);
}

#[test]
fn a_held_request_is_passed_on_at_doubling_intervals_up_to_a_bound() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(held(1, 0, "a"));
    let begun = seat.now;
    let mut times = Vec::new();
    for round in 2..=80 {
        // That the same one leads is no news.
        seat.handle(leads(R0, round, 0, nothing_decided(0)));
        if !forwards(&seat.wait_us(HEARTBEAT_US)).is_empty() {
            times.push(seat.now.since_us(begun) / 1_000);
        }
    }
    assert_eq!(times, [100, 300, 700, 1_500, 2_500, 3_500]);
}

#[test]
fn an_older_leader_is_not_followed() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R1, 1, 4, nothing_decided(4)));
    seat.handle(leads(R0, 1, 3, nothing_decided(3)));
    assert_eq!(forwards(&seat.handle(held(1, 0, "a"))), [(R1, 0)]);
}

#[test]
fn a_client_is_forgotten_ten_seconds_after_it_was_last_heard() {
    let forwarded = |us: u64| {
        let mut seat = learner(3, R2);
        seat.handle(leads(R0, 1, 0, nothing_decided(0)));
        seat.handle(held(1, 0, "a"));
        seat.now = seat.now.plus_us(us);
        forwards(&seat.wake()).len()
    };
    assert_eq!((forwarded(10_000_000), forwarded(10_000_001)), (1, 0));
}

#[test]
fn a_leader_gives_no_hint_to_itself() {
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    assert_eq!(answers(&seat.handle(held(1, 0, "a"))), []);
}

#[test]
fn a_hint_is_given_once_if_anything_of_a_request_is_open() {
    let mut seat = learner(3, R2);
    seat.handle(leads(R0, 1, 0, nothing_decided(0)));
    seat.handle(page(R0, 0, &[command(1, 0, "x"), command(2, 0, "x"), command(2, 1, "x")]));
    let ask = |sessions: &[(u64, u64)]| {
        let commands: Vec<Value> =
            sessions.iter().map(|(session, seq)| command(*session, *seq, "x")).collect();
        let request = Request { commands: commands.into(), after: Slot(0) };
        Input::Held { origin: address(1), request, direct: true }
    };
    let hint = (address(1), Answer::Leader { ballot: Ballot(0) });
    let sent = answers(&seat.handle(ask(&[(1, 1), (1, 0), (3, 0)])));
    assert_eq!(sent.iter().filter(|answer| **answer == hint).count(), 1, "{sent:?}");
    assert_eq!(answers(&seat.handle(ask(&[(2, 0)]))), [], "that one is past");
}

#[test]
fn the_bytes_of_waiting_clients_are_counted_as_they_come_and_go() {
    let mut seat = learner(3, R2);
    let line = "x".repeat(65_536);
    // One session alone, however often it asks, takes its place once.
    (0..300).for_each(|_| drop(seat.handle(held(1_000, 0, &line))));
    (0..400).for_each(|session| drop(seat.handle(held(session, 0, &line))));
    let mut held_here = std::collections::BTreeSet::new();
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    for _ in 0..10 {
        for (_, message) in to_proposers(&seat.wait_us(60_000)) {
            if let ToProposer::Forward { request, .. } = message {
                held_here.insert(request.command().session.id);
            }
        }
    }
    assert_eq!(held_here.len(), 256, "16 MiB of lines are held, to the byte");
}

#[test]
fn so_many_clients_may_wait_and_no_more() {
    let mut seat = learner(3, R2);
    let many = 65_536;
    let commands = |sessions: std::ops::Range<u64>| {
        let each = sessions.map(|session| command(session, 0, "x"));
        let request = Request { commands: each.collect::<Vec<_>>().into(), after: Slot(0) };
        Input::Held { origin: address(1), request, direct: true }
    };
    (0..many).step_by(8_192).for_each(|id| drop(seat.handle(commands(id..id + 8_192))));
    seat.handle(commands(many..many + 1));
    let last = |seat: &mut Subject, session: u64| {
        let slot = seat.role.applied().0;
        completed(&seat.handle(page(R0, slot, &[command(session, 0, "x")])))
    };
    assert_eq!(last(&mut seat, many), []);
    assert_eq!(last(&mut seat, many - 1), [(1, many - 1, 1)]);
}

#[test]
fn a_learner_is_urgent_if_somebody_waits_for_what_it_does() {
    use multipaxos::paxos::Role;
    let mut seat = learner(3, R2);
    assert!(!seat.role.is_urgent());
    seat.handle(held(1, 0, "a"));
    assert!(seat.role.is_urgent(), "a client waits");
    let mut seat = learner(3, R2);
    seat.handle(applied(R0, 1, 5));
    assert!(!seat.role.is_urgent());
    seat.wait_us(20_000);
    assert!(seat.role.is_urgent(), "it has asked for what it lacks");
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    assert!(seat.role.is_urgent(), "it leads");
}

#[test]
fn whether_something_waits_is_told_at_once_and_how_far_it_is_only_by_who_leads() {
    let mut seat = learner(3, R2);
    seat.wait_us(1_000);
    assert_eq!(told_proposer(&seat.handle(page(R0, 0, &noops(2)))), []);
    let sent = seat.burst([voted(0, 3, &noops(1), nothing_decided(0)), page(R0, 2, &noops(1))]);
    let waits = |input: &proposer::Input| match input {
        proposer::Input::Progress { pending, .. } => *pending,
        _ => false,
    };
    assert!(told_proposer(&sent).iter().any(waits));
    let mut seat = learner(3, R0);
    seat.handle(Input::Leading(Ballot(0)));
    seat.wait_us(1_000);
    assert_eq!(marks(&seat.handle(page(R1, 0, &noops(2)))).len(), 1);
}

#[test]
fn what_the_acceptor_may_forget_is_told_when_it_changes_and_with_every_reminder() {
    let mut seat = learner(3, R0);
    let told = |sent: &[Envelope]| told_acceptor(sent).len();
    assert_eq!(told(&seat.wait_us(1_000)), 1);
    assert_eq!(told(&seat.handle(page(R1, 0, &noops(8)))), 0, "made, not yet durable");
    assert_eq!(told(&seat.handle(page(R1, 8, &noops(7)))), 0);
    assert_eq!(told(&seat.handle(page(R1, 15, &noops(1)))), 1);
    assert_eq!(told(&seat.handle(page(R1, 16, &noops(1)))), 0);
}

#[test]
fn so_many_bytes_of_lines_make_a_checkpoint_due() {
    let settings = multipaxos::paxos::Settings { checkpoint_slots: 10_000, ..settings(3, R0) };
    let mut seat =
        Seat::new(Learner::new(settings, membership(3, R0), Checkpoint::default()), Log::default());
    let line = "x".repeat((1 << 16) - COMMAND_BYTES);
    let lines: Vec<Value> = (0..260).map(|session| command(session, 0, &line)).collect();
    for (slot, line) in lines.iter().enumerate() {
        seat.handle(page(R1, slot as u64, std::slice::from_ref(line)));
    }
    assert_eq!(seat.storage.checkpoints, [Slot(128), Slot(256)], "each 8 MiB");
}

#[test]
fn with_very_many_sessions_checkpoints_lie_further_apart_up_to_a_bound() {
    let made = |sessions: u64, upto: u64| {
        let mut seat = learner(3, R0);
        let values: Vec<Value> = (0..sessions).map(|session| command(session, 0, "x")).collect();
        seat.handle(page(R1, 0, &values));
        assert_eq!(seat.role.chat().sessions() as u64, sessions);
        let made = seat.storage.checkpoints.len();
        let mut slot = sessions;
        while slot < upto {
            let count = 1_024 - slot % 1_024;
            seat.handle(page(R1, slot, &noops(count as usize)));
            slot += count;
        }
        seat.storage.checkpoints[made..].to_vec()
    };
    assert_eq!(made(2_051, 32_768), [Slot(16_384), Slot(32_768)]);
    assert_eq!(made(5_125, 40_960), [Slot(32_768)]);
}

// --- catching up ---------------------------------------------------------------------

#[test]
fn catching_up_asks_one_peer_at_a_time_and_the_next_when_it_is_silent() {
    let mut seat = learner(5, R0);
    for peer in [R1, R2, R3] {
        seat.handle(applied(peer, 1, 10));
    }
    assert_eq!(fetches(&seat.wait_us(5_000)), [], "what it lacks may be on its way");
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R1, 0, 10)]);
    assert_eq!(fetches(&seat.wait_us(50_000)), []);
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, 10)]);
    assert_eq!(fetches(&seat.wait_us(60_000)), [(R3, 0, 10)]);
    assert_eq!(fetches(&seat.wait_us(60_000)), [(R1, 0, 10)], "round and round");
    // A part comes: that peer is alive, and is waited for.
    seat.wait_us(40_000);
    seat.handle(page(R1, 0, &noops(4)));
    assert_eq!(fetches(&seat.wait_us(50_000)), []);
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R1, 4, 10)], "only what is missing");
    assert_eq!(fetches(&seat.wait_us(60_000)), [(R2, 4, 10)], "now it is silent");
    seat.handle(page(R2, 4, &noops(6)));
    assert_eq!(fetches(&seat.wait_us(1_000_000)), []);
}

#[test]
fn a_part_that_is_left_out_of_an_answer_is_asked_for_at_once() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R2, 1, 20));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, 20)]);
    assert_eq!(fetches(&seat.handle(page(R2, 0, &noops(4)))), []);
    assert_eq!(fetches(&seat.handle(page(R2, 8, &noops(4)))), [(R2, 4, 8)]);
    assert_eq!(fetches(&seat.handle(page(R2, 12, &noops(4)))), [], "once");
    assert_eq!(fetches(&seat.handle(page(R2, 18, &noops(2)))), [(R2, 16, 18)]);
    seat.handle(page(R2, 4, &noops(4)));
    seat.handle(page(R2, 16, &noops(2)));
    assert_eq!(seat.role.applied(), Slot(20));
    assert_eq!(fetches(&seat.wait_us(1_000_000)), []);
}

#[test]
fn several_gaps_are_asked_for_in_one_go() {
    let mut seat = learner(3, R2);
    for first in [1, 4, 6] {
        seat.handle(voted(0, first, &noops(1), decided(0, 0, 8)));
    }
    seat.handle(voted(0, 8, &noops(1), decided(0, 0, 9)));
    let gaps = [(R0, 0, 1), (R0, 2, 4), (R0, 5, 6), (R0, 7, 8)];
    assert_eq!(fetches(&seat.wait_us(3_000)), gaps, "of the leader, which has said so");
}

#[test]
fn votes_that_pass_over_a_slot_say_that_it_was_lost() {
    let mut seat = learner(3, R0);
    let lost = |sent: &[Envelope]| {
        let pick = |input| match input {
            proposer::Input::Progress { lost, .. } => Some(lost),
            _ => None,
        };
        told_proposer(sent).into_iter().filter_map(pick).next_back().unwrap_or_default()
    };
    seat.handle(proposed(0, 0, &noops(9)));
    seat.handle(votes(R0, 0, 0, 9));
    assert_eq!(lost(&seat.handle(votes(R1, 0, 3, 2))), [], "replica 2 may still vote");
    assert_eq!(lost(&seat.handle(votes(R2, 0, 4, 2))), [range(0, 3)], "slot 3 has a quorum");
    seat.handle(votes(R2, 0, 0, 3));
    assert_eq!(seat.role.applied(), Slot(6));
    assert_eq!(lost(&seat.handle(votes(R2, 0, 8, 1))), [], "replica 1 has not passed over 6");
    seat.handle(votes(R1, 0, 6, 2));
    assert_eq!(seat.role.applied(), Slot(9));
}

#[test]
fn only_a_peer_that_has_more_is_asked_and_for_a_bounded_stretch() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R1, 1, 0));
    seat.handle(applied(R2, 1, 10 * FETCH_SLOTS_MAX));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    let sent = seat.handle(page(R2, 0, &noops(FETCH_SLOTS_MAX as usize)));
    let next = (R2, FETCH_SLOTS_MAX, 2 * FETCH_SLOTS_MAX);
    assert_eq!(fetches(&sent), [next], "far behind, it goes on at once");
}

#[test]
fn an_answer_that_ends_at_its_bound_in_bytes_is_followed_by_the_next_request_at_once() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R2, 1, 10 * FETCH_SLOTS_MAX));
    assert_eq!(fetches(&seat.wait_us(20_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    let long = "x".repeat(1_000);
    let lines = values(&[long.as_str(); 8]);
    let bytes = Values::from(lines.as_slice()).bytes().len();
    let pages = ANSWER_BYTES_MAX.div_ceil(bytes) as u64;
    for page_nr in 0..pages - 1 {
        let sent = seat.handle(page(R2, 8 * page_nr, &lines));
        assert_eq!(fetches(&sent), [], "more of the answer is on its way");
    }
    let sent = seat.handle(page(R2, 8 * (pages - 1), &lines));
    let next = 8 * pages;
    assert_eq!(fetches(&sent), [(R2, next, next + FETCH_SLOTS_MAX)]);
}

#[test]
fn who_is_behind_by_what_is_on_its_way_does_not_ask() {
    let mut seat = learner(3, R2);
    for round in 0..20 {
        seat.handle(applied(R0, round + 1, round + 1));
        let sent = seat.wait_us(8_000);
        assert_eq!(fetches(&sent), [], "round {round}");
        seat.handle(voted(0, round, &noops(1), decided(0, 0, round + 1)));
    }
    assert_eq!(seat.role.applied(), Slot(20));
}

#[test]
fn a_fetch_is_answered_in_pages_that_fit_datagrams_and_to_a_bound() {
    let mut seat = learner(3, R0);
    let line = "x".repeat(400);
    let log: Vec<Value> = (0..400).map(|session| command(session, 0, &line)).collect();
    seat.handle(page(R1, 0, &log));
    let sent =
        seat.handle(Input::Peer(R2, ToLearner::Fetch { first: Slot(5), upto: Slot(1 << 40) }));
    let mut next = Slot(5);
    let mut total = 0;
    for (to, message) in to_learners(&sent) {
        let bytes = postcard::to_stdvec(&Message::Learner(message.clone())).expect("encoded").len();
        assert!(bytes <= settings(3, R0).payload_bytes, "{bytes} bytes");
        let ToLearner::Page { first, values } = message else { panic!("no page: {message:?}") };
        assert_eq!((to, first), (R2, next));
        next = first.plus(values.len() as u64);
        total += bytes;
    }
    assert!(total > ANSWER_BYTES_MAX / 2 && total <= ANSWER_BYTES_MAX + 2_000, "{total} bytes");
    let beyond = ToLearner::Fetch { first: Slot(400), upto: Slot(500) };
    assert_eq!(to_learners(&seat.handle(Input::Peer(R2, beyond))), []);
}

#[test]
fn a_page_that_contradicts_what_is_decided_is_refused() {
    let mut seat = learner(3, R2);
    seat.handle(voted(1, 1, &values(&["b"]), decided(1, 1, 2)));
    seat.handle(page(R0, 1, &values(&["other", "c"])));
    seat.handle(page(R1, 0, &values(&["a"])));
    assert_eq!(seat.storage.values(), values(&["a", "b"]));
}

#[test]
fn what_a_page_brings_early_is_kept_within_the_window() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 2, &values(&["c"])));
    seat.handle(page(R0, 1 << 40, &values(&["far"])));
    seat.handle(page(R0, 0, &values(&["a", "b"])));
    assert_eq!(seat.storage.values(), values(&["a", "b", "c"]));
}

#[test]
fn what_comes_early_is_kept_to_a_bound_in_bytes_and_what_is_next_always_taken() {
    let mut seat = learner(3, R2);
    let long = "x".repeat(8 * 1_024 - COMMAND_BYTES);
    let lines = values(&[long.as_str()]);
    for slot in (1..40).rev() {
        seat.handle(page(R0, slot, &lines));
    }
    seat.handle(page(R0, 0, &lines));
    assert_eq!(seat.role.applied(), Slot(1));
    let fit = 2 * ANSWER_BYTES_MAX as u64 / (8 * 1_024);
    (1..40 - fit).for_each(|slot| drop(seat.handle(page(R0, slot, &lines))));
    assert_eq!(seat.role.applied(), Slot(40), "{fit} were kept");
}

#[test]
fn the_leader_is_asked_only_if_nobody_else_has_more() {
    for (leader, ballot, first) in [(R1, 1, R2), (R2, 2, R1)] {
        let mut seat = learner(3, R0);
        seat.handle(leads(leader, 1, ballot, nothing_decided(ballot)));
        seat.burst([applied(R1, 2, 10), applied(R2, 2, 10)]);
        assert_eq!(fetches(&seat.wait_us(10_000)), [(first, 0, 10)]);
        assert_eq!(fetches(&seat.wait_us(60_000)), [(leader, 0, 10)], "then the leader too");
    }
    let mut seat = learner(5, R2);
    seat.handle(leads(R3, 1, 3, nothing_decided(3)));
    seat.burst([applied(R0, 2, 10), applied(R3, 2, 10)]);
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R0, 0, 10)], "counted round");
    let mut seat = learner(3, R0);
    seat.handle(leads(R2, 1, 2, nothing_decided(2)));
    seat.handle(applied(R2, 2, 10));
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R2, 0, 10)], "nobody else has");
}

#[test]
fn what_the_leader_calls_decided_is_asked_for_sooner_than_what_a_peer_has() {
    let mut seat = learner(3, R0);
    seat.handle(applied(R1, 1, 10));
    assert_eq!(fetches(&seat.wait_us(9_999)), []);
    assert_eq!(fetches(&seat.wait_us(1)), [(R1, 0, 10)]);
    let mut seat = learner(3, R0);
    seat.handle(leads(R1, 1, 1, decided(1, 0, 10)));
    seat.burst([]);
    assert_eq!(fetches(&seat.wait_us(1_999)), []);
    assert_eq!(fetches(&seat.wait_us(1)), [(R1, 0, 10)], "the leader is there itself");
    // A reign that began above does not say that its leader has what is below.
    let mut seat = learner(3, R0);
    seat.handle(leads(R1, 1, 1, decided(1, 5, 10)));
    seat.handle(applied(R2, 1, 7));
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R2, 0, 7)]);
}

#[test]
fn the_wait_for_a_peer_follows_what_its_answers_take() {
    let mut seat = learner(3, R0);
    let upto = 10 * FETCH_SLOTS_MAX;
    seat.handle(applied(R2, 1, upto));
    assert_eq!(fetches(&seat.wait_us(10_000)).len(), 1);
    seat.now = seat.now.plus_us(1_000);
    // A page that brings nothing new is no answer.
    assert_eq!(fetches(&seat.handle(page(R2, 0, &[]))), []);
    seat.now = seat.now.plus_us(3_000);
    seat.handle(page(R2, 0, &noops(8)));
    assert_eq!(fetches(&seat.wait_us(11_999)), []);
    assert_eq!(fetches(&seat.wait_us(1)), [(R2, 8, 8 + FETCH_SLOTS_MAX)], "three times as long");
}

#[test]
fn who_has_answered_is_asked_for_the_rest_too() {
    let mut seat = learner(3, R0);
    seat.burst([applied(R1, 1, 10_000), applied(R2, 1, 10_000)]);
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R1, 0, FETCH_SLOTS_MAX)]);
    assert_eq!(fetches(&seat.wait_us(60_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    let sent = seat.handle(page(R2, 0, &noops(FETCH_SLOTS_MAX as usize)));
    assert_eq!(fetches(&sent), [(R2, FETCH_SLOTS_MAX, 2 * FETCH_SLOTS_MAX)]);
}

#[test]
fn each_gap_may_be_answered_up_to_the_bound_in_bytes() {
    let mut seat = learner(3, R2);
    let long = "x".repeat(8 * 1_024 - COMMAND_BYTES);
    let lines = values(&[long.as_str()]);
    seat.handle(voted(0, 8, &noops(2), decided(0, 0, 20)));
    assert_eq!(fetches(&seat.wait_us(2_000)), [(R0, 0, 8), (R0, 10, 20)]);
    seat.now = seat.now.plus_us(4_000);
    for slot in (0..8).chain(10..12) {
        assert_eq!(fetches(&seat.handle(page(R0, slot, &lines))), []);
    }
    assert_eq!(seat.role.applied(), Slot(12));
    assert_eq!(fetches(&seat.wait_us(11_999)), [], "the rest is on its way");
    assert_eq!(fetches(&seat.wait_us(1)), [(R0, 12, 20)]);
}

#[test]
fn what_is_left_out_at_the_end_of_an_answer_is_asked_for_once() {
    let mut seat = learner(3, R0);
    let long = "x".repeat(8 * 1_024 - COMMAND_BYTES);
    let lines = values(&[long.as_str()]);
    seat.handle(applied(R2, 1, 10 * FETCH_SLOTS_MAX));
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R2, 0, FETCH_SLOTS_MAX)]);
    (0..7).for_each(|slot| drop(seat.handle(page(R2, slot, &lines))));
    let sent = seat.handle(page(R2, 8, &lines));
    assert_eq!(fetches(&sent), [(R2, 7, 8), (R2, 9, 7 + FETCH_SLOTS_MAX)]);
}

#[test]
fn so_many_gaps_are_asked_for_at_once() {
    let mut seat = learner(3, R2);
    for slot in (1..60).step_by(2) {
        seat.handle(voted(0, slot, &noops(1), nothing_decided(0)));
    }
    seat.handle(leads(R0, 1, 0, decided(0, 0, 60)));
    let gaps: Vec<_> = (0..16).map(|gap| (R0, 2 * gap, 2 * gap + 1)).collect();
    seat.burst([]);
    assert_eq!(fetches(&seat.wait_us(2_000)), gaps);
    // The answer is at its end with the last of them, and the next is asked for.
    for slot in (0..30).step_by(2) {
        assert_eq!(fetches(&seat.handle(page(R0, slot, &noops(1)))), []);
    }
    seat.handle(page(R0, 30, &noops(1)));
    assert_eq!(seat.role.applied(), Slot(32));
    let next: Vec<_> = (16..30).map(|gap| (R0, 2 * gap, 2 * gap + 1)).collect();
    assert_eq!(fetches(&seat.wait_us(2_000)), next);
}

#[test]
fn what_is_at_hand_is_not_asked_for() {
    let mut seat = learner(3, R2);
    seat.handle(page(R0, 2, &noops(2)));
    seat.handle(voted(1, 6, &noops(4), nothing_decided(1)));
    seat.handle(leads(R1, 1, 1, decided(1, 0, 8)));
    seat.handle(applied(R1, 2, 12));
    seat.burst([]);
    assert_eq!(fetches(&seat.wait_us(2_000)), [(R1, 0, 2), (R1, 4, 6), (R1, 8, 12)]);
}

#[test]
fn what_is_known_and_not_decided_divides_no_gap() {
    let mut seat = learner(3, R2);
    seat.handle(voted(1, 6, &noops(4), nothing_decided(1)));
    seat.handle(applied(R1, 1, 12));
    assert_eq!(fetches(&seat.wait_us(10_000)), [(R1, 0, 12)]);
}

#[test]
fn who_is_far_behind_goes_on_at_once_and_who_is_near_waits_for_what_is_on_its_way() {
    for (ahead, at_once) in [(FETCH_SLOTS_MAX / 4, false), (FETCH_SLOTS_MAX / 4 + 1, true)] {
        let mut seat = learner(3, R0);
        seat.handle(applied(R2, 1, 10));
        assert_eq!(fetches(&seat.wait_us(10_000)), [(R2, 0, 10)]);
        seat.handle(applied(R2, 2, 10 + ahead));
        let sent = seat.handle(page(R2, 0, &noops(10)));
        assert_eq!(!fetches(&sent).is_empty(), at_once, "{ahead} slots behind");
    }
}

#[test]
fn only_a_durable_checkpoint_lets_the_acceptor_forget_and_is_told_again_and_again() {
    let mut seat = learner(3, R2);
    // Replica 2 of 3 makes its own two thirds of a step above the multiples of it.
    let step = seat.role.settings().checkpoint_slots;
    let first = 2 * step / 3;
    let told_at = |seat: &mut Subject, from: u64, upto: u64, told: u64| {
        seat.handle(page(R0, from, &noops((upto - from) as usize)));
        for _ in 0..3 {
            let sent = seat.wait_us(HEARTBEAT_US);
            assert!(told_acceptor(&sent).contains(&acceptor::Input::Applied(Slot(told))));
        }
    };
    told_at(&mut seat, 0, first - 1, 0);
    // Made, but durable only once the next one is made.
    told_at(&mut seat, first - 1, first, 0);
    told_at(&mut seat, first, first + step - 1, 0);
    told_at(&mut seat, first + step - 1, first + step, first);
    told_at(&mut seat, first + step, first + 2 * step + 1, first + step);
}

#[test]
fn replicas_make_their_checkpoints_in_different_slots() {
    let made_at = |id| {
        let mut seat = learner(3, id);
        let step = seat.role.settings().checkpoint_slots;
        (0..3 * step).for_each(|slot| drop(seat.handle(page(R0, slot, &noops(1)))));
        seat.storage.checkpoints
    };
    let all: Vec<Slot> = [R0, R1, R2].into_iter().flat_map(made_at).collect();
    let distinct: std::collections::BTreeSet<&Slot> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (9, 9), "{all:?}");
}

#[test]
fn an_acceptance_that_no_leader_stands_behind_makes_nobody_pending() {
    let mut seat = learner(3, R2);
    seat.handle(voted(0, 0, &values(&["a"]), nothing_decided(0)));
    assert!(pending(&mut seat), "whoever leads ballot 0 should get it applied");
    seat.handle(leads(R1, 1, 1, nothing_decided(1)));
    assert!(!pending(&mut seat), "the next leader did not find it");
    seat.handle(voted(1, 0, &values(&["b"]), nothing_decided(1)));
    assert!(pending(&mut seat));
}

#[test]
fn what_is_decided_above_a_gap_waits_whoever_leads_now() {
    let mut seat = learner(3, R2);
    seat.handle(voted(1, 1, &values(&["b"]), decided(1, 0, 2)));
    seat.handle(leads(R0, 1, 3, nothing_decided(3)));
    assert!(pending(&mut seat));
}
