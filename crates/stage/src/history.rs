//! What has happened on the stage, kept so that [`crate::why`] can explain it.
//!
//! Each entry is a plain fact, in the order in which things happened. A message is kept
//! as what it says about slots and ballots ([`Said`]); messages that say nothing about
//! them (warm-up, pre-votes, a client's hello) are left out.

use multipaxos::message::{
    Accept, Answer, ClientMessage, Decided, Heartbeat, Message, ToAcceptor, ToLearner, ToProposer,
};
use multipaxos::types::{Ballot, Command, ReplicaId, Session, Slot, SlotRange, Value};
use multipaxos::values::Values;
use std::fmt;

/// Who can be at an end of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// All that has happened since the cluster warmed up.
#[derive(Debug, Clone)]
pub struct History {
    /// How many replicas the cluster has.
    pub replicas: usize,
    /// What happened, oldest first.
    pub entries: Vec<Entry>,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When, in milliseconds since the cluster warmed up.
    pub ms: u64,
    /// What.
    pub event: Event,
}

/// What can happen.
#[derive(Debug, Clone)]
pub enum Event {
    /// A message leaves its sender.
    Sent {
        /// Its id, as the stage prints it.
        id: String,
        /// Who sends it.
        from: Party,
        /// Who is to get it.
        to: Party,
        /// What it says.
        said: Said,
    },
    /// A message is held back until it is named.
    Held {
        /// Which.
        id: String,
    },
    /// A message arrives, and its receiver hears it.
    Arrived {
        /// Which.
        id: String,
    },
    /// A message never arrives.
    Lost {
        /// Which.
        id: String,
        /// Why not.
        loss: Loss,
    },
    /// A replica sends a message to itself. It never meets the network.
    Told {
        /// Which replica.
        replica: ReplicaId,
        /// What the message says.
        said: Said,
    },
    /// A request made by hand arrives at once.
    Asked {
        /// Where.
        replica: ReplicaId,
        /// For what.
        command: Command,
    },
    /// An acceptor has made a promise durable.
    Promised {
        /// Whose acceptor.
        replica: ReplicaId,
        /// Nothing below this ballot is accepted there any more.
        ballot: Ballot,
    },
    /// An acceptor has made acceptances durable.
    Accepted {
        /// Whose acceptor.
        replica: ReplicaId,
        /// At which ballot.
        ballot: Ballot,
        /// The slot of the first value.
        first: Slot,
        /// One value a slot.
        values: Values,
    },
    /// A learner has applied slots.
    Applied {
        /// Whose learner.
        replica: ReplicaId,
        /// The slot of the first value.
        first: Slot,
        /// One value a slot.
        values: Values,
        /// Whether each one took effect; otherwise its slot is a NOP line.
        effects: Vec<bool>,
    },
    /// A replica says to a client that its line is complete.
    Answered {
        /// Which replica.
        replica: ReplicaId,
        /// Which client.
        client: u64,
        /// The message's id; none if the request was made by hand.
        id: Option<String>,
        /// Where the line stands.
        slot: Slot,
    },
    /// A replica leads from here on.
    Leads {
        /// Which.
        replica: ReplicaId,
        /// At which ballot.
        ballot: Ballot,
    },
    /// A replica does not lead any more.
    Resigned {
        /// Which.
        replica: ReplicaId,
    },
    /// A process begins and knows its cluster.
    Began {
        /// Which.
        replica: ReplicaId,
        /// Whether its votes count: not after it lost its disk.
        votes: bool,
        /// Its learner goes on from here: every slot below is applied.
        applied: Slot,
    },
    /// A process ends.
    Ended {
        /// Which.
        replica: ReplicaId,
        /// Whether a failed sync ended it.
        cannot_sync: bool,
    },
    /// A replica loses its disk.
    Wiped {
        /// Which.
        replica: ReplicaId,
    },
    /// A role takes no turn from here on.
    Stalled {
        /// Whose.
        replica: ReplicaId,
        /// Which.
        role: String,
    },
    /// A role takes turns again.
    Unstalled {
        /// Whose.
        replica: ReplicaId,
        /// Which.
        role: String,
    },
}

/// Why a message never arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Somebody dropped it.
    Dropped,
    /// The link was cut when it was sent.
    LinkIsCut,
    /// Nobody heard it: the receiver was down, or did not know its cluster yet.
    NobodyHears,
    /// A newer heartbeat took its place.
    Overtaken,
}

/// What a message says.
#[derive(Debug, Clone)]
pub enum Said {
    /// A client asks for these commands; also when a replica forwards that.
    Request(Vec<Command>),
    /// Phase 1a.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The first slot it asks about.
        first: Slot,
    },
    /// Phase 1b.
    Promise(Report),
    /// Phase 2a.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// The slot of the first value.
        first: Slot,
        /// One value a slot.
        values: Values,
        /// What the leader says is decided.
        decided: Mark,
    },
    /// Phase 2b.
    Accepted {
        /// At which ballot.
        ballot: Ballot,
        /// Which slots.
        slots: Vec<SlotRange>,
    },
    /// A refusal.
    Nack {
        /// What is refused.
        ballot: Ballot,
        /// What was promised instead.
        promised: Ballot,
    },
    /// A heartbeat.
    Heartbeat {
        /// What its sender says is decided.
        decided: Mark,
    },
    /// A part of a decided log.
    Page {
        /// The slot of the first value.
        first: Slot,
        /// One value a slot.
        values: Values,
    },
    /// A line is complete.
    Complete {
        /// Whose.
        session: Session,
        /// Where it stands.
        slot: Slot,
    },
}

/// What an acceptor reports with a promise: all that it accepted in some slots.
#[derive(Debug, Clone)]
pub struct Report {
    /// What is promised.
    pub ballot: Ballot,
    /// Which slots the report is about.
    pub slots: SlotRange,
    /// Slots below are decided and forgotten.
    pub trimmed: Slot,
    /// What was accepted in them, at the highest ballot.
    pub accepted: Vec<(Slot, Ballot, Value)>,
}

/// Slots that a leader calls decided at its ballot.
#[derive(Debug, Clone)]
pub struct Mark {
    /// At which ballot.
    pub ballot: Ballot,
    /// Which slots.
    pub slots: SlotRange,
}

impl From<&Decided> for Mark {
    fn from(decided: &Decided) -> Mark {
        Mark { ballot: decided.ballot, slots: decided.slots }
    }
}

impl Said {
    /// What a message between replicas says about slots and ballots.
    pub fn by_peer(message: &Message) -> Option<Said> {
        Some(match message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, first }) => {
                Said::Prepare { ballot: *ballot, first: *first }
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
                let entries = page.accepted.iter().flat_map(|run| {
                    let slots = (run.first.0..).map(Slot);
                    slots.zip(run.values.to_vec()).map(|(slot, value)| (slot, run.ballot, value))
                });
                // The last page says as well that nothing was accepted above it.
                let slots =
                    if page.last { SlotRange::onward(page.slots.start) } else { page.slots };
                Said::Promise(Report {
                    ballot: page.ballot,
                    slots,
                    trimmed: page.trimmed,
                    accepted: entries.collect(),
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
            Message::Heartbeat(Heartbeat { decided, .. }) => {
                Said::Heartbeat { decided: decided.into() }
            }
            Message::Bootstrap(_)
            | Message::Learner(ToLearner::Fetch { .. })
            | Message::Proposer(ToProposer::PreVote { .. } | ToProposer::PreVoteReply { .. }) => {
                return None;
            }
        })
    }

    /// What a client says about lines.
    pub fn by_client(message: &ClientMessage) -> Option<Said> {
        match message {
            ClientMessage::Hello => None,
            ClientMessage::Request(request) => {
                Some(Said::Request(request.iter().map(|command| command.to_command()).collect()))
            }
        }
    }

    /// What a client is told about slots.
    pub fn to_client(answer: &Answer) -> Option<Said> {
        match answer {
            Answer::Complete { session, slot, .. } => {
                Some(Said::Complete { session: *session, slot: *slot })
            }
            _ => None,
        }
    }
}

/// The value that stands in `slot`, if `values` from `first` on reach it.
pub fn value_in(slot: Slot, first: Slot, values: &Values) -> Option<Value> {
    let index = usize::try_from(slot.0.checked_sub(first.0)?).ok()?;
    (index < values.len()).then(|| values.get(index).to_value())
}

impl History {
    /// Nothing has happened yet in a cluster of `replicas`.
    pub fn new(replicas: usize) -> History {
        History { replicas, entries: Vec::new() }
    }

    /// Keeps that something happened.
    pub fn push(&mut self, ms: u64, event: Event) {
        self.entries.push(Entry { ms, event });
    }

    /// What was on its way is gone, and its ids will be used again: warm-up is over.
    pub fn forget_messages(&mut self) {
        self.entries.retain(|entry| {
            !matches!(
                entry.event,
                Event::Sent { .. }
                    | Event::Held { .. }
                    | Event::Arrived { .. }
                    | Event::Lost { .. }
            )
        });
    }
}
