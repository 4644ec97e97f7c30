//! The decided log on a disk that loses its power at every single call.

#![cfg(test)]

use super::Durability;
use super::chat_log::write_line;
use super::decided_log::{CHECKPOINT, DecidedLog, JOURNAL, Location, OVERFLOW, is_lost};
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::upkeep::Upkeep;
use crate::chat::Chat;
use crate::paxos::learner::{Checkpoint, Part, Record, running_hash};
use crate::paxos::{DecidedPages, Storage};
use crate::types::{ClientId, Command, DirectoryId, Session, Slot, SlotRange, Value};
use durable::sim_disk::{Fault, SimDisk, Survival};
use fastrand::Rng;
use seeds::stream;
use std::sync::OnceLock;

const CHAT_LOG: &str = "learner0.txt";

fn place(disk: &SimDisk) -> (SimDisk, SimDisk) {
    (disk.folder("logs"), disk.folder("data"))
}

fn create(disk: &SimDisk, durability: Durability) -> DecidedLog<SimDisk> {
    let (log_dir, data) = place(disk);
    let place = Location {
        log_dir,
        name: CHAT_LOG,
        data,
        directory: DirectoryId(1),
        others: true,
        host: crate::machine::Host::CHAT,
    };
    DecidedLog::create(place, durability).unwrap()
}

fn open(disk: &SimDisk) -> Result<(DecidedLog<SimDisk>, Checkpoint), OpenError> {
    open_under(disk, Durability::Sync)
}

fn open_under(
    disk: &SimDisk,
    durability: Durability,
) -> Result<(DecidedLog<SimDisk>, Checkpoint), OpenError> {
    let (log_dir, data) = place(disk);
    let place = Location {
        log_dir,
        name: CHAT_LOG,
        data,
        directory: DirectoryId(1),
        others: true,
        host: crate::machine::Host::CHAT,
    };
    DecidedLog::open(place, durability)
}

/// How many slots the one history that all tests share has.
const SLOTS: u64 = 50_000;

/// One history: what was decided, and what becomes of it.
struct History {
    values: Vec<Value>,
    /// The chat log, and where each slot's line begins in it.
    text: Vec<u8>,
    begins: Vec<usize>,
    /// The state before each slot.
    chats: Vec<Chat>,
    /// The running hash before each slot.
    hashes: Vec<u64>,
}

/// A few clients with one session each; every eleventh slot is a Noop, every seventh
/// holds what the slot before does, once more.
fn history() -> &'static History {
    static HISTORY: OnceLock<History> = OnceLock::new();
    HISTORY.get_or_init(|| {
        let mut history = History {
            values: Vec::new(),
            text: Vec::new(),
            begins: vec![0],
            chats: Vec::new(),
            hashes: vec![0],
        };
        let (mut chat, mut seqs) = (Chat::default(), [0; 3]);
        for slot in 0..SLOTS {
            let value = match history.values.last() {
                Some(before) if slot % 7 == 6 => before.clone(),
                _ if slot % 11 == 5 => Value::Noop,
                _ => {
                    let client = slot % 3;
                    let seq = seqs[client as usize];
                    seqs[client as usize] += 1;
                    let line = format!("{slot} \\ {}", "é\u{1}".repeat((slot * 31 % 90) as usize));
                    let session = Session { client: ClientId(client), id: client };
                    Value::Command(Command { session, seq, birth: Slot(0), line: line.into() })
                }
            };
            history.chats.push(chat.clone());
            let client_seq = chat.apply(Slot(slot), (&value).into());
            write_line(&mut history.text, Slot(slot), (&value).into(), client_seq);
            history.begins.push(history.text.len());
            let before = history.hashes[slot as usize];
            history.hashes.push(running_hash(before, &(&value).into()));
            history.values.push(value);
        }
        history.chats.push(chat);
        history
    })
}

fn value(slot: Slot) -> Value {
    history().values[slot.0 as usize].clone()
}

fn chat_at(applied: Slot) -> &'static Chat {
    &history().chats[applied.0 as usize]
}

fn hash_at(applied: Slot) -> u64 {
    history().hashes[applied.0 as usize]
}

/// What a learner does, as far as its storage sees it.
struct Lives {
    disk: SimDisk,
    durability: Durability,
    log: Option<DecidedLog<SimDisk>>,
    rng: Rng,
    chat: Chat,
    applied: Slot,
    /// The newest checkpoint that is whole, which may be durable.
    newest: Checkpoint,
    /// The parts to come of the next, last one first.
    parts: Vec<Part>,
    /// The one before, which is.
    durable: Checkpoint,
}

impl Lives {
    fn begin(seed: u64) -> Lives {
        Lives::begin_under(seed, Durability::Sync)
    }

    fn begin_under(seed: u64, durability: Durability) -> Lives {
        let disk = SimDisk::new(stream(seed, "disk"));
        let log = create(&disk, durability);
        Lives {
            disk,
            durability,
            log: Some(log),
            rng: stream(seed, "lives"),
            chat: Chat::default(),
            applied: Slot::ZERO,
            newest: Checkpoint::default(),
            parts: Vec::new(),
            durable: Checkpoint::default(),
        }
    }

    /// One burst, with a part of a checkpoint in it now and then; false if the disk failed.
    fn commit(&mut self) -> bool {
        let mut records = Vec::new();
        let (mut newest, mut durable) = (self.newest.clone(), self.durable.clone());
        for _ in 0..self.rng.u32(1..6) {
            let (slot, value) = (self.applied, value(self.applied));
            let client_seq = self.chat.apply(slot, (&value).into());
            records.push(applied(slot, &value, client_seq));
            self.applied = slot.next();
            if self.parts.is_empty() && self.rng.u32(..20) == 0 {
                self.parts = parts(&self.state());
                self.parts.reverse();
            } else if self.parts.is_empty() || self.rng.bool() {
                continue;
            }
            let part = self.parts.pop().unwrap();
            if part.is_first {
                durable = newest.clone();
            }
            if part.is_last {
                let (applied, hash) = (part.applied, part.hash);
                newest = Checkpoint { applied, chat: chat_at(applied).clone(), hash };
            }
            records.push(Record::Checkpoint(part));
        }
        let log = self.log.as_mut().unwrap();
        let done = log.append(&mut records).and_then(|()| log.sync()).and_then(|()| log.rest());
        if done.is_err() {
            assert!(log.append(&mut Vec::new()).is_err(), "a failed log fails on");
            self.log = None;
            return false;
        }
        (self.newest, self.durable) = (newest, durable);
        true
    }

    fn open(&mut self) -> Result<(), String> {
        let mut opened = open_under(&self.disk, self.durability);
        while let Err(OpenError::Io(_)) = opened {
            // A fault that was due has struck the opening: somebody starts it again.
            if self.disk.is_dark() {
                self.disk.power_cut(Survival::Random);
            } else {
                self.disk.crash_process();
            }
            opened = open_under(&self.disk, self.durability);
        }
        let (log, checkpoint) = opened.map_err(|error| format!("does not open: {error}"))?;
        if checkpoint.applied < self.durable.applied || checkpoint.applied > self.applied {
            let (found, durable) = (checkpoint.applied, self.durable.applied);
            return Err(format!("goes on at {found}, the checkpoint was at {durable}"));
        }
        if checkpoint.chat != *chat_at(checkpoint.applied)
            || checkpoint.hash != hash_at(checkpoint.applied)
        {
            return Err(format!("another state at {}", checkpoint.applied));
        }
        self.chat = checkpoint.chat.clone();
        self.applied = checkpoint.applied;
        self.newest = checkpoint.clone();
        self.parts.clear();
        self.durable = checkpoint;
        self.log = Some(log);
        self.check()
    }

    /// What a checkpoint would hold.
    fn state(&self) -> Checkpoint {
        let (applied, chat) = (self.applied, self.chat.clone());
        Checkpoint { applied, chat, hash: hash_at(applied) }
    }

    /// Chat log and pages are those of the applied slots, and nothing else.
    fn check(&mut self) -> Result<(), String> {
        let expected = &history().text[..history().begins[self.applied.0 as usize]];
        if read(&self.disk.folder("logs"), CHAT_LOG) != expected {
            return Err(format!("another chat log at {}", self.applied));
        }
        let (upto, log) = (self.applied, self.log.as_mut().unwrap());
        // From somewhere near the end, and all the way from the beginning now and then.
        let last = self.rng.u64(..100);
        let mut next = Slot(if last == 0 { 0 } else { upto.0.saturating_sub(last) });
        while next < upto {
            let page =
                log.decided(SlotRange::new(next, upto), 700).map_err(|error| error.to_string())?;
            if page.is_empty()
                || page.to_vec().into_iter().zip(next.0..).any(|(v, slot)| v != value(Slot(slot)))
            {
                return Err(format!("another page from {next}, of {} values", page.len()));
            }
            next = next.plus(page.len() as u64);
        }
        Ok(())
    }

    fn fork(&mut self) -> Lives {
        Lives {
            disk: self.disk.fork(self.rng.fork()),
            durability: self.durability,
            log: None,
            rng: self.rng.fork(),
            chat: self.chat.clone(),
            applied: self.applied,
            newest: self.newest.clone(),
            parts: self.parts.clone(),
            durable: self.durable.clone(),
        }
    }
}

fn read(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap().unwrap();
    let mut bytes = vec![0; file.length().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn survives(seed: u64, commits: usize, call: u64, tear: usize) -> Result<bool, String> {
    let mut lives = Lives::begin(seed);
    lives.disk.cut_at(call, tear);
    for _ in 0..commits {
        if !lives.commit() {
            break;
        }
    }
    if !lives.disk.is_dark() {
        return Ok(false);
    }
    use Survival::{Everything, Nothing, Random};
    for survival in [Nothing, Everything, Random] {
        let mut fork = lives.fork();
        fork.disk.power_cut(survival);
        fork.open()?;
        for _ in 0..fork.rng.u32(..12) {
            assert!(fork.commit());
        }
        fork.disk.power_cut(Random);
        fork.open().map_err(|error| format!("the second time: {error}"))?;
    }
    Ok(true)
}

#[test]
fn a_power_cut_at_every_call_leaves_the_newest_checkpoint_and_the_log_below_it() {
    let (seed, commits) = (4, 330);
    let first = Lives::begin(seed).disk.calls();
    let mut tears = stream(seed, "tears");
    let mut calls = 0;
    for call in first.. {
        let tear = tears.usize(..600);
        match survives(seed, commits, call, tear) {
            Ok(true) => calls += 1,
            Ok(false) => break,
            Err(error) => panic!("power cut at call {call}, byte {tear} (seed {seed}): {error}"),
        }
    }
    assert!(calls > 2 * commits, "{calls} calls");
}

#[test]
fn a_checkpoint_torn_at_every_byte_leaves_the_one_before_or_the_new() {
    let mut lives = Lives::begin(1);
    while lives.durable.applied == Slot::ZERO {
        assert!(lives.commit());
    }
    for call in 0..17 {
        for tear in 0..300 {
            let mut fork = lives.fork();
            fork.disk.crash_process();
            fork.open().unwrap();
            let checkpoint = fork.state();
            fork.disk.cut_at(fork.disk.calls() + call, tear);
            let log = fork.log.as_mut().unwrap();
            // It is worked on when the next is due.
            for _ in 0..2 {
                let _ = log.append(&mut made(&checkpoint));
            }
            fork.disk.power_cut(Survival::Random);
            fork.open().unwrap_or_else(|error| panic!("call {call}, byte {tear}: {error}"));
        }
    }
}

fn ten_lives(seed: u64) -> Result<(), String> {
    let mut lives = Lives::begin(seed);
    for life in 0..10 {
        let soon = lives.disk.calls() + lives.rng.u64(..150);
        match lives.rng.u32(..3) {
            0 => lives.disk.cut_at(soon, lives.rng.usize(..600)),
            1 => lives.disk.fail_at(soon, Fault::Device),
            _ => {}
        }
        for _ in 0..lives.rng.u32(1..60) {
            if !lives.commit() {
                break;
            }
        }
        lives.log = None;
        if lives.disk.is_dark() || lives.rng.bool() {
            lives.disk.power_cut(Survival::Random);
        } else {
            lives.disk.crash_process();
        }
        lives.open().map_err(|error| format!("seed {seed}, life {life}: {error}"))?;
    }
    Ok(())
}

#[test]
fn killed_cut_off_and_failed_processes_go_on_from_a_checkpoint() {
    for seed in 0..150 {
        ten_lives(seed).unwrap();
    }
}

#[test]
fn a_flipped_bit_is_refused_or_not_served_but_never_passed_on() {
    let mut refused = 0;
    let mut withheld = 0;
    for seed in 0..20 {
        let mut lives = Lives::begin(seed);
        while lives.durable.applied < Slot(60) {
            assert!(lives.commit());
        }
        for _ in 0..60 {
            let mut fork = lives.fork();
            fork.disk.power_cut(Survival::Everything);
            let folder = fork.disk.folder(if fork.rng.bool() { "logs" } else { "data" });
            let files = folder.durable_files();
            let (name, length) = &files[fork.rng.usize(..files.len())];
            let (byte, bit) = (fork.rng.usize(..*length), fork.rng.u32(..8));
            folder.flip_bit(name, byte, bit);
            let Ok((mut log, checkpoint)) = open(&fork.disk) else {
                refused += 1;
                continue;
            };
            let said = format!("seed {seed}, {name} byte {byte} bit {bit}");
            assert!(checkpoint.applied >= lives.durable.applied, "{said}");
            assert_eq!(checkpoint.chat, *chat_at(checkpoint.applied), "{said}");
            assert_eq!(checkpoint.hash, hash_at(checkpoint.applied), "{said}");
            for slot in (0..checkpoint.applied.0).map(Slot) {
                let page = log.decided(SlotRange::new(slot, slot.next()), 1).unwrap();
                assert!(page.is_empty() || page.to_vec() == [value(slot)], "{said}, slot {slot}");
                withheld += u32::from(page.is_empty());
            }
        }
    }
    assert!(refused > 100 && withheld > 100, "{refused} refused, {withheld} withheld");
}

#[test]
fn every_decided_value_is_read_back_whatever_became_of_it() {
    let mut lives = Lives::begin(2);
    for _ in 0..100 {
        assert!(lives.commit());
    }
    for _ in 0..300 {
        lives.check().unwrap();
    }
    let text = String::from_utf8(read(&lives.disk.folder("logs"), CHAT_LOG)).unwrap();
    assert!(text.lines().nth(13) == Some("13 - - NOP"), "a command decided once more");
    assert!(text.lines().nth(5) == Some("5 - - NOP"), "a Noop");
}

#[test]
fn the_text_is_that_of_the_chat_log_whether_it_is_written_or_not() {
    let mut lives = Lives::begin(3);
    let (mut unwritten, mut across) = (0, 0);
    for round in 0..400 {
        // As a thread that never rests.
        let mut records = Vec::new();
        for _ in 0..lives.rng.u32(1..9) {
            let (slot, value) = (lives.applied, value(lives.applied));
            let client_seq = lives.chat.apply(slot, (&value).into());
            records.push(applied(slot, &value, client_seq));
            lives.applied = slot.next();
        }
        let (upto, log) = (lives.applied, lives.log.as_mut().unwrap());
        log.append(&mut records).unwrap();
        if round % 10 == 9 {
            log.rest().unwrap();
        }
        let end = history().begins[upto.0 as usize];
        let written = read(&lives.disk.folder("logs"), CHAT_LOG).len();
        for _ in 0..9 {
            let slot = lives.rng.u64(..upto.0);
            let (offset, bytes) = (lives.rng.usize(..900), lives.rng.usize(..2_000));
            let from = (history().begins[slot as usize] + offset).min(end);
            let to = (from + bytes).min(end);
            let found = log.text(Slot(slot), offset as u64, bytes).unwrap().expect("it is applied");
            let said = format!("slot {slot}, {bytes} bytes from {offset} on");
            assert!(found.bytes == history().text[from..to], "{said}");
            assert_eq!(found.rest, (end - to) as u64, "{said}");
            unwritten += u32::from(from < to && from >= written);
            across += u32::from(from < written && to > written);
        }
        assert_eq!(log.text(upto, 0, 100).unwrap(), None, "it is not applied");
    }
    assert!(unwritten > 100 && across > 10, "{unwritten} unwritten, {across} across");
    let log = lives.log.as_mut().unwrap();
    let far = log.text(Slot(3), u64::MAX, 100).unwrap().expect("it is applied");
    assert_eq!((far.bytes.len(), far.rest), (0, 0));
}

#[test]
fn what_was_cut_off_the_chat_log_is_not_shown() {
    for left in [0, 700] {
        let mut lives = Lives::begin(3);
        while lives.applied < Slot(300) {
            assert!(lives.commit());
        }
        let log = lives.log.as_mut().unwrap();
        log.rest().unwrap();
        assert!(log.text(Slot(200), 0, 500).unwrap().is_some());
        let file = lives.disk.folder("logs").open(CHAT_LOG).unwrap().unwrap();
        let length = file.length().unwrap();
        file.set_length(left).unwrap();
        assert_eq!(log.text(Slot(200), 0, 500).unwrap(), None, "it is shorter");
        file.write_at(length, b"more").unwrap();
        assert_eq!(log.text(Slot(200), 0, 500).unwrap(), None, "there are zeros");
    }
}

#[test]
fn a_flipped_bit_is_shown_to_no_follower() {
    let mut lives = Lives::begin(3);
    while lives.durable.applied < Slot(200) {
        assert!(lives.commit());
    }
    let (mut shown, mut short, mut withheld) = (0, 0, 0);
    for _ in 0..400 {
        let mut fork = lives.fork();
        fork.disk.power_cut(Survival::Everything);
        let folder = fork.disk.folder(if fork.rng.bool() { "logs" } else { "data" });
        let files = folder.durable_files();
        let (name, length) = &files[fork.rng.usize(..files.len())];
        let (byte, bit) = (fork.rng.usize(..*length), fork.rng.u32(..8));
        folder.flip_bit(name, byte, bit);
        let Ok((mut log, checkpoint)) = open(&fork.disk) else { continue };
        let end = history().begins[checkpoint.applied.0 as usize];
        for slot in (0..checkpoint.applied.0).step_by(3) {
            let (offset, bytes) = (fork.rng.usize(..300), 600);
            let from = (history().begins[slot as usize] + offset).min(end);
            let to = (from + bytes).min(end);
            let found = log.text(Slot(slot), offset as u64, bytes).unwrap();
            let Some(found) = found else {
                withheld += 1;
                continue;
            };
            let said = format!("{name} byte {byte} bit {bit}, slot {slot}, {offset} on");
            assert!(history().text[from..to].starts_with(&found.bytes), "{said}");
            assert!(from == to || !found.bytes.is_empty(), "{said}");
            let is_all = found.bytes.len() == to - from;
            (shown, short) = (shown + u32::from(is_all), short + u32::from(!is_all));
        }
    }
    assert!(shown > 1_000 && short > 20 && withheld > 100, "{shown}, {short}, {withheld}");
}

#[test]
fn a_killed_process_goes_on_where_it_was() {
    let mut lives = Lives::begin(8);
    for _ in 0..200 {
        assert!(lives.commit());
    }
    let applied = lives.applied;
    assert!(lives.durable.applied < applied);
    lives.disk.crash_process();
    lives.open().unwrap();
    assert_eq!(lives.applied, applied);
    lives.disk.power_cut(Survival::Nothing);
    lives.open().unwrap();
    assert_eq!(lives.applied, applied, "it is durable once it is open");
}

#[test]
fn a_power_cut_after_the_log_was_closed_loses_nothing_even_without_waiting_for_the_disk() {
    let mut lost = 0;
    for seed in 0..20 {
        let mut lives = Lives::begin_under(seed, Durability::Os);
        for life in 0..3 {
            for _ in 0..lives.rng.u32(1..60) {
                assert!(lives.commit());
            }
            let applied = lives.applied;
            if life < 2 {
                // Killed: what it wrote is in the page cache, and the next life's to sync.
                lives.disk.crash_process();
                lives.open().unwrap();
                assert_eq!(lives.applied, applied);
            }
        }
        let mut fork = lives.fork();
        fork.disk.power_cut(Survival::Nothing);
        lost += u32::from(fork.open().is_err() || fork.applied < lives.applied);
        lives.log.take().unwrap().close().unwrap();
        lives.disk.power_cut(Survival::Nothing);
        let applied = lives.applied;
        lives.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(lives.applied, applied, "seed {seed}");
    }
    assert_eq!(lost, 20, "without that, all lose something");
}

#[test]
fn a_log_whose_last_sync_fails_is_not_closed_well() {
    // Chat log, journal, overflow, checkpoint, and the names.
    for call in 0..5 {
        let mut lives = Lives::begin_under(1, Durability::Os);
        assert!(lives.commit());
        lives.disk.fail_at(lives.disk.calls() + call, Fault::Device);
        assert!(lives.log.take().unwrap().close().is_err(), "call {call}");
    }
}

#[test]
fn pages_hold_at_most_the_bytes_asked_for_but_one_value_at_least() {
    let mut lives = Lives::begin(3);
    for _ in 0..20 {
        assert!(lives.commit());
    }
    let (upto, log) = (lives.applied, lives.log.as_mut().unwrap());
    for bytes in [0, 1, 50, 100, 400, 1_000, 100_000] {
        let page = log.decided(SlotRange::new(Slot(7), upto), bytes).unwrap();
        let taken = page.bytes().len();
        assert!(page.len() == 1 || taken <= bytes, "{bytes}: {taken}");
        assert!(!page.is_empty());
    }
    assert_eq!(log.decided(SlotRange::new(Slot(2), Slot(4)), 1_000).unwrap().len(), 2);
    assert_eq!(log.decided(SlotRange::new(upto, upto.plus(9)), 1_000).unwrap().len(), 0);
    assert_eq!(log.decided(SlotRange::new(upto.plus(3), upto.plus(9)), 1_000).unwrap().len(), 0);
}

#[test]
fn opening_takes_the_same_however_long_the_log_is() {
    let cost = |slots: u64| {
        let mut lives = Lives::begin(5);
        let mut records = Vec::new();
        for slot in (0..slots).map(Slot) {
            records.push(applied(slot, &value(slot), None));
        }
        let checkpoint = Checkpoint { applied: Slot(slots), ..Checkpoint::default() };
        // The next one tells that it is durable.
        records.extend([(); 2].iter().flat_map(|()| made(&checkpoint)));
        lives.log.as_mut().unwrap().append(&mut records).unwrap();
        let before = (lives.disk.calls(), lives.disk.reads(), lives.disk.written());
        let mut disk = lives.disk;
        disk.crash_process();
        open(&disk).unwrap();
        (disk.calls() - before.0, disk.reads() - before.1, (disk.written() - before.2) / 16)
    };
    assert_eq!(cost(100), cost(SLOTS));
}

#[test]
fn a_log_goes_on_where_it_was_however_many_pages_stand_above_its_checkpoint() {
    for slots in [1, 1_023, 1_024, 1_025, 3_000] {
        let mut lives = Lives::begin(5);
        let log = lives.log.as_mut().unwrap();
        let mut records: Vec<Record> =
            (0..slots).map(|slot| applied(Slot(slot), &Value::Noop, None)).collect();
        log.append(&mut records).unwrap();
        log.rest().unwrap();
        assert_eq!(log.applied(), Slot(slots));
        lives.disk.crash_process();
        let (log, checkpoint) = open(&lives.disk).unwrap();
        assert_eq!((log.applied(), checkpoint.applied), (Slot(slots), Slot(slots)));
    }
}

/// What a log says when it is opened after a change of its files.
fn changed(lives: &Lives, others: bool, change: &dyn Fn(&SimDisk, &SimDisk)) -> String {
    let disk = lives.disk.fork(Rng::with_seed(1));
    let (log_dir, data) = place(&disk);
    change(&log_dir, &data);
    let place = Location {
        log_dir,
        name: CHAT_LOG,
        data,
        directory: DirectoryId(1),
        others,
        host: crate::machine::Host::CHAT,
    };
    match DecidedLog::open(place, Durability::Sync) {
        Ok((_, checkpoint)) => format!("opened at {}", checkpoint.applied),
        Err(error) => error.to_string(),
    }
}

/// A log of more than forty slots below its checkpoint, whose process was killed.
fn killed(seed: u64) -> Lives {
    let mut lives = Lives::begin(seed);
    while lives.durable.applied < Slot(40) {
        assert!(lives.commit());
    }
    lives.disk.crash_process();
    lives
}

#[test]
fn a_file_that_is_missing_short_or_another_is_refused() {
    let lives = killed(6);
    let other = changed(&lives, true, &|logs, _| {
        let file = logs.open(CHAT_LOG).unwrap().unwrap();
        let length = file.length().unwrap();
        file.write_at(0, &vec![b'x'; length as usize]).unwrap();
    });
    assert!(other.contains("its last lines are not those of the journal"), "{other}");
    for name in [JOURNAL, OVERFLOW, CHECKPOINT] {
        let missing = changed(&lives, true, &|_, data| data.remove(name).unwrap());
        assert!(missing.contains("is missing"), "{name}: {missing}");
    }
    // Nobody else has the lines of a cluster of one.
    let missing = changed(&lives, false, &|logs, _| logs.remove(CHAT_LOG).unwrap());
    assert!(missing.starts_with("logs/learner0.txt is missing"), "{missing}");
    let empty = changed(&lives, false, &|logs, _| drop(logs.create(CHAT_LOG).unwrap()));
    assert!(empty.contains("it ends below the newest checkpoint"), "{empty}");
}

/// Applies what the others send, from where the log is up to `end`.
fn fetch(log: &mut DecidedLog<SimDisk>, checkpoint: &mut Checkpoint, end: Slot) {
    try_to_fetch(log, checkpoint, end).unwrap();
}

fn try_to_fetch(
    log: &mut DecidedLog<SimDisk>,
    checkpoint: &mut Checkpoint,
    end: Slot,
) -> std::io::Result<()> {
    while checkpoint.applied < end {
        let slot = checkpoint.applied;
        let value = value(slot);
        let client_seq = checkpoint.chat.apply(slot, (&value).into());
        let mut records = vec![applied(slot, &value, client_seq)];
        checkpoint.applied = slot.next();
        checkpoint.hash = hash_at(slot.next());
        if slot.0.is_multiple_of(16) {
            records.extend(made(checkpoint));
        }
        log.append(&mut records)?;
        log.rest()?;
    }
    Ok(())
}

#[test]
fn lines_that_were_cut_are_taken_from_a_copy_or_fetched_again() {
    let lives = killed(6);
    let whole = read(&lives.disk.folder("logs"), CHAT_LOG);
    let end = lives.applied;
    let copy = |logs: &SimDisk, name: &str, length: usize| {
        logs.create(name).unwrap().write_at(0, &whole[..length]).unwrap();
    };
    let half = history().begins[20];
    for (name, left) in [
        // Deleted, cut, or a part of it left.
        (None, 0),
        (Some(CHAT_LOG), 0),
        (Some(CHAT_LOG), 20),
        (Some("learner0.txt.1"), end.0),
        (Some("learner0.txt.1"), 20),
        (Some("learner1.txt"), end.0),
        // Not a chat log, so nobody looks into it.
        (Some("notes.txt"), 0),
    ] {
        let mut disk = lives.disk.fork(Rng::with_seed(1));
        let logs = disk.folder("logs");
        logs.remove(CHAT_LOG).unwrap();
        if let Some(name) = name {
            copy(
                &logs,
                name,
                if name == "notes.txt" { half } else { history().begins[left as usize] },
            );
        }
        let (mut log, mut checkpoint) = open(&disk).unwrap();
        assert_eq!((log.applied(), checkpoint.applied), (Slot(left), Slot(left)), "{name:?}");
        assert_eq!(checkpoint.chat, *chat_at(Slot(left)));
        assert_eq!(checkpoint.hash, hash_at(Slot(left)));
        // Killed while it fetches: it goes on with what it has.
        let some = Slot(left.max(25));
        fetch(&mut log, &mut checkpoint, some);
        drop(log);
        disk.crash_process();
        let (mut log, mut checkpoint) = open(&disk).unwrap();
        assert_eq!(checkpoint.applied, some, "{name:?}");
        fetch(&mut log, &mut checkpoint, end.plus(50));
        let logs = disk.folder("logs");
        assert!(read(&logs, CHAT_LOG) == history().text[..history().begins[end.0 as usize + 50]]);
        disk.power_cut(Survival::Nothing);
        let (log, checkpoint) = open(&disk).unwrap();
        assert!(log.applied() >= lives.durable.applied);
        assert_eq!(checkpoint.chat, *chat_at(log.applied()));
        assert_eq!(checkpoint.hash, hash_at(log.applied()));
    }
}

#[test]
fn a_chat_log_that_was_made_anew_has_its_name_for_good() {
    for seed in 0..100 {
        for is_open in [false, true] {
            let mut disk = SimDisk::new(stream(seed, "disk"));
            let (mut log, logs) = (create(&disk, Durability::Sync), disk.folder("logs"));
            let mut chat = Chat::default();
            for slot in (0..20).map(Slot) {
                let client_seq = chat.apply(slot, (&value(slot)).into());
                log.append(&mut vec![applied(slot, &value(slot), client_seq)]).unwrap();
            }
            log.rest().unwrap();
            logs.remove(CHAT_LOG).unwrap();
            let (mut log, mut checkpoint) = if is_open {
                // It is made by another process, and what it holds is gone.
                logs.create(CHAT_LOG).unwrap();
                log.reopen().unwrap()
            } else {
                drop(log);
                disk.crash_process();
                open(&disk).unwrap()
            };
            // Of the checkpoints after slots 0, 16 and 32 all but the last one are durable.
            fetch(&mut log, &mut checkpoint, Slot(40));
            // No sync of the folder has followed, and the deleted file may be back.
            disk.power_cut(Survival::Random);
            let (log, checkpoint) = open(&disk).unwrap_or_else(|error| panic!("{seed}: {error}"));
            assert!(log.applied() >= Slot(17), "{seed} {is_open}: {}", log.applied());
            assert_eq!(checkpoint.hash, hash_at(log.applied()), "{seed}");
        }
    }
}

#[test]
fn lines_that_are_fetched_must_be_those_that_were_written() {
    let lives = killed(6);
    lives.disk.folder("logs").remove(CHAT_LOG).unwrap();
    let (mut log, checkpoint) = open(&lives.disk).unwrap();
    assert_eq!(checkpoint.applied, Slot::ZERO);
    let mut records =
        (0..lives.applied.0).map(|slot| applied(Slot(slot), &Value::Noop, None)).collect();
    let said = log.append(&mut records).and_then(|()| log.rest()).unwrap_err().to_string();
    assert!(said.contains("are not those that this replica wrote"), "{said}");
}

#[test]
fn a_chat_log_that_is_renamed_replaced_or_deleted_while_it_is_written_is_whole_again() {
    type Change<'a> = (&'a str, &'a dyn Fn(&SimDisk));
    let changes: [Change<'_>; 4] = [
        ("deleted", &|logs| logs.remove(CHAT_LOG).unwrap()),
        ("renamed", &|logs| logs.rename(CHAT_LOG, "learner0.txt.1").unwrap()),
        ("rotated", &|logs| {
            logs.rename(CHAT_LOG, "learner0.txt.1").unwrap();
            logs.create(CHAT_LOG).unwrap();
        }),
        ("replaced", &|logs| {
            logs.remove(CHAT_LOG).unwrap();
            logs.create(CHAT_LOG).unwrap().write_at(0, b"mine").unwrap();
        }),
    ];
    for (what, change) in changes {
        let mut lives = Lives::begin(6);
        for _ in 0..3 {
            for _ in 0..20 {
                assert!(lives.commit());
            }
            change(&lives.disk.folder("logs"));
            lives.log.as_mut().unwrap().rest().unwrap();
            lives.check().unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        assert!(lives.commit());
        lives.disk.power_cut(Survival::Nothing);
        lives.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[test]
fn a_chat_log_that_is_cut_while_it_is_written_is_opened_again() {
    for (left, copied) in [(0, false), (0, true), (7, false)] {
        for rests in [false, true] {
            let mut lives = Lives::begin(6);
            while lives.durable.applied < Slot(40) {
                assert!(lives.commit());
            }
            let (end, logs) = (lives.applied, lives.disk.folder("logs"));
            let text = read(&logs, CHAT_LOG);
            if copied {
                logs.create("learner0.txt.1").unwrap().write_at(0, &text).unwrap();
            }
            let file = logs.open(CHAT_LOG).unwrap().unwrap();
            file.set_length(history().begins[left as usize] as u64).unwrap();
            std::mem::forget(file);
            let mut log = lives.log.take().unwrap();
            let error = if rests {
                log.rest().unwrap_err()
            } else {
                let (value, mut chat) = (value(end), chat_at(end).clone());
                let client_seq = chat.apply(end, (&value).into());
                log.append(&mut vec![applied(end, &value, client_seq)]).unwrap();
                log.rest().unwrap_err()
            };
            assert!(is_lost(&error), "{error}");
            let (mut log, mut checkpoint) = log.reopen().unwrap();
            let expected = if copied { end } else { Slot(left) };
            assert_eq!(checkpoint.applied, expected);
            assert_eq!(checkpoint.chat, *chat_at(expected));
            fetch(&mut log, &mut checkpoint, end.plus(30));
            assert!(
                read(&logs, CHAT_LOG) == history().text[..history().begins[end.0 as usize + 30]]
            );
        }
    }
}

#[test]
fn a_power_cut_at_any_call_while_a_cut_log_is_mended_leaves_one_that_can_be_mended() {
    let mut torn = 0;
    for seed in 0..4 {
        for call in 0.. {
            let mut lives = Lives::begin(seed);
            while lives.durable.applied < Slot(20) {
                assert!(lives.commit());
            }
            let (end, logs) = (lives.applied, lives.disk.folder("logs"));
            let file = logs.open(CHAT_LOG).unwrap().unwrap();
            // A file system cuts a file as a whole, and the power comes later.
            file.set_length(history().begins[7] as u64).unwrap();
            file.sync().unwrap();
            std::mem::forget(file);
            let mut log = lives.log.take().unwrap();
            assert!(is_lost(&log.rest().unwrap_err()));
            lives.disk.cut_at(lives.disk.calls() + call, (97 * call) as usize % 500);
            let mended = log.reopen().map(|(mut log, mut checkpoint)| {
                try_to_fetch(&mut log, &mut checkpoint, end.plus(3)).is_ok()
            });
            let is_over = !lives.disk.is_dark();
            assert!(!is_over || mended.is_ok_and(|fetched| fetched));
            lives.disk.power_cut(Survival::Random);
            let opened = open_under(&lives.disk, Durability::Sync);
            let (mut log, mut checkpoint) =
                opened.unwrap_or_else(|error| panic!("seed {seed}, call {call}: {error}"));
            torn += usize::from(checkpoint.applied < lives.durable.applied);
            assert!(!is_over || checkpoint.applied >= lives.durable.applied, "seed {seed}");
            fetch(&mut log, &mut checkpoint, end.plus(30));
            let whole = &history().text[..history().begins[end.0 as usize + 30]];
            let logs = lives.disk.folder("logs");
            assert!(read(&logs, CHAT_LOG) == whole, "seed {seed}, call {call}");
            if is_over {
                break;
            }
        }
    }
    assert!(torn > 20, "{torn}");
}

#[test]
fn an_earlier_chat_stays_as_far_as_the_clusters_log_is_the_same() {
    let whole = &history().text[..history().begins[60]];
    for (held, differs_at) in [
        // The beginning of the cluster's log, torn or not; all of it; and more.
        (whole[..history().begins[30]].to_vec(), None),
        (whole[..history().begins[30] + 3].to_vec(), None),
        (whole.to_vec(), None),
        (history().text[..history().begins[90]].to_vec(), None),
        // Another chat: from the beginning, and from slot 30 on.
        (b"0 1 0 old\n".to_vec(), Some(0)),
        ([&whole[..history().begins[30]], b"30 1 99 old\n31"].concat(), Some(30)),
    ] {
        let disk = SimDisk::new(Rng::with_seed(1));
        let logs = disk.folder("logs");
        logs.create(CHAT_LOG).unwrap().write_at(0, &held).unwrap();
        let inode = logs.look(CHAT_LOG).unwrap().unwrap().id;
        for _ in 0..5 {
            // A replica without a vote begins at slot 0 each time.
            let mut log = create(&disk, Durability::Sync);
            log.joined(false).unwrap();
            fetch(&mut log, &mut Checkpoint::default(), Slot(60));
            drop(log);
        }
        let names = logs.list().unwrap();
        match differs_at {
            None => {
                assert_eq!(names, [CHAT_LOG], "nothing was moved");
                assert_eq!(logs.look(CHAT_LOG).unwrap().unwrap().id, inode, "the same file");
                assert!(read(&logs, CHAT_LOG) == whole.to_vec().max(held));
            }
            Some(_) => {
                assert_eq!(names, [CHAT_LOG, "learner0.txt.1"], "one copy");
                assert!(read(&logs, "learner0.txt.1") == held && read(&logs, CHAT_LOG) == whole);
            }
        }
    }
}

#[test]
fn a_new_cluster_moves_an_earlier_chat_aside_at_once() {
    for power_cut in [false, true] {
        let mut disk = SimDisk::new(Rng::with_seed(1));
        let logs = disk.folder("logs");
        let old = logs.create(CHAT_LOG).unwrap();
        old.write_at(0, &history().text[..history().begins[30]]).unwrap();
        old.sync().unwrap();
        logs.sync_dir().unwrap();
        drop(old);
        let mut log = create(&disk, Durability::Sync);
        if !power_cut {
            log.joined(true).unwrap();
        }
        drop(log);
        // Its membership is durable before it learns of it, so the log may be opened next.
        disk.power_cut(Survival::Nothing);
        let (log, _) = open(&disk).unwrap();
        let logs = disk.folder("logs");
        assert_eq!(log.applied(), Slot::ZERO);
        assert_eq!(read(&logs, CHAT_LOG), b"");
        assert!(read(&logs, "learner0.txt.1") == history().text[..history().begins[30]]);
    }
}

#[test]
fn a_burst_without_a_checkpoint_waits_for_nothing() {
    let mut lives = Lives::begin(7);
    let (calls, syncs) = (lives.disk.calls(), lives.disk.syncs());
    let record = applied(Slot(0), &value(Slot(0)), Some(0));
    let log = lives.log.as_mut().unwrap();
    log.append(&mut vec![record]).and_then(|()| log.sync()).unwrap();
    log.settle().unwrap();
    assert_eq!(lives.disk.calls(), calls, "what need not be durable gathers");
    log.rest().unwrap();
    assert_eq!(lives.disk.calls() - calls, 2, "one write a file");
    assert_eq!(lives.disk.syncs(), syncs);
}

#[test]
fn what_has_gathered_is_read_back_and_written_before_a_checkpoint() {
    let mut lives = Lives::begin(7);
    let calls = lives.disk.calls();
    let log = lives.log.as_mut().unwrap();
    let mut chat = Chat::default();
    let mut append = |log: &mut DecidedLog<SimDisk>, slot: u64| {
        let (slot, value) = (Slot(slot), value(Slot(slot)));
        let client_seq = chat.apply(slot, (&value).into());
        log.append(&mut vec![applied(slot, &value, client_seq)]).unwrap();
        chat.clone()
    };
    append(log, 0);
    assert_eq!(lives.disk.calls(), calls);
    assert_eq!(
        log.decided(SlotRange::new(Slot(0), Slot(1)), 1_000).unwrap().to_vec(),
        [value(Slot(0))]
    );
    assert!(lives.disk.calls() > calls);
    let chat = append(log, 1);
    let (applied, written) = (Slot(2), lives.disk.written());
    (lives.applied, lives.chat) = (applied, chat.clone());
    lives.durable = Checkpoint { applied, chat, hash: hash_at(applied) };
    // The next one tells that it is durable.
    let mut twice = [made(&lives.durable), made(&lives.durable)].concat();
    log.append(&mut twice).unwrap();
    assert!(lives.disk.written() > written);
    lives.disk.power_cut(Survival::Nothing);
    lives.open().unwrap();
    assert_eq!(lives.applied, applied);
}

#[test]
fn as_long_as_nothing_rests_files_grow_by_whole_blocks_and_parts_of_them_do_not_grow_old() {
    const BLOCK: u64 = 64 << 10;
    let mut lives = Lives::begin(7);
    let lengths = |disk: &SimDisk| contents(disk).map(|bytes| bytes.len() as u64);
    let mut appended = 0;
    let mut append_upto = |lives: &mut Lives, upto: u64| {
        let log = lives.log.as_mut().unwrap();
        for slot in (appended..upto).map(Slot) {
            let value = value(slot);
            let client_seq = lives.chat.apply(slot, (&value).into());
            log.append(&mut vec![applied(slot, &value, client_seq)]).unwrap();
            log.settle().unwrap();
        }
        appended = upto;
        let [text, ..] = lengths(&lives.disk);
        (text, history().begins[upto as usize] as u64)
    };
    let (mut written, mut blocks) = (0, 0);
    for upto in 1..2_500 {
        let (text, whole) = append_upto(&mut lives, upto);
        assert_eq!(text, whole / BLOCK * BLOCK, "after {upto} slots");
        blocks += u64::from(text > written);
        written = text;
    }
    assert!(blocks > 2, "{blocks} of the chat log");
    let [_, journal, overflow] = lengths(&lives.disk);
    assert_eq!((journal, overflow % BLOCK), (2_499 * 40 / BLOCK * BLOCK, 0));
    // Behind what was written because there was time, blocks begin where they would have.
    lives.log.as_mut().unwrap().rest().unwrap();
    let whole = lengths(&lives.disk);
    assert_eq!((whole[0], whole[1]), (history().begins[2_499] as u64, 2_499 * 40));
    let (text, end) = append_upto(&mut lives, 4_000);
    assert_eq!(text, end / BLOCK * BLOCK);
    assert!(text > whole[0]);
    // Blocks were written since the log was asked last, so what is left is young. The next time it
    // is not.
    for (asked, written) in [text, end, end].into_iter().enumerate() {
        lives.log.as_mut().unwrap().rest_if_old().unwrap();
        assert_eq!(lengths(&lives.disk)[0], written, "asked {asked} times before");
    }
}

/// The files that a log consists of, but for its checkpoint.
fn files(disk: &SimDisk) -> [(SimDisk, &'static str); 3] {
    let (logs, data) = place(disk);
    [(logs, CHAT_LOG), (data.clone(), JOURNAL), (data, OVERFLOW)]
}

fn contents(disk: &SimDisk) -> [Vec<u8>; 3] {
    files(disk).map(|(folder, name)| read(&folder, name))
}

/// A log of this many slots with a checkpoint at its end, each client's lines this text.
fn checkpointed(durability: Durability, slots: u64, text: &str) -> Lives {
    let mut lives = Lives::begin_under(9, durability);
    let mut records = Vec::new();
    for slot in (0..slots).map(Slot) {
        let session = Session { client: ClientId(3), id: 3 };
        let command = Command { session, seq: slot.0, birth: Slot(0), line: text.into() };
        let value = Value::Command(command);
        let client_seq = lives.chat.apply(slot, (&value).into());
        records.push(applied(slot, &value, client_seq));
    }
    let checkpoint = Checkpoint { applied: Slot(slots), chat: lives.chat.clone(), hash: 0 };
    // The next one tells that it is durable.
    records.extend([(); 2].iter().flat_map(|()| made(&checkpoint)));
    lives.log.as_mut().unwrap().append(&mut records).unwrap();
    lives
}

#[test]
fn a_log_that_is_begun_anew_does_not_go_on_with_what_stood_in_its_files() {
    let mut lives = checkpointed(Durability::Sync, 20, "old");
    lives.log = None;
    lives.disk.power_cut(Survival::Everything);
    drop(create(&lives.disk, Durability::Sync));
    lives.disk.power_cut(Survival::Nothing);
    let (log, checkpoint) = open(&lives.disk).unwrap();
    assert_eq!((log.applied(), checkpoint), (Slot::ZERO, Checkpoint::default()));
    assert_eq!(read(&lives.disk.folder("logs"), CHAT_LOG), b"");
}

#[test]
fn what_an_earlier_life_left_to_the_page_cache_is_durable_once_a_log_is_open() {
    let mut lives = checkpointed(Durability::Os, 20, "line");
    lives.log = None;
    lives.disk.crash_process();
    drop(open(&lives.disk).unwrap());
    lives.disk.power_cut(Survival::Nothing);
    let (log, _) = open(&lives.disk).unwrap();
    assert_eq!(log.applied(), Slot(20));
}

#[test]
fn a_checkpoint_waits_for_the_disk_only_if_it_is_asked_to() {
    for (durability, waits) in [(Durability::Sync, true), (Durability::Os, false)] {
        let mut lives = checkpointed(durability, 5, "line");
        let syncs = lives.disk.syncs();
        let checkpoint = Checkpoint { applied: Slot(6), chat: lives.chat.clone(), hash: 0 };
        let record = applied(Slot(5), &Value::Noop, None);
        let log = lives.log.as_mut().unwrap();
        let mut records = [vec![record], made(&checkpoint), made(&checkpoint)].concat();
        log.append(&mut records).unwrap();
        assert_eq!(lives.disk.syncs() > syncs, waits, "{durability}");
    }
}

#[test]
fn what_stands_behind_the_last_whole_slot_is_cut_off_every_file() {
    let mut lives = Lives::begin(10);
    for _ in 0..40 {
        assert!(lives.commit());
    }
    lives.disk.crash_process();
    let whole = contents(&lives.disk);
    assert_eq!(whole[1].len() as u64, 40 * lives.applied.0);
    for ((folder, name), bytes) in files(&lives.disk).iter().zip(&whole) {
        // For the journal it looks like one slot more.
        let tail = &bytes[bytes.len() - 40..];
        folder.open(name).unwrap().unwrap().write_at(bytes.len() as u64, tail).unwrap();
    }
    let applied = lives.applied;
    lives.open().unwrap();
    assert_eq!(lives.applied, applied);
    assert!(contents(&lives.disk) == whole);
}

#[test]
fn the_files_of_another_log_that_is_whole_in_itself_are_refused() {
    let [ours, theirs] = ["a line", "b line"].map(|text| checkpointed(Durability::Sync, 20, text));
    let (mut disk, from) = (ours.disk, theirs.disk);
    disk.crash_process();
    for ((folder, name), bytes) in files(&disk).iter().zip(contents(&from)) {
        let file = folder.open(name).unwrap().unwrap();
        assert_eq!(file.length().unwrap(), bytes.len() as u64);
        file.write_at(0, &bytes).unwrap();
    }
    let said = open(&disk).unwrap_err().to_string();
    assert!(said.contains("it does not end as its checkpoint says"), "{said}");
}

#[test]
fn a_page_takes_what_fits_whatever_was_set_aside_before_it() {
    let mut lives = Lives::begin(11);
    let session = Session { client: ClientId(1), id: 1 };
    let command = Command { session, seq: 0, birth: Slot(0), line: "x".repeat(2_000).into() };
    let value = Value::Command(command);
    let mut records = vec![applied(Slot(0), &value, Some(0)), applied(Slot(1), &value, None)];
    records.extend((2..40).map(|slot| applied(Slot(slot), &Value::Noop, None)));
    let log = lives.log.as_mut().unwrap();
    log.append(&mut records).unwrap();
    // As many as it reads entries for, each of which takes less as text.
    assert_eq!(log.decided(SlotRange::new(Slot(2), Slot(40)), 300).unwrap().len(), 300 / 37 + 1);
}

#[test]
fn a_page_reads_no_more_overflow_than_fit_into_it() {
    let mut lives = Lives::begin(11);
    let session = Session { client: ClientId(1), id: 1 };
    let command = Command { session, seq: 0, birth: Slot(0), line: "x".repeat(2_000).into() };
    let value = Value::Command(command);
    let mut records = (0..20).map(|slot| applied(Slot(slot), &value, None)).collect();
    let log = lives.log.as_mut().unwrap();
    log.append(&mut records).unwrap();
    log.rest().unwrap();
    let reads = lives.disk.reads();
    assert_eq!(log.decided(SlotRange::new(Slot(3), Slot(20)), 5_000).unwrap().len(), 2);
    // Journal, chat log, and two of the commands that it does not show.
    assert_eq!(lives.disk.reads() - reads, 2 + 2);
}

fn applied(slot: Slot, value: &Value, client_seq: Option<u64>) -> Record {
    Record::Applied { first: slot, values: value.into(), client_seqs: vec![client_seq] }
}

/// The parts of a checkpoint. The first has no session: it does not do without the others.
fn parts(checkpoint: &Checkpoint) -> Vec<Part> {
    let mut parts: Vec<Part> = checkpoint.parts(1).collect();
    let chat = Default::default();
    parts.insert(0, Part { chat, is_last: false, ..parts[0].clone() });
    parts[1].is_first = false;
    parts
}

fn made(checkpoint: &Checkpoint) -> Vec<Record> {
    parts(checkpoint).into_iter().map(Record::Checkpoint).collect()
}
