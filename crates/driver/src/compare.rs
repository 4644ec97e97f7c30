//! `driver --compare DIR`: the verdict on the chat logs of a run made by hand.
//!
//! It reads `learner<id>.txt` of a folder and judges format, contiguity, numbering and
//! agreement. A missing file counts as an empty log if a replica with a higher id has one, or
//! if the size of the cluster is known. An absent log never counts as agreement.
//!
//! Replicas may run meanwhile. Then their logs get a line only some milliseconds after its client
//! was told, and not all at once. So this waits, up to `WAIT_MAX`, for those that lag, and until
//! nothing has been written for `QUIET`. A replica that runs holds a lock on its chat log. The lock
//! is looked up and not tried, because a replica that starts must not find its log locked.

use super::folder::numbered;
use super::read_log;
use super::verdict::{ChatLog, Comparison, Violation, compare, file_name};
use command_line::{EXIT_FAILED, one_line, say};
use multipaxos::config::cause;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for replicas that run and lag.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How long no chat log of a replica that runs must have grown.
const QUIET: Duration = Duration::from_millis(60);

/// How long to wait between two looks. The replicas are other processes, and nothing tells this
/// one that a file has grown.
const LOOK: Duration = Duration::from_millis(20);

/// Judges the folder, prints the result, and returns the exit code. `n` is the size of the
/// cluster, if it is known.
pub fn run(dir: &Path, n: Option<usize>) -> i32 {
    let shown = dir.display();
    let end = Instant::now() + WAIT_MAX;
    let (logs, found) = loop {
        let logs = match read(dir, n) {
            Ok(logs) => logs,
            Err(what) => {
                say(one_line(&format!("--compare {shown}: {what}")));
                return EXIT_FAILED;
            }
        };
        let found = compare(&logs);
        if may_change(dir, &logs, &found) {
            // A file that grows wakes nobody.
            thread::sleep(LOOK);
        } else if !grows(dir, &logs, end) {
            break (logs, found);
        }
        if Instant::now() >= end {
            break (logs, found);
        }
    };
    let text = match found {
        Ok(found) => {
            let (all, identical, summary) = (logs.len(), found.identical, found.summary);
            let mut text = format!(
                "PASS  {shown}: {identical} of {all} chat logs identical, {} lines, {} NOPs",
                summary.lines, summary.noops
            );
            for short in found.short {
                text += &format!("\n  {short}");
            }
            text
        }
        Err(violation) => {
            let text = format!("FAIL  {shown}: {violation}");
            // A closed stdout does not change the verdict.
            let _ = writeln!(io::stdout(), "{text}");
            return EXIT_FAILED;
        }
    };
    let _ = writeln!(io::stdout(), "{text}");
    0
}

/// Whether a replica runs whose log would have to grow for a better verdict.
fn may_change(dir: &Path, logs: &[ChatLog], found: &Result<Comparison, Violation>) -> bool {
    let lags = |log: &ChatLog| match found {
        Ok(found) => found.short.iter().any(|short| short.replica == log.replica),
        Err(_) => true,
    };
    running(dir, logs).any(lags)
}

/// Whether a log of a replica that runs grows within [`QUIET`], beyond what was read of it.
fn grows(dir: &Path, logs: &[ChatLog], end: Instant) -> bool {
    let running: Vec<&ChatLog> = running(dir, logs).collect();
    let has_grown = |log: &&ChatLog| {
        let length = fs::metadata(dir.join(file_name(log.replica))).map_or(0, |file| file.len());
        length != log.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)
    };
    let quiet_at = end.min(Instant::now() + QUIET);
    while !running.is_empty() && Instant::now() < quiet_at {
        thread::sleep(LOOK);
        if running.iter().any(has_grown) {
            return true;
        }
    }
    false
}

/// The logs of replicas that run.
fn running<'a>(dir: &Path, logs: &'a [ChatLog]) -> impl Iterator<Item = &'a ChatLog> {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    logs.iter().filter(move |log| is_locked(&dir.join(file_name(log.replica)), &locks))
}

/// Whether a file is among these locks, as `/proc/locks` shows them:
/// `3: FLOCK  ADVISORY  WRITE 8012 fe:01:1573 0 EOF`. The device is not compared, since some
/// file systems show another one there.
fn is_locked(file: &Path, locks: &str) -> bool {
    let Ok(metadata) = fs::metadata(file) else { return false };
    let inode = metadata.ino().to_string();
    let names_it = |lock: &str| {
        let mut words = lock.split_whitespace();
        words.nth(1) == Some("FLOCK")
            && words.nth(3).and_then(|file| file.rsplit(':').next()) == Some(&inode)
    };
    locks.lines().any(names_it)
}

fn read(dir: &Path, n: Option<usize>) -> Result<Vec<ChatLog>, String> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| format!("cannot read: {}", cause(&e)))? {
        let entry = entry.map_err(|e| format!("cannot read: {}", cause(&e)))?;
        let id = entry.file_name().to_str().and_then(|name| numbered(name, "learner", ".txt"));
        ids.extend(id);
    }
    let Some(&last) = ids.iter().max() else {
        return Err("no chat log (learner<id>.txt) there".into());
    };
    if last >= multipaxos::types::REPLICAS_MAX {
        return Err(format!("{} belongs to no replica", file_name(last)));
    }
    let n = n.unwrap_or(0).max(last + 1);
    (0..n)
        .map(|replica| {
            let bytes = read_log(&dir.join(file_name(replica)))?;
            Ok(ChatLog { replica, bytes, live: true })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FlockOperation, flock};

    #[test]
    fn a_lock_is_found_by_the_inode_of_its_file() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let inode = fs::metadata(&file).expect("it is there").ino();
        let lock = |kind: &str, inode: u64| {
            format!(
                "1: POSIX  ADVISORY  READ 1 00:1d:7 0 EOF\n2: {kind}  ADVISORY  WRITE 812 fe:01:{inode} 0 EOF\n"
            )
        };
        assert!(is_locked(&file, &lock("FLOCK", inode)));
        assert!(!is_locked(&file, &lock("POSIX", inode)));
        assert!(!is_locked(&file, &lock("FLOCK", inode + 1)));
        assert!(!is_locked(&file, ""));
        assert!(!is_locked(Path::new("/nowhere"), &lock("FLOCK", inode)));
    }

    #[test]
    fn a_log_grows_if_its_replica_runs_and_it_is_longer_than_what_was_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(file_name(0));
        fs::write(&path, "0 7 0 hello\n1 7 1 world\n").expect("a log");
        let read = |text: &str| [ChatLog { replica: 0, bytes: Some(text.into()), live: true }];
        let (before, all) = (read("0 7 0 hello\n"), read("0 7 0 hello\n1 7 1 world\n"));
        let end = Instant::now() + 10 * QUIET;
        assert!(!grows(dir.path(), &before, end), "its replica does not run");
        let file = fs::File::open(&path).expect("it is there");
        flock(&file, FlockOperation::LockExclusive).expect("nobody else has it");
        assert!(grows(dir.path(), &before, end));
        let began = Instant::now();
        assert!(!grows(dir.path(), &all, end));
        assert!(began.elapsed() >= QUIET, "{:?}", began.elapsed());
        assert!(!grows(dir.path(), &before, Instant::now()), "there is no time left");
    }
}
