//! How the network loop is woken: only if it said that it sleeps.
//!
//! To wake a thread is a system call and more, so whoever has left something to the loop
//! rings only when nobody has since the loop lay down. Four steps, and their order is
//! all:
//!
//! ```text
//!   loop   says that it sleeps; looks once more; sleeps; says that it is awake
//!   other  leaves something, or says stop; takes back that it sleeps, and if it did
//!          says so: wakes it
//! ```
//!
//! Of a hand-over and a look, one comes first. If the hand-over, the look sees it. If the
//! look, then the loop has said that it sleeps before, and is woken; to be woken before
//! it sleeps is as good (mio keeps it).
//!
//! **Guarantees.** What was left to the loop before [`Bell::ring`], and that it was
//! stopped, is seen before the loop sleeps for good, or ends its sleep. `net/schedules.rs`
//! goes through the ways in which the threads can meet here.

use crate::threads::plant::{self, Plant};
use crate::threads::{self, AtomicBool};
use mio::Waker;
use std::io;
use std::sync::atomic::Ordering;

/// The loop's flags, and what ends its sleep.
#[derive(Debug)]
pub(super) struct Bell {
    waker: Waker,
    /// Set by the loop before its last look; whoever takes it back wakes it.
    asleep: AtomicBool,
    stopped: AtomicBool,
}

impl Bell {
    pub(super) fn new(waker: Waker) -> Self {
        Bell { waker, asleep: AtomicBool::new(false), stopped: AtomicBool::new(false) }
    }

    /// Wakes the loop if it sleeps or is about to. Something has been left to it.
    pub(super) fn ring(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = threads::wake(&self.waker)
        {
            log::error!("cannot wake the network thread: {error}");
        }
    }

    /// The loop is to end.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        if !plant::is(Plant::StopWakesNobody) {
            self.ring();
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Sleeps, unless the last look finds something or the loop is stopped.
    pub(super) fn sleep(
        &self,
        finds_something: impl FnOnce() -> bool,
        sleep: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let says_first = !plant::is(Plant::SleepSaidTooLate);
        self.asleep.store(says_first, Ordering::SeqCst);
        let stays_awake = finds_something() && !plant::is(Plant::NoSecondLook)
            || self.is_stopped() && !plant::is(Plant::StopNotLookedFor);
        if !says_first {
            self.asleep.store(true, Ordering::SeqCst);
        }
        let slept = if stays_awake { Ok(()) } else { sleep() };
        self.asleep.store(false, Ordering::SeqCst);
        slept
    }
}
