//! How a thread wakes the network loop: with a system call only if the loop sleeps.
//!
//! Waking a thread is expensive, so a thread that has left something to the loop makes the
//! call only if the loop has said that it sleeps and no thread has woken it since. The order
//! of the steps matters:
//!
//! ```text
//!   loop   says that it sleeps; looks once more; sleeps; says that it is awake
//!   other  leaves something, or says stop; clears the loop's flag, and if it was set
//!          wakes the loop
//! ```
//!
//! Either the hand-over or the last look comes first. If the hand-over does, the look sees
//! it. If the look does, the loop's flag was set before it, and the other thread wakes the
//! loop. A wake-up that comes before the sleep is as good: mio keeps it.
//!
//! **Guarantees.** A hand-over that was followed by [`Wakeup::wake`] never finds the loop
//! asleep for good: the loop sees it before it sleeps, or its sleep ends. The same holds for
//! a stop. `src/net/tests/schedules.rs` explores the interleavings of the threads that meet here.

use interleavings::threads::{self, AtomicBool};
use mio::Waker;
use std::io;
use std::sync::atomic::Ordering;

/// The loop's flags, and what ends its sleep.
#[derive(Debug)]
pub(crate) struct Wakeup {
    waker: Waker,
    /// The loop sets this before its last look; the thread that clears it wakes the loop.
    asleep: AtomicBool,
    stopped: AtomicBool,
}

impl Wakeup {
    pub(crate) fn new(waker: Waker) -> Self {
        Wakeup { waker, asleep: AtomicBool::new(false), stopped: AtomicBool::new(false) }
    }

    /// Wakes the loop if it sleeps or is about to. The caller has left something to it.
    pub(crate) fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = threads::wake(&self.waker)
        {
            log::error!("cannot wake the network thread: {error}");
        }
    }

    /// Tells the loop to end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Sleeps, unless the last look finds something or the loop is stopped.
    pub(crate) fn sleep(
        &self,
        finds_something: impl FnOnce() -> bool,
        sleep: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.asleep.store(true, Ordering::SeqCst);
        let stays_awake = finds_something() || self.is_stopped();
        let slept = if stays_awake { Ok(()) } else { sleep() };
        self.asleep.store(false, Ordering::SeqCst);
        slept
    }
}
