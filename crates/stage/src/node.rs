//! One replica on the stage: the real roles. Each takes a turn only when it is told to.
//!
//! A turn does what a role's thread does: it drains the inbox, lets timers fire if a command
//! moved the time, flushes and commits. Nothing is random: all draws of a replica are the same.

use multipaxos::members::Configuration;
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
use simulator::node::{ROLES, RoleName};
use simulator::store::{Death, Store};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// A role, its inbox, and the time at which its timer last fired.
#[derive(Debug)]
struct Station<R: Role> {
    role: R,
    inbox: Vec<R::Input>,
    fired_at: Option<Time>,
}

impl<R: Role> Station<R> {
    fn new(role: R) -> Self {
        Station { role, inbox: Vec::new(), fired_at: None }
    }

    fn turn(
        &mut self,
        now: Time,
        draw: u64,
        timers: bool,
        storage: &mut (impl Storage<R::Record> + Upkeep),
    ) -> io::Result<Vec<Envelope>> {
        let mut out = Outbox::new();
        for input in self.inbox.drain(..) {
            self.role.handle(now, draw, input, &mut out);
        }
        if timers {
            self.fired_at = Some(now);
            self.role.handle_timeout(now, draw, &mut out);
        }
        self.role.flush(now, &mut out);
        let mut envelopes = out.commit(storage)?;
        if let Some(log) = storage.decided_pages() {
            out.read_pages(log, &mut envelopes)?;
        }
        Ok(envelopes)
    }

    /// The time of the next timer. A timer fires at most once in a microsecond.
    fn deadline(&self) -> Option<Time> {
        let deadline = self.role.deadline()?;
        Some(self.fired_at.map_or(deadline, |fired| deadline.max(fired.plus_us(1))))
    }
}

#[derive(Debug)]
struct Roles {
    acceptor: Station<Acceptor>,
    proposer: Station<Proposer>,
    learner: Station<Learner>,
}

/// One life of a replica.
#[derive(Debug)]
pub(crate) struct Life {
    began: Time,
    bootstrap: Station<Bootstrap>,
    roles: Option<Roles>,
}

/// A sync under way: the role takes no turn until its end, and then its messages leave.
#[derive(Debug)]
pub(crate) struct Syncing {
    pub(crate) ends_at: Time,
    pub(crate) records: Vec<acceptor::Record>,
    pub(crate) envelopes: Vec<Envelope>,
}

/// A replica through all its lives.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    pub(crate) settings: Settings,
    /// The storage, which survives a life.
    pub(crate) store: Store,
    pub(crate) life: Option<Life>,
    /// The number of lives so far.
    pub(crate) lives: u32,
    /// How far a command has put its clock forward, in microseconds.
    pub(crate) ahead_us: u64,
    /// The number that its roles get for every draw.
    pub(crate) draw: u64,
    /// How long the acceptor's disk takes for a sync, in microseconds.
    pub(crate) sync_us: u64,
    /// The acceptor's sync that is under way.
    pub(crate) syncing: Option<Syncing>,
    /// Roles that take no turn.
    pub(crate) stalled: Vec<RoleName>,
    /// The lines of the chat log since the beginning.
    pub(crate) chat_log: Vec<String>,
}

/// Runs `$body` on the station of `$role`, if it exists.
macro_rules! with_station {
    ($life:expr, $role:expr, |$station:ident| $body:expr) => {
        match ($role, &mut $life.bootstrap, &mut $life.roles) {
            (RoleName::Bootstrap, $station, _) => Some($body),
            (RoleName::Acceptor, _, Some(Roles { acceptor: $station, .. })) => Some($body),
            (RoleName::Proposer, _, Some(Roles { proposer: $station, .. })) => Some($body),
            (RoleName::Learner, _, Some(Roles { learner: $station, .. })) => Some($body),
            (_, _, None) => None,
        }
    };
}

impl Node {
    /// Begins a life from the storage.
    pub(crate) fn begin(&mut self, now: Time) {
        self.lives += 1;
        self.settings.boot.0 += 1;
        self.ahead_us = 0;
        self.stalled.clear();
        let (settings, directory) = (self.settings, self.store.directory);
        self.store.open(self.id, settings.n).expect("records always open");
        let role = match &self.store.started {
            Some(members) => {
                Bootstrap::restart(settings, directory, members.clone(), &self.store.state)
            }
            None => Bootstrap::new(settings, directory, Time(0)),
        };
        self.life = Some(Life { began: now, bootstrap: Station::new(role), roles: None });
    }

    /// Ends the process.
    pub(crate) fn end(&mut self) {
        self.life = None;
        self.syncing = None;
        self.store.crash(Death::Killed);
    }

    /// Warm-up is over: starts the other roles.
    pub(crate) fn start(&mut self, membership: Membership, now: Time) {
        let settings = self.settings;
        let local = self.local(now);
        let state = self.store.state.clone();
        let checkpoint = self.store.checkpoint.clone();
        self.chat_log.truncate(checkpoint.applied.0 as usize);
        let draw = self.draw;
        let Some(life) = &mut self.life else { return };
        life.roles = Some(Roles {
            acceptor: Station::new(Acceptor::new(settings, membership.clone(), state)),
            proposer: Station::new(Proposer::new(settings, membership.clone(), local, draw)),
            learner: Station::new(Learner::new(settings, membership, checkpoint)),
        });
    }

    /// Whether warm-up is over.
    pub(crate) fn is_started(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.roles.is_some())
    }

    fn local(&self, now: Time) -> Time {
        let began = self.life.as_ref().map_or(now, |life| life.began);
        Time(now.since_us(began) + self.ahead_us)
    }

    /// Gives a message to its role. Returns whether a role received it.
    pub(crate) fn accept(&mut self, from: ReplicaId, message: Message) -> bool {
        let Some(life) = &mut self.life else { return false };
        let roles = match (message, &mut life.roles) {
            (Message::Bootstrap(message), _) => {
                life.bootstrap.inbox.push(bootstrap::Input::Peer(from, address_of(from), message));
                return true;
            }
            // The other roles receive nothing before the cluster has started.
            (_, None) => return false,
            (message, Some(roles)) => (message, roles),
        };
        match roles {
            (Message::Bootstrap(_), _) => unreachable!("handled above"),
            (Message::Acceptor(message), roles) => {
                roles.acceptor.inbox.push(acceptor::Input::Peer(from, message));
            }
            (Message::Proposer(message), roles) => {
                roles.proposer.inbox.push(proposer::Input::Peer(from, message));
            }
            (Message::Learner(message), roles) => {
                roles.learner.inbox.push(learner::Input::Peer(from, message));
            }
            (Message::Heartbeat(heartbeat), roles) => {
                roles.proposer.inbox.push(proposer::Input::Heartbeat(from, heartbeat.clone()));
                roles.learner.inbox.push(learner::Input::Heartbeat(from, heartbeat));
            }
        }
        true
    }

    /// Gives a client's message to its role.
    pub(crate) fn accept_client(&mut self, from: Address, message: ClientMessage) -> bool {
        let Some(Life { roles: Some(roles), .. }) = &mut self.life else { return false };
        match message {
            ClientMessage::Hello => roles.learner.inbox.push(learner::Input::Hello(from)),
            ClientMessage::Follow(query) => {
                roles.learner.inbox.push(learner::Input::Follow(from, query));
            }
            ClientMessage::Status(query) => {
                roles.proposer.inbox.push(proposer::Input::Status(from, query));
            }
            ClientMessage::Members(query) => {
                roles.proposer.inbox.push(proposer::Input::Members(from, query));
            }
            ClientMessage::Mark { read } => {
                roles.proposer.inbox.push(proposer::Input::Mark(from, read));
            }
            ClientMessage::Inquiry(inquiry) => {
                roles.proposer.inbox.push(proposer::Input::Inquiry(from, *inquiry));
            }
            ClientMessage::Request(request) => {
                roles.proposer.inbox.push(proposer::Input::Client(from, request));
            }
        }
        true
    }

    /// The process is told to end.
    pub(crate) fn leave(&mut self) {
        self.notify(Notice::Proposer(proposer::Input::Leave));
    }

    /// An operator wants these members.
    pub(crate) fn change(&mut self, next: Configuration) {
        self.notify(Notice::Proposer(proposer::Input::Change(next)));
    }

    /// Gives a role a notice from another role of this replica.
    pub(crate) fn notify(&mut self, notice: Notice) {
        let Some(Life { roles: Some(roles), .. }) = &mut self.life else { return };
        match notice {
            Notice::Acceptor(input) => roles.acceptor.inbox.push(input),
            Notice::Proposer(input) => roles.proposer.inbox.push(input),
            Notice::Learner(input) => roles.learner.inbox.push(input),
            Notice::Start(_)
            | Notice::LostState(_)
            | Notice::Diverged(_)
            | Notice::MayEnd { .. }
            | Notice::Places(_) => {
                unreachable!("the stage takes it")
            }
        }
    }

    /// The first role that has an input and may take a turn.
    pub(crate) fn busy_role(&mut self) -> Option<RoleName> {
        let stalled = self.stalled.clone();
        let syncing = self.syncing.as_ref().map(|_| RoleName::Acceptor);
        let life = self.life.as_mut()?;
        let rests = |role: &RoleName| stalled.contains(role) || syncing == Some(*role);
        ROLES.into_iter().filter(|role| !rests(role)).find(|role| {
            with_station!(life, *role, |station| !station.inbox.is_empty()).unwrap_or(false)
        })
    }

    /// Empties a role's inbox. Returns the number of inputs in it.
    pub(crate) fn lose_inbox(&mut self, role: RoleName) -> usize {
        let Some(life) = &mut self.life else { return 0 };
        with_station!(life, role, |station| station.inbox.drain(..).count()).unwrap_or(0)
    }

    /// One turn of a role. An error ends the process.
    pub(crate) fn turn(
        &mut self,
        role: RoleName,
        now: Time,
        timers: bool,
    ) -> io::Result<Vec<Envelope>> {
        let (now, draw) = (self.local(now), self.draw);
        let Some(life) = &mut self.life else { return Ok(Vec::new()) };
        let store = &mut self.store;
        match (role, &mut life.roles) {
            (RoleName::Bootstrap, _) => {
                life.bootstrap.turn(now, draw, timers, &mut store.bootstrap)
            }
            (RoleName::Acceptor, Some(roles)) => {
                roles.acceptor.turn(now, draw, timers, &mut store.acceptor)
            }
            (RoleName::Proposer, Some(roles)) => {
                roles.proposer.turn(now, draw, timers, &mut NoStorage)
            }
            (RoleName::Learner, Some(roles)) => {
                roles.learner.turn(now, draw, timers, &mut store.learner)
            }
            (_, None) => Ok(Vec::new()),
        }
    }

    /// The time of a role's next timer, in the stage's time.
    pub(crate) fn deadline(&mut self, role: RoleName) -> Option<Time> {
        if self.stalled.contains(&role) {
            return None;
        }
        if role == RoleName::Acceptor
            && let Some(syncing) = &self.syncing
        {
            return Some(syncing.ends_at);
        }
        let ahead_us = self.ahead_us;
        let life = self.life.as_mut()?;
        let deadline = with_station!(life, role, |station| station.deadline()).flatten()?;
        Some(life.began.plus_us(deadline.0.saturating_sub(ahead_us)))
    }

    pub(crate) fn acceptor(&self) -> Option<&Acceptor> {
        Some(&self.life.as_ref()?.roles.as_ref()?.acceptor.role)
    }

    pub(crate) fn proposer(&self) -> Option<&Proposer> {
        Some(&self.life.as_ref()?.roles.as_ref()?.proposer.role)
    }

    pub(crate) fn learner(&self) -> Option<&Learner> {
        Some(&self.life.as_ref()?.roles.as_ref()?.learner.role)
    }
}

/// Where the datagrams of a replica come from.
pub(crate) fn address_of(id: ReplicaId) -> Address {
    Address(SocketAddr::from((Ipv4Addr::new(10, 0, 0, id.0), 7_000)))
}
