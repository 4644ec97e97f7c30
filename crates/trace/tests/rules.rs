//! What `trace check` finds in traces that break a rule, and says of traces that are not whole.

use multipaxos::message::Run;
use multipaxos::paxos::acceptor::{self, Record::Accept, Record::Promise};
use multipaxos::paxos::{Envelope, learner};
use multipaxos::runtime::trace::block::{Block, Record, Stream, Word, only};
use multipaxos::runtime::trace::{Header, Who};
use multipaxos::types::{Ballot, BootId, ClientId, ReplicaId, Slot, Time, Value};
use multipaxos::values::Values;
use trace::check::{Checked, check};
use trace::files::Files;

fn line(text: &str) -> Values {
    let request = multipaxos::message::Request::new(7, 1, 0, text);
    Values::from(&Value::Command(request.command()))
}

fn accept(slot: u64, ballot: u64, text: &str) -> acceptor::Record {
    Accept(Run { first: Slot(slot), ballot: Ballot(ballot), values: line(text) })
}

/// A trace of these blocks of a process that has ended.
fn file(who: Who, life: u64, blocks: Vec<Vec<u8>>) -> (std::path::PathBuf, Vec<u8>) {
    let (program, n, boot, file) = ("test".into(), 3, BootId(life), 0);
    let header = Header { program, who, n, boot, file, wall_us: life };
    let header = only(&Word::Header(header), Stream::Process, 0);
    let end = only(&Word::End(Time(99)), Stream::Process, 1);
    let bytes = [vec![header], blocks, vec![end]].concat().concat();
    (format!("{who} {life}").into(), bytes)
}

fn turn<R>(records: Vec<R>) -> Record<(), R> {
    let envelopes = Vec::<Envelope>::new();
    let (page_requests, excerpt_requests) = (Vec::new(), Vec::new());
    Record::Turn {
        now: Time(5),
        deadline: None,
        records,
        envelopes,
        page_requests,
        excerpt_requests,
    }
}

fn block<R: serde::Serialize>(stream: Stream, number: u32, records: Vec<Record<(), R>>) -> Vec<u8> {
    let mut block = Block::default();
    records.iter().for_each(|record| block.put(record));
    block.sealed(stream, number)
}

/// A life of replica `id` whose acceptor has a turn for each of these lists.
fn acceptor(id: u8, life: u64, turns: Vec<Vec<acceptor::Record>>) -> (std::path::PathBuf, Vec<u8>) {
    let turns = turns.into_iter().map(turn).collect();
    file(Who::Replica(ReplicaId(id)), life, vec![block(Stream::Acceptor, 0, turns)])
}

fn learner(id: u8, text: &str) -> (std::path::PathBuf, Vec<u8>) {
    let values = line(text);
    let applied = learner::Record::Applied { first: Slot(3), values, client_seqs: vec![Some(0)] };
    let block = block(Stream::Learner, 0, vec![turn(vec![applied])]);
    file(Who::Replica(ReplicaId(id)), 1, vec![block])
}

fn checked(files: Vec<(std::path::PathBuf, Vec<u8>)>) -> Checked {
    check(&Files::of(files))
}

#[track_caller]
fn breaks(files: Vec<(std::path::PathBuf, Vec<u8>)>, words: &str) {
    let checked = checked(files);
    let said = checked.lines.join("\n");
    assert!(!checked.is_good, "{said}");
    assert!(
        checked.lines.iter().any(|it| it.starts_with("BROKEN") && it.contains(words)),
        "{said}"
    );
}

#[test]
fn two_values_at_one_ballot_are_found() {
    let files = vec![
        acceptor(0, 1, vec![vec![accept(3, 4, "a")]]),
        acceptor(1, 1, vec![vec![accept(3, 4, "b")]]),
    ];
    breaks(files, "I2: replica 1 (replica 1 1): acceptor: record 0 of block 0: slot 3, ballot 4");
}

#[test]
fn another_value_above_a_chosen_one_is_found() {
    let files = vec![
        acceptor(0, 1, vec![vec![accept(3, 4, "a")]]),
        acceptor(1, 1, vec![vec![accept(3, 4, "a")]]),
        acceptor(2, 1, vec![vec![accept(3, 5, "b")]]),
    ];
    breaks(files, "I1: slot 3");
}

#[test]
fn an_acceptance_below_a_promise_is_found() {
    let files = vec![acceptor(0, 1, vec![vec![Promise(Ballot(6))], vec![accept(3, 4, "a")]])];
    breaks(files, "I3: replica 0 (replica 0 1): acceptor: record 1 of block 0: ballot 4 below");
}

#[test]
fn logs_that_differ_are_found() {
    breaks(vec![learner(0, "a"), learner(1, "b")], "I4: slot 3");
    let chosen = |id| acceptor(id, 2, vec![vec![accept(3, 4, "a")]]);
    breaks(vec![chosen(0), chosen(1), learner(2, "b")], "I4: slot 3");
}

#[test]
fn a_line_that_stands_elsewhere_is_found() {
    use multipaxos::client::Outcome;
    let outcome = Outcome::Complete {
        client: ClientId(8),
        seq: 0,
        slot: Slot(3),
        took_us: 1,
        response: Some(multipaxos::machine::Response::EMPTY),
    };
    let block = block(Stream::Client, 0, vec![turn(vec![outcome])]);
    breaks(vec![learner(0, "a"), file(Who::Client(ClientId(8)), 1, vec![block])], "I5: client 8");
}

#[test]
fn what_agrees_passes_though_it_cannot_be_replayed() {
    let turns = || vec![vec![Promise(Ballot(4))], vec![accept(3, 4, "a")]];
    let checked = checked(vec![acceptor(0, 1, turns()), acceptor(1, 1, turns()), learner(2, "a")]);
    let said = checked.lines.join("\n");
    assert!(checked.is_good, "{said}");
    assert!(said.contains("2 records cannot be replayed"), "{said}");
    let rest = "5 records of 3 of them are compared and not replayed (see the notes)";
    assert!(said.ends_with(&format!("PASS  3 processes; {rest}")), "{said}");
    let counts = "1 slots have values, 1 of them chosen ones; 1 are applied, and 0 completed";
    assert!(said.contains(counts), "{said}");
}

#[test]
fn gaps_and_torn_ends_are_said_and_the_rest_is_used() {
    let of =
        |number, turns: Vec<Record<(), acceptor::Record>>| block(Stream::Acceptor, number, turns);
    let late = Record::Dropped { records: 5 };
    let blocks = vec![
        of(2, vec![turn(vec![accept(3, 4, "a")])]),
        of(4, vec![turn(vec![accept(4, 4, "a")]), late]),
    ];
    let (path, mut bytes) = file(Who::Replica(ReplicaId(0)), 1, blocks);
    let torn = bytes.len() - 3;
    bytes.truncate(torn);
    let checked = checked(vec![(path, bytes)]);
    let said = checked.lines.join("\n");
    assert!(checked.is_good, "{said}");
    for words in [
        "its first 2 blocks are gone: the file was full, and a role is replayed only from its",
        "1 blocks are missing",
        "5 records were dropped: the writer was late",
        "it is torn, damaged, or of another version: the last",
        "it has not said that it ends",
        "1 slots have values",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}

#[test]
fn a_folder_without_traces_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("notes"), "nothing").expect("a file");
    let why = Files::read(&[dir.path().to_path_buf()]).expect_err("no trace");
    assert!(why.ends_with("no trace (see --trace of replica, client and driver)"), "{why}");
    let why = Files::read(&[dir.path().join("notes")]).expect_err("no trace");
    assert!(why.ends_with("no trace of this build (see --trace of replica and client)"), "{why}");
    assert!(Files::read(&[dir.path().join("gone")]).is_err());
}
