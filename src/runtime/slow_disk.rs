//! Tells the user, once, that a disk is slower than the configured waits allow for.
//!
//! The waits follow what a sync takes (L4), so the replica goes on. But a disk that takes
//! long for a sync sets the pace of every line, and only here, where the thread waits for it,
//! is its name known.

use super::process::Clock;
use crate::paxos::{DecidedPages, Settings, Storage};
use crate::storage::upkeep::Upkeep;
use crate::types::Time;
use std::io;

/// How many slow syncs in a row are no accident.
const SLOW_SYNCS: u32 = 3;

/// A storage, and what its syncs take.
#[derive(Debug)]
pub(super) struct Watched<S> {
    storage: S,
    clock: Clock,
    speed: Speed,
}

/// Judges syncs.
#[derive(Debug)]
struct Speed {
    settings: Settings,
    /// The folder of the disk.
    folder: String,
    /// How many syncs in a row were slow.
    slow: u32,
    has_warned: bool,
}

impl Speed {
    /// A sync took from `before` to `after`. Returns what the user is to be told.
    fn note(&mut self, before: Time, after: Time) -> Option<String> {
        let Settings { id, election_min_us, election_max_us, .. } = self.settings;
        let took_us = after.since_us(before);
        // A candidate would lose patience after four times as long.
        let is_slow = took_us > election_max_us / 4;
        self.slow = if is_slow { self.slow + 1 } else { 0 };
        if self.slow < SLOW_SYNCS || self.has_warned {
            return None;
        }
        self.has_warned = true;
        let ms = |us: u64| us / 1_000;
        Some(format!(
            "replica {id}: the disk of {} takes {} ms for a sync, for which --election_ms {}-{} is \
             too short: waits longer",
            self.folder,
            ms(took_us),
            ms(election_min_us),
            ms(election_max_us)
        ))
    }
}

impl<S> Watched<S> {
    /// Watches the syncs of a storage in this folder.
    pub(super) fn new(storage: S, clock: Clock, settings: Settings, folder: String) -> Self {
        let speed = Speed { settings, folder, slow: 0, has_warned: false };
        Watched { storage, clock, speed }
    }
}

impl<R, S: Storage<R>> Storage<R> for Watched<S> {
    fn append(&mut self, records: &mut Vec<R>) -> io::Result<()> {
        self.storage.append(records)
    }

    fn sync(&mut self) -> io::Result<()> {
        let before = self.clock.now();
        self.storage.sync()?;
        if let Some(warning) = self.speed.note(before, self.clock.now()) {
            log::warn!("{warning}");
        }
        Ok(())
    }
}

impl<S: Upkeep> Upkeep for Watched<S> {
    fn settle(&mut self) -> io::Result<()> {
        self.storage.settle()
    }

    fn rest(&mut self) -> io::Result<()> {
        self.storage.rest()
    }

    fn decided_pages(&mut self) -> Option<&mut dyn DecidedPages> {
        self.storage.decided_pages()
    }

    fn close(self) -> io::Result<()> {
        self.storage.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::Limits;
    use crate::types::{BootId, ReplicaId};

    #[test]
    fn a_disk_that_stays_slow_is_named_once() {
        let settings = Settings {
            id: ReplicaId(1),
            n: 3,
            places: 3,
            boot: BootId(1),
            payload_bytes: 1_200,
            heartbeat_us: 50_000,
            election_min_us: 300_000,
            election_max_us: 600_000,
            checkpoint_slots: 8,
            limits: Limits::DEFAULT,
            skip_slot: None,
        };
        let mut speed =
            Speed { settings, folder: "logs/replica1".into(), slow: 0, has_warned: false };
        let mut told = |took_us: u64| speed.note(Time(5), Time(5 + took_us));
        for took_us in [700_000, 700_000, 150_000, 700_000, 150_001] {
            assert_eq!(told(took_us), None, "slow now and then");
        }
        let warning = told(700_000).expect("three in a row");
        for part in ["replica 1:", "disk of logs/replica1", " 700 ms", "--election_ms 300-600"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert!((0..10).all(|_| told(700_000).is_none()), "once");
    }
}
