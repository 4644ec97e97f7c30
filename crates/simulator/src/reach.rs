//! Reach: counts the situations that a run or a sweep has met.
//!
//! A sweep that never met a trimmed promise has said nothing about trimmed promises. So every
//! situation that matters is counted, and a sweep can demand that no count is zero.

use super::environment::Place;
use super::faults::Partition;
use super::path::Passage;
use multipaxos::message::{Message, ToLearner, ToProposer};
use multipaxos::paxos::Bound;
use std::fmt;

macro_rules! reach {
    ($($(#[$doc:meta])* $situation:ident = $name:literal,)*) => {
        /// A situation that a sweep should meet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Situation {
            $($(#[$doc])* $situation,)*
        }

        impl Situation {
            /// All situations, in the order in which a summary shows them.
            pub const ALL: &[Situation] = &[$(Situation::$situation,)*];

            /// The name in a summary.
            pub fn name(self) -> &'static str {
                match self { $(Situation::$situation => $name,)* }
            }
        }
    };
}

reach! {
    /// Another replica became leader.
    LeaderChange = "leader_changes",
    /// A pre-vote was granted.
    PreVoteGranted = "pre_votes_granted",
    /// A pre-vote was refused.
    PreVoteRefused = "pre_votes_refused",
    /// An acceptor refused a ballot below its promise.
    Nack = "nacks",
    /// A promise named a trim mark above the first slot that was asked for.
    TrimmedPromise = "trimmed_promises",
    /// A promise took more than one page.
    PromisePage = "promise_pages",
    /// A candidate was sent values that its own acceptor lacked.
    ValuesFetched = "values_fetched",
    /// Another answer to a candidate followed, or no such value was left.
    ValuesLeftOut = "values_left_out",
    /// A no-op was decided.
    HoleFilled = "holes_filled",
    /// A command was chosen again and changed nothing.
    DuplicateSuppressed = "duplicates_suppressed",
    /// A replica asked a peer for decided slots.
    Fetch = "fetches",
    /// A peer sent decided slots.
    Page = "pages",
    /// A request went through a replica that did not lead.
    Forward = "forwards",
    /// A client was told that its session expired.
    SessionExpired = "sessions_expired",
    /// A client was told that its session was born too early, and opened another one.
    SessionBornTooEarly = "sessions_born_too_early",
    /// A cluster began with the chat log of a lost one.
    Begun = "begun_with_chat_logs",
    /// A message was joined from fragments.
    FragmentsJoined = "fragments_joined",
    /// Missing fragments were asked for.
    FragmentsAsked = "fragments_asked",
    /// A fragment that was asked for was sent again.
    FragmentsResent = "fragments_resent",
    /// A replica died.
    Crash = "crashes",
    /// A replica came back.
    Restart = "restarts",
    /// A replica was told to end.
    Terminated = "told_to_end",
    /// A leader that was told to end handed over.
    HandedOver = "handed_over",
    /// A replica slept.
    Pause = "pauses",
    /// The power of a replica was cut.
    PowerCut = "power_cuts",
    /// A disk reported an error, or had no space.
    DiskTrouble = "disk_troubles",
    /// A damaged disk was refused, or the replica noticed that its disk had lost records.
    Damage = "damage_noticed",
    /// A process died during a sync, and the records of that sync turned out to be durable.
    InDoubt = "syncs_in_doubt",
    /// A sync failed or was interrupted.
    SyncFailed = "sync_failures",
    /// A replica lost its disk.
    Wipe = "disks_lost",
    /// An older copy of a replica's disk was put back.
    PutBack = "copies_put_back",
    /// A replica learned from another one that it had lost its state.
    StateLost = "states_lost_noticed",
    /// Somebody changed a line of a replica's decided log.
    Altered = "logs_altered",
    /// Replicas with other logs than a quorum stopped.
    Diverged = "other_logs_noticed",
    /// The chat log of a replica that ran was cut, deleted or rotated.
    Struck = "chat_logs_struck",
    /// That of a replica that was down.
    StruckStopped = "chat_logs_struck_down",
    /// A replica that ran went on with what was left of its chat log.
    ChatLogMended = "chat_logs_mended",
    /// The log changed the members.
    MembersChanged = "members_changed",
    /// The next configuration has led, and its members are one less.
    MemberRemoved = "members_removed",
    /// … one more.
    MemberAdded = "members_added",
    /// … one more, at a place that had no vote in the beginning.
    PlaceFilled = "places_filled",
    /// … as many, with another directory in a lost one's place.
    MemberReplaced = "members_replaced",
    /// A member has moved, and a leader says so.
    MemberMoved = "members_moved",
    /// The leader was asked to propose a configuration without itself.
    LeaderRemoved = "leaders_removed",
    /// A copy of a data directory began to run beside the original.
    CopyBeside = "copies_beside",
    /// A replica told another one that two processes run on its directory.
    CopyTold = "copies_told",
    /// The copy was ended, or ended itself.
    CopyEnded = "copies_ended",
    /// A checkpoint was whole only some slots after it had begun.
    CheckpointParts = "checkpoints_in_parts",
    /// A replica told an operator how it is.
    StatusTold = "statuses_told",
    /// A read ended.
    Read = "reads",
    /// One knew how far the log goes before a replica had applied so much.
    ReadWaited = "reads_that_waited",
    /// A reader of the chat log got lines of it.
    LogRead = "log_reads",
    /// A full inbox inside a replica dropped a batch.
    InboxFull = "inboxes_full",
    /// A client died and returned.
    ClientDies = "clients_died",
    /// The cluster refused a directory that the started record does not name.
    NotMember = "not_members",
    /// A warm-up message of a former cluster was on its way.
    StaleWarmUp = "stale_warm_up",
    /// A replica that had run on with the files of a former cluster began anew.
    Leftover = "leftovers_removed",
    /// A stray process was told that it is no member.
    StrayTold = "strays_told",
    /// In a run with keys a process dropped what an attacker had sent, or the network had repeated.
    ForgeryDropped = "forgeries_dropped",
    /// An acceptor held as many slots as it may hold above its highest one.
    AcceptSlots = "bound_accept_slots",
    /// An acceptor held as many bytes.
    AcceptBytes = "bound_accept_bytes",
    /// A leader had proposed as many slots as it may propose ahead.
    ProposeSlots = "bound_propose_slots",
    /// A leader had as many bytes in flight as it may have.
    InFlightBytes = "bound_in_flight_bytes",
    /// A leader's queue of requests was full.
    RequestsQueued = "bound_requests_queued",
    /// A learner had as many fetches on their way as it may have.
    Fetches = "bound_fetches",
    /// A learner had asked for slots as far ahead as it may.
    AheadSlots = "bound_ahead_slots",
    /// A learner had no room for more bytes above a gap.
    EarlyBytes = "bound_early_bytes",
    /// A learner kept as many requests as it may.
    RequestsWaiting = "bound_requests_waiting",
    /// A packet found a full queue.
    QueueFull = "queues_full",
    /// A packet was longer than its path carries, and vanished.
    Vanished = "packets_vanished",
    /// A packet was longer than its path carries, and the sender was told.
    Refused = "packets_refused",
    /// Several clients were in one process.
    ClientsTogether = "clients_together",
    /// A kernel said that it has sent a batch, and has not.
    BatchVanished = "batches_vanished",
    /// A kernel refused a batch.
    BatchRefused = "batches_refused",
    /// A process sent no batches any more: to anybody, or to a peer for a while.
    BatchesDistrusted = "batches_distrusted",
    /// A process sent batches again.
    BatchesAgain = "batches_again",
    /// See [`Partition::Split`].
    Split = "partition_split",
    /// See [`Partition::Isolate`].
    Isolate = "partition_isolate",
    /// See [`Partition::OneWay`].
    OneWay = "partition_one_way",
    /// See [`Partition::Flap`].
    Flap = "partition_flap",
    /// See [`Partition::Hub`].
    Hub = "partition_quorum_loss",
    /// See [`Partition::Constrained`].
    Constrained = "partition_constrained",
    /// See [`Partition::Chained`].
    Chained = "partition_chained",
}

/// What only paths with numbers can do to a packet.
const BY_PATHS: [Situation; 3] = [Situation::QueueFull, Situation::Vanished, Situation::Refused];

/// What only faulty kernels do.
const BY_KERNELS: [Situation; 4] = [
    Situation::BatchVanished,
    Situation::BatchRefused,
    Situation::BatchesDistrusted,
    Situation::BatchesAgain,
];

/// What only small bounds do. The gentle world has large ones.
pub const BY_BOUNDS: [Situation; 9] = [
    Situation::AcceptSlots,
    Situation::AcceptBytes,
    Situation::ProposeSlots,
    Situation::InFlightBytes,
    Situation::RequestsQueued,
    Situation::Fetches,
    Situation::AheadSlots,
    Situation::EarlyBytes,
    Situation::RequestsWaiting,
];

/// What only the gentle world does: its inboxes, flipped bits, strangers, and sessions that expire.
const GENTLE: [Situation; 15] = [
    Situation::Begun,
    Situation::CopyBeside,
    Situation::CopyTold,
    Situation::CopyEnded,
    Situation::SessionExpired,
    Situation::Damage,
    Situation::PutBack,
    Situation::StateLost,
    Situation::Altered,
    Situation::Diverged,
    Situation::InboxFull,
    Situation::StaleWarmUp,
    Situation::Leftover,
    Situation::StrayTold,
    Situation::ForgeryDropped,
];

/// What needs a seldom fault: no single place is asked for it.
const SELDOM: [Situation; 17] = [
    Situation::MembersChanged,
    Situation::MemberRemoved,
    Situation::MemberAdded,
    Situation::PlaceFilled,
    Situation::MemberReplaced,
    Situation::MemberMoved,
    Situation::LeaderRemoved,
    Situation::Struck,
    Situation::StruckStopped,
    Situation::ChatLogMended,
    Situation::TrimmedPromise,
    Situation::PowerCut,
    Situation::DiskTrouble,
    Situation::InDoubt,
    Situation::SyncFailed,
    Situation::Wipe,
    Situation::NotMember,
];

impl Situation {
    /// Whether runs in such a place can meet it.
    fn is_met_in(self, place: Option<Place>) -> bool {
        match place {
            None => ![&BY_PATHS[..], &BY_BOUNDS, &BY_KERNELS].concat().contains(&self),
            Some(Place::Any) => !GENTLE.contains(&self),
            Some(Place::Offload) if BY_KERNELS.contains(&self) => true,
            // What one place cannot do, another can.
            Some(_) => {
                let others = [&GENTLE[..], &SELDOM, &BY_PATHS, &BY_BOUNDS, &BY_KERNELS].concat();
                !others.contains(&self)
            }
        }
    }

    /// The counter of a bound.
    pub fn bound(bound: Bound) -> Situation {
        match bound {
            Bound::AcceptSlots => Situation::AcceptSlots,
            Bound::AcceptBytes => Situation::AcceptBytes,
            Bound::ProposeSlots => Situation::ProposeSlots,
            Bound::InFlightBytes => Situation::InFlightBytes,
            Bound::Queue => Situation::RequestsQueued,
            Bound::Fetches => Situation::Fetches,
            Bound::AheadSlots => Situation::AheadSlots,
            Bound::EarlyBytes => Situation::EarlyBytes,
            Bound::Waiting => Situation::RequestsWaiting,
        }
    }

    /// The counter of a partition.
    pub fn partition(kind: Partition) -> Situation {
        match kind {
            Partition::Split => Situation::Split,
            Partition::Isolate => Situation::Isolate,
            Partition::OneWay => Situation::OneWay,
            Partition::Flap => Situation::Flap,
            Partition::Hub => Situation::Hub,
            Partition::Constrained => Situation::Constrained,
            Partition::Chained => Situation::Chained,
        }
    }
}

/// The count of every situation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    counts: Vec<u64>,
}

impl Default for Reach {
    fn default() -> Self {
        Reach { counts: vec![0; Situation::ALL.len()] }
    }
}

impl Reach {
    /// Counts a situation once.
    pub fn count(&mut self, situation: Situation) {
        self.add(situation, 1);
    }

    /// Counts a situation this many times.
    pub fn add(&mut self, situation: Situation, times: u64) {
        self.counts[situation as usize] += times;
    }

    /// The count of a situation.
    pub fn of(&self, situation: Situation) -> u64 {
        self.counts[situation as usize]
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Reach) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// The situations that were never met, of those that runs in such a place can meet.
    pub fn missing(&self, place: Option<Place>) -> Vec<Situation> {
        let possible = Situation::ALL.iter().copied().filter(|it| it.is_met_in(place));
        possible.filter(|situation| self.of(*situation) == 0).collect()
    }

    /// Counts what became of a packet.
    pub fn passes(&mut self, passage: Passage) {
        match passage {
            Passage::Arrives(..) | Passage::Lost => {}
            Passage::Overflows => self.count(Situation::QueueFull),
            Passage::Vanishes => self.count(Situation::Vanished),
            Passage::IsRefused => self.count(Situation::Refused),
        }
    }

    /// Counts the situation that a message shows.
    pub fn sees(&mut self, message: &Message) {
        match message {
            Message::Proposer(ToProposer::PreVoteReply { granted: true, .. }) => {
                self.count(Situation::PreVoteGranted);
            }
            Message::Proposer(ToProposer::PreVoteReply { granted: false, .. }) => {
                self.count(Situation::PreVoteRefused);
            }
            Message::Proposer(ToProposer::Nack { .. }) => self.count(Situation::Nack),
            Message::Proposer(ToProposer::Promise(page)) => {
                if page.trimmed > page.slots.start {
                    self.count(Situation::TrimmedPromise);
                }
                if !page.last {
                    self.count(Situation::PromisePage);
                }
            }
            Message::Proposer(ToProposer::AcceptedValues(values)) => {
                let none = values.accepted.is_empty();
                self.count(if none { Situation::ValuesLeftOut } else { Situation::ValuesFetched });
            }
            Message::Proposer(ToProposer::Forward { .. }) => self.count(Situation::Forward),
            Message::Learner(ToLearner::Fetch { .. }) => self.count(Situation::Fetch),
            Message::Learner(ToLearner::Page { .. }) => self.count(Situation::Page),
            Message::Acceptor(_)
            | Message::Proposer(
                ToProposer::PreVote { .. }
                | ToProposer::Leaving { .. }
                | ToProposer::Observes { .. },
            )
            | Message::Learner(ToLearner::Accepted { .. })
            | Message::Bootstrap(_)
            | Message::Heartbeat(_) => {}
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for situation in Situation::ALL {
            writeln!(f, "  {:<24}{:>14}", situation.name(), self.of(*situation))?;
        }
        Ok(())
    }
}
