//! What `trace explain --why_not_leader` says of proposers that some links do not connect, on a
//! clock of the test. (Of real processes: tests/processes.rs.)

use multipaxos::message::{Message, ToAcceptor, Voter};
use multipaxos::paxos::proposer::{Input, Proposer};
use multipaxos::paxos::{Envelope, Limits, Membership, Never, Outbox, Role, Settings};
use multipaxos::runtime::trace::begin::Beginning;
use multipaxos::runtime::trace::block::{Block, Stream, Word, only};
use multipaxos::runtime::trace::{Header, Who};
use multipaxos::types::{BootId, ClusterId, DirectoryId, ReplicaId, Slot, Time, replicas};
use std::path::PathBuf;
use trace::files::Files;
use trace::leading::why_not_leader;

const N: usize = 3;

/// How long a message takes, and a step of the test.
const STEP_US: u64 = 5_000;

/// A proposer and its trace.
struct Traced {
    id: ReplicaId,
    role: Proposer,
    block: Block,
    mail: Vec<Input>,
}

/// A cluster of proposers, whose acceptors promise at once.
struct World {
    now: u64,
    all: Vec<Traced>,
    /// Links that carry nothing, in both directions.
    cut: Vec<[u8; 2]>,
}

fn settings(id: ReplicaId) -> Settings {
    Settings {
        id,
        n: N,
        places: N,
        boot: BootId(u64::from(id.0) + 7),
        payload_bytes: 1_300,
        heartbeat_us: 50_000,
        election_min_us: 300_000,
        election_max_us: 600_000,
        checkpoint_slots: 16,
        skip_slot: None,
        limits: Limits::DEFAULT,
    }
}

fn traced(id: ReplicaId) -> Traced {
    let members: Vec<DirectoryId> = [4, 5, 6].map(DirectoryId).to_vec();
    let (settings, directory) = (settings(id), members[id.index()]);
    let voter = Voter { directory, boot: settings.boot, begun: 0 };
    let (cluster, memories) = (ClusterId(1), Vec::new());
    let membership = Membership { cluster, voter, members, memories, fresh: true };
    let mut block = Block::default();
    block.begin(Time(0), 3, &Beginning::Proposer(settings, membership.clone()));
    Traced { id, role: Proposer::new(settings, membership, Time(0), 3), block, mail: Vec::new() }
}

impl World {
    fn new() -> World {
        World { now: 0, all: replicas(N).map(traced).collect(), cut: Vec::new() }
    }

    fn runs_for(mut self, us: u64) -> World {
        for _ in 0..us / STEP_US {
            self.now += STEP_US;
            let sent: Vec<_> = self.all.iter_mut().map(|it| (it.id, it.turn(self.now))).collect();
            for (from, envelopes) in sent {
                envelopes.into_iter().for_each(|envelope| self.carry(from, envelope));
            }
        }
        self
    }

    fn without(mut self, cut: [u8; 2]) -> World {
        self.cut.push(cut);
        self
    }

    fn carry(&mut self, from: ReplicaId, envelope: Envelope) {
        let Envelope::Peer { to, message } = envelope else { return };
        let input = match message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, first, .. }) if to == from => {
                let (trimmed, accepted) = (Slot::ZERO, Vec::new());
                self.all[to.index()].mail.push(Input::Promised { ballot, written: 1 });
                Input::OwnPromise { ballot, first, trimmed, accepted }
            }
            Message::Proposer(message) => Input::Peer(from, message),
            Message::Heartbeat(heartbeat) => Input::Heartbeat(from, heartbeat),
            _ => return,
        };
        let is_cut = |cut: &[u8; 2]| cut.contains(&from.0) && cut.contains(&to.0);
        if from == to || !self.cut.iter().any(is_cut) {
            self.all[to.index()].mail.push(input);
        }
    }

    /// The answer, as one line.
    fn told(self, id: u8, us: u64) -> String {
        let file = |of: Traced| -> (PathBuf, Vec<u8>) {
            let (who, boot) = (Who::Replica(of.id), settings(of.id).boot);
            let (program, n, file, wall_us) = ("test".into(), N, 0, 1_000);
            let header = Word::Header(Header { program, who, n, boot, file, wall_us });
            let blocks = [
                only(&header, Stream::Process, 0),
                of.block.sealed(Stream::Proposer, 0),
                only(&Word::End(Time(self.now)), Stream::Process, 1),
            ];
            (format!("{}.trace", of.id).into(), blocks.concat())
        };
        let files = Files::of(self.all.into_iter().map(file).collect());
        why_not_leader(&files.lives().0, ReplicaId(id), us).join(" ")
    }
}

impl Traced {
    /// Handles what came, and returns what is sent.
    fn turn(&mut self, now: u64) -> Vec<Envelope> {
        let (now, mut out, draw) = (Time(now), Outbox::<Never>::new(), now + 11 * self.id.0 as u64);
        for input in std::mem::take(&mut self.mail) {
            self.block.input(now, draw, &input);
            self.role.handle(now, draw, input, &mut out);
        }
        if self.role.deadline().is_some_and(|deadline| deadline <= now) {
            self.block.timeout(now, draw);
            self.role.handle_timeout(now, draw, &mut out);
        }
        self.role.flush(now, &mut out);
        self.block.turn(now, self.role.deadline(), &out.contents());
        out.contents().envelopes.to_vec()
    }
}

#[track_caller]
fn says(told: &str, words: &[&str]) {
    for words in words {
        assert!(told.contains(words), "{words:?} is not in: {told}");
    }
}

#[test]
fn a_replica_that_hears_the_leader_follows_it() {
    let told = World::new().runs_for(1_000_000).told(1, 900_000);
    says(
        &told,
        &[
            "At 0.900 s replica 1 did not lead: it followed replica 0, with ballot 0.",
            "Replica 0 led with ballot 0, since 0.0",
            "It had heard a serving leader ",
            "It had not tried to lead in this life.",
        ],
    );
    let told = World::new().runs_for(1_000_000).told(0, 900_000);
    says(&told, &["At 0.900 s replica 0 did lead: with ballot 0, for 89"]);
}

#[test]
fn a_replica_that_does_not_hear_the_leader_is_refused_by_one_that_does() {
    let world = World::new().runs_for(1_000_000).without([0, 2]).runs_for(1_500_000);
    let told = world.told(2, 2_400_000);
    says(
        &told,
        &[
            "replica 2 did not lead",
            "Replica 0 led with ballot 0",
            "it asked for pre-votes for ballot 2.",
            "Replica 0 did not get the question.",
            "Replica 1 refused: it heard replica 0 lead with ballot 0.",
            "that was over: no quorum granted it in time.",
        ],
    );
}

#[test]
fn a_replica_alone_is_answered_by_nobody_and_a_leader_alone_is_heard_by_nobody() {
    let alone = || World::new().runs_for(1_000_000).without([0, 1]).without([0, 2]);
    let told = alone().without([1, 2]).runs_for(5_000_000).told(1, 5_900_000);
    says(
        &told,
        &[
            "replica 1 did not lead",
            "No other replica led then",
            "Replica 0 did not get the question. Replica 2 did not get the question.",
        ],
    );
    let told = alone().without([1, 2]).runs_for(5_000_000).told(0, 5_900_000);
    says(&told, &["replica 0 did not lead"]);
}

#[test]
fn a_moment_outside_of_the_traces_is_named() {
    let told = World::new().runs_for(1_000_000).told(1, 9_000_000);
    assert_eq!(told, "At 9.000 s replica 1 did not lead: it had ended at 1.000 s.");
    let told = World::new().runs_for(1_000_000).told(7, 500_000);
    assert_eq!(told, "At 0.500 s replica 7 did not lead: it has no trace here.");
}
