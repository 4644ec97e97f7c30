//! Requests that a leader has admitted and that have no slot yet.

use super::Limits;
use crate::aside::Aside;
use crate::message::Request;
use crate::requesters::{Asker, Requesters};
use crate::types::Address;
use crate::values::{Builder, CommandRef, ValueRef, Values};
use std::collections::VecDeque;
use std::ops::Range;

/// How many commands may wait for a slot.
pub const QUEUE_MAX: usize = 16_384;

/// How many bytes of commands may wait for a slot.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;

/// The client at `address` has sent `request`.
pub(super) fn asker(address: Address, request: &Request) -> Asker {
    Asker { address, after: request.after, attempt: request.attempt }
}

/// The request of `asker`, if these are its commands.
pub(super) fn request_of(asker: Asker, commands: Values) -> Request {
    Request { commands, after: asker.after, attempt: asker.attempt }
}

/// Requests in the order in which they came, within two bounds (rule L5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RequestQueue {
    limits: Aside<Limits>,
    /// Each with the address at which its client is to be answered.
    requests: VecDeque<(Address, Request)>,
    /// How many commands are queued or have a place reserved, and their bytes.
    commands: usize,
    bytes: usize,
    /// Where a run is put together.
    builder: Aside<Builder>,
}

impl RequestQueue {
    /// Nothing waits.
    pub(super) fn new(limits: Limits) -> Self {
        let (limits, builder) = (Aside(limits), Aside(Builder::default()));
        RequestQueue { limits, requests: VecDeque::new(), commands: 0, bytes: 0, builder }
    }

    /// Whether no place can be reserved for a command that is as long as those that wait, on
    /// average.
    pub(super) fn is_full(&self) -> bool {
        let average = self.bytes / self.commands.max(1);
        self.commands >= self.limits.queue_commands
            || self.bytes + average > self.limits.queue_bytes
    }

    /// Whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether a place can be reserved for `command`.
    pub(super) fn has_room(&self, command: CommandRef<'_>) -> bool {
        let bytes = self.bytes + ValueRef::Command(command).encoded_bytes();
        self.commands < self.limits.queue_commands && bytes <= self.limits.queue_bytes
    }

    /// Reserves a place for a command that will be pushed.
    pub(super) fn reserve(&mut self, command: CommandRef<'_>) {
        self.commands += 1;
        self.bytes += ValueRef::Command(command).encoded_bytes();
    }

    /// Takes the commands of `request` in `range`, for which places are reserved.
    pub(super) fn push(&mut self, origin: Address, request: &Request, range: Range<usize>) {
        if !range.is_empty() {
            // It may wait long, and must not keep alive much more than itself.
            let commands = request.commands.slice(range).apart();
            self.requests.push_back((origin, Request { commands, ..*request }));
        }
    }

    /// Takes out at most `slots` commands of at most `bytes`, as one run: at least one
    /// command however long it is, so that a long line always has its turn.
    pub(super) fn take_run(&mut self, slots: usize, bytes: usize) -> (Values, Requesters) {
        let (run, mut requesters) = (&mut *self.builder, Requesters::default());
        while run.len() < slots
            && run.bytes() < bytes
            && let Some((origin, request)) = self.requests.pop_front()
        {
            let (commands, asked) = (&request.commands, asker(origin, &request));
            let fitting = commands.fitting(bytes - run.bytes()).max(1);
            let count = fitting.min(slots - run.len());
            let taken = commands.slice(0..count);
            self.commands -= count;
            self.bytes -= taken.bytes().len();
            run.extend(&taken);
            requesters.push(count, asked);
            if count < commands.len() {
                let rest = request_of(asked, commands.skip(count));
                self.requests.push_front((origin, rest));
            }
        }
        (run.take(), requesters)
    }

    /// The requests, each with its origin.
    pub(super) fn into_requests(self) -> impl Iterator<Item = (Address, Request)> {
        self.requests.into_iter()
    }
}
