//! The loop that runs any role on a thread.
//!
//! In each turn the thread waits for input or the role's deadline, lets the role handle the
//! inputs that are there, up to a bound, and lets it flush. It commits (records first, one
//! sync for the whole burst), hands the envelopes over, and lets the storage do the work that
//! could wait until then. Handling many inputs before one commit is group commit, without a
//! timer that makes a batch. A role that is not urgent lets other threads go first. The
//! thread waits polling or asleep, as [`datagrams::wait`] says.
//!
//! Input comes before timers: a process that was stopped for a while reads what came
//! meanwhile before it suspects a leader. A flood of input postpones timers by a bounded
//! number of bursts.

use super::process::Clock;
use crate::paxos::{Envelope, Outbox, Role, Storage};
use crate::storage::upkeep::Upkeep;
use datagrams::wait::Patience;
use interleavings::threads::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::io;
use std::time::Duration;

/// A role commits once it has handled this many inputs; the last batch may exceed it.
const BURST_INPUTS_MAX: usize = 4_096;

/// How many bursts in a row may postpone a timer that is due.
const TIMER_DELAY_BURSTS_MAX: u32 = 4;

/// Whether a loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It goes on to the next burst.
    Continue,
    /// It ends.
    Stop,
}

/// A role, its storage and its inbox.
#[derive(Debug)]
pub struct RoleThread<R: Role, S> {
    /// The role.
    pub role: R,
    /// Where its records go.
    pub storage: S,
    /// Where its inputs come from, in batches.
    pub inbox: Receiver<Vec<R::Input>>,
    /// Its time.
    pub clock: Clock,
    /// Its randomness.
    pub rng: fastrand::Rng,
    /// The longest sleep, for a thread that has other things to check.
    pub sleep_max: Option<Duration>,
}

impl<R: Role, S: Storage<R::Record> + Upkeep> RoleThread<R, S> {
    /// Runs until `check` says stop, the role is finished, or every sender to its inbox has
    /// gone. Calls `check` once a turn, and gives envelopes to `dispatch` in order.
    ///
    /// # Errors
    ///
    /// The storage's error. The process must end then.
    pub fn run(
        &mut self,
        mut dispatch: impl FnMut(&mut Vec<Envelope>),
        mut check: impl FnMut(&R) -> Flow,
    ) -> io::Result<()> {
        let (mut out, mut envelopes) = (Outbox::new(), Vec::new());
        let mut patience = Patience::default();
        let mut delayed = 0;
        while !self.role.is_finished() && check(&self.role) == Flow::Continue {
            let mut next = match self.wait(&mut patience)? {
                Ok(batch) => Some(batch),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            if !self.role.is_urgent() {
                threads::yield_now();
            }
            let mut taken = 0;
            while let Some(batch) = next {
                let now = self.clock.now();
                taken += batch.len();
                for input in batch {
                    self.role.handle(now, self.rng.u64(..), input, &mut out);
                }
                next = if taken < BURST_INPUTS_MAX { self.inbox.try_recv().ok() } else { None };
            }
            let now = self.clock.now();
            if self.role.deadline().is_some_and(|deadline| deadline <= now) {
                if self.inbox.is_empty() || delayed >= TIMER_DELAY_BURSTS_MAX {
                    delayed = 0;
                    self.role.handle_timeout(now, self.rng.u64(..), &mut out);
                } else {
                    delayed += 1;
                }
            }
            self.role.flush(now, &mut out);
            out.commit_into(&mut self.storage, &mut envelopes)?;
            if !envelopes.is_empty() {
                dispatch(&mut envelopes);
            }
            // Peers that lag come after the clients.
            if let Some(log) = self.storage.decided_pages() {
                envelopes.clear();
                out.read_pages(log, &mut envelopes)?;
                if !envelopes.is_empty() {
                    dispatch(&mut envelopes);
                }
            }
            self.storage.settle()?;
        }
        Ok(())
    }

    /// Waits for the next batch. An error says that the role's deadline has come, or that
    /// every sender has gone.
    fn wait(
        &mut self,
        patience: &mut Patience,
    ) -> io::Result<Result<Vec<R::Input>, RecvTimeoutError>> {
        let deadline = self.role.deadline();
        let found = loop {
            match self.inbox.try_recv() {
                Ok(batch) => break Ok(batch),
                Err(TryRecvError::Disconnected) => break Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            let now = self.clock.now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                break Err(RecvTimeoutError::Timeout);
            }
            if patience.polls_again(now.0) {
                threads::yield_now();
                continue;
            }
            self.storage.rest()?;
            let due = deadline.map(|deadline| Duration::from_micros(deadline.since_us(now)));
            break match due.into_iter().chain(self.sleep_max).min() {
                Some(sleep) => self.inbox.recv_timeout(sleep),
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
        };
        match found {
            Ok(_) => patience.found(self.clock.now().0),
            Err(_) => patience.ended(),
        }
        Ok(found)
    }
}
