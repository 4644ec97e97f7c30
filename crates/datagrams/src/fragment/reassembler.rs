//! The receiver's side of fragments.

use super::{
    ASK_AFTER_US, ASK_WITHIN_US, ASKED_PIECES_MAX, ASKS_MAX, BYTES_MAX, Cut, FRAGMENT_HEADER_BYTES,
    Fragment, GAP_MAX_US, JOINED_BYTES_MAX, JOINED_MAX, JOINED_US, LATE_US, Missing,
    SENDER_BYTES_MAX, SENDER_SETS_MAX, SETS_MAX, TRIP_PARTS, VAIN_ASKS,
};
use crate::codec::Endpoint;
use crate::counters::{Counters, DropReason, NetEvent};
use crate::{CLIENT_BODY_BYTES_MIN, HEADER_BYTES};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Identifies an unfinished message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key<E> {
    pub(super) from: E,
    boot: u64,
    cluster: u64,
    pub(super) cut: Cut,
}

/// The pieces of one unfinished message.
#[derive(Debug)]
pub(super) struct Set<E> {
    pub(super) key: Key<E>,
    pub(super) pieces: BTreeMap<u16, Vec<u8>>,
    pub(super) bytes: usize,
    /// When the last new piece came, or the last request left.
    heard: u64,
    /// When the last new piece came, if one has.
    piece_at: Option<u64>,
    /// The longest time between two new pieces so far, up to [`GAP_MAX_US`].
    gap: u64,
    /// How many requests were sent since then.
    pub(super) asks: u32,
    /// How long a round trip took when a request left last; 0 if none did, or nobody knew.
    trip: u64,
    /// When the reassembler looks at it next: its key among the timers.
    pub(super) due: u64,
    /// Bytes received minus bytes of requests: how many bytes of requests may still be sent,
    /// if the sender is a client.
    credit: usize,
}

impl<E> Set<E> {
    /// The time from the last piece or request to the next request, if a round trip to the sender
    /// takes `trip_us`. Pieces that come at a pace are on their way, and so are those that were asked
    /// for a moment ago.
    fn patience_us(&self, trip_us: u64) -> u64 {
        let first_us = ASK_AFTER_US.max(2 * self.gap).max(trip_us / TRIP_PARTS);
        let answered_us = if self.asks > 0 { trip_us + trip_us / TRIP_PARTS } else { 0 };
        (first_us << self.asks).max(answered_us).min(ASK_WITHIN_US)
    }

    /// A new piece has come. The time since the one before shows at which intervals pieces come,
    /// unless it may be the answer to a request: then only the time since that request does (Karn
    /// and Partridge, SIGCOMM '87). If waits for lost pieces counted as intervals, each of them
    /// would make the next one longer. No answer comes within half of the usual round trip.
    fn note_piece(&mut self, now: u64) {
        let since_us = |at: u64| now.saturating_sub(at);
        if let Some(before) = self.piece_at.replace(now) {
            let may_answer = self.asks > 0 && since_us(self.heard) >= self.trip / 2;
            let interval = since_us(if may_answer { self.heard } else { before });
            self.gap = self.gap.max(interval.min(GAP_MAX_US));
        }
        (self.heard, self.asks) = (now, 0);
    }
}

/// The unfinished messages of all peers, or of all clients; oldest first.
#[derive(Debug)]
pub(super) struct Unfinished<E> {
    pub(super) sets: BTreeMap<u64, Set<E>>,
    pub(super) by_key: HashMap<Key<E>, u64>,
    pub(super) by_sender: HashMap<E, Usage>,
    pub(super) due: BTreeSet<(u64, u64)>,
    pub(super) bytes: usize,
    made: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// The life of the sender in which the first of the messages began.
    pub(super) boot: u64,
    pub(super) sets: usize,
    pub(super) bytes: usize,
}

impl<E: Endpoint> Unfinished<E> {
    fn empty() -> Self {
        Unfinished {
            sets: BTreeMap::new(),
            by_key: HashMap::new(),
            by_sender: HashMap::new(),
            due: BTreeSet::new(),
            bytes: 0,
            made: 0,
        }
    }

    /// The number of the unfinished message with this key. If none of its pieces has come, they are
    /// expected at intervals of up to `gap`.
    fn open(&mut self, now: u64, key: Key<E>, gap: u64) -> u64 {
        if let Some(&number) = self.by_key.get(&key) {
            return number;
        }
        self.made += 1;
        let due = now.saturating_add(ASK_AFTER_US);
        self.by_key.insert(key, self.made);
        let usage = Usage { boot: key.boot, ..Usage::default() };
        self.by_sender.entry(key.from).or_insert(usage).sets += 1;
        self.due.insert((due, self.made));
        self.sets.insert(
            self.made,
            Set {
                key,
                pieces: BTreeMap::new(),
                bytes: 0,
                heard: now,
                piece_at: None,
                gap,
                asks: 0,
                trip: 0,
                due,
                credit: 0,
            },
        );
        self.made
    }

    /// Drops the messages of other lives of a sender than `boot`, if it has any.
    fn forget_other_lives(&mut self, from: E, boot: u64) {
        let of_other = |set: &Set<E>| set.key.from == from && set.key.boot != boot;
        if self.by_sender.get(&from).is_some_and(|usage| usage.boot != boot) {
            let others = self.sets.iter().filter(|(_, set)| of_other(set));
            let numbers: Vec<u64> = others.map(|(number, _)| *number).collect();
            for number in numbers {
                self.take(number);
            }
        }
    }

    fn take(&mut self, number: u64) -> Set<E> {
        let set = self.sets.remove(&number).expect("the set is there");
        self.by_key.remove(&set.key);
        self.due.remove(&(set.due, number));
        self.bytes -= set.bytes;
        let usage = self.by_sender.get_mut(&set.key.from).expect("the sender has a set");
        usage.sets -= 1;
        usage.bytes -= set.bytes;
        if usage.sets == 0 {
            self.by_sender.remove(&set.key.from);
        }
        set
    }

    /// Drops messages until all bounds hold, after a piece of the message `present`, which alone
    /// never exceeds them.
    ///
    /// Of one sender the oldest stay, so that they are completed, unless they were asked for in vain
    /// several times. If they gave way to the youngest, and more came than there is room for, then
    /// the pieces that were asked for would come to messages that have been dropped meanwhile, make
    /// them the youngest, and have them asked for once more: for ever, and as fast as the path
    /// carries it. Of many senders the oldest go, so that a few cannot keep out the others.
    fn evict(&mut self, present: u64, counters: &Counters) {
        let from = self.sets[&present].key.from;
        while let Some(usage) = self.by_sender.get(&from) {
            let sender_full = usage.sets > SENDER_SETS_MAX || usage.bytes > SENDER_BYTES_MAX;
            let full = self.sets.len() > SETS_MAX || self.bytes > BYTES_MAX;
            let mut others = self.sets.iter().filter(|(number, _)| **number != present);
            let victim = if sender_full {
                let is_vain = |set: &Set<E>| set.key.from == from && set.asks >= VAIN_ASKS;
                let vain = others.find(|(_, set)| is_vain(set));
                vain.or_else(|| self.sets.iter().rfind(|(_, set)| set.key.from == from))
            } else if full {
                others.next()
            } else {
                None
            };
            let Some((&number, _)) = victim else { return };
            self.take(number);
            counters.count(NetEvent::SetEvicted);
        }
    }
}

/// A message that was joined.
#[derive(Debug)]
pub(super) struct Joined<E> {
    pub(super) key: Key<E>,
    /// When a piece of it came last.
    heard_at: u64,
    /// The longest time between two of its pieces before.
    gap: u64,
    /// How many came since it was delivered.
    late: usize,
    message: Vec<u8>,
}

impl<E> Joined<E> {
    /// Takes a piece of the message. Returns whether it shows that the message is being sent
    /// again: it comes after a silence, or all pieces may have come twice meanwhile.
    fn is_sent_again(&mut self, now: u64) -> bool {
        let silence = now.saturating_sub(self.heard_at);
        self.heard_at = now;
        self.late += 1;
        let again = silence > LATE_US.max(self.gap) || self.late >= 2 * self.key.cut.pieces();
        if again {
            self.late = 0;
        }
        again
    }
}

/// Joins fragments to messages, and asks for those that are missing.
#[derive(Debug)]
pub struct Reassembler<E> {
    pub(super) peers: Unfinished<E>,
    pub(super) clients: Unfinished<E>,
    /// Messages that were joined lately, the oldest first.
    pub(super) joined: VecDeque<Joined<E>>,
    joined_bytes: usize,
    /// By peer: the intervals at which the pieces of its next message may come.
    paces: BTreeMap<usize, u64>,
    pub(super) counters: Arc<Counters>,
}

impl<E: Endpoint> Reassembler<E> {
    /// A reassembler without unfinished messages.
    pub fn new(counters: Arc<Counters>) -> Self {
        Reassembler {
            peers: Unfinished::empty(),
            clients: Unfinished::empty(),
            joined: VecDeque::new(),
            joined_bytes: 0,
            paces: BTreeMap::new(),
            counters,
        }
    }

    /// Takes a fragment. Returns the message's bytes if this was the last piece missing.
    pub fn insert(
        &mut self,
        now: u64,
        from: E,
        boot: u64,
        cluster: u64,
        fragment: Fragment<'_>,
    ) -> Option<Vec<u8>> {
        let key = Key { from, boot, cluster, cut: fragment.cut };
        while let Some(oldest) = self.joined.front()
            && now.saturating_sub(oldest.heard_at) > JOINED_US
        {
            self.forget_oldest();
        }
        if let Some(joined) = self.joined.iter_mut().find(|joined| joined.key == key) {
            let again = joined.is_sent_again(now);
            let event = if again { NetEvent::JoinedAgain } else { NetEvent::FragmentLate };
            self.counters.count(event);
            return again.then(|| joined.message.clone());
        }
        let unfinished = match from.peer() {
            Some(_) => &mut self.peers,
            None => &mut self.clients,
        };
        // A peer keeps nothing of an earlier life, and would be asked for it in vain.
        if from.peer().is_some() {
            unfinished.forget_other_lives(from, boot);
        }
        let paced = from.peer().and_then(|peer| self.paces.get(&peer));
        let number = unfinished.open(now, key, paced.copied().unwrap_or(0));
        let set = unfinished.sets.get_mut(&number).expect("just opened");
        set.credit +=
            HEADER_BYTES + CLIENT_BODY_BYTES_MIN.max(FRAGMENT_HEADER_BYTES + fragment.bytes.len());
        if set.pieces.contains_key(&fragment.index) {
            return None;
        }
        let bytes = fragment.bytes.len();
        set.pieces.insert(fragment.index, fragment.bytes.to_vec());
        set.note_piece(now);
        // Requests that brought nothing have put the next one off.
        let due = now.saturating_add(set.patience_us(set.trip));
        if due < set.due {
            unfinished.due.remove(&(set.due, number));
            unfinished.due.insert((due, number));
            set.due = due;
        }
        set.bytes += bytes;
        let complete = set.pieces.len() == key.cut.pieces();
        unfinished.bytes += bytes;
        unfinished.by_sender.get_mut(&from).expect("the sender has a set").bytes += bytes;
        if !complete {
            unfinished.evict(number, &self.counters);
            return None;
        }
        let set = unfinished.take(number);
        let mut message = Vec::with_capacity(set.bytes);
        for piece in set.pieces.values() {
            message.extend_from_slice(piece);
        }
        assert_eq!(
            message.len(),
            key.cut.total as usize,
            "the pieces have the lengths that they must have"
        );
        if xxh3_64(&message) != key.cut.digest {
            self.counters.count(DropReason::Digest);
            return None;
        }
        self.joined_bytes += message.len();
        if let Some(peer) = from.peer() {
            // A message that came soon shows that the path has become faster.
            self.paces.insert(peer, set.gap / 2);
        }
        let (gap, kept) = (set.gap, message.clone());
        self.joined.push_back(Joined { key, heard_at: now, gap, late: 0, message: kept });
        while self.joined.len() > JOINED_MAX || self.joined_bytes > JOINED_BYTES_MAX {
            self.forget_oldest();
        }
        self.counters.count(NetEvent::Joined);
        Some(message)
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.joined.pop_front() {
            self.joined_bytes -= oldest.message.len();
        }
    }

    /// When [`Reassembler::poll`] has something to do next.
    pub fn deadline(&self) -> Option<u64> {
        let first = |unfinished: &Unfinished<E>| unfinished.due.first().map(|&(due, _)| due);
        [first(&self.peers), first(&self.clients)].into_iter().flatten().min()
    }

    /// Hands a request to `ask` for each message of which no piece has come for long enough. A
    /// round trip to a sender takes `trip_us`, 0 if that is not known. Gives a message up after
    /// [`ASKS_MAX`] requests.
    pub fn poll(
        &mut self,
        now: u64,
        trip_us: impl Fn(E) -> u64,
        mut ask: impl FnMut(E, u64, Missing),
    ) {
        for unfinished in [&mut self.peers, &mut self.clients] {
            while let Some(&(due, number)) = unfinished.due.first() {
                if due > now {
                    break;
                }
                let set = unfinished.sets.get_mut(&number).expect("every timer belongs to a set");
                let trip_us = trip_us(set.key.from);
                let quiet_until = set.heard.saturating_add(set.patience_us(trip_us));
                if quiet_until <= now {
                    if set.asks == ASKS_MAX {
                        unfinished.take(number);
                        self.counters.count(NetEvent::SetGivenUp);
                        continue;
                    }
                    if let Some(missing) = missing_of(set) {
                        self.counters.count(NetEvent::FragmentsAsked);
                        ask(set.key.from, set.key.cluster, missing);
                    }
                    set.asks += 1;
                    set.trip = trip_us;
                    // The quiet time begins anew with each request.
                    set.heard = now;
                }
                let next = set.heard.saturating_add(set.patience_us(trip_us));
                unfinished.due.remove(&(due, number));
                unfinished.due.insert((next, number));
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

/// A request for the first pieces that `set` misses, as many as one request may name.
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
