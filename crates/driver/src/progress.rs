//! The one line that moves while a scenario runs.
//!
//! On stderr, overwritten in place, and only where somebody sees it: stdout and stderr
//! are terminals and `NO_COLOR` is not set. Everything else that the driver prints is
//! made of whole lines, so [`Progress::clear`] comes before any of them.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Ten times a second is as often as anybody reads.
const EVERY: Duration = Duration::from_millis(100);

/// The moving line.
pub(super) struct Progress {
    enabled: bool,
    drawn: Option<Instant>,
}

impl Progress {
    /// A line that moves on a terminal, and nothing elsewhere.
    pub(super) fn new() -> Progress {
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let enabled = terminal && std::env::var_os("NO_COLOR").is_none();
        Progress { enabled, drawn: None }
    }

    /// Draws `line` if the last one has stood long enough.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        if self.enabled && self.drawn.is_none_or(|at| at.elapsed() >= EVERY) {
            self.drawn = Some(Instant::now());
            let _ = io::stderr().write_all(format!("\r\x1b[K{}", line()).as_bytes());
        }
    }

    /// Takes the line away.
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
