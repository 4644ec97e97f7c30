//! Threads, clocks and signals: what makes processes of pure roles.
//!
//! A replica process:
//!
//! ```text
//!                       UDP socket
//!                           |
//!   [network]  mio loop: receives, checks, decodes, routes by kind
//!        |           |            |            |
//!   [proposer]  [acceptor]   [learner]    [replica = main thread]
//!        \___________|____________/            warm-up, signals
//!          bounded channels of batches; each role sends its own
//!          datagrams through the gate, what would block by the loop
//! ```
//!
//! - [`role_thread`]: the one loop that runs any role: wait, drain a bounded burst,
//!   commit, hand over.
//! - [`post`]: where envelopes go: to a role of this process, or to the network.
//! - [`process`]: the clock, signals, the parent, and how a process ends.
//! - [`durable`]: what a replica finds on its disk when it starts.
//! - [`replica`] and [`client`]: the wiring of the two kinds of process.
//!
//! At a clean end the main thread stops the roles, and waits until what they have
//! written is on the disk (see [`replica`]). Anything else that ends the process is to
//! storage like a kill.
//!
//! No thread ever waits to send into a role's channel: a full one is a lost message,
//! counted, and asked for again by whoever misses it. So nothing can deadlock.

pub mod client;
pub mod durable;
pub mod post;
pub mod process;
pub mod replica;
pub mod role_thread;
#[cfg(test)]
#[path = "tests/schedules.rs"]
mod schedules;
