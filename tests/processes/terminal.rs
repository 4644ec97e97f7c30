//! A client on a pseudo-terminal: what is typed, and what is seen.

use crate::support::*;
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;

/// A client on a terminal of its own.
struct Desk {
    process: Process,
    keyboard: File,
    seen: Arc<Mutex<String>>,
}

impl Desk {
    fn new(place: &Place, options: &[&str]) -> Desk {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&keyboard).expect("it is ours");
        unlockpt(&keyboard).expect("it is unlocked");
        let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&keyboard, size).expect("it has a size");
        let name = ptsname(&keyboard, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = open(name, flags, Mode::empty()).expect("its other side");
        let showing = terminal.try_clone().expect("another handle");
        let mut command = place.client(options);
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        let process = Process::spawn_on(&mut command, terminal.into(), showing.into());
        drop(command);
        let (keyboard, seen) = (File::from(keyboard), Arc::new(Mutex::new(String::new())));
        let (mut screen, sees) = (keyboard.try_clone().expect("a handle"), Arc::clone(&seen));
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                sees.lock().expect("no panic").push_str(&text);
            }
        });
        Desk { process, keyboard, seen }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("it is typed");
    }

    /// Waits until this is seen, and forgets all that was seen up to there.
    #[track_caller]
    fn sees(&self, text: &str) {
        until(&format!("{text:?} in {:?}", self.seen.lock().expect("no panic")), || {
            let mut seen = self.seen.lock().expect("no panic");
            let at = seen.find(text)?;
            seen.drain(..at + text.len());
            Some(())
        });
    }

    /// Whether the terminal passes on whole lines, as it did before the client ran.
    fn has_its_modes(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).expect("it is a terminal");
        modes.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

#[test]
fn others_lines_appear_above_what_is_typed_which_survives_a_change_of_leader() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    assert_eq!(place.say(&["--client_id", "9"], b"before\n").status.code(), Some(0));
    let mut desk = Desk::new(&place, &["--client_id", "7"]);
    desk.sees("client 9: before");
    desk.types("hello\r");
    desk.sees("7 0 1   ");
    assert!(!desk.has_its_modes(), "it reads key by key");
    desk.types("half ty");
    desk.sees("half ty");
    assert_eq!(place.say(&["--client_id", "8"], b"<Ann> hi\n").status.code(), Some(0));
    desk.sees("Ann: hi");
    desk.sees("half ty");
    cluster.remove(0).kill();
    desk.types("ped\r");
    desk.sees("7 1 ");
    for (typed, seen) in [
        ("/who\r", "client 8 (Ann): 1 line\r\nclient 9: 1 line"),
        ("/name Bob\r/wo\r", "/wo: no such command (see /help; //wo sends it)"),
        ("//wo\r", "7 2 "),
        ("/history 1\r", "Bob: /wo"),
        ("/status\r", "degraded: 2 of 3 replicas answer"),
    ] {
        desk.types(typed);
        desk.sees(seen);
    }
    // What was typed before is there again: the line above, the command above that.
    desk.types("\u{1b}[A\u{1b}[A\u{1b}[A\u{1b}[A\u{1b}[A\u{1b}[A!\r\u{4}");
    let (status, said) = desk.process.end();
    assert_eq!((status.code(), said), (Some(0), vec![]));
    assert!(desk.has_its_modes());
    let log = place.logs_of(&[1, 2], 5).remove(0);
    let messages: Vec<String> = parse(&log).into_iter().flatten().map(|line| line.2).collect();
    let expected = ["before", "hello", "<Ann> hi", "half typed", "<Bob> /wo"];
    assert_eq!(messages[..5], expected);
}

#[test]
fn a_second_ctrl_c_ends_a_client_that_nobody_answers_and_gives_the_terminal_back() {
    let place = Place::new(1);
    let mut desk = Desk::new(&place, &["--timeout", "60"]);
    desk.types("hello\r");
    desk.sees("0 of 3 replicas answer, and a quorum of 2 is needed: still trying");
    desk.types("typed on\u{3}");
    desk.sees("Ctrl-C once more ends at once");
    desk.types("\u{3}");
    desk.sees("interrupted: it is not known whether this line is complete: \"hello\"");
    assert_eq!(desk.process.end().0.code(), Some(1));
    assert!(desk.has_its_modes());
}

#[test]
fn a_signal_from_elsewhere_gives_the_terminal_back_too() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    let mut desk = Desk::new(&place, &[]);
    desk.sees("> ");
    desk.process.signal("-TERM");
    assert_eq!(desk.process.end().0.code(), Some(0));
    assert!(desk.has_its_modes());
}
