//! Clients that send lines, and what each line took.
//!
//! Each client is a process, the users' `client`, with one line in flight at a time. A thread
//! writes its lines and reads its completions. A line says which it is, so no client sends
//! the same text twice, and is filled up to its length.

use crate::process::until;
use crate::world::{Laid, World};
use driver::verdict::{Completion, SentLine};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Some clients that do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clients {
    /// How many.
    pub count: usize,
    /// Bytes of each line.
    pub bytes: usize,
    /// Lines of each client; `None`: until they are stopped.
    pub lines: Option<u64>,
    /// The shortest time from one line to the next of a client.
    pub every: Duration,
}

impl Clients {
    /// Clients that send so many lines each, one after the other.
    pub const fn sending(count: usize, bytes: usize, lines: u64) -> Clients {
        Clients { count, bytes, lines: Some(lines), every: Duration::ZERO }
    }

    /// Clients that send until they are stopped.
    pub const fn without_end(count: usize, bytes: usize) -> Clients {
        Clients { count, bytes, lines: None, every: Duration::ZERO }
    }
}

/// A line that a client sent.
#[derive(Debug, Clone)]
pub struct Sending {
    /// The client's id.
    pub client: u64,
    /// The length of the line.
    pub bytes: usize,
    /// When it was handed to the client.
    pub sent: Instant,
    /// The number and slot that the client printed, and when.
    pub completed: Option<(u64, u64, Instant)>,
    text: String,
}

/// Clients at work. Dropping it kills them.
pub struct Load {
    sendings: Arc<Mutex<Vec<Sending>>>,
    complete: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    clients: Vec<Child>,
    threads: Vec<JoinHandle<()>>,
    /// When the first client was started.
    pub began: Instant,
}

impl Load {
    /// Starts clients, whose ids count from `first_id`. The calling thread moves to their host.
    pub fn start(
        bin: &Path,
        world: &World,
        laid: &Laid,
        groups: &[Clients],
        first_id: u64,
    ) -> Result<Load, String> {
        laid.enter_clients()?;
        let mut load = Load {
            sendings: Arc::default(),
            complete: Arc::default(),
            stop: Arc::default(),
            clients: Vec::new(),
            threads: Vec::new(),
            began: Instant::now(),
        };
        let each = groups.iter().flat_map(|group| (0..group.count).map(move |_| *group));
        for (id, group) in (first_id..).zip(each) {
            let mut command = Command::new(bin.join("client"));
            command.arg("--config_path").arg(laid.config(None));
            command.args(["--f", &world.f().to_string(), "--client_id", &id.to_string()]);
            command.args(["--msg_loss", &world.loss_percent.to_string()]);
            command.args(["--rand_seed", &(1_000 + id).to_string(), "--die_with_parent"]);
            command.args(laid.trust());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child =
                command.spawn().map_err(|error| format!("cannot start client {id}: {error}"))?;
            let pipes = child.stdin.take().zip(child.stdout.take());
            load.clients.push(child);
            if let Some((stdin, stdout)) = pipes {
                let (sendings, stop) = (Arc::clone(&load.sendings), Arc::clone(&load.stop));
                let complete = Arc::clone(&load.complete);
                let feed = move || feed(id, group, (stdin, stdout), &sendings, &complete, &stop);
                load.threads.push(thread::spawn(feed));
            }
        }
        Ok(load)
    }

    /// Every line so far.
    pub fn sendings(&self) -> Vec<Sending> {
        self.sendings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many lines are complete.
    pub fn complete(&self) -> usize {
        self.complete.load(Ordering::Relaxed)
    }

    /// Waits until every client has sent all its lines, or until `end`. Returns whether they
    /// have.
    pub fn wait(&self, end: Instant) -> bool {
        until(end, || self.threads.iter().all(JoinHandle::is_finished).then_some(())).is_some()
    }

    /// Lets each client complete the line that it has in flight, until `end`.
    pub fn stop(&self, end: Instant) {
        self.stop.store(true, Ordering::Relaxed);
        self.wait(end);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in &mut self.clients {
            let _ = client.kill();
        }
        for client in &mut self.clients {
            let _ = client.wait();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Feeds one client until it has sent its lines, is stopped, or ends.
fn feed(
    id: u64,
    group: Clients,
    (mut stdin, stdout): (ChildStdin, ChildStdout),
    sendings: &Mutex<Vec<Sending>>,
    complete: &AtomicUsize,
    stop: &AtomicBool,
) {
    let mut printed = BufReader::new(stdout).lines();
    let mut next = Instant::now();
    for number in 0..group.lines.unwrap_or(u64::MAX) {
        until(next, || stop.load(Ordering::Relaxed).then_some(()));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        next = next.max(Instant::now()) + group.every;
        let bytes = group.bytes;
        let text = format!("{:.<bytes$}", format!("line {number} of {id}"));
        let at = {
            let mut sendings = sendings.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = Instant::now();
            let line = Sending { client: id, bytes, sent, completed: None, text: text.clone() };
            sendings.push(line);
            sendings.len() - 1
        };
        if writeln!(stdin, "{text}").is_err() {
            return;
        }
        let Some(Ok(line)) = printed.next() else { return };
        let now = Instant::now();
        let fields: Vec<u64> = line.split(' ').filter_map(|field| field.parse().ok()).collect();
        if let [_, number, slot] = fields[..] {
            let mut sendings = sendings.lock().unwrap_or_else(PoisonError::into_inner);
            sendings[at].completed = Some((number, slot, now));
            complete.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The lines in the form that the verdict takes: each client's in its order.
pub fn for_the_verdict(sendings: &[Sending], began: Instant) -> Vec<SentLine> {
    let mut lines: Vec<&Sending> = sendings.iter().collect();
    lines.sort_by_key(|line| line.client);
    lines
        .into_iter()
        .map(|line| SentLine {
            client: line.client,
            text: line.text.clone(),
            sent: line.sent - began,
            completed: line.completed.map(|(seq, slot, at)| Completion {
                seq,
                slot,
                at: at - began,
            }),
        })
        .collect()
}
