//! The planted bugs (`bugs/*.patch`), as far as that can be checked without building them:
//! each applies, is small, and names catchers that are there; golden scripts and bugs name
//! each other; and `docs/bugs.md` lists them. `make bugs` plants them.
//!
//! After a change to a patch `make update-bugs` writes the tables of `docs/bugs.md` again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many lines a patch may add and take away: it is read as an exhibit.
const CHANGED_LINES_MAX: usize = 10;

const DOCUMENT: &str = "docs/bugs.md";

/// What stands before and behind the tables in the document.
const BEGIN: &str = "<!-- generated from bugs/*.patch: make update-bugs -->";
const END: &str = "<!-- end of what is generated -->";

/// Names in a golden script's header the bugs that it notices.
const PLANTED: &str = "# Planted:";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below a folder, in order.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// One patch. Its header is the title, what is wrong, and lines `Rule: id` and
/// `Caught-by: catcher`.
#[derive(Debug)]
struct Bug {
    path: PathBuf,
    /// From the file's name, which is `NN-slug.patch`.
    number: usize,
    slug: String,
    title: String,
    /// What is wrong, in paragraphs.
    text: String,
    rules: Vec<String>,
    catchers: Vec<String>,
    /// The first file that it changes.
    file: String,
    changed_lines: usize,
}

/// In the order of their numbers: as names 100 comes before 11.
fn bugs() -> Vec<Bug> {
    let mut bugs: Vec<Bug> = files_below(&root().join("bugs")).into_iter().map(parse).collect();
    bugs.sort_by_key(|bug| bug.number);
    bugs
}

fn parse(path: PathBuf) -> Bug {
    let said = path.display().to_string();
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let name = name.strip_suffix(".patch").unwrap_or_else(|| panic!("{said}: no patch"));
    let (number, slug) = name.split_once('-').unwrap_or_else(|| panic!("{said}: not NN-slug"));
    let number = number.parse().unwrap_or_else(|_| panic!("{said}: not NN-slug"));
    let slug = slug.to_owned();
    let contents = read(&path);
    let diff_at = contents.find("--- a/").unwrap_or_else(|| panic!("{said}: no diff"));
    let (header, diff) = contents.split_at(diff_at);
    let (title, rest) = header.split_once("\n\n").unwrap_or_else(|| panic!("{said}: no title"));
    let lines_of = |key: &str| {
        rest.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect()
    };
    let (rules, catchers) = (lines_of("Rule: "), lines_of("Caught-by: "));
    let is_text = |line: &&str| !line.starts_with("Rule: ") && !line.starts_with("Caught-by: ");
    let text: Vec<&str> = rest.lines().filter(is_text).collect();
    let file = diff.lines().next().and_then(|line| line.strip_prefix("--- a/")).expect("a file");
    let is_change = |line: &&str| {
        let is_name = line.starts_with("--- ") || line.starts_with("+++ ");
        line.starts_with(['+', '-']) && !is_name
    };
    Bug {
        number,
        slug,
        title: title.to_owned(),
        text: text.join("\n").trim().to_owned(),
        rules,
        catchers,
        file: file.to_owned(),
        changed_lines: diff.lines().filter(is_change).count(),
        path,
    }
}

#[test]
fn every_bug_applies_to_the_code_as_it_is() {
    let mut failures = Vec::new();
    for bug in bugs() {
        let checked = Command::new("git")
            .args(["apply", "--check", "--whitespace=nowarn"])
            .arg(&bug.path)
            .current_dir(root())
            .output()
            .expect("git is there");
        if !checked.status.success() {
            failures.push(String::from_utf8_lossy(&checked.stderr).into_owned());
        }
    }
    assert!(
        failures.is_empty(),
        "the code has changed under these: scripts/bugs.sh --refresh writes them anew if only \
         lines around them have changed; then see that each is caught (make bugs):\n{}",
        failures.join("\n")
    );
}

#[test]
fn every_bug_is_small_and_says_what_is_wrong() {
    let mut slugs = BTreeSet::new();
    for (number, bug) in (1..).zip(bugs()) {
        let slug = &bug.slug;
        assert_eq!(bug.number, number, "{slug}: numbers go up by one");
        assert!(slugs.insert(slug.clone()), "{slug} is there twice");
        assert!(!bug.title.contains('\n') && !bug.title.ends_with('.'), "{slug}: a title");
        assert!(bug.text.len() > 40, "{slug}: what is wrong?");
        let changed = bug.changed_lines;
        assert!(changed <= CHANGED_LINES_MAX, "{slug} changes {changed} lines");
    }
    assert!(slugs.len() >= 49, "only {} bugs", slugs.len());
}

/// The text of every source file that may hold a test.
fn sources() -> Vec<String> {
    let folders = ["src", "crates", "tests"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(|folder| files_below(folder));
    files.filter(|path| path.extension().is_some_and(|it| it == "rs")).map(|p| read(&p)).collect()
}

#[test]
fn every_bug_names_catchers_that_are_there() {
    let sources = sources();
    let is_there = |text: &str| sources.iter().any(|source| source.contains(text));
    let is_function = |path: &str| {
        let name = path.rsplit("::").next().unwrap_or_default();
        is_there(&format!("fn {name}("))
    };
    let mut failures = Vec::new();
    for bug in bugs() {
        assert!(!bug.catchers.is_empty(), "{}: what catches it?", bug.slug);
        for catcher in &bug.catchers {
            let words: Vec<&str> = catcher.split(' ').filter(|word| !word.contains('=')).collect();
            let found = match words.as_slice() {
                ["script", name] => root().join("tests/scripts").join(name).is_file(),
                ["seed", seed, ..] => seed.parse::<u64>().is_ok(),
                ["model", name] => is_there(&format!("\"{name}\"")) && *name == bug.slug,
                ["schedule", _, test] | ["fuzz", test] | ["test", _, _, test] => is_function(test),
                _ => false,
            };
            if !found {
                failures.push(format!("{}: {catcher}", bug.slug));
            }
        }
    }
    assert!(failures.is_empty(), "no such catchers:\n{}", failures.join("\n"));
}

#[test]
fn scripts_and_bugs_name_each_other() {
    let folder = root().join("tests/scripts");
    let mut by_scripts = BTreeSet::new();
    for path in files_below(&folder).into_iter().filter(|path| path.extension().is_none()) {
        let name = path.strip_prefix(&folder).expect("below").display().to_string();
        let text = read(&path);
        let header = text.lines().take_while(|line| line.starts_with('#'));
        let slugs = header.filter_map(|line| line.strip_prefix(PLANTED));
        by_scripts.extend(
            slugs.flat_map(str::split_whitespace).map(|slug| (slug.to_owned(), name.clone())),
        );
    }
    let mut by_bugs = BTreeSet::new();
    for bug in bugs() {
        let scripts = bug.catchers.iter().filter_map(|catcher| catcher.strip_prefix("script "));
        by_bugs.extend(scripts.map(|name| (bug.slug.clone(), name.to_owned())));
    }
    let lost: Vec<_> = by_scripts.symmetric_difference(&by_bugs).collect();
    assert!(
        lost.is_empty(),
        "of a script (`{PLANTED}`) and a bug, one alone names the other: {lost:?}"
    );
}

// --- the document ---------------------------------------------------------------------

/// A catcher, as the document shows it.
fn in_words(catcher: &str) -> String {
    let words: Vec<&str> = catcher.split(' ').collect();
    match words.as_slice() {
        ["script", name] => format!("script [`{name}`](../tests/scripts/{name})"),
        ["seed", seed] => format!("seed {seed}"),
        ["seed", seed, options @ ..] => format!("seed {seed} with `{}`", options.join(" ")),
        ["model", _] => "the model check".to_owned(),
        ["schedule", _, test, ..] => format!("schedules: `{}`", last(test)),
        ["fuzz", test, ..] => format!("fuzzing: `{}`", last(test)),
        ["test", _, _, test, ..] => format!("`{}`", last(test)),
        _ => panic!("no such catcher: {catcher}"),
    }
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

fn is_in(bug: &Bug, folders: &[&str]) -> bool {
    folders.iter().any(|folder| bug.file.starts_with(folder))
}

/// The tables: one for each part of the code.
fn tables() -> String {
    let mut parts: BTreeMap<(usize, &str), String> = BTreeMap::new();
    for bug in bugs() {
        let part = match () {
            () if is_in(&bug, &["crates/durable/", "src/storage/"]) => (2, "Storage"),
            () if is_in(&bug, &["crates/datagrams/", "src/runtime/"]) => (3, "Threads"),
            () => (1, "The protocol"),
        };
        let caught: Vec<String> = bug.catchers.iter().map(|catcher| in_words(catcher)).collect();
        let patch = format!("../bugs/{:02}-{}.patch", bug.number, bug.slug);
        let rules = if bug.rules.is_empty() { "–".to_owned() } else { bug.rules.join(", ") };
        parts.entry(part).or_default().push_str(&format!(
            "| {} | [{}]({patch}). {} | {rules} | {} |\n",
            bug.number,
            bug.title,
            bug.text.replace("\n\n", " ").replace('\n', " "),
            caught.join("; "),
        ));
    }
    let mut tables = String::new();
    for ((_, title), rows) in parts {
        tables +=
            &format!("\n### {title}\n\n| | bug | rule | caught by |\n|---|---|---|---|\n{rows}");
    }
    tables
}

#[test]
fn the_document_lists_the_bugs_as_they_are() {
    let path = root().join(DOCUMENT);
    let text = read(&path);
    let split = text.split_once(BEGIN).and_then(|(before, rest)| {
        rest.split_once(END).map(|(listed, after)| (before, listed, after))
    });
    let (before, listed, after) =
        split.unwrap_or_else(|| panic!("{DOCUMENT} has no place for the tables"));
    let wanted = format!("\n{}\n", tables());
    if std::env::var_os("UPDATE_BUGS").is_some() {
        let new = format!("{before}{BEGIN}{wanted}{END}{after}");
        fs::write(&path, new).expect("the document can be written");
    } else {
        assert!(listed == wanted, "{DOCUMENT} is stale: make update-bugs writes its tables again");
    }
}

/// What the document names between backticks, outside the tables: tests, as `file: test`
/// or `test`, and scripts.
#[test]
fn the_document_names_tests_that_are_there() {
    let text = read(&root().join(DOCUMENT));
    let by_hand = text.split_once(END).map_or("", |(_, after)| after);
    let sources = sources();
    let mut named = 0;
    let mut lost = Vec::new();
    for quoted in by_hand.split('`').skip(1).step_by(2) {
        let name = quoted.rsplit(": ").next().unwrap_or(quoted);
        let found = if let Some(script) = name.strip_prefix("scripts/") {
            root().join("tests/scripts").join(script).is_file()
        } else if name.matches('_').count() >= 2 && !name.contains([' ', '/']) {
            sources.iter().any(|source| source.contains(&format!("fn {name}(")))
        } else {
            continue;
        };
        named += 1;
        if !found {
            lost.push(quoted);
        }
    }
    assert!(lost.is_empty(), "{DOCUMENT} names what is not there: {lost:?}");
    assert!(named >= 20, "only {named} names: is the document read as it is written?");
}

// --- make break -----------------------------------------------------------------------

/// What `scripts/break.sh` prints and how it ends.
fn make_break(args: &[&str]) -> (String, String, Option<i32>) {
    let ended = Command::new("scripts/break.sh")
        .args(args)
        .current_dir(root())
        .output()
        .expect("bash is there");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (text(ended.stdout), text(ended.stderr), ended.status.code())
}

#[test]
fn make_break_lists_every_bug_and_what_shows_it() {
    let (listed, complaints, code) = make_break(&[]);
    assert_eq!((complaints.as_str(), code), ("", Some(0)));
    let by_model = listed
        .split_once("The protocol (the model check")
        .and_then(|(_, rest)| rest.split_once("\n\n"))
        .map(|(group, _)| group)
        .expect("the first group is what the model check tells");
    for bug in bugs() {
        let row = format!("  {:<36} {}\n", bug.slug, bug.title);
        assert_eq!(listed.matches(&row).count(), 1, "{row}in:\n{listed}");
        let has_model = bug.catchers.iter().any(|catcher| catcher.starts_with("model "));
        assert_eq!(by_model.contains(row.trim_end()), has_model, "{}", bug.slug);
        if !has_model && bug.file.contains("paxos/") {
            let shown_by = format!("{row}{:38}   shown by {}\n", "", bug.catchers[0]);
            assert!(listed.contains(&shown_by), "{shown_by}in:\n{listed}");
        }
    }
}

#[test]
fn make_break_answers_an_unknown_name_with_the_nearest() {
    for (wrong, meant) in [
        ("first-value-win", "first-value-wins"),
        ("FIRST_VALUE_WINS", "first-value-wins"),
        ("noop", "chosen-noop-is-nothing"),
        ("50-sync-skiped", "sync-skipped"),
    ] {
        let (printed, complaint, code) = make_break(&[wrong]);
        assert_eq!((printed.as_str(), code), ("", Some(64)), "{wrong}");
        assert_eq!(complaint, format!("no bug is called {wrong}: did you mean {meant}?\n"));
    }
}
