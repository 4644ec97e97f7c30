//! The protocol, pure.
//!
//! Each role is a struct that takes `(now, draw, input)` and fills an [`Outbox`]:
//! time and randomness are arguments. No role holds a clock, a socket, a thread, a
//! file or a generator, and none iterates in hash order; so the same code runs
//! under real threads, in a simulator and in a test, and the same inputs always
//! give the same outputs.
//!
//! How the roles fit, on one replica:
//!
//! ```text
//!           clients, peers                     peers
//!                 |                              |
//!             [proposer] --- Accept ---------> [acceptor]
//!              |   ^  ^                         |      |
//!     Proposed |   |  `-- Promised -------------'      | OwnAccepted
//!              v   | Progress, RequestIsNext           v
//!             [learner] <------------------------- (own votes)
//!              drives [chat]: sessions, chat-log lines, answers
//!
//!             [bootstrap] warm-up and membership: builds the other three
//! ```
//!
//! - [`acceptor`]: promises and acceptances; the only state that safety needs.
//! - [`proposer`] with [`election`]: who leads, phase 1, phase 2.
//! - [`learner`] with [`chat`]: what is decided, in order, applied once.
//! - [`bootstrap`]: directory ids, the started record, who may vote.
//! - [`client`]: sessions, one line in flight each.
//!
//! **Records before messages.** A role hands what must survive a crash to
//! [`Outbox::persist`] and messages to `send`, `answer` and `tell`; the only way to
//! the messages is [`Outbox::commit`], which appends and syncs the records first.
//! Handling many inputs before one commit is group commit.
//!
//! **Every hand-over may be lost**, also inside a replica (a full queue drops). So
//! every notice is cumulative, or asked for again by whoever needs it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod acceptor;
mod aside;
pub mod bootstrap;
pub mod chat;
pub mod client;
pub mod election;
pub mod learner;
pub mod phase1;
pub mod phase2;
pub mod proposer;
pub mod round_trip;
pub mod runs;
mod sessions;
mod slot_set;
mod state;

use crate::message::{Answer, ClientMessage, Message};
use crate::types::{Address, BootId, ClusterId, DirectoryId, ReplicaId, Slot, Time};
use crate::values::Values;
use std::io;

/// How many slots above its trim mark an acceptor accepts in.
pub const ACCEPT_WINDOW_SLOTS: u64 = 131_072;

/// How many bytes of values an acceptor holds before it accepts nothing new, give or
/// take a message: what its learner applies, it forgets.
pub const ACCEPT_BYTES_MAX: usize = 64 << 20;

/// How many slots above what is applied a leader proposes in. Well below
/// [`ACCEPT_WINDOW_SLOTS`], so that a follower which lags a little still votes.
pub const PROPOSE_WINDOW_SLOTS: u64 = 16_384;

/// Acceptors hold what lies above the checkpoint before the newest, and two lie a quarter
/// of the window apart at most.
const _: () = assert!(2 * (ACCEPT_WINDOW_SLOTS / 4) + PROPOSE_WINDOW_SLOTS < ACCEPT_WINDOW_SLOTS);

/// How many bytes of decided values one request is answered with, give or take a
/// page: what a peer that fell behind can take in without losing the rest.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a replica is told once and for all when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which replica this is.
    pub id: ReplicaId,
    /// How many there are.
    pub n: usize,
    /// This life of the process.
    pub boot: BootId,
    /// The bytes of messages that fit one datagram: lists are split to fit.
    pub payload_bytes: usize,
    /// Between two heartbeats.
    pub heartbeat_us: u64,
    /// The shortest time without a serving leader after which one is suspected.
    pub election_min_us: u64,
    /// The longest; each wait is drawn between the two.
    pub election_max_us: u64,
    /// How many slots are applied between two checkpoints; what is below the newest
    /// one, acceptors forget. Well below [`ACCEPT_WINDOW_SLOTS`].
    pub checkpoint_slots: u64,
    /// A slot that replica 0 leaves out under ballot 0 (fault injection).
    pub skip_slot: Option<Slot>,
}

/// Who belongs to the cluster: the started record, and this replica's place in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The hash of the started record.
    pub cluster: ClusterId,
    /// This replica's directory.
    pub directory: DirectoryId,
    /// The started record: one directory a replica.
    pub members: Vec<DirectoryId>,
    /// Whether this process made its directory and warmed up with it: only then may
    /// replica 0 lead ballot 0.
    pub fresh: bool,
}

impl Membership {
    /// Whether `directory` may vote for replica `id`.
    pub fn counts(&self, id: ReplicaId, directory: DirectoryId) -> bool {
        self.members.get(id.index()) == Some(&directory)
    }

    /// Whether this replica's own votes count.
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.counts(id, self.directory)
    }
}

/// A part of the protocol. See the module's prose for what it may not do.
pub trait Role {
    /// What it takes.
    type Input;
    /// What it wants to survive a crash.
    type Record;

    /// Takes one input.
    fn handle(&mut self, now: Time, draw: u64, input: Self::Input, out: &mut Outbox<Self::Record>);

    /// Its deadline has passed (or something woke it early: it looks for itself).
    fn handle_timeout(&mut self, now: Time, draw: u64, out: &mut Outbox<Self::Record>);

    /// A burst of inputs has been handled: what was gathered goes out as one.
    fn flush(&mut self, now: Time, out: &mut Outbox<Self::Record>);

    /// Whether somebody waits for what it does: otherwise its thread lets others of the
    /// host go first.
    fn is_urgent(&self) -> bool {
        true
    }

    /// When it next wants [`Role::handle_timeout`].
    fn deadline(&self) -> Option<Time>;

    /// Whether it has nothing left to do, ever.
    fn is_finished(&self) -> bool {
        false
    }
}

/// What leaves a role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// To a replica, possibly this one.
    Peer {
        /// Which.
        to: ReplicaId,
        /// What.
        message: Message,
    },
    /// To a client: what is answered to it in a row.
    Answers {
        /// Where its datagram came from.
        to: Address,
        /// What.
        answers: Vec<Answer>,
    },
    /// From a client to a replica.
    Call {
        /// Which.
        to: ReplicaId,
        /// What.
        message: ClientMessage,
    },
    /// To another role of this replica.
    Notice(Notice),
}

/// What roles of one replica tell each other, beside the messages that they could
/// as well send to a peer. Never on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Notice {
    /// For the acceptor.
    Acceptor(acceptor::Input),
    /// For the proposer.
    Proposer(proposer::Input),
    /// For the learner.
    Learner(learner::Input),
    /// Warm-up is over (or this replica was refused): build the other roles.
    Start(Membership),
}

/// What a role wants done, in the order in which it must be done: records first.
#[derive(Debug)]
pub struct Outbox<R> {
    records: Vec<R>,
    envelopes: Vec<Envelope>,
    pages: Vec<PageWanted>,
}

/// Decided slots that a peer asked for; read from storage at commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PageWanted {
    to: ReplicaId,
    first: Slot,
    upto: Slot,
    page_bytes: usize,
}

impl<R> Default for Outbox<R> {
    fn default() -> Self {
        Outbox { records: Vec::new(), envelopes: Vec::new(), pages: Vec::new() }
    }
}

impl<R> Outbox<R> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// This must be durable before anything that is sent here leaves.
    pub fn persist(&mut self, record: R) {
        self.records.push(record);
    }

    /// To a replica, possibly this one.
    pub fn send(&mut self, to: ReplicaId, message: Message) {
        self.envelopes.push(Envelope::Peer { to, message });
    }

    /// To a client.
    pub fn answer(&mut self, to: Address, answer: Answer) {
        match self.envelopes.last_mut() {
            Some(Envelope::Answers { to: same, answers }) if *same == to => answers.push(answer),
            _ => self.envelopes.push(Envelope::Answers { to, answers: vec![answer] }),
        }
    }

    /// From a client to a replica.
    pub fn call(&mut self, to: ReplicaId, message: ClientMessage) {
        self.envelopes.push(Envelope::Call { to, message });
    }

    /// To another role of this replica.
    pub fn tell(&mut self, notice: Notice) {
        self.envelopes.push(Envelope::Notice(notice));
    }

    /// Sends `to` what storage holds of these decided slots, in pages of at most
    /// `page_bytes` (one value at least).
    pub fn send_decided(&mut self, to: ReplicaId, first: Slot, upto: Slot, page_bytes: usize) {
        self.pages.push(PageWanted { to, first, upto, page_bytes });
    }

    /// Appends the records, syncs once, and only then yields the envelopes.
    ///
    /// # Errors
    ///
    /// What the storage says. Nothing may leave then, and the caller must end the
    /// process: a failed sync is never retried and believed.
    pub fn commit(&mut self, storage: &mut impl Storage<R>) -> io::Result<Vec<Envelope>> {
        let mut envelopes = Vec::new();
        self.commit_into(storage, &mut envelopes)?;
        Ok(envelopes)
    }

    /// The same, with a list to put the envelopes into; what was in it is gone.
    ///
    /// # Errors
    ///
    /// As [`Outbox::commit`].
    pub fn commit_into(
        &mut self,
        storage: &mut impl Storage<R>,
        envelopes: &mut Vec<Envelope>,
    ) -> io::Result<()> {
        envelopes.clear();
        if !self.records.is_empty() {
            storage.append(&mut self.records)?;
            assert!(self.records.is_empty(), "storage takes all records or fails");
            storage.sync()?;
        }
        std::mem::swap(&mut self.envelopes, envelopes);
        for wanted in self.pages.drain(..) {
            let mut first = wanted.first;
            let mut room = ANSWER_BYTES_MAX;
            while first < wanted.upto && room > 0 {
                let values = storage.decided(first, wanted.upto, wanted.page_bytes)?;
                if values.is_empty() {
                    break;
                }
                room = room.saturating_sub(values.bytes().len());
                let next = first.plus(values.len() as u64);
                let page = crate::message::ToLearner::Page { first, values };
                envelopes.push(Envelope::Peer { to: wanted.to, message: Message::Learner(page) });
                first = next;
            }
        }
        Ok(())
    }
}

/// Where a role's records go.
pub trait Storage<R> {
    /// Takes all of `records`, in order, and leaves the list empty.
    ///
    /// # Errors
    ///
    /// When they cannot be written; the process must end.
    fn append(&mut self, records: &mut Vec<R>) -> io::Result<()>;

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    ///
    /// When that is not certain; the process must end.
    fn sync(&mut self) -> io::Result<()>;

    /// What was to leave after the last sync has left: what need not be durable yet, and
    /// nobody waits for, is worked on now.
    ///
    /// # Errors
    ///
    /// When it cannot be written; the process must end.
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Nothing more is at hand, and the thread is about to sleep: what need not be
    /// durable yet, and was only gathered, is written now.
    ///
    /// # Errors
    ///
    /// When it cannot be written; the process must end.
    fn rest(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Decided values from `first` on, below `upto`, of at most `bytes` on the wire
    /// but one at least; empty if `first` is not held. Only a learner's storage
    /// holds any.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn decided(&mut self, first: Slot, upto: Slot, bytes: usize) -> io::Result<Values> {
        let _ = (first, upto, bytes);
        Ok(Values::default())
    }

    /// Takes leave of it, at a clean end: everything appended is on the disk then,
    /// also what [`Storage::sync`] does not wait for.
    ///
    /// # Errors
    ///
    /// When that is not certain; the end was no clean one then.
    fn close(self) -> io::Result<()>
    where
        Self: Sized,
    {
        Ok(())
    }
}

/// For roles that have nothing to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Never {}

/// The storage of a role that has nothing to remember.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStorage;

impl Storage<Never> for NoStorage {
    fn append(&mut self, _: &mut Vec<Never>) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Request, ToLearner};
    use crate::types::{Ballot, Value};
    use crate::values::ValueRef;
    use std::net::{Ipv4Addr, SocketAddr};

    /// A role that says nothing of itself.
    struct Mute;

    impl Role for Mute {
        type Input = ();
        type Record = Never;

        fn handle(&mut self, _: Time, _: u64, (): (), _: &mut Outbox<Never>) {}

        fn handle_timeout(&mut self, _: Time, _: u64, _: &mut Outbox<Never>) {}

        fn flush(&mut self, _: Time, _: &mut Outbox<Never>) {}

        fn deadline(&self) -> Option<Time> {
            None
        }
    }

    #[test]
    fn a_role_is_urgent_and_goes_on_for_ever_if_it_does_not_say_otherwise() {
        assert!(Mute.is_urgent());
        assert!(!Mute.is_finished());
    }

    #[test]
    fn answers_to_one_client_in_a_row_leave_as_one_list() {
        let mut out: Outbox<Never> = Outbox::new();
        for (port, ballot) in [(1, 0), (1, 1), (2, 2), (1, 3)] {
            let to = Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            out.answer(to, Answer::Leader { ballot: Ballot(ballot) });
        }
        let list = |envelope| match envelope {
            Envelope::Answers { to, answers } => (to.0.port(), answers.len()),
            other => panic!("nothing else was sent: {other:?}"),
        };
        let sent = out.commit(&mut NoStorage).expect("no storage never fails");
        assert_eq!(sent.into_iter().map(list).collect::<Vec<_>>(), [(1, 2), (2, 1), (1, 1)]);
    }

    /// The same line in every slot there is, and for which slots it was asked.
    struct Endless {
        value: Value,
        asked: Vec<(Slot, Slot)>,
    }

    impl Storage<Never> for Endless {
        fn append(&mut self, _: &mut Vec<Never>) -> io::Result<()> {
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn decided(&mut self, first: Slot, upto: Slot, _: usize) -> io::Result<Values> {
            self.asked.push((first, upto));
            Ok(vec![self.value.clone(); upto.since(first).min(2) as usize].into())
        }
    }

    #[test]
    fn a_request_for_decided_slots_is_answered_with_64_kib_and_the_rest_of_a_page() {
        let line = "x".repeat(1_000);
        let value = Value::Command(Request::new(1, 1, 0, &line).command());
        let page_bytes = 2 * ValueRef::from(&value).encoded_bytes();
        let pages = |first: u64, upto: u64| {
            let mut out = Outbox::new();
            out.send_decided(ReplicaId(1), Slot(first), Slot(upto), 1_200);
            let mut storage = Endless { value: value.clone(), asked: Vec::new() };
            let mut next = Slot(first);
            let sent = out.commit(&mut storage).expect("this storage never fails");
            for envelope in &sent {
                let Envelope::Peer { message: Message::Learner(page), .. } = envelope else {
                    panic!("nothing else was asked for: {envelope:?}")
                };
                let ToLearner::Page { first, values } = page else { panic!("no page: {page:?}") };
                assert_eq!(*first, next);
                next = first.plus(values.len() as u64);
            }
            assert!(storage.asked.iter().all(|(first, upto)| first < upto), "{:?}", storage.asked);
            assert!(out.commit(&mut storage).expect("it never fails").is_empty(), "asked once");
            (sent.len(), next.0)
        };
        let most = (64 * 1_024_usize).div_ceil(page_bytes);
        assert_eq!(pages(3, 1_000), (most, 3 + 2 * most as u64));
        assert_eq!(pages(3, 8), (3, 8));
        assert_eq!(pages(8, 8), (0, 8));
    }
}
