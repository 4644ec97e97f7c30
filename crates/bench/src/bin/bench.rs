//! Throughput, latency and CPU per line of a real cluster on this host.

use argh::FromArgs;
use bench::{Mode, Plan};
use driver::Interrupts;
use multipaxos::config::{
    Bounded, EXIT_FAILED, F_MAX, Percent, one_line, parse_args, say, usage_error,
};
use multipaxos::net::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::process::end_on_panic;
use multipaxos::storage::Durability;
use multipaxos::types::LINE_BYTES_MAX;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::exit;
use std::str::FromStr;

/// Start a cluster on this host, drive it, judge its chat logs to the letter, and
/// print how fast it was. Exit code 0: the logs are clean; 1: not so.
#[derive(FromArgs)]
struct Options {
    /// failures tolerated: 2f+1 replicas are started (default 1)
    #[argh(option, default = "Bounded(1)")]
    f: Bounded<0, { F_MAX as u64 }>,
    /// sessions, one line in flight each (default 64)
    #[argh(option)]
    outstanding: Option<Bounded<1, 65_536>>,
    /// sockets that the sessions share (default 1)
    #[argh(option, default = "Bounded(1)")]
    connections: Bounded<1, 65_536>,
    /// bytes of a line (default 64)
    #[argh(option, default = "Bounded(64)")]
    size: Bounded<0, { LINE_BYTES_MAX as u64 }>,
    /// seconds under load before anything counts (default 1)
    #[argh(option, default = "Seconds(1.0)")]
    warm: Seconds,
    /// seconds that count (default 4)
    #[argh(option, default = "Seconds(4.0)")]
    secs: Seconds,
    /// stop after so many lines, all of which count, instead of after seconds
    #[argh(option)]
    lines: Option<Bounded<1, 10_000_000_000>>,
    /// lines a second, due at fixed times from which latency counts (default: each
    /// session's next line follows its last)
    #[argh(option)]
    rate: Option<Bounded<1, 100_000_000>>,
    /// lines after which a client opens its next session (default: never)
    #[argh(option)]
    session_lines: Option<Bounded<1, 1_000_000_000>>,
    /// what replicas wait for before they acknowledge: sync, os or none (default sync)
    #[argh(option)]
    durability: Option<Durability>,
    /// percent of datagrams dropped at each sender, 0 to 100 (default 0)
    #[argh(option, default = "Percent::NONE")]
    msg_loss: Percent,
    /// the longest datagram, in bytes (default 8192: the loopback carries it)
    #[argh(option, default = "Bounded(8192)")]
    datagram_max: Bounded<{ DATAGRAM_BYTES_MIN as u64 }, { DATAGRAM_BYTES_MAX as u64 }>,
    /// seeds losses and timeouts (default 591)
    #[argh(option, default = "Bounded(591)")]
    rand_seed: Bounded<0, { u64::MAX }>,
    /// let the system move processes between all cores (default: each replica and the
    /// client keep to a share of them, as if on a host of their own)
    #[argh(switch)]
    unpinned: bool,
    /// where the replicas' files go, and stay (default: a temporary folder here)
    #[argh(option)]
    log_dir: Option<PathBuf>,
    /// kill one replica under load, let it miss so many lines, and let it come back
    #[argh(option)]
    absent: Option<Bounded<20, 10_000_000_000>>,
    /// kill all replicas after a hundredth of the lines and after all of them, and
    /// time their return (default 1000000 lines)
    #[argh(switch)]
    restart: bool,
    /// measure 1, 2, 4 to 1024 sessions, in memory and synced, and draw latency against
    /// throughput into this file, as SVG
    #[argh(option)]
    plot: Option<PathBuf>,
    /// print one JSON object
    #[argh(switch)]
    json: bool,
}

/// Seconds, fractions allowed.
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
    let options: Options = parse_args("bench", &["json", "restart", "unpinned"]);
    end_on_panic();
    let plan = plan(options);
    let interrupts = Interrupts::watch().unwrap_or_else(|error| {
        say(format!("cannot watch for signals: {error}"));
        exit(EXIT_FAILED)
    });
    // The cluster has ended, and its folder is gone, when this returns.
    match bench::run(&plan, &interrupts) {
        Ok(text) => {
            // Whoever closed stdout does not want to read it.
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
        msg_loss: options.msg_loss,
        datagram_max: options.datagram_max.0 as usize,
        rand_seed: options.rand_seed.0,
        rate: options.rate.map(|rate| rate.0),
        session_lines: options.session_lines.map(|lines| lines.0),
        lines: options.lines.map(|lines| lines.0),
        unpinned: options.unpinned,
        log_dir: options.log_dir,
        json: options.json,
    }
}
