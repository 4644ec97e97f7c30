//! `client --snapshot FILE`: a copy of the chat log of a cluster that runs, and a new cluster that
//! begins with it.

use crate::load::*;
use crate::support::*;
use std::fs;
use std::path::PathBuf;

/// Takes a copy. Returns where it is, and what was said of it.
#[track_caller]
fn snapshot(place: &Place, name: &str) -> (PathBuf, String) {
    let file = place.dir.path().join(name);
    let ran = place.say(&["--snapshot", &file.display().to_string()], b"");
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    (file, text(&ran.stdout))
}

/// A new cluster that begins with this file goes on behind it.
#[track_caller]
fn is_restored(file: &PathBuf) {
    let copy = fs::read_to_string(file).expect("the copy");
    let lines = copy.lines().count();
    let place = Place::new(1);
    let mut cluster = place.cluster_with(&["--begin_from", &file.display().to_string()]);
    let says = format!("begins a new cluster with the {lines} lines of ");
    cluster[1].process.wait_for(&says);
    let ran = place.say(&["--client_id", "99"], b"and on\n");
    assert_eq!(completions(&ran), [(99, 0, lines as u64)], "{}", text(&ran.stderr));
    for log in place.logs_of(&[0, 1, 2], lines + 1) {
        assert_eq!(log, format!("{copy}{lines} 99 0 and on\n"));
    }
}

#[test]
fn a_new_cluster_begins_with_a_copy_that_was_taken_while_the_old_one_ran() {
    let place = Place::new(1);
    let _cluster = place.cluster();
    let ran = place.say(&["--client_id", "7"], b"one\n\ntwo \\ three\n");
    assert_eq!(completions(&ran).len(), 3);
    let (file, said) = snapshot(&place, "copy.txt");
    let copy = "0 7 0 one\n1 7 1 \n2 7 2 two \\\\ three\n";
    assert_eq!(fs::read_to_string(&file).expect("the copy"), copy);
    assert!(said.contains(": a chat log of 3 lines (hash "), "{said}");
    assert!(said.contains("3 replicas have the same log below slot 3"), "{said}");
    // Again, in the place of the first.
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"four\n")).len(), 1);
    let (file, _) = snapshot(&place, "copy.txt");
    assert_eq!(fs::read_to_string(&file).expect("the copy"), format!("{copy}3 7 3 four\n"));
    is_restored(&file);
}

#[test]
fn copies_that_are_taken_while_lines_flow_and_a_replica_dies_are_whole_and_lack_nothing_of_before()
{
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(200);
    let mut copies = Vec::new();
    for round in 0..3 {
        let mut last = completed.iter().map(|line| line.slot).max().expect("some");
        if round == 1 {
            cluster.remove(0).kill();
            // The next leader has applied all that the first one has called complete.
            let ran = place.say(&["--client_id", "50"], b"line 0 of 50\n");
            last = completions(&ran)[0].2 as usize;
        }
        let (file, _) = snapshot(&place, &format!("copy{round}.txt"));
        let copy = fs::read_to_string(&file).expect("the copy");
        assert!(copy.lines().count() > last, "round {round}: what was complete before is there");
        copies.push((file, copy));
        completed.extend(load.more(200));
    }
    cluster.push(place.restarted(0, &[]));
    completed.extend(load.end());
    judge(&place, &completed);
    let log = place.log(0);
    assert!(copies.iter().all(|(_, copy)| log.starts_with(copy)), "each is a beginning of it");
    is_restored(&copies[1].0);
}

#[test]
fn without_a_quorum_there_is_no_copy_and_the_one_before_stays() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")).len(), 1);
    let (file, _) = snapshot(&place, "copy.txt");
    cluster.drain(..).for_each(Replica::kill);
    let file = file.display().to_string();
    let ran = place.say(&["--snapshot", &file, "--timeout", "1"], b"");
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    assert_eq!(fs::read_to_string(&file).expect("the copy"), "0 7 0 one\n");
    let ran = place.say(&["--snapshot", "/proc/copy.txt"], b"");
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("--snapshot /proc/copy.txt: "), "{said}");
}
