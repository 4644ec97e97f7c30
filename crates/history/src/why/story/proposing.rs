//! How a value came to be proposed: the client's request, phase 1 with the reports of the
//! acceptors, and the choice that the leader made of them.

use super::{Story, is_same};
use crate::events::{Event, Party, Report, Said};
use crate::print;
use crate::why::facts::{Facts, Proposal, Sent};
use crate::why::replicas;
use multipaxos::types::{Ballot, Command, ReplicaId, Value};

impl<'a> Story<'_, 'a> {
    pub(super) fn tell_proposal(&mut self, ballot: Ballot, proposal: &Proposal) {
        let (facts, leader, value) = (self.facts, proposal.leader, proposal.text());
        let reports = self.reports(ballot, proposal.at);
        let highest = reports
            .iter()
            .flat_map(|report| report.accepted(facts))
            .max_by_key(|(ballot, _)| *ballot);
        let sent = self.first_accepts(ballot);
        let sent = if sent.is_empty() { String::new() } else { format!(": {sent}") };
        let text = match (&highest, &proposal.value) {
            _ if ballot == Ballot::ZERO => {
                self.tell_request(proposal);
                format!(
                    "Replica {leader} leads ballot 0, the lowest: nothing can have been chosen \
                     below it. It proposes {value}{sent}."
                )
            }
            (Some((found, held)), _) => {
                self.tell_reports(ballot, &reports);
                let so = if **held == proposal.value { "So" } else { "Yet" };
                format!(
                    "Of these {} reports, the one with the highest ballot counts: {} at ballot \
                     {found}. {so} replica {leader} proposes {value} at ballot {ballot}{sent}.",
                    reports.len(),
                    print::value(held)
                )
            }
            (None, Value::Noop) => {
                self.tell_reports(ballot, &reports);
                format!(
                    "These {} promises report nothing here: nothing can have been chosen below \
                     ballot {ballot}. Replica {leader} fills the hole with a NOP{sent}.",
                    reports.len()
                )
            }
            (None, Value::Command(_) | Value::Change(_)) => {
                self.tell_request(proposal);
                let mut by: Vec<ReplicaId> = reports.iter().map(|report| report.from).collect();
                by.sort_unstable();
                format!(
                    "Replica {leader} leads ballot {ballot}. The promises of {} report nothing \
                     here, so the slot is free. It proposes {value}{sent}.",
                    replicas(&by)
                )
            }
        };
        self.say(proposal.at, text);
    }

    /// The first accept to each peer, as in `a1 to replica 1, a2 to replica 2 (dropped)`.
    fn first_accepts(&self, ballot: Ballot) -> String {
        let first = |peer| self.facts.accepts_to(ballot, peer).into_iter().next();
        addressed(self.facts.past.replicas().filter_map(first))
    }

    /// Tells which client asked for the value, and whether another replica forwarded the request.
    fn tell_request(&mut self, proposal: &Proposal) {
        if let Value::Command(command) = &proposal.value {
            self.tell_how_it_came(command, proposal.leader, proposal.at);
        }
    }

    /// Tells how a request for `command` came to `replica` before entry `end`.
    fn tell_how_it_came(&mut self, command: &Command, replica: ReplicaId, end: usize) {
        let past = self.facts.past;
        let (client, value) = (command.session.client, print::line(&command.line));
        let found = past.before(end).find_map(|(at, entry)| match &entry.event {
            Event::Asked { replica: whose, command: asked }
                if *whose == replica && is_same(asked, command) =>
            {
                Some((at, None))
            }
            Event::Arrived { id } => {
                let sent = past.message(id)?;
                (sent.is_to(replica) && asks_for(sent.said, command)).then_some((at, Some(sent)))
            }
            _ => None,
        });
        match found {
            None => {}
            Some((at, None)) => {
                self.say(at, format!("Client {client} asks replica {replica} for {value}."));
            }
            Some((_, Some(Sent { id, at, from: Party::Client(_), .. }))) => {
                let text = format!("Client {client} asks replica {replica} for {value}: {id}.");
                self.say(*at, text);
            }
            Some((_, Some(Sent { id, at, from: Party::Replica(from), .. }))) => {
                self.tell_how_it_came(command, *from, *at);
                let text = format!(
                    "Replica {from} does not lead, and forwards that to replica {replica}: {id}."
                );
                self.say(*at, text);
            }
        }
    }

    /// The reports that acceptors had sent to the owner of `ballot` before entry `end`.
    fn reports(&self, ballot: Ballot, end: usize) -> Vec<Told<'a>> {
        let past = self.facts.past;
        let owner = past.owner(ballot);
        let mut told: Vec<Told<'a>> = Vec::new();
        for (at, entry) in past.from(0).take_while(|(at, _)| *at < end) {
            let (at, from, message, said) = match &entry.event {
                Event::Told { replica, said } if *replica == owner => (at, owner, None, said),
                Event::Arrived { id } => match past.message(id) {
                    Some(Sent { at, id, from: Party::Replica(from), to, said, .. })
                        if *to == Party::Replica(owner) =>
                    {
                        (*at, *from, Some(*id), *said)
                    }
                    _ => continue,
                },
                _ => continue,
            };
            let Said::Promise(report) = said else { continue };
            if report.ballot == ballot
                && report.slots.contains(self.facts.slot)
                && past.votes(from, ballot, at)
                && told.iter().all(|other| other.from != from)
            {
                told.push(Told { at, from, message, report });
            }
        }
        told
    }

    fn tell_reports(&mut self, ballot: Ballot, reports: &[Told<'_>]) {
        let (past, slot) = (self.facts.past, self.facts.slot);
        let owner = past.owner(ballot);
        let asks = |said: &Said| matches!(said, Said::Prepare { ballot: b, .. } if *b == ballot);
        let prepares: Vec<&Sent<'_>> =
            past.messages.iter().filter(|sent| sent.is_from(owner) && asks(sent.said)).collect();
        let own = past.from(0).find_map(|(at, entry)| match &entry.event {
            Event::Told { replica, said } if *replica == owner && asks(said) => Some(at),
            _ => None,
        });
        if let Some(at) = own {
            let text = format!(
                "Replica {owner} campaigns with ballot {ballot}, and asks its own acceptor first."
            );
            self.say(at, text);
        }
        let first = |peer| prepares.iter().copied().find(|sent| sent.is_to(peer));
        if let Some(at) = prepares.first().map(|sent| sent.at) {
            let sent = addressed(past.replicas().filter_map(first));
            self.say(at, format!("Then it asks the others: {sent}."));
        }
        for told in reports {
            let Told { at, from, message, report } = told;
            let what = match told.accepted(self.facts) {
                Some((ballot, value)) => {
                    format!("{} accepted at ballot {ballot}", print::value(value))
                }
                None if report.trimmed > slot => {
                    format!("that everything below slot {} is decided", report.trimmed)
                }
                None => format!("nothing in slot {slot}"),
            };
            let what = match message {
                Some(id) => format!("and reports {what}: {id}."),
                None => format!("and reports {what}."),
            };
            let own = if *from == owner { " itself" } else { "" };
            self.say(*at, format!("Replica {from} promises ballot {ballot}{own} {what}"));
        }
        self.tell_fetches(ballot);
    }

    /// Tells from whom the owner of `ballot` fetched a value that its own acceptor lacked.
    fn tell_fetches(&mut self, ballot: Ballot) {
        let (past, slot) = (self.facts.past, self.facts.slot);
        for sent in &past.messages {
            let Said::FetchAccepted { ballot: at, wanted } = sent.said else { continue };
            let named = wanted.iter().find(|span| span.slots.contains(slot));
            if let Some(span) = named.filter(|_| *at == ballot) {
                let owner = past.owner(ballot);
                let text = format!(
                    "Replica {owner} has not accepted this itself at ballot {}, and asks replica {} \
                     for the value: {}.",
                    span.ballot,
                    sent.to,
                    sent.with_loss()
                );
                self.say(sent.at, text);
            }
        }
    }
}

/// An acceptor's report to the owner of a ballot.
struct Told<'a> {
    /// The index of the entry with which it was sent.
    at: usize,
    from: ReplicaId,
    message: Option<&'a str>,
    report: &'a Report,
}

impl<'a> Told<'a> {
    /// The value that the report names for the slot, by its ballot.
    fn accepted<'f>(&self, facts: &'f Facts<'_>) -> Option<(Ballot, &'f Value)> {
        let named = self.report.accepted.iter().find(|span| span.slots.contains(facts.slot))?;
        let held = facts.acceptances.iter().find(|held| held.ballot == named.ballot)?;
        Some((named.ballot, &held.value))
    }
}

/// `a1 to replica 1, a2 to replica 2 (dropped)`.
fn addressed<'m, 'a: 'm>(messages: impl Iterator<Item = &'m Sent<'a>>) -> String {
    let each: Vec<String> = messages
        .map(|sent| {
            let delivery = sent.loss_in_words().map_or(String::new(), |loss| format!(" ({loss})"));
            format!("{} to replica {}{delivery}", sent.id, sent.to)
        })
        .collect();
    each.join(", ")
}

fn asks_for(said: &Said, command: &Command) -> bool {
    matches!(said, Said::Request(commands) if commands.iter().any(|c| is_same(c, command)))
}
