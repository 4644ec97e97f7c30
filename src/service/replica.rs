//! A replica on threads of this process.

use super::{Error, cluster_of};
use crate::machine::{BadSnapshot, Host, RESPONSE_BYTES_MAX, Response, StateMachine};
use crate::net::DATAGRAM_BYTES_DEFAULT;
use crate::runtime::durable::StartError;
use crate::runtime::layout::Layout;
use crate::runtime::replica::{ReplicaOptions, run_until};
use crate::runtime::trust::Trust;
use crate::storage::Durability;
use crate::types::ReplicaId;
use command_line::ending::{Ending, fail};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

/// Which replica of which cluster, and where it keeps its files.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReplicaConfig {
    /// Its number among the addresses, from 0.
    pub id: usize,
    /// The addresses of all replicas, an odd number of them. The same at every replica.
    pub cluster: Vec<SocketAddr>,
    /// The directory of its files: the log as people read it, `learner<id>.txt`, and a folder for
    /// everything else. Replicas of one host may share it.
    pub dir: PathBuf,
    /// When a command counts as stored. See [`Durability`].
    pub durability: Durability,
    /// On which threads its roles run.
    pub layout: Layout,
    /// Whom it believes. Without a key all addresses must be loopback addresses.
    pub trust: Trust,
}

impl ReplicaConfig {
    /// A replica that waits for the disk, with a thread for each role.
    pub fn new(id: usize, cluster: &[SocketAddr], dir: impl Into<PathBuf>) -> ReplicaConfig {
        let (cluster, dir) = (cluster.to_vec(), dir.into());
        let (durability, layout) = (Durability::Sync, Layout::PerRole);
        ReplicaConfig { id, cluster, dir, durability, layout, trust: Trust::Loopback }
    }

    fn options(self, host: Host) -> Result<ReplicaOptions, Error> {
        let ReplicaConfig { id, cluster, dir, durability, layout, trust } = self;
        let config = cluster_of(&cluster)?;
        if id >= cluster.len() {
            return Err(Error::Cluster(format!("no replica {id} among {}", cluster.len())));
        }
        let keys = trust.replica_keys(&config).map_err(Error::Refused)?;
        Ok(ReplicaOptions {
            id: ReplicaId(id as u8),
            config,
            names: None,
            keys,
            host,
            data_dir: dir.join(format!("replica{id}")),
            log_dir: dir,
            begin_from: None,
            rejoin: false,
            observer: false,
            durability,
            layout,
            skip_slot: None,
            loss: 0.0,
            seed: SEED,
            datagram_bytes: DATAGRAM_BYTES_DEFAULT,
            offload: true,
            heartbeat_us: HEARTBEAT_US,
            election_us: ELECTION_US,
            metrics_file: None,
            metrics_address: None,
            trace: None,
            crash_after_accepts: None,
            tells_supervisor: false,
            die_with_parent: false,
        })
    }
}

/// As the program `replica` has them.
const SEED: u64 = 591;
const HEARTBEAT_US: u64 = 50_000;
const ELECTION_US: (u64, u64) = (300_000, 600_000);

/// A replica that runs. It ends when this is dropped, as cleanly as by [`Replica::stop`].
///
/// Its disk and its socket are needed as long as it runs: an error of either ends the whole
/// process with one line on stderr, and so does a panic of the machine. Half a replica would be
/// worse than none.
#[derive(Debug)]
pub struct Replica {
    ends: Arc<AtomicBool>,
    main: Option<JoinHandle<Result<(), StartError>>>,
}

impl Replica {
    /// Starts a replica with a machine that `make` makes, which is then given what was stored.
    /// Returns once its files and its socket are open. On its first start it serves nobody until
    /// all others have started as well; later a quorum suffices.
    ///
    /// # Errors
    ///
    /// If it cannot start: the directory is another replica's or cannot be written, the port is in
    /// use, or the machine refuses its snapshot.
    pub fn start<M: StateMachine>(
        config: ReplicaConfig,
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> Result<Replica, Error> {
        let options = config.options(Host::of(move || Guarded(make())))?;
        let ends = Arc::new(AtomicBool::new(false));
        let ending = Ending::when(Arc::clone(&ends));
        let (opened, is_open): (Sender<()>, _) = channel();
        let main = thread::Builder::new().name("replica".into()).spawn(move || {
            run_until(options, &ending, move || {
                let _ = opened.send(());
            })
        })?;
        match is_open.recv() {
            Ok(()) => Ok(Replica { ends, main: Some(main) }),
            // It has ended before.
            Err(_) => match main.join() {
                Ok(Err(why)) => Err(Error::Start(why.to_string())),
                Ok(Ok(())) => Err(Error::Start("it has ended at once".into())),
                Err(_) => Err(Error::Start("it has panicked".into())),
            },
        }
    }

    /// Ends it: everything that it has written is on the disk, and its port is free.
    ///
    /// # Errors
    ///
    /// If its directory could not be closed.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        self.ends.store(true, Ordering::Relaxed);
        match self.main.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(why))) => Err(Error::Start(why.to_string())),
            Some(Err(_)) => Err(Error::Start("it has panicked".into())),
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::error!("{error}");
        }
    }
}

/// A machine whose panic ends the process.
struct Guarded<M>(M);

/// Ends the process if it is dropped by a panic.
struct OnPanic;

impl Drop for OnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            fail("the state machine has panicked: the replica cannot go on");
        }
    }
}

impl<M: StateMachine> StateMachine for Guarded<M> {
    fn apply(&mut self, command: &[u8]) -> Response {
        let _ends = OnPanic;
        let response = self.0.apply(command);
        let bytes = response.len();
        assert!(bytes <= RESPONSE_BYTES_MAX, "an answer of {bytes} bytes: answer in parts");
        response
    }

    fn snapshot(&self) -> Vec<u8> {
        let _ends = OnPanic;
        self.0.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
        let _ends = OnPanic;
        self.0.restore(snapshot)
    }
}
