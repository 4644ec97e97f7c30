//! One simulated replica: the real roles, on virtual threads, over virtual disks.
//!
//! Each role is a [`Station`]: the role, its inbox, and when it next wants to be
//! woken. A turn of a station is what `runtime::role_thread` does on a real thread:
//! drain the inbox, let timers fire if they are due, flush, commit. What is sent comes
//! back to the world, which decides what becomes of it.
//!
//! A process has its own clock: it begins at 0 with each life and runs at the node's
//! rate, so that clocks run apart.

use super::store::Store;
use super::wire::Wire;
use fastrand::Rng;
use multipaxos::message::{ClientMessage, Message};
use multipaxos::paxos::acceptor::Acceptor;
use multipaxos::paxos::bootstrap::Bootstrap;
use multipaxos::paxos::learner::Learner;
use multipaxos::paxos::proposer::Proposer;
use multipaxos::paxos::{
    Envelope, Membership, NoStorage, Notice, Outbox, Role, Settings, Storage, acceptor, bootstrap,
    learner, proposer,
};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{Address, ReplicaId, Time};
use std::collections::VecDeque;
use std::io;

/// What one million parts of a clock's rate stand for.
const PPM: u64 = 1_000_000;

/// The virtual threads of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleName {
    /// Warm-up and membership.
    Bootstrap,
    /// Promises and acceptances.
    Acceptor,
    /// Who leads, and what is proposed.
    Proposer,
    /// What is decided.
    Learner,
}

/// All of them, in the order in which they are numbered.
pub const ROLES: [RoleName; 4] =
    [RoleName::Bootstrap, RoleName::Acceptor, RoleName::Proposer, RoleName::Learner];

/// What arrives at a node's socket.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// From another replica.
    Peer(ReplicaId, Message),
    /// From a client.
    Client(Address, ClientMessage),
    /// A datagram, from wherever.
    Frame(Address, Vec<u8>),
}

/// A role on its virtual thread.
#[derive(Debug)]
pub struct Station<R: Role> {
    role: R,
    inbox: Vec<R::Input>,
    /// Whether an event that will run it is on its way.
    pub woken: bool,
    /// When the earliest timer event for it happens, in the world's time.
    pub timer_at: Option<Time>,
}

impl<R: Role> Station<R> {
    fn new(role: R) -> Self {
        Station { role, inbox: Vec::new(), woken: false, timer_at: None }
    }

    fn turn(
        &mut self,
        now: Time,
        draws: &mut Rng,
        storage: &mut (impl Storage<R::Record> + Upkeep),
    ) -> io::Result<Vec<Envelope>> {
        let mut out = Outbox::new();
        if self.inbox.is_empty() {
            // It has slept since.
            storage.rest()?;
        }
        for input in self.inbox.drain(..) {
            self.role.handle(now, draws.u64(..), input, &mut out);
        }
        if self.role.deadline().is_some_and(|deadline| deadline <= now) {
            self.role.handle_timeout(now, draws.u64(..), &mut out);
        }
        self.role.flush(now, &mut out);
        let mut envelopes = out.commit(storage)?;
        if let Some(log) = storage.decided_pages() {
            out.read_pages(log, &mut envelopes)?;
        }
        Ok(envelopes)
    }
}

/// One life of a replica.
#[derive(Debug)]
pub struct Process {
    began: Time,
    rate_ppm: u64,
    settings: Settings,
    bootstrap: Station<Bootstrap>,
    roles: Option<Roles>,
}

#[derive(Debug)]
struct Roles {
    acceptor: Station<Acceptor>,
    proposer: Station<Proposer>,
    learner: Station<Learner>,
}

/// Runs `$body` on the station of `$role`, if it exists.
macro_rules! with_station {
    ($process:expr, $role:expr, |$station:ident| $body:expr) => {
        match ($role, &mut $process.bootstrap, &mut $process.roles) {
            (RoleName::Bootstrap, $station, _) => Some($body),
            (RoleName::Acceptor, _, Some(Roles { acceptor: $station, .. })) => Some($body),
            (RoleName::Proposer, _, Some(Roles { proposer: $station, .. })) => Some($body),
            (RoleName::Learner, _, Some(Roles { learner: $station, .. })) => Some($body),
            (_, _, None) => None,
        }
    };
}

impl Process {
    /// Begins a life on what `store` holds.
    pub fn begin(settings: Settings, store: &Store, rate_ppm: u64, now: Time) -> Self {
        let role = match &store.started {
            Some(members) => Bootstrap::restart(settings, store.directory, members.clone()),
            None => Bootstrap::new(settings, store.directory, Time(0)),
        };
        Process { began: now, rate_ppm, settings, bootstrap: Station::new(role), roles: None }
    }

    /// Warm-up is over: the other roles begin.
    pub fn start(&mut self, membership: Membership, store: &mut Store, now: Time, draws: &mut Rng) {
        let settings = self.settings;
        let local = self.local(now);
        let state = store.state.clone();
        let checkpoint = store.checkpoint.clone();
        self.roles = Some(Roles {
            acceptor: Station::new(Acceptor::new(settings, membership.clone(), state)),
            proposer: Station::new(Proposer::new(
                settings,
                membership.clone(),
                local,
                draws.u64(..),
            )),
            learner: Station::new(Learner::new(settings, membership, checkpoint)),
        });
    }

    /// Whether warm-up is over.
    pub fn is_started(&self) -> bool {
        self.roles.is_some()
    }

    /// This process's time.
    fn local(&self, now: Time) -> Time {
        Time(now.since_us(self.began) * self.rate_ppm / PPM)
    }

    /// The world's time at which this process's clock shows `local`.
    fn global(&self, local: Time) -> Time {
        self.began.plus_us((local.0 * PPM).div_ceil(self.rate_ppm))
    }

    /// Gives a role's inbox what has arrived at the socket; returns who got it.
    pub fn accept(&mut self, arrival: Arrival) -> [Option<RoleName>; 2] {
        let one = |role| [Some(role), None];
        let (from, message) = match arrival {
            Arrival::Peer(from, Message::Bootstrap(message)) => {
                self.bootstrap.inbox.push(bootstrap::Input::Peer(from, message));
                return one(RoleName::Bootstrap);
            }
            Arrival::Peer(from, message) => (from, message),
            Arrival::Frame(..) => unreachable!("the world opens frames"),
            Arrival::Client(from, message) => {
                let Some(roles) = &mut self.roles else { return [None, None] };
                return match message {
                    ClientMessage::Hello => {
                        roles.learner.inbox.push(learner::Input::Hello(from));
                        one(RoleName::Learner)
                    }
                    ClientMessage::Request(request) => {
                        roles.proposer.inbox.push(proposer::Input::Client(from, request));
                        one(RoleName::Proposer)
                    }
                };
            }
        };
        // As in a real replica, nothing else is heard before the cluster is known.
        let Some(roles) = &mut self.roles else { return [None, None] };
        match message {
            Message::Bootstrap(_) => unreachable!("handled above"),
            Message::Acceptor(message) => {
                roles.acceptor.inbox.push(acceptor::Input::Peer(from, message));
                one(RoleName::Acceptor)
            }
            Message::Proposer(message) => {
                roles.proposer.inbox.push(proposer::Input::Peer(from, message));
                one(RoleName::Proposer)
            }
            Message::Learner(message) => {
                roles.learner.inbox.push(learner::Input::Peer(from, message));
                one(RoleName::Learner)
            }
            Message::Heartbeat(heartbeat) => {
                roles.proposer.inbox.push(proposer::Input::Heartbeat(from, heartbeat));
                roles.learner.inbox.push(learner::Input::Heartbeat(from, heartbeat));
                [Some(RoleName::Proposer), Some(RoleName::Learner)]
            }
        }
    }

    /// Gives a role's inbox a notice of another role of this replica.
    pub fn notify(&mut self, notice: Notice) -> Option<RoleName> {
        let roles = self.roles.as_mut()?;
        Some(match notice {
            Notice::Acceptor(input) => {
                roles.acceptor.inbox.push(input);
                RoleName::Acceptor
            }
            Notice::Proposer(input) => {
                roles.proposer.inbox.push(input);
                RoleName::Proposer
            }
            Notice::Learner(input) => {
                roles.learner.inbox.push(input);
                RoleName::Learner
            }
            Notice::Start(_) => unreachable!("the world takes it"),
        })
    }

    /// One turn of a role. An error ends the process.
    pub fn turn(
        &mut self,
        role: RoleName,
        now: Time,
        draws: &mut Rng,
        store: &mut Store,
    ) -> io::Result<Vec<Envelope>> {
        let now = self.local(now);
        match (role, &mut self.roles) {
            (RoleName::Bootstrap, _) => self.bootstrap.turn(now, draws, &mut store.bootstrap),
            (RoleName::Acceptor, Some(roles)) => {
                roles.acceptor.turn(now, draws, &mut store.acceptor)
            }
            (RoleName::Proposer, Some(roles)) => roles.proposer.turn(now, draws, &mut NoStorage),
            (RoleName::Learner, Some(roles)) => roles.learner.turn(now, draws, &mut store.learner),
            (_, None) => Ok(Vec::new()),
        }
    }

    /// When a role next wants to be woken, in the world's time.
    pub fn deadline(&mut self, role: RoleName) -> Option<Time> {
        let deadline = with_station!(self, role, |station| station.role.deadline()).flatten();
        deadline.map(|deadline| self.global(deadline))
    }

    /// The two marks the world keeps on a role: whether it is woken, and its timer.
    pub fn marks(&mut self, role: RoleName) -> Option<(&mut bool, &mut Option<Time>)> {
        with_station!(self, role, |station| (&mut station.woken, &mut station.timer_at))
    }

    /// The ballot this process leads under.
    pub fn leading(&self) -> Option<multipaxos::types::Ballot> {
        self.roles.as_ref().and_then(|roles| roles.proposer.role.leading())
    }

    /// The acceptor, once started.
    pub fn acceptor(&self) -> Option<&Acceptor> {
        self.roles.as_ref().map(|roles| &roles.acceptor.role)
    }

    /// The learner, once started.
    pub fn learner(&self) -> Option<&Learner> {
        self.roles.as_ref().map(|roles| &roles.learner.role)
    }
}

/// A replica through all its lives.
#[derive(Debug)]
pub struct Node {
    /// Which replica.
    pub id: ReplicaId,
    /// What its roles are built with; the boot id changes with each life.
    pub settings: Settings,
    /// What survives.
    pub store: Store,
    /// Its present life, unless it is down.
    pub process: Option<Process>,
    /// Counts lives; events of an earlier one are void.
    pub life: u32,
    /// It sleeps until then; what arrives meanwhile waits.
    pub paused_until: Option<Time>,
    /// What has arrived while it slept.
    pub backlog: VecDeque<Arrival>,
    /// Its codec, in a run over the wire.
    pub wire: Option<Wire>,
    /// Whether it belongs to a cluster that has started.
    pub started: bool,
    /// A bit of its disk has flipped.
    pub flipped: bool,
    /// How much longer everything takes here, at most, in microseconds.
    pub slow_us: u64,
}
