//! Warm-up and membership: which directories the cluster consists of.
//!
//! Every data directory has an id. A cluster *starts* once, with one list of
//! directories, the *started record*; its hash is the cluster id that every later
//! frame carries. Votes carry the voter's directory, and one that is not on the
//! list never counts (S6): a replica that lost its disk has forgotten promises, and its
//! vote could contradict them. (Michael et al., *Recovering Shared Objects Without
//! Stable Storage*, DISC '17, §1; *Paxos Made Live*, §5.1.)
//!
//! Until it has started, each replica sends Ready to all others, with the directories that
//! it has heard. Replica 0 alone draws up the list, once every other replica says that it
//! has heard of replica 0's present directory. The others start when a started peer shows
//! them a list with their own directory on it.
//!
//! If any replica could draw up the list, a disk that is wiped during warm-up could leave
//! two lists, each with a quorum. A and C start with (a, b, c) and serve. C is wiped. B has
//! not heard yet that the cluster started; it hears C's new directory and starts with
//! (a, b, c').
//!
//! A replica whose directory is not on the list says so, does not vote, and follows as a
//! learner.

use super::{Membership, Notice, Outbox, Role, Settings};
use crate::message::{Message, Ready, ToBootstrap};
use crate::quorum::ReplicaSet;
use crate::types::{ClusterId, DirectoryId, ReplicaId, Time, replicas};
use xxhash_rust::xxh3::xxh3_64;

/// The time between two log lines that name the replicas still waited for.
const REPORT_US: u64 = 2_000_000;

/// What must survive a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The cluster has started, with these directories.
    Started(Vec<DirectoryId>),
}

/// What the bootstrap role is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message, and its sender.
    Peer(ReplicaId, ToBootstrap),
}

/// How far this replica is.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// It has no started record.
    WarmingUp,
    /// It has the started record of an earlier life, and is about to start.
    Remembered(Vec<DirectoryId>),
    /// It has started, with this record.
    Started(Vec<DirectoryId>),
}

/// The bootstrap role.
#[derive(Debug)]
pub struct Bootstrap {
    settings: Settings,
    /// This replica's own directory.
    directory: DirectoryId,
    /// By replica id: the directories that were heard.
    known: Vec<Option<DirectoryId>>,
    /// By replica id: the newest round heard from the directory in `known`.
    rounds: Vec<u64>,
    /// The replicas that say they know this replica's directory.
    hears_me: ReplicaSet,
    phase: Phase,
    /// The number of the newest own Ready.
    round: u64,
    next_ready: Time,
    next_report: Time,
}

/// The cluster id of a started record.
pub fn cluster_id(members: &[DirectoryId]) -> ClusterId {
    let bytes: Vec<u8> = members.iter().flat_map(|id| id.0.to_be_bytes()).collect();
    // 0 means "not known yet".
    ClusterId(xxh3_64(&bytes).max(1))
}

impl Bootstrap {
    /// A replica with a new directory, about to warm up.
    pub fn new(settings: Settings, directory: DirectoryId, now: Time) -> Self {
        let mut known = vec![None; settings.n];
        known[settings.id.index()] = Some(directory);
        let mut hears_me = ReplicaSet::EMPTY;
        hears_me.insert(settings.id);
        Bootstrap {
            settings,
            directory,
            known,
            rounds: vec![0; settings.n],
            hears_me,
            phase: Phase::WarmingUp,
            round: 0,
            next_ready: now,
            next_report: now.plus_us(REPORT_US),
        }
    }

    /// A replica that remembers its started record: it needs nobody to start again.
    pub fn restart(settings: Settings, directory: DirectoryId, members: Vec<DirectoryId>) -> Self {
        let mut bootstrap = Bootstrap::new(settings, directory, Time(0));
        bootstrap.phase = Phase::Remembered(members);
        bootstrap
    }

    /// Whether warm-up is over.
    pub fn is_started(&self) -> bool {
        matches!(self.phase, Phase::Started(_))
    }

    fn handle_ready(&mut self, from: ReplicaId, ready: Ready, out: &mut Outbox<Record>) {
        if from == self.settings.id || from.index() >= self.settings.n {
            return;
        }
        if self.is_started() {
            // S6: a replica that serves still answers one that warms up.
            if !ready.started {
                self.send_ready(from, out);
            }
            return;
        }
        if ready.known.len() != self.settings.n {
            return;
        }
        if ready.started {
            // The cluster has started, with this replica's directory or without it.
            if let Some(members) = ready.known.into_iter().collect() {
                self.start(members, out);
            }
            return;
        }
        if self.known[from.index()] == Some(ready.directory) {
            // A Ready that was overtaken says nothing new.
            if ready.round <= self.rounds[from.index()] {
                return;
            }
        } else {
            // Another directory: that replica's disk was wiped, and what it heard is gone.
            self.known[from.index()] = Some(ready.directory);
            self.hears_me = self.hears_me.without(from);
        }
        self.rounds[from.index()] = ready.round;
        if ready.known[self.settings.id.index()] == Some(self.directory) {
            self.hears_me.insert(from);
        }
        self.draw_up_list(out);
    }

    /// Replica 0, and no other, starts the cluster: see the module.
    fn draw_up_list(&mut self, out: &mut Outbox<Record>) {
        if self.settings.id == ReplicaId(0)
            && self.hears_me.len() == self.settings.n
            && let Some(members) = self.known.iter().copied().collect()
        {
            self.start(members, out);
        }
    }

    fn start(&mut self, members: Vec<DirectoryId>, out: &mut Outbox<Record>) {
        // S2: only a process that has warmed up itself may lead ballot 0.
        let fresh = self.phase == Phase::WarmingUp;
        let membership = Membership {
            cluster: cluster_id(&members),
            directory: self.directory,
            members: members.clone(),
            fresh,
        };
        // The record is durable before this replica's first vote (S1, S6).
        if fresh && membership.is_voter(self.settings.id) {
            out.persist(Record::Started(members.clone()));
        }
        self.phase = Phase::Started(members);
        out.tell(Notice::Start(membership));
    }

    fn send_ready(&mut self, to: ReplicaId, out: &mut Outbox<Record>) {
        self.round += 1;
        let (known, started) = match &self.phase {
            Phase::WarmingUp => (self.known.clone(), false),
            Phase::Started(members) | Phase::Remembered(members) => {
                (members.iter().copied().map(Some).collect(), true)
            }
        };
        let ready = Ready { directory: self.directory, round: self.round, known, started };
        out.send(to, Message::Bootstrap(ToBootstrap::Ready(ready)));
    }

    /// The replicas that this one waits for, in words.
    fn report(&self) -> String {
        let missing: Vec<String> = replicas(self.settings.n)
            .filter(|id| self.known[id.index()].is_none())
            .map(|id| id.to_string())
            .collect();
        match missing.as_slice() {
            [] if self.settings.id == ReplicaId(0) => "everyone to hear of this replica".into(),
            [] => "replica 0 to start the cluster".into(),
            [one] => format!("replica {one}"),
            many => format!("replicas {}", many.join(", ")),
        }
    }
}

impl Role for Bootstrap {
    type Input = Input;
    type Record = Record;

    fn handle(&mut self, _now: Time, _draw: u64, input: Input, out: &mut Outbox<Record>) {
        match input {
            Input::Peer(from, ToBootstrap::Ready(ready)) => self.handle_ready(from, ready, out),
            Input::Peer(from, ToBootstrap::NotMember { directory }) => {
                if directory == self.directory {
                    log::warn!(
                        "replica {}: replica {from} says that this directory is not a member",
                        self.settings.id
                    );
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, _draw: u64, out: &mut Outbox<Record>) {
        if self.is_started() {
            return;
        }
        if let Phase::Remembered(members) = &self.phase {
            let members = members.clone();
            return self.start(members, out);
        }
        // A cluster of one has nobody to wait for.
        self.draw_up_list(out);
        if self.is_started() {
            return;
        }
        if now >= self.next_ready {
            self.next_ready = now.plus_us(self.settings.heartbeat_us);
            for peer in self.settings.peers() {
                self.send_ready(peer, out);
            }
        }
        if now >= self.next_report {
            self.next_report = now.plus_us(REPORT_US);
            let id = self.settings.id;
            log::info!("replica {id}: warm-up: still waiting for {}", self.report());
        }
    }

    fn flush(&mut self, _now: Time, _out: &mut Outbox<Record>) {}

    fn deadline(&self) -> Option<Time> {
        (!self.is_started()).then(|| self.next_ready.min(self.next_report))
    }
}
