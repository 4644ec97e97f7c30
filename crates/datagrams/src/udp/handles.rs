//! Other threads stop the loop, wake it, and move its peers by these handles.

#[cfg(doc)]
use super::{Deliver, Network};
use crate::codec::Codec;
use crate::outlet::Shared;
use crate::peers::Contact;
use std::net::SocketAddr;
use std::sync::Arc;

/// Ends a [`Network::run`] from any thread.
#[derive(Debug, Clone)]
pub struct StopHandle<C: Codec>(pub(super) Arc<Shared<C>>);

impl<C: Codec> StopHandle<C> {
    /// Makes [`Network::run`] return soon. Datagrams that still wait to be sent are lost.
    pub fn stop(&self) {
        self.0.wakeup.stop();
    }
}

/// Wakes the loop from any thread.
#[derive(Debug, Clone)]
pub struct LoopWaker<C: Codec>(pub(super) Arc<Shared<C>>);

impl<C: Codec> LoopWaker<C> {
    /// Wakes the loop if it sleeps: the caller has left something that [`Deliver::has_input`]
    /// finds.
    pub fn wake(&self) {
        self.0.wakeup.wake();
    }
}

/// The addresses of a network's peers, for whoever finds out where they are.
#[derive(Debug, Clone)]
pub struct PeerBook<C: Codec>(pub(super) Arc<Shared<C>>);

impl<C: Codec> PeerBook<C> {
    /// Where this peer is reached.
    pub fn address(&self, peer: usize) -> SocketAddr {
        self.0.peers.with(|all| all[peer])
    }

    /// What has passed between this process and the peer since this was asked last.
    pub fn take_contact(&self, peer: usize) -> Contact {
        self.0.peers.take_contact(peer)
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.0.peers.with(<[SocketAddr]>::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same as [`PeerBook::move_to`], and whatever is found out of this peer later moves it no
    /// more. Returns whether the address is another one than before.
    pub fn settle(&self, peer: usize, address: SocketAddr) -> bool {
        let is_news = self.0.peers.settle(peer, address);
        if is_news {
            self.0.paths.note_move();
            self.0.wakeup.wake();
        }
        is_news
    }

    /// The peer is again where it was in the beginning, and may be found elsewhere, unless its address
    /// was not settled.
    pub fn unsettle(&self, peer: usize) {
        if self.0.peers.unsettle(peer) {
            self.0.paths.note_move();
            self.0.wakeup.wake();
        }
    }

    /// Whether the address of this peer is settled.
    pub fn is_settled(&self, peer: usize) -> bool {
        self.0.peers.is_settled(peer)
    }

    /// From now on datagrams to this peer go to `address`, unless that is settled. What its path
    /// carries is found out anew.
    pub fn move_to(&self, peer: usize, address: SocketAddr) {
        self.0.peers.move_to(peer, address);
        self.0.paths.note_move();
        self.0.wakeup.wake();
    }
}
