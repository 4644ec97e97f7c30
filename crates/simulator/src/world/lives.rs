//! The replicas of a run: their lives, their turns, and the messages that they send.

use super::*;
use multipaxos::message::ToAcceptor;
use multipaxos::paxos::learner;
use std::io;

/// So long after a replica whose log was changed has stopped, another one may stop that had compared
/// its own with it before: twice the three seconds that it waits for word of a quorum, since the
/// time in which it does not run does not count.
const LATE_STOP_US: u64 = 6_000_000;

impl World {
    pub(super) fn begin_life(&mut self, id: ReplicaId) -> Step {
        let (now, n) = (self.now, self.nodes.len());
        let spread = self.profile.clock_ppm;
        let rate_ppm = 1_000_000 - spread / 2 + self.streams.roles.u64(0..=spread);
        let boot = BootId(self.streams.roles.u64(1..));
        if !self.faults_on
            && let Some(disk) = self.nodes[id.index()].store.disk()
        {
            disk.heal();
        }
        if !self.open_store(id)? {
            return Ok(());
        }
        self.note_wire(id);
        let node = &mut self.nodes[id.index()];
        let has_batches = self.kernels.is_some();
        node.wire = self.wired.then(|| {
            let (me, seal) = (message::Party::Replica(id), self.seal.as_ref());
            Wire::sealed(n, me, boot, self.datagram_max, seal).with_batches(has_batches)
        });
        node.life += 1;
        node.paused_until = None;
        node.backlog.clear();
        node.put_off.clear();
        node.settings.boot = boot;
        assert_eq!(node.settings.places, n, "the cluster keeps its size");
        node.process = Some(Process::begin(node.settings, &node.store, rate_ppm, now));
        let life = node.life;
        self.cost.begins(n - 1 + self.clients.len());
        self.cost.greets(n);
        self.forgets_the_ways(id);
        self.trace(|| format!("replica {id} begins life {life}"));
        self.schedule(id, RoleName::Bootstrap);
        Ok(())
    }

    /// Opens a replica's storage. Returns whether a life can begin on it.
    pub(super) fn open_store(&mut self, id: ReplicaId) -> Result<bool, Violation> {
        let n = self.nodes.len();
        let node = &mut self.nodes[id.index()];
        if let Err(closed) = node.store.open(id, n) {
            let flipped = node.flipped;
            let dark = node.store.disk().is_some_and(|disk| disk.is_dark());
            node.store.crash(if dark { Death::PowerCut } else { Death::Killed });
            self.reach.add(Situation::PowerCut, u64::from(dark));
            self.trace(|| format!("replica {id} does not open: {closed:?}"));
            return match closed {
                Closed::Trouble(_) => {
                    self.reach.count(Situation::DiskTrouble);
                    self.restart_later(id);
                    Ok(false)
                }
                Closed::Refused(_) if flipped => {
                    self.reach.count(Situation::Damage);
                    self.out[id.index()] = true;
                    Ok(false)
                }
                Closed::Refused(what) => {
                    Err(Violation { what: format!("D2: replica {id} refuses: {what}"), slot: None })
                }
            };
        }
        let doubt = node.store.in_doubt();
        if self.wiped[id.index()] && node.store.started.is_none() {
            // It has joined no cluster. It remembers nothing, and begins anew each time.
            self.checker.wiped(id);
            if let Some(beginning) = &node.store.beginning {
                self.checker.begins_at(id, beginning.origin.end);
            }
            return Ok(true);
        }
        if node.store.state != *self.checker.acceptor(id) {
            let life = node.life;
            self.reach.add(Situation::InDoubt, u64::from(!doubt.is_empty()));
            for record in doubt {
                self.checker.durable(id, life, &record)?;
            }
        }
        let node = &mut self.nodes[id.index()];
        if node.flipped && node.store.state != *self.checker.acceptor(id) {
            // A flipped bit in the last frame looks like a torn write, so the replica opened without
            // noticing the loss. README's limits say so: the operator must make it begin anew.
            self.reach.count(Situation::Damage);
            self.wipe(id);
            return self.open_store(id);
        }
        node.started |= node.store.started.is_some() && !self.wiped[id.index()];
        self.checker.recovered(id, &self.nodes[id.index()].store.state)?;
        Ok(true)
    }

    pub(super) fn restart_later(&mut self, id: ReplicaId) {
        let back = self.streams.crashes.u64(1_000..3_000_000);
        self.queue.add(self.now.plus_us(back), Event::Fault(Fault::Restart(id)));
    }

    /// A replica loses its disk, and so its right to accept.
    pub(super) fn wipe(&mut self, id: ReplicaId) {
        self.trace(|| format!("replica {id} loses its disk"));
        let directory = DirectoryId(self.streams.crashes.u64(1..));
        let rng = self.streams.crashes.fork();
        let node = &mut self.nodes[id.index()];
        node.store.wipe(directory, rng);
        node.started = false;
        self.checker.wiped(id);
        self.wiped[id.index()] = true;
        self.record(|| history::Event::Wiped { replica: id });
    }

    pub(super) fn end_life(&mut self, id: ReplicaId, death: Death) {
        self.end_life_as(id, death, false);
    }

    fn end_life_as(&mut self, id: ReplicaId, death: Death, cannot_sync: bool) {
        let node = &mut self.nodes[id.index()];
        let dark = node.store.disk().is_some_and(|disk| disk.is_dark());
        let death = if dark { Death::PowerCut } else { death };
        node.process = None;
        node.backlog.clear();
        node.put_off.clear();
        node.paused_until = None;
        node.store.crash(death);
        if self.leader == Some(id) {
            self.leader = None;
        }
        if death == Death::PowerCut {
            self.reach.count(Situation::PowerCut);
        }
        self.trace(|| format!("replica {id} dies: {death:?}"));
        self.record_end(id, cannot_sync);
    }

    pub(super) fn drawn_death(&mut self) -> Death {
        if self.streams.crashes.bool() { Death::Killed } else { Death::PowerCut }
    }

    pub(super) fn arrive(&mut self, to: ReplicaId, arrival: Arrival) -> Step {
        let node = &mut self.nodes[to.index()];
        if node.process.is_none() {
            return Ok(());
        }
        if node.paused_until.is_some() {
            if node.backlog.len() < BACKLOG_MAX {
                node.backlog.push_back(arrival);
            }
            return Ok(());
        }
        if let Arrival::Frame(from, bytes) = arrival {
            return self.frame_to_replica(to, from, &bytes);
        }
        self.record_at_replica(to, &arrival);
        let Some(process) = &mut self.nodes[to.index()].process else { return Ok(()) };
        let roles = process.accept(arrival);
        self.deliver_to(to, roles)
    }

    pub(super) fn deliver_to(&mut self, to: ReplicaId, roles: [Option<RoleName>; 2]) -> Step {
        for role in roles.into_iter().flatten() {
            self.wake_soon(to, role, 0);
        }
        Ok(())
    }

    /// Adds an event that runs a role within `within_us`, unless one is in the queue.
    pub(super) fn wake_soon(&mut self, id: ReplicaId, role: RoleName, within_us: u64) {
        let rng = &mut self.streams.schedule;
        let mut wait = if within_us > 0 { rng.u64(0..=within_us) } else { 0 };
        if self.faults_on
            && self.profile.stall_ppm > 0
            && rng.u32(0..1_000_000) < self.profile.stall_ppm
        {
            wait += rng.u64(0..=STALL_US);
        }
        let node = &mut self.nodes[id.index()];
        if node.slow_us > 0 && self.faults_on {
            wait += rng.u64(0..=node.slow_us);
        }
        let life = node.life;
        let Some(process) = &mut node.process else { return };
        let Some(marks) = process.marks(role) else { return };
        if !std::mem::replace(&mut marks.woken, true) {
            self.queue.add(self.now.plus_us(wait), Event::Wake { node: id, life, role });
        }
    }

    pub(super) fn wake(&mut self, id: ReplicaId, life: u32, role: RoleName, timer: bool) -> Step {
        let node = &mut self.nodes[id.index()];
        if node.life != life {
            return Ok(());
        }
        let is_asleep = node.paused_until.is_some();
        let Some(process) = &mut node.process else { return Ok(()) };
        let Some(marks) = process.marks(role) else { return Ok(()) };
        if timer && marks.timer_at != Some(self.now) {
            // An earlier timer event has replaced this one.
            return Ok(());
        }
        if is_asleep {
            node.put_off.push((role, if timer { Turn::Timer } else { Turn::Wake }));
            return Ok(());
        }
        if timer {
            marks.timer_at = None;
        } else {
            marks.woken = false;
        }
        if marks.busy {
            marks.again = true;
            return Ok(());
        }
        if self.faults_on
            && self.profile.sync_ppm > 0
            && role == RoleName::Acceptor
            && self.streams.disk.u32(0..1_000_000) < self.profile.sync_ppm
        {
            let kept = self.streams.disk.bool();
            match node.store.disk() {
                None => {
                    let fault = if kept { SyncFault::Kept } else { SyncFault::Lost };
                    node.store.acceptor.fault = Some(fault);
                }
                Some(_) => {
                    let fault = if kept { sim_disk::Fault::Full } else { sim_disk::Fault::Device };
                    node.store.fail_soon(fault, &mut self.streams.disk);
                    self.reach.count(Situation::DiskTrouble);
                }
            }
        }
        let computed = process.compute(role, self.now, &mut self.streams.roles, &mut node.store);
        if let (Ok(work), Some(environment)) = (&computed, &self.environment) {
            let done_at = environment.done_at(process, self.now, *work, &mut self.streams.disk);
            if let Some(marks) = process.marks(role) {
                marks.busy = true;
            }
            self.queue.add(done_at, Event::Commit { node: id, life, role });
            return Ok(());
        }
        self.commit(id, role, computed.map(|_| ()))
    }

    /// The end of a turn that takes time.
    pub(super) fn end_turn(&mut self, id: ReplicaId, life: u32, role: RoleName) -> Step {
        let node = &mut self.nodes[id.index()];
        if node.life != life {
            return Ok(());
        }
        let Some(process) = &mut node.process else { return Ok(()) };
        if node.paused_until.is_some() {
            node.put_off.push((role, Turn::Commit));
            return Ok(());
        }
        let Some(marks) = process.marks(role) else { return Ok(()) };
        marks.busy = false;
        if std::mem::take(&mut marks.again) {
            self.wake_soon(id, role, 0);
        }
        self.commit(id, role, Ok(()))
    }

    /// Commits a turn that is computed, unless that has failed.
    fn commit(&mut self, id: ReplicaId, role: RoleName, computed: io::Result<()>) -> Step {
        let node = &mut self.nodes[id.index()];
        let Some(process) = &mut node.process else { return Ok(()) };
        let turned = computed.and_then(|()| process.commit(role, &mut node.store));
        node.store.acceptor.fault = None;
        let node_life = node.life;
        for record in std::mem::take(&mut self.nodes[id.index()].store.acceptor.observed) {
            self.checker.durable(id, node_life, &record)?;
            self.record_saved(id, &record);
        }
        for record in std::mem::take(&mut self.nodes[id.index()].store.learner.observed) {
            if let learner::Record::Checkpoint(part) = &record {
                let later = part.is_last && !part.is_first;
                self.reach.add(Situation::CheckpointParts, u64::from(later));
            }
            self.checker.applied(id, &record)?;
            self.record_applied(id, &record);
        }
        match turned {
            Ok(envelopes) => {
                self.check_bounds(id, role)?;
                self.check_machine(id, role)?;
                self.post(id, envelopes)?;
                self.note_leader(id);
                self.record_leader(id);
                self.schedule(id, role);
                match self.rest_after_turn(id, role) {
                    Ok(()) => Ok(()),
                    Err(error) => self.fails(id, role, error),
                }
            }
            Err(error) => self.fails(id, role, error),
        }
    }

    /// A turn of a role has failed, or what its thread does after it.
    fn fails(&mut self, id: ReplicaId, role: RoleName, error: io::Error) -> Step {
        match if role == RoleName::Learner { self.mend(id, error) } else { Err(error) } {
            Ok(()) => {}
            Err(error) => {
                self.reach.count(Situation::SyncFailed);
                self.trace(|| format!("replica {id}: {error}"));
                let death = self.drawn_death();
                self.end_life_as(id, death, true);
                if self.faults_on {
                    self.restart_later(id);
                } else if !self.out[id.index()] {
                    self.begin_life(id)?;
                }
            }
        }
        Ok(())
    }

    /// Counts the bounds that a role has come up to in its turn. None may be passed (I8).
    fn check_bounds(&mut self, id: ReplicaId, role: RoleName) -> Step {
        let node = &self.nodes[id.index()];
        let Some(process) = &node.process else { return Ok(()) };
        process.reached(role, &mut |bound| self.reach.count(Situation::bound(bound)));
        match process.acceptor() {
            Some(acceptor) if role == RoleName::Acceptor => {
                self.checker.bounded(id, acceptor.state(), &node.settings.limits)
            }
            _ => Ok(()),
        }
    }

    /// Adds a timer event for a role's deadline, unless an earlier one is in the queue.
    pub(super) fn schedule(&mut self, id: ReplicaId, role: RoleName) {
        let node = &mut self.nodes[id.index()];
        let life = node.life;
        let Some(process) = &mut node.process else { return };
        let Some(deadline) = process.deadline(role) else { return };
        let at = deadline.max(self.now.plus_us(1));
        let Some(marks) = process.marks(role) else { return };
        if marks.timer_at.is_none_or(|timer| timer > at) {
            marks.timer_at = Some(at);
            self.queue.add(at, Event::Timer { node: id, life, role });
        }
    }

    pub(super) fn post(&mut self, id: ReplicaId, envelopes: Vec<Envelope>) -> Step {
        let life = self.nodes[id.index()].life;
        let (mut outgoing, mut has_lost_state, mut diverged) = (Vec::new(), false, None);
        for envelope in envelopes {
            match envelope {
                Envelope::Peer { to, message } if to == id => {
                    self.record(|| history::Event::Told {
                        replica: id,
                        said: history::Said::by_peer(&message),
                    });
                    let Some(process) = &mut self.nodes[id.index()].process else { return Ok(()) };
                    if self.faults_on
                        && self.streams.network.u32(0..1_000_000) < self.profile.inbox_ppm
                    {
                        self.reach.count(Situation::InboxFull);
                        continue;
                    }
                    let roles = process.accept(Arrival::Peer(id, message));
                    for role in roles.into_iter().flatten() {
                        self.wake_soon(id, role, NOTICE_US);
                    }
                }
                Envelope::Peer { to, message } => {
                    self.checker.leaves(id, life, &message)?;
                    self.reach.sees(&message);
                    self.tells_of_copy(id, to, &message)?;
                    if let Message::Acceptor(ToAcceptor::Prepare { ballot, .. }) = &message {
                        self.cost.campaigns_with(*ballot, self.nodes.len());
                    }
                    self.hash.add(&message);
                    let reaches = self.wired || self.reaches(id, to);
                    self.record_message(id, to, &message, reaches);
                    if self.wired {
                        outgoing.push(Outgoing::Peer { to, message });
                    } else if reaches {
                        let at_copy = self.goes_to_copy(id, to);
                        self.send_whole(|| World::arrives(to, at_copy, arrival(id, &message)));
                    }
                }
                Envelope::Back { to, at, message } => {
                    let sent = Message::Bootstrap(message.clone());
                    self.record_message(id, to, &sent, self.wired || self.reaches(id, to));
                    if self.wired {
                        outgoing.push(Outgoing::Back { to, at, message });
                    } else if self.reaches(id, to) {
                        let message = Message::Bootstrap(message);
                        self.send_whole(|| Event::Arrive { to, arrival: arrival(id, &message) });
                    }
                }
                Envelope::Answers { to, answers } if to == OPERATOR => {
                    for answer in answers {
                        self.hash.add(&answer);
                        self.tells_operator(id, answer)?;
                    }
                }
                Envelope::Answers { to, answers } if to == READER => {
                    for answer in answers {
                        self.hash.add(&answer);
                        self.answers_reader(id, answer);
                    }
                }
                Envelope::Answers { to, answers } if to == READS => {
                    for answer in answers {
                        self.hash.add(&answer);
                        self.answers_read(id, answer)?;
                    }
                }
                Envelope::Answers { to, answers } => {
                    let (client, life) = who(to);
                    for answer in &answers {
                        self.checker.answers(self.clients[client].ids_in(life), answer)?;
                        self.hash.add(answer);
                        self.record_answer(id, to, answer);
                    }
                    if self.wired {
                        outgoing.push(Outgoing::Answers { to, answers });
                    } else if !self.out[id.index()] {
                        for answer in answers {
                            let answer = || answer.clone();
                            self.send_whole(|| Event::Answer {
                                client,
                                life,
                                from: id,
                                answer: answer(),
                            });
                        }
                    }
                }
                Envelope::Notice(Notice::Start(membership)) => self.start(id, membership)?,
                Envelope::Notice(Notice::LostState(_)) => has_lost_state = true,
                Envelope::Notice(Notice::Diverged(said)) => diverged = Some(said),
                Envelope::Notice(Notice::MayEnd { successor }) => self.may_end(id, successor),
                Envelope::Notice(Notice::Places(moved)) => self.learns_the_ways(id, &moved)?,
                Envelope::Notice(notice) => {
                    self.record_notice(id, &notice);
                    if self.faults_on
                        && self.streams.network.u32(0..1_000_000) < self.profile.inbox_ppm
                    {
                        self.reach.count(Situation::InboxFull);
                        continue;
                    }
                    let Some(process) = &mut self.nodes[id.index()].process else { return Ok(()) };
                    if let Some(role) = process.notify(notice) {
                        self.wake_soon(id, role, NOTICE_US);
                    }
                }
                Envelope::Call { .. } => unreachable!("replicas do not call"),
            }
        }
        if let Some(wire) = &mut self.nodes[id.index()].wire
            && !outgoing.is_empty()
        {
            let frames = wire.send(self.now, &outgoing);
            self.send_frames(id, frames);
            self.expect_fragments(id);
        }
        match diverged {
            Some(said) => self.stops(id, said),
            None if has_lost_state => self.gives_up(id),
            None => Ok(()),
        }
    }

    /// S11: a replica has another log than another one, and hears no quorum that has the same. The
    /// operator of the wrong one removes what is left; the right one begins again. It may stop
    /// after the wrong one, as long as it has not heard that one's next life.
    fn stops(&mut self, id: ReplicaId, said: Diverged) -> Step {
        let before = self.altered_before.filter(|(_, at)| self.now.since_us(*at) < LATE_STOP_US);
        let mut altered = self.altered.into_iter().chain(before.map(|(altered, _)| altered));
        if !altered.any(|altered| altered == id || said.peers.contains(altered)) {
            let what = format!("S11: replica {id} stops, and has the same log as {said:?}");
            return Err(Violation { what, slot: None });
        }
        if self.altered == Some(id) {
            self.reach.count(Situation::Diverged);
            self.altered = None;
            self.altered_before = Some((id, self.now));
            return self.begins_anew(id);
        }
        self.end_life(id, Death::Killed);
        self.returns(id)
    }

    /// S10: a replica has learned that it has lost its state. Its operator removes what is left.
    fn gives_up(&mut self, id: ReplicaId) -> Step {
        // S12: of two lives of one directory, the one that remains may lack what the other saved.
        if !self.nodes[id.index()].flipped && !self.was_copied(id) {
            let what = format!("S10: replica {id} gives up, and has lost nothing");
            return Err(Violation { what, slot: None });
        }
        self.reach.count(Situation::StateLost);
        self.begins_anew(id)
    }

    fn begins_anew(&mut self, id: ReplicaId) -> Step {
        self.end_life(id, Death::Killed);
        self.wipe(id);
        self.returns(id)
    }

    pub(super) fn returns(&mut self, id: ReplicaId) -> Step {
        if self.faults_on {
            self.restart_later(id);
        } else if !self.out[id.index()] {
            self.begin_life(id)?;
        }
        Ok(())
    }
}

/// A message of a replica, as it arrives whole.
fn arrival(from: ReplicaId, message: &Message) -> Arrival {
    match message.clone() {
        Message::Bootstrap(message) => Arrival::WarmUp(from, address_of_replica(from), message),
        message => Arrival::Peer(from, message),
    }
}
