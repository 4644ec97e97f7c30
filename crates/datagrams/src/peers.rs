//! Where each peer is reached, and whether it is heard from there.
//!
//! A peer may move: its host gets another address. The sending threads and the loop take each
//! address from here, and note whether they sent to the peer and heard it. A program that knows
//! where the peer may have gone looks at that now and then (see `udp::PeerBook`), and says so.
//!
//! Addresses hardly ever change. As long as none has, nobody takes a lock for one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};

/// The address of a peer whose address is not known yet. Nothing is sent there.
pub const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The addresses of all peers.
#[derive(Debug)]
pub(crate) struct Peers {
    /// As they were in the beginning.
    first: Vec<SocketAddr>,
    /// Whether one has moved since. Then `present` counts.
    any_moved: AtomicBool,
    present: RwLock<Vec<SocketAddr>>,
    contacts: Vec<Noted>,
}

/// What the threads have noted of one peer.
#[derive(Debug, Default)]
struct Noted {
    sent: AtomicBool,
    heard: AtomicBool,
    /// Whether `elsewhere` has something.
    strayed: AtomicBool,
    elsewhere: Mutex<Option<SocketAddr>>,
    /// Whether it has moved since the loop looked.
    moved: AtomicBool,
    /// Whether its address is settled.
    settled: AtomicBool,
}

/// What has passed between this process and a peer in some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contact {
    /// Something was to be sent to it.
    pub sent: bool,
    /// A datagram of it has come from its address.
    pub heard: bool,
    /// A datagram of it has come from this other address.
    pub elsewhere: Option<SocketAddr>,
}

/// Sets a flag that is mostly set already, without taking its memory from other threads.
fn set(flag: &AtomicBool) {
    if !flag.load(Ordering::Relaxed) {
        flag.store(true, Ordering::Relaxed);
    }
}

impl Peers {
    pub(crate) fn new(addresses: Vec<SocketAddr>) -> Self {
        Peers {
            any_moved: AtomicBool::new(false),
            present: RwLock::new(addresses.clone()),
            contacts: addresses.iter().map(|_| Noted::default()).collect(),
            first: addresses,
        }
    }

    /// Calls `f` with the address of each peer.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&[SocketAddr]) -> T) -> T {
        match self.any_moved.load(Ordering::Acquire) {
            false => f(&self.first),
            true => f(&self.present.read().expect("no thread panics with it")),
        }
    }

    /// Something is to be sent to this peer.
    pub(crate) fn note_sent(&self, peer: usize) {
        set(&self.contacts[peer].sent);
    }

    /// A datagram of this peer has come from `from`.
    pub(crate) fn note_heard(&self, peer: usize, from: SocketAddr) {
        let Some(contact) = self.contacts.get(peer) else { return };
        if self.with(|all| all[peer] == from) {
            set(&contact.heard);
        } else if !contact.strayed.load(Ordering::Relaxed) {
            *contact.elsewhere.lock().expect("no thread panics with it") = Some(from);
            contact.strayed.store(true, Ordering::Relaxed);
        }
    }

    /// What was noted of this peer since it was asked last.
    pub(crate) fn take_contact(&self, peer: usize) -> Contact {
        let Noted { sent, heard, strayed, elsewhere, .. } = &self.contacts[peer];
        let elsewhere = match strayed.load(Ordering::Relaxed) {
            true => elsewhere.lock().expect("no thread panics with it").take(),
            false => None,
        };
        strayed.store(false, Ordering::Relaxed);
        let take = |flag: &AtomicBool| flag.swap(false, Ordering::Relaxed);
        Contact { sent: take(sent), heard: take(heard), elsewhere }
    }

    /// From now on the peer is reached at `address`, unless its address is settled.
    pub(crate) fn move_to(&self, peer: usize, address: SocketAddr) {
        let mut present = self.present.write().expect("no thread panics with it");
        if !self.is_settled(peer) {
            self.put(&mut present, peer, address);
        }
    }

    /// From now on the peer is reached at `address`, whatever is found out of it. Returns whether that
    /// is another one than before.
    pub(crate) fn settle(&self, peer: usize, address: SocketAddr) -> bool {
        let mut present = self.present.write().expect("no thread panics with it");
        self.contacts[peer].settled.store(true, Ordering::Relaxed);
        let is_news = present[peer] != address;
        if is_news {
            self.put(&mut present, peer, address);
        }
        is_news
    }

    /// The peer is where it was in the beginning, unless its address was not settled. Returns whether
    /// that is another one than before.
    pub(crate) fn unsettle(&self, peer: usize) -> bool {
        let mut present = self.present.write().expect("no thread panics with it");
        let was_settled = self.contacts[peer].settled.swap(false, Ordering::Relaxed);
        let is_news = was_settled && present[peer] != self.first[peer];
        if is_news {
            self.put(&mut present, peer, self.first[peer]);
        }
        is_news
    }

    /// Whether the address of the peer is settled.
    pub(crate) fn is_settled(&self, peer: usize) -> bool {
        self.contacts[peer].settled.load(Ordering::Relaxed)
    }

    fn put(&self, present: &mut [SocketAddr], peer: usize, address: SocketAddr) {
        present[peer] = address;
        self.contacts[peer].moved.store(true, Ordering::Relaxed);
        self.any_moved.store(true, Ordering::Release);
    }

    /// Whether the peer has moved since this was asked last.
    pub(crate) fn take_moved(&self, peer: usize) -> bool {
        let moved = &self.contacts[peer].moved;
        moved.load(Ordering::Relaxed) && moved.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn contacts_are_told_once_and_by_where_they_came_from() {
        let (home, away) = (address("10.0.0.1:7"), address("10.0.0.9:7"));
        let peers = Peers::new(vec![UNKNOWN, home]);
        assert_eq!(peers.take_contact(1), Contact::default());
        peers.note_sent(1);
        peers.note_heard(1, home);
        peers.note_heard(1, away);
        peers.note_heard(1, address("10.0.0.8:7"));
        peers.note_heard(9, home);
        let expected = Contact { sent: true, heard: true, elsewhere: Some(away) };
        assert_eq!(peers.take_contact(1), expected, "the first elsewhere counts");
        assert_eq!(peers.take_contact(1), Contact::default());
        assert_eq!(peers.take_contact(0), Contact::default());
        peers.move_to(1, away);
        peers.note_heard(1, away);
        assert!(peers.take_contact(1).heard);
        peers.note_heard(1, home);
        assert_eq!(peers.take_contact(1).elsewhere, Some(home));
    }

    #[test]
    fn a_settled_address_stays_until_another_one_is_settled() {
        let peers = Peers::new(vec![UNKNOWN, address("10.0.0.1:7")]);
        assert!(!peers.settle(1, address("10.0.0.1:7")) && !peers.take_moved(1), "it is there");
        assert!(peers.is_settled(1) && !peers.is_settled(0));
        peers.move_to(1, address("10.0.0.8:7"));
        assert!(!peers.take_moved(1), "whatever its name says");
        assert!(peers.settle(1, address("10.0.0.9:7")) && peers.take_moved(1));
        assert_eq!(peers.with(|all| all[1]), address("10.0.0.9:7"));
        assert!(peers.unsettle(1) && peers.take_moved(1) && !peers.is_settled(1));
        assert_eq!(peers.with(|all| all[1]), address("10.0.0.1:7"));
        peers.move_to(1, address("10.0.0.8:7"));
        assert!(!peers.unsettle(1), "what was found out stays");
        assert_eq!(peers.with(|all| all[1]), address("10.0.0.8:7"));
    }

    #[test]
    fn a_peer_that_moves_is_reached_there_and_the_loop_learns_it_once() {
        let peers = Peers::new(vec![UNKNOWN, UNKNOWN]);
        let all = || peers.with(<[SocketAddr]>::to_vec);
        assert_eq!(all(), [UNKNOWN, UNKNOWN]);
        assert!(!peers.take_moved(1));
        peers.move_to(1, address("[::1]:9"));
        assert_eq!(all(), [UNKNOWN, address("[::1]:9")]);
        assert!(peers.take_moved(1) && !peers.take_moved(1) && !peers.take_moved(0));
    }
}
