//! What the operator is told by a replica that ends because others have another log (S11): the
//! reason, and what to do. Restarting it does not help.

use crate::paxos::Diverged;
use crate::types::{REPLICAS_MAX, ReplicaId, replicas};

/// The last line of replica `id`.
pub(super) fn diverged(id: ReplicaId, said: Diverged) -> String {
    let Diverged { peers, below } = said;
    let peers = replicas(REPLICAS_MAX).filter(|id| peers.contains(*id));
    let peers: Vec<String> = peers.map(|id| format!("replica {id}")).collect();
    format!(
        "replica {id}: other lines are decided here below slot {below} than at {}, and no quorum \
         is heard that has the same as this replica: files were put back or changed. Keep copies \
         of all chat logs and compare them. Start all replicas: those that have the same as a \
         quorum go on. At the others put the newest files back, or remove the data directory and \
         the chat log",
        peers.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::ReplicaSet;
    use crate::types::Slot;

    #[test]
    fn those_whose_logs_differ_are_named_with_the_slot() {
        let mut peers = ReplicaSet::EMPTY;
        peers.insert(ReplicaId(0));
        peers.insert(ReplicaId(2));
        let said = diverged(ReplicaId(1), Diverged { peers, below: Slot(7) });
        let expected = "replica 1: other lines are decided here below slot 7 than at replica 0 and \
                        replica 2, and no quorum";
        assert!(said.starts_with(expected), "{said}");
    }
}
