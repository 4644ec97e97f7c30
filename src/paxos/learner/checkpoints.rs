//! When a checkpoint is due, and each part of it.
//!
//! Acceptors forget only what lies below a durable checkpoint, so checkpoints must not lie
//! far apart. A checkpoint stores every session, so they must not lie close together
//! either.
//!
//! A learner does not stop to copy a million sessions. The parts of a checkpoint are due as
//! slots are applied, so that a burst of slots brings sessions in proportion. All parts are
//! recorded when half of the way to the next checkpoint is done. So a checkpoint is whole
//! before the next begins, and few sessions change meanwhile ([`crate::chat::Snapshot`]).

use crate::paxos::Settings;
use crate::types::{ReplicaId, Slot};

/// How many bytes of values are applied at most between two checkpoints, give or take a
/// run. Acceptors keep them that long. (Less, where acceptors may hold less.)
const CHECKPOINT_BYTES: usize = 8 << 20;

/// Such a part of the bytes that an acceptor may hold is applied between two checkpoints.
const BYTES_SHARE: usize = 8;

/// Such a part of its slots lies between two checkpoints that lie far apart.
const SLOTS_SHARE: u64 = 4;

/// All parts of a checkpoint are recorded within such a part of the distance to the next.
const PARTS_SHARE: u64 = 2;

/// A part is of at least this many sessions, if there are as many: 116 KiB of accounts.
pub const PART_SESSIONS: usize = 4_096;

/// To keep the cost of checkpoints per line constant, their distance grows by
/// [`SLOTS_PER_SESSIONS`] slots for every this many sessions, up to a share
/// of what an acceptor may hold.
const SESSIONS: u64 = 1_024;
const SLOTS_PER_SESSIONS: u64 = 8_192;

/// Decides after which slots a learner saves its state.
///
/// Replicas make their checkpoints in different slots. So a disk that is busy with one
/// holds up no quorum, and replicas that share a disk do not need it at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CheckpointPolicy {
    replica: ReplicaId,
    places: usize,
    /// The least number of slots between two checkpoints, unless bytes make one due.
    slots_min: u64,
    /// The most that thousands of sessions make of it.
    slots_max: u64,
    /// So many bytes of values make one due.
    bytes_max: usize,
    /// See [`PART_SESSIONS`].
    part_sessions: usize,
    /// The newest checkpoint: it covers every slot below.
    newest: Slot,
    /// How many bytes of values were applied since.
    bytes: usize,
}

impl CheckpointPolicy {
    /// The policy of a learner that goes on from a checkpoint which covers every slot below
    /// `newest`.
    pub(super) fn new(settings: &Settings, newest: Slot) -> Self {
        let Settings { id, places, checkpoint_slots, limits, .. } = *settings;
        CheckpointPolicy {
            replica: id,
            places,
            slots_min: checkpoint_slots,
            slots_max: limits.accept_slots / SLOTS_SHARE,
            bytes_max: CHECKPOINT_BYTES.min(limits.accept_bytes / BYTES_SHARE),
            part_sessions: limits.part_sessions,
            newest,
            bytes: 0,
        }
    }

    /// Notes that `bytes` more bytes of values were applied.
    pub(super) fn note_applied(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Every slot below `applied` is applied, and the state holds this many `sessions`. If a
    /// checkpoint is due, the caller makes it: then this counts anew, and returns the end of
    /// the checkpoint before.
    pub(super) fn take_due(&mut self, applied: Slot, sessions: usize) -> Option<Slot> {
        let is_due = applied >= self.next(sessions) || self.bytes >= self.bytes_max;
        is_due.then(|| self.take(applied))
    }

    /// A checkpoint is made, due or not. Returns the end of the one before.
    pub(super) fn take(&mut self, applied: Slot) -> Slot {
        self.bytes = 0;
        std::mem::replace(&mut self.newest, applied)
    }

    /// Of how many sessions the first part of a checkpoint is.
    pub(super) fn part_sessions(&self) -> usize {
        self.part_sessions
    }

    /// Of how many sessions another part of the newest checkpoint is to be, if one is due.
    /// `seen` of `sessions` are in the parts before.
    pub(super) fn part_due(&self, applied: Slot, sessions: usize, seen: usize) -> Option<usize> {
        let share = |done: u64, whole: u64| {
            let due =
                (sessions as u64).saturating_mul(PARTS_SHARE.saturating_mul(done)) / whole.max(1);
            if due >= sessions as u64 { usize::MAX } else { due as usize }
        };
        let by_slots = share(applied.since(self.newest), self.distance(sessions));
        let due =
            by_slots.max(share(self.bytes as u64, self.bytes_max as u64)).saturating_sub(seen);
        (due >= self.part_sessions.max(1)).then_some(due)
    }

    /// How many slots lie between two checkpoints while there are so many sessions.
    fn distance(&self, sessions: usize) -> u64 {
        let by_sessions = sessions as u64 / SESSIONS * SLOTS_PER_SESSIONS;
        self.slots_min.max(by_sessions.min(self.slots_max))
    }

    /// The slot of the next checkpoint. This replica makes them a fixed distance apart, in
    /// slots of its own.
    fn next(&self, sessions: usize) -> Slot {
        let distance = self.distance(sessions);
        let phase = distance * self.replica.index() as u64 / self.places as u64;
        let passed = (self.newest.0 + distance - phase) / distance;
        Slot(passed * distance + phase)
    }
}
