//! The proposer with its election, phase 1 and phase 2.

mod ballot_0;
mod campaigning;
mod copies;
mod departure;
mod giving_way;
mod leading;
mod live_campaigns;
mod members;
mod pre_votes;
mod reads;
mod states;
mod status;
mod waiting;
mod wishes;

use crate::common::*;
use multipaxos::message::{
    Accept, AcceptedValues, Heartbeat, Message, Promise, Request, Run, Span, Spans, ToAcceptor,
    ToBootstrap, ToProposer,
};
use multipaxos::paxos::acceptor::{self, Acceptor};
use multipaxos::paxos::proposer::{Input, Proposer};
use multipaxos::paxos::{
    Envelope, Membership, NoStorage, Notice, PROPOSE_WINDOW_SLOTS, Role, Settings, learner,
};
use multipaxos::types::{Ballot, DirectoryId, ReplicaId, Slot, SlotRange, Time, Value};
use std::collections::BTreeSet;

type Subject = Seat<Proposer, NoStorage>;

fn build(settings: Settings, membership: Membership) -> Subject {
    Seat::new(Proposer::new(settings, membership, Time(0), 0), NoStorage)
}

fn proposer(n: usize, id: ReplicaId) -> Subject {
    build(settings(n, id), membership(n, id))
}

/// Replica 0 of `n`, leading ballot 0.
fn first_leader(n: usize) -> Subject {
    let mut seat = proposer(n, R0);
    crown(&mut seat);
    seat
}

/// Gives a fresh replica 0 the promise of its own acceptor.
fn crown(seat: &mut Subject) -> Vec<Envelope> {
    let mut sent = seat.wake();
    sent.extend(seat.handle(own_promise(0, &[])));
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    sent
}

/// Slots, the ballots at which they hold values, and the lines.
type Held<'a> = &'a [(u64, u64, &'a str)];

fn runs(held: Held<'_>) -> Vec<Run> {
    let run = |&(slot, ballot, line): &(u64, u64, &str)| Run {
        first: Slot(slot),
        ballot: Ballot(ballot),
        values: (&value(line)).into(),
    };
    held.iter().map(run).collect()
}

fn spans(held: Held<'_>) -> Spans {
    let spans = runs(held).into_iter();
    spans.map(|run| Span { slots: run.slots(), ballot: run.ballot }).collect()
}

/// The promise of the own acceptor.
fn own_promise(ballot: u64, held: Held<'_>) -> Input {
    let (ballot, accepted) = (Ballot(ballot), runs(held));
    Input::OwnPromise { ballot, first: Slot::ZERO, trimmed: Slot::ZERO, accepted }
}

/// A promise in one page.
fn promise(from: ReplicaId, ballot: u64, held: Held<'_>) -> Input {
    page(from, ballot, (0, true), 0, held)
}

/// A page from a slot on. It is the last one or not.
fn page(
    from: ReplicaId,
    ballot: u64,
    (first, last): (u64, bool),
    trimmed: u64,
    held: Held<'_>,
) -> Input {
    let accepted = spans(held);
    let start = Slot(first.max(trimmed));
    let page = Promise {
        ballot: Ballot(ballot),
        voter: voter(from),
        slots: SlotRange::new(Slot(first), start.max(accepted.end())),
        last,
        trimmed: Slot(trimmed),
        accepted,
    };
    Input::Peer(from, ToProposer::Promise(page))
}

/// The values that acceptors are asked for: acceptor, slot and ballot.
fn wanted(envelopes: &[Envelope]) -> Vec<(ReplicaId, u64, u64)> {
    let each = |(to, message)| match message {
        ToAcceptor::FetchAccepted { wanted, .. } => wanted
            .iter()
            .flat_map(|span| span.slots.iter().map(move |slot| (to, slot.0, span.ballot.0)))
            .collect(),
        _ => Vec::new(),
    };
    to_acceptors(envelopes).into_iter().flat_map(each).collect()
}

/// All of an answer to the request for values.
fn values(from: ReplicaId, ballot: u64, held: Held<'_>) -> Input {
    part(from, ballot, held, true)
}

/// A part of one.
fn part(from: ReplicaId, ballot: u64, held: Held<'_>, last: bool) -> Input {
    let (ballot, accepted) = (Ballot(ballot), runs(held));
    let values = AcceptedValues { ballot, trimmed: Slot::ZERO, accepted, last };
    Input::Peer(from, ToProposer::AcceptedValues(values))
}

/// Lets `seat` have a promise, and then the values that it asks for because of it.
fn report(seat: &mut Subject, from: ReplicaId, ballot: u64, held: Held<'_>) -> Vec<Envelope> {
    let mut sent = seat.handle(promise(from, ballot, held));
    let lacking = wanted(&sent);
    let is_asked = |(slot, at, _): &&(u64, u64, &str)| lacking.contains(&(from, *slot, *at));
    let asked: Vec<(u64, u64, &str)> = held.iter().filter(is_asked).copied().collect();
    if !asked.is_empty() {
        sent.extend(seat.handle(values(from, ballot, &asked)));
    }
    sent
}

/// The pre-votes among the messages: receiver, ballot and round.
fn pre_votes(envelopes: &[Envelope]) -> Vec<(ReplicaId, Ballot, u64)> {
    let pick = |(to, message)| match message {
        ToProposer::PreVote { ballot, round } => Some((to, ballot, round)),
        _ => None,
    };
    to_proposers(envelopes).into_iter().filter_map(pick).collect()
}

fn grant(from: ReplicaId, round: u64) -> Input {
    reply(from, round, true, None)
}

fn reply(from: ReplicaId, round: u64, granted: bool, promised: Option<u64>) -> Input {
    let (promised, voter) = (promised.map(Ballot), voter(from));
    Input::Peer(from, ToProposer::PreVoteReply { round, granted, promised, voter })
}

/// Whether `seat` grants a pre-vote that `from` asks for.
fn grants(seat: &mut Subject, from: ReplicaId, ballot: u64) -> bool {
    let ballot = Ballot(ballot);
    let sent = seat.handle(Input::Peer(from, ToProposer::PreVote { ballot, round: 9 }));
    match to_proposers(&sent).as_slice() {
        [(to, ToProposer::PreVoteReply { round: 9, granted, .. })] if *to == from => *granted,
        other => panic!("no answer to a pre-vote but {other:?}"),
    }
}

fn prepares(envelopes: &[Envelope]) -> Vec<(ReplicaId, u64, u64)> {
    let pick = |(to, message)| match message {
        ToAcceptor::Prepare { ballot, first, .. } => Some((to, ballot.0, first.0)),
        _ => None,
    };
    to_acceptors(envelopes).into_iter().filter_map(pick).collect()
}

fn accepts_to(envelopes: &[Envelope], replica: ReplicaId) -> Vec<Accept> {
    let pick = |(to, message)| match message {
        ToAcceptor::Accept(accept) if to == replica => Some(accept),
        _ => None,
    };
    to_acceptors(envelopes).into_iter().filter_map(pick).collect()
}

/// The proposals that go to replica 1: slots and values.
fn proposed(envelopes: &[Envelope]) -> Vec<(u64, Value)> {
    let slots = |accept: Accept| (accept.first.0..).zip(accept.values.to_vec());
    accepts_to(envelopes, R1).into_iter().flat_map(slots).collect()
}

/// Lets `seat` suspect, get pre-votes and campaign. Returns its ballot.
fn campaign(seat: &mut Subject, helper: ReplicaId) -> Ballot {
    for _ in 0..100 {
        let sent = seat.wait_us(HEARTBEAT_US);
        if let Some((_, ballot, round)) = pre_votes(&sent).pop() {
            seat.handle(grant(helper, round));
            return ballot;
        }
    }
    panic!("it never asks for pre-votes")
}

/// Lets `seat` lead after a campaign. Its own acceptor holds nothing; `helper` promises too, and
/// holds this.
fn succeed(seat: &mut Subject, helper: ReplicaId, held: Held<'_>) -> Vec<Envelope> {
    let ballot = campaign(seat, R0);
    seat.handle(own_promise(ballot.0, &[]));
    let sent = report(seat, helper, ballot.0, held);
    assert_eq!(seat.role.leading(), Some(ballot));
    sent
}

fn request_is_next(session: u64, seq: u64, line: &str) -> Input {
    Input::RequestIsNext { origin: address(1), request: Request::new(1, session, seq, line) }
}

fn progress(applied: u64, pending: bool) -> Input {
    let decided = nothing_decided(0);
    let pending = pending.then_some(0);
    Input::Progress {
        applied: Slot(applied),
        hash: 0,
        configuration: None,
        decided,
        pending,
        lost: vec![],
    }
}

fn serving(from: ReplicaId, round: u64, ballot: u64) -> Input {
    let ballot = Ballot(ballot);
    Input::Heartbeat(from, Box::new(Heartbeat { ballot, leading: true, ..heartbeat(from, round) }))
}

/// Lets time pass in which `peers` echo every heartbeat.
fn in_touch(seat: &mut Subject, us: u64, peers: &[ReplicaId]) -> Vec<Envelope> {
    let end = seat.now.plus_us(us);
    let mut all = Vec::new();
    while seat.now < end {
        let sent = seat.wait_us(HEARTBEAT_US / 2);
        for (to, mine) in heartbeats(&sent) {
            if peers.contains(&to) {
                let echo = Heartbeat { echo: mine.round, ..heartbeat(to, mine.round) };
                all.extend(seat.handle(Input::Heartbeat(to, Box::new(echo))));
            }
        }
        all.extend(sent);
    }
    all
}
