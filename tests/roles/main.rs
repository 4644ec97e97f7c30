//! The roles, one by one and together, without threads, sockets or clocks.

mod acceptor;
mod bootstrap;
mod client;
mod common;
mod election;
mod learner;
mod phase2;
mod proposer;
