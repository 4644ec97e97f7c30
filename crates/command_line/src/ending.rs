//! How a process learns that it should end, and how it ends.
//!
//! SIGINT, SIGTERM and SIGHUP set a flag. The main thread checks it several times a
//! second, and checks at the same time whether the parent still lives, if the process is a
//! child of the driver. A write to a file that may not grow any more (RLIMIT_FSIZE) returns
//! an error instead of killing the process. A panic in any thread ends the process: half
//! a replica is worse than none.

use crate::{EXIT_FAILED, one_line, say};
use interleavings::threads;
use log::LevelFilter;
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
        for signal in
            [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            signal_hook::flag::register(signal, Arc::clone(&signalled))?;
        }
        // This flag is never read: a signal that is caught does not kill.
        signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
        Ok(Ending { signalled, parent: die_with_parent.then(parent_id) })
    }

    /// For a test: due once this is set, and for no other reason.
    pub fn when(signalled: Arc<AtomicBool>) -> Self {
        Ending { signalled, parent: None }
    }

    /// Whether a signal has come or the parent has gone.
    pub fn is_due(&self) -> bool {
        self.signalled.load(Ordering::Relaxed)
            || self.parent.is_some_and(|parent| parent_id() != parent)
    }
}

/// From here on a panic in any thread ends the process, after its message.
pub fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
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
    match log::max_level() {
        // A user who wants no log still wants to know why the process ended.
        LevelFilter::Off => say(line),
        _ => log::error!("{line}"),
    }
    process::exit(EXIT_FAILED)
}
