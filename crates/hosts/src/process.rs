//! The replicas' processes: how one starts, what it says and when, and that it ends.
//!
//! A replica says on stderr what it does. A thread reads each line, notes when it came and
//! writes it to a file that stays for the reader. Dropping a [`Replica`] kills it. If this
//! process is itself killed, the kernel ends the replicas (`--die_with_parent`), and strace
//! between them likewise. The kernel binds that to the *thread* that started a process: it
//! must live as long.

use crate::world::{Laid, World};
use multipaxos::marker::{Leads, is_warm};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a replica says when it begins phase 1.
const CAMPAIGNS: &str = "campaigns with ballot ";

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// The longest that a signalled replica may take.
const ENDING_MAX: Duration = Duration::from_secs(6);

/// Looks again and again until there is something, or until `end`.
pub fn until<T>(end: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::park_timeout(LOOK);
    }
}

/// A line of a replica's stderr.
#[derive(Debug, Clone)]
pub struct Said {
    /// When this process read it.
    pub at: Instant,
    /// The line.
    pub line: String,
}

impl Said {
    /// Whether the replica says that it leads.
    pub fn leads(&self) -> bool {
        Leads::read(&self.line).is_some()
    }

    /// Whether the replica says that it begins phase 1.
    pub fn campaigns(&self) -> bool {
        self.line.contains(CAMPAIGNS)
    }
}

/// A replica's process, which does not outlive this value.
pub struct Replica {
    /// Its id.
    pub id: usize,
    child: Child,
    said: Arc<Mutex<Vec<Said>>>,
    status: Option<ExitStatus>,
}

impl Replica {
    /// Starts a replica. The calling thread moves to the replica's host.
    pub fn start(
        bin: &Path,
        world: &World,
        laid: &Laid,
        logs: &Path,
        id: usize,
    ) -> Result<Replica, String> {
        laid.enter_replica(id)?;
        let program = bin.join("replica");
        let mut command = match world.system.injection() {
            None => Command::new(program),
            Some(injection) => {
                let call = injection.split(':').next().unwrap_or_default().to_owned();
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "strace", "-f", "--seccomp-bpf", "-qq"]);
                command.args(["-o", "/dev/null", "-e", &format!("trace={call}")]);
                command.args(["-e", &format!("inject={injection}")]).arg(program);
                command
            }
        };
        command.arg("--config_path").arg(laid.config(Some(id)));
        command.args(["--f", &world.f().to_string(), "--replica_id", &id.to_string()]);
        command.arg("--log_dir").arg(logs).args(["--msg_loss", &world.loss_percent.to_string()]);
        command.args(["--rand_seed", &(id + 1).to_string(), "--die_with_parent"]);
        command.args(world.options).args(laid.trust());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("cannot start replica {id}: {error}"))?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let path = logs.join(format!("replica{id}.err"));
        let file = File::options().create(true).append(true).open(&path);
        let mut file = file.map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        if let Some(stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let _ = writeln!(file, "{line}");
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push(Said { at: Instant::now(), line });
                }
            });
        }
        let replica = Replica { id, child, said, status: None };
        if let Some(quota) = world.quota {
            crate::quota::limit(replica.child.id(), quota)?;
        }
        Ok(replica)
    }

    /// Everything that it has said so far.
    pub fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it takes part.
    pub fn is_warm(&self) -> bool {
        self.said().iter().any(|said| is_warm(&said.line))
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            // strace would leave it running; it is the only child of strace.
            for pid in children(self.child.id()) {
                signal(pid, Signal::KILL);
            }
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    /// Asks it to end, which writes out its chat log, and waits for it.
    pub fn end(&mut self) {
        if self.ended().is_none() {
            match children(self.child.id()).as_slice() {
                [] => signal(self.child.id(), Signal::TERM),
                traced => traced.iter().for_each(|pid| signal(*pid, Signal::TERM)),
            }
            until(Instant::now() + ENDING_MAX, || self.ended());
        }
        self.kill();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The children of a process, as the kernel lists them for its main thread.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Sends a signal to a child that is not reaped, or to a child of one.
fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Where a replica's chat log is.
pub fn chat_log(logs: &Path, id: usize) -> PathBuf {
    logs.join(driver::verdict::file_name(id))
}
