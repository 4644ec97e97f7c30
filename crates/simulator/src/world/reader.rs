//! A reader of the chat log, in some gentle runs with real storage.
//!
//! It is the follower of `client --follow`. Its datagrams are lost, late and repeated as it draws.
//! Every line that it prints must be that of its slot (the checker looks), and once faults have
//! stopped it must print them all.

use super::*;
use multipaxos::follow::{End, Follower, Lines, Order};
use seeds::stream;

/// One such run in so many has a reader.
const ONE_IN: u8 = 3;

/// The longest time that a datagram of it is on its way.
const WAY_US_MAX: u64 = 5_000;

/// So much text it asks for at a time: less than a line, mostly.
const ROOM: usize = 100;

/// Where the reader is.
pub(super) const READER: Address =
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 254, 0, 1)), ADDRESS_PORT));

/// Something happens to it.
#[derive(Debug)]
pub(super) enum Readings {
    /// It does what is due.
    Wakes,
    /// Its message arrives at a replica.
    Asks(ReplicaId, ClientMessage),
    /// An answer arrives.
    Hears(ReplicaId, Answer),
}

/// The reader of a run.
#[derive(Debug)]
pub(super) struct Reader {
    draws: Rng,
    follower: Follower,
    /// When it is woken next.
    wakes_at: Option<Time>,
    /// How many of its datagrams are lost, of a hundred.
    loss: u8,
}

impl Reader {
    /// The reader of this seed, if there is one.
    pub(super) fn draw(seed: u64, (n, places): (usize, usize)) -> Option<Self> {
        // By this name the seeds that `bugs/` cites have no reader: they are the runs that they were.
        let mut draws = stream(seed, "the audience follows");
        if draws.u8(0..ONE_IN) > 0 {
            return None;
        }
        let from = Slot(if draws.bool() { 0 } else { draws.u64(..20) });
        let order = Order { from, ends: false, reads: false, timeout_us: None };
        let follower = Follower::new(Time(0), n, order, draws.u64(..)).among(places);
        let loss = [0, 10, 30][draws.usize(..3)];
        Some(Reader { draws, follower, wakes_at: None, loss })
    }
}

impl World {
    /// The reader begins, if there is one.
    pub(super) fn begin_to_read(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.wakes_at = Some(self.now);
            self.queue.add(self.now, Event::Read(Readings::Wakes));
        }
    }

    /// Something happens to the reader.
    pub(super) fn read(&mut self, what: Readings) -> Step {
        let now = self.now;
        let Some(Reader { follower, wakes_at, .. }) = &mut self.reader else { return Ok(()) };
        match what {
            Readings::Wakes if *wakes_at != Some(now) => return Ok(()),
            Readings::Wakes => *wakes_at = None,
            Readings::Asks(to, message) => {
                // A replica that is not needed may be cut off.
                return match self.out[to.index()] {
                    true => Ok(()),
                    false => self.arrive(to, Arrival::Client(READER, message)),
                };
            }
            Readings::Hears(from, answer) => follower.take(now, from, answer),
        }
        self.reader_turn()
    }

    /// A replica answers the reader.
    pub(super) fn answers_reader(&mut self, from: ReplicaId, answer: Answer) {
        if !self.out[from.index()] {
            self.on_its_way(|| Readings::Hears(from, answer.clone()));
        }
    }

    fn reader_turn(&mut self) -> Step {
        let now = self.now;
        let Some(Reader { follower, wakes_at, .. }) = &mut self.reader else { return Ok(()) };
        let turn = follower.turn(now, |_| ROOM);
        let (lines, end) = (follower.lines(), follower.end());
        if let Some(at) = follower.deadline().map(|at| at.max(now.plus_us(1)))
            && wakes_at.is_none_or(|before| before <= now || at < before)
        {
            *wakes_at = Some(at);
            self.queue.add(at, Event::Read(Readings::Wakes));
        }
        for (to, message) in turn.calls {
            self.hash.add(&message);
            self.on_its_way(|| Readings::Asks(to, message.clone()));
        }
        if let Some(Lines { first, text }) = lines {
            self.reach.count(Situation::LogRead);
            self.checker.shows(first, &text)?;
        }
        match end {
            None => Ok(()),
            Some(End::NotALine(from, slot)) => Err(Violation {
                what: format!("W7: replica {from} has sent what is no line of this slot"),
                slot: Some(slot),
            }),
            Some(end) => unreachable!("it never gives up: {end:?}"),
        }
    }

    /// A datagram of the reader, or to it, leaves.
    fn on_its_way(&mut self, what: impl Fn() -> Readings) {
        let Some(Reader { draws, loss, .. }) = &mut self.reader else { return };
        if draws.u8(..100) < *loss {
            return;
        }
        let copies = if draws.u8(..10) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            let at = self.now.plus_us(draws.u64(LATENCY_MIN_US..=WAY_US_MAX));
            self.queue.add(at, Event::Read(what()));
        }
    }

    /// Whether the reader has printed all lines, if there is one.
    pub(super) fn has_been_read(&self) -> bool {
        let end = Slot(self.checker.log_len());
        self.reader.as_ref().is_none_or(|reader| reader.follower.slot() >= end)
    }
}
