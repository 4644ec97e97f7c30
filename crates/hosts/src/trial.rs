//! One run of a row: its cluster is started in its world, put under its load, hurt, and ended.
//!
//! [`run`] does the row's [`Act`] and returns what was [`Seen`]. What of that is wrong is for
//! [`Row::broken`] to say.

use crate::load::{Clients, Load, Sending, for_the_verdict};
use crate::process::{Replica, Said, chat_log, until};
use crate::row::{Act, Must, Row, Seen, shown};
use crate::world::{Laid, World};
use command_line::EXIT_USAGE;
use driver::verdict::{ChatLog, complete_lines, judge};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The longest that replicas may take to hear of each other.
const WARM_UP_MAX: Duration = Duration::from_secs(20);

/// Clients may complete this long what they have in flight when they are stopped.
const STOPPING_MAX: Duration = Duration::from_secs(2);

/// The longest wait for equal chat logs.
const SETTLING_MAX: Duration = Duration::from_secs(3);

/// When nobody waits for anything, so long passes before the silence is measured, and for so
/// long it is.
const CALMING: Duration = Duration::from_secs(1);

/// A line of no more bytes is short: it fits any datagram.
const SHORT_BYTES: usize = 200;

/// A cluster in its world.
struct Cluster<'a> {
    bin: &'a Path,
    logs: &'a Path,
    world: &'a World,
    /// Dropped before the world that they live in.
    replicas: Vec<Replica>,
    laid: Laid,
    /// What replicas said that are not there any more.
    said_before: Vec<Vec<Said>>,
}

/// Runs one row, with all its files in `folder`, which is new. An error is one of the harness,
/// not of the cluster. The calling thread may do nothing else afterwards: it has moved to
/// another network.
pub fn run(row: &Row, bin: &Path, folder: &Path, seed: u64) -> Result<Seen, String> {
    let logs = folder.join("logs");
    fs::create_dir_all(&logs)
        .map_err(|error| format!("cannot make {}: {error}", logs.display()))?;
    let laid = Laid::lay(&row.world, folder, seed)?;
    let mut cluster = Cluster {
        bin,
        logs: &logs,
        world: &row.world,
        replicas: Vec::new(),
        laid,
        said_before: Vec::new(),
    };
    if !row.act.begins_well() {
        cluster.laid.worsen()?;
    }
    for id in 0..row.world.replicas {
        cluster.start(id)?;
    }
    let mut seen = Seen::default();
    if !cluster.warms_up(&mut seen) {
        return Ok(seen);
    }
    let sent_before = cluster.laid.sent()?;
    let mut sendings = Vec::new();
    match row.act {
        Act::Send { groups, limit } => {
            let load = cluster.load(groups, 0)?;
            load.wait(load.began + limit);
            seen.measure(&load, groups);
            if seen.lines.0 == seen.lines.1 && asks_for_quiet(row) {
                seen.idle_bytes_per_s = Some(cluster.idle_bytes_per_s()?);
            }
            sendings.extend(load.sendings());
        }
        Act::Fill { clients, window } => {
            let load = cluster.load(&[clients], 0)?;
            load.wait(load.began + window);
            seen.measure(&load, &[]);
            load.stop(Instant::now() + STOPPING_MAX);
            sendings.extend(load.sendings());
        }
        Act::KillLeader { clients, watch } => {
            sendings = cluster.kill_leader(clients, watch, &mut seen)?;
        }
        Act::CatchUp { writers, missing_bytes, meanwhile, alone, limit } => {
            let groups = (writers, meanwhile);
            sendings = cluster.catch_up(groups, missing_bytes, (alone, limit), &mut seen)?;
        }
        Act::Return { clients, missing_lines, limits } => {
            sendings = cluster.come_back(clients, missing_lines, limits, &mut seen)?;
        }
    }
    let (sent, dropped) = (cluster.laid.sent()?, cluster.laid.dropped()?);
    let bytes = sent.bytes - sent_before.bytes;
    let complete = sendings.iter().filter(|line| line.completed.is_some());
    let lines_bytes: usize = complete.map(|line| line.bytes).sum();
    seen.useful_bytes = (lines_bytes * (row.world.replicas - 1)) as u64;
    seen.sent = (bytes, sent.packets - sent_before.packets, dropped);
    cluster.count(&mut seen);
    cluster.judge(&sendings, &mut seen);
    Ok(seen)
}

fn asks_for_quiet(row: &Row) -> bool {
    row.must.iter().any(|must| matches!(must, Must::QuietBelow(_)))
}

impl Seen {
    /// Takes down how the lines went. `groups`: who had so many lines to send, if anybody.
    fn measure(&mut self, load: &Load, groups: &[Clients]) {
        let now = Instant::now();
        let sendings = load.sendings();
        let complete = sendings.iter().filter(|line| line.completed.is_some()).count();
        let planned: u64 =
            groups.iter().map(|group| group.count as u64 * group.lines.unwrap_or(0)).sum();
        self.lines = (sendings.len().max(planned as usize), complete);
        let last = sendings.iter().filter_map(|line| line.completed).map(|(.., at)| at).max();
        let end = if self.lines.0 == complete { last.unwrap_or(now) } else { now };
        self.took = end - load.began;
        self.latencies = latencies(&sendings);
        let short = sendings.iter().filter(|line| line.bytes <= SHORT_BYTES);
        let waited = |line: &Sending| took(line).unwrap_or(now - line.sent);
        self.slowest_short = short.map(waited).max().unwrap_or_default();
    }
}

/// How long a line took, once it is complete.
fn took(line: &Sending) -> Option<Duration> {
    line.completed.map(|(.., at)| at - line.sent)
}

/// How long the complete ones took, in order.
fn latencies(sendings: &[Sending]) -> Vec<Duration> {
    let mut latencies: Vec<Duration> = sendings.iter().filter_map(took).collect();
    latencies.sort();
    latencies
}

impl Cluster<'_> {
    fn start(&mut self, id: usize) -> Result<(), String> {
        let replica = Replica::start(self.bin, self.world, &self.laid, self.logs, id)?;
        if let Some(old) = self.replicas.iter_mut().find(|old| old.id == id) {
            self.said_before.push(old.said());
            *old = replica;
        } else {
            self.replicas.push(replica);
        }
        Ok(())
    }

    fn load(&self, groups: &[Clients], first_id: u64) -> Result<Load, String> {
        Load::start(self.bin, self.world, &self.laid, groups, first_id)
    }

    /// Waits until all replicas take part. Otherwise notes why they do not.
    fn warms_up(&mut self, seen: &mut Seen) -> bool {
        let end = Instant::now() + WARM_UP_MAX;
        let ended = until(end, || {
            let ended = self.replicas.iter_mut().find_map(|replica| {
                let code = replica.ended()?.code();
                Some((replica.id, code))
            });
            let warm = || self.replicas.iter().all(Replica::is_warm).then_some(None);
            ended.map(Some).or_else(warm)
        });
        match ended {
            Some(None) => return true,
            Some(Some((_, Some(EXIT_USAGE)))) => seen.refused = true,
            Some(Some((id, code))) => {
                seen.never_began = Some(format!("replica {id} ended with {code:?}"));
            }
            None => seen.never_began = Some(format!("no warm-up in {}", shown(WARM_UP_MAX))),
        }
        false
    }

    /// The replica that was the last to say that it leads.
    fn leader(&self) -> Option<usize> {
        let leads = |replica: &Replica| {
            let at = replica.said().iter().filter(|said| said.leads()).map(|said| said.at).max();
            Some((at?, replica.id))
        };
        self.replicas.iter().filter_map(leads).max().map(|(_, id)| id)
    }

    fn kill_leader(
        &mut self,
        clients: Clients,
        watch: Duration,
        seen: &mut Seen,
    ) -> Result<Vec<Sending>, String> {
        let load = self.load(&[clients], 0)?;
        // Everybody has a line in flight once each has completed one.
        let flowing = |load: &Load| (load.complete() >= clients.count).then_some(());
        if until(load.began + watch, || flowing(&load)).is_none() {
            seen.measure(&load, &[]);
            seen.never_began = Some(format!("{} lines before the leader dies", seen.lines.1));
            return Ok(load.sendings());
        }
        let Some(leader) = self.leader() else {
            seen.never_began = Some("nobody leads".into());
            return Ok(load.sendings());
        };
        self.kill_and_watch(leader, &load, watch, seen);
        Ok(load.sendings())
    }

    /// Kills a replica while clients send, and takes down what follows.
    fn kill_and_watch(&mut self, id: usize, load: &Load, watch: Duration, seen: &mut Seen) {
        let campaigns_before = self.campaigns();
        self.replicas[id].kill();
        let died = Instant::now();
        load.wait(died + watch);
        let end = Instant::now();
        seen.measure(load, &[]);
        // A line sent before may have been decided before, and only its answer be late.
        let after = load.sendings().into_iter().filter(|line| line.sent > died);
        let completed = after.filter_map(|line| line.completed).map(|(.., at)| at);
        let mut marks: Vec<Instant> = completed.filter(|at| *at <= end).collect();
        marks.extend([died, end]);
        marks.sort();
        seen.silence = marks.windows(2).map(|pair| pair[1] - pair[0]).max();
        seen.campaigns = self.campaigns() - campaigns_before;
        load.stop(Instant::now() + STOPPING_MAX);
    }

    fn come_back(
        &mut self,
        clients: Clients,
        missing_lines: usize,
        (writing_max, watch): (Duration, Duration),
        seen: &mut Seen,
    ) -> Result<Vec<Sending>, String> {
        let (follower, away) = (self.world.replicas - 2, self.world.replicas - 1);
        self.replicas[away].kill();
        let load = self.load(&[clients], 0)?;
        let written = || (load.complete() >= missing_lines).then_some(());
        if until(load.began + writing_max, written).is_none() {
            seen.measure(&load, &[]);
            seen.never_began = Some(format!("{} lines to miss in time", seen.lines.1));
            return Ok(load.sendings());
        }
        self.laid.worsen()?;
        self.start(away)?;
        let warm = || self.replicas[away].is_warm().then_some(());
        if until(Instant::now() + WARM_UP_MAX, warm).is_none() {
            seen.never_began = Some("the replica does not take part again".into());
            return Ok(load.sendings());
        }
        self.kill_and_watch(follower, &load, watch, seen);
        Ok(load.sendings())
    }

    fn catch_up(
        &mut self,
        (writers, meanwhile): (Clients, Clients),
        missing_bytes: u64,
        (alone, limit): (Duration, Duration),
        seen: &mut Seen,
    ) -> Result<Vec<Sending>, String> {
        let away = self.world.replicas - 1;
        self.replicas[away].kill();
        let load = self.load(&[writers], 0)?;
        let length = |id| fs::metadata(chat_log(self.logs, id)).map_or(0, |log| log.len());
        let written = until(load.began + limit, || (length(0) >= missing_bytes).then_some(()));
        load.stop(Instant::now() + STOPPING_MAX);
        let mut sendings = load.sendings();
        drop(load);
        if written.is_none() {
            seen.never_began = Some(format!("{} bytes to miss in {}", length(0), shown(limit)));
            return Ok(sendings);
        }
        self.laid.worsen()?;
        let load = self.load(&[meanwhile], writers.count as u64)?;
        load.wait(load.began + alone);
        let (had, target) = (length(away), length(0));
        let began = Instant::now();
        self.start(away)?;
        until(began + limit, || (length(away) >= target).then_some(()));
        let took = began.elapsed();
        let fetched = length(away).min(target) - had;
        seen.fetched = Some(((fetched as f64 / took.as_secs_f64()) as u64, took));
        seen.measure(&load, &[]);
        let (before, after): (Vec<Sending>, _) =
            load.sendings().into_iter().partition(|line| line.sent < began);
        (seen.latencies_alone, seen.latencies) = (latencies(&before), latencies(&after));
        load.stop(Instant::now() + STOPPING_MAX);
        sendings.extend(load.sendings());
        Ok(sendings)
    }

    /// What leaves the replicas' hosts a second when nobody waits for anything.
    fn idle_bytes_per_s(&self) -> Result<u64, String> {
        thread::park_timeout(CALMING);
        let (before, began) = (self.laid.sent()?, Instant::now());
        until(began + CALMING, || None::<()>);
        let bytes = self.laid.sent()?.bytes - before.bytes;
        Ok((bytes as f64 / began.elapsed().as_secs_f64()) as u64)
    }

    fn all_said(&self) -> Vec<Vec<Said>> {
        let mut said: Vec<Vec<Said>> = self.replicas.iter().map(Replica::said).collect();
        said.extend(self.said_before.clone());
        said
    }

    fn campaigns(&self) -> usize {
        self.all_said().iter().flatten().filter(|said| said.campaigns()).count()
    }

    /// Counts what the replicas said.
    fn count(&self, seen: &mut Seen) {
        let said = self.all_said();
        seen.leaders = said.iter().flatten().filter(|said| said.leads()).count();
        if seen.silence.is_none() {
            seen.campaigns = self.campaigns();
        }
        let warnings = |said: &Vec<Said>| {
            let warns = said.iter().map(|said| &said.line).filter(|line| line.contains("[WARN]"));
            warns.cloned().collect()
        };
        seen.warnings = said.iter().map(warnings).collect();
    }

    /// Whether the logs of the living have one length. (That takes no reading.)
    fn as_long(&mut self) -> bool {
        let logs = self.logs;
        let length = |id| fs::metadata(chat_log(logs, id)).map_or(0, |log| log.len());
        let live = self
            .replicas
            .iter_mut()
            .filter_map(|replica| replica.ended().is_none().then_some(length(replica.id)));
        let lengths: Vec<u64> = live.collect();
        lengths.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn chat_logs(&mut self) -> Vec<ChatLog> {
        let logs = self.logs;
        let read = |replica: &mut Replica| ChatLog {
            replica: replica.id,
            bytes: fs::read(chat_log(logs, replica.id)).ok(),
            live: replica.ended().is_none(),
        };
        self.replicas.iter_mut().map(read).collect()
    }

    /// Waits for equal logs and judges them; then ends the replicas.
    fn judge(&mut self, sendings: &[Sending], seen: &mut Seen) {
        let slots = sendings.iter().filter_map(|line| line.completed).map(|(_, slot, _)| slot + 1);
        let told = slots.max().unwrap_or(0);
        let began = sendings.iter().map(|line| line.sent).min();
        let settled = until(Instant::now() + SETTLING_MAX, || {
            if !self.as_long() {
                return None;
            }
            let logs = self.chat_logs();
            settled(&logs, told).then_some(logs)
        });
        seen.settled = settled.is_some();
        seen.unsafe_because = match settled.zip(began) {
            Some((logs, began)) => {
                judge(&logs, &for_the_verdict(sendings, began)).err().map(|why| why.to_string())
            }
            None => {
                self.replicas.iter_mut().for_each(Replica::end);
                not_prefixes(&self.chat_logs())
            }
        };
        self.replicas.iter_mut().for_each(Replica::end);
    }
}

/// Whether the logs of the living are equal and have as many lines as the clients were told of.
fn settled(logs: &[ChatLog], told: u64) -> bool {
    let mut live = logs.iter().filter(|log| log.live);
    let Some(first) = live.next() else { return false };
    let bytes = first.bytes.as_deref().unwrap_or_default();
    live.all(|log| log.bytes.as_deref().unwrap_or_default() == bytes)
        && complete_lines(bytes) as u64 >= told
}

/// Two logs of which neither is a prefix of the other, if there are.
fn not_prefixes(logs: &[ChatLog]) -> Option<String> {
    let bytes = |log: &ChatLog| log.bytes.clone().unwrap_or_default();
    let longest = logs.iter().max_by_key(|log| bytes(log).len())?;
    let other = logs.iter().find(|log| !bytes(longest).starts_with(&bytes(log)))?;
    Some(format!("the chat logs of replicas {} and {} differ", longest.replica, other.replica))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_settled_when_the_living_agree_on_all_that_was_told() {
        let log = |replica, text: &str, live| ChatLog {
            replica,
            bytes: Some(text.as_bytes().to_vec()),
            live,
        };
        let (two, one) = ("0 1 0 a\n1 1 1 b\n", "0 1 0 a\n");
        assert!(settled(&[log(0, two, true), log(1, two, true), log(2, one, false)], 2));
        assert!(!settled(&[log(0, two, true), log(1, one, true)], 1));
        assert!(!settled(&[log(0, one, true), log(1, one, true)], 2));
        assert_eq!(not_prefixes(&[log(0, one, true), log(1, two, true)]), None);
        assert!(not_prefixes(&[log(0, two, true), log(1, "1", true)]).is_some());
    }
}
