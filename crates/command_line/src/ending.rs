//! How a process learns that it should end, and how it ends.
//!
//! SIGINT, SIGTERM and SIGHUP set a flag. A signal that was ignored when the process began
//! stays ignored, since whoever began it wants that: `nohup` for SIGHUP, a shell for the SIGINT
//! of a job in the background. The main thread checks the flag several times a second, and checks at the same time whether the parent still lives, if the process is a
//! child of the driver. A write to a file that may not grow any more (RLIMIT_FSIZE) returns
//! an error instead of killing the process. A panic in any thread ends the process: half
//! a replica is worse than none.

use crate::{EXIT_FAILED, one_line, say, stderr};
use interleavings::threads;
use log::LevelFilter;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs;
use std::io;
use std::os::unix::process::parent_id;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Knows whether the process should end.
#[derive(Debug, Clone)]
pub struct Ending {
    signalled: Arc<AtomicBool>,
    parent: Option<u32>,
}

impl Ending {
    /// Listens for signals from here on, and, if asked to, for the parent's death.
    ///
    /// # Errors
    ///
    /// When the signal handlers cannot be installed.
    pub fn watch(die_with_parent: bool) -> io::Result<Self> {
        let signalled = Arc::new(AtomicBool::new(false));
        let ignored = ignored_signals();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if !ignored.contains(signal) {
                signal_hook::flag::register(signal, Arc::clone(&signalled))?;
            }
        }
        // This flag is never read: a signal that is caught does not kill.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        Ok(Ending { signalled, parent: die_with_parent.then(parent_id) })
    }

    /// For a test: due once this is set, and for no other reason.
    pub fn when(signalled: Arc<AtomicBool>) -> Self {
        Ending { signalled, parent: None }
    }

    /// Makes it due, as a signal would, also where that signal is ignored: the user has asked here.
    pub fn request(&self) {
        self.signalled.store(true, Ordering::Relaxed);
    }

    /// Whether a signal has come or the parent has gone.
    pub fn is_due(&self) -> bool {
        self.signalled.load(Ordering::Relaxed)
            || self.parent.is_some_and(|parent| parent_id() != parent)
    }
}

/// Which signals a process ignores: bit s - 1 is that of signal s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Signals(u64);

impl Signals {
    fn contains(self, signal: i32) -> bool {
        self.0 >> (signal - 1) & 1 == 1
    }
}

/// The signals that this process ignores. None where the system does not say.
fn ignored_signals() -> Signals {
    let status = fs::read_to_string("/proc/self/status");
    status.ok().and_then(|status| ignored_in(&status)).unwrap_or_default()
}

/// Finds them in `/proc/PID/status`.
fn ignored_in(status: &str) -> Option<Signals> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok().map(Signals)
}

/// From here on a panic in any thread ends the process, after its message.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let mut text = format!("thread '{}' {panic}", thread.name().unwrap_or("without a name"));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            text += &format!("\n{trace}");
        }
        say(text);
        process::exit(EXIT_FAILED);
    }));
}

/// Ends the process with one line on stderr. Only the first thread that fails prints one,
/// because a full disk fails several threads at once.
pub fn fail(message: impl std::fmt::Display) -> ! {
    static FAILING: AtomicBool = AtomicBool::new(false);
    let text = message.to_string();
    threads::fails(&text);
    while FAILING.swap(true, Ordering::SeqCst) {
        thread::park();
    }
    // The number of the operating system's error says no more than its text.
    let line = one_line(text.split(" (os error ").next().unwrap_or_default());
    stderr::be_patient();
    match log::max_level() {
        // A user who wants no log still wants to know why the process ended.
        LevelFilter::Off => say(line),
        _ => log::error!("{line}"),
    }
    process::exit(EXIT_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_of_a_process() {
        let status = "Name:\treplica\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000001001001\n";
        let found = ignored_in(status).expect("a mask");
        assert!(found.contains(SIGHUP) && !found.contains(SIGINT) && !found.contains(SIGTERM));
        assert!(found.contains(SIGXFSZ) && found.contains(signal_hook::consts::SIGPIPE));
        for status in ["", "SigIgn:\n", "SigIgn:\tnone\n"] {
            assert_eq!(ignored_in(status), None);
        }
        // Rust lets a process ignore closed pipes.
        assert!(ignored_signals().contains(signal_hook::consts::SIGPIPE));
    }
}
