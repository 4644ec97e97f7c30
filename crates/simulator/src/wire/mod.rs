//! The wire of a simulated process: it encodes, splits, joins and checks real frames.
//!
//! In some runs messages travel as real datagrams, through the codec and the fragments of
//! `net`, as long as each path carries and as many as it takes. There the network loses,
//! repeats and reorders datagrams. In the other runs the network carries whole messages, which
//! is much faster.

pub mod ledger;
mod paths;

use datagrams::batch::Batches;
use datagrams::codec::{
    ALWAYS_NEEDED, Body, BodyKind, Codec, Departure, Endpoint as _, Opened, Protected, Sink,
    probe_body,
};
use datagrams::counters::{Counters, NetEvent};
use datagrams::fragment::{Fragment, Fragmenter, Reassembler};
use datagrams::path::queue::Repeat;
use ledger::Seal;
use multipaxos::message::Party;
use multipaxos::net::frame::{self, ClusterCell, Decoder, Guard, Identity};
use multipaxos::net::pack::Packer;
use multipaxos::net::{Endpoint, Incoming, Outgoing};
use multipaxos::types::{Address, BootId, ClusterId, ReplicaId, Time};
use paths::Paths;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// Nobody knows of a fragment when its receiver needs it no more.
const FRAGMENT: Departure = Departure::WhenRoom { until: ALWAYS_NEEDED };

/// What one process sends in one turn.
pub type Frames = Vec<Leaving>;

/// Datagrams that a process hands to its kernel in one call.
#[derive(Debug)]
pub struct Leaving {
    /// The process that they are for.
    pub to: Endpoint,
    /// One behind the other.
    pub bytes: Vec<u8>,
    /// The bytes of each but the last.
    pub size: usize,
    /// Whether they test if batches arrive.
    pub probe: bool,
}

impl Leaving {
    /// A datagram alone.
    fn alone(to: Endpoint, bytes: Vec<u8>) -> Self {
        Leaving { to, size: bytes.len(), bytes, probe: false }
    }
}

/// The codec of one life.
#[derive(Debug)]
pub struct Wire {
    identity: Identity,
    packer: Packer,
    decoder: Decoder,
    fragmenter: Fragmenter,
    reassembler: Reassembler<Endpoint>,
    paths: Paths,
    counters: Arc<Counters>,
    batches: BatchNews,
    /// Of a run with keys.
    seal: Option<Seal>,
    /// The time of the timer event of [`Wire::poll`].
    pub timer_at: Option<Time>,
}

/// How often a process has changed its mind about batches.
#[derive(Debug, Default)]
pub struct BatchNews {
    /// It sent no more: to anybody, or to a peer for a while.
    pub distrusted: u64,
    /// It sent some again.
    pub again: u64,
    /// The peers whose batches were refused, as long as none is sent to them.
    refused: BTreeSet<usize>,
}

struct Gathered<'a> {
    now: u64,
    identity: &'a Identity,
    fragmenter: &'a mut Fragmenter,
    paths: &'a mut Paths,
    frames: &'a mut Frames,
    /// What waits for no room, by destination, until the turn is over.
    batches: Batches<Endpoint>,
    /// Whether another datagram follows.
    more: bool,
}

impl Sink<Endpoint> for Gathered<'_> {
    fn datagram(&mut self, to: Endpoint, frame: &mut [u8], departure: Departure) {
        let Gathered { now, paths, frames, batches, more, .. } = self;
        let gathers = departure.is_urgent() || to.peer().is_none();
        let batch = match *more && gathers && paths.batches(to) {
            true => batches.begin(to),
            false => batches.begun(to).filter(|_| gathers),
        };
        let Some(batch) = batch else {
            return paths.leave(*now, to, frame.to_vec(), departure, frames);
        };
        if !batch.push(frame, paths.length(to)) {
            let (bytes, size) = batch.padded(frame::pad);
            paths.leave_together(*now, to, bytes, size, frames);
            batch.clear();
        }
    }

    fn oversize(&mut self, to: Endpoint, cluster: u64, message: &[u8]) {
        let length = self.length(to);
        let Gathered { now, identity, fragmenter, paths, frames, .. } = self;
        fragmenter.split(length, cluster, message.to_vec(), |fragment| {
            let is_first = fragment.index == 0;
            let repeat = if is_first { Repeat::Always } else { Repeat::UnlessArrived };
            let frame = fragment_frame(identity, to, cluster, fragment);
            paths.leave_or_repeat(*now, to, frame, (FRAGMENT, repeat), frames);
        });
        if let Some(peer) = to.peer() {
            fragmenter.note_sent(*now, peer);
        }
    }

    fn length(&self, to: Endpoint) -> usize {
        self.paths.length(to)
    }
}

/// A datagram with this fragment.
fn fragment_frame(
    identity: &Identity,
    to: Endpoint,
    cluster: u64,
    fragment: Fragment<'_>,
) -> Vec<u8> {
    sealed_frame(identity, to, ClusterId(cluster), BodyKind::Fragment, |body| fragment.write(body))
}

/// A frame of any kind but messages.
fn sealed_frame(
    identity: &Identity,
    to: Endpoint,
    cluster: ClusterId,
    kind: BodyKind,
    write: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    write(&mut frame);
    frame::seal(identity, to.party(), cluster, kind, 1, &mut frame);
    frame
}

impl Wire {
    /// The codec of one life of `me`, with datagrams of at most `datagram_max` bytes.
    pub fn new(n: usize, me: Party, boot: BootId, datagram_max: usize) -> Self {
        Wire::sealed(n, me, boot, datagram_max, None)
    }

    /// The same in a run with keys, if it has any.
    pub fn sealed(
        n: usize,
        me: Party,
        boot: BootId,
        datagram_max: usize,
        seal: Option<&Seal>,
    ) -> Self {
        let keys = seal.map(|seal| seal.keys_of(me, boot.0));
        let guard = Guard::of(keys.as_ref(), n);
        let identity = Identity { n, rows: n, me, boot, cluster: ClusterCell::new(), guard };
        let counters = Arc::new(Counters::new());
        Wire {
            packer: Packer::new(identity.clone()),
            decoder: Decoder::new(identity.clone(), Arc::clone(&counters)),
            fragmenter: Fragmenter::new(Arc::clone(&counters)),
            reassembler: Reassembler::new(Arc::clone(&counters)),
            paths: Paths::new(n, boot.0, datagram_max, identity.bare_bytes()),
            identity,
            counters,
            batches: BatchNews::default(),
            seal: seal.cloned(),
            timer_at: None,
        }
    }

    /// The same on a kernel that takes batches.
    #[must_use]
    pub fn with_batches(mut self, takes: bool) -> Self {
        if takes {
            self.paths.with_batches();
        }
        self
    }

    /// The cluster's id is known from here on.
    pub fn start(&self, cluster: ClusterId) {
        self.identity.cluster.set(cluster);
    }

    /// Packs the messages that one turn sends. Some may wait for room.
    pub fn send(&mut self, now: Time, outgoing: &[Outgoing]) -> Frames {
        let mut frames = Vec::new();
        let mut sink = Gathered {
            now: now.0,
            identity: &self.identity,
            fragmenter: &mut self.fragmenter,
            paths: &mut self.paths,
            frames: &mut frames,
            batches: Batches::default(),
            more: true,
        };
        for message in outgoing {
            self.packer.add(message, &mut sink);
        }
        sink.more = false;
        self.packer.flush(&mut sink);
        let Gathered { mut batches, paths, frames: gathered, .. } = sink;
        if paths.trust.has() {
            batches.finish(frame::pad, |to, bytes, size, _| {
                paths.leave_together(now.0, to, bytes, size, gathered);
            });
            self.paths.flush(now.0, &mut frames);
        }
        self.protected(frames)
    }

    /// The last step before datagrams leave: proofs, and greetings where there is no session.
    fn protected(&self, frames: Frames) -> Frames {
        if !self.identity.guard.is_on() {
            return frames;
        }
        let mut leaving = Vec::with_capacity(frames.len());
        for mut frame in frames {
            let to = frame.to;
            let Protected { leaves, greeting } =
                self.identity.protect(to, &mut frame.bytes, frame.size);
            leaving.extend(greeting.map(|bytes| Leaving::alone(to, bytes)));
            if leaves {
                frame.bytes.chunks(frame.size).for_each(|datagram| self.note_sent(to, datagram));
                leaving.push(frame);
            }
        }
        leaving
    }

    fn note_sent(&self, to: Endpoint, datagram: &[u8]) {
        let handshakes = [BodyKind::Greeting, BodyKind::Ticket].map(|kind| kind as u8);
        if let Some(seal) = &self.seal
            && !handshakes.contains(&datagram[24])
        {
            seal.sent(to.party(), datagram);
        }
    }

    /// The kernel has taken a batch.
    pub fn batch_taken(&mut self, to: Endpoint) {
        if let Some(peer) = to.peer() {
            self.batches.again += u64::from(self.batches.refused.remove(&peer));
        }
    }

    /// The kernel has refused a batch of whose datagrams `passed` then passed one by one.
    pub fn batch_refused(&mut self, to: Endpoint, error: &io::Error, passed: usize) {
        if self.paths.trust.refused(to.peer(), error, passed) {
            self.batches.distrusted += 1;
            self.batches.refused.extend(to.peer());
        }
    }

    /// The kernel has refused a batch that was to test whether batches arrive.
    pub fn probe_refused(&mut self, to: Endpoint) {
        if let Some(peer) = to.peer() {
            self.paths.lengths[peer].batch_refused();
        }
    }

    /// How often the process of this life has changed its mind about batches.
    pub fn batch_news(&self) -> &BatchNews {
        &self.batches
    }

    /// The system has refused a datagram as too long.
    pub fn refused(&mut self, now: Time, to: ReplicaId, bytes: usize) {
        self.paths.lengths[to.index()].refused(now.0, bytes);
    }

    /// Opens a datagram. Returns its messages, and the datagrams to send at once.
    pub fn receive(&mut self, now: Time, from: Address, frame: &[u8]) -> (Vec<Incoming>, Frames) {
        let (mut incoming, mut frames) = (Vec::new(), Vec::new());
        let me = self.identity.me;
        let Ok(opened) = self.decoder.open(from, frame, &mut incoming) else {
            if let Some(seal) = &self.seal {
                seal.dropped(me, frame);
            }
            return (incoming, frames);
        };
        if let Opened { from: to, body: Body::Handshake(answers), .. } = opened {
            for bytes in answers {
                self.note_sent(to, &bytes);
                // To where it is configured, and to where its own came from.
                if let Endpoint::Replica(id) = to {
                    frames.push(Leaving::alone(Endpoint::Stray(id, from), bytes.clone()));
                }
                frames.push(Leaving::alone(to, bytes));
            }
            return (incoming, frames);
        }
        if let Some(seal) = &self.seal {
            seal.taken(me, frame);
        }
        self.paths.received(now.0, &opened, frame.len());
        let Opened { from, boot, cluster, body, .. } = opened;
        match body {
            Body::Messages | Body::Nothing | Body::Handshake(_) => {}
            Body::Fragment(fragment) => {
                if let Some(joined) = self.reassembler.insert(now.0, from, boot, cluster, fragment)
                {
                    let _ =
                        self.decoder.open_joined(from, ClusterId(cluster), &joined, &mut incoming);
                }
            }
            Body::Missing(missing) => {
                let Wire { identity, fragmenter, paths, .. } = self;
                let path = (from.peer(), paths.length(from));
                fragmenter.resend(now.0, path, &missing, |cluster, fragment| {
                    let frame = fragment_frame(identity, from, cluster, fragment);
                    paths.leave(now.0, from, frame, FRAGMENT, &mut frames);
                });
            }
            Body::Probe(id) => {
                let cluster = ClusterId(cluster);
                let answer =
                    sealed_frame(&self.identity, from, cluster, BodyKind::ProbeAnswer, |body| {
                        body.extend_from_slice(&probe_body(id));
                    });
                self.paths.leave(now.0, from, answer, Departure::Urgent, &mut frames);
            }
            Body::ProbeAnswer(id) => {
                if let Some(peer) = from.peer() {
                    self.paths.answered(now.0, peer, id);
                }
            }
        }
        self.paths.flush(now.0, &mut frames);
        (incoming, self.protected(frames))
    }

    /// Asks for missing fragments, probes paths, tells what has arrived, and sends what has
    /// waited, if it is time.
    pub fn poll(&mut self, now: Time) -> Frames {
        let mut frames = Vec::new();
        let Wire { identity, paths, reassembler, .. } = self;
        let trips: Vec<u64> = paths.round_trips_us().collect();
        let trip_us = |from: Endpoint| from.peer().map_or(0, |peer| trips[peer]);
        reassembler.poll(now.0, trip_us, |to, cluster, missing| {
            let cluster = ClusterId(cluster);
            let frame = sealed_frame(identity, to, cluster, BodyKind::Missing, |body| {
                missing.write(body);
            });
            paths.leave(now.0, to, frame, Departure::Urgent, &mut frames);
        });
        if let Some(cluster) = identity.cluster.known() {
            self.probe(now.0, cluster, &mut frames);
            self.paths.give_word(now.0, &self.identity, cluster, &mut frames);
        }
        self.paths.flush(now.0, &mut frames);
        self.protected(frames)
    }

    /// A replica has another address.
    pub fn moved(&mut self, peer: ReplicaId) {
        self.paths.moved(peer.index());
    }

    fn probe(&mut self, now: u64, cluster: ClusterId, frames: &mut Frames) {
        let mut vanished = Vec::new();
        for peer in 0..self.identity.n {
            let to = Endpoint::of_peer(peer);
            let before = self.paths.lengths[peer].length();
            let had_batches = self.paths.lengths[peer].batches();
            let probes = self.paths.poll_length(now, peer);
            let length = self.paths.lengths[peer].length();
            if had_batches && !self.paths.lengths[peer].batches() {
                vanished.push(peer);
            }
            if length < before {
                let Wire { identity, fragmenter, paths, .. } = self;
                paths.narrow(peer, length);
                fragmenter.send_narrowed(now, peer, length, |cluster, fragment| {
                    let frame = fragment_frame(identity, to, cluster, fragment);
                    paths.leave(now, to, frame, FRAGMENT, frames);
                });
            }
            for probe in probes {
                let both = probe.batch && self.paths.trust.has();
                let mut frame =
                    sealed_frame(&self.identity, to, cluster, BodyKind::Probe, |body| {
                        body.extend_from_slice(&probe_body(probe.id));
                    });
                let sealed = frame.len();
                frame.resize(probe.bytes.unwrap_or(sealed).max(sealed), 0);
                frame::pad(&mut frame, sealed);
                if both {
                    let size = frame.len();
                    self.paths.leave_together(now, to, &mut frame.repeat(2), size, frames);
                    frames.last_mut().expect("it leaves").probe = true;
                } else {
                    self.paths.probe(now, peer, frame, frames);
                }
            }
        }
        let Paths { trust, lengths, .. } = &mut self.paths;
        if trust.learn(lengths) {
            let BatchNews { distrusted, again, .. } = &mut self.batches;
            *(if trust.vanish(None) { distrusted } else { again }) += 1;
        }
        for peer in vanished {
            let Wire { identity, fragmenter, paths, .. } = self;
            let (to, length) = (Endpoint::of_peer(peer), paths.lengths[peer].length());
            paths.narrow(peer, length);
            fragmenter.send_vanished(now, peer, length, |cluster, fragment| {
                let frame = fragment_frame(identity, to, cluster, fragment);
                paths.leave(now, to, frame, FRAGMENT, frames);
            });
        }
    }

    /// The next time at which [`Wire::poll`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let paths = self.identity.cluster.known().and_then(|_| self.paths.deadline());
        paths.into_iter().chain(self.reassembler.deadline()).min().map(Time)
    }

    /// How often this event happened in this life.
    pub fn count(&self, event: NetEvent) -> u64 {
        self.counters.of(event)
    }
}
