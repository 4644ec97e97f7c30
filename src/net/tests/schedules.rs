//! Explores how the network loop sleeps while threads leave messages to it and stop it.
//!
//! The tests run [`Network::run`] itself, with its own queue, its own mio and a real socket.
//! Outlets give it messages that only the loop can send, a thread leaves inputs to what works
//! on the loop, and a handle stops it. Two things must hold. Once no thread can go on, the loop has sent everything that was left to it.
//! Once the loop is stopped, it ends; a loop that did not would leave all threads waiting for
//! ever, and the scheduler reports that.
//!
//! The interleavings of one thread that leaves one message, and those of a stop, are tried
//! one by one. For more threads the number of preemptions has a bound. Three threads, and two
//! loops that talk to each other, are tried by seed. `bugs/` has a patch for each mistake
//! that the order of steps in `wakeup.rs` and `outlet.rs` avoids; one of these tests fails
//! under each.
//!
//! The tests cover `wakeup.rs`, the loop around it and `outlet.rs`: sleeps that a thread, a
//! datagram or the time ends (the loop waits for pieces of a message). They do **not** cover a
//! socket that would block, because the kernel cannot be made to refuse on demand, nor what
//! `explore` leaves out.

#![cfg(test)]

use super::frame::{ClusterCell, Guard, Identity};
use super::{BoundSocket, Deliver, Network, NetworkConfig, Outlet, StopHandle};
use super::{DATAGRAM_BYTES_MIN, Incoming, Outgoing};
use crate::message::{Message, Party, Request, ToProposer};
use crate::types::{Address, BootId, ClusterId, ReplicaId};
use datagrams::counters::{Counters, NetEvent};
use interleavings::threads::explore::{self, Exploration};
use interleavings::threads::{self, Receiver};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Drops every message that arrives.
struct Ignored;

impl Deliver<Incoming> for Ignored {
    fn deliver(&mut self, _: Incoming) {}

    fn end_of_burst(&mut self) {}
}

fn address() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A loop that runs, its outlets, and its counters.
struct Loop {
    outlets: Vec<Outlet>,
    stop: StopHandle,
    counters: Arc<Counters>,
    running: explore::Running<()>,
}

/// The networks of two replicas that lose this share of their datagrams. Neither runs yet.
fn pair(loss: f64) -> [Network; 2] {
    let bind = || BoundSocket::bind(address()).expect("a port");
    let (sockets, mut id) = ([bind(), bind()], 0);
    let peers: Vec<_> = sockets.iter().map(BoundSocket::address).collect();
    sockets.map(|socket| {
        let cluster = ClusterCell::new();
        cluster.set(ClusterId(1));
        let me = Party::Replica(ReplicaId(id));
        id += 1;
        let identity =
            Identity { n: 2, rows: 2, me, boot: BootId(5), cluster, guard: Guard::none() };
        let (peers, datagram_max, offload, seed) = (peers.clone(), DATAGRAM_BYTES_MIN, true, 1);
        let codec = identity;
        Network::new(socket, NetworkConfig { codec, peers, datagram_max, offload, loss, seed })
            .expect("a network")
    })
}

/// Runs a network with this many outlets.
fn begin(network: Network, outlets: u64) -> Loop {
    let outlets = (0..outlets).map(|seed| network.outlet(seed)).collect();
    let (stop, counters) = (network.stop_handle(), network.counters());
    let running = explore::process("loop", move || {
        if let Err(error) = network.run(Ignored) {
            threads::fails(&error.to_string());
        }
    });
    Loop { outlets, stop, counters, running }
}

/// A message that is too long for a datagram.
fn long(to: u8, seq: u64) -> Outgoing {
    let request = Request::new(1, 2, seq, &"x".repeat(DATAGRAM_BYTES_MIN));
    let message = ToProposer::Forward { origin: Address(address()), request };
    Outgoing::Peer { to: ReplicaId(to), message: Message::Proposer(message) }
}

impl Loop {
    /// Each outlet, on a thread of its own, leaves this many messages to the loop.
    fn is_given(&mut self, messages: u64, to: u8) {
        for mut outlet in self.outlets.drain(..) {
            threads::spawn("outlet", move || {
                for seq in 0..messages {
                    outlet.send([long(to, seq)]);
                }
            })
            .expect("a thread");
        }
    }

    /// Requires, once no thread can go on, that nothing is left.
    fn has_sent(&self, messages: u64) {
        let [handed, lost, split] = [NetEvent::Handed, NetEvent::LostQueueFull, NetEvent::Split]
            .map(|event| self.counters.of(event));
        explore::require(handed + lost == messages && split == handed, || {
            format!("of {handed} messages {split} were sent, and the loop sleeps")
        });
        if lost > 0 {
            explore::met("a full queue");
        }
    }

    /// Waits for the end of the loop.
    fn ends(self) {
        let ended = self.running.ends();
        explore::require(ended == explore::End::Returned(()), || format!("{ended:?}"));
    }
}

/// Each of these threads leaves this many messages to the loop. Then the loop is stopped.
fn left_to_it(threads: u64, messages: u64) -> impl FnOnce() + Send + 'static {
    move || {
        let [zero, _one] = pair(0.0);
        let mut the_loop = begin(zero, threads);
        the_loop.is_given(messages, 1);
        explore::settle();
        the_loop.has_sent(threads * messages);
        the_loop.stop.stop();
        the_loop.ends();
    }
}

/// Works on the loop: takes what another thread leaves in a channel.
struct Works {
    inbox: Receiver<()>,
    taken: Arc<AtomicU64>,
}

impl Deliver<Incoming> for Works {
    fn deliver(&mut self, _: Incoming) {}

    fn end_of_burst(&mut self) {}

    fn turn(&mut self, _drained: bool) -> bool {
        let took = self.inbox.try_recv().is_ok();
        self.taken.fetch_add(u64::from(took), Ordering::SeqCst);
        took
    }

    fn has_input(&self) -> bool {
        !self.inbox.is_empty()
    }
}

/// A thread leaves this many inputs to what works on the loop, and wakes the loop. Then the loop
/// is stopped.
fn left_to_what_works_there(inputs: u64) -> impl FnOnce() + Send + 'static {
    move || {
        let [zero, _one] = pair(0.0);
        let (to, inbox) = threads::bounded(8);
        let taken = Arc::new(AtomicU64::new(0));
        let (waker, stop) = (zero.waker(), zero.stop_handle());
        let works = Works { inbox, taken: Arc::clone(&taken) };
        let running = explore::process("loop", move || {
            if let Err(error) = zero.run(works) {
                threads::fails(&error.to_string());
            }
        });
        threads::spawn("thread", move || {
            for _ in 0..inputs {
                to.send(()).expect("there is room");
                waker.wake();
            }
        })
        .expect("a thread");
        explore::settle();
        let taken = taken.load(Ordering::SeqCst);
        explore::require(taken == inputs, || format!("took {taken} of {inputs}, and sleeps"));
        stop.stop();
        running.ends();
    }
}

/// The loop is stopped at any moment, while threads leave messages to it.
fn stopped(threads: u64) -> impl FnOnce() + Send + 'static {
    move || {
        let [zero, _one] = pair(0.0);
        let mut the_loop = begin(zero, threads);
        the_loop.is_given(1, 1);
        the_loop.stop.stop();
        the_loop.ends();
    }
}

/// Two loops that lose datagrams, and therefore wait for pieces and ask for them. The other
/// loop, their threads and the time wake them.
fn two_that_talk() {
    let [zero, one] = pair(0.3);
    let (mut zero, mut one) = (begin(zero, 2), begin(one, 1));
    zero.is_given(2, 1);
    one.is_given(3, 0);
    let asked = |zero: &Loop, one: &Loop| {
        zero.counters.of(NetEvent::FragmentResent) + one.counters.of(NetEvent::FragmentResent)
    };
    for _ in 0..explore::draw(100) {
        explore::settle();
        zero.has_sent(4);
        one.has_sent(3);
        explore::pause(explore::draw(5_000));
    }
    if asked(&zero, &one) > 0 {
        explore::met("asked for pieces");
    }
    zero.stop.stop();
    zero.ends();
    one.stop.stop();
    one.ends();
}

const STEPS_MAX: u64 = 20_000;
const LEFT: Exploration =
    Exploration { name: "net::schedules::left_to_the_loop", steps_max: STEPS_MAX };
const WORKS: Exploration =
    Exploration { name: "net::schedules::left_to_what_works_there", steps_max: STEPS_MAX };
const STOPPED: Exploration =
    Exploration { name: "net::schedules::the_loop_is_stopped", steps_max: STEPS_MAX };
const TALK: Exploration =
    Exploration { name: "net::schedules::two_loops_that_talk", steps_max: STEPS_MAX };

/// More schedules than any exploration has.
const ALL: usize = 1_000_000;

/// As many preemptions as there are steps.
const ANY: u32 = u32::MAX;

fn try_all<B: FnOnce() + Send + 'static>(
    exploration: Exploration,
    preemptions: u32,
    body: impl Fn() -> B,
) {
    let (schedules, found) = explore::run_all(exploration, preemptions, ALL, body);
    let bound = if preemptions == ANY { "any number of".into() } else { preemptions.to_string() };
    println!("{}, with {bound} preemptions: all {schedules}", exploration.name);
    found.unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn ways_to_leave_one_message_to_the_loop() {
    // There are 11,243 schedules, and 3,085 with at most five preemptions.
    let preemptions = if explore::count(0) > 0 { ANY } else { 5 };
    try_all(LEFT, preemptions, || left_to_it(1, 1));
}

#[test]
fn ways_of_two_threads_to_leave_a_message_to_the_loop() {
    try_all(LEFT, 2, || left_to_it(2, 1));
}

#[test]
fn ways_to_leave_an_input_to_what_works_on_the_loop() {
    try_all(WORKS, 5, || left_to_what_works_there(1));
    try_all(WORKS, 2, || left_to_what_works_there(2));
}

#[test]
fn every_way_to_stop_the_loop() {
    try_all(STOPPED, ANY, || stopped(0));
}

#[test]
fn ways_to_stop_the_loop_while_something_is_left_to_it() {
    try_all(STOPPED, 3, || stopped(1));
}

#[test]
fn left_to_the_loop() {
    explore::try_seeds(LEFT, explore::count(1_000), &["a full queue"], || left_to_it(3, 3));
}

#[test]
fn the_loop_is_stopped() {
    explore::try_seeds(STOPPED, explore::count(1_000), &[], || stopped(2));
}

#[test]
fn two_loops_that_talk() {
    let wanted = ["a full queue", "asked for pieces"];
    explore::try_seeds(TALK, explore::count(300), &wanted, || two_that_talk);
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    for seed in 0..20 {
        let hash = || explore::run_seed(TALK, seed, two_that_talk).expect("it goes well").hash;
        assert_eq!(hash(), hash(), "{seed}");
    }
}
