//! The seeded gate that loses datagrams on purpose (`--msg_loss`).
//!
//! The sender draws once for each datagram and destination, as a network would: no kind
//! of datagram is spared, and one that is sent again is drawn again. Each sending thread
//! owns a gate with a seed of its own, so a thread's draws depend on that seed and on how
//! many datagrams it has sent, and on nothing else.

use seeds::stream;

/// Decides for each datagram whether the network loses it.
#[derive(Debug, Clone)]
pub struct Gate {
    loss: f64,
    draws: fastrand::Rng,
}

impl Gate {
    /// A gate that loses each datagram with the probability `loss`, drawn from `seed`.
    ///
    /// # Panics
    ///
    /// Outside 0 to 1: the command line has been checked.
    pub fn new(loss: f64, seed: u64) -> Self {
        assert!((0.0..=1.0).contains(&loss), "a loss with probability {loss}");
        Gate { loss, draws: stream(seed, "losses") }
    }

    /// Whether the next datagram passes. One draw a call.
    pub fn passes(&mut self) -> bool {
        self.draws.f64() >= self.loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(loss: f64, seed: u64) -> Vec<bool> {
        let mut gate = Gate::new(loss, seed);
        (0..10_000).map(|_| gate.passes()).collect()
    }

    #[test]
    fn none_or_all_are_lost_at_the_ends_of_the_scale() {
        assert!(passed(0.0, 1).iter().all(|&passes| passes));
        assert!(passed(1.0, 1).iter().all(|&passes| !passes));
    }

    #[test]
    fn about_the_asked_share_is_lost() {
        let lost = passed(0.3, 591).iter().filter(|&&passes| !passes).count();
        assert!((2_800..3_200).contains(&lost), "{lost} of 10,000 at 30 %");
    }

    #[test]
    fn the_same_seed_loses_the_same_datagrams() {
        assert_eq!(passed(0.5, 7), passed(0.5, 7));
        assert_ne!(passed(0.5, 7), passed(0.5, 8));
    }
}
