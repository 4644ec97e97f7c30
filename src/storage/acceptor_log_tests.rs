//! The acceptor's log on a disk that loses its power at each of its calls.

#![cfg(test)]

use super::acceptor_log::{AcceptorLog, Options, is_log_file};
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use crate::message::{Request, Run};
use crate::paxos::ACCEPT_SLOTS_MAX;
use crate::paxos::acceptor::{Record, State};
use crate::paxos::standing::Memory;
use crate::types::{Ballot, BootId, ReplicaId, Slot, Value};
use durable::segment_log::{HEADER_BYTES, SECTOR_BYTES};
use durable::sim_disk::{Fault, SimDisk, Survival};
use fastrand::Rng;
use seeds::stream;

const DIRECTORY: u64 = 0x1d;
const SMALL: Options = Options { segment_bytes: 8 << 10, waits: true };

/// The next records of an acceptor, drawn at random. A slot has the same value at a ballot
/// each time.
fn burst(rng: &mut Rng, state: &State) -> Vec<Record> {
    let mut ballot = state.promised().unwrap_or_default();
    let mut records = Vec::new();
    for _ in 0..rng.u32(1..=3) {
        match rng.u32(..20) {
            0 => {
                ballot = Ballot(ballot.0 + rng.u64(1..4));
                records.push(Record::Promise(ballot));
            }
            1..=3 => records.push(Record::Trim(state.trimmed().plus(rng.u64(0..12)))),
            4 => {
                ballot = Ballot(ballot.0 + 1);
                records.push(accept(rng, ballot, state.trimmed()));
            }
            _ => records.push(accept(rng, ballot, state.trimmed())),
        }
    }
    records
}

/// Acceptances of a few slots just above `trimmed`.
fn accept(rng: &mut Rng, ballot: Ballot, trimmed: Slot) -> Record {
    let first = trimmed.plus(rng.u64(..30));
    let values: Vec<Value> =
        (0..rng.u64(1..4)).map(|step| value(first.plus(step), ballot)).collect();
    Record::Accept(Run { ballot, first, values: values.into() })
}

fn value(slot: Slot, ballot: Ballot) -> Value {
    let length = (slot.0 * 37 + ballot.0 * 101) % 300;
    if length < 20 {
        return Value::Noop;
    }
    let line = format!("{slot}.{ballot} {}", "x".repeat(length as usize));
    command(slot.0, &line)
}

fn command(seq: u64, line: &str) -> Value {
    Request::new(7, 1, seq, line).commands.get(0).to_value()
}

fn apply(state: &mut State, records: &[Record]) {
    records.iter().for_each(|record| state.apply(record));
}

/// One life after another on one disk, and the state that must survive.
struct Lives {
    disk: SimDisk,
    log: Option<AcceptorLog<SimDisk>>,
    rng: Rng,
    /// Everything that the acceptor may have acknowledged.
    acknowledged: State,
    /// The burst whose sync has not returned.
    in_flight: Vec<Record>,
    /// For how many bursts the acceptor still accepts nothing, after a promise to a proposer
    /// that sends no accepts.
    quiet: u32,
}

impl Lives {
    fn begin(seed: u64, options: Options) -> Lives {
        let disk = SimDisk::new(stream(seed, "disk"));
        let log = AcceptorLog::create(disk.clone(), DIRECTORY, options).unwrap();
        Lives {
            disk,
            log: Some(log),
            rng: stream(seed, "lives"),
            acknowledged: State::default(),
            in_flight: Vec::new(),
            quiet: 0,
        }
    }

    fn next_burst(&mut self) -> Vec<Record> {
        let state = &self.acknowledged;
        if self.quiet > 0 {
            self.quiet -= 1;
            return vec![Record::Trim(state.trimmed().plus(self.rng.u64(..3)))];
        }
        if self.rng.u32(..40) == 0 {
            self.quiet = self.rng.u32(..80);
            return vec![Record::Promise(Ballot(state.promised().unwrap_or_default().0 + 1))];
        }
        burst(&mut self.rng, state)
    }

    /// Commits one burst. False if the disk failed, which ends the process.
    fn commit(&mut self) -> bool {
        let burst = self.next_burst();
        self.commit_burst(burst)
    }

    fn commit_burst(&mut self, burst: Vec<Record>) -> bool {
        self.in_flight = burst;
        let log = self.log.as_mut().unwrap();
        if log.append_burst(&self.in_flight).and_then(|()| log.sync()).is_err() {
            assert!(
                log.append_burst(&[Record::Trim(Slot(0))]).is_err(),
                "a failed log keeps failing"
            );
            assert!(log.sync().is_err(), "a failed log keeps failing");
            self.log = None;
            return false;
        }
        apply(&mut self.acknowledged, &self.in_flight);
        self.in_flight.clear();
        true
    }

    /// Opens the log again. Requires that its state is everything acknowledged, with or
    /// without the burst in flight, and nothing else.
    fn open(&mut self, options: Options) -> Result<(), String> {
        let mut opened = AcceptorLog::open(self.disk.clone(), DIRECTORY, options);
        while let Err(OpenError::Io(_)) = opened {
            // A planned fault has struck the opening. The process is started again.
            self.disk.crash_process();
            opened = AcceptorLog::open(self.disk.clone(), DIRECTORY, options);
        }
        let (log, state) = opened.map_err(|error| format!("does not open: {error}"))?;
        let mut with = self.acknowledged.clone();
        apply(&mut with, &self.in_flight);
        if state != self.acknowledged && state != with {
            return Err(differs(&state, &self.acknowledged));
        }
        self.in_flight.clear();
        self.acknowledged = state;
        self.log = Some(log);
        Ok(())
    }

    /// The same lives on a copy of the disk.
    fn fork(&mut self) -> Lives {
        Lives {
            disk: self.disk.fork(self.rng.fork()),
            log: None,
            rng: self.rng.fork(),
            acknowledged: self.acknowledged.clone(),
            in_flight: self.in_flight.clone(),
            quiet: self.quiet,
        }
    }
}

fn differs(found: &State, expected: &State) -> String {
    let brief = |state: &State| {
        format!("promise {:?}, trim {}, {} slots", state.promised(), state.trimmed(), state.len())
    };
    format!("remembers {}, acknowledged was {}", brief(found), brief(expected))
}

/// Cuts the power at call `call`, at byte `tear`. Then opens what several kinds of survival
/// leave, goes on with it, and cuts the power again.
fn survives(seed: u64, commits: usize, call: u64, tear: usize) -> Result<bool, String> {
    let mut lives = Lives::begin(seed, SMALL);
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
    for survival in [Nothing, Everything, Random, Random] {
        let mut fork = lives.fork();
        fork.disk.power_cut(survival);
        fork.open(SMALL)?;
        for _ in 0..fork.rng.u32(..4) {
            assert!(fork.commit());
        }
        fork.disk.power_cut(Random);
        fork.open(SMALL).map_err(|error| format!("the second time: {error}"))?;
    }
    Ok(true)
}

#[test]
fn a_power_cut_at_every_call_of_a_thousand_bursts_loses_nothing_acknowledged() {
    let (seed, commits) = (4, 1_000);
    let mut tears = stream(seed, "tears");
    let first = Lives::begin(seed, SMALL).disk.calls();
    let mut calls = 0;
    for call in first.. {
        let tear = tears.usize(..1_500);
        match survives(seed, commits, call, tear) {
            Ok(true) => calls += 1,
            Ok(false) => break,
            Err(error) => panic!("power cut at call {call}, byte {tear} (seed {seed}): {error}"),
        }
    }
    assert!(calls > 2 * commits, "{calls} calls");
}

#[test]
fn a_write_torn_at_every_byte_loses_nothing_acknowledged() {
    for seed in 0..4 {
        let first = Lives::begin(seed, SMALL).disk.calls();
        // Until a segment is full, every second call is a write. These numbers meet both
        // kinds of call.
        for call in (first + 10..first + 50).step_by(7) {
            for tear in 0..1_600 {
                let survived = survives(seed, 60, call, tear);
                assert!(survived.is_ok(), "seed {seed}, call {call}, byte {tear}: {survived:?}");
            }
        }
    }
}

#[test]
fn the_power_may_go_while_the_log_is_being_opened() {
    for seed in 0..40 {
        let mut lives = Lives::begin(seed, SMALL);
        let cut = lives.disk.calls() + lives.rng.u64(..120);
        lives.disk.cut_at(cut, lives.rng.clone().usize(..900));
        while lives.commit() {}
        lives.disk.power_cut(Survival::Random);
        for step in 0.. {
            let mut fork = lives.fork();
            fork.disk.cut_at(fork.disk.calls() + step, fork.rng.usize(..9_000));
            let opened = AcceptorLog::open(fork.disk.clone(), DIRECTORY, SMALL).is_ok();
            let dark = fork.disk.is_dark();
            assert!(opened != dark, "seed {seed}, step {step}");
            fork.disk.power_cut(Survival::Random);
            fork.open(SMALL).unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
            if opened {
                break;
            }
        }
    }
}

/// Ten lives on one disk, which end in different ways. An error says what was lost.
fn ten_lives(seed: u64) -> Result<(), String> {
    let mut lives = Lives::begin(seed, SMALL);
    for life in 0..10 {
        let ending = lives.rng.u32(..4);
        let soon = lives.disk.calls() + lives.rng.u64(..60);
        match ending {
            0 => lives.disk.cut_at(soon, lives.rng.usize(..1_500)),
            1 | 2 => lives.disk.fail_at(soon, Fault::Device),
            _ => {}
        }
        for _ in 0..lives.rng.u32(1..40) {
            if !lives.commit() {
                break;
            }
        }
        if ending == 3 && lives.log.is_some() {
            // The process is killed between the write and its sync.
            lives.in_flight = lives.next_burst();
            let log = lives.log.as_mut().unwrap();
            let _ = log.append_burst(&lives.in_flight);
        }
        lives.log = None;
        if ending == 0 || lives.rng.bool() {
            lives.disk.power_cut(Survival::Random);
        } else {
            lives.disk.crash_process();
        }
        lives.open(SMALL).map_err(|error| format!("seed {seed}, life {life}: {error}"))?;
        if lives.rng.u32(..4) == 0 {
            // An acceptor acknowledges its state as soon as the log is open, so all of it
            // must be durable.
            lives.log = None;
            lives.disk.power_cut(Survival::Random);
            let again = lives.open(SMALL);
            again.map_err(|error| format!("seed {seed}, life {life}, at once: {error}"))?;
        }
    }
    Ok(())
}

#[test]
fn killed_cut_off_and_failed_processes_lose_nothing_acknowledged() {
    for seed in 0..400 {
        ten_lives(seed).unwrap();
    }
}

/// Flips bits all over the disk of a log that has run for a while. Returns how many were
/// refused; an error says which bit went unnoticed.
fn flipped_bits(seed: u64) -> Result<u32, String> {
    let mut lives = Lives::begin(seed, SMALL);
    let mut before = State::default();
    for _ in 0..60 {
        before.clone_from(&lives.acknowledged);
        assert!(lives.commit());
    }
    let mut refused = 0;
    for _ in 0..60 {
        let mut fork = lives.fork();
        fork.disk.power_cut(Survival::Everything);
        let files = fork.disk.durable_files();
        let (name, length) = &files[fork.rng.usize(..files.len())];
        let (byte, bit) = (fork.rng.usize(..*length), fork.rng.u32(..8));
        fork.disk.flip_bit(name, byte, bit);
        match AcceptorLog::open(fork.disk.clone(), DIRECTORY, SMALL) {
            Ok((_, state)) if state == lives.acknowledged || state == before => {}
            Ok((_, state)) => {
                let said = differs(&state, &lives.acknowledged);
                return Err(format!("seed {seed}, {name} byte {byte} bit {bit}: {said}"));
            }
            Err(OpenError::Io(error)) => return Err(format!("seed {seed}: {error}")),
            Err(OpenError::Damaged { .. } | OpenError::Missing { .. }) => refused += 1,
        }
    }
    Ok(refused)
}

#[test]
fn a_flipped_bit_is_repaired_or_refused() {
    let refused: u32 = (0..60).map(|seed| flipped_bits(seed).unwrap()).sum();
    assert!(refused > 200, "only {refused} refusals: most bits missed the log");
}

#[test]
fn a_killed_process_loses_nothing_even_without_waiting_for_the_disk() {
    let lazy = Options { waits: false, ..SMALL };
    let mut lives = Lives::begin(3, lazy);
    let syncs = lives.disk.syncs();
    for _ in 0..300 {
        assert!(lives.commit());
    }
    assert_eq!(lives.disk.syncs(), syncs, "no call waits for the disk");
    lives.disk.crash_process();
    let before = lives.acknowledged.clone();
    // The next life waits for the disk: once its log is open, the whole state is durable.
    lives.open(SMALL).unwrap();
    assert_eq!(lives.acknowledged, before);
    lives.disk.power_cut(Survival::Nothing);
    lives.open(SMALL).unwrap();
    assert_eq!(lives.acknowledged, before);
}

#[test]
fn a_power_cut_after_the_log_was_closed_loses_nothing_even_without_waiting_for_the_disk() {
    let lazy = Options { waits: false, ..SMALL };
    let mut lost = 0;
    for seed in 0..40 {
        let mut lives = Lives::begin(seed, lazy);
        for life in 0..3 {
            for _ in 0..lives.rng.u32(..100) {
                assert!(lives.commit());
            }
            let before = lives.acknowledged.clone();
            if life < 2 {
                // The process is killed. Its writes are in the page cache, and the next life
                // must sync them.
                lives.disk.crash_process();
                lives.open(lazy).unwrap();
                assert_eq!(lives.acknowledged, before);
            }
        }
        let mut fork = lives.fork();
        fork.disk.power_cut(Survival::Nothing);
        lost += u32::from(fork.open(lazy).is_err());
        lives.log.take().unwrap().close().unwrap();
        lives.disk.power_cut(Survival::Nothing);
        lives.open(lazy).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(lost > 20, "only {lost} of 40 lose something without a clean end");
}

#[test]
fn a_log_whose_last_sync_fails_is_not_closed_well() {
    let lazy = Options { waits: false, ..SMALL };
    let mut lives = Lives::begin(2, lazy);
    while lives.log.as_ref().unwrap().segments() < 3 {
        assert!(lives.commit());
    }
    for call in 0..4 {
        let mut fork = lives.fork();
        fork.disk.crash_process();
        fork.open(lazy).unwrap();
        fork.disk.fail_at(fork.disk.calls() + call, Fault::Device);
        // The calls sync three segments, and then the names.
        assert!(fork.log.take().unwrap().close().is_err(), "call {call}");
    }
}

#[test]
fn one_burst_is_one_write_and_one_sync() {
    let mut lives = Lives::begin(5, Options::default());
    let (calls, syncs) = (lives.disk.calls(), lives.disk.syncs());
    for _ in 0..100 {
        assert!(lives.commit());
    }
    assert_eq!(lives.disk.calls() - calls, 200);
    assert_eq!(lives.disk.syncs() - syncs, 100);
}

#[test]
fn a_log_that_waits_for_nothing_syncs_nothing_while_it_is_written() {
    let mut lives = Lives::begin(5, Options { waits: false, ..SMALL });
    while lives.log.as_ref().unwrap().segments() < 2 {
        assert!(lives.commit());
    }
    assert_eq!(lives.disk.syncs(), 0);
}

#[test]
fn the_disk_stays_bounded_while_the_trim_mark_advances() {
    let mut lives = Lives::begin(6, SMALL);
    let mut most = 0;
    for _ in 0..5_000 {
        assert!(lives.commit());
        most = most.max(lives.disk.used());
    }
    assert!(lives.acknowledged.trimmed() > Slot(1_000));
    let segments = most / SMALL.segment_bytes;
    assert!(segments <= 12, "{segments} segments");
    for (name, length) in lives.disk.durable_files() {
        assert_eq!(length as u64, SMALL.segment_bytes, "{name} has grown");
    }
    lives.disk.power_cut(Survival::Random);
    lives.open(SMALL).unwrap();
}

#[test]
fn a_segment_that_is_not_needed_any_more_is_the_next_ones_file() {
    let mut lives = Lives::begin(6, SMALL);
    let newest = |lives: &Lives| {
        let names = lives.disk.list().unwrap();
        let newest = names.iter().filter_map(|name| name.strip_prefix("acceptor-")?.parse().ok());
        newest.max().unwrap_or(0u64)
    };
    let mut measured = |commits: u64| {
        let (calls, segments, at) =
            (lives.disk.calls(), lives.log.as_ref().unwrap().segments() as u64, newest(&lives));
        (0..commits).for_each(|_| assert!(lives.commit()));
        let begun = newest(&lives) - at;
        let dropped = begun + segments - lives.log.as_ref().unwrap().segments() as u64;
        // Each burst takes a write and a sync. Each new segment takes four calls: the spare
        // is renamed, its head is written, the file is synced, and so is the name. Each
        // dropped segment takes one: it becomes the spare, or is removed.
        (lives.disk.calls() - calls - 2 * commits - 4 * begun - dropped, begun)
    };
    measured(300);
    let (more, begun) = measured(1_000);
    assert!(begun > 20 && more < begun / 2, "{more} of {begun} segments are new files");
}

#[test]
fn opening_a_log_that_waits_for_nothing_syncs_its_end_and_the_names_only() {
    let mut syncs = Vec::new();
    for segments in [1, 3] {
        let mut lives = Lives::begin(5, Options { waits: false, ..SMALL });
        while lives.log.as_ref().unwrap().segments() < segments {
            assert!(lives.commit());
        }
        lives.disk.crash_process();
        let before = lives.disk.syncs();
        lives.open(Options { waits: false, ..SMALL }).unwrap();
        syncs.push(lives.disk.syncs() - before);
    }
    assert_eq!(syncs, [2, 2]);
}

#[test]
fn a_record_before_the_newest_segment_that_fails_its_check_is_named() {
    let mut lives = Lives::begin(5, SMALL);
    while lives.log.as_ref().unwrap().segments() < 3 {
        assert!(lives.commit());
    }
    lives.disk.crash_process();
    let name = lives.disk.list().unwrap().remove(1);
    assert_eq!(name, "acceptor-0000000000000001");
    let file = lives.disk.open(&name).unwrap().unwrap();
    let mut bytes = vec![0; file.length().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    // The flipped bit is in its last record. The rest of the segment is whole, but the next
    // segment does not follow it.
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    file.write_at(end as u64, &[bytes[end] ^ 1]).unwrap();
    let said = AcceptorLog::open(lives.disk.clone(), DIRECTORY, SMALL).unwrap_err().to_string();
    assert!(said.starts_with(&format!("{name} is damaged at byte ")), "{said}");
    assert!(said.contains("a record in the middle of the log fails its check"), "{said}");
}

#[test]
fn the_disk_stays_bounded_while_ballots_rise_and_nothing_is_trimmed() {
    let disk = SimDisk::new(Rng::with_seed(1));
    let mut log = AcceptorLog::create(disk.clone(), DIRECTORY, SMALL).unwrap();
    let mut state = State::default();
    for ballot in (0..4_000).map(Ballot) {
        let values: Vec<Value> = (0..4).map(|slot| value(Slot(slot), ballot)).collect();
        let values = values.into();
        let record = Record::Accept(Run { ballot, first: Slot(ballot.0 % 9), values });
        state.apply(&record);
        log.append_burst(&[record]).unwrap();
        log.sync().unwrap();
        assert!(log.segments() <= 40, "{} segments", log.segments());
    }
    let mut disk = disk;
    disk.power_cut(Survival::Nothing);
    let (_, found) = AcceptorLog::open(disk, DIRECTORY, SMALL).unwrap();
    assert_eq!(found, state);
}

#[test]
fn what_was_written_and_remembered_survives_every_end_and_a_log_written_anew() {
    let mut disk = SimDisk::new(Rng::with_seed(1));
    let mut log = AcceptorLog::create(disk.clone(), DIRECTORY, SMALL).unwrap();
    let mut state = State::default();
    let mut anew = 0;
    for ballot in (0..2_000).map(Ballot) {
        let accepted = accept(&mut Rng::with_seed(ballot.0), ballot, Slot(0));
        let memory = Memory { boot: BootId(ballot.0 / 500), written: 3 * ballot.0 };
        let remembered = Record::Remember(ReplicaId(ballot.0 as u8 % 3), memory);
        let records = [Record::Promise(ballot), accepted, remembered];
        apply(&mut state, &records);
        let before = log.segments();
        log.append_burst(&records).unwrap();
        log.sync().unwrap();
        anew += u32::from(log.segments() < before);
        if ballot.0 % 97 == 0 {
            drop(log);
            match ballot.0 % 2 {
                0 => disk.crash_process(),
                _ => disk.power_cut(Survival::Random),
            }
            let found;
            (log, found) = AcceptorLog::open(disk.clone(), DIRECTORY, SMALL).unwrap();
            assert_eq!(found.written(), 2 * (ballot.0 + 1), "what is remembered does not count");
            assert_eq!(found.memories(), state.memories());
            assert_eq!(found, state);
        }
    }
    assert!(anew > 1, "written anew {anew} times");
}

#[test]
fn a_slot_far_above_the_trim_mark_is_kept_when_the_log_is_written_anew() {
    let mut lives = Lives::begin(3, SMALL);
    let accept = |slot: u64, ballot: u64| {
        let (first, ballot) = (Slot(slot), Ballot(ballot));
        Record::Accept(Run { ballot, first, values: vec![value(first, ballot)].into() })
    };
    let far = 10 * ACCEPT_SLOTS_MAX;
    assert!(lives.commit_burst(vec![accept(far, 0)]));
    let segments = |lives: &Lives| lives.log.as_ref().unwrap().segments();
    let mut times = 0;
    for ballot in 1..4_000 {
        let before = segments(&lives);
        assert!(lives.commit_burst(vec![accept(9, ballot)]));
        times += u32::from(segments(&lives) < before);
    }
    assert!(times > 1, "written anew {times} times");
    lives.disk.power_cut(Survival::Nothing);
    lives.open(SMALL).unwrap();
    assert!(lives.acknowledged.accepted(Slot(far)).is_some());
    assert!(lives.commit_burst(vec![Record::Trim(Slot(far + 1))]));
    assert!(lives.acknowledged.is_empty());
}

/// A log that is about to be written anew for the `times`th time, and the burst that causes
/// it. The log holds more than a segment of old acceptances, and then many acceptances of one
/// slot at rising ballots.
fn about_to_be_written_anew(times: u32) -> (Lives, Vec<Record>) {
    let mut lives = Lives::begin(12, SMALL);
    let values = |first: u64, ballot: u64, count: u64| -> Record {
        let slots = (first..first + count).map(Slot);
        let values: Vec<Value> = slots.map(|slot| value(slot, Ballot(ballot))).collect();
        Record::Accept(Run { ballot: Ballot(ballot), first: Slot(first), values: values.into() })
    };
    for first in (0..120).step_by(6) {
        assert!(lives.commit_burst(vec![values(first, first % 4, 5)]));
    }
    assert!(lives.commit_burst(vec![Record::Trim(Slot(8))]));
    let mut left = times;
    for ballot in 4.. {
        let burst = vec![values(200, ballot, 1)];
        let before = (lives.log.as_ref().unwrap().segments(), lives.fork());
        assert!(lives.commit_burst(burst.clone()));
        if lives.log.as_ref().unwrap().segments() < before.0 {
            left -= 1;
            if left == 0 {
                return (before.1, burst);
            }
        }
    }
    unreachable!("ballots rise for ever")
}

#[test]
fn a_log_written_anew_keeps_what_was_accepted_long_ago() {
    for times in 1..=3 {
        let (mut lives, burst) = about_to_be_written_anew(times);
        lives.open(SMALL).unwrap();
        assert!(lives.acknowledged.len() > 90 && lives.acknowledged.trimmed() == Slot(8));
        assert!(lives.commit_burst(burst));
        let segments = lives.log.as_ref().unwrap().segments();
        assert_eq!(segments, 6, "as many as the records that still count need");
        for (name, length) in lives.disk.durable_files() {
            assert_eq!(length as u64, SMALL.segment_bytes, "{name} has grown");
        }
        lives.disk.power_cut(Survival::Nothing);
        lives.open(SMALL).unwrap();
    }
}

#[test]
fn the_more_a_log_holds_the_more_is_written_before_it_is_written_anew() {
    let mut lives = Lives::begin(7, SMALL);
    let accept = |first: u64, ballot: u64| -> Record {
        let values: Vec<Value> =
            (first..first + 5).map(|at| command(at, &"a line".repeat(7))).collect();
        Record::Accept(Run { ballot: Ballot(ballot), first: Slot(first), values: values.into() })
    };
    let mut slots = 0;
    while lives.log.as_ref().unwrap().segments() < 60 {
        assert!(lives.commit_burst(vec![accept(slots, 0)]));
        slots += 5;
    }
    let (mut times, mut begun) = (0, 0);
    for ballot in 1.. {
        let before = lives.log.as_ref().unwrap().segments();
        assert!(lives.commit_burst(vec![accept(slots, ballot)]));
        let after = lives.log.as_ref().unwrap().segments();
        times += u32::from(after < before);
        begun += u32::from(after > before);
        if begun >= 200 {
            break;
        }
    }
    assert!((2..=5).contains(&times), "{times} times");
}

#[test]
fn what_was_accepted_slot_by_slot_is_written_anew_many_in_a_frame() {
    let mut lives = Lives::begin(7, SMALL);
    let accept = |slot: u64, ballot: u64| -> Vec<Record> {
        let values = vec![command(slot, "a line")].into();
        vec![Record::Accept(Run { ballot: Ballot(ballot), first: Slot(slot), values })]
    };
    // No two slots are neighbours, so each takes a run and a sector of its own.
    for slot in (0..600).step_by(2) {
        assert!(lives.commit_burst(accept(slot, 0)));
    }
    let before = lives.log.as_ref().unwrap().segments();
    assert!(before > 18, "{before} segments");
    let mut segments = before;
    for ballot in 1.. {
        assert!(lives.commit_burst(accept(0, ballot)));
        let now = lives.log.as_ref().unwrap().segments();
        if now < segments {
            assert!(now <= before / 4, "{now} segments, {before} before");
            break;
        }
        segments = now;
    }
}

#[test]
fn a_segment_is_filled_to_the_last_sector() {
    let mut lives = Lives::begin(7, SMALL);
    // Each burst fills a sector almost completely.
    let line = "x".repeat(SECTOR_BYTES - HEADER_BYTES - 60);
    let burst = |slot: u64| -> Vec<Record> {
        let values = vec![command(slot, &line)].into();
        vec![Record::Accept(Run { ballot: Ballot(1), first: Slot(slot), values })]
    };
    let sectors = SMALL.segment_bytes / SECTOR_BYTES as u64;
    for slot in 0..3 * (sectors - 1) {
        assert!(lives.commit_burst(burst(slot)));
        // The first sector of a segment is its head.
        let segments = slot / (sectors - 1) + 1;
        assert_eq!(lives.log.as_ref().unwrap().segments() as u64, segments, "burst {slot}");
    }
}

#[test]
fn a_sync_that_failed_once_is_never_tried_again_and_believed() {
    let mut lives = Lives::begin(7, SMALL);
    assert!(lives.commit());
    // The first call is the write, the second the sync.
    lives.disk.fail_at(lives.disk.calls() + 1, Fault::Device);
    assert!(!lives.commit());
    lives.disk.crash_process();
    lives.open(SMALL).unwrap();
}

#[test]
fn the_power_may_go_while_the_log_is_written_anew() {
    let (mut before, burst) = about_to_be_written_anew(1);
    for survival in [Survival::Nothing, Survival::Random, Survival::Everything] {
        for call in 0.. {
            let mut lives = before.fork();
            lives.open(SMALL).unwrap();
            lives.disk.cut_at(lives.disk.calls() + call, 700);
            let done = lives.commit_burst(burst.clone());
            assert!(!done || call > 10, "the log is written anew");
            lives.disk.power_cut(survival);
            lives.open(SMALL).unwrap_or_else(|error| panic!("call {call}: {error}"));
            // All dropped segments are gone, except one that is kept as the spare.
            let files = lives.disk.list().unwrap().iter().filter(|name| is_log_file(name)).count();
            let segments = lives.log.as_ref().unwrap().segments();
            assert!(files <= segments + 1, "call {call}: {files} files, {segments} count");
            if done {
                break;
            }
        }
    }
}

#[test]
fn replay_takes_the_highest_ballot_in_whatever_order() {
    let disk = SimDisk::new(Rng::with_seed(1));
    let mut log = AcceptorLog::create(disk.clone(), DIRECTORY, SMALL).unwrap();
    for ballot in [3, 5, 4].map(Ballot) {
        let record = Record::Accept(Run {
            ballot,
            first: Slot(0),
            values: (&value(Slot(50), ballot)).into(),
        });
        log.append_burst(&[record]).unwrap();
        log.sync().unwrap();
    }
    let mut disk = disk;
    disk.crash_process();
    let (_, state) = AcceptorLog::open(disk, DIRECTORY, SMALL).unwrap();
    assert_eq!(state.promised(), Some(Ballot(5)));
    let highest = value(Slot(50), Ballot(5));
    assert_eq!(state.accepted(Slot(0)), Some((Ballot(5), (&highest).into())));
}

#[test]
fn a_log_of_another_directory_is_refused() {
    let mut lives = Lives::begin(7, SMALL);
    assert!(lives.commit());
    lives.disk.crash_process();
    let opened = AcceptorLog::open(lives.disk.clone(), 2, SMALL);
    assert!(matches!(opened, Err(OpenError::Damaged { .. })));
    let empty = SimDisk::new(Rng::with_seed(1));
    let opened = AcceptorLog::open(empty, DIRECTORY, SMALL);
    assert!(matches!(opened, Err(OpenError::Missing { .. })));
}

#[test]
fn a_segment_that_went_missing_is_refused() {
    let mut lives = Lives::begin(8, SMALL);
    while lives.log.as_ref().unwrap().segments() < 3 {
        assert!(lives.commit());
    }
    let files = lives.disk.list().unwrap();
    let segments: Vec<_> = files.iter().filter(|name| !name.ends_with("spare")).collect();
    for name in &segments[..segments.len() - 1] {
        let mut fork = lives.fork();
        fork.disk.power_cut(Survival::Everything);
        fork.disk.remove(name).unwrap();
        let opened = AcceptorLog::open(fork.disk.clone(), DIRECTORY, SMALL);
        assert!(matches!(opened, Err(OpenError::Missing { .. })), "{name}");
    }
}

#[test]
fn a_disk_that_cannot_be_read_is_refused() {
    let mut lives = Lives::begin(9, SMALL);
    // Each segment is read.
    while lives.log.as_ref().unwrap().segments() < 3 {
        assert!(lives.commit());
    }
    lives.disk.crash_process();
    for read in 0..3 {
        let mut fork = lives.fork();
        fork.disk.fail_read_at(fork.disk.reads() + read);
        let opened = AcceptorLog::open(fork.disk.clone(), DIRECTORY, SMALL);
        assert!(matches!(opened, Err(OpenError::Io(_))), "read {read}");
        fork.disk.crash_process();
        fork.open(SMALL).unwrap();
    }
}

#[test]
fn a_full_disk_fails_the_burst_and_a_restart_with_space_goes_on() {
    let mut lives = Lives::begin(10, SMALL);
    lives.disk.limit(Some(5 * SMALL.segment_bytes / 2));
    let mut commits = 0;
    while lives.commit() {
        commits += 1;
    }
    assert!(commits > 5, "{commits}");
    lives.disk.crash_process();
    lives.open(SMALL).unwrap();
    lives.disk.crash_process();
    lives.disk.limit(None);
    lives.open(SMALL).unwrap();
    for _ in 0..100 {
        assert!(lives.commit());
    }
}

#[test]
fn a_burst_longer_than_a_segment_gets_one_of_its_own() {
    let mut lives = Lives::begin(11, SMALL);
    let long = Request::new(7, 1, 0, &"y".repeat(40_000)).commands;
    let record = Record::Accept(Run { ballot: Ballot(9), first: Slot(0), values: long });
    let log = lives.log.as_mut().unwrap();
    log.append_burst(std::slice::from_ref(&record)).unwrap();
    log.sync().unwrap();
    lives.acknowledged.apply(&record);
    for _ in 0..50 {
        assert!(lives.commit());
    }
    lives.disk.power_cut(Survival::Random);
    lives.open(SMALL).unwrap();
    assert!(lives.disk.list().unwrap().iter().all(|name| is_log_file(name)));
    let file = lives.disk.open(&lives.disk.list().unwrap()[0]).unwrap().unwrap();
    assert!(file.length().unwrap() >= SMALL.segment_bytes);
}
