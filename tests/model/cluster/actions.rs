//! What can happen in a state, and what a death and the end of everything but learning change.

use super::outcomes::Tables;
use super::{Action, Cluster, State};
use crate::model::bounds::{N, replicas};
use crate::model::network::RoleId;
use crate::model::seat::Step;
use multipaxos::types::ReplicaId;

impl Cluster {
    pub(super) fn propose_steps(
        &self,
        tables: &mut Tables,
        state: &State,
        actions: &mut Vec<Action>,
    ) {
        let mut propose = |tables: &mut Tables, role: RoleId, step| {
            let outcome = self.outcome(tables, role, state.seat(role), step);
            if outcome.is_some_and(|outcome| self.matters(state, role, &outcome)) {
                actions.push(Action::Step(role, step));
            }
        };
        let bounds = &self.bounds;
        let heard = |id: ReplicaId| bounds.learners.contains(&id.0);
        let mut learn = bounds.pages;
        for packet in state.sent.iter() {
            let to = tables.packets.get(packet).to;
            if state.learning || !to.is_learner() || heard(to.replica()) {
                propose(tables, to, Step::Take(packet));
            }
            learn |= to.is_learner() && !heard(to.replica());
        }
        let asks = |id: &ReplicaId| bounds.pages && (state.learning || heard(*id));
        for to in replicas().filter(asks) {
            let first = tables.at(state, RoleId::learner(to)).applied().unwrap_or_default();
            for peer in replicas().filter(|peer| *peer != to) {
                propose(tables, RoleId::learner(peer), Step::Serve { to, first });
            }
        }
        if state.learning {
            return;
        }
        for id in replicas() {
            let role = RoleId::proposer(id);
            propose(tables, role, Step::Campaign);
            if let Some(ballot) = tables.at(state, role).leading() {
                for (at, (whose, _)) in bounds.offers.iter().enumerate() {
                    if *whose == ballot.0 {
                        propose(tables, role, Step::Offer(at));
                    }
                }
                if bounds.changes.contains(&ballot.0) {
                    propose(tables, role, Step::Change);
                }
                if bounds.heartbeats {
                    propose(tables, role, Step::Beat);
                }
            }
            for role in RoleId::of(id) {
                if tables.at(state, role).is_careless() {
                    propose(tables, role, Step::Sync);
                }
            }
        }
        if learn {
            actions.push(Action::Learn);
        }
        for id in replicas() {
            self.propose_deaths(state, id, &[None], actions);
        }
    }

    pub(super) fn propose_deaths(
        &self,
        state: &State,
        id: ReplicaId,
        synced: &[Option<bool>],
        actions: &mut Vec<Action>,
    ) {
        if state.crashes < self.bounds.crashes
            && self.bounds.mortals.contains(&id.0)
            && !state.learning
        {
            actions.extend(synced.iter().map(|synced| Action::Die(id, *synced)));
        }
    }

    pub(super) fn begin_anew(
        &self,
        tables: &mut Tables,
        state: &mut State,
        id: ReplicaId,
    ) -> Option<()> {
        let synced = state.down.take().and_then(|down| down.synced).unwrap_or(false);
        for packet in state.sent.clone().iter() {
            let held = tables.packets.get(packet);
            if held.is_inside() && held.from == id {
                state.sent.remove(packet);
            }
        }
        // What becomes durable by dying does so in the old life.
        for role in RoleId::of(id) {
            let outcome = self.outcome(tables, role, state.seat(role), Step::Crash { synced })?;
            self.apply(tables, state, role, &outcome);
        }
        state.lives[id.index()] += 1;
        Some(())
    }

    pub(super) fn stop_all_but_learners(&self, tables: &mut Tables, state: &mut State) {
        for packet in state.sent.clone().iter() {
            if !tables.packets.get(packet).to.is_learner() {
                state.sent.remove(packet);
            }
        }
        for role in RoleId::all().filter(|role| !role.is_learner()) {
            state.seats[role.index()] = 0;
        }
        let history = tables.histories.get(state.history).for_learners();
        let history = tables.add_history(history);
        tables.remember(state, history);
        (state.lives, state.crashes, state.learning) = ([0; N], 0, true);
    }
}
