//! When a role works: on a thread of its own, or in turn with others on the network thread.

use crossbeam_channel::{Receiver, TryRecvError};
use datagrams::wait::Patience;
use multipaxos::runtime::process::Clock;
use std::thread;

/// The same bound as in a role thread.
const BURST_INPUTS_MAX: usize = 4_096;

/// How much the network thread has to do.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// It has received.
    Busy,
    /// Nothing has come.
    Idle,
    /// It is about to sleep.
    Rest,
}

/// One step of a role.
pub(crate) enum Step<T> {
    Handle(T),
    /// The burst is over: commit, and send.
    Flush,
    /// The thread is about to sleep.
    Rest,
}

/// The thread of a role. A role that nobody waits for yields to the others.
pub(crate) fn role<T>(inbox: &Receiver<Vec<T>>, urgent: bool, mut turn: impl FnMut(Step<T>)) {
    let (clock, mut patience) = (Clock::start(), Patience::default());
    loop {
        let next = match inbox.try_recv() {
            Err(TryRecvError::Empty) if patience.polls_again(clock.now().0) => {
                thread::yield_now();
                continue;
            }
            Err(TryRecvError::Empty) => {
                turn(Step::Rest);
                inbox.recv().ok()
            }
            found => found.ok(),
        };
        patience.found(clock.now().0);
        if !urgent {
            thread::yield_now();
        }
        burst(inbox, next, &mut turn);
    }
}

/// A burst that begins with the batch `next`.
fn burst<T>(inbox: &Receiver<Vec<T>>, mut next: Option<Vec<T>>, turn: &mut impl FnMut(Step<T>)) {
    let mut taken = 0;
    while let Some(batch) = next {
        taken += batch.len();
        batch.into_iter().for_each(|input| turn(Step::Handle(input)));
        next = if taken < BURST_INPUTS_MAX { inbox.try_recv().ok() } else { None };
    }
    turn(Step::Flush);
}

/// A burst of a role on the network thread, if something waits for it. Returns whether it did.
pub(crate) fn burst_here<T>(inbox: &Receiver<Vec<T>>, turn: &mut impl FnMut(Step<T>)) -> bool {
    let next = inbox.try_recv().ok();
    let any = next.is_some();
    if any {
        burst(inbox, next, turn);
    }
    any
}
