//! The layout, checked: imports run one way inside the root package, and the protocol
//! knows no clock, no socket, no thread, no file, no hash order and no generator. Between
//! packages cargo checks the same: what a package does not list it cannot name, and two
//! that list each other are refused.
//!
//! The sources are read as text, with comments, strings and `#[cfg(test)]` modules
//! taken out, and files that begin with `#![cfg(test)]` left out. That sees every path that is spelled from the crate's root
//! (`crate::net`, `use crate::{net, types}`, `super::` as far up as the root,
//! `multipaxos::net` in a program); what a macro might put together it does not see.

use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate's root, and which others it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("quorum", &["types"]),
    ("members", &["types", "quorum"]),
    ("slot_set", &["types"]),
    ("retransmitter", &["types", "aside"]),
    ("aside", &["types", "values"]),
    ("values", &["types", "members"]),
    // Words of a replica's log that the driver acts on: both take them from here.
    ("marker", &["types"]),
    ("message", &["types", "quorum", "members", "values", "machine"]),
    ("runs", &["types", "values", "message"]),
    ("requesters", &["types"]),
    ("long_line", &[]),
    ("machine", &["types"]),
    ("chat", &["types", "members", "values", "machine"]),
    (
        "paxos",
        &[
            "types",
            "quorum",
            "members",
            "slot_set",
            "retransmitter",
            "aside",
            "values",
            "message",
            "runs",
            "requesters",
            "chat",
            "machine",
            "marker",
            "long_line",
        ],
    ),
    ("client", &["types", "quorum", "values", "machine", "message", "paxos", "long_line"]),
    ("words", &["types", "members", "values", "machine", "message", "paxos", "client"]),
    ("survey", &["types", "quorum", "message"]),
    ("admin", &["types", "quorum", "members", "message"]),
    ("follow", &["types", "quorum", "message"]),
    ("storage", &["types", "quorum", "members", "values", "machine", "message", "chat", "paxos"]),
    ("net", &["types", "quorum", "members", "values", "machine", "message"]),
    // Replicas and clients for programs that use the library.
    ("service", &["types", "machine", "paxos", "client", "storage", "net", "config", "runtime"]),
    ("guide", &["machine", "service"]),
    // The cluster file and the command line: for programs, never for the protocol.
    ("config", &["types"]),
    (
        "runtime",
        &[
            "types", "quorum", "members", "machine", "message", "paxos", "client", "survey",
            "admin", "follow", "storage", "net", "config", "marker", "words",
        ],
    ),
];

/// The modules of the protocol: paxos, and what it consists of. (In `types` an address of a
/// socket is a label.)
const PROTOCOL: &[&str] = &[
    "quorum",
    "members",
    "slot_set",
    "retransmitter",
    "requesters",
    "long_line",
    "aside",
    "values",
    "message",
    "runs",
    "machine",
    "chat",
    "paxos",
    "client",
    "survey",
    "admin",
    "follow",
];

/// Names of which none may stand in the modules of the protocol.
const PROTOCOL_NEVER_NAMES: &[&str] = &[
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "fastrand",
    "getrandom",
    "mio",
    "socket2",
    "crossbeam_channel",
];

/// Packages of ours that the protocol may not name.
const PROTOCOL_NEVER_NEEDS: &[&str] = &["datagrams", "durable", "interleavings", "seeds"];

/// Modules of the standard library that the protocol may not name.
const PROTOCOL_NEVER_USES: &[&str] = &["net", "thread", "fs", "process", "env"];

#[test]
fn imports_run_one_way() {
    let mut faults = Vec::new();
    for file in sources() {
        let module = file.module();
        let may_use = if module == "bin" {
            MAY_USE.iter().map(|(name, _)| *name).collect()
        } else {
            let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
                faults.push(format!("{}: {module} has no row in this test", file.shown));
                continue;
            };
            may_use.to_vec()
        };
        for (line, used) in uses(&file.tokens, file.depth()) {
            if used != module && !may_use.contains(&used.as_str()) {
                faults.push(format!("{}:{line}: {module} may not use {used}", file.shown));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_protocol_never_reads_a_clock_or_touches_the_world() {
    let mut faults = Vec::new();
    for file in sources().iter().filter(|file| PROTOCOL.contains(&file.module().as_str())) {
        for (line, name) in worldly(&file.tokens) {
            faults.push(format!("{}:{line}: the protocol may not name {name}", file.shown));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_scan_finds_what_it_looks_for() {
    let text = r##"
        //! crate::comment /* crate::also */
        use crate::{config, net::{frame, pack}, types::Slot};
        /* crate::nested /* crate::deeper */ crate::still */
        const A: &str = "crate::string \" crate::string";
        const B: &str = r#"crate::raw " crate::raw"#;
        const C: (char, char, u8) = ('"', '\'', b'"');
        fn f<'a>(x: &'a str) { crate::scenario::run(x) }
        use multipaxos::runtime;
        use super::sim;
        mod inner { use super::super::storage; use super::quiet; }
        #[cfg(test)]
        mod tests { use crate::tested; fn g() { if true {} } }
        use super::super::beyond;
    "##;
    let tokens = tokens(text);
    let found: Vec<String> = uses(&tokens, 1).into_iter().map(|(_, name)| name).collect();
    let expected = ["config", "net", "types", "scenario", "runtime", "sim", "storage"];
    assert_eq!(found, expected);
    assert_eq!(uses(&tokens, 1)[0].0, 3, "lines are counted from 1");

    let text = "use std::{io, fs::File, net}; std::thread::spawn; let x: HashMap<u8, u8>;
        let durable = durable::disk;";
    let found: Vec<String> = worldly(&self::tokens(text)).into_iter().map(|(_, n)| n).collect();
    assert_eq!(found, ["std::fs", "std::net", "std::thread", "HashMap", "durable"]);
}

/// Seeds that users and sweeps take lie beside each other, and generators that begin with such
/// numbers are tied. A single number in a test has no neighbour, and neither has what a generator
/// has drawn, or what was spread over all numbers.
#[test]
fn a_seed_is_hashed_before_it_reaches_a_generator() {
    // In the fuzzer: drawn by proptest; a slot times a large odd number.
    const APART: [&str; 2] = ["dice)", "seed))"];
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src", "crates", "tests"].iter().for_each(|folder| collect(&root.join(folder), &mut files));
    assert!(files.len() > 150, "only {} files", files.len());
    // Written so that this line is none of them.
    let call = concat!("Rng::with_", "seed(");
    let mut found = Vec::new();
    for path in files.iter().filter(|path| !path.starts_with(root.join("crates/seeds"))) {
        let text = fs::read_to_string(path).expect("UTF-8");
        for (number, line) in text.lines().enumerate() {
            let is_apart = |seed: &str| {
                seed.starts_with(char::is_numeric)
                    || path.starts_with(root.join("tests/fuzz"))
                        && APART.iter().any(|name| seed.starts_with(name))
            };
            if !line.split(call).skip(1).all(is_apart) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "take seeds::stream: {found:#?}");
}

#[test]
fn every_source_is_scanned() {
    let modules: Vec<String> = sources().iter().map(Source::module).collect();
    for module in ["types", "paxos", "net", "runtime", "bin"] {
        assert!(modules.iter().any(|found| found == module), "no source of {module}");
    }
}

/// A file below `src`.
struct Source {
    /// As people name it, from the repository's root.
    shown: String,
    /// Its path below `src` without `.rs` and `mod`: `["paxos", "acceptor"]`.
    path: Vec<String>,
    tokens: Vec<Token>,
}

impl Source {
    /// The module of the crate's root that it belongs to; `bin` for programs.
    fn module(&self) -> String {
        self.path[0].clone()
    }

    /// How many times `super` lead from it to the crate's root; a program is a root.
    fn depth(&self) -> usize {
        if self.path[0] == "bin" { 0 } else { self.path.len() }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.sort();
    let source = |file: &PathBuf| {
        let below = file.strip_prefix(root.join("src")).unwrap().with_extension("");
        let mut path: Vec<String> =
            below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        path.retain(|part| part != "mod");
        let shown = file.strip_prefix(root).unwrap().display().to_string();
        Source { shown, path, tokens: tokens(&fs::read_to_string(file).unwrap()) }
    };
    // The root itself only declares.
    files.iter().map(source).filter(|source| source.path != ["lib"]).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !fs::read_to_string(&path).unwrap().contains("\n#![cfg(test)]\n")
        {
            files.push(path);
        }
    }
}

/// A name, a number, `::` or one other character, and its line.
#[derive(Debug, Clone, PartialEq)]
struct Token {
    line: usize,
    text: String,
}

/// The root modules that a file names, and where. `depth`: see [`Source::depth`].
fn uses(tokens: &[Token], depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // For each open brace, whether it is a module's.
    let mut braces: Vec<bool> = Vec::new();
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut at = 0;
    while at < tokens.len() {
        match text(at) {
            "{" => braces.push(at >= 2 && text(at - 2) == "mod"),
            "}" => drop(braces.pop()),
            "crate" | "multipaxos" if text(at + 1) == "::" => heads(tokens, at + 2, &mut found),
            "crate" | "multipaxos" if text(at + 1) == "as" => {
                found.push((tokens[at].line, "the whole crate under another name".into()));
            }
            "super" => {
                let mut supers = 1;
                while text(at + 1) == "::" && text(at + 2) == "super" {
                    supers += 1;
                    at += 2;
                }
                let inline = braces.iter().filter(|module| **module).count();
                if supers == depth + inline && text(at + 1) == "::" {
                    heads(tokens, at + 2, &mut found);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// What the protocol may not name, and where it does.
fn worldly(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if PROTOCOL_NEVER_NAMES.contains(&token.text.as_str()) {
            found.push((token.line, token.text.clone()));
        }
        let begins_path = tokens.get(at + 1).is_some_and(|next| next.text == "::");
        if begins_path && PROTOCOL_NEVER_NEEDS.contains(&token.text.as_str()) {
            found.push((token.line, token.text.clone()));
        }
        if begins_path && (token.text == "std" || token.text == "core") {
            let mut named = Vec::new();
            heads(tokens, at + 2, &mut named);
            named.retain(|(_, name)| PROTOCOL_NEVER_USES.contains(&name.as_str()));
            found.extend(named.into_iter().map(|(line, name)| (line, format!("std::{name}"))));
        }
    }
    found
}

/// The first names of the path, or of all paths of the group, that begins at `at`.
fn heads(tokens: &[Token], at: usize, found: &mut Vec<(usize, String)>) {
    let Some(token) = tokens.get(at) else { return };
    if token.text != "{" {
        return found.push((token.line, token.text.clone()));
    }
    let (mut depth, mut first) = (0, false);
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => (depth, first) = (depth + 1, depth == 0),
            "}" => depth -= 1,
            "," => first = depth == 1,
            _ if first => {
                found.push((token.line, token.text.clone()));
                first = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// The tokens of a source without comments, strings and `#[cfg(test)]` modules.
fn tokens(text: &str) -> Vec<Token> {
    let mut all = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(c) = rest.chars().next() {
        let (bytes, kept) = next(rest, c);
        if kept {
            all.push(Token { line, text: rest[..bytes].to_owned() });
        }
        line += rest[..bytes].matches('\n').count();
        rest = &rest[bytes..];
    }
    without_tests(all)
}

/// How long the piece is that `rest` begins with, and whether it is a token.
fn next(rest: &str, c: char) -> (usize, bool) {
    if let Some(comment) = rest.strip_prefix("//") {
        return (2 + comment.find('\n').unwrap_or(comment.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    // r"", r#""#, br"", b"", b'', c"": a prefix and then a literal.
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
    let hashes = rest[prefix..].len() - rest[prefix..].trim_start_matches('#').len();
    if prefix > 0 && prefix <= 2 && rest[..prefix].ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        if let Some(body) = rest[prefix + hashes..].strip_prefix('"') {
            let found = body.find(&end).map_or(body.len(), |at| at + end.len());
            return (prefix + hashes + 1 + found, false);
        }
    }
    if rest[prefix..].starts_with('"') && prefix <= 1 {
        return (prefix + quoted(&rest[prefix..], '"'), false);
    }
    if rest[prefix..].starts_with('\'') && prefix <= 1 {
        let mut body = rest[prefix + 1..].chars();
        let first = body.next();
        // Otherwise it is a lifetime, of which the name is a token as any other.
        if first == Some('\\') || body.next() == Some('\'') {
            return (prefix + quoted(&rest[prefix..], '\''), false);
        }
    }
    if rest.starts_with("::") {
        return (2, true);
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if is_name(c) {
        return (rest.find(|c| !is_name(c)).unwrap_or(rest.len()), true);
    }
    (c.len_utf8(), !c.is_whitespace())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let here = &rest[at..];
        if here.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else if let Some(c) = here.chars().next() {
            at += c.len_utf8();
        } else {
            return at;
        }
        if depth == 0 {
            return at;
        }
    }
}

/// The bytes of a literal that begins and ends with `quote`.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Takes out every item behind `#[cfg(test)]` that has a body: its test modules.
fn without_tests(all: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let here: String = all[at..].iter().take(7).map(|token| token.text.as_str()).collect();
        if here != "#[cfg(test)]" {
            kept.push(all[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0;
        while let Some(token) = all.get(at) {
            at += 1;
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && ["}", ";"].contains(&token.text.as_str()) {
                break;
            }
        }
    }
    kept
}
