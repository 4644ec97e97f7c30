//! The protocol, pure.
//!
//! Each role is a struct that takes `(now, draw, input)` and fills an [`Outbox`]:
//! time and randomness are arguments. No role holds a clock, a socket, a thread, a
//! file or a generator, and none iterates in hash order; so the same code runs
//! under real threads, in a simulator and in a test, and the same inputs always
//! give the same outputs.
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
//! - [`acceptor`]: promises and acceptances; the only state that safety needs.
//! - [`proposer`] with [`election`]: who leads, phase 1, phase 2.
//! - [`learner`] with [`chat`]: what is decided, in order, applied once.
//! - [`bootstrap`]: directory ids, the started record, who may vote.
//! - [`client`]: sessions, one line in flight each.
//!
//! **Records before messages.** A role hands what must survive a crash to
//! [`Outbox::persist`] and messages to `send`, `answer` and `tell`; the only way to
//! the messages is [`Outbox::commit`], which appends and syncs the records first.
//! Handling many inputs before one commit is group commit.
//!
//! **Every hand-over may be lost**, also inside a replica (a full queue drops). So
//! every notice is cumulative, or asked for again by whoever needs it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod acceptor;
mod aside;
pub mod bootstrap;
pub mod chat;
pub mod client;
pub mod election;
pub mod learner;
mod outbox;
pub mod phase1;
pub mod phase2;
pub mod proposer;
mod request_queue;
pub mod requesters;
mod retransmitter;
mod session_gate;
mod sessions;
mod window;

pub use outbox::{DecidedPages, Never, NoStorage, Outbox, Storage};

use crate::message::{Answer, ClientMessage, Message};
use crate::types::{Address, BootId, ClusterId, DirectoryId, ReplicaId, Slot, Time, replicas};

/// How many slots above its trim mark an acceptor accepts in.
pub const ACCEPT_WINDOW_SLOTS: u64 = 131_072;

/// How many bytes of values an acceptor holds before it accepts nothing new, give or
/// take a message: what its learner applies, it forgets.
pub const ACCEPT_BYTES_MAX: usize = 64 << 20;

/// How many slots above what is applied a leader proposes in. Well below
/// [`ACCEPT_WINDOW_SLOTS`], so that a follower which lags a little still votes.
pub const PROPOSE_WINDOW_SLOTS: u64 = 16_384;

/// Acceptors hold what lies above the checkpoint before the newest, and two lie a quarter
/// of the window apart at most.
const _: () = assert!(2 * (ACCEPT_WINDOW_SLOTS / 4) + PROPOSE_WINDOW_SLOTS < ACCEPT_WINDOW_SLOTS);

/// How many bytes of decided values one request is answered with, give or take a
/// page: what a peer that fell behind can take in without losing the rest.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a replica is told once and for all when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which replica this is.
    pub id: ReplicaId,
    /// How many there are.
    pub n: usize,
    /// This life of the process.
    pub boot: BootId,
    /// The bytes of messages that fit one datagram: lists are split to fit.
    pub payload_bytes: usize,
    /// Between two heartbeats.
    pub heartbeat_us: u64,
    /// The shortest time without a serving leader after which one is suspected.
    pub election_min_us: u64,
    /// The longest; each wait is drawn between the two.
    pub election_max_us: u64,
    /// How many slots are applied between two checkpoints; what is below the newest
    /// one, acceptors forget. Well below [`ACCEPT_WINDOW_SLOTS`].
    pub checkpoint_slots: u64,
    /// A slot that replica 0 leaves out under ballot 0 (fault injection).
    pub skip_slot: Option<Slot>,
}

impl Settings {
    /// All replicas but this one.
    pub fn peers(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        let me = self.id;
        replicas(self.n).filter(move |id| *id != me)
    }
}

/// Who belongs to the cluster: the started record, and this replica's place in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The hash of the started record.
    pub cluster: ClusterId,
    /// This replica's directory.
    pub directory: DirectoryId,
    /// The started record: one directory a replica.
    pub members: Vec<DirectoryId>,
    /// Whether this process made its directory and warmed up with it: only then may
    /// replica 0 lead ballot 0.
    pub fresh: bool,
}

impl Membership {
    /// Whether `directory` may vote for replica `id`.
    pub fn counts(&self, id: ReplicaId, directory: DirectoryId) -> bool {
        self.members.get(id.index()) == Some(&directory)
    }

    /// Whether this replica's own votes count.
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.counts(id, self.directory)
    }
}

/// A part of the protocol. See the module's prose for what it may not do.
pub trait Role {
    /// What it takes.
    type Input;
    /// What it wants to survive a crash.
    type Record;

    /// Takes one input.
    fn handle(&mut self, now: Time, draw: u64, input: Self::Input, out: &mut Outbox<Self::Record>);

    /// Its deadline has passed (or something woke it early: it looks for itself).
    fn handle_timeout(&mut self, now: Time, draw: u64, out: &mut Outbox<Self::Record>);

    /// A burst of inputs has been handled: what was gathered goes out as one.
    fn flush(&mut self, now: Time, out: &mut Outbox<Self::Record>);

    /// Whether somebody waits for what it does: otherwise its thread lets others of the
    /// host go first.
    fn is_urgent(&self) -> bool {
        true
    }

    /// When it next wants [`Role::handle_timeout`].
    fn deadline(&self) -> Option<Time>;

    /// Whether it has nothing left to do, ever.
    fn is_finished(&self) -> bool {
        false
    }
}

/// What leaves a role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// To a replica, possibly this one.
    Peer {
        /// Which.
        to: ReplicaId,
        /// What.
        message: Message,
    },
    /// To a client: what is answered to it in a row.
    Answers {
        /// Where its datagram came from.
        to: Address,
        /// What.
        answers: Vec<Answer>,
    },
    /// From a client to a replica.
    Call {
        /// Which.
        to: ReplicaId,
        /// What.
        message: ClientMessage,
    },
    /// To another role of this replica.
    Notice(Notice),
}

/// What roles of one replica tell each other, beside the messages that they could
/// as well send to a peer. Never on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Notice {
    /// For the acceptor.
    Acceptor(acceptor::Input),
    /// For the proposer.
    Proposer(proposer::Input),
    /// For the learner.
    Learner(learner::Input),
    /// Warm-up is over (or this replica was refused): build the other roles.
    Start(Membership),
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
