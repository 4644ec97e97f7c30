//! A client that has waited long asks who is there.
//!
//! It says hello to all replicas that have not answered since the line was last sent, and tells its
//! user how many answer: after three seconds, or after what answers take if that is longer, and then
//! whenever the line has waited for twice as long. Replicas of a cluster that was begun anew drop
//! its requests, because those name the former cluster, but they answer a hello; when most replicas
//! belong to another cluster, the client ends.

use super::{ASK_ALL_US, Client, Outcome, PATIENCE_US, Phase};
use crate::message::ClientMessage;
use crate::paxos::Outbox;
use crate::types::{ReplicaId, Time, replicas};

impl Client {
    /// Asks the replicas that are silent whether they are there, and a little later tells the user
    /// how many are.
    pub(super) fn report(&mut self, now: Time, waited_us: u64, out: &mut Outbox<Outcome>) {
        self.reporting = !self.reporting;
        if self.reporting {
            self.report_at = now.plus_us(self.patience_us(ASK_ALL_US));
            // A replica may hold a request without a word, and one of another cluster drops
            // it. Both answer a hello.
            let silent = replicas(self.places).filter(|replica| !self.answering.contains(*replica));
            silent.for_each(|replica| out.call(replica, ClientMessage::Hello));
        } else {
            self.report_at = now.plus_us(waited_us.max(PATIENCE_US));
            out.persist(Outcome::Waiting { waited_us, answering: self.answering.len() });
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
