//! Counts the bytes that a run sends, by kind of message.
//!
//! Rule I10 says that a run has sent too much. The kinds say what that was. Each datagram is taken
//! apart once more for them. A datagram's headers count for its first message.

use datagrams::codec::BodyKind;
use datagrams::fragment::Fragment;
use multipaxos::message::{ClientMessage, Message};
use multipaxos::net::frame::{HEADER_BYTES, kind_of};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Where the header of a frame says who sends it, who receives it, what follows, and how long that
/// is.
const AT_SENDER: usize = 6;
const AT_RECEIVER: usize = 7;
const AT_BODY_LENGTH: usize = 25;

/// The byte that stands for a client there.
const CLIENT: u8 = 0xFF;

/// The bytes of a run, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kinds {
    sent: BTreeMap<Kind, Sent>,
    /// The kind of each message that was split, by its digest.
    split: HashMap<u64, &'static str>,
}

/// The kind of a message, and whether it travels in fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    name: &'static str,
    in_fragments: bool,
}

/// How many messages or fragments there were, and how many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sent {
    count: u64,
    bytes: u64,
}

/// The two ends of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Replicas,
    FromClient,
    ToClient,
}

impl Kinds {
    /// A process sends this datagram, which takes so many bytes on the wire.
    pub fn sends(&mut self, datagram: &[u8], on_wire: u64) {
        let length = [datagram[AT_BODY_LENGTH], datagram[AT_BODY_LENGTH + 1]];
        let mut body = &datagram[HEADER_BYTES..][..usize::from(u16::from_le_bytes(length))];
        let is = |kind: BodyKind| kind as u8 == kind_of(datagram);
        let ends = match (datagram[AT_SENDER], datagram[AT_RECEIVER]) {
            (CLIENT, _) => Ends::FromClient,
            (_, CLIENT) => Ends::ToClient,
            _ => Ends::Replicas,
        };
        if is(BodyKind::Fragment) {
            let Some(fragment) = Fragment::parse(body) else { return };
            let digest = fragment.cut.digest;
            if fragment.index == 0 {
                self.split.insert(digest, name_of(ends, fragment.bytes));
            }
            let name = self.split.get(&digest).copied().unwrap_or("unknown");
            return self.add(name, true, on_wire);
        }
        let other = [
            (BodyKind::Missing, "missing"),
            (BodyKind::Probe, "probe"),
            (BodyKind::ProbeAnswer, "probe_answer"),
            (BodyKind::Nothing, "word"),
            (BodyKind::Greeting, "greeting"),
            (BodyKind::Ticket, "ticket"),
        ];
        if let Some((_, name)) = other.into_iter().find(|(kind, _)| is(*kind)) {
            return self.add(name, false, on_wire);
        }
        let mut headers = on_wire - body.len() as u64;
        while !body.is_empty() {
            let rest = behind(ends, body);
            let bytes = (body.len() - rest.len()) as u64;
            self.add(name_of(ends, body), false, std::mem::take(&mut headers) + bytes);
            body = rest;
        }
    }

    fn add(&mut self, name: &'static str, in_fragments: bool, bytes: u64) {
        let sent = self.sent.entry(Kind { name, in_fragments }).or_default();
        *sent = Sent { count: sent.count + 1, bytes: sent.bytes + bytes };
    }
}

/// What follows the first message of a body.
fn behind(ends: Ends, body: &[u8]) -> &[u8] {
    let rest = match ends {
        Ends::Replicas => postcard::take_from_bytes::<Message>(body).map(|(_, rest)| rest),
        Ends::FromClient => postcard::take_from_bytes::<ClientMessage>(body).map(|(_, rest)| rest),
        // Answers to one client are alike.
        Ends::ToClient => return &[],
    };
    rest.unwrap_or_default()
}

/// The kind of the message whose first bytes these are. Postcard writes the numbers of variants.
fn name_of(ends: Ends, message: &[u8]) -> &'static str {
    let (outer, inner) = (message.first().copied(), message.get(1).copied());
    match (ends, outer, inner) {
        (Ends::Replicas, Some(0), Some(0)) => "ready",
        (Ends::Replicas, Some(0), Some(1)) => "not_member",
        (Ends::Replicas, Some(0), Some(2)) => "forgotten",
        (Ends::Replicas, Some(0), Some(3)) => "lost_state",
        (Ends::Replicas, Some(1), Some(0)) => "prepare",
        (Ends::Replicas, Some(1), Some(1)) => "accept",
        (Ends::Replicas, Some(1), Some(2)) => "fetch_accepted",
        (Ends::Replicas, Some(1), Some(3)) => "accept_held",
        (Ends::Replicas, Some(2), Some(0)) => "promise",
        (Ends::Replicas, Some(2), Some(1)) => "accepted_values",
        (Ends::Replicas, Some(2), Some(2)) => "nack",
        (Ends::Replicas, Some(2), Some(3)) => "pre_vote",
        (Ends::Replicas, Some(2), Some(4)) => "pre_vote_reply",
        (Ends::Replicas, Some(2), Some(5)) => "forward",
        (Ends::Replicas, Some(2), Some(6)) => "leaving",
        (Ends::Replicas, Some(2), Some(7)) => "observes",
        (Ends::Replicas, Some(3), Some(0)) => "accepted",
        (Ends::Replicas, Some(3), Some(1)) => "fetch",
        (Ends::Replicas, Some(3), Some(2)) => "page",
        (Ends::Replicas, Some(4), _) => "heartbeat",
        (Ends::FromClient, Some(0), _) => "hello",
        (Ends::FromClient, Some(1), _) => "request",
        (Ends::FromClient, Some(2), _) => "inquiry",
        (Ends::FromClient, Some(3), _) => "status_query",
        (Ends::FromClient, Some(4), _) => "follow_query",
        (Ends::FromClient, Some(5), _) => "mark_query",
        (Ends::FromClient, Some(6), _) => "members_query",
        (Ends::ToClient, Some(0), _) => "welcome",
        (Ends::ToClient, Some(1 | 6 | 10 | 11), _) => "complete",
        (Ends::ToClient, Some(2 | 4), _) => "expired",
        (Ends::ToClient, Some(3), _) => "leader",
        (Ends::ToClient, Some(5), _) => "held",
        (Ends::ToClient, Some(7), _) => "status",
        (Ends::ToClient, Some(8), _) => "usage",
        (Ends::ToClient, Some(9), _) => "log",
        (Ends::ToClient, Some(12), _) => "mark",
        (Ends::ToClient, Some(13), _) => "members",
        _ => "unknown",
    }
}

impl fmt::Display for Kinds {
    /// The kinds, those that took most first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sent: Vec<_> = self.sent.iter().collect();
        sent.sort_by_key(|(_, sent)| std::cmp::Reverse(sent.bytes));
        let all: u64 = sent.iter().map(|(_, sent)| sent.bytes).sum();
        for (Kind { name, in_fragments }, Sent { count, bytes }) in sent {
            let how = if *in_fragments { " in fragments" } else { "" };
            let percent = 100.0 * *bytes as f64 / all.max(1) as f64;
            writeln!(f, "  {percent:5.1} % {bytes:>10} bytes {count:>8} {name}{how}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Wire;
    use multipaxos::message::{
        Accept, Answer, Decided, Inquiry, Party, Request, ToAcceptor, ToLearner, ToProposer,
    };
    use multipaxos::net::Outgoing;
    use multipaxos::types::{
        Ballot, BootId, ClusterId, ReplicaId, Session, Slot, SlotRange, Time, Value,
    };
    use multipaxos::values::Values;

    const HEADERS: u64 = HEADER_BYTES as u64 + 28;

    /// What a process sends with these messages, by kind.
    fn kinds(me: Party, outgoing: &[Outgoing]) -> Kinds {
        let mut wire = Wire::new(3, me, BootId(1), 1_400);
        wire.start(ClusterId(7));
        let mut kinds = Kinds::default();
        for leaving in wire.send(Time(0), outgoing) {
            kinds.sends(&leaving.bytes, leaving.bytes.len() as u64 + 28);
        }
        kinds
    }

    /// The names, and how many messages or fragments each has.
    fn counts(kinds: &Kinds) -> Vec<(&'static str, bool, u64)> {
        kinds.sent.iter().map(|(kind, it)| (kind.name, kind.in_fragments, it.count)).collect()
    }

    #[test]
    fn a_datagram_is_for_its_messages_and_its_headers_for_the_first() {
        let peer = |message| Outgoing::Peer { to: ReplicaId(1), message };
        let ballot = Ballot(3);
        let accept = Accept {
            ballot,
            first: Slot(5),
            values: Values::from(&[Value::Noop][..]),
            decided: Decided::default(),
        };
        let nack = ToProposer::Nack { ballot, promised: ballot };
        let fetch = ToLearner::Fetch { slots: SlotRange::default() };
        let sent = kinds(
            Party::Replica(ReplicaId(0)),
            &[
                peer(Message::Acceptor(ToAcceptor::Accept(accept))),
                peer(Message::Proposer(nack.clone())),
                peer(Message::Proposer(nack)),
                peer(Message::Learner(fetch)),
            ],
        );
        assert_eq!(counts(&sent), [("accept", false, 1), ("fetch", false, 1), ("nack", false, 2)]);
        let bytes: Vec<u64> = sent.sent.values().map(|sent| sent.bytes).collect();
        assert!(bytes[0] > HEADERS && bytes[1] < 10 && bytes[2] > HEADERS, "{bytes:?}");
        assert!(sent.to_string().contains("bytes        2 nack\n"), "{sent}");
    }

    #[test]
    fn fragments_are_of_the_kind_of_their_message() {
        let request = Request::new(1, 2, 3, &"x".repeat(5_000));
        let call = |message| Outgoing::Call { to: ReplicaId(0), message };
        let session = Session { client: multipaxos::types::ClientId(1), id: 2 };
        let inquiry = Inquiry { session, birth: Slot(1), seq: 3, after: Slot(1) };
        let sent = kinds(
            Party::Client,
            &[
                call(ClientMessage::Request(request)),
                call(ClientMessage::Hello),
                call(ClientMessage::Inquiry(Box::new(inquiry))),
            ],
        );
        assert_eq!(
            counts(&sent),
            [("hello", false, 1), ("inquiry", false, 1), ("request", true, 5)]
        );
        let to = address();
        let answers = vec![Answer::Leader { ballot: Ballot(1) }];
        let sent = kinds(Party::Replica(ReplicaId(0)), &[Outgoing::Answers { to, answers }]);
        assert_eq!(counts(&sent), [("leader", false, 1)]);
    }

    fn address() -> multipaxos::types::Address {
        multipaxos::types::Address(std::net::SocketAddr::from(([10, 0, 0, 1], 1)))
    }
}
