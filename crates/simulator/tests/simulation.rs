//! Simulated clusters: a sweep of seeds, the partial partitions, and repeatability.

use simulator::reach::{Reach, Situation};
use simulator::{Options, Partition, PowerCut, Report, run};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The seeds that every test run sweeps. They take about a minute on two cores, with assertions.
const SEEDS: u64 = 10_000;

/// The seeds for each kind of partial partition.
const PARTITION_SEEDS: u64 = 500;

/// The longest suspicion time of a simulated replica.
const ELECTION_TIMEOUT_US: u64 = 600_000;

/// Runs seeds 1 to `seeds` on all cores.
fn sweep(seeds: u64, options: Options) -> Vec<Report> {
    let next = AtomicU64::new(1);
    let reports = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let report = run(seed, options);
                    reports.lock().expect("no thread panics").push(report);
                }
            });
        }
    });
    reports.into_inner().expect("no thread panics")
}

fn failures<'a>(reports: &'a [Report], more: &'a str) -> Vec<String> {
    let failed = reports.iter().filter_map(|report| {
        let violation = report.violation.as_ref()?;
        let seed = report.seed;
        Some(format!("{} — repeat: simulate --seed {seed}{more} --trace", violation.what))
    });
    failed.take(10).collect()
}

#[test]
fn no_invariant_breaks_and_everything_worth_meeting_is_met() {
    let reports = sweep(SEEDS, Options::default());
    let failed = failures(&reports, "");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let mut reach = Reach::default();
    reports.iter().for_each(|report| reach.merge(&report.reach));
    assert_eq!(reach.missing(None), [], "never met in {SEEDS} seeds");
}

#[test]
fn a_partial_partition_costs_one_election() {
    for (partition, name) in [
        (Partition::Hub, "quorum_loss"),
        (Partition::Constrained, "constrained"),
        (Partition::Chained, "chained"),
    ] {
        let options =
            Options { replicas: Some(5), partition: Some(partition), ..Options::default() };
        let reports = sweep(PARTITION_SEEDS, options);
        let more = format!(" --replicas 5 --partition {name}");
        let failed = failures(&reports, &more);
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        for report in &reports {
            let repeat = format!("repeat: simulate --seed {}{more} --trace", report.seed);
            assert!(report.gap_us < 4 * ELECTION_TIMEOUT_US, "{} µs; {repeat}", report.gap_us);
            assert!(report.ballot_rise <= 5, "rose by {}; {repeat}", report.ballot_rise);
        }
    }
}

/// For these seeds, the power of each replica is cut at every call of its disk.
const POWER_CUT_SEEDS: [u64; 2] = [3, 8];

#[test]
fn the_power_may_go_at_any_call_of_any_disk() {
    for seed in POWER_CUT_SEEDS {
        let mut cuts = 0;
        let whole = run(seed, Options::default().with_power_cut(None));
        for cut in whole.power_cuts() {
            let PowerCut { replica, call } = cut;
            let again = format!("repeat: simulate --seed {seed} --power_cut {replica}:{call}");
            let report = run(seed, Options::default().with_power_cut(Some(cut)));
            assert!(report.violation.is_none(), "{:?}; {again} --trace", report.violation);
            assert_eq!(report.reach.of(Situation::PowerCut), 1, "{again}");
            cuts += 1;
        }
        assert!(cuts > 300, "seed {seed} has {cuts} calls");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..50 {
        let (one, two) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!((one.hash, one.events, one.lines), (two.hash, two.events, two.lines));
    }
    let hashes: std::collections::BTreeSet<u64> =
        (1..50).map(|seed| run(seed, Options::default()).hash).collect();
    assert_eq!(hashes.len(), 49, "different seeds are different runs");
}

fn simulate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(args).output().expect("it starts")
}

#[test]
fn help_names_the_values_of_options_and_ends_with_examples() {
    // In a debug build, every program checks the rest of its help itself.
    let out = simulate(&["--help"]);
    let help = String::from_utf8_lossy(&out.stdout);
    assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]), "{help}");
    for option in ["--seeds N", "--partition KIND", "--sectors PERCENT", "--no_network"] {
        assert!(help.contains(&format!("\n  {option}  ")), "{option} is not in {help}");
    }
    assert!(help.contains("\nExamples:\n") && help.contains("simulate --seeds 10000\n"), "{help}");
}

#[test]
fn options_that_make_no_sense_are_refused_in_one_line() {
    for (args, line) in [
        (&["--sed", "1"][..], "--sed: no such option, did you mean --seed? (see --help)"),
        (&["--no_crash"], "--no_crash: no such option, did you mean --no_crashes? (see --help)"),
        (&["--trace=yes"], "--trace: takes no value"),
        (
            &["--partition", "wall"],
            "--partition wall: not one of split, isolate, one_way, flap, quorum_loss, \
             constrained, chained",
        ),
        (
            &["--power_cuts", "--partition", "split"],
            "--power_cuts: a run with --partition has no disks",
        ),
        (
            &["--report", "run.html", "--seeds", "2"],
            "--report: shows one run: give it one --seed, without --seeds and --power_cuts",
        ),
        (
            &["--power_cut", "0:x"],
            "--power_cut 0:x: not a replica and a call of its disk, like 0:17",
        ),
    ] {
        let out = simulate(args);
        let said = (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned());
        assert_eq!(said, (Some(64), format!("{line}\n")), "{args:?}");
    }
}

#[test]
fn a_trace_is_in_the_words_of_the_scripts_and_changes_nothing() {
    let args = ["--seed", "46", "--replicas", "3"];
    let plain = simulate(&args).stdout;
    let traced = simulate(&[&args[..], &["--trace"]].concat()).stdout;
    let (plain, traced) = (String::from_utf8_lossy(&plain), String::from_utf8_lossy(&traced));
    assert!(traced.ends_with(&*plain), "{plain}");
    for words in [
        "a8 1->2 accept ballot 1: 0:\"0:1\" 1:\"1:1\"\n",
        " e4 is lost: the link is cut\n",
        " 1 leads with ballot 1\n",
        " 2 saves at ballot 1: 0:\"0:1\" 1:\"1:1\"\n",
        " v1 arrives\n",
        " 1 applies slot 0: \"0:1\"\n",
    ] {
        assert!(traced.contains(words), "{words}");
    }
    for bare in ["Slot(", "Ballot(", "ReplicaId("] {
        assert!(!traced.contains(bare), "{bare}");
    }
}

#[test]
fn a_seed_is_one_line_and_the_line_is_always_the_same() {
    let lines = [(); 2].map(|()| simulate(&["--seed", "3", "--replicas", "3"]).stdout);
    let line = String::from_utf8_lossy(&lines[0]);
    assert_eq!(lines[0], lines[1]);
    assert!(line.starts_with("seed 3 replicas 3 events ") && line.ends_with(" ok\n"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

#[test]
fn json_is_one_object_for_a_run_and_for_a_sweep() {
    let read = |args: &[&str]| -> serde_json::Value {
        let ran = simulate(args);
        assert_eq!(
            ran.status.code(),
            Some(0),
            "{args:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "no progress in a pipe");
        serde_json::from_slice(&ran.stdout).expect("one object")
    };
    let one = read(&["--seed", "5", "--json"]);
    assert_eq!((&one["seed"], &one["verdict"]), (&5.into(), &"ok".into()), "{one}");
    assert_eq!(one["repeat"], "simulate --seed 5 --trace");
    let sweep = read(&["--seed", "5", "--seeds", "4", "--json"]);
    assert_eq!((&sweep["runs"], &sweep["failed"]), (&4.into(), &0.into()), "{sweep}");
    assert!(sweep["met"].as_object().is_some_and(|met| met.len() > 10), "{sweep}");
    assert!(sweep["never_met"].as_array().is_some_and(|names| !names.is_empty()), "{sweep}");
    let ran = simulate(&["--json", "--trace"]);
    assert_eq!(ran.status.code(), Some(64), "{}", String::from_utf8_lossy(&ran.stderr));
}
