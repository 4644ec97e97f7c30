//! A user's state machine under the faults of the simulator.
//!
//! [`check()`] runs a cluster of it for each seed, in a world where datagrams are lost, late and
//! repeated, links are cut, replicas and clients die and return, disks fail and clocks run apart.
//! Every rule is checked after every event ([`crate::checker`]). Three of them are the machine's:
//!
//! - all replicas are in the state of a replay of the same slots, after each slot (I4);
//! - each command of a client is applied once, in its order (E2);
//! - every answer is that of the replay, also to a client that asks again (E3).
//!
//! A seed is a run: what fails once fails each time.

use crate::world::{Hosting, World};
use crate::{Options, Report};
use fastrand::Rng;
use multipaxos::machine::{Host, StateMachine};
use std::fmt;
use std::ops::Range;

/// How much happened in the runs of a check that found no mistake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many commands were answered.
    pub commands: u64,
    /// How often another replica became leader.
    pub leader_changes: u64,
}

/// A seed that breaks a rule.
#[derive(Clone, PartialEq, Eq)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// The rule and how it was broken.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { seed, what } = self;
        write!(f, "seed {seed}: {what} (repeat: check({seed}..{}, ...))", seed + 1)
    }
}

/// As it is displayed, since `unwrap` shows this.
impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Broken {}

/// Runs a cluster of machines that `make` makes for each seed. `command` draws what clients send,
/// with the generator that it is given and nothing else.
///
/// A panic of the machine is a panic here.
///
/// # Errors
///
/// The first seed that breaks a rule.
pub fn check<M: StateMachine>(
    seeds: Range<u64>,
    make: impl Fn() -> M + Clone + Send + Sync + 'static,
    command: impl Fn(&mut Rng) -> Vec<u8> + Clone + 'static,
) -> Result<Checked, Broken> {
    let mut checked = Checked::default();
    for seed in seeds {
        let hosting = Hosting::drawn(Host::of(make.clone()), command.clone());
        let run = World::hosting(seed, Options::default(), Some(hosting)).run();
        let Report { violation, lines, leader_changes, .. } = run;
        if let Some(violation) = violation {
            return Err(Broken { seed, what: violation.what });
        }
        checked.seeds += 1;
        checked.commands += lines;
        checked.leader_changes += leader_changes;
    }
    Ok(checked)
}
