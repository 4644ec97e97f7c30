//! How a role's thread sends: through the gate, on its own system calls.
//!
//! Handing every datagram to the network thread would cost a wake-up each; so a
//! thread packs and sends by itself, several datagrams to one destination in one call
//! (`batch`), and the loop gets only what it alone can do:
//! what the socket would have blocked on, and messages to be split (asked-for
//! fragments are resent by the loop, so it must have them). The queue to the loop is
//! bounded in number and bytes, a full one is a lost datagram, and nobody waits.

use super::batch::{Batches, Segments};
use super::bell::Bell;
use super::counters::{Counters, Event};
use super::frame::Identity;
use super::loss::Gate;
use super::offload::Offload;
use super::pack::{Packer, Sink};
use super::{Endpoint, Outgoing};
use crate::threads::plant::{self, Plant};
use crate::threads::{self, Sender};
use crate::types::ClusterId;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The most batches of datagrams and messages that wait for the loop.
pub const QUEUE_MAX: usize = 4_096;

/// The most bytes of them.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// What a thread leaves to the loop.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) to: Endpoint,
    pub(super) what: What,
    pub(super) bytes: Vec<u8>,
    /// Whether it leaves although the process is muted.
    pub(super) exempt: bool,
}

#[derive(Debug)]
pub(super) enum What {
    /// Datagrams, each but the last of so many bytes: sealed, and drawn to pass the gate.
    Datagrams(usize),
    /// Encoded, to be split; travels with this cluster.
    Message(ClusterId),
}

/// What the loop and all outlets of a process have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) socket: UdpSocket,
    pub(super) offload: Offload,
    pub(super) ipv6: bool,
    pub(super) peers: Vec<SocketAddr>,
    pub(super) identity: Identity,
    pub(super) datagram_max: usize,
    pub(super) loss: f64,
    pub(super) queue: Sender<Queued>,
    pub(super) queued_bytes: AtomicUsize,
    pub(super) bell: Bell,
    pub(super) muted: Arc<AtomicBool>,
    pub(super) counters: Arc<Counters>,
}

/// What became of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fate {
    /// So many went to the socket.
    pub(super) sent: usize,
    /// From this one on, the socket would have blocked. The others are sent or lost.
    pub(super) blocked: Option<usize>,
}

impl Shared {
    /// One attempt to send, past the gate already.
    pub(super) fn transmit(&self, to: Endpoint, segments: Segments<'_>, exempt: bool) -> Fate {
        let count = segments.count();
        let mut fate = Fate::default();
        if self.muted.load(Ordering::SeqCst) && !exempt {
            self.counters.add(Event::Muted, count as u64);
            return fate;
        }
        let address = match to {
            Endpoint::Replica(id) => self.peers[id.index()],
            Endpoint::Client(address) => address.0,
        };
        let address = on_wire(address, self.ipv6);
        if count > 1 && self.offload.batches() {
            match attempt(&self.counters, || self.offload.send(&self.socket, address, segments)) {
                Ok(()) => fate.sent = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => fate.blocked = Some(0),
                Err(error) => {
                    self.offload.refused(&error);
                    fate = self.transmit_singly(address, segments);
                }
            }
        } else {
            fate = self.transmit_singly(address, segments);
        }
        self.counters.add(Event::Sent, fate.sent as u64);
        threads::has_sent();
        fate
    }

    fn transmit_singly(&self, address: SocketAddr, segments: Segments<'_>) -> Fate {
        let mut fate = Fate::default();
        for index in 0..segments.count() {
            match attempt(&self.counters, || self.socket.send_to(segments.get(index), address)) {
                Ok(_) => fate.sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    fate.blocked = Some(index);
                    break;
                }
                Err(error) => {
                    self.counters.count(Event::SendFailed);
                    log::debug!("cannot send to {address}: {error}");
                }
            }
        }
        fate
    }

    /// Leaves it to the loop; the caller wakes it when its turn is over.
    fn hand_over(&self, queued: Queued) {
        let bytes = queued.bytes.len();
        let count = match queued.what {
            What::Datagrams(size) => Segments::cut(&queued.bytes, size).count() as u64,
            What::Message(_) => 1,
        };
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > QUEUE_BYTES_MAX || self.queue.try_send(queued).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return self.counters.add(Event::LostQueueFull, count);
        }
        self.counters.add(Event::Handed, count);
    }
}

/// Calls `send` until it says something about what is sent now.
pub(super) fn attempt<T>(
    counters: &Counters,
    mut send: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let mut refused = false;
    loop {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // ICMP's word on an earlier datagram, perhaps to somebody else; this
            // one was not sent, and the error is gone once it is told.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && !refused => {
                counters.count(Event::Refused);
                refused = true;
            }
            said => {
                if said.is_ok() {
                    counters.count(Event::SendCalls);
                }
                return said;
            }
        }
    }
}

/// The address in the form that the socket's family takes.
pub(super) fn on_wire(address: SocketAddr, ipv6: bool) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        _ => address,
    }
}

/// How many datagrams went to the socket from the thread that called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// To replicas.
    pub to_replicas: usize,
    /// To clients.
    pub to_clients: usize,
}

/// One thread's way out. Made by [`super::udp::Network::outlet`].
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
    packer: Packer,
    batches: Batches,
    gate: Gate,
    exempt: bool,
}

impl Outlet {
    pub(super) fn new(shared: Arc<Shared>, seed: u64) -> Self {
        Outlet {
            packer: Packer::new(shared.identity.clone(), shared.datagram_max),
            batches: Batches::default(),
            gate: Gate::new(shared.loss, seed),
            exempt: false,
            shared,
        }
    }

    /// Sends all of it, in as few datagrams as it fits, and says how many the socket
    /// took. What the gate lost, what was left to the loop and what failed is counted,
    /// but not in this.
    ///
    /// # Panics
    ///
    /// See [`Packer::add`]: if a message is to oneself, or of the wrong sort.
    pub fn send(&mut self, outgoing: impl IntoIterator<Item = Outgoing>) -> Sent {
        let mut way = Way {
            turn: Turn {
                shared: &self.shared,
                exempt: self.exempt,
                sent: Sent::default(),
                handed: false,
            },
            gate: &mut self.gate,
            batches: &mut self.batches,
            more: true,
        };
        outgoing.into_iter().for_each(|outgoing| self.packer.add(&outgoing, &mut way));
        way.more = false;
        self.packer.flush(&mut way);
        let Way { mut turn, batches, .. } = way;
        batches.finish(|to, segments| turn.transmit(to, segments));
        if turn.handed {
            self.shared.bell.ring();
        }
        turn.sent
    }

    /// From now on nothing leaves this process any more but through this outlet: for
    /// a replica that is to die after what it sends next. A datagram that another
    /// thread is just handing to the socket may still leave.
    pub fn mute_others(&mut self) {
        self.exempt = true;
        self.shared.muted.store(true, Ordering::SeqCst);
    }
}

/// What one turn of an outlet has sent.
struct Turn<'a> {
    shared: &'a Shared,
    exempt: bool,
    sent: Sent,
    handed: bool,
}

impl Turn<'_> {
    /// Sends what has passed the gate, or leaves it to the loop.
    fn transmit(&mut self, to: Endpoint, segments: Segments<'_>) {
        let Fate { sent, blocked } = self.shared.transmit(to, segments, self.exempt);
        match to {
            Endpoint::Replica(_) => self.sent.to_replicas += sent,
            Endpoint::Client(_) => self.sent.to_clients += sent,
        }
        if let Some(index) = blocked {
            let left = segments.after(index);
            self.hand_over(to, What::Datagrams(left.size()), left.bytes());
        }
    }

    fn hand_over(&mut self, to: Endpoint, what: What, bytes: &[u8]) {
        let (bytes, exempt) = (bytes.to_vec(), self.exempt);
        if plant::is(Plant::WokenBeforeHandOver) {
            self.shared.bell.ring();
            return self.shared.hand_over(Queued { to, what, bytes, exempt });
        }
        self.shared.hand_over(Queued { to, what, bytes, exempt });
        self.handed = true;
    }
}

/// The way through the gate and the batches of one turn.
struct Way<'a> {
    turn: Turn<'a>,
    gate: &'a mut Gate,
    batches: &'a mut Batches,
    /// Whether another datagram follows to the destination of this one: it was full.
    more: bool,
}

impl Sink for Way<'_> {
    fn datagram(&mut self, to: Endpoint, frame: &[u8]) {
        let shared = self.turn.shared;
        if !self.gate.passes() {
            return shared.counters.count(Event::LostByGate);
        }
        let batch = match self.more && shared.offload.batches() {
            true => self.batches.begin(to),
            false => self.batches.begun(to),
        };
        match batch {
            Some(batch) => {
                if !batch.push(frame, shared.datagram_max) {
                    self.turn.transmit(to, batch.segments());
                    batch.clear();
                }
            }
            None => self.turn.transmit(to, Segments::one(frame)),
        }
    }

    fn oversize(&mut self, to: Endpoint, cluster: ClusterId, message: &[u8]) {
        self.turn.hand_over(to, What::Message(cluster), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_peer_is_reached_from_an_ipv6_socket() {
        let v4: SocketAddr = "10.1.2.3:9".parse().expect("an address");
        let v6: SocketAddr = "[fe80::1%3]:9".parse().expect("an address");
        assert_eq!(on_wire(v4, true).to_string(), "[::ffff:10.1.2.3]:9");
        assert_eq!(on_wire(v4, false), v4);
        assert_eq!(on_wire(v6, true), v6);
    }
}
