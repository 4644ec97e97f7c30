//! What a role holds that is not its state.
//!
//! Two roles are equal, and have one hash, if they answer every input in the same way, at
//! whatever time. The model checker (`tests/model_check.rs`) visits every
//! state that roles can reach, and it knows by this comparison where it has been. If
//! timers took part in it, each state would be endlessly many.
//!
//! So a role derives `PartialEq`, `Eq` and `Hash`, and wraps in [`Aside`] what must take
//! no part: any two `Aside` values are equal, and their hash is empty. Three kinds of
//! things belong there:
//!
//! - timers and estimates, which say only *when* something is done;
//! - the election, which says only *whether to try* and never what may be promised,
//!   accepted or proposed;
//! - settings and membership, which never change while a role lives.
//!
//! A type goes into [`Aside`] only if it is [`NotState`]. No promise, ballot or set of
//! votes is, so none can be left out of a comparison by mistake. When in doubt a field
//! is state, and the worst consequence is a longer check.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::types::{DirectoryId, Time};
use crate::values::Builder;
use round_trip::RoundTrip;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

/// May be left out of comparisons, for one of the reasons that the module names.
pub(crate) trait NotState {}

impl NotState for Time {}
impl NotState for Option<Time> {}
impl NotState for DirectoryId {}
impl NotState for RoundTrip {}
/// It is empty between two inputs.
impl NotState for Builder {}

/// Equal to any other, with an empty hash.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Aside<T: NotState>(pub(crate) T);

impl<T: NotState> Deref for Aside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: NotState> DerefMut for Aside<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: NotState> PartialEq for Aside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T: NotState> Eq for Aside<T> {}

impl<T: NotState> Hash for Aside<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Slot;
    use std::hash::DefaultHasher;

    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Role {
        applied: Slot,
        retry_at: Aside<Time>,
    }

    #[test]
    fn what_is_put_aside_takes_no_part_in_comparisons() {
        let role = |applied, at| Role { applied: Slot(applied), retry_at: Aside(Time(at)) };
        let hash = |role: &Role| {
            let mut hasher = DefaultHasher::new();
            role.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(role(1, 5), role(1, 6));
        assert_eq!(hash(&role(1, 5)), hash(&role(1, 6)));
        assert_ne!(role(1, 5), role(2, 5));
        assert_ne!(hash(&role(1, 5)), hash(&role(2, 5)));
    }
}
