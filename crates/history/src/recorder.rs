//! Records a run whose network tells only what is sent and what arrives.
//!
//! Messages are told apart by their ends and contents. Of those that are the same, the one that
//! left last counts as the one that arrives: a message is sent again when the one before it has had
//! its time. What arrives although nothing like it is under way any more is a copy that the network
//! has made. At the end, what has not arrived is lost if something that left later on the same way
//! has arrived; the rest may be on its way.

use crate::events::{Event, History, Loss, Party};
use crate::payload::Payload;
use crate::print;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// A message: its ends, and the hash of its contents.
type Fingerprint = (Party, Party, u64);

/// Makes a [`History`].
#[derive(Debug)]
pub struct Recorder {
    history: History,
    entries_max: usize,
    /// Whether there was more than it could keep.
    is_cut: bool,
    /// The line of a trace for the last event.
    line: Option<String>,
    /// How many messages had each letter.
    counters: BTreeMap<char, u64>,
    /// The numbers of the messages under way, oldest first.
    flying: HashMap<Fingerprint, Vec<usize>>,
    /// Messages that were under way when the same message, sent later, arrived.
    overdue: Vec<usize>,
    /// The message that arrived last of those that are the same.
    arrived: HashMap<Fingerprint, String>,
    /// The ids of all messages, by their numbers, and on which way each has gone.
    sent: Vec<(String, Party, Party)>,
    /// How many of them the history holds.
    sent_kept: usize,
    /// The highest number that has arrived on each way.
    newest: BTreeMap<(Party, Party), usize>,
}

impl Recorder {
    /// A recorder for a cluster of `replicas`. It keeps the first `entries_max` entries.
    pub fn new(replicas: usize, entries_max: usize) -> Recorder {
        Recorder {
            history: History::new(replicas),
            entries_max,
            is_cut: false,
            line: None,
            counters: BTreeMap::new(),
            flying: HashMap::new(),
            overdue: Vec::new(),
            arrived: HashMap::new(),
            sent: Vec::new(),
            sent_kept: 0,
            newest: BTreeMap::new(),
        }
    }

    /// The same, of a cluster that began with this many of them.
    #[must_use]
    pub fn founded_by(mut self, founders: usize) -> Recorder {
        self.history.founders = founders;
        self
    }

    /// Whether more has happened than it keeps.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Takes the line of a trace for the last event, if there is one.
    pub fn take_line(&mut self) -> Option<String> {
        self.line.take()
    }

    /// Something happens that is no message.
    pub fn happens(&mut self, us: u64, event: Event) {
        self.line = print::event(&event);
        self.is_cut = self.history.entries.len() >= self.entries_max;
        if !self.is_cut {
            self.history.push(us, event);
        }
    }

    /// A message leaves.
    pub fn leaves(&mut self, us: u64, from: Party, to: Party, payload: &Payload) {
        let letter = payload.letter();
        let counter = self.counters.entry(letter).or_default();
        *counter += 1;
        let (id, number) = (format!("{letter}{counter}"), self.sent.len());
        self.sent.push((id.clone(), from, to));
        self.flying.entry(fingerprint(from, to, payload)).or_default().push(number);
        let (said, text) = (payload.said(), payload.text());
        self.happens(us, Event::Sent { id, from, to, said, text });
        if !self.is_cut {
            self.sent_kept = self.sent.len();
        }
    }

    /// The message that left last, and is the same, will not arrive, and that is known.
    pub fn loses(&mut self, us: u64, from: Party, to: Party, payload: &Payload, loss: Loss) {
        let flying = self.flying.get_mut(&fingerprint(from, to, payload));
        if let Some(number) = flying.and_then(Vec::pop) {
            let id = self.sent[number].0.clone();
            self.happens(us, Event::Lost { id, loss });
        }
    }

    /// A message arrives. One that was sent before the recording began is left out.
    pub fn arrives(&mut self, us: u64, from: Party, to: Party, payload: &Payload) {
        let fingerprint = fingerprint(from, to, payload);
        let mut same = self.flying.remove(&fingerprint).unwrap_or_default();
        let event = match (same.pop(), self.arrived.get(&fingerprint)) {
            (Some(number), _) => {
                self.overdue.extend(same);
                let id = self.sent[number].0.clone();
                let newest = self.newest.entry((from, to)).or_default();
                *newest = number.max(*newest);
                self.arrived.insert(fingerprint, id.clone());
                Event::Arrived { id }
            }
            (None, Some(id)) => Event::Repeated { id: id.clone() },
            (None, None) => return,
        };
        self.happens(us, event);
    }

    /// The history. `us`: the end of the run.
    pub fn finish(mut self, us: u64) -> History {
        // A cut history ends with its last entry, whenever the run ended.
        let last_kept = self.history.entries.last().map_or(us, |entry| entry.us);
        let us = if self.is_cut { last_kept } else { us };
        let flying = self.flying.into_values().flatten();
        let mut missing: Vec<usize> = flying.chain(self.overdue).collect();
        missing.sort_unstable();
        for number in missing.into_iter().take_while(|number| *number < self.sent_kept) {
            let (id, from, to) = self.sent[number].clone();
            if self.newest.get(&(from, to)).is_some_and(|newest| number < *newest) {
                self.history.push(us, Event::Lost { id, loss: Loss::ByNetwork });
            }
        }
        self.history
    }
}

fn fingerprint(from: Party, to: Party, payload: &Payload) -> Fingerprint {
    (from, to, BuildHasherDefault::<DefaultHasher>::default().hash_one(payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use multipaxos::message::{Message, ToProposer};
    use multipaxos::types::{Ballot, ReplicaId};

    const A: Party = Party::Replica(ReplicaId(0));
    const B: Party = Party::Replica(ReplicaId(1));

    fn nack(ballot: u64) -> Payload {
        let (ballot, promised) = (Ballot(ballot), Ballot(9));
        Payload::Peer(Message::Proposer(ToProposer::Nack { ballot, promised }))
    }

    /// What became of the messages, in order.
    fn fates(history: &History) -> Vec<String> {
        let fate = |event: &Event| match event {
            Event::Arrived { id } => Some(format!("{id} arrives")),
            Event::Repeated { id } => Some(format!("{id} again")),
            Event::Lost { id, loss: Loss::ByNetwork } => Some(format!("{id} is lost")),
            _ => None,
        };
        history.entries.iter().filter_map(|entry| fate(&entry.event)).collect()
    }

    #[test]
    fn what_arrives_is_told_by_its_ends_and_contents() {
        let mut recorder = Recorder::new(2, 100);
        for ballot in [1, 2, 1, 3] {
            recorder.leaves(0, A, B, &nack(ballot));
        }
        recorder.leaves(0, B, A, &nack(1));
        for ballot in [2, 1, 2] {
            recorder.arrives(1, A, B, &nack(ballot));
        }
        let fates_of_five = fates(&recorder.finish(2));
        // The last ones may be on their way.
        assert_eq!(fates_of_five, ["n2 arrives", "n3 arrives", "n2 again", "n1 is lost"]);
        let mut recorder = Recorder::new(2, 100);
        [1, 2].iter().for_each(|ballot| recorder.leaves(0, A, B, &nack(*ballot)));
        recorder.arrives(1, A, B, &nack(2));
        recorder.arrives(1, A, B, &nack(7));
        assert_eq!(fates(&recorder.finish(2)), ["n2 arrives", "n1 is lost"]);
    }

    #[test]
    fn what_is_known_to_be_lost_is_not_waited_for() {
        let mut recorder = Recorder::new(2, 100);
        (0..2).for_each(|_| recorder.leaves(0, A, B, &nack(1)));
        recorder.loses(0, A, B, &nack(1), Loss::ByNetwork);
        (0..2).for_each(|_| recorder.arrives(1, A, B, &nack(1)));
        assert_eq!(fates(&recorder.finish(2)), ["n2 is lost", "n1 arrives", "n1 again"]);
    }

    #[test]
    fn a_full_recorder_says_so_and_keeps_nothing_more() {
        let mut recorder = Recorder::new(2, 3);
        for ballot in 0..2 {
            recorder.leaves(0, A, B, &nack(ballot));
        }
        recorder.arrives(1, A, B, &nack(0));
        assert!(!recorder.is_cut());
        recorder.arrives(1, A, B, &nack(1));
        assert!(recorder.is_cut());
        assert_eq!(recorder.take_line().as_deref(), Some("n2 arrives"), "a trace goes on");
        recorder.happens(2, Event::Resigned { replica: ReplicaId(0) });
        let history = recorder.finish(9_000);
        assert_eq!(history.entries.len(), 3);
        assert_eq!(history.entries.last().map(|entry| entry.us), Some(1), "not the run's end");
    }

    #[test]
    fn what_left_after_the_end_of_a_cut_history_is_not_told_as_lost() {
        let mut recorder = Recorder::new(2, 1);
        (0..3).for_each(|ballot| recorder.leaves(0, A, B, &nack(ballot)));
        recorder.arrives(1, A, B, &nack(2));
        assert_eq!(fates(&recorder.finish(2)), ["n1 is lost"]);
    }
}
