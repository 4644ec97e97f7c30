//! Sending for the loop itself: fragments, requests for them, probes, what waits for room on
//! a path, and what waits for a socket that would block.

use super::BACKLOG_MAX;
use crate::batch::{Batch, Segments};
use crate::codec::{ALWAYS_NEEDED, BodyKind, Codec, Departure, Endpoint, probe_body};
use crate::counters::NetEvent;
use crate::fragment::{FRAGMENT_HEADER_BYTES, Fragment, Missing};
use crate::loss::Gate;
use crate::outlet::{Left, Priority, Shared, URGENT, attempt, on_wire};
use crate::path::length::Probe;
use crate::path::queue::{BulkQueue, Pushed, Repeat};
use crate::path::receipt::Stamp;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Pieces that a receiver asks for, or that are lost.
pub(super) const LOST_PIECES: Priority = Priority {
    departure: Departure::WhenRoom { until: ALWAYS_NEEDED },
    repeat: Repeat::Always,
    exempt: false,
};

/// Sends for the loop itself.
#[derive(Debug)]
pub(super) struct LoopSender<C: Codec> {
    pub(super) shared: Arc<Shared<C>>,
    pub(super) gate: Gate,
    /// Datagrams on which the socket would have blocked.
    pub(super) backlog: VecDeque<Waiting<C::Endpoint>>,
    /// Datagrams that wait for room, by peer.
    queues: Vec<BulkQueue>,
    frame: Vec<u8>,
    /// Datagrams to one destination, until they leave together.
    batch: Batch,
}

/// Datagrams that wait for the socket.
#[derive(Debug)]
pub(super) struct Waiting<E> {
    pub(super) to: E,
    pub(super) bytes: Vec<u8>,
    /// The bytes of each datagram but the last.
    pub(super) size: usize,
    pub(super) exempt: bool,
}

impl<C: Codec> LoopSender<C> {
    pub(super) fn new(shared: Arc<Shared<C>>, gate: Gate) -> Self {
        let peers = shared.codec.peers();
        let queues = (0..peers).map(|_| BulkQueue::default()).collect();
        let (backlog, frame, batch) = (VecDeque::new(), Vec::new(), Batch::default());
        LoopSender { shared, gate, backlog, queues, frame, batch }
    }

    /// Sends a fragment, or gathers it with others of the same destination and priority.
    pub(super) fn fragment(
        &mut self,
        to: C::Endpoint,
        cluster: u64,
        fragment: Fragment<'_>,
        priority: Priority,
    ) {
        C::begin(&mut self.frame);
        self.frame.reserve(FRAGMENT_HEADER_BYTES + fragment.bytes.len());
        fragment.write(&mut self.frame);
        if self.seal(to, cluster, BodyKind::Fragment) {
            let more = self.batch.push(&self.frame, self.shared.length(to));
            if !more || !self.shared.batches(to) {
                self.flush_fragments(to, priority);
            }
        }
    }

    /// Sends the fragments that are gathered.
    pub(super) fn flush_fragments(&mut self, to: C::Endpoint, priority: Priority) {
        if !self.batch.is_empty() {
            let mut batch = std::mem::take(&mut self.batch);
            let (bytes, size) = batch.padded(C::pad);
            self.transmit(to, bytes, size, priority);
            batch.clear();
            self.batch = batch;
        }
    }

    pub(super) fn missing(&mut self, to: C::Endpoint, cluster: u64, missing: &Missing) {
        C::begin(&mut self.frame);
        missing.write(&mut self.frame);
        self.send_short(to, cluster, BodyKind::Missing);
    }

    /// Sends a probe: alone, or twice in one batch. Returns whether the kernel refuses that batch.
    pub(super) fn probe(&mut self, to: C::Endpoint, cluster: u64, probe: Probe) -> bool {
        let mut passed = 0;
        for _ in 0..if probe.batch { 2 } else { 1 } {
            C::begin(&mut self.frame);
            self.frame.extend_from_slice(&probe_body(probe.id));
            if self.seal(to, cluster, BodyKind::Probe) {
                passed += 1;
            }
        }
        let sealed = self.frame.len();
        if let Some(bytes) = probe.bytes
            && bytes > sealed
        {
            self.frame.resize(bytes, 0);
            C::pad(&mut self.frame, sealed);
        }
        let mut frame = std::mem::take(&mut self.frame);
        let mut is_refused = false;
        match passed {
            0 => {}
            // If the gate lost one of the two, a batch of one must do.
            _ if probe.batch => is_refused = !self.shared.transmit_batch(to, &frame, passed),
            _ => self.shared.transmit_probe(to, &mut frame),
        }
        self.frame = frame;
        is_refused
    }

    pub(super) fn probe_answer(&mut self, to: C::Endpoint, cluster: u64, id: u32) {
        C::begin(&mut self.frame);
        self.frame.extend_from_slice(&probe_body(id));
        self.send_short(to, cluster, BodyKind::ProbeAnswer);
    }

    /// Sends a header alone. Its stamp to a peer says what has arrived from there; one to a
    /// client is `stamp`.
    pub(super) fn word(&mut self, to: C::Endpoint, cluster: u64, stamp: Stamp) {
        C::begin(&mut self.frame);
        self.shared.codec.seal(to, cluster, BodyKind::Nothing, &mut self.frame);
        if !self.gate.passes() {
            return self.shared.counters.count(NetEvent::LostByGate);
        }
        let mut frame = std::mem::take(&mut self.frame);
        C::stamp(&mut frame, stamp);
        let size = frame.len();
        self.transmit(to, &mut frame, size, URGENT);
        self.frame = frame;
    }

    fn send_short(&mut self, to: C::Endpoint, cluster: u64, kind: BodyKind) {
        if self.seal(to, cluster, kind) {
            let mut frame = std::mem::take(&mut self.frame);
            let size = frame.len();
            self.transmit(to, &mut frame, size, URGENT);
            self.frame = frame;
        }
    }

    /// Sends datagrams of the codec's own, as they are: to where `to` is reached, and to where
    /// its own came `from`, if that is elsewhere. They are lost if the socket would block.
    pub(super) fn handshake(&mut self, to: C::Endpoint, from: SocketAddr, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            self.greeting(to, datagram);
            if self.shared.address(to) != from && self.passes() {
                let (counters, address) = (&self.shared.counters, on_wire(from, self.shared.ipv6));
                let sent = attempt(counters, || self.shared.socket.send_to(datagram, address));
                let event = if sent.is_ok() { NetEvent::Sent } else { NetEvent::SendFailed };
                counters.count(event);
            }
        }
    }

    /// Sends a datagram as it is. It is lost if the socket would block.
    pub(super) fn greeting(&mut self, to: C::Endpoint, datagram: &[u8]) {
        if self.shared.muted.load(Ordering::SeqCst) {
            self.shared.counters.count(NetEvent::Muted);
        } else if self.passes() {
            self.shared.counters.count(NetEvent::Greeted);
            self.shared.send_protected(to, Segments::cut(datagram, datagram.len()));
        }
    }

    /// Sends a header without a body, which says that a datagram was dropped.
    pub(super) fn refusal(&mut self, to: C::Endpoint, kind: BodyKind) {
        C::begin(&mut self.frame);
        if self.seal(to, 0, kind) {
            let mut frame = std::mem::take(&mut self.frame);
            let size = frame.len();
            self.transmit(to, &mut frame, size, URGENT);
            self.frame = frame;
        }
    }

    /// Completes the datagram; returns whether it passes the gate.
    fn seal(&mut self, to: C::Endpoint, cluster: u64, kind: BodyKind) -> bool {
        self.shared.codec.seal(to, cluster, kind, &mut self.frame);
        self.passes()
    }

    /// Whether a datagram passes the gate.
    fn passes(&mut self) -> bool {
        let passes = self.gate.passes();
        if !passes {
            self.shared.counters.count(NetEvent::LostByGate);
        }
        passes
    }

    /// Sends datagrams, of which each but the last has `size` bytes. What cannot leave now
    /// waits. What can wait is queued first, where the same datagram may be already.
    pub(super) fn transmit(
        &mut self,
        to: C::Endpoint,
        datagrams: &mut [u8],
        size: usize,
        priority: Priority,
    ) {
        if let Some(peer) = to.peer()
            && let Departure::WhenRoom { until } = priority.departure
            && !priority.exempt
        {
            self.wait_for_room(peer, Segments::cut(datagrams, size), until, priority.repeat);
            return self.flush_queues(self.shared.now());
        }
        let left = match self.backlog.is_empty() {
            true => self.shared.transmit(to, datagrams, size, priority).left,
            false => Some((0, Left::Blocked)),
        };
        let Some((index, why)) = left else { return };
        let left = Segments::cut(datagrams, size).after(index);
        assert!(why == Left::Blocked, "what is urgent waits for no room");
        if self.backlog.len() == BACKLOG_MAX {
            return self.shared.counters.add(NetEvent::LostQueueFull, left.count() as u64);
        }
        let (bytes, size, exempt) = (left.bytes().to_vec(), left.size(), priority.exempt);
        self.backlog.push_back(Waiting { to, bytes, size, exempt });
    }

    fn wait_for_room(&mut self, peer: usize, datagrams: Segments<'_>, until: u64, repeat: Repeat) {
        let now = self.shared.now();
        let mut traffic = self.shared.paths.traffic(peer);
        let dropped = self.queues[peer].follow(&mut traffic);
        self.shared.counters.add(NetEvent::LostOld, dropped as u64);
        self.queues[peer].settle(now, &traffic.flow);
        for index in 0..datagrams.count() {
            let datagram = datagrams.get(index);
            let event = match self.queues[peer].push(now, datagram, until, repeat, &traffic.flow) {
                Pushed::Waits => NetEvent::HeldBack,
                Pushed::Known => NetEvent::HeldAlready,
                Pushed::Full => NetEvent::LostQueueFull,
            };
            self.shared.counters.count(event);
        }
        drop(traffic);
        self.shared.paths.set_waits(peer, true);
    }

    /// The peer has come so far. What it needs no more does not leave.
    pub(super) fn peer_has(&mut self, peer: usize, has: u64) {
        let dropped = self.queues[peer].drop_needless(has);
        if dropped > 0 {
            self.shared.counters.add(NetEvent::Needless, dropped as u64);
            self.shared.paths.set_waits(peer, !self.queues[peer].is_empty());
        }
    }

    /// The path to `peer` carries no more than `length` bytes.
    pub(super) fn narrow(&mut self, peer: usize, length: usize) {
        self.shared.paths.traffic(peer).flow.forget();
        let dropped = self.queues[peer].narrow(length);
        self.shared.counters.add(NetEvent::LostOld, dropped as u64);
    }

    /// Sends what has waited for room, as far as there is some.
    pub(super) fn flush_queues(&mut self, now: u64) {
        for peer in 0..self.queues.len() {
            if self.queues[peer].is_empty() || !self.backlog.is_empty() {
                continue;
            }
            let dropped = self.queues[peer].drop_old(now);
            self.shared.counters.add(NetEvent::LostOld, dropped as u64);
            while self.flush_queue(peer, now) {}
            self.shared.paths.set_waits(peer, !self.queues[peer].is_empty());
        }
    }

    /// Sends one batch of what waits for `peer`, and returns whether there may be another.
    fn flush_queue(&mut self, peer: usize, now: u64) -> bool {
        let LoopSender { shared, queues, batch, .. } = self;
        let mut traffic = shared.paths.traffic(peer);
        shared.counters.add(NetEvent::LostOld, queues[peer].follow(&mut traffic) as u64);
        traffic.flow.poll(now);
        queues[peer].settle(now, &traffic.flow);
        let together = || shared.batches(C::Endpoint::of_peer(peer));
        batch.fill(now, &mut queues[peer], &mut traffic, together, C::stamp);
        drop(traffic);
        if batch.is_empty() {
            return false;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let (bytes, size) = batch.padded(C::pad);
        let to = C::Endpoint::of_peer(peer);
        if self.shared.muted.load(Ordering::SeqCst) {
            self.shared.counters.count(NetEvent::Muted);
        } else if let Some((index, _)) = self.shared.send(to, bytes, size).left {
            let left = Segments::cut(bytes, size).after(index);
            let (bytes, size) = (left.bytes().to_vec(), left.size());
            self.backlog.push_back(Waiting { to, bytes, size, exempt: false });
        }
        batch.clear();
        self.batch = batch;
        self.backlog.is_empty()
    }

    /// When there may be room for what waits, if nothing is heard before.
    pub(super) fn deadline(&self) -> Option<u64> {
        let next = |(peer, queue): (usize, &BulkQueue)| {
            Some(self.shared.paths.traffic(peer).flow.deadline(queue.next_bytes()?))
        };
        self.queues.iter().enumerate().filter_map(next).min()
    }

    pub(super) fn flush_backlog(&mut self) {
        while let Some(Waiting { to, bytes, size, exempt }) = self.backlog.front_mut() {
            let priority = Priority { exempt: *exempt, ..URGENT };
            let outcome = self.shared.transmit(*to, bytes, *size, priority);
            if let Some((index, _)) = outcome.left {
                // The datagrams before that one were sent, and must not be sent again.
                let gone = bytes.len() - Segments::cut(bytes, *size).after(index).bytes().len();
                bytes.drain(..gone);
                return;
            }
            self.backlog.pop_front();
        }
    }
}
