//! Durable storage: the logs of acceptor and learner, and the data directory.
//!
//! Everything durable goes through [`durable::disk`], so that all of it runs on the
//! simulated disk too.
//!
//! - [`acceptor_log`]: the acceptor's log.
//! - [`decided_log`]: the learner's decided log, with the chat log ([`chat_log`]) that
//!   people read.
//! - [`beginning`]: the chat log with which a cluster may begin.
//! - [`data_dir`]: the data directory's identity, lock and started record.
//! - [`upkeep`]: what a role's thread asks of its storage between two commits.
//! - [`memory`]: storage that keeps nothing.
//!
//! A caller never tries a failed call again and believes the second result. An error here
//! ends the process, and the next process opens what is left on the disk.

pub mod acceptor_log;
mod acceptor_log_tests;
pub mod beginning;
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

/// When a record counts as durable, so that messages that depend on it may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// Once it is on the disk: it survives a power cut.
    Sync,
    /// Once the operating system has it: it survives a killed process, but perhaps not a
    /// power cut.
    Os,
    /// At once: the acceptor's state is in memory only, and ends with the process.
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
