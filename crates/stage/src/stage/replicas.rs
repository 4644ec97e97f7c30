//! Replicas begin, take turns, end and lose their disks.

use super::clients::client_of;
use super::logged::take_logs;
use super::{STEPS_MAX, Stage};
use crate::node::{Node, Syncing};
use crate::words::Done;
use history::print;
use history::{Event, Party, Payload, Said};
use multipaxos::members::Member;
use multipaxos::message::{Answer, LostState, Message, Run};
use multipaxos::paxos::proposer::Proposer;
use multipaxos::paxos::{Diverged, Envelope, Membership, Notice, acceptor, learner};
use multipaxos::types::{Ballot, DirectoryId, ReplicaId, Slot, SlotRange};
use simulator::node::RoleName;
use simulator::store::{Store, SyncFault};

impl Stage {
    pub(super) fn node(&mut self, id: ReplicaId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    pub(crate) fn begin(&mut self, id: ReplicaId) {
        let now = self.now;
        self.node(id).begin(now);
        let lives = self.node(id).lives;
        if lives > 1 {
            self.event(format!("{id} begins again"));
        }
        self.fire(id, RoleName::Bootstrap);
        self.settle(id);
    }

    pub(crate) fn end(&mut self, id: ReplicaId) {
        self.end_by(id, false);
    }

    /// Tells a process to end (SIGTERM). It ends once its roles say that it may.
    pub(crate) fn terminate(&mut self, id: ReplicaId) {
        self.node(id).leave();
        self.settle(id);
    }

    /// Asks a replica to propose a change: the present directory of `member` comes in, or its place
    /// becomes empty. An error says that this is no change.
    pub(crate) fn change(&mut self, id: ReplicaId, member: ReplicaId, comes: bool) -> Done {
        let now = self.checker.configuration().ok_or("the cluster has not started")?;
        let directory = self.nodes[member.index()].store.directory;
        let next = match comes {
            true => now.with(Member { id: member, directory, address: None }),
            false => now.without(member),
        };
        let next = next.ok_or_else(|| format!("that is no change of {now}"))?;
        self.node(id).change(next);
        self.settle(id);
        Ok(())
    }

    pub(super) fn end_by(&mut self, id: ReplicaId, cannot_sync: bool) {
        // A process that ends during a sync leaves on the disk what it had written.
        if let Some(Syncing { records, .. }) = self.node(id).syncing.take() {
            self.note_saved(id, records);
        }
        self.node(id).end();
        self.record(Event::Ended { replica: id, cannot_sync });
        self.event(format!("{id} is down"));
    }

    /// Whether the replica's process runs.
    pub(crate) fn is_up(&self, id: ReplicaId) -> bool {
        self.nodes[id.index()].life.is_some()
    }

    /// Whether this replica has the only disk that is left of the cluster's first disks.
    pub(crate) fn is_last_member(&self, id: ReplicaId) -> bool {
        let first = |index: usize| self.generations[index] == 1;
        first(id.index()) && (0..self.nodes.len()).filter(|index| first(*index)).count() == 1
    }

    /// Replaces the disk by an empty one. A running process ends.
    pub(crate) fn wipe(&mut self, id: ReplicaId) {
        if self.is_up(id) {
            self.end(id);
        }
        self.generations[id.index()] += 1;
        let directory = directory_id(id.index(), self.generations[id.index()]);
        let window = self.setup.session_window_slots;
        self.nodes[id.index()].store = Store::records(directory, window);
        self.nodes[id.index()].chat_log.clear();
        self.checker.wiped(id);
        self.record(Event::Wiped { replica: id });
        self.event(format!("{id} has an empty disk, {}", print::directory(directory)));
    }

    /// Copies the disk as it is.
    pub(crate) fn copy(&mut self, id: ReplicaId) {
        self.copies[id.index()] = self.nodes[id.index()].store.copied();
        self.event(format!("the disk of {id} is copied"));
    }

    /// Puts the copy back in the disk's place. A running process ends. Returns whether there was
    /// a copy.
    pub(crate) fn put_back(&mut self, id: ReplicaId) -> bool {
        let Some(copy) = self.copies[id.index()].as_ref().and_then(Store::copied) else {
            return false;
        };
        if self.is_up(id) {
            self.end(id);
        }
        self.checker.put_back(id, copy.acceptor.durable());
        self.nodes[id.index()].store = copy;
        self.event(format!("the copy of {id}'s disk is put back"));
        true
    }

    /// Somebody changes a line of the decided log on the disk. A running process ends. Returns
    /// whether there was one that is durable.
    pub(crate) fn alter(&mut self, id: ReplicaId) -> bool {
        if self.is_up(id) {
            self.end(id);
        }
        let Some(slot) = self.nodes[id.index()].store.alter(SlotRange::onward(Slot::ZERO)) else {
            return false;
        };
        self.event(format!("somebody changes the line of slot {slot} on the disk of {id}"));
        true
    }

    pub(crate) fn fail_sync(&mut self, id: ReplicaId, kept: bool) {
        let fault = if kept { SyncFault::Kept } else { SyncFault::Lost };
        self.node(id).store.acceptor.fault = Some(fault);
    }

    pub(super) fn start(&mut self, id: ReplicaId, membership: Membership) {
        let voter = membership.is_voter(id);
        let fresh = membership.fresh;
        let now = self.now;
        self.checker.starts(id, &membership);
        self.node(id).start(membership, now);
        let applied = self.applied(id);
        let node = &self.nodes[id.index()];
        let recovered = self.checker.recovered(id, node.store.acceptor.durable());
        self.check(recovered);
        self.checker.restarted(id, applied);
        self.record(Event::Began { replica: id, votes: voter, applied });
        let how = if fresh { "has warmed up" } else { "remembers its cluster" };
        let vote = if voter { "" } else { ", and has no vote in it" };
        self.event(format!("{id} {how}{vote}"));
        for role in [RoleName::Acceptor, RoleName::Proposer, RoleName::Learner] {
            self.fire(id, role);
        }
    }

    /// Runs turns until the roles of a replica have nothing left for each other.
    pub(crate) fn settle(&mut self, id: ReplicaId) {
        for _ in 0..STEPS_MAX {
            let Some(role) = self.node(id).busy_role() else { return };
            self.turn(id, role, false);
        }
        panic!("replica {id} spins");
    }

    /// Lets the timers of a role fire. Returns the messages that it sends to peers.
    pub(super) fn fire(&mut self, id: ReplicaId, role: RoleName) -> Vec<Message> {
        self.turn(id, role, true)
    }

    /// One turn of a role. Returns the messages that it sends to peers.
    pub(super) fn turn(&mut self, id: ReplicaId, role: RoleName, timers: bool) -> Vec<Message> {
        let now = self.now;
        if role == RoleName::Acceptor
            && let Some(Syncing { records, envelopes, .. }) = self.node(id).syncing.take()
        {
            self.note_saved(id, records);
            return self.post(id, envelopes);
        }
        let led = self.leading(id);
        let turned = self.node(id).turn(role, now, timers);
        for line in take_logs() {
            self.event(line);
        }
        let records = std::mem::take(&mut self.node(id).store.acceptor.observed);
        let sync_us = self.nodes[id.index()].sync_us;
        match turned {
            Ok(envelopes) if sync_us > 0 && !records.is_empty() => {
                let ends_at = now.plus_us(sync_us);
                self.node(id).syncing = Some(Syncing { ends_at, records, envelopes });
                return Vec::new();
            }
            _ => self.note_saved(id, records),
        }
        for record in std::mem::take(&mut self.node(id).store.learner.observed) {
            for event in print::learned(&record) {
                self.event(format!("{id} {event}"));
            }
            self.node(id).chat_log.extend(print::chat_lines(&record));
            if let learner::Record::Applied { first, values, client_seqs } = &record {
                let effects = client_seqs.iter().map(Option::is_some).collect();
                let (first, values) = (*first, values.clone());
                self.record(Event::Applied { replica: id, first, values, effects });
            }
            let checked = self.checker.applied(id, &record);
            self.check(checked);
        }
        match self.leading(id) {
            leads if leads == led => {}
            Some(ballot) => self.record(Event::Leads { replica: id, ballot }),
            None => self.record(Event::Resigned { replica: id }),
        }
        match turned {
            Ok(envelopes) => self.post(id, envelopes),
            Err(error) => {
                self.event(format!("{id} cannot sync ({error}): nothing leaves, it ends"));
                self.end_by(id, true);
                Vec::new()
            }
        }
    }

    /// The acceptor's records are durable.
    fn note_saved(&mut self, id: ReplicaId, records: Vec<acceptor::Record>) {
        let lives = self.nodes[id.index()].lives;
        for record in records {
            // What is remembered of the others is seen when it matters.
            if !matches!(record, acceptor::Record::Remember(..)) {
                self.event(format!("{id} {}", print::saved(&record)));
            }
            match &record {
                acceptor::Record::Promise(ballot) => {
                    self.record(Event::Promised { replica: id, ballot: *ballot });
                }
                acceptor::Record::Accept(Run { ballot, first, values }) => {
                    let (ballot, first, values) = (*ballot, *first, values.clone());
                    self.record(Event::Accepted { replica: id, ballot, first, values });
                }
                acceptor::Record::Trim(_)
                | acceptor::Record::Held(_)
                | acceptor::Record::Remember(..) => {}
            }
            let checked = self.checker.durable(id, lives, &record);
            self.check(checked);
        }
    }

    pub(super) fn leading(&self, id: ReplicaId) -> Option<Ballot> {
        self.nodes[id.index()].proposer().and_then(Proposer::leading)
    }

    pub(super) fn post(&mut self, id: ReplicaId, envelopes: Vec<Envelope>) -> Vec<Message> {
        let lives = self.nodes[id.index()].lives;
        let (mut sent, mut lost, mut diverged) = (Vec::new(), None, None);
        let mut may_end = None;
        for envelope in envelopes {
            match envelope {
                Envelope::Peer { to, message } if to == id => {
                    self.record(Event::Told { replica: id, said: Said::by_peer(&message) });
                    self.node(id).accept(id, message);
                }
                Envelope::Peer { to, message } => {
                    let checked = self.checker.leaves(id, lives, &message);
                    self.check(checked);
                    sent.push(message.clone());
                    self.send(Party::Replica(id), Party::Replica(to), Payload::Peer(message));
                }
                Envelope::Back { to, message, .. } => {
                    let message = Payload::Peer(Message::Bootstrap(message));
                    self.send(Party::Replica(id), Party::Replica(to), message);
                }
                Envelope::Answers { to, answers } => {
                    let client = client_of(to);
                    for answer in answers {
                        let checked = match answer {
                            Answer::Mark { mark, .. } => self.checker.gives_mark(
                                id,
                                mark,
                                self.checker.read_begins().1[id.index()],
                            ),
                            _ => self.checker.answers(client..client + 1, &answer),
                        };
                        self.check(checked);
                        self.answer(id, client, answer);
                    }
                }
                Envelope::Notice(Notice::Start(membership)) => self.start(id, membership),
                Envelope::Notice(Notice::LostState(said)) => lost = Some(said),
                Envelope::Notice(Notice::Diverged(said)) => diverged = Some(said),
                Envelope::Notice(Notice::MayEnd { successor }) => may_end = Some(successor),
                // The stage has no addresses.
                Envelope::Notice(Notice::Places(_)) => {}
                Envelope::Notice(notice) => {
                    if let Some(said) = Said::by_own_acceptor(&notice) {
                        self.record(Event::Told { replica: id, said });
                    }
                    self.node(id).notify(notice);
                }
                Envelope::Call { .. } => unreachable!("replicas do not call"),
            }
        }
        if let Some(LostState { by, known, begun }) = lost {
            self.event(format!(
                "{id} learns that it has lost its state: it began with {begun} records, and {by} \
                 knows of {known}"
            ));
            self.end(id);
        }
        if let Some(Diverged { peers, below }) = diverged {
            let n = self.nodes.len();
            let peers: Vec<String> = multipaxos::types::replicas(n)
                .filter(|id| peers.contains(*id))
                .map(|id| id.to_string())
                .collect();
            self.event(format!(
                "{id} stops: other lines are decided below slot {below} at {}, and no quorum has \
                 the same as it",
                peers.join(" and ")
            ));
            self.end(id);
        }
        if let Some(successor) = may_end {
            let how = successor.map_or("".into(), |ballot| format!(": ballot {ballot} leads"));
            self.event(format!("{id} may end{how}"));
            self.end(id);
        }
        sent
    }

    /// Sends an answer to a client on the stage. The answer to a request made by hand is only
    /// printed.
    pub(super) fn answer(&mut self, from: ReplicaId, client: u64, answer: Answer) {
        let told = match answer {
            Answer::Complete { session, seq, slot, .. } => {
                let known = self.sessions.entry(client).or_default().entry(session.id).or_default();
                known.lines = known.lines.max(seq + 1);
                known.below = known.below.max(slot.next());
                Some(slot)
            }
            _ => None,
        };
        if self.clients.contains_key(&client) {
            let to = Party::Client(client);
            let id = Some(self.send(Party::Replica(from), to, Payload::Answer(answer)));
            if let Some(slot) = told {
                self.record(Event::Answered { replica: from, client, id, slot });
            }
            return;
        }
        if let Some(slot) = told {
            self.record(Event::Answered { replica: from, client, id: None, slot });
        }
        self.event(format!("{from} answers c{client}: {}", print::answer(&answer)));
        if let Answer::Complete { session, seq, slot, client_seq, .. } = answer {
            let checked = self.checker.completed(session, seq, slot, client_seq);
            self.check(checked);
        }
    }

    /// Stops the turns of a role.
    pub(crate) fn stall(&mut self, id: ReplicaId, role: RoleName) {
        self.node(id).stalled.push(role);
        self.record(Event::Stalled { replica: id, role: role_name(role).into() });
    }

    /// Lets a role take turns again.
    pub(crate) fn unstall(&mut self, id: ReplicaId, role: RoleName) {
        self.node(id).stalled.retain(|stalled| *stalled != role);
        self.record(Event::Unstalled { replica: id, role: role_name(role).into() });
        self.settle(id);
    }
}

/// The name of a role in scripts.
fn role_name(role: RoleName) -> &'static str {
    match role {
        RoleName::Bootstrap => "replica",
        RoleName::Acceptor => "acceptor",
        RoleName::Proposer => "proposer",
        RoleName::Learner => "learner",
    }
}

pub(super) fn directory_id(index: usize, generation: u64) -> DirectoryId {
    DirectoryId(100 * generation + index as u64)
}
