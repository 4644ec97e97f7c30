//! The papers, checked: `docs/protocol.md` is where the ids of the rules come from, and
//! `docs/tour.md` quotes what scripts print and names what acts.
//!
//! A rule is cited by its id (`S1`, `E2`, `I4`): as a whole word in a comment or a string
//! of a source file, in a patch, or in the comment at the top of a golden script. The
//! tests here fail when something cites an id that the document lacks, when nothing cites
//! an id that it has, and when a script, bug, test, file or function that a paper names
//! is not there. The same holds for the TLA+ specification in `spec/`, and
//! for the argument for the change of members in `spec/README.md`. That scripts print what stands in them is `every_script_prints_what_it_did`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The families of rules: safety, execution, liveness, wire, storage, members, invariants.
const FAMILIES: &str = "SELWDMI";

/// Families whose rules each need a golden script.
const SCRIPTED: &str = "SELM";

/// What have none: the stage on which scripts play has no data directories, one process for each
/// replica, and no addresses.
const UNSCRIPTED: [&str; 4] = ["S8", "S9", "S12", "M9"];

/// Folders of scripts that are of no rule: the normal case, and what `why` says.
const UNRULED: [&str; 2] = ["normal/", "why/"];

// --- files ------------------------------------------------------------------------------

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top = here.ancestors().find(|folder| folder.join("docs/protocol.md").exists());
    top.expect("docs/protocol.md is above this package").to_path_buf()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder of the project, by its path from the root.
fn below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return found };
    for entry in entries {
        let entry = entry.expect("a readable folder");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => found.extend(below(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// All source files but this one.
fn sources() -> Vec<String> {
    let files = ["src", "crates", "tests", "examples"].into_iter().flat_map(below);
    files.filter(|path| path.ends_with(".rs") && !path.ends_with("tests/spec.rs")).collect()
}

/// The name of each golden script (`folder/name`), and its text.
fn scripts() -> BTreeMap<String, String> {
    let named = |path: String| {
        let name = path.strip_prefix("tests/scripts/")?;
        (!name.contains('.')).then(|| (name.to_owned(), read(&path)))
    };
    below("tests/scripts").into_iter().filter_map(named).collect()
}

/// The comment at the top of a script.
fn header(script: &str) -> String {
    script.lines().take_while(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

// --- citations ----------------------------------------------------------------------------

/// The ids that a text cites: a letter of a family and a number from 1 on, as one word. Not
/// a part of a longer name (`E5-2680`, `x.S1`, `#L12`), nor a level of a cache.
fn cited(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_alphanumeric() || "_-'#.".contains(c);
    let mut ids = BTreeSet::new();
    for (at, letter) in text.char_indices().filter(|(_, c)| FAMILIES.contains(*c)) {
        let rest = &text[at + letter.len_utf8()..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let before = text[..at].chars().next_back();
        let mut next = after.chars();
        // A full stop or a hyphen ends a word, unless the word goes on behind it.
        let goes_on = match (next.next(), next.next()) {
            (Some('.' | '-' | '\''), Some(c)) => c.is_alphanumeric(),
            (Some(c), _) => c.is_alphanumeric() || c == '_',
            (None, _) => false,
        };
        let named = (1..=2).contains(&digits) && !number.starts_with('0');
        if named && !goes_on && !before.is_some_and(part) && !after.starts_with(" cache") {
            ids.insert(format!("{letter}{number}"));
        }
    }
    ids
}

/// What of a source file is for people: its comments and its strings.
fn prose(source: &str) -> String {
    let mut prose = String::new();
    let mut rest = source;
    while let Some(at) = rest.find(['/', '"', '\'', 'r']) {
        let before = rest[..at].chars().next_back();
        let here = &rest[at..];
        let (text, length) = if here.starts_with("//") {
            let end = here.find('\n').unwrap_or(here.len());
            (&here[..end], end)
        } else if here.starts_with("/*") {
            let end = here.find("*/").map_or(here.len(), |end| end + 2);
            (&here[..end], end)
        } else if let Some(hashes) = raw(here).filter(|_| !before.is_some_and(is_word)) {
            let close = format!("\"{}", "#".repeat(hashes));
            let start = 2 + hashes;
            let end = here[start..].find(&close).map_or(here.len(), |end| start + end);
            (&here[start..end], (end + close.len()).min(here.len()))
        } else if let Some(string) = here.strip_prefix('"') {
            let end = closing(string);
            (&string[..end], (end + 2).min(here.len()))
        } else if here.starts_with("'\"'") || here.starts_with("'\\\"'") {
            ("", here[1..].find('\'').map_or(1, |end| end + 2))
        } else {
            ("", 1)
        };
        prose.push_str(text);
        prose.push('\n');
        rest = &here[length..];
    }
    prose
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How many hashes a raw string begins with, if one begins here.
fn raw(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// Where a string ends whose first quote has been read.
fn closing(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Who cites each id: sources, patches and scripts.
fn citations() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let sources = sources().into_iter().map(|path| (prose(&read(&path)), path));
    let patches = below("bugs").into_iter().map(|path| (read(&path), path));
    let scripts = scripts().into_iter().map(|(name, text)| (header(&text), name));
    for (text, whence) in sources.chain(patches).chain(scripts) {
        for id in cited(&text) {
            found.entry(id).or_default().push(whence.clone());
        }
    }
    found
}

#[test]
fn the_scanner_sees_ids_and_nothing_else() {
    let ids = |text: &str| cited(text).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(ids("# S1, S3. An acceptance promises its ballot."), "S1 S3");
    assert_eq!(ids("I3: replica 2 goes below its promise (L2, and `W4`)"), "I3 L2 W4");
    assert_eq!(ids("| I1 | at most one |, E2\nD3"), "D3 E2 I1");
    assert_eq!(ids("rules S1-S8 and I1–I9, S12."), "I1 I9 S12");
    let others = "S|S0|S01|S123|R1|P1a|XS1|S1x|s1|d2'|i32|x.S1|fast#L12|const_S1|S1_MAX";
    for nothing in others.split('|').chain(["an E5-2680", "an L2 cache"]) {
        assert_eq!(ids(nothing), "", "{nothing}");
    }
    let source = r##"
        // S1: a comment. "S2 in it"
        fn f<L1>(e1: L1) -> E2 { panic!("I3: \"a\" string, E4"); r#"W1 "raw" D1"# } /* L5 */
        const S6: char = '"'; let c = '"'; let D2 = 'S'; // I7
    "##;
    assert_eq!(ids(&prose(source)), "D1 E4 I3 I7 L5 S1 S2 W1");
}

// --- the specification ------------------------------------------------------------------

const PROTOCOL: &str = "docs/protocol.md";

/// The section of each rule, by its id.
fn rules() -> BTreeMap<String, String> {
    let text = read(PROTOCOL);
    let mut rules = BTreeMap::new();
    for section in text.split("\n### ").skip(1) {
        let section = section.split("\n## ").next().unwrap_or_default();
        let id = section.split_whitespace().next().unwrap_or_default();
        if cited(id).contains(id) {
            let before = rules.insert(id.to_owned(), section.to_owned());
            assert!(before.is_none(), "{PROTOCOL} has {id} twice");
        }
    }
    rules
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What a rule names as showing it.
#[derive(Debug, Default)]
struct Shown {
    scripts: BTreeSet<String>,
    bugs: BTreeSet<String>,
    functions: BTreeSet<String>,
}

fn shown(section: &str) -> Shown {
    let mut shown = Shown::default();
    let list = section.split("*Shown by.*").nth(1).unwrap_or_default();
    for name in quoted(list) {
        let kind = match name {
            _ if name.contains('/') => &mut shown.scripts,
            _ if name.contains('-') => &mut shown.bugs,
            _ => &mut shown.functions,
        };
        kind.insert(name.to_owned());
    }
    shown
}

/// The name of every function in the sources.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in sources() {
        let text = read(&path);
        for rest in text.split("fn ").skip(1) {
            names.insert(rest.chars().take_while(|c| is_word(*c)).collect());
        }
    }
    names
}

#[test]
fn every_id_that_is_cited_is_a_rule_and_every_rule_is_cited() {
    let (rules, citations) = (rules(), citations());
    let unknown: Vec<_> = citations.iter().filter(|(id, _)| !rules.contains_key(*id)).collect();
    assert!(unknown.is_empty(), "{PROTOCOL} has no rule of these ids: {unknown:#?}");
    let uncited: Vec<_> = rules.keys().filter(|id| !citations.contains_key(*id)).collect();
    assert!(uncited.is_empty(), "nothing cites these rules of {PROTOCOL}: {uncited:?}");
    for paper in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", PROTOCOL] {
        let Ok(text) = fs::read_to_string(root().join(paper)) else { continue };
        let unknown: Vec<_> =
            cited(&text).into_iter().filter(|id| !rules.contains_key(id)).collect();
        assert!(unknown.is_empty(), "{paper} cites {unknown:?}, which {PROTOCOL} does not have");
    }
}

#[test]
fn rules_are_numbered_without_gaps_and_each_has_all_its_parts() {
    let rules = rules();
    for family in FAMILIES.chars() {
        let count = rules.keys().filter(|id| id.starts_with(family)).count();
        assert!(count > 0, "{PROTOCOL} has no rule {family}1");
        for number in 1..=count {
            assert!(
                rules.contains_key(&format!("{family}{number}")),
                "{family}{number} is missing"
            );
        }
    }
    for (id, section) in &rules {
        let invariant = id.starts_with('I');
        let breaks = if invariant { "*Broken by.*" } else { "*Breaks without it.*" };
        for part in [breaks, "*Paper.*", "*Shown by.*"] {
            assert_eq!(section.matches(part).count(), 1, "{id} has no part, or two, {part}");
        }
        let Shown { scripts, bugs, functions } = shown(section);
        assert!(
            !scripts.is_empty() || !bugs.is_empty() || !functions.is_empty(),
            "{id}: no witness"
        );
        let scripted = SCRIPTED.contains(&id[..1]) && !UNSCRIPTED.contains(&id.as_str());
        assert_eq!(!scripts.is_empty(), scripted, "{id}: scripts {scripts:?}");
    }
}

#[test]
fn what_shows_a_rule_is_there() {
    let (scripts, functions) = (scripts(), functions());
    let bugs: BTreeSet<String> = below("bugs")
        .iter()
        .filter_map(|path| path.strip_prefix("bugs/")?.strip_suffix(".patch"))
        .filter_map(|name| Some(name.split_once('-')?.1.to_owned()))
        .collect();
    let mut missing = Vec::new();
    for (id, section) in rules() {
        let shown = shown(&section);
        let lost = |names: BTreeSet<String>, there: &dyn Fn(&str) -> bool| {
            names.into_iter().filter(|name| !there(name)).collect::<Vec<_>>()
        };
        let mut lost_here = lost(shown.scripts, &|name| scripts.contains_key(name));
        // No patches at all: their folder is not part of these sources.
        lost_here.extend(lost(shown.bugs, &|name| bugs.is_empty() || bugs.contains(name)));
        lost_here.extend(lost(shown.functions, &|name| functions.contains(name)));
        missing.extend(lost_here.into_iter().map(|name| format!("{id}: {name}")));
    }
    assert!(missing.is_empty(), "{PROTOCOL} names what is not there: {missing:#?}");
}

#[test]
fn every_script_shows_the_rules_that_head_it() {
    let rules = rules();
    for (name, text) in scripts() {
        let header = header(&text);
        assert!(header.lines().count() >= 2, "{name}: the comment at its top says too little");
        // The first sentence: what comes later may be about other rules.
        let title = header.split_once(". ").map_or(header.as_str(), |(title, _)| title);
        let heading = cited(title);
        let told: BTreeSet<String> = rules
            .iter()
            .filter(|(_, section)| shown(section).scripts.contains(&name))
            .map(|(id, _)| id.clone())
            .collect();
        assert_eq!(
            heading, told,
            "{name}: its first words, and the rules of {PROTOCOL} that name it"
        );
        let free = UNRULED.iter().any(|folder| name.starts_with(folder));
        assert_eq!(heading.is_empty(), free, "{name}: rules {heading:?}, in this folder");
    }
}

#[test]
fn the_table_of_messages_names_messages() {
    let text = read(PROTOCOL);
    let sources = ["mod.rs", "client.rs", "status.rs", "follow.rs"];
    let source: String = sources.iter().map(|file| read(&format!("src/message/{file}"))).collect();
    let rows: Vec<&str> = text
        .split_once("\n## 3 Messages")
        .and_then(|(_, rest)| rest.split("\n### ").next())
        .into_iter()
        .flat_map(|table| table.lines().filter_map(|line| line.strip_prefix("| `")))
        .filter_map(|row| row.split('`').next())
        .collect();
    assert!(rows.len() >= 18, "{rows:?}");
    for name in rows {
        let declared = source.lines().any(|line| {
            let line = line.trim_start();
            let rest = line.strip_prefix("pub struct ").unwrap_or(line).strip_prefix(name);
            rest.is_some_and(|rest| !rest.starts_with(is_word))
        });
        assert!(declared, "{PROTOCOL} has a message {name} that the code does not have");
    }
}

// --- the tour ---------------------------------------------------------------------------

const TOUR: &str = "docs/tour.md";

/// The blocks that stand between ```` ```text ```` and ```` ``` ````.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n```text\n").skip(1).filter_map(|rest| rest.split("\n```").next())
}

/// The texts and targets of links.
fn links(text: &str) -> Vec<(&str, &str)> {
    let middles = text.match_indices("](");
    let link = |(at, middle): (usize, &str)| {
        let (_, label) = text[..at].rsplit_once('[')?;
        let (target, _) = text[at + middle.len()..].split_once(')')?;
        Some((label, target))
    };
    middles.filter_map(link).collect()
}

#[test]
fn the_tour_quotes_what_scripts_say() {
    let (tour, scripts) = (read(TOUR), scripts());
    let mut quotes = 0;
    for part in tour.split("\n## ").skip(1) {
        let title = part.lines().next().unwrap_or_default();
        let named: Vec<&str> = links(part)
            .into_iter()
            .filter_map(|(_, target)| target.strip_prefix("../tests/scripts/"))
            .filter(|name| scripts.contains_key(*name))
            .collect();
        for block in blocks(part) {
            quotes += 1;
            let lines = |text: &str| format!("\n{}\n", text.trim_matches('\n'));
            let said = named.iter().any(|name| lines(&scripts[*name]).contains(&lines(block)));
            assert!(said, "{TOUR}, {title}: none of {named:?} says\n{block}");
        }
    }
    assert!(quotes >= 20, "only {quotes} quotes");
}

#[test]
fn the_tour_names_functions_where_they_are() {
    let tour = read(TOUR);
    let mut named = 0;
    for (text, target) in links(&tour) {
        let Some(file) = target.strip_prefix("../").filter(|file| file.ends_with(".rs")) else {
            continue;
        };
        let source = read(file);
        let Some(function) = text.strip_prefix('`').and_then(|text| text.strip_suffix('`')) else {
            continue;
        };
        let (owner, function) = function.split_once("::").unwrap_or(("", function));
        named += 1;
        assert!(
            source.contains(&format!("fn {function}("))
                || source.contains(&format!("fn {function}<")),
            "{TOUR}: no function {function} in {file}"
        );
        let implemented = source.lines().any(|line| {
            line.starts_with("impl") && line.split(|c| !is_word(c)).any(|word| word == owner)
        });
        assert!(owner.is_empty() || implemented, "{TOUR}: nothing of {owner} in {file}");
    }
    assert!(named >= 10, "only {named} functions");
}

/// What a link may name in a paper: its headings, as GitHub spells them.
fn anchors(paper: &str) -> BTreeSet<String> {
    let anchor = |title: &str| {
        let title = title.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|c| is_word(*c) || *c == '-').collect()
    };
    let mut in_block = false;
    let titles = paper.lines().filter(|line| {
        in_block ^= line.starts_with("```");
        !in_block && line.starts_with('#')
    });
    titles.map(anchor).collect()
}

#[test]
fn links_of_both_papers_lead_somewhere() {
    for paper in [PROTOCOL, TOUR] {
        let text = read(paper);
        for (_, target) in links(&text).into_iter().filter(|(_, to)| !to.starts_with("https://")) {
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { paper.to_owned() } else { format!("docs/{file}") };
            let there = root().join(&file).exists()
                && (place.is_empty() || anchors(&read(&file)).contains(place));
            assert!(there, "{paper}: no such place: {target}");
        }
    }
}

// --- the TLA+ specification ---------------------------------------------------------------

const SPECIFICATION: &str = "spec/Multipaxos.tla";
const PLAN: &str = "spec/README.md";
const CHECKER: &str = "scripts/spec.sh";

/// The ids of the rules of members (`M1`) that a text cites, in a heading too.
fn planned(text: &str) -> BTreeSet<String> {
    let words = text.split(|c| !is_word(c)).filter(|word| {
        let number = word.strip_prefix('M').unwrap_or_default();
        !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
    });
    words.map(str::to_owned).collect()
}

/// The names of the models below a folder of `spec`, without it.
fn models(folder: &str) -> BTreeSet<String> {
    let below = below(folder);
    let names = below
        .iter()
        .filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".cfg"));
    names.map(str::to_owned).collect()
}

/// The value that a model gives a constant.
fn constant<'a>(model: &'a str, name: &str) -> &'a str {
    let line = model.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(" = "));
    line.unwrap_or_else(|| panic!("no {name} in\n{model}")).trim_matches('"')
}

/// The words of a list in a script of the shell: `NAME=(` and its end.
fn list(script: &str, name: &str) -> BTreeSet<String> {
    let (_, rest) = script.split_once(&format!("\n{name}=(\n")).expect("the list");
    let (words, _) = rest.split_once("\n)\n").expect("its end");
    words.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_specification_cites_rules_that_exist_and_every_planned_rule() {
    let (specification, plan) = (read(SPECIFICATION), read(PLAN));
    let rules = rules();
    let unknown: Vec<_> =
        cited(&specification).into_iter().filter(|id| !rules.contains_key(id)).collect();
    assert!(unknown.is_empty(), "{SPECIFICATION} cites {unknown:?}, not in {PROTOCOL}");
    let unknown: Vec<_> = cited(&plan).into_iter().filter(|id| !rules.contains_key(id)).collect();
    assert!(unknown.is_empty(), "{PLAN} cites {unknown:?}, not in {PROTOCOL}");
    let heads = plan.lines().filter_map(|line| line.strip_prefix("### "));
    let heads: BTreeSet<String> = heads.flat_map(planned).collect();
    assert!(heads.len() >= 8, "{PLAN} has {heads:?}");
    let cited: BTreeSet<String> = planned(&specification);
    assert_eq!(cited, heads, "{SPECIFICATION} (left) and {PLAN} (right)");
}

#[test]
fn every_action_of_the_specification_names_the_rules_that_it_follows() {
    let specification = read(SPECIFICATION);
    let (_, next) = specification.split_once("\nNext ==\n").expect("the actions");
    let (next, _) = next.split_once("\n\n").expect("their end");
    let actions: Vec<&str> =
        next.lines().filter_map(|line| line.rsplit_once(" : ")?.1.split('(').next()).collect();
    assert!(actions.len() >= 10, "{actions:?}");
    for action in actions {
        let start = specification.find(&format!("\n{action}(")).expect("its definition");
        let above = specification[..start].lines().rev();
        let comment: String = above.take_while(|line| line.starts_with("\\*")).collect();
        let named = !cited(&comment).is_empty() || !planned(&comment).is_empty();
        assert!(named, "{action} names no rule: {comment:?}");
    }
}

#[test]
fn every_mistake_of_the_specification_has_a_model_that_must_break() {
    let specification = read(SPECIFICATION);
    let (_, bugs) = specification.split_once("\nBugs == { ").expect("the mistakes");
    let (bugs, _) = bugs.split_once(" }\n").expect("their end");
    let (built, planned) = bugs.split_once("of the change of members").expect("two kinds");
    let names = |text: &str| -> BTreeSet<String> {
        text.split('"')
            .skip(1)
            .step_by(2)
            .filter(|name| *name != "none")
            .map(str::to_owned)
            .collect()
    };
    let patches: BTreeSet<String> = below("bugs")
        .iter()
        .filter_map(|path| path.strip_suffix(".patch")?.split_once('-'))
        .map(|(_, name)| name.to_owned())
        .collect();
    for name in names(built) {
        // No patches at all: their folder is not part of these sources.
        assert!(
            patches.is_empty() || patches.contains(&name),
            "no patch in bugs/ is called {name}"
        );
    }
    for name in names(planned) {
        assert!(read(PLAN).contains(&format!("`{name}`")), "{PLAN} does not tell of {name}");
    }
    assert_eq!(names(bugs), models("spec/bugs"), "{SPECIFICATION} (left) and spec/bugs (right)");
    for name in models("spec/bugs") {
        assert_eq!(constant(&read(&format!("spec/bugs/{name}.cfg")), "Bug"), name);
    }
}

#[test]
fn the_script_checks_every_model_of_the_specification() {
    let script = read(CHECKER);
    let (hold, quick) = (list(&script, "HOLD"), list(&script, "QUICK"));
    let all = models("spec");
    let plain: BTreeSet<String> = all.iter().filter(|name| !name.contains('/')).cloned().collect();
    assert_eq!(hold, plain, "{CHECKER} (left) and the models in spec/ (right)");
    assert!(quick.is_subset(&all), "{CHECKER} names {:?}", quick.difference(&all));
    for name in &all {
        let model = read(&format!("spec/{name}.cfg"));
        let (_, invariants) = model.split_once("\nINVARIANTS\n").expect("invariants");
        let count = invariants.lines().filter(|line| line.starts_with("    ")).count();
        match name.split_once('/') {
            // The script asks which invariant broke, so there is one alone.
            Some(("bugs" | "reach", _)) => assert_eq!(count, 1, "{name}"),
            Some(_) => panic!("{CHECKER} knows nothing of {name}"),
            None => {
                assert!(count >= 7, "{name} checks {count} invariants");
                assert_eq!(constant(&model, "Bug"), "none", "{name}");
            }
        }
    }
}
