//! Compares what the roles of all processes did with the rules of docs/protocol.md.
//!
//! - I1: a slot has one chosen value. A value is chosen once a quorum of acceptors has accepted it at
//!   one ballot; from then on every higher ballot proposes that one.
//! - I2: in a slot a ballot has one value, whoever proposes or accepts it.
//! - I3: the promise of an acceptor never goes down, through all lives of its directory, and it
//!   accepts nothing below.
//! - I4: all replicas apply the same values, which are the chosen ones.
//! - I5: what a client was told to be complete stands in that slot.
//!
//! What counts is what the outputs say: what an acceptor wants to be durable, and what leaves. The
//! traces may be of a part of a run, and of some of the processes. Then less is compared.

use crate::files::Life;
use crate::steps::{Step, steps};
use multipaxos::client::{self, Outcome};
use multipaxos::message::{Message, Run, ToAcceptor};
use multipaxos::paxos::{Envelope, Never, acceptor, learner, proposer};
use multipaxos::quorum::quorum;
use multipaxos::runtime::trace::Who;
use multipaxos::runtime::trace::begin::Beginning;
use multipaxos::runtime::trace::block::{Record, Stream};
use multipaxos::types::{Ballot, ClientId, DirectoryId, ReplicaId, Slot};
use multipaxos::values::Values;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// How many faults are told. One mistake breaks a rule in thousands of slots.
const FAULTS_MAX: usize = 20;

/// What was compared, and what is wrong.
#[derive(Debug, Default)]
pub struct Findings {
    /// In how many slots a value was proposed or accepted.
    pub slots: usize,
    /// In how many of them a value was chosen.
    pub chosen: usize,
    /// How many slots some replica has applied.
    pub applied: usize,
    /// How many lines of clients were compared.
    pub completed: usize,
    /// What is wrong, the first of it.
    pub faults: Vec<String>,
    /// How many more faults there are.
    pub more: usize,
}

/// What was seen of all processes.
#[derive(Debug, Default)]
struct Seen {
    n: usize,
    /// By slot and ballot: the value, and who has accepted it.
    values: BTreeMap<(Slot, Ballot), (Values, BTreeSet<ReplicaId>)>,
    applied: BTreeMap<Slot, (Values, String)>,
    completed: Vec<(Slot, ClientId, String)>,
    /// By the directory of an acceptor: its promise.
    promised: BTreeMap<(ReplicaId, DirectoryId), Option<Ballot>>,
    findings: Findings,
}

impl Findings {
    fn fault(&mut self, what: String) {
        match self.faults.len() < FAULTS_MAX {
            true => self.faults.push(what),
            false => self.more += 1,
        }
    }
}

/// Compares all lives, in the order in which they began.
pub fn compare(lives: &[Life<'_>]) -> Findings {
    let mut seen = Seen { n: lives.first().map_or(0, |life| life.header.n), ..Seen::default() };
    for life in lives {
        match life.who() {
            Who::Replica(id) => {
                seen.acceptor(life, id);
                seen.proposer(life);
                seen.learner(life);
            }
            Who::Client(id) => seen.client(life, id),
        }
    }
    seen.judge()
}

/// The turns of a role of which something has left, and what it began with.
fn outputs<I: DeserializeOwned, R: DeserializeOwned>(
    life: &Life<'_>,
    stream: Stream,
    mut each: impl FnMut(String, Output<R>),
) {
    let mut turn: Option<(String, Output<R>)> = None;
    steps(life, stream, |step: Step<I, R>| {
        let Step::Record(place, record) = step else { return };
        let place = format!("{life}: {stream}: {place}");
        let next = match record {
            Record::Turn { records, envelopes, .. } => {
                Some((place, Output::Turn(records, envelopes)))
            }
            Record::Pages { envelopes } => Some((place, Output::Turn(Vec::new(), envelopes))),
            Record::Begin { beginning, .. } => Some((place, Output::Begin(beginning))),
            // Nothing of that turn has left, nor is it durable for sure.
            Record::Failed => {
                turn = None;
                None
            }
            Record::Input { .. } | Record::Timeout { .. } | Record::Dropped { .. } => None,
        };
        if let Some(next) = next
            && let Some((place, output)) = turn.replace(next)
        {
            each(place, output);
        }
    });
    // A process that was killed may not have come to its last commit.
    if let Some((place, output)) = turn.filter(|_| life.end.is_some()) {
        each(place, output);
    }
}

enum Output<R> {
    Begin(Box<Beginning>),
    Turn(Vec<R>, Vec<Envelope>),
}

impl Seen {
    fn acceptor(&mut self, life: &Life<'_>, id: ReplicaId) {
        let mut directory = DirectoryId(0);
        outputs::<acceptor::Input, acceptor::Record>(life, Stream::Acceptor, |place, output| {
            match output {
                Output::Begin(beginning) => {
                    let Beginning::Acceptor(_, membership, of) = *beginning else { return };
                    directory = membership.voter.directory;
                    let before = self.promised.get(&(id, directory)).copied().flatten();
                    if of.promised < before {
                        let (now, before) = (words(of.promised), words(before));
                        self.findings.fault(format!(
                            "I3: {place}: begins with promise {now}, and had promised {before}"
                        ));
                    }
                    self.promised.insert((id, directory), of.promised);
                    of.runs.iter().for_each(|run| self.value(run, Some(id), &place));
                }
                Output::Turn(records, _) => {
                    for record in records {
                        self.saves((id, directory), &record, &place);
                    }
                }
            }
        });
    }

    fn saves(&mut self, of: (ReplicaId, DirectoryId), record: &acceptor::Record, place: &str) {
        let promised = self.promised.entry(of).or_default();
        let ballot = match record {
            acceptor::Record::Promise(ballot) => Some(*ballot),
            acceptor::Record::Accept(run) => Some(run.ballot),
            _ => None,
        };
        if ballot.is_some_and(|ballot| Some(ballot) < *promised) {
            let (ballot, promised) = (words(ballot), words(*promised));
            let what = format!("I3: {place}: {ballot} below its promise {promised}");
            self.findings.fault(what);
        }
        *promised = (*promised).max(ballot);
        if let acceptor::Record::Accept(run) = record {
            self.value(run, Some(of.0), place);
        }
    }

    fn proposer(&mut self, life: &Life<'_>) {
        outputs::<proposer::Input, Never>(life, Stream::Proposer, |place, output| {
            let Output::Turn(_, envelopes) = output else { return };
            for envelope in envelopes {
                if let Envelope::Peer {
                    message: Message::Acceptor(ToAcceptor::Accept(it)), ..
                } = envelope
                {
                    let run = Run { first: it.first, ballot: it.ballot, values: it.values };
                    self.value(&run, None, &place);
                }
            }
        });
    }

    /// A run was proposed, or accepted by this replica.
    fn value(&mut self, run: &Run, by: Option<ReplicaId>, place: &str) {
        for (at, slot) in run.slots().iter().enumerate() {
            let value = run.values.slice(at..at + 1);
            let key = (slot, run.ballot);
            let (known, acceptors) =
                self.values.entry(key).or_insert_with(|| (value.clone(), BTreeSet::new()));
            acceptors.extend(by);
            if *known != value {
                let what = format!(
                    "I2: {place}: slot {slot}, ballot {}: {value:?}, and elsewhere {known:?}",
                    run.ballot
                );
                self.findings.fault(what);
            }
        }
    }

    fn learner(&mut self, life: &Life<'_>) {
        outputs::<learner::Input, learner::Record>(life, Stream::Learner, |place, output| {
            let Output::Turn(records, _) = output else { return };
            for record in records {
                let learner::Record::Applied { first, values, .. } = record else { continue };
                for at in 0..values.len() {
                    let (slot, value) = (first.plus(at as u64), values.slice(at..at + 1));
                    let (known, by) =
                        self.applied.entry(slot).or_insert_with(|| (value.clone(), place.clone()));
                    if *known != value {
                        let what = format!(
                            "I4: slot {slot}: {place} applies {value:?}, and {by} {known:?}"
                        );
                        self.findings.fault(what);
                    }
                }
            }
        });
    }

    fn client(&mut self, life: &Life<'_>, id: ClientId) {
        outputs::<client::Input, Outcome>(life, Stream::Client, |place, output| {
            let Output::Turn(records, _) = output else { return };
            for record in records {
                if let Outcome::Complete { slot, .. } = record {
                    self.completed.push((slot, id, place.clone()));
                }
            }
        });
    }

    /// What shows only when everything is known.
    fn judge(self) -> Findings {
        let Seen { n, values, applied, completed, mut findings, .. } = self;
        let mut chosen: BTreeMap<Slot, (Ballot, &Values)> = BTreeMap::new();
        for ((slot, ballot), (value, acceptors)) in &values {
            match chosen.get(slot) {
                // Ballots of a slot ascend here.
                Some((at, known)) if *known != value => findings.fault(format!(
                    "I1: slot {slot}: {known:?} is chosen at ballot {at}, and ballot {ballot} has \
                     {value:?}"
                )),
                None if acceptors.len() >= quorum(n) => {
                    chosen.insert(*slot, (*ballot, value));
                }
                _ => {}
            }
        }
        for (slot, (value, by)) in &applied {
            if let Some((at, known)) = chosen.get(slot)
                && *known != value
            {
                findings.fault(format!(
                    "I4: slot {slot}: {by} applies {value:?}, and {known:?} is chosen at ballot {at}"
                ));
            }
        }
        for (slot, client, place) in completed {
            let Some((value, _)) = applied.get(&slot) else { continue };
            findings.completed += 1;
            let of = value.iter().next().and_then(|it| it.command().map(|it| it.session.client));
            if of != Some(client) {
                findings.fault(format!(
                    "I5: {place}: a line of client {client} is complete in slot {slot}, which holds \
                     {value:?}"
                ));
            }
        }
        let slots: BTreeSet<Slot> = values.keys().map(|(slot, _)| *slot).collect();
        (findings.slots, findings.chosen) = (slots.len(), chosen.len());
        findings.applied = applied.len();
        findings
    }
}

fn words(ballot: Option<Ballot>) -> String {
    ballot.map_or("none".into(), |ballot| format!("ballot {ballot}"))
}
