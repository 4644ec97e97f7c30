//! Tells which life of each peer is the current one.
//!
//! Boot ids are random, so two of them do not tell which came first. The rule: a boot id
//! that was never heard begins a new life and retires the one before, and a frame of a
//! retired life is dropped.
//!
//! That rule alone could silence a live peer for ever. The network may hold up a
//! datagram of an earlier life until after a restart; if this process has not heard that
//! life before, the datagram would retire the living one. So a retired life that is heard
//! [`REVIVAL_STREAK`] times in a row, without a frame of the current one in between, is
//! taken back. Nothing but needless work depends on this: every message may be repeated.

use std::collections::VecDeque;

/// The most retired lives of one peer that are remembered.
pub const RETIRED_MAX: usize = 16;

/// A retired life is taken back after this many of its frames in a row.
pub const REVIVAL_STREAK: u32 = 8;

/// What a frame's boot id says about the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootStatus {
    /// It is of the current life, or of one that was never heard.
    Alive,
    /// It is of an earlier life, and must be dropped.
    Retired,
    /// Its life was taken for an earlier one until now, and is the current one again.
    Revived,
}

/// The lives of one peer.
#[derive(Debug, Clone, Default)]
pub struct Boots {
    current: Option<u64>,
    retired: VecDeque<u64>,
    streak: Option<(u64, u32)>,
}

impl Boots {
    /// Judges a frame of this boot id. A new life begins only with [`Boots::heard`],
    /// when the whole frame has been found valid.
    pub fn judge(&mut self, boot: u64) -> BootStatus {
        if !self.retired.contains(&boot) {
            return BootStatus::Alive;
        }
        let streak = match self.streak {
            Some((of, count)) if of == boot => count + 1,
            _ => 1,
        };
        if streak < REVIVAL_STREAK {
            self.streak = Some((boot, streak));
            return BootStatus::Retired;
        }
        self.retired.retain(|&retired| retired != boot);
        self.become_current(boot);
        BootStatus::Revived
    }

    /// Notes that a valid frame of this boot id, which is not retired, was taken.
    pub fn heard(&mut self, boot: u64) {
        self.streak = None;
        if self.current != Some(boot) {
            self.become_current(boot);
        }
    }

    fn become_current(&mut self, boot: u64) {
        self.streak = None;
        if let Some(former) = self.current.replace(boot) {
            if self.retired.len() == RETIRED_MAX {
                self.retired.pop_front();
            }
            self.retired.push_back(former);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(boots: &mut Boots, id: u64) -> BootStatus {
        let status = boots.judge(id);
        if status == BootStatus::Alive {
            boots.heard(id);
        }
        status
    }

    #[test]
    fn a_new_life_retires_the_one_before() {
        let mut boots = Boots::default();
        assert_eq!(take(&mut boots, 1), BootStatus::Alive);
        assert_eq!(take(&mut boots, 2), BootStatus::Alive);
        assert_eq!(take(&mut boots, 1), BootStatus::Retired);
        assert_eq!(take(&mut boots, 2), BootStatus::Alive);
    }

    #[test]
    fn a_delayed_datagram_of_an_earlier_life_cannot_silence_the_living_one() {
        let mut boots = Boots::default();
        take(&mut boots, 2);
        assert_eq!(take(&mut boots, 1), BootStatus::Alive, "never heard: taken for new");
        for _ in 1..REVIVAL_STREAK {
            assert_eq!(take(&mut boots, 2), BootStatus::Retired);
        }
        assert_eq!(take(&mut boots, 2), BootStatus::Revived);
        assert_eq!(take(&mut boots, 2), BootStatus::Alive);
        assert_eq!(take(&mut boots, 1), BootStatus::Retired);
    }

    #[test]
    fn stale_frames_between_live_ones_revive_nothing() {
        let mut boots = Boots::default();
        take(&mut boots, 1);
        take(&mut boots, 2);
        for _ in 0..10 * REVIVAL_STREAK {
            assert_eq!(take(&mut boots, 1), BootStatus::Retired);
            assert_eq!(take(&mut boots, 2), BootStatus::Alive);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut boots = Boots::default();
        for id in 0..1_000 {
            take(&mut boots, id);
        }
        assert_eq!(boots.retired.len(), RETIRED_MAX);
    }
}
