//! Acceptor, proposer and learner of one replica, among peers that send anything.
//!
//! The input is a list of steps. In most steps a peer answers a recent message of this replica,
//! correctly or nearly so; only that leads to campaigns and leaders. In other steps a peer
//! leads or sends anything at all; clients send requests; time passes, sometimes so much that
//! the process must have been stopped; a message between two roles is lost; the process dies.
//!
//! `node` says what must hold. Peers are members, and a role believes what they say. But nothing
//! well-formed may make a role panic, hang, or break its own promises.

use crate::draw::{self, Around, ballot_of};
use crate::node::Node;
use crate::run::{Property, check};
use fastrand::Rng;
use multipaxos::message::{
    Accept, Decided, Heartbeat, LogHash, Message, Promise, Spans, ToAcceptor, ToLearner,
    ToProposer, Voter,
};
use multipaxos::types::{Ballot, BootId, ReplicaId, Slot, SlotRange};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A peer answers a message that it got.
    Reply(u64),
    /// All peers answer the last message that they got.
    ReplyAll(u64),
    /// A peer leads: it sends a heartbeat and proposals.
    Lead(u64),
    /// A peer sends any message.
    Say(u64),
    Ask(u64),
    Wait(u64),
    /// So much time passes that the process must have been stopped. No timer fires meanwhile.
    Pause(u64),
    Lose(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..40u8, any::<u64>()).prop_map(|(kind, dice)| match kind {
        0..8 => Step::Reply(dice),
        8..16 => Step::ReplyAll(dice),
        16..20 => Step::Lead(dice),
        20..25 => Step::Say(dice),
        25..29 => Step::Ask(dice),
        29..36 => Step::Wait(dice),
        36 => Step::Pause(dice),
        37 | 38 => Step::Lose(dice),
        _ => Step::Restart,
    });
    vec(step, 1..100)
}

#[derive(Debug, Clone, Copy)]
struct World {
    n: usize,
    me: ReplicaId,
    honest: bool,
    brim: bool,
}

fn worlds() -> impl Strategy<Value = World> {
    let cluster = prop_oneof![1 => Just(1usize), 6 => Just(3usize), 3 => Just(5usize)];
    (cluster, 0..5u8, any::<bool>(), 0..6u8).prop_map(|(n, me, honest, brim)| World {
        n,
        me: ReplicaId(me % n as u8),
        honest,
        brim: brim == 0,
    })
}

struct Play {
    world: World,
    node: Node,
    rounds: u64,
    led: bool,
}

impl Play {
    fn around(&self) -> Around {
        let World { n, honest, brim, .. } = self.world;
        Around { n, ballot: self.node.ballot(), slot: self.node.applied(), honest, brim }
    }

    fn peer(&self, rng: &mut Rng) -> Option<ReplicaId> {
        let peers = self.node.peers();
        (!peers.is_empty()).then(|| peers[rng.usize(..peers.len())])
    }

    /// An answer that `from` could give.
    fn reply(&mut self, rng: &mut Rng, from: ReplicaId, message: &Message) -> Option<Message> {
        let around = self.around();
        self.rounds += 1;
        let voter = Voter { directory: draw::directory(from), boot: BootId(9), begun: 0 };
        Some(match message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, first, .. }) => match rng.u8(..12) {
                0 => {
                    let promised = draw::ballot(rng, &around);
                    Message::Proposer(ToProposer::Nack { ballot: *ballot, promised })
                }
                1..6 => Message::Proposer(ToProposer::Promise(Promise {
                    ballot: *ballot,
                    voter,
                    slots: SlotRange::with_len(*first, 0),
                    last: true,
                    trimmed: Slot::ZERO,
                    accepted: Spans::default(),
                })),
                _ => {
                    let page = draw::promise(rng, &around, from, *ballot, *first);
                    Message::Proposer(ToProposer::Promise(page))
                }
            },
            Message::Acceptor(ToAcceptor::FetchAccepted { ballot, wanted }) => {
                let values = draw::accepted_values(rng, &around, *ballot, wanted);
                Message::Proposer(ToProposer::AcceptedValues(values))
            }
            Message::Acceptor(ToAcceptor::Accept(Accept { ballot, first, values, .. })) => {
                let count = values.len() as u64;
                let range = match rng.u8(..8) {
                    0 => SlotRange::with_len(first.plus(1), count),
                    _ => SlotRange::with_len(*first, count),
                };
                let slots = vec![range].into();
                Message::Learner(ToLearner::Accepted { ballot: *ballot, voter, slots })
            }
            Message::Acceptor(ToAcceptor::AcceptHeld { ballot, held }) => {
                let slots: Vec<SlotRange> = held.iter().map(|span| span.slots).collect();
                Message::Learner(ToLearner::Accepted {
                    ballot: *ballot,
                    voter,
                    slots: slots.into(),
                })
            }
            Message::Proposer(ToProposer::PreVote { ballot, round }) => {
                Message::Proposer(ToProposer::PreVoteReply {
                    round: *round,
                    granted: rng.u8(..6) > 0,
                    promised: (rng.u8(..8) == 0).then_some(*ballot),
                    voter,
                })
            }
            Message::Learner(ToLearner::Fetch { slots: SlotRange { start: first, end } }) => {
                let first = if rng.u8(..6) == 0 { first.plus(rng.u64(..9)) } else { *first };
                let values = draw::values(rng, &around, first, Ballot::ZERO);
                let count = values.len().min(end.since(first).max(1) as usize);
                let values = values.slice(0..count);
                Message::Learner(ToLearner::Page { first, values })
            }
            Message::Heartbeat(heard) => Message::Heartbeat(Box::new(Heartbeat {
                voter,
                written: 0,
                round: self.rounds,
                echo: heard.round,
                held_us: 0,
                sync_ms: 0,
                ballot: heard.ballot,
                leading: false,
                campaigning: false,
                promised: heard.promised,
                applied: Slot(around.slot.0.saturating_sub(rng.u64(..4))),
                history: LogHash::default(),
                decided: Decided::default(),
                inherited: Slot::ZERO,
                seen: None,
            })),
            _ => return None,
        })
    }

    fn lead(&mut self, rng: &mut Rng, from: ReplicaId) {
        let around = self.around();
        self.rounds += 1;
        let ballot = ballot_of(rng, &around, from);
        let slot = around.slot;
        let decided = match rng.u8(..3) {
            0 => draw::mark(rng, &around),
            _ => Decided {
                ballot,
                slots: SlotRange::new(Slot(slot.0.saturating_sub(3)), slot.plus(rng.u64(..6))),
            },
        };
        let mut heartbeat = draw::heartbeat(rng, &around, from);
        heartbeat.voter.boot = BootId(9);
        heartbeat.round = self.rounds;
        (heartbeat.ballot, heartbeat.leading, heartbeat.decided) = (ballot, true, decided);
        if rng.bool() {
            heartbeat.applied = slot.plus(rng.u64(..4));
        }
        self.node.hear(from, Message::Heartbeat(Box::new(heartbeat)));
        for _ in 0..rng.u8(..3) {
            let first = slot.plus(rng.u64(..4));
            let values = draw::values(rng, &around, first, ballot);
            let accept = Accept { ballot, first, values, decided };
            self.node.hear(from, Message::Acceptor(ToAcceptor::Accept(accept)));
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Reply(dice) => {
                let rng = &mut Rng::with_seed(dice);
                let sent = self.node.sent.len();
                if sent > 0 {
                    let at = sent - 1 - rng.usize(..sent.min(8));
                    let (to, message) = self.node.sent[at].clone();
                    if let Some(reply) = self.reply(rng, to, &message) {
                        self.node.hear(to, reply);
                    }
                }
            }
            Step::ReplyAll(dice) => {
                let rng = &mut Rng::with_seed(dice);
                let sent: Vec<_> = self.node.sent.iter().rev().take(12).cloned().collect();
                for (to, message) in sent.into_iter().rev() {
                    if let Some(reply) = self.reply(rng, to, &message) {
                        self.node.hear(to, reply);
                    }
                }
            }
            Step::Lead(dice) => {
                let rng = &mut Rng::with_seed(dice);
                if let Some(from) = self.peer(rng) {
                    self.lead(rng, from);
                }
            }
            Step::Say(dice) => {
                let rng = &mut Rng::with_seed(dice);
                let around = self.around();
                if let Some(from) = self.peer(rng) {
                    let message = draw::message(rng, &around, from);
                    self.node.hear(from, message);
                }
            }
            Step::Ask(dice) => {
                let rng = &mut Rng::with_seed(dice);
                let around = self.around();
                let origin = draw::address(rng);
                match rng.u8(..8) {
                    0 => self.node.greet(origin),
                    1 => self.node.inquire(origin, draw::inquiry(rng, &around)),
                    2 => self.node.follow(origin, draw::follow_query(rng, &around)),
                    _ => self.node.ask(origin, draw::request(rng, &around)),
                }
            }
            Step::Wait(dice) => {
                let rng = &mut Rng::with_seed(dice);
                let most = [1_000, 60_000, 400_000, 1_500_000][rng.usize(..4)];
                self.node.wait_us(rng.u64(1..most), rng.u64(..));
            }
            Step::Pause(dice) => {
                let rng = &mut Rng::with_seed(dice);
                let most = [10_000_000, 1 << 40, 1 << 50][rng.usize(..3)];
                self.node.now = self.node.now.plus_us(rng.u64(..most));
            }
            Step::Lose(dice) => self.node.to_lose = (dice % 5) as u32,
            Step::Restart => self.node.restart(),
        }
        self.led |= self.node.leads();
    }
}

/// Runs all steps.
fn play(world: World, steps: &[Step]) -> Play {
    let mut node = Node::new(world.n, world.me);
    node.encodes = !world.brim;
    let mut play = Play { world, node, rounds: 0, led: false };
    steps.iter().for_each(|step| play.step(*step));
    play
}

#[test]
fn no_peer_makes_a_role_panic_or_break_its_word() {
    let name = "roles::no_peer_makes_a_role_panic_or_break_its_word";
    let (mut led, mut applied) = (0, 0);
    let cases = (worlds(), steps());
    let property = Property { name, cases: 1_500, cost: 450 };
    check(property, cases, |(world, steps)| {
        let play = play(world, &steps);
        led += u64::from(play.led);
        applied += play.node.applied().0;
        play.node.inputs
    });
    if property.is_full() {
        assert!(led > 100, "it led in only {led} cases");
    }
    if property.is_full() {
        assert!(applied > 1_000, "{applied} slots were applied in all");
    }
}
