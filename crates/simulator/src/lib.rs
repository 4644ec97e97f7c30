//! A deterministic simulator of the whole cluster.
//!
//! Here the roles of a real replica run in one thread, on virtual time. Everything random is
//! drawn from one seed. The roles are the same code, not a copy. A seed gives the same run,
//! event by event, on any host.
//!
//! - [`world`]: the run: its events, replicas, clients and phases.
//! - [`node`], [`station`] and [`store`]: one replica, its roles, and its storage; [`visitor`]: a client.
//! - [`faults`]: the faults that a seed draws.
//! - [`environment`]: where the cluster runs: its paths, disks, processors and clients.
//! - [`path`], [`terrain`]: what becomes of a datagram on its way there.
//! - [`bounds`]: bounds of the roles that are as small as the clients there allow.
//! - [`cost`]: what a run may cost there.
//! - [`kinds`]: what the bytes that it has sent were for.
//! - [`checker`]: checks the invariants after every event, against a ghost history.
//! - [`reach`]: counts the situations that a run met, so that a sweep can demand all of them.
//! - [`check`](mod@check), [`cluster`]: a state machine of the user under all faults, and in tests without any.
//! - [`report`]: the options of a run, and its report.
//! - [`queue`], [`trace`]: the event queue, and the hash of a run.
//! - [`wire`]: the codec and the fragments, in some runs.
//!
//! It has no real threads and no real sockets. Those have tests of their own.

pub mod beginning;
pub mod bounds;
pub mod check;
pub mod checker;
pub mod cluster;
pub mod cost;
pub mod environment;
pub mod faults;
pub mod kinds;
pub mod node;
pub mod offload;
pub mod path;
mod places;
pub mod queue;
pub mod reach;
pub mod report;
pub mod station;
pub mod store;
pub mod terrain;
pub mod trace;
pub mod visitor;
pub mod wire;
pub mod world;

pub use check::{Broken, Checked, check};
pub use cluster::Cluster;
pub use environment::Place;
pub use fastrand::Rng;
pub use faults::{Partition, Switches};
pub use report::{Options, PowerCut, Report};
pub use world::World;

/// Runs one seed.
pub fn run(seed: u64, options: Options) -> Report {
    World::new(seed, options).run()
}
