//! Small bounds: a real replica comes up to its own only after millions of lines.
//!
//! Each bound of [`Limits`] is in a part of the runs as small as the workload allows, so that
//! a run of some seconds comes up to it. It stays so large that the cluster can do its work:
//! what every replica must hold at once for the lines of all clients fits.

use crate::environment::Workload;
use fastrand::Rng;
use multipaxos::paxos::Limits;

/// The bounds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Those of the roles.
    pub limits: Limits,
    /// The least number of slots between two checkpoints.
    pub checkpoint_slots: u64,
    /// After how many slots a session expires.
    pub session_window_slots: u64,
}

/// A checkpoint frees what lies below the one before, and other replicas are checkpointed in
/// other slots. So an acceptor holds some distances between checkpoints.
const CHECKPOINTS_HELD: u64 = 4;

/// A replica that fetches a slot in a round trip does not catch up with clients that write more.
const FETCHED_SLOTS_MIN: u64 = 16;

impl Bounds {
    /// Makes some of these bounds small for clients that do this.
    #[must_use]
    pub fn draw(mut self, workload: Workload, rng: &mut Rng) -> Self {
        let clients = workload.clients as u64;
        let in_flight = workload.in_flight_bytes() as usize;
        let line = in_flight / workload.clients;
        let limits = &mut self.limits;
        // Draw everything whatever is taken, so that a new bound changes no other.
        let mut some = |least: u64, most: u64| {
            let (taken, value) = (rng.u8(0..100) < SMALL_PERCENT, rng.u64(least..=most.max(least)));
            taken.then_some(value)
        };
        if let Some(slots) = some(clients.div_ceil(4), clients) {
            limits.propose_slots = slots;
        }
        if let Some(bytes) = some(in_flight.div_ceil(4) as u64, in_flight as u64) {
            limits.in_flight_bytes = bytes as usize;
        }
        if let Some(spans) = some(1, 4) {
            limits.promise_spans = spans as usize;
        }
        if let Some(pages) = some(1, 4) {
            limits.promise_pages = pages as usize;
        }
        if let Some(slots) = some(1, 16) {
            limits.wanted_slots = slots;
        }
        if let Some(bytes) = some(1, 4 * line as u64) {
            limits.values_bytes = bytes as usize;
        }
        if let Some(commands) = some(clients.div_ceil(4), clients) {
            limits.queue_commands = commands as usize;
        }
        // A line that is longer than the queue would never be proposed.
        if let Some(bytes) = some(line.max(in_flight / 4) as u64, in_flight as u64) {
            limits.queue_bytes = bytes as usize;
        }
        if let Some(slots) = some(1, 64) {
            limits.fetch_slots = slots;
        }
        if let Some(fetches) = some(1, 8) {
            limits.fetches = fetches as usize;
        }
        limits.fetches = limits.fetches.max((FETCHED_SLOTS_MIN / limits.fetch_slots) as usize);
        if let Some(slots) = some(2 * clients, 16 * clients) {
            limits.ahead_slots = slots;
        }
        if let Some(bytes) = some(2 * in_flight as u64, 8 * in_flight as u64) {
            limits.early_bytes = bytes as usize;
        }
        if let Some(requests) = some(clients.div_ceil(4), clients) {
            limits.waiting = requests as usize;
        }
        if let Some(slots) = some(1, 20) {
            self.checkpoint_slots = slots;
            // What a full window holds, and what no checkpoint covers yet.
            let needed = limits.propose_slots.min(2 * clients) + CHECKPOINTS_HELD * slots;
            if let Some(slots) = some(needed, 2 * needed) {
                limits.accept_slots = slots;
            }
        }
        // A candidate that has to ask for each value apart needs a round trip for each, and there
        // may be thousands. So all fit in four questions, as they fit in four windows.
        limits.wanted_slots = limits.wanted_slots.max(clients.div_ceil(4));
        limits.values_bytes = limits.values_bytes.max(in_flight.div_ceil(4));
        let spans = workload.clients.div_ceil(4 * limits.promise_pages);
        limits.promise_spans = limits.promise_spans.max(spans);
        let needed = limits.in_flight_bytes.min(in_flight) + 16 * line;
        if let Some(bytes) = some(needed as u64, 2 * needed as u64) {
            limits.accept_bytes = bytes as usize;
        }
        // A session is born with as many slots behind it as are decided until its first line is.
        if let Some(slots) = some(8 * clients, 32 * clients) {
            self.session_window_slots = slots;
        }
        self
    }
}

/// How often a bound is small, in a run that has small bounds.
const SMALL_PERCENT: u8 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{Environment, Place};
    use seeds::stream;

    const LARGE: Bounds =
        Bounds { limits: Limits::DEFAULT, checkpoint_slots: 4_096, session_window_slots: 1 << 22 };

    #[test]
    fn what_must_be_held_at_once_fits_and_every_bound_is_small_in_some_seed() {
        let mut small = [false; 7];
        for place in Place::ALL {
            for seed in 0..200 {
                let mut rng = stream(seed, "bounds");
                let workload = Environment::draw(*place, &mut rng).workload;
                let Bounds { limits, checkpoint_slots, session_window_slots } =
                    LARGE.draw(workload, &mut rng);
                let clients = workload.clients as u64;
                let ahead = limits.propose_slots.min(clients);
                assert!(4 * limits.wanted_slots >= clients, "{place} {seed}");
                assert!(4 * limits.values_bytes as u64 >= workload.in_flight_bytes());
                assert!(4 * limits.promise_spans * limits.promise_pages >= workload.clients);
                assert!(limits.accept_slots >= ahead + 4 * checkpoint_slots, "{place} {seed}");
                for (seen, is_small) in small.iter_mut().zip([
                    limits.propose_slots <= clients,
                    limits.accept_slots < Limits::DEFAULT.accept_slots,
                    limits.accept_bytes < Limits::DEFAULT.accept_bytes,
                    limits.ahead_slots <= 16 * clients,
                    session_window_slots <= 32 * clients,
                    limits.wanted_slots < clients,
                    limits.values_bytes < workload.in_flight_bytes() as usize,
                ]) {
                    *seen |= is_small;
                }
            }
        }
        assert_eq!(small, [true; 7]);
    }
}
