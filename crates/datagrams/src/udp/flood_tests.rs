//! Real sockets on loopback, and strangers that send more than is read.

use super::super::lanes::{CLIENTS_MAX, IDLE_US, Lanes};
use super::*;
use crate::flood::{CLIENT_MAX, STRANGERS_MAX, UNHEARD_MAX, UNHEARD_US};
use crate::offload::{PIECES_MAX, Pieces};
use mio::{Events, Poll};
use std::net::UdpSocket;

/// More useless datagrams than a socket may bring without being flooded.
const MANY: usize = 300;

/// Takes what comes; or does not hear it, if it has enough.
#[derive(Default)]
struct Take {
    took: Vec<Message>,
    has_enough: bool,
    unheard: usize,
}

impl Deliver<Message> for Take {
    fn deliver(&mut self, incoming: Message) {
        match self.has_enough {
            true => self.unheard += 1,
            false => self.took.push(incoming),
        }
    }

    fn end_of_burst(&mut self) {}

    fn take_unheard(&mut self) -> usize {
        std::mem::take(&mut self.unheard)
    }
}

/// A network that a test lets receive, call by call.
struct Hand {
    network: Network,
    pieces: Pieces,
    events: Events,
    took: Take,
}

impl Hand {
    fn new(network: Network) -> Self {
        let (pieces, events) = (Pieces::new(65_535), Events::with_capacity(16));
        Hand { network, pieces, events, took: Take::default() }
    }

    /// Receives once. Returns how many datagrams were of no use, and what was delivered.
    fn receive(&mut self) -> (usize, Vec<Message>) {
        let Hand { network, pieces, events, took } = self;
        let burst = network.receive(pieces, events, took).expect("no error");
        (burst.useless, std::mem::take(&mut took.took))
    }

    fn address(&self) -> SocketAddr {
        self.network.shared.local
    }
}

fn stranger() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a port")
}

fn flood(from: &UdpSocket, to: SocketAddr, datagrams: usize) {
    for _ in 0..datagrams {
        from.send_to(&[7; 20], to).expect("the loopback takes it");
    }
}

#[test]
fn during_a_flood_a_peer_is_read_first_and_strangers_get_their_share() {
    let [zero, one] = pair(|_| {});
    let (mut zero, mut from_one, stranger) = (Hand::new(zero), one.outlet(1), stranger());
    let to = zero.address();
    flood(&stranger, to, MANY);
    while zero.receive().0 > 0 {}
    flood(&stranger, to, MANY);
    from_one.send([short(0, 1)]);
    let (useless, delivered) = zero.receive();
    assert_eq!(delivered, [(1, 0)], "it does not queue behind the strangers");
    assert!(useless <= STRANGERS_MAX as usize, "{useless}");
    // They get no more than their share of each turn. A call may bring a few too many.
    let (began, mut all) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_millis(20) {
        all += zero.receive().0;
        flood(&stranger, to, 10);
    }
    let turns = 2 + began.elapsed().as_millis() as usize;
    let most = turns * (STRANGERS_MAX as usize + PIECES_MAX);
    assert!((1..=most).contains(&all), "{all} in {turns} turns");
}

#[test]
fn a_client_that_was_heard_before_a_flood_is_heard_during_it() {
    let [zero, _one] = pair(|_| {});
    let (mut zero, stranger, client) = (Hand::new(zero), stranger(), stranger());
    let to = zero.address();
    client.send_to(&crate::toy::of_client((5, 0)), to).expect("it leaves");
    assert_eq!(zero.receive().1, [(5, 0)]);
    flood(&stranger, to, MANY);
    while zero.receive().0 > 0 {}
    flood(&stranger, to, MANY);
    client.send_to(&crate::toy::of_client((6, 0)), to).expect("it leaves");
    assert_eq!(zero.receive().1, [(6, 0)]);
}

#[test]
fn of_a_client_that_sends_too_much_less_is_read_for_a_while() {
    let [zero, _one] = pair(|_| {});
    let (mut zero, stranger, client) = (Hand::new(zero), stranger(), stranger());
    let to = zero.address();
    let from = client.local_addr().expect("bound");
    let says = |number| client.send_to(&crate::toy::of_client((number, 0)), to).expect("it leaves");
    says(5);
    assert_eq!(zero.receive().1, [(5, 0)]);
    flood(&stranger, to, MANY);
    while zero.receive().0 > 0 {}
    let lane = |zero: &mut Hand| {
        let lanes = zero.network.intake.lanes.as_mut().expect("a flood");
        lanes.all.iter().position(|lane| lane.from == from).expect("it was heard")
    };
    let left = |zero: &mut Hand, now| {
        let at = lane(zero);
        zero.network.intake.lanes.as_mut().expect("a flood").all[at].left(now)
    };
    let later = 3_600_000_000;
    assert_eq!(left(&mut zero, later), CLIENT_MAX);
    // What came by the socket is nobody's.
    zero.took.unheard = 7;
    zero.receive();
    says(6);
    zero.receive();
    assert_eq!(left(&mut zero, 2 * later), CLIENT_MAX);
    zero.took.has_enough = true;
    says(7);
    assert_eq!(zero.receive().1, []);
    let at = lane(&mut zero);
    let lanes = zero.network.intake.lanes.as_ref().expect("a flood");
    let unheard_at = lanes.all[at].unheard_at.expect("it has sent too much");
    for (us, most) in [(UNHEARD_US - 1, UNHEARD_MAX), (UNHEARD_US, CLIENT_MAX)] {
        let at = lane(&mut zero);
        zero.network.intake.lanes.as_mut().expect("a flood").all[at].allowance = Default::default();
        assert_eq!(left(&mut zero, unheard_at + us), most);
    }
}

#[test]
fn a_lane_has_what_its_sender_sends_and_nobody_else_gets_the_port() {
    for (local, senders) in [
        ("127.0.0.1:0", ["127.0.0.1:0", "127.0.0.1:0"]),
        ("0.0.0.0:0", ["127.0.0.1:0", "127.0.0.2:0"]),
        ("[::]:0", ["127.0.0.1:0", "[::1]:0"]),
    ] {
        // A host may have no IPv6.
        let Ok(first) = BoundSocket::bind(local.parse().expect("an address")) else { continue };
        let Ok(senders) = senders.iter().map(UdpSocket::bind).collect::<io::Result<Vec<_>>>()
        else {
            continue;
        };
        let poll = Poll::new().expect("an epoll");
        let at = first.address();
        let mut lanes = Lanes::new(at, 2, true);
        let socket = &first.socket;
        let known = senders[0].local_addr().expect("bound");
        for _ in 0..2 {
            lanes.open(1, socket, poll.registry(), known, true);
        }
        assert_eq!(lanes.all.len(), 1, "one is enough: {local}");
        let to = |sender: &UdpSocket| {
            SocketAddr::new(sender.local_addr().expect("bound").ip(), at.port())
        };
        for sender in &senders {
            sender.send_to(&[1], to(sender)).expect("it leaves");
        }
        let from = |socket: &UdpSocket| {
            let (_, from) = socket.recv_from(&mut [0; 9]).expect("it came");
            super::super::canonical(from)
        };
        assert_eq!(from(&lanes.all[0].socket), known, "{local}");
        assert_eq!(from(socket), senders[1].local_addr().expect("bound"), "{local}");
        let taken = BoundSocket::bind(at).expect_err("the port is in use");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let other = socket2::Socket::new(
            socket2::Domain::for_address(at),
            socket2::Type::DGRAM,
            Some(socket2::Protocol::UDP),
        );
        let other = other.expect("a socket");
        other.set_reuse_address(true).expect("it can be set");
        other.bind(&at.into()).expect_err("not even by whoever would share it");
        // Without the lane all is as before.
        drop(lanes);
        senders[0].send_to(&[2], to(&senders[0])).expect("it leaves");
        assert_eq!(from(socket), known, "{local}");
    }
}

#[test]
fn there_are_so_many_lanes_for_clients_and_a_silent_one_makes_room() {
    let first = loopback();
    let poll = Poll::new().expect("an epoll");
    let mut lanes = Lanes::new(first.address(), 2, true);
    let open = |lanes: &mut Lanes, now, client: usize| {
        let from = SocketAddr::from(([127, 0, 0, 1], 10_000 + client as u16));
        lanes.open(now, &first.socket, poll.registry(), from, false);
        lanes.all.iter_mut().for_each(|lane| lane.is_ready = false);
        (lanes.all.len(), lanes.all.iter().any(|lane| lane.from == from))
    };
    for client in 0..CLIENTS_MAX {
        assert_eq!(open(&mut lanes, 5, client), (client + 1, true));
    }
    assert_eq!(open(&mut lanes, 4 + IDLE_US, CLIENTS_MAX), (CLIENTS_MAX, false), "no room");
    assert_eq!(open(&mut lanes, 5 + IDLE_US, CLIENTS_MAX), (CLIENTS_MAX, true));
}
