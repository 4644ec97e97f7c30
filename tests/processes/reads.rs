//! `client --read`: every line that was complete before it began is there, whoever leads, and
//! whoever is asked first.

use crate::support::*;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// What a read prints.
#[track_caller]
fn read(place: &Place, args: &[&str]) -> String {
    let ran = place.say(&[&["--read"], args].concat(), b"not read");
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    text(&ran.stdout)
}

/// The lines of clients, without no-ops and the numbers of their slots.
fn lines(log: &str) -> Vec<&str> {
    let lines = log.lines().filter(|line| !line.ends_with(" - - NOP"));
    lines.map(|line| line.split_once(' ').expect("a slot").1).collect()
}

#[test]
fn a_read_has_every_complete_line_when_the_leader_is_killed_behind_its_answer() {
    let place = Place::new(1);
    let mut cluster: Vec<Option<Replica>> = place.cluster().into_iter().map(Some).collect();
    assert_eq!(read(&place, &[]), "", "of an empty log");
    let mut expected = Vec::new();
    for round in 0..6 {
        let ran = place.say(&["--client_id", "7"], format!("line {round}\n").as_bytes());
        assert_eq!(completions(&ran).len(), 1, "{}", text(&ran.stderr));
        expected.push(format!("7 {round} line {round}"));
        // Whoever leads is among them: it has told its client, and perhaps nobody else.
        let id = round % 3;
        cluster[id].take().expect("it runs").kill();
        assert_eq!(lines(&read(&place, &[])), expected, "round {round}");
        cluster[id] = Some(place.restarted(id, &[]));
        assert_eq!(lines(&read(&place, &[])), expected, "round {round}");
    }
    let log = read(&place, &[]);
    assert_eq!(
        read(&place, &["--from", "2"]),
        log.split_inclusive('\n').skip(2).collect::<String>()
    );
    assert_eq!(read(&place, &["--from", "4000"]), "");
    let json = read(&place, &["--format", "json"]);
    assert!(json.contains(r#""client":7,"seq":0,"message":"line 0"}"#), "{json}");
}

#[test]
fn a_replica_that_no_other_hears_is_asked_and_hides_no_line() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let ran = place.say(&["--client_id", "7"], b"for all\n");
    assert_eq!(completions(&ran).len(), 1);
    place.logs_of(&[0, 1, 2], 1);
    cluster.drain(..).for_each(Replica::kill);
    // Clients reach all replicas; replica 2 and the others do not reach each other.
    let all = place.lines();
    let dead = ["127.0.0.1 1".to_owned(), "127.0.0.1 2".to_owned()];
    let two = place.file("two.txt", &[&all[..2], &dead[..1]].concat());
    let lone = place.file("lone.txt", &[&dead[..], &all[2..]].concat());
    let begin = |id, file: &String| place.replica_with(id, &["--config_path", file]);
    let mut cut_off = vec![begin(0, &two), begin(1, &two), begin(2, &lone)];
    let ran = place.say(&["--client_id", "7"], b"for two\n");
    assert_eq!(completions(&ran).len(), 1, "{}", text(&ran.stderr));
    for _ in 0..5 {
        assert_eq!(lines(&read(&place, &[])), ["7 0 for all", "7 1 for two"]);
    }
    assert_eq!(place.log(2).lines().count(), 1, "it was cut off");
    // With one of two gone nobody can say what is complete. (The one that is left does not notice at
    // once that it is alone, and sends what it has.)
    cut_off.remove(0).kill();
    let ran = place.say(&["--read", "--timeout", "4"], b"");
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    let wants = ["quorum that says how far the log is", "replica that hears a quorum"];
    let gives_up =
        |what| said.contains(&format!("no {what} for 4 s: 2 of 3 replicas answer: gives up"));
    assert!(wants.into_iter().any(gives_up), "{said}");
}

#[test]
fn a_follower_that_reads_says_when_every_complete_line_is_printed_and_goes_on() {
    let place = Place::new(1);
    let _cluster = place.cluster();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\ntwo\n")).len(), 2);
    let mut command = place.program(env!("CARGO_BIN_EXE_client"));
    command.args(["--follow", "--read"]);
    let mut follower = Process::spawn_on(&mut command, Stdio::null(), Stdio::piped());
    let mut printed = BufReader::new(follower.child.0.stdout.take().expect("a pipe")).lines();
    let mut next = || printed.next().expect("it goes on").expect("text");
    assert_eq!([next(), next()], ["0 7 0 one", "1 7 1 two"]);
    let said = "read: every line that was complete at the beginning is printed, below slot 2";
    follower.wait_for(said);
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"three\n")).len(), 1);
    assert_eq!(next(), "2 7 2 three");
    let mut command = place.program(env!("CARGO_BIN_EXE_client"));
    command.args(["--follow", "--read", "--format", "json", "--from", "2"]);
    let mut follower = Process::spawn_on(&mut command, Stdio::null(), Stdio::piped());
    let mut printed = BufReader::new(follower.child.0.stdout.take().expect("a pipe")).lines();
    let mut next = || printed.next().expect("it goes on").expect("text");
    assert_eq!(next(), r#"{"slot":2,"client":7,"seq":2,"message":"three"}"#);
    assert_eq!(next(), r#"{"read":3}"#);
}
