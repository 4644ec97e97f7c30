//! The table of sessions: what the log remembers of each client.
//!
//! The rule that decides what a command means is in [`super`]; this table only
//! stores what the rule reads. Nearly every client has one session, so the table keeps a
//! client's newest session in the same entry as the number of its lines: such a line costs
//! one look-up. A client's other sessions have entries of their own, which
//! [`SessionTable::sweep`] removes once they have expired. A client's own entry stays for
//! as long as the log, because its lines are numbered across all its sessions.

use crate::types::{ClientId, Session, Slot};
use crate::values::ValueRef;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use table::Table;

/// What the log knows of one session: enough to judge its next command, and to answer its
/// last one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SessionState {
    /// The number of the command that would take effect, at least 1.
    pub(super) next: u64,
    /// The slot of the session's last applied command, which has the number before `next`.
    pub(super) last_slot: Slot,
    /// The number of that command's line among all lines of the client, from 0.
    pub(super) last_client_seq: u64,
}

impl SessionState {
    /// Whether the session still exists in slot `at`: at most `window_slots` slots have
    /// passed since its last applied command.
    pub(super) fn is_alive(&self, at: Slot, window_slots: u64) -> bool {
        at.since(self.last_slot) <= window_slots
    }
}

/// A client, with the state of its newest session: the one of its last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Account {
    /// How many lines of the client are in the log, at least 1.
    lines: u64,
    /// The id of the newest session.
    session: u64,
    /// That session's [`SessionState::next`].
    next: u64,
    /// That session's [`SessionState::last_slot`].
    last_slot: Slot,
}

impl Account {
    /// The newest session's state. Its last command is the client's last line.
    fn newest(&self) -> SessionState {
        let Account { lines, next, last_slot, .. } = *self;
        SessionState { next, last_slot, last_client_seq: lines.saturating_sub(1) }
    }
}

/// All sessions of all clients. Equal on replicas that have applied the same slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SessionTable {
    clients: Table<ClientId, Account>,
    /// Sessions that are not the newest of their clients.
    others: Table<Session, SessionState>,
}

impl SessionTable {
    /// What is known of `session`, alive or not.
    pub(super) fn get(&self, session: Session) -> Option<SessionState> {
        match self.clients.get(&session.client) {
            Some(account) if account.session == session.id => Some(account.newest()),
            _ => self.others.get(&session).copied(),
        }
    }

    /// The slot of the client's newest line, whichever session it came by.
    pub(super) fn newest_line(&self, client: ClientId) -> Option<Slot> {
        self.clients.get(&client).map(|account| account.last_slot)
    }

    /// Gives `next` what is known of the session. If `next` returns a number, a command of the
    /// session takes effect in `slot`, and that is the number of the command after it. The
    /// result is the number of the line among the client's lines. Otherwise nothing changes.
    pub(super) fn advance(
        &mut self,
        session: Session,
        slot: Slot,
        next: impl FnOnce(Option<SessionState>) -> Option<u64>,
    ) -> Option<u64> {
        let Session { client, id } = session;
        let account = self.clients.get_mut(&client);
        let known = match &account {
            Some(account) if account.session == id => Some(account.newest()),
            _ => self.others.get(&session).copied(),
        };
        let next = next(known)?;
        let Some(account) = account else {
            self.clients.insert(client, Account { lines: 1, session: id, next, last_slot: slot });
            return Some(0);
        };
        if account.session != id {
            self.others.remove(&session);
            let before = Session { client, id: account.session };
            self.others.insert(before, account.newest());
        }
        let client_seq = account.lines;
        let lines = client_seq.saturating_add(1);
        *account = Account { lines, session: id, next, last_slot: slot };
        Some(client_seq)
    }

    /// Reads the entries of the clients of `values`, which are about to be applied, and
    /// does nothing with them. The look-ups do not depend on each other, so the processor
    /// waits for several of them at once, and [`SessionTable::advance`] finds them in its
    /// cache.
    pub(super) fn look_ahead<'a>(&self, values: impl Iterator<Item = ValueRef<'a>>) {
        let commands = values.filter_map(ValueRef::command);
        let accounts = commands.filter_map(|command| self.clients.get(&command.session.client));
        accounts.for_each(|account| _ = black_box(account.next));
    }

    /// Removes sessions that no longer exist in slot `at`, except each client's newest.
    pub(super) fn sweep(&mut self, at: Slot, window_slots: u64) {
        self.others.retain(|session| session.is_alive(at, window_slots));
    }

    /// How many sessions the table holds, each client's newest included.
    pub(super) fn len(&self) -> usize {
        self.clients.len() + self.others.len()
    }
}
