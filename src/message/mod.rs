//! Every message: its sender, its receiver, and what it means.
//!
//! One line through a cluster of three, replica 0 leading at ballot b:
//!
//! ```text
//! client      replica 0 (leader)                 replica 1            replica 2
//!   | Request    |                                   |                    |
//!   |----------->| proposer: slot s                  |                    |
//!   |            | Accept(b, s, value)               |                    |
//!   |            |---------------------------------->|------------------->| acceptor:
//!   |            |             Accepted(b, s)        |                    | durable, then
//!   |            |<----------------------------------|--------------------| answered
//!   |  Complete  | learner: quorum, applied          |                    |
//!   |<-----------|                                   |                    |
//!   |            | next Accept or Heartbeat: decided(b, …s) ------------->| applied
//! ```
//!
//! A view change, replica 1 having heard no serving leader:
//!
//! ```text
//! replica 1 (candidate)                               replica 2
//!   | PreVote(b')                                        |
//!   |--------------------------------------------------->| changes nothing there
//!   |                               PreVoteReply(b', yes)|
//!   |<---------------------------------------------------|
//!   | own acceptor: promise b' durable                   |
//!   | Prepare(b', first)                                 |
//!   |--------------------------------------------------->| acceptor: promise durable
//!   |    Promise(b', slots and ballots it accepted, mark)|
//!   |<---------------------------------------------------|
//!   | FetchAccepted(b', slots whose values it lacks)     |
//!   |--------------------------------------------------->|
//!   |                         AcceptedValues(b', values) |
//!   |<---------------------------------------------------|
//!   | AcceptHeld(b', slots that it reported at just the highest ballot)
//!   |--------------------------------------------------->|
//!   | Accept(b', slot, value of the highest ballot / Noop) for every other slot
//!   |--------------------------------------------------->|
//! ```
//!
//! Messages are grouped by the role that takes them, so that routing is a match and
//! nothing else. The network may lose, repeat and reorder every message; each one says
//! what its receiver does about that. Decoding bounds every list: it never believes the
//! length that a message claims (see [`bounded`]).

pub mod bounded;
mod client;
mod follow;
mod members;
mod run;
mod slot_list;
mod spans;
mod status;

pub use client::{Answer, ClientMessage, Inquiry, Request, Responded, Voters};
pub use follow::{EXCERPT_AROUND_BYTES, EXCERPT_TEXT_BYTES_MAX, Excerpt, FollowQuery, HOLD_US};
pub use members::{
    MemberChange, MembersAnswer, MembersQuery, OBSERVERS_MAX, Observer, Obstacle, Wish,
};
pub use run::Run;
pub use slot_list::SlotList;
pub use spans::{Span, Spans};
pub use status::{CAUSE_BYTES_MAX, CAUSES_MAX, Conduct, Leadership, Status, StatusQuery, Usage};

use crate::types::{
    Address, Ballot, BootId, ClusterId, DirectoryId, Origin, ReplicaId, Slot, SlotRange,
};
use crate::values::{VALUES_MAX, Values};
use serde::{Deserialize, Serialize};

/// The most slots that one message may name, in any of its lists.
pub const MESSAGE_SLOTS_MAX: usize = VALUES_MAX;

/// From one replica to another, or to itself. (Then it never meets the network.)
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// For the bootstrap role: warm-up and membership.
    Bootstrap(ToBootstrap),
    /// For the acceptor.
    Acceptor(ToAcceptor),
    /// For the proposer.
    Proposer(ToProposer),
    /// For the learner.
    Learner(ToLearner),
    /// For the proposer, which watches the leader, and the learner, which notes how far each
    /// peer has applied its log.
    Heartbeat(Box<Heartbeat>),
}

/// Warm-up and membership (S6). Only these messages travel without a cluster id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToBootstrap {
    /// "I am here." A replica sends it to all peers until the cluster has started, and to every
    /// peer whose own did not answer it or who warms up. A repeated one changes nothing.
    Ready(Box<Ready>),
    /// "This directory is not in the started record: its votes do not count." The answer to a
    /// vote, and to a Ready that came once the cluster had started. The receiver logs it.
    NotMember {
        /// The directory that the refused message carried.
        directory: DirectoryId,
    },
    /// "I remember that your directory held more than this life of it began with: it has lost
    /// its state, and its votes do not count" (S10). The answer to each heartbeat and to each
    /// prepare of that life. The receiver stops voting if it is that life.
    Forgotten {
        /// The refused life.
        boot: BootId,
        /// How many records its directory is known to have written.
        known: u64,
    },
    /// "I am told that this directory has lost its state: I stop." To all peers, several times.
    /// The receiver logs it.
    LostState(LostState),
}

/// A replica's last word, when it has learned that its directory has lost its state (S10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LostState {
    /// The replica that remembers more.
    pub by: ReplicaId,
    /// How many records it remembers,
    pub known: u64,
    /// and with how many the sender's life began.
    pub begun: u64,
}

/// Whose word a vote is. It never changes in a life of the process.
///
/// A vote counts only if the directory is on the started record (S6), and if the receiver does not
/// remember more of that directory than this life began with (S10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Voter {
    /// The sender's data directory.
    pub directory: DirectoryId,
    /// The sender's life.
    pub boot: BootId,
    /// How many records its acceptor had written, durably, when this life began.
    pub begun: u64,
}

/// What a replica says of itself and of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ready {
    /// The sender's own directory.
    pub directory: DirectoryId,
    /// The sender's life. Rounds begin anew with each life.
    pub boot: BootId,
    /// The number of this message in the sender's life. The receiver drops one that is not
    /// newer than the newest it knows of that life.
    pub round: u64,
    /// What the sender heard last in the receiver's name. Only a message that answers the
    /// receiver's present life counts: any other may be left over from a former cluster.
    pub answers: Option<Heard>,
    /// The started record, once the sender has it: the directory of each replica, by id. It
    /// never changes again.
    #[serde(deserialize_with = "bounded::replicas")]
    pub started: Option<Vec<DirectoryId>>,
    /// A hash of the replicas that the sender's configuration lists, in their order; 0 if it does
    /// not say. It is for people: addresses may differ between hosts (NAT, proxies).
    pub list: u64,
    /// The chat log with which the sender's cluster begins. A cluster has only members that
    /// begin with the same one.
    pub origin: Option<Origin>,
}

/// One life of a replica, and the number of a message of that life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heard {
    /// The life.
    pub boot: BootId,
    /// The number.
    pub round: u64,
}

/// What an acceptor is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToAcceptor {
    /// Phase 1a, and the request for pages of the answer that were lost (S5). A candidate
    /// sends it to every acceptor, again until all pages have come; an acceptor answers each
    /// one.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The first slot of the first page that the candidate wants.
        first: Slot,
        /// The candidate, which counts its own promise. An acceptor that remembers more of it
        /// does not answer (S10).
        voter: Voter,
    },
    /// Phase 2a: accept these values in consecutive slots.
    Accept(Accept),
    /// Candidate → an acceptor that has promised `ballot`: send the values that it accepted in
    /// these slots at these ballots. Nobody else's would do (S4). The candidate asks again, or
    /// asks another acceptor that reported them, until the values have come.
    FetchAccepted {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The values that are wanted, by slot and ballot.
        wanted: Spans,
    },
    /// Phase 2a without the values: accept at `ballot` what you hold in these slots at these
    /// ballots. (S4)
    ///
    /// New leader → an acceptor that has reported them, once, instead of an [`Accept`] of the
    /// same values. What the acceptor does not hold so it leaves out, and what was lost or left
    /// out the leader sends again with the values. Later it asks so, at its own ballot, whether a
    /// long line was accepted that it has sent. (L8)
    AcceptHeld {
        /// The leader's ballot.
        ballot: Ballot,
        /// The values that are proposed, by slot and the ballot at which they are held.
        held: Spans,
    },
}

/// Phase 2a: leader → every acceptor. The leader sends it again until it has applied the
/// slots; an acceptor answers a repeated one again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accept {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The slot of the first value.
    pub first: Slot,
    /// One value for each slot, from `first` on.
    pub values: Values,
    /// What the leader knows to be decided: mostly earlier slots.
    pub decided: Decided,
}

/// Slots that the leader of `ballot` itself saw accepted by a quorum at `ballot`.
///
/// A learner may decide a slot by this mark only if its own acceptance of that slot is at
/// exactly this ballot; it fetches every other slot (S7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Decided {
    /// The ballot at which the leader counted acceptances.
    pub ballot: Ballot,
    /// The decided slots, without a gap, from the first slot of the leader's phase 2 on.
    /// Possibly none.
    pub slots: SlotRange,
}

/// What a proposer is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToProposer {
    /// A page of phase 1b.
    Promise(Promise),
    /// In answer to [`ToAcceptor::FetchAccepted`].
    AcceptedValues(AcceptedValues),
    /// Acceptor → owner of `ballot`: the ballot is refused. If this is lost, the owner asks
    /// again and gets another one.
    Nack {
        /// The ballot that was refused.
        ballot: Ballot,
        /// The ballot that the acceptor has promised. It is above `ballot`, unless the owner
        /// used up `ballot` in an earlier life (S2): then it is `ballot` itself.
        promised: Ballot,
    },
    /// Candidate → every peer: would you promise `ballot`? The question changes nothing at
    /// the receiver (L2).
    PreVote {
        /// The ballot with which the candidate would begin phase 1.
        ballot: Ballot,
        /// The number of this question among those of the candidate's life. The answer
        /// repeats it.
        round: u64,
    },
    /// The answer to a pre-vote. The candidate counts each peer once in each round.
    PreVoteReply {
        /// The round of the question.
        round: u64,
        /// Whether the sender would promise the ballot, and misses a serving leader or gets
        /// nothing applied.
        granted: bool,
        /// The ballot that the sender's acceptor has promised, if any: the candidate must go
        /// above it.
        promised: Option<Ballot>,
        /// The sender.
        voter: Voter,
    },
    /// A client's request that reached a replica which does not lead. That replica sends it
    /// again until the commands are applied.
    Forward {
        /// Where the client is answered.
        origin: Address,
        /// What the client asked.
        request: Request,
    },
    /// "This life of me is about to end." To all peers; a leader says it again with each attempt
    /// to hand over (L9). A lost one costs an election wait at most.
    Leaving {
        /// The sender's life.
        boot: BootId,
        /// Whom the sender wants to lead in its place, if it leads.
        hand_over: Option<HandOver>,
    },
    /// "I follow without a vote." An observer says so to the leader again and again.
    Observes {
        /// The sender's directory.
        directory: DirectoryId,
        /// Every slot below this is applied there.
        applied: Slot,
        /// What its operator wants for this directory.
        vote: VoteAim,
    },
}

/// Which vote an observer is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum VoteAim {
    /// The one that an operator may give it.
    #[default]
    IfAdded,
    /// The one of the directory that it has lost.
    OfLostDisk,
    /// None, ever: its operator says so, where it runs.
    Never,
}

/// A leader that is about to end names its successor (L9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandOver {
    /// The ballot with which the sender leads.
    pub ballot: Ballot,
    /// The replica that campaigns with a higher one at once.
    pub to: ReplicaId,
}

/// Phase 1b: this acceptor accepts nothing below `ballot` any more. One page of the slots in
/// which it has accepted values, and at which ballots. The values themselves stay where they
/// are: the candidate has most of them.
///
/// Acceptor → owner of `ballot`, sent only once the promise is durable (S1), and only while
/// the acceptor's promise is exactly this ballot. The proposer counts an acceptor once: when
/// its pages cover every slot from the first that the candidate asked for, without a gap
/// (S5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// The promised ballot.
    pub ballot: Ballot,
    /// The acceptor.
    pub voter: Voter,
    /// The slots that this page covers. A covered slot that is not in `accepted` holds no
    /// value.
    pub slots: SlotRange,
    /// Whether this is the last page: no slot above it holds a value.
    pub last: bool,
    /// The acceptor's trim mark: every slot below is decided and forgotten here. A leader
    /// never proposes there, and fetches these slots from a learner.
    pub trimmed: Slot,
    /// Which of the covered slots hold values, and at which ballots.
    pub accepted: Spans,
}

/// Values that an acceptor accepted, for the candidate at `ballot` that lacks them. A part of
/// an answer.
///
/// Acceptor → owner of `ballot`, only while the acceptor's promise is exactly this ballot. A
/// value whose slot and ballot are not the ones that the candidate wants changes nothing; nor
/// does a repeated one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AcceptedValues {
    /// The candidate's ballot.
    pub ballot: Ballot,
    /// The acceptor's trim mark. Below it the acceptor has no values any more, and the
    /// candidate needs none: those slots are decided.
    pub trimmed: Slot,
    /// Values, in the order of their slots.
    #[serde(deserialize_with = "bounded::accepted")]
    pub accepted: Vec<Run>,
    /// Whether this is the last part of the answer.
    pub last: bool,
}

/// What a learner is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToLearner {
    /// Phase 2b: these slots are accepted here at exactly this ballot, durably.
    ///
    /// Acceptor → learner of the ballot's owner, which counts it once for each slot, ballot
    /// and acceptor (S3). The leader's repeated accepts bring lost ones again.
    Accepted {
        /// The ballot at which all the slots were accepted.
        ballot: Ballot,
        /// The acceptor.
        voter: Voter,
        /// Exactly the accepted slots. They say nothing about any other slot.
        slots: SlotList,
    },
    /// Learner → one peer's learner: send me the decided values of these slots. The sender
    /// asks again, or asks another peer, until the values have come (L4).
    Fetch {
        /// The wanted slots.
        slots: SlotRange,
    },
    /// A part of a decided log, in answer to [`ToLearner::Fetch`]. A repeated one changes
    /// nothing.
    Page {
        /// The slot of the first value.
        first: Slot,
        /// One decided value for each slot, from `first` on.
        values: Values,
    },
}

/// Every member → every peer, several times in the shortest election wait. A lost one is
/// made good by the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The sender. Only members count as being in touch. Rounds begin anew with each life.
    pub voter: Voter,
    /// How many records the sender's acceptor has written, durably. The receiver remembers it
    /// (S10).
    pub written: u64,
    /// The number of this heartbeat in the sender's life. The receiver drops one that is
    /// older than the newest it knows.
    pub round: u64,
    /// The highest round that the sender has heard from the receiver. By it a leader knows
    /// whether a quorum still hears it (L2).
    pub echo: u64,
    /// How long the sender had held that round when it sent this, in microseconds. The receiver
    /// takes it off the time that the echo took, and has the round trip.
    pub held_us: u32,
    /// How long a sync of the sender's disk takes, hardly ever longer, in milliseconds, rounded
    /// up. 0 if it has not measured any.
    pub sync_ms: u16,
    /// The ballot under which the sender leads, campaigns or follows.
    pub ballot: Ballot,
    /// Whether the sender leads at `ballot` and serves.
    pub leading: bool,
    /// Whether the sender campaigns with `ballot`, and its campaign moves: for so long it
    /// counts like a serving leader (L2).
    pub campaigning: bool,
    /// The ballot that the sender's acceptor has promised, if any.
    pub promised: Option<Ballot>,
    /// The sender has applied every slot below this.
    pub applied: Slot,
    /// What the sender's decided log is, at a slot up to which it has applied it (S11).
    pub history: LogHash,
    /// What the sender knows to be decided by its own tally. Empty if it does not lead.
    pub decided: Decided,
    /// If the sender leads: whatever was chosen below `ballot` lies below this slot, as its phase 1
    /// has found (E5). 0 if it does not lead.
    pub inherited: Slot,
    /// What the sender knows of a life of another member, or of a life of the receiver's directory
    /// (S12). Only while it hears two lives of that member.
    pub seen: Option<Seen>,
}

/// A life of a member of which two are heard (S12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seen {
    /// The member. If that is the receiver, two lives of it run at once, and neither counts.
    pub of: ReplicaId,
    /// The life.
    pub boot: BootId,
    /// Where its datagrams come from, if the sender knows.
    pub at: Option<Address>,
    /// The newest round of the receiver that has reached this life through the sender: the sender
    /// had heard it before it sent the round that this life has echoed.
    pub reached: u64,
}

/// A decided log as a number: the same for two logs that are the same up to there, and for no
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct LogHash {
    /// The end of the slots that the hash covers.
    pub slot: Slot,
    /// The running hash of the values below that slot; 0 if there are none.
    pub hash: u64,
}

/// Why a datagram in a replica's name was refused, if the operator should hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// It is of this other cluster.
    Cluster(ClusterId),
}

/// The other end of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A replica of the configuration.
    Replica(ReplicaId),
    /// A client. Its frames do not say which one.
    Client,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{REPLICAS_MAX, Value};

    #[test]
    fn a_list_from_the_wire_ends_at_its_bound() {
        let list = |items: usize| {
            let started = Some(vec![DirectoryId(7); items]);
            let (directory, boot) = (DirectoryId(7), BootId(3));
            let ready =
                Ready { directory, boot, round: 1, answers: None, started, list: 0, origin: None };
            let bytes = postcard::to_stdvec(&ready).expect("encodes");
            postcard::from_bytes::<Ready>(&bytes).is_ok_and(|read| read == ready)
        };
        assert!(list(0) && list(REPLICAS_MAX) && !list(REPLICAS_MAX + 1));
        let votes = |items: usize| {
            let slots = vec![SlotRange::with_len(Slot(1), 2); items].into();
            let votes = ToLearner::Accepted { ballot: Ballot(3), voter: Voter::default(), slots };
            let bytes = postcard::to_stdvec(&votes).expect("encodes");
            postcard::from_bytes::<ToLearner>(&bytes).is_ok_and(|read| read == votes)
        };
        assert!(votes(0) && votes(MESSAGE_SLOTS_MAX) && !votes(MESSAGE_SLOTS_MAX + 1));
        let values = |items: usize| {
            let values = Values::from(&Value::Noop);
            let run = Run { first: Slot(1), ballot: Ballot(2), values };
            let (ballot, trimmed, last) = (Ballot(3), Slot::ZERO, true);
            let values = AcceptedValues { ballot, trimmed, accepted: vec![run; items], last };
            let bytes = postcard::to_stdvec(&values).expect("encodes");
            postcard::from_bytes::<AcceptedValues>(&bytes).is_ok_and(|read| read == values)
        };
        assert!(values(0) && values(MESSAGE_SLOTS_MAX) && !values(MESSAGE_SLOTS_MAX + 1));
        let promise = |items: u64| {
            let slots = |at| SlotRange::with_len(Slot(2 * at), 1);
            let spans = (0..items).map(|at| Span { slots: slots(at), ballot: Ballot(2) });
            let promise = Promise {
                ballot: Ballot(3),
                voter: Voter::default(),
                slots: SlotRange::with_len(Slot(1), 1),
                last: true,
                trimmed: Slot::ZERO,
                accepted: spans.collect(),
            };
            let bytes = postcard::to_stdvec(&promise).expect("encodes");
            postcard::from_bytes::<Promise>(&bytes).is_ok_and(|read| read == promise)
        };
        let most = MESSAGE_SLOTS_MAX as u64;
        assert!(promise(0) && promise(most) && !promise(most + 1));
    }
}
