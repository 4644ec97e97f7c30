//! The socket of a process, and the loop that does all its receiving.
//!
//! A process has one UDP socket, and a few more while somebody floods that one (`lanes`). One thread runs [`Network::run`]: it drains the
//! socket in bounded bursts, opens datagrams, joins fragments, hands messages to a
//! [`Deliver`], lets it work if it does so on this thread, sends what the threads left to the
//! loop, and asks for fragments when they are due. With nothing to do it polls for a bounded time, if input has come fast lately (see
//! [`crate::wait`]). Then it sleeps in epoll, without a timeout unless it waits for a
//! fragment. The kernel may hand over several datagrams of one sender in one piece; the
//! loop cuts them apart first. Every datagram passes a [`Gate`] before it is sent, here as
//! in the [`Outlet`]s.
//!
//! **Guarantees.** A burst ends after [`BURST_DATAGRAMS`], so neither input nor output
//! starves. The loop sees a message that was left to it before it sleeps (`wakeup`). No
//! datagram can end the loop.
//!
//! **Does not** decide where a message goes inside the process, and keeps nothing of
//! what it has delivered.

mod handles;
mod lanes;
mod paths;
mod receive;
mod room;
mod sender;
mod socket;

pub use handles::{LoopWaker, PeerBook, StopHandle};
pub use room::Room;
pub use socket::{BoundSocket, SOCKET_BUFFER_BYTES, client_address, open_socket, pass_over};

use crate::assert_datagram_max;
use crate::codec::{Body, Codec, Decode, Endpoint, Opened};
use crate::counters::Counters;
use crate::fragment::{Fragmenter, PIECES_MAX, Reassembler};
use crate::loss::Gate;
use crate::offload::{Offload, Pieces};
use crate::outlet::{Outlet, Priority, QUEUE_MAX, Queued, QueuedKind, Shared};
use crate::path::queue::Repeat;
use crate::peers::Peers;
use crate::wait::Patience;
use crate::wakeup::Wakeup;
use interleavings::threads::{self, Receiver};
use mio::{Events, Interest, Poll, Token};
use paths::LoopPaths;
use receive::{Burst, Intake};
use sender::{LOST_PIECES, LoopSender};
use socket::canonical;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The most datagrams taken from the socket before [`Deliver::end_of_burst`]. The last piece
/// may bring a few more.
pub const BURST_DATAGRAMS: usize = 64;

/// Datagrams that came in one piece are handed on in parts of this many, so that a thread
/// begins with the first part while the loop opens the next.
const PART_DATAGRAMS: usize = 8;

/// The most entries taken from the threads' queue before receiving goes on.
pub const BURST_QUEUED: usize = 64;

/// The most batches of datagrams that wait for a socket that would block: the fragments of
/// a message, one by one. The loop begins nothing new while any wait.
pub const BACKLOG_MAX: usize = PIECES_MAX;

/// The longest datagram, and the most bytes of several that come in one piece.
const RECEIVE_BYTES: usize = 65_535;

/// What epoll tells at once. What is beyond that it tells the next time.
const EVENTS_MAX: usize = 64;

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

/// The first of the tokens of the lanes.
const LANES: usize = 2;

/// Takes arriving messages: the routing of a process.
pub trait Deliver<Incoming> {
    /// Takes a message. Called on the network thread; must not wait.
    fn deliver(&mut self, incoming: Incoming);

    /// The burst is over, or long enough: gathered messages should be handed on.
    fn end_of_burst(&mut self);

    /// How many messages were dropped unheard since this was asked last, since their sender sends too
    /// many. During a flood less is read of whoever sends such.
    fn take_unheard(&mut self) -> usize {
        0
    }

    /// The loop has received what it takes at once; `drained` says whether that was all. Whoever
    /// works on the network thread works now. Returns whether there was anything to do.
    fn turn(&mut self, _drained: bool) -> bool {
        false
    }

    /// No datagram has come, and the thread polls again soon: the moment for work that can
    /// wait, but would cost a wake-up on another thread.
    fn found_nothing(&mut self) {}

    /// The thread is about to sleep until a datagram, a hand-over or a deadline comes.
    fn sleeps(&mut self) {}

    /// The longest that the thread may sleep before the next [`Deliver::turn`].
    fn sleep_max(&self) -> Option<Duration> {
        None
    }

    /// Whether another thread has left something for [`Deliver::turn`], and has called
    /// [`LoopWaker::wake`] or is about to. The loop asks this before it sleeps.
    fn has_input(&self) -> bool {
        false
    }
}

/// The settings of a [`Network`].
#[derive(Debug, Clone)]
pub struct NetworkConfig<C> {
    /// The form of the process's datagrams.
    pub codec: C,
    /// The address of each peer, by its number; [`UNKNOWN`](crate::peers::UNKNOWN) if it is to
    /// be told later.
    pub peers: Vec<SocketAddr>,
    /// The most bytes of a datagram, header included. A path may carry less.
    pub datagram_max: usize,
    /// Whether the kernel may be given several datagrams in one call, and give several.
    pub offload: bool,
    /// The probability with which a datagram is lost on purpose, at the sender.
    pub loss: f64,
    /// Seeds the losses among the loop's own datagrams.
    pub seed: u64,
}

/// The network of one process.
#[derive(Debug)]
pub struct Network<C: Codec> {
    shared: Arc<Shared<C>>,
    socket: mio::net::UdpSocket,
    poll: Poll,
    queue: Receiver<Queued<C::Endpoint>>,
    decoder: C::Decoder,
    fragmenter: Fragmenter,
    reassembler: Reassembler<C::Endpoint>,
    paths: LoopPaths<C::Endpoint>,
    sender: LoopSender<C>,
    /// What epoll tells of the socket; none if it tells of nothing.
    interest: Option<Interest>,
    intake: Intake,
    patience: Patience,
    began: Instant,
    messages: Vec<C::Incoming>,
}

impl<C: Codec> Network<C> {
    /// A network with this socket. [`Network::run`] is its loop.
    ///
    /// # Errors
    ///
    /// If the system gives no epoll or no second handle of the socket.
    ///
    /// # Panics
    ///
    /// If the configuration contradicts itself. The caller has checked it.
    pub fn new(socket: BoundSocket, config: NetworkConfig<C>) -> io::Result<Self> {
        let NetworkConfig { codec, peers, datagram_max, offload, loss, seed } = config;
        assert_eq!(peers.len(), codec.peers(), "one address for each peer");
        assert_datagram_max(datagram_max);
        let counters = Arc::new(Counters::new());
        let poll = Poll::new()?;
        let mut source = mio::net::UdpSocket::from_std(socket.socket.try_clone()?);
        poll.registry().register(&mut source, SOCKET, Interest::READABLE)?;
        let (to_loop, queue) = threads::bounded(QUEUE_MAX);
        let decoder = codec.decoder(counters.clone());
        let paths = LoopPaths::new(&peers, datagram_max);
        let prepare = if offload { Offload::new } else { Offload::none };
        let offload = prepare(&socket.socket, peers.len());
        let (life, bare_bytes) = (codec.life() as u32, codec.bare_bytes());
        let shared = Arc::new(Shared {
            local: socket.address,
            ipv6: socket.address.is_ipv6(),
            socket: socket.socket,
            offload,
            failing: peers.iter().map(|_| Mutex::default()).collect(),
            peers: Peers::new(peers),
            codec,
            datagram_max,
            paths: paths.shared(life, bare_bytes),
            began: threads::now(),
            loss,
            queue: to_loop,
            queued_bytes: AtomicUsize::new(0),
            wakeup: Wakeup::new(mio::Waker::new(poll.registry(), WAKER)?),
            muted: Arc::new(AtomicBool::new(false)),
            counters: counters.clone(),
        });
        Ok(Network {
            sender: LoopSender::new(shared.clone(), Gate::new(loss, seed)),
            began: shared.began,
            shared,
            socket: source,
            poll,
            queue,
            decoder,
            fragmenter: Fragmenter::new(counters.clone()),
            reassembler: Reassembler::new(counters),
            paths,
            interest: Some(Interest::READABLE),
            intake: Intake::default(),
            patience: Patience::default(),
            messages: Vec::new(),
        })
    }

    /// An outlet for one more thread. Its gate draws from `seed`.
    pub fn outlet(&self, seed: u64) -> Outlet<C> {
        Outlet::new(self.shared.clone(), seed)
    }

    /// How one more thread of the process waits.
    pub fn patience(&self) -> Patience {
        self.patience.of_another_thread()
    }

    /// A handle that ends the loop.
    pub fn stop_handle(&self) -> StopHandle<C> {
        StopHandle(self.shared.clone())
    }

    /// A handle that wakes the loop.
    pub fn waker(&self) -> LoopWaker<C> {
        LoopWaker(self.shared.clone())
    }

    /// The addresses of its peers.
    pub fn peer_book(&self) -> PeerBook<C> {
        PeerBook(self.shared.clone())
    }

    /// The room of its socket, if the kernel says.
    pub fn room(&self) -> Option<Room> {
        Room::of(&self.shared.socket).ok()
    }

    /// The counters of this process's network.
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// While this is set, only an outlet that is exempt sends (see
    /// [`Outlet::mute_others`]).
    pub fn muted(&self) -> Arc<AtomicBool> {
        self.shared.muted.clone()
    }

    /// Receives and sends until it is stopped.
    ///
    /// # Errors
    ///
    /// If the socket or epoll fails in a way that will not pass: the process must end.
    pub fn run(mut self, mut deliver: impl Deliver<C::Incoming>) -> io::Result<()> {
        let (mut events, mut pieces) =
            (Events::with_capacity(EVENTS_MAX), Pieces::new(RECEIVE_BYTES));
        while !self.shared.wakeup.is_stopped() {
            let Burst { taken, useless, drained, at } =
                self.receive(&mut pieces, &mut events, &mut deliver)?;
            let worked = deliver.turn(drained);
            self.sender.flush_backlog();
            self.sender.flush_queues(at);
            let sent = self.send_queued();
            self.ask_for_fragments();
            self.poll_paths(at);
            self.give_word(at);
            // Strangers keep no thread awake.
            if worked || taken + sent > useless {
                self.patience.found(at);
            }
            if drained && self.patience.polls_again(at) {
                deliver.found_nothing();
                threads::yield_now();
            } else if taken == 0 {
                // Only after a call that has found nothing does epoll report the next datagram.
                self.sleep(at, &mut events, &mut deliver)?;
            }
        }
        Ok(())
    }

    /// Takes a datagram that was opened.
    fn take(&mut self, now: u64, opened: Opened<'_, C::Endpoint>) {
        let Opened { from, boot, cluster, body, .. } = opened;
        match body {
            Body::Messages | Body::Nothing | Body::Handshake(_) => {}
            Body::Fragment(fragment) => {
                let joined = self.reassembler.insert(now, from, boot, cluster, fragment);
                if let Some(message) = joined {
                    // If it is not a message, the decoder has counted why.
                    let _ = self.decoder.open_joined(from, cluster, &message, &mut self.messages);
                }
            }
            Body::Missing(missing) => {
                let sender = &mut self.sender;
                let path = (from.peer(), self.shared.length(from));
                self.fragmenter.resend(now, path, &missing, |cluster, fragment| {
                    sender.fragment(from, cluster, fragment, LOST_PIECES);
                });
                sender.flush_fragments(from, LOST_PIECES);
            }
            Body::Probe(id) => self.sender.probe_answer(from, cluster, id),
            Body::ProbeAnswer(id) => self.paths.answered(now, &self.shared.paths, from, id),
        }
    }

    /// Sends what the threads left to the loop, and returns how many entries it took from the
    /// queue. While datagrams wait for the socket it takes none. Then the queue fills up, and
    /// what the threads leave to the loop is lost.
    fn send_queued(&mut self) -> usize {
        for taken in 0..BURST_QUEUED {
            if !self.sender.backlog.is_empty() {
                return taken;
            }
            let Ok(queued) = self.queue.try_recv() else { return taken };
            let Queued { to, kind, mut bytes, priority } = queued;
            self.shared.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            match kind {
                QueuedKind::Datagrams(size) => {
                    self.sender.transmit(to, &mut bytes, size, priority);
                }
                QueuedKind::Greeting => self.sender.greeting(to, &bytes),
                QueuedKind::Message(cluster) => {
                    let sender = &mut self.sender;
                    let length = self.shared.length(to);
                    let pieces = Priority { repeat: Repeat::UnlessArrived, ..priority };
                    self.fragmenter.split(length, cluster, bytes, |fragment| {
                        let is_first = fragment.index == 0;
                        sender.fragment(to, cluster, fragment, pieces);
                        if is_first {
                            sender.flush_fragments(to, priority);
                        }
                    });
                    if let Some(peer) = to.peer() {
                        self.fragmenter.note_sent(now(self.began), peer);
                    }
                    sender.flush_fragments(to, pieces);
                }
            }
        }
        BURST_QUEUED
    }

    fn ask_for_fragments(&mut self) {
        if self.reassembler.deadline().is_some() {
            let (sender, shared) = (&mut self.sender, &self.shared);
            let trip_us = |from: C::Endpoint| shared.round_trip_us(from);
            self.reassembler.poll(now(self.began), trip_us, |to, cluster, missing| {
                sender.missing(to, cluster, &missing);
            });
        }
    }

    /// Sleeps until there is something to do.
    fn sleep(
        &mut self,
        now: u64,
        events: &mut Events,
        deliver: &mut impl Deliver<C::Incoming>,
    ) -> io::Result<()> {
        deliver.sleeps();
        self.listen(!self.sender.backlog.is_empty())?;
        let deadlines = [
            self.intake.held_until,
            self.reassembler.deadline(),
            self.paths.deadline(),
            self.paths.word_deadline(),
            self.sender.deadline(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let timeout = deadline.map(|due| Duration::from_micros(due.saturating_sub(now)));
        let timeout = timeout.into_iter().chain(deliver.sleep_max()).min();
        let Network { shared, sender, queue, poll, .. } = self;
        let slept = shared.wakeup.sleep(
            || {
                deliver.has_input()
                    || shared.paths.has_news()
                    || sender.backlog.is_empty() && !queue.is_empty()
            },
            || threads::sleep(poll, events, timeout),
        );
        self.intake.hear(events);
        match slept {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Sets whether epoll also reports that the socket takes datagrams again. The loop wants
    /// that only while datagrams wait: otherwise each datagram that leaves the kernel would
    /// wake it. Of what arrives epoll reports nothing while the loop would not read it.
    fn listen(&mut self, writable: bool) -> io::Result<()> {
        let readable = !self.intake.is_held;
        let wanted = match (readable, writable) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        if wanted == self.interest {
            return Ok(());
        }
        let registry = self.poll.registry();
        match (self.interest, wanted) {
            (None, Some(wanted)) => registry.register(&mut self.socket, SOCKET, wanted)?,
            (Some(_), Some(wanted)) => registry.reregister(&mut self.socket, SOCKET, wanted)?,
            (_, None) => registry.deregister(&mut self.socket)?,
        }
        self.interest = wanted;
        Ok(())
    }
}

/// The loop's time, in microseconds since it began.
fn now(began: Instant) -> u64 {
    threads::now().duration_since(began).as_micros() as u64
}

#[cfg(test)]
mod tests;
