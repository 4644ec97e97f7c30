use super::block::{HEAD_BYTES, Malformed, Record, Sealed, Word};
use super::lists::Lists;
use super::*;
use crate::message::{Accept, Decided, Request, ToAcceptor, Voter};
use crate::paxos::acceptor::{self, Acceptor};
use crate::paxos::proposer::{self, Proposer};
use crate::paxos::{Limits, Membership, Never, NoStorage, Role, Settings, Storage};
use crate::runtime::role_turn::RoleTurn;
use crate::storage::memory::Volatile;
use crate::types::{Address, Ballot, ClusterId, DirectoryId, Slot};
use std::fs;
use std::net::SocketAddr;

type Accepted = Record<acceptor::Input, acceptor::Record>;

fn settings() -> Settings {
    Settings {
        id: ReplicaId(0),
        n: 3,
        places: 3,
        boot: BootId(9),
        payload_bytes: 1_300,
        heartbeat_us: 50_000,
        election_min_us: 300_000,
        election_max_us: 600_000,
        checkpoint_slots: 16,
        skip_slot: None,
        limits: Limits::DEFAULT,
    }
}

fn membership() -> Membership {
    let members: Vec<DirectoryId> = [4, 5, 6].map(DirectoryId).to_vec();
    let voter = Voter { directory: members[0], boot: BootId(9), begun: 0 };
    Membership { cluster: ClusterId(1), voter, members, memories: Vec::new(), fresh: true }
}

/// An Accept of the leader, with a line of this length.
fn accept(slot: u64, length: usize) -> acceptor::Input {
    let line = format!("{slot:0length$}");
    let values = Request::new(1, 1, slot, &line).commands;
    let (ballot, first, decided) = (Ballot(0), Slot(slot), Decided::default());
    acceptor::Input::Peer(
        ReplicaId(0),
        ToAcceptor::Accept(Accept { ballot, first, values, decided }),
    )
}

fn beginner(file: PathBuf, file_bytes_max: u64) -> Beginner {
    let (who, boot, clock) = (Who::Replica(ReplicaId(0)), BootId(9), Clock::start());
    Beginner { file, file_bytes_max, who, n: 3, boot, clock }
}

/// An acceptor whose turns are traced.
fn traced_acceptor(trace: Trace) -> RoleTurn<Acceptor, Volatile> {
    let (settings, membership, state) = (settings(), membership(), acceptor::State::default());
    trace.begin(Time(0), 1, || {
        let of = begin::Accepting::of(&state);
        Beginning::Acceptor(settings, membership.clone(), of)
    });
    let role = Acceptor::new(settings, membership, state);
    RoleTurn::new(role, Volatile, Clock::start(), fastrand::Rng::with_seed(1), trace)
}

/// One turn, and what leaves in it.
fn turn<R: Role, S: Storage<R::Record> + crate::storage::upkeep::Upkeep>(
    turn: &mut RoleTurn<R, S>,
    now: Time,
    inputs: Vec<R::Input>,
) -> Vec<Envelope> {
    let mut left = Vec::new();
    turn.take(now, inputs);
    turn.finish(now, false, 0, &mut |envelopes| left.append(envelopes)).expect("nothing fails");
    left
}

/// The blocks of a file, and whether all of it can be read.
fn blocks(bytes: &[u8]) -> (Vec<Sealed<'_>>, bool) {
    let (mut blocks, mut rest) = (Vec::new(), bytes);
    loop {
        match Sealed::first(rest) {
            Ok(Some((block, behind))) => {
                blocks.push(block);
                rest = behind;
            }
            Ok(None) => return (blocks, true),
            Err(Malformed) => return (blocks, false),
        }
    }
}

fn records(bytes: &[u8]) -> Vec<Accepted> {
    let of_acceptor = |block: &Sealed<'_>| block.stream == Stream::Acceptor;
    let (blocks, _) = blocks(bytes);
    let mut lists = Lists::default();
    blocks.iter().for_each(|block| lists.add(block.lists()));
    let blocks = blocks.into_iter().filter(of_acceptor);
    blocks.flat_map(|block| block.records(&lists)).map(|record| record.expect("whole")).collect()
}

#[test]
fn a_role_with_a_trace_does_the_same_as_one_without() {
    let dir = tempfile::tempdir().expect("a folder");
    let tracer = beginner(dir.path().join("a"), FILE_BYTES_MAX).begin().expect("it begins");
    let proposer = |trace: Trace| {
        let role = Proposer::new(settings(), membership(), Time(0), 7);
        RoleTurn::new(role, NoStorage, Clock::start(), fastrand::Rng::with_seed(3), trace)
    };
    let mut pair = [proposer(tracer.of(Stream::Proposer)), proposer(Trace::off())];
    let from = Address(SocketAddr::from(([127, 0, 0, 1], 9)));
    let mut sent = 0;
    for at in 0..200 {
        let input = || proposer::Input::Client(from, Request::new(1, 1, at, "a line"));
        let [one, other] = pair.each_mut().map(|it| turn(it, Time(at * 5_000), vec![input()]));
        assert_eq!(one, other, "turn {at}");
        sent += one.len();
    }
    assert!(sent > 200, "only {sent} messages");
    let debug = pair.each_ref().map(|it| format!("{:?}", it.role));
    assert_eq!(debug[0], debug[1]);
}

#[test]
fn what_is_read_is_what_the_role_did_and_a_line_is_written_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a");
    let tracer = beginner(file.clone(), FILE_BYTES_MAX).begin().expect("it begins");
    let mut role = traced_acceptor(tracer.of(Stream::Acceptor));
    let left = turn(&mut role, Time(70), vec![accept(0, 1_000), accept(1, 1_000)]);
    let next = turn(&mut role, Time(90), vec![acceptor::Input::Applied(Slot(1), None)]);
    tracer.end();
    let bytes = fs::read(&file).expect("it is there");
    let all = records(&bytes);
    let [begin, first, second, out, third, last] = &all[..] else { panic!("{all:?}") };
    assert!(matches!(begin, Record::Begin { draw: 1, .. }));
    let mut rng = fastrand::Rng::with_seed(1);
    for (record, input) in [(first, accept(0, 1_000)), (second, accept(1, 1_000))] {
        assert_eq!(*record, Record::Input { now: Time(70), draw: rng.u64(..), input });
    }
    assert!(matches!(third, Record::Input { now: Time(90), .. }));
    let Record::Turn { now: Time(70), records, envelopes, .. } = out else { panic!("{out:?}") };
    assert_eq!((records.len(), envelopes), (2, &left));
    let Record::Turn { now: Time(90), envelopes, .. } = last else { panic!("{last:?}") };
    assert_eq!(envelopes, &next);
    // Each line is in an input, in a record, and in what the learner is told.
    assert!((2_000..3_500).contains(&bytes.len()), "{} bytes", bytes.len());
    let (blocks, is_whole) = blocks(&bytes);
    let words: Vec<Word> =
        [blocks.first(), blocks.last()].map(|it| it.expect("one").only().expect("a word")).into();
    assert!(matches!(&words[..], [Word::Header(Header { n: 3, file: 0, .. }), Word::End(_)]));
    assert!(is_whole);
}

#[test]
fn what_is_torn_or_changed_is_no_block() {
    let mut block = Block::default();
    block.input(Time(5), 6, &accept(0, 100));
    block.input(Time(7), 8, &accept(1, 100));
    let whole = block.sealed(Stream::Acceptor, 0);
    let count = |bytes: &[u8]| {
        let (blocks, is_whole) = blocks(bytes);
        (blocks.len(), is_whole)
    };
    assert_eq!(count(&[whole.clone(), whole.clone()].concat()), (2, true));
    for end in 1..whole.len() {
        assert_eq!(count(&[&whole[..], &whole[..end]].concat()), (1, false), "{end} bytes");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        assert_eq!(count(&changed), (0, false), "byte {at}");
    }
}

#[test]
fn records_that_say_nothing_are_an_error_and_no_panic() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut block = Block::default();
    block.input(Time(5), 6, &accept(0, 100));
    block.turn(
        Time(5),
        Some(Time(9)),
        &crate::paxos::Contents::<Never> {
            records: &[],
            envelopes: &[],
            page_requests: &[],
            excerpt_requests: &[],
        },
    );
    let whole = block.sealed(Stream::Acceptor, 0);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut changed = whole.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(HEAD_BYTES - 4..changed.len());
            changed[at] = rng.u8(..);
        }
        changed.truncate(rng.usize(HEAD_BYTES..=changed.len()));
        block::seal(&mut changed, &[], Stream::Acceptor, 0);
        // Where the lists begin may be wrong as well.
        let Ok(Some((block, _))) = Sealed::first(&changed) else {
            refused += 1;
            continue;
        };
        let mut lists = Lists::default();
        lists.add(block.lists());
        refused += usize::from(block.records(&lists).any(|it: Result<Accepted, _>| it.is_err()));
    }
    assert!(refused > 10_000, "{refused}");
}

#[test]
fn a_full_file_gives_way_to_the_next_and_both_can_be_read_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a");
    let tracer = beginner(file.clone(), 4_000).begin().expect("it begins");
    let mut role = traced_acceptor(tracer.of(Stream::Acceptor));
    for slot in 0..10 {
        turn(&mut role, Time(slot), vec![accept(slot, 1_000)]);
        lock(&tracer.writer).write();
    }
    tracer.end();
    let [older, newer] = ["a.1", "a"].map(|name| fs::read(dir.path().join(name)).expect("it is"));
    for bytes in [&older, &newer] {
        assert!(bytes.len() < 6_000, "{} bytes", bytes.len());
    }
    let files = [&older, &newer].map(|bytes| {
        let (blocks, is_whole) = blocks(bytes);
        assert!(is_whole);
        let Ok(Word::Header(header)) = blocks[0].only() else { panic!("no header") };
        header.file
    });
    assert_eq!(files[0] + 1, files[1]);
    assert!(files[1] >= 2, "{files:?}");
    let all = [older, newer].concat();
    let numbers: Vec<u32> = blocks(&all)
        .0
        .iter()
        .filter(|it| it.stream == Stream::Acceptor)
        .map(|it| it.number)
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    assert!(numbers.last() >= Some(&9), "{numbers:?}");
}

#[test]
fn a_former_life_becomes_the_older_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a");
    for life in 1..=2 {
        let beginner = Beginner { boot: BootId(life), ..beginner(file.clone(), FILE_BYTES_MAX) };
        beginner.begin().expect("it begins").end();
    }
    let lives = ["a.1", "a"].map(|name| {
        let bytes = fs::read(dir.path().join(name)).expect("it is there");
        match blocks(&bytes).0[0].only() {
            Ok(Word::Header(header)) => header.boot.0,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(lives, [1, 2]);
}

#[test]
fn what_has_no_room_is_counted_and_holds_nobody_up() {
    let (wake, woken) = bounded(1);
    let pending = Arc::new(Pending::new(Stream::Acceptor, Arc::default(), wake));
    let trace = Trace(Some(Arc::clone(&pending)));
    let fits = PENDING_BYTES_MAX / 60_000 + 1;
    for slot in 0..fits as u64 + 5 {
        trace.input(Time(slot), 0, &accept(slot, 60_000));
    }
    assert!(woken.try_recv().is_ok());
    let take = || pending.take(&mut Taken::default()).expect("a block").bytes().concat();
    assert_eq!(records(&take()).len(), fits);
    trace.input(Time(9), 0, &accept(0, 10));
    let behind = records(&take());
    assert!(matches!(behind[..], [Record::Dropped { records: 5 }, Record::Input { .. }]));
}

#[test]
fn a_trace_that_cannot_be_written_any_more_ends_and_the_role_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("gone");
    fs::create_dir(&folder).expect("a folder");
    let tracer = beginner(folder.join("a"), 2_000).begin().expect("it begins");
    let mut role = traced_acceptor(tracer.of(Stream::Acceptor));
    fs::remove_dir_all(&folder).expect("it goes");
    for slot in 0..5 {
        assert_ne!(turn(&mut role, Time(slot), vec![accept(slot, 1_000)]), []);
        lock(&tracer.writer).write();
    }
    assert!(lock(&tracer.pending[1].records).is_over);
    assert!(beginner(folder.join("a"), 2_000).begin().is_err());
}
