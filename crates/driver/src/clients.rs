//! The clients of a scenario: one process each, and one thread each that feeds it.
//!
//! A client reads lines from its stdin and prints `<client id> <seq> <slot>` for each
//! that is complete. The feeding thread writes one line, notes when, waits for the
//! answer, notes when, pauses, and goes on; at the end it closes stdin. The times are
//! taken outside the interval that they stand for (before the write, after the read),
//! so the verdict's rule of real time only ever claims what must hold.
//!
//! The processes themselves are spawned and ended by the main thread; a feeding
//! thread ends when its pipe closes, so killing the client ends it too.

use super::verdict::{Completion, SentLine};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

/// What a feeding thread tells the main thread.
pub(super) enum Event {
    /// A line is about to be sent.
    Sent { client: usize, text: String, at: Duration },
    /// The line sent last by this client is complete.
    Completed { client: usize, completion: Completion },
    /// Nothing more will come from this client, and all went well unless said.
    Ended { client: usize, fault: Option<String> },
}

/// What a client is to send, and how.
pub(super) struct Feed {
    pub(super) client: usize,
    pub(super) messages: u64,
    /// The longest pause between a completion and the next line.
    pub(super) pause: Duration,
    /// Seeds the pauses.
    pub(super) seed: u64,
    /// The beginning of the run, from which times count.
    pub(super) origin: Instant,
    pub(super) events: Sender<Event>,
    /// Disconnected when the run is over early.
    pub(super) stop: Receiver<()>,
}

impl Feed {
    /// Feeds one client until all its lines are complete or something fails.
    pub(super) fn run(self, stdin: ChildStdin, stdout: ChildStdout) {
        let fault = self.feed(stdin, stdout).err();
        // The main thread may be gone already: it then needs no news.
        let _ = self.events.send(Event::Ended { client: self.client, fault });
    }

    fn feed(&self, mut stdin: ChildStdin, stdout: ChildStdout) -> Result<(), String> {
        let client = self.client;
        let broken = |e: io::Error| format!("the pipe to client {client} broke: {e}");
        let mut stdout = BufReader::new(stdout);
        let mut draws = fastrand::Rng::with_seed(self.seed);
        let mut answer = String::new();
        for number in 0..self.messages {
            let text = format!("message {number} of client {client}");
            let line = format!("{text}\n");
            let _ = self.events.send(Event::Sent { client, text, at: self.origin.elapsed() });
            stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).map_err(broken)?;
            answer.clear();
            if stdout.read_line(&mut answer).map_err(broken)? == 0 {
                return Err(format!("client {client} ended while message {number} was in flight"));
            }
            let at = self.origin.elapsed();
            let (seq, slot) = parse_answer(client, &answer)?;
            let completion = Completion { seq, slot, at };
            let _ = self.events.send(Event::Completed { client, completion });
            if number + 1 < self.messages && !self.pause.is_zero() {
                let pause = Duration::from_micros(draws.u64(0..=self.pause.as_micros() as u64));
                if self.stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return Err("stopped".into());
                }
            }
        }
        drop(stdin);
        answer.clear();
        match stdout.read_line(&mut answer).map_err(broken)? {
            0 => Ok(()),
            _ => Err(format!("client {client} printed one line too many: {:?}", answer.trim_end())),
        }
    }
}

/// Reads `<client id> <seq> <slot>`; what stands behind it is for people.
fn parse_answer(client: usize, line: &str) -> Result<(u64, u64), String> {
    let mut fields = line.split_whitespace().map(str::parse::<u64>);
    match (fields.next(), fields.next(), fields.next()) {
        (Some(Ok(id)), Some(Ok(seq)), Some(Ok(slot))) if id == client as u64 => Ok((seq, slot)),
        _ => Err(format!("client {client} printed no completion but {:?}", line.trim_end())),
    }
}

/// What all clients saw, gathered on the main thread.
#[derive(Default)]
pub(super) struct Seen {
    /// Each client's lines, in the order sent.
    lines: Vec<Vec<SentLine>>,
    /// How many lines are complete.
    pub(super) completed: u64,
    /// How many clients have ended well.
    pub(super) ended: usize,
    /// The highest slot that any client was told.
    pub(super) slot_max: Option<u64>,
}

impl Seen {
    pub(super) fn new(clients: usize) -> Seen {
        Seen { lines: vec![Vec::new(); clients], ..Seen::default() }
    }

    /// Notes what a feeding thread tells; an error is what went wrong with its client.
    pub(super) fn note(&mut self, event: Event) -> Result<(), (usize, String)> {
        match event {
            Event::Sent { client, text, at } => {
                let line = SentLine { client: client as u64, text, sent: at, completed: None };
                self.lines[client].push(line);
            }
            Event::Completed { client, completion } => {
                if let Some(line) = self.lines[client].last_mut() {
                    line.completed = Some(completion);
                }
                self.completed += 1;
                self.slot_max = self.slot_max.max(Some(completion.slot));
            }
            Event::Ended { fault: None, .. } => self.ended += 1,
            Event::Ended { client, fault: Some(fault) } => return Err((client, fault)),
        }
        Ok(())
    }

    /// All lines, client by client.
    pub(super) fn lines(&self) -> Vec<SentLine> {
        self.lines.iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_three_numbers_and_anything_behind_them() {
        assert_eq!(parse_answer(3, "3 0 17\n"), Ok((0, 17)));
        assert_eq!(parse_answer(3, "3 1 18  (1.2 ms)\n"), Ok((1, 18)));
        for wrong in ["4 0 17\n", "3 0\n", "3 0 x\n", "\n"] {
            assert!(parse_answer(3, wrong).is_err(), "{wrong:?}");
        }
    }
}
