//! A copy of a replica's data directory that runs beside the original (S12).
//!
//! Somebody copies a directory and starts a second process on the copy, at an address of its own.
//! Both processes send to all other replicas. What the others send to that replica goes where
//! their configurations say: each believes in the original, in the copy, or now in one and now in
//! the other. Clients know the original alone.
//!
//! The copy has its own disk, its own codec and its own place in the checker's history. It takes
//! its turns at once, since only the original is to meet stalls. After a while it is ended. What the
//! original lacks then, the others know: it counts again, or has lost its state (S10).

use super::*;
use multipaxos::paxos::proposer::Proposer;

/// One gentle seed in so many has a copy.
const ONE_IN: u8 = 30;

/// The copy is made within this time, as soon as the cluster has started.
const BEGINS_US_MAX: u64 = 3_000_000;

/// It is not ended before this time has passed: so long it is heard.
const LASTS_US_MIN: u64 = 1_500_000;

/// It is ended within this time.
const LASTS_US_MAX: u64 = 5_000_000;

/// All replicas know of a copy when an echo counts no more, and so many heartbeats have passed.
const COPY_HEARTBEATS: u64 = 8;

/// In whom a replica believes, that sends something to the one whose directory was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    Original,
    Copy,
    Either,
}

/// What a seed draws of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    id: ReplicaId,
    /// By replica id.
    beliefs: Vec<Belief>,
    /// The original is ended first, and begins again when the copy does.
    both_begin: bool,
    after_us: u64,
    lasts_us: u64,
}

impl Plan {
    /// Draws whether a cluster of `n` has a copy, and which.
    pub(super) fn draw(n: usize, rng: &mut Rng) -> Option<Self> {
        let hit = rng.u8(..ONE_IN) == 0 && n >= 3;
        let id = ReplicaId(rng.u8(..n as u8));
        let half = [Belief::Original, Belief::Copy, Belief::Either];
        let mut beliefs: Vec<Belief> = (0..n).map(|_| half[rng.usize(..3)]).collect();
        // Half of the copies are believed in by some and not by all, the others as it comes.
        if rng.bool() {
            beliefs[(id.index() + 1) % n] = Belief::Original;
            beliefs[(id.index() + 2) % n] = Belief::Copy;
        }
        let (both_begin, after_us) = (rng.bool(), rng.u64(500_000..BEGINS_US_MAX));
        let lasts_us = rng.u64(LASTS_US_MIN..LASTS_US_MAX);
        hit.then_some(Plan { id, beliefs, both_begin, after_us, lasts_us })
    }

    /// When it begins, and when it is ended.
    fn times(&self) -> (Time, u64) {
        (Time(self.after_us), self.lasts_us)
    }
}

/// A copy that runs, or has run.
#[derive(Debug)]
pub(super) struct Beside {
    plan: Plan,
    /// None before it begins and after it has ended.
    life: Option<Life>,
    /// Whether it has run. From then on others may say so.
    has_run: bool,
    timer_at: Option<Time>,
}

#[derive(Debug)]
struct Life {
    begun_at: Time,
    process: Process,
    store: Store,
    wire: Option<Wire>,
}

impl Beside {
    pub(super) fn new(plan: Plan) -> Self {
        Beside { plan, life: None, has_run: false, timer_at: None }
    }

    /// The replica whose directory is copied.
    fn id(&self) -> ReplicaId {
        self.plan.id
    }
}

/// The source address of the copy's datagrams.
fn address_of_copy(id: ReplicaId) -> Address {
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 253, 0, id.0)), 1))
}

/// Whether this is that address.
pub(super) fn is_copy(at: Address) -> bool {
    matches!(at.0.ip(), IpAddr::V4(ip) if ip.octets()[..3] == [10, 253, 0])
}

impl World {
    pub(super) fn plan_copy(&mut self) {
        if let Some(beside) = &self.beside {
            let (at, _) = beside.plan.times();
            self.queue.add(at, Event::Stranger(Stranger::Copied));
        }
    }

    /// Whether what `from` sends to `to` arrives at the copy.
    pub(super) fn goes_to_copy(&mut self, from: ReplicaId, to: ReplicaId) -> bool {
        let Some(Beside { plan, life: Some(_), .. }) = &self.beside else { return false };
        plan.id == to
            && match plan.beliefs[from.index()] {
                Belief::Original => false,
                Belief::Copy => true,
                Belief::Either => self.streams.beside.bool(),
            }
    }

    /// The event with which something arrives at a replica, or at its copy.
    pub(super) fn arrives(to: ReplicaId, at_copy: bool, arrival: Arrival) -> Event {
        match at_copy {
            true => Event::Stranger(Stranger::AtCopy(arrival)),
            false => Event::Arrive { to, arrival },
        }
    }

    /// The copy is made and begins, if all replicas run and have started.
    pub(super) fn copy_begins(&mut self) -> Step {
        let all = self.nodes.iter().all(|node| node.started && node.process.is_some());
        let Some(beside) = self.beside.as_mut().filter(|_| self.faults_on) else { return Ok(()) };
        let (id, n) = (beside.plan.id, self.nodes.len());
        let lasts_us = beside.plan.times().1;
        if !all {
            let again = self.now.plus_us(100_000);
            self.queue.add(again, Event::Stranger(Stranger::Copied));
            return Ok(());
        }
        let both_begin = beside.plan.both_begin;
        if both_begin {
            self.end_life(id, Death::Killed);
        }
        let node = &self.nodes[id.index()];
        let Some(mut store) = node.store.copied() else { return Ok(()) };
        if store.open(id, n).is_err() {
            return Ok(());
        }
        let rng = &mut self.streams.beside;
        let (boot, rate_ppm) = (BootId(rng.u64(1..)), 1_000_000);
        let settings = Settings { boot, ..node.settings };
        let datagram_max = self.datagram_max;
        let wire = self.wired.then(|| {
            let (me, seal) = (message::Party::Replica(id), self.seal.as_ref());
            Wire::sealed(n, me, boot, datagram_max, seal)
        });
        let process = Process::begin(settings, &store, rate_ppm, self.now);
        self.trace(|| format!("a copy of replica {id}'s directory begins beside it"));
        self.checker.copy_begins(id);
        let begun_at = self.now;
        if let Some(beside) = &mut self.beside {
            beside.life = Some(Life { begun_at, process, store, wire });
            beside.has_run = true;
        }
        self.reach.count(Situation::CopyBeside);
        self.queue.add(self.now.plus_us(lasts_us), Event::Stranger(Stranger::CopyEnds));
        if both_begin {
            self.begin_life(id)?;
        }
        self.turn_copy()
    }

    /// Whether a copy of this replica's directory runs beside it, or has.
    pub(super) fn was_copied(&self, id: ReplicaId) -> bool {
        self.beside.as_ref().is_some_and(|it| it.has_run && it.id() == id)
    }

    /// Whether a copy runs that its original may not have been told of. The original is still taken
    /// for the life that counts, and takes itself for it, until its heartbeats are echoed no more.
    pub(super) fn copy_is_news(&self) -> bool {
        let beside = self.beside.as_ref();
        beside.and_then(|it| Some((it.id(), it.life.as_ref()?))).is_some_and(|(id, life)| {
            let original = &self.nodes[id.index()];
            let Settings { election_max_us, heartbeat_us, .. } = original.settings;
            let proposer = original.process.as_ref().and_then(Process::proposer);
            let echoes_us = proposer.map_or(election_max_us, Proposer::gives_marks_within_us);
            self.now.since_us(life.begun_at) < echoes_us + COPY_HEARTBEATS * heartbeat_us
        })
    }

    /// A replica may tell another one that two processes run on its directory only if that is so.
    pub(super) fn tells_of_copy(
        &mut self,
        id: ReplicaId,
        to: ReplicaId,
        message: &Message,
    ) -> Step {
        let Message::Heartbeat(heartbeat) = message else { return Ok(()) };
        if heartbeat.seen.is_none_or(|seen| seen.of != to) {
            return Ok(());
        }
        if !self.was_copied(to) {
            let what = format!("S12: replica {id} calls a life of replica {to} a copy");
            return Err(Violation { what, slot: None });
        }
        self.reach.count(Situation::CopyTold);
        Ok(())
    }

    /// Somebody ends the copy.
    pub(super) fn end_copy(&mut self) {
        let Some(beside) = &mut self.beside else { return };
        if beside.life.take().is_some() {
            self.checker.copy_ends();
            self.reach.count(Situation::CopyEnded);
            let id = beside.plan.id;
            self.trace(|| format!("the copy of replica {id}'s directory is ended"));
        }
    }

    pub(super) fn at_copy(&mut self, arrival: Arrival) -> Step {
        let now = self.now;
        let Some(Life { process, wire, .. }) = self.copy_life() else { return Ok(()) };
        let (Arrival::Frame(from, bytes), Some(wire)) = (&arrival, wire) else {
            process.accept(arrival);
            return self.turn_copy();
        };
        let (incoming, frames) = wire.receive(now, *from, bytes);
        for incoming in incoming {
            if let Some(arrival) = Arrival::of(incoming) {
                process.accept(arrival);
            }
        }
        self.send_from_copy(frames);
        self.turn_copy()
    }

    pub(super) fn copy_wakes(&mut self) -> Step {
        match &mut self.beside {
            Some(beside) if beside.timer_at == Some(self.now) => {
                beside.timer_at = None;
                self.turn_copy()
            }
            _ => Ok(()),
        }
    }

    fn copy_life(&mut self) -> Option<&mut Life> {
        self.beside.as_mut()?.life.as_mut()
    }

    /// Every role of the copy does what there is to do, until nothing is left.
    fn turn_copy(&mut self) -> Step {
        let (now, mut outgoing, mut ends) = (self.now, Vec::new(), false);
        let Some(Beside { plan: Plan { id, .. }, life: Some(life), .. }) = &mut self.beside else {
            return Ok(());
        };
        let (id, draws) = (*id, &mut self.streams.beside);
        let Life { process, store, wire, .. } = life;
        loop {
            let mut again = false;
            for role in ROLES {
                let turned = process.compute(role, now, draws, store);
                let turned = turned.and_then(|_| process.commit(role, store));
                let Ok(envelopes) = turned else { continue };
                for record in store.acceptor.observed.drain(..) {
                    self.checker.copy_saves(id, &record)?;
                }
                for record in store.learner.observed.drain(..) {
                    self.checker.copy_applies(&record)?;
                }
                for envelope in envelopes {
                    match envelope {
                        Envelope::Peer { to, message } if to == id => {
                            process.accept(Arrival::Peer(id, message));
                            again = true;
                        }
                        Envelope::Peer { to, message } => {
                            self.checker.copy_sends(&message)?;
                            outgoing.push(Outgoing::Peer { to, message });
                        }
                        Envelope::Back { to, at, message } => {
                            outgoing.push(Outgoing::Back { to, at, message });
                        }
                        Envelope::Answers { to, answers } => {
                            let (client, life) = who(to);
                            for answer in &answers {
                                self.checker.answers(self.clients[client].ids_in(life), answer)?;
                            }
                            outgoing.push(Outgoing::Answers { to, answers });
                        }
                        Envelope::Notice(Notice::Start(membership)) => {
                            if let Some(wire) = wire {
                                wire.start(membership.cluster);
                            }
                            process.start(membership, store, now, draws);
                            let applied = process.learner().map(|learner| learner.applied());
                            self.checker.copy_goes_on(applied.unwrap_or_default());
                            again = true;
                        }
                        Envelope::Notice(Notice::LostState(_) | Notice::Diverged(_)) => ends = true,
                        // It is where the original is, and has its routes.
                        Envelope::Notice(Notice::Places(_)) => {}
                        Envelope::Notice(Notice::MayEnd { .. }) => {
                            unreachable!("nobody tells a copy to leave")
                        }
                        Envelope::Notice(notice) => again |= process.notify(notice).is_some(),
                        Envelope::Call { .. } => unreachable!("replicas do not call"),
                    }
                }
            }
            if !again {
                break;
            }
        }
        let deadline = ROLES.into_iter().filter_map(|role| process.deadline(role)).min();
        self.copy_leaves(id, outgoing);
        if ends {
            self.end_copy();
        } else if let (Some(deadline), Some(beside)) = (deadline, &mut self.beside) {
            let at = deadline.max(now.plus_us(1));
            if beside.timer_at.is_none_or(|timer| timer > at) {
                beside.timer_at = Some(at);
                self.queue.add(at, Event::Stranger(Stranger::CopyWakes));
            }
        }
        Ok(())
    }

    fn copy_leaves(&mut self, id: ReplicaId, outgoing: Vec<Outgoing>) {
        let now = self.now;
        let Some(life) = self.copy_life() else { return };
        if let Some(wire) = &mut life.wire {
            let frames = wire.send(now, &outgoing);
            return self.send_from_copy(frames);
        }
        for outgoing in outgoing {
            match outgoing {
                Outgoing::Peer { to, message } if self.reaches(id, to) => {
                    let arrival = match message {
                        Message::Bootstrap(message) => {
                            Arrival::WarmUp(id, address_of_copy(id), message)
                        }
                        message => Arrival::Peer(id, message),
                    };
                    self.send_whole(|| Event::Arrive { to, arrival: arrival.clone() });
                }
                Outgoing::Answers { to, answers } => {
                    let (client, life) = who(to);
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
                Outgoing::Peer { .. } | Outgoing::Back { .. } | Outgoing::Call { .. } => {}
            }
        }
    }

    fn send_from_copy(&mut self, frames: Frames) {
        let Some(id) = self.beside.as_ref().map(Beside::id) else { return };
        for Leaving { to, bytes, .. } in frames {
            match to {
                Endpoint::Replica(to) if self.reaches(id, to) => {
                    let from = address_of_copy(id);
                    self.send_whole(|| Event::Arrive {
                        to,
                        arrival: Arrival::Frame(from, bytes.clone()),
                    });
                }
                Endpoint::Client(to) => {
                    let (client, life) = who(to);
                    self.send_whole(|| Event::Frame { client, life, bytes: bytes.clone() });
                }
                Endpoint::Replica(_) | Endpoint::Stray(..) => {}
            }
        }
    }
}
