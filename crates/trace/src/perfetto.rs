//! A history as a file for Perfetto and other viewers of Chrome's trace events.
//!
//! Each process is a process of the viewer. A message is two short slices, where it leaves and where
//! it arrives, and an arrow between them; what becomes durable and what is applied is a slice as
//! well, and a reign is a long one.

use history::{Entry, Event, History, Party, print};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How long something is drawn that takes no time, in microseconds.
const SLICE_US: u64 = 10;

/// The processes of clients have numbers from here on, in the order in which they come.
const CLIENTS: u64 = 1_000;

/// What the events of messages are put together from.
#[derive(Debug, Default)]
struct Events {
    all: Vec<Value>,
    /// By the message's id: its number, its receiver, and its text.
    sent: BTreeMap<String, (usize, Party, String)>,
    /// By replica: since when it leads, and at which ballot.
    leads: BTreeMap<u64, (u64, u64)>,
    processes: BTreeMap<Party, u64>,
}

/// The text of the file.
pub fn perfetto(history: &History) -> String {
    let mut events = Events::default();
    history.entries.iter().for_each(|entry| events.add(entry));
    let end = history.entries.last().map_or(0, |entry| entry.us);
    let leaders: Vec<u64> = events.leads.keys().copied().collect();
    leaders.into_iter().for_each(|pid| events.resigns(pid, end));
    let names = events.processes.iter().map(|(party, pid)| {
        let name = match party {
            Party::Replica(id) => format!("replica {id}"),
            Party::Client(id) => format!("client {id}"),
        };
        json!({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}})
    });
    let all: Vec<Value> = names.chain(events.all.iter().cloned()).collect();
    json!({"displayTimeUnit": "ms", "traceEvents": all}).to_string()
}

impl Events {
    fn process(&mut self, party: Party) -> u64 {
        let next = CLIENTS + self.processes.len() as u64;
        *self.processes.entry(party).or_insert(match party {
            Party::Replica(id) => u64::from(id.0) + 1,
            Party::Client(_) => next,
        })
    }

    fn slice(&mut self, pid: u64, thread: u64, us: u64, dur: u64, name: &str) {
        self.all.push(json!({
            "ph": "X", "pid": pid, "tid": thread, "ts": us, "dur": dur, "name": name
        }));
    }

    fn add(&mut self, entry: &Entry) {
        let us = entry.us;
        match &entry.event {
            Event::Sent { id, from, to, text, .. } => {
                let (pid, number) = (self.process(*from), self.sent.len());
                self.slice(pid, 1, us, SLICE_US, &format!("{id} {text}"));
                self.all.push(json!({
                    "ph": "s", "pid": pid, "tid": 1, "ts": us, "id": number, "name": "message",
                    "cat": "message"
                }));
                self.sent.insert(id.clone(), (number, *to, text.clone()));
            }
            Event::Arrived { id } => {
                let Some((number, to, text)) = self.sent.get(id).cloned() else { return };
                let pid = self.process(to);
                self.slice(pid, 1, us, SLICE_US, &format!("{id} {text}"));
                self.all.push(json!({
                    "ph": "f", "bp": "e", "pid": pid, "tid": 1, "ts": us, "id": number,
                    "name": "message", "cat": "message"
                }));
            }
            Event::Promised { replica, ballot } => {
                let pid = self.process(Party::Replica(*replica));
                self.slice(pid, 2, us, SLICE_US, &format!("promises ballot {ballot}"));
            }
            Event::Accepted { replica, ballot, first, values } => {
                let pid = self.process(Party::Replica(*replica));
                let (count, end) = (values.len(), first.0 + values.len() as u64);
                let name = format!("accepts {first}..{end} ({count}) at ballot {ballot}");
                self.slice(pid, 2, us, SLICE_US, &name);
            }
            Event::Applied { replica, first, values, .. } => {
                let pid = self.process(Party::Replica(*replica));
                let end = first.0 + values.len() as u64;
                self.slice(pid, 3, us, SLICE_US, &format!("applies {first}..{end}"));
            }
            Event::Leads { replica, ballot } => {
                let pid = self.process(Party::Replica(*replica));
                self.resigns(pid, us);
                self.leads.insert(pid, (us, ballot.0));
            }
            Event::Resigned { replica } | Event::Ended { replica, .. } => {
                let pid = self.process(Party::Replica(*replica));
                self.resigns(pid, us);
                if let Some(text) = print::event(&entry.event) {
                    self.slice(pid, 4, us, SLICE_US, &text);
                }
            }
            _ => {}
        }
    }

    fn resigns(&mut self, pid: u64, us: u64) {
        if let Some((since, ballot)) = self.leads.remove(&pid) {
            let dur = us.saturating_sub(since).max(1);
            self.slice(pid, 4, since, dur, &format!("leads with ballot {ballot}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use history::Said;
    use multipaxos::types::{Ballot, ReplicaId};

    #[test]
    fn a_message_is_two_slices_and_an_arrow_and_a_reign_a_long_one() {
        let mut history = History::new(2);
        let (from, to) = (Party::Replica(ReplicaId(0)), Party::Client(7));
        let (id, said, text) = ("c1".to_owned(), Said::Other, "complete".to_owned());
        history.push(3, Event::Leads { replica: ReplicaId(0), ballot: Ballot(4) });
        history.push(5, Event::Sent { id: id.clone(), from, to, said, text });
        history.push(9, Event::Arrived { id });
        let text = perfetto(&history);
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let events = read["traceEvents"].as_array().expect("a list");
        let of = |kind: &str| -> Vec<(u64, u64)> {
            let it = events.iter().filter(|it| it["ph"] == kind);
            it.map(|it| (it["pid"].as_u64().unwrap_or(0), it["ts"].as_u64().unwrap_or(0))).collect()
        };
        assert_eq!(of("X"), [(1, 5), (1_001, 9), (1, 3)]);
        assert_eq!((of("s"), of("f"), of("M").len()), (vec![(1, 5)], vec![(1_001, 9)], 2));
        let reign = events.iter().find(|it| it["name"] == "leads with ballot 4").expect("it leads");
        assert_eq!(reign["dur"], 6);
    }
}
