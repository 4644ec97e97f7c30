//! Strikes at chat logs, and how they are mended.
//!
//! People and their tools cut, delete and rotate log files, while a replica runs or is down. The
//! chat log is the replica's data, so that is a loss like that of a disk: of one replica at a time,
//! and only while the others have all of theirs. The replica must notice it and end with the same
//! file as the others. It does so by the same code as a real one (`DecidedLog::mended`).

use super::*;
use durable::disk::{Disk, DiskFile};
use multipaxos::storage::decided_log::is_lost;
use std::io;

/// A chat log's name in the folder of logs.
const CHAT_LOG: &str = "learner.txt";

/// A copy may lack so many of the last bytes: lines that came while it was made.
const COPY_LACKS_MAX: u64 = 300;

impl World {
    pub(super) fn strike_later(&mut self) {
        let every_us = self.profile.strike_every_us;
        if every_us > 0 {
            let wait = self.streams.strikes.u64(every_us / 2..=every_us + every_us / 2);
            self.queue.add(self.now.plus_us(wait), Event::Fault(Fault::Strike));
        }
    }

    /// Strikes at a chat log, if all others have their lines.
    pub(super) fn strike(&mut self) {
        let rng = &mut self.streams.strikes;
        let id = ReplicaId(rng.usize(..self.nodes.len()) as u8);
        let (strike, place) = (STRIKES[rng.usize(..STRIKES.len())], rng.u64(..));
        self.strike_later();
        let all = self.nodes.iter().all(|node| node.started && !node.flipped);
        if self.nodes.len() < 3 || !all || self.wiped.contains(&true) || !self.chat_logs_are_whole()
        {
            return;
        }
        let runs = self.nodes[id.index()].process.is_some();
        // The power may be off, or the disk broken.
        let Some(Ok(length)) = self.chat_log_length(id) else { return };
        if length == 0 || self.struck_at(id, strike, length, place).is_err() {
            return;
        }
        self.struck = Some((id, length));
        self.checker.loses_lines();
        self.reach.count(if runs { Situation::Struck } else { Situation::StruckStopped });
        self.trace(|| {
            format!("replica {id}: its chat log of {length} bytes is struck: {strike:?}")
        });
    }

    fn struck_at(&self, id: ReplicaId, strike: Strike, length: u64, place: u64) -> io::Result<()> {
        let disk = self.nodes[id.index()].store.disk().expect("it has a chat log");
        let logs = disk.folder("logs");
        match strike {
            Strike::CutToNothing => cut(&logs, 0),
            Strike::CutShort => cut(&logs, place % length),
            Strike::Deleted => logs.remove(CHAT_LOG),
            Strike::CopiedAndCut => {
                let file = logs.open(CHAT_LOG)?.ok_or(io::ErrorKind::NotFound)?;
                let lacks = if place.is_multiple_of(2) { 0 } else { place % COPY_LACKS_MAX };
                let mut copied = vec![0; length.saturating_sub(lacks) as usize];
                file.read_at(0, &mut copied)?;
                logs.create(&free_name(&logs)?)?.write_at(0, &copied)?;
                cut(&logs, 0)
            }
            Strike::Replaced => {
                logs.rename(CHAT_LOG, &free_name(&logs)?)?;
                logs.create(CHAT_LOG).map(|_| ())
            }
        }
    }

    fn chat_log_length(&self, id: ReplicaId) -> Option<io::Result<u64>> {
        let logs = self.nodes[id.index()].store.disk()?.folder("logs");
        Some(logs.look(CHAT_LOG).map(|seen| seen.map_or(0, |seen| seen.length)))
    }

    /// Whether no chat log lacks lines because it was struck: they are there again, and will be
    /// after a power cut.
    pub(super) fn chat_logs_are_whole(&self) -> bool {
        let Some((id, length)) = self.struck else { return true };
        let store = &self.nodes[id.index()].store;
        let written =
            self.chat_log_length(id).is_some_and(|now| now.is_ok_and(|now| now >= length));
        written && store.learner.has_all_lines()
    }

    /// After an error of a learner's storage: if its chat log was cut, it goes on with what is
    /// left. Returns the error otherwise.
    pub(super) fn mend(&mut self, id: ReplicaId, error: io::Error) -> io::Result<()> {
        if !is_lost(&error) {
            return Err(error);
        }
        let node = &mut self.nodes[id.index()];
        let Some(process) = &mut node.process else { return Err(error) };
        process.mend_learner(error, &mut node.store)?;
        let applied = process.learner().map_or(Slot::ZERO, |learner| learner.applied());
        self.reach.count(Situation::ChatLogMended);
        self.checker.lost(id, applied).for_each(|bytes| self.cost.loses(bytes));
        self.checker.restarted(id, applied);
        self.trace(|| format!("replica {id}: its chat log was cut: it goes on at slot {applied}"));
        self.wake_soon(id, RoleName::Learner, 0);
        Ok(())
    }

    /// After a learner's turn its thread sleeps: its storage writes what it has gathered, and
    /// looks at the chat log.
    pub(super) fn rest_after_turn(&mut self, id: ReplicaId, role: RoleName) -> io::Result<()> {
        use multipaxos::storage::upkeep::Upkeep;
        if self.profile.strike_every_us == 0 || role != RoleName::Learner {
            return Ok(());
        }
        let node = &mut self.nodes[id.index()];
        if node.process.as_ref().is_some_and(Process::is_started) {
            node.store.learner.rest()?;
        }
        Ok(())
    }

    /// Whether the replicas that are needed have the same chat log, where some were struck.
    pub(super) fn chat_logs_agree(&self) -> bool {
        if self.struck.is_none() {
            return true;
        }
        let needed = self.nodes.iter().filter(|node| !self.out[node.id.index()]);
        let texts: Vec<_> = needed.map(|node| chat_log(node).unwrap_or_default()).collect();
        let lines = |text: &Vec<u8>| text.iter().filter(|byte| **byte == b'\n').count() as u64;
        texts.iter().all(|text| *text == texts[0] && lines(text) == self.checker.log_len())
    }
}

fn cut(logs: &sim_disk::SimDisk, length: u64) -> io::Result<()> {
    match logs.cut_off(CHAT_LOG, length as usize) {
        true => Ok(()),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// What a replica's chat log holds.
fn chat_log(node: &Node) -> Option<Vec<u8>> {
    let file = node.store.disk()?.folder("logs").open(CHAT_LOG).ok()??;
    let mut bytes = vec![0; file.length().ok()? as usize];
    file.read_at(0, &mut bytes).ok()?;
    Some(bytes)
}

/// The name of the next copy.
fn free_name(logs: &sim_disk::SimDisk) -> io::Result<String> {
    for number in 1.. {
        let name = format!("{CHAT_LOG}.{number}");
        if logs.look(&name)?.is_none() {
            return Ok(name);
        }
    }
    unreachable!("some number is free")
}
