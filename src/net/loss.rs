//! The seeded gate that loses datagrams on purpose (`--msg_loss`).
//!
//! One draw for each datagram and destination, at the sender, as a network would:
//! warm-up, clients, fragments and whatever is resent are not spared. Each sending
//! thread owns a gate with a seed of its own, so that a thread's draws depend on
//! nothing but that seed and how many datagrams it has sent.

/// Decides for each datagram whether the network loses it.
#[derive(Debug, Clone)]
pub struct Gate {
    loss_percent: u8,
    draws: fastrand::Rng,
}

impl Gate {
    /// A gate that loses `loss_percent` of 100 datagrams, drawn from `seed`.
    ///
    /// # Panics
    ///
    /// Above 100: the command line has been checked.
    pub fn new(loss_percent: u8, seed: u64) -> Self {
        assert!(loss_percent <= 100, "a loss of {loss_percent} percent");
        Gate { loss_percent, draws: fastrand::Rng::with_seed(seed) }
    }

    /// Whether the next datagram passes. One draw a call.
    pub fn passes(&mut self) -> bool {
        self.draws.u8(0..100) >= self.loss_percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(loss_percent: u8, seed: u64) -> Vec<bool> {
        let mut gate = Gate::new(loss_percent, seed);
        (0..10_000).map(|_| gate.passes()).collect()
    }

    #[test]
    fn none_or_all_are_lost_at_the_ends_of_the_scale() {
        assert!(passed(0, 1).iter().all(|&passes| passes));
        assert!(passed(100, 1).iter().all(|&passes| !passes));
    }

    #[test]
    fn about_the_asked_share_is_lost() {
        let lost = passed(30, 591).iter().filter(|&&passes| !passes).count();
        assert!((2_800..3_200).contains(&lost), "{lost} of 10,000 at 30 %");
    }

    #[test]
    fn the_same_seed_loses_the_same_datagrams() {
        assert_eq!(passed(50, 7), passed(50, 7));
        assert_ne!(passed(50, 7), passed(50, 8));
    }
}
