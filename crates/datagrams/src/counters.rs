//! How often everything happened that is worth knowing afterwards.
//!
//! One number per [`Event`], shared by all threads. Nothing is ever dropped without
//! being counted under its own reason. Counting never blocks and orders nothing:
//! these numbers are for people and tests, no decision rests on them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $name:literal,)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $event,)*
        }

        impl Event {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[Event] = &[$(Event::$event,)*];

            /// As it is shown.
            pub fn name(self) -> &'static str {
                match self {
                    $(Event::$event => $name,)*
                }
            }
        }
    };
}

events! {
    /// A datagram came off the socket.
    Received = "received",
    /// A message was handed to its role.
    Delivered = "delivered",
    /// A role's inbox was full: a batch of inputs was lost.
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
    /// The message is longer than any receiver would take: lost.
    LostTooLong = "lost_too_long",
    /// The socket would not take it: lost.
    SendFailed = "send_failed",
    /// The socket reported that an earlier datagram found nobody.
    Refused = "refused",
    /// Dropped: shorter than a header, or the length does not fit.
    DropLength = "drop_length",
    /// Dropped: not of this program.
    DropMagic = "drop_magic",
    /// Dropped: another version of the format.
    DropVersion = "drop_version",
    /// Dropped: the check over the frame failed.
    DropCheck = "drop_check",
    /// Dropped: an unknown kind of body, or one that this sender may not send.
    DropKind = "drop_kind",
    /// Dropped: padded with something else than zeros.
    DropPadding = "drop_padding",
    /// Dropped: from a configuration with another number of replicas.
    DropSize = "drop_n",
    /// Dropped: no such sender, or the receiver itself, or of the wrong sort.
    DropSender = "drop_sender",
    /// Dropped: for somebody else.
    DropReceiver = "drop_receiver",
    /// Dropped: from another cluster, or none where one is needed.
    DropCluster = "drop_cluster",
    /// Dropped: this process does not know its cluster yet.
    DropNotStarted = "drop_not_started",
    /// Dropped: of an earlier life of its sender.
    DropBoot = "drop_boot",
    /// Dropped: so small that an answer could be larger.
    DropAmplifies = "drop_amplifies",
    /// Dropped: the body is not a list of messages.
    DropBody = "drop_body",
    /// Dropped: a fragment, or a request for one, that contradicts itself.
    DropFragment = "drop_fragment",
    /// A sender that had been taken for an earlier life was taken back.
    BootRevived = "boot_revived",
    /// A message was split.
    Split = "split",
    /// A message was joined.
    Joined = "joined",
    /// A fragment of a message that had just been joined came late or again.
    FragmentLate = "fragment_late",
    /// Missing fragments were asked for.
    FragmentsAsked = "fragments_asked",
    /// A fragment that a receiver missed was sent again.
    FragmentResent = "fragment_resent",
    /// A fragment was asked for that is not kept any more.
    FragmentForgotten = "fragment_forgotten",
    /// Joined bytes did not have the digest they claimed: dropped.
    DropDigest = "drop_digest",
    /// An unfinished message made room for another.
    SetEvicted = "set_evicted",
    /// An unfinished message was given up.
    SetGivenUp = "set_given_up",
}

/// One number an event, shared by the threads of a process.
#[derive(Debug)]
pub struct Counters {
    counts: [AtomicU64; Event::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Counters { counts: [const { AtomicU64::new(0) }; Event::ALL.len()] }
    }
}

impl Counters {
    /// All at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// It happened.
    pub fn count(&self, event: Event) {
        self.add(event, 1);
    }

    /// It happened `times` times.
    pub fn add(&self, event: Event, times: u64) {
        self.counts[event as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// How often it has happened.
    pub fn of(&self, event: Event) -> u64 {
        self.counts[event as usize].load(Ordering::Relaxed)
    }

    /// All of them at about one moment, in the order of [`Event::ALL`].
    pub fn snapshot(&self) -> Vec<(Event, u64)> {
        Event::ALL.iter().map(|&event| (event, self.of(event))).collect()
    }
}

impl fmt::Display for Counters {
    /// `received=7 delivered=9 …`, without those that never happened.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for (event, count) in self.snapshot() {
            if count > 0 {
                write!(f, "{gap}{}={count}", event.name())?;
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
    fn every_event_has_a_number_of_its_own_and_silence_is_not_shown() {
        let counters = Counters::new();
        assert_eq!(counters.to_string(), "");
        for (i, &event) in Event::ALL.iter().enumerate() {
            assert_eq!(event as usize, i);
        }
        counters.count(Event::Received);
        counters.add(Event::DropCheck, 3);
        assert_eq!(counters.to_string(), "received=1 drop_check=3");
    }
}
