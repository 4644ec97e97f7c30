//! Datagrams: a process's UDP socket, the loop that receives, and how threads send.
//!
//! ```text
//!  sending threads                                 network thread
//!  Outlet::send                                    Network::run
//!    [codec] messages -> datagrams                   [udp] receives everything
//!    [loss]  one draw per datagram                   [codec] checks and decodes
//!    [batch] one call per destination                [fragment] joins, asks, resends
//!    sendmsg ----------------------> wire            Deliver::deliver
//!      | would block, no room, or too long
//!      `------- bounded queue ---------------------> [loss], [path], [batch], sendmsg
//! ```
//!
//! - [`codec`]: the part that a program supplies: the form of its datagrams, and its messages.
//! - [`boots`]: which life of a peer is the current one.
//! - [`fragment`]: one long message in many datagrams.
//! - [`loss`]: the seeded gate that every datagram passes.
//! - [`batch`]: datagrams to one destination that leave in one system call.
//! - `offload`: many datagrams in one system call, where the kernel can do that.
//! - [`outlet`]: how a thread sends.
//! - [`path`]: how long a datagram to each peer may be, and how much may be under way.
//! - [`peers`]: where each peer is reached.
//! - [`udp`]: the socket and the loop.
//! - `wakeup`: how a thread wakes the loop.
//! - [`wait`]: how long a thread polls before it sleeps.
//! - [`counters`]: how often each event happened, above all why datagrams were dropped.
//!
//! **Guarantees.** Nothing that arrives can make this package panic, block, or take memory
//! beyond bounds that have names. Sending never blocks a thread. Everything is generic over
//! the codec, so that no call for a datagram is dynamic.
//!
//! **Does not** deliver in order, once, or at all: every message may be lost, repeated and
//! reordered. A sender that needs an answer asks again.

pub mod batch;
pub mod boots;
pub mod codec;
pub mod counters;
mod flood;
pub mod fragment;
pub mod loss;
mod offload;
pub mod outlet;
pub mod path;
pub mod peers;
#[cfg(test)]
mod toy;
pub mod udp;
pub mod wait;
mod wakeup;

/// The most bytes of one datagram unless told otherwise, header included: most paths carry
/// them, and the others are found out.
pub const DATAGRAM_BYTES_DEFAULT: usize = 1_400;

/// The least that may be configured.
pub const DATAGRAM_BYTES_MIN: usize = 576;

/// The most that may be configured: what UDP over IPv4 can carry.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

/// The longest encoded message, joined from fragments.
pub const MESSAGE_BYTES_MAX: usize = 68 << 10;

/// The bytes that a codec's header takes before the body of each datagram.
pub const HEADER_BYTES: usize = 45;

/// The most bytes that a codec adds to a body, padding aside: its header, and what it may put
/// behind the body.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 35;

/// The least bytes of body, padding included, in a datagram from a client. An answer is
/// never longer, so a client that forges its address cannot make a peer send more to a third
/// party than the client sends itself.
pub const CLIENT_BODY_BYTES_MIN: usize = 56;

/// Checks a bound that the command line has checked before.
///
/// # Panics
///
/// If it is outside of [`DATAGRAM_BYTES_MIN`] to [`DATAGRAM_BYTES_MAX`].
pub fn assert_datagram_max(datagram_max: usize) {
    assert!(
        (DATAGRAM_BYTES_MIN..=DATAGRAM_BYTES_MAX).contains(&datagram_max),
        "datagrams of {datagram_max} bytes"
    );
}
