//! Tells the user when the kernel has dropped datagrams at the replica's socket, and a larger
//! receive buffer would have had room for them.
//!
//! What is dropped is sent again, so nothing is lost but time. A socket that got the buffer that
//! it asked for is not looked at: there the user could do nothing.

use crate::types::{ReplicaId, Time};
use datagrams::udp::{Room, SOCKET_BUFFER_BYTES};
use seldom::Seldom;

/// The time between two looks, in microseconds.
const LOOK_US: u64 = 2_000_000;

/// The socket's room, and what was said of it.
#[derive(Debug)]
pub(super) struct FullSocket {
    id: ReplicaId,
    /// None if nothing is to be said of it.
    room: Option<Room>,
    next: Time,
    /// How many dropped datagrams the user knows of.
    said: u64,
    seldom: Seldom,
}

impl FullSocket {
    /// The socket of replica `id` has this room, if the kernel says.
    pub(super) fn new(id: ReplicaId, room: Option<Room>) -> Self {
        let room = room.filter(Room::is_small);
        FullSocket { id, room, next: Time(0), said: 0, seldom: Seldom::new() }
    }

    /// Looks whether datagrams were dropped, if that is due.
    pub(super) fn look(&mut self, now: Time) {
        let Some(room) = self.room.as_ref().filter(|_| now >= self.next) else { return };
        self.next = now.plus_us(LOOK_US);
        let (dropped, bytes) = (room.dropped().unwrap_or(0), room.bytes);
        if let Some(warning) = self.note(now, dropped, bytes) {
            log::warn!("{warning}");
        }
    }

    /// So many were dropped in all. Returns what the user is to be told.
    fn note(&mut self, now: Time, dropped: u64, bytes: usize) -> Option<String> {
        let more = dropped.saturating_sub(self.said);
        if more == 0 {
            return None;
        }
        self.seldom.happened(now.0)?;
        self.said = dropped;
        Some(format!(
            "replica {}: the kernel has dropped {more} datagrams, for which this socket's receive \
             buffer of {bytes} bytes had no room: sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES} \
             and start this replica again",
            self.id
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_datagrams_are_said_when_there_are_some_and_then_once_a_minute() {
        let mut socket = FullSocket::new(ReplicaId(1), None);
        let mut said =
            |second: u64, dropped| socket.note(Time(second * 1_000_000), dropped, 212_992);
        assert_eq!(said(1, 0), None, "a small buffer alone costs nothing");
        let line = said(9, 57).expect("some were dropped");
        for words in
            ["replica 1: ", "dropped 57 datagrams", "212992 bytes", "net.core.rmem_max=4194304"]
        {
            assert!(line.contains(words), "{line}");
        }
        assert_eq!(said(11, 57), None, "no more were dropped");
        assert_eq!(said(13, 60), None, "within a minute");
        assert!(said(70, 61).expect("a minute has passed").contains("dropped 4 datagrams"));
    }
}
