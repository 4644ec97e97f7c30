//! The acceptor's log on a disk that was damaged.
//!
//! The input is a log of some tens of bursts in a few small segments, and a list of damages.
//! A damage flips bits; zeroes, swaps or overwrites sectors; cuts, extends, renames, removes or
//! replaces a file; or changes the records of the last frame and gives it a right check.
//!
//! **What must hold.** Opening never panics. It may refuse with an error that names a file of
//! the log. Otherwise it yields the state after some burst, never a mixture, and destroys no
//! whole frame in its place. Opening again yields the same state, and a burst written on top
//! is kept. (If a whole tail is gone, nobody can tell that it ever was:
//! `durable::segment_log` says so. So any burst may be the last.)
//!
//! Opening believes a frame with a forged check; such a frame must only cause no panic. It
//! also believes that the spare holds an earlier segment. If a damage puts the newest segment
//! into the spare, the log opens, and later refuses to open after it has gone on.

use crate::edit;
use crate::run::{Property, check};
use durable::disk::{Disk, DiskFile};
use durable::error::OpenError;
use durable::sim_disk::SimDisk;
use fastrand::Rng;
use multipaxos::message::{Request, Run};
use multipaxos::paxos::acceptor::{Record, State};
use multipaxos::storage::acceptor_log::{AcceptorLog, Options};
use multipaxos::types::{Ballot, Slot, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use seeds::stream;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use xxhash_rust::xxh3::xxh3_64;

const DIRECTORY: u64 = 0x1d;
const OPTIONS: Options = Options { segment_bytes: 8 << 10, waits: true };
const SPARE: &str = "acceptor-spare";
const SECTOR: usize = 512;
const FRAME_HEADER: usize = 48;

/// The damage of a file. `dice` decides where.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Edit(u64),
    ZeroSectors(u64),
    SwapSectors(u64),
    /// Copies a sector of another file, or from another place of this one.
    CopySector(u64),
    Cut(u64),
    Extend(u64),
    Replace(u64),
    Rename(u64),
    Remove(u64),
}

pub(crate) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let one = (0..24u8, any::<u64>()).prop_map(|(kind, dice)| match kind {
        0..6 => Damage::Edit(dice),
        6..10 => Damage::ZeroSectors(dice),
        10..13 => Damage::SwapSectors(dice),
        13..16 => Damage::CopySector(dice),
        16..19 => Damage::Cut(dice),
        19 => Damage::Extend(dice),
        20 => Damage::Replace(dice),
        21 => Damage::Rename(dice),
        _ => Damage::Remove(dice),
    });
    vec(one, 1..4)
}

pub(crate) fn read(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap().unwrap();
    let mut bytes = vec![0; file.length().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

pub(crate) fn write(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let file = disk.create(name).unwrap();
    file.write_at(0, bytes).unwrap();
}

/// A range of whole sectors that begins within the file.
fn sectors(rng: &mut Rng, length: usize) -> std::ops::Range<usize> {
    let from = rng.usize(..length.max(1)) / SECTOR * SECTOR;
    from.min(length)..(from + rng.usize(1..4) * SECTOR).min(length)
}

/// Changes a file's bytes. It also gets the bytes of another file.
type Change<'a> = &'a dyn Fn(&mut Rng, &mut Vec<u8>, &[u8]);

/// Damages a file. `new_name` makes the wrong name of a file that is renamed.
pub(crate) fn damage(disk: &SimDisk, damage: Damage, new_name: fn(&mut Rng) -> String) {
    let mut names = disk.list().unwrap();
    // The lock file is empty.
    names.retain(|name| name != "lock");
    if names.is_empty() {
        return;
    }
    let change = |dice: u64, what: Change<'_>| {
        let mut rng = stream(dice, "dice");
        let (name, other) = (&names[rng.usize(..names.len())], &names[rng.usize(..names.len())]);
        let (mut bytes, other) = (read(disk, name), read(disk, other));
        what(&mut rng, &mut bytes, &other);
        write(disk, name, &bytes);
    };
    match damage {
        Damage::Edit(dice) => change(dice, &edit::edit),
        Damage::ZeroSectors(dice) => change(dice, &|rng, bytes, _| {
            let range = sectors(rng, bytes.len());
            bytes[range].fill(0);
        }),
        Damage::SwapSectors(dice) => change(dice, &|rng, bytes, _| {
            let (a, b) = (sectors(rng, bytes.len()), sectors(rng, bytes.len()));
            for (a, b) in a.zip(b) {
                bytes.swap(a, b);
            }
        }),
        Damage::CopySector(dice) => change(dice, &|rng, bytes, other| {
            let (to, from) = (sectors(rng, bytes.len()), sectors(rng, other.len()));
            for (to, from) in to.zip(from) {
                bytes[to] = other[from];
            }
        }),
        Damage::Cut(dice) => change(dice, &|rng, bytes, _| {
            bytes.truncate(rng.usize(..=bytes.len()));
        }),
        Damage::Extend(dice) => change(dice, &|rng, bytes, other| {
            let more = if rng.bool() { other.to_vec() } else { edit::bytes(rng, 3_000) };
            bytes.extend_from_slice(&more);
        }),
        Damage::Replace(dice) => change(dice, &|rng, bytes, _| *bytes = edit::bytes(rng, 20_000)),
        Damage::Rename(dice) => {
            let mut rng = stream(dice, "dice");
            let from = &names[rng.usize(..names.len())];
            let to = match rng.bool() {
                true => names[rng.usize(..names.len())].clone(),
                false => new_name(&mut rng),
            };
            if *from != to {
                disk.rename(from, &to).unwrap();
            }
        }
        Damage::Remove(dice) => {
            let mut rng = stream(dice, "dice");
            disk.remove(&names[rng.usize(..names.len())]).unwrap();
        }
    }
    disk.sync_dir().unwrap();
}

/// A log as it was left, and every state that it ever had.
struct History {
    disk: SimDisk,
    states: Vec<State>,
}

fn value(slot: u64, ballot: u64) -> Value {
    match (slot * 37 + ballot * 101) % 300 {
        0..20 => Value::Noop,
        length => {
            let line = format!("{slot}.{ballot} {}", "x".repeat(length as usize));
            Request::new(7, 1, slot, &line).commands.get(0).to_value()
        }
    }
}

fn burst(rng: &mut Rng, state: &State) -> Vec<Record> {
    let mut ballot = state.promised().unwrap_or_default();
    let mut records = Vec::new();
    for _ in 0..rng.u32(1..=3) {
        match rng.u32(..12) {
            0 => {
                ballot = Ballot(ballot.0 + rng.u64(1..4));
                records.push(Record::Promise(ballot));
            }
            1 | 2 => records.push(Record::Trim(state.trimmed().plus(rng.u64(0..12)))),
            _ => {
                let first = state.trimmed().0 + rng.u64(..30);
                let values: Vec<Value> =
                    (first..first + rng.u64(1..4)).map(|slot| value(slot, ballot.0)).collect();
                let (first, values) = (Slot(first), values.into());
                records.push(Record::Accept(Run { ballot, first, values }));
            }
        }
    }
    records
}

fn histories() -> &'static [History] {
    static HISTORIES: OnceLock<Vec<History>> = OnceLock::new();
    HISTORIES.get_or_init(|| {
        let one = |seed: u64| {
            let mut rng = stream(seed, "history");
            let disk = SimDisk::new(rng.fork());
            let mut log = AcceptorLog::create(disk.clone(), DIRECTORY, OPTIONS).unwrap();
            let mut states = vec![State::default()];
            for _ in 0..rng.usize(..90) {
                let mut state = states[states.len() - 1].clone();
                let records = burst(&mut rng, &state);
                records.iter().for_each(|record| state.apply(record));
                log.append_burst(&records).and_then(|()| log.sync()).unwrap();
                states.push(state);
            }
            History { disk, states }
        };
        (0..16).map(one).collect()
    })
}

fn open(disk: &SimDisk) -> Result<(AcceptorLog<SimDisk>, State), OpenError> {
    AcceptorLog::open(disk.clone(), DIRECTORY, OPTIONS)
}

fn new_name(rng: &mut Rng) -> String {
    match rng.u8(..4) {
        0 => SPARE.to_owned(),
        1 => "acceptor-12".to_owned(),
        2 => format!("acceptor-{:016}", rng.u64(..10_000_000_000_000_000)),
        _ => format!("acceptor-{:016}", rng.u64(..30)),
    }
}

fn killed(disk: &SimDisk, seed: u64) -> SimDisk {
    let mut disk = disk.fork(stream(seed, "killed"));
    disk.crash_process();
    disk
}

/// An opened log goes on: after a restart it has the same state, and it keeps a burst.
fn goes_on(mut disk: SimDisk, mut log: AcceptorLog<SimDisk>, mut state: State) {
    let has_spare = disk.list().unwrap().iter().any(|name| name == SPARE);
    let ballot = Ballot(state.promised().unwrap_or_default().0.saturating_add(1));
    let record = Record::Promise(ballot);
    state.apply(&record);
    log.append_burst(&[record]).and_then(|()| log.sync()).unwrap();
    drop(log);
    disk.crash_process();
    match open(&disk) {
        Ok((_, again)) => assert!(again == state, "another state after a restart"),
        Err(error) => assert!(has_spare, "a log that was opened opens again: {error}"),
    }
}

/// A frame: its file, its place in the file, and its check.
type Frame = (String, usize, u64);

/// Every whole frame in a place where it may count.
fn frames(disk: &SimDisk) -> BTreeSet<Frame> {
    let mut found = BTreeSet::new();
    for name in disk.list().unwrap() {
        let number = name.strip_prefix("acceptor-").and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number.filter(|_| name.len() == 25) else { continue };
        let bytes = read(disk, &name);
        for at in (0..bytes.len()).step_by(SECTOR) {
            let word = |from: usize| {
                let word = bytes.get(at + from..at + from + 8)?;
                Some(u64::from_le_bytes(*word.first_chunk()?))
            };
            let Some(length) = word(40) else { continue };
            let end = at + FRAME_HEADER + length as u32 as usize;
            let Some(checked) = bytes.get(at + 8..end) else { continue };
            let magic = &bytes[at + 44..at + 48];
            let counts = (magic == b"head" || magic == b"brst")
                && (word(16), word(24)) == (Some(DIRECTORY), Some(number))
                && word(0) == Some(xxh3_64(checked));
            if counts {
                found.insert((name.clone(), at, word(0).unwrap_or_default()));
            }
        }
    }
    found
}

#[test]
fn a_damaged_log_yields_what_it_remembered_once_or_refuses() {
    let name = "acceptor_log::a_damaged_log_yields_what_it_remembered_once_or_refuses";
    let histories = histories();
    let (mut opened, mut refused) = (0, 0);
    let cases = (0..histories.len(), damages());
    let property = Property { name, cases: 4_000, cost: 50 };
    check(property, cases, |(at, damages)| {
        let history = &histories[at];
        let disk = killed(&history.disk, 1);
        damages.iter().for_each(|one| damage(&disk, *one, new_name));
        let before = frames(&disk);
        match open(&disk) {
            Ok((log, state)) => {
                opened += 1;
                let after = frames(&disk);
                // Frames below the oldest segment that counts were to be dropped.
                let counts = |frame: &&Frame| after.first().is_some_and(|oldest| *frame >= oldest);
                let lost = before.difference(&after).find(counts);
                assert_eq!(lost, None, "opening destroys a whole frame");
                assert!(history.states.contains(&state), "the log never had this state: {state:?}");
                goes_on(disk, log, state);
            }
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                assert!(said.contains("acceptor-"), "the error names no file: {said}");
            }
        }
        1
    });
    if property.is_full() {
        assert!(opened > 100 && refused > 100, "{opened} opened, {refused} refused");
    }
}

/// The file of the newest segment, and the place of its last frame.
fn last_frame(disk: &SimDisk) -> (String, usize) {
    let mut names = disk.list().unwrap();
    names.retain(|name| name != SPARE);
    let name = names.pop().unwrap();
    let bytes = read(disk, &name);
    let (mut at, mut last) = (0, 0);
    while bytes.get(at + 44..at + 48).is_some_and(|magic| magic == b"head" || magic == b"brst") {
        let length = u32::from_le_bytes(*bytes[at + 40..].first_chunk().unwrap()) as usize;
        last = at;
        at += (FRAME_HEADER + length).next_multiple_of(SECTOR);
    }
    (name, last)
}

/// Makes a frame as an attacker could: any records, with a right check.
fn forge(rng: &mut Rng, disk: &SimDisk) {
    let (name, at) = last_frame(disk);
    let mut bytes = read(disk, &name);
    let length = u32::from_le_bytes(*bytes[at + 40..].first_chunk().unwrap()) as usize;
    let mut payload = bytes[at + FRAME_HEADER..at + FRAME_HEADER + length].to_vec();
    let other = payload.clone();
    edit::edits(rng, &mut payload, &other);
    if rng.u8(..8) == 0 {
        payload = edit::bytes(rng, 60);
    }
    bytes.truncate(at + FRAME_HEADER);
    bytes[at + 40..at + 44].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    if rng.u8(..8) == 0 {
        edit::edit(rng, &mut bytes, &[]);
        bytes.resize(at + FRAME_HEADER, 0);
    }
    bytes.extend_from_slice(&payload);
    let check = xxh3_64(&bytes[at + 8..]);
    bytes[at..at + 8].copy_from_slice(&check.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(SECTOR).max(8 << 10), 0);
    write(disk, &name, &bytes);
}

#[test]
fn a_frame_with_a_forged_check_is_understood_or_refused() {
    let name = "acceptor_log::a_frame_with_a_forged_check_is_understood_or_refused";
    let histories = histories();
    let mut opened = 0;
    let cases = (0..histories.len(), any::<u64>());
    let property = Property { name, cases: 2_000, cost: 50 };
    check(property, cases, |(at, dice)| {
        let disk = killed(&histories[at].disk, 1);
        forge(&mut stream(dice, "dice"), &disk);
        match open(&disk) {
            Ok((log, state)) => {
                opened += 1;
                goes_on(disk, log, state);
            }
            Err(error) => assert!(error.to_string().contains("acceptor-"), "{error}"),
        }
        1
    });
    if property.is_full() {
        assert!(opened > 50, "only {opened} logs opened");
    }
}
