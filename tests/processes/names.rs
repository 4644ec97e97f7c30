//! Names and addresses: configurations that cannot work, that differ between hosts, and hosts
//! that move.

use super::support::*;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

impl Place {
    /// A cluster file beside the usual one, with these lines; returns its path.
    pub(crate) fn file(&self, name: &str, lines: &[String]) -> String {
        let path: PathBuf = self.dir.path().join(name);
        fs::write(&path, lines.join("\n") + "\n").expect("a configuration");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The lines of the usual cluster file.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("config.txt")).expect("it is there");
        text.lines().map(str::to_owned).collect()
    }
}

/// Whether this host lets a test give a process a network of its own; says so if not.
fn has_namespaces() -> bool {
    let able = Command::new("unshare").args(["-n", "true"]).output();
    let able = able.is_ok_and(|ran| ran.status.success());
    if !able {
        eprintln!("skipped in part: no rights for a network namespace");
    }
    able
}

/// The port of a line.
fn port(line: &str) -> &str {
    line.split_once(' ').expect("two fields").1
}

#[test]
fn a_replica_binds_every_interface_where_its_own_line_says_so() {
    let place = Place::new(1);
    let mut files = Vec::new();
    for id in 0..3 {
        let mut lines = place.lines();
        lines[id] = format!("0.0.0.0 {}", port(&lines[id]));
        files.push(place.file(&format!("config{id}.txt"), &lines));
    }
    let mut cluster: Vec<Replica> = (0..3)
        .map(|id| place.replica_with(id, &["--config_path", &files[id], "--insecure"]))
        .collect();
    for replica in &mut cluster {
        replica.process.wait_for("listens on 0.0.0.0:");
        replica.process.wait_for("warm-up complete");
    }
    let ran = place.say(&["--client_id", "7"], b"hello\n");
    assert_eq!(text(&ran.stdout), "7 0 0\n", "{}", text(&ran.stderr));
    // Nobody can send to every interface: a client and other replicas refuse the line.
    let ran = place.say(&["--config_path", &files[1]], b"hello\n");
    let line = format!(
        "{}:2: 0.0.0.0 is every interface, which only a replica's own line may say: others need \
         an address to reach it at\n",
        files[1]
    );
    assert_eq!((ran.status.code(), text(&ran.stderr)), (Some(64), line.clone()));
    let mut other = place.replica_with(0, &["--config_path", &files[1]]);
    let (status, said) = other.process.end();
    assert_eq!((status.code(), said.join("\n") + "\n"), (Some(64), line));
}

#[test]
fn a_loopback_address_among_others_is_warned_of() {
    let place = Place::new(1);
    let mut lines = place.lines();
    lines[0] = format!("127.0.1.1 {}", port(&lines[0]));
    lines[2] = "192.0.2.7 7000".into();
    let file = place.file("mixed.txt", &lines);
    let mut replica = place.replica_with(0, &["--config_path", &file, "--insecure"]);
    replica.process.wait_for(&format!(
        "{file}:1: 127.0.1.1 is the loopback address 127.0.1.1, which other hosts do not reach"
    ));
    replica.process.wait_for(&format!("{file}:2: 127.0.0.1 is the loopback address"));
    // On one host all are loopback addresses, and nothing is said.
    let (_, said) = {
        let mut ended = place.replica(1);
        ended.process.wait_for("still waiting");
        ended.process.signal("-TERM");
        ended.process.end()
    };
    assert!(!said.iter().any(|line| line.contains("WARN")), "{said:#?}");
}

#[test]
fn sends_that_fail_are_said_with_their_cause_once() {
    let place = Place::new(1);
    let mut lines = place.lines();
    lines[2] = "192.0.2.7 7000".into();
    let file = place.file("far.txt", &lines);
    let options = ["--config_path", &file, "--insecure"];
    let mut replica = place.replica_with(0, &options);
    // From a loopback address there is no way to another host.
    replica.process.wait_for("sends to replica 2 (192.0.2.7:7000) fail: invalid argument");
    replica.process.wait_for("still waiting for replicas 1, 2");
    replica.process.signal("-TERM");
    let (status, said) = replica.process.end();
    let lines = said.iter().filter(|line| line.contains("fail:")).count();
    assert_eq!((status.code(), lines), (Some(0), 1), "dozens fail a second: {said:#?}");
    if has_namespaces() {
        let mut lines = place.lines();
        lines[0] = format!("0.0.0.0 {}", port(&lines[0]));
        lines[2] = "192.0.2.7 7000".into();
        let file = place.file("unplugged.txt", &lines);
        let mut replica =
            place.replica_by(&["unshare", "-n"], 0, &["--config_path", &file, "--insecure"]);
        let line = "sends to replica 2 (192.0.2.7:7000) fail: network is unreachable";
        replica.process.wait_for(line);
    }
}

/// Passes datagrams on to `to`, as ones of the next version. Returns the line under which it is
/// reached. (Its thread ends with the test's process.)
fn next_version(to: &str) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let line = format!("127.0.0.1 {}", socket.local_addr().expect("it is bound").port());
    let to: SocketAddr = to.replace(' ', ":").parse().expect("an address");
    thread::spawn(move || {
        let mut datagram = [0; 65_536];
        while let Ok((bytes, _)) = socket.recv_from(&mut datagram) {
            datagram[4] += 1;
            let _ = socket.send_to(&datagram[..bytes], to);
        }
    });
    line
}

#[test]
fn replicas_of_two_versions_say_so_at_both() {
    let place = Place::new(1);
    let (mut zero, mut one) = (place.lines(), place.lines());
    // Each hears the other as if that were of the next version.
    zero[1] = next_version(&zero[1]);
    one[0] = next_version(&one[0]);
    let at = [&one[0], &zero[1]].map(|line| line.replace(' ', ":"));
    let files = [place.file("zero.txt", &zero), place.file("one.txt", &one)];
    let mut cluster: Vec<Replica> =
        (0..2).map(|id| place.replica_with(id, &["--config_path", &files[id]])).collect();
    for (id, other, at) in [(0, 1, &at[0]), (1, 0, &at[1])] {
        cluster[id].process.wait_for(&format!(
            "replica {id}: replica {other} at {at} speaks version 13, this is version 12: run the \
             same build everywhere"
        ));
    }
}

#[test]
fn a_cluster_of_another_size_is_heard_by_replicas_and_clients() {
    let place = Place::new(2);
    let lines = place.lines();
    let all = lines.iter().map(|line| line.replace(' ', ":")).collect::<Vec<_>>();
    let three = place.file("three.txt", &lines[..3]);
    let options = ["--config_path", &three, "--f", "1"];
    let (mut of_three, mut of_five) = (place.replica_with(0, &options), place.replica(1));
    let told = "give all hosts and clients the same list";
    let line = format!("replica 0: hears a cluster of 5 at {}, configured for 3: {told}", all[1]);
    of_three.process.wait_for(&line);
    let line = format!("replica 1: hears a cluster of 3 at {}, configured for 5: {told}", all[0]);
    of_five.process.wait_for(&line);
    // A client is told, too.
    let lone = place.file("lone.txt", &lines[1..2]);
    for (file, f, n) in [(&three, "1", 3), (&lone, "0", 1)] {
        let args = ["--config_path", file, "--f", f, "--timeout", "1"];
        let ran = place.say(&args, b"into the void\n");
        let line = format!("client: hears a cluster of 5 at {}, configured for {n}", all[1]);
        let err = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{err}");
        // The only replica of a list that is asked by its right number.
        assert_eq!(err.matches(&line).count(), 1, "{err}");
    }
}

#[test]
fn lines_in_another_order_are_noticed_where_datagrams_miss_their_replica() {
    let place = Place::new(1);
    let lines = place.lines();
    let mut swapped = lines.clone();
    swapped.swap(0, 1);
    let file = place.file("swapped.txt", &swapped);
    let mut cluster =
        [place.replica(0), place.replica(1), place.replica_with(2, &["--config_path", &file])];
    let at = lines[2].replace(' ', ":");
    let order = "the configurations list the replicas in another order";
    for (id, taken) in [(0, 1), (1, 0)] {
        let line =
            format!("replica {id}: replica 2 at {at} takes this for replica {taken}: {order}");
        cluster[id].process.wait_for(&line);
    }
    // Nothing that it sends arrives at the right one, but it hears the others.
    let line = "still waiting for replicas 0, 1; the configuration of replica 0 and 1 lists other \
                addresses or another order than this one's";
    cluster[2].process.wait_for(line);
    // A client whose every line is another's is told what is at the first.
    let mut rotated = lines.clone();
    rotated.rotate_left(1);
    let file = place.file("rotated.txt", &rotated);
    let ran = place.say(&["--config_path", &file, "--timeout", "1"], b"hello\n");
    let at = rotated[0].replace(' ', ":");
    let line = format!("client: replica 1 is at {at}, where another is expected: {order}");
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(text(&ran.stderr).matches(&line).count(), 1, "{}", text(&ran.stderr));
}

#[test]
fn a_client_whose_cluster_is_begun_anew_says_so_and_ends() {
    let place = Place::new(1);
    let cluster = place.cluster();
    let mut command = place.client(&["--client_id", "7", "--timeout", "60"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = Guard(command.spawn().expect("the client starts"));
    let mut stdin = client.0.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(client.0.stdout.take().expect("a pipe"));
    let err = drain(client.0.stderr.take().expect("a pipe"));
    writeln!(stdin, "one").expect("the client reads");
    let mut answer = String::new();
    stdout.read_line(&mut answer).expect("the client answers");
    assert_eq!(answer, "7 0 0\n");
    cluster.into_iter().for_each(Replica::kill);
    fs::remove_dir_all(place.logs()).expect("the files go");
    writeln!(stdin, "two").expect("the client reads");
    let _cluster = place.cluster();
    let status = until("the client ends", || client.0.try_wait().expect("a child"));
    let err = text(&err.join().expect("read"));
    assert_eq!(status.code(), Some(1), "{err}");
    let at = place.lines().iter().map(|line| line.replace(' ', ":")).collect::<Vec<_>>();
    let said = err.lines().find_map(|line| line.strip_prefix("another cluster answers at "));
    let said = said.unwrap_or_else(|| panic!("{err}"));
    assert!(at.iter().any(|at| said.starts_with(at)) && said.ends_with(": \"two\""), "{err}");
    for id in 0..3 {
        assert_eq!(place.log(id), "", "nothing of it is in the other cluster");
    }
}

/// Names of a test's own: a file of hosts that every process of [`Named`] sees as `/etc/hosts`.
struct Named {
    place: Place,
    /// The file, as the tests write it.
    hosts: PathBuf,
    /// The cluster file with names.
    config: String,
    ports: Vec<String>,
}

impl Named {
    /// Names `mpx0.invalid` and so on, with the ports of a place; none has an address. Nothing if
    /// this host does not let a test do that, which it says.
    fn new(f: usize) -> Option<Named> {
        let able = Command::new("unshare").args(["-m", "true"]).output();
        if !able.is_ok_and(|ran| ran.status.success()) {
            eprintln!("skipped: no rights for a mount namespace");
            return None;
        }
        let place = Place::new(f);
        let ports: Vec<String> = place.lines().iter().map(|line| port(line).to_owned()).collect();
        let lines: Vec<String> =
            ports.iter().enumerate().map(|(id, port)| format!("mpx{id}.invalid {port}")).collect();
        let config = place.file("names.txt", &lines);
        let hosts = place.dir.path().join("hosts");
        fs::write(&hosts, "").expect("a file of hosts");
        // No other resolver is asked.
        fs::write(place.dir.path().join("nsswitch"), "hosts: files\n").expect("a file");
        Some(Named { place, hosts, config, ports })
    }

    /// From now on the names have these addresses.
    fn set(&self, addresses: &[(usize, &str)]) {
        let line = |(id, address): &(usize, &str)| format!("{address} mpx{id}.invalid\n");
        fs::write(&self.hosts, addresses.iter().map(line).collect::<String>()).expect("written");
    }

    /// The file of hosts of another host.
    fn elsewhere(&self, addresses: &[(usize, &str)]) -> PathBuf {
        let line = |(id, address): &(usize, &str)| format!("{address} mpx{id}.invalid\n");
        let path = self.place.dir.path().join("other_hosts");
        fs::write(&path, addresses.iter().map(line).collect::<String>()).expect("written");
        path
    }

    fn replica(&self, id: usize) -> Replica {
        self.replica_on(&self.hosts, id)
    }

    fn replica_on(&self, hosts: &Path, id: usize) -> Replica {
        let script = self.script(hosts);
        let by = ["unshare", "-m", "sh", "-c", &script, "sh"];
        self.place.replica_by(&by, id, &["--config_path", &self.config, "--insecure"])
    }

    /// Mounts the files and runs the rest of the command line.
    fn script(&self, hosts: &Path) -> String {
        let nsswitch = self.place.dir.path().join("nsswitch");
        format!(
            "mount --bind {} /etc/hosts && mount --bind {} /etc/nsswitch.conf && exec \"$@\"",
            hosts.display(),
            nsswitch.display()
        )
    }

    fn client(&self, args: &[&str]) -> Command {
        let client = self.place.client(args);
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &self.script(&self.hosts), "sh"]);
        command.arg(client.get_program()).args(client.get_args());
        command.args(["--config_path", &self.config]);
        command
    }
}

#[test]
fn a_replica_that_returns_under_another_address_of_its_name_is_reached_there() {
    let Some(named) = Named::new(1) else { return };
    named.set(&[(0, "127.0.0.1"), (1, "127.0.0.2"), (2, "127.0.0.3")]);
    let mut cluster: Vec<Replica> = (0..3).map(|id| named.replica(id)).collect();
    for replica in &mut cluster {
        replica.process.wait_for("warm-up complete");
    }
    let mut command = named.client(&["--client_id", "7", "--log_level", "info"]);
    command.args(["--timeout", "60"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = Guard(command.spawn().expect("the client starts"));
    let mut stdin = client.0.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(client.0.stdout.take().expect("a pipe"));
    let err = drain(client.0.stderr.take().expect("a pipe"));
    let mut complete = |line: &str| {
        writeln!(stdin, "{line}").expect("the client reads");
        let mut answer = String::new();
        stdout.read_line(&mut answer).expect("the client answers");
        assert!(answer.starts_with("7 "), "{answer:?}");
    };
    complete("one");
    // Two of the three return elsewhere, one after the other, and the third dies.
    let ports = &named.ports;
    for (id, address) in [(2, "127.0.0.4"), (1, "127.0.0.5")] {
        cluster.remove(id).kill();
        match id {
            2 => named.set(&[(0, "127.0.0.1"), (1, "127.0.0.2"), (2, address)]),
            _ => named.set(&[(0, "127.0.0.1"), (1, address), (2, "127.0.0.4")]),
        }
        let mut moved = named.replica(id);
        moved.process.wait_for(&format!("listens on {address}:{}", ports[id]));
        moved.process.wait_for("warm-up complete");
        cluster.insert(id, moved);
        let line = format!("replica {id} (mpx{id}.invalid) is at {address}:{} now", ports[id]);
        cluster[0].process.wait_for(&line);
    }
    cluster.remove(0).kill();
    complete("two");
    drop(stdin);
    assert_eq!(client.0.wait().expect("it ends").code(), Some(0));
    let err = text(&err.join().expect("read"));
    assert!(err.contains("is at 127.0.0."), "the client found one, too: {err}");
}

#[test]
fn a_resolver_that_is_not_up_yet_is_asked_again() {
    let Some(named) = Named::new(1) else { return };
    let line = |id: usize| format!("{}:{}: cannot resolve mpx{id}.invalid: ", named.config, id + 1);
    let mut cluster: Vec<Replica> = (0..2).map(|id| named.replica(id)).collect();
    let mut ended = named.replica(2);
    for replica in cluster.iter_mut().chain([&mut ended]) {
        (0..3).for_each(|id| replica.process.wait_for(&line(id)));
    }
    ended.process.signal("-TERM");
    assert_eq!(ended.process.end().0.code(), Some(0), "{:?}", ended.process.said);
    // A client waits as well, as long as the user allows.
    let mut client = named.client(&["--timeout", "1"]);
    let ran = client.stdin(Stdio::null()).output().expect("it runs");
    let err = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{err}");
    assert!(err.contains(&format!("no name of {} was resolved in time", named.config)), "{err}");
    // Two names become known, and the replicas begin without the third.
    named.set(&[(0, "127.0.0.1"), (1, "127.0.0.2")]);
    for replica in &mut cluster {
        replica.process.wait_for("still waiting for replica 2");
    }
    named.set(&[(0, "127.0.0.1"), (1, "127.0.0.2"), (2, "127.0.0.3")]);
    cluster.push(named.replica(2));
    for replica in &mut cluster {
        replica.process.wait_for("warm-up complete");
        let said = &replica.process.said;
        let unknown = said.iter().filter(|said| said.contains("cannot resolve mpx0")).count();
        assert!(unknown <= 1, "once a minute: {said:#?}");
    }
}

#[test]
fn two_hosts_that_take_names_in_different_families_are_told() {
    let Some(named) = Named::new(1) else { return };
    named.set(&[(0, "127.0.0.1"), (1, "127.0.0.1"), (1, "::1"), (2, "127.0.0.1")]);
    let other = named.elsewhere(&[(0, "::1"), (1, "::1"), (2, "::1")]);
    let mut four = named.replica(0);
    let mut six = named.replica_on(&other, 1);
    four.process.wait_for("listens on 127.0.0.1:");
    six.process.wait_for("listens on [::1]:");
    let ports = &named.ports;
    four.process.wait_for(&format!(
        "{}:2: replica 1 is silent at 127.0.0.1:{}; mpx1.invalid is also [::1]:{}, of a family that \
         this process does not use",
        named.config, ports[1], ports[1]
    ));
}
