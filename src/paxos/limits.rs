//! The bounds that a test may want to reach.

use super::window::IN_FLIGHT_BYTES_MAX;
use super::{ACCEPT_BYTES_MAX, ACCEPT_WINDOW_SLOTS, PROPOSE_WINDOW_SLOTS};
use crate::aside::NotState;

/// Bounds of the roles, the same at every replica of a cluster.
///
/// Every real replica has the default. A simulation makes them small, so that it meets
/// them often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`ACCEPT_WINDOW_SLOTS`].
    pub accept_slots: u64,
    /// See [`ACCEPT_BYTES_MAX`].
    pub accept_bytes: usize,
    /// See [`PROPOSE_WINDOW_SLOTS`].
    pub propose_slots: u64,
    /// See [`IN_FLIGHT_BYTES_MAX`].
    pub in_flight_bytes: usize,
}

impl Limits {
    /// The bounds of a real replica.
    pub const DEFAULT: Limits = Limits {
        accept_slots: ACCEPT_WINDOW_SLOTS,
        accept_bytes: ACCEPT_BYTES_MAX,
        propose_slots: PROPOSE_WINDOW_SLOTS,
        in_flight_bytes: IN_FLIGHT_BYTES_MAX,
    };
}

impl NotState for Limits {}
