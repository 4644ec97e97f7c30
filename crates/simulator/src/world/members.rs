//! An operator changes the members while all else goes on (M1 to M8): a disk is lost and its replica
//! comes back with a fresh directory, a member is removed, one that was removed is added again.
//!
//! The operator does what a careful one does, and no more. A joiner is proposed when it has caught
//! up. Nobody is removed, and no disk is lost, where too few members would be left that have all of
//! theirs. And nothing is lost for good before the newest configuration has led, since others may
//! hold what its members have not fetched (M8).
//!
//! Some clusters have places without a vote in the beginning. Replicas follow there from the first, and
//! the operator gives them a vote, and takes it away, as all others.
//!
//! Half of the replicas that come back with a fresh directory ask the leader themselves.
//!
//! Where this happens, other faults that deprive a replica of what it has do not: each of them
//! alone uses up what a cluster can bear.

use super::*;
use crate::faults::Switches;
use multipaxos::members::{Configuration, Member};
use multipaxos::message::VoteAim;
use multipaxos::paxos::{learner::Learner, proposer};
use multipaxos::types::PLACES_MAX;
use seeds::stream;

/// One run in so many changes its members.
const ONE_IN: u8 = 4;

/// The shortest time between two attempts.
const EVERY_US_MIN: u64 = 100_000;

/// A run has time for at least so many attempts.
const ATTEMPTS: u64 = 6;

/// A replica has caught up if it lacks no more slots than this.
const CAUGHT_UP_SLOTS: u64 = 64;

/// One run with changes in so many has places without a vote in the beginning.
const GROWS_ONE_IN: u8 = 3;

/// There are at most so many of them, and [`PLACES_MAX`] in all.
const OBSERVERS_MAX: usize = 3;

/// What the operator of a run has done.
#[derive(Debug)]
pub(super) struct Changes {
    draws: Rng,
    every_us: u64,
    /// The highest number of a configuration that a leader was asked to make.
    asked: u16,
    /// The newest configuration of which a ballot has led.
    established: Option<Configuration>,
}

impl Changes {
    /// The operator of this seed, if members change.
    pub(super) fn draw(seed: u64, switches: Switches, safety_us: u64) -> Option<Changes> {
        let mut draws = stream(seed, "members");
        let comes = draws.u8(0..ONE_IN) == 0 && switches.disk;
        let most = (safety_us / ATTEMPTS).max(EVERY_US_MIN);
        let every_us = draws.u64(EVERY_US_MIN..=most);
        comes.then_some(Changes { draws, every_us, asked: 0, established: None })
    }

    /// How many places a cluster of `n` has, those included that had no vote in the beginning.
    pub(super) fn places(seed: u64, n: usize) -> usize {
        // By this name the seeds that `bugs/` cites have none: they are the runs that they were.
        let mut draws = stream(seed, "the places");
        match draws.u8(0..GROWS_ONE_IN) {
            0 => (n + draws.usize(1..=OBSERVERS_MAX)).min(PLACES_MAX).max(n),
            _ => n,
        }
    }

    fn established(&self) -> u16 {
        self.established.as_ref().map_or(0, Configuration::number)
    }
}

impl World {
    pub(super) fn change_members_later(&mut self) {
        let Some(Changes { draws, every_us, .. }) = &mut self.changes else { return };
        let wait = draws.u64(*every_us / 2..=*every_us);
        self.queue.add(self.now.plus_us(wait), Event::Fault(Fault::Members));
    }

    /// With how many replicas the cluster began.
    pub(super) fn founders(&self) -> usize {
        self.nodes[0].settings.n
    }

    /// The members now, once the cluster has started.
    fn members(&self) -> Option<Configuration> {
        self.checker.configuration().cloned()
    }

    /// Whether this member has the directory that votes.
    fn has_vote(&self, member: &Member) -> bool {
        self.nodes[member.id.index()].store.directory == member.directory
    }

    /// Whether it can be heard besides: it is where the members say.
    fn is_whole(&self, member: &Member) -> bool {
        self.has_vote(member) && self.is_there(member)
    }

    /// Whether more than half of these members have all of theirs, `lost` apart.
    fn has_quorum(&self, of: &Configuration, lost: Option<ReplicaId>) -> bool {
        let whole = of.members().iter().filter(|it| Some(it.id) != lost && self.is_whole(it));
        whole.count() >= of.quorum()
    }

    /// Whether one of those with which the cluster began has the directory of then, `lost` apart. If
    /// none has, they would begin another cluster where they do not hear the others.
    fn has_founder(&self, lost: ReplicaId) -> bool {
        let founders = &self.nodes[..self.founders()];
        let keeps = |node: &Node| node.id != lost && node.store.started.is_some();
        self.nodes.len() == founders.len() || founders.iter().any(keeps)
    }

    /// Whether no change is on its way, and the newest configuration has led (M8).
    fn is_stable(&self) -> bool {
        let (Some(changes), Some(members)) = (&self.changes, self.members()) else { return true };
        changes.asked.max(self.checker.asked()) <= members.number()
            && changes.established() == members.number()
    }

    /// How many replicas are needed in the second phase: those with a vote come first.
    pub(super) fn members_needed(&self) -> usize {
        match self.members() {
            Some(members) if self.is_stable() => members.quorum(),
            Some(_) => self.nodes.len(),
            None => quorum(self.founders()),
        }
    }

    /// Whoever has lost its disk follows once more than half of all replicas show it the started
    /// record. Where fewer are left it waits, and says so.
    pub(super) fn leave_out_joiners(&mut self) {
        let n = self.founders();
        let has_started = |node: &&Node| {
            let runs = node.process.as_ref().is_some_and(Process::is_started);
            runs || node.store.started.is_some()
        };
        let shows = |node: &&Node| !self.out[node.id.index()] && has_started(node);
        if self.nodes.iter().filter(shows).count() >= quorum(n) {
            return;
        }
        for node in self.nodes.iter().filter(|node| !has_started(node)) {
            self.out[node.id.index()] |= self.wiped[node.id.index()];
        }
    }

    /// Loses a disk, or asks the leader for a change.
    pub(super) fn change_members(&mut self) {
        self.change_members_later();
        let (stable, Some(members)) = (self.is_stable(), self.members()) else { return };
        let has_started = self.nodes.iter().all(|node| node.started || self.wiped[node.id.index()]);
        let Some(changes) = &mut self.changes else { return };
        let (loses, place) = (changes.draws.u8(0..3) == 0, changes.draws.usize(..self.nodes.len()));
        let id = ReplicaId(place as u8);
        if !has_started || changes.established() != members.number() && changes.asked == 0 {
            return;
        }
        let is_whole = members.member(id).is_some_and(|member| self.is_whole(member));
        if stable && is_whole && self.has_quorum(&members, Some(id)) && self.moves_away(id) {
            return;
        }
        if loses && stable {
            let may = self.has_quorum(&members, Some(id)) && self.has_founder(id);
            if is_whole && may && self.chat_logs_are_whole() {
                self.reach.count(Situation::Wipe);
                self.end_life(id, Death::Killed);
                self.wipe(id);
                self.restart_later(id);
            }
            return;
        }
        // M8: one after the other.
        let is_led = self.changes.as_ref().is_some_and(|it| it.established() == members.number());
        let next = self.wanted(&members, id).filter(|next| is_led && self.has_quorum(next, None));
        let (Some(next), Some(leader)) = (next, self.leader) else { return };
        let Some(process) = &mut self.nodes[leader.index()].process else { return };
        let input = proposer::Input::Change(next.clone());
        let Some(role) = process.notify(Notice::Proposer(input)) else { return };
        self.wake_soon(leader, role, 0);
        if next.member(leader).is_none() {
            self.reach.count(Situation::LeaderRemoved);
        }
        self.trace(|| format!("the operator asks replica {leader} for {next}"));
        if let Some(changes) = self.changes.as_mut().filter(|it| it.asked < next.number()) {
            changes.asked = next.number();
            self.cost.changes(self.nodes.len());
        }
    }

    /// What the operator wants: a lost member back, or replica `id` in or out.
    fn wanted(&self, members: &Configuration, id: ReplicaId) -> Option<Configuration> {
        if let Some(away) = self.away(members) {
            return members.with(away);
        }
        let lost = members.members().iter().find(|member| !self.has_vote(member));
        let id = lost.map_or(id, |member| member.id);
        if lost.is_none() && members.member(id).is_some() {
            return members.without(id).filter(|_| !self.has_moved(id));
        }
        let node = &self.nodes[id.index()];
        let applied = node.process.as_ref().and_then(Process::learner).map(Learner::applied)?;
        let has_caught_up = applied.0 + CAUGHT_UP_SLOTS >= self.checker.log_len();
        let address = members.member(id).and_then(|member| member.address);
        let member = Member { id, directory: node.store.directory, address };
        has_caught_up.then(|| members.with(member)).flatten()
    }

    /// A replica begins to take part without a vote. Perhaps its operator wants it to have one.
    pub(super) fn may_rejoin(&mut self, id: ReplicaId) {
        let Some(Changes { draws, .. }) = &mut self.changes else { return };
        let Some(process) = &mut self.nodes[id.index()].process else { return };
        if self.wiped[id.index()] && draws.bool() {
            process.notify(Notice::Proposer(proposer::Input::Aim(VoteAim::OfLostDisk)));
        }
    }

    /// A ballot leads. So its configuration is established: whoever is no member of it may go, and
    /// all of its members may vote (M8).
    pub(super) fn is_led(&mut self, ballot: Ballot) {
        let Some(members) = self.members() else { return };
        let Some(changes) = &mut self.changes else { return };
        if ballot.configuration() != members.number() {
            return;
        }
        let before = changes.established.replace(members.clone());
        let Some(before) = before.filter(|before| before.number() < members.number()) else {
            return;
        };
        self.reach.count(match members.members().len().cmp(&before.members().len()) {
            std::cmp::Ordering::Less => Situation::MemberRemoved,
            std::cmp::Ordering::Equal if is_same(&before, &members) => Situation::MemberMoved,
            std::cmp::Ordering::Equal => Situation::MemberReplaced,
            std::cmp::Ordering::Greater => Situation::MemberAdded,
        });
        let is_new = |id: ReplicaId| members.member(id).is_some() && before.member(id).is_none();
        if (self.founders()..self.nodes.len()).any(|place| is_new(ReplicaId(place as u8))) {
            self.reach.count(Situation::PlaceFilled);
        }
        for node in &mut self.nodes {
            let is_member = members.is_member(node.id, node.store.directory);
            self.wiped[node.id.index()] = !is_member;
            node.started |= is_member;
        }
        self.trace(|| format!("{members} is established"));
    }
}

/// Whether the same directories vote in both.
fn is_same(one: &Configuration, other: &Configuration) -> bool {
    one.members().iter().all(|it| other.is_member(it.id, it.directory))
}
