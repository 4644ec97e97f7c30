//! Prints the chat log, as far as it is or as it grows: the process around a [`Follower`].
//!
//! It is no client of the log: it reads no stdin, opens no session and sends no line.

use super::asker::Asker;
use super::client::ClientOptions;
use super::process::{Clock, LOOK, entropy};
use crate::follow::{End, Follower, Lacks, Lines, Order, Silence};
use crate::net::Incoming;
use crate::net::frame::excerpt_room;
use crate::storage::chat_log::{self, Shown};
use crate::types::{ReplicaId, Slot};
use command_line::ending::Ending;
use command_line::standard::Output;
use command_line::{EXIT_FAILED, say};
use serde::Serialize;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::Duration;

/// How a line is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// As it stands in the chat log.
    #[default]
    Text,
    /// As one JSON object.
    Json,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Text => "text",
            Format::Json => "json",
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err("not one of text, json".into()),
        }
    }
}

/// What is to be printed.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The slot of the first line.
    pub from: Slot,
    /// Whether to end with the last line that is decided at the beginning.
    pub ends: bool,
    /// Whether to miss no line that is complete at the beginning (E5).
    pub reads: bool,
    /// How to print lines.
    pub format: Format,
}

/// Prints the chat log. Returns the exit code: 0 if all was printed that was wanted, as far as a
/// signal or a reader that had enough let it; 1 if nobody answers, or not this cluster.
///
/// # Errors
///
/// When the socket or a thread cannot be had, or stdout cannot be written.
pub fn run(options: &ClientOptions, ending: &Ending, wanted: Wanted) -> io::Result<i32> {
    let Wanted { from, ends, reads, format } = wanted;
    let order = Order { from, ends, reads, timeout_us: options.timeout_us };
    let mut printer = Printer { to: Output::new(io::stdout(), ending.clone()), format };
    match read(options, ending, order, &mut printer)? {
        How::AllRead | How::NotWanted => Ok(0),
        How::Signal => Ok(if ends { EXIT_FAILED } else { 0 }),
        How::Failed(why) => {
            say(why);
            Ok(EXIT_FAILED)
        }
    }
}

/// Whoever reads the log.
pub(super) trait Reader {
    /// These lines come next. Returns whether more are wanted.
    ///
    /// # Errors
    ///
    /// When they cannot be passed on.
    fn take(&mut self, lines: Lines) -> io::Result<bool>;

    /// Something about the cluster.
    fn tell(&mut self, text: &str);

    /// Every line that was complete at the beginning lies below this slot, and was passed on.
    ///
    /// # Errors
    ///
    /// When that cannot be passed on.
    fn has_read(&mut self, _end: Slot) -> io::Result<bool> {
        Ok(true)
    }

    /// Whether more is wanted, although nothing comes.
    fn is_there(&mut self) -> bool {
        true
    }
}

/// How reading has ended.
#[derive(Debug)]
pub(super) enum How {
    /// Everything was read.
    AllRead,
    /// The reader wants no more.
    NotWanted,
    /// The process is to end.
    Signal,
    /// It cannot go on, and why.
    Failed(String),
}

/// Reads the log for this reader.
///
/// # Errors
///
/// When the socket or a thread cannot be had, and those of the reader.
pub(super) fn read(
    options: &ClientOptions,
    ending: &Ending,
    order: Order,
    reader: &mut impl Reader,
) -> io::Result<How> {
    let mut asker = Asker::new(options, "follow")?;
    let clock = Clock::start();
    let (n, places) = (options.config.n(), options.config.places());
    let mut follower = Follower::new(clock.now(), n, order, entropy()?).among(places);
    let mut looked = clock.now();
    while !ending.is_due() {
        let now = clock.now();
        let turn = follower.turn(now, |to| excerpt_room(asker.length(to)));
        asker.send(turn.calls);
        if let Some(lines) = follower.lines()
            && !reader.take(lines)?
        {
            return Ok(if ending.is_due() { How::Signal } else { How::NotWanted });
        }
        if let Some(end) = turn.has_read
            && !reader.has_read(end)?
        {
            return Ok(if ending.is_due() { How::Signal } else { How::NotWanted });
        }
        if let Some(silence) = turn.silence {
            reader.tell(&format!("{}: still trying", in_words(silence, n)));
        }
        if let Some(end) = follower.end() {
            return Ok(how(end, follower.slot(), n, |of| asker.place(of)));
        }
        // A reader that has had enough is noticed although no line comes.
        if now.since_us(looked) >= LOOK.as_micros() as u64 {
            looked = now;
            if !reader.is_there() {
                return Ok(How::NotWanted);
            }
        }
        let due = follower.deadline().map(|at| Duration::from_micros(at.since_us(now)));
        for incoming in asker.take(due.unwrap_or(LOOK).min(LOOK))? {
            match incoming {
                Incoming::Answer { from, answer } => follower.take(clock.now(), from, answer),
                Incoming::OtherCluster { from } => follower.take_elsewhere(from),
                other => unreachable!("a client's socket opens only answers: {other:?}"),
            }
        }
    }
    Ok(How::Signal)
}

/// What the end of a follower before this slot means to its reader.
fn how(end: End, slot: Slot, n: usize, place: impl Fn(ReplicaId) -> SocketAddr) -> How {
    How::Failed(match end {
        End::Done => return How::AllRead,
        End::Silent(silence) => format!("{}: gives up before slot {slot}", in_words(silence, n)),
        End::OtherCluster(from) => format!(
            "another cluster answers at {}, in place of the one that was followed: ends before slot \
             {slot}",
            place(from)
        ),
        End::NotALine(from, slot) => {
            format!("replica {from} has sent what is no line of slot {slot}: ends")
        }
    })
}

/// Prints to stdout.
struct Printer<F> {
    to: Output<F>,
    format: Format,
}

impl<F: AsFd> Reader for Printer<F> {
    fn take(&mut self, lines: Lines) -> io::Result<bool> {
        goes_on(print(lines, self.format, &mut self.to))
    }

    /// Where lines are text, a line of another kind would not be one.
    fn has_read(&mut self, end: Slot) -> io::Result<bool> {
        match self.format {
            Format::Text => {
                say(format_args!(
                    "read: every line that was complete at the beginning is printed, below slot {end}"
                ));
                Ok(true)
            }
            Format::Json => goes_on(self.to.write_all(format!("{{\"read\":{end}}}\n").as_bytes())),
        }
    }

    fn tell(&mut self, text: &str) {
        say(text);
    }

    fn is_there(&mut self) -> bool {
        !self.to.has_lost_reader()
    }
}

/// Whether more is wanted, after something was printed.
fn goes_on(printed: io::Result<()>) -> io::Result<bool> {
    match printed {
        Ok(()) => Ok(true),
        // Nobody reads any more; or nobody does, and a signal has come.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::TimedOut) => {
            Ok(false)
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(error),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot write stdout: {error}"))),
    }
}

fn in_words(silence: Silence, n: usize) -> String {
    let Silence { waited_us, answering, lacks } = silence;
    let seconds = waited_us / 1_000_000;
    let lacks = match lacks {
        Lacks::Welcome => "replica that hears a quorum",
        Lacks::Marks => "quorum that says how far the log is",
        Lacks::Lines => "part of the log",
    };
    format!("no {lacks} for {seconds} s: {answering} of {n} replicas answer")
}

fn print(lines: Lines, format: Format, to: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Text => to.write_all(&lines.text),
        Format::Json => to.write_all(&as_json(&lines)?),
    }
}

/// A line as JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Object<'a> {
    Line { slot: u64, client: u64, seq: u64, message: &'a str },
    Noop { slot: u64, noop: bool },
}

fn as_json(lines: &Lines) -> io::Result<Vec<u8>> {
    let mut all = Vec::with_capacity(2 * lines.text.len());
    let slots = (lines.first.0..).map(Slot);
    for (slot, line) in slots.zip(lines.text.split_inclusive(|byte| *byte == b'\n')) {
        let shown = chat_log::read(line, slot);
        let object = match &shown {
            Some(Shown::Nop) => Object::Noop { slot: slot.0, noop: true },
            Some(Shown::Line { client, seq, message }) => {
                Object::Line { slot: slot.0, client: client.0, seq: *seq, message }
            }
            None => {
                let what = format!("what a replica has sent is no line of slot {slot}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        };
        serde_json::to_writer(&mut all, &object)?;
        all.push(b'\n');
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;
    use crate::storage::chat_log::write_line;

    #[test]
    fn a_line_as_json_has_the_message_that_its_client_sent() {
        let messages = ["", "a \"b\" \\ c", "\n\r\t\u{85}\u{0}", "é\u{2028}🦀"];
        let mut text = Vec::new();
        for (slot, message) in (5..).zip(messages) {
            let request = Request::new(u64::MAX, 1, 0, message);
            write_line(&mut text, Slot(slot), request.commands.get(0), Some(slot + 1));
        }
        write_line(&mut text, Slot(9), crate::values::ValueRef::Noop, None);
        let json = as_json(&Lines { first: Slot(5), text }).unwrap();
        let json = String::from_utf8(json).unwrap();
        let lines: Vec<&str> = json.lines().collect();
        assert_eq!(lines[4], r#"{"slot":9,"noop":true}"#);
        assert_eq!(lines[0], r#"{"slot":5,"client":18446744073709551615,"seq":6,"message":""}"#);
        for (line, message) in lines.iter().zip(messages) {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(object["message"], message);
        }
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn what_is_no_line_is_no_object() {
        for text in ["6 7 0 x\n", "5 7 x\n", "5 7 0 \\x\n"] {
            let lines = Lines { first: Slot(5), text: text.into() };
            assert_eq!(as_json(&lines).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text}");
        }
    }

    #[test]
    fn a_format_is_read_as_it_is_written() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("xml".parse::<Format>().is_err());
    }
}
