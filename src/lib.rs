//! A replicated log on Multi-Paxos: synchronous, thread-based, readable whole. With it a chat, and
//! the services that you write.
//!
//! A [`StateMachine`] is a service; [`Replica`] runs it and [`Client`] calls it. The
//! [`guide`] goes from a counter to a machine of your own under every fault.
//!
//! The protocol is in [`paxos`] and [`client`], as pure roles that take time and randomness as
//! arguments; everything else gives them a disk, a network and threads.
//! ARCHITECTURE.md has the map, a reading order and the bounds.

pub mod admin;
mod aside;
pub mod chat;
pub mod client;
pub mod config;
pub mod follow;
pub mod guide;
pub mod long_line;
pub mod machine;
pub mod marker;
pub mod members;
pub mod message;
pub mod net;
pub mod paxos;
pub mod quorum;
pub mod requesters;
mod retransmitter;
pub mod runs;
pub mod runtime;
pub mod service;
mod slot_set;
pub mod storage;
pub mod survey;
pub mod types;
pub mod values;
pub mod words;

pub use machine::{BadSnapshot, Response, StateMachine};
pub use service::{Client, Error, Replica, ReplicaConfig, end_on_panic};
