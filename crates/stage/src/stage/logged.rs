//! The log lines of replicas, kept for the stage that runs on the same thread.

use log::{LevelFilter, Log, Metadata, Record as LogRecord};
use std::cell::RefCell;

thread_local! {
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the log lines of each thread for the script that runs there.
#[derive(Debug)]
struct Capture;

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &LogRecord<'_>) {
        LOGGED.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

pub(super) fn capture_logs() {
    // If another thread was first, the logger is set already.
    let _ = log::set_logger(&Capture);
    log::set_max_level(LevelFilter::Debug);
    take_logs();
}

/// Takes the log lines since the last call, shortened like the other lines.
pub(super) fn take_logs() -> Vec<String> {
    let lines = LOGGED.with_borrow_mut(std::mem::take);
    let short = |line: String| match line.strip_prefix("replica ") {
        Some(rest) => rest.replacen(": ", " ", 1),
        None => line,
    };
    lines.into_iter().map(short).collect()
}
