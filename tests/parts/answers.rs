//! A client is answered whatever the order in which a replica's threads get round to
//! what they are told. Each test is an order that really happened, and cost the client
//! a wait for its own retry.

use multipaxos::message::Run;
use multipaxos::message::{Answer, Request, ToLearner, Voter};
use multipaxos::paxos::learner::{Checkpoint, Input, Learner};
use multipaxos::paxos::{Envelope, Limits, Membership, Notice, Outbox, Role, Settings, proposer};
use multipaxos::requesters::{Asker, Origin};
use multipaxos::storage::memory::Volatile;
use multipaxos::types::{
    Address, Attempt, Ballot, BootId, ClusterId, DirectoryId, ReplicaId, Slot, SlotRange, Time,
    Value,
};

const DIRECTORIES: [DirectoryId; 3] = [DirectoryId(10), DirectoryId(11), DirectoryId(12)];

fn learner(id: u8) -> Learner {
    let settings = Settings {
        id: ReplicaId(id),
        n: 3,
        places: 3,
        boot: BootId(1),
        payload_bytes: 1_369,
        heartbeat_us: 50_000,
        election_min_us: 300_000,
        election_max_us: 600_000,
        checkpoint_slots: 4_096,
        skip_slot: None,
        limits: Limits::DEFAULT,
    };
    let membership = Membership {
        cluster: ClusterId(1),
        voter: voter(id),
        members: DIRECTORIES.to_vec(),
        memories: Vec::new(),
        fresh: true,
    };
    Learner::new(settings, membership, Checkpoint::default())
}

fn voter(id: u8) -> Voter {
    Voter { directory: DIRECTORIES[usize::from(id)], boot: BootId(1), begun: 0 }
}

fn client() -> Address {
    Address("127.0.0.1:9000".parse().expect("an address"))
}

fn value(seq: u64) -> Value {
    Value::Command(Request::new(7, 1, seq, "hello").command())
}

/// Gives the learner one input and whatever time asks for, and takes what leaves it.
fn give(learner: &mut Learner, now: u64, input: Option<Input>) -> Vec<Envelope> {
    let (now, mut out) = (Time(now), Outbox::new());
    match input {
        Some(input) => learner.handle(now, 0, input, &mut out),
        None => learner.handle_timeout(now, 0, &mut out),
    }
    learner.flush(now, &mut out);
    out.commit(&mut Volatile).expect("it takes everything")
}

fn answers(envelopes: &[Envelope]) -> Vec<&Answer> {
    let mut found = Vec::new();
    for envelope in envelopes {
        if let Envelope::Answers { to, answers } = envelope {
            assert_eq!(*to, client());
            found.extend(answers);
        }
    }
    found
}

fn to_proposer(envelopes: &[Envelope]) -> Vec<&proposer::Input> {
    let mut found = Vec::new();
    for envelope in envelopes {
        if let Envelope::Notice(Notice::Proposer(input)) = envelope {
            found.push(input);
        }
    }
    found
}

/// The proposer's thread was interrupted between the acceptors and its own learner:
/// votes, and the value from the own acceptor, were there before the proposal was.
#[test]
fn a_line_that_was_decided_before_its_proposal_was_heard_is_answered() {
    let mut learner = learner(0);
    for voter in [0, 1] {
        let votes = ToLearner::Accepted {
            ballot: Ballot::ZERO,
            voter: self::voter(voter),
            slots: vec![SlotRange::with_len(Slot(0), 1)].into(),
        };
        give(&mut learner, 1_000, Some(Input::Peer(ReplicaId(voter), votes)));
    }
    let voted = Input::OwnAccepted {
        runs: vec![Run { first: Slot(0), ballot: Ballot(0), values: (&value(0)).into() }],
        decided: Default::default(),
    };
    let out = give(&mut learner, 1_100, Some(voted));
    assert_eq!(learner.applied(), Slot(1));
    assert_eq!(answers(&out), [] as [&Answer; 0], "nobody is known to wait");
    let asker = Asker { address: client(), after: Slot(0), attempt: Attempt::FIRST };
    let proposed = Input::Proposed {
        start: Slot(0),
        run: Run { first: Slot(0), ballot: Ballot::ZERO, values: vec![value(0)].into() },
        requesters: [Origin::new(1, Some(asker))].into_iter().collect(),
    };
    let out = give(&mut learner, 1_200, Some(proposed));
    let session = Request::new(7, 1, 0, "").command().session;
    let complete =
        Answer::Complete { session, seq: 0, slot: Slot(0), client_seq: 0, attempt: Attempt::FIRST };
    assert_eq!(answers(&out), [&complete]);
}

/// The leader died after it completed line 0 and before it told anybody; line 1 has
/// been sent to all. Whoever leads next applies line 0 and must then know of line 1.
#[test]
fn a_line_ahead_of_this_log_is_held_and_served_once_it_is_next() {
    let mut learner = learner(1);
    let request = Request { after: Slot(1), ..Request::new(7, 1, 1, "hello") };
    let held =
        Input::RequestNotProposed { origin: client(), request: request.clone(), direct: true };
    give(&mut learner, 1_000, Some(held));
    give(&mut learner, 2_000, Some(Input::Leading(Ballot(1))));
    let out = give(&mut learner, 500_000, None);
    let told = to_proposer(&out);
    let calm = matches!(told[..], [proposer::Input::Progress { pending: None, .. }]);
    assert!(calm, "not the next one yet, and so nothing that waits: {told:?}");

    let page = ToLearner::Page { first: Slot(0), values: vec![value(0)].into() };
    give(&mut learner, 500_100, Some(Input::Peer(ReplicaId(2), page)));
    assert_eq!(learner.applied(), Slot(1));
    assert!(learner.deadline() <= Some(Time(500_100)), "at once, not at its next retry");
    let out = give(&mut learner, 500_100, None);
    let expected = proposer::Input::RequestIsNext { origin: client(), request };
    assert!(to_proposer(&out).contains(&&expected), "{out:?}");
}
