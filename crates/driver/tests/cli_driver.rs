//! The driver's command line: bad input gives one line and the contract's exit code.

use rustix::fs::{FlockOperation, flock};
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn driver<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_driver"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the driver starts");
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        err: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// The driver exits with code 64, prints nothing on stdout and exactly this line on stderr.
#[track_caller]
fn refused<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, line: &str) {
    let said = driver(args);
    assert_eq!((said.code, said.out.as_str()), (Some(64), ""), "{}", said.err);
    assert_eq!(said.err, format!("{line}\n"));
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn file(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, content).expect("a file for the test");
    path
}

/// The options of a run that the driver must refuse before it begins.
fn with_config(config: &Path, f: &str) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    args.extend(["--f".into(), f.into(), "--config_path".into(), config.into()]);
    args.extend(["--test_type".into(), "stress-test-0".into()]);
    args
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_with_the_place() {
    let dir = folder();
    let missing = dir.path().join("missing");
    let shown = missing.display();
    let line = format!("--config_path {shown}: cannot read: No such file or directory");
    refused(with_config(&missing, "1"), &line);

    let empty = file(&dir, "empty", "# nothing\n");
    let line = format!("--f 1 needs 3 replicas, {} lists 0", empty.display());
    refused(with_config(&empty, "1"), &line);

    let line = format!("--config_path {}: lists 0 replicas; ", empty.display());
    refused(&with_config(&empty, "1")[2..], &(line + "a cluster of 2f+1 has 1 or more"));

    let four = file(&dir, "four", "::1 1\n::1 2\n::1 3\n::1 4\n");
    let line = format!("--config_path {}: lists 4 replicas", four.display());
    refused(&with_config(&four, "1")[2..], &(line + ", not 2f+1: 3 (f = 1) or 5 (f = 2)"));

    let three = file(&dir, "three", "127.0.0.1 1\n127.0.0.1 2\n127.0.0.1 3\n");
    let line = format!("--f 2 needs 5 replicas, {} lists 3", three.display());
    refused(with_config(&three, "2"), &line);

    for (content, what) in [
        (&b"127.0.0.1 7001\n127.0.0.1\n"[..], "2: expected \"ip port\", found 1 field"),
        (b"127.0.0.1 0\n", "1: port 0 is not a port (1 to 65535)"),
        (b"\n127.0.0.1 seven\n", "2: \"seven\" is not a port (1 to 65535)"),
        (b"127.0.0.1 7001\n\xff\xfe 7002\n", "2: not UTF-8"),
        (
            b"127.0.0.1 7001\n::1 7001\n127.0.0.1 7001\n",
            "2: ::1 has only IPv6 addresses, 127.0.0.1 on line 1 only IPv4: \
             all hosts need one family",
        ),
        (
            b"127.0.0.1 7001\n127.0.0.1 7002\n127.0.0.1 7001\n",
            "3: 127.0.0.1:7001 is on line 1 already",
        ),
    ] {
        let bad = file(&dir, "bad", content);
        refused(with_config(&bad, "1"), &format!("{}:{what}", bad.display()));
    }
}

#[test]
fn a_report_is_of_one_scenario() {
    refused(["--report", "page.html"], "--report: of which scenario? (--test_type)");
}

#[test]
fn an_unknown_scenario_lists_the_eight() {
    let said = driver(["--test_type", "STRESS TEST 1"]);
    assert_eq!((said.code, said.out.as_str()), (Some(64), ""));
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 9, "{}", said.err);
    assert_eq!(lines[0], "--test_type \"STRESS TEST 1\": no such scenario; the eight are");
    assert!(lines.contains(&"  PROPOSER 0 AND 1 FAIL BEFORE PROPOSAL"));
}

#[test]
fn a_scenario_that_kills_more_than_f_is_refused_by_name() {
    let dir = folder();
    let one = file(&dir, "one", "127.0.0.1 1\n");
    let name = "proposer_0_fail_before_proposal";
    let args = ["--f", "0", "--config_path", one.to_str().unwrap(), "--test_type", name];
    let needs = "--test_type \"PROPOSER 0 FAIL BEFORE PROPOSAL\": needs f = 1 or more";
    let line = format!("{needs}, {} lists 1 replica (f = 0)", one.display());
    refused(args, &line);
    // Without --f, the driver counts f from the file.
    refused(&args[2..], &line);
}

#[test]
fn values_out_of_range_name_the_option() {
    let cases = [
        ("--msg_loss", "101", "not a percentage from 0 to 100"),
        ("--msg_loss", "ten", "not a percentage from 0 to 100"),
        ("--f", "32", "not a whole number from 0 to 31"),
        ("--f", "-1", "not a whole number from 0 to 31"),
        ("--clients", "0", "not a whole number from 1 to 1000"),
        ("--messages", "0", "not a whole number from 1 to 1000000"),
        ("--deadline_s", "0", "not a whole number from 1 to 86400"),
        ("--skip_slot", "first", "not a whole number from 0 to 18446744073709551615"),
        ("--durability", "maybe", "not one of sync, os, none"),
        ("--heartbeat_ms", "often", "not a whole number from 1 to 60000"),
        ("--election_ms", "300-", "not a span like 300-600"),
    ];
    for (option, value, what) in cases {
        refused([option, value], &format!("{option} {value}: {what}"));
        refused([format!("{option}={value}")], &format!("{option} {value}: {what}"));
        let dashes = format!("--{}", option[2..].replace('_', "-"));
        refused([dashes.as_str(), value], &format!("{option} {value}: {what}"));
    }
}

#[test]
fn a_line_that_makes_no_sense_is_refused() {
    refused(["--no-such-option", "1"], "--no_such_option: no such option (see --help)");
    let line = "--test_tpye: no such option, did you mean --test_type? (see --help)";
    refused(["--test-tpye"], line);
    refused(["--test_tpye=stress-test-0"], line);
    refused(["--msg_loss"], "--msg_loss: needs a value");
    refused(["--msg_loss", "--f", "1"], "--msg_loss: needs a value");
    let line = "argument \"stress\": every value needs its option before it (see --help)";
    refused(["stress"], line);
}

#[test]
fn an_argument_that_is_not_utf_8_is_refused() {
    let bad = || OsString::from_vec(b"caf\xe9".to_vec());
    refused([bad()], "argument \"caf\\xE9\": not UTF-8");
    refused(["--log_dir".into(), bad()], "--log_dir \"caf\\xE9\": not UTF-8");
}

#[test]
fn of_a_repeated_option_the_last_wins() {
    let args = ["--msg_loss", "never", "--msg-loss=200"];
    refused(args, "--msg_loss 200: not a percentage from 0 to 100");
    // The first --f is overridden, so the driver complains about the file instead.
    let args = ["--f=x", "--config_path", "a", "--f", "1", "--config-path=no/such"];
    refused(args, "--config_path no/such: cannot read: No such file or directory");
}

#[test]
fn a_log_directory_that_cannot_be_written_is_refused() {
    let dir = folder();
    // The folder is below a regular file, because root may write anywhere else.
    let blocked = file(&dir, "file", "").join("logs");
    let config = file(&dir, "one", "127.0.0.1 1\n");
    let mut args: Vec<OsString> = ["--f", "0", "--log_dir"].map(OsString::from).into();
    args.extend([blocked.clone().into(), "--config_path".into(), config.into()]);
    let line = format!("--log_dir {}: cannot write: Not a directory", blocked.display());
    refused(args, &line);
}

#[test]
fn a_port_in_use_fails_the_run_and_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address");
    let dir = folder();
    let config = file(&dir, "one", format!("{} {}\n", address.ip(), address.port()));
    let mut args: Vec<OsString> = ["--f", "0", "--log_dir"].map(OsString::from).into();
    args.extend([dir.path().join("logs").into(), "--config_path".into(), config.into()]);
    let said = driver(args);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert_eq!(said.err, format!("UDP {address} of replica 0 is in use\n"));
}

#[test]
fn an_address_of_another_host_is_refused_with_its_line() {
    let dir = folder();
    // The address is from the block reserved for documentation (RFC 5737).
    let config = file(&dir, "one", "# elsewhere\n192.0.2.1 7001\n");
    let mut args: Vec<OsString> = ["--f", "0", "--log_dir"].map(OsString::from).into();
    args.extend([dir.path().join("logs").into(), "--config_path".into(), config.clone().into()]);
    args.extend(["--deadline_s", "1", "--test_type", "stress-test-0"].map(OsString::from));
    let what = "192.0.2.1:7001 is no address of this host, and the driver starts all replicas here";
    refused(args, &format!("{}:2: {what}", config.display()));
}

#[test]
fn help_and_version_go_to_stdout() {
    for flag in ["--help", "-h"] {
        let said = driver([flag, "--msg_loss", "x"]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        for option in ["--config_path", "--log_dir", "--test_type", "--skip_slot", "--msg_loss"] {
            assert!(said.out.contains(&format!("\n  {option} ")), "{}", said.out);
        }
        assert!(!said.out.contains("--config-path"), "{}", said.out);
        for option in ["--f N", "--compare DIR", "--pause_ms MS", "--election_ms MIN-MAX"] {
            assert!(said.out.contains(&format!("\n  {option}  ")), "{option}: {}", said.out);
        }
        assert!(said.out.contains("driver --test_type \"STRESS TEST 0\" --"), "{}", said.out);
    }
    let said = driver(["--f", "x", "--version"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert_eq!(said.out, format!("multipaxos-driver {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_closed_stdout_is_no_panic() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_driver"))
        .arg("--help")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the driver starts");
    let output = child.wait_with_output().expect("the driver ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn compare_says_what_it_found_in_a_run_made_by_hand() {
    let log = "0 7 0 hello\n1 - - NOP\n2 7 1 world\n";
    let dir = folder();
    for id in 0..3 {
        file(&dir, &format!("learner{id}.txt"), log);
    }
    file(&dir, "learner.txt", "not a chat log");
    let shown = dir.path().display();
    let compare = |more: &[&str]| {
        let mut args = vec![OsString::from("--compare"), dir.path().into()];
        args.extend(more.iter().map(OsString::from));
        driver(args)
    };
    let said = compare(&[]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert_eq!(said.out, format!("PASS  {shown}: 3 of 3 chat logs identical, 2 lines, 1 NOPs\n"));

    file(&dir, "learner2.txt", "0 7 0 hello\n");
    let said = compare(&[]);
    assert_eq!(said.code, Some(0));
    assert_eq!(
        said.out,
        format!(
            "PASS  {shown}: 2 of 3 chat logs identical, 2 lines, 1 NOPs\n  \
             learner2.txt is 2 lines behind\n"
        )
    );

    // A cluster of five or seven, of which only three have a log.
    let said = compare(&["--f", "2"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.ends_with("\n  learner4.txt is absent\n"), "{}", said.out);
    let said = compare(&["--f", "3"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("only 3 of 7 chat logs are there: no majority"), "{}", said.out);

    file(&dir, "learner1.txt", log.replace("world", "word"));
    let said = compare(&[]);
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.out,
        format!(
            "FAIL  {shown}: slot 2: the chat logs differ\n  \
             learner0.txt | 2 7 1 world\n  learner1.txt | 2 7 1 word\n"
        )
    );
}

#[test]
fn compare_waits_for_a_replica_that_runs_and_for_no_other() {
    let dir = folder();
    for id in 0..3 {
        file(&dir, &format!("learner{id}.txt"), "0 7 0 hello\n");
    }
    let program = env!("CARGO_BIN_EXE_driver");
    let begin = || {
        let mut command = Command::new(program);
        command.arg("--compare").arg(dir.path()).stdout(Stdio::piped()).spawn().expect("it starts")
    };
    // The replica of this log runs, and is about to write the line that the others have.
    let late = OpenOptions::new().append(true).open(dir.path().join("learner1.txt"));
    let mut late = late.expect("it is there");
    flock(&late, FlockOperation::LockExclusive).expect("nobody else has it");
    for id in [0, 2] {
        file(&dir, &format!("learner{id}.txt"), "0 7 0 hello\n1 7 1 world\n");
    }
    let child = begin();
    late.write_all(b"1 7 1 world\n").expect("it is written");
    let said = child.wait_with_output().expect("it ends").stdout;
    assert!(String::from_utf8_lossy(&said).contains("3 of 3 chat logs identical"), "{said:?}");
    // A replica that was killed writes nothing more.
    file(&dir, "learner2.txt", "0 7 0 hello\n");
    let began = Instant::now();
    let said = begin().wait_with_output().expect("it ends").stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("PASS") && said.contains("learner2.txt is 1 line behind"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(2), "it waited for nobody");
}

#[test]
fn compare_without_a_chat_log_fails_with_one_line() {
    let dir = folder();
    let said = driver([OsStr::new("--compare"), dir.path().as_os_str()]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    let shown = dir.path().display();
    let line = format!("--compare {shown}: no chat log (learner<id>.txt) there\n");
    assert_eq!(said.err, line);
    let missing = dir.path().join("missing");
    let said = driver([OsStr::new("--compare"), missing.as_os_str()]);
    assert_eq!((said.code, said.err.lines().count()), (Some(1), 1), "{}", said.err);
}
