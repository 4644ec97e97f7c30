//! A history as a log for [ShiViz](https://bestchai.bitbucket.io/shiviz/), which draws processes and
//! their messages by vector clocks.
//!
//! ```text
//! (?<event>.*)\n(?<host>\S*) (?<clock>{.*})
//!
//! 0.012 s  a3 0->1 accept ballot 0: 0:"hi"
//! replica-0 {"client-7":2,"replica-0":5}
//! ```
//!
//! A file that ShiViz opens begins with the regular expression of its events, and with that of what
//! separates runs, here none: it takes these two lines away before it looks for events. Each event
//! is two lines: what happened, and where and when. A clock names only processes that have events,
//! and the own number of a process begins at 1 and rises by 1 with each event of it, through all
//! lives: ShiViz refuses a log that is otherwise. A text is one line in the sense of JavaScript,
//! where more characters than the line feed end one.
//!
//! **Does not** have heartbeats, which are too many. What a replica knows only by one of them does
//! not look known in the picture.

use history::{Entry, Event, History, Party, print};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The regular expression of an event, as ShiViz writes it.
pub const EVENT: &str = r"(?<event>.*)\n(?<host>\S*) (?<clock>{.*})";

/// How many events a process has had, by process, as far as another one may know.
type Clock = BTreeMap<Party, u64>;

#[derive(Debug, Default)]
struct Log {
    text: String,
    clocks: BTreeMap<Party, Clock>,
    /// By the message's id: its receiver, its text, and what its sender knew.
    sent: BTreeMap<String, (Party, String, Clock)>,
}

/// The text of the file.
pub fn shiviz(history: &History) -> String {
    let mut log = Log { text: format!("{EVENT}\n\n"), ..Log::default() };
    history.entries.iter().for_each(|entry| log.add(entry));
    log.text
}

/// The name of a process. It has no spaces.
fn host(party: Party) -> String {
    match party {
        Party::Replica(id) => format!("replica-{id}"),
        Party::Client(id) => format!("client-{id}"),
    }
}

impl Log {
    fn add(&mut self, entry: &Entry) {
        let us = entry.us;
        match &entry.event {
            Event::Sent { id, from, to, text, .. } if !is_heartbeat(id) => {
                self.happens(us, *from, &format!("{id} {from}->{to} {text}"));
                let clock = self.clocks[from].clone();
                self.sent.insert(id.clone(), (*to, text.clone(), clock));
            }
            Event::Arrived { id } | Event::Repeated { id } => {
                let Some((to, text, clock)) = self.sent.get(id) else { return };
                let (to, text) = (*to, format!("{id} arrives: {text}"));
                let own = self.clocks.entry(to).or_default();
                for (party, time) in clock {
                    let known = own.entry(*party).or_default();
                    *known = (*known).max(*time);
                }
                self.happens(us, to, &text);
            }
            Event::Applied { replica, first, values, .. } => {
                let last = first.plus((values.len() as u64).saturating_sub(1));
                let text = match values.len() {
                    1 => format!("{replica} applies slot {first}"),
                    _ => format!("{replica} applies slots {first}-{last}"),
                };
                self.happens(us, Party::Replica(*replica), &text);
            }
            Event::Began { replica, .. } => {
                self.happens(us, Party::Replica(*replica), &format!("{replica} begins"));
            }
            Event::Ended { replica, .. } => {
                self.happens(us, Party::Replica(*replica), &format!("{replica} ends"));
            }
            Event::Promised { replica, .. }
            | Event::Accepted { replica, .. }
            | Event::Leads { replica, .. }
            | Event::Resigned { replica } => {
                if let Some(text) = print::event(&entry.event) {
                    self.happens(us, Party::Replica(*replica), &text);
                }
            }
            _ => {}
        }
    }

    /// An event of this process.
    fn happens(&mut self, us: u64, party: Party, text: &str) {
        let clock = self.clocks.entry(party).or_default();
        *clock.entry(party).or_default() += 1;
        let clock: Vec<String> =
            clock.iter().map(|(party, time)| format!("\"{}\":{time}", host(*party))).collect();
        let (seconds, ms) = (us / 1_000_000, us / 1_000 % 1_000);
        let text: String = text.chars().map(|it| if ends_line(it) { ' ' } else { it }).collect();
        let (host, clock) = (host(party), clock.join(","));
        writeln!(self.text, "{seconds}.{ms:03} s  {text}\n{host} {{{clock}}}")
            .expect("memory takes everything");
    }
}

fn is_heartbeat(id: &str) -> bool {
    id.starts_with('h')
}

/// What ends a line in JavaScript.
fn ends_line(char: char) -> bool {
    matches!(char, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use history::Said;
    use multipaxos::types::{Ballot, ReplicaId};

    const A: Party = Party::Replica(ReplicaId(0));
    const B: Party = Party::Replica(ReplicaId(1));
    const C: Party = Party::Client(7);

    fn sent(id: &str, from: Party, to: Party, text: &str) -> Event {
        Event::Sent { id: id.into(), from, to, said: Said::Other, text: text.into() }
    }

    fn arrived(id: &str) -> Event {
        Event::Arrived { id: id.into() }
    }

    fn log(events: Vec<Event>) -> String {
        let mut history = History::new(2);
        for (at, event) in events.into_iter().enumerate() {
            history.push(at as u64 * 1_500, event);
        }
        shiviz(&history)
    }

    #[test]
    fn what_a_message_brings_is_known_from_its_arrival_on() {
        let text = log(vec![
            sent("r1", C, A, "request"),
            arrived("r1"),
            Event::Leads { replica: ReplicaId(1), ballot: Ballot(1) },
            sent("a1", A, B, "accept"),
            sent("a2", A, B, "accept more"),
            arrived("a2"),
            sent("c1", A, C, "complete"),
            Event::Repeated { id: "a2".into() },
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], [EVENT, ""]);
        let clocks: Vec<&str> = lines[3..].iter().step_by(2).copied().collect();
        assert_eq!(
            clocks,
            [
                r#"client-7 {"client-7":1}"#,
                r#"replica-0 {"replica-0":1,"client-7":1}"#,
                r#"replica-1 {"replica-1":1}"#,
                r#"replica-0 {"replica-0":2,"client-7":1}"#,
                r#"replica-0 {"replica-0":3,"client-7":1}"#,
                r#"replica-1 {"replica-0":3,"replica-1":2,"client-7":1}"#,
                r#"replica-0 {"replica-0":4,"client-7":1}"#,
                r#"replica-1 {"replica-0":3,"replica-1":3,"client-7":1}"#,
            ]
        );
        let texts: Vec<&str> = lines[2..].iter().step_by(2).copied().collect();
        assert_eq!(texts[0], "0.000 s  r1 c7->0 request");
        assert_eq!(texts[5], "0.007 s  a2 arrives: accept more");
    }

    #[test]
    fn heartbeats_are_left_out_and_a_text_is_one_line() {
        let text = log(vec![
            sent("h1", A, B, "heartbeat"),
            arrived("h1"),
            sent("a1", A, B, "one\u{2028}two\rthree\nfour"),
            arrived("a9"),
        ]);
        let events: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(events, ["0.003 s  a1 0->1 one two three four", r#"replica-0 {"replica-0":1}"#]);
    }
}
