//! A simulated client process: the client role, and the lines that it sends.

use super::wire::Wire;
use fastrand::Rng;
use multipaxos::client::{Client, Input, Outcome};
use multipaxos::machine::Response;
use multipaxos::paxos::{Envelope, Outbox, Role, Storage};
use multipaxos::types::{ClientId, Line, Session, Time};
use std::io;
use std::ops::Range;

/// The port of client 0. Client 1 has the next port, and so on.
pub const ADDRESS_PORT: u16 = 1_000;

/// How far apart the ids of a client's lives are. More than there are clients.
const IDS: u64 = 1_000;

/// The same where there are thousands of clients.
const MANY_IDS: u64 = 1_000_000;

/// A client through all its lives.
#[derive(Debug)]
pub struct Visitor {
    /// Its id in its first life.
    id: ClientId,
    /// How far apart the ids of its lives are.
    ids: u64,
    /// Counts lives. The world drops answers to an earlier life.
    pub life: u32,
    /// The role of this life.
    pub role: Client,
    /// The time of its timer event.
    pub timer_at: Option<Time>,
    /// The mean time between two lines, in microseconds.
    pub every_us: u64,
    /// The first of the clients of its process, and how many these are. They have its codec and its
    /// address.
    pub process: (usize, usize),
    /// Its codec, in a run with real datagrams.
    pub wire: Option<Wire>,
    /// When its last line was submitted.
    pub submitted_at: Time,
    /// The line that the client has sent and that is not complete yet.
    pub in_flight: Option<(Session, u64)>,
    /// Whether it has sent its last line, after the faults stopped.
    pub farewell: bool,
    /// The response to its command, once that is complete. The inner one is missing if the replica
    /// had forgotten it.
    pub response: Option<Option<Response>>,
    said: u64,
}

/// Keeps the outcomes that a real client would print.
#[derive(Debug, Default)]
struct Shown(Vec<Outcome>);

impl Storage<Outcome> for Shown {
    fn append(&mut self, records: &mut Vec<Outcome>) -> io::Result<()> {
        self.0.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Visitor {
    /// One of so many `clients` of a cluster that began with `n` replicas and has so many `places`.
    pub fn new(id: ClientId, clients: usize, (n, places): (usize, usize), every_us: u64) -> Self {
        Visitor {
            id,
            ids: if (clients as u64) < IDS { IDS } else { MANY_IDS },
            life: 1,
            role: Client::new(id, n, None).among(places),
            timer_at: None,
            every_us,
            process: (0, 1),
            wire: None,
            submitted_at: Time(0),
            in_flight: None,
            farewell: false,
            response: None,
            said: 0,
        }
    }

    /// The client dies and returns.
    pub fn begin_anew(&mut self, (n, places): (usize, usize)) {
        self.life += 1;
        self.role = Client::new(self.id_in(self.life), n, None).among(places);
        self.timer_at = None;
        self.in_flight = None;
    }

    /// Its id in a life. Two lives in a row have the same one, and the next two another, so
    /// that the log knows one half of the clients that begin anew and not the other half.
    pub fn id_in(&self, life: u32) -> ClientId {
        ClientId(self.id.0 + self.ids * u64::from(life / 2))
    }

    /// The ids of all clients of its process in a life, if it is the first of them.
    pub fn ids_in(&self, life: u32) -> Range<u64> {
        let first = self.id_in(life).0;
        first..first + self.process.1 as u64
    }

    /// A line that no client has sent before, with this many bytes of padding.
    pub fn next_line(&mut self, padding: usize) -> Line {
        self.said += 1;
        let padding = "x".repeat(padding);
        format!("{}:{}{padding}", self.id, self.said).into()
    }

    /// One turn of the role.
    pub fn turn(
        &mut self,
        now: Time,
        draws: &mut Rng,
        input: Option<Input>,
    ) -> (Vec<Envelope>, Vec<Outcome>) {
        let mut out = Outbox::new();
        if let Some(input) = input {
            self.role.handle(now, draws.u64(..), input, &mut out);
        }
        if self.role.deadline().is_some_and(|deadline| deadline <= now) {
            self.role.handle_timeout(now, draws.u64(..), &mut out);
        }
        self.role.flush(now, &mut out);
        let mut shown = Shown::default();
        let envelopes = out.commit(&mut shown).expect("showing never fails");
        (envelopes, shown.0)
    }

    /// When the role next wants to be woken.
    pub fn deadline(&self) -> Option<Time> {
        self.role.deadline()
    }
}
