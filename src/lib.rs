//! A replicated chat log on Multi-Paxos: synchronous, thread-based, readable whole.
//!
//! The protocol is in [`paxos`] and [`client`], as pure roles that take time and randomness as
//! arguments; everything else gives them a disk, a network and threads.
//! ARCHITECTURE.md has the map, a reading order and the bounds.

mod aside;
pub mod chat;
pub mod client;
pub mod config;
pub mod follow;
pub mod long_line;
pub mod marker;
pub mod message;
pub mod net;
pub mod paxos;
pub mod quorum;
pub mod requesters;
mod retransmitter;
pub mod runs;
pub mod runtime;
mod slot_set;
pub mod storage;
pub mod survey;
pub mod types;
pub mod values;
pub mod words;
