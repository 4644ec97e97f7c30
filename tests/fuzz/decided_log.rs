//! The decided log (chat log, journal, overflow, checkpoint) on a disk that was damaged.
//!
//! **What must hold.** Opening never panics. It may refuse with an error that names a file.
//! Otherwise the log goes on at or above the newest checkpoint, with exactly the state of these
//! slots. For any range that a peer may request, it serves only what was written there. An
//! opened chat log ends with a whole line.
//!
//! Opening may believe a checkpoint with a forged check; such a checkpoint must only cause no
//! panic.

use crate::acceptor_log::{damage, damages, read, write};
use crate::edit;
use crate::run::{Property, check};
use durable::disk::Disk;
use durable::error::OpenError;
use durable::sim_disk::SimDisk;
use fastrand::Rng;
use multipaxos::chat::Chat;
use multipaxos::paxos::learner::{Checkpoint, Record};
use multipaxos::paxos::{DecidedPages, Storage};
use multipaxos::storage::Durability;
use multipaxos::storage::decided_log::{CHECKPOINT, DecidedLog, Location};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{ClientId, Command, DirectoryId, Session, Slot, SlotRange, Value};
use proptest::prelude::*;
use seeds::stream;
use std::sync::OnceLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const CHAT_LOG: &str = "learner0.txt";

struct History {
    disk: SimDisk,
    checkpoint: Slot,
    /// How long the chat log was there.
    checkpoint_bytes: u64,
    values: Vec<Value>,
    /// The state before each slot, and after the last.
    chats: Vec<Chat>,
}

fn place(disk: &SimDisk) -> (SimDisk, SimDisk) {
    (disk.folder("logs"), disk.folder("data"))
}

fn open(disk: &SimDisk) -> Result<(DecidedLog<SimDisk>, Checkpoint), OpenError> {
    let (log_dir, data) = place(disk);
    let place = Location {
        log_dir,
        name: CHAT_LOG,
        data,
        directory: DirectoryId(1),
        others: true,
        host: multipaxos::machine::Host::CHAT,
    };
    DecidedLog::open(place, Durability::Sync)
}

/// A command of a few sessions. Some slots are no-ops, some repeat the value before.
fn value(rng: &mut Rng, seqs: &mut [u64; 3], before: Option<&Value>) -> Value {
    match (rng.u8(..8), before) {
        (0, Some(before)) => before.clone(),
        (1, _) => Value::Noop,
        _ => {
            let client = rng.usize(..3);
            let seq = seqs[client];
            seqs[client] += 1;
            let line = format!("{seq} \\ {}", "é\u{1}".repeat(rng.usize(..30)));
            let session = Session { client: ClientId(client as u64), id: client as u64 };
            Value::Command(Command { session, seq, birth: Slot(0), line: line.into() })
        }
    }
}

fn histories() -> &'static [History] {
    static HISTORIES: OnceLock<Vec<History>> = OnceLock::new();
    HISTORIES.get_or_init(|| {
        let one = |seed: u64| {
            let mut rng = stream(seed, "history");
            let disk = SimDisk::new(rng.fork());
            let (log_dir, data) = place(&disk);
            let directory = DirectoryId(1);
            let place = Location {
                log_dir,
                name: CHAT_LOG,
                data,
                directory,
                others: true,
                host: multipaxos::machine::Host::CHAT,
            };
            let mut log = DecidedLog::create(place, Durability::Sync).unwrap();
            let (mut chat, mut seqs) = (Chat::default(), [0; 3]);
            let (mut values, mut chats): (Vec<Value>, _) = (Vec::new(), vec![chat.clone()]);
            let (mut checkpoint, mut checkpoint_bytes) = (Slot::ZERO, 0);
            for slot in (0..rng.u64(..80)).map(Slot) {
                let value = value(&mut rng, &mut seqs, values.last());
                let client_seq = chat.apply(slot, (&value).into());
                let (first, client_seqs) = (slot, vec![client_seq]);
                let mut records =
                    vec![Record::Applied { first, values: (&value).into(), client_seqs }];
                if rng.u8(..20) == 0 {
                    checkpoint = slot.next();
                    let chat = chat.clone();
                    // The checkpoint is durable once the next one begins. That one is never
                    // whole where it has more than one part.
                    let made = Checkpoint { applied: checkpoint, chat, hash: 0 };
                    records.extend(made.parts(1).map(Record::Checkpoint));
                    records.extend(made.parts(1).map(Record::Checkpoint).take(1));
                }
                log.append(&mut records).unwrap();
                if checkpoint == slot.next() {
                    let text = disk.folder("logs").look(CHAT_LOG).unwrap();
                    checkpoint_bytes = text.map_or(0, |seen| seen.length);
                }
                values.push(value);
                chats.push(chat.clone());
            }
            log.rest().unwrap();
            History { disk, checkpoint, checkpoint_bytes, values, chats }
        };
        (0..16).map(one).collect()
    })
}

fn new_name(rng: &mut Rng) -> String {
    ["journal", "asides", "checkpoint", "checkpoint.tmp", CHAT_LOG][rng.usize(..5)].to_owned()
}

fn killed(disk: &SimDisk) -> SimDisk {
    let mut disk = disk.fork(Rng::with_seed(1));
    disk.crash_process();
    disk
}

fn names_a_file(error: &OpenError) {
    let said = error.to_string();
    assert!(said.contains("logs/") || said.contains("data/"), "the error names no file: {said}");
}

#[test]
fn a_damaged_log_goes_on_with_what_was_written_or_refuses() {
    let name = "decided_log::a_damaged_log_goes_on_with_what_was_written_or_refuses";
    let histories = histories();
    let (mut opened, mut refused, mut withheld) = (0, 0, 0);
    let cases = (0..histories.len(), any::<bool>(), damages(), any::<u64>());
    let property = Property { name, cases: 4_000, cost: 40 };
    check(property, cases, |(at, in_data, damages, dice)| {
        let history = &histories[at];
        let mut disk = killed(&history.disk);
        let folder = disk.folder(if in_data { "data" } else { "logs" });
        damages.iter().for_each(|one| damage(&folder, *one, new_name));
        let logs = disk.folder("logs");
        let text_before = logs.look(CHAT_LOG).unwrap().map_or(0, |seen| seen.length);
        let (mut log, checkpoint) = match open(&disk) {
            Ok(opened) => opened,
            Err(error) => {
                refused += 1;
                names_a_file(&error);
                return 1;
            }
        };
        opened += 1;
        let applied = checkpoint.applied;
        // Lines of the chat log that are gone are fetched again; nothing else is.
        let is_cut = !in_data && text_before < history.checkpoint_bytes;
        assert!(applied >= history.checkpoint || is_cut, "{applied}, below its checkpoint");
        assert!(applied.0 <= history.values.len() as u64, "{applied} was never reached");
        assert_eq!(checkpoint.chat, history.chats[applied.0 as usize]);
        let text = read(&disk.folder("logs"), CHAT_LOG);
        assert!(text.last().is_none_or(|byte| *byte == b'\n'), "the chat log ends inside a line");
        let mut rng = stream(dice, "dice");
        for _ in 0..8 {
            let first = Slot(rng.u64(..applied.0 + 2));
            let page = log
                .decided(SlotRange::new(first, first.plus(rng.u64(..9))), rng.usize(..900))
                .unwrap();
            let written = history.values.iter().skip(first.0 as usize);
            assert!(page.to_vec().iter().eq(written.take(page.len())), "{first}: {page:?}");
            withheld += u64::from(page.is_empty() && first < applied);
        }
        drop(log);
        disk.crash_process();
        let (_, again) = open(&disk).expect("a log that was opened opens again");
        assert_eq!(again, checkpoint);
        1
    });
    if property.is_full() {
        assert!(opened > 100 && refused > 100, "{opened} opened, {refused} refused");
    }
    if property.is_full() {
        assert!(withheld > 0, "no request ever met a damage");
    }
}

#[test]
fn a_checkpoint_with_a_forged_check_is_understood_or_refused() {
    let name = "decided_log::a_checkpoint_with_a_forged_check_is_understood_or_refused";
    let histories = histories();
    let cases = (0..histories.len(), any::<u64>());
    let mut refused = 0;
    let property = Property { name, cases: 3_000, cost: 40 };
    check(property, cases, |(at, dice)| {
        let disk = killed(&histories[at].disk);
        let data = disk.folder("data");
        let mut rng = stream(dice, "dice");
        let mut bytes = read(&data, CHECKPOINT);
        let mut contents = bytes.split_off(16);
        edit::edits(&mut rng, &mut contents, &bytes);
        let magic = u64::from_le_bytes(*bytes[..8].first_chunk().unwrap());
        bytes[8..].copy_from_slice(&xxh3_64_with_seed(&contents, magic).to_le_bytes());
        bytes.append(&mut contents);
        write(&data, CHECKPOINT, &bytes);
        if let Err(error) = open(&disk) {
            refused += 1;
            names_a_file(&error);
        }
        1
    });
    if property.is_full() {
        assert!(refused > 100, "{refused} refused");
    }
}
