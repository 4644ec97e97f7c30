//! Draws well-formed messages, values and answers around the state of a role.

use fastrand::Rng;
use multipaxos::members::{CHANGE_MEMBERS_MAX, CONFIGURATION_MAX, Configuration, Member, Moved};
use multipaxos::message::{
    Accept, AcceptedValues, Answer, CAUSES_MAX, Conduct, Decided, Excerpt, FollowQuery, HandOver,
    Heard, Heartbeat, Inquiry, Leadership, LogHash, LostState, MemberChange, MembersAnswer,
    MembersQuery, Message, OBSERVERS_MAX, Observer, Obstacle, Promise, Ready, Request, Run, Seen,
    Spans, Status, ToAcceptor, ToBootstrap, ToLearner, ToProposer, Usage, VoteAim, Voter, Voters,
    Wish,
};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{
    Address, Attempt, Ballot, BootId, ClientId, Command, DirectoryId, NUMBER_MAX, Origin,
    REPLICAS_MAX, ROUND_MAX, ReplicaId, Session, Slot, SlotRange, Value,
};
use multipaxos::values::Values;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The numbers to draw around, and how honest the senders are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around {
    pub(crate) n: usize,
    pub(crate) ballot: Ballot,
    pub(crate) slot: Slot,
    /// Whether a slot has only one value at each ballot.
    pub(crate) honest: bool,
    /// Whether to draw the highest numbers that the wire allows, now and then.
    pub(crate) brim: bool,
}

impl Around {
    pub(crate) fn anything(rng: &mut Rng) -> Around {
        let (ballot, slot) = (Ballot(rng.u64(..100)), Slot(rng.u64(..10_000)));
        Around { n: 5, ballot, slot, honest: false, brim: true }
    }
}

pub(crate) fn directory(id: ReplicaId) -> DirectoryId {
    DirectoryId(100 + u64::from(id.0))
}

fn number(rng: &mut Rng, near: u64, brim: bool) -> u64 {
    let drawn = match rng.u8(..40) {
        0 => rng.u64(..=near),
        1 => near + 65_536 - rng.u64(..3),
        2 => near + rng.u64(..200_000),
        3 => NUMBER_MAX / 2 + rng.u64(..9),
        4 if brim => NUMBER_MAX - rng.u64(..2),
        5..10 => near.saturating_sub(rng.u64(..40)),
        10..14 => 0,
        _ => near + rng.u64(..12),
    };
    drawn.min(NUMBER_MAX)
}

pub(crate) fn ballot(rng: &mut Rng, around: &Around) -> Ballot {
    let drawn = Ballot(number(rng, around.ballot.0, around.brim));
    let round = match rng.u8(..40) {
        0 if around.brim => ROUND_MAX - rng.u64(..2),
        _ => drawn.round().min(ROUND_MAX),
    };
    let later = if rng.u8(..20) == 0 { rng.u16(..3) } else { 0 };
    Ballot::of((drawn.configuration() + later).min(CONFIGURATION_MAX), round)
}

/// A ballot that `owner` owns.
pub(crate) fn ballot_of(rng: &mut Rng, around: &Around, owner: ReplicaId) -> Ballot {
    let (n, ballot) = (around.n as u64, ballot(rng, around));
    let round = ballot.round().min(ROUND_MAX - n);
    Ballot::of(ballot.configuration(), round - round % n + u64::from(owner.0))
}

pub(crate) fn slot(rng: &mut Rng, around: &Around) -> Slot {
    Slot(number(rng, around.slot.0, around.brim))
}

fn text(rng: &mut Rng) -> String {
    const TEXTS: [&str; 6] = ["", "hello", "a\\n\nb", "grüß dich, 世界", "\u{85}\u{0}", "- - NOP"];
    match rng.u8(..60) {
        0 => "é".repeat(rng.usize(..1_000)),
        _ => TEXTS[rng.usize(..TEXTS.len())].to_owned(),
    }
}

fn command(rng: &mut Rng) -> Command {
    let seq = match rng.u8(..32) {
        0 => u64::MAX - rng.u64(..2),
        1 => rng.u64(..),
        _ => rng.u64(..4),
    };
    let birth = match rng.u8(..16) {
        0 => rng.u64(..),
        1 => u64::MAX,
        _ => rng.u64(..8),
    };
    let session = Session { client: ClientId(rng.u64(..3)), id: rng.u64(..3) };
    Command { session, seq, birth: Slot(birth), line: text(rng).into() }
}

pub(crate) fn value(rng: &mut Rng) -> Value {
    match rng.u8(..4) {
        0 => Value::Noop,
        _ => Value::Command(command(rng)),
    }
}

/// Values for the slots from `first` on.
pub(crate) fn values(rng: &mut Rng, around: &Around, first: Slot, ballot: Ballot) -> Values {
    let count = match rng.u8(..20) {
        0 => 0,
        1 => rng.u64(..300),
        _ => rng.u64(1..8),
    };
    let one = |slot: u64| match around.honest {
        true => {
            let seed = slot.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ ballot.0.rotate_left(32);
            value(&mut Rng::with_seed(seed))
        }
        false => value(rng),
    };
    (first.0..).take(count as usize).map(one).collect()
}

pub(crate) fn address(rng: &mut Rng) -> Address {
    let ip = match rng.u8(..4) {
        0 => IpAddr::V6(Ipv6Addr::from_bits(rng.u128(..))),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Address(SocketAddr::new(ip, rng.u16(4_000..4_004)))
}

pub(crate) fn request(rng: &mut Rng, around: &Around) -> Request {
    let commands = (0..rng.usize(1..4)).map(|_| Value::Command(command(rng))).collect();
    Request { commands, after: slot(rng, around), attempt: attempt(rng) }
}

fn attempt(rng: &mut Rng) -> Attempt {
    Attempt::after(if rng.bool() { rng.usize(..3) } else { rng.usize(..300) })
}

pub(crate) fn inquiry(rng: &mut Rng, around: &Around) -> Inquiry {
    let Command { session, seq, birth, .. } = command(rng);
    Inquiry { session, birth, seq, after: slot(rng, around) }
}

pub(crate) fn mark(rng: &mut Rng, around: &Around) -> Decided {
    let ballot = ballot(rng, around);
    Decided { ballot, slots: SlotRange::new(slot(rng, around), slot(rng, around)) }
}

/// A directory identity: mostly the sender's own.
fn directory_of(rng: &mut Rng, from: ReplicaId) -> DirectoryId {
    if rng.u8(..12) == 0 { DirectoryId(rng.u64(95..110)) } else { directory(from) }
}

/// Mostly the sender's own directory, in one of a few lives.
pub(crate) fn voter(rng: &mut Rng, from: ReplicaId) -> Voter {
    let begun = if rng.u8(..20) == 0 { rng.u64(..20) } else { 10 };
    Voter { directory: directory_of(rng, from), boot: BootId(rng.u64(1..3)), begun }
}

/// A page of a promise. Now and then it contradicts itself.
pub(crate) fn promise(
    rng: &mut Rng,
    around: &Around,
    from: ReplicaId,
    asked: Ballot,
    first: Slot,
) -> Promise {
    let trimmed = match rng.u8(..6) {
        0 => slot(rng, around),
        1 => Slot(first.0.saturating_sub(rng.u64(..5))),
        _ => Slot::ZERO,
    };
    let mut upto = first.max(trimmed);
    let mut accepted = Spans::default();
    for _ in 0..rng.usize(..4) {
        let count = if rng.u8(..20) == 0 { super::edit::edge(rng) } else { rng.u64(1..4) };
        let slots = SlotRange::with_len(upto.plus(rng.u64(..4)), count);
        if slots.end.0 > NUMBER_MAX {
            break;
        }
        upto = slots.end;
        accepted.push(slots, Ballot(rng.u64(..=asked.0)));
    }
    if rng.u8(..20) == 0 {
        upto = slot(rng, around);
    }
    Promise {
        ballot: asked,
        voter: voter(rng, from),
        slots: SlotRange::new(first, Slot(upto.0.min(NUMBER_MAX))),
        last: rng.u8(..4) > 0,
        trimmed,
        accepted,
    }
}

/// An answer to a candidate that asked for these values. It leaves some out, and now and then
/// it holds others.
pub(crate) fn accepted_values(
    rng: &mut Rng,
    around: &Around,
    ballot: Ballot,
    wanted: &Spans,
) -> AcceptedValues {
    let mut accepted = Vec::new();
    for span in wanted.iter() {
        let first = span.slots.start.plus(if rng.u8(..8) == 0 { 1 } else { 0 });
        let at = if rng.u8(..8) == 0 { Ballot(rng.u64(..=ballot.0)) } else { span.ballot };
        let values = values(rng, around, first, at);
        if rng.u8(..8) > 0 {
            accepted.push(Run { first, ballot: at, values });
        }
    }
    let trimmed = if rng.u8(..8) == 0 { slot(rng, around) } else { Slot::ZERO };
    AcceptedValues { ballot, trimmed, accepted, last: rng.u8(..4) > 0 }
}

fn ranges(rng: &mut Rng, around: &Around) -> Vec<SlotRange> {
    let count = if rng.u8(..30) == 0 { rng.usize(..2_000) } else { rng.usize(..4) };
    let one = |rng: &mut Rng| {
        let count = if rng.u8(..8) == 0 { super::edit::edge(rng) } else { rng.u64(..20) };
        SlotRange::with_len(slot(rng, around), count)
    };
    (0..count).map(|_| one(rng)).collect()
}

fn maybe_ballot(rng: &mut Rng, around: &Around) -> Option<Ballot> {
    rng.bool().then(|| ballot(rng, around))
}

pub(crate) fn heartbeat(rng: &mut Rng, around: &Around, from: ReplicaId) -> Heartbeat {
    let leading = rng.bool();
    let own = leading && rng.u8(..8) > 0;
    let ballot = if own { ballot_of(rng, around, from) } else { ballot(rng, around) };
    let mut decided = mark(rng, around);
    if own {
        decided.ballot = ballot;
    }
    Heartbeat {
        voter: voter(rng, from),
        written: rng.u64(..12),
        round: if rng.u8(..20) == 0 { rng.u64(..) } else { rng.u64(..200) },
        echo: rng.u64(..40),
        held_us: if rng.u8(..20) == 0 { rng.u32(..) } else { rng.u32(..200_000) },
        sync_ms: if rng.u8(..20) == 0 { rng.u16(..) } else { rng.u16(..20) },
        ballot,
        leading,
        campaigning: rng.bool(),
        promised: maybe_ballot(rng, around),
        applied: slot(rng, around),
        history: LogHash { slot: slot(rng, around), hash: rng.u64(..4) },
        decided,
        inherited: slot(rng, around),
        seen: (rng.u8(..20) == 0).then(|| Seen {
            of: ReplicaId(rng.u8(..4)),
            boot: BootId(rng.u64(..4)),
            at: rng.bool().then_some(Address(SocketAddr::from(([10, 0, 0, 1], 7_000)))),
            reached: rng.u64(..40),
        }),
    }
}

pub(crate) fn ready(rng: &mut Rng, around: &Around, from: ReplicaId) -> Ready {
    let count = if rng.u8(..8) == 0 { rng.usize(..64) } else { around.n };
    let members: Vec<_> = (0..count as u8).map(|id| directory_of(rng, ReplicaId(id))).collect();
    let heard = |rng: &mut Rng| Heard { boot: BootId(rng.u64(..4)), round: rng.u64(..40) };
    let directory = directory_of(rng, from);
    Ready {
        directory,
        boot: BootId(rng.u64(..4)),
        round: rng.u64(..40),
        answers: rng.bool().then(|| heard(rng)),
        started: (rng.u8(..4) == 0).then_some(members),
        list: rng.u64(..3),
        origin: origin(rng),
    }
}

/// Seldom a chat log with which a cluster begins.
pub(crate) fn origin(rng: &mut Rng) -> Option<Origin> {
    (rng.u8(..8) == 0).then(|| Origin { end: Slot(rng.u64(1..3)), bytes: 9, hash: 7 })
}

/// Any message that `from` could send.
pub(crate) fn message(rng: &mut Rng, around: &Around, from: ReplicaId) -> Message {
    let (a, ballots) = (around, |rng: &mut Rng| match rng.bool() {
        true => ballot_of(rng, around, from),
        false => ballot(rng, around),
    });
    match rng.u8(..19) {
        0 => Message::Bootstrap(ToBootstrap::Ready(Box::new(ready(rng, a, from)))),
        1 => Message::Bootstrap(match rng.u8(..3) {
            0 => ToBootstrap::NotMember { directory: directory_of(rng, from) },
            1 => ToBootstrap::Forgotten { boot: BootId(rng.u64(..3)), known: rng.u64(..20) },
            _ => ToBootstrap::LostState(LostState { by: from, known: rng.u64(..), begun: 3 }),
        }),
        2 => {
            let (ballot, first) = (ballots(rng), slot(rng, a));
            Message::Acceptor(ToAcceptor::Prepare { ballot, first, voter: voter(rng, from) })
        }
        3 | 4 => {
            let (ballot, first) = (ballots(rng), slot(rng, a));
            let (values, decided) = (values(rng, a, first, ballot), mark(rng, a));
            Message::Acceptor(ToAcceptor::Accept(Accept { ballot, first, values, decided }))
        }
        5 => {
            let (ballot, first) = (ballot(rng, a), slot(rng, a));
            Message::Proposer(ToProposer::Promise(promise(rng, a, from, ballot, first)))
        }
        6 => {
            let (ballot, promised) = (ballot(rng, a), ballot(rng, a));
            Message::Proposer(ToProposer::Nack { ballot, promised })
        }
        7 => {
            let (ballot, round) = (ballots(rng), rng.u64(..20));
            Message::Proposer(ToProposer::PreVote { ballot, round })
        }
        8 => Message::Proposer(ToProposer::PreVoteReply {
            round: rng.u64(..20),
            granted: rng.bool(),
            promised: maybe_ballot(rng, a),
            voter: voter(rng, from),
        }),
        9 => {
            let (origin, request) = (address(rng), request(rng, a));
            Message::Proposer(ToProposer::Forward { origin, request })
        }
        10 => {
            let (ballot, first) = (ballots(rng), slot(rng, a));
            let wanted = promise(rng, a, from, ballot, first).accepted;
            Message::Acceptor(ToAcceptor::FetchAccepted { ballot, wanted })
        }
        11 => {
            let (ballot, first) = (ballots(rng), slot(rng, a));
            let held = promise(rng, a, from, ballot, first).accepted;
            Message::Acceptor(ToAcceptor::AcceptHeld { ballot, held })
        }
        12 => {
            let (ballot, first) = (ballot(rng, a), slot(rng, a));
            let wanted = promise(rng, a, from, ballot, first).accepted;
            Message::Proposer(ToProposer::AcceptedValues(accepted_values(rng, a, ballot, &wanted)))
        }
        13 => {
            let (ballot, voter) = (ballot(rng, a), voter(rng, from));
            Message::Learner(ToLearner::Accepted { ballot, voter, slots: ranges(rng, a).into() })
        }
        14 => {
            let slots = SlotRange::new(slot(rng, a), slot(rng, a));
            Message::Learner(ToLearner::Fetch { slots })
        }
        15 => {
            let first = slot(rng, a);
            let values = values(rng, a, first, Ballot::ZERO);
            Message::Learner(ToLearner::Page { first, values })
        }
        16 => {
            let (ballot, to) = (ballots(rng), ReplicaId(rng.u8(..4)));
            let hand_over = rng.bool().then_some(HandOver { ballot, to });
            Message::Proposer(ToProposer::Leaving { boot: BootId(rng.u64(1..3)), hand_over })
        }
        17 => {
            let (directory, applied) = (DirectoryId(rng.u64(..4)), slot(rng, a));
            let vote = [VoteAim::IfAdded, VoteAim::OfLostDisk, VoteAim::Never][rng.usize(..3)];
            Message::Proposer(ToProposer::Observes { directory, applied, vote })
        }
        _ => Message::Heartbeat(Box::new(heartbeat(rng, a, from))),
    }
}

pub(crate) fn answer(rng: &mut Rng, around: &Around, session: Session) -> Answer {
    let session = match rng.u8(..6) {
        0 => Session { client: ClientId(rng.u64(..3)), id: rng.u64(..3) },
        _ => session,
    };
    let seq = if rng.u8(..20) == 0 { super::edit::edge(rng) } else { rng.u64(..6) };
    match rng.u8(..16) {
        0 => Answer::Leader { ballot: ballot(rng, around) },
        1 => Answer::Expired { session, seq },
        8 => Answer::BornTooEarly { session, seq },
        9 => Answer::Held { session, seq, ballot: ballot(rng, around) },
        10 => Answer::Status(Box::new(status(rng, around))),
        11 => Answer::Usage(Box::new(usage(rng))),
        12 => Answer::Log(Box::new(excerpt(rng, around))),
        13 => {
            let mut members = ReplicaSet::EMPTY;
            (0..around.n as u8).filter(|_| rng.bool()).for_each(|id| {
                members.insert(ReplicaId(id));
            });
            let by = Voters { configuration: rng.u16(..3), members };
            Answer::Mark { read: rng.u64(..4), mark: slot(rng, around), by }
        }
        14 => Answer::Members(Box::new(members(rng, around))),
        15 => {
            let moved = Moved { id: ReplicaId(rng.u8(..around.n as u8)), to: address(rng) };
            Answer::Moved { configuration: rng.u16(..3), moved }
        }
        2..5 => Answer::Welcome { applied: slot(rng, around), ballot: ballot(rng, around) },
        _ => {
            let (slot, client_seq) = (slot(rng, around), rng.u64(..9));
            Answer::Complete { session, seq, slot, client_seq, attempt: attempt(rng) }
        }
    }
}

pub(crate) fn members_query(rng: &mut Rng) -> MembersQuery {
    let id = ReplicaId(rng.u8(..REPLICAS_MAX as u8));
    let change = match rng.u8(..4) {
        0 => MemberChange::Add(id),
        1 => MemberChange::Replace(id),
        2 => MemberChange::Remove(id),
        _ => MemberChange::Move(id, address(rng)),
    };
    let wish = Wish { base: rng.u16(..3), change, forced: rng.bool() };
    MembersQuery { number: rng.u64(..4), wish: rng.bool().then_some(wish) }
}

fn members(rng: &mut Rng, around: &Around) -> MembersAnswer {
    let ids = (0..REPLICAS_MAX as u8).filter(|_| rng.u8(..9) == 0).take(CHANGE_MEMBERS_MAX);
    let ids: Vec<u8> = ids.collect();
    let mut heard = ReplicaSet::EMPTY;
    let all: Vec<Member> = ids
        .into_iter()
        .map(|id| {
            heard.insert(ReplicaId(id));
            Member { id: ReplicaId(id), directory: DirectoryId(rng.u64(..)), address: None }
        })
        .collect();
    let configuration = Configuration::new(rng.u16(..9), &all).ok();
    let applied = slot(rng, around);
    let observer =
        Observer { id: ReplicaId(rng.u8(..3)), directory: DirectoryId(rng.u64(..)), applied };
    let observers = vec![observer; rng.usize(..=OBSERVERS_MAX)];
    let obstacles = [
        Obstacle::Unsure,
        Obstacle::Behind { applied, of: slot(rng, around) },
        Obstacle::NoQuorum { heard },
    ];
    let obstacle = rng.bool().then(|| obstacles[rng.usize(..3)]);
    let (number, leads) = (rng.u64(..4), rng.bool());
    MembersAnswer { number, leads, configuration, heard, observers, applied, obstacle }
}

fn status(rng: &mut Rng, around: &Around) -> Status {
    let mut waits_for = ReplicaSet::EMPTY;
    waits_for.insert(ReplicaId(rng.u8(..REPLICAS_MAX as u8)));
    let conducts = [
        Conduct::Leads,
        Conduct::Campaigns,
        Conduct::Follows,
        Conduct::Observes,
        Conduct::WarmsUp(waits_for),
    ];
    let leadership = Leadership {
        conduct: conducts[rng.usize(..conducts.len())],
        leader: rng.bool().then(|| ballot(rng, around)),
        ballot: ballot(rng, around),
        configuration: rng.u16(..3),
        members: waits_for,
        sync_ms: rng.u16(..),
    };
    let (applied, decided) = (slot(rng, around), slot(rng, around));
    Status { leadership, applied, decided, hash: rng.bool().then(|| rng.u64(..)) }
}

/// A place in the chat log, mostly one that may be there, and how much of it is asked for.
pub(crate) fn follow_query(rng: &mut Rng, around: &Around) -> FollowQuery {
    let offset = if rng.u8(..8) == 0 { super::edit::edge(rng) } else { rng.u64(..3_000) };
    FollowQuery { slot: slot(rng, around), offset, room: rng.u16(..1_200) }
}

fn excerpt(rng: &mut Rng, around: &Around) -> Excerpt {
    let FollowQuery { slot: at, offset, room } = follow_query(rng, around);
    let text = (0..room).map(|_| rng.u8(..)).collect();
    let rest = if rng.u8(..8) == 0 { super::edit::edge(rng) } else { rng.u64(..3_000) };
    Excerpt { slot: at, offset, text, rest, applied: slot(rng, around) }
}

fn usage(rng: &mut Rng) -> Usage {
    let causes = rng.usize(..=CAUSES_MAX);
    let dropped = (0..causes).map(|cause| (format!("drop_{cause}"), rng.u64(..))).collect();
    Usage { up_s: rng.u64(..), memory_bytes: rng.u64(..), disk_bytes: rng.u64(..), dropped }
}
