//! Replicas that die and come back: one by one, several, and all at once.
//!
//! Clients send without pause meanwhile. Afterwards `load` judges the chat logs.

use crate::load::*;
use crate::support::*;
use std::fs;
use std::time::{Duration, Instant};

/// This variable overrides for how many seconds replicas are killed.
const CHAOS_SECONDS: &str = "CHAOS_SECONDS";
const CHAOS_SECONDS_DEFAULT: u64 = 20;

/// This variable overrides the percentage of datagrams that are lost meanwhile.
const CHAOS_LOSS: &str = "CHAOS_LOSS";
const CHAOS_LOSS_DEFAULT: u64 = 10;

fn asked(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn a_minority_that_is_killed_again_and_again_loses_nothing() {
    let place = Place::new(1);
    let loss = asked(CHAOS_LOSS, CHAOS_LOSS_DEFAULT).to_string();
    let loss = ["--msg_loss", &loss];
    let mut cluster: Vec<Option<Replica>> =
        place.cluster_with(&loss).into_iter().map(Some).collect();
    let load = Load::begin(&place, &loss);
    let seconds = asked(CHAOS_SECONDS, CHAOS_SECONDS_DEFAULT);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    let mut draw = fastrand::Rng::with_seed(591);
    let mut completed = Vec::new();
    while Instant::now() < end {
        let id = draw.usize(..place.n());
        cluster[id].take().expect("it runs").kill();
        kills += 1;
        completed.extend(load.more(draw.usize(1..60)));
        cluster[id] = Some(place.restarted(id, &loss));
        completed.extend(load.more(draw.usize(1..60)));
    }
    completed.extend(load.end());
    println!("{kills} kills in {seconds} s, {} lines complete", completed.len());
    judge(&place, &completed);
}

#[test]
fn a_cluster_that_is_killed_all_at_once_goes_on_where_it_was() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = Vec::new();
    for _ in 0..4 {
        completed.extend(load.more(100));
        cluster.drain(..).for_each(Replica::kill);
        // One replica stays away: the other two are a quorum.
        cluster = (0..2).map(|id| place.restarted(id, &[])).collect();
        let back = Instant::now();
        completed.push(load.next());
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
        cluster.push(place.restarted(2, &[]));
    }
    completed.extend(load.end());
    judge(&place, &completed);
}

#[test]
fn replicas_that_restart_at_once_have_one_leader_mostly_by_the_first_campaign() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let mut alone = 0;
    for restart in 0..5 {
        cluster.drain(..).for_each(Replica::kill);
        cluster = (0..place.n()).map(|id| place.replica(id)).collect();
        // The line goes through whoever leads; then it leads for good.
        let ran = place.say(&["--client_id", "7"], b"again\n");
        assert_eq!(completions(&ran).len(), 1, "{}", text(&ran.stderr));
        let mut said = Vec::new();
        for replica in &mut cluster {
            // A leader that was told to end would hand over, and another one would campaign.
            replica.process.child.0.kill().expect("it is killed");
            said.extend(replica.process.end().1);
        }
        let count = |words: &str| said.iter().filter(|line| line.contains(words)).count();
        let (campaigns, leaders) = (count(": campaigns with ballot"), count(": leads with ballot"));
        // The host may stall a process, so that another replaces it; rivals climb further.
        assert!(leaders <= 2 && campaigns <= 3, "restart {restart}: {said:#?}");
        alone += usize::from(campaigns == 1);
    }
    assert!(alone >= 3, "{alone} of 5 restarts had a single campaign");
}

#[test]
fn a_replica_that_comes_back_votes() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")), [(7, 0, 0)]);
    cluster.pop().expect("replica 2").kill();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"two\n")), [(7, 1, 1)]);
    let _back = place.restarted(2, &[]);
    // From here on a quorum needs replica 2's acceptances.
    cluster.pop().expect("replica 1").kill();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"three\n")), [(7, 2, 2)]);
    let logs = place.logs_of(&[0, 2], 3);
    assert_eq!(logs[0], logs[1]);
}

#[test]
fn a_replica_that_lost_its_disk_is_refused_a_vote_and_still_catches_up() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let lines: String = (0..50).map(|number| format!("line {number}\n")).collect();
    assert_eq!(place.say(&["--client_id", "7"], lines.as_bytes()).status.code(), Some(0));
    place.logs_of(&[2], 50);
    cluster.pop().expect("replica 2").kill();
    fs::remove_dir_all(place.logs().join("replica2")).expect("its disk is lost");
    let mut again = place.replica(2);
    again.process.wait_for("does not vote");
    let logs = place.logs_of(&[0, 1, 2], 50);
    assert_eq!(logs[2], logs[0]);
    // It also learns what is decided from here on.
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"new\n")), [(7, 50, 50)]);
    let logs = place.logs_of(&[0, 1, 2], 51);
    assert_eq!((&logs[2], &logs[1]), (&logs[0], &logs[0]));
    // Its acceptances do not count: with another replica gone, there is no quorum left.
    cluster.pop().expect("replica 1").kill();
    let ran = place.say(&["--timeout", "2"], b"without a quorum\n");
    assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(1), String::new()));
}

#[test]
fn a_replica_that_ran_in_memory_counts_as_wiped() {
    let place = Place::new(1);
    let memory = ["--durability", "none"];
    let mut cluster = place.cluster_with(&memory);
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")), [(7, 0, 0)]);
    cluster.pop().expect("replica 2").kill();
    let mut again = place.replica_with(2, &memory);
    again.process.wait_for("counts as wiped");
    again.process.wait_for("does not vote");
}

#[test]
fn a_directory_of_somebody_else_or_in_use_is_refused_in_one_line() {
    let place = Place::new(1);
    let cluster = place.cluster();
    let data = place.logs().join("replica0");
    let data = data.to_str().expect("UTF-8");
    // The directory is in use by replica 0.
    let other = Place::new(1);
    let mut busy = other.replica_with(0, &["--data_dir", data]);
    let (status, said) = busy.process.end();
    assert_eq!((status.code(), said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains("in use"), "{said:?}");
    cluster.into_iter().for_each(Replica::kill);
    let mut foreign = other.replica_with(1, &["--data_dir", data]);
    let (status, said) = foreign.process.end();
    assert_eq!((status.code(), said.len()), (Some(64), 1), "{said:?}");
    assert!(
        said[0].contains("belongs to replica 0 of a cluster of 3, not to replica 1"),
        "{said:?}"
    );
    // As after the tutorial's three, with the default configuration.
    let five = Place::new(2);
    let mut foreign = five.replica_with(0, &["--data_dir", data]);
    let (status, said) = foreign.process.end();
    assert_eq!((status.code(), said.len()), (Some(64), 1), "{said:?}");
    let remedy = "the configuration lists 5: use the --config_path of that cluster";
    assert!(said[0].contains(remedy), "{said:?}");
}
