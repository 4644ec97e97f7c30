//! Asks who the members of a cluster are, or changes them: the process around an [`Admin`].

use super::asker::Asker;
use super::client::ClientOptions;
use super::names;
use super::process::{Clock, LOOK, entropy};
use crate::admin::{Admin, Outcome, Task};
use crate::message::Answer;
use crate::net::Incoming;
use command_line::ending::Ending;
use std::io;
use std::time::Duration;

/// How long replicas may take to say who the members are, unless the user says otherwise.
const LIMIT_US: u64 = 5_000_000;

/// After so long without a leader's answer the user is told.
const SILENCE_US: u64 = 3_000_000;

/// How a task ended.
#[derive(Debug)]
pub enum Ended {
    /// So.
    Done(Outcome),
    /// Its time was over. What it waited for, in words.
    TimedOut(String),
    /// A signal came first.
    Interrupted,
}

/// Does what an operator wants. What it waits for goes to stderr. A change takes as long as it takes,
/// unless the user says otherwise.
///
/// # Errors
///
/// When the socket or a thread cannot be had.
pub fn run(options: &ClientOptions, ending: &Ending, task: Task) -> io::Result<Ended> {
    let mut asker = Asker::new(options, "admin")?;
    let clock = Clock::start();
    let limit_us = options.timeout_us.or((task == Task::Members).then_some(LIMIT_US));
    let (began, mut told_at) = (clock.now(), clock.now());
    let mut newest = 0;
    let mut admin = Admin::new(began, options.config.places(), task, entropy()?);
    while !ending.is_due() {
        let now = clock.now();
        asker.send(admin.due(now));
        if let Some(outcome) = admin.outcome() {
            return Ok(Ended::Done(outcome.clone()));
        }
        if limit_us.is_some_and(|limit| now.since_us(began) >= limit) {
            return Ok(Ended::TimedOut(admin.waits_for()));
        }
        let is_silent = now.since_us(told_at) >= SILENCE_US;
        if let Some(news) = admin.news().or_else(|| is_silent.then(|| admin.waits_for())) {
            log::warn!("waits: {news}");
            told_at = now;
        }
        let sleep = Duration::from_micros(admin.deadline().since_us(now));
        for incoming in asker.take(sleep.min(LOOK))? {
            if let Incoming::Answer { answer: Answer::Members(members), .. } = incoming {
                // M9: the leader may be one that has moved.
                if let Some(told) = members.configuration.as_ref().filter(|it| it.number() > newest)
                {
                    newest = told.number();
                    names::follow_places(asker.peers(), None, &told.moved().collect::<Vec<_>>());
                }
                admin.take(clock.now(), *members);
            }
        }
    }
    Ok(Ended::Interrupted)
}
