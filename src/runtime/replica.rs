//! One replica process: its threads, and how they work together.
//!
//! The main thread runs the bootstrap role: it warms the cluster up, watches for signals,
//! and tells the other threads which replicas are the cluster's members. The other threads
//! exist from the beginning and wait for that. Until then the network passes on nothing but
//! warm-up.
//!
//! **A clean end** (after a signal or the parent's death): the replica goes on for a moment, in
//! which those that end with it hear what is decided. Then each role thread finishes the
//! burst that it is in, closes its storage, so that all of it is on the disk, and says so.
//! Only then does the data directory note a clean end. The main thread waits for a bounded
//! time; if a role thread takes longer, no clean end is noted, and the end is no better
//! than a kill.

use super::durable::{Durable, StartError};
use super::full_socket::FullSocket;
use super::layout::Layout;
use super::names;
use super::on_loop::{OnLoop, Parts};
use super::part::Part;
use super::post::{Here, Inboxes, Links, Post, Router, Turn, channels};
use super::process::{Clock, LOOK, entropy};
use super::role_thread::{Flow, RoleThread};
use super::role_turn::RoleTurn;
use super::slow_disk::Watched;
use crate::config::{ClusterFile, Config};
use crate::marker::WARM_UP_COMPLETE;
use crate::message::{LostState, Party};
use crate::net;
use crate::net::frame::{ClusterCell, Identity};
use crate::net::{BoundSocket, Deliver, Incoming, Network};
use crate::paxos::acceptor::Acceptor;
use crate::paxos::bootstrap::Bootstrap;
use crate::paxos::learner::Learner;
use crate::paxos::proposer::Proposer;
use crate::paxos::{Limits, Membership, NoStorage, Role, Settings, Storage};
use crate::storage::Durability;
use crate::storage::decided_log::{DecidedLog, is_lost};
use crate::storage::memory::Volatile;
use crate::storage::upkeep::Upkeep;
use crate::types::{BootId, ReplicaId, Slot, Time};
use command_line::ending::{Ending, fail};
use durable::disk::Disk;
use interleavings::threads::{self, AtomicBool, Receiver, RecvTimeoutError, Sender, bounded};
use seeds::{derive_seed, stream};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many slots are applied between two checkpoints.
const CHECKPOINT_SLOTS: u64 = 16_384;

/// How long the role threads may take to close their storage. The driver waits longer than
/// this before it kills.
pub(super) const CLOSING_MAX: Duration = Duration::from_secs(4);

/// How long a replica goes on once it has to end. What is decided reaches the others within
/// this time, so that the chat logs of replicas that end together are equal.
const FAREWELL: Duration = Duration::from_millis(20);

/// The options of one replica.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// The replica's id: its line in the configuration.
    pub id: ReplicaId,
    /// The cluster.
    pub config: Config,
    /// The cluster file, for names that must be resolved again.
    pub names: Option<ClusterFile>,
    /// The directory of the chat log.
    pub log_dir: PathBuf,
    /// The directory of everything else that is durable.
    pub data_dir: PathBuf,
    /// The chat log with which a new cluster begins.
    pub begin_from: Option<PathBuf>,
    /// When a record counts as durable, so that messages that depend on it may leave.
    pub durability: Durability,
    /// On which threads the roles run.
    pub layout: Layout,
    /// The slot in which replica 0 proposes nothing at ballot 0.
    pub skip_slot: Option<Slot>,
    /// The probability with which each datagram is dropped at the sender.
    pub loss: f64,
    /// Seeds losses and timeouts.
    pub seed: u64,
    /// The longest datagram.
    pub datagram_bytes: usize,
    /// Whether the kernel may be given several datagrams in one call.
    pub offload: bool,
    /// The time between two heartbeats.
    pub heartbeat_us: u64,
    /// The shortest and the longest wait before a leader is suspected.
    pub election_us: (u64, u64),
    /// Fault injection: the process dies after this many bursts with accepts.
    pub crash_after_accepts: Option<u32>,
    /// Whether to end when the parent process does.
    pub die_with_parent: bool,
}

/// What all parts of one replica are built from.
struct Shared {
    settings: Settings,
    links: Links,
    here: Here,
    clock: Clock,
    seed: u64,
    crash_after_accepts: Option<u32>,
    /// Set once the process is about to end.
    stopping: Arc<AtomicBool>,
}

/// A thread on which roles run, as the main thread sees it.
struct Running {
    name: &'static str,
    /// Begins the roles. If this is dropped before, they never begin.
    start: Sender<Membership>,
    /// Receives once the storages of the roles are closed.
    closed: Receiver<()>,
}

/// The other ends of a [`Running`].
struct Ends {
    started: Receiver<Membership>,
    closing: Sender<()>,
}

fn running(name: &'static str) -> (Running, Ends) {
    let ((start, started), (closing, closed)) = (bounded(1), bounded(1));
    (Running { name, start, closed }, Ends { started, closing })
}

impl Shared {
    /// What a thread sends with, on which these roles are.
    fn post(&self, name: &str, network: &Network, here: Here) -> Post {
        let proposes = name == "proposer" || here != Here::Nobody;
        Post::new(
            self.settings.id,
            Router::new(self.links.clone(), network.counters(), here),
            network.outlet(derive_seed(self.seed, name)),
            self.crash_after_accepts.filter(|_| proposes),
        )
    }

    fn rng(&self, name: &str) -> fastrand::Rng {
        stream(self.seed, &format!("{name} draws"))
    }

    fn part<R: Role, S>(
        &self,
        name: &'static str,
        inbox: Receiver<Vec<R::Input>>,
        storage: S,
        build: impl FnOnce(Membership, Time, u64) -> R + Send + 'static,
        mend: impl FnMut(S, io::Error, &Membership) -> io::Result<(S, R)> + Send + 'static,
    ) -> Part<R, S> {
        let (clock, rng) = (self.clock, self.rng(name));
        Part { name, inbox, storage, clock, rng, build: Box::new(build), mend: Box::new(mend) }
    }

    /// Starts a thread that waits for the membership, runs a role until the process is
    /// about to end, and closes its storage.
    fn spawn<R, S>(&self, part: Part<R, S>, network: &Network) -> io::Result<Running>
    where
        R: Role + 'static,
        R::Input: Send + 'static,
        S: Storage<R::Record> + Upkeep + Send + 'static,
    {
        let name = part.name;
        let (running, Ends { started, closing }) = running(name);
        let mut post = self.post(name, network, Here::Nobody);
        let patience = network.patience();
        let (id, stopping) = (self.settings.id, Arc::clone(&self.stopping));
        let run = move || {
            let Ok(membership) = started.recv() else {
                return part.storage.close();
            };
            let (mut begun, mut patience) = (part.begin(id, membership)?, patience);
            loop {
                let mut thread = RoleThread {
                    turn: &mut begun.turn,
                    inbox: &begun.inbox,
                    patience: &mut patience,
                    sleep_max: None,
                };
                let ran = thread.run(
                    |envelopes| {
                        post.dispatch(envelopes);
                    },
                    |_| if stopping.load(Ordering::SeqCst) { Flow::Stop } else { Flow::Continue },
                );
                match ran {
                    Ok(()) => return begun.turn.storage.close(),
                    Err(error) => begun = begun.mended(error)?,
                }
            }
        };
        threads::spawn(name, move || {
            if let Err(error) = run() {
                fail(format!("replica {id}: {name}: {error}"));
            }
            let _ = closing.send(());
        })?;
        Ok(running)
    }

    /// Starts the threads on which the roles run, the network's among them.
    fn launch<A, L>(&self, parts: Parts<A, L>, network: Network) -> io::Result<Vec<Running>>
    where
        A: Storage<<Acceptor as Role>::Record> + Upkeep + Send + 'static,
        L: Storage<<Learner as Role>::Record> + Upkeep + Send + 'static,
    {
        let Parts { mut acceptor, proposer, learner } = parts;
        let mut all = Vec::new();
        if self.here != Here::AllThree {
            let part = acceptor.take().expect("every replica has one");
            all.push(self.spawn(part, &network)?);
        }
        if self.here == Here::Nobody {
            all.push(self.spawn(proposer, &network)?);
            all.push(self.spawn(learner, &network)?);
            let router = Router::new(self.links.clone(), network.counters(), Here::Nobody);
            self.run_network(network, router)?;
            return Ok(all);
        }
        let (running, Ends { started, closing }) = running("network");
        let (id, stopping) = (self.settings.id, Arc::clone(&self.stopping));
        let post = self.post("network", &network, self.here);
        let parts = Parts { acceptor, proposer, learner };
        self.run_network(network, OnLoop::new(id, post, parts, started, stopping, closing))?;
        all.push(running);
        Ok(all)
    }

    fn run_network(
        &self,
        network: Network,
        deliver: impl Deliver<Incoming> + Send + 'static,
    ) -> io::Result<()> {
        let id = self.settings.id;
        threads::spawn("network", move || {
            if let Err(error) = network.run(deliver) {
                fail(format!("replica {id}: network: {error}"));
            }
        })
    }
}

/// What a part does after an error of its storage, unless it knows better: it ends.
fn never<S, R>(_storage: S, error: io::Error, _membership: &Membership) -> io::Result<(S, R)> {
    Err(error)
}

/// After its chat log was cut, the learner goes on where the lines end that are left, as one
/// that has come back. The other roles do not notice more than that it is behind.
fn mended<D: Disk>(
    settings: Settings,
    log: DecidedLog<D>,
    error: io::Error,
    membership: &Membership,
) -> io::Result<(DecidedLog<D>, Learner)> {
    if !is_lost(&error) {
        return Err(error);
    }
    let (log, checkpoint) = log.reopen().map_err(|error| io::Error::other(error.to_string()))?;
    let membership = Membership { fresh: false, ..membership.clone() };
    Ok((log, Learner::new(settings, membership, checkpoint)))
}

/// Ends the role threads, each after the burst that it is in.
///
/// # Errors
///
/// The name of a thread whose storage is not closed in time.
fn end(
    threads: impl IntoIterator<Item = Running>,
    stopping: &AtomicBool,
    links: &Links,
) -> Result<(), &'static str> {
    stopping.store(true, Ordering::SeqCst);
    let (starts, closed): (Vec<_>, Vec<_>) =
        threads.into_iter().map(|Running { name, start, closed }| (start, (name, closed))).unzip();
    // A thread whose role has not begun ends when its start channel is gone.
    drop(starts);
    wait_for_all(&closed, || links.wake(), CLOSING_MAX)
}

/// Waits until all of these threads have closed their storage, and wakes them repeatedly
/// meanwhile.
fn wait_for_all(
    closed: &[(&'static str, Receiver<()>)],
    wake: impl Fn(),
    limit: Duration,
) -> Result<(), &'static str> {
    let end = threads::now() + limit;
    for (name, closed) in closed {
        loop {
            wake();
            match closed.recv_timeout(LOOK.min(end.saturating_duration_since(threads::now()))) {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) if threads::now() < end => {}
                Err(_) => return Err(name),
            }
        }
    }
    Ok(())
}

/// The seed of one replica's draws. Users give the same seed to all replicas of a cluster, or
/// none, and yet each replica must draw other losses and timeouts than its peers.
fn own_seed(seed: u64, id: ReplicaId) -> u64 {
    derive_seed(seed, &format!("replica {id}"))
}

/// Runs one replica until a signal ends it.
///
/// # Errors
///
/// When it cannot start. Then nothing is left running.
pub fn run(mut options: ReplicaOptions) -> Result<(), StartError> {
    let other = StartError::Other;
    options.seed = own_seed(options.seed, options.id);
    let ending = Ending::watch(options.die_with_parent).map_err(other)?;
    let (id, n) = (options.id, options.config.n());
    let addresses: Vec<_> = options.config.replicas.iter().map(|r| r.address).collect();
    let boot = BootId(entropy().map_err(other)?);
    let identity = Identity { n, me: Party::Replica(id), boot, cluster: ClusterCell::new() };
    // The port comes first: a second replica with the same id must not touch the chat log
    // of the first.
    let socket = BoundSocket::bind(addresses[id.index()]).map_err(other)?;
    let durable = Durable::open(&options)?;
    if options.loss >= 1.0 && n > 1 {
        log::warn!("replica {id}: --msg_loss 100 drops every datagram: nothing can be decided");
    }
    log::info!("replica {id}: listens on {}", socket.address());
    let network = Network::new(
        socket,
        net::NetworkConfig {
            codec: identity.clone(),
            peers: addresses,
            datagram_max: options.datagram_bytes,
            offload: options.offload,
            loss: options.loss,
            seed: derive_seed(options.seed, "network"),
        },
    )
    .map_err(other)?;
    let _names = match options.names.clone() {
        Some(file) => {
            let (ipv6, peers) = (options.config.is_ipv6(), network.peer_book());
            names::watch(file, Some(id.index()), ipv6, peers).map_err(other)?
        }
        None => None,
    };
    let settings = Settings {
        id,
        n,
        boot,
        payload_bytes: net::pack::payload_bytes(options.datagram_bytes),
        heartbeat_us: options.heartbeat_us,
        election_min_us: options.election_us.0,
        election_max_us: options.election_us.1,
        checkpoint_slots: CHECKPOINT_SLOTS,
        skip_slot: options.skip_slot,
        limits: Limits::DEFAULT,
    };
    start(&options, settings, identity.cluster, network, durable, &ending).map_err(other)
}

/// The same, on a network and durable state that are open.
pub(super) fn start<D>(
    options: &ReplicaOptions,
    settings: Settings,
    cluster: ClusterCell,
    network: Network,
    durable: Durable<D>,
    ending: &Ending,
) -> io::Result<()>
where
    D: Disk + Send + 'static,
    D::File: Send,
{
    let id = settings.id;
    let here = options.layout.on_loop(options.durability);
    let waker = (here != Here::Nobody).then(|| network.waker());
    let (links, Inboxes { acceptor, proposer, learner, bootstrap }) = channels(waker);
    let shared = Shared {
        settings,
        links,
        here,
        clock: Clock::start(),
        seed: options.seed,
        crash_after_accepts: options.crash_after_accepts,
        stopping: Arc::default(),
    };
    let Durable { dir, members, log, state, chat_log, checkpoint } = durable;
    let bootstrap_role = match members {
        Some(members) => Bootstrap::restart(settings, dir.directory(), members, &state),
        None => Bootstrap::new(settings, dir.directory(), shared.clock.now()),
    };
    let bootstrap_role = bootstrap_role
        .beginning_with(dir.origin())
        .listing(options.names.as_ref().map_or(0, ClusterFile::digest));
    let mut post = shared.post("replica", &network, Here::Nobody);
    let mut turn = RoleTurn::new(bootstrap_role, dir, shared.clock, shared.rng("replica"));
    let mut patience = network.patience();
    let (_nobody, nothing) = bounded::<()>(1);
    let counters = network.counters();
    let mut socket = FullSocket::new(id, network.room());
    let proposer = shared.part(
        "proposer",
        proposer,
        NoStorage,
        move |membership, now, draw| Proposer::new(settings, membership, now, draw),
        never,
    );
    let learner = shared.part(
        "learner",
        learner,
        chat_log,
        move |membership, _, _| Learner::new(settings, membership, checkpoint),
        move |log: DecidedLog<D>, error, membership| mended(settings, log, error, membership),
    );
    let build = move |membership, _, _| Acceptor::new(settings, membership, state);
    let threads = match log {
        Some(log) => {
            let folder = options.data_dir.display().to_string();
            let watched = Watched::new(log, shared.clock, settings, folder);
            let acceptor = shared.part("acceptor", acceptor, watched, build, never);
            shared.launch(Parts { acceptor: Some(acceptor), proposer, learner }, network)?
        }
        None => {
            let acceptor = shared.part("acceptor", acceptor, Volatile, build, never);
            shared.launch(Parts { acceptor: Some(acceptor), proposer, learner }, network)?
        }
    };
    let Shared { links, stopping, clock, .. } = shared;
    let mut thread = RoleThread {
        turn: &mut turn,
        inbox: &bootstrap,
        patience: &mut patience,
        sleep_max: Some(LOOK),
    };
    let mut lost = None;
    thread.run(
        |envelopes| {
            let membership = match post.dispatch(envelopes) {
                None => return,
                Some(Turn::Start(membership)) => membership,
                Some(Turn::LostState(said)) => {
                    stopping.store(true, Ordering::SeqCst);
                    links.wake();
                    lost = Some(said);
                    return;
                }
            };
            cluster.set(membership.cluster);
            if membership.is_voter(id) {
                log::info!("replica {id}: {WARM_UP_COMPLETE}");
            } else {
                log::error!(
                    "replica {id}: not a member of the running cluster, whose started record names \
                     another data directory: it counts as wiped, does not vote, and only \
                     follows (once no quorum of members is left: end all replicas, and begin a new \
                     cluster from one complete chat log by --begin_from)"
                );
            }
            for Running { start, .. } in &threads {
                // A thread that has ended has ended the process as well.
                let _ = start.send(membership.clone());
            }
            links.wake();
        },
        |role| {
            socket.look(clock.now());
            let is_over = ending.is_due() || role.has_said_all(clock.now());
            if is_over { Flow::Stop } else { Flow::Continue }
        },
    )?;
    if let Some(said) = lost {
        return Err(io::Error::other(in_words(id, options, said)));
    }
    // Peers that end at the same time hear what is decided here, and this replica hears them.
    let _ = nothing.recv_timeout(FAREWELL);
    match end(threads, &stopping, &links) {
        Ok(()) => turn.storage.end()?,
        Err(name) => log::warn!(
            "replica {id}: no clean end: its {name} thread has not written everything within {} s",
            CLOSING_MAX.as_secs()
        ),
    }
    log::info!("replica {id}: ends");
    log::debug!("replica {id}: {counters}");
    Ok(())
}

/// What the operator is told of a directory that has lost its state (S10).
fn in_words(id: ReplicaId, options: &ReplicaOptions, said: LostState) -> String {
    let LostState { by, known, begun } = said;
    format!(
        "replica {id}: {}: has lost its state: it held {begun} records when this process started, \
         and replica {by} knows of {known}. If an older copy was put back, put the newest files \
         back; if there are none, remove the directory, and the replica follows without a vote. \
         If this is a copy beside the original, stop it",
        options.data_dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn replicas_with_one_seed_draw_apart() {
        let draws = |seed, id| {
            let mut rng = stream(own_seed(seed, ReplicaId(id)), "draws");
            (0..1_000).map(|_| rng.f64()).collect::<Vec<f64>>()
        };
        assert_eq!(draws(591, 1), draws(591, 1));
        let correlation = |a: &[f64], b: &[f64]| {
            let product = |(a, b): (&f64, &f64)| (a - 0.5) * (b - 0.5);
            a.iter().zip(b).map(product).sum::<f64>() / a.len() as f64 * 12.0
        };
        for (a, b) in [((591, 0), (591, 1)), ((591, 1), (591, 2)), ((591, 0), (592, 0))] {
            let found = correlation(&draws(a.0, a.1), &draws(b.0, b.1));
            assert!(found.abs() < 0.15, "{a:?} and {b:?}: {found}");
        }
    }

    #[test]
    fn a_thread_that_does_not_close_in_time_is_named() {
        let (first, second) = (bounded(1), bounded::<()>(1));
        first.0.send(()).unwrap();
        let closed = [("first", first.1), ("second", second.1)];
        assert_eq!(wait_for_all(&closed, || {}, Duration::ZERO), Err("second"));
    }

    #[test]
    fn a_thread_that_misses_a_wake_up_is_woken_again() {
        let (closing, closed) = bounded(1);
        let calls = Cell::new(0);
        let wake = || {
            calls.set(calls.get() + 1);
            if calls.get() == 3 {
                closing.send(()).unwrap();
            }
        };
        assert_eq!(wait_for_all(&[("deaf", closed)], wake, CLOSING_MAX), Ok(()));
        assert_eq!(calls.get(), 3);
    }
}
