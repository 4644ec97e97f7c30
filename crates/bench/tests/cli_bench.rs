//! The program `bench`: small runs of real clusters, and the options that it refuses.

#[path = "../../../tests/processes/built.rs"]
mod built;

use std::path::Path;
use std::process::{Command, Output};

fn bench(dir: &Path, args: &[&str]) -> Output {
    let bench = env!("CARGO_BIN_EXE_bench");
    built::assert_fresh_beside(bench, "replica");
    Command::new(bench).args(args).current_dir(dir).output().unwrap()
}

#[test]
fn a_run_of_so_many_lines_is_judged_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--lines", "3000", "--outstanding", "8", "--connections=3", "--durability=os"];
    let out = bench(dir.path(), &[&args[..], &["--json"]].concat());
    let (stdout, stderr) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    for field in [
        "\"ops_per_s\": ",
        "\"p50_us\": ",
        "\"p99_us\": ",
        "\"p999_us\": ",
        "\"max_us\": ",
        "\"cpu_us_per_op\": ",
        "\"client_cpu_us_per_op\": ",
        "\"switches_per_op\": ",
        "\"threads_per_replica\": ",
        "\"rss_kib\": ",
        "\"lines\": 3000,",
        "\"log_lines\": 3000,",
        "\"outstanding\": 8,",
    ] {
        assert!(stdout.contains(field), "{field} is not in {stdout}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "its folder is removed");
}

#[test]
fn a_replica_that_was_away_comes_back_and_so_do_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["--absent", "5000", "--secs", "0.3", "--warm", "0.2", "--log_dir", "kept"][..],
        &["--restart", "--lines", "3000"],
    ] {
        let out = bench(dir.path(), &[args, &["--durability", "os"]].concat());
        let stdout = String::from_utf8_lossy(&out.stdout);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{stdout}{stderr}");
        assert!(stdout.contains("logs clean: "), "{stdout}");
        assert!(!stdout.contains("NOT caught up"), "{stdout}");
    }
    assert!(dir.path().join("kept/bench/learner2.txt").is_file(), "a folder that is given stays");
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for (args, line) in [
        (&["--connections", "9", "--outstanding", "8"][..], "--connections 9: more than"),
        (&["--restart", "--durability", "none"], "--restart: needs replicas that come back"),
        (&["--secs", "x"], "--secs x: not a number of seconds"),
        (&["--plot", "x.svg", "--outstanding", "1"], "--plot: measures every --outstanding"),
        (&["--plot", "x.svg", "--restart"], "--plot: not with --absent or --restart"),
    ] {
        let out = bench(dir.path(), args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(64), "{stderr}");
        assert!(stderr.starts_with(line) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn a_plot_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let out = bench(dir.path(), &["--plot", "nowhere/bench.svg"]);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr, "bench: cannot write nowhere/bench.svg: not a file in a folder\n");
}

#[test]
fn help_names_the_values_of_options_and_ends_with_examples() {
    // In a debug build, every program checks the rest of its help itself.
    let out = bench(Path::new("."), &["--help"]);
    let help = String::from_utf8_lossy(&out.stdout);
    assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]), "{help}");
    for option in ["--outstanding N", "--size BYTES", "--rate LINES", "--secs SECONDS", "--json"] {
        assert!(help.contains(&format!("\n  {option}  ")), "{option} is not in {help}");
    }
    assert!(help.contains("\nExamples:\n") && help.contains("bench --absent 1000000\n"), "{help}");
    let out = bench(Path::new("."), &["--outstandig", "64"]);
    let stderr = String::from_utf8_lossy(&out.stderr);
    let line = "--outstandig: no such option, did you mean --outstanding? (see --help)\n";
    assert_eq!((out.status.code(), stderr.as_ref()), (Some(64), line));
}
