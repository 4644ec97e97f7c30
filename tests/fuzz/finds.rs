//! Bugs that these tests have found. Each is a test with a name.

use crate::acceptor_log::{read, write};
use crate::node::{membership, settings, voter};
use allocation_counter::measure;
use datagrams::codec::BodyKind;
use datagrams::counters::{Counters, DropReason};
use durable::sim_disk::SimDisk;
use multipaxos::chat::Chat;
use multipaxos::message::{AcceptedValues, Decided, Party, Promise, Request, Run, Span};
use multipaxos::net::frame::{self, ClusterCell, Decoder, Guard, Identity};
use multipaxos::paxos::learner::{Checkpoint, Record};
use multipaxos::paxos::pace::Waits;
use multipaxos::paxos::phase1::Phase1;
use multipaxos::paxos::phase1::Phase1Outcome;
use multipaxos::paxos::phase2::Phase2;
use multipaxos::paxos::{DecidedPages, Outbox, PROPOSE_WINDOW_SLOTS, Storage};
use multipaxos::storage::Durability;
use multipaxos::storage::decided_log::{CHECKPOINT, DecidedLog, JOURNAL, Location};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{
    Address, Ballot, BootId, ClusterId, Command, DirectoryId, NUMBER_MAX, ReplicaId, Session, Slot,
    SlotRange, Time, Value,
};
use multipaxos::values::Values;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const R0: ReplicaId = ReplicaId(0);
const R1: ReplicaId = ReplicaId(1);
const R2: ReplicaId = ReplicaId(2);

fn command(seq: u64, line: &str) -> Value {
    Value::Command(Request::new(7, 1, seq, line).command())
}

/// A leader continued the numbers of a session from a command that an earlier leader had
/// proposed, and that only that leader had checked.
#[test]
fn the_highest_number_of_a_command_does_not_stop_the_leader_that_proposes_it_again() {
    let values: Values = vec![command(u64::MAX, "x")].into();
    let settings = settings(3, R0, 1);
    let outcome = Phase1Outcome { first: Slot(0), values, held: vec![] };
    let mut phase2 =
        Phase2::begin(settings, Ballot(3), outcome, Slot(0), Waits::default(), Time(0));
    assert!(phase2.pending_us().is_some());
    phase2.handle_progress(Time(1), Slot(1), Decided::default());
    assert!(phase2.pending_us().is_none());
}

/// No-ops filled the gap between the promises of two acceptors, however wide it was. So a page
/// about far slots filled the memory, even from an acceptor outside the quorum.
#[test]
fn what_is_proposed_again_is_bounded_by_what_is_held_and_by_the_window_of_a_leader() {
    let (ballot, far) = (Ballot(3), Slot(1 << 22));
    let mut out: Outbox<()> = Outbox::new();
    let mut phase1 = Phase1::begin(
        settings(3, R0, 1),
        membership(3, R0, true).started(),
        voter(R0),
        ballot,
        Slot(0),
        Waits::default(),
        Time(0),
        &mut out,
    );
    let page = |from: ReplicaId, trimmed: Slot, last: bool, held: SlotRange| {
        let (voter, slots) = (voter(from), SlotRange::new(Slot(0), held.end));
        let accepted = [Span { slots: held, ballot: Ballot(1) }].into_iter().collect();
        Promise { ballot, voter, slots, last, trimmed, accepted }
    };
    let run = |slot: u64| {
        let values = vec![command(slot, "x")].into();
        Run { first: Slot(slot), ballot: Ballot(1), values }
    };
    assert_eq!(phase1.handle_own_promise(Time(1), Slot(0), vec![run(2)], &mut out), None);
    let strange = page(R1, far, false, SlotRange::with_len(far, 1));
    assert_eq!(phase1.handle_promise(Time(1), R1, &strange, &mut out), None);
    let other = page(R2, Slot(0), true, SlotRange::with_len(Slot(5), 1 << 60));
    assert_eq!(phase1.handle_promise(Time(1), R2, &other, &mut out), None);
    let accepted = (5..2 * PROPOSE_WINDOW_SLOTS + 9).map(run).collect();
    let values = AcceptedValues { ballot, trimmed: Slot(0), accepted, last: true };
    let outcome = phase1.handle_values(Time(1), R2, values, &mut out).expect("a quorum");
    assert_eq!(outcome.first, Slot(0));
    assert_eq!(outcome.values.len() as u64, 2 * PROPOSE_WINDOW_SLOTS, "slot 0 is the hole");
    // The result holds everything that the quorum itself has accepted.
    let expected = [Value::Noop, Value::Noop, command(2, "x"), Value::Noop, Value::Noop];
    assert_eq!(outcome.values.slice(0..5).to_vec(), expected);
    assert_eq!(outcome.values.slice(5..6).to_vec(), [command(5, "x")]);
}

fn decoder() -> Decoder {
    let cluster = ClusterCell::new();
    cluster.set(ClusterId(1));
    let identity = Identity {
        n: 3,
        rows: 3,
        me: Party::Replica(R0),
        boot: BootId(7),
        cluster,
        guard: Guard::none(),
    };
    Decoder::new(identity, Arc::new(Counters::new()))
}

/// A hello takes one byte. A stranger may send sixty thousand of them in one datagram. The
/// replica decoded all before it dropped the datagram: thirteen megabytes for sixty kilobytes.
#[test]
fn a_strangers_datagram_full_of_hellos_is_dropped_before_they_are_listed() {
    let source = Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)));
    let stranger = Identity {
        n: 3,
        rows: 3,
        me: Party::Client,
        boot: BootId(9),
        cluster: ClusterCell::new(),
        guard: Guard::none(),
    };
    let mut bytes = Vec::new();
    frame::begin(&mut bytes);
    bytes.resize(60_000, 0);
    let (to, none) = (Party::Replica(R0), ClusterId::NONE);
    frame::seal(&stranger, to, none, BodyKind::Messages, 1, &mut bytes);
    let (mut decoder, mut taken) = (decoder(), Vec::new());
    let mut opened = None;
    let info = measure(|| opened = Some(decoder.open(source, &bytes, &mut taken)));
    assert_eq!(opened, Some(Err(DropReason::Amplifies)));
    assert!(info.bytes_total < 8 * bytes.len() as u64, "{info:?}");
}

struct Decided50 {
    disk: SimDisk,
    values: Vec<Value>,
}

/// Fifty slots: every third is a no-op, and every fifth repeats the value before it.
fn decided() -> Decided50 {
    let disk = SimDisk::new(fastrand::Rng::with_seed(1));
    let (log_dir, data) = (disk.folder("logs"), disk.folder("data"));
    let place = Location {
        log_dir,
        name: "chat",
        data,
        directory: DirectoryId(1),
        others: true,
        host: multipaxos::machine::Host::CHAT,
    };
    let mut log = DecidedLog::create(place, Durability::Sync).unwrap();
    let (mut chat, mut values, mut seq) = (Chat::default(), Vec::<Value>::new(), 0);
    for slot in 0..50 {
        let value = match (slot % 3, slot % 5) {
            (2, _) => Value::Noop,
            (_, 4) => values[slot as usize - 3].clone(),
            _ => {
                seq += 1;
                command(seq - 1, &format!("line {slot}"))
            }
        };
        let client_seq = chat.apply(Slot(slot), (&value).into());
        let (first, client_seqs) = (Slot(slot), vec![client_seq]);
        let mut records = vec![Record::Applied { first, values: (&value).into(), client_seqs }];
        if slot == 39 {
            let (applied, chat) = (Slot(40), chat.clone());
            // The checkpoint is durable once the next one begins.
            let checkpoint = Checkpoint { applied, chat, hash: 0 };
            records.extend(checkpoint.parts(100).map(Record::Checkpoint));
            records.extend(checkpoint.parts(100).map(Record::Checkpoint));
        }
        log.append(&mut records).unwrap();
        values.push(value);
    }
    log.rest().unwrap();
    let mut disk = disk;
    disk.crash_process();
    Decided50 { disk, values }
}

fn open(disk: &SimDisk) -> Result<(DecidedLog<SimDisk>, Checkpoint), String> {
    let (log_dir, data) = (disk.folder("logs"), disk.folder("data"));
    let place = Location {
        log_dir,
        name: "chat",
        data,
        directory: DirectoryId(1),
        others: true,
        host: multipaxos::machine::Host::CHAT,
    };
    DecidedLog::open(place, Durability::Sync).map_err(|error| error.to_string())
}

/// The hash of a journal entry does not cover its slot, and no other field did for a slot that
/// changed nothing. So when a part of the journal was written in another place, the replica told
/// peers that a slot held a no-op.
#[test]
fn entries_in_another_slots_place_are_not_served() {
    for shift in 1..16 {
        let Decided50 { disk, values } = decided();
        let mut journal = read(&disk.folder("data"), JOURNAL);
        journal.copy_within(40 * (8 + shift)..40 * (16 + shift), 40 * 8);
        write(&disk.folder("data"), JOURNAL, &journal);
        let (mut log, checkpoint) = open(&disk).unwrap();
        assert_eq!(checkpoint.applied, Slot(50));
        let mut served = 0;
        for slot in 0..50 {
            let page = log.decided(SlotRange::new(Slot(slot), Slot(slot + 1)), 1_000).unwrap();
            let same = page.is_empty() || page.to_vec() == values[slot as usize..][..1];
            assert!(same, "shifted by {shift}: slot {slot} is said to hold {page:?}");
            served += page.len();
        }
        assert!(served >= 40, "{served} of those that are whole");
    }
}

/// What a checkpoint file has before its sessions.
type Head = (DirectoryId, (u64, u64, u64), (Slot, u64));

/// Writes the file that `change` makes of the head of a checkpoint file and its sessions.
fn forge(disk: &SimDisk, change: impl Fn(&mut Head, &mut Vec<u8>)) {
    let data = disk.folder("data");
    let bytes = read(&data, CHECKPOINT);
    let (before, contents) = bytes.split_at(16);
    let (mut head, sessions) = postcard::take_from_bytes(contents).unwrap();
    let mut sessions = sessions.to_vec();
    change(&mut head, &mut sessions);
    let contents = [postcard::to_stdvec(&head).unwrap(), sessions].concat();
    let magic = u64::from_le_bytes(*before[..8].first_chunk().unwrap());
    let check = xxh3_64_with_seed(&contents, magic).to_le_bytes();
    write(&data, CHECKPOINT, &[&before[..8], &check, &contents].concat());
}

/// If a checkpoint has a forged check, its numbers may have any value.
#[test]
fn the_highest_numbers_of_a_chat_are_counted_past() {
    let Value::Command(last) = command(u64::MAX, "x") else { panic!("a command") };
    let Session { client, id } = last.session;
    let account = (client, (u64::MAX, id, u64::MAX, Slot(3)));
    let other = Command { session: Session { client, id: id ^ 1 }, ..last.clone() };
    let standing = (other.session, (u64::MAX, Slot(2), u64::MAX));
    let forged = (1u64 << 22, "", vec![account], vec![standing]);
    let mut chat = Chat::default();
    assert!(chat.take_in(&postcard::from_bytes(&postcard::to_stdvec(&forged).unwrap()).unwrap()));
    for (slot, command) in [(4, last), (5, other)] {
        assert_eq!(chat.apply(Slot(slot), (&Value::Command(command)).into()), Some(u64::MAX));
    }
}

/// A checkpoint with a right check and wrong contents made the replica panic. It should have
/// named the damaged file.
#[test]
fn a_checkpoint_that_the_slots_above_do_not_follow_from_is_refused_by_name() {
    let disk = decided().disk;
    forge(&disk, |_, sessions| sessions.clear());
    let said = open(&disk).map(|_| ()).unwrap_err();
    assert!(said.starts_with("data/checkpoint is damaged"), "{said}");
    let disk = decided().disk;
    forge(&disk, |(_, _, (applied, _)), _| *applied = Slot(NUMBER_MAX));
    let said = open(&disk).map(|_| ()).unwrap_err();
    assert!(said.starts_with("data/journal is damaged"), "{said}");
}
