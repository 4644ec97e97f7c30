//! Checks of the messages and answers that a replica sends.

use super::{Checked, Checker, Sent, fingerprint, violation};
use multipaxos::message::{
    Accept, AcceptedValues, Answer, Conduct, Decided, Message, Promise, Responded, Spans, Status,
    ToAcceptor, ToLearner, ToProposer,
};
use multipaxos::storage::chat_log::write_line;
use multipaxos::types::{Ballot, Command, ReplicaId, Session, Slot, SlotRange, Value};
use std::ops::Range;

impl Checker {
    /// A replica sends a message.
    pub fn leaves(&mut self, node: ReplicaId, life: u32, message: &Message) -> Checked {
        match message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, first, .. }) => {
                self.used_after_own_promise(node, life, *ballot, *first)
            }
            Message::Acceptor(ToAcceptor::Accept(accept)) => {
                self.used_after_own_promise(node, life, accept.ballot, accept.first)?;
                self.proposes(accept)?;
                self.marks(node, accept.decided)
            }
            Message::Acceptor(ToAcceptor::AcceptHeld { ballot, held }) => {
                self.used_after_own_promise(node, life, *ballot, held.end())?;
                self.proposes_held(*ballot, held)
            }
            Message::Acceptor(ToAcceptor::FetchAccepted { ballot, wanted }) => {
                self.used_after_own_promise(node, life, *ballot, wanted.end())
            }
            Message::Proposer(ToProposer::Promise(page)) => self.promises(node, page),
            Message::Proposer(ToProposer::AcceptedValues(values)) => self.hands_over(node, values),
            Message::Learner(ToLearner::Accepted { ballot, slots, .. }) => {
                for slot in slots.ranges().iter().flat_map(|range| range.iter()) {
                    let held = self.accepted.get(&(slot, *ballot));
                    if !held.is_some_and(|held| held.is_by(node)) {
                        return violation(
                            slot,
                            format!("S1: replica {node} reports an acceptance that is not durable"),
                        );
                    }
                }
                Ok(())
            }
            Message::Heartbeat(heartbeat) => {
                if heartbeat.applied.0 > self.log.len() as u64 {
                    return violation(
                        heartbeat.applied,
                        format!(
                            "I4: replica {node} says that it applied more slots than any replica has"
                        ),
                    );
                }
                self.marks(node, heartbeat.decided)
            }
            _ => Ok(()),
        }
    }

    /// A replica sends an answer to the process of the clients with these ids.
    pub fn answers(&mut self, clients: Range<u64>, answer: &Answer) -> Checked {
        let (session, slot) = match answer {
            Answer::Complete { session, slot, .. } => {
                self.completes(answer)?;
                (session, *slot)
            }
            Answer::Responded(completion) => {
                self.completes(answer)?;
                (&completion.session, completion.slot)
            }
            Answer::Expired { session, seq } => {
                let end = Slot(self.log.len() as u64);
                if !self.has_expired(*session, *seq, end) {
                    return violation(
                        end,
                        "E2: a replica calls a session expired that is not".into(),
                    );
                }
                if self.never_was(*session) {
                    return violation(
                        end,
                        "E2: a replica calls a session expired that never was".into(),
                    );
                }
                (session, end)
            }
            Answer::BornTooEarly { session, seq } => {
                let end = Slot(self.log.len() as u64);
                let has_lived = self.last_of_session.contains_key(session);
                if has_lived || !self.has_expired(*session, *seq, end) {
                    return violation(
                        end,
                        "E2: a replica calls a session born too early that has lived, or may"
                            .into(),
                    );
                }
                self.born_too_early.insert(*session);
                (session, end)
            }
            Answer::Welcome { applied, .. } => {
                let end = Slot(self.log.len() as u64);
                return match (end.0..applied.0).map(Slot).find(|s| !self.chosen.contains_key(s)) {
                    Some(open) => violation(open, "E2: a session is to be born above it".into()),
                    None => Ok(()),
                };
            }
            Answer::Held { session, .. } => (session, Slot(self.log.len() as u64)),
            Answer::Leader { .. } => return Ok(()),
            Answer::Moved { configuration, moved } => {
                return self.tells_moves(*configuration, *moved);
            }
            Answer::Status(_)
            | Answer::Usage(_)
            | Answer::Log(_)
            | Answer::Mark { .. }
            | Answer::Members(_) => {
                let end = Slot(self.log.len() as u64);
                return violation(
                    end,
                    format!("W1: client {clients:?} is answered what it never asked"),
                );
            }
        };
        if clients.contains(&session.client.0) {
            Ok(())
        } else {
            violation(slot, format!("E3: client {clients:?} is answered for {}", session.client))
        }
    }

    /// E3: a completion is true.
    fn completes(&self, answer: &Answer) -> Checked {
        let Some(completion) = answer.completion() else { return Ok(()) };
        let Responded { session, seq, slot, client_seq, response, .. } = completion;
        let entry = self.log.get(slot.0 as usize);
        let right = entry.is_some_and(|applied| {
            applied.line == Some((session, seq)) && applied.client_seq == Some(client_seq)
        });
        if !right {
            return violation(slot, "E3: a replica sends a completion that is not true".into());
        }
        self.responds(response.as_ref(), slot)
    }

    /// A replica tells an operator how it is, and what its log is below this slot.
    pub fn tells(&mut self, node: ReplicaId, below: Slot, status: &Status) -> Checked {
        let Status { leadership, applied, decided, hash } = *status;
        let end = self.log.len() as u64;
        if applied.0 > end {
            return violation(applied, format!("I4: replica {node} has applied more than any"));
        }
        if let Some(open) = (end..decided.0).map(Slot).find(|s| !self.chosen.contains_key(s)) {
            return violation(open, format!("S7: replica {node} calls this slot decided"));
        }
        let leads = leadership.conduct == Conduct::Leads;
        let owner = leadership.leader.and_then(|ballot| self.owner(ballot));
        if leads && owner != Some(node) || leadership.leader > Some(leadership.ballot) {
            return violation(applied, format!("L1: replica {node} leads as {leadership:?}"));
        }
        let Some(hash) = hash else { return Ok(()) };
        if below > applied {
            return violation(below, format!("I4: replica {node} knows a log that it lacks"));
        }
        match *self.hashes.entry(below).or_insert(hash) == hash {
            true => Ok(()),
            false => violation(below, format!("I4: replica {node} has another log")),
        }
    }

    /// A reader of the chat log prints these lines, the first of which is that of `first`. They must
    /// be those of the decided log (W7).
    pub fn shows(&self, first: Slot, text: &[u8]) -> Checked {
        let mut expected = Vec::new();
        let slots = (first.0..).map(Slot);
        for (slot, line) in slots.zip(text.split_inclusive(|byte| *byte == b'\n')) {
            let Some(applied) = self.log.get(slot.0 as usize) else {
                return violation(slot, "W7: a reader is shown what nobody has applied".into());
            };
            let command = applied.line.and_then(|(session, seq)| {
                let Sent { line, birth, .. } = self.sent.get(&(session, seq))?;
                Some(Value::Command(Command { session, seq, birth: *birth, line: line.clone() }))
            });
            let value = command.unwrap_or(Value::Noop);
            expected.clear();
            write_line(&mut expected, slot, (&value).into(), applied.client_seq);
            if line != expected {
                let (line, expected) =
                    (String::from_utf8_lossy(line), String::from_utf8_lossy(&expected));
                return violation(slot, format!("W7: a reader is shown {line}, not {expected}"));
            }
        }
        Ok(())
    }

    fn has_expired(&self, session: Session, seq: u64, end: Slot) -> bool {
        let window = self.session_window_slots;
        match self.last_of_session.get(&session) {
            Some(last) => end.since(*last) > window,
            None => {
                let sent = self.sent.get(&(session, seq));
                sent.is_some_and(|sent| end.since(sent.birth) > window)
            }
        }
    }

    /// Whether no line of a session was ever applied, and a replica can tell: no line of the
    /// client stands at or above the birth.
    fn never_was(&self, session: Session) -> bool {
        let birth = self.sent.get(&(session, 0)).map(|sent| sent.birth);
        let newest = self.last_of_client.get(&session.client);
        !self.last_of_session.contains_key(&session) && newest.copied() < birth
    }

    fn used_after_own_promise(
        &self,
        node: ReplicaId,
        life: u32,
        ballot: Ballot,
        slot: Slot,
    ) -> Checked {
        if self.owner(ballot) == Some(node) && self.own_promises.get(&ballot) == Some(&life) {
            Ok(())
        } else {
            violation(
                slot,
                format!("S2: replica {node} uses ballot {ballot} without its own durable promise"),
            )
        }
    }

    pub(super) fn proposes(&mut self, accept: &Accept) -> Checked {
        for (slot, value) in (accept.first.0..).map(Slot).zip(accept.values.iter()) {
            self.proposes_value(slot, accept.ballot, fingerprint(value))?;
            self.proposes_below_its_change(slot, accept.ballot, value)?;
        }
        Ok(())
    }

    /// Checks the values that a leader names and does not send: what acceptors have reported, or
    /// what it has sent before.
    pub(super) fn proposes_held(&mut self, ballot: Ballot, held: &Spans) -> Checked {
        for span in held.iter() {
            for slot in span.slots.iter() {
                if span.ballot == ballot && self.proposed.contains_key(&(slot, ballot)) {
                    continue;
                }
                let Some(accepted) = self.accepted.get(&(slot, span.ballot)) else {
                    let text = format!("S4: nobody holds a value at ballot {}", span.ballot);
                    return violation(slot, text);
                };
                self.proposes_value(slot, ballot, accepted.value)?;
            }
        }
        Ok(())
    }

    fn proposes_value(&mut self, slot: Slot, ballot: Ballot, value: u64) -> Checked {
        let proposed = *self.proposed.entry((slot, ballot)).or_insert(value);
        if proposed != value {
            return violation(slot, format!("I2: two values proposed at ballot {ballot}"));
        }
        // A ballot above the one that chose a value may propose nothing but that value. (P2b)
        let chosen = self.chosen.get(&slot);
        if chosen.is_some_and(|chosen| chosen.ballot < ballot && chosen.value != value) {
            let text = format!("I1: ballot {ballot} proposes another value than the chosen one");
            return violation(slot, text);
        }
        Ok(())
    }

    /// Checks a page of a promise. It leaves at the end of the burst that made it, so the
    /// promise may have risen and the trim mark moved since. But the page must not leave out
    /// any acceptance.
    fn promises(&self, node: ReplicaId, page: &Promise) -> Checked {
        let ghost = &self.acceptors[node.index()];
        if ghost.promised() < Some(page.ballot) {
            return violation(
                page.slots.start,
                format!("S1: replica {node} sends a promise that is not durable"),
            );
        }
        if page.trimmed > ghost.trimmed() {
            return violation(
                page.slots.start,
                format!("S5: replica {node} sends a trim mark above its own"),
            );
        }
        let entries = page
            .accepted
            .iter()
            .flat_map(|span| span.slots.iter().map(move |slot| (slot, span.ballot)));
        for (slot, ballot) in entries.clone() {
            let held = self.accepted.get(&(slot, ballot));
            if !held.is_some_and(|held| held.is_by(node)) {
                return violation(
                    slot,
                    format!("S1: replica {node} reports an acceptance that is not durable"),
                );
            }
        }
        let start = page.slots.start.max(ghost.trimmed());
        let end = if page.last { Slot(u64::MAX) } else { page.slots.end };
        let mut told = entries.peekable();
        let held = ghost
            .range(SlotRange::new(start, end))
            .flat_map(|run| run.slots().iter().map(move |slot| (slot, run.ballot)));
        for (slot, ballot) in held {
            while told.next_if(|(other, _)| *other < slot).is_some() {}
            let entry = told.next_if(|(other, _)| *other == slot);
            if ballot < page.ballot && entry != Some((slot, ballot)) {
                return violation(
                    slot,
                    format!("S5: replica {node} leaves out an acceptance at ballot {ballot}"),
                );
            }
        }
        Ok(())
    }

    /// Checks values that a candidate has asked for: this acceptor holds each of them at the
    /// ballot that goes with it, durably.
    fn hands_over(&self, node: ReplicaId, values: &AcceptedValues) -> Checked {
        for run in &values.accepted {
            for (slot, value) in (run.first.0..).map(Slot).zip(run.values.iter()) {
                let held = self.accepted.get(&(slot, run.ballot));
                let is_true =
                    held.is_some_and(|held| held.is_by(node) && held.value == fingerprint(value));
                if !is_true {
                    return violation(
                        slot,
                        format!(
                            "S4: replica {node} sends a value that it does not hold at ballot {}",
                            run.ballot
                        ),
                    );
                }
            }
        }
        Ok(())
    }

    fn marks(&mut self, node: ReplicaId, mark: Decided) -> Checked {
        if mark.slots.is_empty() {
            return Ok(());
        }
        let checked = self.marks.entry((mark.ballot, mark.slots.start)).or_insert(mark.slots.start);
        while *checked < mark.slots.end {
            let held = self.accepted.get(&(*checked, mark.ballot));
            if !held.is_some_and(|held| held.is_quorum_with_copy(&self.members, mark.ballot)) {
                return violation(
                    *checked,
                    format!(
                        "S7: replica {node} marks this slot decided at ballot {} without a quorum",
                        mark.ballot
                    ),
                );
            }
            *checked = checked.next();
        }
        Ok(())
    }
}
