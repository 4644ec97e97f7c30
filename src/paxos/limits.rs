//! The bounds that a test may want to reach.

use super::accepted_log::{PROMISE_PAGES_MAX, VALUES_BYTES_MAX};
use super::learner::{
    AHEAD_SLOTS, EARLY_BYTES_MAX, FETCH_SLOTS_MAX, FETCHES_MAX, PART_SESSIONS, WAITING_BYTES_MAX,
    WAITING_MAX,
};
use super::recovery::WANTED_SLOTS_MAX;
use super::request_queue::{QUEUE_BYTES_MAX, QUEUE_MAX};
use super::window::IN_FLIGHT_BYTES_MAX;
use super::{ACCEPT_BYTES_MAX, ACCEPT_SLOTS_MAX, PROPOSE_WINDOW_SLOTS};
use crate::aside::NotState;
use crate::message::MESSAGE_SLOTS_MAX;
use serde::{Deserialize, Serialize};

/// Bounds of the roles, the same at every replica of a cluster.
///
/// Every real replica has the default. A simulation makes them small, so that it meets
/// them often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// See [`ACCEPT_SLOTS_MAX`].
    pub accept_slots: u64,
    /// See [`ACCEPT_BYTES_MAX`].
    pub accept_bytes: usize,
    /// See [`PROPOSE_WINDOW_SLOTS`].
    pub propose_slots: u64,
    /// See [`IN_FLIGHT_BYTES_MAX`].
    pub in_flight_bytes: usize,
    /// How many spans a page of a promise names, if they fit a datagram.
    pub promise_spans: usize,
    /// See `PROMISE_PAGES_MAX`.
    pub promise_pages: usize,
    /// See `WANTED_SLOTS_MAX`.
    pub wanted_slots: u64,
    /// See `VALUES_BYTES_MAX`.
    pub values_bytes: usize,
    /// See [`QUEUE_MAX`].
    pub queue_commands: usize,
    /// See [`QUEUE_BYTES_MAX`].
    pub queue_bytes: usize,
    /// See [`FETCH_SLOTS_MAX`].
    pub fetch_slots: u64,
    /// See [`FETCHES_MAX`].
    pub fetches: usize,
    /// See [`AHEAD_SLOTS`].
    pub ahead_slots: u64,
    /// See `EARLY_BYTES_MAX`.
    pub early_bytes: usize,
    /// See `PART_SESSIONS`: of at least so many sessions a part of a checkpoint is.
    pub part_sessions: usize,
    /// See `WAITING_MAX`.
    pub waiting: usize,
    /// See `WAITING_BYTES_MAX`.
    pub waiting_bytes: usize,
}

/// A bound of a role that its state has come up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`Limits::accept_slots`]
    AcceptSlots,
    /// [`Limits::accept_bytes`]
    AcceptBytes,
    /// [`Limits::propose_slots`]
    ProposeSlots,
    /// [`Limits::in_flight_bytes`]
    InFlightBytes,
    /// [`Limits::queue_commands`] or [`Limits::queue_bytes`]: a command longer than what was
    /// queued last would find no room.
    Queue,
    /// [`Limits::fetches`]
    Fetches,
    /// [`Limits::ahead_slots`], or as many slots as may be kept
    AheadSlots,
    /// [`Limits::early_bytes`]
    EarlyBytes,
    /// [`Limits::waiting`]
    Waiting,
}

impl Limits {
    /// The bounds of a real replica.
    pub const DEFAULT: Limits = Limits {
        accept_slots: ACCEPT_SLOTS_MAX,
        accept_bytes: ACCEPT_BYTES_MAX,
        propose_slots: PROPOSE_WINDOW_SLOTS,
        in_flight_bytes: IN_FLIGHT_BYTES_MAX,
        promise_spans: MESSAGE_SLOTS_MAX,
        promise_pages: PROMISE_PAGES_MAX,
        wanted_slots: WANTED_SLOTS_MAX,
        values_bytes: VALUES_BYTES_MAX,
        queue_commands: QUEUE_MAX,
        queue_bytes: QUEUE_BYTES_MAX,
        fetch_slots: FETCH_SLOTS_MAX,
        fetches: FETCHES_MAX,
        ahead_slots: AHEAD_SLOTS,
        early_bytes: EARLY_BYTES_MAX,
        part_sessions: PART_SESSIONS,
        waiting: WAITING_MAX,
        waiting_bytes: WAITING_BYTES_MAX,
    };
}

impl NotState for Limits {}
