//! One replica process: its threads, and how they are joined.
//!
//! The main thread is the replica role's: it warms the cluster up, looks after
//! signals, and tells the other threads whom the cluster consists of. They exist
//! from the beginning and wait for that; until then the network passes on nothing
//! but warm-up.

use super::durable::{Durable, StartError};
use super::post::{Inboxes, Links, Post, Router, channels};
use super::process::{Clock, Ending, LOOK, entropy, fail};
use super::role_thread::{Flow, RoleThread};
use crate::config::Config;
use crate::message::Party;
use crate::net;
use crate::net::frame::{ClusterCell, Identity};
use crate::net::udp::{BoundSocket, Network};
use crate::paxos::acceptor::Acceptor;
use crate::paxos::learner::Learner;
use crate::paxos::planted::Planted;
use crate::paxos::proposer::Proposer;
use crate::paxos::replica::Replica;
use crate::paxos::{Membership, NoStorage, Role, Settings, Storage};
use crate::seed::derive_seed;
use crate::storage::Durability;
use crate::storage::memory::Volatile;
use crate::types::{BootId, ReplicaId, Slot};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::path::PathBuf;
use std::thread;

/// How many slots are applied between two checkpoints.
const CHECKPOINT_SLOTS: u64 = 4_096;

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
}

impl Shared<'_> {
    fn post(&self, name: &str) -> Post {
        Post {
            me: self.settings.id,
            router: Router::new(self.links.clone(), self.network.counters()),
            outlet: self.network.outlet(derive_seed(self.seed, name)),
            crash_after_accepts: self.crash_after_accepts.filter(|_| name == "proposer"),
        }
    }

    fn rng(&self, name: &str) -> fastrand::Rng {
        fastrand::Rng::with_seed(derive_seed(self.seed, &format!("{name} draws")))
    }

    /// Starts a thread that waits for the membership and then runs a role on it.
    fn spawn<R, S>(
        &self,
        name: &'static str,
        inbox: Receiver<Vec<R::Input>>,
        build: impl FnOnce(Membership, Clock, u64) -> (R, S) + Send + 'static,
    ) -> io::Result<Sender<Membership>>
    where
        R: Role,
        R::Input: Send + 'static,
        S: Storage<R::Record>,
    {
        let (start, started) = bounded::<Membership>(1);
        let (mut post, mut rng, clock) = (self.post(name), self.rng(name), self.clock);
        let id = self.settings.id;
        thread::Builder::new().name(name.into()).spawn(move || {
            let Ok(membership) = started.recv() else { return };
            let (role, storage) = build(membership, clock, rng.u64(..));
            let mut thread = RoleThread { role, storage, inbox, clock, rng, sleep_max: None };
            let run = thread.run(
                |envelopes| {
                    post.dispatch(envelopes);
                },
                |_| Flow::Continue,
            );
            if let Err(error) = run {
                fail(format!("replica {id}: {name}: {error}"));
            }
        })?;
        Ok(start)
    }
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
        net::udp::Settings {
            identity: identity.clone(),
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
        planted: Planted::NONE,
    };
    start(&options, settings, identity.cluster, network, durable, &ending).map_err(other)
}

fn start(
    options: &ReplicaOptions,
    settings: Settings,
    cluster: ClusterCell,
    network: Network,
    durable: Durable,
    ending: &Ending,
) -> io::Result<()> {
    let id = settings.id;
    let (links, Inboxes { acceptor, proposer, learner, replica }) = channels();
    let shared = Shared {
        settings,
        links,
        network: &network,
        clock: Clock::start(),
        seed: options.seed,
        crash_after_accepts: options.crash_after_accepts,
    };
    let Durable { dir, members, log, state, chat_log, checkpoint } = durable;
    let to_acceptor = match log {
        Some(log) => shared.spawn("acceptor", acceptor, move |membership, _, _| {
            (Acceptor::new(settings, membership, state), log)
        })?,
        None => shared.spawn("acceptor", acceptor, move |membership, _, _| {
            (Acceptor::new(settings, membership, state), Volatile)
        })?,
    };
    let starts = [
        to_acceptor,
        shared.spawn("proposer", proposer, move |membership, clock, draw| {
            (Proposer::new(settings, membership, clock.now(), draw), NoStorage)
        })?,
        shared.spawn("learner", learner, move |membership, _, _| {
            (Learner::new(settings, membership, checkpoint), chat_log)
        })?,
    ];
    let mut post = shared.post("replica");
    let mut thread = RoleThread {
        role: match members {
            Some(members) => Replica::restart(settings, dir.directory(), members),
            None => Replica::new(settings, dir.directory(), shared.clock.now()),
        },
        storage: dir,
        inbox: replica,
        clock: shared.clock,
        rng: shared.rng("replica"),
        sleep_max: Some(LOOK),
    };
    let counters = network.counters();
    let router = Router::new(shared.links.clone(), network.counters());
    thread::Builder::new().name("network".into()).spawn(move || {
        if let Err(error) = network.run(router) {
            fail(format!("replica {id}: network: {error}"));
        }
    })?;
    thread.run(
        |envelopes| {
            let Some(membership) = post.dispatch(envelopes) else { return };
            cluster.set(membership.cluster);
            if membership.is_voter(id) {
                log::info!("replica {id}: warm-up complete");
            } else {
                log::error!(
                    "replica {id}: the cluster started without this replica's present state: it \
                     counts as wiped and does not vote, it only follows (to make it a member \
                     again, restart the whole cluster)"
                );
            }
            for start in &starts {
                // A thread that is gone has ended the process already.
                let _ = start.send(membership.clone());
            }
        },
        |_| if ending.is_due() { Flow::Stop } else { Flow::Continue },
    )?;
    log::info!("replica {id}: ends");
    log::debug!("replica {id}: {counters}");
    Ok(())
}
