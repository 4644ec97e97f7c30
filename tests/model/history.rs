//! What has happened, as far as the invariants need it.
//!
//! It is kept from what became durable and from what left, not from what roles believe:
//! *chosen* is the definition, a quorum's durable acceptances of one value at one ballot.
//! It is a part of the state, so that no two states with different pasts are taken for
//! one where an invariant could tell them apart.

use super::bounds::{N, is_quorum, owner};
use super::seat::StepEffect;
use multipaxos::message::{
    Answer, Decided, Message, Promise, Run, Span, ToAcceptor, ToLearner, ToProposer,
};
use multipaxos::paxos::{Envelope, Notice, acceptor, learner, proposer};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{Ballot, ReplicaId, Slot, Value};
use multipaxos::values::{ValueRef, Values};
use std::collections::{BTreeMap, BTreeSet};

/// An invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Law {
    Agreement,
    ChosenStays,
    OneValueABallot,
    PromiseHolds,
    DurableFirst,
    OwnPromiseFirst,
    Prefix,
    AppliedOnce,
    TrueAnswers,
    TrueMarks,
    AskedFor,
    Assertions,
}

impl Law {
    pub(crate) const ALL: [Law; 12] = [
        Law::Agreement,
        Law::ChosenStays,
        Law::OneValueABallot,
        Law::PromiseHolds,
        Law::DurableFirst,
        Law::OwnPromiseFirst,
        Law::Prefix,
        Law::AppliedOnce,
        Law::TrueAnswers,
        Law::TrueMarks,
        Law::AskedFor,
        Law::Assertions,
    ];

    /// What anybody can see: that two values are chosen, or that logs or answers are wrong.
    pub(crate) const OUTCOME: &'static [Law] =
        &[Law::Agreement, Law::Prefix, Law::AppliedOnce, Law::TrueAnswers];

    /// What holds, in a sentence.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Law::Agreement => "at most one value is chosen for a slot",
            Law::ChosenStays => "no ballot above proposes another value than was chosen",
            Law::OneValueABallot => "a slot and a ballot have one value",
            Law::PromiseHolds => "no promise goes down, in a crash neither",
            Law::DurableFirst => "what leaves rests on what is durable",
            Law::OwnPromiseFirst => {
                "a ballot is used in one life, after its owner's own durable promise"
            }
            Law::Prefix => "applied logs are prefixes of one another, and hold what was chosen",
            Law::AppliedOnce => "a command takes effect once",
            Law::TrueAnswers => "a completion is told of what was applied",
            Law::TrueMarks => "a decided mark covers slots with a quorum at its ballot",
            Law::AskedFor => "nothing is proposed that nobody asked for, but no-ops",
            Law::Assertions => "no assertion of a role fails",
        }
    }

    /// Its id in docs/protocol.md.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Law::Agreement | Law::ChosenStays => "I1",
            Law::OneValueABallot => "I2",
            Law::PromiseHolds => "I3",
            Law::DurableFirst => "S1",
            Law::OwnPromiseFirst => "S2",
            Law::Prefix => "I4",
            Law::AppliedOnce => "E2",
            Law::TrueAnswers => "E3",
            Law::TrueMarks => "S7",
            Law::AskedFor => "I7",
            Law::Assertions => "W4",
        }
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Laws(u16);

impl Laws {
    pub(crate) fn of(laws: &[Law]) -> Laws {
        Laws(laws.iter().fold(0, |set, law| set | law.bit()))
    }

    pub(crate) fn contains(self, law: Law) -> bool {
        self.0 & law.bit() != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A value that was chosen, at which ballot, and who accepted it there.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) ballot: Ballot,
    pub(crate) value: Value,
    pub(crate) by: ReplicaSet,
}

/// A value, encoded.
type Bytes = Vec<u8>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Line {
    value: Bytes,
    client_seq: Option<u64>,
}

impl Line {
    fn is_noop(&self) -> bool {
        matches!(Values::read(&self.value).expect("it was encoded").get(0), ValueRef::Noop)
    }

    fn is_command(&self) -> bool {
        let value = Values::read(&self.value).expect("it was encoded");
        value.get(0).command().is_some()
    }

    fn has_effect(&self) -> bool {
        self.client_seq.is_some()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// The laws that count.
    judged: Laws,
    /// Which of them were broken.
    pub(crate) broken: Laws,
    /// What each acceptor has durably promised.
    promised: [Option<Ballot>; N],
    /// In which life each ballot's owner promised it.
    own_promises: BTreeMap<Ballot, u8>,
    accepted: BTreeMap<(Slot, Ballot, Bytes), ReplicaSet>,
    proposed: BTreeSet<(Slot, Ballot, Bytes)>,
    /// The longest log that anyone has applied, and how far each is.
    log: Vec<Line>,
    applied: [Slot; N],
    trimmed: bool,
    /// Whether a candidate was sent values that it lacked, and whether one was told that they
    /// are forgotten.
    fetched: bool,
    forgotten: bool,
}

fn each(first: Slot, values: &Values) -> impl Iterator<Item = (Slot, Bytes)> {
    let value = |at| values.slice(at..at + 1).bytes().to_vec();
    (0..values.len()).map(move |at| (first.plus(at as u64), value(at)))
}

impl History {
    pub(crate) fn new(judged: &[Law]) -> History {
        History {
            judged: Laws::of(judged),
            broken: Laws::default(),
            promised: [None; N],
            own_promises: BTreeMap::new(),
            accepted: BTreeMap::new(),
            proposed: BTreeSet::new(),
            log: Vec::new(),
            applied: [Slot::ZERO; N],
            trimmed: false,
            fetched: false,
            forgotten: false,
        }
    }

    /// What of it is asked about learners.
    pub(crate) fn for_learners(&self) -> History {
        let History { judged, broken, accepted, log, applied, .. } = self.clone();
        History { judged, broken, accepted, log, applied, ..History::new(&[]) }
    }

    fn ensure(&mut self, holds: bool, law: Law) {
        if !holds && self.judged.contains(law) {
            self.broken.0 |= law.bit();
        }
    }

    /// A role has failed at a step.
    pub(crate) fn fails(&mut self) {
        self.ensure(false, Law::Assertions);
    }

    /// Takes what came of a step of replica `node` in its life `life`. `known`: what
    /// clients have asked for.
    pub(crate) fn observe(
        &mut self,
        node: ReplicaId,
        life: u8,
        effect: &StepEffect,
        known: &[Values],
    ) {
        match effect {
            StepEffect::Accepted(record) => self.durable(node, life, record),
            StepEffect::Applied(record) => self.applies(node, record),
            StepEffect::Leaves(Envelope::Peer { to, message }) => {
                self.leaves(node, life, *to, message, known);
            }
            StepEffect::Leaves(Envelope::Answers { answers, .. }) => {
                answers.iter().for_each(|answer| self.answers(answer));
            }
            StepEffect::Leaves(Envelope::Notice(Notice::Proposer(
                proposer::Input::OwnPromise { ballot, accepted, .. },
            ))) => {
                self.ensure(self.promised[node.index()] >= Some(*ballot), Law::DurableFirst);
                self.hands_over(node, accepted);
            }
            StepEffect::Leaves(_) => {}
            StepEffect::Stands(promised) | StepEffect::Remembers(promised) => {
                self.ensure(*promised >= self.promised[node.index()], Law::PromiseHolds);
            }
            StepEffect::GoesOn(applied) => self.applied[node.index()] = *applied,
        }
    }

    // --- what became durable -------------------------------------------------------

    fn durable(&mut self, node: ReplicaId, life: u8, record: &acceptor::Record) {
        let ballot = match record {
            acceptor::Record::Promise(ballot) | acceptor::Record::Accept(Run { ballot, .. }) => {
                *ballot
            }
            acceptor::Record::Trim(_) => return self.trimmed = true,
            // Others are remembered by what heartbeats say, which are left out here.
            acceptor::Record::Remember(..) | acceptor::Record::Held(_) => return,
        };
        let before = self.promised[node.index()];
        self.ensure(before <= Some(ballot), Law::PromiseHolds);
        if before < Some(ballot) {
            self.promised[node.index()] = Some(ballot);
            if owner(ballot) == node {
                self.own_promises.insert(ballot, life);
            }
        }
        if let acceptor::Record::Accept(Run { first, values, .. }) = record {
            for (slot, value) in each(*first, values) {
                let by = self.accepted.entry((slot, ballot, value)).or_default();
                by.insert(node);
                if is_quorum(ballot, *by) {
                    self.chooses(slot);
                }
            }
        }
    }

    fn chooses(&mut self, slot: Slot) {
        let first = self.chosen(slot).next().map(|(_, first)| first);
        let agree = self.chosen(slot).all(|(_, value)| Some(value) == first);
        let stays = self.chosen(slot).all(|(at, chosen)| {
            self.proposed_at(slot).all(|(ballot, value)| ballot < at || value == chosen)
        });
        self.ensure(agree, Law::Agreement);
        self.ensure(stays, Law::ChosenStays);
    }

    /// What was chosen in `slot`, and at which ballots.
    fn chosen(&self, slot: Slot) -> impl Iterator<Item = (Ballot, &Bytes)> {
        let from = (slot, Ballot::ZERO, Bytes::new());
        let here = self.accepted.range(from..).take_while(move |((at, ..), _)| *at == slot);
        here.filter(|((_, ballot, _), by)| is_quorum(*ballot, **by))
            .map(|((_, ballot, value), _)| (*ballot, value))
    }

    /// What was chosen in each slot.
    pub(crate) fn all_chosen(&self) -> BTreeMap<Slot, Vec<Chosen>> {
        let mut slots: BTreeMap<Slot, Vec<Chosen>> = BTreeMap::new();
        for ((slot, ballot, value), by) in &self.accepted {
            if is_quorum(*ballot, *by) {
                let value = Values::read(value).expect("it was encoded").to_vec().swap_remove(0);
                let chosen = Chosen { ballot: *ballot, value, by: *by };
                slots.entry(*slot).or_default().push(chosen);
            }
        }
        slots
    }

    fn proposed_at(&self, slot: Slot) -> impl Iterator<Item = (Ballot, &Bytes)> {
        let from = (slot, Ballot::ZERO, Bytes::new());
        let here = self.proposed.range(from..).take_while(move |(at, ..)| *at == slot);
        here.map(|(_, ballot, value)| (*ballot, value))
    }

    fn is_durable(&self, node: ReplicaId, slot: Slot, ballot: Ballot, value: &Bytes) -> bool {
        let held = self.accepted.get(&(slot, ballot, value.clone()));
        held.is_some_and(|by| by.contains(node))
    }

    fn applies(&mut self, node: ReplicaId, record: &learner::Record) {
        let learner::Record::Applied { first, values, client_seqs } = record else { return };
        for ((slot, value), client_seq) in each(*first, values).zip(client_seqs) {
            let chosen = self.chosen(slot).any(|(_, chosen)| *chosen == value);
            self.ensure(chosen && slot == self.applied[node.index()], Law::Prefix);
            self.applied[node.index()] = slot.next();
            let line = Line { value, client_seq: *client_seq };
            if let Some(stands) = self.log.get(slot.0 as usize) {
                self.ensure(*stands == line, Law::Prefix);
                continue;
            }
            let again = |before: &Line| before.has_effect() && before.value == line.value;
            let once = !line.has_effect() || !self.log.iter().any(again);
            self.ensure(once, Law::AppliedOnce);
            self.log.push(line);
        }
    }

    // --- what leaves ---------------------------------------------------------------

    fn leaves(
        &mut self,
        node: ReplicaId,
        life: u8,
        to: ReplicaId,
        message: &Message,
        known: &[Values],
    ) {
        match message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, .. }) => {
                // To oneself it asks for the own promise.
                let promised = to == node || self.own_promises.get(ballot) == Some(&life);
                self.ensure(promised && owner(*ballot) == node, Law::OwnPromiseFirst);
            }
            Message::Acceptor(ToAcceptor::Accept(accept)) => {
                let ballot = accept.ballot;
                let promised = self.own_promises.get(&ballot) == Some(&life);
                self.ensure(promised && owner(ballot) == node, Law::OwnPromiseFirst);
                for (at, (slot, value)) in each(accept.first, &accept.values).enumerate() {
                    let asked = accept.values.get(at) == ValueRef::Noop
                        || known.iter().any(|known| known.bytes() == value);
                    self.ensure(asked, Law::AskedFor);
                    self.proposes(slot, ballot, value);
                }
                self.marks(accept.decided);
            }
            Message::Acceptor(ToAcceptor::AcceptHeld { ballot, held }) => {
                let promised = self.own_promises.get(ballot) == Some(&life);
                self.ensure(promised && owner(*ballot) == node, Law::OwnPromiseFirst);
                for (slot, at) in held
                    .iter()
                    .flat_map(|span| span.slots.iter().map(move |slot| (slot, span.ballot)))
                {
                    let value = self.proposed_at(slot).find(|(other, _)| *other == at);
                    let value = value.expect("what is held was proposed").1.clone();
                    self.proposes(slot, *ballot, value);
                }
            }
            Message::Heartbeat(heartbeat) => self.marks(heartbeat.decided),
            Message::Acceptor(ToAcceptor::FetchAccepted { ballot, .. }) => {
                let promised = self.own_promises.get(ballot) == Some(&life);
                self.ensure(promised && owner(*ballot) == node, Law::OwnPromiseFirst);
            }
            Message::Proposer(ToProposer::Promise(page)) => self.promises(node, page),
            Message::Proposer(ToProposer::AcceptedValues(values)) => {
                let none = values.accepted.is_empty();
                self.fetched |= !none;
                self.forgotten |= none && values.trimmed > Slot::ZERO;
                self.hands_over(node, &values.accepted);
            }
            Message::Learner(ToLearner::Accepted { ballot, slots, .. }) => {
                let voted = |slot| self.has_accepted(node, Slot(slot), *ballot);
                let mut slots = slots.ranges().iter().flat_map(|range| range.start.0..range.end.0);
                let durable = slots.all(voted);
                self.ensure(durable, Law::DurableFirst);
            }
            _ => {}
        }
    }

    fn proposes(&mut self, slot: Slot, ballot: Ballot, value: Bytes) {
        let stays = self.chosen(slot).all(|(at, chosen)| at > ballot || *chosen == value);
        self.ensure(stays, Law::ChosenStays);
        let one = self.proposed_at(slot).all(|(at, other)| at != ballot || *other == value);
        self.ensure(one, Law::OneValueABallot);
        self.proposed.insert((slot, ballot, value));
    }

    fn promises(&mut self, node: ReplicaId, page: &Promise) {
        let held =
            |span: Span| span.slots.iter().all(|slot| self.has_accepted(node, slot, span.ballot));
        let durable =
            self.promised[node.index()] >= Some(page.ballot) && page.accepted.iter().all(held);
        self.ensure(durable, Law::DurableFirst);
    }

    /// Whether an acceptance is durable, whatever its value.
    fn has_accepted(&self, node: ReplicaId, slot: Slot, ballot: Ballot) -> bool {
        let from = (slot, ballot, Bytes::new());
        let here = self.accepted.range(from..);
        here.take_while(|((at, accepted_at, _), _)| (*at, *accepted_at) == (slot, ballot))
            .any(|(_, by)| by.contains(node))
    }

    /// An acceptor sends values that it has accepted.
    fn hands_over(&mut self, node: ReplicaId, runs: &[Run]) {
        let mut entries = runs.iter().flat_map(|run| {
            each(run.first, &run.values).map(|(slot, value)| (slot, run.ballot, value))
        });
        let durable =
            entries.all(|(slot, ballot, value)| self.is_durable(node, slot, ballot, &value));
        self.ensure(durable, Law::DurableFirst);
    }

    fn marks(&mut self, mark: Decided) {
        let tallied = |slot| self.chosen(Slot(slot)).any(|(ballot, _)| ballot == mark.ballot);
        let holds = (mark.slots.start.0..mark.slots.end.0).all(tallied);
        self.ensure(holds, Law::TrueMarks);
    }

    fn answers(&mut self, answer: &Answer) {
        let Answer::Complete { session, seq, slot, client_seq, .. } = answer else { return };
        let stands = self.log.get(slot.0 as usize).is_some_and(|line| {
            let value = Values::read(&line.value).expect("it was encoded");
            let command = value.get(0).command();
            line.client_seq == Some(*client_seq)
                && command.is_some_and(|command| (command.session, command.seq) == (*session, *seq))
        });
        self.ensure(stands, Law::TrueAnswers);
    }

    /// What of [`Reach`] can be seen in it.
    pub(crate) fn reached(&self) -> Reached {
        let mut reached = Reached::default();
        for (_, ballot, _) in
            self.accepted.iter().filter(|((_, at, _), by)| is_quorum(*at, **by)).map(|(at, _)| at)
        {
            reached.add(match ballot.configuration() {
                0 => Reach::Decided(ballot.0 as u8),
                1 => Reach::DecidedAfterChange,
                _ => Reach::DecidedAfterTwo,
            });
        }
        let commands = || self.proposed.iter().filter(|(.., value)| value.len() > 1);
        for (slot, ballot, value) in commands() {
            for (at, higher, other) in commands() {
                if at == slot && higher > ballot {
                    let again = other == value;
                    reached.add(if again { Reach::ProposedAgain } else { Reach::Displaced });
                }
            }
        }
        let mut met = |met: bool, reach| {
            if met {
                reached.add(reach);
            }
        };
        met(self.log.iter().any(Line::is_noop), Reach::HoleFilled);
        let without_effect = |line: &Line| line.is_command() && !line.has_effect();
        met(self.log.iter().any(without_effect), Reach::Suppressed);
        met(self.applied.iter().any(|applied| *applied > Slot::ZERO), Reach::Applied);
        met(self.applied.iter().all(|applied| *applied > Slot::ZERO), Reach::AppliedByAll);
        met(self.own_promises.values().any(|life| *life > 0), Reach::LedAfterCrash);
        met(self.trimmed, Reach::Trimmed);
        met(self.fetched, Reach::ValuesFetched);
        met(self.forgotten, Reach::ValuesForgotten);
        reached
    }
}

/// Something that a check is to come across, so that it is known to be about anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// A value was chosen at this ballot.
    Decided(u8),
    /// A command was proposed at two ballots.
    ProposedAgain,
    /// A command was proposed, and another at a higher ballot.
    Displaced,
    /// A no-op was applied.
    HoleFilled,
    /// A command was applied a second time, without effect.
    Suppressed,
    Applied,
    AppliedByAll,
    /// A ballot was used in a second life.
    LedAfterCrash,
    Trimmed,
    /// A candidate was sent values that its own acceptor lacked.
    ValuesFetched,
    /// It was told that they are decided and forgotten.
    ValuesForgotten,
    /// A value was chosen after a change of members, and after a second one.
    DecidedAfterChange,
    DecidedAfterTwo,
    /// A process died with records written and not synced.
    DiedUnsynced,
    /// A process died with records synced, and what rests on them held.
    DiedUnsent,
}

impl Reach {
    pub(crate) const ALL: [Reach; 19] = [
        Reach::Decided(0),
        Reach::Decided(1),
        Reach::Decided(2),
        Reach::Decided(3),
        Reach::Decided(4),
        Reach::ProposedAgain,
        Reach::Displaced,
        Reach::HoleFilled,
        Reach::Suppressed,
        Reach::Applied,
        Reach::AppliedByAll,
        Reach::LedAfterCrash,
        Reach::Trimmed,
        Reach::ValuesFetched,
        Reach::ValuesForgotten,
        Reach::DecidedAfterChange,
        Reach::DecidedAfterTwo,
        Reach::DiedUnsynced,
        Reach::DiedUnsent,
    ];

    pub(crate) fn what(self) -> &'static str {
        match self {
            Reach::Decided(0) => "a value is chosen at ballot 0",
            Reach::Decided(1) => "a value is chosen at ballot 1",
            Reach::Decided(2) => "a value is chosen at ballot 2",
            Reach::Decided(3) => "a value is chosen at ballot 3",
            Reach::Decided(_) => "a value is chosen at ballot 4",
            Reach::ProposedAgain => "a command is proposed again at a higher ballot",
            Reach::Displaced => "a command gives way to another at a higher ballot",
            Reach::HoleFilled => "a hole is filled with a no-op, and applied",
            Reach::Suppressed => "a command is chosen twice, and takes effect once",
            Reach::Applied => "some replica applies something",
            Reach::AppliedByAll => "all replicas apply something",
            Reach::LedAfterCrash => "a ballot is used after a crash",
            Reach::Trimmed => "an acceptor forgets what was applied",
            Reach::ValuesFetched => "a candidate fetches a value that it lacks",
            Reach::ValuesForgotten => "a candidate asks for a value that is decided and forgotten",
            Reach::DecidedAfterChange => "a value is chosen after a change of members",
            Reach::DecidedAfterTwo => "a value is chosen after two changes of members",
            Reach::DiedUnsynced => "a process dies between writing and syncing",
            Reach::DiedUnsent => "a process dies between syncing and sending",
        }
    }

    pub(crate) fn index(self) -> usize {
        let at = Reach::ALL.iter().position(|reach| *reach == self);
        at.expect("all of them are listed")
    }
}

/// A set of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reached(u32);

impl Reached {
    pub(crate) fn add(&mut self, reach: Reach) {
        self.0 |= 1 << reach.index();
    }

    pub(crate) fn contains(self, reach: Reach) -> bool {
        self.0 & (1 << reach.index()) != 0
    }
}
