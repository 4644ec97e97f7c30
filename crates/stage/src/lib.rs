//! What golden scripts are run with.
//!
//! - [`file`]: the format of a script, and how it is compared and written again.
//! - [`commands`]: what a script may say.
//! - [`stage`]: the cluster that it says it to, moved by hand.
//! - [`node`]: one replica on the stage. [`print`]: everything in words.

pub(crate) mod commands;
pub mod file;
pub(crate) mod node;
pub(crate) mod print;
pub(crate) mod stage;
