//! A campaign: phase 1 of one ballot, from the licence to the promise quorum.
//!
//! The first to promise is the candidate's own acceptor. Only when that promise is
//! durable (the *licence*) does anything under the ballot leave this replica; so no
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

use super::planted::Bug;
use super::{ACCEPT_WINDOW_SLOTS, Outbox, Settings};
use crate::message::{Message, Promise, ToAcceptor};
use crate::quorum::{ReplicaSet, quorum};
use crate::types::{Ballot, ReplicaId, Slot, Time, Value};
use std::collections::BTreeMap;

/// How long a prepare waits for its answer before it is sent again.
const PREPARE_RETRY_US: u64 = 40_000;

/// How far one acceptor's pages reach.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Everything from the campaign's first slot up to here is covered.
    covered: Slot,
    done: bool,
    trimmed: Slot,
}

/// What a quorum's promises leave to the new leader.
#[derive(Debug, PartialEq, Eq)]
pub struct Mandate {
    /// The first slot of the reign: everything below is decided.
    pub first: Slot,
    /// What to propose from there on, without gaps: the value of the highest ballot
    /// in the quorum, or a no-op where there was none.
    pub values: Vec<Value>,
}

/// Phase 1 under way.
#[derive(Debug)]
pub struct Campaign {
    settings: Settings,
    ballot: Ballot,
    first: Slot,
    cursors: Vec<Cursor>,
    values: BTreeMap<Slot, (Ballot, Value)>,
    /// How many acceptors must have told everything.
    promises: usize,
    licensed: bool,
    resend_at: Time,
    give_up_at: Time,
}

impl Campaign {
    /// Asks one's own acceptor for the licence to use `ballot`; everything below
    /// `first` is applied here.
    pub fn begin<R>(
        settings: Settings,
        ballot: Ballot,
        first: Slot,
        now: Time,
        out: &mut Outbox<R>,
    ) -> Self {
        Campaign::new(settings, ballot, first, quorum(settings.n), now, out)
    }

    /// Asks for the licence to use ballot 0, on a cluster that has just warmed up:
    /// nothing can have been accepted below it, so nobody else has to promise it.
    pub fn begin_first<R>(settings: Settings, now: Time, out: &mut Outbox<R>) -> Self {
        Campaign::new(settings, Ballot::ZERO, Slot::ZERO, 1, now, out)
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
        let mut campaign = Campaign {
            settings,
            ballot,
            first,
            cursors: vec![Cursor { covered: first, done: false, trimmed: Slot::ZERO }; settings.n],
            values: BTreeMap::new(),
            promises,
            licensed: false,
            resend_at: now,
            give_up_at: now.plus_us(settings.election_max_us),
        };
        if settings.planted.has(Bug::CandidateCountsItselfUnpromised) {
            campaign.licensed = true;
            campaign.cursors[settings.id.index()].done = true;
        }
        campaign.handle_timeout(now, out);
        campaign
    }

    /// Takes over another campaign's votes (a planted bug).
    pub fn inherit(&mut self, votes: ReplicaSet) {
        for (id, cursor) in self.cursors.iter_mut().enumerate() {
            cursor.done |= votes.contains(ReplicaId(id as u8));
        }
    }

    /// Who has promised so far.
    pub fn votes(&self) -> ReplicaSet {
        let mut votes = ReplicaSet::EMPTY;
        for (id, cursor) in self.cursors.iter().enumerate() {
            if cursor.done {
                votes.insert(ReplicaId(id as u8));
            }
        }
        votes
    }

    /// The ballot that is campaigned with.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Whether one's own acceptor has durably promised the ballot.
    pub fn is_licensed(&self) -> bool {
        self.licensed
    }

    /// Whether nothing new has come for so long that it is better to begin again.
    pub fn is_hopeless(&self, now: Time) -> bool {
        now >= self.give_up_at
    }

    /// When a prepare is next sent again, or the campaign given up.
    pub fn deadline(&self) -> Time {
        self.resend_at.min(self.give_up_at)
    }

    /// Sends prepares again to whoever has not told everything.
    pub fn handle_timeout<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        if now < self.resend_at {
            return;
        }
        self.resend_at = now.plus_us(PREPARE_RETRY_US);
        for id in (0..self.settings.n as u8).map(ReplicaId) {
            self.prepare(id, out);
        }
    }

    fn prepare<R>(&self, to: ReplicaId, out: &mut Outbox<R>) {
        let cursor = self.cursors[to.index()];
        let asked = to == self.settings.id || self.licensed && self.promises > 1;
        if !cursor.done && asked {
            let prepare = ToAcceptor::Prepare { ballot: self.ballot, first: cursor.covered };
            out.send(to, Message::Acceptor(prepare));
        }
    }

    /// Takes a page of `from`'s promise. The caller has checked that its directory
    /// counts. Returns the mandate once a quorum has told everything.
    pub fn handle_promise<R>(
        &mut self,
        now: Time,
        from: ReplicaId,
        page: Promise,
        out: &mut Outbox<R>,
    ) -> Option<Mandate> {
        let planted = self.settings.planted;
        let old = page.ballot != self.ballot && !planted.has(Bug::OldPromisesCount);
        if old || !is_well_formed(&page) {
            return None;
        }
        if page.last && planted.has(Bug::PromiserCountsTwice) {
            self.promises = self.promises.saturating_sub(1);
        }
        let cursor = &mut self.cursors[from.index()];
        if cursor.done || page.first > cursor.covered {
            return None;
        }
        let news = page.upto > cursor.covered || page.last;
        if news {
            self.give_up_at = now.plus_us(self.settings.election_max_us);
        }
        cursor.covered = cursor.covered.max(page.upto);
        cursor.done = page.last;
        cursor.trimmed = cursor.trimmed.max(page.trimmed);
        for entry in page.accepted {
            if entry.value == Value::Noop && planted.has(Bug::ChosenNoopIsNothing) {
                continue;
            }
            let held = self.values.get(&entry.slot);
            let higher = held.is_none_or(|(ballot, _)| {
                *ballot < entry.ballot && !planted.has(Bug::FirstValueWins)
            });
            if entry.slot >= self.first && higher {
                self.values.insert(entry.slot, (entry.ballot, entry.value));
            }
        }
        if from == self.settings.id && !self.licensed {
            self.licensed = true;
            self.resend_at = now;
            self.handle_timeout(now, out);
        } else if news {
            // A page that comes again asks for nothing: whoever sent the first copy has
            // been asked on, and each copy answered would be one more for ever after.
            self.prepare(from, out);
        }
        self.mandate()
    }

    fn mandate(&mut self) -> Option<Mandate> {
        let done = || self.cursors.iter().filter(|cursor| cursor.done);
        if done().count() < self.promises {
            return None;
        }
        let marks = done().map(|cursor| cursor.trimmed);
        let first = marks.max().unwrap_or_default().max(self.first);
        let mut found = self.values.split_off(&first);
        if self.settings.planted.has(Bug::OwnCommandFirst) {
            found.clear();
        }
        let end = found.last_key_value().map_or(first, |(slot, _)| slot.next());
        let values = (first.0..end.0)
            .map(|slot| found.remove(&Slot(slot)).map_or(Value::Noop, |(_, value)| value))
            .collect();
        Some(Mandate { first, values })
    }
}

/// Whether a page says of itself what a page may say: its entries ascend within
/// what it covers, and within the window of an acceptor.
fn is_well_formed(page: &Promise) -> bool {
    let ascending = page.accepted.windows(2).all(|pair| pair[0].slot < pair[1].slot);
    let window = page.trimmed..page.trimmed.plus(ACCEPT_WINDOW_SLOTS);
    let within = page.accepted.iter().all(|entry| {
        entry.slot >= page.first
            && entry.slot < page.upto
            && window.contains(&entry.slot)
            && entry.ballot <= page.ballot
    });
    ascending && within && page.upto >= page.first
}
