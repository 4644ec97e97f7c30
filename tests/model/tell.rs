//! Turns, told as sentences that a reader of *Paxos Made Simple* can follow.
//!
//! A sentence says who acts and what comes of it. It needs no other sentence, so that the
//! openings of `tests/model_check.rs` can quote it; `story` puts sentences in a row.

use super::bounds::Bounds;
use super::cluster::{Action, Turn};
use super::network::{Packet, RoleId};
use super::seat::{Input, Step, StepEffect};
use multipaxos::message::{
    Accept, AcceptedValues, Answer, Decided, Heartbeat, Message, Promise, Run, Span, Spans,
    ToAcceptor, ToLearner, ToProposer,
};
use multipaxos::paxos::{Envelope, Notice, acceptor, learner, proposer};
use multipaxos::types::{Ballot, ReplicaId, Slot, SlotRange, Value};
use multipaxos::values::Values;
use std::collections::BTreeMap;

/// A turn, without a capital letter and without a full stop.
pub(crate) fn turn(bounds: &Bounds, turn: &Turn) -> String {
    let mut text = match turn.action {
        Action::Die(replica, None) => format!("replica {replica} dies"),
        Action::Die(replica, Some(false)) => {
            format!("replica {replica} dies before its disk has what it just wrote: that is lost")
        }
        Action::Die(replica, Some(true)) => {
            format!("replica {replica} dies; its disk has what it just wrote, but no answer left")
        }
        Action::Begin(replica) => begin(replica, &turn.effects),
        Action::Learn => {
            "from here on only the learners go on, with what is still on its way".to_owned()
        }
        Action::Step(role, step) => match &turn.packet {
            Some(packet) => take(role, packet, turn),
            None => other_step(bounds, role, step, turn),
        },
    };
    if turn.failed {
        text += "; an assertion of the role fails";
    }
    text
}

fn begin(replica: ReplicaId, effects: &[StepEffect]) -> String {
    let remembers = effects.iter().find_map(|effect| match effect {
        StepEffect::Remembers(promised) => Some(*promised),
        _ => None,
    });
    match remembers.flatten() {
        Some(ballot) => {
            format!("replica {replica} starts again; its disk holds the promise of ballot {ballot}")
        }
        None => format!("replica {replica} starts again; its disk holds no promise"),
    }
}

// --- steps without a message --------------------------------------------------------------

fn other_step(bounds: &Bounds, role: RoleId, step: Step<u32>, turn: &Turn) -> String {
    let replica = role.replica();
    match step {
        Step::Offer(at) => {
            let line = bounds.offers[at].1;
            let proposed = proposals(turn).into_iter().next();
            match proposed.and_then(|(ballot, slots)| Some((ballot, slots.into_keys().next()?))) {
                Some((ballot, slot)) => format!(
                    "a client sends {line:?} to replica {replica}, which proposes it in slot \
                     {slot} at ballot {ballot}"
                ),
                None => format!("a client sends {line:?} to replica {replica}, which keeps it"),
            }
        }
        Step::Change => {
            format!("replica {replica} is asked for the next members, and proposes the change")
        }
        Step::Campaign => match prepared(turn) {
            Some((ballot, asked)) => format!(
                "replica {replica} campaigns: it asks {} to promise ballot {ballot}",
                acceptors(replica, &asked)
            ),
            None => format!("replica {replica} campaigns"),
        },
        Step::Beat => {
            let said = turn.sent.iter().find_map(|(_, packet)| match &packet.input {
                Input::Learner(learner::Input::Heartbeat(_, heartbeat)) => Some(heartbeat.decided),
                _ => None,
            });
            let said = said.and_then(decided).map(|said| format!(" that say that {said}"));
            format!("replica {replica} sends heartbeats{}", said.unwrap_or_default())
        }
        Step::Serve { to, first } => format!(
            "replica {to} fetches from replica {replica} what is decided from slot {first} on"
        ),
        Step::Sync => format!("the disk of {} syncs what it holds", name_of(role)),
        Step::Crash { .. } | Step::Take(_) => unreachable!("told elsewhere: {step:?}"),
    }
}

// --- messages -----------------------------------------------------------------------------

fn take(role: RoleId, packet: &Packet, turn: &Turn) -> String {
    match &packet.input {
        Input::Acceptor(input) => acceptor_takes(role, packet, input, turn),
        Input::Proposer(input) => proposer_takes(role, packet, input, turn),
        Input::Learner(input) => learner_takes(role, packet, input, turn),
    }
}

fn acceptor_takes(role: RoleId, packet: &Packet, input: &acceptor::Input, turn: &Turn) -> String {
    let actor = name_of(role);
    match input {
        acceptor::Input::Peer(_, ToAcceptor::Prepare { ballot, .. }) => {
            let whom = match packet.is_inside() {
                true => "its own proposer".to_owned(),
                false => format!("replica {}", packet.from),
            };
            if turn.writing {
                return format!("{actor} begins to write the promise of ballot {ballot}");
            }
            let pages = turn.effects.iter().filter_map(|effect| match effect {
                StepEffect::Leaves(Envelope::Peer {
                    message: Message::Proposer(ToProposer::Promise(page)),
                    ..
                }) => Some(report(page)),
                StepEffect::Leaves(Envelope::Notice(Notice::Proposer(
                    proposer::Input::OwnPromise { trimmed, accepted, .. },
                ))) => Some(own_report(*trimmed, accepted)),
                _ => None,
            });
            let pages: Vec<String> = pages.collect();
            if pages.is_empty() {
                return format!("{actor} refuses ballot {ballot}{}", stands(turn));
            }
            let careless = if turn.careless { ", but its disk does not hold that" } else { "" };
            format!("{actor} promises ballot {ballot} to {whom}{careless}; {}", pages.join("; "))
        }
        acceptor::Input::Peer(_, ToAcceptor::FetchAccepted { ballot, .. }) => {
            let sent = turn.effects.iter().filter_map(|event| match event {
                StepEffect::Leaves(Envelope::Peer {
                    message: Message::Proposer(ToProposer::AcceptedValues(values)),
                    ..
                }) => Some(handed_over(values)),
                _ => None,
            });
            let sent: Vec<String> = sent.collect();
            match sent.is_empty() {
                true => format!("{actor} refuses ballot {ballot}{}", stands(turn)),
                false => format!("{actor} sends replica {} {}", packet.from, list(&sent)),
            }
        }
        acceptor::Input::Peer(_, ToAcceptor::Accept(accept)) => {
            let Accept { ballot, first, values, decided: mark } = accept;
            let what = format!("{} at ballot {ballot}", slots(*first, values));
            let mark = decided(*mark).map(|mark| format!("; it hears that {mark}"));
            accepts(&actor, &what, &mark.unwrap_or_default(), turn)
        }
        acceptor::Input::Peer(_, ToAcceptor::AcceptHeld { ballot, held }) => {
            let what = format!("at ballot {ballot} what it holds, {}", in_spans(held));
            accepts(&actor, &what, "", turn)
        }
        acceptor::Input::Heard(..) | acceptor::Input::Beside(_) => {
            unreachable!("left out, as heartbeats are")
        }
        acceptor::Input::Mark { .. } => unreachable!("nobody reads in the model"),
        acceptor::Input::Applied(slot, _) => {
            let trims = turn
                .effects
                .iter()
                .any(|effect| matches!(effect, StepEffect::Accepted(acceptor::Record::Trim(_))));
            let applied = format!("its learner has applied every slot below {slot}");
            match trims {
                true => format!("{actor} forgets what it accepted below slot {slot}: {applied}"),
                false => format!("{actor} hears that {applied}"),
            }
        }
    }
}

/// What an acceptor does that is asked to accept `what`.
fn accepts(actor: &str, what: &str, mark: &str, turn: &Turn) -> String {
    let durable = turn
        .effects
        .iter()
        .any(|effect| matches!(effect, StepEffect::Accepted(acceptor::Record::Accept(_))));
    let answers = turn.effects.iter().any(|effect| match effect {
        StepEffect::Leaves(Envelope::Peer { message, .. }) => {
            matches!(message, Message::Learner(ToLearner::Accepted { .. }))
        }
        _ => false,
    });
    match (turn.writing, durable, answers) {
        (true, ..) => format!("{actor} begins to write that it accepts {what}{mark}"),
        (_, true, _) => format!("{actor} accepts {what}{mark}"),
        (_, false, true) => {
            format!("{actor} says that it accepts {what}, but its disk does not hold that{mark}")
        }
        (_, false, false) => format!("{actor} refuses {what}{}{mark}", stands(turn)),
    }
}

fn proposer_takes(role: RoleId, packet: &Packet, input: &proposer::Input, turn: &Turn) -> String {
    let replica = role.replica();
    match input {
        proposer::Input::OwnPromise { ballot, .. } => {
            let what = format!("its own acceptor's promise of ballot {ballot}");
            received(replica, what, turn)
        }
        proposer::Input::Peer(_, ToProposer::Promise(page)) => {
            let mut what = format!("replica {}'s promise of ballot {}", packet.from, page.ballot);
            if !page.last {
                what += ", a first page";
            }
            received(replica, what, turn)
        }
        proposer::Input::Peer(_, ToProposer::AcceptedValues(values)) => {
            received(replica, format!("{} from replica {}", handed_over(values), packet.from), turn)
        }
        proposer::Input::Progress { applied, decided: mark, .. } => {
            let mark = decided(*mark).map(|mark| format!(" and that {mark}"));
            format!(
                "replica {replica}'s proposer hears from its learner that every slot below \
                 {applied} is applied{}",
                mark.unwrap_or_default()
            )
        }
        other => format!("replica {replica}'s proposer takes {other:?}"),
    }
}

/// What a candidate does when it receives `what`.
fn received(replica: ReplicaId, what: String, turn: &Turn) -> String {
    let mut text = format!("replica {replica} receives {what}");
    if let Some((ballot, asked)) = prepared(turn) {
        let asked = acceptors(replica, &asked);
        text += &format!("; it asks {asked} to promise ballot {ballot}");
    }
    for (_, packet) in &turn.sent {
        if let Input::Acceptor(acceptor::Input::Peer(_, ToAcceptor::FetchAccepted { wanted, .. })) =
            &packet.input
        {
            let (whom, wanted) = (packet.to.replica(), in_spans(wanted));
            text += &format!("; it asks replica {whom} for {wanted}");
        }
    }
    if let Some(ballot) = turn.leads {
        text += &format!("; from now on it leads ballot {ballot}");
    }
    for (ballot, slots) in proposals(turn) {
        text += &format!("; it proposes {} at ballot {ballot}", in_slots(slots));
    }
    text
}

fn learner_takes(role: RoleId, packet: &Packet, input: &learner::Input, turn: &Turn) -> String {
    let actor = name_of(role);
    let mut text = match input {
        learner::Input::Peer(_, ToLearner::Accepted { ballot, slots, .. }) => {
            let whose = match packet.is_inside() {
                true => "its own acceptor's".to_owned(),
                false => format!("replica {}'s", packet.from),
            };
            let slots: Vec<String> = slots.ranges().iter().copied().map(range).collect();
            format!("{actor} counts {whose} acceptance of {} at ballot {ballot}", list(&slots))
        }
        learner::Input::Peer(_, ToLearner::Page { first, values }) => {
            format!("{actor} fetches {} from replica {}", slots(*first, values), packet.from)
        }
        learner::Input::Proposed { run, .. } => {
            format!("{actor} hears that its proposer proposes {}", accepted(run))
        }
        learner::Input::OwnAccepted { runs, decided: mark } => {
            let runs: Vec<String> = runs.iter().map(accepted).collect();
            let mark = decided(*mark).map(|mark| format!(", and that {mark}"));
            let what = if runs.is_empty() { "nothing".to_owned() } else { list(&runs) };
            format!(
                "{actor} hears that its acceptor has accepted {what}{}",
                mark.unwrap_or_default()
            )
        }
        learner::Input::Heartbeat(_, heartbeat) => {
            let Heartbeat { decided: mark, .. } = &**heartbeat;
            let said = decided(*mark).unwrap_or_else(|| "nothing is decided".to_owned());
            format!("{actor} hears from replica {} that {said}", packet.from)
        }
        other => format!("{actor} takes {other:?}"),
    };
    for effect in &turn.effects {
        match effect {
            StepEffect::Applied(learner::Record::Applied { first, values, client_seqs }) => {
                text += &format!("; it applies {}", slots(*first, values));
                if !values_are_noops(values) && client_seqs.iter().all(Option::is_none) {
                    text += ", which changes nothing any more";
                }
            }
            StepEffect::Leaves(Envelope::Answers { answers, .. }) => {
                for answer in answers {
                    if let Answer::Complete { slot, .. } = answer {
                        text += &format!("; it tells the client that its line is in slot {slot}");
                    }
                }
            }
            _ => {}
        }
    }
    if turn.writing {
        text += "; it begins to write that";
    }
    text
}

// --- parts of sentences -------------------------------------------------------------------

fn name_of(role: RoleId) -> String {
    let (name, replica) = (role.name(), role.replica());
    format!("replica {replica}'s {name}")
}

/// What the acceptor that refuses has promised.
fn stands(turn: &Turn) -> String {
    let promised = turn.effects.iter().rev().find_map(|effect| match effect {
        StepEffect::Stands(promised) => *promised,
        _ => None,
    });
    promised.map(|ballot| format!(": it has promised ballot {ballot}")).unwrap_or_default()
}

/// What a promise says beside its ballot.
fn report(page: &Promise) -> String {
    let Promise { slots: SlotRange { end, .. }, last, trimmed, accepted: spans, .. } = page;
    let more = match last {
        true => String::new(),
        false => format!("; slots from {end} on come in another page"),
    };
    let accepted = (!spans.is_empty()).then(|| in_spans(spans));
    format!("{}{more}", reported(*trimmed, accepted))
}

/// The same of the own acceptor, whose proposer gets the values as well.
fn own_report(trimmed: Slot, runs: &[Run]) -> String {
    let runs: Vec<String> = runs.iter().map(accepted).collect();
    reported(trimmed, (!runs.is_empty()).then(|| list(&runs)))
}

fn reported(trimmed: Slot, accepted: Option<String>) -> String {
    let mut said = Vec::new();
    if trimmed > Slot::ZERO {
        said.push(format!("it has forgotten the slots below {trimmed}"));
    }
    said.push(format!("it has accepted {}", accepted.as_deref().unwrap_or("nothing")));
    format!("it reports that {}", list(&said))
}

/// `a value in slot 0 at ballot 1`
fn in_spans(spans: &Spans) -> String {
    let each = spans.iter().map(|Span { slots, ballot }| {
        let what = if slots.len() == 1 { "a value" } else { "values" };
        format!("{what} in {} at ballot {ballot}", range(slots))
    });
    list(&each.collect::<Vec<_>>())
}

/// What an acceptor sends to a candidate that lacks it.
fn handed_over(values: &AcceptedValues) -> String {
    let runs: Vec<String> = values.accepted.iter().map(accepted).collect();
    match runs.is_empty() {
        true => format!("no value, for it has forgotten the slots below {}", values.trimmed),
        false => list(&runs),
    }
}

fn accepted(run: &Run) -> String {
    format!("{} at ballot {}", slots(run.first, &run.values), run.ballot)
}

fn decided(mark: Decided) -> Option<String> {
    let Decided { ballot, slots } = mark;
    let be = if slots.len() == 1 { "is" } else { "are" };
    (!slots.is_empty()).then(|| format!("{} {be} decided at ballot {ballot}", range(slots)))
}

fn range(slots: SlotRange) -> String {
    match slots.len() {
        1 => format!("slot {}", slots.start),
        _ => format!("slots {} up to {}", slots.start, slots.end),
    }
}

/// The ballot whose promise is asked for, and of which replicas' acceptors.
fn prepared(turn: &Turn) -> Option<(Ballot, Vec<ReplicaId>)> {
    let asked = turn.sent.iter().filter_map(|(_, packet)| match &packet.input {
        Input::Acceptor(acceptor::Input::Peer(_, ToAcceptor::Prepare { ballot, .. })) => {
            Some((*ballot, packet.to.replica()))
        }
        _ => None,
    });
    let asked: Vec<(Ballot, ReplicaId)> = asked.collect();
    let (ballot, _) = asked.first()?;
    Some((*ballot, asked.iter().map(|(_, replica)| *replica).collect()))
}

/// What is proposed at each ballot, once each, whomever it is sent to.
fn proposals(turn: &Turn) -> BTreeMap<Ballot, BTreeMap<Slot, Value>> {
    let mut proposals: BTreeMap<Ballot, BTreeMap<Slot, Value>> = BTreeMap::new();
    for (_, packet) in &turn.sent {
        if let Input::Acceptor(acceptor::Input::Peer(_, ToAcceptor::Accept(accept))) = &packet.input
        {
            let slots = (accept.first.0..).map(Slot).zip(accept.values.to_vec());
            proposals.entry(accept.ballot).or_default().extend(slots);
        }
    }
    proposals
}

/// Acceptors, as replica `by` would name them.
fn acceptors(by: ReplicaId, ids: &[ReplicaId]) -> String {
    if ids == [by] { "its own acceptor".to_owned() } else { replicas(ids) }
}

/// `replica 1`, `replicas 0 and 2`
pub(crate) fn replicas(ids: &[ReplicaId]) -> String {
    let mut ids: Vec<ReplicaId> = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let numbers: Vec<String> = ids.iter().map(ReplicaId::to_string).collect();
    let noun = if numbers.len() == 1 { "replica" } else { "replicas" };
    format!("{noun} {}", list(&numbers))
}

/// `a, b and c`
pub(crate) fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn values_are_noops(values: &Values) -> bool {
    values.to_vec().iter().all(|value| *value == Value::Noop)
}

pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Noop => "a no-op".to_owned(),
        Value::Command(command) => format!("{:?}", command.line.to_string()),
        Value::Change(_) => "a change of members".into(),
    }
}

fn slots(first: Slot, values: &Values) -> String {
    in_slots((first.0..).map(Slot).zip(values.to_vec()))
}

/// `"A" in slot 0 and a no-op in slot 1`
fn in_slots(slots: impl IntoIterator<Item = (Slot, Value)>) -> String {
    let slots = slots.into_iter().map(|(slot, held)| format!("{} in slot {slot}", value(&held)));
    list(&slots.collect::<Vec<String>>())
}
