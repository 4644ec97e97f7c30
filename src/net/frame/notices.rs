//! Tells the user of frames that do not fit, because a host is configured in another way.
//!
//! A frame that fails a check is dropped and counted. Some of these checks fail for ever and
//! because of what a person did: another version of the program, another number of replicas,
//! lines in another order, another key. Without a word about it every process would wait for the others. So
//! each kind is said once for each sender, and then at most once a minute.
//!
//! The first eight bytes of a frame have their places in every version, so that a process of
//! another version can be named too.

use super::Decoder;
use super::header::{CLIENT, HEADER_BYTES, VERSION, is_proven, kind_of};
use crate::message::Party;
use crate::net::Endpoint;
use crate::types::{Address, REPLICAS_MAX};
use datagrams::codec::BodyKind;
use datagrams::counters::DropReason;
use interleavings::threads;
use seldom::Seldom;
use std::net::SocketAddr;
use std::time::Instant;

/// Kinds of frames that do not fit.
const KINDS: usize = 6;

/// The least time between two answers to clients whose key does not fit.
const REFUSED_US: u64 = 1_000_000;

/// What was said, and when.
#[derive(Debug)]
pub(super) struct Notices {
    me: Party,
    n: usize,
    has_key: bool,
    began: Instant,
    /// When a client may be told again that its key does not fit.
    refuses_at: u64,
    /// By kind and sender.
    said: Vec<[Seldom; KINDS]>,
}

impl Notices {
    pub(super) fn new(me: Party, n: usize, has_key: bool) -> Self {
        let said = vec![[Seldom::new(); KINDS]; REPLICAS_MAX];
        Notices { me, n, has_key, began: threads::now(), refuses_at: 0, said }
    }

    fn now_us(&self) -> u64 {
        threads::now().duration_since(self.began).as_micros() as u64
    }

    /// Whether a client is told now that its key does not fit.
    fn refuses_key(&mut self) -> bool {
        let now_us = self.now_us();
        let refuses = now_us >= self.refuses_at;
        if refuses {
            self.refuses_at = now_us + REFUSED_US;
        }
        refuses
    }

    /// A frame, which has a whole header and came from `at`, was dropped.
    pub(super) fn dropped(&mut self, at: SocketAddr, frame: &[u8], why: DropReason) {
        let now_us = self.now_us();
        if let Some(line) = self.line(now_us, at, frame, why) {
            log::warn!("{line}");
        }
    }

    /// What is to be said about it at `now_us`. Clients learn of it themselves
    /// ([`super::Decoder::refusal`]).
    fn line(
        &mut self,
        now_us: u64,
        at: SocketAddr,
        frame: &[u8],
        why: DropReason,
    ) -> Option<String> {
        let kind = match why {
            DropReason::Version => 0,
            DropReason::Size => 1,
            DropReason::Receiver if self.me == Party::Client => 2,
            DropReason::Receiver => 3,
            DropReason::Tag if speaks_of_key(frame) => {
                if is_proven(frame) {
                    5
                } else {
                    4
                }
            }
            _ => return None,
        };
        let &[_, _, _, _, version, n, from, to, ..] = frame else { return None };
        if from == CLIENT {
            return None;
        }
        let repeats = self.said.get_mut(usize::from(from))?[kind].happened(now_us)?;
        let (me, own_n) = (self.name(), self.n);
        Some(match kind {
            0 => format!(
                "{me}: replica {from} at {at} speaks version {version}, this is version {VERSION}: \
                 run the same build everywhere{repeats}"
            ),
            1 => format!(
                "{me}: hears a cluster of {n} at {at}, configured for {own_n}: give all hosts and \
                 clients the same list{repeats}"
            ),
            2 => format!(
                "{me}: replica {from} is at {at}, where another is expected: the configurations \
                 list the replicas in another order{repeats}"
            ),
            3 => format!(
                "{me}: replica {from} at {at} takes this for replica {to}: the configurations \
                 list the replicas in another order{repeats}"
            ),
            _ if self.me == Party::Client => {
                let which = if self.has_key { "another" } else { "a" };
                format!(
                    "{me}: replica {from} at {at} wants {which} key: give --key_file a key of its \
                     cluster{repeats}"
                )
            }
            4 => format!(
                "{me}: what comes from {at} as replica {from} has no tag, and is dropped: give \
                 all replicas the same --key_file{repeats}"
            ),
            _ if self.has_key => format!(
                "{me}: what comes from {at} as replica {from} is tagged with another key, and is \
                 dropped: give all replicas the same --key_file{repeats}"
            ),
            _ => format!(
                "{me}: replica {from} at {at} has a key, and this one has none: give all replicas \
                 the same --key_file{repeats}"
            ),
        })
    }

    fn name(&self) -> String {
        match self.me {
            Party::Replica(id) => format!("replica {id}"),
            Party::Client => "client".into(),
        }
    }
}

/// Whether the proof of a frame that was dropped says something of its sender's key: there is none,
/// or it begins a session. Any other may be of a session that this process has forgotten, since it
/// has restarted.
fn speaks_of_key(frame: &[u8]) -> bool {
    let handshakes = [BodyKind::Greeting, BodyKind::Ticket].map(|kind| kind as u8);
    frame.len() >= HEADER_BYTES && (!is_proven(frame) || handshakes.contains(&kind_of(frame)))
}

impl Decoder {
    /// The client that is to be told, by a bare header of this kind, that its frame was dropped: it
    /// has another version or number of replicas, takes this replica for another, or has another
    /// key. None if the frame is shorter than that header.
    pub fn refusal(
        &mut self,
        from: Address,
        frame: &[u8],
        why: DropReason,
    ) -> Option<(Endpoint, BodyKind)> {
        let bare_bytes = HEADER_BYTES + self.identity.guard.proof_bytes();
        let is_client = frame.len() >= bare_bytes && frame[6] == CLIENT;
        if !is_client || self.identity.me == Party::Client {
            return None;
        }
        let kind = match why {
            DropReason::Version | DropReason::Size | DropReason::Receiver => BodyKind::Messages,
            DropReason::Tag if speaks_of_key(frame) && self.notices.refuses_key() => {
                BodyKind::Greeting
            }
            _ => return None,
        };
        Some((Endpoint::Client(from), kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ReplicaId;
    use seldom::AGAIN_US;

    const ZERO: Party = Party::Replica(ReplicaId(0));

    /// The header of a frame from replica `from`.
    fn header(version: u8, n: u8, from: u8, to: u8) -> Vec<u8> {
        let mut frame = vec![0; super::super::HEADER_BYTES];
        frame[4..8].copy_from_slice(&[version, n, from, to]);
        frame
    }

    fn at() -> SocketAddr {
        "10.0.0.2:7000".parse().expect("an address")
    }

    #[test]
    fn each_kind_is_named_with_its_sender() {
        use DropReason::{Receiver, Size, Version};
        for (me, frame, why, line) in [
            (ZERO, header(9, 3, 1, 0), Version, "replica 0: replica 1 at 10.0.0.2:7000 speaks"),
            (ZERO, header(2, 5, 4, 0), Size, "replica 0: hears a cluster of 5 at 10.0.0.2:7000"),
            (ZERO, header(2, 3, 1, 2), Receiver, "replica 0: replica 1 at 10.0.0.2:7000 takes"),
            (Party::Client, header(9, 3, 1, CLIENT), Version, "client: replica 1 at"),
            (Party::Client, header(2, 5, 1, CLIENT), Size, "client: hears a cluster of 5 at"),
            (Party::Client, header(2, 3, 1, CLIENT), Receiver, "client: replica 1 is at"),
        ] {
            let said = Notices::new(me, 3, false).line(0, at(), &frame, why);
            assert!(said.as_ref().is_some_and(|said| said.starts_with(line)), "{said:?} {line}");
        }
        // What passes by itself, noise, and clients, who are told.
        for (frame, why) in [
            (header(2, 3, 1, 0), DropReason::Boot),
            (header(2, 3, 1, 0), DropReason::Check),
            (header(9, 3, CLIENT, 0), Version),
            (header(9, 3, 63, 0), Version),
        ] {
            assert_eq!(Notices::new(ZERO, 3, false).line(0, at(), &frame, why), None, "{why:?}");
        }
    }

    #[test]
    fn each_sender_and_kind_is_said_once_a_minute() {
        let mut notices = Notices::new(ZERO, 3, false);
        let mut said =
            |at_us, from, why| notices.line(at_us, at(), &header(9, 5, from, 2), why).is_some();
        assert!(said(0, 1, DropReason::Version) && said(0, 2, DropReason::Version));
        assert!(said(0, 1, DropReason::Size) && !said(1, 1, DropReason::Size));
        assert!(!said(AGAIN_US - 1, 1, DropReason::Version));
        assert!(said(AGAIN_US, 1, DropReason::Version));
    }
}
