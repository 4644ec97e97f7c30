//! Configurations: who the members are, and whose votes make a quorum.
//!
//! A configuration is a numbered list of members; a member is a replica id, a data directory and
//! an address. Configuration 0 is the started record (S6). A *change* is a command of the log that
//! names the whole next configuration, and it is the last command of the configuration before
//! (M1). So whoever has applied the log up to a slot knows the configuration of that slot.
//! (Lamport, *Reconfiguring a State Machine*, SIGACT News 2010, in the form of OmniPaxos's
//! stop-sign; spec/README.md has the argument.)
//!
//! Everything that depends on the number of members is a question to a configuration: who owns a
//! ballot (M2), and how many votes are enough (M3). The number of replicas in the cluster file is
//! something else, the number of *places*: tables of peers have a row for each.
//!
//! A change in encoded form:
//!
//! ```text
//! 2  configuration 2  members 1, and for each member:
//!    id 1  directory 8  kind of its address 1  host 16  port 2
//! ```
//!
//! Numbers are little endian. One change has one form.
//!
//! **Does not** decide when a configuration ends. That the log does, and the roles (M4, M5).

use crate::quorum::{ReplicaSet, quorum};
use crate::types::{
    ADDRESS_BYTES, Address, Ballot, Change, DirectoryId, PLACES_MAX, REPLICAS_MAX, ReplicaId,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The most members that a change may name. (A started record may name more. Such a cluster
/// changes no more.)
pub const CHANGE_MEMBERS_MAX: usize = PLACES_MAX;

/// The highest number of a configuration: that of a ballot from the wire is no higher.
pub const CONFIGURATION_MAX: u16 = (1 << 14) - 1;

/// The first byte of a change among values.
pub(crate) const CHANGE_TAG: u8 = 2;

/// How many bytes a change takes beside its members, and for each of them.
const CHANGE_BYTES: usize = 1 + 2 + 1;
const MEMBER_BYTES: usize = 1 + 8 + ADDRESS_BYTES;

/// How many bytes a change takes that begins with these, if it begins in them.
pub(crate) fn change_length(bytes: &[u8]) -> Option<usize> {
    let count = bytes.get(CHANGE_BYTES - 1)?;
    Some(CHANGE_BYTES + MEMBER_BYTES * usize::from(*count))
}

/// A member of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its place among the replicas.
    pub id: ReplicaId,
    /// The data directory that votes. A replica that has lost its disk has another one.
    pub directory: DirectoryId,
    /// Where it is reached, if it is no longer where the cluster files say (M9).
    pub address: Option<Address>,
}

/// Where a member is that has moved since the cluster began (M9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Moved {
    /// The member.
    pub id: ReplicaId,
    /// Where it is reached now.
    pub to: Address,
}

/// The members from one change of the log to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u16, Vec<Member>)", into = "(u16, Vec<Member>)")]
pub struct Configuration {
    number: u16,
    /// In the order of their ids, each id once.
    members: Arc<[Member]>,
}

/// Why a list of members is no configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoConfiguration;

impl fmt::Display for NoConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a list of members")
    }
}

impl Configuration {
    /// Configuration 0, the started record: the directory of each replica, by id.
    pub fn started(directories: &[DirectoryId]) -> Configuration {
        let member = |(id, directory): (u8, &DirectoryId)| Member {
            id: ReplicaId(id),
            directory: *directory,
            address: None,
        };
        Configuration { number: 0, members: (0..).zip(directories).map(member).collect() }
    }

    /// The configuration of this number with these members.
    ///
    /// # Errors
    ///
    /// If there is none of them, if their ids do not rise, or if the number or an id is out of
    /// range.
    pub fn new(number: u16, members: &[Member]) -> Result<Configuration, NoConfiguration> {
        let rise = members.is_sorted_by(|one, next| one.id < next.id);
        let last = members.last().ok_or(NoConfiguration)?;
        if !rise || last.id.index() >= REPLICAS_MAX || number > CONFIGURATION_MAX {
            return Err(NoConfiguration);
        }
        Ok(Configuration { number, members: members.into() })
    }

    /// Its number; that of the started record is 0.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Its members, in the order of their ids.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The ids of its members.
    pub fn ids(&self) -> ReplicaSet {
        let mut ids = ReplicaSet::EMPTY;
        for member in self.members.iter() {
            ids.insert(member.id);
        }
        ids
    }

    /// The member of this id.
    pub fn member(&self, id: ReplicaId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The members that have moved, and where they are (M9).
    pub fn moved(&self) -> impl Iterator<Item = Moved> {
        self.members.iter().filter_map(|it| Some(Moved { id: it.id, to: it.address? }))
    }

    /// Whether this directory is a member, at this place.
    pub fn is_member(&self, id: ReplicaId, directory: DirectoryId) -> bool {
        self.member(id).is_some_and(|member| member.directory == directory)
    }

    /// How many members make a quorum: more than half of them, so that two quorums always share
    /// one (M3).
    pub fn quorum(&self) -> usize {
        quorum(self.members.len())
    }

    /// Whether these replicas are a quorum. Only members count.
    pub fn is_quorum(&self, replicas: ReplicaSet) -> bool {
        self.members.iter().filter(|it| replicas.contains(it.id)).count() >= self.quorum()
    }

    /// The lowest ballot of this configuration. All ballots of earlier ones are lower. In a
    /// configuration that a change has made nobody campaigns with it: an acceptor promises it when
    /// it begins to vote there, and so refuses all that is earlier (M4).
    pub fn first_ballot(&self) -> Ballot {
        Ballot::of(self.number, 0)
    }

    /// Whether `ballot` belongs to this configuration.
    pub fn has(&self, ballot: Ballot) -> bool {
        ballot.configuration() == self.number
    }

    /// The one replica that may use `ballot`, if it is a ballot of this configuration (M2).
    pub fn owner(&self, ballot: Ballot) -> Option<ReplicaId> {
        let place = (ballot.round() % self.members.len() as u64) as usize;
        self.has(ballot).then(|| self.members[place].id)
    }

    /// The same for any ballot. Of another configuration it is a guess, of one of `places` replicas.
    pub fn likely_owner(&self, ballot: Ballot, places: usize) -> ReplicaId {
        self.owner(ballot).unwrap_or_else(|| ballot.owner(places))
    }

    /// The smallest ballot of this configuration that `id` owns above `ballot`. None if `id` is
    /// no member.
    pub fn next_owned(&self, ballot: Ballot, id: ReplicaId) -> Option<Ballot> {
        let place = self.members.iter().position(|member| member.id == id)? as u64;
        let n = self.members.len() as u64;
        // Ballots of earlier configurations lie below all of this one's, and the first is not used.
        let above = if self.has(ballot) { ballot.round() + 1 } else { 1 };
        Some(Ballot::of(self.number, above + (place + n - above % n) % n))
    }

    /// Whether `next` may follow this configuration by one change: it has the next number, and one
    /// member was added, removed, replaced by another directory (M1), or has moved (M9).
    pub fn may_become(&self, next: &Configuration) -> bool {
        let gone = |from: &Configuration, to: &Configuration| {
            from.members.iter().filter(|it| to.member(it.id) != Some(it)).count()
        };
        let (left, come) = (gone(self, next), gone(next, self));
        self.is_followed_by(next)
            && next.members.len() <= CHANGE_MEMBERS_MAX
            && left <= 1
            && come <= 1
            && left + come > 0
    }

    /// Whether `next` has the number after this one.
    pub fn is_followed_by(&self, next: &Configuration) -> bool {
        self.number.checked_add(1) == Some(next.number)
    }

    /// The configuration after a change that adds `member`, puts its directory in the place of the one
    /// that its id had, or moves it. None where that is not one change.
    pub fn with(&self, member: Member) -> Option<Configuration> {
        let mut members = self.members.to_vec();
        members.retain(|it| it.id != member.id);
        members.push(member);
        members.sort_unstable_by_key(|it| it.id);
        self.next(&members)
    }

    /// The configuration after a change that removes `id`. None where that is not one change.
    pub fn without(&self, id: ReplicaId) -> Option<Configuration> {
        let members: Vec<Member> = self.members.iter().filter(|it| it.id != id).copied().collect();
        self.next(&members)
    }

    fn next(&self, members: &[Member]) -> Option<Configuration> {
        let next = Configuration::new(self.number.checked_add(1)?, members).ok()?;
        self.may_become(&next).then_some(next)
    }
}

impl Configuration {
    /// The change that makes this the next configuration.
    ///
    /// # Panics
    ///
    /// If this is configuration 0, or has more than [`CHANGE_MEMBERS_MAX`] members.
    pub fn to_change(&self) -> Change {
        let count = self.members.len();
        assert!(self.number > 0 && count <= CHANGE_MEMBERS_MAX, "no change makes {self}");
        Change::checked(&self.change_bytes())
    }

    /// The next configuration, as `change` names it.
    pub fn of(change: &Change) -> Configuration {
        Configuration::read(change.bytes()).expect("a change was checked when it came")
    }

    fn change_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![CHANGE_TAG];
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.push(self.members.len() as u8);
        for Member { id, directory, address } in self.members.iter() {
            bytes.push(id.0);
            bytes.extend_from_slice(&directory.0.to_le_bytes());
            bytes.extend_from_slice(&Address::to_bytes(*address));
        }
        bytes
    }

    /// The configuration that a change makes, if these are the bytes of one, and no others.
    pub(crate) fn read(bytes: &[u8]) -> Option<Configuration> {
        let (&[_, low, high, count], rest) = bytes.split_first_chunk::<CHANGE_BYTES>()?;
        let count = usize::from(count);
        let members = rest.chunks_exact(MEMBER_BYTES).map(read_member);
        let members = members.take(CHANGE_MEMBERS_MAX).collect::<Option<Vec<Member>>>()?;
        let next = Configuration::new(u16::from_le_bytes([low, high]), &members).ok()?;
        let is_one = next.number > 0 && members.len() == count;
        // One change has one form.
        (is_one && next.change_bytes() == bytes).then_some(next)
    }
}

fn read_member(bytes: &[u8]) -> Option<Member> {
    let (id, rest) = bytes.split_first()?;
    let (directory, address) = rest.split_first_chunk::<8>()?;
    Some(Member {
        id: ReplicaId(*id),
        directory: DirectoryId(u64::from_le_bytes(*directory)),
        address: Address::read(address.first_chunk()?).ok()?,
    })
}

impl TryFrom<(u16, Vec<Member>)> for Configuration {
    type Error = NoConfiguration;

    fn try_from((number, members): (u16, Vec<Member>)) -> Result<Self, NoConfiguration> {
        Configuration::new(number, &members)
    }
}

impl From<Configuration> for (u16, Vec<Member>) {
    fn from(configuration: Configuration) -> Self {
        (configuration.number, configuration.members.to_vec())
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.members.iter().map(|member| member.id.to_string()).collect();
        write!(f, "configuration {}, of replicas {}", self.number, ids.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u8, directory: u64) -> Member {
        Member { id: ReplicaId(id), directory: DirectoryId(directory), address: None }
    }

    fn at(id: u8, address: &str) -> Member {
        let address = Some(Address(address.parse().expect("an address")));
        Member { address, ..member(id, u64::from(id)) }
    }

    fn started(n: u64) -> Configuration {
        Configuration::started(&(0..n).map(DirectoryId).collect::<Vec<_>>())
    }

    fn of(number: u16, ids: &[u8]) -> Configuration {
        let members: Vec<Member> = ids.iter().map(|id| member(*id, u64::from(*id))).collect();
        Configuration::new(number, &members).expect("they rise")
    }

    fn set(ids: &[u8]) -> ReplicaSet {
        let mut set = ReplicaSet::EMPTY;
        ids.iter().for_each(|id| {
            set.insert(ReplicaId(*id));
        });
        set
    }

    #[test]
    fn every_ballot_has_one_owner_and_the_next_owned_is_the_smallest_above() {
        for (number, ids) in [(0, &[0, 1, 2][..]), (0, &[0]), (3, &[1, 4]), (9, &[0, 2, 5, 6])] {
            let configuration = of(number, ids);
            for id in ids.iter().copied().map(ReplicaId) {
                for from in (0..40).map(|round| Ballot::of(number, round)) {
                    let above = (from.round() + 1..).map(|round| Ballot::of(number, round));
                    let expected = { above }.find(|it| configuration.owner(*it) == Some(id));
                    assert_eq!(configuration.next_owned(from, id), expected, "{id} from {from}");
                }
            }
            assert_eq!(configuration.next_owned(Ballot::of(number, 5), ReplicaId(7)), None);
        }
    }

    #[test]
    fn a_ballot_of_the_started_record_is_owned_as_its_number_says() {
        for n in 1..=7 {
            for ballot in (0..40).map(Ballot) {
                assert_eq!(started(n).owner(ballot), Some(ballot.owner(n as usize)));
            }
        }
    }

    #[test]
    fn ballots_of_another_configuration_have_no_owner_here_and_lie_below_the_first() {
        let later = of(2, &[0, 1, 2]);
        assert_eq!(later.owner(Ballot(5)), None);
        assert_eq!(
            later.next_owned(Ballot(5), ReplicaId(0)),
            Some(Ballot::of(2, 3)),
            "not the first"
        );
        assert!(Ballot::of(1, 1 << 40) < later.first_ballot());
        assert_eq!(later.next_owned(Ballot(5), ReplicaId(2)), Some(Ballot::of(2, 2)));
    }

    #[test]
    fn more_than_half_of_the_members_are_a_quorum_and_nobody_else_counts() {
        let four = of(1, &[0, 1, 2, 5]);
        assert!(!four.is_quorum(set(&[0, 1])), "half of an even number");
        assert!(four.is_quorum(set(&[0, 1, 5])));
        assert!(!four.is_quorum(set(&[0, 1, 3, 4, 6])), "those are no members");
        let two = of(1, &[3, 4]);
        assert!(!two.is_quorum(set(&[3])) && two.is_quorum(set(&[3, 4])));
        assert!(of(1, &[3]).is_quorum(set(&[3])));
    }

    #[test]
    fn a_change_differs_in_one_member() {
        let three = started(3);
        for (next, is_one) in [
            (three.with(member(3, 3)), true),
            (three.with(member(2, 77)), true),
            (three.without(ReplicaId(1)), true),
            (three.with(member(2, 2)), false),
            (three.without(ReplicaId(5)), false),
            (three.with(at(2, "10.0.0.9:7")), true),
            (three.with(at(3, "10.0.0.9:7")), true),
            (started(1).without(ReplicaId(0)), false),
            (started(7).with(member(7, 7)), false),
        ] {
            assert_eq!(next.is_some(), is_one, "{next:?}");
        }
        let (replaced, other) = (three.with(member(2, 77)).unwrap(), of(2, &[0, 1]));
        assert!(!three.may_become(&other), "another number");
        assert!(replaced.may_become(&other), "the new one was removed");
        assert!(!replaced.may_become(&of(2, &[0, 3])), "one was replaced and one removed");
        let moved = three.with(at(2, "10.0.0.9:7")).unwrap();
        assert_eq!(moved.with(at(2, "10.0.0.9:7")), None, "it is there");
        assert!(!moved.may_become(&of(2, &[0, 2])), "one has moved back, and one was removed");
        assert!(!three.is_member(ReplicaId(2), DirectoryId(77)));
        assert!(replaced.is_member(ReplicaId(2), DirectoryId(77)));
    }

    #[test]
    fn a_list_that_is_no_configuration_is_refused_wherever_it_comes_from() {
        for members in [&[][..], &[member(1, 1), member(1, 2)], &[member(2, 1), member(1, 1)]] {
            assert_eq!(Configuration::new(1, members), Err(NoConfiguration));
            let bytes = postcard::to_stdvec(&(1_u16, members)).unwrap();
            assert!(postcard::from_bytes::<Configuration>(&bytes).is_err(), "{members:?}");
        }
        assert!(Configuration::new(1, &[member(REPLICAS_MAX as u8, 1)]).is_err());
        assert!(Configuration::new(CONFIGURATION_MAX + 1, &[member(1, 1)]).is_err());
        let good = of(3, &[1, 4]);
        let bytes = postcard::to_stdvec(&good).unwrap();
        assert_eq!(postcard::from_bytes(&bytes), Ok(good));
    }

    #[test]
    fn a_change_is_read_back_and_has_one_form() {
        let addresses = [None, Some("10.0.0.1:5"), Some("[fe80::1]:70")];
        let members: Vec<Member> = (0..)
            .zip(addresses)
            .map(|(id, address)| {
                let address = address.map(|text| Address(text.parse().expect("an address")));
                Member { address, ..member(id, 1 << (8 * id)) }
            })
            .collect();
        let next = Configuration::new(513, &members).unwrap();
        let bytes = next.to_change().bytes().to_vec();
        assert_eq!(change_length(&bytes), Some(bytes.len()));
        assert_eq!(Configuration::read(&bytes), Some(next));
        for cut in 0..bytes.len() {
            assert_eq!(Configuration::read(&bytes[..cut]), None, "cut to {cut}");
        }
        assert_eq!(Configuration::read(&[&bytes[..], &[0]].concat()), None);
        for at in 1..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                let read = Configuration::read(&other);
                assert!(read.is_none_or(|read| read.change_bytes() == other), "byte {at}");
            }
        }
        let mut first = bytes.clone();
        first[1..3].copy_from_slice(&[0, 0]);
        assert_eq!(Configuration::read(&first), None, "no change makes configuration 0");
    }
}
