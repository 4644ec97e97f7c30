//! What a replica says of itself to an operator who asks.
//!
//! Two answers come back to one [`StatusQuery`]: a [`Status`] from the roles, and a [`Usage`] from
//! the process around them. A replica that hears no quorum answers as well, since then the question
//! matters most.

use crate::quorum::ReplicaSet;
use crate::types::{Ballot, Slot};
use serde::{Deserialize, Serialize};

/// Asks a replica how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StatusQuery {
    /// The replica is to say what its log is below this slot. So logs of which one is shorter can
    /// be compared.
    pub below: Slot,
}

/// What a replica does about leading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Conduct {
    /// It leads.
    Leads,
    /// It asks for pre-votes, or campaigns.
    Campaigns,
    /// It follows a leader, or waits for one.
    Follows,
    /// It is not a member: it follows and never votes.
    Observes,
    /// It has not started: it has heard no answer of these replicas, and waits for them. If there
    /// are none, it waits for replica 0 to start the cluster.
    WarmsUp(ReplicaSet),
}

impl Status {
    /// That of a replica that has not started and waits for these. It does not know the log yet.
    pub fn warms_up(waits_for: ReplicaSet) -> Status {
        let (conduct, ballot) = (Conduct::WarmsUp(waits_for), Ballot::ZERO);
        let (configuration, members) = (0, ReplicaSet::EMPTY);
        let leadership =
            Leadership { conduct, leader: None, ballot, configuration, members, sync_ms: 0 };
        Status { leadership, applied: Slot::ZERO, decided: Slot::ZERO, hash: None }
    }

    /// Whether it says of a log how far it is.
    pub fn knows_log(&self) -> bool {
        !matches!(self.leadership.conduct, Conduct::WarmsUp(_))
    }
}

/// What the proposer of a replica knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leadership {
    /// What it does about leading.
    pub conduct: Conduct,
    /// The ballot of the leader that it hears, which may be itself.
    pub leader: Option<Ballot>,
    /// The highest ballot that it has heard of.
    pub ballot: Ballot,
    /// The number of the newest configuration that it has applied, and the members (M1).
    pub configuration: u16,
    /// See `configuration`.
    pub members: ReplicaSet,
    /// How long a sync of its disk takes, hardly ever longer, in milliseconds, rounded up. 0 if it
    /// has not measured any.
    pub sync_ms: u16,
}

/// What the roles of a replica know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Status {
    /// Who leads.
    pub leadership: Leadership,
    /// It has applied every slot below this.
    pub applied: Slot,
    /// As far as it knows, every slot below this is decided.
    pub decided: Slot,
    /// The running hash of the values below the slot that the query named. Absent if that lies
    /// above what it has applied, or long before.
    pub hash: Option<u64>,
}

/// What the process of a replica takes of its host, and what it has dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Usage {
    /// How long it has run, in seconds.
    pub up_s: u64,
    /// What it has in memory, in bytes. 0 if the system does not say.
    pub memory_bytes: u64,
    /// What its chat log and its data directory take on the disk, in bytes.
    pub disk_bytes: u64,
    /// How much it has dropped or lost, by cause: the most frequent causes.
    pub dropped: Vec<(String, u64)>,
}

/// How many causes a [`Usage`] names at most.
pub const CAUSES_MAX: usize = 8;

/// The longest name of a cause, in bytes.
pub const CAUSE_BYTES_MAX: usize = 24;

impl Usage {
    /// Whether its causes are few and have names that a terminal can show. The decoder checks every
    /// one from the wire.
    pub fn is_well_formed(&self) -> bool {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_name =
            |name: &str| (1..=CAUSE_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain);
        self.dropped.len() <= CAUSES_MAX && self.dropped.iter().all(|(name, _)| is_name(name))
    }
}
