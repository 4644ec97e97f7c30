//! How a thread sends: through the gate, with system calls of its own.
//!
//! Handing every datagram to the network thread would cost a wake-up each. So a thread
//! packs and sends by itself, several datagrams to one destination in one call (`batch`).
//! It leaves three things to the loop: datagrams that the socket would have blocked on, those
//! for which the path has no room, and messages to be split, because the loop resends the
//! fragments that a receiver asks for.
//! The queue to the loop is bounded in number and bytes. If it is full, the datagram is
//! lost and the thread goes on.

use crate::CLIENT_BODY_BYTES_MIN;
use crate::batch::{Batches, Segments};
use crate::codec::{ALWAYS_NEEDED, Codec, Departure, Endpoint, Pack, Protected, Sink};
use crate::counters::{Counters, NetEvent};
use crate::loss::Gate;
use crate::offload::Offload;
use crate::path::length::Use;
use crate::path::queue::Repeat;
use crate::path::shared::SharedPaths;
use crate::path::{PATH_BYTES_MIN, first_bytes};
use crate::peers::Peers;
use crate::wakeup::Wakeup;
use interleavings::threads::{self, Sender};
use rustix::io::Errno;
use seldom::Seldom;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The most batches of datagrams and messages that wait for the loop.
pub const QUEUE_MAX: usize = 4_096;

/// The most bytes of them.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Something that a thread leaves to the loop.
#[derive(Debug)]
pub(crate) struct Queued<E> {
    pub(crate) to: E,
    pub(crate) kind: QueuedKind,
    pub(crate) bytes: Vec<u8>,
    pub(crate) priority: Priority,
}

/// What the bytes of a [`Queued`] are.
#[derive(Debug)]
pub(crate) enum QueuedKind {
    /// Sealed datagrams that have passed the gate. Each but the last has this many bytes.
    Datagrams(usize),
    /// An encoded message to be split, which travels with this cluster id.
    Message(u64),
    /// A datagram that leaves as it is.
    Greeting,
}

/// The state that the loop and all outlets of a process share.
#[derive(Debug)]
pub(crate) struct Shared<C: Codec> {
    pub(crate) socket: UdpSocket,
    pub(crate) offload: Offload,
    /// By peer: when the user was told that sends to it fail.
    pub(crate) failing: Vec<Mutex<Seldom>>,
    /// The address of the socket.
    pub(crate) local: SocketAddr,
    pub(crate) ipv6: bool,
    pub(crate) peers: Peers,
    pub(crate) codec: C,
    pub(crate) datagram_max: usize,
    pub(crate) began: Instant,
    pub(crate) paths: SharedPaths,
    pub(crate) loss: f64,
    pub(crate) queue: Sender<Queued<C::Endpoint>>,
    pub(crate) queued_bytes: AtomicUsize,
    pub(crate) wakeup: Wakeup,
    pub(crate) muted: Arc<AtomicBool>,
    pub(crate) counters: Arc<Counters>,
}

/// How far an attempt to send datagrams came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SendOutcome {
    /// How many went to the socket.
    pub(crate) sent: usize,
    /// The index of the first that neither was sent nor is lost, and why.
    pub(crate) left: Option<(usize, Left)>,
}

/// Why datagrams are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The socket would have blocked.
    Blocked,
    /// There is no room on the path.
    NoRoom,
}

/// Which datagrams leave at once, whatever the path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Priority {
    pub(crate) departure: Departure,
    /// Whether they leave although they have arrived before.
    pub(crate) repeat: Repeat,
    /// They are sent although the process is muted.
    pub(crate) exempt: bool,
}

/// Of a datagram that is short or has waited already: it leaves at once.
pub(crate) const URGENT: Priority =
    Priority { departure: Departure::Urgent, repeat: Repeat::Always, exempt: false };

impl<C: Codec> Shared<C> {
    /// Where `to` is reached at present.
    pub(crate) fn address(&self, to: C::Endpoint) -> SocketAddr {
        self.peers.with(|peers| to.address(peers))
    }

    /// The most bytes of a datagram to `to` at present. Answers to clients are short; several
    /// of them in one datagram are no longer than nearly every path carries.
    pub(crate) fn length(&self, to: C::Endpoint) -> usize {
        if let Some(peer) = to.peer() {
            return self.paths.length(peer);
        }
        // Nobody tests the paths to clients. The loopback's is known.
        let address = self.address(to);
        match address.ip().is_loopback() {
            true => self.datagram_max,
            false => first_bytes(address).min(self.datagram_max),
        }
    }

    /// How long a round trip to `to` takes; 0 if that is not known.
    pub(crate) fn round_trip_us(&self, to: C::Endpoint) -> u64 {
        let trip = |peer| self.paths.traffic(peer).flow.round_trip_us();
        to.peer().and_then(trip).unwrap_or(0)
    }

    /// Notes what was sent, so that the loop tests whether such datagrams arrive.
    fn note_use(&self, to: C::Endpoint, segments: Segments<'_>) {
        let long = segments.size() > PATH_BYTES_MIN;
        let batch = segments.count() > 1 && self.offload.trust.takes(to.peer());
        if (long || batch)
            && let Some(peer) = to.peer()
        {
            self.note(peer, Use { long, batch });
        }
    }

    /// Whether several datagrams to `to` may leave at once. Where such datagrams have vanished, it
    /// is noted that they are wanted, so that the loop tests them again.
    pub(crate) fn batches(&self, to: C::Endpoint) -> bool {
        let (trust, peer) = (&self.offload.trust, to.peer());
        if let Some(peer) = peer
            && trust.wants_test(peer)
        {
            self.note(peer, Use { long: false, batch: true });
        }
        trust.batches(peer)
    }

    fn note(&self, peer: usize, what: Use) {
        if self.paths.note(peer, what) {
            self.wakeup.wake();
        }
    }

    /// The time, in microseconds since the network began.
    pub(crate) fn now(&self) -> u64 {
        threads::now().duration_since(self.began).as_micros() as u64
    }

    /// Tries once to send datagrams that have passed the gate. Each but the last has `size`
    /// bytes. Those for which there is no room on the path are left.
    pub(crate) fn transmit(
        &self,
        to: C::Endpoint,
        datagrams: &mut [u8],
        size: usize,
        priority: Priority,
    ) -> SendOutcome {
        let count = Segments::cut(datagrams, size).count();
        if self.muted.load(Ordering::SeqCst) && !priority.exempt {
            self.counters.add(NetEvent::Muted, count as u64);
            return SendOutcome::default();
        }
        if let Some(peer) = to.peer() {
            self.peers.note_sent(peer);
        }
        let admitted = self.stamp(to, datagrams, size, priority);
        let held = (admitted < count).then_some((admitted, Left::NoRoom));
        if admitted == 0 && count > 0 && held.is_some() {
            return SendOutcome { sent: 0, left: held };
        }
        let admitted = (admitted * size).min(datagrams.len());
        let outcome = self.send(to, &mut datagrams[..admitted], size);
        SendOutcome { sent: outcome.sent, left: outcome.left.or(held) }
    }

    /// Stamps as many datagrams as may leave now, and returns how many those are.
    fn stamp(
        &self,
        to: C::Endpoint,
        datagrams: &mut [u8],
        size: usize,
        priority: Priority,
    ) -> usize {
        let size = size.clamp(1, datagrams.len().max(1));
        let Some(peer) = to.peer() else { return datagrams.len().div_ceil(size).max(1) };
        let at_once = priority.departure.is_urgent() || priority.exempt;
        if !at_once && self.paths.waits(peer) {
            return 0;
        }
        let now = self.now();
        let mut traffic = self.paths.traffic(peer);
        let mut admitted = 0;
        for datagram in datagrams.chunks_mut(size) {
            if !at_once && !traffic.flow.admits(now, datagram.len()) {
                break;
            }
            C::stamp(datagram, traffic.stamp(now, datagram.len()));
            admitted += 1;
        }
        admitted
    }

    /// Tries once to send datagrams that are stamped. Each but the last has `size` bytes.
    pub(crate) fn send(&self, to: C::Endpoint, datagrams: &mut [u8], size: usize) -> SendOutcome {
        if !self.protect(to, datagrams, size) {
            return SendOutcome::default();
        }
        self.send_protected(to, Segments::cut(datagrams, size))
    }

    /// The last step before datagrams leave. Returns whether they may. Leaves a greeting to the
    /// loop, which draws whether it is lost.
    fn protect(&self, to: C::Endpoint, datagrams: &mut [u8], size: usize) -> bool {
        let Protected { leaves, greeting } = self.codec.protect(to, datagrams, size);
        if let Some(bytes) = greeting {
            let priority = URGENT;
            self.hand_over(Queued { to, kind: QueuedKind::Greeting, bytes, priority });
            self.wakeup.wake();
        }
        if !leaves {
            let count = Segments::cut(datagrams, size).count() as u64;
            self.counters.add(NetEvent::NoSession, count);
        }
        leaves
    }

    /// Tries once to send datagrams as they are.
    pub(crate) fn send_protected(&self, to: C::Endpoint, segments: Segments<'_>) -> SendOutcome {
        let count = segments.count();
        let mut outcome = SendOutcome::default();
        let address = self.address(to);
        if address.port() == 0 {
            // Its name has no address yet.
            self.counters.add(NetEvent::SendFailed, count as u64);
            return outcome;
        }
        let address = on_wire(address, self.ipv6);
        self.note_use(to, segments);
        if count > 1 && self.offload.trust.batches(to.peer()) {
            match attempt(&self.counters, || self.offload.send(&self.socket, address, segments)) {
                Ok(()) => outcome.sent = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    outcome.left = Some((0, Left::Blocked));
                }
                Err(error) => {
                    outcome = self.send_singly(to, address, segments);
                    self.offload.refused(to.peer(), &error, outcome.sent);
                }
            }
        } else {
            outcome = self.send_singly(to, address, segments);
        }
        self.counters.add(NetEvent::Sent, outcome.sent as u64);
        threads::has_sent();
        outcome
    }

    /// Sends a probe. It is lost if the socket would block.
    pub(crate) fn transmit_probe(&self, to: C::Endpoint, datagram: &mut [u8]) {
        if self.muted.load(Ordering::SeqCst) {
            return self.counters.count(NetEvent::Muted);
        }
        if let Some(peer) = to.peer() {
            let (now, bytes) = (self.now(), datagram.len());
            C::stamp(datagram, self.paths.traffic(peer).stamp_probe(now, bytes));
        }
        let size = datagram.len();
        self.send(to, datagram, size);
    }

    /// Sends the same datagram so often in one call, believing whatever the kernel says: a
    /// test of batches. Returns whether the kernel took them.
    pub(crate) fn transmit_batch(&self, to: C::Endpoint, datagram: &[u8], times: usize) -> bool {
        let address = on_wire(self.address(to), self.ipv6);
        let (mut bytes, size) = (datagram.repeat(times), datagram.len());
        self.stamp(to, &mut bytes, size, URGENT);
        if !self.protect(to, &mut bytes, size) {
            return true;
        }
        let segments = Segments::cut(&bytes, size);
        let sent = attempt(&self.counters, || self.offload.send(&self.socket, address, segments));
        match sent {
            Ok(()) => self.counters.add(NetEvent::Sent, times as u64),
            Err(_) => self.counters.count(NetEvent::SendFailed),
        }
        threads::has_sent();
        sent.is_ok()
    }

    fn send_singly(
        &self,
        to: C::Endpoint,
        address: SocketAddr,
        segments: Segments<'_>,
    ) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        for index in 0..segments.count() {
            match attempt(&self.counters, || self.socket.send_to(segments.get(index), address)) {
                Ok(_) => outcome.sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    outcome.left = Some((index, Left::Blocked));
                    break;
                }
                Err(error) => {
                    self.counters.count(NetEvent::SendFailed);
                    let too_long = Some(Errno::MSGSIZE.raw_os_error());
                    match to.peer() {
                        Some(peer) if error.raw_os_error() == too_long => {
                            self.paths.refused(peer, segments.get(index).len());
                        }
                        _ => self.tell_failing(to, &error),
                    }
                }
            }
        }
        outcome
    }

    /// Tells the user that sends to a peer fail: at once, and then once a minute.
    fn tell_failing(&self, to: C::Endpoint, error: &io::Error) {
        let address = self.address(to);
        let Some(peer) = to.peer() else {
            return log::debug!("cannot send to {to}: {error}");
        };
        let now_us = self.now();
        let said = self.failing[peer].lock().expect("no thread panics with it").happened(now_us);
        if let Some(repeats) = said {
            log::warn!("sends to {to} ({address}) fail: {}{repeats}", cause(error));
        }
    }

    /// Leaves it to the loop. The caller wakes the loop when it has sent everything.
    fn hand_over(&self, queued: Queued<C::Endpoint>) {
        let bytes = queued.bytes.len();
        let count = match queued.kind {
            QueuedKind::Datagrams(size) => Segments::cut(&queued.bytes, size).count() as u64,
            QueuedKind::Message(_) | QueuedKind::Greeting => 1,
        };
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > QUEUE_BYTES_MAX || self.queue.try_send(queued).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return self.counters.add(NetEvent::LostQueueFull, count);
        }
        self.counters.add(NetEvent::Handed, count);
    }
}

/// Calls `send` until its result is about the datagram that is sent now.
///
/// # Errors
///
/// What the socket says about this datagram.
pub fn attempt<T>(counters: &Counters, mut send: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut refused = false;
    loop {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // An ICMP message about an earlier datagram, perhaps to another destination.
            // This one was not sent; the socket reports the error once.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && !refused => {
                counters.count(NetEvent::Refused);
                refused = true;
            }
            said => {
                if said.is_ok() {
                    counters.count(NetEvent::SendCalls);
                }
                return said;
            }
        }
    }
}

/// The text of an operating system's error without its number, as a part of a line.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// The address in the form that the socket's family takes.
pub fn on_wire(address: SocketAddr, ipv6: bool) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        _ => address,
    }
}

/// How many datagrams went to the socket from the thread that called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// To peers.
    pub to_peers: usize,
    /// To clients.
    pub to_clients: usize,
}

/// Sends for one thread. Made by [`crate::udp::Network::outlet`].
#[derive(Debug)]
pub struct Outlet<C: Codec> {
    shared: Arc<Shared<C>>,
    packer: C::Packer,
    /// By destination and urgency.
    batches: Batches<(C::Endpoint, bool)>,
    gate: Gate,
    exempt: bool,
}

impl<C: Codec> Outlet<C> {
    pub(crate) fn new(shared: Arc<Shared<C>>, seed: u64) -> Self {
        Outlet {
            packer: shared.codec.packer(),
            batches: Batches::default(),
            gate: Gate::new(shared.loss, seed),
            exempt: false,
            shared,
        }
    }

    /// Sends all messages, in as few datagrams as they fit, and returns how many datagrams
    /// the socket took. Datagrams that the gate lost, that were left to the loop or that
    /// failed are not among them; [`Counters`] have those.
    ///
    /// # Panics
    ///
    /// If the codec's [`Pack::add`] does, for a message that this process may not send.
    pub fn send(&mut self, outgoing: impl IntoIterator<Item = C::Outgoing>) -> Sent {
        let mut sink = OutletSink {
            burst: SendBurst {
                shared: &self.shared,
                exempt: self.exempt,
                sent: Sent::default(),
                handed: false,
            },
            gate: &mut self.gate,
            batches: &mut self.batches,
            more: true,
        };
        outgoing.into_iter().for_each(|outgoing| self.packer.add(&outgoing, &mut sink));
        sink.more = false;
        self.packer.flush(&mut sink);
        let OutletSink { mut burst, batches, .. } = sink;
        batches.finish(C::pad, |(to, urgent), bytes, size, until| {
            burst.transmit(to, bytes, size, Departure::new(urgent, until));
        });
        if burst.handed {
            self.shared.wakeup.wake();
        }
        burst.sent
    }

    /// The most bytes of a datagram to `to` at present.
    pub fn length(&self, to: C::Endpoint) -> usize {
        self.shared.length(to)
    }

    /// Mutes the process except for this outlet, for a process that is to die after its next
    /// datagrams. A datagram that another thread is just handing to the socket may
    /// still leave.
    pub fn mute_others(&mut self) {
        self.exempt = true;
        self.shared.muted.store(true, Ordering::SeqCst);
    }
}

/// The datagrams that one call of an outlet has sent.
struct SendBurst<'a, C: Codec> {
    shared: &'a Shared<C>,
    exempt: bool,
    sent: Sent,
    handed: bool,
}

impl<C: Codec> SendBurst<'_, C> {
    /// Sends datagrams that have passed the gate, or leaves them to the loop.
    fn transmit(&mut self, to: C::Endpoint, bytes: &mut [u8], size: usize, departure: Departure) {
        let priority = Priority { departure, repeat: Repeat::Always, exempt: self.exempt };
        let SendOutcome { sent, left } = self.shared.transmit(to, bytes, size, priority);
        match to.peer() {
            Some(_) => self.sent.to_peers += sent,
            None => self.sent.to_clients += sent,
        }
        if let Some((index, _)) = left {
            let left = Segments::cut(bytes, size).after(index);
            self.hand_over(to, QueuedKind::Datagrams(left.size()), left.bytes(), departure);
        }
    }

    fn hand_over(&mut self, to: C::Endpoint, kind: QueuedKind, bytes: &[u8], departure: Departure) {
        let priority = Priority { departure, repeat: Repeat::Always, exempt: self.exempt };
        self.shared.hand_over(Queued { to, kind, bytes: bytes.to_vec(), priority });
        self.handed = true;
    }
}

/// Where the packer's datagrams go: through the gate, into a batch or to the socket.
struct OutletSink<'a, C: Codec> {
    burst: SendBurst<'a, C>,
    gate: &'a mut Gate,
    batches: &'a mut Batches<(C::Endpoint, bool)>,
    /// Whether another datagram to the same destination follows, because this one was full.
    more: bool,
}

impl<C: Codec> Sink<C::Endpoint> for OutletSink<'_, C> {
    fn datagram(&mut self, to: C::Endpoint, frame: &mut [u8], departure: Departure) {
        let shared = self.burst.shared;
        if !self.gate.passes() {
            return shared.counters.count(NetEvent::LostByGate);
        }
        let place = (to, departure.is_urgent());
        let batch = match self.more && shared.batches(to) {
            true => self.batches.begin(place),
            false => self.batches.begun(place),
        };
        match batch {
            Some(batch) => {
                // A stranger has paid for what its answers hold, and for no padding.
                if to.peer().is_none() && !batch.pads_little(frame.len(), CLIENT_BODY_BYTES_MIN) {
                    let (bytes, size) = batch.padded(C::pad);
                    self.burst.transmit(to, bytes, size, Departure::Urgent);
                    batch.clear();
                }
                if let Departure::WhenRoom { until } = departure {
                    batch.keep_until(until);
                }
                if !batch.push(frame, shared.length(to)) {
                    let departure = Departure::new(departure.is_urgent(), batch.until());
                    let (bytes, size) = batch.padded(C::pad);
                    self.burst.transmit(to, bytes, size, departure);
                    batch.clear();
                }
            }
            None => self.burst.transmit(to, frame, frame.len(), departure),
        }
    }

    fn oversize(&mut self, to: C::Endpoint, cluster: u64, message: &[u8]) {
        let departure = Departure::WhenRoom { until: ALWAYS_NEEDED };
        self.burst.hand_over(to, QueuedKind::Message(cluster), message, departure);
    }

    fn length(&self, to: C::Endpoint) -> usize {
        self.burst.shared.length(to)
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
