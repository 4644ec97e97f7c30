//! Frames that open, and frames that are dropped.

use super::header::{AT_BODY_LENGTH, AT_CHECK, AT_STAMP, CLIENT, party_byte};
use super::*;
use crate::members::{CHANGE_MEMBERS_MAX, CONFIGURATION_MAX, Configuration, Member, Moved};
use crate::message::{
    Answer, CAUSE_BYTES_MAX, CAUSES_MAX, ClientMessage, Conduct, Decided, Excerpt, FollowQuery,
    Heartbeat, Inquiry, Leadership, LogHash, MembersAnswer, MembersQuery, Message, OBSERVERS_MAX,
    Observer, Obstacle, Refusal, Request, Status, StatusQuery, ToAcceptor, ToBootstrap, ToProposer,
    Usage, Voter,
};
use crate::net::answer::on_wire;
use crate::net::{
    DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, Endpoint, Incoming,
};
use crate::quorum::ReplicaSet;
use crate::types::{Address, Attempt, Ballot, ClientId, DirectoryId, ReplicaId, Session, Slot};
use crate::types::{Command, LINE_BYTES_MAX, NUMBER_MAX, REPLICAS_MAX, Value};
use crate::values::COMMAND_BYTES;
use datagrams::codec::{Body, BodyKind};
use datagrams::counters::{Counters, DropReason};
use datagrams::fragment::{Fragment, Missing};
use datagrams::path::receipt::Stamp;
use serde::Serialize;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const OURS: ClusterId = ClusterId(0xC1);

fn address() -> Address {
    Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)))
}

fn identity(me: Party, cluster: ClusterId) -> Identity {
    let identity = Identity {
        n: 3,
        rows: 3,
        me,
        boot: BootId(7),
        cluster: ClusterCell::new(),
        guard: Guard::none(),
    };
    if cluster != ClusterId::NONE {
        identity.cluster.set(cluster);
    }
    identity
}

fn replica(id: u8) -> Party {
    Party::Replica(ReplicaId(id))
}

fn decoder(me: Party, cluster: ClusterId) -> Decoder {
    Decoder::new(identity(me, cluster), Arc::new(Counters::new()))
}

fn frame_as<T: Serialize>(
    identity: &Identity,
    to: Party,
    cluster: ClusterId,
    messages: &[T],
) -> Vec<u8> {
    let mut frame = Vec::new();
    begin(&mut frame);
    for message in messages {
        frame = postcard::to_extend(message, frame).expect("encodes");
    }
    seal(identity, to, cluster, BodyKind::Messages, messages.len(), &mut frame);
    frame
}

fn frame<T: Serialize>(from: Party, to: Party, cluster: ClusterId, messages: &[T]) -> Vec<u8> {
    frame_as(&identity(from, cluster), to, cluster, messages)
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        voter: Voter::default(),
        written: 0,
        round: 1,
        echo: 0,
        held_us: 0,
        sync_ms: 0,
        ballot: Ballot(4),
        leading: false,
        campaigning: false,
        promised: None,
        applied: Slot::ZERO,
        history: LogHash::default(),
        decided: Decided::default(),
        inherited: Slot::ZERO,
        seen: None,
    }
}

/// Its last byte is not zero, as that of padding is.
fn prepare() -> Message {
    let voter = Voter { begun: 5, ..Voter::default() };
    Message::Acceptor(ToAcceptor::Prepare { ballot: Ballot(4), first: Slot(9), voter })
}

fn warm_up() -> Message {
    Message::Bootstrap(ToBootstrap::NotMember { directory: DirectoryId(3) })
}

fn resealed(mut frame: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut frame);
    let check = check_of(&frame);
    frame[AT_CHECK..AT_STAMP].copy_from_slice(&check.to_le_bytes());
    frame
}

fn open(decoder: &mut Decoder, frame: &[u8]) -> Result<usize, DropReason> {
    let mut messages = Vec::new();
    let opened = decoder.open(address(), frame, &mut messages);
    // Where lives are is told beside the messages.
    messages.retain(|incoming| !matches!(incoming, Incoming::Life { .. }));
    let opened = opened.map(|_| messages.len());
    let told = |incoming: &Incoming| matches!(incoming, Incoming::Refused { .. });
    assert!(opened.is_ok() || messages.iter().all(told), "nothing of a dropped frame stays");
    opened
}

#[test]
fn a_heartbeat_says_how_far_its_sender_has_come() {
    let beat = |applied| {
        let heartbeat = Heartbeat { applied: Slot(applied), ..heartbeat() };
        Message::Heartbeat(Box::new(heartbeat))
    };
    let mut receiver = decoder(replica(0), OURS);
    let mut has = |messages: &[Message]| {
        let frame = frame(replica(1), replica(0), OURS, messages);
        receiver.open(address(), &frame, &mut Vec::new()).expect("a good frame").has
    };
    assert_eq!(has(&[prepare(), beat(7)]), Some(7));
    assert_eq!(has(&[prepare()]), None);
    assert_eq!(has(&[beat(9), prepare(), beat(8)]), Some(8), "the last one counts");
}

#[test]
fn a_frame_for_somebody_else_or_from_nowhere_is_dropped_under_its_own_reason() {
    let good = frame(replica(1), replica(0), OURS, &[prepare(), prepare()]);
    let mut receiver = decoder(replica(0), OURS);
    assert_eq!(open(&mut receiver, &good), Ok(2));
    let mut drops = |change: &dyn Fn(&mut Vec<u8>), why: DropReason| {
        let before = receiver.counters.of(why);
        assert_eq!(open(&mut receiver, &resealed(good.clone(), change)), Err(why));
        assert_eq!(receiver.counters.of(why), before + 1);
    };
    drops(&|frame| frame[0] ^= 1, DropReason::Magic);
    drops(&|frame| frame[4] += 1, DropReason::Version);
    drops(&|frame| frame[5] = 5, DropReason::Size);
    drops(&|frame| frame[6] = 3, DropReason::Sender);
    drops(&|frame| frame[6] = 0, DropReason::Sender);
    drops(&|frame| frame[7] = 2, DropReason::Receiver);
    drops(&|frame| frame[7] = CLIENT, DropReason::Receiver);
    drops(&|frame| frame[8] ^= 1, DropReason::Cluster);
    drops(&|frame| frame[24] = 0, DropReason::Kind);
    drops(&|frame| frame[24] = 9, DropReason::Kind);
    drops(&|frame| frame[AT_BODY_LENGTH] += 1, DropReason::Length);
    drops(&|frame| frame.push(1), DropReason::Padding);
    drops(&|frame| frame.extend([0, 0, 1, 0]), DropReason::Padding);
    drops(&|frame| frame[AT_BODY_LENGTH] -= 1, DropReason::Padding);
    drops(&|frame| frame[HEADER_BYTES] = 77, DropReason::Body);
}

#[test]
fn a_client_that_does_not_fit_is_told_by_a_bare_header_and_nobody_else_is() {
    let hello = frame(Party::Client, replica(0), ClusterId::NONE, &[ClientMessage::Hello]);
    let mut bare = Vec::new();
    begin(&mut bare);
    let cluster = ClusterId::NONE;
    seal(&identity(replica(0), OURS), Party::Client, cluster, BodyKind::Messages, 1, &mut bare);
    let mut receiver = decoder(replica(0), OURS);
    let changes: [(usize, u8, DropReason); 3] = [
        (4, VERSION + 1, DropReason::Version),
        (5, 5, DropReason::Size),
        (7, 2, DropReason::Receiver),
    ];
    for (at, to, why) in changes {
        let misfit = resealed(hello.clone(), |frame| frame[at] = to);
        assert_eq!(open(&mut receiver, &misfit), Err(why));
        let told = receiver.refusal(address(), &misfit, why);
        assert_eq!(told, Some((Endpoint::Client(address()), BodyKind::Messages)));
        assert!(bare.len() <= misfit.len(), "no longer than the question");
        // A replica's frame is not answered, nor is any that a client gets: two that do not fit
        // would answer each other for ever.
        let peers = resealed(misfit.clone(), |frame| frame[6] = 1);
        assert_eq!(receiver.refusal(address(), &peers, why), None);
        let mut asker = decoder(Party::Client, cluster);
        assert_eq!(asker.refusal(address(), &misfit, why), None);
        // What the client gets is dropped under the reason that it tells its user.
        let answer = match why {
            DropReason::Receiver => bare.clone(),
            _ => resealed(bare.clone(), |frame| frame[at] = to),
        };
        for known in [cluster, OURS] {
            assert_eq!(open(&mut decoder(Party::Client, known), &answer), Err(why));
        }
    }
    for why in [DropReason::Check, DropReason::Amplifies, DropReason::NotStarted] {
        assert_eq!(receiver.refusal(address(), &hello, why), None);
    }
    assert_eq!(receiver.refusal(address(), &hello[..7], DropReason::Version), None);
}

#[test]
fn a_frame_of_another_cluster_is_told_with_its_source() {
    let from_other = |from, to| frame(from, to, ClusterId(0xC2), &[prepare()]);
    let told = |me, known, frame: &[u8]| {
        let mut taken = Vec::new();
        let opened = decoder(me, known).open(address(), frame, &mut taken);
        assert!(opened.is_err());
        taken
    };
    let why = Refusal::Cluster(ClusterId(0xC2));
    let refused = Incoming::Refused { from: ReplicaId(1), at: address(), why };
    let frame = from_other(replica(1), replica(0));
    assert_eq!(told(replica(0), OURS, &frame), [refused]);
    // A replica that has no cluster yet cannot tell, and damage says nothing.
    assert_eq!(told(replica(0), ClusterId::NONE, &frame), []);
    let damaged = resealed(frame, |frame| frame[HEADER_BYTES] = 77);
    assert_eq!(told(replica(0), ClusterId(0xC2), &damaged), []);
    let client = super::tests::frame(
        Party::Client,
        replica(0),
        ClusterId(0xC2),
        &[const { ClientMessage::Hello }],
    );
    assert_eq!(told(replica(0), OURS, &client), [], "a client");
}

#[test]
fn warm_up_comes_with_its_source_and_nowhere_but_without_a_cluster() {
    let mut taken = Vec::new();
    let ready = frame(replica(1), replica(0), ClusterId::NONE, &[warm_up()]);
    let mut receiver = decoder(replica(0), OURS);
    receiver.open(address(), &ready, &mut taken).expect("a good frame");
    let Message::Bootstrap(message) = warm_up() else { unreachable!() };
    assert_eq!(taken, [Incoming::WarmUp { from: ReplicaId(1), at: address(), message }]);
    let bound = frame(replica(1), replica(0), OURS, &[warm_up()]);
    assert_eq!(open(&mut receiver, &bound), Err(DropReason::Kind));
}

#[test]
fn a_process_that_shows_no_cluster_ends_no_life() {
    let mut receiver = decoder(replica(0), OURS);
    let of = |boot| Identity { boot: BootId(boot), ..identity(replica(1), OURS) };
    let member = frame_as(&of(1), replica(0), OURS, &[prepare()]);
    let stray = frame_as(&of(2), replica(0), ClusterId::NONE, &[warm_up()]);
    for _ in 0..20 {
        assert_eq!(open(&mut receiver, &member), Ok(1));
        assert_eq!(open(&mut receiver, &stray), Ok(1));
    }
    // Two lives that show the cluster take turns only if one has ended.
    let again = frame_as(&of(3), replica(0), OURS, &[prepare()]);
    assert_eq!(open(&mut receiver, &again), Ok(1));
    assert_eq!(open(&mut receiver, &member), Err(DropReason::Boot));
}

#[test]
fn one_bad_message_drops_the_whole_frame() {
    let mut receiver = decoder(replica(0), OURS);
    let frame = frame(replica(1), replica(0), OURS, &[prepare(), prepare()]);
    let cut = resealed(frame, |frame| {
        frame.pop();
        frame[AT_BODY_LENGTH] -= 1;
    });
    assert_eq!(open(&mut receiver, &cut), Err(DropReason::Body));
    let empty = super::tests::frame::<Message>(replica(1), replica(0), OURS, &[]);
    assert_eq!(open(&mut receiver, &empty), Err(DropReason::Body));
}

#[test]
fn without_a_cluster_only_warm_up_hello_and_status_queries_travel() {
    let none = ClusterId::NONE;
    let mut receiver = decoder(replica(0), OURS);
    let mut from = |party, frame: Vec<u8>| {
        let _: Party = party;
        open(&mut receiver, &frame)
    };
    let client = Party::Client;
    assert_eq!(from(replica(1), frame(replica(1), replica(0), none, &[warm_up()])), Ok(1));
    let mixed = frame(replica(1), replica(0), none, &[warm_up(), prepare()]);
    assert_eq!(from(replica(1), mixed), Err(DropReason::Cluster));
    let hello = ClientMessage::Hello;
    assert_eq!(from(client, frame(client, replica(0), none, &[hello])), Ok(1));
    assert_eq!(from(client, status_query()), Ok(1));
    let request = ClientMessage::Request(Request::new(1, 2, 3, "hi"));
    let asked = frame(client, replica(0), none, std::slice::from_ref(&request));
    assert_eq!(from(client, asked), Err(DropReason::Cluster));
    assert_eq!(from(client, frame(client, replica(0), OURS, &[request])), Ok(1));
}

#[test]
fn a_replica_that_has_not_started_takes_nothing_but_warm_up_and_status_queries() {
    let none = ClusterId::NONE;
    let mut receiver = decoder(replica(0), none);
    assert_eq!(open(&mut receiver, &status_query()), Ok(1));
    assert_eq!(open(&mut receiver, &frame(replica(1), replica(0), none, &[warm_up()])), Ok(1));
    for frame in [
        frame(replica(1), replica(0), OURS, &[warm_up()]),
        frame(replica(1), replica(0), OURS, &[prepare()]),
        frame(Party::Client, replica(0), none, &[ClientMessage::Hello]),
    ] {
        assert_eq!(open(&mut receiver, &frame), Err(DropReason::NotStarted));
    }
}

#[test]
fn a_client_hears_of_warm_up_from_replicas_without_a_cluster_and_joins_none_by_it() {
    let answer = |cluster, answer| frame(replica(2), Party::Client, cluster, &[on_wire(&answer)]);
    let status = |status| Answer::Status(Box::new(status));
    let (warms_up, none) = (Status::warms_up(Default::default()), ClusterId::NONE);
    let mut receiver = decoder(Party::Client, none);
    assert_eq!(open(&mut receiver, &answer(none, status(warms_up))), Ok(1));
    assert_eq!(receiver.identity.cluster.known(), None);
    // A replica that has started has a cluster.
    let mut leads = warms_up;
    leads.leadership.conduct = Conduct::Leads;
    assert_eq!(open(&mut receiver, &answer(none, status(leads))), Err(DropReason::Cluster));
    assert_eq!(open(&mut receiver, &answer(OURS, status(leads))), Ok(1));
    assert_eq!(receiver.identity.cluster.known(), Some(OURS));
    assert_eq!(open(&mut receiver, &answer(none, status(warms_up))), Ok(1));
}

#[test]
fn a_client_joins_the_cluster_of_its_first_welcome_and_hears_no_other() {
    let other = ClusterId(0xC2);
    let welcome = || Answer::Welcome { applied: Slot(5), ballot: Ballot(1) };
    let leader = || Answer::Leader { ballot: Ballot(1) };
    let mut receiver = decoder(Party::Client, ClusterId::NONE);
    let to_client =
        |cluster, answer| frame(replica(2), Party::Client, cluster, &[on_wire(&answer)]);
    assert_eq!(open(&mut receiver, &to_client(OURS, leader())), Err(DropReason::NotStarted));
    let none = to_client(ClusterId::NONE, welcome());
    assert_eq!(open(&mut receiver, &none), Err(DropReason::Cluster));
    assert_eq!(open(&mut receiver, &to_client(OURS, welcome())), Ok(1));
    assert_eq!(receiver.identity.cluster.known(), Some(OURS));
    assert_eq!(open(&mut receiver, &to_client(OURS, leader())), Ok(1));
    // It is told of another cluster that welcomes it, and takes nothing else from there.
    assert_eq!(open(&mut receiver, &to_client(other, leader())), Err(DropReason::Cluster));
    let mut into = Vec::new();
    let elsewhere = to_client(other, welcome());
    let opened = receiver.open(address(), &elsewhere, &mut into);
    assert_eq!(opened.map(|opened| opened.body), Ok(Body::Messages));
    assert_eq!(into, [Incoming::OtherCluster { from: ReplicaId(2) }]);
    assert_eq!(receiver.identity.cluster.known(), Some(OURS));
    assert_eq!(open(&mut receiver, &to_client(OURS, leader())), Ok(1), "its own cluster lives");
}

#[test]
fn a_frame_of_an_earlier_life_is_dropped_but_only_a_valid_frame_begins_a_new_one() {
    let mut receiver = decoder(replica(0), OURS);
    let of_boot = |boot, messages: &[Message]| {
        let identity = Identity { boot: BootId(boot), ..identity(replica(1), OURS) };
        frame_as(&identity, replica(0), OURS, messages)
    };
    assert_eq!(open(&mut receiver, &of_boot(1, &[prepare()])), Ok(1));
    assert_eq!(open(&mut receiver, &of_boot(2, &[])), Err(DropReason::Body));
    assert_eq!(open(&mut receiver, &of_boot(1, &[prepare()])), Ok(1));
    assert_eq!(open(&mut receiver, &of_boot(3, &[prepare()])), Ok(1));
    assert_eq!(open(&mut receiver, &of_boot(1, &[prepare()])), Err(DropReason::Boot));
}

#[test]
fn the_newest_heartbeat_of_a_retired_life_is_handed_on_and_nothing_else_of_it() {
    let mut receiver = decoder(replica(0), OURS);
    let mut take = |boot, port, messages: &[Message]| {
        let identity = Identity { boot: BootId(boot), ..identity(replica(1), OURS) };
        let frame = frame_as(&identity, replica(0), OURS, messages);
        let mut taken = Vec::new();
        let at = Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let dropped = receiver.open(at, &frame, &mut taken).err();
        (dropped, taken)
    };
    let (from, at) = (ReplicaId(1), |port| Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    let beat = Message::Heartbeat(Box::new(heartbeat()));
    let peer = |message: &Message| Incoming::Peer { from, message: message.clone() };
    let life = |boot, port| Incoming::Life { of: from, boot: BootId(boot), at: at(port) };
    assert_eq!(take(1, 7_001, &[prepare()]), (None, vec![peer(&prepare())]));
    let both = vec![peer(&beat), life(1, 7_001), life(2, 7_002)];
    assert_eq!(take(2, 7_002, std::slice::from_ref(&beat)), (None, both));
    let retired = take(1, 7_001, &[prepare(), beat.clone(), prepare()]);
    assert_eq!(retired, (Some(DropReason::Boot), vec![peer(&beat)]));
    assert_eq!(take(1, 7_001, &[prepare()]), (Some(DropReason::Boot), vec![]));
}

#[test]
fn a_client_is_told_of_answers_alone_whatever_life_they_come_from() {
    let mut receiver = decoder(Party::Client, ClusterId::NONE);
    let answer = Answer::Leader { ballot: Ballot(3) };
    for boot in [1, 2, 1, 2] {
        let identity = Identity { boot: BootId(boot), ..identity(replica(1), OURS) };
        let frame = frame_as(&identity, Party::Client, OURS, &[on_wire(&answer)]);
        let (at, mut taken) = (Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 7_001))), Vec::new());
        let _ = receiver.open(at, &frame, &mut taken);
        let is_answer = |it: &Incoming| matches!(it, Incoming::Answer { .. });
        assert!(taken.iter().all(is_answer), "{taken:?}");
    }
}

#[test]
fn no_answer_is_larger_than_the_least_that_a_client_may_send() {
    let session = Session { client: ClientId(u64::MAX), id: u64::MAX };
    let (slot, ballot, seq) = (Slot(u64::MAX), Ballot(u64::MAX), u64::MAX);
    let asked = frame(Party::Client, replica(0), ClusterId::NONE, &[ClientMessage::Hello]);
    for answer in [
        Answer::Welcome { applied: slot, ballot },
        Answer::Complete { session, seq, slot, client_seq: u64::MAX, attempt: Attempt::FIRST },
        Answer::Expired { session, seq },
        Answer::BornTooEarly { session, seq },
        Answer::Leader { ballot },
        moved(),
    ] {
        let answered = frame(replica(0), Party::Client, OURS, &[on_wire(&answer)]);
        assert!(answered.len() <= asked.len(), "{answer:?}: {} bytes", answered.len());
        // The same holds for any number of them in one frame.
        assert!(answered.len() - HEADER_BYTES <= CLIENT_MESSAGE_BYTES_MIN);
    }
}

/// The longest word of a member that has moved.
fn moved() -> Answer {
    let to =
        Address("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().expect("an address"));
    let moved = Moved { id: ReplicaId(63), to };
    Answer::Moved { configuration: CONFIGURATION_MAX, moved }
}

#[test]
fn a_hello_is_answered_with_no_more_than_it_even_where_members_have_moved() {
    let welcome = Answer::Welcome { applied: Slot(u64::MAX), ballot: Ballot(u64::MAX) };
    let asked = frame(Party::Client, replica(0), ClusterId::NONE, &[ClientMessage::Hello]);
    let answers = [moved(), welcome];
    let answered = frame(replica(0), Party::Client, OURS, &answers.each_ref().map(on_wire));
    assert!(answered.len() <= asked.len(), "{} bytes", answered.len());
}

/// A frame with a status query, as a client sends it.
fn status_query() -> Vec<u8> {
    let query = ClientMessage::Status(StatusQuery { below: Slot(NUMBER_MAX) });
    let mut frame = Vec::new();
    begin(&mut frame);
    frame = postcard::to_extend(&query, frame).expect("encodes");
    let (client, none) = (identity(Party::Client, ClusterId::NONE), ClusterId::NONE);
    seal(&client, replica(0), none, BodyKind::Messages, answers_to(&query), &mut frame);
    frame
}

#[test]
fn both_answers_to_a_status_query_are_together_no_larger_than_it() {
    let (slot, ballot) = (Slot(u64::MAX), Ballot(u64::MAX));
    let leadership = Leadership {
        conduct: Conduct::Leads,
        leader: Some(ballot),
        ballot,
        configuration: 0,
        members: ReplicaSet::EMPTY,
        sync_ms: u16::MAX,
    };
    let status = Status { leadership, applied: slot, decided: slot, hash: Some(u64::MAX) };
    let dropped = vec![("x".repeat(CAUSE_BYTES_MAX), u64::MAX); CAUSES_MAX];
    let (up_s, memory_bytes, disk_bytes) = (u64::MAX, u64::MAX, u64::MAX);
    let usage = Usage { up_s, memory_bytes, disk_bytes, dropped };
    // Where a member has moved, that stands before the status.
    let status = [moved(), Answer::Status(Box::new(status))];
    let usage = [Answer::Usage(Box::new(usage))];
    let bytes = |answers: &[Answer]| {
        let answers: Vec<_> = answers.iter().map(on_wire).collect();
        frame(replica(0), Party::Client, OURS, &answers).len()
    };
    let answered = [bytes(&status), bytes(&usage)];
    let asked = status_query();
    assert!(answered.iter().sum::<usize>() <= asked.len(), "{answered:?}, {}", asked.len());
    let mut receiver = decoder(replica(0), OURS);
    assert_eq!(open(&mut receiver, &asked), Ok(1));
    let short = resealed(asked, |frame| {
        frame.pop();
    });
    assert_eq!(open(&mut receiver, &short), Err(DropReason::Amplifies));
}

#[test]
fn the_longest_answer_about_members_is_no_larger_than_the_question() {
    let at = Address((Ipv6Addr::from([0xFF_u8; 16]), u16::MAX).into());
    let member =
        |id| Member { id: ReplicaId(id), directory: DirectoryId(u64::MAX), address: Some(at) };
    let seven: Vec<Member> = (0..CHANGE_MEMBERS_MAX as u8).map(member).collect();
    let changed = Configuration::new(CONFIGURATION_MAX, &seven).expect("they rise");
    let query = ClientMessage::Members(MembersQuery { number: u64::MAX, wish: None });
    let mut asked = Vec::new();
    begin(&mut asked);
    asked = postcard::to_extend(&query, asked).expect("encodes");
    let (client, none) = (identity(Party::Client, ClusterId::NONE), ClusterId::NONE);
    seal(&client, replica(0), none, BodyKind::Messages, answers_to(&query), &mut asked);
    let mut heard = ReplicaSet::EMPTY;
    heard.insert(ReplicaId(REPLICAS_MAX as u8 - 1));
    let id = ReplicaId(REPLICAS_MAX as u8 - 1);
    let (directory, applied) = (DirectoryId(u64::MAX), Slot(NUMBER_MAX));
    let observers = vec![Observer { id, directory, applied }; OBSERVERS_MAX];
    let obstacle = Some(Obstacle::Behind { applied, of: applied });
    let (number, leads, configuration) = (u64::MAX, true, Some(changed));
    let answer =
        MembersAnswer { number, leads, configuration, heard, observers, applied, obstacle };
    let answer = Answer::Members(Box::new(answer));
    let answered = frame(replica(0), Party::Client, OURS, &[on_wire(&answer)]);
    assert!(answered.len() <= asked.len(), "{}, {}", answered.len(), asked.len());
    assert!(asked.len() <= DATAGRAM_BYTES_MIN, "every path carries the question");
    let mut receiver = decoder(replica(0), OURS);
    assert_eq!(open(&mut receiver, &asked), Ok(1));
}

/// A frame with a question for a piece of the chat log, as a client sends it.
fn follow_query(room: u16) -> Vec<u8> {
    let query = FollowQuery { slot: Slot(NUMBER_MAX), offset: u64::MAX, room };
    let query = ClientMessage::Follow(query);
    let mut frame = Vec::new();
    begin(&mut frame);
    frame = postcard::to_extend(&query, frame).expect("encodes");
    let client = identity(Party::Client, OURS);
    seal(&client, replica(0), OURS, BodyKind::Messages, answers_to(&query), &mut frame);
    frame
}

#[test]
fn a_piece_of_the_chat_log_is_no_larger_than_the_question_for_it() {
    let mut receiver = decoder(replica(0), OURS);
    for room in [0, 1, 8, 9, 500, excerpt_room(DATAGRAM_BYTES_DEFAULT), 65_000] {
        let (slot, rest) = (Slot(NUMBER_MAX), u64::MAX);
        let text = vec![b'x'; room];
        let excerpt = Excerpt { slot, offset: u64::MAX, text, rest, applied: slot };
        let answer = Answer::Log(Box::new(excerpt));
        let answered = frame(replica(0), Party::Client, OURS, &[on_wire(&answer)]);
        let asked = follow_query(room as u16);
        assert!(answered.len() <= asked.len(), "{room}: {} {}", answered.len(), asked.len());
        assert_eq!(open(&mut receiver, &asked), Ok(1));
        let short = resealed(asked, |frame| {
            frame.pop();
        });
        assert_eq!(open(&mut receiver, &short), Err(DropReason::Amplifies));
    }
}

#[test]
fn a_question_fills_a_datagram_and_fits_it() {
    for length in [DATAGRAM_BYTES_MIN, 1_232, 1_252, DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX] {
        let asked = follow_query(excerpt_room(length) as u16).len() + PROOF_BYTES;
        assert!((length - CLIENT_MESSAGE_BYTES_MIN..=length).contains(&asked), "{asked}");
    }
    assert_eq!(excerpt_room(0), 0);
}

#[test]
fn a_usage_whose_causes_are_no_names_is_refused() {
    let mut receiver = decoder(Party::Client, OURS);
    let usage = |dropped| Usage { up_s: 1, memory_bytes: 2, disk_bytes: 3, dropped };
    let causes = |names: &[&str]| usage(names.iter().map(|name| ((*name).to_owned(), 1)).collect());
    let long = "x".repeat(CAUSE_BYTES_MAX + 1);
    for (usage, opened) in [
        (causes(&["drop_check", "inbox_full"]), Ok(1)),
        (causes(&[]), Ok(1)),
        (causes(&[""]), Err(DropReason::Body)),
        (causes(&["\u{1b}[2J"]), Err(DropReason::Body)),
        (causes(&[&long]), Err(DropReason::Body)),
        (causes(&["x"; CAUSES_MAX + 1]), Err(DropReason::Body)),
    ] {
        let answer = Answer::Usage(Box::new(usage));
        let frame = frame(replica(1), Party::Client, OURS, &[on_wire(&answer)]);
        assert_eq!(open(&mut receiver, &frame), opened, "{answer:?}");
    }
}

#[test]
fn a_client_frame_that_is_not_padded_is_dropped() {
    let mut receiver = decoder(replica(0), OURS);
    let good =
        frame(Party::Client, replica(0), ClusterId::NONE, &[const { ClientMessage::Hello }; 3]);
    assert_eq!(good.len(), HEADER_BYTES + 3 * CLIENT_MESSAGE_BYTES_MIN);
    assert_eq!(open(&mut receiver, &good), Ok(3));
    let short = resealed(good.clone(), |frame| {
        frame.pop();
    });
    assert_eq!(open(&mut receiver, &short), Err(DropReason::Amplifies));
    let dirty = resealed(good, |frame| *frame.last_mut().expect("not empty") = 1);
    assert_eq!(open(&mut receiver, &dirty), Err(DropReason::Padding));
}

#[test]
fn one_bit_of_a_header_that_turns_over_is_noticed_and_so_are_two() {
    let mut sealed = frame(replica(1), replica(0), OURS, &[prepare()]);
    stamp(&mut sealed, Stamp { offset: 1, reached: 70_000, taken: 3, held: 4, asks: true });
    let (mut receiver, bits) = (decoder(replica(0), OURS), 8 * HEADER_BYTES);
    assert_eq!(open(&mut receiver, &sealed), Ok(1));
    // A second bit behind the header is none: the first one turns over alone.
    for (first, second) in (0..bits).flat_map(|first| (first + 1..=bits).map(move |it| (first, it)))
    {
        let mut damaged = sealed.clone();
        for bit in [first, second].into_iter().filter(|bit| *bit < bits) {
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(open(&mut receiver, &damaged).is_err(), "bits {first} and {second}");
    }
}

#[test]
fn any_frame_may_be_padded_with_zeros_up_to_the_longest_datagram() {
    let peers = frame(replica(1), replica(0), OURS, &[prepare()]);
    let clients = frame(Party::Client, replica(0), OURS, &[const { ClientMessage::Hello }]);
    let answer = Answer::Leader { ballot: Ballot(1) };
    let answers = frame(replica(1), Party::Client, OURS, &[on_wire(&answer)]);
    for (me, sealed) in [(replica(0), peers), (replica(0), clients), (Party::Client, answers)] {
        for padding in [0, 1, 700, DATAGRAM_BYTES_MAX - sealed.len()] {
            let mut receiver = decoder(me, OURS);
            let mut padded = sealed.clone();
            padded.resize(sealed.len() + padding, 0);
            pad(&mut padded, sealed.len());
            assert_eq!(padded[AT_CHECK..AT_STAMP], check_of(&padded).to_le_bytes());
            assert_eq!(open(&mut receiver, &padded), Ok(1));
            // The check covers it.
            padded.push(0);
            assert!(open(&mut receiver, &padded).is_err());
        }
    }
}

#[test]
fn a_line_longer_than_a_client_may_send_is_refused_from_anybody() {
    let mut receiver = decoder(replica(0), OURS);
    let longest = Request::new(1, 1, 0, &"x".repeat(LINE_BYTES_MAX)).commands;
    let mut longer = longest.bytes().to_vec();
    longer.push(b'x');
    longer[COMMAND_BYTES - 4] += 1;
    let asked = |commands: &[u8]| {
        // As `ClientMessage::Request` is encoded.
        postcard::to_stdvec(&(1u32, commands, 0u64, 1u8)).expect("encodes")
    };
    let mut into = Vec::new();
    let from = Endpoint::Client(address());
    let mut open = |from, bytes: &[u8]| receiver.open_joined(from, OURS, bytes, &mut into);
    assert_eq!(open(from, &asked(longest.bytes())), Ok(()));
    assert_eq!(open(from, &asked(&longer)), Err(DropReason::Body));
    let forward = Message::Proposer(ToProposer::Forward {
        origin: address(),
        request: Request { commands: longest, after: Slot::ZERO, attempt: Attempt::FIRST },
    });
    let mut forward = postcard::to_stdvec(&forward).expect("encodes");
    let from = Endpoint::Replica(ReplicaId(1));
    assert_eq!(open(from, &forward), Ok(()));
    let line = forward.len() - 2 - LINE_BYTES_MAX;
    forward[line - 4] += 1;
    assert_eq!(open(from, &forward), Err(DropReason::Body));
    assert_eq!(into.len(), 2);
}

#[test]
fn requests_that_share_a_datagram_become_one() {
    let mut receiver = decoder(replica(0), OURS);
    let request = |seq, after| {
        let Request { commands, .. } = Request::new(1, seq, seq, "x");
        ClientMessage::Request(Request { commands, after: Slot(after), attempt: Attempt::FIRST })
    };
    let sent =
        frame(Party::Client, replica(0), OURS, &[request(0, 3), request(1, 9), request(2, 0)]);
    let mut into = Vec::new();
    receiver.open(address(), &sent, &mut into).expect("a good frame");
    let [Incoming::Client { message: ClientMessage::Request(joined), .. }] = &into[..] else {
        panic!("not one request: {into:?}");
    };
    assert_eq!(joined.after, Slot(9));
    assert_eq!(joined.iter().map(|command| command.seq).collect::<Vec<_>>(), [0, 1, 2]);
    // It asks for as many answers as it has commands, and must be as large as they are.
    let crowded = Request {
        commands: vec![Value::Noop; 3].into(),
        after: Slot::ZERO,
        attempt: Attempt::FIRST,
    };
    let crowded = frame(Party::Client, replica(0), OURS, &[ClientMessage::Request(crowded)]);
    assert_eq!(receiver.open(address(), &crowded, &mut into), Err(DropReason::Body));
}

#[test]
fn joined_bytes_are_one_message_and_no_more() {
    let mut receiver = decoder(replica(0), OURS);
    let one = postcard::to_stdvec(&prepare()).expect("encodes");
    let two = [one.clone(), one.clone()].concat();
    let from = Endpoint::Replica(ReplicaId(1));
    let mut into = Vec::new();
    assert_eq!(receiver.open_joined(from, OURS, &one, &mut into), Ok(()));
    assert_eq!(into.len(), 1);
    assert_eq!(receiver.open_joined(from, OURS, &two, &mut into), Err(DropReason::Body));
    assert_eq!(receiver.open_joined(from, OURS, &[], &mut into), Err(DropReason::Body));
    assert_eq!(into.len(), 1);
}

#[test]
fn a_frame_draws_no_more_answers_than_its_bytes_pay_for() {
    let request = |seq| ClientMessage::Request(Request::new(1, 2, seq, "x"));
    let joined = |seqs: [u64; 3]| {
        let commands = seqs.map(|seq| Value::Command(Request::new(1, 2, seq, "x").command()));
        let commands = commands.into_iter().collect();
        ClientMessage::Request(Request { commands, after: Slot::ZERO, attempt: Attempt::FIRST })
    };
    let hello = || ClientMessage::Hello;
    let Command { session, seq, birth, .. } = Request::new(1, 2, 3, "x").command();
    let inquiry = || {
        let inquiry = Inquiry { session, birth, seq, after: Slot(9) };
        ClientMessage::Inquiry(Box::new(inquiry))
    };
    for (messages, taken) in [
        (vec![hello(), hello(), hello(), hello()], 4),
        (vec![hello(), request(0), request(1), request(2)], 2),
        (vec![request(0), hello(), request(1), hello()], 3),
        (vec![inquiry(), hello(), request(1), inquiry()], 4),
        (vec![request(0), request(1), request(2), request(3)], 1),
        (vec![hello(), joined([0, 1, 2])], 2),
    ] {
        let mut receiver = decoder(replica(0), OURS);
        let mut frame = frame(Party::Client, replica(0), OURS, &messages);
        frame.resize(HEADER_BYTES + 4 * CLIENT_MESSAGE_BYTES_MIN, 0);
        let enough = resealed(frame, |_| ());
        assert_eq!(open(&mut receiver, &enough), Ok(taken), "{messages:?}");
        let short = resealed(enough, |frame| {
            frame.pop();
        });
        assert_eq!(open(&mut receiver, &short), Err(DropReason::Amplifies), "{messages:?}");
    }
}

#[test]
fn a_peer_may_only_forward_what_a_client_may_ask() {
    let mut receiver = decoder(replica(0), OURS);
    let command = Value::Command(Request::new(1, 2, 3, "hi").command());
    for (values, opened) in [
        (vec![command.clone(), command.clone()], Ok(1)),
        (vec![], Err(DropReason::Body)),
        (vec![Value::Noop], Err(DropReason::Body)),
        (vec![command, Value::Noop], Err(DropReason::Body)),
    ] {
        let request =
            Request { commands: values.into(), after: Slot::ZERO, attempt: Attempt::FIRST };
        let forward = ToProposer::Forward { origin: address(), request };
        let forwarded = frame(replica(1), replica(0), OURS, &[Message::Proposer(forward)]);
        assert_eq!(open(&mut receiver, &forwarded), opened);
    }
}

/// A frame with a fragment, and `padding` zeros behind it.
fn part(from: Party, to: Party, cluster: ClusterId, kind: BodyKind, padding: usize) -> Vec<u8> {
    use datagrams::fragment::{Cut, PIECE_BYTES_MIN};
    let total = PIECE_BYTES_MIN + 1;
    let cut = Cut { digest: 9, total: total as u32, piece: PIECE_BYTES_MIN as u16 };
    let mut frame = Vec::new();
    begin(&mut frame);
    match kind {
        BodyKind::Fragment => Fragment { cut, index: 1, bytes: b"x" }.write(&mut frame),
        _ => Missing { cut, indexes: vec![1] }.write(&mut frame),
    }
    seal(&identity(replica(1), OURS), to, cluster, kind, 1, &mut frame);
    frame.resize(frame.len() + padding, 0);
    resealed(frame, |frame| frame[6] = party_byte(from))
}

#[test]
fn parts_of_messages_are_taken_only_from_whoever_may_send_long_ones() {
    let (kind, none, client) = (BodyKind::Fragment, ClusterId::NONE, Party::Client);
    let mut receiver = decoder(replica(0), OURS);
    let mut opened = |frame: &[u8]| {
        let opened = receiver.open(address(), frame, &mut Vec::new());
        opened.map(|opened| matches!(opened.body, Body::Fragment(_)))
    };
    // A peer's fragment, of a warm-up message too.
    assert_eq!(opened(&part(replica(1), replica(0), OURS, kind, 0)), Ok(true));
    assert_eq!(opened(&part(replica(1), replica(0), none, kind, 0)), Ok(true));
    // A client's fragment, if it is as large as a request for more; but never of a hello.
    let bytes = part(client, replica(0), OURS, kind, 0).len();
    let padding = HEADER_BYTES + CLIENT_MESSAGE_BYTES_MIN - bytes;
    for more in [0, 1, 100] {
        let paid = part(client, replica(0), OURS, kind, padding + more);
        assert_eq!(opened(&paid), Ok(true));
        let hello = part(client, replica(0), none, kind, padding + more);
        assert_eq!(opened(&hello), Err(DropReason::Kind));
    }
    for less in [padding - 1, 1, 0] {
        let unpaid = part(client, replica(0), OURS, kind, less);
        assert_eq!(opened(&unpaid), Err(DropReason::Amplifies));
    }
    // A client takes no fragments: no answer is long.
    let mut asker = decoder(client, OURS);
    let answer = part(replica(1), client, OURS, kind, 100);
    assert_eq!(open(&mut asker, &answer), Err(DropReason::Kind));
}

#[test]
fn only_a_replica_may_ask_for_parts() {
    let asked = |from, to| part(from, to, OURS, BodyKind::Missing, 100);
    let mut receiver = decoder(replica(0), OURS);
    assert_eq!(open(&mut receiver, &asked(replica(1), replica(0))), Ok(0));
    let stranger = asked(Party::Client, replica(0));
    assert_eq!(open(&mut receiver, &stranger), Err(DropReason::Kind));
    let mut client = decoder(Party::Client, OURS);
    assert_eq!(open(&mut client, &asked(replica(1), Party::Client)), Ok(0));
    assert_eq!(open(&mut client, &asked(Party::Client, Party::Client)), Err(DropReason::Sender));
}

#[test]
#[should_panic(expected = "belongs to another cluster")]
fn a_process_belongs_to_one_cluster_for_good() {
    let cell = ClusterCell::new();
    assert_eq!(cell.known(), None);
    for _ in 0..2 {
        cell.set(OURS);
        assert_eq!(cell.clone().known(), Some(OURS));
    }
    cell.set(ClusterId(0xC2));
}

#[test]
fn probes_are_taken_from_whoever_knows_the_cluster_and_answers_from_replicas() {
    let made = |from: Party, to: Party, cluster: ClusterId, kind: BodyKind, bytes: usize| {
        let mut frame = Vec::new();
        begin(&mut frame);
        frame.extend_from_slice(&vec![7; bytes]);
        seal(&identity(replica(1), OURS), to, cluster, kind, 1, &mut frame);
        resealed(frame, |frame| frame[6] = party_byte(from))
    };
    let (probe, answer, client) = (BodyKind::Probe, BodyKind::ProbeAnswer, Party::Client);
    let mut receiver = decoder(replica(0), OURS);
    let mut opened = |frame: &[u8]| {
        let opened = receiver.open(address(), frame, &mut Vec::new());
        opened.map(|opened| match opened.body {
            Body::Probe(id) => Body::Probe(id),
            Body::ProbeAnswer(id) => Body::ProbeAnswer(id),
            other => panic!("{other:?}"),
        })
    };
    let id = 0x0707_0707;
    assert_eq!(opened(&made(replica(1), replica(0), OURS, probe, 4)), Ok(Body::Probe(id)));
    assert_eq!(opened(&made(replica(1), replica(0), OURS, answer, 4)), Ok(Body::ProbeAnswer(id)));
    for bytes in [0, 3, 5] {
        let frame = made(replica(1), replica(0), OURS, probe, bytes);
        assert_eq!(opened(&frame), Err(DropReason::Body), "{bytes} bytes are no number");
    }
    let none = ClusterId::NONE;
    assert_eq!(opened(&made(replica(1), replica(0), none, probe, 4)), Err(DropReason::Kind));
    assert_eq!(opened(&made(client, replica(0), OURS, answer, 4)), Err(DropReason::Kind));
    // A client's probe must be as large as any that asks for an answer.
    let small = made(client, replica(0), OURS, probe, 4);
    assert_eq!(opened(&small), Err(DropReason::Amplifies));
    let mut large = small.clone();
    large.resize(HEADER_BYTES + CLIENT_MESSAGE_BYTES_MIN, 0);
    assert_eq!(opened(&resealed(large, |_| {})), Ok(Body::Probe(id)));
    // Nobody probes a client.
    let mut caller = decoder(client, OURS);
    let frame = made(replica(1), client, OURS, probe, 4);
    let opened = caller.open(address(), &frame, &mut Vec::new());
    assert_eq!(opened.err(), Some(DropReason::Kind));
    let frame = made(replica(1), client, OURS, answer, 4);
    let opened = caller.open(address(), &frame, &mut Vec::new());
    assert_eq!(opened.map(|opened| opened.body), Ok(Body::ProbeAnswer(id)));
}

#[test]
fn a_stamp_changes_nothing_but_itself_and_may_come_before_or_after_padding() {
    let given = Stamp { offset: 1, reached: 2, taken: 3, held: 4, asks: true };
    let sealed = part(replica(1), replica(0), OURS, BodyKind::Fragment, 0);
    let mut receiver = decoder(replica(0), OURS);
    let mut opened = |frame: &[u8]| {
        let opened = receiver.open(address(), frame, &mut Vec::new()).expect("a frame");
        (opened.stamp, opened.boot)
    };
    assert_eq!(opened(&sealed), (Stamp::default(), 7));
    let lengthen = |frame: &mut Vec<u8>| {
        let bytes = frame.len();
        frame.resize(bytes + 77, 0);
        pad(frame, bytes);
    };
    let (mut before, mut after) = (sealed.clone(), sealed);
    lengthen(&mut before);
    stamp(&mut before, Stamp { offset: 99, ..given });
    stamp(&mut before, given);
    stamp(&mut after, given);
    lengthen(&mut after);
    assert_eq!(before, after);
    assert_eq!(opened(&before), (given, 7));
}
