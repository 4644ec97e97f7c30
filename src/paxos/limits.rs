//! The bounds that a test may want to reach.

use super::window::IN_FLIGHT_BYTES_MAX;
use super::{ACCEPT_BYTES_MAX, ACCEPT_SLOTS_MAX, PROPOSE_WINDOW_SLOTS};
use crate::aside::NotState;
use crate::message::MESSAGE_SLOTS_MAX;

/// Bounds of the roles, the same at every replica of a cluster.
///
/// Every real replica has the default. A simulation makes them small, so that it meets
/// them often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

impl Limits {
    /// The bounds of a real replica.
    pub const DEFAULT: Limits = Limits {
        accept_slots: ACCEPT_SLOTS_MAX,
        accept_bytes: ACCEPT_BYTES_MAX,
        propose_slots: PROPOSE_WINDOW_SLOTS,
        in_flight_bytes: IN_FLIGHT_BYTES_MAX,
        promise_spans: MESSAGE_SLOTS_MAX,
    };
}

impl NotState for Limits {}
