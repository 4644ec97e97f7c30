//! The documents, checked as text: their sizes, and that what they point at is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most that a reader is asked to read, in bytes.
const SIZES: &[(&str, u64)] = &[("README.md", 10_000), ("ARCHITECTURE.md", 14_000)];

/// Folders in which no document of ours lies.
const NOT_OURS: &[&str] = &["target", "logs", "mutants.out"];

/// Where a path that is named in a document may begin.
const ROOTS: &[&str] = &[
    "src/",
    "crates/",
    "tests/",
    "docs/",
    "scripts/",
    "configs/",
    "bugs/",
    "examples/",
    ".cargo/",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file: its name from the root, and its text.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry"))
        {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !NOT_OURS.contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(".md") {
                let shown = path.strip_prefix(root()).expect("below").display().to_string();
                found.push((shown, fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 5, "only {} documents", found.len());
    found
}

/// What stands between each `open` and the next `close`.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
}

/// Code in running text and in blocks: whatever is between backticks, or indented.
fn code(text: &str) -> Vec<&str> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.chain(text.lines().filter(|line| line.starts_with("    "))).collect()
}

/// The anchor that a heading has, as the usual viewers make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn documents_that_everybody_reads_are_short() {
    for (name, most) in SIZES {
        let bytes = fs::metadata(root().join(name)).expect("it is there").len();
        assert!(bytes <= *most, "{name} has {bytes} bytes, more than {most}");
    }
}

#[test]
fn every_link_points_at_something() {
    let mut faults = Vec::new();
    for (name, text) in documents() {
        let folder = Path::new(&name).parent().expect("a folder");
        let plain: String = text.split("```").step_by(2).collect();
        for link in between(&plain, "](", ')') {
            if link.contains("://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { root().join(&name) } else { root().join(folder).join(path) };
            if !target.exists() {
                faults.push(format!("{name}: no file {link}"));
            } else if !heading.is_empty() {
                let text = fs::read_to_string(&target).expect("a document");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                if !headings.any(|line| anchor(line.trim_start_matches('#').trim()) == heading) {
                    faults.push(format!("{name}: no heading {link}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_path_that_is_named_exists() {
    let mut faults = Vec::new();
    for (name, text) in documents() {
        // What was is told there.
        if name == "CHANGELOG.md" {
            continue;
        }
        for code in code(&text) {
            for word in code.split(|c: char| c.is_whitespace() || c == '=') {
                let word = word.trim_end_matches(['.', ',', ';', ':', ')']);
                let plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
                if ROOTS.iter().any(|root| word.starts_with(root))
                    && word.chars().all(plain)
                    && !root().join(word).exists()
                    // A golden script, as everybody calls it.
                    && !root().join("tests").join(word).exists()
                {
                    faults.push(format!("{name}: no {word}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_bound_that_is_named_is_a_constant() {
    let mut sources = String::new();
    let mut folders = vec![root().join("src"), root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry"))
        {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&fs::read_to_string(&path).expect("UTF-8"));
            }
        }
    }
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let mut named = 0;
    for word in code(&architecture) {
        if word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            named += 1;
            assert!(sources.contains(&format!("const {word}:")), "no constant {word}");
        }
    }
    assert!(named > 20, "only {named} bounds are named");
}

#[test]
fn every_make_target_that_is_named_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("a Makefile");
    let scenarios = |target: &str| {
        target.strip_prefix("test-scenario-").is_some_and(|name| makefile.contains(name))
    };
    let exists = |target: &str| {
        makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) || scenarios(target)
    };
    let mut faults = Vec::new();
    let mut named = 0;
    for (name, text) in documents() {
        for code in code(&text) {
            for rest in code.split("make ").skip(1) {
                let target = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next();
                let target = target.expect("a split has a first part");
                named += 1;
                if !target.is_empty() && !exists(target) {
                    faults.push(format!("{name}: no target {target}"));
                }
            }
        }
    }
    assert!(named > 20, "only {named} targets are named");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The options of a program: the fields behind `#[argh(option` and `#[argh(switch`, without
/// those that its help hides.
fn options_of(program: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(root().join(program)).expect("a program");
    let source = source.replace("#[argh(switch", "#[argh(option");
    let attributes = source.split("#[argh(option").skip(1);
    let shown =
        attributes.filter(|rest| !rest.split(")]").next().expect("its end").contains("hidden"));
    let field = |rest: &str| {
        let after = rest.lines().skip_while(|line| !line.trim_end().ends_with(")]")).nth(1);
        after.and_then(|line| Some(line.split_once(':')?.0.trim().to_owned()))
    };
    shown.map(|rest| field(rest).expect("a field")).collect()
}

#[test]
fn a_document_lists_the_options_of_each_program() {
    const DOCUMENT: &str = "docs/options.md";
    let document = fs::read_to_string(root().join(DOCUMENT)).expect("it is there");
    for (letter, program) in [
        ("R", "src/bin/replica.rs"),
        ("C", "src/bin/client.rs"),
        ("D", "crates/driver/src/bin/driver.rs"),
    ] {
        let listed: BTreeSet<String> = document
            .lines()
            .filter(|line| line.starts_with("| `--"))
            .map(|line| line.split('|').collect::<Vec<_>>())
            .filter(|cells| cells[2].split_whitespace().any(|of| of == letter))
            .flat_map(|cells| {
                let names = cells[1].split("--").skip(1);
                names.map(|name| name.split([' ', '`']).next().expect("a name").to_owned())
            })
            .collect();
        let options = options_of(program);
        assert!(options.len() > 5, "{program}: {options:?}");
        assert_eq!(listed, options, "{DOCUMENT} (left) and {program} (right)");
    }
}

#[test]
fn readme_shows_the_figures_of_the_measurements() {
    let block = |name: &str| {
        let text = fs::read_to_string(root().join(name)).expect("it is there");
        let (_, rest) = text.split_once("<!-- figures: ").expect("a place for figures");
        rest.split_once("<!-- end of the figures -->").expect("its end").0.to_owned()
    };
    assert_eq!(block("README.md"), block("docs/measurements.md"), "`make measure` writes both");
}

#[test]
fn a_document_says_at_its_top_for_whom_it_is_and_how_long_it_takes() {
    let mut faults = Vec::new();
    for (name, text) in documents() {
        let ours = name.starts_with("docs/") || !name.contains('/');
        let top: String = text.lines().take(12).collect::<Vec<_>>().join(" ");
        if ours && name != "CHANGELOG.md" && !top.contains("minute") {
            faults.push(name);
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}
