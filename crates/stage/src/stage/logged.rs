//! What replicas say in their logs, kept for the stage that runs on the same thread.

use log::{LevelFilter, Log, Metadata, Record as LogRecord};
use std::cell::RefCell;

thread_local! {
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what is logged on each thread for the script that runs there.
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
    // Another thread may have been first.
    let _ = log::set_logger(&Capture);
    log::set_max_level(LevelFilter::Debug);
    take_logs();
}

/// Log lines since the last look, as short as the rest.
pub(super) fn take_logs() -> Vec<String> {
    let lines = LOGGED.with_borrow_mut(std::mem::take);
    let short = |line: String| match line.strip_prefix("replica ") {
        Some(rest) => rest.replacen(": ", " ", 1),
        None => line,
    };
    lines.into_iter().map(short).collect()
}
