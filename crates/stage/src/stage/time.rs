//! Lets time pass: for a given time, or until the cluster is quiet.

use super::{Loud, QUIET_US, STEPS_MAX, Stage};
use history::Party;
use multipaxos::message::{Message, ToProposer, Voter};
use multipaxos::paxos::Role;
use multipaxos::types::{ReplicaId, Time};
use simulator::node::{ROLES, RoleName};

impl Stage {
    /// The earliest timer that fires at `upto` or before.
    pub(super) fn next_timer(&mut self, upto: Time) -> Option<(Time, Party, RoleName)> {
        let mut timers: Vec<(Time, Party, RoleName)> = Vec::new();
        for index in 0..self.nodes.len() {
            let id = ReplicaId(index as u8);
            for role in ROLES {
                if let Some(at) = self.nodes[index].deadline(role) {
                    timers.push((at, Party::Replica(id), role));
                }
            }
        }
        for (id, visitor) in &self.clients {
            if let Some(at) = visitor.role.deadline() {
                let at = visitor.fired_at.map_or(at, |fired| at.max(fired.plus_us(1)));
                timers.push((at, Party::Client(*id), RoleName::Bootstrap));
            }
        }
        timers
            .into_iter()
            .filter(|(at, _, _)| *at <= upto)
            .min_by_key(|(at, party, _)| (*at, *party))
    }

    /// The first message that arrives at `upto` or before.
    pub(super) fn next_arrival(&self, upto: Time) -> Option<(Time, String)> {
        let due = self.network.iter().filter(|pending| !pending.held);
        due.map(|pending| (pending.arrives_at, pending.id.clone()))
            .filter(|(at, _)| *at <= upto)
            .min_by_key(|(at, _)| *at)
    }

    pub(super) fn fire_timer(&mut self, party: Party, role: RoleName) {
        match party {
            Party::Replica(id) => {
                self.fire(id, role);
                self.settle(id);
            }
            Party::Client(id) => self.turn_client(id, None),
        }
    }

    /// Lets time pass and timers fire. Messages wait in the network.
    pub(crate) fn tick(&mut self, us: u64) {
        let end = self.now.plus_us(us);
        self.clocked = true;
        let mut steps = 0;
        while let Some((at, party, role)) = self.next_timer(end) {
            steps = if at > self.now { 0 } else { steps + 1 };
            assert!(steps < STEPS_MAX, "the cluster spins");
            self.now = self.now.max(at);
            self.fire_timer(party, role);
        }
        self.now = end;
        self.clocked = false;
    }

    /// Lets time pass, timers fire and messages arrive. With `until_quiet` it ends early once
    /// nothing happens any more. Returns whether the cluster became quiet.
    pub(crate) fn pass(&mut self, us: u64, until_quiet: bool) -> bool {
        let end = self.now.plus_us(us);
        self.stirred_at = self.now;
        self.clocked = self.loud != Loud::Nothing;
        let mut steps = 0;
        let quiet = loop {
            let waits = self.network.iter().any(|pending| !pending.held && !pending.is_heartbeat());
            if until_quiet && !waits && self.now.since_us(self.stirred_at) >= QUIET_US {
                break true;
            }
            let arrival = self.next_arrival(end);
            let before = arrival.as_ref().map_or(end, |(at, _)| *at);
            let timer = self.next_timer(before);
            let next = timer.as_ref().map(|(at, ..)| *at).or(arrival.as_ref().map(|(at, _)| *at));
            steps = if next > Some(self.now) { 0 } else { steps + 1 };
            assert!(steps < STEPS_MAX, "the cluster spins");
            if let Some((at, party, role)) = timer {
                self.now = self.now.max(at);
                self.fire_timer(party, role);
            } else if let Some((at, id)) = arrival {
                self.now = self.now.max(at);
                self.deliver(&id);
            } else {
                self.now = end;
                break false;
            }
        };
        self.clocked = false;
        quiet
    }

    /// Delivers messages until none is in the network. No time passes.
    pub(crate) fn settle_network(&mut self) {
        for _ in 0..STEPS_MAX {
            let next = self.network.iter().find(|pending| !pending.held);
            let Some(id) = next.map(|pending| pending.id.clone()) else { return };
            self.deliver(&id);
        }
        panic!("the network never settles");
    }

    /// Puts the clock of replica `id` forward until the replica loses patience, and grants its
    /// pre-votes, so that it begins phase 1.
    pub(crate) fn campaign(&mut self, id: ReplicaId) -> Result<(), String> {
        let loud = std::mem::replace(&mut self.loud, Loud::Nothing);
        for _ in 0..10_000 {
            let now = self.now;
            let Some(deadline) = self.node(id).deadline(RoleName::Proposer) else {
                self.loud = loud;
                return Err(format!("replica {id} is down, or its proposer is stalled"));
            };
            self.node(id).ahead_us += deadline.since_us(now);
            let sent = self.fire(id, RoleName::Proposer);
            let Some(round) = sent.iter().find_map(|message| match message {
                Message::Proposer(ToProposer::PreVote { round, .. }) => Some(*round),
                _ => None,
            }) else {
                self.settle(id);
                continue;
            };
            let me = Party::Replica(id);
            self.network.retain(|pending| !(pending.from == me && pending.id.starts_with('e')));
            self.loud = loud;
            let members = self.node(id).store.bootstrap.started().cloned();
            let members = members.ok_or_else(|| format!("replica {id} has not started"))?;
            for (peer, directory) in (0..).map(ReplicaId).zip(members) {
                if peer != id {
                    let node = &self.nodes[peer.index()];
                    let (boot, begun) = (node.settings.boot, node.store.state.written());
                    let voter = Voter { directory, boot, begun };
                    let reply =
                        ToProposer::PreVoteReply { round, granted: true, promised: None, voter };
                    self.node(id).accept(peer, Message::Proposer(reply));
                }
            }
            self.settle(id);
            return Ok(());
        }
        self.loud = loud;
        Err(format!("replica {id} does not lose patience: it leads, or has no vote"))
    }
}
