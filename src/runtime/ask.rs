//! Asks every replica of a cluster how it is: the process around a [`Survey`].
//!
//! It is no client of the log. It opens no session and sends no line, so it works while nobody
//! leads, and changes nothing.

use super::asker::Asker;
use super::client::ClientOptions;
use super::process::{Clock, LOOK};
use crate::message::ClientMessage;
use crate::net::Incoming;
use crate::survey::{Report, Survey};
use crate::types::replicas;
use command_line::ending::Ending;
use std::io;
use std::time::Duration;

/// How long a round of questions may take, unless the user says otherwise.
const LIMIT_US: u64 = 1_000_000;

/// What came of a round of questions.
#[derive(Debug)]
pub struct Asked {
    /// How the replicas are.
    pub report: Report,
    /// Where they were asked, by id: some may have moved (M9).
    pub places: Vec<String>,
}

/// Asks all replicas. `None` if a signal came first.
///
/// # Errors
///
/// When the socket or a thread cannot be had.
pub fn run(options: &ClientOptions, ending: &Ending) -> io::Result<Option<Asked>> {
    let mut asker = Asker::new(options, "status")?;
    let clock = Clock::start();
    let limit_us = options.timeout_us.unwrap_or(LIMIT_US);
    let mut survey = Survey::new(clock.now(), options.config.places(), limit_us);
    while !ending.is_due() {
        let now = clock.now();
        let due = survey.due(now);
        asker.send(due.into_iter().map(|(to, query)| (to, ClientMessage::Status(query))));
        if survey.is_over() {
            let place = |id| asker.place(id).to_string();
            let places = replicas(options.config.places()).map(place).collect();
            return Ok(Some(Asked { report: survey.report(), places }));
        }
        let sleep = Duration::from_micros(survey.deadline().since_us(now));
        for incoming in asker.take(sleep.min(LOOK))? {
            match incoming {
                Incoming::Answer { from, answer } => survey.take(clock.now(), from, answer),
                Incoming::OtherCluster { from } => survey.take_elsewhere(clock.now(), from),
                other => unreachable!("a client's socket opens only answers: {other:?}"),
            }
        }
    }
    Ok(None)
}
