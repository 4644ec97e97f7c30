//! The facts about one slot, taken from a history.

use super::learned;
use crate::events::{Entry, Event, History, Loss, Party, Said, value_in};
use crate::print;
use multipaxos::members::Configuration;
use multipaxos::quorum::quorum;
use multipaxos::types::{Ballot, ReplicaId, Slot, Value, replicas};
use multipaxos::values::Values;
use std::collections::BTreeMap;

/// A message, and whether it arrived.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    pub(super) id: &'a str,
    /// The index of the entry with which it was sent.
    pub(super) at: usize,
    pub(super) from: Party,
    pub(super) to: Party,
    pub(super) said: &'a Said,
    pub(super) delivery: Delivery,
}

/// Whether a message has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    OnItsWay,
    Held,
    /// The index of the entry with which it arrived.
    Arrived(usize),
    Lost(Loss),
}

impl Sent<'_> {
    /// Says in words why it has not arrived. `None`: it arrived.
    pub(super) fn delivery_in_words(&self) -> Option<String> {
        match self.delivery {
            Delivery::Arrived(_) => None,
            Delivery::OnItsWay => Some("on the way".into()),
            Delivery::Held => Some("held".into()),
            Delivery::Lost(_) => self.loss_in_words(),
        }
    }

    /// Says in words why it never arrives. `None`: it arrived, or may still arrive.
    pub(super) fn loss_in_words(&self) -> Option<String> {
        match self.delivery {
            Delivery::Arrived(_) | Delivery::OnItsWay | Delivery::Held => None,
            Delivery::Lost(Loss::Dropped) => Some("dropped".into()),
            Delivery::Lost(Loss::LinkIsCut) => Some("lost: the link is cut".into()),
            Delivery::Lost(Loss::NobodyHears) => {
                Some(format!("lost: nobody hears it at replica {}", self.to))
            }
            Delivery::Lost(Loss::Overtaken) => Some("overtaken by a newer one".into()),
            Delivery::Lost(Loss::ByNetwork) => Some("lost".into()),
        }
    }

    /// Its id. If it did not arrive, also why not.
    pub(super) fn with_delivery(&self) -> String {
        match self.delivery_in_words() {
            None => self.id.to_owned(),
            Some(delivery) => format!("{} ({delivery})", self.id),
        }
    }

    /// Its id. If it never arrives, also why not.
    pub(super) fn with_loss(&self) -> String {
        match self.loss_in_words() {
            None => self.id.to_owned(),
            Some(loss) => format!("{} ({loss})", self.id),
        }
    }

    pub(super) fn is_to(&self, replica: ReplicaId) -> bool {
        self.to == Party::Replica(replica)
    }

    pub(super) fn is_from(&self, replica: ReplicaId) -> bool {
        self.from == Party::Replica(replica)
    }
}

/// A history, its messages by their ids, and who the members were.
#[derive(Debug)]
pub(super) struct Past<'a> {
    pub(super) history: &'a History,
    /// The configurations that the log has made, by number. In configuration 0, which is not here, all
    /// replicas are members.
    configurations: BTreeMap<u16, Configuration>,
    pub(super) messages: Vec<Sent<'a>>,
    by_id: BTreeMap<&'a str, usize>,
}

impl<'a> Past<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let (configurations, by_id) = (BTreeMap::new(), BTreeMap::new());
        let mut past = Past { history, configurations, messages: Vec::new(), by_id };
        for (at, entry) in history.entries.iter().enumerate() {
            match &entry.event {
                Event::Sent { id, from, to, said, .. } => {
                    past.by_id.insert(id, past.messages.len());
                    let (from, to, delivery) = (*from, *to, Delivery::OnItsWay);
                    past.messages.push(Sent { id, at, from, to, said, delivery });
                }
                Event::Held { id } => past.befalls(id, Delivery::Held),
                Event::Arrived { id } => past.befalls(id, Delivery::Arrived(at)),
                Event::Lost { id, loss } => past.befalls(id, Delivery::Lost(*loss)),
                Event::Applied { values, .. } => past.applies(values),
                _ => {}
            }
        }
        past
    }

    fn befalls(&mut self, id: &str, delivery: Delivery) {
        if let Some(at) = self.by_id.get(id) {
            self.messages[*at].delivery = delivery;
        }
    }

    /// A change takes effect if it names the next configuration (M1).
    fn applies(&mut self, values: &Values) {
        for change in values.iter().filter_map(|value| value.change()) {
            let next = change.to_configuration();
            let newest = self.configurations.keys().next_back().copied().unwrap_or(0);
            if newest.checked_add(1) == Some(next.number()) {
                self.configurations.insert(next.number(), next);
            }
        }
    }

    pub(super) fn message(&self, id: &str) -> Option<&Sent<'a>> {
        self.by_id.get(id).map(|at| &self.messages[*at])
    }

    /// The entries before entry `end`, newest first.
    pub(super) fn before(&self, end: usize) -> impl Iterator<Item = (usize, &'a Entry)> {
        self.history.entries[..end].iter().enumerate().rev()
    }

    /// The entries from entry `start` on.
    pub(super) fn from(&self, start: usize) -> impl Iterator<Item = (usize, &'a Entry)> {
        self.history.entries.iter().enumerate().skip(start)
    }

    pub(super) fn end(&self) -> usize {
        self.history.entries.len()
    }

    fn configuration(&self, ballot: Ballot) -> Option<&Configuration> {
        self.configurations.get(&ballot.configuration())
    }

    /// Whether `replica` is a member of the configuration of `ballot`.
    pub(super) fn is_member(&self, replica: ReplicaId, ballot: Ballot) -> bool {
        let members = self.configuration(ballot);
        let founds = replica.index() < self.history.founders;
        members.map_or(founds, |members| members.member(replica).is_some())
    }

    /// How many members there are at `ballot`.
    pub(super) fn members(&self, ballot: Ballot) -> usize {
        let members = self.configuration(ballot).map(|it| it.members().len());
        members.unwrap_or(self.history.founders)
    }

    pub(super) fn quorum(&self, ballot: Ballot) -> usize {
        quorum(self.members(ballot))
    }

    pub(super) fn owner(&self, ballot: Ballot) -> ReplicaId {
        let owner = self.configuration(ballot).and_then(|members| members.owner(ballot));
        owner.unwrap_or_else(|| ballot.owner(self.history.founders))
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        replicas(self.history.replicas)
    }

    /// Whether acceptances of `replica` at `ballot` count at entry `at`. They do not after it lost
    /// its disk, until the log has made it a member again.
    pub(super) fn votes(&self, replica: ReplicaId, ballot: Ballot, at: usize) -> bool {
        if let Some(members) = self.configuration(ballot) {
            return members.member(replica).is_some();
        }
        let found = self.before(at).find_map(|(_, entry)| match entry.event {
            Event::Began { replica: whose, votes, .. } if whose == replica => Some(votes),
            Event::Wiped { replica: whose } if whose == replica => Some(false),
            _ => None,
        });
        found.unwrap_or(true)
    }

    /// Whether `replica` runs and knows its cluster at the end of the history.
    pub(super) fn is_up(&self, replica: ReplicaId) -> bool {
        let found = self.before(self.end()).find_map(|(_, entry)| match entry.event {
            Event::Began { replica: whose, .. } if whose == replica => Some(true),
            Event::Ended { replica: whose, .. } if whose == replica => Some(false),
            _ => None,
        });
        found.unwrap_or(false)
    }

    /// The ballot at which `replica` leads at the end of the history.
    pub(super) fn leads(&self, replica: ReplicaId) -> Option<Ballot> {
        self.before(self.end())
            .find_map(|(_, entry)| match entry.event {
                Event::Leads { replica: whose, ballot } if whose == replica => Some(Some(ballot)),
                Event::Resigned { replica: whose } | Event::Ended { replica: whose, .. }
                    if whose == replica =>
                {
                    Some(None)
                }
                _ => None,
            })
            .flatten()
    }

    /// The highest ballot that `replica` has durably promised, if it has not lost its disk since.
    pub(super) fn promised(&self, replica: ReplicaId) -> Option<Ballot> {
        let mut highest = None;
        for (_, entry) in self.before(self.end()) {
            match entry.event {
                Event::Promised { replica: whose, ballot }
                | Event::Accepted { replica: whose, ballot, .. }
                    if whose == replica =>
                {
                    highest = highest.max(Some(ballot));
                }
                Event::Wiped { replica: whose } if whose == replica => break,
                _ => {}
            }
        }
        highest
    }

    /// The slot below which `replica` has applied everything.
    pub(super) fn applied(&self, replica: ReplicaId) -> Slot {
        self.applied_by(replica, self.end())
    }

    /// The same, at entry `end`.
    pub(super) fn applied_by(&self, replica: ReplicaId, end: usize) -> Slot {
        let found = self.before(end).find_map(|(_, entry)| match &entry.event {
            Event::Applied { replica: whose, first, values, .. } if *whose == replica => {
                Some(first.plus(values.len() as u64))
            }
            Event::Began { replica: whose, applied, .. } if *whose == replica => Some(*applied),
            Event::Wiped { replica: whose } if *whose == replica => Some(Slot::ZERO),
            _ => None,
        });
        found.unwrap_or(Slot::ZERO)
    }
}

/// A value that the leader of a ballot proposed in the slot.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) leader: ReplicaId,
    pub(super) value: Value,
    /// The index of the entry with which it was first proposed.
    pub(super) at: usize,
}

impl Proposal {
    pub(super) fn text(&self) -> String {
        print::value(&self.value)
    }
}

/// An acceptor has durably accepted a value in the slot.
#[derive(Debug)]
pub(super) struct Acceptance {
    pub(super) replica: ReplicaId,
    pub(super) ballot: Ballot,
    pub(super) value: Value,
    pub(super) at: usize,
}

/// A value that a quorum has accepted at one ballot.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) ballot: Ballot,
    pub(super) value: Value,
    /// The acceptors of the quorum.
    pub(super) by: Vec<ReplicaId>,
    /// The index of the entry that completed the quorum.
    pub(super) at: usize,
}

impl Chosen {
    pub(super) fn text(&self) -> String {
        print::value(&self.value)
    }
}

/// The facts about one slot.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) past: &'a Past<'a>,
    pub(super) slot: Slot,
    pub(super) proposals: BTreeMap<Ballot, Proposal>,
    /// In order. Each acceptor has one acceptance at each ballot.
    pub(super) acceptances: Vec<Acceptance>,
    /// In order, with one entry for each ballot.
    pub(super) chosen: Vec<Chosen>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(past: &'a Past<'a>, slot: Slot) -> Self {
        let (proposals, acceptances, chosen) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut facts = Facts { past, slot, proposals, acceptances, chosen };
        for (at, entry) in past.from(0) {
            match &entry.event {
                Event::Told { replica: leader, said }
                | Event::Sent { from: Party::Replica(leader), said, .. } => {
                    if let Some((ballot, value)) = proposed(slot, said) {
                        let leader = *leader;
                        let proposal = Proposal { leader, value, at };
                        facts.proposals.entry(ballot).or_insert(proposal);
                    }
                }
                Event::Accepted { replica, ballot, first, values } => {
                    if let Some(value) = value_in(slot, *first, values) {
                        facts.accepts(Acceptance { replica: *replica, ballot: *ballot, value, at });
                    }
                }
                _ => {}
            }
        }
        facts
    }

    fn accepts(&mut self, acceptance: Acceptance) {
        let Acceptance { replica, ballot, at, .. } = acceptance;
        if self.accepted(replica, ballot).is_some() {
            return;
        }
        let value = acceptance.value.clone();
        self.acceptances.push(acceptance);
        let by: Vec<ReplicaId> = self.acceptors(ballot);
        let known = self.chosen.iter().any(|chosen| chosen.ballot == ballot);
        if !known && by.len() >= self.past.quorum(ballot) {
            self.chosen.push(Chosen { ballot, value, by, at });
        }
    }

    /// The index of the entry with which `replica` accepted a value in the slot at `ballot`.
    pub(super) fn accepted(&self, replica: ReplicaId, ballot: Ballot) -> Option<usize> {
        let mut all = self.acceptances.iter();
        all.find(|held| held.replica == replica && held.ballot == ballot).map(|held| held.at)
    }

    /// The acceptors that accepted a value in the slot at `ballot`.
    pub(super) fn acceptors(&self, ballot: Ballot) -> Vec<ReplicaId> {
        let is_vote =
            |held: &&Acceptance| held.ballot == ballot && self.past.is_member(held.replica, ballot);
        let by = self.acceptances.iter().filter(is_vote);
        let mut by: Vec<ReplicaId> = by.map(|held| held.replica).collect();
        by.sort_unstable();
        by
    }

    /// The replicas that have applied the slot and have not lost it.
    pub(super) fn applied_by(&self) -> Vec<ReplicaId> {
        self.past.replicas().filter(|id| self.past.applied(*id) > self.slot).collect()
    }

    /// Whether some replica knows that the slot is decided.
    pub(super) fn is_known(&self) -> bool {
        let (past, slot) = (self.past, self.slot);
        past.replicas().any(|id| past.applied(id) > slot || self.knows(id))
    }

    /// Whether `replica` runs and knows that the slot is decided.
    pub(super) fn knows(&self, replica: ReplicaId) -> bool {
        let past = self.past;
        past.is_up(replica) && learned::how_learned(past, replica, self.slot, past.end()).is_some()
    }

    /// The accepts of `ballot` for the slot that were sent to `replica`.
    pub(super) fn accepts_to(&self, ballot: Ballot, replica: ReplicaId) -> Vec<&Sent<'a>> {
        let messages = self.past.messages.iter();
        let asks = |sent: &&Sent<'_>| asks_to_accept(self.slot, sent.said) == Some(ballot);
        messages.filter(|sent| sent.is_to(replica)).filter(asks).collect()
    }
}

/// The ballot and value that an accept proposes in `slot`.
pub(super) fn proposed(slot: Slot, said: &Said) -> Option<(Ballot, Value)> {
    match said {
        Said::Accept { ballot, first, values, .. } => {
            Some((*ballot, value_in(slot, *first, values)?))
        }
        _ => None,
    }
}

/// The ballot at which a message asks its receiver to accept something in `slot`.
pub(super) fn asks_to_accept(slot: Slot, said: &Said) -> Option<Ballot> {
    match said {
        Said::AcceptHeld { ballot, held } => {
            held.iter().any(|span| span.slots.contains(slot)).then_some(*ballot)
        }
        said => proposed(slot, said).map(|(ballot, _)| ballot),
    }
}

/// The ballot at which a message says that its sender has accepted `slot`.
pub(super) fn accepted_in(slot: Slot, said: &Said) -> Option<Ballot> {
    match said {
        Said::Accepted { ballot, slots } => {
            slots.iter().any(|range| range.contains(slot)).then_some(*ballot)
        }
        _ => None,
    }
}
