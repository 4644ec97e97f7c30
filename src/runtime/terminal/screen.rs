//! What a user at a terminal sees of the log, and who has written.

use crate::runtime::client::Screen;
use crate::types::{ClientId, Slot};
use rustyline::ExternalPrinter;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Prints above the prompt.
type Printer = Box<dyn ExternalPrinter + Send>;

/// What all threads print to, and what has been seen.
pub(super) struct Shown {
    own: ClientId,
    printer: Mutex<Printer>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Lines of the own id from this slot on are of this process, which shows their completions.
    begin: Slot,
    clients: BTreeMap<u64, Person>,
}

/// A client that has written.
#[derive(Debug, Default)]
struct Person {
    name: Option<String>,
    lines: u64,
}

/// A line of the chat log, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    client: u64,
    name: Option<&'a str>,
    text: &'a str,
}

impl<'a> Said<'a> {
    /// What a line says. `None` for a NOP.
    fn of(line: &'a str) -> Option<Said<'a>> {
        let mut fields = line.splitn(4, ' ');
        let (_slot, client) = (fields.next()?, fields.next()?.parse().ok()?);
        let (_seq, message) = (fields.next()?, fields.next()?);
        let named = message.strip_prefix('<').and_then(|rest| rest.split_once("> "));
        let (name, text) = named.map_or((None, message), |(name, text)| (Some(name), text));
        Some(Said { client, name, text })
    }

    /// The message of somebody with this name.
    pub(super) fn named(name: &str, text: &str) -> String {
        format!("<{name}> {text}")
    }

    fn shown(&self) -> String {
        match self.name {
            Some(name) => format!("{name}: {}", self.text),
            None => format!("client {}: {}", self.client, self.text),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shown {
    /// For a client with this id.
    pub(super) fn new(own: ClientId, printer: Printer) -> Shown {
        Shown { own, printer: Mutex::new(printer), seen: Mutex::default() }
    }

    /// The screen of the client.
    pub(super) fn screen(shown: &Arc<Shown>) -> Screen<Above> {
        let tells = Arc::clone(shown);
        Screen {
            to: Above { shown: Arc::clone(shown), line: Vec::new() },
            timing: true,
            prompt: false,
            tell: Arc::new(move |text| tells.tell(text)),
        }
    }

    /// The process begins where the log ends here.
    pub(super) fn begins_at(&self, end: Slot) {
        lock(&self.seen).begin = end;
    }

    /// Prints lines above the prompt.
    pub(super) fn tell(&self, text: &str) {
        // A terminal that has gone away sends a signal.
        let _ = lock(&self.printer).print(format!("{text}\n"));
    }

    /// A line of the log is decided.
    pub(super) fn decided(&self, slot: Slot, line: &str) {
        let Some(said) = Said::of(line) else { return };
        let mut seen = lock(&self.seen);
        let person = seen.clients.entry(said.client).or_default();
        person.lines += 1;
        if let Some(name) = said.name {
            person.name = Some(name.to_owned());
        }
        let is_own = said.client == self.own.0 && slot >= seen.begin;
        drop(seen);
        if !is_own {
            self.tell(&said.shown());
        }
    }

    /// Prints a line of the log.
    pub(super) fn line(&self, line: &str) {
        if let Some(said) = Said::of(line) {
            self.tell(&said.shown());
        }
    }

    /// Who has written.
    pub(super) fn who(&self) -> String {
        let seen = lock(&self.seen);
        let row = |(client, Person { name, lines }): (&u64, &Person)| {
            let name = name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
            let you = if *client == self.own.0 { ", you" } else { "" };
            let lines = if *lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
            format!("client {client}{name}{you}: {lines}")
        };
        let rows: Vec<String> = seen.clients.iter().map(row).collect();
        if rows.is_empty() { "nobody has written".to_owned() } else { rows.join("\n") }
    }
}

/// Prints whole lines above the prompt.
pub(super) struct Above {
    shown: Arc<Shown>,
    line: Vec<u8>,
}

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = String::from_utf8_lossy(&self.line);
        self.shown.tell(text.trim_end_matches('\n'));
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustyline::Result;

    /// Keeps what is printed.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl ExternalPrinter for Paper {
        fn print(&mut self, text: String) -> Result<()> {
            lock(&self.0).push_str(&text);
            Ok(())
        }
    }

    #[test]
    fn others_lines_are_shown_with_their_names_and_own_ones_only_from_before() {
        let paper = Paper::default();
        let shown = Shown::new(ClientId(7), Box::new(paper.clone()));
        assert_eq!(shown.who(), "nobody has written");
        shown.begins_at(Slot(2));
        for (slot, line) in [
            "0 7 0 mine, of yesterday",
            "1 8 0 hello",
            "2 7 1 mine",
            "3 - - NOP",
            "4 9 0 <Ann> a < b > c",
            "5 8 1 ",
        ]
        .iter()
        .enumerate()
        {
            shown.decided(Slot(slot as u64), line);
        }
        let printed = lock(&paper.0).clone();
        let expected =
            "client 7: mine, of yesterday\nclient 8: hello\nAnn: a < b > c\nclient 8: \n";
        assert_eq!(printed, expected);
        let who = "client 7, you: 2 lines\nclient 8: 2 lines\nclient 9 (Ann): 1 line";
        assert_eq!(shown.who(), who);
        assert_eq!(Said::named("Ann", "a"), "<Ann> a");
    }
}
