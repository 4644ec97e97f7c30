//! When a socket is flooded, and how much of the loop each sender has then.
//!
//! Whoever reaches a port can send more to it than a process reads. Where that happens, the
//! senders that are known get sockets of their own (`udp::lanes`), and everybody else shares what
//! is left: [`STRANGERS_MAX`] datagrams a turn of [`TURN_US`]. The kernel drops the rest, which
//! costs this process nothing.
//!
//! A client that is believed may flood as well, with messages that are dropped because it sends too
//! many. Of such a one [`UNHEARD_MAX`] datagrams a turn are read.
//!
//! A flood begins when many datagrams in a short time are of no use, or when a socket was not
//! empty for long. It ends when nothing was held back for [`CALM_US`].
//!
//! **Guarantees.** Pure: the time is an argument. While there is no flood, nothing is limited.
//!
//! **Does not** know who the senders are.

/// What may be read is counted anew after this time.
pub(crate) const TURN_US: u64 = 1_000;

/// The most datagrams of a turn that were of no use, of those that have no socket of their own.
/// At a microsecond each they cost a hundredth of a core.
pub(crate) const STRANGERS_MAX: u32 = 16;

/// The most datagrams of a turn from one client that has a socket of its own.
pub(crate) const CLIENT_MAX: u32 = 64;

/// The same of one whose messages were dropped unheard ...
pub(crate) const UNHEARD_MAX: u32 = 4;

/// ... within this time.
pub(crate) const UNHEARD_US: u64 = 1_000_000;

/// A flood begins with so many useless datagrams ...
const USELESS_MAX: u32 = 256;

/// ... in this time, or with a socket that was not empty for as long.
const WINDOW_US: u64 = 10_000;

/// A flood is over when nothing was held back for so long.
const CALM_US: u64 = 10_000_000;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A flood begins.
    Begins,
    /// It is over.
    Ends,
}

/// Whether one socket is flooded.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    /// When the present window began, and how many useless datagrams came in it.
    window_from: u64,
    useless: u32,
    /// Since when the socket has not been empty, if it is not.
    full_since: Option<u64>,
    /// When something was held back last, if there is a flood.
    held_at: Option<u64>,
}

impl Flood {
    /// Whether there is a flood.
    pub(crate) fn is_on(&self) -> bool {
        self.held_at.is_some()
    }

    /// The loop has read: so many datagrams were of no use, and the socket `is_empty` or not.
    pub(crate) fn read(&mut self, now: u64, useless: u32, is_empty: bool) -> Option<Change> {
        if now.saturating_sub(self.window_from) >= WINDOW_US {
            (self.window_from, self.useless) = (now, 0);
        }
        self.useless = self.useless.saturating_add(useless);
        self.full_since = if is_empty { None } else { self.full_since.or(Some(now)) };
        let is_much = self.useless >= USELESS_MAX
            || self.full_since.is_some_and(|since| now.saturating_sub(since) >= WINDOW_US);
        match self.held_at {
            None if is_much => {
                self.held_at = Some(now);
                Some(Change::Begins)
            }
            Some(at) if !is_much && now.saturating_sub(at) >= CALM_US => {
                self.held_at = None;
                Some(Change::Ends)
            }
            Some(_) if is_much => {
                self.held_at = Some(now);
                None
            }
            _ => None,
        }
    }

    /// Something was held back.
    pub(crate) fn holds_back(&mut self, now: u64) {
        if let Some(at) = &mut self.held_at {
            *at = now;
        }
    }
}

/// What one sender, or all that share a socket, may still have in this turn.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// When the turn began.
    from: u64,
    spent: u32,
}

impl Allowance {
    /// How many datagrams of `max` are left at `now`. What was spent beyond it is taken off the next
    /// turns.
    pub(crate) fn left(&mut self, now: u64, max: u32) -> u32 {
        let turns = now.saturating_sub(self.from) / TURN_US;
        if turns > 0 {
            let earned = u32::try_from(turns).unwrap_or(u32::MAX).saturating_mul(max);
            (self.from, self.spent) = (now, self.spent.saturating_sub(earned));
        }
        max.saturating_sub(self.spent)
    }

    /// So many were read.
    pub(crate) fn spend(&mut self, datagrams: u32) {
        self.spent = self.spent.saturating_add(datagrams);
    }

    /// When the next turn begins.
    pub(crate) fn renewed_at(&self) -> u64 {
        self.from + TURN_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn useless_datagrams_are_a_flood_if_they_come_fast() {
        let mut flood = Flood::default();
        for ms in 0..1_000 {
            assert_eq!(flood.read(ms * 1_000, USELESS_MAX / 10 - 1, true), None, "{ms}");
        }
        let mut flood = Flood::default();
        let begins =
            (0..10).find(|ms| flood.read(ms * 1_000, USELESS_MAX / 10 + 1, true).is_some());
        assert_eq!(begins, Some(9));
        assert!(flood.is_on());
    }

    #[test]
    fn a_socket_that_is_not_empty_for_long_is_flooded() {
        let mut flood = Flood::default();
        assert_eq!(flood.read(50_000, 0, true), None);
        let from = 90_000;
        for now in [from, from + 1, from + WINDOW_US - 1] {
            assert_eq!(flood.read(now, 0, false), None);
        }
        assert_eq!(flood.read(from + WINDOW_US, 0, false), Some(Change::Begins));
    }

    #[test]
    fn a_flood_is_over_when_nothing_is_held_back_for_long() {
        let mut flood = Flood::default();
        assert_eq!(flood.read(1, USELESS_MAX, true), Some(Change::Begins));
        let mut now = 1;
        for _ in 0..5 {
            now += CALM_US - 1;
            assert_eq!(flood.read(now, 0, true), None, "something was held back");
            flood.holds_back(now);
        }
        assert_eq!(flood.read(now + CALM_US - 1, 0, true), None);
        assert_eq!(flood.read(now + CALM_US, 0, true), Some(Change::Ends));
        assert!(!flood.is_on());
        flood.holds_back(now + CALM_US);
        assert!(!flood.is_on(), "what is held back later begins none");
    }

    #[test]
    fn an_allowance_is_new_each_turn() {
        let mut allowance = Allowance::default();
        assert_eq!(allowance.left(5_000, 16), 16);
        allowance.spend(10);
        assert_eq!(allowance.left(5_999, 16), 6);
        allowance.spend(480);
        assert_eq!(allowance.left(5_999, 16), 0, "a piece may bring more than was left");
        assert_eq!(allowance.renewed_at(), 6_000);
        assert_eq!(allowance.left(6_000, 16), 0, "it is taken off the next turns");
        assert_eq!(allowance.left(6_000 + 29 * TURN_US, 16), 6);
        assert_eq!(allowance.left(90_000, 16), 16);
    }
}
