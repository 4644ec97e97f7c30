//! Sending for the loop itself: fragments, requests for them, probes, and what waits for a
//! socket that would block.

use super::BACKLOG_MAX;
use crate::batch::{Batch, Segments};
use crate::codec::{BodyKind, Codec, Endpoint, probe_body};
use crate::counters::NetEvent;
use crate::fragment::{FRAGMENT_HEADER_BYTES, Fragment, Missing};
use crate::loss::Gate;
use crate::outlet::Shared;
use crate::path::length::Probe;
use std::collections::VecDeque;
use std::sync::Arc;

/// Sends for the loop itself.
#[derive(Debug)]
pub(super) struct LoopSender<C: Codec> {
    pub(super) shared: Arc<Shared<C>>,
    pub(super) gate: Gate,
    /// Datagrams that have passed the gate, and on which the socket would have blocked.
    pub(super) backlog: VecDeque<Waiting<C::Endpoint>>,
    pub(super) frame: Vec<u8>,
    /// Fragments to one destination, until [`LoopSender::flush_fragments`].
    pub(super) batch: Batch,
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
    pub(super) fn fragment(
        &mut self,
        to: C::Endpoint,
        cluster: u64,
        fragment: Fragment<'_>,
        exempt: bool,
    ) {
        C::begin(&mut self.frame);
        self.frame.reserve(FRAGMENT_HEADER_BYTES + fragment.bytes.len());
        fragment.write(&mut self.frame);
        if self.seal(to, cluster, BodyKind::Fragment) {
            let more = self.batch.push(&self.frame, self.shared.length(to));
            if !more || !self.shared.offload.batches(to.peer()) {
                self.flush_fragments(to, exempt);
            }
        }
    }

    /// Sends the fragments that are gathered; all of them are for `to`.
    pub(super) fn flush_fragments(&mut self, to: C::Endpoint, exempt: bool) {
        if !self.batch.is_empty() {
            let mut batch = std::mem::take(&mut self.batch);
            self.transmit(to, batch.segments(C::pad), exempt);
            batch.clear();
            self.batch = batch;
        }
    }

    pub(super) fn missing(&mut self, to: C::Endpoint, cluster: u64, missing: &Missing) {
        C::begin(&mut self.frame);
        missing.write(&mut self.frame);
        if self.seal(to, cluster, BodyKind::Missing) {
            let frame = std::mem::take(&mut self.frame);
            self.transmit(to, Segments::one(&frame), false);
            self.frame = frame;
        }
    }

    /// Sends a probe: alone, or twice in one batch.
    pub(super) fn probe(&mut self, to: C::Endpoint, cluster: u64, probe: Probe) {
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
        let frame = std::mem::take(&mut self.frame);
        match passed {
            0 => {}
            // If the gate lost one of the two, a batch of one must do.
            _ if probe.batch => self.shared.transmit_batch(to, &frame, passed),
            _ => self.transmit(to, Segments::one(&frame), false),
        }
        self.frame = frame;
    }

    pub(super) fn probe_answer(&mut self, to: C::Endpoint, cluster: u64, id: u32) {
        C::begin(&mut self.frame);
        self.frame.extend_from_slice(&probe_body(id));
        if self.seal(to, cluster, BodyKind::ProbeAnswer) {
            let frame = std::mem::take(&mut self.frame);
            self.transmit(to, Segments::one(&frame), false);
            self.frame = frame;
        }
    }

    /// Sends a header without a body, which says that a datagram was dropped.
    pub(super) fn refusal(&mut self, to: C::Endpoint) {
        C::begin(&mut self.frame);
        if self.seal(to, 0, BodyKind::Messages) {
            let frame = std::mem::take(&mut self.frame);
            self.transmit(to, Segments::one(&frame), false);
            self.frame = frame;
        }
    }

    /// Completes the datagram; returns whether it passes the gate.
    fn seal(&mut self, to: C::Endpoint, cluster: u64, kind: BodyKind) -> bool {
        self.shared.codec.seal(to, cluster, kind, &mut self.frame);
        let passes = self.gate.passes();
        if !passes {
            self.shared.counters.count(NetEvent::LostByGate);
        }
        passes
    }

    pub(super) fn transmit(&mut self, to: C::Endpoint, segments: Segments<'_>, exempt: bool) {
        let blocked = match self.backlog.is_empty() {
            true => self.shared.transmit(to, segments, exempt).blocked,
            false => Some(0),
        };
        let Some(index) = blocked else { return };
        let left = segments.after(index);
        if self.backlog.len() == BACKLOG_MAX {
            return self.shared.counters.add(NetEvent::LostQueueFull, left.count() as u64);
        }
        let (bytes, size) = (left.bytes().to_vec(), left.size());
        self.backlog.push_back(Waiting { to, bytes, size, exempt });
    }

    pub(super) fn flush_backlog(&mut self) {
        while let Some(Waiting { to, bytes, size, exempt }) = self.backlog.front_mut() {
            let segments = Segments::cut(bytes, *size);
            if let Some(index) = self.shared.transmit(*to, segments, *exempt).blocked {
                // The datagrams before that one were sent, and must not be sent again.
                let gone = bytes.len() - segments.after(index).bytes().len();
                bytes.drain(..gone);
                return;
            }
            self.backlog.pop_front();
        }
    }
}
