//! How much a learner asks of one peer at a time.
//!
//! Decided slots are fetched beside the traffic of clients, which goes first. So the window
//! is small at first, grows by what arrives, and shrinks at the first sign that the path has
//! no room: an answer that is late because packets queue up, silence, or a lost page if the path
//! does not lose as much of whatever it carries (`path_loss`). It is the
//! rule of TCP (Jacobson, *Congestion Avoidance and Control*, SIGCOMM '88) with that of
//! LEDBAT (RFC 6817): who waits for nothing gives way before a queue is full.
//!
//! It says only when something is asked for, never what, so it is no state of the learner.

use super::path_loss::PathLoss;
use crate::aside::NotState;
use crate::paxos::ANSWER_BYTES_MAX;
use crate::paxos::pace::Trip;
use crate::types::{BootId, Slot, SlotRange, Time};
use round_trip::RoundTrip;

/// How long to wait for a peer's answer before any has come, if it is known that its answers to
/// heartbeats take less. Afterwards the wait follows what answers take.
const FETCH_RETRY_US: u64 = 60_000;

/// How long to wait for a peer's answer if nothing at all is known of the way to it (RFC 6298,
/// §2.1). The first echo of a heartbeat shortens it.
const FETCH_FIRST_US: u64 = 1_000_000;

/// The shortest wait for a peer's answer.
const FETCH_RETRY_MIN_US: u64 = 1_000;

/// The longest wait for a peer's answer.
const FETCH_RETRY_MAX_US: u64 = 4_000_000;

/// After losses a wait is at most so many times what answers are known to take, or so long; twice
/// the first wait, if answers to heartbeats are known alone, since pages may take longer. What is
/// asked for again costs little, and a single lost slot holds up all above it.
const LOSSES_MAX: u64 = 2;
const LOSSES_MAX_US: u64 = 250_000;

/// The window before any answer has come: a whole answer. Losses do not make it smaller,
/// because a path may lose much that has room for more; only a queue does.
const WINDOW_BYTES_FIRST: u64 = ANSWER_BYTES_MAX as u64;

/// The largest window. With it a round trip of 100 ms carries 10 MB a second.
pub(super) const WINDOW_BYTES_MAX: u64 = 1 << 20;

/// What a fetch asks for, once it is known how much a slot holds. An answer is one burst on
/// the way, and small bursts leave room between them.
pub(super) const FETCH_BYTES: u64 = 16 * 1024;

/// How much longer than the fastest an answer may take before it counts as waiting in a
/// queue: this, and an eighth of the fastest.
const QUEUE_US: u64 = 15_000;

/// How long a page that was passed over is waited for once pages are known to overtake each
/// other: at least this.
const OVERTAKEN_US: u64 = 1_000;

/// The window of one peer, and how long its answers take.
#[derive(Debug, Clone)]
pub(super) struct FetchWindow {
    /// How many bytes may be on their way from this peer.
    window: u64,
    /// Below this the window doubles with each round trip, and above it grows by a fetch.
    threshold: u64,
    round_trip: RoundTrip,
    /// The fastest answer since the peer was last silent.
    least_us: Option<u64>,
    /// What the peer's answers to heartbeats take, as far as the proposer has measured.
    trip: Option<Trip>,
    /// How much the path from the peer loses.
    path: PathLoss,
    /// How much later a page may come than one that has overtaken it.
    overtaken_us: u64,
    /// Slots for which the peer was asked and not waited for any longer. A page for them may be the
    /// late answer to that question.
    given_up: SlotRange,
    /// When a page last came twice.
    came_again_at: Time,
    /// When the peer last sent anything.
    heard_at: Option<Time>,
    /// Since when it has left questions unanswered, if it did so with the last one.
    silent_since: Option<Time>,
    /// Whether more would have been asked for if the window had been larger.
    full: bool,
    /// When the window last shrank. What was asked before says nothing new.
    shrank_at: Time,
}

impl NotState for FetchWindow {}

/// How long answers take, as long as none has been measured.
fn nothing_measured() -> RoundTrip {
    RoundTrip::new(FETCH_RETRY_US, FETCH_RETRY_MIN_US, FETCH_RETRY_MAX_US)
}

impl Default for FetchWindow {
    fn default() -> Self {
        FetchWindow {
            window: WINDOW_BYTES_FIRST,
            threshold: WINDOW_BYTES_MAX,
            round_trip: nothing_measured(),
            least_us: None,
            trip: None,
            path: PathLoss::default(),
            overtaken_us: 0,
            given_up: SlotRange::new(Slot::ZERO, Slot::ZERO),
            came_again_at: Time(0),
            heard_at: None,
            silent_since: None,
            full: false,
            shrank_at: Time(0),
        }
    }
}

impl FetchWindow {
    /// The proposer has measured what the peer's answers take.
    pub(super) fn note_trip(&mut self, trip: Trip) {
        self.trip = Some(trip);
    }

    /// A heartbeat of the peer has come.
    pub(super) fn note_heartbeat(&mut self, boot: BootId, round: u64) {
        self.path.heartbeat(boot, round);
    }

    /// Whether the peer left the last question unanswered.
    pub(super) fn is_silent(&self) -> bool {
        self.silent_since.is_some()
    }

    /// Whether the peer has sent anything since `at`.
    pub(super) fn heard_since(&self, at: Time) -> bool {
        self.heard_at.is_some_and(|heard_at| heard_at >= at)
    }

    /// Whether `bytes` more may be asked for while `in_flight` are on their way. A silent
    /// peer is asked for one thing at a time.
    pub(super) fn has_room(&self, in_flight: u64, bytes: u64) -> bool {
        in_flight == 0 || !self.is_silent() && in_flight + bytes <= self.window
    }

    /// When an answer counts as late that was asked for at `asked_at`. Answers queue up behind
    /// one another, so as long as something arrives the rest is waited for.
    pub(super) fn late_at(&self, asked_at: Time) -> Time {
        let from = self.heard_at.map_or(asked_at, |heard_at| heard_at.max(asked_at));
        from.plus_us(self.wait_us())
    }

    /// How long an answer is waited for.
    fn wait_us(&self) -> u64 {
        // If answers always take the same, the estimate leaves nothing for the next one.
        let answered_us = self.round_trip.smoothed_us().map(|us| us + us / 4);
        let trip_us = self.trip.map(|trip| trip.longest_us().min(FETCH_RETRY_MAX_US));
        let least_us = answered_us.max(trip_us).unwrap_or(FETCH_FIRST_US);
        self.round_trip.wait_us().max(least_us)
    }

    /// How much later a page may come than one that has overtaken it.
    fn overtaken_us(&self) -> u64 {
        self.overtaken_us.max(self.trip.map_or(0, Trip::varies_us))
    }

    /// When pages count as lost that were passed over at `passed_at`.
    pub(super) fn lost_at(&self, passed_at: Time) -> Time {
        passed_at.plus_us(self.overtaken_us().min(self.wait_us()))
    }

    /// A page has come that was passed over at `passed_at`: it was overtaken on its way.
    pub(super) fn was_overtaken(&mut self, now: Time, passed_at: Time) {
        // The next one may be a little later.
        self.overtaken_us = self.overtaken_us.max(2 * now.since_us(passed_at));
    }

    /// A page has come once more: probably it was taken for lost and was overtaken. Says so at
    /// most once in a round trip.
    pub(super) fn came_again(&mut self, now: Time) {
        let round_trip_us = self.round_trip.smoothed_us().unwrap_or(FETCH_RETRY_US);
        if now.since_us(self.came_again_at) >= round_trip_us {
            self.came_again_at = now;
            self.overtaken_us = (2 * self.overtaken_us).clamp(OVERTAKEN_US, FETCH_RETRY_MAX_US);
        }
    }

    /// Whether no answer comes so soon after `asked_at`.
    pub(super) fn is_too_soon(&self, now: Time, asked_at: Time) -> bool {
        self.least_us.is_some_and(|least_us| 2 * now.since_us(asked_at) < least_us)
    }

    /// The answer for these slots is not waited for any longer. Every slot below `applied` is here.
    pub(super) fn gives_up(&mut self, slots: SlotRange, applied: Slot) {
        let before = self.given_up;
        self.given_up = match before.end > applied {
            true => SlotRange::new(before.start.min(slots.start), before.end.max(slots.end)),
            false => slots,
        };
    }

    /// The beginning of an answer has come, for these slots; `again`: they were asked for before.
    /// It is told before [`FetchWindow::heard`].
    pub(super) fn answered(&mut self, now: Time, asked_at: Time, slots: SlotRange, again: bool) {
        let took_us = now.since_us(asked_at);
        if again {
            // That page had been lost.
            self.overtaken_us -= self.overtaken_us / 4;
        }
        // Of slots that this peer was asked for twice nobody knows which question was answered: the
        // first one may lie before a long silence. The wait has doubled meanwhile, and stays so
        // until a question is answered that is the only one.
        if again && !self.given_up.intersect(slots).is_empty() {
            // Karn's rule (RFC 6298, §3 and §5) keeps a grown wait because the answer may be one to
            // an earlier question: then answers take longer than was waited for. Heartbeats are
            // measured on the same way without that doubt. A page that comes as soon after the last
            // question as an answer to a heartbeat shows that the ones before were lost, which says
            // nothing of the time, so the wait has grown in vain. The page itself is not measured.
            // (Should it have been an early answer by chance, one question is asked too soon.)
            let is_soon = self.trip.is_some_and(|trip| took_us <= trip.longest_us());
            if is_soon && self.round_trip.smoothed_us().is_none() {
                self.round_trip = nothing_measured();
            }
            return self.round_trip.recovered(took_us);
        }
        // Answers queue up behind one another. One that has come behind others shows how much was
        // asked for, and not how long an answer takes.
        match self.heard_at.filter(|heard_at| *heard_at >= asked_at) {
            Some(heard_at) if self.round_trip.smoothed_us().is_some() => {
                self.round_trip.recovered(now.since_us(heard_at));
            }
            _ => self.round_trip.answered(took_us),
        }
        let least_us = self.least_us.map_or(took_us, |least_us| least_us.min(took_us));
        self.least_us = Some(least_us);
        if took_us > least_us + least_us / 8 + QUEUE_US {
            self.shrink(now, asked_at, (self.window - self.window / 8).max(FETCH_BYTES));
        }
    }

    /// Whether more would have been asked for just now if the window were larger. Only then
    /// does it grow.
    pub(super) fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// The peer has sent a page. What it was asked for may come next.
    pub(super) fn heard(&mut self, now: Time) {
        self.heard_at = Some(now);
    }

    /// So many bytes have come that were not here before.
    pub(super) fn arrived(&mut self, new_bytes: u64) {
        self.silent_since = None;
        self.path.arrived();
        if self.full {
            let is_slow_start = self.window < self.threshold;
            let slowly = |bytes: u64| bytes * FETCH_BYTES / self.window;
            let more = if is_slow_start { new_bytes } else { slowly(new_bytes) };
            self.window = (self.window + more).min(WINDOW_BYTES_MAX);
        }
    }

    /// A part of what was asked for at `asked_at` was lost on the way.
    pub(super) fn lost(&mut self, now: Time, asked_at: Time) {
        if !self.path.explains_loss() {
            self.shrink_for_loss(now, asked_at);
        }
    }

    /// A part of what was asked for at `asked_at` is late. It is lost, or answers take longer now.
    /// A path that loses as much of its heartbeats explains it, and to wait for longer would only
    /// take longer.
    pub(super) fn is_late(&mut self, now: Time, asked_at: Time) {
        if self.path.explains_loss() {
            return;
        }
        if asked_at >= self.shrank_at {
            self.round_trip.missed(self.missed_max_us());
        }
        self.shrink_for_loss(now, asked_at);
    }

    fn shrink_for_loss(&mut self, now: Time, asked_at: Time) {
        let least = self.window.min(WINDOW_BYTES_FIRST);
        self.shrink(now, asked_at, (self.window / 2).max(least));
    }

    /// How long a wait may become because nothing comes.
    fn missed_max_us(&self) -> u64 {
        let trip_us = self.trip.map(Trip::longest_us);
        let (known_us, least_us) = match (self.round_trip.longest_us(), trip_us) {
            (None, None) => return FETCH_RETRY_MAX_US,
            (None, Some(trip_us)) => (trip_us, 2 * FETCH_FIRST_US),
            (Some(answer_us), trip_us) => (answer_us.max(trip_us.unwrap_or(0)), LOSSES_MAX_US),
        };
        (LOSSES_MAX * known_us).clamp(least_us, FETCH_RETRY_MAX_US)
    }

    /// Nothing came of what was asked for at `asked_at`.
    pub(super) fn fell_silent(&mut self, now: Time, asked_at: Time) {
        self.is_late(now, asked_at);
        self.silent_since = self.silent_since.or(Some(asked_at));
        self.least_us = None;
        self.window = self.window.min(WINDOW_BYTES_FIRST);
        if self.round_trip.smoothed_us().is_none() {
            // Nothing has shown yet how much the path carries.
            self.threshold = WINDOW_BYTES_MAX;
        }
    }

    /// At most once for all that was on its way.
    fn shrink(&mut self, now: Time, asked_at: Time, window: u64) {
        if asked_at >= self.shrank_at {
            self.window = window;
            self.threshold = self.window;
            self.shrank_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some slots that are asked for.
    const SLOTS: SlotRange = SlotRange { start: Slot(3), end: Slot(7) };

    /// What fits into the window now.
    fn room_of(window: &FetchWindow) -> u64 {
        (1..).take_while(|bytes| window.has_room(1, *bytes)).last().unwrap_or(0) + 1
    }

    /// A full window of answers that take `took_us`.
    fn round(window: &mut FetchWindow, now: &mut Time, took_us: u64) {
        let asked_at = *now;
        window.set_full(true);
        *now = now.plus_us(took_us);
        let (mut left, mut first) = (room_of(window), true);
        while left > 0 {
            let bytes = left.min(FETCH_BYTES);
            if std::mem::take(&mut first) {
                window.answered(*now, asked_at, SLOTS, false);
            }
            window.heard(*now);
            window.arrived(bytes);
            left -= bytes;
        }
    }

    #[test]
    fn the_window_doubles_with_each_round_trip_up_to_its_bound() {
        let (mut window, mut now) = (FetchWindow::default(), Time(5));
        for doubled in [64, 128, 256, 512, 1_024, 1_024] {
            assert_eq!(room_of(&window), doubled << 10);
            round(&mut window, &mut now, 100_000);
        }
    }

    #[test]
    fn losses_alone_lengthen_no_wait_beyond_a_bound_that_follows_the_answers() {
        let miss = |window: &mut FetchWindow| {
            for round in 1..20 {
                window.is_late(Time(round * 10_000_000), Time(round * 10_000_000 - 1));
            }
            window.wait_us()
        };
        let mut unknown = FetchWindow::default();
        assert_eq!(miss(&mut unknown), FETCH_RETRY_MAX_US, "nothing is known of this path");
        let mut near = FetchWindow::default();
        near.note_trip(Trip::new(200, 500));
        assert_eq!(miss(&mut near), 2 * FETCH_FIRST_US, "pages may take longer than heartbeats");
        let mut near = FetchWindow::default();
        near.answered(Time(1_000), Time(0), SLOTS, false);
        assert_eq!(miss(&mut near), LOSSES_MAX_US);
        let mut far = FetchWindow::default();
        far.answered(Time(100_000), Time(0), SLOTS, false);
        assert_eq!(miss(&mut far), LOSSES_MAX * 300_000, "hardly any answer takes 300 ms");
    }

    #[test]
    fn an_answer_that_waited_behind_others_lengthens_no_wait() {
        let mut window = FetchWindow::default();
        window.note_trip(Trip::new(150_000, 170_000));
        let answers = |window: &mut FetchWindow, asked_at: Time, count: u64| {
            for nth in 0..count {
                let now = asked_at.plus_us(150_000 + 20_000 * nth);
                window.answered(now, asked_at, SLOTS, false);
                window.heard(now);
            }
        };
        answers(&mut window, Time(0), 1);
        let alone_us = window.wait_us();
        // The thirtieth comes 730 ms after all of them were asked for.
        answers(&mut window, Time(1_000_000), 30);
        assert!(window.wait_us() <= alone_us, "{} {alone_us}", window.wait_us());
        window.is_late(Time(5_000_000), Time(4_000_000));
        assert!(window.wait_us() > alone_us);
        window.heard(Time(6_000_000));
        window.answered(Time(6_020_000), Time(5_900_000), SLOTS, false);
        assert!(window.wait_us() <= alone_us, "answers come one after the other again");
    }

    #[test]
    fn silence_lengthens_no_wait_on_a_path_that_loses_as_many_heartbeats() {
        let waits_after = |loses_every: u64| {
            let mut window = FetchWindow::default();
            let heartbeats = (1..1_000).filter(|round| round % loses_every != 0);
            heartbeats.for_each(|round| window.note_heartbeat(BootId(7), round));
            window.answered(Time(100_000), Time(0), SLOTS, false);
            (0..10).for_each(|_| window.arrived(1));
            let before_us = window.wait_us();
            (1..5)
                .for_each(|it| window.fell_silent(Time(it * 1_000_000), Time(it * 1_000_000 - 1)));
            (before_us, window.wait_us())
        };
        let (before_us, after_us) = waits_after(3);
        assert_eq!(before_us, after_us, "a third of the heartbeats is lost");
        let (before_us, after_us) = waits_after(u64::MAX);
        assert!(after_us > before_us, "none is lost, so answers take longer now");
    }

    #[test]
    fn before_any_is_measured_a_page_that_comes_like_a_heartbeat_makes_a_long_wait_short() {
        for (took_us, wait_us) in [(500, FETCH_RETRY_US), (501, 2 * FETCH_FIRST_US)] {
            let mut window = FetchWindow::default();
            window.note_trip(Trip::new(200, 500));
            for round in 1..20 {
                window.fell_silent(Time(round * 10_000_000), Time(round * 10_000_000 - 1));
            }
            let asked_at = Time(300_000_000);
            window.gives_up(SLOTS, Slot::ZERO);
            window.answered(asked_at.plus_us(took_us), asked_at, SLOTS, true);
            assert_eq!(window.wait_us(), wait_us, "the page took {took_us} us");
        }
    }

    #[test]
    fn a_loss_halves_the_window_once_for_all_that_was_on_its_way() {
        let (mut window, mut now) = (FetchWindow::default(), Time(5));
        (0..3).for_each(|_| round(&mut window, &mut now, 100_000));
        let asked_at = now;
        now = now.plus_us(100_000);
        (0..5).for_each(|_| window.lost(now, asked_at));
        assert_eq!(room_of(&window), 256 << 10);
        round(&mut window, &mut now, 100_000);
        let grown = room_of(&window);
        assert!((270 << 10..=(273 << 10)).contains(&grown), "about a fetch more: {grown}");
        for _ in 0..9 {
            now = now.plus_us(1);
            window.lost(now, now);
        }
        assert_eq!(room_of(&window), WINDOW_BYTES_FIRST);
    }

    #[test]
    fn answers_that_wait_in_a_queue_shrink_the_window_and_steady_ones_do_not() {
        let (mut window, mut now) = (FetchWindow::default(), Time(5));
        (0..3).for_each(|_| round(&mut window, &mut now, 100_000));
        let (before, asked_at) = (room_of(&window), now);
        now = now.plus_us(100_000 + 100_000 / 8 + QUEUE_US);
        window.answered(now, asked_at, SLOTS, false);
        assert_eq!(room_of(&window), before);
        window.answered(now.plus_us(1), asked_at, SLOTS, false);
        assert_eq!(room_of(&window), before - before / 8);
        window.answered(now.plus_us(1), asked_at, SLOTS, false);
        assert_eq!(room_of(&window), before - before / 8, "once for all that was on its way");
    }

    #[test]
    fn a_silent_peer_is_asked_for_one_thing_until_something_comes() {
        let mut window = FetchWindow::default();
        window.note_trip(Trip::new(1_000, 2_000));
        assert!(window.has_room(0, 1 << 30) && window.has_room(1, 1_000));
        window.fell_silent(Time(60_000), Time(0));
        assert!(window.is_silent() && window.has_room(0, 1_000) && !window.has_room(1, 1));
        assert_eq!(window.late_at(Time(60_000)), Time(180_000), "the wait has doubled");
        window.fell_silent(Time(60_000), Time(1_000));
        assert_eq!(window.late_at(Time(60_000)), Time(180_000), "once for all that was asked");
        window.heard(Time(70_000));
        assert!(window.is_silent(), "nothing new has come");
        window.arrived(10);
        assert!(!window.is_silent() && window.has_room(1, 1_000));
        assert!(window.heard_since(Time(70_000)) && !window.heard_since(Time(70_001)));
    }

    #[test]
    fn an_answer_after_a_long_silence_did_not_take_that_long() {
        let mut window = FetchWindow::default();
        let mut now = Time(0);
        while now < Time(10_000_000) {
            window.gives_up(SLOTS, Slot::ZERO);
            window.fell_silent(window.late_at(now), now);
            now = window.late_at(now);
        }
        assert_eq!(window.round_trip.wait_us(), FETCH_RETRY_MAX_US);
        window.answered(now.plus_us(5_000), now, SLOTS, true);
        window.arrived(10);
        window.answered(now.plus_us(10_000), now.plus_us(5_000), SLOTS, false);
        assert!(window.round_trip.wait_us() < 20_000, "{}", window.round_trip.wait_us());
    }

    #[test]
    fn an_answer_is_measured_unless_the_same_peer_was_asked_for_the_slots_before() {
        let waits_after = |took_us: u64, given_up: &[SlotRange], applied: u64| {
            let mut window = FetchWindow::default();
            window.note_trip(Trip::new(400, 900));
            window.is_late(Time(60_000), Time(0));
            given_up.iter().for_each(|slots| window.gives_up(*slots, Slot(applied)));
            window.answered(Time(100_000 + took_us), Time(100_000), SLOTS, true);
            window.wait_us()
        };
        let range = |start, end| SlotRange::new(Slot(start), Slot(end));
        // No answer to a heartbeat takes longer than 900 µs.
        for (took_us, measured_us) in [(500, 1_000), (901, 1_801)] {
            let waits_after =
                |given_up: &[SlotRange], applied| waits_after(took_us, given_up, applied);
            assert_eq!(waits_after(&[], 0), measured_us, "another peer was asked for them before");
            assert_eq!(waits_after(&[range(0, 3), range(1, 2)], 0), measured_us, "for others");
            let parts = [range(0, 1), range(9, 10)];
            assert_eq!(waits_after(&parts, 1), measured_us, "the first are here");
            // The wait has doubled and stays so (Karn's rule), unless the page came too soon to be
            // the answer to another question than the last. Even then it is not measured.
            let unclear_us = if took_us > 900 { 120_000 } else { FETCH_RETRY_US };
            assert_eq!(waits_after(&[range(6, 9)], 0), unclear_us);
            assert_eq!(waits_after(&parts, 0), unclear_us, "perhaps for these, too");
        }
    }
}
