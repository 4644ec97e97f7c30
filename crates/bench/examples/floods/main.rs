//! Floods: how many lines a cluster with a key completes while strangers send all they can.
//!
//! ```text
//! kinds     what strangers send
//! record    genuine datagrams of an earlier time, from a relay
//! flooder   a thread on a core of its own that sends without a pause
//! cluster   `bench` with its replicas on another core, and what is seen of them meanwhile
//! ```
//!
//! For each kind `bench` runs twice, one right after the other: alone, and flooded from before its
//! first line to its last. The client and all replicas share one core in both; flooders have the
//! others. All replicas are flooded in turn.
//!
//! **Guarantees.** It fails unless in each flood: as many of the lines stay as `--least` says; no
//! replica takes more than [`MEMORY_KIB_MAX`] more memory; the leader stays; a replica writes no
//! more than a log line a second; and all lines that were completed are in all logs, which `bench`
//! checks.
//!
//! **Does not** send faster than one system call a datagram allows, and forges no address.

mod cluster;
mod flooder;
mod kinds;
mod record;

use argh::{ArgsInfo, FromArgs};
use cluster::{Bench, Ran};
use command_line::{EXIT_FAILED, parse_args, say};
use flooder::{Cores, Flooders};
use kinds::Kind;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// How much larger a flooded replica may be.
const MEMORY_KIB_MAX: f64 = 1024.0;

/// Floods clusters, and compares them with clusters that are let alone. It needs two cores that do
/// nothing else.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    example = "{command_name} --flooders 2 random wrong-key",
    error_code(0, "every flood was borne"),
    error_code(1, "one was not, or could not be tried"),
    error_code(64, "bad usage")
)]
struct Options {
    /// the folder of the built programs (default target/release)
    #[argh(option, arg_name = "DIR", default = "PathBuf::from(\"target/release\")")]
    bin: PathBuf,
    /// how many threads flood (default 1)
    #[argh(option, arg_name = "N", default = "1")]
    flooders: usize,
    /// how many lines are in flight (default 16)
    #[argh(option, arg_name = "N", default = "16")]
    outstanding: usize,
    /// seconds of each measurement (default 3)
    #[argh(option, arg_name = "SECONDS", default = "3.0")]
    secs: f64,
    /// percent of the lines that must stay (default 50)
    #[argh(option, arg_name = "PERCENT", default = "50.0")]
    least: f64,
    /// what is sent: random, cut, flipped, long, old, wrong-key, client-key (default: each of them)
    #[argh(positional, arg_name = "kind")]
    kinds: Vec<Kind>,
}

fn main() {
    let options: Options = parse_args("floods", &[]);
    match floods(&options) {
        Ok(0) => say("floods: every flood was borne"),
        Ok(failed) => {
            say(format!("floods: {failed} were not borne"));
            exit(EXIT_FAILED)
        }
        Err(what) => {
            say(format!("floods: {what}"));
            exit(EXIT_FAILED)
        }
    }
}

/// Tries all kinds. Returns how many were not borne.
fn floods(options: &Options) -> Result<usize, String> {
    let cores = Cores::take()?;
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let file = |name: &str| folder.path().join(name);
    let (key, client_key) = (file("key"), file("client.key"));
    run(&options.bin.join("replica"), &["--make_key", text(&key)])?;
    let make = ["--key_file", text(&key), "--make_client_key", text(&client_key)];
    run(&options.bin.join("replica"), &make)?;
    let kinds = if options.kinds.is_empty() { Kind::ALL } else { &options.kinds[..] };
    let mut failed = 0;
    println!("{HEADER}");
    for kind in kinds {
        let bench = |name: &str| Bench {
            bin: &options.bin,
            dir: file(name),
            key: &key,
            outstanding: options.outstanding,
            secs: options.secs,
        };
        let alone = bench(&format!("{kind}-alone")).run(&cores, |_| Ok(()))?;
        let mut flooders = None;
        let flooded = bench(&format!("{kind}-flooded")).run(&cores, |replicas| {
            let recorded = match kind.wants_genuine() {
                true => record::genuine(&options.bin, folder.path(), &key, replicas)?,
                false => Vec::new(),
            };
            flooders = Some(Flooders::start(&cores, options.flooders, *kind, |seed| {
                kind.prepare(seed, replicas, &recorded, &client_key)
            })?);
            Ok(())
        })?;
        let rate = flooders.expect("it was started").stop(kind)?;
        let faults = faults(options, &alone, &flooded);
        println!("{}", row(*kind, options, rate, &alone, &flooded, &faults));
        failed += usize::from(!faults.is_empty());
    }
    Ok(failed)
}

const HEADER: &str = "kind        flooders  datagrams/s   lines/s alone   flooded   ratio   KiB more   \
                      leaders   log lines/s";

fn row(
    kind: Kind,
    options: &Options,
    rate: f64,
    alone: &Ran,
    flooded: &Ran,
    faults: &[String],
) -> String {
    let fault = if faults.is_empty() { String::new() } else { format!("   {}", faults.join(", ")) };
    format!(
        "{:<11} {:8} {rate:12.0} {:15.0} {:9.0} {:7.2} {:10.0} {:9} {:13.2}{fault}",
        kind.to_string(),
        options.flooders,
        alone.lines_per_s,
        flooded.lines_per_s,
        flooded.lines_per_s / alone.lines_per_s,
        flooded.rss_kib - alone.rss_kib,
        flooded.leaders,
        flooded.log_lines_per_s,
    )
}

/// What should not be.
fn faults(options: &Options, alone: &Ran, flooded: &Ran) -> Vec<String> {
    let kept = 100.0 * flooded.lines_per_s / alone.lines_per_s;
    let grown = flooded.rss_kib - alone.rss_kib;
    let found = [
        (kept < options.least, format!("{kept:.0} % of the lines stay")),
        (grown > MEMORY_KIB_MAX, format!("{grown:.0} KiB more")),
        (flooded.leaders != 1, "the leader changes".to_owned()),
        (flooded.log_lines_per_s > 1.0, "the log fills up".to_owned()),
    ];
    found.into_iter().filter(|(is_fault, _)| *is_fault).map(|(_, what)| what).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a name in UTF-8")
}

/// Runs a program to its end.
fn run(program: &Path, args: &[&str]) -> Result<(), String> {
    let said = Command::new(program).args(args).output();
    let name = program.display();
    let said = said.map_err(|e| format!("cannot start {name}: {e}"))?;
    match said.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&said.stderr).trim_end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let (bin, kinds) = (PathBuf::new(), Vec::new());
        Options { bin, flooders: 1, outstanding: 1, secs: 1.0, least: 50.0, kinds }
    }

    #[test]
    fn each_thing_that_should_not_be_is_named() {
        let alone = Ran { lines_per_s: 100.0, rss_kib: 9_000.0, leaders: 1, log_lines_per_s: 0.0 };
        assert!(faults(&options(), &alone, &alone).is_empty());
        let bad = Ran { lines_per_s: 49.0, rss_kib: 10_025.0, leaders: 2, log_lines_per_s: 1.5 };
        let said = faults(&options(), &alone, &bad);
        assert_eq!(
            said,
            ["49 % of the lines stay", "1025 KiB more", "the leader changes", "the log fills up"]
        );
    }
}
