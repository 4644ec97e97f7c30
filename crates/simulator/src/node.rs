//! One simulated replica: the real roles, on virtual threads, on simulated storage.
//!
//! Each role is a [`Station`]: the role, its inbox, and the time at which it must be woken.
//! The world takes the envelopes of its turns and decides which of them are lost.
//!
//! Each process has its own clock. It begins at 0 with each life and runs at a rate of its
//! own, so that clocks run apart.

use super::environment::Quota;
use super::station::{Marks, Station, Work};
use super::store::Store;
use super::wire::Wire;
use fastrand::Rng;
use multipaxos::message::{ClientMessage, Message, Refusal, ToBootstrap};
use multipaxos::net::Incoming;
use multipaxos::paxos::acceptor::Acceptor;
use multipaxos::paxos::bootstrap::Bootstrap;
use multipaxos::paxos::learner::Learner;
use multipaxos::paxos::proposer::Proposer;
use multipaxos::paxos::{
    Bound, Envelope, Membership, NoStorage, Notice, Role, Settings, acceptor, bootstrap, learner,
    proposer,
};
use multipaxos::types::{Address, BootId, ReplicaId, Time};
use std::collections::VecDeque;
use std::io;

/// Clock rates are in parts per million.
const PPM: u64 = 1_000_000;

/// The virtual threads of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleName {
    /// Warm-up and the started record.
    Bootstrap,
    /// Promises and acceptances.
    Acceptor,
    /// Leader election and proposals.
    Proposer,
    /// Decided slots and the chat log.
    Learner,
}

/// All roles, in the order of their numbers.
pub const ROLES: [RoleName; 4] =
    [RoleName::Bootstrap, RoleName::Acceptor, RoleName::Proposer, RoleName::Learner];

/// A message or a datagram that arrives at a replica's socket.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// From another replica: any message but those of warm-up.
    Peer(ReplicaId, Message),
    /// From another replica, and from this address: warm-up.
    WarmUp(ReplicaId, Address, ToBootstrap),
    /// A datagram in this replica's name, from this address, was refused.
    Refused(ReplicaId, Address, Refusal),
    /// A life of another replica, and where its datagrams come from.
    Life(ReplicaId, BootId, Address),
    /// From a client.
    Client(Address, ClientMessage),
    /// A datagram, still encoded.
    Frame(Address, Vec<u8>),
}

impl Arrival {
    /// What a replica's codec has opened, as it reaches the roles. A replica opens no answers.
    pub fn of(incoming: Incoming) -> Option<Self> {
        Some(match incoming {
            Incoming::Peer { from, message } => Arrival::Peer(from, message),
            Incoming::WarmUp { from, at, message } => Arrival::WarmUp(from, at, message),
            Incoming::Refused { from, at, why } => Arrival::Refused(from, at, why),
            Incoming::Life { of, boot, at } => Arrival::Life(of, boot, at),
            Incoming::Client { from, message } => Arrival::Client(from, message),
            Incoming::Answer { .. } | Incoming::OtherCluster { .. } => return None,
        })
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
    cpu: CpuUse,
}

/// How much of its quota a process has used.
#[derive(Debug, Default)]
struct CpuUse {
    /// The number of the period.
    period: u64,
    /// What it has run in that period.
    used_us: u64,
}

#[derive(Debug)]
struct Roles {
    acceptor: Station<Acceptor>,
    proposer: Station<Proposer>,
    learner: Station<Learner>,
    membership: Membership,
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
            Some(members) => {
                Bootstrap::restart(settings, store.directory, members.clone(), &store.state)
            }
            None => Bootstrap::new(settings, store.directory, Time(0)),
        };
        let role = role.beginning_with(store.origin());
        Process {
            began: now,
            rate_ppm,
            settings,
            bootstrap: Station::new(role),
            roles: None,
            cpu: CpuUse::default(),
        }
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
            learner: Station::new(Learner::new(settings, membership.clone(), checkpoint)),
            membership,
        });
    }

    /// After an error of the learner's storage: if its chat log was cut, a new learner goes on
    /// with what is left of it. An error ends the process.
    pub fn mend_learner(&mut self, error: io::Error, store: &mut Store) -> io::Result<()> {
        let Some(roles) = &mut self.roles else { return Err(error) };
        roles.learner.goes_on_as(store.mend(error, self.settings, &roles.membership)?);
        Ok(())
    }

    /// Which replica this is a life of.
    pub fn id(&self) -> ReplicaId {
        self.settings.id
    }

    /// Whether warm-up is over.
    pub fn is_started(&self) -> bool {
        self.roles.is_some()
    }

    /// The time on this process's clock.
    fn local(&self, now: Time) -> Time {
        Time(now.since_us(self.began) * self.rate_ppm / PPM)
    }

    /// The world's time at which this process's clock will show `local`.
    fn global(&self, local: Time) -> Time {
        self.began.plus_us((local.0 * PPM).div_ceil(self.rate_ppm))
    }

    /// Puts what arrived at the socket into inboxes. Returns the roles that received something.
    pub fn accept(&mut self, arrival: Arrival) -> [Option<RoleName>; 2] {
        let one = |role| [Some(role), None];
        let (from, message) = match arrival {
            Arrival::WarmUp(from, at, message) => {
                self.bootstrap.inbox.push(bootstrap::Input::Peer(from, at, message));
                return one(RoleName::Bootstrap);
            }
            Arrival::Refused(from, at, why) => {
                self.bootstrap.inbox.push(bootstrap::Input::Refused { from, at, why });
                return one(RoleName::Bootstrap);
            }
            Arrival::Life(of, boot, at) => {
                let Some(roles) = &mut self.roles else { return [None, None] };
                roles.proposer.inbox.push(proposer::Input::Life(of, boot, at));
                return one(RoleName::Proposer);
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
                    ClientMessage::Follow(query) => {
                        roles.learner.inbox.push(learner::Input::Follow(from, query));
                        one(RoleName::Learner)
                    }
                    ClientMessage::Status(query) => {
                        roles.proposer.inbox.push(proposer::Input::Status(from, query));
                        one(RoleName::Proposer)
                    }
                    ClientMessage::Members(query) => {
                        roles.proposer.inbox.push(proposer::Input::Members(from, query));
                        one(RoleName::Proposer)
                    }
                    ClientMessage::Mark { read } => {
                        roles.proposer.inbox.push(proposer::Input::Mark(from, read));
                        one(RoleName::Proposer)
                    }
                    ClientMessage::Inquiry(inquiry) => {
                        roles.proposer.inbox.push(proposer::Input::Inquiry(from, *inquiry));
                        one(RoleName::Learner)
                    }
                    ClientMessage::Request(request) => {
                        roles.proposer.inbox.push(proposer::Input::Client(from, request));
                        one(RoleName::Proposer)
                    }
                };
            }
        };
        // As in a real replica, the other roles receive nothing before the cluster has started.
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
                roles.proposer.inbox.push(proposer::Input::Heartbeat(from, heartbeat.clone()));
                roles.learner.inbox.push(learner::Input::Heartbeat(from, heartbeat));
                [Some(RoleName::Proposer), Some(RoleName::Learner)]
            }
        }
    }

    /// The process is told to end. Returns the role that takes care of it.
    pub fn leave(&mut self) -> Option<RoleName> {
        self.notify(Notice::Proposer(proposer::Input::Leave))
    }

    /// Puts a notice from another role of this replica into an inbox. Returns the receiver.
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
            Notice::Start(_)
            | Notice::LostState(_)
            | Notice::Diverged(_)
            | Notice::MayEnd { .. }
            | Notice::Places(_) => {
                unreachable!("the world takes it")
            }
        })
    }

    /// The first half of a role's turn: it handles what waits for it. An error ends the
    /// process.
    pub fn compute(
        &mut self,
        role: RoleName,
        now: Time,
        draws: &mut Rng,
        store: &mut Store,
    ) -> io::Result<Work> {
        let now = self.local(now);
        match (role, &mut self.roles) {
            (RoleName::Bootstrap, _) => self.bootstrap.compute(now, draws, &mut store.bootstrap),
            (RoleName::Acceptor, Some(roles)) => {
                roles.acceptor.compute(now, draws, &mut store.acceptor)
            }
            (RoleName::Proposer, Some(roles)) => roles.proposer.compute(now, draws, &mut NoStorage),
            (RoleName::Learner, Some(roles)) => {
                // Nobody waits for the records of a learner.
                let work = roles.learner.compute(now, draws, &mut store.learner)?;
                Ok(Work { records: 0, ..work })
            }
            (_, None) => Ok(Work { inputs: 0, records: 0, record_bytes: 0 }),
        }
    }

    /// The second half: its records become durable, and its messages leave. An error ends the
    /// process.
    pub fn commit(&mut self, role: RoleName, store: &mut Store) -> io::Result<Vec<Envelope>> {
        match (role, &mut self.roles) {
            (RoleName::Bootstrap, _) => self.bootstrap.commit(&mut store.bootstrap),
            (RoleName::Acceptor, Some(roles)) => roles.acceptor.commit(&mut store.acceptor),
            (RoleName::Proposer, Some(roles)) => roles.proposer.commit(&mut NoStorage),
            (RoleName::Learner, Some(roles)) => roles.learner.commit(&mut store.learner),
            (_, None) => Ok(Vec::new()),
        }
    }

    /// The time at which a role must be woken, in the world's time.
    pub fn deadline(&mut self, role: RoleName) -> Option<Time> {
        let deadline = with_station!(self, role, |station| station.role.deadline()).flatten();
        deadline.map(|deadline| self.global(deadline))
    }

    /// The world's marks on a role.
    pub fn marks(&mut self, role: RoleName) -> Option<&mut Marks> {
        with_station!(self, role, |station| &mut station.marks)
    }

    /// When this process has run for `cpu_us` more, if it begins `now` and may use no more
    /// than `quota`.
    pub fn run(&mut self, now: Time, cpu_us: u64, quota: Option<Quota>) -> Time {
        let Some(Quota { period_us, share_us }) = quota else { return now.plus_us(cpu_us) };
        let (mut at, mut left) = (now, cpu_us);
        loop {
            let period = at.0 / period_us;
            if period > self.cpu.period {
                self.cpu = CpuUse { period, used_us: 0 };
            }
            // Another role of this process may have run into a later period already.
            at = at.max(Time(self.cpu.period * period_us));
            let room = share_us - self.cpu.used_us.min(share_us);
            if left <= room {
                self.cpu.used_us += left;
                return at.plus_us(left);
            }
            left -= room;
            self.cpu = CpuUse { period: self.cpu.period + 1, used_us: 0 };
        }
    }

    /// Tells which bounds the state of a role has come up to.
    pub fn reached(&self, role: RoleName, tell: &mut dyn FnMut(Bound)) {
        match (role, &self.roles) {
            (RoleName::Acceptor, Some(roles)) => roles.acceptor.role.reached(tell),
            (RoleName::Proposer, Some(roles)) => roles.proposer.role.reached(tell),
            (RoleName::Learner, Some(roles)) => roles.learner.role.reached(tell),
            (RoleName::Bootstrap, _) | (_, None) => {}
        }
    }

    /// The ballot at which this process leads, if it does.
    pub fn leading(&self) -> Option<multipaxos::types::Ballot> {
        self.roles.as_ref().and_then(|roles| roles.proposer.role.leading())
    }

    /// The proposer, once the cluster has started.
    pub fn proposer(&self) -> Option<&Proposer> {
        self.roles.as_ref().map(|roles| &roles.proposer.role)
    }

    /// The acceptor, once the cluster has started.
    pub fn acceptor(&self) -> Option<&Acceptor> {
        self.roles.as_ref().map(|roles| &roles.acceptor.role)
    }

    /// The learner, once the cluster has started.
    pub fn learner(&self) -> Option<&Learner> {
        self.roles.as_ref().map(|roles| &roles.learner.role)
    }
}

/// Why a role has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Its deadline has come.
    Timer,
    /// It has something to do.
    Wake,
    /// The time that its last turn takes is over.
    Commit,
}

/// A replica through all its lives.
#[derive(Debug)]
pub struct Node {
    /// Which replica.
    pub id: ReplicaId,
    /// The settings of its roles. The boot id changes with each life.
    pub settings: Settings,
    /// Its storage, which survives a life.
    pub store: Store,
    /// Its present life, unless the replica is down.
    pub process: Option<Process>,
    /// Counts lives. The world drops events of an earlier life.
    pub life: u32,
    /// The replica sleeps until then. Arrivals wait in the backlog.
    pub paused_until: Option<Time>,
    /// Messages that arrived while the replica slept.
    pub backlog: VecDeque<Arrival>,
    /// What its roles would have done meanwhile.
    pub put_off: Vec<(RoleName, Turn)>,
    /// Its codec, in a run with real datagrams.
    pub wire: Option<Wire>,
    /// Whether it is a member of a cluster that has started.
    pub started: bool,
    /// Whether a bit of its disk has flipped.
    pub flipped: bool,
    /// Every turn may come later by up to this, in microseconds.
    pub slow_us: u64,
}
