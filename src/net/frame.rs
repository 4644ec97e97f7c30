//! The frame around every datagram: what it says, and every test that it must pass.
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
//! A body of messages is one postcard message after the other, to the last byte;
//! which kind of message follows from who sends to whom. A frame of which anything
//! fails is counted under its reason and dropped whole, before anything but a list
//! of bounded size is allocated for it.
//!
//! **Padding.** Frames that leave in one system call are equally long (`batch`), and a
//! client's have a least size; so behind any body there may be zeros, and nothing but
//! zeros. The check covers them.
//!
//! **Clusters.** Warm-up ([`Message::Replica`]) and a client's hello always travel
//! with cluster 0, alone in their frame, and only they may. Everything else carries
//! the sender's cluster and is taken only by members of the same. A client learns
//! its cluster from the first frame that holds a [`Answer::Welcome`].
//!
//! **Clients are strangers**, and a datagram's source address is easily forged. So
//! a frame from a client is at least as large as any answer to it could be
//! ([`CLIENT_MESSAGE_BYTES_MIN`] a message, padded), or it is dropped: nobody can
//! use a replica to throw more at a third party than they throw themselves.

use super::boots::{Boots, Standing};
use super::counters::{Counters, Event};
use super::fragment::{Fragment, Missing};
use super::{DATAGRAM_BYTES_MAX, Endpoint, Incoming};
use crate::message::{Answer, ClientMessage, Message, Party, Request, ToProposer};
use crate::types::{Address, BootId, ClusterId, REPLICAS_MAX, ReplicaId, Slot};
use crate::values::Builder;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What every datagram of this program begins with.
pub const MAGIC: [u8; 4] = *b"mPxL";

/// The version of the format; a receiver takes no other.
pub const VERSION: u8 = 1;

/// The bytes before the body.
pub const HEADER_BYTES: usize = 31;

/// What a frame from a client holds at least for each message in it, padding
/// included: more than the longest [`Answer`], which a test shows.
pub const CLIENT_MESSAGE_BYTES_MIN: usize = 56;

/// How a client calls itself in a header.
const CLIENT: u8 = 0xFF;

const AT_BODY_LENGTH: usize = 25;
const AT_CHECK: usize = 27;

/// The cluster id, once it is known: shared by all threads of a process.
#[derive(Debug, Clone, Default)]
pub struct ClusterCell(Arc<AtomicU64>);

impl ClusterCell {
    /// Not known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cluster, if it is known.
    pub fn known(&self) -> Option<ClusterId> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            id => Some(ClusterId(id)),
        }
    }

    /// From now on it is known.
    ///
    /// # Panics
    ///
    /// If `cluster` is [`ClusterId::NONE`], or another one is known: a process never
    /// changes sides.
    pub fn set(&self, cluster: ClusterId) {
        assert_ne!(cluster, ClusterId::NONE, "the cluster id 0 means none");
        let before = self.0.compare_exchange(0, cluster.0, Ordering::AcqRel, Ordering::Acquire);
        assert!(
            before.is_ok() || before == Err(cluster.0),
            "this process belongs to another cluster already"
        );
    }
}

/// Who this process is, as its frames say it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// How many replicas the configuration has.
    pub n: usize,
    /// Which of them this process is, or a client.
    pub me: Party,
    /// This life of the process.
    pub boot: BootId,
    /// The cluster, once it is known.
    pub cluster: ClusterCell,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Whole messages.
    Messages = 1,
    /// A part of one message.
    Fragment = 2,
    /// A list of fragments that the sender misses.
    Missing = 3,
}

/// A frame that passed every test.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// Its messages were appended to the caller's list.
    Messages,
    /// A part of a message.
    Fragment {
        /// From whom.
        from: Endpoint,
        /// In which life of the sender.
        boot: BootId,
        /// The cluster that it travelled with, 0 for warm-up.
        cluster: ClusterId,
        /// The part.
        fragment: Fragment<'a>,
    },
    /// A peer misses parts of what this process has sent.
    Missing {
        /// Who.
        from: ReplicaId,
        /// Which.
        missing: Missing,
    },
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
    kind: Kind,
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

/// Makes good the check of a frame that was sealed with `sealed` bytes and has been
/// lengthened with zeros since.
pub fn pad(frame: &mut [u8], sealed: usize) {
    let check = u32::from_le_bytes([frame[27], frame[28], frame[29], frame[30]]);
    let mut longer = crc32fast::Hasher::new_with_initial(check);
    longer.update(&frame[sealed..]);
    frame[AT_CHECK..HEADER_BYTES].copy_from_slice(&longer.finalize().to_le_bytes());
}

/// The check that belongs into a frame of at least [`HEADER_BYTES`].
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

/// Takes frames apart, for one process.
#[derive(Debug)]
pub struct Opener {
    identity: Identity,
    boots: Vec<Boots>,
    counters: Arc<Counters>,
    /// Where the commands of a datagram are put together.
    commands: Builder,
}

impl Opener {
    /// For the process that `identity` names.
    ///
    /// # Panics
    ///
    /// If `identity` does not fit its own `n`, or that is above [`REPLICAS_MAX`].
    pub fn new(identity: Identity, counters: Arc<Counters>) -> Self {
        assert!((1..=REPLICAS_MAX).contains(&identity.n), "{} replicas", identity.n);
        if let Party::Replica(id) = identity.me {
            assert!(id.index() < identity.n, "replica {id} of {}", identity.n);
        }
        let boots = vec![Boots::default(); identity.n];
        Opener { boots, identity, counters, commands: Builder::default() }
    }

    /// Tests a datagram that came from the address `from`, and appends its messages
    /// to `into`: all of them or none.
    ///
    /// # Errors
    ///
    /// Why it must be dropped; already counted.
    pub fn open<'a>(
        &mut self,
        from: Address,
        frame: &'a [u8],
        into: &mut Vec<Incoming>,
    ) -> Result<Opened<'a>, Event> {
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
    /// Why it must be dropped; already counted.
    pub fn open_joined(
        &mut self,
        from: Endpoint,
        cluster: ClusterId,
        message: &[u8],
        into: &mut Vec<Incoming>,
    ) -> Result<(), Event> {
        let before = into.len();
        // A client has one line in flight: what does not fit a datagram is one command.
        let opened = match self.decode(from, cluster, message, 1, into) {
            Ok(()) if into.len() == before + 1 => Ok(()),
            Ok(()) => Err(Event::DropBody),
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
    ) -> Result<Opened<'a>, Event> {
        if !(HEADER_BYTES..=DATAGRAM_BYTES_MAX).contains(&frame.len()) {
            return Err(Event::DropLength);
        }
        if frame[..4] != MAGIC {
            return Err(Event::DropMagic);
        }
        if frame[4] != VERSION {
            return Err(Event::DropVersion);
        }
        if frame[AT_CHECK..HEADER_BYTES] != check_of(frame).to_le_bytes() {
            return Err(Event::DropCheck);
        }
        let from = self.parties(from, frame)?;
        let body_bytes = u16::from_le_bytes([frame[AT_BODY_LENGTH], frame[AT_BODY_LENGTH + 1]]);
        let (body, padding) = frame[HEADER_BYTES..]
            .split_at_checked(usize::from(body_bytes))
            .ok_or(Event::DropLength)?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(Event::DropPadding);
        }
        let stranger = matches!(from, Endpoint::Client(_));
        let cluster = ClusterId(u64_at(frame, 8));
        self.check_cluster(from, cluster)?;
        let boot = BootId(u64_at(frame, 16));
        if let Endpoint::Replica(id) = from {
            match self.boots[id.index()].judge(boot) {
                Standing::Alive => {}
                Standing::Retired => return Err(Event::DropBoot),
                Standing::Revived => self.counters.count(Event::BootRevived),
            }
        }

        let opened = if frame[24] == Kind::Messages as u8 {
            let before = into.len();
            let answers_max = (frame.len() - HEADER_BYTES) / CLIENT_MESSAGE_BYTES_MIN;
            self.decode(from, cluster, body, answers_max, into)?;
            if into.len() == before {
                return Err(Event::DropBody);
            }
            Opened::Messages
        } else if frame[24] == Kind::Fragment as u8 {
            // Answers are short, and so is a hello.
            if self.identity.me == Party::Client || stranger && cluster == ClusterId::NONE {
                return Err(Event::DropKind);
            }
            if stranger && frame.len() < HEADER_BYTES + CLIENT_MESSAGE_BYTES_MIN {
                return Err(Event::DropAmplifies);
            }
            let fragment = Fragment::parse(body).ok_or(Event::DropFragment)?;
            Opened::Fragment { from, boot, cluster, fragment }
        } else if frame[24] == Kind::Missing as u8 {
            let Endpoint::Replica(id) = from else { return Err(Event::DropKind) };
            let missing = Missing::parse(body).ok_or(Event::DropFragment)?;
            Opened::Missing { from: id, missing }
        } else {
            return Err(Event::DropKind);
        };
        if let Endpoint::Replica(id) = from {
            self.boots[id.index()].heard(boot);
        }
        Ok(opened)
    }

    /// Whether the frame is from somebody to this process, and from whom.
    fn parties(&self, from: Address, frame: &[u8]) -> Result<Endpoint, Event> {
        let Identity { n, me, .. } = self.identity;
        if usize::from(frame[5]) != n {
            return Err(Event::DropSize);
        }
        if frame[7] != party_byte(me) {
            return Err(Event::DropReceiver);
        }
        match (frame[6], me) {
            (CLIENT, Party::Replica(_)) => Ok(Endpoint::Client(from)),
            (id, _) if usize::from(id) < n && frame[6] != party_byte(me) => {
                Ok(Endpoint::Replica(ReplicaId(id)))
            }
            _ => Err(Event::DropSender),
        }
    }

    /// Whether a frame of this cluster may be looked into at all; [`Opener::decode`]
    /// then allows without a cluster only what may travel so.
    fn check_cluster(&self, from: Endpoint, cluster: ClusterId) -> Result<(), Event> {
        match (self.identity.me, self.identity.cluster.known(), cluster) {
            (Party::Client, _, ClusterId::NONE) => Err(Event::DropCluster),
            (Party::Client, None, _) => Ok(()),
            (Party::Replica(_), None, ClusterId::NONE) => match from {
                Endpoint::Replica(_) => Ok(()),
                Endpoint::Client(_) => Err(Event::DropNotStarted),
            },
            (Party::Replica(_), None, _) => Err(Event::DropNotStarted),
            (Party::Replica(_), Some(_), ClusterId::NONE) => Ok(()),
            (_, Some(known), cluster) if known == cluster => Ok(()),
            (_, Some(_), _) => Err(Event::DropCluster),
        }
    }

    /// `answers_max`: how many a client may draw with it.
    fn decode(
        &mut self,
        from: Endpoint,
        cluster: ClusterId,
        body: &[u8],
        answers_max: usize,
        into: &mut Vec<Incoming>,
    ) -> Result<(), Event> {
        let unknown = cluster == ClusterId::NONE;
        match (self.identity.me, from) {
            (Party::Replica(_), Endpoint::Replica(from)) => each(body, |message: Message| {
                if unknown && !matches!(message, Message::Replica(_)) {
                    return Err(Event::DropCluster);
                }
                if !is_well_formed(&message) {
                    return Err(Event::DropBody);
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
                each(body, |answer: Answer| {
                    welcome |= matches!(answer, Answer::Welcome { .. });
                    into.push(Incoming::Answer { from, answer });
                    Ok(())
                })?;
                if self.identity.cluster.known().is_none() {
                    if !welcome {
                        return Err(Event::DropNotStarted);
                    }
                    self.identity.cluster.set(cluster);
                }
                Ok(())
            }
            (Party::Client, Endpoint::Client(_)) => Err(Event::DropSender),
        }
    }
}

/// One message after the other, to the last byte.
fn each<'a, T: Deserialize<'a>>(
    mut body: &'a [u8],
    mut take: impl FnMut(T) -> Result<(), Event>,
) -> Result<(), Event> {
    while !body.is_empty() {
        let (message, rest) = postcard::take_from_bytes(body).map_err(|_| Event::DropBody)?;
        assert!(rest.len() < body.len(), "every message takes a byte at least");
        take(message)?;
        body = rest;
    }
    Ok(())
}

/// [`ClientMessage`], in place.
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

/// What clients share a datagram for: all its requests as one. `hello` is called for
/// everything else, as long as all of it draws no more than `answers_max` answers: one each
/// hello and command.
fn requests(
    body: &[u8],
    unknown: bool,
    answers_max: usize,
    commands: &mut Builder,
    mut hello: impl FnMut(),
) -> Result<Option<Request>, Event> {
    commands.clear();
    let (mut latest, mut hellos) = (Slot::ZERO, 0);
    each(body, |message| {
        match message {
            ClientMessageRef::Hello if hellos == answers_max => return Err(Event::DropAmplifies),
            ClientMessageRef::Hello => {
                hellos += 1;
                hello();
            }
            ClientMessageRef::Request(_) if unknown => return Err(Event::DropCluster),
            ClientMessageRef::Request(RequestRef { commands: encoded, after }) => {
                commands.read(encoded).map_err(|_| Event::DropBody)?;
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
        false => Err(Event::DropBody),
        true if hellos + request.commands.len() > answers_max => Err(Event::DropAmplifies),
        true => Ok(Some(request)),
    }
}

/// Whether it asks for what a client may ask for. (Values are checked where they are
/// decoded.)
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
mod tests {
    use super::*;
    use crate::message::{Request, ToAcceptor, ToReplica};
    use crate::types::{Ballot, ClientId, DirectoryId, Session, Slot};
    use crate::types::{LINE_BYTES_MAX, Value};
    use crate::values::COMMAND_BYTES;
    use serde::Serialize;
    use std::net::{Ipv4Addr, SocketAddr};

    const OURS: ClusterId = ClusterId(0xC1);

    fn address() -> Address {
        Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)))
    }

    fn identity(me: Party, cluster: ClusterId) -> Identity {
        let identity = Identity { n: 3, me, boot: BootId(7), cluster: ClusterCell::new() };
        if cluster != ClusterId::NONE {
            identity.cluster.set(cluster);
        }
        identity
    }

    fn replica(id: u8) -> Party {
        Party::Replica(ReplicaId(id))
    }

    fn opener(me: Party, cluster: ClusterId) -> Opener {
        Opener::new(identity(me, cluster), Arc::new(Counters::new()))
    }

    fn frame_as<T: Serialize>(
        identity: &Identity,
        to: Party,
        cluster: ClusterId,
        messages: &[T],
    ) -> Vec<u8> {
        let mut frame = Vec::new();
        begin(&mut frame);
        for message in messages {
            frame = postcard::to_extend(message, frame).expect("encodes");
        }
        seal(identity, to, cluster, Kind::Messages, messages.len(), &mut frame);
        frame
    }

    fn frame<T: Serialize>(from: Party, to: Party, cluster: ClusterId, messages: &[T]) -> Vec<u8> {
        frame_as(&identity(from, cluster), to, cluster, messages)
    }

    fn prepare() -> Message {
        Message::Acceptor(ToAcceptor::Prepare { ballot: Ballot(4), first: Slot(9) })
    }

    fn warm_up() -> Message {
        Message::Replica(ToReplica::NotMember { directory: DirectoryId(3) })
    }

    fn resealed(mut frame: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        change(&mut frame);
        let check = check_of(&frame);
        frame[AT_CHECK..HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
        frame
    }

    fn open(opener: &mut Opener, frame: &[u8]) -> Result<usize, Event> {
        let mut messages = Vec::new();
        let opened = opener.open(address(), frame, &mut messages).map(|_| messages.len());
        assert!(opened.is_ok() || messages.is_empty(), "nothing of a dropped frame stays");
        opened
    }

    #[test]
    fn a_frame_for_somebody_else_or_from_nowhere_is_dropped_under_its_own_reason() {
        let good = frame(replica(1), replica(0), OURS, &[prepare(), prepare()]);
        let mut receiver = opener(replica(0), OURS);
        assert_eq!(open(&mut receiver, &good), Ok(2));
        let mut drops = |change: &dyn Fn(&mut Vec<u8>), why: Event| {
            let before = receiver.counters.of(why);
            assert_eq!(open(&mut receiver, &resealed(good.clone(), change)), Err(why));
            assert_eq!(receiver.counters.of(why), before + 1);
        };
        drops(&|frame| frame[0] ^= 1, Event::DropMagic);
        drops(&|frame| frame[4] = 2, Event::DropVersion);
        drops(&|frame| frame[5] = 5, Event::DropSize);
        drops(&|frame| frame[6] = 3, Event::DropSender);
        drops(&|frame| frame[6] = 0, Event::DropSender);
        drops(&|frame| frame[7] = 2, Event::DropReceiver);
        drops(&|frame| frame[7] = CLIENT, Event::DropReceiver);
        drops(&|frame| frame[8] ^= 1, Event::DropCluster);
        drops(&|frame| frame[24] = 0, Event::DropKind);
        drops(&|frame| frame[24] = 9, Event::DropKind);
        drops(&|frame| frame[AT_BODY_LENGTH] += 1, Event::DropLength);
        drops(&|frame| frame.push(1), Event::DropPadding);
        drops(&|frame| frame.extend([0, 0, 1, 0]), Event::DropPadding);
        drops(&|frame| frame[AT_BODY_LENGTH] -= 1, Event::DropPadding);
        drops(&|frame| frame[HEADER_BYTES] = 77, Event::DropBody);
    }

    #[test]
    fn one_bad_message_drops_the_whole_frame() {
        let mut receiver = opener(replica(0), OURS);
        let frame = frame(replica(1), replica(0), OURS, &[prepare(), prepare()]);
        let cut = resealed(frame, |frame| {
            frame.pop();
            frame[AT_BODY_LENGTH] -= 1;
        });
        assert_eq!(open(&mut receiver, &cut), Err(Event::DropBody));
        let empty = super::tests::frame::<Message>(replica(1), replica(0), OURS, &[]);
        assert_eq!(open(&mut receiver, &empty), Err(Event::DropBody));
    }

    #[test]
    fn without_a_cluster_only_warm_up_and_hello_travel() {
        let none = ClusterId::NONE;
        let mut receiver = opener(replica(0), OURS);
        let mut from = |party, frame: Vec<u8>| {
            let _: Party = party;
            open(&mut receiver, &frame)
        };
        let client = Party::Client;
        assert_eq!(from(replica(1), frame(replica(1), replica(0), none, &[warm_up()])), Ok(1));
        let mixed = frame(replica(1), replica(0), none, &[warm_up(), prepare()]);
        assert_eq!(from(replica(1), mixed), Err(Event::DropCluster));
        let hello = ClientMessage::Hello;
        assert_eq!(from(client, frame(client, replica(0), none, &[hello])), Ok(1));
        let request = ClientMessage::Request(Request::new(1, 2, 3, "hi"));
        let asked = frame(client, replica(0), none, std::slice::from_ref(&request));
        assert_eq!(from(client, asked), Err(Event::DropCluster));
        assert_eq!(from(client, frame(client, replica(0), OURS, &[request])), Ok(1));
    }

    #[test]
    fn a_replica_that_has_not_started_takes_nothing_but_warm_up() {
        let none = ClusterId::NONE;
        let mut receiver = opener(replica(0), none);
        assert_eq!(open(&mut receiver, &frame(replica(1), replica(0), none, &[warm_up()])), Ok(1));
        for frame in [
            frame(replica(1), replica(0), OURS, &[warm_up()]),
            frame(replica(1), replica(0), OURS, &[prepare()]),
            frame(Party::Client, replica(0), none, &[ClientMessage::Hello]),
        ] {
            assert_eq!(open(&mut receiver, &frame), Err(Event::DropNotStarted));
        }
    }

    #[test]
    fn a_client_joins_the_cluster_of_its_first_welcome_and_hears_no_other() {
        let other = ClusterId(0xC2);
        let welcome = || Answer::Welcome { applied: Slot(5), ballot: Ballot(1) };
        let leader = || Answer::Leader { ballot: Ballot(1) };
        let mut receiver = opener(Party::Client, ClusterId::NONE);
        let to_client = |cluster, answer| frame(replica(2), Party::Client, cluster, &[answer]);
        assert_eq!(open(&mut receiver, &to_client(OURS, leader())), Err(Event::DropNotStarted));
        let none = to_client(ClusterId::NONE, welcome());
        assert_eq!(open(&mut receiver, &none), Err(Event::DropCluster));
        assert_eq!(open(&mut receiver, &to_client(OURS, welcome())), Ok(1));
        assert_eq!(receiver.identity.cluster.known(), Some(OURS));
        assert_eq!(open(&mut receiver, &to_client(OURS, leader())), Ok(1));
        assert_eq!(open(&mut receiver, &to_client(other, welcome())), Err(Event::DropCluster));
    }

    #[test]
    fn a_frame_of_an_earlier_life_is_dropped_but_only_a_valid_frame_begins_a_new_one() {
        let mut receiver = opener(replica(0), OURS);
        let of_boot = |boot, messages: &[Message]| {
            let identity = Identity { boot: BootId(boot), ..identity(replica(1), OURS) };
            frame_as(&identity, replica(0), OURS, messages)
        };
        assert_eq!(open(&mut receiver, &of_boot(1, &[prepare()])), Ok(1));
        assert_eq!(open(&mut receiver, &of_boot(2, &[])), Err(Event::DropBody));
        assert_eq!(open(&mut receiver, &of_boot(1, &[prepare()])), Ok(1));
        assert_eq!(open(&mut receiver, &of_boot(3, &[prepare()])), Ok(1));
        assert_eq!(open(&mut receiver, &of_boot(1, &[prepare()])), Err(Event::DropBoot));
    }

    #[test]
    fn no_answer_is_larger_than_the_least_that_a_client_may_send() {
        let session = Session { client: ClientId(u64::MAX), id: u64::MAX };
        let (slot, ballot, seq) = (Slot(u64::MAX), Ballot(u64::MAX), u64::MAX);
        let asked = frame(Party::Client, replica(0), ClusterId::NONE, &[ClientMessage::Hello]);
        for answer in [
            Answer::Welcome { applied: slot, ballot },
            Answer::Complete { session, seq, slot, client_seq: u64::MAX },
            Answer::Expired { session, seq },
            Answer::Leader { ballot },
        ] {
            let answered = frame(replica(0), Party::Client, OURS, std::slice::from_ref(&answer));
            assert!(answered.len() <= asked.len(), "{answer:?}: {} bytes", answered.len());
            // In one frame, too, whatever the number.
            assert!(answered.len() - HEADER_BYTES <= CLIENT_MESSAGE_BYTES_MIN);
        }
    }

    #[test]
    fn a_client_frame_that_is_not_padded_is_dropped() {
        let mut receiver = opener(replica(0), OURS);
        let good =
            frame(Party::Client, replica(0), ClusterId::NONE, &[const { ClientMessage::Hello }; 3]);
        assert_eq!(good.len(), HEADER_BYTES + 3 * CLIENT_MESSAGE_BYTES_MIN);
        assert_eq!(open(&mut receiver, &good), Ok(3));
        let short = resealed(good.clone(), |frame| {
            frame.pop();
        });
        assert_eq!(open(&mut receiver, &short), Err(Event::DropAmplifies));
        let dirty = resealed(good, |frame| *frame.last_mut().expect("not empty") = 1);
        assert_eq!(open(&mut receiver, &dirty), Err(Event::DropPadding));
    }

    #[test]
    fn any_frame_may_be_padded_with_zeros_up_to_the_longest_datagram() {
        let peers = frame(replica(1), replica(0), OURS, &[prepare()]);
        let clients = frame(Party::Client, replica(0), OURS, &[const { ClientMessage::Hello }]);
        let answer = Answer::Leader { ballot: Ballot(1) };
        let answers = frame(replica(1), Party::Client, OURS, &[answer]);
        for (me, sealed) in [(replica(0), peers), (replica(0), clients), (Party::Client, answers)] {
            for padding in [0, 1, 700, DATAGRAM_BYTES_MAX - sealed.len()] {
                let mut receiver = opener(me, OURS);
                let mut padded = sealed.clone();
                padded.resize(sealed.len() + padding, 0);
                pad(&mut padded, sealed.len());
                assert_eq!(padded[AT_CHECK..HEADER_BYTES], check_of(&padded).to_le_bytes());
                assert_eq!(open(&mut receiver, &padded), Ok(1));
                // The check covers it.
                padded.push(0);
                assert!(open(&mut receiver, &padded).is_err());
            }
        }
    }

    #[test]
    fn a_line_longer_than_a_client_may_send_is_refused_from_anybody() {
        let mut receiver = opener(replica(0), OURS);
        let longest = Request::new(1, 1, 0, &"x".repeat(LINE_BYTES_MAX)).commands;
        let mut longer = longest.bytes().to_vec();
        longer.push(b'x');
        longer[COMMAND_BYTES - 4] += 1;
        let asked = |commands: &[u8]| {
            // As `ClientMessage::Request` is encoded.
            postcard::to_stdvec(&(1u32, commands, 0u64)).expect("encodes")
        };
        let mut into = Vec::new();
        let from = Endpoint::Client(address());
        let mut open = |from, bytes: &[u8]| receiver.open_joined(from, OURS, bytes, &mut into);
        assert_eq!(open(from, &asked(longest.bytes())), Ok(()));
        assert_eq!(open(from, &asked(&longer)), Err(Event::DropBody));
        let forward = Message::Proposer(ToProposer::Forward {
            origin: address(),
            request: Request { commands: longest, after: Slot::ZERO },
        });
        let mut forward = postcard::to_stdvec(&forward).expect("encodes");
        let from = Endpoint::Replica(ReplicaId(1));
        assert_eq!(open(from, &forward), Ok(()));
        let line = forward.len() - 1 - LINE_BYTES_MAX;
        forward[line - 4] += 1;
        assert_eq!(open(from, &forward), Err(Event::DropBody));
        assert_eq!(into.len(), 2);
    }

    #[test]
    fn requests_that_share_a_datagram_become_one() {
        let mut receiver = opener(replica(0), OURS);
        let request = |seq, after| {
            let Request { commands, .. } = Request::new(1, seq, seq, "x");
            ClientMessage::Request(Request { commands, after: Slot(after) })
        };
        let sent =
            frame(Party::Client, replica(0), OURS, &[request(0, 3), request(1, 9), request(2, 0)]);
        let mut into = Vec::new();
        receiver.open(address(), &sent, &mut into).expect("a good frame");
        let [Incoming::Client { message: ClientMessage::Request(joined), .. }] = &into[..] else {
            panic!("not one request: {into:?}");
        };
        assert_eq!(joined.after, Slot(9));
        assert_eq!(joined.iter().map(|command| command.seq).collect::<Vec<_>>(), [0, 1, 2]);
        // It draws as many answers as it has commands, and must be as large.
        let crowded = Request { commands: vec![Value::Noop; 3].into(), after: Slot::ZERO };
        let crowded = frame(Party::Client, replica(0), OURS, &[ClientMessage::Request(crowded)]);
        assert_eq!(receiver.open(address(), &crowded, &mut into), Err(Event::DropBody));
    }

    #[test]
    fn joined_bytes_are_one_message_and_no_more() {
        let mut receiver = opener(replica(0), OURS);
        let one = postcard::to_stdvec(&prepare()).expect("encodes");
        let two = [one.clone(), one.clone()].concat();
        let from = Endpoint::Replica(ReplicaId(1));
        let mut into = Vec::new();
        assert_eq!(receiver.open_joined(from, OURS, &one, &mut into), Ok(()));
        assert_eq!(into.len(), 1);
        assert_eq!(receiver.open_joined(from, OURS, &two, &mut into), Err(Event::DropBody));
        assert_eq!(receiver.open_joined(from, OURS, &[], &mut into), Err(Event::DropBody));
        assert_eq!(into.len(), 1);
    }

    #[test]
    fn a_frame_draws_no_more_answers_than_its_bytes_pay_for() {
        let request = |seq| ClientMessage::Request(Request::new(1, 2, seq, "x"));
        let joined = |seqs: [u64; 3]| {
            let commands = seqs.map(|seq| Value::Command(Request::new(1, 2, seq, "x").command()));
            let commands = commands.into_iter().collect();
            ClientMessage::Request(Request { commands, after: Slot::ZERO })
        };
        let hello = || ClientMessage::Hello;
        for (messages, taken) in [
            (vec![hello(), hello(), hello(), hello()], 4),
            (vec![hello(), request(0), request(1), request(2)], 2),
            (vec![request(0), hello(), request(1), hello()], 3),
            (vec![request(0), request(1), request(2), request(3)], 1),
            (vec![hello(), joined([0, 1, 2])], 2),
        ] {
            let mut receiver = opener(replica(0), OURS);
            let mut frame = frame(Party::Client, replica(0), OURS, &messages);
            frame.resize(HEADER_BYTES + 4 * CLIENT_MESSAGE_BYTES_MIN, 0);
            let enough = resealed(frame, |_| ());
            assert_eq!(open(&mut receiver, &enough), Ok(taken), "{messages:?}");
            let short = resealed(enough, |frame| {
                frame.pop();
            });
            assert_eq!(open(&mut receiver, &short), Err(Event::DropAmplifies), "{messages:?}");
        }
    }

    #[test]
    fn a_peer_may_only_forward_what_a_client_may_ask() {
        let mut receiver = opener(replica(0), OURS);
        let command = Value::Command(Request::new(1, 2, 3, "hi").command());
        for (values, opened) in [
            (vec![command.clone(), command.clone()], Ok(1)),
            (vec![], Err(Event::DropBody)),
            (vec![Value::Noop], Err(Event::DropBody)),
            (vec![command, Value::Noop], Err(Event::DropBody)),
        ] {
            let request = Request { commands: values.into(), after: Slot::ZERO };
            let forward = ToProposer::Forward { origin: address(), request };
            let forwarded = frame(replica(1), replica(0), OURS, &[Message::Proposer(forward)]);
            assert_eq!(open(&mut receiver, &forwarded), opened);
        }
    }

    /// A frame with a part of a message, `padding` zeros behind it.
    fn part(from: Party, to: Party, cluster: ClusterId, kind: Kind, padding: usize) -> Vec<u8> {
        use super::super::fragment::{Cut, PIECE_BYTES_MIN};
        let total = PIECE_BYTES_MIN + 1;
        let cut = Cut { digest: 9, total: total as u32, piece: PIECE_BYTES_MIN as u16 };
        let mut frame = Vec::new();
        begin(&mut frame);
        match kind {
            Kind::Fragment => Fragment { cut, index: 1, bytes: b"x" }.write(&mut frame),
            _ => Missing { cut, indexes: vec![1] }.write(&mut frame),
        }
        seal(&identity(replica(1), OURS), to, cluster, kind, 1, &mut frame);
        frame.resize(frame.len() + padding, 0);
        resealed(frame, |frame| frame[6] = party_byte(from))
    }

    #[test]
    fn parts_of_messages_are_taken_only_from_whoever_may_send_long_ones() {
        let (kind, none, client) = (Kind::Fragment, ClusterId::NONE, Party::Client);
        let mut receiver = opener(replica(0), OURS);
        let mut opened = |frame: &[u8]| {
            let opened = receiver.open(address(), frame, &mut Vec::new());
            opened.map(|opened| matches!(opened, Opened::Fragment { .. }))
        };
        // A peer's, warm-up too.
        assert_eq!(opened(&part(replica(1), replica(0), OURS, kind, 0)), Ok(true));
        assert_eq!(opened(&part(replica(1), replica(0), none, kind, 0)), Ok(true));
        // A client's, if it pays for being asked; but a hello is never long.
        let bytes = part(client, replica(0), OURS, kind, 0).len();
        let padding = HEADER_BYTES + CLIENT_MESSAGE_BYTES_MIN - bytes;
        for more in [0, 1, 100] {
            let paid = part(client, replica(0), OURS, kind, padding + more);
            assert_eq!(opened(&paid), Ok(true));
            let hello = part(client, replica(0), none, kind, padding + more);
            assert_eq!(opened(&hello), Err(Event::DropKind));
        }
        for less in [padding - 1, 1, 0] {
            let unpaid = part(client, replica(0), OURS, kind, less);
            assert_eq!(opened(&unpaid), Err(Event::DropAmplifies));
        }
        // No answer is long.
        let mut asker = opener(client, OURS);
        let answer = part(replica(1), client, OURS, kind, 100);
        assert_eq!(open(&mut asker, &answer), Err(Event::DropKind));
    }

    #[test]
    fn only_a_replica_may_ask_for_parts() {
        let asked = |from, to| part(from, to, OURS, Kind::Missing, 100);
        let mut receiver = opener(replica(0), OURS);
        assert_eq!(open(&mut receiver, &asked(replica(1), replica(0))), Ok(0));
        let stranger = asked(Party::Client, replica(0));
        assert_eq!(open(&mut receiver, &stranger), Err(Event::DropKind));
        let mut client = opener(Party::Client, OURS);
        assert_eq!(open(&mut client, &asked(replica(1), Party::Client)), Ok(0));
        assert_eq!(open(&mut client, &asked(Party::Client, Party::Client)), Err(Event::DropSender));
    }

    #[test]
    #[should_panic(expected = "belongs to another cluster")]
    fn a_process_belongs_to_one_cluster_for_good() {
        let cell = ClusterCell::new();
        assert_eq!(cell.known(), None);
        for _ in 0..2 {
            cell.set(OURS);
            assert_eq!(cell.clone().known(), Some(OURS));
        }
        cell.set(ClusterId(0xC2));
    }
}
