//! What roles say and save, in lines that a person can follow.
//!
//! One language for all who show a run: the golden scripts, the simulator's trace, the stories of
//! `trace explain`, and the log of a replica (`--log_level debug`).

use crate::client::Outcome;
use crate::machine::Response;
use crate::members::{Configuration, Moved};
use crate::message::{
    Answer, ClientMessage, Decided, HandOver, Heard, Heartbeat, LostState, MembersQuery, Message,
    Ready, Request, Responded, Run, Spans, ToAcceptor, ToBootstrap, ToLearner, ToProposer, VoteAim,
};
use crate::paxos::acceptor::{Record, State};
use crate::paxos::learner;
use crate::types::{Address, Ballot, Command, DirectoryId, Slot, SlotRange, Value};
use crate::values::Values;

/// The largest number of values that are listed. More are counted.
const LISTED_MAX: usize = 8;

/// The largest number of characters of a line. Longer lines are shortened.
const LINE_CHARS_MAX: usize = 24;

/// The most generations of a replica's directory that have names of their own.
const GENERATIONS_MAX: u64 = 9;

/// The name of a directory identity. On a stage, `d2` is the first of replica 2, `d2'` the next.
pub fn directory(id: DirectoryId) -> String {
    let (generation, replica) = (id.0 / 100, id.0 % 100);
    match generation {
        1..=GENERATIONS_MAX => format!("d{replica}{}", "'".repeat(generation as usize - 1)),
        _ => format!("directory {:016x}", id.0),
    }
}

/// A chat line, shortened.
pub fn line(line: &str) -> String {
    if line.chars().count() <= LINE_CHARS_MAX {
        return format!("{line:?}");
    }
    let start: String = line.chars().take(6).collect();
    format!("{:?} ({} bytes)", format!("{start}…"), line.len())
}

/// The value of a slot.
pub fn value(value: &Value) -> String {
    match value {
        Value::Noop => "NOP".into(),
        Value::Command(command) => line(&command.line),
        Value::Change(change) => format!("change to {}", Configuration::of(change)),
    }
}

fn values(first: Slot, list: &Values) -> String {
    if list.len() > LISTED_MAX {
        return format!("{}, {} values", slots(first, list.len() as u64), list.len());
    }
    let each: Vec<String> = (first.0..)
        .zip(list.to_vec())
        .map(|(slot, held)| format!("{slot}:{}", value(&held)))
        .collect();
    each.join(" ")
}

/// A range of slots, both ends included.
fn slots(first: Slot, count: u64) -> String {
    match count {
        0 => "no slot".into(),
        1 => format!("slot {first}"),
        _ => format!("slots {first}-{}", first.0 + count - 1),
    }
}

fn between(range: SlotRange) -> String {
    slots(range.start, range.len())
}

fn decided(mark: &Decided) -> String {
    match mark.slots.len() {
        0 => String::new(),
        _ => format!(", decided at {}: {}", mark.ballot, between(mark.slots)),
    }
}

fn promised(ballot: Option<Ballot>) -> String {
    ballot.map_or("nothing".into(), |ballot| ballot.to_string())
}

fn session(command: &Command) -> String {
    let Command { session, seq, .. } = command;
    match session.id {
        1 => format!("client {} seq {seq}", session.client),
        id => format!("client {} session {id} seq {seq}", session.client),
    }
}

fn request(request: &Request) -> String {
    let each = request.iter().map(|command| {
        let command = command.to_command();
        format!("{} {}", session(&command), line(&command.line))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The first letter of the ids of such messages.
pub fn letter(message: &Message) -> char {
    match message {
        Message::Bootstrap(_) => 'b',
        Message::Acceptor(ToAcceptor::Prepare { .. }) => 'p',
        Message::Acceptor(ToAcceptor::Accept(_) | ToAcceptor::AcceptHeld { .. }) => 'a',
        Message::Proposer(ToProposer::Promise(_)) => 'm',
        Message::Acceptor(ToAcceptor::FetchAccepted { .. })
        | Message::Proposer(ToProposer::AcceptedValues(_)) => 'w',
        Message::Proposer(ToProposer::Nack { .. }) => 'n',
        Message::Proposer(ToProposer::PreVote { .. } | ToProposer::PreVoteReply { .. }) => 'e',
        Message::Proposer(ToProposer::Leaving { .. }) => 'l',
        Message::Proposer(ToProposer::Observes { .. }) => 'j',
        Message::Proposer(ToProposer::Forward { .. }) => 'f',
        Message::Learner(ToLearner::Accepted { .. }) => 'v',
        Message::Learner(ToLearner::Fetch { .. } | ToLearner::Page { .. }) => 'g',
        Message::Heartbeat(_) => 'h',
    }
}

/// A message between replicas.
pub fn message(message: &Message) -> String {
    match message {
        Message::Bootstrap(ToBootstrap::Ready(ready)) => self::ready(ready),
        Message::Bootstrap(ToBootstrap::NotMember { directory }) => {
            format!("not a member: {}", self::directory(*directory))
        }
        Message::Bootstrap(ToBootstrap::Forgotten { boot, known }) => {
            format!("forgotten: life {} began with less than the {known} records known", boot.0)
        }
        Message::Bootstrap(ToBootstrap::LostState(LostState { by, known, begun })) => {
            format!("has lost its state: began with {begun} records, {by} knows of {known}")
        }
        Message::Acceptor(ToAcceptor::Prepare { ballot, first, .. }) => {
            format!("prepare ballot {ballot} from slot {first}")
        }
        Message::Acceptor(ToAcceptor::FetchAccepted { ballot, wanted }) => {
            format!("fetch-accepted ballot {ballot}: {}", spans(wanted))
        }
        Message::Acceptor(ToAcceptor::AcceptHeld { ballot, held }) => {
            format!("accept-held ballot {ballot}: {}", spans(held))
        }
        Message::Acceptor(ToAcceptor::Accept(accept)) => format!(
            "accept ballot {}: {}{}",
            accept.ballot,
            values(accept.first, &accept.values),
            decided(&accept.decided)
        ),
        Message::Proposer(message) => proposer(message),
        Message::Learner(ToLearner::Accepted { ballot, slots, .. }) => {
            let ranges: Vec<String> = slots.ranges().iter().map(|range| between(*range)).collect();
            format!("accepted ballot {ballot}: {}", ranges.join(", "))
        }
        Message::Learner(ToLearner::Fetch { slots }) => {
            format!("fetch {}", between(*slots))
        }
        Message::Learner(ToLearner::Page { first, values }) => {
            format!("page {}", self::values(*first, values))
        }
        Message::Heartbeat(heartbeat) => self::heartbeat(heartbeat),
    }
}

fn ready(ready: &Ready) -> String {
    let mut text = format!("ready {}", directory(ready.directory));
    if let Some(members) = &ready.started {
        let members: Vec<String> = members.iter().copied().map(directory).collect();
        text.push_str(&format!(", started with {}", members.join(" ")));
    }
    match ready.answers {
        Some(Heard { boot, round }) => {
            text.push_str(&format!(", answers ready {round} of life {}", boot.0));
        }
        None => text.push_str(", answers nobody"),
    }
    text
}

fn proposer(message: &ToProposer) -> String {
    match message {
        ToProposer::Promise(page) => {
            let mut text = format!("promise ballot {} from slot {}", page.ballot, page.slots.start);
            match page.accepted.is_empty() {
                true => text.push_str(": nothing accepted"),
                false => text.push_str(&format!(": {}", spans(&page.accepted))),
            }
            if page.trimmed > Slot::ZERO {
                text.push_str(&format!(", trimmed below {}", page.trimmed));
            }
            if !page.last {
                text.push_str(&format!(", more from {}", page.slots.end));
            }
            text
        }
        ToProposer::AcceptedValues(sent) => {
            let held: Vec<String> = { sent.accepted.iter() }
                .map(|run| format!("{} at {}", values(run.first, &run.values), run.ballot))
                .collect();
            let held = if held.is_empty() { "none".into() } else { held.join(", ") };
            let mut text = format!("accepted-values ballot {}: {held}", sent.ballot);
            if sent.trimmed > Slot::ZERO {
                text.push_str(&format!(", trimmed below {}", sent.trimmed));
            }
            if !sent.last {
                text.push_str(", more to come");
            }
            text
        }
        ToProposer::Nack { ballot, promised } => {
            format!("nack ballot {ballot}: promised {promised}")
        }
        ToProposer::PreVote { ballot, .. } => format!("pre-vote for ballot {ballot}?"),
        ToProposer::PreVoteReply { granted, promised, .. } => {
            let said = if *granted { "yes" } else { "no" };
            format!("pre-vote {said}, promised {}", self::promised(*promised))
        }
        ToProposer::Forward { request, .. } => format!("forward {}", self::request(request)),
        ToProposer::Leaving { hand_over: Some(HandOver { ballot, to }), .. } => {
            format!("leaving ballot {ballot}: hands over to {to}")
        }
        ToProposer::Leaving { hand_over: None, .. } => "leaving".into(),
        ToProposer::Observes { directory, applied, vote } => {
            let directory = self::directory(*directory);
            match vote {
                VoteAim::OfLostDisk => {
                    format!("wants {directory} in the lost one's place, applied below {applied}")
                }
                VoteAim::IfAdded => format!("follows with {directory}, applied below {applied}"),
                VoteAim::Never => {
                    format!("follows with {directory} and never votes, applied below {applied}")
                }
            }
        }
    }
}

/// `slot 2 at 0, slots 3-5 at 1`.
fn spans(spans: &Spans) -> String {
    let each = spans.iter().map(|span| format!("{} at {}", between(span.slots), span.ballot));
    each.collect::<Vec<_>>().join(", ")
}

fn heartbeat(heartbeat: &Heartbeat) -> String {
    let what = if heartbeat.leading { "leads" } else { "follows" };
    format!(
        "heartbeat: {what} ballot {}, promised {}, applied below {}{}",
        heartbeat.ballot,
        promised(heartbeat.promised),
        heartbeat.applied,
        decided(&heartbeat.decided)
    )
}

/// A client's message.
pub fn call(message: &ClientMessage) -> String {
    match message {
        ClientMessage::Hello => "hello".into(),
        ClientMessage::Status(query) => format!("status query below slot {}", query.below),
        ClientMessage::Follow(query) => {
            format!("follow from byte {} of slot {}", query.offset, query.slot)
        }
        ClientMessage::Mark { read } => format!("mark for read {read}"),
        ClientMessage::Members(MembersQuery { wish: None, .. }) => "who are the members?".into(),
        ClientMessage::Members(MembersQuery { wish: Some(wish), .. }) => {
            let forced = if wish.forced { ", by force" } else { "" };
            format!("wants to {} in configuration {}{forced}", wish.change, wish.base)
        }
        ClientMessage::Inquiry(inquiry) => {
            let Value::Command(command) = command(inquiry.session, inquiry.seq) else {
                unreachable!()
            };
            format!("inquiry about {}", session(&command))
        }
        ClientMessage::Request(request) => format!("request {}", self::request(request)),
    }
}

/// An answer to a client.
pub fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Welcome { applied, ballot } => {
            format!("welcome: applied below {applied}, ballot {ballot}")
        }
        Answer::Complete { session, seq, slot, client_seq, .. } => {
            let Value::Command(command) = command(*session, *seq) else { unreachable!() };
            format!(
                "complete {}: in slot {slot}, the client's line {client_seq}",
                self::session(&command)
            )
        }
        Answer::Responded(completion) => {
            let response = &completion.response;
            let completion =
                Responded { response: Some(Response::EMPTY), ..(**completion).clone() };
            format!("{}, response {response:?}", self::answer(&completion.into()))
        }
        Answer::Expired { session, seq } => {
            let Value::Command(command) = command(*session, *seq) else { unreachable!() };
            format!("expired {}", self::session(&command))
        }
        Answer::BornTooEarly { session, seq } => {
            let Value::Command(command) = command(*session, *seq) else { unreachable!() };
            format!("born too early, and never applied: {}", self::session(&command))
        }
        Answer::Leader { ballot } => format!("ask the owner of ballot {ballot}"),
        Answer::Status(status) => {
            format!("status: applied below {}, decided below {}", status.applied, status.decided)
        }
        Answer::Usage(usage) => format!("usage: up for {} s", usage.up_s),
        Answer::Log(excerpt) => format!(
            "log: {} bytes from byte {} of slot {}",
            excerpt.text.len(),
            excerpt.offset,
            excerpt.slot
        ),
        Answer::Mark { read, mark, by } => {
            let among = match by.configuration {
                0 => String::new(),
                number => format!(", in configuration {number}"),
            };
            format!("mark for read {read}: accepted below {mark}{among}")
        }
        Answer::Moved { configuration, moved: Moved { id, to: Address(at) } } => {
            format!("moved: replica {id} is at {at}, in configuration {configuration}")
        }
        Answer::Members(members) => match &members.configuration {
            Some(configuration) => format!("members: {configuration}"),
            None => "members: too many to change them".into(),
        },
        Answer::Held { session, seq, ballot } => {
            let Value::Command(command) = command(*session, *seq) else { unreachable!() };
            format!("has {}, the owner of ballot {ballot} leads", self::session(&command))
        }
    }
}

fn command(session: crate::types::Session, seq: u64) -> Value {
    Value::Command(Command { session, seq, birth: Slot::ZERO, line: "".into() })
}

/// An outcome as a client shows it.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Complete { seq, slot, .. } => format!("line {seq} is complete, in slot {slot}"),
        Outcome::Waiting { waited_us, .. } => format!("has waited for {} ms", waited_us / 1_000),
        Outcome::GaveUp { line } => format!("gives up {}", self::line(line)),
        Outcome::OtherCluster { line, .. } => {
            format!("hears another cluster; what became of {} is not known", self::line(line))
        }
        Outcome::Expired { line } => {
            format!("its session is gone; what became of {} is not known", self::line(line))
        }
    }
}

/// A record that an acceptor has made durable.
pub fn saved(record: &Record) -> String {
    match record {
        Record::Promise(ballot) => format!("saves promise {ballot}"),
        Record::Accept(Run { ballot, first, values })
        | Record::Held(Run { ballot, first, values }) => {
            format!("saves at ballot {ballot}: {}", self::values(*first, values))
        }
        Record::Trim(slot) => format!("forgets acceptances below slot {slot}"),
        Record::Remember(of, memory) => {
            format!("remembers that {of} has written {} records", memory.written)
        }
    }
}

/// The records of a learner.
pub fn learned(record: &learner::Record) -> Vec<String> {
    match record {
        learner::Record::Applied { .. } => applied(record)
            .map(|(slot, value, client_seq)| match (&value, client_seq) {
                (Value::Noop, _) => format!("applies slot {slot}: NOP"),
                (held @ Value::Change(_), _) | (held, Some(_)) => {
                    format!("applies slot {slot}: {}", self::value(held))
                }
                (held, None) => {
                    format!("applies slot {slot}: NOP ({} changes nothing here)", self::value(held))
                }
            })
            .collect(),
        learner::Record::Checkpoint(part) if part.is_last => {
            vec![format!("saves a checkpoint below slot {}", part.applied)]
        }
        learner::Record::Checkpoint(_) => vec![],
    }
}

/// The applied slots: the value of each, and its effect.
fn applied(record: &learner::Record) -> impl Iterator<Item = (Slot, Value, Option<u64>)> {
    let (first, values, client_seqs) = match record {
        learner::Record::Applied { first, values, client_seqs } => {
            (*first, values.to_vec(), client_seqs.clone())
        }
        learner::Record::Checkpoint(_) => (Slot::ZERO, vec![], vec![]),
    };
    let slots = (first.0..).map(Slot);
    slots.zip(values).zip(client_seqs).map(|((slot, value), seq)| (slot, value, seq))
}

/// The lines of the chat log.
pub fn chat_lines(record: &learner::Record) -> impl Iterator<Item = String> {
    applied(record).map(|(slot, value, client_seq)| match (value, client_seq) {
        (Value::Command(command), Some(seq)) => {
            format!("{slot} client {} line {seq}: {}", command.session.client, line(&command.line))
        }
        _ => format!("{slot} NOP"),
    })
}

/// The state of an acceptor.
pub fn acceptor(state: &State) -> String {
    let held: Vec<String> = state
        .range(SlotRange::onward(Slot::ZERO))
        .flat_map(|run| {
            let slots = (run.first.0..).zip(run.values.to_vec());
            slots.map(move |(slot, held)| format!("{slot}:{}@{}", value(&held), run.ballot))
        })
        .collect();
    let accepted = match held.len() {
        0 => "nothing accepted".into(),
        more if more > LISTED_MAX => format!("{more} slots accepted"),
        _ => format!("accepted {}", held.join(" ")),
    };
    let mut text = format!("promised {}, {accepted}", promised(state.promised()));
    if state.trimmed() > Slot::ZERO {
        text.push_str(&format!(", trimmed below {}", state.trimmed()));
    }
    text
}
