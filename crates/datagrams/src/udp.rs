//! The socket of a process, and the loop that does all its receiving.
//!
//! A process has one UDP socket. One thread runs [`Network::run`]: it drains the
//! socket in bounded bursts, opens frames, joins fragments, hands messages to a
//! [`Deliver`], sends what the threads left to it, and asks for fragments when their
//! time has come. When there is nothing to do it looks again for a bounded time, if
//! input has come as fast lately (see [`crate::wait`]), and then sleeps in epoll,
//! without a timeout unless a fragment is awaited. What came from one sender in a row
//! may come in one piece, and is cut into its datagrams first. Everything goes out
//! through a [`Gate`], from here as from the [`Outlet`]s.
//!
//! **Guarantees.** A burst ends after [`BURST_DATAGRAMS`], so neither input nor output
//! starves. A message that was left to the loop is seen before it sleeps: the loop
//! stores that it will sleep, looks once more, and whoever finds that flag wakes it (`bell`).
//! What one datagram says cannot end the loop.
//!
//! **Does not** decide where a message goes inside the process, and keeps nothing of
//! what it has delivered.

use super::batch::{Batch, Segments};
use super::bell::Bell;
use super::counters::{Counters, Event};
use super::fragment::{
    FRAGMENT_HEADER_BYTES, Fragment, Fragmenter, Missing, PIECES_MAX, Reassembler,
};
use super::frame::{self, Identity, Kind, Opened, Opener};
use super::loss::Gate;
use super::offload::Offload;
use super::outlet::{Outlet, QUEUE_MAX, Queued, Shared, What};
use super::{Endpoint, Incoming, pack};
use crate::threads::{self, Receiver};
use crate::types::{Address, ClusterId, Time};
use crate::wait::Patience;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What the kernel is asked for, each way; it may give less.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The most datagrams taken from the socket before [`Deliver::end_of_burst`], give or
/// take what came in one piece.
pub const BURST_DATAGRAMS: usize = 64;

/// What came in one piece is handed on in parts of so many datagrams: whoever takes the
/// first begins while the next is taken apart.
const PART_DATAGRAMS: usize = 8;

/// The most that is taken from the threads' queue before receiving goes on.
pub const BURST_QUEUED: usize = 64;

/// The most batches of datagrams that wait for a socket which would block: a message's
/// fragments, one by one. Nothing more is begun while any wait.
pub const BACKLOG_MAX: usize = PIECES_MAX;

/// No datagram is longer, nor are several that come in one piece.
const RECEIVE_BYTES: usize = 65_535;

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

/// Where arriving messages go: the routing of a process.
pub trait Deliver {
    /// Takes a message. Called on the network thread; must not wait.
    fn deliver(&mut self, incoming: Incoming);

    /// Nothing more is at hand, or enough for one turn: what was gathered, if anything
    /// was, should be handed on.
    fn end_of_burst(&mut self);

    /// Nothing has come, and the thread looks again soon: for what has its time, and would
    /// cost a wake-up elsewhere.
    fn found_nothing(&mut self) {}

    /// The thread is about to sleep, until something comes.
    fn sleeps(&mut self) {}
}

/// What a [`Network`] needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who this process is.
    pub identity: Identity,
    /// Where each replica is reached, by id.
    pub peers: Vec<SocketAddr>,
    /// The most bytes of a datagram, header included.
    pub datagram_max: usize,
    /// The probability with which a datagram is lost on purpose, at the sender.
    pub loss: f64,
    /// For the draws of the loop's own datagrams.
    pub seed: u64,
}

/// A socket with an address, before anybody uses it.
#[derive(Debug)]
pub struct BoundSocket {
    socket: UdpSocket,
    offload: Offload,
    address: SocketAddr,
}

impl BoundSocket {
    /// Takes the UDP port at `address`; port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// If it cannot be had; the text names the address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let named = |cause: io::Error| {
            io::Error::new(cause.kind(), format!("cannot bind UDP address {address}: {cause}"))
        };
        Self::open(address).map_err(named)
    }

    /// A socket for a client of these replicas, at a port that the system chooses.
    ///
    /// # Errors
    ///
    /// If there is none to be had.
    pub fn for_client(replicas: &[SocketAddr]) -> io::Result<Self> {
        Self::bind(client_address(replicas))
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = open_socket(address)?;
        let address = socket.local_addr()?;
        let offload = Offload::new(&socket);
        Ok(BoundSocket { socket, offload, address })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A socket at `address`, with all that this program asks of each, that never blocks.
pub(super) fn open_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    // No SO_REUSEADDR: with UDP two processes could then share a port, unnoticed.
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    for asked in [
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES),
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES),
    ] {
        asked.unwrap_or_else(|error| log::debug!("socket buffers stay as they are: {error}"));
    }
    let given = socket.recv_buffer_size()?;
    if given < SOCKET_BUFFER_BYTES {
        log::debug!("{given} bytes of receive buffer (more needs net.core.rmem_max)");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(UdpSocket::from(socket))
}

/// Where a client of these replicas opens its socket: at a port that the system chooses.
pub(super) fn client_address(replicas: &[SocketAddr]) -> SocketAddr {
    if replicas.iter().all(SocketAddr::is_ipv4) {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    }
}

/// Ends a [`Network::run`] from any thread.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Shared>);

impl StopHandle {
    /// [`Network::run`] returns soon; what still waits to be sent is lost.
    pub fn stop(&self) {
        self.0.bell.stop();
    }
}

/// What a burst of receiving came to.
#[derive(Debug)]
struct Burst {
    /// Datagrams.
    taken: usize,
    /// Whether the socket is empty: epoll tells of nothing else.
    drained: bool,
}

/// The network of one process.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    socket: mio::net::UdpSocket,
    poll: Poll,
    queue: Receiver<Queued>,
    opener: Opener,
    fragmenter: Fragmenter,
    reassembler: Reassembler,
    exit: Exit,
    awaits_writable: bool,
    patience: Patience,
    began: Instant,
    buffer: Box<[u8]>,
    messages: Vec<Incoming>,
}

impl Network {
    /// Puts a loop around `socket`.
    ///
    /// # Errors
    ///
    /// If the system gives no epoll or no second handle of the socket.
    ///
    /// # Panics
    ///
    /// If the settings contradict themselves: they have been checked.
    pub fn new(socket: BoundSocket, settings: Settings) -> io::Result<Self> {
        let Settings { identity, peers, datagram_max, loss, seed } = settings;
        assert_eq!(peers.len(), identity.n, "one address a replica");
        pack::assert_datagram_max(datagram_max);
        let counters = Arc::new(Counters::new());
        let poll = Poll::new()?;
        let mut source = mio::net::UdpSocket::from_std(socket.socket.try_clone()?);
        poll.registry().register(&mut source, SOCKET, Interest::READABLE)?;
        let (sender, queue) = threads::bounded(QUEUE_MAX);
        let shared = Arc::new(Shared {
            ipv6: socket.address.is_ipv6(),
            socket: socket.socket,
            offload: socket.offload,
            peers,
            identity: identity.clone(),
            datagram_max,
            loss,
            queue: sender,
            queued_bytes: AtomicUsize::new(0),
            bell: Bell::new(mio::Waker::new(poll.registry(), WAKER)?),
            muted: Arc::new(AtomicBool::new(false)),
            counters: counters.clone(),
        });
        Ok(Network {
            exit: Exit {
                shared: shared.clone(),
                gate: Gate::new(loss, seed),
                backlog: VecDeque::new(),
                frame: Vec::new(),
                batch: Batch::default(),
            },
            shared,
            socket: source,
            poll,
            queue,
            opener: Opener::new(identity, counters.clone()),
            fragmenter: Fragmenter::new(datagram_max, counters.clone()),
            reassembler: Reassembler::new(counters),
            awaits_writable: false,
            patience: Patience::default(),
            began: threads::now(),
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            messages: Vec::new(),
        })
    }

    /// A way out for one more thread, whose draws begin at `seed`.
    pub fn outlet(&self, seed: u64) -> Outlet {
        Outlet::new(self.shared.clone(), seed)
    }

    /// What ends the loop.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.shared.clone())
    }

    /// The numbers of this process's network.
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// While this is set, nothing leaves but through an outlet that is exempt (see
    /// [`Outlet::mute_others`]).
    pub fn muted(&self) -> Arc<AtomicBool> {
        self.shared.muted.clone()
    }

    /// Receives and sends until it is stopped.
    ///
    /// # Errors
    ///
    /// If the socket or epoll fails in a way that will not pass: the process must end.
    pub fn run(mut self, mut deliver: impl Deliver) -> io::Result<()> {
        let mut events = Events::with_capacity(4);
        while !self.shared.bell.is_stopped() {
            let Burst { taken, drained } = self.receive(&mut deliver)?;
            self.exit.flush_backlog();
            let sent = self.send_queued();
            self.ask_for_fragments();
            if taken + sent > 0 {
                self.patience.found(now(self.began));
            }
            if drained {
                self.wait(&mut events, &mut deliver)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, deliver: &mut impl Deliver) -> io::Result<Burst> {
        let mut burst = Burst { taken: 0, drained: false };
        let mut delivered = 0;
        // Taken out, so that what is in it can be handed on.
        let mut buffer = std::mem::take(&mut self.buffer);
        while burst.taken < BURST_DATAGRAMS && !burst.drained {
            match self.shared.offload.receive(&self.shared.socket, &mut buffer) {
                Ok((from, bytes, stride)) => {
                    let segments = Segments::cut(&buffer[..bytes], stride);
                    for index in 0..segments.count() {
                        self.open(canonical(from), segments.get(index));
                        delivered += self.messages.len() as u64;
                        self.messages.drain(..).for_each(|incoming| deliver.deliver(incoming));
                        if (index + 1).is_multiple_of(PART_DATAGRAMS) {
                            deliver.end_of_burst();
                        }
                    }
                    burst.taken += segments.count();
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => burst.drained = true,
                    _ => pass_over(error, &self.shared.counters)?,
                },
            }
        }
        self.buffer = buffer;
        if burst.taken > 0 {
            self.shared.counters.add(Event::Received, burst.taken as u64);
        }
        if delivered > 0 {
            self.shared.counters.add(Event::Delivered, delivered);
            deliver.end_of_burst();
        }
        Ok(burst)
    }

    /// One datagram; what it says to the roles is in `self.messages` afterwards.
    fn open(&mut self, from: Address, datagram: &[u8]) {
        match self.opener.open(from, datagram, &mut self.messages) {
            Err(why) => log::trace!("datagram from {} dropped: {}", from.0, why.name()),
            Ok(Opened::Messages) => {}
            Ok(Opened::Fragment { from, boot, cluster, fragment }) => {
                let now = now(self.began);
                let joined = self.reassembler.insert(now, from, boot, cluster, fragment);
                if let Some(message) = joined {
                    // Dropped and counted if it is none.
                    let _ = self.opener.open_joined(from, cluster, &message, &mut self.messages);
                }
            }
            Ok(Opened::Missing { from, missing }) => {
                let exit = &mut self.exit;
                self.fragmenter.resend(&missing, |cluster, fragment| {
                    exit.fragment(Endpoint::Replica(from), cluster, fragment, false);
                });
                exit.flush_fragments(Endpoint::Replica(from), false);
            }
        }
    }

    /// What the threads left to the loop. Nothing new is begun while datagrams wait
    /// for the socket: the queue fills up, and then its senders lose theirs. Says how
    /// much was taken from it.
    fn send_queued(&mut self) -> usize {
        for taken in 0..BURST_QUEUED {
            if !self.exit.backlog.is_empty() {
                return taken;
            }
            let Ok(queued) = self.queue.try_recv() else { return taken };
            let Queued { to, what, bytes, exempt } = queued;
            self.shared.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            match what {
                What::Datagrams(size) => {
                    self.exit.transmit(to, Segments::cut(&bytes, size), exempt)
                }
                What::Message(cluster) => {
                    let exit = &mut self.exit;
                    self.fragmenter.split(cluster, bytes, |fragment| {
                        exit.fragment(to, cluster, fragment, exempt);
                    });
                    exit.flush_fragments(to, exempt);
                }
            }
        }
        BURST_QUEUED
    }

    fn ask_for_fragments(&mut self) {
        if self.reassembler.deadline().is_some() {
            let exit = &mut self.exit;
            self.reassembler
                .poll(now(self.began), |to, cluster, missing| exit.missing(to, cluster, &missing));
        }
    }

    /// Yields before the next look, or sleeps until there is something to do. The
    /// socket has been found empty.
    fn wait(&mut self, events: &mut Events, deliver: &mut impl Deliver) -> io::Result<()> {
        if self.patience.looks_again(now(self.began)) {
            deliver.found_nothing();
            threads::yield_now();
            return Ok(());
        }
        deliver.sleeps();
        self.await_writable(!self.exit.backlog.is_empty())?;
        let deadline = self.reassembler.deadline();
        let timeout = deadline.map(|due| Duration::from_micros(due.since_us(now(self.began))));
        let Network { shared, exit, queue, poll, .. } = self;
        let slept = shared.bell.sleep(
            || exit.backlog.is_empty() && !queue.is_empty(),
            || threads::sleep(poll, events, timeout),
        );
        match slept {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether epoll also tells when the socket takes datagrams again. Only while some
    /// wait for that: otherwise each datagram that leaves the kernel would wake us.
    fn await_writable(&mut self, wanted: bool) -> io::Result<()> {
        if wanted != self.awaits_writable {
            let interest =
                if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            self.poll.registry().reregister(&mut self.socket, SOCKET, interest)?;
            self.awaits_writable = wanted;
        }
        Ok(())
    }
}

/// Counts an error of receiving that passes; any other is the caller's end.
pub(super) fn pass_over(error: io::Error, counters: &Counters) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        // ICMP's word on a datagram that was sent earlier, or a moment of no memory:
        // neither says anything about this socket.
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::OutOfMemory => {
            counters.count(Event::Refused);
            Ok(())
        }
        kind => Err(io::Error::new(kind, format!("cannot receive datagrams: {error}"))),
    }
}

/// The loop's clock, for which fragments wait.
fn now(began: Instant) -> Time {
    Time(threads::now().duration_since(began).as_micros() as u64)
}

/// The loop's own way out.
#[derive(Debug)]
struct Exit {
    shared: Arc<Shared>,
    gate: Gate,
    /// What the socket would have blocked on, past the gate already.
    backlog: VecDeque<Waiting>,
    frame: Vec<u8>,
    /// Fragments to one destination, until [`Exit::flush_fragments`].
    batch: Batch,
}

/// Datagrams that wait for the socket.
#[derive(Debug)]
struct Waiting {
    to: Endpoint,
    bytes: Vec<u8>,
    /// The bytes of each but the last.
    size: usize,
    exempt: bool,
}

impl Exit {
    fn fragment(&mut self, to: Endpoint, cluster: ClusterId, fragment: Fragment<'_>, exempt: bool) {
        frame::begin(&mut self.frame);
        self.frame.reserve(FRAGMENT_HEADER_BYTES + fragment.bytes.len());
        fragment.write(&mut self.frame);
        if self.seal(to, cluster, Kind::Fragment) {
            let more = self.batch.push(&self.frame, self.shared.datagram_max);
            if !more || !self.shared.offload.batches() {
                self.flush_fragments(to, exempt);
            }
        }
    }

    /// Sends the fragments that are gathered; all of them are for `to`.
    fn flush_fragments(&mut self, to: Endpoint, exempt: bool) {
        if !self.batch.is_empty() {
            let mut batch = std::mem::take(&mut self.batch);
            self.transmit(to, batch.segments(), exempt);
            batch.clear();
            self.batch = batch;
        }
    }

    fn missing(&mut self, to: Endpoint, cluster: ClusterId, missing: &Missing) {
        frame::begin(&mut self.frame);
        missing.write(&mut self.frame);
        if self.seal(to, cluster, Kind::Missing) {
            let frame = std::mem::take(&mut self.frame);
            self.transmit(to, Segments::one(&frame), false);
            self.frame = frame;
        }
    }

    /// Makes the frame ready; says whether it passes the gate.
    fn seal(&mut self, to: Endpoint, cluster: ClusterId, kind: Kind) -> bool {
        frame::seal(&self.shared.identity, to.party(), cluster, kind, 1, &mut self.frame);
        let passes = self.gate.passes();
        if !passes {
            self.shared.counters.count(Event::LostByGate);
        }
        passes
    }

    fn transmit(&mut self, to: Endpoint, segments: Segments<'_>, exempt: bool) {
        let blocked = match self.backlog.is_empty() {
            true => self.shared.transmit(to, segments, exempt).blocked,
            false => Some(0),
        };
        let Some(index) = blocked else { return };
        let left = segments.after(index);
        if self.backlog.len() == BACKLOG_MAX {
            return self.shared.counters.add(Event::LostQueueFull, left.count() as u64);
        }
        let (bytes, size) = (left.bytes().to_vec(), left.size());
        self.backlog.push_back(Waiting { to, bytes, size, exempt });
    }

    fn flush_backlog(&mut self) {
        while let Some(Waiting { to, bytes, size, exempt }) = self.backlog.front_mut() {
            let segments = Segments::cut(bytes, *size);
            if let Some(index) = self.shared.transmit(*to, segments, *exempt).blocked {
                // What went before must not go again.
                let gone = bytes.len() - segments.after(index).bytes().len();
                bytes.drain(..gone);
                return;
            }
            self.backlog.pop_front();
        }
    }
}

/// An IPv4 address in its own form, also if it came through an IPv6 socket: another
/// replica may have to answer it.
fn canonical(from: SocketAddr) -> Address {
    match from {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => Address(SocketAddr::from((ip, v6.port()))),
            None => Address(from),
        },
        SocketAddr::V4(_) => Address(from),
    }
}

#[cfg(test)]
mod tests;
