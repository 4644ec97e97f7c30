//! An execution as a story: numbered sentences, and what is broken at its end.

use super::bounds::{Bounds, replicas};
use super::cluster::{Action, Cluster, Turn};
use super::history::{Chosen, History, Law};
use super::network::Packet;
use super::seat::{Input, Step, StepEffect};
use super::tell;
use multipaxos::message::ToProposer;
use multipaxos::paxos::{acceptor, learner, proposer};
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{Ballot, ReplicaId, Slot, Value};
use std::collections::{BTreeMap, BTreeSet};

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
    text += &losses(turns, at);
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
    let Some(sent) = turns[..at].iter().rposition(|turn| turn.sends(taken)) else {
        return String::new();
    };
    let again = turns[sent..at].iter().any(|turn| turn.takes(taken));
    let from_peer = turns[at].packet.as_ref().is_some_and(|packet| !packet.is_inside());
    match (again, from_peer && sent + 1 < at) {
        (true, _) => format!(" (the message of step {}, delivered once more)", sent + 1),
        (false, true) => format!(" (the message of step {})", sent + 1),
        (false, false) => String::new(),
    }
}

/// Says to whom the network does not deliver what a turn sends for the first time.
fn losses(turns: &[Turn], at: usize) -> String {
    let mut arrives: BTreeMap<ReplicaId, Vec<bool>> = BTreeMap::new();
    for (number, packet) in &turns[at].sent {
        let is_new = !turns[..at].iter().any(|turn| turn.sends(*number));
        if !packet.is_inside() && matters(packet) && is_new {
            let taken = turns[at..].iter().any(|turn| turn.takes(*number));
            arrives.entry(packet.to.replica()).or_default().push(taken);
        }
    }
    let of = |lost: fn(&[bool]) -> bool| -> Vec<ReplicaId> {
        arrives.iter().filter(|(_, taken)| lost(taken)).map(|(id, _)| *id).collect()
    };
    let whole = of(|taken| !taken.contains(&true));
    let parts = of(|taken| taken.contains(&true) && taken.contains(&false));
    let told = [("what it sends to", whole), ("a part of what it sends to", parts)];
    let told = told.into_iter().filter(|(_, ids)| !ids.is_empty());
    let told: Vec<String> =
        told.map(|(what, ids)| format!("{what} {}", tell::replicas(&ids))).collect();
    if told.is_empty() {
        return String::new();
    }
    format!(" The network loses {}.", tell::list(&told))
}

/// Whether the network loses something that acceptors or a candidate would act on.
fn matters(packet: &Packet) -> bool {
    match &packet.input {
        Input::Acceptor(acceptor::Input::Peer(..)) => true,
        Input::Proposer(proposer::Input::Peer(_, message)) => {
            matches!(message, ToProposer::Promise(_) | ToProposer::AcceptedValues(_))
        }
        Input::Proposer(proposer::Input::OwnPromise { .. }) => true,
        _ => false,
    }
}

/// What is broken at the end.
fn ending(law: Law, turns: &[Turn], history: &History) -> Vec<String> {
    let mut lines = vec![format!("This breaks {}: {}.", law.rule(), law.what())];
    let chosen = history.all_chosen();
    match law {
        Law::Agreement => lines.extend(chosen.iter().filter_map(two_values)),
        Law::Prefix => {
            let logs = logs(turns);
            for (replica, log) in &logs {
                lines.push(format!("The log of replica {replica} holds {}.", entries(log)));
            }
            let applied: BTreeSet<Slot> =
                logs.values().flat_map(|log| log.keys().copied()).collect();
            for slot in applied {
                let chosen = chosen.get(&slot).map_or(&[][..], Vec::as_slice);
                let told: Vec<String> = chosen.iter().map(one_chosen).collect();
                lines.push(match chosen {
                    [] => format!("Slot {slot}: no quorum has accepted a value at one ballot."),
                    _ => format!("Slot {slot}: chosen is {}.", tell::list(&told)),
                });
            }
        }
        Law::AppliedOnce => {
            for (replica, log) in logs(turns) {
                lines.push(format!("The log of replica {replica} holds {}.", entries(&log)));
            }
        }
        Law::TrueAnswers => {
            lines.push(
                "No replica's durable log holds the line that the last step answers.".to_owned(),
            );
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
        for effect in &turn.effects {
            match (effect, turn.replica()) {
                (
                    StepEffect::Applied(learner::Record::Applied { first, values, client_seqs }),
                    Some(replica),
                ) => {
                    let log = logs.entry(replica).or_default();
                    let slots = (first.0..).map(Slot);
                    let took_effect = client_seqs.iter().map(Option::is_some);
                    log.extend(slots.zip(values.to_vec().into_iter().zip(took_effect)));
                }
                (StepEffect::GoesOn(applied), Some(replica)) => {
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

// --- tests --------------------------------------------------------------------------------

/// The execution that `first-value-wins` breaks, with the code as it is: here step 17 proposes
/// "B", the value of the highest ballot.
#[test]
fn an_execution_reads_as_numbered_sentences() {
    const BOUNDS: Bounds = Bounds {
        ballots: &[0, 1, 3],
        offers: &[(0, "A"), (1, "B"), (3, "C")],
        opening: &[&[
            "replica 0 campaigns: it asks its own acceptor to promise ballot 0",
            "replica 0's acceptor promises ballot 0 to its own proposer; it reports that it has accepted nothing",
            "replica 0 receives its own acceptor's promise of ballot 0; from now on it leads ballot 0",
            r#"a client sends "A" to replica 0, which proposes it in slot 0 at ballot 0"#,
            r#"replica 0's acceptor accepts "A" in slot 0 at ballot 0"#,
            "replica 0 campaigns: it asks its own acceptor to promise ballot 3",
            r#"replica 0's acceptor promises ballot 3 to its own proposer; it reports that it has accepted "A" in slot 0 at ballot 0"#,
            "replica 0 receives its own acceptor's promise of ballot 3; it asks replicas 1 and 2 to promise ballot 3",
            "replica 1 campaigns: it asks its own acceptor to promise ballot 1",
            "replica 1's acceptor promises ballot 1 to its own proposer; it reports that it has accepted nothing",
            "replica 1 receives its own acceptor's promise of ballot 1; it asks replicas 0 and 2 to promise ballot 1",
            "replica 2's acceptor promises ballot 1 to replica 1; it reports that it has accepted nothing",
            "replica 1 receives replica 2's promise of ballot 1; from now on it leads ballot 1",
            r#"a client sends "B" to replica 1, which proposes it in slot 0 at ballot 1"#,
            r#"replica 1's acceptor accepts "B" in slot 0 at ballot 1"#,
            "replica 1's acceptor promises ballot 3 to replica 0; it reports that it has accepted a value in slot 0 at ballot 1",
            "replica 0 receives replica 1's promise of ballot 3; it asks replica 1 for a value in slot 0 at ballot 1",
            r#"replica 1's acceptor sends replica 0 "B" in slot 0 at ballot 1"#,
            r#"replica 0 receives "B" in slot 0 at ballot 1 from replica 1; from now on it leads ballot 3; it proposes "B" in slot 0 at ballot 3"#,
        ]],
        ..Bounds::least()
    };
    let (turns, given, history) = Cluster::new(BOUNDS, &Law::ALL, &[]).follow(&[]);
    assert_eq!(given, turns.len());
    let told = tell(&BOUNDS, Law::Agreement, &turns, 0, &history);
    let expected = r#"
  1. Replica 0 campaigns: it asks its own acceptor to promise ballot 0.
  2. Replica 0's acceptor promises ballot 0 to its own proposer; it reports that it has accepted nothing.
  3. Replica 0 receives its own acceptor's promise of ballot 0; from now on it leads ballot 0.
  4. A client sends "A" to replica 0, which proposes it in slot 0 at ballot 0. The network loses what it sends to replicas 1 and 2.
  5. Replica 0's acceptor accepts "A" in slot 0 at ballot 0.
  6. Replica 0 campaigns: it asks its own acceptor to promise ballot 3.
  7. Replica 0's acceptor promises ballot 3 to its own proposer; it reports that it has accepted "A" in slot 0 at ballot 0.
  8. Replica 0 receives its own acceptor's promise of ballot 3; it asks replicas 1 and 2 to promise ballot 3. The network loses what it sends to replica 2.
  9. Replica 1 campaigns: it asks its own acceptor to promise ballot 1.
 10. Replica 1's acceptor promises ballot 1 to its own proposer; it reports that it has accepted nothing.
 11. Replica 1 receives its own acceptor's promise of ballot 1; it asks replicas 0 and 2 to promise ballot 1. The network loses what it sends to replica 0.
 12. Replica 2's acceptor promises ballot 1 to replica 1; it reports that it has accepted nothing.
 13. Replica 1 receives replica 2's promise of ballot 1; from now on it leads ballot 1.
 14. A client sends "B" to replica 1, which proposes it in slot 0 at ballot 1. The network loses what it sends to replicas 0 and 2.
 15. Replica 1's acceptor accepts "B" in slot 0 at ballot 1.
 16. Replica 1's acceptor promises ballot 3 to replica 0 (the message of step 8); it reports that it has accepted a value in slot 0 at ballot 1.
 17. Replica 0 receives replica 1's promise of ballot 3; it asks replica 1 for a value in slot 0 at ballot 1.
 18. Replica 1's acceptor sends replica 0 "B" in slot 0 at ballot 1.
 19. Replica 0 receives "B" in slot 0 at ballot 1 from replica 1; from now on it leads ballot 3; it proposes "B" in slot 0 at ballot 3. The network loses what it sends to replicas 1 and 2.

This breaks I1: at most one value is chosen for a slot."#;
    assert_eq!(told, expected.trim_start_matches('\n'));
}

#[test]
fn two_chosen_values_are_told_with_their_ballots_and_quorums() {
    let chosen = |ballot, line, by: [u8; 2]| {
        let value = Bounds::least().request(line).commands.to_vec().swap_remove(0);
        let mut quorum = ReplicaSet::default();
        by.into_iter().for_each(|id| assert!(quorum.insert(ReplicaId(id))));
        Chosen { ballot: Ballot(ballot), value, by: quorum }
    };
    let (a, b) = (chosen(0, "A", [0, 1]), chosen(3, "C", [1, 2]));
    assert_eq!(
        two_values((&Slot(0), &vec![a, b])).as_deref(),
        Some(
            r#"Slot 0: two values are chosen: "A" at ballot 0 by replicas 0 and 1; "C" at ballot 3 by replicas 1 and 2."#
        )
    );
    let same = vec![chosen(0, "A", [0, 1]), chosen(3, "A", [1, 2])];
    assert_eq!(two_values((&Slot(0), &same)), None);
}
