//! The records and messages of a role, and the one way in which they leave it.
//!
//! A role hands what must survive a crash to [`Outbox::persist`], and everything that it
//! sends to the other methods of [`Outbox`]. Only [`Outbox::commit`] gives out what was
//! sent, and it makes the records durable first. So no message leaves before the state on
//! which it rests is durable (rule S1). Handling many inputs before one commit is group
//! commit.
//!
//! Peers' requests for decided slots need no record, only a look into storage.
//! [`Outbox::read_pages`] answers them after the commit, a bounded number of bytes in each
//! turn. What is beyond is dropped, like all that finds a full queue (rule L5), and the peer
//! asks again for less. Followers of the chat log come after the peers, with bounds of their own.

use super::{ANSWER_BYTES_MAX, Envelope, Notice};
use crate::message::{
    Answer, ClientMessage, Excerpt, FollowQuery, Message, ToBootstrap, ToLearner,
};
use crate::types::{Address, ReplicaId, Slot, SlotRange};
use crate::values::Values;
use serde::{Deserialize, Serialize};
use std::io;

/// How many requests for decided slots one turn answers.
const PAGE_REQUESTS_MAX: usize = 1_024;

/// How many bytes of values one turn reads for peers, give or take an answer. Clients wait
/// meanwhile, and other peers that lag come in later turns.
const TURN_PAGES_BYTES_MAX: usize = 1 << 20;

/// How many questions of followers one turn answers.
const EXCERPT_REQUESTS_MAX: usize = 256;

/// How many bytes of the chat log one turn reads for them, give or take a line.
const TURN_EXCERPTS_BYTES_MAX: usize = 512 << 10;

/// The records and envelopes of one burst of inputs.
#[derive(Debug)]
pub struct Outbox<R> {
    records: Vec<R>,
    envelopes: Vec<Envelope>,
    page_requests: Vec<PageRequest>,
    excerpt_requests: Vec<ExcerptRequest>,
}

/// Decided slots that a peer asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// The peer that asked.
    pub to: ReplicaId,
    /// The slots that it wants.
    pub slots: SlotRange,
    /// How many bytes of values one page may hold, unless its first value alone is longer.
    pub page_bytes: usize,
}

/// What a role has put into its outbox.
#[derive(Debug)]
pub struct Contents<'a, R> {
    /// What is to be made durable.
    pub records: &'a [R],
    /// What is to be sent.
    pub envelopes: &'a [Envelope],
    /// What is to be looked up for peers,
    pub page_requests: &'a [PageRequest],
    /// and for followers.
    pub excerpt_requests: &'a [ExcerptRequest],
}

/// A piece of the chat log that a follower asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcerptRequest {
    /// The follower.
    pub to: Address,
    /// What it asked.
    pub query: FollowQuery,
    /// Every slot below this is applied.
    pub applied: Slot,
}

impl<R> Default for Outbox<R> {
    fn default() -> Self {
        Outbox {
            records: Vec::new(),
            envelopes: Vec::new(),
            page_requests: Vec::new(),
            excerpt_requests: Vec::new(),
        }
    }
}

impl<R> Outbox<R> {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `record` durable before anything leaves that is sent through this outbox.
    pub fn persist(&mut self, record: R) {
        self.records.push(record);
    }

    /// What is to be made durable by the next commit.
    pub fn records(&self) -> &[R] {
        &self.records
    }

    /// All that was put into it, for whoever writes down what a role does.
    pub fn contents(&self) -> Contents<'_, R> {
        let Outbox { records, envelopes, page_requests, excerpt_requests } = self;
        Contents { records, envelopes, page_requests, excerpt_requests }
    }

    /// Sends a message to a replica, possibly to this one.
    pub fn send(&mut self, to: ReplicaId, message: Message) {
        self.envelopes.push(Envelope::Peer { to, message });
    }

    /// Sends a message to whoever sent a datagram from `at` in the name of `to`. It must be
    /// shorter than that datagram (W3).
    pub fn send_back(&mut self, to: ReplicaId, at: Address, message: ToBootstrap) {
        self.envelopes.push(Envelope::Back { to, at, message });
    }

    /// Answers a client. Consecutive answers to one client leave as one list.
    pub fn answer(&mut self, to: Address, answer: Answer) {
        match self.envelopes.last_mut() {
            Some(Envelope::Answers { to: same, answers }) if *same == to => answers.push(answer),
            _ => self.envelopes.push(Envelope::Answers { to, answers: vec![answer] }),
        }
    }

    /// Sends a client's message to a replica.
    pub fn call(&mut self, to: ReplicaId, message: ClientMessage) {
        self.envelopes.push(Envelope::Call { to, message });
    }

    /// Tells another role of this replica.
    pub fn tell(&mut self, notice: Notice) {
        self.envelopes.push(Envelope::Notice(notice));
    }

    /// Sends `to` the decided values of these slots, as far as storage holds them, in pages
    /// of at most `page_bytes` (at least one value each).
    pub fn send_decided(&mut self, to: ReplicaId, slots: SlotRange, page_bytes: usize) {
        if self.page_requests.len() < PAGE_REQUESTS_MAX {
            self.page_requests.push(PageRequest { to, slots, page_bytes });
        }
    }

    /// Answers a follower with a piece of the chat log, if storage has one. Every slot below
    /// `applied` is applied, and the slot that `query` names is one of them.
    pub fn send_excerpt(&mut self, to: Address, query: FollowQuery, applied: Slot) {
        if self.excerpt_requests.len() < EXCERPT_REQUESTS_MAX {
            self.excerpt_requests.push(ExcerptRequest { to, query, applied });
        }
    }

    /// Appends the records, syncs once, and only then yields the envelopes (S1).
    ///
    /// # Errors
    ///
    /// Those of the storage. Nothing may leave then, and the caller must end the process:
    /// a failed sync is never retried and believed.
    pub fn commit(&mut self, storage: &mut impl Storage<R>) -> io::Result<Vec<Envelope>> {
        let mut envelopes = Vec::new();
        self.commit_into(storage, &mut envelopes)?;
        Ok(envelopes)
    }

    /// Does what [`Outbox::commit`] does, and puts the envelopes into a list of the caller,
    /// in place of its contents.
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
        Ok(())
    }

    /// After a commit: answers the peers that asked for decided slots, with at most
    /// [`ANSWER_BYTES_MAX`] bytes of values for each request, give or take a page. After
    /// `TURN_PAGES_BYTES_MAX` bytes the other requests are dropped.
    ///
    /// # Errors
    ///
    /// If the slots cannot be read.
    pub fn read_pages(
        &mut self,
        log: &mut (impl DecidedPages + ?Sized),
        envelopes: &mut Vec<Envelope>,
    ) -> io::Result<()> {
        let mut turn = TURN_PAGES_BYTES_MAX;
        for PageRequest { to, mut slots, page_bytes } in self.page_requests.drain(..) {
            if turn == 0 {
                break;
            }
            let mut room = ANSWER_BYTES_MAX;
            while !slots.is_empty() && room > 0 {
                let values = log.decided(slots, page_bytes)?;
                if values.is_empty() {
                    break;
                }
                room = room.saturating_sub(values.bytes().len());
                turn = turn.saturating_sub(values.bytes().len());
                let first = slots.start;
                slots.start = first.plus(values.len() as u64);
                let message = Message::Learner(ToLearner::Page { first, values });
                envelopes.push(Envelope::Peer { to, message });
            }
        }
        self.read_excerpts(log, envelopes)
    }

    /// Answers the followers.
    fn read_excerpts(
        &mut self,
        log: &mut (impl DecidedPages + ?Sized),
        envelopes: &mut Vec<Envelope>,
    ) -> io::Result<()> {
        let mut turn = TURN_EXCERPTS_BYTES_MAX;
        for ExcerptRequest { to, query, applied } in self.excerpt_requests.drain(..) {
            if turn == 0 {
                break;
            }
            let FollowQuery { slot, offset, room } = query;
            let Some(Text { bytes: text, rest, read }) =
                log.text(slot, offset, usize::from(room))?
            else {
                continue;
            };
            assert!(text.len() <= usize::from(room), "an answer is no longer than its question");
            turn = turn.saturating_sub(read);
            let excerpt = Excerpt { slot, offset, text, rest, applied };
            let answers = vec![Answer::Log(Box::new(excerpt))];
            envelopes.push(Envelope::Answers { to, answers });
        }
        Ok(())
    }
}

/// A place that keeps a role's records through a crash.
pub trait Storage<R> {
    /// Takes all of `records`, in order, and leaves the list empty.
    ///
    /// # Errors
    ///
    /// If they cannot be written; the process must end.
    fn append(&mut self, records: &mut Vec<R>) -> io::Result<()>;

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    ///
    /// If that is not certain; the process must end.
    fn sync(&mut self) -> io::Result<()>;
}

/// A log of decided values that peers can be served from. Only a learner's storage is one.
pub trait DecidedPages {
    /// Decided values of the first of these `slots`: at most `bytes` of them on the wire, but
    /// at least one value. Empty if the log does not hold the first slot.
    ///
    /// # Errors
    ///
    /// If the values cannot be read.
    fn decided(&mut self, slots: SlotRange, bytes: usize) -> io::Result<Values>;

    /// At most `bytes` bytes of the chat log, from the one on that lies `offset` bytes behind the
    /// beginning of the line of `slot`. None if this is no log that people read, or if what is there
    /// is not what was written.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    fn text(&mut self, _slot: Slot, _offset: u64, _bytes: usize) -> io::Result<Option<Text>> {
        Ok(None)
    }
}

/// A piece of the chat log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// How many bytes the log has behind it.
    pub rest: u64,
    /// How many bytes were read for it: whole lines, or they could not be checked.
    pub read: usize,
}

/// The record of a role that remembers nothing: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Never {}

/// The storage of a role that remembers nothing.
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
    use crate::message::Request;
    use crate::types::{Ballot, Slot, Value};
    use crate::values::ValueRef;
    use std::net::{Ipv4Addr, SocketAddr};

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

    impl DecidedPages for Endless {
        fn decided(&mut self, slots: SlotRange, _: usize) -> io::Result<Values> {
            let SlotRange { start: first, end: upto } = slots;
            self.asked.push((first, upto));
            Ok(vec![self.value.clone(); upto.since(first).min(2) as usize].into())
        }

        fn text(&mut self, slot: Slot, _: u64, bytes: usize) -> io::Result<Option<Text>> {
            // Below this slot it is damaged.
            let text = Text { bytes: vec![b'x'; bytes], rest: 5, read: 100_000 };
            Ok((slot >= Slot(7)).then_some(text))
        }
    }

    #[test]
    fn a_request_for_decided_slots_is_answered_with_64_kib_and_the_rest_of_a_page() {
        let line = "x".repeat(1_000);
        let value = Value::Command(Request::new(1, 1, 0, &line).command());
        let page_bytes = 2 * ValueRef::from(&value).encoded_bytes();
        let pages = |first: u64, upto: u64| {
            let (mut out, mut sent) = (Outbox::<Never>::new(), Vec::new());
            out.send_decided(ReplicaId(1), SlotRange::new(Slot(first), Slot(upto)), 1_200);
            let mut log = Endless { value: value.clone(), asked: Vec::new() };
            let mut next = Slot(first);
            out.read_pages(&mut log, &mut sent).expect("this log never fails");
            for envelope in &sent {
                let Envelope::Peer { message: Message::Learner(page), .. } = envelope else {
                    panic!("nothing else was asked for: {envelope:?}")
                };
                let ToLearner::Page { first, values } = page else { panic!("no page: {page:?}") };
                assert_eq!(*first, next);
                next = first.plus(values.len() as u64);
            }
            assert!(log.asked.iter().all(|(first, upto)| first < upto), "{:?}", log.asked);
            let pages = sent.len();
            out.read_pages(&mut log, &mut sent).expect("this log never fails");
            assert_eq!(sent.len(), pages, "a request is answered once");
            (pages, next.0)
        };
        let most = (64 * 1_024_usize).div_ceil(page_bytes);
        assert_eq!(pages(3, 1_000), (most, 3 + 2 * most as u64));
        assert_eq!(pages(3, 8), (3, 8));
        assert_eq!(pages(8, 8), (0, 8));
    }

    #[test]
    fn a_turn_reads_a_bounded_number_of_bytes_for_peers_however_many_ask() {
        let line = "x".repeat(1_000);
        let value = Value::Command(Request::new(1, 1, 0, &line).command());
        let value_bytes = ValueRef::from(&value).encoded_bytes();
        let mut log = Endless { value, asked: Vec::new() };
        let (mut out, mut sent) = (Outbox::<Never>::new(), Vec::new());
        for _ in 0..10_000 {
            out.send_decided(ReplicaId(1), SlotRange::new(Slot(0), Slot(1_000)), 1_200);
        }
        assert_eq!(out.page_requests.len(), PAGE_REQUESTS_MAX);
        out.read_pages(&mut log, &mut sent).expect("this log never fails");
        let read = 2 * value_bytes * log.asked.len();
        let answer = ANSWER_BYTES_MAX + 2 * value_bytes;
        assert!(read >= TURN_PAGES_BYTES_MAX && read < TURN_PAGES_BYTES_MAX + answer, "{read}");
        sent.clear();
        out.read_pages(&mut log, &mut sent).expect("this log never fails");
        assert_eq!(sent, [], "the other requests are dropped");
    }

    #[test]
    fn followers_come_after_peers_and_a_turn_reads_a_bounded_number_of_bytes_for_them() {
        let value = Value::Command(Request::new(1, 1, 0, "x").command());
        let mut log = Endless { value, asked: Vec::new() };
        let (mut out, mut sent) = (Outbox::<Never>::new(), Vec::new());
        let to = Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
        let query = |slot| FollowQuery { slot: Slot(slot), offset: 3, room: 200 };
        out.send_excerpt(to, query(6), Slot(9));
        (0..1_000).for_each(|_| out.send_excerpt(to, query(7), Slot(9)));
        out.send_decided(ReplicaId(1), SlotRange::new(Slot(0), Slot(1)), 1_200);
        assert_eq!(out.excerpt_requests.len(), EXCERPT_REQUESTS_MAX);
        out.read_pages(&mut log, &mut sent).expect("this log never fails");
        assert!(matches!(sent[0], Envelope::Peer { .. }), "{:?}", sent[0]);
        let text = vec![b'x'; 200];
        let excerpt = Excerpt { slot: Slot(7), offset: 3, text, rest: 5, applied: Slot(9) };
        let answers = vec![Answer::Log(Box::new(excerpt))];
        let expected = vec![Envelope::Answers { to, answers }; 6];
        assert_eq!(sent[1..], expected, "none of what is damaged");
        sent.clear();
        out.read_pages(&mut log, &mut sent).expect("this log never fails");
        assert_eq!(sent, [], "the other questions are dropped");
    }
}
