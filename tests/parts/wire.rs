//! What travels: golden datagrams, hostile bytes, fragments under loss, real sockets.
//!
//! `tests/golden/<kind>.hex` holds one datagram of each kind, byte by byte as it
//! travels, 32 bytes a line. A change of format shows up there, in the review.
//! `UPDATE_GOLDEN=1 cargo test --test parts wire::` writes them anew.

use datagrams::codec::Endpoint as _;
use datagrams::codec::{Body, BodyKind, Departure, Opened, Sink, probe_body};
use datagrams::counters::{Counters, NetEvent};
use datagrams::fragment::{Fragment, Fragmenter, Missing, Reassembler};
use datagrams::loss::Gate;
use datagrams::path::receipt::Stamp;
use multipaxos::machine::Response;
use multipaxos::members::{Configuration, Member, Moved};
use multipaxos::message::{
    Accept, AcceptedValues, Answer, ClientMessage, Conduct, Decided, Excerpt, FollowQuery,
    HandOver, Heard, Heartbeat, Inquiry, Leadership, LogHash, LostState, MemberChange,
    MembersAnswer, MembersQuery, Message, Observer, Obstacle, Party, Promise, Ready, Request,
    Responded, Run, Seen, Span, Spans, Status, StatusQuery, ToAcceptor, ToBootstrap, ToLearner,
    ToProposer, Usage, VoteAim, Voter, Voters, Wish,
};
use multipaxos::net::frame::{
    self, CLIENT_MESSAGE_BYTES_MIN, ClusterCell, Decoder, Guard, HEADER_BYTES, Identity,
};
use multipaxos::net::pack::Packer;
use multipaxos::net::{BoundSocket, Deliver, Network, NetworkConfig};
use multipaxos::net::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MIN, Endpoint, Incoming, Outgoing};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{
    Address, Attempt, Ballot, BootId, ClientId, ClusterId, Command, DirectoryId, LINE_BYTES_MAX,
    Line, Origin, ReplicaId, Session, Slot, SlotRange, Value,
};
use multipaxos::values::Values;
use seeds::stream;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const N: usize = 5;
const CLUSTER: ClusterId = ClusterId(0x1122_3344_5566_7788);
const PEER: Party = Party::Replica(ReplicaId(3));
const ME: Party = Party::Replica(ReplicaId(0));

fn client_address() -> Address {
    Address("10.1.2.3:45678".parse().expect("an address"))
}

fn identity(me: Party) -> Identity {
    let cluster = ClusterCell::new();
    cluster.set(CLUSTER);
    Identity { n: N, rows: N, me, boot: BootId(0xB007_0001), cluster, guard: Guard::none() }
}

fn session() -> Session {
    Session { client: ClientId(7), id: 0xABCD_EF01_2345 }
}

fn request() -> Request {
    let command = Command {
        session: session(),
        seq: 41,
        birth: Slot(1_000),
        line: Line::from("grüß dich, 世界"),
    };
    Request::of(&command, Slot(1_041))
}

fn values() -> Values {
    vec![Value::Noop, Value::Command(request().command())].into()
}

fn decided() -> Decided {
    Decided { ballot: Ballot(8), slots: SlotRange::new(Slot(900), Slot(1_040)) }
}

/// Two spans from `slot` on.
fn spans(slot: Slot) -> Spans {
    let span = |first: u64, len, ballot| Span {
        slots: SlotRange::with_len(slot.plus(first), len),
        ballot: Ballot(ballot),
    };
    [span(0, 1, 3), span(5, 300, 5)].into_iter().collect()
}

/// One message of every kind, under the name of its golden file.
fn every_message() -> Vec<(&'static str, Outgoing)> {
    let (ballot, slot) = (Ballot(8), Slot(1_042));
    let directory = DirectoryId(0xD1);
    let voter = Voter { directory, boot: BootId(0xB007_0001), begun: 5_000 };
    let (acceptor, proposer) = (Message::Acceptor, Message::Proposer);
    let (learner, replica) = (Message::Learner, Message::Bootstrap);
    let peer = |message| Outgoing::Peer { to: ReplicaId(0), message };
    let answer = |answer| Outgoing::Answers { to: client_address(), answers: vec![answer] };
    let complete = |attempt, response| {
        let (session, client_seq) = (session(), 500);
        answer(Responded { session, seq: 41, slot, client_seq, attempt, response }.into())
    };
    let empty = || Some(Response::EMPTY);
    let call = |message| Outgoing::Call { to: ReplicaId(0), message };
    vec![
        (
            "ready",
            peer(replica(ToBootstrap::Ready(Box::new(Ready {
                directory,
                boot: BootId(0xB1),
                round: 3,
                answers: Some(Heard { boot: BootId(0xB2), round: 4 }),
                started: Some((0..5).map(|id| DirectoryId(0xD0 + id)).collect()),
                list: 0xABCD,
                origin: Some(Origin { end: Slot(700), bytes: 9_000, hash: 0xF1 }),
            })))),
        ),
        ("not_member", peer(replica(ToBootstrap::NotMember { directory }))),
        ("forgotten", peer(replica(ToBootstrap::Forgotten { boot: BootId(0xB1), known: 7_000 }))),
        (
            "lost_state",
            peer(replica(ToBootstrap::LostState(LostState {
                by: ReplicaId(2),
                known: 7_000,
                begun: 5_000,
            }))),
        ),
        ("prepare", peer(acceptor(ToAcceptor::Prepare { ballot, first: slot, voter }))),
        (
            "accept",
            peer(acceptor(ToAcceptor::Accept(Accept {
                ballot,
                first: slot,
                values: values(),
                decided: decided(),
            }))),
        ),
        (
            "promise",
            peer(proposer(ToProposer::Promise(Promise {
                ballot,
                voter,
                slots: SlotRange::new(slot, Slot(1_050)),
                last: true,
                trimmed: Slot(900),
                accepted: spans(slot),
            }))),
        ),
        (
            "fetch_accepted",
            peer(acceptor(ToAcceptor::FetchAccepted { ballot, wanted: spans(slot) })),
        ),
        ("accept_held", peer(acceptor(ToAcceptor::AcceptHeld { ballot, held: spans(slot) }))),
        (
            "accepted_values",
            peer(proposer(ToProposer::AcceptedValues(AcceptedValues {
                ballot,
                trimmed: Slot(900),
                accepted: vec![Run { first: slot, ballot: Ballot(3), values: request().commands }],
                last: true,
            }))),
        ),
        (
            "leaving",
            peer(proposer(ToProposer::Leaving {
                boot: BootId(7),
                hand_over: Some(HandOver { ballot, to: ReplicaId(2) }),
            })),
        ),
        (
            "observes",
            peer(proposer(ToProposer::Observes {
                directory: DirectoryId(0xD1),
                applied: slot,
                vote: VoteAim::OfLostDisk,
            })),
        ),
        ("nack", peer(proposer(ToProposer::Nack { ballot, promised: Ballot(9) }))),
        ("pre_vote", peer(proposer(ToProposer::PreVote { ballot, round: 2 }))),
        (
            "pre_vote_reply",
            peer(proposer(ToProposer::PreVoteReply {
                round: 2,
                granted: true,
                promised: Some(Ballot(5)),
                voter,
            })),
        ),
        (
            "forward",
            peer(proposer(ToProposer::Forward { origin: client_address(), request: request() })),
        ),
        (
            "accepted",
            peer(learner(ToLearner::Accepted {
                ballot,
                voter,
                slots: vec![SlotRange::with_len(slot, 300), SlotRange::with_len(Slot(1_400), 1)]
                    .into(),
            })),
        ),
        ("fetch", peer(learner(ToLearner::Fetch { slots: SlotRange::new(slot, Slot(2_000)) }))),
        ("page", peer(learner(ToLearner::Page { first: slot, values: values() }))),
        (
            "heartbeat",
            peer(Message::Heartbeat(Box::new(Heartbeat {
                voter,
                written: 5_123,
                round: 77,
                echo: 76,
                held_us: 12_345,
                sync_ms: 678,
                ballot,
                leading: true,
                campaigning: true,
                promised: Some(ballot),
                applied: Slot(1_040),
                history: LogHash { slot: Slot(1_040), hash: 0x5c1f_90ab },
                decided: decided(),
                inherited: Slot(1_050),
                seen: Some(Seen {
                    of: ReplicaId(2),
                    boot: BootId(0x5c1f_90ab),
                    at: Some(client_address()),
                    reached: 75,
                }),
            }))),
        ),
        ("hello", call(ClientMessage::Hello)),
        ("request", call(ClientMessage::Request(request()))),
        (
            "inquiry",
            call(ClientMessage::Inquiry(Box::new(Inquiry {
                session: session(),
                birth: slot,
                seq: 41,
                after: slot,
            }))),
        ),
        ("welcome", answer(Answer::Welcome { applied: slot, ballot })),
        ("complete", complete(Attempt::FIRST, empty())),
        ("complete_by", complete(Attempt::after(2), empty())),
        ("complete_with", complete(Attempt::FIRST, Some("a machine's answer".into()))),
        ("complete_without", complete(Attempt::FIRST, None)),
        ("expired", answer(Answer::Expired { session: session(), seq: 41 })),
        ("leader", answer(Answer::Leader { ballot })),
        ("born_too_early", answer(Answer::BornTooEarly { session: session(), seq: 41 })),
        ("held", answer(Answer::Held { session: session(), seq: 41, ballot })),
        ("status_query", call(ClientMessage::Status(StatusQuery { below: slot }))),
        ("status", answer(Answer::Status(Box::new(status(slot, ballot))))),
        ("usage", answer(Answer::Usage(Box::new(usage())))),
        (
            "follow_query",
            call(ClientMessage::Follow(FollowQuery { slot, offset: 70_000, room: 100 })),
        ),
        ("log", answer(Answer::Log(Box::new(excerpt(slot))))),
        ("mark_query", call(ClientMessage::Mark { read: 0x5c1f_90ab })),
        (
            "mark",
            answer(Answer::Mark {
                read: 0x5c1f_90ab,
                mark: slot,
                by: Voters { configuration: 3, members: members(slot).heard },
            }),
        ),
        ("members_query", call(ClientMessage::Members(MembersQuery { number: 7, wish: None }))),
        (
            "wish",
            call(ClientMessage::Members(MembersQuery {
                number: 7,
                wish: Some(Wish {
                    base: 3,
                    change: MemberChange::Replace(ReplicaId(2)),
                    forced: true,
                }),
            })),
        ),
        ("members", answer(Answer::Members(Box::new(members(slot))))),
        (
            "moved",
            answer(Answer::Moved {
                configuration: 3,
                moved: Moved { id: ReplicaId(2), to: client_address() },
            }),
        ),
    ]
}

fn status(slot: Slot, ballot: Ballot) -> Status {
    let conduct = Conduct::Campaigns;
    let leadership = Leadership {
        conduct,
        leader: Some(ballot),
        ballot,
        configuration: 0,
        members: ReplicaSet::EMPTY,
        sync_ms: 678,
    };
    Status { leadership, applied: slot, decided: slot, hash: Some(0x5c1f_90ab) }
}

fn members(slot: Slot) -> MembersAnswer {
    let at = Address(([10, 0, 0, 4], 7_003).into());
    let member = |id, address| Member { id: ReplicaId(id), directory: DirectoryId(70), address };
    let three = [member(0, None), member(2, None), member(3, Some(at))];
    let configuration = Some(Configuration::new(3, &three).expect("they rise"));
    let mut heard = ReplicaSet::EMPTY;
    heard.insert(ReplicaId(3));
    let (id, directory) = (ReplicaId(1), DirectoryId(71));
    let observers = vec![Observer { id, directory, applied: slot }];
    let obstacle = Some(Obstacle::Behind { applied: slot, of: Slot(9_000) });
    let (number, leads) = (7, true);
    MembersAnswer { number, leads, configuration, heard, observers, applied: slot, obstacle }
}

fn excerpt(slot: Slot) -> Excerpt {
    let text = b"1031 7 41 hello\n".to_vec();
    Excerpt { slot, offset: 70_000, text, rest: 300, applied: Slot(1_040) }
}

fn usage() -> Usage {
    let dropped = vec![("drop_check".to_owned(), 7), ("inbox_full".to_owned(), 300)];
    Usage { up_s: 90_000, memory_bytes: 6 << 20, disk_bytes: 1 << 30, dropped }
}

/// Fails to compile when a kind of message has been added: then add it above, too.
fn name_of(outgoing: &Outgoing) -> &'static str {
    match outgoing {
        Outgoing::Back { .. } => "not_member",
        Outgoing::Peer { message, .. } => match message {
            Message::Bootstrap(ToBootstrap::Ready(_)) => "ready",
            Message::Bootstrap(ToBootstrap::NotMember { .. }) => "not_member",
            Message::Bootstrap(ToBootstrap::Forgotten { .. }) => "forgotten",
            Message::Bootstrap(ToBootstrap::LostState(_)) => "lost_state",
            Message::Acceptor(ToAcceptor::Prepare { .. }) => "prepare",
            Message::Acceptor(ToAcceptor::Accept(_)) => "accept",
            Message::Acceptor(ToAcceptor::FetchAccepted { .. }) => "fetch_accepted",
            Message::Acceptor(ToAcceptor::AcceptHeld { .. }) => "accept_held",
            Message::Proposer(ToProposer::Promise(_)) => "promise",
            Message::Proposer(ToProposer::AcceptedValues(_)) => "accepted_values",
            Message::Proposer(ToProposer::Nack { .. }) => "nack",
            Message::Proposer(ToProposer::PreVote { .. }) => "pre_vote",
            Message::Proposer(ToProposer::PreVoteReply { .. }) => "pre_vote_reply",
            Message::Proposer(ToProposer::Forward { .. }) => "forward",
            Message::Proposer(ToProposer::Leaving { .. }) => "leaving",
            Message::Proposer(ToProposer::Observes { .. }) => "observes",
            Message::Learner(ToLearner::Accepted { .. }) => "accepted",
            Message::Learner(ToLearner::Fetch { .. }) => "fetch",
            Message::Learner(ToLearner::Page { .. }) => "page",
            Message::Heartbeat(_) => "heartbeat",
        },
        Outgoing::Answers { answers, .. } => match &answers[0] {
            Answer::Welcome { .. } => "welcome",
            Answer::Responded(completion) => match completion.response {
                Some(_) => "complete_with",
                None => "complete_without",
            },
            Answer::Complete { attempt: Attempt::FIRST, .. } => "complete",
            Answer::Complete { .. } => "complete_by",
            Answer::Expired { .. } => "expired",
            Answer::Leader { .. } => "leader",
            Answer::BornTooEarly { .. } => "born_too_early",
            Answer::Held { .. } => "held",
            Answer::Status(_) => "status",
            Answer::Usage(_) => "usage",
            Answer::Log(_) => "log",
            Answer::Mark { .. } => "mark",
            Answer::Members(_) => "members",
            Answer::Moved { .. } => "moved",
        },
        Outgoing::Call { message, .. } => match message {
            ClientMessage::Hello => "hello",
            ClientMessage::Request(_) => "request",
            ClientMessage::Inquiry(_) => "inquiry",
            ClientMessage::Status(_) => "status_query",
            ClientMessage::Follow(_) => "follow_query",
            ClientMessage::Mark { .. } => "mark_query",
            ClientMessage::Members(MembersQuery { wish: None, .. }) => "members_query",
            ClientMessage::Members(_) => "wish",
        },
    }
}

#[derive(Default)]
struct Collect(Vec<Vec<u8>>);

impl Sink<Endpoint> for Collect {
    fn datagram(&mut self, _: Endpoint, frame: &mut [u8], _: Departure) {
        self.0.push(frame.to_vec());
    }

    fn oversize(&mut self, _: Endpoint, _: u64, message: &[u8]) {
        panic!("{} bytes fit no datagram", message.len());
    }

    fn length(&self, _: Endpoint) -> usize {
        DATAGRAM_BYTES_DEFAULT
    }
}

/// Who sends `outgoing`, and who takes it.
fn parties(outgoing: &Outgoing) -> (Party, Party) {
    match outgoing {
        Outgoing::Peer { .. } | Outgoing::Back { .. } => (PEER, ME),
        Outgoing::Answers { .. } => (PEER, Party::Client),
        Outgoing::Call { .. } => (Party::Client, ME),
    }
}

fn datagram(outgoing: &Outgoing) -> Vec<u8> {
    let mut packer = Packer::new(identity(parties(outgoing).0));
    let mut sink = Collect::default();
    packer.add(outgoing, &mut sink);
    packer.flush(&mut sink);
    assert_eq!(sink.0.len(), 1);
    sink.0.remove(0)
}

fn incoming(outgoing: &Outgoing) -> Incoming {
    let from = ReplicaId(3);
    match outgoing.clone() {
        Outgoing::Back { message, .. }
        | Outgoing::Peer { message: Message::Bootstrap(message), .. } => {
            Incoming::WarmUp { from, at: client_address(), message }
        }
        Outgoing::Peer { message, .. } => Incoming::Peer { from, message },
        Outgoing::Answers { mut answers, .. } => {
            Incoming::Answer { from, answer: answers.remove(0) }
        }
        Outgoing::Call { message, .. } => Incoming::Client { from: client_address(), message },
    }
}

fn decoder(me: Party) -> Decoder {
    Decoder::new(identity(me), Arc::new(Counters::new()))
}

fn part_frame(kind: BodyKind, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    write(&mut frame);
    frame::seal(&identity(PEER), ME, CLUSTER, kind, 1, &mut frame);
    frame
}

/// A datagram of the peer, opened.
fn from_peer(body: Body<'_>) -> Opened<'_, Endpoint> {
    let (from, boot) = (Endpoint::Replica(ReplicaId(3)), identity(PEER).boot.0);
    Opened { from, boot, cluster: CLUSTER.0, stamp: Stamp::default(), has: None, body }
}

/// A datagram of the smallest allowed size, so that the file stays small.
fn golden_fragment() -> Vec<u8> {
    let mut last = Vec::new();
    let mut fragmenter = Fragmenter::new(Arc::new(Counters::new()));
    let message: Vec<u8> = (0..1_200).map(|i| (i % 251) as u8).collect();
    fragmenter.split(DATAGRAM_BYTES_MIN, CLUSTER.0, message, |fragment| {
        last = part_frame(BodyKind::Fragment, |body| fragment.write(body));
    });
    last
}

/// Every field another number.
const STAMP: Stamp =
    Stamp { offset: 0x0102_0304, reached: 70_000, taken: 69_000, held: 7, asks: true };

fn golden_probe() -> Vec<u8> {
    part_frame(BodyKind::Probe, |body| body.extend_from_slice(&probe_body(0x0102_0304)))
}

fn golden_probe_answer() -> Vec<u8> {
    part_frame(BodyKind::ProbeAnswer, |body| body.extend_from_slice(&probe_body(0x0102_0304)))
}

fn golden_nothing() -> Vec<u8> {
    let mut frame = part_frame(BodyKind::Nothing, |_| {});
    frame::stamp(&mut frame, STAMP);
    frame
}

fn golden_missing() -> Vec<u8> {
    let fragment = golden_fragment();
    let cut = Fragment::parse(&fragment[HEADER_BYTES..]).expect("a fragment").cut;
    part_frame(BodyKind::Missing, |body| Missing { cut, indexes: vec![0, 2] }.write(body))
}

/// Every golden datagram with its name and its receiver.
fn every_datagram() -> Vec<(&'static str, Party, Vec<u8>)> {
    let mut all: Vec<_> = every_message()
        .iter()
        .map(|(name, outgoing)| (*name, parties(outgoing).1, datagram(outgoing)))
        .collect();
    all.push(("fragment", ME, golden_fragment()));
    all.push(("missing", ME, golden_missing()));
    all.push(("probe", ME, golden_probe()));
    all.push(("probe_answer", ME, golden_probe_answer()));
    all.push(("nothing", ME, golden_nothing()));
    all
}

fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(|bytes| line(bytes) + "\n").collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(text, 16).expect("hexadecimal digits")
    };
    digits.chunks(2).map(pair).collect()
}

fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"))
}

fn golden_file(name: &str) -> Vec<u8> {
    let path = golden_path(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    unhex(&text)
}

#[test]
fn every_kind_of_datagram_is_what_its_golden_file_says_and_opens_to_its_message() {
    let all = every_datagram();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for (name, _, frame) in &all {
            std::fs::write(golden_path(name), hex(frame)).expect("written");
        }
    }
    for (name, _, frame) in &all {
        assert_eq!(
            hex(frame),
            hex(&golden_file(name)),
            "{name}: the format on the wire has changed. If that is meant, raise VERSION and \
             write the files anew: UPDATE_GOLDEN=1 cargo test --test parts wire::"
        );
    }
    let listed =
        std::fs::read_dir(golden_path("x").parent().expect("a directory")).expect("listed").count();
    assert_eq!(listed, all.len(), "one file a kind, and no other");

    for (name, outgoing) in every_message() {
        assert_eq!(name, name_of(&outgoing));
        let mut messages = Vec::new();
        let frame = golden_file(name);
        let opened = decoder(parties(&outgoing).1).open(client_address(), &frame, &mut messages);
        assert_eq!(opened.map(|opened| opened.body), Ok(Body::Messages), "{name}");
        assert_eq!(messages, [incoming(&outgoing)], "{name}");
    }
    let (fragment, missing) = (golden_file("fragment"), golden_file("missing"));
    assert_eq!(
        decoder(ME).open(client_address(), &fragment, &mut Vec::new()),
        Ok(from_peer(Body::Fragment(
            Fragment::parse(&fragment[HEADER_BYTES..]).expect("a fragment")
        )))
    );
    assert_eq!(
        decoder(ME).open(client_address(), &missing, &mut Vec::new()),
        Ok(from_peer(Body::Missing(
            Missing::parse(&missing[HEADER_BYTES..]).expect("a request for fragments")
        )))
    );
}

#[test]
fn a_datagram_of_an_earlier_version_is_dropped_for_that_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wire_6");
    let mut kinds = 0;
    for file in std::fs::read_dir(folder).expect("listed") {
        let file = file.expect("a file").path();
        let frame = unhex(&std::fs::read_to_string(&file).expect("text"));
        for me in [ME, Party::Client] {
            let opened = decoder(me).open(client_address(), &frame, &mut Vec::new());
            assert_eq!(opened, Err(datagrams::counters::DropReason::Version), "{}", file.display());
        }
        kinds += 1;
    }
    assert_eq!(kinds, 5);
}

#[test]
fn a_probe_and_its_answer_open_to_their_number() {
    for (name, body) in
        [("probe", Body::Probe(0x0102_0304)), ("probe_answer", Body::ProbeAnswer(0x0102_0304))]
    {
        let frame = golden_file(name);
        let opened = decoder(ME).open(client_address(), &frame, &mut Vec::new());
        assert_eq!(opened, Ok(from_peer(body)));
    }
}

#[test]
fn a_stamp_opens_to_what_was_written() {
    let frame = golden_file("nothing");
    let opened = decoder(ME).open(client_address(), &frame, &mut Vec::new());
    assert_eq!(opened, Ok(Opened { stamp: STAMP, ..from_peer(Body::Nothing) }));
}

#[test]
fn any_single_flipped_bit_and_any_cut_drops_a_datagram() {
    for (name, me, frame) in every_datagram() {
        let mut decoder = decoder(me);
        let mut messages = Vec::new();
        let mut dropped = |frame: &[u8], what: &dyn Fn() -> String| {
            let opened = decoder.open(client_address(), frame, &mut messages);
            assert!(opened.is_err() && messages.is_empty(), "{name}: {}", what());
        };
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            dropped(&flipped, &|| format!("bit {bit} flipped"));
        }
        for bytes in 0..frame.len() {
            dropped(&frame[..bytes], &|| format!("cut to {bytes} bytes"));
        }
        let mut longer = frame.clone();
        longer.push(0);
        dropped(&longer, &|| "a byte longer".to_owned());
    }
}

/// Bytes that the lists and texts of a message hold or reserve, at most.
fn items_reserved(incoming: &Incoming) -> usize {
    if let Incoming::WarmUp { message: ToBootstrap::Ready(ready), .. } = incoming {
        return ready.started.as_ref().map_or(0, Vec::capacity);
    }
    let Incoming::Peer { message, .. } = incoming else { return 0 };
    match message {
        Message::Acceptor(ToAcceptor::Accept(accept)) => accept.values.len(),
        Message::Acceptor(ToAcceptor::FetchAccepted { wanted, .. }) => wanted.capacity(),
        Message::Acceptor(ToAcceptor::AcceptHeld { held, .. }) => held.capacity(),
        Message::Proposer(ToProposer::Promise(promise)) => promise.accepted.capacity(),
        Message::Proposer(ToProposer::AcceptedValues(values)) => values.accepted.capacity(),
        Message::Learner(ToLearner::Accepted { slots, .. }) => slots.capacity(),
        Message::Learner(ToLearner::Page { values, .. }) => values.len(),
        _ => 0,
    }
}

/// What any datagram, however made, may do: nothing, or deliver messages that take no
/// more than its bytes justify.
fn open_hostile(
    openers: &mut [Decoder; 2],
    reassembler: &mut Reassembler<Endpoint>,
    frame: &[u8],
) -> bool {
    let mut taken = false;
    for decoder in openers {
        let mut messages = Vec::new();
        let opened = decoder.open(client_address(), frame, &mut messages);
        taken |= opened.is_ok();
        // What is dropped may be told, and no more.
        let told = |incoming: &Incoming| match incoming {
            Incoming::Refused { .. } => true,
            Incoming::Peer { message, .. } => matches!(message, Message::Heartbeat(_)),
            _ => false,
        };
        assert!(opened.is_ok() || messages.iter().all(told) && messages.len() <= 1);
        assert!(messages.len() <= frame.len());
        for incoming in &messages {
            // A list grows by doubling, from 4; each item takes a byte at least.
            let reserved = items_reserved(incoming);
            assert!(reserved <= 4.max(2 * frame.len()), "{reserved} items reserved");
        }
        if let Ok(Opened { from, boot, cluster, body: Body::Fragment(fragment), .. }) = opened {
            let before = reassembler.held_bytes();
            reassembler.insert(0, from, boot, cluster, fragment);
            let after = reassembler.held_bytes();
            assert!(after.0 + after.1 <= before.0 + before.1 + frame.len());
        }
    }
    taken
}

#[test]
fn no_bytes_whatever_make_the_decoder_panic_or_take_memory_on_credit() {
    const ROUNDS: usize = 300_000;
    const SEED: u64 = 591;
    let mut draws = stream(SEED, "bytes");
    let golden = every_datagram();
    let mut openers = [decoder(ME), decoder(Party::Client)];
    let mut reassembler = Reassembler::new(Arc::new(Counters::new()));
    let mut taken = 0;
    for round in 0..ROUNDS {
        let (_, _, good) = &golden[draws.usize(..golden.len())];
        let mut frame = good.clone();
        let whole = frame.len();
        match round % 6 {
            // Noise.
            0 => {
                frame = (0..draws.usize(..200)).map(|_| draws.u8(..)).collect();
            }
            // Noise behind a good header.
            1 => frame[HEADER_BYTES..].iter_mut().for_each(|byte| *byte = draws.u8(..)),
            // A few bytes changed anywhere.
            2 => (0..draws.usize(1..6)).for_each(|_| frame[draws.usize(..whole)] = draws.u8(..)),
            // A few bytes of the body changed.
            3 if whole > HEADER_BYTES => (0..draws.usize(1..4))
                .for_each(|_| frame[draws.usize(HEADER_BYTES..whole)] = draws.u8(..)),
            // A length that claims the earth, somewhere in the body.
            4 => {
                let at = draws.usize(HEADER_BYTES..=whole);
                let huge = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
                let used = draws.usize(1..=10);
                frame.splice(at..at, huge[10 - used..].iter().copied());
            }
            // Cut short.
            _ => frame.truncate(draws.usize(..whole)),
        }
        // All but some of the noise pass the check, and so reach what lies behind.
        if frame.len() >= HEADER_BYTES && draws.u8(..8) > 0 {
            if round % 6 != 2 {
                let body = (frame.len() - HEADER_BYTES) as u16;
                frame[25..27].copy_from_slice(&body.to_le_bytes());
            }
            if draws.bool() {
                // Past the shield of a client's least size as well.
                let padded = HEADER_BYTES + 4 * CLIENT_MESSAGE_BYTES_MIN;
                frame.resize(padded.max(frame.len()), 0);
            }
            let check = frame::check_of(&frame);
            frame[27..31].copy_from_slice(&check.to_le_bytes());
        }
        taken += usize::from(open_hostile(&mut openers, &mut reassembler, &frame));
    }
    assert!(taken > ROUNDS / 100, "{taken} of {ROUNDS} were taken: the test reaches nothing");
}

#[test]
fn a_list_of_noops_cannot_make_more_slots_than_a_message_may_name() {
    // The cheapest item there is: one byte a slot.
    let page = |slots: usize| {
        // As the list would be encoded, if it could be made.
        let values = vec![0u8; slots];
        let empty =
            Message::Learner(ToLearner::Page { first: Slot::ZERO, values: Values::default() });
        let mut message = postcard::to_stdvec(&empty).expect("encodes");
        assert_eq!(message.pop(), Some(0), "the length of the list");
        message.extend(postcard::to_stdvec(&values).expect("encodes"));
        message
    };
    let from = Endpoint::Replica(ReplicaId(3));
    let most = multipaxos::message::MESSAGE_SLOTS_MAX;
    let mut messages = Vec::new();
    assert_eq!(decoder(ME).open_joined(from, CLUSTER, &page(most), &mut messages), Ok(()));
    let more = decoder(ME).open_joined(from, CLUSTER, &page(most + 1), &mut messages);
    assert_eq!(more, Err(datagrams::counters::DropReason::Body));
    assert_eq!(messages.len(), 1);
}

/// Frames between one sender and one receiver, each lost with the same chance, and
/// otherwise delayed, repeated and so reordered.
struct Wire {
    gate: Gate,
    draws: fastrand::Rng,
    flying: BTreeSet<(u64, u64, usize, Vec<u8>)>,
    sent: u64,
}

impl Wire {
    fn send(&mut self, now: u64, to: usize, frame: Vec<u8>) {
        for _ in 0..1 + usize::from(self.draws.u8(..10) == 0) {
            if self.gate.passes() {
                self.sent += 1;
                let arrives = now + self.draws.u64(50..1_500);
                self.flying.insert((arrives, self.sent, to, frame.clone()));
            }
        }
    }
}

/// Two replicas and a client send long messages to replica 0 at once, over a wire that
/// loses `loss`. Nothing is resent but what the receiver asks for, and, after
/// it has given up, the whole message by whoever waits for the answer.
fn long_messages_arrive(seed: u64, loss: f64) {
    let senders = [Party::Replica(ReplicaId(1)), Party::Replica(ReplicaId(2)), Party::Client];
    let counters = || Arc::new(Counters::new());
    let mut wire = Wire {
        gate: Gate::new(loss, seed),
        draws: stream(seed, "delays"),
        flying: BTreeSet::new(),
        sent: 0,
    };
    let mut fragmenters: Vec<_> = senders.map(|_| Fragmenter::new(counters())).into();
    let mut openers: Vec<_> = senders.map(decoder).into();
    let (mut receiver, mut reassembler) = (decoder(ME), Reassembler::<Endpoint>::new(counters()));
    let mut wanted: Vec<(usize, Vec<u8>, Incoming)> = Vec::new();
    for (sender, party) in senders.iter().enumerate() {
        for seq in 0..4 {
            let bytes = wire.draws.usize(2_000..=LINE_BYTES_MAX);
            let line: String = (0..bytes).map(|_| wire.draws.alphanumeric()).collect();
            let request = Request::new(sender as u64, 1, seq, &line);
            let (message, incoming) = match *party {
                Party::Replica(from) => {
                    let forward = ToProposer::Forward { origin: client_address(), request };
                    let message = Message::Proposer(forward);
                    let bytes = postcard::to_stdvec(&message).expect("encodes");
                    (bytes, Incoming::Peer { from, message })
                }
                Party::Client => {
                    let message = ClientMessage::Request(request);
                    let bytes = postcard::to_stdvec(&message).expect("encodes");
                    (bytes, Incoming::Client { from: client_address(), message })
                }
            };
            wanted.push((sender, message, incoming));
        }
    }
    let (mut now, mut resend_at) = (0, 0);
    let mut arrived = Vec::new();
    while !wanted.is_empty() {
        if now >= resend_at {
            resend_at = now + 1_000_000;
            for (sender, message, _) in &wanted {
                let identity = identity(senders[*sender]);
                fragmenters[*sender].split(
                    DATAGRAM_BYTES_DEFAULT,
                    CLUSTER.0,
                    message.clone(),
                    |fragment| {
                        let mut frame = Vec::new();
                        frame::begin(&mut frame);
                        fragment.write(&mut frame);
                        frame::seal(&identity, ME, CLUSTER, BodyKind::Fragment, 1, &mut frame);
                        wire.send(now, 0, frame);
                    },
                );
            }
        }
        let next =
            [wire.flying.first().map(|flying| flying.0), reassembler.deadline(), Some(resend_at)];
        now = next.into_iter().flatten().min().expect("there is always a resend").max(now);
        assert!(now < 20_000_000, "seed {seed}: {} messages never arrived", wanted.len());
        reassembler.poll(
            now,
            |_| 0,
            |to, cluster, missing| {
                let asked =
                    senders.iter().position(|&party| party == to.party()).expect("a sender");
                let mut frame = Vec::new();
                frame::begin(&mut frame);
                missing.write(&mut frame);
                frame::seal(
                    &identity(ME),
                    to.party(),
                    ClusterId(cluster),
                    BodyKind::Missing,
                    1,
                    &mut frame,
                );
                wire.send(now, 1 + asked, frame);
            },
        );
        while wire.flying.first().is_some_and(|flying| flying.0 <= now) {
            let (_, _, to, frame) = wire.flying.pop_first().expect("just seen");
            let decoder = if to == 0 { &mut receiver } else { &mut openers[to - 1] };
            let opened = decoder.open(client_address(), &frame, &mut Vec::new());
            let Opened { from, boot, cluster, body, .. } = opened.expect("nothing harmed it");
            match body {
                Body::Fragment(fragment) => {
                    let joined = reassembler.insert(now, from, boot, cluster, fragment);
                    if let Some(message) = joined {
                        receiver
                            .open_joined(from, ClusterId(cluster), &message, &mut arrived)
                            .expect("it is what was sent");
                    }
                }
                Body::Missing(missing) => {
                    let identity = identity(senders[to - 1]);
                    fragmenters[to - 1].resend(
                        now,
                        (from.peer(), DATAGRAM_BYTES_DEFAULT),
                        &missing,
                        |cluster, fragment| {
                            let mut frame = Vec::new();
                            frame::begin(&mut frame);
                            fragment.write(&mut frame);
                            frame::seal(
                                &identity,
                                ME,
                                ClusterId(cluster),
                                BodyKind::Fragment,
                                1,
                                &mut frame,
                            );
                            wire.send(now, 0, frame);
                        },
                    );
                }
                other => panic!("nobody sent that: {other:?}"),
            }
        }
        for arrived in arrived.drain(..) {
            wanted.retain(|(_, _, wanted)| *wanted != arrived);
        }
    }
}

#[test]
fn long_messages_of_many_senders_arrive_whole_over_a_wire_that_loses_a_third() {
    for seed in 0..20 {
        long_messages_arrive(seed, 0.0);
        long_messages_arrive(seed, 0.3);
    }
}

struct Into(crossbeam_channel::Sender<Incoming>);

impl Deliver<Incoming> for Into {
    fn deliver(&mut self, incoming: Incoming) {
        let _ = self.0.send(incoming);
    }

    fn end_of_burst(&mut self) {}
}

/// Sends bursts with a line of 64 KiB among them from replica 1 to replica 0, on real
/// sockets, `loss` of all datagrams being lost; whatever has not arrived is
/// sent again, as everybody who waits for an answer does.
fn a_burst_arrives(datagram_max: usize, loss: f64) {
    let loopback =
        || BoundSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let sockets = [loopback(), loopback()];
    let addresses: [SocketAddr; 2] = [sockets[0].address(), sockets[1].address()];
    let mut id = 0;
    let [receiver, sender] = sockets.map(|socket| {
        let cluster = ClusterCell::new();
        cluster.set(CLUSTER);
        let me = Party::Replica(ReplicaId(id));
        let identity = Identity {
            n: 2,
            rows: 2,
            me,
            boot: BootId(u64::from(id)),
            cluster,
            guard: Guard::none(),
        };
        let peers = addresses.to_vec();
        let seed = 591 + u64::from(id);
        id += 1;
        let offload = true;
        Network::new(
            socket,
            NetworkConfig { codec: identity, peers, datagram_max, offload, loss, seed },
        )
        .expect("a network")
    });
    let (to_test, arrived) = crossbeam_channel::unbounded();
    let mut outlet = sender.outlet(7);
    let counters = [receiver.counters(), sender.counters()];
    let stops = [receiver.stop_handle(), sender.stop_handle()];
    let threads = [receiver, sender].map(|network| {
        let deliver = Into(to_test.clone());
        std::thread::spawn(move || network.run(deliver))
    });

    let forward = |seq: u64| {
        let bytes = if seq % 50 == 25 { LINE_BYTES_MAX } else { (seq % 90) as usize };
        let request = Request::new(1, 1, seq, &"é".repeat(bytes / 2));
        Message::Proposer(ToProposer::Forward { origin: client_address(), request })
    };
    const MESSAGES: u64 = 200;
    const PATIENCE: Duration = Duration::from_millis(500);
    let mut missing: BTreeSet<u64> = (0..MESSAGES).collect();
    for round in 1.. {
        assert!(round <= 100, "{} never arrived: {} / {}", missing.len(), counters[0], counters[1]);
        let message = |&seq: &u64| Outgoing::Peer { to: ReplicaId(0), message: forward(seq) };
        outlet.send(missing.iter().map(message));
        while !missing.is_empty() {
            let Ok(incoming) = arrived.recv_timeout(PATIENCE) else { break };
            let Incoming::Peer {
                from: ReplicaId(1),
                message: message @ Message::Proposer(ToProposer::Forward { .. }),
            } = incoming
            else {
                panic!("{incoming:?} was never sent");
            };
            let Message::Proposer(ToProposer::Forward { request, .. }) = &message else { continue };
            assert!(message == forward(request.command().seq), "it arrives as it was sent");
            missing.remove(&request.command().seq);
        }
        if missing.is_empty() {
            break;
        }
    }
    assert!(counters[0].of(NetEvent::Joined) >= MESSAGES / 50 || datagram_max > LINE_BYTES_MAX);
    for stop in stops {
        stop.stop();
    }
    for thread in threads {
        thread.join().expect("no panic").expect("no error");
    }
}

#[test]
fn a_burst_with_a_long_line_arrives_on_real_sockets() {
    a_burst_arrives(DATAGRAM_BYTES_DEFAULT, 0.0);
    a_burst_arrives(DATAGRAM_BYTES_MIN, 0.0);
    a_burst_arrives(65_507, 0.0);
}

#[test]
fn a_burst_with_a_long_line_arrives_on_real_sockets_that_lose_a_third() {
    a_burst_arrives(DATAGRAM_BYTES_DEFAULT, 0.3);
}
