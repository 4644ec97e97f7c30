//! The wire of a simulated process: it encodes, splits, joins and checks real frames.
//!
//! In some runs messages travel as real datagrams, through the codec and the fragments of
//! `net`, and as long as the path to each replica carries. There the network loses, repeats and reorders datagrams. In the other runs the
//! network carries whole messages, which is much faster.

use datagrams::codec::{Body, BodyKind, Endpoint as _, Opened, Sink, probe_body};
use datagrams::counters::{Counters, NetEvent};
use datagrams::fragment::{FRAGMENT_HEADER_BYTES, Fragment, Fragmenter, Missing, Reassembler};
use datagrams::path::length::{PathLength, Use};
use datagrams::path::{PATH_BYTES_IPV4, PATH_BYTES_MIN};
use multipaxos::message::Party;
use multipaxos::net::frame::{self, ClusterCell, Decoder, Identity};
use multipaxos::net::pack::Packer;
use multipaxos::net::{Endpoint, Incoming, Outgoing};
use multipaxos::types::{Address, BootId, ClusterId, ReplicaId, Time};
use std::sync::Arc;

/// Datagrams that one process sends.
pub type Frames = Vec<(Endpoint, Vec<u8>)>;

/// The codec of one life.
#[derive(Debug)]
pub struct Wire {
    identity: Identity,
    packer: Packer,
    decoder: Decoder,
    fragmenter: Fragmenter,
    reassembler: Reassembler<Endpoint>,
    /// The paths to the replicas, by id.
    paths: Vec<PathLength>,
    /// The most bytes of a datagram to a client.
    client_bytes: usize,
    counters: Arc<Counters>,
    /// The time of the timer event for missing fragments and probes.
    pub timer_at: Option<Time>,
}

struct Gathered<'a> {
    identity: &'a Identity,
    fragmenter: &'a mut Fragmenter,
    paths: &'a mut [PathLength],
    client_bytes: usize,
    frames: &'a mut Frames,
}

impl Sink<Endpoint> for Gathered<'_> {
    fn datagram(&mut self, to: Endpoint, frame: &[u8]) {
        note_use(self.paths, to, frame.len());
        self.frames.push((to, frame.to_vec()));
    }

    fn oversize(&mut self, to: Endpoint, cluster: u64, message: &[u8]) {
        let length = self.length(to);
        note_use(self.paths, to, length);
        let (identity, frames) = (self.identity, &mut *self.frames);
        self.fragmenter.split(length, cluster, message.to_vec(), |fragment| {
            frames.push((to, fragment_frame(identity, to, cluster, fragment)));
        });
    }

    fn length(&self, to: Endpoint) -> usize {
        length_to(self.paths, self.client_bytes, to)
    }
}

/// The most bytes of a datagram to `to` at present.
fn length_to(paths: &[PathLength], client_bytes: usize, to: Endpoint) -> usize {
    to.peer().map_or(client_bytes, |peer| paths[peer].length())
}

fn note_use(paths: &mut [PathLength], to: Endpoint, bytes: usize) {
    if let Some(peer) = to.peer() {
        paths[peer].used(Use { long: bytes > PATH_BYTES_MIN, batch: false });
    }
}

fn fragment_frame(
    identity: &Identity,
    to: Endpoint,
    cluster: u64,
    fragment: Fragment<'_>,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAGMENT_HEADER_BYTES + fragment.bytes.len());
    frame::begin(&mut bytes);
    fragment.write(&mut bytes);
    frame::seal(identity, to.party(), ClusterId(cluster), BodyKind::Fragment, 1, &mut bytes);
    bytes
}

fn missing_frame(identity: &Identity, to: Endpoint, cluster: u64, missing: &Missing) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::begin(&mut bytes);
    missing.write(&mut bytes);
    frame::seal(identity, to.party(), ClusterId(cluster), BodyKind::Missing, 1, &mut bytes);
    bytes
}

/// A frame with the number of a probe, and padded to so many bytes if it is to be longer.
fn probe_frame(
    identity: &Identity,
    to: Endpoint,
    cluster: u64,
    (kind, id): (BodyKind, u32),
    bytes: Option<usize>,
) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    frame.extend_from_slice(&probe_body(id));
    frame::seal(identity, to.party(), ClusterId(cluster), kind, 1, &mut frame);
    let sealed = frame.len();
    if let Some(bytes) = bytes
        && bytes > sealed
    {
        frame.resize(bytes, 0);
        frame::pad(&mut frame, sealed);
    }
    frame
}

impl Wire {
    /// The codec of one life of `me`, with datagrams of at most `datagram_max` bytes.
    pub fn new(n: usize, me: Party, boot: BootId, datagram_max: usize) -> Self {
        let identity = Identity { n, me, boot, cluster: ClusterCell::new() };
        let counters = Arc::new(Counters::new());
        Wire {
            packer: Packer::new(identity.clone()),
            decoder: Decoder::new(identity.clone(), Arc::clone(&counters)),
            fragmenter: Fragmenter::new(Arc::clone(&counters)),
            reassembler: Reassembler::new(Arc::clone(&counters)),
            paths: vec![PathLength::new(PATH_BYTES_IPV4, datagram_max); n],
            client_bytes: PATH_BYTES_IPV4.min(datagram_max),
            identity,
            counters,
            timer_at: None,
        }
    }

    /// The cluster's id is known from here on.
    pub fn start(&self, cluster: ClusterId) {
        self.identity.cluster.set(cluster);
    }

    /// Packs the messages that one turn sends.
    pub fn send(&mut self, outgoing: &[Outgoing]) -> Frames {
        let mut frames = Vec::new();
        let mut sink = Gathered {
            identity: &self.identity,
            fragmenter: &mut self.fragmenter,
            paths: &mut self.paths,
            client_bytes: self.client_bytes,
            frames: &mut frames,
        };
        for message in outgoing {
            self.packer.add(message, &mut sink);
        }
        self.packer.flush(&mut sink);
        frames
    }

    /// The system has refused a datagram as too long.
    pub fn refused(&mut self, now: Time, to: ReplicaId, bytes: usize) {
        self.paths[to.index()].refused(now.0, bytes);
    }

    /// Opens a datagram. Returns its messages, and the datagrams to send in answer at once.
    pub fn receive(&mut self, now: Time, from: Address, frame: &[u8]) -> (Vec<Incoming>, Frames) {
        let (mut incoming, mut frames) = (Vec::new(), Vec::new());
        let Ok(opened) = self.decoder.open(from, frame, &mut incoming) else {
            return (incoming, frames);
        };
        let Opened { from, boot, cluster, body } = opened;
        if let Some(peer) = from.peer() {
            self.paths[peer].heard();
        }
        match body {
            Body::Messages => {}
            Body::Fragment(fragment) => {
                if let Some(joined) = self.reassembler.insert(now.0, from, boot, cluster, fragment)
                {
                    let _ =
                        self.decoder.open_joined(from, ClusterId(cluster), &joined, &mut incoming);
                }
            }
            Body::Missing(missing) => {
                let (identity, to) = (&self.identity, from);
                let length = length_to(&self.paths, self.client_bytes, to);
                self.fragmenter.resend(length, &missing, |cluster, fragment| {
                    frames.push((to, fragment_frame(identity, to, cluster, fragment)));
                });
            }
            Body::Probe(id) => {
                let answer = (BodyKind::ProbeAnswer, id);
                frames.push((from, probe_frame(&self.identity, from, cluster, answer, None)));
            }
            Body::ProbeAnswer(id) => {
                if let Some(peer) = from.peer() {
                    self.paths[peer].answered(now.0, id);
                }
            }
        }
        (incoming, frames)
    }

    /// Asks for missing fragments and probes paths, if it is time.
    pub fn poll(&mut self, now: Time) -> Frames {
        let mut frames = Vec::new();
        let identity = &self.identity;
        self.reassembler.poll(now.0, |to, cluster, missing| {
            frames.push((to, missing_frame(identity, to, cluster, &missing)));
        });
        if let Some(cluster) = self.identity.cluster.known() {
            for (peer, path) in self.paths.iter_mut().enumerate() {
                let to = Endpoint::of_peer(peer);
                path.poll(now.0, |probe| {
                    let question = (BodyKind::Probe, probe.id);
                    let frame = probe_frame(identity, to, cluster.0, question, probe.bytes);
                    frames.push((to, frame));
                });
            }
        }
        frames
    }

    /// The next time at which [`Wire::poll`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let probes = self.identity.cluster.known().map(|_| &self.paths).into_iter().flatten();
        let deadlines = probes.filter_map(PathLength::deadline);
        deadlines.chain(self.reassembler.deadline()).min().map(Time)
    }

    /// How often this event happened in this life.
    pub fn count(&self, event: NetEvent) -> u64 {
        self.counters.of(event)
    }
}
