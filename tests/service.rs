//! Replicas and clients as programs of users have them: on threads, sockets and files of this process.

use multipaxos::machine::COMMAND_BYTES_MAX;
use multipaxos::service::Unknown;
use multipaxos::{BadSnapshot, Client, Error, Replica, ReplicaConfig, Response, StateMachine};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// Keeps the last command, and answers it with the one before.
#[derive(Default)]
struct Last(Vec<u8>);

impl StateMachine for Last {
    fn apply(&mut self, command: &[u8]) -> Response {
        std::mem::replace(&mut self.0, command[..command.len().min(1_000)].to_vec()).into()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
        self.0 = snapshot.to_vec();
        Ok(())
    }
}

/// A machine of another kind, whose snapshots are no text.
struct Other;

impl StateMachine for Other {
    fn apply(&mut self, _command: &[u8]) -> Response {
        Response::EMPTY
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
        match snapshot.is_empty() {
            true => Ok(()),
            false => Err(BadSnapshot::new("it is not empty")),
        }
    }
}

fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    sockets.map(|socket| socket.local_addr().expect("an address"))
}

fn start(cluster: &[SocketAddr], dir: &Path) -> Vec<Replica> {
    let start = |id| Replica::start(ReplicaConfig::new(id, cluster, dir), Last::default);
    (0..cluster.len()).map(|id| start(id).expect("it starts")).collect()
}

#[test]
fn any_bytes_are_a_command_and_the_answer_is_that_of_the_machine() {
    let (cluster, dir) = (free_addresses::<3>(), tempfile::tempdir().expect("a directory"));
    let _replicas = start(&cluster, dir.path());
    let mut client = Client::connect(&cluster).expect("a client");
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(&client.call(&all).expect("a quorum")[..], b"");
    assert_eq!(&client.call(b"").expect("a quorum")[..], &all);
    let longest = vec![0xFF; COMMAND_BYTES_MAX];
    assert_eq!(&client.call(&longest).expect("a quorum")[..], b"");
    let refused = client.call(&vec![b'x'; COMMAND_BYTES_MAX + 1]);
    assert!(matches!(refused, Err(Error::TooLong { bytes }) if bytes == COMMAND_BYTES_MAX + 1));
    assert_eq!(&client.call(b"x").expect("a quorum")[..], &longest[..1_000]);
}

#[test]
fn a_client_gives_up_when_it_was_told_to_and_goes_on_with_the_next_command() {
    let (cluster, dir) = (free_addresses::<3>(), tempfile::tempdir().expect("a directory"));
    let client = Client::connect(&cluster).expect("a client");
    let mut client = client.with_timeout(Duration::from_millis(50)).expect("a timeout");
    let given_up = client.call(b"one");
    assert!(matches!(given_up, Err(Error::Unknown(Unknown::TimedOut))), "{given_up:?}");
    let _replicas = start(&cluster, dir.path());
    let mut client = client.with_timeout(Duration::from_secs(60)).expect("a timeout");
    client.call(b"two").expect("a quorum");
    assert_eq!(&client.call(b"three").expect("a quorum")[..], b"two");
}

#[test]
fn a_replica_that_cannot_start_says_why() {
    let (cluster, dir) = (free_addresses::<1>(), tempfile::tempdir().expect("a directory"));
    let new = |id| ReplicaConfig::new(id, &cluster, dir.path());
    let said = |config, other: &str| {
        let started = Replica::start(config, Last::default);
        let said = started.expect_err("it cannot start").to_string();
        assert!(said.contains(other), "{said}");
    };
    said(new(1), "no replica 1 among 1");
    let replica = Replica::start(new(0), Last::default).expect("it starts");
    said(new(0), "in use");
    let mut client = Client::connect(&cluster).expect("a client");
    client.call(b"one").expect("it is its own quorum");
    replica.stop().expect("a clean end");
    let replica = Replica::start(new(0), Last::default).expect("its port is free again");
    assert_eq!(&client.call(b"two").expect("it is its own quorum")[..], b"one");
    replica.stop().expect("a clean end");
    // It has made a checkpoint at its start, which this machine cannot read.
    let started = Replica::start(new(0), || Other);
    let said = started.expect_err("it cannot start").to_string();
    assert!(said.contains("checkpoint"), "{said}");
}
