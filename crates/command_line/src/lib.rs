//! One way to read a command line, for all programs.
//!
//! argh declares the options and turns words into values. This module does the rest.
//! A user may write an option with underscores or dashes (`--config_path`,
//! `--config-path`), and its value after a space or after `=`. If an option is repeated,
//! the last one counts. `--version`, `--help`, `--man` and `--completions SHELL` are answered
//! whatever else the line holds. Every error becomes one line that names the option as the help shows it, and
//! ends the program with [`EXIT_USAGE`]. For an option that does not exist, the line also
//! names the option that the user probably meant.
//!
//! [`parse`] is the pure part and ends nothing; [`parse_args`] prints and exits. A
//! closed stdout or stderr is never a panic: the programs print with [`say`] or
//! `writeln!`, not with `println!`.
//!
//! Errors of types with a range ([`Bounded`], [`Percent`]) name the range. So the answer
//! to `--clients 0` is `--clients 0: not a whole number from 1 to 1000`.

pub mod completions;
pub mod ending;
pub mod help;
mod manual;
pub mod progress;
mod stamp;
pub mod standard;
mod stderr;

use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs};
use completions::Shell;
use help::{Group, Program};
use log::LevelFilter;
use simplelog::{ConfigBuilder, LevelPadding, WriteLogger};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::iter::Peekable;
use std::process;
use std::str::FromStr;
use std::time::Duration;

/// A run, a check or a cluster failed.
pub const EXIT_FAILED: i32 = 1;

/// Bad usage or configuration. One line on stderr says what is wrong.
pub const EXIT_USAGE: i32 = 64;

/// The request of a command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// Run with these options.
    Run(T),
    /// Print this on stdout and end well: help, version and their like.
    Print(String),
    /// Bad usage: print this line on stderr and end with [`EXIT_USAGE`].
    Refuse(String),
}

/// Reads this process's command line. If that asks for help or the version, or has a fault,
/// prints the answer and ends the process.
///
/// `name` is the program's; `groups` are the headings of its help, in the order of the
/// options.
pub fn parse_args<T: FromArgs + ArgsInfo>(name: &str, groups: &[Group]) -> T {
    let called = called(name);
    let program = Program { name, called: &called, groups };
    match parse(program, std::env::args_os().skip(1)) {
        Parsed::Run(options) => options,
        Parsed::Print(text) => {
            // A reader that has closed stdout does not want the text.
            let _ = writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
            process::exit(0)
        }
        Parsed::Refuse(message) => usage_error(message),
    }
}

/// How the user called this program, or its name where the system does not say.
pub fn called(name: &str) -> String {
    match std::env::args_os().next() {
        Some(called) if !called.is_empty() => called.to_string_lossy().into_owned(),
        _ => name.to_owned(),
    }
}

/// Reads a command line, given without the program's own name.
pub fn parse<T: FromArgs + ArgsInfo>(
    program: Program<'_>,
    args: impl IntoIterator<Item = OsString>,
) -> Parsed<T> {
    let info = T::get_args_info();
    let (flags, takes_bare) = (info.flags, !info.positionals.is_empty());
    let mut words = Words::default();
    let mut args = args.into_iter().peekable();
    let mut fault = None;
    while let Some(arg) = args.next() {
        let Some(word) = arg.to_str() else {
            fault.get_or_insert(format!("argument {arg:?}: not UTF-8"));
            continue;
        };
        match word.strip_prefix("--") {
            None if word == "-h" => words.help = true,
            None if word.len() > 1 && word.starts_with('-') => {
                let (option, _) = word.split_once('=').unwrap_or((word, ""));
                fault.get_or_insert(no_such_option(option, flags));
            }
            None => words.bare.push(word.to_owned()),
            // All words after two dashes are no options.
            Some("") if takes_bare => {
                words.bare.extend(args.by_ref().map(|arg| arg.to_string_lossy().into_owned()));
            }
            Some("") => {}
            Some(option) => {
                let (option, value) = match option.split_once('=') {
                    Some((option, value)) => (option, Some(value.to_owned())),
                    None => (option, None),
                };
                let told = read_option(option, value, flags, &mut args, &mut words);
                if let Err(what) = told {
                    fault.get_or_insert(what);
                }
            }
        }
    }
    finish(program, words, fault)
}

/// Takes one option. Its value is behind `=`, or the next of the words.
fn read_option(
    option: &str,
    value: Option<String>,
    flags: &[FlagInfo<'_>],
    args: &mut Peekable<impl Iterator<Item = OsString>>,
    words: &mut Words,
) -> Result<(), String> {
    let name = with_dashes(option);
    let shown = with_underscores(&name);
    match name.as_str() {
        "help" => words.help = true,
        "version" => words.version = true,
        "man" => words.man = true,
        "completions" => {
            let given = match value {
                None => args.next().map(|shell| shell.to_string_lossy().into_owned()),
                given => given,
            };
            let shell = given.ok_or_else(|| "--completions: needs a value".to_owned())?;
            let parsed = shell.parse().map_err(|what| format!("--completions {shell}: {what}"))?;
            words.completions = Some(parsed);
        }
        _ => {
            let found = flags.iter().find(|flag| flag.long.strip_prefix("--") == Some(&name));
            let Some(flag) = found else {
                return Err(no_such_option(&format!("--{option}"), flags));
            };
            let value = match (flag.kind == FlagInfoKind::Switch, value) {
                (true, None) => None,
                (true, Some(_)) => return Err(format!("--{shown}: takes no value")),
                (false, Some(value)) => Some(value),
                // The value is the next word, even one that begins with a dash. Two dashes
                // begin the next option; then this option lacks its value.
                (false, None) => {
                    let next = args.next_if(|next| !next.as_encoded_bytes().starts_with(b"--"));
                    let next = next.ok_or_else(|| format!("--{shown}: needs a value"))?;
                    let not_utf8 = |value| format!("--{shown} {value:?}: not UTF-8");
                    Some(next.into_string().map_err(not_utf8)?)
                }
            };
            words.last.insert(name, value);
        }
    }
    Ok(())
}

/// The error for an option that does not exist, as the user wrote it.
fn no_such_option(option: &str, flags: &[FlagInfo<'_>]) -> String {
    let shown = with_underscores(option);
    let meant = help::nearest(shown.trim_start_matches('-'), flags);
    let meant = match meant.as_slice() {
        [] => String::new(),
        [one] => format!(", did you mean {one}?"),
        several => format!(", did you mean one of {}?", several.join(", ")),
    };
    format!("{shown}: no such option{meant} (see --help)")
}

/// The parts of a command line. Names are written with dashes, as argh wants them.
#[derive(Default)]
struct Words {
    help: bool,
    version: bool,
    man: bool,
    completions: Option<Shell>,
    /// Each option's last value, or `None` for a switch. The order does not matter,
    /// since each option is here once.
    last: BTreeMap<String, Option<String>>,
    /// The words that belong to no option.
    bare: Vec<String>,
}

fn finish<T: FromArgs + ArgsInfo>(
    program: Program<'_>,
    words: Words,
    fault: Option<String>,
) -> Parsed<T> {
    let name = program.name;
    if words.version {
        return Parsed::Print(format!("multipaxos-{name} {}", env!("CARGO_PKG_VERSION")));
    }
    if words.help {
        debug_assert_eq!(help::faults::<T>(program), [""; 0], "the help of {name}");
        return Parsed::Print(help::help(program, &T::get_args_info()));
    }
    if words.man {
        return Parsed::Print(manual::page(program, &T::get_args_info()));
    }
    if let Some(shell) = words.completions {
        return Parsed::Print(completions::script(shell, name, &T::get_args_info()));
    }
    if let Some(fault) = fault {
        return Parsed::Refuse(one_line(&fault));
    }
    let takes_bare = !T::get_args_info().positionals.is_empty();
    if let Some(bare) = words.bare.first().filter(|_| !takes_bare) {
        let what =
            format!("argument {bare:?}: every value needs its option before it (see --help)");
        return Parsed::Refuse(what);
    }
    let mut args: Vec<String> = Vec::new();
    for (name, value) in words.last {
        args.push(format!("--{name}"));
        args.extend(value);
    }
    if takes_bare {
        args.push("--".into());
        args.extend(words.bare);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match T::from_args(&[name], &args) {
        Ok(options) => Parsed::Run(options),
        Err(exit) => Parsed::Refuse(one_line(&explain(&exit.output))),
    }
}

/// Turns argh's message into one that begins with the option.
fn explain(message: &str) -> String {
    let message = message.trim_end();
    if let Some(rest) = message.strip_prefix("Error parsing option '")
        && let Some((name, rest)) = rest.split_once("' with value '")
        // The value may hold any text, so this searches for the last part from the end.
        && let Some((value, what)) = rest.rsplit_once("': ")
    {
        let value = if value.is_empty() { "\"\"" } else { value };
        return format!("{} {value}: {what}", with_underscores(name));
    }
    if let Some(names) = message.strip_prefix("Required options not provided:") {
        let names: Vec<String> = names.split_whitespace().map(with_underscores).collect();
        return format!("{}: required, and not given", names.join(", "));
    }
    message.to_owned()
}

/// The option's name as argh knows it.
fn with_dashes(name: &str) -> String {
    name.replace('_', "-")
}

/// The option's name as the help shows it; leading dashes stay dashes.
pub(crate) fn with_underscores(option: &str) -> String {
    let name = option.trim_start_matches('-');
    let dashes = &option[..option.len() - name.len()];
    format!("{dashes}{}", name.replace('-', "_"))
}

/// Escapes line feeds and other control characters, so that the text stays one line.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Prints a line on stderr. A closed stderr is no reason to panic, and a full one holds the
/// caller up for a tenth of a second at most.
pub fn say(line: impl fmt::Display) {
    // Each line is one write, so that lines of several processes never mix.
    stderr::put(format!("{line}\n").as_bytes(), stderr::LAST_WORDS_MAX);
}

/// Ends the process for bad usage or configuration, with one line on stderr.
pub fn usage_error(message: impl fmt::Display) -> ! {
    say(one_line(&message.to_string()));
    process::exit(EXIT_USAGE)
}

/// Sends the log to stderr, each record in one write:
/// `2026-11-28T12:34:56.789Z [INFO] message`.
///
/// Never in colour, so that a log reads the same in a file. A line for which stderr has no
/// room is dropped and counted. A second call does nothing.
pub fn init_logging(level: LevelFilter) {
    let mut config = ConfigBuilder::new();
    config
        .set_time_level(LevelFilter::Off)
        .set_level_padding(LevelPadding::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        // The event loop says of each socket that it begins to watch it.
        .add_filter_ignore_str("mio");
    let _ = WriteLogger::init(level, config.build(), Stamped::default());
}

/// Gathers a line, and writes it with the time before it. (simplelog's own clock has no
/// fractions of a second, unless the caller depends on the crate `time` as well.)
#[derive(Default)]
struct Stamped {
    line: Vec<u8>,
}

impl Write for Stamped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.line.is_empty() {
                write!(self.line, "{} ", stamp::now())?;
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                stderr::put(&self.line, Duration::ZERO);
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bounded<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> FromStr for Bounded<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if digits && (MIN..=MAX).contains(&number) => Ok(Bounded(number)),
            _ => Err(format!("not a whole number from {MIN} to {MAX}")),
        }
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Bounded<MIN, MAX> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The level up to which a program logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(pub LevelFilter);

impl FromStr for LogLevel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let level = text.parse().map_err(|_| "not one of off, error, warn, info, debug, trace")?;
        Ok(LogLevel(level))
    }
}

/// A share in percent, 0 to 100, fractions allowed.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

impl Percent {
    /// 0 percent.
    pub const NONE: Percent = Percent(0.0);

    /// The share as a probability, 0 to 1.
    pub fn probability(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Refuses signs, exponents and "nan".
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match text.parse::<f64>() {
            Ok(percent) if plain && (0.0..=100.0).contains(&percent) => Ok(Percent(percent)),
            _ => Err("not a percentage from 0 to 100".into()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    /// A program for the tests.
    #[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
    #[argh(example = "{command_name} --replica_id 3")]
    struct Options {
        /// the cluster file (default c.txt)
        #[argh(option, arg_name = "FILE", default = "String::from(\"c.txt\")")]
        config_path: String,
        /// how much is lost (default 0)
        #[argh(option, arg_name = "PERCENT", default = "Percent::NONE")]
        msg_loss: Percent,
        /// the replica (default: none)
        #[argh(option, arg_name = "N")]
        replica_id: Option<Bounded<0, 4>>,
        /// for tests
        #[argh(switch, hidden_help)]
        die_with_parent: bool,
    }

    const PROGRAM: Program<'_> = Program { name: "test", called: "bin/test", groups: &[] };

    fn parsed(args: &[&str]) -> Parsed<Options> {
        parse(PROGRAM, args.iter().map(OsString::from))
    }

    fn refused(args: &[&str]) -> String {
        match parsed(args) {
            Parsed::Refuse(line) => line,
            other => panic!("{args:?} gave {other:?}"),
        }
    }

    #[test]
    fn names_take_underscores_dashes_and_an_equals_sign_and_values_stay_as_they_are() {
        for args in [
            &["--config_path", "a_b-c=d"][..],
            &["--config-path", "a_b-c=d"],
            &["--config_path=a_b-c=d"],
            &["--config-path=x", "--die_with_parent", "--config_path=a_b-c=d"],
        ] {
            match parsed(args) {
                Parsed::Run(options) => assert_eq!(options.config_path, "a_b-c=d"),
                other => panic!("{args:?} gave {other:?}"),
            }
        }
    }

    #[test]
    fn the_last_of_a_repeated_option_wins_and_so_does_a_repeated_switch() {
        let args = ["--msg_loss=x", "--die-with-parent", "--msg-loss", "7.5", "--die_with_parent"];
        match parsed(&args) {
            Parsed::Run(options) => {
                assert_eq!(options.msg_loss, Percent(7.5));
                assert!(options.die_with_parent);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_error_is_one_line_that_begins_with_the_option() {
        for (args, line) in [
            (&["--msg_loss", "101"][..], "--msg_loss 101: not a percentage from 0 to 100"),
            (&["--msg-loss=-1"], "--msg_loss -1: not a percentage from 0 to 100"),
            (&["--msg_loss=nan"], "--msg_loss nan: not a percentage from 0 to 100"),
            (&["--msg_loss="], "--msg_loss \"\": not a percentage from 0 to 100"),
            (&["--msg_loss", "a\nb': c"], "--msg_loss a\\nb': c: not a percentage from 0 to 100"),
            (&["--replica_id", "+1"], "--replica_id +1: not a whole number from 0 to 4"),
            (&["--replica_id", "-1"], "--replica_id -1: not a whole number from 0 to 4"),
            (&["--replica_id", "5"], "--replica_id 5: not a whole number from 0 to 4"),
            (&["--replica_id"], "--replica_id: needs a value"),
            (&["--replica_id", "--msg_loss", "1"], "--replica_id: needs a value"),
            (&["--die_with_parent=1"], "--die_with_parent: takes no value"),
            (&["x"], "argument \"x\": every value needs its option before it (see --help)"),
            (&["-"], "argument \"-\": every value needs its option before it (see --help)"),
        ] {
            assert_eq!(refused(args), line);
        }
    }

    #[test]
    fn an_option_that_does_not_exist_is_named_with_the_one_that_was_meant() {
        for (args, line) in [
            (&["--foo"][..], "--foo: no such option (see --help)"),
            (&["--foo", "x"], "--foo: no such option (see --help)"),
            (&["--foo=x=y"], "--foo: no such option (see --help)"),
            (&["--foo\n=x"], "--foo\\n: no such option (see --help)"),
            // This fault comes before those that the unknown option causes behind it.
            (&["--foo", "--msg_loss"], "--foo: no such option (see --help)"),
            (&["--no-such-thing", "x"], "--no_such_thing: no such option (see --help)"),
            (
                &["--replica-di", "1"],
                "--replica_di: no such option, did you mean --replica_id? (see --help)",
            ),
            (&["--loss=5"], "--loss: no such option, did you mean --msg_loss? (see --help)"),
            (
                &["-replica_id", "1"],
                "-replica_id: no such option, did you mean --replica_id? (see --help)",
            ),
            (&["-config=a"], "-config: no such option, did you mean --config_path? (see --help)"),
            (&["-x"], "-x: no such option (see --help)"),
            (&["--"], ""),
        ] {
            match parsed(args) {
                Parsed::Run(_) => assert_eq!(line, "", "{args:?}"),
                Parsed::Refuse(said) => assert_eq!(said, line),
                other => panic!("{args:?} gave {other:?}"),
            }
        }
    }

    #[test]
    fn arguments_that_are_not_utf_8_are_named_and_never_a_panic() {
        let bad = || OsString::from_vec(vec![b'a', 0xff]);
        let run = |args: Vec<OsString>| parse::<Options>(PROGRAM, args);
        let line = |text: &str| Parsed::Refuse(text.to_owned());
        assert_eq!(run(vec![bad()]), line("argument \"a\\xFF\": not UTF-8"));
        let args = vec!["--config_path".into(), bad()];
        assert_eq!(run(args), line("--config_path \"a\\xFF\": not UTF-8"));
    }

    #[test]
    fn version_and_help_are_answered_whatever_else_stands_there() {
        let version = Parsed::Print(format!("multipaxos-test {}", env!("CARGO_PKG_VERSION")));
        assert_eq!(parsed(&["--msg_loss", "x", "--version", "--help"]), version);
        for args in [
            &["-h"][..],
            &["--msg_loss=x", "--help"],
            &["--replica_id", "--help"],
            &["--foo", "--help"],
        ] {
            match parsed(args) {
                Parsed::Print(help) => {
                    assert!(help.starts_with("Usage: bin/test [OPTION]...\n"), "{help}");
                    assert!(help.contains("\n  --config_path FILE   the cluster file"), "{help}");
                    assert!(help.contains("\n  bin/test --replica_id 3"), "{help}");
                    assert!(!help.contains("die_with_parent"), "{help}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// A program that takes words without an option.
    #[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
    #[argh(example = "{command_name} --loud a b")]
    struct Files {
        /// says more
        #[argh(switch)]
        loud: bool,
        /// the files to read
        #[argh(positional, arg_name = "FILE")]
        files: Vec<String>,
    }

    #[test]
    fn words_without_an_option_go_to_a_program_that_takes_them() {
        let files = |args: &[&str]| parse::<Files>(PROGRAM, args.iter().map(OsString::from));
        let run = |loud, files: &[&str]| {
            Parsed::Run(Files { loud, files: files.iter().map(|file| file.to_string()).collect() })
        };
        assert_eq!(files(&[]), run(false, &[]));
        assert_eq!(files(&["a_b", "--loud", "-"]), run(true, &["a_b", "-"]));
        assert_eq!(files(&["a", "--", "--loud", "-x"]), run(false, &["a", "--loud", "-x"]));
        let line = "-x: no such option (see --help)";
        assert_eq!(files(&["a", "-x"]), Parsed::Refuse(line.into()));
        let Parsed::Print(help) = files(&["--help"]) else { panic!("no help") };
        assert!(help.starts_with("Usage: bin/test [OPTION]... [FILE]...\n"), "{help}");
        assert!(
            help.contains("\nArguments:\n  FILE                 the files to read\n"),
            "{help}"
        );
    }

    /// A program whose help has no example.
    #[derive(FromArgs, ArgsInfo, Debug)]
    struct Bare {}

    #[test]
    #[should_panic(expected = "no example")]
    fn help_that_lacks_something_is_not_printed_by_a_debug_build() {
        parse::<Bare>(PROGRAM, ["--help".into()]);
    }
}
