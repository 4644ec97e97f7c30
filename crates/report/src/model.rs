//! What the page holds, taken from a history.
//!
//! Times are microseconds since the history began. A lane is a process: the replicas first, then
//! the clients that were heard of, in the order of their ids. Many clients share a lane.

use crate::{Axis, Heading, STORIES_MAX};
use history::why::Teller;
use history::{Event, History, Loss, Party, Said, print};
use multipaxos::types::{Ballot, Command, ReplicaId, Slot, SlotRange, replicas};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most clients that have lanes of their own.
const CLIENT_LANES_MAX: usize = 8;

/// See the module. The script of the page reads it by these names.
#[derive(Debug, Serialize)]
pub(crate) struct Model {
    title: String,
    verdict: String,
    good: bool,
    command: String,
    is_cut: bool,
    in_steps: bool,
    end_us: u64,
    lanes: Vec<String>,
    messages: Vec<Message>,
    marks: Vec<Mark>,
    reigns: Vec<Reign>,
    gaps: Vec<Gap>,
    slots: Vec<Row>,
    /// How many more slots there are, without a row.
    slots_left_out: usize,
    logs: Vec<Log>,
    /// The first slot in which two logs have different lines.
    differs: Option<u64>,
}

/// A message: its id, the lanes from and to, when it left and arrived, why it never arrives, what
/// it says, its ballot, its first slot and the end of its slots, and when copies of it arrived.
#[derive(Debug, Serialize)]
struct Message(
    String,
    usize,
    usize,
    u64,
    Option<u64>,
    &'static str,
    String,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Vec<u64>,
);

/// Something that is no message: when, on which lane, its kind, and what it is.
#[derive(Debug, Serialize)]
struct Mark(u64, Option<usize>, &'static str, String);

/// A replica leads: its lane, from when until when, and the ballot.
#[derive(Debug, Serialize)]
struct Reign(usize, u64, u64, u64);

/// A process is down: its lane, and from when until when.
#[derive(Debug, Serialize)]
struct Gap(usize, u64, u64);

/// A slot.
#[derive(Debug, Serialize)]
struct Row {
    slot: u64,
    /// Its line in the chat log.
    value: String,
    proposed: Vec<String>,
    accepted: Vec<String>,
    chosen: String,
    applied: Vec<String>,
    /// Sentences, and when what they tell was, in milliseconds.
    story: Vec<(Option<u64>, String)>,
}

/// A replica's chat log.
#[derive(Debug, Serialize)]
struct Log {
    replica: u8,
    /// The slot of the first line.
    first: u64,
    /// The slot after the last one.
    end: u64,
    lines: Vec<String>,
}

impl Model {
    pub(crate) fn new(heading: &Heading, history: &History) -> Model {
        let stepped = (heading.axis == Axis::Steps).then(|| in_steps(history.clone()));
        let drawn = stepped.as_ref().unwrap_or(history);
        let end_us = drawn.entries.last().map_or(0, |entry| entry.us);
        let lanes = Lanes::new(history);
        let (reigns, gaps) = reigns_and_gaps(drawn, end_us);
        let (logs, differs) = logs(history);
        let (slots, slots_left_out) = rows(history, &logs);
        Model {
            title: heading.title.clone(),
            verdict: heading.verdict.clone(),
            good: heading.is_good,
            command: heading.command.clone(),
            is_cut: heading.is_cut,
            in_steps: stepped.is_some(),
            end_us,
            messages: messages(drawn, &lanes),
            marks: marks(drawn),
            reigns,
            gaps,
            slots,
            slots_left_out,
            logs,
            differs,
            lanes: lanes.names(),
        }
    }
}

/// The history with a millisecond for each of its entries. Heartbeats are many, and get none.
fn in_steps(mut history: History) -> History {
    let mut step = 0;
    for entry in &mut history.entries {
        entry.us = 1_000 * step;
        let is_heartbeat = match &entry.event {
            Event::Sent { id, .. }
            | Event::Held { id }
            | Event::Arrived { id }
            | Event::Repeated { id }
            | Event::Lost { id, .. } => id.starts_with('h'),
            _ => false,
        };
        step += u64::from(!is_heartbeat);
    }
    history
}

/// The processes that a history knows.
struct Lanes {
    replicas: usize,
    clients: Vec<u64>,
}

impl Lanes {
    fn new(history: &History) -> Lanes {
        let ends = history.entries.iter().filter_map(|entry| match &entry.event {
            Event::Sent { from, to, .. } => Some([*from, *to]),
            _ => None,
        });
        let client = |party| match party {
            Party::Client(id) => Some(id),
            Party::Replica(_) => None,
        };
        let clients: BTreeSet<u64> = ends.flatten().filter_map(client).collect();
        Lanes { replicas: history.replicas, clients: clients.into_iter().collect() }
    }

    fn of(&self, party: Party) -> usize {
        match party {
            Party::Replica(id) => id.index(),
            Party::Client(_) if self.share() => self.replicas,
            Party::Client(id) => self.replicas + self.clients.partition_point(|it| *it < id),
        }
    }

    fn share(&self) -> bool {
        self.clients.len() > CLIENT_LANES_MAX
    }

    fn names(&self) -> Vec<String> {
        let replicas = replicas(self.replicas).map(|id| format!("replica {id}"));
        let clients = match self.share() {
            true => vec![format!("{} clients", self.clients.len())],
            false => self.clients.iter().map(|id| format!("client {id}")).collect(),
        };
        replicas.chain(clients).collect()
    }
}

fn messages(history: &History, lanes: &Lanes) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    for entry in &history.entries {
        match &entry.event {
            Event::Sent { id, from, to, said, text } => {
                by_id.insert(id, messages.len());
                let (ballot, slots) = (ballot_of(said), slots_of(said));
                messages.push(Message(
                    id.clone(),
                    lanes.of(*from),
                    lanes.of(*to),
                    entry.us,
                    None,
                    "",
                    text.clone(),
                    ballot.map(|ballot| ballot.0),
                    slots.map(|slots| slots.start.0),
                    slots.map(|slots| slots.end.0),
                    Vec::new(),
                ));
            }
            Event::Arrived { id } => {
                if let Some(at) = by_id.get(id.as_str()) {
                    messages[*at].4 = Some(entry.us);
                }
            }
            Event::Repeated { id } => {
                if let Some(at) = by_id.get(id.as_str()) {
                    messages[*at].10.push(entry.us);
                }
            }
            Event::Lost { id, loss } => {
                if let Some(at) = by_id.get(id.as_str()) {
                    messages[*at].5 = match loss {
                        Loss::Dropped => "dropped",
                        Loss::LinkIsCut => "lost: the link is cut",
                        Loss::NobodyHears => "lost: nobody hears it there",
                        Loss::Overtaken => "overtaken by a newer one",
                        Loss::ByNetwork => "lost",
                    };
                }
            }
            _ => {}
        }
    }
    messages
}

fn ballot_of(said: &Said) -> Option<Ballot> {
    match said {
        Said::Other | Said::Request(_) | Said::Page { .. } | Said::Complete { .. } => None,
        Said::Prepare { ballot, .. }
        | Said::FetchAccepted { ballot, .. }
        | Said::AcceptedValues { ballot }
        | Said::Accept { ballot, .. }
        | Said::AcceptHeld { ballot, .. }
        | Said::Accepted { ballot, .. }
        | Said::Nack { ballot, .. } => Some(*ballot),
        Said::Promise(report) => Some(report.ballot),
        Said::Heartbeat { decided } => Some(decided.ballot),
    }
}

/// The slots that a message is about: from the first to the last.
fn slots_of(said: &Said) -> Option<SlotRange> {
    let around = |mut slots: Box<dyn Iterator<Item = SlotRange> + '_>| {
        let first = slots.next()?;
        Some(slots.fold(first, |all, slots| {
            SlotRange::new(all.start.min(slots.start), all.end.max(slots.end))
        }))
    };
    match said {
        Said::Accept { first, values, .. } | Said::Page { first, values } => {
            Some(SlotRange::with_len(*first, values.len() as u64))
        }
        Said::AcceptHeld { held: spans, .. } | Said::FetchAccepted { wanted: spans, .. } => {
            around(Box::new(spans.iter().map(|span| span.slots)))
        }
        Said::Promise(report) => around(Box::new(report.accepted.iter().map(|span| span.slots))),
        Said::Accepted { slots, .. } => around(Box::new(slots.iter().copied())),
        Said::Complete { slot, .. } => Some(SlotRange::with_len(*slot, 1)),
        Said::Other
        | Said::Request(_)
        | Said::Prepare { .. }
        | Said::AcceptedValues { .. }
        | Said::Nack { .. }
        | Said::Heartbeat { .. } => None,
    }
}

fn marks(history: &History) -> Vec<Mark> {
    let mark = |entry: &history::Entry| {
        let (lane, kind, text) = match &entry.event {
            Event::Promised { replica, ballot } => {
                (Some(*replica), "sync", format!("replica {replica} has saved promise {ballot}"))
            }
            Event::Accepted { replica, ballot, first, values } => {
                let slots = between(*first, values.len());
                let text = format!("replica {replica} has saved {slots}, accepted at {ballot}");
                (Some(*replica), "sync", text)
            }
            Event::Applied { replica, first, values, .. } => {
                let text = format!("replica {replica} applies {}", between(*first, values.len()));
                (Some(*replica), "applied", text)
            }
            Event::Began { replica, applied, .. } => {
                let text = format!("replica {replica} takes part, applied below {applied}");
                (Some(*replica), "note", text)
            }
            Event::Ended { replica, cannot_sync: false } => {
                (Some(*replica), "note", format!("replica {replica} ends"))
            }
            Event::Ended { replica, cannot_sync: true } => {
                (Some(*replica), "note", format!("replica {replica} ends: its disk has failed"))
            }
            Event::Wiped { replica } => {
                (Some(*replica), "note", format!("replica {replica} loses its disk"))
            }
            Event::Stalled { replica, role } => {
                (Some(*replica), "note", format!("the {role} of replica {replica} stalls"))
            }
            Event::Unstalled { replica, role } => {
                (Some(*replica), "note", format!("the {role} of replica {replica} goes on"))
            }
            Event::Asked { replica, command } => {
                let text = format!("replica {replica} is asked for {}", print::line(&command.line));
                (Some(*replica), "note", text)
            }
            Event::Noted { replica: Some(replica), text } => {
                (Some(*replica), "note", format!("replica {replica} {text}"))
            }
            Event::Noted { replica: None, text } => (None, "note", text.clone()),
            Event::Sent { .. }
            | Event::Held { .. }
            | Event::Arrived { .. }
            | Event::Repeated { .. }
            | Event::Lost { .. }
            | Event::Told { .. }
            | Event::Answered { .. }
            | Event::Leads { .. }
            | Event::Resigned { .. } => return None,
        };
        Some(Mark(entry.us, lane.map(|id| id.index()), kind, text))
    };
    history.entries.iter().filter_map(mark).collect()
}

fn between(first: Slot, count: usize) -> String {
    match count {
        1 => format!("slot {first}"),
        _ => format!("slots {first} to {}", first.0 + count.saturating_sub(1) as u64),
    }
}

fn reigns_and_gaps(history: &History, end_us: u64) -> (Vec<Reign>, Vec<Gap>) {
    let mut leads: BTreeMap<ReplicaId, (u64, Ballot)> = BTreeMap::new();
    let mut down: BTreeMap<ReplicaId, u64> = BTreeMap::new();
    let (mut reigns, mut gaps) = (Vec::new(), Vec::new());
    for entry in &history.entries {
        match entry.event {
            Event::Leads { replica, ballot } => {
                if let Some((since, before)) = leads.insert(replica, (entry.us, ballot)) {
                    reigns.push(Reign(replica.index(), since, entry.us, before.0));
                }
            }
            Event::Resigned { replica } | Event::Ended { replica, .. } => {
                if let Some((since, ballot)) = leads.remove(&replica) {
                    reigns.push(Reign(replica.index(), since, entry.us, ballot.0));
                }
                if matches!(entry.event, Event::Ended { .. }) {
                    down.entry(replica).or_insert(entry.us);
                }
            }
            Event::Began { replica, .. } => {
                if let Some(since) = down.remove(&replica) {
                    gaps.push(Gap(replica.index(), since, entry.us));
                }
            }
            _ => {}
        }
    }
    for (replica, (since, ballot)) in leads {
        reigns.push(Reign(replica.index(), since, end_us, ballot.0));
    }
    gaps.extend(down.into_iter().map(|(replica, since)| Gap(replica.index(), since, end_us)));
    (reigns, gaps)
}

/// What each replica has applied in this history, in the words of its chat log, and the first slot
/// in which two differ. Long lines are shortened, but compared whole.
fn logs(history: &History) -> (Vec<Log>, Option<u64>) {
    let mut all: Vec<BTreeMap<u64, String>> = vec![BTreeMap::new(); history.replicas];
    let mut whole: BTreeMap<u64, Option<Command>> = BTreeMap::new();
    let mut differs: Option<u64> = None;
    for entry in &history.entries {
        match &entry.event {
            Event::Applied { replica, first, values, effects } => {
                let log = &mut all[replica.index()];
                for (at, value) in values.iter().enumerate() {
                    let slot = first.0 + at as u64;
                    let effect = value.command().filter(|_| effects.get(at) == Some(&true));
                    let command = effect.map(|command| command.to_command());
                    let line = match &command {
                        Some(command) => {
                            let client = command.session.client;
                            format!("client {client}: {}", print::line(&command.line))
                        }
                        None => "NOP".into(),
                    };
                    log.insert(slot, line);
                    if *whole.entry(slot).or_insert_with(|| command.clone()) != command {
                        differs = Some(differs.map_or(slot, |known| known.min(slot)));
                    }
                }
            }
            Event::Wiped { replica } => all[replica.index()].clear(),
            _ => {}
        }
    }
    let log = |(replica, log): (usize, BTreeMap<u64, String>)| {
        let first = log.first_key_value().map_or(0, |(slot, _)| *slot);
        let end = log.last_key_value().map_or(0, |(slot, _)| slot + 1);
        let line = |slot| log.get(&slot).cloned().unwrap_or_default();
        Log { replica: replica as u8, first, end, lines: (first..end).map(line).collect() }
    };
    (all.into_iter().enumerate().map(log).collect(), differs)
}

/// The rows of the first slots, and how many more there are.
fn rows(history: &History, logs: &[Log]) -> (Vec<Row>, usize) {
    let mut known: BTreeSet<u64> = BTreeSet::new();
    for entry in &history.entries {
        match &entry.event {
            Event::Accepted { first, values, .. }
            | Event::Applied { first, values, .. }
            | Event::Sent { said: Said::Accept { first, values, .. }, .. } => {
                known.extend(first.0..first.0 + values.len() as u64);
            }
            _ => {}
        }
    }
    let teller = Teller::new(history);
    let line = |log: &Log, slot: u64| {
        let line = log.lines.get(slot.checked_sub(log.first)? as usize)?;
        (!line.is_empty()).then(|| line.clone())
    };
    let row = |slot: u64| {
        let entry = teller.entry(Slot(slot));
        let proposed = entry.proposed.iter();
        let accepted = entry.accepted.iter();
        let applied = entry.applied.iter();
        Row {
            slot,
            value: logs.iter().find_map(|log| line(log, slot)).unwrap_or_default(),
            proposed: proposed
                .map(|(ballot, by, value)| format!("{value} by {by} at {ballot}"))
                .collect(),
            accepted: accepted.map(|(by, ballot, _)| format!("{by} at {ballot}")).collect(),
            chosen: entry.chosen.first().map_or(String::new(), |(ballot, value, us)| {
                format!("{value} at {ballot}, {} ms", us / 1_000)
            }),
            applied: applied.map(|(by, us)| format!("{by}: {} ms", us / 1_000)).collect(),
            story: teller.sentences(Slot(slot)),
        }
    };
    let left_out = known.len().saturating_sub(STORIES_MAX);
    (known.into_iter().take(STORIES_MAX).map(row).collect(), left_out)
}

#[cfg(test)]
mod tests;
