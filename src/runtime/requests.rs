//! A client for programs: requests on stdin, answers on stdout, many in flight (`client --json`).
//!
//! Each line of stdin is a JSON object `{"id": 1, "line": "hello"}`, whose id is a number or a
//! string. Each request has one line on stdout, when its fate is known, in any order:
//!
//! ```text
//! {"id":1,"slot":12,"seq":0,"ms":0.4}     it is in this slot, and this one of the client's lines
//! {"id":1,"error":"…"}                    it was no request, and nothing was sent
//! {"id":1,"unknown":"…"}                  it may or may not be in the log, now or later
//! ```
//!
//! The reader takes the next request only while some client of the [`Pool`] is idle, so it never
//! drains a pipe into memory.

use super::client::{ClientOptions, skip_line, still_trying};
use super::connection::Connection;
use super::process::{Clock, entropy};
use super::role_turn::RoleTurn;
use super::trace::Trace;
use crate::client::Outcome;
use crate::client::pool::{Asked, Pool, Told};
use crate::net::Incoming;
use crate::paxos::Storage;
use crate::storage::upkeep::Upkeep;
use crate::types::{BootId, LINE_BYTES_MAX, Line};
use command_line::ending::{Ending, fail};
use command_line::standard::{self, Output};
use command_line::{EXIT_FAILED, say};
use interleavings::threads::{self, Receiver, Sender, bounded};
use seeds::stream;
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, BufRead, BufReader, Read as _, Write};

/// The longest request. An escape of JSON takes at most six times the bytes that it stands for.
const REQUEST_BYTES_MAX: usize = 8 * LINE_BYTES_MAX;

/// What a request looks like.
const FORM: &str = r#"a request is {"id": 1, "line": "text"}"#;

/// Serves requests on this process's stdin and stdout, so many at once.
///
/// Returns the exit code: 0 if every request was for a line that is complete.
///
/// # Errors
///
/// When it cannot start, or stdout cannot be written.
pub fn run(options: ClientOptions, ending: &Ending, in_flight: usize) -> io::Result<i32> {
    let n = options.config.n();
    let (id, timeout_us, loss, seed) = (options.id, options.timeout_us, options.loss, options.seed);
    let mut connection = Connection::open(&options, BootId(entropy()?), "client")?;
    let (credit, credits) = bounded(in_flight);
    (0..in_flight).try_for_each(|_| credit.try_send(())).expect("there is room for all");
    let to = connection.to.clone();
    threads::spawn("stdin", move || {
        let input = BufReader::new(standard::Input(io::stdin()));
        if let Err(error) = read(input, &to, &credits) {
            fail(format!("cannot read stdin: {error}"));
        }
    })?;
    let printer = Printer {
        to: Output::new(io::stdout(), ending.clone()),
        credit,
        tell: move |waited_us, answering| say(still_trying(waited_us, answering, n, loss)),
        all_complete: true,
    };
    let pool = Pool::new(id, n, timeout_us, in_flight).among(options.config.places());
    let rng = stream(seed, "client draws");
    let mut turn = RoleTurn::new(pool, printer, Clock::start(), rng, Trace::off());
    if !connection.run(&mut turn, ending)? {
        return Ok(EXIT_FAILED);
    }
    let RoleTurn { role, storage, .. } = &mut turn;
    for id in role.in_flight() {
        // Whoever has closed stdout wants the exit code alone.
        let _ = storage.print(id, Fate::Unknown { unknown: "interrupted" });
    }
    Ok(if storage.all_complete { 0 } else { EXIT_FAILED })
}

impl From<Incoming> for Asked<Value> {
    fn from(incoming: Incoming) -> Asked<Value> {
        match incoming {
            Incoming::Answer { from, answer } => Asked::Answer(from, answer),
            Incoming::OtherCluster { from } => Asked::OtherCluster(from),
            other => unreachable!("a client's socket opens only answers: {other:?}"),
        }
    }
}

/// Takes requests to the pool until the input ends, or the pool does.
fn read(
    mut from: impl BufRead,
    to: &Sender<Vec<Asked<Value>>>,
    credits: &Receiver<()>,
) -> io::Result<()> {
    while let Some(request) = next(&mut from)? {
        let asked = match request {
            Ok((tag, line)) => {
                let session = entropy()?;
                if credits.recv().is_err() {
                    return Ok(());
                }
                Asked::Submit { tag, line, session }
            }
            Err((tag, why)) => Asked::Refuse { tag, why },
        };
        if to.send(vec![asked]).is_err() {
            return Ok(());
        }
    }
    let _ = to.send(vec![Asked::End]);
    Ok(())
}

/// A line to write under an id, or the id, as far as there is one, and why it is no request.
type Request = Result<(Value, Line), (Value, String)>;

/// Reads the next request, never more than the longest one into memory. Empty lines are passed
/// over. `None` at the end.
fn next(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    loop {
        let mut bytes = Vec::new();
        let limit = REQUEST_BYTES_MAX as u64 + 1;
        if from.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        if bytes.len() > REQUEST_BYTES_MAX && bytes.last() != Some(&b'\n') {
            skip_line(from)?;
            let why = format!("longer than {REQUEST_BYTES_MAX} bytes");
            return Ok(Some(Err((Value::Null, why))));
        }
        if !bytes.trim_ascii().is_empty() {
            return Ok(Some(parse(&bytes)));
        }
    }
}

fn parse(bytes: &[u8]) -> Request {
    let no_object = |why: String| (Value::Null, format!("{why}: {FORM}"));
    let object: Value = serde_json::from_slice(bytes).map_err(|why| no_object(why.to_string()))?;
    let Value::Object(mut object) = object else { return Err(no_object("no object".into())) };
    let id = object.remove("id").unwrap_or(Value::Null);
    if !matches!(id, Value::Number(_) | Value::String(_)) {
        return Err(no_object("no id, which is a number or a string".into()));
    }
    match line_of(object) {
        Ok(line) => Ok((id, line)),
        Err(why) => Err((id, why)),
    }
}

fn line_of(mut object: Map<String, Value>) -> Result<Line, String> {
    let line = match object.remove("line") {
        Some(Value::String(line)) => line,
        _ => return Err(format!("no line, which is a string: {FORM}")),
    };
    if let Some(other) = object.keys().next() {
        return Err(format!("{other:?} means nothing: {FORM}"));
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("longer than {LINE_BYTES_MAX} bytes"));
    }
    Ok(line.into())
}

/// The pool's storage: prints what becomes of the requests.
#[derive(Debug)]
struct Printer<W, F> {
    to: W,
    /// Lets the reader take the next request.
    credit: Sender<()>,
    /// Tells the user of a line that waits: for how long, and how many replicas answer.
    tell: F,
    /// Whether every request so far was for a line that is complete.
    all_complete: bool,
}

/// What became of a request, as it is printed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Fate<'a> {
    Complete { slot: u64, seq: u64, ms: f64 },
    Error { error: &'a str },
    Unknown { unknown: &'a str },
}

#[derive(Serialize)]
struct Answered<'a> {
    id: &'a Value,
    #[serde(flatten)]
    fate: Fate<'a>,
}

impl<W: Write, F> Printer<W, F> {
    fn print(&mut self, id: &Value, fate: Fate<'_>) -> io::Result<()> {
        self.all_complete &= matches!(fate, Fate::Complete { .. });
        let mut text = serde_json::to_vec(&Answered { id, fate })?;
        text.push(b'\n');
        self.to.write_all(&text)?;
        self.to.flush()
    }

    fn settled(&mut self, id: &Value, outcome: &Outcome) -> io::Result<()> {
        let unknown = |unknown| Fate::Unknown { unknown };
        let fate = match outcome {
            Outcome::Complete { seq, slot, took_us, .. } => {
                Fate::Complete { slot: slot.0, seq: *seq, ms: *took_us as f64 / 1_000.0 }
            }
            Outcome::GaveUp { .. } => unknown("no completion in time"),
            Outcome::Expired { .. } => unknown("the session has expired"),
            Outcome::OtherCluster { sent: true, .. } => unknown("another cluster answers"),
            Outcome::OtherCluster { sent: false, .. } => {
                Fate::Error { error: "another cluster answers" }
            }
            Outcome::Waiting { .. } => unreachable!("a line that waits is not settled"),
        };
        self.print(id, fate)
    }
}

impl<W: Write, F: Fn(u64, usize)> Storage<Told<Value>> for Printer<W, F> {
    fn append(&mut self, records: &mut Vec<Told<Value>>) -> io::Result<()> {
        for told in records.drain(..) {
            match told {
                Told::Settled { tag, outcome } => {
                    self.settled(&tag, &outcome)?;
                    // There is one credit for each client, and the reader has used this one up.
                    let _ = self.credit.try_send(());
                }
                Told::Refused { tag, why } => self.print(&tag, Fate::Error { error: &why })?,
                Told::Waiting { waited_us, answering } => (self.tell)(waited_us, answering),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write, F: Fn(u64, usize)> Upkeep for Printer<W, F> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Response;
    use crate::types::{ClientId, Slot};
    use serde_json::json;

    fn requests(input: &[u8]) -> Vec<Request> {
        let mut from = BufReader::with_capacity(7, input);
        std::iter::from_fn(|| next(&mut from).expect("memory")).collect()
    }

    #[test]
    fn a_request_is_an_id_and_a_line() {
        let input = br#"{"id": 1, "line": "hello"}

 {"line": "a\nb", "id": "x"}
{"id":2.5,"line":""}"#;
        let line = |text: &str| Line::from(text);
        let found = requests(input);
        assert_eq!(
            found,
            [
                Ok((json!(1), line("hello"))),
                Ok((json!("x"), line("a\nb"))),
                Ok((json!(2.5), line("")))
            ]
        );
    }

    #[test]
    fn what_is_no_request_is_told_by_its_id_and_the_rest_goes_on() {
        let long = format!("{{\"id\": 9, \"line\": \"{}\"}}\n", "x".repeat(LINE_BYTES_MAX + 1));
        let huge = format!("{{\"id\": 9, \"line\": \"{}\"}}\n", "x".repeat(REQUEST_BYTES_MAX));
        let escaped =
            format!("{{\"id\": 9, \"line\": \"{}\"}}\n", "\\u0001".repeat(LINE_BYTES_MAX));
        let rest = b"hello\n[1]\n{\"line\": \"x\"}\n{\"id\": [1], \"line\": \"x\"}\n{\"id\": 4}\n\
                     {\"id\": 5, \"line\": \"x\", \"slot\": 3}\n{\"id\": 6, \"line\": 7}\n\
                     {\"id\": 7, \"line\": \"\xff\"}\n{\"id\": 8, \"line\": \"last\"}";
        let bytes = [long.as_bytes(), huge.as_bytes(), escaped.as_bytes(), rest].concat();
        let found = requests(&bytes);
        let told: Vec<String> = found
            .iter()
            .map(|request| match request {
                Ok((id, line)) => format!("{id} {}", line.len()),
                Err((id, why)) => format!("{id} {}", why.split(": a request").next().unwrap_or("")),
            })
            .collect();
        assert_eq!(
            told[..3],
            [
                "9 longer than 65536 bytes".to_owned(),
                format!("null longer than {REQUEST_BYTES_MAX} bytes"),
                "9 65536".to_owned()
            ]
        );
        assert!(told[3].starts_with("null expected value"), "{}", told[3]);
        assert_eq!(
            told[4..10],
            [
                "null no object",
                "null no id, which is a number or a string",
                "null no id, which is a number or a string",
                "4 no line, which is a string",
                "5 \"slot\" means nothing",
                "6 no line, which is a string",
            ]
        );
        assert_eq!(told[11], "8 4");
        assert_eq!(told.len(), 12);
    }

    #[test]
    fn every_fate_is_one_line_and_only_completions_are_good() {
        let (credit, credits) = bounded(1);
        let tell = |_, _| {};
        let mut printer = Printer { to: Vec::new(), credit, tell, all_complete: true };
        let (client, slot, response) = (ClientId(7), Slot(12), Some(Response::EMPTY));
        let complete = Outcome::Complete { client, seq: 3, slot, took_us: 400, response };
        let settled = |id: Value, outcome| Told::Settled { tag: id, outcome };
        printer.append(&mut vec![settled(json!(1), complete)]).expect("memory");
        assert!(printer.all_complete && credits.try_recv().is_ok());
        let line = Line::from("x");
        let refused = Told::Refused { tag: Value::Null, why: "no object".into() };
        let gave_up = settled(json!("b"), Outcome::GaveUp { line });
        printer.append(&mut vec![refused, gave_up]).expect("memory");
        assert!(!printer.all_complete);
        assert!(credits.try_recv().is_ok() && credits.try_recv().is_err(), "one was settled");
        let text = String::from_utf8(printer.to).expect("it is JSON");
        assert_eq!(
            text,
            "{\"id\":1,\"slot\":12,\"seq\":3,\"ms\":0.4}\n{\"id\":null,\"error\":\"no object\"}\n\
             {\"id\":\"b\",\"unknown\":\"no completion in time\"}\n"
        );
    }
}
