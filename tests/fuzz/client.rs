//! The client's role, which gets any answers from any replicas at any time.
//!
//! **What must hold.** No panic. A submitted line completes, is given up or expires once at
//! most. It completes only if an answer said so for its session and number. In a session
//! numbers go up one by one. The client calls only replicas of the cluster. After a timer has
//! fired it is not due any more.

use crate::draw::{self, Around};
use crate::run::{Property, check};
use multipaxos::client::{Client, Input, Outcome};
use multipaxos::message::{Answer, ClientMessage};
use multipaxos::paxos::{Envelope, Outbox, Role, Storage};
use multipaxos::types::{Attempt, Ballot, ClientId, ReplicaId, Session, Slot, Time};
use proptest::collection::vec;
use proptest::prelude::*;
use seeds::stream;
use std::io;

#[derive(Debug, Clone, Copy)]
enum Step {
    Submit(u64),
    Answer(u64),
    /// An answer as from a replica that has applied the line.
    Complete(u64),
    Wait(u64),
    End,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..40u8, any::<u64>()).prop_map(|(kind, dice)| match kind {
        0..10 => Step::Submit(dice),
        10..20 => Step::Answer(dice),
        20..28 => Step::Complete(dice),
        28..39 => Step::Wait(dice),
        _ => Step::End,
    });
    vec(step, 1..80)
}

#[derive(Default)]
struct Outcomes(Vec<Outcome>);

impl Storage<Outcome> for Outcomes {
    fn append(&mut self, records: &mut Vec<Outcome>) -> io::Result<()> {
        self.0.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Play {
    n: usize,
    client: Client,
    now: Time,
    out: Outbox<Outcome>,
    /// The session and number of the last request.
    asked: Option<(Session, u64)>,
    /// Whether a line is in flight, and whether an answer has said that it is complete.
    open: bool,
    answered: bool,
    completed: u64,
    inputs: u64,
}

impl Play {
    fn commit(&mut self) {
        self.inputs += 1;
        self.client.flush(self.now, &mut self.out);
        let mut outcomes = Outcomes::default();
        for envelope in self.out.commit(&mut outcomes).expect("memory never fails") {
            let Envelope::Call { to, message } = envelope else { panic!("{envelope:?}") };
            assert!(to.index() < self.n, "the client calls replica {to} of {}", self.n);
            let ClientMessage::Request(request) = message else { continue };
            assert_eq!(request.commands.len(), 1, "one line is in flight");
            let command = request.command();
            let next = (command.session, command.seq);
            if let Some((session, seq)) = self.asked.filter(|asked| *asked != next) {
                let follows = command.session == session && command.seq == seq + 1;
                let begins = command.session != session && command.seq == 0;
                assert!(follows || begins, "{next:?} after {session:?}, {seq}");
            }
            self.asked = Some(next);
        }
        for outcome in outcomes.0 {
            assert!(self.open, "{outcome:?} without a line in flight");
            match outcome {
                Outcome::Waiting { .. } => continue,
                Outcome::Complete { client, .. } => {
                    assert_eq!(client, ClientId(1));
                    assert!(self.answered, "no answer said that the line is complete");
                    self.completed += 1;
                }
                Outcome::GaveUp { line }
                | Outcome::Expired { line }
                | Outcome::OtherCluster { line, .. } => {
                    assert!(line.starts_with("line"));
                    assert!(self.client.has_failed());
                }
            }
            self.open = false;
        }
        assert_eq!(self.open, self.client.is_busy(), "a line is in flight until its outcome");
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Submit(dice) => {
                if self.client.is_busy() || self.client.has_failed() {
                    return;
                }
                (self.open, self.answered) = (true, false);
                // Some are long: about those the client asks without sending them.
                let line = "line".repeat(if dice % 4 == 0 { 2_000 } else { 1 });
                let input = Input::Submit { line: line.into(), session: self.inputs };
                self.client.handle(self.now, dice, input, &mut self.out);
            }
            Step::Answer(dice) | Step::Complete(dice) => {
                let rng = &mut stream(dice, "dice");
                let around = Around {
                    n: self.n,
                    ballot: Ballot(rng.u64(..9)),
                    slot: Slot(rng.u64(..99)),
                    honest: false,
                    brim: true,
                };
                let (session, seq) = self.asked.unwrap_or_default();
                let answer = match (step, self.client.is_opening()) {
                    (Step::Complete(_), true) => {
                        Answer::Welcome { applied: around.slot, ballot: around.ballot }
                    }
                    (Step::Complete(_), false) => {
                        let (slot, attempt) = (around.slot, Attempt::after(rng.usize(..3)));
                        Answer::Complete { session, seq, slot, client_seq: seq, attempt }
                    }
                    _ => draw::answer(rng, &around, session),
                };
                self.answered |= matches!(&answer, Answer::Complete { session: of, seq: number, .. }
                    if (*of, *number) == (session, seq));
                let input = Input::Answer(ReplicaId(rng.u8(..self.n as u8)), answer);
                self.client.handle(self.now, dice, input, &mut self.out);
            }
            Step::Wait(dice) => {
                let most = [1_000, 100_000, 3_000_000, 1 << 45][(dice % 4) as usize];
                self.now = self.now.plus_us((dice >> 8) % most);
                if self.client.deadline().is_some_and(|due| due <= self.now) {
                    self.client.handle_timeout(self.now, dice, &mut self.out);
                    let due = self.client.deadline();
                    assert!(due.is_none_or(|due| due > self.now), "a timer at {due:?} spins");
                }
            }
            Step::End => self.client.handle(self.now, 0, Input::End, &mut self.out),
        }
        self.commit();
    }
}

#[test]
fn a_line_is_complete_once_and_only_if_somebody_says_so() {
    let name = "client::a_line_is_complete_once_and_only_if_somebody_says_so";
    let mut completed = 0;
    let cases = (prop_oneof![Just(1usize), Just(3), Just(5)], any::<bool>(), steps());
    let property = Property { name, cases: 2_000, cost: 8 };
    check(property, cases, |(n, patient, steps)| {
        let timeout_us = (!patient).then_some(5_000_000);
        let client = Client::new(ClientId(1), n, timeout_us);
        let mut play = Play {
            n,
            client,
            now: Time(0),
            out: Outbox::new(),
            asked: None,
            open: false,
            answered: false,
            completed: 0,
            inputs: 0,
        };
        steps.iter().for_each(|step| play.step(*step));
        completed += play.completed;
        play.inputs
    });
    if property.is_full() {
        assert!(completed > 1_000, "{completed} lines were completed");
    }
}
