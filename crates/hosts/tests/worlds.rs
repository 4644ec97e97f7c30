//! The worlds are as bad as they say. A row of the table that holds would prove nothing in a
//! world that lets everything through.
//!
//! The tests need the right to make network namespaces. Without it they say so on stderr, and
//! test nothing.

use hosts::namespace::Namespace;
use hosts::relay::Path;
use hosts::tools::Tools;
use hosts::world::{Bucket, ClientsAt, Ground, Laid, Mtu, World};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on a thread of its own, which it may move from network to network.
fn in_world(world: World, test: impl FnOnce(&Laid) + Send) {
    if let Some(missing) = Tools::find().missing(&world) {
        eprintln!("not tested: no {missing}");
        return;
    }
    let folder = TempDir::new().expect("a folder");
    thread::scope(|scope| {
        scope.spawn(|| test(&Laid::lay(&world, folder.path(), 1).expect("a world")));
    });
}

fn replica_address(id: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 77, 0, id + 1), 7_000 + u16::from(id)).into()
}

/// A socket of a replica, at its address.
fn replica(laid: &Laid, id: u8) -> UdpSocket {
    laid.enter_replica(id.into()).expect("its network");
    listen(replica_address(id))
}

fn client(laid: &Laid) -> UdpSocket {
    laid.enter_clients().expect("their network");
    listen((Ipv4Addr::UNSPECIFIED, 0).into())
}

fn listen(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(at).expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("it is set");
    socket
}

/// Sends datagrams of these lengths, and returns the length of the first that arrives.
fn first(from: &UdpSocket, to: &UdpSocket, lengths: &[usize]) -> usize {
    let address = to.local_addr().expect("it is bound");
    for length in lengths {
        from.send_to(&vec![0; *length], address).expect("it leaves");
    }
    to.recv(&mut [0; 65_535]).expect("one arrives")
}

#[test]
fn nobody_puts_fragments_together() {
    let ground = Ground::Hosts(Mtu::WithoutFragments(1_300));
    in_world(World { ground, ..World::PLAIN }, |laid| {
        let (zero, one) = (replica(laid, 0), replica(laid, 1));
        assert_eq!(first(&zero, &one, &[1_273, 1_272]), 1_272);
        assert_eq!(first(&client(laid), &one, &[5_000, 100]), 100);
    });
}

#[test]
fn the_switch_drops_what_is_too_long_but_lets_other_clients_through() {
    let ground = Ground::Hosts(Mtu::OfTheSwitch(1_000));
    let world = World { ground, clients: ClientsAt::OwnSwitch, ..World::PLAIN };
    in_world(world, |laid| {
        let (zero, one) = (replica(laid, 0), replica(laid, 1));
        assert_eq!(first(&zero, &one, &[1_200, 900]), 900);
        let client = client(laid);
        assert_eq!(first(&client, &one, &[1_200]), 1_200);
        // An answer takes the same way back.
        assert_eq!(client.local_addr().expect("bound").port(), answered(&one, &client));
    });
    in_world(World { clients: ClientsAt::SameSwitch, ..world }, |laid| {
        let (one, client) = (replica(laid, 1), client(laid));
        assert_eq!(first(&client, &one, &[1_200, 900]), 900);
    });
}

/// Sends a datagram there and a long one back, and returns the port that the first came from.
fn answered(replica: &UdpSocket, client: &UdpSocket) -> u16 {
    client.send_to(&[1], replica.local_addr().expect("it is bound")).expect("it leaves");
    let (_, from) = replica.recv_from(&mut [0; 9]).expect("it arrives");
    replica.send_to(&[2; 1_200], from).expect("it leaves");
    assert_eq!(client.recv(&mut [0; 1_400]).expect("it arrives"), 1_200);
    from.port()
}

#[test]
fn a_bucket_delays_what_fits_its_queue_and_drops_the_rest() {
    let bucket = Some(Bucket { kbit: 1_000, queue_ms: 100 });
    let world = World { bucket, ..World::HOSTS };
    in_world(world, |laid| {
        laid.worsen().expect("the kernel has buckets");
        let (zero, one) = (replica(laid, 0), replica(laid, 1));
        let begin = Instant::now();
        // 100 kB, of which the queue holds 12.5 and the bucket 3.
        assert_eq!(first(&zero, &one, &[1_000; 100]), 1_000);
        let dropped = laid.dropped().expect("a count");
        assert!((70..95).contains(&dropped), "{dropped}");
        for _ in dropped..99 {
            one.recv(&mut [0; 1_400]).expect("it arrives");
        }
        assert!(begin.elapsed() > Duration::from_millis(50), "{:?}", begin.elapsed());
        let sent = laid.sent().expect("counters");
        assert!(sent.bytes < 40_000, "what was dropped is not sent: {sent:?}");
    });
}

#[test]
fn replicas_send_by_the_relays_and_clients_do_not() {
    let world = World { path: Some(Path::constant(40)), ..World::HOSTS };
    in_world(world, |laid| {
        let addresses = |of| -> Vec<SocketAddr> {
            let text = fs::read_to_string(laid.config(of)).expect("a configuration");
            text.lines().map(|line| line.replace(' ', ":").parse().expect("an address")).collect()
        };
        let real: Vec<SocketAddr> = (0..3).map(replica_address).collect();
        assert_eq!(addresses(None), real);
        let of_one = addresses(Some(1));
        let same: Vec<bool> = of_one.iter().zip(&real).map(|(a, b)| a == b).collect();
        assert_eq!(same, [false, true, false]);
        let (one, two) = (replica(laid, 1), replica(laid, 2));
        laid.worsen().expect("it can be");
        let begin = Instant::now();
        one.send_to(b"hello", of_one[2]).expect("it leaves");
        assert_eq!(two.recv(&mut [0; 9]).expect("it arrives"), 5);
        assert!(begin.elapsed() >= Duration::from_millis(40), "{:?}", begin.elapsed());
    });
}

#[test]
fn a_world_is_gone_when_it_is_dropped() {
    let Ok(namespace) = Namespace::new() else {
        return eprintln!("not tested: no namespaces");
    };
    let holder = format!("/proc/{}", namespace.pid());
    assert!(fs::exists(&holder).expect("proc is there"));
    drop(namespace);
    assert!(!fs::exists(&holder).expect("proc is there"));
}
