//! `client --admin`: who the members of a real cluster are, and changes of them under load.

use crate::load::*;
use crate::support::*;
use std::fs;
use std::process::Output;

impl Place {
    fn admin(&self, args: &[&str]) -> Output {
        let mut command = self.program(env!("CARGO_BIN_EXE_client"));
        command.arg("--admin").args(args).output().expect("the client runs")
    }

    /// Changes the members. Returns what is printed then.
    #[track_caller]
    fn changes(&self, args: &[&str]) -> String {
        let ran = self.admin(&[args, &["--timeout", "60"]].concat());
        assert_eq!(ran.status.code(), Some(0), "{args:?}: {}", text(&ran.stderr));
        text(&ran.stdout)
    }

    /// What is said to an operator whose change is refused.
    #[track_caller]
    fn refuses(&self, args: &[&str]) -> String {
        let ran = self.admin(&[args, &["--timeout", "60"]].concat());
        let said = text(&ran.stderr);
        assert_eq!((ran.status.code(), &text(&ran.stdout)[..]), (Some(1), ""), "{args:?}: {said}");
        said
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

#[test]
fn members_go_and_come_while_lines_flow() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(50);
    let shown = until("all members are heard", || {
        let shown = place.changes(&["members"]);
        (shown.lines().filter(|row| row.ends_with("  member")).count() == 3).then_some(shown)
    });
    assert!(first_line(&shown).starts_with("configuration 0, of replicas 0, 1, 2;"), "{shown}");
    let said = place.refuses(&["replace", "2"]);
    assert!(said.contains("replica 2 is heard: it has not lost its directory"), "{said}");
    // A leader goes, and leads no more. It follows, and may be switched off.
    let shown = place.changes(&["remove", "0"]);
    assert!(first_line(&shown).starts_with("configuration 1, of replicas 1, 2;"), "{shown}");
    until("replica 0 follows", || {
        let shown = place.changes(&["members"]);
        let mut rows = shown.lines().filter(|row| row.contains("no vote, at slot"));
        rows.any(|row| row.starts_with("replica 0  ")).then_some(())
    });
    completed.extend(load.more(50));
    until("all is well with two members", || {
        let ran = place.say(&["--status"], b"");
        let is_named = text(&ran.stdout).contains(" in configuration 1, of replicas 1, 2,");
        (ran.status.success() && is_named).then_some(())
    });
    cluster.remove(0).kill();
    completed.extend(load.more(50));
    // Of two both are needed, so none can go but by force.
    let mut back = place.replica_with(0, &[]);
    back.process.wait_for("follows without a vote: the log has made configuration 1");
    cluster.push(back);
    let said = place.refuses(&["add", "1"]);
    assert!(said.contains("replica 1 cannot be added: it is a member"), "{said}");
    let shown = place.changes(&["add 0"]);
    assert!(first_line(&shown).starts_with("configuration 2, of replicas 0, 1, 2;"), "{shown}");
    // A read asks the new members, and has every line that was complete.
    let read = place.say(&["--read", "--timeout", "60"], b"");
    assert!(read.status.success(), "{}", text(&read.stderr));
    assert!(text(&read.stdout).lines().count() > completed.len(), "a change is a line as well");
    // The one that came back is needed from here on.
    cluster.remove(0).kill();
    completed.extend(load.more(50));
    let said = place.refuses(&["remove", "2"]);
    assert!(said.contains("nothing could be decided then: of the new members only"), "{said}");
    completed.extend(load.more(20));
    cluster.push(place.restarted(1, &[]));
    completed.extend(load.end());
    judge(&place, &completed);
}

#[test]
fn an_operator_replaces_a_lost_disk() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(50);
    cluster.remove(2).kill();
    fs::remove_dir_all(place.logs().join("replica2")).expect("its disk is lost");
    fs::remove_file(place.logs().join("learner2.txt")).expect("lost too");
    completed.extend(load.more(50));
    let back = place.replica_with(2, &[]);
    cluster.push(back);
    let shown = place.changes(&["replace", "2"]);
    assert!(first_line(&shown).starts_with("configuration 1, of replicas 0, 1, 2;"), "{shown}");
    cluster.remove(1).kill();
    completed.extend(load.more(50));
    cluster.push(place.restarted(1, &[]));
    completed.extend(load.end());
    judge(&place, &completed);
}

#[test]
fn who_has_a_clients_key_changes_nothing() {
    let place = Place::new(1);
    let key = place.key("key");
    let client = place.client_key(&key, "client");
    let _cluster = place.cluster_with(&["--key_file", &key]);
    let shown = place.changes(&["members", "--key_file", &key]);
    assert!(first_line(&shown).starts_with("configuration 0, of replicas 0, 1, 2;"), "{shown}");
    let ran = place.admin(&["remove", "2", "--key_file", &client]);
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(64), "{said}");
    assert!(said.contains("a client's key: this needs the cluster's"), "{said}");
    let shown = place.changes(&["remove", "2", "--key_file", &key]);
    assert!(first_line(&shown).starts_with("configuration 1, of replicas 0, 1;"), "{shown}");
}

#[test]
fn without_a_leader_an_operator_is_told_what_is_missing() {
    let place = Place::new(1);
    let ran = place.admin(&["members", "--timeout", "1"]);
    assert_eq!(ran.status.code(), Some(2));
    assert_eq!(text(&ran.stderr), "client: not done: no leader answers\n");
}

#[test]
fn a_cluster_grows_by_places_that_had_no_vote_in_the_beginning() {
    let place = Place::growing(1, 2);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(50);
    let said = place.replica_with(2, &["--observer"]).process.end().1;
    assert!(said.concat().contains("gives replica 2 a vote from the beginning"), "{said:?}");
    // One that never votes, and one that may.
    let mut never = place.replica_with(4, &["--observer"]);
    never.process.wait_for("follows, and never votes");
    let mut fourth = place.replica(3);
    fourth.process.wait_for("follows without a vote, as the cluster file says");
    let said = place.refuses(&["add", "4"]);
    assert!(said.contains("replica 4 runs with --observer: it is never to vote"), "{said}");
    let shown = place.changes(&["add", "3"]);
    assert!(first_line(&shown).starts_with("configuration 1, of replicas 0, 1, 2, 3;"), "{shown}");
    completed.extend(load.more(50));
    // Three of four decide, and the new one is among them.
    cluster.remove(0).kill();
    completed.extend(load.more(50));
    fourth.kill();
    let back = place.restarted(3, &[]);
    completed.extend(load.more(50));
    cluster.push(back);
    cluster.push(place.restarted(0, &[]));
    // A file of three places goes on: in a replica, which sends nothing to the fourth, and in a client.
    let old = place.dir.path().join("old.txt");
    let lines = fs::read_to_string(place.dir.path().join("config.txt")).expect("a configuration");
    let three: Vec<&str> = lines.lines().take(3).collect();
    fs::write(&old, three.join("\n")).expect("an older one");
    let old = ["--config_path", old.to_str().expect("UTF-8")];
    cluster.remove(0).kill();
    cluster.push(place.restarted(1, &old));
    completed.extend(load.more(50));
    completed.extend(load.end());
    let ran = place.say(&[&old[..], &["--client_id", "9"]].concat(), b"line 0 of 9\n");
    let (client, seq, slot) = completions(&ran)[0];
    completed.push(Completed { client, seq, slot: slot as usize });
    judge(&place, &completed);
    until("those that were added have the same lines", || {
        let log = place.log(0);
        (place.log(3) == log && place.log(4) == log).then_some(())
    });
}

#[test]
fn a_cluster_of_one_grows_to_seven_and_goes_on_with_the_others() {
    let place = Place::growing(0, 6);
    let first = place.cluster();
    let ran = place.say(&["--client_id", "7"], b"alone\n");
    assert_eq!(completions(&ran), [(7, 0, 0)]);
    let mut others: Vec<Replica> = (1..7).map(|id| place.replica(id)).collect();
    for id in 1..7 {
        let shown = place.changes(&["add", &id.to_string()]);
        let all: Vec<String> = (0..=id).map(|id| id.to_string()).collect();
        let expected = format!("configuration {id}, of replicas {};", all.join(", "));
        assert!(first_line(&shown).starts_with(&expected), "{shown}");
    }
    // Four of seven are a quorum, and whoever began the cluster is not needed.
    drop(first);
    others.truncate(4);
    let ran = place.say(&["--client_id", "7", "--timeout", "60"], b"among others\n");
    assert_eq!(completions(&ran), [(7, 1, 7)], "{}", text(&ran.stderr));
    let logs = place.logs_of(&[1, 2, 3, 4], 8);
    assert!(logs.iter().all(|log| *log == logs[0]), "{logs:?}");
}

#[test]
fn a_member_moves_to_another_address_and_old_files_go_on() {
    for keyed in [false, true] {
        let place = Place::new(1);
        let key = place.key("key");
        let keys: &[&str] = if keyed { &["--key_file", &key] } else { &[] };
        let mut cluster = place.cluster_with(keys);
        let load = Load::begin(&place, keys);
        let mut completed = load.more(50);
        // Its host is another one from now on. Only its own file says where.
        cluster.remove(2).kill();
        let file = |name| place.dir.path().join(name);
        let old = fs::read_to_string(file("config.txt")).expect("a configuration");
        let port = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let to = port.local_addr().expect("it is bound");
        drop(port);
        let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
        lines[2] = format!("127.0.0.1 {}", to.port());
        fs::write(file("new.txt"), lines.join("\n")).expect("a newer one");
        let new = file("new.txt");
        let of_new = ["--config_path", new.to_str().expect("UTF-8")];
        cluster.push(place.replica_with(2, &[keys, &of_new].concat()));
        let admin = |args: &[&str]| place.changes(&[args, keys].concat());
        let shown = admin(&["move", "2", &to.to_string()]);
        assert!(first_line(&shown).starts_with("configuration 1, of replicas 0, 1, 2;"), "{shown}");
        until("it is heard there", || {
            let shown = admin(&["members"]);
            let mut rows = shown.lines().filter(|row| row.ends_with("  member"));
            rows.any(|row| row.starts_with(&format!("replica 2  {to}"))).then_some(())
        });
        // It is needed.
        cluster.remove(0).kill();
        completed.extend(load.more(50));
        // By an old file and its own log another one finds it. Then that is needed, too.
        cluster.push(place.restarted(0, keys));
        completed.extend(load.more(50));
        cluster.remove(0).kill();
        completed.extend(load.more(50));
        until("the report has it", || {
            let ran = place.say(&[&["--status"], keys].concat(), b"");
            let is_there = |row: &str| row.contains(&to.to_string()) && row.contains("follow");
            text(&ran.stdout).lines().any(is_there).then_some(())
        });
        cluster.push(place.restarted(1, keys));
        completed.extend(load.end());
        let ran = place.say(&[keys, &["--client_id", "9"]].concat(), b"line 0 of 9\n");
        let (client, seq, slot) = completions(&ran)[0];
        completed.push(Completed { client, seq, slot: slot as usize });
        judge(&place, &completed);
    }
}
