//! Catching up: asking peers for decided slots that are missing here.
//!
//! One peer at a time, for the gaps within a bounded stretch, and the next peer if that
//! one falls silent. What an answer leaves out is asked for again at once.

use super::*;

impl Learner {
    /// The highest slot that anyone is known to have decided, exclusive.
    pub(super) fn horizon(&self) -> Slot {
        let marked = if self.mark.slots.is_empty() { Slot::ZERO } else { self.mark.slots.end };
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
            // A part of its answer is lost.
            Some(fetching) if fetching.heard => self.source,
            // It fell silent: the next one.
            Some(_) => {
                self.fetch_trip.missed();
                self.source + 1
            }
            None if now < since.plus_us(self.fetch_delay_us()) => return,
            None => self.source,
        };
        self.fetching = None;
        self.behind_since = Some(now);
        let Some(peer) = self.peer_ahead(from) else { return };
        self.source = peer.index();
        let end = self.known_of(peer).min(self.applied.plus(FETCH_SLOTS_MAX));
        let gaps = self.gaps(end);
        for slots in &gaps {
            out.send(peer, Message::Learner(ToLearner::Fetch { slots: *slots }));
        }
        self.fetching = Some(Fetching {
            next: self.applied,
            upto: gaps.last().map_or(end, |gap| gap.end),
            room: gaps.len() * ANSWER_BYTES_MAX,
            asked_at: now,
            heard: false,
            deadline: now.plus_us(self.fetch_trip.wait_us()),
        });
    }

    /// Takes note of a part of the answer. The parts come in order, as long as none is
    /// lost; what is left out is asked for again at once.
    pub(super) fn note_answer(
        &mut self,
        now: Time,
        page: &Run,
        bytes: usize,
        out: &mut Outbox<Record>,
    ) {
        let Some(fetching) = &mut self.fetching else { return };
        if bytes > 0 && !std::mem::replace(&mut fetching.heard, true) {
            self.fetch_trip.answered(now.since_us(fetching.asked_at));
        }
        fetching.room = fetching.room.saturating_sub(bytes);
        fetching.deadline = now.plus_us(self.fetch_trip.wait_us());
        let (next, room) = (fetching.next, fetching.room);
        fetching.next = next.max(page.end()).min(fetching.upto);
        if next < page.first && room > 0 && page.end() <= fetching.upto {
            let peer = ReplicaId(self.source as u8);
            for gap in self.gaps(page.first).into_iter().filter(|gap| gap.end > next) {
                let slots = gap.intersect(SlotRange::onward(next));
                out.send(peer, Message::Learner(ToLearner::Fetch { slots }));
            }
        }
    }

    /// All that was asked for, or all that is answered at once, may be here. Far behind
    /// still: go on at once.
    pub(super) fn end_answer(&mut self) {
        let done = |fetching: &Fetching| self.applied >= fetching.upto || fetching.room == 0;
        if self.fetching.as_ref().is_some_and(done) {
            let far = self.horizon().since(self.applied) > FETCH_SLOTS_MAX / 4;
            self.fetching = None;
            self.behind_since = far.then_some(Time(0));
        }
    }

    /// How far `peer` is, as far as this replica knows.
    fn known_of(&self, peer: ReplicaId) -> Slot {
        let applied = self.peers_applied[peer.index()];
        // A leader that says what is decided is there itself, or nearly.
        let leads = self.mark.ballot.owner(self.settings.n) == peer;
        if leads && self.mark.slots.start <= self.applied {
            applied.max(self.mark.slots.end)
        } else {
            applied
        }
    }

    /// Where slots below `end` are missing: what is neither decided here nor at hand.
    fn gaps(&self, end: Slot) -> Vec<SlotRange> {
        let mut gaps: Vec<SlotRange> = Vec::new();
        let mut at = self.applied;
        while at < end && gaps.len() < GAPS_MAX {
            let next = self.at_hand_upto(at);
            if next > at {
                at = next;
                continue;
            }
            let ahead = |(first, ballot): (Slot, Ballot)| {
                (first > at && self.decided_end(first, ballot) > first).then_some(first)
            };
            let accepted = self.accepted.heads().find_map(ahead);
            let fetched = self.fetched.heads().map(|(first, _)| first).find(|first| *first > at);
            let upto = accepted.into_iter().chain(fetched).chain([end]).min().unwrap_or(end);
            gaps.push(SlotRange::new(at, upto));
            at = upto;
        }
        gaps
    }

    /// How far what begins at `slot` is decided here or at hand.
    fn at_hand_upto(&self, slot: Slot) -> Slot {
        if let Some(run) = self.fetched.at(slot) {
            return run.end();
        }
        let Some(run) = self.accepted.at(slot) else { return slot };
        self.decided_end(slot, run.ballot).min(run.end())
    }

    /// How long to be behind before asking.
    pub(super) fn fetch_delay_us(&self) -> u64 {
        if self.mark.slots.end > self.applied { FETCH_LOST_DELAY_US } else { FETCH_DELAY_US }
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
                *peer != self.settings.id.index()
                    && self.known_of(ReplicaId(*peer as u8)) > self.applied
            })
            .map(|peer| ReplicaId(peer as u8))
    }

    /// Whether something waits that a serving leader would have got applied.
    pub(super) fn is_pending(&self) -> bool {
        let leader = self.leader.unwrap_or_default();
        let open = |first: Slot, ballot: Ballot| {
            ballot >= leader || self.decided_end(first, ballot) > first
        };
        !self.fetched.is_empty()
            || self.accepted.heads().any(|(first, ballot)| open(first, ballot))
            || self.waiting.values().any(|waiting| self.is_next(&waiting.request))
    }
}
