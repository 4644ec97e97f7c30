//! What has not happened yet, and why: missing acceptances, learners that do not know the slot,
//! messages in the network or lost.

use super::facts::{Delivery, Facts, Proposal, Sent, accepted_in};
use super::learned::{accepted_at, mark};
use super::{capital, listed, replicas};
use crate::events::{Event, Said, value_in};
use multipaxos::types::{Ballot, ReplicaId};

/// The largest number of messages that are listed. More are counted.
const LISTED_MAX: usize = 4;

/// Says what is missing until all replicas have applied the slot.
pub(super) fn tell(facts: &Facts<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    match (facts.chosen.first(), facts.proposals.last_key_value()) {
        (None, None) => not_proposed(facts, &mut lines),
        (None, Some((ballot, proposal))) => not_chosen(facts, *ballot, proposal, &mut lines),
        (Some(_), _) if !facts.is_known() => not_counted(facts, &mut lines),
        (Some(_), _) => {}
    }
    if !facts.chosen.is_empty() {
        not_learned(facts, &mut lines);
    }
    lines
}

// --- nothing is proposed -----------------------------------------------------------------

fn not_proposed(facts: &Facts<'_>, lines: &mut Vec<String>) {
    let (past, slot) = (facts.past, facts.slot);
    let leader = past.replicas().filter_map(|id| Some((past.leads(id)?, id))).max();
    let Some((ballot, leader)) = leader else {
        lines.push("Nobody leads now, so nobody can propose anything.".into());
        return campaigns(facts, None, lines);
    };
    let above = past.messages.iter().any(|sent| match sent.said {
        Said::Accept { ballot: b, first, .. } => *b == ballot && *first > slot,
        _ => false,
    });
    lines.push(if above {
        format!(
            "Replica {leader} leads ballot {ballot}. It has proposed in slots above, and left \
             this one out: nothing above it can be applied before it is filled."
        )
    } else {
        format!(
            "Replica {leader} leads ballot {ballot}. It gives each new request the lowest free \
             slot, and has not needed slot {slot} yet."
        )
    });
    let requests = past.messages.iter().filter(|sent| matches!(sent.said, Said::Request(_)));
    let waiting: Vec<String> =
        requests.filter(|sent| is_pending(sent)).map(|sent| sent.id.to_owned()).collect();
    if !waiting.is_empty() {
        lines.push(format!("On the way to a replica: {}.", listed(&waiting)));
    }
    campaigns(facts, Some(ballot), lines);
}

/// Adds who campaigns above `ballot`, or at all.
fn campaigns(facts: &Facts<'_>, ballot: Option<Ballot>, lines: &mut Vec<String>) {
    let past = facts.past;
    let mut highest = None;
    for (_, entry) in past.from(0) {
        let (Event::Told { said, .. } | Event::Sent { said, .. }) = &entry.event else {
            continue;
        };
        if let Said::Prepare { ballot, .. } = said {
            highest = highest.max(Some(*ballot));
        }
    }
    let Some(highest) = highest.filter(|highest| Some(*highest) > ballot) else { return };
    let owner = past.owner(highest);
    if !past.is_up(owner) || past.leads(owner).is_some_and(|leads| leads >= highest) {
        return;
    }
    let by: Vec<ReplicaId> =
        past.replicas().filter(|id| past.promised(*id) >= Some(highest)).collect();
    let promised = match by.as_slice() {
        [] => "no replica has promised yet".into(),
        by => format!("{} {} promised", replicas(by), has(by)),
    };
    lines.push(format!(
        "Replica {owner} campaigns with ballot {highest}, which {promised}; it needs the promises \
         of {}.",
        past.quorum(highest)
    ));
    let of_phase_1 = |sent: &&Sent<'_>| match sent.said {
        Said::Prepare { ballot, .. }
        | Said::FetchAccepted { ballot, .. }
        | Said::AcceptedValues { ballot } => *ballot == highest,
        Said::Promise(report) => report.ballot == highest,
        Said::Nack { ballot, .. } => *ballot == highest,
        _ => false,
    };
    let messages: Vec<&Sent<'_>> = past.messages.iter().filter(of_phase_1).collect();
    if let Some(deliveries) = deliveries(&messages) {
        lines.push(format!("Of its messages and their answers {deliveries}."));
    }
}

// --- proposed, and not chosen --------------------------------------------------------------

fn not_chosen(facts: &Facts<'_>, ballot: Ballot, proposal: &Proposal, lines: &mut Vec<String>) {
    let past = facts.past;
    let by = facts.acceptors(ballot);
    let missing = past.quorum(ballot) - by.len();
    let have = match by.as_slice() {
        [] => "Nobody has accepted".into(),
        by => format!("Only {} {} accepted", replicas(by), has(by)),
    };
    let more = if missing == 1 { "1 more is".into() } else { format!("{missing} more are") };
    lines.push(format!(
        "{have} it at ballot {ballot}; a quorum is {} of {}, so {more} missing.",
        past.quorum(ballot),
        past.members(ballot)
    ));
    let lacks = |id: &ReplicaId| !by.contains(id) && past.is_member(*id, ballot);
    for replica in past.replicas().filter(lacks) {
        lines.push(format!("Replica {replica}: {}.", why_not_accepted(facts, ballot, replica)));
    }
    let leader = proposal.leader;
    lines.push(match past.leads(leader) {
        Some(leads) if leads == ballot => {
            format!("Replica {leader} leads, and sends it again when time passes.")
        }
        _ if !past.is_up(leader) => format!(
            "Replica {leader}, the owner of ballot {ballot}, is down: nobody sends it again at \
             this ballot. The next leader decides by what a quorum reports."
        ),
        _ => format!(
            "Replica {leader}, the owner of ballot {ballot}, leads no more: nobody sends it \
             again at this ballot."
        ),
    });
    campaigns(facts, Some(ballot), lines);
}

fn why_not_accepted(facts: &Facts<'_>, ballot: Ballot, replica: ReplicaId) -> String {
    let past = facts.past;
    if !past.votes(replica, ballot, past.end()) {
        return "it lost its disk, and has no vote".into();
    }
    let accepts = facts.accepts_to(ballot, replica);
    let arrived = accepts.iter().rev().find(|sent| matches!(sent.delivery, Delivery::Arrived(_)));
    let why = match arrived {
        Some(sent) => format!("{} {}", sent.id, why_no_effect(facts, ballot, replica)),
        None => match deliveries(&accepts) {
            Some(deliveries) => deliveries,
            None if past.owner(ballot) == replica => "its own acceptor has not saved it".into(),
            None => "nothing was sent to it".into(),
        },
    };
    let promised = past.promised(replica).filter(|promised| *promised > ballot);
    match promised {
        _ if !past.is_up(replica) => format!("it is down; {why}"),
        Some(promised) => {
            format!("it has promised ballot {promised}, and accepts nothing below; {why}")
        }
        None => why,
    }
}

/// Why an accept had no effect although it arrived.
fn why_no_effect(facts: &Facts<'_>, ballot: Ballot, replica: ReplicaId) -> String {
    let past = facts.past;
    for (_, entry) in past.before(past.end()) {
        match &entry.event {
            Event::Ended { replica: whose, cannot_sync } if *whose == replica => {
                return match cannot_sync {
                    true => "arrived, and could not be synced".into(),
                    false => "arrived, and the process ended".into(),
                };
            }
            Event::Stalled { replica: whose, role } if *whose == replica && role == "acceptor" => {
                return "arrived, and waits: the acceptor is stalled".into();
            }
            Event::Unstalled { replica: whose, role }
                if *whose == replica && role == "acceptor" =>
            {
                break;
            }
            _ => {}
        }
    }
    let refused = past.messages.iter().rev().find(|sent| {
        sent.is_from(replica) && matches!(sent.said, Said::Nack { ballot: b, .. } if *b == ballot)
    });
    match refused {
        Some(nack) => format!("was refused: {}", nack.with_delivery()),
        None => "arrived, and was not accepted".into(),
    }
}

// --- chosen, and not known -----------------------------------------------------------------

/// A quorum has accepted the value, but the owner of the ballot has not counted a quorum.
fn not_counted(facts: &Facts<'_>, lines: &mut Vec<String>) {
    let past = facts.past;
    for chosen in &facts.chosen {
        let (ballot, owner) = (chosen.ballot, past.owner(chosen.ballot));
        let votes: Vec<&Sent<'_>> = past
            .messages
            .iter()
            .filter(|sent| accepted_in(facts.slot, sent.said) == Some(ballot))
            .collect();
        let deliveries =
            deliveries(&votes).map_or(String::new(), |deliveries| format!(": {deliveries}"));
        if past.is_up(owner) {
            lines.push(format!(
                "Replica {owner} counts the acceptances of ballot {ballot}, and has not heard of \
                 a quorum{deliveries}."
            ));
        } else {
            lines.push(format!(
                "Replica {owner}, who counts the acceptances of ballot {ballot}, is down{deliveries}. \
                 The next leader hears of {} from any quorum, and proposes it again.",
                chosen.text()
            ));
        }
    }
    let ballot = facts.chosen.last().map(|chosen| chosen.ballot);
    campaigns(facts, ballot, lines);
}

fn not_learned(facts: &Facts<'_>, lines: &mut Vec<String>) {
    let past = facts.past;
    let applied = facts.applied_by();
    if applied.len() == past.history.replicas {
        let all = if applied.len() == 1 { "The" } else { "All" };
        let s = if applied.len() == 1 { " has" } else { "s have" };
        lines.push(format!("{all} replica{s} applied it."));
        return;
    }
    if !applied.is_empty() {
        lines.push(format!("{} {} applied it.", capital(&replicas(&applied)), has(&applied)));
    }
    // The sentences about the owners of ballots already say what these replicas lack.
    let counts = |id: &ReplicaId| {
        !facts.is_known() && facts.chosen.iter().any(|chosen| past.owner(chosen.ballot) == *id)
    };
    for replica in past.replicas().filter(|id| !applied.contains(id) && !counts(id)) {
        lines.push(why_not_applied(facts, replica));
    }
}

fn why_not_applied(facts: &Facts<'_>, replica: ReplicaId) -> String {
    let (past, slot) = (facts.past, facts.slot);
    let held = accepted_at(past, replica, slot, past.end());
    if !past.is_up(replica) {
        return match held.first() {
            Some(ballot) => format!(
                "Replica {replica} is down; its disk remembers what it accepted at ballot {ballot}."
            ),
            None => format!("Replica {replica} is down, and has accepted nothing here."),
        };
    }
    if facts.knows(replica) {
        let first = past.applied(replica);
        return format!(
            "Replica {replica} knows it, and waits for slot {first}: slots are applied in order."
        );
    }
    let tells = past.messages.iter().filter(|sent| {
        let known = mark(slot, sent.said).is_some_and(|ballot| held.contains(&ballot));
        let page = matches!(sent.said, Said::Page { first, values }
            if value_in(slot, *first, values).is_some());
        is_pending(sent) && sent.is_to(replica) && (known || page)
    });
    let tells: Vec<&Sent<'_>> = tells.collect();
    let told = deliveries(&tells).map(|deliveries| format!("{deliveries}, and says so"));
    let Some(ballot) = held.first() else {
        let accepts = facts.chosen.iter().flat_map(|chosen| {
            facts.accepts_to(chosen.ballot, replica).into_iter().filter(|sent| is_pending(sent))
        });
        let accepts: Vec<&Sent<'_>> = accepts.collect();
        let hears = told.or(deliveries(&accepts)).unwrap_or_else(|| {
            "it fetches the slot from a peer once it hears that it is behind".into()
        });
        return format!("Replica {replica} has accepted nothing here; {hears}.");
    };
    let owner = past.owner(*ballot);
    let hears = match past.leads(owner) {
        Some(leads) if leads == *ballot && facts.knows(owner) => {
            format!("; the next accept or heartbeat of replica {owner} says so")
        }
        _ => String::new(),
    };
    let hears = told.map_or(hears, |told| format!("; {told}"));
    format!(
        "Replica {replica} has accepted it at ballot {ballot}, and does not know that it is \
         decided{hears}."
    )
}

// --- words ---------------------------------------------------------------------------------

fn is_pending(sent: &Sent<'_>) -> bool {
    matches!(sent.delivery, Delivery::OnItsWay | Delivery::Held)
}

fn has(ids: &[ReplicaId]) -> &'static str {
    if ids.len() == 1 { "has" } else { "have" }
}

/// Says which messages did not arrive, as in `a1 and a3 were dropped, a5 is on the way`. `None`:
/// all arrived.
fn deliveries(messages: &[&Sent<'_>]) -> Option<String> {
    let mut groups: Vec<(String, bool, Vec<String>)> = Vec::new();
    for sent in messages {
        let Some(delivery) = sent.delivery_in_words() else { continue };
        match groups.iter_mut().find(|(other, ..)| *other == delivery) {
            Some((_, _, ids)) => ids.push(sent.id.to_owned()),
            None => groups.push((delivery, is_pending(sent), vec![sent.id.to_owned()])),
        }
    }
    let each = groups.iter().map(|(delivery, pending, ids)| {
        let be = match (pending, ids.len()) {
            (true, 1) => "is",
            (true, _) => "are",
            (false, 1) => "was",
            (false, _) => "were",
        };
        let ids = match ids.as_slice() {
            [first, .., last] if ids.len() > LISTED_MAX => {
                format!("{} from {first} to {last}", ids.len())
            }
            ids => listed(ids),
        };
        format!("{ids} {be} {delivery}")
    });
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| each.join(", "))
}
