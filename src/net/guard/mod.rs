//! Which datagrams are believed: those of whoever has a key of the cluster.
//!
//! Without a key every datagram that is well formed is believed, and this module does nothing.
//! With one, each ends with a *proof*, and is dropped before anything of it is decoded unless the
//! proof is right:
//!
//! ```text
//!  offset  bytes  little-endian
//!       0      4  the number of the client's key, 0 for the cluster's
//!       4      7  the session: its number doubled, and 1 more if the sender did not begin it
//!      11      8  the number of the datagram in the session, from 1
//!      19     16  the tag, over all of the datagram before it
//! ```
//!
//! **A session** joins two lives: of the process that began it and of the one that answered. It
//! has a key for each direction ([`key`]), and both ends keep a window of the numbers that came
//! (`session`). So nothing passes that is forged, changed, cut, repeated, sent back to its
//! sender, or sent on to another replica. Nothing passes of a former life of either end, or from
//! another cluster: a process that has restarted has no session from before.
//!
//! ```text
//!  A, which has to send something                      B
//!    greeting: nonce             --- [greeting key] --->   gives the session a number,
//!                                                          and remembers nothing
//!    derives both keys, begins   <-- [greeting key] ---    ticket: nonce, A's life, number
//!    any datagram, number 1      --- [key forth] ------>   derives both keys, begins
//!    ...                         <-- [key back] -------    ...
//! ```
//!
//! A knows that the ticket is new by its nonce and its life: none but this life of A has sent that
//! nonce, and it takes one ticket for it. B knows that A lives by its first datagram: B gives each
//! number once, so the keys are new, and who tags with them has heard the ticket. A repeated
//! greeting draws another ticket, which is of use to nobody; it is no longer than the greeting.
//! A session never begins twice: B remembers it, or has forgotten it and takes no number as low
//! (`session`, `clients`).
//!
//! Both ends of two replicas greet at the other's configured address. Whatever life answers there,
//! they send to it by the session in which it was heard last: it has that one, while it may have
//! forgotten others. A client's session holds for the address that the replica sees. There are no
//! timers. A process greets when it has something to send and no session, or when it has sent for
//! a while and heard nothing of that life.
//!
//! **Which key for what.** A replica takes datagrams in a replica's name by the cluster's key
//! alone, and a client's by a client's key. So a client's key, in whatever hands, asks what
//! clients may ask. One number of a client's key is the operator's: nobody is given that key, so who
//! tags with it has made it of the cluster's.
//!
//! **Guarantees.** Deterministic: it reads no clock and draws nothing. Its memory is bounded. No
//! work that it does for a datagram without a right tag is more than four derivations and two
//! tags; most are dropped after a look at the header.
//!
//! **Does not** hide anything: everything travels in the clear. It does not keep back a datagram
//! that the network has delayed, as long as it has not come before: the protocol bears that.

mod clients;
pub mod key;
mod session;
#[cfg(test)]
mod tests;

use super::Endpoint;
use super::frame::{
    self, CLIENT, HEADER_BYTES, Identity, PROOF_BYTES, kind_of, padded_body, party_byte,
};
use crate::message::Party;
use crate::types::{Address, ClusterId, ReplicaId};
use clients::{ClientSession, Clients};
use datagrams::codec::{BodyKind, Protected};
use datagrams::counters::DropReason;
use key::{KEYS_MAX, Keys, OPERATOR, PLACE_BYTES, Prepared, TAG_BYTES, TagKey, Terms};
use session::{Begun, Peer, Session, Silence};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

// In a proof.
const AT_SESSION: usize = 4;
const AT_NUMBER: usize = AT_SESSION + 7;
const AT_TAG: usize = AT_NUMBER + 8;

const _: () = assert!(AT_TAG + TAG_BYTES == PROOF_BYTES);

/// The bytes of the body of a greeting, and of its ticket: nonce, life, number, place.
const HANDSHAKE_BYTES: usize = 24 + PLACE_BYTES;

const _: () = assert!(HANDSHAKE_BYTES <= frame::CLIENT_MESSAGE_BYTES_MIN);

/// What a process knows of its sessions. All of its threads share it.
#[derive(Debug, Clone, Default)]
pub struct Guard(Option<Arc<State>>);

#[derive(Debug)]
struct State {
    /// The first is used, all are taken.
    secrets: Vec<Prepared>,
    /// The number of the key that this process tags with; 0 for the cluster's.
    number: u32,
    /// How many sessions others have begun here, or might have.
    issued: AtomicU64,
    peers: Vec<Mutex<Peer>>,
    clients: Mutex<Clients>,
}

/// What may be done with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It is what its sender sent, and has not come before.
    Frame,
    /// The same of somebody who has the cluster's key; or there is no key.
    Operator,
    /// It is a greeting or a ticket, by the key at this place among the process's own.
    Handshake(usize),
}

impl Guard {
    /// For a process without a key.
    pub fn none() -> Self {
        Guard::default()
    }

    /// For one life of a process with these keys, in a cluster of at most `rows` replicas.
    ///
    /// # Panics
    ///
    /// If there is no key, or more than [`KEYS_MAX`].
    pub fn new(keys: &Keys, rows: usize) -> Self {
        let (number, secrets) = match keys {
            Keys::Cluster(secrets) => (0, &secrets[..]),
            Keys::Client { number, secret } => (*number, std::slice::from_ref(secret)),
        };
        assert!((1..=KEYS_MAX).contains(&secrets.len()), "{} keys", secrets.len());
        let secrets = secrets.iter().map(Prepared::new).collect();
        Guard(Some(Arc::new(State::new(secrets, number, rows))))
    }

    /// For one life of a process with these keys, if it has any.
    pub fn of(keys: Option<&Keys>, rows: usize) -> Self {
        keys.map_or_else(Guard::none, |keys| Guard::new(keys, rows))
    }

    /// With the same keys, and no session yet: for another socket of the process.
    #[must_use]
    pub fn afresh(&self) -> Self {
        let Some(state) = &self.0 else { return Guard::none() };
        Guard(Some(Arc::new(State::new(state.secrets.clone(), state.number, state.peers.len()))))
    }

    /// Whether there is a key.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The bytes of the proof of each datagram.
    pub fn proof_bytes(&self) -> usize {
        if self.is_on() { PROOF_BYTES } else { 0 }
    }
}

impl State {
    fn new(secrets: Vec<Prepared>, number: u32, rows: usize) -> Self {
        let (issued, clients) = (AtomicU64::new(0), Mutex::default());
        let peers = (0..rows).map(|_| Mutex::default()).collect();
        State { secrets, number, issued, peers, clients }
    }

    fn peer(&self, id: ReplicaId) -> MutexGuard<'_, Peer> {
        self.peers[id.index()].lock().expect("no thread panics with it")
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().expect("no thread panics with it")
    }
}

/// The session and the number that a proof names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    session: u64,
    /// Whether the sender has begun it.
    by_sender: bool,
    number: u64,
}

impl Claim {
    fn of(proof: &[u8]) -> Self {
        let mut session = [0; 8];
        session[..7].copy_from_slice(&proof[AT_SESSION..AT_NUMBER]);
        let session = u64::from_le_bytes(session);
        let number = u64_at(proof, AT_NUMBER);
        Claim { session: session >> 1, by_sender: session & 1 == 0, number }
    }
}

/// The proof of a frame that has one.
fn proof_of(frame: &[u8]) -> &[u8] {
    &frame[frame.len() - PROOF_BYTES..]
}

/// Writes the proof of a sealed frame.
fn prove(frame: &mut [u8], key_number: u32, claim: Claim, key: &TagKey) {
    let Claim { session, by_sender, number } = claim;
    let at = frame.len() - PROOF_BYTES;
    let (tagged, tag) = frame.split_at_mut(at + AT_TAG);
    let proof = &mut tagged[at..];
    proof[..AT_SESSION].copy_from_slice(&key_number.to_le_bytes());
    let session = session << 1 | u64::from(!by_sender);
    proof[AT_SESSION..AT_NUMBER].copy_from_slice(&session.to_le_bytes()[..7]);
    proof[AT_NUMBER..].copy_from_slice(&number.to_le_bytes());
    tag.copy_from_slice(&key.tag(number, tagged));
}

fn is_proven(frame: &[u8], key: &TagKey) -> bool {
    let (tagged, tag) = frame.split_at(frame.len() - TAG_BYTES);
    key.is_tag(u64_at(proof_of(frame), AT_NUMBER), tagged, tag)
}

impl Identity {
    /// Writes the proofs of sealed and stamped datagrams, of which each but the last has `size`
    /// bytes. This is the last that is done before they leave; it may be done again.
    pub fn protect(&self, to: Endpoint, datagrams: &mut [u8], size: usize) -> Protected {
        let Some(state) = self.guard.0.as_deref() else { return Protected::LEAVES };
        let size = size.clamp(1, datagrams.len().max(1));
        let count = datagrams.len().div_ceil(size) as u64;
        let mut greeting = None;
        let found = match to {
            Endpoint::Replica(id) => {
                let mut peer = state.peer(id);
                let is_client = self.me == Party::Client;
                greeting = peer.calls(if is_client { Silence::CLIENT } else { Silence::PEER });
                let found = peer.outward().map(|session| departing(session, count));
                if found.is_none() {
                    peer.hold(datagrams.chunks(size));
                }
                found
            }
            Endpoint::Stray(id, at) => {
                state.peer(id).at(at).map(|session| departing(session, count))
            }
            Endpoint::Client(at) => state.clients().find(at).map(|session| {
                let number = session.leave(count);
                (session.send.clone(), Claim { session: session.number, by_sender: false, number })
            }),
        };
        let greeting =
            greeting.map(|nonce| self.greeting(state, to, &[nonce, 0, 0], &[0; PLACE_BYTES]));
        let Some((key, mut claim)) = found else {
            // A client that is told of a wrong configuration has no session yet.
            return Protected { leaves: is_refusal(to, datagrams), greeting };
        };
        for datagram in datagrams.chunks_mut(size) {
            prove(datagram, state.number, claim, &key);
            claim.number += 1;
        }
        Protected { leaves: true, greeting }
    }

    /// A greeting.
    fn greeting(
        &self,
        state: &State,
        to: Endpoint,
        numbers: &[u64; 3],
        place: &[u8; PLACE_BYTES],
    ) -> Vec<u8> {
        let key = &state.secrets[0].greeting;
        self.handshake(to.party(), BodyKind::Greeting, state.number, key, numbers, place)
    }

    fn handshake(
        &self,
        to: Party,
        kind: BodyKind,
        key_number: u32,
        key: &TagKey,
        numbers: &[u64; 3],
        place: &[u8; PLACE_BYTES],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::begin(&mut bytes);
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes.extend_from_slice(place);
        frame::seal(self, to, ClusterId::NONE, kind, 1, &mut bytes);
        prove(&mut bytes, key_number, Claim { session: 0, by_sender: true, number: 0 }, key);
        bytes
    }

    /// Whether a frame of the right version, which came from the address `from`, is to be opened.
    /// A frame with a good tag is taken once.
    ///
    /// # Errors
    ///
    /// The reason to drop it.
    pub(super) fn admit(&self, from: Address, frame: &[u8]) -> Result<Admitted, DropReason> {
        let state = match (self.guard.0.as_deref(), frame::is_proven(frame)) {
            (Some(state), true) => state,
            (None, false) => return Ok(Admitted::Operator),
            _ => return Err(DropReason::Tag),
        };
        let key_number = u32_at(proof_of(frame), 0);
        let kind = kind_of(frame);
        if [BodyKind::Greeting, BodyKind::Ticket].iter().any(|it| kind == *it as u8) {
            let by = state.secrets.iter().position(|secret| match frame[6] == CLIENT {
                true => is_proven(frame, &secret.client(key_number).greeting),
                false => is_proven(frame, &secret.greeting),
            });
            return by.map(Admitted::Handshake).ok_or(DropReason::Tag);
        }
        let Identity { n, rows, me, .. } = *self;
        if usize::from(frame[5]) != n || frame[7] != party_byte(me) || frame[6] == frame[7] {
            return Err(DropReason::Tag);
        }
        let taken = match (frame[6], me) {
            (CLIENT, Party::Replica(me)) => self.admit_client(state, me, from, key_number, frame),
            (id, _) if usize::from(id) < rows => {
                self.admit_peer(state, ReplicaId(id), from, key_number, frame)
            }
            _ => None,
        };
        match taken {
            Some(true) if key_number == OPERATOR => Ok(Admitted::Operator),
            Some(true) => Ok(Admitted::Frame),
            Some(false) => Err(DropReason::Replay),
            None => Err(DropReason::Tag),
        }
    }

    /// Whether a peer's frame is taken. None if its tag is not right.
    fn admit_peer(
        &self,
        state: &State,
        id: ReplicaId,
        from: Address,
        key_number: u32,
        frame: &[u8],
    ) -> Option<bool> {
        // A client's number stands in what the client sends.
        if key_number != 0 {
            return None;
        }
        let claim = Claim::of(proof_of(frame));
        let begun = if claim.by_sender { Begun::There } else { Begun::Here };
        let life = u64_at(frame, 16);
        let known =
            state.peer(id).find(claim.session, begun).map(|it| (it.receive.clone(), it.life));
        match known {
            Some((key, of)) if of == life && is_proven(frame, &key) => {}
            Some(_) => return None,
            None => {
                let may_begin = begun == Begun::There
                    && self.me != Party::Client
                    && claim.session <= state.issued.load(Ordering::Relaxed)
                    && state.peer(id).may_begin(claim.session);
                if !may_begin {
                    return None;
                }
                let terms = Terms {
                    parties: [id.0, party_byte(self.me)],
                    lives: [life, self.boot.0],
                    number: claim.session,
                    place: [0; PLACE_BYTES],
                };
                let mut all = state.secrets.iter().map(|secret| secret.session(&terms));
                let keys = all.find(|keys| is_proven(frame, &keys.forth))?;
                state.peer(id).begin(Session::new(claim.session, begun, life, keys));
            }
        }
        Some(state.peer(id).take((claim.session, begun), claim.number, from))
    }

    /// Whether a client's frame is taken. None if its tag is not right.
    fn admit_client(
        &self,
        state: &State,
        me: ReplicaId,
        from: Address,
        key_number: u32,
        frame: &[u8],
    ) -> Option<bool> {
        let claim = Claim::of(proof_of(frame));
        let life = u64_at(frame, 16);
        let known = state
            .clients()
            .find(from)
            .map(|it| (it.number, it.receive.clone(), (it.life, it.key_number)));
        match known {
            Some((number, key, of)) if number == claim.session && claim.by_sender => {
                if of != (life, key_number) || !is_proven(frame, &key) {
                    return None;
                }
            }
            _ => {
                let may_begin = claim.by_sender
                    && claim.session <= state.issued.load(Ordering::Relaxed)
                    && state.clients().may_begin(from, claim.session);
                if !may_begin {
                    return None;
                }
                let terms = Terms {
                    parties: [CLIENT, me.0],
                    lives: [life, self.boot.0],
                    number: claim.session,
                    place: place_of(from),
                };
                let mut all = state.secrets.iter().map(|it| it.client(key_number).session(&terms));
                let keys = all.find(|keys| is_proven(frame, &keys.forth))?;
                let session = ClientSession::new(claim.session, life, key_number, keys);
                state.clients().begin(from, session);
            }
        }
        Some(state.clients().find(from).is_some_and(|session| session.take(claim.number)))
    }

    /// Answers a greeting, or begins a session by a ticket. Returns the datagrams that are to go
    /// back to the sender as they are.
    ///
    /// # Errors
    ///
    /// The reason to drop it.
    pub(super) fn shake_hands(
        &self,
        by: usize,
        from: Endpoint,
        at: Address,
        frame: &[u8],
    ) -> Result<Vec<Vec<u8>>, DropReason> {
        let state = self.guard.0.as_deref().ok_or(DropReason::Kind)?;
        let body = padded_body(frame).ok_or(DropReason::Length)?;
        if usize::from(u16_at(frame, 25)) != HANDSHAKE_BYTES || body.len() < HANDSHAKE_BYTES {
            return Err(DropReason::Body);
        }
        let life = u64_at(frame, 16);
        let [nonce, whose, number] = [0, 8, 16].map(|at| u64_at(body, at));
        let mut place = [0; PLACE_BYTES];
        if kind_of(frame) == BodyKind::Greeting as u8 {
            if self.me == Party::Client {
                return Err(DropReason::Kind);
            }
            let secret = &state.secrets[by];
            let (key_number, key) = match from {
                Endpoint::Client(_) => {
                    if body.len() < frame::CLIENT_MESSAGE_BYTES_MIN {
                        return Err(DropReason::Amplifies);
                    }
                    place = place_of(at);
                    let number = u32_at(proof_of(frame), 0);
                    (number, secret.client(number).greeting)
                }
                Endpoint::Replica(_) | Endpoint::Stray(..) => (0, secret.greeting.clone()),
            };
            let number = state.issued.fetch_add(1, Ordering::Relaxed) + 1;
            let (to, numbers) = (from.party(), [nonce, life, number]);
            let ticket = self.handshake(to, BodyKind::Ticket, key_number, &key, &numbers, &place);
            return Ok(vec![ticket]);
        }
        let Endpoint::Replica(id) = from else { return Err(DropReason::Kind) };
        place.copy_from_slice(&body[24..HANDSHAKE_BYTES]);
        let mut peer = state.peer(id);
        if whose != self.boot.0 || !peer.expects(nonce) {
            return Err(DropReason::Replay);
        }
        let terms = Terms {
            parties: [party_byte(self.me), id.0],
            lives: [self.boot.0, life],
            number,
            place,
        };
        peer.begin(Session::new(number, Begun::Here, life, state.secrets[by].session(&terms)));
        let mut held = peer.held();
        drop(peer);
        for datagram in &mut held {
            let size = datagram.len();
            self.protect(from, datagram, size);
        }
        Ok(held)
    }
}

fn departing(session: &mut Session, count: u64) -> (TagKey, Claim) {
    let number = session.leave(count);
    let by_sender = session.begun == Begun::Here;
    (session.send.clone(), Claim { session: session.number, by_sender, number })
}

/// Whether it is the bare header that tells a client what does not fit.
fn is_refusal(to: Endpoint, datagram: &[u8]) -> bool {
    matches!(to, Endpoint::Client(_))
        && datagram.len() == HEADER_BYTES + PROOF_BYTES
        && u64_at(datagram, 8) == ClusterId::NONE.0
}

/// An address in as many bytes for each family.
fn place_of(Address(address): Address) -> [u8; PLACE_BYTES] {
    let mut place = [0; PLACE_BYTES];
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    place[..16].copy_from_slice(&ip.octets());
    place[16..].copy_from_slice(&address.port().to_le_bytes());
    place
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[at + byte]))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
