//! Several lines in flight at once, for a program that tells its requests apart by tags.
//!
//! A [`Client`] has one line in flight. A pool has some clients with one id in the log, each with
//! sessions of its own, and gives each line to one that is idle. So the lines of a pool are
//! numbered in one row, in the order of the log; lines that are in flight at the same time come
//! into the log in any order. A line that must stand below another is submitted once that is
//! complete.
//!
//! A client that fails ends with its line, and another one takes its place: what became of the
//! line is not known, and the next ones may do better.

use super::{Client, Input, Outcome};
use crate::message::Answer;
use crate::paxos::{Envelope, Outbox, Role, Storage};
use crate::types::{ClientId, Line, ReplicaId, Time};
use serde::Serialize;
use std::io;

/// What a pool is told. `T` is a tag, which the pool gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Asked<T> {
    /// To write a line. Some client is idle.
    Submit {
        /// Names the request.
        tag: T,
        /// The line.
        line: Line,
        /// As in [`Input::Submit`].
        session: u64,
    },
    /// To say why a request is none.
    Refuse {
        /// Names the request.
        tag: T,
        /// Why.
        why: String,
    },
    /// No more requests will come.
    End,
    /// A replica answers.
    Answer(ReplicaId, Answer),
    /// A replica says that it belongs to another cluster than the pool.
    OtherCluster(ReplicaId),
}

/// What a pool tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Told<T> {
    /// What has become of a line. Its client is idle again.
    Settled {
        /// Names the request.
        tag: T,
        /// Its end: never [`Outcome::Waiting`].
        outcome: Outcome,
    },
    /// Nothing was sent for this request.
    Refused {
        /// Names the request.
        tag: T,
        /// Why.
        why: String,
    },
    /// The line that has waited longest is not complete yet.
    Waiting {
        /// As in [`Outcome::Waiting`].
        waited_us: u64,
        /// As in [`Outcome::Waiting`].
        answering: usize,
    },
}

/// A client, and the request that it works on.
#[derive(Debug)]
struct Seat<T> {
    client: Client,
    tag: Option<T>,
}

/// The pool.
#[derive(Debug)]
pub struct Pool<T> {
    id: ClientId,
    n: usize,
    places: usize,
    timeout_us: Option<u64>,
    seats: Vec<Seat<T>>,
    ended: bool,
    /// What the client of a seat has just said.
    out: Outbox<Outcome>,
    outcomes: Outcomes,
    envelopes: Vec<Envelope>,
}

/// Keeps outcomes in memory, which cannot fail.
#[derive(Debug, Default)]
struct Outcomes(Vec<Outcome>);

impl Storage<Outcome> for Outcomes {
    fn append(&mut self, records: &mut Vec<Outcome>) -> io::Result<()> {
        self.0.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T> Pool<T> {
    /// A pool of so many clients of a cluster of `n`. A line that is not complete after
    /// `timeout_us` is given up.
    pub fn new(id: ClientId, n: usize, timeout_us: Option<u64>, clients: usize) -> Self {
        let seat = |_| Seat { client: Client::new(id, n, timeout_us), tag: None };
        Pool {
            id,
            n,
            places: n,
            timeout_us,
            seats: (0..clients).map(seat).collect(),
            ended: false,
            out: Outbox::new(),
            outcomes: Outcomes::default(),
            envelopes: Vec::new(),
        }
    }

    /// The same, of clients that may ask the replicas at so many places.
    #[must_use]
    pub fn among(mut self, places: usize) -> Self {
        self.places = places;
        let seats = self.seats.into_iter();
        self.seats = seats.map(|it| Seat { client: it.client.among(places), ..it }).collect();
        self
    }

    /// The requests whose lines are in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = &T> {
        self.seats.iter().filter_map(|seat| seat.tag.as_ref())
    }

    /// Lets the client of a seat handle something, and passes on what it says.
    fn act(
        &mut self,
        at: usize,
        out: &mut Outbox<Told<T>>,
        act: impl FnOnce(&mut Client, &mut Outbox<Outcome>),
    ) {
        let Pool { seats, out: said, outcomes, envelopes, .. } = self;
        act(&mut seats[at].client, said);
        said.commit_into(outcomes, envelopes).expect("memory does not fail");
        for envelope in envelopes.drain(..) {
            let Envelope::Call { to, message } = envelope else {
                unreachable!("a client only calls: {envelope:?}")
            };
            out.call(to, message);
        }
        for outcome in std::mem::take(&mut self.outcomes.0) {
            self.tell(at, outcome, out);
        }
        let Seat { client, tag } = &mut self.seats[at];
        if client.has_failed() {
            assert!(tag.is_none(), "a client fails with its line");
            *client = Client::new(self.id, self.n, self.timeout_us).among(self.places);
        }
    }

    fn tell(&mut self, at: usize, outcome: Outcome, out: &mut Outbox<Told<T>>) {
        if let Outcome::Waiting { waited_us, answering } = outcome {
            let busy = self.seats.iter().enumerate().filter(|(_, seat)| seat.tag.is_some());
            let oldest = busy.min_by_key(|(_, seat)| seat.client.submitted_at);
            if oldest.is_some_and(|(oldest, _)| oldest == at) {
                out.persist(Told::Waiting { waited_us, answering });
            }
            return;
        }
        let tag = self.seats[at].tag.take().expect("an outcome is of a line");
        out.persist(Told::Settled { tag, outcome });
    }
}

impl<T: Serialize> Role for Pool<T> {
    type Input = Asked<T>;
    type Record = Told<T>;

    fn handle(&mut self, now: Time, draw: u64, input: Asked<T>, out: &mut Outbox<Told<T>>) {
        match input {
            Asked::Submit { tag, line, session } => {
                let idle = self.seats.iter().position(|seat| seat.tag.is_none());
                let at = idle.expect("a request comes when some client is idle");
                self.seats[at].tag = Some(tag);
                let submit = Input::Submit { line, session };
                self.act(at, out, |client, said| client.handle(now, draw, submit, said));
            }
            Asked::Refuse { tag, why } => out.persist(Told::Refused { tag, why }),
            Asked::End => self.ended = true,
            Asked::Answer(from, answer) => {
                for at in 0..self.seats.len() {
                    if self.seats[at].client.may_want(&answer) {
                        let input = Input::Answer(from, answer.clone());
                        self.act(at, out, |client, said| client.handle(now, draw, input, said));
                    }
                }
            }
            Asked::OtherCluster(from) => {
                for at in 0..self.seats.len() {
                    let input = Input::OtherCluster(from);
                    self.act(at, out, |client, said| client.handle(now, draw, input, said));
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, draw: u64, out: &mut Outbox<Told<T>>) {
        for at in 0..self.seats.len() {
            if self.seats[at].client.deadline().is_some_and(|deadline| deadline <= now) {
                // Lines that were sent together are not sent again together.
                let draw = draw.rotate_left(at as u32);
                self.act(at, out, |client, said| client.handle_timeout(now, draw, said));
            }
        }
    }

    fn flush(&mut self, _now: Time, _out: &mut Outbox<Told<T>>) {}

    fn deadline(&self) -> Option<Time> {
        self.seats.iter().filter_map(|seat| seat.client.deadline()).min()
    }

    fn is_finished(&self) -> bool {
        self.ended && self.in_flight().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Response;
    use crate::message::{ClientMessage, Request};
    use crate::types::{Attempt, Ballot, Session, Slot};

    const R0: ReplicaId = ReplicaId(0);
    const SECOND: u64 = 1_000_000;

    /// A pool, and what it has said so far.
    struct Desk {
        pool: Pool<u32>,
        out: Outbox<Told<u32>>,
        told: Vec<Told<u32>>,
        calls: Vec<ClientMessage>,
    }

    impl Storage<Told<u32>> for Vec<Told<u32>> {
        fn append(&mut self, records: &mut Vec<Told<u32>>) -> io::Result<()> {
            Vec::append(self, records);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Desk {
        fn new(clients: usize) -> Desk {
            let pool = Pool::new(ClientId(7), 3, Some(5 * SECOND), clients);
            Desk { pool, out: Outbox::new(), told: Vec::new(), calls: Vec::new() }
        }

        fn commit(&mut self) {
            let sent = self.out.commit(&mut self.told).expect("memory does not fail");
            self.calls.extend(sent.into_iter().map(|envelope| match envelope {
                Envelope::Call { message, .. } => message,
                other => panic!("{other:?}"),
            }));
        }

        fn take(&mut self, us: u64, input: Asked<u32>) {
            self.pool.handle(Time(us), 1, input, &mut self.out);
            self.commit();
        }

        /// Each with a session of the same number.
        fn submit(&mut self, us: u64, tags: &[u32]) {
            for tag in tags {
                let (line, session) = (Line::from(format!("line {tag}").as_str()), u64::from(*tag));
                self.take(us, Asked::Submit { tag: *tag, line, session });
            }
        }

        fn answer(&mut self, us: u64, answer: Answer) {
            self.take(us, Asked::Answer(R0, answer));
        }

        /// What was requested since this was last asked, by session.
        fn requests(&mut self) -> Vec<(u64, String)> {
            let requests = self.calls.drain(..).filter_map(|call| match call {
                ClientMessage::Request(request) => Some(Request::command(&request)),
                _ => None,
            });
            requests.map(|command| (command.session.id, command.line.to_string())).collect()
        }
    }

    fn welcome() -> Answer {
        Answer::Welcome { applied: Slot(9), ballot: Ballot(0) }
    }

    fn complete(session: u64, seq: u64, slot: u64) -> Answer {
        let session = Session { client: ClientId(7), id: session };
        let attempt = Attempt::FIRST;
        Answer::Complete { session, seq, slot: Slot(slot), client_seq: slot, attempt }
    }

    fn done(tag: u32, slot: u64, took_us: u64) -> Told<u32> {
        let (client, seq, slot) = (ClientId(7), slot, Slot(slot));
        let response = Some(Response::EMPTY);
        Told::Settled { tag, outcome: Outcome::Complete { client, seq, slot, took_us, response } }
    }

    #[test]
    fn lines_are_in_flight_together_and_each_outcome_bears_its_tag() {
        let mut desk = Desk::new(2);
        desk.submit(0, &[1, 2]);
        desk.answer(10, welcome());
        let sent = |tags: &[u64]| -> Vec<(u64, String)> {
            tags.iter().map(|tag| (*tag, format!("line {tag}"))).collect()
        };
        assert_eq!(desk.requests(), sent(&[1, 2]), "one welcome opens both sessions");
        desk.answer(20, complete(2, 0, 11));
        assert_eq!(desk.told, [done(2, 11, 20)]);
        desk.submit(30, &[3]);
        assert_eq!(desk.requests(), [(2, "line 3".to_owned())], "by the session that is open");
        desk.answer(40, complete(1, 0, 12));
        desk.answer(40, complete(1, 0, 12));
        desk.take(50, Asked::End);
        assert!(!desk.pool.is_finished(), "a line is in flight");
        assert_eq!(desk.pool.in_flight().collect::<Vec<_>>(), [&3]);
        desk.answer(60, complete(2, 1, 13));
        assert_eq!(desk.told[1..], [done(1, 12, 40), done(3, 13, 30)]);
        assert!(desk.pool.is_finished() && desk.pool.deadline().is_none());
    }

    #[test]
    fn a_line_that_is_given_up_makes_room_for_a_new_session() {
        let mut desk = Desk::new(1);
        desk.submit(0, &[1]);
        desk.answer(10, welcome());
        desk.pool.handle_timeout(Time(5 * SECOND), 1, &mut desk.out);
        desk.commit();
        let line = Line::from("line 1");
        let settled = Told::Settled { tag: 1, outcome: Outcome::GaveUp { line } };
        assert_eq!(desk.told, [settled]);
        desk.requests();
        desk.submit(6 * SECOND, &[2]);
        desk.answer(6 * SECOND, complete(1, 0, 11));
        assert_eq!((desk.told.len(), desk.requests().len()), (1, 0), "of the session before");
        desk.answer(6 * SECOND, welcome());
        desk.answer(7 * SECOND, complete(2, 0, 12));
        assert_eq!(desk.told[1..], [done(2, 12, SECOND)]);
    }

    #[test]
    fn only_the_line_that_has_waited_longest_is_reported() {
        let mut desk = Desk::new(3);
        desk.submit(0, &[1]);
        desk.answer(10, welcome());
        desk.submit(SECOND, &[2, 3]);
        desk.answer(SECOND, welcome());
        for us in (0..45).map(|step| SECOND + step * SECOND / 10) {
            desk.pool.handle_timeout(Time(us), 1, &mut desk.out);
            desk.commit();
        }
        let is_waiting = |told: &&Told<u32>| matches!(told, Told::Waiting { .. });
        let waiting: Vec<_> = desk.told.iter().filter(is_waiting).collect();
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        assert!(matches!(waiting[0], Told::Waiting { waited_us: 3_000_000.., .. }));
    }

    #[test]
    fn a_request_that_is_none_takes_no_client() {
        let mut desk = Desk::new(1);
        desk.submit(0, &[1]);
        desk.take(1, Asked::Refuse { tag: 2, why: "no line".into() });
        assert_eq!(desk.told, [Told::Refused { tag: 2, why: "no line".into() }]);
        assert_eq!(desk.pool.in_flight().count(), 1);
    }
}
