//! How often each event happened.
//!
//! One number for each [`NetEvent`] and each [`DropReason`], shared by all threads. Every
//! dropped datagram is counted under its own reason. Counting never blocks and orders
//! nothing: these numbers are for people and tests, and no decision depends on them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that [`Counters`] count.
pub trait Counted: Copy {
    /// Its index among the numbers.
    fn index(self) -> usize;
}

macro_rules! counted {
    ($(#[$what:meta])* $of:ident from $first:expr;
     $($(#[$doc:meta])* $name:ident = $shown:literal,)*) => {
        $(#[$what])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $of {
            $($(#[$doc])* $name,)*
        }

        impl $of {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[$of] = &[$($of::$name,)*];

            /// As it is shown.
            pub fn name(self) -> &'static str {
                match self {
                    $($of::$name => $shown,)*
                }
            }
        }

        impl Counted for $of {
            fn index(self) -> usize {
                $first + self as usize
            }
        }
    };
}

counted! {
    /// What happens to datagrams and messages.
    NetEvent from 0;
    /// A datagram came off the socket.
    Received = "received",
    /// A datagram came off the socket during a flood, behind too many others: lost.
    Unread = "unread",
    /// A message was delivered inside the process.
    Delivered = "delivered",
    /// A client has asked more than it may: its question was lost.
    Unheard = "unheard",
    /// The inbox of a thread was full: a batch of inputs was lost.
    InboxFull = "inbox_full",
    /// A datagram went to the socket.
    Sent = "sent",
    /// A system call took one datagram or several.
    SendCalls = "send_calls",
    /// A datagram was drawn to be lost (`--msg_loss`).
    LostByGate = "lost_by_gate",
    /// Not sent: this process has been muted (fault injection).
    Muted = "muted",
    /// The socket would have blocked; the loop was asked to send it.
    Handed = "handed_to_loop",
    /// The loop's queue was full: lost.
    LostQueueFull = "lost_queue_full",
    /// There was no room on the path: it waits.
    HeldBack = "held_back",
    /// The same datagram waits already: not needed.
    HeldAlready = "held_already",
    /// It waits no more, because its receiver has come so far by other ways.
    Needless = "needless",
    /// It waited for room for too long: lost.
    LostOld = "lost_old",
    /// The message is longer than any receiver would take: lost.
    LostTooLong = "lost_too_long",
    /// The socket would not take it: lost.
    SendFailed = "send_failed",
    /// There is no session with its receiver yet: it waits for that, or is lost.
    NoSession = "no_session",
    /// A greeting went to a peer, to begin a session.
    Greeted = "greeted",
    /// The socket reported that an earlier datagram reached a port where nothing listens.
    Refused = "refused",
    /// A sender that had been taken for an earlier life was taken back.
    BootRevived = "boot_revived",
    /// A message was split.
    Split = "split",
    /// A message was joined.
    Joined = "joined",
    /// A message that had been joined was being sent again: delivered again.
    JoinedAgain = "joined_again",
    /// A fragment of a message that had just been joined came late or again.
    FragmentLate = "fragment_late",
    /// Missing fragments were asked for.
    FragmentsAsked = "fragments_asked",
    /// A fragment that a receiver missed was sent again.
    FragmentResent = "fragment_resent",
    /// A fragment was asked for that is not kept any more.
    FragmentForgotten = "fragment_forgotten",
    /// An unfinished message made room for another.
    SetEvicted = "set_evicted",
    /// An unfinished message was given up.
    SetGivenUp = "set_given_up",
}

impl NetEvent {
    /// Those by which a message is lost.
    pub const LOSSES: &[NetEvent] = &[
        NetEvent::Unread,
        NetEvent::Unheard,
        NetEvent::InboxFull,
        NetEvent::LostByGate,
        NetEvent::LostQueueFull,
        NetEvent::LostOld,
        NetEvent::LostTooLong,
        NetEvent::SendFailed,
        NetEvent::NoSession,
        NetEvent::SetEvicted,
        NetEvent::SetGivenUp,
    ];
}

counted! {
    /// Why a datagram, or a message joined from fragments, is dropped.
    DropReason from NetEvent::ALL.len();
    /// Shorter than a header, or the length does not fit.
    Length = "drop_length",
    /// Not of this program.
    Magic = "drop_magic",
    /// Another version of the format.
    Version = "drop_version",
    /// The check over the datagram failed.
    Check = "drop_check",
    /// An unknown kind of body, or one that this sender may not send.
    Kind = "drop_kind",
    /// Padded with bytes that are not zero.
    Padding = "drop_padding",
    /// From a configuration with another number of peers.
    Size = "drop_n",
    /// The sender is unknown, is the receiver itself, or may not send to it.
    Sender = "drop_sender",
    /// Addressed to another process, or the word of a peer that it was.
    Receiver = "drop_receiver",
    /// From another cluster, or without a cluster id where one is needed.
    Cluster = "drop_cluster",
    /// This process does not know its cluster yet.
    NotStarted = "drop_not_started",
    /// From an earlier life of its sender.
    Boot = "drop_boot",
    /// So small that an answer could be larger.
    Amplifies = "drop_amplifies",
    /// The body is not a list of messages.
    Body = "drop_body",
    /// A fragment, or a request for one, that contradicts itself.
    Fragment = "drop_fragment",
    /// Joined bytes did not have the digest that they claimed.
    Digest = "drop_digest",
    /// Without the tag that shows that its sender has a key of the cluster, or of a session that is
    /// not known, or with a tag where nobody has a key.
    Tag = "drop_tag",
    /// With a good tag, but it has come before, or may have.
    Replay = "drop_replay",
}

/// How many numbers there are.
const COUNTED: usize = NetEvent::ALL.len() + DropReason::ALL.len();

/// A number for each event and drop reason, shared by the threads of a process.
#[derive(Debug)]
pub struct Counters {
    counts: [AtomicU64; COUNTED],
}

impl Default for Counters {
    fn default() -> Self {
        Counters { counts: [const { AtomicU64::new(0) }; COUNTED] }
    }
}

impl Counters {
    /// All at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts it once.
    pub fn count(&self, event: impl Counted) {
        self.add(event, 1);
    }

    /// Counts it `times` times.
    pub fn add(&self, event: impl Counted, times: u64) {
        self.counts[event.index()].fetch_add(times, Ordering::Relaxed);
    }

    /// How often it has happened.
    pub fn of(&self, event: impl Counted) -> u64 {
        self.counts[event.index()].load(Ordering::Relaxed)
    }

    /// What was lost or dropped here, by cause.
    pub fn losses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let events = NetEvent::LOSSES.iter().map(|&event| (event.name(), self.of(event)));
        events.chain(DropReason::ALL.iter().map(|&reason| (reason.name(), self.of(reason))))
    }

    /// All of them at about one moment, with their names: events first.
    pub fn snapshot(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let events = NetEvent::ALL.iter().map(|&event| (event.name(), self.of(event)));
        events.chain(DropReason::ALL.iter().map(|&reason| (reason.name(), self.of(reason))))
    }
}

impl fmt::Display for Counters {
    /// `received=7 delivered=9 …`, without those that never happened.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for (name, count) in self.snapshot() {
            if count > 0 {
                write!(f, "{gap}{name}={count}")?;
                gap = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_number_of_its_own_and_a_zero_is_not_shown() {
        let counters = Counters::new();
        assert_eq!(counters.to_string(), "");
        let events = NetEvent::ALL.iter().map(|event| event.index());
        let indexes = events.chain(DropReason::ALL.iter().map(|reason| reason.index()));
        assert_eq!(indexes.collect::<Vec<_>>(), (0..COUNTED).collect::<Vec<_>>());
        counters.count(NetEvent::Received);
        counters.add(DropReason::Check, 3);
        assert_eq!(counters.to_string(), "received=1 drop_check=3");
    }
}
