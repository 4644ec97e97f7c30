//! Fragments: in any order, repeated, lost, late, and with lies about other senders' messages.
//!
//! A list of steps delivers fragments of a few messages from a few senders. Some fragments have
//! another length, cut or bytes than their digest says. Meanwhile time passes, and the receiver
//! asks for missing fragments.
//!
//! **What must hold.** A joined message has the digest that it was announced with. The bytes
//! held are no more than have arrived, and stay within their bounds. The receiver sends a
//! client no more bytes of requests than the client has sent. After a timer has fired it is not
//! due any more.

use crate::run::{Property, check};
use datagrams::counters::Counters;
use datagrams::fragment::{BYTES_MAX, Cut, Fragment, PIECE_BYTES_MIN, Reassembler, SETS_MAX};
use multipaxos::net::Endpoint;
use multipaxos::net::frame::{CLIENT_MESSAGE_BYTES_MIN, HEADER_BYTES};
use multipaxos::types::{Address, ReplicaId};
use proptest::collection::vec;
use proptest::prelude::*;
use seeds::stream;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

#[derive(Debug, Clone)]
enum Step {
    Piece {
        sender: u8,
        message: u8,
        index: u8,
        lie: u8,
    },
    /// All fragments but the one with this index.
    AllBut {
        sender: u8,
        message: u8,
        index: u8,
    },
    Wait {
        us: u32,
    },
    Poll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let piece = (0..6u8, 0..5u8, any::<u8>(), any::<u8>())
        .prop_map(|(sender, message, index, lie)| Step::Piece { sender, message, index, lie });
    let most = (0..6u8, 0..5u8, any::<u8>()).prop_map(|(sender, message, index)| Step::AllBut {
        sender,
        message,
        index,
    });
    let wait = (0..60_000u32).prop_map(|us| Step::Wait { us });
    vec(prop_oneof![6 => piece, 2 => most, 2 => wait, 1 => Just(Step::Poll)], 1..120)
}

fn sender(number: u8) -> Endpoint {
    match number {
        0..3 => Endpoint::Replica(ReplicaId(number)),
        _ => {
            let port = 5_000 + u16::from(number);
            Endpoint::Client(Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
        }
    }
}

/// A message of a few fragments. Its number decides the cut too.
fn message(number: u8) -> (Cut, Vec<u8>) {
    let mut rng = stream(u64::from(number), "message");
    let piece = PIECE_BYTES_MIN + usize::from(number);
    let mut bytes = vec![0; piece * (2 + usize::from(number)) + 7 * usize::from(number % 3)];
    rng.fill(&mut bytes);
    (Cut { digest: xxh3_64(&bytes), total: bytes.len() as u32, piece: piece as u16 }, bytes)
}

fn piece_of(cut: Cut, bytes: &[u8], index: u16) -> Vec<u8> {
    let from = usize::from(index) * usize::from(cut.piece);
    bytes[from..(from + usize::from(cut.piece)).min(bytes.len())].to_vec()
}

struct Joiner {
    reassembler: Reassembler<Endpoint>,
    now: u64,
    arrived: usize,
    /// For each client, the bytes that it sent and the bytes that it was asked with.
    credit: BTreeMap<Endpoint, (usize, usize)>,
    inputs: u64,
    joined: u64,
}

impl Joiner {
    fn insert(&mut self, from: Endpoint, cut: Cut, index: u16, bytes: &[u8]) {
        let mut body = Vec::new();
        Fragment { cut, index, bytes }.write(&mut body);
        // A fragment that contradicts itself does not reach the reassembler.
        let Some(fragment) = Fragment::parse(&body) else { return };
        self.inputs += 1;
        self.arrived += bytes.len();
        self.credit.entry(from).or_default().0 +=
            HEADER_BYTES + CLIENT_MESSAGE_BYTES_MIN.max(body.len());
        if let Some(joined) = self.reassembler.insert(self.now, from, 1, 1, fragment) {
            assert_eq!((joined.len(), xxh3_64(&joined)), (cut.total as usize, cut.digest));
            self.joined += 1;
        }
        let (peers, clients) = self.reassembler.held_bytes();
        assert!(
            peers + clients <= self.arrived,
            "{peers} and {clients} bytes are held, more than arrived"
        );
        assert!(peers.max(clients) <= BYTES_MAX);
        let (peers, clients) = self.reassembler.held_sets();
        assert!(peers.max(clients) <= SETS_MAX);
    }

    fn poll(&mut self) {
        let credit = &mut self.credit;
        self.reassembler.poll(
            self.now,
            |_| 0,
            |to, _, missing| {
                let mut body = Vec::new();
                missing.write(&mut body);
                credit.entry(to).or_default().1 += HEADER_BYTES + body.len();
            },
        );
        for (of, (sent, asked)) in &self.credit {
            let is_client = matches!(of, Endpoint::Client(_));
            assert!(
                !is_client || asked <= sent,
                "{of:?} sent {sent} bytes, and was asked with {asked}"
            );
        }
        let due = self.reassembler.deadline();
        assert!(due.is_none_or(|due| due > self.now), "a timer at {due:?} spins");
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Wait { us } => self.now += u64::from(us),
            Step::Poll => self.poll(),
            Step::AllBut { sender: from, message: number, index } => {
                let (cut, bytes) = message(number);
                let left_out = u16::from(index) % (cut.pieces() as u16 + 1);
                for index in (0..cut.pieces() as u16).filter(|index| *index != left_out) {
                    self.insert(sender(from), cut, index, &piece_of(cut, &bytes, index));
                }
            }
            Step::Piece { sender: from, message: number, index, lie } => {
                let (mut cut, mut bytes) = message(number);
                match lie {
                    0..4 => cut.digest ^= 1,
                    4..8 => bytes[0] ^= 1,
                    8..12 => cut.piece += 1,
                    12..16 => {
                        cut.total += 1;
                        bytes.push(0);
                    }
                    _ => {}
                }
                let index = u16::from(index) % cut.pieces() as u16;
                self.insert(sender(from), cut, index, &piece_of(cut, &bytes, index));
            }
        }
    }
}

#[test]
fn what_is_joined_is_what_was_announced() {
    let name = "joining::what_is_joined_is_what_was_announced";
    let mut joined = 0;
    let property = Property { name, cases: 400, cost: 180 };
    check(property, steps(), |steps| {
        let reassembler = Reassembler::new(Arc::new(Counters::new()));
        let (credit, now) = (BTreeMap::new(), 0);
        let mut joiner = Joiner { reassembler, now, arrived: 0, credit, inputs: 0, joined: 0 };
        steps.iter().for_each(|step| joiner.step(step));
        // In the end every message is complete or given up.
        for _ in 0..200 {
            joiner.now += 1_000_000;
            joiner.poll();
        }
        assert_eq!(joiner.reassembler.held_sets(), (0, 0));
        assert_eq!(joiner.reassembler.held_bytes(), (0, 0));
        joined += joiner.joined;
        joiner.inputs
    });
    if property.is_full() {
        assert!(joined > 0, "nothing was ever joined");
    }
}
