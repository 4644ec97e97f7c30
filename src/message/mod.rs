//! Every message, who sends it to whom, and what it means.
//!
//! One line through a cluster of three, replica 0 leading at ballot b:
//!
//! ```text
//! client      replica 0 (leader)                 replica 1            replica 2
//!   | Request    |                                   |                    |
//!   |----------->| proposer: slot s                  |                    |
//!   |            | Accept(b, s, value)               |                    |
//!   |            |---------------------------------->|------------------->| acceptor:
//!   |            |             Accepted(b, s)        |                    | durable, then
//!   |            |<----------------------------------|--------------------| answered
//!   |  Complete  | learner: quorum, applied, written |                    |
//!   |<-----------|                                   |                    |
//!   |            | next Accept or Heartbeat: decided(b, …s) ------------->| applied
//! ```
//!
//! A view change, replica 1 having heard no serving leader:
//!
//! ```text
//! replica 1 (candidate)                               replica 2
//!   | PreVote(b')                                        |
//!   |--------------------------------------------------->| changes nothing there
//!   |                               PreVoteReply(b', yes)|
//!   |<---------------------------------------------------|
//!   | own acceptor: promise b' durable                   |
//!   | Prepare(b', first)                                 |
//!   |--------------------------------------------------->| acceptor: promise durable
//!   |        Promise(b', page of what it accepted, mark) |
//!   |<---------------------------------------------------|
//!   | Prepare(b', first of the next page) …              |
//!   | Accept(b', slot, value of the highest ballot / Noop) …
//! ```
//!
//! Messages are grouped by the role that takes them, so that routing is a match
//! and nothing else. Every one may be lost, repeated or reordered; each says what
//! its receiver does about that. Lists are bounded where they are decoded: the
//! length that a message claims is never believed (see [`bounded`]).

mod completion;
mod run;
mod slot_list;

pub use run::Run;
pub use slot_list::SlotList;

use crate::types::{
    Address, Ballot, BootId, ClientId, Command, DirectoryId, Line, ReplicaId, Session, Slot,
    SlotRange,
};
use crate::values::{CommandRef, VALUES_MAX, ValueRef, Values};
use serde::{Deserialize, Serialize};

/// The most slots that one message may name, in any of its lists.
pub const MESSAGE_SLOTS_MAX: usize = VALUES_MAX;

/// From one replica to another, or to itself (then it never meets the network).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// For the replica role: warm-up and membership.
    Bootstrap(ToBootstrap),
    /// For the acceptor.
    Acceptor(ToAcceptor),
    /// For the proposer.
    Proposer(ToProposer),
    /// For the learner.
    Learner(ToLearner),
    /// For the proposer (who leads) and the learner (who has applied what).
    Heartbeat(Heartbeat),
}

/// Warm-up and membership. The only messages that travel without a cluster id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToBootstrap {
    /// "I am here": sent to all until started, and afterwards in answer to whoever
    /// still asks.
    Ready(Ready),
    /// "Your vote carries a directory that is not on the started list, and does not
    /// count." Sent to whom it concerns.
    NotMember {
        /// The directory that was refused.
        directory: DirectoryId,
    },
}

/// What a replica knows of its cluster's directories.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ready {
    /// The sender's own directory.
    pub directory: DirectoryId,
    /// Counts the sender's Ready messages of this boot; an older one is dropped.
    pub round: u64,
    /// One entry a replica: the directories heard so far, or, once started, the
    /// started record.
    #[serde(deserialize_with = "bounded::replicas")]
    pub known: Vec<Option<DirectoryId>>,
    /// Whether `known` is the started record.
    pub started: bool,
}

/// What an acceptor is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToAcceptor {
    /// Phase 1a, and the request for each page of the answer.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The first slot it wants to hear of.
        first: Slot,
    },
    /// Phase 2a: accept these values in consecutive slots.
    Accept(Accept),
}

/// Phase 2a: leader → every acceptor. Resent until the slots are applied at the
/// leader; a repeated one is answered again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accept {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The slot of the first value.
    pub first: Slot,
    /// One value a slot, from `first` on.
    pub values: Values,
    /// What the leader knows to be decided.
    pub decided: Decided,
}

/// Slots that the leader of `ballot` itself saw accepted by a quorum at `ballot`.
///
/// A receiver may decide a slot by it only if its own acceptance of that slot is
/// at exactly this ballot; everything else it fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Decided {
    /// The ballot of the acceptances that were tallied.
    pub ballot: Ballot,
    /// From the first slot that this leader proposed in; possibly none.
    pub slots: SlotRange,
}

/// What a proposer is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToProposer {
    /// A page of phase 1b.
    Promise(Promise),
    /// An acceptor has promised a higher ballot than the one it was asked under.
    Nack {
        /// The ballot that was refused.
        ballot: Ballot,
        /// What the acceptor has promised.
        promised: Ballot,
    },
    /// Would you help me to lead? Changes nothing at the receiver.
    PreVote {
        /// The ballot that the candidate would campaign with.
        ballot: Ballot,
        /// The candidate's round, echoed in the answer.
        round: u64,
    },
    /// Answer to a pre-vote.
    PreVoteReply {
        /// The round that is answered.
        round: u64,
        /// Whether the sender would promise `ballot` and misses a serving leader.
        granted: bool,
        /// What the sender's acceptor has promised, so that the candidate can go
        /// above it.
        promised: Option<Ballot>,
        /// The sender's directory; a vote from one off the list does not count.
        directory: DirectoryId,
    },
    /// A client's request that reached a replica which does not lead.
    Forward {
        /// Where the client is to be answered.
        origin: Address,
        /// What it asked.
        request: Request,
    },
}

/// A page of phase 1b: what this acceptor accepted, slot by slot. It accepts
/// nothing below `ballot` any more.
///
/// Acceptor → owner of `ballot`, sent only once the promise is durable and while it
/// is exactly that. The proposer counts an acceptor once, when its pages cover
/// everything from the candidate's first undecided slot without a gap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// What is promised.
    pub ballot: Ballot,
    /// The voter's directory.
    pub directory: DirectoryId,
    /// The slots that this page covers. On the last page, no slot from their end on
    /// holds anything.
    pub slots: SlotRange,
    /// Whether this is the last page.
    pub last: bool,
    /// Slots below this are decided and forgotten here; fetch them from a learner.
    pub trimmed: Slot,
    /// What was accepted in the covered slots, ascending.
    #[serde(deserialize_with = "bounded::accepted")]
    pub accepted: Vec<Run>,
}

/// What a learner is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToLearner {
    /// Phase 2b: these slots are accepted here at exactly this ballot, durably.
    ///
    /// Acceptor → learner of the ballot's owner. Counted once per slot, ballot and
    /// acceptor.
    Accepted {
        /// The ballot of all the acceptances.
        ballot: Ballot,
        /// The voter's directory.
        directory: DirectoryId,
        /// Exact ranges of slots; no prefix is implied.
        slots: SlotList,
    },
    /// Send me what was decided in these slots. Asked of one peer at a time.
    Fetch {
        /// The slots that are wanted.
        slots: SlotRange,
    },
    /// Part of a decided log, in answer to [`ToLearner::Fetch`].
    Page {
        /// The slot of the first value.
        first: Slot,
        /// One decided value a slot, from `first` on.
        values: Values,
    },
}

/// Every replica → every peer, a few times a suspicion period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// This life of the sender: rounds begin anew with each.
    pub boot: BootId,
    /// Counts the sender's heartbeats of this boot; an older one is dropped.
    pub round: u64,
    /// The highest round that the sender has heard from the receiver: how a leader
    /// knows that it is still heard by a quorum.
    pub echo: u64,
    /// The sender's directory; only members count as being in touch.
    pub directory: DirectoryId,
    /// The ballot under which the sender leads or follows.
    pub ballot: Ballot,
    /// Whether the sender leads at `ballot` and serves.
    pub leading: bool,
    /// What the sender's acceptor has promised.
    pub promised: Option<Ballot>,
    /// The sender has applied every slot below this.
    pub applied: Slot,
    /// What the sender knows to be decided by its own tally.
    pub decided: Decided,
}

/// From a client to a replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Who are you, and how far is the log? Sent before a session is opened.
    Hello,
    /// Write this line.
    Request(Request),
}

/// Commands, and what a replica must know to answer them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The commands, of one session each. A client sends one at a time; those that
    /// share a datagram become one request where it is taken apart.
    pub commands: Values,
    /// All completions that the client had seen when it sent this are below. A
    /// replica that has not applied so far does not know enough of a session to say
    /// that it has expired.
    pub after: Slot,
}

/// From a replica to a client. (A completion's numbers travel in a row: `completion`.)
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "completion::OnWire", try_from = "completion::OnWire")]
pub enum Answer {
    /// To a hello. The frame around it carries the cluster id.
    Welcome {
        /// Every slot below this is decided: a session may be born here.
        applied: Slot,
        /// The highest ballot that has led, as far as the sender knows.
        ballot: Ballot,
    },
    /// The command stands in the log. From any replica that applied it.
    Complete {
        /// Whose command.
        session: Session,
        /// Which of the session's.
        seq: u64,
        /// Where it stands.
        slot: Slot,
        /// Its number among all lines of that client, as it stands in the log.
        client_seq: u64,
    },
    /// The session is unknown and cannot be created any more; whether the command
    /// was ever applied is not known.
    Expired {
        /// Whose session.
        session: Session,
        /// The command that cannot be served.
        seq: u64,
    },
    /// The sender does not lead; the owner of this ballot does, as far as it knows.
    Leader {
        /// The ballot of the leader.
        ballot: Ballot,
    },
}

impl Request {
    /// A request for one line. (Mostly for tests; clients build theirs in
    /// `paxos::client`.)
    pub fn new(client: u64, session: u64, seq: u64, line: &str) -> Request {
        let command = Command {
            session: Session { client: ClientId(client), id: session },
            seq,
            birth: Slot::ZERO,
            line: Line::from(line),
        };
        Request::of(&command, Slot::ZERO)
    }

    /// A request for one command.
    pub fn of(command: &Command, after: Slot) -> Request {
        Request { commands: ValueRef::Command(command.into()).into(), after }
    }

    /// The first command, taken out of its batch.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn command(&self) -> Command {
        self.iter().next().expect("a request is for something").to_command()
    }

    /// The commands, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = CommandRef<'_>> {
        self.commands.iter().filter_map(ValueRef::command)
    }

    /// A request for the command at `index` alone.
    pub fn only(&self, index: usize) -> Request {
        Request { commands: self.commands.slice(index..index + 1), after: self.after }
    }

    /// Whether it asks for something, and for commands alone: checked of what comes
    /// from the wire.
    pub fn is_well_formed(&self) -> bool {
        !self.commands.is_empty() && self.iter().count() == self.commands.len()
    }
}

/// Who can be at the other end of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A replica of the configuration.
    Replica(ReplicaId),
    /// Some client.
    Client,
}

/// Lists from the wire: they grow with the bytes that are really there, never by
/// the length that the message claims, and end at a bound with a name.
pub mod bounded {
    use super::{MESSAGE_SLOTS_MAX, Run};
    use crate::types::{DirectoryId, REPLICAS_MAX};
    use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
    use std::fmt;
    use std::marker::PhantomData;

    /// At most one entry a replica.
    pub fn replicas<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Option<DirectoryId>>, D::Error> {
        list(from, REPLICAS_MAX)
    }

    /// At most [`MESSAGE_SLOTS_MAX`] acceptances.
    pub fn accepted<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Run>, D::Error> {
        list(from, MESSAGE_SLOTS_MAX)
    }

    /// At most `max` items.
    pub(super) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
        max: usize,
    ) -> Result<Vec<T>, D::Error> {
        struct Bounded<T> {
            max: usize,
            item: PhantomData<T>,
        }
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "at most {} items", self.max)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    if list.len() == self.max {
                        return Err(A::Error::custom("too many items"));
                    }
                    list.push(item);
                }
                Ok(list)
            }
        }
        from.deserialize_seq(Bounded { max, item: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{REPLICAS_MAX, Value};

    #[test]
    fn a_request_is_taken_apart_into_its_commands() {
        let lines = ["a", "b", "c", "d"];
        let commands: Vec<Command> =
            (0..).zip(lines).map(|(seq, line)| Request::new(1, 2, seq, line).command()).collect();
        let values = commands.iter().cloned().map(Value::Command).collect();
        let request = Request { commands: values, after: Slot(5) };
        assert!(request.is_well_formed());
        let taken: Vec<Command> = request.iter().map(CommandRef::to_command).collect();
        assert_eq!(taken, commands);
        for (index, command) in commands.iter().enumerate() {
            assert_eq!(request.only(index), Request::of(command, Slot(5)));
        }
    }

    #[test]
    fn a_request_for_nothing_or_for_a_noop_is_not_well_formed() {
        let command = Value::Command(Request::new(1, 2, 3, "hi").command());
        for values in [vec![], vec![Value::Noop], vec![command, Value::Noop]] {
            let request = Request { commands: values.into(), after: Slot::ZERO };
            assert!(!request.is_well_formed(), "{request:?}");
        }
    }

    #[test]
    fn a_list_from_the_wire_ends_at_its_bound() {
        let list = |items: usize| {
            let known = vec![Some(DirectoryId(7)); items];
            let ready = Ready { directory: DirectoryId(7), round: 1, known, started: true };
            let bytes = postcard::to_stdvec(&ready).expect("encodes");
            postcard::from_bytes::<Ready>(&bytes).is_ok_and(|read| read == ready)
        };
        assert!(list(0) && list(REPLICAS_MAX) && !list(REPLICAS_MAX + 1));
        let votes = |items: usize| {
            let slots = vec![SlotRange::with_len(Slot(1), 2); items].into();
            let votes = ToLearner::Accepted { ballot: Ballot(3), directory: DirectoryId(4), slots };
            let bytes = postcard::to_stdvec(&votes).expect("encodes");
            postcard::from_bytes::<ToLearner>(&bytes).is_ok_and(|read| read == votes)
        };
        assert!(votes(0) && votes(MESSAGE_SLOTS_MAX) && !votes(MESSAGE_SLOTS_MAX + 1));
        let promise = |items: usize| {
            let values = Values::from(&Value::Noop);
            let accepted = Run { first: Slot(1), ballot: Ballot(2), values };
            let promise = Promise {
                ballot: Ballot(3),
                directory: DirectoryId(4),
                slots: SlotRange::with_len(Slot(1), 1),
                last: true,
                trimmed: Slot::ZERO,
                accepted: vec![accepted; items],
            };
            let bytes = postcard::to_stdvec(&promise).expect("encodes");
            postcard::from_bytes::<Promise>(&bytes).is_ok_and(|read| read == promise)
        };
        assert!(promise(0) && promise(MESSAGE_SLOTS_MAX) && !promise(MESSAGE_SLOTS_MAX + 1));
    }
}
