//! Replays, checks and explains what replicas and clients wrote down.

use argh::{ArgsInfo, FromArgs};
use command_line::{Bounded, EXIT_FAILED, parse_args, say, usage_error};
use history::History;
use history::why::Teller;
use multipaxos::config::cause;
use multipaxos::types::{ClientId, REPLICAS_MAX, ReplicaId, Slot};
use report::{Axis, Heading};
use serde_json::json;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::exit;
use trace::check::{Checked, check};
use trace::files::Files;
use trace::leading::why_not_leader;
use trace::merged::{merge, slot_of};
use trace::moment::Moment;
use trace::replay;

/// The most entries of a page. A longer one is too long to be read.
const PAGE_ENTRIES_MAX: usize = 40_000;

/// Read what replicas and clients with --trace wrote down. "check" gives every role its
/// inputs again, says whether it does the same, and compares all processes by the rules of
/// the protocol. "explain" tells what became of a slot, or why a replica did not lead.
/// "report" draws all of it as a page for a browser, and "export" writes it for the viewers
/// Perfetto and ShiViz. DIR is a folder with traces, of one host or copied from several; a
/// file is taken as well.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "Replay and compare all processes whose traces are in a folder:\n  \
        {command_name} check logs/stress-test-0",
    example = "What became of slot 7, and who knew it when:\n  \
        {command_name} explain --slot 7 logs/stress-test-0",
    example = "The same of line 12 of client 3, counted from 0:\n  \
        {command_name} explain --client 3 --line 12 logs/stress-test-0",
    example = "Why replica 1 did not lead 12.3 seconds after the first process began:\n  \
        {command_name} explain --why_not_leader 1 --at 12.3s logs/stress-test-0",
    example = "A page for a browser:\n  \
        {command_name} report --page run.html logs/stress-test-0",
    example = "A file for ui.perfetto.dev, and a log for ShiViz:\n  \
        {command_name} export --perfetto run.json --shiviz run.log logs/stress-test-0",
    error_code(0, "every role did the same again, and no invariant is broken"),
    error_code(1, "one did not, or one is, or a file cannot be read"),
    error_code(64, "bad usage")
)]
struct Args {
    /// check, explain, report or export, and then the folders or files with traces
    #[argh(positional, arg_name = "COMMAND DIR")]
    words: Vec<String>,
    /// check: print the result as one object for programs
    #[argh(switch)]
    json: bool,
    /// explain: the slot (default: that of --line)
    #[argh(option, arg_name = "SLOT")]
    slot: Option<Bounded<0, { u64::MAX >> 2 }>>,
    /// explain: the client whose --line it is (default: none)
    #[argh(option, arg_name = "N")]
    client: Option<Bounded<0, { u64::MAX }>>,
    /// explain: the number of the line among its client's, from 0, in place of --slot
    /// (default: none)
    #[argh(option, arg_name = "N")]
    line: Option<Bounded<0, { u64::MAX }>>,
    /// explain: the replica of which to tell why it did not lead (default: none)
    #[argh(option, arg_name = "N")]
    why_not_leader: Option<Bounded<0, { REPLICAS_MAX as u64 - 1 }>>,
    /// explain: when --why_not_leader is asked, since the first process began: 12.3s, 450ms
    /// (default: none)
    #[argh(option, arg_name = "TIME")]
    at: Option<Moment>,
    /// report: the file for the page (default trace.html)
    #[argh(option, arg_name = "FILE", default = "PathBuf::from(\"trace.html\")")]
    page: PathBuf,
    /// export: the file for Perfetto, in the JSON of Chrome's trace events
    /// (default: none)
    #[argh(option, arg_name = "FILE")]
    perfetto: Option<PathBuf>,
    /// export: the file for ShiViz, a log with vector clocks. Heartbeats are not in it
    /// (default: none)
    #[argh(option, arg_name = "FILE")]
    shiviz: Option<PathBuf>,
}

fn main() {
    let Args { words, json, slot, client, line, why_not_leader, at, page, perfetto, shiviz } =
        parse_args("trace", &[]);
    name_what_panics();
    let Some((command, places)) = words.split_first() else {
        usage_error("check, explain, report or export? (trace check DIR)")
    };
    if places.is_empty() {
        usage_error(format!("{command}: of which folder? (trace {command} DIR)"));
    }
    let places: Vec<PathBuf> = places.iter().map(PathBuf::from).collect();
    let read = || {
        Files::read(&places).unwrap_or_else(|why| {
            say(why);
            exit(EXIT_FAILED)
        })
    };
    let fine = match command.as_str() {
        "check" => check_all(&read(), json),
        "explain" => {
            let what = match (slot, client, line, why_not_leader, at) {
                (Some(slot), None, None, None, None) => What::Slot(Slot(slot.0)),
                (None, Some(client), Some(line), None, None) => {
                    What::Line(ClientId(client.0), line.0)
                }
                (None, None, None, Some(replica), Some(at)) => {
                    What::NotLeader(ReplicaId(replica.0 as u8), at)
                }
                _ => usage_error(
                    "explain: which --slot, or which --line of which --client, or \
                     --why_not_leader of which replica and --at what time?",
                ),
            };
            explain(&read(), what)
        }
        "report" => write_page(&read(), &page, &shown(&places)),
        "export" => {
            if perfetto.is_none() && shiviz.is_none() {
                usage_error("export: which --perfetto FILE, or --shiviz FILE?")
            }
            export(&read(), perfetto.as_deref(), shiviz.as_deref())
        }
        other => usage_error(format!("{other}: no such command: check, explain, report or export")),
    };
    exit(if fine { 0 } else { EXIT_FAILED })
}

fn shown(places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    places.join(" ")
}

/// A role that panicked when it ran does so again. Then it is good to know where.
fn name_what_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(format!("PANICS  {}", replay::at()));
        report(panic);
        exit(EXIT_FAILED)
    }));
}

fn print(lines: &[String]) {
    // If the reader has closed stdout, nobody wants the text.
    let text = lines.join("\n") + "\n";
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}

fn check_all(files: &Files, json: bool) -> bool {
    let checked = check(files);
    if json {
        let Checked { lives, compared, lines, is_good } = &checked;
        let verdict = if *is_good { "pass" } else { "fail" };
        let notes: Vec<&str> =
            lines.iter().filter_map(|line| line.trim_start().strip_prefix("note: ")).collect();
        let all = json!({
            "verdict": verdict, "processes": lives, "compared": compared, "notes": notes
        });
        print(&[all.to_string()]);
    } else {
        print(&checked.lines);
    }
    checked.is_good
}

/// What is to be explained.
enum What {
    Slot(Slot),
    Line(ClientId, u64),
    NotLeader(ReplicaId, Moment),
}

fn explain(files: &Files, what: What) -> bool {
    let (lives, lost) = files.lives();
    lost.iter().for_each(say);
    let slot = match what {
        What::NotLeader(replica, at) => {
            let n = lives.first().map_or(0, |life| life.header.n);
            if replica.index() >= n {
                say(format!("--why_not_leader {replica}: there are {n} replicas, from 0 on"));
                return false;
            }
            print(&why_not_leader(&lives, replica, at.0));
            return true;
        }
        What::Slot(slot) => slot,
        What::Line(client, line) => match slot_of(&lives, client, line) {
            Some(slot) => slot,
            None => {
                say(format!(
                    "no replica has applied line {line} of client {client} in these traces"
                ));
                return false;
            }
        },
    };
    let (history, _) = merge(&lives, usize::MAX);
    print(&Teller::new(&history).why(slot));
    true
}

fn export(files: &Files, perfetto: Option<&Path>, shiviz: Option<&Path>) -> bool {
    let (lives, lost) = files.lives();
    lost.iter().for_each(say);
    let (history, _) = merge(&lives, usize::MAX);
    let write = |option: &str, file: Option<&Path>, text: fn(&History) -> String| {
        let Some(file) = file else { return true };
        let written = std::fs::write(file, text(&history));
        if let Err(error) = &written {
            say(format!("{option} {}: {}", file.display(), cause(error)));
        }
        written.is_ok()
    };
    write("--perfetto", perfetto, trace::perfetto::perfetto)
        && write("--shiviz", shiviz, trace::shiviz::shiviz)
}

fn write_page(files: &Files, page: &Path, places: &str) -> bool {
    let checked = check(files);
    let (lives, _) = files.lives();
    let (history, is_cut) = merge(&lives, PAGE_ENTRIES_MAX);
    let bad = checked.lines.iter().find(|it| it.starts_with("DIFFERS") || it.starts_with("BROKEN"));
    let heading = Heading {
        title: format!("Traces of {places}"),
        is_good: checked.is_good,
        verdict: bad
            .cloned()
            .unwrap_or_else(|| "Every role did the same again, and no invariant is broken.".into()),
        command: format!("trace check {places}"),
        is_cut,
        axis: Axis::Time,
    };
    if let Err(error) = std::fs::write(page, report::page(&heading, &history)) {
        say(format!("--page {}: {}", page.display(), cause(&error)));
        return false;
    }
    say(format!("page: {}", page.display()));
    if !heading.is_good {
        say(&heading.verdict);
    }
    heading.is_good
}
