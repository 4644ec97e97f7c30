//! The events of a run, and the sentences that explain them.
//!
//! A [`History`] is a list of facts: a message left, arrived or was lost, an acceptor has made
//! something durable, a learner has applied a slot, a replica leads, a process ends. The stage
//! records one, and so does the simulator, whose network is not watched: a [`Recorder`] finds out
//! which messages have arrived. Nothing here asks a role.
//!
//! - [`events`]: the facts.
//! - [`payload`]: the messages, and what they say about slots and ballots.
//! - [`recorder`]: a history of a run that only tells what is sent and what arrives.
//! - [`mod@why`]: explains a slot from a history.
//! - [`mod@print`]: describes messages, records and states in words.

pub mod events;
pub mod payload;
pub mod print;
pub mod recorder;
pub mod why;

pub use events::{Entry, Event, History, Loss, Mark, Party, Report, Said};
pub use payload::Payload;
pub use recorder::Recorder;
