//! Copying all sessions in parts, as they are in one slot, while they go on changing.
//!
//! A checkpoint holds every session (E4), and a learner with a million of them may not stop to
//! copy them all. So it begins a [`Snapshot`] after some slot and takes a few sessions at a time,
//! between the slots that it goes on applying. The parts together are the state before
//! [`Snapshot`]'s slot, because each session is in one of two places:
//!
//! - *It has not changed since.* Whoever goes through the table copies it from there. An account
//!   says this itself, by the slot of its last line. Of a client's other sessions those that are
//!   noted have changed.
//! - *It has changed since, or is gone.* Before its first change it was noted, and the last part
//!   has what was noted. A session that was created since is in no part.
//!
//! The table may show a session twice (`table::Buckets`), and one that was copied may be noted
//! later. So parts may hold a session twice, each time as it was in the same slot.
//!
//! A machine of the user is copied whole when the snapshot begins (`hosted`), and the copy goes into
//! the parts behind the sessions.
//!
//! At most one session is noted for each slot that is applied meanwhile, three of a client that
//! goes on by another session, and those that one sweep removes: not more than slots lie between
//! two. The caller bounds how long a snapshot takes (`CheckpointPolicy`).

use super::accounts::{Account, PACKED_BYTES, packed_accounts};
use super::sessions::{SessionState, SessionTable};
use crate::types::{ClientId, Session, Slot};
use serde::{Deserialize, Serialize};
use table::Table;

/// A part that comes to the image of a machine takes at least as much of it, if there is as much.
const IMAGE_PART_BYTES: usize = 64 * 1024;

/// Some sessions of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// After how many slots sessions expire.
    pub(super) window_slots: u64,
    /// Accounts in packed form.
    #[serde(with = "serde_bytes")]
    packed: Vec<u8>,
    /// Accounts.
    accounts: Vec<(ClientId, Account)>,
    /// Sessions that are not the newest of their clients.
    others: Vec<(Session, SessionState)>,
    /// A piece of what a machine of the user makes of itself. Whoever writes a part of a log that has
    /// a machine writes this beside it; without one it is empty.
    #[serde(skip)]
    pub(crate) image: Vec<u8>,
}

impl Part {
    /// How many sessions it has, each client's newest included.
    pub fn sessions(&self) -> usize {
        self.packed.len() / PACKED_BYTES + self.accounts.len() + self.others.len()
    }
}

/// A snapshot of which not all parts are taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// It is of the state before this slot.
    at: Slot,
    /// The buckets of the table that come next, of accounts and of others.
    next: (usize, usize),
    /// Whether no part is taken.
    is_new: bool,
    /// How many sessions were gone through.
    seen: usize,
    /// Accounts that have changed, as they were.
    accounts: Vec<(ClientId, Account)>,
    /// Other sessions that have changed, as they were: none if there was none.
    others: Table<Session, Option<SessionState>>,
    /// What is not taken yet of the image of a machine.
    image: Vec<u8>,
}

impl Snapshot {
    /// Of the state before slot `at`, in which a machine of the user has this image.
    pub(super) fn new(at: Slot, image: Vec<u8>) -> Snapshot {
        let (others, accounts) = (Table::default(), Vec::new());
        Snapshot { at, next: (0, 0), is_new: true, seen: 0, accounts, others, image }
    }

    /// The snapshot is of the state before this slot.
    pub fn at(&self) -> Slot {
        self.at
    }

    /// Whether no part of it is taken.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// How many sessions were gone through for it.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// The account of `client` changes. It was this.
    pub(super) fn note_account(&mut self, client: ClientId, was: Account) {
        // A change of an account leaves the slot of the change in it.
        if was.last_slot < self.at {
            self.accounts.push((client, was));
        }
    }

    /// A session that is not its client's newest changes, comes or goes.
    pub(super) fn note_other(&mut self, session: Session, was: Option<SessionState>) {
        if self.others.get(&session).is_none() {
            self.others.insert(session, was);
        }
    }

    /// The next part: goes through `count` sessions of `table`, give or take a bucket. Whether it
    /// is the last part stands beside it.
    pub(super) fn take(&mut self, table: &SessionTable, count: usize) -> (Part, bool) {
        let (mut part, end) = (Part::default(), self.seen.saturating_add(count));
        let (accounts, others) = &mut self.next;
        let mut is_last = false;
        self.is_new = false;
        while self.seen < end && !is_last {
            if let Some(seen) = table.accounts.copy_bucket(*accounts, self.at, &mut part.packed) {
                *accounts += 1;
                self.seen += seen;
            } else if let Some(bucket) = table.others.bucket(*others) {
                *others += 1;
                self.seen += bucket.len();
                let same = bucket.iter().filter(|(session, _)| self.others.get(session).is_none());
                part.others.extend(same);
            } else {
                is_last = true;
            }
        }
        if is_last {
            let wide = table.accounts.wide().filter(|(_, account)| account.last_slot < self.at);
            part.accounts = wide.chain(self.accounts.drain(..)).collect();
            let others = self.others.sorted();
            part.others.extend(others.iter().filter_map(|(key, was)| Some((**key, (**was)?))));
            // The sessions are through: the image takes up what room is left.
            let most = IMAGE_PART_BYTES.max(count.saturating_mul(PACKED_BYTES));
            part.image = self.image.drain(..most.min(self.image.len())).collect();
            is_last = self.image.is_empty();
        }
        (part, is_last)
    }
}

impl SessionTable {
    /// Takes in a part of a snapshot. False if it contradicts another part or itself.
    pub(super) fn take_in(&mut self, part: &Part) -> bool {
        let Some(packed) = packed_accounts(&part.packed) else { return false };
        let mut accounts = packed.iter().chain(&part.accounts).copied();
        accounts.all(|(client, account)| {
            self.accounts.put(client, account).is_none_or(|before| before == account)
        }) && part.others.iter().copied().all(|(session, state)| {
            self.others.insert(session, state).is_none_or(|before| before == state)
        })
    }
}
