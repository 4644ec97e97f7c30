//! The driver's children: it starts them, watches their stderr, and always ends them.
//!
//! A [`Process`] is one child. Its stderr goes to a file from the first byte, so nothing is
//! lost when the child dies. The driver reads the same file ([`Tail`]), so no pipe can fill
//! up and stall a replica. Dropping a [`Process`] kills and reaps it, so no child is left
//! after a failure, a deadline, a signal or a panic of the driver. `--die_with_parent` ends
//! the children of a driver that is itself killed. Each child leads its own process group:
//! Ctrl-C reaches only the driver, which then ends the children in its own order.
//!
//! Only the driver's main thread spawns children: the kernel binds `--die_with_parent` to the
//! thread that spawned the child.
//!
//! [`Interrupts`] notes the signals that end the driver, for the driver's loops to read.

use super::folder::Folder;
use multipaxos::config::cause;
use multipaxos::marker::{Leads, is_warm};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How to start a child.
pub struct Start {
    /// The path of the program.
    pub program: PathBuf,
    /// Its options.
    pub args: Vec<String>,
    /// Whether the driver writes to its stdin and reads its stdout.
    pub piped: bool,
    /// Whether the child is meant to abort. Then it leaves no core file.
    pub aborts: bool,
}

/// One child of the driver.
pub struct Process {
    /// The name: `replica 3`, `client 0`.
    pub name: String,
    child: Child,
    status: Option<ExitStatus>,
    /// Its stderr so far.
    pub tail: Tail,
}

impl Process {
    /// Starts a child whose stderr goes to the file `err` in the folder.
    pub fn spawn(
        name: String,
        start: &Start,
        folder: &Folder,
        err: &str,
    ) -> Result<Process, String> {
        let path = folder.path(err);
        let fail =
            |e: &io::Error, what: &Path| format!("cannot open {}: {}", what.display(), cause(e));
        let write = File::create(&path).map_err(|e| fail(&e, &path))?;
        let read = File::open(&path).map_err(|e| fail(&e, &path))?;
        let pipe = || if start.piped { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(&start.program);
        command.args(&start.args).stdin(pipe()).stdout(pipe()).stderr(write).process_group(0);
        let limit = getrlimit(Resource::Core);
        if start.aborts {
            // A process may always lower its soft limit and raise it again. For Linux, a limit of
            // 1 byte means no core dump even where a program receives dumps (core(5)); 0 does not.
            let _ = setrlimit(Resource::Core, Rlimit { current: Some(1), ..limit });
        }
        let spawned = command.spawn();
        if start.aborts {
            let _ = setrlimit(Resource::Core, limit);
        }
        let program = start.program.display();
        let child = spawned.map_err(|e| format!("cannot start {program}: {}", cause(&e)))?;
        Ok(Process { name, child, status: None, tail: Tail::new(read) })
    }

    /// The pipes of a child that was started with pipes. Only the first call returns them.
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// Its process id. Nobody else has this id before the child is reaped.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // An error would mean that it is not a child of ours, which cannot be.
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Asks the child to end, with SIGTERM.
    pub fn terminate(&mut self) {
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // The child is not reaped yet, so the id still belongs to it.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Kills the child with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        if self.ended().is_none() {
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        self.status
    }

    /// Its last line on stderr, for an error message.
    pub fn last_words(&mut self) -> String {
        self.tail.poll();
        if self.tail.last.is_empty() {
            format!("{} said nothing on stderr", self.name)
        } else {
            format!("its last line on stderr: {}", self.tail.last)
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process ended, in words for an error message.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(6)) => "SIGABRT".into(),
        (None, Some(9)) => "SIGKILL".into(),
        (None, Some(11)) => "SIGSEGV".into(),
        (None, Some(15)) => "SIGTERM".into(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Follows a child's stderr file.
pub struct Tail {
    file: File,
    partial: Vec<u8>,
    /// Whether the replica has completed warm-up.
    pub warm: bool,
    /// The last ballot with which this replica said that it leads.
    pub ballot: Option<u64>,
    /// The last line that is not blank.
    pub last: String,
}

impl Tail {
    fn new(file: File) -> Tail {
        Tail { file, partial: Vec::new(), warm: false, ballot: None, last: String::new() }
    }

    /// Reads what was added since the last call.
    pub fn poll(&mut self) {
        // If the file cannot be read, the child never completes warm-up.
        let _ = self.file.read_to_end(&mut self.partial);
        while let Some(end) = self.partial.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.read_line(String::from_utf8_lossy(&line).trim_end());
        }
    }

    fn read_line(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        self.warm |= is_warm(line);
        self.ballot = Leads::read(line).map(|leads| leads.0.0).or(self.ballot);
        self.last = line.chars().filter(|c| !c.is_control()).collect();
    }
}

/// Raises this process's limit of open files as far as allowed. Each client takes three
/// files, and the usual limit is enough for about three hundred clients.
pub fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // If this fails, a run with too many clients reports it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Notes the signals that end the driver, and does not act on them.
#[derive(Clone, Default)]
pub struct Interrupts {
    noted: Arc<AtomicUsize>,
}

impl Interrupts {
    /// Begins to note SIGINT, SIGTERM and SIGHUP.
    pub fn watch() -> io::Result<Interrupts> {
        let interrupts = Interrupts::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let noted = Arc::clone(&interrupts.noted);
            signal_hook::flag::register_usize(signal, noted, signal as usize)?;
        }
        Ok(interrupts)
    }

    /// The name of the signal that arrived, if one did.
    pub fn noted(&self) -> Option<&'static str> {
        match self.noted.load(Ordering::Relaxed) as i32 {
            0 => None,
            SIGINT => Some("SIGINT"),
            SIGTERM => Some("SIGTERM"),
            _ => Some("SIGHUP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_tail_reads_lines_as_they_become_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("replica1.err");
        let mut write = File::create(&path).unwrap();
        let mut tail = Tail::new(File::open(&path).unwrap());
        let mut says = |text: &str| {
            write.write_all(text.as_bytes()).unwrap();
            tail.poll();
            (tail.warm, tail.ballot, tail.last.clone())
        };
        assert_eq!(
            says("2026-11-28T12:00:00.000Z [INFO] replica 1: warm-up"),
            (false, None, "".into())
        );
        let first = "2026-11-28T12:00:00.000Z [INFO] replica 1: warm-up complete";
        assert_eq!(says(" complete\n\n"), (true, None, first.into()));
        assert_eq!(says("replica 1: leads with ballot 11\n").1, Some(11));
        let again = "replica 1: no longer leads with ballot 16";
        assert_eq!(says(&format!("{again}\n")), (true, Some(11), again.into()));
        assert_eq!(says("replica 1: leads with ballot 16\n").1, Some(16));
    }
}
