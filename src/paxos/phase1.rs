//! Phase 1 of one ballot, from the own durable promise to the values that are proposed again.
//!
//! The first acceptor to promise is the candidate's own. No message under the ballot
//! leaves this replica before that promise is durable (S2). So no ballot is ever used
//! twice, and no replica counts a promise of its own that it has not given.
//!
//! A promise says in which slots its acceptor holds values and at which ballots, in pages
//! (S5). An acceptor counts once its pages cover everything from the first slot that the
//! candidate has not applied, without a gap. Once a quorum counts, the candidate knows which
//! values to propose again, and fetches those that its own acceptor lacks (`recovery`).
//! It begins at the lowest slot in which a quorum has forgotten nothing. Slots below are decided:
//! the new leader proposes nothing there, and its learner fetches them. (Paxos Made Simple, §2.2
//! and §3; the scout of Paxos Made Moderately Complex.)

use super::pace::{WAIT_MAX_US, Waits};
use super::recovery::Recovery;
use super::{Outbox, Settings};
use crate::aside::{Aside, NotState};
use crate::members::Configuration;
use crate::message::{AcceptedValues, Message, Promise, Run, Spans, ToAcceptor, Voter};
use crate::quorum::ReplicaSet;
use crate::runs::Runs;
use crate::slot_set::SlotSet;
use crate::types::{Ballot, ReplicaId, Slot, SlotRange, Time};

pub use super::recovery::Phase1Outcome;

/// How long a prepare waits for its answer before it is sent again. Longer where answers and
/// syncs take longer.
const PREPARE_RETRY_US: u64 = 40_000;

/// What one acceptor has said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Report {
    /// The slots that its pages cover.
    covered: SlotSet,
    /// The end of its last page, if that has come.
    end: Option<Slot>,
    /// The highest trim mark on any of its pages.
    trimmed: Slot,
    /// The slots in which it holds values, and at which ballots.
    accepted: Spans,
}

impl Report {
    /// Takes a page and returns whether it covers anything new.
    fn take(&mut self, page: &Promise) -> bool {
        let before = self.clone();
        self.covered.insert(page.slots);
        if page.last {
            self.end = self.end.max(Some(page.slots.end));
        }
        self.trimmed = self.trimmed.max(page.trimmed);
        self.accepted = self.accepted.highest(&page.accepted);
        *self != before
    }

    /// Whether its pages cover everything from `first` on: then the acceptor has promised.
    fn is_whole(&self, first: Slot) -> bool {
        self.end.is_some_and(|end| self.covered.end_from(first) >= end)
    }
}

/// When something is done without an input.
#[derive(Debug, Clone, Copy)]
struct Timers {
    /// When prepares are sent again.
    resend_at: Time,
    /// When the campaign began, the own promise became durable, or the last new page came.
    progress_at: Time,
    waits: Waits,
}

impl NotState for Timers {}

/// Phase 1 under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Phase1 {
    settings: Aside<Settings>,
    /// The configuration of the ballot. Only its members are asked (M3).
    configuration: Configuration,
    /// Whose campaign it is.
    voter: Voter,
    ballot: Ballot,
    /// The first slot that is not applied here.
    first: Slot,
    /// By replica id.
    reports: Vec<Report>,
    /// How many acceptors must promise.
    promises: usize,
    /// Who has promised, and does not count any more: they are not asked again.
    left_out: ReplicaSet,
    own_promise_durable: bool,
    /// Whether more promises than a quorum's are waited for, if those leave slots to fetch.
    waits_for_more: bool,
    /// What the own acceptor holds, and what others have sent, until a quorum has promised.
    values: (Runs, Runs),
    /// What is done once a quorum has promised.
    recovery: Option<Recovery>,
    timers: Aside<Timers>,
}

impl Phase1 {
    /// Asks the own acceptor to promise `ballot`; everything below `first` is applied here, and
    /// `configuration` is what that makes (M5).
    #[expect(clippy::too_many_arguments, reason = "each says one thing")]
    pub fn begin<R>(
        settings: Settings,
        configuration: Configuration,
        voter: Voter,
        ballot: Ballot,
        first: Slot,
        waits: Waits,
        now: Time,
        out: &mut Outbox<R>,
    ) -> Self {
        let owner = configuration.owner(ballot);
        assert_eq!(owner, Some(settings.id), "a campaign uses an own ballot");
        // No acceptor can have accepted anything below ballot 0, so only the own promise is
        // needed. (The proposer uses ballot 0 only in the life that warmed up: S2.)
        let promises = if ballot == Ballot::ZERO { 1 } else { configuration.quorum() };
        let mut phase1 = Phase1 {
            settings: Aside(settings),
            configuration,
            voter,
            ballot,
            first,
            reports: vec![Report::default(); settings.rows()],
            promises,
            left_out: ReplicaSet::EMPTY,
            own_promise_durable: false,
            waits_for_more: true,
            values: Default::default(),
            recovery: None,
            timers: Aside(Timers { resend_at: now, progress_at: now, waits }),
        };
        phase1.ask_again(now, out);
        phase1
    }

    /// The ballot that is campaigned with.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// More has been measured.
    pub fn set_waits(&mut self, waits: Waits) {
        self.timers.waits = waits;
    }

    /// Whether a message of this campaign has left. None has before the own promise is durable.
    pub fn has_left(&self) -> bool {
        self.own_promise_durable
    }

    /// For how long a campaign that hears nothing new still moves: for so long it counts as
    /// hopeful here and at the replicas that hear of it (L2, L3).
    fn moves_us(&self) -> u64 {
        let waits = self.timers.waits;
        let measured_us = match self.own_promise_durable {
            false => waits.own_save_fails_us,
            true => waits.saves_fail_us,
        };
        self.settings.election_max_us.max(measured_us)
    }

    /// Until when it does.
    fn moves_until(&self) -> Time {
        self.timers.progress_at.plus_us(self.moves_us())
    }

    /// Whether the campaign moves.
    pub fn is_moving(&self, now: Time) -> bool {
        now < self.moves_until()
    }

    /// When the campaign is given up: when it moves no more. But while the own disk is silent
    /// nobody knows of it, so waiting for the disk harms nobody, and spares a ballot.
    fn give_up_at(&self) -> Time {
        let progress_at = self.timers.progress_at;
        let moves_until = self.moves_until();
        if self.own_promise_durable {
            moves_until
        } else {
            moves_until.max(progress_at.plus_us(WAIT_MAX_US))
        }
    }

    /// Whether it is better to begin again.
    pub fn is_hopeless(&self, now: Time) -> bool {
        now >= self.give_up_at()
    }

    /// When a prepare is next sent again, or the campaign given up.
    pub fn deadline(&self) -> Time {
        self.timers.resend_at.min(self.give_up_at())
    }

    /// Asks again for promises and values that have not come (L4). Returns the outcome if that
    /// had only waited for more promises than a quorum's, or for values that may be left out.
    pub fn handle_timeout<R>(&mut self, now: Time, out: &mut Outbox<R>) -> Option<Phase1Outcome> {
        if now < self.timers.resend_at {
            return None;
        }
        self.leave_out_the_silent(now);
        self.ask_again(now, out);
        if self.recovery.is_some() || !self.is_promised() {
            return None;
        }
        self.waits_for_more = false;
        self.go_on(out)
    }

    fn ask_again<R>(&mut self, now: Time, out: &mut Outbox<R>) {
        let Waits { own_save_us, save_us, .. } = self.timers.waits;
        let answer_us = if self.own_promise_durable { save_us } else { own_save_us };
        self.timers.resend_at = now.plus_us(PREPARE_RETRY_US.max(answer_us));
        let members = self.configuration.members().iter();
        members.for_each(|member| self.send_prepare(member.id, out));
        if let Some(recovery) = &mut self.recovery {
            recovery.retry();
            self.fetch_values(out);
        }
    }

    /// S5: whoever has died since it promised sends no values. If others are a quorum without it,
    /// what they have promised is enough, and nothing that it alone holds was chosen.
    fn leave_out_the_silent(&mut self, now: Time) {
        let reported = reported(&self.reports);
        let silent = self.recovery.as_ref().map(|recovery| recovery.silent(&reported));
        let silent = silent.unwrap_or(ReplicaSet::EMPTY);
        let stalls_at = self.timers.progress_at.plus_us(self.moves_us() / 2);
        let left = self.promised_by().iter().filter(|id| !silent.contains(*id)).count();
        if silent.is_empty() || now < stalls_at || left < self.promises {
            return;
        }
        for id in silent.iter() {
            self.reports[id.index()] = Report::default();
            self.left_out.insert(id);
        }
        self.values = self.recovery.take().map(Recovery::into_values).unwrap_or_default();
        self.note_news(now);
    }

    /// Something new has come.
    fn note_news(&mut self, now: Time) {
        self.timers.progress_at = now;
    }

    /// Phase 1a: asks an acceptor for its promise, or for the pages of it that were lost.
    fn send_prepare<R>(&self, to: ReplicaId, out: &mut Outbox<R>) {
        let report = &self.reports[to.index()];
        // S2: before the own promise is durable, nothing under this ballot leaves.
        let may_ask = to == self.settings.id || self.own_promise_durable && self.promises > 1;
        if !report.is_whole(self.first) && may_ask && !self.left_out.contains(to) {
            let first = report.covered.end_from(self.first);
            let prepare = ToAcceptor::Prepare { ballot: self.ballot, first, voter: self.voter };
            out.send(to, Message::Acceptor(prepare));
        }
    }

    /// Phase 1b of the own acceptor: its promise is durable. Returns the outcome once a quorum
    /// has promised and no value is lacking.
    pub fn handle_own_promise<R>(
        &mut self,
        now: Time,
        trimmed: Slot,
        accepted: Vec<Run>,
        out: &mut Outbox<R>,
    ) -> Option<Phase1Outcome> {
        if std::mem::replace(&mut self.own_promise_durable, true) {
            return None;
        }
        let slots = SlotRange::onward(self.first);
        for run in accepted {
            let kept = self.values.0.insert(run.within(slots));
            assert!(kept.is_ok(), "an acceptor holds one value in slot {kept:?}");
        }
        self.reports[self.settings.id.index()] = Report {
            covered: SlotSet::default(),
            end: Some(self.first),
            trimmed,
            accepted: self.values.0.spans(slots),
        };
        self.note_news(now);
        self.ask_again(now, out);
        self.go_on(out)
    }

    /// Phase 1b: takes a page of `from`'s promise. The caller has checked that its
    /// directory counts (S6). Returns the outcome once a quorum has promised and no value is
    /// lacking.
    pub fn handle_promise<R>(
        &mut self,
        now: Time,
        from: ReplicaId,
        page: &Promise,
        out: &mut Outbox<R>,
    ) -> Option<Phase1Outcome> {
        let report = &mut self.reports[from.index()];
        // S3: nothing is counted across ballots. W4: a peer's page is checked first.
        let counts = page.ballot == self.ballot && is_well_formed(page);
        let counts = counts && !self.left_out.contains(from);
        // L5: an acceptor holds no more slots than this, so it sends no more spans.
        let spans = (report.accepted.len() + page.accepted.len()) as u64;
        let is_bounded = spans <= 2 * self.settings.limits.accept_slots;
        if !counts || !is_bounded || report.is_whole(self.first) || !report.take(page) {
            return None;
        }
        self.note_news(now);
        self.go_on(out)
    }

    /// Takes values that an acceptor was asked for. Returns the outcome once none is lacking.
    pub fn handle_values<R>(
        &mut self,
        now: Time,
        from: ReplicaId,
        mut values: AcceptedValues,
        out: &mut Outbox<R>,
    ) -> Option<Phase1Outcome> {
        let recovery = self.recovery.as_mut().filter(|_| !self.left_out.contains(from))?;
        // What it had forgotten before a quorum knows all the same.
        if values.trimmed <= self.reports[from.index()].trimmed {
            values.trimmed = Slot::ZERO;
        }
        if values.ballot != self.ballot || !recovery.handle_values(&self.settings, from, values) {
            return None;
        }
        self.note_news(now);
        self.go_on(out)
    }

    /// Once a quorum has promised: asks for values that are lacking, or returns the outcome.
    fn go_on<R>(&mut self, out: &mut Outbox<R>) -> Option<Phase1Outcome> {
        if self.recovery.is_none() {
            self.recovery = Some(self.recover()?);
        }
        self.fetch_values(out);
        self.recovery.as_ref()?.outcome(&reported(&self.reports))
    }

    /// Those who have promised.
    fn promised(&self) -> impl Iterator<Item = &Report> {
        self.reports.iter().filter(|report| report.is_whole(self.first))
    }

    /// Their ids.
    pub fn promised_by(&self) -> ReplicaSet {
        let mut by = ReplicaSet::EMPTY;
        let whole = |id: &ReplicaId| self.reports[id.index()].is_whole(self.first);
        let members = self.configuration.members().iter().map(|member| member.id);
        members.filter(whole).for_each(|id| {
            by.insert(id);
        });
        by
    }

    /// Whether a quorum has promised. Peers may have promised the ballot to an earlier life of
    /// this process, so a quorum without the own promise is not enough (S2).
    fn is_promised(&self) -> bool {
        self.own_promise_durable && self.promised().count() >= self.promises
    }

    /// What a quorum has promised, if one has.
    fn recover(&mut self) -> Option<Recovery> {
        if !self.is_promised() {
            return None;
        }
        // S5: a slot that an acceptor has forgotten is decided. But perhaps nobody can send it: a
        // quorum that has not forgotten it says what was chosen there.
        let mut marks: Vec<Slot> = self.promised().map(|report| report.trimmed).collect();
        marks.sort_unstable();
        let begin = marks[self.promises - 1];
        if begin > self.first
            && self.waits_for_more
            && marks.len() < self.configuration.members().len()
        {
            return None;
        }
        let none = Spans::default();
        let reported = self.promised().fold(none, |spans, report| spans.highest(&report.accepted));
        // M6: what was accepted under an earlier configuration was not chosen, since the slots
        // from the first one on belong to this configuration.
        let mut counts = Spans::default();
        let own_ballots = reported.iter().filter(|span| self.configuration.has(span.ballot));
        own_ballots.for_each(|span| counts.push(span.slots, span.ballot));
        let values = std::mem::take(&mut self.values);
        Some(Recovery::new(&self.settings, begin.max(self.first), &counts, values))
    }

    fn fetch_values<R>(&mut self, out: &mut Outbox<R>) {
        if let Some(recovery) = &mut self.recovery {
            recovery.ask(&self.settings, self.ballot, &reported(&self.reports), out);
        }
    }
}

/// What each acceptor has reported, by replica id.
fn reported(reports: &[Report]) -> Vec<&Spans> {
    reports.iter().map(|report| &report.accepted).collect()
}

/// Whether a page says only what a page may say: that values are held above the trim mark, in
/// slots that it covers, at ballots below its own.
fn is_well_formed(page: &Promise) -> bool {
    let allowed = page.slots.intersect(SlotRange::onward(page.trimmed));
    let within = page.accepted.iter().all(|span| {
        let SlotRange { start, end } = span.slots;
        start >= allowed.start && end <= allowed.end && span.ballot < page.ballot
    });
    within && page.slots.end >= page.slots.start
}
