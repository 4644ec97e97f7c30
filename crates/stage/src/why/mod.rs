//! Explains a slot from the history, in sentences.
//!
//! [`why`] is a pure function. It reads only what the stage recorded ([`History`]) and asks no
//! role. So "chosen" has the meaning of the papers here: a quorum has accepted one value at one
//! ballot, whether or not a replica knows it yet.
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

use crate::history::History;
use facts::{Facts, Past};
use multipaxos::types::{ReplicaId, Slot};

/// The largest length of a line.
const COLUMNS: usize = 96;

/// Explains `slot` at each replica.
pub fn why(history: &History, slot: Slot) -> Vec<String> {
    let past = Past::new(history);
    let facts = Facts::new(&past, slot);
    let story = story::tell(&facts);
    let timed = story.iter().any(|sentence| sentence.ms > 0);
    let mut lines = vec![headline(&facts)];
    for sentence in story {
        let time = if timed { format!("{:>5} ms  ", sentence.ms) } else { "  ".into() };
        lines.extend(wrapped(&time, &sentence.text));
    }
    lines.extend(missing::tell(&facts).iter().flat_map(|text| wrapped("  ", text)));
    lines
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
