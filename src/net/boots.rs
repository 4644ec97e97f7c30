//! Which life of each replica is the one that lives.
//!
//! Boot ids are random, so nothing in them says which of two came first. The rule:
//! a boot id that was never heard begins a new life and retires the one before; what
//! comes from a retired life is dropped.
//!
//! That rule alone could silence a live replica for ever: a datagram of an earlier
//! life, held up in the network until after a restart, may be the first that this
//! process hears of that life, and would retire the living one. So a retired life
//! that is heard [`REVIVAL_STREAK`] times in a row, without a frame of the current
//! one in between, is taken back. Safety rests on none of this (the protocol stands
//! any repetition); it only keeps stale chatter from being taken for news.

use crate::types::BootId;
use std::collections::VecDeque;

/// How many retired lives of one replica are remembered.
pub const RETIRED_MAX: usize = 16;

/// A retired life is taken back after so many frames in a row.
pub const REVIVAL_STREAK: u32 = 8;

/// What a frame's boot id says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Of the current life, or of one never heard of.
    Alive,
    /// Of an earlier life: to be dropped.
    Retired,
    /// Taken for an earlier life until now: it is the current one again.
    Revived,
}

/// The lives of one replica.
#[derive(Debug, Clone, Default)]
pub struct Boots {
    current: Option<BootId>,
    retired: VecDeque<BootId>,
    streak: Option<(BootId, u32)>,
}

impl Boots {
    /// Judges a frame of this boot id. A new life begins only with [`Boots::heard`],
    /// once the whole frame has proved valid.
    pub fn judge(&mut self, boot: BootId) -> Standing {
        if !self.retired.contains(&boot) {
            return Standing::Alive;
        }
        let streak = match self.streak {
            Some((of, count)) if of == boot => count + 1,
            _ => 1,
        };
        if streak < REVIVAL_STREAK {
            self.streak = Some((boot, streak));
            return Standing::Retired;
        }
        self.retired.retain(|&retired| retired != boot);
        self.become_current(boot);
        Standing::Revived
    }

    /// A valid frame of this boot id, not retired, has been taken.
    pub fn heard(&mut self, boot: BootId) {
        self.streak = None;
        if self.current != Some(boot) {
            self.become_current(boot);
        }
    }

    fn become_current(&mut self, boot: BootId) {
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

    fn take(boots: &mut Boots, id: u64) -> Standing {
        let standing = boots.judge(BootId(id));
        if standing == Standing::Alive {
            boots.heard(BootId(id));
        }
        standing
    }

    #[test]
    fn a_new_life_retires_the_one_before() {
        let mut boots = Boots::default();
        assert_eq!(take(&mut boots, 1), Standing::Alive);
        assert_eq!(take(&mut boots, 2), Standing::Alive);
        assert_eq!(take(&mut boots, 1), Standing::Retired);
        assert_eq!(take(&mut boots, 2), Standing::Alive);
    }

    #[test]
    fn a_delayed_datagram_of_an_earlier_life_cannot_silence_the_living_one() {
        let mut boots = Boots::default();
        take(&mut boots, 2);
        assert_eq!(take(&mut boots, 1), Standing::Alive, "never heard: taken for new");
        for _ in 1..REVIVAL_STREAK {
            assert_eq!(take(&mut boots, 2), Standing::Retired);
        }
        assert_eq!(take(&mut boots, 2), Standing::Revived);
        assert_eq!(take(&mut boots, 2), Standing::Alive);
        assert_eq!(take(&mut boots, 1), Standing::Retired);
    }

    #[test]
    fn stale_frames_between_live_ones_revive_nothing() {
        let mut boots = Boots::default();
        take(&mut boots, 1);
        take(&mut boots, 2);
        for _ in 0..10 * REVIVAL_STREAK {
            assert_eq!(take(&mut boots, 1), Standing::Retired);
            assert_eq!(take(&mut boots, 2), Standing::Alive);
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
