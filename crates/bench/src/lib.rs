//! Throughput, latency and CPU of a real cluster on this host. Every line is checked.
//!
//! ```text
//! cluster   replica processes, their folder, the resources they use ([usage], [cores])
//! load      sessions over sockets, and the threads that drive them  ([histogram])
//! sessions  the client role, many times
//! socket_pool  many sockets of the load on one thread
//! lines     the lines that are sent, and the check of the logs
//! steady    one measurement under steady load
//! sweep     many measurements, drawn as a picture  ([plot])
//! absence   a replica is away for many lines, and comes back; restarts
//! ```
//!
//! A line counts once it is applied, written to the chat log and answered. Afterwards the
//! bench checks every byte of the logs, and fails if a line is lost. Nothing here ends the
//! process: the program does, with the exit code that it gets.

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

use cluster::{Cluster, ClusterOptions, LOOK};
use command_line::progress::{Progress, left};
use command_line::{Percent, say};
use driver::Interrupts;
use load::{Load, Shape};
use multipaxos::runtime::layout::Layout;
use multipaxos::storage::Durability;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// The longest time in which lines in flight must complete once nothing more is submitted.
const DRAIN: Duration = Duration::from_secs(30);

/// The kind of a bench.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// A measurement under steady load.
    Steady,
    /// Measurements of one session and more, in memory and synced, drawn into a file.
    Plot(PathBuf),
    /// One replica misses this many lines and comes back.
    Absent(u64),
    /// All replicas are killed after some lines, and again after many.
    Restart,
}

/// The user's options.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The kind of the bench.
    pub mode: Mode,
    /// Failures tolerated: there are 2f+1 replicas.
    pub f: usize,
    /// The number of sessions. Each has one line in flight.
    pub outstanding: usize,
    /// The number of sockets that the sessions share.
    pub connections: usize,
    /// The length of a line in bytes.
    pub size: usize,
    /// Seconds of load before the measurement begins.
    pub warm_s: f64,
    /// Seconds of the measurement.
    pub secs: f64,
    /// When a replica may send an acceptance.
    pub durability: Durability,
    /// On which threads a replica runs its roles.
    pub layout: Layout,
    /// The percentage of datagrams that each sender drops.
    pub msg_loss: Percent,
    /// The longest datagram, in bytes.
    pub datagram_max: usize,
    /// Whether the kernel may be given several datagrams in one call.
    pub offload: bool,
    /// The file with the cluster's key, if it has one.
    pub key_file: Option<PathBuf>,
    /// Whether the replicas write traces.
    pub trace: bool,
    /// The seed of losses and timeouts.
    pub rand_seed: u64,
    /// The number of lines after which a client opens its next session.
    pub session_lines: Option<u64>,
    /// Lines a second, submitted at fixed times. `None`: as fast as answers come.
    pub rate: Option<u64>,
    /// Stops after this many lines instead of after the seconds.
    pub lines: Option<u64>,
    /// Lets the system move processes between all cores, instead of giving each a share.
    pub unpinned: bool,
    /// The folder for the replicas' files. `None`: a temporary folder.
    pub log_dir: Option<PathBuf>,
    /// Prints one JSON object instead of a table.
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
            offload: self.offload,
            key_file: self.key_file.clone(),
            seed: self.rand_seed,
            session_lines: self.session_lines,
            rate: self.rate,
            lines: None,
        }
    }

    fn cluster(&self, interrupts: &Interrupts) -> Result<Cluster, String> {
        let options = ClusterOptions {
            f: self.f,
            durability: self.durability,
            layout: self.layout,
            loss: self.msg_loss,
            datagram_max: self.datagram_max,
            offload: self.offload,
            key_file: self.key_file.clone(),
            trace: self.trace,
            seed: self.rand_seed,
            unpinned: self.unpinned,
            log_dir: self.log_dir.clone(),
        };
        let cluster = Cluster::start(options, interrupts.clone())?;
        if cluster.on_tmpfs && self.durability == Durability::Sync {
            say("bench: the folder is on tmpfs, where sync waits for no disk");
        }
        Ok(cluster)
    }
}

/// Runs a bench. Returns the text for stdout.
///
/// # Errors
///
/// If the cluster fails, lines do not complete, or the logs are not clean.
pub fn run(plan: &Plan, interrupts: &Interrupts) -> Result<String, String> {
    driver::process::allow_many_files();
    match &plan.mode {
        Mode::Steady => steady::run(plan, interrupts),
        Mode::Plot(file) => sweep::run(plan, file, interrupts),
        Mode::Absent(lines) => absence::absent(plan, *lines, interrupts),
        Mode::Restart => absence::restart(plan, interrupts),
    }
}

/// A cluster and its load, watched together.
struct Watch<'a> {
    cluster: &'a mut Cluster,
    load: &'a Load,
}

impl Watch<'_> {
    fn look(&mut self) -> Result<(), String> {
        self.cluster.look()?;
        self.load.fault().map_or(Ok(()), Err)
    }

    /// Waits until `done`, which is asked every few milliseconds.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        while !done(self) {
            self.look()?;
            // The load counts without waking anybody: a wake-up would slow what is measured.
            thread::sleep(LOOK);
        }
        self.look()
    }

    fn pass(&mut self, seconds: f64) -> Result<(), String> {
        let (began, before) = (Instant::now(), self.load.completed());
        let all = Duration::from_secs_f64(seconds);
        let mut progress = Progress::new();
        self.until(|watch| {
            let elapsed = began.elapsed();
            progress.show(|| {
                let rate = rate(watch.load.completed() - before, elapsed);
                let left = all.saturating_sub(elapsed).as_secs_f64();
                format!("{rate}, {left:.0} s left")
            });
            elapsed >= all
        })
    }

    /// Waits until `lines` more lines are complete. Fails when none completes for long.
    fn pass_lines(&mut self, lines: u64) -> Result<(), String> {
        let (began, before) = (Instant::now(), self.load.completed());
        let (goal, mut progress) = (before + lines, Progress::new());
        let mut last = (0, Instant::now());
        let mut stuck = false;
        self.until(|watch| {
            let completed = watch.load.completed();
            progress.show(|| {
                let (done, elapsed) = (completed - before, began.elapsed());
                let (rate, left) = (rate(done, elapsed), left(done, lines, elapsed));
                format!("{done} of {lines} lines, {rate}, {left}")
            });
            if completed != last.0 {
                last = (completed, Instant::now());
            }
            stuck = last.1.elapsed() > DRAIN;
            completed >= goal || stuck
        })?;
        if stuck { Err(format!("no line completed for {} s", DRAIN.as_secs())) } else { Ok(()) }
    }

    /// Stops submitting, and waits for the lines in flight.
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

/// So many lines in this time.
fn rate(lines: u64, elapsed: Duration) -> String {
    format!("{:.0} lines/s", lines as f64 / elapsed.as_secs_f64().max(1e-3))
}

/// Nanoseconds as microseconds, with one decimal.
fn us(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}
