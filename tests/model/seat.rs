//! A seat: a real role with its disk, which takes one step at a time.
//!
//! A turn does what a role's thread does with one input: handle, flush, commit. If the role
//! recorded something, the turn ends with a running sync, and the seat holds what the role
//! sends. The end of the sync is a step of its own, and a crash may come first.
//!
//! **Time.** Acceptors and learners always get the same time, so none of their timers ever fires.
//! A proposer's clock moves only in two steps. There it goes from one of the proposer's deadlines
//! to the next until the proposer does what the step is for: it campaigns, or it sends
//! heartbeats. So timers fire at any moment and in any order with those of other replicas, and
//! no state depends on what the clock shows.
//!
//! **Pre-votes** are always granted. They change nothing at the replicas that grant them, so
//! safety must not depend on them. So every replica may campaign whenever it likes.

use super::bounds::{Bounds, client, membership, next, replicas};
use super::disk::{DecidedLog, Disk, Kept};
use super::network::plain;
use multipaxos::message::{Message, ToAcceptor, ToLearner, ToProposer};
use multipaxos::paxos::acceptor::{self, Acceptor};
use multipaxos::paxos::learner::{self, Learner};
use multipaxos::paxos::proposer::{self, Proposer};
use multipaxos::paxos::{Envelope, Never, NoStorage, Notice, Outbox, Role};
use multipaxos::types::{Ballot, ReplicaId, Slot, SlotRange, Time};
use std::hash::{Hash, Hasher};

/// The largest number of deadlines that a proposer may use for such a step.
const DEADLINES_MAX: usize = 2_000;

/// An input of some role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Acceptor(acceptor::Input),
    Proposer(proposer::Input),
    Learner(learner::Input),
}

/// A step of a seat. Inputs are either themselves or their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step<I> {
    Take(I),
    /// A client's line, by its index in [`Bounds::offers`]. The learner has confirmed that it is
    /// its session's next.
    Offer(usize),
    /// An operator wants the leader to make the next configuration.
    Change,
    /// The running sync ends, or a sync that nobody waited for.
    Sync,
    /// The process dies and begins anew. `synced`: whether a running sync had ended on the disk.
    Crash {
        synced: bool,
    },
    /// Time passes until the proposer asks for its own promise.
    Campaign,
    /// Time passes until the leader sends heartbeats.
    Beat,
    /// A peer asks for the decided slots from here on.
    Serve {
        to: ReplicaId,
        first: Slot,
    },
}

impl<I> Step<I> {
    /// The same step, with the input looked up.
    pub(crate) fn map<J>(self, look_up: impl FnOnce(I) -> J) -> Step<J> {
        match self {
            Step::Take(input) => Step::Take(look_up(input)),
            Step::Offer(at) => Step::Offer(at),
            Step::Change => Step::Change,
            Step::Sync => Step::Sync,
            Step::Crash { synced } => Step::Crash { synced },
            Step::Campaign => Step::Campaign,
            Step::Beat => Step::Beat,
            Step::Serve { to, first } => Step::Serve { to, first },
        }
    }
}

/// What a step does, apart from the seat's new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StepEffect {
    /// An acceptor's record is durable.
    Accepted(acceptor::Record),
    /// A learner's record is durable.
    Applied(learner::Record),
    /// The role sends this envelope.
    Leaves(Envelope),
    /// The acceptor holds this promise, and no sync is running.
    Stands(Option<Ballot>),
    /// A new life begins, and the acceptor finds this promise on its disk.
    Remembers(Option<Ballot>),
    /// A new life begins, and the learner goes on from here.
    GoesOn(Slot),
}

/// A role with a disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Desk<R, K: Kept> {
    pub(crate) role: R,
    pub(crate) disk: Disk<K>,
    /// The envelopes that leave when the sync has ended.
    held: Vec<Envelope>,
}

/// A proposer with its clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lectern {
    pub(crate) role: Proposer,
    clock: Clock,
    /// The ballot at which it last asked its own acceptor for a promise.
    pub(crate) ballot: Option<Ballot>,
}

/// A time that is no part of the state.
#[derive(Debug, Clone, Copy)]
struct Clock(Time);

impl PartialEq for Clock {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Clock {}

impl Hash for Clock {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Seat {
    Acceptor(Box<Desk<Acceptor, acceptor::State>>),
    Proposer(Box<Lectern>),
    Learner(Box<Desk<Learner, DecidedLog>>),
}

impl Seat {
    /// The three roles of a replica that has just warmed up.
    pub(crate) fn first(bounds: &Bounds, id: ReplicaId) -> [Seat; 3] {
        let (settings, membership) = (bounds.settings(id), membership(id, true));
        let (state, log) = (acceptor::State::default(), DecidedLog::default());
        let acceptor = Acceptor::new(settings, membership.clone(), state.clone());
        let learner = Learner::new(settings, membership, log.checkpoint.clone());
        [
            Seat::Acceptor(Box::new(Desk::new(acceptor, Disk::new(state)))),
            Seat::Proposer(Box::new(Lectern::new(bounds, id, true))),
            Seat::Learner(Box::new(Desk::new(learner, Disk::new(log)))),
        ]
    }

    /// Whether a sync is running and the envelopes of its turn are held.
    pub(crate) fn is_syncing(&self) -> bool {
        match self {
            Seat::Acceptor(desk) => desk.disk.syncing,
            Seat::Proposer(_) => false,
            Seat::Learner(desk) => desk.disk.syncing,
        }
    }

    /// Whether something is written and not synced, and nothing is held for it.
    pub(crate) fn is_careless(&self) -> bool {
        match self {
            Seat::Acceptor(desk) => !desk.disk.syncing && !desk.disk.written.is_empty(),
            Seat::Proposer(_) => false,
            Seat::Learner(desk) => !desk.disk.syncing && !desk.disk.written.is_empty(),
        }
    }

    /// The ballot at which a proposer leads.
    pub(crate) fn leading(&self) -> Option<Ballot> {
        match self {
            Seat::Proposer(lectern) => lectern.role.leading(),
            _ => None,
        }
    }

    /// The slot below which a learner has applied everything.
    pub(crate) fn applied(&self) -> Option<Slot> {
        match self {
            Seat::Learner(desk) => Some(desk.role.applied()),
            _ => None,
        }
    }

    /// The ballot at which a proposer last asked its own acceptor for a promise.
    pub(crate) fn ballot(&self) -> Option<Ballot> {
        match self {
            Seat::Proposer(lectern) => lectern.ballot,
            _ => None,
        }
    }

    /// The seat after a step, and the effects of the step. `None`: the step is not possible.
    pub(crate) fn step(
        &self,
        bounds: &Bounds,
        id: ReplicaId,
        step: Step<&Input>,
    ) -> Option<(Seat, Vec<StepEffect>)> {
        let mut seat = self.clone();
        let mut effects = Vec::new();
        match &mut seat {
            Seat::Acceptor(desk) => desk.step(bounds, id, step, &mut effects),
            Seat::Proposer(lectern) => lectern.step(bounds, id, step, &mut effects)?,
            Seat::Learner(desk) => desk.step(bounds, id, step, &mut effects),
        }
        Some((seat, effects))
    }
}

impl<R: Role, K: Kept<Record = R::Record>> Desk<R, K> {
    fn new(role: R, disk: Disk<K>) -> Self {
        let mut desk = Desk { role, disk, held: Vec::new() };
        // The role has nothing to send yet.
        desk.end_turn(Outbox::new(), &mut Vec::new());
        desk
    }

    /// Handles one input, and commits.
    fn take(&mut self, input: R::Input, effects: &mut Vec<StepEffect>) {
        let mut out = Outbox::new();
        self.role.handle(Time(0), 0, input, &mut out);
        self.end_turn(out, effects);
    }

    /// Ends a turn. What the role sends is held if a sync was asked for.
    fn end_turn(&mut self, mut out: Outbox<R::Record>, effects: &mut Vec<StepEffect>) {
        self.role.flush(Time(0), &mut out);
        self.held = out.commit(&mut self.disk).expect("this disk does not fail");
        // What only says how long a sync takes is left out: it depends on the time, which is no
        // part of the state.
        let is_measure = |it: &Envelope| {
            matches!(it, Envelope::Notice(Notice::Proposer(proposer::Input::Saved { .. })))
        };
        self.held.retain(|envelope| !is_measure(envelope));
        out.read_pages(&mut self.disk, &mut self.held).expect("this disk does not fail");
        self.held.iter_mut().for_each(|envelope| *envelope = plain(envelope.clone()));
        if !self.disk.syncing {
            self.release(effects);
        }
    }

    fn release(&mut self, effects: &mut Vec<StepEffect>) {
        effects.extend(self.held.drain(..).map(StepEffect::Leaves));
    }

    /// Begins a new life. What was held is gone. The life begins with a turn without input, in
    /// which the role says how far it has applied.
    fn begin(&mut self, role: R, effects: &mut Vec<StepEffect>) {
        self.role = role;
        self.end_turn(Outbox::new(), effects);
    }
}

impl Desk<Acceptor, acceptor::State> {
    fn step(
        &mut self,
        bounds: &Bounds,
        id: ReplicaId,
        step: Step<&Input>,
        effects: &mut Vec<StepEffect>,
    ) {
        match step {
            Step::Take(Input::Acceptor(input)) => self.take(input.clone(), effects),
            Step::Sync => {
                effects.extend(self.disk.end_sync().into_iter().map(StepEffect::Accepted));
                self.release(effects);
            }
            Step::Crash { synced } => {
                effects.extend(self.disk.crash(synced).into_iter().map(StepEffect::Accepted));
                let state = self.disk.kept.clone();
                effects.push(StepEffect::Remembers(state.promised()));
                self.begin(
                    Acceptor::new(bounds.settings(id), membership(id, false), state),
                    effects,
                );
            }
            step => unreachable!("no step of an acceptor: {step:?}"),
        }
        // Between two turns the acceptor's state is what is on its disk.
        if !self.disk.syncing {
            effects.push(StepEffect::Stands(self.role.state().promised()));
        }
    }
}

impl Desk<Learner, DecidedLog> {
    fn step(
        &mut self,
        bounds: &Bounds,
        id: ReplicaId,
        step: Step<&Input>,
        effects: &mut Vec<StepEffect>,
    ) {
        match step {
            Step::Take(Input::Learner(input)) => self.take(input.clone(), effects),
            Step::Serve { to, first } => {
                let fetch = ToLearner::Fetch { slots: SlotRange::new(first, Slot(bounds.slots)) };
                self.take(learner::Input::Peer(to, fetch), effects);
            }
            Step::Sync => {
                effects.extend(self.disk.end_sync().into_iter().map(StepEffect::Applied));
                self.release(effects);
            }
            Step::Crash { synced } => {
                effects.extend(self.disk.crash(synced).into_iter().map(StepEffect::Applied));
                let checkpoint = self.disk.kept.checkpoint.clone();
                effects.push(StepEffect::GoesOn(checkpoint.applied));
                let role = Learner::new(bounds.settings(id), membership(id, false), checkpoint);
                self.begin(role, effects);
            }
            step => unreachable!("no step of a learner: {step:?}"),
        }
    }
}

impl Lectern {
    fn new(bounds: &Bounds, id: ReplicaId, fresh: bool) -> Self {
        let role = Proposer::new(bounds.settings(id), membership(id, fresh), Time(0), 0);
        Lectern { role, clock: Clock(Time(0)), ballot: None }
    }

    fn step(
        &mut self,
        bounds: &Bounds,
        id: ReplicaId,
        step: Step<&Input>,
        effects: &mut Vec<StepEffect>,
    ) -> Option<()> {
        let sent = match step {
            Step::Take(Input::Proposer(input)) => self.take(input.clone()),
            Step::Offer(at) => {
                let request = bounds.request(bounds.offers[at].1);
                self.take(proposer::Input::RequestIsNext { origin: client(), request })
            }
            Step::Change => {
                let next = next(self.role.leading()?)?;
                self.take(proposer::Input::Change(next))
            }
            Step::Crash { .. } => {
                *self = Lectern::new(bounds, id, false);
                Vec::new()
            }
            Step::Campaign => self.campaign(id)?,
            // The step changes no part of the state, and no time may pass.
            Step::Beat => self.clone().beat()?,
            step => unreachable!("no step of a proposer: {step:?}"),
        };
        // A leader whose configuration has ended campaigns by itself.
        self.ballot = sent.iter().find_map(prepare).or(self.ballot);
        effects.extend(sent.into_iter().map(StepEffect::Leaves));
        Some(())
    }

    fn take(&mut self, input: proposer::Input) -> Vec<Envelope> {
        let now = self.clock.0;
        self.turn(|role, out| role.handle(now, 0, input, out))
    }

    fn turn(&mut self, act: impl FnOnce(&mut Proposer, &mut Outbox<Never>)) -> Vec<Envelope> {
        let mut out = Outbox::new();
        act(&mut self.role, &mut out);
        self.role.flush(self.clock.0, &mut out);
        out.commit(&mut NoStorage).expect("a proposer has no disk")
    }

    /// Lets time pass to the next deadline.
    fn wait(&mut self) -> Option<Vec<Envelope>> {
        let now = self.clock.0.max(self.role.deadline()?);
        self.clock.0 = now;
        Some(self.turn(|role, out| role.handle_timeout(now, 0, out)))
    }

    /// The proposer's patience runs out, and the peers that it asks grant their pre-votes.
    /// Everything that it sends before it asks for its own promise is lost.
    fn campaign(&mut self, id: ReplicaId) -> Option<Vec<Envelope>> {
        for _ in 0..DEADLINES_MAX {
            let mut sent = self.wait()?;
            if let Some(round) = sent.iter().find_map(pre_vote) {
                for peer in replicas().filter(|peer| *peer != id) {
                    let (granted, voter) = (true, membership(peer, false).voter);
                    let reply = ToProposer::PreVoteReply { round, granted, promised: None, voter };
                    sent.extend(self.take(proposer::Input::Peer(peer, reply)));
                }
            }
            let asked = sent.iter().find_map(prepare).filter(|ballot| self.ballot != Some(*ballot));
            if asked.is_some() {
                self.ballot = asked;
                return Some(sent);
            }
        }
        None
    }

    /// The leader sends heartbeats, if it leads. Everything else that it sends until then is
    /// lost.
    fn beat(&mut self) -> Option<Vec<Envelope>> {
        for _ in 0..DEADLINES_MAX {
            self.role.leading()?;
            let mut sent = self.wait()?;
            sent.retain(is_heartbeat);
            if !sent.is_empty() {
                return Some(sent);
            }
        }
        None
    }
}

fn pre_vote(envelope: &Envelope) -> Option<u64> {
    match envelope {
        Envelope::Peer {
            message: Message::Proposer(ToProposer::PreVote { round, .. }), ..
        } => Some(*round),
        _ => None,
    }
}

fn prepare(envelope: &Envelope) -> Option<Ballot> {
    match envelope {
        Envelope::Peer {
            message: Message::Acceptor(ToAcceptor::Prepare { ballot, .. }), ..
        } => Some(*ballot),
        _ => None,
    }
}

fn is_heartbeat(envelope: &Envelope) -> bool {
    matches!(envelope, Envelope::Peer { message: Message::Heartbeat(_), .. })
}
