//! What of a role is its state, and what only tells the time.
//!
//! Two roles are equal, and have one hash, if they will do the same whatever they are
//! told, but for when. The model checker (`tests/model_check.rs`) goes through every
//! state that roles can reach, and by this it knows where it has been; timers would make
//! of each state endlessly many.
//!
//! [`state_of`] compares and hashes a struct by the fields that it names as state, and
//! leaves out those that it names as aside. It takes the struct apart without `..`: a
//! field that is added stands in neither list, and nothing compiles until its author has
//! decided. What is put aside must be of a type that is [`Aside`], so that no promise
//! and no set of votes gets there by mistake; when in doubt it is state, and the worst
//! that comes of it is a longer check.

use super::election::Election;
use super::round_trip::RoundTrip;
use super::{Membership, Settings};
use crate::types::Time;
use crate::values::Builder;

/// What may be put aside: it says when, or whom to suspect; or it stays the same for as
/// long as the role lives.
pub(super) trait Aside {}

impl Aside for Time {}
impl Aside for Option<Time> {}
impl Aside for RoundTrip {}
impl Aside for Election {}
impl Aside for Settings {}
impl Aside for Membership {}
/// Empty from turn to turn.
impl Aside for Builder {}

/// Compiles for such types alone.
pub(super) fn is_aside(_: &impl Aside) {}

/// `state_of!(Type: its, state; aside: its, timers)` makes it comparable and hashable.
macro_rules! state_of {
    ($type:ty: $($part:ident),+; aside: $($aside:ident),+ $(,)?) => {
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                let Self { $($part,)+ $($aside,)+ } = self;
                $($crate::paxos::state::is_aside($aside);)+
                $(*$part == other.$part)&&+
            }
        }

        impl Eq for $type {}

        impl std::hash::Hash for $type {
            fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
                $(self.$part.hash(hasher);)+
            }
        }
    };
}

pub(super) use state_of;
