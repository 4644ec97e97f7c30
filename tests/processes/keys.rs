//! Clusters with a key: who is heard, who is told what does not fit, and how a key is changed.

use crate::support::*;
use multipaxos::net::frame::{CLIENT_MESSAGE_BYTES_MIN, HEADER_BYTES, MAGIC, VERSION};
use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

const REPLICA: &str = env!("CARGO_BIN_EXE_replica");

impl Place {
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// A new key for a cluster.
    pub(crate) fn key(&self, name: &str) -> String {
        let file = self.path(name);
        made(&["--make_key", &file]);
        file
    }

    /// A key for clients, out of a cluster's.
    pub(crate) fn client_key(&self, key: &str, name: &str) -> String {
        let file = self.path(name);
        made(&["--key_file", key, "--make_client_key", &file]);
        file
    }

    /// A client with these options says a line.
    fn says(&self, args: &[&str], line: &str) -> Result<(u64, u64, u64), String> {
        let ran = self.say(args, line.as_bytes());
        completions(&ran).first().copied().ok_or_else(|| text(&ran.stderr))
    }
}

fn made(args: &[&str]) {
    let ran = Command::new(REPLICA).args(args).stdin(Stdio::null()).output().expect("it starts");
    assert!(ran.status.success() && ran.stdout.is_empty(), "{args:?}: {}", text(&ran.stderr));
}

#[test]
fn lines_are_written_with_the_cluster_key_or_a_clients_and_with_no_other() {
    let place = Place::new(1);
    let key = place.key("key");
    let client = place.client_key(&key, "client.key");
    let other = place.key("other");
    let cluster = place.cluster_with(&["--key_file", &key]);
    assert_eq!(place.says(&["--client_id", "1", "--key_file", &key], "a"), Ok((1, 0, 0)));
    assert_eq!(place.says(&["--client_id", "2", "--key_file", &client], "b"), Ok((2, 0, 1)));
    for (option, wants) in [(&["--key_file", &other][..], "another"), (&[], "a")] {
        let said = place.says(&[&["--timeout", "1"], option].concat(), "c").expect_err("no answer");
        let line = format!("wants {wants} key: give --key_file a key of its cluster");
        assert!(said.contains(&line), "{said}");
    }
    // A long line goes in fragments, and a reader reads both.
    let long = "x".repeat(60_000);
    assert_eq!(place.says(&["--client_id", "3", "--key_file", &client], &long), Ok((3, 0, 2)));
    let read = place.say(&["--history", "--key_file", &client], b"");
    assert_eq!(text(&read.stdout).lines().count(), 3, "{}", text(&read.stderr));
    let status = place.say(&["--status", "--key_file", &client], b"");
    assert!(status.status.success(), "{}", text(&status.stdout));
    cluster.into_iter().for_each(Replica::kill);
}

#[test]
fn a_replica_without_the_key_is_not_heard_and_both_sides_say_so() {
    let place = Place::new(1);
    let key = place.key("key");
    let mut with = place.replica_with(0, &["--key_file", &key]);
    let mut without = place.replica_with(1, &[]);
    with.process.wait_for("has no tag, and is dropped: give all replicas the same --key_file");
    without.process.wait_for("has a key, and this one has none: give all replicas the same");
    let other = place.key("other");
    let mut wrong = place.replica_with(2, &["--key_file", &other]);
    wrong.process.wait_for("is tagged with another key, and is dropped");
    for replica in [with, without, wrong] {
        replica.kill();
    }
}

#[test]
fn a_key_is_changed_while_the_cluster_runs() {
    let place = Place::new(1);
    let (old, new) = (place.key("old"), place.key("new"));
    let file = place.path("key");
    let write = |keys: &[&String]| {
        let text: String = keys.iter().map(|key| fs::read_to_string(key).expect("a key")).collect();
        fs::write(&file, text).expect("it is written");
        set_mode(&file, 0o600);
    };
    write(&[&old]);
    let mut cluster = place.cluster_with(&["--key_file", &file]);
    let mut slot = 0;
    let mut says = |key: &str| {
        let said = place.says(&["--client_id", "5", "--key_file", key], "a line");
        assert_eq!(said, Ok((5, slot, slot)));
        slot += 1;
    };
    for (keys, client) in
        [(&[&old, &new][..], &old), (&[&new, &old], &old), (&[&new, &old], &new), (&[&new], &new)]
    {
        write(keys);
        for id in 0..3 {
            let former = cluster.remove(0);
            assert_eq!(former.id, id);
            former.kill();
            cluster.push(place.restarted(id, &["--key_file", &file]));
            says(client);
        }
    }
    cluster.into_iter().for_each(Replica::kill);
}

#[test]
fn without_a_key_other_addresses_than_the_loopbacks_are_refused() {
    let place = Place::new(1);
    let mut lines = place.lines();
    lines[2] = "192.0.2.1 7000".into();
    let file = place.file("open.txt", &lines);
    let client = env!("CARGO_BIN_EXE_client");
    for (program, args) in [(REPLICA, &["--replica_id", "0"][..]), (client, &[])] {
        let mut command = Command::new(program);
        command.args(["--config_path", &file]).args(args).stdin(Stdio::null());
        let ran = command.output().expect("it starts");
        assert_eq!(ran.status.code(), Some(64));
        assert_eq!(
            text(&ran.stderr),
            "192.0.2.1: not a loopback address, so there must be a key, or everybody could \
             write: give all replicas and clients the same --key_file (replica --make_key FILE \
             makes one), or say --insecure\n"
        );
    }
    let key = place.key("key");
    let mut insecure = place.replica_with(0, &["--config_path", &file, "--insecure"]);
    insecure.process.wait_for("listens on");
    insecure.kill();
    let mut keyed = place.replica_with(0, &["--config_path", &file, "--key_file", &key]);
    keyed.process.wait_for("listens on");
    keyed.kill();
    set_mode(&key, 0o644);
    let args = ["--config_path", &file, "--replica_id", "0", "--key_file", &key];
    let ran = Command::new(REPLICA).args(args).stdin(Stdio::null()).output().expect("it starts");
    assert_eq!(ran.status.code(), Some(64));
    let line = format!("{key}: others than its owner may read or change it: chmod 600 {key}\n");
    assert_eq!(text(&ran.stderr), line);
}

#[test]
fn what_strangers_send_is_dropped_and_counted_and_costs_no_line() {
    let place = Place::new(1);
    let key = place.key("key");
    let cluster = place.cluster_with(&["--key_file", &key]);
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    // A frame that would be well formed without a key: a client's hello.
    let mut hello = vec![0; HEADER_BYTES + CLIENT_MESSAGE_BYTES_MIN];
    hello[..4].copy_from_slice(&MAGIC);
    hello[4..7].copy_from_slice(&[VERSION, 3, 255]);
    hello[24] = 1;
    hello[25] = 1;
    for (id, line) in place.lines().iter().enumerate() {
        hello[7] = id as u8;
        for number in 0..1_000_u32 {
            hello[16..20].copy_from_slice(&number.to_le_bytes());
            stranger.send_to(&hello, line.replace(' ', ":")).expect("it leaves");
        }
    }
    assert_eq!(place.says(&["--client_id", "1", "--key_file", &key], "a line"), Ok((1, 0, 0)));
    let dropped = until("dropped datagrams in the status", || {
        let status = place.say(&["--status", "--json", "--key_file", &key], b"");
        let status = text(&status.stdout);
        status.contains("drop_tag").then_some(status)
    });
    assert!(dropped.contains("drop_tag"), "{dropped}");
    for mut replica in cluster {
        replica.process.signal("-TERM");
        let (_, said) = replica.process.end();
        let told: Vec<_> = said.iter().filter(|line| line.contains("--key_file")).collect();
        assert!(told.is_empty(), "strangers write no log: {told:#?}");
    }
}

fn set_mode(file: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("it is ours");
}
