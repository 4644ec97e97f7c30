//! One run of one scenario, from an empty folder to the judged logs.
//!
//! The phases follow each other on the main thread: spawn the replicas, wait until every
//! replica has warmed up, make the fault happen, start the clients, wait until every line is
//! complete, wait until the live logs are equal and quiet, end the replicas, judge.
//!
//! A child that ends on its own fails the run. There is one exception: the replica that is
//! told to abort after its first Accept, once clients run. The run also checks that the
//! scenario's fault did happen, because a run without its fault leaves the same clean logs.
//!
//! However a run ends, its children are gone when [`Run`] is dropped.

mod waits;

use crate::clients::{ClientEvent, Feed, Seen};
use crate::folder::{Folder, PortFault, check_ports};
use crate::process::{Interrupts, Process, Start, ending};
use crate::verdict::{self, ChatLog, Summary, Violation};
use crate::{Fault, Plan, Scenario};
use command_line::progress::Progress;
use crossbeam_channel::{Receiver, Sender, unbounded};
use seeds::derive_seed;
use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use waits::TICK;

/// The time in which a replica must end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// The outcome of a run.
pub(super) struct Outcome {
    /// The replicas that died by the scenario's fault.
    pub(super) killed: Vec<usize>,
    /// The highest ballot with which any replica led; `None` before warm-up is over.
    pub(super) ballot: Option<u64>,
    /// The number of completed lines, and of all lines.
    pub(super) completed: u64,
    pub(super) total: u64,
    pub(super) elapsed: Duration,
    pub(super) result: Result<Summary, Failure>,
}

/// Why a run failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A signal told the driver to end.
    Interrupted(&'static str),
    /// The deadline passed. The text says what was missing.
    Deadline(String),
    /// A process, a file or a port failed.
    Broken(String),
    /// The chat logs break a rule.
    Violated(Violation),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Interrupted(signal) => write!(out, "interrupted by {signal}"),
            Failure::Deadline(what) | Failure::Broken(what) => out.write_str(what),
            Failure::Violated(violation) => violation.fmt(out),
        }
    }
}

/// Runs a scenario in its folder.
pub(super) fn run(
    plan: &Plan,
    scenario: &Scenario,
    folder: &Folder,
    interrupts: &Interrupts,
    progress: &mut Progress,
) -> Outcome {
    let origin = Instant::now();
    let clients = plan.clients_of(scenario);
    let (news, events) = unbounded();
    let (stop, stopped) = unbounded();
    let mut run = Run {
        plan,
        scenario,
        folder,
        interrupts,
        progress,
        origin,
        replicas: Vec::new(),
        clients: Vec::new(),
        feeds: Vec::new(),
        stop: Some(stop),
        stopped,
        news,
        events,
        seen: Seen::new(clients),
        total: clients as u64 * plan.messages_of(scenario),
        phase: Phase::WarmUp,
    };
    let mut result = run.play();
    if let Err(Failure::Deadline(what)) = &mut result
        && let Some(violation) = run.judge_what_stands()
    {
        *what = format!("{what}\nand the logs so far are not clean: {violation}");
    }
    run.stop_clients();
    Outcome {
        killed: run.killed(),
        ballot: run.leader().map(|(_, ballot)| ballot),
        completed: run.seen.completed,
        total: run.total,
        elapsed: origin.elapsed(),
        result,
    }
}

struct Run<'a> {
    plan: &'a Plan,
    scenario: &'a Scenario,
    folder: &'a Folder,
    interrupts: &'a Interrupts,
    progress: &'a mut Progress,
    origin: Instant,
    replicas: Vec<Replica>,
    clients: Vec<Process>,
    feeds: Vec<JoinHandle<()>>,
    /// Dropped to end pauses at once.
    stop: Option<Sender<()>>,
    stopped: Receiver<()>,
    news: Sender<ClientEvent>,
    events: Receiver<ClientEvent>,
    seen: Seen,
    /// The number of lines that must be completed.
    total: u64,
    phase: Phase,
}

struct Replica {
    process: Process,
    /// Whether it died by the scenario's fault.
    killed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Clients,
    /// Every line is complete, and the replicas are asked to end.
    Ending,
}

impl Run<'_> {
    fn play(&mut self) -> Result<Summary, Failure> {
        self.folder.clear().map_err(Failure::Broken)?;
        check_ports(&self.plan.config, &self.plan.config_path).map_err(|fault| match fault {
            PortFault::Taken(what) | PortFault::Foreign(what) => Failure::Broken(what),
        })?;
        self.spawn_replicas()?;
        while !self.replicas.iter().all(|replica| replica.process.tail.warm) {
            self.tick()?;
        }
        self.strike()?;
        self.phase = Phase::Clients;
        self.spawn_clients()?;
        while !self.clients_are_done()? {
            self.tick()?;
        }
        self.check_fault()?;
        match self.settle() {
            // After a deadline the verdict shows in the files what is missing or different.
            Ok(()) | Err(Failure::Deadline(_)) => {}
            Err(failure) => return Err(failure),
        }
        let ended = self.end_replicas();
        let logs = self.read_logs()?;
        let summary = verdict::judge(&logs, &self.seen.lines()).map_err(Failure::Violated)?;
        ended?;
        Ok(summary)
    }

    fn spawn_replicas(&mut self) -> Result<(), Failure> {
        for id in 0..self.plan.config.n() {
            let mut args =
                self.plan.common_args(self.scenario, self.folder, &format!("replica {id}"));
            let mut option = |name: &str, value: String| args.extend([format!("--{name}"), value]);
            option("log_dir", self.folder.as_arg());
            option("replica_id", id.to_string());
            if let Some(slot) = self.plan.skip_slot {
                option("skip_slot", slot.to_string());
            }
            for (name, value) in &self.plan.replica_options {
                option(name, value.clone());
            }
            let aborts = self.aborts(id);
            if aborts {
                option("crash_after_accepts", "1".into());
            }
            let program = self.plan.binary("replica").map_err(Failure::Broken)?;
            let start = Start { program, args, piped: false, aborts };
            let err = format!("replica{id}.err");
            let process = Process::spawn(format!("replica {id}"), &start, self.folder, &err);
            let process = process.map_err(Failure::Broken)?;
            self.replicas.push(Replica { process, killed: false });
        }
        Ok(())
    }

    /// Whether this replica is told to abort after its first Accept.
    fn aborts(&self, id: usize) -> bool {
        self.scenario.fault == Fault::AbortBehindAccept && id == 0
    }

    /// Kills the replicas that must die before anything is proposed.
    fn strike(&mut self) -> Result<(), Failure> {
        let Fault::KillFirst(count) = self.scenario.fault else {
            return Ok(());
        };
        for id in 0..count {
            let replica = &mut self.replicas[id];
            let status = replica.process.kill();
            if status.and_then(|status| status.signal()) != Some(SIGKILL) {
                let how = status.map_or("no known exit code".into(), ending);
                let what =
                    format!("replica {id} should have died of SIGKILL, but it ended with {how}");
                return Err(Failure::Broken(what));
            }
            replica.killed = true;
            let bytes = fs::read(self.folder.chat_log(id)).unwrap_or_default();
            if !bytes.is_empty() {
                let what = format!("replica {id} has written lines before any client was started");
                return Err(Failure::Broken(what));
            }
        }
        Ok(())
    }

    fn spawn_clients(&mut self) -> Result<(), Failure> {
        let dir = self.scenario.dir();
        for client in 0..self.plan.clients_of(self.scenario) {
            let mut args =
                self.plan.common_args(self.scenario, self.folder, &format!("client {client}"));
            args.extend(["--client_id".into(), client.to_string()]);
            let program = self.plan.binary("client").map_err(Failure::Broken)?;
            let start = Start { program, args, piped: true, aborts: false };
            let err = format!("client{client}.err");
            let process = Process::spawn(format!("client {client}"), &start, self.folder, &err);
            self.clients.push(process.map_err(Failure::Broken)?);
        }
        // Start all processes first, so that their lines overlap as much as possible.
        for (client, process) in self.clients.iter_mut().enumerate() {
            let feed = Feed {
                client,
                messages: self.plan.messages_of(self.scenario),
                pause: Duration::from_millis(self.plan.pause_ms_of(self.scenario)),
                seed: derive_seed(self.plan.rand_seed, &format!("{dir}/pauses {client}")),
                origin: self.origin,
                events: self.news.clone(),
                stop: self.stopped.clone(),
            };
            let Some((stdin, stdout)) = process.pipes() else {
                continue;
            };
            let named = thread::Builder::new().name(process.name.clone());
            let thread = named.spawn(move || feed.run(stdin, stdout));
            self.feeds.push(thread.map_err(|e| Failure::Broken(format!("no thread: {e}")))?);
        }
        Ok(())
    }

    fn killed(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|&id| self.replicas[id].killed).collect()
    }

    /// Checks that the scenario's fault did happen.
    fn check_fault(&mut self) -> Result<(), Failure> {
        // The replica has aborted by now, but the kernel needs time to end the process.
        let end = Instant::now() + GRACE;
        while self.scenario.fault == Fault::AbortBehindAccept && !self.replicas[0].killed {
            if Instant::now() >= end {
                let what = "every line is complete, but replica 0 did not die after its first \
                            Accept: the scenario's fault did not happen";
                return Err(Failure::Broken(what.into()));
            }
            self.tick()?;
        }
        Ok(())
    }

    /// Ends every replica. A replica that does not end well when asked has failed.
    fn end_replicas(&mut self) -> Result<(), Failure> {
        self.phase = Phase::Ending;
        for replica in &mut self.replicas {
            replica.process.terminate();
        }
        let end = Instant::now() + GRACE;
        let mut result = Ok(());
        loop {
            let open = self.replicas.iter_mut().any(|replica| replica.process.ended().is_none());
            if !open || Instant::now() >= end {
                break;
            }
            self.wait(TICK)?;
        }
        for id in 0..self.replicas.len() {
            let replica = &mut self.replicas[id];
            if replica.process.ended().is_none() {
                replica.process.kill();
                let limit = GRACE.as_secs();
                let what = format!("replica {id} did not end within {limit} s of SIGTERM");
                result = result.and(Err(Failure::Broken(what)));
            } else {
                result = result.and(self.look_at(id));
            }
        }
        result
    }

    fn read_logs(&self) -> Result<Vec<ChatLog>, Failure> {
        let read = |(replica, row): (usize, &Replica)| {
            let bytes = crate::read_log(&self.folder.chat_log(replica)).map_err(Failure::Broken)?;
            Ok(ChatLog { replica, bytes, live: !row.killed })
        };
        self.replicas.iter().enumerate().map(read).collect()
    }

    /// Judges the logs after a deadline. They may differ in length, but must not contradict
    /// each other or what the clients were told.
    fn judge_what_stands(&mut self) -> Option<Violation> {
        if self.seen.completed == 0 {
            return None;
        }
        let _ = self.end_replicas();
        let mut logs = self.read_logs().ok()?;
        let length = |log: &ChatLog| log.bytes.as_ref().map_or(0, Vec::len);
        let longest = logs.iter().filter(|log| log.live).max_by_key(|log| length(log))?.replica;
        for log in &mut logs {
            log.live = log.replica == longest;
        }
        verdict::judge(&logs, &self.seen.lines()).err()
    }

    /// Ends the clients and their threads. A thread ends when its pipe closes.
    fn stop_clients(&mut self) {
        self.stop = None;
        for client in &mut self.clients {
            client.kill();
        }
        for feed in self.feeds.drain(..) {
            // If the thread panicked, its client has already shown up as one that never ended.
            let _ = feed.join();
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.stop_clients();
    }
}
