//! A client that reads, again and again, in some runs of every kind (E5).
//!
//! It asks for marks, and waits until some replica has applied every slot below their end. What that
//! replica has applied by then is what the read returns: replicas' logs are prefixes of one another
//! (I4). The checker knows what was complete, and what was read, when the read began.
//!
//! Its datagrams are lost, late and repeated as it draws, whatever the paths of the run are.

use super::*;
use multipaxos::follow::marks::Marks;
use seeds::stream;

/// One run in so many has such a client.
const ONE_IN: u8 = 4;

/// The longest time between two reads.
const EVERY_US_MAX: u64 = 100_000;

/// The longest time that a datagram of it is on its way.
const WAY_US_MAX: u64 = 5_000;

/// How often it looks whether some replica has applied what it waits for.
const LOOK_US: u64 = 3_000;

/// Where the client is.
pub(super) const READS: Address =
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 254, 0, 2)), ADDRESS_PORT));

/// Something happens to it.
#[derive(Debug)]
pub(super) enum Marking {
    /// It does what is due.
    Wakes,
    /// Its message arrives at a replica.
    Asks(ReplicaId, ClientMessage),
    /// An answer arrives.
    Hears(ReplicaId, Answer),
}

/// A read that is under way.
#[derive(Debug)]
struct Open {
    number: u64,
    marks: Marks,
    /// Every line that was complete when it began, and what was read then, lies below this slot.
    floor: Slot,
    /// By replica id, the lowest mark that it may give.
    least: Vec<Slot>,
    /// Whether faults had stopped.
    is_calm: bool,
    /// Whether it had its end once, and nobody had applied so much.
    has_waited: bool,
}

/// The client of a run.
#[derive(Debug)]
pub(super) struct Reads {
    draws: Rng,
    open: Option<Open>,
    /// When it is woken next.
    wakes_at: Option<Time>,
    /// How many of its datagrams are lost, of a hundred.
    loss: u8,
    /// Whether a read has ended that began when faults had stopped.
    is_calm: bool,
}

impl Reads {
    /// The client of this seed, if there is one.
    pub(super) fn draw(seed: u64) -> Option<Self> {
        // By this name the seeds that `bugs/` cites have none: they are the runs that they were.
        let mut draws = stream(seed, "the marks 78");
        if draws.u8(0..ONE_IN) > 0 {
            return None;
        }
        let loss = [0, 10, 30][draws.usize(..3)];
        Some(Reads { draws, open: None, wakes_at: None, loss, is_calm: false })
    }
}

impl World {
    /// The client begins, if there is one.
    pub(super) fn begin_reads(&mut self) {
        let now = self.now;
        if let Some(reads) = &mut self.reads {
            reads.wakes_at = Some(now);
            self.queue.add(now, Event::Mark(Marking::Wakes));
        }
    }

    /// Something happens to the client.
    pub(super) fn mark(&mut self, what: Marking) -> Step {
        let now = self.now;
        let Some(Reads { open, wakes_at, .. }) = &mut self.reads else { return Ok(()) };
        match what {
            Marking::Wakes if *wakes_at != Some(now) => return Ok(()),
            Marking::Wakes => *wakes_at = None,
            Marking::Asks(to, message) => {
                // A replica that is not needed may be cut off.
                return match self.out[to.index()] {
                    true => Ok(()),
                    false => self.arrive(to, Arrival::Client(READS, message)),
                };
            }
            Marking::Hears(from, Answer::Mark { read, mark, by }) => {
                let Some(open) = open else { return Ok(()) };
                open.marks.take(now, from, read, (by, mark));
            }
            Marking::Hears(_, answer) => {
                let what = format!("W1: a client that reads is answered with {answer:?}");
                return Err(Violation { what, slot: None });
            }
        }
        self.turn_reads()
    }

    /// A replica answers the client.
    pub(super) fn answers_read(&mut self, from: ReplicaId, answer: Answer) -> Step {
        let open = self.reads.as_ref().and_then(|reads| reads.open.as_ref());
        if let (Answer::Mark { read, mark, .. }, Some(open)) = (&answer, open)
            && *read == open.number
        {
            self.checker.gives_mark(from, *mark, open.least[from.index()])?;
        }
        if !self.out[from.index()] {
            self.leaves_for_read(|| Marking::Hears(from, answer.clone()));
        }
        Ok(())
    }

    fn turn_reads(&mut self) -> Step {
        self.end_read()?;
        let (now, n) = (self.now, self.nodes.len());
        let is_calm = !self.faults_on;
        let Some(Reads { open, draws, wakes_at, .. }) = &mut self.reads else { return Ok(()) };
        // It wakes after a pause, and only then begins the next read.
        if open.is_none() && wakes_at.is_some() {
            return Ok(());
        }
        let checker = &self.checker;
        let begins = || {
            let (number, (floor, least)) = (draws.u64(..), checker.read_begins());
            let marks = Marks::new(now, n, number);
            Open { number, marks, floor, least, is_calm, has_waited: false }
        };
        let open = open.get_or_insert_with(begins);
        let calls = open.marks.due(now);
        let looks = open.marks.end().map(|_| now.plus_us(LOOK_US));
        let at = looks.into_iter().chain([open.marks.deadline()]).min().expect("there is one");
        let at = at.max(now.plus_us(1));
        if wakes_at.is_none_or(|before| before <= now || at < before) {
            *wakes_at = Some(at);
            self.queue.add(at, Event::Mark(Marking::Wakes));
        }
        for (to, message) in calls {
            self.hash.add(&message);
            self.leaves_for_read(|| Marking::Asks(to, message.clone()));
        }
        Ok(())
    }

    /// Ends the read, if a replica that is drawn has applied what it needs, and waits for a while.
    fn end_read(&mut self) -> Step {
        let (now, n) = (self.now, self.nodes.len());
        let Some(Reads { open: Some(open), draws, .. }) = &mut self.reads else { return Ok(()) };
        let Some(end) = open.marks.end() else { return Ok(()) };
        let from = ReplicaId(draws.usize(..n) as u8);
        // A client is shown what is written. A learner's state runs ahead of that within a turn.
        let learner = self.nodes[from.index()].process.as_ref().and_then(Process::learner);
        let returned = learner.map(|_| self.checker.applied_by(from)).filter(|it| *it >= end);
        let Some(returned) = returned.filter(|_| !self.out[from.index()]) else {
            open.has_waited = true;
            return Ok(());
        };
        let (floor, is_calm, has_waited) = (open.floor, open.is_calm, open.has_waited);
        let again = now.plus_us(1 + draws.u64(..EVERY_US_MAX));
        if let Some(reads) = &mut self.reads {
            (reads.open, reads.wakes_at) = (None, Some(again));
            reads.is_calm |= is_calm;
        }
        self.queue.add(again, Event::Mark(Marking::Wakes));
        self.reach.count(Situation::Read);
        if has_waited {
            self.reach.count(Situation::ReadWaited);
        }
        self.trace(|| format!("a read ends at slot {end}, and returns the slots below {returned}"));
        // S12: the rule takes effect a few heartbeats after the copy is heard.
        let floor = if self.copy_is_news() { Slot::ZERO } else { floor };
        self.checker.read_ends(floor, end, returned)
    }

    /// A datagram of the client, or to it, leaves.
    fn leaves_for_read(&mut self, what: impl Fn() -> Marking) {
        let Some(Reads { draws, loss, .. }) = &mut self.reads else { return };
        if draws.u8(..100) < *loss {
            return;
        }
        let copies = if draws.u8(..10) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            let at = self.now.plus_us(draws.u64(LATENCY_MIN_US..=WAY_US_MAX));
            self.queue.add(at, Event::Mark(what()));
        }
    }

    /// A read that begins when faults have stopped ends, and so does one that began before.
    pub(super) fn last_read(&mut self) -> Step {
        let deadline = self.now.plus_us(LIVENESS_US);
        let is_open = |world: &World| world.reads.as_ref().is_some_and(|reads| !reads.is_calm);
        while is_open(self) {
            if self.now >= deadline {
                let open = self.reads.as_ref().and_then(|reads| reads.open.as_ref());
                let end = open.and_then(|open| open.marks.end());
                let what = format!("E5: a read does not end, of the slots below {end:?}");
                return Err(Violation { what, slot: end });
            }
            let until = self.now.plus_us(100_000);
            self.run_until(until)?;
        }
        Ok(())
    }
}
