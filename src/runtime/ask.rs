//! Asks every replica of a cluster how it is: the process around a [`Survey`].
//!
//! It is no client of the log. It opens no session and sends no line, so it works while nobody
//! leads, and changes nothing.

use super::client::ClientOptions;
use super::process::{Clock, LOOK, entropy};
use crate::message::{ClientMessage, Party};
use crate::net::frame::{ClusterCell, Identity};
use crate::net::{BoundSocket, Deliver, Incoming, Network, NetworkConfig, Outgoing};
use crate::survey::{Report, Survey};
use crate::types::BootId;
use command_line::ending::{Ending, fail};
use interleavings::threads::{self, RecvTimeoutError, Sender, bounded};
use seeds::derive_seed;
use std::io;
use std::time::Duration;

/// How many batches of answers may wait.
const INBOX_BATCHES_MAX: usize = 64;

/// How long a round of questions may take, unless the user says otherwise.
const LIMIT_US: u64 = 1_000_000;

/// Asks all replicas. `None` if a signal came first.
///
/// # Errors
///
/// When the socket or a thread cannot be had.
pub fn run(options: &ClientOptions, ending: &Ending) -> io::Result<Option<Report>> {
    let peers: Vec<_> = options.config.replicas.iter().map(|replica| replica.address).collect();
    let n = peers.len();
    let codec =
        Identity { n, me: Party::Client, boot: BootId(entropy()?), cluster: ClusterCell::new() };
    let network = Network::new(
        BoundSocket::for_client(&peers)?,
        NetworkConfig {
            codec,
            peers,
            datagram_max: options.datagram_bytes,
            offload: options.offload,
            loss: options.loss,
            seed: derive_seed(options.seed, "network"),
        },
    )?;
    let mut outlet = network.outlet(derive_seed(options.seed, "status"));
    let (to, inbox) = bounded(INBOX_BATCHES_MAX);
    let answers = Answers { to, batch: Vec::new() };
    threads::spawn("network", move || {
        if let Err(error) = network.run(answers) {
            fail(format!("client: network: {error}"));
        }
    })?;
    let clock = Clock::start();
    let mut survey = Survey::new(clock.now(), n, options.timeout_us.unwrap_or(LIMIT_US));
    while !ending.is_due() {
        let now = clock.now();
        let calls = survey
            .due(now)
            .into_iter()
            .map(|(to, query)| Outgoing::Call { to, message: ClientMessage::Status(query) });
        outlet.send(calls);
        if survey.is_over() {
            return Ok(Some(survey.report()));
        }
        let sleep = Duration::from_micros(survey.deadline().since_us(now));
        match inbox.recv_timeout(sleep.min(LOOK)) {
            Ok(batch) => batch.into_iter().for_each(|incoming| match incoming {
                Incoming::Answer { from, answer } => survey.take(clock.now(), from, answer),
                Incoming::OtherCluster { from } => survey.take_elsewhere(clock.now(), from),
                other => unreachable!("a client's socket opens only answers: {other:?}"),
            }),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the network thread has ended"));
            }
        }
    }
    Ok(None)
}

/// Takes answers from the network to the main thread.
struct Answers {
    to: Sender<Vec<Incoming>>,
    batch: Vec<Incoming>,
}

impl Deliver<Incoming> for Answers {
    fn deliver(&mut self, incoming: Incoming) {
        self.batch.push(incoming);
    }

    fn end_of_burst(&mut self) {
        if !self.batch.is_empty() {
            // A full inbox loses answers, and their senders are asked again.
            let _ = self.to.try_send(std::mem::take(&mut self.batch));
        }
    }
}
