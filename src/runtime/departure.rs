//! How long a replica goes on once it has to end, so that its end costs nobody an election (L9).
//!
//! The main thread tells the proposer that the process is about to end, and again at each look,
//! until the proposer says that it may. A replica that led goes on for [`LINGER`] after that: its
//! clients send it one line more, and are told who leads now. Whatever the others do, the process
//! ends within [`HAND_OVER_MAX`] and that time.

use super::post::{Router, leave};
use crate::types::{Ballot, ReplicaId, Time};
use interleavings::threads::Receiver;

/// How long a leader that has to end waits for its successor, in microseconds.
pub(super) const HAND_OVER_MAX_US: u64 = 2_000_000;

/// How long it goes on after that, in microseconds.
pub(super) const LINGER_US: u64 = 200_000;

/// Where the way to the end is.
#[derive(Debug)]
enum Stage {
    /// Nobody has to end.
    Serves,
    /// The proposer was told, and has until then.
    Leaves { until: Time },
    /// Another replica leads; this one passes on what still comes, until then.
    Lingers { until: Time },
}

/// What the main thread knows of the end of its replica.
pub(super) struct Departure {
    id: ReplicaId,
    n: usize,
    router: Router,
    /// From the proposer: the process may end, and the ballot of the successor if there is one.
    may_end: Receiver<Option<Ballot>>,
    stage: Stage,
}

impl Departure {
    /// Of replica `id` of `n`.
    pub(super) fn new(
        id: ReplicaId,
        n: usize,
        router: Router,
        may_end: Receiver<Option<Ballot>>,
    ) -> Self {
        Departure { id, n, router, may_end, stage: Stage::Serves }
    }

    /// The process has to end. Whether it may do so `now`.
    pub(super) fn is_over(&mut self, now: Time) -> bool {
        let Departure { id, n, may_end, .. } = self;
        match self.stage {
            Stage::Serves => {
                self.stage = Stage::Leaves { until: now.plus_us(HAND_OVER_MAX_US) };
                leave(&mut self.router);
                false
            }
            Stage::Leaves { until } => match may_end.try_recv() {
                Ok(None) => true,
                Ok(Some(successor)) => {
                    let owner = successor.owner(*n);
                    log::info!("replica {id}: replica {owner} leads now (ballot {successor})");
                    self.stage = Stage::Lingers { until: now.plus_us(LINGER_US) };
                    false
                }
                Err(_) if now >= until => {
                    log::warn!(
                        "replica {id}: ends, and no other has taken over within {} s: clients wait \
                         for an election",
                        HAND_OVER_MAX_US / 1_000_000
                    );
                    true
                }
                Err(_) => {
                    leave(&mut self.router);
                    false
                }
            },
            Stage::Lingers { until } => now >= until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::proposer::Input;
    use crate::runtime::post::{Here, Inboxes, channels};
    use datagrams::counters::Counters;
    use interleavings::threads::{Sender, bounded};
    use std::sync::Arc;

    fn departure() -> (Departure, Inboxes, Sender<Option<Ballot>>) {
        let (links, inboxes) = channels(None);
        let router = Router::new(links, Arc::new(Counters::default()), Here::Nobody);
        let (say, may_end) = bounded(1);
        (Departure::new(ReplicaId(0), 3, router, may_end), inboxes, say)
    }

    #[test]
    fn a_replica_that_has_to_end_tells_its_proposer_until_that_says_that_it_may() {
        let (mut departure, inboxes, say) = departure();
        for look in 0..3 {
            assert!(!departure.is_over(Time(look)));
            assert_eq!(inboxes.proposer.try_recv().ok(), Some(vec![Input::Leave]));
        }
        say.send(None).expect("there is room");
        assert!(departure.is_over(Time(3)));
    }

    #[test]
    fn a_leader_that_has_handed_over_goes_on_for_a_moment() {
        let (mut departure, _inboxes, say) = departure();
        assert!(!departure.is_over(Time(0)));
        say.send(Some(Ballot(1))).expect("there is room");
        assert!(!departure.is_over(Time(7)));
        assert!(!departure.is_over(Time(6 + LINGER_US)));
        assert!(departure.is_over(Time(7 + LINGER_US)));
    }

    #[test]
    fn a_replica_ends_in_bounded_time_though_its_proposer_says_nothing() {
        let (mut departure, _inboxes, _say) = departure();
        assert!(!departure.is_over(Time(0)));
        assert!(!departure.is_over(Time(HAND_OVER_MAX_US - 1)));
        assert!(departure.is_over(Time(HAND_OVER_MAX_US)));
    }
}
