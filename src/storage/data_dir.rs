//! The data directory: its replica, its cluster, and how its last run ended.
//!
//! One small file, `identity`, says all of that. It is replaced whole (`atomic_file`), so
//! no part of it can be lost or come back alone:
//!
//! - the directory's random id, durable before the first datagram leaves;
//! - the replica's id and how many replicas there are;
//! - the *started record*: the directories of the cluster's members, and the chat log with
//!   which the cluster began, if it did not begin empty;
//! - the durability of the last run, the host's boot id at that time, and, under `os`,
//!   whether that run ended cleanly.
//!
//! A directory without that file counts as empty, whatever else is in it. The file `lock`
//! is locked for as long as a process uses the directory.
//!
//! A replica that may have forgotten what it promised must not vote under its old id
//! (Michael et al., *Recovering Shared Objects Without Stable Storage*, DISC '17). So
//! a directory gets a new id and counts as empty in two cases: its last run was under
//! `none`, or its last run was under `os`, did not end cleanly, and the host has started
//! anew since. (S6, S8)
//!
//! **Does not** notice that it was put back from an older copy: the other replicas do (S10). Nor
//! does it protect against intent: directory and replica ids are no secrets.

use super::Durability;
use super::acceptor_log::is_log_file;
use super::atomic_file::{self, Magic};
use super::disk::{Disk, DiskFile, RealDisk};
use super::error::OpenError;
use super::upkeep::Upkeep;
use crate::paxos::Storage;
use crate::paxos::bootstrap::Record;
use crate::types::{DirectoryId, Origin, ReplicaId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::Path;

/// The name of the file that makes a directory a data directory.
pub const IDENTITY: &str = "identity";
/// The name of the file that is locked.
pub const LOCK: &str = "lock";

const MAGIC: Magic = *b"mpxdir01";

/// Linux has an id of the host's current start here.
const HOST_BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// And here, for how many seconds the host has been up.
const HOST_UPTIME: &str = "/proc/uptime";

/// While a replica runs under `os`, it notes this often how long the host has been up.
const UPTIME_NOTED_S: u64 = 10;

/// The replica and the run for which a directory is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// The replica's id.
    pub replica: ReplicaId,
    /// The number of replicas in the cluster.
    pub n: usize,
    /// The durability of this run.
    pub durability: Durability,
    /// The host's current start, if the host says which it is.
    pub host_boot: Option<HostBoot>,
    /// A random id, for a directory that has none.
    pub drawn: DirectoryId,
}

/// A start of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostBoot {
    /// An id that each start has alone. Some containers show the same id for ever.
    pub id: String,
    /// For how many seconds the host has been up. So a start is known for another one even
    /// where the id stays the same.
    pub up_s: u64,
}

impl HostBoot {
    /// The present start of this host.
    ///
    /// # Errors
    ///
    /// When the host does not say; the error names the file.
    pub fn present() -> io::Result<HostBoot> {
        let id = read_first_word(HOST_BOOT)?;
        // Some containers show zeros.
        if !id.contains(|c: char| c.is_ascii_hexdigit() && c != '0') {
            return Err(io::Error::other(format!("{HOST_BOOT}: holds no id, but {id:?}")));
        }
        let up = read_first_word(HOST_UPTIME)?;
        let up_s = up.split('.').next().and_then(|seconds| seconds.parse().ok());
        let no_time = || io::Error::other(format!("{HOST_UPTIME}: holds no time, but {up:?}"));
        Ok(HostBoot { id, up_s: up_s.ok_or_else(no_time)? })
    }

    /// What the identity file holds of it.
    fn noted(start: Option<&HostBoot>) -> String {
        start.map_or_else(String::new, |HostBoot { id, up_s }| format!("{id} {up_s}"))
    }

    fn read(noted: &str) -> HostBoot {
        // Earlier builds noted only the id.
        let (id, up_s) = noted.split_once(' ').unwrap_or((noted, "0"));
        HostBoot { id: id.into(), up_s: up_s.parse().unwrap_or(0) }
    }
}

fn read_first_word(file: &str) -> io::Result<String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    directory: DirectoryId,
    replica: ReplicaId,
    n: u64,
    members: Option<Vec<DirectoryId>>,
    durability: Durability,
    host_boot: String,
    clean: bool,
    origin: Option<Origin>,
}

/// What a directory was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It never belonged to a cluster. Its logs must be begun.
    Fresh,
    /// It belongs to the cluster of these directories, and has forgotten nothing. Its logs
    /// must be opened.
    Member(Vec<DirectoryId>),
    /// It belonged to a cluster, but may have forgotten something. It counts as empty, under
    /// a new id, and its logs must be begun.
    Wiped(WipeReason),
}

/// Why a directory counts as empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WipeReason {
    /// Its last run kept the acceptor's state in memory alone.
    RanInMemory,
    /// Its last run did not wait for the disk, and the host has started anew since.
    HostRestarted,
    /// Its identity file has gone.
    IdentityLost,
}

impl fmt::Display for WipeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WipeReason::RanInMemory => "it last ran under --durability none",
            WipeReason::HostRestarted => {
                "it last ran under --durability os, and the host has started anew since"
            }
            WipeReason::IdentityLost => "its identity file has gone",
        })
    }
}

/// Why a directory cannot be used.
#[derive(Debug)]
pub enum Refused {
    /// Another process uses it.
    InUse {
        /// The directory's lock.
        file: String,
    },
    /// It belongs to another replica, or to a cluster of another size.
    Foreign {
        /// The file that says so.
        file: String,
        /// The replica to which it belongs.
        replica: ReplicaId,
        /// The number of replicas in the cluster.
        n: u64,
        /// The replica that wanted to use it, and the number of replicas in its cluster.
        wanted: (ReplicaId, u64),
    },
    /// `os` is wanted, but the host's boot id does not change when the host starts anew.
    ConstantBootId,
    /// It cannot be read or written, or is damaged.
    Unusable(OpenError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::InUse { file } => write!(f, "{file}: in use by another process"),
            Refused::Foreign { file, replica, n, wanted: (other, other_n) } => {
                write!(f, "{file}: belongs to replica {replica} of a cluster of {n}, ")?;
                if n == other_n {
                    write!(f, "not to replica {other}: use another --replica_id or --data_dir")
                } else {
                    write!(
                        f,
                        "and the configuration lists {other_n}: use the --config_path of that \
                         cluster, or another --log_dir for a new one"
                    )
                }
            }
            Refused::ConstantBootId => write!(
                f,
                "{HOST_BOOT} is the same after a new start of the host, so a power cut cannot be \
                 told from a kill: use --durability sync"
            ),
            Refused::Unusable(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<OpenError> for Refused {
    fn from(error: OpenError) -> Self {
        Refused::Unusable(error)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused::Unusable(OpenError::Io(error))
    }
}

/// What a data directory is to a replica that would start on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// It is missing, or nothing has begun in it.
    New,
    /// It belongs to a member of a cluster, or to one that was a member.
    Member,
}

/// Looks at the data directory of a replica that does not run, and writes nothing.
///
/// # Errors
///
/// When another process uses it, when it belongs to another replica or cluster, or when it cannot
/// be read.
pub fn look(folder: &Path, replica: ReplicaId, n: usize) -> Result<Looked, Refused> {
    if !folder.try_exists()? {
        return Ok(Looked::New);
    }
    let disk = RealDisk::open(folder)?;
    if let Some(lock) = disk.open(LOCK)?
        && !lock.try_lock()?
    {
        return Err(Refused::InUse { file: disk.describe(LOCK) });
    }
    let file = disk.describe(IDENTITY);
    let Some(bytes) = atomic_file::read(&disk, IDENTITY, MAGIC)? else { return Ok(Looked::New) };
    let held = read_identity(&bytes).ok_or(OpenError::Damaged {
        file: file.clone(),
        offset: 0,
        what: "it passes its check but cannot be understood",
    })?;
    let wanted = (replica, n as u64);
    if (held.replica, held.n) != wanted {
        let Identity { replica, n, .. } = held;
        return Err(Refused::Foreign { file, replica, n, wanted });
    }
    Ok(if held.members.is_some() { Looked::Member } else { Looked::New })
}

/// A data directory in use.
#[derive(Debug)]
pub struct DataDir<D: Disk> {
    disk: D,
    /// Locked for as long as this lives.
    _lock: D::File,
    identity: Identity,
    unsaved: bool,
    /// The durability of this run.
    durability: Durability,
    /// Says for how long the host has been up.
    uptime_s: Option<fn() -> u64>,
}

/// Whether storage gives this name to a file in a data directory.
pub fn is_data_file(name: &str) -> bool {
    use super::decided_log::{CHECKPOINT, JOURNAL, MENDING, OVERFLOW};
    let replaced = |file: &str| name == file || name == atomic_file::temporary(file);
    [JOURNAL, OVERFLOW, MENDING, LOCK].contains(&name)
        || replaced(IDENTITY)
        || replaced(CHECKPOINT)
        || is_log_file(name)
}

impl<D: Disk> DataDir<D> {
    /// Locks the directory, makes its identity if it has none, and says what it is. On return
    /// its identity is durable. Once its logs are open, the caller says so by
    /// [`opened`](Self::opened).
    ///
    /// # Errors
    ///
    /// When another process uses it, when it belongs to another replica or cluster, or when
    /// it cannot be read.
    pub fn open(disk: D, purpose: Purpose) -> Result<(Self, Found), Refused> {
        let lock = match disk.open(LOCK)? {
            Some(file) => file,
            None => disk.create(LOCK)?,
        };
        if !lock.try_lock()? {
            return Err(Refused::InUse { file: disk.describe(LOCK) });
        }
        let held = atomic_file::read(&disk, IDENTITY, MAGIC)?;
        let file = disk.describe(IDENTITY);
        let held = match held {
            Some(bytes) => Some(read_identity(&bytes).ok_or(OpenError::Damaged {
                file: file.clone(),
                offset: 0,
                what: "it passes its check but cannot be understood",
            })?),
            None => None,
        };
        let fresh = Identity {
            directory: purpose.drawn,
            replica: purpose.replica,
            n: purpose.n as u64,
            members: None,
            durability: purpose.durability,
            host_boot: HostBoot::noted(purpose.host_boot.as_ref()),
            clean: false,
            origin: None,
        };
        if let (Durability::Os, Some(held), Some(now)) =
            (purpose.durability, &held, &purpose.host_boot)
        {
            let noted = HostBoot::read(&held.host_boot);
            if noted.id == now.id && now.up_s < noted.up_s {
                return Err(Refused::ConstantBootId);
            }
        }
        let (identity, found) = match held {
            None if disk.list()?.iter().any(|name| is_log_file(name)) => {
                (fresh, Found::Wiped(WipeReason::IdentityLost))
            }
            None => (fresh, Found::Fresh),
            Some(held) if held.replica != purpose.replica || held.n != fresh.n => {
                let Identity { replica, n, .. } = held;
                let wanted = (purpose.replica, fresh.n);
                return Err(Refused::Foreign { file, replica, n, wanted });
            }
            Some(Identity { members: None, directory, .. }) => {
                (Identity { directory, ..fresh }, Found::Fresh)
            }
            Some(held) => match wipe_reason(&held, purpose.host_boot.as_ref()) {
                Some(why) => (fresh, Found::Wiped(why)),
                None => {
                    let found = Found::Member(held.members.clone().unwrap_or_default());
                    let durability = until_opened(&held, purpose.durability);
                    let Identity { directory, members, origin, .. } = held;
                    (Identity { directory, members, origin, durability, ..fresh }, found)
                }
            },
        };
        let Purpose { durability, .. } = purpose;
        let mut opened =
            DataDir { disk, _lock: lock, identity, unsaved: true, durability, uptime_s: None };
        opened.save()?;
        Ok((opened, found))
    }

    /// The logs are open, and as durable as this run's durability promises: notes that
    /// durability, durably.
    ///
    /// # Errors
    ///
    /// When the note may not be durable.
    pub fn opened(&mut self) -> io::Result<()> {
        self.unsaved |= self.identity.durability != self.durability;
        self.identity.durability = self.durability;
        self.save()
    }

    /// From now on, a run under `os` notes from time to time for how long the host has been
    /// up. So a later start of the host is known even where the boot id stays the same.
    pub fn note_uptime(&mut self, uptime_s: fn() -> u64) {
        self.uptime_s = Some(uptime_s);
    }

    /// The logs were begun with the lines of this chat log. Is noted together with the started
    /// record, and only then counts.
    pub fn begins_with(&mut self, origin: Origin) {
        assert!(self.identity.members.is_none(), "a member has begun already");
        self.identity.origin = Some(origin);
    }

    /// This directory has followed a cluster in which it had no vote, and is to begin another one.
    pub fn leaves_its_cluster(&mut self) {
        (self.identity.members, self.identity.origin) = (None, None);
        self.unsaved = true;
    }

    /// The chat log with which its logs were begun, if they were not begun empty. Once it has
    /// started, the one with which its cluster began.
    pub fn origin(&self) -> Option<Origin> {
        self.identity.origin
    }

    /// The directory's id.
    pub fn directory(&self) -> DirectoryId {
        self.identity.directory
    }

    /// Notes a clean end: everything is on the disk, and nothing more will be written. After
    /// a new start of the host, the state of a run under `os` counts only with that note. A
    /// run under `sync` needs none, and a run under `none` keeps nothing. The note holds
    /// until the directory is opened again.
    ///
    /// # Errors
    ///
    /// When the note may not be durable.
    pub fn end(mut self) -> io::Result<()> {
        if self.identity.durability != Durability::Os {
            return Ok(());
        }
        self.identity.clean = true;
        self.unsaved = true;
        self.save()
    }

    fn save(&mut self) -> io::Result<()> {
        if self.unsaved {
            let contents = postcard::to_stdvec(&self.identity).map_err(io::Error::other)?;
            atomic_file::replace(&self.disk, IDENTITY, MAGIC, &contents, true)?;
            self.unsaved = false;
        }
        Ok(())
    }
}

/// The durability to note until the logs are open. What a killed run under `os` wrote is
/// durable only then: a power cut before must count as one under `os`.
fn until_opened(held: &Identity, wanted: Durability) -> Durability {
    match (held.durability, wanted) {
        (Durability::Os, Durability::Sync) if !held.clean => Durability::Os,
        _ => wanted,
    }
}

/// Why a directory that belonged to a cluster may have forgotten something.
fn wipe_reason(held: &Identity, host_boot: Option<&HostBoot>) -> Option<WipeReason> {
    let noted = HostBoot::read(&held.host_boot);
    let same_boot = host_boot.is_some_and(|now| now.id == noted.id && now.up_s >= noted.up_s);
    match held.durability {
        Durability::Sync => None,
        Durability::Os if held.clean || same_boot => None,
        Durability::Os => Some(WipeReason::HostRestarted),
        Durability::None => Some(WipeReason::RanInMemory),
    }
}

fn read_identity(bytes: &[u8]) -> Option<Identity> {
    let read = |bytes: &[u8]| {
        let (identity, rest) = postcard::take_from_bytes::<Identity>(bytes).ok()?;
        rest.is_empty().then_some(identity)
    };
    // Earlier builds noted no origin, which comes last.
    read(bytes).or_else(|| read(&[bytes, &[0]].concat()))
}

impl<D: Disk> Storage<Record> for DataDir<D> {
    fn append(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        for Record::Started { members, origin } in records.drain(..) {
            (self.identity.members, self.identity.origin) = (Some(members), origin);
            self.unsaved = true;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.save()
    }
}

impl<D: Disk> Upkeep for DataDir<D> {
    fn rest(&mut self) -> io::Result<()> {
        let (Durability::Os, Some(uptime_s)) = (self.durability, self.uptime_s) else {
            return Ok(());
        };
        let noted = HostBoot::read(&self.identity.host_boot);
        let up_s = uptime_s();
        if up_s >= noted.up_s + UPTIME_NOTED_S {
            self.identity.host_boot = HostBoot::noted(Some(&HostBoot { up_s, ..noted }));
            self.unsaved = true;
            self.save()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Slot;
    use durable::sim_disk::{Fault, SimDisk, Survival};
    use seeds::stream;

    fn disk(seed: u64) -> SimDisk {
        SimDisk::new(stream(seed, "disk"))
    }

    fn boot(id: &str, up_s: u64) -> Option<HostBoot> {
        Some(HostBoot { id: id.into(), up_s })
    }

    fn purpose(drawn: u64) -> Purpose {
        Purpose {
            replica: ReplicaId(1),
            n: 3,
            durability: Durability::Sync,
            host_boot: boot("boot", 5),
            drawn: DirectoryId(drawn),
        }
    }

    fn members() -> Vec<DirectoryId> {
        [4, 5, 6].map(DirectoryId).to_vec()
    }

    fn start<D: Disk>(dir: &mut DataDir<D>) -> io::Result<()> {
        let origin = dir.origin();
        dir.append(&mut vec![Record::Started { members: members(), origin }])?;
        dir.sync()
    }

    #[test]
    fn identity_and_started_record_survive_a_power_cut() {
        let mut disk = disk(1);
        let (dir, found) = DataDir::open(disk.clone(), purpose(5)).unwrap();
        assert_eq!((dir.directory(), found), (DirectoryId(5), Found::Fresh));
        disk.power_cut(Survival::Nothing);
        // It never started, so it keeps its id and is still fresh.
        let (mut dir, found) = DataDir::open(disk.clone(), purpose(6)).unwrap();
        assert_eq!((dir.directory(), found), (DirectoryId(5), Found::Fresh));
        start(&mut dir).unwrap();
        disk.power_cut(Survival::Nothing);
        let (dir, found) = DataDir::open(disk.clone(), purpose(7)).unwrap();
        assert_eq!((dir.directory(), found), (DirectoryId(5), Found::Member(members())));
    }

    #[test]
    fn a_power_cut_at_any_call_leaves_the_old_identity_or_the_new() {
        for seed in 0..20 {
            for call in 0.. {
                let mut disk = disk(seed);
                disk.cut_at(call, (seed * 7) as usize);
                let mut told = None;
                let mut started = false;
                if let Ok((mut dir, _)) = DataDir::open(disk.clone(), purpose(5)) {
                    told = Some(dir.directory());
                    started = start(&mut dir).is_ok();
                }
                let dark = disk.is_dark();
                disk.power_cut(Survival::Random);
                let (dir, found) = DataDir::open(disk.clone(), purpose(6)).unwrap();
                assert!(told.is_none_or(|told| told == dir.directory()), "call {call}");
                match found {
                    Found::Member(found) => assert_eq!(found, members()),
                    Found::Fresh => assert!(!started, "call {call}"),
                    Found::Wiped(why) => panic!("call {call}: {why}"),
                }
                if !dark {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_half_made_directory_counts_as_absent() {
        let disk = disk(1);
        let half = disk.create(&atomic_file::temporary(IDENTITY)).unwrap();
        half.write_at(0, b"mpxdir01half").unwrap();
        let (dir, found) = DataDir::open(disk.clone(), purpose(9)).unwrap();
        assert_eq!((dir.directory(), found), (DirectoryId(9), Found::Fresh));
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let mut disk = disk(1);
        let (held, _) = DataDir::open(disk.clone(), purpose(5)).unwrap();
        let second = DataDir::open(disk.clone(), purpose(6));
        assert!(matches!(second, Err(Refused::InUse { .. })));
        disk.crash_process();
        assert!(DataDir::open(disk.clone(), purpose(6)).is_ok());
        drop(held);
    }

    #[test]
    fn another_replicas_or_another_clusters_directory_is_refused() {
        let disk = disk(1);
        drop(DataDir::open(disk.clone(), purpose(5)).unwrap());
        let others = [
            (
                Purpose { replica: ReplicaId(2), ..purpose(6) },
                "not to replica 2: use another --replica_id or --data_dir",
            ),
            (
                Purpose { n: 5, ..purpose(6) },
                "and the configuration lists 5: use the --config_path of that cluster, or another \
                 --log_dir for a new one",
            ),
        ];
        for (other, remedy) in others {
            let said = DataDir::open(disk.clone(), other).unwrap_err().to_string();
            let belongs = "identity: belongs to replica 1 of a cluster of 3, ";
            assert_eq!(said, format!("{belongs}{remedy}"));
        }
        assert!(DataDir::open(disk.clone(), purpose(6)).is_ok());
    }

    #[test]
    fn a_directory_that_may_have_forgotten_a_promise_counts_as_wiped() {
        use Durability::{None, Os, Sync};
        let anew = Some(WipeReason::HostRestarted);
        for (ran, ended, rebooted, why) in [
            (Sync, false, true, Option::None),
            (Os, false, false, Option::None),
            (Os, false, true, anew),
            (Os, true, true, Option::None),
            (None, false, false, Some(WipeReason::RanInMemory)),
            (None, true, true, Some(WipeReason::RanInMemory)),
        ] {
            let disk = disk(1);
            let first = Purpose { durability: ran, ..purpose(5) };
            let (mut dir, _) = DataDir::open(disk.clone(), first).unwrap();
            start(&mut dir).unwrap();
            if ended {
                dir.end().unwrap()
            } else {
                drop(dir)
            }
            let now = if rebooted { "another" } else { "boot" };
            let second = Purpose { host_boot: boot(now, 5), ..purpose(6) };
            let (dir, found) = DataDir::open(disk.clone(), second).unwrap();
            let expected = why.map_or(Found::Member(members()), Found::Wiped);
            assert_eq!(found, expected, "{ran:?} ended {ended} rebooted {rebooted}");
            let id = if why.is_some() { 6 } else { 5 };
            assert_eq!(dir.directory(), DirectoryId(id));
        }
    }

    #[test]
    fn a_host_whose_boot_id_stays_the_same_is_found_out_by_its_uptime() {
        let under =
            |durability, up_s| Purpose { durability, host_boot: boot("boot", up_s), ..purpose(6) };
        let disk = disk(1);
        let (mut dir, _) = DataDir::open(disk.clone(), under(Durability::Os, 20)).unwrap();
        start(&mut dir).unwrap();
        dir.note_uptime(|| 29);
        dir.rest().unwrap();
        drop(dir);
        // It was noted at second 20 only, so a second start at second 21 looks like the first.
        let (mut dir, found) = DataDir::open(disk.clone(), under(Durability::Os, 21)).unwrap();
        assert_eq!(found, Found::Member(members()));
        dir.note_uptime(|| 31);
        dir.rest().unwrap();
        drop(dir);
        let refused = DataDir::open(disk.clone(), under(Durability::Os, 30));
        assert!(matches!(refused, Err(Refused::ConstantBootId)), "{refused:?}");
        let (dir, found) = DataDir::open(disk.clone(), under(Durability::Sync, 30)).unwrap();
        assert_eq!(found, Found::Wiped(WipeReason::HostRestarted));
        drop(dir);
    }

    #[test]
    fn what_a_killed_run_under_os_wrote_is_worth_no_more_until_the_logs_are_open() {
        for (is_opened, expected) in
            [(false, Found::Wiped(WipeReason::HostRestarted)), (true, Found::Member(members()))]
        {
            let mut disk = disk(1);
            let os = Purpose { durability: Durability::Os, ..purpose(5) };
            let (mut dir, _) = DataDir::open(disk.clone(), os).unwrap();
            start(&mut dir).unwrap();
            disk.crash_process();
            let (mut dir, _) = DataDir::open(disk.clone(), purpose(6)).unwrap();
            if is_opened {
                dir.opened().unwrap();
            }
            disk.power_cut(Survival::Nothing);
            let again = Purpose { host_boot: boot("another", 5), ..purpose(7) };
            assert_eq!(DataDir::open(disk.clone(), again).unwrap().1, expected);
        }
    }

    #[test]
    fn a_clean_end_counts_once() {
        let mut disk = disk(1);
        let under_os = |boot: &str| Purpose {
            durability: Durability::Os,
            host_boot: super::tests::boot(boot, 5),
            ..purpose(5)
        };
        let (mut dir, _) = DataDir::open(disk.clone(), under_os("one")).unwrap();
        start(&mut dir).unwrap();
        dir.end().unwrap();
        disk.power_cut(Survival::Nothing);
        let (dir, found) = DataDir::open(disk.clone(), under_os("two")).unwrap();
        assert_eq!(found, Found::Member(members()));
        drop(dir);
        // The note is removed, durably, before anything else happens to the directory.
        disk.power_cut(Survival::Nothing);
        let (_, found) = DataDir::open(disk.clone(), under_os("three")).unwrap();
        assert_eq!(found, Found::Wiped(WipeReason::HostRestarted));
    }

    #[test]
    fn a_flipped_bit_is_refused() {
        let mut disk = disk(1);
        let (mut dir, _) = DataDir::open(disk.clone(), purpose(5)).unwrap();
        start(&mut dir).unwrap();
        disk.power_cut(Survival::Everything);
        let (_, length) =
            disk.durable_files().into_iter().find(|(name, _)| name == IDENTITY).unwrap();
        for bit in 0..length as u32 * 8 {
            disk.flip_bit(IDENTITY, bit as usize / 8, bit % 8);
            let opened = DataDir::open(disk.clone(), purpose(6));
            assert!(matches!(opened, Err(Refused::Unusable(OpenError::Damaged { .. }))));
            disk.flip_bit(IDENTITY, bit as usize / 8, bit % 8);
        }
        assert!(DataDir::open(disk.clone(), purpose(6)).is_ok());
    }

    #[test]
    fn a_lost_identity_beside_an_acceptors_log_is_no_member() {
        let mut disk = disk(1);
        let (mut dir, _) = DataDir::open(disk.clone(), purpose(5)).unwrap();
        start(&mut dir).unwrap();
        disk.create("acceptor-0000000000000000").unwrap();
        disk.power_cut(Survival::Everything);
        disk.remove(IDENTITY).unwrap();
        let (dir, found) = DataDir::open(disk.clone(), purpose(6)).unwrap();
        assert_eq!(
            (dir.directory(), found),
            (DirectoryId(6), Found::Wiped(WipeReason::IdentityLost))
        );
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_what_was() {
        let disk = disk(1);
        let (mut dir, _) = DataDir::open(disk.clone(), purpose(5)).unwrap();
        disk.fail_at(disk.calls() + 1, Fault::Full);
        assert_eq!(start(&mut dir).unwrap_err().kind(), io::ErrorKind::StorageFull);
        drop(dir);
        let (dir, found) = DataDir::open(disk.clone(), purpose(6)).unwrap();
        assert_eq!((dir.directory(), found), (DirectoryId(5), Found::Fresh));
    }

    #[test]
    fn the_origin_comes_with_the_started_record_and_earlier_builds_had_none() {
        let disk = disk(1);
        let origin = Origin { end: Slot(3), bytes: 30, hash: 7 };
        let (mut dir, _) = DataDir::open(disk.clone(), purpose(5)).unwrap();
        dir.begins_with(origin);
        drop(dir);
        let (mut dir, _) = DataDir::open(disk.clone(), purpose(5)).unwrap();
        assert_eq!(dir.origin(), None, "it never started");
        dir.begins_with(origin);
        start(&mut dir).unwrap();
        drop(dir);
        let (dir, found) = DataDir::open(disk.clone(), purpose(5)).unwrap();
        assert_eq!((dir.origin(), found), (Some(origin), Found::Member(members())));
        let earlier = Identity { origin: None, ..dir.identity.clone() };
        let bytes = postcard::to_stdvec(&earlier).unwrap();
        assert_eq!(read_identity(&bytes[..bytes.len() - 1]), Some(earlier.clone()));
        assert_eq!(read_identity(&bytes), Some(earlier));
        assert_eq!(read_identity(&bytes[..bytes.len() - 2]), None);
    }
}
