//! Measures throughput, latency and CPU per line of a real cluster on this host.

use argh::{ArgsInfo, FromArgs};
use bench::{Mode, Plan};
use command_line::ending::end_on_panic;
use command_line::help::Group;
use command_line::{Bounded, EXIT_FAILED, Percent, one_line, parse_args, say, usage_error};
use driver::Interrupts;
use multipaxos::config::F_MAX;
use multipaxos::net::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::layout::Layout;
use multipaxos::storage::Durability;
use multipaxos::types::LINE_BYTES_MAX;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::exit;
use std::str::FromStr;

/// Measures a real cluster: starts 2f+1 replicas on free ports of this host, sends lines from
/// many sessions, prints how many a second are complete and how long each took, and checks
/// the chat logs to the letter.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "256 sessions in memory, as one JSON object:\n  \
        {command_name} --outstanding 256 --durability none --json",
    example = "Latency at a fixed rate, each session on a socket of its own:\n  \
        {command_name} --outstanding 16 --connections 16 --rate 2000",
    example = "A replica that misses a million lines and comes back:\n  \
        {command_name} --absent 1000000",
    error_code(0, "the chat logs are clean"),
    error_code(1, "they are not, or the run broke off"),
    error_code(64, "bad usage")
)]
struct Options {
    /// how many replicas may fail; 2f+1 are started (default 1)
    #[argh(option, arg_name = "N", default = "Bounded(1)")]
    f: Bounded<0, { F_MAX as u64 }>,
    /// when a replica may send a vote: sync, once it is on the disk; os, once the operating
    /// system has it; none, at once (default sync)
    #[argh(option, arg_name = "MODE")]
    durability: Option<Durability>,
    /// on which threads a replica runs its roles: per-role, each on its own; one, in turn on the
    /// network thread (default per-role)
    #[argh(option, arg_name = "LAYOUT", default = "Layout::default()")]
    threads: Layout,
    /// percent of its datagrams that each process drops instead of sending them, 0 to 100
    /// (default 0)
    #[argh(option, arg_name = "PERCENT", default = "Percent::NONE")]
    msg_loss: Percent,
    /// the longest datagram to send (default 8192, which the loopback carries)
    #[argh(option, arg_name = "BYTES", default = "Bounded(8192)")]
    datagram_max: Bounded<{ DATAGRAM_BYTES_MIN as u64 }, { DATAGRAM_BYTES_MAX as u64 }>,
    /// send and receive one datagram a system call, in all processes
    #[argh(switch)]
    no_offload: bool,
    /// the key of the cluster, for all processes (default: none)
    #[argh(option, arg_name = "FILE")]
    key_file: Option<PathBuf>,
    /// let the replicas write down what each role gets and does (see their --trace)
    #[argh(switch)]
    trace: bool,
    /// seeds the losses and the timeouts (default 591)
    #[argh(option, arg_name = "N", default = "Bounded(591)")]
    rand_seed: Bounded<0, { u64::MAX }>,
    /// let the operating system move processes between all cores; otherwise each replica and
    /// the client keep to a share of the cores, as if on a host of their own
    #[argh(switch)]
    unpinned: bool,
    /// the folder for the replicas' files, which stay (default: a temporary folder below the
    /// current one, removed at the end)
    #[argh(option, arg_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// how many sessions send; each has one line in flight (default 64)
    #[argh(option, arg_name = "N")]
    outstanding: Option<Bounded<1, 65_536>>,
    /// how many sockets the sessions share (default 1)
    #[argh(option, arg_name = "N", default = "Bounded(1)")]
    connections: Bounded<1, 65_536>,
    /// how long a line is (default 64)
    #[argh(option, arg_name = "BYTES", default = "Bounded(64)")]
    size: Bounded<0, { LINE_BYTES_MAX as u64 }>,
    /// how many lines a second are due, at fixed times; latency counts from these times
    /// (default: each session sends its next line when the last is complete)
    #[argh(option, arg_name = "LINES")]
    rate: Option<Bounded<1, 100_000_000>>,
    /// how many lines a client sends before it opens its next session (default: all of
    /// them)
    #[argh(option, arg_name = "LINES")]
    session_lines: Option<Bounded<1, 1_000_000_000>>,
    /// how long the load runs before anything counts (default 1)
    #[argh(option, arg_name = "SECONDS", default = "Seconds(1.0)")]
    warm: Seconds,
    /// how long the load runs then (default 4)
    #[argh(option, arg_name = "SECONDS", default = "Seconds(4.0)")]
    secs: Seconds,
    /// stop after this many lines, all of which count, instead of after --warm and --secs
    /// (default: none; with --restart 1000000)
    #[argh(option, arg_name = "LINES")]
    lines: Option<Bounded<1, 10_000_000_000>>,
    /// kill one replica under load, start it again when it has missed this many lines, and
    /// measure how it catches up (default: none is killed)
    #[argh(option, arg_name = "LINES")]
    absent: Option<Bounded<20, 10_000_000_000>>,
    /// kill all replicas after a hundredth of --lines and after all of them, and measure how
    /// long they take to serve again
    #[argh(switch)]
    restart: bool,
    /// measure 1, 2, 4 and so on to 1024 sessions, in memory and synced, and draw latency against
    /// throughput into this SVG file (default: measure once)
    #[argh(option, arg_name = "FILE")]
    plot: Option<PathBuf>,
    /// print one JSON object instead of a table
    #[argh(switch)]
    json: bool,
}

const GROUPS: &[Group] = &[
    ("The cluster", "f"),
    ("The load", "outstanding"),
    ("How long", "warm"),
    ("Instead of a steady load", "absent"),
    ("Output", "json"),
];

/// A number of seconds, which may have a fraction.
struct Seconds(f64);

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(Seconds(seconds)),
            _ => Err("not a number of seconds from 0 to 86400"),
        }
    }
}

fn main() {
    let options: Options = parse_args("bench", GROUPS);
    end_on_panic();
    let plan = plan(options);
    let interrupts = Interrupts::watch().unwrap_or_else(|error| {
        say(format!("cannot watch for signals: {error}"));
        exit(EXIT_FAILED)
    });
    // When this returns, the cluster has ended and its folder is gone.
    match bench::run(&plan, &interrupts) {
        Ok(text) => {
            // If the reader has closed stdout, nobody wants the text.
            let _ = writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
        }
        Err(what) => {
            say(one_line(&format!("bench: {what}")));
            exit(EXIT_FAILED)
        }
    }
}

fn plan(options: Options) -> Plan {
    let outstanding = options.outstanding.map_or(64, |n| n.0 as usize);
    let durability = options.durability.unwrap_or(Durability::Sync);
    let connections = options.connections.0 as usize;
    if connections > outstanding {
        usage_error(format!("--connections {connections}: more than --outstanding {outstanding}"));
    }
    let mode = match options.absent {
        Some(_) if options.restart => usage_error("--restart: not together with --absent"),
        Some(_) if durability == Durability::None => {
            usage_error("--absent: needs a replica that comes back, not --durability none")
        }
        Some(_) if options.f.0 == 0 => usage_error("--absent: needs --f 1 or more"),
        Some(lines) => Mode::Absent(lines.0),
        None if options.restart && durability == Durability::None => {
            usage_error("--restart: needs replicas that come back, not --durability none")
        }
        None if options.restart => Mode::Restart,
        None => Mode::Steady,
    };
    let mode = match options.plot {
        Some(_) if mode != Mode::Steady => usage_error("--plot: not with --absent or --restart"),
        Some(_) if options.outstanding.is_some() || options.durability.is_some() => {
            usage_error("--plot: measures every --outstanding and --durability it shows")
        }
        Some(_) if connections > 1 || options.rate.is_some() || options.lines.is_some() => {
            usage_error("--plot: not with --connections, --rate or --lines")
        }
        Some(file) => Mode::Plot(file),
        None => mode,
    };
    if options.json && mode != Mode::Steady {
        usage_error("--json: not with --absent, --restart or --plot");
    }
    if mode != Mode::Restart && options.lines.is_none() && options.secs.0 <= 0.0 {
        usage_error("--secs 0: nothing would count");
    }
    Plan {
        mode,
        f: options.f.0 as usize,
        outstanding,
        connections,
        size: options.size.0 as usize,
        warm_s: options.warm.0,
        secs: options.secs.0,
        durability,
        layout: options.threads,
        msg_loss: options.msg_loss,
        datagram_max: options.datagram_max.0 as usize,
        offload: !options.no_offload,
        key_file: options.key_file,
        trace: options.trace,
        rand_seed: options.rand_seed.0,
        rate: options.rate.map(|rate| rate.0),
        session_lines: options.session_lines.map(|lines| lines.0),
        lines: options.lines.map(|lines| lines.0),
        unpinned: options.unpinned,
        log_dir: options.log_dir,
        json: options.json,
    }
}
