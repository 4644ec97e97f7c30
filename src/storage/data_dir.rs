//! The data directory: its replica, its cluster, and how its last run ended.
//!
//! One small file, `identity`, says all of that. It is replaced whole (`atomic_file`), so
//! no part of it can be lost or come back alone:
//!
//! - the directory's random id, durable before the first datagram leaves;
//! - the replica's id and how many replicas there are;
//! - the *started record*: the directories of the cluster's members;
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
//! **Does not** protect against intent: directory and replica ids are no secrets, and a
//! data directory that a user restores from an old backup deceives the cluster.

use super::Durability;
use super::acceptor_log::is_log_file;
use super::atomic_file::{self, Magic};
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::upkeep::Upkeep;
use crate::paxos::Storage;
use crate::paxos::bootstrap::Record;
use crate::types::{DirectoryId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// The name of the file that makes a directory a data directory.
pub const IDENTITY: &str = "identity";
/// The name of the file that is locked.
pub const LOCK: &str = "lock";

const MAGIC: Magic = *b"mpxdir01";

/// Linux has an id of the host's current start here.
const HOST_BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The replica and the run for which a directory is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// The replica's id.
    pub replica: ReplicaId,
    /// The number of replicas in the cluster.
    pub n: usize,
    /// The durability of this run.
    pub durability: Durability,
    /// The id of the host's current start; empty if that is not known.
    pub host_boot: String,
    /// A random id, for a directory that has none.
    pub drawn: DirectoryId,
}

/// The id of the host's current start; empty if the host does not say.
pub fn host_boot() -> String {
    std::fs::read_to_string(HOST_BOOT).map(|text| text.trim().to_owned()).unwrap_or_default()
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
    },
    /// It cannot be read or written, or is damaged.
    Unusable(OpenError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::InUse { file } => write!(f, "{file}: in use by another process"),
            Refused::Foreign { file, replica, n } => {
                write!(f, "{file}: belongs to replica {replica} of a cluster of {n}")
            }
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

/// A data directory in use.
#[derive(Debug)]
pub struct DataDir<D: Disk> {
    disk: D,
    /// Locked for as long as this lives.
    _lock: D::File,
    identity: Identity,
    unsaved: bool,
}

/// Whether storage gives this name to a file in a data directory.
pub fn is_data_file(name: &str) -> bool {
    use super::decided_log::{CHECKPOINT, JOURNAL, OVERFLOW};
    let replaced = |file: &str| name == file || name == atomic_file::temporary(file);
    [JOURNAL, OVERFLOW, LOCK].contains(&name)
        || replaced(IDENTITY)
        || replaced(CHECKPOINT)
        || is_log_file(name)
}

impl<D: Disk> DataDir<D> {
    /// Locks the directory, makes its identity if it has none, and says what it is. On return
    /// its identity and the durability of this run are durable.
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
            host_boot: purpose.host_boot.clone(),
            clean: false,
        };
        let (identity, found) = match held {
            None if disk.list()?.iter().any(|name| is_log_file(name)) => {
                (fresh, Found::Wiped(WipeReason::IdentityLost))
            }
            None => (fresh, Found::Fresh),
            Some(held) if held.replica != purpose.replica || held.n != fresh.n => {
                let Identity { replica, n, .. } = held;
                return Err(Refused::Foreign { file, replica, n });
            }
            Some(Identity { members: None, directory, .. }) => {
                (Identity { directory, ..fresh }, Found::Fresh)
            }
            Some(held) => match wipe_reason(&held, &purpose.host_boot) {
                Some(why) => (fresh, Found::Wiped(why)),
                None => {
                    let found = Found::Member(held.members.clone().unwrap_or_default());
                    let Identity { directory, members, .. } = held;
                    (Identity { directory, members, ..fresh }, found)
                }
            },
        };
        let mut opened = DataDir { disk, _lock: lock, identity, unsaved: true };
        opened.save()?;
        Ok((opened, found))
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

/// Why a directory that belonged to a cluster may have forgotten something.
fn wipe_reason(held: &Identity, host_boot: &str) -> Option<WipeReason> {
    let same_boot = !host_boot.is_empty() && host_boot == held.host_boot;
    match held.durability {
        Durability::Sync => None,
        Durability::Os if held.clean || same_boot => None,
        Durability::Os => Some(WipeReason::HostRestarted),
        Durability::None => Some(WipeReason::RanInMemory),
    }
}

fn read_identity(bytes: &[u8]) -> Option<Identity> {
    let (identity, rest) = postcard::take_from_bytes::<Identity>(bytes).ok()?;
    rest.is_empty().then_some(identity)
}

impl<D: Disk> Storage<Record> for DataDir<D> {
    fn append(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        for Record::Started(members) in records.drain(..) {
            self.identity.members = Some(members);
            self.unsaved = true;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.save()
    }
}

impl<D: Disk> Upkeep for DataDir<D> {}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::sim_disk::{Fault, SimDisk, Survival};
    use fastrand::Rng;

    fn disk(seed: u64) -> SimDisk {
        SimDisk::new(Rng::with_seed(seed))
    }

    fn purpose(drawn: u64) -> Purpose {
        Purpose {
            replica: ReplicaId(1),
            n: 3,
            durability: Durability::Sync,
            host_boot: "boot".into(),
            drawn: DirectoryId(drawn),
        }
    }

    fn members() -> Vec<DirectoryId> {
        [4, 5, 6].map(DirectoryId).to_vec()
    }

    fn start<D: Disk>(dir: &mut DataDir<D>) -> io::Result<()> {
        dir.append(&mut vec![Record::Started(members())])?;
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
        let others =
            [Purpose { replica: ReplicaId(2), ..purpose(6) }, Purpose { n: 5, ..purpose(6) }];
        for other in others {
            let said = DataDir::open(disk.clone(), other).unwrap_err().to_string();
            assert_eq!(said, "identity: belongs to replica 1 of a cluster of 3");
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
            let boot = if rebooted { "another" } else { "boot" };
            let second = Purpose { host_boot: boot.into(), ..purpose(6) };
            let (dir, found) = DataDir::open(disk.clone(), second).unwrap();
            let expected = why.map_or(Found::Member(members()), Found::Wiped);
            assert_eq!(found, expected, "{ran:?} ended {ended} rebooted {rebooted}");
            let id = if why.is_some() { 6 } else { 5 };
            assert_eq!(dir.directory(), DirectoryId(id));
        }
    }

    #[test]
    fn a_clean_end_counts_once() {
        let mut disk = disk(1);
        let under_os = |boot: &str| Purpose {
            durability: Durability::Os,
            host_boot: boot.into(),
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
}
