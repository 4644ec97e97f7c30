//! A client that waits for each answer.

use super::{Error, Unknown, cluster_of};
use crate::client::{Client as Role, Input, Outcome};
use crate::machine::{Response, line_of};
use crate::net::DATAGRAM_BYTES_DEFAULT;
use crate::paxos::{Role as _, Storage};
use crate::runtime::client::ClientOptions;
use crate::runtime::connection::Connection;
use crate::runtime::process::{Clock, entropy};
use crate::runtime::role_thread::Flow;
use crate::runtime::role_turn::RoleTurn;
use crate::runtime::trace::Trace;
use crate::runtime::trust::Trust;
use crate::storage::upkeep::Upkeep;
use crate::types::{BootId, ClientId};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A client of a cluster. It has one command in flight: for several at once there are several clients.
///
/// Its id in the log is drawn. Every id takes 31 bytes of each replica's memory for ever, so a
/// program keeps its clients, or gives the next ones the ids of those before
/// ([`Client::with_id`]).
#[derive(Debug)]
pub struct Client {
    connection: Connection<Input>,
    turn: RoleTurn<Role, Last>,
    clock: Clock,
    id: ClientId,
    n: usize,
    timeout_us: Option<u64>,
}

/// The end of the last command, once it is known.
#[derive(Debug, Default)]
struct Last(Option<Outcome>);

impl Storage<Outcome> for Last {
    fn append(&mut self, records: &mut Vec<Outcome>) -> io::Result<()> {
        let ends = |outcome: &Outcome| !matches!(outcome, Outcome::Waiting { .. });
        self.0 = records.drain(..).rfind(ends).or(self.0.take());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upkeep for Last {}

impl Client {
    /// A client of the replicas at these loopback addresses, which need not run yet. It has no
    /// key.
    ///
    /// # Errors
    ///
    /// If these make no cluster, others than this host reach them, or there is no socket.
    pub fn connect(cluster: &[SocketAddr]) -> Result<Client, Error> {
        Client::connect_trusting(cluster, &Trust::Loopback)
    }

    /// A client of the replicas at these addresses, which believes whom `trust` says.
    ///
    /// # Errors
    ///
    /// If these make no cluster, the key cannot be used, or there is no socket.
    pub fn connect_trusting(cluster: &[SocketAddr], trust: &Trust) -> Result<Client, Error> {
        let config = cluster_of(cluster)?;
        let keys = trust.client_keys(&config).map_err(Error::Refused)?;
        let (id, n, seed) = (ClientId(entropy()?), config.n(), entropy()?);
        let options = ClientOptions {
            id,
            config,
            names: None,
            keys,
            loss: 0.0,
            seed,
            datagram_bytes: DATAGRAM_BYTES_DEFAULT,
            offload: true,
            timeout_us: None,
            trace: None,
            die_with_parent: false,
        };
        let connection = Connection::open(&options, BootId(entropy()?), "client")?;
        let clock = Clock::start();
        let turn = turn(id, n, None, clock)?;
        Ok(Client { connection, turn, clock, id, n, timeout_us: None })
    }

    /// This client, under this id in the log. No two that run at once may have the same.
    ///
    /// # Errors
    ///
    /// If the operating system gives no random numbers.
    pub fn with_id(mut self, id: u64) -> Result<Client, Error> {
        self.id = ClientId(id);
        self.begin_anew()?;
        Ok(self)
    }

    /// This client, which gives up on a command that has no answer after so long. Without this it
    /// waits for a quorum as long as there is none.
    ///
    /// # Errors
    ///
    /// If the operating system gives no random numbers.
    pub fn with_timeout(mut self, timeout: Duration) -> Result<Client, Error> {
        self.timeout_us = Some(u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX));
        self.begin_anew()?;
        Ok(self)
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        self.turn = turn(self.id, self.n, self.timeout_us, self.clock)?;
        Ok(())
    }

    /// Sends a command, and waits until it is applied. Returns what the state machine answered.
    ///
    /// # Errors
    ///
    /// See [`Error`]. After each the next call is good: it goes by a session of its own.
    pub fn call(&mut self, command: &[u8]) -> Result<Response, Error> {
        let line = line_of(command).ok_or(Error::TooLong { bytes: command.len() })?;
        let session = entropy()?;
        let now = self.turn.now();
        self.turn.take(now, [Input::Submit { line, session }]);
        let goes_on = |role: &Role| if role.is_busy() { Flow::Continue } else { Flow::Stop };
        self.connection.run_while(&mut self.turn, goes_on)?;
        let outcome = self.turn.storage.0.take().expect("a client is idle once it has an outcome");
        if self.turn.role.is_finished() {
            self.begin_anew()?;
        }
        match outcome {
            Outcome::Complete { response: Some(response), .. } => Ok(response),
            Outcome::Complete { response: None, slot, .. } => Err(Error::Forgotten(slot)),
            Outcome::GaveUp { .. } => Err(Error::Unknown(Unknown::TimedOut)),
            Outcome::Expired { .. } => Err(Error::Unknown(Unknown::Expired)),
            Outcome::OtherCluster { sent: true, .. } => Err(Error::Unknown(Unknown::OtherCluster)),
            Outcome::OtherCluster { sent: false, .. } => Err(Error::OtherCluster),
            Outcome::Waiting { .. } => unreachable!("that is no end"),
        }
    }
}

fn turn(
    id: ClientId,
    n: usize,
    timeout_us: Option<u64>,
    clock: Clock,
) -> io::Result<RoleTurn<Role, Last>> {
    let rng = seeds::stream(entropy()?, "client draws");
    Ok(RoleTurn::new(Role::new(id, n, timeout_us), Last::default(), clock, rng, Trace::off()))
}
