//! A follower: reads the chat log from a slot on, from any replica, and goes on as it grows.
//!
//! The chat log is one stream of bytes, the same on all replicas. A follower asks one replica at a
//! time for pieces of it ([`FollowQuery`](crate::message::FollowQuery)): for what it knows to be
//! written with several questions under way (`questions`), and then with one that waits there for
//! the next line. Whole lines leave, in order (`lines`). It writes nothing and opens no session.
//!
//! A replica that does not answer in time is passed over for a while, and the next one is asked, in
//! the middle of a line if need be. One that has nothing new says so after
//! [`HOLD_US`](crate::message::HOLD_US), and then another one is asked as well: it may be cut off
//! from the others, and would have nothing new for ever. So a follower never learns who leads, and
//! does not care.
//!
//! First it says hello to all (`opening`): the welcomes carry the cluster id, and say how far the
//! log is. One that wants no more than that ends there. What the welcomes say is a replica's word:
//! one that was replaced as leader and has not heard of it may lack lines that are complete. So one
//! that reads asks a quorum as well how far the log may go ([`marks`]), and has not read before it
//! has every line below that.
//!
//! **Guarantees.** Every line from the first slot on leaves once, in order: a piece is asked for
//! until it has come, and what has come twice counts once (W7). One that reads has, in the end,
//! every line that was complete when it began (E5).
//!
//! **Does not** know a socket or a clock, as [`crate::survey`].

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod lines;
pub mod marks;
mod opening;
mod questions;
mod tests;

pub use lines::Lines;

use crate::message::{Answer, ClientMessage, EXCERPT_TEXT_BYTES_MAX, Excerpt, Voters};
use crate::quorum::ReplicaSet;
use crate::types::{NUMBER_MAX, ReplicaId, Slot, Time, replicas};
use lines::{Assembly, NotALine};
use marks::Marks;
use opening::Opening;
use questions::{Question, Questions, WINDOW_MAX};

/// How often a follower says hello that waits for a welcome, or to replicas that have gone silent.
const HELLO_US: u64 = 250_000;

/// A replica counts as answering for so long after it has: eight hellos, of which one gets through.
const ANSWERING_US: u64 = 8 * HELLO_US;

/// After so long without an answer it says hello again: its cluster may have gone.
const SILENT_US: u64 = 1_000_000;

/// After so long without an answer the user hears of it, and then whenever that has doubled.
const PATIENCE_US: u64 = 3_000_000;

/// How long a replica is passed over that has not answered, or lacks lines that another one has.
const SHUN_US: u64 = 5_000_000;

/// What a follower is to do.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// The slot whose line comes first.
    pub from: Slot,
    /// Whether it ends with the last line that is decided when it begins.
    pub ends: bool,
    /// Whether it asks a quorum how far that is, so that it misses nothing (E5).
    pub reads: bool,
    /// How long it waits without an answer: for ever if absent.
    pub timeout_us: Option<u64>,
}

/// How a follower ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every line has come that was asked for.
    Done,
    /// No replica has answered in time.
    Silent(Silence),
    /// Most replicas belong to another cluster than at the beginning; this is one of them.
    OtherCluster(ReplicaId),
    /// This replica has sent what is no line of this slot.
    NotALine(ReplicaId, Slot),
}

/// Nobody has answered for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// For how long, in microseconds.
    pub waited_us: u64,
    /// How many replicas have said hello since.
    pub answering: usize,
    /// What it waits for.
    pub lacks: Lacks,
}

/// What a follower waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacks {
    /// A welcome has never come.
    Welcome,
    /// It reads, and too few replicas have given their marks.
    Marks,
    /// Lines.
    Lines,
}

/// What is to be sent now, and whether the user should hear of a silence.
#[derive(Debug, Default)]
pub struct Turn {
    /// The messages and their receivers.
    pub calls: Vec<(ReplicaId, ClientMessage)>,
    /// Nobody answers.
    pub silence: Option<Silence>,
    /// Of one that reads and goes on: every line that was complete when it began lies below this
    /// slot, and has left. Once.
    pub has_read: Option<Slot>,
}

#[derive(Debug)]
enum Phase {
    Opening(Opening),
    Reading,
    Over(End),
}

/// A follower of the chat log.
#[derive(Debug)]
pub struct Follower {
    /// With how many replicas the cluster began.
    n: usize,
    /// How many may be asked.
    places: usize,
    order: Order,
    draw: u64,
    phase: Phase,
    /// Of one that reads, from the first welcome until it has read.
    marks: Option<Marks>,
    has_read: bool,
    assembly: Assembly,
    questions: Questions,
    /// The text before this position has been asked for,
    asked: u64,
    /// and that before this one is known to be there.
    known: u64,
    /// The replica that is asked.
    source: ReplicaId,
    /// By replica: when it was heard last,
    heard: Vec<Time>,
    /// and until when it is passed over.
    shunned: Vec<Time>,
    /// Since when nobody has answered.
    silent_since: Time,
    /// When hello is said next, unless somebody answers.
    hello_at: Time,
    /// When hello was said first.
    greeted: Option<Time>,
    report_at: Time,
    /// By replica: when it answered a hello last.
    answered: Vec<Option<Time>>,
    /// Who belongs to another cluster, of those that have answered since somebody else had.
    elsewhere: ReplicaSet,
}

impl Follower {
    /// A follower in a cluster of `n` that begins now. `draw` chooses whom it asks first, and is the
    /// number of its read, so no two may have the same.
    pub fn new(now: Time, n: usize, order: Order, draw: u64) -> Self {
        Follower {
            n,
            places: n,
            order,
            draw,
            phase: Phase::Opening(Opening::default()),
            marks: None,
            has_read: false,
            assembly: Assembly::new(order.from, Slot(NUMBER_MAX)),
            questions: Questions::new(),
            asked: 0,
            known: 0,
            source: ReplicaId(0),
            heard: vec![now; n],
            shunned: vec![now; n],
            silent_since: now,
            hello_at: now,
            greeted: None,
            report_at: now.plus_us(PATIENCE_US),
            answered: vec![None; n],
            elsewhere: ReplicaSet::EMPTY,
        }
    }

    /// The same, which may ask the replicas at so many places. It has asked nobody yet.
    #[must_use]
    pub fn among(mut self, places: usize) -> Self {
        self.places = places;
        let began = self.silent_since;
        self.heard.resize(places, began);
        self.shunned.resize(places, began);
        self.answered.resize(places, None);
        self
    }

    /// How it has ended, if it has.
    pub fn end(&self) -> Option<End> {
        match self.phase {
            Phase::Over(end) => Some(end),
            Phase::Opening(_) | Phase::Reading => None,
        }
    }

    /// The slot of the next line.
    pub fn slot(&self) -> Slot {
        self.assembly.slot()
    }

    /// Takes the lines that have come since this was called last.
    pub fn lines(&mut self) -> Option<Lines> {
        self.assembly.take()
    }

    /// What is to be done now. `room` says how much text may be asked of a replica at a time: for
    /// so much the longest datagram to it pays.
    pub fn turn(&mut self, now: Time, room: impl Fn(ReplicaId) -> usize) -> Turn {
        let mut turn = Turn::default();
        self.open_if_due(now);
        if let Some(marks) = &mut self.marks {
            turn.calls.extend(marks.due(now));
        }
        turn.has_read = self.take_read();
        if matches!(self.phase, Phase::Reading) {
            self.pass_over_silent(now);
            let most = room(self.source).clamp(1, EXCERPT_TEXT_BYTES_MAX) as u64;
            self.ask(most);
            let asked = self.questions.ask(now, self.source, most);
            let calls = asked.into_iter().map(|query| (self.source, ClientMessage::Follow(query)));
            turn.calls.extend(calls);
        }
        if self.end().is_none() {
            self.watch_silence(now, &mut turn);
        }
        turn
    }

    /// When [`Follower::turn`] is to be called again, if nothing comes before.
    pub fn deadline(&self) -> Option<Time> {
        let opens = match &self.phase {
            Phase::Opening(opening) => opening.deadline(),
            Phase::Reading => None,
            Phase::Over(_) => return None,
        };
        let late = self.questions.deadline();
        let marks = self.marks.as_ref().map(Marks::deadline);
        let ends = [Some(self.hello_due()), Some(self.report_at), self.times_out()];
        opens.into_iter().chain(late).chain(marks).chain(ends.into_iter().flatten()).min()
    }

    /// A replica has answered.
    pub fn take(&mut self, now: Time, from: ReplicaId, answer: Answer) {
        match answer {
            Answer::Welcome { applied, ballot } => {
                self.answered[from.index()] = Some(now);
                if let Phase::Opening(opening) = &mut self.phase {
                    opening.welcome(now, from, applied, ballot);
                    if let Some(greeted) = self.greeted.take() {
                        self.questions.note_trip(now.since_us(greeted));
                    }
                    self.open_if_due(now);
                }
                // A question needs the cluster id, which the welcome has brought.
                let reads = self.order.reads && !self.has_read && self.end().is_none();
                if reads && self.marks.is_none() {
                    self.marks = Some(Marks::new(now, self.places, self.draw));
                }
            }
            Answer::Mark { read, mark, by } => self.take_mark(now, from, read, (by, mark)),
            Answer::Leader { .. } => self.answered[from.index()] = Some(now),
            Answer::Log(excerpt) if matches!(self.phase, Phase::Reading) => {
                self.take_excerpt(now, from, *excerpt);
            }
            _ => {}
        }
    }

    /// A replica belongs to another cluster. A cluster has a quorum; so while most belong to
    /// another one, this follower's own cannot answer.
    pub fn take_elsewhere(&mut self, from: ReplicaId) {
        if self.end().is_none() && self.elsewhere.insert(from) && self.elsewhere.is_quorum(self.n) {
            self.phase = Phase::Over(End::OtherCluster(from));
        }
    }

    // --- the text ------------------------------------------------------------------

    /// Begins to read, once enough replicas have welcomed.
    fn open_if_due(&mut self, now: Time) {
        let Phase::Opening(opening) = &self.phase else { return };
        if !opening.is_over(now, self.n) {
            return;
        }
        let Some(source) = opening.source(self.n, self.draw) else { return };
        self.source = source;
        if self.order.ends && !self.order.reads {
            self.assembly.ends_at(opening.end());
        }
        self.phase = Phase::Reading;
        self.break_silence(now);
        self.end_if_over();
    }

    fn end_if_over(&mut self) {
        if self.assembly.is_over() {
            self.phase = Phase::Over(End::Done);
            self.marks = None;
        }
    }

    /// A replica has given its mark.
    fn take_mark(&mut self, now: Time, from: ReplicaId, read: u64, mark: (Voters, Slot)) {
        let Some(marks) = &mut self.marks else { return };
        let was_known = marks.end().is_some();
        marks.take(now, from, read, mark);
        let Some(end) = marks.end() else { return };
        if !was_known {
            self.break_silence(now);
        }
        if self.order.ends {
            self.assembly.ends_at(end);
            if matches!(self.phase, Phase::Reading) {
                self.end_if_over();
            }
        }
    }

    /// Of one that goes on: the end of what it had to read, once that has come.
    fn take_read(&mut self) -> Option<Slot> {
        let end = self.marks.as_ref().filter(|_| !self.order.ends)?.end()?;
        let has_come = self.assembly.slot() >= end;
        if has_come {
            (self.marks, self.has_read) = (None, true);
        }
        has_come.then_some(end)
    }

    /// Adds the questions that are due: for what is known to be there and was not asked for; or, if
    /// all of that has come, one for the next line.
    fn ask(&mut self, most: u64) {
        let end = self.known.min(self.assembly.at() + 2 * WINDOW_MAX as u64 * most);
        let mut room = self.questions.room();
        while room > 0 && self.asked < end {
            let bytes = most.min(end - self.asked);
            self.add_question(self.asked, bytes, false);
            self.asked += bytes;
            room -= 1;
        }
        if self.questions.is_empty() {
            assert!(
                self.asked <= self.assembly.at(),
                "what was asked for has come, or is asked for"
            );
            self.add_question(self.assembly.at(), most, true);
        }
    }

    fn add_question(&mut self, at: u64, room: u64, waits: bool) {
        let offset = self.assembly.offset() + (at - self.assembly.at());
        self.questions.add(Question::new(at, self.assembly.slot(), offset, room, waits));
    }

    fn take_excerpt(&mut self, now: Time, from: ReplicaId, mut excerpt: Excerpt) {
        let Some(question) = self.questions.answered(now, from, &excerpt) else { return };
        self.note_answer(now, from);
        // Whoever wants what there is waits in vain for what nobody can apply.
        if !excerpt.text.is_empty() || !self.order.ends {
            self.break_silence(now);
        }
        if excerpt.text.is_empty() {
            return self.take_nothing(now, from, excerpt.applied);
        }
        excerpt.text.truncate(question.room as usize);
        let bytes = excerpt.text.len() as u64;
        let end = question.at + bytes;
        self.known = self.known.max(end.saturating_add(excerpt.rest));
        if self.asked <= question.end() {
            self.asked = end;
        } else if end < question.end() {
            self.questions.add(question.behind(bytes));
        }
        match self.assembly.put(question.at, excerpt.text) {
            Ok(()) => self.end_if_over(),
            Err(NotALine(slot)) => self.phase = Phase::Over(End::NotALine(from, slot)),
        }
    }

    /// The replica that is asked has nothing (yet).
    fn take_nothing(&mut self, now: Time, from: ReplicaId, applied: Slot) {
        if applied < self.assembly.slot() {
            self.shunned[from.index()] = now.plus_us(SHUN_US);
        }
        self.questions.clear();
        self.assembly.forget_early();
        (self.known, self.asked) = (self.assembly.at(), self.assembly.at());
        if from == self.source {
            self.ask_another(now);
        }
    }

    // --- whom to ask ---------------------------------------------------------------

    /// A replica that was asked has answered.
    fn note_answer(&mut self, now: Time, from: ReplicaId) {
        (self.heard[from.index()], self.shunned[from.index()]) = (now, now);
        self.elsewhere = ReplicaSet::EMPTY;
    }

    fn break_silence(&mut self, now: Time) {
        (self.silent_since, self.report_at) = (now, now.plus_us(PATIENCE_US));
    }

    /// If answers are late, and nothing has come of the replica since it was asked: another one is
    /// asked.
    fn pass_over_silent(&mut self, now: Time) {
        let late = self.questions.late(now);
        let is_silent = late
            .iter()
            .any(|asked| asked.of == self.source && self.heard[asked.of.index()] < asked.at);
        if is_silent {
            self.shunned[self.source.index()] = now.plus_us(SHUN_US);
            self.ask_another(now);
        }
    }

    /// The next replica is asked from now on: in a circle, those last that are passed over.
    fn ask_another(&mut self, now: Time) {
        let after = |by: usize| ReplicaId(((self.source.index() + by) % self.places) as u8);
        let mut others = (1..=self.places).map(after);
        let next = others.find(|it| self.shunned[it.index()] <= now);
        let next = next.unwrap_or(after(1));
        if next != self.source {
            self.source = next;
            self.questions.begin_anew();
        }
    }

    // --- silence -------------------------------------------------------------------

    fn hello_due(&self) -> Time {
        match self.phase {
            Phase::Reading => self.hello_at.max(self.silent_since.plus_us(SILENT_US)),
            Phase::Opening(_) | Phase::Over(_) => self.hello_at,
        }
    }

    fn times_out(&self) -> Option<Time> {
        self.order.timeout_us.map(|us| self.silent_since.plus_us(us))
    }

    fn lacks(&self) -> Lacks {
        let lacks_marks = self.marks.as_ref().is_some_and(|marks| marks.end().is_none());
        match self.phase {
            Phase::Opening(_) => Lacks::Welcome,
            Phase::Reading | Phase::Over(_) if lacks_marks => Lacks::Marks,
            Phase::Reading | Phase::Over(_) => Lacks::Lines,
        }
    }

    /// How many replicas answer at present.
    fn answering(&self, now: Time) -> usize {
        let lately = |at: &&Time| now.since_us(**at) < ANSWERING_US;
        self.answered.iter().flatten().filter(lately).count()
    }

    fn watch_silence(&mut self, now: Time, turn: &mut Turn) {
        let waited_us = now.since_us(self.silent_since);
        let is_open = matches!(self.phase, Phase::Reading);
        let silence = Silence { waited_us, answering: self.answering(now), lacks: self.lacks() };
        if self.times_out().is_some_and(|at| at <= now) {
            self.phase = Phase::Over(End::Silent(silence));
            return;
        }
        if self.report_at <= now {
            self.report_at = now.plus_us(waited_us.max(PATIENCE_US));
            turn.silence = Some(silence);
        }
        if self.hello_due() <= now {
            // Of a hello that was said again nobody knows which one is answered.
            let is_first = !is_open && self.hello_at == self.silent_since;
            self.greeted = is_first.then_some(now);
            self.hello_at = now.plus_us(HELLO_US);
            turn.calls.extend(replicas(self.places).map(|to| (to, ClientMessage::Hello)));
        }
    }
}
