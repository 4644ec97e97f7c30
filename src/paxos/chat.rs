//! The state machine that the learner drives: sessions, and the lines of the chat.
//!
//! Commands are applied exactly once and in each session's order: a command takes
//! effect if and only if its number is the session's next. The same command chosen
//! in two slots takes effect in the lower one; the higher changes nothing and is a
//! NOP line. (Paxos Made Moderately Complex, §2; sessions as in Ongaro's
//! dissertation, §6.3.)
//!
//! Sessions are bounded by a rule over decided state alone, so it is the same on
//! every replica: a session is dropped when [`SESSION_WINDOW_SLOTS`] slots have
//! passed since its last applied command, and an unknown session is created only
//! by command 0 within that many slots of its birth. A dropped session can thus
//! never come back to life: its birth lies too far behind.
//!
//! Lines per client are kept for as long as the log (one number a client id).

use crate::table::Table;
use crate::types::{ClientId, Session, Slot};
use crate::values::{CommandRef, ValueRef};
use serde::{Deserialize, Serialize};

/// How many slots a session outlives its last applied command.
pub const SESSION_WINDOW_SLOTS: u64 = 1 << 22;

/// How often sessions that have run out are swept from memory. (Whether one has
/// run out is decided by its slots, never by the sweep.)
const SWEEP_SLOTS: u64 = 1 << 16;

/// Where the log stands for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Standing {
    /// The number of the command that would take effect.
    next: u64,
    /// Where the one before it stands.
    last_slot: Slot,
    /// That one's number among the client's lines.
    last_client_seq: u64,
}

/// What a request means to the log as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It would take effect.
    Next,
    /// It is the session's last applied command.
    Complete {
        /// Where it stands.
        slot: Slot,
        /// Its number among the client's lines.
        client_seq: u64,
    },
    /// Applied, and the client has gone on since.
    Past,
    /// Above what would take effect, as far as this log goes.
    Ahead,
    /// Its session is gone, or can never be.
    Expired,
}

/// The chat's state: the same on all replicas that have applied the same slots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chat {
    sessions: Table<Session, Standing>,
    lines: Table<ClientId, u64>,
    window_slots: u64,
}

impl Default for Chat {
    fn default() -> Self {
        Chat::with_session_window(SESSION_WINDOW_SLOTS)
    }
}

impl Chat {
    /// A chat whose sessions live this many slots; tests make it small.
    pub fn with_session_window(window_slots: u64) -> Self {
        Chat { sessions: Table::default(), lines: Table::default(), window_slots }
    }

    /// Applies what was decided in `slot`; the caller goes through slots in order,
    /// without gaps. Returns the line's number among its client's lines if it took
    /// effect, and nothing if the slot changes nothing.
    pub fn apply(&mut self, slot: Slot, value: ValueRef<'_>) -> Option<u64> {
        if slot.0.is_multiple_of(SWEEP_SLOTS) {
            let window = self.window_slots;
            self.sessions.retain(|standing| slot.since(standing.last_slot) <= window);
        }
        let ValueRef::Command(command) = value else { return None };
        let standing = self.sessions.get_mut(&command.session);
        let held = standing.as_deref().copied();
        if status(held, command, slot, self.window_slots) != Status::Next {
            return None;
        }
        let lines = self.lines.or_default(command.session.client);
        let last_client_seq = *lines;
        // So high, only a forged checkpoint can have made these numbers.
        *lines = lines.saturating_add(1);
        let next = command.seq.saturating_add(1);
        let now = Standing { next, last_slot: slot, last_client_seq };
        match standing {
            Some(standing) => *standing = now,
            None => {
                self.sessions.insert(command.session, now);
            }
        }
        Some(last_client_seq)
    }

    /// What `command` would be if it were decided in slot `at`, the first one not
    /// applied.
    pub fn status(&self, command: CommandRef<'_>, at: Slot) -> Status {
        status(self.sessions.get(&command.session).copied(), command, at, self.window_slots)
    }

    /// How many sessions are held.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

fn status(held: Option<Standing>, command: CommandRef<'_>, at: Slot, window_slots: u64) -> Status {
    match held.filter(|standing| at.since(standing.last_slot) <= window_slots) {
        Some(standing) if command.seq == standing.next => Status::Next,
        Some(standing) if command.seq > standing.next => Status::Ahead,
        Some(standing) if standing.next - command.seq == 1 => {
            Status::Complete { slot: standing.last_slot, client_seq: standing.last_client_seq }
        }
        Some(_) => Status::Past,
        None if at.since(command.birth) > window_slots => Status::Expired,
        // A birth above what is decided here: this log is not that far yet.
        None if command.birth > at => Status::Ahead,
        None if command.seq == 0 => Status::Next,
        None => Status::Expired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Command, Line, Value};

    fn command(session: u64, seq: u64, birth: u64) -> Command {
        Command {
            session: Session { client: ClientId(7), id: session },
            seq,
            birth: Slot(birth),
            line: Line::from("x"),
        }
    }

    fn value(session: u64, seq: u64, birth: u64) -> Value {
        Value::Command(command(session, seq, birth))
    }

    #[test]
    fn a_command_chosen_in_two_slots_is_applied_once() {
        let mut chat = Chat::default();
        assert_eq!(chat.apply(Slot(0), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.apply(Slot(1), (&value(1, 0, 0)).into()), None);
        assert_eq!(chat.apply(Slot(2), (&value(1, 1, 0)).into()), Some(1));
        assert_eq!(
            chat.status((&command(1, 1, 0)).into(), Slot(3)),
            Status::Complete { slot: Slot(2), client_seq: 1 }
        );
        assert_eq!(chat.status((&command(1, 0, 0)).into(), Slot(3)), Status::Past);
    }

    #[test]
    fn a_command_above_the_next_changes_nothing() {
        let mut chat = Chat::default();
        assert_eq!(chat.apply(Slot(0), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.apply(Slot(1), (&value(1, 2, 0)).into()), None);
        assert_eq!(chat.apply(Slot(2), (&value(1, 1, 0)).into()), Some(1));
    }

    #[test]
    fn lines_are_numbered_across_a_clients_sessions() {
        let mut chat = Chat::default();
        assert_eq!(chat.apply(Slot(0), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.apply(Slot(1), (&value(2, 0, 0)).into()), Some(1));
        assert_eq!(chat.apply(Slot(2), (&value(1, 1, 0)).into()), Some(2));
    }

    #[test]
    fn a_session_that_ran_out_is_expired_and_cannot_be_created_again() {
        let mut chat = Chat::with_session_window(10);
        assert_eq!(chat.apply(Slot(0), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.status((&command(1, 1, 0)).into(), Slot(10)), Status::Next);
        assert_eq!(chat.status((&command(1, 1, 0)).into(), Slot(11)), Status::Expired);
        // Whatever is decided above: the old command 0 and 1 change nothing.
        assert_eq!(chat.apply(Slot(11), (&value(1, 0, 0)).into()), None);
        assert_eq!(chat.apply(Slot(12), (&value(1, 1, 0)).into()), None);
        assert_eq!(chat.apply(Slot(13), (&value(2, 0, 12)).into()), Some(1));
    }

    #[test]
    fn a_session_born_above_what_is_decided_here_is_ahead_of_this_log() {
        let chat = Chat::default();
        assert_eq!(chat.status((&command(1, 0, 5)).into(), Slot(4)), Status::Ahead);
        assert_eq!(chat.status((&command(1, 0, 5)).into(), Slot(5)), Status::Next);
    }

    #[test]
    fn a_session_may_be_created_within_its_window_of_slots_and_no_later() {
        let chat = Chat::with_session_window(10);
        assert_eq!(chat.status((&command(1, 0, 3)).into(), Slot(13)), Status::Next);
        assert_eq!(chat.status((&command(1, 0, 3)).into(), Slot(14)), Status::Expired);
    }

    #[test]
    fn the_sweep_changes_nothing_that_can_be_seen() {
        let mut chat = Chat::with_session_window(SWEEP_SLOTS);
        assert_eq!(chat.apply(Slot(5), (&value(1, 0, 0)).into()), Some(0));
        chat.apply(Slot(SWEEP_SLOTS), (&Value::Noop).into());
        assert_eq!(chat.sessions(), 1);
        chat.apply(Slot(2 * SWEEP_SLOTS), (&Value::Noop).into());
        assert_eq!(chat.sessions(), 0);
        assert_eq!(chat.status((&command(1, 1, 0)).into(), Slot(2 * SWEEP_SLOTS)), Status::Expired);
    }
}
