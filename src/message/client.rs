//! What clients and replicas say to each other.

use super::follow::{Excerpt, FollowQuery};
use super::members::{MembersAnswer, MembersQuery};
use super::status::{Status, StatusQuery, Usage};
use crate::machine::Response;
use crate::members::Moved;
use crate::quorum::ReplicaSet;
use crate::types::{Attempt, Ballot, ClientId, Command, Line, Session, Slot};
use crate::values::{CommandRef, ValueRef, Values};
use serde::{Deserialize, Serialize};

/// From a client to a replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Asks how far the log is, before the client opens a session.
    Hello,
    /// Asks to write lines.
    Request(Request),
    /// Asks what became of a request.
    Inquiry(Box<Inquiry>),
    /// Asks how the replica is.
    Status(StatusQuery),
    /// Asks for a piece of the chat log.
    Follow(FollowQuery),
    /// Asks for the replica's mark ([`Answer::Mark`]), for a read of this number (E5). The sender
    /// draws it, and asks again until enough have answered.
    Mark {
        /// The read.
        read: u64,
    },
    /// Asks who the members are, or for others.
    Members(MembersQuery),
}

/// Names a command without its line. The answer is that to a request for the command: what
/// became of it or, while that is open, whether the receiver has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Inquiry {
    /// The command's session.
    pub session: Session,
    /// Where the session was born.
    pub birth: Slot,
    /// The command's number in the session.
    pub seq: u64,
    /// As in a request.
    pub after: Slot,
}

impl Inquiry {
    /// The command, with an empty line.
    pub fn command(&self) -> CommandRef<'static> {
        CommandRef { session: self.session, seq: self.seq, birth: self.birth, line: &[] }
    }
}

/// Commands, and what a replica must know to answer them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The commands, at least one. A client sends one command at a time; the decoder makes one
    /// request of all the commands in a datagram.
    pub commands: Values,
    /// Every line that the client knows to be complete is in a slot below this. A replica that
    /// has not applied so far must not say that the session has expired (E2).
    pub after: Slot,
    /// Which sending of its client this is. Unknown if the commands come from several, or if
    /// another replica has passed them on again.
    pub attempt: Attempt,
}

/// From a replica to a client. (The codec decides how it travels: [`crate::net::answer`].)
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// The answer to a hello, of a replica that leads or has lately heard a quorum. The frame
    /// around it carries the cluster id.
    Welcome {
        /// Every slot below this is decided, so a session may be born here. It is the
        /// highest such slot that the sender knows of.
        applied: Slot,
        /// The highest ballot that the sender knows to have led.
        ballot: Ballot,
    },
    /// The command is applied and its line is in the log. Any replica that applied it may
    /// say so (E3).
    Complete {
        /// The command's session.
        session: Session,
        /// The command's number in the session, from 0.
        seq: u64,
        /// The slot that the command took effect in.
        slot: Slot,
        /// The line's number among all lines of the client, from 0, as the log shows it.
        client_seq: u64,
        /// The sending by which the sender of this first had the command. Unknown if the command
        /// was complete before, or if the request did not say.
        attempt: Attempt,
    },
    /// The same, where a state machine has answered the command. (Apart, since a chat's burst has
    /// hundreds of completions, and each would have room for a response.)
    Responded(Box<Responded>),
    /// The session is unknown and cannot be created any more. Nobody can tell whether the
    /// command was ever applied (E2).
    Expired {
        /// The command's session.
        session: Session,
        /// The number of the command that cannot be served.
        seq: u64,
    },
    /// The command is in no slot and never will be: its session was born too far below the
    /// sender's log to be created (E2). The client may send the line by another session.
    BornTooEarly {
        /// The command's session.
        session: Session,
        /// The command's number in the session.
        seq: u64,
    },
    /// As far as the sender knows, the owner of this ballot leads. The sender does not have what
    /// the client asks for.
    Leader {
        /// The ballot of the leader.
        ballot: Ballot,
    },
    /// The sender has the command, and keeps it until it is applied: it has proposed it, or passes
    /// it on to whoever leads.
    Held {
        /// The command's session.
        session: Session,
        /// The command's number in the session.
        seq: u64,
        /// As far as the sender knows, the owner of this ballot leads.
        ballot: Ballot,
    },
    /// How the roles of the sender are.
    Status(Box<Status>),
    /// What the process of the sender takes.
    Usage(Box<Usage>),
    /// A piece of the chat log.
    Log(Box<Excerpt>),
    /// Where a member is that has moved (M9): one at a time, since no answer is longer than its
    /// question.
    Moved {
        /// The number of the configuration that says so. A later one knows better.
        configuration: u16,
        /// The member, and where it is.
        moved: Moved,
    },
    /// Every slot that the sender's acceptor has accepted, and that may be chosen, lies below
    /// `mark`. Only a replica with a vote says so, while a quorum hears it (E5).
    Mark {
        /// The read, as in the question: no answer to another one counts.
        read: u64,
        /// The mark.
        mark: Slot,
        /// Whose marks it counts with.
        by: Voters,
    },
    /// Who the members are.
    Members(Box<MembersAnswer>),
}

/// The members among whom a mark was given (E5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Voters {
    /// The number of their configuration.
    pub configuration: u16,
    /// The members: those who gave marks count if they are a quorum of these.
    pub members: ReplicaSet,
}

/// The completion of a command that a state machine has answered. The fields are those of
/// [`Answer::Complete`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Responded {
    /// The command's session.
    pub session: Session,
    /// The command's number in the session.
    pub seq: u64,
    /// The slot that the command took effect in.
    pub slot: Slot,
    /// The line's number among all lines of the client.
    pub client_seq: u64,
    /// The sending by which the sender first had the command.
    pub attempt: Attempt,
    /// What the state machine answered when the command took effect. None if the sender does not
    /// know it any more. Never the empty one: that is [`Answer::Complete`].
    pub response: Option<Response>,
}

impl Answer {
    /// The completion of a command, if it is one, with its response.
    pub fn completion(&self) -> Option<Responded> {
        match *self {
            Answer::Complete { session, seq, slot, client_seq, attempt } => {
                let response = Some(Response::EMPTY);
                Some(Responded { session, seq, slot, client_seq, attempt, response })
            }
            Answer::Responded(ref responded) => Some((**responded).clone()),
            _ => None,
        }
    }
}

impl From<Responded> for Answer {
    fn from(responded: Responded) -> Answer {
        let Responded { session, seq, slot, client_seq, attempt, ref response } = responded;
        match response {
            Some(response) if response.is_empty() => {
                Answer::Complete { session, seq, slot, client_seq, attempt }
            }
            _ => Answer::Responded(Box::new(responded)),
        }
    }
}

impl Request {
    /// A request for one line of a session that was born in slot 0. (Mostly for tests; a
    /// client builds its requests in [`crate::client`].)
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
        let commands = ValueRef::Command(command.into()).into();
        Request { commands, after, attempt: Attempt::FIRST }
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
        Request { commands: self.commands.slice(index..index + 1), ..*self }
    }

    /// Whether the request holds at least one command, and commands alone. The decoder
    /// checks every request from the wire.
    pub fn is_well_formed(&self) -> bool {
        !self.commands.is_empty() && self.iter().count() == self.commands.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Value;

    #[test]
    fn a_request_is_taken_apart_into_its_commands() {
        let lines = ["a", "b", "c", "d"];
        let commands: Vec<Command> =
            (0..).zip(lines).map(|(seq, line)| Request::new(1, 2, seq, line).command()).collect();
        let values = commands.iter().cloned().map(Value::Command).collect();
        let request = Request { commands: values, after: Slot(5), attempt: Attempt::FIRST };
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
            let (after, attempt) = (Slot::ZERO, Attempt::FIRST);
            let request = Request { commands: values.into(), after, attempt };
            assert!(!request.is_well_formed(), "{request:?}");
        }
    }
}
