//! How much a path loses, whatever it is asked to carry.
//!
//! A lost page may have met a full queue, and then less must be asked for; or the path loses a part
//! of all that it carries, and then to ask for less only takes longer. Heartbeats are numbered, few
//! and short, and leave before everything else: what is lost of them is the path's share. So many
//! lost pages say nothing of a queue.

use crate::aside::NotState;
use crate::types::BootId;

/// The share that is lost is an average over about this many heartbeats.
const HEARTBEATS: u32 = 32;

/// One, as a share.
const ALL: u32 = 1 << 20;

/// A path that loses more than this is full, as far as anybody can tell.
const SHARE_MAX: u32 = ALL / 2;

/// A question may be lost like its answer.
const WAYS: u64 = 2;

/// How many lost pages in a row are put down to the path at most.
const TOLERATED_MAX: u64 = 64;

/// How much the path from one peer loses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PathLoss {
    /// The peer's life, and its newest heartbeat.
    boot: BootId,
    round: u64,
    /// The part of its heartbeats that was lost, of [`ALL`].
    share: u32,
    /// How many pages may be lost before that says anything, in parts of [`ALL`].
    tolerated: u64,
}

impl NotState for PathLoss {}

impl PathLoss {
    /// A heartbeat has come.
    pub(super) fn heartbeat(&mut self, boot: BootId, round: u64) {
        let part = ALL / HEARTBEATS;
        if boot != self.boot {
            (self.boot, self.round) = (boot, round);
        } else if round < self.round {
            // It counted as lost, and was overtaken.
            self.share = self.share.saturating_sub(part);
        } else {
            let lost = (round - self.round).saturating_sub(1).min(u64::from(HEARTBEATS));
            (0..lost).for_each(|_| self.share += (ALL - self.share) / HEARTBEATS);
            self.share -= self.share / HEARTBEATS;
            self.round = round;
        }
    }

    /// A page has come.
    pub(super) fn arrived(&mut self) {
        let share = u64::from(self.share.min(SHARE_MAX));
        let more = WAYS * share * u64::from(ALL) / (u64::from(ALL) - share);
        self.tolerated = (self.tolerated + more).min(TOLERATED_MAX * u64::from(ALL));
    }

    /// A page was lost. Returns whether the path loses as much of what is few and short.
    pub(super) fn explains_loss(&mut self) -> bool {
        let left = self.tolerated.checked_sub(u64::from(ALL));
        self.tolerated = left.unwrap_or(self.tolerated);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a thousand lost pages are put down to a path of whose heartbeats every
    /// `nth` is lost, if as many pages come as are lost.
    fn explained(nth: u64) -> usize {
        let mut path = PathLoss::default();
        (1..1_000).filter(|round| round % nth != 0).for_each(|it| path.heartbeat(BootId(7), it));
        let lost = |_: &u64| {
            path.arrived();
            path.explains_loss()
        };
        (0..1_000).filter(lost).count()
    }

    #[test]
    fn a_path_explains_as_many_lost_pages_as_it_loses_heartbeats() {
        assert_eq!(explained(u64::MAX), 0, "nothing is lost without a queue");
        assert!((150..350).contains(&explained(10)), "{}", explained(10));
        assert!(explained(3) > 900, "{}", explained(3));
    }

    #[test]
    fn a_heartbeat_that_was_overtaken_was_not_lost() {
        let mut path = PathLoss::default();
        for round in (1..1_000).map(|it| 2 * it) {
            path.heartbeat(BootId(7), round);
            path.heartbeat(BootId(7), round - 1);
        }
        path.arrived();
        assert!(path.tolerated < u64::from(ALL) / 8, "{path:?}");
    }

    #[test]
    fn another_life_counts_from_its_own_first_heartbeat() {
        let mut path = PathLoss::default();
        path.heartbeat(BootId(7), 1);
        path.heartbeat(BootId(8), 1_000_000);
        path.arrived();
        assert!(!path.explains_loss());
    }
}
