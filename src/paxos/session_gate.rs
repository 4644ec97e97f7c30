//! Which commands a leader may propose: of each session the next, and only once.
//!
//! The log alone knows which command is a session's next (rule E2, [`chat`]). A leader
//! proposes ahead of the log, so it keeps a guess: what the learner confirmed, moved on
//! by what the leader saw applied. A wrong guess costs a NOP line and never a doubled
//! one, since the state machine has the last word. If the guess does not settle a command,
//! the leader asks the learner, which answers the client or confirms the command.
//!
//! [`chat`]: crate::chat

use crate::chat::next_seq;
use crate::types::Session;
use crate::values::CommandRef;
use table::Table;

/// How many sessions' next commands are remembered; the learner knows the rest.
const SESSIONS_MAX: usize = 65_536;

/// A session, as far as this leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Known {
    /// Nothing of the session is on its way. The command with this number may be proposed.
    Expects(u64),
    /// The command with this number is queued or proposed, and not yet applied.
    InFlight {
        seq: u64,
        /// Whether the learner knows which client to answer. It does not for a command
        /// that an earlier leader proposed.
        answerable: bool,
    },
}

/// What becomes of a command that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It gets a slot, or a place in the queue.
    Propose,
    /// It is on its way already.
    Held,
    /// There is no room, or the word for it is old: the client will ask again.
    Drop,
    /// Only the learner can tell.
    AskLearner,
}

/// What a leader knows of each session: see the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct SessionGate {
    sessions: Table<Session, Known>,
}

impl SessionGate {
    /// Phase 1 found this command, so it is proposed again without being asked for.
    pub(super) fn propose_again(&mut self, command: CommandRef<'_>) {
        let known = Known::InFlight { seq: command.seq, answerable: false };
        self.sessions.insert(command.session, known);
    }

    /// Decides about a command, and takes note of it if it is to be proposed.
    /// `confirmed`: the learner says that it is its session's next.
    pub(super) fn admit(
        &mut self,
        command: CommandRef<'_>,
        confirmed: bool,
        has_room: bool,
    ) -> Admission {
        let proposed = Known::InFlight { seq: command.seq, answerable: true };
        match self.sessions.get_mut(&command.session) {
            // The command is on its way. The learner need be asked only once, so that it
            // knows which client to answer.
            Some(Known::InFlight { seq, answerable }) if *seq == command.seq => {
                match std::mem::replace(answerable, true) {
                    true => Admission::Held,
                    false => Admission::AskLearner,
                }
            }
            Some(Known::InFlight { .. }) if !confirmed => Admission::AskLearner,
            // E2: a session has at most one command in flight. If the learner confirms a later
            // one, that one is applied, and the news of it comes behind. If it confirms an
            // earlier one, its word is old.
            Some(Known::InFlight { seq, .. }) if *seq > command.seq => Admission::Drop,
            // If the learner confirms another number than is expected here, the learner is
            // right: it has looked at the log, and nothing of the session is on its way.
            Some(Known::Expects(next)) if !confirmed && command.seq != *next => {
                Admission::AskLearner
            }
            None if !confirmed => Admission::AskLearner,
            _ if !has_room => Admission::Drop,
            Some(known) => {
                *known = proposed;
                Admission::Propose
            }
            None => {
                self.sessions.insert(command.session, proposed);
                Admission::Propose
            }
        }
    }

    /// Whether this command is on its way, and its client will be answered.
    pub(super) fn holds(&self, command: CommandRef<'_>) -> bool {
        let held = Known::InFlight { seq: command.seq, answerable: true };
        self.sessions.get(&command.session) == Some(&held)
    }

    /// The slot of this command is applied. Whatever its effect, it is no longer in
    /// flight: if it had none, the learner knows better what is next.
    pub(super) fn note_applied(&mut self, command: CommandRef<'_>) {
        if let Some(known) = self.sessions.get_mut(&command.session)
            && let Known::Expects(seq) | Known::InFlight { seq, .. } = *known
            && seq == command.seq
        {
            *known = Known::Expects(next_seq(seq));
        }
    }

    /// L5: keeps the number of sessions within its bound.
    pub(super) fn trim(&mut self) {
        if self.sessions.len() > SESSIONS_MAX {
            self.sessions.retain(|known| matches!(known, Known::InFlight { .. }));
        }
    }
}
