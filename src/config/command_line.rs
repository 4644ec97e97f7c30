//! One way to read a command line, for all programs.
//!
//! argh declares the options and turns them into values; what it does not do is done
//! here before it: options may be written with underscores or dashes
//! (`--config_path`, `--config-path`), with the value behind a space or behind `=`;
//! of a repeated option the last one wins; `--version` and `--help` are answered
//! whatever else stands on the line; an argument that is not UTF-8 is an error and
//! never a panic. And behind it: every error becomes one line that names the option
//! as the help shows it, and ends the program with [`EXIT_USAGE`].
//!
//! [`parse`] is the pure part and ends nothing; [`parse_args`] is the part that
//! prints and exits. A closed stdout or stderr is never a panic: the programs print
//! with [`say`] or `writeln!`, not with `println!`.
//!
//! Types with a range ([`Bounded`], [`Percent`]) say what they would have taken, so
//! that `--clients 0` is answered by `--clients 0: not a whole number from 1 to 1000`.

use argh::FromArgs;
use log::LevelFilter;
use simplelog::{ConfigBuilder, LevelPadding, WriteLogger};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, LineWriter, Write};
use std::process;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// A run, a check or a cluster failed.
pub const EXIT_FAILED: i32 = 1;

/// Bad usage or configuration; one line on stderr says what.
pub const EXIT_USAGE: i32 = 64;

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// To run with these options.
    Run(T),
    /// To print this on stdout and end well: help or version.
    Print(String),
    /// Nothing that makes sense: this line on stderr, and [`EXIT_USAGE`].
    Refuse(String),
}

/// Reads this process's command line, or answers it and ends the process.
///
/// `binary` is the program's name; `switches` names the options that take no value,
/// without the leading dashes.
pub fn parse_args<T: FromArgs>(binary: &str, switches: &[&str]) -> T {
    match parse(binary, switches, std::env::args_os().skip(1)) {
        Parsed::Run(options) => options,
        Parsed::Print(text) => {
            // Whoever closed stdout does not want to read it.
            let _ = writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
            process::exit(0)
        }
        Parsed::Refuse(message) => usage_error(message),
    }
}

/// Reads a command line, given without the program's own name.
pub fn parse<T: FromArgs>(
    binary: &str,
    switches: &[&str],
    args: impl IntoIterator<Item = OsString>,
) -> Parsed<T> {
    let switches: Vec<String> = switches.iter().map(|s| with_dashes(s)).collect();
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
            None => words.bare.push(word.to_owned()),
            // Nothing here takes positional arguments, so there is nothing to end.
            Some("") => {}
            Some(option) => {
                let (name, value) = match option.split_once('=') {
                    Some((name, value)) => (with_dashes(name), Some(value.to_owned())),
                    None => (with_dashes(option), None),
                };
                let shown = with_underscores(&name);
                let switch = switches.contains(&name);
                if name == "help" || name == "version" {
                    words.help |= name == "help";
                    words.version |= name == "version";
                } else if switch {
                    if value.is_some() {
                        fault.get_or_insert(format!("--{shown}: takes no value"));
                    }
                    words.last.insert(name, None);
                } else if let Some(value) = value {
                    words.last.insert(name, Some(value));
                } else {
                    // The value is the next word, whatever it begins with but two
                    // dashes: that is an option whose predecessor lacks its value.
                    match args.next_if(|next| !next.as_encoded_bytes().starts_with(b"--")) {
                        Some(next) => match next.into_string() {
                            Ok(value) => {
                                words.last.insert(name, Some(value));
                            }
                            Err(value) => {
                                fault.get_or_insert(format!("--{shown} {value:?}: not UTF-8"));
                            }
                        },
                        None => {
                            fault.get_or_insert(format!("--{shown}: needs a value"));
                        }
                    }
                }
            }
        }
    }
    finish(binary, words, fault)
}

/// A command line taken apart; names are written with dashes, as argh wants them.
#[derive(Default)]
struct Words {
    help: bool,
    version: bool,
    /// Each option's last value, or `None` for a switch. The order does not matter,
    /// since no option stands twice.
    last: BTreeMap<String, Option<String>>,
    bare: Vec<String>,
}

fn finish<T: FromArgs>(binary: &str, words: Words, fault: Option<String>) -> Parsed<T> {
    if words.version {
        return Parsed::Print(format!("multipaxos-{binary} {}", env!("CARGO_PKG_VERSION")));
    }
    if words.help {
        let help = T::from_args(&[binary], &["--help"]).err();
        let help = help.map(|exit| exit.output).unwrap_or_default();
        let help = help_with_underscores(&help);
        // argh knows nothing of it; its own `--help` is always the last option.
        return Parsed::Print(format!(
            "{}\n  --version         print the version",
            help.trim_end()
        ));
    }
    if let Some(fault) = fault {
        return Parsed::Refuse(one_line(&fault));
    }
    if let Some(bare) = words.bare.first() {
        let what =
            format!("argument {bare:?}: every value needs its option before it (see --help)");
        return Parsed::Refuse(what);
    }
    let mut args: Vec<String> = Vec::new();
    for (name, value) in words.last {
        args.push(format!("--{name}"));
        args.extend(value);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match T::from_args(&[binary], &args) {
        Ok(options) => Parsed::Run(options),
        Err(exit) => Parsed::Refuse(one_line(&explain(&exit.output))),
    }
}

/// Turns argh's message into one that begins with the option.
fn explain(message: &str) -> String {
    let message = message.trim_end();
    if let Some(rest) = message.strip_prefix("Error parsing option '")
        && let Some((name, rest)) = rest.split_once("' with value '")
        // The value may hold anything, and its own text stands before the last part.
        && let Some((value, what)) = rest.rsplit_once("': ")
    {
        let value = if value.is_empty() { "\"\"" } else { value };
        return format!("{} {value}: {what}", with_underscores(name));
    }
    if let Some(name) = message.strip_prefix("Unrecognized argument: ") {
        return format!("{}: no such option (see --help)", with_underscores(name));
    }
    if let Some(names) = message.strip_prefix("Required options not provided:") {
        let names: Vec<String> = names.split_whitespace().map(with_underscores).collect();
        return format!("{}: required, and not given", names.join(", "));
    }
    message.to_owned()
}

/// The option's name as argh knows it. Leading dashes stay what they are.
fn with_dashes(name: &str) -> String {
    name.replace('_', "-")
}

/// The option's name as the help shows it; leading dashes stay dashes.
fn with_underscores(option: &str) -> String {
    let name = option.trim_start_matches('-');
    let dashes = &option[..option.len() - name.len()];
    format!("{dashes}{}", name.replace('-', "_"))
}

/// Shows the names in argh's help with underscores; widths stay as they are.
fn help_with_underscores(help: &str) -> String {
    let mut shown = String::with_capacity(help.len());
    let mut rest = help;
    while let Some(at) = rest.find(['-', '<']) {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let start = if from.starts_with("--") { 2 } else { 1 };
        let end = from[start..].find(|c| !is_name(c)).map_or(from.len(), |end| start + end);
        let name = &from[start..end];
        if start == 2 || from.starts_with('<') {
            shown.push_str(&from[..start]);
            shown.push_str(&with_underscores(name));
        } else {
            shown.push_str(&from[..end]);
        }
        rest = &from[end..];
    }
    shown.push_str(rest);
    // argh's own trigger is the bare word; ours is the letter.
    shown.replace("--help, help", "-h, --help  ")
}

/// Writes line feeds and other control characters out, so that a line stays one.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Prints a line on stderr; a closed one is no reason to panic.
pub fn say(line: impl fmt::Display) {
    // One write a line, so that lines of several processes never mix.
    let line = format!("{line}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Ends the process for bad usage or configuration, with one line on stderr.
pub fn usage_error(message: impl fmt::Display) -> ! {
    say(one_line(&message.to_string()));
    process::exit(EXIT_USAGE)
}

/// Sends the log to stderr, one write a record: `12:34:56.789 [INFO] message` (UTC).
///
/// Never in colour, so that a log reads the same in a file. A second call does
/// nothing.
pub fn init_logging(level: LevelFilter) {
    let mut config = ConfigBuilder::new();
    config
        .set_time_level(LevelFilter::Off)
        .set_level_padding(LevelPadding::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off);
    let stderr = Stamped { inner: LineWriter::new(io::stderr()), line_starts: true };
    let _ = WriteLogger::init(level, config.build(), stderr);
}

/// Puts the time of day before every line. (simplelog's own clock has no fractions
/// of a second, unless the caller depends on the crate `time` as well.)
struct Stamped<W> {
    inner: W,
    line_starts: bool,
}

impl<W: Write> Write for Stamped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.line_starts && !bytes.is_empty() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let (s, ms) = (now.as_secs() % 86_400, now.subsec_millis());
            write!(self.inner, "{:02}:{:02}:{:02}.{ms:03} ", s / 3600, s / 60 % 60, s % 60)?;
            self.line_starts = false;
        }
        // Up to the end of this line at most; the caller comes back with the rest.
        let end = bytes.iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| at + 1);
        self.inner.write_all(&bytes[..end])?;
        self.line_starts = bytes[..end].ends_with(b"\n");
        Ok(end)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
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

/// How much is logged.
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
    /// Nothing at all.
    pub const NONE: Percent = Percent(0.0);

    /// The share as a probability, 0 to 1.
    pub fn probability(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Neither signs nor exponents nor "nan".
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

    /// a program for the tests
    #[derive(FromArgs, Debug, PartialEq)]
    struct Options {
        /// the cluster file
        #[argh(option, default = "String::from(\"c.txt\")")]
        config_path: String,
        /// how much is lost
        #[argh(option, default = "Percent::NONE")]
        msg_loss: Percent,
        /// the replica
        #[argh(option)]
        replica_id: Option<Bounded<0, 4>>,
        /// a switch
        #[argh(switch)]
        die_with_parent: bool,
    }

    fn parsed(args: &[&str]) -> Parsed<Options> {
        parse("test", &["die_with_parent"], args.iter().map(OsString::from))
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
            (&["--replica_id", "5"], "--replica_id 5: not a whole number from 0 to 4"),
            (&["--replica_id"], "--replica_id: needs a value"),
            (&["--replica_id", "--msg_loss", "1"], "--replica_id: needs a value"),
            (&["--die_with_parent=1"], "--die_with_parent: takes no value"),
            (&["--no_such_thing", "x"], "--no_such_thing: no such option (see --help)"),
            (&["x"], "argument \"x\": every value needs its option before it (see --help)"),
        ] {
            assert_eq!(refused(args), line);
        }
    }

    #[test]
    fn arguments_that_are_not_utf_8_are_named_and_never_a_panic() {
        let bad = || OsString::from_vec(vec![b'a', 0xff]);
        let run = |args: Vec<OsString>| parse::<Options>("test", &[], args);
        let line = |text: &str| Parsed::Refuse(text.to_owned());
        assert_eq!(run(vec![bad()]), line("argument \"a\\xFF\": not UTF-8"));
        let args = vec!["--config_path".into(), bad()];
        assert_eq!(run(args), line("--config_path \"a\\xFF\": not UTF-8"));
    }

    #[test]
    fn version_and_help_are_answered_whatever_else_stands_there() {
        let version = Parsed::Print(format!("multipaxos-test {}", env!("CARGO_PKG_VERSION")));
        assert_eq!(parsed(&["--msg_loss", "x", "--version", "--help"]), version);
        for args in [&["-h"][..], &["--msg_loss=x", "--help"], &["--replica_id", "--help"]] {
            match parsed(args) {
                Parsed::Print(help) => {
                    assert!(help.contains("[--config_path <config_path>]"), "{help}");
                    assert!(help.contains("\n  --die_with_parent"), "{help}");
                    assert!(help.contains("\n  --version"), "{help}");
                    assert!(help.contains("\n  -h, --help "), "{help}");
                    assert!(!help.contains("config-path"), "{help}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
