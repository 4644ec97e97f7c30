//! Phase 1 of one ballot, from the own durable promise to a quorum of promises.
//!
//! The first acceptor to promise is the candidate's own. No message under the ballot
//! leaves this replica before that promise is durable (S2). So no ballot is ever used
//! twice, and no replica counts a promise of its own that it has not given.
//!
//! Promises come in pages (S5). An acceptor counts once its pages cover everything from
//! the first slot that the candidate has not applied, without a gap. The candidate answers
//! each new page with a request for the next, a prepare of the same ballot. Slots
//! below the highest trim mark in the quorum are decided: the new leader proposes
//! nothing there, and its learner fetches them. (Paxos Made Simple, §2.2 and §3; the
//! scout of Paxos Made Moderately Complex.)

use super::{ACCEPT_WINDOW_SLOTS, Outbox, Settings};
use crate::aside::{Aside, NotState};
use crate::message::{Message, Promise, ToAcceptor};
use crate::quorum::quorum;
use crate::runs::Runs;
use crate::types::{Ballot, ReplicaId, Slot, SlotRange, Time, replicas};
use crate::values::{Builder, ValueRef, Values};

/// How long a prepare waits for its answer before it is sent again.
const PREPARE_RETRY_US: u64 = 40_000;

/// How far one acceptor's pages reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Cursor {
    /// The pages cover every slot from the campaign's first up to this one.
    covered: Slot,
    /// The last page has come: this acceptor has promised.
    done: bool,
    /// The highest trim mark on any of its pages.
    trimmed: Slot,
}

impl Cursor {
    /// Takes a page and returns whether it covers anything new. Returns nothing if the page
    /// would leave a gap, or if no page is missing.
    fn take(&mut self, page: &Promise) -> Option<bool> {
        if self.done || page.slots.start > self.covered {
            return None;
        }
        let news = page.slots.end > self.covered || page.last;
        self.covered = self.covered.max(page.slots.end);
        self.done = page.last;
        self.trimmed = self.trimmed.max(page.trimmed);
        Some(news)
    }
}

/// What a quorum's promises leave to the new leader.
#[derive(Debug, PartialEq, Eq)]
pub struct Phase1Outcome {
    /// The first slot of phase 2: everything below is decided.
    pub first: Slot,
    /// What to propose from there on, without gaps.
    pub values: Values,
}

/// When something is done without an input.
#[derive(Debug, Clone, Copy)]
struct Timers {
    /// When prepares are sent again.
    resend_at: Time,
    /// When this attempt has come to nothing: every new page moves it (L3).
    give_up_at: Time,
}

impl NotState for Timers {}

/// Phase 1 under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Phase1 {
    settings: Aside<Settings>,
    ballot: Ballot,
    /// The first slot that is not applied here.
    first: Slot,
    /// By replica id.
    cursors: Vec<Cursor>,
    /// What acceptors report, each slot at the highest ballot.
    reported: Runs,
    /// How many acceptors must promise.
    promises: usize,
    own_promise_durable: bool,
    timers: Aside<Timers>,
}

impl Phase1 {
    /// Asks the own acceptor to promise `ballot`; everything below `first` is applied here.
    pub fn begin<R>(
        settings: Settings,
        ballot: Ballot,
        first: Slot,
        now: Time,
        out: &mut Outbox<R>,
    ) -> Self {
        assert_eq!(ballot.owner(settings.n), settings.id, "a campaign uses an own ballot");
        // No acceptor can have accepted anything below ballot 0, so only the own promise is
        // needed. (The proposer uses ballot 0 only in the life that warmed up: S2.)
        let promises = if ballot == Ballot::ZERO { 1 } else { quorum(settings.n) };
        let give_up_at = now.plus_us(settings.election_max_us);
        let mut phase1 = Phase1 {
            settings: Aside(settings),
            ballot,
            first,
            cursors: vec![Cursor { covered: first, done: false, trimmed: Slot::ZERO }; settings.n],
            reported: Runs::default(),
            promises,
            own_promise_durable: false,
            timers: Aside(Timers { resend_at: now, give_up_at }),
        };
        phase1.handle_timeout(now, out);
        phase1
    }

    /// The ballot that is campaigned with.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Whether nothing new has come for the longest election wait.
    pub fn is_hopeless(&self, now: Time) -> bool {
        now >= self.timers.give_up_at
    }

    /// When a prepare is next sent again, or the campaign given up.
    pub fn deadline(&self) -> Time {
        self.timers.resend_at.min(self.timers.give_up_at)
    }

    /// Sends prepares again to every acceptor that has not promised (L4).
    pub fn handle_timeout<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        if now < self.timers.resend_at {
            return;
        }
        self.timers.resend_at = now.plus_us(PREPARE_RETRY_US);
        replicas(self.settings.n).for_each(|id| self.send_prepare(id, out));
    }

    /// Phase 1a: asks an acceptor for its promise, or for the next page of it.
    fn send_prepare<R>(&self, to: ReplicaId, out: &mut Outbox<R>) {
        let cursor = self.cursors[to.index()];
        // S2: before the own promise is durable, nothing under this ballot leaves.
        let may_ask = to == self.settings.id || self.own_promise_durable && self.promises > 1;
        if !cursor.done && may_ask {
            let prepare = ToAcceptor::Prepare { ballot: self.ballot, first: cursor.covered };
            out.send(to, Message::Acceptor(prepare));
        }
    }

    /// Phase 1b: takes a page of `from`'s promise. The caller has checked that its
    /// directory counts (S6). Returns the outcome once a quorum has promised.
    pub fn handle_promise<R>(
        &mut self,
        now: Time,
        from: ReplicaId,
        page: Promise,
        out: &mut Outbox<R>,
    ) -> Option<Phase1Outcome> {
        // S3: nothing is counted across ballots. W4: a peer's page is checked first.
        if page.ballot != self.ballot || !is_well_formed(&page) {
            return None;
        }
        let news = self.cursors[from.index()].take(&page)?;
        if news {
            self.timers.give_up_at = now.plus_us(self.settings.election_max_us);
        }
        for run in page.accepted {
            if let Err(slot) = self.reported.insert(run.within(SlotRange::onward(self.first))) {
                log::error!("acceptors hold two values for slot {slot} at one ballot");
            }
        }
        if from == self.settings.id && !self.own_promise_durable {
            // S2: the own acceptor reports a promise once it is durable.
            self.own_promise_durable = true;
            self.timers.resend_at = now;
            self.handle_timeout(now, out);
        } else if news {
            // A page that comes again is not answered: its first copy was. Otherwise each
            // page after it would come twice as well.
            self.send_prepare(from, out);
        }
        self.outcome()
    }

    /// The acceptors that have promised.
    fn promised(&self) -> impl Iterator<Item = &Cursor> {
        self.cursors.iter().filter(|cursor| cursor.done)
    }

    fn outcome(&self) -> Option<Phase1Outcome> {
        // Peers may have promised the ballot to an earlier life of this process, so a quorum
        // without the own promise is not enough (S2).
        if !self.own_promise_durable || self.promised().count() < self.promises {
            return None;
        }
        // S5: slots that one of the quorum has forgotten are decided.
        let trimmed = self.promised().map(|cursor| cursor.trimmed).max().unwrap_or_default();
        let first = trimmed.max(self.first);
        Some(Phase1Outcome { first, values: self.choose_values(first) })
    }

    /// S4: in every slot from `first` on, the new leader proposes the value of the highest
    /// ballot that its quorum reports. Such a value may be chosen already. A slot without a
    /// value, below the highest reported one, gets a no-op: nothing can have been chosen
    /// there. (Paxos Made Simple, §2.2, P2c, and §3 on the gap.)
    fn choose_values(&self, first: Slot) -> Values {
        let mut values = Builder::default();
        // Nothing is chosen above this window, whatever is reported there. If a slot there
        // were chosen, an acceptor of this quorum would have accepted it, within a window of
        // its own trim mark. But no trim mark of this quorum is above `first`.
        for run in self.reported.range(SlotRange::with_len(first, ACCEPT_WINDOW_SLOTS)) {
            let next = first.plus(values.len() as u64);
            (0..run.first.since(next)).for_each(|_| values.push(ValueRef::Noop));
            values.extend(&run.values);
        }
        values.take()
    }
}

/// Whether a page says only what a page may say: its runs ascend within what it covers and
/// within the window of an acceptor, at ballots up to its own.
fn is_well_formed(page: &Promise) -> bool {
    let ascending = page.accepted.windows(2).all(|pair| pair[0].end() <= pair[1].first);
    let window = SlotRange::with_len(page.trimmed, ACCEPT_WINDOW_SLOTS);
    let allowed = window.intersect(page.slots);
    let within = page.accepted.iter().all(|run| {
        run.first >= allowed.start && run.end() <= allowed.end && run.ballot <= page.ballot
    });
    ascending && within && page.slots.end >= page.slots.start
}
