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
use crate::storage::data_dir::{DataDir, Found, Purpose, Refused, host_boot};
use crate::storage::decided_log::{DecidedLog, Location};
use crate::types::{DirectoryId, ReplicaId};
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
    /// The state in the data directory cannot be used.
    Unusable(OpenError),
    /// Anything else, such as a full disk.
    Other(io::Error),
}

/// Whether the directory cannot be written, so that the user must choose another.
fn is_unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
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
        let log_dir = RealDisk::open(&options.log_dir)
            .map_err(|error| unusable_as(error, StartError::LogDir))?;
        let data = || {
            RealDisk::open(&options.data_dir)
                .map_err(|error| unusable_as(error, StartError::DataDir))
        };
        let purpose = Purpose {
            replica: id,
            n: options.config.n(),
            durability,
            host_boot: host_boot(),
            drawn: DirectoryId(entropy().map_err(other)?),
        };
        Durable::open_on(purpose, &log_dir, data, Options::default())
    }
}

impl<D: Disk> Durable<D> {
    /// The same on these disks: one for the chat log, and a function that opens the other as
    /// often as needed.
    pub(super) fn open_on(
        purpose: Purpose,
        log_dir: &D,
        data: impl Fn() -> Result<D, StartError>,
        kept: Options,
    ) -> Result<Self, StartError> {
        let other = StartError::Other;
        let Purpose { replica: id, durability, .. } = purpose;
        let (dir, found) = DataDir::open(data()?, purpose).map_err(|refused| match refused {
            Refused::Unusable(OpenError::Io(error)) if is_unwritable(&error) => {
                StartError::DataDir(error)
            }
            Refused::Unusable(error) => StartError::Unusable(error),
            Refused::InUse { .. } => StartError::Other(io::Error::other(refused.to_string())),
            Refused::Foreign { .. } => StartError::Foreign(refused),
        })?;
        let kept = Options { waits: durability == Durability::Sync, ..kept };
        let name = format!("learner{id}.txt");
        let directory = dir.directory();
        let place = Location { log_dir, name: &name, data: data()?, directory };
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
            let (chat_log, moved) =
                DecidedLog::create(place, durability).map_err(|error| match error {
                    error if is_unwritable(&error) => StartError::LogDir(error),
                    error => StartError::Other(error),
                })?;
            if let Some(moved) = moved {
                tell_moved(id, &name, &moved);
            }
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
        log::info!(
            "replica {id}: restarts: slots below {} are applied, its acceptor holds {} slots",
            checkpoint.applied,
            state.len()
        );
        Ok(Durable { dir, members: Some(members), log, state, chat_log, checkpoint })
    }
}

fn tell_moved(id: ReplicaId, name: &str, moved: &str) {
    log::warn!(
        "replica {id}: {name} holds a chat that this replica does not remember: renamed to {moved}"
    );
}
