//! The small types that every other module speaks in.
//!
//! All are plain numbers with a name, so that a slot is never taken for a ballot.
//! Nothing here has behaviour beyond arithmetic that the protocol defines.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The most replicas a cluster may have: a set of them fits one machine word.
pub const REPLICAS_MAX: usize = 63;

/// The longest chat line, in bytes of UTF-8.
pub const LINE_BYTES_MAX: usize = 65_536;

/// A replica: its line in the configuration file, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u8);

impl ReplicaId {
    /// The id as an index into a table with one row for each replica.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// All replicas of a cluster of `n`.
pub fn replicas(n: usize) -> impl Iterator<Item = ReplicaId> + Clone {
    (0..n as u8).map(ReplicaId)
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A ballot, which is also a view: its owner leads while it is the highest in use.
///
/// Ballots are owned round robin (`ballot mod n`), so that no two replicas ever
/// own the same one. (Paxos Made Moderately Complex, §2, with the leader's id
/// folded into the number.)
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u64")]
pub struct Ballot(pub u64);

impl Ballot {
    /// The lowest ballot. It belongs to replica 0, the initial primary.
    pub const ZERO: Ballot = Ballot(0);

    /// The one replica that may use this ballot in a cluster of `n`.
    pub fn owner(self, n: usize) -> ReplicaId {
        ReplicaId((self.0 % n as u64) as u8)
    }

    /// The smallest ballot above this one that `id` owns.
    pub fn next_owned(self, id: ReplicaId, n: usize) -> Ballot {
        let n = n as u64;
        let above = self.0 + 1;
        let ahead = (u64::from(id.0) + n - above % n) % n;
        Ballot(above + ahead)
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A position in the replicated log, from 0 without gaps.
///
/// As the end of a range it is exclusive: "applied up to slot 7" means 0 to 6.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u64")]
pub struct Slot(pub u64);

/// No ballot or slot from the wire lies above this, so counting on from one takes
/// centuries to overflow.
pub const NUMBER_MAX: u64 = 1 << 62;

impl TryFrom<u64> for Ballot {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        if number <= NUMBER_MAX { Ok(Ballot(number)) } else { Err("ballot out of range") }
    }
}

impl TryFrom<u64> for Slot {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        if number <= NUMBER_MAX { Ok(Slot(number)) } else { Err("slot out of range") }
    }
}

impl Slot {
    /// The first slot of every log.
    pub const ZERO: Slot = Slot(0);

    /// The slot `count` further on; the end of the number line is never passed.
    pub fn plus(self, count: u64) -> Slot {
        Slot(self.0.saturating_add(count))
    }

    /// The slot after this one.
    pub fn next(self) -> Slot {
        self.plus(1)
    }

    /// How many slots lie from `first` up to here; 0 if `first` is not below.
    pub fn since(self, first: Slot) -> u64 {
        self.0.saturating_sub(first.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Consecutive slots: from `start` on and below `end`.
///
/// A range whose end is not above its start is empty. Two empty ranges may differ; so
/// [`SlotRange::is_empty`] decides, never a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct SlotRange {
    /// The first slot.
    pub start: Slot,
    /// The slot after the last one.
    pub end: Slot,
}

impl SlotRange {
    /// From `start` on and below `end`.
    pub fn new(start: Slot, end: Slot) -> Self {
        SlotRange { start, end }
    }

    /// `len` slots from `start` on.
    pub fn with_len(start: Slot, len: u64) -> Self {
        SlotRange { start, end: start.plus(len) }
    }

    /// Every slot from `start` on.
    pub fn onward(start: Slot) -> Self {
        SlotRange { start, end: Slot(u64::MAX) }
    }

    /// How many slots there are.
    pub fn len(self) -> u64 {
        self.end.since(self.start)
    }

    /// Whether there is no slot.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether `slot` is one of them.
    pub fn contains(self, slot: Slot) -> bool {
        self.start <= slot && slot < self.end
    }

    /// The slots that are in both ranges.
    #[must_use]
    pub fn intersect(self, other: SlotRange) -> SlotRange {
        SlotRange { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// The slots, in order.
    pub fn iter(self) -> impl Iterator<Item = Slot> + Clone {
        (self.start.0..self.end.0).map(Slot)
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A moment, in microseconds since this process began. Never wall-clock time, so
/// that a stepped clock neither fires nor stops a timer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Time(pub u64);

impl Time {
    /// The moment `us` microseconds later.
    pub fn plus_us(self, us: u64) -> Time {
        Time(self.0.saturating_add(us))
    }

    /// The moment `us` microseconds earlier, but not before the beginning.
    pub fn minus_us(self, us: u64) -> Time {
        Time(self.0.saturating_sub(us))
    }

    /// Microseconds from `earlier` to here; 0 if `earlier` is not earlier.
    pub fn since_us(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A client, as the chat log names it. Chosen by the user or drawn at random.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct ClientId(pub u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One session of a client: commands of a session are numbered from 0 and applied
/// in that order, each once. A client that is started again opens another session, and nothing
/// orders a line that it left in flight among those of the new session.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Session {
    /// The client that opened it.
    pub client: ClientId,
    /// Drawn from the operating system's entropy when the session is opened.
    pub id: u64,
}

/// A data directory's identity, drawn when the directory is made. A replica whose
/// disk was wiped has another one, which tells it from its former self (S6).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct DirectoryId(pub u64);

/// One life of a process; the id is drawn when it begins.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct BootId(pub u64);

/// Which cluster a frame belongs to: a hash of the directory ids it started with.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct ClusterId(pub u64);

impl ClusterId {
    /// Not known yet: only in warm-up and in a client's first message.
    pub const NONE: ClusterId = ClusterId(0);
}

/// The address that a client's datagram came from, and that its answer goes to. To the
/// protocol it is an opaque label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address(pub SocketAddr);

/// By value, so that a hash of messages is the same on every host.
impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ip = match self.0.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let bits = ip.to_bits();
        state.write_u64((bits >> 64) as u64);
        state.write_u64(bits as u64);
        state.write_u16(self.0.port());
    }
}

/// The text of a chat line: UTF-8, at most [`LINE_BYTES_MAX`] bytes, shared and
/// never copied inside a process.
pub type Line = Arc<str>;

/// What a client asks to have written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Command {
    /// The session it belongs to.
    pub session: Session,
    /// Its number in the session, from 0.
    pub seq: u64,
    /// Every slot below was decided when the session was opened. The same in all its commands.
    pub birth: Slot,
    /// The text for the chat log.
    pub line: Line,
}

/// What a slot may hold. "Nothing accepted" is the absence of a value, never one
/// of these. (Where many are handled they are `values::Values`, in encoded form.)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// Fills a slot in which nothing can have been chosen, and changes nothing.
    Noop,
    /// A client's command.
    Command(Command),
}

/// The chat log with which a cluster began, if it did not begin empty: its lines fill the
/// first slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Every slot below this is filled with one of its lines.
    pub end: Slot,
    /// Its length.
    pub bytes: u64,
    /// A hash of its bytes.
    pub hash: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a chat log of {} lines (hash {:x})", self.end, self.hash)
    }
}

/// Which of the times that a client has sent a request. An answer names the one that it is due to,
/// so that a client that has asked twice knows how long the answer took. (The ambiguity that Karn
/// and Partridge describe, SIGCOMM '87; removed as in RFC 7323, §4.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Attempt(u8);

impl Attempt {
    /// None that is known.
    pub const UNKNOWN: Attempt = Attempt(0);

    /// The first.
    pub const FIRST: Attempt = Attempt(1);

    /// The attempt after `before` others. After 254 others it is not known any more.
    pub fn after(before: usize) -> Attempt {
        u8::try_from(before + 1).map_or(Attempt::UNKNOWN, Attempt)
    }

    /// How many attempts there were before this one, if it is known.
    pub fn before(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::DefaultHasher;

    #[test]
    fn every_ballot_has_one_owner_and_the_next_owned_is_the_smallest_above() {
        for n in 1..=7 {
            for id in replicas(n) {
                for from in 0..40 {
                    let next = Ballot(from).next_owned(id, n);
                    let expected = (from + 1..).map(Ballot).find(|b| b.owner(n) == id);
                    assert_eq!(Some(next), expected, "n={n} id={id} from={from}");
                }
            }
        }
    }

    #[test]
    fn every_replica_has_a_row_of_its_own() {
        assert!(replicas(7).map(ReplicaId::index).eq(0..7));
        assert_eq!([0, 1, 2, 62].map(|id| ReplicaId(id).index()), [0, 1, 2, 62]);
    }

    #[test]
    fn no_number_from_the_wire_lies_above_the_bound() {
        for number in [0, 1, 77, NUMBER_MAX] {
            assert_eq!(Ballot::try_from(number), Ok(Ballot(number)));
            assert_eq!(Slot::try_from(number), Ok(Slot(number)));
        }
        for number in [NUMBER_MAX + 1, u64::MAX] {
            assert!(Ballot::try_from(number).is_err() && Slot::try_from(number).is_err());
        }
        assert!(Slot(NUMBER_MAX).plus(NUMBER_MAX) > Slot(NUMBER_MAX), "far from the end");
    }

    #[test]
    fn counting_never_passes_an_end_of_the_number_line() {
        assert_eq!((Slot(5).plus(3), Slot(5).next()), (Slot(8), Slot(6)));
        assert_eq!(Slot(u64::MAX).next(), Slot(u64::MAX));
        assert_eq!((Slot(8).since(Slot(5)), Slot(5).since(Slot(8))), (3, 0));
        assert_eq!((Time(5).plus_us(3), Time(5).minus_us(3)), (Time(8), Time(2)));
        assert_eq!((Time(u64::MAX).plus_us(1), Time(5).minus_us(8)), (Time(u64::MAX), Time(0)));
        assert_eq!((Time(8).since_us(Time(5)), Time(5).since_us(Time(8))), (3, 0));
    }

    #[test]
    fn a_range_of_slots_is_half_open() {
        let range = |start, end| SlotRange::new(Slot(start), Slot(end));
        assert_eq!(SlotRange::with_len(Slot(3), 2), range(3, 5));
        assert_eq!(SlotRange::onward(Slot(3)), range(3, u64::MAX));
        assert_eq!(SlotRange::with_len(Slot(3), u64::MAX), range(3, u64::MAX));
        for (start, end) in [(3, 6), (3, 4), (3, 3), (3, 1)] {
            let slots: Vec<Slot> = (start..end).map(Slot).collect();
            assert_eq!(range(start, end).iter().collect::<Vec<_>>(), slots);
            assert_eq!(range(start, end).len(), slots.len() as u64);
            assert_eq!(range(start, end).is_empty(), slots.is_empty());
            for other in [range(0, 4), range(4, 9), range(7, 9)] {
                let both = range(start, end).intersect(other);
                for slot in (0..10).map(Slot) {
                    assert_eq!(range(start, end).contains(slot), slots.contains(&slot));
                    let expected = slots.contains(&slot) && other.contains(slot);
                    assert_eq!(both.contains(slot), expected);
                }
            }
        }
        assert_eq!(range(3, 5).to_string(), "3..5");
    }

    #[test]
    fn every_part_of_an_address_is_in_its_hash() {
        let hash = |text: &str| {
            let mut state = DefaultHasher::new();
            Address(text.parse().expect("an address")).hash(&mut state);
            state.finish()
        };
        let all = ["10.0.0.1:5", "10.0.0.2:5", "10.0.0.1:6", "[1::1]:5", "[2::1]:5", "[1::2]:5"];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(hash(one), hash(one));
            assert!(all[..at].iter().all(|other| hash(one) != hash(other)), "{one}");
        }
    }
}
