//! The paths of one run: between every two hosts, in each direction, and out of each host.
//!
//! A datagram first waits for its host's uplink, which all paths of the host share, and
//! then goes its own path ([`Path`]). A path is drawn from the environment when the first
//! datagram takes it, by a generator of its own, so it is the same whatever else happens.

use crate::environment::Environment;
use crate::path::{IP_UDP_BYTES, Passage, Path, Pipe};
use fastrand::Rng;
use multipaxos::types::{ReplicaId, Time};
use seeds::stream;
use std::collections::BTreeMap;

/// The host of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// Of a replica.
    Replica(ReplicaId),
    /// Of the client with this number.
    Client(usize),
}

/// The paths of a run.
#[derive(Debug)]
pub struct Terrain {
    seed: u64,
    environment: Environment,
    paths: BTreeMap<(Host, Host), Path>,
    uplinks: BTreeMap<Host, Pipe>,
}

impl Terrain {
    /// Nothing is under way.
    pub fn new(seed: u64, environment: Environment) -> Self {
        Terrain { seed, environment, paths: BTreeMap::new(), uplinks: BTreeMap::new() }
    }

    /// Sends a datagram of so many bytes from one host to another.
    pub fn send(
        &mut self,
        now: Time,
        (from, to): (Host, Host),
        bytes: usize,
        rng: &mut Rng,
    ) -> Passage {
        let mut left = now;
        if let Some(rate) = self.environment.uplink {
            let uplink = self.uplinks.entry(from).or_insert_with(|| Pipe::new(rate));
            match uplink.pass(now, bytes + IP_UDP_BYTES) {
                Some(at) => left = at,
                None => return Passage::Overflows,
            }
        }
        let (seed, environment) = (self.seed, &self.environment);
        let path = self.paths.entry((from, to)).or_insert_with(|| {
            let (mut name, mut limits) = ((from, to), &environment.between);
            if matches!(from, Host::Client(_)) || matches!(to, Host::Client(_)) {
                limits = &environment.to_clients;
            }
            if !limits.asymmetric {
                name = (from.min(to), from.max(to));
            }
            let mut rng = stream(seed, &format!("path {name:?}"));
            Path::new(limits.draw(&mut rng))
        });
        path.send(left, bytes, rng)
    }
}
