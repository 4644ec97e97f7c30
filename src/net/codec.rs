//! Joins [`frame`] and [`pack`](super::pack) to the package `datagrams`.

use super::frame::{self, Decoder, Identity};
use super::pack::Packer;
use super::{Endpoint, Incoming, Outgoing};
use crate::types::{Address, ClusterId, ReplicaId};
use datagrams::codec::{self, BodyKind, Codec, Opened, Protected, Sink};
use datagrams::counters::{Counters, DropReason};
use datagrams::path::receipt::Stamp;
use std::net::SocketAddr;
use std::sync::Arc;

impl codec::Endpoint for Endpoint {
    fn peer(self) -> Option<usize> {
        match self {
            Endpoint::Replica(id) => Some(id.index()),
            Endpoint::Stray(..) | Endpoint::Client(_) => None,
        }
    }

    fn of_peer(peer: usize) -> Self {
        Endpoint::Replica(ReplicaId(peer as u8))
    }

    fn address(self, peers: &[SocketAddr]) -> SocketAddr {
        match self {
            Endpoint::Replica(id) => peers[id.index()],
            Endpoint::Stray(_, address) | Endpoint::Client(address) => address.0,
        }
    }
}

impl Codec for Identity {
    type Endpoint = Endpoint;
    type Outgoing = Outgoing;
    type Incoming = Incoming;
    type Packer = Packer;
    type Decoder = Decoder;

    fn peers(&self) -> usize {
        self.rows
    }

    fn cluster(&self) -> Option<u64> {
        self.cluster.known().map(|cluster| cluster.0)
    }

    fn packer(&self) -> Packer {
        Packer::new(self.clone())
    }

    fn decoder(&self, counters: Arc<Counters>) -> Decoder {
        Decoder::new(self.clone(), counters)
    }

    fn begin(datagram: &mut Vec<u8>) {
        frame::begin(datagram);
    }

    fn seal(&self, to: Endpoint, cluster: u64, kind: BodyKind, datagram: &mut Vec<u8>) {
        frame::seal(self, to.party(), ClusterId(cluster), kind, 1, datagram);
    }

    fn pad(datagram: &mut [u8], sealed: usize) {
        frame::pad(datagram, sealed);
    }

    fn stamp(datagram: &mut [u8], stamp: Stamp) {
        frame::stamp(datagram, stamp);
    }

    fn protect(&self, to: Endpoint, datagrams: &mut [u8], size: usize) -> Protected {
        Identity::protect(self, to, datagrams, size)
    }

    fn bare_bytes(&self) -> usize {
        frame::HEADER_BYTES + self.guard.proof_bytes()
    }

    fn life(&self) -> u64 {
        self.boot.0
    }
}

impl codec::Pack<Identity> for Packer {
    fn add(&mut self, outgoing: &Outgoing, sink: &mut impl Sink<Endpoint>) {
        Packer::add(self, outgoing, sink);
    }

    fn flush(&mut self, sink: &mut impl Sink<Endpoint>) {
        Packer::flush(self, sink);
    }
}

impl codec::Decode<Identity> for Decoder {
    fn open<'a>(
        &mut self,
        from: SocketAddr,
        datagram: &'a [u8],
        into: &mut Vec<Incoming>,
    ) -> Result<Opened<'a, Endpoint>, DropReason> {
        Decoder::open(self, Address(from), datagram, into)
    }

    fn refusal(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        why: DropReason,
    ) -> Option<(Endpoint, BodyKind)> {
        Decoder::refusal(self, Address(from), datagram, why)
    }

    fn open_joined(
        &mut self,
        from: Endpoint,
        cluster: u64,
        message: &[u8],
        into: &mut Vec<Incoming>,
    ) -> Result<(), DropReason> {
        Decoder::open_joined(self, from, ClusterId(cluster), message, into)
    }
}
