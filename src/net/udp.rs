//! The socket of a process, and the loop that does all its receiving.
//!
//! A process has one UDP socket. One thread runs [`Network::run`]: it drains the
//! socket in bounded bursts, opens frames, joins fragments, hands messages to a
//! [`Deliver`], sends what the threads left to it, and asks for fragments when their
//! time has come. When there is nothing to do it looks again for a bounded time, if
//! input has come as fast lately (see [`crate::wait`]), and then sleeps in epoll,
//! without a timeout unless a fragment is awaited. Everything goes out through a [`Gate`], from here as from the
//! [`Outlet`]s.
//!
//! **Guarantees.** A burst ends after [`BURST_DATAGRAMS`], so neither input nor output
//! starves. A message that was left to the loop is seen before it sleeps: the loop
//! stores that it will sleep, looks once more, and whoever finds that flag wakes it.
//! What one datagram says cannot end the loop.
//!
//! **Does not** decide where a message goes inside the process, and keeps nothing of
//! what it has delivered.

use super::counters::{Counters, Event};
use super::fragment::{
    FRAGMENT_HEADER_BYTES, Fragment, Fragmenter, Missing, PIECES_MAX, Reassembler,
};
use super::frame::{self, Identity, Kind, Opened, Opener};
use super::loss::Gate;
use super::outlet::{Fate, Outlet, QUEUE_MAX, Queued, Shared, What};
use super::{Endpoint, Incoming, pack};
use crate::types::{Address, ClusterId, Time};
use crate::wait::{LOOK_US, Patience};
use crossbeam_channel::Receiver;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the kernel is asked for, each way; it may give less.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The most datagrams taken from the socket before [`Deliver::end_of_burst`].
pub const BURST_DATAGRAMS: usize = 64;

/// The most that is taken from the threads' queue before receiving goes on.
pub const BURST_QUEUED: usize = 64;

/// The most datagrams that wait for a socket which would block: a message's
/// fragments. Nothing more is begun while any wait.
pub const BACKLOG_MAX: usize = PIECES_MAX;

/// No datagram is longer.
const RECEIVE_BYTES: usize = 65_535;

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

/// Where arriving messages go: the routing of a process.
pub trait Deliver {
    /// Takes a message. Called on the network thread; must not wait.
    fn deliver(&mut self, incoming: Incoming);

    /// Nothing more is at hand, or enough has been taken for one turn: what was
    /// gathered should be handed on.
    fn end_of_burst(&mut self);
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
        let any = if replicas.iter().all(SocketAddr::is_ipv4) {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        Self::bind(any)
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
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
        let socket = UdpSocket::from(socket);
        let address = socket.local_addr()?;
        Ok(BoundSocket { socket, address })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Ends a [`Network::run`] from any thread.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Shared>);

impl StopHandle {
    /// [`Network::run`] returns soon; what still waits to be sent is lost.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.wake();
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
        let (sender, queue) = crossbeam_channel::bounded(QUEUE_MAX);
        let shared = Arc::new(Shared {
            ipv6: socket.address.is_ipv6(),
            socket: socket.socket,
            peers,
            identity: identity.clone(),
            datagram_max,
            loss,
            queue: sender,
            queued_bytes: AtomicUsize::new(0),
            waker: mio::Waker::new(poll.registry(), WAKER)?,
            asleep: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            muted: Arc::new(AtomicBool::new(false)),
            counters: counters.clone(),
        });
        Ok(Network {
            exit: Exit {
                shared: shared.clone(),
                gate: Gate::new(loss, seed),
                backlog: VecDeque::new(),
                frame: Vec::new(),
            },
            shared,
            socket: source,
            poll,
            queue,
            opener: Opener::new(identity, counters.clone()),
            fragmenter: Fragmenter::new(datagram_max, counters.clone()),
            reassembler: Reassembler::new(counters),
            awaits_writable: false,
            patience: Patience::new(LOOK_US),
            began: Instant::now(),
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
        while !self.shared.stopped.load(Ordering::SeqCst) {
            let Burst { taken, drained } = self.receive(&mut deliver)?;
            self.exit.flush_backlog();
            let sent = self.send_queued();
            self.ask_for_fragments();
            if taken + sent > 0 {
                self.patience.found(now(self.began));
            }
            if drained {
                self.wait(&mut events)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, deliver: &mut impl Deliver) -> io::Result<Burst> {
        let mut burst = Burst { taken: 0, drained: false };
        let mut delivered = 0;
        for _ in 0..BURST_DATAGRAMS {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((bytes, from)) => {
                    burst.taken += 1;
                    self.shared.counters.count(Event::Received);
                    self.open(canonical(from), bytes);
                    delivered += self.messages.len() as u64;
                    self.messages.drain(..).for_each(|incoming| deliver.deliver(incoming));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        burst.drained = true;
                        break;
                    }
                    io::ErrorKind::Interrupted => {}
                    // ICMP's word on a datagram that was sent earlier, or a moment of
                    // no memory: neither says anything about this socket.
                    io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::OutOfMemory => self.shared.counters.count(Event::Refused),
                    _ => {
                        let text = format!("cannot receive datagrams: {error}");
                        return Err(io::Error::new(error.kind(), text));
                    }
                },
            }
        }
        if delivered > 0 {
            self.shared.counters.add(Event::Delivered, delivered);
            deliver.end_of_burst();
        }
        Ok(burst)
    }

    /// One datagram; what it says to the roles is in `self.messages` afterwards.
    fn open(&mut self, from: Address, bytes: usize) {
        match self.opener.open(from, &self.buffer[..bytes], &mut self.messages) {
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
                What::Datagram => self.exit.transmit(to, &bytes, exempt),
                What::Message(cluster) => {
                    let exit = &mut self.exit;
                    self.fragmenter.split(cluster, bytes, |fragment| {
                        exit.fragment(to, cluster, fragment, exempt);
                    });
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
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        if self.patience.looks_again(now(self.began)) {
            thread::yield_now();
            return Ok(());
        }
        self.await_writable(!self.exit.backlog.is_empty())?;
        let deadline = self.reassembler.deadline();
        let timeout = deadline.map(|due| Duration::from_micros(due.since_us(now(self.began))));
        self.shared.asleep.store(true, Ordering::SeqCst);
        let queued = self.exit.backlog.is_empty() && !self.queue.is_empty();
        let slept = if queued || self.shared.stopped.load(Ordering::SeqCst) {
            Ok(())
        } else {
            self.poll.poll(events, timeout)
        };
        self.shared.asleep.store(false, Ordering::SeqCst);
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

/// The loop's clock, for which fragments wait.
fn now(began: Instant) -> Time {
    Time(began.elapsed().as_micros() as u64)
}

/// The loop's own way out.
#[derive(Debug)]
struct Exit {
    shared: Arc<Shared>,
    gate: Gate,
    /// What the socket would have blocked on, past the gate already.
    backlog: VecDeque<(Endpoint, Vec<u8>, bool)>,
    frame: Vec<u8>,
}

impl Exit {
    fn fragment(&mut self, to: Endpoint, cluster: ClusterId, fragment: Fragment<'_>, exempt: bool) {
        frame::begin(&mut self.frame);
        self.frame.reserve(FRAGMENT_HEADER_BYTES + fragment.bytes.len());
        fragment.write(&mut self.frame);
        self.seal_and_send(to, cluster, Kind::Fragment, exempt);
    }

    fn missing(&mut self, to: Endpoint, cluster: ClusterId, missing: &Missing) {
        frame::begin(&mut self.frame);
        missing.write(&mut self.frame);
        self.seal_and_send(to, cluster, Kind::Missing, false);
    }

    fn seal_and_send(&mut self, to: Endpoint, cluster: ClusterId, kind: Kind, exempt: bool) {
        let mut frame = std::mem::take(&mut self.frame);
        frame::seal(&self.shared.identity, to.party(), cluster, kind, 1, &mut frame);
        if self.gate.passes() {
            self.transmit(to, &frame, exempt);
        } else {
            self.shared.counters.count(Event::LostByGate);
        }
        self.frame = frame;
    }

    fn transmit(&mut self, to: Endpoint, frame: &[u8], exempt: bool) {
        let waits = !self.backlog.is_empty();
        if !waits && self.shared.transmit(to, frame, exempt) != Fate::WouldBlock {
            return;
        }
        if self.backlog.len() == BACKLOG_MAX {
            return self.shared.counters.count(Event::LostQueueFull);
        }
        self.backlog.push_back((to, frame.to_vec(), exempt));
    }

    fn flush_backlog(&mut self) {
        while let Some((to, frame, exempt)) = self.backlog.front() {
            if self.shared.transmit(*to, frame, *exempt) == Fate::WouldBlock {
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
mod tests {
    use super::super::frame::ClusterCell;
    use super::super::outlet::Sent;
    use super::super::{DATAGRAM_BYTES_DEFAULT, Outgoing};
    use super::*;
    use crate::message::{ClientMessage, Message, Party, Request, ToAcceptor};
    use crate::types::{Ballot, BootId, LINE_BYTES_MAX, ReplicaId, Slot};
    use crossbeam_channel::Sender;
    use std::thread;

    const GENEROUS: Duration = Duration::from_secs(30);

    struct Into(Sender<Incoming>);

    impl Deliver for Into {
        fn deliver(&mut self, incoming: Incoming) {
            // The test may have seen enough.
            let _ = self.0.send(incoming);
        }

        fn end_of_burst(&mut self) {}
    }

    fn settings(me: Party, peers: &[SocketAddr]) -> Settings {
        let cluster = ClusterCell::new();
        cluster.set(ClusterId(1));
        Settings {
            identity: Identity { n: peers.len(), me, boot: BootId(5), cluster },
            peers: peers.to_vec(),
            datagram_max: DATAGRAM_BYTES_DEFAULT,
            loss: 0.0,
            seed: 1,
        }
    }

    fn loopback() -> BoundSocket {
        BoundSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a port")
    }

    /// Three replicas, of which 0 and 1 are here and 2 is nowhere.
    fn pair(change: impl Fn(&mut Settings)) -> [Network; 2] {
        let sockets = [loopback(), loopback()];
        let nobody = loopback().address();
        let peers = [sockets[0].address(), sockets[1].address(), nobody];
        let mut id = 0;
        sockets.map(|socket| {
            let mut settings = settings(Party::Replica(ReplicaId(id)), &peers);
            id += 1;
            change(&mut settings);
            Network::new(socket, settings).expect("a network")
        })
    }

    fn prepare(to: u8, ballot: u64) -> Outgoing {
        let message = ToAcceptor::Prepare { ballot: Ballot(ballot), first: Slot::ZERO };
        Outgoing::Peer { to: ReplicaId(to), message: Message::Acceptor(message) }
    }

    fn long(to: u8) -> Outgoing {
        long_numbered(to, 3)
    }

    fn long_numbered(to: u8, seq: u64) -> Outgoing {
        let request = Request::new(1, 2, seq, &"x".repeat(LINE_BYTES_MAX));
        let origin = Address("127.0.0.1:9".parse().expect("an address"));
        let message = crate::message::ToProposer::Forward { origin, request };
        Outgoing::Peer { to: ReplicaId(to), message: Message::Proposer(message) }
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_it() {
        let taken = loopback();
        let error = BoundSocket::bind(taken.address()).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&taken.address().to_string()), "{error}");
    }

    #[test]
    fn the_loop_ends_when_it_is_stopped_before_or_while_it_sleeps() {
        for _ in 0..50 {
            let [network, _] = pair(|_| {});
            let stop = network.stop_handle();
            let (sender, _receiver) = crossbeam_channel::unbounded();
            let running = thread::spawn(move || network.run(Into(sender)));
            stop.stop();
            running.join().expect("no panic").expect("no error");
        }
    }

    #[test]
    fn a_message_to_nobody_hurts_nobody() {
        let [zero, one] = pair(|_| {});
        let (mut from_zero, mut from_one) = (zero.outlet(1), one.outlet(1));
        let (sender, arrived) = crossbeam_channel::unbounded();
        let stop = zero.stop_handle();
        let running = thread::spawn(move || zero.run(Into(sender)));
        for ballot in 0..100 {
            from_zero.send([prepare(2, ballot)]);
            assert_eq!(from_one.send([prepare(0, ballot)]).to_replicas, 1);
        }
        for _ in 0..100 {
            arrived.recv_timeout(GENEROUS).expect("it arrives");
        }
        stop.stop();
        running.join().expect("no panic").expect("no error");
    }

    #[test]
    fn everything_passes_the_gate() {
        let [zero, _one] = pair(|settings| settings.loss = 1.0);
        let mut outlet = zero.outlet(1);
        assert_eq!(outlet.send([prepare(1, 1), long(1)]), Sent::default());
        let mut zero = zero;
        zero.send_queued();
        let counters = zero.counters();
        assert_eq!(counters.of(Event::Sent), 0);
        assert_eq!(counters.of(Event::Split), 1);
        assert!(counters.of(Event::LostByGate) > 40, "{counters}");
    }

    #[test]
    fn once_the_others_are_muted_only_one_outlet_speaks() {
        let [mut zero, _one] = pair(|_| {});
        let (mut speaks, mut silent) = (zero.outlet(1), zero.outlet(2));
        silent.send([long(1)]);
        speaks.mute_others();
        assert_eq!(silent.send([prepare(1, 1)]), Sent::default());
        zero.send_queued();
        assert_eq!(zero.counters().of(Event::Sent), 0);
        assert_eq!(speaks.send([prepare(1, 1), prepare(2, 1)]).to_replicas, 2);
        speaks.send([long(1)]);
        zero.send_queued();
        assert!(zero.counters().of(Event::Sent) > 40, "left to the loop, and exempt still");
    }

    #[test]
    fn a_full_queue_is_a_lost_message_and_never_a_wait() {
        let [zero, _one] = pair(|_| {});
        let mut outlet = zero.outlet(1);
        let fits = (super::super::outlet::QUEUE_BYTES_MAX / LINE_BYTES_MAX) as u64;
        for _ in 0..2 * fits {
            outlet.send([long(1)]);
        }
        let counters = zero.counters();
        assert!(counters.of(Event::LostQueueFull) >= fits, "{counters}");
        assert!(counters.of(Event::Handed) <= fits, "{counters}");
    }

    #[test]
    fn what_waits_for_the_socket_leaves_in_its_order_and_before_anything_new() {
        let [mut zero, one] = pair(|_| {});
        let (mut outlet, waiting) = (zero.outlet(1), |byte| vec![byte; 40]);
        for byte in 0..3 {
            zero.exit.backlog.push_back((Endpoint::Replica(ReplicaId(1)), waiting(byte), false));
        }
        zero.exit.transmit(Endpoint::Replica(ReplicaId(1)), &waiting(3), false);
        outlet.send([long(1)]);
        zero.send_queued();
        assert_eq!(zero.exit.backlog.len(), 4);
        assert_eq!(zero.counters().of(Event::Split), 0);
        // The socket is writable, and so the loop does not sleep.
        zero.wait(&mut Events::with_capacity(4)).expect("no error");
        zero.exit.flush_backlog();
        zero.send_queued();
        assert_eq!(zero.counters().of(Event::Split), 1);
        let mut buffer = [0; 2_000];
        for byte in 0..4 {
            let (bytes, _) = one.socket.recv_from(&mut buffer).expect("it was sent");
            assert_eq!(buffer[..bytes], waiting(byte));
        }
    }

    #[test]
    fn what_is_left_to_a_sleeping_loop_wakes_it() {
        let [zero, one] = pair(|_| {});
        let mut outlet = zero.outlet(1);
        let stops = [zero.stop_handle(), one.stop_handle()];
        let (sender, arrived) = crossbeam_channel::unbounded();
        let running = [zero, one].map(|network| {
            let deliver = Into(sender.clone());
            thread::spawn(move || network.run(deliver))
        });
        for seq in 0..300 {
            outlet.send([long_numbered(1, seq)]);
            arrived.recv_timeout(GENEROUS).expect("it arrives");
        }
        stops.iter().for_each(StopHandle::stop);
        for thread in running {
            thread.join().expect("no panic").expect("no error");
        }
    }

    #[test]
    fn a_client_is_answered_where_its_datagram_came_from() {
        let replica = loopback();
        let peers = [replica.address()];
        let me = Party::Replica(ReplicaId(0));
        let replica = Network::new(replica, settings(me, &peers)).expect("a network");
        let client = BoundSocket::for_client(&peers).expect("a socket");
        let mut settings = settings(Party::Client, &peers);
        settings.identity.cluster = ClusterCell::new();
        let cell = settings.identity.cluster.clone();
        let client = Network::new(client, settings).expect("a network");

        let mut outlets = [replica.outlet(1), client.outlet(1)];
        let stops = [replica.stop_handle(), client.stop_handle()];
        let channels = [crossbeam_channel::unbounded(), crossbeam_channel::unbounded()];
        let running = [(replica, channels[0].0.clone()), (client, channels[1].0.clone())]
            .map(|(network, sender)| thread::spawn(move || network.run(Into(sender))));
        let message = ClientMessage::Hello;
        outlets[1].send([Outgoing::Call { to: ReplicaId(0), message }]);
        let Ok(Incoming::Client { from, message: ClientMessage::Hello }) =
            channels[0].1.recv_timeout(GENEROUS)
        else {
            panic!("a hello was sent");
        };
        let answer = crate::message::Answer::Welcome { applied: Slot(3), ballot: Ballot(1) };
        let sent = outlets[0].send([Outgoing::Answer { to: from, answer: answer.clone() }]);
        assert_eq!(sent, Sent { to_replicas: 0, to_clients: 1 });
        let arrived = channels[1].1.recv_timeout(GENEROUS);
        assert_eq!(arrived, Ok(Incoming::Answer { from: ReplicaId(0), answer }));
        assert_eq!(cell.known(), Some(ClusterId(1)), "learned from the welcome");
        stops.iter().for_each(StopHandle::stop);
        for thread in running {
            thread.join().expect("no panic").expect("no error");
        }
    }

    #[test]
    fn an_ipv6_socket_hears_ipv4_under_its_own_name() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:7".parse().expect("an address");
        assert_eq!(canonical(mapped).0.to_string(), "10.0.0.1:7");
        let v6: SocketAddr = "[::1]:7".parse().expect("an address");
        assert_eq!(canonical(v6).0, v6);
    }
}
