//! A process that only asks: it sends what its caller says, and hands over what the replicas
//! answer.

use super::client::ClientOptions;
use super::connection::Connection;
use super::process::entropy;
use crate::message::ClientMessage;
use crate::net::{Endpoint, Incoming, Outgoing, PeerBook};
use crate::types::{BootId, ReplicaId};
use interleavings::threads::RecvTimeoutError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Sends questions and takes answers.
pub(super) struct Asker(Connection<Incoming>);

impl Asker {
    /// Opens a socket. `purpose` tells its draws from those of others with the same seed.
    ///
    /// # Errors
    ///
    /// When the socket or a thread cannot be had.
    pub(super) fn new(options: &ClientOptions, purpose: &str) -> io::Result<Asker> {
        Connection::open(options, BootId(entropy()?), purpose).map(Asker)
    }

    /// Sends these messages.
    pub(super) fn send(&mut self, calls: impl IntoIterator<Item = (ReplicaId, ClientMessage)>) {
        let calls = calls.into_iter().map(|(to, message)| Outgoing::Call { to, message });
        self.0.outlet.send(calls);
    }

    /// What has come; empty if nothing comes for so long.
    ///
    /// # Errors
    ///
    /// If the network thread has ended.
    pub(super) fn take(&self, patience: Duration) -> io::Result<Vec<Incoming>> {
        match self.0.inbox.recv_timeout(patience) {
            Ok(batch) => Ok(batch),
            Err(RecvTimeoutError::Timeout) => Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the network thread has ended"))
            }
        }
    }

    /// The longest datagram that the path to this replica carries, as far as is known.
    pub(super) fn length(&self, to: ReplicaId) -> usize {
        self.0.outlet.length(Endpoint::Replica(to))
    }

    /// Where the replicas are.
    pub(super) fn peers(&self) -> &PeerBook {
        &self.0.peers
    }

    /// Where a replica is.
    pub(super) fn place(&self, of: ReplicaId) -> SocketAddr {
        self.0.peers.address(of.index())
    }
}
