//! Clusters of real processes in worlds that are slow, narrow, lossy or full.
//!
//! The simulator has such worlds too, but its network and disk are ours. Here they are the kernel's:
//! interfaces with a limited rate and a queue that overflows, packets that are too long,
//! fragments that nobody puts together, syncs that take most of a second, processor time that is used
//! up. Programs are the users' own, built as users build them.
//!
//! The design, from the ground up:
//!
//! - [`namespace`]: a host of its own, with interfaces and counters. It is held by a process
//!   that ends when this one does, so nothing can be left behind.
//! - [`relay`]: a path with delay, jitter, loss and reordering, in user space.
//! - [`world`]: what lies between processes and under them, as constants; and how it is made.
//! - [`quota`]: processor time, by control groups.
//! - [`process`]: replicas; what they say, and when.
//! - [`load`]: clients, and what each line took.
//! - [`row`]: a world, what is done in it, what must hold; what was seen.
//! - [`rows`]: the table.
//! - [`tools`]: what a row needs of this host.
//! - [`run`]: runs the table, two rows at a time.
//!
//! **What is left when a run ends**, however it ends: nothing but files below its `--log_dir`.
//! Namespaces and interfaces have no names outside the processes that hold them. Every process
//! ends with the one that started it: replicas and clients by `--die_with_parent`, strace by
//! `setpriv --pdeathsig`, holders with their stdin. Only control groups outlive their processes.
//! A run removes its own, and at its beginning those of runs that were killed.
//!
//! **A row is a black box.** It sees what users see: what clients print, what replicas say on
//! stderr, their chat logs, and the counters of the interfaces. It says nothing of how often a
//! network may be so bad; that is the simulator's part, which can repeat a run. These runs are
//! of real time and cannot be repeated, so bounds have room, and [`row::Today::Wavers`] is for
//! rows that fail now and then.

pub mod load;
pub mod namespace;
pub mod process;
pub mod quota;
pub mod relay;
pub mod row;
pub mod rows;
pub mod run;
pub mod tools;
pub mod world;
