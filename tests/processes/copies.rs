//! A copy of a data directory that runs beside the original, at an address of its own.

use crate::support::*;
use std::net::UdpSocket;
use std::process::Command;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// When a line was written to the log, in milliseconds since midnight.
#[track_caller]
fn logged_ms(line: &str) -> u64 {
    let time = line.split(['T', 'Z']).nth(1).expect("a time");
    let numbers: Vec<u64> = time.split([':', '.']).map(|it| it.parse().expect("digits")).collect();
    let [hour, minute, second, ms] = numbers[..] else { panic!("{line}") };
    ((hour * 60 + minute) * 60 + second) * 1_000 + ms
}

#[track_caller]
fn copy(from: &str, to: &str) {
    let status = Command::new("cp").args(["-a", from, to]).status();
    assert!(status.expect("cp runs").success(), "{from} to {to}");
}

#[test]
fn two_processes_on_copies_of_one_directory_do_not_count_until_one_is_gone() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let ran = place.say(&["--client_id", "7"], b"one\ntwo\n");
    assert_eq!(completions(&ran).len(), 2, "{}", text(&ran.stderr));
    place.logs_of(&[0, 1, 2], 2);
    cluster.pop().expect("replica 2").kill();
    cluster.pop().expect("replica 1").kill();
    let logs = place.logs().to_str().expect("UTF-8").to_owned();
    let copied = place.dir.path().join("copied").to_str().expect("UTF-8").to_owned();
    std::fs::create_dir(&copied).expect("a new folder");
    for file in ["replica2", "learner2.txt"] {
        copy(&format!("{logs}/{file}"), &format!("{copied}/{file}"));
    }
    // Replica 1 believes in the copy, replica 0 in the original.
    let mut lines = place.lines();
    let original = lines[2].replace(' ', ":");
    let free = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    lines[2] = format!("127.0.0.1 {}", free.local_addr().expect("it is bound").port());
    drop(free);
    let beside = lines[2].replace(' ', ":");
    let file = place.file("beside.txt", &lines);
    let mut one = place.restarted(1, &["--config_path", &file]);
    let ran = place.say(&["--client_id", "7"], b"three\n");
    assert_eq!(completions(&ran).len(), 1, "{}", text(&ran.stderr));
    let mut first = place.restarted(2, &[]);
    let mut second = place.restarted(2, &["--config_path", &file, "--log_dir", &copied]);
    let mut zero = cluster.pop().expect("replica 0");
    for replica in [&mut zero, &mut one] {
        replica.process.wait_for("two processes run as replica 2 on copies of one data directory");
        let line = replica.process.said.last().expect("it was said");
        assert!(line.contains(&original) && line.contains(&beside), "{line}");
    }
    for (replica, other) in [(&mut first, &beside), (&mut second, &original)] {
        let words = "hears another process that runs on a copy of this data directory, at";
        replica.process.wait_for(words);
        let line = replica.process.said.last().expect("it was said");
        assert!(line.contains(other.as_str()), "{line}");
    }
    let ran = place.say(&["--client_id", "7"], b"four\nfive\n");
    assert_eq!(completions(&ran).len(), 2, "{}", text(&ran.stderr));
    // It listens before it says a word to anybody.
    let began = second.process.said.iter().find(|line| line.contains("listens on"));
    let began_ms = logged_ms(began.expect("it listens"));
    for replica in [&zero, &one, &first, &second] {
        let line = replica.process.said.last().expect("it was said");
        let took_ms = (logged_ms(line) + DAY_MS - began_ms) % DAY_MS;
        assert!(took_ms < 1_000, "replica {}: {took_ms} ms: {line}", replica.id);
    }
    second.kill();
    zero.process.wait_for("one life of replica 2 is left");
    let expected = "0 7 0 one\n1 7 1 two\n2 7 2 three\n3 7 3 four\n4 7 4 five\n";
    for (id, log) in place.logs_of(&[0, 1], 5).iter().enumerate() {
        assert_eq!(log, expected, "replica {id}");
    }
}
