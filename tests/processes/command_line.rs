//! The answers of replica and client to their command lines.

use super::support::*;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const REPLICA: &str = env!("CARGO_BIN_EXE_replica");
const CLIENT: &str = env!("CARGO_BIN_EXE_client");

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).output().expect("it starts")
}

/// The program exits with code 64, prints nothing on stdout and exactly this line on stderr.
#[track_caller]
fn refused(program: &str, args: &[&str], line: &str) {
    let ran = run(program, args);
    let said = (ran.status.code(), text(&ran.stdout), text(&ran.stderr));
    assert_eq!(said, (Some(64), String::new(), format!("{line}\n")), "{args:?}");
}

#[test]
fn help_names_every_option_with_its_value_and_ends_with_examples() {
    // In a debug build, every program checks the rest of its help itself: see `command_line::help`.
    for (program, options) in [
        (
            REPLICA,
            &[
                "--replica_id N",
                "--f N",
                "--config_path FILE",
                "--key_file FILE",
                "--insecure",
                "--make_key FILE",
                "--make_client_key FILE",
                "--log_dir DIR",
                "--data_dir DIR",
                "--metrics_file FILE",
                "--metrics_address ADDR",
                "--trace FILE",
                "--begin_from FILE",
                "--rejoin",
                "--observer",
                "--durability MODE",
                "--threads LAYOUT",
                "--msg_loss PERCENT",
                "--skip_slot SLOT",
                "--rand_seed N",
                "--heartbeat_ms MS",
                "--election_ms MIN-MAX",
                "--datagram_max BYTES",
                "--no_offload",
                "--check",
                "--json",
                "--log_level LEVEL",
                "-h, --help",
                "--version",
                "--man",
                "--completions SHELL",
            ][..],
        ),
        (
            CLIENT,
            &[
                "--f N",
                "--config_path FILE",
                "--key_file FILE",
                "--insecure",
                "--client_id N",
                "--status",
                "--json",
                "--in_flight N",
                "--follow",
                "--history",
                "--read",
                "--admin TASK",
                "--force",
                "--snapshot FILE",
                "--from SLOT",
                "--format FORMAT",
                "--timeout SECONDS",
                "--trace FILE",
                "--msg_loss PERCENT",
                "--rand_seed N",
                "--datagram_max BYTES",
                "--no_offload",
                "--log_level LEVEL",
                "-h, --help",
                "--version",
                "--man",
                "--completions SHELL",
            ],
        ),
    ] {
        let ran = run(program, &["--help"]);
        let (help, err) = (text(&ran.stdout), text(&ran.stderr));
        assert_eq!((ran.status.code(), err.as_str()), (Some(0), ""));
        let begin = |line: &str| line.starts_with("  -").then(|| line.trim().to_owned());
        let named: Vec<String> = help.lines().filter_map(begin).collect();
        assert_eq!(named.len(), options.len(), "{help}");
        for (line, option) in named.iter().zip(options) {
            assert!(line.starts_with(&format!("{option}  ")), "{option} in {help}");
        }
        assert!(help.starts_with(&format!("Usage: {program} ")), "{help}");
        let (_, examples) = help.split_once("\nExamples:\n").expect("examples");
        assert!(examples.contains(&format!("{program} --")), "{help}");
        assert!(help.lines().all(|line| line.contains(program) || line.len() <= 90), "{help}");
    }
}

#[test]
fn an_option_that_does_not_exist_is_said_to_and_the_nearest_is_named() {
    refused(CLIENT, &["--foo"], "--foo: no such option (see --help)");
    refused(CLIENT, &["--foo=1"], "--foo: no such option (see --help)");
    let meant = "no such option, did you mean --replica_id? (see --help)";
    refused(REPLICA, &["--replica-di", "1"], &format!("--replica_di: {meant}"));
    refused(REPLICA, &["--log_dir"], "--log_dir: needs a value");
    refused(REPLICA, &["--replica_id=one"], "--replica_id one: not a whole number from 0 to 62");
    refused(REPLICA, &[], "--replica_id: required, and not given");
}

#[test]
fn without_f_the_configuration_says_how_many_may_fail() {
    let place = Place::new(1);
    let (logs, config) = (place.logs(), place.dir.path().join("config.txt"));
    let (logs, config) = (logs.to_str().unwrap(), config.to_str().unwrap());
    let replica = |id: &str| {
        let mut command = Command::new(REPLICA);
        command.args(["--config_path", config, "--log_dir", logs, "--replica_id", id]);
        command
    };
    let mut cluster: Vec<Process> =
        ["0", "1", "2"].into_iter().map(|id| Process::spawn(&mut replica(id))).collect();
    cluster.iter_mut().for_each(|process| process.wait_for("warm-up complete"));
    let ran = run(CLIENT, &["--config_path", config, "--timeout", "15"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let line = format!("--f 2 needs 5 replicas, {config} lists 3");
    refused(CLIENT, &["--config_path", config, "--f", "2"], &line);
    let args = ["--config_path", config, "--f", "2", "--replica_id", "0"];
    refused(REPLICA, &args, &line);
    let line = format!("--replica_id 3: {config} lists the ids 0 to 2");
    refused(REPLICA, &["--config_path", config, "--replica_id", "3"], &line);
}

/// What bash proposes behind these words of a command line.
fn bash_proposes(program: &str, words: &[&str]) -> Vec<String> {
    let script = text(&run(program, &["--completions", "bash"]).stdout);
    let last = words.len();
    let name = program.rsplit('/').next().expect("a name");
    let ask = format!(
        "{script}\nCOMP_WORDS=({name} {}); COMP_CWORD={last}; _multipaxos_{name}; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" ")
    );
    let ran = Command::new("bash").args(["-c", &ask]).output().expect("bash runs");
    assert_eq!(text(&ran.stderr), "");
    text(&ran.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_options_and_the_values_that_it_can_know() {
    assert_eq!(bash_proposes(REPLICA, &["--dur"]), ["--durability"]);
    assert_eq!(bash_proposes(REPLICA, &["--threads", "''"]), ["per-role", "one"]);
    assert_eq!(bash_proposes(REPLICA, &["--replica_id", "''"]), [""]);
    let place = Place::new(0);
    fs::create_dir(place.dir.path().join("a folder")).expect("it is made");
    let begins = |name: &str| place.dir.path().join(name).display().to_string();
    let word = format!("'{}'", begins(""));
    let mut files = bash_proposes(CLIENT, &["--config_path", &word]);
    files.sort_unstable();
    assert_eq!(files, [begins("a folder"), begins("config.txt")]);
    assert_eq!(bash_proposes(REPLICA, &["--log_dir", &word]), [begins("a folder")]);
}

#[test]
fn every_word_that_a_completion_proposes_is_taken() {
    let options = [("--threads", "LAYOUT"), ("--log_level", "LEVEL"), ("--durability", "MODE")];
    for (option, metavariable) in options {
        let row = command_line::completions::WORDS.iter().find(|(name, _)| *name == metavariable);
        for word in row.expect("a row").1 {
            // The last fault is found last.
            let args =
                [option, word, "--replica_id", "0", "--f", "1", "--config_path", "/dev/null"];
            refused(REPLICA, &args, "--f 1 needs 3 replicas, /dev/null lists 0");
        }
    }
}

#[test]
fn installing_puts_programs_pages_and_completions_in_their_places() {
    let place = Place::new(0);
    let bin = Path::new(CLIENT).parent().expect("a folder");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install.sh");
    let mut install = Command::new("sh");
    install.arg(script).arg(bin).args(["/usr", "client", "replica"]);
    let ran = install.env("DESTDIR", place.dir.path()).output().expect("it runs");
    assert_eq!((ran.status.code(), text(&ran.stderr).as_str()), (Some(0), ""));
    let installed = |file: &str| fs::read(place.dir.path().join("usr").join(file)).expect("it is");
    assert_eq!(installed("bin/client"), fs::read(CLIENT).expect("it is built"));
    for (file, begins) in [
        ("share/man/man1/replica.1", ".ie"),
        ("share/bash-completion/completions/client", "_multipaxos_client() {"),
        ("share/zsh/site-functions/_client", "#compdef client\n"),
        ("share/fish/vendor_completions.d/replica.fish", "complete -c replica -f\n"),
    ] {
        assert!(text(&installed(file)).starts_with(begins), "{}", text(&installed(file)));
    }
}
