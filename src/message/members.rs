//! What an operator and a replica say to each other of the members.

use crate::members::Configuration;
use crate::quorum::ReplicaSet;
use crate::types::{Address, DirectoryId, ReplicaId, Slot};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most replicas without a vote of which an answer tells.
pub const OBSERVERS_MAX: usize = 8;

/// Asks who the members are, and may ask for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MembersQuery {
    /// Tells the answers apart from those to another question.
    pub number: u64,
    /// What is to change, if anything. Whoever leads proposes it; the others do nothing.
    pub wish: Option<Wish>,
}

/// A change of members that an operator wants. It may come again, and takes effect once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wish {
    /// The number of the configuration that is to change, and of no other one.
    pub base: u16,
    /// What changes.
    pub change: MemberChange,
    /// Whether it is made although no quorum of the new members is heard.
    pub forced: bool,
}

/// One change of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MemberChange {
    /// The replica that has followed without a vote gets one.
    Add(ReplicaId),
    /// The replica that has followed on a fresh directory gets the vote of the one that it lost.
    Replace(ReplicaId),
    /// The replica is a member no more.
    Remove(ReplicaId),
    /// The member is reached at another address from now on (M9).
    Move(ReplicaId, Address),
}

impl MemberChange {
    /// The replica that it is about.
    pub fn replica(self) -> ReplicaId {
        match self {
            MemberChange::Add(id)
            | MemberChange::Replace(id)
            | MemberChange::Remove(id)
            | MemberChange::Move(id, _) => id,
        }
    }
}

/// Who the members are, and what stands in the way of a change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MembersAnswer {
    /// That of the question.
    pub number: u64,
    /// Whether the sender leads this configuration. Then it is established (M8), and what follows is
    /// what the sender knows now.
    pub leads: bool,
    /// The newest configuration that the sender has applied. None if it has more members than a
    /// change may name: then they cannot be changed.
    pub configuration: Option<Configuration>,
    /// The members that hear the sender and are heard by it, and the sender if it is one.
    pub heard: ReplicaSet,
    /// Who is heard and has no vote; of more than [`OBSERVERS_MAX`] the first.
    pub observers: Vec<Observer>,
    /// How far the sender has applied the log.
    pub applied: Slot,
    /// Why the leader has not proposed what was wanted. None if it has, or if nothing was.
    pub obstacle: Option<Obstacle>,
}

/// A replica that follows without a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Observer {
    /// The replica.
    pub id: ReplicaId,
    /// Its directory.
    pub directory: DirectoryId,
    /// How far it has applied the log.
    pub applied: Slot,
}

/// Why a leader does not propose a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Obstacle {
    /// It has led, or looked, for too short a time to know who is there. That passes.
    Unsure,
    /// Nobody is heard there who has no vote. That may pass.
    NobodyThere,
    /// The replica lacks too much of the log. That passes.
    Behind {
        /// How far it has applied.
        applied: Slot,
        /// How far the leader has.
        of: Slot,
    },
    /// The member was heard since this was wanted: it has not lost its directory.
    StillThere,
    /// Its operator has started the replica as one that never votes.
    NeverVotes,
    /// The members would be none, too many, or the same.
    NoChange,
    /// Only these of the new members were heard since this was wanted, and they are no quorum.
    NoQuorum {
        /// The members that were heard.
        heard: ReplicaSet,
    },
}

impl Obstacle {
    /// Whether it may be gone when the question comes again.
    pub fn may_pass(self) -> bool {
        match self {
            Obstacle::Unsure | Obstacle::NobodyThere | Obstacle::Behind { .. } => true,
            Obstacle::StillThere
            | Obstacle::NeverVotes
            | Obstacle::NoChange
            | Obstacle::NoQuorum { .. } => false,
        }
    }
}

impl fmt::Display for MemberChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberChange::Add(id) => write!(f, "add {id}"),
            MemberChange::Replace(id) => write!(f, "replace {id}"),
            MemberChange::Remove(id) => write!(f, "remove {id}"),
            MemberChange::Move(id, Address(at)) => write!(f, "move {id} {at}"),
        }
    }
}
