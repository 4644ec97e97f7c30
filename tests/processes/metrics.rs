//! `--metrics_file`: what a replica writes for Prometheus, and when.

use crate::support::*;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
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

/// Asks for the metrics at a port of this host. `None` if nobody answers.
fn get(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn a_replica_serves_its_metrics_to_whoever_scrapes_though_somebody_else_says_nothing() {
    let place = Place::new(0);
    let (port, file) = (free_port(), place.dir.path().join("it.prom"));
    let (port_named, file_named) = (port.to_string(), file.to_str().expect("a name"));
    let options = ["--metrics_address", &port_named, "--metrics_file", file_named];
    let mut replica = place.replica_with(0, &options);
    replica.process.wait_for("warm-up complete");
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"a\nb\n")).len(), 2);
    let silent = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let page = until("both lines are on the page", || {
        let page = get(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
        page.contains("multipaxos_applied_slots_total{replica=\"0\"} 2\n").then_some(page)
    });
    drop(silent);
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    until("the file says the same", || sample(&file, "multipaxos_applied_slots_total"));
    let elsewhere = get(port, "GET / HTTP/1.1\r\n\r\n").expect("an answer");
    assert!(elsewhere.starts_with("HTTP/1.1 404 "), "{elsewhere}");
    let (_, body) = page.split_once("\r\n\r\n").expect("a body");
    let has: BTreeSet<&str> = body.lines().filter_map(|line| line.split('{').next()).collect();
    for name in of_the_dashboard() {
        assert!(has.contains(name.as_str()), "{name}: {body}");
    }
    replica.process.signal("-TERM");
    assert_eq!(replica.process.end().0.code(), Some(0));
}

/// The names of the metrics that the dashboard shows.
fn of_the_dashboard() -> BTreeSet<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/grafana.json");
    let text = fs::read_to_string(file).expect("it is there");
    let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = all["panels"].as_array().expect("a list");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("a list"));
    let shown = targets.map(|target| target["expr"].as_str().expect("text").to_owned());
    let mut names = BTreeSet::new();
    for expression in shown {
        for (at, _) in expression.match_indices("multipaxos_") {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            names.insert(expression[at..].chars().take_while(|it| is_name(*it)).collect());
        }
    }
    assert!(names.len() >= 9, "{names:?}");
    names
}

#[test]
fn an_address_for_metrics_that_is_none_or_taken_is_refused() {
    let place = Place::new(0);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = taken.local_addr().expect("it is bound").to_string();
    for (address, code, said) in [
        ("localhost:80", 64, "--metrics_address localhost:80: not a port like 9464 or an address"),
        ("0", 64, "--metrics_address 0: not a port like 9464 or an address like 10.0.0.5:9464"),
        (at.as_str(), 1, "Address already in use"),
    ] {
        let mut command = place.program(env!("CARGO_BIN_EXE_replica"));
        command.arg("--log_dir").arg(place.logs());
        let ran = command.args(["--replica_id", "0", "--metrics_address", address]).output();
        let ran = ran.expect("it runs");
        assert_eq!(ran.status.code(), Some(code));
        assert!(text(&ran.stderr).contains(said), "{}", text(&ran.stderr));
        assert!(!place.logs().exists(), "nothing was made");
    }
}
