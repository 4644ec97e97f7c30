//! Where records go.
//!
//! Everything durable goes through [`durable::disk`], so that all of it runs on the
//! simulated disk too.
//!
//! - [`acceptor_log`]: the acceptor's log.
//! - [`decided_log`]: the learner's decided log, with the chat log ([`chat_log`]) that
//!   people read.
//! - [`data_dir`]: the data directory's identity, lock and started record.
//! - [`upkeep`]: what a role's thread asks of its storage between two commits.
//! - [`memory`]: storage that keeps nothing.
//!
//! A call that failed is never tried again and believed: whoever gets an error here
//! ends the process, and the next one opens what is left.

pub mod acceptor_log;
mod acceptor_log_tests;
pub mod chat_log;
pub mod data_dir;
pub mod decided_log;
mod decided_log_tests;
mod journal;
pub mod memory;
pub mod upkeep;

use durable::{atomic_file, background, disk, error};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is waited for before anything is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// The disk: survives a power cut.
    Sync,
    /// The operating system: survives a killed process, but not a power cut.
    Os,
    /// Nothing: acceptor state is in memory only, and ends with the process.
    None,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Sync => "sync",
            Durability::Os => "os",
            Durability::None => "none",
        })
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sync" => Ok(Durability::Sync),
            "os" => Ok(Durability::Os),
            "none" => Ok(Durability::None),
            _ => Err("not one of sync, os, none".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durability_is_read_as_it_is_written() {
        for durability in [Durability::Sync, Durability::Os, Durability::None] {
            assert_eq!(durability.to_string().parse(), Ok(durability));
        }
        assert!("fsync".parse::<Durability>().is_err());
    }
}
