//! Real replicas whose chat logs are deleted, cut, moved, rotated, or left from an earlier life.
//!
//! Other programs do to these files what they do to log files. Each time the replica says so
//! once, its file is whole again, and no line is lost.

use crate::load::*;
use crate::support::*;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

fn path(place: &Place, id: usize) -> PathBuf {
    place.logs().join(format!("learner{id}.txt"))
}

/// As logrotate does it with `copytruncate`.
fn copy_and_truncate(place: &Place, id: usize, copy: &str) {
    fs::copy(path(place, id), place.logs().join(format!("learner{id}.txt.{copy}")))
        .expect("copied");
    cut(place, id);
}

/// As `: > learner0.txt` does.
fn cut(place: &Place, id: usize) {
    OpenOptions::new().write(true).truncate(true).open(path(place, id)).expect("it is cut");
}

/// The chat log of a replica that has a log directory of its own, so that no copy is beside it.
/// The others find it where they expect it.
fn own_log_dir(place: &Place, id: usize) -> String {
    let dir = place.dir.path().join(format!("host{id}"));
    fs::create_dir_all(&dir).expect("a folder");
    fs::create_dir_all(place.logs()).expect("a folder");
    let _ = symlink(dir.join(format!("learner{id}.txt")), path(place, id));
    dir.to_str().expect("UTF-8").to_owned()
}

/// A replica with a log directory of its own, warmed up with the others.
fn apart(place: &Place, id: usize, options: &[&str]) -> Replica {
    let dir = own_log_dir(place, id);
    place.replica_with(id, &[&["--log_dir", &dir], options].concat())
}

fn cluster_apart(place: &Place, options: &[&str]) -> Vec<Replica> {
    let mut cluster: Vec<Replica> = (0..3).map(|id| apart(place, id, options)).collect();
    cluster.iter_mut().for_each(|replica| replica.process.wait_for("warm-up complete"));
    cluster
}

/// How often a replica has said these words.
fn times(replica: &mut Replica, words: &str) -> usize {
    replica.process.said.extend(replica.process.lines.try_iter());
    replica.process.said.iter().filter(|line| line.contains(words)).count()
}

#[test]
fn a_chat_log_that_is_deleted_moved_or_rotated_while_it_runs_is_written_again() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(200);
    let rotated = |number: usize| place.logs().join(format!("learner1.txt.{number}"));
    let changes: [&dyn Fn(); 3] = [
        &|| fs::remove_file(path(&place, 1)).expect("it is deleted"),
        &|| fs::rename(path(&place, 1), rotated(7)).expect("it is moved"),
        &|| {
            fs::rename(path(&place, 1), rotated(8)).expect("it is moved");
            File::create(path(&place, 1)).expect("as logrotate does");
        },
    ];
    for (before, change) in changes.iter().enumerate() {
        change();
        completed.extend(load.more(200));
        until("it says so", || {
            let said = times(&mut cluster[1], "moved or deleted by another process: written again");
            (said == before + 1).then_some(())
        });
    }
    completed.extend(load.end());
    judge(&place, &completed);
    // Nothing follows, and it is noticed nevertheless.
    fs::remove_file(path(&place, 0)).expect("it is deleted");
    let logs = until("it is back", || {
        let logs = [place.log(0), place.log(1)];
        (logs[0].len() == logs[1].len()).then_some(logs)
    });
    assert_eq!(logs[0], logs[1]);
}

#[test]
fn a_chat_log_that_is_cut_while_it_runs_is_fetched_from_the_others() {
    // The leader's and a follower's, and under a mode that has no checkpoints.
    for (victim, options) in [(0, &[][..]), (2, &[]), (1, &["--durability", "none"])] {
        let place = Place::new(1);
        let mut cluster = cluster_apart(&place, options);
        let load = Load::begin(&place, &[]);
        let mut completed = load.more(300);
        for round in 1..=2 {
            // What only its memory holds cannot be cut.
            until("it has written something", || (!place.log(victim).is_empty()).then_some(()));
            cut(&place, victim);
            completed.extend(load.more(300));
            cluster[victim].process.wait_for("are fetched from the other replicas");
            until("it says so", || {
                let whole = times(&mut cluster[victim], "is whole again");
                let fetched = times(&mut cluster[victim], "are fetched from the other replicas");
                (whole == round && fetched == round).then_some(())
            });
        }
        completed.extend(load.end());
        judge(&place, &completed);
        // It is a member that votes as before.
        cluster.remove((victim + 1) % 3).kill();
        assert_eq!(completions(&place.say(&["--client_id", "77"], b"after\n")).len(), 1);
    }
}

#[test]
fn chat_logs_that_are_all_rotated_by_copying_and_cutting_are_restored_from_the_copies() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let lines: String = (0..500).map(|number| format!("line {number}\n")).collect();
    for round in 1..=3 {
        let said = place.say(&["--client_id", &round.to_string()], lines.as_bytes());
        assert_eq!(completions(&said).len(), 500);
        place.logs_of(&[0, 1, 2], 500 * round);
        (0..3).for_each(|id| copy_and_truncate(&place, id, "1"));
        for replica in &mut cluster {
            until("it says so", || {
                let said = times(replica, "was deleted or cut: its ");
                (said == round).then_some(())
            });
        }
    }
    let logs = place.logs_of(&[0, 1, 2], 1_500);
    assert!(logs[0] == logs[1] && logs[0] == logs[2]);
    assert_eq!(parse(&logs[0]).into_iter().flatten().count(), 1_500);
}

#[test]
fn a_chat_log_that_is_gone_or_cut_when_its_replica_starts_is_fetched_again() {
    let place = Place::new(1);
    let mut cluster = cluster_apart(&place, &[]);
    let lines: String = (0..20).map(|number| format!("line {number}\n")).collect();
    assert_eq!(place.say(&["--client_id", "7"], lines.as_bytes()).status.code(), Some(0));
    let whole = place.logs_of(&[0, 1, 2], 20).remove(0);
    let started = |_: ()| {
        let mut last = apart(&place, 2, &[]);
        last.process.wait_for("warm-up complete");
        last
    };
    let ended = |mut last: Replica| {
        last.process.signal("-TERM");
        assert_eq!(last.process.end().0.code(), Some(0));
    };
    for is_cut in [false, true] {
        ended(cluster.pop().expect("replica 2"));
        // When it has started and ended cleanly, its checkpoint covers all lines.
        ended(started(()));
        let dir = PathBuf::from(own_log_dir(&place, 2));
        match is_cut {
            true => cut(&place, 2),
            false => fs::remove_file(dir.join("learner2.txt")).expect("it is deleted"),
        }
        let mut last = started(());
        until("it is whole again", || (place.log(2) == whole).then_some(()));
        last.process.wait_for("its lines from slot 0 to 20 are fetched from the other replicas");
        last.process.wait_for("is whole again up to slot 20");
        cluster.push(last);
    }
    // From here on a quorum needs replica 2.
    cluster.remove(1).kill();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"more\n")), [(7, 20, 20)]);
}

#[test]
fn a_replica_that_lost_its_state_keeps_its_chat_log_however_often_it_is_started() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(200);
    let mut last = cluster.pop().expect("replica 2");
    completed.extend(load.more(1));
    for _ in 0..5 {
        last.kill();
        fs::remove_dir_all(place.logs().join("replica2")).expect("its disk is lost");
        last = place.replica(2);
        last.process.wait_for("does not vote");
        completed.extend(load.more(100));
    }
    completed.extend(load.end());
    judge(&place, &completed);
    assert!(!place.logs().join("learner2.txt.1").exists(), "nothing was moved");
    // Another chat is kept, once.
    for _ in 0..3 {
        last.kill();
        fs::remove_dir_all(place.logs().join("replica2")).expect("its disk is lost");
        if !place.logs().join("learner2.txt.1").exists() {
            fs::write(path(&place, 2), "0 1 0 another chat\n").expect("it is written");
        }
        last = place.replica(2);
        last.process.wait_for("does not vote");
        until("it is whole again", || (place.log(2) == place.log(0)).then_some(()));
    }
    let kept = fs::read_to_string(place.logs().join("learner2.txt.1")).expect("it is kept");
    assert_eq!(kept, "0 1 0 another chat\n");
    assert!(!place.logs().join("learner2.txt.2").exists(), "one copy");
}
