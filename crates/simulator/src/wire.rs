//! The wire of a simulated process: it encodes, splits, joins and checks real frames.
//!
//! In some runs messages travel as real datagrams, through the codec and the fragments of
//! `net`. There the network loses, repeats and reorders datagrams. In the other runs the
//! network carries whole messages, which is much faster.

use datagrams::codec::{BodyKind, Opened, Sink};
use datagrams::counters::{Counters, NetEvent};
use datagrams::fragment::{FRAGMENT_HEADER_BYTES, Fragment, Fragmenter, Missing, Reassembler};
use multipaxos::message::Party;
use multipaxos::net::frame::{self, ClusterCell, Decoder, Identity};
use multipaxos::net::pack::Packer;
use multipaxos::net::{Endpoint, Incoming, Outgoing};
use multipaxos::types::{Address, BootId, ClusterId, Time};
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
    counters: Arc<Counters>,
    /// The time of the timer event for missing fragments.
    pub timer_at: Option<Time>,
}

struct Gathered<'a> {
    identity: &'a Identity,
    fragmenter: &'a mut Fragmenter,
    frames: &'a mut Frames,
}

impl Sink<Endpoint> for Gathered<'_> {
    fn datagram(&mut self, to: Endpoint, frame: &[u8]) {
        self.frames.push((to, frame.to_vec()));
    }

    fn oversize(&mut self, to: Endpoint, cluster: u64, message: &[u8]) {
        let (identity, frames) = (self.identity, &mut *self.frames);
        self.fragmenter.split(cluster, message.to_vec(), |fragment| {
            frames.push((to, fragment_frame(identity, to, cluster, fragment)));
        });
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

impl Wire {
    /// The codec of one life of `me`, with datagrams of at most `datagram_max` bytes.
    pub fn new(n: usize, me: Party, boot: BootId, datagram_max: usize) -> Self {
        let identity = Identity { n, me, boot, cluster: ClusterCell::new() };
        let counters = Arc::new(Counters::new());
        Wire {
            packer: Packer::new(identity.clone(), datagram_max),
            decoder: Decoder::new(identity.clone(), Arc::clone(&counters)),
            fragmenter: Fragmenter::new(datagram_max, Arc::clone(&counters)),
            reassembler: Reassembler::new(Arc::clone(&counters)),
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
            frames: &mut frames,
        };
        for message in outgoing {
            self.packer.add(message, &mut sink);
        }
        self.packer.flush(&mut sink);
        frames
    }

    /// Opens a datagram. Returns its messages, and the datagrams to send in answer at once.
    pub fn receive(&mut self, now: Time, from: Address, frame: &[u8]) -> (Vec<Incoming>, Frames) {
        let (mut incoming, mut frames) = (Vec::new(), Vec::new());
        match self.decoder.open(from, frame, &mut incoming) {
            Err(_) | Ok(Opened::Messages) => {}
            Ok(Opened::Fragment { from, boot, cluster, fragment }) => {
                if let Some(joined) = self.reassembler.insert(now.0, from, boot, cluster, fragment)
                {
                    let _ =
                        self.decoder.open_joined(from, ClusterId(cluster), &joined, &mut incoming);
                }
            }
            Ok(Opened::Missing { from, missing }) => {
                let (identity, to) = (&self.identity, from);
                self.fragmenter.resend(&missing, |cluster, fragment| {
                    frames.push((to, fragment_frame(identity, to, cluster, fragment)));
                });
            }
        }
        (incoming, frames)
    }

    /// Asks for missing fragments, if it is time.
    pub fn poll(&mut self, now: Time) -> Frames {
        let mut frames = Vec::new();
        let identity = &self.identity;
        self.reassembler.poll(now.0, |to, cluster, missing| {
            frames.push((to, missing_frame(identity, to, cluster, &missing)));
        });
        frames
    }

    /// The next time at which [`Wire::poll`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        self.reassembler.deadline().map(Time)
    }

    /// How often this event happened in this life.
    pub fn count(&self, event: NetEvent) -> u64 {
        self.counters.of(event)
    }
}
