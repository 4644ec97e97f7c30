//! How much may be under way to one peer, and how fast. (W6)
//!
//! Every datagram to a peer says how many bytes were sent to it before, and repeats what has
//! arrived from it: the end of the highest datagram, how many bytes arrived in all, and for
//! how long that has been known. Two numbers are enough for the sender to know what has
//! arrived and what is lost, without a ledger of packets, and the third gives exact round
//! trips.
//!
//! **The window.** At most so many bytes are under way at once. It doubles in each round trip
//! at first. Later it grows in each by the square root of its size, and faster the longer nothing
//! shrinks it, as long as it is used up. It shrinks for one of three reasons:
//!
//! - all round trips of a *round* were longer than the shortest one known by
//!   [`QUEUE_US`]: a queue has formed on the way. The window becomes what the path has
//!   carried in that time, and the queue remains short.
//! - a round trip shows some queue and an eighth was lost: the queue is full. Likewise.
//! - most was lost, of [`LOSS_BYTES_MIN`] bytes at least: of fewer most are lost by chance.
//!
//! Where datagrams overtake one another, round trips differ without a queue. There a round lasts
//! until most of what is late has arrived, and its shortest round trip must be longer by four
//! deviations to show one.
//!
//! **Shares.** Flows that wait in one queue see the same round trips, and shrink by the same part. A
//! flow with a small window grows by a larger part of it than one with a large window. So flows
//! through one queue come to like shares within seconds.
//!
//! If round trips stay long for [`LEAST_ROUNDS`] rounds of the least window, which fills no
//! queue, then the way has become longer: the shortest one is forgotten, and the window doubles
//! again.
//!
//! A loss alone shrinks nothing: a path that loses a third of everything and has no queue
//! carries the rest at any speed. Loss is the only sign for RFC 9002's window, which would
//! collapse there. Its round-trip times and its timer for silence are used here.
//!
//! **Silence.** If those who were asked give no word for some round trips, what is under way
//! counts as lost, and the window halves.
//!
//! **Pacing.** Where the round trip takes at least [`PACED_US`], a window's worth leaves spread
//! over the round trip, not in one burst.
//!
//! **Asking.** A datagram that leaves while half of the window is under way asks for word. A bare
//! header never does, since it only gives word: two processes that have much under way to each
//! other would answer word with word, without end.
//!
//! **Length.** A window begins with ten datagrams, and two are the least, as RFC 9002 (7.2) has it:
//! of the length that the path carries. Where that is 548 bytes and four peers share an uplink of 56
//! kbit/s, two datagrams of 1,400 for each would be more than its queue holds.
//!
//! **Guarantees.** The window is between two datagrams and [`WINDOW_MAX`]. What is urgent is
//! never held back, but counts.
//!
//! **Does not** read a clock, keep datagrams, or send anything again. Times are microseconds
//! since any fixed moment.

use super::receipt::{ASKED_US, HELD_UNIT_US, Stamp, is_before};
use crate::HEADER_BYTES;
use std::collections::VecDeque;

/// The bytes of a datagram that windows are counted in, unless the path carries less: longer
/// datagrams do not make the windows larger.
pub const DATAGRAM_BYTES: u32 = 1_400;

/// How many datagrams may be under way at first.
pub const DATAGRAMS_FIRST: u32 = 10;

/// How many always may be.
pub const DATAGRAMS_MIN: u32 = 2;

/// The most.
pub const WINDOW_MAX: u32 = 16 << 20;

/// A round trip that is longer than the shortest by this shows a queue that is too long.
pub const QUEUE_US: u64 = 15_000;

/// A round lasts at least this long, so that a thread that waits for a core is not taken for
/// a queue.
pub const ROUND_US: u64 = 25_000;

/// The shortest round trip is forgotten after this time, in case the path has changed.
pub const SHORTEST_US: u64 = 60_000_000;

/// The least bytes of a round in which losses say something.
pub const LOSS_BYTES_MIN: u32 = 28_000;

/// A path overtakes if at least one of so many bytes arrives late. Its round trips differ without a
/// queue.
pub const OVERTAKEN_SHARE: u64 = 16;

/// After so many rounds of the least window, long round trips show a longer way, and no queue.
pub const LEAST_ROUNDS: u32 = 4;

/// A window of this many bytes grows by half of them in the first round, and by a quarter more in
/// each further one: about a datagram.
pub const GROWTH_BYTES: u64 = 1_400;

/// The growth becomes faster for so many rounds in a row, and no faster after them.
pub const GROWN_MAX: u32 = 16;

/// From this round trip on, what leaves is spread over it.
pub const PACED_US: u64 = 2_000;

/// The bytes that may leave in one burst in spite of that.
pub const BURST_BYTES: u64 = 14_000;

/// Nothing counts as silence before this time.
pub const SILENCE_MIN_US: u64 = 200_000;

/// The longest wait for word before the next datagrams are tried.
pub const SILENCE_MAX_US: u64 = 2_000_000;

/// The moments of sending that are remembered, to measure round trips.
const MARKS_MAX: usize = 128;

/// Datagrams that left within this time, or a 64th of the round trip, share a mark.
const MARK_US: u64 = 200;

/// The measurements of a round.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// It is over when this has arrived.
    ends: u32,
    began_at: u64,
    arrived: u32,
    lost: u32,
    /// Bytes that were overtaken on their way, and have arrived all the same.
    late: u32,
    /// The shortest round trip in it.
    shortest_us: u64,
    samples: u32,
    /// Whether half of the window was in use.
    full: bool,
    /// Whether what is lost in it says nothing.
    forgiven: bool,
}

/// When datagrams left.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Where the first of them began.
    start: u32,
    /// Where the last of them ended.
    end: u32,
    /// When the first of them left.
    at: u64,
}

/// What is under way to one peer.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The offset with which this life began.
    start: u32,
    /// The bytes of a datagram without a body. Such a one asks for no word, or two peers would
    /// answer each other's for ever.
    bare_bytes: usize,
    /// The offset of the next datagram.
    sent: u32,
    /// Up to here nothing is under way any more.
    settled: u32,
    /// From here to there nothing is known to be lost.
    whole_from: u32,
    /// The life of the peer that said so last.
    boot: Option<u64>,
    /// The newest word of that life: the end of the highest datagram, and how much arrived.
    word: (u32, u32),
    /// When it came.
    word_at: u64,
    /// How many bytes were overtaken on their way of late, and how many arrived.
    overtaken: (u64, u64),
    /// The bytes that a datagram has here, up to [`DATAGRAM_BYTES`].
    datagram: u32,
    window: u32,
    /// Whether the window still doubles.
    slow_start: bool,
    round: Round,
    marks: VecDeque<Mark>,
    /// The shortest round trip since a moment, and the shortest one before.
    shortest: (u64, u64),
    shortest_at: u64,
    /// How many rounds in a row had the least window, and long round trips all the same.
    least_rounds: u32,
    /// How many rounds in a row it has grown, up to [`GROWN_MAX`].
    grown: u32,
    /// The smoothed round trip and its deviation.
    round_trip: Option<(u64, u64)>,
    /// When the first datagram left that has asked for word since there was some.
    asked_at: Option<u64>,
    silences: u32,
    /// Bytes that may leave at `paced_at`.
    credit: u64,
    /// Whether the credit has been used up.
    waits: bool,
    paced_at: u64,
}

impl Flow {
    /// The same, where a datagram without a body has so many bytes.
    #[must_use]
    pub fn with_bare_bytes(self, bare_bytes: usize) -> Self {
        Flow { bare_bytes, ..self }
    }

    /// A flow whose first datagram has this offset: any number will do.
    pub fn new(start: u32) -> Self {
        let round = Round {
            ends: start,
            began_at: 0,
            arrived: 0,
            lost: 0,
            late: 0,
            shortest_us: u64::MAX,
            samples: 0,
            full: false,
            forgiven: false,
        };
        Flow {
            start,
            bare_bytes: HEADER_BYTES,
            sent: start,
            settled: start,
            whole_from: start,
            boot: None,
            word: (start, start),
            word_at: 0,
            overtaken: (0, 0),
            datagram: DATAGRAM_BYTES,
            window: DATAGRAMS_FIRST * DATAGRAM_BYTES,
            slow_start: true,
            round,
            marks: VecDeque::new(),
            shortest: (u64::MAX, u64::MAX),
            shortest_at: 0,
            least_rounds: 0,
            grown: 0,
            round_trip: None,
            asked_at: None,
            silences: 0,
            credit: BURST_BYTES,
            waits: false,
            paced_at: 0,
        }
    }

    /// The path carries datagrams of so many bytes from now on.
    pub fn carries(&mut self, length: usize) {
        let datagram = (length as u32).min(DATAGRAM_BYTES);
        if datagram < self.datagram {
            // As many datagrams as before.
            let window = u64::from(self.window) * u64::from(datagram) / u64::from(self.datagram);
            self.window = (window as u32).max(DATAGRAMS_MIN * datagram);
        }
        self.datagram = datagram;
    }

    /// The bytes of the datagrams that always may be under way.
    fn least(&self) -> u32 {
        DATAGRAMS_MIN * self.datagram
    }

    /// The bytes under way.
    pub fn under_way(&self) -> u32 {
        self.sent.wrapping_sub(self.settled)
    }

    /// Up to here nothing is under way any more: it has arrived, or is lost.
    pub fn settled(&self) -> u32 {
        self.settled
    }

    /// Whether the datagram that ended at `end` is known to have arrived, as long as nothing was
    /// lost behind it. (Of what was lost the receiver knows the bytes, and not which they were.)
    pub fn has_arrived(&self, end: u32) -> bool {
        is_before(self.whole_from, end) && !is_before(self.settled, end)
    }

    /// The offset of the next datagram.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// The most bytes that may be under way.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// The smoothed round trip, once it is known.
    pub fn round_trip_us(&self) -> Option<u64> {
        self.round_trip.map(|(smoothed, _)| smoothed)
    }

    /// How many bytes leave within this time at most, at the present window. Nothing as long as no
    /// round trip is known, or the window still doubles and says little of the path.
    pub fn takes_within(&self, us: u64) -> Option<usize> {
        let (smoothed, _) = self.round_trip.filter(|_| !self.slow_start)?;
        Some((u64::from(self.window) * us / smoothed.max(1)) as usize)
    }

    fn shortest_us(&self) -> u64 {
        self.shortest.0.min(self.shortest.1)
    }

    /// The bytes that a second takes, if they are to be spread.
    fn pace(&self) -> Option<u64> {
        let (smoothed, _) = self.round_trip?;
        let gain = if self.slow_start { 20 } else { 12 };
        (self.shortest_us() >= PACED_US)
            .then(|| u64::from(self.window) * gain / 10 * 1_000_000 / smoothed.max(1))
    }

    /// Whether a datagram of this many bytes may leave now. Where nothing is under way, any may.
    pub fn admits(&mut self, now: u64, bytes: usize) -> bool {
        if !self.has_room(bytes) {
            self.round.full = true;
            self.asked_at.get_or_insert(now);
            return false;
        }
        let Some(pace) = self.pace() else { return true };
        let burst = BURST_BYTES.max(pace / 100);
        let earned = now.saturating_sub(self.paced_at) * pace / 1_000_000;
        // A moment in which nothing is earned counts with the next.
        if earned > 0 {
            self.credit = (self.credit + earned).min(burst);
            self.paced_at = now;
        }
        self.credit >= self.wanted(bytes)
    }

    fn has_room(&self, bytes: usize) -> bool {
        let under_way = self.under_way();
        under_way == 0 || under_way as usize + bytes <= self.window as usize
    }

    /// The credit for which a datagram waits. A part of a burst is worth a wake-up, a single
    /// datagram is not.
    fn wanted(&self, bytes: usize) -> u64 {
        let bytes = (bytes as u64).min(BURST_BYTES);
        if self.waits { bytes.max(BURST_BYTES / 4) } else { bytes }
    }

    /// Notes a datagram of this many bytes that leaves now, and returns its stamp, without
    /// word of what has arrived.
    pub fn send(&mut self, now: u64, bytes: usize) -> Stamp {
        let offset = self.sent;
        self.sent = self.sent.wrapping_add(bytes as u32);
        self.credit = self.credit.saturating_sub(bytes as u64);
        self.waits = self.credit < BURST_BYTES / 8;
        let near = MARK_US.max(self.round_trip_us().unwrap_or(0) / 64);
        match self.marks.back_mut() {
            Some(mark) if now.saturating_sub(mark.at) <= near => mark.end = self.sent,
            _ => {
                if self.marks.len() == MARKS_MAX {
                    self.marks.pop_front();
                }
                self.marks.push_back(Mark { start: offset, end: self.sent, at: now });
            }
        }
        let full = self.under_way() > self.window / 2;
        self.round.full |= full;
        let asks = full && bytes > self.bare_bytes;
        if asks {
            self.asked_at.get_or_insert(now);
        }
        Stamp { offset, asks, ..Stamp::default() }
    }

    /// Takes what the life `boot` of the peer says has arrived. Returns whether that is of this
    /// life.
    pub fn heard(&mut self, now: u64, boot: u64, stamp: Stamp) -> bool {
        let Stamp { reached, taken, held, .. } = stamp;
        // An earlier life of this process may have sent what it speaks of.
        if reached.wrapping_sub(self.start) > self.sent.wrapping_sub(self.start) {
            return false;
        }
        let missing = reached.wrapping_sub(taken);
        if self.boot != Some(boot) {
            (self.boot, self.word) = (Some(boot), (reached, taken));
            self.whole_from = reached;
        }
        let (reached_before, taken_before) = self.word;
        let is_older = is_before(reached, reached_before)
            || reached == reached_before && is_before(taken, taken_before);
        // Newer word has overtaken it. After a long silence the numbers may have wrapped instead.
        if is_older && now < self.word_at + SHORTEST_US {
            return true;
        }
        (self.word, self.word_at) = ((reached, taken), now);
        // Late datagrams reduce what was counted as lost.
        let lost = missing.wrapping_sub(reached_before.wrapping_sub(taken_before)) as i32;
        let late = lost.min(0).unsigned_abs();
        if lost > 0 {
            self.whole_from = reached;
        }
        self.round.lost = self.round.lost.saturating_add_signed(lost);
        self.round.late = self.round.late.saturating_add(late);
        self.grows_by(late);
        if !is_before(self.settled, reached) {
            return true;
        }
        let passed = reached.wrapping_sub(self.settled);
        let arrived = (i64::from(passed) - i64::from(lost)).clamp(0, i64::from(passed)) as u32;
        self.settled = reached;
        self.asked_at = (self.under_way() > self.window / 2).then_some(now);
        self.silences = 0;
        self.round.arrived = self.round.arrived.saturating_add(arrived);
        self.measure(now, u64::from(held) * HELD_UNIT_US);
        self.grows_by(arrived);
        if !is_before(reached, self.round.ends) && now >= self.round.began_at + self.round_us() {
            self.end_round(now);
        }
        true
    }

    /// A window that is used up doubles at first.
    fn grows_by(&mut self, arrived: u32) {
        if self.slow_start && self.round.full {
            self.window = self.window.saturating_add(arrived).min(WINDOW_MAX);
        }
    }

    /// Takes the round trip of the datagram that was reached.
    fn measure(&mut self, now: u64, held_us: u64) {
        while self.marks.front().is_some_and(|mark| is_before(mark.end, self.settled)) {
            self.marks.pop_front();
        }
        let Some(&Mark { start, at, .. }) = self.marks.front() else { return };
        // It left too long ago: its mark is gone.
        if !is_before(start, self.settled) {
            return;
        }
        let took = now.saturating_sub(at).saturating_sub(held_us).max(1);
        if now >= self.shortest_at + SHORTEST_US {
            self.shortest = (u64::MAX, self.shortest.0);
            self.shortest_at = now;
        }
        self.shortest.0 = self.shortest.0.min(took);
        self.round.shortest_us = self.round.shortest_us.min(took);
        self.round.samples += 1;
        self.round_trip = Some(match self.round_trip {
            None => (took, took / 2),
            Some((smoothed, deviation)) => {
                ((7 * smoothed + took) / 8, (3 * deviation + smoothed.abs_diff(took)) / 4)
            }
        });
    }

    /// By how much round trips differ where datagrams overtake one another.
    fn variation_us(&self) -> u64 {
        let (late, arrived) = self.overtaken;
        let overtakes = late * OVERTAKEN_SHARE > arrived;
        self.round_trip.filter(|_| overtakes).map_or(0, |(_, deviation)| 4 * deviation)
    }

    /// The least time that a round lasts. Where datagrams overtake one another, it lasts until
    /// most of those that are late have arrived.
    fn round_us(&self) -> u64 {
        match self.variation_us() {
            0 => ROUND_US,
            varies => ROUND_US.max(self.round_trip_us().unwrap_or(0) + varies),
        }
    }

    fn end_round(&mut self, now: u64) {
        let Round { arrived, lost, late, shortest_us, samples, full, began_at, forgiven, .. } =
            self.round;
        let (overtaken, all) = self.overtaken;
        let arrived = arrived.saturating_add(late);
        let varied = self.variation_us() > 0;
        self.overtaken = (overtaken / 2 + u64::from(late), all / 2 + u64::from(arrived));
        let varies_us = self.variation_us();
        // Only now it is known that this path overtakes. Before, the window may have shrunk without
        // a queue.
        self.slow_start |= varies_us > 0 && !varied;
        let shortest = self.shortest_us();
        let queue_us = if samples > 0 { shortest_us - shortest.min(shortest_us) } else { 0 };
        let too_long = QUEUE_US.max(shortest / 8).max(varies_us);
        let eighth = u64::from(lost) * 8 > u64::from(arrived) + u64::from(lost);
        // Where datagrams overtake one another, those that seem lost may be late.
        let full_queue = queue_us > too_long / 3 && eighth && lost > self.least() && varies_us == 0;
        let at_least = full && queue_us > too_long && self.window <= self.least();
        self.least_rounds = if at_least { self.least_rounds + 1 } else { 0 };
        if self.least_rounds >= LEAST_ROUNDS {
            self.least_rounds = 0;
            self.shortest = (shortest_us, u64::MAX);
            self.shortest_at = now;
            self.slow_start = true;
        } else if !full || forgiven {
            // A window that nobody uses up causes no queue. And what was too long for the path was
            // lost without one.
        } else if queue_us > too_long || full_queue {
            let took = now.saturating_sub(began_at).max(1);
            let carried = u64::from(arrived) * (shortest + too_long / 3) / took;
            self.shrink_to(carried.min(u64::from(WINDOW_MAX)) as u32);
        } else if lost > arrived && lost.saturating_add(arrived) >= LOSS_BYTES_MIN {
            self.shrink_to(0);
        } else if !self.slow_start {
            self.window = (self.window + self.growth()).min(WINDOW_MAX);
            self.grown = (self.grown + 1).min(GROWN_MAX);
        }
        self.round = Round {
            ends: self.sent,
            began_at: now,
            arrived: 0,
            lost: 0,
            late: 0,
            shortest_us: u64::MAX,
            samples: 0,
            full: self.under_way() > self.window / 2,
            forgiven: false,
        };
    }

    /// How much the window grows in a round.
    fn growth(&self) -> u32 {
        let root = (u64::from(self.window) * GROWTH_BYTES).isqrt() as u32;
        root / 2 + root / 4 * self.grown
    }

    /// Shrinks the window towards `to`, by a half at most and a sixteenth at least.
    fn shrink_to(&mut self, to: u32) {
        let least = (self.window / 2).max(self.least());
        let most = (self.window - self.window / 16).max(self.least());
        self.window = to.clamp(least.min(most), most);
        self.grown = 0;
        self.slow_start = false;
    }

    /// When there was no word for too long.
    fn silent_at(&self) -> Option<u64> {
        self.asked_at.map(|at| at.saturating_add(self.patience_us()))
    }

    /// How long to wait for word.
    pub fn patience_us(&self) -> u64 {
        let (smoothed, deviation) = self.round_trip.unwrap_or((SILENCE_MIN_US, 0));
        let patience = SILENCE_MIN_US.max(2 * smoothed + 4 * deviation + 4 * ASKED_US);
        (patience << self.silences.min(5)).min(SILENCE_MAX_US.max(patience))
    }

    /// When a datagram of this many bytes may leave that waits now, if nothing is heard before:
    /// then [`Flow::poll`] comes first.
    pub fn deadline(&self, bytes: usize) -> u64 {
        match self.pace() {
            Some(pace) if self.has_room(bytes) => {
                let wanted = self.wanted(bytes).saturating_sub(self.credit);
                self.paced_at + (wanted * 1_000_000).div_ceil(pace.max(1))
            }
            _ => self.silent_at().unwrap_or(u64::MAX),
        }
    }

    /// What was under way is gone: the path was too narrow for it, or the peer has begun another
    /// life. Neither silence nor losses were a sign of a queue: the window may double again.
    pub fn forget(&mut self) {
        (self.settled, self.whole_from) = (self.sent, self.sent);
        self.asked_at = None;
        self.silences = 0;
        self.marks.clear();
        (self.round.ends, self.round.forgiven) = (self.sent, true);
        self.window = self.window.max(DATAGRAMS_FIRST * self.datagram);
        self.slow_start = true;
    }

    /// The peer is reached in another way now, of which nothing is known.
    pub fn begin_anew(&mut self) {
        let Flow { start, sent, boot, word, bare_bytes, .. } = *self;
        *self = Flow { start, boot, word, bare_bytes, ..Flow::new(sent) };
    }

    /// Gives up what is under way if there was no word for long.
    pub fn poll(&mut self, now: u64) {
        if self.silent_at().is_some_and(|at| at <= now) {
            (self.settled, self.whole_from) = (self.sent, self.sent);
            self.asked_at = None;
            self.silences += 1;
            self.marks.clear();
            // That is no queue: the window may double again.
            let slow_start = self.slow_start;
            self.shrink_to(0);
            self.slow_start = slow_start;
            self.round.ends = self.sent;
        }
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "flow_exact_tests.rs"]
mod exact_tests;

#[cfg(test)]
#[path = "flow_shared_tests.rs"]
mod shared_tests;
