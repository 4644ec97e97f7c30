//! What a learner knows of the other replicas: how far each has applied its log, and when it
//! was last heard.
//!
//! A session must be born near the end of the log (rule E2), and a replica's own log may be
//! far behind. So a replica answers a hello by the furthest that it has heard of, and only
//! while it leads or hears a quorum: one that has just come back, or is cut off, leaves the
//! hello to others.

use crate::aside::{Aside, NotState};
use crate::message::Heartbeat;
use crate::paxos::Settings;
use crate::paxos::pace::Trip;
use crate::types::{ReplicaId, Slot, Time};

/// An acceptor has synced what it got once a sync that is under way is over, and then its own.
const SYNCS: u64 = 2;

/// How long a replica takes, as far as that is measured: 0 where it is not.
#[derive(Debug, Clone, Copy, Default)]
struct Takes {
    /// In this time its answers come.
    answer_us: u64,
    /// How long its heartbeats say that its syncs take.
    sync_us: u64,
}

impl NotState for Takes {}

/// What is known of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Peer {
    /// It has applied every slot below this.
    applied: Slot,
    /// When its last heartbeat came, in this life.
    heard_at: Aside<Option<Time>>,
    takes: Aside<Takes>,
}

/// What is known of all replicas, by id. What this replica knows of itself is not here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Peers {
    me: ReplicaId,
    /// With how many replicas the cluster began.
    n: usize,
    peers: Vec<Peer>,
    /// Whether this process has warmed up with the others.
    warmed_up: bool,
    /// When the proposer of this replica last said that it leads.
    led_at: Aside<Option<Time>>,
}

impl Peers {
    /// No heartbeat was heard. `warmed_up`: this replica has just begun, together with the others.
    pub(super) fn new(settings: &Settings, warmed_up: bool) -> Self {
        let unheard = Peer { applied: Slot::ZERO, heard_at: Aside(None), takes: Aside::default() };
        let (me, n, peers) = (settings.id, settings.n, vec![unheard; settings.rows()]);
        Peers { me, n, peers, warmed_up, led_at: Aside(None) }
    }

    /// A peer's heartbeat says how far the peer has applied the log, and how long its disk takes.
    pub(super) fn handle_heartbeat(&mut self, now: Time, from: ReplicaId, heartbeat: &Heartbeat) {
        let peer = &mut self.peers[from.index()];
        peer.applied = peer.applied.max(heartbeat.applied);
        peer.takes.sync_us = 1_000 * u64::from(heartbeat.sync_ms);
        *peer.heard_at = Some(now);
    }

    /// The proposer of this replica has measured what the answers of `peer` take.
    pub(super) fn note_trip(&mut self, peer: ReplicaId, trip: Trip) {
        self.peers[peer.index()].takes.answer_us = trip.longest_us();
    }

    /// In this time a request that is passed on to `leader` has come back as a proposal, and is
    /// saved here, on a disk like the leader's. 0 if nothing is measured.
    pub(super) fn proposal_us(&self, leader: ReplicaId) -> u64 {
        let Takes { answer_us, sync_us } = *self.peers[leader.index()].takes;
        answer_us + SYNCS * sync_us
    }

    /// The proposer of this replica says that it leads. It repeats this with every heartbeat.
    pub(super) fn handle_leading(&mut self, now: Time) {
        *self.led_at = Some(now);
    }

    /// With how many replicas the cluster began.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// How many replicas may be heard of.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// How far `peer` has applied its log, as far as its heartbeats say.
    pub(super) fn applied_by(&self, peer: ReplicaId) -> Slot {
        self.peers[peer.index()].applied
    }

    /// The furthest that any peer has applied its log.
    pub(super) fn furthest(&self) -> Slot {
        self.peers.iter().map(|peer| peer.applied).max().unwrap_or_default()
    }

    /// Whether a heartbeat of `peer` has come within the last `lately_us`.
    pub(super) fn is_heard(&self, peer: ReplicaId, now: Time, lately_us: u64) -> bool {
        self.peers[peer.index()].heard_at.is_some_and(|at| now.since_us(at) <= lately_us)
    }

    /// Whether this replica has led, or heard a quorum, within the last `lately_us`. Right
    /// after warm-up it has, although no heartbeat has come yet.
    pub(super) fn is_in_touch(&self, now: Time, lately_us: u64, quorum: usize) -> bool {
        let is_late = |at: Option<Time>| at.is_none_or(|at| now.since_us(at) > lately_us);
        let me = self.me.index();
        let heard = self.peers.iter().enumerate();
        let heard = heard.filter(|(index, peer)| *index == me || !is_late(*peer.heard_at));
        let begins = self.warmed_up && self.peers.iter().all(|peer| peer.heard_at.is_none());
        begins || !is_late(*self.led_at) || heard.count() >= quorum
    }
}
