//! A key-value store with compare-and-set, on real replicas.
//!
//!     cargo run --example store                     a demonstration, on this host
//!     cargo run --release --example store -- rate   how many commands a second it takes
//!
//! A program of its own would have one [`Replica`] in each process, and clients in others:
//! `serve` shows how little that is.

use multipaxos::storage::Durability;
use multipaxos::{BadSnapshot, Client, Error, Replica, ReplicaConfig, Response, StateMachine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Command {
    /// The value of this key.
    Get(String),
    /// This key has this value from now on. Answers the one before.
    Put(String, String),
    /// If the key has the first value, or none, it has the second from now on. Answers the value
    /// before.
    Cas(String, Option<String>, String),
}

/// The value that the key had before the command, if it had one; `Err` if the bytes are no command.
type Answer = Result<Option<String>, ()>;

/// The store. (A value with its answer fits [`multipaxos::machine::RESPONSE_BYTES_MAX`]: longer ones are refused.)
#[derive(Debug, Default, PartialEq, Eq)]
struct Store(BTreeMap<String, String>);

/// The longest value.
const VALUE_BYTES_MAX: usize = 1_000;

impl Store {
    fn answer(&mut self, command: Command) -> Answer {
        let (Command::Get(key) | Command::Put(key, _) | Command::Cas(key, ..)) = &command;
        let before = self.0.get(key).cloned();
        match command {
            Command::Put(_, value) | Command::Cas(.., value) if value.len() > VALUE_BYTES_MAX => {
                return Err(());
            }
            Command::Get(_) => {}
            Command::Put(key, value) => _ = self.0.insert(key, value),
            Command::Cas(key, expected, value) if expected == before => {
                self.0.insert(key, value);
            }
            Command::Cas(..) => {}
        }
        Ok(before)
    }
}

impl StateMachine for Store {
    fn apply(&mut self, command: &[u8]) -> Response {
        let command = postcard::from_bytes(command).map_err(|_| ());
        let answer: Answer = command.and_then(|command| self.answer(command));
        postcard::to_stdvec(&answer).expect("an answer can be encoded").into()
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(&self.0).expect("a map can be encoded")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
        self.0 = postcard::from_bytes(snapshot).map_err(|why| BadSnapshot::new(why.to_string()))?;
        Ok(())
    }
}

/// A client of the store.
struct StoreClient(Client);

impl StoreClient {
    fn ask(&mut self, command: &Command) -> Result<Option<String>, Error> {
        let bytes = postcard::to_stdvec(command).expect("a command can be encoded");
        let answer: Answer = postcard::from_bytes(&self.0.call(&bytes)?).expect("an answer");
        Ok(answer.expect("what this client sends are commands"))
    }
}

/// Free ports of this host. (Somebody else may take one before a replica does: then it says so.)
fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    sockets.map(|socket| socket.local_addr().expect("an address"))
}

/// All replicas of a cluster in this process.
fn serve(cluster: &[SocketAddr], dir: &Path, durability: Durability) -> Vec<Replica> {
    let start = |id| {
        let mut config = ReplicaConfig::new(id, cluster, dir);
        config.durability = durability;
        Replica::start(config, Store::default).expect("a replica starts")
    };
    (0..cluster.len()).map(start).collect()
}

fn main() {
    // The process is the cluster: no part of it may go on without the rest.
    multipaxos::end_on_panic();
    let dir = tempfile::tempdir().expect("a directory");
    let cluster: [SocketAddr; 3] = free_addresses();
    if std::env::args().nth(1).as_deref() == Some("rate") {
        let rate = rate(&cluster, dir.path(), 64, Duration::from_secs(5));
        println!("{rate:.0} commands/s");
        return;
    }
    demonstrate(&cluster, dir.path());
}

fn demonstrate(cluster: &[SocketAddr], dir: &Path) {
    let replicas = serve(cluster, dir, Durability::Sync);
    let mut client = StoreClient(Client::connect(cluster).expect("a client"));
    let text = |text: &str| text.to_owned();
    let commands = [
        Command::Put(text("colour"), text("red")),
        Command::Cas(text("colour"), Some(text("red")), text("green")),
        Command::Cas(text("colour"), Some(text("red")), text("blue")),
        Command::Get(text("colour")),
    ];
    let answers = commands.map(|command| {
        let answer = client.ask(&command).expect("all replicas run");
        println!("{command:?}: {answer:?}");
        answer
    });
    assert_eq!(answers, [None, Some(text("red")), Some(text("green")), Some(text("green"))]);
    for replica in replicas {
        replica.stop().expect("a clean end");
    }
    // All of them again, on what they have stored.
    let _replicas = serve(cluster, dir, Durability::Sync);
    let answer = client.ask(&Command::Get(text("colour"))).expect("all replicas run");
    println!("after a restart: {answer:?}");
    assert_eq!(answer, Some(text("green")));
}

/// How many commands a second so many clients get answered, in memory.
fn rate(cluster: &[SocketAddr], dir: &Path, clients: u64, time: Duration) -> f64 {
    let _replicas = serve(cluster, dir, Durability::None);
    let answered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..clients {
            let answered = &answered;
            scope.spawn(move || {
                let mut client = StoreClient(Client::connect(cluster).expect("a client"));
                let begun = Instant::now();
                for count in 0u64.. {
                    if begun.elapsed() > time {
                        break;
                    }
                    let put = Command::Put(format!("key {number}"), count.to_string());
                    client.ask(&put).expect("all replicas run");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    answered.load(Ordering::Relaxed) as f64 / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulator::{Rng, check};

    /// A command on one of a few keys, or none at all.
    fn command(rng: &mut Rng) -> Vec<u8> {
        let mut text = || char::from(b'a' + rng.u8(..3)).to_string();
        let (key, value, other) = (text(), text(), text());
        let command = match rng.u8(..4) {
            0 => Command::Get(key),
            1 => Command::Put(key, value),
            2 => Command::Cas(key, rng.bool().then_some(other), value),
            _ => return vec![0xFF; 9],
        };
        postcard::to_stdvec(&command).expect("a command can be encoded")
    }

    #[test]
    fn the_store_passes_under_all_faults() {
        check(0..50, Store::default, command).unwrap();
    }

    #[test]
    fn the_store_answers_on_real_replicas_and_remembers_in_the_next_life() {
        let dir = tempfile::tempdir().expect("a directory");
        demonstrate(&free_addresses::<3>(), dir.path());
    }
}
