//! A message longer than a datagram travels in fragments. (W2)
//!
//! A fragment names its message (by the digest of its bytes), the message's length, how it
//! was cut, and which piece this is. So a receiver can begin with any piece. The digest is
//! the message's identity: a sender that sends the same message again completes what the
//! receiver already has. A receiver that misses pieces asks for them some time after the
//! last piece came, ever more rarely, and finally gives up. The sender keeps the messages
//! that it has split lately, so that it can answer.
//!
//! ```text
//!  body of a fragment             body of a request for fragments
//!    8  xxh3 of the message         8  xxh3 of the message
//!    4  its length                  4  its length
//!    2  bytes of each piece         2  bytes of each piece
//!    2  which piece, from 0         2  which piece, ascending, once or more
//!    …  the piece
//! ```
//!
//! **Guarantees.** A joined message has the digest that its fragments announced. Memory
//! grows with the bytes that have arrived, never with a length that was claimed. It is
//! bounded for each sender, for all peers, and for all clients: a flood from clients evicts
//! clients' pieces only. A receiver never asks a client with more bytes than the client has
//! sent of that message.
//!
//! **Does not** read a clock, touch a socket, or decode what it joins. Times are
//! microseconds since any fixed moment.

use crate::codec::Endpoint;
use crate::counters::{Counters, DropReason, Event};
use crate::{
    CLIENT_BODY_BYTES_MIN, DATAGRAM_BYTES_MIN, HEADER_BYTES, MESSAGE_BYTES_MAX, assert_datagram_max,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The bytes of a fragment's body before its piece.
pub const FRAGMENT_HEADER_BYTES: usize = 16;

/// The smallest piece, but for a message's last: what the smallest datagram holds.
pub const PIECE_BYTES_MIN: usize = DATAGRAM_BYTES_MIN - HEADER_BYTES - FRAGMENT_HEADER_BYTES;

/// The most pieces of one message.
pub const PIECES_MAX: usize = MESSAGE_BYTES_MAX.div_ceil(PIECE_BYTES_MIN);

/// The most pieces that one request names; the next one names the rest.
pub const ASKED_PIECES_MAX: usize = 64;

/// The most split messages that a sender keeps in case it is asked.
pub const KEPT_MESSAGES_MAX: usize = 256;

/// The most bytes of them.
pub const KEPT_BYTES_MAX: usize = 8 << 20;

/// The most unfinished messages of one sender.
pub const SENDER_SETS_MAX: usize = 64;

/// The most bytes of one sender's unfinished messages.
pub const SENDER_BYTES_MAX: usize = 4 << 20;

/// The most unfinished messages of all peers; and of all clients, apart from them.
pub const SETS_MAX: usize = 1_024;

/// The most bytes of them, likewise.
pub const BYTES_MAX: usize = 32 << 20;

/// A receiver asks for missing pieces this long after the last one came. Each request that
/// brings nothing doubles the time.
pub const ASK_AFTER_US: u64 = 3_000;

/// A receiver gives a message up after this many requests that brought nothing.
pub const ASKS_MAX: u32 = 8;

/// For this long after a message was joined, further pieces of it count as repeated. Later
/// pieces count as the message being sent again, and are joined and delivered again.
pub const LATE_US: u64 = 20_000;

/// The most joined messages that are remembered for that.
pub const LATE_MAX: usize = 256;

/// How a message was cut: the same in all its fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cut {
    /// The digest of the message's bytes, and so its identity.
    pub digest: u64,
    /// Its bytes.
    pub total: u32,
    /// The bytes of each piece but the last.
    pub piece: u16,
}

impl Cut {
    /// How many pieces there are.
    pub fn pieces(self) -> usize {
        (self.total as usize).div_ceil(usize::from(self.piece))
    }

    /// Where piece `index` lies in the message.
    fn range(self, index: u16) -> std::ops::Range<usize> {
        let first = usize::from(index) * usize::from(self.piece);
        first..(first + usize::from(self.piece)).min(self.total as usize)
    }

    fn write(self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.digest.to_le_bytes());
        body.extend_from_slice(&self.total.to_le_bytes());
        body.extend_from_slice(&self.piece.to_le_bytes());
    }

    fn parse(body: &[u8]) -> Option<(Cut, &[u8])> {
        let (digest, rest) = body.split_first_chunk::<8>()?;
        let (total, rest) = rest.split_first_chunk::<4>()?;
        let (piece, rest) = rest.split_first_chunk::<2>()?;
        let cut = Cut {
            digest: u64::from_le_bytes(*digest),
            total: u32::from_le_bytes(*total),
            piece: u16::from_le_bytes(*piece),
        };
        // What fits one piece is not split.
        let sound = usize::from(cut.piece) >= PIECE_BYTES_MIN
            && cut.total as usize <= MESSAGE_BYTES_MAX
            && cut.total > u32::from(cut.piece);
        sound.then_some((cut, rest))
    }
}

/// One piece of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Of which message.
    pub cut: Cut,
    /// Which piece, from 0.
    pub index: u16,
    /// The piece.
    pub bytes: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Appends it to a frame's body.
    pub fn write(&self, body: &mut Vec<u8>) {
        self.cut.write(body);
        body.extend_from_slice(&self.index.to_le_bytes());
        body.extend_from_slice(self.bytes);
    }

    /// A whole body, if it is one that does not contradict itself.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (cut, rest) = Cut::parse(body)?;
        let (index, bytes) = rest.split_first_chunk::<2>()?;
        let index = u16::from_le_bytes(*index);
        let sound = usize::from(index) < cut.pieces() && bytes.len() == cut.range(index).len();
        sound.then_some(Fragment { cut, index, bytes })
    }
}

/// Which pieces of a message did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Of which message.
    pub cut: Cut,
    /// Which pieces: at least one, at most [`ASKED_PIECES_MAX`], ascending.
    pub indexes: Vec<u16>,
}

impl Missing {
    /// The bytes of a frame that names `pieces` pieces.
    const fn frame_bytes(pieces: usize) -> usize {
        HEADER_BYTES + 14 + 2 * pieces
    }

    /// Appends it to a frame's body.
    pub fn write(&self, body: &mut Vec<u8>) {
        self.cut.write(body);
        for index in &self.indexes {
            body.extend_from_slice(&index.to_le_bytes());
        }
    }

    /// A whole body, if it is one that does not contradict itself.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (cut, rest) = Cut::parse(body)?;
        let (pairs, odd) = rest.as_chunks::<2>();
        if !odd.is_empty() || pairs.is_empty() || pairs.len() > ASKED_PIECES_MAX {
            return None;
        }
        let indexes: Vec<u16> = pairs.iter().map(|&pair| u16::from_le_bytes(pair)).collect();
        let ascending = indexes.is_sorted_by(|before, after| before < after);
        let sound = ascending && indexes.iter().all(|&index| usize::from(index) < cut.pieces());
        sound.then_some(Missing { cut, indexes })
    }
}

/// The sender's side: splits, and keeps what it split lately.
#[derive(Debug)]
pub struct Fragmenter {
    piece: u16,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Kept {
    cut: Cut,
    cluster: u64,
    message: Vec<u8>,
}

impl Fragmenter {
    /// For datagrams of at most `datagram_max` bytes.
    ///
    /// # Panics
    ///
    /// Outside of the bounds for that.
    pub fn new(datagram_max: usize, counters: Arc<Counters>) -> Self {
        assert_datagram_max(datagram_max);
        let piece = datagram_max - HEADER_BYTES - FRAGMENT_HEADER_BYTES;
        Fragmenter { piece: piece as u16, kept: VecDeque::new(), kept_bytes: 0, counters }
    }

    /// Splits `message`, hands each fragment to `send`, and keeps the message. Pieces that
    /// a receiver asks for later travel with `cluster` too.
    pub fn split(&mut self, cluster: u64, message: Vec<u8>, mut send: impl FnMut(Fragment<'_>)) {
        if message.len() > MESSAGE_BYTES_MAX {
            self.counters.count(Event::LostTooLong);
            return log::error!("a message of {} bytes is too long to be sent", message.len());
        }
        assert!(message.len() > usize::from(self.piece), "what fits one piece is not split");
        let cut = Cut { digest: xxh3_64(&message), total: message.len() as u32, piece: self.piece };
        for index in 0..cut.pieces() as u16 {
            send(Fragment { cut, index, bytes: &message[cut.range(index)] });
        }
        self.counters.count(Event::Split);
        self.keep(Kept { cut, cluster, message });
    }

    fn keep(&mut self, kept: Kept) {
        if let Some(at) = self.position(kept.cut) {
            // The same message to another peer, or sent again: it is the youngest now.
            let former = self.kept.remove(at).expect("just found");
            self.kept_bytes -= former.message.len();
        }
        self.kept_bytes += kept.message.len();
        self.kept.push_back(kept);
        while self.kept.len() > KEPT_MESSAGES_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            let oldest = self.kept.pop_front().expect("something is over the bound");
            self.kept_bytes -= oldest.message.len();
        }
    }

    fn position(&self, cut: Cut) -> Option<usize> {
        self.kept.iter().rposition(|kept| kept.cut == cut)
    }

    /// Hands each fragment that a peer asked for to `send`, with the cluster id that it
    /// travels with, if the message is still kept.
    pub fn resend(&self, asked: &Missing, mut send: impl FnMut(u64, Fragment<'_>)) {
        let Some(at) = self.position(asked.cut) else {
            return self.counters.count(Event::FragmentForgotten);
        };
        let Kept { cut, cluster, message } = &self.kept[at];
        for &index in &asked.indexes {
            self.counters.count(Event::FragmentResent);
            send(*cluster, Fragment { cut: *cut, index, bytes: &message[cut.range(index)] });
        }
    }
}

/// Identifies an unfinished message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key<E> {
    from: E,
    boot: u64,
    cluster: u64,
    cut: Cut,
}

/// The pieces of one unfinished message.
#[derive(Debug)]
struct Set<E> {
    key: Key<E>,
    pieces: BTreeMap<u16, Vec<u8>>,
    bytes: usize,
    /// When the last new piece came.
    heard: u64,
    /// Requests since then.
    asks: u32,
    /// When it is looked at next: its key among the timers.
    due: u64,
    /// Bytes received less bytes asked with: what may still be sent to a client.
    credit: usize,
}

impl<E> Set<E> {
    /// The time after the last piece or request until the next request.
    fn patience_us(&self) -> u64 {
        ASK_AFTER_US << self.asks
    }
}

/// Unfinished messages of one kind of sender, oldest first.
#[derive(Debug)]
struct Shelf<E> {
    sets: BTreeMap<u64, Set<E>>,
    by_key: HashMap<Key<E>, u64>,
    by_sender: HashMap<E, Usage>,
    due: BTreeSet<(u64, u64)>,
    bytes: usize,
    made: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    sets: usize,
    bytes: usize,
}

impl<E: Endpoint> Shelf<E> {
    fn empty() -> Self {
        Shelf {
            sets: BTreeMap::new(),
            by_key: HashMap::new(),
            by_sender: HashMap::new(),
            due: BTreeSet::new(),
            bytes: 0,
            made: 0,
        }
    }

    fn open(&mut self, now: u64, key: Key<E>) -> u64 {
        if let Some(&number) = self.by_key.get(&key) {
            return number;
        }
        self.made += 1;
        let due = now.saturating_add(ASK_AFTER_US);
        self.by_key.insert(key, self.made);
        self.by_sender.entry(key.from).or_default().sets += 1;
        self.due.insert((due, self.made));
        self.sets.insert(
            self.made,
            Set { key, pieces: BTreeMap::new(), bytes: 0, heard: now, asks: 0, due, credit: 0 },
        );
        self.made
    }

    fn take(&mut self, number: u64) -> Set<E> {
        let set = self.sets.remove(&number).expect("only held sets are taken");
        self.by_key.remove(&set.key);
        self.due.remove(&(set.due, number));
        self.bytes -= set.bytes;
        let usage = self.by_sender.get_mut(&set.key.from).expect("it holds a set");
        usage.sets -= 1;
        usage.bytes -= set.bytes;
        if usage.sets == 0 {
            self.by_sender.remove(&set.key.from);
        }
        set
    }

    /// Drops the oldest others until all bounds hold; `newest` itself fits them.
    fn evict(&mut self, newest: u64, counters: &Counters) {
        let from = self.sets[&newest].key.from;
        loop {
            let usage = self.by_sender[&from];
            let sender_full = usage.sets > SENDER_SETS_MAX || usage.bytes > SENDER_BYTES_MAX;
            let full = self.sets.len() > SETS_MAX || self.bytes > BYTES_MAX;
            let oldest = self
                .sets
                .iter()
                .find(|&(&number, set)| number != newest && (set.key.from == from || !sender_full));
            match oldest {
                Some((&number, _)) if sender_full || full => {
                    self.take(number);
                    counters.count(Event::SetEvicted);
                }
                _ => return,
            }
        }
    }
}

/// The receiver's side: joins what was split.
#[derive(Debug)]
pub struct Reassembler<E> {
    peers: Shelf<E>,
    clients: Shelf<E>,
    late: VecDeque<(u64, Key<E>)>,
    counters: Arc<Counters>,
}

impl<E: Endpoint> Reassembler<E> {
    /// With nothing unfinished.
    pub fn new(counters: Arc<Counters>) -> Self {
        Reassembler {
            peers: Shelf::empty(),
            clients: Shelf::empty(),
            late: VecDeque::new(),
            counters,
        }
    }

    /// Takes a fragment; yields the message's bytes if no other was missing.
    pub fn insert(
        &mut self,
        now: u64,
        from: E,
        boot: u64,
        cluster: u64,
        fragment: Fragment<'_>,
    ) -> Option<Vec<u8>> {
        let key = Key { from, boot, cluster, cut: fragment.cut };
        while self.late.front().is_some_and(|&(joined, _)| now.saturating_sub(joined) > LATE_US) {
            self.late.pop_front();
        }
        if self.late.iter().any(|&(_, joined)| joined == key) {
            self.counters.count(Event::FragmentLate);
            return None;
        }
        let shelf = match from.peer() {
            Some(_) => &mut self.peers,
            None => &mut self.clients,
        };
        let number = shelf.open(now, key);
        let set = shelf.sets.get_mut(&number).expect("just opened");
        set.credit +=
            HEADER_BYTES + CLIENT_BODY_BYTES_MIN.max(FRAGMENT_HEADER_BYTES + fragment.bytes.len());
        if set.pieces.contains_key(&fragment.index) {
            return None;
        }
        let bytes = fragment.bytes.len();
        set.pieces.insert(fragment.index, fragment.bytes.to_vec());
        set.heard = now;
        set.asks = 0;
        set.bytes += bytes;
        let complete = set.pieces.len() == key.cut.pieces();
        shelf.bytes += bytes;
        shelf.by_sender.get_mut(&from).expect("it holds a set").bytes += bytes;
        if !complete {
            shelf.evict(number, &self.counters);
            return None;
        }
        let set = shelf.take(number);
        let mut message = Vec::with_capacity(set.bytes);
        for piece in set.pieces.values() {
            message.extend_from_slice(piece);
        }
        assert_eq!(message.len(), key.cut.total as usize, "each piece has the length of its place");
        if xxh3_64(&message) != key.cut.digest {
            self.counters.count(DropReason::Digest);
            return None;
        }
        if self.late.len() == LATE_MAX {
            self.late.pop_front();
        }
        self.late.push_back((now, key));
        self.counters.count(Event::Joined);
        Some(message)
    }

    /// When [`Reassembler::poll`] has something to do next.
    pub fn deadline(&self) -> Option<u64> {
        let first = |shelf: &Shelf<E>| shelf.due.first().map(|&(due, _)| due);
        [first(&self.peers), first(&self.clients)].into_iter().flatten().min()
    }

    /// Hands a request to `ask` for each message of which no piece has come for long
    /// enough. Gives up a message that was asked for often enough.
    pub fn poll(&mut self, now: u64, mut ask: impl FnMut(E, u64, Missing)) {
        for shelf in [&mut self.peers, &mut self.clients] {
            while let Some(&(due, number)) = shelf.due.first() {
                if due > now {
                    break;
                }
                let set = shelf.sets.get_mut(&number).expect("timers are of held sets");
                let quiet_until = set.heard.saturating_add(set.patience_us());
                if quiet_until <= now {
                    if set.asks == ASKS_MAX {
                        shelf.take(number);
                        self.counters.count(Event::SetGivenUp);
                        continue;
                    }
                    if let Some(missing) = missing_of(set) {
                        self.counters.count(Event::FragmentsAsked);
                        ask(set.key.from, set.key.cluster, missing);
                    }
                    set.asks += 1;
                    // What counts as quiet begins anew with each request.
                    set.heard = now;
                }
                let next = set.heard.saturating_add(set.patience_us());
                shelf.due.remove(&(due, number));
                shelf.due.insert((next, number));
                set.due = next;
            }
        }
    }

    /// Bytes held, of peers and of clients.
    pub fn held_bytes(&self) -> (usize, usize) {
        (self.peers.bytes, self.clients.bytes)
    }

    /// Unfinished messages held, of peers and of clients.
    pub fn held_sets(&self) -> (usize, usize) {
        (self.peers.sets.len(), self.clients.sets.len())
    }
}

/// A request for the first pieces that `set` misses, as many as it may name.
fn missing_of<E: Endpoint>(set: &mut Set<E>) -> Option<Missing> {
    let most = match set.key.from.peer() {
        Some(_) => ASKED_PIECES_MAX,
        None => {
            let spare = set.credit.checked_sub(Missing::frame_bytes(1))?;
            ASKED_PIECES_MAX.min(1 + spare / 2)
        }
    };
    let cut = set.key.cut;
    let indexes: Vec<u16> = (0..cut.pieces() as u16)
        .filter(|index| !set.pieces.contains_key(index))
        .take(most)
        .collect();
    assert!(!indexes.is_empty(), "an unfinished message misses something");
    set.credit = set.credit.saturating_sub(Missing::frame_bytes(indexes.len()));
    Some(Missing { cut, indexes })
}

// A client's smallest fragment pays for a request of one piece.
const _: () = assert!(Missing::frame_bytes(1) <= HEADER_BYTES + CLIENT_BODY_BYTES_MIN);
const _: () = assert!(PIECES_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests;
