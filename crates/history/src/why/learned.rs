//! How a replica learned that a slot is decided.
//!
//! There are three ways. The learner counts a quorum's acceptances at its own ballot. Or a leader
//! says that the slot is decided, and this replica has accepted it at exactly that leader's
//! ballot. Or a peer sends the slot from its decided log.

use super::facts::{Past, Sent, accepted_in, asks_to_accept};
use crate::events::{Event, Party, Said, value_in};
use multipaxos::types::{Ballot, ReplicaId, Slot};
use std::collections::BTreeMap;

/// The way in which a replica learned that a slot is decided.
#[derive(Debug)]
pub(super) enum Learned<'a> {
    /// It counted these acceptances, in this order, at a ballot of its own.
    Counted { ballot: Ballot, votes: Vec<Vote<'a>> },
    /// A leader said so in this message.
    Told { ballot: Ballot, message: &'a Sent<'a> },
    /// A peer sent the slot from its decided log in this message.
    Fetched { message: &'a Sent<'a> },
}

/// An acceptance that reaches the owner of its ballot.
#[derive(Debug, Clone)]
pub(super) struct Vote<'a> {
    pub(super) from: ReplicaId,
    /// The message. `None`: the owner's own acceptor accepted.
    pub(super) message: Option<&'a Sent<'a>>,
}

/// How `replica` had learned before entry `end` that `slot` is decided, and at which entry. Only
/// the replica's life at entry `end` counts.
pub(super) fn how_learned<'a>(
    past: &'a Past<'a>,
    replica: ReplicaId,
    slot: Slot,
    end: usize,
) -> Option<(usize, Learned<'a>)> {
    let began = past.before(end).find_map(|(at, entry)| match entry.event {
        Event::Began { replica: whose, .. } if whose == replica => Some(at),
        _ => None,
    });
    let accepted = accepted_at(past, replica, slot, end);
    // The ballots at which the learner knows the slot's value and its own acceptor accepted it.
    let mut held: Vec<Ballot> = Vec::new();
    let mut marks: Vec<(Ballot, &Sent<'_>)> = Vec::new();
    let mut votes: BTreeMap<Ballot, Vec<Vote<'_>>> = BTreeMap::new();
    for (at, entry) in past.from(began.unwrap_or(0)).take_while(|(at, _)| *at < end) {
        let (said, message) = match &entry.event {
            Event::Told { replica: whose, said } if *whose == replica => (said, None),
            Event::Arrived { id } => match past.message(id).filter(|sent| sent.is_to(replica)) {
                Some(sent) => (sent.said, Some(sent)),
                None => continue,
            },
            _ => continue,
        };
        if let Some(ballot) = asks_to_accept(slot, said).filter(|at| accepted.contains(at)) {
            held.push(ballot);
        }
        if let (Said::Page { first, values }, Some(message)) = (said, message)
            && value_in(slot, *first, values).is_some()
        {
            return Some((at, Learned::Fetched { message }));
        }
        if let (Some(mark), Some(message)) = (mark(slot, said), message) {
            marks.push((mark, message));
        }
        if let Some(ballot) = accepted_in(slot, said) {
            let from = message.map_or(replica, |sent| match sent.from {
                Party::Replica(from) => from,
                Party::Client(_) => unreachable!("clients accept nothing"),
            });
            let counted = votes.entry(ballot).or_default();
            if past.votes(from, ballot, at) && counted.iter().all(|vote| vote.from != from) {
                counted.push(Vote { from, message });
            }
        }
        if let Some((ballot, message)) = marks.iter().find(|(ballot, _)| held.contains(ballot)) {
            return Some((at, Learned::Told { ballot: *ballot, message }));
        }
        let quorum = votes.iter().find(|(ballot, votes)| {
            past.owner(**ballot) == replica && votes.len() >= past.quorum(**ballot)
        });
        if let Some((ballot, votes)) = quorum {
            return Some((at, Learned::Counted { ballot: *ballot, votes: votes.clone() }));
        }
    }
    None
}

/// The ballots at which `replica` had accepted a value in `slot` by entry `end`.
pub(super) fn accepted_at(
    past: &Past<'_>,
    replica: ReplicaId,
    slot: Slot,
    end: usize,
) -> Vec<Ballot> {
    let mut ballots = Vec::new();
    for (_, entry) in past.before(end) {
        match &entry.event {
            Event::Accepted { replica: whose, ballot, first, values }
                if *whose == replica && value_in(slot, *first, values).is_some() =>
            {
                ballots.push(*ballot);
            }
            Event::Wiped { replica: whose } if *whose == replica => break,
            _ => {}
        }
    }
    ballots
}

/// The ballot at which a message calls `slot` decided.
pub(super) fn mark(slot: Slot, said: &Said) -> Option<Ballot> {
    match said {
        Said::Accept { decided, .. } | Said::Heartbeat { decided } => {
            decided.slots.contains(slot).then_some(decided.ballot)
        }
        _ => None,
    }
}
