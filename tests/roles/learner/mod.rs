//! The learner role: a file of tests for each of its parts.

mod catch_up;
mod checkpoints;
mod decisions;
mod execution;
mod followers;
mod members;
mod pending_clients;
mod status;

use crate::common::*;
use multipaxos::chat::SESSION_WINDOW_SLOTS;
use multipaxos::message::Run;
use multipaxos::message::{
    Answer, Decided, Heartbeat, Message, Request, ToBootstrap, ToLearner, ToProposer,
};
use multipaxos::paxos::learner::{
    AHEAD_SLOTS, Assembly, Checkpoint, FETCH_SLOTS_MAX, FETCHES_MAX, Input, Learner, PART_SESSIONS,
    STRETCHES_MAX,
};
use multipaxos::paxos::{ANSWER_BYTES_MAX, Envelope, Membership, acceptor, proposer};
use multipaxos::requesters::{Asker, Origin, Requesters};
use multipaxos::types::{Address, Attempt, Ballot, Command, ReplicaId, Slot, SlotRange, Value};
use multipaxos::values::COMMAND_BYTES;

type Subject = Seat<Learner, Log>;

fn learner(n: usize, id: ReplicaId) -> Subject {
    Seat::new(
        Learner::new(settings(n, id), membership(n, id), Checkpoint::default()),
        Log::default(),
    )
}

fn votes(from: ReplicaId, ballot: u64, first: u64, count: u64) -> Input {
    let (ballot, voter, slots) = (Ballot(ballot), voter(from), vec![range(first, count)].into());
    Input::Peer(from, ToLearner::Accepted { ballot, voter, slots })
}

/// The own proposer has proposed values from `first` on, in a phase 2 that began at slot 0.
fn proposed(ballot: u64, first: u64, values: &[Value]) -> Input {
    let requesters = Requesters::unknown(values.len());
    let run = Run { first: Slot(first), ballot: Ballot(ballot), values: values.into() };
    Input::Proposed { start: Slot(0), run, requesters }
}

/// The own acceptor has accepted values from `first` on.
fn voted(ballot: u64, first: u64, values: &[Value], decided: Decided) -> Input {
    let run = Run { first: Slot(first), ballot: Ballot(ballot), values: values.into() };
    Input::OwnAccepted { runs: vec![run], decided }
}

fn page(from: ReplicaId, first: u64, values: &[Value]) -> Input {
    Input::Peer(from, ToLearner::Page { first: Slot(first), values: values.into() })
}

/// A peer has applied every slot below `applied`.
fn applied(from: ReplicaId, round: u64, applied: u64) -> Input {
    let applied = Slot(applied);
    Input::Heartbeat(from, Box::new(Heartbeat { applied, ..heartbeat(from, round) }))
}

fn leads(from: ReplicaId, round: u64, ballot: u64, decided: Decided) -> Input {
    let ballot = Ballot(ballot);
    let leading = true;
    Input::Heartbeat(
        from,
        Box::new(Heartbeat { ballot, leading, decided, ..heartbeat(from, round) }),
    )
}

fn held(session: u64, seq: u64, line: &str) -> Input {
    let request = Request::new(1, session, seq, line);
    Input::RequestNotProposed { origin: address(1), request, direct: true }
}

fn fetches(envelopes: &[Envelope]) -> Vec<(ReplicaId, u64, u64)> {
    let pick = |(to, message)| match message {
        ToLearner::Fetch { slots } => Some((to, slots.start.0, slots.end.0)),
        _ => None,
    };
    to_learners(envelopes).into_iter().filter_map(pick).collect()
}

fn forwards(envelopes: &[Envelope]) -> Vec<(ReplicaId, u64)> {
    let pick = |(to, message)| match message {
        ToProposer::Forward { request, .. } => Some((to, request.command().seq)),
        _ => None,
    };
    to_proposers(envelopes).into_iter().filter_map(pick).collect()
}

fn values(lines: &[&str]) -> Vec<Value> {
    lines.iter().map(|line| value(line)).collect()
}

fn noops(count: usize) -> Vec<Value> {
    vec![Value::Noop; count]
}

/// Whether the learner last said that something is pending.
fn pending(seat: &mut Subject) -> bool {
    let told = told_proposer(&seat.wait_us(HEARTBEAT_US));
    let pick = |input: &proposer::Input| match input {
        proposer::Input::Progress { pending, .. } => Some(pending.is_some()),
        _ => None,
    };
    told.iter().filter_map(pick).next_back().expect("progress is told at every heartbeat")
}

/// The decided marks that the proposer is told.
fn marks(envelopes: &[Envelope]) -> Vec<Decided> {
    let pick = |input: &proposer::Input| match input {
        proposer::Input::Progress { decided, .. } => Some(*decided),
        _ => None,
    };
    told_proposer(envelopes).iter().filter_map(pick).collect()
}

/// The client at this port, which has asked once.
fn asker(port: u16) -> Asker {
    Asker { address: address(port), after: Slot(0), attempt: Attempt::FIRST }
}

/// The own proposer has proposed values from `first` on. `origins` says how many of them each
/// client's port asked for.
fn asked(first: u64, values: &[Value], origins: &[(usize, Option<u16>)]) -> Input {
    let origin = |(count, port): &(usize, Option<u16>)| {
        let asked = port.map(asker);
        Origin::new(*count, asked)
    };
    let run = Run { first: Slot(first), ballot: Ballot(0), values: values.into() };
    let requesters = origins.iter().map(origin).collect();
    Input::Proposed { start: Slot(0), run, requesters }
}

/// The completions: the client's port, the session and the slot of its line.
fn completed(envelopes: &[Envelope]) -> Vec<(u16, u64, u64)> {
    let pick = |(to, answer): (Address, Answer)| match answer {
        Answer::Complete { session, slot, .. } => Some((to.0.port(), session.id, slot.0)),
        _ => None,
    };
    answers(envelopes).into_iter().filter_map(pick).collect()
}
