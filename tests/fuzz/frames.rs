//! Datagrams: arbitrary bytes, and valid frames with changes.
//!
//! A changed frame is opened in three ways. As it is, its check is wrong, and nothing of it may
//! be accepted. With a right check, the code after the check is reached. With a right header,
//! the code that decodes the body is reached.
//!
//! **What must hold.** No panic. A frame is accepted whole or not at all. A dropped frame is
//! counted under one reason. An accepted frame can be encoded again, and opens to the same
//! messages. Opening allocates no more than a fixed number of bytes for each byte of the
//! frame, growing lists included. So a sender pays for the memory that it takes.

use crate::draw::{self, Around};
use crate::edit::{self, edits};
use crate::run::{Property, repeat};
use allocation_counter::measure;
use datagrams::codec::{Body as Opened, BodyKind, parse_probe, probe_body};
use datagrams::counters::{Counters, DropReason};
use datagrams::fragment::{Cut, Fragment, Missing, PIECE_BYTES_MIN};
use fastrand::Rng;
use multipaxos::message::{ClientMessage, Message, Party, StatusQuery};
use multipaxos::net::answer::on_wire;
use multipaxos::net::frame::{self, ClusterCell, Decoder, Guard, HEADER_BYTES, Identity};
use multipaxos::net::{DATAGRAM_BYTES_MAX, Endpoint, Incoming, MESSAGE_BYTES_MAX};
use multipaxos::types::{Address, BootId, ClusterId, ReplicaId, Session};
use seeds::stream;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const N: usize = 5;
const CLUSTER: ClusterId = ClusterId(0x1122_3344_5566_7788);
const OURS: Party = Party::Replica(ReplicaId(0));
const PEER: ReplicaId = ReplicaId(3);

/// The bytes that a byte of a datagram may make its receiver allocate, in all lists together,
/// including their sizes before they grew. An answer takes two bytes at least, and about a
/// hundred in memory. A list that doubles allocates up to four times its length in total. (A
/// message between replicas takes three bytes at least.)
const BYTES_PER_BYTE_MAX: u64 = 256;

/// The bytes that any datagram may make its receiver allocate: the first entry of each list.
const BYTES_FIXED: u64 = 2_048;

/// The same for a datagram of a client, which pays for each answer that it may cause.
const CLIENT_BYTES_PER_BYTE_MAX: u64 = 32;

/// The frames with which a part of the search begins, and the inputs of that part.
const CORPUS: usize = 256;
const PART: u64 = 1 << 16;

fn source() -> Address {
    Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)))
}

fn identity(me: Party, boot: u64, started: bool) -> Identity {
    let cluster = ClusterCell::new();
    if started {
        cluster.set(CLUSTER);
    }
    Identity { n: N, rows: N, me, boot: BootId(boot), cluster, guard: Guard::none() }
}

/// The receiver: a replica or a client, which knows its cluster or does not know it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Receiver {
    me: Party,
    started: bool,
}

const RECEIVERS: [Receiver; 4] = [
    Receiver { me: OURS, started: true },
    Receiver { me: Party::Client, started: true },
    Receiver { me: OURS, started: false },
    Receiver { me: Party::Client, started: false },
];

impl Receiver {
    fn decoder(self, counters: &Arc<Counters>) -> Decoder {
        Decoder::new(identity(self.me, 7, self.started), Arc::clone(counters))
    }

    fn drawn(rng: &mut Rng) -> Receiver {
        RECEIVERS[[0, 0, 0, 0, 0, 1, 1, 2, 3][rng.usize(..9)]]
    }
}

fn push(body: &mut Vec<u8>, message: &impl serde::Serialize) {
    let before = std::mem::take(body);
    *body = postcard::to_extend(message, before).expect("memory never fails");
}

/// A frame around a body, from a sender that may send it.
fn sealed(from: Party, to: Party, kind: BodyKind, cluster: ClusterId, body: &Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::begin(&mut bytes);
    bytes.extend_from_slice(&body.bytes);
    frame::seal(&identity(from, 9, true), to, cluster, kind, body.messages, &mut bytes);
    bytes
}

#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    messages: usize,
}

impl Body {
    fn add(&mut self, message: &impl serde::Serialize) {
        push(&mut self.bytes, message);
        self.messages += 1;
    }
}

fn cut(rng: &mut Rng) -> Cut {
    let piece = rng.usize(PIECE_BYTES_MIN..1_400);
    let total = rng.usize(piece + 1..=MESSAGE_BYTES_MAX);
    Cut { digest: rng.u64(..), total: total as u32, piece: piece as u16 }
}

/// A valid frame to `me`.
fn valid(rng: &mut Rng, me: Party) -> Vec<u8> {
    let around = Around::anything(rng);
    let mut body = Body::default();
    let (peer, client) = (Party::Replica(PEER), Party::Client);
    let count = if rng.u8(..3) == 0 { rng.usize(1..12) } else { 1 };
    if me == client {
        for _ in 0..count {
            body.add(&on_wire(&draw::answer(rng, &around, Session::default())));
        }
        return sealed(peer, me, BodyKind::Messages, CLUSTER, &body);
    }
    match rng.u8(..14) {
        0 => {
            let cut = cut(rng);
            let index = rng.usize(..cut.pieces());
            let piece = usize::from(cut.piece);
            let length = (cut.total as usize - index * piece).min(piece);
            let bytes = vec![rng.u8(..); length];
            Fragment { cut, index: index as u16, bytes: &bytes }.write(&mut body.bytes);
            body.messages = 1;
            let from = if rng.bool() { peer } else { client };
            sealed(from, me, BodyKind::Fragment, CLUSTER, &body)
        }
        1 => {
            let cut = cut(rng);
            let step = rng.usize(1..4);
            let indexes = (0..cut.pieces() as u16).step_by(step).take(rng.usize(1..9)).collect();
            Missing { cut, indexes }.write(&mut body.bytes);
            sealed(peer, me, BodyKind::Missing, CLUSTER, &body)
        }
        2 => {
            body.bytes.extend_from_slice(&probe_body(rng.u32(..)));
            body.messages = 1;
            let from = if rng.bool() { peer } else { client };
            let answers = from == peer && rng.bool();
            let kind = if answers { BodyKind::ProbeAnswer } else { BodyKind::Probe };
            let mut frame = sealed(from, me, kind, CLUSTER, &body);
            let bytes = frame.len();
            frame.resize(bytes + rng.usize(..1_400), 0);
            frame::pad(&mut frame, bytes);
            frame
        }
        3 => sealed(peer, me, BodyKind::Nothing, CLUSTER, &body),
        4..7 => {
            for _ in 0..count {
                body.add(&ClientMessage::Request(draw::request(rng, &around)));
            }
            if rng.u8(..4) == 0 {
                body = Body::default();
                body.add(&ClientMessage::Inquiry(Box::new(draw::inquiry(rng, &around))));
                return sealed(client, me, BodyKind::Messages, CLUSTER, &body);
            }
            if rng.u8(..8) == 0 {
                body = Body::default();
                let message = ClientMessage::Members(draw::members_query(rng));
                body.add(&message);
                body.messages = frame::answers_to(&message);
                return sealed(client, me, BodyKind::Messages, CLUSTER, &body);
            }
            if rng.u8(..8) == 0 {
                body = Body::default();
                (0..count).for_each(|_| body.add(&ClientMessage::Mark { read: rng.u64(..) }));
                return sealed(client, me, BodyKind::Messages, CLUSTER, &body);
            }
            if rng.u8(..4) == 0 {
                body = Body::default();
                let message = ClientMessage::Follow(draw::follow_query(rng, &around));
                body.add(&message);
                // Some do not pay for what they ask for.
                let paid = frame::answers_to(&message) - usize::from(rng.u8(..4) == 0);
                body.messages = paid.max(1);
                return sealed(client, me, BodyKind::Messages, CLUSTER, &body);
            }
            if rng.u8(..4) == 0 {
                body = Body::default();
                let query = StatusQuery { below: draw::slot(rng, &around) };
                body.add(&ClientMessage::Status(query));
                body.messages = rng.usize(1..20);
                return sealed(client, me, BodyKind::Messages, ClusterId::NONE, &body);
            }
            if rng.u8(..4) == 0 {
                body = Body::default();
                body.add(&ClientMessage::Hello);
                return sealed(client, me, BodyKind::Messages, ClusterId::NONE, &body);
            }
            // A client puts several commands into a datagram, but not into one message.
            body.messages = 3 * count;
            sealed(client, me, BodyKind::Messages, CLUSTER, &body)
        }
        7 => {
            let ready = draw::ready(rng, &around, PEER);
            let ready = multipaxos::message::ToBootstrap::Ready(Box::new(ready));
            body.add(&Message::Bootstrap(ready));
            sealed(peer, me, BodyKind::Messages, ClusterId::NONE, &body)
        }
        _ => {
            for _ in 0..count {
                body.add(&draw::message(rng, &around, PEER));
            }
            let fits = body.bytes.len() + HEADER_BYTES <= DATAGRAM_BYTES_MAX;
            if fits { sealed(peer, me, BodyKind::Messages, CLUSTER, &body) } else { valid(rng, me) }
        }
    }
}

/// The initial frames, for replicas and for clients.
struct Corpus {
    part: u64,
    frames: [Vec<Vec<u8>>; 2],
}

impl Corpus {
    fn new() -> Corpus {
        Corpus { part: u64::MAX, frames: Default::default() }
    }

    /// The frames for the part of the search that contains this input.
    fn at(&mut self, number: u64, property: Property) -> &mut Corpus {
        let part = number / PART;
        if self.part != part {
            self.part = part;
            let mut rng = stream(part ^ (property.cost << 32), "corpus");
            for (frames, me) in self.frames.iter_mut().zip([OURS, Party::Client]) {
                *frames = (0..CORPUS).map(|_| valid(&mut rng, me)).collect();
            }
        }
        self
    }

    fn draw(&self, rng: &mut Rng, me: Party) -> &[u8] {
        let frames = &self.frames[usize::from(me == Party::Client)];
        &frames[rng.usize(..frames.len())]
    }
}

fn repair_check(bytes: &mut [u8]) {
    if bytes.len() >= HEADER_BYTES {
        let check = frame::check_of(bytes);
        bytes[27..31].copy_from_slice(&check.to_le_bytes());
    }
}

/// Corrects every field of the header that would make the receiver stop early.
fn repair_header(rng: &mut Rng, bytes: &mut Vec<u8>, receiver: Receiver) {
    if bytes.len() < HEADER_BYTES {
        bytes.resize(HEADER_BYTES, 0);
    }
    bytes.truncate(DATAGRAM_BYTES_MAX);
    bytes[..4].copy_from_slice(&frame::MAGIC);
    bytes[4] = frame::VERSION;
    bytes[5] = N as u8;
    if bytes[6] != 0xFF || receiver.me == Party::Client {
        bytes[6] = rng.u8(1..N as u8);
    }
    bytes[7] = if receiver.me == OURS { 0 } else { 0xFF };
    let cluster = if rng.u8(..16) == 0 { ClusterId::NONE } else { CLUSTER };
    bytes[8..16].copy_from_slice(&cluster.0.to_le_bytes());
    bytes[24] = if rng.u8(..8) == 0 { rng.u8(1..7) } else { bytes[24].clamp(1, 6) };
    let body = bytes.len() - HEADER_BYTES;
    // A client's frame may have padding.
    let padding = bytes.iter().rev().take(body).take_while(|byte| **byte == 0).count();
    let body = if rng.bool() { body } else { body - rng.usize(..=padding) };
    bytes[25..27].copy_from_slice(&(body as u16).to_le_bytes());
    repair_check(bytes);
}

/// The number of dropped frames, for any reason.
fn drops(counters: &Counters) -> u64 {
    DropReason::ALL.iter().map(|reason| counters.of(*reason)).sum()
}

/// Encodes the accepted messages again, and asserts that they open to the same.
fn assert_opens_again(receiver: Receiver, bytes: &[u8], taken: &[Incoming]) {
    let mut body = Body::default();
    for incoming in taken {
        match incoming {
            Incoming::Peer { message, .. } => body.add(message),
            Incoming::WarmUp { message, .. } => body.add(&Message::Bootstrap(message.clone())),
            Incoming::Refused { .. } => panic!("nothing was refused"),
            // It says where the frame came from.
            Incoming::Life { .. } => {}
            Incoming::Answer { answer, .. } => body.add(&on_wire(answer)),
            // It says no more of the frame.
            Incoming::OtherCluster { .. } => return,
            Incoming::Client { message: ClientMessage::Hello, .. } => {
                body.add(&ClientMessage::Hello);
            }
            Incoming::Client {
                message:
                    message @ (ClientMessage::Status(_)
                    | ClientMessage::Follow(_)
                    | ClientMessage::Mark { .. }
                    | ClientMessage::Members(_)),
                ..
            } => {
                body.add(message);
                body.messages += frame::answers_to(message) - 1;
            }
            Incoming::Client { message: ClientMessage::Inquiry(inquiry), .. } => {
                body.add(&ClientMessage::Inquiry(inquiry.clone()));
            }
            Incoming::Client { message: ClientMessage::Request(request), .. } => {
                for index in 0..request.commands.len() {
                    body.add(&ClientMessage::Request(request.only(index)));
                }
            }
        }
    }
    let from = if bytes[6] == 0xFF { Party::Client } else { Party::Replica(ReplicaId(bytes[6])) };
    let cluster = bytes[8..16].first_chunk().expect("eight bytes");
    let cluster = ClusterId(u64::from_le_bytes(*cluster));
    let sender = identity(from, 5, true);
    if frame::sealed_bytes(&sender, body.bytes.len(), body.messages) > DATAGRAM_BYTES_MAX {
        return;
    }
    let again = sealed(from, receiver.me, BodyKind::Messages, cluster, &body);
    let mut reopened = Vec::new();
    let opened = receiver.decoder(&Arc::default()).open(source(), &again, &mut reopened);
    assert_eq!(opened.map(|opened| opened.body), Ok(Opened::Messages));
    assert_eq!(reopened, taken);
}

/// Opens a frame. Returns whether it was accepted.
fn open(receiver: Receiver, counters: &Arc<Counters>, bytes: &[u8]) -> bool {
    let mut decoder = receiver.decoder(counters);
    let mut taken = Vec::new();
    let before = drops(counters);
    let mut opened = None;
    let info = measure(|| opened = Some(decoder.open(source(), bytes, &mut taken)));
    let is_client = bytes.get(6) == Some(&0xFF) && receiver.me == OURS;
    let per_byte = if is_client { CLIENT_BYTES_PER_BYTE_MAX } else { BYTES_PER_BYTE_MAX };
    let bound = per_byte * bytes.len() as u64 + BYTES_FIXED;
    assert!(
        info.bytes_total <= bound,
        "{} bytes allocated for {}: {:?}",
        info.bytes_total,
        bytes.len(),
        opened
    );
    let right =
        bytes.len() >= HEADER_BYTES && bytes[27..31] == frame::check_of(bytes).to_le_bytes();
    match opened.expect("it was opened") {
        Ok(opened) => {
            assert!(right, "a frame with a wrong check is accepted");
            assert_eq!(drops(counters), before, "an accepted frame is counted as dropped");
            match opened.body {
                Opened::Messages => {
                    assert!(!taken.is_empty(), "a frame without messages is accepted");
                    assert_opens_again(receiver, bytes, &taken);
                }
                Opened::Fragment(fragment) => {
                    let mut body = Vec::new();
                    fragment.write(&mut body);
                    assert_eq!(Fragment::parse(&body), Some(fragment));
                    assert_eq!(body, bytes[HEADER_BYTES..HEADER_BYTES + body.len()]);
                }
                Opened::Probe(id) | Opened::ProbeAnswer(id) => {
                    assert_eq!(parse_probe(&bytes[HEADER_BYTES..HEADER_BYTES + 4]), Some(id));
                }
                Opened::Nothing => {}
                Opened::Handshake(_) => panic!("nobody here has a key"),
                Opened::Missing(missing) => {
                    let mut body = Vec::new();
                    missing.write(&mut body);
                    assert_eq!(Missing::parse(&body).as_ref(), Some(&missing));
                    assert_eq!(body, bytes[HEADER_BYTES..HEADER_BYTES + body.len()]);
                }
            }
            true
        }
        Err(why) => {
            // Of a retired life the newest heartbeat is handed on (S12).
            let told = |incoming: &Incoming| match incoming {
                Incoming::Refused { .. } => true,
                Incoming::Peer { message, .. } => matches!(message, Message::Heartbeat(_)),
                _ => false,
            };
            assert!(taken.iter().all(told) && taken.len() <= 1, "a dropped frame yields {taken:?}");
            assert_eq!(drops(counters), before + 1, "a dropped frame is not counted once: {why:?}");
            false
        }
    }
}

#[test]
fn arbitrary_bytes_are_dropped() {
    let property =
        Property { name: "frames::arbitrary_bytes_are_dropped", cases: 200_000, cost: 2 };
    let counters = Arc::default();
    repeat(property, |_, rng| {
        let mut bytes = edit::bytes(rng, 200);
        let receiver = Receiver::drawn(rng);
        let raw = rng.bool();
        if !raw {
            repair_header(rng, &mut bytes, receiver);
        }
        let taken = open(receiver, &counters, &bytes);
        assert!(!(raw && taken), "a changed frame with a wrong check is accepted");
    });
}

#[test]
fn a_changed_frame_is_taken_whole_or_not_at_all() {
    let name = "frames::a_changed_frame_is_taken_whole_or_not_at_all";
    let property = Property { name, cases: 1_200_000, cost: 1 };
    let (counters, mut corpus) = (Arc::default(), Corpus::new());
    let (mut taken, mut with_wrong_check) = (0, 0);
    let mut cases = 0;
    repeat(property, |number, rng| {
        cases += 1;
        let corpus = corpus.at(number, property);
        let receiver = Receiver::drawn(rng);
        let mut bytes = corpus.draw(rng, receiver.me).to_vec();
        let other = if rng.u8(..4) == 0 { OURS } else { receiver.me };
        match rng.u8(..5) {
            0 => {
                let other = corpus.draw(rng, other);
                edits(rng, &mut bytes, other);
                with_wrong_check += u64::from(open(receiver, &counters, &bytes));
            }
            1 | 2 => {
                let other = corpus.draw(rng, other);
                edits(rng, &mut bytes, other);
                repair_check(&mut bytes);
                taken += u64::from(open(receiver, &counters, &bytes));
            }
            _ => {
                let mut body = bytes.split_off(HEADER_BYTES);
                let other = corpus.draw(rng, other);
                edits(rng, &mut body, &other[HEADER_BYTES..]);
                bytes.append(&mut body);
                repair_header(rng, &mut bytes, receiver);
                taken += u64::from(open(receiver, &counters, &bytes));
            }
        }
    });
    if property.is_full() {
        println!("{taken} of them came past the checks");
        assert!(taken > cases / 20, "of {cases} frames only {taken} came past the checks");
        assert!(with_wrong_check < cases / 50, "{with_wrong_check} changes changed nothing");
    }
}

/// The longest lists that a datagram can hold: of the shortest messages.
#[test]
fn the_longest_datagrams_take_no_memory_on_credit() {
    let name = "frames::the_longest_datagrams_take_no_memory_on_credit";
    let property = Property { name, cases: 400, cost: 800 };
    let counters = Arc::default();
    repeat(property, |_, rng| {
        let receiver = Receiver::drawn(rng);
        let mut bytes = valid(rng, receiver.me);
        let body = bytes.split_off(HEADER_BYTES);
        let length = rng.usize(1_000..DATAGRAM_BYTES_MAX - HEADER_BYTES);
        let unit = match rng.u8(..6) {
            0 => vec![0],
            1 => vec![3, rng.u8(..100)],
            2 => vec![0, 1, rng.u8(..)],
            3 => edit::bytes(rng, 12),
            _ => body.clone(),
        };
        let unit = if unit.is_empty() { vec![0] } else { unit };
        let head = if rng.bool() { Vec::new() } else { body[..rng.usize(..=body.len())].to_vec() };
        bytes.extend(head.into_iter().chain(unit.into_iter().cycle()).take(length));
        if rng.u8(..3) == 0 {
            bytes[6] = 0xFF;
        }
        repair_header(rng, &mut bytes, receiver);
        open(receiver, &counters, &bytes);
    });
}

#[test]
fn joined_bytes_are_one_message_or_none() {
    let property =
        Property { name: "frames::joined_bytes_are_one_message_or_none", cases: 200_000, cost: 1 };
    let mut accepted = 0;
    let mut cases = 0;
    repeat(property, |_, rng| {
        cases += 1;
        let around = Around::anything(rng);
        let from = match rng.bool() {
            true => Endpoint::Replica(PEER),
            false => Endpoint::Client(source()),
        };
        let one = |rng: &mut Rng| {
            let mut body = Body::default();
            match from {
                Endpoint::Replica(from) => body.add(&draw::message(rng, &around, from)),
                Endpoint::Stray(..) => unreachable!("nothing comes from there"),
                Endpoint::Client(_) => {
                    body.add(&ClientMessage::Request(draw::request(rng, &around)));
                }
            }
            body.bytes
        };
        let (mut bytes, other) = (one(rng), one(rng));
        if rng.u8(..4) > 0 {
            edits(rng, &mut bytes, &other);
        }
        let cluster = if rng.u8(..8) == 0 { ClusterId::NONE } else { CLUSTER };
        let receiver = RECEIVERS[if rng.u8(..8) == 0 { 2 } else { 0 }];
        let (counters, mut taken) = (Arc::default(), Vec::new());
        let mut decoder = receiver.decoder(&counters);
        let mut opened = Err(DropReason::Body);
        let info = measure(|| opened = decoder.open_joined(from, cluster, &bytes, &mut taken));
        let bound = BYTES_PER_BYTE_MAX * bytes.len() as u64 + BYTES_FIXED;
        assert!(info.bytes_total <= bound, "{info:?} for {} bytes", bytes.len());
        assert_eq!(taken.len(), usize::from(opened.is_ok()), "{opened:?}");
        if let [incoming] = taken.as_slice() {
            accepted += 1;
            let mut again = Body::default();
            match incoming {
                Incoming::Peer { message, .. } => again.add(message),
                Incoming::WarmUp { message, .. } => again.add(&Message::Bootstrap(message.clone())),
                Incoming::Refused { .. } | Incoming::Life { .. } => panic!("no such frame"),
                Incoming::Client { message, .. } => again.add(message),
                Incoming::Answer { .. } | Incoming::OtherCluster { .. } => {
                    panic!("a replica got an answer")
                }
            }
            let mut reopened = Vec::new();
            let opened = decoder.open_joined(from, cluster, &again.bytes, &mut reopened);
            assert_eq!((opened, reopened.as_slice()), (Ok(()), taken.as_slice()));
        }
    });
    if property.is_full() {
        assert!(accepted > cases / 5, "of {cases} only {accepted} were messages");
    }
}
