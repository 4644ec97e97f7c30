//! `replica --check`: what would keep a replica from working here, before it starts.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

/// Runs the check of a replica.
fn check(place: &Place, id: usize, options: &[&str]) -> Output {
    let mut command = place.program(env!("CARGO_BIN_EXE_replica"));
    command.arg("--log_dir").arg(place.logs()).args(["--replica_id", &id.to_string(), "--check"]);
    command.args(options).stdin(Stdio::null()).output().expect("it runs")
}

/// The verdicts of a check in JSON, by what was looked at.
fn verdict(output: &Output, what: &str) -> String {
    let value: Value = serde_json::from_slice(&output.stdout).expect("an object");
    let checks = value["checks"].as_array().expect("checks");
    let of = checks.iter().find(|check| check["what"] == what);
    let of = of.unwrap_or_else(|| panic!("no {what:?} in {checks:#?}"));
    of["verdict"].as_str().expect("text").to_owned()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut all: Vec<String> = paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path.display().to_string()],
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_host_where_a_replica_would_work_passes_and_is_left_as_it_was() {
    let place = Place::new(1);
    let ran = check(&place, 0, &[]);
    let table = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{table}{}", text(&ran.stderr));
    for words in [
        "configuration   replica 0 of 3, of which 1 may fail",
        "names           none",
        "is free",
        "data directory ",
        ": new, so it waits for all others",
        "sync            median ",
        "path to 1 ",
        "replica 2       is silent",
        "-> start it, if it does not run",
    ] {
        assert!(table.contains(words), "{words:?} in\n{table}");
    }
    assert_eq!(files(&place.logs()), Vec::<String>::new());
}

#[test]
fn beside_peers_that_run_it_says_that_they_answer() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    cluster.remove(0).kill();
    let before = files(&place.logs());
    let ran = check(&place, 0, &["--json"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stdout));
    assert_eq!(verdict(&ran, "replica 1"), "ok");
    assert_eq!(verdict(&ran, "replica 2"), "ok");
    assert_eq!(verdict(&ran, "data directory"), "ok");
    assert_eq!(files(&place.logs()), before);
}

#[test]
fn a_replica_that_runs_already_fails_the_check_of_its_port_and_of_its_directory() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    let ran = check(&place, 0, &["--json"]);
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stdout));
    assert_eq!(verdict(&ran, "port"), "fails");
    assert_eq!(verdict(&ran, "data directory"), "fails");
}

#[test]
fn a_directory_of_another_replica_and_a_folder_that_cannot_be_made_fail() {
    let place = Place::new(1);
    drop(place.cluster());
    let other = place.logs().join("replica1");
    let ran = check(&place, 0, &["--json", "--data_dir", &other.display().to_string()]);
    assert_eq!(verdict(&ran, "data directory"), "fails");
    assert!(text(&ran.stdout).contains("belongs to replica 1"), "{}", text(&ran.stdout));
    let ran = check(&place, 0, &["--json", "--data_dir", "/proc/replica0"]);
    assert_eq!((ran.status.code(), verdict(&ran, "sync")), (Some(1), "fails".into()));
}
