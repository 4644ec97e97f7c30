//! Catching up: asking peers for decided slots that are missing here.
//!
//! One peer at a time, for a bounded stretch, and the next if that one falls silent.

use super::*;

impl Learner {
    /// The highest slot that anyone is known to have decided, exclusive.
    pub(super) fn horizon(&self) -> Slot {
        let marked = if self.mark.upto > self.mark.from { self.mark.upto } else { Slot::ZERO };
        let peers = self.peers_applied.iter().copied().max().unwrap_or_default();
        peers.max(marked)
    }

    /// Asks a peer for what is missing, once it has been missing for a while.
    pub(super) fn catch_up(&mut self, now: Time, out: &mut Outbox<Record>) {
        if self.horizon() <= self.applied {
            self.behind_since = None;
            self.fetching = None;
            return;
        }
        if self.behind_since.is_none() && self.fetching.is_none() {
            self.source = self.source_beside_the_leader();
        }
        let since = *self.behind_since.get_or_insert(now);
        let from = match &self.fetching {
            Some(fetching) if now < fetching.deadline => return,
            // It fell silent: the next one.
            Some(_) => self.source + 1,
            None if now < since.plus_us(FETCH_DELAY_US) => return,
            None => self.source,
        };
        self.fetching = None;
        self.behind_since = Some(now);
        let Some(peer) = self.peer_ahead(from) else { return };
        self.source = peer.index();
        let first = self.applied;
        let upto = self.peers_applied[peer.index()].min(first.plus(FETCH_SLOTS_MAX));
        out.send(peer, Message::Learner(ToLearner::Fetch { first, upto }));
        let deadline = now.plus_us(FETCH_RETRY_US);
        self.fetching = Some(Fetching { upto, room: ANSWER_BYTES_MAX, deadline });
    }

    /// Whom to ask first: the leader has other things to do, if somebody else can help.
    fn source_beside_the_leader(&self) -> usize {
        let leader = self.leader.map(|ballot| ballot.owner(self.settings.n).index());
        let first = self.settings.id.index() + 1;
        match self.peer_ahead(first) {
            Some(peer) if Some(peer.index()) == leader => {
                self.peer_ahead(peer.index() + 1).map_or(first, ReplicaId::index)
            }
            Some(peer) => peer.index(),
            None => first,
        }
    }

    /// The first peer, counted round from index `from`, that has applied more than
    /// this replica.
    pub(super) fn peer_ahead(&self, from: usize) -> Option<ReplicaId> {
        let n = self.settings.n;
        (0..n)
            .map(|step| (from + step) % n)
            .find(|peer| {
                *peer != self.settings.id.index() && self.peers_applied[*peer] > self.applied
            })
            .map(|peer| ReplicaId(peer as u8))
    }

    /// Whether something waits that a serving leader would have got applied.
    pub(super) fn is_pending(&self) -> bool {
        let leader = self.leader.unwrap_or_default();
        let open = |first: Slot, ballot: Ballot| {
            ballot >= leader || self.decided_end(first, ballot) > first
        };
        !self.paged.is_empty()
            || self.known.heads().any(|(first, ballot)| open(first, ballot))
            || self.waiting.values().any(|waiting| self.is_servable(&waiting.request))
    }
}
