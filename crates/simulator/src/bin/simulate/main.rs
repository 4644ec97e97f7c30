//! Simulates whole clusters on virtual time, each from a seed.

mod args;

use ::report::{Axis, Heading};
use args::{Args, Cut, GROUPS, command, shape};
use command_line::progress::{Progress, left};
use command_line::{EXIT_FAILED, parse_args, say, usage_error};
use serde_json::{Value, json};
use simulator::checker::Violation;
use simulator::reach::{Reach, Situation};
use simulator::{Options, PowerCut, Report, Switches};
use std::cell::Cell;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

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
    let Report { seed, n, events, lines, leader_changes, ballot, hash, cost, .. } = report;
    let measured = match report.place {
        None => String::new(),
        Some(_) => {
            let next = cost.first_us.map_or("-".into(), |us| format!("{:.1}", us as f64 / 1e6));
            format!(
                " campaigns {} causes {} next_s {next} last_s {:.1} sent_per_byte {:.1}",
                cost.campaigns(),
                cost.causes,
                cost.last_us as f64 / 1e6,
                report.bytes_factor
            )
        }
    };
    format!(
        "seed {seed} replicas {n} events {events} lines {lines} leader_changes {leader_changes} \
         ballot {ballot}{measured} hash {hash:016x} {verdict}"
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
        place: args.world.0,
        switches: Switches {
            network: !args.no_network,
            partitions: !args.no_partitions,
            crashes: !args.no_crashes,
            pauses: !args.no_pauses,
            disk: !args.no_disk,
            clients: !args.no_clients,
            skip_slot: !args.no_skip_slot,
            inboxes: !args.no_inboxes,
            strangers: !args.no_strangers,
        },
        safety_us: args.secs.0 * 1_000_000,
        partition: args.partition.as_ref().map(|kind| kind.0),
        sectors_percent: args.sectors.0 as u8,
        wire_percent: args.wire.0 as u8,
        power_cut: None,
        trace: args.trace,
        record: args.report.is_some(),
    };
    if args.world.0.is_some() {
        let one_at_most = [args.partition.is_some(), args.power_cuts, args.power_cut.is_some()];
        if one_at_most.contains(&true) {
            usage_error("--world: goes with neither --partition nor power cuts");
        }
    }
    if args.partition.is_some() && (args.power_cuts || args.power_cut.is_some()) {
        usage_error("--power_cuts: a run with --partition has no disks");
    }
    if args.report.is_some() && (args.seeds.is_some() || args.power_cuts) {
        usage_error(
            "--report: shows one run: give it one --seed, without --seeds and --power_cuts",
        );
    }
    if args.json && args.trace {
        usage_error("--json: prints one object: not with --trace, which prints every event");
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
            if args.json {
                print(&object(&args, &report, "").to_string());
            } else {
                print(&line(&report));
            }
            if report.place.is_some() && !args.json {
                let (needed, all) = (report.cost.needed_bytes, report.cost.sent_bytes);
                print(&format!("bytes that had to be sent {needed}, sent {all}, by kind:"));
                let (probes, paths) = (report.cost.probe_bytes, report.cost.paths);
                print(&format!("probes {probes} bytes for {paths} paths"));
                print(report.kinds.to_string().trim_end());
            }
            if report.violation.is_some() && !args.json {
                print(&format!("repeat: {} --trace", command(&args, args.seed.0)));
            }
            let written = args.report.as_ref().is_none_or(|file| write_page(&args, &report, file));
            report.violation.is_some() || !written
        }
        Some(seeds) => sweep(&args, options, seeds.0),
    };
    exit(if failed { EXIT_FAILED } else { 0 });
}

/// Writes the page of a run. Returns whether that succeeded.
fn write_page(args: &Args, report: &Report, file: &Path) -> bool {
    let (history, is_cut) = report.recorded.as_ref().expect("the run was recorded");
    let heading = Heading {
        title: command(args, report.seed),
        verdict: match &report.violation {
            None => "No invariant was broken, and every line completed.".into(),
            Some(Violation { what, slot: None }) => what.clone(),
            Some(Violation { what, slot: Some(slot) }) => format!("{what} (slot {slot})"),
        },
        is_good: report.violation.is_none(),
        command: format!("{} --trace", command(args, report.seed)),
        is_cut: *is_cut,
        axis: Axis::Time,
    };
    match fs::write(file, ::report::page(&heading, history)) {
        Ok(()) => {
            if !args.json {
                print(&format!("page: {}", file.display()));
            }
            true
        }
        Err(error) => {
            say(format!("simulate: --report {}: {error}", file.display()));
            false
        }
    }
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
    let (mut progress, mut failures) = (Progress::new(), Vec::new());
    for seed in (args.seed.0..).take(seeds as usize) {
        let whole = run(seed, options.with_power_cut(None));
        let cuts: Vec<PowerCut> = whole.power_cuts().collect();
        let cut = |at: u64| {
            let cut = cuts[at as usize];
            (cut, run(seed, options.with_power_cut(Some(cut))))
        };
        let (failed, since, mut done) = (total.failed, Instant::now(), 0);
        run_all(args, cuts.len() as u64, cut, |(cut, mut report)| {
            if report.violation.is_none() && report.reach.of(Situation::PowerCut) != 1 {
                let what = "the power was not cut once".into();
                report.violation = Some(Violation { what, slot: None });
            }
            if report.violation.is_some() {
                let PowerCut { replica, call } = cut;
                let again = format!(" --power_cut {replica}:{call}");
                fails(args, &report, &again, &mut progress, &mut failures);
            }
            total.add(&report);
            done += 1;
            let (all, elapsed) = (cuts.len() as u64, since.elapsed());
            progress.show(|| {
                let rate = done as f64 / elapsed.as_secs_f64();
                let left = left(done, all, elapsed);
                format!("seed {seed}: {done} of {all} power cuts, {rate:.0} a second, {left}")
            });
        });
        progress.clear();
        if !args.json {
            print(&format!(
                "seed {seed} replicas {} lines {} cuts {} failed {}",
                whole.n,
                whole.lines,
                cuts.len(),
                total.failed - failed
            ));
        }
    }
    if args.json {
        print(&total.object(seeds, began, failures).to_string());
        return total.failed > 0;
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
    let (mut progress, mut failures) = (Progress::new(), Vec::new());
    let mut total = Total::default();
    run_all(
        args,
        seeds,
        |at| run(args.seed.0.wrapping_add(at), options),
        |report| {
            if report.violation.is_some() {
                fails(args, &report, "", &mut progress, &mut failures);
            }
            total.add(&report);
            progress.show(|| {
                let left = left(total.seeds, seeds, began.elapsed());
                let (done, failed, rate) = (total.seeds, total.failed, total.rate(began));
                format!("{done} of {seeds} seeds, {failed} failed, {rate}, {left}")
            });
        },
    );
    progress.clear();
    let missing = total.reach.missing(args.world.0);
    let lacks = args.require_reach && !missing.is_empty();
    if args.json {
        let mut object = total.object(seeds, began, failures);
        let names: Vec<&str> = missing.iter().map(|what| what.name()).collect();
        object["never_met"] = json!(names);
        print(&object.to_string());
        return total.failed > 0 || lacks;
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
    if lacks {
        let names: Vec<&str> = missing.iter().map(|what| what.name()).collect();
        say(format!("never met: {}", names.join(", ")));
        return true;
    }
    total.failed > 0
}

/// A run has failed. `again`: further options that repeat it.
fn fails(
    args: &Args,
    report: &Report,
    again: &str,
    progress: &mut Progress,
    failures: &mut Vec<Value>,
) {
    if args.json {
        return failures.push(object(args, report, again));
    }
    progress.clear();
    print(&line(report));
    print(&format!("  repeat: {}{again} --trace", command(args, report.seed)));
}

/// A run for programs: one object. `again`: further options that repeat it.
fn object(args: &Args, report: &Report, again: &str) -> Value {
    let Report { seed, n, events, lines, leader_changes, ballot, hash, violation, .. } = report;
    json!({
        "seed": seed,
        "replicas": n,
        "events": events,
        "lines": lines,
        "leader_changes": leader_changes,
        "ballot": ballot,
        "hash": format!("{hash:016x}"),
        "verdict": if violation.is_some() { "fail" } else { "ok" },
        "why": violation.as_ref().map(|it| &it.what),
        "slot": violation.as_ref().and_then(|it| it.slot).map(|slot| slot.0),
        "repeat": format!("{}{again} --trace", command(args, report.seed)),
    })
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

    /// The summary for programs.
    fn object(&self, seeds: u64, began: Instant, failures: Vec<Value>) -> Value {
        let met = |what: &Situation| (what.name().to_owned(), json!(self.reach.of(*what)));
        json!({
            "seeds": seeds,
            "runs": self.seeds,
            "failed": self.failed,
            "events": self.events,
            "virtual_s": self.virtual_us as f64 / 1e6,
            "lines": self.lines,
            "longest_gap_s": self.gap_us as f64 / 1e6,
            "elapsed_s": began.elapsed().as_secs_f64(),
            "met": Value::Object(Situation::ALL.iter().map(met).collect()),
            "failures": failures,
        })
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
