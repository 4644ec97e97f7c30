//! What a role is built from, so that it can be built again.
//!
//! [`Beginning`] holds that in a form that can be written; [`Replayed`] builds the role. A role that
//! goes on from what its storage gave back begins with all of it, so a trace of a replica that was
//! restarted begins with what its acceptor held.

use crate::client::Client;
use crate::message::Run;
use crate::paxos::acceptor::{self, Acceptor};
use crate::paxos::bootstrap::Bootstrap;
use crate::paxos::learner::{Assembly, Checkpoint, Learner, PART_SESSIONS, Part};
use crate::paxos::proposer::Proposer;
use crate::paxos::standing::Memory;
use crate::paxos::{Membership, Role, Settings};
use crate::types::{Ballot, ClientId, DirectoryId, Origin, ReplicaId, Slot, SlotRange, Time};
use serde::{Deserialize, Serialize};

/// What a role is built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Beginning {
    /// A bootstrap role.
    Bootstrap(Settings, Bootstrapping),
    /// An acceptor.
    Acceptor(Settings, Membership, Accepting),
    /// A proposer.
    Proposer(Settings, Membership),
    /// A learner.
    Learner(Settings, Membership, Learning),
    /// A client.
    Client {
        /// Its id.
        id: ClientId,
        /// The number of replicas.
        n: usize,
        /// How many replicas it may ask.
        places: usize,
        /// How long a line may take.
        timeout_us: Option<u64>,
    },
}

/// What a bootstrap role knows of its replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bootstrapping {
    /// The data directory.
    pub directory: DirectoryId,
    /// The started record, if there is one.
    pub members: Option<Vec<DirectoryId>>,
    /// What the acceptor remembers.
    pub state: Accepting,
    /// The chat log with which it begins.
    pub origin: Option<Origin>,
    /// The hash of its configuration's list.
    pub list: u64,
}

/// What an acceptor remembers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepting {
    /// The highest ballot promised.
    pub promised: Option<Ballot>,
    /// Slots below this are forgotten.
    pub trimmed: Slot,
    /// What the others hold.
    pub runs: Vec<Run>,
    /// How many records it has written.
    pub written: u64,
    /// What it remembers of the members.
    pub memories: Vec<Memory>,
}

impl Accepting {
    /// This state. To hand over the values copies nothing.
    pub fn of(state: &acceptor::State) -> Accepting {
        Accepting {
            promised: state.promised(),
            trimmed: state.trimmed(),
            runs: state.range(SlotRange::onward(Slot::ZERO)).collect(),
            written: state.written(),
            memories: state.memories().to_vec(),
        }
    }

    /// The same, but what it has accepted: a bootstrap role does not ask for that.
    pub fn without_values(state: &acceptor::State) -> Accepting {
        let memories = state.memories().to_vec();
        let (promised, trimmed, written) = (state.promised(), state.trimmed(), state.written());
        Accepting { promised, trimmed, runs: Vec::new(), written, memories }
    }

    /// The state.
    pub fn state(&self) -> acceptor::State {
        use acceptor::Record;
        let mut state = acceptor::State::default();
        state.apply(&Record::Trim(self.trimmed));
        self.promised.iter().for_each(|ballot| state.apply(&Record::Promise(*ballot)));
        self.runs.iter().for_each(|run| state.apply(&Record::Held(run.clone())));
        for (of, memory) in self.memories.iter().enumerate() {
            state.apply(&Record::Remember(ReplicaId(of as u8), *memory));
        }
        state.set_written(self.written);
        state
    }
}

/// From where a learner goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    /// The checkpoint.
    pub parts: Vec<Part>,
    /// Every slot below this was applied, before lines were cut off its chat log.
    pub once: Slot,
}

impl Learning {
    /// From this checkpoint, and with no line cut off.
    pub fn of(checkpoint: &Checkpoint, once: Slot) -> Learning {
        Learning { parts: checkpoint.parts(PART_SESSIONS).collect(), once }
    }

    /// The checkpoint. None if the parts are not those of one.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let (first, last) = (self.parts.first()?, self.parts.last()?);
        let is_of_first = |part: &Part| (part.applied, part.hash) == (first.applied, first.hash);
        let begins = self.parts.iter().filter(|part| part.is_first).count();
        if !first.is_first || !last.is_last || begins != 1 || !self.parts.iter().all(is_of_first) {
            return None;
        }
        let mut assembly = Assembly::default();
        self.parts.iter().find_map(|part| assembly.add(part))
    }

    /// Every slot below this is applied.
    pub fn applied(&self) -> Slot {
        self.parts.first().map_or(Slot::ZERO, |part| part.applied)
    }
}

/// A role that can be built again.
pub trait Replayed: Role + Sized {
    /// Builds it as it was built at `now`, with this draw. None if the beginning is another role's.
    fn replayed(beginning: &Beginning, now: Time, draw: u64) -> Option<Self>;
}

impl Replayed for Bootstrap {
    fn replayed(beginning: &Beginning, now: Time, _draw: u64) -> Option<Self> {
        let Beginning::Bootstrap(settings, of) = beginning else { return None };
        let role = match &of.members {
            Some(members) => {
                Bootstrap::restart(*settings, of.directory, members.clone(), &of.state.state())
            }
            None => Bootstrap::new(*settings, of.directory, now),
        };
        Some(role.beginning_with(of.origin).listing(of.list))
    }
}

impl Replayed for Acceptor {
    fn replayed(beginning: &Beginning, _now: Time, _draw: u64) -> Option<Self> {
        let Beginning::Acceptor(settings, membership, of) = beginning else { return None };
        Some(Acceptor::new(*settings, membership.clone(), of.state()))
    }
}

impl Replayed for Proposer {
    fn replayed(beginning: &Beginning, now: Time, draw: u64) -> Option<Self> {
        let Beginning::Proposer(settings, membership) = beginning else { return None };
        Some(Proposer::new(*settings, membership.clone(), now, draw))
    }
}

impl Replayed for Learner {
    fn replayed(beginning: &Beginning, _now: Time, _draw: u64) -> Option<Self> {
        let Beginning::Learner(settings, membership, of) = beginning else { return None };
        let learner = Learner::new(*settings, membership.clone(), of.checkpoint()?);
        Some(if of.once > Slot::ZERO { learner.once_at(of.once) } else { learner })
    }
}

impl Replayed for Client {
    fn replayed(beginning: &Beginning, _now: Time, _draw: u64) -> Option<Self> {
        let Beginning::Client { id, n, places, timeout_us } = beginning else { return None };
        Some(Client::new(*id, *n, *timeout_us).among(*places))
    }
}
