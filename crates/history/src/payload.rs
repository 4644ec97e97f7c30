//! The messages of a network, whoever exchanges them.

use crate::events::Said;
use crate::print;
use multipaxos::message::{Answer, ClientMessage, Message};

/// A message between two parties.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Payload {
    /// From one replica to another.
    Peer(Message),
    /// From a client to a replica.
    Call(ClientMessage),
    /// From a replica to a client.
    Answer(Answer),
}

impl Payload {
    /// Its contents about slots and ballots.
    pub fn said(&self) -> Said {
        match self {
            Payload::Peer(message) => Said::by_peer(message),
            Payload::Call(message) => Said::by_client(message),
            Payload::Answer(answer) => Said::to_client(answer),
        }
    }

    /// The first letter of the ids of such messages.
    pub fn letter(&self) -> char {
        match self {
            Payload::Peer(message) => print::letter(message),
            Payload::Call(_) => 'r',
            Payload::Answer(_) => 'c',
        }
    }

    /// The message for a person. Its first word is its kind.
    pub fn text(&self) -> String {
        match self {
            Payload::Peer(message) => print::message(message),
            Payload::Call(message) => print::call(message),
            Payload::Answer(answer) => print::answer(answer),
        }
    }
}
