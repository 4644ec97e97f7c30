//! Clusters of real processes in worlds that are slow, narrow, lossy or full.
//!
//! The simulator has such worlds too, but its network and its disks are models of ours. Here
//! the kernel provides them: interfaces with a limited rate and a queue that overflows, packets
//! that are too long, fragments that nobody puts together, syncs that take most of a second,
//! processor time that runs out. The programs are the users' own, built as users build them.
//!
//! The design, from the ground up:
//!
//! - [`namespace`]: a host of its own, with interfaces and counters.
//! - [`relay`]: a path with delay, jitter, loss and reordering, in user space.
//! - [`world`]: what lies between processes and under them, as constants; and how it is made.
//! - [`quota`]: processor time, by control groups.
//! - [`process`]: replicas; what they say, and when.
//! - [`load`]: clients, and what each line took.
//! - [`row`]: a world, what is done in it, what must hold, and what was seen.
//! - [`rows`]: the table.
//! - [`tools`]: what a world needs of this host.
//! - [`run`]: runs the table, two rows at a time.
//! - [`figures`]: what is measured, as a table for docs/measurements.md.
//!
//! **What a run leaves behind**, however it ends: nothing but files below its `--log_dir`. A
//! namespace is held by a process, and so are its interfaces. Every process ends with the one
//! that started it: replicas and clients by `--die_with_parent`, strace by `setpriv
//! --pdeathsig`, the holders of namespaces with their stdin. Only control groups outlive their
//! processes. A run removes its own at its end, and those of killed runs at its beginning.
//!
//! **A row is a black box.** It sees what users see: what clients print, what replicas say on
//! stderr, their chat logs, and the counters of the interfaces.
//!
//! **Does not** repeat a run: real time differs each time. So bounds have room, and rows that
//! fail only now and then are measured and decide nothing ([`row::Today::Wavers`]). A run that
//! can be repeated is one of the simulator.

pub mod figures;
pub mod load;
pub mod namespace;
pub mod process;
pub mod quota;
pub mod relay;
pub mod row;
pub mod rows;
pub mod run;
pub mod tools;
pub mod trial;
pub mod world;
