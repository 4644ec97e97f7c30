//! The acceptor.
