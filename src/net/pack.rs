//! Many small messages in one datagram.
//!
//! A system call costs the same for 50 bytes as for 1,400, and so does a loss. So the
//! messages of one turn to one destination share datagrams. They keep their order, with
//! three exceptions. Warm-up travels in datagrams of its own, because it alone goes without
//! a cluster id. A message that does not fit a datagram travels in fragments. And values
//! travel apart from votes and heartbeats, which are urgent: on a path that is full, values
//! wait and the others do not. (W6)
//!
//! Nothing stays here between turns: a thread that adds messages also flushes.

use super::answer;
use super::frame::{self, HEADER_BYTES, Identity, OVERHEAD_BYTES};
use super::{Endpoint, Outgoing};
use crate::message::{
    Accept, ClientMessage, MembersQuery, Message, Party, ToAcceptor, ToLearner, ToProposer,
};
use crate::types::ClusterId;
use datagrams::codec::{ALWAYS_NEEDED, BodyKind, Departure, Sink};
use foldhash::fast::RandomState;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use std::collections::HashMap;

/// The most buffers kept for the next turn.
pub const SPARE_BUFFERS_MAX: usize = 64;

/// The most bytes that a number takes, encoded.
const NUMBER_BYTES_MAX: usize = 10;

/// The bytes of messages that fit a datagram of at most `datagram_max` bytes. Roles send
/// no more in one message, so only a single long line is ever split.
pub const fn payload_bytes(datagram_max: usize) -> usize {
    datagram_max - OVERHEAD_BYTES
}

/// Packs what one thread sends.
#[derive(Debug)]
pub struct Packer {
    identity: Identity,
    /// In the order in which they were begun. `by_destination` and `last` are indexes.
    frames: Vec<Frame>,
    by_destination: HashMap<Place, usize, RandomState>,
    /// The place of the last message: the next mostly goes there too.
    last: Option<(Place, usize)>,
    spare: Vec<Vec<u8>>,
}

/// Whether a message carries the cluster id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bound {
    Cluster,
    Anywhere,
}

/// Messages of one place may share a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    to: Endpoint,
    bound: Bound,
    urgent: bool,
}

#[derive(Debug)]
struct Frame {
    place: Place,
    /// For how many answers its messages have to pay. (Replicas pay for none, and each message
    /// counts once.)
    answers: usize,
    bytes: Vec<u8>,
    /// A receiver that has applied its log up to here needs none of the messages.
    until: u64,
}

impl Packer {
    /// A packer for the process `identity`.
    pub fn new(identity: Identity) -> Self {
        Packer {
            identity,
            frames: Vec::new(),
            by_destination: HashMap::default(),
            last: None,
            spare: Vec::new(),
        }
    }

    /// Adds a message. Datagrams that are full go to `sink`.
    ///
    /// # Panics
    ///
    /// If the caller has made an error: the message is for this replica itself or for one
    /// outside of the configuration, a replica calls, a client answers, or the message
    /// needs a cluster id and there is none yet.
    pub fn add(&mut self, outgoing: &Outgoing, sink: &mut impl Sink<Endpoint>) {
        let me = self.identity.me;
        match outgoing {
            Outgoing::Peer { to, message } => {
                assert!(matches!(me, Party::Replica(_)), "a client has no peers");
                let bound = match message {
                    Message::Bootstrap(_) => Bound::Anywhere,
                    _ => Bound::Cluster,
                };
                let (to, departure) = (Endpoint::Replica(*to), departure(message));
                self.push(to, bound, departure, [(message, 1)], sink);
            }
            Outgoing::Back { to, at, message } => {
                assert!(matches!(me, Party::Replica(_)), "a client has no peers");
                let message = Message::Bootstrap(message.clone());
                let (to, bound) = (Endpoint::Stray(*to, *at), Bound::Anywhere);
                self.push(to, bound, Departure::Urgent, [(message, 1)], sink);
            }
            Outgoing::Answers { to, answers } => {
                assert!(matches!(me, Party::Replica(_)), "only a replica answers");
                let answers = answers.iter().map(|answer| (answer::on_wire(answer), 1));
                // Before warm-up is over, it only says that it warms up.
                let bound = match self.identity.cluster.known() {
                    Some(_) => Bound::Cluster,
                    None => Bound::Anywhere,
                };
                self.push(Endpoint::Client(*to), bound, Departure::Urgent, answers, sink);
            }
            Outgoing::Call { to, message } => {
                assert_eq!(me, Party::Client, "only a client calls");
                let bound = match message {
                    ClientMessage::Hello
                    | ClientMessage::Status(_)
                    | ClientMessage::Members(MembersQuery { wish: None, .. }) => Bound::Anywhere,
                    ClientMessage::Request(_)
                    | ClientMessage::Inquiry(_)
                    | ClientMessage::Follow(_)
                    | ClientMessage::Mark { .. }
                    | ClientMessage::Members(_) => Bound::Cluster,
                };
                let (to, messages) =
                    (Endpoint::Replica(*to), [(message, frame::answers_to(message))]);
                self.push(to, bound, Departure::Urgent, messages, sink);
            }
        }
    }

    /// Hands every datagram that is begun to `sink`.
    pub fn flush(&mut self, sink: &mut impl Sink<Endpoint>) {
        self.by_destination.clear();
        self.last = None;
        for mut frame in self.frames.drain(..) {
            if frame.answers > 0 {
                close(&self.identity, &mut frame, sink);
            }
            if self.spare.len() < SPARE_BUFFERS_MAX {
                self.spare.push(frame.bytes);
            }
        }
    }

    fn push(
        &mut self,
        to: Endpoint,
        bound: Bound,
        departure: Departure,
        messages: impl IntoIterator<Item = (impl Serialize, usize)>,
        sink: &mut impl Sink<Endpoint>,
    ) {
        let (urgent, until) = match departure {
            Departure::Urgent => (true, 0),
            Departure::WhenRoom { until } => (false, until),
        };
        let place = Place { to, bound, urgent };
        if let Endpoint::Replica(id) | Endpoint::Stray(id, _) = to {
            let rows = self.identity.rows;
            assert!(id.index() < rows, "replica {id} of {rows}");
            assert_ne!(to.party(), self.identity.me, "a message to oneself needs no network");
        }
        let at = match self.last {
            Some((last, at)) if last == place => at,
            _ => *self.by_destination.entry(place).or_insert_with(|| {
                let mut bytes = self.spare.pop().unwrap_or_default();
                frame::begin(&mut bytes);
                self.frames.push(Frame { place, answers: 0, bytes, until: 0 });
                self.frames.len() - 1
            }),
        };
        self.last = Some((place, at));
        let most = sink.length(to);
        for (message, answers) in messages {
            self.put(at, (&message, answers), until, most, sink);
        }
    }

    /// Adds a message to a frame of at most `most` bytes. If it does not fit, the frame leaves
    /// and the message begins the next one; if it fits no frame, it goes to `sink` alone.
    fn put(
        &mut self,
        at: usize,
        (message, answers): (&impl Serialize, usize),
        until: u64,
        most: usize,
        sink: &mut impl Sink<Endpoint>,
    ) {
        let identity = &self.identity;
        let frame = &mut self.frames[at];
        let before = frame.bytes.len();
        postcard::serialize_with_flavor(message, Behind(&mut frame.bytes))
            .expect("every message can be encoded");
        let after = frame.bytes.len();
        let size = frame::sealed_bytes(identity, after - HEADER_BYTES, frame.answers + answers);
        if size <= most {
            frame.answers += answers;
            frame.until = frame.until.max(until);
        } else if frame::sealed_bytes(identity, after - before, answers) > most {
            let cluster = cluster_of(&self.identity, frame.place.bound);
            sink.oversize(frame.place.to, cluster.0, &frame.bytes[before..]);
            frame.bytes.truncate(before);
        } else {
            let mut next = self.spare.pop().unwrap_or_default();
            frame::begin(&mut next);
            next.extend_from_slice(&frame.bytes[before..]);
            frame.bytes.truncate(before);
            close(&self.identity, frame, sink);
            (frame.answers, frame.until) = (answers, until);
            self.spare.push(std::mem::replace(&mut frame.bytes, next));
        }
    }
}

/// Appends encoded bytes to a buffer.
struct Behind<'a>(&'a mut Vec<u8>);

impl Flavor for Behind<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // Postcard writes numbers one by one, in a few bytes each. Copying those with a
        // call took twice as long as all the rest.
        match bytes.len() {
            0..=NUMBER_BYTES_MAX => bytes.iter().for_each(|byte| self.0.push(*byte)),
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Most messages are short, and others wait for them. The rest are values, which may be long, and
/// which their sender sends again. To accept values of slots that the receiver has applied is of no
/// use: they are decided, and its acceptor forgets them soon. What it has asked for it needs,
/// whatever it had applied: its log may have been mended since.
fn departure(message: &Message) -> Departure {
    let until = match message {
        Message::Acceptor(ToAcceptor::Accept(Accept { first, values, .. })) => {
            first.0 + values.len() as u64
        }
        Message::Learner(ToLearner::Page { .. })
        | Message::Proposer(ToProposer::Forward { .. } | ToProposer::AcceptedValues(_)) => {
            ALWAYS_NEEDED
        }
        _ => return Departure::Urgent,
    };
    Departure::WhenRoom { until }
}

fn cluster_of(identity: &Identity, bound: Bound) -> ClusterId {
    match bound {
        Bound::Anywhere => ClusterId::NONE,
        Bound::Cluster => identity
            .cluster
            .known()
            .expect("only warm-up, hello and status queries are sent before the cluster is known"),
    }
}

fn close(identity: &Identity, frame: &mut Frame, sink: &mut impl Sink<Endpoint>) {
    let Place { to, bound, urgent } = frame.place;
    let cluster = cluster_of(identity, bound);
    let (kind, answers) = (BodyKind::Messages, frame.answers);
    frame::seal(identity, to.party(), cluster, kind, answers, &mut frame.bytes);
    sink.datagram(to, &mut frame.bytes, Departure::new(urgent, frame.until));
}

#[cfg(test)]
mod tests {
    use super::super::frame::{ClusterCell, Decoder, Guard};
    use super::super::{DATAGRAM_BYTES_DEFAULT, Incoming};
    use super::*;
    use crate::message::{Answer, Decided, Request, ToAcceptor, ToBootstrap, Voter};
    use crate::types::{Address, Ballot, BootId, DirectoryId, ReplicaId, Slot, SlotRange, Value};
    use crate::values::Values;
    use datagrams::codec::Body;
    use datagrams::counters::{Counters, DropReason};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    #[derive(Default)]
    struct Taken {
        datagrams: Vec<(Endpoint, Vec<u8>)>,
        oversize: Vec<(Endpoint, u64, Vec<u8>)>,
        /// Of each datagram.
        departures: Vec<Departure>,
        /// The most bytes of a datagram, if it is not the default.
        length: Option<usize>,
    }

    impl Sink<Endpoint> for Taken {
        fn datagram(&mut self, to: Endpoint, frame: &mut [u8], departure: Departure) {
            self.datagrams.push((to, frame.to_vec()));
            self.departures.push(departure);
        }

        fn oversize(&mut self, to: Endpoint, cluster: u64, message: &[u8]) {
            self.oversize.push((to, cluster, message.to_vec()));
        }

        fn length(&self, _: Endpoint) -> usize {
            self.length.unwrap_or(DATAGRAM_BYTES_DEFAULT)
        }
    }

    fn identity(me: Party) -> Identity {
        let cluster = ClusterCell::new();
        cluster.set(ClusterId(77));
        Identity { n: 3, rows: 3, me, boot: BootId(1), cluster, guard: Guard::none() }
    }

    fn address(port: u16) -> Address {
        Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn packed(me: Party, outgoing: &[Outgoing]) -> Taken {
        let mut packer = Packer::new(identity(me));
        let mut taken = Taken::default();
        outgoing.iter().for_each(|outgoing| packer.add(outgoing, &mut taken));
        packer.flush(&mut taken);
        assert!(taken.datagrams.iter().all(|(_, frame)| frame.len() <= DATAGRAM_BYTES_DEFAULT));
        taken
    }

    fn prepare(to: u8, ballot: u64) -> Outgoing {
        let voter = Voter::default();
        let message = ToAcceptor::Prepare { ballot: Ballot(ballot), first: Slot::ZERO, voter };
        Outgoing::Peer { to: ReplicaId(to), message: Message::Acceptor(message) }
    }

    const ZERO: Party = Party::Replica(ReplicaId(0));

    /// The messages that `me` finds in the datagrams for it.
    fn opened(me: Party, taken: &Taken) -> Vec<Incoming> {
        let mut decoder = Decoder::new(identity(me), Arc::new(Counters::new()));
        let mut messages = Vec::new();
        for (to, frame) in &taken.datagrams {
            if to.party() == me {
                let opened = decoder.open(address(9), frame, &mut messages);
                assert_eq!(opened.map(|opened| opened.body), Ok::<_, DropReason>(Body::Messages));
            }
        }
        messages
    }

    #[test]
    fn messages_to_one_destination_share_datagrams_and_keep_their_order() {
        let sent: Vec<_> =
            (0..3_000).map(|ballot| prepare(1 + (ballot % 2) as u8, ballot * 1_000)).collect();
        let taken = packed(ZERO, &sent);
        assert!(taken.datagrams.len() < 24, "{} datagrams", taken.datagrams.len());
        for id in [1, 2] {
            let arrived: Vec<_> = opened(Party::Replica(ReplicaId(id)), &taken)
                .into_iter()
                .map(|incoming| match incoming {
                    Incoming::Peer { message, .. } => Outgoing::Peer { to: ReplicaId(id), message },
                    other => panic!("{other:?}"),
                })
                .collect();
            let to_it =
                |outgoing: &&Outgoing| matches!(outgoing, Outgoing::Peer { to, .. } if to.0 == id);
            assert_eq!(arrived, sent.iter().filter(to_it).cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn warm_up_travels_apart_and_without_a_cluster() {
        let warm_up = Outgoing::Peer {
            to: ReplicaId(1),
            message: Message::Bootstrap(ToBootstrap::NotMember { directory: DirectoryId(1) }),
        };
        let taken = packed(ZERO, &[prepare(1, 1), warm_up.clone(), prepare(1, 2), warm_up]);
        let clusters: Vec<_> =
            taken.datagrams.iter().map(|(_, frame)| frame[8..16].to_vec()).collect();
        assert_eq!(clusters, [77u64.to_le_bytes(), 0u64.to_le_bytes()]);
        assert_eq!(opened(Party::Replica(ReplicaId(1)), &taken).len(), 4);
    }

    #[test]
    fn many_requests_and_hellos_of_a_client_arrive_padded() {
        let to = ReplicaId(2);
        let mut sent = vec![Outgoing::Call { to, message: ClientMessage::Hello }; 100];
        for seq in 0..100 {
            let message = ClientMessage::Request(Request::new(1, 2, seq, "a short line"));
            sent.push(Outgoing::Call { to, message });
        }
        let taken = packed(Party::Client, &sent);
        let answers =
            opened(Party::Replica(to), &taken).into_iter().map(|incoming| match incoming {
                Incoming::Client { message: ClientMessage::Request(request), .. } => {
                    request.commands.len()
                }
                _ => 1,
            });
        assert_eq!(answers.sum::<usize>(), 200);
    }

    #[test]
    fn each_client_is_answered_at_its_own_address() {
        let answer = Answer::Leader { ballot: Ballot(2) };
        let sent: Vec<_> = (0..500)
            .map(|port| Outgoing::Answers { to: address(port), answers: vec![answer.clone()] })
            .collect();
        let taken = packed(ZERO, &sent);
        assert_eq!(taken.datagrams.len(), 500);
        for (port, (to, _)) in taken.datagrams.iter().enumerate() {
            assert_eq!(*to, Endpoint::Client(address(port as u16)));
        }
    }

    #[test]
    fn accepts_wait_for_room_until_their_slots_are_applied_and_the_rest_leaves_at_once() {
        let values = |lines: usize| Values::from(&vec![Value::Noop; lines][..]);
        let accept = |first, lines| {
            let (first, values) = (Slot(first), values(lines));
            let (ballot, decided) = (Ballot(3), Decided::default());
            Message::Acceptor(ToAcceptor::Accept(Accept { ballot, first, values, decided }))
        };
        let page = |first, lines| {
            Message::Learner(ToLearner::Page { first: Slot(first), values: values(lines) })
        };
        let request = Request::new(1, 2, 3, "x");
        let forward = Message::Proposer(ToProposer::Forward { origin: address(1), request });
        let fetch = Message::Learner(ToLearner::Fetch { slots: SlotRange::default() });
        let when_room = |until| vec![Departure::WhenRoom { until }];
        for (messages, departures) in [
            (vec![accept(5, 2)], when_room(7)),
            (vec![accept(5, 4), accept(2, 3)], when_room(9)),
            (vec![accept(2, 3), accept(5, 4)], when_room(9)),
            (vec![page(5, 2)], when_room(ALWAYS_NEEDED)),
            (vec![accept(5, 2), forward], when_room(ALWAYS_NEEDED)),
            (vec![fetch], vec![Departure::Urgent]),
        ] {
            let to = ReplicaId(1);
            let sent = messages.into_iter().map(|message| Outgoing::Peer { to, message });
            assert_eq!(packed(ZERO, &sent.collect::<Vec<_>>()).departures, departures);
        }
        // Of what does not fit together each datagram has its own.
        let sent = |first| Outgoing::Peer { to: ReplicaId(1), message: accept(first, 900) };
        let taken = packed(ZERO, &[sent(9_000), sent(0)]);
        assert_eq!(taken.departures, [when_room(9_900), when_room(900)].concat());
    }

    #[test]
    fn a_message_is_too_long_exactly_when_it_does_not_fit_a_datagram_alone() {
        let request = |bytes| {
            let line = "x".repeat(bytes);
            ClientMessage::Request(Request::new(1, 2, 3, &line))
        };
        let around = postcard::to_stdvec(&request(1_000)).expect("encodes").len() - 1_000;
        let most = DATAGRAM_BYTES_DEFAULT - HEADER_BYTES - around;
        let to = ReplicaId(0);
        let small = Outgoing::Call { to, message: request(5) };
        for (bytes, split) in [(most, 0), (most + 1, 1)] {
            let long = Outgoing::Call { to, message: request(bytes) };
            let taken = packed(Party::Client, &[small.clone(), long, small.clone()]);
            assert_eq!(taken.oversize.len(), split, "{bytes} bytes");
            let commands = opened(ZERO, &taken).into_iter().map(|incoming| match incoming {
                Incoming::Client { message: ClientMessage::Request(request), .. } => {
                    request.commands.len()
                }
                other => panic!("not a request: {other:?}"),
            });
            assert_eq!(commands.sum::<usize>(), 3 - split);
            for (to, cluster, message) in &taken.oversize {
                assert_eq!((to.party(), *cluster), (ZERO, 77));
                let encoded = postcard::to_stdvec(&request(bytes)).expect("encodes");
                assert_eq!(*message, encoded);
            }
        }
    }

    #[test]
    #[should_panic(expected = "needs no network")]
    fn a_message_to_oneself_is_the_callers_error() {
        packed(ZERO, &[prepare(0, 1)]);
    }

    #[test]
    fn a_datagram_leaves_when_nothing_more_fits_and_no_sooner() {
        let taken = packed(ZERO, &vec![prepare(1, 77); 1_000]);
        let Outgoing::Peer { message, .. } = prepare(1, 77) else { unreachable!() };
        let bytes = postcard::to_stdvec(&message).expect("encodes").len();
        let most = (DATAGRAM_BYTES_DEFAULT - HEADER_BYTES) / bytes;
        assert_eq!(taken.datagrams.len(), 1_000_usize.div_ceil(most));
        let (_, full) = taken.datagrams.split_last().expect("some");
        for (_, frame) in full {
            assert_eq!(frame.len(), HEADER_BYTES + most * bytes);
        }
    }

    #[test]
    fn a_message_too_long_for_a_datagram_leaves_none_that_is_empty() {
        let line = "x".repeat(DATAGRAM_BYTES_DEFAULT);
        let message = ClientMessage::Request(Request::new(1, 2, 3, &line));
        let taken = packed(Party::Client, &[Outgoing::Call { to: ReplicaId(0), message }]);
        assert_eq!((taken.oversize.len(), taken.datagrams.len()), (1, 0));
    }

    #[test]
    fn as_many_buffers_as_a_turn_took_are_kept_for_the_next_up_to_a_bound() {
        let mut packer = Packer::new(identity(ZERO));
        let most = SPARE_BUFFERS_MAX;
        for (destinations, kept) in [(1, 1), (9, 9), (2, 9), (most + 1, most), (5, most)] {
            let mut taken = Taken::default();
            for port in 0..destinations as u16 {
                let answers = vec![Answer::Leader { ballot: Ballot(2) }];
                packer.add(&Outgoing::Answers { to: address(port), answers }, &mut taken);
            }
            packer.flush(&mut taken);
            assert_eq!((taken.datagrams.len(), packer.spare.len()), (destinations, kept));
        }
    }

    #[test]
    fn datagrams_are_as_long_as_the_path_carries_when_they_are_packed() {
        let mut packer = Packer::new(identity(ZERO));
        let mut taken = Taken::default();
        for length in [600, 1_400, 9_000, 600] {
            taken.length = Some(length);
            (0..5_000).for_each(|ballot| packer.add(&prepare(1, ballot), &mut taken));
            packer.flush(&mut taken);
            let longest = taken.datagrams.drain(..).map(|(_, frame)| frame.len()).max();
            assert!(longest.is_some_and(|longest| longest <= length && longest + 20 > length));
        }
    }
}
