//! Runs clusters of real processes in bad networks, and compares with what must hold.

use argh::{ArgsInfo, FromArgs};
use command_line::{Bounded, EXIT_FAILED, parse_args, usage_error};
use hosts::figures;
use hosts::rows::TABLE;
use hosts::run::{Plan, run_table};
use std::path::PathBuf;
use std::process::exit;

/// Run real replicas and clients in networks, on disks and under quotas that are as bad as
/// real ones, and check what must hold in each. Every row has namespaces of its own, so the
/// networks of this host stay as they are. It needs root, iproute2 and strace; rows for which
/// something is missing are skipped.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "All rows:\n  {command_name}",
    example = "Three times each row with \"mtu\" in its name:\n  {command_name} --times 3 mtu",
    error_code(0, "every row did what the table says"),
    error_code(1, "a row did something else, or could not be run"),
    error_code(64, "bad usage")
)]
struct Options {
    /// the folder of replica and client (default target/release)
    #[argh(option, arg_name = "DIR", default = "PathBuf::from(\"target/release\")")]
    bin: PathBuf,
    /// where each row's files go, until the row runs again (default target/hosts)
    #[argh(option, arg_name = "DIR", default = "PathBuf::from(\"target/hosts\")")]
    log_dir: PathBuf,
    /// run each row so many times (default 1)
    #[argh(option, arg_name = "N", default = "Bounded(1)")]
    times: Bounded<1, 1_000>,
    /// seeds the relays (default 591)
    #[argh(option, arg_name = "N", default = "Bounded(591)")]
    rand_seed: Bounded<0, { u64::MAX >> 1 }>,
    /// run only the quickest rows
    #[argh(switch)]
    quick: bool,
    /// measure the figures of docs/measurements.md instead, and print their table
    #[argh(switch)]
    figures: bool,
    /// only the rows with one of these words in their names
    #[argh(positional, arg_name = "WORD")]
    words: Vec<String>,
}

fn main() {
    let options: Options = parse_args("hosts", &[]);
    for program in ["replica", "client"] {
        if !options.bin.join(program).is_file() {
            let shown = options.bin.display();
            usage_error(format!("--bin {shown}: no {program} there; `make build` first"));
        }
    }
    let named = |name: &str| {
        options.words.is_empty() || options.words.iter().any(|word| name.contains(word.as_str()))
    };
    let rows: Vec<_> =
        TABLE.iter().filter(|row| named(row.name) && (row.quick || !options.quick)).collect();
    if rows.is_empty() {
        usage_error("no row has such a name");
    }
    let plan = Plan {
        bin: options.bin,
        log_dir: options.log_dir,
        times: options.times.0,
        seed: options.rand_seed.0,
    };
    let ran = if options.figures {
        figures::measure(&plan).map(|table| {
            print!("{table}");
            true
        })
    } else {
        run_table(&rows, &plan)
    };
    match ran {
        Ok(true) => {}
        Ok(false) => exit(EXIT_FAILED),
        Err(error) => {
            command_line::say(format!("hosts: {error}"));
            exit(EXIT_FAILED)
        }
    }
}
