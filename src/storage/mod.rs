//! Where records go.
//!
//! - [`memory`]: an acceptor's records in memory, for tests and for replicas that
//!   keep no durable state.
//! - [`chat_log`]: the learner's decided log, with the chat log that people read.
//!
//! Nothing here is durable across a restart yet: a replica that ends counts as one
//! whose disk was wiped, and is refused a vote (`paxos::replica`).

pub mod chat_log;
pub mod disk;
pub mod error;
mod frame;
pub mod memory;
mod plant;
pub mod segment_log;
#[cfg(test)]
mod segment_log_tests;
