//! `client --status`: what the replicas of a real cluster say of themselves, and its exit codes.

use crate::support::*;
use std::process::Output;

impl Place {
    /// Asks all replicas how they are.
    fn status(&self, options: &[&str]) -> Output {
        let mut command = self.program(env!("CARGO_BIN_EXE_client"));
        command.args(["--status"]).args(options).output().expect("the client runs")
    }

    /// Asks until the exit code is this one, and returns what was printed then.
    #[track_caller]
    fn status_until(&self, code: i32, options: &[&str]) -> String {
        until(&format!("exit code {code}"), || {
            let ran = self.status(options);
            (ran.status.code() == Some(code)).then(|| text(&ran.stdout))
        })
    }
}

/// The rows of a table, each cut into words.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a_cluster_is_well_then_degraded_then_without_a_quorum() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"a\nb\n")).len(), 2);
    place.logs_of(&[0, 1, 2], 2);
    let table = place.status_until(0, &[]);
    let found = rows(&table);
    assert_eq!((found.len(), found[0][0]), (5, "replica"), "{table}");
    for (id, row) in found[1..4].iter().enumerate() {
        let does = if id == 0 { "leads" } else { "follows" };
        assert_eq!(row[..1], [id.to_string()], "{table}");
        assert_eq!(row[2..8], [does, "0", "0", "2", "2", "0"], "{table}");
        assert_eq!(row[8], found[1][8], "the same log: {table}");
        assert_eq!(row[8].len(), 8, "{table}");
    }
    let verdict = "well: 3 of 3 replicas answer, replica 0 leads with ballot 0, 3 logs compared \
                   below slot 2";
    assert!(table.ends_with(&format!("{verdict}\n")), "{table}");

    cluster.remove(0).kill();
    let table = until("another one leads", || {
        let ran = place.status(&[]);
        let table = text(&ran.stdout);
        (ran.status.code() == Some(1) && table.contains(" leads with ballot ")).then_some(table)
    });
    assert!(table.ends_with("\n  replica 0 does not answer\n"), "{table}");
    assert!(table.contains("\ndegraded: 2 of 3 replicas answer, replica "), "{table}");

    cluster.remove(0).kill();
    let table = place.status_until(2, &["--timeout", "1"]);
    assert!(table.contains("\nno quorum: 1 of 3 replicas answer, nobody leads"), "{table}");
    assert!(table.contains("\n  too few members answer: 1, and a quorum is 2\n"), "{table}");

    drop(cluster);
    let table = place.status_until(2, &[]);
    assert_eq!(table.matches("no answer").count(), 3, "{table}");
}

#[test]
fn replicas_that_warm_up_say_for_whom_they_wait() {
    let place = Place::new(1);
    let _first = [0, 1].map(|id| place.replica(id));
    let waits = "warming up, waits for replica 2";
    let table = until("both wait for replica 2", || {
        let ran = place.status(&["--timeout", "1"]);
        let table = text(&ran.stdout);
        (ran.status.code() == Some(2) && table.matches(waits).count() == 4).then_some(table)
    });
    assert!(table.contains(&format!("\n  replica 0 is {waits}\n")), "{table}");
    assert!(table.ends_with("\n  replica 2 does not answer\n"), "{table}");
    let json = text(&place.status(&["--json", "--timeout", "1"]).stdout);
    assert!(json.contains("\"does\":\"warms_up\"") && json.contains("\"waits_for\":[2]"), "{json}");
    let _last = place.replica(2);
    place.status_until(0, &[]);
}

#[test]
fn json_says_the_same_and_counts_what_was_dropped() {
    let place = Place::new(0);
    let _cluster = place.cluster();
    assert_eq!(completions(&place.say(&[], b"a\n")).len(), 1);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let at = place.lines()[0].replace(' ', ":");
    for _ in 0..3 {
        socket.send_to(b"not of this program", &at).expect("sent");
    }
    let json = until("the drops are counted", || {
        let json = text(&place.status(&["--json"]).stdout);
        json.contains("\"dropped\":{\"drop_length\":3}").then_some(json)
    });
    assert!(json.starts_with('{') && json.ends_with("}\n") && json.lines().count() == 1, "{json}");
    for part in [
        "\"health\":\"well\"",
        "\"faults\":[]",
        "\"leader\":0",
        "\"compared_below\":1",
        "\"applied\":1",
        "\"does\":\"leads\"",
        "\"lag\":0",
        "\"another_cluster\":false",
    ] {
        assert!(json.contains(part), "{part}: {json}");
    }
    let memory = json.split_once("\"memory_bytes\":").expect("known").1;
    let memory: u64 = memory[..memory.find([',', '}']).expect("more")].parse().expect("a number");
    assert!((1 << 20..1 << 30).contains(&memory), "{json}");
}

#[test]
fn a_wiped_replica_observes_and_one_of_another_cluster_is_named() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    assert_eq!(completions(&place.say(&[], b"a\n")).len(), 1);
    cluster.pop().expect("replica 2").kill();
    std::fs::remove_dir_all(place.logs().join("replica2")).expect("its disk");
    let _wiped = place.replica(2);
    let table = until("it observes", || {
        let table = text(&place.status(&[]).stdout);
        table.contains("observes").then_some(table)
    });
    assert!(table.contains("  replica 2 is not a member and does not vote\n"), "{table}");
}

#[test]
fn much_loss_makes_a_survey_slower_and_not_wrong() {
    let place = Place::new(1);
    let _cluster = place.cluster_with(&["--msg_loss", "30"]);
    let table = place.status_until(0, &["--msg_loss", "30", "--timeout", "5"]);
    assert!(table.contains("well: 3 of 3 replicas answer"), "{table}");
}
