//! `docs/operations.md`, checked: every warning and error of `replica` and `client` has a row.
//!
//! The sources are read as text. A line that the programs can say is the first string of a
//! `log::warn!` or `log::error!`, of what ends a program (`fail`, `usage_error`), of what a
//! client tells its user, or of a `write!` in the `Display` of an error that such a line shows.
//! Its fixed words, which are what lies between its `{}`, must stand in one row, in their order.
//!
//! A macro whose text is put together elsewhere has no words of its own; [`ELSEWHERE`] names the
//! function that has them.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the sources of the two programs are.
const SOURCES: [&str; 4] =
    ["src", "crates/datagrams/src", "crates/durable/src", "crates/command_line/src"];

/// What begins a line for the user. Its first string follows.
const SAYS: [&str; 6] = [
    "log::warn!(",
    "log::error!(",
    "fail(format!(",
    "usage_error(format!(",
    "tell)(&format!(",
    "tell(&format!(",
];

/// Errors that such a line shows.
const SHOWN_ERRORS: [&str; 5] = ["ConfigError", "OpenError", "Refused", "BadLine", "Fault"];

/// Functions that put a line together for one of [`SAYS`]: the file, and how the text begins.
const ELSEWHERE: [(&str, &str); 9] = [
    ("src/runtime/last_words.rs", "    format!("),
    ("src/runtime/durable.rs", "StartError::Beginning(format!("),
    ("src/runtime/full_socket.rs", "Some(format!("),
    ("src/runtime/slow_disk.rs", "Some(format!("),
    ("src/net/frame/notices.rs", "=> format!("),
    ("src/runtime/durable.rs", "StartError::Durability(format!("),
    ("src/storage/decided_log/chat_file.rs", "let said = format!("),
    ("src/storage/decided_log/mending.rs", "Err(io::Error::other(format!("),
    ("crates/durable/src/disk.rs", "let said = format!("),
];

/// Usage errors that say themselves what to do are not repeated in the paper.
const OPTIONS: &str = "crates/command_line/src/";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The sources without their tests, by their paths.
fn sources() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    SOURCES.iter().for_each(|folder| files(&root().join(folder), &mut paths));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let code = text.split("\n#[cfg(test)]\nmod ").next().expect("a first part").to_owned();
        (path.strip_prefix(root()).expect("below it").display().to_string(), code)
    };
    paths.into_iter().map(read).collect()
}

/// The string that begins `text`, white space aside: as it is shown, with its `{}`.
fn string(text: &str) -> Option<String> {
    let mut rest = text.trim_start().strip_prefix('"')?.chars();
    let mut shown = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(shown),
            '\\' => match rest.next()? {
                // The text goes on with the first word of the next line.
                '\n' => {
                    let left = rest.as_str().trim_start();
                    rest = left.chars();
                }
                'n' => shown.push('\n'),
                escaped => shown.push(escaped),
            },
            c => shown.push(c),
        }
    }
}

/// Every text that stands behind one of these beginnings.
fn behind(code: &str, beginnings: &[&str]) -> Vec<String> {
    let texts = beginnings.iter().flat_map(|begin| code.split(begin).skip(1));
    texts.filter_map(string).collect()
}

/// The texts of the `Display` of an error.
fn displayed(code: &str, error: &str) -> Vec<String> {
    let Some((_, rest)) = code.split_once(&format!("impl fmt::Display for {error} {{")) else {
        return Vec::new();
    };
    let body = rest.split("\n}\n").next().unwrap_or_default();
    let writes = body.split("write!(").skip(1);
    writes.filter_map(|call| string(call.split_once(',')?.1)).collect()
}

/// The fixed words of a text, in their order. Single letters and punctuation are none.
fn words(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                parts.push(String::new());
            }
            _ if depth > 0 => {}
            c => parts.last_mut().expect("there is one").push(c),
        }
    }
    let telling = |part: &String| part.chars().filter(|c| c.is_alphanumeric()).count() > 2;
    parts.into_iter().map(|part| part.trim().to_owned()).filter(telling).collect()
}

/// Whether a row has all of these words, in their order.
fn has(row: &str, words: &[String]) -> bool {
    let mut rest = row;
    words.iter().all(|word| match rest.split_once(word.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// Every text of the programs that needs a row, with its file.
fn said() -> Vec<(String, String)> {
    let mut said = Vec::new();
    for (path, code) in sources().into_iter().filter(|(path, _)| !path.starts_with(OPTIONS)) {
        let mut texts = behind(&code, &SAYS);
        SHOWN_ERRORS.iter().for_each(|error| texts.extend(displayed(&code, error)));
        for (_, begin) in ELSEWHERE.iter().filter(|(file, _)| *file == path) {
            let found = behind(&code, &[begin]);
            assert!(!found.is_empty(), "{path} has no {begin}");
            texts.extend(found);
        }
        said.extend(texts.into_iter().map(|text| (path.clone(), text)));
    }
    said
}

#[test]
fn every_warning_and_error_has_a_row_in_the_operators_page() {
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("it is there");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let said = said();
    assert!(said.len() > 30, "only {} texts were found", said.len());
    let lacking: Vec<String> = said
        .into_iter()
        .filter(|(_, text)| {
            let words = words(text);
            !words.is_empty() && !rows.iter().any(|row| has(row, &words))
        })
        .map(|(path, text)| format!("{path}: {text}"))
        .collect();
    assert!(lacking.is_empty(), "docs/operations.md has no row for: {lacking:#?}");
}

#[test]
fn a_row_says_what_a_line_means_and_what_to_do() {
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("it is there");
    // Those of `--status` follow, in tables of another form.
    let lines = page.split("\n## Status\n").next().expect("a first part");
    let rows = lines.lines().filter(|line| line.starts_with('|'));
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        assert!(cells[0].starts_with('`') && cells.iter().all(|cell| cell.len() > 5), "{row}");
    }
}

#[test]
fn the_scan_finds_texts_and_their_fixed_words() {
    let code = r#"
        log::warn!(
            "replica {id}: a \"bad\" \
             thing at {}: again", x);
        fail(format!("{name}: {error}"));
        impl fmt::Display for Sad {
            fn fmt() { write!(f, "{a} is sad") ; write!(
                f, "gone" ) }
}
        write!(f, "not this one")
    "#;
    let found = behind(code, &SAYS);
    assert_eq!(found, ["replica {id}: a \"bad\" thing at {}: again", "{name}: {error}"]);
    assert_eq!(words(&found[0]), ["replica", ": a \"bad\" thing at", ": again"]);
    assert_eq!(words(&found[1]), [""; 0]);
    assert_eq!(displayed(code, "Sad"), ["{a} is sad", "gone"]);
    let row = "| `replica 7: a \"bad\" thing at noon: again` |";
    assert!(has(row, &words(&found[0])));
    assert!(!has(row, &["again".to_owned(), "replica".to_owned()]), "in their order");
}
