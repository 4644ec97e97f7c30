//! Floods: one peer or many clients send so much that a bound must hold.
//!
//! A role gets far more messages of one kind than it may keep, and none of them is wrong.
//! **What must hold:** the memory that it holds in the end, as the allocator counts it, is
//! within the role's own bounds, for bytes and for table entries together.

use crate::node::{membership, settings, voter};
use allocation_counter::measure;
use datagrams::codec::BodyKind;
use datagrams::counters::Counters;
use datagrams::fragment::{BYTES_MAX, Cut, Fragment, Reassembler, SETS_MAX};
use multipaxos::message::{
    Accept, AcceptedValues, Decided, Heartbeat, LogHash, Party, Promise, Request, Run, Span,
    ToAcceptor, ToLearner, ToProposer,
};
use multipaxos::net::frame::{self, ClusterCell, Decoder, Guard, Identity};
use multipaxos::net::{Endpoint, Incoming};
use multipaxos::paxos::acceptor::{self, Acceptor};
use multipaxos::paxos::learner::{self, Checkpoint, Learner};
use multipaxos::paxos::pace::Waits;
use multipaxos::paxos::phase1::Phase1;
use multipaxos::paxos::phase2::{IN_FLIGHT_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_MAX};
use multipaxos::paxos::proposer::{self, Proposer};
use multipaxos::paxos::{
    ACCEPT_BYTES_MAX, ACCEPT_SLOTS_MAX, ANSWER_BYTES_MAX, Outbox, PROPOSE_WINDOW_SLOTS, Role,
    Storage,
};
use multipaxos::storage::memory::Volatile;
use multipaxos::types::{
    Address, Attempt, Ballot, BootId, ClusterId, LINE_BYTES_MAX, ReplicaId, Slot, SlotRange, Time,
};
use multipaxos::values::Values;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const R0: ReplicaId = ReplicaId(0);
const R1: ReplicaId = ReplicaId(1);

/// The largest size of a table entry, without its line.
const ENTRY_BYTES: usize = 512;

/// The number of clients that may wait at a learner, and the bytes of their lines together.
const WAITING_MAX: usize = 65_536;
const WAITING_BYTES_MAX: usize = 16 << 20;

fn address(number: u64) -> Address {
    Address(SocketAddr::from((Ipv4Addr::LOCALHOST, number as u16)))
}

/// A request with a session of its own.
fn request(number: u64, bytes: usize) -> Request {
    Request::new(number, number, 0, &"x".repeat(bytes))
}

/// The growth of a role's memory over all these inputs, in bytes.
fn held<R: Role>(role: &mut R, inputs: impl Iterator<Item = R::Input>) -> usize
where
    Volatile: Storage<R::Record>,
{
    let info = measure(|| {
        let mut out = Outbox::new();
        for input in inputs {
            role.handle(Time(1), 0, input, &mut out);
            role.flush(Time(1), &mut out);
            drop(out.commit(&mut Volatile));
        }
    });
    usize::try_from(info.bytes_current).unwrap_or(0)
}

fn assert_within(held: usize, least: usize, most: usize) {
    assert!((least..=most).contains(&held), "{held} bytes are held, not {least} to {most}");
}

fn acceptor() -> Acceptor {
    Acceptor::new(settings(3, R0, 1), membership(3, R0, true), Default::default())
}

fn accept(slot: u64, values: Values) -> acceptor::Input {
    let (ballot, first, decided) = (Ballot(1), Slot(slot), Decided::default());
    acceptor::Input::Peer(R1, ToAcceptor::Accept(Accept { ballot, first, values, decided }))
}

#[test]
fn an_acceptor_holds_no_more_bytes_than_it_says() {
    let long = |slot| accept(slot, request(slot, LINE_BYTES_MAX).commands);
    let up = held(&mut acceptor(), (0..1_500).map(long));
    assert_within(up, ACCEPT_BYTES_MAX, ACCEPT_BYTES_MAX + 2 * LINE_BYTES_MAX + (1 << 20));
    let most = 2 * ACCEPT_BYTES_MAX;
    let down = held(&mut acceptor(), (0..3_000).rev().map(long));
    assert_within(down, most, most + 2 * LINE_BYTES_MAX + (1 << 20));
}

#[test]
fn an_acceptor_holds_no_more_slots_than_it_says() {
    let most = ACCEPT_SLOTS_MAX as usize;
    let short = |slot: u64| accept(2 * slot, request(slot, 0).commands);
    let mut acceptor = acceptor();
    let up = held(&mut acceptor, (1_000_000..1_140_000).map(short));
    assert_eq!(acceptor.state().len(), most);
    assert_within(up, 1 << 20, most * ENTRY_BYTES);
    let down = held(&mut acceptor, (860_000..1_000_000).rev().map(short));
    assert_eq!(acceptor.state().len(), 2 * most);
    assert_within(down, 1 << 20, most * ENTRY_BYTES);
}

#[test]
fn an_acceptor_accepts_by_name_no_more_in_a_burst_than_a_leader_has_in_flight() {
    let mut acceptor = acceptor();
    let lines = (0..1_000).map(|slot| accept(slot, request(slot, LINE_BYTES_MAX).commands));
    held(&mut acceptor, lines);
    // Each names all that the acceptor holds, in some thirty bytes.
    let all = SlotRange::with_len(Slot(0), 1 << 20);
    let named = |step: u64| {
        let (before, ballot) = (Ballot(1 + 3 * step), Ballot(4 + 3 * step));
        let held = [Span { slots: all, ballot: before }].into_iter().collect();
        acceptor::Input::Peer(R1, ToAcceptor::AcceptHeld { ballot, held })
    };
    let mut out = Outbox::new();
    (0..100).for_each(|step| acceptor.handle(Time(1), 0, named(step), &mut out));
    acceptor.flush(Time(1), &mut out);
    let mut written = Written::default();
    out.commit(&mut written).expect("it is only counted");
    let most = IN_FLIGHT_BYTES_MAX + 2 * LINE_BYTES_MAX;
    assert!((IN_FLIGHT_BYTES_MAX..most).contains(&written.0), "{} bytes", written.0);
    // The next burst goes on.
    acceptor.handle(Time(2), 0, named(0), &mut out);
    acceptor.handle(Time(2), 0, named(1), &mut out);
    acceptor.flush(Time(2), &mut out);
    let mut again = Written::default();
    out.commit(&mut again).expect("it is only counted");
    assert!(again.0 < most, "{} bytes", again.0);
}

/// How many bytes of values were accepted.
#[derive(Debug, Default)]
struct Written(usize);

impl Storage<acceptor::Record> for Written {
    fn append(&mut self, records: &mut Vec<acceptor::Record>) -> std::io::Result<()> {
        for record in records.drain(..) {
            if let acceptor::Record::Accept(run) = record {
                self.0 += run.values.bytes().len();
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_candidate_holds_no_more_spans_than_acceptors_may_hold_slots() {
    let ballot = Ballot(3);
    let mut phase1 = Phase1::begin(
        settings(3, R0, 1),
        membership(3, R0, true).started(),
        voter(R0),
        ballot,
        Slot(0),
        Waits::default(),
        Time(0),
        &mut nowhere(),
    );
    phase1.handle_own_promise(Time(0), Slot(0), Vec::new(), &mut nowhere());
    let page = |part: u64| {
        let first = 4_000 * part;
        let span = |at: u64| Span {
            slots: SlotRange::with_len(Slot(first + 2 * at), 1),
            ballot: Ballot(0),
        };
        Promise {
            ballot,
            voter: voter(R1),
            slots: SlotRange::with_len(Slot(first), 4_000),
            last: false,
            trimmed: Slot(0),
            accepted: (0..2_000).map(span).collect(),
        }
    };
    let info = measure(|| {
        for part in 0..200 {
            phase1.handle_promise(Time(1), R1, &page(part), &mut nowhere());
        }
    });
    let most = 2 * ACCEPT_SLOTS_MAX as usize * size_of::<Span>();
    assert_within(usize::try_from(info.bytes_current).unwrap_or(0), most / 2, 2 * most + (1 << 16));
}

#[test]
fn a_candidate_holds_no_more_bytes_of_values_than_acceptors_may_hold() {
    let ballot = Ballot(3);
    let mut phase1 = Phase1::begin(
        settings(3, R0, 1),
        membership(3, R0, true).started(),
        voter(R0),
        ballot,
        Slot(0),
        Waits::default(),
        Time(0),
        &mut nowhere(),
    );
    phase1.handle_own_promise(Time(0), Slot(0), Vec::new(), &mut nowhere());
    let slots = SlotRange::with_len(Slot(0), 1 << 40);
    let promise = Promise {
        ballot,
        voter: voter(R1),
        slots,
        last: true,
        trimmed: Slot(0),
        accepted: [Span { slots, ballot: Ballot(1) }].into_iter().collect(),
    };
    phase1.handle_promise(Time(1), R1, &promise, &mut nowhere());
    let values = |slot: u64| {
        let values = request(slot, LINE_BYTES_MAX).commands;
        let accepted = vec![Run { first: Slot(slot), ballot: Ballot(1), values }];
        AcceptedValues { ballot, trimmed: Slot(0), accepted, last: false }
    };
    let info = measure(|| {
        for slot in 0..7_000 {
            phase1.handle_values(Time(1), R1, values(slot), &mut nowhere());
        }
    });
    let most = 3 * 2 * ACCEPT_BYTES_MAX;
    assert_within(
        usize::try_from(info.bytes_current).unwrap_or(0),
        most / 2,
        most + 2 * LINE_BYTES_MAX + (1 << 21),
    );
}

fn nowhere() -> Outbox<()> {
    Outbox::new()
}

/// A proposer that leads ballot 0. Its acceptor does not answer any more.
fn leader() -> Proposer {
    let mut proposer = Proposer::new(settings(3, R0, 1), membership(3, R0, true), Time(0), 0);
    let mut out = Outbox::new();
    proposer.handle_timeout(Time(0), 0, &mut out);
    let (ballot, accepted) = (Ballot(0), Vec::new());
    let input = proposer::Input::OwnPromise { ballot, first: Slot(0), trimmed: Slot(0), accepted };
    proposer.handle(Time(0), 0, input, &mut out);
    assert_eq!(proposer.leading(), Some(Ballot(0)));
    proposer
}

#[test]
fn a_leader_that_gets_nothing_decided_holds_a_bounded_queue() {
    let next = |number: u64, bytes: usize| proposer::Input::RequestIsNext {
        origin: address(number),
        request: request(number, bytes),
    };
    let few = held(&mut leader(), (0..400).map(|number| next(number, LINE_BYTES_MAX)));
    let lines = QUEUE_BYTES_MAX + IN_FLIGHT_BYTES_MAX;
    assert_within(few, lines - 2 * LINE_BYTES_MAX, lines + 4 * LINE_BYTES_MAX);
    let many = held(&mut leader(), (0..100_000).map(|number| next(number, 20)));
    let entries = QUEUE_MAX + PROPOSE_WINDOW_SLOTS as usize;
    assert_within(many, entries * 57, entries * ENTRY_BYTES);
}

/// A short command waits. A long command of the same session comes with it, and is refused
/// because another command of its session is in flight.
#[test]
fn a_command_in_the_queue_keeps_nothing_else_alive() {
    let line = "x".repeat(LINE_BYTES_MAX - 200);
    let mut leader = leader();
    let fill = (0..PROPOSE_WINDOW_SLOTS).map(|number| proposer::Input::RequestIsNext {
        origin: address(number),
        request: request(number, 0),
    });
    held(&mut leader, fill);
    let asked = |number: u64| {
        let long = Request::new(0, 1 << 40, 7, &line);
        let commands = [&long, &request(number, 0)].map(|one| one.commands.get(0).to_value());
        let request =
            Request { commands: commands.to_vec().into(), after: Slot(0), attempt: Attempt::FIRST };
        proposer::Input::RequestIsNext { origin: address(number), request }
    };
    let before = Request::new(0, 1 << 40, 3, "");
    held(
        &mut leader,
        [proposer::Input::RequestIsNext { origin: address(0), request: before }].into_iter(),
    );
    let held = held(&mut leader, (100_000..101_000).map(asked));
    assert_within(held, 1_000 * 37, 1_000 * ENTRY_BYTES);
}

fn learner() -> Learner {
    Learner::new(settings(3, R0, 1), membership(3, R0, true), Checkpoint::default())
}

#[test]
fn a_learner_lets_a_bounded_number_of_clients_wait() {
    let held_for = |number: u64, bytes: usize| learner::Input::RequestNotProposed {
        origin: address(number),
        request: request(number, bytes),
        direct: true,
    };
    let few = held(&mut learner(), (0..400).map(|number| held_for(number, LINE_BYTES_MAX)));
    assert_within(few, WAITING_BYTES_MAX - LINE_BYTES_MAX, WAITING_BYTES_MAX + (1 << 20));
    let many = held(&mut learner(), (0..200_000).map(|number| held_for(number, 20)));
    assert_within(many, WAITING_MAX * 57, WAITING_MAX * ENTRY_BYTES);
}

/// (A find: a waiting command was a view of its whole datagram and kept it in memory. So a
/// client could make a replica hold a datagram for each of its shortest commands.)
#[test]
fn a_command_that_waits_keeps_nothing_else_alive() {
    let held_for = |number: u64| {
        // The first command can never be served any more, and gets its answer at once.
        let long = Request::new(number, number, 1, &"x".repeat(LINE_BYTES_MAX - 200));
        let commands = [&long, &request(number, 0)].map(|one| one.commands.get(0).to_value());
        let request =
            Request { commands: commands.to_vec().into(), after: Slot(0), attempt: Attempt::FIRST };
        learner::Input::RequestNotProposed { origin: address(number), request, direct: true }
    };
    let mut learner = learner();
    let held = held(&mut learner, (0..1_000).map(held_for));
    assert_within(held, 1_000 * 37, 1_000 * ENTRY_BYTES);
}

#[test]
fn a_learner_keeps_a_bounded_part_of_what_comes_too_early() {
    let mut learner = learner();
    let heartbeat = Heartbeat {
        voter: voter(R1),
        written: 0,
        round: 1,
        echo: 0,
        held_us: 0,
        sync_ms: 0,
        ballot: Ballot(1),
        leading: true,
        campaigning: false,
        promised: None,
        applied: Slot(60_000),
        history: LogHash::default(),
        decided: Decided::default(),
        inherited: Slot::ZERO,
        seen: None,
    };
    let page = |number: u64| {
        let (first, values) = (Slot(2 * number + 1), request(number, LINE_BYTES_MAX).commands);
        learner::Input::Peer(R1, ToLearner::Page { first, values })
    };
    let heartbeat = learner::Input::Heartbeat(R1, Box::new(heartbeat));
    let held = held(&mut learner, [heartbeat].into_iter().chain((0..2_000).map(page)));
    assert_eq!(learner.applied(), Slot(0));
    assert_within(held, ANSWER_BYTES_MAX, (2 << 20) + 2 * LINE_BYTES_MAX);
}

#[test]
fn a_learner_counts_votes_within_a_window() {
    let mut learner = learner();
    let proposed = learner::Input::Proposed {
        start: Slot(0),
        run: Run { first: Slot(0), ballot: Ballot(0), values: request(0, 1).commands },
        requesters: Default::default(),
    };
    // No two of these slots are neighbours, and all are far above the proposed ones.
    let votes = |part: u64| {
        let slots = (0..1_000).map(|at| SlotRange::with_len(Slot(2 * (1_000 * part + at) + 1), 1));
        let (ballot, voter, slots) = (Ballot(0), voter(R1), slots.collect::<Vec<_>>().into());
        learner::Input::Peer(R1, ToLearner::Accepted { ballot, voter, slots })
    };
    let held = held(&mut learner, [proposed].into_iter().chain((0..100).map(votes)));
    assert_within(held, 1 << 18, ACCEPT_SLOTS_MAX as usize / 2 * 64);
}

#[test]
fn unfinished_messages_take_bounded_memory_for_peers_and_for_clients() {
    for is_peer in [true, false] {
        let mut reassembler = Reassembler::new(Arc::new(Counters::new()));
        let bytes = vec![7; 65_000];
        let cut = Cut { digest: 0, total: 65_001, piece: 65_000 };
        let info = measure(|| {
            for number in 0..4_000u64 {
                let from = match is_peer {
                    true => Endpoint::Replica(ReplicaId((number % 60) as u8)),
                    false => Endpoint::Client(address(number)),
                };
                let cut = Cut { digest: number, ..cut };
                let fragment = Fragment { cut, index: 0, bytes: &bytes };
                reassembler.insert(1, from, 1, 1, fragment);
            }
        });
        let held = usize::try_from(info.bytes_current).unwrap_or(0);
        assert_within(held, BYTES_MAX - 65_000, BYTES_MAX + SETS_MAX * 2 * ENTRY_BYTES);
    }
}

#[test]
fn the_lives_of_a_replica_that_are_remembered_are_few() {
    let identity = |me: ReplicaId, boot: u64| {
        let cluster = ClusterCell::new();
        cluster.set(ClusterId(1));
        Identity {
            n: 3,
            rows: 3,
            me: Party::Replica(me),
            boot: BootId(boot),
            cluster,
            guard: Guard::none(),
        }
    };
    let mut decoder = Decoder::new(identity(R0, 1), Arc::new(Counters::new()));
    let body = postcard::to_stdvec(&multipaxos::message::Message::Proposer(ToProposer::PreVote {
        ballot: Ballot(1),
        round: 1,
    }));
    let body = body.expect("it can be encoded");
    let mut taken = Vec::with_capacity(4);
    let info = measure(|| {
        for boot in 0..20_000 {
            let mut bytes = Vec::new();
            frame::begin(&mut bytes);
            bytes.extend_from_slice(&body);
            let (from, to) = (identity(R1, boot), Party::Replica(R0));
            frame::seal(&from, to, ClusterId(1), BodyKind::Messages, 1, &mut bytes);
            let opened = decoder.open(address(1), &bytes, &mut taken);
            let told = |it: &Incoming| matches!(it, Incoming::Life { .. });
            assert_eq!(taken.iter().filter(|it| !told(it)).count(), 1);
            assert!(opened.is_ok() && taken.len() <= 3);
            taken.clear();
        }
    });
    assert_within(usize::try_from(info.bytes_current).unwrap_or(0), 16 * 8, 1_024);
}
