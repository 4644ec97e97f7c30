//! A simulated client process: the client role, and what it says next.

use super::wire::Wire;
use fastrand::Rng;
use multipaxos::client::{Client, Input, Outcome};
use multipaxos::paxos::{Envelope, Outbox, Role, Storage};
use multipaxos::types::{ClientId, Line, Session, Time};
use std::io;

/// The port of client 0; the others follow.
pub const ADDRESS_PORT: u16 = 1_000;

/// A client through all its lives.
#[derive(Debug)]
pub struct Visitor {
    id: ClientId,
    /// Counts lives; answers to an earlier one are void.
    pub life: u32,
    /// The role of this life.
    pub role: Client,
    /// When its timer event happens.
    pub timer_at: Option<Time>,
    /// Between two lines, on average.
    pub every_us: u64,
    /// Its codec, in a run over the wire.
    pub wire: Option<Wire>,
    /// What is on its way.
    pub in_flight: Option<(Session, u64)>,
    /// Its last line, after the faults stopped, has been sent.
    pub farewell: bool,
    said: u64,
}

/// Keeps what the client would show.
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
    /// A client of a cluster of `n`.
    pub fn new(id: ClientId, n: usize, every_us: u64) -> Self {
        Visitor {
            id,
            life: 1,
            role: Client::new(id, n, None),
            timer_at: None,
            every_us,
            wire: None,
            in_flight: None,
            farewell: false,
            said: 0,
        }
    }

    /// It dies and returns under the same id.
    pub fn begin_anew(&mut self, n: usize) {
        self.life += 1;
        self.role = Client::new(self.id, n, None);
        self.timer_at = None;
        self.in_flight = None;
    }

    /// Something that nobody has said before, and so many bytes more.
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
