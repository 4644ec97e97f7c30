//! Threads whose interleavings tests can explore.
//!
//! [`threads`] has the parts of threads that the shells around the roles use: channels,
//! flags, the clock, sleep. A program gets the real ones. With the feature `scheduler`, which
//! only tests turn on, a seed decides which thread takes the next step.

pub mod threads;
