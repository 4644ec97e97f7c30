//! Datagrams: what turns messages into bytes on a UDP socket, and back.
//!
//! ```text
//!  role threads                                    network thread
//!  Outlet::send                                    Network::run
//!    [pack]  messages -> datagrams                   [udp] receives everything
//!    [loss]  one draw a datagram                     [frame] checks and decodes
//!    [batch] one call a destination                  [fragment] joins, asks, resends
//!    sendmsg ----------------------> wire            Deliver::deliver
//!      | would block, or too long
//!      `------- bounded queue ---------------------> [loss], [batch], sendmsg
//! ```
//!
//! - [`frame`]: the header, every check on what arrives, the decoding of bodies.
//! - [`boots`]: which life of a replica is the current one.
//! - [`pack`]: many small messages in one datagram.
//! - [`fragment`]: one long message in many datagrams.
//! - [`loss`]: the seeded gate that every datagram passes.
//! - `batch`: datagrams to one destination that leave in one system call.
//! - `offload`: what the kernel takes and gives in one call.
//! - [`outlet`]: a thread's way out.
//! - [`udp`]: the socket and the loop.
//! - `bell`: how the loop is woken.
//! - [`hub`]: many sockets of one client process on one thread, without a queue.
//! - [`counters`]: how often anything happened, above all why something was dropped.
//!
//! **Guarantees.** What is delivered was sent, whole, to this process, by a process
//! that knew this cluster (or says no more than warm-up and hello may); nothing is
//! delivered from a frame of which any part is wrong. Nothing that arrives can make
//! this module panic, block, or take memory beyond bounds that have names. Nothing
//! that is sent can block a role.
//!
//! **Does not** deliver in order, once, or at all: every message may be lost,
//! repeated and reordered, and whoever waits for an answer asks again. Nor does it
//! keep out a forger: the check is against accidents, not against an adversary on
//! the path.

mod batch;
mod bell;
pub mod boots;
pub mod counters;
pub mod fragment;
pub mod frame;
pub mod hub;
pub mod loss;
mod offload;
pub mod outlet;
pub mod pack;
#[cfg(test)]
mod schedules;
pub mod udp;

use crate::message::{Answer, ClientMessage, Message, Party};
use crate::types::{Address, ReplicaId};

/// The most bytes of one datagram unless told otherwise, header included: any path
/// carries them.
pub const DATAGRAM_BYTES_DEFAULT: usize = 1_400;

/// The least that may be configured.
pub const DATAGRAM_BYTES_MIN: usize = 576;

/// The most that may be configured: what UDP over IPv4 can carry.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

/// The longest encoded message, joined from fragments: the longest line, and ample
/// room for whatever carries it.
pub const MESSAGE_BYTES_MAX: usize = crate::types::LINE_BYTES_MAX + 4_096;

/// Where a datagram goes to or came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// A replica, reached at its configured address whatever its datagrams say.
    Replica(ReplicaId),
    /// A client, reached where its datagram came from.
    Client(Address),
}

impl Endpoint {
    /// As it stands in a header.
    pub fn party(self) -> Party {
        match self {
            Endpoint::Replica(id) => Party::Replica(id),
            Endpoint::Client(_) => Party::Client,
        }
    }
}

/// A message on its way out of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// From this replica to another one.
    Peer {
        /// Which. Never this one.
        to: ReplicaId,
        /// What.
        message: Message,
    },
    /// From this replica to a client.
    Answers {
        /// Where its datagram came from.
        to: Address,
        /// What, in order.
        answers: Vec<Answer>,
    },
    /// From this client to a replica.
    Call {
        /// Which.
        to: ReplicaId,
        /// What.
        message: ClientMessage,
    },
}

/// A message that has arrived, checked and whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// From another replica to this one.
    Peer {
        /// Which.
        from: ReplicaId,
        /// What.
        message: Message,
    },
    /// From a client to this replica.
    Client {
        /// Where its datagram came from, and so where the answer goes.
        from: Address,
        /// What.
        message: ClientMessage,
    },
    /// From a replica to this client.
    Answer {
        /// Which.
        from: ReplicaId,
        /// What.
        answer: Answer,
    },
}
