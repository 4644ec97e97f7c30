//! Catching up: asking peers for decided slots that are missing here (rule L4).
//!
//! A learner that lags has several fetches on their way, for ranges of slots that do not
//! overlap, from all peers that have applied them; from the leader only if no other peer
//! answers, because the leader has other work. How much it asks of each peer at a time is
//! the peer's [`FetchWindow`]. It asks for the lowest missing slots first.
//!
//! A fetch ends when its slots have come. It also ends when the learner knows that no more
//! will come of it: at a page that passes over others, when pages of later fetches of the
//! same peer have come, at the bound of an answer, or when the answer is late. What is
//! missing then is asked for at once; on a path on which pages overtake each other, when it
//! is later than such pages were before. A peer that answers nothing is passed over for the
//! others.
//!
//! Where datagrams are lost, what is missing lies in many short stretches. So the bound on what is
//! on its way counts slots, and not fetches: else a learner would fetch so many gaps in a round
//! trip, and fall behind where more of them arise.
//!
//! What waits above a gap is bounded: fetches are for [`AHEAD_SLOTS`] slots above the applied
//! prefix, and what is here and what is on its way stay within [`EARLY_BYTES_MAX`](super::EARLY_BYTES_MAX) bytes.
//! (Paxos Made Live, §4.2.)

use super::Outbox;
use super::decisions::Decisions;
use super::fetch_window::{FETCH_BYTES, FetchWindow};
use super::lag::Lag;
use super::peers::Peers;
use crate::aside::{Aside, NotState};
use crate::message::{Message, ToLearner};
use crate::paxos::pace::Trip;
use crate::paxos::{ANSWER_BYTES_MAX, Bound, Limits, Settings};
use crate::types::{BootId, ReplicaId, Slot, SlotRange, Time, replicas};

/// How long a learner may be behind before it asks, unless accepts are known to come later.
/// Until then what it lacks is usually on its way.
const FETCH_DELAY_US: u64 = 10_000;

/// The same delay if the leader has said that the next slot is decided. Then the accept for
/// it was lost.
const FETCH_LOST_DELAY_US: u64 = 2_000;

/// How many slots a fetch is for. (An answer is bounded in bytes, too.)
pub const FETCH_SLOTS_MAX: u64 = 1_024;

/// The slots on their way are at most those of so many fetches.
pub const FETCHES_MAX: usize = 128;

/// They lie in so many stretches at most.
pub const STRETCHES_MAX: usize = 512;

/// How far above the applied prefix slots are fetched, if the window of slots that may be
/// kept is not smaller.
pub const AHEAD_SLOTS: u64 = 32_768;

/// This many pages may come before those of what the same peer was asked for earlier. Then
/// what has not come is lost, or was overtaken on its way.
const REORDERED_PAGES_MAX: u8 = 3;

/// A learner this many slots behind after an answer is far behind and asks again at once.
const FAR_BEHIND_SLOTS: u64 = FETCH_SLOTS_MAX / 4;

/// A request for decided slots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Fetch {
    peer: ReplicaId,
    /// The slots that have not come. What is below has come or is lost.
    slots: SlotRange,
    /// How many bytes of values the peer may still send: it bounds its answer alike.
    room: usize,
    /// How many pages have come of what the peer was asked for later.
    passed: u8,
    /// Whether a page of the answer has come.
    heard: bool,
    /// Whether the slots were lost before.
    again: bool,
    asked_at: Aside<Time>,
    /// Since when pages have come that ought to have come later.
    passed_at: Aside<Option<Time>>,
}

/// What the choice of a peer rests on, beside what it was asked for before.
#[derive(Clone, Copy)]
struct View<'a> {
    now: Time,
    /// The replica that leads, as far as this one has heard.
    leader: Option<ReplicaId>,
    decisions: &'a Decisions,
    peers: &'a Peers,
}

/// How many bytes a slot holds on average, as far as pages have shown.
#[derive(Debug, Clone, Copy, Default)]
struct SlotBytes(Option<u64>);

impl NotState for SlotBytes {}

impl SlotBytes {
    /// Pages have come with this many bytes for this many slots.
    fn observe(&mut self, bytes: usize, slots: usize) {
        if let Some(bytes) = (bytes as u64).checked_div(slots as u64) {
            self.0 = Some(self.0.map_or(bytes, |average| (7 * average + bytes) / 8).max(1));
        }
    }

    /// How many slots the next fetch is for, of so many at most.
    fn slots(self, most: u64) -> u64 {
        self.0.map_or(most, |bytes| (FETCH_BYTES / bytes).clamp(1, most))
    }

    /// How many bytes this many slots probably hold.
    fn of(self, slots: u64) -> u64 {
        slots * self.0.unwrap_or(ANSWER_BYTES_MAX as u64 / FETCH_SLOTS_MAX)
    }
}

/// What this learner asks of its peers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CatchUp {
    me: ReplicaId,
    limits: Aside<Limits>,
    /// A peer whose last heartbeat is older than this, in microseconds, is probably down.
    lately_us: u64,
    /// In the order in which they were asked for. Their slots do not overlap.
    fetches: Vec<Fetch>,
    /// Every slot below this is applied, or is to be fetched as soon as there is room.
    wanted: Slot,
    /// Slots below this were lost on the way, as far as they are still missing.
    lost: Slot,
    /// Whether the learner goes on without a delay as long as it is far behind.
    goes_on: bool,
    /// The replica from which on peers are looked for, in a circle.
    source: usize,
    windows: Vec<Aside<FetchWindow>>,
    slot_bytes: Aside<SlotBytes>,
    /// Since when slots are missing that others have decided.
    behind_since: Aside<Option<Time>>,
    lag: Aside<Lag>,
}

impl CatchUp {
    /// Nobody was asked.
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings { id: me, limits, election_max_us: lately_us, .. } = *settings;
        CatchUp {
            me,
            limits: Aside(limits),
            lately_us,
            fetches: Vec::new(),
            wanted: Slot::ZERO,
            lost: Slot::ZERO,
            goes_on: false,
            source: me.index() + 1,
            windows: vec![Aside(FetchWindow::default()); settings.rows()],
            slot_bytes: Aside(SlotBytes::default()),
            behind_since: Aside(None),
            lag: Aside(Lag::default()),
        }
    }

    /// Slots were applied here: this replica is not stuck.
    pub(super) fn progressed(&mut self, now: Time) {
        if let Some(since) = self.behind_since.take() {
            self.lag.note_progress(now, since);
        }
    }

    /// The own acceptor has accepted these slots.
    pub(super) fn note_accepted(&mut self, now: Time, slots: SlotRange) {
        self.lag.note_accepted(now, slots);
    }

    /// The proposer of this replica has measured what the answers of `peer` take.
    pub(super) fn note_trip(&mut self, peer: ReplicaId, trip: Trip) {
        self.windows[peer.index()].note_trip(trip);
    }

    /// A heartbeat of `peer` has come.
    pub(super) fn note_heartbeat(&mut self, peer: ReplicaId, boot: BootId, round: u64) {
        self.windows[peer.index()].note_heartbeat(boot, round);
    }

    /// Whether a peer was asked and has not fully answered.
    pub(super) fn is_fetching(&self) -> bool {
        !self.fetches.is_empty()
    }

    /// Tells which bounds what it has asked for has come up to.
    pub(super) fn reached(&self, decisions: &Decisions, tell: &mut dyn FnMut(Bound)) {
        let applied = decisions.applied();
        let ahead = applied.plus(self.limits.ahead_slots).min(decisions.window().end);
        for (bound, is_reached) in [
            (Bound::Fetches, self.room_slots() == 0),
            (Bound::AheadSlots, self.wanted >= ahead),
            (Bound::EarlyBytes, self.holds_enough(decisions)),
        ] {
            if is_reached {
                tell(bound);
            }
        }
    }

    /// When [`CatchUp::ask`] next has something to do, if slots are missing.
    pub(super) fn deadline(&self, decisions: &Decisions) -> Option<Time> {
        let late = self.fetches.iter().map(|fetch| self.late_at(fetch));
        let asks = self.behind_since.map(|since| since.plus_us(self.delay_us(decisions)));
        // A learner that goes on does so when a page comes, or is late.
        let asks = asks.filter(|_| !self.goes_on || self.fetches.is_empty());
        late.chain(asks).min()
    }

    fn late_at(&self, fetch: &Fetch) -> Time {
        let window = &self.windows[fetch.peer.index()];
        let late_at = window.late_at(*fetch.asked_at);
        fetch.passed_at.map_or(late_at, |passed_at| late_at.min(window.lost_at(passed_at)))
    }

    /// Asks peers for missing slots, once they have been missing for a while. `leader` is the
    /// replica that leads, as far as this one has heard.
    pub(super) fn ask(
        &mut self,
        now: Time,
        leader: Option<ReplicaId>,
        decisions: &Decisions,
        peers: &Peers,
        out: &mut Outbox,
    ) {
        let (applied, horizon) = (decisions.applied(), horizon(decisions, peers));
        self.wanted = self.wanted.max(applied);
        if horizon <= applied {
            self.fetches.clear();
            (self.wanted, self.goes_on) = (applied, false);
            *self.behind_since = None;
            return;
        }
        self.give_up(now, decisions);
        self.goes_on &= horizon.since(applied) > FAR_BEHIND_SLOTS;
        let since = *self.behind_since.get_or_insert(now);
        let waited = now >= since.plus_us(self.delay_us(decisions));
        if waited {
            *self.behind_since = Some(now);
        }
        let ahead = applied.plus(self.limits.ahead_slots).min(decisions.window().end);
        if waited || self.goes_on {
            self.wanted = horizon.min(ahead);
        }
        let end = self.wanted;
        if end <= applied {
            return;
        }
        let (mut at, mut is_full) = (applied, false);
        let mut under_way: Vec<u64> = replicas(peers.len()).map(|it| self.in_flight(it)).collect();
        while let room @ 1.. = self.room_slots()
            && let Some(gap) = self.next_gap(at, end, decisions)
        {
            if gap.start >= self.lost && self.holds_enough(decisions) {
                break;
            }
            let view = View { now, leader, decisions, peers };
            let Some(asked) = self.ask_for(gap, room, &mut under_way, view, out) else {
                is_full = true;
                break;
            };
            self.lag.asks(SlotRange::new(gap.start, asked), since);
            at = asked;
        }
        self.windows.iter_mut().for_each(|window| window.set_full(is_full));
    }

    /// How many more slots may be on their way.
    fn room_slots(&self) -> u64 {
        if self.fetches.len() >= STRETCHES_MAX {
            return 0;
        }
        let most = self.limits.fetches as u64 * self.limits.fetch_slots;
        most.saturating_sub(self.fetches.iter().map(|fetch| fetch.slots.len()).sum())
    }

    /// Whether what waits above a gap, and what is on its way, leave no room for more.
    fn holds_enough(&self, decisions: &Decisions) -> bool {
        let on_their_way: u64 = self.fetches.iter().map(|fetch| self.bytes_of(fetch)).sum();
        let held = decisions.fetched_bytes() as u64 + on_their_way;
        on_their_way > 0 && held + FETCH_BYTES > self.limits.early_bytes as u64
    }

    /// Asks for the beginning of `gap`, for `room` slots at most. So many bytes are `under_way`
    /// from each peer. Returns the end of what was asked for, or nothing if no window has room.
    fn ask_for(
        &mut self,
        gap: SlotRange,
        room: u64,
        under_way: &mut [u64],
        view: View<'_>,
        out: &mut Outbox,
    ) -> Option<Slot> {
        let again = gap.start < self.lost;
        let end = if again { gap.end.min(self.lost) } else { gap.end };
        let most = self.limits.fetch_slots.min(room);
        let end = end.min(gap.start.plus(self.slot_bytes.slots(most)));
        let slots = SlotRange::new(gap.start, end);
        let peer = self.choose(slots, again, under_way, view)?;
        let slots =
            SlotRange::new(gap.start, end.min(applied_by(peer, view.decisions, view.peers)));
        out.send(peer, Message::Learner(ToLearner::Fetch { slots }));
        let (bytes, passed, heard) = (ANSWER_BYTES_MAX, 0, false);
        let (asked_at, passed_at) = (Aside(view.now), Aside(None));
        let fetch = Fetch { peer, slots, room: bytes, passed, heard, again, asked_at, passed_at };
        under_way[peer.index()] += self.bytes_of(&fetch);
        self.fetches.push(fetch);
        Some(slots.end)
    }

    /// A peer has sent a page, which was taken in. `again`: everything in it was here before.
    pub(super) fn heard(&mut self, now: Time, from: ReplicaId, again: bool) {
        let window = &mut self.windows[from.index()];
        window.heard(now);
        if again {
            window.came_again(now);
        }
    }

    /// A page of `from` for `slots` has come, with `new_bytes` bytes of values that were not
    /// here before.
    pub(super) fn take_page(
        &mut self,
        now: Time,
        from: ReplicaId,
        slots: SlotRange,
        new_bytes: usize,
    ) {
        let is_answer =
            |fetch: &Fetch| fetch.peer == from && !fetch.slots.intersect(slots).is_empty();
        let Some(index) = self.fetches.iter().position(is_answer) else { return };
        let is_full = self.fetches.len() >= STRETCHES_MAX;
        let (fetch, window) = (&mut self.fetches[index], &mut self.windows[from.index()]);
        if new_bytes > 0 {
            let asked_at = *fetch.asked_at;
            if let Some(passed_at) = *fetch.passed_at {
                window.was_overtaken(now, passed_at);
            } else if fetch.again && window.is_too_soon(now, asked_at) {
                // That is the page that was taken for lost.
                window.was_overtaken(now, asked_at);
            } else if !std::mem::replace(&mut fetch.heard, true) {
                window.answered(now, asked_at, slots, fetch.again);
            }
            window.arrived(new_bytes as u64);
            self.slot_bytes.observe(new_bytes, slots.len() as usize);
            self.goes_on = true;
        }
        let skipped = SlotRange::new(fetch.slots.start, slots.start.min(fetch.slots.end));
        let passed_at = Aside(fetch.passed_at.or(Some(now)));
        let skipped = Fetch { slots: skipped, passed_at, ..fetch.clone() };
        fetch.slots = SlotRange::new(slots.end.max(fetch.slots.start), fetch.slots.end);
        fetch.room = fetch.room.saturating_sub(new_bytes);
        // A peer answers in order, so soon after this nothing comes of what it was asked for
        // before.
        for earlier in self.fetches[..index].iter_mut().filter(|fetch| fetch.peer == from) {
            earlier.passed = earlier.passed.saturating_add(1);
            if earlier.passed >= REORDERED_PAGES_MAX {
                earlier.passed_at.get_or_insert(now);
            }
        }
        if !skipped.slots.is_empty() {
            match is_full {
                true => {
                    self.lost = self.lost.max(skipped.slots.end);
                    window.gives_up(skipped.slots, Slot::ZERO);
                }
                false => self.fetches.insert(index, skipped),
            }
        }
        self.fetches.retain(|fetch| !fetch.slots.is_empty() && fetch.room > 0);
    }

    /// How long this learner may be behind before it asks.
    fn delay_us(&self, decisions: &Decisions) -> u64 {
        let is_marked = decisions.mark().slots.end > decisions.applied();
        let least_us = if is_marked { FETCH_LOST_DELAY_US } else { FETCH_DELAY_US };
        least_us.max(self.lag.wait_us())
    }

    /// Ends the fetches of which nothing is missing any more, and those whose answers are
    /// late.
    fn give_up(&mut self, now: Time, decisions: &Decisions) {
        for mut fetch in std::mem::take(&mut self.fetches) {
            fetch.slots =
                SlotRange::new(decisions.applied().max(fetch.slots.start), fetch.slots.end);
            let missing = decisions.next_gap(fetch.slots.start, fetch.slots.end);
            if missing.is_none() {
                continue;
            }
            if now < self.late_at(&fetch) {
                self.fetches.push(fetch);
                continue;
            }
            let is_passed = fetch.passed_at.is_some();
            self.lost = self.lost.max(fetch.slots.end);
            let window = &mut self.windows[fetch.peer.index()];
            window.gives_up(fetch.slots, decisions.applied());
            if is_passed {
                window.lost(now, *fetch.asked_at);
            } else if fetch.heard || window.heard_since(*fetch.asked_at) {
                window.is_late(now, *fetch.asked_at);
            } else {
                window.fell_silent(now, *fetch.asked_at);
                self.source = fetch.peer.index() + 1;
            }
        }
    }

    /// The first slots from `at` on and below `end` that are missing and not on their way.
    fn next_gap(&self, mut at: Slot, end: Slot, decisions: &Decisions) -> Option<SlotRange> {
        loop {
            let gap = decisions.next_gap(at, end)?;
            let before = |fetch: &&Fetch| fetch.slots.end > gap.start;
            let next = self.fetches.iter().filter(before).min_by_key(|fetch| fetch.slots.start);
            match next {
                Some(fetch) if fetch.slots.start <= gap.start => at = fetch.slots.end,
                Some(fetch) => {
                    return Some(SlotRange::new(gap.start, gap.end.min(fetch.slots.start)));
                }
                None => return Some(gap),
            }
        }
    }

    /// The peer to ask for `slots`: one that answers before one that is silent, and another
    /// before the leader. Of silent ones, one that sends heartbeats goes before one that
    /// is probably down, because nobody else is asked while its answer is waited for. Of several it
    /// is the one with the least on its way, if its window has room. Slots that were lost hold up all
    /// above them, so they may go beyond the window: up to twice of it.
    fn choose(
        &self,
        slots: SlotRange,
        again: bool,
        under_way: &[u64],
        view: View<'_>,
    ) -> Option<ReplicaId> {
        let View { now, leader, decisions, peers } = view;
        let n = peers.len();
        let has = |peer: &ReplicaId| {
            *peer != self.me && applied_by(*peer, decisions, peers) > slots.start
        };
        let class = |peer: ReplicaId| match self.windows[peer.index()].is_silent() {
            false => 1 + u8::from(Some(peer) == leader),
            true => 3 + u8::from(!peers.is_heard(peer, now, self.lately_us)),
        };
        let best = replicas(n).filter(has).map(class).min()?;
        let share = if again { 2 } else { 1 };
        let bytes = self.slot_bytes.of(slots.len()) / share;
        let has_room = |peer: &ReplicaId| {
            let in_flight = under_way[peer.index()].div_ceil(share);
            self.windows[peer.index()].has_room(in_flight, bytes)
        };
        let distance = |peer: ReplicaId| (peer.index() + n - self.source % n) % n;
        // Where datagrams are lost, one answer that did not come says little of a peer that sends
        // heartbeats. It gets what the others have no room for.
        let may = |peer: &ReplicaId| class(*peer) == best || class(*peer) == 3;
        let ready = replicas(n).filter(has).filter(may).filter(has_room);
        ready.min_by_key(|peer| (class(*peer), under_way[peer.index()], distance(*peer)))
    }

    /// How many bytes are probably on their way from `peer`.
    fn in_flight(&self, peer: ReplicaId) -> u64 {
        let asked = self.fetches.iter().filter(|fetch| fetch.peer == peer);
        asked.map(|fetch| self.bytes_of(fetch)).sum()
    }

    fn bytes_of(&self, fetch: &Fetch) -> u64 {
        self.slot_bytes.of(fetch.slots.len()).min(fetch.room as u64)
    }
}

/// The end of the slots that any replica is known to have decided.
pub(super) fn horizon(decisions: &Decisions, peers: &Peers) -> Slot {
    peers.furthest().max(decisions.marked())
}

/// How far `peer` has applied its log, as far as this replica knows.
fn applied_by(peer: ReplicaId, decisions: &Decisions, peers: &Peers) -> Slot {
    let (applied, mark) = (peers.applied_by(peer), decisions.mark());
    // A leader has applied what it calls decided, or soon will have.
    let leads = mark.ballot.owner(peers.n()) == peer;
    let is_covered = leads && mark.slots.start <= decisions.applied();
    if is_covered { applied.max(mark.slots.end) } else { applied }
}
