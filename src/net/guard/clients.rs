//! A replica's sessions with clients, by where they are.
//!
//! A client that is answered is heard at one address, so there is one session for each: the
//! newest. Whoever moves, or has been forgotten, greets again.
//!
//! **Guarantees.** No datagram is taken twice. A session that is forgotten never begins again:
//! its keys hold for one address only, and there no session begins with a lower number.
//! Bounded: twice [`CLIENTS_MAX`] sessions.

use super::key::{Pair, TagKey};
use super::session::Window;
use crate::types::Address;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// When so many sessions are in use, those that were not since as many others were are forgotten.
pub(super) const CLIENTS_MAX: usize = 8_192;

/// The words of the window of a client: it sends from one thread, and little at a time.
const CLIENT_WORDS: usize = 4;

/// One session with a client.
#[derive(Debug, Clone)]
pub(super) struct ClientSession {
    pub(super) number: u64,
    pub(super) life: u64,
    /// The number of the client's key.
    pub(super) key_number: u32,
    pub(super) send: TagKey,
    pub(super) receive: TagKey,
    sent: u64,
    window: Window<CLIENT_WORDS>,
}

impl ClientSession {
    pub(super) fn new(number: u64, life: u64, key_number: u32, keys: Pair) -> Self {
        let Pair { forth, back } = keys;
        let window = Window::default();
        ClientSession { number, life, key_number, send: back, receive: forth, sent: 0, window }
    }

    /// The number of the first of `count` datagrams that leave now.
    pub(super) fn leave(&mut self, count: u64) -> u64 {
        let first = self.sent + 1;
        self.sent += count;
        first
    }

    /// Takes a datagram with a good tag, once.
    pub(super) fn take(&mut self, number: u64) -> bool {
        self.window.take(number)
    }
}

/// The sessions with all clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    young: HashMap<Address, ClientSession, RandomState>,
    old: HashMap<Address, ClientSession, RandomState>,
    /// No session of up to this number begins.
    floor: u64,
}

impl Clients {
    /// The session of the client at this address.
    pub(super) fn find(&mut self, at: Address) -> Option<&mut ClientSession> {
        if !self.young.contains_key(&at) {
            let session = self.old.remove(&at)?;
            self.put(at, session);
        }
        self.young.get_mut(&at)
    }

    /// Whether a client at this address may begin a session of this number.
    pub(super) fn may_begin(&mut self, at: Address, number: u64) -> bool {
        number > self.floor && self.find(at).is_none_or(|known| known.number < number)
    }

    /// Begins a session.
    pub(super) fn begin(&mut self, at: Address, session: ClientSession) {
        self.old.remove(&at);
        self.put(at, session);
    }

    fn put(&mut self, at: Address, session: ClientSession) {
        if self.young.len() == CLIENTS_MAX && !self.young.contains_key(&at) {
            let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            let highest = forgotten.values().map(|it| it.number).max();
            self.floor = self.floor.max(highest.unwrap_or(0));
        }
        self.young.insert(at, session);
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{KEY_BYTES, PLACE_BYTES, Prepared, Secret, Terms};
    use super::*;

    fn session(number: u64) -> ClientSession {
        let terms = Terms { parties: [255, 1], lives: [1, 2], number, place: [0; PLACE_BYTES] };
        let keys = Prepared::new(&Secret::new([1; KEY_BYTES])).session(&terms);
        ClientSession::new(number, 1, 9, keys)
    }

    fn at(client: u64) -> Address {
        let host = std::net::Ipv4Addr::from_bits((client / 60_000) as u32);
        Address((host, (client % 60_000) as u16).into())
    }

    #[test]
    fn a_session_that_was_forgotten_never_begins_again_and_one_in_use_is_kept() {
        let mut clients = Clients::default();
        let all = 4 * CLIENTS_MAX as u64;
        for number in 1..=all {
            assert!(clients.may_begin(at(number), number));
            clients.begin(at(number), session(number));
            // The first is in use.
            let first = clients.find(at(1)).expect("it is not forgotten");
            assert!(first.take(number) && !first.take(number));
        }
        for number in 1..=all {
            assert!(!clients.may_begin(at(number), number), "{number}");
        }
        assert!(clients.find(at(2)).is_none(), "it was forgotten");
        assert!(clients.may_begin(at(2), all + 1), "it greets again");
        assert!(clients.young.len() + clients.old.len() <= 2 * CLIENTS_MAX);
    }

    #[test]
    fn a_new_session_at_an_address_ends_the_one_before() {
        let mut clients = Clients::default();
        clients.begin(at(5), session(7));
        assert!(!clients.may_begin(at(5), 7) && !clients.may_begin(at(5), 6));
        assert!(clients.may_begin(at(5), 8));
        clients.begin(at(5), session(8));
        assert_eq!(clients.find(at(5)).map(|it| it.number), Some(8));
        assert!(!clients.may_begin(at(5), 7), "the former does not come back");
    }
}
