//! The table of sessions: what the log remembers of each client.
//!
//! The rule that decides what a command means is in [`super`]; this table only
//! stores what the rule reads. Nearly every client has one session, so the table keeps a
//! client's newest session in the same entry as the number of its lines, its *account*
//! (`accounts`). A client's other sessions have entries of their own, which
//! [`SessionTable::sweep`] removes once they have expired. An account stays for as long as the
//! log, because a client's lines are numbered across all its sessions.
//!
//! The table changes in [`SessionTable::advance`] and [`SessionTable::sweep`] alone, and both
//! let a [`Snapshot`] that is under way note what was there.

use super::LOOK_AHEAD;
use super::accounts::{Account, Accounts};
use super::snapshot::Snapshot;
use crate::types::{ClientId, Session, Slot};
use crate::values::ValueRef;
use serde::{Deserialize, Serialize};
use table::Buckets;

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

/// All sessions of all clients. Equal on replicas that have applied the same slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct SessionTable {
    pub(super) accounts: Accounts,
    /// Sessions that are not the newest of their clients.
    pub(super) others: Buckets<Session, SessionState>,
}

impl SessionTable {
    /// What is known of `session`, alive or not.
    pub(super) fn get(&self, session: Session) -> Option<SessionState> {
        match self.accounts.get(session.client) {
            Some(account) if account.session == session.id => Some(account.newest()),
            _ => self.others.get(&session).copied(),
        }
    }

    /// The slot of the client's newest line, whichever session it came by.
    pub(super) fn newest_line(&self, client: ClientId) -> Option<Slot> {
        self.accounts.get(client).map(|account| account.last_slot)
    }

    /// Gives `next` what is known of the session. If `next` returns a number, a command of the
    /// session takes effect in `slot`, and that is the number of the command after it. The
    /// result is the number of the line among the client's lines. Otherwise nothing changes.
    /// Whatever changes, `snapshot` notes as it was.
    #[inline(always)]
    pub(super) fn advance(
        &mut self,
        session: Session,
        slot: Slot,
        snapshot: Option<&mut Snapshot>,
        next: impl FnOnce(Option<SessionState>) -> Option<u64>,
    ) -> Option<u64> {
        let Session { client, id } = session;
        let (mut before, mut lines) = (None, None);
        self.accounts.update(client, |account| {
            before = account;
            let known = match account {
                Some(account) if account.session == id => Some(account.newest()),
                _ => self.others.get(&session).copied(),
            };
            let next = next(known)?;
            let earlier = account.map_or(0, |account| account.lines);
            lines = Some(earlier);
            Some(Account { lines: earlier.saturating_add(1), session: id, next, last_slot: slot })
        });
        let (Some(lines), Some(before)) = (lines, before) else { return lines };
        let mut moved = [None; 2];
        if before.session != id {
            let other = Session { client, id: before.session };
            moved = [
                Some((session, self.others.remove(&session))),
                Some((other, self.others.insert(other, before.newest()))),
            ];
        }
        if let Some(snapshot) = snapshot {
            snapshot.note_account(client, before);
            moved.into_iter().flatten().for_each(|(other, was)| snapshot.note_other(other, was));
        }
        Some(lines)
    }

    /// The next [`LOOK_AHEAD`] of `values` are about to be applied: [`SessionTable::advance`] will
    /// find their accounts in the processor's cache.
    pub(super) fn look_ahead<'a>(&self, mut values: impl Iterator<Item = ValueRef<'a>>) {
        let client = |value: ValueRef<'a>| value.command().map(|command| command.session.client);
        let mut next = |_| values.next().and_then(client);
        self.accounts.look_ahead::<LOOK_AHEAD>(std::array::from_fn(&mut next));
    }

    /// Removes sessions that no longer exist in slot `at`, except each client's newest.
    /// `snapshot` notes them.
    pub(super) fn sweep(
        &mut self,
        at: Slot,
        window_slots: u64,
        mut snapshot: Option<&mut Snapshot>,
    ) {
        self.others.retain(|session, state| {
            let is_alive = state.is_alive(at, window_slots);
            if let (false, Some(snapshot)) = (is_alive, snapshot.as_deref_mut()) {
                snapshot.note_other(*session, Some(*state));
            }
            is_alive
        });
    }

    /// How many sessions the table holds, each client's newest included.
    pub(super) fn len(&self) -> usize {
        self.accounts.len() + self.others.len()
    }
}
