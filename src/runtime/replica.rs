//! One replica process: its threads, and how they are joined.
//!
//! The main thread is the replica role's: it warms the cluster up, looks after
//! signals, and tells the other threads whom the cluster consists of. They exist
//! from the beginning and wait for that; until then the network passes on nothing
//! but warm-up.
//!
//! **A clean end** (a signal, the parent's death): the role threads finish the burst
//! that they are in, close their storage, so that all of it is on the disk, and say
//! so; only then does the data directory note that it was left cleanly. Who takes too
//! long is not waited for, and the end is not noted: it is then no better than a kill.

use super::durable::{Durable, StartError};
use super::post::{Inboxes, Links, Post, Router, channels};
use super::process::{Clock, Ending, LOOK, entropy, fail};
use super::role_thread::{Flow, RoleThread};
use crate::config::Config;
use crate::marker::WARM_UP_COMPLETE;
use crate::message::Party;
use crate::net;
use crate::net::frame::{ClusterCell, Identity};
use crate::net::{BoundSocket, Network};
use crate::paxos::acceptor::Acceptor;
use crate::paxos::bootstrap::Bootstrap;
use crate::paxos::learner::Learner;
use crate::paxos::proposer::Proposer;
use crate::paxos::{Membership, NoStorage, Role, Settings, Storage};
use crate::seed::derive_seed;
use crate::storage::Durability;
use crate::storage::memory::Volatile;
use crate::storage::upkeep::Upkeep;
use crate::types::{BootId, ReplicaId, Slot};
use durable::disk::Disk;
use interleavings::threads::{self, AtomicBool, Receiver, RecvTimeoutError, Sender, bounded};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many slots are applied between two checkpoints.
const CHECKPOINT_SLOTS: u64 = 16_384;

/// How long the role threads may take to close their storage. Less than the driver
/// waits before it kills.
pub(super) const CLOSING_MAX: Duration = Duration::from_secs(4);

/// What a user may say about one replica.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// Which line of the configuration this is.
    pub id: ReplicaId,
    /// The cluster.
    pub config: Config,
    /// Where the chat log goes.
    pub log_dir: PathBuf,
    /// Where everything else durable goes.
    pub data_dir: PathBuf,
    /// What is waited for before anything is acknowledged.
    pub durability: Durability,
    /// The slot that replica 0 leaves out under ballot 0.
    pub skip_slot: Option<Slot>,
    /// The probability with which each datagram is dropped at the sender.
    pub loss: f64,
    /// Seeds losses and timeouts.
    pub seed: u64,
    /// The longest datagram.
    pub datagram_bytes: usize,
    /// Between two heartbeats.
    pub heartbeat_us: u64,
    /// The shortest and the longest wait before a leader is suspected.
    pub election_us: (u64, u64),
    /// Die after so many accepts have left.
    pub crash_after_accepts: Option<u32>,
    /// End when the parent process does.
    pub die_with_parent: bool,
}

/// What every role thread of one replica is built with.
struct Shared<'a> {
    settings: Settings,
    links: Links,
    network: &'a Network,
    clock: Clock,
    seed: u64,
    crash_after_accepts: Option<u32>,
    /// Set once the process is about to end.
    stopping: Arc<AtomicBool>,
}

/// A role's thread, as the main thread sees it.
struct Running {
    name: &'static str,
    /// Begins the role. Dropped before that, there is nothing to run.
    start: Sender<Membership>,
    /// Hears once the role's storage is closed.
    closed: Receiver<()>,
}

impl Shared<'_> {
    fn post(&self, name: &str) -> Post {
        Post::new(
            self.settings.id,
            Router::new(self.links.clone(), self.network.counters()),
            self.network.outlet(derive_seed(self.seed, name)),
            self.crash_after_accepts.filter(|_| name == "proposer"),
        )
    }

    fn rng(&self, name: &str) -> fastrand::Rng {
        fastrand::Rng::with_seed(derive_seed(self.seed, &format!("{name} draws")))
    }

    /// Starts a thread that waits for the membership, runs a role until the process is
    /// about to end, and closes its storage.
    fn spawn<R, S>(
        &self,
        name: &'static str,
        inbox: Receiver<Vec<R::Input>>,
        storage: S,
        build: impl FnOnce(Membership, Clock, u64) -> R + Send + 'static,
    ) -> io::Result<Running>
    where
        R: Role,
        R::Input: Send + 'static,
        S: Storage<R::Record> + Upkeep + Send + 'static,
    {
        let (start, started) = bounded::<Membership>(1);
        let (closing, closed) = bounded(1);
        let (mut post, mut rng, clock) = (self.post(name), self.rng(name), self.clock);
        let (id, stopping) = (self.settings.id, Arc::clone(&self.stopping));
        let run = move || {
            // A role that never begins may still have inherited what is not on the disk.
            let Ok(membership) = started.recv() else {
                return storage.close();
            };
            let role = build(membership, clock, rng.u64(..));
            let mut thread = RoleThread { role, storage, inbox, clock, rng, sleep_max: None };
            thread.run(
                |envelopes| {
                    post.dispatch(envelopes);
                },
                |_| if stopping.load(Ordering::SeqCst) { Flow::Stop } else { Flow::Continue },
            )?;
            thread.storage.close()
        };
        threads::spawn(name, move || {
            if let Err(error) = run() {
                fail(format!("replica {id}: {name}: {error}"));
            }
            let _ = closing.send(());
        })?;
        Ok(Running { name, start, closed })
    }
}

/// Ends the role threads, each after the burst that it is in.
///
/// # Errors
///
/// The name of one whose storage is not closed in time.
fn end(
    threads: impl IntoIterator<Item = Running>,
    stopping: &AtomicBool,
    links: &Links,
) -> Result<(), &'static str> {
    stopping.store(true, Ordering::SeqCst);
    let (starts, closed): (Vec<_>, Vec<_>) =
        threads.into_iter().map(|Running { name, start, closed }| (start, (name, closed))).unzip();
    // Those that have not begun end when nobody can begin them.
    drop(starts);
    wait_for_all(&closed, || links.wake(), CLOSING_MAX)
}

/// Waits until all of these have spoken, and wakes them again and again meanwhile.
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

/// Runs one replica until a signal ends it.
///
/// # Errors
///
/// When it cannot start: nothing is left running then.
pub fn run(options: ReplicaOptions) -> Result<(), StartError> {
    let other = StartError::Other;
    let ending = Ending::watch(options.die_with_parent).map_err(other)?;
    let (id, n) = (options.id, options.config.n());
    let addresses: Vec<_> = options.config.replicas.iter().map(|r| r.address).collect();
    let boot = BootId(entropy().map_err(other)?);
    let identity = Identity { n, me: Party::Replica(id), boot, cluster: ClusterCell::new() };
    // The port first: a second replica under the same id must not touch the first
    // one's chat log.
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
            loss: options.loss,
            seed: derive_seed(options.seed, "network"),
        },
    )
    .map_err(other)?;
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
    };
    start(&options, settings, identity.cluster, network, durable, &ending).map_err(other)
}

/// The same, with everything opened that it needs.
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
    let (links, Inboxes { acceptor, proposer, learner, bootstrap }) = channels();
    let shared = Shared {
        settings,
        links,
        network: &network,
        clock: Clock::start(),
        seed: options.seed,
        crash_after_accepts: options.crash_after_accepts,
        stopping: Arc::default(),
    };
    let Durable { dir, members, log, state, chat_log, checkpoint } = durable;
    let build = move |membership, _, _| Acceptor::new(settings, membership, state);
    let acceptor = match log {
        Some(log) => shared.spawn("acceptor", acceptor, log, build)?,
        None => shared.spawn("acceptor", acceptor, Volatile, build)?,
    };
    let threads = [
        acceptor,
        shared.spawn("proposer", proposer, NoStorage, move |membership, clock, draw| {
            Proposer::new(settings, membership, clock.now(), draw)
        })?,
        shared.spawn("learner", learner, chat_log, move |membership, _, _| {
            Learner::new(settings, membership, checkpoint)
        })?,
    ];
    let mut post = shared.post("replica");
    let mut thread = RoleThread {
        role: match members {
            Some(members) => Bootstrap::restart(settings, dir.directory(), members),
            None => Bootstrap::new(settings, dir.directory(), shared.clock.now()),
        },
        storage: dir,
        inbox: bootstrap,
        clock: shared.clock,
        rng: shared.rng("replica"),
        sleep_max: Some(LOOK),
    };
    let counters = network.counters();
    let Shared { links, stopping, .. } = shared;
    let router = Router::new(links.clone(), network.counters());
    threads::spawn("network", move || {
        if let Err(error) = network.run(router) {
            fail(format!("replica {id}: network: {error}"));
        }
    })?;
    thread.run(
        |envelopes| {
            let Some(membership) = post.dispatch(envelopes) else { return };
            cluster.set(membership.cluster);
            if membership.is_voter(id) {
                log::info!("replica {id}: {WARM_UP_COMPLETE}");
            } else {
                log::error!(
                    "replica {id}: the cluster started without the state that this replica has: it \
                     counts as wiped, does not vote, and only follows (a new cluster makes it a \
                     member again)"
                );
            }
            for Running { start, .. } in &threads {
                // A thread that is gone has ended the process already.
                let _ = start.send(membership.clone());
            }
        },
        |_| if ending.is_due() { Flow::Stop } else { Flow::Continue },
    )?;
    match end(threads, &stopping, &links) {
        Ok(()) => thread.storage.end()?,
        Err(name) => log::warn!(
            "replica {id}: ends although its {name} thread has not written everything within {} s: \
             no clean end",
            CLOSING_MAX.as_secs()
        ),
    }
    log::info!("replica {id}: ends");
    log::debug!("replica {id}: {counters}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn who_does_not_come_back_is_named_and_not_waited_for() {
        let (first, second) = (bounded(1), bounded::<()>(1));
        first.0.send(()).unwrap();
        let closed = [("first", first.1), ("second", second.1)];
        assert_eq!(wait_for_all(&closed, || {}, Duration::ZERO), Err("second"));
    }

    #[test]
    fn one_who_misses_a_call_is_called_again() {
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
