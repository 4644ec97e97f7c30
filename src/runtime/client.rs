//! The line-oriented client: sends each line of stdin to the log, and prints completions.
//!
//! Of its three threads one reads stdin, one runs the network loop, and the main thread
//! runs the client role. The reader takes the next line only when the line before is
//! complete (it then gets a credit back), so it reads nothing ahead and never drains a
//! pipe into memory. The role's storage prints the outcome of each line before the role
//! sends anything else.

use super::connection::Connection;
use super::process::{Clock, entropy};
use super::role_turn::RoleTurn;
use super::trace::begin::Beginning;
use super::trace::block::Stream;
use super::trace::{Beginner, FILE_BYTES_MAX, Trace, Tracer, Who};
use crate::client::{Client, Input, Outcome};
use crate::config::{ClusterFile, Config, cause};
use crate::net::Incoming;
use crate::net::guard::key::Keys;
use crate::paxos::Storage;
use crate::storage::upkeep::Upkeep;
use crate::types::{BootId, ClientId, LINE_BYTES_MAX, Line};
use command_line::ending::{Ending, fail};
use command_line::standard::{self, Output, cut_from};
use command_line::{EXIT_FAILED, say};
use interleavings::threads::{self, AtomicBool, Receiver, Sender, bounded};
use seeds::stream;
use std::io::{self, BufRead, BufReader, IsTerminal, Read as _, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A line of input that ends the client.
const SHUTDOWN: &[u8] = b"SHUTDOWN";

/// How much of a line a message shows.
const SHOWN_CHARS_MAX: usize = 60;

/// The options of a client.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The client's id in the log.
    pub id: ClientId,
    /// The cluster.
    pub config: Config,
    /// The cluster file, for names that must be resolved again.
    pub names: Option<ClusterFile>,
    /// The client's key, if it has one.
    pub keys: Option<Keys>,
    /// The probability with which each datagram is dropped at the sender.
    pub loss: f64,
    /// Seeds losses and timeouts.
    pub seed: u64,
    /// The longest datagram.
    pub datagram_bytes: usize,
    /// Whether the kernel may be given several datagrams in one call.
    pub offload: bool,
    /// How long one line may take.
    pub timeout_us: Option<u64>,
    /// The file for a trace, if there is to be one.
    pub trace: Option<PathBuf>,
    /// Whether to end when the parent process does.
    pub die_with_parent: bool,
}

/// Runs a client on this process's stdin and stdout.
///
/// Returns the exit code: 0 if every line is complete, 1 if a line was refused or may or may
/// not be complete.
///
/// # Errors
///
/// When it cannot start.
pub fn run(options: ClientOptions) -> io::Result<i32> {
    let ending = Ending::watch(options.die_with_parent)?;
    let (timing, prompt) = (io::stdout().is_terminal(), has_prompt());
    let to = Output::new(io::stdout(), ending.clone());
    let screen = Screen { to, timing, prompt, tell: Arc::new(|line: &str| say(line)) };
    let input = || Source {
        from: BufReader::new(standard::Input(io::stdin())),
        line_max: cut_from(io::stdin()),
    };
    run_on(options, &ending, input, screen)
}

/// The same, on this input and output.
pub(super) fn run_on<I: BufRead, W: Write>(
    options: ClientOptions,
    ending: &Ending,
    input: impl FnOnce() -> Source<I> + Send + 'static,
    screen: Screen<W>,
) -> io::Result<i32> {
    let (n, places) = (options.config.n(), options.config.places());
    let (timeout_us, id, loss, seed) = (options.timeout_us, options.id, options.loss, options.seed);
    let (boot, clock) = (BootId(entropy()?), Clock::start());
    let tracer = begin_trace(&options, boot, clock)?;
    let mut connection = Connection::open(&options, boot, "client")?;
    let refused = Arc::new(AtomicBool::new(false));
    let (credit, credits) = bounded(1);
    let (prompted, tell) = (screen.prompt, Arc::clone(&screen.tell));
    let to = connection.to.clone();
    let tells = Arc::clone(&tell);
    let reader = Reader { to, credits, refused: Arc::clone(&refused), prompted, tell: tells };
    threads::spawn("stdin", move || reader.run(input()))?;
    let peers = connection.peers.clone();
    let place = move |replica| peers.address(replica);
    let mut terminal = Terminal { credit, n, place, loss, screen };
    terminal.ready();
    let (role, rng) = (Client::new(id, n, timeout_us).among(places), stream(seed, "client draws"));
    let trace = tracer.as_ref().map_or_else(Trace::off, |tracer| tracer.of(Stream::Client));
    trace.begin(clock.now(), 0, || Beginning::Client { id, n, places, timeout_us });
    let mut turn = RoleTurn::new(role, terminal, clock, rng, trace);
    if !connection.run(&mut turn, ending)? {
        return Ok(EXIT_FAILED);
    }
    if let Some(tracer) = tracer {
        tracer.end();
    }
    let client = &turn.role;
    let interrupted = client.line();
    if let Some(line) = &interrupted {
        tell(&format!(
            "interrupted: it is not known whether this line is complete: {}",
            shorten(line)
        ));
    }
    let failed = interrupted.is_some() || client.has_failed() || refused.load(Ordering::SeqCst);
    Ok(if failed { EXIT_FAILED } else { 0 })
}

fn begin_trace(options: &ClientOptions, boot: BootId, clock: Clock) -> io::Result<Option<Tracer>> {
    let Some(file) = options.trace.clone() else { return Ok(None) };
    let shown = file.display().to_string();
    let (who, n) = (Who::Client(options.id), options.config.n());
    let beginner = Beginner { file, file_bytes_max: FILE_BYTES_MAX, who, n, boot, clock };
    let tracer = beginner.begin();
    let tracer = tracer.map_err(|error| {
        io::Error::new(error.kind(), format!("--trace {shown}: {}", cause(&error)))
    })?;
    tracer.write_on_panic();
    Ok(Some(tracer))
}

impl From<Incoming> for Input {
    fn from(incoming: Incoming) -> Input {
        match incoming {
            Incoming::Answer { from, answer } => Input::Answer(from, answer),
            Incoming::OtherCluster { from } => Input::OtherCluster(from),
            other => unreachable!("a client's socket opens only answers: {other:?}"),
        }
    }
}

/// Takes lines from stdin to the client role, one at a time.
struct Reader {
    to: Sender<Vec<Input>>,
    credits: Receiver<()>,
    refused: Arc<AtomicBool>,
    prompted: bool,
    tell: Tell,
}

/// The next item on stdin.
enum Next {
    Line(Line),
    Refused(&'static str),
    Shutdown,
    End,
}

/// What is typed or piped in.
#[derive(Debug)]
pub(super) struct Source<I> {
    pub(super) from: I,
    /// The length from which on the terminal cuts a line.
    pub(super) line_max: Option<usize>,
}

impl Reader {
    fn run(self, mut input: Source<impl BufRead>) {
        let mut number = 0u64;
        'credit: while self.credits.recv().is_ok() {
            loop {
                number += 1;
                match read_line(&mut input) {
                    Ok(Next::Line(line)) => match entropy() {
                        Ok(session) => {
                            let batch = vec![Input::Submit { line, session }];
                            if self.to.send(batch).is_err() {
                                return;
                            }
                            continue 'credit;
                        }
                        Err(error) => fail(error),
                    },
                    Ok(Next::Refused(why)) => {
                        self.refused.store(true, Ordering::SeqCst);
                        (self.tell)(&format!("line {number}: {why}: refused"));
                    }
                    Ok(Next::Shutdown) => break 'credit,
                    Ok(Next::End) => {
                        if self.prompted {
                            // Ends the line on which the prompt is.
                            let _ = writeln!(io::stdout());
                        }
                        break 'credit;
                    }
                    Err(error) => fail(format!("cannot read stdin: {error}")),
                }
            }
        }
        let _ = self.to.send(vec![Input::End]);
    }
}

/// Reads up to the next line feed, never more than the longest line into memory.
fn read_line(input: &mut Source<impl BufRead>) -> io::Result<Next> {
    let Source { from, line_max } = input;
    let mut bytes = Vec::new();
    let limit = LINE_BYTES_MAX as u64 + 1;
    from.by_ref().take(limit).read_until(b'\n', &mut bytes)?;
    let ended = bytes.last() == Some(&b'\n');
    if ended {
        bytes.pop();
    } else if bytes.is_empty() {
        return Ok(Next::End);
    }
    if bytes.len() > LINE_BYTES_MAX {
        skip_line(from)?;
        return Ok(Next::Refused("longer than 65536 bytes"));
    }
    if line_max.is_some_and(|max| bytes.len() >= max) {
        return Ok(Next::Refused("the terminal cuts lines after 4095 bytes, a pipe does not"));
    }
    if bytes == SHUTDOWN {
        return Ok(Next::Shutdown);
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Next::Line(text.into()),
        Err(_) => Next::Refused("not UTF-8"),
    })
}

/// Passes over the rest of a line that is too long.
pub(super) fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let here = from.fill_buf()?;
        if here.is_empty() {
            return Ok(());
        }
        match here.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                from.consume(at + 1);
                return Ok(());
            }
            None => {
                let all = here.len();
                from.consume(all);
            }
        }
    }
}

/// Whether a user types at a terminal and wants a prompt.
fn has_prompt() -> bool {
    let terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    terminal && std::env::var_os("NO_COLOR").is_none()
}

/// Prints a line that is no completion.
pub(super) type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// The client's output.
pub(super) struct Screen<W> {
    pub(super) to: W,
    /// Whether to print how long each line took.
    pub(super) timing: bool,
    /// Whether to print a prompt.
    pub(super) prompt: bool,
    /// Prints a line about anything but a completion, on stderr.
    pub(super) tell: Tell,
}

/// The client role's storage: prints the outcome of each line.
struct Terminal<W, P> {
    credit: Sender<()>,
    n: usize,
    /// Where the replicas are.
    place: P,
    loss: f64,
    screen: Screen<W>,
}

impl<W: Write, P: Fn(usize) -> SocketAddr> Terminal<W, P> {
    /// Lets the reader take the next line.
    fn ready(&mut self) {
        if self.screen.prompt {
            let to = &mut self.screen.to;
            let _ = to.write_all(b"> ").and_then(|()| to.flush());
        }
        // There is one credit, and the reader has used it up.
        let _ = self.credit.try_send(());
    }

    fn show(&mut self, outcome: Outcome) -> io::Result<()> {
        match outcome {
            Outcome::Complete { client, seq, slot, took_us, .. } => {
                let Screen { to, timing, .. } = &mut self.screen;
                let line = match *timing {
                    true => format!("{client} {seq} {slot}   {:.2} ms\n", took_us as f64 / 1_000.0),
                    false => format!("{client} {seq} {slot}\n"),
                };
                to.write_all(line.as_bytes())?;
                to.flush()?;
                self.ready();
            }
            Outcome::Waiting { waited_us, answering } => {
                (self.screen.tell)(&still_trying(waited_us, answering, self.n, self.loss));
            }
            Outcome::GaveUp { line } => (self.screen.tell)(&format!(
                "no completion in time: it is not known whether this line is complete: {}",
                shorten(&line)
            )),
            Outcome::OtherCluster { line, from, sent } => {
                let at = (self.place)(from.index());
                let fate = match sent {
                    true => "it is not known whether the former one completed this line",
                    false => "this line was not sent",
                };
                (self.screen.tell)(&format!(
                    "another cluster answers at {at}, in place of the one that this client began \
                     with: {fate}: {}",
                    shorten(&line)
                ))
            }
            Outcome::Expired { line } => (self.screen.tell)(&format!(
                "the session has expired: it is not known whether this line is complete: {}",
                shorten(&line)
            )),
        }
        Ok(())
    }
}

/// What the user is told of a line that waits, while so many of `n` replicas answer.
pub(super) fn still_trying(waited_us: u64, answering: usize, n: usize, loss: f64) -> String {
    let seconds = waited_us / 1_000_000;
    let why = if loss >= 1.0 { " (--msg_loss 100 drops everything)" } else { "" };
    let quorum = n / 2 + 1;
    format!(
        "no completion for {seconds} s{why}: {answering} of {n} replicas answer, and a quorum of \
         {quorum} is needed: still trying"
    )
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{:?}…", &line[..at]),
        None => format!("{line:?}"),
    }
}

impl<W: Write, P: Fn(usize) -> SocketAddr> Storage<Outcome> for Terminal<W, P> {
    fn append(&mut self, records: &mut Vec<Outcome>) -> io::Result<()> {
        records.drain(..).try_for_each(|outcome| self.show(outcome))
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write, P: Fn(usize) -> SocketAddr> Upkeep for Terminal<W, P> {}

#[cfg(test)]
mod tests {
    use super::*;
    use interleavings::threads::explore::{self, Exploration};

    fn quiet() -> Tell {
        Arc::new(|_: &str| {})
    }

    fn lines(input: &[u8]) -> Vec<String> {
        typed(input, None)
    }

    fn typed(input: &[u8], line_max: Option<usize>) -> Vec<String> {
        let mut from = Source { from: BufReader::with_capacity(7, input), line_max };
        let mut found = Vec::new();
        loop {
            match read_line(&mut from).unwrap() {
                Next::Line(line) => found.push(line.to_string()),
                Next::Refused(why) => found.push(format!("<{why}>")),
                Next::End | Next::Shutdown => return found,
            }
        }
    }

    /// The inbox of the client is full when the reader has a line for it.
    fn the_inbox_is_full() {
        let (to, inbox) = bounded(1);
        while to.try_send(Vec::new()).is_ok() {}
        let (credit, credits) = bounded(1);
        credit.send(()).expect("there is room");
        drop(credit);
        let reader =
            Reader { to, credits, refused: Arc::default(), prompted: false, tell: quiet() };
        let input = Source { from: &b"the line\n"[..], line_max: None };
        threads::spawn("stdin", move || reader.run(input)).expect("a thread");
        explore::settle();
        let mut found = Vec::new();
        while let Ok(batch) = inbox.recv() {
            found.extend(batch);
        }
        let is_whole = matches!(&found[..], [Input::Submit { .. }, Input::End]);
        explore::require(is_whole, || format!("{found:?}"));
    }

    #[test]
    fn the_reader_waits_for_room_in_the_inbox_of_the_client() {
        let name = "runtime::client::the_reader_waits_for_room_in_the_inbox_of_the_client";
        let exploration = Exploration { name, steps_max: 10_000 };
        explore::try_seeds(exploration, 20, &[], || the_inbox_is_full);
    }

    #[test]
    fn a_user_that_waits_long_gets_no_room_for_another_line() {
        let (credit, credits) = bounded(1);
        let screen = Screen { to: Vec::new(), timing: false, prompt: false, tell: quiet() };
        let at = SocketAddr::from(([127, 0, 0, 1], 7_000));
        let mut terminal = Terminal { credit, n: 1, place: |_| at, loss: 0.0, screen };
        let (client, seq, slot) = (ClientId(7), 0, crate::types::Slot(3));
        terminal.show(Outcome::Waiting { waited_us: 3_000_000, answering: 1 }).unwrap();
        assert!(credits.try_recv().is_err(), "the line is under way");
        let (took_us, response) = (5, Some(crate::machine::Response::EMPTY));
        let complete = Outcome::Complete { client, seq, slot, took_us, response };
        terminal.show(complete).unwrap();
        assert!(credits.try_recv().is_ok());
        assert_eq!(terminal.screen.to, b"7 0 3\n");
    }

    #[test]
    fn only_the_line_feed_is_stripped_and_a_last_line_without_one_counts() {
        assert_eq!(lines(b"a\r\n\n b \nlast"), ["a\r", "", " b ", "last"]);
    }

    #[test]
    fn shutdown_ends_the_input_only_as_a_whole_line() {
        assert_eq!(lines(b"SHUTDOWN!\nSHUTDOWN\nmore\n"), ["SHUTDOWN!"]);
    }

    #[test]
    fn a_line_that_a_terminal_may_have_cut_is_refused() {
        let line = |length| [&vec![b'x'; length][..], b"\n"].concat();
        let input = [line(4_094), line(4_095), line(3)].concat();
        let found = typed(&input, Some(4_095));
        assert_eq!((found.len(), found[0].len(), found[2].as_str()), (3, 4_094, "xxx"));
        assert_eq!(found[1], "<the terminal cuts lines after 4095 bytes, a pipe does not>");
        assert_eq!(typed(&input, None)[1].len(), 4_095);
    }

    #[test]
    fn a_line_that_is_too_long_or_not_utf8_is_refused_and_the_rest_goes_on() {
        let mut input = vec![b'x'; LINE_BYTES_MAX];
        input.push(b'\n');
        input.extend(vec![b'y'; LINE_BYTES_MAX + 1]);
        input.extend(b"\n\xff\xfe\nend");
        let found = lines(&input);
        assert_eq!(found[0].len(), LINE_BYTES_MAX);
        assert_eq!(found[1..], ["<longer than 65536 bytes>", "<not UTF-8>", "end"]);
    }
}
