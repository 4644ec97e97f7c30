//! The history of a run, if somebody wants to read it.
//!
//! It is told what leaves, what arrives, what becomes durable and who lives. It draws nothing and
//! decides nothing, so a run is the same with it. A trace prints each event in the words of the
//! golden scripts.

use super::{Arrival, OPERATOR, Process, READER, READS, World, address_of, who, who_if_any};
use history::{Event, History, Loss, Party, Payload, Recorder, Said, print};
use multipaxos::message::{Answer, Message};
use multipaxos::paxos::{Notice, acceptor, learner};
use multipaxos::types::{Address, Ballot, ReplicaId, Slot};

/// The most entries of a history. A page of more is too long to be read.
const ENTRIES_MAX: usize = 40_000;

/// What is recorded, and what was recorded of each replica last.
#[derive(Debug)]
pub(super) struct Recording {
    recorder: Recorder,
    leading: Vec<Option<Ballot>>,
}

impl Recording {
    /// `keeps`: whether somebody wants the history, and not only the trace.
    pub(super) fn new((n, places): (usize, usize), keeps: bool) -> Recording {
        let entries_max = if keeps { ENTRIES_MAX } else { 0 };
        let recorder = Recorder::new(places, entries_max).founded_by(n);
        Recording { recorder, leading: vec![None; places] }
    }

    pub(super) fn finish(self: Box<Recording>, us: u64) -> (History, bool) {
        let is_cut = self.recorder.is_cut();
        (self.recorder.finish(us), is_cut)
    }
}

impl World {
    /// Something happens that is no message.
    pub(super) fn record(&mut self, event: impl FnOnce() -> Event) {
        if let Some(Recording { recorder, .. }) = self.recording.as_deref_mut() {
            recorder.happens(self.now.0, event());
            let line = recorder.take_line();
            self.trace_line(line);
        }
    }

    fn trace_line(&self, line: Option<String>) {
        if let Some(line) = line {
            self.trace(|| line);
        }
    }

    /// A message leaves.
    pub(super) fn record_leaving(
        &mut self,
        from: Party,
        to: Party,
        payload: impl FnOnce() -> Payload,
    ) {
        if let Some(Recording { recorder, .. }) = self.recording.as_deref_mut() {
            recorder.leaves(self.now.0, from, to, &payload());
            let line = recorder.take_line();
            self.trace_line(line);
        }
    }

    /// A message arrives.
    pub(super) fn record_arrival(
        &mut self,
        from: Party,
        to: Party,
        payload: impl FnOnce() -> Payload,
    ) {
        if let Some(Recording { recorder, .. }) = self.recording.as_deref_mut() {
            recorder.arrives(self.now.0, from, to, &payload());
            let line = recorder.take_line();
            self.trace_line(line);
        }
    }

    /// A message between replicas leaves. `reaches`: whether there is a way.
    pub(super) fn record_message(
        &mut self,
        from: ReplicaId,
        to: ReplicaId,
        message: &Message,
        reaches: bool,
    ) {
        let Some(Recording { recorder, .. }) = self.recording.as_deref_mut() else { return };
        let (from, to) = (Party::Replica(from), Party::Replica(to));
        let payload = Payload::Peer(message.clone());
        recorder.leaves(self.now.0, from, to, &payload);
        let left = recorder.take_line();
        if !reaches {
            recorder.loses(self.now.0, from, to, &payload, Loss::LinkIsCut);
        }
        let lost = recorder.take_line();
        self.trace_line(left);
        self.trace_line(lost);
    }

    /// What the run does, beside the roles.
    pub(super) fn record_note(&mut self, replica: Option<ReplicaId>, text: &str) {
        self.record(|| Event::Noted { replica, text: text.to_owned() });
    }

    /// A replica sends an answer to a client.
    pub(super) fn record_answer(&mut self, from: ReplicaId, to: Address, answer: &Answer) {
        let client = Party::Client(who(to).0 as u64);
        self.record_leaving(Party::Replica(from), client, || Payload::Answer(answer.clone()));
    }

    /// The client at this address, if it is one of the run's.
    fn client_at(&self, at: Address) -> Option<Party> {
        let is_of_run = |client: &(usize, u32)| {
            client.0 < self.clients.len() && address_of(client.0, client.1) == at
        };
        let found = (![OPERATOR, READER, READS].contains(&at))
            .then(|| who_if_any(at))
            .flatten()
            .filter(is_of_run);
        found.map(|(client, _)| Party::Client(client as u64))
    }

    /// A replica's roles get what has arrived.
    pub(super) fn record_at_replica(&mut self, to: ReplicaId, arrival: &Arrival) {
        if self.recording.is_none() {
            return;
        }
        let (from, payload) = match arrival {
            Arrival::Peer(from, message) => (Party::Replica(*from), Payload::Peer(message.clone())),
            Arrival::WarmUp(from, _, message) => {
                (Party::Replica(*from), Payload::Peer(Message::Bootstrap(message.clone())))
            }
            Arrival::Client(at, message) => match self.client_at(*at) {
                Some(client) => (client, Payload::Call(message.clone())),
                None => return self.trace(|| format!("{}->{to} {}", at.0, print::call(message))),
            },
            Arrival::Refused(from, at, why) => {
                return self.trace(|| format!("{from} ({}) -> {to}: refused, {why:?}", at.0));
            }
            Arrival::Life(..) | Arrival::Frame(..) => return,
        };
        self.record_arrival(from, Party::Replica(to), || payload);
    }

    /// An acceptor has made this durable.
    pub(super) fn record_saved(&mut self, replica: ReplicaId, record: &acceptor::Record) {
        match record {
            acceptor::Record::Promise(ballot) => {
                self.record(|| Event::Promised { replica, ballot: *ballot });
            }
            acceptor::Record::Accept(run) => self.record(|| Event::Accepted {
                replica,
                ballot: run.ballot,
                first: run.first,
                values: run.values.clone(),
            }),
            acceptor::Record::Trim(_)
            | acceptor::Record::Held(_)
            | acceptor::Record::Remember(..) => {}
        }
    }

    /// A learner has made this durable.
    pub(super) fn record_applied(&mut self, replica: ReplicaId, record: &learner::Record) {
        if self.recording.is_none() {
            return;
        }
        for line in print::learned(record) {
            self.trace(|| format!("{replica} {line}"));
        }
        let learner::Record::Applied { first, values, client_seqs } = record else { return };
        self.record(|| Event::Applied {
            replica,
            first: *first,
            values: values.clone(),
            effects: client_seqs.iter().map(Option::is_some).collect(),
        });
    }

    /// A role tells another one of its replica.
    pub(super) fn record_notice(&mut self, replica: ReplicaId, notice: &Notice) {
        if self.recording.is_some()
            && let Some(said) = Said::by_own_acceptor(notice)
        {
            self.record(|| Event::Told { replica, said });
        }
    }

    /// A process begins to take part.
    pub(super) fn record_beginning(&mut self, replica: ReplicaId, votes: bool, applied: Slot) {
        let votes = votes && !self.wiped[replica.index()];
        self.record(|| Event::Began { replica, votes, applied });
    }

    /// A process ends. `cannot_sync`: since its disk has failed.
    pub(super) fn record_end(&mut self, replica: ReplicaId, cannot_sync: bool) {
        if let Some(recording) = self.recording.as_deref_mut() {
            recording.leading[replica.index()] = None;
        }
        self.record(|| Event::Ended { replica, cannot_sync });
    }

    /// A role has taken a turn: perhaps its replica leads now, or does no longer.
    pub(super) fn record_leader(&mut self, replica: ReplicaId) {
        let Some(recording) = self.recording.as_deref_mut() else { return };
        let leads = self.nodes[replica.index()].process.as_ref().and_then(Process::leading);
        if std::mem::replace(&mut recording.leading[replica.index()], leads) != leads {
            self.record(|| match leads {
                Some(ballot) => Event::Leads { replica, ballot },
                None => Event::Resigned { replica },
            });
        }
    }
}
