//! Real clients whose stdin or stdout is odd: non-blocking, a terminal, a reader that goes or
//! stops.

use crate::support::*;
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::process::Stdio;

#[test]
fn a_client_waits_on_streams_that_another_process_left_non_blocking() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    let ((typed, mut typing), (shown, showing)) = (pipe().expect("a pipe"), pipe().expect("one"));
    fcntl_setfl(&typed, OFlags::NONBLOCK).expect("it becomes non-blocking");
    fcntl_setfl(&showing, OFlags::NONBLOCK).expect("it becomes non-blocking");
    let mut command = place.client(&["--client_id", "7"]);
    let mut process = Process::spawn_on(&mut command, typed.into(), showing.into());
    drop(command);
    let mut shown = BufReader::new(shown);
    for number in 0..2 {
        writeln!(typing, "line {number}").expect("it reads");
        let mut line = String::new();
        shown.read_line(&mut line).expect("it answers");
        assert_eq!(line, format!("7 {number} {number}\n"));
    }
    drop(typing);
    let (status, said) = process.end();
    assert_eq!((status.code(), said.len()), (Some(0), 0), "{said:#?}");
}

#[test]
fn a_client_whose_reader_goes_before_all_lines_are_told_does_not_end_well() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    let ((typed, mut typing), (shown, showing)) = (pipe().expect("a pipe"), pipe().expect("one"));
    let mut command = place.client(&["--client_id", "7"]);
    let mut process = Process::spawn_on(&mut command, typed.into(), showing.into());
    drop(command);
    let lines: String = (0..200).map(|number| format!("line {number}\n")).collect();
    typing.write_all(lines.as_bytes()).expect("a pipe holds it");
    let mut shown = BufReader::new(shown);
    let mut line = String::new();
    shown.read_line(&mut line).expect("it answers");
    assert_eq!(line, "7 0 0\n");
    drop(shown);
    let (status, said) = process.end();
    assert_eq!((status.code(), said.len()), (Some(1), 0), "quietly: {said:#?}");
}

#[test]
fn a_signal_ends_a_client_whose_output_nobody_takes() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    let ((typed, mut typing), (unread, mut showing)) = (pipe().expect("one"), pipe().expect("one"));
    let room = rustix::pipe::fcntl_getpipe_size(&showing).expect("its size");
    showing.write_all(&vec![b'.'; room]).expect("it has room");
    let mut command = place.client(&["--client_id", "7"]);
    let mut process = Process::spawn_on(&mut command, typed.into(), showing.into());
    drop(command);
    writeln!(typing, "nobody hears of this").expect("it reads");
    place.logs_of(&[0], 1);
    process.signal("-TERM");
    let (status, said) = process.end();
    assert_eq!(status.code(), Some(1), "{said:#?}");
    drop(unread);
}

#[test]
fn a_line_that_a_terminal_has_cut_is_refused_and_the_rest_goes_on() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&keyboard).expect("it is ours");
    unlockpt(&keyboard).expect("it is unlocked");
    let name = ptsname(&keyboard, Vec::new()).expect("its name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = open(name, flags, Mode::empty()).expect("its other side");
    let mut keyboard = File::from(keyboard);
    let mut echo = keyboard.try_clone().expect("another handle");
    // A terminal whose echo nobody takes stops.
    let _echo = std::thread::spawn(move || {
        let mut bytes = [0; 4_096];
        while echo.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    let mut command = place.client(&["--client_id", "7"]);
    let (shown, showing) = pipe().expect("a pipe");
    let mut process = Process::spawn_on(&mut command, terminal.into(), showing.into());
    drop(command);
    let mut shown = BufReader::new(shown).lines();
    let mut answer = || shown.next().expect("an answer").expect("UTF-8");
    for length in [4_094, 5_000, 4_095, 4_094] {
        keyboard.write_all(&vec![b'x'; length]).expect("it is typed");
        keyboard.write_all(b"\n").expect("it is typed");
        if length == 4_094 {
            answer();
        }
    }
    keyboard.write_all(b"SHUTDOWN\n").expect("it is typed");
    let (status, said) = process.end();
    let refused = "the terminal cuts lines after 4095 bytes, a pipe does not: refused";
    let expected: Vec<String> =
        [2, 3].iter().map(|line| format!("line {line}: {refused}")).collect();
    assert_eq!((status.code(), said), (Some(1), expected));
    let lengths: Vec<usize> =
        parse(&place.log(0)).into_iter().flatten().map(|(_, _, text)| text.len()).collect();
    assert_eq!(lengths, [4_094, 4_094]);
}

#[test]
fn a_client_without_a_quorum_says_how_many_answer() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    cluster.drain(..2).for_each(Replica::kill);
    let mut command = place.client(&["--client_id", "7"]);
    let (typed, mut typing) = pipe().expect("a pipe");
    let mut process = Process::spawn_on(&mut command, typed.into(), Stdio::null());
    drop(command);
    writeln!(typing, "to a minority").expect("it reads");
    process.wait_for("1 of 3 replicas answer, and a quorum of 2 is needed: still trying");
}
