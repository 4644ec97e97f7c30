//! Throughput, latency and CPU of a real cluster on this host, lines checked.
//!
//! ```text
//! cluster   replica processes, their folder, what they use ([usage], [cores])
//! load      sessions over sockets, and the threads that drive them  ([histogram])
//! sessions  the client role, many times
//! socket_pool  many sockets of the load on one thread
//! lines     what is written, and the judgement of the logs
//! steady    one measurement under steady load
//! sweep     many of them, drawn  ([plot])
//! absence   a replica is away for many lines, and comes back; restarts
//! ```
//!
//! Every figure is of lines that were applied, written to the chat log and answered;
//! afterwards the logs are judged to the letter, and a bench that lost a line fails.
//! Nothing here ends the process: the program does, with the exit code it is given.

mod absence;
mod cluster;
pub mod cores;
mod histogram;
mod lines;
mod load;
mod plot;
mod sessions;
mod socket_pool;
mod steady;
mod sweep;
mod usage;

use cluster::{Cluster, LOOK, Made};
use command_line::{Percent, say};
use driver::Interrupts;
use load::{Load, Shape};
use multipaxos::storage::Durability;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long lines in flight may take when nothing more is submitted.
const DRAIN: Duration = Duration::from_secs(30);

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// A measurement under steady load.
    Steady,
    /// Measurements of one session and more, in memory and synced, drawn into a file.
    Plot(PathBuf),
    /// One replica is away for this many lines and comes back.
    Absent(u64),
    /// All replicas are killed after some lines, and again after many.
    Restart,
}

/// Everything a user may say about a bench.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is run.
    pub mode: Mode,
    /// Failures tolerated: there are 2f+1 replicas.
    pub f: usize,
    /// Sessions, one line in flight each.
    pub outstanding: usize,
    /// Sockets that they share.
    pub connections: usize,
    /// The bytes of a line.
    pub size: usize,
    /// Seconds under load before anything counts.
    pub warm_s: f64,
    /// Seconds that count.
    pub secs: f64,
    /// What replicas wait for before they acknowledge.
    pub durability: Durability,
    /// The share of datagrams dropped at each sender.
    pub msg_loss: Percent,
    /// The longest datagram, in bytes.
    pub datagram_max: usize,
    /// Seeds losses and timeouts.
    pub rand_seed: u64,
    /// Lines after which a client opens its next session.
    pub session_lines: Option<u64>,
    /// Lines a second at fixed times, instead of as fast as answers come.
    pub rate: Option<u64>,
    /// Stop after so many lines, instead of seconds.
    pub lines: Option<u64>,
    /// Whether the system may move processes between all cores, instead of a share each.
    pub unpinned: bool,
    /// Where the replicas' files go; a temporary folder otherwise.
    pub log_dir: Option<PathBuf>,
    /// One JSON object instead of a table.
    pub json: bool,
}

impl Plan {
    fn shape(&self) -> Shape {
        Shape {
            sessions: self.outstanding,
            connections: self.connections,
            first_client: 0,
            size: self.size,
            loss: self.msg_loss.probability(),
            datagram_max: self.datagram_max,
            seed: self.rand_seed,
            session_lines: self.session_lines,
            rate: self.rate,
            lines: None,
        }
    }

    fn cluster(&self, interrupts: &Interrupts) -> Result<Cluster, String> {
        let made = Made {
            f: self.f,
            durability: self.durability,
            loss: self.msg_loss,
            datagram_max: self.datagram_max,
            seed: self.rand_seed,
            unpinned: self.unpinned,
            log_dir: self.log_dir.clone(),
        };
        let cluster = Cluster::start(made, interrupts.clone())?;
        if cluster.on_tmpfs && self.durability == Durability::Sync {
            say("bench: the folder is on tmpfs, where sync waits for no disk");
        }
        Ok(cluster)
    }
}

/// Runs a bench. The text for stdout, or what went wrong.
///
/// # Errors
///
/// When the cluster fails, lines do not complete, or the logs are not clean.
pub fn run(plan: &Plan, interrupts: &Interrupts) -> Result<String, String> {
    driver::process::allow_many_files();
    match &plan.mode {
        Mode::Steady => steady::run(plan, interrupts),
        Mode::Plot(file) => sweep::run(plan, file, interrupts),
        Mode::Absent(lines) => absence::absent(plan, *lines, interrupts),
        Mode::Restart => absence::restart(plan, interrupts),
    }
}

/// Cluster and load, watched together.
struct Watch<'a> {
    cluster: &'a mut Cluster,
    load: &'a Load,
}

impl Watch<'_> {
    fn look(&mut self) -> Result<(), String> {
        self.cluster.look()?;
        self.load.fault().map_or(Ok(()), Err)
    }

    /// Lets time pass until `done`, asked every few milliseconds.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        while !done(self) {
            self.look()?;
            thread::sleep(LOOK);
        }
        self.look()
    }

    fn pass(&mut self, seconds: f64) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        self.until(|_| Instant::now() >= until)
    }

    /// Lets `lines` more lines complete; fails when none does for long.
    fn pass_lines(&mut self, lines: u64) -> Result<(), String> {
        let goal = self.load.completed() + lines;
        let mut last = (0, Instant::now());
        let mut stuck = false;
        self.until(|watch| {
            let completed = watch.load.completed();
            if completed != last.0 {
                last = (completed, Instant::now());
            }
            stuck = last.1.elapsed() > DRAIN;
            completed >= goal || stuck
        })?;
        if stuck { Err(format!("no line completed for {} s", DRAIN.as_secs())) } else { Ok(()) }
    }

    /// Submits nothing more and waits for what is in flight.
    fn drain(&mut self) -> Result<(), String> {
        self.load.stop();
        let began = Instant::now();
        self.until(|watch| watch.load.in_flight() == 0 || began.elapsed() > DRAIN)?;
        match self.load.in_flight() {
            0 => Ok(()),
            left => Err(format!("{left} lines not complete after {} s", DRAIN.as_secs())),
        }
    }
}

/// Microseconds with one decimal.
fn us(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}
