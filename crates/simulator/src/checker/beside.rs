//! The ghost history of a copy of a data directory that runs beside the original (S12).
//!
//! The copy has a place of its own, so what it saves is not the original's. Its acceptances make
//! a value chosen only where somebody relies on them: when a quorum that counts it in has a value
//! applied. What the copy accepted and nobody counted does no harm. While the copy runs the same
//! holds for the original: if all hosts believe in the copy, the original is the one that nobody
//! counts, since it hears nobody, and a leader that counts the copy may choose another value.

use super::members::Members;
use super::{Acceptance, Checked, Checker, Chosen, fingerprint, violation};
use multipaxos::message::{Message, Run, ToAcceptor};
use multipaxos::paxos::{acceptor, learner};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{Ballot, ReplicaId, Slot};

impl Acceptance {
    /// Whether a quorum has accepted it, if the replica beside which a copy ran counts, by either.
    pub(super) fn is_quorum_with_copy(&self, members: &Members, ballot: Ballot) -> bool {
        let mut by = self.by;
        for id in self.by_copy.into_iter().chain(self.by_original) {
            by.insert(id);
        }
        members.is_quorum(ballot, by)
    }

    /// Whether this replica, the original, has accepted it.
    pub(super) fn is_by(&self, node: ReplicaId) -> bool {
        self.by.contains(node) || self.by_original == Some(node)
    }
}

impl Checker {
    /// A copy of this replica's directory begins beside it.
    pub fn copy_begins(&mut self, id: ReplicaId) {
        self.copied = Some(id);
    }

    /// It is ended.
    pub fn copy_ends(&mut self) {
        self.copied = None;
    }

    /// The copy has saved a record of its acceptor.
    pub fn copy_saves(&mut self, id: ReplicaId, record: &acceptor::Record) -> Checked {
        let acceptor::Record::Accept(Run { ballot, first, values }) = record else { return Ok(()) };
        self.longest_run_bytes = self.longest_run_bytes.max(values.bytes().len());
        for (slot, value) in (first.0..).map(Slot).zip(values.iter()) {
            let value = fingerprint(value);
            let entry = self.accepted.entry((slot, *ballot)).or_insert(Acceptance {
                value,
                by: ReplicaSet::EMPTY,
                by_copy: None,
                by_original: None,
            });
            if entry.value != value {
                return violation(slot, format!("I2: two values accepted at ballot {ballot}"));
            }
            entry.by_copy = Some(id);
        }
        Ok(())
    }

    /// The copy's learner begins at its checkpoint.
    pub fn copy_goes_on(&mut self, applied: Slot) {
        *self.applied.last_mut().expect("the copy has a place") = applied;
    }

    /// The copy has applied some slots.
    pub fn copy_applies(&mut self, record: &learner::Record) -> Checked {
        self.applied(ReplicaId(self.n as u8), record)
    }

    /// The copy sends a message.
    pub fn copy_sends(&mut self, message: &Message) -> Checked {
        match message {
            Message::Acceptor(ToAcceptor::Accept(accept)) => self.proposes(accept),
            Message::Acceptor(ToAcceptor::AcceptHeld { ballot, held }) => {
                self.proposes_held(*ballot, held)
            }
            _ => Ok(()),
        }
    }

    /// Somebody applies this value in `slot`. If only a quorum with the copy has accepted it, that
    /// quorum has chosen it.
    pub(super) fn choose_with_copy(&mut self, slot: Slot, value: u64) -> Checked {
        if self.chosen.get(&slot).is_some_and(|chosen| chosen.value == value) {
            return Ok(());
        }
        let members = &self.members;
        let mut held = self.accepted.range((slot, Ballot::ZERO)..=(slot, Ballot(u64::MAX)));
        let by = held.find(|((_, ballot), held)| {
            held.value == value && held.is_quorum_with_copy(members, *ballot)
        });
        let Some(((_, ballot), _)) = by else { return Ok(()) };
        let chosen = *self.chosen.entry(slot).or_insert(Chosen { value, ballot: *ballot });
        if chosen.value != value {
            return violation(slot, format!("I1: another value is chosen at ballot {ballot}"));
        }
        Ok(())
    }
}
