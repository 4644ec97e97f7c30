//! Whether this replica may say how far the log goes, for a client that reads (E5).
//!
//! A client that reads asks all replicas for their marks: what each one's acceptor has accepted. It
//! counts a mark as a leader counts a vote, so only a replica whose vote would count may send one.
//! Who receives a vote judges it by what he remembers of the sender (S6, S10, S12); a client
//! remembers nothing. So here the others judge beforehand: a replica has a mark to give while a
//! quorum, itself included, echoes its heartbeats of this life. A member that remembers more of this
//! directory than this life began with does not echo them, and one that hears another life of it
//! echoes that one.
//!
//! The proposer hears heartbeats, so it gets the question, and passes it on to the acceptor. It adds
//! what the highest leader has inherited that it has heard of: an acceptance at a lower ballot above
//! that was not chosen, and nobody will ever propose it again. Without this a client might wait for
//! such a slot until so many other lines are written.
//!
//! A client counts the marks of one configuration. So the question names that of which a quorum hears
//! this replica; its acceptor has the rest of that rule.
//!
//! **Does not** answer a client whose question it cannot pass on. The client asks again, and asks
//! the others.

use super::{Notice, Outbox, Phase2, Proposer, acceptor};
use crate::paxos::Never;
use crate::paxos::acceptor::Inherited;
use crate::types::{Address, Ballot, Slot, Time};

impl Proposer {
    /// A client reads, and asks for the mark.
    pub(super) fn handle_mark(
        &self,
        now: Time,
        origin: Address,
        read: u64,
        out: &mut Outbox<Never>,
    ) {
        let may_vote = self.is_voter() && !self.lives.is_told(now);
        if may_vote && self.election.is_heard_by_quorum(now) {
            let own = self.phase2().map(Phase2::inherited);
            let inherited = own.max(*self.inherited);
            let configuration = self.configuration.number();
            let mark = acceptor::Input::Mark { origin, read, inherited, configuration };
            out.tell(Notice::Acceptor(mark));
        }
    }

    /// The leader of `ballot` has found in phase 1 that whatever was chosen below its ballot lies
    /// below `end`.
    pub(super) fn note_inherited(&mut self, ballot: Ballot, end: Slot) {
        let heard = Some(Inherited { ballot, end });
        if heard.map(|it| it.ballot) > self.inherited.map(|it| it.ballot) {
            *self.inherited = heard;
        }
    }
}
