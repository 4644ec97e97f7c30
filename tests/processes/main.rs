//! Real processes on loopback: clusters that the tests start from the users' programs. Only code
//! of this folder judges the chat logs.

mod admin;
mod begin_from;
mod chat_log;
mod check;
mod clean_end;
mod command_line;
mod copies;
mod disk_trouble;
mod floods;
mod follow;
mod follower;
mod kept;
mod keys;
mod load;
mod make_run;
mod metrics;
mod names;
mod odd_hosts;
mod odd_shells;
mod odd_streams;
mod place;
mod put_back;
mod reads;
mod rejoin;
mod requests;
mod restart;
mod rolling_restart;
mod service_unit;
mod snapshot;
mod status;
mod strangers;
mod support;
mod terminal;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use support::*;

#[test]
fn a_piped_client_prints_a_completion_for_each_line_and_ends_well() {
    let place = Place::new(1);
    let _cluster = place.cluster();
    let ran = place.say(&["--client_id", "7"], b"hello\nworld\n");
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert_eq!(text(&ran.stdout), "7 0 0\n7 1 1\n");
    let logs = place.logs_of(&[0, 1, 2], 2);
    assert!(logs.iter().all(|log| log == "0 7 0 hello\n1 7 1 world\n"), "{logs:?}");
    // A client with the same id continues the numbering.
    let ran = place.say(&["--client_id", "7"], b"again\n");
    assert_eq!(completions(&ran), [(7, 2, 2)]);
}

#[test]
fn odd_lines_arrive_as_they_are_or_are_refused_alone() {
    let place = Place::new(1);
    let _cluster = place.cluster();
    let longest = "x".repeat(65_536);
    let mut input = Vec::new();
    for line in [b"".as_slice(), longest.as_bytes(), "y".repeat(65_537).as_bytes(), b"\xff\xfe"] {
        input.extend_from_slice(line);
        input.push(b'\n');
    }
    input.extend_from_slice("tab\there \\ caf\u{e9} \nSHUTDOWN\nnever\n".as_bytes());
    let ran = place.say(&["--client_id", "7"], &input);
    let err = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{err}");
    assert!(err.contains("line 3: longer than 65536 bytes: refused"), "{err}");
    assert!(err.contains("line 4: not UTF-8: refused"), "{err}");
    assert_eq!(completions(&ran).len(), 3);
    let expected = format!("0 7 0 \n1 7 1 {longest}\n2 7 2 tab\\u{{9}}here \\\\ caf\u{e9} \n");
    for (id, log) in place.logs_of(&[0, 1, 2], 3).iter().enumerate() {
        assert!(*log == expected, "the log of {id} has {} bytes", log.len());
    }
}

#[test]
fn shutdown_and_the_end_of_input_end_a_client_well() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    for (input, lines) in [(&b""[..], 0), (b"SHUTDOWN\n", 0), (b"a\nSHUTDOWN\nb\n", 1), (b"c", 1)] {
        let ran = place.say(&[], input);
        assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
        assert_eq!(completions(&ran).len(), lines, "{input:?}");
    }
}

#[test]
fn an_unreachable_cluster_ends_a_client_with_the_line_named() {
    let place = Place::new(1);
    let ran = place.say(&["--timeout", "1"], b"into the void\nnever sent\n");
    let err = text(&ran.stderr);
    assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(1), String::new()), "{err}");
    assert!(err.contains("into the void") && !err.contains("never sent"), "{err}");
}

#[test]
fn sigterm_and_sigint_end_a_replica_well() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    // A replica that still warms up ends well, too.
    let alone = Place::new(1);
    let mut waiting = alone.replica(2);
    waiting.process.wait_for("listens on");
    for (replica, signal) in cluster.iter_mut().zip(["-TERM", "-INT", "-TERM"]) {
        replica.process.signal(signal);
        let (status, said) = replica.process.end();
        assert_eq!(status.code(), Some(0), "replica {}: {said:#?}", replica.id);
    }
    waiting.process.signal("-TERM");
    assert_eq!(waiting.process.end().0.code(), Some(0));
}

#[test]
fn a_port_in_use_is_one_clear_line_even_without_a_log() {
    let place = Place::new(0);
    let first = place.cluster();
    let log = place.log(0);
    for level in ["info", "off"] {
        let mut second = place.replica_with(0, &["--log_level", level]);
        let (status, said) = second.process.end();
        assert_eq!(status.code(), Some(1), "{said:#?}");
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].contains("in use"), "{said:#?}");
    }
    assert_eq!((place.log(0), first.len()), (log, 1));
}

#[test]
fn warm_up_says_whom_it_waits_for() {
    let place = Place::new(1);
    let mut one = place.replica(1);
    one.process.wait_for("still waiting for replicas 0, 2");
    let _zero = place.replica(0);
    one.process.wait_for("still waiting for replica 2");
    let _two = place.replica(2);
    one.process.wait_for("warm-up complete");
}

#[test]
fn the_log_tells_the_protocol_in_the_words_of_scripts() {
    let place = Place::new(1);
    let mut cluster: Vec<_> = ["debug", "trace", "info"]
        .into_iter()
        .enumerate()
        .map(|(id, level)| place.replica_with(id, &["--log_level", level]))
        .collect();
    cluster[0].process.wait_for("[DEBUG] replica 0: saves promise 0");
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"hi\n")).len(), 1);
    cluster[0].process.wait_for("[DEBUG] replica 0: applies slot 0: \"hi\"");
    cluster[1].process.wait_for("[TRACE] replica 1: saves at ballot 0: 0:\"hi\"");
    cluster[1].process.wait_for("[TRACE] replica 1: 1->0 accepted ballot 0: slot 0");
    let said = cluster.drain(..).map(|mut replica| {
        replica.process.signal("-TERM");
        replica.process.end().1
    });
    let [debug, trace, info]: [Vec<String>; 3] =
        said.collect::<Vec<_>>().try_into().expect("three");
    let has = |said: &[String], words: &str| said.iter().any(|line| line.contains(words));
    assert!(!has(&debug, "accept ballot") && !has(&debug, "[TRACE]"), "{debug:#?}");
    assert!(!has(&trace, "heartbeat") && !has(&trace, "event source"), "{trace:#?}");
    assert!(!has(&info, "[DEBUG]") && !has(&info, "applies"), "{info:#?}");
}

#[test]
fn threads_carry_their_roles_names() {
    let per_role: &[&str] = &["acceptor", "learner", "network", "proposer", "replica"];
    let name = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm")).ok();
    for (layout, durability, wanted) in [
        ("per-role", "sync", per_role),
        ("per-role", "none", per_role),
        ("one", "sync", &["acceptor", "network", "replica"]),
        ("one", "none", &["network", "replica"]),
    ] {
        let place = Place::new(0);
        let cluster = place.cluster_with(&["--threads", layout, "--durability", durability]);
        let tasks = format!("/proc/{}/task", cluster[0].process.child.0.id());
        // A thread has its name only once it runs.
        until("the roles' threads, and no others", || {
            let entries = fs::read_dir(&tasks).expect("the process is there").flatten();
            let mut names: Vec<String> =
                entries.filter_map(name).map(|name| name.trim().to_owned()).collect();
            names.sort();
            (names == wanted).then_some(())
        });
    }
}

#[test]
fn a_line_in_flight_when_the_leader_is_killed_is_completed_once() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let mut command = place.client(&["--client_id", "7"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = Guard(command.spawn().expect("the client starts"));
    let mut stdin = client.0.stdin.take().expect("a pipe");
    let mut stdout: BufReader<ChildStdout> =
        BufReader::new(client.0.stdout.take().expect("a pipe"));
    let mut answer = String::new();
    for number in 0..20 {
        if number == 10 {
            cluster.remove(0).kill();
        }
        writeln!(stdin, "line {number}").expect("the client reads");
        answer.clear();
        stdout.read_line(&mut answer).expect("the client answers");
        assert!(answer.starts_with(&format!("7 {number} ")), "{answer:?}");
    }
    drop(stdin);
    assert_eq!(client.0.wait().expect("it ends").code(), Some(0));
    let last: usize = answer.trim().rsplit(' ').next().expect("a slot").parse().expect("a slot");
    let logs = place.logs_of(&[1, 2], last + 1);
    assert_eq!(logs[0], logs[1]);
    let written: Vec<(u64, u64, String)> = parse(&logs[0]).into_iter().flatten().collect();
    let expected: Vec<(u64, u64, String)> =
        (0..20).map(|number| (7, number, format!("line {number}"))).collect();
    assert_eq!(written, expected);
    assert!(logs[0].starts_with(&place.log(0)), "what the dead one wrote is a prefix");
}

#[test]
fn a_log_of_an_earlier_life_is_kept_beside_the_new_one() {
    let place = Place::new(0);
    fs::create_dir(place.logs()).expect("a folder");
    let path: &Path = &place.logs().join("learner0.txt");
    fs::write(path, "0 1 0 old\n").expect("an old log");
    let _cluster = place.cluster();
    let kept =
        until("the old log is kept", || fs::read_to_string(path.with_extension("txt.1")).ok());
    assert_eq!(kept, "0 1 0 old\n");
    assert_eq!(place.log(0), "");
}
