//! `client --follow` and `client --history`: what they print is the chat log, whatever becomes of
//! the replicas that they ask.

use crate::load::*;
use crate::support::*;
use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// A follower that runs, and what it has printed.
struct Follower {
    process: Process,
    printed: Arc<Mutex<Vec<u8>>>,
}

impl Follower {
    fn begin(place: &Place, args: &[&str]) -> Follower {
        let mut command = place.program(env!("CARGO_BIN_EXE_client"));
        command.arg("--follow").args(args);
        let mut process = Process::spawn_on(&mut command, Stdio::null(), Stdio::piped());
        let mut stdout = process.child.0.stdout.take().expect("a pipe");
        let printed: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = Arc::clone(&printed);
        thread::spawn(move || {
            let mut piece = [0; 4_096];
            while let Ok(count @ 1..) = stdout.read(&mut piece) {
                to.lock().expect("nobody panics").extend_from_slice(&piece[..count]);
            }
        });
        Follower { process, printed }
    }

    fn printed(&self) -> String {
        text(&self.printed.lock().expect("nobody panics"))
    }

    /// Waits until it has printed exactly this.
    #[track_caller]
    fn prints(&mut self, expected: &str) {
        until(&format!("{} lines are followed", expected.lines().count()), || {
            let printed = self.printed();
            assert!(expected.starts_with(&printed), "what was printed is no part of the log");
            (printed.len() == expected.len()).then_some(())
        });
        self.process.said.extend(self.process.lines.try_iter());
        assert!(self.process.said.is_empty(), "{:#?}", self.process.said);
    }
}

/// The lines of a chat log from this slot on.
fn from(log: &str, slot: usize) -> String {
    log.split_inclusive('\n').skip(slot).collect()
}

/// The log of all replicas, once it is the same.
#[track_caller]
fn common_log(place: &Place) -> String {
    until("equal logs", || {
        let logs: Vec<String> = (0..place.n()).map(|id| place.log(id)).collect();
        logs.iter().all(|log| *log == logs[0]).then(|| logs[0].clone())
    })
}

#[test]
fn a_follower_prints_every_line_once_whichever_replicas_are_killed() {
    let place = Place::new(1);
    let mut cluster: Vec<Option<Replica>> = place.cluster().into_iter().map(Some).collect();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(300);
    let mut all = Follower::begin(&place, &[]);
    let mut later = Follower::begin(&place, &["--from", "150"]);
    // The one that it asks is among them, and so is each leader.
    for id in [0, 1, 2, 0, 1, 2] {
        completed.extend(load.more(200));
        cluster[id].take().expect("it runs").kill();
        completed.extend(load.more(200));
        cluster[id] = Some(place.restarted(id, &[]));
    }
    completed.extend(load.end());
    judge(&place, &completed);
    let log = common_log(&place);
    all.prints(&log);
    later.prints(&from(&log, 150));
    // It goes on when nothing has come for a while.
    assert_eq!(completions(&place.say(&["--client_id", "9"], b"at last\n")).len(), 1);
    let log = until("the line is everywhere", || {
        Some(common_log(&place)).filter(|log| log.ends_with(" at last\n"))
    });
    all.prints(&log);
    later.prints(&from(&log, 150));
    all.process.signal("-INT");
    assert_eq!(all.process.end().0.code(), Some(0));
    later.process.signal("-TERM");
    assert_eq!(later.process.end().0.code(), Some(0));
}

#[test]
fn a_history_is_the_chat_log_to_the_byte() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let empty = place.say(&["--history"], b"not read");
    assert_eq!((empty.status.code(), empty.stdout.len()), (Some(0), 0));
    let long = "é\t\\".repeat(16_000);
    let lines = format!("one\n\n{long}\ntwo\n");
    assert_eq!(completions(&place.say(&["--client_id", "7"], lines.as_bytes())).len(), 4);
    // Whoever has seen a line complete finds it there at once.
    let ran = place.say(&["--history"], b"");
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let log = place.logs_of(&[0, 1, 2], 4).remove(0);
    assert!(text(&ran.stdout) == log, "{} bytes of {}", ran.stdout.len(), log.len());
    let ran = place.say(&["--history", "--from", "3"], b"");
    assert_eq!(text(&ran.stdout), "3 7 3 two\n");
    let ran = place.say(&["--history", "--from", "4000"], b"");
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(0), 0));
    // By one replica less, and as JSON.
    cluster.remove(0).kill();
    let ran = place.say(&["--history", "--format", "json"], b"");
    let said = text(&ran.stdout);
    let said: Vec<&str> = said.lines().filter(|line| !line.contains("noop")).collect();
    assert_eq!(said[0], r#"{"slot":0,"client":7,"seq":0,"message":"one"}"#);
    assert_eq!(said[1], r#"{"slot":1,"client":7,"seq":1,"message":""}"#);
    let escaped = long.replace('\\', "\\\\").replace('\t', "\\t");
    assert!(said[2] == format!(r#"{{"slot":2,"client":7,"seq":2,"message":"{escaped}"}}"#));
    assert_eq!(said[3], r#"{"slot":3,"client":7,"seq":3,"message":"two"}"#);
}

#[test]
fn a_follower_goes_on_where_a_third_of_all_datagrams_is_lost() {
    let place = Place::new(1);
    let _cluster = place.cluster_with(&["--msg_loss", "30"]);
    let mut all = Follower::begin(&place, &["--msg_loss", "30"]);
    let long = "x".repeat(3_000);
    let lines: String = (0..30).map(|number| format!("line {number} {long}\n")).collect();
    let ran = place.say(&["--msg_loss", "30", "--client_id", "7"], lines.as_bytes());
    assert_eq!(completions(&ran).len(), 30, "{}", text(&ran.stderr));
    let log = until("equal logs", || {
        let log = common_log(&place);
        (log.matches(" 7 ").count() >= 30).then_some(log)
    });
    all.prints(&log);
    let ran = place.say(&["--history", "--msg_loss", "30"], b"");
    assert!(text(&ran.stdout) == log, "{} bytes of {}", ran.stdout.len(), log.len());
}

#[test]
fn a_reader_that_has_had_enough_ends_a_follower_quietly_although_no_line_comes() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")).len(), 1);
    let mut command = place.program(env!("CARGO_BIN_EXE_client"));
    command.arg("--follow");
    let mut process = Process::spawn_on(&mut command, Stdio::null(), Stdio::piped());
    let stdout: ChildStdout = process.child.0.stdout.take().expect("a pipe");
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    reader.read_line(&mut line).expect("it prints");
    assert_eq!(line, "0 7 0 one\n");
    drop(reader);
    let (status, said) = process.end();
    assert_eq!((status.code(), said.len()), (Some(0), 0), "{said:#?}");
}

#[test]
fn a_follower_that_nobody_answers_says_so_and_gives_up() {
    let place = Place::new(1);
    let ran = place.say(&["--follow", "--timeout", "4"], b"");
    let said = text(&ran.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let silent = "no replica that hears a quorum for";
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert_eq!(lines[0], format!("{silent} 3 s: 0 of 3 replicas answer: still trying"));
    assert_eq!(lines[1], format!("{silent} 4 s: 0 of 3 replicas answer: gives up before slot 0"));
    let mut cluster = place.cluster();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")).len(), 1);
    let mut follower = Follower::begin(&place, &["--timeout", "4"]);
    follower.prints("0 7 0 one\n");
    cluster.drain(..).for_each(Replica::kill);
    follower.process.wait_for("no part of the log for 4 s: 0 of 3 replicas answer: gives up");
    assert_eq!(follower.process.end().0.code(), Some(1));
    assert_eq!(follower.printed(), "0 7 0 one\n");
}

#[test]
fn a_cluster_that_was_begun_anew_ends_a_follower_of_the_former_one() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")).len(), 1);
    let mut follower = Follower::begin(&place, &[]);
    follower.prints("0 7 0 one\n");
    cluster.drain(..).for_each(Replica::kill);
    std::fs::remove_dir_all(place.logs()).expect("their disks");
    let _anew = place.cluster();
    follower.process.wait_for("in place of the one that was followed: ends before slot 1");
    assert_eq!(follower.process.end().0.code(), Some(1));
}

#[test]
fn options_that_contradict_each_other_are_bad_usage() {
    let place = Place::new(0);
    for (args, line) in [
        (&["--follow", "--history"][..], "--follow, --history: choose one; --follow prints both"),
        (
            &["--follow", "--status"],
            "--status: not together with --follow, --history or --read: choose one",
        ),
        (
            &["--status", "--history"],
            "--status: not together with --follow, --history or --read: choose one",
        ),
        (&["--read", "--history"], "--history, --read: choose one; --read prints more"),
        (&["--from", "3"], "--from: only with --follow, --history or --read"),
        (&["--format", "json"], "--format: only with --follow, --history or --read"),
        (&["--status", "--from", "3"], "--from: only with --follow, --history or --read"),
        (
            &["--follow", "--json"],
            "--json: not with --follow, --history or --read: there it is --format json",
        ),
        (
            &["--follow", "--client_id", "7"],
            "--client_id: leave it out: --follow, --history and --read send no lines",
        ),
        (&["--follow", "--format", "xml"], "--format xml: not one of text, json"),
        (
            &["--history", "--from", "-1"],
            "--from -1: not a whole number from 0 to 4611686018427387904",
        ),
    ] {
        let ran = place.say(args, b"");
        assert_eq!((ran.status.code(), text(&ran.stderr)), (Some(64), format!("{line}\n")));
    }
}
