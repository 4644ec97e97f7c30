//! What arrives: every check that a frame must pass, and the messages in its body.
//!
//! Length, magic, version and the CRC come first: no other field is read before these are
//! right. The first check that fails gives the reason under which the frame is counted. A
//! body is handed on once all of it is decoded, or not at all. Until then the decoder
//! allocates no more than one list of bounded size.

use super::Identity;
use super::header::{
    AT_BODY_LENGTH, CLIENT, CLIENT_MESSAGE_BYTES_MIN, HEADER_BYTES, MAGIC, VERSION, answers_to,
    check_of, kind_of, padded_body, party_byte, read_check, stamp_of,
};
use super::notices::Notices;
use crate::message::{
    Answer, ClientMessage, FollowQuery, Inquiry, MembersQuery, Message, Party, Refusal, Request,
    StatusQuery, ToProposer,
};
use crate::net::answer::AnswerOnWire;
use crate::net::guard::Admitted;
use crate::net::{DATAGRAM_BYTES_MAX, Endpoint, Incoming};
use crate::types::{Address, Attempt, BootId, ClusterId, REPLICAS_MAX, ReplicaId, Slot};
use crate::values::Builder;
use datagrams::boots::{BootStatus, Boots};
use datagrams::codec::{Body, BodyKind, Opened, parse_probe};
use datagrams::counters::{Counters, DropReason, NetEvent};
use datagrams::fragment::{Fragment, Missing};
use datagrams::path::receipt::Stamp;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Checks frames and decodes their messages, for one process.
#[derive(Debug)]
pub struct Decoder {
    pub(super) identity: Identity,
    boots: Vec<Boots>,
    /// By replica id, the life that was heard last, and where its datagrams came from.
    lives: Vec<Option<(BootId, Address)>>,
    pub(super) counters: Arc<Counters>,
    /// Where the datagram that was opened last came from.
    source: Address,
    /// Whether its sender may change the members.
    by_operator: bool,
    /// How far the sender of the datagram that was opened last has applied its log, if it says so.
    has: Option<u64>,
    /// Gathers the commands of one datagram.
    commands: Builder,
    pub(super) notices: Notices,
}

impl Decoder {
    /// A decoder for the process that `identity` names.
    ///
    /// # Panics
    ///
    /// If `identity.n` is 0, if `identity.rows` is less or above [`REPLICAS_MAX`], or if
    /// `identity.me` is not below that.
    pub fn new(identity: Identity, counters: Arc<Counters>) -> Self {
        let Identity { n, rows, .. } = identity;
        assert!(0 < n && n <= rows && rows <= REPLICAS_MAX, "{n} replicas, {rows} rows");
        if let Party::Replica(id) = identity.me {
            assert!(id.index() < rows, "replica {id} of {rows}");
        }
        let boots = vec![Boots::default(); rows];
        let notices = Notices::new(identity.me, n, identity.guard.is_on());
        let source = Address(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let commands = Builder::default();
        let lives = vec![None; rows];
        let by_operator = false;
        Decoder {
            boots,
            lives,
            identity,
            counters,
            source,
            by_operator,
            has: None,
            commands,
            notices,
        }
    }

    /// Checks a datagram that came from the address `from`, and appends its messages to
    /// `into`: all of them or none. If it is dropped for a reason that the operator should
    /// hear of, that is appended.
    ///
    /// # Errors
    ///
    /// The reason to drop it, already counted.
    pub fn open<'a>(
        &mut self,
        from: Address,
        frame: &'a [u8],
        into: &mut Vec<Incoming>,
    ) -> Result<Opened<'a, Endpoint>, DropReason> {
        let before = into.len();
        (self.source, self.has, self.by_operator) = (from, None, false);
        let opened = self.try_open(from, frame, into);
        if let Err(why) = opened {
            into.truncate(before);
            self.counters.count(why);
            self.notices.dropped(from.0, frame, why);
            into.extend(self.foreign(from, frame, why));
            if why == DropReason::Boot && self.identity.me != Party::Client {
                self.heartbeats_of_retired(from, frame, into);
            }
        }
        opened
    }

    /// Takes bytes that were joined from fragments as one message.
    ///
    /// # Errors
    ///
    /// The reason to drop it, already counted.
    pub fn open_joined(
        &mut self,
        from: Endpoint,
        cluster: ClusterId,
        message: &[u8],
        into: &mut Vec<Incoming>,
    ) -> Result<(), DropReason> {
        let before = into.len();
        self.by_operator = false;
        // A client has one line in flight, so a request that was split is one command.
        let opened = match self.decode(from, cluster, message, 1, into) {
            Ok(()) if into.len() == before + 1 => Ok(()),
            Ok(()) => Err(DropReason::Body),
            Err(why) => Err(why),
        };
        if let Err(why) = opened {
            into.truncate(before);
            self.counters.count(why);
        }
        opened
    }

    fn try_open<'a>(
        &mut self,
        from: Address,
        frame: &'a [u8],
        into: &mut Vec<Incoming>,
    ) -> Result<Opened<'a, Endpoint>, DropReason> {
        // The header of another version may be shorter.
        if frame.starts_with(&MAGIC) && frame.get(MAGIC.len()).is_some_and(|it| *it != VERSION) {
            return Err(DropReason::Version);
        }
        if !(HEADER_BYTES..=DATAGRAM_BYTES_MAX).contains(&frame.len()) {
            return Err(DropReason::Length);
        }
        if frame[..4] != MAGIC {
            return Err(DropReason::Magic);
        }
        let padded = padded_body(frame).ok_or(DropReason::Length)?;
        // Where there is a key, the tag stands for the check.
        if !self.identity.guard.is_on() && read_check(frame) != check_of(frame) {
            return Err(DropReason::Check);
        }
        if padded.is_empty() && self.is_refusal(frame) {
            let fits = self.parties(from, frame);
            return Err(fits.err().unwrap_or(match kind_of(frame) == BodyKind::Greeting as u8 {
                true => DropReason::Tag,
                false => DropReason::Receiver,
            }));
        }
        let admitted = self.identity.admit(from, frame)?;
        self.by_operator = admitted == Admitted::Operator;
        let at = from;
        let from = self.parties(from, frame)?;
        if let Admitted::Handshake(by) = admitted {
            let answers = self.identity.shake_hands(by, from, at, frame)?;
            let (boot, cluster) = (u64_at(frame, 16), ClusterId::NONE.0);
            let (stamp, body) = (Stamp::default(), Body::Handshake(answers));
            return Ok(Opened { from, boot, cluster, stamp, has: None, body });
        }
        let body_bytes = u16::from_le_bytes([frame[AT_BODY_LENGTH], frame[AT_BODY_LENGTH + 1]]);
        let (body, padding) =
            padded.split_at_checked(usize::from(body_bytes)).ok_or(DropReason::Length)?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(DropReason::Padding);
        }
        let stranger = matches!(from, Endpoint::Client(_));
        let cluster = ClusterId(u64_at(frame, 8));
        let kind = kind_of(frame);
        // Without a cluster a client is only told that a replica warms up.
        if self.identity.me == Party::Client
            && cluster == ClusterId::NONE
            && kind != BodyKind::Messages as u8
        {
            return Err(DropReason::Cluster);
        }
        let boot = BootId(u64_at(frame, 16));
        if let Err(why) = self.check_cluster(cluster) {
            let Endpoint::Replica(id) = from else { return Err(why) };
            if !welcomes_elsewhere(&self.identity, cluster, frame, body) {
                return Err(why);
            }
            into.push(Incoming::OtherCluster { from: id });
            let (boot, cluster, stamp) = (boot.0, cluster.0, stamp_of(frame));
            return Ok(Opened { from, boot, cluster, stamp, has: None, body: Body::Messages });
        }
        // Warm-up proves nothing of its sender, so it begins and ends no life.
        if let Endpoint::Replica(id) = from
            && cluster != ClusterId::NONE
        {
            match self.boots[id.index()].judge(boot.0) {
                BootStatus::Alive => {}
                BootStatus::Retired => return Err(DropReason::Boot),
                BootStatus::Revived => self.counters.count(NetEvent::BootRevived),
            }
        }

        let body = if kind == BodyKind::Messages as u8 {
            let before = into.len();
            let answers_max = padded.len() / CLIENT_MESSAGE_BYTES_MIN;
            self.decode(from, cluster, body, answers_max, into)?;
            if into.len() == before {
                return Err(DropReason::Body);
            }
            Body::Messages
        } else if kind == BodyKind::Fragment as u8 {
            // Answers and hellos are never split: they are short.
            if self.identity.me == Party::Client || stranger && cluster == ClusterId::NONE {
                return Err(DropReason::Kind);
            }
            if stranger && padded.len() < CLIENT_MESSAGE_BYTES_MIN {
                return Err(DropReason::Amplifies);
            }
            Body::Fragment(Fragment::parse(body).ok_or(DropReason::Fragment)?)
        } else if kind == BodyKind::Missing as u8 {
            if stranger {
                return Err(DropReason::Kind);
            }
            Body::Missing(Missing::parse(body).ok_or(DropReason::Fragment)?)
        } else if kind == BodyKind::Probe as u8 {
            // A client learns its cluster first; a replica probes nobody but replicas.
            if self.identity.me == Party::Client || cluster == ClusterId::NONE {
                return Err(DropReason::Kind);
            }
            if stranger && padded.len() < CLIENT_MESSAGE_BYTES_MIN {
                return Err(DropReason::Amplifies);
            }
            Body::Probe(parse_probe(body).ok_or(DropReason::Body)?)
        } else if kind == BodyKind::ProbeAnswer as u8 {
            if stranger || cluster == ClusterId::NONE {
                return Err(DropReason::Kind);
            }
            Body::ProbeAnswer(parse_probe(body).ok_or(DropReason::Body)?)
        } else if kind == BodyKind::Nothing as u8 {
            if stranger {
                return Err(DropReason::Kind);
            }
            if !body.is_empty() {
                return Err(DropReason::Body);
            }
            Body::Nothing
        } else {
            return Err(DropReason::Kind);
        };
        if let Endpoint::Replica(id) = from
            && cluster != ClusterId::NONE
        {
            self.boots[id.index()].heard(boot.0);
            if self.identity.me != Party::Client {
                self.note_life(id, boot, into);
            }
        }
        let (boot, cluster, stamp, has) = (boot.0, cluster.0, stamp_of(frame), self.has.take());
        Ok(Opened { from, boot, cluster, stamp, has, body })
    }

    /// Whether it is the bare header that tells a client what does not fit: it has asked another
    /// replica than it meant, or has another key. Nobody has tagged it, and it never leads to more
    /// than a line for the user.
    fn is_refusal(&self, frame: &[u8]) -> bool {
        self.identity.me == Party::Client && u64_at(frame, 8) == ClusterId::NONE.0
    }

    /// S12: a retired life may run beside the one that is heard. Its newest heartbeat in a datagram
    /// tells.
    fn heartbeats_of_retired(&mut self, at: Address, frame: &[u8], into: &mut Vec<Incoming>) {
        let Ok(from @ Endpoint::Replica(_)) = self.parties(at, frame) else { return };
        let bytes = u16::from_le_bytes([frame[AT_BODY_LENGTH], frame[AT_BODY_LENGTH + 1]]);
        let body = &frame[HEADER_BYTES..HEADER_BYTES + usize::from(bytes)];
        let before = into.len();
        let decoded = kind_of(frame) == BodyKind::Messages as u8
            && self.decode(from, ClusterId(u64_at(frame, 8)), body, 1, into).is_ok();
        let mut opened = into.split_off(before).into_iter().rev();
        let newest =
            opened.find(|it| matches!(it, Incoming::Peer { message: Message::Heartbeat(_), .. }));
        into.extend(newest.filter(|_| decoded));
    }

    /// Tells the proposer where two lives of a replica are, when one follows the other.
    fn note_life(&mut self, of: ReplicaId, boot: BootId, into: &mut Vec<Incoming>) {
        let at = self.source;
        let before = self.lives[of.index()].replace((boot, at));
        if let Some((other, elsewhere)) = before.filter(|(other, _)| *other != boot) {
            into.push(Incoming::Life { of, boot: other, at: elsewhere });
            into.push(Incoming::Life { of, boot, at });
        }
    }

    /// What the operator should hear of a frame that was dropped, if anything.
    fn foreign(&self, at: Address, frame: &[u8], why: DropReason) -> Option<Incoming> {
        let cluster = match why {
            DropReason::Cluster => ClusterId(u64_at(frame, 8)),
            _ => return None,
        };
        match self.parties(at, frame) {
            Ok(Endpoint::Replica(from))
                if self.identity.me != Party::Client && cluster != ClusterId::NONE =>
            {
                Some(Incoming::Refused { from, at, why: Refusal::Cluster(cluster) })
            }
            _ => None,
        }
    }

    /// The sender of a frame, if the frame is for this process and comes from a process
    /// that may send to it.
    fn parties(&self, from: Address, frame: &[u8]) -> Result<Endpoint, DropReason> {
        let Identity { n, rows, me, .. } = self.identity;
        if usize::from(frame[5]) != n {
            return Err(DropReason::Size);
        }
        if frame[7] != party_byte(me) {
            return Err(DropReason::Receiver);
        }
        match (frame[6], me) {
            (CLIENT, Party::Replica(_)) => Ok(Endpoint::Client(from)),
            (id, _) if usize::from(id) < rows && frame[6] != party_byte(me) => {
                Ok(Endpoint::Replica(ReplicaId(id)))
            }
            _ => Err(DropReason::Sender),
        }
    }

    /// Refuses a frame with a cluster id that no body may have here. [`Decoder::decode`]
    /// checks afterwards which messages may travel without a cluster.
    fn check_cluster(&self, cluster: ClusterId) -> Result<(), DropReason> {
        match (self.identity.me, self.identity.cluster.known(), cluster) {
            (Party::Client, _, ClusterId::NONE) | (Party::Client, None, _) => Ok(()),
            (Party::Replica(_), None, ClusterId::NONE) => Ok(()),
            (Party::Replica(_), None, _) => Err(DropReason::NotStarted),
            (Party::Replica(_), Some(_), ClusterId::NONE) => Ok(()),
            (_, Some(known), cluster) if known == cluster => Ok(()),
            (_, Some(_), _) => Err(DropReason::Cluster),
        }
    }

    /// Decodes a body of messages. A client's may ask for `answers_max` answers at most.
    fn decode(
        &mut self,
        from: Endpoint,
        cluster: ClusterId,
        body: &[u8],
        answers_max: usize,
        into: &mut Vec<Incoming>,
    ) -> Result<(), DropReason> {
        let (unknown, source) = (cluster == ClusterId::NONE, self.source);
        match (self.identity.me, from) {
            (Party::Replica(_), Endpoint::Replica(from)) => each(body, |message: Message| {
                if let Message::Heartbeat(heartbeat) = &message {
                    self.has = Some(heartbeat.applied.0);
                }
                let incoming = match message {
                    Message::Bootstrap(message) if unknown => {
                        Incoming::WarmUp { from, at: source, message }
                    }
                    Message::Bootstrap(_) => return Err(DropReason::Kind),
                    _ if unknown => return Err(DropReason::Cluster),
                    message if !is_well_formed(&message) => return Err(DropReason::Body),
                    message => Incoming::Peer { from, message },
                };
                into.push(incoming);
                Ok(())
            }),
            (Party::Replica(_), Endpoint::Client(from)) => {
                let (before, started) = (into.len(), self.identity.cluster.known().is_some());
                let may = Asking { unknown, answers_max, by_operator: self.by_operator };
                let requests = requests(body, may, &mut self.commands, |message| {
                    into.push(Incoming::Client { from, message });
                })?;
                if let Some(request) = requests {
                    let message = ClientMessage::Request(request);
                    into.push(Incoming::Client { from, message });
                }
                // Until warm-up is over, it can only say how it is.
                if !started && !into[before..].iter().all(asks_for_status) {
                    into.truncate(before);
                    return Err(DropReason::NotStarted);
                }
                Ok(())
            }
            (Party::Client, Endpoint::Replica(from)) => {
                let mut welcome = false;
                each(body, |answer: AnswerOnWire| {
                    let answer = Answer::try_from(answer).map_err(|_| DropReason::Body)?;
                    if unknown && !is_of_warm_up(&answer) {
                        return Err(DropReason::Cluster);
                    }
                    welcome |= is_welcome(&answer);
                    into.push(Incoming::Answer { from, answer });
                    Ok(())
                })?;
                if self.identity.cluster.known().is_none() && !unknown {
                    if !welcome {
                        return Err(DropReason::NotStarted);
                    }
                    self.identity.cluster.set(cluster);
                }
                Ok(())
            }
            (_, Endpoint::Stray(..)) | (Party::Client, Endpoint::Client(_)) => {
                Err(DropReason::Sender)
            }
        }
    }
}

fn asks_for_status(incoming: &Incoming) -> bool {
    matches!(incoming, Incoming::Client { message: ClientMessage::Status(_), .. })
}

/// Whether a replica may say it before it knows its cluster.
fn is_of_warm_up(answer: &Answer) -> bool {
    match answer {
        Answer::Status(status) => !status.knows_log(),
        Answer::Usage(_) => true,
        _ => false,
    }
}

/// Whether it answers a message that may come without a cluster id, so that a client learns its
/// cluster by it.
fn is_welcome(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Welcome { .. } | Answer::Status(_) | Answer::Usage(_) | Answer::Members(_)
    )
}

/// Whether a frame welcomes this client to another cluster than its own: the cluster that it
/// belonged to has gone, and another runs in its place.
fn welcomes_elsewhere(me: &Identity, cluster: ClusterId, frame: &[u8], body: &[u8]) -> bool {
    if me.me != Party::Client
        || cluster == ClusterId::NONE
        || kind_of(frame) != BodyKind::Messages as u8
    {
        return false;
    }
    let mut welcome = false;
    let decoded = each(body, |answer: AnswerOnWire| {
        welcome |= Answer::try_from(answer).is_ok_and(|answer| is_welcome(&answer));
        Ok(())
    });
    decoded.is_ok() && welcome
}

/// Decodes one message after the other, to the last byte, and hands each to `take`.
fn each<'a, T: Deserialize<'a>>(
    mut body: &'a [u8],
    mut take: impl FnMut(T) -> Result<(), DropReason>,
) -> Result<(), DropReason> {
    while !body.is_empty() {
        let (message, rest) = postcard::take_from_bytes(body).map_err(|_| DropReason::Body)?;
        assert!(rest.len() < body.len(), "every message takes a byte at least");
        take(message)?;
        body = rest;
    }
    Ok(())
}

/// A [`ClientMessage`] that borrows from the datagram.
#[derive(Deserialize)]
enum ClientMessageRef<'a> {
    Hello,
    #[serde(borrow)]
    Request(RequestRef<'a>),
    Inquiry(Inquiry),
    Status(StatusQuery),
    Follow(FollowQuery),
    Mark {
        read: u64,
    },
    Members(MembersQuery),
}

/// What a client's datagram may ask for.
struct Asking {
    /// It names no cluster.
    unknown: bool,
    /// For so many answers it pays.
    answers_max: usize,
    /// Its sender may change the members.
    by_operator: bool,
}

#[derive(Deserialize)]
struct RequestRef<'a> {
    commands: &'a [u8],
    after: Slot,
    attempt: Attempt,
}

/// Decodes a datagram of a client: joins all its requests to one, and hands what is short to
/// `take`. Each message and each command asks for answers. A datagram that asks for more than
/// `answers_max` is refused.
fn requests(
    body: &[u8],
    may: Asking,
    commands: &mut Builder,
    mut take: impl FnMut(ClientMessage),
) -> Result<Option<Request>, DropReason> {
    let Asking { unknown, answers_max, by_operator } = may;
    commands.clear();
    let (mut latest, mut attempt, mut short) = (Slot::ZERO, None, 0);
    let mut take = |message| {
        short += answers_to(&message);
        let fits = short <= answers_max;
        fits.then(|| take(message)).ok_or(DropReason::Amplifies)
    };
    each(body, |message| {
        match message {
            ClientMessageRef::Hello => take(ClientMessage::Hello)?,
            ClientMessageRef::Status(query) => take(ClientMessage::Status(query))?,
            ClientMessageRef::Request(_)
            | ClientMessageRef::Inquiry(_)
            | ClientMessageRef::Follow(_)
            | ClientMessageRef::Mark { .. }
                if unknown =>
            {
                return Err(DropReason::Cluster);
            }
            ClientMessageRef::Members(query) => match query.wish {
                Some(_) if unknown => return Err(DropReason::Cluster),
                Some(_) if !by_operator => return Err(DropReason::Sender),
                _ => take(ClientMessage::Members(query))?,
            },
            ClientMessageRef::Follow(query) => take(ClientMessage::Follow(query))?,
            ClientMessageRef::Mark { read } => take(ClientMessage::Mark { read })?,
            ClientMessageRef::Inquiry(inquiry) => take(ClientMessage::Inquiry(Box::new(inquiry)))?,
            ClientMessageRef::Request(RequestRef { commands: encoded, after, attempt: this }) => {
                commands.read(encoded).map_err(|_| DropReason::Body)?;
                latest = latest.max(after);
                let one = attempt.is_none_or(|before| before == this);
                attempt = Some(if one { this } else { Attempt::UNKNOWN });
            }
        }
        Ok(())
    })?;
    if commands.is_empty() {
        return Ok(None);
    }
    let attempt = attempt.unwrap_or_default();
    let request = Request { commands: commands.take(), after: latest, attempt };
    match request.is_well_formed() {
        false => Err(DropReason::Body),
        true if short + request.commands.len() > answers_max => Err(DropReason::Amplifies),
        true => Ok(Some(request)),
    }
}

/// Whether a forwarded request is one that a client may send. (Values are checked where
/// they are decoded.)
fn is_well_formed(message: &Message) -> bool {
    match message {
        Message::Proposer(ToProposer::Forward { request, .. }) => request.is_well_formed(),
        _ => true,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
