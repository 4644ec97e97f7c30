//! The bootstrap role: warm-up and membership, among peers that send anything.
//!
//! **What must hold.** No panic. The role starts the others once at most, with one directory for
//! each replica. If it is a member and has not done so before, it stores the started record
//! before it tells anybody. It asks only other replicas of the cluster. After a timer has
//! fired it is not due any more.

use crate::draw::{self, Around};
use crate::node::settings;
use crate::run::{Property, check};
use multipaxos::message::{Heard, Message, Ready, Refusal, ToBootstrap};
use multipaxos::paxos::bootstrap::{Bootstrap, Input, Record, cluster_id};
use multipaxos::paxos::{Envelope, Notice, Outbox, Role, Storage};
use multipaxos::types::{Address, Ballot, BootId, ClusterId, DirectoryId, ReplicaId, Slot, Time};
use proptest::collection::vec;
use proptest::prelude::*;
use seeds::stream;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// The life under test, as `settings` makes it.
const BOOT: BootId = BootId(1);

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A peer sends any message.
    Say(u64),
    /// A peer sends what it would send if it had heard from all.
    Ready(u64),
    Wait(u64),
}

#[derive(Default)]
struct Records(Vec<Record>);

impl Storage<Record> for Records {
    fn append(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        self.0.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Play {
    n: usize,
    me: ReplicaId,
    remembers: bool,
    role: Bootstrap,
    now: Time,
    out: Outbox<Record>,
    records: Records,
    started: bool,
    /// Whether it has learned that it lost its state.
    lost: bool,
    inputs: u64,
}

impl Play {
    fn step(&mut self, step: Step) {
        let around =
            Around { n: self.n, ballot: Ballot(0), slot: Slot(0), honest: true, brim: true };
        self.inputs += 1;
        match step {
            Step::Wait(dice) => {
                self.now = self.now.plus_us(dice % 3_000_000);
                if self.role.deadline().is_some_and(|due| due <= self.now) {
                    self.role.handle_timeout(self.now, dice, &mut self.out);
                    let due = self.role.deadline();
                    assert!(due.is_none_or(|due| due > self.now), "a timer at {due:?} spins");
                }
            }
            Step::Say(dice) | Step::Ready(dice) => {
                let rng = &mut stream(dice, "dice");
                let from = ReplicaId(rng.u8(..self.n as u8));
                let message = match step {
                    Step::Ready(_) => ToBootstrap::Ready(Box::new(Ready {
                        directory: draw::directory(from),
                        boot: BootId(rng.u64(..2)),
                        round: rng.u64(..99),
                        answers: Some(Heard { boot: BOOT, round: rng.u64(..99) }),
                        started: (rng.u8(..9) == 0).then(|| {
                            (0..self.n as u8).map(|id| draw::directory(ReplicaId(id))).collect()
                        }),
                        list: rng.u64(..3),
                        origin: draw::origin(rng),
                    })),
                    _ if rng.bool() => ToBootstrap::NotMember { directory: draw::directory(from) },
                    _ => ToBootstrap::Ready(Box::new(draw::ready(rng, &around, from))),
                };
                let at = Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
                let input = match rng.u8(..8) {
                    0 => Input::Refused { from, at, why: Refusal::Cluster(ClusterId(dice)) },
                    _ => Input::Peer(from, at, message),
                };
                self.role.handle(self.now, dice, input, &mut self.out);
            }
        }
        self.role.flush(self.now, &mut self.out);
        for envelope in self.out.commit(&mut self.records).expect("memory never fails") {
            match envelope {
                Envelope::Notice(Notice::Start(membership)) => {
                    assert!(!std::mem::replace(&mut self.started, true), "it starts twice");
                    let members = &membership.members;
                    assert_eq!(members.len(), self.n);
                    assert_eq!(membership.cluster, cluster_id(members));
                    let is_kept = match &self.records.0[..] {
                        [] => false,
                        [Record::Started { members: kept, .. }] => kept == members,
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(is_kept, !self.remembers, "{:?}", self.records.0);
                }
                Envelope::Notice(Notice::LostState(said)) => {
                    assert!(said.known > said.begun && !std::mem::replace(&mut self.lost, true));
                }
                Envelope::Peer { to, message: Message::Bootstrap(_) }
                | Envelope::Back { to, .. } => {
                    assert!(to != self.me && to.index() < self.n, "to replica {to}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(self.started && !self.lost, self.role.is_started());
    }
}

#[test]
fn a_replica_starts_once_whatever_it_hears() {
    let name = "warm_up::a_replica_starts_once_whatever_it_hears";
    let step = (0..3u8, any::<u64>()).prop_map(|(kind, dice)| match kind {
        0 => Step::Say(dice),
        1 => Step::Ready(dice),
        _ => Step::Wait(dice),
    });
    let n = prop_oneof![Just(1usize), Just(3), Just(5)];
    let cases = (n, 0..5u8, any::<bool>(), vec(step, 1..40));
    let mut started = 0;
    let property = Property { name, cases: 2_000, cost: 4 };
    check(property, cases, |(n, me, remembers, steps)| {
        let me = ReplicaId(me % n as u8);
        let (settings, own) = (settings(n, me, 1), draw::directory(me));
        let members: Vec<DirectoryId> =
            (0..n as u8).map(|id| draw::directory(ReplicaId(id))).collect();
        let role = match remembers {
            true => Bootstrap::restart(settings, own, members, &Default::default()),
            false => Bootstrap::new(settings, own, Time(0)),
        };
        let (now, out, records) = (Time(0), Outbox::new(), Records::default());
        let (started_here, inputs) = (false, 0);
        let mut play = Play {
            n,
            me,
            remembers,
            role,
            now,
            out,
            records,
            started: started_here,
            lost: false,
            inputs,
        };
        steps.iter().for_each(|step| play.step(*step));
        started += u64::from(play.started);
        play.inputs
    });
    if property.is_full() {
        assert!(started > 500, "{started} have started");
    }
}
