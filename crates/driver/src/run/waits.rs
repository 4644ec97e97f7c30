//! How a run waits: for its processes, its clients and its logs.
//!
//! Every wait calls [`Run::tick`]. It waits a few milliseconds and then checks signals, the
//! deadline, the children's stderr and exits, and the clients' events. So no wait lasts for
//! ever, and the driver notices everything soon.

use super::{Failure, Phase, Run, SIGABRT};
use crate::clients::ClientEvent;
use crate::process::{Process, ending};
use crate::verdict::complete_lines;
use crossbeam_channel::RecvTimeoutError;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The time between two checks of everything that can happen.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Live logs are quiet when they do not change for three looks, this far apart.
const QUIET: Duration = Duration::from_millis(20);
const QUIET_LOOKS: u32 = 3;

/// After this many looks without a change (about a second), the driver reads logs of
/// different lengths, to see whether one can still catch up with the other.
const STILL_LOOKS: u32 = 33;

impl Run<'_> {
    /// Waits for a moment, and then checks everything that can have happened.
    pub(super) fn tick(&mut self) -> Result<(), Failure> {
        self.wait(TICK)?;
        for client in &mut self.clients {
            if let Some(status) = client.ended()
                && !status.success()
            {
                let (how, words) = (ending(status), client.last_words());
                let what = format!("{} ended with {how}; {words}", client.name);
                return Err(Failure::Broken(what));
            }
        }
        for id in 0..self.replicas.len() {
            self.look_at(id)?;
        }
        if self.origin.elapsed() >= self.plan.deadline {
            return Err(Failure::Deadline(self.what_is_missing()));
        }
        let (scenario, total) = (self.scenario.name, self.total);
        let (completed, leader) = (self.seen.completed, self.leader());
        // The line must fit into eighty columns: a line that wraps cannot be erased.
        self.progress.show(|| match leader {
            None => format!("{scenario}  warming up"),
            Some((id, ballot)) => {
                format!("{scenario}  {completed}/{total} lines  primary {id}, ballot {ballot}")
            }
        });
        Ok(())
    }

    /// Waits, and notes the clients' events meanwhile. A signal ends the wait.
    pub(super) fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            if let Some(signal) = self.interrupts.noted() {
                return Err(Failure::Interrupted(signal));
            }
            match self.events.recv_deadline(end) {
                Ok(event) => self.note(event)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn note(&mut self, event: ClientEvent) -> Result<(), Failure> {
        self.seen.note(event).map_err(|(client, fault)| {
            let words = self.clients.get_mut(client).map(Process::last_words);
            Failure::Broken(format!("{fault}; {}", words.unwrap_or_default()))
        })
    }

    pub(super) fn look_at(&mut self, id: usize) -> Result<(), Failure> {
        let aborts = self.aborts(id);
        let replica = &mut self.replicas[id];
        replica.process.tail.poll();
        let Some(status) = replica.process.ended() else {
            return Ok(());
        };
        if replica.killed || (self.phase == Phase::Ending && status.success()) {
            return Ok(());
        }
        if aborts && self.phase == Phase::Clients && status.signal() == Some(SIGABRT) {
            replica.killed = true;
            return Ok(());
        }
        let (how, words) = (ending(status), replica.process.last_words());
        Err(Failure::Broken(format!("replica {id} ended with {how}; {words}")))
    }

    /// Says what was missing when the deadline passed.
    fn what_is_missing(&mut self) -> String {
        let limit = format!("the deadline of {} s passed", self.plan.deadline.as_secs());
        let cold = self.replicas.iter_mut().find(|replica| !replica.process.tail.warm);
        if self.plan.msg_loss.0 >= 100.0 {
            let why = "no replica hears another, so nothing can be decided";
            return format!("{limit}: --msg_loss 100 drops every datagram: {why}");
        }
        if let (Phase::WarmUp, Some(replica)) = (self.phase, cold) {
            let words = replica.process.last_words();
            return format!(
                "{limit} during warm-up: {} has not completed it; {words}",
                replica.process.name
            );
        }
        let lines = format!("{} of {} lines are complete", self.seen.completed, self.total);
        let leader = self.leader().map_or("nobody leads".into(), |(id, ballot)| {
            format!("replica {id} was the last to lead, with ballot {ballot}")
        });
        format!("{limit}: {lines}; {leader}")
    }

    /// The leader and its ballot, as far as the replicas have said.
    pub(super) fn leader(&self) -> Option<(usize, u64)> {
        let warm = !self.replicas.is_empty() && self.phase != Phase::WarmUp;
        let said = self.replicas.iter().enumerate();
        let said = said.filter_map(|(id, replica)| Some((id, replica.process.tail.ballot?)));
        // Replica 0 leads ballot 0 from the start, whether it says so or not.
        said.max_by_key(|&(_, ballot)| ballot).or(warm.then_some((0, 0)))
    }

    pub(super) fn clients_are_done(&mut self) -> Result<bool, Failure> {
        let ended = self.seen.ended == self.clients.len();
        Ok(ended && self.clients.iter_mut().all(|client| client.ended().is_some()))
    }

    /// Waits until the live logs have the same length, hold every completed line, and do not
    /// change. Also returns when the logs have not changed for long and contradict each other,
    /// because then waiting does not help.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        let live: Vec<PathBuf> = (0..self.replicas.len())
            .filter(|&id| !self.replicas[id].killed)
            .map(|id| self.folder.chat_log(id))
            .collect();
        let lines_min = self.seen.slot_max.map_or(0, |slot| slot + 1);
        let (mut looks, mut before) = (0, Vec::new());
        loop {
            let lengths: Vec<Option<u64>> =
                live.iter().map(|path| fs::metadata(path).ok().map(|file| file.len())).collect();
            looks = if lengths == before { looks + 1 } else { 0 };
            let equal = lengths.iter().all(|length| length.is_some() && *length == lengths[0]);
            before = lengths;
            if equal && looks == QUIET_LOOKS || looks == STILL_LOOKS {
                let logs: Vec<Vec<u8>> =
                    live.iter().map(|path| fs::read(path).unwrap_or_default()).collect();
                let complete = logs.iter().all(|log| complete_lines(log) as u64 >= lines_min);
                if equal && complete || contradict(&logs) {
                    return Ok(());
                }
                if looks == STILL_LOOKS {
                    looks = 0;
                }
            }
            self.wait(QUIET)?;
            self.tick()?;
        }
    }
}

/// Whether there are two logs of which neither is a prefix of the other.
fn contradict(logs: &[Vec<u8>]) -> bool {
    let longest = logs.iter().max_by_key(|log| log.len());
    longest.is_some_and(|longest| logs.iter().any(|log| !longest.starts_with(log)))
}
