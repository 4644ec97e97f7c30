//! One time line for the processes of several hosts.
//!
//! Each life has a clock of its own, which is never stepped, and its header says when that began
//! by the host's wall clock. Wall clocks of hosts differ. A message does not arrive before it
//! leaves, so a clock by which one does is moved forward, and no further than that.
//!
//! **Does not** find out clocks that differ by less than messages take, nor clocks that drift: then
//! no shift is right for all messages, and the last one found is used.

use history::Party;
use std::collections::{BTreeMap, HashMap};

/// A message leaves, or arrives.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The life that sends or receives it.
    pub life: usize,
    /// When, by the wall clock of its host.
    pub us: u64,
    /// Whether it leaves.
    pub leaves: bool,
    /// Its ends, and a hash of its contents.
    pub message: (Party, Party, u64),
}

/// By how many microseconds the clock of each life is to be moved forward. The sightings of lives
/// that are not `whole` say only what arrives there: what left first may be lost.
pub fn shifts(whole: &[bool], sightings: &[Sighting]) -> Vec<u64> {
    let mut left = HashMap::new();
    let mut arrived = HashMap::new();
    for Sighting { life, us, leaves, message } in sightings {
        let firsts = if *leaves { &mut left } else { &mut arrived };
        let first = firsts.entry(*message).or_insert((*us, *life));
        *first = (*first).min((*us, *life));
    }
    // How much earlier something has arrived than it left, at most.
    let mut early: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for (message, (at, to)) in &arrived {
        let Some((since, from)) = left.get(message).filter(|(_, from)| whole[*from]) else {
            continue;
        };
        if from != to && at < since {
            let most = early.entry((*from, *to)).or_default();
            *most = (*most).max(since - at);
        }
    }
    let mut shifts = vec![0; whole.len()];
    for _ in 0..whole.len() {
        for ((from, to), us) in &early {
            shifts[*to] = shifts[*to].max(shifts[*from] + us);
        }
    }
    shifts
}

#[cfg(test)]
mod tests {
    use super::*;
    use multipaxos::types::ReplicaId;

    const A: Party = Party::Replica(ReplicaId(0));
    const B: Party = Party::Replica(ReplicaId(1));

    fn sighting(life: usize, us: u64, leaves: bool, number: u64) -> Sighting {
        let (from, to) = if leaves == (life == 0) { (A, B) } else { (B, A) };
        Sighting { life, us, leaves, message: (from, to, number) }
    }

    #[test]
    fn a_clock_by_which_messages_arrive_early_is_moved_forward() {
        // The second host is 50 behind.
        let seen = [
            sighting(0, 100, true, 1),
            sighting(1, 60, false, 1),
            sighting(1, 70, true, 2),
            sighting(0, 130, false, 2),
            sighting(0, 200, true, 1),
        ];
        assert_eq!(shifts(&[true, true], &seen), [0, 40]);
        assert_eq!(shifts(&[false, true], &seen), [0, 0], "it may have left before");
    }

    #[test]
    fn clocks_that_agree_stay_as_they_are_and_a_contradiction_ends() {
        let fine = [sighting(0, 100, true, 1), sighting(1, 101, false, 1)];
        assert_eq!(shifts(&[true, true], &fine), [0, 0]);
        let drift = [
            sighting(0, 100, true, 1),
            sighting(1, 60, false, 1),
            sighting(1, 900, true, 2),
            sighting(0, 800, false, 2),
        ];
        assert_eq!(shifts(&[true, true], &drift).len(), 2);
    }
}
