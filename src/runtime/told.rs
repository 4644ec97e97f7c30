//! What a role of a replica does, as lines of the log, in the words of golden scripts.
//!
//! `--log_level debug` tells what decides who leads and what is decided: pre-votes, campaigns,
//! promises, refusals, and what is applied. `trace` tells the rest: each proposal, vote, page and
//! answer. Heartbeats have no line: they are too many. A line is told once what it says is durable,
//! so it is as true as what leaves.
//!
//! A log that is not asked for it costs a look at the level for each turn.

use crate::message::{Message, ToAcceptor, ToBootstrap, ToProposer};
use crate::paxos::{Envelope, Never, acceptor, bootstrap, learner};
use crate::types::ReplicaId;
use crate::words;
use log::Level;

/// A longer run of applied slots is told as one line.
const SLOTS_TOLD_MAX: usize = 8;

/// Puts a record in words, and says at which level they are told.
pub(super) type Words<R> = fn(&R) -> Vec<(Level, String)>;

/// Tells what a role does.
pub(super) struct Teller<R> {
    /// The replica.
    pub(super) id: ReplicaId,
    /// The words for its records.
    pub(super) words: Words<R>,
}

impl<R> Teller<R> {
    /// The words for these records, if anybody wants them.
    pub(super) fn records(&self, records: &[R]) -> Vec<(Level, String)> {
        match log::log_enabled!(Level::Debug) {
            true => records.iter().flat_map(self.words).collect(),
            false => Vec::new(),
        }
    }

    /// These records are durable, and these envelopes leave.
    pub(super) fn tell(&self, records: Vec<(Level, String)>, envelopes: &[Envelope]) {
        if !log::log_enabled!(Level::Debug) {
            return;
        }
        let id = self.id;
        for (level, text) in records {
            log::log!(level, "replica {id}: {text}");
        }
        for (level, text) in envelopes.iter().filter_map(|envelope| leaves(id, envelope)) {
            log::log!(level, "replica {id}: {text}");
        }
    }
}

/// Of an acceptor.
pub(super) fn saved(record: &acceptor::Record) -> Vec<(Level, String)> {
    let level = match record {
        acceptor::Record::Promise(_) => Level::Debug,
        _ => Level::Trace,
    };
    vec![(level, words::saved(record))]
}

/// Of a learner.
pub(super) fn learned(record: &learner::Record) -> Vec<(Level, String)> {
    match record {
        learner::Record::Applied { first, values, .. } if values.len() > SLOTS_TOLD_MAX => {
            let last = first.plus(values.len() as u64 - 1);
            vec![(Level::Debug, format!("applies slots {first}-{last}"))]
        }
        _ => words::learned(record).into_iter().map(|text| (Level::Debug, text)).collect(),
    }
}

/// Of a bootstrap role.
pub(super) fn started(record: &bootstrap::Record) -> Vec<(Level, String)> {
    let bootstrap::Record::Started { members, .. } = record;
    let members: Vec<String> = members.iter().copied().map(words::directory).collect();
    vec![(Level::Debug, format!("saves the list of members: {}", members.join(", ")))]
}

/// Of a role that has none.
pub(super) fn none(never: &Never) -> Vec<(Level, String)> {
    match *never {}
}

/// An envelope of replica `from`, if it has a line.
fn leaves(from: ReplicaId, envelope: &Envelope) -> Option<(Level, String)> {
    match envelope {
        Envelope::Peer { to, message } => {
            Some((level(message)?, format!("{from}->{to} {}", words::message(message))))
        }
        Envelope::Back { to, message, .. } => {
            let message = Message::Bootstrap(message.clone());
            Some((Level::Debug, format!("{from}->{to} {}", words::message(&message))))
        }
        Envelope::Answers { to, answers } => {
            let answers: Vec<String> = answers.iter().map(words::answer).collect();
            Some((Level::Trace, format!("{from}->client at {} {}", to.0, answers.join("; "))))
        }
        Envelope::Call { .. } | Envelope::Notice(_) => None,
    }
}

/// At which level a message is told. None: never.
fn level(message: &Message) -> Option<Level> {
    match message {
        Message::Heartbeat(_) => None,
        // Warm-up repeats it as often as heartbeats.
        Message::Bootstrap(ToBootstrap::Ready(_)) => Some(Level::Trace),
        Message::Bootstrap(_)
        | Message::Acceptor(ToAcceptor::Prepare { .. } | ToAcceptor::FetchAccepted { .. })
        | Message::Proposer(
            ToProposer::Promise(_)
            | ToProposer::AcceptedValues(_)
            | ToProposer::Nack { .. }
            | ToProposer::PreVote { .. }
            | ToProposer::PreVoteReply { .. }
            | ToProposer::Leaving { .. }
            | ToProposer::Observes { .. },
        ) => Some(Level::Debug),
        Message::Acceptor(ToAcceptor::Accept(_) | ToAcceptor::AcceptHeld { .. })
        | Message::Proposer(ToProposer::Forward { .. })
        | Message::Learner(_) => Some(Level::Trace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Accept, Decided, Request, Run};
    use crate::types::{Ballot, Slot};

    const A: ReplicaId = ReplicaId(0);
    const B: ReplicaId = ReplicaId(1);

    fn told(message: Message) -> Option<(Level, String)> {
        leaves(A, &Envelope::Peer { to: B, message })
    }

    #[test]
    fn campaigns_are_told_at_debug_and_proposals_at_trace_in_the_words_of_scripts() {
        let nack = ToProposer::Nack { ballot: Ballot(1), promised: Ballot(4) };
        let line = "0->1 nack ballot 1: promised 4".to_owned();
        assert_eq!(told(Message::Proposer(nack)), Some((Level::Debug, line)));
        let (ballot, first, decided) = (Ballot(1), Slot(7), Decided::default());
        let values = Request::new(1, 1, 0, "hi").commands;
        let accept = Accept { ballot, first, values: values.clone(), decided };
        let line = "0->1 accept ballot 1: 7:\"hi\"".to_owned();
        let accept = Message::Acceptor(ToAcceptor::Accept(accept));
        assert_eq!(told(accept), Some((Level::Trace, line)));
        let promise = acceptor::Record::Promise(ballot);
        assert_eq!(saved(&promise), [(Level::Debug, "saves promise 1".to_owned())]);
        let accept = acceptor::Record::Accept(Run { ballot, first, values: values.clone() });
        let line = "saves at ballot 1: 7:\"hi\"".to_owned();
        assert_eq!(saved(&accept), [(Level::Trace, line)]);
        let applied = learner::Record::Applied { first, values, client_seqs: vec![Some(0)] };
        let line = "applies slot 7: \"hi\"".to_owned();
        assert_eq!(learned(&applied), [(Level::Debug, line)]);
    }

    #[test]
    fn many_slots_are_one_line() {
        let values = crate::values::Values::from(&crate::types::Value::Noop);
        let many = vec![values.iter().next().expect("one"); 9];
        let values: crate::values::Values = many.into_iter().collect();
        let client_seqs = vec![None; 9];
        let applied = learner::Record::Applied { first: Slot(7), values, client_seqs };
        let line = "applies slots 7-15".to_owned();
        assert_eq!(learned(&applied), [(Level::Debug, line)]);
    }
}
