//! How threads of a process meet: channels, flags, the time, and where a thread sleeps.
//!
//! The shells around the roles (the network loop, the role threads, the programs) take all
//! of that from here and from nowhere else. In a program these are crossbeam's channels, the
//! flags, clock and threads of the standard library, and mio's epoll, under other names.
//! With the feature `scheduler`, each step first asks whether its thread is part of an
//! exploration. If it is, a scheduler decides which thread takes the next step, and when
//! time passes (`explore`). So tests explore the same wiring that programs run.
//!
//! **Does not** cover what threads share without waiting for it: counters, the number of
//! queued bytes, which life of a replica is the current one.

pub use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

#[cfg(not(feature = "scheduler"))]
pub use crossbeam_channel::{Receiver, Sender, bounded};
#[cfg(not(feature = "scheduler"))]
pub use std::sync::atomic::AtomicBool;
#[cfg(not(feature = "scheduler"))]
pub use std::thread::yield_now;

#[cfg(feature = "scheduler")]
pub use explore::links::{AtomicBool, Receiver, Sender, bounded, yield_now};

#[cfg(feature = "scheduler")]
pub mod explore;

use mio::{Events, Poll, Waker};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// The time.
pub fn now() -> Instant {
    #[cfg(feature = "scheduler")]
    if let Some(here) = explore::here() {
        return here.now();
    }
    Instant::now()
}

/// Starts a thread that nobody joins.
///
/// # Errors
///
/// When the system gives none.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[cfg(feature = "scheduler")]
    if let Some(here) = explore::here() {
        here.spawn(name, run);
        return Ok(());
    }
    thread::Builder::new().name(name.into()).spawn(run).map(drop)
}

/// Sleeps until something has come that `poll` is registered for, or `most` has passed.
///
/// # Errors
///
/// What the system says.
pub fn sleep(poll: &mut Poll, events: &mut Events, most: Option<Duration>) -> io::Result<()> {
    #[cfg(feature = "scheduler")]
    if let Some(here) = explore::here() {
        return here.sleep(poll, events, most);
    }
    poll.poll(events, most)
}

/// Ends a sleep.
///
/// # Errors
///
/// What the system says.
pub fn wake(waker: &Waker) -> io::Result<()> {
    #[cfg(feature = "scheduler")]
    if let Some(here) = explore::here() {
        return here.wake(waker);
    }
    waker.wake()
}

/// Datagrams have left this thread: in an exploration, loops look whether they are for them.
#[inline]
pub fn has_sent() {
    #[cfg(feature = "scheduler")]
    if let Some(here) = explore::here() {
        here.has_sent();
    }
}

/// The process ends, for this reason: in an exploration, with what is part of it alone.
pub fn fails(why: &str) {
    let _ = why;
    #[cfg(feature = "scheduler")]
    if let Some(here) = explore::here() {
        here.fails(why);
    }
}
