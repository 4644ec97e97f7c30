//! The form of a cluster's datagrams: messages into bytes, and back.
//!
//! The package `datagrams` has the socket, the loop that receives, batches and fragments.
//! This module is its [`Codec`](datagrams::codec::Codec):
//!
//! - [`frame`]: the header, every check on what arrives, the decoding of bodies.
//! - [`guard`]: keys, and which datagrams are believed.
//! - [`answer`]: how an answer travels.
//! - [`pack`]: many small messages in one datagram.
//!
//! **Guarantees.** A message that is delivered was sent, whole, to this process. Its sender
//! knew this cluster, unless the message belongs to warm-up or is a hello. A frame with any
//! wrong part delivers nothing. Nothing that arrives can make this module panic, block, or
//! take memory beyond bounds that have names.
//!
//! **Does not** keep out a forger where the cluster has no key: the check guards against
//! accidents, not against an adversary on the path. With a key, [`guard`] does.

pub mod answer;
mod codec;
pub mod frame;
pub mod guard;
pub mod pack;
#[cfg(test)]
#[path = "tests/schedules.rs"]
mod schedules;

use crate::message::{Answer, ClientMessage, Message, Party, Refusal, ToBootstrap};
use crate::types::{Address, BootId, LINE_BYTES_MAX, ReplicaId};
pub use datagrams::udp::{BoundSocket, Deliver};
pub use datagrams::{
    DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, MESSAGE_BYTES_MAX,
};
use frame::Identity;
use std::fmt;

// The longest line, and ample room for the message around it.
const _: () = assert!(MESSAGE_BYTES_MAX == LINE_BYTES_MAX + 4_096);

/// The socket of a process of a cluster, and its loop.
pub type Network = datagrams::udp::Network<Identity>;

/// The settings of a [`Network`].
pub type NetworkConfig = datagrams::udp::NetworkConfig<Identity>;

/// Ends a [`Network`]'s loop.
pub type StopHandle = datagrams::udp::StopHandle<Identity>;

/// Wakes a [`Network`]'s loop.
pub type LoopWaker = datagrams::udp::LoopWaker<Identity>;

/// The addresses of a [`Network`]'s peers.
pub type PeerBook = datagrams::udp::PeerBook<Identity>;

/// Sends for one thread.
pub type Outlet = datagrams::outlet::Outlet<Identity>;

/// Where a datagram goes to or came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// A replica. Its datagrams go to its configured address, wherever its own came from.
    Replica(ReplicaId),
    /// Whoever sent a datagram in this replica's name from this address.
    Stray(ReplicaId, Address),
    /// A client, reached where its datagram came from.
    Client(Address),
}

impl Endpoint {
    /// The party that the header names.
    pub fn party(self) -> Party {
        match self {
            Endpoint::Replica(id) | Endpoint::Stray(id, _) => Party::Replica(id),
            Endpoint::Client(_) => Party::Client,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Replica(id) => write!(f, "replica {id}"),
            Endpoint::Stray(id, Address(address)) => write!(f, "replica {id} at {address}"),
            Endpoint::Client(Address(address)) => write!(f, "the client at {address}"),
        }
    }
}

/// A message on its way out of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// From this replica to another one.
    Peer {
        /// The receiver, never this replica.
        to: ReplicaId,
        /// The message.
        message: Message,
    },
    /// From this replica to the sender of a datagram in a replica's name, where that came from.
    Back {
        /// The replica that the datagram named.
        to: ReplicaId,
        /// Where it came from.
        at: Address,
        /// The message.
        message: ToBootstrap,
    },
    /// From this replica to a client.
    Answers {
        /// The source of the client's datagram.
        to: Address,
        /// The answers, in order.
        answers: Vec<Answer>,
    },
    /// From this client to a replica.
    Call {
        /// The receiver.
        to: ReplicaId,
        /// The message.
        message: ClientMessage,
    },
}

/// A message that has arrived, checked and whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// From another replica to this one: any message but those of warm-up.
    Peer {
        /// The sender.
        from: ReplicaId,
        /// The message.
        message: Message,
    },
    /// From another replica to this one: warm-up.
    WarmUp {
        /// The sender.
        from: ReplicaId,
        /// The source of its datagram.
        at: Address,
        /// The message.
        message: ToBootstrap,
    },
    /// Datagrams of this life of another replica came from this address: its life has changed.
    Life {
        /// The replica.
        of: ReplicaId,
        /// Its life.
        boot: BootId,
        /// The source of its datagrams.
        at: Address,
    },
    /// A datagram in another replica's name was refused, and the operator should hear of it.
    Refused {
        /// The sender that it names.
        from: ReplicaId,
        /// Its source.
        at: Address,
        /// The reason.
        why: Refusal,
    },
    /// From a client to this replica.
    Client {
        /// The source of its datagram. The answer goes there.
        from: Address,
        /// The message.
        message: ClientMessage,
    },
    /// From a replica to this client.
    Answer {
        /// The sender.
        from: ReplicaId,
        /// The answer.
        answer: Answer,
    },
    /// A replica of another cluster than this client's has answered a hello of the client.
    OtherCluster {
        /// The sender.
        from: ReplicaId,
    },
}
