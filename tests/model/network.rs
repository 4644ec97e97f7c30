//! What is on its way, between replicas and between the roles of one.
//!
//! What was once sent can be delivered from then on, at any time, any number of times and
//! in any order. A message that is never delivered is a lost one; so loss, repetition,
//! delay and reordering are all there, and what is on its way only ever grows. Hand-overs
//! between the roles of one replica are treated no better, but end with the process.
//!
//! What is left out, as if it were always lost:
//!
//! - refusals, notices of promises, heartbeats and who leads: they tell a proposer to give
//!   way or to go higher, which it does here whenever its patience runs out;
//! - pre-votes, and requests that wait for a leader: see [`seat`](super::seat);
//! - of [`Bounds`], what a check is not about.

use super::bounds::{Bounds, N};
use super::seat::Input;
use multipaxos::message::{Accept, Decided, Heartbeat, LogHash, Message, ToAcceptor, ToProposer};
use multipaxos::paxos::{Envelope, Notice, acceptor, learner, proposer};
use multipaxos::types::{ReplicaId, Slot};
use std::fmt;

/// Which role of which replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RoleId(u8);

/// How many there are.
pub(crate) const ROLES: usize = 3 * N;

impl RoleId {
    pub(crate) fn acceptor(id: ReplicaId) -> RoleId {
        RoleId(3 * id.0)
    }

    pub(crate) fn proposer(id: ReplicaId) -> RoleId {
        RoleId(3 * id.0 + 1)
    }

    pub(crate) fn learner(id: ReplicaId) -> RoleId {
        RoleId(3 * id.0 + 2)
    }

    pub(crate) fn all() -> impl Iterator<Item = RoleId> {
        (0..ROLES as u8).map(RoleId)
    }

    pub(crate) fn of(id: ReplicaId) -> [RoleId; 3] {
        [RoleId::acceptor(id), RoleId::proposer(id), RoleId::learner(id)]
    }

    pub(crate) fn replica(self) -> ReplicaId {
        ReplicaId(self.0 / 3)
    }

    pub(crate) fn is_learner(self) -> bool {
        self.0 % 3 == 2
    }

    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    pub(crate) fn name(self) -> &'static str {
        ["acceptor", "proposer", "learner"][self.index() % 3]
    }
}

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.replica())
    }
}

/// Something on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Packet {
    pub(crate) from: ReplicaId,
    pub(crate) to: RoleId,
    pub(crate) input: Input,
}

impl Packet {
    /// Whether it ends with the process that sent it.
    pub(crate) fn is_inside(&self) -> bool {
        self.from == self.to.replica()
    }
}

/// What becomes of something that was sent.
pub(crate) enum Delivery {
    Goes(Packet),
    /// It is left out.
    Lost,
    /// It is about a slot that the check does not go to.
    Outside,
}

/// The same, without what only says when to do something: that would make every
/// heartbeat a new one.
pub(crate) fn plain(mut envelope: Envelope) -> Envelope {
    match &mut envelope {
        Envelope::Peer { message: Message::Heartbeat(heartbeat), .. } => {
            **heartbeat = Heartbeat {
                round: 0,
                echo: 0,
                held_us: 0,
                sync_ms: 0,
                campaigning: false,
                promised: None,
                written: 0,
                history: LogHash::default(),
                inherited: Slot::ZERO,
                seen: None,
                ..**heartbeat
            };
        }
        Envelope::Notice(Notice::Proposer(proposer::Input::Promised { written, .. })) => {
            *written = 0;
        }
        Envelope::Notice(Notice::Proposer(proposer::Input::Progress {
            pending,
            lost,
            hash,
            ..
        })) => {
            (*pending, *hash) = (None, 0);
            lost.clear();
        }
        _ => {}
    }
    envelope
}

/// What becomes of what a role sends.
pub(crate) fn delivery(bounds: &Bounds, from: ReplicaId, envelope: &Envelope) -> Delivery {
    let goes = |to, input| Delivery::Goes(Packet { from, to, input });
    match envelope {
        Envelope::Peer { to, message } => match message {
            Message::Acceptor(ToAcceptor::Accept(accept)) if is_outside(bounds, accept) => {
                Delivery::Outside
            }
            Message::Acceptor(message) => {
                let input = acceptor::Input::Peer(from, message.clone());
                goes(RoleId::acceptor(*to), Input::Acceptor(input))
            }
            Message::Proposer(
                message @ (ToProposer::Promise(_) | ToProposer::AcceptedValues(_)),
            ) => {
                let input = proposer::Input::Peer(from, message.clone());
                goes(RoleId::proposer(*to), Input::Proposer(input))
            }
            Message::Learner(message) => {
                let input = learner::Input::Peer(from, message.clone());
                goes(RoleId::learner(*to), Input::Learner(input))
            }
            Message::Heartbeat(heartbeat) if says_nothing(heartbeat.decided) => Delivery::Lost,
            Message::Heartbeat(heartbeat) => goes(
                RoleId::learner(*to),
                Input::Learner(learner::Input::Heartbeat(from, heartbeat.clone())),
            ),
            Message::Proposer(_) | Message::Bootstrap(_) => Delivery::Lost,
        },
        Envelope::Notice(Notice::Acceptor(acceptor::Input::Applied(slot, changed))) => {
            if *slot == Slot::ZERO {
                return Delivery::Lost;
            }
            let applied = acceptor::Input::Applied(*slot, changed.clone());
            goes(RoleId::acceptor(from), Input::Acceptor(applied))
        }
        Envelope::Notice(Notice::Proposer(input)) => match input {
            proposer::Input::Progress { applied, decided, .. }
                if bounds.progress && (*applied > Slot::ZERO || !says_nothing(*decided)) =>
            {
                goes(RoleId::proposer(from), Input::Proposer(input.clone()))
            }
            proposer::Input::OwnPromise { .. } => {
                goes(RoleId::proposer(from), Input::Proposer(input.clone()))
            }
            _ => Delivery::Lost,
        },
        Envelope::Notice(Notice::Learner(input)) => {
            let counts = match input {
                learner::Input::Proposed { .. } => true,
                learner::Input::OwnAccepted { .. } => bounds.heartbeats,
                _ => false,
            };
            if !counts {
                return Delivery::Lost;
            }
            goes(RoleId::learner(from), Input::Learner(input.clone()))
        }
        Envelope::Notice(_)
        | Envelope::Answers { .. }
        | Envelope::Back { .. }
        | Envelope::Call { .. } => Delivery::Lost,
    }
}

fn says_nothing(decided: Decided) -> bool {
    decided.slots.is_empty()
}

fn is_outside(bounds: &Bounds, accept: &Accept) -> bool {
    accept.first.0 + accept.values.len() as u64 > bounds.slots
}

/// How many different packets there may be in all, in words of 64.
const WORDS: usize = 12;

/// A set of packets, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Sent([u64; WORDS]);

impl Sent {
    pub(crate) fn insert(&mut self, packet: u32) {
        let (word, bit) = (packet as usize / 64, packet % 64);
        assert!(word < WORDS, "more than {} packets: raise WORDS", 64 * WORDS);
        self.0[word] |= 1 << bit;
    }

    pub(crate) fn contains(&self, packet: u32) -> bool {
        self.0.get(packet as usize / 64).is_some_and(|word| word & (1 << (packet % 64)) != 0)
    }

    pub(crate) fn remove(&mut self, packet: u32) {
        self.0[packet as usize / 64] &= !(1 << (packet % 64));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..WORDS as u32).flat_map(|at| {
            let mut word = self.0[at as usize];
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros())?;
                word &= word - 1;
                Some(64 * at + bit)
            })
        })
    }
}
