//! `--metrics_file`: what a replica writes for Prometheus, and when.

use crate::support::*;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The value of a sample, if the file has it.
fn sample(file: &Path, name: &str) -> Option<f64> {
    let page = fs::read_to_string(file).ok()?;
    let line = page.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What Prometheus' own tool says of the file, if it is installed.
fn check(file: &Path) {
    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checker) = checker else {
        eprintln!("skipped in part: there is no promtool here");
        return;
    };
    let page = fs::read(file).expect("it is there");
    checker.stdin.take().expect("a pipe").write_all(&page).expect("it reads");
    let said = checker.wait_with_output().expect("it ends");
    let said = (said.status.success(), text(&said.stdout), text(&said.stderr));
    assert_eq!(said, (true, String::new(), String::new()));
}

#[test]
fn a_replica_writes_what_it_is_and_removes_it_at_a_clean_end() {
    let place = Place::new(1);
    let files: Vec<_> =
        (0..3).map(|id| place.dir.path().join(format!("replica{id}.prom"))).collect();
    let named: Vec<&str> = files.iter().map(|file| file.to_str().expect("a name")).collect();
    let replica = |id: usize| place.replica_with(id, &["--metrics_file", named[id]]);
    let mut first = replica(0);
    until("the process is described before warm-up is over", || {
        sample(&files[0], "multipaxos_uptime_seconds{replica=\"0\"}")
    });
    assert_eq!(sample(&files[0], "multipaxos_applied_slots_total"), None);
    let _others = [replica(1), replica(2)];
    first.process.wait_for("warm-up complete");
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"a\nb\n")).len(), 2);
    until("the leader has applied both lines", || {
        let applied = sample(&files[0], "multipaxos_applied_slots_total{replica=\"0\"}");
        applied.filter(|slots| *slots == 2.0)
    });
    let leads = "multipaxos_conduct{replica=\"0\",conduct=\"leads\"}";
    assert_eq!(sample(&files[0], leads), Some(1.0));
    let sent = "multipaxos_network_events_total{replica=\"0\",event=\"sent\"}";
    assert!(sample(&files[0], sent).is_some_and(|sent| sent > 2.0));
    check(&files[0]);
    first.process.signal("-TERM");
    assert_eq!(first.process.end().0.code(), Some(0));
    assert!(!files[0].exists(), "it speaks of a replica that runs");
    until("another one leads", || {
        let leads = |id: usize| {
            let name = format!("multipaxos_conduct{{replica=\"{id}\",conduct=\"leads\"}}");
            sample(&files[id], &name)
        };
        (leads(1) == Some(1.0) || leads(2) == Some(1.0)).then_some(())
    });
}

#[test]
fn a_metrics_file_that_cannot_be_written_is_refused_before_anything_is_touched() {
    let place = Place::new(0);
    let mut command = place.program(env!("CARGO_BIN_EXE_replica"));
    command.arg("--log_dir").arg(place.logs());
    command.args(["--replica_id", "0", "--metrics_file", "no/such/folder/it.prom"]);
    let ran = command.output().expect("it runs");
    assert_eq!(ran.status.code(), Some(64));
    let said = text(&ran.stderr);
    assert!(said.contains("--metrics_file no/such/folder/it.prom: No such file"), "{said}");
    assert!(!place.logs().exists(), "nothing was made");
}
