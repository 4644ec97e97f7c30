//! How far the chat logs of real replicas are behind each other.

use crate::support::*;
use std::time::{Duration, Instant};

/// Heartbeats that come too late to tell anything in these tests.
const SLOW: [&str; 4] = ["--heartbeat_ms", "2000", "--election_ms", "4000-8000"];

#[test]
fn followers_write_a_line_although_nothing_follows_and_no_heartbeat_is_due() {
    let place = Place::new(1);
    let _cluster = place.cluster_with(&SLOW);
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"alone\n")), [(7, 0, 0)]);
    let began = Instant::now();
    let logs = place.logs_of(&[0, 1, 2], 1);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(logs.iter().all(|log| log == "0 7 0 alone\n"), "{logs:?}");
}

#[test]
fn replicas_that_end_together_leave_equal_chat_logs() {
    for signal in ["-TERM", "-INT"] {
        let place = Place::new(1);
        let mut cluster = place.cluster_with(&SLOW);
        let lines: String = (0..20).map(|number| format!("line {number}\n")).collect();
        assert_eq!(completions(&place.say(&["--client_id", "7"], lines.as_bytes())).len(), 20);
        for replica in &cluster {
            replica.process.signal(signal);
        }
        for replica in &mut cluster {
            let (status, said) = replica.process.end();
            assert_eq!(status.code(), Some(0), "{said:#?}");
        }
        let logs = [0, 1, 2].map(|id| place.log(id));
        assert_eq!(logs[0].lines().count(), 20);
        assert!(logs[1] == logs[0] && logs[2] == logs[0], "{logs:#?}");
    }
}

#[test]
fn replicas_say_whom_they_follow_who_is_silent_and_who_is_back() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    for replica in &mut cluster[1..] {
        replica.process.wait_for(&format!("replica {}: follows replica 0 (ballot 0)", replica.id));
    }
    cluster.remove(0).kill();
    // One of the two leads and names the dead one; the other names whom it follows.
    let said = |replica: &mut Replica, words: &str| {
        replica.process.said.extend(replica.process.lines.try_iter());
        replica.process.said.iter().any(|line| line.contains(words))
    };
    let leader = until("a leader", || {
        (0..2).find(|index| said(&mut cluster[*index], ": leads with ballot"))
    });
    let id = cluster[leader].id;
    let silent = format!("replica {id}: replica 0, the leader, has been silent for");
    cluster[leader].process.wait_for(&silent);
    cluster[1 - leader].process.wait_for(&format!(": follows replica {id} (ballot "));
    let mut back = place.restarted(0, &[]);
    back.process.wait_for(&format!("replica 0: follows replica {id} (ballot "));
    cluster[leader].process.wait_for(&format!("replica {id}: replica 0 is back after "));
    // A follower that dies is named by the leader.
    cluster.remove(1 - leader).kill();
    cluster[0].process.wait_for(&format!("replica {id}: replica {} has been silent for", 3 - id));
    for line in &cluster[0].process.said {
        // Such as 2026-11-28T12:00:00.000Z.
        let time = line.split(' ').next().expect("a first word");
        let shape: String =
            time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
    }
}
