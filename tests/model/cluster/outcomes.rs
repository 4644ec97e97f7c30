//! What comes of a step at a seat, worked out once by the role itself and looked up from then
//! on, and the tables of everything that was met.

use super::{Cluster, State};
use crate::model::history::{History, Laws, Reached};
use crate::model::network::{Delivery, Packet, RoleId, delivery, plain};
use crate::model::seat::{Seat, Step, StepEffect};
use crate::model::table::Table;
use foldhash::fast::FixedState;
use multipaxos::paxos::{Envelope, Notice, proposer};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What comes of a step at a seat.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Counts outcomes.
    pub(super) number: u32,
    pub(super) seat: u32,
    pub(super) sent: Vec<u32>,
    pub(super) effects: Vec<StepEffect>,
    /// An assertion of the role has failed.
    pub(super) failed: bool,
}

/// What comes of a step of a seat in a state, if it can be taken.
pub(super) type Outcomes = HashMap<(RoleId, u32, Step<u32>), Option<Arc<Outcome>>, FixedState>;

/// Everything that was met so far.
pub(super) struct Tables {
    /// One table for each role of each replica.
    pub(super) seats: Vec<Table<Seat>>,
    pub(super) packets: Table<Packet>,
    pub(super) histories: Table<History>,
    /// What each history says.
    pub(super) said: Vec<(Laws, Reached)>,
    pub(super) outcomes: Outcomes,
    /// History, outcome and life, to history.
    pub(super) pasts: HashMap<(u32, u32, u8), u32, FixedState>,
    pub(super) outcomes_made: u32,
}

impl Cluster {
    /// What comes of a step; nothing if it cannot be taken there.
    pub(super) fn outcome(
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
        // No law is about what roles of one replica tell each other, but for a promise.
        effects.retain(|effect| match effect {
            StepEffect::Leaves(Envelope::Notice(notice)) => {
                matches!(notice, Notice::Proposer(proposer::Input::OwnPromise { .. }))
            }
            _ => true,
        });
        let seat = tables.seats[role.index()].number(after);
        Some(Outcome { number, seat, sent, effects, failed: false })
    }

    pub(super) fn apply(
        &self,
        tables: &mut Tables,
        state: &mut State,
        role: RoleId,
        outcome: &Outcome,
    ) {
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
    pub(super) fn matters(&self, state: &State, role: RoleId, outcome: &Outcome) -> bool {
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
}

impl Tables {
    pub(super) fn at(&self, state: &State, role: RoleId) -> &Arc<Seat> {
        self.seats[role.index()].get(state.seat(role))
    }

    pub(super) fn add_history(&mut self, history: History) -> u32 {
        let said = (history.broken, history.reached());
        let number = self.histories.number(history);
        if self.said.len() == number as usize {
            self.said.push(said);
        }
        number
    }

    pub(super) fn remember(&self, state: &mut State, history: u32) {
        state.history = history;
        (state.broken, state.reached) = self.said[history as usize];
    }
}
