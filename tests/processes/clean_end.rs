//! A clean end, and its value after the host has started anew.
//!
//! No test restarts the host. Instead the test opens a replica's data directory with the
//! library, as if after another start of the host. When the replica comes back, it finds that
//! start noted, takes its own for yet another one, and is a member only if its end was noted as
//! clean. Tests on simulated disks cover the files that a power cut leaves (`src/storage`).

use crate::disk_trouble::{assert_says, limit_files, one_line};
use crate::load::*;
use crate::support::*;
use durable::disk::RealDisk;
use multipaxos::storage::Durability;
use multipaxos::storage::data_dir::{DataDir, Found, HostBoot, Purpose, WipeReason};
use multipaxos::types::{DirectoryId, ReplicaId};

const OS: [&str; 2] = ["--durability", "os"];

/// Opens a replica's data directory as after another start of the host.
fn after_a_reboot(place: &Place, id: usize) -> (DataDir<RealDisk>, Found) {
    let disk = RealDisk::open(&place.logs().join(format!("replica{id}")));
    let purpose = Purpose {
        replica: ReplicaId(id as u8),
        n: place.n(),
        durability: Durability::Os,
        host_boot: Some(HostBoot { id: "another-start-of-this-host".into(), up_s: 5 }),
        drawn: DirectoryId(591),
    };
    DataDir::open(disk.expect("it is there"), purpose).expect("it is a data directory")
}

/// The host starts anew while no replica runs. All replicas are still members.
#[track_caller]
fn reboot(place: &Place) {
    for id in 0..place.n() {
        let (dir, found) = after_a_reboot(place, id);
        assert!(matches!(&found, Found::Member(_)), "replica {id}: {found:?}");
        dir.end().expect("it is left as it was");
    }
}

#[track_caller]
fn ended_by(mut replica: Replica, signal: &str) {
    replica.process.signal(signal);
    let (status, said) = replica.process.end();
    assert_eq!(status.code(), Some(0), "replica {}: {said:#?}", replica.id);
    assert!(said.iter().all(|line| !line.contains("no clean end")), "{said:#?}");
}

#[test]
fn replicas_that_ended_cleanly_are_members_after_a_reboot() {
    let place = Place::new(1);
    let mut cluster = place.cluster_with(&OS);
    let load = Load::begin(&place, &[]);
    let mut completed = Vec::new();
    for _ in 0..2 {
        completed.extend(load.more(200));
        // The signals come while lines are in flight.
        for (replica, signal) in cluster.drain(..).zip(["-TERM", "-INT", "-HUP"]) {
            ended_by(replica, signal);
        }
        reboot(&place);
        cluster = (0..place.n()).map(|id| place.restarted(id, &OS)).collect();
        for replica in &cluster {
            let said = &replica.process.said;
            assert!(said.iter().all(|line| !line.contains("wiped")), "{said:#?}");
        }
    }
    completed.extend(load.more(200));
    completed.extend(load.end());
    judge(&place, &completed);
}

#[test]
fn a_replica_that_was_killed_counts_as_wiped_after_a_reboot_whatever_was_before() {
    let place = Place::new(1);
    let mut cluster = place.cluster_with(&OS);
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")), [(7, 0, 0)]);
    cluster.remove(2).kill();
    assert_eq!(after_a_reboot(&place, 2).1, Found::Wiped(WipeReason::HostRestarted));
    // A clean end counts only until the next start. The next end must be clean again.
    ended_by(cluster.remove(1), "-TERM");
    place.restarted(1, &OS).kill();
    assert_eq!(after_a_reboot(&place, 1).1, Found::Wiped(WipeReason::HostRestarted));
}

#[test]
fn a_member_that_ends_before_it_has_met_the_others_ends_cleanly() {
    let place = Place::new(1);
    place.cluster_with(&OS).into_iter().for_each(Replica::kill);
    let mut alone = place.replica_with(2, &OS);
    alone.process.wait_for("listens on");
    ended_by(alone, "-TERM");
    let (_, found) = after_a_reboot(&place, 2);
    assert!(matches!(&found, Found::Member(_)), "{found:?}");
}

#[test]
fn an_end_that_cannot_be_noted_is_no_clean_one() {
    let place = Place::new(1);
    let mut cluster = place.cluster_with(&OS);
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")), [(7, 0, 0)]);
    place.logs_of(&[2], 1);
    limit_files(&cluster[2], 0);
    cluster[2].process.signal("-TERM");
    assert_says(&one_line(&mut cluster[2], 1), &["replica2/identity", "File too large"]);
    assert_eq!(after_a_reboot(&place, 2).1, Found::Wiped(WipeReason::HostRestarted));
}

#[test]
fn a_clean_end_of_a_replica_that_ran_in_memory_is_worth_nothing() {
    let place = Place::new(1);
    for replica in place.cluster_with(&["--durability", "none"]) {
        ended_by(replica, "-TERM");
    }
    assert_eq!(after_a_reboot(&place, 0).1, Found::Wiped(WipeReason::RanInMemory));
}
