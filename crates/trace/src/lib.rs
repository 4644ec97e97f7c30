//! Reads the traces of real processes: replays, checks and explains them.
//!
//! A process with `--trace` writes down what its roles were built from, what they were given, and
//! what they gave out (`multipaxos::runtime::trace`). Roles are pure, so the same comes out again.
//!
//! - [`files`]: finds the files of a folder, and sorts their blocks by process, life and role.
//! - [`steps`]: the records of one role, with the gaps between them.
//! - [`replay`]: gives a role its inputs again, and compares what it does.
//! - [`invariants`]: compares what the roles of all processes did with the protocol's rules.
//! - [`check`]: both, in words.
//! - [`clocks`]: one time line for processes of several hosts.
//! - [`leading`]: why a replica did not lead at a [`moment`].
//! - [`merged`]: all of it as one [`history::History`], which explains slots and draws a page.
//! - [`perfetto`]: that, for viewers of Chrome's trace events.
//! - [`mod@shiviz`]: that, for ShiViz.
//!
//! **Does not** trust a file: what cannot be read is said, and the rest is used.

pub mod check;
pub mod clocks;
pub mod files;
pub mod invariants;
pub mod leading;
pub mod merged;
pub mod moment;
pub mod perfetto;
pub mod replay;
pub mod shiviz;
pub mod steps;
