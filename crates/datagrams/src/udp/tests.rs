//! Real sockets on loopback: bursts, losses, ends.

use super::paths::{CLIENT_IDLE_US, CLIENT_RECEIPTS_MAX};
use super::sender::Waiting;
use super::*;
use crate::codec::{Departure, Endpoint};
use crate::counters::NetEvent;
use crate::outlet::URGENT;
use crate::outlet::{QUEUE_BYTES_MAX, SendOutcome, Sent};
use crate::path::flow::{DATAGRAM_BYTES, DATAGRAMS_FIRST};
use crate::path::length::Use;
use crate::path::receipt::{STAMP_BYTES, Stamp};
use crate::path::shared::SharedPaths;
use crate::path::{PATH_BYTES_IPV4, PATH_BYTES_MIN};
use crate::peers::Contact;
use crate::peers::UNKNOWN;
use crate::toy::{End, MESSAGES_PER_DATAGRAM, Message, Outgoing, Toy};
use crate::{DATAGRAM_BYTES_DEFAULT, HEADER_BYTES, MESSAGE_BYTES_MAX};
use crossbeam_channel::Sender;
use std::net::Ipv4Addr;
use std::thread;

/// The bytes that may be under way on a new path.
const WINDOW_FIRST: u32 = DATAGRAMS_FIRST * DATAGRAM_BYTES;

#[path = "flood_tests.rs"]
mod flood_tests;

type Network = super::Network<Toy>;
type Config = NetworkConfig<Toy>;

const GENEROUS: Duration = Duration::from_secs(30);

/// A receiver that has come as far as 10 needs it no more.
const WHEN_ROOM: Departure = Departure::WhenRoom { until: 10 };

/// The filler of a message that is nearly as long as it may be.
const LONG: usize = MESSAGE_BYTES_MAX - 4_096;

struct Into(Sender<Message>);

impl Deliver<Message> for Into {
    fn deliver(&mut self, incoming: Message) {
        // The test may have ended.
        let _ = self.0.send(incoming);
    }

    fn end_of_burst(&mut self) {}
}

fn config(me: u8, peers: &[SocketAddr]) -> Config {
    NetworkConfig {
        codec: Toy { n: peers.len(), me, cluster: Some(1), departure: Departure::Urgent },
        peers: peers.to_vec(),
        datagram_max: DATAGRAM_BYTES_DEFAULT,
        offload: true,
        loss: 0.0,
        seed: 1,
    }
}

fn loopback() -> BoundSocket {
    BoundSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a port")
}

/// Peers 0 and 1 of three. Nothing listens at the address of peer 2.
fn pair(change: impl Fn(&mut Config)) -> [Network; 2] {
    let sockets = [loopback(), loopback()];
    let nothing_there = loopback().address();
    let peers = [sockets[0].address(), sockets[1].address(), nothing_there];
    let mut id = 0;
    sockets.map(|socket| {
        let mut config = config(id, &peers);
        id += 1;
        change(&mut config);
        Network::new(socket, config).expect("a network")
    })
}

fn short(to: u8, number: u64) -> Outgoing {
    Outgoing { to: End::Peer(to), message: (number, 0) }
}

fn long(to: u8) -> Outgoing {
    long_numbered(to, 3)
}

fn long_numbered(to: u8, number: u64) -> Outgoing {
    Outgoing { to: End::Peer(to), message: (number, LONG as u32) }
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
fn a_message_to_nothing_there_hurts_nothing_there() {
    let [zero, one] = pair(|_| {});
    let (mut from_zero, mut from_one) = (zero.outlet(1), one.outlet(1));
    let (sender, arrived) = crossbeam_channel::unbounded();
    let stop = zero.stop_handle();
    let running = thread::spawn(move || zero.run(Into(sender)));
    for number in 0..100 {
        from_zero.send([short(2, number)]);
        assert_eq!(from_one.send([short(0, number)]).to_peers, 1);
    }
    for _ in 0..100 {
        arrived.recv_timeout(GENEROUS).expect("it arrives");
    }
    stop.stop();
    running.join().expect("no panic").expect("no error");
}

#[test]
fn everything_passes_the_gate() {
    let [zero, _one] = pair(|config| config.loss = 1.0);
    let mut outlet = zero.outlet(1);
    assert_eq!(outlet.send([short(1, 1), long(1)]), Sent::default());
    let mut zero = zero;
    zero.send_queued();
    let counters = zero.counters();
    assert_eq!(counters.of(NetEvent::Sent), 0);
    assert_eq!(counters.of(NetEvent::Split), 1);
    assert!(counters.of(NetEvent::LostByGate) > 40, "{counters}");
}

#[test]
fn once_the_others_are_muted_only_one_outlet_speaks() {
    let [mut zero, _one] = pair(|_| {});
    let (mut speaks, mut silent) = (zero.outlet(1), zero.outlet(2));
    silent.send([long(1)]);
    speaks.mute_others();
    assert_eq!(silent.send([short(1, 1)]), Sent::default());
    zero.send_queued();
    assert_eq!(zero.counters().of(NetEvent::Sent), 0);
    assert_eq!(speaks.send([short(1, 1), short(2, 1)]).to_peers, 2);
    speaks.send([long(1)]);
    zero.send_queued();
    assert!(zero.counters().of(NetEvent::Sent) > 40, "left to the loop, and exempt still");
}

#[test]
fn a_full_queue_is_a_lost_message_and_never_a_wait() {
    let [zero, _one] = pair(|_| {});
    let mut outlet = zero.outlet(1);
    let fits = (QUEUE_BYTES_MAX / LONG) as u64;
    for _ in 0..2 * fits {
        outlet.send([long(1)]);
    }
    let counters = zero.counters();
    assert!(counters.of(NetEvent::LostQueueFull) >= fits, "{counters}");
    assert!(counters.of(NetEvent::Handed) <= fits, "{counters}");
}

#[test]
fn what_waits_for_the_socket_leaves_in_its_order_and_before_anything_new() {
    let [mut zero, one] = pair(|_| {});
    let (mut outlet, waiting) = (zero.outlet(1), |byte| vec![byte; 100]);
    for byte in 0..3 {
        let (to, bytes) = (End::Peer(1), waiting(byte));
        zero.sender.backlog.push_back(Waiting { to, bytes, size: 100, exempt: false });
    }
    let mut last = [waiting(3), waiting(4)[..90].to_vec()].concat();
    zero.sender.transmit(End::Peer(1), &mut last, 100, URGENT);
    outlet.send([long(1)]);
    zero.send_queued();
    assert_eq!(zero.sender.backlog.len(), 4);
    assert_eq!(zero.counters().of(NetEvent::Split), 0);
    // The socket is writable, so the loop does not sleep.
    let mut ignored = Into(crossbeam_channel::unbounded().0);
    zero.sleep(0, &mut Events::with_capacity(4), &mut ignored).expect("no error");
    zero.sender.flush_backlog();
    zero.send_queued();
    assert_eq!(zero.counters().of(NetEvent::Split), 1);
    let mut buffer = [0; 2_000];
    for byte in 0..3 {
        let (bytes, _) = one.socket.recv_from(&mut buffer).expect("it was sent");
        assert_eq!(unstamped(&buffer[..bytes]), unstamped(&waiting(byte)));
    }
    let (mut cut, mut pieces) = (Vec::new(), Pieces::new(2_000));
    while let Ok(came) = one.shared.offload.receive(&one.shared.socket, &mut pieces) {
        for segments in (0..came.pieces).map(|piece| pieces.get(piece).1) {
            cut.extend((0..segments.count()).map(|index| segments.get(index).to_vec()));
        }
    }
    // The fragments came after them.
    let expected = [&last[..100], &last[100..]].map(unstamped);
    assert_eq!([&cut[0], &cut[1]].map(|datagram| unstamped(datagram)), expected);
}

/// What a datagram has beside its check and its stamp.
fn unstamped(datagram: &[u8]) -> (&[u8], &[u8]) {
    (&datagram[8..HEADER_BYTES - STAMP_BYTES], &datagram[HEADER_BYTES..])
}

/// Takes all that has arrived, and returns the messages' numbers.
fn numbers(network: &mut Network) -> Vec<u64> {
    let (sender, arrived) = crossbeam_channel::unbounded();
    let mut deliver = Into(sender);
    let mut pieces = Pieces::new(RECEIVE_BYTES);
    let mut events = Events::with_capacity(4);
    while !network.receive(&mut pieces, &mut events, &mut deliver).expect("no error").drained {}
    drop(deliver);
    arrived.into_iter().map(|(number, _)| number).collect()
}

/// The numbers of messages for more than one batch of datagrams.
const MANY: std::ops::Range<u64> = 100_000..120_000;

#[test]
fn what_leaves_in_batches_arrives_as_if_it_had_left_singly() {
    let [zero, mut one] = pair(|_| {});
    let mut outlet = zero.outlet(1);
    let sent = outlet.send(MANY.map(|number| short(1, number)));
    assert!(sent.to_peers > 64 && sent.to_clients == 0, "{sent:?}");
    assert_eq!(numbers(&mut one), MANY.collect::<Vec<_>>());
    let datagrams = sent.to_peers as u64;
    assert_eq!(zero.counters().of(NetEvent::Sent), datagrams);
    assert_eq!(one.counters().of(NetEvent::Received), datagrams);
}

#[test]
fn batches_to_several_destinations_do_not_mix() {
    let [zero, mut one] = pair(|_| {});
    let mut outlet = one.outlet(1);
    let mut to_both = zero.outlet(1);
    to_both.send(MANY.flat_map(|number| [short(1, number), short(2, number)]));
    assert_eq!(numbers(&mut one), MANY.collect::<Vec<_>>());
    // The outlet keeps nothing for its next call.
    to_both.send([short(1, 7)]);
    assert_eq!(numbers(&mut one), [7]);
    outlet.send([short(0, 8)]);
    let mut zero = zero;
    assert_eq!(numbers(&mut zero), [8]);
}

#[test]
fn a_turn_takes_one_system_call_a_batch() {
    let [zero, _one] = pair(|_| {});
    let mut outlet = zero.outlet(1);
    let counters = zero.counters();
    let numbers = 100_000..105_000;
    let datagrams = 2 * numbers.clone().count().div_ceil(MESSAGES_PER_DATAGRAM) as u64;
    let sent = outlet.send(numbers.flat_map(|number| [short(1, number), short(2, number)]));
    assert_eq!((sent.to_peers as u64, counters.of(NetEvent::Sent)), (datagrams, datagrams));
    let calls = if zero.shared.offload.trust.batches(Some(1)) { 2 } else { datagrams };
    assert_eq!(counters.of(NetEvent::SendCalls), calls);
}

#[test]
fn each_datagram_of_a_batch_meets_a_draw_of_its_own() {
    for seed in 0..10 {
        let [zero, mut one] = pair(|config| config.loss = 0.3);
        let mut outlet = zero.outlet(seed);
        let sent = outlet.send(MANY.map(|number| short(1, number)));
        let counters = zero.counters();
        let (passed, lost) = (counters.of(NetEvent::Sent), counters.of(NetEvent::LostByGate));
        let mut gate = Gate::new(0.3, seed);
        let drawn = (0..passed + lost).filter(|_| gate.passes()).count();
        assert!(lost > 0);
        assert_eq!((drawn as u64, sent.to_peers as u64), (passed, passed));
        let arrived = numbers(&mut one);
        assert!(arrived.is_sorted() && arrived.len() < MANY.count());
        assert_eq!(one.counters().of(NetEvent::Received), passed);
    }
}

#[test]
fn where_batches_are_refused_datagrams_leave_singly() {
    let [zero, mut one] = pair(|_| {});
    let offload = &zero.shared.offload;
    offload.refused(Some(1), &rustix::io::Errno::IO.into(), 1);
    assert!(!offload.trust.batches(Some(1)));
    let mut outlet = zero.outlet(1);
    let sent = outlet.send(MANY.map(|number| short(1, number)));
    assert_eq!(numbers(&mut one), MANY.collect::<Vec<_>>());
    assert_eq!(one.counters().of(NetEvent::Received), sent.to_peers as u64);
    outlet.send([long(1)]);
    let mut zero = zero;
    zero.send_queued();
    let [left, waits] = [NetEvent::Sent, NetEvent::HeldBack].map(|it| zero.counters().of(it));
    assert!(left + waits > 40 + sent.to_peers as u64);
}

#[test]
fn a_batch_that_the_kernel_refuses_is_sent_singly() {
    let [zero, one] = pair(|_| {});
    // Together they are longer than the kernel takes.
    let mut bytes = vec![7; 2 * 40_000 + 90];
    let outcome = zero.shared.transmit(End::Peer(1), &mut bytes, 40_000, URGENT);
    assert_eq!(outcome, SendOutcome { sent: 3, left: None });
    let mut buffer = vec![0; 65_535];
    for expected in [40_000, 40_000, 90] {
        let (bytes, _) = one.socket.recv_from(&mut buffer).expect("it was sent");
        assert_eq!(bytes, expected);
    }
}

#[test]
fn a_route_that_refuses_everything_says_nothing_of_batches() {
    // From a loopback address the kernel has no way there: EINVAL, as from a blackhole route.
    let nowhere: SocketAddr = "192.0.2.1:9".parse().expect("an address");
    let sockets = [loopback(), loopback()];
    let peers = [sockets[0].address(), sockets[1].address(), nowhere];
    let [zero, one] = sockets;
    let zero = Network::new(zero, config(0, &peers)).expect("a network");
    let mut one = Network::new(one, config(1, &peers)).expect("a network");
    let (mut outlet, counters) = (zero.outlet(1), zero.counters());
    for _ in 0..3 {
        let lost = outlet.send(MANY.map(|number| short(2, number)));
        assert_eq!(lost.to_peers, 0, "nothing passes");
        let before = counters.of(NetEvent::SendCalls);
        let datagrams = outlet.send(MANY.map(|number| short(1, number))).to_peers as u64;
        assert_eq!(numbers(&mut one), MANY.collect::<Vec<_>>());
        let calls = counters.of(NetEvent::SendCalls) - before;
        let few = if zero.shared.offload.trust.has() { datagrams / 10 } else { datagrams };
        assert!(datagrams > 10 && calls <= few, "{calls} calls for {datagrams} datagrams");
        for peer in [Some(1), Some(2), None] {
            assert_eq!(zero.shared.offload.trust.takes(peer), zero.shared.offload.trust.has());
        }
    }
}

#[test]
fn every_datagram_of_a_muted_batch_is_counted() {
    let [zero, mut one] = pair(|_| {});
    let (mut speaks, mut silent) = (zero.outlet(1), zero.outlet(2));
    speaks.mute_others();
    assert_eq!(silent.send(MANY.map(|number| short(1, number))), Sent::default());
    let muted = zero.counters().of(NetEvent::Muted);
    assert_eq!(numbers(&mut one), []);
    let sent = speaks.send(MANY.map(|number| short(1, number)));
    assert_eq!(sent.to_peers as u64, muted);
    assert_eq!(numbers(&mut one).len(), MANY.count());
}

#[test]
fn batches_travel_over_ipv6_and_from_it_to_ipv4() {
    for to in ["[::1]:0", "127.0.0.1:0"] {
        let from = BoundSocket::bind("[::]:0".parse().expect("an address"));
        let to = BoundSocket::bind(to.parse().expect("an address"));
        // This host has no IPv6.
        let (Ok(from), Ok(to)) = (from, to) else { continue };
        let peers = [from.address(), to.address()];
        let network = |socket, id| Network::new(socket, config(id, &peers)).expect("a network");
        let (zero, mut one) = (network(from, 0), network(to, 1));
        let sent = zero.outlet(1).send(MANY.map(|number| short(1, number)));
        assert_eq!(numbers(&mut one), MANY.collect::<Vec<_>>());
        assert_eq!(one.counters().of(NetEvent::Received), sent.to_peers as u64);
    }
}

#[test]
fn a_peer_that_has_moved_is_reached_where_it_is_now() {
    let [mut zero, mut one] = pair(|_| {});
    let (mut outlet, book) = (zero.outlet(1), zero.peer_book());
    let nothing_there = book.address(2);
    assert_eq!(outlet.send([short(1, 1)]).to_peers, 1);
    assert_eq!(numbers(&mut one), [1]);
    let expected = Contact { sent: true, heard: false, elsewhere: None };
    assert_eq!((book.take_contact(1), book.take_contact(2)), (expected, Contact::default()));
    // Peer 1 answers from another address than the one that is known.
    book.move_to(1, nothing_there);
    outlet.send([short(1, 2)]);
    assert_eq!(numbers(&mut one), []);
    one.outlet(1).send([short(0, 3)]);
    assert_eq!(numbers(&mut zero), [3]);
    let there = one.shared.socket.local_addr().expect("it is bound");
    let expected = Contact { sent: true, heard: false, elsewhere: Some(there) };
    assert_eq!(book.take_contact(1), expected);
    book.move_to(1, there);
    outlet.send([short(1, 4)]);
    assert_eq!(numbers(&mut one), [4]);
    // The new path is not the old one.
    zero.shared.paths.refused(1, 1_000);
    zero.poll_paths(0);
    assert_eq!(zero.shared.paths.length(1), PATH_BYTES_MIN);
    zero.shared.paths.traffic(1).flow.send(0, 10 * WINDOW_FIRST as usize);
    book.move_to(1, book.address(1));
    zero.poll_paths(0);
    assert_eq!(zero.shared.paths.length(1), PATH_BYTES_IPV4);
    let mut traffic = zero.shared.paths.traffic(1);
    assert_eq!(traffic.flow.under_way(), 0, "what is under way goes elsewhere");
    assert!(traffic.take_reborn(), "so does what waits");
}

#[test]
fn nothing_is_sent_to_a_peer_whose_address_is_not_known() {
    let [zero, _one] = pair(|config| config.peers[2] = UNKNOWN);
    let sent = zero.outlet(1).send([short(2, 1)]);
    assert_eq!((sent, zero.counters().of(NetEvent::SendFailed)), (Sent::default(), 1));
    assert!(zero.peer_book().take_contact(2).sent, "it was wanted");
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
    let peer = loopback();
    let peers = [peer.address()];
    let peer = Network::new(peer, config(0, &peers)).expect("a network");
    let client = BoundSocket::for_client(&peers).expect("a socket");
    let to = End::Client(SocketAddr::from((Ipv4Addr::LOCALHOST, client.address().port())));
    let mut client = Network::new(client, config(0, &peers)).expect("a network");
    assert_eq!((to.peer(), End::Peer(0).peer()), (None, Some(0)));
    let sent = peer.outlet(1).send([Outgoing { to, message: (7, 0) }]);
    assert_eq!(sent, Sent { to_peers: 0, to_clients: 1 });
    assert_eq!(numbers(&mut client), [7]);
}

#[test]
fn an_ipv6_socket_hears_ipv4_under_its_own_name() {
    let mapped: SocketAddr = "[::ffff:10.0.0.1]:7".parse().expect("an address");
    assert_eq!(canonical(mapped).to_string(), "10.0.0.1:7");
    let v6: SocketAddr = "[::1]:7".parse().expect("an address");
    assert_eq!(canonical(v6), v6);
}

#[test]
fn a_running_loop_finds_out_what_the_path_carries_and_then_rests() {
    let most = 9_000;
    let [zero, one] = pair(|config| config.datagram_max = most);
    let shared = zero.shared.clone();
    let mut outlet = zero.outlet(1);
    let stops = [zero.stop_handle(), one.stop_handle()];
    let (sender, arrived) = crossbeam_channel::unbounded();
    let running = [zero, one].map(|network| {
        let deliver = Into(sender.clone());
        thread::spawn(move || network.run(deliver))
    });
    assert_eq!(shared.paths.length(1), PATH_BYTES_IPV4);
    let end = Instant::now() + GENEROUS;
    for number in 0.. {
        if shared.paths.length(1) == most {
            break;
        }
        assert!(Instant::now() < end, "{} bytes", shared.paths.length(1));
        outlet.send([long_numbered(1, number)]);
        arrived.recv_timeout(GENEROUS).expect("it arrives");
    }
    assert_eq!(shared.paths.length(0), PATH_BYTES_IPV4, "unused");
    assert!(
        shared.offload.trust.batches(Some(1)) == shared.offload.trust.takes(Some(1)),
        "batches arrive here"
    );
    stops.iter().for_each(StopHandle::stop);
    for thread in running {
        thread.join().expect("no panic").expect("no error");
    }
}

#[test]
fn a_datagram_longer_than_the_kernel_takes_is_not_sent_again() {
    let [mut zero, _one] = pair(|_| {});
    // No socket takes it.
    let mut bytes = vec![7; 65_536];
    zero.shared.transmit(End::Peer(1), &mut bytes, 65_536, URGENT);
    assert_eq!(zero.counters().of(NetEvent::SendFailed), 1);
    zero.poll_paths(0);
    assert_eq!(zero.shared.paths.length(1), PATH_BYTES_IPV4, "that length was not in use");
    zero.shared.paths.refused(1, 1_000);
    zero.poll_paths(0);
    assert_eq!(zero.shared.paths.length(1), PATH_BYTES_MIN);
}

#[test]
fn without_offload_there_is_one_datagram_a_call() {
    let [zero, mut one] = pair(|config| config.offload = false);
    let sent = zero.outlet(1).send(MANY.map(|number| short(1, number)));
    assert_eq!(zero.counters().of(NetEvent::SendCalls), sent.to_peers as u64);
    assert_eq!(numbers(&mut one), MANY.collect::<Vec<_>>());
}

#[test]
fn what_was_sent_before_the_cluster_was_known_does_not_keep_the_search_from_beginning() {
    let [mut zero, _one] = pair(|config| config.codec.cluster = None);
    zero.shared.paths.note(1, Use { long: true, batch: true });
    zero.poll_paths(0);
    assert_eq!(zero.paths.deadline(), None);
    assert_eq!(zero.counters().of(NetEvent::Sent), 0);
    assert!(!zero.shared.paths.has_news(), "the loop sleeps");
    assert!(zero.shared.paths.note(1, Use { long: true, batch: false }), "it is news again");
}

#[test]
fn what_has_no_room_waits_and_leaves_when_word_of_the_rest_has_come() {
    let [mut zero, mut one] = pair(|config| config.codec.departure = WHEN_ROOM);
    let sent = zero.outlet(1).send(MANY.map(|number| short(1, number)));
    assert!(sent.to_peers as u32 <= WINDOW_FIRST / PATH_BYTES_IPV4 as u32);
    assert_eq!(arrive_as_there_is_room(&mut zero, &mut one), MANY.collect::<Vec<_>>());
    assert!(!zero.shared.paths.waits(1));
    assert!(zero.shared.paths.traffic(1).flow.window() > WINDOW_FIRST);
    assert!(zero.counters().of(NetEvent::HeldBack) > 100);
}

#[test]
fn what_has_no_room_on_the_way_to_a_new_life_of_the_peer_waits_as_well() {
    let [mut zero, mut one] = pair(|config| config.codec.departure = WHEN_ROOM);
    // Nothing waits yet that was meant for the former one.
    zero.shared.paths.traffic(1).moved();
    zero.outlet(1).send(MANY.map(|number| short(1, number)));
    assert_eq!(arrive_as_there_is_room(&mut zero, &mut one), MANY.collect::<Vec<_>>());
    assert!(zero.counters().of(NetEvent::HeldBack) > 100);
}

/// Lets the loops of both go on until [`MANY`] have arrived, and returns what has.
fn arrive_as_there_is_room(zero: &mut Network, one: &mut Network) -> Vec<u64> {
    let mut arrived = Vec::new();
    for _ in 0..1_000 {
        arrived.extend(numbers(one));
        one.give_word(u64::MAX);
        numbers(zero);
        zero.send_queued();
        zero.sender.flush_queues(zero.shared.now());
        if arrived.len() == MANY.count() {
            break;
        }
    }
    arrived
}

#[test]
fn what_waits_does_not_leave_once_its_receiver_needs_it_no_more() {
    let [mut zero, _one] = pair(|config| config.codec.departure = WHEN_ROOM);
    zero.outlet(1).send(MANY.map(|number| short(1, number)));
    zero.send_queued();
    let waits = zero.counters().of(NetEvent::HeldBack);
    assert!(waits > 100 && zero.shared.paths.waits(1));
    zero.sender.peer_has(1, 9);
    assert_eq!(zero.counters().of(NetEvent::Needless), 0);
    zero.sender.peer_has(1, 10);
    zero.sender.flush_queues(zero.shared.now());
    assert_eq!(zero.counters().of(NetEvent::Needless), waits);
    assert!(zero.sender.deadline().is_none() && !zero.shared.paths.waits(1), "nothing waits");
}

#[test]
fn a_client_that_asks_is_told_what_has_arrived() {
    let peers = [loopback().address()];
    let mut paths = LoopPaths::new(&peers, 1_400);
    let shared = SharedPaths::new([].into_iter(), 0, HEADER_BYTES);
    let client = |port| End::Client(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut hears = |now, port, asks| {
        let stamp = Stamp { offset: 100, asks, ..Stamp::default() };
        let opened = Opened {
            from: client(port),
            boot: 1,
            cluster: 1,
            stamp,
            has: None,
            body: Body::Messages,
        };
        paths.received(now, &shared, &opened, 50);
        (paths.word_deadline().is_some(), paths.clients())
    };
    assert_eq!(hears(0, 1, false), (false, 0), "nobody asks");
    assert_eq!(hears(0, 1, true), (true, 1));
    for port in 2..5_000 {
        hears(1, port, true);
    }
    assert_eq!(hears(1, 5_000, true).1, CLIENT_RECEIPTS_MAX);
    assert_eq!(hears(2 * CLIENT_IDLE_US, 5_000, true).1, 1, "idle ones make room");
}
