//! Phase 1 of one ballot, from the own durable promise to a quorum of promises.
//!
//! The first to promise is the candidate's own acceptor. Only when that promise is
//! durable does anything under the ballot leave this replica; so no
//! ballot is ever used twice, and nobody counts a vote of their own that they have
//! not given.
//!
//! Promises come in pages. An acceptor counts once its pages cover everything from
//! the candidate's first undecided slot without a gap; each page that arrives is
//! answered by the request for the next, which is a prepare of the same ballot.
//! Values are kept per slot at the highest ballot seen. (Paxos Made Simple, §2.2
//! and §3.)
//!
//! Slots below the highest trim mark in the quorum are decided: the new leader
//! proposes nothing there, its learner fetches them.

use super::aside::{Aside, NotState};
use super::{ACCEPT_WINDOW_SLOTS, Outbox, Settings};
use crate::message::{Message, Promise, Run, ToAcceptor};
use crate::quorum::quorum;
use crate::runs::Runs;
use crate::types::{Ballot, ReplicaId, Slot, SlotRange, Time, replicas};
use crate::values::{Builder, ValueRef, Values};

/// How long a prepare waits for its answer before it is sent again.
const PREPARE_RETRY_US: u64 = 40_000;

/// How far one acceptor's pages reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Cursor {
    /// Everything from the first slot asked for up to here is covered.
    covered: Slot,
    done: bool,
    trimmed: Slot,
}

/// What a quorum's promises leave to the new leader.
#[derive(Debug, PartialEq, Eq)]
pub struct Phase1Outcome {
    /// The first slot of phase 2: everything below is decided.
    pub first: Slot,
    /// What to propose from there on, without gaps: the value of the highest ballot
    /// in the quorum, or a no-op where there was none.
    pub values: Values,
}

/// When something is done without an input.
#[derive(Debug, Clone, Copy)]
struct Timers {
    /// When prepares are sent again.
    resend_at: Time,
    /// When this attempt has come to nothing: every new page moves it.
    give_up_at: Time,
}

impl NotState for Timers {}

/// Phase 1 under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Phase1 {
    settings: Aside<Settings>,
    ballot: Ballot,
    first: Slot,
    cursors: Vec<Cursor>,
    values: Runs,
    /// How many acceptors must have told everything.
    promises: usize,
    own_promise_durable: bool,
    timers: Aside<Timers>,
}

impl Phase1 {
    /// Asks the own acceptor to promise `ballot`; everything below
    /// `first` is applied here.
    pub fn begin<R>(
        settings: Settings,
        ballot: Ballot,
        first: Slot,
        now: Time,
        out: &mut Outbox<R>,
    ) -> Self {
        Phase1::new(settings, ballot, first, quorum(settings.n), now, out)
    }

    /// Asks the own acceptor to promise ballot 0, on a cluster that has just warmed up:
    /// nothing can have been accepted below it, so nobody else has to promise it.
    pub fn begin_first<R>(settings: Settings, now: Time, out: &mut Outbox<R>) -> Self {
        Phase1::new(settings, Ballot::ZERO, Slot::ZERO, 1, now, out)
    }

    fn new<R>(
        settings: Settings,
        ballot: Ballot,
        first: Slot,
        promises: usize,
        now: Time,
        out: &mut Outbox<R>,
    ) -> Self {
        assert_eq!(ballot.owner(settings.n), settings.id, "a campaign uses an own ballot");
        let mut phase1 = Phase1 {
            settings: Aside(settings),
            ballot,
            first,
            cursors: vec![Cursor { covered: first, done: false, trimmed: Slot::ZERO }; settings.n],
            values: Runs::default(),
            promises,
            own_promise_durable: false,
            timers: Aside(Timers {
                resend_at: now,
                give_up_at: now.plus_us(settings.election_max_us),
            }),
        };
        phase1.handle_timeout(now, out);
        phase1
    }

    /// The ballot that is campaigned with.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Whether nothing new has come for so long that it is better to begin again.
    pub fn is_hopeless(&self, now: Time) -> bool {
        now >= self.timers.give_up_at
    }

    /// When a prepare is next sent again, or the campaign given up.
    pub fn deadline(&self) -> Time {
        self.timers.resend_at.min(self.timers.give_up_at)
    }

    /// Sends prepares again to whoever has not told everything.
    pub fn handle_timeout<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        if now < self.timers.resend_at {
            return;
        }
        self.timers.resend_at = now.plus_us(PREPARE_RETRY_US);
        for id in replicas(self.settings.n) {
            self.prepare(id, out);
        }
    }

    fn prepare<R>(&self, to: ReplicaId, out: &mut Outbox<R>) {
        let cursor = self.cursors[to.index()];
        let asked = to == self.settings.id || self.own_promise_durable && self.promises > 1;
        if !cursor.done && asked {
            let prepare = ToAcceptor::Prepare { ballot: self.ballot, first: cursor.covered };
            out.send(to, Message::Acceptor(prepare));
        }
    }

    /// Takes a page of `from`'s promise. The caller has checked that its directory
    /// counts. Returns the outcome once a quorum has told everything.
    pub fn handle_promise<R>(
        &mut self,
        now: Time,
        from: ReplicaId,
        page: Promise,
        out: &mut Outbox<R>,
    ) -> Option<Phase1Outcome> {
        if page.ballot != self.ballot || !is_well_formed(&page) {
            return None;
        }
        let cursor = &mut self.cursors[from.index()];
        if cursor.done || page.slots.start > cursor.covered {
            return None;
        }
        let news = page.slots.end > cursor.covered || page.last;
        if news {
            self.timers.give_up_at = now.plus_us(self.settings.election_max_us);
        }
        cursor.covered = cursor.covered.max(page.slots.end);
        cursor.done = page.last;
        cursor.trimmed = cursor.trimmed.max(page.trimmed);
        for Run { first, ballot, values } in page.accepted {
            let run = Run { first, ballot, values };
            self.keep(run.within(SlotRange::onward(self.first)));
        }
        if from == self.settings.id && !self.own_promise_durable {
            self.own_promise_durable = true;
            self.timers.resend_at = now;
            self.handle_timeout(now, out);
        } else if news {
            // A page that comes again asks for nothing: whoever sent the first copy has
            // been asked on, and each copy answered would be one more for ever after.
            self.prepare(from, out);
        }
        self.outcome()
    }

    fn outcome(&mut self) -> Option<Phase1Outcome> {
        let done = || self.cursors.iter().filter(|cursor| cursor.done);
        // Peers may have promised the ballot to an earlier life of this process.
        if !self.own_promise_durable || done().count() < self.promises {
            return None;
        }
        let marks = done().map(|cursor| cursor.trimmed);
        let first = marks.max().unwrap_or_default().max(self.first);
        let mut values = Builder::default();
        // Who voted for a slot had trimmed less than a window below it, and of those one
        // at least is in the quorum: nothing further up was chosen, whoever says so.
        for run in self.values.range(SlotRange::with_len(first, ACCEPT_WINDOW_SLOTS)) {
            let next = first.plus(values.len() as u64);
            (0..run.first.since(next)).for_each(|_| values.push(ValueRef::Noop));
            values.extend(&run.values);
        }
        Some(Phase1Outcome { first, values: values.take() })
    }

    /// What an acceptor holds counts unless another holds something at a higher ballot.
    fn keep(&mut self, run: Run) {
        if let Err(slot) = self.values.insert(run) {
            log::error!("acceptors hold two values for slot {slot} at one ballot");
        }
    }
}

/// Whether a page says of itself what a page may say: its entries ascend within
/// what it covers, and within the window of an acceptor.
fn is_well_formed(page: &Promise) -> bool {
    let end = |entry: &Run| entry.first.plus(entry.values.len() as u64);
    let ascending = page.accepted.windows(2).all(|pair| end(&pair[0]) <= pair[1].first);
    let window = page.trimmed.plus(ACCEPT_WINDOW_SLOTS);
    let within = page.accepted.iter().all(|entry| {
        entry.first >= page.slots.start.max(page.trimmed)
            && end(entry) <= page.slots.end.min(window)
            && entry.ballot <= page.ballot
    });
    ascending && within && page.slots.end >= page.slots.start
}
