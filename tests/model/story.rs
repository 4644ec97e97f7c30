//! An execution as a story: numbered sentences, and what is broken at its end.

use super::bounds::{Bounds, replicas};
use super::cluster::{Action, Turn};
use super::history::{Chosen, History, Law};
use super::network::Packet;
use super::seat::{Event, Input, Step};
use super::tell;
use multipaxos::message::{ToAcceptor, ToProposer};
use multipaxos::paxos::{acceptor, learner, proposer};
use multipaxos::types::{ReplicaId, Slot, Value};
use std::collections::BTreeMap;

/// The whole story; the first `given` turns are the opening of the search.
pub(crate) fn tell(
    bounds: &Bounds,
    law: Law,
    turns: &[Turn],
    given: usize,
    history: &History,
) -> String {
    let mut lines = Vec::new();
    if given > 0 {
        lines.push(format!(
            "Steps 1 to {given} are given. No execution that goes on from there is shorter."
        ));
    }
    lines.extend(sentences(bounds, turns));
    lines.push(String::new());
    lines.extend(ending(law, turns, history));
    lines.join("\n")
}

/// The sentences of an execution, numbered from 1.
fn sentences(bounds: &Bounds, turns: &[Turn]) -> Vec<String> {
    let numbers = 0..turns.len();
    numbers.map(|at| format!("{:>3}. {}", at + 1, sentence(bounds, turns, at))).collect()
}

fn sentence(bounds: &Bounds, turns: &[Turn], at: usize) -> String {
    let turn = &turns[at];
    let text = capital(&tell::turn(bounds, turn));
    let late = taken_late(turns, at);
    let mut text = match text.split_once("; ") {
        Some((takes, comes_of_it)) => format!("{takes}{late}; {comes_of_it}."),
        None => format!("{text}{late}."),
    };
    let lost = lost(turns, at);
    if !lost.is_empty() {
        text += &format!(" The network loses what it sends to {}.", tell::replicas(&lost));
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Says which step sent the message that a turn takes, unless it is the step before.
fn taken_late(turns: &[Turn], at: usize) -> String {
    let Action::Step(_, Step::Take(taken)) = turns[at].action else { return String::new() };
    let sent = turns[..at].iter().position(|turn| turn.sends(taken));
    let Some(sent) = sent.filter(|sent| sent + 1 < at) else { return String::new() };
    let again = turns[..at].iter().any(|turn| turn.takes(taken));
    let from_peer = turns[at].packet.as_ref().is_some_and(|packet| !packet.is_inside());
    match (again, from_peer) {
        (true, _) => format!(" (the message of step {}, delivered once more)", sent + 1),
        (false, true) => format!(" (the message of step {})", sent + 1),
        (false, false) => String::new(),
    }
}

/// To whom a turn sends something of phase 1 or 2 that never arrives.
fn lost(turns: &[Turn], at: usize) -> Vec<ReplicaId> {
    let sent = turns[at].sent.iter().filter(|(number, packet)| {
        !packet.is_inside()
            && matters(packet)
            && !turns[..at].iter().any(|turn| turn.sends(*number))
            && !turns[at..].iter().any(|turn| turn.takes(*number))
    });
    sent.map(|(_, packet)| packet.to.replica()).collect()
}

/// Whether the network loses something that acceptors or a candidate would act on.
fn matters(packet: &Packet) -> bool {
    match &packet.input {
        Input::Acceptor(acceptor::Input::Peer(_, message)) => {
            matches!(message, ToAcceptor::Prepare { .. } | ToAcceptor::Accept(_))
        }
        Input::Proposer(proposer::Input::Peer(_, ToProposer::Promise(_))) => true,
        _ => false,
    }
}

/// What is broken at the end.
fn ending(law: Law, turns: &[Turn], history: &History) -> Vec<String> {
    let mut lines = vec![format!("Broken: {} ({}).", law.what(), law.rule())];
    let chosen = history.all_chosen();
    match law {
        Law::Agreement => lines.extend(chosen.iter().filter_map(two_values)),
        Law::Prefix => {
            let logs = logs(turns);
            for (replica, log) in &logs {
                lines.push(format!("The log of replica {replica} holds {}.", entries(log)));
            }
            for (slot, values) in &chosen {
                let chosen: Vec<String> = values.iter().map(one_chosen).collect();
                lines.push(format!("Slot {slot}: chosen is {}.", tell::list(&chosen)));
            }
        }
        Law::AppliedOnce => {
            for (replica, log) in logs(turns) {
                lines.push(format!("The log of replica {replica} holds {}.", entries(&log)));
            }
        }
        Law::TrueAnswers => {
            lines.push("The last step tells a client what no log holds.".to_owned());
        }
        _ => {}
    }
    lines
}

fn two_values((slot, values): (&Slot, &Vec<Chosen>)) -> Option<String> {
    let first = values.first()?;
    values.iter().any(|chosen| chosen.value != first.value).then(|| {
        let values: Vec<String> = values.iter().map(one_chosen).collect();
        format!("Slot {slot}: two values are chosen: {}.", values.join("; "))
    })
}

fn one_chosen(Chosen { ballot, value, by }: &Chosen) -> String {
    let by: Vec<ReplicaId> = replicas().filter(|id| by.contains(*id)).collect();
    format!("{} at ballot {ballot} by {}", tell::value(value), tell::replicas(&by))
}

/// What each replica has applied, and whether it took effect.
type Logs = BTreeMap<ReplicaId, BTreeMap<Slot, (Value, bool)>>;

fn logs(turns: &[Turn]) -> Logs {
    let mut logs = Logs::new();
    for turn in turns {
        for event in &turn.events {
            match (event, turn.replica()) {
                (
                    Event::Applied(learner::Record::Applied { first, values, client_seqs }),
                    Some(replica),
                ) => {
                    let log = logs.entry(replica).or_default();
                    let slots = (first.0..).map(Slot);
                    let took_effect = client_seqs.iter().map(Option::is_some);
                    log.extend(slots.zip(values.to_vec().into_iter().zip(took_effect)));
                }
                (Event::GoesOn(applied), Some(replica)) => {
                    logs.entry(replica).or_default().retain(|slot, _| slot < applied);
                }
                _ => {}
            }
        }
    }
    logs
}

fn entries(log: &BTreeMap<Slot, (Value, bool)>) -> String {
    let entries: Vec<String> = log
        .iter()
        .map(|(slot, (value, took_effect))| {
            let effect =
                if *took_effect || *value == Value::Noop { "" } else { ", without effect" };
            format!("{} in slot {slot}{effect}", tell::value(value))
        })
        .collect();
    if entries.is_empty() { "nothing".to_owned() } else { tell::list(&entries) }
}
