//! Clients that send without pause, and the judgement of the chat logs.
//!
//! Afterwards the chat logs must be equal. Every completed line must be there exactly once, in the
//! slot that its client was told, in the order sent. The logs must hold no line that was not
//! sent.

use crate::support::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// The number of clients that send at the same time.
const CLIENTS: u64 = 4;

/// A completed line, as its client was told.
pub(crate) struct Completed {
    pub(crate) client: u64,
    pub(crate) seq: u64,
    pub(crate) slot: usize,
}

/// Clients that send one line after the other until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    completed: Receiver<Completed>,
    clients: Vec<thread::JoinHandle<ExitStatus>>,
}

impl Load {
    pub(crate) fn begin(place: &Place, options: &[&str]) -> Load {
        Load::of_lines(place, options, 0)
    }

    /// The same, with lines of at least this many bytes.
    pub(crate) fn of_lines(place: &Place, options: &[&str], bytes: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (to, completed) = channel();
        let clients = (0..CLIENTS)
            .map(|client| {
                let mut command = place.client(&["--client_id", &client.to_string()]);
                command.args(options).args(["--timeout", "60"]);
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut child = Guard(command.spawn().expect("the client starts"));
                let (to, stop) = (to.clone(), Arc::clone(&stop));
                thread::spawn(move || {
                    let mut stdin = child.0.stdin.take().expect("a pipe");
                    let mut lines = BufReader::new(child.0.stdout.take().expect("a pipe")).lines();
                    for number in 0u64.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        if writeln!(stdin, "{}", message(client, number, bytes)).is_err() {
                            break;
                        }
                        let Some(Ok(line)) = lines.next() else { break };
                        let fields: Vec<u64> =
                            line.split(' ').map(|field| field.parse().expect("a number")).collect();
                        assert_eq!(fields[..2], [client, number], "{line:?}");
                        let slot = fields[2] as usize;
                        let _ = to.send(Completed { client, seq: number, slot });
                    }
                    drop(stdin);
                    child.0.wait().expect("it ends")
                })
            })
            .collect();
        Load { stop, completed, clients }
    }

    /// Waits for the next completed line.
    #[track_caller]
    pub(crate) fn next(&self) -> Completed {
        self.completed.recv_timeout(3 * PATIENCE).expect("lines are completed again")
    }

    /// Waits until `count` more lines are complete, and returns them.
    #[track_caller]
    pub(crate) fn more(&self, count: usize) -> Vec<Completed> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Ends the clients. Returns all lines that were completed meanwhile.
    #[track_caller]
    pub(crate) fn end(self) -> Vec<Completed> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert_eq!(client.join().expect("the client's thread").code(), Some(0));
        }
        self.completed.try_iter().collect()
    }
}

/// A client's line, of at least this many bytes.
fn message(client: u64, seq: u64, bytes: usize) -> String {
    format!("{:.<bytes$}", format!("line {seq} of {client}"))
}

/// Judges the chat logs of a cluster that is idle.
#[track_caller]
pub(crate) fn judge(place: &Place, completed: &[Completed]) {
    judge_lines(place, completed, 0);
}

/// The same, for lines of at least this many bytes.
#[track_caller]
pub(crate) fn judge_lines(place: &Place, completed: &[Completed], bytes: usize) {
    let last = completed.iter().map(|line| line.slot).max().expect("something was completed");
    let ids: Vec<usize> = (0..place.n()).collect();
    let logs = until("equal logs with all that was completed", || {
        let logs: Vec<String> = ids.iter().map(|id| place.log(*id)).collect();
        let same = logs.iter().all(|log| *log == logs[0]);
        (same && logs[0].lines().count() > last).then_some(logs)
    });
    let lines = parse(&logs[0]);
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    for (client, seq, text) in lines.iter().flatten() {
        let expected = next.entry(*client).or_default();
        assert_eq!(seq, expected, "client {client}: each line once, in order");
        *expected += 1;
        assert!(*text == message(*client, *seq, bytes), "client {client}: {seq}, as it was sent");
    }
    for line in completed {
        let stands = lines[line.slot].as_ref().map(|(client, seq, _)| (*client, *seq));
        assert_eq!(stands, Some((line.client, line.seq)), "slot {}", line.slot);
    }
}
