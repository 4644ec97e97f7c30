//! Threads whose interleavings tests can explore.
//!
//! [`threads`] has all that the shells around the roles use of threads: channels, flags, the
//! clock, sleep. A program gets the real ones. With the feature `scheduler`, which only tests
//! turn on, a seed decides which thread takes the next step.

pub mod threads;
