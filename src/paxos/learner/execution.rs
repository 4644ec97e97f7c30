//! Execution: decided slots change the chat, in order and without gaps (rule E1).
//!
//! Every run of slots that is applied becomes a record of the decided log. From time to
//! time the state becomes a checkpoint, so that a restart need not go through the whole log
//! and acceptors may forget what lies below. (Paxos Made Live, §5.5.)
//!
//! A checkpoint is recorded in parts. The first is recorded with the slot that it covers last,
//! and the others behind slots that are applied later. All of them are of the state after that
//! one slot ([`Snapshot`]). How soon they come is up to [`CheckpointPolicy`].
//!
//! Behind a change of members no checkpoint may wait: this replica votes in the new configuration
//! once one that holds it is durable (M4). So it is made at once, whole, and so is the beginning of
//! the next, which says that it is durable.

use super::checkpoints::CheckpointPolicy;
use super::history::History;
use crate::chat::{self, Applied, Chat, Snapshot};
use crate::machine::Host;
use crate::members::Configuration;
use crate::message::{LogHash, Run};
use crate::paxos::Settings;
use crate::types::Slot;
use crate::values::{CommandRef, Values};
use serde::{Deserialize, Serialize};

/// What a learner wants to survive a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// The next part of a checkpoint.
    Checkpoint(Part),
}

/// A part of a checkpoint. Its parts are recorded in order, from a first to a last, which may be
/// the same, and never before the last part of the checkpoint before.
///
/// Once the first part of the next checkpoint is committed, this one is durable, and so is all
/// that was recorded before its own first part. Until its last part is committed, a restart goes
/// on from the checkpoint before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// The checkpoint is of the state after every slot below this.
    pub applied: Slot,
    /// The running hash of their values.
    pub hash: u64,
    /// Whether the checkpoint begins with this part: then no slot from `applied` on is recorded
    /// before it.
    pub is_first: bool,
    /// Whether it is whole with this part.
    pub is_last: bool,
    /// The configuration after those slots, if the log has changed it. The same in all parts.
    pub configuration: Option<Configuration>,
    /// Some of the sessions.
    pub chat: chat::Part,
}

/// The state from which a learner goes on after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Every slot below this is applied.
    pub applied: Slot,
    /// The state after those slots.
    pub chat: Chat,
    /// The running hash of their values.
    pub hash: u64,
}

impl Checkpoint {
    /// The state before the first slot, where `host` says what commands change.
    pub fn hosting(host: &Host) -> Checkpoint {
        Checkpoint { chat: Chat::hosting(host), ..Checkpoint::default() }
    }

    /// All of it in parts of about so many sessions, as a learner records it.
    pub fn parts(&self, sessions: usize) -> impl Iterator<Item = Part> {
        let Checkpoint { applied, hash, .. } = *self;
        let mut walk = Some(Walk::new(&self.chat, applied, hash));
        std::iter::from_fn(move || {
            let under_way = walk.as_mut()?;
            let part = under_way.take(&self.chat, sessions.max(1));
            if part.is_last {
                walk = None;
            }
            Some(part)
        })
    }
}

/// Makes checkpoints of their parts, for storage that keeps them in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Assembly {
    host: Host,
    under_way: Option<Checkpoint>,
}

impl Assembly {
    /// For checkpoints of replicas of which `host` says what commands change.
    pub fn hosting(host: &Host) -> Assembly {
        Assembly { host: host.clone(), under_way: None }
    }

    /// The same, with no part.
    #[must_use]
    pub fn anew(&self) -> Assembly {
        Assembly::hosting(&self.host)
    }

    /// Adds the next part, and returns the checkpoint once it is whole.
    pub fn add(&mut self, part: &Part) -> Option<Checkpoint> {
        let Part { applied, hash, is_first, is_last, configuration, chat } = part;
        let Assembly { host, under_way } = self;
        assert!(under_way.is_none() == *is_first, "parts come in order");
        let (applied, hash) = (*applied, *hash);
        let new = || Checkpoint { applied, hash, chat: Chat::hosting(host) };
        let checkpoint = under_way.get_or_insert_with(new);
        assert!((checkpoint.applied, checkpoint.hash) == (applied, hash), "parts of one state");
        assert!(checkpoint.chat.take_in(chat), "parts of one state");
        checkpoint.chat.set_configuration(configuration.clone());
        assert!(!is_last || checkpoint.chat.is_whole(), "the last part makes it whole");
        is_last.then(|| under_way.take()).flatten()
    }
}

/// A checkpoint that is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Walk {
    hash: u64,
    configuration: Option<Configuration>,
    snapshot: Snapshot,
}

impl Walk {
    fn new(chat: &Chat, applied: Slot, hash: u64) -> Walk {
        let configuration = chat.configuration().cloned();
        Walk { hash, configuration, snapshot: chat.snapshot(applied) }
    }

    fn take(&mut self, chat: &Chat, sessions: usize) -> Part {
        let (applied, hash) = (self.snapshot.at(), self.hash);
        let is_first = self.snapshot.is_new();
        let configuration = self.configuration.clone();
        let (chat, is_last) = chat.take_part(&mut self.snapshot, sessions);
        Part { applied, hash, is_first, is_last, configuration, chat }
    }
}

/// The applied prefix of the log, and the state after it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Execution {
    chat: Chat,
    /// Every slot below this is applied.
    applied: Slot,
    history: History,
    policy: CheckpointPolicy,
    /// The checkpoint of which not all parts are recorded.
    walk: Option<Walk>,
    /// The newest checkpoint that is durable: it covers every slot below.
    durable: Slot,
    /// The configuration in the newest checkpoint, and in the newest that is durable.
    saved: [Option<Configuration>; 2],
}

impl Execution {
    /// Goes on from `checkpoint`.
    pub(super) fn new(settings: &Settings, checkpoint: Checkpoint) -> Self {
        let Checkpoint { applied, chat, hash } = checkpoint;
        let history = History::new(LogHash { slot: applied, hash });
        let policy = CheckpointPolicy::new(settings, applied);
        let saved = [(); 2].map(|()| chat.configuration().cloned());
        Execution { chat, applied, history, policy, walk: None, durable: applied, saved }
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

    /// The configuration in that checkpoint, if the log had changed it.
    pub(super) fn durable_configuration(&self) -> Option<&Configuration> {
        self.saved[1].as_ref()
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
        let snapshot = self.walk.as_mut().map(|walk| &mut walk.snapshot);
        let client_seqs = self.chat.apply_all(first, &values, snapshot, each);
        self.applied = first.plus(values.len() as u64);
        self.history.add(&values);
        self.policy.note_applied(values.bytes().len());
        Record::Applied { first, values, client_seqs }
    }

    /// A part of a checkpoint to record, if one is due.
    pub(super) fn take_part(&mut self) -> Option<Part> {
        let (applied, sessions) = (self.applied, self.chat.sessions());
        let is_urgent = self.durable_configuration() != self.chat.configuration();
        let (mut walk, count) = match self.walk.take() {
            Some(walk) if is_urgent => (walk, Some(usize::MAX)),
            Some(walk) => {
                let count = self.policy.part_due(applied, sessions, walk.snapshot.seen());
                (walk, count)
            }
            None => {
                // Storage makes a checkpoint durable at the latest when it takes the next one.
                self.durable = match is_urgent {
                    true => self.policy.take(applied),
                    false => self.policy.take_due(applied, sessions)?,
                };
                self.saved.swap(0, 1);
                self.saved[0] = self.chat.configuration().cloned();
                let walk = Walk::new(&self.chat, applied, self.history.newest().hash);
                (walk, Some(self.policy.part_sessions()))
            }
        };
        let part = count.map(|count| walk.take(&self.chat, count));
        if part.as_ref().is_none_or(|part| !part.is_last) {
            self.walk = Some(walk);
        }
        part
    }
}
