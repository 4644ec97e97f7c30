//! Processes that are not of the cluster: a stray one, what is left of a former cluster, and a
//! member on another cluster's data directory. Each side says what it hears.

use crate::support::*;
use std::fs;
use std::net::UdpSocket;

impl Place {
    /// Removes all that a replica has kept.
    fn begin_anew(&self, id: usize) {
        fs::remove_dir_all(self.logs().join(format!("replica{id}"))).expect("its files");
        fs::remove_file(self.logs().join(format!("learner{id}.txt"))).expect("its chat log");
    }
}

#[test]
fn a_stray_process_costs_the_cluster_nothing_and_both_sides_say_so() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    // An old host of replica 1: it reaches the others, and they know replica 1 elsewhere.
    let mut lines = place.lines();
    let free = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    lines[1] = format!("127.0.0.1 {}", free.local_addr().expect("it is bound").port());
    drop(free);
    let file = place.file("old.txt", &lines);
    let dir = place.dir.path().join("old");
    let dir = dir.to_str().expect("UTF-8");
    let mut stray = place.replica_with(1, &["--config_path", &file, "--log_dir", dir]);
    let at = |line: &str| line.replace(' ', ":");
    stray.process.wait_for(&format!(
        "replica 1: replica 0 at {} belongs to a cluster whose replica 1 has another data \
         directory or was removed: if it has not lost its disk and was not removed, stop this process",
        at(&lines[0])
    ));
    cluster[0].process.wait_for(&format!(
        "replica 0: a process at {} warms up as replica 1 on a data directory that is not this \
         cluster's, and has no vote",
        at(&lines[1])
    ));
    // The real replica 1 still counts: with replica 0 it is a quorum.
    cluster.pop().expect("replica 2").kill();
    let lines: String = (0..20).map(|number| format!("line {number}\n")).collect();
    let ran = place.say(&["--client_id", "7"], lines.as_bytes());
    assert_eq!(completions(&ran).len(), 20, "{}", text(&ran.stderr));
    stray.process.signal("-TERM");
    let (_, said) = stray.process.end();
    assert!(!said.iter().any(|line| line.contains("warm-up complete")), "{said:#?}");
    let told = said.iter().filter(|line| line.contains("replica 0 at")).count();
    assert_eq!(told, 1, "once a minute: {said:#?}");
}

#[test]
fn a_cluster_begun_anew_waits_for_a_forgotten_replica_of_the_former_one() {
    let place = Place::new(1);
    let mut former = place.cluster();
    let ran = place.say(&["--client_id", "7"], b"of the former cluster\n");
    assert_eq!(completions(&ran), [(7, 0, 0)]);
    let mut forgotten = former.pop().expect("replica 2");
    former.into_iter().for_each(Replica::kill);
    for id in [0, 1] {
        place.begin_anew(id);
    }
    let mut begun = [place.replica(0), place.replica(1)];
    for replica in &mut begun {
        replica.process.wait_for(
            "replica 2 belongs to a cluster that has started without this data directory",
        );
    }
    forgotten.process.wait_for("warms up as replica 0 on a data directory that is not");
    forgotten.kill();
    place.begin_anew(2);
    let mut last = place.replica(2);
    for replica in begun.iter_mut().chain([&mut last]) {
        replica.process.wait_for("warm-up complete");
    }
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"new\n")), [(7, 0, 0)]);
}

#[test]
fn another_clusters_data_directory_is_said_at_both_sides() {
    let (place, other) = (Place::new(1), Place::new(1));
    drop(other.cluster());
    drop(place.cluster());
    let [mut zero, mut one] = [place.replica(0), place.replica(1)];
    let logs = other.logs();
    let mut wrong = place.replica_with(2, &["--log_dir", logs.to_str().expect("UTF-8")]);
    let at: Vec<String> = place.lines().iter().map(|line| line.replace(' ', ":")).collect();
    let line = |id: usize, heard: usize| {
        let at = &at[heard];
        format!("replica {id}: replica {heard} at {at} runs on another cluster's data directory")
    };
    wrong.process.wait_for(&line(2, 0));
    wrong.process.wait_for(&line(2, 1));
    zero.process.wait_for(&line(0, 2));
    one.process.wait_for(&line(1, 2));
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"goes on\n")), [(7, 0, 0)]);
}
