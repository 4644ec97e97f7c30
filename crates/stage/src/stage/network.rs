//! The messages in the network: sent, held, delivered, duplicated or lost.

use super::Stage;
use super::clients::address_of;
use history::{Event, Loss, Party, Payload};
use multipaxos::client;
use multipaxos::message::{Answer, Message, ToProposer, VoteAim};
use multipaxos::types::{ReplicaId, Time};

/// The fractional part of the golden ratio, in units of 2⁻⁶⁴.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// A message in the network.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) id: String,
    pub(crate) from: Party,
    pub(crate) to: Party,
    pub(super) payload: Payload,
    /// When it arrives if a command lets time pass.
    pub(super) arrives_at: Time,
    /// Whether it arrives only if a command names it.
    pub(crate) held: bool,
}

/// How long messages travel on one direction of a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    /// The shortest and the longest time, in microseconds.
    span: (u64, u64),
    /// How many messages have been sent.
    drawn: u64,
}

impl Latency {
    /// The time of the next message. The times are spread evenly over the span, in an order
    /// that jumps to and fro and is always the same: message k is at the fractional part of k
    /// times the golden ratio.
    fn next_us(&mut self) -> u64 {
        let (min, max) = self.span;
        self.drawn = self.drawn.wrapping_add(1);
        let part = self.drawn.wrapping_mul(GOLDEN_RATIO) >> 32;
        min + (((max - min) * part) >> 32)
    }
}

impl Pending {
    /// Whether it is one of those that are sent again and again, and of which the newest says all.
    pub(crate) fn is_heartbeat(&self) -> bool {
        match &self.payload {
            Payload::Peer(Message::Heartbeat(_)) => true,
            Payload::Peer(Message::Proposer(ToProposer::Observes { vote, .. })) => {
                *vote != VoteAim::OfLostDisk
            }
            _ => false,
        }
    }

    /// The first word of its description.
    pub(crate) fn kind(&self) -> String {
        self.payload.text().split_whitespace().next().unwrap_or_default().replace(':', "")
    }

    pub(crate) fn text(&self) -> String {
        let held = if self.held { " (held)" } else { "" };
        format!("{} {}->{} {}{held}", self.id, self.from, self.to, self.payload.text())
    }
}

impl Stage {
    pub(super) fn next_id(&mut self, letter: char) -> String {
        let counter = self.counters.entry(letter).or_default();
        *counter += 1;
        format!("{letter}{counter}")
    }

    /// Sends a message. Returns its id.
    pub(super) fn send(&mut self, from: Party, to: Party, payload: Payload) -> String {
        let cut = match (from, to) {
            (Party::Replica(from), Party::Replica(to)) => self.cut.contains(&(from, to)),
            _ => false,
        };
        let id = self.next_id(payload.letter());
        let (said, text) = (payload.said(), payload.text());
        self.record(Event::Sent { id: id.clone(), from, to, said, text });
        let (now, arrives_at) = (self.now, self.now.plus_us(self.travels_us(from, to)));
        let pending = Pending { id, from, to, payload, arrives_at, held: false };
        if pending.is_heartbeat() {
            // An older heartbeat between the same replicas that only waits for a command is of
            // no use.
            let old = |other: &Pending| {
                let overdue = other.arrives_at < now && !other.held;
                let same = other.payload.letter() == pending.payload.letter();
                other.is_heartbeat() && same && overdue && (other.from, other.to) == (from, to)
            };
            let overtaken = self.network.extract_if(.., |other| old(other)).map(|old| old.id);
            for id in overtaken.collect::<Vec<_>>() {
                self.record(Event::Lost { id, loss: Loss::Overtaken });
            }
        } else {
            let lost = if cut { " (lost: the link is cut)" } else { "" };
            self.note_message(format!("{}{lost}", pending.text()));
        }
        let id = pending.id.clone();
        if cut {
            self.record(Event::Lost { id: id.clone(), loss: Loss::LinkIsCut });
        } else {
            self.network.push(pending);
        }
        id
    }

    /// Puts a copy of a message into the network.
    pub(crate) fn duplicate(&mut self, id: &str) {
        let Some(original) = self.network.iter().find(|pending| pending.id == id).cloned() else {
            return;
        };
        let letter = id.chars().next().unwrap_or('?');
        let copy = Pending { id: self.next_id(letter), held: false, ..original };
        let (id_of_copy, from, to) = (copy.id.clone(), copy.from, copy.to);
        let (said, text) = (copy.payload.said(), copy.payload.text());
        self.record(Event::Sent { id: id_of_copy, from, to, said, text });
        self.note_message(format!("{} (the same as {id})", copy.text()));
        self.network.push(copy);
    }

    /// Holds a message back until a command names it.
    pub(crate) fn hold(&mut self, id: &str) {
        for pending in self.network.iter_mut().filter(|pending| pending.id == id) {
            pending.held = true;
        }
        self.record(Event::Held { id: id.to_owned() });
    }

    /// Loses a message.
    pub(crate) fn drop_message(&mut self, id: &str) {
        self.network.retain(|pending| pending.id != id);
        self.record(Event::Lost { id: id.to_owned(), loss: Loss::Dropped });
    }

    /// Delivers a message.
    pub(crate) fn deliver(&mut self, id: &str) {
        let Some(index) = self.network.iter().position(|pending| pending.id == id) else { return };
        let Pending { from, to, payload, .. } = self.network.remove(index);
        match (to, payload) {
            (Party::Replica(to), payload) => {
                let heard = match (from, payload) {
                    (Party::Replica(from), Payload::Peer(message)) => {
                        self.node(to).accept(from, message)
                    }
                    (Party::Client(client), Payload::Call(message)) => {
                        self.node(to).accept_client(address_of(client), message)
                    }
                    _ => unreachable!("no such message"),
                };
                if heard {
                    self.record(Event::Arrived { id: id.to_owned() });
                } else {
                    self.record(Event::Lost { id: id.to_owned(), loss: Loss::NobodyHears });
                    if !id.starts_with('h') {
                        self.note_message(format!("{id} is lost: nobody hears it at {to}"));
                    }
                }
                self.settle(to);
            }
            (Party::Client(client), Payload::Answer(answer)) => {
                let Party::Replica(from) = from else { unreachable!("clients do not answer") };
                self.record(Event::Arrived { id: id.to_owned() });
                if let Answer::Complete { session, seq, slot, client_seq, .. } = answer {
                    let checked = self.checker.completed(session, seq, slot, client_seq);
                    self.check(checked);
                }
                self.turn_client(client, Some(client::Input::Answer(from, answer)));
            }
            _ => unreachable!("no such message"),
        }
    }

    /// How long the next message between the two travels.
    fn travels_us(&mut self, from: Party, to: Party) -> u64 {
        match (from, to) {
            (Party::Replica(from), Party::Replica(to)) => {
                self.latencies.get_mut(&(from, to)).map_or(self.latency_us, Latency::next_us)
            }
            _ => self.latency_us,
        }
    }

    /// Sets how long what is sent from `from` to `to` travels from now on.
    pub(crate) fn set_latency(&mut self, from: ReplicaId, to: ReplicaId, span: (u64, u64)) {
        self.latencies.insert((from, to), Latency { span, drawn: 0 });
    }

    /// Cuts one direction of a link, or mends it.
    pub(crate) fn cut(&mut self, from: ReplicaId, to: ReplicaId, cut: bool) {
        if cut {
            self.cut.insert((from, to));
        } else {
            self.cut.remove(&(from, to));
        }
    }
}
