//! A replica as a unit of systemd: what it tells `$NOTIFY_SOCKET`, and the unit in
//! `configs/systemd`.

use crate::support::*;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

const UNIT: &str = "configs/systemd/multipaxos@.service";
const HOSTS: &str = "configs/systemd/hosts.txt";

/// What the unit is called while it is verified.
const INSTANCE: &str = "multipaxos@0.service";

/// How exposed the unit may be at most, in tenths.
const EXPOSURE_MAX: &str = "20";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A socket in the place of systemd's.
struct Supervisor {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Supervisor {
    fn new(place: &Place) -> Supervisor {
        fs::create_dir_all(place.logs()).expect("a folder");
        let socket = UnixDatagram::bind(place.logs().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        Supervisor { socket, said: Vec::new() }
    }

    /// Takes datagrams until this has been said so often from now on.
    #[track_caller]
    fn wait_for(&mut self, words: &str, mut times: usize) {
        let (end, mut bytes) = (Instant::now() + PATIENCE, [0; 4_096]);
        while times > 0 {
            assert!(Instant::now() < end, "{words:?} was not said, but {:#?}", self.said);
            match self.socket.recv(&mut bytes) {
                Ok(length) => {
                    let said = String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned();
                    times -= usize::from(said == words);
                    self.said.push(said);
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
            }
        }
    }
}

#[test]
fn a_replica_tells_its_supervisor_when_it_is_ready_alive_and_about_to_end() {
    let place = Place::new(1);
    let mut supervisor = Supervisor::new(&place);
    let socket = format!("NOTIFY_SOCKET={}", place.logs().join("notify").display());
    let by = ["env", &socket, "WATCHDOG_USEC=200000"];
    let mut replica = place.replica_by(&by, 0, &[]);
    supervisor.wait_for("STATUS=waits for the other replicas", 1);
    supervisor.wait_for("WATCHDOG=1", 2);
    assert!(!supervisor.said.iter().any(|said| said == "READY=1"), "{:#?}", supervisor.said);
    let _others = [place.replica(1), place.replica(2)];
    supervisor.wait_for("READY=1", 1);
    supervisor.wait_for("STATUS=leads with ballot 0", 1);
    supervisor.wait_for("WATCHDOG=1", 5);
    replica.process.signal("-TERM");
    supervisor.wait_for("STOPPING=1", 1);
    let (status, said) = replica.process.end();
    assert_eq!(status.code(), Some(0), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("NOTIFY_SOCKET")), "{said:#?}");
}

#[test]
fn a_supervisor_that_has_gone_stops_no_replica() {
    let place = Place::new(0);
    let mut replica = place.replica_by(&["env", "NOTIFY_SOCKET=/nowhere/at/all"], 0, &[]);
    replica.process.wait_for("replica 0: $NOTIFY_SOCKET: ");
    assert_eq!(completions(&place.say(&[], b"hello\n")).len(), 1);
}

#[test]
fn systemd_accepts_the_unit_and_finds_little_exposed() {
    let place = Place::new(0);
    fs::create_dir_all(place.logs()).expect("a folder");
    let unit = fs::read_to_string(root().join(UNIT)).expect("the unit");
    let installed = unit.replace("/usr/local/bin/replica", env!("CARGO_BIN_EXE_replica"));
    assert_ne!(unit, installed, "it names the program");
    let template = place.logs().join("multipaxos@.service");
    fs::write(&template, installed).expect("it is written");
    let analyze = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(args).current_dir(place.logs()).stdin(Stdio::null()).output()
    };
    let verified = match analyze(&["verify", "--man=no", INSTANCE]) {
        Ok(output) => output,
        Err(error) => return println!("not verified: systemd-analyze: {error}"),
    };
    let said = text(&verified.stdout) + &text(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    let security = ["security", "--offline=true", "--threshold", EXPOSURE_MAX];
    let template = template.display().to_string();
    let judged = analyze(&[&security[..], &[&template]].concat()).expect("it runs");
    let said = text(&judged.stdout) + &text(&judged.stderr);
    assert!(judged.status.success(), "{said}");
    assert!(said.contains("Overall exposure level"), "{said}");
}

#[test]
fn the_example_lists_three_hosts_that_the_unit_lets_through() {
    let hosts = fs::read_to_string(root().join(HOSTS)).expect("the configuration");
    let lines: Vec<&str> = hosts.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| line.starts_with("10.0.0.")), "{hosts}");
    let unit = fs::read_to_string(root().join(UNIT)).expect("the unit");
    for line in
        ["Type=notify", "RestartPreventExitStatus=64", "IPAddressAllow=localhost 10.0.0.0/24"]
    {
        assert!(unit.lines().any(|other| other == line), "{line}");
    }
}
