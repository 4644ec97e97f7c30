//! Processes that speak in a replica's name and are not that replica, and what is said of them.
//!
//! Two mistakes of operators look the same from here, a silence: a process that runs with the
//! id of a member and warms up (an old host, a test cluster with a wrong address), and a member
//! that runs on another cluster's data directory. Neither has a vote, so nothing is decided
//! wrongly; but one failure less is tolerated, and nobody would know. So each side says what it
//! hears, and from where: once, and then once a minute.
//!
//! A datagram of a former cluster may arrive late. So another cluster is believed in only when
//! several of its datagrams have come over some time.

use super::Outbox;
use super::bootstrap::Record;
use crate::message::{LostState, Refusal, ToBootstrap};
use crate::types::{Address, ClusterId, DirectoryId, ReplicaId, Time};
use seldom::Seldom;

/// Another cluster is spoken of after this many of its datagrams,
const FOREIGN_FRAMES_MIN: u32 = 4;

/// and this long after the first.
const FOREIGN_US_MIN: u64 = 1_000_000;

/// What was heard in one replica's name.
#[derive(Debug, Clone, Default)]
struct Named {
    /// The cluster other than this one that was heard last.
    foreign: Option<Foreign>,
    foreign_said: Seldom,
    warms_up_said: Seldom,
    not_member_said: Seldom,
    lost_state_said: Seldom,
}

/// A cluster other than this one.
#[derive(Debug, Clone, Copy)]
struct Foreign {
    cluster: ClusterId,
    since: Time,
    frames: u32,
}

/// What was heard in the replicas' names that is not theirs.
#[derive(Debug)]
pub(super) struct Strangers {
    id: ReplicaId,
    /// By replica id.
    named: Vec<Named>,
}

impl Strangers {
    /// None heard, by replica `id` of `n`.
    pub(super) fn new(id: ReplicaId, n: usize) -> Self {
        Strangers { id, named: vec![Named::default(); n] }
    }

    /// A process warms up in the name of `from`, on a directory that the started record does
    /// not name. It is told so where it is: this replica answers `from` at its own address.
    pub(super) fn warms_up(
        &mut self,
        now: Time,
        (from, at): (ReplicaId, Address),
        directory: DirectoryId,
        out: &mut Outbox<Record>,
    ) {
        out.send_back(from, at, ToBootstrap::NotMember { directory });
        if let Some(repeats) = self.named[from.index()].warms_up_said.happened(now.0) {
            log::warn!(
                "replica {}: a process at {} warms up as replica {from} on a data directory that \
                 is not this cluster's, and has no vote: if replica {from} has not lost its disk, \
                 stop that process or correct its --replica_id and --config_path{repeats}",
                self.id,
                at.0
            );
        }
    }

    /// `from` says that a directory of this replica's is not on its started record.
    pub(super) fn is_no_member(&mut self, now: Time, (from, at): (ReplicaId, Address)) {
        let id = self.id;
        if let Some(repeats) = self.named[from.index()].not_member_said.happened(now.0) {
            log::error!(
                "replica {id}: replica {from} at {} belongs to a cluster whose replica {id} has \
                 another data directory or was removed: if it has not lost its disk and was not \
                 removed, stop this process or correct its --replica_id and --config_path{repeats}",
                at.0
            );
        }
    }

    /// `from` has been told that its directory has lost its state (S10), and stops.
    pub(super) fn lost_state(
        &mut self,
        now: Time,
        (from, at): (ReplicaId, Address),
        said: LostState,
    ) {
        let LostState { by, known, begun } = said;
        if let Some(repeats) = self.named[from.index()].lost_state_said.happened(now.0) {
            log::error!(
                "replica {}: replica {from} at {} has lost its state and stops: replica {by} knows \
                 of {known} records of its data directory, which held {begun} when it started. An \
                 older copy was put back there, or a copy runs beside the original{repeats}",
                self.id,
                at.0
            );
        }
    }

    /// A datagram came that this replica, of the cluster `own`, had to refuse.
    pub(super) fn refused(
        &mut self,
        now: Time,
        (from, at): (ReplicaId, Address),
        why: Refusal,
        own: ClusterId,
    ) {
        let Refusal::Cluster(cluster) = why;
        let named = &mut self.named[from.index()];
        let heard = match named.foreign {
            Some(heard) if heard.cluster == cluster => {
                Foreign { frames: heard.frames.saturating_add(1), ..heard }
            }
            _ => Foreign { cluster, since: now, frames: 1 },
        };
        named.foreign = Some(heard);
        if heard.frames < FOREIGN_FRAMES_MIN || now.since_us(heard.since) < FOREIGN_US_MIN {
            return;
        }
        if let Some(repeats) = named.foreign_said.happened(now.0) {
            log::error!(
                "replica {}: replica {from} at {} runs on another cluster's data directory than \
                 this replica (cluster {:016x} there, {:016x} here), so neither counts for the \
                 other: correct the --data_dir, --log_dir or --config_path of the wrong \
                 one{repeats}",
                self.id,
                at.0,
                cluster.0,
                own.0
            );
        }
    }
}
