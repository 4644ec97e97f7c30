//! The stage at a prompt: a person types commands and reads what happens.
//!
//! A session takes the commands of scripts, and a few of its own: `help`, `load`, `save`, `undo`,
//! `quit`. If a command cannot be carried out, it changes nothing, and a line says what to do
//! instead. Then the session goes on, because a person can correct the command. (A script that
//! is run from a file ends there: its next commands expect the effect of this one. See
//! [`crate::file`].)

use crate::commands::Session;
use crate::file::{Script, command_of, write_block};
use crate::help;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

/// The first line of a session at a terminal.
pub const GREETING: &str = "A small Paxos cluster that moves only when you say so. Begin with \
     `cluster`, then `request \"hi\"` and `deliver all`; `help` lists the commands.";

/// Printed before each command that a person types.
pub const PROMPT: &str = "> ";

/// The error says what is wrong, and what to do.
type Done = Result<(), String>;

/// The reply to a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command printed these lines.
    Printed(Vec<String>),
    /// The command cannot be carried out, or not to its end.
    Refused {
        /// The lines that it printed before.
        printed: Vec<String>,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The session ends.
    End,
}

/// A command or a comment of the session, and the lines that it printed.
#[derive(Debug)]
struct Step {
    line: String,
    printed: Vec<String>,
}

/// A session at a prompt.
#[derive(Debug, Default)]
pub struct Player {
    session: Session,
    steps: Vec<Step>,
    /// The file that this session has saved.
    saved: Option<PathBuf>,
}

impl Player {
    /// Takes a line that a person typed.
    pub fn enter(&mut self, line: &str) -> Reply {
        let line = line.trim();
        let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let mut printed = Vec::new();
        let done = match verb {
            "help" => help(rest, &mut printed),
            "undo" => self.undo(&mut printed),
            "load" => self.load(rest, &mut printed),
            "save" => self.save(rest, &mut printed),
            "quit" | "exit" => return Reply::End,
            _ => self.carry_out(line, &mut printed),
        };
        match done {
            Ok(()) => Reply::Printed(printed),
            Err(why) => Reply::Refused { printed, why },
        }
    }

    fn carry_out(&mut self, line: &str, printed: &mut Vec<String>) -> Done {
        if line.is_empty() {
            return Ok(());
        }
        let lines = match command_of(line) {
            None => Vec::new(),
            Some(command) => match self.session.run(command) {
                Ok(lines) => lines,
                Err(why) => {
                    // The command may have been carried out in part.
                    self.replay();
                    return Err(why);
                }
            },
        };
        printed.extend(lines.iter().cloned());
        self.steps.push(Step { line: line.to_owned(), printed: lines });
        Ok(())
    }

    /// Runs all commands again from the beginning. Nothing is random, so the result is the same.
    fn replay(&mut self) {
        self.session = Session::default();
        for command in self.steps.iter().filter_map(|step| command_of(&step.line)) {
            let again = self.session.run(command);
            assert!(again.is_ok(), "{command}: it could be carried out before: {again:?}");
        }
    }

    fn undo(&mut self, printed: &mut Vec<String>) -> Done {
        let step = self.steps.pop().ok_or("undo: there is nothing to undo")?;
        self.replay();
        printed.push(format!("undone: {}", step.line));
        Ok(())
    }

    fn load(&mut self, file: &str, printed: &mut Vec<String>) -> Done {
        if file.is_empty() {
            return Err(
                "load: which file? For example `load tests/scripts/normal/view_change`".into()
            );
        }
        let script = Script::read(Path::new(file)).map_err(|why| format!("load: {why}"))?;
        for (number, line) in script.lines() {
            let line = line.trim();
            if !line.is_empty() {
                printed.push(format!("{PROMPT}{line}"));
                self.carry_out(line, printed).map_err(|why| format!("{file}:{number}: {why}"))?;
            }
        }
        Ok(())
    }

    fn save(&mut self, file: &str, printed: &mut Vec<String>) -> Done {
        if file.is_empty() {
            return Err("save: under which name? For example `save my_script`".into());
        }
        let path = Path::new(file);
        if path.exists() && self.saved.as_deref() != Some(path) {
            return Err(format!("save: {file} is there already; choose another name"));
        }
        if self.steps.iter().all(|step| command_of(&step.line).is_none()) {
            return Err("save: nothing has happened yet".into());
        }
        fs::write(path, self.as_script()).map_err(|error| format!("save: {file}: {error}"))?;
        self.saved = Some(path.to_owned());
        printed.push(format!("saved; `make play FILE={file}` runs it again"));
        Ok(())
    }

    /// The session as a script: a block ends after each command that printed something.
    pub fn as_script(&self) -> String {
        let mut text = String::new();
        let mut lines: Vec<&str> = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            lines.push(&step.line);
            if !step.printed.is_empty() || index + 1 == self.steps.len() {
                write_block(&mut text, &std::mem::take(&mut lines), &step.printed);
            }
        }
        text
    }
}

fn help(verb: &str, printed: &mut Vec<String>) -> Done {
    printed.extend(match verb {
        "" => help::overview(),
        verb => help::details(help::find(verb).ok_or_else(|| no_such_command(verb))?),
    });
    Ok(())
}

/// The error for a command that does not exist.
pub(crate) fn no_such_command(verb: &str) -> String {
    let meant =
        help::nearest(verb).map_or(String::new(), |near| format!(" (did you mean {near}?)"));
    format!("{verb}: no such command{meant}; `help` lists them")
}

/// Carries out the commands in `input` to its end. `prompt` says whether a person reads `out`:
/// then it also prints a greeting and prompts.
///
/// # Errors
///
/// If reading or printing fails.
pub fn session(
    input: impl BufRead,
    out: &mut impl Write,
    err: &mut impl Write,
    prompt: bool,
) -> io::Result<()> {
    let mut player = Player::default();
    let ask = |out: &mut dyn Write| match prompt {
        true => write!(out, "{PROMPT}").and_then(|()| out.flush()),
        false => Ok(()),
    };
    if prompt {
        writeln!(out, "{GREETING}")?;
    }
    ask(out)?;
    for line in input.lines() {
        let (printed, why) = match player.enter(&line?) {
            Reply::Printed(printed) => (printed, None),
            Reply::Refused { printed, why } => (printed, Some(why)),
            Reply::End => return Ok(()),
        };
        printed.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        out.flush()?;
        why.iter().try_for_each(|why| writeln!(err, "{why}"))?;
        ask(out)?;
    }
    if prompt {
        // End the line that holds the prompt.
        writeln!(out)?;
    }
    Ok(())
}
