//! Threads, clocks and signals: the parts that make pure roles into processes.
//!
//! A replica process with a thread for each role:
//!
//! ```text
//!                       UDP socket
//!                           |
//!   [network]  mio loop: receives, checks, decodes, routes by kind
//!        |           |            |            |
//!   [proposer]  [acceptor]   [learner]    [replica = main thread]
//!        \___________|____________/            warm-up, signals
//!          bounded channels of batches; each role sends its own datagrams
//!          through the gate, and leaves to the loop those that would block
//! ```
//!
//! With [`layout::Layout::One`] the loop runs proposer, acceptor and learner in turn instead.
//!
//! - [`role_turn`]: one turn of any role: a burst of inputs, one commit, the hand-over.
//! - [`role_thread`]: the loop that runs a role on a thread of its own.
//! - `on_loop`: the roles in turn on the network thread; [`layout`] says which.
//! - `part`: a role with all that it needs, before it begins and after.
//! - [`post`]: delivers envelopes to a role of this process, or to the network.
//! - [`process`]: the clock and entropy. (Signals and the end are in `command_line::ending`.)
//! - [`durable`]: opens the durable state of a replica that starts.
//! - [`check`]: whether a replica would start and work here, before it does.
//! - `departure`: how long a replica goes on once it has to end.
//! - [`names`]: resolves the names of hosts, on a thread that is there only if there are any.
//! - [`trust`]: key files, and what a process without a key may do.
//! - [`trace`]: writes down what the roles do, if somebody wants that.
//! - [`snapshot`]: a durable copy of the chat log of a cluster that runs.
//! - `supervisor`: tells systemd how the replica is.
//! - `usage`: what a replica's process takes, for operators who ask; [`ask`] asks all replicas.
//! - [`requests`]: a client for programs, with many lines in flight.
//! - [`terminal`]: a client for a user at a terminal, who sees what others write.
//! - [`follow`]: prints the chat log as it grows. `connection` is the socket of all that are no
//!   replicas, and `asker` that of those who only ask.
//! - [`replica`] and [`client`]: the wiring of the two kinds of process; `launch` starts and ends
//!   the threads of a replica.
//!
//! At a clean end the main thread stops the roles, and waits until everything that they
//! have written is on the disk (see [`replica`]). To storage, any other end of the process
//! is like a kill.
//!
//! No thread ever waits to send into a role's channel. A full channel loses the message
//! and counts it, and the role that misses it asks again. So nothing can deadlock.

pub mod admin;
pub mod ask;
mod asker;
pub mod check;
pub mod client;
pub(crate) mod connection;
mod departure;
pub mod durable;
pub mod follow;
mod full_socket;
mod last_words;
mod launch;
pub mod layout;
mod metrics;
pub mod names;
mod on_loop;
mod part;
pub mod post;
pub mod process;
mod questions;
pub mod replica;
pub mod requests;
pub mod role_thread;
pub mod role_turn;
#[cfg(test)]
#[path = "tests/schedules.rs"]
mod schedules;
mod scrape;
mod slow_disk;
pub mod snapshot;
mod supervisor;
pub mod terminal;
mod told;
pub mod trace;
pub mod trust;
mod usage;
