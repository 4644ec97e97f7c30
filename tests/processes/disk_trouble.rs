//! Real processes on real disks that are full, broken or read-only.
//!
//! A replica whose disk fails says in one line what happened, and exits with code 1. The
//! others go on, and clients notice only a delay. Once the disk works again the replica is a
//! member as before. Then `load` judges the chat logs: no completed line is missing, and no
//! line is there twice.
//!
//! Some faults need no privileges: a limit on the size of files, which the kernel checks at each
//! write, and a file that answers writes with an I/O error. For the others the test mounts a
//! disk of its own ([`SmallDisk`]) if the system permits it. If it does not, the test says on
//! stderr what was not tested.

use crate::load::*;
use crate::support::*;
use multipaxos::storage::acceptor_log::SEGMENT_BYTES;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The length of a line: a few hundred of these lines fill a segment.
const LONG: usize = 16_000;

/// Waits until a replica ends because of its disk. Returns the line that says so.
#[track_caller]
pub(crate) fn one_line(replica: &mut Replica, code: i32) -> String {
    let (status, said) = replica.process.end();
    assert_eq!(status.code(), Some(code), "{said:#?}");
    let is_routine = |line: &&String| line.contains("[INFO]") || line.contains("[WARN]");
    let last: Vec<&String> = said.iter().skip_while(is_routine).collect();
    assert_eq!(last.len(), 1, "{said:#?}");
    last[0].clone()
}

#[track_caller]
pub(crate) fn assert_says(line: &str, words: &[&str]) {
    assert!(words.iter().all(|words| line.contains(words)), "{words:?} in {line:?}");
}

/// The others have everything that the replica wrote before its end, but for the last line,
/// which may be torn.
#[track_caller]
fn assert_prefix(place: &Place, id: usize, of: usize) {
    let written = place.log(id);
    let whole = written.rfind('\n').map_or(0, |end| end + 1);
    until("the others have all that it wrote", || {
        place.log(of).starts_with(&written[..whole]).then_some(())
    });
}

/// From here on, no file of the replica can be written at or beyond this byte.
pub(crate) fn limit_files(replica: &Replica, bytes: u64) {
    let pid = Pid::from_raw(replica.process.child.0.id() as i32).expect("a process id");
    let limit = Rlimit { current: Some(bytes), ..getrlimit(Resource::Fsize) };
    prlimit(Some(pid), Resource::Fsize, limit).expect("it is limited");
}

#[test]
fn a_replica_that_may_write_nothing_more_ends_in_one_line_and_comes_back() {
    // The victims are the leader and a follower.
    for victim in [0, 2] {
        let place = Place::new(1);
        let mut cluster = place.cluster();
        let load = Load::begin(&place, &[]);
        let mut completed = load.more(100);
        limit_files(&cluster[victim], 0);
        let line = one_line(&mut cluster[victim], 1);
        assert_says(&line, &[&format!("replica {victim}: "), "File too large"]);
        completed.extend(load.more(200));
        assert_prefix(&place, victim, 1);
        cluster[victim] = place.restarted(victim, &[]);
        completed.extend(load.more(100));
        completed.extend(load.end());
        judge(&place, &completed);
    }
}

#[test]
fn a_chat_log_that_may_not_grow_ends_the_leader_before_anybody_is_told() {
    let place = Place::new(1);
    let mut cluster = place.cluster();
    // No segment of the acceptor's log is this long, but the chat log soon is.
    let limit = SEGMENT_BYTES + LONG as u64 * 3 / 2;
    limit_files(&cluster[0], limit);
    let load = Load::of_lines(&place, &[], LONG);
    let line = one_line(&mut cluster[0], 1);
    assert_says(&line, &["replica 0: learner: ", "learner0.txt: File too large"]);
    let written = fs::metadata(place.logs().join("learner0.txt")).expect("it is there").len();
    assert_eq!(written, limit, "up to the last byte that there is room for");
    let mut completed = load.more(50);
    assert_prefix(&place, 0, 1);
    cluster[0] = place.restarted(0, &[]);
    completed.extend(load.more(50));
    completed.extend(load.end());
    judge_lines(&place, &completed, LONG);
}

#[test]
fn a_chat_log_that_answers_with_an_io_error_ends_the_leader() {
    let place = Place::new(1);
    fs::create_dir(place.logs()).expect("a folder");
    let path = place.logs().join("learner0.txt");
    // A process cannot write to the beginning of its memory.
    symlink("/proc/self/mem", &path).expect("a link");
    // Nothing waits for this disk, so its first write is the first that fails.
    let lazy = ["--durability", "os"];
    let mut cluster = place.cluster_with(&lazy);
    let load = Load::begin(&place, &[]);
    let line = one_line(&mut cluster[0], 1);
    assert_says(&line, &["replica 0: learner: ", "learner0.txt: Input/output error"]);
    let mut completed = load.more(100);
    // The new disk is empty, and nothing is lost, because nothing was written.
    fs::remove_file(&path).expect("the link");
    File::create(&path).expect("an empty file");
    cluster[0] = place.restarted(0, &lazy);
    completed.extend(load.more(100));
    completed.extend(load.end());
    judge(&place, &completed);
}

#[test]
fn a_replica_without_room_to_start_says_so_and_starts_once_there_is_some() {
    let place = Place::new(1);
    // The unit is 512 or 1,024 bytes: in both cases less than the first segment.
    let limited = ["sh", "-c", "ulimit -f 1000; exec \"$0\" \"$@\""];
    let mut first = place.replica_by(&limited, 2, &[]);
    assert_says(&one_line(&mut first, 1), &["replica2/acceptor-", "File too large"]);
    let mut cluster = place.cluster();
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(50);
    // The same holds for a member that was killed.
    cluster.remove(2).kill();
    let mut again = place.replica_by(&limited, 2, &[]);
    assert_says(&one_line(&mut again, 1), &["replica2/acceptor-", "File too large"]);
    completed.extend(load.more(50));
    cluster.push(place.restarted(2, &[]));
    completed.extend(load.more(50));
    completed.extend(load.end());
    judge(&place, &completed);
}

// --- a mounted disk --------------------------------------------------------------

/// A small file system in memory, in its own mount namespace, for the log directory of one
/// replica. Only programs that are started with [`by`](Self::by) see it.
struct SmallDisk {
    /// The process that holds the namespace. It ends with its stdin.
    holder: Guard,
    /// The mount point.
    at: PathBuf,
    /// The command that starts a program inside.
    enter: Vec<String>,
}

impl SmallDisk {
    /// Mounts a disk for replica 0 of a place. Returns `None` where the system does not permit it,
    /// and says so on stderr.
    fn mount(place: &Place, bytes: u64) -> Option<SmallDisk> {
        let at = place.dir.path().join("small");
        fs::create_dir(&at).expect("a folder");
        let mut refusals = Vec::new();
        // Mount as root, or as a user who may be root in a user namespace.
        for (unshare, nsenter) in [
            (&["--mount"][..], &["--mount"][..]),
            (
                &["--user", "--map-root-user", "--mount"],
                &["--user", "--preserve-credentials", "--mount"],
            ),
        ] {
            match Self::mount_by(unshare, nsenter, &at, bytes) {
                Ok(disk) => {
                    fs::create_dir_all(place.logs()).expect("a folder");
                    let seen = disk.seen("learner0.txt");
                    symlink(seen, place.logs().join("learner0.txt")).expect("a link");
                    return Some(disk);
                }
                Err(refused) => refusals.push(refused),
            }
        }
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let why = refusals.join("; ");
        // Not with a macro: the test harness captures what macros print.
        let _ = writeln!(io::stderr(), "{test}: NOT TESTED, no file system can be mounted: {why}");
        None
    }

    fn mount_by(
        unshare: &[&str],
        nsenter: &[&str],
        at: &PathBuf,
        bytes: u64,
    ) -> Result<SmallDisk, String> {
        let script = "mount -t tmpfs -o size=$1 tmpfs \"$0\" && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", script]).arg(at).arg(bytes.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut holder = Guard(holder);
        let mut said = String::new();
        let stdout = holder.0.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut said).expect("UTF-8");
        if said != "mounted\n" {
            let mut refused = String::new();
            let mut stderr = holder.0.stderr.take().expect("a pipe");
            stderr.read_to_string(&mut refused).expect("UTF-8");
            return Err(refused.trim().to_owned());
        }
        let target = holder.0.id().to_string();
        let enter = [&["nsenter", "--target", &target], nsenter, &["--"]].concat();
        let enter = enter.into_iter().map(str::to_owned).collect();
        let disk = SmallDisk { holder, at: at.clone(), enter };
        disk.run("true").map(|()| disk)
    }

    /// Runs a shell command inside. `$0` is the mount point.
    fn run(&self, script: &str) -> Result<(), String> {
        let [program, args @ ..] = &self.enter[..] else { unreachable!("it is a command") };
        let mut command = Command::new(program);
        command.args(args).args(["sh", "-c", script]).arg(&self.at);
        let ran = command.output().map_err(|error| format!("{program}: {error}"))?;
        if ran.status.success() { Ok(()) } else { Err(text(&ran.stderr).trim().to_owned()) }
    }

    /// Replica 0, with its log directory on this disk.
    fn replica(&self, place: &Place, options: &[&str]) -> Replica {
        let by: Vec<&str> = self.enter.iter().map(String::as_str).collect();
        let at = self.at.to_str().expect("UTF-8");
        // If an option is repeated, the last one counts.
        place.replica_by(&by, 0, &[&["--log_dir", at], options].concat())
    }

    /// All replicas, warmed up. Replica 0 is on this disk.
    fn cluster(&self, place: &Place) -> Vec<Replica> {
        let mut cluster = vec![self.replica(place, &[]), place.replica(1), place.replica(2)];
        for replica in &mut cluster {
            replica.process.wait_for("warm-up complete");
        }
        cluster
    }

    fn restarted(&self, place: &Place) -> Replica {
        let mut replica = self.replica(place, &[]);
        replica.process.wait_for("warm-up complete");
        replica
    }

    /// From here on no file can be opened for writing, made or renamed. Open files stay writable.
    fn make_read_only(&self) {
        let covered = self.run("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"");
        covered.expect("it is read-only");
    }

    fn make_writable(&self) {
        self.run("umount \"$0\"").expect("it is writable again");
    }

    /// A file of this disk, seen from outside.
    fn seen(&self, name: &str) -> PathBuf {
        let inside = self.at.strip_prefix("/").expect("it is absolute").join(name);
        PathBuf::from(format!("/proc/{}/root", self.holder.0.id())).join(inside)
    }

    /// Fills the disk. Returns the file that takes the space.
    fn fill(&self) -> PathBuf {
        let path = self.seen("ballast");
        let mut ballast = File::create(&path).expect("there is room");
        let mut piece = &[0; 1 << 16][..];
        while !piece.is_empty() {
            match ballast.write(piece) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    piece = &piece[..piece.len() / 2];
                }
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
        path
    }
}

#[test]
fn a_disk_that_is_full_ends_the_leader_and_is_good_again_once_there_is_room() {
    let place = Place::new(1);
    let Some(disk) = SmallDisk::mount(&place, 64 << 20) else { return };
    let mut cluster = disk.cluster(&place);
    let load = Load::begin(&place, &[]);
    let mut completed = load.more(200);
    let ballast = disk.fill();
    let line = one_line(&mut cluster[0], 1);
    assert_says(&line, &["replica 0: ", "No space left on device"]);
    completed.extend(load.more(200));
    assert_prefix(&place, 0, 1);
    // Nothing has changed: the replica says the same, and does no damage.
    let line = one_line(&mut disk.replica(&place, &[]), 1);
    assert_says(&line, &["No space left on device"]);
    fs::remove_file(ballast).expect("there is room again");
    cluster[0] = disk.restarted(&place);
    completed.extend(load.more(200));
    completed.extend(load.end());
    judge(&place, &completed);
}

#[test]
fn a_disk_that_becomes_read_only_ends_the_leader_and_is_good_again_once_it_is_not() {
    let place = Place::new(1);
    let Some(disk) = SmallDisk::mount(&place, 64 << 20) else { return };
    let mut cluster = disk.cluster(&place);
    let load = Load::of_lines(&place, &[], LONG);
    let mut completed = load.more(50);
    disk.make_read_only();
    let line = one_line(&mut cluster[0], 1);
    assert_says(&line, &["replica 0: ", "Read-only file system"]);
    completed.extend(load.more(50));
    assert_prefix(&place, 0, 1);
    let line = one_line(&mut disk.replica(&place, &[]), 64);
    assert_says(&line, &["--log_dir ", "replica0", "Read-only file system"]);
    disk.make_writable();
    cluster[0] = disk.restarted(&place);
    completed.extend(load.more(50));
    completed.extend(load.end());
    judge_lines(&place, &completed, LONG);
}

#[test]
fn a_log_directory_that_is_read_only_is_bad_usage() {
    let place = Place::new(1);
    let Some(disk) = SmallDisk::mount(&place, 64 << 20) else { return };
    disk.make_read_only();
    let at = disk.at.display();
    let line = one_line(&mut disk.replica(&place, &[]), 64);
    assert_says(&line, &[&format!("--log_dir {at}/replica0: Read-only file system")]);
    let elsewhere = place.dir.path().join("data");
    let data_dir = ["--data_dir", elsewhere.to_str().expect("UTF-8")];
    let line = one_line(&mut disk.replica(&place, &data_dir), 64);
    assert_says(&line, &[&format!("--log_dir {at}/learner0.txt: Read-only file system")]);
    let inside = format!("{at}/data");
    let line = one_line(&mut disk.replica(&place, &["--data_dir", &inside]), 64);
    assert_says(&line, &[&format!("--data_dir {at}/data: Read-only file system")]);
}
