//! The verdict: do these chat logs agree with what the clients were told?
//!
//! The verdict is a pure function. It takes the bytes of the files and what the clients were
//! told, and returns a [`Summary`] or the first [`Violation`]. It knows nothing of the
//! protocol, so it cannot share the protocol's mistakes. It checks four rules, in this order:
//!
//! 1. *Agreement*: the logs of live replicas are identical to the byte. The log of a killed
//!    replica is a prefix of them, and may end inside a line.
//! 2. *Contiguity*: slots count from 0 without a gap, each line is well formed, and each
//!    client's lines are numbered from 0.
//! 3. *Exactly once, in order*: each completed line is in the log once, in the slot and with
//!    the number that its client was told. The log holds only lines that were sent. Each
//!    client's lines are in the order in which it sent them. (Each client is one process.)
//! 4. *Real time*: a line that was completed before another was sent has the lower slot.
//!
//! If lines were completed, a log that is absent or empty is a violation. It is never
//! agreement: a replica that wrote nothing agrees with every replica that wrote nothing.
//!
//! Rule 4 takes one sweep from the last slot to the first. No line in a higher slot may have
//! been completed before this line was sent. So it is enough to carry the earliest completion
//! met so far. (Real-time order of a total order: Herlihy and Wing, *Linearizability*, 1990,
//! for the one operation "append".)
//!
//! [`compare`] judges a run made by hand, where the driver does not know what was sent. It
//! checks format, contiguity, numbering and agreement. It does not know which replicas were
//! killed either, and a kill may take the last lines from a log until its replica runs again.
//! So it accepts a log that is a prefix of the longest, and says so. It needs a majority of the
//! logs, since absent ones agree with nothing.

mod log;

pub use log::complete_lines;
use log::{Entry, lines, parse_log, shown, write};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// One replica's chat log on disk after the run.
#[derive(Debug, Clone)]
pub struct ChatLog {
    /// The replica's id.
    pub replica: usize,
    /// The file's content; `None` if there is no such file.
    pub bytes: Option<Vec<u8>>,
    /// Whether the replica was alive until the run ended it.
    pub live: bool,
}

/// A line that a client sent. The lines of a client are in the order in which it sent them,
/// and no two of them have the same text.
#[derive(Debug, Clone)]
pub struct SentLine {
    /// The client's id.
    pub client: u64,
    /// The text, as sent.
    pub text: String,
    /// The time just before it was sent, since the beginning of the run.
    pub sent: Duration,
    /// The completion that its client was told, if it was told any.
    pub completed: Option<Completion>,
}

/// A completion, as the client was told.
#[derive(Debug, Clone, Copy)]
pub struct Completion {
    /// The line's number among the client's.
    pub seq: u64,
    /// The slot of the line.
    pub slot: u64,
    /// The time at which the client knew, since the beginning of the run.
    pub at: Duration,
}

/// The contents of a clean log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// The number of chat lines.
    pub lines: u64,
    /// The number of slots that hold a no-op.
    pub noops: u64,
}

/// The first broken rule: which rule, where, and up to two lines that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The first bad slot, if the fault is in a slot.
    pub slot: Option<u64>,
    /// The rule that is broken, in a few words.
    pub what: String,
    /// The lines that differ, each with the place where it was found.
    pub shown: Vec<(String, String)>,
}

impl Violation {
    fn new(slot: u64, what: impl Into<String>) -> Violation {
        Violation { slot: Some(slot), what: what.into(), shown: Vec::new() }
    }

    fn of_file(what: impl Into<String>) -> Violation {
        Violation { slot: None, what: what.into(), shown: Vec::new() }
    }

    fn show(mut self, place: impl Into<String>, line: impl Into<String>) -> Violation {
        self.shown.push((place.into(), line.into()));
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot {
            Some(slot) => write!(out, "slot {slot}: {}", self.what)?,
            None => write!(out, "{}", self.what)?,
        }
        let width = self.shown.iter().map(|(place, _)| place.len()).max().unwrap_or(0);
        for (place, line) in &self.shown {
            write!(out, "\n  {place:width$} | {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// The name of a replica's chat log.
pub fn file_name(replica: usize) -> String {
    format!("learner{replica}.txt")
}

/// Judges a whole run.
pub fn judge(logs: &[ChatLog], sent: &[SentLine]) -> Result<Summary, Violation> {
    let Some(first) = logs.iter().find(|log| log.live) else {
        return Err(Violation::of_file("no replica lived to the end"));
    };
    for log in logs.iter().filter(|log| log.live) {
        if log.bytes.is_none() && !sent.is_empty() {
            return Err(Violation::of_file(format!("{} is absent", file_name(log.replica))));
        }
    }
    let bytes = first.bytes.as_deref().unwrap_or_default();
    for log in logs.iter().filter(|log| log.replica != first.replica) {
        let other = log.bytes.as_deref().unwrap_or_default();
        if other != bytes && (log.live || !bytes.starts_with(other)) {
            return Err(difference(first.replica, bytes, log.replica, other));
        }
    }
    let name = file_name(first.replica);
    let entries = parse_log(&name, bytes)?;
    check_lines(&name, &entries, sent)?;
    check_real_time(&name, &entries, sent)?;
    Ok(summary(&entries))
}

/// The first slot in which two logs differ, with both lines.
fn difference(a: usize, a_bytes: &[u8], b: usize, b_bytes: &[u8]) -> Violation {
    let (mut a_lines, mut b_lines) = (lines(a_bytes), lines(b_bytes));
    let mut slot = 0;
    loop {
        let pair = (a_lines.next(), b_lines.next());
        if pair.0 != pair.1 || pair.0.is_none() {
            let text = |line: Option<&[u8]>| match line {
                Some(line) => shown(line),
                None => "(the log ends here)".into(),
            };
            return Violation::new(slot, "the chat logs differ")
                .show(file_name(a), text(pair.0))
                .show(file_name(b), text(pair.1));
        }
        slot += 1;
    }
}

/// Rule 3: compares the log with the lines that were sent and the completions.
fn check_lines(name: &str, entries: &[Entry], sent: &[SentLine]) -> Result<(), Violation> {
    let mut index: HashMap<(u64, &str), usize> = HashMap::new();
    for (at, line) in sent.iter().enumerate() {
        index.insert((line.client, &line.text), at);
    }
    let mut stands: Vec<Option<usize>> = vec![None; sent.len()];
    let mut last: HashMap<u64, usize> = HashMap::new();
    for (slot, entry) in entries.iter().enumerate() {
        let Entry::Line { client, text, .. } = entry else {
            continue;
        };
        let bad = |what: &str| Violation::new(slot as u64, what).show(name, write(slot, entry));
        let Some(&at) = index.get(&(*client, text.as_str())) else {
            return Err(bad("a line is in the log that no client sent"));
        };
        if let Some(above) = stands[at] {
            return Err(bad("a line is in the log twice").show(name, write(above, &entries[above])));
        }
        stands[at] = Some(slot);
        if let Some(&above) = last.get(client)
            && Some(at) < index_of(&entries[above], &index)
        {
            let bad = bad("a client's lines are not in the order sent");
            return Err(bad.show(name, write(above, &entries[above])));
        }
        last.insert(*client, slot);
    }
    for (line, stands) in sent.iter().zip(&stands) {
        let Some(told) = line.completed else {
            continue;
        };
        let says = format!("client {} was told", line.client);
        let told_line = format!("{} {} {} {}", told.slot, line.client, told.seq, line.text);
        let Some(slot) = *stands else {
            let what = "a completed line is not in the log";
            let there = entries.get(told.slot as usize).map(|e| write(told.slot as usize, e));
            return Err(Violation::new(told.slot, what)
                .show(says, told_line)
                .show(name, there.unwrap_or_else(|| "(the log ends before this slot)".into())));
        };
        let seq = match &entries[slot] {
            Entry::Line { seq, .. } => *seq,
            Entry::Noop => unreachable!("a line was matched in this slot"),
        };
        if (slot as u64, seq) != (told.slot, told.seq) {
            let what = "a line has another slot or number than its client was told";
            return Err(Violation::new(told.slot.min(slot as u64), what)
                .show(says, told_line)
                .show(name, write(slot, &entries[slot])));
        }
    }
    Ok(())
}

fn index_of(entry: &Entry, index: &HashMap<(u64, &str), usize>) -> Option<usize> {
    match entry {
        Entry::Noop => None,
        Entry::Line { client, text, .. } => index.get(&(*client, text.as_str())).copied(),
    }
}

/// Rule 4, in one sweep from the end. Reports the first slot at fault.
fn check_real_time(name: &str, entries: &[Entry], sent: &[SentLine]) -> Result<(), Violation> {
    let mut times: HashMap<(u64, &str), &SentLine> = HashMap::new();
    times.extend(sent.iter().map(|line| ((line.client, line.text.as_str()), line)));
    let mut earliest: Option<(Duration, usize)> = None;
    let mut found = None;
    for (slot, entry) in entries.iter().enumerate().rev() {
        let Entry::Line { client, text, .. } = entry else {
            continue;
        };
        let Some(line) = times.get(&(*client, text.as_str())) else {
            continue;
        };
        if let Some((at, below)) = earliest
            && at < line.sent
        {
            found = Some((slot, line.sent, below, at));
        }
        if let Some(done) = line.completed
            && earliest.is_none_or(|(at, _)| done.at < at)
        {
            earliest = Some((done.at, slot));
        }
    }
    let Some((above, sent_at, below, completed_at)) = found else {
        return Ok(());
    };
    let place = |what: &str, at: Duration| format!("{name}, {what} at {:.6} s", at.as_secs_f64());
    let what = format!("sent only after slot {below} was completed, and yet it is in a lower slot");
    Err(Violation::new(above as u64, what)
        .show(place("sent", sent_at), write(above, &entries[above]))
        .show(place("completed", completed_at), write(below, &entries[below])))
}

fn summary(entries: &[Entry]) -> Summary {
    let noops = entries.iter().filter(|entry| **entry == Entry::Noop).count() as u64;
    Summary { lines: entries.len() as u64 - noops, noops }
}

/// The result of a comparison of logs that agree.
#[derive(Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The contents of the longest log.
    pub summary: Summary,
    /// The number of logs that are identical to the longest.
    pub identical: usize,
    /// The others.
    pub short: Vec<Short>,
}

/// A log that is a prefix of the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// The replica's id.
    pub replica: usize,
    /// How many lines of the longest it lacks. None if it is absent.
    pub behind: Option<usize>,
    /// Whether its last line is cut.
    pub torn: bool,
}

impl fmt::Display for Short {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = file_name(self.replica);
        let Some(behind) = self.behind else { return write!(out, "{name} is absent") };
        let lines = if behind == 1 { "line" } else { "lines" };
        let torn = if self.torn { ", and ends inside a line" } else { "" };
        write!(out, "{name} is {behind} {lines} behind{torn}")
    }
}

/// Judges the logs of a run that the driver did not watch. There is one log for each
/// replica, absent files included. It does not ask which replicas were alive.
pub fn compare(logs: &[ChatLog]) -> Result<Comparison, Violation> {
    let length = |log: &ChatLog| log.bytes.as_ref().map_or(0, Vec::len);
    // Of several longest logs take the first, so that the report names them in order.
    let longest = logs.iter().rev().max_by_key(|log| length(log));
    let Some(longest) = longest.filter(|log| length(log) > 0) else {
        return Err(Violation::of_file("every chat log is empty"));
    };
    let bytes = longest.bytes.as_deref().unwrap_or_default();
    let mut short = Vec::new();
    for log in logs {
        let other = log.bytes.as_deref().unwrap_or_default();
        if !bytes.starts_with(other) {
            return Err(difference(longest.replica, bytes, log.replica, other));
        }
        if other.len() < bytes.len() {
            let lacks = complete_lines(bytes) - complete_lines(other);
            let behind = log.bytes.is_some().then_some(lacks);
            let torn = !other.is_empty() && !other.ends_with(b"\n");
            short.push(Short { replica: log.replica, behind, torn });
        }
    }
    let entries = parse_log(&file_name(longest.replica), bytes)?;
    let there = logs.iter().filter(|log| log.bytes.is_some()).count();
    if there * 2 <= logs.len() {
        let what = format!("only {there} of {} chat logs are there: no majority", logs.len());
        return Err(Violation::of_file(what));
    }
    let identical = logs.len() - short.len();
    Ok(Comparison { summary: summary(&entries), identical, short })
}
