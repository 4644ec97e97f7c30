//! Golden scripts: small clusters of the real roles, moved step by step and printed.
//!
//! `tests/scripts/<topic>/<rule_in_words>` contains commands, and after each block of commands the
//! lines that they printed. `tests/scripts/README.md` describes the format. `SCRIPT=word` runs
//! only scripts whose name contains the word. These tests write nothing. After an intended
//! change, `make update-scripts` writes the scripts.

use stage::file::{Script, all, difference};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// The repository's root.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root")
}

fn folder() -> PathBuf {
    root().join("tests/scripts")
}

fn chosen() -> Vec<Script> {
    let word = std::env::var("SCRIPT").unwrap_or_default();
    all(&folder()).into_iter().filter(|script| script.name().contains(&word)).collect()
}

#[test]
fn every_script_prints_what_it_did() {
    let mut failures = Vec::new();
    for script in chosen() {
        match catch_unwind(AssertUnwindSafe(|| script.run())) {
            Ok(Ok(new)) if new == script.text => {}
            Ok(Ok(new)) => {
                let path = script.path.strip_prefix(root()).unwrap_or(&script.path);
                failures.push(format!(
                    "{} prints something else (- as it stands, + now):\n{}",
                    path.display(),
                    difference(&script.text, &new)
                ));
            }
            Ok(Err(stuck)) => failures.push(stuck.with_context()),
            Err(_) => failures.push(format!("{}: a panic, above", script.name())),
        }
    }
    assert!(
        failures.is_empty(),
        "{}\nIf this is meant: make update-scripts (SCRIPT=word: only some), and read the change.",
        failures.join("\n")
    );
}

#[test]
fn no_script_breaks_an_invariant() {
    for script in chosen() {
        let broken: Vec<&str> =
            script.text.lines().filter(|line| line.contains("VIOLATION")).collect();
        assert!(broken.is_empty(), "{}: {broken:#?}", script.name());
    }
}

#[test]
fn every_script_says_what_it_shows() {
    for script in all(&folder()) {
        let name = script.name();
        assert!(script.header().len() >= 2, "{name}: the header says too little");
    }
}
