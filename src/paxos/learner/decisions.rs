//! Which slots above the applied prefix are decided, and on which values.
//!
//! A slot is decided here in one of three ways, and no other (rule S7):
//!
//! 1. This replica leads, a quorum has accepted the slot at its ballot ([`Tally`]), and the
//!    value at exactly that ballot is here.
//! 2. Another leader says that it saw a quorum accept the slot at its ballot (a decided
//!    mark), and the value at exactly that ballot was accepted here.
//! 3. A peer's decided log holds the slot.

use super::fetch_window::WINDOW_BYTES_MAX;
use super::tally::Tally;
use crate::members::Configuration;
use crate::message::{Decided, Run};
use crate::paxos::Settings;
use crate::runs::{Comparison, Runs};
use crate::types::{Ballot, ReplicaId, Slot, SlotRange};

/// How many bytes of fetched values may wait above a gap: the window of a peer, and as much
/// again while what was lost is on its way for the second time.
pub const EARLY_BYTES_MAX: usize = 2 * WINDOW_BYTES_MAX as usize;

/// Values above the applied prefix, and the evidence that they are decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Decisions {
    /// In so many slots above the applied ones, values and acceptances are kept (L5).
    window_slots: u64,
    /// See [`EARLY_BYTES_MAX`].
    early_bytes: usize,
    /// Every slot below this is applied here.
    applied: Slot,
    /// Values that were proposed or accepted here, each at the highest ballot known.
    accepted: Runs,
    /// Values from peers' decided logs. Their ballots mean nothing.
    fetched: Runs,
    /// The acceptances at this replica's own ballot.
    pub(super) tally: Tally,
    /// The newest decided mark of another leader.
    mark: Decided,
    /// The number of the configuration to which the next slot belongs. At a ballot of an earlier
    /// one it is not decided, whoever has accepted it there (M1).
    configuration: u16,
}

impl Decisions {
    /// Nothing is known from slot `applied` on, which belongs to this configuration.
    pub(super) fn new(settings: &Settings, configuration: &Configuration, applied: Slot) -> Self {
        Decisions {
            window_slots: settings.limits.accept_slots,
            early_bytes: settings.limits.early_bytes,
            applied,
            accepted: Runs::default(),
            fetched: Runs::default(),
            tally: Tally::new(Ballot::ZERO, settings.rows(), configuration.quorum()),
            mark: Decided::default(),
            configuration: configuration.number(),
        }
    }

    /// The slots from the next one on belong to this configuration.
    pub(super) fn enter(&mut self, configuration: &Configuration) {
        self.configuration = configuration.number();
    }

    /// Every slot below this is applied here.
    pub(super) fn applied(&self) -> Slot {
        self.applied
    }

    /// The newest decided mark of another leader.
    pub(super) fn mark(&self) -> Decided {
        self.mark
    }

    /// The end of the slots that another leader calls decided. What is below its phase 2 is
    /// decided as well.
    pub(super) fn marked(&self) -> Slot {
        if self.mark.slots.is_empty() { Slot::ZERO } else { self.mark.slots.end }
    }

    /// Keeps values that were proposed or accepted here.
    pub(super) fn keep_accepted(&mut self, run: &Run) {
        let run = run.within(self.window());
        let (ballot, kept) = (run.ballot, self.accepted.insert(run));
        // A leader proposes one value for a slot at its ballot (I2).
        assert!(kept.is_ok(), "slot {kept:?} has two values at ballot {ballot}");
    }

    /// The slots whose values may be kept (L5).
    pub(super) fn window(&self) -> SlotRange {
        SlotRange::with_len(self.applied, self.window_slots)
    }

    /// Counts what an acceptor has accepted at this replica's own ballot. Returns whether more
    /// slots are decided now.
    pub(super) fn count(&mut self, from: ReplicaId, slots: &[SlotRange]) -> bool {
        self.tally.count(from, slots, self.applied, self.window_slots)
    }

    /// Keeps the decided mark of another leader.
    pub(super) fn keep_mark(&mut self, mark: Decided) {
        // Marks arrive in any order. One of an older leader, or a shorter one, says less.
        let is_news = mark.ballot > self.mark.ballot
            || mark.ballot == self.mark.ballot && mark.slots.end > self.mark.slots.end;
        if is_news && !mark.slots.is_empty() {
            self.mark = mark;
        }
    }

    /// Keeps decided values that a peer has sent. Returns their slots, as far as they are not
    /// applied here, and how many bytes of the values are new. Returns and keeps nothing if
    /// too many fetched values wait below them already, or if the page contradicts a
    /// decision.
    pub(super) fn keep_page(&mut self, page: &Run) -> Option<(SlotRange, usize)> {
        let page = page.within(self.window());
        // L5: slots are applied in order, so the lowest stay, and the highest are fetched again.
        while page.first > self.applied && self.fetched.bytes() >= self.early_bytes {
            self.fetched.pop_above(page.first)?;
        }
        let parts = self.fetched.compare(&page);
        let conflicts = parts.iter().any(|(_, how)| *how == Comparison::Conflict);
        if conflicts || self.contradicts(&page) {
            let slot = page.first;
            log::error!("page from slot {slot} on: refused: other values are decided here");
            return None;
        }
        let news = parts.iter().filter(|(_, how)| *how == Comparison::New);
        let new_bytes = news.map(|(part, _)| part.values.bytes().len()).sum();
        let slots = page.slots();
        let kept = self.fetched.insert(page);
        assert!(kept.is_ok(), "a page without conflicts can be kept");
        Some((slots, new_bytes))
    }

    /// Whether some slot of `page` is decided here on another value.
    fn contradicts(&self, page: &Run) -> bool {
        self.accepted.range(page.slots()).any(|run| {
            let decided = self.decided_part(&run);
            page.within(decided.slots()).values != decided.values
        })
    }

    /// The decided values from `slot` on, as far as they were kept as one run.
    pub(super) fn next(&self, slot: Slot) -> Option<Run> {
        if let Some(run) = self.fetched.at(slot) {
            return Some(run);
        }
        let decided = self.decided_part(&self.accepted.at(slot)?);
        (!decided.values.is_empty()).then_some(decided)
    }

    /// The decided part of an accepted run: its beginning, possibly nothing.
    fn decided_part(&self, run: &Run) -> Run {
        run.within(SlotRange::new(run.first, self.decided_end(run.first, run.ballot)))
    }

    /// The end of the decided slots from `first` on, if their values here were accepted at
    /// `ballot`. A quorum or a mark decides them only if it is of exactly that ballot (S7):
    /// at another ballot the slot may hold another value.
    fn decided_end(&self, first: Slot, ballot: Ballot) -> Slot {
        let mut end = first;
        if ballot.configuration() < self.configuration {
            return end;
        }
        if ballot == self.tally.ballot() {
            end = self.tally.quorum_end(first);
        }
        if ballot == self.mark.ballot && self.mark.slots.start <= first {
            end = end.max(self.mark.slots.end);
        }
        end
    }

    /// How many bytes of fetched values wait above a gap.
    pub(super) fn fetched_bytes(&self) -> usize {
        self.fetched.bytes()
    }

    /// The first slots from `at` on and below `end` that are neither decided here nor fetched.
    pub(super) fn next_gap(&self, mut at: Slot, end: Slot) -> Option<SlotRange> {
        while at < end {
            let present = self.present_end(at);
            if present == at {
                return Some(SlotRange::new(at, self.next_present(at, end)));
            }
            at = present;
        }
        None
    }

    /// The first slot above `at` that is decided here or fetched, and `end` if none is below it.
    fn next_present(&self, at: Slot, end: Slot) -> Slot {
        let above = SlotRange::new(at.next(), end);
        let is_decided = |head: &(Slot, Ballot)| self.decided_end(head.0, head.1) > head.0;
        let accepted = self.accepted.heads_in(above).find(is_decided);
        let heads = accepted.into_iter().chain(self.fetched.heads_in(above).next());
        heads.map(|(first, _)| first).min().unwrap_or(end)
    }

    /// How far slots are decided here or fetched, from `slot` on.
    fn present_end(&self, slot: Slot) -> Slot {
        if let Some(run) = self.fetched.at(slot) {
            return run.end();
        }
        let Some(run) = self.accepted.at(slot) else { return slot };
        self.decided_end(slot, run.ballot).min(run.end())
    }

    /// Whether a value waits here that a serving leader would get applied (L1): it is
    /// decided above a gap, or was accepted at the ballot of the newest `leader` or above.
    /// No leader needs to propose a value that was accepted at a lower ballot and never
    /// decided.
    pub(super) fn has_open(&self, leader: Ballot) -> bool {
        let is_open = |(first, ballot): (Slot, Ballot)| {
            ballot >= leader || self.decided_end(first, ballot) > first
        };
        !self.fetched.is_empty() || self.accepted.heads().any(is_open)
    }

    /// What the leader of `ballot` has proposed, as far as the own acceptor has accepted it, and what
    /// was fetched: none of it is applied here.
    pub(super) fn proposed_at(&self, ballot: Ballot) -> impl Iterator<Item = Run> {
        let accepted = self.accepted.iter().filter(move |run| run.ballot >= ballot);
        accepted.chain(self.fetched.iter())
    }

    /// Forgets everything below `applied`: it is applied.
    pub(super) fn trim(&mut self, applied: Slot) {
        self.applied = applied;
        self.accepted.trim(applied);
        self.fetched.trim(applied);
        self.tally.trim(applied);
    }
}
