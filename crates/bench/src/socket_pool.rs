//! Many sockets of one client process, on one thread.
//!
//! A [`Network`](datagrams::udp::Network) gives a socket its own thread, and receives and sends
//! many datagrams at a time. That does not help clients with one line each: one datagram comes
//! and one goes, and waking a thread costs more than both. So here one thread waits for all
//! sockets in one epoll. It takes a datagram from each socket that has some, and sends at once
//! with one system call. [`datagrams::wait`] describes how it waits.
//!
//! For the replicas the pool is one process with many addresses: it has one boot id and one
//! cluster, and one loss gate for everything that it sends. Long messages are split and resent
//! as everywhere.
//!
//! It has no queue. If a socket does not take a datagram at once, the datagram is counted as
//! lost, and the session that waits for an answer asks again. It does not join fragments
//! either, because answers are short, and it takes the loopback for a path that carries
//! everything.

use datagrams::codec::Endpoint as _;
use datagrams::codec::{Body, BodyKind, Departure, Opened, Protected, Sink};
use datagrams::counters::{Counters, NetEvent};
use datagrams::fragment::{Fragment, Fragmenter};
use datagrams::loss::Gate;
use datagrams::outlet::{attempt, on_wire};
use datagrams::udp::{client_address, open_socket, pass_over};
use datagrams::wait::Patience;
use multipaxos::message::Party;
use multipaxos::net::frame::{self, Decoder, Identity};
use multipaxos::net::pack::Packer;
use multipaxos::net::{DATAGRAM_BYTES_MAX, Endpoint, Incoming, NetworkConfig, Outgoing};
use multipaxos::types::{Address, ClusterId};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The largest number of sockets that one poll returns.
const READY_MAX: usize = 1_024;

/// Sockets, numbered from 0, and their shared state.
#[derive(Debug)]
pub(super) struct SocketPool {
    epoll: OwnedFd,
    patience: Patience,
    began: Instant,
    sockets: Vec<UdpSocket>,
    /// By socket: each has sessions of its own.
    decoders: Vec<Decoder>,
    packer: Packer,
    fragmenter: Fragmenter,
    sender: PoolSender,
    buffer: Box<[u8]>,
}

impl SocketPool {
    /// Opens this many sockets for a client.
    ///
    /// # Errors
    ///
    /// If the system refuses an epoll or a socket.
    ///
    /// # Panics
    ///
    /// If the configuration contradicts itself, or is that of a replica.
    pub(super) fn new(sockets: usize, config: NetworkConfig) -> io::Result<Self> {
        let NetworkConfig { codec: identity, peers, datagram_max, loss, seed, .. } = config;
        assert_eq!(peers.len(), identity.n, "one address a replica");
        assert_eq!(identity.me, Party::Client, "a replica has one address");
        let counters = Arc::new(Counters::new());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let address = client_address(&peers);
        let open = |number| {
            let socket = open_socket(address)?;
            epoll::add(&epoll, &socket, EventData::new_u64(number), EventFlags::IN)?;
            Ok(socket)
        };
        let of_socket = |_| Identity { guard: identity.guard.afresh(), ..identity.clone() };
        let identities: Vec<Identity> = (0..sockets).map(of_socket).collect();
        Ok(SocketPool {
            sockets: (0..sockets as u64).map(open).collect::<io::Result<_>>()?,
            epoll,
            patience: Patience::default(),
            began: Instant::now(),
            decoders: identities
                .iter()
                .map(|it| Decoder::new(it.clone(), counters.clone()))
                .collect(),
            packer: Packer::new(identity.clone()),
            fragmenter: Fragmenter::new(counters.clone()),
            sender: PoolSender {
                peers: peers.iter().map(|peer| on_wire(*peer, address.is_ipv6())).collect(),
                identities,
                datagram_max,
                gate: Gate::new(loss, seed),
                counters,
                frame: Vec::new(),
            },
            buffer: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        })
    }

    /// The counters of all sockets together.
    #[cfg(test)]
    pub(super) fn counters(&self) -> Arc<Counters> {
        self.sender.counters.clone()
    }

    /// Returns sockets that have received datagrams, up to a bound. If there are none, it yields
    /// its core once, or sleeps until there are some or `most` has passed.
    ///
    /// # Errors
    ///
    /// If epoll fails.
    pub(super) fn wait(&mut self, most: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        self.poll(ready)?;
        if ready.is_empty() && !most.is_zero() {
            if self.patience.polls_again(self.now_us()) {
                thread::yield_now();
                return Ok(());
            }
            self.sleep(most)?;
            self.poll(ready)?;
            if ready.is_empty() {
                self.patience.ended();
            }
        }
        if !ready.is_empty() {
            self.patience.found(self.now_us());
        }
        Ok(())
    }

    fn poll(&self, ready: &mut Vec<usize>) -> io::Result<()> {
        let mut events = [const { MaybeUninit::uninit() }; READY_MAX];
        match epoll::wait(&self.epoll, &mut events, Some(&Timespec::default())) {
            Ok((found, _)) => ready.extend(found.iter().map(|event| event.data.u64() as usize)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Sleeps with another call than epoll's own, which counts in milliseconds.
    fn sleep(&self, most: Duration) -> io::Result<()> {
        let most = Timespec::try_from(most).ok();
        match poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Takes one datagram from a socket, if there is one, and appends its messages to `into`. If
    /// the socket has more, the next [`SocketPool::wait`] returns it again. To ask for more here
    /// would cost another call.
    ///
    /// # Errors
    ///
    /// If the socket fails for good.
    pub(super) fn receive(&mut self, socket: usize, into: &mut Vec<Incoming>) -> io::Result<()> {
        let now = self.now_us();
        let sender = &mut self.sender;
        let (bytes, from) = match self.sockets[socket].recv_from(&mut self.buffer) {
            Ok(received) => received,
            Err(error) => return pass_over(error, &sender.counters),
        };
        let before = into.len();
        let number = socket;
        let socket = (number, &self.sockets[number]);
        match self.decoders[number].open(Address(from), &self.buffer[..bytes], into) {
            Err(why) => log::trace!("datagram from {from} dropped: {}", why.name()),
            Ok(Opened { body: Body::Messages, .. }) => {}
            Ok(Opened { from, body: Body::Handshake(datagrams), .. }) => {
                datagrams.iter().for_each(|datagram| sender.leave(socket.1, from, datagram));
            }
            Ok(Opened { from, body: Body::Missing(missing), .. }) => {
                let path = (from.peer(), sender.datagram_max);
                self.fragmenter.resend(now, path, &missing, |cluster, fragment| {
                    sender.fragment(socket, from, cluster, fragment);
                });
            }
            Ok(other) => unreachable!("a client that probes nobody takes no such thing: {other:?}"),
        }
        sender.counters.count(NetEvent::Received);
        sender.counters.add(NetEvent::Delivered, (into.len() - before) as u64);
        Ok(())
    }

    /// Sends all messages from a socket, in as few datagrams as possible.
    ///
    /// # Panics
    ///
    /// If a message is of the wrong kind, see [`Packer::add`].
    pub(super) fn send(&mut self, socket: usize, outgoing: impl IntoIterator<Item = Outgoing>) {
        let mut sink = SocketSink {
            socket: (socket, &self.sockets[socket]),
            sender: &mut self.sender,
            fragmenter: &mut self.fragmenter,
        };
        for outgoing in outgoing {
            self.packer.add(&outgoing, &mut sink);
        }
        self.packer.flush(&mut sink);
    }
}

/// A socket and its number.
type Numbered<'a> = (usize, &'a UdpSocket);

/// The sender that all sockets share.
#[derive(Debug)]
struct PoolSender {
    /// The replicas' addresses, in the form that the sockets take.
    peers: Vec<SocketAddr>,
    /// By socket.
    identities: Vec<Identity>,
    datagram_max: usize,
    gate: Gate,
    counters: Arc<Counters>,
    frame: Vec<u8>,
}

impl PoolSender {
    fn transmit(&mut self, socket: Numbered<'_>, to: Endpoint, frame: &mut [u8]) {
        let size = frame.len();
        let Protected { leaves, greeting } = self.identities[socket.0].protect(to, frame, size);
        if let Some(greeting) = greeting {
            self.leave(socket.1, to, &greeting);
        }
        match leaves {
            true => self.leave(socket.1, to, frame),
            false => self.counters.count(NetEvent::NoSession),
        }
    }

    /// Sends a datagram as it is.
    fn leave(&mut self, socket: &UdpSocket, to: Endpoint, frame: &[u8]) {
        if !self.gate.passes() {
            return self.counters.count(NetEvent::LostByGate);
        }
        let to = match to {
            Endpoint::Replica(id) => self.peers[id.index()],
            Endpoint::Stray(..) | Endpoint::Client(_) => {
                unreachable!("a client calls replicas")
            }
        };
        let sent = attempt(&self.counters, || socket.send_to(frame, to));
        let event = if sent.is_ok() { NetEvent::Sent } else { NetEvent::SendFailed };
        self.counters.count(event);
    }

    fn fragment(
        &mut self,
        socket: Numbered<'_>,
        to: Endpoint,
        cluster: u64,
        fragment: Fragment<'_>,
    ) {
        let mut frame = std::mem::take(&mut self.frame);
        frame::begin(&mut frame);
        fragment.write(&mut frame);
        frame::seal(
            &self.identities[socket.0],
            to.party(),
            ClusterId(cluster),
            BodyKind::Fragment,
            1,
            &mut frame,
        );
        self.transmit(socket, to, &mut frame);
        self.frame = frame;
    }
}

/// Sends through one socket.
struct SocketSink<'a> {
    socket: Numbered<'a>,
    sender: &'a mut PoolSender,
    fragmenter: &'a mut Fragmenter,
}

impl Sink<Endpoint> for SocketSink<'_> {
    fn datagram(&mut self, to: Endpoint, frame: &mut [u8], _: Departure) {
        self.sender.transmit(self.socket, to, frame);
    }

    fn oversize(&mut self, to: Endpoint, cluster: u64, message: &[u8]) {
        let (sender, socket) = (&mut *self.sender, self.socket);
        self.fragmenter.split(sender.datagram_max, cluster, message.to_vec(), |fragment| {
            sender.fragment(socket, to, cluster, fragment);
        });
    }

    fn length(&self, _: Endpoint) -> usize {
        self.sender.datagram_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, Sender};
    use multipaxos::message::{Answer, ClientMessage, Request};
    use multipaxos::net::frame::{ClusterCell, Guard};
    use multipaxos::net::{
        BoundSocket, DATAGRAM_BYTES_DEFAULT, Deliver, Network, Outlet, StopHandle,
    };
    use multipaxos::types::{Ballot, BootId, LINE_BYTES_MAX, ReplicaId};

    const GENEROUS: Duration = Duration::from_secs(30);
    const ZERO: ReplicaId = ReplicaId(0);

    struct Into(Sender<Incoming>);

    impl Deliver<Incoming> for Into {
        fn deliver(&mut self, incoming: Incoming) {
            // If the test has ended, nobody needs the message.
            let _ = self.0.send(incoming);
        }

        fn end_of_burst(&mut self) {}
    }

    /// A replica's network alone, and the messages that clients send to it.
    struct Replica {
        address: SocketAddr,
        outlet: Outlet,
        heard: Receiver<Incoming>,
        stop: StopHandle,
    }

    impl Drop for Replica {
        fn drop(&mut self) {
            self.stop.stop();
        }
    }

    impl Replica {
        fn start() -> Replica {
            let socket = BoundSocket::bind("127.0.0.1:0".parse().expect("an address"));
            let socket = socket.expect("a port");
            let address = socket.address();
            let network = Network::new(socket, config(Party::Replica(ZERO), address, 0.0));
            let network = network.expect("a network");
            let (outlet, stop) = (network.outlet(1), network.stop_handle());
            let (sender, heard) = crossbeam_channel::unbounded();
            thread::spawn(move || network.run(Into(sender)).expect("no error"));
            Replica { address, outlet, heard, stop }
        }

        fn hear(&self) -> (Address, ClientMessage) {
            match self.heard.recv_timeout(GENEROUS).expect("it arrives") {
                Incoming::Client { from, message } => (from, message),
                other => panic!("{other:?}"),
            }
        }
    }

    fn config(me: Party, replica: SocketAddr, loss: f64) -> NetworkConfig {
        let cluster = ClusterCell::new();
        cluster.set(ClusterId(1));
        NetworkConfig {
            codec: Identity { n: 1, rows: 1, me, boot: BootId(5), cluster, guard: Guard::none() },
            peers: vec![replica],
            datagram_max: DATAGRAM_BYTES_DEFAULT,
            offload: true,
            loss,
            seed: 591,
        }
    }

    fn pool(sockets: usize, replica: &Replica, loss: f64) -> SocketPool {
        SocketPool::new(sockets, config(Party::Client, replica.address, loss)).expect("a pool")
    }

    fn call(message: ClientMessage) -> [Outgoing; 1] {
        [Outgoing::Call { to: ZERO, message }]
    }

    fn long() -> ClientMessage {
        ClientMessage::Request(Request::new(1, 2, 3, &"x".repeat(LINE_BYTES_MAX)))
    }

    #[test]
    fn each_socket_is_answered_apart_and_only_those_with_answers_are_named() {
        let mut replica = Replica::start();
        let mut pool = pool(9, &replica, 0.0);
        let from: Vec<Address> = (0..9)
            .map(|socket| {
                pool.send(socket, call(ClientMessage::Hello));
                replica.hear().0
            })
            .collect();
        // The first socket sends nothing, the second one message, the third two, and so on.
        for (socket, &to) in from.iter().enumerate() {
            for ballot in 0..socket as u64 {
                let answer = Answer::Leader { ballot: Ballot(ballot) };
                replica.outlet.send([Outgoing::Answers { to, answers: vec![answer] }]);
            }
        }
        let (mut ready, mut heard) = (Vec::new(), vec![Vec::new(); 9]);
        let began = Instant::now();
        while heard.iter().map(Vec::len).sum::<usize>() < 36 {
            assert!(began.elapsed() < GENEROUS, "{heard:?}");
            pool.wait(Duration::from_millis(1), &mut ready).expect("epoll");
            for socket in ready.drain(..) {
                pool.receive(socket, &mut heard[socket]).expect("a socket");
            }
        }
        for (socket, heard) in heard.iter().enumerate() {
            let told = |ballot| Answer::Leader { ballot: Ballot(ballot) };
            let incoming = |ballot| Incoming::Answer { from: ZERO, answer: told(ballot) };
            assert_eq!(*heard, (0..socket as u64).map(incoming).collect::<Vec<_>>());
        }
        pool.wait(Duration::from_millis(1), &mut ready).expect("epoll");
        assert!(ready.is_empty(), "{ready:?}");
    }

    #[test]
    fn a_long_line_arrives_although_pieces_of_it_are_lost() {
        let replica = Replica::start();
        let mut pool = pool(2, &replica, 0.2);
        pool.send(1, call(long()));
        let (mut ready, mut answers) = (Vec::new(), Vec::new());
        let began = Instant::now();
        while replica.heard.is_empty() {
            assert!(began.elapsed() < GENEROUS, "{}", pool.counters());
            pool.wait(Duration::from_millis(1), &mut ready).expect("epoll");
            for socket in ready.drain(..) {
                assert_eq!(socket, 1);
                pool.receive(socket, &mut answers).expect("a socket");
            }
        }
        assert_eq!(replica.hear().1, long());
        assert!(answers.is_empty(), "a request for fragments is no answer");
        let counters = pool.counters();
        assert_eq!(counters.of(NetEvent::Split), 1);
        assert!(counters.of(NetEvent::LostByGate) > 0 && counters.of(NetEvent::FragmentResent) > 0);
    }

    #[test]
    fn everything_passes_the_gate() {
        let replica = Replica::start();
        let mut pool = pool(2, &replica, 1.0);
        pool.send(0, call(ClientMessage::Hello));
        pool.send(1, call(long()));
        let counters = pool.counters();
        assert_eq!(counters.of(NetEvent::Sent), 0);
        assert!(counters.of(NetEvent::LostByGate) > 40, "{counters}");
    }
}
