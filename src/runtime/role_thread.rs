//! The loop that runs any role on a thread of its own.
//!
//! In each turn the thread waits for input or the role's deadline, takes the inputs that are
//! there, up to a bound, and finishes the turn (see [`super::role_turn`]). A role that is not
//! urgent lets other threads go first. The thread waits polling or asleep, as
//! [`datagrams::wait`] says.

use super::role_turn::RoleTurn;
use crate::paxos::{Envelope, Role, Storage};
use crate::storage::upkeep::Upkeep;
use crate::types::Time;
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

/// A role with its storage, and its inbox.
#[derive(Debug)]
pub struct RoleThread<'a, R: Role, S> {
    /// What it runs.
    pub turn: &'a mut RoleTurn<R, S>,
    /// Where its inputs come from, in batches.
    pub inbox: &'a Receiver<Vec<R::Input>>,
    /// How it waits.
    pub patience: &'a mut Patience,
    /// The longest sleep, for a thread that has other things to check.
    pub sleep_max: Option<Duration>,
}

impl<R: Role, S: Storage<R::Record> + Upkeep> RoleThread<'_, R, S> {
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
        while !self.turn.role.is_finished() && check(&self.turn.role) == Flow::Continue {
            let mut next = match self.wait()? {
                Ok(batch) => Some(batch),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let mut now = self.turn.now();
            if next.is_some() {
                self.patience.found(now.0);
            }
            if !self.turn.role.is_urgent() {
                threads::yield_now();
                now = self.turn.now();
            }
            let mut taken = 0;
            while let Some(batch) = next {
                taken += batch.len();
                self.turn.take(now, batch);
                next = if taken < BURST_INPUTS_MAX { self.inbox.try_recv().ok() } else { None };
                now = self.turn.now();
            }
            let more = !self.inbox.is_empty();
            self.turn.finish(now, more, TIMER_DELAY_BURSTS_MAX, &mut dispatch)?;
            self.rest_if_due(now)?;
        }
        Ok(())
    }

    fn rest_if_due(&mut self, now: Time) -> io::Result<()> {
        if self.turn.rest_if_due(now)? {
            // A disk that takes long says nothing about processor time.
            self.patience.worked();
        }
        Ok(())
    }

    /// Waits for the next batch. An error says that the role's deadline has come, or that
    /// every sender has gone.
    fn wait(&mut self) -> io::Result<Result<Vec<R::Input>, RecvTimeoutError>> {
        let deadline = self.turn.role.deadline();
        let found = loop {
            match self.inbox.try_recv() {
                Ok(batch) => break Ok(batch),
                Err(TryRecvError::Disconnected) => break Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            let now = self.turn.now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                break Err(RecvTimeoutError::Timeout);
            }
            if self.patience.polls_again(now.0) {
                self.rest_if_due(now)?;
                threads::yield_now();
                continue;
            }
            self.turn.storage.rest()?;
            let due = deadline.map(|deadline| Duration::from_micros(deadline.since_us(now)));
            break match due.into_iter().chain(self.sleep_max).min() {
                Some(sleep) => self.inbox.recv_timeout(sleep),
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
        };
        if found.is_err() {
            self.patience.ended();
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::{Never, Outbox};
    use crate::runtime::process::Clock;
    use crate::runtime::role_turn::REST_US;
    use crate::runtime::trace::Trace;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    /// A role that answers each input with another, so that its thread never sleeps.
    struct Busy {
        again: threads::Sender<Vec<u64>>,
    }

    impl Role for Busy {
        type Input = u64;
        type Record = Never;

        fn handle(&mut self, _now: Time, _draw: u64, input: u64, _out: &mut Outbox<Never>) {
            self.again.try_send(vec![input + 1]).expect("one input is on its way");
        }

        fn handle_timeout(&mut self, _now: Time, _draw: u64, _out: &mut Outbox<Never>) {}

        fn flush(&mut self, _now: Time, _out: &mut Outbox<Never>) {}

        fn deadline(&self) -> Option<Time> {
            None
        }
    }

    /// Counts how often it may write what it has gathered.
    struct Resting(Arc<AtomicU64>);

    impl Storage<Never> for Resting {
        fn append(&mut self, _records: &mut Vec<Never>) -> io::Result<()> {
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Upkeep for Resting {
        fn rest(&mut self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn a_thread_that_never_sleeps_lets_its_storage_write_every_few_milliseconds() {
        let (again, inbox) = threads::bounded(4);
        again.send(vec![0]).expect("there is room");
        let rests = Arc::new(AtomicU64::new(0));
        let (role, storage) = (Busy { again }, Resting(Arc::clone(&rests)));
        let rng = fastrand::Rng::with_seed(1);
        let mut turn = RoleTurn::new(role, storage, Clock::start(), rng, Trace::off());
        let mut thread = RoleThread {
            turn: &mut turn,
            inbox: &inbox,
            patience: &mut Patience::default(),
            sleep_max: None,
        };
        let (began, mut turns) = (Instant::now(), 0u64);
        let look = |_: &Busy| {
            turns += 1;
            let enough = rests.load(Ordering::Relaxed) >= 3;
            if enough || began.elapsed() > Duration::from_secs(10) {
                Flow::Stop
            } else {
                Flow::Continue
            }
        };
        thread.run(|_| {}, look).expect("nothing fails");
        let rests = rests.load(Ordering::Relaxed);
        assert_eq!(rests, 3, "in {turns} turns");
        // No more often than that, since each is a system call.
        assert!(began.elapsed() >= Duration::from_micros(3 * REST_US), "{:?}", began.elapsed());
    }
}
