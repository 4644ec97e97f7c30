//! A client on a terminal: what is typed can be edited, and the lines of others appear above it.
//!
//! The client is that of a pipe ([`super::client`]), with one line in flight. Two threads are added:
//!
//! - *keyboard* has the line editor (rustyline). It gives lines to the client's reader, which takes
//!   the next when the one before is complete; up to `TYPED_MAX` wait. So the prompt is always
//!   there, also while nobody leads. A line that begins with `/` is a command (`commands`).
//! - *others* follows the log ([`crate::follow`]) from the last `RECENT` lines on, and shows what
//!   other clients write.
//!
//! Whatever is printed goes through the editor's printer, which writes above the prompt. However the
//! client ends, the terminal has the modes again that it had before.

mod commands;
mod screen;

use super::ask::{self, Asked};
use super::client::{self, ClientOptions, Source};
use super::follow::{self, How, Reader};
use crate::follow::{Lines, Order};
use crate::types::Slot;
use command_line::ending::{Ending, fail};
use commands::{Command, Help};
use interleavings::threads::{self, Receiver, Sender, bounded};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};
use screen::{Said, Shown};
use std::env;
use std::io::{self, BufRead, IsTerminal, Read};
use std::sync::Arc;

/// How many lines may be typed ahead.
const TYPED_MAX: usize = 64;

/// How many lines of the log are shown at the beginning.
const RECENT: u64 = 10;

/// How many lines `/history` shows, unless the user says otherwise.
const HISTORY: u64 = 20;

/// How long `/history` waits for an answer.
const HISTORY_US: u64 = 3_000_000;

/// How many lines the editor remembers.
const REMEMBERED_MAX: usize = 1_000;

const PROMPT: &str = "> ";

/// Whether a user types at a terminal that can place text.
pub fn is_there() -> bool {
    let are_terminals = io::stdout().is_terminal() && io::stdin().is_terminal();
    let is_able = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    are_terminals && is_able && env::var_os("NO_COLOR").is_none()
}

/// The modes that the terminal had at the beginning.
struct Modes(Termios);

impl Drop for Modes {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Runs a client on this process's terminal. Returns the exit code, as [`client::run`].
///
/// # Errors
///
/// When it cannot start, or the terminal cannot be used.
pub fn run(options: ClientOptions, ending: &Ending) -> io::Result<i32> {
    let _modes = Modes(tcgetattr(io::stdin())?);
    let config = Config::builder()
        .max_history_size(REMEMBERED_MAX)
        .map_err(io::Error::other)?
        .auto_add_history(true)
        .build();
    let history = MemHistory::with_config(&config);
    let mut editor: Editor<(), MemHistory> =
        Editor::with_history(config, history).map_err(io::Error::other)?;
    let printer = editor.create_external_printer().map_err(io::Error::other)?;
    let shown = Arc::new(Shown::new(options.id, Box::new(printer)));
    let (typed, lines) = bounded(TYPED_MAX);
    let desk = Desk {
        options: options.clone(),
        ending: ending.clone(),
        shown: Arc::clone(&shown),
        typed,
        name: None,
    };
    threads::spawn("keyboard", move || desk.run(editor))?;
    show_others(&options, ending, &shown)?;
    let input = move || Source { from: Typed { lines, line: Vec::new(), at: 0 }, line_max: None };
    client::run_on(options, ending, input, Shown::screen(&shown))
}

/// Follows the log, on a thread of its own.
fn show_others(options: &ClientOptions, ending: &Ending, shown: &Arc<Shown>) -> io::Result<()> {
    let (options, ending, shown) = (options.clone(), ending.clone(), Arc::clone(shown));
    threads::spawn("others", move || {
        let Some(end) = end_of_log(&options, &ending) else { return };
        shown.begins_at(end);
        let from = Slot(end.0.saturating_sub(RECENT));
        let order = Order { from, ends: false, reads: false, timeout_us: None };
        let mut reader = Lookout { shown: &shown, notes: true };
        let why = match follow::read(&options, &ending, order, &mut reader) {
            Ok(How::Failed(why)) => why,
            Err(error) => error.to_string(),
            Ok(How::AllRead | How::NotWanted | How::Signal) => return,
        };
        shown.tell(&format!("the lines of others are not shown any more: {why}"));
    })?;
    Ok(())
}

/// Shows lines of the log.
struct Lookout<'a> {
    shown: &'a Shown,
    /// Whether it takes note of who has written, and leaves out what this process has.
    notes: bool,
}

impl Reader for Lookout<'_> {
    fn take(&mut self, lines: Lines) -> io::Result<bool> {
        let text = String::from_utf8_lossy(&lines.text);
        for (slot, line) in (lines.first.0..).zip(text.lines()) {
            match self.notes {
                true => self.shown.decided(Slot(slot), line),
                false => self.shown.line(line),
            }
        }
        Ok(true)
    }

    fn tell(&mut self, text: &str) {
        self.shown.tell(text);
    }
}

/// How far the log is, as soon as some replica says so. `None` if the process ends before.
fn end_of_log(options: &ClientOptions, ending: &Ending) -> Option<Slot> {
    while !ending.is_due() {
        let Asked { report, .. } = ask::run(options, ending).ok()??;
        let applied = report.rows.iter().filter_map(|row| row.status).map(|it| it.applied);
        if let Some(end) = applied.max() {
            return Some(end);
        }
    }
    None
}

/// Reads the keyboard.
struct Desk {
    options: ClientOptions,
    ending: Ending,
    shown: Arc<Shown>,
    /// To the client's reader.
    typed: Sender<String>,
    /// What the user wants to be called.
    name: Option<String>,
}

/// Whether the keyboard is read further.
enum Flow {
    Continue,
    Stop,
}

impl Desk {
    /// Reads lines until the user leaves. Then the client ends once what was typed is complete.
    fn run(mut self, mut editor: Editor<(), MemHistory>) {
        let mut interrupted = false;
        loop {
            let flow = match editor.readline(PROMPT) {
                Ok(line) => {
                    interrupted = false;
                    self.take(line)
                }
                Err(ReadlineError::Interrupted) if !interrupted => {
                    interrupted = true;
                    self.shown.tell("Ctrl-C once more ends at once; Ctrl-D when all is complete");
                    Flow::Continue
                }
                Err(ReadlineError::Interrupted) => {
                    self.ending.request();
                    Flow::Stop
                }
                Err(ReadlineError::Eof) => Flow::Stop,
                Err(ReadlineError::Io(error)) => fail(format!("cannot read the terminal: {error}")),
                Err(_) => Flow::Continue,
            };
            if matches!(flow, Flow::Stop) {
                return;
            }
        }
    }

    fn take(&mut self, line: String) -> Flow {
        match Command::of(&line) {
            Ok(Command::Say(text)) => {
                let text = match &self.name {
                    Some(name) => Said::named(name, text),
                    None => text.to_owned(),
                };
                // The reader has gone after SHUTDOWN, or when the client has failed.
                if self.typed.send(text).is_err() {
                    return Flow::Stop;
                }
            }
            Ok(Command::Help) => self.shown.tell(&Help.to_string()),
            Ok(Command::Quit) => return Flow::Stop,
            Ok(Command::Name(name)) => self.name = (!name.is_empty()).then(|| name.to_owned()),
            Ok(Command::Who) => self.shown.tell(&self.shown.who()),
            Ok(Command::Status) => self.status(),
            Ok(Command::History(count)) => self.history(count.unwrap_or(HISTORY)),
            Err(why) => self.shown.tell(&why),
        }
        Flow::Continue
    }

    fn status(&self) {
        match ask::run(&self.options, &self.ending) {
            Ok(Some(Asked { report, places })) => {
                self.shown.tell(crate::survey::table::table(&report, &places).trim_end());
            }
            Ok(None) => {}
            Err(error) => self.shown.tell(&format!("/status: {error}")),
        }
    }

    fn history(&self, count: u64) {
        let Some(end) = end_of_log(&self.options, &self.ending) else { return };
        let from = Slot(end.0.saturating_sub(count));
        let order = Order { from, ends: true, reads: false, timeout_us: Some(HISTORY_US) };
        let mut reader = Lookout { shown: &self.shown, notes: false };
        match follow::read(&self.options, &self.ending, order, &mut reader) {
            Ok(How::AllRead | How::NotWanted | How::Signal) => {}
            Ok(How::Failed(why)) => self.shown.tell(&format!("/history: {why}")),
            Err(error) => self.shown.tell(&format!("/history: {error}")),
        }
    }
}

/// What was typed, as the client's reader wants it.
struct Typed {
    lines: Receiver<String>,
    line: Vec<u8>,
    at: usize,
}

impl BufRead for Typed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.line.len() {
            (self.line, self.at) = (Vec::new(), 0);
            if let Ok(line) = self.lines.recv() {
                self.line = line.into_bytes();
                self.line.push(b'\n');
            }
        }
        Ok(&self.line[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Typed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let here = self.fill_buf()?;
        let count = here.len().min(into.len());
        into[..count].copy_from_slice(&here[..count]);
        self.consume(count);
        Ok(count)
    }
}
