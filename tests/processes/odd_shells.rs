//! Real processes that a shell begins in an odd way: with signals ignored, or with a stderr that
//! nobody reads.

use crate::support::*;
use std::io::{PipeReader, Write, pipe};
use std::process::Stdio;

/// A pipe that takes nothing more, and the end that nobody reads.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let room = rustix::pipe::fcntl_getpipe_size(&writer).expect("its size");
    writer.write_all(&vec![b'.'; room]).expect("it has room");
    (reader, Stdio::from(writer))
}

#[test]
fn a_full_stderr_holds_up_neither_roles_nor_the_end() {
    let place = Place::new(1);
    let mut unread = Vec::new();
    let mut replicas = Vec::new();
    for id in 0..place.n() {
        let mut command = place.program(env!("CARGO_BIN_EXE_replica"));
        command.arg("--log_dir").arg(place.logs()).args(["--replica_id", &id.to_string()]);
        let (reader, stderr) = full_pipe();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        unread.push(reader);
        replicas.push(Guard(command.spawn().expect("the replica starts")));
    }
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")), [(7, 0, 0)]);
    // Failover logs more than anything else does.
    drop(replicas.remove(0));
    let ran = place.say(&["--client_id", "7"], b"two\nthree\n");
    assert_eq!(completions(&ran).len(), 2, "{}", text(&ran.stderr));
    for replica in &mut replicas {
        signal_to(replica.0.id(), "-TERM");
        let status = until("it ends", || replica.0.try_wait().expect("a child"));
        assert_eq!(status.code(), Some(0));
    }
    // So does a usage error, and a client that fails.
    let (_unread, stderr) = full_pipe();
    let mut client = place.client(&["--timeout", "1"]);
    client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
    let mut client = Guard(client.spawn().expect("the client starts"));
    client.0.stdin.take().expect("a pipe").write_all(b"into the void\n").expect("it reads");
    let status = until("it gives up", || client.0.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let place = Place::new(0);
    let by = ["sh", "-c", "trap '' HUP INT; exec \"$0\" \"$@\""];
    let mut replica = place.replica_by(&by, 0, &[]);
    replica.process.wait_for("warm-up complete");
    let pid = replica.process.child.0.id();
    for (number, signal) in [(1, "-HUP"), (2, "-INT")] {
        assert!(ignores(pid, number));
        signal_to(pid, signal);
    }
    assert!(!ignores(pid, 15));
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")), [(7, 0, 0)]);
    replica.process.signal("-TERM");
    let (status, said) = replica.process.end();
    assert_eq!(status.code(), Some(0), "{said:#?}");
}

#[test]
fn lines_of_a_log_begin_with_the_date_and_the_time_in_utc() {
    let place = Place::new(0);
    let mut replica = place.replica(0);
    replica.process.wait_for("warm-up complete");
    let line = &replica.process.said[0];
    let (stamp, rest) = line.split_once(' ').expect("a stamp");
    let form: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00:00:00.000Z", "{line}");
    assert!(rest.starts_with("[INFO] replica 0: "), "{line}");
}
