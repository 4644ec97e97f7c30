//! A role on its virtual thread.
//!
//! A turn of a [`Station`] does what `runtime::role_thread` does on a real thread. It drains the
//! inbox, lets timers fire if they are due, flushes and commits. The turn has two halves, since
//! the time between them is what the work and the sync take.

use fastrand::Rng;
use multipaxos::paxos::{Envelope, Never, Outbox, Role, Storage, acceptor, bootstrap, learner};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::Time;
use std::io;

/// A role on its virtual thread.
#[derive(Debug)]
pub struct Station<R: Role> {
    pub(super) role: R,
    pub(super) inbox: Vec<R::Input>,
    /// What the present turn leaves to be committed.
    out: Outbox<R::Record>,
    pub(super) marks: Marks,
}

/// The world's marks on a role.
#[derive(Debug, Default)]
pub struct Marks {
    /// Whether an event that runs this role is in the queue.
    pub woken: bool,
    /// The time of the earliest timer event for this role, in the world's time.
    pub timer_at: Option<Time>,
    /// Whether a turn of the role is under way: it is computed and not committed.
    pub busy: bool,
    /// Whether the role was to run while it was busy.
    pub again: bool,
}

/// What a turn of a role costs, before it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// How many inputs it took.
    pub inputs: usize,
    /// How many records wait for a sync.
    pub records: usize,
    /// The bytes of the values in them.
    pub record_bytes: u64,
}

/// What a record makes the disk write, beside a few bytes for its frame.
pub trait Written {
    /// How many bytes of values it holds.
    fn bytes(&self) -> usize;
}

impl Written for acceptor::Record {
    fn bytes(&self) -> usize {
        match self {
            acceptor::Record::Accept(run) | acceptor::Record::Held(run) => run.values.bytes().len(),
            acceptor::Record::Promise(_)
            | acceptor::Record::Trim(_)
            | acceptor::Record::Remember(..) => 0,
        }
    }
}

impl Written for bootstrap::Record {
    fn bytes(&self) -> usize {
        0
    }
}

impl Written for learner::Record {
    fn bytes(&self) -> usize {
        0
    }
}

impl Written for Never {
    fn bytes(&self) -> usize {
        match *self {}
    }
}

impl<R: Role<Record: Written>> Station<R> {
    pub(super) fn new(role: R) -> Self {
        Station { role, inbox: Vec::new(), out: Outbox::new(), marks: Marks::default() }
    }

    /// Another role goes on in its place, with what has arrived for it.
    pub(super) fn goes_on_as(&mut self, role: R) {
        (self.role, self.out) = (role, Outbox::new());
    }

    /// The first half of a turn: the role handles everything that waits for it.
    pub(super) fn compute(
        &mut self,
        now: Time,
        draws: &mut Rng,
        storage: &mut impl Upkeep,
    ) -> io::Result<Work> {
        let (out, inputs) = (&mut self.out, self.inbox.len());
        if self.inbox.is_empty() {
            // The inbox is empty, so the role has slept.
            storage.rest()?;
        }
        for input in self.inbox.drain(..) {
            self.role.handle(now, draws.u64(..), input, out);
        }
        if self.role.deadline().is_some_and(|deadline| deadline <= now) {
            self.role.handle_timeout(now, draws.u64(..), out);
        }
        self.role.flush(now, out);
        let record_bytes = out.records().iter().map(Written::bytes).sum::<usize>() as u64;
        Ok(Work { inputs, records: out.records().len(), record_bytes })
    }

    /// The second half: what it wants is durable, and leaves.
    pub(super) fn commit(
        &mut self,
        storage: &mut (impl Storage<R::Record> + Upkeep),
    ) -> io::Result<Vec<Envelope>> {
        let mut envelopes = self.out.commit(storage)?;
        if let Some(log) = storage.decided_pages() {
            self.out.read_pages(log, &mut envelopes)?;
        }
        Ok(envelopes)
    }
}
