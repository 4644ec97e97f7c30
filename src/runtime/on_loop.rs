//! The roles of a replica on its network thread, in turn: the layout `one`.
//!
//! What one role says to another costs no hand-over between threads, and nothing waits for a
//! thread to wake. After each burst of datagrams the loop lets whoever has input take a turn:
//!
//! ```text
//!   [network] --- burst ---> proposer -> acceptor -> learner --- again while there is input
//!                            each: inputs, timer, commit, datagrams out
//! ```
//!
//! A vote leaves before the learner of the same replica works, and so does what a leader
//! proposes. A learner for which nobody waits works when nothing comes, or when much has come.
//! Other threads (the main thread; the acceptor's, if it has one) leave their messages in the
//! inboxes and wake the loop.
//!
//! **Under `sync`** the acceptor keeps a thread of its own: a disk must not stop the loop from
//! receiving.
//!
//! **Does not** decide what a role does in its turn: see [`super::role_turn`].

use super::part::{Begun, Part};
use super::post::Post;
use crate::net::{Deliver, Incoming};
use crate::paxos::acceptor::Acceptor;
use crate::paxos::learner::Learner;
use crate::paxos::proposer::Proposer;
use crate::paxos::{Membership, NoStorage, Role, Storage};
use crate::storage::upkeep::Upkeep;
use crate::types::ReplicaId;
use command_line::ending::fail;
use interleavings::threads::{AtomicBool, Receiver, Sender, TryRecvError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many bursts in a row may postpone a timer that is due. A burst of the loop is much
/// shorter than one of a thread that only works.
const TIMER_DELAY_BURSTS_MAX: u32 = 64;

/// How often the roles take turns before the loop receives again.
const ROUNDS_MAX: usize = 8;

/// A learner for which nobody waits works when it has this many inputs, even if more datagrams
/// are there.
const IDLE_INPUTS_MAX: usize = 256;

/// The parts that run on the loop: the acceptor unless it has a thread of its own.
pub(super) struct Parts<A, L> {
    /// The acceptor, unless it has a thread of its own.
    pub(super) acceptor: Option<Part<Acceptor, A>>,
    /// The proposer.
    pub(super) proposer: Part<Proposer, NoStorage>,
    /// The learner.
    pub(super) learner: Part<Learner, L>,
}

/// The roles on the network thread of a replica.
pub(super) struct OnLoop<A, L> {
    id: ReplicaId,
    post: Post,
    state: State<A, L>,
    stopping: Arc<AtomicBool>,
    closing: Sender<()>,
}

enum State<A, L> {
    /// Warm-up is not over.
    Waits(Receiver<Membership>, Box<Parts<A, L>>),
    Runs(Box<Roles<A, L>>),
    /// The storages are closed.
    Ended,
}

impl<A, L> OnLoop<A, L>
where
    A: Storage<<Acceptor as Role>::Record> + Upkeep,
    L: Storage<<Learner as Role>::Record> + Upkeep,
{
    /// For replica `id`: the parts begin when `start` brings the membership, and their storages
    /// are closed once `stopping` is set. Then `closing` is told.
    pub(super) fn new(
        id: ReplicaId,
        post: Post,
        parts: Parts<A, L>,
        start: Receiver<Membership>,
        stopping: Arc<AtomicBool>,
        closing: Sender<()>,
    ) -> Self {
        OnLoop { id, post, state: State::Waits(start, Box::new(parts)), stopping, closing }
    }

    /// Lets the roles work while there is something to do. Returns whether there was.
    fn work(&mut self, pace: Pace) -> bool {
        if self.stopping.load(Ordering::SeqCst) {
            self.end();
            return false;
        }
        let OnLoop { id, post, state, .. } = self;
        if let State::Waits(start, _) = state {
            match start.try_recv() {
                Ok(membership) => self.begin(membership),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => post.router().flush(),
            }
            return false;
        }
        let State::Runs(roles) = state else { return false };
        let worked = roles.work(*id, post, pace);
        post.router().flush();
        worked
    }

    fn begin(&mut self, membership: Membership) {
        let State::Waits(_, parts) = std::mem::replace(&mut self.state, State::Ended) else {
            unreachable!("a role begins once");
        };
        let (id, Parts { acceptor, proposer, learner }) = (self.id, *parts);
        self.state = State::Runs(Box::new(Roles {
            acceptor: Seat::begin(id, acceptor, &membership),
            proposer: Seat::begin(id, Some(proposer), &membership),
            learner: Seat::begin(id, Some(learner), &membership),
        }));
    }

    fn end(&mut self) {
        let id = self.id;
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return,
            State::Waits(_, parts) => {
                let Parts { acceptor, learner, .. } = *parts;
                if let Some(Part { name, storage, .. }) = acceptor {
                    close(id, name, storage);
                }
                close(id, learner.name, learner.storage);
            }
            State::Runs(roles) => {
                if let Some(Begun { name, turn, .. }) = roles.acceptor.begun {
                    close(id, name, turn.storage);
                }
                if let Some(Begun { name, turn, .. }) = roles.learner.begun {
                    close(id, name, turn.storage);
                }
            }
        }
        let _ = self.closing.send(());
    }
}

fn close(id: ReplicaId, name: &str, storage: impl Upkeep) {
    if let Err(error) = storage.close() {
        fail(format!("replica {id}: {name}: {error}"));
    }
}

impl<A, L> Deliver<Incoming> for OnLoop<A, L>
where
    A: Storage<<Acceptor as Role>::Record> + Upkeep,
    L: Storage<<Learner as Role>::Record> + Upkeep,
{
    fn deliver(&mut self, incoming: Incoming) {
        // After the end nobody takes what has come.
        if !matches!(self.state, State::Ended) {
            self.post.router().deliver(incoming);
        }
    }

    fn end_of_burst(&mut self) {}

    fn take_unheard(&mut self) -> usize {
        self.post.router().take_unheard()
    }

    fn turn(&mut self, drained: bool) -> bool {
        self.work(Pace::Busy { drained })
    }

    fn found_nothing(&mut self) {
        self.work(Pace::Idle);
    }

    fn sleeps(&mut self) {
        self.work(Pace::Idle);
        if let State::Runs(roles) = &mut self.state {
            roles.rest(self.id);
        }
    }

    fn sleep_max(&self) -> Option<Duration> {
        let State::Runs(roles) = &self.state else { return None };
        let Roles { acceptor, proposer, learner } = &**roles;
        let due = [acceptor.due_in(), proposer.due_in(), learner.due_in()];
        due.into_iter().flatten().min()
    }

    fn has_input(&self) -> bool {
        match &self.state {
            State::Waits(start, _) => !start.is_empty() || self.stopping.load(Ordering::SeqCst),
            State::Runs(roles) => {
                let Roles { acceptor, proposer, learner } = &**roles;
                acceptor.has_input() || proposer.has_input() || learner.has_input()
            }
            State::Ended => false,
        }
    }
}

/// How much the loop has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// It has received; `drained` says whether that was all.
    Busy { drained: bool },
    /// Nothing has come.
    Idle,
}

struct Roles<A, L> {
    acceptor: Seat<Acceptor, A>,
    proposer: Seat<Proposer, NoStorage>,
    learner: Seat<Learner, L>,
}

impl<A, L> Roles<A, L>
where
    A: Storage<<Acceptor as Role>::Record> + Upkeep,
    L: Storage<<Learner as Role>::Record> + Upkeep,
{
    fn work(&mut self, id: ReplicaId, post: &mut Post, pace: Pace) -> bool {
        let Roles { acceptor, proposer, learner } = self;
        let drained = pace != Pace::Busy { drained: false };
        let mut worked = false;
        for _ in 0..ROUNDS_MAX {
            proposer.gather(&mut post.router().here().proposer);
            let mut again = proposer.work(id, post, drained);
            acceptor.gather(&mut post.router().here().acceptor);
            again |= acceptor.work(id, post, drained);
            learner.gather(&mut post.router().here().learner);
            if pace == Pace::Idle || learner.is_wanted() {
                again |= learner.work(id, post, drained);
            }
            if !again {
                break;
            }
            worked = true;
        }
        acceptor.rest_if_due(id);
        learner.rest_if_due(id);
        worked
    }

    fn rest(&mut self, id: ReplicaId) {
        self.acceptor.with(id, |begun| begun.turn.storage.rest());
        self.learner.with(id, |begun| begun.turn.storage.rest());
    }
}

/// A role on the loop, unless it is on a thread of its own.
struct Seat<R: Role, S> {
    begun: Option<Begun<R, S>>,
    /// What it handles in its next turn.
    inputs: Vec<R::Input>,
}

impl<R: Role, S: Storage<R::Record> + Upkeep> Seat<R, S> {
    fn begin(id: ReplicaId, part: Option<Part<R, S>>, membership: &Membership) -> Self {
        let begun = part.map(|part| {
            let name = part.name;
            let begun = part.begin(id, membership.clone());
            begun.unwrap_or_else(|error| fail(format!("replica {id}: {name}: {error}")))
        });
        Seat { begun, inputs: Vec::new() }
    }

    /// Acts on the role. After an error of its storage it is mended, or the process ends.
    fn with<T: Default>(
        &mut self,
        id: ReplicaId,
        act: impl FnOnce(&mut Begun<R, S>) -> io::Result<T>,
    ) -> T {
        let Some(begun) = &mut self.begun else { return T::default() };
        let error = match act(begun) {
            Ok(value) => return value,
            Err(error) => error,
        };
        let begun = self.begun.take().expect("it is here");
        let name = begun.name;
        let mended = begun.mended(error);
        self.begun =
            Some(mended.unwrap_or_else(|error| fail(format!("replica {id}: {name}: {error}"))));
        T::default()
    }

    /// Takes what the roles on this thread and what other threads have left to it.
    fn gather(&mut self, here: &mut Vec<R::Input>) {
        let Some(begun) = &self.begun else { return };
        self.inputs.append(here);
        while let Ok(batch) = begun.inbox.try_recv() {
            self.inputs.extend(batch);
        }
    }

    /// Takes a turn, if there is a reason for one. Returns whether there was.
    fn work(&mut self, id: ReplicaId, post: &mut Post, drained: bool) -> bool {
        let mut inputs = std::mem::take(&mut self.inputs);
        let worked = self.with(id, |begun| {
            let now = begun.turn.now();
            let due = begun.turn.role.deadline().is_some_and(|deadline| deadline <= now);
            if inputs.is_empty() && !due {
                return Ok(false);
            }
            let any = !inputs.is_empty();
            begun.turn.take(now, inputs.drain(..));
            begun.turn.finish(now, !drained, TIMER_DELAY_BURSTS_MAX, &mut |envelopes| {
                post.dispatch(envelopes);
            })?;
            // A timer that was postponed is no work.
            Ok(any || drained)
        });
        inputs.clear();
        self.inputs = inputs;
        worked
    }

    /// Whether someone waits for it, or enough has come.
    fn is_wanted(&self) -> bool {
        let is_urgent = self.begun.as_ref().is_some_and(|begun| begun.turn.role.is_urgent());
        is_urgent || self.inputs.len() >= IDLE_INPUTS_MAX
    }

    fn rest_if_due(&mut self, id: ReplicaId) {
        self.with(id, |begun| {
            let now = begun.turn.now();
            begun.turn.rest_if_due(now)
        });
    }

    fn due_in(&self) -> Option<Duration> {
        let turn = &self.begun.as_ref()?.turn;
        Some(Duration::from_micros(turn.role.deadline()?.since_us(turn.now())))
    }

    fn has_input(&self) -> bool {
        let left = self.begun.as_ref().is_some_and(|begun| !begun.inbox.is_empty());
        left || !self.inputs.is_empty()
    }
}
