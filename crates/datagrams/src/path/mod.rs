//! What a process finds out about the way to each of its peers.
//!
//! - [`flow`]: how much may be under way, and how fast.
//! - [`receipt`]: what has arrived from the peer, and how both sides say so.
//! - [`queue`]: what waits for room.
//! - [`evidence`]: whether long datagrams arrive, as the traffic itself shows.
//! - [`length`]: how long a datagram may be, and whether the kernel really sends batches.
//! - [`trust`]: when datagrams leave several in one call.
//! - [`shared`]: what the loop and the sending threads share of that.

pub mod evidence;
pub mod flow;
pub mod length;
pub mod queue;
pub mod receipt;
pub mod shared;
pub mod trust;

use std::net::{IpAddr, SocketAddr};

/// The bytes of a datagram that every path carries: a packet of 576 bytes, which every IPv4
/// host takes, less the headers of IPv4 and UDP.
pub const PATH_BYTES_MIN: usize = 548;

/// The bytes with which a path over IPv4 begins: a packet of 1,280 bytes, which nearly every
/// path carries, less the headers of IPv4 and UDP.
pub const PATH_BYTES_IPV4: usize = 1_252;

/// The bytes with which a path over IPv6 begins, whose headers are longer.
pub const PATH_BYTES_IPV6: usize = 1_232;

/// The bytes with which a path to `address` begins.
pub fn first_bytes(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(_) => PATH_BYTES_IPV4,
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => PATH_BYTES_IPV4,
        IpAddr::V6(_) => PATH_BYTES_IPV6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_with_what_nearly_every_path_of_its_kind_carries() {
        for (address, bytes) in [
            ("192.0.2.1:5000", PATH_BYTES_IPV4),
            ("[::ffff:192.0.2.1]:5000", PATH_BYTES_IPV4),
            ("[2001:db8::1]:5000", PATH_BYTES_IPV6),
        ] {
            assert_eq!(first_bytes(address.parse().expect("an address")), bytes, "{address}");
        }
    }
}
