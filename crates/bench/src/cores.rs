//! Assigns cores to processes.
//!
//! The replicas of a cluster should run on hosts of their own. On one host the kernel spreads
//! busy threads over all cores without regard to their process, so what the threads of a
//! replica hand each other travels between cores. Therefore each process gets a share of the
//! cores, as if the share were a host. If there are fewer cores than processes, each process
//! gets one core, chosen so that all cores have the same load. The leader does as much work as
//! two other replicas.
//!
//! A thread passes its cores on to the threads and processes that it starts. When [`Cores`] is
//! dropped, the thread may use all cores again.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;
use std::ops::Range;

/// The cores that this process may use, divided among a number of processes.
#[derive(Debug)]
pub struct Cores {
    all: CpuSet,
    allowed: Vec<usize>,
    processes: usize,
}

impl Cores {
    /// Divides the cores among `processes` that this thread will start.
    ///
    /// # Errors
    ///
    /// If the system does not say which cores there are.
    pub fn for_processes(processes: usize) -> io::Result<Cores> {
        assert!(processes > 0, "there is a process to use them");
        let all = sched_getaffinity(None)?;
        let allowed = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        Ok(Cores { all, allowed, processes })
    }

    /// From now on this thread, and everything it starts, keeps to the share of process `at`.
    ///
    /// # Errors
    ///
    /// If the system refuses, because cores have been taken away.
    pub fn keep_to(&self, at: usize) -> io::Result<()> {
        let mut set = CpuSet::new();
        for core in &self.allowed[share(self.allowed.len(), self.processes, at)] {
            set.set(*core);
        }
        Ok(sched_setaffinity(None, &set)?)
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        // The system refuses only if cores have been taken away. The others stay in use.
        let _ = sched_setaffinity(None, &self.all);
    }
}

/// The leader, process 0, does as much work as this many other processes.
const LEADER_WEIGHT: usize = 2;

/// The share of process `at` among `processes`.
fn share(cores: usize, processes: usize, at: usize) -> Range<usize> {
    if cores >= processes {
        let each = cores / processes;
        return at * each..(at + 1) * each;
    }
    let mut load = vec![0; cores];
    load[0] = LEADER_WEIGHT;
    let mut core = 0;
    for _ in 0..at {
        core = (0..cores).rev().min_by_key(|core| load[*core]).expect("there is a core");
        load[core] += 1;
    }
    core..core + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(cores: usize, processes: usize) -> Vec<Range<usize>> {
        (0..processes).map(|at| share(cores, processes, at)).collect()
    }

    #[test]
    fn with_fewer_cores_than_processes_each_has_one_and_who_leads_counts_as_two() {
        assert_eq!(shares(2, 4), [0..1, 1..2, 1..2, 1..2]);
        assert_eq!(shares(3, 4), [0..1, 2..3, 1..2, 2..3]);
        // With five replicas and a client, the cores have loads 3 and 4; with seven, 4 and 5.
        assert_eq!(shares(2, 6), [0..1, 1..2, 1..2, 1..2, 0..1, 1..2]);
        let on_first = |shares: Vec<Range<usize>>| shares.iter().filter(|at| at.start == 0).count();
        assert_eq!(on_first(shares(2, 8)), 3);
        assert_eq!(on_first(shares(1, 4)), 4);
    }

    #[test]
    fn with_more_each_has_as_many_as_the_others_and_none_is_shared() {
        assert_eq!(shares(9, 4), [0..2, 2..4, 4..6, 6..8]);
        assert_eq!(shares(4, 4), [0..1, 1..2, 2..3, 3..4]);
    }

    #[test]
    fn a_thread_keeps_to_its_share_with_whom_it_starts_until_the_end() {
        let of = || sched_getaffinity(None).expect("it has some");
        let before = of();
        let cores = Cores::for_processes(1_000).expect("there are cores");
        cores.keep_to(0).expect("it may use it");
        let inherited = std::thread::spawn(of).join().expect("no panic");
        assert_eq!(inherited, of());
        assert_eq!((inherited.count(), inherited.is_set(cores.allowed[0])), (1, true));
        drop(cores);
        assert_eq!(of(), before);
    }
}
