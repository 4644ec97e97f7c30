//! The faults of a run, and how they stop.

use super::*;
use multipaxos::paxos::learner::Learner;

/// How old a copy of a disk is when it is put back, in microseconds, or a part of it.
const COPY_OLD_US: u64 = 1_000_000;

impl World {
    pub(super) fn fault_later(&mut self, every_us: u64, fault: Fault) {
        if every_us > 0 {
            let wait = self.streams.crashes.u64(every_us / 2..=every_us + every_us / 2);
            self.queue.add(self.now.plus_us(wait), Event::Fault(fault));
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Step {
        if !self.faults_on {
            // Replicas that sleep or are down still come back. No new fault begins.
            return match fault {
                Fault::Resume(id) => self.resume(id),
                Fault::Ends(id, life) => self.ends(id, life),
                Fault::Restart(id)
                    if self.nodes[id.index()].process.is_none() && !self.out[id.index()] =>
                {
                    self.begin_life(id)
                }
                _ => Ok(()),
            };
        }
        self.hash.add(&fault);
        self.cost.causes += 1;
        let n = self.nodes.len();
        match fault {
            Fault::Crash => {
                let every = self.profile.crash_every_us;
                let id = match (self.leader, self.streams.crashes.bool()) {
                    (Some(leader), true) => leader,
                    _ => ReplicaId(self.streams.crashes.usize(..n) as u8),
                };
                if self.nodes[id.index()].process.is_some() {
                    self.reach.count(Situation::Crash);
                    let soon = self.streams.crashes.u64(0..12);
                    let tear = self.streams.crashes.usize(..TEAR_BYTES_MAX);
                    let death = self.drawn_death();
                    match self.nodes[id.index()].store.disk() {
                        // The power is cut during one of the next writes.
                        Some(disk) if soon > 0 => disk.cut_at(disk.calls() + soon, tear),
                        _ => {
                            self.end_life(id, death);
                            self.flip(id);
                            self.restart_later(id);
                        }
                    }
                }
                self.fault_later(every, Fault::Crash);
            }
            Fault::Restart(id) => {
                if self.nodes[id.index()].process.is_none() {
                    self.reach.count(Situation::Restart);
                    self.begin_life(id)?;
                }
            }
            Fault::Pause => {
                let every = self.profile.pause_every_us;
                let id = match (self.leader, self.streams.crashes.bool()) {
                    (Some(leader), true) => leader,
                    _ => ReplicaId(self.streams.crashes.usize(..n) as u8),
                };
                let node = &mut self.nodes[id.index()];
                if node.process.is_some() && node.paused_until.is_none() {
                    self.reach.count(Situation::Pause);
                    let until = self.now.plus_us(self.streams.crashes.u64(10_000..3_000_000));
                    node.paused_until = Some(until);
                    self.queue.add(until, Event::Fault(Fault::Resume(id)));
                    self.trace(|| format!("replica {id} sleeps until {}", until.0));
                    self.record_note(Some(id), "sleeps");
                }
                self.fault_later(every, Fault::Pause);
            }
            Fault::Resume(id) => self.resume(id)?,
            Fault::Partition => {
                let every = self.profile.partition_every_us;
                let kind = PARTITIONS[self.streams.crashes.usize(..PARTITIONS.len())];
                self.reach.count(Situation::partition(kind));
                let leader = self.leader;
                self.links.impose(kind, leader, &mut self.streams.crashes);
                let led = leader.map_or("nobody leads".into(), |id| format!("{id} leads"));
                self.trace(|| format!("partition {kind:?}, {led}"));
                self.record_note(None, &format!("links are cut: {kind:?}"));
                let lasts = self.streams.crashes.u64(50_000..5_000_000);
                if kind == Partition::Flap {
                    self.queue.add(self.now.plus_us(100_000), Event::Fault(Fault::Flap(20)));
                } else {
                    self.queue.add(self.now.plus_us(lasts), Event::Fault(Fault::Heal));
                }
                self.fault_later(every + lasts, Fault::Partition);
            }
            Fault::Heal => {
                self.links.heal();
                self.trace(|| "partition heals".into());
                self.record_note(None, "links are mended");
            }
            Fault::Flap(0) => self.links.heal(),
            Fault::Flap(left) => {
                let leader = self.leader;
                if left % 2 == 0 {
                    self.links.heal();
                } else {
                    self.links.impose(Partition::Flap, leader, &mut self.streams.crashes);
                }
                let wait = self.streams.crashes.u64(10_000..300_000);
                self.queue.add(self.now.plus_us(wait), Event::Fault(Fault::Flap(left - 1)));
            }
            Fault::Wipe => {
                // A disk is lost once a run at most, and only while the others have all of theirs.
                let id = ReplicaId(self.streams.crashes.usize(..n) as u8);
                let all = self.nodes.iter().all(|node| node.started && !node.flipped);
                if n >= 3 && all && self.chat_logs_are_whole() {
                    self.reach.count(Situation::Wipe);
                    self.end_life(id, Death::Killed);
                    self.wipe(id);
                    self.restart_later(id);
                }
            }
            Fault::Copy => {
                let id = ReplicaId(self.streams.crashes.usize(..n) as u8);
                let copy = self.nodes[id.index()].store.copied();
                self.copy = copy.map(|copy| (id, copy));
                self.fault_later(COPY_OLD_US, Fault::PutBack);
            }
            Fault::PutBack => self.put_back(),
            Fault::Alter => self.alter(),
            Fault::ClientDies => {
                let every = self.profile.client_every_us;
                let client = self.streams.crashes.usize(..self.clients.len());
                self.reach.count(Situation::ClientDies);
                self.trace(|| format!("client {client} dies and returns"));
                self.begin_client(client);
                self.fault_later(every, Fault::ClientDies);
            }
            Fault::Strike => self.strike(),
            Fault::Terminate => self.terminate(),
            Fault::Ends(id, life) => self.ends(id, life)?,
            Fault::Members => self.change_members(),
        }
        Ok(())
    }

    /// An older copy of a disk is put back, if every other replica is certain to remember more of
    /// it: what is remembered in memory alone may die with it. It is lost state, so it happens once
    /// a run at most, and only while the others have all of theirs.
    fn put_back(&mut self) {
        let Some((id, copy)) = self.copy.take() else { return };
        let all = self.nodes.iter().all(|node| node.started && !node.flipped);
        let node = &self.nodes[id.index()];
        if self.nodes.len() < 3 || !all || node.store.directory != copy.directory {
            return;
        }
        let written = copy.acceptor.durable().written();
        let knows_more = |node: &Node| {
            let stored = node.store.acceptor.durable().memories().get(id.index());
            let learner = node.process.as_ref().and_then(Process::learner);
            stored.is_some_and(|memory| memory.written > written)
                && learner.is_none_or(|learner| learner.memory(id).written > written)
        };
        let mut others = self.nodes.iter().filter(|node| node.id != id);
        if !others.all(knows_more) || self.wiped.contains(&true) {
            self.copy = Some((id, copy));
            return self.fault_later(COPY_OLD_US, Fault::PutBack);
        }
        self.reach.count(Situation::PutBack);
        self.end_life(id, Death::Killed);
        self.trace(|| format!("replica {id}: an older copy of its disk is put back"));
        self.checker.put_back(id, copy.acceptor.durable());
        let node = &mut self.nodes[id.index()];
        (node.store, node.flipped) = (copy, true);
        self.restart_later(id);
    }

    /// Somebody changes a line that no other replica will ever apply again: else what they fetch
    /// before it is noticed would be wrong. It is lost state, as above.
    fn alter(&mut self) {
        let n = self.nodes.len();
        let all = self.nodes.iter().all(|node| node.started && !node.flipped);
        if n < 3 || !all || self.wiped.contains(&true) {
            return;
        }
        let durable = self.nodes.iter().filter_map(|node| node.store.durable()).min();
        let id = ReplicaId(self.streams.crashes.usize(..n) as u8);
        let slot = Slot(self.streams.crashes.u64(..8));
        let Some(durable) = durable.filter(|durable| *durable > slot) else {
            return self.fault_later(COPY_OLD_US, Fault::Alter);
        };
        self.end_life(id, Death::Killed);
        let node = &mut self.nodes[id.index()];
        if let Some(slot) = node.store.alter(SlotRange::new(slot, durable)) {
            node.flipped = true;
            self.altered = Some(id);
            self.reach.count(Situation::Altered);
            self.trace(|| format!("somebody changes the line of slot {slot} at replica {id}"));
        }
        self.restart_later(id);
    }

    /// Now and then flips a bit on the disk of a replica that died. At most f replicas have a
    /// flipped bit or a lost disk.
    pub(super) fn flip(&mut self, id: ReplicaId) {
        let rng = &mut self.streams.disk;
        let hit = rng.u8(0..20) == 0;
        let (folder, place, bit) = (rng.bool(), rng.u64(..), rng.u32(0..8));
        let lost = |node: &&Node| node.flipped || self.wiped[node.id.index()];
        let spent = self.nodes.iter().filter(lost).count() >= (self.nodes.len() - 1) / 2;
        let all = self.nodes.iter().all(|node| node.started);
        let spent = spent || !self.chat_logs_are_whole();
        if !hit
            || spent
            || !all
            || self.changes.is_some()
            || self.nodes.len() < 3
            || !self.options.switches.disk
        {
            return;
        }
        let node = &mut self.nodes[id.index()];
        let Some(disk) = node.store.disk() else { return };
        let disk = disk.folder(if folder { "data" } else { "logs" });
        let files: Vec<_> =
            disk.durable_files().into_iter().filter(|(_, length)| *length > 0).collect();
        if let Some((name, length)) = files.get(place as usize % files.len().max(1)) {
            let byte = (place >> 8) as usize % length;
            disk.flip_bit(name, byte, bit);
            node.flipped = true;
            let name = name.clone();
            self.trace(|| format!("replica {id}: a bit flips in {name} at {byte}"));
        }
    }

    pub(super) fn resume(&mut self, id: ReplicaId) -> Step {
        let node = &mut self.nodes[id.index()];
        if node.paused_until.is_none_or(|until| until > self.now) {
            return Ok(());
        }
        node.paused_until = None;
        let (life, put_off) = (node.life, std::mem::take(&mut node.put_off));
        for arrival in std::mem::take(&mut node.backlog) {
            self.arrive(id, arrival)?;
        }
        // The roles go on behind what has arrived.
        let at = self.now.plus_us(1);
        for (role, turn) in put_off {
            let event = match turn {
                Turn::Wake => Event::Wake { node: id, life, role },
                Turn::Commit => Event::Commit { node: id, life, role },
                Turn::Timer => {
                    let process = self.nodes[id.index()].process.as_mut();
                    let Some(marks) = process.and_then(|it| it.marks(role)) else { continue };
                    marks.timer_at = Some(at);
                    Event::Timer { node: id, life, role }
                }
            };
            self.queue.add(at, event);
        }
        Ok(())
    }

    /// Begins the second phase: a quorum is without faults, the others may be in any state.
    pub(super) fn stop_faults(&mut self) -> Step {
        let disks = self.nodes.iter().filter_map(|node| node.store.disk());
        self.disk_calls = disks.map(sim_disk::SimDisk::calls).collect();
        self.faults_on = false;
        self.end_copy();
        let waits = self.clients.iter().any(|visitor| visitor.role.is_busy());
        self.waiting_since = waits.then_some(self.now);
        self.links.heal();
        let n = self.nodes.len();
        let mut ids: Vec<usize> = (0..n).collect();
        self.streams.crashes.shuffle(&mut ids);
        // A replica that has lost its disk, or may have, or lines of its chat log, is in the quorum
        // only if it must be.
        let struck = self.struck.filter(|_| !self.chat_logs_are_whole()).map(|(id, _)| id.index());
        ids.sort_by_key(|index| {
            // Of two lives of one directory either may lack what the other has said.
            let was_copied = self.was_copied(ReplicaId(*index as u8));
            let is_lost = self.wiped[*index] || self.nodes[*index].flipped || was_copied;
            (is_lost, struck == Some(*index))
        });
        // A cluster that has not started yet needs every replica.
        let strangers = |node: &&Node| !node.started && !self.wiped[node.id.index()];
        let well = match self.nodes.iter().any(|node| strangers(&node)) {
            true => n,
            false => self.members_needed(),
        };
        for (place, index) in ids.into_iter().enumerate() {
            let id = ReplicaId(index as u8);
            // One whose log somebody has changed must notice it.
            if place >= well && self.altered != Some(id) {
                match self.streams.crashes.u8(0..3) {
                    0 => {
                        self.end_life(id, Death::Killed);
                        self.out[index] = true;
                        self.cost.causes += 1;
                        continue;
                    }
                    1 => {
                        self.out[index] = true;
                        self.cost.causes += 1;
                        continue;
                    }
                    _ if self.nodes[index].flipped => {
                        self.out[index] = true;
                        continue;
                    }
                    _ => {}
                }
            }
            if let Some(disk) = self.nodes[index].store.disk() {
                disk.heal();
            }
            if self.nodes[index].process.is_none() && !self.out[index] {
                self.begin_life(id)?;
            }
            if self.nodes[index].paused_until.is_some() {
                self.nodes[index].paused_until = Some(self.now);
                self.queue.add(self.now, Event::Fault(Fault::Resume(id)));
            }
        }
        self.leave_out_joiners();
        let out = self.out.clone();
        self.trace(|| format!("faults stop; out: {out:?}"));
        for client in 0..self.clients.len() {
            self.clients[client].farewell = false;
        }
        Ok(())
    }

    /// Whether every line is complete and the logs of the quorum are equal.
    pub(super) fn is_settled(&self) -> bool {
        let quiet = self.clients.iter().all(|visitor| visitor.farewell && !visitor.role.is_busy());
        let len = self.checker.log_len();
        quiet
            && self.altered.is_none()
            && self.nodes.iter().filter(|node| !self.out[node.id.index()]).all(|node| {
                let learner = node.process.as_ref().and_then(|process| process.learner());
                learner.is_some_and(|learner| learner.applied().0 == len)
            })
    }

    /// How many slots the last of the replicas that are needed has not applied.
    pub(super) fn farthest_behind(&self) -> u64 {
        let needed = self.nodes.iter().filter(|node| !self.out[node.id.index()]);
        let applied = needed.map(|node| {
            // A replica that has just come back goes on from its checkpoint.
            let learner = node.process.as_ref().and_then(Process::learner);
            learner.map_or(node.store.checkpoint.applied, Learner::applied).0
        });
        self.checker.log_len() - applied.min().unwrap_or_default()
    }

    pub(super) fn stuck(&self, waited_us: u64) -> Violation {
        if let Some(id) = self.altered {
            let what = format!("S11: replica {id} goes on, although its log was changed");
            return Violation { what, slot: None };
        }
        let busy: Vec<usize> =
            (0..self.clients.len()).filter(|client| self.clients[*client].role.is_busy()).collect();
        let applied: Vec<String> = self
            .nodes
            .iter()
            .map(|node| match node.process.as_ref().and_then(|process| process.learner()) {
                _ if self.out[node.id.index()] => "out".into(),
                Some(learner) => learner.applied().to_string(),
                None => "down".into(),
            })
            .collect();
        let waited = waited_us as f64 / 1e6;
        Violation {
            what: format!(
                "I9: not settled {waited:.0} s after the faults stopped: clients {busy:?} wait, \
                 replicas have applied {applied:?} of {}",
                self.checker.log_len()
            ),
            slot: None,
        }
    }
}
