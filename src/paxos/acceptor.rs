//! The acceptor: promises and acceptances, the only state that safety rests on.
//!
//! An acceptor remembers the highest ballot that it promised and, for every slot from
//! its trim mark on, the value that it accepted at the highest ballot. It refuses every
//! ballot below its promise. To accept at a ballot is also to promise that ballot.
//! (Paxos Made Simple, §2.2 and §2.5; Paxos Made Moderately Complex, §2.)
//!
//! Its guarantees:
//!
//! - The promise never goes down (I3), and no message that rests on a promise or an
//!   acceptance leaves before that is durable (S1; the outbox sees to it).
//! - It promises a ballot of this replica's own in one life of the process only (S2).
//! - A 2b message names exact slots accepted at exactly its ballot; it implies no prefix
//!   (S3).
//! - Its memory is bounded in slots and bytes (L5; [`Limits`]), wherever
//!   the slots lie. It forgets what its own learner has durably applied. Each page of a
//!   promise carries the trim mark, so that no proposer takes "forgotten" for "empty" (S5).
//!
//! - It votes in one configuration: the newest whose change its own learner has applied durably
//!   and told it of, and only if its directory is a member there (M4, M5).
//!
//! [`State`] is what survives a crash.

use super::accepted_log::AcceptedLog;
use super::standing::{Memory, Standing, Verdict, Written};
use super::{Bound, Limits, Membership, Notice, Outbox, Role, Settings, learner, proposer};
use crate::aside::{Aside, NotState};
use crate::members::Configuration;
use crate::message::{
    Accept, AcceptedValues, Answer, Decided, MESSAGE_SLOTS_MAX, Message, Promise, Run, SlotList,
    Spans, ToAcceptor, ToBootstrap, ToLearner, ToProposer, Voter, Voters,
};
use crate::quorum::ReplicaSet;
use crate::runs::Comparison;
use crate::types::{Address, Ballot, DirectoryId, ReplicaId, Slot, SlotRange, Time};
use crate::values::ValueRef;
use serde::{Deserialize, Serialize};

/// How many bytes one range of slots takes on the wire at most.
const RANGE_BYTES_MAX: usize = 20;

/// A sync that has held the acceptor up for this many heartbeats is worth telling, whenever the
/// proposer was told last.
const HELD_UP: u64 = 2;

/// What was heard of other members is stored after this time, in microseconds, if no record has
/// to be stored before: so it costs a sync of its own only where nobody waits for one.
const REMEMBER_US: u64 = 10_000_000;

/// A change of what must survive a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Record {
    /// The acceptor accepts nothing below this ballot any more.
    Promise(Ballot),
    /// The acceptor accepted these values, and promised the run's ballot. One record says
    /// both, so that no crash can part the two.
    Accept(Run),
    /// Slots below this are decided and applied here, and forgotten.
    Trim(Slot),
    /// An acceptance that was written before and is written anew.
    Held(Run),
    /// What is known of a member (S10).
    Remember(ReplicaId, Memory),
}

impl Record {
    /// Whether others count it as written (S10): whether a message may rest on it that it has not
    /// been counted for before.
    pub fn counts(&self) -> bool {
        match self {
            Record::Promise(_) | Record::Accept(_) | Record::Trim(_) => true,
            Record::Held(_) | Record::Remember(..) => false,
        }
    }
}

/// An acceptor's memory.
///
/// Records may be replayed in any order and more than once: the highest promise wins, and
/// in each slot the acceptance at the highest ballot (D1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct State {
    promised: Option<Ballot>,
    log: AcceptedLog,
    /// How many records this adds up from.
    written: Aside<Written>,
    /// By replica id, as far as anything was remembered.
    memories: Aside<Vec<Memory>>,
}

impl State {
    /// Takes one record, new or replayed from storage.
    pub fn apply(&mut self, record: &Record) {
        self.written.records += u64::from(record.counts());
        match record {
            Record::Promise(ballot) => self.promised = self.promised.max(Some(*ballot)),
            Record::Accept(run) | Record::Held(run) => {
                self.promised = self.promised.max(Some(run.ballot));
                self.log.accept(run);
            }
            Record::Trim(slot) => self.log.trim(*slot),
            Record::Remember(of, memory) => {
                let memories = &mut *self.memories;
                memories.resize(memories.len().max(of.index() + 1), Memory::default());
                memories[of.index()] = *memory;
            }
        }
    }

    /// How many records it has written; after a replay at least as many as it ever said.
    pub fn written(&self) -> u64 {
        self.written.records
    }

    /// This many records were written up to here, though not all of them are kept.
    pub fn set_written(&mut self, written: u64) {
        self.written.records = written;
    }

    /// What it remembers of the members, by replica id, as far as anything.
    pub fn memories(&self) -> &[Memory] {
        &self.memories
    }

    /// The highest ballot promised.
    pub fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    /// Slots below this are decided and forgotten.
    pub fn trimmed(&self) -> Slot {
        self.log.trimmed
    }

    /// One above the highest slot that was ever accepted here and may be chosen (E5).
    pub fn mark(&self, inherited: Option<Inherited>) -> Slot {
        self.log.mark(inherited)
    }

    /// The value accepted in `slot`, and its ballot.
    pub fn accepted(&self, slot: Slot) -> Option<(Ballot, ValueRef<'_>)> {
        self.log.accepted.get(slot)
    }

    /// What is accepted in `slots`, in order.
    pub fn range(&self, slots: SlotRange) -> impl Iterator<Item = Run> {
        self.log.accepted.range(slots)
    }

    /// How many slots hold something.
    pub fn len(&self) -> usize {
        self.log.accepted.len()
    }

    /// Whether it has promised a ballot to anybody. The first ballot of a later configuration is a
    /// promise to nobody (M4).
    pub fn has_voted(&self) -> bool {
        let is_first = |ballot: Ballot| ballot.configuration() > 0 && ballot.round() == 0;
        self.promised.is_some_and(|promised| !is_first(promised))
    }

    /// How many bytes of values it holds.
    pub fn bytes(&self) -> usize {
        self.log.accepted.bytes()
    }

    /// Whether no slot holds anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an acceptor takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// A message, and its sender.
    Peer(ReplicaId, ToAcceptor),
    /// The learner of this replica has applied every slot below this one, and its
    /// checkpoint is durable. Beside it stands the configuration in that checkpoint, if the log has
    /// changed it: in one input, so that the acceptor never forgets a change without ceasing to
    /// vote in what that has ended (M5). Cumulative, and repeated.
    Applied(Slot, Option<Configuration>),
    /// The proposer of this replica has heard this of a member's directory. Told again while it is
    /// not stored.
    Heard(ReplicaId, DirectoryId, Memory),
    /// The members of which two lives run at once (S12), this replica among them if it was told so.
    /// Told again while that lasts and for a while after.
    Beside(ReplicaSet),
    /// A client reads, and asks for the mark (E5). The proposer of this replica passes it on, if a
    /// quorum hears this replica.
    Mark {
        /// Where the client is answered.
        origin: Address,
        /// The client's number of the read.
        read: u64,
        /// What the highest leader has inherited that the proposer has heard.
        inherited: Option<Inherited>,
        /// The number of the configuration of which a quorum hears this replica.
        configuration: u16,
    },
}

/// What a leader's phase 1 has found: whatever was chosen at any ballot below `ballot` lies below
/// `end` (S4). Once true, that is true for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Inherited {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The end of what it has proposed again, or fills with no-ops.
    pub end: Slot,
}

/// The acceptor role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acceptor {
    settings: Aside<Settings>,
    membership: Aside<Membership>,
    state: State,
    /// The configuration in which this acceptor votes.
    configuration: Configuration,
    /// The newest prepare of a later configuration. The change is on its way to this disk, and what
    /// came too early is answered when it is there: as if it had been on its way as long.
    early: Option<Prepare>,
    /// Who may ask for a promise.
    standing: Standing,
    /// What is to be remembered, and is not stored yet.
    unsaved: Aside<Unsaved>,
    /// The promise before this life of the process. If that is a ballot of this replica's
    /// own, it is used up.
    promised_before: Option<Ballot>,
    /// What was accepted in this burst of inputs. It leaves in few messages.
    burst: Vec<Vote>,
    /// How much of it was named and not sent.
    named: Named,
    /// Whether the proposer is due to hear the promise: it has risen, or a reminder is due.
    announce: bool,
    saving: Aside<Saving>,
}

/// A candidate asks for a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Prepare {
    from: ReplicaId,
    ballot: Ballot,
    first: Slot,
    voter: Voter,
}

/// What a burst of inputs has accepted at one ballot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Vote {
    ballot: Ballot,
    /// The owner of the ballot.
    leader: ReplicaId,
    slots: SlotList,
    /// The leader has said that it knows every slot below this to be decided.
    decided: Option<Slot>,
}

/// How much a burst has accepted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Named {
    slots: u64,
    bytes: usize,
}

/// What the proposer learns about this replica's disk.
#[derive(Debug, Clone, Copy, Default)]
struct Saving {
    /// Whether this burst has a record, so that its messages leave behind a sync.
    has_record: bool,
    /// When the proposer was last told of a burst.
    told_at: Option<Time>,
    /// When the last burst was handed to the disk, if the proposer was not told of it.
    untold_at: Option<Time>,
}

impl NotState for Saving {}

/// What was heard of members and is not stored, and since when something is not. It is stored
/// with the next record, which is synced anyway, or by itself if none comes for a while.
#[derive(Debug, Clone, Default)]
struct Unsaved {
    memories: Vec<(ReplicaId, Memory)>,
    since: Option<Time>,
}

impl NotState for Unsaved {}

impl Acceptor {
    /// An acceptor that remembers `state`, as storage gave it back: empty on a
    /// replica's first start.
    pub fn new(settings: Settings, membership: Membership, state: State) -> Self {
        Acceptor {
            settings: Aside(settings),
            standing: membership.standing(),
            configuration: membership.started(),
            early: None,
            membership: Aside(membership),
            unsaved: Aside(Unsaved::default()),
            promised_before: state.promised,
            state,
            burst: Vec::new(),
            named: Named::default(),
            announce: true,
            saving: Aside(Saving::default()),
        }
    }

    /// What it remembers.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Tells which bounds its state has come up to.
    pub fn reached(&self, tell: &mut dyn FnMut(Bound)) {
        let limits = &self.settings.limits;
        if self.state.len() as u64 >= limits.accept_slots {
            tell(Bound::AcceptSlots);
        }
        if self.state.bytes() >= limits.accept_bytes {
            tell(Bound::AcceptBytes);
        }
    }

    /// Phase 1b: promise the ballot, and report what was accepted from slot `first` on.
    fn handle_prepare(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        first: Slot,
        out: &mut Outbox<Record>,
    ) {
        if self.refuses(from, ballot, out) {
            return;
        }
        // S2: in an earlier life this replica may have proposed under this ballot, and has
        // forgotten what.
        let is_own = from == self.settings.id;
        if is_own && self.promised_before == Some(ballot) {
            return self.nack(from, ballot, ballot, out);
        }
        // A prepare of the promised ballot asks for pages that were lost (S5).
        if self.state.promised < Some(ballot) {
            self.record(Record::Promise(ballot), out);
        }
        if is_own {
            // The own candidate gets the values as well: to hand them over copies nothing.
            let accepted = self.state.range(SlotRange::onward(first)).collect();
            let trimmed = self.state.trimmed();
            let promise = proposer::Input::OwnPromise { ballot, first, trimmed, accepted };
            return out.tell(Notice::Proposer(promise));
        }
        let Settings { payload_bytes, limits, .. } = *self.settings;
        for page in self.state.log.promise_pages(first, payload_bytes, &limits) {
            let promise = Promise {
                ballot,
                voter: self.membership.voter,
                slots: page.slots,
                last: page.last,
                trimmed: self.state.trimmed(),
                accepted: page.accepted,
            };
            out.send(from, Message::Proposer(ToProposer::Promise(promise)));
        }
    }

    /// Sends values that the candidate at `ballot` lacks. While the promise is exactly that
    /// ballot, nothing that was reported under it changes, but that it may be trimmed (S5).
    fn handle_fetch(
        &self,
        from: ReplicaId,
        ballot: Ballot,
        wanted: &Spans,
        out: &mut Outbox<Record>,
    ) {
        if self.refuses(from, ballot, out) || self.state.promised != Some(ballot) {
            return;
        }
        let Settings { payload_bytes, limits, .. } = *self.settings;
        let mut parts = self.state.log.values(wanted, payload_bytes, &limits).into_iter();
        while let Some(accepted) = parts.next() {
            let (trimmed, last) = (self.state.trimmed(), parts.len() == 0);
            let values = AcceptedValues { ballot, trimmed, accepted, last };
            out.send(from, Message::Proposer(ToProposer::AcceptedValues(values)));
        }
    }

    /// Phase 2b: accept, unless a higher ballot was promised.
    fn handle_accept(&mut self, from: ReplicaId, accept: Accept, out: &mut Outbox<Record>) {
        let Accept { ballot, first, values, decided } = accept;
        // S3: compare the ballot before the slot, so that a stale leader learns nothing else.
        if self.refuses(from, ballot, out) {
            return;
        }
        let mut runs: Vec<Run> = Vec::with_capacity(1);
        self.accept_run(from, &Run { first, ballot, values }, decided, &mut runs, out);
        out.tell(Notice::Learner(learner::Input::OwnAccepted { runs, decided }));
    }

    /// Phase 2b of values that the leader does not send, since this acceptor has reported them:
    /// under one ballot a slot has one value (I2), so the leader proposes just these (S4).
    ///
    /// A few bytes name many values. So a burst accepts no more of them than a leader may have in
    /// flight; the leader sends the rest (W4).
    fn handle_accept_held(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        held: &Spans,
        out: &mut Outbox<Record>,
    ) {
        if self.refuses(from, ballot, out) {
            return;
        }
        let Limits { propose_slots, in_flight_bytes, .. } = self.settings.limits;
        let (mut named, mut left) = (Vec::new(), self.named);
        'all: for span in held.iter() {
            for run in self.state.range(span.slots) {
                if run.ballot != span.ballot && run.ballot != ballot {
                    continue;
                }
                let slots = propose_slots.saturating_sub(left.slots);
                let run = run.within(SlotRange::with_len(run.first, slots));
                if run.values.is_empty() || left.bytes >= in_flight_bytes {
                    break 'all;
                }
                left.slots += run.values.len() as u64;
                left.bytes += run.values.bytes().len();
                named.push(Run { ballot, ..run });
            }
        }
        self.named = left;
        let decided = Decided { ballot, slots: SlotRange::default() };
        let mut runs: Vec<Run> = Vec::with_capacity(named.len());
        named.iter().for_each(|run| self.accept_run(from, run, decided, &mut runs, out));
        out.tell(Notice::Learner(learner::Input::OwnAccepted { runs, decided }));
    }

    /// Accepts what is new of a run at a ballot that is not refused. Adds what is accepted now, or
    /// was before, to the burst's vote and to `accepted`.
    fn accept_run(
        &mut self,
        leader: ReplicaId,
        run: &Run,
        decided: Decided,
        accepted: &mut Vec<Run>,
        out: &mut Outbox<Record>,
    ) {
        let (ballot, limits) = (run.ballot, self.settings.limits);
        for (mut part, comparison) in self.state.log.compare(run) {
            match comparison {
                Comparison::New => {
                    // The leader sends the rest again, when the learner may have made room.
                    part = self.state.log.admit(&part, &limits);
                    if part.values.is_empty() {
                        continue;
                    }
                    self.record(Record::Accept(part.clone()), out);
                }
                // The answer to an earlier copy may be lost, so this one is answered too.
                Comparison::Same => {}
                Comparison::Conflict => {
                    log::error!("two values for slot {} at ballot {ballot}: refused", part.first);
                    continue;
                }
                Comparison::Older => unreachable!("the promise is as high as anything accepted"),
            }
            let known = Some(decided).filter(|it| it.ballot == ballot).map(|it| it.slots.end);
            match self.burst.last_mut() {
                Some(vote) if vote.ballot == ballot => {
                    vote.slots.push(part.slots());
                    vote.decided = vote.decided.max(known);
                }
                _ => {
                    let slots = vec![part.slots()].into();
                    self.burst.push(Vote { ballot, leader, slots, decided: known });
                }
            }
            accepted.push(part);
        }
    }

    /// Whether a higher ballot was promised. Then its owner is told.
    fn refuses(&self, from: ReplicaId, ballot: Ballot, out: &mut Outbox<Record>) -> bool {
        let higher = self.state.promised.filter(|promised| ballot < *promised);
        if let Some(promised) = higher {
            self.nack(from, ballot, promised, out);
        }
        higher.is_some()
    }

    /// Refuses `ballot` of replica `to`, and says which ballot is promised.
    fn nack(&self, to: ReplicaId, ballot: Ballot, promised: Ballot, out: &mut Outbox<Record>) {
        out.send(to, Message::Proposer(ToProposer::Nack { ballot, promised }));
    }

    /// Whether this directory votes.
    fn is_voter(&self) -> bool {
        self.configuration.is_member(self.settings.id, self.membership.voter.directory)
    }

    /// Whether the members may be others than this acceptor knows, in a slot below `mark` (E5).
    /// Whoever has entered a later configuration has promised its first ballot, and remembers that
    /// before its learner has told it of the change. Whoever has not, and was of the quorum that
    /// accepted the change, holds it.
    fn may_have_changed(&self, mark: Slot) -> bool {
        let promised = self.state.promised.map_or(0, Ballot::configuration);
        promised > self.configuration.number() || self.state.log.has_change_below(mark)
    }

    /// What this acceptor has to do with a ballot that replica `from` uses. Only its owner may
    /// use a ballot. One of an earlier configuration is refused, whoever uses it: the promise is
    /// above it. Of a later one this replica's log knows nothing yet (M4).
    fn concerns(&self, from: ReplicaId, ballot: Ballot) -> bool {
        ballot < self.configuration.first_ballot() || self.configuration.owner(ballot) == Some(from)
    }

    /// M4, M5: the learner has durably applied the change that made this configuration. From now
    /// on this acceptor votes in no earlier one. It promises so, since it is about to forget the
    /// change, and a log that somebody cuts may forget it as well. Returns whether that is news.
    fn enter(&mut self, next: Configuration, out: &mut Outbox<Record>) -> bool {
        if next.number() <= self.configuration.number() {
            return false;
        }
        self.standing.set_configuration(&next);
        let gone = |of: &ReplicaId, known: &Configuration| {
            known.member(*of).map(|it| it.directory) != next.member(*of).map(|it| it.directory)
        };
        self.unsaved.memories.retain(|(of, _)| !gone(of, &self.configuration));
        if self.state.promised < Some(next.first_ballot()) {
            self.record(Record::Promise(next.first_ballot()), out);
        }
        self.configuration = next;
        true
    }

    /// When what was heard is stored by itself, if no record comes before.
    fn save_at(&self) -> Option<Time> {
        self.unsaved.since.map(|since| since.plus_us(REMEMBER_US))
    }

    /// Stores what was heard of the members (S10).
    fn remember(&mut self, out: &mut Outbox<Record>) {
        let Unsaved { memories, .. } = std::mem::take(&mut *self.unsaved);
        for (of, memory) in memories {
            let record = Record::Remember(of, memory);
            self.state.apply(&record);
            out.persist(record);
        }
    }

    /// L4: tells the proposer when a burst was handed to the disk, once in a while. The notice
    /// leaves behind the sync.
    fn tell_saving(&mut self, now: Time, out: &mut Outbox<Record>) {
        let (heartbeat_us, saving) = (self.settings.heartbeat_us, &mut *self.saving);
        // The learner speaks in every heartbeat. If nothing was heard for much longer, then the
        // burst before has held this thread up. Just that sync has to be known.
        let held_up = |since: &Time| now.since_us(*since) >= HELD_UP * heartbeat_us;
        let stalled = saving.untold_at.take().filter(held_up);
        let has_record = std::mem::take(&mut saving.has_record);
        let is_due = saving.told_at.is_none_or(|told| now.since_us(told) >= heartbeat_us);
        let since = stalled.or((has_record && is_due).then_some(now));
        saving.untold_at = (has_record && since != Some(now)).then_some(now);
        if let Some(since) = since {
            saving.told_at = Some(now);
            out.tell(Notice::Proposer(proposer::Input::Saved { since }));
        }
    }

    /// Makes a change that must be durable before anything else leaves (S1).
    fn record(&mut self, record: Record, out: &mut Outbox<Record>) {
        let before = self.state.promised;
        self.state.apply(&record);
        assert!(self.state.promised >= before, "a promise never goes down");
        self.announce |= self.state.promised > before;
        self.saving.has_record = true;
        out.persist(record);
    }
}

impl Role for Acceptor {
    type Input = Input;
    type Record = Record;

    fn handle(&mut self, now: Time, _draw: u64, input: Input, out: &mut Outbox<Record>) {
        match input {
            // M4: whoever has applied the change and leads is ahead of this replica's disk.
            Input::Peer(from, ToAcceptor::Prepare { ballot, first, voter })
                if ballot.configuration() > self.configuration.number() =>
            {
                if self.early.is_none_or(|early| early.ballot <= ballot) {
                    self.early = Some(Prepare { from, ballot, first, voter });
                }
            }
            // S6, M4: a directory that is no member has no vote to give.
            Input::Peer(..) if !self.is_voter() => {}
            // S12: what this life would say now, its copy does not know.
            Input::Peer(..) if self.standing.is_beside(self.settings.id) => {}
            // E5: a mark is a vote.
            Input::Mark { .. } if !self.is_voter() || self.standing.is_beside(self.settings.id) => {
            }
            Input::Peer(from, ToAcceptor::Prepare { ballot, first, voter })
                if self.concerns(from, ballot) =>
            {
                match self.standing.judge(from, voter) {
                    Verdict::Counts => self.handle_prepare(from, ballot, first, out),
                    // S10: the candidate counts its own promise, and does not know what it has
                    // forgotten.
                    verdict => refuse(from, voter, verdict, out),
                }
            }
            Input::Peer(from, ToAcceptor::Accept(accept)) if self.concerns(from, accept.ballot) => {
                self.handle_accept(from, accept, out);
            }
            Input::Peer(from, ToAcceptor::AcceptHeld { ballot, held })
                if self.concerns(from, ballot) =>
            {
                self.handle_accept_held(from, ballot, &held, out);
            }
            Input::Peer(from, ToAcceptor::FetchAccepted { ballot, wanted })
                if self.concerns(from, ballot) =>
            {
                self.handle_fetch(from, ballot, &wanted, out);
            }
            Input::Peer(..) => {}
            Input::Applied(applied, configuration) => {
                let is_new = configuration.is_some_and(|next| self.enter(next, out));
                if applied > self.state.trimmed() {
                    self.record(Record::Trim(applied), out);
                }
                self.announce = true;
                if let Some(early) = self.early.take_if(|_| is_new) {
                    let Prepare { from, ballot, first, voter } = early;
                    let prepare = ToAcceptor::Prepare { ballot, first, voter };
                    self.handle(now, 0, Input::Peer(from, prepare), out);
                }
            }
            Input::Beside(beside) => self.standing.set_beside(beside),
            Input::Mark { origin, read, inherited, configuration } => {
                let mark = self.state.mark(inherited);
                if configuration == self.configuration.number() && !self.may_have_changed(mark) {
                    let by = Voters { configuration, members: self.configuration.ids() };
                    out.answer(origin, Answer::Mark { read, mark, by });
                }
            }
            Input::Heard(of, directory, _) if !self.standing.is_member(of, directory) => {}
            Input::Heard(of, directory, memory) => {
                self.standing.note(of, directory, memory);
                let unsaved = &mut self.unsaved;
                unsaved.memories.retain(|(other, _)| *other != of);
                unsaved.memories.push((of, memory));
                unsaved.since.get_or_insert(now);
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, _draw: u64, out: &mut Outbox<Record>) {
        if self.save_at().is_some_and(|at| at <= now) {
            self.remember(out);
        }
    }

    fn flush(&mut self, now: Time, out: &mut Outbox<Record>) {
        let ranges_max =
            (self.settings.payload_bytes / RANGE_BYTES_MAX / 2).clamp(1, MESSAGE_SLOTS_MAX);
        let voter = self.membership.voter;
        self.named = Named::default();
        for Vote { ballot, leader, mut slots, decided } in self.burst.drain(..) {
            // A vote may be lost. So the next one repeats what the leader may lack (L4).
            if let Some(decided) = decided {
                slots = self.state.log.held_at(ballot, decided, slots, ranges_max);
            }
            for slots in slots.split(ranges_max) {
                let message = ToLearner::Accepted { ballot, voter, slots };
                out.send(leader, Message::Learner(message));
            }
        }
        if std::mem::take(&mut self.announce)
            && let Some(promised) = self.state.promised
        {
            let written = self.state.written();
            out.tell(Notice::Proposer(proposer::Input::Promised { ballot: promised, written }));
        }
        if self.saving.has_record {
            self.remember(out);
        }
        self.tell_saving(now, out);
    }

    fn deadline(&self) -> Option<Time> {
        self.save_at()
    }
}

/// Tells replica `to` why its word does not count, unless it does (S6, S10).
pub(super) fn refuse<R>(to: ReplicaId, voter: Voter, verdict: Verdict, out: &mut Outbox<R>) {
    let told = match verdict {
        // S12: both lives are told in heartbeats. A former life has nobody to be told.
        Verdict::Counts | Verdict::Former | Verdict::Beside => return,
        Verdict::NotMember => ToBootstrap::NotMember { directory: voter.directory },
        Verdict::Forgotten { known } => ToBootstrap::Forgotten { boot: voter.boot, known },
    };
    out.send(to, Message::Bootstrap(told));
}
