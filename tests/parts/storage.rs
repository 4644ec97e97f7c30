//! Storage on a real file system. (What a power cut leaves is tested on the simulated
//! disk, in `src/storage`; here: that the real one does what the simulated one does.)

use durable::disk::{Disk, DiskFile, RealDisk};
use multipaxos::chat::Chat;
use multipaxos::machine::{BadSnapshot, Host, Response, StateMachine};
use multipaxos::message::{Request, Run};
use multipaxos::paxos::bootstrap;
use multipaxos::paxos::learner::{self, Checkpoint};
use multipaxos::paxos::{DecidedPages, Storage, acceptor};
use multipaxos::storage::Durability;
use multipaxos::storage::acceptor_log::{AcceptorLog, Options};
use multipaxos::storage::data_dir::{DataDir, Found, HostBoot, Purpose, Refused, is_data_file};
use multipaxos::storage::decided_log::{DecidedLog, Location};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{Ballot, DirectoryId, ReplicaId, Slot, SlotRange, Value};
use std::fs;
use std::path::Path;

const DIRECTORY: DirectoryId = DirectoryId(77);

fn value(slot: u64) -> Value {
    Value::Command(Request::new(7, 1, slot, &format!("line {slot}")).command())
}

fn accept(slot: u64) -> acceptor::Record {
    acceptor::Record::Accept(Run {
        ballot: Ballot(3),
        first: Slot(slot),
        values: vec![value(slot)].into(),
    })
}

fn purpose() -> Purpose {
    Purpose {
        replica: ReplicaId(0),
        n: 3,
        durability: Durability::Sync,
        host_boot: Some(HostBoot { id: "boot".into(), up_s: 5 }),
        drawn: DIRECTORY,
    }
}

fn disk_bytes(path: &Path) -> u64 {
    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn an_acceptors_log_is_opened_as_it_was_left_and_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 16 << 10, waits: true };
    let disk = || RealDisk::open(dir.path()).unwrap();
    let mut log = AcceptorLog::create(disk(), DIRECTORY.0, options).unwrap();
    let mut state = acceptor::State::default();
    for slot in 0..600 {
        let mut records = vec![accept(slot)];
        if slot % 20 == 19 {
            records.push(acceptor::Record::Trim(Slot(slot - 5)));
        }
        records.iter().for_each(|record| state.apply(record));
        log.append(&mut records).and_then(|()| log.sync()).unwrap();
        assert!(records.is_empty());
        let bytes = disk_bytes(dir.path());
        assert!(bytes <= 5 * options.segment_bytes, "{bytes} bytes on disk");
    }
    drop(log);
    let (mut log, found) = AcceptorLog::open(disk(), DIRECTORY.0, options).unwrap();
    assert_eq!(found, state);
    let record = accept(600);
    state.apply(&record);
    log.append_burst(&[record]).and_then(|()| log.sync()).unwrap();
    drop(log);
    assert_eq!(AcceptorLog::open(disk(), DIRECTORY.0, options).unwrap().1, state);
}

#[test]
fn a_damaged_acceptors_log_says_which_file_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 16 << 10, waits: true };
    let disk = || RealDisk::open(dir.path()).unwrap();
    let mut log = AcceptorLog::create(disk(), DIRECTORY.0, options).unwrap();
    for slot in 0..4 {
        log.append_burst(&[accept(slot)]).and_then(|()| log.sync()).unwrap();
    }
    drop(log);
    let path = dir.path().join("acceptor-0000000000000000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[2 * 512 + 60] ^= 4;
    fs::write(&path, bytes).unwrap();
    let said = AcceptorLog::open(disk(), DIRECTORY.0, options).unwrap_err().to_string();
    let expected = format!(
        "{} is damaged at byte 1024: a record in the middle of the log fails its check: this \
         replica refuses to vote",
        path.display()
    );
    assert_eq!(said, expected);
}

#[test]
fn a_decided_log_is_opened_as_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let log_dir = || RealDisk::open(&dir.path().join("logs")).unwrap();
    let data = || RealDisk::open(&dir.path().join("logs/replica0")).unwrap();
    let place = || Location {
        log_dir: log_dir(),
        name: "learner0.txt",
        data: data(),
        directory: DIRECTORY,
        others: false,
        host: Host::CHAT,
    };
    let mut log = DecidedLog::create(place(), Durability::Sync).unwrap();
    let mut chat = Chat::default();
    for slot in 0..300 {
        let client_seq = chat.apply(Slot(slot), (&value(slot)).into());
        let applied = learner::Record::Applied {
            first: Slot(slot),
            values: (&value(slot)).into(),
            client_seqs: vec![client_seq],
        };
        let mut records = vec![applied];
        if slot == 200 {
            let applied = Slot(201);
            let (chat, hash) = (chat.clone(), 0);
            let checkpoint = Checkpoint { applied, chat, hash };
            records.extend(checkpoint.parts(1).map(learner::Record::Checkpoint));
        }
        log.append(&mut records).unwrap();
        log.rest().unwrap();
    }
    drop(log);
    let path = dir.path().join("logs/learner0.txt");
    let text = fs::read(&path).unwrap();
    // The last line is torn off in the middle: what is whole goes on.
    fs::write(&path, &text[..text.len() - 3]).unwrap();
    let (mut log, checkpoint) = DecidedLog::open(place(), Durability::Sync).unwrap();
    assert_eq!(checkpoint.applied, Slot(299));
    let page = log.decided(SlotRange::new(Slot(290), Slot(400)), 10_000).unwrap();
    assert_eq!(page.to_vec(), (290..299).map(value).collect::<Vec<_>>());
    assert!(text.starts_with(&fs::read(&path).unwrap()));
    drop(log);
    fs::remove_file(&path).unwrap();
    let said = DecidedLog::open(place(), Durability::Sync).unwrap_err().to_string();
    assert!(said.starts_with(&format!("{} is missing", path.display())), "{said}");
}

/// Answers how many bytes it has been told.
#[derive(Default)]
struct Told(Vec<u8>);

impl StateMachine for Told {
    fn apply(&mut self, command: &[u8]) -> Response {
        self.0.extend_from_slice(command);
        self.0.len().to_string().into()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
        self.0 = snapshot.to_vec();
        Ok(())
    }
}

#[test]
fn a_machine_goes_on_from_its_checkpoint_and_what_stands_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::of(Told::default);
    let place = |host: &Host| Location {
        log_dir: RealDisk::open(&dir.path().join("logs")).unwrap(),
        name: "learner0.txt",
        data: RealDisk::open(&dir.path().join("logs/replica0")).unwrap(),
        directory: DIRECTORY,
        others: false,
        host: host.clone(),
    };
    let mut log = DecidedLog::create(place(&host), Durability::Sync).unwrap();
    let mut state = Checkpoint::hosting(&host);
    for slot in 0..60 {
        let client_seq = state.chat.apply(Slot(slot), (&value(slot)).into());
        let (first, values) = (Slot(slot), (&value(slot)).into());
        let mut records =
            vec![learner::Record::Applied { first, values, client_seqs: vec![client_seq] }];
        state.applied = Slot(slot + 1);
        if slot == 40 {
            records.extend(state.parts(1).map(learner::Record::Checkpoint));
        }
        log.append(&mut records).unwrap();
    }
    log.close().unwrap();
    let (log, opened) = DecidedLog::open(place(&host), Durability::Sync).unwrap();
    assert_eq!((opened.applied, &opened.chat), (Slot(60), &state.chat));
    let told = (0..60).map(|slot| format!("line {slot}")).collect::<String>();
    assert_eq!(opened.chat.machine(), Some(told.clone().into_bytes()));
    let answer = opened.chat.applied(Slot(60)).response(Slot(59));
    assert_eq!(answer, Some(told.len().to_string().into()));
    drop(log);
    let said = DecidedLog::open(place(&Host::CHAT), Durability::Sync).unwrap_err().to_string();
    assert!(said.contains("checkpoint"), "no chat: {said}");
}

#[test]
fn a_data_directory_is_made_with_all_above_it_and_locked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/replica0");
    let disk = || RealDisk::open(&path).unwrap();
    let (mut held, found) = DataDir::open(disk(), purpose()).unwrap();
    assert_eq!(found, Found::Fresh);
    assert!(matches!(DataDir::open(disk(), purpose()), Err(Refused::InUse { .. })));
    let members = vec![DIRECTORY, DirectoryId(1), DirectoryId(2)];
    held.append(&mut vec![bootstrap::Record::Started { members: members.clone(), origin: None }])
        .unwrap();
    held.sync().unwrap();
    drop(held);
    let (_held, found) = DataDir::open(disk(), purpose()).unwrap();
    assert_eq!(found, Found::Member(members));
    let names = disk().list().unwrap();
    assert_eq!(names, ["identity", "lock"]);
    for name in names {
        assert!(is_data_file(&name), "{name}");
    }
}

#[test]
fn files_that_storage_puts_into_a_data_directory_are_known_from_all_others() {
    let ours = [
        "identity",
        "identity.tmp",
        "lock",
        "journal",
        "asides",
        "mending",
        "checkpoint",
        "checkpoint.tmp",
        "acceptor-0000000000000007",
    ];
    for name in ours {
        assert!(is_data_file(name), "{name}");
    }
    for name in ["", "learner0.txt", "journal.tmp", "acceptor-7", "lost+found", "identity.old"] {
        assert!(!is_data_file(name), "{name}");
    }
}

#[test]
fn this_start_of_the_host_has_a_name_that_stays() {
    let name = HostBoot::present().unwrap().id;
    // As Linux writes it: a UUID.
    assert_eq!(name.len(), 36, "{name}");
    assert!(name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{name}");
    assert_eq!(HostBoot::present().unwrap().id, name);
}

#[test]
fn a_file_is_cut_filled_and_removed_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    let file = disk.create("a").unwrap();
    file.write_at(0, b"abcdef").unwrap();
    file.set_length(4).unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"abcd");
    file.set_length(6).unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"abcd\0\0");
    // A length that is no whole number of what is written at a time.
    let odd = disk.create("b").unwrap();
    odd.preallocate((1 << 20) + 5).unwrap();
    assert_eq!(fs::read(dir.path().join("b")).unwrap(), vec![0; (1 << 20) + 5]);
    disk.remove("a").unwrap();
    assert!(disk.open("a").unwrap().is_none());
    assert_eq!(disk.list().unwrap(), ["b"]);
    assert!(disk.remove("a").is_err());
}

#[test]
fn what_is_there_but_no_file_is_not_taken_for_missing() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("journal")).unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    let said = disk.open("journal").unwrap_err().to_string();
    assert!(said.starts_with(&dir.path().join("journal").display().to_string()), "{said}");
}

#[test]
fn a_directory_without_any_above_it_is_made_where_the_process_is() {
    let name = format!("storage-{}.tmp", std::process::id());
    let opened = RealDisk::open(Path::new(&name));
    let made = Path::new(&name).is_dir();
    let removed = fs::remove_dir(&name);
    assert!(opened.is_ok() && made && removed.is_ok(), "{opened:?}");
}

#[test]
fn errors_of_the_file_system_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    let file = disk.create("a").unwrap();
    file.write_at(0, b"abc").unwrap();
    let said = file.read_at(1, &mut [0; 4]).unwrap_err().to_string();
    assert!(said.starts_with(&dir.path().join("a").display().to_string()), "{said}");
    assert!(disk.open("b").unwrap().is_none());
    fs::write(dir.path().join("c"), b"").unwrap();
    let below = RealDisk::open(&dir.path().join("c/d")).unwrap_err().to_string();
    assert!(below.contains("c"), "{below}");
    file.preallocate(3 << 20).unwrap();
    assert_eq!(file.length().unwrap(), 3 << 20);
}
