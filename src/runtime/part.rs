//! A role of a replica with all that it needs, before warm-up is over and after.
//!
//! Where a part runs is not its concern: on a thread of its own, or with others on the network
//! thread. Until the membership is known it only holds its storage, which may hold what an
//! earlier life wrote and never synced, so it is closed like any other.

use super::process::Clock;
use super::role_turn::RoleTurn;
use super::told::Words;
use super::trace::Trace;
use crate::paxos::{Membership, Role, Storage};
use crate::storage::upkeep::Upkeep;
use crate::types::{ReplicaId, Time};
use interleavings::threads::Receiver;
use std::io;

/// Makes a role once the membership is known, and tells the trace from what. The arguments are
/// the membership, the time, and a draw.
pub(super) type Build<R> = Box<dyn FnOnce(Membership, Time, u64, &Trace) -> R + Send>;

/// Says with which storage and role a part goes on after an error of its storage, or that it
/// cannot.
pub(super) type Mend<R, S> =
    Box<dyn FnMut(S, io::Error, &Membership, &Trace) -> io::Result<(S, R)> + Send>;

/// A role that has not begun.
pub(super) struct Part<R: Role, S> {
    /// What the user calls it.
    pub(super) name: &'static str,
    /// What other threads leave to it.
    pub(super) inbox: Receiver<Vec<R::Input>>,
    /// Where its records go.
    pub(super) storage: S,
    /// Its time.
    pub(super) clock: Clock,
    /// Its randomness.
    pub(super) rng: fastrand::Rng,
    /// Where what it does is written.
    pub(super) trace: Trace,
    /// The words for its records.
    pub(super) words: Words<R::Record>,
    /// Makes it.
    pub(super) build: Build<R>,
    /// Mends it.
    pub(super) mend: Mend<R, S>,
}

/// A role that runs.
pub(super) struct Begun<R: Role, S> {
    /// What the user calls it.
    pub(super) name: &'static str,
    /// What other threads leave to it.
    pub(super) inbox: Receiver<Vec<R::Input>>,
    /// The role and its storage.
    pub(super) turn: RoleTurn<R, S>,
    membership: Membership,
    mend: Mend<R, S>,
}

impl<R: Role, S: Storage<R::Record> + Upkeep> Part<R, S> {
    /// Begins the role at replica `id`.
    ///
    /// # Errors
    ///
    /// The storage's error. The process must end then.
    pub(super) fn begin(self, id: ReplicaId, membership: Membership) -> io::Result<Begun<R, S>> {
        let Part { name, inbox, mut storage, clock, mut rng, trace, words, build, mend } = self;
        storage.joined(membership.is_voter(id))?;
        let role = build(membership.clone(), clock.now(), rng.u64(..), &trace);
        let turn = RoleTurn::new(role, storage, clock, rng, trace).telling(id, words);
        Ok(Begun { name, inbox, turn, membership, mend })
    }
}

impl<R: Role, S: Storage<R::Record> + Upkeep> Begun<R, S> {
    /// Goes on after this error of the storage, if it can be mended.
    ///
    /// # Errors
    ///
    /// If it cannot: what to tell the user. The process must end then.
    pub(super) fn mended(self, error: io::Error) -> io::Result<Self> {
        let Begun { name, inbox, turn, membership, mut mend } = self;
        let turn = turn.again(|storage, trace| mend(storage, error, &membership, trace))?;
        Ok(Begun { name, inbox, turn, membership, mend })
    }
}
