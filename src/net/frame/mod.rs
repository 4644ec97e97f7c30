//! The frame of every datagram: its fields, and every check that it must pass.
//! (Rules W1, W3 and W4 of docs/protocol.md.)
//!
//! ```text
//!  offset  bytes  little-endian
//!       0      4  magic
//!       4      1  version
//!       5      1  n, the number of replicas in the sender's configuration
//!       6      1  sender: a replica's id, or 255 for a client
//!       7      1  receiver: likewise
//!       8      8  cluster id, 0 for "not known yet"
//!      16      8  boot id of the sender
//!      24      1  kind of body: messages, a fragment, missing fragments
//!      25      2  bytes of body
//!      27      4  CRC-32 of everything before and after this field
//!      31      …  body, and behind it zeros: padding
//! ```
//!
//! A body of messages is one postcard message after the other, to the last byte. Sender
//! and receiver determine the type of the messages: replica to replica, client to
//! replica, or replica to client. A frame that fails any check is counted under its
//! reason and dropped whole. Until then the decoder allocates no more than one list of
//! bounded size.
//!
//! **Padding.** Frames that leave in one system call are equally long (`batch`), and a
//! client's frames have a least size. So zeros may follow any body, and nothing but
//! zeros. The check covers them.
//!
//! **Clusters.** Warm-up ([`Message::Bootstrap`]) and a client's hello always travel
//! with cluster 0, alone in their frame, and nothing else may. Every other message carries
//! the sender's cluster, and only members of the same cluster take it. A client learns
//! its cluster from the first frame that holds an [`Answer::Welcome`].
//!
//! **Clients are strangers**, and a datagram's source address is easily forged. So
//! a frame from a client must be at least as large as any answer to it could be
//! ([`CLIENT_MESSAGE_BYTES_MIN`] per message, with padding); a smaller one is dropped. A
//! forger therefore cannot make a replica send more to a third party than the forger
//! sends itself.

use super::answer::AnswerOnWire;
use super::{DATAGRAM_BYTES_MAX, Endpoint, Incoming};
use crate::message::{Answer, ClientMessage, Message, Party, Request, ToProposer};
use crate::types::{Address, BootId, ClusterId, REPLICAS_MAX, ReplicaId, Slot};
use crate::values::Builder;
use datagrams::boots::{BootStatus, Boots};
use datagrams::codec::{BodyKind, Opened};
use datagrams::counters::{Counters, DropReason, NetEvent};
use datagrams::fragment::{Fragment, Missing};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first bytes of every datagram of this program.
pub const MAGIC: [u8; 4] = *b"mPxL";

/// The version of the format. A receiver takes no other.
pub const VERSION: u8 = 1;

pub use datagrams::HEADER_BYTES;

/// The least bytes of a client's frame for each message in it, padding included: more than
/// the longest [`Answer`], which a test shows.
pub const CLIENT_MESSAGE_BYTES_MIN: usize = datagrams::CLIENT_BODY_BYTES_MIN;

/// The byte that names a client in a header.
const CLIENT: u8 = 0xFF;

const AT_BODY_LENGTH: usize = 25;
const AT_CHECK: usize = 27;

/// The cluster id, once it is known: shared by all threads of a process.
#[derive(Debug, Clone, Default)]
pub struct ClusterCell(Arc<AtomicU64>);

impl ClusterCell {
    /// A cell without a cluster id.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cluster id, if it is known.
    pub fn known(&self) -> Option<ClusterId> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            id => Some(ClusterId(id)),
        }
    }

    /// Sets the cluster id.
    ///
    /// # Panics
    ///
    /// If `cluster` is [`ClusterId::NONE`], or if another id is known: a process never
    /// changes its cluster.
    pub fn set(&self, cluster: ClusterId) {
        assert_ne!(cluster, ClusterId::NONE, "the cluster id 0 means none");
        let before = self.0.compare_exchange(0, cluster.0, Ordering::AcqRel, Ordering::Acquire);
        assert!(
            before.is_ok() || before == Err(cluster.0),
            "this process belongs to another cluster already"
        );
    }
}

/// The process, as its frames name it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// How many replicas the configuration has.
    pub n: usize,
    /// The replica that this process is, or a client.
    pub me: Party,
    /// This life of the process.
    pub boot: BootId,
    /// The cluster, once it is known.
    pub cluster: ClusterCell,
}

/// Empties `frame` and leaves room for the header.
pub fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
}

/// The bytes of a frame with `body` bytes of `messages` messages, padding included.
pub fn sealed_bytes(me: Party, body: usize, messages: usize) -> usize {
    HEADER_BYTES
        + match me {
            Party::Client => body.max(messages * CLIENT_MESSAGE_BYTES_MIN),
            Party::Replica(_) => body,
        }
}

/// Makes `frame`, begun with [`begin`] and holding a body, ready to be sent.
/// `messages` is how many messages the body holds; 1 for any other kind.
pub fn seal(
    identity: &Identity,
    to: Party,
    cluster: ClusterId,
    kind: BodyKind,
    messages: usize,
    frame: &mut Vec<u8>,
) {
    let body = frame.len() - HEADER_BYTES;
    frame.resize(sealed_bytes(identity.me, body, messages), 0);
    assert!(frame.len() <= DATAGRAM_BYTES_MAX, "a frame of {} bytes", frame.len());
    frame[..4].copy_from_slice(&MAGIC);
    frame[4] = VERSION;
    frame[5] = identity.n as u8;
    frame[6] = party_byte(identity.me);
    frame[7] = party_byte(to);
    frame[8..16].copy_from_slice(&cluster.0.to_le_bytes());
    frame[16..24].copy_from_slice(&identity.boot.0.to_le_bytes());
    frame[24] = kind as u8;
    frame[AT_BODY_LENGTH..AT_CHECK].copy_from_slice(&(body as u16).to_le_bytes());
    let check = check_of(frame);
    frame[AT_CHECK..HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
}

/// Corrects the check of a frame that was sealed with `sealed` bytes and has been
/// lengthened with zeros since.
pub fn pad(frame: &mut [u8], sealed: usize) {
    let check = u32::from_le_bytes([frame[27], frame[28], frame[29], frame[30]]);
    let mut longer = crc32fast::Hasher::new_with_initial(check);
    longer.update(&frame[sealed..]);
    frame[AT_CHECK..HEADER_BYTES].copy_from_slice(&longer.finalize().to_le_bytes());
}

/// The check of a frame of at least [`HEADER_BYTES`].
pub fn check_of(frame: &[u8]) -> u32 {
    let mut check = crc32fast::Hasher::new();
    check.update(&frame[..AT_CHECK]);
    check.update(&frame[HEADER_BYTES..]);
    check.finalize()
}

fn party_byte(party: Party) -> u8 {
    match party {
        Party::Replica(id) => id.0,
        Party::Client => CLIENT,
    }
}

/// Checks frames and decodes their messages, for one process.
#[derive(Debug)]
pub struct Decoder {
    identity: Identity,
    boots: Vec<Boots>,
    counters: Arc<Counters>,
    /// Gathers the commands of one datagram.
    commands: Builder,
}

impl Decoder {
    /// A decoder for the process that `identity` names.
    ///
    /// # Panics
    ///
    /// If `identity.n` is 0 or above [`REPLICAS_MAX`], or `identity.me` is not below it.
    pub fn new(identity: Identity, counters: Arc<Counters>) -> Self {
        assert!((1..=REPLICAS_MAX).contains(&identity.n), "{} replicas", identity.n);
        if let Party::Replica(id) = identity.me {
            assert!(id.index() < identity.n, "replica {id} of {}", identity.n);
        }
        let boots = vec![Boots::default(); identity.n];
        Decoder { boots, identity, counters, commands: Builder::default() }
    }

    /// Checks a datagram that came from the address `from`, and appends its messages to
    /// `into`: all of them or none.
    ///
    /// # Errors
    ///
    /// The reason to drop it, already counted.
    pub fn open<'a>(
        &mut self,
        from: Address,
        frame: &'a [u8],
        into: &mut Vec<Incoming>,
    ) -> Result<Opened<'a, Endpoint>, DropReason> {
        let before = into.len();
        let opened = self.try_open(from, frame, into);
        if let Err(why) = opened {
            into.truncate(before);
            self.counters.count(why);
        }
        opened
    }

    /// Takes bytes that were joined from fragments as one message.
    ///
    /// # Errors
    ///
    /// The reason to drop it, already counted.
    pub fn open_joined(
        &mut self,
        from: Endpoint,
        cluster: ClusterId,
        message: &[u8],
        into: &mut Vec<Incoming>,
    ) -> Result<(), DropReason> {
        let before = into.len();
        // A client has one line in flight, so a request that was split is one command.
        let opened = match self.decode(from, cluster, message, 1, into) {
            Ok(()) if into.len() == before + 1 => Ok(()),
            Ok(()) => Err(DropReason::Body),
            Err(why) => Err(why),
        };
        if let Err(why) = opened {
            into.truncate(before);
            self.counters.count(why);
        }
        opened
    }

    fn try_open<'a>(
        &mut self,
        from: Address,
        frame: &'a [u8],
        into: &mut Vec<Incoming>,
    ) -> Result<Opened<'a, Endpoint>, DropReason> {
        if !(HEADER_BYTES..=DATAGRAM_BYTES_MAX).contains(&frame.len()) {
            return Err(DropReason::Length);
        }
        if frame[..4] != MAGIC {
            return Err(DropReason::Magic);
        }
        if frame[4] != VERSION {
            return Err(DropReason::Version);
        }
        if frame[AT_CHECK..HEADER_BYTES] != check_of(frame).to_le_bytes() {
            return Err(DropReason::Check);
        }
        let from = self.parties(from, frame)?;
        let body_bytes = u16::from_le_bytes([frame[AT_BODY_LENGTH], frame[AT_BODY_LENGTH + 1]]);
        let (body, padding) = frame[HEADER_BYTES..]
            .split_at_checked(usize::from(body_bytes))
            .ok_or(DropReason::Length)?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(DropReason::Padding);
        }
        let stranger = matches!(from, Endpoint::Client(_));
        let cluster = ClusterId(u64_at(frame, 8));
        self.check_cluster(from, cluster)?;
        let boot = BootId(u64_at(frame, 16));
        if let Endpoint::Replica(id) = from {
            match self.boots[id.index()].judge(boot.0) {
                BootStatus::Alive => {}
                BootStatus::Retired => return Err(DropReason::Boot),
                BootStatus::Revived => self.counters.count(NetEvent::BootRevived),
            }
        }

        let opened = if frame[24] == BodyKind::Messages as u8 {
            let before = into.len();
            let answers_max = (frame.len() - HEADER_BYTES) / CLIENT_MESSAGE_BYTES_MIN;
            self.decode(from, cluster, body, answers_max, into)?;
            if into.len() == before {
                return Err(DropReason::Body);
            }
            Opened::Messages
        } else if frame[24] == BodyKind::Fragment as u8 {
            // Answers and hellos are never split: they are short.
            if self.identity.me == Party::Client || stranger && cluster == ClusterId::NONE {
                return Err(DropReason::Kind);
            }
            if stranger && frame.len() < HEADER_BYTES + CLIENT_MESSAGE_BYTES_MIN {
                return Err(DropReason::Amplifies);
            }
            let fragment = Fragment::parse(body).ok_or(DropReason::Fragment)?;
            Opened::Fragment { from, boot: boot.0, cluster: cluster.0, fragment }
        } else if frame[24] == BodyKind::Missing as u8 {
            if stranger {
                return Err(DropReason::Kind);
            }
            let missing = Missing::parse(body).ok_or(DropReason::Fragment)?;
            Opened::Missing { from, missing }
        } else {
            return Err(DropReason::Kind);
        };
        if let Endpoint::Replica(id) = from {
            self.boots[id.index()].heard(boot.0);
        }
        Ok(opened)
    }

    /// The sender of a frame, if the frame is for this process and comes from a process
    /// that may send to it.
    fn parties(&self, from: Address, frame: &[u8]) -> Result<Endpoint, DropReason> {
        let Identity { n, me, .. } = self.identity;
        if usize::from(frame[5]) != n {
            return Err(DropReason::Size);
        }
        if frame[7] != party_byte(me) {
            return Err(DropReason::Receiver);
        }
        match (frame[6], me) {
            (CLIENT, Party::Replica(_)) => Ok(Endpoint::Client(from)),
            (id, _) if usize::from(id) < n && frame[6] != party_byte(me) => {
                Ok(Endpoint::Replica(ReplicaId(id)))
            }
            _ => Err(DropReason::Sender),
        }
    }

    /// Refuses a frame with a cluster id that no body may have here. [`Decoder::decode`]
    /// checks afterwards which messages may travel without a cluster.
    fn check_cluster(&self, from: Endpoint, cluster: ClusterId) -> Result<(), DropReason> {
        match (self.identity.me, self.identity.cluster.known(), cluster) {
            (Party::Client, _, ClusterId::NONE) => Err(DropReason::Cluster),
            (Party::Client, None, _) => Ok(()),
            (Party::Replica(_), None, ClusterId::NONE) => match from {
                Endpoint::Replica(_) => Ok(()),
                Endpoint::Client(_) => Err(DropReason::NotStarted),
            },
            (Party::Replica(_), None, _) => Err(DropReason::NotStarted),
            (Party::Replica(_), Some(_), ClusterId::NONE) => Ok(()),
            (_, Some(known), cluster) if known == cluster => Ok(()),
            (_, Some(_), _) => Err(DropReason::Cluster),
        }
    }

    /// Decodes a body of messages. A client's may ask for `answers_max` answers at most.
    fn decode(
        &mut self,
        from: Endpoint,
        cluster: ClusterId,
        body: &[u8],
        answers_max: usize,
        into: &mut Vec<Incoming>,
    ) -> Result<(), DropReason> {
        let unknown = cluster == ClusterId::NONE;
        match (self.identity.me, from) {
            (Party::Replica(_), Endpoint::Replica(from)) => each(body, |message: Message| {
                if unknown && !matches!(message, Message::Bootstrap(_)) {
                    return Err(DropReason::Cluster);
                }
                if !is_well_formed(&message) {
                    return Err(DropReason::Body);
                }
                into.push(Incoming::Peer { from, message });
                Ok(())
            }),
            (Party::Replica(_), Endpoint::Client(from)) => {
                let requests = requests(body, unknown, answers_max, &mut self.commands, || {
                    into.push(Incoming::Client { from, message: ClientMessage::Hello });
                })?;
                if let Some(request) = requests {
                    let message = ClientMessage::Request(request);
                    into.push(Incoming::Client { from, message });
                }
                Ok(())
            }
            (Party::Client, Endpoint::Replica(from)) => {
                let mut welcome = false;
                each(body, |answer: AnswerOnWire| {
                    let answer = Answer::try_from(answer).map_err(|_| DropReason::Body)?;
                    welcome |= matches!(answer, Answer::Welcome { .. });
                    into.push(Incoming::Answer { from, answer });
                    Ok(())
                })?;
                if self.identity.cluster.known().is_none() {
                    if !welcome {
                        return Err(DropReason::NotStarted);
                    }
                    self.identity.cluster.set(cluster);
                }
                Ok(())
            }
            (Party::Client, Endpoint::Client(_)) => Err(DropReason::Sender),
        }
    }
}

/// Decodes one message after the other, to the last byte, and hands each to `take`.
fn each<'a, T: Deserialize<'a>>(
    mut body: &'a [u8],
    mut take: impl FnMut(T) -> Result<(), DropReason>,
) -> Result<(), DropReason> {
    while !body.is_empty() {
        let (message, rest) = postcard::take_from_bytes(body).map_err(|_| DropReason::Body)?;
        assert!(rest.len() < body.len(), "every message takes a byte at least");
        take(message)?;
        body = rest;
    }
    Ok(())
}

/// A [`ClientMessage`] that borrows from the datagram.
#[derive(Deserialize)]
enum ClientMessageRef<'a> {
    Hello,
    #[serde(borrow)]
    Request(RequestRef<'a>),
}

#[derive(Deserialize)]
struct RequestRef<'a> {
    commands: &'a [u8],
    after: Slot,
}

/// Decodes a datagram of a client: joins all its requests to one, and calls `hello` for each
/// hello. Each hello and each command asks for an answer. A datagram that asks for more than
/// `answers_max` is refused.
fn requests(
    body: &[u8],
    unknown: bool,
    answers_max: usize,
    commands: &mut Builder,
    mut hello: impl FnMut(),
) -> Result<Option<Request>, DropReason> {
    commands.clear();
    let (mut latest, mut hellos) = (Slot::ZERO, 0);
    each(body, |message| {
        match message {
            ClientMessageRef::Hello if hellos == answers_max => return Err(DropReason::Amplifies),
            ClientMessageRef::Hello => {
                hellos += 1;
                hello();
            }
            ClientMessageRef::Request(_) if unknown => return Err(DropReason::Cluster),
            ClientMessageRef::Request(RequestRef { commands: encoded, after }) => {
                commands.read(encoded).map_err(|_| DropReason::Body)?;
                latest = latest.max(after);
            }
        }
        Ok(())
    })?;
    if commands.is_empty() {
        return Ok(None);
    }
    let request = Request { commands: commands.take(), after: latest };
    match request.is_well_formed() {
        false => Err(DropReason::Body),
        true if hellos + request.commands.len() > answers_max => Err(DropReason::Amplifies),
        true => Ok(Some(request)),
    }
}

/// Whether a forwarded request is one that a client may send. (Values are checked where
/// they are decoded.)
fn is_well_formed(message: &Message) -> bool {
    match message {
        Message::Proposer(ToProposer::Forward { request, .. }) => request.is_well_formed(),
        _ => true,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests;
