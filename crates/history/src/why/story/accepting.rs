//! Phase 2: which acceptors accepted or refused a proposal, and when a value was chosen.

use super::Story;
use crate::events::{Event, Party, Said};
use crate::print;
use crate::why::facts::{Delivery, Sent, accepted_in, asks_to_accept};
use crate::why::{capital, replicas};
use multipaxos::types::{Ballot, ReplicaId};

impl<'a> Story<'_, 'a> {
    pub(super) fn tell_acceptances(&mut self) {
        let facts = self.facts;
        for held in &facts.acceptances {
            let (replica, ballot) = (held.replica, held.ballot);
            let value = print::value(&held.value);
            let text = if facts.past.owner(ballot) == replica {
                format!("Replica {replica} accepts {value} at ballot {ballot} itself.")
            } else {
                let came = self.arrived_last(ballot, replica, held.at);
                let came = came.map_or(String::new(), |id| format!("receives {id}, "));
                let said = match self.first_vote(replica, ballot, held.at) {
                    Some(sent) => format!("and says so: {}.", sent.with_loss()),
                    None => "and has not said so.".into(),
                };
                format!("Replica {replica} {came}accepts {value} at ballot {ballot} {said}")
            };
            self.say(held.at, text);
        }
        for (index, chosen) in facts.chosen.iter().enumerate() {
            let (by, ballot, value) = (replicas(&chosen.by), chosen.ballot, chosen.text());
            let (some, all) = (chosen.by.len(), facts.past.members(ballot));
            let text = match facts.chosen[..index].first() {
                None => format!(
                    "Now {value} is chosen: {by} have accepted it at ballot {ballot}, and {some} \
                     of {all} are a quorum."
                ),
                Some(first) if first.value == chosen.value => format!(
                    "{} have accepted it at ballot {ballot}, too: what is chosen stays chosen.",
                    capital(&by)
                ),
                Some(first) => format!(
                    "Now {value} is chosen as well: {by} have accepted it at ballot {ballot}. But \
                     {} was chosen at ballot {}: Paxos is broken.",
                    first.text(),
                    first.ballot
                ),
            };
            let text = match all {
                1 => text.replace("have accepted", "has accepted").replace("are a", "is a"),
                _ => text,
            };
            self.say(chosen.at, text);
        }
    }

    /// The last accept that arrived at `replica` before entry `end`.
    fn arrived_last(&self, ballot: Ballot, replica: ReplicaId, end: usize) -> Option<&'a str> {
        let arrived = |sent: &Sent<'a>| match sent.delivery {
            Delivery::Arrived(at) if at < end => Some((at, sent.id)),
            _ => None,
        };
        let accepts = self.facts.accepts_to(ballot, replica);
        accepts.into_iter().filter_map(arrived).max().map(|(_, id)| id)
    }

    /// The first message in which `replica` said that it had accepted the slot.
    fn first_vote(&self, replica: ReplicaId, ballot: Ballot, start: usize) -> Option<&Sent<'a>> {
        let slot = self.facts.slot;
        self.facts.past.messages.iter().find(|sent| {
            sent.at > start && sent.is_from(replica) && accepted_in(slot, sent.said) == Some(ballot)
        })
    }

    /// Tells which acceptors refused an accept, because they had promised a higher ballot.
    pub(super) fn tell_refusals(&mut self) {
        let past = self.facts.past;
        let mut told: Vec<(Party, Ballot)> = Vec::new();
        for sent in &past.messages {
            let Said::Nack { ballot, promised } = sent.said else { continue };
            let came = past.before(sent.at).find_map(|(_, entry)| match &entry.event {
                Event::Arrived { id } => past.message(id).filter(|came| came.to == sent.from),
                _ => None,
            });
            let Some(came) = came else { continue };
            let here = asks_to_accept(self.facts.slot, came.said) == Some(*ballot);
            if here && !told.contains(&(sent.from, *ballot)) {
                told.push((sent.from, *ballot));
                self.say(
                    sent.at,
                    format!(
                        "Replica {} receives {} and refuses it: it has promised ballot \
                         {promised} ({}).",
                        sent.from, came.id, sent.id
                    ),
                );
            }
        }
    }
}
