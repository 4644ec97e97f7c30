//! A deterministic simulator of the whole cluster.
//!
//! The roles that run in replicas run here, in one thread, on virtual time, with
//! everything random drawn from one seed: no copy, no stand-in. A seed always gives the
//! same run, to the event, on any host.
//!
//! - [`world`]: the run: events, replicas, clients, faults, phases.
//! - [`node`] and [`store`]: one replica and what survives it; [`visitor`]: a client.
//! - [`faults`]: what goes wrong, drawn per seed.
//! - [`checker`]: the invariants, after every event, against a ghost history.
//! - [`reach`]: what was met, so that a sweep cannot be proud of nothing.
//! - [`queue`], [`trace`]: the event queue; the hash and the lines of a run.
//!
//! - [`wire`]: real frames and fragments, in some runs.
//!
//! What it does not do: real threads and real sockets. Those have tests of their own.

pub mod checker;
pub mod faults;
pub mod node;
pub mod queue;
pub mod reach;
pub mod store;
pub mod trace;
pub mod visitor;
pub mod wire;
pub mod world;

pub use faults::{Partition, Switches};
pub use world::{Options, PowerCut, Report, World};

/// Runs one seed.
pub fn run(seed: u64, options: Options) -> Report {
    World::new(seed, options).run()
}
