//! The loop's part in finding out what each path carries: it sends the probes, and answers
//! those of others.

use super::Network;
use crate::codec::{Codec, Endpoint};
use crate::path::first_bytes;
use crate::path::length::PathLength;
use crate::path::shared::SharedPaths;
use std::net::SocketAddr;

/// The paths to all peers.
#[derive(Debug)]
pub(super) struct LoopPaths {
    lengths: Vec<PathLength>,
    /// When one of them has something to do.
    due: Option<u64>,
}

impl LoopPaths {
    pub(super) fn new(peers: &[SocketAddr], datagram_max: usize) -> Self {
        let path = |peer: &SocketAddr| PathLength::new(first_bytes(*peer), datagram_max);
        LoopPaths { lengths: peers.iter().map(path).collect(), due: None }
    }

    /// The part that the sending threads share.
    pub(super) fn shared(&self) -> SharedPaths {
        SharedPaths::new(self.lengths.iter().map(PathLength::length))
    }

    /// When [`Network::poll_paths`] has something to do next.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.due
    }

    /// A datagram of `from` has come.
    pub(super) fn heard(&mut self, from: impl Endpoint) {
        if let Some(path) = from.peer().and_then(|peer| self.lengths.get_mut(peer))
            && path.heard()
        {
            self.due = Some(0);
        }
    }

    /// The answer to a probe has come.
    pub(super) fn answered(&mut self, now: u64, from: impl Endpoint, id: u32) {
        if let Some(path) = from.peer().and_then(|peer| self.lengths.get_mut(peer)) {
            path.answered(now, id);
            self.due = Some(0);
        }
    }
}

impl<C: Codec> Network<C> {
    /// Sends the probes that are due, and publishes what was found out. Before the cluster
    /// is known nothing is sent.
    pub(super) fn poll_paths(&mut self, now: u64) {
        let news = self.shared.paths.take_news();
        if !news && self.paths.due.is_none_or(|due| due > now) {
            return;
        }
        let shared = self.shared.clone();
        let Some(cluster) = shared.codec.cluster() else {
            // What is sent once it is known is news again.
            (0..self.paths.lengths.len()).for_each(|peer| shared.paths.forget(peer));
            self.paths.due = None;
            return;
        };
        let sender = &mut self.sender;
        let mut due = None;
        for (peer, path) in self.paths.lengths.iter_mut().enumerate() {
            if let Some(bytes) = shared.paths.take_refused(peer) {
                path.refused(now, bytes);
            }
            path.used(shared.paths.used(peer));
            let mut probed = false;
            path.poll(now, |probe| {
                probed = true;
                sender.probe(C::Endpoint::of_peer(peer), cluster, probe);
            });
            if probed {
                shared.paths.forget(peer);
            }
            if path.length() != shared.paths.length(peer) {
                log::debug!("datagrams to peer {peer} have up to {} bytes now", path.length());
                shared.paths.set_length(peer, path.length());
            }
            due = due.into_iter().chain(path.deadline()).min();
        }
        self.paths.due = due;
        shared.offload.trust(self.paths.lengths.iter().all(PathLength::batches));
    }
}
