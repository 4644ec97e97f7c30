//! A service of one's own: replicas and clients for programs, around a [`StateMachine`].
//!
//! A [`Replica`] runs one replica of a cluster on threads of this process, with a socket and a
//! directory. A [`Client`] sends commands and waits for each answer. What either does on the network
//! and on the disk is what the programs `replica` and `client` do, so `client --status`,
//! `--follow` and the files of the chat log work for every machine.
//!
//! **Exactly once.** Each command of a client is applied once, however often messages are lost and
//! leaders change, and its answer is that of its one application. If [`Client::call`] returns
//! [`Error::Unknown`], the command was applied once or not at all, or will be.
//!
//! **Keys.** [`Trust`] says whom a replica or a client believes: whoever has a key that fits, or,
//! on loopback addresses, everybody.
//!
//! **Does not** hide what it sends, and cannot add or replace replicas (README.md, Limits). All
//! replicas of a cluster, in all their lives, must have machines of one type that behaves the same:
//! a new version of a machine begins a new cluster, unless its answers and states are those of the
//! old one.

mod client;
mod replica;

pub use crate::runtime::trust::{Refused, Trust};
pub use client::Client;
pub use command_line::ending::end_on_panic;
pub use replica::{Replica, ReplicaConfig};

use crate::config::{Config, ReplicaAddress};
use crate::machine::COMMAND_BYTES_MAX;
#[cfg(doc)]
use crate::machine::StateMachine;
use crate::types::{REPLICAS_MAX, Slot};
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why a replica does not run, or a call has no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no such cluster. What is wrong with the addresses.
    Cluster(String),
    /// The key cannot be used, or there must be one.
    Refused(Refused),
    /// The replica cannot start. The reason, with the file or the address.
    Start(String),
    /// The operating system gives no socket, thread or random numbers.
    Io(io::Error),
    /// The command is longer than [`COMMAND_BYTES_MAX`]. It was not sent.
    TooLong {
        /// How many bytes it has.
        bytes: usize,
    },
    /// The command was applied once, or not at all, or may yet be applied once.
    Unknown(Unknown),
    /// The command was applied once, in this slot, and the replica does not know its answer any more.
    Forgotten(Slot),
    /// Another cluster answers at these addresses. The command was not sent.
    OtherCluster,
}

/// Why it is not known what became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unknown {
    /// No answer came in time.
    TimedOut,
    /// So many slots have passed meanwhile that its session has expired.
    Expired,
    /// Another cluster answers at these addresses now.
    OtherCluster,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Cluster(what) => write!(f, "no cluster: {what}"),
            Error::Refused(why) => write!(f, "{why}"),
            Error::Start(why) => write!(f, "cannot start: {why}"),
            Error::Io(error) => write!(f, "{error}"),
            Error::TooLong { bytes } => {
                write!(f, "a command of {bytes} bytes: {COMMAND_BYTES_MAX} is the most")
            }
            Error::Unknown(why) => {
                let why = match why {
                    Unknown::TimedOut => "no answer in time",
                    Unknown::Expired => "the session has expired",
                    Unknown::OtherCluster => "another cluster answers now",
                };
                write!(f, "{why}: it is not known whether the command was applied")
            }
            Error::Forgotten(slot) => {
                write!(f, "the command was applied in slot {slot}, and its answer is forgotten")
            }
            Error::OtherCluster => write!(f, "another cluster answers: the command was not sent"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

/// The cluster of the replicas at these addresses, by their ids.
fn cluster_of(addresses: &[SocketAddr]) -> Result<Config, Error> {
    let n = addresses.len();
    let wrong = |what: String| Err(Error::Cluster(what));
    if n.is_multiple_of(2) || n > REPLICAS_MAX {
        return wrong(format!("{n} replicas: an odd number is needed, up to {REPLICAS_MAX}"));
    }
    for (at, address) in addresses.iter().enumerate() {
        if address.port() == 0 {
            return wrong(format!("replica {at} has port 0"));
        }
        if addresses[..at].contains(address) {
            return wrong(format!("{address} is listed twice"));
        }
        if address.is_ipv6() != addresses[0].is_ipv6() {
            return wrong("IPv4 and IPv6 addresses: a replica has one socket".into());
        }
    }
    let replica = |(line, address): (usize, &SocketAddr)| ReplicaAddress {
        host: address.ip().to_string(),
        port: address.port(),
        line: line + 1,
        address: *address,
    };
    Ok(Config { f: n / 2, replicas: addresses.iter().enumerate().map(replica).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(addresses: &[&str]) -> String {
        let addresses: Vec<SocketAddr> =
            addresses.iter().map(|text| text.parse().expect("an address")).collect();
        cluster_of(&addresses).expect_err("no cluster").to_string()
    }

    #[test]
    fn addresses_that_make_no_cluster_are_refused_with_the_reason() {
        assert!(refused(&[]).contains("0 replicas"));
        assert!(refused(&["10.0.0.1:5", "10.0.0.1:6"]).contains("an odd number"));
        assert!(refused(&["10.0.0.1:0"]).contains("port 0"));
        assert!(refused(&["10.0.0.1:5", "10.0.0.2:5", "10.0.0.1:5"]).contains("twice"));
        assert!(refused(&["10.0.0.1:5", "[::1]:5", "10.0.0.2:5"]).contains("IPv6"));
    }
}
