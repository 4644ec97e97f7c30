//! What roles are not allowed to have: a clock, and entropy.

use crate::types::Time;
use interleavings::threads;
use std::io;
use std::time::{Duration, Instant};

/// The time between two checks of signals and parent by the main thread.
pub const LOOK: Duration = Duration::from_millis(100);

/// The process's time: microseconds since it began, never stepped.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Clock { began: threads::now() }
    }

    /// The time since the clock began.
    pub fn now(&self) -> Time {
        let elapsed = threads::now().duration_since(self.began);
        Time(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    /// The time from now to `time`; zero if that has passed.
    pub fn until(&self, time: Time) -> Duration {
        Duration::from_micros(time.since_us(self.now()))
    }
}

/// 64 random bits from the operating system, never 0.
///
/// # Errors
///
/// When the operating system gives none.
pub fn entropy() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        io::Error::other(format!("the operating system gives no random bytes: {error}"))
    })?;
    Ok(u64::from_ne_bytes(bytes).max(1))
}
