//! Planted bugs: variants of the code of storage that its tests must catch.
//!
//! Each is one way in which storage has gone wrong somewhere. They exist where
//! assertions are on, one at a time and one thread at a time; in a release build [`is`]
//! is plainly false.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A sync returns well and does nothing.
    SyncSkipped,
    /// An acceptance is written with the burst after the one that promised it.
    AcceptanceApart,
    /// A sync that failed is tried again and believed.
    FailedSyncRetried,
    /// Opening takes what it reads for durable.
    OpeningDoesNotSync,
    /// Whatever has a right check counts, wherever it comes from.
    OldFramesCount,
    /// A frame that fails is taken for the tail, wherever it stands.
    MiddleTakenForTail,
    /// The head of a segment does not repeat the promise.
    PromiseLeftBehind,
    /// Segments are dropped although they hold acceptances above the trim mark.
    DroppedTooEarly,
    /// A checkpoint is written before what it speaks of is synced.
    CheckpointFirst,
    /// A checkpoint is written over the one before.
    CheckpointInPlace,
    /// A decided log is opened without being cut back to its checkpoint.
    NotCutBack,
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Plant>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is planted on this thread.
#[cfg(debug_assertions)]
pub fn is(plant: Plant) -> bool {
    PLANTED.get() == Some(plant)
}

/// Whether this bug is planted: never in a release build.
#[cfg(not(debug_assertions))]
pub const fn is(_: Plant) -> bool {
    false
}

/// Plants a bug on this thread, or none.
#[cfg(debug_assertions)]
pub fn set(plant: Option<Plant>) {
    PLANTED.set(plant);
}
