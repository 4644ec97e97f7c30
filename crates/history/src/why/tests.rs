//! Histories made by hand.

use super::why;
use crate::events::{Event, History, Mark, Party, Report, Said};
use multipaxos::message::{Request, Span};
use multipaxos::types::{Ballot, ReplicaId, Slot, SlotRange, Value, replicas};
use multipaxos::values::Values;

/// A history of five replicas, made by hand.
struct Made(History);

fn range(start: u64, end: u64) -> SlotRange {
    SlotRange::new(Slot(start), Slot(end))
}

fn command(line: &str) -> Value {
    Value::Command(Request::new(1, 1, 0, line).command())
}

impl Made {
    fn new() -> Made {
        let mut history = History::new(5);
        for replica in replicas(5) {
            history.push(0, Event::Began { replica, votes: true, applied: Slot::ZERO });
        }
        Made(history)
    }

    fn accept(ballot: u64, line: &str) -> Said {
        Said::Accept {
            ballot: Ballot(ballot),
            first: Slot(3),
            values: Values::from(&command(line)),
            decided: Mark { ballot: Ballot(0), slots: range(0, 0) },
        }
    }

    fn sends(mut self, id: &str, from: u8, to: u8, said: Said) -> Made {
        let (from, to) = (Party::Replica(ReplicaId(from)), Party::Replica(ReplicaId(to)));
        let (id, text) = (id.into(), "in words".into());
        self.0.push(0, Event::Sent { id, from, to, said, text });
        self
    }

    fn arrives(mut self, id: &str) -> Made {
        self.0.push(0, Event::Arrived { id: id.into() });
        self
    }

    fn accepts(mut self, replica: u8, ballot: u64, line: &str) -> Made {
        let (replica, ballot, first) = (ReplicaId(replica), Ballot(ballot), Slot(3));
        let values = Values::from(&command(line));
        self.0.push(0, Event::Accepted { replica, ballot, first, values });
        self
    }

    /// The answer as one line.
    fn told(&self) -> String {
        let lines = why(&self.0, Slot(3)).join(" ");
        lines.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn says(&self, sentence: &str) -> bool {
        self.told().contains(sentence)
    }
}

#[test]
fn chosen_means_a_quorum_at_one_ballot_and_nothing_is_counted_across_ballots() {
    let made = Made::new().accepts(0, 0, "x").accepts(1, 0, "x").accepts(2, 5, "x");
    assert!(!made.says("is chosen"), "{}", made.told());
    // The same acceptor counts only once.
    let made = made.accepts(1, 0, "x");
    assert!(!made.says("is chosen"), "{}", made.told());
    let made = made.accepts(4, 0, "x");
    assert!(made.says("replicas 0, 1 and 4 have accepted it at ballot 0, and 3 of 5 are a quorum"));
    assert!(made.says("no replica knows it yet"), "{}", made.told());
    // The history says nothing about another slot.
    assert!(why(&made.0, Slot(2))[0].contains("Slot 2 is empty"));
}

#[test]
fn two_chosen_values_are_called_what_they_are() {
    let mut made = Made::new();
    for replica in 0..3 {
        made = made.accepts(replica, 0, "x");
    }
    for replica in 2..5 {
        made = made.accepts(replica, 6, "y");
    }
    assert!(made.says("Slot 3 is broken: two values are chosen in it."));
    assert!(
        made.says("But \"x\" was chosen at ballot 0: Paxos is"),
        "{:#?}",
        why(&made.0, Slot(3))
    );
}

#[test]
fn a_leader_that_proposes_something_else_than_was_reported_stands_out() {
    let report = |accepted: &[Span]| {
        Said::Promise(Report {
            ballot: Ballot(6),
            slots: SlotRange::onward(Slot::ZERO),
            trimmed: Slot::ZERO,
            accepted: accepted.iter().copied().collect(),
        })
    };
    let made = Made::new()
        .accepts(2, 0, "x")
        .sends("m1", 2, 1, report(&[Span { slots: range(3, 4), ballot: Ballot(0) }]))
        .sends("m2", 3, 1, report(&[]))
        .arrives("m1")
        .arrives("m2")
        .sends("a1", 1, 2, Made::accept(6, "y"));
    let lines = made.told();
    assert!(lines.contains("the one with the highest ballot counts: \"x\" at ballot 0"), "{lines}");
    assert!(lines.contains("Yet replica 1 proposes \"y\" at ballot 6"), "{lines}");
}

#[test]
fn what_a_mark_says_of_another_ballot_explains_nothing() {
    let marks =
        |ballot| Said::Heartbeat { decided: Mark { ballot: Ballot(ballot), slots: range(0, 4) } };
    let made = |ballot| {
        Made::new()
            .sends("a1", 0, 1, Made::accept(0, "x"))
            .arrives("a1")
            .accepts(0, 0, "x")
            .accepts(1, 0, "x")
            .accepts(2, 0, "x")
            .sends("h1", 0, 1, marks(ballot))
            .arrives("h1")
    };
    assert!(made(0).says("Replica 1 knows it"), "{}", made(0).told());
    assert!(made(5).says("Replica 1 has accepted it at ballot 0, and does not know"));
}
