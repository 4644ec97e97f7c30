//! The eight scenarios with real processes on loopback, started as a user starts them. Code
//! of the tests alone judges the chat logs.

#[path = "../../../tests/processes/built.rs"]
mod built;
#[path = "../../../tests/processes/place.rs"]
mod place;

use place::{Guard, Line, Place, parse, text, until};
use std::fs;
use std::process::{Command, Stdio};

/// The driver, with the options that all programs have.
fn driver(place: &Place) -> Command {
    let driver = env!("CARGO_BIN_EXE_driver");
    ["replica", "client"].iter().for_each(|name| built::assert_fresh_beside(driver, name));
    let mut command = place.program(driver);
    command.arg("--log_dir").arg(place.logs()).stdin(Stdio::null());
    command
}

const SCENARIOS: [(&str, usize, usize, &[usize]); 8] = [
    ("single-client-single-req", 1, 1, &[]),
    ("single-client-multiple-req", 1, 4, &[]),
    ("multiple-client-single-req", 5, 1, &[]),
    ("multiple-client-multiple-req", 3, 4, &[]),
    ("proposer-0-fail-before-proposal", 3, 1, &[0]),
    ("proposer-0-and-1-fail-before-proposal", 3, 1, &[0, 1]),
    ("proposer-0-fail-after-proposal", 5, 4, &[0]),
    ("stress-test-0", 5, 100, &[]),
];

#[test]
fn json_is_an_object_for_each_scenario() {
    let place = Place::new(1);
    let mut command = driver(&place);
    let ran = command.args(["--json", "--messages", "1", "--pause_ms", "0"]).output();
    let ran = ran.expect("the driver runs");
    let rows: Vec<serde_json::Value> = text(&ran.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}")))
        .collect();
    let said = text(&ran.stderr);
    assert_eq!((ran.status.code(), rows.len()), (Some(0), SCENARIOS.len()), "{rows:#?} {said}");
    for row in &rows {
        let needs_five = row["scenario"] == "PROPOSER 0 AND 1 FAIL BEFORE PROPOSAL";
        assert_eq!(row["verdict"], if needs_five { "skip" } else { "pass" }, "{row}");
        assert!(needs_five || row["completed"] == row["lines"], "{row}");
    }
}

/// Runs a scenario and judges its chat logs. Returns the log of the live replicas.
#[track_caller]
fn scenario(name: &str, options: &[&str]) -> Vec<Line> {
    let (_, clients, messages, dead) =
        *SCENARIOS.iter().find(|row| row.0 == name).expect("it is in the table");
    let place = Place::new(2);
    let mut command = driver(&place);
    command.args(["--test_type", name, "--pause_ms", "2"]).args(options);
    let ran = command.output().expect("the driver runs");
    let said = format!("{command:?}\n{}{}", text(&ran.stdout), text(&ran.stderr));
    assert_eq!(ran.status.code(), Some(0), "{said}");
    let log = |id: usize| {
        let path = place.logs().join(name).join(format!("learner{id}.txt"));
        fs::read_to_string(path).unwrap_or_default()
    };
    let live: Vec<usize> = (0..place.n()).filter(|id| !dead.contains(id)).collect();
    let first = log(live[0]);
    for id in 0..place.n() {
        let other = log(id);
        if dead.contains(&id) {
            assert!(first.starts_with(&other), "the log of {id} is no prefix\n{said}");
        } else {
            assert_eq!(other, first, "the logs of {id} and {} differ\n{said}", live[0]);
        }
    }
    let lines = parse(&first);
    let mut written: Vec<Vec<(u64, String)>> = vec![Vec::new(); clients];
    for (client, seq, message) in lines.iter().flatten() {
        written[*client as usize].push((*seq, message.clone()));
    }
    for (client, written) in written.iter().enumerate() {
        let expected: Vec<(u64, String)> = (0..messages as u64)
            .map(|number| (number, format!("message {number} of client {client}")))
            .collect();
        assert_eq!(*written, expected, "client {client}\n{said}");
    }
    lines
}

#[test]
fn all_eight_scenarios_leave_clean_logs() {
    for (name, ..) in SCENARIOS {
        for layout in ["per-role", "one"] {
            scenario(name, &["--threads", layout]);
        }
    }
}

#[test]
fn a_scenario_without_a_fault_stands_any_loss() {
    for loss in ["10", "20", "30"] {
        for seed in ["1", "2"] {
            scenario("multiple-client-multiple-req", &["--msg_loss", loss, "--rand_seed", seed]);
        }
    }
}

#[test]
fn a_scenario_with_a_fault_stands_any_loss() {
    for loss in ["10", "20", "30"] {
        for seed in ["1", "2"] {
            scenario("proposer-0-fail-after-proposal", &["--msg_loss", loss, "--rand_seed", seed]);
        }
    }
}

#[test]
fn the_stress_test_stands_a_tenth_of_loss() {
    scenario("stress-test-0", &["--msg_loss", "10"]);
}

#[test]
fn a_skipped_slot_is_a_nop_in_every_log_with_later_traffic_and_without() {
    for (name, slot) in [
        ("single-client-single-req", 0),
        ("single-client-multiple-req", 3),
        ("multiple-client-multiple-req", 4),
        ("stress-test-0", 100),
    ] {
        let lines = scenario(name, &["--skip_slot", &slot.to_string()]);
        assert_eq!(lines.get(slot), Some(&None), "{name}: slot {slot}");
    }
    // A skipped slot above everything that is proposed stays open.
    let lines = scenario("single-client-single-req", &["--skip_slot", "1"]);
    assert_eq!(lines.len(), 1);
}

#[test]
fn a_run_that_loses_everything_ends_at_its_deadline_and_says_why() {
    let place = Place::new(1);
    let mut command = driver(&place);
    command.args(["--test_type", "single-client-single-req"]);
    let ran = command.args(["--msg_loss", "100", "--deadline_s", "1"]).output();
    let ran = ran.expect("the driver runs");
    let said = text(&ran.stdout) + &text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("the deadline of 1 s passed"), "{said}");
    assert!(said.contains("--msg_loss 100 drops every datagram"), "{said}");
}

/// The ids of the processes that have this configuration on their command line.
fn processes_of(place: &Place) -> Vec<u32> {
    let config = place.dir.path().display().to_string();
    let mine = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&config)
    };
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(mine).collect()
}

#[test]
fn a_driver_that_is_killed_leaves_nobody_behind() {
    let place = Place::new(1);
    let mut command = driver(&place);
    command.args(["--test_type", "stress-test-0", "--messages", "100000"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut driver = Guard(command.spawn().expect("the driver starts"));
    let all = 1 + place.n() + 5;
    until("driver, replicas and clients run", || (processes_of(&place).len() == all).then_some(()));
    driver.0.kill().expect("it is killed");
    driver.0.wait().expect("it is gone");
    until("nobody is left", || processes_of(&place).is_empty().then_some(()));
}

#[test]
fn a_report_shows_every_slot_and_the_traces_are_replayed() {
    built::assert_fresh_beside(env!("CARGO_BIN_EXE_driver"), "trace");
    let place = Place::new(1);
    let page = place.dir.path().join("page.html");
    let mut command = driver(&place);
    command.args(["--test_type", "proposer-0-fail-after-proposal", "--report"]).arg(&page);
    let ran = command.output().expect("the driver runs");
    let said = format!("{command:?}\n{}{}", text(&ran.stdout), text(&ran.stderr));
    assert_eq!(ran.status.code(), Some(0), "{said}");
    let page = fs::read_to_string(page).expect("a page");
    for client in 0..5 {
        for number in 0..4 {
            assert!(page.contains(&format!("message {number} of client {client}")), "{said}");
        }
    }
    assert!(page.contains("no invariant is broken"), "{said}");
    for name in ["replica0.trace", "replica2.trace", "client4.trace"] {
        assert!(place.logs().join("proposer-0-fail-after-proposal").join(name).is_file(), "{name}");
    }
}
