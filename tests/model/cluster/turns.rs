//! An execution, as it is told: turn by turn, with the check's opening before it.

use super::outcomes::Outcome;
use super::{Action, Cluster, State};
use crate::model::history::History;
use crate::model::network::{Packet, RoleId};
use crate::model::seat::{Step, StepEffect};
use crate::model::tell;
use multipaxos::types::{Ballot, ReplicaId};
use stateright::Model;
use std::sync::Arc;

/// Something that has happened, as it is told: an action, and the end of the sync that it
/// asked for unless a crash came first.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) action: Action,
    /// The packet that a role takes.
    pub(crate) packet: Option<Arc<Packet>>,
    pub(crate) effects: Vec<StepEffect>,
    /// What is sent, each with its number.
    pub(crate) sent: Vec<(u32, Arc<Packet>)>,
    /// The ballot that a proposer leads from now on.
    pub(crate) leads: Option<Ballot>,
    /// The role has written something without asking for a sync.
    pub(crate) careless: bool,
    /// The sync that the role asked for has not ended.
    pub(crate) writing: bool,
    /// It has ended, which was an action of its own.
    synced: bool,
    pub(crate) failed: bool,
}

impl Turn {
    pub(crate) fn replica(&self) -> Option<ReplicaId> {
        match self.action {
            Action::Step(role, _) => Some(role.replica()),
            Action::Die(replica, _) | Action::Begin(replica) => Some(replica),
            Action::Learn => None,
        }
    }

    pub(crate) fn sends(&self, packet: u32) -> bool {
        self.sent.iter().any(|(sent, _)| *sent == packet)
    }

    pub(crate) fn takes(&self, packet: u32) -> bool {
        matches!(self.action, Action::Step(_, Step::Take(taken)) if taken == packet)
    }
}

impl Cluster {
    /// One turn: `actions` begins with what happens, and a sync that it asks for may end
    /// right behind it.
    fn turn(&self, state: &State, actions: &[Action]) -> Option<(Turn, State)> {
        let action = *actions.first()?;
        let mut after = self.next_state(state, action)?;
        let mut outcomes = self.outcomes(state, action);
        let synced = match (action, actions.get(1)) {
            (Action::Step(role, _), Some(Action::Step(at, Step::Sync))) => {
                role == *at && self.lock().at(&after, role).is_syncing()
            }
            _ => false,
        };
        if synced {
            outcomes.extend(self.outcomes(&after, actions[1]));
            after = self.next_state(&after, actions[1])?;
        }
        let tables = &*self.lock();
        let sent = outcomes.iter().flat_map(|outcome| outcome.sent.iter());
        let sent = sent.map(|packet| (*packet, tables.packets.get(*packet).clone())).collect();
        let (mut packet, mut leads, mut careless, mut writing) = (None, None, false, false);
        if let Action::Step(role, step) = action {
            let (before, now) = (tables.at(state, role), tables.at(&after, role));
            if let Step::Take(number) = step {
                packet = Some(tables.packets.get(number).clone());
            }
            leads = now.leading().filter(|ballot| before.leading() != Some(*ballot));
            (careless, writing) = (now.is_careless(), now.is_syncing());
        }
        let turn = Turn {
            action,
            packet,
            effects: outcomes.iter().flat_map(|outcome| outcome.effects.clone()).collect(),
            sent,
            leads,
            careless,
            writing,
            synced,
            failed: outcomes.iter().any(|outcome| outcome.failed),
        };
        Some((turn, after))
    }

    /// What comes of an action at each seat that it concerns.
    fn outcomes(&self, state: &State, action: Action) -> Vec<Arc<Outcome>> {
        let tables = &mut *self.lock();
        let mut outcome = |role, step| self.outcome(tables, role, state.seat(role), step);
        match action {
            Action::Step(role, step) => outcome(role, step).into_iter().collect(),
            Action::Begin(id) => {
                let synced = state.down.and_then(|down| down.synced).unwrap_or(false);
                let roles = RoleId::of(id).into_iter();
                roles.filter_map(|role| outcome(role, Step::Crash { synced })).collect()
            }
            Action::Die(..) | Action::Learn => Vec::new(),
        }
    }

    /// What happens in the check's opening, and the state behind it. A sync there ends at
    /// once, but for one that the last sentence asks for: the check begins while it is under
    /// way.
    pub(super) fn opening(&self) -> (Vec<Action>, State) {
        let (mut done, mut state) = (Vec::new(), self.first_state());
        for told in self.bounds.opening.iter().copied().flatten() {
            if let Some(role) = self.syncing(&state) {
                let sync = Action::Step(role, Step::Sync);
                done.push(sync);
                state = self.next_state(&state, sync).expect("a sync can end");
            }
            let mut actions = Vec::new();
            self.actions(&state, &mut actions);
            let tells = |action: &Action| match *action {
                Action::Step(role, _) => {
                    self.turn(&state, &[*action, Action::Step(role, Step::Sync)])
                }
                _ => self.turn(&state, &[*action]),
            };
            let can = actions.iter().filter_map(tells);
            let can = can.map(|(turn, _)| (turn.action, tell::turn(&self.bounds, &turn)));
            let can: Vec<(Action, String)> = can.collect();
            let chosen = can.iter().find(|(_, can)| can == told);
            let (action, _) = chosen.unwrap_or_else(|| panic!("not {told:?}, but one of {can:#?}"));
            done.push(*action);
            state = self.next_state(&state, *action).expect("it can happen");
        }
        (done, state)
    }

    /// Where a sync is under way.
    fn syncing(&self, state: &State) -> Option<RoleId> {
        let tables = self.lock();
        RoleId::all().find(|role| tables.at(state, *role).is_syncing())
    }

    /// All that happens in the opening and then by these actions, how many of the turns are
    /// the opening, and the history at the end.
    pub(crate) fn follow(&self, actions: &[Action]) -> (Vec<Turn>, usize, History) {
        let opening = self.opening().0;
        let all: Vec<Action> = opening.iter().chain(actions).copied().collect();
        let (mut turns, mut given, mut at) = (Vec::new(), 0, 0);
        let mut state = self.first_state();
        while let Some((turn, after)) = self.turn(&state, &all[at..]) {
            given += usize::from(at < opening.len());
            at += if turn.synced { 2 } else { 1 };
            turns.push(turn);
            state = after;
        }
        let history = History::clone(self.lock().histories.get(state.history));
        (turns, given, history)
    }
}
