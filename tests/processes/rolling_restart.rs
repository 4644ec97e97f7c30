//! Replicas that are told to end, one after the other: the leader hands over (L9).
//!
//! What a test may demand of a slow host is that nobody had to miss a leader. How long lines take
//! meanwhile is measured by `scripts/rolling_restart.sh`.

use crate::load::*;
use crate::support::*;

/// Ends a replica by SIGTERM. Returns what it has said.
#[track_caller]
fn terminated(mut replica: Replica) -> Vec<String> {
    replica.process.signal("-TERM");
    let (status, said) = replica.process.end();
    assert_eq!(status.code(), Some(0), "replica {}: {said:#?}", replica.id);
    said
}

fn says(said: &[String], words: &str) -> bool {
    said.iter().any(|line| line.contains(words))
}

#[test]
fn a_leader_that_is_told_to_end_hands_over_before_it_ends() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(100);
    let said = terminated(cluster.remove(0));
    assert!(says(&said, "replica 0: hands over to replica "), "{said:#?}");
    assert!(says(&said, "leads now (ballot "), "{said:#?}");
    completed.extend(load.more(100));
    completed.extend(load.end());
    for replica in cluster {
        let said = terminated(replica);
        assert!(!says(&said, "the leader, has been silent"), "{said:#?}");
    }
    let _cluster: Vec<Replica> = (0..place.n()).map(|id| place.replica(id)).collect();
    judge(&place, &completed);
}

#[test]
fn a_rolling_restart_of_all_replicas_under_load_fails_no_line_and_needs_no_election() {
    let place = Place::new(1);
    let mut cluster: Vec<Option<Replica>> = place.cluster().into_iter().map(Some).collect();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(100);
    for round in 0..2 {
        for (id, place_of_it) in cluster.iter_mut().enumerate() {
            let said = terminated(place_of_it.take().expect("it runs"));
            assert!(!says(&said, "the leader, has been silent"), "round {round}: {said:#?}");
            *place_of_it = Some(place.restarted(id, &[]));
            completed.extend(load.more(200));
        }
    }
    completed.extend(load.end());
    judge(&place, &completed);
}

#[test]
fn replicas_that_are_told_to_end_together_wait_for_no_successor() {
    let place = Place::new(1);
    let cluster = place.cluster();
    assert_eq!(completions(&place.say(&[], b"hello\n")).len(), 1);
    for replica in &cluster {
        replica.process.signal("-TERM");
    }
    for mut replica in cluster {
        let (status, said) = replica.process.end();
        assert_eq!(status.code(), Some(0), "{said:#?}");
        assert!(!says(&said, "no other has taken over"), "{said:#?}");
    }
}
