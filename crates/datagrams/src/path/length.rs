//! How long a datagram to one peer may be. (W5; RFC 8899)
//!
//! A path drops a packet that is longer than it carries, mostly without a word. So a
//! process asks the path. It sends a long *probe*, which the peer answers, and uses the
//! probe's length once the answer has come. Each path begins with a length that nearly every
//! path carries ([`first_bytes`](super::first_bytes)), or with the configured bound if that
//! is less. Long datagrams drive the search: try the bound, in turn with the present length as
//! long as that is not confirmed, then halve the gap until it is at most [`STEP_BYTES`].
//!
//! **Evidence.** One attempt sends up to three probes: a long one, a *batch*, and a short
//! one last. A long probe counts as lost on account of its length only if the short one
//! behind it is answered. If no probe is answered, the peer or the path is down, and the
//! attempt says nothing. A length fails after [`TRIES_MAX`] such losses in a row, so that a
//! path which loses a third of everything is not taken for a narrow one. The kernel may also
//! refuse a length (`EMSGSIZE`), which fails at once.
//!
//! **Narrower paths.** As a rule the traffic itself shows that long datagrams arrive
//! ([`evidence`](super::evidence)). If it does not for [`CONFIRM_US`], while some are sent, the
//! length in use is tested. If it fails, the path falls back to the length that it began with and
//! from there to [`PATH_BYTES_MIN`]; meanwhile the search goes on below the length that
//! failed. Longer ones are tried again [`RETRY_MIN_US`] later, then ever more rarely.
//!
//! **Batches.** A kernel or a network card can say that it has sent a batch and send
//! nothing. So an attempt also sends two short probes in one batch, while batches are in use.
//! If they fail as a long probe fails, batches are not believed any more, and datagrams leave
//! one by one. They are tried again after [`BATCHES_RETRY_US`], if something could have left in
//! one meanwhile: then [`RETRIES_MAX`] attempts in vain are enough. A kernel that refuses the
//! probes says nothing of batches that it takes.
//!
//! **Guarantees.** The length in use is at least [`PATH_BYTES_MIN`] and at most the bound.
//! Without use there are no probes: one length is tested for each long datagram at most, and
//! after [`SILENT_MAX`] attempts without an answer there are none until the peer is heard.
//!
//! **Does not** read a clock or touch a socket. Times are microseconds since any fixed
//! moment.

use super::PATH_BYTES_MIN;
use super::evidence::{Evidence, Proof};
use std::collections::VecDeque;

/// The search ends when the longest length that arrived and the shortest that failed are
/// no further apart.
pub const STEP_BYTES: usize = 16;

/// A length fails, and so do batches, after this many probes in a row were lost whose short
/// companions arrived.
pub const TRIES_MAX: u32 = 8;

/// The same for a length above the one in use: if chance alone has lost them, datagrams are a little
/// shorter for a while.
pub const SEARCH_TRIES_MAX: u32 = 4;

/// A path does not use a length after so many losses in a row, as long as no datagram of that length
/// has arrived.
pub const DOUBT_TRIES: u32 = 2;

/// Batches that are not believed stay so after this many attempts in vain.
pub const RETRIES_MAX: u32 = 2;

/// A probe tests the length in use if nothing has confirmed it for this long.
pub const CONFIRM_US: u64 = 1_000_000;

/// Longer datagrams are tried again this long after a length has failed; after the next
/// failure it takes twice as long, and so on.
pub const RETRY_MIN_US: u64 = 5_000_000;

/// The longest time until longer datagrams are tried again.
pub const RETRY_MAX_US: u64 = 320_000_000;

/// Batches are tried again this long after they have failed.
pub const BATCHES_RETRY_US: u64 = 60_000_000;

/// An attempt without any answer is over after this time; a second one after twice the time,
/// and so on.
pub const PATIENCE_US: u64 = 250_000;

/// The longest wait for an answer.
pub const PATIENCE_MAX_US: u64 = 8_000_000;

/// An answer that comes sooner than the present wait shortens it by one part of so many.
pub const PATIENCE_PARTS: u64 = 4;

/// After this many attempts without any answer there are no more until the peer is heard.
pub const SILENT_MAX: u32 = 3;

/// A long probe may arrive this much later than the short one that was sent after it.
pub const MARGIN_US: u64 = 5_000;

/// The attempts that are remembered after their end, because an answer may be late.
const ENDED_MAX: usize = 4;

/// A probe to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Its number, which the answer repeats.
    pub id: u32,
    /// The bytes of the whole datagram; none if it is as short as it can be.
    pub bytes: Option<usize>,
    /// Whether it leaves twice, in one batch.
    pub batch: bool,
}

/// What a probe tests. The number of a probe is that of its attempt times [`KINDS`], and one
/// of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Short = 0,
    Long = 1,
    Batch = 2,
}

const KINDS: u32 = 4;

/// The use of something that an attempt tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// A datagram longer than [`PATH_BYTES_MIN`].
    pub long: bool,
    /// Several datagrams that left in one batch, or could have if batches were believed.
    pub batch: bool,
}

/// What became of one thing that an attempt tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    /// It is not part of the attempt.
    Absent,
    Sent,
    Answered,
}

#[derive(Debug, Clone)]
struct Attempt {
    number: u32,
    /// The length that the long probe tests.
    bytes: usize,
    long: Test,
    batch: Test,
    sent_at: u64,
    short_at: Option<u64>,
    /// When it ends if nothing is answered.
    until: u64,
}

impl Attempt {
    fn ends_at(&self) -> u64 {
        match self.short_at {
            Some(at) => at + MARGIN_US + at.saturating_sub(self.sent_at) / 4,
            None => self.until,
        }
    }

    fn waits(&self) -> bool {
        self.long == Test::Sent || self.batch == Test::Sent
    }

    fn answered(&self) -> bool {
        let any = |test| test == Test::Answered;
        self.short_at.is_some() || any(self.long) || any(self.batch)
    }
}

/// The length of datagrams to one peer, and whether batches to it arrive.
#[derive(Debug, Clone)]
pub struct PathLength {
    /// The configured bound.
    most: usize,
    /// The length with which the path begins.
    first: usize,
    /// The length in use.
    length: usize,
    /// Whether a probe of that length has been answered since it came into use.
    proven: bool,
    /// The shortest length that is known to fail; one more than the bound if none is.
    failed: usize,
    /// When it failed.
    failed_at: u64,
    /// How long after that longer datagrams are tried again.
    retry_us: u64,
    /// When the length in use was confirmed last.
    confirmed_at: u64,
    /// Long probes of the present candidate that were lost in a row.
    lost: u32,
    /// Whether batches are believed to arrive.
    batches: bool,
    batches_failed_at: u64,
    /// How long after that batches are tried again.
    batches_retry_us: u64,
    batches_confirmed_at: Option<u64>,
    batches_lost: u32,
    /// What was used since it was tested last.
    used: Use,
    attempt: Option<Attempt>,
    /// Attempts that have ended, the latest last.
    ended: VecDeque<Attempt>,
    attempts: u32,
    /// Attempts in a row without any answer.
    silent: u32,
    /// Whether the peer must be heard before the next attempt.
    rests: bool,
    /// How long the first attempt of a row waits for an answer.
    patience_us: u64,
}

impl PathLength {
    /// A path that begins with datagrams of `first` bytes and never gets longer ones than
    /// `most`.
    ///
    /// # Panics
    ///
    /// If one of them is below [`PATH_BYTES_MIN`].
    pub fn new(first: usize, most: usize) -> Self {
        assert!(first >= PATH_BYTES_MIN && most >= PATH_BYTES_MIN, "{first} and {most} bytes");
        let first = first.min(most);
        PathLength {
            most,
            first,
            length: first,
            proven: first == PATH_BYTES_MIN,
            failed: most + 1,
            failed_at: 0,
            retry_us: RETRY_MIN_US,
            confirmed_at: 0,
            lost: 0,
            batches: true,
            batches_failed_at: 0,
            batches_retry_us: BATCHES_RETRY_US,
            batches_confirmed_at: None,
            batches_lost: 0,
            used: Use::default(),
            attempt: None,
            ended: VecDeque::new(),
            attempts: 0,
            silent: 0,
            rests: false,
            patience_us: PATIENCE_US,
        }
    }

    /// The same path, on which batches are tried again this long after they have failed.
    #[must_use]
    pub fn testing_batches_again_after(self, batches_retry_us: u64) -> Self {
        PathLength { batches_retry_us, ..self }
    }

    /// The most bytes of a datagram to the peer at present.
    pub fn length(&self) -> usize {
        let is_doubted = !self.proven && self.lost >= DOUBT_TRIES;
        if is_doubted { PATH_BYTES_MIN } else { self.length }
    }

    /// Whether several datagrams may leave in one batch.
    pub fn batches(&self) -> bool {
        self.batches
    }

    /// Whether a test of batches has been answered since they were doubted.
    pub fn has_proven_batches(&self) -> bool {
        self.batches && self.batches_confirmed_at.is_some()
    }

    /// Batches vanish on another path of the same kernel: they are tested again before the next.
    pub fn doubt_batches(&mut self) {
        self.batches_confirmed_at = None;
    }

    /// Notes what was sent to the peer.
    pub fn used(&mut self, what: Use) {
        self.used.long |= what.long;
        self.used.batch |= what.batch;
    }

    /// A round trip to the peer takes this long, so answers to probes do too.
    pub fn expect(&mut self, trip_us: u64) {
        self.patience_us = self.patience_us.max(2 * trip_us).min(PATIENCE_MAX_US);
    }

    /// Takes what the traffic shows.
    pub fn seen(&mut self, now: u64, evidence: &Evidence) {
        let doubted_since = evidence.doubted_since();
        if let Some(Proof { bytes, at }) = evidence.proof()
            && at > self.failed_at.max(self.confirmed_at)
        {
            if bytes >= self.length {
                self.arrived(at, bytes);
            } else if doubted_since.is_none() && self.candidate().is_none() {
                // All that was in doubt has arrived.
                (self.confirmed_at, self.lost) = (at, 0);
            }
        }
        match doubted_since {
            // Until then nothing was in doubt. Once probes have been sent, they go on.
            Some(since) if self.lost == 0 && self.silent == 0 => {
                self.confirmed_at = self.confirmed_at.max(since);
            }
            None if self.candidate().is_none() && now >= self.confirmed_at + CONFIRM_US => {
                self.used.long = false;
            }
            _ => {}
        }
    }

    /// Whether something was used that is not tested yet.
    pub fn is_in_use(&self) -> bool {
        self.used.long || self.used.batch
    }

    /// A datagram of the peer has come. Returns whether that ends a rest.
    pub fn heard(&mut self) -> bool {
        std::mem::take(&mut self.rests)
    }

    /// The kernel has refused a datagram of this many bytes as too long.
    pub fn refused(&mut self, now: u64, bytes: usize) {
        if (PATH_BYTES_MIN + 1..self.failed).contains(&bytes) {
            self.fail(now, bytes);
        }
        if let Some(attempt) = &mut self.attempt
            && attempt.long == Test::Sent
            && attempt.bytes >= bytes
        {
            attempt.long = Test::Absent;
        }
    }

    /// The kernel has refused the batch of the present attempt.
    pub fn batch_refused(&mut self) {
        if let Some(attempt) = &mut self.attempt
            && attempt.batch == Test::Sent
        {
            attempt.batch = Test::Absent;
            self.used.batch = false;
        }
    }

    /// The answer to a probe has come. Returns the length of a long one, once.
    pub fn answered(&mut self, now: u64, id: u32) -> Option<usize> {
        let (number, kind) = (id / KINDS, id % KINDS);
        self.rests = false;
        let PathLength { attempt, ended, .. } = self;
        let attempt = attempt.iter_mut().chain(ended).find(|of| of.number == number)?;
        // An answer that is later than the attempt waited shows how long to wait. If the peer only
        // slept, the next ones come sooner.
        let took = now.saturating_sub(attempt.sent_at);
        let faded_us = self.patience_us - self.patience_us / PATIENCE_PARTS;
        self.patience_us = faded_us.max(2 * took).clamp(PATIENCE_US, PATIENCE_MAX_US);
        self.silent = 0;
        if kind == Kind::Short as u32 {
            attempt.short_at.get_or_insert(now);
        } else if kind == Kind::Long as u32 && attempt.long == Test::Sent {
            attempt.long = Test::Answered;
            let bytes = attempt.bytes;
            self.arrived(now, bytes);
            return Some(bytes);
        } else if kind == Kind::Batch as u32 && attempt.batch == Test::Sent {
            attempt.batch = Test::Answered;
            self.batches = true;
            self.batches_lost = 0;
            self.batches_confirmed_at = Some(now);
            self.used.batch = false;
        }
        None
    }

    /// When [`PathLength::poll`] has something to do next.
    pub fn deadline(&self) -> Option<u64> {
        match &self.attempt {
            Some(attempt) if attempt.waits() => Some(attempt.ends_at()),
            Some(_) => Some(0),
            None if self.rests => None,
            None => self.wants(),
        }
    }

    /// Ends an attempt whose time is over, and begins the next one if there is something to
    /// test.
    pub fn poll(&mut self, now: u64, mut send: impl FnMut(Probe)) {
        if let Some(attempt) = &self.attempt {
            if attempt.waits() && now < attempt.ends_at() {
                return;
            }
            self.end_attempt(now);
        }
        if self.rests || self.wants().is_none_or(|at| at > now) {
            return;
        }
        if self.failed <= self.most && now >= self.retry_at() {
            self.failed = self.most + 1;
            self.retry_us = (2 * self.retry_us).min(RETRY_MAX_US);
        }
        let candidate = self.candidate();
        let bytes = candidate.unwrap_or(self.length);
        let test = |tested| if tested { Test::Sent } else { Test::Absent };
        self.attempts = self.attempts.wrapping_add(1) % (u32::MAX / KINDS);
        let patience = self.patience_us << self.silent.min(SILENT_MAX);
        let attempt = Attempt {
            number: self.attempts,
            bytes,
            long: test(self.wants_length().is_some_and(|at| at <= now)),
            batch: test(self.wants_batch().is_some_and(|at| at <= now)),
            sent_at: now,
            short_at: None,
            until: now + patience.min(PATIENCE_MAX_US),
        };
        let probe = |kind: Kind, bytes| Probe {
            id: attempt.number * KINDS + kind as u32,
            bytes,
            batch: kind == Kind::Batch,
        };
        // The short probe leaves last: when its answer comes, the others had their time.
        if attempt.long == Test::Sent {
            send(probe(Kind::Long, Some(bytes)));
        }
        if attempt.batch == Test::Sent {
            send(probe(Kind::Batch, None));
        }
        send(probe(Kind::Short, None));
        self.attempt = Some(attempt);
    }

    fn end_attempt(&mut self, now: u64) {
        let Some(attempt) = self.attempt.take() else { return };
        if attempt.short_at.is_some() && attempt.long == Test::Sent {
            self.lost += 1;
            let is_search = self.proven && attempt.bytes > self.length;
            if self.lost >= if is_search { SEARCH_TRIES_MAX } else { TRIES_MAX } {
                self.fail(now, if self.proven { attempt.bytes } else { self.length });
            }
        }
        if attempt.short_at.is_some() && attempt.batch == Test::Sent {
            self.batches_lost += 1;
            if self.batches_lost >= if self.batches { TRIES_MAX } else { RETRIES_MAX } {
                self.batches_lost = 0;
                self.batches = false;
                self.batches_failed_at = now;
                self.used.batch = false;
            }
        }
        if !attempt.answered() && attempt.waits() {
            self.silent += 1;
            if self.silent >= SILENT_MAX {
                self.silent = SILENT_MAX;
                self.rests = true;
                self.used = Use::default();
            }
        }
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(attempt);
    }

    /// A datagram of this many bytes has arrived.
    fn arrived(&mut self, now: u64, bytes: usize) {
        if bytes < self.length {
            return;
        }
        if bytes >= self.failed {
            self.failed = self.most + 1;
        }
        if bytes == self.most {
            self.retry_us = RETRY_MIN_US;
        }
        self.length = bytes;
        self.proven = true;
        self.confirmed_at = now;
        self.lost = 0;
        self.used.long = false;
    }

    /// Datagrams of this many bytes do not arrive.
    fn fail(&mut self, now: u64, bytes: usize) {
        self.failed = bytes;
        self.failed_at = now;
        self.lost = 0;
        self.used.long = false;
        if bytes <= self.length {
            self.length = if bytes > self.first { self.first } else { PATH_BYTES_MIN };
            self.proven = self.length == PATH_BYTES_MIN;
        }
    }

    /// The length to try, if the search is not over.
    fn candidate(&self) -> Option<usize> {
        if !self.proven {
            // Mostly the path carries all that may be sent, and one answer is enough.
            let all = self.failed > self.most && self.lost.is_multiple_of(2);
            Some(if all { self.most } else { self.length })
        } else if self.failed > self.most {
            (self.length < self.most).then_some(self.most)
        } else {
            let gap = self.failed - self.length;
            (gap > STEP_BYTES).then_some(self.length + gap / 2)
        }
    }

    /// When longer datagrams are tried again after a failure.
    fn retry_at(&self) -> u64 {
        self.failed_at.saturating_add(self.retry_us)
    }

    /// Since when the length should be tested.
    fn wants_length(&self) -> Option<u64> {
        if !self.used.long || self.most == PATH_BYTES_MIN {
            return None;
        }
        if self.candidate().is_some() {
            return Some(0);
        }
        let confirm = self.confirmed_at.saturating_add(CONFIRM_US);
        let retry = self.retry_at();
        match (self.length > PATH_BYTES_MIN, self.failed <= self.most) {
            (true, true) => Some(confirm.min(retry)),
            (true, false) => Some(confirm),
            (false, true) => Some(retry),
            (false, false) => None,
        }
    }

    /// Since when batches should be tested.
    fn wants_batch(&self) -> Option<u64> {
        match (self.used.batch, self.batches, self.batches_confirmed_at) {
            (false, ..) => None,
            (true, false, _) => Some(self.batches_failed_at.saturating_add(self.batches_retry_us)),
            (true, true, None) => Some(0),
            (true, true, Some(at)) => Some(at.saturating_add(CONFIRM_US)),
        }
    }

    /// Since when something should be tested.
    fn wants(&self) -> Option<u64> {
        self.wants_length().into_iter().chain(self.wants_batch()).min()
    }
}

#[cfg(test)]
#[path = "length_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "length_exact_tests.rs"]
mod exact_tests;
