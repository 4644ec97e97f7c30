//! The roles, one by one and together, without threads, sockets or clocks.

mod acceptor;
mod client;
mod common;
mod learner;
mod proposer;
mod reign;
mod replica;
