//! The ghost history of who the members are (M1 to M4).

use super::{Checked, Checker, violation};
use multipaxos::members::{Configuration, Moved};
use multipaxos::paxos::Membership;
use multipaxos::quorum::ReplicaSet;
use multipaxos::types::{Ballot, DirectoryId, ReplicaId, Slot};
use multipaxos::values::ValueRef;
use std::collections::BTreeMap;

/// All configurations so far, and who may vote in them.
#[derive(Debug)]
pub(super) struct Members {
    /// By number: each configuration, and the slot of the change that made it.
    configurations: Vec<(Configuration, Slot)>,
    /// Whether the first of them is the started record.
    is_started: bool,
    /// By replica id, the directory of its present life.
    directories: Vec<DirectoryId>,
    /// The slot of the change that was proposed at a ballot.
    proposed: BTreeMap<Ballot, Slot>,
    /// The highest number of a configuration that anybody has proposed.
    asked: u16,
    /// Whether somebody has cut a chat log: then a replica may lack what it had.
    may_lack: bool,
}

impl Members {
    pub(super) fn new(n: usize) -> Members {
        let directories = vec![DirectoryId(0); n];
        // Until the cluster starts nobody votes. Who owns a ballot is known all the same.
        let first = Configuration::started(&directories);
        Members {
            configurations: vec![(first, Slot::ZERO)],
            is_started: false,
            directories,
            proposed: BTreeMap::new(),
            asked: 0,
            may_lack: false,
        }
    }

    /// Whether these are a quorum of the ballot's configuration.
    pub(super) fn is_quorum(&self, ballot: Ballot, by: ReplicaSet) -> bool {
        self.of(ballot).is_some_and(|(of, _)| of.is_quorum(by))
    }

    fn of(&self, ballot: Ballot) -> Option<&(Configuration, Slot)> {
        self.configurations.get(usize::from(ballot.configuration()))
    }

    fn newest(&self) -> &Configuration {
        let (newest, _) = self.configurations.last().expect("there is the started record");
        newest
    }

    /// A change is decided in `slot`. It takes effect if it has the next number.
    pub(super) fn change(&mut self, slot: Slot, next: Configuration) {
        if self.newest().is_followed_by(&next) {
            self.configurations.push((next, slot));
        }
    }
}

impl Checker {
    /// A life of a replica begins, with these members at first and this directory.
    pub fn starts(&mut self, node: ReplicaId, membership: &Membership) {
        self.members.directories[node.index()] = membership.voter.directory;
        // What a replica remembers may be of a former cluster; what it has warmed up with is not.
        let counts = membership.fresh || !self.members.is_started;
        if counts && self.members.configurations.len() == 1 {
            self.members.configurations[0].0 = membership.started();
            self.members.is_started = true;
        }
    }

    /// The newest configuration that the log has made. None before the cluster has started.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.members.is_started.then(|| self.members.newest())
    }

    /// M9: a client is told where a member is that has moved: as the configuration says.
    pub fn tells_moves(&self, configuration: u16, told: Moved) -> Checked {
        let of = self.members.configurations.get(usize::from(configuration));
        match of.is_some_and(|(of, _)| of.moved().any(|moved| moved == told)) {
            true => Ok(()),
            false => {
                let Moved { id, to } = told;
                let what = format!("M9: a client is told that replica {id} is at {to:?}");
                violation(Slot::ZERO, what)
            }
        }
    }

    /// The highest number of a configuration that anybody has proposed. That change may be on its way
    /// still.
    pub fn asked(&self) -> u16 {
        self.members.asked
    }

    /// Whose ballot this is.
    pub(super) fn owner(&self, ballot: Ballot) -> Option<ReplicaId> {
        self.members.of(ballot).and_then(|(of, _)| of.owner(ballot))
    }

    /// M3, M4: an acceptor promises or accepts at this ballot.
    pub(super) fn may_vote(&self, node: ReplicaId, ballot: Ballot) -> Checked {
        let Some((of, slot)) = self.members.of(ballot) else {
            let what =
                format!("M2: replica {node} votes at ballot {ballot} before any change to it");
            return violation(Slot::ZERO, what);
        };
        // Nobody campaigns with the first ballot of a later configuration: it only refuses others.
        if !self.members.is_started || of.number() > 0 && ballot == of.first_ballot() {
            return Ok(());
        }
        if !of.is_member(node, self.members.directories[node.index()]) {
            let what = format!("M3: replica {node} votes at ballot {ballot}, and is no member");
            return violation(*slot, what);
        }
        if of.number() > 0 && !self.members.may_lack && self.applied[node.index()] <= *slot {
            let what = format!("M4: replica {node} votes at ballot {ballot}, and lacks the change");
            return violation(*slot, what);
        }
        Ok(())
    }

    /// Somebody cuts a chat log, or deletes it. What its replica fetches again lies below the trim
    /// mark of its acceptor, so it leads from there on all the same (S5).
    pub fn loses_lines(&mut self) {
        self.members.may_lack = true;
    }

    /// M4: the learner of a replica begins a life. It has the change under which its acceptor has
    /// voted, unless somebody has cut its chat log.
    pub fn knows_the_change(&self, node: ReplicaId) -> Checked {
        let Some(promised) = self.promised[node.index()] else { return Ok(()) };
        match self.members.of(promised) {
            Some((of, slot))
                if of.number() > 0
                    && !self.members.may_lack
                    && self.applied[node.index()] <= *slot =>
            {
                let what = format!("M4: replica {node} has forgotten the change to {of}");
                violation(*slot, what)
            }
            _ => Ok(()),
        }
    }

    /// M1: nothing stands above a change at its ballot.
    pub(super) fn proposes_below_its_change(
        &mut self,
        slot: Slot,
        ballot: Ballot,
        value: ValueRef<'_>,
    ) -> Checked {
        if let Some(change) = value.change() {
            self.members.proposed.insert(ballot, slot);
            let number = change.to_configuration().number();
            self.members.asked = self.members.asked.max(number);
        }
        match self.members.proposed.get(&ballot) {
            Some(change) if *change < slot => {
                violation(slot, format!("M1: proposed at ballot {ballot}, above its change"))
            }
            _ => Ok(()),
        }
    }
}
