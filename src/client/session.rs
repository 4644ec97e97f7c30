//! The session by which a client sends its lines.

use crate::message::Inquiry;
use crate::types::{Line, Session, Slot, Time};

/// How long a client may be quiet and still use its session.
pub const SESSION_IDLE_US: u64 = 1_000_000;

/// What is added to the id of a session for the id of the next one for the same line. It is
/// odd and large, so the ids for a line repeat after 2⁶⁴ sessions only, and none is near
/// another. They are as unlikely to be used by anybody else as the first one.
pub(super) const NEXT_SESSION: u64 = 0x9e37_79b9_7f4a_7c15;

/// An open session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) session: Session,
    /// Where it was born.
    pub(super) birth: Slot,
    /// The number of the next command.
    pub(super) next: u64,
    pub(super) used_at: Time,
}

impl Open {
    /// Whether it may be used for the next line.
    pub(super) fn is_usable(&self, now: Time) -> bool {
        now.since_us(self.used_at) < SESSION_IDLE_US
    }

    /// The question what became of its next command.
    pub(super) fn inquiry(&self, after: Slot) -> Inquiry {
        Inquiry { session: self.session, birth: self.birth, seq: self.next, after }
    }
}

/// How far a client is with its line.
#[derive(Debug)]
pub(super) enum Phase {
    Idle,
    /// Waits for a welcome, to open a session for `line`.
    Opening {
        line: Line,
        session: u64,
    },
    InFlight,
    Failed,
}
