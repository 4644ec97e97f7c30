//! Golden scripts: small clusters of the real roles, moved step by step and printed.
//!
//! `tests/scripts/<topic>/<rule_in_words>` holds commands and, after each block of them,
//! what they printed. `tests/scripts/README.md` tells the format, and which rule has
//! which script. After a change that is meant:
//!
//! ```text
//! UPDATE_SCRIPTS=1 cargo test -p stage --test scripts
//! ```
//!
//! writes them again; then read the difference as you would read code. `SCRIPT=word`
//! runs only scripts whose name contains it.

use stage::file::{Script, all, difference};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Every rule that needs a script.
const RULES: &[&str] = &[
    "S1", "S2", "S3", "S4", "S5", "S6", "S7", "E1", "E2", "E3", "E4", "L1", "L2", "L3", "L4", "L5",
    "L6", "L7",
];

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
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut failures = Vec::new();
    for script in chosen() {
        let ran = catch_unwind(AssertUnwindSafe(|| script.run()));
        let new = match ran.unwrap_or_else(|_| Err(format!("{}: a panic, above", script.name()))) {
            Ok(new) => new,
            Err(why) => {
                failures.push(why);
                continue;
            }
        };
        if new == script.text {
            continue;
        }
        if update {
            fs::write(&script.path, new).expect("the script can be written");
            continue;
        }
        let path = script.path.strip_prefix(root()).unwrap_or(&script.path);
        failures.push(format!(
            "{} prints something else (- as it stands, + now):\n{}",
            path.display(),
            difference(&script.text, &new)
        ));
    }
    assert!(
        failures.is_empty(),
        "{}\nIf this is meant: UPDATE_SCRIPTS=1 cargo test -p stage --test scripts, and read the change.",
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
fn every_rule_has_a_script_and_every_script_a_rule() {
    let scripts = all(&folder());
    let readme = fs::read_to_string(folder().join("README.md")).expect("the list of scripts");
    for rule in RULES {
        let titled = |script: &Script| {
            script.header().first().is_some_and(|title| {
                let words = title.split(|c: char| !c.is_ascii_alphanumeric());
                words.into_iter().any(|word| word == *rule)
            })
        };
        assert!(scripts.iter().any(titled), "no script is headed by {rule}");
    }
    for script in &scripts {
        let name = script.name();
        assert!(script.header().len() >= 2, "{name}: the header says too little");
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in README.md");
    }
}
