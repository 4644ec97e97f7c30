//! The data directory on a disk that was damaged.
//!
//! **What must hold.** Opening never panics. There are three right results. The replica is the
//! member that it was, with the same directory identity in the same cluster. Or nothing is
//! known any more, and the identity was never used before. Or opening refuses with an error
//! that names the file. It never makes up a cluster.

use crate::acceptor_log::{damage, damages, read, write};
use crate::edit;
use crate::run::{Property, check};
use durable::sim_disk::SimDisk;
use fastrand::Rng;
use multipaxos::paxos::{Storage, bootstrap};
use multipaxos::storage::Durability;
use multipaxos::storage::acceptor_log::{AcceptorLog, Options};
use multipaxos::storage::data_dir::{DataDir, Found, HostBoot, IDENTITY, Purpose, Refused};
use multipaxos::types::{DirectoryId, ReplicaId};
use proptest::prelude::*;
use seeds::stream;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const FIRST: DirectoryId = DirectoryId(77);
const LATER: DirectoryId = DirectoryId(78);

fn members() -> Vec<DirectoryId> {
    vec![FIRST, DirectoryId(1), DirectoryId(2)]
}

fn purpose(durability: Durability, drawn: DirectoryId) -> Purpose {
    let host_boot = Some(HostBoot { id: "boot".into(), up_s: 5 });
    Purpose { replica: ReplicaId(0), n: 3, durability, host_boot, drawn }
}

/// A used directory. `started`: it belongs to a cluster that has started.
fn used(durability: Durability, started: bool) -> SimDisk {
    let mut disk = SimDisk::new(Rng::with_seed(1));
    let (mut held, found) = DataDir::open(disk.clone(), purpose(durability, FIRST)).unwrap();
    assert_eq!(found, Found::Fresh);
    let options = Options { segment_bytes: 4 << 10, waits: true };
    AcceptorLog::create(disk.clone(), FIRST.0, options).unwrap();
    if started {
        held.append(&mut vec![bootstrap::Record::Started { members: members(), origin: None }])
            .unwrap();
        held.sync().unwrap();
    }
    drop(held);
    disk.crash_process();
    disk
}

fn new_name(rng: &mut Rng) -> String {
    ["identity", "identity.tmp", "acceptor-0000000000000001", "lock"][rng.usize(..4)].to_owned()
}

fn names_a_file(refused: &Refused) {
    let said = refused.to_string();
    assert!(said.contains("identity") || said.contains("lock"), "the error names no file: {said}");
}

fn drawn() -> impl Strategy<Value = (Durability, bool)> {
    let durability = prop_oneof![Just(Durability::Sync), Just(Durability::Os)];
    (durability, any::<bool>())
}

#[test]
fn a_damaged_directory_is_what_it_was_or_nothing() {
    let name = "data_dir::a_damaged_directory_is_what_it_was_or_nothing";
    let (mut member, mut nothing, mut refused) = (0, 0, 0);
    let cases = (drawn(), damages());
    let property = Property { name, cases: 3_000, cost: 20 };
    check(property, cases, |((durability, started), damages)| {
        let disk = used(durability, started);
        damages.iter().for_each(|one| damage(&disk, *one, new_name));
        match DataDir::open(disk, purpose(durability, LATER)) {
            Ok((held, Found::Member(found))) => {
                member += 1;
                assert!(started && found == members(), "{found:?} is made up");
                assert_eq!(held.directory(), FIRST);
            }
            Ok((held, found)) => {
                nothing += 1;
                let kept = held.directory() == FIRST;
                assert!(kept && !started || held.directory() == LATER, "{found:?}");
            }
            Err(error) => {
                refused += 1;
                names_a_file(&error);
            }
        }
        1
    });
    if property.is_full() {
        assert!(member > 50 && nothing > 50 && refused > 50, "{member}, {nothing}, {refused}");
    }
}

#[test]
fn an_identity_with_a_forged_check_is_understood_or_refused() {
    let name = "data_dir::an_identity_with_a_forged_check_is_understood_or_refused";
    let mut refused = 0;
    let property = Property { name, cases: 3_000, cost: 20 };
    check(property, any::<u64>(), |dice| {
        let disk = used(Durability::Sync, true);
        let mut rng = stream(dice, "dice");
        let mut bytes = read(&disk, IDENTITY);
        let mut contents = bytes.split_off(16);
        edit::edits(&mut rng, &mut contents, &bytes);
        let magic = u64::from_le_bytes(*bytes[..8].first_chunk().unwrap());
        bytes[8..].copy_from_slice(&xxh3_64_with_seed(&contents, magic).to_le_bytes());
        bytes.append(&mut contents);
        write(&disk, IDENTITY, &bytes);
        if let Err(error) = DataDir::open(disk, purpose(Durability::Sync, LATER)) {
            refused += 1;
            names_a_file(&error);
        }
        1
    });
    if property.is_full() {
        assert!(refused > 100, "{refused} refused");
    }
}
