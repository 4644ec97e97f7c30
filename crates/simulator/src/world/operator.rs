//! An operator who asks replicas how they are, every now and then, in some gentle runs.
//!
//! The question and the answer are never lost here: what the roles say is what matters, and it must
//! be true whatever has befallen them (the checker looks).

use super::*;
use multipaxos::message::{Status, StatusQuery};
use seeds::stream;

/// One gentle run in so many has an operator.
const ONE_IN: u8 = 8;

/// The longest time between two questions.
const EVERY_US_MAX: u64 = 400_000;

/// The slot that a question names lies at most so far from the end of the log.
const NEAR_SLOTS: u64 = 12;

/// Where the operator is.
pub(super) const OPERATOR: Address =
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 254, 0, 0)), ADDRESS_PORT));

/// The operator of a run.
#[derive(Debug)]
pub(super) struct Operator {
    draws: Rng,
    /// By replica id: the slot that its open question names, and its life then.
    asked: Vec<Option<(Slot, u32)>>,
}

impl Operator {
    /// The operator of this seed, if there is one.
    pub(super) fn draw(seed: u64, n: usize) -> Option<Self> {
        let mut draws = stream(seed, "operator");
        let comes = draws.u8(0..ONE_IN) == 0;
        comes.then(|| Operator { draws, asked: vec![None; n] })
    }
}

impl World {
    /// Asks a replica, unless there is no operator.
    pub(super) fn operate(&mut self) -> Step {
        let (end, n) = (self.checker.log_len(), self.nodes.len());
        let Some(Operator { draws, asked }) = &mut self.operator else { return Ok(()) };
        let again = self.now.plus_us(draws.u64(1..=EVERY_US_MAX));
        let to = ReplicaId(draws.usize(..n) as u8);
        let near = end.saturating_sub(draws.u64(..NEAR_SLOTS)) + draws.u64(..NEAR_SLOTS / 4);
        self.queue.add(again, Event::Operate);
        let Node { life, process, .. } = &self.nodes[to.index()];
        // An answer does not name its question, so a life has one open question at most.
        let is_open = asked[to.index()].is_some_and(|(_, of)| of == *life);
        if process.is_none() || is_open {
            return Ok(());
        }
        let below = Slot(near);
        asked[to.index()] = Some((below, *life));
        let message = ClientMessage::Status(StatusQuery { below });
        self.arrive(to, Arrival::Client(OPERATOR, message))
    }

    /// What a replica says of itself must be true.
    pub(super) fn tells_operator(&mut self, from: ReplicaId, answer: Answer) -> Step {
        if let Answer::Moved { configuration, moved } = answer {
            return self.checker.tells_moves(configuration, moved);
        }
        let Answer::Status(status) = answer else {
            let what = format!("W1: an operator is answered with {answer:?}");
            return Err(Violation { what, slot: None });
        };
        let life = self.nodes[from.index()].life;
        let Some(Operator { asked, .. }) = &mut self.operator else { return Ok(()) };
        let Some((below, _)) = asked[from.index()].take_if(|(_, of)| *of == life) else {
            return Ok(());
        };
        self.reach.count(Situation::StatusTold);
        self.trace(|| format!("replica {from} tells the operator, of slot {below}: {status:?}"));
        // A log that somebody has changed has another hash from there on, until that is noticed.
        let is_changed = self.altered.is_some() || self.altered_before.is_some();
        let told = Status { hash: status.hash.filter(|_| !is_changed), ..*status };
        self.checker.tells(from, below, &told)
    }
}
