//! A codec as small as can be, for the tests of this package.
//!
//! A message is a number and some filler. A header has the length of the body, the sender,
//! and the kind of body. Padding must be zeros and a check covers it, as in every codec.

use crate::HEADER_BYTES;
use crate::codec::{
    Body, BodyKind, Codec, Decode, Departure, Endpoint, Opened, Pack, Sink, parse_probe,
};
use crate::counters::{Counters, DropReason};
use crate::fragment::{Fragment, Missing};
use crate::path::PATH_BYTES_IPV4;
use crate::path::receipt::{STAMP_BYTES, Stamp};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The bytes of a message without filler.
pub(crate) const MESSAGE_BYTES: usize = 12;

/// A sender or receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum End {
    Peer(u8),
    Client(SocketAddr),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Peer(id) => write!(f, "peer {id}"),
            End::Client(address) => write!(f, "the client at {address}"),
        }
    }
}

impl Endpoint for End {
    fn peer(self) -> Option<usize> {
        match self {
            End::Peer(id) => Some(usize::from(id)),
            End::Client(_) => None,
        }
    }

    fn of_peer(peer: usize) -> Self {
        End::Peer(peer as u8)
    }

    fn address(self, peers: &[SocketAddr]) -> SocketAddr {
        match self {
            End::Peer(id) => peers[usize::from(id)],
            End::Client(address) => address,
        }
    }
}

/// The sender of a client's datagram.
const CLIENT: u8 = 255;

/// A number, and how many bytes of filler follow it.
pub(crate) type Message = (u64, u32);

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) to: End,
    pub(crate) message: Message,
}

/// The codec of the peer `me` of `n`.
#[derive(Debug, Clone)]
pub(crate) struct Toy {
    pub(crate) n: usize,
    pub(crate) me: u8,
    pub(crate) cluster: Option<u64>,
    /// When its messages may leave.
    pub(crate) departure: Departure,
}

fn write((number, filler): Message, into: &mut Vec<u8>) {
    into.extend_from_slice(&number.to_le_bytes());
    into.extend_from_slice(&filler.to_le_bytes());
    into.resize(into.len() + filler as usize, 0xAB);
}

fn read(mut body: &[u8]) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let (number, rest) = body.split_first_chunk::<8>()?;
        let (filler, rest) = rest.split_first_chunk::<4>()?;
        let filler = u32::from_le_bytes(*filler);
        messages.push((u64::from_le_bytes(*number), filler));
        body = rest.get(filler as usize..)?;
    }
    Some(messages)
}

fn seal(me: u8, kind: BodyKind, datagram: &mut [u8]) {
    let body = (datagram.len() - HEADER_BYTES) as u32;
    datagram[8..12].copy_from_slice(&body.to_le_bytes());
    (datagram[12], datagram[13]) = (me, kind as u8);
    check(datagram);
}

fn check(datagram: &mut [u8]) {
    let check = xxh3_64(&datagram[8..]);
    datagram[..8].copy_from_slice(&check.to_le_bytes());
}

const AT_STAMP: usize = HEADER_BYTES - STAMP_BYTES;

fn stamp_of(datagram: &[u8]) -> Stamp {
    Stamp::from_bytes(datagram[AT_STAMP..].first_chunk().expect("a header"))
}

/// See [`Codec::pad`].
pub(crate) fn pad(datagram: &mut [u8], sealed: usize) {
    assert!(datagram[sealed..].iter().all(|&byte| byte == 0), "padded with zeros");
    check(datagram);
}

/// A datagram of peer 0 with these messages.
pub(crate) fn datagram(messages: &[Message]) -> Vec<u8> {
    datagram_of(0, messages)
}

/// A datagram of a client.
pub(crate) fn of_client(message: Message) -> Vec<u8> {
    datagram_of(CLIENT, &[message])
}

fn datagram_of(sender: u8, messages: &[Message]) -> Vec<u8> {
    let mut datagram = vec![0; HEADER_BYTES];
    messages.iter().for_each(|message| write(*message, &mut datagram));
    seal(sender, BodyKind::Messages, &mut datagram);
    datagram
}

/// The sender, the kind and the body of a datagram that was padded rightly.
fn opened(datagram: &[u8]) -> (u8, u8, &[u8]) {
    assert_eq!(datagram[..8], xxh3_64(&datagram[8..]).to_le_bytes(), "the check is right");
    let body = u32::from_le_bytes(*datagram[8..].first_chunk().expect("a header")) as usize;
    (datagram[12], datagram[13], &datagram[HEADER_BYTES..HEADER_BYTES + body])
}

/// The messages of a datagram.
pub(crate) fn messages(datagram: &[u8]) -> Vec<Message> {
    read(opened(datagram).2).expect("messages")
}

#[derive(Debug)]
pub(crate) struct ToyPacker {
    me: u8,
    departure: Departure,
    begun: Vec<(End, Vec<u8>)>,
}

impl Pack<Toy> for ToyPacker {
    fn add(&mut self, outgoing: &Outgoing, sink: &mut impl Sink<End>) {
        let Outgoing { to, message } = *outgoing;
        let mut bytes = Vec::new();
        write(message, &mut bytes);
        let most = sink.length(to);
        if HEADER_BYTES + bytes.len() > most {
            return sink.oversize(to, 1, &bytes);
        }
        let begun = self.begun.iter_mut().find(|(other, _)| *other == to);
        match begun {
            Some((_, datagram)) if datagram.len() + bytes.len() <= most => {
                datagram.extend_from_slice(&bytes);
            }
            Some((_, datagram)) => {
                seal(self.me, BodyKind::Messages, datagram);
                sink.datagram(to, datagram, self.departure);
                datagram.truncate(HEADER_BYTES);
                datagram.extend_from_slice(&bytes);
            }
            None => {
                let mut datagram = vec![0; HEADER_BYTES];
                datagram.extend_from_slice(&bytes);
                self.begun.push((to, datagram));
            }
        }
    }

    fn flush(&mut self, sink: &mut impl Sink<End>) {
        for (to, mut datagram) in self.begun.drain(..) {
            seal(self.me, BodyKind::Messages, &mut datagram);
            sink.datagram(to, &mut datagram, self.departure);
        }
    }
}

#[derive(Debug)]
pub(crate) struct ToyDecoder;

impl Decode<Toy> for ToyDecoder {
    fn open<'a>(
        &mut self,
        source: SocketAddr,
        datagram: &'a [u8],
        into: &mut Vec<Message>,
    ) -> Result<Opened<'a, End>, DropReason> {
        // All that a test sends wrong is short.
        if datagram.len() < HEADER_BYTES {
            return Err(DropReason::Length);
        }
        let (from, kind, body) = opened(datagram);
        let from = if from == CLIENT { End::Client(source) } else { End::Peer(from) };
        let body = match kind {
            1 => {
                into.extend(read(body).ok_or(DropReason::Body)?);
                Body::Messages
            }
            2 => Body::Fragment(Fragment::parse(body).ok_or(DropReason::Fragment)?),
            3 => Body::Missing(Missing::parse(body).ok_or(DropReason::Fragment)?),
            4 => Body::Probe(parse_probe(body).ok_or(DropReason::Body)?),
            6 => Body::Nothing,
            _ => Body::ProbeAnswer(parse_probe(body).ok_or(DropReason::Body)?),
        };
        Ok(Opened { from, boot: 1, cluster: 1, stamp: stamp_of(datagram), has: None, body })
    }

    fn open_joined(
        &mut self,
        _: End,
        _: u64,
        message: &[u8],
        into: &mut Vec<Message>,
    ) -> Result<(), DropReason> {
        into.extend(read(message).ok_or(DropReason::Body)?);
        Ok(())
    }
}

impl Codec for Toy {
    type Endpoint = End;
    type Outgoing = Outgoing;
    type Incoming = Message;
    type Packer = ToyPacker;
    type Decoder = ToyDecoder;

    fn peers(&self) -> usize {
        self.n
    }

    fn cluster(&self) -> Option<u64> {
        self.cluster
    }

    fn packer(&self) -> ToyPacker {
        ToyPacker { me: self.me, departure: self.departure, begun: Vec::new() }
    }

    fn decoder(&self, _: Arc<Counters>) -> ToyDecoder {
        ToyDecoder
    }

    fn begin(datagram: &mut Vec<u8>) {
        datagram.clear();
        datagram.resize(HEADER_BYTES, 0);
    }

    fn seal(&self, _: End, _: u64, kind: BodyKind, datagram: &mut Vec<u8>) {
        seal(self.me, kind, datagram);
    }

    fn pad(datagram: &mut [u8], sealed: usize) {
        pad(datagram, sealed);
    }

    fn stamp(datagram: &mut [u8], stamp: Stamp) {
        datagram[AT_STAMP..HEADER_BYTES].copy_from_slice(&stamp.to_bytes());
        check(datagram);
    }

    fn life(&self) -> u64 {
        7
    }
}

/// How many messages without filler fill a datagram on a path about which nothing is known.
pub(crate) const MESSAGES_PER_DATAGRAM: usize = (PATH_BYTES_IPV4 - HEADER_BYTES) / MESSAGE_BYTES;
