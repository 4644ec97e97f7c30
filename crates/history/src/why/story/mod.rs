//! The story of a slot: a sentence for each thing that happened, in the order of the history.
//!
//! - `proposing`: how each value came to be proposed.
//! - `accepting`: who accepted it or refused it, and when it was chosen.
//! - `learning`: who learned and applied it.
//!
//! The deaths and returns of replicas are told here, where they fall into the story.

mod accepting;
mod learning;
mod proposing;

use super::facts::Facts;
use crate::events::Event;
use multipaxos::types::Command;

/// A sentence, and the time of what it tells.
#[derive(Debug)]
pub(super) struct Sentence {
    at: usize,
    pub(super) ms: u64,
    pub(super) text: String,
}

/// The story so far.
struct Story<'f, 'a> {
    facts: &'f Facts<'a>,
    sentences: Vec<Sentence>,
}

/// Tells the story of the slot.
pub(super) fn tell(facts: &Facts<'_>) -> Vec<Sentence> {
    let mut story = Story { facts, sentences: Vec::new() };
    for (ballot, proposal) in &facts.proposals {
        story.tell_proposal(*ballot, proposal);
    }
    story.tell_acceptances();
    story.tell_refusals();
    story.tell_learning();
    // Sentences about the same entry stay in the order in which they were added.
    story.sentences.sort_by_key(|sentence| sentence.at);
    story.tell_deaths();
    story.sentences.sort_by_key(|sentence| sentence.at);
    story.sentences
}

impl Story<'_, '_> {
    fn say(&mut self, at: usize, text: String) {
        let ms = self.facts.past.history.entries[at].us / 1_000;
        self.sentences.push(Sentence { at, ms, text });
    }

    fn tell_deaths(&mut self) {
        let Some(first) = self.sentences.first().map(|sentence| sentence.at) else { return };
        let applied = self.facts.applied_by().len() == self.facts.past.history.replicas;
        let last = match applied {
            true => self.sentences.last().map_or(0, |sentence| sentence.at),
            false => self.facts.past.end(),
        };
        for (at, entry) in self.facts.past.from(first).take_while(|(at, _)| *at < last) {
            let text = match &entry.event {
                Event::Ended { replica, cannot_sync: false } => {
                    format!("Replica {replica} dies.")
                }
                Event::Ended { replica, cannot_sync: true } => {
                    format!("Replica {replica} cannot sync what it was sent, and ends.")
                }
                Event::Wiped { replica } => format!("Replica {replica} loses its disk."),
                Event::Began { replica, votes: true, .. } => {
                    format!("Replica {replica} is back.")
                }
                Event::Began { replica, votes: false, .. } => {
                    format!("Replica {replica} is back, without its disk, and so without a vote.")
                }
                _ => continue,
            };
            self.say(at, text);
        }
    }
}

fn is_same(a: &Command, b: &Command) -> bool {
    (a.session, a.seq) == (b.session, b.seq)
}
