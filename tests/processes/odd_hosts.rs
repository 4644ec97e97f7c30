//! Real processes on hosts and file systems that lack something.
//!
//! The faults come from outside: another process holds a lock, a mount or a time namespace hides
//! what the host says of itself, `strace` lets a system call fail as it fails on a network
//! folder. Where the system does not permit that, the test says on stderr what was not tested.

use crate::disk_trouble::{assert_says, one_line};
use crate::support::*;
use std::fs;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::process::{Command, Stdio};

/// These words and a program behind them, if the system permits to run it so. Otherwise says on
/// stderr what is not tested.
fn permitted<'a>(ways: &[&[&'a str]]) -> Option<Vec<&'a str>> {
    let works = |way: &&&[&str]| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = ways.iter().find(works).map(|way| way.to_vec());
    if found.is_none() {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        // Not with a macro: the test harness captures what macros print.
        let _ = writeln!(io::stderr(), "{test}: NOT TESTED, none of these works: {ways:?}");
    }
    found
}

#[test]
fn a_second_cluster_with_the_same_log_directory_is_refused_and_touches_nothing() {
    let place = Place::new(1);
    let _cluster = place.cluster();
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"one\n")), [(7, 0, 0)]);
    let before = place.logs_of(&[0], 1);
    let (other, logs) = (Place::new(1), place.logs());
    let own = other.dir.path().join("data");
    let (logs, own) = (logs.to_str().expect("UTF-8"), own.to_str().expect("UTF-8"));
    let mut second = other.replica_with(0, &["--log_dir", logs, "--data_dir", own]);
    let line = one_line(&mut second, 1);
    assert_says(&line, &["learner0.txt: in use by another process", "its own --log_dir"]);
    assert_eq!(completions(&place.say(&["--client_id", "7"], b"two\n")), [(7, 1, 1)]);
    let after = place.logs_of(&[0, 1, 2], 2);
    assert!(after[0].starts_with(&before[0]) && after[0] == after[1], "{after:?}");
    assert!(!place.logs().join("learner0.txt.1").exists(), "nothing was moved");
}

#[test]
fn os_is_refused_where_the_host_does_not_name_its_starts() {
    // Nothing is there, nothing is in it, and what some containers show.
    let ways = [
        ("mount -t tmpfs none /proc/sys/kernel/random", "No such file or directory"),
        ("mount --bind /dev/null /proc/sys/kernel/random/boot_id", "holds no id"),
        (
            "echo 00000000-0000-0000-0000-000000000000 > $T && \
             mount --bind $T /proc/sys/kernel/random/boot_id",
            "holds no id",
        ),
    ];
    for (mount, words) in ways {
        let place = Place::new(1);
        let file = place.dir.path().join("boot_id");
        let script = format!("T={}; {mount} && exec \"$0\" \"$@\"", file.display());
        let ways: [&[&str]; 2] = [
            &["unshare", "--mount", "sh", "-c", &script],
            &["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script],
        ];
        let Some(by) = permitted(&ways) else { return };
        let mut refused = place.replica_by(&by, 0, &["--durability", "os"]);
        let line = one_line(&mut refused, 64);
        assert_says(&line, &["--durability os: ", "boot_id", words, "use sync", "ProcSubset=all"]);
        assert!(!place.logs().join("replica0/identity").exists(), "nothing was begun");
        let mut synced = place.replica_by(&by, 0, &[]);
        synced.process.wait_for("listens on");
    }
}

#[test]
fn os_is_refused_on_a_host_whose_starts_all_have_one_name() {
    // A host that has been up for longer: the next look at the clock shows another start.
    let long = ["--time", "--boottime", "1000000", "--fork", "--kill-child"];
    let (root, user) = (["unshare"], ["unshare", "--user", "--map-root-user"]);
    let (root, user) = ([&root[..], &long].concat(), [&user[..], &long].concat());
    let Some(by) = permitted(&[&root, &user]) else { return };
    let place = Place::new(1);
    let os = ["--durability", "os"];
    let mut before = place.replica_by(&by, 0, &os);
    before.process.wait_for("listens on");
    drop(before);
    let gone = || place.replica_with(0, &os).process.end();
    let (status, said) = until("the port is free again", || {
        Some(gone()).filter(|(_, said)| !said.iter().any(|line| line.contains("in use")))
    });
    assert_eq!((status.code(), said.len()), (Some(64), 1), "{said:?}");
    assert_says(&said[0], &["boot_id is the same after a new start of the host", "sync"]);
    place.replica(0).process.wait_for("listens on");
}

#[test]
fn a_file_system_that_lacks_a_call_is_named_with_its_folder_or_does_without() {
    let lacking = |call: &str, error: &str| {
        let inject = format!("inject={call}:error={error}");
        let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject].map(str::to_owned);
        permitted(&[&words.each_ref().map(String::as_str)]).is_some().then_some(words)
    };
    let refused = |by: &[String], place: &Place, options: &[&str]| {
        let by: Vec<&str> = by.iter().map(String::as_str).collect();
        one_line(&mut place.replica_by(&by, 0, options), 64)
    };
    for (call, error, what, cause) in [
        // Only folders are synced by fsync: files are by fdatasync.
        ("fsync", "EINVAL", "cannot sync a folder", "Invalid argument"),
        ("flock", "ENOLCK", "cannot lock a file", "No locks available"),
        ("flock", "EOPNOTSUPP", "cannot lock a file", "Operation not supported"),
    ] {
        let Some(by) = lacking(call, error) else { return };
        let place = Place::new(1);
        fs::create_dir_all(place.logs().join("replica0")).expect("folders");
        let logs = place.logs().display().to_string();
        let line = refused(&by, &place, &[]);
        assert_says(&line, &[&format!("--log_dir {logs}/replica0"), what, cause, "local disk"]);
        let data = format!("{}/data", place.dir.path().display());
        fs::create_dir(&data).expect("a folder");
        let line = refused(&by, &place, &["--data_dir", &data]);
        assert_says(&line, &[&format!("--data_dir {data}"), what, cause]);
    }
    // A folder whose name cannot be made durable is the one above.
    let Some(by) = lacking("fsync", "EINVAL") else { return };
    let place = Place::new(1);
    let above = place.dir.path().display().to_string();
    assert_says(&refused(&by, &place, &[]), &[&format!("--log_dir {above}: its file system")]);
    // Zeros are as good as blocks that were reserved at once.
    for error in ["EOPNOTSUPP", "ENOSYS", "EINVAL", "ENODEV"] {
        let Some(by) = lacking("fallocate", error) else { return };
        let by: Vec<&str> = by.iter().map(String::as_str).collect();
        let place = Place::new(1);
        // Strace, when it is killed, lets its child go on.
        place.replica_by(&by, 0, &["--die_with_parent"]).process.wait_for("listens on");
    }
}

#[test]
fn a_receive_buffer_that_the_host_keeps_small_is_said_once_it_was_full() {
    // The first option that a replica sets is the size of that buffer.
    let inject = "inject=setsockopt:error=EPERM:when=1";
    let by = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", inject];
    let Some(by) = permitted(&[&by]) else { return };
    let place = Place::new(0);
    // Strace, when it is killed, lets its child go on.
    let mut replica = place.replica_by(&by, 0, &["--die_with_parent"]);
    replica.process.wait_for("warm-up complete");
    let said = |replica: &mut Replica| {
        replica.process.said.extend(replica.process.lines.try_iter());
        let said = &replica.process.said;
        said.iter().find(|line| line.contains("receive buffer")).cloned()
    };
    assert_eq!(said(&mut replica), None, "a small buffer alone costs nothing");
    let config = fs::read_to_string(place.dir.path().join("config.txt")).expect("it is there");
    let to = config.trim().replace(' ', ":");
    let from = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let line = until("datagrams are dropped", || {
        (0..200).for_each(|_| drop(from.send_to(&[0; 60_000], &to)));
        said(&mut replica)
    });
    let words = ["[WARN] replica 0: the kernel has dropped ", "net.core.rmem_max=4194304"];
    assert_says(&line, &words);
}
