//! Replays the log on a machine of its own. After each slot, every replica's machine must have the
//! same state, and must have given the same answer.

use super::{Checked, Checker, violation};
use crate::trace::TraceHash;
use multipaxos::chat::Chat;
use multipaxos::machine::{Host, Response};
use multipaxos::types::{ReplicaId, Slot};
use multipaxos::values::ValueRef;
use std::hash::Hasher;

/// The replay: one machine, which applies each slot when the first replica does.
#[derive(Debug)]
pub(super) struct Model {
    chat: Chat,
    /// The hash of its state before the first slot, and after each.
    states: Vec<u64>,
    /// Its answer in each slot.
    responses: Vec<Option<Response>>,
}

fn hash_of(state: &[u8]) -> u64 {
    let mut hash = TraceHash::default();
    hash.add(&state);
    hash.finish()
}

impl Model {
    fn new(chat: Chat) -> Model {
        let mut model = Model { chat, states: Vec::new(), responses: Vec::new() };
        model.note_state();
        model
    }

    fn note_state(&mut self) {
        self.states.push(hash_of(&self.chat.machine().unwrap_or_default()));
    }

    /// The next slot of the log is applied.
    pub(super) fn apply(&mut self, slot: Slot, value: ValueRef<'_>) {
        self.chat.apply(slot, value);
        self.responses.push(self.chat.applied(slot.next()).response(slot));
        self.note_state();
    }
}

impl Checker {
    /// Commands change what `host` says.
    #[must_use]
    pub fn hosting(mut self, host: &Host) -> Self {
        let chat = Chat::with_session_window(self.session_window_slots).and_hosting(host);
        self.model = (!host.is_chat()).then(|| Model::new(chat));
        self
    }

    /// This replica has applied every slot below `applied`, and its machine is in this state.
    pub fn is_in_state(&self, node: ReplicaId, applied: Slot, state: &[u8]) -> Checked {
        let Some(model) = &self.model else { return Ok(()) };
        match model.states.get(applied.0 as usize) {
            Some(expected) if *expected == hash_of(state) => Ok(()),
            _ => violation(
                applied,
                format!(
                    "I4: the machine of replica {node} is in another state than a replay of the \
                     same slots: apply or restore depends on more than the state and the command, \
                     or snapshot on more than the state"
                ),
            ),
        }
    }

    /// A replica gives this answer to the command that took effect in `slot`. (One that is not
    /// known any more is none.)
    pub(super) fn responds(&self, node_answer: Option<&Response>, slot: Slot) -> Checked {
        let Some(model) = &self.model else { return Ok(()) };
        let expected = model.responses.get(slot.0 as usize).and_then(Option::as_ref);
        match node_answer {
            Some(answer) if Some(answer) != expected => violation(
                slot,
                format!("E3: a replica answers {answer:?}, and a replay of the log {expected:?}"),
            ),
            _ => Ok(()),
        }
    }
}
