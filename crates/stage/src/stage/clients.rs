//! Requests made by hand, and clients with the real client role.

use super::{CLIENT_PORT, Stage};
use crate::requests::CLIENT_MAX;
use history::{Event, Party, Payload, print};
use multipaxos::client::{self, Client, Outcome};
use multipaxos::message::{ClientMessage, Request};
use multipaxos::paxos::{Envelope, Outbox, Role, Storage};
use multipaxos::types::{Address, ClientId, Line, ReplicaId, Slot, Time};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) role: Client,
    pub(super) fired_at: Option<Time>,
}

/// The completions of a session that some replica has sent.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Completed {
    /// The number of completed lines.
    pub(crate) lines: u64,
    /// All of them have slots below this.
    pub(crate) below: Slot,
}

/// Keeps the outcomes that a real client would print.
#[derive(Debug, Default)]
struct Shown(Vec<Outcome>);

impl Storage<Outcome> for Shown {
    fn append(&mut self, records: &mut Vec<Outcome>) -> std::io::Result<()> {
        self.0.append(records);
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Stage {
    /// A request made by hand. It arrives at once.
    pub(crate) fn request(&mut self, to: ReplicaId, request: Request) {
        let command = request.command();
        let client = command.session.client.0;
        self.sessions.entry(client).or_default().entry(command.session.id).or_default();
        self.checker.submitted(&command);
        let message = ClientMessage::Request(request);
        if self.node(to).accept_client(address_of(client), message) {
            self.record(Event::Asked { replica: to, command });
            self.settle(to);
        } else {
            self.event(format!("nobody hears it at {to}"));
        }
    }

    /// A client that reads asks for the mark. The question arrives at once, and the answer is only
    /// shown.
    pub(crate) fn mark(&mut self, to: ReplicaId) {
        self.marks += 1;
        let message = ClientMessage::Mark { read: self.marks };
        if self.node(to).accept_client(address_of(CLIENT_MAX + 1), message) {
            self.settle(to);
        } else {
            self.event(format!("nobody hears it at {to}"));
        }
    }

    /// Starts a client, or starts it again.
    pub(crate) fn add_client(&mut self, id: u64) {
        let role = Client::new(ClientId(id), self.setup.replicas, None);
        self.clients.insert(id, Visitor { role, fired_at: None });
    }

    pub(crate) fn submit(&mut self, id: u64, line: Line) -> Result<(), String> {
        let visitor = self
            .clients
            .get_mut(&id)
            .ok_or_else(|| format!("there is no client {id}, `client {id}` begins one"))?;
        if visitor.role.is_busy() {
            return Err(format!("client {id} has a line in flight, which comes first"));
        }
        let session = self.new_session(id);
        self.turn_client(id, Some(client::Input::Submit { line, session }));
        Ok(())
    }

    /// A session number that this client has not used yet.
    pub(crate) fn new_session(&mut self, client: u64) -> u64 {
        let sessions = self.sessions.entry(client).or_default();
        let session = sessions.last_key_value().map_or(1, |(last, _)| last + 1);
        sessions.insert(session, Completed::default());
        session
    }

    /// The completions of a session that some replica has sent.
    pub(crate) fn completed(&self, client: u64, session: u64) -> Completed {
        let sessions = self.sessions.get(&client);
        sessions.and_then(|sessions| sessions.get(&session)).copied().unwrap_or_default()
    }

    /// The slot below which a replica has applied everything.
    pub(crate) fn applied(&self, id: ReplicaId) -> Slot {
        self.nodes[id.index()].learner().map_or(Slot::ZERO, |learner| learner.applied())
    }

    pub(super) fn turn_client(&mut self, id: u64, input: Option<client::Input>) {
        let now = self.now;
        let Some(visitor) = self.clients.get_mut(&id) else { return };
        let mut out = Outbox::new();
        match input {
            Some(input) => visitor.role.handle(now, 0, input, &mut out),
            None => {
                visitor.fired_at = Some(now);
                visitor.role.handle_timeout(now, 0, &mut out);
            }
        }
        visitor.role.flush(now, &mut out);
        let mut shown = Shown::default();
        let envelopes = out.commit(&mut shown).expect("showing never fails");
        for outcome in shown.0 {
            self.event(format!("c{id}: {}", print::outcome(&outcome)));
        }
        for envelope in envelopes {
            let Envelope::Call { to, message } = envelope else { continue };
            if let ClientMessage::Request(request) = &message {
                self.checker.submitted(&request.command());
            }
            self.send(Party::Client(id), Party::Replica(to), Payload::Call(message));
        }
    }
}

pub(super) fn address_of(client: u64) -> Address {
    let port = CLIENT_PORT + u16::try_from(client).expect("client ids here are small");
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port))
}

pub(super) fn client_of(address: Address) -> u64 {
    u64::from(address.0.port() - CLIENT_PORT)
}
