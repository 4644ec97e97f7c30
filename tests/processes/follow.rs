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
