//! What a check goes through: how many ballots and slots, who may do what, and which
//! inputs are left out.
//!
//! All of it only takes possibilities away. A message that is left out is one that is
//! lost, a timer that does not fire is one that has not fired yet; no bound changes what
//! a role does with what it is told.

use multipaxos::members::Configuration;
use multipaxos::message::{Request, Voter};
use multipaxos::paxos::{Limits, Membership, Settings};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{self, Address, Ballot, BootId, ClusterId, DirectoryId, ReplicaId, Slot};
use std::net::{Ipv4Addr, SocketAddr};

/// How many replicas there are: the least that can lose one.
pub(crate) const N: usize = 3;

#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// The ballots that are campaigned with.
    pub(crate) ballots: &'static [u64],
    /// Slots from here on are never proposed.
    pub(crate) slots: u64,
    /// Which lines clients offer to the leader of which ballot.
    pub(crate) offers: &'static [(u64, &'static str)],
    /// The leaders of which ballots may be asked to change the members: see [`configuration`].
    pub(crate) changes: &'static [u64],
    /// How often a process dies, and which may.
    pub(crate) crashes: u8,
    pub(crate) mortals: &'static [u8],
    /// The slot that replica 0 leaves out at ballot 0.
    pub(crate) skip_slot: Option<u64>,
    /// Whether what is sent to a peer carries one value a message.
    pub(crate) single: bool,
    /// Whose learners take inputs at any time, and are heard by the other roles. Those of
    /// others learn when everything else has stopped.
    pub(crate) learners: &'static [u8],
    /// Whether proposers hear how far their learner is.
    pub(crate) progress: bool,
    /// Whether learners hear leaders say what is decided.
    pub(crate) heartbeats: bool,
    /// Whether acceptors forget what their learner has applied.
    pub(crate) trims: bool,
    /// Whether learners fetch from one another.
    pub(crate) pages: bool,
    /// What the check begins with, in parts, in the sentences of [`tell`](super::tell); it
    /// goes on with everything that can happen.
    pub(crate) opening: &'static [&'static [&'static str]],
}

impl Bounds {
    pub(crate) const fn least() -> Bounds {
        Bounds {
            ballots: &[0, 1],
            slots: 1,
            offers: &[],
            changes: &[],
            crashes: 0,
            mortals: &[0, 1, 2],
            skip_slot: None,
            single: false,
            learners: &[],
            progress: false,
            heartbeats: false,
            trims: false,
            pages: false,
            opening: &[],
        }
    }

    pub(crate) fn settings(&self, id: ReplicaId) -> Settings {
        Settings {
            id,
            n: N,
            places: N,
            boot: BootId(1 + u64::from(id.0)),
            payload_bytes: if self.single { 1 } else { 1_200 },
            heartbeat_us: 50_000,
            election_min_us: 300_000,
            election_max_us: 600_000,
            checkpoint_slots: if self.trims { 1 } else { 1_000 },
            skip_slot: self.skip_slot.map(Slot),
            limits: Limits::DEFAULT,
        }
    }

    /// The line, as a command of a session of its own.
    pub(crate) fn request(&self, line: &str) -> Request {
        let session = line.bytes().fold(0, |name, byte| name * 256 + u64::from(byte));
        Request::new(1, session, 0, line)
    }
}

pub(crate) fn replicas() -> impl Iterator<Item = ReplicaId> {
    types::replicas(N)
}

pub(crate) fn directory(id: ReplicaId) -> DirectoryId {
    DirectoryId(100 + u64::from(id.0))
}

/// The configurations of all checks: each change removes the last member.
pub(crate) fn configuration(number: u16) -> Option<Configuration> {
    let started = membership(ReplicaId(0), false).started();
    match number {
        0 => Some(started),
        number => {
            let before = configuration(number - 1)?;
            let last = before.members().last()?.id;
            before.without(last)
        }
    }
}

/// The configuration that the leader of a ballot may be asked for.
pub(crate) fn next(ballot: Ballot) -> Option<Configuration> {
    configuration(ballot.configuration() + 1)
}

/// How many members the configuration of a ballot has: the replicas from 0 on.
fn members_of(ballot: Ballot) -> usize {
    N - usize::from(ballot.configuration()).min(N - 1)
}

/// Whose ballot it is.
pub(crate) fn owner(ballot: Ballot) -> ReplicaId {
    ballot.owner(members_of(ballot))
}

/// Whether these are a quorum of the ballot's configuration.
pub(crate) fn is_quorum(ballot: Ballot, by: ReplicaSet) -> bool {
    let n = members_of(ballot);
    types::replicas(n).filter(|id| by.contains(*id)).count() > n / 2
}

/// `fresh`: in the first life.
pub(crate) fn membership(id: ReplicaId, fresh: bool) -> Membership {
    Membership {
        cluster: ClusterId(7),
        voter: Voter { directory: directory(id), boot: BootId(1), begun: 0 },
        members: replicas().map(directory).collect(),
        memories: Vec::new(),
        fresh,
    }
}

/// Where clients are answered: one for all.
pub(crate) fn client() -> Address {
    Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
}
