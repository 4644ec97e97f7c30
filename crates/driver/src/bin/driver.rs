//! Starts a cluster and its clients, makes a scenario's fault happen, judges the chat logs.

use argh::{ArgsInfo, FromArgs};
use command_line::ending::end_on_panic;
use command_line::help::Group;
use command_line::{Bounded, Percent, called, parse_args, say, usage_error};
use driver::{Interrupts, Plan, Scenario, TABLE};
use multipaxos::config::{Config, F_MAX};
use multipaxos::runtime::trust::Trust;
use std::path::PathBuf;
use std::process::exit;
use std::time::Duration;

/// Runs a scenario, or all eight. It starts the replicas of the configuration and the
/// clients of the scenario on this host, makes the scenario's fault happen, ends them all,
/// and judges the chat logs: all must be the same, with every completed line in its order,
/// once.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "All eight scenarios, with a tenth of all datagrams lost:\n  \
        {command_name} --msg_loss 10",
    example = "One of them, larger and without pauses:\n  \
        {command_name} --test_type \"STRESS TEST 0\" --messages 1000 --pause_ms 0",
    example = "Nothing but the verdict, on the chat logs of a run made by hand:\n  \
        {command_name} --compare logs",
    error_code(0, "every line is complete, and every chat log is clean"),
    error_code(1, "a scenario failed, or could not be run"),
    error_code(64, "bad usage or configuration")
)]
struct Options {
    /// the scenario, in upper or lower case, with spaces, dashes or underscores (default: all
    /// eight)
    #[argh(option, arg_name = "NAME")]
    test_type: Option<String>,
    /// how many clients send at once (default: as in the scenario)
    #[argh(option, arg_name = "N")]
    clients: Option<Bounded<1, 1000>>,
    /// how many messages each client sends (default: as in the scenario)
    #[argh(option, arg_name = "N")]
    messages: Option<Bounded<1, 1_000_000>>,
    /// the longest pause of a client between two messages, in milliseconds (default: as in
    /// the scenario)
    #[argh(option, arg_name = "MS")]
    pause_ms: Option<Bounded<0, 3_600_000>>,
    /// how long a scenario may take from its start to its verdict (default 60)
    #[argh(option, arg_name = "SECONDS", default = "Bounded(60)")]
    deadline_s: Bounded<1, 86_400>,
    /// run nothing, and judge the chat logs in this folder; with --f there must be 2f+1
    /// (default: run scenarios)
    #[argh(option, arg_name = "DIR")]
    compare: Option<PathBuf>,
    /// let all processes write down in the scenario's folder what they get and do, for the
    /// program trace
    #[argh(switch)]
    trace: bool,
    /// the same, and draw the scenario as a page for a browser (default: none)
    #[argh(option, arg_name = "PAGE")]
    report: Option<PathBuf>,
    /// print the results as objects for programs, one a line and scenario
    #[argh(switch)]
    json: bool,
    /// how many replicas may fail; the configuration must list 2f+1 (default: counted from
    /// the configuration)
    #[argh(option, arg_name = "N")]
    f: Option<Bounded<0, { F_MAX as u64 }>>,
    /// the configuration: one "ip port" pair a line; the line's number, from 0, is the
    /// replica's id (default configs/config.txt)
    #[argh(option, arg_name = "FILE", default = "PathBuf::from(\"configs/config.txt\")")]
    config_path: PathBuf,
    /// the key of the cluster, for all processes (default: none)
    #[argh(option, arg_name = "FILE")]
    key_file: Option<PathBuf>,
    /// take addresses that others reach although there is no key
    #[argh(switch)]
    insecure: bool,
    /// each scenario has a folder of its own below this one (default logs)
    #[argh(option, arg_name = "DIR", default = "PathBuf::from(\"logs\")")]
    log_dir: PathBuf,
    /// percent of its datagrams that each process drops instead of sending them, 0 to 100
    /// (default 0)
    #[argh(option, arg_name = "PERCENT", default = "Percent::NONE")]
    msg_loss: Percent,
    /// the slot in which the initial primary, replica 0, never proposes (default: it skips
    /// none)
    #[argh(option, arg_name = "SLOT")]
    skip_slot: Option<Bounded<0, { u64::MAX }>>,
    /// seeds the losses, the pauses and the timeouts of all processes (default 591)
    #[argh(option, arg_name = "N", default = "Bounded(591)")]
    rand_seed: Bounded<0, { u64::MAX }>,
    /// all processes send and receive one datagram a system call
    #[argh(switch)]
    no_offload: bool,
    /// when a replica may send a vote: sync, once it is on the disk; os, once the operating
    /// system has it; none, at once (default sync)
    #[argh(option, arg_name = "MODE")]
    durability: Option<Durability>,
    /// on which threads a replica runs its roles: per-role, each on its own; one, in turn on the
    /// network thread (default per-role)
    #[argh(option, arg_name = "LAYOUT")]
    threads: Option<Layout>,
    /// the time between two heartbeats of a leader, in milliseconds (default 50)
    #[argh(option, arg_name = "MS")]
    heartbeat_ms: Option<Bounded<1, 60_000>>,
    /// how long a leader may be silent before a replica tries to replace it, in milliseconds
    /// (default 300-600)
    #[argh(option, arg_name = "MIN-MAX")]
    election_ms: Option<Span>,
}

const GROUPS: &[Group] = &[
    ("What to run", "test_type"),
    ("The cluster", "f"),
    ("Faults", "msg_loss"),
    ("Passed to every replica", "durability"),
];

/// A replica's option. The driver checks the value too, so that the user gets one error
/// message instead of one from every replica.
struct Durability(String);

impl std::str::FromStr for Durability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Durability, &'static str> {
        match text {
            "sync" | "os" | "none" => Ok(Durability(text.to_owned())),
            _ => Err("not one of sync, os, none"),
        }
    }
}

/// A replica's option, checked here as well.
struct Layout(String);

impl std::str::FromStr for Layout {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Layout, &'static str> {
        match text {
            "per-role" | "one" => Ok(Layout(text.to_owned())),
            _ => Err("not one of per-role, one"),
        }
    }
}

/// One number, or two with a dash between them. The replicas check how the two relate.
struct Span(String);

impl std::str::FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Span, &'static str> {
        let number = |text: &str| text.parse::<Bounded<1, 1_200_000>>().is_ok();
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        let fits = number(min) && number(max);
        if fits { Ok(Span(text.to_owned())) } else { Err("not a span like 300-600") }
    }
}

fn main() {
    let options: Options = parse_args("driver", GROUPS);
    end_on_panic();
    let f = options.f.map(|f| f.0 as usize);
    if let Some(dir) = &options.compare {
        exit(driver::compare::run(dir, f.map(|f| 2 * f + 1)));
    }
    let chosen = options.test_type.as_deref().map(|name| match Scenario::find(name) {
        Some(scenario) => scenario,
        None => {
            let names: Vec<String> = TABLE.iter().map(|s| format!("\n  {}", s.name)).collect();
            say(format!("--test_type {name:?}: no such scenario; the eight are{}", names.concat()));
            exit(command_line::EXIT_USAGE)
        }
    });
    if chosen.is_none() && options.report.is_some() {
        usage_error("--report: of which scenario? (--test_type)");
    }
    let plan = plan(options, f);
    let interrupts = Interrupts::watch().unwrap_or_else(|error| {
        say(format!("cannot watch for signals: {error}"));
        exit(command_line::EXIT_FAILED)
    });
    exit(match chosen {
        Some(scenario) => driver::run_one(&plan, scenario, &interrupts),
        None => driver::run_all(&plan, &interrupts),
    })
}

fn plan(options: Options, f: Option<usize>) -> Plan {
    let config = Config::load(&options.config_path, f, None);
    let config = config.unwrap_or_else(|error| usage_error(error));
    if let Some(what) = driver::foreign_address(&config, &options.config_path) {
        usage_error(what);
    }
    // The replicas would say so too, each by itself.
    Trust::of_options(options.key_file.as_deref(), options.insecure)
        .and_then(|trust| trust.replica_keys(&config))
        .unwrap_or_else(|refused| usage_error(refused));
    let passed = [
        ("durability", options.durability.map(|durability| durability.0)),
        ("threads", options.threads.map(|layout| layout.0)),
        ("heartbeat_ms", options.heartbeat_ms.map(|ms| ms.to_string())),
        ("election_ms", options.election_ms.map(|span| span.0)),
    ];
    let given = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?));
    Plan {
        called: called("driver"),
        config,
        config_path: options.config_path,
        log_dir: options.log_dir,
        skip_slot: options.skip_slot.map(|slot| slot.0),
        msg_loss: options.msg_loss,
        rand_seed: options.rand_seed.0,
        clients: options.clients.map(|clients| clients.0 as usize),
        messages: options.messages.map(|messages| messages.0),
        pause_ms: options.pause_ms.map(|pause| pause.0),
        deadline: Duration::from_secs(options.deadline_s.0),
        json: options.json,
        no_offload: options.no_offload,
        key_file: options.key_file,
        insecure: options.insecure,
        trace: options.trace || options.report.is_some(),
        report: options.report,
        replica_options: passed.into_iter().filter_map(given).collect(),
    }
}
