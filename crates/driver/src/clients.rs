//! The clients of a scenario: a process for each, and a thread that feeds it.
//!
//! A client reads lines from its stdin. For each completed line it prints
//! `<client id> <seq> <slot>`. The feeding thread writes one line, waits for the answer,
//! pauses, and goes on. At the end it closes stdin. The thread notes the time before it
//! writes a line and after it reads the answer. So the noted interval always contains the
//! real one, and the verdict's rule of real time claims only what must hold.
//!
//! The main thread spawns and ends the processes. A feeding thread ends when its pipe closes,
//! so killing the client ends the thread too.

use super::verdict::{Completion, SentLine};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use seeds::stream;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

/// A feeding thread reports this to the main thread.
pub(super) enum ClientEvent {
    /// A line is about to be sent.
    Sent { client: usize, text: String, at: Duration },
    /// The line sent last by this client is complete.
    Completed { client: usize, completion: Completion },
    /// The client has ended. `fault` says what went wrong, if anything did.
    Ended { client: usize, fault: Option<String> },
}

/// The lines for one client, and the pace at which it gets them.
pub(super) struct Feed {
    pub(super) client: usize,
    pub(super) messages: u64,
    /// The longest pause between a completion and the next line.
    pub(super) pause: Duration,
    /// The seed of the pauses.
    pub(super) seed: u64,
    /// The beginning of the run. All times count from it.
    pub(super) origin: Instant,
    pub(super) events: Sender<ClientEvent>,
    /// Disconnected when the run ends early.
    pub(super) stop: Receiver<()>,
}

impl Feed {
    /// Feeds one client until all its lines are complete or something fails.
    pub(super) fn run(self, stdin: ChildStdin, stdout: ChildStdout) {
        let fault = self.feed(stdin, stdout).err();
        // If the main thread is gone already, nobody needs the event.
        let _ = self.events.send(ClientEvent::Ended { client: self.client, fault });
    }

    fn feed(&self, mut stdin: ChildStdin, stdout: ChildStdout) -> Result<(), String> {
        let client = self.client;
        let broken = |e: io::Error| format!("the pipe to client {client} broke: {e}");
        let mut stdout = BufReader::new(stdout);
        let mut draws = stream(self.seed, "pauses");
        let mut answer = String::new();
        for number in 0..self.messages {
            let text = format!("message {number} of client {client}");
            let line = format!("{text}\n");
            let _ = self.events.send(ClientEvent::Sent { client, text, at: self.origin.elapsed() });
            stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).map_err(broken)?;
            answer.clear();
            if stdout.read_line(&mut answer).map_err(broken)? == 0 {
                return Err(format!("client {client} ended while message {number} was in flight"));
            }
            let at = self.origin.elapsed();
            let (seq, slot) = parse_answer(client, &answer)?;
            let completion = Completion { seq, slot, at };
            let _ = self.events.send(ClientEvent::Completed { client, completion });
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

/// Reads `<client id> <seq> <slot>`. The rest of the line is for people.
fn parse_answer(client: usize, line: &str) -> Result<(u64, u64), String> {
    let mut fields = line.split_whitespace().map(str::parse::<u64>);
    match (fields.next(), fields.next(), fields.next()) {
        (Some(Ok(id)), Some(Ok(seq)), Some(Ok(slot))) if id == client as u64 => Ok((seq, slot)),
        _ => Err(format!("client {client} printed no completion but {:?}", line.trim_end())),
    }
}

/// The lines and completions of all clients, gathered on the main thread.
#[derive(Default)]
pub(super) struct Seen {
    /// Each client's lines, in the order in which it sent them.
    lines: Vec<Vec<SentLine>>,
    /// The number of complete lines.
    pub(super) completed: u64,
    /// The number of clients that have ended without a fault.
    pub(super) ended: usize,
    /// The highest slot that any client was told.
    pub(super) slot_max: Option<u64>,
}

impl Seen {
    pub(super) fn new(clients: usize) -> Seen {
        Seen { lines: vec![Vec::new(); clients], ..Seen::default() }
    }

    /// Notes an event. The error names the client that failed, and says how.
    pub(super) fn note(&mut self, event: ClientEvent) -> Result<(), (usize, String)> {
        match event {
            ClientEvent::Sent { client, text, at } => {
                let line = SentLine { client: client as u64, text, sent: at, completed: None };
                self.lines[client].push(line);
            }
            ClientEvent::Completed { client, completion } => {
                if let Some(line) = self.lines[client].last_mut() {
                    line.completed = Some(completion);
                }
                self.completed += 1;
                self.slot_max = self.slot_max.max(Some(completion.slot));
            }
            ClientEvent::Ended { fault: None, .. } => self.ended += 1,
            ClientEvent::Ended { client, fault: Some(fault) } => return Err((client, fault)),
        }
        Ok(())
    }

    /// All lines, ordered by client.
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
