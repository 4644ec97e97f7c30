//! The state machine of a user, which the log feeds.
//!
//! A log of commands becomes a service by a [`StateMachine`]: every replica has one and applies
//! the decided commands to it, in the order of their slots and each once. So all of them go through
//! the same states and give the same answers. (Schneider, *Implementing Fault-Tolerant Services
//! Using the State Machine Approach*, 1990.) The chat log is the machine that changes nothing and
//! answers nothing: its log is its state. [`Host`] says which of the two a replica keeps.
//!
//! What a user writes is `apply`, `snapshot` and `restore`. The library's part is the rest: which
//! command is next in its session (E2), the answer to each session's last command, kept to answer a
//! repeated request with the same bytes (E3), and both in checkpoints (E4).
//!
//! **Bounds.** A command has at most [`COMMAND_BYTES_MAX`] bytes and an answer at most
//! [`RESPONSE_BYTES_MAX`]. A replica keeps [`RESPONSES_BYTES_MAX`] of answers, and forgets the
//! oldest first.
//!
//! **Does not** call a machine from two threads, or for a command that changes nothing.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod response;
mod text;

pub use response::Response;
pub use text::{bytes_of, line_of};

use crate::types::LINE_BYTES_MAX;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The longest command, in bytes. In the log each of its bytes takes at most two (`text`).
pub const COMMAND_BYTES_MAX: usize = LINE_BYTES_MAX / 2;

/// The longest answer, in bytes: it fits one datagram of the usual length.
pub const RESPONSE_BYTES_MAX: usize = 1_024;

/// How many bytes of answers a replica keeps for clients that ask again, each with
/// [`RESPONSE_COST`]. Beyond that it forgets the oldest, at the same slot as all others.
pub const RESPONSES_BYTES_MAX: usize = 64 << 20;

/// What keeping an answer takes beside its bytes, about.
pub const RESPONSE_COST: usize = 64;

/// A deterministic state machine.
///
/// All replicas apply the same commands in the same order, and must come to the same state and to
/// the same answers. So [`apply`](StateMachine::apply) depends on the state and the command alone:
/// not on time, randomness, the order of a hash table, threads, files or the replica's id. What a
/// machine needs of these must come in a command. A machine that is not so is caught by
/// the simulator, with the seed that shows it.
///
/// ```
/// use multipaxos::machine::{BadSnapshot, Response, StateMachine};
///
/// /// Adds what it is told to add, and answers the sum.
/// #[derive(Default)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     fn apply(&mut self, command: &[u8]) -> Response {
///         self.0 += command.len() as u64;
///         self.0.to_string().into()
///     }
///
///     fn snapshot(&self) -> Vec<u8> {
///         self.0.to_le_bytes().to_vec()
///     }
///
///     fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
///         let bytes = snapshot.try_into().map_err(|_| BadSnapshot::new("not eight bytes"))?;
///         self.0 = u64::from_le_bytes(bytes);
///         Ok(())
///     }
/// }
///
/// let mut counter = Counter::default();
/// assert_eq!(&counter.apply(b"three")[..], b"5");
/// ```
pub trait StateMachine: Send + Sync + 'static {
    /// Applies a command, and answers it with at most [`RESPONSE_BYTES_MAX`] bytes.
    ///
    /// Any client may send any bytes, so a command that means nothing has to be answered as well.
    /// A panic here ends the process at every replica that applies the command, again after each
    /// restart. A longer answer is such a panic.
    fn apply(&mut self, command: &[u8]) -> Response;

    /// The whole state, as bytes. Two machines in the same state return the same bytes.
    ///
    /// It is taken while nothing is applied, once for each checkpoint, of which two lie at least
    /// 16,384 commands apart or 8 MiB of them. So a large state costs a pause.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state by that of a snapshot, which a machine of this type has returned.
    ///
    /// # Errors
    ///
    /// If this build cannot read it. Then the replica does not start.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot>;
}

/// Why a snapshot cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSnapshot(String);

impl BadSnapshot {
    /// For this reason, in lower case: `version 7, and this build reads 1 to 6`.
    pub fn new(why: impl Into<String>) -> BadSnapshot {
        BadSnapshot(why.into())
    }
}

impl fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the snapshot of the state machine cannot be read: {}", self.0)
    }
}

impl std::error::Error for BadSnapshot {}

type Make = dyn Fn() -> Box<dyn StateMachine> + Send + Sync;

/// What the commands of a log change: nothing but the log itself, or a machine of the user.
///
/// All replicas of a cluster, at all times, must have the same one.
#[derive(Clone, Default)]
pub struct Host(Option<Arc<Make>>);

impl Host {
    /// Nothing but the log: the chat.
    pub const CHAT: Host = Host(None);

    /// A machine of the user. `make` makes one in its first state, in which it is before the
    /// first command. It is called at each start, and to compare states.
    pub fn of<M: StateMachine>(make: impl Fn() -> M + Send + Sync + 'static) -> Host {
        Host(Some(Arc::new(move || Box::new(make()))))
    }

    /// A new machine of the user, if there is to be one.
    pub(crate) fn make(&self) -> Option<Box<dyn StateMachine>> {
        self.0.as_ref().map(|make| make())
    }

    /// Whether it is the chat.
    pub fn is_chat(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_chat() { "chat" } else { "machine" })
    }
}

/// Two functions that make machines cannot be compared: the same one is equal.
impl PartialEq for Host {
    fn eq(&self, other: &Host) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Eq for Host {}

impl Hash for Host {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}
