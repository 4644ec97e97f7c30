//! Simulates whole clusters on virtual time, each from a seed.

use argh::{ArgsInfo, FromArgs};
use command_line::help::Group;
use command_line::{Bounded, EXIT_FAILED, parse_args, say, usage_error};
use multipaxos::types::ReplicaId;
use simulator::checker::Violation;
use simulator::reach::{Reach, Situation};
use simulator::{Options, Partition, PowerCut, Report, Switches};
use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::process::exit;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Simulates a whole cluster: the real roles in one thread, on virtual time, with faults and
/// all else that is random drawn from a seed. After every event it checks the invariants. A
/// seed always gives the same run, and prints the same line.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "Ten thousand seeds, with every fault there is:\n  \
        {command_name} --seeds 10000",
    example = "The events of a single seed:\n  \
        {command_name} --seed 7 --trace",
    example = "Five replicas under one kind of partition:\n  \
        {command_name} --seeds 1000 --replicas 5 --partition quorum_loss",
    example = "The power cut at every call of every disk, for ten seeds:\n  \
        {command_name} --power_cuts --seeds 10",
    error_code(0, "every run is good"),
    error_code(1, "a run failed; the command that repeats it is printed below it"),
    error_code(64, "bad usage")
)]
struct Args {
    /// the seed of the run, or the first seed of several (default 1)
    #[argh(option, arg_name = "N", default = "Bounded(1)")]
    seed: Bounded<0, { u64::MAX }>,
    /// run this many seeds, from --seed on, and print a summary (default: run --seed alone)
    #[argh(option, arg_name = "N")]
    seeds: Option<Bounded<1, { u64::MAX }>>,
    /// how many threads run seeds at once (default: one for each core)
    #[argh(option, arg_name = "N")]
    jobs: Option<Bounded<1, 1024>>,
    /// print every event of the run
    #[argh(switch)]
    trace: bool,
    /// with --seeds: also fail if the runs together never met one of the situations that the
    /// summary counts
    #[argh(switch)]
    require_reach: bool,
    /// how many replicas (default: 3, 5 or 7, drawn from the seed)
    #[argh(option, arg_name = "N")]
    replicas: Option<Bounded<1, 63>>,
    /// the longest time with faults, in virtual seconds; afterwards every line must complete
    /// (default 8)
    #[argh(option, arg_name = "SECONDS", default = "Bounded(8)")]
    secs: Bounded<1, 100_000>,
    /// percent of runs in which replicas write through the real storage code to simulated
    /// disks; the others only note what is durable (default 15)
    #[argh(option, arg_name = "PERCENT", default = "Bounded(15)")]
    sectors: Bounded<0, 100>,
    /// percent of runs in which messages travel as real datagrams, encoded and cut into
    /// fragments (default 10)
    #[argh(option, arg_name = "PERCENT", default = "Bounded(10)")]
    wire: Bounded<0, 100>,
    /// no datagrams lost, repeated or late
    #[argh(switch)]
    no_network: bool,
    /// no links cut between replicas
    #[argh(switch)]
    no_partitions: bool,
    /// no replicas that crash and restart
    #[argh(switch)]
    no_crashes: bool,
    /// no replicas that sleep or are slow, and no clocks that drift
    #[argh(switch)]
    no_pauses: bool,
    /// no disk whose sync fails
    #[argh(switch)]
    no_disk: bool,
    /// no clients that die and return under the same id
    #[argh(switch)]
    no_clients: bool,
    /// no slot that the initial primary skips
    #[argh(switch)]
    no_skip_slot: bool,
    /// no inbox that is full and drops messages
    #[argh(switch)]
    no_inboxes: bool,
    /// a single partition and no other fault: split, isolate, one_way, flap, quorum_loss,
    /// constrained or chained (default: faults of all kinds, drawn from the seed)
    #[argh(option, arg_name = "KIND")]
    partition: Option<PartitionName>,
    /// repeat the run of each seed once for every call that its disks take, and cut the power
    /// of one replica at that call; no other crash or disk fault happens
    #[argh(switch)]
    power_cuts: bool,
    /// do only one of the runs of --power_cuts: the power of this replica is cut at this call
    /// of its disk, as in 0:17 (default: all of them)
    #[argh(option, arg_name = "REPLICA:CALL")]
    power_cut: Option<Cut>,
}

const GROUPS: &[Group] = &[
    ("Runs", "seed"),
    ("The cluster", "replicas"),
    ("Faults that can be left out", "no_network"),
    ("Instead of these faults", "partition"),
];

struct PartitionName(Partition);

impl FromStr for PartitionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(PartitionName(match text.to_ascii_lowercase().replace('-', "_").as_str() {
            "split" => Partition::Split,
            "isolate" => Partition::Isolate,
            "one_way" => Partition::OneWay,
            "flap" => Partition::Flap,
            "quorum_loss" => Partition::Hub,
            "constrained" => Partition::Constrained,
            "chained" => Partition::Chained,
            _ => {
                return Err(
                    "not one of split, isolate, one_way, flap, quorum_loss, constrained, chained"
                        .into(),
                );
            }
        }))
    }
}

struct Cut(PowerCut);

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |text: &str| {
            let (replica, call) = text.split_once(':')?;
            let replica = ReplicaId(replica.parse().ok()?);
            Some(Cut(PowerCut { replica, call: call.parse().ok()? }))
        };
        read(text).ok_or_else(|| "not a replica and a call of its disk, like 0:17".into())
    }
}

thread_local! {
    /// The seed and the power cut that this thread runs.
    static RUNNING: Cell<Option<(u64, Option<PowerCut>)>> = const { Cell::new(None) };
}

fn run(seed: u64, options: Options) -> Report {
    RUNNING.set(Some((seed, options.power_cut)));
    let report = simulator::run(seed, options);
    RUNNING.set(None);
    report
}

/// From now on a panic, which is a broken assertion, prints the command that repeats the run
/// and ends the process.
fn name_the_seed_on_panic(args: &Args) {
    let shape = shape(args);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if let Some((seed, cut)) = RUNNING.get() {
            let cut =
                cut.map(|PowerCut { replica, call }| format!(" --power_cut {replica}:{call}"));
            let cut = cut.unwrap_or_default();
            let _ = writeln!(
                io::stdout(),
                "seed {seed} FAIL: an assertion does not hold, see stderr\n  \
                 repeat: simulate --seed {seed}{shape}{cut} --trace"
            );
        }
        exit(EXIT_FAILED)
    }));
}

/// The command that repeats a failing seed.
fn command(args: &Args, seed: u64) -> String {
    format!("simulate --seed {seed}{}", shape(args))
}

/// The options that change what a seed does.
fn shape(args: &Args) -> String {
    let mut command = String::new();
    if let Some(replicas) = args.replicas {
        command.push_str(&format!(" --replicas {}", replicas.0));
    }
    if args.secs.0 != 8 {
        command.push_str(&format!(" --secs {}", args.secs.0));
    }
    if args.sectors.0 != 15 {
        command.push_str(&format!(" --sectors {}", args.sectors.0));
    }
    if args.wire.0 != 10 {
        command.push_str(&format!(" --wire {}", args.wire.0));
    }
    for (name, on) in [
        ("no_network", args.no_network),
        ("no_partitions", args.no_partitions),
        ("no_crashes", args.no_crashes),
        ("no_pauses", args.no_pauses),
        ("no_disk", args.no_disk),
        ("no_clients", args.no_clients),
        ("no_skip_slot", args.no_skip_slot),
        ("no_inboxes", args.no_inboxes),
    ] {
        if on {
            command.push_str(&format!(" --{name}"));
        }
    }
    if let Some(PartitionName(partition)) = &args.partition {
        let name = simulator::reach::Situation::partition(*partition).name();
        command.push_str(&format!(" --partition {}", name.trim_start_matches("partition_")));
    }
    command
}

/// The options of a run with this power cut. Refuses a call that the run does not have.
fn one_power_cut(seed: u64, options: Options, cut: PowerCut) -> Options {
    let calls = run(seed, options.with_power_cut(None)).disk_calls;
    match calls.get(cut.replica.index()) {
        Some(calls) if cut.call < *calls => options.with_power_cut(Some(cut)),
        Some(calls) => {
            let replica = cut.replica;
            usage_error(format!("--power_cut: the disk of replica {replica} takes {calls} calls"))
        }
        None => usage_error(format!("--power_cut: this run has {} replicas", calls.len())),
    }
}

fn line(report: &Report) -> String {
    let verdict = match &report.violation {
        None => "ok".to_string(),
        Some(violation) => match violation.slot {
            Some(slot) => format!("FAIL at slot {slot}: {}", violation.what),
            None => format!("FAIL: {}", violation.what),
        },
    };
    format!(
        "seed {} replicas {} events {} lines {} leader_changes {} ballot {} hash {:016x} {verdict}",
        report.seed,
        report.n,
        report.events,
        report.lines,
        report.leader_changes,
        report.ballot,
        report.hash
    )
}

fn print(text: &str) {
    if writeln!(io::stdout(), "{text}").is_err() {
        exit(0);
    }
}

fn main() {
    let args: Args = parse_args("simulate", GROUPS);
    let options = Options {
        replicas: args.replicas.map(|replicas| replicas.0 as usize),
        switches: Switches {
            network: !args.no_network,
            partitions: !args.no_partitions,
            crashes: !args.no_crashes,
            pauses: !args.no_pauses,
            disk: !args.no_disk,
            clients: !args.no_clients,
            skip_slot: !args.no_skip_slot,
            inboxes: !args.no_inboxes,
        },
        safety_us: args.secs.0 * 1_000_000,
        partition: args.partition.as_ref().map(|kind| kind.0),
        sectors_percent: args.sectors.0 as u8,
        wire_percent: args.wire.0 as u8,
        power_cut: None,
        trace: args.trace,
    };
    if args.partition.is_some() && (args.power_cuts || args.power_cut.is_some()) {
        usage_error("--power_cuts: a run with --partition has no disks");
    }
    name_the_seed_on_panic(&args);
    if args.power_cuts {
        exit(if cut_power(&args, options) { EXIT_FAILED } else { 0 });
    }
    let failed = match args.seeds {
        None => {
            let options = match &args.power_cut {
                Some(Cut(cut)) => one_power_cut(args.seed.0, options, *cut),
                None => options,
            };
            let report = run(args.seed.0, options);
            print(&line(&report));
            if report.violation.is_some() {
                print(&format!("repeat: {} --trace", command(&args, args.seed.0)));
            }
            report.violation.is_some()
        }
        Some(seeds) => sweep(&args, options, seeds.0),
    };
    exit(if failed { EXIT_FAILED } else { 0 });
}

/// The number of threads that share this many runs.
fn jobs(args: &Args, runs: u64) -> u64 {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    args.jobs.as_ref().map_or(cores, |jobs| jobs.0).min(runs)
}

/// Does `runs` runs on several threads, and gives each report to `each` when it is there.
fn run_all<T: Send>(args: &Args, runs: u64, run: impl Fn(u64) -> T + Sync, each: impl FnMut(T)) {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let (sender, done) = mpsc::sync_channel(1_024);
        for _ in 0..jobs(args, runs) {
            let (sender, next, run) = (sender.clone(), &next, &run);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= runs || sender.send(run(at)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        done.into_iter().for_each(each);
    });
}

/// Cuts the power of each replica at every call of its disk, one cut in each run, for every
/// seed. Returns whether a run failed or missed its cut.
fn cut_power(args: &Args, options: Options) -> bool {
    let seeds = args.seeds.as_ref().map_or(1, |seeds| seeds.0);
    let (began, mut total) = (Instant::now(), Total::default());
    for seed in (args.seed.0..).take(seeds as usize) {
        let whole = run(seed, options.with_power_cut(None));
        let cuts: Vec<PowerCut> = whole.power_cuts().collect();
        let cut = |at: u64| {
            let cut = cuts[at as usize];
            (cut, run(seed, options.with_power_cut(Some(cut))))
        };
        let failed = total.failed;
        run_all(args, cuts.len() as u64, cut, |(cut, mut report)| {
            if report.violation.is_none() && report.reach.of(Situation::PowerCut) != 1 {
                let what = "the power was not cut once".into();
                report.violation = Some(Violation { what, slot: None });
            }
            if report.violation.is_some() {
                let PowerCut { replica, call } = cut;
                print(&line(&report));
                let again = command(args, seed);
                print(&format!("  repeat: {again} --power_cut {replica}:{call} --trace"));
            }
            total.add(&report);
        });
        print(&format!(
            "seed {seed} replicas {} lines {} cuts {} failed {}",
            whole.n,
            whole.lines,
            cuts.len(),
            total.failed - failed
        ));
    }
    print(&format!(
        "{seeds} seeds, {} power cuts, {} failed, {} virtual seconds, {} lines; {:.0} cuts/s",
        total.seeds,
        total.failed,
        total.virtual_us / 1_000_000,
        total.lines,
        total.seeds as f64 / began.elapsed().as_secs_f64()
    ));
    total.failed > 0
}

/// Runs many seeds on several threads. Returns whether any failed.
fn sweep(args: &Args, options: Options, seeds: u64) -> bool {
    let jobs = jobs(args, seeds);
    let began = Instant::now();
    let progress = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut total = Total::default();
    let mut shown = Instant::now();
    run_all(
        args,
        seeds,
        |at| run(args.seed.0.wrapping_add(at), options),
        |report| {
            if report.violation.is_some() {
                print(&line(&report));
                print(&format!("  repeat: {} --trace", command(args, report.seed)));
            }
            total.add(&report);
            if progress && shown.elapsed() >= Duration::from_millis(500) {
                shown = Instant::now();
                let _ = write!(
                    io::stderr(),
                    "\r{} of {seeds} seeds, {} failed, {} ",
                    total.seeds,
                    total.failed,
                    total.rate(began)
                );
            }
        },
    );
    if progress {
        let _ = write!(io::stderr(), "\r{:78}\r", "");
    }
    print(&format!(
        "{} seeds, {} failed, {} events, {} virtual seconds, {} lines; {} on {jobs} threads",
        total.seeds,
        total.failed,
        total.events,
        total.virtual_us / 1_000_000,
        total.lines,
        total.rate(began)
    ));
    if args.partition.is_some() {
        print(&format!(
            "longest time without a completed line: {:.3} s; ballots rose by at most {}",
            total.gap_us as f64 / 1e6,
            total.ballot_rise
        ));
    }
    print(total.reach.to_string().trim_end());
    let missing = total.reach.missing();
    if args.require_reach && !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|what| what.name()).collect();
        say(format!("never met: {}", names.join(", ")));
        return true;
    }
    total.failed > 0
}

#[derive(Default)]
struct Total {
    seeds: u64,
    failed: u64,
    events: u64,
    virtual_us: u64,
    lines: u64,
    gap_us: u64,
    ballot_rise: u64,
    reach: Reach,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.failed += u64::from(report.violation.is_some());
        self.events += report.events;
        self.virtual_us += report.virtual_us;
        self.lines += report.lines;
        self.gap_us = self.gap_us.max(report.gap_us);
        self.ballot_rise = self.ballot_rise.max(report.ballot_rise);
        self.reach.merge(&report.reach);
    }

    fn rate(&self, began: Instant) -> String {
        let seconds = began.elapsed().as_secs_f64().max(1e-3);
        format!(
            "{:.0} seeds/min, {:.0} virtual s/s, {:.2} M events/s",
            self.seeds as f64 * 60.0 / seconds,
            self.virtual_us as f64 / 1e6 / seconds,
            self.events as f64 / 1e6 / seconds
        )
    }
}
