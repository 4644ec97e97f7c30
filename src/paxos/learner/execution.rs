//! Execution: decided slots change the chat, in order and without gaps (rule E1).
//!
//! Every run of slots that is applied becomes a record of the decided log. From time to
//! time the state becomes a checkpoint, so that a restart need not go through the whole log
//! and acceptors may forget what lies below. (Paxos Made Live, §5.5.)

use super::checkpoints::CheckpointPolicy;
use super::history::History;
use crate::chat::{Applied, Chat};
use crate::message::{LogHash, Run};
use crate::paxos::Settings;
use crate::types::Slot;
use crate::values::{CommandRef, Values};
use serde::{Deserialize, Serialize};

/// What a learner wants to survive a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Record {
    /// Consecutive slots were applied. The decided log remembers them, and the chat log
    /// shows them.
    Applied {
        /// The slot of the first value.
        first: Slot,
        /// The decided values, one for each slot.
        values: Values,
        /// For each slot, the number of its line among its client's lines, from 0. A slot
        /// without a number changed nothing: it is a NOP line.
        client_seqs: Vec<Option<u64>>,
    },
    /// A restart goes on from here. Everything recorded so far becomes durable at the
    /// latest when the next checkpoint is committed.
    Checkpoint(Checkpoint),
}

/// The state from which a learner goes on after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Every slot below this is applied.
    pub applied: Slot,
    /// The state after those slots.
    pub chat: Chat,
    /// The running hash of their values.
    pub hash: u64,
}

/// The applied prefix of the log, and the state after it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Execution {
    chat: Chat,
    /// Every slot below this is applied.
    applied: Slot,
    history: History,
    policy: CheckpointPolicy,
    /// The newest checkpoint that is durable: it covers every slot below.
    durable: Slot,
}

impl Execution {
    /// Goes on from `checkpoint`.
    pub(super) fn new(settings: &Settings, checkpoint: Checkpoint) -> Self {
        let Checkpoint { applied, chat, hash } = checkpoint;
        let history = History::new(LogHash { slot: applied, hash });
        let policy = CheckpointPolicy::new(settings, applied);
        Execution { chat, applied, history, policy, durable: applied }
    }

    /// Every slot below this is applied.
    pub(super) fn applied(&self) -> Slot {
        self.applied
    }

    /// What the applied log is.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// The state after the applied slots.
    pub(super) fn chat(&self) -> &Chat {
        &self.chat
    }

    /// The newest durable checkpoint covers every slot below this.
    pub(super) fn durable(&self) -> Slot {
        self.durable
    }

    /// The state, to judge commands by.
    pub(super) fn state(&self) -> Applied<'_> {
        self.chat.applied(self.applied)
    }

    /// Applies a decided run that begins with the next slot, and returns its record. As soon
    /// as a command's slot is applied, `each` gets the state, the slot, the command, and the
    /// number of its line if it took effect.
    pub(super) fn apply(
        &mut self,
        run: Run,
        each: impl FnMut(Applied<'_>, Slot, CommandRef<'_>, Option<u64>),
    ) -> Record {
        let Run { first, values, .. } = run;
        assert_eq!(first, self.applied, "slots are applied in order");
        let client_seqs = self.chat.apply_all(first, &values, each);
        self.applied = first.plus(values.len() as u64);
        self.history.add(&values);
        self.policy.note_applied(values.bytes().len());
        Record::Applied { first, values, client_seqs }
    }

    /// A checkpoint to record, if one is due.
    pub(super) fn take_checkpoint(&mut self) -> Option<Checkpoint> {
        // Storage makes a checkpoint durable at the latest when it takes the next one.
        self.durable = self.policy.take_due(self.applied, self.chat.sessions())?;
        let (applied, hash) = (self.applied, self.history.newest().hash);
        Some(Checkpoint { applied, chat: self.chat.clone(), hash })
    }
}
