//! scripts/run.sh, which `make run` calls: a chat that goes on, and several at once.

use super::support::*;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// `make run LOG_DIR=folder` or `make run-fresh`, with these options for the client.
fn script(fresh: bool, folder: &Path, options: &[&str]) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_replica")).parent().expect("a folder");
    let mut command = Command::new("scripts/run.sh");
    command.args(fresh.then_some("--fresh")).arg(programs).arg(folder).args(options);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the script on this input until it ends.
fn say(mut script: Command, input: &str) -> Output {
    let mut child = script.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A run that is refused does not read its input.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn chat(folder: &Path) -> Vec<String> {
    let log = |id| fs::read_to_string(folder.join(format!("learner{id}.txt"))).expect("a log");
    let logs: Vec<String> = (0..3).map(log).collect();
    assert!(logs.iter().all(|log| *log == logs[0]), "{logs:?}");
    logs[0].lines().map(str::to_owned).collect()
}

fn ports(folder: &Path) -> Vec<String> {
    let config = fs::read_to_string(folder.join("cluster.txt")).expect("a configuration");
    config.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// A run whose first line is complete. It goes on until its input is dropped.
fn running(folder: &Path) -> (Child, impl BufRead) {
    let mut child = script(false, folder, &["--client_id", "7"]).spawn().expect("it starts");
    child.stdin.as_mut().expect("a pipe").write_all(b"first\n").expect("it reads");
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut answer = String::new();
    answers.read_line(&mut answer).expect("it answers");
    assert_eq!(answer, "7 0 0\n");
    (child, answers)
}

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("run");
    (dir, path)
}

#[test]
fn a_chat_goes_on_until_a_new_one_is_asked_for_and_the_old_one_stays() {
    let (_dir, folder) = folder();
    let shown = folder.display();
    let ran = say(script(false, &folder, &["--client_id", "7"]), "a\nb\n");
    assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(0), "7 0 0\n7 1 1\n"));
    assert!(text(&ran.stderr).starts_with(&format!("a new chat begins in {shown}\n")));

    let ran = say(script(false, &folder, &["--client_id", "7"]), "c\n");
    assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(0), "7 2 2\n"));
    let said = format!("the chat in {shown} goes on (2 lines so far); ");
    let anew = format!("'make run-fresh LOG_DIR={shown}' begins a new one\n");
    assert!(text(&ran.stderr).starts_with(&(said + &anew)), "{}", text(&ran.stderr));
    assert_eq!(chat(&folder), ["0 7 0 a", "1 7 1 b", "2 7 2 c"]);

    let ran = say(script(true, &folder, &["--client_id", "7"]), "d\n");
    assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(0), "7 0 0\n"));
    let said = format!(
        "the old chat (3 lines) is now in {shown}.1; 'make run LOG_DIR={shown}.1' goes on with \
         it\na new chat begins in {shown}\n"
    );
    assert!(text(&ran.stderr).starts_with(&said), "{}", text(&ran.stderr));
    assert_eq!(chat(&folder), ["0 7 0 d"]);
    let old = PathBuf::from(format!("{shown}.1"));
    let ran = say(script(false, &old, &["--client_id", "8"]), "e\n");
    assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(0), "8 0 3\n"));
    assert_eq!(chat(&old), ["0 7 0 a", "1 7 1 b", "2 7 2 c", "3 8 0 e"]);
}

#[test]
fn two_runs_take_ports_of_their_own_and_never_the_same_folder() {
    let ((_one_dir, one), (_other_dir, other)) = (folder(), folder());
    let (mut first, answers) = running(&one);
    let said = || (0..3).map(|id| fs::read(one.join(format!("replica{id}.err"))).expect("a file"));
    let before: Vec<Vec<u8>> = said().collect();
    let (shown, taken) = (one.display(), ports(&one));
    for fresh in [false, true] {
        let ran = say(script(fresh, &one, &[]), "never\n");
        assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(1), ""));
        let err = text(&ran.stderr);
        assert!(err.starts_with(&format!("{shown}: a chat runs here already; join it")), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.contains(&format!("client --config_path {shown}/cluster.txt'")), "{err}");
    }
    for (now, before) in said().zip(&before) {
        assert!(now.starts_with(before), "what a replica has said is still there");
    }
    assert_eq!(ports(&one), taken);

    let (mut second, other_answers) = running(&other);
    assert!(ports(&other).iter().all(|port| !taken.contains(port)), "{taken:?}");
    for (child, answers, folder) in [
        (&mut first, Box::new(answers) as Box<dyn BufRead>, &one),
        (&mut second, Box::new(other_answers), &other),
    ] {
        child.stdin.as_mut().expect("a pipe").write_all(b"second").expect("it reads");
        drop(child.stdin.take());
        let rest: Vec<String> = answers.lines().map(|line| line.expect("a line")).collect();
        assert_eq!(rest, ["7 1 1"]);
        assert!(child.wait().expect("it ends").success());
        assert_eq!(chat(folder), ["0 7 0 first", "1 7 1 second"]);
    }
}
