//! The paths of a simulated process: what they carry, what is under way, what waits.
//!
//! The same parts as the network loop's, without sockets: how long datagrams may be, how many
//! bytes may be under way, the queue of what can wait, and what is believed of batches. Batches
//! are sent only where a run has kernels that get them wrong: elsewhere each datagram of a batch
//! would go its way as if it had left alone.

use super::{Frames, Leaving, sealed_frame};
use crate::offload::{BATCHES_RETRY_US, REFUSED_CHANCES};
use datagrams::batch::{Batch, Segments};
use datagrams::codec::{BodyKind, Departure, Endpoint as _, Opened};
use datagrams::path::length::{PathLength, Probe, Use};
use datagrams::path::queue::{BulkQueue, Repeat};
use datagrams::path::receipt::{Receipt, Stamp};
use datagrams::path::shared::Traffic;
use datagrams::path::trust::BatchTrust;
use datagrams::path::{PATH_BYTES_IPV4, PATH_BYTES_MIN};
use multipaxos::net::Endpoint;
use multipaxos::net::frame::{self, Identity};
use multipaxos::types::ClusterId;
use std::collections::BTreeMap;

/// The paths from one process to all others.
#[derive(Debug)]
pub(super) struct Paths {
    /// To the replicas, by id.
    pub(super) lengths: Vec<PathLength>,
    pub(super) trust: BatchTrust,
    traffic: Vec<Traffic>,
    queues: Vec<BulkQueue>,
    /// What has arrived from clients that asked.
    clients: BTreeMap<Endpoint, Receipt>,
    /// The most bytes of a datagram to a client.
    client_bytes: usize,
    /// The most bytes of any.
    datagram_max: usize,
}

impl Paths {
    pub(super) fn new(n: usize, life: u64, datagram_max: usize, bare_bytes: usize) -> Self {
        Paths {
            lengths: vec![PathLength::new(PATH_BYTES_IPV4, datagram_max); n],
            trust: BatchTrust::new(false, n, REFUSED_CHANCES),
            traffic: (0..n).map(|_| Traffic::new(life as u32, bare_bytes)).collect(),
            queues: (0..n).map(|_| BulkQueue::default()).collect(),
            clients: BTreeMap::new(),
            client_bytes: PATH_BYTES_IPV4.min(datagram_max),
            datagram_max,
        }
    }

    /// The kernel takes batches from here on.
    pub(super) fn with_batches(&mut self) {
        let testing = |path: PathLength| path.testing_batches_again_after(BATCHES_RETRY_US);
        self.lengths = std::mem::take(&mut self.lengths).into_iter().map(testing).collect();
        self.trust = BatchTrust::new(true, self.lengths.len(), REFUSED_CHANCES);
    }

    /// The most bytes of a datagram to `to` at present.
    pub(super) fn length(&self, to: Endpoint) -> usize {
        to.peer().map_or(self.client_bytes, |peer| self.lengths[peer].length())
    }

    /// Sends a frame, or lets it wait for room.
    pub(super) fn leave(
        &mut self,
        now: u64,
        to: Endpoint,
        frame: Vec<u8>,
        departure: Departure,
        frames: &mut Frames,
    ) {
        self.leave_or_repeat(now, to, frame, (departure, Repeat::Always), frames);
    }

    /// The same of a frame that may not have to leave once more.
    pub(super) fn leave_or_repeat(
        &mut self,
        now: u64,
        to: Endpoint,
        mut frame: Vec<u8>,
        (departure, repeat): (Departure, Repeat),
        frames: &mut Frames,
    ) {
        if let Some(peer) = to.peer() {
            self.note_use(peer, Segments::cut(&frame, frame.len()));
            let queue = &mut self.queues[peer];
            let traffic = &mut self.traffic[peer];
            if let Departure::WhenRoom { until } = departure {
                queue.follow(traffic);
                queue.settle(now, &traffic.flow);
                queue.push(now, &frame, until, repeat, &traffic.flow);
                // Where there are batches, what one turn sends is gathered first.
                if !self.trust.has() {
                    self.flush(now, frames);
                }
                return;
            }
            let stamp = traffic.stamp(now, frame.len());
            frame::stamp(&mut frame, stamp);
        }
        frames.push(Leaving::alone(to, frame));
    }

    /// Sends datagrams that wait for no room, of which each but the last has `size` bytes, in
    /// one call.
    pub(super) fn leave_together(
        &mut self,
        now: u64,
        to: Endpoint,
        bytes: &mut [u8],
        size: usize,
        frames: &mut Frames,
    ) {
        if let Some(peer) = to.peer() {
            self.note_use(peer, Segments::cut(bytes, size));
            for frame in bytes.chunks_mut(size) {
                let stamp = self.traffic[peer].stamp(now, frame.len());
                frame::stamp(frame, stamp);
            }
        }
        frames.push(Leaving { to, bytes: bytes.to_vec(), size, probe: false });
    }

    /// By peer: how long a round trip takes; 0 if that is not known.
    pub(super) fn round_trips_us(&self) -> impl Iterator<Item = u64> {
        self.traffic.iter().map(|traffic| traffic.flow.round_trip_us().unwrap_or(0))
    }

    /// Whether several datagrams to `to` may leave at once.
    pub(super) fn batches(&mut self, to: Endpoint) -> bool {
        match to.peer() {
            Some(peer) => batches(&self.trust, &mut self.lengths[peer], peer),
            None => self.trust.batches(None),
        }
    }

    fn note_use(&mut self, peer: usize, segments: Segments<'_>) {
        let long = segments.size() > PATH_BYTES_MIN;
        let batch = segments.count() > 1 && self.trust.takes(Some(peer));
        self.lengths[peer].used(Use { long, batch });
    }

    /// Sends a probe.
    pub(super) fn probe(&mut self, now: u64, peer: usize, mut frame: Vec<u8>, frames: &mut Frames) {
        let stamp = self.traffic[peer].stamp_probe(now, frame.len());
        frame::stamp(&mut frame, stamp);
        frames.push(Leaving::alone(Endpoint::of_peer(peer), frame));
    }

    /// The answer to a probe has come.
    pub(super) fn answered(&mut self, now: u64, peer: usize, id: u32) {
        if let Some(bytes) = self.lengths[peer].answered(now, id) {
            self.traffic[peer].evidence.arrived(now, bytes);
        }
    }

    /// Begins and ends tests of the path to `peer`. Returns the probes to send.
    pub(super) fn poll_length(&mut self, now: u64, peer: usize) -> Vec<Probe> {
        let (length, mut probes) = (&mut self.lengths[peer], Vec::new());
        length.expect(self.traffic[peer].flow.round_trip_us().unwrap_or(0));
        length.seen(now, &self.traffic[peer].evidence);
        length.poll(now, |probe| probes.push(probe));
        self.traffic[peer].flow.carries(length.length());
        probes
    }

    /// Sends what has waited, as far as there is room.
    pub(super) fn flush(&mut self, now: u64, frames: &mut Frames) {
        for (peer, queue) in self.queues.iter_mut().enumerate() {
            if queue.is_empty() {
                continue;
            }
            let traffic = &mut self.traffic[peer];
            queue.follow(traffic);
            queue.drop_old(now);
            traffic.flow.poll(now);
            let mut batch = Batch::default();
            loop {
                let (trust, path) = (&self.trust, &mut self.lengths[peer]);
                let together = || batches(trust, path, peer);
                batch.fill(now, queue, traffic, together, frame::stamp);
                if batch.is_empty() {
                    break;
                }
                let (bytes, size) = batch.padded(frame::pad);
                let segments = Segments::cut(bytes, size);
                let is_batch = segments.count() > 1 && self.trust.takes(Some(peer));
                self.lengths[peer].used(Use { long: false, batch: is_batch });
                let (to, bytes) = (Endpoint::of_peer(peer), bytes.to_vec());
                frames.push(Leaving { to, bytes, size, probe: false });
                batch.clear();
            }
        }
    }

    /// The path to `peer` carries no more than `length` bytes.
    pub(super) fn narrow(&mut self, peer: usize, length: usize) {
        self.traffic[peer].flow.forget();
        self.queues[peer].narrow(length);
    }

    /// The peer has another address. Of the path there nothing is known.
    pub(super) fn moved(&mut self, peer: usize) {
        let length = PathLength::new(PATH_BYTES_IPV4, self.datagram_max);
        self.lengths[peer] = match self.trust.has() {
            true => length.testing_batches_again_after(BATCHES_RETRY_US),
            false => length,
        };
        self.traffic[peer].moved();
    }

    /// Takes note of a datagram of this many bytes.
    pub(super) fn received(&mut self, now: u64, opened: &Opened<'_, Endpoint>, bytes: usize) {
        let Opened { from, boot, cluster, stamp, has, .. } = *opened;
        match from.peer() {
            Some(peer) if cluster == 0 => {
                self.lengths[peer].heard();
            }
            Some(peer) => {
                self.lengths[peer].heard();
                self.traffic[peer].received(now, boot, stamp, bytes);
                if let Some(has) = has {
                    self.queues[peer].drop_needless(has);
                }
            }
            None if stamp.asks || self.clients.contains_key(&from) => {
                self.clients.entry(from).or_default().received(now, boot, stamp, bytes);
            }
            None => {}
        }
    }

    /// Tells those who ask what has arrived from them.
    pub(super) fn give_word(
        &mut self,
        now: u64,
        identity: &Identity,
        cluster: ClusterId,
        frames: &mut Frames,
    ) {
        let is_due = |receipt: &Receipt| receipt.due().is_some_and(|due| due <= now);
        let word = |to| sealed_frame(identity, to, cluster, BodyKind::Nothing, |_| {});
        for (peer, traffic) in self.traffic.iter_mut().enumerate() {
            if is_due(&traffic.receipt) {
                let mut frame = word(Endpoint::of_peer(peer));
                let stamp = traffic.stamp(now, frame.len());
                frame::stamp(&mut frame, stamp);
                frames.push(Leaving::alone(Endpoint::of_peer(peer), frame));
            }
        }
        for (client, receipt) in self.clients.iter_mut().filter(|(_, receipt)| is_due(receipt)) {
            let (mut frame, mut stamp) = (word(*client), Stamp::default());
            receipt.tell(now, &mut stamp);
            frame::stamp(&mut frame, stamp);
            frames.push(Leaving::alone(*client, frame));
        }
    }

    /// When any of that has something to do next.
    pub(super) fn deadline(&self) -> Option<u64> {
        let waiting = self.queues.iter().zip(&self.traffic);
        let room = waiting.filter_map(|(queue, it)| Some(it.flow.deadline(queue.next_bytes()?)));
        let receipts = self.traffic.iter().map(|traffic| &traffic.receipt);
        let words = receipts.chain(self.clients.values()).filter_map(Receipt::due);
        room.chain(words).chain(self.lengths.iter().filter_map(PathLength::deadline)).min()
    }
}

/// Whether several datagrams to `peer` may leave at once. If not, `path` may be to test that again.
fn batches(trust: &BatchTrust, path: &mut PathLength, peer: usize) -> bool {
    if trust.wants_test(peer) {
        path.used(Use { long: false, batch: true });
    }
    trust.batches(Some(peer))
}
