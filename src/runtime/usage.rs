//! Says what the process of a replica takes of its host, to operators who ask.
//!
//! The roles know nothing of memory, files or dropped datagrams. So the main thread answers with
//! that, and neither acceptor, proposer, learner nor the network ever waits for a file. It looks at
//! most once in [`LOOK_AGAIN`], however many ask.

use crate::message::{Answer, CAUSES_MAX, Usage};
use crate::net::{Network, Outgoing, Outlet};
use crate::types::Address;
use datagrams::counters::Counters;
use interleavings::threads::{self, Receiver, Sender, bounded};
use std::cmp::Reverse;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many questions may wait. More are lost, and asked again.
const QUESTIONS_MAX: usize = 16;

/// How long what was seen counts.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The unit of [`MetadataExt::blocks`], in bytes.
const BLOCK_BYTES: u64 = 512;

/// The files of a replica.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) chat_log: PathBuf,
    pub(super) data_dir: PathBuf,
}

/// Where the main thread finds who asks, and what it answers with.
pub(super) struct Desk {
    questions: Receiver<Address>,
    files: Files,
    counters: Arc<Counters>,
    outlet: Outlet,
    began: Instant,
    looked: Option<(Instant, Usage)>,
}

/// A desk, and where questions go.
pub(super) fn desk(files: Files, network: &Network, seed: u64) -> (Sender<Address>, Desk) {
    let (to, questions) = bounded(QUESTIONS_MAX);
    let (counters, outlet, began) = (network.counters(), network.outlet(seed), threads::now());
    (to, Desk { questions, files, counters, outlet, began, looked: None })
}

impl Desk {
    /// Answers all who have asked.
    pub(super) fn answer(&mut self) {
        while let Ok(to) = self.questions.try_recv() {
            let now = threads::now();
            let _ = self.looked.take_if(|(at, _)| now.duration_since(*at) >= LOOK_AGAIN);
            let look = || (now, look(now.duration_since(self.began), &self.files, &self.counters));
            let (_, usage) = self.looked.get_or_insert_with(look);
            let answers = vec![Answer::Usage(Box::new(usage.clone()))];
            self.outlet.send([Outgoing::Answers { to, answers }]);
        }
    }
}

/// What the process takes now.
pub(super) fn look(up: Duration, files: &Files, counters: &Counters) -> Usage {
    let mut dropped: Vec<_> = counters.losses().filter(|(_, times)| *times > 0).collect();
    dropped.sort_by_key(|(_, times)| Reverse(*times));
    dropped.truncate(CAUSES_MAX);
    let dropped = dropped.into_iter().map(|(name, times)| (name.to_owned(), times)).collect();
    let disk_bytes = bytes_of(&files.chat_log) + bytes_below(&files.data_dir);
    let memory_bytes = memory_bytes().unwrap_or(0);
    Usage { up_s: up.as_secs(), memory_bytes, disk_bytes, dropped }
}

/// What a file takes on the disk; 0 if it is not there.
fn bytes_of(file: &Path) -> u64 {
    fs::symlink_metadata(file).map_or(0, |of| BLOCK_BYTES * of.blocks())
}

/// What the files of a folder take; one that goes while this looks counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| bytes_of(&entry.path())).sum()
}

/// What this process has in memory, where the system has a `/proc`.
fn memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1_024 * kib)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datagrams::counters::{DropReason, NetEvent};

    #[test]
    fn the_most_frequent_causes_are_named_and_what_is_no_loss_is_not() {
        let counters = Counters::new();
        counters.add(NetEvent::Received, 1_000);
        for (times, reason) in (1..).zip(DropReason::ALL) {
            counters.add(*reason, times);
        }
        counters.add(NetEvent::InboxFull, 5);
        let (chat_log, data_dir) = (PathBuf::from("/nowhere/at"), PathBuf::from("/nowhere/all"));
        let usage = look(Duration::from_secs(7), &Files { chat_log, data_dir }, &counters);
        assert!(usage.is_well_formed(), "{usage:?}");
        let most = DropReason::ALL.len() as u64;
        assert_eq!(usage.dropped[0], (DropReason::ALL.last().unwrap().name().to_owned(), most));
        assert_eq!(usage.dropped.len(), CAUSES_MAX);
        assert!(usage.dropped.is_sorted_by_key(|(_, times)| Reverse(*times)));
        assert_eq!((usage.up_s, usage.disk_bytes), (7, 0));
    }

    #[test]
    fn every_cause_has_a_name_that_travels() {
        for (name, _) in Counters::new().losses() {
            let dropped = vec![(name.to_owned(), 1)];
            let usage = Usage { up_s: 0, memory_bytes: 0, disk_bytes: 0, dropped };
            assert!(usage.is_well_formed(), "{name}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_knows_its_memory() {
        let bytes = memory_bytes().expect("/proc is there");
        assert!((100 << 10..100 << 30).contains(&bytes), "{bytes}");
    }
}
