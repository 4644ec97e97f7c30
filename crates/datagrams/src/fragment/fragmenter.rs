//! The sender's side of fragments.

use super::{Cut, FRAGMENT_HEADER_BYTES, Fragment, KEPT_BYTES_MAX, KEPT_MESSAGES_MAX, Missing};
use crate::counters::{Counters, NetEvent};
use crate::{HEADER_BYTES, MESSAGE_BYTES_MAX, assert_datagram_max};
use std::collections::VecDeque;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Splits messages, and keeps those that it split lately.
#[derive(Debug)]
pub struct Fragmenter {
    piece: u16,
    pub(super) kept: VecDeque<Kept>,
    pub(super) kept_bytes: usize,
    pub(super) counters: Arc<Counters>,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) cut: Cut,
    cluster: u64,
    pub(super) message: Vec<u8>,
}

impl Fragmenter {
    /// A fragmenter for datagrams of at most `datagram_max` bytes.
    ///
    /// # Panics
    ///
    /// If `datagram_max` is out of bounds.
    pub fn new(datagram_max: usize, counters: Arc<Counters>) -> Self {
        assert_datagram_max(datagram_max);
        let piece = datagram_max - HEADER_BYTES - FRAGMENT_HEADER_BYTES;
        Fragmenter { piece: piece as u16, kept: VecDeque::new(), kept_bytes: 0, counters }
    }

    /// Splits `message`, hands each fragment to `send`, and keeps the message. Pieces that a
    /// receiver asks for later travel with the same `cluster`.
    pub fn split(&mut self, cluster: u64, message: Vec<u8>, mut send: impl FnMut(Fragment<'_>)) {
        if message.len() > MESSAGE_BYTES_MAX {
            self.counters.count(NetEvent::LostTooLong);
            return log::error!(
                "cannot send a message of {} bytes: longer than {MESSAGE_BYTES_MAX}",
                message.len()
            );
        }
        assert!(
            message.len() > usize::from(self.piece),
            "a message that fits one piece is not split"
        );
        let cut = Cut { digest: xxh3_64(&message), total: message.len() as u32, piece: self.piece };
        for index in 0..cut.pieces() as u16 {
            send(Fragment { cut, index, bytes: &message[cut.range(index)] });
        }
        self.counters.count(NetEvent::Split);
        self.keep(Kept { cut, cluster, message });
    }

    fn keep(&mut self, kept: Kept) {
        if let Some(at) = self.position(kept.cut) {
            // The same message to another peer, or sent again: it is the youngest now.
            let former = self.kept.remove(at).expect("just found");
            self.kept_bytes -= former.message.len();
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

    /// Hands each fragment that a peer asked for to `send`, with its cluster id. Does nothing
    /// if the message is not kept any more.
    pub fn resend(&self, asked: &Missing, mut send: impl FnMut(u64, Fragment<'_>)) {
        let Some(at) = self.position(asked.cut) else {
            return self.counters.count(NetEvent::FragmentForgotten);
        };
        let Kept { cut, cluster, message } = &self.kept[at];
        for &index in &asked.indexes {
            self.counters.count(NetEvent::FragmentResent);
            send(*cluster, Fragment { cut: *cut, index, bytes: &message[cut.range(index)] });
        }
    }
}
