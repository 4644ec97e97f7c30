//! What a user at a terminal types: a line to send, or a command.

use std::fmt;

/// What was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// A line for the log.
    Say(&'a str),
    /// Show the commands.
    Help,
    /// Leave, once what was typed is complete.
    Quit,
    /// How each replica is.
    Status,
    /// Who has written.
    Who,
    /// The last lines of the log: so many, if the user says how many.
    History(Option<u64>),
    /// Begin each line with this name, or with none if it is empty.
    Name(&'a str),
}

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 32;

impl<'a> Command<'a> {
    /// What this line asks for, or what is wrong with it.
    pub(super) fn of(line: &'a str) -> Result<Command<'a>, String> {
        let Some(rest) = line.strip_prefix('/') else { return Ok(Command::Say(line)) };
        // Two of them are one, and no command.
        if rest.starts_with('/') {
            return Ok(Command::Say(rest));
        }
        let (word, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        let argument = argument.trim();
        match word {
            "name" => name(argument),
            "history" if !argument.is_empty() => match argument.parse() {
                Ok(count) => Ok(Command::History(Some(count))),
                Err(_) => Err(format!("/history {argument}: not a number of lines")),
            },
            _ if !argument.is_empty() && WORDS.contains(&word) => {
                Err(format!("/{word}: takes nothing behind it"))
            }
            "help" => Ok(Command::Help),
            "quit" => Ok(Command::Quit),
            "status" => Ok(Command::Status),
            "who" => Ok(Command::Who),
            "history" => Ok(Command::History(None)),
            _ => Err(format!("/{word}: no such command (see /help; //{word} sends it)")),
        }
    }
}

const WORDS: &[&str] = &["help", "quit", "status", "who"];

fn name(name: &str) -> Result<Command<'_>, String> {
    let is_plain = |letter: char| !letter.is_control() && !matches!(letter, '<' | '>');
    if name.chars().count() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
        return Err(format!("/name: at most {NAME_CHARS_MAX} characters, without < and >"));
    }
    Ok(Command::Name(name))
}

/// The commands, for the user.
pub(super) struct Help;

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "/name NAME     begin your lines with a name; /name alone: with none\n\
             /who           who has written since you came, and in the ten lines before\n\
             /history [N]   the last 20 lines of the log, or N\n\
             /status        how each replica is\n\
             /quit          leave when all that you typed is complete; so does Ctrl-D\n\
             //text         sends /text",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_sent_unless_it_begins_with_a_slash() {
        for (line, command) in [
            ("", Command::Say("")),
            (" /help", Command::Say(" /help")),
            ("//help", Command::Say("/help")),
            ("/help", Command::Help),
            ("/quit ", Command::Quit),
            ("/history", Command::History(None)),
            ("/history 7", Command::History(Some(7))),
            ("/name  Ann Lee ", Command::Name("Ann Lee")),
            ("/name", Command::Name("")),
        ] {
            assert_eq!(Command::of(line), Ok(command), "{line:?}");
        }
        for (line, why) in [
            ("/wo", "/wo: no such command (see /help; //wo sends it)"),
            ("/", "/: no such command (see /help; // sends it)"),
            ("/who is it", "/who: takes nothing behind it"),
            ("/history x", "/history x: not a number of lines"),
            ("/name a<b", "/name: at most 32 characters, without < and >"),
        ] {
            assert_eq!(Command::of(line), Err(why.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn the_help_names_every_command() {
        let help = Help.to_string();
        for word in WORDS.iter().filter(|word| **word != "help").chain(&["name", "history"]) {
            assert!(help.contains(&format!("/{word}")), "{word}");
        }
    }
}
