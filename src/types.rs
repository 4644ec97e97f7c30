//! The small types that every other module speaks in.
//!
//! All are plain numbers with a name, so that a slot is never taken for a ballot.
//! Nothing here has behaviour beyond arithmetic that the protocol defines.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

/// The most replicas a cluster may have: a set of them fits one machine word.
pub const REPLICAS_MAX: usize = 63;

/// How many places there are for members at least, in a cluster that begins with fewer too: a change
/// may name a replica at each.
pub const PLACES_MAX: usize = 7;

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
/// A ballot belongs to one configuration, and has a round in it (M2): 16 bits of the
/// configuration's number above 48 bits of the round. So ballots are compared by their
/// configuration first, and a ballot of configuration 0 is a plain number.
///
/// Within a configuration ballots are owned round robin, so that no two replicas ever own the
/// same one: [`Configuration::owner`](crate::members::Configuration::owner). (Paxos Made
/// Moderately Complex, §2, with the leader's id folded into the number.)
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u64")]
pub struct Ballot(pub u64);

/// How many bits of a ballot are its round.
const ROUND_BITS: u32 = 48;

/// No ballot from the wire has a higher round, so counting on from one takes centuries to reach
/// the next configuration.
pub const ROUND_MAX: u64 = 1 << (ROUND_BITS - 1);

impl Ballot {
    /// The lowest ballot. It belongs to replica 0, the initial primary.
    pub const ZERO: Ballot = Ballot(0);

    /// The ballot of this configuration with this round.
    ///
    /// # Panics
    ///
    /// If the round takes more than 48 bits.
    pub fn of(configuration: u16, round: u64) -> Ballot {
        assert!(round >> ROUND_BITS == 0, "round {round} is out of range");
        Ballot(u64::from(configuration) << ROUND_BITS | round)
    }

    /// The number of the configuration to which this ballot belongs.
    pub fn configuration(self) -> u16 {
        (self.0 >> ROUND_BITS) as u16
    }

    /// Its number among the ballots of its configuration, from 0.
    pub fn round(self) -> u64 {
        self.0 & ((1 << ROUND_BITS) - 1)
    }

    /// The one replica that may use this ballot, if its configuration consists of the replicas
    /// 0 to `n` - 1. That holds for configuration 0. Whoever does not know the members of a later
    /// one takes it for a guess: the protocol asks the configuration.
    pub fn owner(self, n: usize) -> ReplicaId {
        ReplicaId((self.round() % n as u64) as u8)
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.configuration() {
            0 => write!(f, "{}", self.round()),
            configuration => write!(f, "{configuration}.{}", self.round()),
        }
    }
}

/// As it is shown: `7` in configuration 0, `2.7` in configuration 2.
impl FromStr for Ballot {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Ballot, ParseIntError> {
        let (configuration, round) = text.split_once('.').unwrap_or(("0", text));
        let (configuration, round) = (configuration.parse::<u16>()?, round.parse::<u64>()?);
        Ok(Ballot(u64::from(configuration) << ROUND_BITS | round & ((1 << ROUND_BITS) - 1)))
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
        let is_in_range = number <= NUMBER_MAX && Ballot(number).round() <= ROUND_MAX;
        if is_in_range { Ok(Ballot(number)) } else { Err("ballot out of range") }
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

/// How many bytes an address takes, or that there is none: see [`Address::to_bytes`].
pub(crate) const ADDRESS_BYTES: usize = 1 + 16 + 2;

impl Address {
    /// Whether a host may be reached there, as far as an address tells, and from every other host.
    pub fn is_of_a_host(self) -> bool {
        let ip = self.0.ip().to_canonical();
        let is_everywhere = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        let is_of_a_link = matches!(self.0, SocketAddr::V6(it) if it.scope_id() != 0);
        let is_nowhere = ip.is_unspecified() || self.0.port() == 0;
        !is_nowhere && !ip.is_multicast() && !is_everywhere && !is_of_a_link
    }

    /// The kind of address (0: none, 4, 6), the host in the order of the network, and the port,
    /// little endian. What is not used is zeros, so one address has one form.
    pub(crate) fn to_bytes(address: Option<Address>) -> [u8; ADDRESS_BYTES] {
        let (mut bytes, port) = ([0; ADDRESS_BYTES], address.map_or(0, |it| it.0.port()));
        match address.map(|it| it.0.ip()) {
            None => {}
            Some(IpAddr::V4(ip)) => {
                bytes[0] = 4;
                bytes[1..5].copy_from_slice(&ip.octets());
            }
            Some(IpAddr::V6(ip)) => {
                bytes[0] = 6;
                bytes[1..17].copy_from_slice(&ip.octets());
            }
        }
        bytes[17..].copy_from_slice(&port.to_le_bytes());
        bytes
    }

    /// What [`Address::to_bytes`] has written. The error: it has not.
    pub(crate) fn read(bytes: &[u8; ADDRESS_BYTES]) -> Result<Option<Address>, ()> {
        let host: [u8; 16] = *bytes[1..].first_chunk().ok_or(())?;
        let ip = match (bytes[0], host) {
            (0, _) => None,
            (4, [a, b, c, d, ..]) => Some(IpAddr::from([a, b, c, d])),
            (6, host) => Some(IpAddr::from(host)),
            _ => return Err(()),
        };
        let port = u16::from_le_bytes([bytes[17], bytes[18]]);
        let address = ip.map(|ip| Address(SocketAddr::new(ip, port)));
        if Address::to_bytes(address) == *bytes { Ok(address) } else { Err(()) }
    }
}

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
    /// Names the members of the next configuration, and is the last value of the one before (M1).
    /// It changes nothing else.
    Change(Change),
}

/// The next configuration in encoded form, which was checked: see
/// [`Configuration`](crate::members::Configuration), which makes one and reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Change(Arc<[u8]>);

impl Change {
    /// These bytes were checked.
    pub(crate) fn checked(bytes: &[u8]) -> Change {
        Change(bytes.into())
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
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
    fn ballots_are_compared_by_their_configuration_and_then_by_their_round() {
        let ballots = [(0, 0), (0, 7), (0, ROUND_MAX), (1, 0), (1, 1), (2, 0), (u16::MAX, 3)];
        let ballots = ballots.map(|(configuration, round)| Ballot::of(configuration, round));
        assert!(ballots.is_sorted() && ballots[0] == Ballot::ZERO && ballots[1] == Ballot(7));
        for ballot in ballots {
            assert_eq!(Ballot::of(ballot.configuration(), ballot.round()), ballot);
            assert_eq!(ballot.to_string().parse(), Ok(ballot));
        }
        assert_eq!(ballots.map(|it| it.to_string())[1..5], ["7", "140737488355328", "1.0", "1.1"]);
        assert!(
            ["", "x", "1.", ".1", "1.2.3", "70000.1"]
                .iter()
                .all(|it| { it.parse::<Ballot>().is_err() })
        );
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
        let last = Ballot::of(3, ROUND_MAX);
        assert_eq!(Ballot::try_from(last.0), Ok(last));
        assert!(Ballot::try_from(last.0 + 1).is_err(), "counting on must not change it");
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
