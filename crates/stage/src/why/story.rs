//! The story of a slot: a sentence for each thing that happened, in the order of the history.

use super::facts::{Delivery, Facts, Proposal, Sent, accepted_in, proposed};
use super::learned::{Learned, Vote, how_learned};
use super::{capital, listed, replicas};
use crate::history::{Party, Report, Said, StageEvent, value_in};
use crate::print;
use multipaxos::types::{Ballot, Command, ReplicaId, Value};

/// A sentence, and the time of what it tells.
#[derive(Debug)]
pub(super) struct Sentence {
    at: usize,
    pub(super) ms: u64,
    pub(super) text: String,
}

/// The story so far.
struct Story<'f, 'a> {
    facts: &'f Facts<'a>,
    sentences: Vec<Sentence>,
}

/// Tells the story of the slot.
pub(super) fn tell(facts: &Facts<'_>) -> Vec<Sentence> {
    let mut story = Story { facts, sentences: Vec::new() };
    for (ballot, proposal) in &facts.proposals {
        story.tell_proposal(*ballot, proposal);
    }
    story.tell_acceptances();
    story.tell_refusals();
    story.tell_learning();
    // Sentences about the same entry stay in the order in which they were added.
    story.sentences.sort_by_key(|sentence| sentence.at);
    story.tell_deaths();
    story.sentences.sort_by_key(|sentence| sentence.at);
    story.sentences
}

impl<'a> Story<'_, 'a> {
    fn say(&mut self, at: usize, text: String) {
        let ms = self.facts.past.history.entries[at].ms;
        self.sentences.push(Sentence { at, ms, text });
    }

    // --- how a value came to be proposed -------------------------------------------

    fn tell_proposal(&mut self, ballot: Ballot, proposal: &Proposal) {
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
            (None, Value::Command(_)) => {
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
            StageEvent::Asked { replica: whose, command: asked }
                if *whose == replica && is_same(asked, command) =>
            {
                Some((at, None))
            }
            StageEvent::Arrived { id } => {
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

    // --- phase 1 -------------------------------------------------------------------

    /// The reports that acceptors had sent to the owner of `ballot` before entry `end`.
    fn reports(&self, ballot: Ballot, end: usize) -> Vec<Told<'a>> {
        let past = self.facts.past;
        let owner = past.owner(ballot);
        let mut told: Vec<Told<'a>> = Vec::new();
        for (at, entry) in past.from(0).take_while(|(at, _)| *at < end) {
            let (at, from, message, said) = match &entry.event {
                StageEvent::Told { replica, said } if *replica == owner => (at, owner, None, said),
                StageEvent::Arrived { id } => match past.message(id) {
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
                && past.votes(from, at)
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
            StageEvent::Told { replica, said } if *replica == owner && asks(said) => Some(at),
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
            let held: Vec<String> = told
                .accepted(self.facts)
                .map(|(ballot, value)| {
                    format!("{} accepted at ballot {ballot}", print::value(value))
                })
                .collect();
            let what = match held.first() {
                Some(held) => held.clone(),
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
    }

    // --- phase 2 -------------------------------------------------------------------

    fn tell_acceptances(&mut self) {
        let facts = self.facts;
        for held in &facts.acceptances {
            let (replica, ballot) = (held.replica, held.ballot);
            let value = print::value(&held.value);
            let text = if facts.past.owner(ballot) == replica {
                format!("Replica {replica} accepts {value} at ballot {ballot} itself.")
            } else {
                let came = self.arrived_last(ballot, replica, held.at);
                let came = came.map_or(String::new(), |id| format!("receives {id}, "));
                let said = match self.first_vote(replica, ballot, held.at) {
                    Some(sent) => format!("and says so: {}.", sent.with_loss()),
                    None => "and has not said so.".into(),
                };
                format!("Replica {replica} {came}accepts {value} at ballot {ballot} {said}")
            };
            self.say(held.at, text);
        }
        for (index, chosen) in facts.chosen.iter().enumerate() {
            let (by, ballot, value) = (replicas(&chosen.by), chosen.ballot, chosen.text());
            let (some, all) = (chosen.by.len(), facts.past.history.replicas);
            let text = match facts.chosen[..index].first() {
                None => format!(
                    "Now {value} is chosen: {by} have accepted it at ballot {ballot}, and {some} \
                     of {all} are a quorum."
                ),
                Some(first) if first.value == chosen.value => format!(
                    "{} have accepted it at ballot {ballot}, too: what is chosen stays chosen.",
                    capital(&by)
                ),
                Some(first) => format!(
                    "Now {value} is chosen as well: {by} have accepted it at ballot {ballot}. But \
                     {} was chosen at ballot {}: Paxos is broken.",
                    first.text(),
                    first.ballot
                ),
            };
            let text = match all {
                1 => text.replace("have accepted", "has accepted").replace("are a", "is a"),
                _ => text,
            };
            self.say(chosen.at, text);
        }
    }

    /// The last accept that arrived at `replica` before entry `end`.
    fn arrived_last(&self, ballot: Ballot, replica: ReplicaId, end: usize) -> Option<&'a str> {
        let arrived = |sent: &Sent<'a>| match sent.delivery {
            Delivery::Arrived(at) if at < end => Some((at, sent.id)),
            _ => None,
        };
        let accepts = self.facts.accepts_to(ballot, replica);
        accepts.into_iter().filter_map(arrived).max().map(|(_, id)| id)
    }

    /// The first message in which `replica` said that it had accepted the slot.
    fn first_vote(&self, replica: ReplicaId, ballot: Ballot, start: usize) -> Option<&Sent<'a>> {
        let slot = self.facts.slot;
        self.facts.past.messages.iter().find(|sent| {
            sent.at > start && sent.is_from(replica) && accepted_in(slot, sent.said) == Some(ballot)
        })
    }

    /// Tells which acceptors refused an accept, because they had promised a higher ballot.
    fn tell_refusals(&mut self) {
        let past = self.facts.past;
        let mut told: Vec<(Party, Ballot)> = Vec::new();
        for sent in &past.messages {
            let Said::Nack { ballot, promised } = sent.said else { continue };
            let came = past.before(sent.at).find_map(|(_, entry)| match &entry.event {
                StageEvent::Arrived { id } => past.message(id).filter(|came| came.to == sent.from),
                _ => None,
            });
            let Some(came) = came else { continue };
            let here = proposed(self.facts.slot, came.said).is_some_and(|(b, _)| b == *ballot);
            if here && !told.contains(&(sent.from, *ballot)) {
                told.push((sent.from, *ballot));
                self.say(
                    sent.at,
                    format!(
                        "Replica {} receives {} and refuses it: it has promised ballot \
                         {promised} ({}).",
                        sent.from, came.id, sent.id
                    ),
                );
            }
        }
    }

    // --- learning ------------------------------------------------------------------

    fn tell_learning(&mut self) {
        let (past, slot) = (self.facts.past, self.facts.slot);
        let mut answered: Vec<u64> = Vec::new();
        for (at, entry) in past.from(0) {
            match &entry.event {
                StageEvent::Applied { replica, first, values, effects } => {
                    let Some(value) = value_in(slot, *first, values) else { continue };
                    let effect = effects[slot.since(*first) as usize];
                    let text = self.learning(*replica, &value, effect, at);
                    self.say(at, text);
                }
                // Several replicas may answer, and repeat their answers. One sentence is enough.
                StageEvent::Answered { replica, client, id, slot: told }
                    if *told == slot && !answered.contains(client) =>
                {
                    answered.push(*client);
                    let id = id.as_ref().map_or(String::new(), |id| format!(": {id}"));
                    self.say(
                        at,
                        format!(
                            "Replica {replica} tells client {client} that its line stands in \
                                 slot {slot}{id}."
                        ),
                    );
                }
                _ => {}
            }
        }
    }

    fn learning(&self, replica: ReplicaId, value: &Value, effect: bool, at: usize) -> String {
        let (past, slot) = (self.facts.past, self.facts.slot);
        let known = how_learned(past, replica, slot, at);
        let how = match &known {
            Some((_, Learned::Counted { ballot, votes })) => {
                let mut from: Vec<ReplicaId> = votes.iter().map(|vote| vote.from).collect();
                from.sort_unstable();
                let by: Vec<String> = votes.iter().filter_map(Vote::id).collect();
                let by = if by.is_empty() { String::new() } else { format!(" ({})", listed(&by)) };
                format!("counts the acceptances of {} at ballot {ballot}{by}", replicas(&from))
            }
            Some((_, Learned::Told { ballot, message })) => format!(
                "hears from replica {} that slot {slot} is decided at ballot {ballot}, at which it \
                 has accepted it ({})",
                message.from, message.id
            ),
            Some((_, Learned::Fetched { message })) => format!(
                "gets slot {slot} from the decided log of replica {} ({})",
                message.from, message.id
            ),
            None => "knows that it is decided".into(),
        };
        let waits = known.as_ref().and_then(|(known, _)| {
            let next = past.applied_by(replica, *known);
            let (later, _) = how_learned(past, replica, next, at)?;
            (next < slot && later > *known).then_some(next)
        });
        let applies = match waits {
            Some(next) => format!("applies it once slot {next} is known, too"),
            None => "applies it".into(),
        };
        let value = print::value(value);
        let effect = match (effect, value.as_str()) {
            (true, _) | (_, "NOP") => String::new(),
            _ => format!(", as a NOP: {value} {}", self.why_no_effect(at)),
        };
        format!("Replica {replica} {how}, and {applies}{effect}.")
    }

    /// Why a command that is decided in the slot has no effect there.
    fn why_no_effect(&self, end: usize) -> String {
        let (past, slot) = (self.facts.past, self.facts.slot);
        let here = past.before(end + 1).find_map(|(_, entry)| match &entry.event {
            StageEvent::Applied { first, values, .. } => value_in(slot, *first, values),
            _ => None,
        });
        let Some(Value::Command(command)) = here else { return "changes nothing".into() };
        let lower = past.from(0).find_map(|(_, entry)| match &entry.event {
            StageEvent::Applied { first, values, effects, .. } => {
                let slots = (first.0..).zip(values.to_vec()).zip(effects);
                let mut same = slots.filter(|((other, value), effect)| {
                    let same = matches!(value, Value::Command(other) if is_same(other, &command));
                    *other < slot.0 && **effect && same
                });
                same.next().map(|((slot, _), _)| slot)
            }
            _ => None,
        });
        match lower {
            Some(lower) => format!("stands in slot {lower} already"),
            None => "is not the next line of its session".into(),
        }
    }

    // --- the lives of replicas -------------------------------------------------------

    fn tell_deaths(&mut self) {
        let Some(first) = self.sentences.first().map(|sentence| sentence.at) else { return };
        let applied = self.facts.applied_by().len() == self.facts.past.history.replicas;
        let last = match applied {
            true => self.sentences.last().map_or(0, |sentence| sentence.at),
            false => self.facts.past.end(),
        };
        for (at, entry) in self.facts.past.from(first).take_while(|(at, _)| *at < last) {
            let text = match &entry.event {
                StageEvent::Ended { replica, cannot_sync: false } => {
                    format!("Replica {replica} dies.")
                }
                StageEvent::Ended { replica, cannot_sync: true } => {
                    format!("Replica {replica} cannot sync what it was sent, and ends.")
                }
                StageEvent::Wiped { replica } => format!("Replica {replica} loses its disk."),
                StageEvent::Began { replica, votes: true, .. } => {
                    format!("Replica {replica} is back.")
                }
                StageEvent::Began { replica, votes: false, .. } => {
                    format!("Replica {replica} is back, without its disk, and so without a vote.")
                }
                _ => continue,
            };
            self.say(at, text);
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
    /// The values that the report names for the slot.
    fn accepted(&self, facts: &Facts<'_>) -> impl Iterator<Item = (Ballot, &'a Value)> {
        let slot = facts.slot;
        let here = self.report.accepted.iter().filter(move |(at, ..)| *at == slot);
        here.map(|(_, ballot, value)| (*ballot, value))
    }
}

impl Vote<'_> {
    fn id(&self) -> Option<String> {
        self.message.map(|sent| sent.id.to_owned())
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

fn is_same(a: &Command, b: &Command) -> bool {
    (a.session, a.seq) == (b.session, b.seq)
}

fn asks_for(said: &Said, command: &Command) -> bool {
    matches!(said, Said::Request(commands) if commands.iter().any(|c| is_same(c, command)))
}
