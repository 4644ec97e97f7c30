//! An operator tells replicas to end, one after the other or several at once, as in a rolling
//! restart (L9).
//!
//! A replica that was told ends once its roles say that it may, and a leader goes on for a moment
//! after that. It ends anyway when its time is up.

use super::*;

/// How long a process waits for its successor, as in a real replica.
const HAND_OVER_MAX_US: u64 = 2_000_000;

/// How long a leader goes on once another one leads.
const LINGER_US: u64 = 200_000;

impl World {
    /// An operator tells a replica to end: the one that leads, or any.
    pub(super) fn terminate(&mut self) {
        let n = self.nodes.len();
        let id = match (self.leader, self.streams.departures.bool()) {
            (Some(leader), true) => leader,
            _ => ReplicaId(self.streams.departures.usize(..n) as u8),
        };
        let every = self.profile.terminate_every_us;
        let wait = self.streams.departures.u64(every / 2..=every + every / 2);
        self.queue.add(self.now.plus_us(wait), Event::Fault(Fault::Terminate));
        let Some(process) = &mut self.nodes[id.index()].process else { return };
        let Some(role) = process.leave() else { return };
        self.reach.count(Situation::Terminated);
        self.trace(|| format!("replica {id} is told to end"));
        self.record_note(Some(id), "is told to end");
        self.wake_soon(id, role, 0);
        self.ends_in(id, HAND_OVER_MAX_US);
    }

    /// The roles of a replica say that its process may end.
    pub(super) fn may_end(&mut self, id: ReplicaId, successor: Option<Ballot>) {
        if successor.is_some() {
            self.reach.count(Situation::HandedOver);
        }
        self.ends_in(id, if successor.is_some() { LINGER_US } else { 0 });
    }

    fn ends_in(&mut self, id: ReplicaId, us: u64) {
        let life = self.nodes[id.index()].life;
        self.queue.add(self.now.plus_us(us), Event::Fault(Fault::Ends(id, life)));
    }

    /// A life that was told to end does so, unless it has ended already.
    pub(super) fn ends(&mut self, id: ReplicaId, life: u32) -> Step {
        let node = &self.nodes[id.index()];
        if node.life != life || node.process.is_none() {
            return Ok(());
        }
        self.end_life(id, Death::Killed);
        self.returns(id)
    }
}
