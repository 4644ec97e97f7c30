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
//! A state names its parts by number ([`Table`]). What comes of a step at a part is worked
//! out once, by the role itself, and looked up from then on.

use super::bounds::{Bounds, N, replicas};
use super::history::{History, Law, Laws, Reach, Reached};
use super::network::{Delivery, Packet, ROLES, RoleId, Sent, delivery, plain};
use super::seat::{Seat, Step, StepEffect};
use super::table::Table;
use super::tell;
use foldhash::fast::FixedState;
use multipaxos::paxos::Envelope;
use multipaxos::types::{Ballot, ReplicaId};
use multipaxos::values::Values;
use stateright::{Model, Property};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

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

/// What comes of a step at a seat.
#[derive(Debug)]
struct Outcome {
    /// Counts outcomes.
    number: u32,
    seat: u32,
    sent: Vec<u32>,
    effects: Vec<StepEffect>,
    /// An assertion of the role has failed.
    failed: bool,
}

/// What comes of a step of a seat in a state, if it can be taken.
type Outcomes = HashMap<(RoleId, u32, Step<u32>), Option<Arc<Outcome>>, FixedState>;

/// Everything that was met so far.
struct Tables {
    /// One table for each role of each replica.
    seats: Vec<Table<Seat>>,
    packets: Table<Packet>,
    histories: Table<History>,
    /// What each history says.
    said: Vec<(Laws, Reached)>,
    outcomes: Outcomes,
    /// History, outcome and life, to history.
    pasts: HashMap<(u32, u32, u8), u32, FixedState>,
    outcomes_made: u32,
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
        let known = bounds.offers.iter().map(|(_, line)| bounds.request(line).commands).collect();
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

    // --- what comes of a step ---------------------------------------------------------

    /// What comes of a step; nothing if it cannot be taken there.
    fn outcome(
        &self,
        tables: &mut Tables,
        role: RoleId,
        seat: u32,
        step: Step<u32>,
    ) -> Option<Arc<Outcome>> {
        if let Some(outcome) = tables.outcomes.get(&(role, seat, step)) {
            return outcome.clone();
        }
        let before = tables.seats[role.index()].get(seat).clone();
        let outcome = self.play(tables, role, &before, step).map(Arc::new);
        tables.outcomes.insert((role, seat, step), outcome.clone());
        outcome
    }

    fn play(
        &self,
        tables: &mut Tables,
        role: RoleId,
        before: &Seat,
        step: Step<u32>,
    ) -> Option<Outcome> {
        let id = role.replica();
        let step = step.map(|packet| tables.packets.get(packet).clone());
        let input = match &step {
            Step::Take(packet) => Step::Take(&packet.input),
            other => other.clone().map(|_| unreachable!("that is the other case")),
        };
        let played = catch_unwind(AssertUnwindSafe(|| before.step(&self.bounds, id, input)));
        tables.outcomes_made += 1;
        let number = tables.outcomes_made;
        let Ok(played) = played else {
            let seat = tables.seats[role.index()].number(before.clone());
            return Some(Outcome { number, seat, sent: vec![], effects: vec![], failed: true });
        };
        let (after, mut effects) = played?;
        if after.ballot().is_some_and(|ballot| !self.bounds.ballots.contains(&ballot.0)) {
            return None;
        }
        let mut sent = Vec::new();
        for effect in &mut effects {
            let StepEffect::Leaves(envelope) = effect else { continue };
            *envelope = plain(envelope.clone());
            match delivery(&self.bounds, id, envelope) {
                Delivery::Goes(packet) => sent.push(tables.packets.number(packet)),
                Delivery::Lost => {}
                Delivery::Outside => return None,
            }
        }
        // No law is about what roles of one replica tell each other.
        effects.retain(|effect| !matches!(effect, StepEffect::Leaves(Envelope::Notice(_))));
        let seat = tables.seats[role.index()].number(after);
        Some(Outcome { number, seat, sent, effects, failed: false })
    }

    fn apply(&self, tables: &mut Tables, state: &mut State, role: RoleId, outcome: &Outcome) {
        let replica = role.replica();
        state.seats[role.index()] = outcome.seat;
        outcome.sent.iter().for_each(|packet| state.sent.insert(*packet));
        if outcome.effects.is_empty() && !outcome.failed {
            return;
        }
        let life = state.lives[replica.index()];
        let key = (state.history, outcome.number, life);
        let history = match tables.pasts.get(&key) {
            Some(history) => *history,
            None => {
                let mut history = History::clone(tables.histories.get(state.history));
                for effect in &outcome.effects {
                    history.observe(replica, life, effect, &self.known);
                }
                if outcome.failed {
                    history.fails();
                }
                let number = tables.add_history(history);
                tables.pasts.insert(key, number);
                number
            }
        };
        tables.remember(state, history);
    }

    /// Whether a step would change anything.
    fn matters(&self, state: &State, role: RoleId, outcome: &Outcome) -> bool {
        outcome.failed
            || outcome.seat != state.seat(role)
            || outcome.sent.iter().any(|packet| !state.sent.contains(*packet))
    }

    /// What a comparison of roles leaves out makes no difference: of roles that are equal,
    /// each does the same at every step that was taken by one.
    ///
    /// # Panics
    ///
    /// If one does not.
    pub(crate) fn compare_twins(&self) -> usize {
        let tables = &mut *self.lock();
        let met: Vec<_> = tables.outcomes.iter().map(|(key, met)| (*key, met.clone())).collect();
        let mut compared = 0;
        for ((role, seat, step), met) in met {
            for twin in tables.seats[role.index()].twins(seat).to_vec() {
                let other = self.play(tables, role, &twin, step);
                let same = match (&met, &other) {
                    (None, None) => true,
                    (Some(a), Some(b)) => {
                        (a.seat, &a.sent, &a.effects) == (b.seat, &b.sent, &b.effects)
                    }
                    _ => false,
                };
                assert!(same, "{role}: equal roles differ at {step:?}:\n{met:?}\n{other:?}");
                compared += 1;
            }
        }
        compared
    }

    // --- what can happen --------------------------------------------------------------

    fn propose_steps(&self, tables: &mut Tables, state: &State, actions: &mut Vec<Action>) {
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

    fn propose_deaths(
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

    fn begin_anew(&self, tables: &mut Tables, state: &mut State, id: ReplicaId) -> Option<()> {
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

    fn stop_all_but_learners(&self, tables: &mut Tables, state: &mut State) {
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

    // --- what is told -------------------------------------------------------------------

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
    fn opening(&self) -> (Vec<Action>, State) {
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

    // --- what is found ------------------------------------------------------------------

    /// Each is told once, so that the first way there is the one that is shown.
    fn holds(&self, law: usize, state: &State) -> bool {
        !state.broken.contains(Law::ALL[law]) || self.told_laws[law].swap(true, Ordering::Relaxed)
    }

    fn meets(&self, reach: usize, state: &State) -> bool {
        let met = match Reach::ALL[reach] {
            Reach::DiedUnsynced => state.down.is_some_and(|down| down.synced == Some(false)),
            Reach::DiedUnsent => state.down.is_some_and(|down| down.synced == Some(true)),
            reach => state.reached.contains(reach),
        };
        met && !self.told_reaches[reach].swap(true, Ordering::Relaxed)
    }
}

impl Tables {
    fn at(&self, state: &State, role: RoleId) -> &Arc<Seat> {
        self.seats[role.index()].get(state.seat(role))
    }

    fn add_history(&mut self, history: History) -> u32 {
        let said = (history.broken, history.reached());
        let number = self.histories.number(history);
        if self.said.len() == number as usize {
            self.said.push(said);
        }
        number
    }

    fn remember(&self, state: &mut State, history: u32) {
        state.history = history;
        (state.broken, state.reached) = self.said[history as usize];
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

type Condition = fn(&Cluster, &State) -> bool;

fn holds<const LAW: usize>(cluster: &Cluster, state: &State) -> bool {
    cluster.holds(LAW, state)
}

fn meets<const REACH: usize>(cluster: &Cluster, state: &State) -> bool {
    cluster.meets(REACH, state)
}

/// One function a law: a property has nothing else to tell them by.
const LAWS: [Condition; Law::ALL.len()] = [
    holds::<0>,
    holds::<1>,
    holds::<2>,
    holds::<3>,
    holds::<4>,
    holds::<5>,
    holds::<6>,
    holds::<7>,
    holds::<8>,
    holds::<9>,
    holds::<10>,
    holds::<11>,
];

const REACHES: [Condition; Reach::ALL.len()] = [
    meets::<0>,
    meets::<1>,
    meets::<2>,
    meets::<3>,
    meets::<4>,
    meets::<5>,
    meets::<6>,
    meets::<7>,
    meets::<8>,
    meets::<9>,
    meets::<10>,
    meets::<11>,
    meets::<12>,
    meets::<13>,
    meets::<14>,
];
