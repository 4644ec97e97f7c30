//! A cluster that was begun anew while a client runs.
//!
//! Its replicas drop the client's requests, because those name the former cluster. So a client
//! that has waited long also says hello, and ends when most replicas belong to another cluster.

use super::{Client, Outcome, Phase};
use crate::message::ClientMessage;
use crate::paxos::Outbox;
use crate::types::{ReplicaId, replicas};

impl Client {
    /// The line has waited long. Replicas of another cluster drop requests without a word, and
    /// answer a hello.
    pub(super) fn ask_who_is_there(&self, out: &mut Outbox<Outcome>) {
        if matches!(self.phase, Phase::InFlight) {
            replicas(self.n).for_each(|replica| out.call(replica, ClientMessage::Hello));
        }
    }

    /// A cluster has a quorum. So while most replicas belong to another one, this client's own
    /// cluster cannot answer, and a few strangers prove nothing.
    pub(super) fn handle_other_cluster(&mut self, from: ReplicaId, out: &mut Outbox<Outcome>) {
        if self.is_busy() && self.elsewhere.insert(from) && self.elsewhere.is_quorum(self.n) {
            let sent = matches!(self.phase, Phase::InFlight);
            self.fail(|line| Outcome::OtherCluster { line, from, sent }, out);
        }
    }
}
