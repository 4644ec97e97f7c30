//! Warm-up and membership: which directories the cluster consists of.
//!
//! Every data directory has an id. A cluster *starts* once, with one list of
//! directories, the *started record*; its hash is the cluster id that every later
//! frame carries. Votes carry the voter's directory, and one that is not on the
//! list never counts (S6): a replica that lost its disk has forgotten promises, and its
//! vote could contradict them. (Michael et al., *Recovering Shared Objects Without
//! Stable Storage*, DISC '17, §1; *Paxos Made Live*, §5.1.)
//!
//! Until it has started, each replica sends Ready to all others, and each Ready says which
//! Ready of its receiver it answers. Replica 0 alone draws up the list, once every other
//! replica has answered replica 0's present life. The others start when a started peer shows
//! them a list with their own directory on it. If one is shown to a replica 0 that warms up, its
//! directory held that list once and was put back from an older copy: it has lost its state (S10).
//!
//! Nothing else shapes or ends a warm-up but an answer to this life of the process. A datagram
//! of a former cluster may come late, or one of its processes may be forgotten and still run.
//! It could name directories that exist no more, or a list that lacks this directory.
//!
//! If any replica could draw up the list, a disk that is wiped during warm-up could leave
//! two lists, each with a quorum. A and C start with (a, b, c) and serve. C is wiped. B has
//! not heard yet that the cluster started; it hears C's new directory and starts with
//! (a, b, c').
//!
//! A cluster that has grown may lose all directories of its started record and go on. Fresh ones in
//! their place would start another cluster. So where the cluster file lists places without a vote in
//! the beginning, replica 0 first listens for a while whether somebody there has started.
//!
//! A cluster may begin with the lines of a chat log (S9). Then only replicas that begin with the
//! same one start together.
//!
//! A replica that a quorum shows a list without its directory says so, does not vote, and
//! follows as a learner. It keeps the list all the same. The log may make its directory a member
//! (M4), and what it votes then, its next life has to remember. Fewer than a quorum may be all that
//! is left of a former cluster, whose other replicas begin anew: they wait, and say for whom.

use super::standing::Memory;
use super::strangers::Strangers;
use super::{Membership, Notice, Outbox, Role, Settings, acceptor};
use crate::message::{
    Answer, Heard, LostState, Message, Ready, Refusal, Status, ToBootstrap, Voter,
};
use crate::quorum::{ReplicaSet, quorum};
use crate::types::{Address, BootId, ClusterId, DirectoryId, Origin, ReplicaId, Time};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The time between two log lines that name the replicas still waited for.
const REPORT_US: u64 = 2_000_000;

/// For so long replica 0 listens before it starts a cluster with places that have no vote in the
/// beginning: one that has started may be there, and this replica has lost its disk.
const LISTENS_US: u64 = 1_000_000;

/// How many records a directory on a started record has held at least.
const RECORDS_OF_A_START: u64 = 1;

/// For how long a replica that has lost its state says so before it ends.
const LAST_WORD_US: u64 = 500_000;

/// What must survive a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The cluster has started.
    Started {
        /// By replica id, the directories with which it started.
        members: Vec<DirectoryId>,
        /// The chat log with which it began, if that is known (S9).
        origin: Option<Origin>,
    },
}

/// What the bootstrap role is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A message, its sender, and where its datagram came from.
    Peer(ReplicaId, Address, ToBootstrap),
    /// A datagram in a replica's name was refused.
    Refused {
        /// The replica that it names.
        from: ReplicaId,
        /// Where it came from.
        at: Address,
        /// The reason.
        why: Refusal,
    },
    /// An operator asks how this replica is, and where the answer is to go. Once the replica has
    /// started, the other roles answer.
    Status(Address),
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
    /// A member has said that this directory has lost its state (S10). The replica says so to all
    /// others until then, and ends.
    Ending { said: LostState, until: Time },
}

/// What was heard of one peer.
#[derive(Debug, Clone, Default)]
struct Peer {
    /// Its newest Ready, of whatever life. The next own Ready answers it.
    heard: Option<Heard>,
    /// The hash of its configuration's list; 0 if it does not say.
    list: u64,
    /// The chat log with which it begins, if it was heard.
    origin: Option<Origin>,
    /// What it said in answer to this life.
    answered: Option<Answered>,
}

/// What a peer said of itself, in answer to this life of the process.
#[derive(Debug, Clone)]
struct Answered {
    /// The own Ready that it answered.
    round: u64,
    /// Its directory.
    directory: DirectoryId,
    /// Its started record.
    started: Option<Vec<DirectoryId>>,
    /// The chat log with which its cluster begins.
    origin: Option<Origin>,
}

/// The bootstrap role.
#[derive(Debug)]
pub struct Bootstrap {
    settings: Settings,
    /// This replica's own directory and life.
    voter: Voter,
    /// What its acceptor remembers of the members.
    memories: Vec<Memory>,
    /// The hash of the own configuration's list; 0 if the role was not told.
    list: u64,
    /// The chat log with which this replica begins; none if it begins empty. Once it has started,
    /// the one with which its cluster began.
    origin: Option<Origin>,
    /// By replica id.
    peers: Vec<Peer>,
    strangers: Strangers,
    phase: Phase,
    /// The number of the newest own Ready.
    round: u64,
    /// Before that replica 0 starts no cluster.
    listens_until: Time,
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
        Bootstrap {
            settings,
            voter: Voter { directory, boot: settings.boot, begun: 0 },
            memories: Vec::new(),
            list: 0,
            origin: None,
            peers: vec![Peer::default(); settings.rows()],
            strangers: Strangers::new(settings.id, settings.rows()),
            phase: Phase::WarmingUp,
            round: 0,
            listens_until: match settings.places > settings.n {
                true => now.plus_us(LISTENS_US),
                false => now,
            },
            next_ready: now,
            next_report: now.plus_us(REPORT_US),
        }
    }

    /// A replica that remembers its started record: it needs nobody to start again. Its acceptor
    /// remembers `state`.
    pub fn restart(
        settings: Settings,
        directory: DirectoryId,
        members: Vec<DirectoryId>,
        state: &acceptor::State,
    ) -> Self {
        let mut bootstrap = Bootstrap::new(settings, directory, Time(0));
        bootstrap.phase = Phase::Remembered(members);
        bootstrap.voter.begun = state.written();
        bootstrap.memories = state.memories().to_vec();
        bootstrap
    }

    /// The same, with the hash of the replicas that its configuration lists.
    #[must_use]
    pub fn listing(self, list: u64) -> Self {
        Bootstrap { list, ..self }
    }

    /// The same, with a log that was begun with this chat log.
    #[must_use]
    pub fn beginning_with(self, origin: Option<Origin>) -> Self {
        Bootstrap { origin, ..self }
    }

    /// Whether warm-up is over.
    pub fn is_started(&self) -> bool {
        matches!(self.phase, Phase::Started(_))
    }

    fn handle_ready(
        &mut self,
        now: Time,
        (from, at): (ReplicaId, Address),
        ready: Ready,
        out: &mut Outbox<Record>,
    ) {
        let Ready { directory, boot, round, answers, started, list, origin } = ready;
        let peer = &mut self.peers[from.index()];
        if peer.heard.is_some_and(|heard| heard.boot == boot && heard.round >= round) {
            // It was overtaken, or comes again.
            return;
        }
        peer.heard = Some(Heard { boot, round });
        (peer.list, peer.origin) = (list, origin);
        match &self.phase {
            Phase::WarmingUp => {}
            Phase::Remembered(_) | Phase::Ending { .. } => return,
            Phase::Started(members) => {
                // S6: a replica that serves still answers one that warms up.
                if started.is_none() {
                    // Whoever had no place on the list is no stranger.
                    let is_other = members.get(from.index()).is_some_and(|it| *it != directory);
                    self.send_ready(from, out);
                    if is_other {
                        self.strangers.warms_up(now, (from, at), directory, out);
                    }
                }
                return;
            }
        }
        if started.as_ref().is_some_and(|members| members.len() != self.settings.n) {
            return;
        }
        // A list with this directory on it can be of no other cluster.
        let is_on = |members: &Vec<_>| self.is_on(members);
        if let Some(members) = started.as_ref().filter(|members| is_on(members))
            && origin == self.origin
        {
            // S10: replica 0 drew this list up, and had it on its disk before anybody else saw it.
            if self.settings.id == ReplicaId(0) {
                return self.lose_state(now, from, RECORDS_OF_A_START, out);
            }
            return self.start(members.clone(), out);
        }
        // S6: what answers no Ready of this life may be of a former cluster.
        let answered = answers.filter(|heard| heard.boot == self.settings.boot);
        let Some(Heard { round, .. }) = answered else { return self.send_ready(from, out) };
        let known = &mut self.peers[from.index()].answered;
        let is_overtaken = known.as_ref().is_some_and(|known| match known.directory == directory {
            true => round < known.round,
            // That replica's disk was wiped, unless this is its former life's last word.
            false => round <= known.round,
        });
        if !is_overtaken {
            *known = Some(Answered { round, directory, started, origin });
            self.draw_up_list(now, out);
            self.join_without_vote(out);
        }
    }

    /// Whether this directory is on a started record.
    fn is_on(&self, members: &[DirectoryId]) -> bool {
        members.get(self.settings.id.index()) == Some(&self.voter.directory)
    }

    /// The answers of the replicas below `end` to this life, by replica id; none for this replica.
    fn answers(&self, end: usize) -> impl Iterator<Item = (ReplicaId, Option<&Answered>)> {
        let peers = self.settings.peers().filter(move |id| id.index() < end);
        peers.map(|id| (id, self.peers[id.index()].answered.as_ref()))
    }

    /// Those of the replicas with which the cluster begins.
    fn founders(&self) -> impl Iterator<Item = (ReplicaId, Option<&Answered>)> {
        self.answers(self.settings.n)
    }

    /// Replica 0, and no other, starts the cluster: see the module.
    fn draw_up_list(&mut self, now: Time, out: &mut Outbox<Record>) {
        if self.settings.id != ReplicaId(0) || self.phase != Phase::WarmingUp {
            return;
        }
        // Those that were added later may go on without all with which the cluster began.
        let has_started =
            |answered: Option<&Answered>| answered.is_some_and(|it| it.started.is_some());
        let places = self.settings.places;
        let any_has = self.answers(places).any(|(_, answered)| has_started(answered));
        if now < self.listens_until || any_has {
            return;
        }
        // S9: a cluster has one beginning.
        let fresh = |answered: &Answered| {
            let is_fresh = answered.started.is_none() && answered.origin == self.origin;
            is_fresh.then_some(answered.directory)
        };
        let others: Option<Vec<_>> =
            self.founders().map(|(_, answered)| answered.and_then(fresh)).collect();
        if let Some(others) = others {
            self.start([vec![self.voter.directory], others].concat(), out);
        }
    }

    /// S6: a quorum has started, and this replica's directory is not on its list.
    fn join_without_vote(&mut self, out: &mut Outbox<Record>) {
        let is_on = |members: &Vec<_>| self.is_on(members);
        let shown: Vec<_> = self
            .answers(self.settings.places)
            .filter_map(|(_, answered)| Some((answered?.started.as_ref()?, answered?.origin)))
            .filter(|(members, _)| !is_on(members))
            .collect();
        // S9: who begins with a chat log holds it already, and follows no cluster without it. Who
        // begins empty fetches it, and from then on says with the others that it was the beginning:
        // the log may make it a member, and they may go.
        let begins_as = |origin| self.origin.is_none() || self.origin == origin;
        let by_quorum = |(members, origin): &&(&Vec<_>, _)| {
            let show = shown.iter().filter(|(other, _)| other == members).count();
            show >= quorum(self.settings.n) && begins_as(*origin)
        };
        let found = shown.iter().filter(by_quorum).max_by_key(|(_, origin)| origin.is_some());
        if let Some((members, origin)) = found {
            let members = (*members).clone();
            self.origin = *origin;
            self.start(members, out);
        }
    }

    fn start(&mut self, members: Vec<DirectoryId>, out: &mut Outbox<Record>) {
        let is_new = self.phase == Phase::WarmingUp;
        // S2: only a process that has warmed up itself may lead ballot 0. S9: what is decided at
        // the beginning, acceptors tell in phase 1 alone.
        let fresh = is_new && self.origin.is_none();
        let membership = Membership {
            cluster: cluster_id(&members),
            voter: self.voter,
            members: members.clone(),
            memories: self.memories.clone(),
            fresh,
        };
        // The record is durable before this replica's first vote (S1, S6). That of a replica without
        // a vote may come later: the log may make it a member (M4).
        if is_new {
            out.persist(Record::Started { members: members.clone(), origin: self.origin });
        }
        self.phase = Phase::Started(members);
        out.tell(Notice::Start(membership));
    }

    /// S10: replica `from` remembers more of this directory than this life began with. So this
    /// replica has forgotten promises and acceptances, and whatever it says may be wrong.
    fn handle_forgotten(
        &mut self,
        now: Time,
        from: ReplicaId,
        boot: BootId,
        known: u64,
        out: &mut Outbox<Record>,
    ) {
        let begun = self.voter.begun;
        // Other words were meant for another life, or were never said.
        if !self.is_started() || boot != self.voter.boot || known <= begun {
            return;
        }
        self.lose_state(now, from, known, out);
    }

    /// This directory held more once, as replica `by` shows.
    fn lose_state(&mut self, now: Time, by: ReplicaId, known: u64, out: &mut Outbox<Record>) {
        let said = LostState { by, known, begun: self.voter.begun };
        self.phase = Phase::Ending { said, until: now.plus_us(LAST_WORD_US) };
        self.say_last_word(now, said, out);
        out.tell(Notice::LostState(said));
    }

    fn say_last_word(&mut self, now: Time, said: LostState, out: &mut Outbox<Record>) {
        self.next_ready = now.plus_us(self.settings.heartbeat_us);
        for peer in self.settings.peers() {
            out.send(peer, Message::Bootstrap(ToBootstrap::LostState(said)));
        }
    }

    /// Whether the last word has been said often enough.
    pub fn has_said_all(&self, now: Time) -> bool {
        matches!(self.phase, Phase::Ending { until, .. } if until <= now)
    }

    fn send_ready(&mut self, to: ReplicaId, out: &mut Outbox<Record>) {
        self.round += 1;
        let started = match &self.phase {
            Phase::WarmingUp | Phase::Ending { .. } => None,
            Phase::Started(members) | Phase::Remembered(members) => Some(members.clone()),
        };
        let ready = Ready {
            directory: self.voter.directory,
            boot: self.settings.boot,
            round: self.round,
            answers: self.peers[to.index()].heard,
            started,
            list: self.list,
            origin: self.origin,
        };
        out.send(to, Message::Bootstrap(ToBootstrap::Ready(Box::new(ready))));
    }

    /// The replicas that this one waits for, in words; and what it has heard of them for which it
    /// may wait: a configuration that lists others, and another beginning.
    pub fn report(&self) -> String {
        let mut report = self.waited_for();
        let differs = |peer: &Peer| self.list != 0 && peer.list != 0 && peer.list != self.list;
        let peers = self.settings.peers().filter(|id| differs(&self.peers[id.index()]));
        let differing: Vec<String> = peers.map(|id| id.to_string()).collect();
        if !differing.is_empty() {
            report += &format!(
                "; the configuration of replica {} lists other addresses or another order than \
                 this one's",
                differing.join(" and ")
            );
        }
        report + &self.beginnings()
    }

    /// Which replicas begin with what, if not all with the same.
    fn beginnings(&self) -> String {
        let words = |origin: Option<Origin>| {
            origin.map_or("no chat log".to_owned(), |origin| origin.to_string())
        };
        // One that begins empty may follow a cluster without a vote, whatever that began with.
        let is_followed = |peer: &Peer| {
            let started = |answered: &Answered| answered.started.is_some();
            self.origin.is_none() && peer.answered.as_ref().is_some_and(started)
        };
        let differs =
            |peer: &&Peer| peer.heard.is_some() && peer.origin != self.origin && !is_followed(peer);
        let said: Vec<String> = self
            .settings
            .peers()
            .filter_map(|id| {
                let peer = Some(&self.peers[id.index()]).filter(differs)?;
                Some(format!("replica {id} begins with {}", words(peer.origin)))
            })
            .collect();
        match said.as_slice() {
            [] => String::new(),
            said => format!(
                "; {}, this one with {}: give all the same --begin_from, or none",
                said.join(", "),
                words(self.origin)
            ),
        }
    }

    /// Those that have not answered this life.
    fn silent(&self) -> ReplicaSet {
        let mut silent = ReplicaSet::EMPTY;
        for (id, answered) in self.founders() {
            if answered.is_none() {
                silent.insert(id);
            }
        }
        silent
    }

    fn waited_for(&self) -> String {
        let silent = self.founders().filter(|(_, answered)| answered.is_none());
        let silent: Vec<String> = silent.map(|(id, _)| id.to_string()).collect();
        let started = self
            .answers(self.settings.places)
            .filter(|(_, answered)| answered.is_some_and(|answered| answered.started.is_some()));
        let started: Vec<String> = started.map(|(id, _)| id.to_string()).collect();
        let waited = match silent.as_slice() {
            [] if !started.is_empty() => "the others to begin anew".into(),
            [] => "replica 0 to start the cluster".into(),
            [one] => format!("replica {one}"),
            many => format!("replicas {}", many.join(", ")),
        };
        if started.is_empty() {
            return waited;
        }
        let mut answers = self.founders().filter_map(|(_, answered)| answered);
        let is_other = |answered: &Answered| {
            answered.started.is_some() && self.origin.is_some() && answered.origin != self.origin
        };
        if answers.any(is_other) {
            return format!(
                "{waited}; replica {} belongs to a cluster that has started without this data \
                 directory. Two clusters cannot go on: end all replicas of one of them",
                started.join(" and ")
            );
        }
        format!(
            "{waited}; replica {} belongs to a cluster that has started without this data \
             directory. If a quorum of it is left, this replica will follow it without a vote; \
             if not, stop that replica too and let it begin with an empty directory",
            started.join(" and ")
        )
    }
}

impl Role for Bootstrap {
    type Input = Input;
    type Record = Record;

    fn handle(&mut self, now: Time, _draw: u64, input: Input, out: &mut Outbox<Record>) {
        let places = self.settings.places;
        let of_peer = |from: ReplicaId| from != self.settings.id && from.index() < places;
        match input {
            Input::Peer(from, ..) | Input::Refused { from, .. } if !of_peer(from) => {}
            Input::Peer(from, at, ToBootstrap::Ready(ready)) => {
                self.handle_ready(now, (from, at), *ready, out);
            }
            Input::Peer(from, at, ToBootstrap::NotMember { directory }) => {
                // Who follows without a vote knows it.
                let knows = |members: &Vec<_>| !self.is_on(members);
                let is_news = match &self.phase {
                    Phase::WarmingUp => true,
                    Phase::Ending { .. } => false,
                    Phase::Started(members) | Phase::Remembered(members) => !knows(members),
                };
                if directory == self.voter.directory && is_news {
                    self.strangers.is_no_member(now, (from, at));
                }
            }
            Input::Peer(from, _, ToBootstrap::Forgotten { boot, known }) => {
                self.handle_forgotten(now, from, boot, known, out);
            }
            Input::Peer(from, at, ToBootstrap::LostState(said)) => {
                if self.is_started() {
                    self.strangers.lost_state(now, (from, at), said);
                }
            }
            Input::Status(from) => {
                if self.phase == Phase::WarmingUp {
                    let status = Status::warms_up(self.silent());
                    out.answer(from, Answer::Status(Box::new(status)));
                }
            }
            Input::Refused { from, at, why } => {
                if let Phase::Started(members) = &self.phase {
                    self.strangers.refused(now, (from, at), why, cluster_id(members));
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, _draw: u64, out: &mut Outbox<Record>) {
        if self.is_started() {
            return;
        }
        if let Phase::Ending { said, .. } = self.phase {
            return self.say_last_word(now, said, out);
        }
        if let Phase::Remembered(members) = &self.phase {
            let members = members.clone();
            return self.start(members, out);
        }
        // A cluster of one has nobody to wait for.
        self.draw_up_list(now, out);
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
        match self.phase {
            Phase::Started(_) => None,
            Phase::Ending { .. } => Some(self.next_ready),
            _ => Some(self.next_ready.min(self.next_report)),
        }
    }
}
