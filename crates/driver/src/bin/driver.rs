//! Starts a cluster and its clients, injects a scenario's fault, judges the chat logs.

use argh::FromArgs;
use driver::{Interrupts, Plan, Scenario, TABLE};
use multipaxos::config::{Bounded, Config, F_MAX, Percent, parse_args, say, usage_error};
use multipaxos::runtime::process::end_on_panic;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::time::Duration;

/// Run a scenario, or all eight: spawn 2f+1 replicas and the clients, inject the
/// fault, compare the chat logs. Exit code 0: every message completed and the logs
/// are clean; 1: not so; 64: bad usage or configuration.
#[derive(FromArgs)]
struct Options {
    /// failures tolerated; the configuration file lists 2f+1 replicas (default 2)
    #[argh(option)]
    f: Option<Bounded<0, { F_MAX as u64 }>>,
    /// the cluster, one "ip port" pair a line (default configs/config.txt)
    #[argh(option, default = "PathBuf::from(\"configs/config.txt\")")]
    config_path: PathBuf,
    /// each scenario's files go to a folder below this one (default logs)
    #[argh(option, default = "PathBuf::from(\"logs\")")]
    log_dir: PathBuf,
    /// the scenario, in any case, with spaces, dashes or underscores (default: all)
    #[argh(option)]
    test_type: Option<String>,
    /// the slot in which the initial primary never proposes
    #[argh(option)]
    skip_slot: Option<Bounded<0, { u64::MAX }>>,
    /// percent of datagrams dropped at each sender, 0 to 100 (default 0)
    #[argh(option, default = "Percent::NONE")]
    msg_loss: Percent,
    /// seeds losses, pauses and timeouts (default 591)
    #[argh(option, default = "Bounded(591)")]
    rand_seed: Bounded<0, { u64::MAX }>,
    /// clients that send at once (default: the scenario's)
    #[argh(option)]
    clients: Option<Bounded<1, 1000>>,
    /// messages of each client (default: the scenario's)
    #[argh(option)]
    messages: Option<Bounded<1, 1_000_000>>,
    /// longest pause of a client between messages (default: the scenario's)
    #[argh(option)]
    pause_ms: Option<Bounded<0, 3_600_000>>,
    /// seconds that a scenario may take, all in all (default 60)
    #[argh(option, default = "Bounded(60)")]
    deadline_s: Bounded<1, 86_400>,
    /// what replicas wait for before they acknowledge: sync, os or none (default: theirs)
    #[argh(option)]
    durability: Option<Durability>,
    /// how often a leader makes itself heard (default: the replicas')
    #[argh(option)]
    heartbeat_ms: Option<Bounded<1, 60_000>>,
    /// how long a silent leader is waited for (default: the replicas')
    #[argh(option)]
    election_ms: Option<Span>,
    /// judge the chat logs in this folder, and run nothing
    #[argh(option)]
    compare: Option<PathBuf>,
}

/// A value that the replicas know; checked here so that a typing error is told once.
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

/// One number or two with a dash between; how they relate, the replicas judge.
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
    let options: Options = parse_args("driver", &[]);
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
            exit(multipaxos::config::EXIT_USAGE)
        }
    });
    let plan = plan(options, f.unwrap_or(2));
    let interrupts = Interrupts::watch().unwrap_or_else(|error| {
        say(format!("cannot watch for signals: {error}"));
        exit(multipaxos::config::EXIT_FAILED)
    });
    exit(match chosen {
        Some(scenario) => driver::run_one(&plan, scenario, &interrupts),
        None => driver::run_all(&plan, &interrupts),
    })
}

fn plan(options: Options, f: usize) -> Plan {
    let config = Config::load(&options.config_path, f).unwrap_or_else(|e| usage_error(e));
    let passed = [
        ("durability", options.durability.map(|durability| durability.0)),
        ("heartbeat_ms", options.heartbeat_ms.map(|ms| ms.to_string())),
        ("election_ms", options.election_ms.map(|span| span.0)),
    ];
    let given = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?));
    Plan {
        called: called(),
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
        replica_options: passed.into_iter().filter_map(given).collect(),
    }
}

/// How this program was called.
fn called() -> String {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name);
    if name.as_os_str().is_empty() { "driver".into() } else { name.display().to_string() }
}
