//! The means by which threads of a process meet: channels, flags, the time, and sleep.
//!
//! The shells around the roles (the network loop, the role threads, the programs) take all
//! of that from here and from nowhere else. In a program these are crossbeam's channels, the
//! flags, clock and threads of the standard library, and mio's epoll, under other names.
//! With the feature `scheduler`, each step first asks whether its thread is part of an
//! exploration. If it is, a scheduler decides which thread takes the next step, and when
//! time passes (`explore`). So tests explore the same wiring that programs run.
//!
//! **Does not** cover state that threads share without waiting for it: counters, the number
//! of queued bytes, the current life of each replica.

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

/// Starts a detached thread.
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

/// Sleeps until an event comes for which `poll` is registered, or `most` has passed.
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

/// Notes that this thread has sent datagrams. In an exploration, the loops then check whether
/// one has come for them.
#[inline]
pub fn has_sent() {
    #[cfg(feature = "scheduler")]
    if let Some(here) = explore::here() {
        here.has_sent();
    }
}

/// Notes that the process ends, for this reason. In an exploration this ends the process's
/// threads and no others.
pub fn fails(why: &str) {
    let _ = why;
    #[cfg(feature = "scheduler")]
    if let Some(here) = explore::here() {
        here.fails(why);
    }
}
