//! Explains a slot from the history, in sentences.
//!
//! [`why()`] is a pure function. It reads only what was recorded ([`History`]) and asks no role. So
//! "chosen" has the meaning of the papers here: a quorum has accepted one value at one ballot,
//! whether or not a replica knows it yet.
//!
//! The answer has three parts: a headline; the story of the slot, with a sentence for each thing
//! that happened; and what is still missing, with the messages in the network and the lost ones.
//!
//! - `facts`: the facts about one slot.
//! - `story`: these facts in sentences.
//! - `learned`: how a replica learned that a slot is decided.
//! - `missing`: what has not happened yet, and why.

mod facts;
mod learned;
mod missing;
mod story;
#[cfg(test)]
mod tests;

use crate::events::{Event, History, value_in};
use crate::print;
use facts::{Facts, Past};
use multipaxos::types::{Ballot, ReplicaId, Slot};

/// The largest length of a line.
pub const COLUMNS: usize = 96;

/// Explains slots of one history.
#[derive(Debug)]
pub struct Teller<'a>(Past<'a>);

/// What a table says of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The values that were proposed: at which ballot, by whom, and the value in words.
    pub proposed: Vec<(Ballot, ReplicaId, String)>,
    /// Who has accepted a value, at which ballot, and when, in microseconds.
    pub accepted: Vec<(ReplicaId, Ballot, u64)>,
    /// The values that were chosen: at which ballot, in words, and when.
    pub chosen: Vec<(Ballot, String, u64)>,
    /// Who has applied the slot, and when it did so first.
    pub applied: Vec<(ReplicaId, u64)>,
    /// Who has applied it and has not lost it.
    pub applied_by: Vec<ReplicaId>,
}

impl<'a> Teller<'a> {
    /// Reads a history.
    pub fn new(history: &'a History) -> Teller<'a> {
        Teller(Past::new(history))
    }

    /// Explains `slot` at each replica.
    pub fn why(&self, slot: Slot) -> Vec<String> {
        why_of(&Facts::new(&self.0, slot))
    }

    /// The same as whole sentences: the headline, the story with its times in milliseconds, and
    /// what is missing.
    pub fn sentences(&self, slot: Slot) -> Vec<(Option<u64>, String)> {
        sentences_of(&Facts::new(&self.0, slot))
    }

    /// What there is to say of `slot` in a table.
    pub fn entry(&self, slot: Slot) -> Entry {
        let facts = Facts::new(&self.0, slot);
        let us = |at: usize| self.0.history.entries[at].us;
        let mut applied: Vec<(ReplicaId, u64)> = Vec::new();
        for (_, entry) in self.0.from(0) {
            if let Event::Applied { replica, first, values, .. } = &entry.event
                && value_in(slot, *first, values).is_some()
                && applied.iter().all(|(known, _)| known != replica)
            {
                applied.push((*replica, entry.us));
            }
        }
        let proposals = facts.proposals.iter();
        let accepted = facts.acceptances.iter();
        let chosen = facts.chosen.iter();
        Entry {
            proposed: proposals.map(|(at, it)| (*at, it.leader, it.text())).collect(),
            accepted: accepted.map(|it| (it.replica, it.ballot, us(it.at))).collect(),
            chosen: chosen.map(|it| (it.ballot, print::value(&it.value), us(it.at))).collect(),
            applied,
            applied_by: facts.applied_by(),
        }
    }
}

/// Explains `slot` at each replica.
pub fn why(history: &History, slot: Slot) -> Vec<String> {
    Teller::new(history).why(slot)
}

fn why_of(facts: &Facts<'_>) -> Vec<String> {
    let sentences = sentences_of(facts);
    let timed = sentences.iter().any(|(ms, _)| ms.is_some_and(|ms| ms > 0));
    let line = |(at, (ms, text)): (usize, &(Option<u64>, String))| match ms {
        _ if at == 0 => wrapped("", text),
        Some(ms) if timed => wrapped(&format!("{ms:>5} ms  "), text),
        _ => wrapped("  ", text),
    };
    sentences.iter().enumerate().flat_map(line).collect()
}

/// The headline first, then the story with its times, and last what is missing.
fn sentences_of(facts: &Facts<'_>) -> Vec<(Option<u64>, String)> {
    let story = story::tell(facts).into_iter().map(|sentence| (Some(sentence.ms), sentence.text));
    let missing = missing::tell(facts).into_iter().map(|text| (None, text));
    std::iter::once((None, headline(facts))).chain(story).chain(missing).collect()
}

fn headline(facts: &Facts<'_>) -> String {
    let slot = facts.slot;
    let known = facts.is_known();
    match (facts.chosen.as_slice(), facts.proposals.last_key_value()) {
        ([], None) => format!("Slot {slot} is empty: no replica has proposed anything in it."),
        ([], Some((ballot, proposal))) => format!(
            "Slot {slot} is not decided: {} is proposed at ballot {ballot}, and not yet chosen.",
            proposal.text()
        ),
        ([first, rest @ ..], _) if rest.iter().any(|other| other.value != first.value) => {
            format!("Slot {slot} is broken: two values are chosen in it.")
        }
        ([first, ..], _) => {
            let (value, ballot) = (first.text(), first.ballot);
            match known {
                true => format!("Slot {slot} is decided: {value} is chosen at ballot {ballot}."),
                false => format!(
                    "Slot {slot} is not decided: {value} is chosen at ballot {ballot}, and no \
                     replica knows it yet."
                ),
            }
        }
    }
}

/// The text after `start`, broken between words into lines of a terminal's width.
fn wrapped(start: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(start.len() + 2);
    let mut lines = Vec::new();
    let mut line = start.to_owned();
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

/// `replica 0`, `replicas 0 and 1`, `replicas 0, 1 and 2`.
fn replicas(ids: &[ReplicaId]) -> String {
    let names: Vec<String> = ids.iter().map(ReplicaId::to_string).collect();
    format!("{} {}", if ids.len() == 1 { "replica" } else { "replicas" }, listed(&names))
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// The text with a capital letter at its beginning.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
