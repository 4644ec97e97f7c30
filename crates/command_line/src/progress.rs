//! The progress line that is redrawn while a program works.
//!
//! It goes to stderr, and only if stdout and stderr are terminals and `NO_COLOR` is not set.
//! Everything else that a program prints consists of whole lines, so a program calls
//! [`Progress::clear`] before it prints them.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The shortest time between two drawings. A reader needs no more than ten a second.
const EVERY: Duration = Duration::from_millis(100);

/// The progress line.
#[derive(Debug)]
pub struct Progress {
    enabled: bool,
    drawn: Option<Instant>,
    /// Whether the line stands there.
    stands: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

impl Progress {
    /// A line that is drawn on a terminal, and nowhere else.
    pub fn new() -> Progress {
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let enabled = terminal && std::env::var_os("NO_COLOR").is_none();
        Progress { enabled, drawn: None, stands: false }
    }

    /// Draws `line`, if the last drawing is old enough.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        if self.enabled && self.drawn.is_none_or(|at| at.elapsed() >= EVERY) {
            (self.drawn, self.stands) = (Some(Instant::now()), true);
            let _ = io::stderr().write_all(format!("\r\x1b[K{}", line()).as_bytes());
        }
    }

    /// Erases the line.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.stands) {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How much longer `all` things take of which `done` took `elapsed`, in words, if they go on alike.
pub fn left(done: u64, all: u64, elapsed: Duration) -> String {
    if done == 0 {
        return "begun".into();
    }
    let seconds = elapsed.as_secs_f64() * all.saturating_sub(done) as f64 / done as f64;
    match seconds {
        ..90.0 => format!("{seconds:.0} s left"),
        90.0..5_400.0 => format!("{:.0} min left", seconds / 60.0),
        _ => format!("{:.1} h left", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_is_done() {
        let after = |seconds| Duration::from_secs(seconds);
        assert_eq!(left(0, 9, after(5)), "begun");
        assert_eq!(left(1, 4, after(5)), "15 s left");
        assert_eq!(left(10, 100, after(60)), "9 min left");
        assert_eq!(left(1, 100, after(3_600)), "99.0 h left");
        assert_eq!(left(7, 7, after(5)), "0 s left");
    }
}
