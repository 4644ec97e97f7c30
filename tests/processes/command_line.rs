//! The answers of replica and client to their command lines.

use super::support::*;
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
                "--log_dir DIR",
                "--data_dir DIR",
                "--metrics_file FILE",
                "--begin_from FILE",
                "--durability MODE",
                "--threads LAYOUT",
                "--msg_loss PERCENT",
                "--skip_slot SLOT",
                "--rand_seed N",
                "--heartbeat_ms MS",
                "--election_ms MIN-MAX",
                "--datagram_max BYTES",
                "--no_offload",
                "--log_level LEVEL",
                "-h, --help",
                "--version",
            ][..],
        ),
        (
            CLIENT,
            &[
                "--f N",
                "--config_path FILE",
                "--client_id N",
                "--status",
                "--json",
                "--timeout SECONDS",
                "--msg_loss PERCENT",
                "--rand_seed N",
                "--datagram_max BYTES",
                "--no_offload",
                "--log_level LEVEL",
                "-h, --help",
                "--version",
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
