//! The laws and the reaches of the history as properties of the model.

use super::{Cluster, State};
use crate::model::history::{Law, Reach};
use std::sync::atomic::Ordering;

impl Cluster {
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

pub(super) type Condition = fn(&Cluster, &State) -> bool;

fn holds<const LAW: usize>(cluster: &Cluster, state: &State) -> bool {
    cluster.holds(LAW, state)
}

fn meets<const REACH: usize>(cluster: &Cluster, state: &State) -> bool {
    cluster.meets(REACH, state)
}

/// One function a law: a property has nothing else to tell them by.
pub(super) const LAWS: [Condition; Law::ALL.len()] = [
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

pub(super) const REACHES: [Condition; Reach::ALL.len()] = [
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
    meets::<15>,
    meets::<16>,
    meets::<17>,
    meets::<18>,
];
