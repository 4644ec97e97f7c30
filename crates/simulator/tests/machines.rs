//! Machines of users under the simulator: good ones pass, and each kind of mistake is caught.

use multipaxos::machine::{BadSnapshot, Response, StateMachine};
use simulator::cluster::NoQuorum;
use simulator::{Broken, Cluster, Rng, check};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

/// The seeds of a check here. They take seconds.
const SEEDS: u64 = 300;

/// A register for each letter, which counts.
#[derive(Default)]
struct Counters(BTreeMap<u8, u64>);

impl StateMachine for Counters {
    fn apply(&mut self, command: &[u8]) -> Response {
        let Some(name) = command.first() else { return Response::EMPTY };
        let count = self.0.entry(*name).or_default();
        *count += 1;
        count.to_string().into()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|(name, count)| [&[*name][..], &count.to_le_bytes()].concat())
            .collect()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
        let (entries, rest) = snapshot.as_chunks::<9>();
        if !rest.is_empty() {
            return Err(BadSnapshot::new("not a list of counters"));
        }
        let number = |entry: &[u8; 9]| entry[1..].try_into().map(u64::from_le_bytes);
        let read =
            |entry: &[u8; 9]| Ok((entry[0], number(entry).map_err(|_| BadSnapshot::new("no"))?));
        self.0 = entries.iter().map(read).collect::<Result<_, BadSnapshot>>()?;
        Ok(())
    }
}

/// Any byte, so that commands are no text.
fn letters(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(..4)).map(|_| rng.u8(..)).collect()
}

#[test]
fn a_machine_without_a_mistake_passes_under_all_faults() {
    let checked = check(0..SEEDS, Counters::default, letters).expect("no rule is broken");
    assert_eq!(checked.seeds, SEEDS);
    assert!(checked.commands > 20 * SEEDS && checked.leader_changes > SEEDS, "{checked:?}");
}

/// What `apply` must not depend on: which of the replicas it is.
#[test]
fn a_machine_that_answers_by_something_of_its_own_is_caught_with_a_seed() {
    struct Own(u64);
    impl StateMachine for Own {
        fn apply(&mut self, _command: &[u8]) -> Response {
            self.0.to_string().into()
        }
        fn snapshot(&self) -> Vec<u8> {
            Vec::new()
        }
        fn restore(&mut self, _snapshot: &[u8]) -> Result<(), BadSnapshot> {
            Ok(())
        }
    }
    static MADE: AtomicU64 = AtomicU64::new(0);
    let make = || Own(MADE.fetch_add(1, Ordering::Relaxed));
    let Broken { seed, what } = check(0..9, make, letters).expect_err("it is caught");
    assert!(seed == 0 && what.starts_with("E3"), "{what}");
}

#[test]
fn a_machine_with_a_state_of_its_own_is_caught_with_a_seed() {
    /// Its table has another order in each machine.
    #[derive(Default)]
    struct Shuffled(HashMap<Vec<u8>, ()>);
    impl StateMachine for Shuffled {
        fn apply(&mut self, command: &[u8]) -> Response {
            self.0.insert(command.to_vec(), ());
            Response::EMPTY
        }
        fn snapshot(&self) -> Vec<u8> {
            self.0.keys().flatten().copied().collect()
        }
        fn restore(&mut self, _snapshot: &[u8]) -> Result<(), BadSnapshot> {
            Ok(())
        }
    }
    let broken = check(0..9, Shuffled::default, letters).expect_err("it is caught");
    assert!(broken.to_string().contains("I4: the machine of replica"), "{broken}");
    assert!(broken.to_string().contains("(repeat: check("), "{broken}");
}

#[test]
fn a_machine_that_does_not_restore_all_of_its_state_is_caught_with_a_seed() {
    /// Counts, and forgets the count in a snapshot.
    #[derive(Default)]
    struct Forgetful(u64, u64);
    impl StateMachine for Forgetful {
        fn apply(&mut self, _command: &[u8]) -> Response {
            self.0 += 1;
            (self.0 + self.1).to_string().into()
        }
        fn snapshot(&self) -> Vec<u8> {
            self.0.to_le_bytes().to_vec()
        }
        fn restore(&mut self, _snapshot: &[u8]) -> Result<(), BadSnapshot> {
            self.1 = 1;
            Ok(())
        }
    }
    assert!(check(0..100, Forgetful::default, letters).is_err());
}

#[test]
fn a_cluster_answers_survives_a_minority_and_waits_for_a_quorum() {
    let mut cluster = Cluster::new(3, Counters::default);
    let (one, other) = (cluster.client(), cluster.client());
    assert_eq!(cluster.call(one, b"a"), Ok("1".into()));
    assert_eq!(cluster.call(other, b"a"), Ok("2".into()));
    cluster.crash(0);
    assert_eq!(cluster.call(one, b"a"), Ok("3".into()), "another one leads");
    cluster.crash(1);
    assert_eq!(cluster.call(one, b"b"), Err(NoQuorum));
    cluster.restart(0);
    cluster.restart(1);
    assert_eq!(cluster.call(other, b"a"), Ok("4".into()));
    cluster.settle();
    let states = [0, 1, 2].map(|replica| cluster.snapshot(replica).expect("it runs"));
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
}

#[test]
fn the_same_seed_gives_the_same_cluster() {
    let run = |seed| {
        let mut cluster = Cluster::seeded(seed, 5, Counters::default);
        let client = cluster.client();
        (0..20u8).map(|name| cluster.call(client, &[name % 3])).collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
}
