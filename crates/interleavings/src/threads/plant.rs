//! Planted bugs: variants of how threads wait and end, that trials must catch.
//!
//! Each is one way in which such code goes wrong. They exist in trials alone, one at a
//! time; everywhere else [`is`] is plainly false.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// The loop does not look at its queue once more before it sleeps.
    NoSecondLook,
    /// The loop looks, and says only then that it will sleep.
    SleepSaidTooLate,
    /// The loop does not look whether it was stopped before it sleeps.
    StopNotLookedFor,
    /// The loop is woken before there is something for it.
    WokenBeforeHandOver,
    /// Stopping sets the flag and wakes nobody.
    StopWakesNobody,
    /// A thread waits until there is room in a role's inbox.
    SendWaits,
    /// The role threads are woken at the end before they are told to end.
    WokenBeforeTold,
    /// Whoever could begin a role stays while its end is awaited.
    StartKept,
    /// The storage of a role that has run is left as it is.
    NotClosed,
    /// That of a role that never began is.
    UnbegunNotClosed,
    /// A thread whose storage fails ends itself and not the process.
    FailureUnsaid,
    /// The reader takes a credit for a line that it refuses.
    RefusedLineTakesCredit,
    /// The reader stops at the end of input, and does not say so.
    EndUnsaid,
    /// The credit comes back when the user is told that a line takes long.
    CreditTooEarly,
    /// The reader does not wait for room in the client's inbox: its line is lost.
    ReaderDoesNotWait,
}

/// Whether this bug is planted in the trial that this thread is part of.
#[cfg(feature = "scheduler")]
pub fn is(plant: Plant) -> bool {
    super::tried::here().is_some_and(|here| here.planted() == Some(plant))
}

/// Whether this bug is planted: never outside trials.
#[cfg(not(feature = "scheduler"))]
pub const fn is(_: Plant) -> bool {
    false
}
