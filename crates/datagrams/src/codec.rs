//! The part that a program supplies: the form of its datagrams, and its messages.
//!
//! A [`Codec`] makes a [`Pack`] for each sending thread and one [`Decode`] for the network
//! thread. The codec writes and reads the header in front of every datagram: sender, receiver,
//! the sender's boot id and cluster id, and the [`BodyKind`] of what follows. The codec reads
//! and writes the bodies of one kind, whole messages. This package reads and writes those of
//! all others.
//!
//! Boot ids and cluster ids are plain numbers here. A message that was split travels with
//! the cluster id that its codec named, and fragments are joined only if both numbers are
//! the same.

use crate::HEADER_BYTES;
use crate::counters::{Counters, DropReason};
use crate::fragment::{Fragment, Missing};
use crate::path::receipt::Stamp;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where a datagram goes to or came from: a peer, or a client. Shown, it is as a log names it.
pub trait Endpoint: Debug + Display + Copy + Eq + Hash + Send + 'static {
    /// The peer's number; none for a client.
    fn peer(self) -> Option<usize>;

    /// The peer with this number.
    fn of_peer(peer: usize) -> Self;

    /// Where it is reached, given the address of each peer.
    fn address(self, peers: &[SocketAddr]) -> SocketAddr;
}

/// What a datagram carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BodyKind {
    /// Whole messages.
    Messages = 1,
    /// A part of one message.
    Fragment = 2,
    /// A list of fragments that the sender misses.
    Missing = 3,
    /// A number, which the receiver sends back (see [`crate::path::length`]).
    Probe = 4,
    /// The number of a probe that has come.
    ProbeAnswer = 5,
    /// Nothing: the header says what has arrived.
    Nothing = 6,
    /// The codec's own: a process asks for a session.
    Greeting = 7,
    /// The codec's own: the answer to a greeting.
    Ticket = 8,
}

/// The body of a probe or of an answer to one.
pub fn probe_body(id: u32) -> [u8; 4] {
    id.to_le_bytes()
}

/// The number in the body of a probe or of an answer to one; none if it is anything else.
pub fn parse_probe(body: &[u8]) -> Option<u32> {
    body.try_into().map(u32::from_le_bytes).ok()
}

/// A datagram that passed every check.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a, E> {
    /// The sender.
    pub from: E,
    /// The sender's boot id.
    pub boot: u64,
    /// The cluster id that it travelled with.
    pub cluster: u64,
    /// What it says about the path.
    pub stamp: Stamp,
    /// How far the sender has come, if it says so: see [`Departure::WhenRoom`].
    pub has: Option<u64>,
    /// What it carried.
    pub body: Body<'a>,
}

/// What a datagram carried.
#[derive(Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Messages, which were appended to the caller's list.
    Messages,
    /// A part of a message.
    Fragment(Fragment<'a>),
    /// The pieces that a peer misses of a message that this process has sent.
    Missing(Missing),
    /// The number of a probe, which is to be sent back.
    Probe(u32),
    /// The number of a probe that this process has sent.
    ProbeAnswer(u32),
    /// Nothing but the header.
    Nothing,
    /// Something for the codec alone. These datagrams go back to the sender as they are.
    Handshake(Vec<Vec<u8>>),
}

/// The codec has been asked to protect some datagrams. This is what became of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// Whether they may leave. If not, they are lost, or the codec has kept them.
    pub leaves: bool,
    /// A datagram that should leave for the same receiver, as it is.
    pub greeting: Option<Vec<u8>>,
}

impl Protected {
    /// They leave.
    pub const LEAVES: Protected = Protected { leaves: true, greeting: None };
}

/// When a datagram may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// At once, whatever the path takes: it is short, or others wait for it.
    Urgent,
    /// When there is room on the path. A receiver that has come as far as `until` needs it no
    /// more (see [`Opened::has`]); [`ALWAYS_NEEDED`] if that never happens.
    WhenRoom {
        /// How far that is.
        until: u64,
    },
}

/// No receiver ever comes so far.
pub const ALWAYS_NEEDED: u64 = u64::MAX;

impl Departure {
    /// Of a datagram that is urgent, or else is needed `until` then.
    pub fn new(urgent: bool, until: u64) -> Self {
        if urgent { Departure::Urgent } else { Departure::WhenRoom { until } }
    }

    /// Whether it waits for no room.
    pub fn is_urgent(self) -> bool {
        self == Departure::Urgent
    }
}

/// Where packed datagrams go.
pub trait Sink<E> {
    /// A whole datagram.
    fn datagram(&mut self, to: E, datagram: &mut [u8], departure: Departure);

    /// An encoded message that fits no datagram, and the cluster id it must travel with.
    fn oversize(&mut self, to: E, cluster: u64, message: &[u8]);

    /// The most bytes of a datagram to `to` at present.
    fn length(&self, to: E) -> usize;
}

/// Packs the messages of one thread into datagrams.
pub trait Pack<C: Codec>: Debug + Send {
    /// Adds a message; a datagram that is full goes to `sink`.
    fn add(&mut self, outgoing: &C::Outgoing, sink: &mut impl Sink<C::Endpoint>);

    /// Hands every datagram that is begun to `sink`.
    fn flush(&mut self, sink: &mut impl Sink<C::Endpoint>);
}

/// Checks datagrams and decodes their messages, for one process.
pub trait Decode<C: Codec>: Debug + Send {
    /// Checks a datagram and appends its messages to `into`: all of them or none.
    ///
    /// # Errors
    ///
    /// The reason to drop it, already counted.
    fn open<'a>(
        &mut self,
        from: SocketAddr,
        datagram: &'a [u8],
        into: &mut Vec<C::Incoming>,
    ) -> Result<Opened<'a, C::Endpoint>, DropReason>;

    /// The process that should hear that `datagram` was dropped, if any. It gets a datagram of this
    /// kind without a body, which is never longer than `datagram`.
    fn refusal(
        &mut self,
        _from: SocketAddr,
        _datagram: &[u8],
        _why: DropReason,
    ) -> Option<(C::Endpoint, BodyKind)> {
        None
    }

    /// Takes bytes that were joined from fragments as one message.
    ///
    /// # Errors
    ///
    /// The reason to drop it, already counted.
    fn open_joined(
        &mut self,
        from: C::Endpoint,
        cluster: u64,
        message: &[u8],
        into: &mut Vec<C::Incoming>,
    ) -> Result<(), DropReason>;
}

/// The form of a process's datagrams, and its messages.
pub trait Codec: Debug + Clone + Send + Sync + 'static {
    /// A sender or receiver.
    type Endpoint: Endpoint;
    /// A message on its way out of this process.
    type Outgoing;
    /// A message that has arrived, checked and whole.
    type Incoming: Debug + Send;
    /// See [`Pack`].
    type Packer: Pack<Self>;
    /// See [`Decode`].
    type Decoder: Decode<Self>;

    /// How many peers there are, this process included if it is one.
    fn peers(&self) -> usize;

    /// The cluster id, once it is known. Nothing but messages is sent before.
    fn cluster(&self) -> Option<u64>;

    /// A packer for one thread.
    fn packer(&self) -> Self::Packer;

    /// The decoder of this process.
    fn decoder(&self, counters: Arc<Counters>) -> Self::Decoder;

    /// Empties `datagram` and leaves room for the header.
    fn begin(datagram: &mut Vec<u8>);

    /// Completes a datagram that was begun and holds the body of a fragment or of a
    /// request for fragments.
    fn seal(&self, to: Self::Endpoint, cluster: u64, kind: BodyKind, datagram: &mut Vec<u8>);

    /// Corrects the header of a datagram that was sealed with `sealed` bytes and has been
    /// lengthened with zeros since.
    fn pad(datagram: &mut [u8], sealed: usize);

    /// Writes what a sealed datagram says about the path, and corrects its header.
    fn stamp(datagram: &mut [u8], stamp: Stamp);

    /// The last that is done with sealed and stamped datagrams to `to`, of which each but the last
    /// has `size` bytes, before they leave. It may be done again, if the socket does not take them.
    fn protect(&self, _to: Self::Endpoint, _datagrams: &mut [u8], _size: usize) -> Protected {
        Protected::LEAVES
    }

    /// The bytes of a sealed datagram without a body: at least [`HEADER_BYTES`], at most
    /// [`OVERHEAD_BYTES`](crate::OVERHEAD_BYTES).
    fn bare_bytes(&self) -> usize {
        HEADER_BYTES
    }

    /// A number for this life of the process, which no other life is likely to have.
    fn life(&self) -> u64;
}
