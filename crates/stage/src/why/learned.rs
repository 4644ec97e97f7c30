//! Which message made a replica know that a slot is decided.
//!
//! A learner knows it in one of three ways: it counts the acceptances of a quorum at its
//! own ballot; a leader says so, and this replica has accepted the slot at exactly that
//! leader's ballot; or a peer sends the slot from its decided log.

use super::facts::{Past, Sent, accepted_in, proposed};
use crate::history::{Event, Said, value_in};
use multipaxos::types::{Ballot, ReplicaId, Slot};
use std::collections::BTreeMap;

/// How a replica came to know that a slot is decided.
#[derive(Debug)]
pub(super) enum Way<'a> {
    /// It counted acceptances at a ballot of its own: with these, in this order.
    Counted { ballot: Ballot, votes: Vec<Vote<'a>> },
    /// A leader said so in this message.
    Told { ballot: Ballot, message: &'a Sent<'a> },
    /// A peer sent it from its decided log in this message.
    Fetched { message: &'a Sent<'a> },
}

/// An acceptance as the owner of the ballot hears it.
#[derive(Debug, Clone)]
pub(super) struct Vote<'a> {
    pub(super) from: ReplicaId,
    /// None of its own acceptor.
    pub(super) message: Option<&'a Sent<'a>>,
}

/// How `replica` came to know before entry `end` that `slot` is decided, and with which
/// entry, in the life that it leads there.
pub(super) fn way<'a>(
    past: &'a Past<'a>,
    replica: ReplicaId,
    slot: Slot,
    end: usize,
) -> Option<(usize, Way<'a>)> {
    let began = past.before(end).find_map(|(at, entry)| match entry.event {
        Event::Began { replica: whose, .. } if whose == replica => Some(at),
        _ => None,
    });
    let accepted = accepted_at(past, replica, slot, end);
    // At which ballots the learner knows the slot's value, and has seen it accepted here.
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
        if let Some((ballot, _)) = proposed(slot, said).filter(|(at, _)| accepted.contains(at)) {
            held.push(ballot);
        }
        if let (Said::Page { first, values }, Some(message)) = (said, message)
            && value_in(slot, *first, values).is_some()
        {
            return Some((at, Way::Fetched { message }));
        }
        if let (Some(mark), Some(message)) = (mark(slot, said), message) {
            marks.push((mark, message));
        }
        if let Some(ballot) = accepted_in(slot, said) {
            let from = message.map_or(replica, |sent| match sent.from {
                crate::history::Party::Replica(from) => from,
                crate::history::Party::Client(_) => unreachable!("clients accept nothing"),
            });
            let counted = votes.entry(ballot).or_default();
            if past.votes(from, at) && counted.iter().all(|vote| vote.from != from) {
                counted.push(Vote { from, message });
            }
        }
        if let Some((ballot, message)) = marks.iter().find(|(ballot, _)| held.contains(ballot)) {
            return Some((at, Way::Told { ballot: *ballot, message }));
        }
        let quorum = votes.iter().find(|(ballot, votes)| {
            past.owner(**ballot) == replica && votes.len() >= past.quorum()
        });
        if let Some((ballot, votes)) = quorum {
            return Some((at, Way::Counted { ballot: *ballot, votes: votes.clone() }));
        }
    }
    None
}

/// At which ballots `replica` had accepted something in `slot` by entry `end`.
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

/// At which ballot a message calls `slot` decided.
pub(super) fn mark(slot: Slot, said: &Said) -> Option<Ballot> {
    match said {
        Said::Accept { decided, .. } | Said::Heartbeat { decided } => {
            decided.slots.contains(slot).then_some(decided.ballot)
        }
        _ => None,
    }
}
