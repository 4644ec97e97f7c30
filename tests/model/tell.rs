//! Steps, told so that people can follow them.

use super::bounds::Bounds;
use super::network::{Packet, Place};
use super::seat::{Input, Step};
use multipaxos::message::Run;
use multipaxos::message::{Accept, Decided, Heartbeat, Promise, ToAcceptor, ToLearner, ToProposer};
use multipaxos::paxos::{acceptor, learner, proposer};
use multipaxos::types::{Slot, SlotRange, Value};
use multipaxos::values::Values;

pub(crate) fn step(bounds: &Bounds, place: Place, step: Step<&Packet>) -> String {
    let replica = place.replica();
    match step {
        Step::Take(packet) if packet.is_inside() => {
            format!("{place} takes {}", input(&packet.input))
        }
        Step::Take(packet) => {
            format!("{place} takes {}, sent by replica {}", input(&packet.input), packet.from)
        }
        Step::Offer(at) => format!("{place} is offered {}", bounds.offers[at].1),
        Step::Sync => format!("{place}: synced"),
        Step::Crash { .. } => format!("{place} begins anew"),
        Step::Campaign => format!("{place} loses patience and campaigns"),
        Step::Beat => format!("{place} sends heartbeats"),
        Step::Serve { to, first } => {
            format!("replica {to} asks replica {replica} for what was decided from slot {first} on")
        }
    }
}

fn input(input: &Input) -> String {
    match input {
        Input::Acceptor(acceptor::Input::Peer(_, ToAcceptor::Prepare { ballot, first })) => {
            format!("prepare({ballot}) from slot {first} on")
        }
        Input::Acceptor(acceptor::Input::Peer(_, ToAcceptor::Accept(accept))) => {
            let Accept { ballot, first, values, decided } = accept;
            format!("accept({ballot}) {}{}", slots(*first, values), mark(*decided))
        }
        Input::Acceptor(acceptor::Input::Applied(slot)) => format!("applied below slot {slot}"),
        Input::Proposer(proposer::Input::Peer(_, ToProposer::Promise(page))) => promise(page),
        Input::Proposer(proposer::Input::Progress { applied, decided, .. }) => {
            format!("applied below slot {applied}{}", mark(*decided))
        }
        Input::Learner(learner::Input::Peer(_, ToLearner::Accepted { ballot, slots, .. })) => {
            let range = |range: &SlotRange| format!(" {range}");
            format!(
                "votes({ballot}) for slots{}",
                slots.ranges().iter().map(range).collect::<String>()
            )
        }
        Input::Learner(learner::Input::Peer(_, ToLearner::Page { first, values })) => {
            format!("decided: {}", slots(*first, values))
        }
        Input::Learner(learner::Input::Proposed { run, .. }) => {
            format!("proposed({}) {}", run.ballot, slots(run.first, &run.values))
        }
        Input::Learner(learner::Input::OwnAccepted { runs, decided }) => {
            let run =
                |run: &Run| format!("accepted({}) {}", run.ballot, slots(run.first, &run.values));
            let runs: Vec<String> = runs.iter().map(run).collect();
            format!("{}{}", runs.join(", "), mark(*decided))
        }
        Input::Learner(learner::Input::Heartbeat(_, heartbeat)) => {
            let Heartbeat { ballot, decided, .. } = heartbeat;
            format!("heartbeat({ballot}){}", mark(*decided))
        }
        other => format!("{other:?}"),
    }
}

fn promise(page: &Promise) -> String {
    let Promise { ballot, slots: SlotRange { start: first, end }, last, trimmed, accepted, .. } =
        page;
    let end = if *last { "all".into() } else { format!("up to {end}") };
    let mut text = format!("promise({ballot}) from slot {first}, {end}");
    if *trimmed > Slot::ZERO {
        text += &format!(", trimmed below {trimmed}");
    }
    for entry in accepted {
        text += &format!(", accepted({}) {}", entry.ballot, slots(entry.first, &entry.values));
    }
    text
}

fn mark(decided: Decided) -> String {
    let Decided { ballot, slots } = decided;
    if slots.is_empty() { String::new() } else { format!(", decided({ballot}) {slots}") }
}

/// `0=A 1=-`
fn slots(first: Slot, values: &Values) -> String {
    let text = |value: &Value| match value {
        Value::Noop => "-".to_owned(),
        Value::Command(command) => command.line.to_string(),
    };
    let slots = (first.0..).zip(values.to_vec());
    let slots: Vec<String> =
        slots.map(|(slot, value)| format!("{slot}={}", text(&value))).collect();
    slots.join(" ")
}
