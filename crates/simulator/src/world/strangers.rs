//! Processes and datagrams in a run that are not of its cluster: what is left of a former one,
//! and processes that speak in a member's name.
//!
//! They exist in runs with real datagrams. None of them may keep the cluster from starting or
//! from working, and a stray process must be told so where it is.

use super::*;
use crate::store::BootstrapStore;
use multipaxos::message::{Heard, Ready, ToBootstrap};
use multipaxos::paxos::bootstrap::{self, Bootstrap};
use multipaxos::paxos::{Outbox, Role};

/// One seed in so many has strangers of a kind.
const ONE_IN: u8 = 25;

/// The longest time for which something of a former cluster is left.
const LEFT_US_MAX: u64 = 3_000_000;

/// A cluster that nothing holds up starts later than this.
const SOON_US: u64 = 2_000;

/// The most datagrams of a former cluster from one replica to another.
const STALE_MAX: usize = 4;

/// The strangers of a run, as its seed draws them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Strangers {
    /// Datagrams of a former cluster are on their way when the run begins.
    pub(super) stale: bool,
    /// So many replicas run on for a while with the files of a former cluster.
    pub(super) leftovers: usize,
    /// So many processes warm up elsewhere in a replica's name, all the time.
    pub(super) strays: usize,
}

impl Strangers {
    /// Draws them for a cluster of `n`.
    pub(super) fn draw(n: usize, rng: &mut Rng) -> Self {
        let mut hit = || rng.u8(0..ONE_IN) == 0;
        let (stale, leftovers, strays) = (hit(), hit(), hit());
        // More leftovers would be a quorum of the former cluster, which runs on.
        let few = (n - 1) / 2;
        Strangers {
            stale,
            leftovers: if leftovers && few > 0 { rng.usize(1..=few) } else { 0 },
            strays: if strays && n > 1 { rng.usize(1..=2) } else { 0 },
        }
    }

    /// Whether there are any.
    pub(super) fn any(self) -> bool {
        self != Strangers::default()
    }
}

/// A process that warms up in a replica's name, elsewhere.
#[derive(Debug)]
pub(super) struct Stray {
    id: ReplicaId,
    wire: Wire,
    role: Bootstrap,
    /// Whether it was told that it is no member.
    told: bool,
}

/// The source address of a stray's datagrams.
fn address_of_stray(stray: usize) -> Address {
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 254, 0, stray as u8)), 1))
}

fn stray_at(address: Address) -> Option<usize> {
    match address.0.ip() {
        IpAddr::V4(ip) if ip.octets()[..3] == [10, 254, 0] => Some(ip.octets()[3].into()),
        _ => None,
    }
}

impl World {
    /// Adds the strangers of this run. Its replicas have not begun yet.
    pub(super) fn begin_strangers(&mut self) {
        let n = self.nodes.len();
        let Strangers { stale, leftovers, strays } = self.strangers;
        let rng = &mut self.streams.strangers;
        let former: Vec<DirectoryId> = (0..n).map(|_| DirectoryId(rng.u64(1..))).collect();
        let mut ids: Vec<usize> = (0..n).collect();
        rng.shuffle(&mut ids);
        for index in ids.into_iter().take(leftovers) {
            let until = Time(rng.u64(100_000..=LEFT_US_MAX));
            let node = &mut self.nodes[index];
            node.store.directory = former[index];
            node.store.bootstrap = BootstrapStore::Records(Some((former.clone(), None)));
            let id = node.id;
            self.queue.add(until, Event::Stranger(Stranger::Removed(id)));
        }
        if stale {
            self.send_stale(&former);
        }
        for index in 0..strays {
            let rng = &mut self.streams.strangers;
            let (id, boot) = (ReplicaId(rng.u8(..n as u8)), BootId(rng.u64(1..)));
            let directory = DirectoryId(rng.u64(1..));
            let settings = Settings { id, boot, ..self.nodes[0].settings };
            let (me, seal) = (message::Party::Replica(id), self.seal.as_ref());
            let wire = Wire::sealed(n, me, boot, self.datagram_max, seal);
            let role = Bootstrap::new(settings, directory, Time(0));
            self.strays.push(Stray { id, wire, role, told: false });
            let at = Time(self.streams.strangers.u64(..LEFT_US_MAX));
            self.queue.add(at, Event::Stranger(Stranger::Timer(index)));
        }
    }

    /// Puts warm-up messages of a former cluster of these directories on their way.
    fn send_stale(&mut self, former: &[DirectoryId]) {
        let n = self.nodes.len();
        let pairs = (0..n).flat_map(|from| (0..n).map(move |to| (from, to)));
        for (from, to) in pairs.filter(|(from, to)| from != to) {
            let rng = &mut self.streams.strangers;
            let boot = BootId(rng.u64(1..));
            let from = ReplicaId(from as u8);
            let mut wire = Wire::new(n, message::Party::Replica(from), boot, self.datagram_max);
            for _ in 0..rng.usize(..=STALE_MAX) {
                let rng = &mut self.streams.strangers;
                let ready = Ready {
                    directory: former[from.index()],
                    boot,
                    round: rng.u64(1..1_000),
                    answers: rng
                        .bool()
                        .then(|| Heard { boot: BootId(rng.u64(1..)), round: rng.u64(1..100) }),
                    started: rng.bool().then(|| former.to_vec()),
                    list: 0,
                    origin: None,
                };
                // Half of them come before the cluster can have started.
                let latest = if rng.bool() { SOON_US } else { LEFT_US_MAX };
                let at = Time(rng.u64(..latest));
                let to = ReplicaId(to as u8);
                let message = Message::Bootstrap(ToBootstrap::Ready(Box::new(ready)));
                for Leaving { bytes, .. } in wire.send(self.now, &[Outgoing::Peer { to, message }])
                {
                    let arrival = Arrival::Frame(address_of_replica(from), bytes);
                    self.queue.add(at, Event::Arrive { to, arrival });
                }
                self.reach.count(Situation::StaleWarmUp);
            }
        }
    }

    pub(super) fn stranger(&mut self, stranger: Stranger) -> Step {
        match stranger {
            Stranger::Removed(id) => self.remove_leftover(id),
            Stranger::Copied => self.copy_begins(),
            Stranger::AtCopy(arrival) => self.at_copy(arrival),
            Stranger::CopyWakes => self.copy_wakes(),
            Stranger::CopyEnds => {
                self.end_copy();
                Ok(())
            }
            Stranger::Timer(index) => {
                let stray = &mut self.strays[index];
                let mut out = Outbox::new();
                stray.role.handle_timeout(self.now, 0, &mut out);
                let again = self.now.plus_us(self.nodes[0].settings.heartbeat_us);
                self.queue.add(again, Event::Stranger(Stranger::Timer(index)));
                self.post_of_stray(index, out)
            }
            Stranger::Frame(index, from, bytes) => {
                let stray = &mut self.strays[index];
                let (incoming, frames) = stray.wire.receive(self.now, from, &bytes);
                self.frames_of_stray(index, frames);
                let stray = &mut self.strays[index];
                let mut out = Outbox::new();
                for incoming in incoming {
                    let Incoming::WarmUp { from, at, message } = incoming else { continue };
                    let is_told = matches!(message, ToBootstrap::NotMember { .. });
                    if is_told && !std::mem::replace(&mut stray.told, true) {
                        self.reach.count(Situation::StrayTold);
                    }
                    let input = bootstrap::Input::Peer(from, at, message);
                    stray.role.handle(self.now, 0, input, &mut out);
                }
                self.post_of_stray(index, out)
            }
        }
    }

    /// The files of the former cluster are removed, and the replica begins anew.
    fn remove_leftover(&mut self, id: ReplicaId) -> Step {
        self.trace(|| format!("replica {id}: the files of a former cluster are removed"));
        self.reach.count(Situation::Leftover);
        self.end_life(id, Death::Killed);
        let rng = &mut self.streams.strangers;
        let directory = DirectoryId(rng.u64(1..));
        let disk = rng.fork();
        let node = &mut self.nodes[id.index()];
        node.store.wipe(directory, disk);
        node.started = false;
        self.begin_life(id)
    }

    fn post_of_stray(&mut self, index: usize, mut out: Outbox<bootstrap::Record>) -> Step {
        let stray = &mut self.strays[index];
        let mut outgoing = Vec::new();
        let envelopes = out.commit(&mut BootstrapStore::Records(None)).expect("memory never fails");
        for envelope in envelopes {
            match envelope {
                Envelope::Peer { to, message } => outgoing.push(Outgoing::Peer { to, message }),
                Envelope::Notice(Notice::Start(membership)) if membership.is_voter(stray.id) => {
                    let what = format!("S6: a stray process votes as replica {}", stray.id);
                    return Err(Violation { what, slot: None });
                }
                _ => {}
            }
        }
        let frames = stray.wire.send(self.now, &outgoing);
        self.frames_of_stray(index, frames);
        Ok(())
    }

    fn frames_of_stray(&mut self, index: usize, frames: Frames) {
        for Leaving { to, bytes, .. } in frames {
            if let Endpoint::Replica(to) = to
                && !self.out[to.index()]
            {
                let from = address_of_stray(index);
                self.send_whole(|| Event::Arrive {
                    to,
                    arrival: Arrival::Frame(from, bytes.clone()),
                });
            }
        }
    }

    /// Sends a datagram to where another one came from.
    pub(super) fn send_back(&mut self, id: ReplicaId, to: ReplicaId, at: Address, bytes: Vec<u8>) {
        let from = address_of_replica(id);
        if let Some(index) = stray_at(at) {
            self.send_whole(|| Event::Stranger(Stranger::Frame(index, from, bytes.clone())));
        } else if self.reaches(id, to) {
            let at_copy = beside::is_copy(at);
            let arrival = || Arrival::Frame(from, bytes.clone());
            self.send_whole(|| World::arrives(to, at_copy, arrival()));
        }
    }
}
