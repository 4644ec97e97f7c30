//! The questions of a follower that are under way.
//!
//! A follower that reads what is written already has several questions under way, for pieces that
//! do not overlap. The window of them grows by one with every answer, up to [`WINDOW_MAX`], and
//! shrinks when answers are late. A question that is not answered in time is asked again in the same
//! words, so a late answer is as good as one in time, whoever gives it.

use crate::message::{Excerpt, FollowQuery, HOLD_US};
use crate::types::{ReplicaId, Slot, Time};
use round_trip::RoundTrip;

/// How many questions are under way at first, and at least.
const WINDOW_MIN: usize = 8;

/// How many are under way at most.
pub(super) const WINDOW_MAX: usize = 64;

/// How long to wait for an answer before any has come.
const RETRY_FIRST_US: u64 = 100_000;

/// The shortest wait: a replica may do other things first.
const RETRY_MIN_US: u64 = 5_000;

/// The longest wait.
const RETRY_MAX_US: u64 = 1_000_000;

/// A question.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// Where its piece begins.
    pub(super) at: u64,
    /// How many bytes it is for.
    pub(super) room: u64,
    /// The piece's place in the words of the question.
    slot: Slot,
    offset: u64,
    /// Whether it is about a line that may not be written yet.
    waits: bool,
    /// Whether it was asked before.
    again: bool,
    /// When it was asked last, if it is under way, and whom.
    asked: Option<Asked>,
}

/// When and whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) of: ReplicaId,
    pub(super) at: Time,
    /// After this the answer is late.
    by: Time,
}

impl Question {
    /// The question for `room` bytes at this position, which is that far behind the beginning of
    /// the line of `slot`.
    pub(super) fn new(at: u64, slot: Slot, offset: u64, room: u64, waits: bool) -> Self {
        Question { at, room, slot, offset, waits, again: false, asked: None }
    }

    /// Where its piece ends.
    pub(super) fn end(&self) -> u64 {
        self.at + self.room
    }

    /// The rest of its piece, of which `bytes` have come.
    pub(super) fn behind(&self, bytes: u64) -> Self {
        let (at, offset) = (self.at + bytes, self.offset + bytes);
        Question::new(at, self.slot, offset, self.room - bytes, false)
    }
}

/// All questions that are open, by position.
#[derive(Debug)]
pub(super) struct Questions {
    open: Vec<Question>,
    window: usize,
    trip: RoundTrip,
}

impl Questions {
    pub(super) fn new() -> Self {
        let trip = RoundTrip::new(RETRY_FIRST_US, RETRY_MIN_US, RETRY_MAX_US);
        Questions { open: Vec::new(), window: WINDOW_MIN, trip }
    }

    /// A round trip to a replica was measured elsewhere.
    pub(super) fn note_trip(&mut self, took_us: u64) {
        self.trip.answered(took_us);
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Adds a question that is not under way yet.
    pub(super) fn add(&mut self, question: Question) {
        let at = self.open.partition_point(|it| it.at < question.at);
        self.open.insert(at, question);
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// Another replica is asked from now on, of whose path nothing is known.
    pub(super) fn begin_anew(&mut self) {
        self.window = WINDOW_MIN;
    }

    /// How many more may be under way.
    pub(super) fn room(&self) -> usize {
        self.window.saturating_sub(self.open.iter().filter(|it| it.asked.is_some()).count())
    }

    /// Asks `of` what is open and not under way, the first ones first, for at most `most` bytes
    /// each. What is left of a longer piece becomes a question of its own.
    pub(super) fn ask(&mut self, now: Time, of: ReplicaId, most: u64) -> Vec<FollowQuery> {
        let (mut room, mut asked, mut at) = (self.room(), Vec::new(), 0);
        while room > 0
            && let Some(question) = self.open.get_mut(at)
        {
            at += 1;
            if question.asked.is_some() {
                continue;
            }
            let is_cut = question.room > most && !question.waits;
            let rest = is_cut.then(|| question.behind(most));
            question.room = question.room.min(most);
            let hold_us = if question.waits { HOLD_US } else { 0 };
            let by = now.plus_us(hold_us + self.trip.wait_us());
            question.asked = Some(Asked { of, at: now, by });
            let Question { slot, offset, room: bytes, .. } = *question;
            asked.push(FollowQuery { slot, offset, room: bytes as u16 });
            rest.into_iter().for_each(|rest| self.open.insert(at, rest));
            room -= 1;
        }
        asked
    }

    /// An answer has come from `from`. Returns the question, which is open no more; none if nobody
    /// waits for the answer. That there is nothing says only whoever was asked.
    pub(super) fn answered(
        &mut self,
        now: Time,
        from: ReplicaId,
        excerpt: &Excerpt,
    ) -> Option<Question> {
        let is_it = |it: &Question| (it.slot, it.offset) == (excerpt.slot, excerpt.offset);
        let at = self.open.iter().position(is_it)?;
        let asked = self.open[at].asked.filter(|asked| asked.of == from);
        if excerpt.text.is_empty() && asked.is_none() {
            return None;
        }
        let question = self.open.remove(at);
        match asked {
            Some(asked) if !question.waits => {
                let took_us = now.since_us(asked.at);
                match question.again {
                    true => self.trip.recovered(took_us),
                    false => self.trip.answered(took_us),
                }
                self.window = (self.window + 1).min(WINDOW_MAX);
            }
            _ => {}
        }
        Some(question)
    }

    /// Those whose answers are late are under way no more. Returns when and whom they were asked.
    pub(super) fn late(&mut self, now: Time) -> Vec<Asked> {
        let (mut late, mut reads) = (Vec::new(), false);
        for question in &mut self.open {
            if let Some(asked) = question.asked.take_if(|asked| asked.by <= now) {
                question.again = true;
                reads |= !question.waits;
                late.push(asked);
            }
        }
        if reads {
            self.trip.missed(RETRY_MAX_US);
            self.window = (self.window - self.window / 4).max(WINDOW_MIN);
        }
        late
    }

    /// When the next answer is late.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.open.iter().filter_map(|it| Some(it.asked?.by)).min()
    }
}
