//! Everything that docs/measurements.md says, measured in one run: one build, one host.
//!
//! ```text
//! run         the commands, as a reader would type them, and the figures that they print
//! sections    what is measured, in its order
//! speed       the sections of steady load on three replicas
//! conditions  those under other conditions: losses, more replicas, few lines, long logs
//! outages     the sections of clusters that come back, and the scenarios
//! measured    what was measured, as the document says it
//! table       medians, ranges, and how they are shown
//! machine     what the host and the build are
//! peers       figures of other systems, from a file
//! ```
//!
//! **Guarantees.** A document is written only after everything in it has been measured, so
//! it never holds figures of two builds or two hosts. Figures that are compared come from
//! runs in turn, round by round, since a shared host is at times twice as slow for minutes.
//! README's figures are the first table of the document, word for word.
//!
//! **Does not** measure anything itself: `bench`, its floor, the driver and a script do,
//! each as a process of its own.

mod conditions;
mod machine;
mod measured;
mod outages;
mod peers;
mod run;
mod sections;
mod speed;
mod table;

use argh::{ArgsInfo, FromArgs};
use command_line::{EXIT_FAILED, parse_args, say};
use machine::Machine;
use measured::{Figure, Measured};
use multipaxos::config::cause;
use peers::Peers;
use run::Runner;
use sections::LAYOUTS;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;
use table::wrapped;

/// Around README's figures, there and in the document.
const FIGURES_BEGIN: &str = "<!-- figures: `make measure` writes what follows -->\n";
const FIGURES_END: &str = "<!-- end of the figures -->\n";

/// A load average above this says that the host does something else.
const BUSY: f64 = 0.5;

/// Measures everything that docs/measurements.md says, and writes that page and the figures
/// in README.md. It takes 28 minutes on a host that does nothing else, and root for its bad
/// networks. Nothing is written before all of it is measured.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    example = "{command_name} --quick",
    error_code(0, "the page is written"),
    error_code(1, "something could not be measured, and nothing is written"),
    error_code(64, "bad usage")
)]
struct Options {
    /// show the form of the page within two minutes: its figures mean nothing, and go to
    /// target/quick
    #[argh(switch)]
    quick: bool,
    /// figures of other systems on this host, as JSON;
    /// crates/bench/examples/measure/peers.rs says how (default: none)
    #[argh(option, arg_name = "FILE")]
    peers: Option<PathBuf>,
    /// the folder of the built programs (default target/release)
    #[argh(option, arg_name = "DIR", default = "PathBuf::from(run::BIN)")]
    bin: PathBuf,
    /// the program hosts, which needs root (default target/debug/hosts)
    #[argh(option, arg_name = "FILE", default = "PathBuf::from(\"target/debug/hosts\")")]
    hosts: PathBuf,
}

fn main() {
    let options: Options = parse_args("measure", &[]);
    match measure(&options) {
        Ok(document) => say(format!("measure: {document} is written")),
        Err(what) => {
            say(format!("measure: {what}"));
            exit(EXIT_FAILED)
        }
    }
}

/// Measures, and writes the document. Its name, or what went wrong.
fn measure(options: &Options) -> Result<String, String> {
    let machine = Machine::look(&options.bin)?;
    // These conditions are checked first: otherwise they fail after 28 minutes.
    let peers = options.peers.as_deref().map(|file| Peers::read(file, &machine)).transpose()?;
    let readme = read(Path::new("README.md"))?;
    with_figures(&readme, "").ok_or("README.md has no place for the figures")?;
    if machine.load > BUSY {
        let load = machine.load;
        say(format!("measure: the load average is {load:.2}: a busy host's figures mean little"));
    }
    let (document, plot) = if options.quick {
        fs::create_dir_all("target/quick").map_err(|e| cannot("make", "target/quick", &e))?;
        ("target/quick/measurements.md", "target/quick/bench.svg")
    } else {
        ("docs/measurements.md", "docs/bench.svg")
    };
    let mut runner = Runner::new(&options.bin, &options.hosts);
    let drawn = beside(plot);
    let mut measured = sections::measure(&mut runner, options.quick, &drawn)?;
    measured.sections = measured.sections.replace(&drawn, plot);
    if let Some(peers) = &peers {
        measured.sections.push_str(&peers.shown());
    }
    let block = figures(&machine, &measured);
    fs::rename(&drawn, plot).map_err(|e| cannot("write", plot, &e))?;
    write(document, &document_text(options.quick, &machine, &block, &measured))?;
    if !options.quick {
        write("README.md", &with_figures(&readme, &block).expect("looked at before"))?;
    }
    Ok(document.to_owned())
}

fn document_text(quick: bool, machine: &Machine, block: &str, measured: &Measured) -> String {
    let mut text = String::from("# Measurements\n\n");
    let mut say = |prose: &str| {
        let _ = write!(text, "{}\n\n", wrapped(prose));
    };
    say("*For whoever wants figures: what one build does on one host. Ten minutes.* \
         `make measure` writes this page whole, in one run of 28 minutes; nobody edits it. [tried.md](tried.md) says what was tried to make the figures better.");
    if quick {
        say("**A quick run, which shows the form of this page. Its figures mean nothing.**");
    }
    say("Replicas and clients are processes on one host and share its cores; datagrams travel \
         over loopback. `bench` keeps each process to a share of the cores, as if it had a host \
         of its own, unless it is told `--unpinned`. LAYOUT in a command is that of a replica's \
         threads: `per-role`, which is the default, or `one`. Lines have 64 bytes. *In memory* is \
         `--durability none`; *synced* is `--durability sync`, where each acknowledgement waits \
         for the disk. A figure is the median of its rounds, with the least and the most in \
         parentheses; a ratio is taken within a round, in which both sides ran one after the \
         other. The chat logs of every run of `bench` were compared, and every line that was \
         completed was looked up in them. Programs are in `target/release`.");
    let _ = writeln!(text, "{}\n{FIGURES_BEGIN}{block}{FIGURES_END}", machine.shown());
    text.truncate(text.trim_end().len());
    text.push('\n');
    text.push_str(&measured.sections);
    text
}

/// The table that README shows as well.
fn figures(machine: &Machine, measured: &Measured) -> String {
    let mut text = format!("{}\n\n", wrapped(&machine.sentence()));
    let [one, other] = LAYOUTS.map(|layout| layout.name);
    let _ = writeln!(text, "| what | {one} | {other} | command |\n|---|---|---|---|");
    for Figure { what, values: [one, other], command } in &measured.figures {
        let _ = writeln!(text, "| {what} | {one} | {other} | `{command}` |");
    }
    text
}

/// `text` with `block` in the place of its figures, if it has such a place.
fn with_figures(text: &str, block: &str) -> Option<String> {
    let (before, rest) = text.split_once(FIGURES_BEGIN)?;
    let (_, after) = rest.split_once(FIGURES_END)?;
    Some(format!("{before}{FIGURES_BEGIN}{block}{FIGURES_END}{after}"))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|e| cannot("read", &file.display().to_string(), &e))
}

fn write(file: &str, text: &str) -> Result<(), String> {
    let beside = beside(file);
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, file))
        .map_err(|e| cannot("write", file, &e))
}

/// The name under which a file is written at first: whoever interrupts this program finds
/// the old one whole.
fn beside(file: &str) -> String {
    format!("{file}.new")
}

fn cannot(what: &str, file: &str, error: &std::io::Error) -> String {
    format!("cannot {what} {file}: {}", cause(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_take_the_place_of_those_before_and_leave_the_rest() {
        let before = format!("a\n{FIGURES_BEGIN}old\n{FIGURES_END}b\n");
        let after = with_figures(&before, "new\n").expect("a place");
        assert_eq!(after, format!("a\n{FIGURES_BEGIN}new\n{FIGURES_END}b\n"));
        assert_eq!(with_figures("no place\n", "new\n"), None);
    }

    #[test]
    fn readme_has_a_place_for_its_figures() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let readme = read(Path::new(readme)).expect("README.md");
        assert!(with_figures(&readme, "").is_some());
    }
}
