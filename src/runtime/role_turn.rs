//! One turn of a role: a burst of inputs, its timer, one commit, the hand-over.
//!
//! A turn lets the role handle the inputs that are there, and its timer if that is due. Then the
//! role flushes, its records are committed (records first, one sync for the whole burst), the
//! envelopes are handed over, peers that lag get their pages, and the storage does the work that
//! could wait until then. Handling many inputs before one commit is group commit, without a
//! timer that makes a batch.
//!
//! Input comes before timers: a process that was stopped for a while reads what came
//! meanwhile before it suspects a leader. A flood of input postpones timers by a bounded
//! number of turns.
//!
//! **Does not** know where inputs come from, nor how its thread waits for them.

use super::process::Clock;
use super::told::{Teller, Words};
use super::trace::Trace;
use crate::paxos::{Envelope, Outbox, Role, Storage};
use crate::storage::upkeep::Upkeep;
use crate::types::{ReplicaId, Time};
use std::{fmt, io};

/// While its thread does not sleep, a storage writes this often what it has gathered, unless it
/// writes more often anyway. Whoever follows a chat log sees a line at most twice that long after
/// its client knows of it.
pub const REST_US: u64 = 4_000;

/// A role, its storage, and what a turn needs beside its inputs.
pub struct RoleTurn<R: Role, S> {
    /// The role.
    pub role: R,
    /// Where its records go.
    pub storage: S,
    clock: Clock,
    rng: fastrand::Rng,
    /// What the role does is written there.
    trace: Trace,
    /// And told in the log.
    teller: Option<Teller<R::Record>>,
    out: Outbox<R::Record>,
    envelopes: Vec<Envelope>,
    /// How many turns in a row have postponed a timer that is due.
    postponed: u32,
    /// When the storage was last asked to write what it has gathered.
    rested: Time,
}

impl<R: Role, S: Storage<R::Record> + Upkeep> RoleTurn<R, S> {
    /// For this role and storage. `rng` draws for the role, and `trace` has its beginning.
    pub fn new(role: R, storage: S, clock: Clock, rng: fastrand::Rng, trace: Trace) -> Self {
        let rested = clock.now();
        let (out, envelopes) = (Outbox::new(), Vec::new());
        let (teller, postponed) = (None, 0);
        RoleTurn { role, storage, clock, rng, trace, teller, out, envelopes, postponed, rested }
    }

    /// The same. What the role does is told as replica `id`'s, its records in these words.
    #[must_use]
    pub(super) fn telling(self, id: ReplicaId, words: Words<R::Record>) -> Self {
        RoleTurn { teller: Some(Teller { id, words }), ..self }
    }

    /// With another role and storage, after the storage of this one has failed.
    pub fn again(self, again: impl FnOnce(S, &Trace) -> io::Result<(S, R)>) -> io::Result<Self> {
        let RoleTurn { storage, clock, rng, trace, teller, .. } = self;
        let (storage, role) = again(storage, &trace)?;
        Ok(RoleTurn { teller, ..RoleTurn::new(role, storage, clock, rng, trace) })
    }

    /// The time, as the role is told it.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Lets the role handle these inputs, which came before `now`.
    pub fn take(&mut self, now: Time, inputs: impl IntoIterator<Item = R::Input>) {
        for input in inputs {
            let draw = self.rng.u64(..);
            self.trace.input(now, draw, &input);
            self.role.handle(now, draw, input, &mut self.out);
        }
    }

    /// Ends the turn, and gives envelopes to `dispatch` in order. While `more` input waits, a
    /// timer that is due is postponed, but not by more than `postponed_max` turns.
    ///
    /// # Errors
    ///
    /// The storage's error. The process must end then.
    pub fn finish(
        &mut self,
        now: Time,
        more: bool,
        postponed_max: u32,
        dispatch: &mut impl FnMut(&mut Vec<Envelope>),
    ) -> io::Result<()> {
        let RoleTurn { role, storage, trace, teller, out, envelopes, .. } = self;
        if role.deadline().is_some_and(|deadline| deadline <= now) {
            if more && self.postponed < postponed_max {
                self.postponed += 1;
            } else {
                self.postponed = 0;
                let draw = self.rng.u64(..);
                trace.timeout(now, draw);
                role.handle_timeout(now, draw, out);
            }
        }
        role.flush(now, out);
        trace.turn(now, role.deadline(), out);
        let told = teller.as_ref().map(|teller| teller.records(out.records()));
        out.commit_into(storage, envelopes).inspect_err(|_| trace.failed())?;
        if let (Some(teller), Some(records)) = (teller, told) {
            teller.tell(records, envelopes);
        }
        if !envelopes.is_empty() {
            dispatch(envelopes);
        }
        // Peers that lag come after the clients.
        if let Some(log) = storage.decided_pages() {
            envelopes.clear();
            out.read_pages(log, envelopes)?;
            if !envelopes.is_empty() {
                trace.pages(envelopes);
                dispatch(envelopes);
            }
        }
        storage.settle()
    }

    /// Lets the storage write what it has gathered, if it was not asked for [`REST_US`]. Returns
    /// whether it was asked.
    ///
    /// # Errors
    ///
    /// The storage's error. The process must end then.
    pub fn rest_if_due(&mut self, now: Time) -> io::Result<bool> {
        let due = now.since_us(self.rested) >= REST_US;
        if due {
            self.rested = now;
            self.storage.rest_if_old()?;
        }
        Ok(due)
    }
}

impl<R: Role + fmt::Debug, S: fmt::Debug> fmt::Debug for RoleTurn<R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RoleTurn { role, storage, .. } = self;
        f.debug_struct("RoleTurn")
            .field("role", role)
            .field("storage", storage)
            .finish_non_exhaustive()
    }
}
