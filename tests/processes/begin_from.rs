//! New clusters that begin with the chat log of one that is lost (`--begin_from`).

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};

fn say(place: &Place, client: &str, lines: std::ops::Range<u64>) -> Vec<(u64, u64, u64)> {
    let input: String = lines.map(|line| format!("{client} says \\ {line}\n")).collect();
    let ran = place.say(&["--client_id", client], input.as_bytes());
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    completions(&ran)
}

fn wipe(place: &Place, id: usize) {
    fs::remove_dir_all(place.logs().join(format!("replica{id}"))).expect("its disk is lost");
}

/// A copy of a chat log, as for another host.
fn copy(place: &Place, log: &Path, host: usize) -> PathBuf {
    let to = place.dir.path().join(format!("left{host}.txt"));
    fs::copy(log, &to).expect("a copy");
    to
}

fn begin(place: &Place, id: usize, file: &Path) -> Replica {
    place.replica_with(id, &["--begin_from", file.to_str().expect("UTF-8")])
}

/// The last line of a replica that is refused.
fn refused(place: &Place, id: usize, file: &Path) -> String {
    let (status, said) = begin(place, id, file).process.end();
    assert_eq!((status.code(), said.len()), (Some(64), 1), "{said:?}");
    said[0].clone()
}

#[test]
fn a_new_cluster_goes_on_with_the_one_chat_log_that_is_left() {
    let place = Place::new(1);
    let cluster = place.cluster();
    assert_eq!(say(&place, "7", 0..20).len(), 20);
    assert_eq!(say(&place, "8", 0..10).last(), Some(&(8, 9, 29)));
    let left = place.logs_of(&[0, 1, 2], 30).remove(2);
    cluster.into_iter().for_each(Replica::kill);
    // Two of three disks are lost.
    for id in [0, 1] {
        wipe(&place, id);
        fs::remove_file(place.logs().join(format!("learner{id}.txt"))).expect("lost too");
    }
    let own = place.logs().join("learner2.txt");
    let files = [copy(&place, &own, 0), copy(&place, &own, 1), own];
    let said = refused(&place, 2, &files[2]);
    assert!(said.contains("belongs to a cluster that did not begin with this file"), "{said}");
    assert!(said.contains("name an empty --data_dir"), "{said}");
    wipe(&place, 2);
    let mut cluster: Vec<Replica> = (0..3).map(|id| begin(&place, id, &files[id])).collect();
    for replica in &mut cluster {
        replica.process.wait_for("begins a new cluster with the 30 lines of ");
        replica.process.wait_for("warm-up complete");
    }
    assert_eq!(say(&place, "7", 20..22), [(7, 20, 30), (7, 21, 31)]);
    assert_eq!(say(&place, "9", 0..1), [(9, 0, 32)]);
    let logs = place.logs_of(&[0, 1, 2], 33);
    assert!(logs[0].starts_with(&left) && logs[1] == logs[0] && logs[2] == logs[0], "{logs:?}");
    // All are killed. The same units start again: one file has grown with the log meanwhile.
    cluster.into_iter().for_each(Replica::kill);
    let mut cluster: Vec<Replica> = (0..3).map(|id| begin(&place, id, &files[id])).collect();
    for replica in &mut cluster {
        replica.process.wait_for("it goes on");
        replica.process.wait_for("warm-up complete");
    }
    assert_eq!(say(&place, "8", 10..11), [(8, 10, 33)]);
    // Without the option it goes on too, and one that lost its disk follows from the beginning.
    cluster.pop().expect("replica 2").kill();
    cluster.push(place.restarted(2, &[]));
    cluster.remove(1).kill();
    wipe(&place, 1);
    fs::remove_file(place.logs().join("learner1.txt")).expect("lost too");
    let mut wiped = place.replica(1);
    wiped.process.wait_for("does not vote");
    assert_eq!(say(&place, "8", 11..12), [(8, 11, 34)]);
    let logs = place.logs_of(&[0, 1, 2], 35);
    assert!(logs[0].starts_with(&left) && logs[1] == logs[0] && logs[2] == logs[0], "{logs:?}");
    parse(&logs[0]);
}

#[test]
fn three_replicas_that_are_wiped_in_turn_say_the_same_and_begin_with_any_of_their_logs() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    say(&place, "7", 0..5);
    place.logs_of(&[0, 1, 2], 5);
    let mut words = Vec::new();
    for id in 0..3 {
        cluster.remove(0).kill();
        wipe(&place, id);
        let mut wiped = place.replica(id);
        wiped.process.wait_for("not a member of the running cluster");
        let said = wiped.process.said.iter().find(|line| line.contains("not a member"));
        words.push(
            said.expect("it was said").split_once(": not a member").expect("it is").1.to_owned(),
        );
        cluster.push(wiped);
    }
    assert!(
        words.iter().all(|said| *said == words[0] && said.contains("--begin_from")),
        "{words:?}"
    );
    let ran = place.say(&["--timeout", "1"], b"nobody votes\n");
    assert_eq!(ran.status.code(), Some(1));
    let left = place.logs_of(&[0, 1, 2], 5).remove(0);
    // What the line says helps.
    cluster.into_iter().for_each(Replica::kill);
    let file = copy(&place, &place.logs().join("learner1.txt"), 0);
    let mut cluster: Vec<Replica> = (0..3).map(|id| begin(&place, id, &file)).collect();
    cluster.iter_mut().for_each(|replica| replica.process.wait_for("warm-up complete"));
    assert_eq!(say(&place, "7", 5..6), [(7, 5, 5)]);
    let logs = place.logs_of(&[0, 1, 2], 6);
    assert!(logs.iter().all(|log| *log == format!("{left}5 7 5 7 says \\\\ 5\n")), "{logs:?}");
}

#[test]
fn replicas_that_begin_with_different_logs_wait_and_say_so() {
    let place = Place::new(1);
    let file = |host: usize, log: &str| {
        let file = place.dir.path().join(format!("left{host}.txt"));
        fs::write(&file, log).expect("a file");
        file
    };
    let (one, other) = (file(0, "0 7 0 a\n1 7 1 b\n"), file(1, "0 7 0 a\n"));
    let mut cluster = vec![begin(&place, 0, &one), begin(&place, 1, &other), place.replica(2)];
    for (replica, words) in cluster.iter_mut().zip(["of 1 lines", "of 2 lines", "of 1 lines"]) {
        replica.process.wait_for(words);
        replica.process.wait_for("give all the same --begin_from, or none");
    }
    cluster[0].process.wait_for("replica 2 begins with no chat log");
    cluster.drain(1..).for_each(Replica::kill);
    cluster.extend([begin(&place, 1, &one), begin(&place, 2, &one)]);
    cluster.iter_mut().for_each(|replica| replica.process.wait_for("warm-up complete"));
    assert_eq!(say(&place, "7", 2..3), [(7, 2, 2)]);
}

#[test]
fn a_file_that_is_no_whole_chat_log_is_refused_by_line() {
    let place = Place::new(1);
    let file = place.dir.path().join("left.txt");
    for (log, words) in [
        ("", "left.txt: is empty"),
        ("0 7 0 a\n1 7 1 b", "left.txt:2: the file ends within this line"),
        ("0 7 0 a\n2 7 1 b\n", "left.txt:2: slot 2 stands here, and slot 1 is missing"),
        ("0 7 0 a\n0 7 0 a\n", "left.txt:2: slot 0 stands here again"),
        ("0 7 0 a\n1 7 2 b\n", "left.txt:2: line 2 of client 7 stands here"),
        ("hello\n", "left.txt:1: not a line of a chat log"),
    ] {
        fs::write(&file, log).expect("a file");
        let said = refused(&place, 0, &file);
        assert!(said.contains(words), "{said}");
    }
    let said = refused(&place, 0, &place.dir.path().join("none.txt"));
    assert!(said.contains("--begin_from ") && said.contains("o such file"), "{said}");
}
