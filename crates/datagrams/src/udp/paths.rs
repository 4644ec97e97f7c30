//! The loop's part in finding out what each path carries: it sends the probes, and says to
//! those who ask what has arrived.

use super::Network;
use super::sender::LOST_PIECES;
use crate::codec::{Codec, Endpoint, Opened};
use crate::path::first_bytes;
use crate::path::length::PathLength;
use crate::path::receipt::{Receipt, Stamp};
use crate::path::shared::SharedPaths;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::SocketAddr;

/// The most clients of which it is noted what has arrived from them. Others are not told.
pub(super) const CLIENT_RECEIPTS_MAX: usize = 4_096;

/// A client that was silent for so long makes room for another one.
pub(super) const CLIENT_IDLE_US: u64 = 10_000_000;

/// Where there is no room, silent clients are looked for once in this time.
const CLIENT_SWEEP_US: u64 = 100_000;

/// The paths to all peers.
#[derive(Debug)]
pub(super) struct LoopPaths<E> {
    lengths: Vec<PathLength>,
    /// When one of them has something to do.
    due: Option<u64>,
    /// Which peers have asked for word.
    asking: Vec<bool>,
    /// What has arrived from clients that have asked for word.
    clients: HashMap<E, Receipt, RandomState>,
    /// When silent ones were last looked for.
    swept_at: Option<u64>,
    /// Which of them wait for it.
    asking_clients: Vec<E>,
    /// When word must be given.
    word_due: Option<u64>,
}

impl<E: Endpoint> LoopPaths<E> {
    pub(super) fn new(peers: &[SocketAddr], datagram_max: usize) -> Self {
        let path = |peer: &SocketAddr| PathLength::new(first_bytes(*peer), datagram_max);
        LoopPaths {
            lengths: peers.iter().map(path).collect(),
            due: None,
            asking: vec![false; peers.len()],
            clients: HashMap::default(),
            swept_at: None,
            asking_clients: Vec::new(),
            word_due: None,
        }
    }

    /// The part that the sending threads share, with this number in the first stamps. See
    /// [`Traffic::new`](crate::path::shared::Traffic::new).
    pub(super) fn shared(&self, start: u32, bare_bytes: usize) -> SharedPaths {
        SharedPaths::new(self.lengths.iter().map(PathLength::length), start, bare_bytes)
    }

    /// Takes note of a datagram of this many bytes.
    pub(super) fn received(
        &mut self,
        now: u64,
        paths: &SharedPaths,
        opened: &Opened<'_, E>,
        bytes: usize,
    ) {
        let Opened { from, boot, cluster, stamp, .. } = *opened;
        let receipt_due = match from.peer() {
            // Anybody may have sent it: it says nothing of the path.
            Some(_) if cluster == 0 => return self.heard(from),
            Some(peer) => {
                self.heard(from);
                let mut traffic = paths.traffic(peer);
                traffic.received(now, boot, stamp, bytes);
                self.asking[peer] |= stamp.asks;
                traffic.receipt.due()
            }
            None => self.received_from_client(now, from, boot, stamp, bytes),
        };
        if stamp.asks
            && let Some(due) = receipt_due
        {
            self.word_due = Some(self.word_due.map_or(due, |other| other.min(due)));
        }
    }

    fn received_from_client(
        &mut self,
        now: u64,
        from: E,
        boot: u64,
        stamp: Stamp,
        bytes: usize,
    ) -> Option<u64> {
        if !stamp.asks && self.clients.is_empty() {
            return None;
        }
        let rests = self.swept_at.is_some_and(|at| now < at + CLIENT_SWEEP_US);
        if stamp.asks && self.clients.len() >= CLIENT_RECEIPTS_MAX && !rests {
            self.swept_at = Some(now);
            let idle = |receipt: &Receipt| now.saturating_sub(receipt.heard_at()) > CLIENT_IDLE_US;
            self.clients.retain(|of, receipt| *of == from || !idle(receipt));
        }
        let room = self.clients.len() < CLIENT_RECEIPTS_MAX;
        let receipt = match self.clients.get_mut(&from) {
            Some(receipt) => receipt,
            None if stamp.asks && room => self.clients.entry(from).or_default(),
            None => return None,
        };
        let waits = receipt.due().is_some();
        receipt.received(now, boot, stamp, bytes);
        if stamp.asks && !waits {
            self.asking_clients.push(from);
        }
        receipt.due()
    }

    /// Of how many clients it is noted what has arrived.
    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// When [`Network::give_word`] has something to do next.
    pub(super) fn word_deadline(&self) -> Option<u64> {
        self.word_due
    }

    /// When [`Network::poll_paths`] has something to do next.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.due
    }

    fn heard(&mut self, from: E) {
        if let Some(path) = from.peer().and_then(|peer| self.lengths.get_mut(peer))
            && path.heard()
        {
            self.due = Some(0);
        }
    }

    /// The answer to a probe has come.
    pub(super) fn answered(&mut self, now: u64, paths: &SharedPaths, from: E, id: u32) {
        if let Some(peer) = from.peer()
            && let Some(path) = self.lengths.get_mut(peer)
        {
            if let Some(bytes) = path.answered(now, id) {
                paths.traffic(peer).evidence.arrived(now, bytes);
            }
            self.due = Some(0);
        }
    }
}

impl<C: Codec> Network<C> {
    /// Tells those who ask what has arrived from them, where no other datagram does.
    pub(super) fn give_word(&mut self, now: u64) {
        if self.paths.word_due.is_none_or(|due| due > now) {
            return;
        }
        let Some(cluster) = self.shared.codec.cluster() else { return };
        let Network { paths, sender, shared, .. } = self;
        let LoopPaths { asking, clients, asking_clients, word_due, .. } = paths;
        let mut next: Option<u64> = None;
        let mut wait = |due: Option<u64>| match due {
            Some(due) if due > now => {
                next = Some(next.map_or(due, |other| other.min(due)));
                true
            }
            _ => false,
        };
        for (peer, asks) in asking.iter_mut().enumerate().filter(|(_, asks)| **asks) {
            let due = shared.paths.traffic(peer).receipt.due();
            if due.is_some_and(|due| due <= now) {
                sender.word(C::Endpoint::of_peer(peer), cluster, Stamp::default());
            }
            *asks = wait(due);
        }
        asking_clients.retain(|client| {
            let Some(receipt) = clients.get_mut(client) else { return false };
            let due = receipt.due();
            if due.is_some_and(|due| due <= now) {
                let mut stamp = Stamp::default();
                receipt.tell(now, &mut stamp);
                sender.word(*client, cluster, stamp);
            }
            wait(due)
        });
        *word_due = next;
    }

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
        let (mut due, mut vanished) = (None, Vec::new());
        for (peer, path) in self.paths.lengths.iter_mut().enumerate() {
            if shared.peers.take_moved(peer) {
                let address = shared.peers.with(|all| all[peer]);
                *path = PathLength::new(first_bytes(address), shared.datagram_max);
                shared.paths.traffic(peer).moved();
            }
            if let Some(bytes) = shared.paths.take_refused(peer) {
                path.refused(now, bytes);
            }
            path.used(shared.paths.used(peer));
            let traffic = shared.paths.traffic(peer);
            path.expect(traffic.flow.round_trip_us().unwrap_or(0));
            path.seen(now, &traffic.evidence);
            drop(traffic);
            let (mut probed, mut is_refused, had_batches) = (false, false, path.batches());
            path.poll(now, |probe| {
                probed = true;
                is_refused |= sender.probe(C::Endpoint::of_peer(peer), cluster, probe);
            });
            if is_refused {
                path.batch_refused();
            }
            if probed || !path.is_in_use() {
                shared.paths.forget(peer);
            }
            if had_batches && !path.batches() {
                vanished.push(peer);
            }
            if path.length() != shared.paths.length(peer) {
                log::debug!("datagrams to peer {peer} have up to {} bytes now", path.length());
                let is_narrower = path.length() < shared.paths.length(peer);
                shared.paths.set_length(peer, path.length());
                shared.paths.traffic(peer).flow.carries(path.length());
                if is_narrower {
                    let to = C::Endpoint::of_peer(peer);
                    sender.narrow(peer, path.length());
                    self.fragmenter.send_narrowed(now, peer, path.length(), |cluster, fragment| {
                        sender.fragment(to, cluster, fragment, LOST_PIECES);
                    });
                    sender.flush_fragments(to, LOST_PIECES);
                }
            }
            due = due.into_iter().chain(path.deadline()).min();
        }
        self.paths.due = due;
        shared.offload.learn(&mut self.paths.lengths);
        for peer in vanished {
            let (to, length) = (C::Endpoint::of_peer(peer), shared.paths.length(peer));
            sender.narrow(peer, length);
            self.fragmenter.send_vanished(now, peer, length, |cluster, fragment| {
                sender.fragment(to, cluster, fragment, LOST_PIECES);
            });
            sender.flush_fragments(to, LOST_PIECES);
        }
    }
}
