//! How messages travel between the processes of a run: whole, or as real datagrams and
//! fragments.

use super::*;

impl World {
    /// Whether messages from one replica reach another.
    pub(super) fn reaches(&self, from: ReplicaId, to: ReplicaId) -> bool {
        let is_open = !self.links.is_cut(from, to) && self.knows_the_way(from, to);
        is_open && !self.out[to.index()] && !self.out[from.index()]
    }

    pub(super) fn send_frames(&mut self, id: ReplicaId, frames: Frames) {
        for leaving in frames {
            match self.hand_over(Host::Replica(id), &leaving) {
                0 => {}
                1 => self.send_frame(id, leaving.to, leaving.bytes),
                _ => {
                    for bytes in leaving.bytes.chunks(leaving.size) {
                        self.send_frame(id, leaving.to, bytes.to_vec());
                    }
                }
            }
        }
    }

    fn send_frame(&mut self, id: ReplicaId, to: Endpoint, bytes: Vec<u8>) {
        let from = self.address(id);
        match to {
            Endpoint::Replica(to) => {
                self.sees((Host::Replica(id), from), Host::Replica(to), &bytes)
            }
            Endpoint::Client(to) => {
                if let Some((client, _)) = self.visitor_at(to) {
                    self.sees((Host::Replica(id), from), Host::Client(client), &bytes);
                }
            }
            Endpoint::Stray(..) => {}
        }
        match to {
            Endpoint::Replica(to) if self.reaches(id, to) => {
                let path = (Host::Replica(id), Host::Replica(to));
                let at_copy = self.goes_to_copy(id, to);
                let arrival = || Arrival::Frame(from, bytes.clone());
                self.send(path, &bytes, || World::arrives(to, at_copy, arrival()));
            }
            Endpoint::Client(to) if !self.out[id.index()] => {
                // Somebody forges addresses at which nobody is.
                let Some((client, life)) = self.visitor_at(to) else { return };
                let path = (Host::Replica(id), Host::Client(client));
                self.send(path, &bytes, || Event::Frame { client, life, bytes: bytes.clone() });
            }
            Endpoint::Stray(to, at) => self.send_back(id, to, at, bytes),
            Endpoint::Replica(_) | Endpoint::Client(_) => {}
        }
    }

    /// The client at this address, and its life.
    fn visitor_at(&self, at: Address) -> Option<(usize, u32)> {
        who_if_any(at).filter(|(client, _)| *client < self.clients.len())
    }

    /// A process hands datagrams to its kernel in one call. Returns how many of them leave. What
    /// a kernel refuses together is tried one by one.
    fn hand_over(&mut self, from: Host, leaving: &Leaving) -> usize {
        let count = leaving.bytes.len().div_ceil(leaving.size);
        let Some(kernels) = &mut self.kernels else { return count };
        let to = match leaving.to {
            Endpoint::Replica(to) => Host::Replica(to),
            Endpoint::Client(at) => Host::Client(who(at).0),
            Endpoint::Stray(..) => return count,
        };
        let fate = kernels.fate(self.now, (from, to), count);
        if count == 1 {
            return usize::from(matches!(fate, Fate::Leaves));
        }
        let passed = match kernels.fate(self.now, (from, to), 1) {
            Fate::Leaves if !leaving.probe => count,
            _ => 0,
        };
        let wire = match from {
            Host::Replica(id) => &mut self.nodes[id.index()].wire,
            Host::Client(client) => &mut self.clients[client].wire,
        };
        let wire = wire.as_mut().expect("who sends has a codec");
        let what = if leaving.probe { "probe" } else { "batch" };
        match fate {
            Fate::Leaves => {
                wire.batch_taken(leaving.to);
                count
            }
            Fate::Vanishes => {
                self.reach.count(Situation::BatchVanished);
                self.cost.sent_bytes += (leaving.bytes.len() + count * IP_UDP_BYTES) as u64;
                self.trace(|| format!("{from:?}: a {what} of {count} to {to:?} vanishes"));
                0
            }
            Fate::Refused(error) => {
                self.reach.count(Situation::BatchRefused);
                match leaving.probe {
                    true => wire.probe_refused(leaving.to),
                    false => wire.batch_refused(leaving.to, &error, passed),
                }
                self.trace(|| {
                    format!("{from:?}: a {what} of {count} to {to:?} is refused: {error}")
                });
                passed
            }
        }
    }

    pub(super) fn frame_to_replica(&mut self, id: ReplicaId, from: Address, bytes: &[u8]) -> Step {
        let Some(wire) = &mut self.nodes[id.index()].wire else { return Ok(()) };
        let (incoming, frames) = wire.receive(self.now, from, bytes);
        self.send_frames(id, frames);
        for incoming in incoming {
            let arrival = Arrival::of(incoming).expect("a replica opens no answers");
            self.arrive(id, arrival)?;
        }
        self.expect_fragments(id);
        Ok(())
    }

    /// Adds a timer event for missing fragments and probes, unless one is in the queue.
    pub(super) fn expect_fragments(&mut self, id: ReplicaId) {
        let node = &mut self.nodes[id.index()];
        let life = node.life;
        let Some(wire) = &mut node.wire else { return };
        if let Some(deadline) = wire.deadline()
            && wire.timer_at.is_none_or(|at| at > deadline)
        {
            let at = deadline.max(self.now.plus_us(1));
            wire.timer_at = Some(at);
            self.queue.add(at, Event::Missing { node: id, life });
        }
    }

    pub(super) fn ask_for_fragments(&mut self, id: ReplicaId, life: u32) -> Step {
        let node = &mut self.nodes[id.index()];
        if node.life == life
            && let Some(wire) = &mut node.wire
            && wire.timer_at == Some(self.now)
        {
            wire.timer_at = None;
            let frames = wire.poll(self.now);
            self.send_frames(id, frames);
            self.expect_fragments(id);
        }
        Ok(())
    }

    pub(super) fn frame_to_client(&mut self, client: usize, life: u32, bytes: &[u8]) -> Step {
        let visitor = &mut self.clients[client];
        if visitor.life != life {
            return Ok(());
        }
        let Some(wire) = &mut visitor.wire else { return Ok(()) };
        // A client ignores the sender's address: the frame holds its identity.
        let (incoming, frames) = wire.receive(self.now, address_of_replica(ReplicaId(0)), bytes);
        self.send_calls(client, frames);
        for incoming in incoming {
            match incoming {
                Incoming::Answer { from, answer } => {
                    // Its clients look for what they await.
                    let (host, count) = self.clients[client].process;
                    for client in host..host + count {
                        let life = self.clients[client].life;
                        self.answered(client, life, from, answer.clone())?;
                    }
                }
                Incoming::OtherCluster { .. } => {}
                other => {
                    let what = format!("W1: a client's socket opens {other:?}");
                    return Err(Violation { what, slot: None });
                }
            }
        }
        self.expect_client_wire(client);
        Ok(())
    }

    /// Adds a timer event for a client's probes, unless one is in the queue.
    pub(super) fn expect_client_wire(&mut self, client: usize) {
        let visitor = &mut self.clients[client];
        let life = visitor.life;
        let Some(wire) = &mut visitor.wire else { return };
        if let Some(deadline) = wire.deadline()
            && wire.timer_at.is_none_or(|at| at > deadline)
        {
            let at = deadline.max(self.now.plus_us(1));
            wire.timer_at = Some(at);
            self.queue.add(at, Event::ClientWire { client, life });
        }
    }

    pub(super) fn poll_client_wire(&mut self, client: usize, life: u32) -> Step {
        let visitor = &mut self.clients[client];
        if visitor.life == life
            && let Some(wire) = &mut visitor.wire
            && wire.timer_at == Some(self.now)
        {
            wire.timer_at = None;
            let frames = wire.poll(self.now);
            self.send_calls(client, frames);
            self.expect_client_wire(client);
        }
        Ok(())
    }

    /// The sender's own system refuses a datagram that is too long.
    fn refuse(&mut self, (from, to): (Host, Host), bytes: usize) {
        let (Host::Replica(to), now) = (to, self.now) else { return };
        let wire = match from {
            Host::Replica(from) => &mut self.nodes[from.index()].wire,
            Host::Client(client) => &mut self.clients[client].wire,
        };
        if let Some(wire) = wire {
            wire.refused(now, to, bytes);
        }
    }

    pub(super) fn send_calls(&mut self, client: usize, frames: Frames) {
        let from = address_of(client, self.clients[client].life);
        for leaving in frames {
            let left = self.hand_over(Host::Client(client), &leaving);
            for bytes in leaving.bytes.chunks(leaving.size).take(left) {
                if let Endpoint::Replica(to) = leaving.to {
                    self.sees((Host::Client(client), from), Host::Replica(to), bytes);
                }
                if let Endpoint::Replica(to) = leaving.to
                    && !self.out[to.index()]
                    && self.clients_know_the_way(to)
                {
                    let path = (Host::Client(client), Host::Replica(to));
                    self.send(path, bytes, || Event::Arrive {
                        to,
                        arrival: Arrival::Frame(from, bytes.to_vec()),
                    });
                }
            }
        }
    }

    /// Counts the fragments that the codec of a life has met.
    pub(super) fn note_wire(&mut self, id: ReplicaId) {
        if let Some(wire) = self.nodes[id.index()].wire.take() {
            for (event, what) in [
                (::datagrams::counters::NetEvent::Joined, Situation::FragmentsJoined),
                (::datagrams::counters::NetEvent::FragmentsAsked, Situation::FragmentsAsked),
                (::datagrams::counters::NetEvent::FragmentResent, Situation::FragmentsResent),
            ] {
                self.reach.add(what, wire.count(event));
            }
            let BatchNews { distrusted, again, .. } = *wire.batch_news();
            self.reach.add(Situation::BatchesDistrusted, distrusted);
            self.reach.add(Situation::BatchesAgain, again);
        }
    }

    pub(super) fn start(
        &mut self,
        id: ReplicaId,
        membership: multipaxos::paxos::Membership,
    ) -> Step {
        let node = &mut self.nodes[id.index()];
        let Some(process) = &mut node.process else { return Ok(()) };
        if let Some(wire) = &node.wire {
            wire.start(membership.cluster);
        }
        let membership_counts = membership.is_voter(id);
        if !membership_counts {
            self.reach.count(Situation::NotMember);
        }
        self.checker.starts(id, &membership);
        process.start(membership, &mut node.store, self.now, &mut self.streams.roles);
        let applied = process.learner().map_or(Slot::ZERO, |learner| learner.applied());
        node.started |= membership_counts || !self.wiped[id.index()];
        self.checker.lost(id, applied).for_each(|bytes| self.cost.loses(bytes));
        self.checker.restarted(id, applied);
        self.checker.knows_the_change(id)?;
        self.trace(|| format!("replica {id} starts, applied {applied}"));
        self.record_beginning(id, membership_counts, applied);
        self.may_rejoin(id);
        for role in ROLES {
            self.wake_soon(id, role, NOTICE_US);
        }
        Ok(())
    }

    pub(super) fn note_leader(&mut self, id: ReplicaId) {
        let ballot = self.nodes[id.index()].process.as_ref().and_then(Process::leading);
        ballot.into_iter().for_each(|ballot| self.is_led(ballot));
        let leads = ballot.is_some();
        if leads && self.leader != Some(id) {
            self.leader = Some(id);
            // The first leader gets every line from its client.
            if self.leader_changes > 0 {
                let n = self.nodes.len();
                let in_flight = self.clients.iter().filter_map(|client| client.role.line());
                in_flight.for_each(|line| self.cost.takes_over(line.len(), n));
            }
            self.leader_changes += 1;
            self.reach.count(Situation::LeaderChange);
        } else if !leads && self.leader == Some(id) {
            self.leader = None;
        }
    }

    // --- the network ---------------------------------------------------------------

    /// Sends a datagram on a path.
    fn send(&mut self, path: (Host, Host), datagram: &[u8], event: impl Fn() -> Event) {
        let bytes = datagram.len();
        let packet = (bytes + IP_UDP_BYTES) as u64;
        let Some(terrain) = &mut self.terrain else {
            self.cost.sent_bytes += packet;
            return self.send_whole(event);
        };
        let passage = terrain.send(self.now, path, bytes, &mut self.streams.network);
        self.reach.passes(passage);
        if !matches!(passage, Passage::Arrives(..)) {
            self.trace(|| format!("{:?} -> {:?}: {bytes} bytes: {passage:?}", path.0, path.1));
        }
        match passage {
            // The sender's own system says so, and has sent nothing.
            Passage::IsRefused => self.refuse(path, bytes),
            _ => {
                self.cost.sends(datagram, packet, passage == Passage::Lost);
                self.kinds.sends(datagram, packet);
            }
        }
        if let Passage::Arrives(first, again) = passage {
            for at in [Some(first), again].into_iter().flatten() {
                self.queue.add(at, event());
            }
        }
    }

    /// Sends a message whole: the network may lose it, repeat it or delay it.
    pub(super) fn send_whole(&mut self, event: impl Fn() -> Event) {
        let rng = &mut self.streams.network;
        let mut copies = 1;
        if self.faults_on {
            if rng.u32(0..1_000_000) < self.profile.loss_ppm {
                return;
            }
            if rng.u32(0..1_000_000) < self.profile.duplicate_ppm {
                copies = 2;
            }
        }
        for _ in 0..copies {
            let mut takes = LATENCY_MIN_US + self.streams.network.u64(0..LATENCY_SPAN_US);
            if self.faults_on && self.streams.network.u32(0..1_000_000) < self.profile.late_ppm {
                takes += self.streams.network.u64(0..=self.profile.late_us);
            }
            self.queue.add(self.now.plus_us(takes), event());
        }
    }
}
