//! A place for a cluster on free ports, and a parser of chat logs of the tests' own.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest time that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration with ports that were free a moment ago, and a folder for logs.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) f: usize,
}

impl Place {
    pub(crate) fn new(f: usize) -> Place {
        Place::growing(f, 0)
    }

    /// The same, with places without a vote in the beginning.
    pub(crate) fn growing(f: usize, observers: usize) -> Place {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let sockets: Vec<UdpSocket> = (0..2 * f + 1 + observers)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let port = |socket: &UdpSocket| socket.local_addr().expect("it is bound").port();
        let word = |id: usize| if id < 2 * f + 1 { "" } else { " observer" };
        let line = |(id, socket)| format!("127.0.0.1 {}{}\n", port(socket), word(id));
        let lines: String = sockets.iter().enumerate().map(line).collect();
        fs::write(dir.path().join("config.txt"), lines).expect("a configuration");
        Place { dir, f }
    }

    pub(crate) fn n(&self) -> usize {
        2 * self.f + 1
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// A program, with the options that all programs share.
    pub(crate) fn program(&self, path: &str) -> Command {
        let mut command = Command::new(path);
        command.arg("--config_path").arg(self.dir.path().join("config.txt"));
        command.args(["--f", &self.f.to_string()]);
        command
    }
}

/// Polls until `look` returns something. Fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "it never happened: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// A child that does not outlive the test.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// One line of a chat log: client, number and message, or `None` for a no-op.
pub(crate) type Line = Option<(u64, u64, String)>;

/// Reads a chat log, and asserts that its slots have no gap.
#[track_caller]
pub(crate) fn parse(log: &str) -> Vec<Line> {
    assert!(log.is_empty() || log.ends_with('\n'), "a torn line at the end");
    let mut lines = Vec::new();
    for (slot, line) in log.lines().enumerate() {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        assert_eq!(fields.len(), 4, "slot {slot}: {line:?}");
        assert_eq!(fields[0], slot.to_string(), "slots have no gap");
        lines.push(match fields[1..] {
            ["-", "-", "NOP"] => None,
            [client, seq, message] => {
                let number = |field: &str| field.parse::<u64>().expect("a number");
                Some((number(client), number(seq), message.to_string()))
            }
            _ => unreachable!("there are four fields"),
        });
    }
    lines
}
