//! The acceptor: its promises, acceptances, storage and messages.

mod members;

use crate::common::*;
use multipaxos::members::{CONFIGURATION_MAX, Configuration};
use multipaxos::message::{
    Accept, Answer, Decided, Promise, Run, Span, Spans, ToAcceptor, ToBootstrap, ToLearner,
    ToProposer, Voter,
};
use multipaxos::paxos::acceptor::{Acceptor, Inherited, Input, Record, State};
use multipaxos::paxos::{
    ACCEPT_BYTES_MAX, ACCEPT_SLOTS_MAX, Envelope, Limits, Membership, Role, Settings, learner,
    proposer, standing,
};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{Ballot, BootId, ReplicaId, Slot, SlotRange, Time, Value};
use std::ops::Range;

type Subject = Seat<Acceptor, Disk>;

/// The acceptor of replica 2 of three, empty.
fn acceptor() -> Subject {
    remembering(Disk::default())
}

fn remembering(disk: Disk) -> Subject {
    let state = disk.memory.state().clone();
    Seat::new(Acceptor::new(settings(3, R2), membership(3, R2), state), disk)
}

fn prepare(ballot: u64, first: u64) -> Input {
    let ballot = Ballot(ballot);
    let (from, first) = (ballot.owner(3), Slot(first));
    Input::Peer(from, ToAcceptor::Prepare { ballot, first, voter: voter(from) })
}

fn accept(ballot: u64, first: u64, lines: &[&str]) -> Input {
    accept_values(ballot, first, lines.iter().map(|line| value(line)).collect())
}

fn accept_values(ballot: u64, first: u64, values: Vec<Value>) -> Input {
    let values = values.into();
    let (ballot, first) = (Ballot(ballot), Slot(first));
    let accept = Accept { ballot, first, values, decided: nothing_decided(0) };
    Input::Peer(ballot.owner(3), ToAcceptor::Accept(accept))
}

/// The promises that the proposer of this replica hears of.
fn promised(envelopes: &[Envelope]) -> Vec<Ballot> {
    let pick = |input| match input {
        proposer::Input::Promised { ballot, .. } => Some(ballot),
        _ => None,
    };
    told_proposer(envelopes).into_iter().filter_map(pick).collect()
}

fn nack(ballot: u64, promised: u64) -> ToProposer {
    ToProposer::Nack { ballot: Ballot(ballot), promised: Ballot(promised) }
}

/// The slots of a span.
fn slots(span: Span) -> Range<u64> {
    span.slots.start.0..span.slots.end.0
}

/// The promise of an own ballot, and what it reports.
#[track_caller]
fn own_promise(envelopes: &[Envelope]) -> (u64, Vec<Run>) {
    let own = told_proposer(envelopes).into_iter().find_map(|input| match input {
        proposer::Input::OwnPromise { ballot, accepted, .. } => Some((ballot.0, accepted)),
        _ => None,
    });
    own.unwrap_or_else(|| panic!("no promise of an own ballot: {envelopes:?}"))
}

/// Asks for the values that were accepted in these slots at this ballot. Returns the parts of
/// the answer: each with its slots and lines, and whether it is the last one.
fn fetch(
    seat: &mut Subject,
    ballot: u64,
    wanted: &[(u64, u64, u64)],
) -> Vec<(Vec<(u64, Value)>, bool)> {
    let span = |&(first, len, ballot): &(u64, u64, u64)| Span {
        slots: SlotRange::with_len(Slot(first), len),
        ballot: Ballot(ballot),
    };
    let (ballot, wanted) = (Ballot(ballot), wanted.iter().map(span).collect());
    let input = Input::Peer(ballot.owner(3), ToAcceptor::FetchAccepted { ballot, wanted });
    let part = |(to, message)| match message {
        ToProposer::AcceptedValues(part) => {
            assert_eq!((to, part.ballot), (ballot.owner(3), ballot));
            let runs = part.accepted.iter();
            let held = runs.flat_map(|run| (run.first.0..).zip(run.values.to_vec())).collect();
            Some((held, part.last))
        }
        _ => None,
    };
    to_proposers(&seat.handle(input)).into_iter().filter_map(part).collect()
}

/// The pages among the messages.
fn pages(envelopes: &[Envelope]) -> Vec<Promise> {
    let pick = |(_, message)| match message {
        ToProposer::Promise(page) => Some(page),
        _ => None,
    };
    to_proposers(envelopes).into_iter().filter_map(pick).collect()
}

/// The only page among the messages.
#[track_caller]
fn page(envelopes: &[Envelope]) -> Promise {
    let mut pages = pages(envelopes);
    assert_eq!(pages.len(), 1, "{envelopes:?}");
    pages.remove(0)
}

/// The acceptances among the messages: receiver, ballot, first slot and number of slots.
fn votes(envelopes: &[Envelope]) -> Vec<(ReplicaId, u64, u64, u64)> {
    let mut found = Vec::new();
    for (to, message) in to_learners(envelopes) {
        let ToLearner::Accepted { ballot, voter: by, slots } = message else {
            panic!("an acceptor sends learners only acceptances: {message:?}")
        };
        assert_eq!(by, voter(R2));
        found.extend(slots.ranges().iter().map(|range| (to, ballot.0, range.start.0, range.len())));
    }
    found
}

#[test]
fn a_stale_ballot_is_refused_and_the_refusal_names_the_promise() {
    let mut seat = acceptor();
    seat.handle(prepare(4, 0));
    let refused = seat.handle(prepare(3, 0));
    assert_eq!(to_proposers(&refused), [(R0, nack(3, 4))]);
    let refused = seat.handle(accept(1, 0, &["late"]));
    assert_eq!(to_proposers(&refused), [(R1, nack(1, 4))]);
    assert_eq!(votes(&refused), []);
    assert_eq!(seat.storage.records, [Record::Promise(Ballot(4))]);
}

#[test]
fn the_ballot_is_checked_before_the_slot() {
    let mut seat = acceptor();
    seat.handle(accept(4, 0, &["kept"]));
    seat.handle(Input::Applied(Slot(8), None));
    for first in [0, 8, 8 + ACCEPT_SLOTS_MAX] {
        let refused = seat.handle(accept(3, first, &["late"]));
        assert_eq!(to_proposers(&refused), [(R0, nack(3, 4))], "slot {first}");
        assert_eq!(told_learner(&refused), [], "slot {first}");
    }
}

#[test]
fn accepting_raises_the_promise_in_one_record() {
    let mut seat = acceptor();
    let sent = seat.handle(accept(4, 3, &["a", "b"]));
    let values = vec![value("a"), value("b")].into();
    assert_eq!(
        seat.storage.records,
        [Record::Accept(Run { ballot: Ballot(4), first: Slot(3), values })]
    );
    assert_eq!(seat.role.state().promised(), Some(Ballot(4)));
    assert_eq!(votes(&sent), [(R1, 4, 3, 2)]);
    assert_eq!(promised(&sent), [Ballot(4)]);
    let refused = seat.handle(prepare(3, 0));
    assert_eq!(to_proposers(&refused), [(R0, nack(3, 4))]);
}

#[test]
fn an_accept_below_the_promise_is_refused_though_nothing_was_accepted_at_it() {
    let mut seat = acceptor();
    seat.handle(accept(0, 0, &["old"]));
    seat.handle(prepare(4, 0));
    // The ballot is above the last accepted one (0), but below the promise (4).
    let refused = seat.handle(accept(1, 0, &["between"]));
    assert_eq!(to_proposers(&refused), [(R1, nack(1, 4))]);
    assert_eq!(seat.role.state().accepted(Slot(0)), Some((Ballot(0), (&value("old")).into())));
}

#[test]
fn a_promise_outlives_a_crash_once_it_was_sent() {
    let mut seat = acceptor();
    assert_eq!(page(&seat.handle(prepare(4, 0))).ballot, Ballot(4));
    let mut again = remembering(seat.storage);
    assert_eq!(to_proposers(&again.handle(accept(3, 0, &["late"]))), [(R0, nack(3, 4))]);
    assert_eq!(to_proposers(&again.handle(prepare(1, 0))), [(R1, nack(1, 4))]);
}

#[test]
fn an_acceptance_outlives_a_crash_once_the_vote_was_sent() {
    let mut seat = acceptor();
    assert_eq!(votes(&seat.handle(accept(1, 0, &["kept"]))), [(R1, 1, 0, 1)]);
    let mut again = remembering(seat.storage);
    let page = page(&again.handle(prepare(3, 0)));
    let held = Span { slots: SlotRange::with_len(Slot(0), 1), ballot: Ballot(1) };
    assert_eq!(page.accepted.iter().collect::<Vec<_>>(), [held]);
    assert_eq!(fetch(&mut again, 3, &[(0, 1, 1)]), [(vec![(0, value("kept"))], true)]);
}

#[test]
fn nothing_leaves_when_the_disk_fails() {
    for input in [prepare(4, 0), accept(4, 0, &["lost"])] {
        let mut seat = acceptor();
        seat.storage.memory.fail();
        let said = seat.try_burst([input.clone()]);
        assert!(said.is_err(), "{input:?} yields {said:?}");
        assert_eq!(seat.storage.memory.state(), &State::default());
    }
}

#[test]
fn a_repeated_accept_is_answered_again_without_a_new_record() {
    let mut seat = acceptor();
    seat.handle(accept(1, 0, &["a", "b"]));
    let syncs = seat.storage.memory.syncs();
    let again = seat.handle(accept(1, 0, &["a", "b"]));
    assert_eq!(votes(&again), [(R1, 1, 0, 2)]);
    assert_eq!(seat.storage.records.len(), 1);
    assert_eq!(seat.storage.memory.syncs(), syncs);
    // Only the part that is not accepted yet is written.
    let longer = seat.handle(accept(1, 1, &["b", "c"]));
    assert_eq!(votes(&longer), [(R1, 1, 1, 2)]);
    let values = vec![value("c")].into();
    let record = Record::Accept(Run { ballot: Ballot(1), first: Slot(2), values });
    assert_eq!(seat.storage.records[1..], [record]);
}

#[test]
fn a_repeated_prepare_is_answered_again_without_a_new_record() {
    let mut seat = acceptor();
    let first = page(&seat.handle(prepare(4, 0)));
    assert_eq!(page(&seat.handle(prepare(4, 0))), first);
    assert_eq!(seat.storage.records, [Record::Promise(Ballot(4))]);
}

#[test]
fn a_second_value_for_the_same_slot_and_ballot_is_refused() {
    let mut seat = acceptor();
    seat.handle(accept(1, 0, &["a", "b", "c"]));
    let sent = seat.handle(accept(1, 0, &["a", "other", "c"]));
    assert_eq!(votes(&sent), [(R1, 1, 0, 1), (R1, 1, 2, 1)]);
    assert_eq!(seat.role.state().accepted(Slot(1)), Some((Ballot(1), (&value("b")).into())));
    assert_eq!(seat.storage.records.len(), 1);
}

#[test]
fn a_higher_ballot_replaces_what_was_accepted() {
    let mut seat = acceptor();
    seat.handle(accept(1, 0, &["old"]));
    assert_eq!(votes(&seat.handle(accept(3, 0, &["new"]))), [(R0, 3, 0, 1)]);
    assert_eq!(seat.role.state().accepted(Slot(0)), Some((Ballot(3), (&value("new")).into())));
}

#[test]
fn a_slot_is_accepted_however_far_it_lies_above_the_trim_mark() {
    let mut seat = acceptor();
    let far = 10 * ACCEPT_SLOTS_MAX;
    assert_eq!(votes(&seat.handle(accept(1, far, &["far"]))), [(R1, 1, far, 1)]);
    assert_eq!(votes(&seat.handle(accept(1, 0, &["near"]))), [(R1, 1, 0, 1)]);
    let page = page(&seat.handle(prepare(3, 0)));
    assert_eq!(page.accepted.iter().flat_map(slots).collect::<Vec<_>>(), [0, far]);
}

#[test]
fn slots_above_those_of_a_full_acceptor_are_refused_and_slots_below_are_not() {
    let mut seat = acceptor();
    let (first, most) = (1_000_000, ACCEPT_SLOTS_MAX);
    let noops = |first, count| accept_values(1, first, vec![Value::Noop; count as usize]);
    for part in 0..most / 8_192 {
        seat.handle(noops(first + 8_192 * part, 8_192));
    }
    assert_eq!(seat.role.state().len() as u64, most);
    assert_eq!(votes(&seat.handle(noops(first + most, 1))), []);
    // A hole below is filled all the same, with as many slots again.
    let hole = first - most - 2;
    for part in 0..most / 8_192 - 1 {
        let sent = seat.handle(noops(hole + 8_192 * part, 8_192));
        assert_eq!(votes(&sent), [(R1, 1, hole + 8_192 * part, 8_192)]);
    }
    let rest = hole + most - 8_192;
    assert_eq!(votes(&seat.handle(noops(rest, 8_194))), [(R1, 1, rest, 8_192)]);
    assert_eq!(seat.role.state().len() as u64, 2 * most);
    // It forgets, and has room again.
    seat.handle(Input::Applied(Slot(first + 8), None));
    assert_eq!(votes(&seat.handle(noops(first + most, 9))), [(R1, 1, first + most, 8)]);
}

#[test]
fn what_a_checkpoint_covers_is_trimmed() {
    let mut seat = acceptor();
    let lines: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    seat.handle(accept(1, 0, &lines));
    seat.handle(Input::Applied(Slot(9), None));
    assert_eq!((seat.role.state().trimmed(), seat.role.state().len()), (Slot(9), 11));
    assert_eq!(seat.role.state().promised(), Some(Ballot(1)), "the promise stays");
    assert_eq!(seat.storage.memory.state(), seat.role.state());
    // An older mark changes nothing.
    seat.handle(Input::Applied(Slot(3), None));
    seat.handle(Input::Applied(Slot(9), None));
    assert_eq!(seat.role.state().trimmed(), Slot(9));
    assert_eq!(seat.storage.records[1..], [Record::Trim(Slot(9))], "once");
    assert!(!seat.role.state().is_empty());
    seat.handle(Input::Applied(Slot(20), None));
    assert!(seat.role.state().is_empty());
}

#[test]
fn trimmed_slots_are_neither_accepted_nor_claimed_empty() {
    let mut seat = acceptor();
    seat.handle(accept(1, 0, &["a"; 12]));
    seat.handle(Input::Applied(Slot(8), None));
    let sent = seat.handle(accept(3, 6, &["x", "x", "x"]));
    assert_eq!(votes(&sent), [(R0, 3, 8, 1)], "slots 6 and 7 are trimmed");
    let page = page(&seat.handle(prepare(4, 0)));
    assert_eq!((page.slots.start, page.trimmed), (Slot(0), Slot(8)));
    assert_eq!(page.accepted.iter().flat_map(slots).collect::<Vec<_>>(), [8, 9, 10, 11]);
    assert!(page.last);
}

#[test]
fn pages_cover_everything_without_a_gap_and_fit_the_datagram() {
    let mut seat = acceptor();
    for slot in (0..4_000).filter(|slot| slot % 3 != 0) {
        seat.handle(accept_values(1, slot, vec![Value::Noop]));
    }
    seat.handle(Input::Applied(Slot(8), None));
    let (mut found, mut next, mut rounds) = (Vec::new(), Slot(3), 0);
    let mut all = pages(&seat.handle(prepare(7, 3)));
    assert!((4..20).contains(&all.len()), "{} pages", all.len());
    while !all.is_empty() {
        let page = all.remove(0);
        rounds += 1;
        assert_eq!((page.slots.start, page.trimmed), (next, Slot(8)), "the mark is on every page");
        let message = multipaxos::message::Message::Proposer(ToProposer::Promise(page.clone()));
        let bytes = postcard::to_stdvec(&message).expect("a page is encoded").len();
        assert!(bytes <= settings(3, R2).payload_bytes, "{bytes} bytes from {next} on");
        found.extend(page.accepted.iter().flat_map(slots));
        assert_eq!(page.last, all.is_empty());
        if rounds == 2 {
            // The rest is lost, and asked for again.
            all = pages(&seat.handle(prepare(7, page.slots.end.0)));
        }
        next = page.slots.end;
    }
    let expected: Vec<u64> = (8..4_000).filter(|slot| slot % 3 != 0).collect();
    assert_eq!(found, expected);
}

#[test]
fn values_come_in_parts_that_fit_the_datagram_and_a_longer_line_alone() {
    let mut seat = acceptor();
    let (long, short) = ("x".repeat(5_000), "y".repeat(500));
    seat.handle(accept(1, 0, &["a", &long, "b", "c"]));
    seat.handle(accept(1, 4, &[short.as_str(); 5]));
    seat.handle(prepare(3, 0));
    let parts = fetch(&mut seat, 3, &[(0, 3, 1), (4, 5, 1)]);
    let slots: Vec<Vec<u64>> =
        parts.iter().map(|(held, _)| held.iter().map(|(slot, _)| *slot).collect()).collect();
    assert_eq!(slots, [vec![0], vec![1], vec![2, 4], vec![5, 6], vec![7, 8]]);
    let last: Vec<bool> = parts.iter().map(|(_, last)| *last).collect();
    assert_eq!(last, [false, false, false, false, true]);
    assert_eq!(parts[1].0, [(1, value(&long))]);
}

#[test]
fn one_answer_with_values_is_bounded() {
    let mut seat = acceptor();
    let line = "x".repeat(1_000);
    for part in 0..100 {
        seat.handle(accept(1, 20 * part, &[line.as_str(); 20]));
    }
    seat.handle(prepare(3, 0));
    let parts = fetch(&mut seat, 3, &[(0, 2_000, 1)]);
    let sent: u64 = parts.iter().map(|(held, _)| held.len() as u64).sum();
    assert!((450..530).contains(&sent), "{sent} lines of a thousand bytes");
    assert_eq!(parts.iter().filter(|(_, last)| *last).count(), 1);
}

#[test]
fn only_values_at_the_ballots_that_are_named_are_sent_and_only_under_the_promised_ballot() {
    let mut seat = acceptor();
    seat.handle(accept(1, 0, &["a", "b"]));
    seat.handle(accept(3, 1, &["c"]));
    let nobody = [(vec![], true)];
    assert_eq!(fetch(&mut seat, 4, &[(0, 2, 1)]), [], "ballot 4 is not promised");
    seat.handle(prepare(4, 0));
    assert_eq!(fetch(&mut seat, 4, &[(0, 2, 1)]), [(vec![(0, value("a"))], true)]);
    assert_eq!(fetch(&mut seat, 4, &[(0, 1, 0), (1, 1, 3)]), [(vec![(1, value("c"))], true)]);
    assert_eq!(fetch(&mut seat, 4, &[(5, 1, 1)]), nobody);
    seat.handle(Input::Applied(Slot(2), None));
    assert_eq!(fetch(&mut seat, 4, &[(0, 2, 1)]), nobody, "they are forgotten");
    seat.handle(prepare(6, 0));
    assert_eq!(fetch(&mut seat, 4, &[(0, 2, 1)]), []);
    let wanted = Spans::default();
    let late = ToAcceptor::FetchAccepted { ballot: Ballot(4), wanted };
    assert_eq!(to_proposers(&seat.handle(Input::Peer(R1, late))), [(R1, nack(4, 6))]);
}

/// Asks to accept what is held in these slots at these ballots: first slot, length, ballot.
fn held(ballot: u64, spans: &[(u64, u64, u64)]) -> Input {
    let spans = spans.iter().map(|&(first, len, at)| Span {
        slots: SlotRange::with_len(Slot(first), len),
        ballot: Ballot(at),
    });
    let ballot = Ballot(ballot);
    Input::Peer(ballot.owner(3), ToAcceptor::AcceptHeld { ballot, held: spans.collect() })
}

#[test]
fn a_burst_accepts_by_name_no_more_than_a_leader_has_in_flight() {
    let bounded = |limits: Limits| {
        let settings = Settings { limits, ..settings(3, R2) };
        let role = Acceptor::new(settings, membership(3, R2), State::default());
        let mut seat = Seat::new(role, Disk::default());
        seat.burst([accept(0, 0, &["a", "b"]), accept(0, 3, &["d", "e"]), accept(0, 6, &["g"])]);
        seat.handle(prepare(4, 0));
        seat
    };
    let mut few = bounded(Limits { propose_slots: 3, ..Limits::DEFAULT });
    let sent = few.burst([held(4, &[(0, 2, 0)]), held(4, &[(3, 9, 0)])]);
    assert_eq!(votes(&sent), [(R1, 4, 0, 2), (R1, 4, 3, 1)], "three slots, in two messages");
    let sent = few.handle(held(4, &[(4, 5, 0)]));
    let all = [(R1, 4, 0, 2), (R1, 4, 3, 2), (R1, 4, 6, 1)];
    assert_eq!(votes(&sent), all, "another burst has its own, and its vote repeats the others");
    let bytes = few.role.state().bytes() / few.role.state().len();
    let mut short = bounded(Limits { in_flight_bytes: 2 * bytes + 1, ..Limits::DEFAULT });
    let sent = short.handle(held(4, &[(0, 9, 0)]));
    assert_eq!(votes(&sent), [(R1, 4, 0, 2), (R1, 4, 3, 2)], "the run that reaches the bound");
}

#[test]
fn what_is_held_at_just_the_named_ballot_is_accepted_without_its_value() {
    let mut seat = acceptor();
    seat.handle(accept(0, 0, &["a", "b", "c"]));
    seat.handle(accept(1, 2, &["other"]));
    seat.handle(prepare(4, 0));
    seat.storage.records.clear();
    let named = held(4, &[(0, 3, 0), (5, 1, 1)]);
    let sent = seat.handle(named.clone());
    assert_eq!(votes(&sent), [(R1, 4, 0, 2)], "slot 2 holds another value, slot 5 none");
    let values = vec![value("a"), value("b")].into();
    let accepted = Record::Accept(Run { ballot: Ballot(4), first: Slot(0), values });
    assert_eq!(seat.storage.records, std::slice::from_ref(&accepted));
    assert_eq!(votes(&seat.handle(named)), [(R1, 4, 0, 2)], "the answer may have been lost");
    assert_eq!(seat.storage.records, [accepted]);
    let higher = seat.handle(held(6, &[(0, 1, 0), (2, 1, 1)]));
    assert_eq!(votes(&higher), [(R0, 6, 2, 1)], "slot 0 is held at ballot 4 now");
    let refused = seat.handle(held(4, &[(0, 1, 4)]));
    assert_eq!((votes(&refused), to_proposers(&refused)), (vec![], vec![(R1, nack(4, 6))]));
    let Input::Peer(_, foreign) = held(8, &[(0, 1, 4)]) else { unreachable!() };
    assert_eq!(seat.handle(Input::Peer(R0, foreign)), [], "ballot 8 is not replica 0's");
}

#[test]
fn a_page_of_an_older_ballot_is_never_sent_after_a_higher_promise() {
    let mut seat = acceptor();
    seat.handle(accept(0, 0, &["a"]));
    assert!(page(&seat.handle(prepare(1, 0))).last);
    seat.handle(prepare(3, 0));
    let asked_on = seat.handle(prepare(1, 0));
    assert_eq!(pages(&asked_on), []);
    assert_eq!(to_proposers(&asked_on), [(R1, nack(1, 3))]);
}

#[test]
fn votes_name_exact_ranges() {
    let mut seat = acceptor();
    let sent = seat.burst([
        accept(1, 0, &["a"]),
        accept(1, 1, &["b", "c"]),
        accept(1, 7, &["d"]),
        accept(3, 8, &["e"]),
        accept(3, 4, &["f"]),
    ]);
    let expected = [(R1, 1, 0, 3), (R1, 1, 7, 1), (R0, 3, 8, 1), (R0, 3, 4, 1)];
    assert_eq!(votes(&sent), expected, "neighbours are one range, and no gap is covered");
}

#[test]
fn a_vote_repeats_what_the_leader_does_not_know_to_be_decided() {
    let mut seat = acceptor();
    let marked = |first, mark: Decided| {
        let values = vec![value("x")].into();
        let accept = Accept { ballot: Ballot(1), first: Slot(first), values, decided: mark };
        Input::Peer(R1, ToAcceptor::Accept(accept))
    };
    seat.handle(accept(0, 4, &["older"]));
    seat.burst([0, 1, 3, 6].map(|first| marked(first, decided(1, 0, 0))));
    let sent = seat.handle(marked(8, decided(1, 0, 1)));
    let expected = [(R1, 1, 1, 1), (R1, 1, 3, 1), (R1, 1, 6, 1), (R1, 1, 8, 1)];
    assert_eq!(votes(&sent), expected, "at exactly its ballot, from the end of the mark on");
    assert_eq!(votes(&seat.handle(marked(7, decided(1, 0, 6)))), [(R1, 1, 6, 2)]);
    let none = votes(&seat.handle(marked(9, Decided::default())));
    assert_eq!(none, [(R1, 1, 9, 1)], "nothing is said about this ballot");
}

#[test]
fn what_a_vote_repeats_makes_no_further_datagram() {
    let mut seat = acceptor();
    seat.burst((0..500).map(|number| accept(1, 2 * number, &["x"])));
    let values = vec![value("x")].into();
    let (ballot, first) = (Ballot(1), Slot(2_000));
    let accept = Accept { ballot, first, values, decided: decided(1, 0, 0) };
    let sent = seat.handle(Input::Peer(R1, ToAcceptor::Accept(accept)));
    assert_eq!(to_learners(&sent).len(), 1);
    let named = votes(&sent);
    assert!((20..50).contains(&named.len()), "{} ranges", named.len());
    assert_eq!(named[named.len() - 2..], [(R1, 1, 998, 1), (R1, 1, 2_000, 1)], "the last ones");
}

#[test]
fn votes_of_many_ranges_share_datagrams_and_fit_them() {
    // On the wire small numbers are short, and large ones are long.
    let late = Ballot::of(CONFIGURATION_MAX, 1).0;
    for (ballot, above) in [(1, 0), (late, 1 << 60)] {
        let mut seat = acceptor();
        let number = Ballot(ballot).configuration();
        let configuration = Configuration::new(number, membership(3, R2).started().members());
        seat.handle(Input::Applied(Slot(above), configuration.ok()));
        let sent = seat.burst((0..930).map(|number| accept(ballot, above + 2 * number, &["x"])));
        assert_eq!(votes(&sent).len(), 930);
        // An entry has at most 20 bytes, and all together fill half a datagram.
        assert_eq!(to_learners(&sent).len(), 930 / 30);
        for (_, message) in to_learners(&sent) {
            let bytes = postcard::to_stdvec(&message).expect("an acceptance is encoded").len();
            assert!(bytes <= settings(3, R2).payload_bytes, "{bytes} bytes");
        }
    }
}

#[test]
fn many_inputs_before_one_commit_sync_once() {
    let mut seat = acceptor();
    let inputs = (0..50).map(|slot| accept(1, slot, &["x"]));
    let sent = seat.burst(inputs.chain([prepare(3, 0), accept(3, 50, &["y"])]));
    assert_eq!(seat.storage.memory.syncs(), 1);
    assert_eq!(votes(&sent), [(R1, 1, 0, 50), (R0, 3, 50, 1)]);
}

#[test]
fn what_was_accepted_is_shown_to_the_own_learner_only_when_durable() {
    let mut seat = acceptor();
    let sent = seat.handle(accept(1, 4, &["a", "b"]));
    let values = vec![value("a"), value("b")].into();
    let runs = vec![Run { first: Slot(4), ballot: Ballot(1), values }];
    let voted = learner::Input::OwnAccepted { runs, decided: nothing_decided(0) };
    assert_eq!(told_learner(&sent), [voted]);
    assert_eq!(seat.storage.memory.state().len(), 2, "messages leave after the sync");
}

#[test]
fn a_replica_that_is_no_member_gives_no_votes() {
    let role = Acceptor::new(settings(3, R2), stranger(3, R2), State::default());
    let mut seat = Seat::new(role, Memory::default());
    let sent = seat.burst([prepare(3, 0), accept(4, 0, &["x"])]);
    assert_eq!(sent, []);
    assert_eq!(seat.storage.state(), &State::default());
}

#[test]
fn an_acceptor_that_is_told_of_its_copy_promises_and_accepts_nothing() {
    let mut seat = acceptor();
    let mut beside = ReplicaSet::EMPTY;
    beside.insert(R2);
    seat.handle(Input::Beside(beside));
    assert_eq!(seat.burst([prepare(3, 0), accept(4, 0, &["x"])]), []);
    assert_eq!(seat.storage.memory.state(), &State::default());
    seat.handle(Input::Beside(ReplicaSet::EMPTY));
    assert_eq!(pages(&seat.handle(prepare(3, 0))).len(), 1);
    // Nor does it promise anything to a candidate of which two lives run.
    beside = ReplicaSet::EMPTY;
    beside.insert(R0);
    seat.handle(Input::Beside(beside));
    assert_eq!(seat.handle(prepare(6, 0)), []);
}

/// What is known of replica 0: its first life has written five records.
fn heard_of_0() -> Input {
    let memory = standing::Memory { boot: voter(R0).boot, written: 5 };
    Input::Heard(R0, voter(R0).directory, memory)
}

#[test]
fn a_candidate_of_which_more_is_remembered_is_not_promised_anything() {
    let mut seat = acceptor();
    seat.handle(heard_of_0());
    let asks =
        |voter| Input::Peer(R0, ToAcceptor::Prepare { ballot: Ballot(3), first: Slot(0), voter });
    let boot = BootId(99);
    let sent = seat.handle(asks(Voter { boot, begun: 4, ..voter(R0) }));
    assert_eq!(to_replicas(&sent), [(R0, ToBootstrap::Forgotten { boot, known: 5 })]);
    assert_eq!((sent.len(), seat.role.state().promised()), (1, None));
    // The life that is known, and one that begins with all of it, are answered.
    assert_eq!(pages(&seat.handle(asks(voter(R0)))).len(), 1);
    assert_eq!(pages(&seat.handle(asks(Voter { boot, begun: 5, ..voter(R0) }))).len(), 1);
}

#[test]
fn what_is_remembered_is_stored_with_the_next_record_or_by_itself_when_idle() {
    let memory = standing::Memory { boot: voter(R0).boot, written: 5 };
    let mut seat = acceptor();
    seat.handle(heard_of_0());
    assert_eq!(seat.storage.records, [], "nothing is written for it");
    let promised = seat.handle(prepare(4, 0));
    let remembered = Record::Remember(R0, memory);
    assert_eq!(seat.storage.records, [Record::Promise(Ballot(4)), remembered.clone()]);
    let said = told_proposer(&promised).into_iter().find_map(|input| match input {
        proposer::Input::Promised { written, .. } => Some(written),
        _ => None,
    });
    assert_eq!(said, Some(1), "it does not count as written");
    // An idle replica stores it in the end.
    let mut idle = acceptor();
    idle.handle(heard_of_0());
    idle.wait_us(9_999_999);
    assert_eq!(idle.storage.records, []);
    idle.wait_us(1);
    assert_eq!(idle.storage.records, [remembered]);
    assert_eq!(idle.storage.memory.state().memories(), [memory]);
}

#[test]
fn a_ballot_is_heeded_only_from_its_owner() {
    let mut seat = acceptor();
    let ballot = Ballot(4);
    let prepare = ToAcceptor::Prepare { ballot, first: Slot(0), voter: voter(ballot.owner(3)) };
    let values = vec![value("x")].into();
    let accept = Accept { ballot, first: Slot(0), values, decided: nothing_decided(0) };
    let sent = seat.burst([Input::Peer(R0, prepare), Input::Peer(R2, ToAcceptor::Accept(accept))]);
    assert_eq!((sent, seat.role.state()), (vec![], &State::default()));
}

#[test]
fn the_proposer_hears_of_the_promise_again_and_again() {
    let mut seat = acceptor();
    assert_eq!(promised(&seat.handle(prepare(4, 0))), [Ballot(4)]);
    assert_eq!(promised(&seat.handle(prepare(4, 0))), []);
    assert_eq!(promised(&seat.handle(Input::Applied(Slot(0), None))), [Ballot(4)]);
    let mut again = remembering(seat.storage);
    assert_eq!(promised(&again.burst([])), [Ballot(4)], "its first message after a restart");
}

#[test]
fn the_proposer_hears_of_every_rise_of_the_promise() {
    let mut seat = acceptor();
    for (ballot, input) in [(4, prepare(4, 0)), (7, prepare(7, 0)), (9, accept(9, 0, &["x"]))] {
        assert_eq!(promised(&seat.handle(input.clone())), [Ballot(ballot)]);
        assert_eq!(promised(&seat.handle(input)), [], "the promise does not rise");
    }
    assert_eq!(
        promised(&seat.handle(accept(9, 1, &["y"]))),
        [],
        "a record, and the promise does not rise"
    );
}

#[test]
fn the_proposer_hears_once_in_a_while_when_a_burst_was_handed_to_the_disk() {
    let mut seat = acceptor();
    let saved = |sent: Vec<Envelope>| {
        let told = told_proposer(&sent).into_iter();
        told.filter(|input| matches!(input, proposer::Input::Saved { .. })).collect::<Vec<_>>()
    };
    assert_eq!(saved(seat.burst([])), [], "nothing is saved");
    let bursts = [(7, true), (6 + HEARTBEAT_US, false), (7 + HEARTBEAT_US, true)];
    for (slot, (at_us, is_told)) in (0..).zip(bursts) {
        seat.now = Time(at_us);
        let expected = is_told.then_some(proposer::Input::Saved { since: seat.now });
        assert_eq!(saved(seat.handle(accept(4, slot, &["x"]))), Vec::from_iter(expected));
    }
}

#[test]
fn the_proposer_hears_of_a_sync_that_held_the_acceptor_up_whenever_it_began() {
    let told = |held_us: u64| {
        let mut seat = acceptor();
        seat.now = Time(1);
        seat.handle(accept(4, 0, &["told"]));
        seat.now = Time(2);
        seat.handle(accept(4, 1, &["not told"]));
        seat.now = Time(2 + held_us);
        // The learner's word that comes in every heartbeat.
        let sent = seat.handle(Input::Applied(Slot(0), None));
        told_proposer(&sent)
            .into_iter()
            .filter(|input| matches!(input, proposer::Input::Saved { .. }))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(2 * HEARTBEAT_US - 1), []);
    assert_eq!(told(2 * HEARTBEAT_US), [proposer::Input::Saved { since: Time(2) }]);
}

#[test]
fn an_acceptor_has_nothing_to_wait_for() {
    let mut seat = acceptor();
    seat.burst([prepare(4, 0), accept(4, 0, &["x"])]);
    assert_eq!(seat.role.deadline(), None);
    assert!(
        seat.role.is_urgent() && !seat.role.is_finished(),
        "other replicas always wait for an acceptor"
    );
}

#[test]
fn replay_is_highest_ballot_wins_whatever_the_order() {
    let accept = |ballot, first, lines: &[&str]| {
        Record::Accept(Run {
            ballot: Ballot(ballot),
            first: Slot(first),
            values: lines.iter().map(|line| value(line)).collect(),
        })
    };
    let records = [
        accept(1, 0, &["a", "b", "c"]),
        accept(3, 1, &["d"]),
        Record::Promise(Ballot(4)),
        Record::Trim(Slot(1)),
        accept(2, 1, &["e", "f"]),
    ];
    let replayed = |order: &[usize]| {
        let mut state = State::default();
        order.iter().for_each(|index| state.apply(&records[*index]));
        state
    };
    let state = replayed(&[0, 1, 2, 3, 4]);
    assert_eq!((state.promised(), state.trimmed()), (Some(Ballot(4)), Slot(1)));
    assert_eq!(state.accepted(Slot(0)), None);
    assert_eq!(state.accepted(Slot(1)), Some((Ballot(3), (&value("d")).into())));
    assert_eq!(state.accepted(Slot(2)), Some((Ballot(2), (&value("f")).into())));
    let mut rng = fastrand::Rng::with_seed(591);
    for _ in 0..200 {
        let mut order = [0, 1, 2, 3, 4];
        rng.shuffle(&mut order);
        assert_eq!(replayed(&order), state, "order {order:?}");
        let twice: Vec<usize> = order.iter().chain(&order).copied().collect();
        assert_eq!(replayed(&twice), state, "order {twice:?}");
    }
}

#[test]
fn an_own_ballot_of_an_earlier_life_is_not_promised_again() {
    let mut seat = acceptor();
    seat.handle(accept(1, 0, &["a"]));
    let promise = own_promise(&seat.handle(prepare(5, 0)));
    let held = Run { first: Slot(0), ballot: Ballot(1), values: vec![value("a")].into() };
    assert_eq!(promise, (5, vec![held]), "its own candidate gets the values as well");
    assert_eq!(own_promise(&seat.handle(prepare(5, 0))), promise, "asked for again");
    assert_eq!(own_promise(&seat.handle(prepare(5, 1))), (5, vec![]), "from slot 1 on");
    let mut again = remembering(seat.storage);
    assert_eq!(to_proposers(&again.handle(prepare(5, 0))), [(R2, nack(5, 5))]);
    assert_eq!(own_promise(&again.handle(prepare(8, 0))).0, 8);
    // For the ballot of another replica, the acceptor repeats its promise.
    again.handle(prepare(9, 0));
    let mut again = remembering(again.storage);
    assert_eq!(page(&again.handle(prepare(9, 0))).ballot, Ballot(9));
}

#[test]
fn a_full_acceptor_takes_nothing_new_until_its_learner_has_applied_some() {
    let mut seat = acceptor();
    let line = "x".repeat(65_536);
    let most = (ACCEPT_BYTES_MAX / line.len()) as u64;
    let taken = (0..2 * most)
        .take_while(|slot| !votes(&seat.handle(accept(1, *slot, &[&line]))).is_empty());
    let taken = taken.count() as u64;
    assert!((most - 2..=most).contains(&taken), "{taken} of {most}");
    assert_eq!(
        votes(&seat.handle(accept(1, 0, &[&line]))),
        [(R1, 1, 0, 1)],
        "it reports what it has accepted"
    );
    // What is held below may be replaced, for the next leader proposes it again.
    assert_eq!(votes(&seat.handle(accept(3, 0, &[&line]))), [(R0, 3, 0, 1)]);
    seat.handle(Input::Applied(Slot(1), None));
    assert_eq!(votes(&seat.handle(accept(3, taken, &[&line]))), [(R0, 3, taken, 1)]);
}

/// The mark that a client is told by a replica of configuration 0.
fn mark(seat: &mut Subject, inherited: Option<(u64, u64)>) -> Option<u64> {
    mark_in(seat, 0, inherited).map(|(mark, _)| mark)
}

/// The same by one of whose configuration a quorum hears it, and how many members that has.
fn mark_in(
    seat: &mut Subject,
    configuration: u16,
    inherited: Option<(u64, u64)>,
) -> Option<(u64, usize)> {
    let inherited =
        inherited.map(|(ballot, end)| Inherited { ballot: Ballot(ballot), end: Slot(end) });
    let sent = seat.handle(Input::Mark { origin: address(1), read: 7, inherited, configuration });
    let mut marks = sent.iter().filter_map(|envelope| match envelope {
        Envelope::Answers { answers, .. } => match answers[..] {
            [Answer::Mark { read: 7, mark, by }] => {
                assert_eq!(by.configuration, configuration);
                Some((mark.0, by.members.len()))
            }
            _ => panic!("{answers:?}"),
        },
        _ => None,
    });
    marks.next_back()
}

#[test]
fn a_mark_lies_above_everything_that_was_ever_accepted_whatever_is_applied_or_forgotten() {
    let mut seat = acceptor();
    assert_eq!(mark(&mut seat, None), Some(0));
    seat.handle(accept(0, 0, &["a", "b"]));
    seat.handle(accept(0, 7, &["far"]));
    assert_eq!(mark(&mut seat, None), Some(8), "nothing is applied");
    seat.handle(Input::Applied(Slot(8), None));
    assert_eq!(mark(&mut seat, None), Some(8), "all is forgotten");
    // A higher promise takes nothing back.
    seat.handle(prepare(4, 8));
    assert_eq!(mark(&mut seat, None), Some(8));
    let mut again = remembering(seat.storage.clone());
    assert_eq!(mark(&mut again, None), Some(8), "in its next life, too");
}

#[test]
fn a_mark_leaves_out_only_what_a_higher_leader_has_not_inherited() {
    let mut seat = acceptor();
    seat.handle(accept(0, 0, &["a", "b", "c", "d"]));
    // The leader of ballot 4 has found the slots below 2, and those below it goes on with.
    assert_eq!(mark(&mut seat, Some((4, 2))), Some(2));
    assert_eq!(mark(&mut seat, Some((4, 9))), Some(4), "it has found all");
    assert_eq!(mark(&mut seat, Some((0, 0))), Some(4), "it has accepted them from this leader");
    seat.handle(accept(4, 2, &["e"]));
    assert_eq!(mark(&mut seat, Some((4, 2))), Some(3), "and slot 3 is still held at ballot 0");
    seat.handle(accept(7, 5, &["f"]));
    assert_eq!(mark(&mut seat, Some((4, 2))), Some(6), "what came after that leader may be chosen");
    seat.handle(Input::Applied(Slot(6), None));
    assert_eq!(mark(&mut seat, Some((7, 5))), Some(6));
}

#[test]
fn an_acceptor_without_a_vote_and_one_with_a_copy_beside_it_give_no_mark() {
    let membership = Membership { voter: foreign(R2), ..membership(3, R2) };
    let role = Acceptor::new(settings(3, R2), membership, State::default());
    assert_eq!(mark(&mut Seat::new(role, Disk::default()), None), None);
    let mut seat = acceptor();
    let mut beside = ReplicaSet::EMPTY;
    beside.insert(R2);
    seat.handle(Input::Beside(beside));
    assert_eq!(mark(&mut seat, None), None);
    seat.handle(Input::Beside(ReplicaSet::EMPTY));
    assert_eq!(mark(&mut seat, None), Some(0));
}
