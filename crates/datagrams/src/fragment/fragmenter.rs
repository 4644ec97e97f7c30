//! The sender's side of fragments.

use super::{
    Cut, FRAGMENT_HEADER_BYTES, Fragment, KEPT_BYTES_MAX, KEPT_MESSAGES_MAX, LOST_US, Missing,
    PIECE_BYTES_MIN,
};
use crate::counters::{Counters, NetEvent};
use crate::{MESSAGE_BYTES_MAX, OVERHEAD_BYTES};
use std::collections::VecDeque;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Splits messages, and keeps those that it split lately.
#[derive(Debug)]
pub struct Fragmenter {
    pub(super) kept: VecDeque<Kept>,
    pub(super) kept_bytes: usize,
    pub(super) counters: Arc<Counters>,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) cut: Cut,
    cluster: u64,
    pub(super) message: Vec<u8>,
    /// The peers to which all of it was sent, and when.
    sent: Vec<(usize, u64)>,
}

impl Fragmenter {
    /// A fragmenter that keeps nothing yet.
    pub fn new(counters: Arc<Counters>) -> Self {
        Fragmenter { kept: VecDeque::new(), kept_bytes: 0, counters }
    }

    /// Splits `message` into datagrams of at most `datagram` bytes, hands each fragment to
    /// `send`, and keeps the message. Pieces that a receiver asks for later travel with the
    /// same `cluster`. A message that would fit one such datagram is split in two: the path
    /// may carry more than when it was packed.
    ///
    /// # Panics
    ///
    /// If `datagram` is below [`PATH_BYTES_MIN`](crate::path::PATH_BYTES_MIN), or the message
    /// is shorter than two of the smallest pieces.
    pub fn split(
        &mut self,
        datagram: usize,
        cluster: u64,
        message: Vec<u8>,
        mut send: impl FnMut(Fragment<'_>),
    ) {
        if message.len() > MESSAGE_BYTES_MAX {
            self.counters.count(NetEvent::LostTooLong);
            return log::error!(
                "cannot send a message of {} bytes: longer than {MESSAGE_BYTES_MAX}",
                message.len()
            );
        }
        let most = piece_bytes(datagram);
        let piece = if message.len() > most { most } else { message.len().div_ceil(2) };
        let piece = piece.max(PIECE_BYTES_MIN);
        assert!(message.len() > piece, "a message that fits one piece is not split");
        let (digest, total) = (xxh3_64(&message), message.len() as u32);
        let cut = Cut { digest, total, piece: piece as u16 };
        for index in 0..cut.pieces() as u16 {
            send(Fragment { cut, index, bytes: &message[cut.range(index)] });
        }
        self.counters.count(NetEvent::Split);
        self.keep(Kept { cut, cluster, message, sent: Vec::new() });
    }

    /// The message that was split last was sent to this peer.
    pub fn note_sent(&mut self, now: u64, peer: usize) {
        if let Some(kept) = self.kept.back_mut() {
            kept.sent.retain(|(to, _)| *to != peer);
            kept.sent.push((peer, now));
        }
    }

    /// The path to a peer carries no more than `datagram` bytes. Of what was sent there lately
    /// in longer pieces it may have dropped all, and then nobody asks. So it is cut anew, and
    /// each fragment goes to `send`, with its cluster id.
    pub fn send_narrowed(
        &mut self,
        now: u64,
        peer: usize,
        datagram: usize,
        send: impl FnMut(u64, Fragment<'_>),
    ) {
        let most = piece_bytes(datagram);
        self.send_lately(now, peer, datagram, |cut| usize::from(cut.piece) > most, send);
    }

    /// Batches to a peer have vanished, and with them perhaps all of what was sent there lately.
    /// So it leaves again, in datagrams of up to `datagram` bytes.
    pub fn send_vanished(
        &mut self,
        now: u64,
        peer: usize,
        datagram: usize,
        send: impl FnMut(u64, Fragment<'_>),
    ) {
        self.send_lately(now, peer, datagram, |_| true, send);
    }

    /// Sends again what was sent to a peer lately, if it is lost in that cut.
    fn send_lately(
        &mut self,
        now: u64,
        peer: usize,
        datagram: usize,
        is_lost: impl Fn(Cut) -> bool,
        mut send: impl FnMut(u64, Fragment<'_>),
    ) {
        let lately = |(to, at): &(usize, u64)| *to == peer && now.saturating_sub(*at) < LOST_US;
        let mut again = Vec::new();
        for kept in &mut self.kept {
            if is_lost(kept.cut) && kept.sent.iter().any(lately) {
                kept.sent.retain(|(to, _)| *to != peer);
                again.push((kept.cluster, kept.message.clone()));
            }
        }
        for (cluster, message) in again {
            self.split(datagram, cluster, message, |fragment| send(cluster, fragment));
            self.note_sent(now, peer);
        }
    }

    fn keep(&mut self, mut kept: Kept) {
        if let Some(at) = self.position(kept.cut) {
            // The same message to another peer, or sent again: it is the youngest now.
            let former = self.kept.remove(at).expect("just found");
            self.kept_bytes -= former.message.len();
            kept.sent = former.sent;
        }
        self.kept_bytes += kept.message.len();
        self.kept.push_back(kept);
        while self.kept.len() > KEPT_MESSAGES_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            let oldest = self.kept.pop_front().expect("something is over the bound");
            self.kept_bytes -= oldest.message.len();
        }
    }

    fn position(&self, cut: Cut) -> Option<usize> {
        self.kept.iter().rposition(|kept| kept.cut == cut)
    }

    /// Hands each fragment that `peer` asked for to `send`, with its cluster id. If its
    /// pieces are too long for datagrams of `datagram` bytes by now, the whole message is cut
    /// anew for this peer, once. Does nothing if the message is not kept any more, or not in
    /// that cut.
    pub fn resend(
        &mut self,
        now: u64,
        (peer, datagram): (Option<usize>, usize),
        asked: &Missing,
        mut send: impl FnMut(u64, Fragment<'_>),
    ) {
        let Some(at) = self.position(asked.cut) else {
            return self.counters.count(NetEvent::FragmentForgotten);
        };
        if usize::from(asked.cut.piece) > piece_bytes(datagram) {
            // It stays in this cut too: of other peers nobody has asked, and their paths may
            // turn out to be as narrow.
            let kept = &mut self.kept[at];
            let Some(place) = kept.sent.iter().position(|(to, _)| Some(*to) == peer) else {
                return self.counters.count(NetEvent::FragmentForgotten);
            };
            let (to, _) = kept.sent.remove(place);
            let (cluster, message) = (kept.cluster, kept.message.clone());
            self.split(datagram, cluster, message, |fragment| send(cluster, fragment));
            return self.note_sent(now, to);
        }
        let Kept { cut, cluster, message, .. } = &self.kept[at];
        for &index in &asked.indexes {
            self.counters.count(NetEvent::FragmentResent);
            send(*cluster, Fragment { cut: *cut, index, bytes: &message[cut.range(index)] });
        }
    }
}

/// The bytes of a piece that fills a datagram of `datagram` bytes.
fn piece_bytes(datagram: usize) -> usize {
    datagram - OVERHEAD_BYTES - FRAGMENT_HEADER_BYTES
}
