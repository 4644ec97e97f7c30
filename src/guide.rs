//! A guide: from a counter to a service of your own that survives every fault.
//!
//! Ten minutes. All that stands here is run as a test.
//!
//! # A counter
//!
//! A service is a [`StateMachine`]: commands are bytes, answers are bytes, and every replica applies
//! the same commands in the same order. Write what a command does, and how the state becomes bytes
//! and comes back:
//!
//! ```
//! use multipaxos::{BadSnapshot, Response, StateMachine};
//!
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     fn apply(&mut self, command: &[u8]) -> Response {
//!         if command == b"add" {
//!             self.0 += 1;
//!         }
//!         self.0.to_string().into()
//!     }
//!
//!     fn snapshot(&self) -> Vec<u8> {
//!         self.0.to_le_bytes().to_vec()
//!     }
//!
//!     fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
//!         let bytes = snapshot.try_into().map_err(|_| BadSnapshot::new("not eight bytes"))?;
//!         self.0 = u64::from_le_bytes(bytes);
//!         Ok(())
//!     }
//! }
//!
//! // Three replicas of it, in this process and without sockets.
//! let mut cluster = simulator::Cluster::new(3, Counter::default);
//! let client = cluster.client();
//! assert_eq!(&cluster.call(client, b"add").unwrap()[..], b"1");
//! cluster.crash(0);
//! assert_eq!(&cluster.call(client, b"add").unwrap()[..], b"2");
//! ```
//!
//! # What a machine may depend on
//!
//! The state and the command: nothing else. No clock, no random number, no order of a `HashMap`, no
//! thread, no file. What it needs of them, a client puts into the command: the time, as the lock
//! service in `examples/locks.rs` does, or a number that it has drawn.
//!
//! Any client may send any bytes. So answer nonsense, and do not panic: a command that makes one
//! replica panic does so at all of them, again after each restart.
//!
//! # Sessions
//!
//! The library numbers the commands of a client and applies each once, in order, whatever is lost
//! or repeated on the way. If the client asks again, it gets the answer of that one application,
//! even if the state has changed since. An answer has at most
//! [`RESPONSE_BYTES_MAX`](crate::machine::RESPONSE_BYTES_MAX) bytes, a command
//! [`COMMAND_BYTES_MAX`](crate::machine::COMMAND_BYTES_MAX).
//!
//! A read is a command, too: what it answers was the state in a slot of the log, between the
//! commands that were answered before it was sent and those that were sent after its answer.
//!
//! # Real replicas
//!
//! One [`Replica`] for each process, with the addresses of all, and a directory:
//!
//! ```no_run
//! # use multipaxos::{BadSnapshot, Response, StateMachine};
//! # #[derive(Default)]
//! # struct Counter;
//! # impl StateMachine for Counter {
//! #     fn apply(&mut self, _: &[u8]) -> Response { Response::EMPTY }
//! #     fn snapshot(&self) -> Vec<u8> { Vec::new() }
//! #     fn restore(&mut self, _: &[u8]) -> Result<(), BadSnapshot> { Ok(()) }
//! # }
//! use multipaxos::{Client, Replica, ReplicaConfig};
//!
//! let cluster = ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"];
//! let cluster = cluster.map(|address| address.parse().unwrap());
//! multipaxos::end_on_panic();
//! let replica = Replica::start(ReplicaConfig::new(0, &cluster, "data"), Counter::default)?;
//!
//! // Elsewhere:
//! let mut client = Client::connect(&cluster)?;
//! println!("{}", String::from_utf8_lossy(&client.call(b"add")?));
//! # Ok::<(), multipaxos::Error>(())
//! ```
//!
//! `examples/store.rs` is a key-value store with all of its replicas in one process. The files
//! are those of the chat: `learner0.txt` shows every command, `client --status` how the replicas
//! are, and docs/operations.md what their log lines mean.
//!
//! # Snapshots
//!
//! A replica restarts from its last checkpoint, which has a snapshot, and applies what was decided
//! since. It takes one about every 16,384 commands, while nothing is applied. So a snapshot of
//! some megabytes costs a pause of some milliseconds, and a replica's checkpoints lie at other
//! slots than those of the others.
//!
//! # Your machine under every schedule
//!
//! Ten lines run a cluster of it in a world where datagrams are lost, late and repeated, links are
//! cut, replicas and clients die and return, disks fail and clocks run apart:
//!
//! ```
//! # use multipaxos::{BadSnapshot, Response, StateMachine};
//! # #[derive(Default)]
//! # struct Counter(u64);
//! # impl StateMachine for Counter {
//! #     fn apply(&mut self, command: &[u8]) -> Response {
//! #         if command == b"add" { self.0 += 1; }
//! #         self.0.to_string().into()
//! #     }
//! #     fn snapshot(&self) -> Vec<u8> { self.0.to_le_bytes().to_vec() }
//! #     fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
//! #         let bytes = snapshot.try_into().map_err(|_| BadSnapshot::new("not eight bytes"))?;
//! #         self.0 = u64::from_le_bytes(bytes);
//! #         Ok(())
//! #     }
//! # }
//! let command = |rng: &mut simulator::Rng| match rng.bool() {
//!     true => b"add".to_vec(),
//!     false => b"read".to_vec(),
//! };
//! let checked = simulator::check(0..20, Counter::default, command).unwrap();
//! assert!(checked.commands > 100);
//! ```
//!
//! After every slot each replica must be in the state of a replay of the same slots, and every
//! answer must be the replay's. A machine that looks at a clock is caught by the first seed in
//! which two replicas look at different times, and `simulator::Broken` names that seed. The same
//! seed is the same run each time.

#[cfg(doc)]
use crate::{machine::StateMachine, service::Replica};
