//! The progress line that is redrawn while a scenario runs.
//!
//! It goes to stderr, and only if stdout and stderr are terminals and `NO_COLOR` is not set.
//! Everything else that the driver prints consists of whole lines, so the driver calls
//! [`Progress::clear`] before it prints them.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The shortest time between two drawings. A reader needs no more than ten a second.
const EVERY: Duration = Duration::from_millis(100);

/// The progress line.
pub(super) struct Progress {
    enabled: bool,
    drawn: Option<Instant>,
}

impl Progress {
    /// A line that is drawn on a terminal, and nowhere else.
    pub(super) fn new() -> Progress {
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let enabled = terminal && std::env::var_os("NO_COLOR").is_none();
        Progress { enabled, drawn: None }
    }

    /// Draws `line`, if the last drawing is old enough.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        if self.enabled && self.drawn.is_none_or(|at| at.elapsed() >= EVERY) {
            self.drawn = Some(Instant::now());
            let _ = io::stderr().write_all(format!("\r\x1b[K{}", line()).as_bytes());
        }
    }

    /// Erases the line.
    pub(super) fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
