//! Real processes that write traces, and what `trace` says of them.

#[path = "../../../tests/processes/built.rs"]
mod built;
#[path = "../../../tests/processes/place.rs"]
mod place;

use history::why::Teller;
use multipaxos::paxos::acceptor;
use multipaxos::runtime::trace::block::{Block, Record, Sealed, Stream};
use multipaxos::types::Slot;
use place::{Guard, Line, Place, parse, text, until};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use trace::files::Files;
use trace::invariants::compare;
use trace::merged::merge;

const TRACE: &str = env!("CARGO_BIN_EXE_trace");

fn beside(name: &str) -> PathBuf {
    built::assert_fresh_beside(TRACE, name);
    Path::new(TRACE).with_file_name(name)
}

fn file(place: &Place, name: &str) -> String {
    place.dir.path().join("traces").join(name).display().to_string()
}

fn replica(place: &Place, id: usize, options: &[&str]) -> Guard {
    let mut command = place.program(beside("replica").to_str().expect("UTF-8"));
    command.arg("--log_dir").arg(place.logs()).args(["--replica_id", &id.to_string()]);
    command.args(["--trace", &file(place, &format!("{id}.trace"))]).args(options);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    Guard(command.spawn().expect("it starts"))
}

/// The slots of the lines of a client that says them all.
fn say(place: &Place, client: u64, lines: &str) -> Vec<u64> {
    let mut command = place.program(beside("client").to_str().expect("UTF-8"));
    command.args(["--client_id", &client.to_string(), "--timeout", "15"]);
    command.args(["--trace", &file(place, &format!("client{client}"))]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success());
    let slot = |line: &str| line.split(' ').nth(2).and_then(|slot| slot.parse().ok());
    text(&out.stdout).lines().map(|line| slot(line).expect("a slot")).collect()
}

fn trace(args: &[&str]) -> Output {
    Command::new(TRACE).args(args).output().expect("it runs")
}

fn end(mut replica: Guard) {
    let pid = replica.0.id().to_string();
    assert!(Command::new("kill").arg(pid).status().expect("it runs").success());
    assert!(replica.0.wait().expect("it ends").success());
}

/// What stands in the trace so far.
fn slots(path: &Path) -> usize {
    let files = Files::read(&[path.to_path_buf()]).expect("a trace");
    compare(&files.lives().0).slots
}

/// The trace with the first answer of the acceptor left out, and the record's place.
fn altered(bytes: &[u8]) -> (Vec<u8>, String) {
    let files = Files::of(vec![("a".into(), bytes.to_vec())]);
    let lists = &files.lives().0[0].lists;
    let (mut all, mut rest, mut place) = (Vec::new(), bytes, None);
    while let Some((block, behind)) = Sealed::first(rest).expect("a whole trace") {
        let raw = &rest[..rest.len() - behind.len()];
        rest = behind;
        if block.stream != Stream::Acceptor || place.is_some() {
            all.extend_from_slice(raw);
            continue;
        }
        let mut changed = Block::default();
        for (at, record) in block.records::<acceptor::Input, acceptor::Record>(lists).enumerate() {
            let mut record = record.expect("a record");
            if let Record::Turn { envelopes, .. } = &mut record
                && place.is_none()
                && envelopes.pop().is_some()
            {
                place = Some(format!("acceptor: record {at} of block {}", block.number));
            }
            changed.put(&record);
        }
        all.extend(changed.sealed(Stream::Acceptor, block.number));
    }
    (all, place.expect("an acceptor answers"))
}

/// How many events ShiViz finds in a log, with what it demands of their clocks: a process's own
/// number is 1 in its first event and rises by 1, and others are named by numbers of events that
/// they have.
fn shiviz_takes(log: &str) -> usize {
    let (head, log) = log.split_once("\n\n").expect("two lines of regular expressions");
    assert_eq!(head, trace::shiviz::EVENT);
    let lines: Vec<&str> = log.lines().collect();
    let mut clocks: Vec<(&str, serde_json::Map<String, serde_json::Value>)> = Vec::new();
    for event in lines.chunks(2) {
        let [_, at] = event else { panic!("half an event: {event:?}") };
        let (host, clock) = at.split_once(' ').expect("a host and a clock");
        assert!(!host.contains(char::is_whitespace) && clock.starts_with('{'), "{at}");
        clocks.push((host, serde_json::from_str(clock).expect("JSON")));
    }
    let mut events: std::collections::BTreeMap<&str, u64> = Default::default();
    for (host, clock) in &clocks {
        let own = events.entry(host).or_default();
        *own += 1;
        assert_eq!(clock[*host], *own, "{host}");
    }
    for (_, clock) in &clocks {
        for (host, time) in clock {
            let time = time.as_u64().expect("a number");
            assert!((1..=events[host.as_str()]).contains(&time), "{host} {time}");
        }
    }
    clocks.len()
}

fn killed_leader(options: &[&str]) {
    let place = Place::new(1);
    let dir = place.dir.path().join("traces");
    fs::create_dir(&dir).expect("a folder");
    let traces = dir.to_str().expect("UTF-8");
    let mut replicas: Vec<Guard> = (0..place.n()).map(|id| replica(&place, id, options)).collect();
    let first = say(&place, 7, "one\ntwo\nthree\n");
    let leader = dir.join("0.trace");
    until("the leader's trace has three lines", || (slots(&leader) >= 3).then_some(()));
    replicas[0].0.kill().expect("it is killed");
    let second = say(&place, 8, "four\nfive\n");
    replicas.drain(1..).for_each(end);
    let log = fs::read_to_string(place.logs().join("learner1.txt")).expect("a chat log");
    let in_log = |slot: u64| -> Line { parse(&log)[slot as usize].clone() };
    assert_eq!(in_log(second[0]), Some((8, 0, "four".into())));

    let ran = trace(&["check", traces]);
    let said = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(said.ends_with("PASS  5 processes\n"), "{said}");
    assert!(
        said.contains("replica 0 (0.trace): ") && said.contains("it has not said that it ends")
    );
    assert!(said.contains("and 5 completed lines were looked up"), "{said}");

    let json = text(&trace(&["check", "--json", traces]).stdout);
    let json: serde_json::Value = serde_json::from_str(&json).expect("one object");
    assert_eq!(json["verdict"], "pass", "{json}");
    assert_eq!(json["processes"].as_array().map(Vec::len), Some(5), "{json}");
    assert_eq!(json["compared"]["completed_lines"], 5, "{json}");

    let log = place.dir.path().join("run.log");
    let ran = trace(&["export", "--shiviz", log.to_str().expect("UTF-8"), traces]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let log = fs::read_to_string(log).expect("a log");
    let events = shiviz_takes(&log);
    assert!(events > 50 && log.contains("accept ballot 0: 0:\"one\""), "{events} events: {log}");

    let told = |slot: u64| text(&trace(&["explain", "--slot", &slot.to_string(), traces]).stdout);
    let before = told(first[1]);
    assert!(before.contains(&format!("Slot {} is decided", first[1])), "{before}");
    assert!(before.contains("\"two\"") && before.contains("ballot 0"), "{before}");
    let after = told(second[0]);
    assert!(after.contains("\"four\"") && !after.contains("chosen at ballot 0"), "{after}");
    assert!(after.contains("replica 1") && after.contains("replica 2"), "{after}");

    // When that line was chosen one of the others led, and the rest say why they did not.
    let files = Files::read(std::slice::from_ref(&dir)).expect("traces");
    let (history, _) = merge(&files.lives().0, usize::MAX);
    let entry = Teller::new(&history).entry(Slot(second[0]));
    let (_, _, us) = entry.chosen.first().expect("it is chosen");
    let at = format!("{}ms", us.div_ceil(1_000));
    let why_not = |id: &str| {
        let args = ["explain", "--why_not_leader", id, "--at", &at, traces];
        text(&trace(&args).stdout)
    };
    let of = ["0", "1", "2"].map(why_not);
    assert!(of[0].contains("replica 0 did not lead: the last that its trace says"), "{of:?}");
    let (leader, other) = if of[1].contains("did lead") { (1, 2) } else { (2, 1) };
    assert!(of[leader].contains(&format!("replica {leader} did lead: with ballot ")), "{of:?}");
    let follows = format!("replica {other} did not lead: it followed replica {leader}, with");
    assert!(of[other].contains(&follows), "{of:?}");
    assert!(of[other].contains(&format!("Replica {leader} led with ballot ")), "{of:?}");

    let args = ["explain", "--client", "8", "--line", "0", traces];
    assert_eq!(text(&trace(&args).stdout), after);
    let args = ["explain", "--client", "8", "--line", "2", traces];
    assert_eq!(trace(&args).status.code(), Some(1));

    let page = place.dir.path().join("page.html");
    let ran = trace(&["report", "--page", page.to_str().expect("UTF-8"), traces]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let page = fs::read_to_string(page).expect("a page");
    assert!(page.contains("four") && page.contains("no invariant is broken"));

    let path = dir.join("1.trace");
    let (bytes, at) = altered(&fs::read(&path).expect("a trace"));
    fs::write(&path, bytes).expect("it is written");
    let ran = trace(&["check", traces]);
    let said = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("DIFFERS  replica 1 (1.trace): {at}: the turn")), "{said}");
    assert!(said.contains("differs\n  traced:   none\n  replayed: "), "{said}");
}

#[test]
fn a_killed_leader_and_its_heir_are_replayed_and_explained() {
    killed_leader(&["--threads", "per-role"]);
}

#[test]
fn the_same_on_one_thread_without_a_disk() {
    killed_leader(&["--threads", "one", "--durability", "none"]);
}

#[test]
fn a_replica_that_restarts_has_two_lives() {
    let place = Place::new(1);
    let dir = place.dir.path().join("traces");
    fs::create_dir(&dir).expect("a folder");
    let mut replicas: Vec<Guard> = (0..3).map(|id| replica(&place, id, &[])).collect();
    say(&place, 7, "one\ntwo\nthree\n");
    end(replicas.pop().expect("one"));
    replicas.push(replica(&place, 2, &[]));
    say(&place, 8, "four\n");
    until("the new life has the line", || (slots(&dir.join("2.trace")) >= 1).then_some(()));
    replicas.into_iter().for_each(end);
    let ran = trace(&["check", dir.to_str().expect("UTF-8")]);
    let said = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(said.contains("replica 2 (2.trace.1): ") && said.contains("replica 2 (2.trace): "));
    assert!(said.ends_with("PASS  6 processes\n"), "{said}");
}

#[test]
fn the_help_has_no_fault() {
    let ran = trace(&["--help"]);
    let help = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(help.contains("explain --slot 7") && help.contains("--perfetto FILE"), "{help}");
}

#[test]
fn bad_usage_is_refused_with_one_line() {
    for (args, line) in [
        (&[][..], "check, explain, report or export? (trace check DIR)"),
        (&["check"], "check: of which folder? (trace check DIR)"),
        (
            &["explain", "."],
            "explain: which --slot, or which --line of which --client, or --why_not_leader of which \
             replica and --at what time?",
        ),
        (
            &["explain", "--why_not_leader", "1", "--at", "soon", "."],
            "--at soon: not a time such as 12.3s or 450ms",
        ),
        (&["chekc", "."], "chekc: no such command: check, explain, report or export"),
    ] {
        let ran = trace(args);
        assert_eq!((ran.status.code(), text(&ran.stderr)), (Some(64), format!("{line}\n")));
    }
}
