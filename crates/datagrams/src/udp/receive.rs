//! The loop's receiving: a burst from the socket, and in turn from several while it is flooded.
//!
//! As long as nobody floods the socket it is the only one, and a burst is what it has, up to
//! [`BURST_DATAGRAMS`]. During a flood ([`crate::flood`]) there are lanes ([`super::lanes`]). Then
//! each burst reads the peers' lanes first, the clients' next, and the socket last. Clients and
//! strangers have allowances. What goes beyond them is held back: the loop does not listen to that
//! socket until the next turn, so that a flood does not even wake it.
//!
//! **Guarantees.** Peers are read first, and as much of them as ever. Without a flood nothing is
//! limited.

use super::lanes::{Lanes, Lately};
use super::{BURST_DATAGRAMS, Deliver, LANES, Network, PART_DATAGRAMS, canonical, now, pass_over};
use crate::codec::{Body, Codec, Decode, Endpoint, Opened};
use crate::counters::NetEvent;
use crate::flood::{Allowance, Change, Flood, STRANGERS_MAX};
use crate::offload::{Pieces, Received};
use mio::Events;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The result of a burst of receiving.
#[derive(Debug)]
pub(super) struct Burst {
    /// How many datagrams came, and how many of those were of no use.
    pub(super) taken: usize,
    pub(super) useless: usize,
    /// Whether there is nothing more to be read at present, as far as that is known.
    pub(super) drained: bool,
    /// When the last of them came, or none did.
    pub(super) at: u64,
}

/// What the loop knows of those that send to it.
#[derive(Debug, Default)]
pub(super) struct Intake {
    flood: Flood,
    /// The clients that were believed lately.
    lately: Lately,
    /// While the socket is flooded.
    pub(super) lanes: Option<Lanes>,
    /// What those may have in a turn that have no lane.
    strangers: Allowance,
    /// Whether the socket is not read until the next turn.
    pub(super) is_held: bool,
    /// When something that is held back may be read.
    pub(super) held_until: Option<u64>,
}

impl Intake {
    /// Epoll has told this.
    pub(super) fn hear(&mut self, events: &Events) {
        if let Some(lanes) = &mut self.lanes {
            events.iter().for_each(|event| lanes.has_come(event.token()));
        }
    }

    fn holds_back(&mut self, now: u64, until: u64) {
        self.flood.holds_back(now);
        self.held_until = Some(self.held_until.map_or(until, |other| other.min(until)));
    }
}

/// Where a datagram came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Socket,
    Lane,
}

/// What has come in a burst so far.
#[derive(Debug, Default)]
struct Came {
    taken: usize,
    useless: usize,
    delivered: u64,
    /// Whether something may be there that could be read at once.
    more: bool,
    /// When the last came.
    at: Option<u64>,
}

impl<C: Codec> Network<C> {
    pub(super) fn receive(
        &mut self,
        pieces: &mut Pieces,
        events: &mut Events,
        deliver: &mut impl Deliver<C::Incoming>,
    ) -> io::Result<Burst> {
        let mut came = Came::default();
        if let Some(lanes) = self.intake.lanes.take() {
            self.intake.lanes = Some(self.read_lanes(lanes, pieces, events, &mut came, deliver)?);
        }
        self.read_socket(pieces, &mut came, deliver)?;
        let Came { taken, useless, delivered, more, at } = came;
        if taken > 0 {
            self.shared.counters.add(NetEvent::Received, taken as u64);
        }
        if delivered > 0 {
            self.shared.counters.add(NetEvent::Delivered, delivered);
            deliver.end_of_burst();
        }
        Ok(Burst { taken, useless, drained: !more, at: at.unwrap_or_else(|| now(self.began)) })
    }

    /// Reads the socket: all that it has, or what strangers may have of it in this turn.
    fn read_socket(
        &mut self,
        pieces: &mut Pieces,
        came: &mut Came,
        deliver: &mut impl Deliver<C::Incoming>,
    ) -> io::Result<()> {
        let mut left = usize::MAX;
        if self.intake.flood.is_on() {
            left = self.intake.strangers.left(now(self.began), STRANGERS_MAX) as usize;
        }
        let before = came.taken;
        let (mut useless, mut is_empty) = (0, false);
        while came.taken - before < BURST_DATAGRAMS && !is_empty && useless < left {
            let received = self.shared.offload.receive(&self.shared.socket, pieces);
            let Some(Received { pieces: count, drained }) = self.unless_failed(received)? else {
                continue;
            };
            is_empty = drained;
            if count > 0 {
                let at = now(self.began);
                useless += self.open_pieces(
                    at,
                    (pieces, count),
                    left - useless,
                    By::Socket,
                    came,
                    deliver,
                );
            }
        }
        came.useless += useless;
        // Of those only that have a lane less is read for it.
        deliver.take_unheard();
        let at = came.at.unwrap_or_else(|| now(self.began));
        if self.intake.flood.is_on() {
            self.intake.strangers.spend(useless as u32);
            let is_held = !is_empty && useless >= left;
            if is_held {
                let until = self.intake.strangers.renewed_at();
                self.intake.holds_back(at, until);
            }
            came.more |= !is_empty && !is_held;
            self.hold(is_held)?;
        } else {
            came.more |= !is_empty;
        }
        match self.intake.flood.read(at, useless as u32, is_empty) {
            None => {}
            Some(Change::Begins) => self.open_lanes(at),
            Some(Change::Ends) => {
                log::debug!("the flood is over");
                self.intake.lanes = None;
                self.intake.held_until = None;
                self.hold(false)?;
            }
        }
        Ok(())
    }

    /// Reads the lanes that have something. Returns them.
    fn read_lanes(
        &mut self,
        mut lanes: Lanes,
        pieces: &mut Pieces,
        events: &mut Events,
        came: &mut Came,
        deliver: &mut impl Deliver<C::Incoming>,
    ) -> io::Result<Lanes> {
        match self.poll.poll(events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => events.iter().for_each(|event| lanes.has_come(event.token())),
        }
        self.intake.held_until = None;
        let at = now(self.began);
        for lane in lanes.all.iter_mut().filter(|lane| lane.is_ready) {
            let mut left = BURST_DATAGRAMS;
            if !lane.is_peer {
                left = lane.left(at) as usize;
            }
            while lane.is_ready && left > 0 {
                let received = lane.offload.receive(&lane.socket, pieces);
                let Some(Received { pieces: count, drained }) = self.unless_failed(received)?
                else {
                    continue;
                };
                lane.is_ready = !drained;
                if count > 0 {
                    let before = came.taken;
                    let (at, all) = (now(self.began), usize::MAX);
                    lane.heard_at = at;
                    came.useless +=
                        self.open_pieces(at, (pieces, count), all, By::Lane, came, deliver);
                    let taken = came.taken - before;
                    lane.allowance.spend(taken as u32);
                    if deliver.take_unheard() > 0 {
                        lane.unheard_at = Some(at);
                    }
                    left = left.saturating_sub(taken);
                }
            }
            let is_held = lane.is_ready && !lane.is_peer;
            if is_held {
                self.intake.holds_back(at, lane.allowance.renewed_at());
            }
            came.more |= lane.is_ready && !is_held;
            lane.listen(self.poll.registry(), !is_held)?;
        }
        Ok(lanes)
    }

    /// What a call brought; nothing and an empty socket if it would have blocked; none if it
    /// failed in a way that passes.
    fn unless_failed(&self, received: io::Result<Received>) -> io::Result<Option<Received>> {
        match received {
            Ok(received) => Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Some(Received { pieces: 0, drained: true }))
            }
            Err(error) => pass_over(error, &self.shared.counters).map(|()| None),
        }
    }

    /// Opens the datagrams that a call brought, and returns how many were of no use. After `most`
    /// of these the others of their piece are lost.
    fn open_pieces(
        &mut self,
        at: u64,
        (pieces, count): (&Pieces, usize),
        most: usize,
        by: By,
        came: &mut Came,
        deliver: &mut impl Deliver<C::Incoming>,
    ) -> usize {
        came.at = Some(at);
        let mut useless = 0;
        for piece in 0..count {
            let (from, segments) = pieces.get(piece);
            let from = canonical(from);
            came.taken += segments.count();
            for index in 0..segments.count() {
                if useless >= most {
                    useless += segments.count() - index;
                    self.shared.counters.add(NetEvent::Unread, (segments.count() - index) as u64);
                    break;
                }
                if !self.open(at, from, segments.get(index), by) {
                    useless += 1;
                }
                came.delivered += self.messages.len() as u64;
                self.messages.drain(..).for_each(|incoming| deliver.deliver(incoming));
                if (index + 1).is_multiple_of(PART_DATAGRAMS) {
                    deliver.end_of_burst();
                }
            }
        }
        useless
    }

    /// Opens one datagram. Its messages are in `self.messages` afterwards. Returns whether it was
    /// of use. A handshake is of none: anybody may repeat one.
    fn open(&mut self, now: u64, from: SocketAddr, datagram: &[u8], by: By) -> bool {
        let opened = match self.decoder.open(from, datagram, &mut self.messages) {
            Err(why) => {
                log::trace!("datagram from {from} dropped: {}", why.name());
                if let Some((to, kind)) = self.decoder.refusal(from, datagram, why) {
                    self.sender.refusal(to, kind);
                }
                return false;
            }
            // It says nothing of the path.
            Ok(Opened { from: to, body: Body::Handshake(datagrams), .. }) => {
                self.sender.handshake(to, from, &datagrams);
                return false;
            }
            Ok(opened) => opened,
        };
        let peer = opened.from.peer();
        if let Some(peer) = peer {
            self.shared.peers.note_heard(peer, from);
            if let Some(has) = opened.has {
                self.sender.peer_has(peer, has);
            }
        }
        if by == By::Socket {
            if peer.is_none() {
                self.intake.lately.note(from);
            }
            self.open_lane(now, from, peer.is_some());
        }
        let (paths, bytes) = (&self.shared.paths, datagram.len());
        self.paths.received(now, paths, &opened, bytes);
        self.take(now, opened);
        true
    }

    /// A flood begins: all peers get lanes, and the clients that were heard lately.
    fn open_lanes(&mut self, now: u64) {
        log::debug!("the socket is flooded: known senders get sockets of their own");
        let with_offload = self.shared.offload.receives_many();
        let local = self.shared.local;
        self.intake.lanes = Some(Lanes::new(local, LANES, with_offload));
        let peers = self.shared.peers.with(<[SocketAddr]>::to_vec);
        peers.into_iter().filter(|peer| *peer != local).for_each(|peer| {
            self.open_lane(now, peer, true);
        });
        let clients: Vec<SocketAddr> = self.intake.lately.all().collect();
        clients.into_iter().for_each(|client| self.open_lane(now, client, false));
    }

    /// Opens a lane for a sender that is known, if there is a flood and it has none.
    fn open_lane(&mut self, now: u64, from: SocketAddr, is_peer: bool) {
        if let Some(lanes) = &mut self.intake.lanes {
            lanes.open(now, &self.shared.socket, self.poll.registry(), from, is_peer);
        }
    }

    /// Holds the socket back, or reads it again.
    fn hold(&mut self, is_held: bool) -> io::Result<()> {
        if self.intake.is_held != is_held {
            self.intake.is_held = is_held;
            self.listen(!self.sender.backlog.is_empty())?;
        }
        Ok(())
    }
}
