//! A replica whose disk is lost comes back on an empty one, and votes (`--rejoin`).

use crate::load::*;
use crate::support::*;
use std::fs;

/// Ends a replica and removes its data directory and its chat log.
fn lose_disk(place: &Place, replica: Replica) {
    let id = replica.id;
    replica.kill();
    fs::remove_dir_all(place.logs().join(format!("replica{id}"))).expect("its disk is lost");
    fs::remove_file(place.logs().join(format!("learner{id}.txt"))).expect("lost too");
}

#[test]
fn a_lost_disk_is_replaced_while_lines_flow_and_then_another_may_go() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(100);
    lose_disk(&place, cluster.pop().expect("replica 2"));
    completed.extend(load.more(100));
    let mut back = place.replica_with(2, &["--rejoin"]);
    back.process.wait_for("follows on a fresh data directory");
    back.process.wait_for("enters configuration 1");
    completed.extend(load.more(100));
    // The new directory is needed for each line from here on.
    cluster.pop().expect("replica 1").kill();
    completed.extend(load.more(100));
    // It remembers its vote, with the option and without.
    back.kill();
    let back = place.restarted(2, &[]);
    completed.extend(load.more(100));
    back.kill();
    let _back = place.restarted(2, &["--rejoin"]);
    completed.extend(load.more(100));
    cluster.push(place.restarted(1, &[]));
    completed.extend(load.end());
    judge(&place, &completed);
}

#[test]
fn every_disk_is_replaced_in_turn_the_leaders_too() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(50);
    for id in 0..place.n() {
        lose_disk(&place, cluster.remove(0));
        completed.extend(load.more(20));
        let mut back = place.replica_with(id, &["--rejoin"]);
        back.process.wait_for(&format!("enters configuration {}", id + 1));
        completed.extend(load.more(20));
        cluster.push(back);
    }
    completed.extend(load.end());
    judge(&place, &completed);
}
