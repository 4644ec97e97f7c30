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
//! A client's lines are counted for as long as the log, across its sessions; beside the
//! number stands the session that the last of them came by. So a line of a client with one
//! session, as nearly all have, costs one look in one table.

use crate::table::Table;
use crate::types::{ClientId, Session, Slot};
use crate::values::{CommandRef, ValueRef};
use serde::{Deserialize, Serialize};
use std::hint::black_box;

/// How many slots a session outlives its last applied command.
pub const SESSION_WINDOW_SLOTS: u64 = 1 << 22;

/// How often sessions that have run out are swept from memory, but for each client's last
/// one. (Whether one has run out is decided by its slots, never by the sweep.)
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

/// What is kept of a client, in the one place that a line of it looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Account {
    /// How many lines it has in the log: at least one.
    lines: u64,
    /// The session that the last of them came by, which mostly is the client's only one.
    session: u64,
    /// See [`Standing`].
    next: u64,
    last_slot: Slot,
}

impl Account {
    /// Where its newest session stands: that one's last command is the client's last line.
    fn standing(&self) -> Standing {
        let Account { lines, next, last_slot, .. } = *self;
        Standing { next, last_slot, last_client_seq: lines.saturating_sub(1) }
    }
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
    clients: Table<ClientId, Account>,
    /// Those sessions of a client that its last line did not come by.
    others: Table<Session, Standing>,
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
        Chat { clients: Table::default(), others: Table::default(), window_slots }
    }

    /// Applies what was decided in `slot`; the caller goes through slots in order,
    /// without gaps. Returns the line's number among its client's lines if it took
    /// effect, and nothing if the slot changes nothing.
    pub fn apply(&mut self, slot: Slot, value: ValueRef<'_>) -> Option<u64> {
        if slot.0.is_multiple_of(SWEEP_SLOTS) {
            let window = self.window_slots;
            self.others.retain(|standing| slot.since(standing.last_slot) <= window);
        }
        let ValueRef::Command(command) = value else { return None };
        let Session { client, id } = command.session;
        let account = self.clients.get_mut(&client);
        let held = match &account {
            Some(account) if account.session == id => Some(account.standing()),
            _ => self.others.get(&command.session).copied(),
        };
        if status(held, command, slot, self.window_slots) != Status::Next {
            return None;
        }
        // So high, only a forged checkpoint can have made these numbers.
        let next = command.seq.saturating_add(1);
        let Some(account) = account else {
            self.clients.insert(client, Account { lines: 1, session: id, next, last_slot: slot });
            return Some(0);
        };
        if account.session != id {
            self.others.remove(&command.session);
            let session = Session { client, id: account.session };
            self.others.insert(session, account.standing());
        }
        let client_seq = account.lines;
        let lines = client_seq.saturating_add(1);
        *account = Account { lines, session: id, next, last_slot: slot };
        Some(client_seq)
    }

    /// Looks up the clients of `values`, which are about to be applied, and does nothing with
    /// them. Where each is sought does not depend on the one before, so the processor waits
    /// for several at once, and [`Chat::apply`] for none.
    pub fn look_ahead<'a>(&self, values: impl Iterator<Item = ValueRef<'a>>) {
        let commands = values.filter_map(ValueRef::command);
        let accounts = commands.filter_map(|command| self.clients.get(&command.session.client));
        accounts.for_each(|account| _ = black_box(account.next));
    }

    /// What `command` would be if it were decided in slot `at`, the first one not
    /// applied.
    pub fn status(&self, command: CommandRef<'_>, at: Slot) -> Status {
        let Session { client, id } = command.session;
        let held = match self.clients.get(&client) {
            Some(account) if account.session == id => Some(account.standing()),
            _ => self.others.get(&command.session).copied(),
        };
        status(held, command, at, self.window_slots)
    }

    /// How many sessions are held, of a client that has run out the last one too.
    pub fn sessions(&self) -> usize {
        self.clients.len() + self.others.len()
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
    use std::collections::BTreeMap;

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
        assert_eq!(chat.apply(Slot(4), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.apply(Slot(5), (&value(2, 0, 0)).into()), Some(1));
        chat.apply(Slot(SWEEP_SLOTS), (&Value::Noop).into());
        assert_eq!(chat.sessions(), 2);
        chat.apply(Slot(2 * SWEEP_SLOTS), (&Value::Noop).into());
        assert_eq!(chat.sessions(), 1, "the client's last one, beside the number of its lines");
        for session in [1, 2] {
            let again = command(session, 1, 0);
            assert_eq!(chat.status((&again).into(), Slot(2 * SWEEP_SLOTS)), Status::Expired);
        }
        assert_eq!(chat.apply(Slot(2 * SWEEP_SLOTS + 1), (&value(3, 0, 131_072)).into()), Some(2));
    }

    /// The rules as they are said, each session in a map of its own.
    #[derive(Default)]
    struct Told {
        sessions: BTreeMap<Session, Standing>,
        lines: BTreeMap<ClientId, u64>,
    }

    #[test]
    fn clients_with_one_session_and_with_many_stand_as_if_each_session_were_kept_alone() {
        let (window, mut rng) = (40, fastrand::Rng::with_seed(7));
        let (mut chat, mut told) = (Chat::with_session_window(window), Told::default());
        let (mut applied, mut came_back) = (0, 0);
        for slot in (0..100_000).map(Slot) {
            let client = ClientId(rng.u64(..4));
            let session = Session { client, id: rng.u64(..1 + client.0 + slot.0 / 400 % 4) };
            let held = told.sessions.get(&session).copied();
            let next = held.map_or(0, |standing| standing.next);
            let seq = [0, next, next, next + 1, next.saturating_sub(1)][rng.usize(..5)];
            let birth = Slot(slot.0.saturating_sub(rng.u64(..2 * window)));
            let command = Command { session, seq, birth, line: Line::from("x") };
            let expected = status(held, (&command).into(), slot, window);
            assert_eq!(chat.status((&command).into(), slot), expected, "slot {slot}");
            let client_seq = chat.apply(slot, (&Value::Command(command)).into());
            assert_eq!(client_seq.is_some(), expected == Status::Next, "slot {slot}");
            if let Some(client_seq) = client_seq {
                let lines = told.lines.entry(client).or_default();
                assert_eq!(client_seq, *lines, "slot {slot}");
                *lines += 1;
                came_back +=
                    u64::from(held.is_some_and(|held| held.last_client_seq + 1 < *lines - 1));
                applied += 1;
                let now = Standing { next: seq + 1, last_slot: slot, last_client_seq: client_seq };
                told.sessions.insert(session, now);
            }
        }
        assert!(applied > 10_000 && came_back > 1_000, "{applied} applied, {came_back} came back");
        let saved = postcard::to_stdvec(&chat).expect("encodes");
        assert_eq!(postcard::from_bytes(&saved), Ok(chat));
    }
}
