//! One replica process: its threads, and how they work together.
//!
//! The main thread runs the bootstrap role: it warms the cluster up, watches for signals,
//! and tells the other threads which replicas are the cluster's members. The other threads
//! exist from the beginning and wait for that. Until then the network passes on nothing but
//! warm-up.
//!
//! **A clean end** (after a signal or the parent's death): a leader hands over first
//! (`departure`), and the replica goes on for a moment, in which those that end with it hear what is decided. Then each role thread finishes the
//! burst that it is in, closes its storage, so that all of it is on the disk, and says so.
//! Only then does the data directory note a clean end. The main thread waits for a bounded
//! time; if a role thread takes longer, no clean end is noted, and the end is no better
//! than a kill.

use super::departure::Departure;
use super::durable::{Durable, StartError, chat_log_name};
use super::full_socket::FullSocket;
use super::launch::{CLOSING_MAX, Launcher, Running, end, never};
use super::layout::Layout;
use super::metrics::{self, Metrics, Readers};
use super::names;
use super::on_loop::Parts;
use super::post::{Here, Inboxes, Router, ToMain, Turn, aim_at, channels};
use super::process::{Clock, LOOK, entropy};
use super::role_thread::{Flow, RoleThread};
use super::role_turn::RoleTurn;
use super::scrape;
use super::slow_disk::Watched;
use super::supervisor::Supervisor;
use super::told;
use super::trace::begin::{Accepting, Beginning, Bootstrapping, Learning};
use super::trace::block::Stream;
use super::trace::{Beginner, FILE_BYTES_MAX, Trace, Tracer, Who};
use super::usage::{self, Files};
use crate::config::{ClusterFile, Config, UNKNOWN};
use crate::machine::Host;
use crate::marker::WARM_UP_COMPLETE;
use crate::members::Configuration;
use crate::message::{LostState, Party, VoteAim};
use crate::net;
use crate::net::frame::{ClusterCell, Guard, Identity};
use crate::net::guard::key::Keys;
use crate::net::{BoundSocket, Network};
use crate::paxos::acceptor::Acceptor;
use crate::paxos::bootstrap::Bootstrap;
use crate::paxos::learner::Learner;
use crate::paxos::proposer::Proposer;
use crate::paxos::{Limits, Membership, NoStorage, Settings, rows};
use crate::storage::Durability;
use crate::storage::decided_log::DecidedLog;
use crate::storage::memory::Volatile;
use crate::types::{BootId, ReplicaId, Slot};
use command_line::ending::Ending;
use durable::disk::Disk;
use interleavings::threads::bounded;
use seeds::derive_seed;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many slots are applied between two checkpoints.
const CHECKPOINT_SLOTS: u64 = 16_384;

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
    /// The keys of the cluster, if it has any.
    pub keys: Option<Keys>,
    /// What commands change.
    pub host: Host,
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
    /// Whether a fresh directory is to take the place of one that this replica has lost.
    pub rejoin: bool,
    /// Whether this replica is never to vote.
    pub observer: bool,
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
    /// The file for metrics, if there is to be one.
    pub metrics_file: Option<PathBuf>,
    /// Where metrics are served, if they are.
    pub metrics_address: Option<SocketAddr>,
    /// The file for a trace, if there is to be one.
    pub trace: Option<PathBuf>,
    /// Fault injection: the process dies after this many bursts with accepts.
    pub crash_after_accepts: Option<u32>,
    /// Whether to tell `$NOTIFY_SOCKET` how the replica is: this process is a unit of its own.
    pub tells_supervisor: bool,
    /// Whether to end when the parent process does.
    pub die_with_parent: bool,
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
pub fn run(options: ReplicaOptions) -> Result<(), StartError> {
    let ending = Ending::watch(options.die_with_parent).map_err(StartError::Other)?;
    run_until(options, &ending, || {})
}

/// Runs one replica until `ending` is due. Calls `opened` once nothing can fail any more that makes
/// a start fail.
///
/// # Errors
///
/// When it cannot start. Then nothing is left running.
pub(crate) fn run_until(
    mut options: ReplicaOptions,
    ending: &Ending,
    opened: impl FnOnce(),
) -> Result<(), StartError> {
    let other = StartError::Other;
    options.seed = own_seed(options.seed, options.id);
    let (id, n) = (options.id, options.config.n());
    let mut addresses: Vec<_> = options.config.replicas.iter().map(|r| r.address).collect();
    addresses.resize(rows(n), UNKNOWN);
    let boot = BootId(entropy().map_err(other)?);
    let (me, cluster) = (Party::Replica(id), ClusterCell::new());
    let guard = Guard::of(options.keys.as_ref(), rows(n));
    let identity = Identity { n, rows: rows(n), me, boot, cluster, guard };
    // The port comes first: a second replica with the same id must not touch the chat log
    // of the first.
    let socket = BoundSocket::bind(addresses[id.index()]).map_err(other)?;
    if let Some(file) = &options.metrics_file {
        metrics::begin(file).map_err(StartError::MetricsFile)?;
    }
    let page = options.metrics_address.map(scrape::serve).transpose().map_err(other)?;
    let readers = Readers { file: options.metrics_file.clone(), page };
    let clock = Clock::start();
    let tracer = begin_trace(&options, boot, clock).map_err(StartError::TraceFile)?;
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
        places: options.config.places(),
        boot,
        payload_bytes: net::pack::payload_bytes(options.datagram_bytes),
        heartbeat_us: options.heartbeat_us,
        election_min_us: options.election_us.0,
        election_max_us: options.election_us.1,
        checkpoint_slots: CHECKPOINT_SLOTS,
        skip_slot: options.skip_slot,
        limits: Limits::DEFAULT,
    };
    let process = Process { cluster: identity.cluster, network, clock, tracer, readers };
    opened();
    start(&options, settings, process, durable, ending).map_err(other)
}

fn begin_trace(options: &ReplicaOptions, boot: BootId, clock: Clock) -> io::Result<Option<Tracer>> {
    let Some(file) = options.trace.clone() else { return Ok(None) };
    let (who, n) = (Who::Replica(options.id), options.config.n());
    let beginner = Beginner { file, file_bytes_max: FILE_BYTES_MAX, who, n, boot, clock };
    let tracer = beginner.begin()?;
    tracer.write_on_panic();
    Ok(Some(tracer))
}

/// What a process has, beside its durable state.
pub(super) struct Process {
    /// Its cluster, once it is known.
    pub(super) cluster: ClusterCell,
    /// Its socket.
    pub(super) network: Network,
    /// Its time.
    pub(super) clock: Clock,
    /// Its trace, if somebody wants one.
    pub(super) tracer: Option<Tracer>,
    /// Who reads its metrics.
    pub(super) readers: Readers,
}

/// The same, on a network and durable state that are open.
pub(super) fn start<D>(
    options: &ReplicaOptions,
    settings: Settings,
    process: Process,
    durable: Durable<D>,
    ending: &Ending,
) -> io::Result<()>
where
    D: Disk + Send + 'static,
    D::File: Send,
{
    let id = settings.id;
    let Process { cluster, network, clock, tracer, readers } = process;
    let here = options.layout.on_loop(options.durability);
    let waker = (here != Here::Nobody).then(|| network.waker());
    let (links, Inboxes { acceptor, proposer, learner, bootstrap }) = channels(waker);
    let files = Files {
        chat_log: options.log_dir.join(chat_log_name(id)),
        data_dir: options.data_dir.clone(),
    };
    let (usage, mut desk) =
        usage::desk(files.clone(), &network, derive_seed(options.seed, "usage"));
    let (status, answers) = bounded(1);
    let ((may_end, told), (supervised, says)) = (bounded(1), bounded(1));
    let router = || Router::new(links.clone(), network.counters(), Here::Nobody);
    let mut departure = Departure::new(id, settings.n, router(), told);
    let aim = match (options.rejoin, options.observer) {
        (_, true) => VoteAim::Never,
        (true, false) => VoteAim::OfLostDisk,
        (false, false) => VoteAim::IfAdded,
    };
    let mut asking = (aim != VoteAim::IfAdded).then(router);
    let is_supervised = options.tells_supervisor;
    let mut supervisor = is_supervised.then(|| Supervisor::of(id, router(), says)).flatten();
    let mut metrics = readers.any().then(|| {
        let router = Router::new(links.clone(), network.counters(), Here::Nobody);
        Metrics::new(id, readers, files, network.counters(), router, answers)
    });
    let (stop, (open, closed)) = (network.stop_handle(), bounded::<()>(1));
    let launcher = Launcher {
        open,
        usage,
        main: ToMain { status, supervised, may_end },
        settings,
        links,
        here,
        clock,
        seed: options.seed,
        crash_after_accepts: options.crash_after_accepts,
        stopping: Arc::default(),
        tracer,
    };
    let Durable { dir, members, log, state, chat_log, checkpoint } = durable;
    // M1: the log may have made this directory a member, or one no more.
    let changed = checkpoint.chat.configuration().cloned();
    let list = options.names.as_ref().map_or(0, ClusterFile::digest);
    let (directory, origin, now) = (dir.directory(), dir.origin(), clock.now());
    let trace = launcher.trace(Stream::Bootstrap);
    trace.begin(now, 0, || {
        let (members, state) = (members.clone(), Accepting::without_values(&state));
        let of = Bootstrapping { directory, members, state, origin, list };
        Beginning::Bootstrap(settings, of)
    });
    let bootstrap_role = match members {
        Some(members) => Bootstrap::restart(settings, directory, members, &state),
        None => Bootstrap::new(settings, directory, now),
    };
    let bootstrap_role = bootstrap_role.beginning_with(origin).listing(list);
    let mut post = launcher.post("replica", &network, Here::Nobody);
    let mut turn = RoleTurn::new(bootstrap_role, dir, clock, launcher.rng("replica"), trace)
        .telling(id, told::started);
    let mut patience = network.patience();
    let (_nobody, nothing) = bounded::<()>(1);
    let counters = network.counters();
    let mut socket = FullSocket::new(id, network.room());
    let proposer = launcher.part(
        Stream::Proposer,
        proposer,
        NoStorage,
        told::none,
        move |membership, now, draw, trace| {
            trace.begin(now, draw, || Beginning::Proposer(settings, membership.clone()));
            Proposer::new(settings, membership, now, draw)
        },
        never,
    );
    let learner = launcher.part(
        Stream::Learner,
        learner,
        chat_log,
        told::learned,
        move |membership, now, draw, trace| {
            let of = || Learning::of(&checkpoint, Slot::ZERO);
            trace.begin(now, draw, || Beginning::Learner(settings, membership.clone(), of()));
            Learner::new(settings, membership, checkpoint)
        },
        move |log: DecidedLog<D>, error, membership, trace| {
            let (log, checkpoint, once) = log.after(error)?;
            let membership = Membership { fresh: false, ..membership.clone() };
            let of = || Learning::of(&checkpoint, once);
            trace.begin(clock.now(), 0, || Beginning::Learner(settings, membership.clone(), of()));
            Ok((log, Learner::new(settings, membership, checkpoint).once_at(once)))
        },
    );
    let build = move |membership: Membership, now, draw, trace: &Trace| {
        let of = || Accepting::of(&state);
        trace.begin(now, draw, || Beginning::Acceptor(settings, membership.clone(), of()));
        Acceptor::new(settings, membership, state)
    };
    let threads = match log {
        Some(log) => {
            let folder = options.data_dir.display().to_string();
            let watched = Watched::new(log, launcher.clock, settings, folder);
            let acceptor =
                launcher.part(Stream::Acceptor, acceptor, watched, told::saved, build, never);
            launcher.launch(Parts { acceptor: Some(acceptor), proposer, learner }, network)?
        }
        None => {
            let acceptor =
                launcher.part(Stream::Acceptor, acceptor, Volatile, told::saved, build, never);
            launcher.launch(Parts { acceptor: Some(acceptor), proposer, learner }, network)?
        }
    };
    let Launcher { links, stopping, tracer, open, .. } = launcher;
    drop(open);
    let mut thread = RoleThread {
        turn: &mut turn,
        inbox: &bootstrap,
        patience: &mut patience,
        sleep_max: Some(LOOK),
    };
    let (mut lost, has_begun) = (None, Cell::new(false));
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
            has_begun.set(true);
            let is_named = |now: &Configuration| now.is_member(id, membership.voter.directory);
            let votes = changed.as_ref().map_or(membership.is_voter(id), is_named);
            if votes {
                if options.observer {
                    log::warn!(
                        "replica {id}: has a vote, in spite of --observer: client --admin remove \
                         {id} takes it away"
                    );
                }
                log::info!("replica {id}: {WARM_UP_COMPLETE}");
            } else if options.observer {
                log::info!("replica {id}: follows, and never votes (--observer)");
            } else if changed.is_none() && id.index() >= settings.n {
                log::info!(
                    "replica {id}: follows without a vote, as the cluster file says (client \
                     --admin adds it)"
                );
            } else if let Some(changed) = &changed {
                log::info!(
                    "replica {id}: follows without a vote: the log has made {changed}, and not this \
                     data directory (client --admin adds it)"
                );
            } else if options.rejoin {
                log::warn!(
                    "replica {id}: follows on a fresh data directory, and asks for the vote of the \
                     lost one when it has caught up"
                );
            } else {
                log::error!(
                    "replica {id}: not a member of the running cluster, whose started record names \
                     another data directory: it counts as wiped, does not vote, and only \
                     follows: --rejoin, or client --admin replace, gives it the vote of the lost \
                     one (once no quorum of members is left: end all replicas, and begin a new \
                     cluster from one complete chat log by --begin_from)"
                );
            }
            for Running { start, .. } in &threads {
                // A thread that has ended has ended the process as well.
                let _ = start.send(membership.clone());
            }
            if let Some(router) = asking.as_mut().filter(|_| !votes) {
                aim_at(router, aim);
            }
            links.wake();
        },
        |role| {
            socket.look(clock.now());
            desk.answer();
            let has_begun = has_begun.get();
            metrics.iter_mut().for_each(|metrics| metrics.look(clock.now(), has_begun));
            if let Some(supervisor) = &mut supervisor {
                supervisor.look(clock.now(), has_begun);
                if ending.is_due() {
                    supervisor.stops(clock.now());
                }
            }
            let mut may_end = || !has_begun || departure.is_over(clock.now());
            let is_over = role.has_said_all(clock.now()) || ending.is_due() && may_end();
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
    // Whoever starts this replica again in this process finds its port free.
    stop.stop();
    let _ = closed.recv_timeout(LOOK);
    metrics.into_iter().for_each(Metrics::end);
    tracer.into_iter().for_each(Tracer::end);
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
    use seeds::stream;

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
}
