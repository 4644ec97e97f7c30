//! The paths of one run: between every two hosts, in each direction, and out of each host.
//!
//! A datagram that its host's own system does not refuse first waits for the host's uplink, which
//! all paths of the host share, and then goes its own path ([`Path`]). A path is drawn from the
//! environment when the first datagram takes it, by a generator of its own, so it is the same
//! whatever else happens.

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
        if path.refuses(bytes) {
            return Passage::IsRefused;
        }
        let mut left = now;
        if let Some(rate) = self.environment.uplink {
            let uplink = self.uplinks.entry(from).or_insert_with(|| Pipe::new(rate));
            match uplink.pass(now, bytes + IP_UDP_BYTES) {
                Some(at) => left = at,
                None => return Passage::Overflows,
            }
        }
        path.send(left, bytes, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Place;

    #[test]
    fn what_the_own_system_refuses_takes_no_room_in_the_uplink() {
        let environment = Environment::draw(Place::Modem, &mut Rng::with_seed(1));
        let queue_bytes = environment.uplink.expect("a modem has one").queue_bytes as usize;
        let mut terrain = Terrain::new(1, environment);
        let mut rng = Rng::with_seed(2);
        let path = (Host::Replica(ReplicaId(0)), Host::Replica(ReplicaId(1)));
        let mut send = |bytes| terrain.send(Time(0), path, bytes, &mut rng);
        for _ in 0..2 * queue_bytes / 1_400 {
            assert_eq!(send(1_400), Passage::IsRefused);
        }
        let arrives = |passage| matches!(passage, Passage::Arrives(..));
        assert!((0..queue_bytes / 576).all(|_| arrives(send(548))));
    }
}
