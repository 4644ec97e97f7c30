//! A cluster in one process for tests: no sockets, no threads, no waiting.
//!
//! The replicas are those of a simulated world without faults. A call moves that world until its
//! answer is there, so a test runs as fast as the processor does, and the same way each time. All
//! checks of the [simulator](crate) run along: a machine whose replicas come to different states
//! panics at the first slot that shows it.
//!
//! **Does not** draw faults; [`check()`](crate::check()) does.

use crate::world::{Hosting, LIVENESS_US, World};
use crate::{Options, Switches};
use multipaxos::machine::{COMMAND_BYTES_MAX, Host, Response, StateMachine, line_of};
use multipaxos::types::{REPLICAS_MAX, ReplicaId};

/// A cluster of replicas of one state machine, in one process.
#[derive(Debug)]
pub struct Cluster {
    n: usize,
    world: World,
}

/// Names a client of a [`Cluster`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(usize);

/// No quorum of replicas runs, so the command has no answer. It may be applied once a quorum does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoQuorum;

impl Cluster {
    /// A cluster of `n` replicas, each with a machine that `make` makes. `n` is odd, and at most 63.
    ///
    /// # Panics
    ///
    /// If `n` is even or too large.
    pub fn new<M: StateMachine>(n: usize, make: impl Fn() -> M + Send + Sync + 'static) -> Cluster {
        Cluster::seeded(0, n, make)
    }

    /// The same, where messages take other times and so meet in another order with each seed.
    ///
    /// # Panics
    ///
    /// If `n` is even or too large.
    pub fn seeded<M: StateMachine>(
        seed: u64,
        n: usize,
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> Cluster {
        assert!(
            n % 2 == 1 && n <= REPLICAS_MAX,
            "{n} replicas: an odd number up to {REPLICAS_MAX}"
        );
        let options = Options {
            replicas: Some(n),
            switches: Switches::NONE,
            sectors_percent: 0,
            wire_percent: 0,
            ..Options::default()
        };
        let hosting = Hosting::by_hand(Host::of(make));
        let mut world = World::hosting(seed, options, Some(hosting));
        world.begin().unwrap_or_else(|broken| panic!("{}", broken.what));
        Cluster { n, world }
    }

    /// One more client. Each has one command in flight at a time.
    pub fn client(&mut self) -> ClientId {
        ClientId(self.world.add_client())
    }

    /// Sends a command, and moves the cluster until it is answered.
    ///
    /// # Errors
    ///
    /// If no quorum runs.
    ///
    /// # Panics
    ///
    /// If a rule is broken, or the command is longer than
    /// [`COMMAND_BYTES_MAX`].
    pub fn call(&mut self, client: ClientId, command: &[u8]) -> Result<Response, NoQuorum> {
        let line = line_of(command);
        let line =
            line.unwrap_or_else(|| panic!("a command longer than {COMMAND_BYTES_MAX} bytes"));
        let called = self.world.call(client.0, line, LIVENESS_US);
        let answered = called.unwrap_or_else(|broken| panic!("{}", broken.what));
        Ok(answered.ok_or(NoQuorum)?.expect("an answer to a line in flight is kept"))
    }

    /// Kills a replica. Its disk stays.
    pub fn crash(&mut self, replica: usize) {
        self.set_running(replica, false);
    }

    /// Begins a replica again that was killed, on its disk.
    pub fn restart(&mut self, replica: usize) {
        self.set_running(replica, true);
    }

    fn set_running(&mut self, replica: usize, runs: bool) {
        assert!(replica < self.n, "replica {replica} of {}", self.n);
        let moved = self.world.set_running(ReplicaId(replica as u8), runs);
        moved.unwrap_or_else(|broken| panic!("{}", broken.what));
    }

    /// Lets a second of the cluster's time pass. A replica that runs has applied everything then.
    pub fn settle(&mut self) {
        self.world.pass(1_000_000).unwrap_or_else(|broken| panic!("{}", broken.what));
    }

    /// The snapshot that the machine of a replica gives, or none while the replica is down.
    pub fn snapshot(&self, replica: usize) -> Option<Vec<u8>> {
        self.world.state_of(ReplicaId(replica as u8)).map(|(_, state)| state)
    }
}
