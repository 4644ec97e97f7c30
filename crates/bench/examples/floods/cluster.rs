//! `bench` and its replicas on one core, and what is seen of them meanwhile.

use crate::flooder::Cores;
use crate::text;
use serde::Deserialize;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How many replicas there are.
const REPLICAS: usize = 3;

/// Seconds of load before the measurement.
const WARM_S: f64 = 1.0;

/// The longest time until all replicas have warmed up, and that a client may take.
const GRACE: Duration = Duration::from_secs(20);
pub(crate) const CLIENT_S: &str = "20";

/// The time between two looks at the replicas' words: a file that grows wakes nobody.
const LOOK: Duration = Duration::from_millis(50);

/// A run of `bench`.
pub(crate) struct Bench<'a> {
    pub(crate) bin: &'a Path,
    /// For its files.
    pub(crate) dir: PathBuf,
    pub(crate) key: &'a Path,
    pub(crate) outstanding: usize,
    pub(crate) secs: f64,
}

/// What `bench` prints.
#[derive(Deserialize)]
struct Printed {
    ops_per_s: f64,
    rss_kib: f64,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) lines_per_s: f64,
    /// Of the largest replica.
    pub(crate) rss_kib: f64,
    /// How often a replica began to lead.
    pub(crate) leaders: usize,
    /// Of the replica that wrote most.
    pub(crate) log_lines_per_s: f64,
}

impl Bench<'_> {
    /// Runs it, and calls `begin` with the replicas' addresses as soon as they have warmed up.
    pub(crate) fn run(
        &self,
        cores: &Cores,
        begin: impl FnOnce(&[SocketAddr]) -> Result<(), String>,
    ) -> Result<Ran, String> {
        fs::create_dir(&self.dir).map_err(|e| format!("cannot make a folder: {e}"))?;
        cores.keep_to_the_clusters()?;
        let mut child = Command::new(self.bin.join("bench"))
            .args(["--json", "--durability", "none", "--log_dir", text(&self.dir)])
            .args(["--key_file", text(self.key)])
            .args(["--outstanding", &self.outstanding.to_string()])
            .args(["--warm", &WARM_S.to_string(), "--secs", &self.secs.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start bench: {e}"))?;
        let began = Instant::now();
        while !self.is_warm() {
            if began.elapsed() > GRACE || matches!(child.try_wait(), Ok(Some(_))) {
                let _ = child.kill();
                return Err("the replicas of bench do not warm up".into());
            }
            thread::sleep(LOOK);
        }
        let (warm, first) = (Instant::now(), self.log_lines());
        let replicas = self.replicas()?;
        if let Err(what) = begin(&replicas) {
            let _ = child.kill();
            return Err(what);
        }
        // As the measurement ends, `bench` tells the replicas to end, and they hand over.
        let measured = Duration::from_secs_f64(WARM_S + self.secs);
        let (mut leaders, mut last) = (0, first.clone());
        while warm.elapsed() + LOOK < measured && matches!(child.try_wait(), Ok(None)) {
            (leaders, last) = (self.leaders(), self.log_lines());
            thread::sleep(LOOK);
        }
        let ended = child.wait_with_output().map_err(|e| format!("bench: {e}"))?;
        if !ended.status.success() {
            let words = String::from_utf8_lossy(&ended.stderr);
            return Err(format!("bench: {}", words.lines().last().unwrap_or("no word")));
        }
        let printed: Printed = serde_json::from_slice(&ended.stdout)
            .map_err(|e| format!("what bench has printed: {e}"))?;
        let most = first.iter().zip(&last).map(|(first, last)| last - first).max();
        Ok(Ran {
            lines_per_s: printed.ops_per_s,
            rss_kib: printed.rss_kib,
            leaders,
            log_lines_per_s: most.unwrap_or(0) as f64 / (WARM_S + self.secs),
        })
    }

    fn words(&self, id: usize) -> String {
        fs::read_to_string(self.dir.join(format!("bench/replica{id}.err"))).unwrap_or_default()
    }

    fn is_warm(&self) -> bool {
        (0..REPLICAS).all(|id| self.words(id).contains("warm-up complete"))
    }

    fn leaders(&self) -> usize {
        (0..REPLICAS).map(|id| self.words(id).matches(": leads with ballot").count()).sum()
    }

    fn log_lines(&self) -> Vec<usize> {
        (0..REPLICAS).map(|id| self.words(id).lines().count()).collect()
    }

    fn replicas(&self) -> Result<Vec<SocketAddr>, String> {
        let text = fs::read_to_string(self.dir.join("bench/config.txt"))
            .map_err(|e| format!("the configuration of bench: {e}"))?;
        let address = |line: &str| line.replace(' ', ":").parse().ok();
        let found: Vec<SocketAddr> = text.lines().filter_map(address).collect();
        match found.len() {
            REPLICAS => Ok(found),
            _ => Err(format!("the configuration of bench: {text}")),
        }
    }
}
