//! Opens the durable state of a replica that starts.
//!
//! The data directory says whether this replica is new, was here before, or counts as
//! wiped. Accordingly its logs are begun or opened. All of that is durable before the
//! first datagram leaves. Under `--durability none` the acceptor keeps its state in
//! memory, but still reads what an earlier life has left on the disk.

use super::process::entropy;
use super::replica::ReplicaOptions;
use crate::paxos::acceptor;
use crate::paxos::learner::Checkpoint;
use crate::storage::Durability;
use crate::storage::acceptor_log::{AcceptorLog, Options};
use crate::storage::data_dir::{DataDir, Found, HostBoot, Purpose, Refused};
use crate::storage::decided_log::{DecidedLog, Location};
use crate::types::DirectoryId;
use durable::disk::{Disk, RealDisk};
use durable::error::OpenError;
use std::io;

/// Why a replica could not start.
#[derive(Debug)]
pub enum StartError {
    /// The log directory cannot be made or written. The operating system's error.
    LogDir(io::Error),
    /// The data directory cannot be made or written. The operating system's error.
    DataDir(io::Error),
    /// The data directory belongs to another replica or cluster.
    Foreign(Refused),
    /// `--durability os` promises nothing on this host. The reason.
    Durability(String),
    /// The state in the data directory cannot be used.
    Unusable(OpenError),
    /// Anything else, such as a full disk.
    Other(io::Error),
}

/// Whether the directory cannot be written as it must be, so that the user must choose another.
fn is_unwritable(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

/// The reason why a directory cannot be made or opened: the user chose it wrongly, unless
/// the disk is full.
fn unusable_as(error: io::Error, chosen: fn(io::Error) -> StartError) -> StartError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StartError::Other(error),
        _ => chosen(error),
    }
}

/// A replica's durable state, opened.
pub(super) struct Durable<D: Disk> {
    pub(super) dir: DataDir<D>,
    /// The started record, if there is one.
    pub(super) members: Option<Vec<DirectoryId>>,
    /// The acceptor's log; none if its state is in memory alone.
    pub(super) log: Option<AcceptorLog<D>>,
    pub(super) state: acceptor::State,
    pub(super) chat_log: DecidedLog<D>,
    pub(super) checkpoint: Checkpoint,
}

impl Durable<RealDisk> {
    /// Opens or begins everything.
    pub(super) fn open(options: &ReplicaOptions) -> Result<Self, StartError> {
        let other = StartError::Other;
        let ReplicaOptions { id, durability, .. } = *options;
        let log_dir = || {
            RealDisk::open(&options.log_dir).map_err(|error| unusable_as(error, StartError::LogDir))
        };
        // A wrong option for it is the first to be said.
        drop(log_dir()?);
        let data = || {
            RealDisk::open(&options.data_dir)
                .map_err(|error| unusable_as(error, StartError::DataDir))
        };
        let host_boot = match HostBoot::present() {
            Ok(boot) => Some(boot),
            Err(error) if durability == Durability::Os => {
                return Err(StartError::Durability(format!(
                    "{error}: without it a power cut cannot be told from a kill: use sync, or let \
                     the process see that file (systemd: ProcSubset=all)"
                )));
            }
            Err(_) => None,
        };
        let purpose = Purpose {
            replica: id,
            n: options.config.n(),
            durability,
            host_boot,
            drawn: DirectoryId(entropy().map_err(other)?),
        };
        let mut durable = Durable::open_on(purpose, log_dir, data, Options::default())?;
        durable.dir.note_uptime(|| HostBoot::present().map_or(0, |boot| boot.up_s));
        Ok(durable)
    }
}

impl<D: Disk> Durable<D> {
    /// The same on these disks, of which functions open the log directory and, as often as
    /// needed, the data directory.
    pub(super) fn open_on(
        purpose: Purpose,
        log_dir: impl FnOnce() -> Result<D, StartError>,
        data: impl Fn() -> Result<D, StartError>,
        kept: Options,
    ) -> Result<Self, StartError> {
        let other = StartError::Other;
        let Purpose { replica: id, durability, n, .. } = purpose;
        let (mut dir, found) =
            DataDir::open(data()?, purpose).map_err(|refused| match refused {
                Refused::Unusable(OpenError::Io(error)) if is_unwritable(&error) => {
                    StartError::DataDir(error)
                }
                Refused::Unusable(error) => StartError::Unusable(error),
                Refused::InUse { .. } => StartError::Other(io::Error::other(refused.to_string())),
                Refused::Foreign { .. } => StartError::Foreign(refused),
                Refused::ConstantBootId => StartError::Durability(refused.to_string()),
            })?;
        let kept = Options { waits: durability == Durability::Sync, ..kept };
        let name = format!("learner{id}.txt");
        let directory = dir.directory();
        let (log_dir, data_dir, others) = (log_dir()?, data()?, n > 1);
        let place = Location { log_dir, name: &name, data: data_dir, directory, others };
        if let Found::Wiped(why) = found {
            log::warn!("replica {id}: its data directory counts as wiped: {why}");
        }
        let Found::Member(members) = found else {
            let log = match durability {
                Durability::None => None,
                _ => Some(AcceptorLog::create(data()?, directory.0, kept).map_err(other)?),
            };
            // The data directory was written just now, so it is the log directory that
            // cannot be.
            let chat_log = DecidedLog::create(place, durability).map_err(|error| match error {
                error if is_unwritable(&error) => StartError::LogDir(error),
                error => StartError::Other(error),
            })?;
            let (state, checkpoint) = Default::default();
            return Ok(Durable { dir, members: None, log, state, chat_log, checkpoint });
        };
        let unusable = StartError::Unusable;
        let (log, state) = AcceptorLog::open(data()?, directory.0, kept).map_err(unusable)?;
        let log = (durability != Durability::None).then_some(log);
        let (chat_log, checkpoint) =
            DecidedLog::open(place, durability).map_err(|error| match error {
                OpenError::Io(error) if is_unwritable(&error) => StartError::LogDir(error),
                error => StartError::Unusable(error),
            })?;
        dir.opened().map_err(other)?;
        log::info!(
            "replica {id}: restarts: slots below {} are applied, its acceptor holds {} slots",
            checkpoint.applied,
            state.len()
        );
        Ok(Durable { dir, members: Some(members), log, state, chat_log, checkpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;
    use crate::message::Run;
    use crate::paxos::acceptor::Record;
    use crate::paxos::{Storage, bootstrap};
    use crate::types::{Ballot, ReplicaId, Slot};
    use durable::sim_disk::{SimDisk, Survival};
    use seeds::stream;

    const KEPT: Options = Options { segment_bytes: 4_096, waits: false };

    fn open(
        disk: &SimDisk,
        durability: Durability,
        boot: &str,
    ) -> Result<Durable<SimDisk>, StartError> {
        let purpose = Purpose {
            replica: ReplicaId(1),
            n: 3,
            durability,
            host_boot: Some(HostBoot { id: boot.into(), up_s: 5 }),
            drawn: DirectoryId(5),
        };
        Durable::open_on(purpose, || Ok(disk.folder("logs")), || Ok(disk.folder("data")), KEPT)
    }

    /// A member that was killed under `os`, and what its acceptor had told others.
    fn killed_under_os(seed: u64) -> (SimDisk, acceptor::State) {
        let mut disk = SimDisk::new(stream(seed, "disk"));
        let mut durable = open(&disk, Durability::Os, "first").unwrap();
        let members = [4, 5, 6].map(DirectoryId).to_vec();
        durable.dir.append(&mut vec![bootstrap::Record::Started(members)]).unwrap();
        durable.dir.sync().unwrap();
        let mut log = durable.log.take().unwrap();
        for slot in 0..60 {
            let values = Request::new(7, 1, slot, &"x".repeat(200)).commands;
            let run = Run { first: Slot(slot), ballot: Ballot(slot / 10), values };
            let record = Record::Accept(run);
            durable.state.apply(&record);
            log.append(&mut vec![record]).unwrap();
            Storage::sync(&mut log).unwrap();
        }
        let state = durable.state.clone();
        drop((durable, log));
        disk.crash_process();
        (disk, state)
    }

    #[test]
    fn a_power_cut_at_any_call_of_the_first_start_under_sync_leaves_a_member_or_a_wiped_replica() {
        let (mut members, mut wiped) = (0, 0);
        for seed in 0..12 {
            for call in 0.. {
                let (mut disk, told) = killed_under_os(seed);
                disk.cut_at(disk.calls() + call, (seed * 97) as usize);
                drop(open(&disk, Durability::Sync, "first"));
                let is_over = !disk.is_dark();
                disk.power_cut(Survival::Random);
                let durable = open(&disk, Durability::Sync, "second");
                let durable = durable.unwrap_or_else(|error| panic!("call {call}: {error:?}"));
                if durable.members.is_some() {
                    assert!(durable.state == told, "seed {seed}, call {call}: it has forgotten");
                    members += 1;
                } else {
                    wiped += 1;
                }
                if is_over {
                    break;
                }
            }
        }
        assert!(members >= 12 && wiped > 100, "{members} members, {wiped} wiped");
    }
}
