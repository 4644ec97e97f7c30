//! One account for each client, in 29 bytes and about two more.
//!
//! An account stays for as long as the log, so what it takes in memory is what a client costs
//! for ever. Five numbers of 64 bits would be 40 bytes, and a hash table that doubles is half
//! empty on average. Here numbers that are small in practice have fewer bytes, and the table
//! has no room to spare ([`Buckets`]). An account with a larger number is kept whole in a table
//! of its own. That takes 2²⁴ lines of one session, or 2³² of one client, and so as many slots for
//! each such account; or 2⁴⁸ slots.

use super::sessions::SessionState;
use crate::types::{ClientId, Slot};
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};
use table::{Buckets, Table};

/// How many bytes a packed account has, with its client's id.
pub(super) const PACKED_BYTES: usize = 29;

/// A client, with the state of its newest session: the one of its last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Account {
    /// How many lines of the client are in the log, at least 1.
    pub(super) lines: u64,
    /// The id of the newest session.
    pub(super) session: u64,
    /// That session's [`SessionState::next`].
    pub(super) next: u64,
    /// That session's [`SessionState::last_slot`].
    pub(super) last_slot: Slot,
}

impl Account {
    /// The newest session's state. Its last command is the client's last line.
    pub(super) fn newest(&self) -> SessionState {
        let Account { lines, next, last_slot, .. } = *self;
        SessionState { next, last_slot, last_client_seq: lines.saturating_sub(1) }
    }
}

/// The lowest bytes of a number, if the others are zero.
fn low<const N: usize>(number: u64) -> Option<[u8; N]> {
    let bytes = number.to_le_bytes();
    let (low, high) = bytes.split_first_chunk()?;
    high.iter().all(|byte| *byte == 0).then_some(*low)
}

/// The number of which these are the lowest bytes.
fn number<const N: usize>(low: [u8; N]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(&low);
    u64::from_le_bytes(bytes)
}

/// A client's id, in bytes: as a number it would make each entry a multiple of 8 bytes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Id([u8; 8]);

impl From<ClientId> for Id {
    fn from(client: ClientId) -> Id {
        Id(client.0.to_be_bytes())
    }
}

impl Id {
    fn client(self) -> ClientId {
        ClientId(u64::from_be_bytes(self.0))
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.client().0);
    }
}

/// An account whose numbers are small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Packed {
    session: [u8; 8],
    last_slot: [u8; 6],
    lines: [u8; 4],
    next: [u8; 3],
}

impl Packed {
    fn of(account: Account) -> Option<Packed> {
        let Account { lines, session, next, last_slot } = account;
        Some(Packed {
            session: session.to_le_bytes(),
            last_slot: low(last_slot.0)?,
            lines: low(lines)?,
            next: low(next)?,
        })
    }

    fn account(&self) -> Account {
        Account {
            lines: number(self.lines),
            session: number(self.session),
            next: number(self.next),
            last_slot: Slot(number(self.last_slot)),
        }
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        let Packed { session, last_slot, lines, next } = self;
        let fields = [session.as_slice(), last_slot, lines, next];
        fields.into_iter().for_each(|field| bytes.extend_from_slice(field));
    }

    fn read(mut bytes: &[u8]) -> Option<Packed> {
        fn next<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (field, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Some(*field)
        }
        let (session, last_slot) = (next(&mut bytes)?, next(&mut bytes)?);
        Some(Packed { session, last_slot, lines: next(&mut bytes)?, next: next(&mut bytes)? })
    }
}

const _: () = assert!(size_of::<(Id, Packed)>() == PACKED_BYTES);

/// The accounts of all clients that have a line in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Accounts {
    packed: Buckets<Id, Packed>,
    /// Those with a number that is too large.
    wide: Table<ClientId, Account>,
}

impl Accounts {
    pub(super) fn get(&self, client: ClientId) -> Option<Account> {
        match self.packed.get(&client.into()) {
            Some(packed) => Some(packed.account()),
            None if self.wide.is_empty() => None,
            None => self.wide.get(&client).copied(),
        }
    }

    /// These clients' accounts are about to be read.
    pub(super) fn look_ahead<const N: usize>(&self, clients: [Option<ClientId>; N]) {
        self.packed.look_ahead(clients.map(|client| client.map(Id::from)));
    }

    /// Gives `next` the client's account, and puts what it returns in its place, if anything. As
    /// a rule that is one look-up. (Always inlined: it runs for every line, and the numbers stay
    /// in registers.)
    #[inline(always)]
    pub(super) fn update(
        &mut self,
        client: ClientId,
        next: impl FnOnce(Option<Account>) -> Option<Account>,
    ) {
        let held = self.packed.get_mut(&client.into());
        let before = match &held {
            Some(packed) => Some(packed.account()),
            None if self.wide.is_empty() => None,
            None => self.wide.get(&client).copied(),
        };
        let Some(account) = next(before) else { return };
        match (held, Packed::of(account)) {
            (Some(held), Some(packed)) => *held = packed,
            _ => _ = self.put(client, account),
        }
    }

    /// Replaces the client's account, and returns the one that was there.
    pub(super) fn put(&mut self, client: ClientId, account: Account) -> Option<Account> {
        match Packed::of(account) {
            Some(packed) => {
                let wide = (!self.wide.is_empty()).then(|| self.wide.remove(&client)).flatten();
                self.packed.insert(client.into(), packed).map(|before| before.account()).or(wide)
            }
            None => {
                let packed = self.packed.remove(&client.into()).map(|before| before.account());
                self.wide.insert(client, account).or(packed)
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.packed.len() + self.wide.len()
    }

    /// Appends to `bytes` those accounts of bucket `at` that have changed in no slot from `since`
    /// on, [`PACKED_BYTES`] each. Returns how many accounts the bucket has, or none above the last
    /// bucket.
    pub(super) fn copy_bucket(&self, at: usize, since: Slot, bytes: &mut Vec<u8>) -> Option<usize> {
        let bucket = self.packed.bucket(at)?;
        for (id, packed) in bucket {
            if number(packed.last_slot) < since.0 {
                bytes.extend_from_slice(&id.0);
                packed.append_to(bytes);
            }
        }
        Some(bucket.len())
    }

    /// The accounts with large numbers.
    pub(super) fn wide(&self) -> impl Iterator<Item = (ClientId, Account)> {
        self.wide.sorted().into_iter().map(|(client, account)| (*client, *account))
    }
}

/// The accounts in these bytes; none if it is not a number of whole ones.
pub(super) fn packed_accounts(bytes: &[u8]) -> Option<Vec<(ClientId, Account)>> {
    let (accounts, rest) = bytes.as_chunks::<PACKED_BYTES>();
    let read = |bytes: &[u8; PACKED_BYTES]| {
        let (id, packed) = bytes.split_first_chunk()?;
        Some((Id(*id).client(), Packed::read(packed)?.account()))
    };
    if rest.is_empty() { accounts.iter().map(read).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_kept_whatever_its_numbers_are_and_however_they_change() {
        let numbers = [1, 1 << 24, (1 << 32) - 1, 1 << 32, (1 << 48) - 1, 1 << 48, u64::MAX];
        let (mut accounts, mut before) = (Accounts::default(), None);
        let client = ClientId(u64::MAX - 1);
        for lines in numbers {
            for (next, last_slot) in numbers.into_iter().flat_map(|a| numbers.map(|b| (a, Slot(b))))
            {
                let account = Account { lines, session: lines ^ 7, next, last_slot };
                if lines % 2 == 0 {
                    assert_eq!(accounts.put(client, account), before);
                } else {
                    accounts.update(client, |_| None);
                    assert_eq!(accounts.get(client), before);
                    accounts.update(client, |was| {
                        assert_eq!(was, before);
                        Some(account)
                    });
                }
                assert_eq!((accounts.get(client), accounts.len()), (Some(account), 1));
                before = Some(account);
                let mut bytes = Vec::new();
                let count = accounts.copy_bucket(0, Slot(u64::MAX), &mut bytes);
                let kept = packed_accounts(&bytes).expect("whole ones");
                let is_small = lines < 1 << 32 && next < 1 << 24 && last_slot.0 < 1 << 48;
                assert_eq!((count, kept.len()), (Some(kept.len()), usize::from(is_small)));
                assert!(kept.into_iter().chain(accounts.wide()).eq([(client, account)]));
            }
        }
        assert_eq!(accounts.get(ClientId(1)), None);
        assert_eq!(packed_accounts(&[0; PACKED_BYTES + 1]), None);
    }
}
