//! The resources of a process, as the kernel counts them (`/proc`).

use std::fs;
use std::path::Path;

/// The kernel counts CPU time in ticks, of which a second has this many: on Linux the number
/// is fixed for user space.
const TICKS_PER_S: u64 = 100;

/// The resources that a process has used. For a process that has ended, they are 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// User and system time together.
    pub(super) cpu_us: u64,
    /// Context switches of all threads, voluntary or not.
    pub(super) switches: u64,
    pub(super) threads: u64,
    pub(super) rss_kib: u64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Usage {
        let text = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let stat = text("stat").unwrap_or_default();
        // The fields from the third on follow the program's name, which may hold any character.
        let fields: Vec<&str> = match stat.rsplit_once(')') {
            Some((_, rest)) => rest.split_whitespace().collect(),
            None => Vec::new(),
        };
        let ticks = |at: usize| fields.get(at - 3).and_then(|n| n.parse().ok()).unwrap_or(0u64);
        let status = text("status").unwrap_or_default();
        let mut switches = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            switches += value(&status, "voluntary_ctxt_switches:");
            switches += value(&status, "nonvoluntary_ctxt_switches:");
        }
        Usage {
            cpu_us: (ticks(14) + ticks(15)) * (1_000_000 / TICKS_PER_S),
            switches,
            threads: value(&status, "Threads:"),
            rss_kib: value(&status, "VmRSS:"),
        }
    }
}

fn value(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The blocks of the files in a data directory, in KiB: those of the acceptor's segments, and
/// those of all else (journal, overflow, checkpoint).
pub(super) fn disk_kib(dir: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let (mut segments, mut rest) = (0, 0);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let kib = entry.metadata().map_or(0, |metadata| metadata.blocks() / 2);
        let name = entry.file_name();
        let segment = name.to_str().is_some_and(|name| name.starts_with("acceptor-"));
        *(if segment { &mut segments } else { &mut rest }) += kib;
    }
    (segments, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_threads_memory_and_switches() {
        let usage = Usage::of(std::process::id());
        assert!(usage.threads >= 1 && usage.rss_kib > 100, "{usage:?}");
    }
}
