//! A program's help, and the options that a mistyped one may stand for.
//!
//! argh knows every option of a program ([`ArgsInfo`]). This module prints them in the
//! form that all programs share: names with underscores, a metavariable after each
//! option that takes a value (`--f N`), options in groups, the default of each, and
//! examples that can be copied into a shell.
//!
//! `faults` lists the faults of a program's description. A debug build panics instead of
//! printing a help with a fault. So a test that asks a program for `--help` also checks that
//! its examples parse.

use crate::{Parsed, parse, with_underscores};
use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs, Optionality};
use std::ffi::OsString;

/// A heading of the help, and the first option below it, without dashes.
pub type Group = (&'static str, &'static str);

/// A program, as its help and its version name it.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The name of the binary.
    pub name: &'a str,
    /// The command by which the user called it. Usage and examples begin with it.
    pub called: &'a str,
    /// The headings, in the order of the options. Options before the first of them get
    /// the heading `Options`.
    pub groups: &'a [Group],
}

/// Help is wrapped at this many columns.
const WIDTH: usize = 80;

/// The text of an option begins in this column at the latest. A longer name has a line
/// of its own.
const TEXT_COLUMN_MAX: usize = 26;

/// The placeholder for the program in an example.
pub(crate) const CALLED: &str = "{command_name}";

/// The text that `--help` prints, without a line feed at its end.
pub(crate) fn help(program: Program<'_>, info: &CommandInfoWithArgs) -> String {
    let mut text = format!("Usage: {}", program.called);
    for flag in info.flags.iter().filter(|flag| flag.optionality == Optionality::Required) {
        text += &format!(" {}", shown(flag));
    }
    text += " [OPTION]...";
    for word in info.positionals.iter().filter(|word| !word.hidden) {
        let (name, optionality) = (word.name, &word.optionality);
        text += &match optionality {
            Optionality::Required => format!(" {name}"),
            Optionality::Optional => format!(" [{name}]"),
            Optionality::Repeating | Optionality::Greedy => format!(" [{name}]..."),
        };
    }
    text += "\n\n";
    for line in wrapped(info.description, WIDTH) {
        text += &format!("{line}\n");
    }
    let mut rows: Vec<(Option<&str>, String, &str)> = Vec::new();
    for (at, word) in info.positionals.iter().filter(|word| !word.hidden).enumerate() {
        rows.push(((at == 0).then_some("Arguments"), word.name.into(), word.description));
    }
    let mut first = true;
    for flag in visible(info) {
        let default = first.then_some("Options");
        first = false;
        rows.push((heading(program.groups, flag).or(default), shown(flag), flag.description));
    }
    for (at, (name, description)) in HELP_ROWS.iter().enumerate() {
        rows.push(((at == 0).then_some("Help"), (*name).into(), description));
    }
    let widths = rows.iter().map(|(_, name, _)| name.len() + 4);
    let column = widths.filter(|width| *width <= TEXT_COLUMN_MAX).max().unwrap_or(0);
    for (heading, name, description) in &rows {
        if let Some(heading) = heading {
            text += &format!("\n{heading}:\n");
        }
        let mut start = format!("  {name}");
        if start.len() + 2 > column {
            text += &format!("{start}\n");
            start.clear();
        }
        for line in wrapped(description, WIDTH - column) {
            text += &format!("{start:column$}{line}\n");
            start.clear();
        }
    }
    section(&mut text, "Examples", info.examples, program.called);
    section(&mut text, "Notes", info.notes, program.called);
    if !info.error_codes.is_empty() {
        text += "\nExit codes:\n";
        for code in info.error_codes {
            text += &format!("  {:<2}  {}\n", code.code, code.description);
        }
    }
    text.trim_end().to_owned()
}

/// argh's own option. This module answers it before argh sees the command line.
const HELP: &str = "--help";

/// The options that every program has.
pub(crate) const HELP_ROWS: &[(&str, &str)] = &[
    ("-h, --help", "print this help"),
    ("--version", "print the version"),
    ("--man", "print the manual page"),
    ("--completions SHELL", "print completions for bash, zsh or fish"),
];

/// The options that a user is shown, but for those of [`HELP_ROWS`].
pub(crate) fn visible(info: &CommandInfoWithArgs) -> impl Iterator<Item = &FlagInfo<'static>> {
    info.flags.iter().filter(|flag| !flag.hidden && flag.long != HELP)
}

fn section(text: &mut String, heading: &str, items: &[&str], called: &str) {
    if !items.is_empty() {
        *text += &format!("\n{heading}:\n");
        for line in items.iter().flat_map(|item| item.lines()) {
            *text += &format!("  {}\n", line.replace(CALLED, called));
        }
    }
}

/// The heading that begins with this option.
pub(crate) fn heading(groups: &[Group], flag: &FlagInfo<'_>) -> Option<&'static str> {
    let group = groups.iter().find(|(_, first)| *first == name(flag));
    group.map(|(heading, _)| *heading)
}

/// An option's name as users write it, without dashes before it: `config_path`.
fn name(flag: &FlagInfo<'_>) -> String {
    with_underscores(flag.long.trim_start_matches('-'))
}

/// An option with its metavariable: `--config_path FILE`.
pub(crate) fn shown(flag: &FlagInfo<'_>) -> String {
    match flag.kind {
        FlagInfoKind::Switch => with_underscores(flag.long),
        FlagInfoKind::Option { arg_name } => format!("{} {arg_name}", with_underscores(flag.long)),
    }
}

/// The lines of a text, wrapped at `width`; a longer word has a line of its own. `(default 7)`
/// counts as a word.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    const GLUE: char = '\u{a0}';
    let text = text.replace("(default ", &format!("(default{GLUE}"));
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_ascii_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(|line| line.replace(GLUE, " ")).collect()
}

/// The options that the user may have meant by `wrong`, at most three: those that begin with
/// it or contain it, otherwise those nearest in spelling.
pub(crate) fn nearest(wrong: &str, flags: &[FlagInfo<'_>]) -> Vec<String> {
    let names: Vec<String> = flags.iter().filter(|flag| !flag.hidden).map(name).collect();
    let is_part = |name: &&String| {
        let begins = wrong.len() > 1 && name.starts_with(wrong);
        begins || name.split('_').any(|part| part == wrong)
    };
    let mut found: Vec<&String> = names.iter().filter(is_part).collect();
    if found.is_empty() {
        // A third of the letters may be wrong.
        let limit = wrong.chars().count() / 3;
        let distances: Vec<usize> = names.iter().map(|name| distance(wrong, name)).collect();
        let least = distances.iter().min().copied().unwrap_or(usize::MAX);
        if least <= limit {
            let near = names.iter().zip(&distances).filter(|(_, distance)| **distance == least);
            found = near.map(|(name, _)| name).collect();
        }
    }
    found.iter().take(3).map(|name| format!("--{name}")).collect()
}

/// How many letters to add, remove, replace or exchange with their neighbour, to turn one
/// word into the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // rows[i][j] is the distance of the first i letters of `from` to the first j of `to`.
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            let crossed = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
            rows[i][j] = if crossed { best.min(rows[i - 2][j - 2] + 1) } else { best };
        }
    }
    rows[from.len()][to.len()]
}

/// The faults of a program's own description of its command line.
pub(crate) fn faults<T: FromArgs + ArgsInfo>(program: Program<'_>) -> Vec<String> {
    let info = T::get_args_info();
    let mut faults = Vec::new();
    for flag in visible(&info) {
        let FlagInfoKind::Option { arg_name } = flag.kind else { continue };
        let shown = shown(flag);
        if arg_name.is_empty() || arg_name.chars().any(char::is_lowercase) {
            faults.push(format!("{shown}: its metavariable is not in capitals"));
        }
        let required = flag.optionality == Optionality::Required;
        let said = if required { "(required" } else { "(default" };
        if !flag.description.contains(said) {
            faults.push(format!("{shown}: does not say {said})"));
        }
    }
    for word in info.positionals.iter().filter(|word| word.name.chars().any(char::is_lowercase)) {
        faults.push(format!("{}: its name is not in capitals", word.name));
    }
    let mut names = info.flags.iter().map(name);
    for (heading, first) in program.groups {
        if !names.any(|name| name == *first) {
            faults.push(format!("{heading}: no option --{first} behind the heading before"));
        }
    }
    if info.examples.is_empty() {
        faults.push("no example".into());
    }
    for example in info.examples {
        let commands: Vec<&str> = example.lines().filter(|line| line.contains(CALLED)).collect();
        if commands.is_empty() {
            faults.push(format!("no command in the example {example:?}"));
        }
        for command in commands {
            match parse::<T>(program, words_behind_the_program(command)) {
                Parsed::Run(_) => {}
                Parsed::Print(_) => faults.push(format!("{command}: runs nothing")),
                Parsed::Refuse(why) => faults.push(format!("{command}: {why}")),
            }
        }
    }
    faults
}

/// The arguments of the program in a shell command, up to a pipe, a redirection or a comment.
fn words_behind_the_program(command: &str) -> Vec<OsString> {
    let (_, rest) = command.split_once(CALLED).unwrap_or_default();
    let mut words = Vec::new();
    for (at, piece) in rest.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(piece.into());
            continue;
        }
        for word in piece.split_whitespace() {
            if word.starts_with(['|', '<', '>', '#', '&']) {
                return words;
            }
            words.push(word.into());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program for tests.
    #[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
    #[argh(
        example = "A third of everything is lost:\n  {command_name} --replica_id 0 --msg_loss 33",
        example = "printf hello | {command_name} --replica_id 1 --name \"a b\" >log # all at once",
        error_code(0, "good"),
        error_code(64, "bad usage")
    )]
    struct Whole {
        /// the replica, and a text that is long enough to take more than a single line of
        /// the help (required)
        #[argh(option, arg_name = "N")]
        replica_id: u64,
        /// the share of datagrams that are lost (default 0)
        #[argh(option, arg_name = "PERCENT", default = "0")]
        msg_loss: u64,
        /// any name that is short enough for the first line (default none)
        #[argh(option, arg_name = "NAME")]
        name: Option<String>,
        /// whether to print more of everything
        #[argh(switch)]
        more_of_everything_at_once: bool,
        /// for tests
        #[argh(switch, hidden_help)]
        secret: bool,
    }

    const WHOLE: Program<'_> =
        Program { name: "whole", called: "bin/whole", groups: &[("Faults", "msg_loss")] };

    #[test]
    fn help_shows_groups_metavariables_examples_and_exit_codes() {
        let expected = "\
Usage: bin/whole --replica_id N [OPTION]...

A program for tests.

Options:
  --replica_id N       the replica, and a text that is long enough to take more
                       than a single line of the help (required)

Faults:
  --msg_loss PERCENT   the share of datagrams that are lost (default 0)
  --name NAME          any name that is short enough for the first line
                       (default none)
  --more_of_everything_at_once
                       whether to print more of everything

Help:
  -h, --help           print this help
  --version            print the version
  --man                print the manual page
  --completions SHELL  print completions for bash, zsh or fish

Examples:
  A third of everything is lost:
    bin/whole --replica_id 0 --msg_loss 33
  printf hello | bin/whole --replica_id 1 --name \"a b\" >log # all at once

Exit codes:
  0   good
  64  bad usage";
        assert_eq!(help(WHOLE, &Whole::get_args_info()), expected);
        assert_eq!(faults::<Whole>(WHOLE), [""; 0]);
    }

    /// A description with every fault.
    #[derive(FromArgs, ArgsInfo, Debug)]
    #[expect(dead_code, reason = "it is only described")]
    #[argh(example = "{command_name} --some_name", example = "nothing to run")]
    struct Poor {
        /// a name
        #[argh(option)]
        some_name: Option<String>,
        /// a number (default 7)
        #[argh(option, arg_name = "N")]
        number: u64,
    }

    #[test]
    fn what_a_description_lacks_is_found() {
        let groups = &[("Late", "number"), ("Early", "some_name")];
        let found = faults::<Poor>(Program { groups, ..WHOLE });
        let expected = [
            "--some_name some-name: its metavariable is not in capitals",
            "--some_name some-name: does not say (default)",
            "--number N: does not say (required)",
            "Early: no option --some_name behind the heading before",
            "{command_name} --some_name: --some_name: needs a value",
            "no command in the example \"nothing to run\"",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_mistyped_option_is_near_the_one_that_was_meant() {
        let near = |wrong: &str| nearest(wrong, Whole::get_args_info().flags).join(" ");
        for (wrong, meant) in [
            ("replica_di", "--replica_id"),
            ("replicaid", "--replica_id"),
            ("repl", "--replica_id"),
            ("id", "--replica_id"),
            ("loss", "--msg_loss"),
            ("message_loss", "--msg_loss"),
            ("nmae", "--name"),
            ("x", ""),
            ("nothing_like_it", ""),
            // An option that the help does not show is never proposed.
            ("secret", ""),
        ] {
            assert_eq!(near(wrong), meant, "{wrong}");
        }
    }

    #[test]
    fn distance_counts_single_changes() {
        for (from, to, expected) in
            [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("abc", "axc", 1), ("id", "f", 2)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }
}
