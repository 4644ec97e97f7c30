//! `play` as people use it: a process that reads a file, a pipe or a terminal. Also the commands
//! that its help and `tests/scripts/README.md` name.

use stage::commands::Session;
use stage::file::{Script, all};
use stage::help;
use stage::play::{GREETING, PROMPT, Player, Reply, session};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn play() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_play"));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

fn with_args(args: &[&str]) -> Output {
    play().args(args).output().expect("play runs")
}

fn with_input(input: &str) -> Output {
    let mut child = play()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("play starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("play ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The process's stdout, stderr and exit code.
fn parts(output: &Output) -> (String, String, Option<i32>) {
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

// --- a process ------------------------------------------------------------------------------

#[test]
fn a_golden_script_is_printed_as_it_stands_from_a_file_and_from_stdin() {
    let file = "tests/scripts/normal/view_change";
    let stands = fs::read_to_string(root().join(file)).expect("the script");
    let expected = (stands.clone(), String::new(), Some(0));
    assert_eq!(parts(&with_args(&[file])), expected);
    assert_eq!(parts(&with_input(&stands)), expected);
}

#[test]
fn commands_from_a_pipe_print_in_the_format_of_scripts_without_prompt_or_greeting() {
    let (out, err, code) = parts(&with_input("cluster\nrequest \"hi\"\n\n# why?\nstate 0\n"));
    assert_eq!(
        out,
        "cluster\nrequest \"hi\"\n---\n\
         a1 0->1 accept ballot 0: 0:\"hi\"\na2 0->2 accept ballot 0: 0:\"hi\"\n\
         0 saves at ballot 0: 0:\"hi\"\n\n\
         # why?\nstate 0\n---\n\
         0 leads with ballot 0; promised 0, accepted 0:\"hi\"@0; applied below 0; sessions: 0\n"
    );
    assert_eq!((err.as_str(), code), ("", Some(0)));
}

#[test]
fn a_script_ends_at_the_first_command_that_cannot_be_carried_out() {
    let (out, err, code) = parts(&with_input("cluster\nstate 0\ndelver all\nlogs\n"));
    assert!(out.starts_with("cluster\nstate 0\n---\n0 leads"), "{out}");
    assert!(!out.contains("chat log"), "what follows is not carried out: {out}");
    let line = "stdin:3: delver: no such command (did you mean deliver?); `help` lists them\n";
    assert_eq!((err.as_str(), code), (line, Some(1)));
}

#[test]
fn update_writes_a_new_script_and_leaves_one_that_cannot_be_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine");
    let file = path.to_str().expect("UTF-8");
    fs::write(&path, "# A header.\ncluster\ncrash 2\n---\n\nstate 2\n").expect("written");
    let (out, err, code) = parts(&with_args(&["--update", file]));
    assert_eq!((out.as_str(), err, code), ("", format!("{file}: written\n"), Some(0)));
    let written = fs::read_to_string(&path).expect("read");
    assert_eq!(
        written,
        "# A header.\ncluster\ncrash 2\n---\n2 is down\n\nstate 2\n---\n\
         2 is down; on disk: promised nothing, nothing accepted\n"
    );
    // The second time nothing changes, and the script prints itself.
    let (_, err, code) = parts(&with_args(&["--update", file]));
    assert_eq!((err, code), (format!("{file}: unchanged\n"), Some(0)));
    assert_eq!(parts(&with_args(&[file])), (written, String::new(), Some(0)));

    fs::write(&path, "cluster\ncrash 7\n").expect("written");
    let (_, err, code) = parts(&with_args(&[file, "--update"]));
    assert!(err.starts_with(&format!("{file}:2: crash: there is no replica 7;")), "{err}");
    assert!(err.contains("stays as it is") && code == Some(1), "{err} {code:?}");
    assert_eq!(fs::read_to_string(&path).expect("read"), "cluster\ncrash 7\n");
}

#[test]
fn bad_usage_is_one_line_and_exit_code_64() {
    for args in [&["--foo"][..], &["no/such/file"], &["--update"], &["--update=1", "x"]] {
        let (out, err, code) = parts(&with_args(args));
        assert_eq!((out.as_str(), code), ("", Some(64)), "{args:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
    }
    for (args, line) in [
        (&["--report", "p.html"][..], "--report: of which script? (play --report PAGE FILE)"),
        (&["--report", "p.html", "--update", "x"], "--report: cannot go with --update"),
    ] {
        let (_, err, code) = parts(&with_args(args));
        assert_eq!((err.trim_end(), code), (line, Some(64)));
    }
    let (_, err, _) = parts(&with_args(&["no/such/file"]));
    assert!(err.starts_with("no/such/file: "), "{err}");
    let not_utf8 = root().join("target").join("play-not-utf8");
    fs::write(&not_utf8, [b'a', 0xff, b'\n']).expect("written");
    let (_, err, code) = parts(&with_args(&[not_utf8.to_str().expect("a name")]));
    assert!(err.contains("UTF-8") && code == Some(64), "{err} {code:?}");
    let _ = fs::remove_file(not_utf8);
}

#[test]
fn a_script_is_drawn_as_a_page_also_if_it_gets_stuck() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    let name = page.to_str().expect("a name");
    let draw = |script: &str| {
        let (out, err, code) = parts(&with_args(&["--report", name, script]));
        assert_eq!(out, "");
        (err, code, fs::read_to_string(&page).expect("the page is written"))
    };
    let (err, code, text) = draw("tests/scripts/normal/view_change");
    assert_eq!((err, code), (format!("page: {name}\n"), Some(0)));
    assert!(text.contains(r#""title":"normal/view_change","verdict":"No invariant was broken.""#));
    assert!(text.contains("Replica 1 campaigns") || text.contains("leads ballot 1"), "the story");
    let typo = folder.path().join("typo");
    fs::write(&typo, "clutser\n").expect("written");
    let (_, err, code) = parts(&with_args(&["--report", name, typo.to_str().expect("a name")]));
    assert!(err.contains("typo:1: ") && code == Some(1), "the line that is wrong: {err}");
    let stuck = folder.path().join("stuck");
    fs::write(&stuck, "cluster\nrequest \"hi\"\ncrash 7\n").expect("written");
    let (err, code, text) = draw(stuck.to_str().expect("a name"));
    assert!(err.contains("crash: there is no replica 7;") && code == Some(1), "{err}");
    assert!(text.contains("there is no replica 7;") && text.contains(r#""good":false"#));
}

#[test]
fn help_and_version_go_to_stdout() {
    let (out, err, code) = parts(&with_args(&["--help"]));
    assert!(out.contains("play tests/scripts/normal/view_change"), "an example: {out}");
    assert!(out.contains("--update") && err.is_empty() && code == Some(0), "{out}{err}");
    let (out, _, code) = parts(&with_args(&["--version"]));
    assert!(out.starts_with("multipaxos-play ") && code == Some(0), "{out}");
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let mut child = play()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("play starts");
    drop(child.stdout.take());
    let commands = format!("cluster\n{}", "state\n".repeat(10_000));
    child.stdin.take().expect("a pipe").write_all(commands.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("play ends");
    let (_, err, code) = parts(&output);
    assert_eq!((err.as_str(), code), ("", Some(0)));
}

// --- a session ------------------------------------------------------------------------------

/// A session's stdout and stderr.
fn typed(input: &str, prompt: bool) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    session(input.as_bytes(), &mut out, &mut err, prompt).expect("it prints");
    (text(&out), text(&err))
}

#[test]
fn a_person_is_greeted_in_one_line_and_prompted_and_a_pipe_is_not() {
    let (out, err) = typed("cluster\nstate 2\n", true);
    assert!(out.starts_with(&format!("{GREETING}\n{PROMPT}{PROMPT}2 follows ballot 0;")), "{out}");
    assert!(out.ends_with(&format!("\n{PROMPT}\n")) && err.is_empty(), "{out}{err}");
    assert!(GREETING.contains("`cluster`") && GREETING.contains("`help`"));
    let (out, _) = typed("cluster\nstate 2\n", false);
    assert!(out.starts_with("2 follows ballot 0;") && out.lines().count() == 1, "{out}");
    let (out, err) = typed("cluster\nquit\nstate\n", false);
    assert_eq!((out.as_str(), err.as_str()), ("", ""), "nothing is carried out after the end");
}

#[test]
fn at_a_prompt_a_bad_command_says_what_to_do_changes_nothing_and_the_session_goes_on() {
    let bad = "state\ncluster\nrequest \"hi\"\ncrash 0 9\ndeliver a7\nquietly state 9\nrun 3\n\
               request\nsubmit 3 \"x\"\ncampaign\ncut 1\nhelp nothing\nsave\nload\nload no/file\n";
    let (out, err) = typed(&format!("{bad}deliver a1\nstate 0\n"), false);
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 13, "{err}");
    assert_eq!(lines[0], "state: there is no cluster yet, begin with `cluster`");
    assert_eq!(lines[2], "deliver: no message a7 is on its way, `messages` lists those that are");
    for line in &lines {
        assert!(line.contains('`') || line.contains("no/file"), "what to do instead? {line}");
    }
    // `crash 0 9` names a replica that does not exist, so replica 0 stays up. `deliver a1` comes
    // after all errors and prints as usual.
    assert!(out.contains("v1 1->0 accepted") && out.contains("0 leads with ballot 0"), "{out}");
    let none = typed("undo\nsave x\n", false).1;
    assert_eq!(none, "undo: there is nothing to undo\nsave: nothing has happened yet\n");
}

#[test]
fn what_is_saved_is_a_script_that_prints_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine");
    let name = file.to_str().expect("UTF-8");
    let input = format!(
        "# What it shows.\ncluster replicas=3\nrequest \"hi\"\ncrash 1\nhelp\nbad\ndrop a1\n\
         deliver a2\nundo\ndeliver a2\nwhy 0\nsave {name}\nstate 2\nsave {name}\n"
    );
    let (out, err) = typed(&input, false);
    assert_eq!(err.lines().count(), 1, "only `bad` is: {err}");
    let saved = fs::read_to_string(&file).expect("saved");
    let script = Script::parse(file.clone(), saved.clone());
    assert_eq!(script.run().expect("it runs"), saved);
    assert!(saved.starts_with("# What it shows.\ncluster replicas=3\nrequest \"hi\"\n---\na1 "));
    assert!(!saved.contains("help") && !saved.contains("undo") && !saved.contains("bad"));
    assert_eq!(saved.matches("deliver a2").count(), 1, "{saved}");
    for line in saved.lines().filter(|line| line.starts_with("Slot 0")) {
        assert!(out.contains(line), "{line}");
    }
    // Another session does not overwrite the file.
    let (_, err) = typed(&format!("cluster\nsave {name}\n"), false);
    assert_eq!(err, format!("save: {name} is there already; choose another name\n"));
    assert_eq!(fs::read_to_string(&file).expect("saved"), saved);
}

#[test]
fn every_golden_script_that_is_loaded_and_saved_prints_the_same_lines() {
    for script in all(&root().join("tests/scripts")) {
        let mut player = Player::default();
        let Reply::Printed(printed) = player.enter(&format!("load {}", script.path.display()))
        else {
            panic!("{}: cannot be loaded", script.name())
        };
        // The lines are the same. Only the ends of blocks may differ.
        let lines = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !["", "---", "ok"].contains(line));
            let mut lines: Vec<String> = lines.map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&player.as_script()), lines(&script.text), "{}", script.name());
        let echoed = printed.iter().filter(|line| line.starts_with(PROMPT)).count();
        let commands = script.lines().filter(|(_, line)| !line.trim().is_empty()).count();
        assert_eq!(echoed, commands, "{}", script.name());
    }
}

#[test]
fn undo_takes_back_one_command_after_the_other() {
    let mut player = Player::default();
    for line in ["cluster", "request \"hi\"", "deliver a1", "crash 0", "deliver v1"] {
        assert!(matches!(player.enter(line), Reply::Printed(_)), "{line}");
    }
    let undone = |player: &mut Player, what: &str| {
        assert_eq!(player.enter("undo"), Reply::Printed(vec![format!("undone: {what}")]));
    };
    undone(&mut player, "deliver v1");
    undone(&mut player, "crash 0");
    let Reply::Printed(printed) = player.enter("deliver v1") else { panic!("v1 is on its way") };
    assert_eq!(printed[0], "0 applies slot 0: \"hi\"");
}

// --- the list of commands ---------------------------------------------------------------------

/// The first words of the commands that the list of `tests/scripts/README.md` names.
fn listed() -> Vec<String> {
    let readme = fs::read_to_string(root().join("tests/scripts/README.md")).expect("the list");
    let start = readme.find("## Commands").expect("its heading");
    let rows = readme[start..].lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row[2..].split(" | ").next().unwrap_or_default().to_owned());
    let words = cells.flat_map(|cell| {
        let spans: Vec<String> = cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        spans.into_iter().map(|span| span.split(' ').next().unwrap_or_default().to_owned())
    });
    words.collect()
}

#[test]
fn the_readme_and_help_know_the_same_commands() {
    let listed = listed();
    assert!(listed.len() > 20, "{listed:?}");
    for verb in &listed {
        assert!(help::find(verb).is_some(), "help does not know {verb}");
    }
    for group in help::SCRIPT {
        for command in group.commands {
            assert!(
                listed.iter().any(|verb| verb == command.verb),
                "README lacks {}",
                command.verb
            );
        }
    }
}

#[test]
fn help_of_each_command_begins_with_how_it_is_written_and_a_session_takes_what_it_names() {
    for verb in help::verbs() {
        let found = help::find(verb).expect("it is listed");
        assert!(found.usage.starts_with(verb), "{verb}");
        let details = help::details(found);
        assert_eq!(details[0], found.usage);
        assert!(details.iter().all(|line| line.chars().count() <= 100), "{details:#?}");
        // The session knows the command, whatever else is wrong.
        let Err(why) = Session::default().run(verb) else { continue };
        assert!(!why.contains("no such command"), "{why}");
    }
    let overview = help::overview();
    for verb in help::verbs() {
        let shown = |line: &String| line.split_whitespace().next() == Some(verb);
        assert!(overview.iter().any(shown), "{verb} is not in the list");
    }
    assert!(overview.iter().all(|line| line.chars().count() <= 100), "{overview:#?}");
}

/// Numbers that look random, and are the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

#[test]
fn whatever_is_typed_is_carried_out_or_refused_in_one_line() {
    let numbers = ["0", "1", "2", "4", "7", "99", "-1", "x", "18446744073709551615", "1e9", ""];
    let ids = ["a1", "a2", "v1", "p1", "m1", "e1", "h1", "b1", "g1", "zz", "all", "all except a1"];
    let times = ["50ms", "1s", "3", "0ms", "99999999999999s", "ms"];
    let roles = ["acceptor", "proposer", "learner", "replica", "cook"];
    let mut draw = Draw(7);
    let (mut carried_out, mut refused) = (0, 0);
    for _ in 0..120 {
        let mut player = Player::default();
        player.enter(draw.of(&[
            "cluster",
            "cluster replicas=5 checkpoint=1",
            "cluster by-hand",
            "cluster replicas=2 payload=64",
            "cluster skip_slot=1 window=1",
            "cluster replicas=1",
        ]));
        for _ in 0..40 {
            let (n, m) = (draw.of(&numbers), draw.of(&numbers));
            let line = match draw.below(24) {
                0..=4 => format!("request \"{n}\" client={m}"),
                // Always the same request: a client never gives two lines the same number.
                5 => format!("request \"x\" session=9 seq=0 to={m}"),
                6 => format!("client {n}"),
                7 => format!("submit {n} \"hello\""),
                8..=10 => format!(
                    "{} {}",
                    draw.of(&["deliver", "drop", "hold", "duplicate"]),
                    draw.of(&ids)
                ),
                11 => "settle".into(),
                12 => format!("tick {}", draw.of(&times)),
                13 => format!("quietly run {}", draw.of(&times)),
                14 => format!("campaign {n}"),
                15 => format!("crash {n}"),
                16 => format!("restart {n}"),
                17 => format!("wipe {n}"),
                18 => format!("{} {n} {}", draw.of(&["stall", "unstall", "lose"]), draw.of(&roles)),
                19 => format!("{} {n}->{m}", draw.of(&["cut", "join"])),
                20 => format!("partition {n} {m} | 0"),
                21 => format!("fail-sync {n} {}", draw.of(&["", "kept", "never"])),
                22 => {
                    format!("{} {n} {m}", draw.of(&["state", "logs", "messages", "heal", "draw"]))
                }
                _ => format!("why {n}"),
            };
            match player.enter(&line) {
                Reply::Printed(lines) => {
                    carried_out += 1;
                    let broken = lines.iter().find(|line| line.contains("VIOLATION"));
                    assert_eq!(broken, None, "{line}: {lines:#?}\n{}", player.as_script());
                }
                Reply::Refused { why, .. } => {
                    refused += 1;
                    assert_eq!(why.lines().count(), 1, "{line}: {why}");
                }
                Reply::End => panic!("{line} ends nothing"),
            }
        }
        let script = Script::parse("drawn".into(), player.as_script());
        assert_eq!(script.run().expect("it runs"), script.text);
    }
    assert!(carried_out > 1_000 && refused > 500, "{carried_out} {refused}");
}

#[test]
fn the_largest_cluster_warms_up() {
    let mut session = Session::default();
    for n in [2, 4, 63] {
        session.run(&format!("cluster replicas={n}")).expect("it warms up");
        let lines = session.run("state").expect("it runs");
        assert!(lines.len() == n && lines[0].starts_with("0 leads"), "{lines:?}");
    }
    assert!(
        session.run("cluster replicas=64").is_err() && session.run("cluster replicas=0").is_err()
    );
}

#[test]
fn a_file_of_the_scripts_folder_is_found_by_its_path() {
    let script = Script::read(Path::new("no/such")).expect_err("there is none");
    assert!(script.starts_with("no/such: "), "{script}");
}
