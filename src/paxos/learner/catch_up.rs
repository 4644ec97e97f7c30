//! Catching up: asking peers for decided slots that are missing here (rule L4).
//!
//! A learner that lags asks one peer at a time, for the gaps within a bounded number of
//! slots. If the peer falls silent, the learner asks the next one. If pages of an answer
//! are lost, it asks for them at once. (Paxos Made Live, §4.2.)

use super::Outbox;
use super::decisions::Decisions;
use super::peers::Peers;
use crate::aside::Aside;
use crate::message::{Message, ToLearner};
use crate::paxos::ANSWER_BYTES_MAX;
use crate::types::{ReplicaId, Slot, SlotRange, Time};
use round_trip::RoundTrip;

/// How long a learner may be behind before it asks. Until then what it lacks is usually on
/// its way.
const FETCH_DELAY_US: u64 = 10_000;

/// The same delay if the leader has said that the next slot is decided. Then the accept for
/// it was lost.
const FETCH_LOST_DELAY_US: u64 = 2_000;

/// How long to wait for a peer's answer before any has come. Afterwards the wait follows
/// the time that answers take.
const FETCH_RETRY_US: u64 = 60_000;

/// The shortest wait for a peer's answer.
const FETCH_RETRY_MIN_US: u64 = 1_000;

/// How many slots a learner asks for at once. (An answer is bounded in bytes, too.)
pub const FETCH_SLOTS_MAX: u64 = 1_024;

/// A learner this many slots behind after an answer is far behind and asks again at once.
const FAR_BEHIND_SLOTS: u64 = FETCH_SLOTS_MAX / 4;

/// A request for decided slots that a peer has not fully answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Fetch {
    /// The end of the pages that have come. Pages come in order, so a gap below was lost.
    next: Slot,
    /// The end of the slots that were asked for.
    end: Slot,
    /// How many bytes of values the peer may still send, by the bound on its answers.
    room: usize,
    /// Whether a page of the answer has come.
    heard: bool,
    asked_at: Aside<Time>,
    /// When the learner gives up on the answer, or on the rest of it.
    deadline: Aside<Time>,
}

/// What this learner asks of its peers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CatchUp {
    me: ReplicaId,
    /// The peer that was asked last.
    source: usize,
    fetch: Option<Fetch>,
    /// Since when slots are missing that others have decided.
    behind_since: Aside<Option<Time>>,
    /// From asking to the first page of the answer.
    round_trip: Aside<RoundTrip>,
}

impl CatchUp {
    /// Replica `me` has asked nobody.
    pub(super) fn new(me: ReplicaId) -> Self {
        let round_trip = RoundTrip::new(FETCH_RETRY_US, FETCH_RETRY_MIN_US, FETCH_RETRY_US);
        CatchUp {
            me,
            source: me.index() + 1,
            fetch: None,
            behind_since: Aside(None),
            round_trip: Aside(round_trip),
        }
    }

    /// Slots were applied here: this replica is not stuck.
    pub(super) fn progressed(&mut self) {
        *self.behind_since = None;
    }

    /// Whether a peer was asked and has not fully answered.
    pub(super) fn is_fetching(&self) -> bool {
        self.fetch.is_some()
    }

    /// When [`CatchUp::ask`] next has something to do, if slots are missing.
    pub(super) fn deadline(&self, decisions: &Decisions) -> Option<Time> {
        match (&self.fetch, *self.behind_since) {
            (Some(fetch), _) => Some(*fetch.deadline),
            (None, Some(since)) => Some(since.plus_us(delay_us(decisions))),
            (None, None) => None,
        }
    }

    /// Asks a peer for missing slots, once they have been missing for a while. `leader` is
    /// the replica that leads, as far as this one has heard.
    pub(super) fn ask(
        &mut self,
        now: Time,
        leader: Option<ReplicaId>,
        decisions: &Decisions,
        peers: &Peers,
        out: &mut Outbox,
    ) {
        if horizon(decisions, peers) <= decisions.applied() {
            *self.behind_since = None;
            self.fetch = None;
            return;
        }
        if self.behind_since.is_none() && self.fetch.is_none() {
            self.source = self.first_source(leader, decisions, peers);
        }
        let since = *self.behind_since.get_or_insert(now);
        let from = match &self.fetch {
            Some(fetch) if now < *fetch.deadline => return,
            // A part of its answer was lost: this peer serves, so it is asked again.
            Some(fetch) if fetch.heard => self.source,
            // The peer fell silent.
            Some(_) => {
                self.round_trip.missed(FETCH_RETRY_US);
                self.source + 1
            }
            None if now < since.plus_us(delay_us(decisions)) => return,
            None => self.source,
        };
        self.fetch = None;
        *self.behind_since = Some(now);
        let Some(peer) = self.peer_ahead(from, decisions, peers) else { return };
        self.source = peer.index();
        let end = applied_by(peer, decisions, peers).min(decisions.applied().plus(FETCH_SLOTS_MAX));
        let gaps = decisions.gaps(end);
        for slots in &gaps {
            out.send(peer, Message::Learner(ToLearner::Fetch { slots: *slots }));
        }
        let deadline = now.plus_us(self.round_trip.wait_us());
        self.fetch = Some(Fetch {
            next: decisions.applied(),
            end: gaps.last().map_or(end, |gap| gap.end),
            // The peer bounds the answer to each gap by itself.
            room: gaps.len() * ANSWER_BYTES_MAX,
            heard: false,
            asked_at: Aside(now),
            deadline: Aside(deadline),
        });
    }

    /// A page for `slots` has come, with `new_bytes` bytes of values that were not here
    /// before. Pages come in order as long as none is lost, so this asks at once for the
    /// pages that this one has skipped.
    pub(super) fn take_page(
        &mut self,
        now: Time,
        slots: SlotRange,
        new_bytes: usize,
        decisions: &Decisions,
        out: &mut Outbox,
    ) {
        let Some(fetch) = &mut self.fetch else { return };
        if new_bytes > 0 && !std::mem::replace(&mut fetch.heard, true) {
            self.round_trip.answered(now.since_us(*fetch.asked_at));
        }
        fetch.room = fetch.room.saturating_sub(new_bytes);
        *fetch.deadline = now.plus_us(self.round_trip.wait_us());
        let next = fetch.next;
        fetch.next = next.max(slots.end).min(fetch.end);
        let is_in_answer = fetch.room > 0 && slots.end <= fetch.end;
        if next < slots.start && is_in_answer {
            let skipped = SlotRange::new(next, slots.start);
            let gaps = decisions.gaps(slots.start).into_iter();
            for slots in gaps.map(|gap| gap.intersect(skipped)).filter(|gap| !gap.is_empty()) {
                let peer = ReplicaId(self.source as u8);
                out.send(peer, Message::Learner(ToLearner::Fetch { slots }));
            }
        }
    }

    /// Ends the fetch if its answer may be complete. A learner that is still far behind
    /// asks again at once.
    pub(super) fn end_answer(&mut self, decisions: &Decisions, peers: &Peers) {
        let is_complete = |fetch: &Fetch| decisions.applied() >= fetch.end || fetch.room == 0;
        if self.fetch.as_ref().is_some_and(is_complete) {
            self.fetch = None;
            let is_far = horizon(decisions, peers).since(decisions.applied()) > FAR_BEHIND_SLOTS;
            *self.behind_since = is_far.then_some(Time(0));
        }
    }

    /// The peer to ask first: one that does not lead, if it can help. The leader has other
    /// work.
    fn first_source(
        &self,
        leader: Option<ReplicaId>,
        decisions: &Decisions,
        peers: &Peers,
    ) -> usize {
        let first = self.me.index() + 1;
        let mut source = self.peer_ahead(first, decisions, peers);
        if source == leader {
            let next = |leader: ReplicaId| self.peer_ahead(leader.index() + 1, decisions, peers);
            source = source.and_then(next);
        }
        source.map_or(first, ReplicaId::index)
    }

    /// The first peer, counted in a circle from index `from`, that has applied more than
    /// this replica.
    fn peer_ahead(&self, from: usize, decisions: &Decisions, peers: &Peers) -> Option<ReplicaId> {
        let n = peers.len();
        let circle = (0..n).map(|step| ReplicaId(((from + step) % n) as u8));
        circle
            .filter(|peer| *peer != self.me)
            .find(|peer| applied_by(*peer, decisions, peers) > decisions.applied())
    }
}

/// The end of the slots that any replica is known to have decided.
fn horizon(decisions: &Decisions, peers: &Peers) -> Slot {
    peers.furthest().max(decisions.marked())
}

/// How far `peer` has applied its log, as far as this replica knows.
fn applied_by(peer: ReplicaId, decisions: &Decisions, peers: &Peers) -> Slot {
    let (applied, mark) = (peers.applied_by(peer), decisions.mark());
    // A leader has applied what it calls decided, or soon will have.
    let leads = mark.ballot.owner(peers.len()) == peer;
    let is_covered = leads && mark.slots.start <= decisions.applied();
    if is_covered { applied.max(mark.slots.end) } else { applied }
}

/// How long a learner may be behind before it asks.
fn delay_us(decisions: &Decisions) -> u64 {
    let is_marked = decisions.mark().slots.end > decisions.applied();
    if is_marked { FETCH_LOST_DELAY_US } else { FETCH_DELAY_US }
}
