//! `client --json`: many lines in flight, each with an answer that bears its id.

use crate::support::*;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

/// A field of an answer, as it stands there.
fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = answer.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()
}

fn number(answer: &str, name: &str) -> usize {
    let found = field(answer, name).and_then(|text| text.parse().ok());
    found.unwrap_or_else(|| panic!("no {name}: {answer}"))
}

fn request(id: usize) -> String {
    format!("{{\"id\": {id}, \"line\": \"line {id}\"}}\n")
}

#[test]
fn every_request_is_answered_once_and_stands_where_its_answer_says_though_the_leader_dies() {
    const REQUESTS: usize = 400;
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let client = &mut place.client(&["--client_id", "7", "--json", "--in_flight", "32"]);
    let mut process = Process::spawn_on(client, Stdio::piped(), Stdio::piped());
    let mut stdin = process.child.0.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(process.child.0.stdout.take().expect("a pipe")).lines();
    let mut answer = || answers.next().expect("an answer").expect("UTF-8");
    (0..REQUESTS / 2).for_each(|id| stdin.write_all(request(id).as_bytes()).expect("it reads"));
    let mut found: Vec<String> = (0..REQUESTS / 4).map(|_| answer()).collect();
    cluster.remove(0).kill();
    let rest = (REQUESTS / 2..REQUESTS).map(request).collect::<String>();
    stdin.write_all(rest.as_bytes()).expect("it reads");
    drop(stdin);
    found.extend((REQUESTS / 4..REQUESTS).map(|_| answer()));
    let (status, said) = process.end();
    assert_eq!((status.code(), said), (Some(0), vec![]));
    let ids: BTreeSet<usize> = found.iter().map(|answer| number(answer, "id")).collect();
    assert_eq!(ids, (0..REQUESTS).collect(), "each once");
    let top = found.iter().map(|answer| number(answer, "slot")).max().expect("there are some");
    for log in place.logs_of(&[1, 2], top + 1) {
        let lines = parse(&log);
        for answer in &found {
            let (id, seq) = (number(answer, "id"), number(answer, "seq") as u64);
            let line = (7, seq, format!("line {id}"));
            assert_eq!(lines[number(answer, "slot")], Some(line), "{answer}");
        }
        assert_eq!(lines.iter().flatten().count(), REQUESTS, "no line stands twice");
    }
}

#[test]
fn what_is_no_request_is_refused_under_its_id_and_the_rest_goes_on() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    let input = b"{\"id\": \"a\", \"line\": \"caf\\u00e9\\n\"}\nhello\n\n{\"id\": 2}\n{\"id\": 3, \"line\": \"\"}";
    let ran = place.say(&["--client_id", "7", "--json", "--in_flight", "1"], input);
    assert_eq!((ran.status.code(), text(&ran.stderr).as_str()), (Some(1), ""));
    let out = text(&ran.stdout);
    let mut answers: Vec<&str> = out.lines().collect();
    answers.sort_unstable_by_key(|answer| field(answer, "id"));
    let is = |at: usize, begins: &str| assert!(answers[at].starts_with(begins), "{answers:?}");
    is(0, "{\"id\":\"a\",\"slot\":0,\"seq\":0,\"ms\":");
    is(1, "{\"id\":2,\"error\":\"no line, which is a string: a request is {");
    is(2, "{\"id\":3,\"slot\":1,\"seq\":1,\"ms\":");
    is(3, "{\"id\":null,\"error\":\"expected value at line 1 column 1: a request is {");
    assert_eq!(answers.len(), 4);
    assert_eq!(place.logs_of(&[0], 2), ["0 7 0 caf\u{e9}\\n\n1 7 1 \n"]);
}

#[test]
fn a_request_whose_fate_is_unknown_is_answered_so() {
    let place = Place::new(1);
    // Nobody serves there.
    let mut command = place.client(&["--json", "--timeout", "1"]);
    let mut process = Process::spawn_on(&mut command, Stdio::piped(), Stdio::piped());
    let mut stdin = process.child.0.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(process.child.0.stdout.take().expect("a pipe"));
    let mut answer = String::new();
    stdin.write_all(request(1).as_bytes()).expect("it reads");
    answers.read_line(&mut answer).expect("an answer");
    assert_eq!(answer, "{\"id\":1,\"unknown\":\"no completion in time\"}\n");
    // It goes on, and a signal ends it.
    stdin.write_all(request(2).as_bytes()).expect("it reads");
    answer.clear();
    answers.read_line(&mut answer).expect("an answer");
    assert_eq!(answer, "{\"id\":2,\"unknown\":\"no completion in time\"}\n");
    process.signal("-INT");
    let (status, _) = process.end();
    assert_eq!(status.code(), Some(1));
    let mut rest = String::new();
    answers.read_to_string(&mut rest).expect("it ends");
    assert_eq!(rest, "");
}

#[test]
fn a_signal_tells_the_requests_in_flight_as_unknown() {
    let place = Place::new(1);
    let mut command = place.client(&["--json", "--timeout", "60"]);
    let mut process = Process::spawn_on(&mut command, Stdio::piped(), Stdio::piped());
    let mut stdin = process.child.0.stdin.take().expect("a pipe");
    stdin.write_all((request(1) + &request(2)).as_bytes()).expect("it reads");
    process.wait_for("0 of 3 replicas answer, and a quorum of 2 is needed: still trying");
    process.signal("-INT");
    assert_eq!(process.end().0.code(), Some(1));
    let mut out = String::new();
    let mut stdout = process.child.0.stdout.take().expect("a pipe");
    stdout.read_to_string(&mut out).expect("it ends");
    let unknown = |id| format!("{{\"id\":{id},\"unknown\":\"interrupted\"}}\n");
    assert_eq!(out, unknown(1) + &unknown(2));
}

#[test]
fn how_many_are_in_flight_is_only_for_requests() {
    let place = Place::new(0);
    for options in [&["--in_flight", "2"][..], &["--in_flight", "2", "--json", "--status"]] {
        let ran = place.say(options, b"");
        assert_eq!(ran.status.code(), Some(64));
        let told = "--in_flight: only with --json, and without --status\n";
        assert_eq!(text(&ran.stderr), told);
    }
    let ran = place.say(&["--json", "--in_flight", "0"], b"");
    assert_eq!(text(&ran.stderr), "--in_flight 0: not a whole number from 1 to 1024\n");
}

#[test]
fn the_python_example_writes_lines_together() {
    let place = Place::new(1);
    let _cluster = place.cluster();
    let mut python = Command::new("python3");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/log.py");
    python.args([example, "--client", env!("CARGO_BIN_EXE_client"), "--config_path"]);
    let Ok(ran) = python.arg(place.dir.path().join("config.txt")).output() else {
        println!("skipped: there is no python3");
        return;
    };
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let out = text(&ran.stdout);
    assert!(out.starts_with("100 lines stand in slots "), "{out}");
    let logs = place.logs_of(&[0, 1, 2], 101);
    let lines = parse(&logs[0]);
    let messages: BTreeSet<&str> =
        lines.iter().flatten().map(|(_, _, message)| message.as_str()).collect();
    assert_eq!(messages.len(), 101, "{messages:?}");
    assert_eq!(lines.last().and_then(Option::as_ref).expect("a line").2, "the last of 101");
}
