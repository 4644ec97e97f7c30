//! Threads that send without a pause, on cores on which nothing else of this test runs.

use crate::kinds::{Kind, Sender};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// The cores that this process may use.
#[derive(Debug)]
pub(crate) struct Cores(Vec<usize>);

impl Cores {
    /// Asks which there are.
    pub(crate) fn take() -> Result<Self, String> {
        let all = sched_getaffinity(None).map_err(|e| format!("which cores there are: {e}"))?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        match cores.len() {
            0 | 1 => Err("floods and replicas need a core each".into()),
            _ => Ok(Cores(cores)),
        }
    }

    /// From now on this thread, and what it starts, is where the replicas are.
    pub(crate) fn keep_to_the_clusters(&self) -> Result<(), String> {
        keep_to(self.0[0])
    }

    /// The core of this flooder.
    fn of_flooder(&self, flooder: usize) -> usize {
        let others = &self.0[1..];
        others[flooder % others.len()]
    }
}

fn keep_to(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|e| format!("cannot choose core {core}: {e}"))
}

/// Threads that flood.
pub(crate) struct Flooders {
    stop: Arc<AtomicBool>,
    /// Each returns how many datagrams it has sent.
    threads: Vec<JoinHandle<usize>>,
    began: Instant,
}

impl Flooders {
    /// Starts so many.
    pub(crate) fn start(
        cores: &Cores,
        flooders: usize,
        kind: Kind,
        prepare: impl Fn(u64) -> Result<Sender, String>,
    ) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for flooder in 0..flooders {
            // It may start threads of its own, and hands its core on.
            keep_to(cores.of_flooder(flooder))?;
            let (mut sender, stop) = (prepare(flooder as u64 + 1)?, stop.clone());
            let flood = move || {
                let mut sent = 0;
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    sent += sender.send(round);
                }
                sent
            };
            let named = thread::Builder::new().name(format!("flood {kind}"));
            threads.push(named.spawn(flood).map_err(|e| format!("cannot start a flooder: {e}"))?);
            cores.keep_to_the_clusters()?;
        }
        Ok(Flooders { stop, threads, began: Instant::now() })
    }

    /// Ends them. Returns how many datagrams a second they have sent.
    pub(crate) fn stop(self, kind: &Kind) -> Result<f64, String> {
        self.stop.store(true, Ordering::Relaxed);
        let sent: usize = self.threads.into_iter().map(|it| it.join().unwrap_or(0)).sum();
        match sent {
            0 => Err(format!("a flood of {kind} has sent nothing")),
            sent => Ok(sent as f64 / self.began.elapsed().as_secs_f64()),
        }
    }
}
