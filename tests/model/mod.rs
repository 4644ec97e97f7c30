//! A model of a cluster whose roles are the real ones.
//!
//! See `tests/model_check.rs` for what it is for.
//!
//! - [`bounds`]: what a check goes through, and what it leaves out.
//! - [`seat`]: a role with its [`disk`], a step at a time.
//! - [`network`]: what is on its way.
//! - [`history`]: what has happened, and the laws that it must keep.
//! - [`cluster`]: all of them together, as a `stateright` model.
//! - [`table`]: parts of states, kept once.
//! - [`report`]: running a check, and saying what came of it.
//! - [`story`] and [`tell`]: an execution in English, and the sentences of one.

pub(crate) mod bounds;
pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod history;
pub(crate) mod network;
pub(crate) mod report;
pub(crate) mod seat;
pub(crate) mod story;
pub(crate) mod table;
pub(crate) mod tell;
