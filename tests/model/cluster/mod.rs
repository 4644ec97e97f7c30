//! The cluster, as a model: its states, and what can happen in each.
//!
//! Every combination of what can happen is gone through, but for two kinds that lead
//! nowhere else:
//!
//! - **While a sync is under way** at a role, and what rests on it is held, nothing happens
//!   elsewhere. Roles share nothing, and nobody can see that state: whatever happened
//!   meanwhile can as well have happened before. It ends with the sync, or in a crash.
//! - **Learners whom nobody hears** (all but [`Bounds::learners`]) take their inputs once
//!   everything else has stopped, which it may at any moment. Nothing that is sent is ever
//!   lost to them by waiting, so they can come to the same conclusions then; and as only
//!   learners go on, only what concerns them is kept of the state.
//!
//! A state names its parts by number ([`Table`]). `actions` says what can happen in a state,
//! `outcomes` what comes of a step, `properties` what must hold; `turns` follows one execution.

mod actions;
mod outcomes;
mod properties;
mod turns;

use super::bounds::{Bounds, N, next, replicas};
use super::history::{History, Law, Laws, Reach, Reached};
use super::network::{ROLES, RoleId, Sent};
use super::seat::{Seat, Step};
use super::table::Table;
use multipaxos::types::{Ballot, ReplicaId, Value};
use multipaxos::values::Values;
use outcomes::Tables;
use properties::{LAWS, REACHES};
use stateright::{Model, Property};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};
pub(crate) use turns::Turn;

/// The whole cluster at one moment.
#[derive(Debug, Clone)]
pub(crate) struct State {
    seats: [u32; ROLES],
    sent: Sent,
    history: u32,
    lives: [u8; N],
    crashes: u8,
    down: Option<Down>,
    /// Everything has stopped but for the learners.
    learning: bool,
    /// What the history says, at hand.
    broken: Laws,
    reached: Reached,
}

/// A process that has died and not begun anew; `synced`: what became of a sync that was
/// under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Down {
    replica: ReplicaId,
    synced: Option<bool>,
}

impl State {
    fn parts(&self) -> impl Hash + Eq + '_ {
        let State { seats, sent, history, lives, crashes, down, learning, broken: _, reached: _ } =
            self;
        (seats, sent, history, lives, crashes, down, learning)
    }

    fn seat(&self, role: RoleId) -> u32 {
        self.seats[role.index()]
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.parts().hash(hasher);
    }
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A role takes a step; packets go by their numbers.
    Step(RoleId, Step<u32>),
    Die(ReplicaId, Option<bool>),
    Begin(ReplicaId),
    /// Everything stops, and learners go on.
    Learn,
}

/// The model.
pub(crate) struct Cluster {
    bounds: Bounds,
    judged: &'static [Law],
    expected: &'static [Reach],
    /// What clients ask for.
    known: Vec<Values>,
    tables: Mutex<Tables>,
    /// What was told already.
    told_laws: [AtomicBool; Law::ALL.len()],
    told_reaches: [AtomicBool; Reach::ALL.len()],
}

impl Cluster {
    /// A cluster in which these laws hold and these things happen.
    pub(crate) fn new(
        bounds: Bounds,
        judged: &'static [Law],
        expected: &'static [Reach],
    ) -> Cluster {
        let lines = bounds.offers.iter().map(|(_, line)| bounds.request(line).commands);
        let changes = bounds.changes.iter().filter_map(|ballot| next(Ballot(*ballot)));
        let changes = changes.map(|next| (&Value::Change(next.to_change())).into());
        let known = lines.chain(changes).collect();
        let tables = Tables {
            seats: RoleId::all().map(|_| Table::new()).collect(),
            packets: Table::new(),
            histories: Table::new(),
            said: Vec::new(),
            outcomes: HashMap::default(),
            pasts: HashMap::default(),
            outcomes_made: 0,
        };
        Cluster {
            bounds,
            judged,
            expected,
            known,
            tables: Mutex::new(tables),
            told_laws: Default::default(),
            told_reaches: Default::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().expect("what can fail is caught")
    }

    /// How many states of roles, packets and histories were met.
    pub(crate) fn parts(&self) -> (usize, usize, usize) {
        let tables = self.lock();
        let seats = tables.seats.iter().map(Table::len).sum();
        (seats, tables.packets.len(), tables.histories.len())
    }

    /// All have just warmed up.
    fn first_state(&self) -> State {
        let tables = &mut *self.lock();
        let mut seats = [0; ROLES];
        for id in replicas() {
            for (role, seat) in RoleId::of(id).into_iter().zip(Seat::first(&self.bounds, id)) {
                seats[role.index()] = tables.seats[role.index()].number(seat);
            }
        }
        let history = tables.add_history(History::new(self.judged));
        State {
            seats,
            sent: Sent::default(),
            history,
            lives: [0; N],
            crashes: 0,
            down: None,
            learning: false,
            broken: Laws::default(),
            reached: Reached::default(),
        }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.opening().1]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if !state.broken.is_empty() {
            return;
        }
        if let Some(down) = state.down {
            return actions.push(Action::Begin(down.replica));
        }
        let tables = &mut *self.lock();
        match RoleId::all().find(|role| tables.at(state, *role).is_syncing()) {
            Some(role) => {
                actions.push(Action::Step(role, Step::Sync));
                let synced = [Some(false), Some(true)];
                self.propose_deaths(state, role.replica(), &synced, actions);
            }
            None => self.propose_steps(tables, state, actions),
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let tables = &mut *self.lock();
        let mut state = last.clone();
        match action {
            Action::Step(role, step) => {
                let outcome = self.outcome(tables, role, state.seat(role), step)?;
                self.apply(tables, &mut state, role, &outcome);
            }
            Action::Die(replica, synced) => {
                state.down = Some(Down { replica, synced });
                state.crashes += 1;
            }
            Action::Begin(replica) => self.begin_anew(tables, &mut state, replica)?,
            Action::Learn => self.stop_all_but_learners(tables, &mut state),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let laws = LAWS.iter().zip(Law::ALL).filter(|(_, law)| self.judged.contains(law));
        let laws = laws.map(|(holds, law)| Property::always(law.what(), *holds));
        let reaches = REACHES.iter().zip(Reach::ALL);
        let reaches = reaches.filter(|(_, reach)| self.expected.contains(reach));
        let reaches = reaches.map(|(meets, reach)| Property::sometimes(reach.what(), *meets));
        laws.chain(reaches).collect()
    }
}
