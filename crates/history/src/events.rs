//! The entries of a history.
//!
//! Each entry is one fact, and the entries are in the order in which things happened. A message
//! is recorded by what it says about slots and ballots ([`Said`]), and by its text.

use multipaxos::message::{
    Accept, Answer, ClientMessage, Decided, Heartbeat, Message, Spans, ToAcceptor, ToLearner,
    ToProposer,
};
use multipaxos::paxos::{Notice, proposer};
use multipaxos::types::{Ballot, Command, ReplicaId, Session, Slot, SlotRange, Value};
use multipaxos::values::Values;
use std::fmt;

/// A sender or receiver of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A replica of the cluster.
    Replica(ReplicaId),
    /// A client, by its id.
    Client(u64),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Replica(id) => write!(f, "{id}"),
            Party::Client(id) => write!(f, "c{id}"),
        }
    }
}

/// Everything that has happened, since the cluster warmed up or from the beginning.
#[derive(Debug, Clone)]
pub struct History {
    /// The number of replicas, those included that had no vote in the beginning.
    pub replicas: usize,
    /// The number of those with which the cluster began.
    pub founders: usize,
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
}

/// An event, and its time.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Microseconds since the history began.
    pub us: u64,
    /// The event.
    pub event: Event,
}

/// A thing that can happen to a cluster.
#[derive(Debug, Clone)]
pub enum Event {
    /// A message leaves its sender.
    Sent {
        /// The message's id: a letter for its kind, and a number.
        id: String,
        /// The sender.
        from: Party,
        /// The receiver.
        to: Party,
        /// The contents.
        said: Said,
        /// The same for a person.
        text: String,
    },
    /// A message is held back until a command names it.
    Held {
        /// The message's id.
        id: String,
    },
    /// A message arrives, and its receiver handles it.
    Arrived {
        /// The message's id.
        id: String,
    },
    /// A copy of a message that has arrived, made by the network, arrives as well.
    Repeated {
        /// The message's id.
        id: String,
    },
    /// A message never arrives.
    Lost {
        /// The message's id.
        id: String,
        /// Why it never arrives.
        loss: Loss,
    },
    /// A replica sends a message to itself, without the network.
    Told {
        /// The replica.
        replica: ReplicaId,
        /// The contents.
        said: Said,
    },
    /// A request made by hand arrives at once.
    Asked {
        /// The replica that receives it.
        replica: ReplicaId,
        /// The command that it asks for.
        command: Command,
    },
    /// An acceptor has made a promise durable.
    Promised {
        /// The acceptor's replica.
        replica: ReplicaId,
        /// The promised ballot: the acceptor accepts nothing below it any more.
        ballot: Ballot,
    },
    /// An acceptor has made acceptances durable.
    Accepted {
        /// The acceptor's replica.
        replica: ReplicaId,
        /// The ballot of the acceptances.
        ballot: Ballot,
        /// The slot of the first value.
        first: Slot,
        /// The values, one for each slot.
        values: Values,
    },
    /// A learner has applied slots.
    Applied {
        /// The learner's replica.
        replica: ReplicaId,
        /// The slot of the first value.
        first: Slot,
        /// The values, one for each slot.
        values: Values,
        /// For each value, whether it took effect. If not, its slot is a NOP line in the chat log.
        effects: Vec<bool>,
    },
    /// A replica tells a client that its line is complete.
    Answered {
        /// The replica.
        replica: ReplicaId,
        /// The client.
        client: u64,
        /// The message's id. `None`: the request was made by hand.
        id: Option<String>,
        /// The slot of the line.
        slot: Slot,
    },
    /// A replica becomes leader.
    Leads {
        /// The replica.
        replica: ReplicaId,
        /// The ballot at which it leads.
        ballot: Ballot,
    },
    /// A replica is no longer leader.
    Resigned {
        /// The replica.
        replica: ReplicaId,
    },
    /// A process has begun and knows its cluster.
    Began {
        /// The replica.
        replica: ReplicaId,
        /// Whether its acceptances count. They do not after it has lost its disk.
        votes: bool,
        /// The slot from which its learner goes on: it has applied every slot below.
        applied: Slot,
    },
    /// A process ends.
    Ended {
        /// The replica.
        replica: ReplicaId,
        /// Whether it ended because a sync failed.
        cannot_sync: bool,
    },
    /// Something that the other events do not say.
    Noted {
        /// The replica that it is about, if it is about one.
        replica: Option<ReplicaId>,
        /// In words.
        text: String,
    },
    /// A replica loses its disk.
    Wiped {
        /// The replica.
        replica: ReplicaId,
    },
    /// A role stops taking turns.
    Stalled {
        /// The replica of the role.
        replica: ReplicaId,
        /// The role's name.
        role: String,
    },
    /// A role takes turns again.
    Unstalled {
        /// The replica of the role.
        replica: ReplicaId,
        /// The role's name.
        role: String,
    },
}

/// Why a message never arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// A command dropped it.
    Dropped,
    /// The link was cut when it was sent.
    LinkIsCut,
    /// Its receiver was down, or did not know its cluster yet.
    NobodyHears,
    /// A newer heartbeat replaced it.
    Overtaken,
    /// The network lost it.
    ByNetwork,
}

/// The contents of a message about slots and ballots.
#[derive(Debug, Clone)]
pub enum Said {
    /// Nothing: it is of warm-up, of pre-votes, or asks for something.
    Other,
    /// A client asks for these commands, or a replica forwards the client's request.
    Request(Vec<Command>),
    /// Phase 1a.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The first slot that the candidate asks about.
        first: Slot,
    },
    /// Phase 1b.
    Promise(Report),
    /// A candidate asks for values that its own acceptor lacks.
    FetchAccepted {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The slots of the values, and the ballots at which they were accepted.
        wanted: Spans,
    },
    /// An acceptor sends such values.
    AcceptedValues {
        /// The candidate's ballot.
        ballot: Ballot,
    },
    /// Phase 2a.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// The slot of the first value.
        first: Slot,
        /// The values, one for each slot.
        values: Values,
        /// The slots that the leader calls decided.
        decided: Mark,
    },
    /// Phase 2a of values that the acceptor holds.
    AcceptHeld {
        /// The leader's ballot.
        ballot: Ballot,
        /// The slots of the values, and the ballots at which they are held.
        held: Spans,
    },
    /// Phase 2b.
    Accepted {
        /// The ballot of the acceptances.
        ballot: Ballot,
        /// The slots of the acceptances.
        slots: Vec<SlotRange>,
    },
    /// An acceptor refuses a ballot.
    Nack {
        /// The refused ballot.
        ballot: Ballot,
        /// The higher ballot that the acceptor has promised.
        promised: Ballot,
    },
    /// A heartbeat.
    Heartbeat {
        /// The slots that its sender calls decided.
        decided: Mark,
    },
    /// A part of a peer's decided log.
    Page {
        /// The slot of the first value.
        first: Slot,
        /// The values, one for each slot.
        values: Values,
    },
    /// A client's line is complete.
    Complete {
        /// The session of the line.
        session: Session,
        /// The slot of the line.
        slot: Slot,
    },
}

/// An acceptor's report in a promise: everything that it accepted in some slots.
#[derive(Debug, Clone)]
pub struct Report {
    /// The promised ballot.
    pub ballot: Ballot,
    /// The slots that the report covers.
    pub slots: SlotRange,
    /// The trim mark: all slots below are decided, and the acceptor has forgotten them.
    pub trimmed: Slot,
    /// In which slots a value is accepted, and at which ballot.
    pub accepted: Spans,
}

/// Slots that a leader calls decided at its ballot.
#[derive(Debug, Clone)]
pub struct Mark {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The decided slots.
    pub slots: SlotRange,
}

impl From<&Decided> for Mark {
    fn from(decided: &Decided) -> Mark {
        Mark { ballot: decided.ballot, slots: decided.slots }
    }
}

impl Said {
    /// The promise in a notice of the own acceptor.
    pub fn by_own_acceptor(notice: &Notice) -> Option<Said> {
        let Notice::Proposer(proposer::Input::OwnPromise { ballot, first, trimmed, accepted }) =
            notice
        else {
            return None;
        };
        let mut spans = Spans::default();
        accepted.iter().for_each(|run| spans.push(run.slots(), run.ballot));
        Some(Said::Promise(Report {
            ballot: *ballot,
            slots: SlotRange::onward(*first),
            trimmed: *trimmed,
            accepted: spans,
        }))
    }

    /// The contents of a message between replicas.
    pub fn by_peer(message: &Message) -> Said {
        match message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, first, .. }) => {
                Said::Prepare { ballot: *ballot, first: *first }
            }
            Message::Acceptor(ToAcceptor::FetchAccepted { ballot, wanted }) => {
                Said::FetchAccepted { ballot: *ballot, wanted: wanted.clone() }
            }
            Message::Acceptor(ToAcceptor::AcceptHeld { ballot, held }) => {
                Said::AcceptHeld { ballot: *ballot, held: held.clone() }
            }
            Message::Proposer(ToProposer::AcceptedValues(values)) => {
                Said::AcceptedValues { ballot: values.ballot }
            }
            Message::Acceptor(ToAcceptor::Accept(accept)) => {
                let Accept { ballot, first, values, decided } = accept;
                Said::Accept {
                    ballot: *ballot,
                    first: *first,
                    values: values.clone(),
                    decided: decided.into(),
                }
            }
            Message::Proposer(ToProposer::Promise(page)) => {
                // The last page also says that nothing was accepted above it.
                let slots =
                    if page.last { SlotRange::onward(page.slots.start) } else { page.slots };
                Said::Promise(Report {
                    ballot: page.ballot,
                    slots,
                    trimmed: page.trimmed,
                    accepted: page.accepted.clone(),
                })
            }
            Message::Proposer(ToProposer::Nack { ballot, promised }) => {
                Said::Nack { ballot: *ballot, promised: *promised }
            }
            Message::Proposer(ToProposer::Forward { request, .. }) => {
                Said::Request(request.iter().map(|command| command.to_command()).collect())
            }
            Message::Learner(ToLearner::Accepted { ballot, slots, .. }) => {
                Said::Accepted { ballot: *ballot, slots: slots.ranges().to_vec() }
            }
            Message::Learner(ToLearner::Page { first, values }) => {
                Said::Page { first: *first, values: values.clone() }
            }
            Message::Heartbeat(heartbeat) => {
                let Heartbeat { decided, .. } = &**heartbeat;
                Said::Heartbeat { decided: decided.into() }
            }
            Message::Bootstrap(_)
            | Message::Learner(ToLearner::Fetch { .. })
            | Message::Proposer(
                ToProposer::PreVote { .. }
                | ToProposer::PreVoteReply { .. }
                | ToProposer::Leaving { .. }
                | ToProposer::Observes { .. },
            ) => Said::Other,
        }
    }

    /// The contents of a client's message.
    pub fn by_client(message: &ClientMessage) -> Said {
        match message {
            ClientMessage::Hello
            | ClientMessage::Inquiry(_)
            | ClientMessage::Status(_)
            | ClientMessage::Follow(_)
            | ClientMessage::Mark { .. }
            | ClientMessage::Members(_) => Said::Other,
            ClientMessage::Request(request) => {
                Said::Request(request.iter().map(|command| command.to_command()).collect())
            }
        }
    }

    /// The contents of an answer to a client.
    pub fn to_client(answer: &Answer) -> Said {
        match answer {
            Answer::Complete { session, slot, .. } => {
                Said::Complete { session: *session, slot: *slot }
            }
            Answer::Responded(completion) => {
                Said::Complete { session: completion.session, slot: completion.slot }
            }
            _ => Said::Other,
        }
    }
}

/// The value for `slot` among `values`, whose first slot is `first`.
pub fn value_in(slot: Slot, first: Slot, values: &Values) -> Option<Value> {
    let index = usize::try_from(slot.0.checked_sub(first.0)?).ok()?;
    (index < values.len()).then(|| values.get(index).to_value())
}

impl History {
    /// An empty history of a cluster of `replicas`.
    pub fn new(replicas: usize) -> History {
        History { replicas, founders: replicas, entries: Vec::new() }
    }

    /// Adds an event.
    pub fn push(&mut self, us: u64, event: Event) {
        self.entries.push(Entry { us, event });
    }

    /// Forgets the messages of warm-up: they are gone, and their ids will be used again.
    pub fn forget_messages(&mut self) {
        self.entries.retain(|entry| {
            !matches!(
                entry.event,
                Event::Sent { .. }
                    | Event::Held { .. }
                    | Event::Arrived { .. }
                    | Event::Repeated { .. }
                    | Event::Lost { .. }
            )
        });
    }
}
