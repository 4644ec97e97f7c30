//! Somebody on the network who sees every datagram, in a run with keys, and has no key.
//!
//! He keeps some of what was sent, of former lives too, and sends it again: to whom it was sent,
//! back to its sender, on to others, from elsewhere, cut, changed, in another's name. He cannot hold
//! anything up: the network does that by itself. Nothing of his may be believed (`wire::ledger`
//! knows), and the cluster goes on as if he were not there.

use super::*;

/// How many datagrams he has at most.
const KEPT_MAX: usize = 256;

/// The attacker sends one datagram for so many of the cluster's.
const STRIKES_ONE_IN: u8 = 4;

/// Of what he sees when he has that many he keeps one in so many.
const KEEPS_ONE_IN: u8 = 16;

/// He sends it at most so much later.
const LATER_US_MAX: u64 = 3_000_000;

/// The attacker.
#[derive(Debug)]
pub(super) struct Attacker {
    kept: Vec<Kept>,
    rng: Rng,
}

/// A datagram that was sent.
#[derive(Debug, Clone)]
struct Kept {
    from: (Host, Address),
    to: Host,
    bytes: Vec<u8>,
}

impl Attacker {
    pub(super) fn new(rng: Rng) -> Self {
        Attacker { kept: Vec::new(), rng }
    }

    fn keep(&mut self, kept: Kept) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(kept);
        } else if self.rng.u8(..KEEPS_ONE_IN) == 0 {
            let at = self.rng.usize(..KEPT_MAX);
            self.kept[at] = kept;
        }
    }

    /// The attacker may send a datagram now. If so, this says under which address, to whom, and which.
    fn strike(&mut self, n: usize) -> Option<(Address, Host, Vec<u8>)> {
        if self.kept.is_empty() || self.rng.u8(..STRIKES_ONE_IN) > 0 {
            return None;
        }
        let rng = &mut self.rng;
        let Kept { from: (sender, mut from), mut to, mut bytes } =
            self.kept[rng.usize(..self.kept.len())].clone();
        match rng.u8(..8) {
            0 | 1 => {}
            2 => (from, to) = (address_of_replica(ReplicaId(rng.u8(..n as u8))), sender),
            3 => to = Host::Replica(ReplicaId(rng.u8(..n as u8))),
            4 => bytes.truncate(rng.usize(..bytes.len())),
            5 => {
                let bit = rng.usize(..8 * bytes.len());
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            6 => from = Address(SocketAddr::from((Ipv4Addr::new(10, 253, 0, rng.u8(..)), 9))),
            // In another's name, to another, or both.
            _ => {
                let id = ReplicaId(rng.u8(..n as u8));
                bytes[6 + rng.usize(..2)] = id.0;
                to = Host::Replica(id);
            }
        }
        Some((from, to, bytes))
    }
}

impl World {
    /// The attacker sees a datagram.
    pub(super) fn sees(&mut self, from: (Host, Address), to: Host, bytes: &[u8]) {
        let (n, now, faults_on) = (self.nodes.len(), self.now, self.faults_on);
        let Some(attacker) = &mut self.attacker else { return };
        attacker.keep(Kept { from, to, bytes: bytes.to_vec() });
        // When all faults stop, he does: so the run ends.
        let Some((from, to, bytes)) = attacker.strike(n).filter(|_| faults_on) else { return };
        let at = now.plus_us(attacker.rng.u64(1..LATER_US_MAX));
        let event = match to {
            Host::Replica(to) => Event::Arrive { to, arrival: Arrival::Frame(from, bytes) },
            Host::Client(client) => {
                let life = self.clients[client].life;
                Event::Frame { client, life, bytes }
            }
        };
        self.queue.add(at, event);
    }
}
