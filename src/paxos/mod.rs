//! The protocol, pure.
//!
//! Each role is a struct that takes `(now, draw, input)` and fills an [`Outbox`]: time and
//! randomness are arguments. No role holds a clock, a socket, a thread, a file or a random
//! generator, and none iterates in hash order. So the same code runs under real threads, in
//! a simulator and in a test, and the same inputs always give the same outputs.
//!
//! How the roles fit, on one replica:
//!
//! ```text
//!           clients, peers                     peers
//!                 |                              |
//!             [proposer] --- Accept ---------> [acceptor]
//!              |   ^  ^                         |      |
//!     Proposed |   |  `-- Promised -------------'      | OwnAccepted
//!              v   | Progress, RequestIsNext           v
//!             [learner] <------------------------- (own votes)
//!              drives [chat]: sessions, chat-log lines, answers
//!
//!             [bootstrap] warm-up and membership: builds the other three
//! ```
//!
//! - [`acceptor`]: promises and acceptances, the only state that safety needs.
//! - [`proposer`] with [`election`]: when to campaign, phase 1, phase 2.
//! - [`learner`]: decided slots, applied in order to the [`chat`](crate::chat).
//! - [`bootstrap`]: directory ids, the started record, the replicas that may vote.
//! - [`standing`]: what is remembered of the others, and whose votes count.
//! - [`lives`]: whether two processes run on copies of one directory.
//!
//! The other end, [`client`](crate::client), is a role as well: sessions, each with one line in
//! flight.
//!
//! **Records before messages** (S1). A role hands what must survive a crash to
//! [`Outbox::persist`], and messages to `send`, `answer`, `call` and `tell`. Only
//! [`Outbox::commit`] gives the messages out, after it has appended and synced the records.
//!
//! **Every hand-over may be lost**, also inside a replica, where a full queue drops it (L5).
//! So every notice is cumulative, or its receiver asks for it again.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod accepted_log;
pub mod acceptor;
pub mod bootstrap;
pub mod election;
pub mod learner;
mod limits;
pub mod lives;
mod longest;
mod outbox;
pub mod pace;
pub mod phase1;
pub mod phase2;
pub mod proposer;
mod recovery;
mod request_queue;
mod rounds;
mod session_gate;
pub mod standing;
mod strangers;
mod window;

pub use limits::{Bound, Limits};
pub use outbox::{
    Contents, DecidedPages, ExcerptRequest, Never, NoStorage, Outbox, PageRequest, Storage, Text,
};

use crate::aside::NotState;
use crate::members::{Configuration, Moved};
use crate::message::{Answer, ClientMessage, LostState, Message, ToBootstrap, Voter};
use crate::quorum::ReplicaSet;
use crate::types::{
    Address, Ballot, BootId, ClusterId, DirectoryId, PLACES_MAX, ReplicaId, Slot, Time, replicas,
};
use serde::{Deserialize, Serialize};
use standing::{Memory, Standing};

/// An acceptor that holds values in this many slots accepts none above them, until its learner
/// has saved more, so that it may forget some of them (L6). Below the highest slot that it
/// holds it accepts up to twice as many: a leader may need them before it can go on.
pub const ACCEPT_SLOTS_MAX: u64 = 131_072;

/// The same for the bytes of values that an acceptor holds, give or take a message.
pub const ACCEPT_BYTES_MAX: usize = 64 << 20;

/// A leader proposes in slots up to this many above those that it has applied. So all slots
/// further below an accepted one are decided, and a new leader fills no more holes (S4).
pub const PROPOSE_WINDOW_SLOTS: u64 = 16_384;

// An acceptor holds every slot above the checkpoint before the newest, and two checkpoints
// lie at most a quarter of what it may hold apart.
const _: () = assert!(2 * (ACCEPT_SLOTS_MAX / 4) + PROPOSE_WINDOW_SLOTS < ACCEPT_SLOTS_MAX);

/// One request for decided slots is answered with this many bytes of values, give or take a
/// page. A peer that lags can take in that much at once without losing any of it.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How many rows a table has with one for each replica, in a cluster that began with `n`. So whoever
/// a change may name has one, also where an older cluster file lists fewer places.
pub fn rows(n: usize) -> usize {
    n.max(PLACES_MAX)
}

/// What a replica is told when it is built. It never changes afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// This replica.
    pub id: ReplicaId,
    /// The number of replicas with which the cluster began: the members of configuration 0.
    pub n: usize,
    /// How many places the cluster file lists, those without a vote in the beginning included.
    /// Whoever is there is spoken to.
    pub places: usize,
    /// This life of the process.
    pub boot: BootId,
    /// How many bytes of messages fit one datagram. Roles split lists to fit.
    pub payload_bytes: usize,
    /// The time between two heartbeats, in microseconds.
    pub heartbeat_us: u64,
    /// The shortest time without a serving leader after which a replica suspects the leader,
    /// in microseconds.
    pub election_min_us: u64,
    /// The longest such time. A replica draws each wait between the two (L3).
    pub election_max_us: u64,
    /// The least number of slots between two checkpoints, unless bytes make one due. Well
    /// below [`ACCEPT_SLOTS_MAX`], since acceptors forget only what a checkpoint covers.
    pub checkpoint_slots: u64,
    /// A slot that replica 0 leaves out under ballot 0, if any: fault injection.
    pub skip_slot: Option<Slot>,
    /// Bounds, the same at every replica of the cluster.
    pub limits: Limits,
}

impl Settings {
    /// All replicas but this one.
    pub fn peers(&self) -> impl Iterator<Item = ReplicaId> + Clone + use<> {
        let me = self.id;
        replicas(self.places).filter(move |id| *id != me)
    }

    /// How many rows a table has with one for each replica: see [`rows`].
    pub fn rows(&self) -> usize {
        rows(self.n)
    }
}

/// The members of the cluster, and this replica's place among them (S6).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// The hash of the started record.
    pub cluster: ClusterId,
    /// This replica's directory, its life, and with how much that began.
    pub voter: Voter,
    /// The started record: the directory of each replica, by id.
    pub members: Vec<DirectoryId>,
    /// What this replica's acceptor remembered of the members when this life began (S10).
    pub memories: Vec<Memory>,
    /// Whether this process made its directory and warmed up with it. Only then may replica 0
    /// lead ballot 0 (S2).
    pub fresh: bool,
}

impl NotState for Settings {}

impl NotState for Membership {}

impl Membership {
    /// Whether this replica's directory is on the started record.
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.members.get(id.index()) == Some(&self.voter.directory)
    }

    /// Configuration 0. What later ones are, the log says.
    pub fn started(&self) -> Configuration {
        Configuration::started(&self.members)
    }

    /// Whose votes count, as far as is known when this life begins.
    pub fn standing(&self) -> Standing {
        Standing::new(&self.members, &self.memories)
    }
}

/// A part of the protocol. The module says what a role may not do.
pub trait Role {
    /// What the role is told. It can be written down, so that a run can be replayed.
    type Input: Serialize;
    /// What the role wants to survive a crash.
    type Record: Serialize;

    /// Takes one input.
    fn handle(&mut self, now: Time, draw: u64, input: Self::Input, out: &mut Outbox<Self::Record>);

    /// The deadline has passed. Or something woke the role early: the role checks its timers
    /// itself.
    fn handle_timeout(&mut self, now: Time, draw: u64, out: &mut Outbox<Self::Record>);

    /// A burst of inputs is handled. The role now sends what it has gathered from them.
    fn flush(&mut self, now: Time, out: &mut Outbox<Self::Record>);

    /// Whether a client or another replica waits for this role. If not, its thread lets other
    /// threads of the host go first.
    fn is_urgent(&self) -> bool {
        true
    }

    /// When the role next wants [`Role::handle_timeout`].
    fn deadline(&self) -> Option<Time>;

    /// Whether the role has nothing left to do, ever.
    fn is_finished(&self) -> bool {
        false
    }
}

/// What leaves a role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Envelope {
    /// To a replica, possibly this one.
    Peer {
        /// The receiver.
        to: ReplicaId,
        /// The message, for the role that it names.
        message: Message,
    },
    /// To the sender of a datagram in a replica's name, where that came from. The replica itself
    /// may be elsewhere.
    Back {
        /// The replica that the datagram named.
        to: ReplicaId,
        /// Where it came from.
        at: Address,
        /// The message.
        message: ToBootstrap,
    },
    /// To a client: consecutive answers.
    Answers {
        /// The address from which its datagram came.
        to: Address,
        /// At least one answer, in the order in which they were given.
        answers: Vec<Answer>,
    },
    /// From a client to a replica.
    Call {
        /// The receiver.
        to: ReplicaId,
        /// The message.
        message: ClientMessage,
    },
    /// To another role of this replica.
    Notice(Notice),
}

/// What roles of one replica tell each other, beside the messages that they could send to a
/// peer as well. Notices never travel on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Notice {
    /// For the acceptor.
    Acceptor(acceptor::Input),
    /// For the proposer.
    Proposer(proposer::Input),
    /// For the learner.
    Learner(learner::Input),
    /// Warm-up is over, or this replica is no member: build the other roles.
    Start(Membership),
    /// This replica's directory has lost its state (S10): end the other roles at once, and the
    /// process when the bootstrap role has said so to the others.
    LostState(LostState),
    /// Other lines are decided here than at other members, and no quorum has the same as this
    /// replica (S11): end the process.
    Diverged(Diverged),
    /// This replica was told to leave, and nobody has to wait for an election if its process ends
    /// now (L9).
    MayEnd {
        /// The ballot that leads in its place, if this replica led when it was told to leave and has
        /// handed over.
        successor: Option<Ballot>,
    },
    /// Where the members are that have moved (M9). All others are where the cluster file says.
    Places(Vec<Moved>),
}

/// Whose decided logs differ from this replica's (S11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Diverged {
    /// The other members.
    pub peers: ReplicaSet,
    /// They differ somewhere below this slot.
    pub below: Slot,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A role that says nothing of itself.
    struct Mute;

    impl Role for Mute {
        type Input = ();
        type Record = Never;

        fn handle(&mut self, _: Time, _: u64, (): (), _: &mut Outbox<Never>) {}

        fn handle_timeout(&mut self, _: Time, _: u64, _: &mut Outbox<Never>) {}

        fn flush(&mut self, _: Time, _: &mut Outbox<Never>) {}

        fn deadline(&self) -> Option<Time> {
            None
        }
    }

    #[test]
    fn a_role_is_urgent_and_goes_on_for_ever_if_it_does_not_say_otherwise() {
        assert!(Mute.is_urgent());
        assert!(!Mute.is_finished());
    }
}
