//! Names and addresses: configurations that cannot work, that differ between hosts, and hosts
//! that move.

use super::support::*;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

impl Place {
    /// A cluster file beside the usual one, with these lines; returns its path.
    fn file(&self, name: &str, lines: &[String]) -> String {
        let path: PathBuf = self.dir.path().join(name);
        fs::write(&path, lines.join("\n") + "\n").expect("a configuration");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The lines of the usual cluster file.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("config.txt")).expect("it is there");
        text.lines().map(str::to_owned).collect()
    }
}

/// Whether this host lets a test give a process a network of its own; says so if not.
fn has_namespaces() -> bool {
    let able = Command::new("unshare").args(["-n", "true"]).output();
    let able = able.is_ok_and(|ran| ran.status.success());
    if !able {
        eprintln!("skipped in part: no rights for a network namespace");
    }
    able
}

/// The port of a line.
fn port(line: &str) -> &str {
    line.split_once(' ').expect("two fields").1
}

#[test]
fn a_replica_binds_every_interface_where_its_own_line_says_so() {
    let place = Place::new(1);
    let mut files = Vec::new();
    for id in 0..3 {
        let mut lines = place.lines();
        lines[id] = format!("0.0.0.0 {}", port(&lines[id]));
        files.push(place.file(&format!("config{id}.txt"), &lines));
    }
    let mut cluster: Vec<Replica> =
        (0..3).map(|id| place.replica_with(id, &["--config_path", &files[id]])).collect();
    for replica in &mut cluster {
        replica.process.wait_for("listens on 0.0.0.0:");
        replica.process.wait_for("warm-up complete");
    }
    let ran = place.say(&["--client_id", "7"], b"hello\n");
    assert_eq!(text(&ran.stdout), "7 0 0\n", "{}", text(&ran.stderr));
    // Nobody can send to every interface: a client and other replicas refuse the line.
    let ran = place.say(&["--config_path", &files[1]], b"hello\n");
    let line = format!(
        "{}:2: 0.0.0.0 is every interface, which only a replica's own line may say: others need \
         an address to reach it at\n",
        files[1]
    );
    assert_eq!((ran.status.code(), text(&ran.stderr)), (Some(64), line.clone()));
    let mut other = place.replica_with(0, &["--config_path", &files[1]]);
    let (status, said) = other.process.end();
    assert_eq!((status.code(), said.join("\n") + "\n"), (Some(64), line));
}

#[test]
fn a_loopback_address_among_others_is_warned_of() {
    let place = Place::new(1);
    let mut lines = place.lines();
    lines[0] = format!("127.0.1.1 {}", port(&lines[0]));
    lines[2] = "192.0.2.7 7000".into();
    let file = place.file("mixed.txt", &lines);
    let mut replica = place.replica_with(0, &["--config_path", &file]);
    replica.process.wait_for(&format!(
        "{file}:1: 127.0.1.1 is the loopback address 127.0.1.1, which other hosts do not reach"
    ));
    replica.process.wait_for(&format!("{file}:2: 127.0.0.1 is the loopback address"));
    // On one host all are loopback addresses, and nothing is said.
    let (_, said) = {
        let mut ended = place.replica(1);
        ended.process.wait_for("still waiting");
        ended.process.signal("-TERM");
        ended.process.end()
    };
    assert!(!said.iter().any(|line| line.contains("WARN")), "{said:#?}");
}

#[test]
fn sends_that_fail_are_said_with_their_cause_once() {
    let place = Place::new(1);
    let mut lines = place.lines();
    lines[2] = "192.0.2.7 7000".into();
    let file = place.file("far.txt", &lines);
    let options = ["--config_path", &file];
    let mut replica = place.replica_with(0, &options);
    // From a loopback address there is no way to another host.
    replica.process.wait_for("sends to replica 2 (192.0.2.7:7000) fail: invalid argument");
    replica.process.wait_for("still waiting for replicas 1, 2");
    replica.process.signal("-TERM");
    let (status, said) = replica.process.end();
    let lines = said.iter().filter(|line| line.contains("fail:")).count();
    assert_eq!((status.code(), lines), (Some(0), 1), "dozens fail a second: {said:#?}");
    if has_namespaces() {
        let mut lines = place.lines();
        lines[0] = format!("0.0.0.0 {}", port(&lines[0]));
        lines[2] = "192.0.2.7 7000".into();
        let file = place.file("unplugged.txt", &lines);
        let mut replica = place.replica_by(&["unshare", "-n"], 0, &["--config_path", &file]);
        let line = "sends to replica 2 (192.0.2.7:7000) fail: network is unreachable";
        replica.process.wait_for(line);
    }
}
