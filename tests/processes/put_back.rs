//! Data directories that are put back from an older copy. The replica has forgotten what it
//! promised and accepted since, and does not know it; the others do.

use crate::support::*;
use std::process::Command;
use std::time::{Duration, Instant};

/// Many heartbeats by default.
const HEARD: Duration = Duration::from_millis(600);

/// What an operator's backup holds of a replica.
struct Backup {
    id: usize,
}

impl Place {
    fn files(&self, id: usize) -> [String; 2] {
        let file = |name: String| self.logs().join(name).to_str().expect("UTF-8").to_owned();
        [file(format!("replica{id}")), file(format!("learner{id}.txt"))]
    }

    /// Copies all that a replica keeps, while it runs.
    fn backup(&self, id: usize) -> Backup {
        for file in self.files(id) {
            run(Command::new("cp").args(["-a", &file, &format!("{file}.backup")]));
        }
        Backup { id }
    }

    /// Puts the copy in the place of what the replica keeps. Nothing runs on it.
    fn put_back(&self, backup: &Backup) {
        for file in self.files(backup.id) {
            run(Command::new("rm").args(["-r", &file]));
            run(Command::new("cp").args(["-a", &format!("{file}.backup"), &file]));
        }
    }

    /// Sends lines, and others until all replicas have heard what each one has written, and have
    /// stored that with records of their own.
    #[track_caller]
    fn send(&self, what: &str, lines: usize) {
        let say = |what: &str, lines: usize| {
            let input: String = (0..lines).map(|at| format!("{what} {at}\n")).collect();
            let ran = self.say(&["--client_id", "7"], input.as_bytes());
            assert_eq!(completions(&ran).len(), lines, "{}", text(&ran.stderr));
        };
        say(what, lines);
        let sent = Instant::now();
        while sent.elapsed() < HEARD {
            say("meanwhile", 1);
        }
    }

    /// How many such lines the log of a replica has.
    fn count(&self, id: usize, what: &str) -> usize {
        self.log(id).lines().filter(|line| line.contains(what)).count()
    }

    /// Waits until the log of a replica has all such lines.
    #[track_caller]
    fn has_all(&self, id: usize, what: &str, lines: usize) {
        until(&format!("{lines} lines {what:?} at replica {id}"), || {
            (self.count(id, what) == lines).then_some(())
        });
    }
}

#[track_caller]
fn run(command: &mut Command) {
    assert!(command.status().expect("it runs").success(), "{command:?}");
}

/// The replica says what has happened and ends, and another one says it too.
#[track_caller]
fn assert_noticed(lost: &mut Replica, other: &mut Replica) {
    let id = lost.id;
    let (status, said) = lost.process.end();
    assert_eq!(status.code(), Some(1), "{said:#?}");
    let last = said.last().expect("a line");
    let expected = format!("replica{id}: has lost its state: it held ");
    assert!(last.contains(&expected) && last.contains("put the newest files back"), "{last}");
    other.process.wait_for(&format!("replica {}: replica {id} at ", other.id));
    other.process.wait_for(" has lost its state and stops: replica ");
}

/// Replica 0 would lead ballot 0 a second time, and asks nobody for that.
#[test]
fn a_replica_0_that_is_put_back_from_before_the_start_says_so_and_stops() {
    let place = Place::new(1);
    let mut early = place.replica(0);
    early.process.wait_for("listens on");
    early.kill();
    let backup = place.backup(0);
    let mut cluster = place.cluster();
    place.send("kept", 3);
    let mut others = cluster.split_off(1);
    cluster.remove(0).kill();
    place.put_back(&backup);
    let mut lost = place.replica(0);
    assert_noticed(&mut lost, &mut others[0]);
    place.send("later", 2);
    (1..3).for_each(|id| place.has_all(id, "kept", 3));
}

#[test]
fn a_member_put_back_from_an_older_copy_is_told_so_and_no_line_is_lost() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    place.send("early", 10);
    place.logs_of(&[0, 1, 2], 10);
    let backup = place.backup(2);
    place.send("late", 100);
    cluster.pop().expect("replica 2").kill();
    place.put_back(&backup);
    let mut lost = place.replica(2);
    assert_noticed(&mut lost, &mut cluster[0]);
    // It and one other are no quorum.
    cluster.pop().expect("replica 1").kill();
    let mut lost = place.replica(2);
    let ran = place.say(&["--client_id", "8", "--timeout", "1"], b"never\n");
    assert_eq!((ran.status.code(), completions(&ran).len()), (Some(1), 0));
    assert_noticed(&mut lost, &mut cluster[0]);
    // The two that remember everything are.
    let _one = place.restarted(1, &[]);
    place.send("more", 10);
    for id in [0, 1] {
        place.has_all(id, "late", 100);
        place.has_all(id, "more", 10);
    }
}

#[test]
fn what_a_member_remembers_of_the_others_survives_its_own_end() {
    let place = Place::new(1);
    let cluster = place.cluster();
    place.send("early", 10);
    place.logs_of(&[0, 1, 2], 10);
    let backup = place.backup(2);
    place.send("late", 100);
    cluster.into_iter().for_each(Replica::kill);
    place.put_back(&backup);
    let mut one = place.restarted(1, &[]);
    let mut lost = place.replica(2);
    assert_noticed(&mut lost, &mut one);
    let _zero = place.restarted(0, &[]);
    place.has_all(1, "late", 100);
}

#[test]
fn two_members_put_back_are_stopped_by_the_third_that_remembers_them() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    place.send("early", 10);
    place.logs_of(&[0, 1, 2], 10);
    let backups = [place.backup(0), place.backup(1)];
    place.send("late", 100);
    let mut third = cluster.pop().expect("replica 2");
    place.has_all(2, "late", 100);
    cluster.into_iter().for_each(Replica::kill);
    backups.iter().for_each(|backup| place.put_back(backup));
    let mut lost = [place.replica(0), place.replica(1)];
    for replica in &mut lost {
        assert_noticed(replica, &mut third);
    }
    assert_eq!(place.count(2, "late"), 100);
}

#[test]
fn two_members_put_back_while_the_third_is_down_are_stopped_when_it_is_back() {
    let place = Place::new(1);
    let cluster = place.cluster();
    place.send("early", 10);
    place.logs_of(&[0, 1, 2], 10);
    let backups = [place.backup(0), place.backup(1)];
    place.send("late", 100);
    place.has_all(2, "late", 100);
    cluster.into_iter().for_each(Replica::kill);
    backups.iter().for_each(|backup| place.put_back(backup));
    // Nobody alive remembers.
    let mut lost = [place.restarted(0, &[]), place.restarted(1, &[])];
    place.send("other", 10);
    let mut third = place.replica(2);
    for replica in &mut lost {
        assert_noticed(replica, &mut third);
    }
    // Who remembers has kept the lines.
    assert_eq!([place.count(2, "late"), place.count(2, "other")], [100, 0]);
}

#[test]
fn histories_that_differ_are_noticed_although_nobody_remembers_more() {
    let place = Place::new(1);
    let cluster = place.cluster();
    place.send("early", 10);
    place.logs_of(&[0, 1, 2], 10);
    let backups = [place.backup(0), place.backup(1)];
    place.send("late", 10);
    place.has_all(2, "late", 10);
    cluster.into_iter().for_each(Replica::kill);
    backups.iter().for_each(|backup| place.put_back(backup));
    // They write as much again, and more, and begin their next lives with it.
    let lost = [place.restarted(0, &[]), place.restarted(1, &[])];
    place.send("other", 10);
    while place.count(0, "meanwhile") < 3 * place.count(2, "meanwhile") {
        place.send("other", 0);
    }
    lost.into_iter().for_each(Replica::kill);
    let mut lost = [place.restarted(0, &[]), place.restarted(1, &[])];
    place.send("afterwards", 1);
    let mut third = place.replica(2);
    let (status, said) = third.process.end();
    assert_eq!(status.code(), Some(1), "{said:#?}");
    let last = said.last().expect("a line");
    assert!(last.contains("replica 2: other lines are decided here below slot "), "{last}");
    assert!(last.contains(" than at replica 0 and replica 1, and no quorum is heard"), "{last}");
    for replica in &mut lost {
        replica.process.wait_for("other lines are decided here than at replica 2 below slot ");
        replica.process.wait_for(": a quorum has the same lines as this replica");
    }
    // The two go on, and what the third remembers is kept.
    place.send("last", 5);
    for id in [0, 1] {
        place.has_all(id, "last", 5);
    }
    assert_eq!([place.count(2, "late"), place.count(2, "other")], [10, 0]);
}
