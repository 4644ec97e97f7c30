//! The socket of a process that is no replica: what it sends, and what comes back.
//!
//! A network thread receives, and hands over what the replicas answer; the caller's thread sends and
//! waits, by itself or as a role.

use super::client::ClientOptions;
use super::names;
use super::process::LOOK;
use super::role_thread::{Flow, RoleThread};
use super::role_turn::RoleTurn;
use crate::message::{Answer, Party};
use crate::net::frame::{ClusterCell, Guard, Identity};
use crate::net::{
    BoundSocket, Deliver, Incoming, Network, NetworkConfig, Outgoing, Outlet, PeerBook, StopHandle,
};
use crate::paxos::{Envelope, Role, Storage};
use crate::storage::upkeep::Upkeep;
use crate::types::BootId;
use command_line::ending::{Ending, fail};
use datagrams::wait::Patience;
use interleavings::threads::{self, Receiver, Sender, bounded};
use seeds::derive_seed;
use std::{fmt, io};

/// How many batches of answers may wait.
const INBOX_BATCHES_MAX: usize = 64;

/// The socket of a client, the thread that receives on it, and the role's inbox.
pub(crate) struct Connection<I> {
    pub(super) outlet: Outlet,
    patience: Patience,
    pub(super) inbox: Receiver<Vec<I>>,
    /// To the inbox, for input from elsewhere.
    pub(super) to: Sender<Vec<I>>,
    /// Where the replicas are.
    pub(super) peers: PeerBook,
    /// Names are resolved as long as it is here.
    _names: Option<Sender<()>>,
    /// Ends the thread that receives.
    stop: StopHandle,
}

impl<I> Drop for Connection<I> {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl<I> fmt::Debug for Connection<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl<I: From<Incoming> + Send + 'static> Connection<I> {
    /// Opens a socket for this life of the process, and receives on it from now on. `purpose` tells its draws from those of
    /// others with the same seed.
    ///
    /// # Errors
    ///
    /// When the socket or a thread cannot be had.
    pub(crate) fn open(options: &ClientOptions, boot: BootId, purpose: &str) -> io::Result<Self> {
        let addresses: Vec<_> = options.config.replicas.iter().map(|r| r.address).collect();
        let (n, rows, ipv6) = (options.config.n(), addresses.len(), options.config.is_ipv6());
        let guard = Guard::of(options.keys.as_ref(), rows);
        let (me, cluster) = (Party::Client, ClusterCell::new());
        let codec = Identity { n, rows, me, boot, cluster, guard };
        let network = Network::new(
            BoundSocket::for_client(&addresses)?,
            NetworkConfig {
                codec,
                peers: addresses,
                datagram_max: options.datagram_bytes,
                offload: options.offload,
                loss: options.loss,
                seed: derive_seed(options.seed, "network"),
            },
        )?;
        let (peers, stop) = (network.peer_book(), network.stop_handle());
        let names = match options.names.clone() {
            Some(file) => names::watch(file, None, ipv6, peers.clone())?,
            None => None,
        };
        let outlet = network.outlet(derive_seed(options.seed, purpose));
        let patience = network.patience();
        let (to, inbox) = bounded(INBOX_BATCHES_MAX);
        let answers =
            Answers { to: to.clone(), batch: Vec::new(), peers: peers.clone(), newest: 0 };
        threads::spawn("network", move || {
            if let Err(error) = network.run(answers) {
                fail(format!("client: network: {error}"));
            }
        })?;
        Ok(Connection { outlet, patience, inbox, to, peers, _names: names, stop })
    }

    /// Runs the role until it is finished, or the process is to end. Returns whether anybody still
    /// reads stdout.
    ///
    /// # Errors
    ///
    /// When stdout cannot be written.
    pub(super) fn run<R, S>(
        &mut self,
        turn: &mut RoleTurn<R, S>,
        ending: &Ending,
    ) -> io::Result<bool>
    where
        R: Role<Input = I>,
        S: Storage<R::Record> + Upkeep,
    {
        let ran = self.run_while(turn, |_| match ending.is_due() {
            true => Flow::Stop,
            false => Flow::Continue,
        });
        match ran {
            Ok(()) => Ok(true),
            // The reader of the completions has gone, and was not told of this one.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => {
                Err(io::Error::new(error.kind(), format!("cannot write stdout: {error}")))
            }
        }
    }

    /// Runs the role until it is finished or `check` says stop. What the role has been told before
    /// is part of its first turn.
    ///
    /// # Errors
    ///
    /// That of the role's storage.
    pub(crate) fn run_while<R, S>(
        &mut self,
        turn: &mut RoleTurn<R, S>,
        check: impl FnMut(&R) -> Flow,
    ) -> io::Result<()>
    where
        R: Role<Input = I>,
        S: Storage<R::Record> + Upkeep,
    {
        let Connection { outlet, patience, inbox, .. } = self;
        let mut dispatch = |envelopes: &mut Vec<Envelope>| {
            let calls = envelopes.drain(..).map(|envelope| match envelope {
                Envelope::Call { to, message } => Outgoing::Call { to, message },
                other => unreachable!("a client only calls: {other:?}"),
            });
            outlet.send(calls);
        };
        turn.finish(turn.now(), false, 0, &mut dispatch)?;
        let mut thread = RoleThread { turn, inbox, patience, sleep_max: Some(LOOK) };
        thread.run(dispatch, check)
    }
}

/// Takes answers from the network to the role, and follows members that have moved.
struct Answers<I> {
    to: Sender<Vec<I>>,
    batch: Vec<I>,
    peers: PeerBook,
    /// The number of the newest configuration that has said where a member is.
    newest: u16,
}

impl<I: From<Incoming>> Deliver<Incoming> for Answers<I> {
    fn deliver(&mut self, incoming: Incoming) {
        if let Incoming::Answer { answer: Answer::Moved { configuration, moved }, .. } = &incoming {
            if *configuration >= self.newest {
                self.newest = *configuration;
                names::follow_move(&self.peers, None, *moved);
            }
            return;
        }
        self.batch.push(incoming.into());
    }

    fn end_of_burst(&mut self) {
        if !self.batch.is_empty() {
            // A full inbox loses answers; the client asks again.
            let _ = self.to.try_send(std::mem::take(&mut self.batch));
        }
    }
}
