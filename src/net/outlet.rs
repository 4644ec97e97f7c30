//! How a role's thread sends: through the gate, on its own system call.
//!
//! Handing every datagram to the network thread would cost a wake-up each; so a
//! thread packs and sends by itself, and the loop gets only what it alone can do:
//! what the socket would have blocked on, and messages to be split (asked-for
//! fragments are resent by the loop, so it must have them). The queue to the loop is
//! bounded in number and bytes, a full one is a lost datagram, and nobody waits.

use super::counters::{Counters, Event};
use super::frame::Identity;
use super::loss::Gate;
use super::pack::{Packer, Sink};
use super::{Endpoint, Outgoing};
use crate::types::ClusterId;
use crossbeam_channel::Sender;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The most datagrams and messages that wait for the loop.
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
    /// Sealed, and drawn to pass the gate.
    Datagram,
    /// Encoded, to be split; travels with this cluster.
    Message(ClusterId),
}

/// What the loop and all outlets of a process have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) socket: UdpSocket,
    pub(super) ipv6: bool,
    pub(super) peers: Vec<SocketAddr>,
    pub(super) identity: Identity,
    pub(super) datagram_max: usize,
    pub(super) loss: f64,
    pub(super) queue: Sender<Queued>,
    pub(super) queued_bytes: AtomicUsize,
    pub(super) waker: mio::Waker,
    /// Set by the loop before its last look at queue and flags; whoever takes it back
    /// wakes the loop.
    pub(super) asleep: AtomicBool,
    pub(super) stopped: AtomicBool,
    pub(super) muted: Arc<AtomicBool>,
    pub(super) counters: Arc<Counters>,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Sent,
    WouldBlock,
    Lost,
}

impl Shared {
    /// One attempt to send, past the gate already.
    pub(super) fn transmit(&self, to: Endpoint, frame: &[u8], exempt: bool) -> Fate {
        if self.muted.load(Ordering::SeqCst) && !exempt {
            self.counters.count(Event::Muted);
            return Fate::Lost;
        }
        let address = match to {
            Endpoint::Replica(id) => self.peers[id.index()],
            Endpoint::Client(address) => address.0,
        };
        let address = on_wire(address, self.ipv6);
        let mut refused = false;
        loop {
            let Err(error) = self.socket.send_to(frame, address) else {
                self.counters.count(Event::Sent);
                return Fate::Sent;
            };
            match error.kind() {
                io::ErrorKind::WouldBlock => return Fate::WouldBlock,
                io::ErrorKind::Interrupted => {}
                // ICMP's word on an earlier datagram, perhaps to somebody else; this
                // one was not sent, and the error is gone once it is told.
                io::ErrorKind::ConnectionRefused if !refused => {
                    self.counters.count(Event::Refused);
                    refused = true;
                }
                _ => {
                    self.counters.count(Event::SendFailed);
                    log::debug!("cannot send to {address}: {error}");
                    return Fate::Lost;
                }
            }
        }
    }

    /// Leaves it to the loop; the caller wakes it when its turn is over.
    fn hand_over(&self, queued: Queued) {
        let bytes = queued.bytes.len();
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > QUEUE_BYTES_MAX || self.queue.try_send(queued).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return self.counters.count(Event::LostQueueFull);
        }
        self.counters.count(Event::Handed);
    }

    /// Wakes the loop if it sleeps or is about to.
    pub(super) fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            log::error!("cannot wake the network thread: {error}");
        }
    }
}

/// The address in the form that the socket's family takes.
fn on_wire(address: SocketAddr, ipv6: bool) -> SocketAddr {
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
    gate: Gate,
    exempt: bool,
}

impl Outlet {
    pub(super) fn new(shared: Arc<Shared>, seed: u64) -> Self {
        Outlet {
            packer: Packer::new(shared.identity.clone(), shared.datagram_max),
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
            shared: &self.shared,
            gate: &mut self.gate,
            exempt: self.exempt,
            sent: Sent::default(),
            handed: false,
        };
        for outgoing in outgoing {
            self.packer.add(&outgoing, &mut way);
        }
        self.packer.flush(&mut way);
        let Way { sent, handed, .. } = way;
        if handed {
            self.shared.wake();
        }
        sent
    }

    /// From now on nothing leaves this process any more but through this outlet: for
    /// a replica that is to die after what it sends next. A datagram that another
    /// thread is just handing to the socket may still leave.
    pub fn mute_others(&mut self) {
        self.exempt = true;
        self.shared.muted.store(true, Ordering::SeqCst);
    }
}

/// One turn of an outlet.
struct Way<'a> {
    shared: &'a Shared,
    gate: &'a mut Gate,
    exempt: bool,
    sent: Sent,
    handed: bool,
}

impl Sink for Way<'_> {
    fn datagram(&mut self, to: Endpoint, frame: &[u8]) {
        if !self.gate.passes() {
            return self.shared.counters.count(Event::LostByGate);
        }
        match (self.shared.transmit(to, frame, self.exempt), to) {
            (Fate::Sent, Endpoint::Replica(_)) => self.sent.to_replicas += 1,
            (Fate::Sent, Endpoint::Client(_)) => self.sent.to_clients += 1,
            (Fate::Lost, _) => {}
            (Fate::WouldBlock, _) => {
                let (bytes, exempt) = (frame.to_vec(), self.exempt);
                self.shared.hand_over(Queued { to, what: What::Datagram, bytes, exempt });
                self.handed = true;
            }
        }
    }

    fn oversize(&mut self, to: Endpoint, cluster: ClusterId, message: &[u8]) {
        let (bytes, exempt) = (message.to_vec(), self.exempt);
        self.shared.hand_over(Queued { to, what: What::Message(cluster), bytes, exempt });
        self.handed = true;
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
