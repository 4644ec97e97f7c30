//! Many datagrams a system call, as far as the kernel can (GSO and GRO).
//!
//! Sending: one call takes segments to one destination. When it is used decides
//! [`BatchTrust`]. Receiving: one call yields several pieces, each of several datagrams from one
//! sender, and tells when there are no more. A host that has neither is no error, and both can be
//! switched off.
//!
//! **Fragments of IP.** The kernel is told never to cut a datagram: the paths find out how
//! long a datagram may be.

use crate::batch::Segments;
use crate::path::length::PathLength;
use crate::path::trust::{BatchTrust, REFUSED_CHANCES};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};

/// What the kernel does for one socket.
#[derive(Debug)]
pub(crate) struct Offload {
    state: Option<UdpSocketState>,
    /// Whether batches arrive, as far as this process knows.
    pub(crate) trust: BatchTrust,
}

impl Offload {
    /// Finds out what the kernel does for `socket`, which is bound, and prepares it for this
    /// many peers.
    pub(crate) fn new(socket: &UdpSocket, peers: usize) -> Self {
        let state = UdpSocketState::new(UdpSockRef::from(socket))
            .inspect_err(|error| log::debug!("the kernel takes one datagram a call: {error}"))
            .ok();
        let has = state.as_ref().is_some_and(|state| state.max_gso_segments() > 1);
        Offload { state, trust: BatchTrust::new(has, peers, REFUSED_CHANCES) }
    }

    /// One datagram a call, for `socket`, which is bound.
    pub(crate) fn none(socket: &UdpSocket, peers: usize) -> Self {
        let whole = match socket.local_addr() {
            Ok(address) if address.is_ipv6() => {
                set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)
            }
            _ => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE),
        };
        whole.unwrap_or_else(|error| log::debug!("datagrams may be cut on their way: {error}"));
        Offload { state: None, trust: BatchTrust::new(false, peers, REFUSED_CHANCES) }
    }

    /// Learns from the paths to all peers which of the batches arrive that the kernel takes.
    pub(crate) fn learn(&self, paths: &mut [PathLength]) {
        if self.trust.learn(paths) {
            if !self.trust.vanish(None) {
                log::info!("datagrams that leave in one call arrive again");
            } else {
                log::warn!(
                    "datagrams that leave in one call do not arrive, although the kernel takes \
                     them: they leave one by one (--no_offload says so from the beginning)"
                );
            }
        }
    }

    /// Sends all of them in one call, or none.
    pub(crate) fn send(
        &self,
        socket: &UdpSocket,
        to: SocketAddr,
        segments: Segments<'_>,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: segments.bytes(),
            segment_size: Some(segments.size()),
            src_ip: None,
        };
        let Some(state) = &self.state else { return Err(io::ErrorKind::Unsupported.into()) };
        state.try_send(UdpSockRef::from(socket), &transmit)
    }

    /// Notes that the kernel refused a batch to this peer, or to a client, of whose datagrams
    /// `passed` then passed one by one.
    pub(crate) fn refused(&self, peer: Option<usize>, error: &io::Error, passed: usize) {
        if self.trust.refused(peer, error, passed) {
            log::debug!("datagrams to peer {peer:?} are sent one by one for a while: {error}");
        }
    }

    /// Whether a call may bring several datagrams.
    pub(crate) fn receives_many(&self) -> bool {
        self.state.is_some()
    }

    /// Receives up to [`PIECES_MAX`] pieces.
    pub(crate) fn receive(&self, socket: &UdpSocket, into: &mut Pieces) -> io::Result<Received> {
        let Pieces { buffers, metas } = into;
        let Some(state) = &self.state else {
            let (bytes, from) = socket.recv_from(&mut buffers[0])?;
            (metas[0].addr, metas[0].len, metas[0].stride) = (from, bytes, bytes);
            return Ok(Received { pieces: 1, drained: false });
        };
        let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
        let pieces = state.recv(UdpSockRef::from(socket), &mut slices, metas)?;
        Ok(Received { pieces, drained: pieces < PIECES_MAX })
    }
}

/// The most pieces that come in one call. A round of a small cluster brings a process two or
/// three at a time.
pub(crate) const PIECES_MAX: usize = 4;

/// What one call brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) pieces: usize,
    /// Whether the kernel looked for one more and found none, or an error. The next call says
    /// which.
    pub(crate) drained: bool,
}

/// The pieces of a call: each holds datagrams from one sender.
#[derive(Debug)]
pub(crate) struct Pieces {
    buffers: [Box<[u8]>; PIECES_MAX],
    metas: [RecvMeta; PIECES_MAX],
}

impl Pieces {
    /// Room for as many bytes in each.
    pub(crate) fn new(bytes: usize) -> Self {
        let buffers = [(); PIECES_MAX].map(|()| vec![0; bytes].into_boxed_slice());
        Pieces { buffers, metas: [RecvMeta::default(); PIECES_MAX] }
    }

    /// The sender and the datagrams of a piece.
    pub(crate) fn get(&self, piece: usize) -> (SocketAddr, Segments<'_>) {
        let RecvMeta { addr, len, stride, .. } = self.metas[piece];
        (addr, Segments::cut(&self.buffers[piece][..len], stride))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::{ip_mtu_discover, ipv6_mtu_discover};
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn the_kernel_may_not_cut_a_datagram() {
        for prepare in [Offload::new, Offload::none] {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            prepare(&socket, 3);
            let way = ip_mtu_discover(&socket).expect("it may be asked");
            assert_eq!(way, Ipv4PathMtuDiscovery::PROBE);
            // A host may have no IPv6.
            let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else { continue };
            prepare(&socket, 3);
            let way = ipv6_mtu_discover(&socket).expect("it may be asked");
            assert_eq!(way, Ipv6PathMtuDiscovery::PROBE);
        }
    }

    #[test]
    fn a_host_without_any_of_it_receives_one_by_one_and_sends_no_batches() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let to = socket.local_addr().expect("an address");
        let offload = Offload::none(&socket, 3);
        let trust = &offload.trust;
        assert!(!trust.batches(Some(0)) && !trust.batches(None));
        assert!(!trust.takes(Some(0)) && !trust.takes(None));
        let refused = offload.send(&socket, to, Segments::cut(&[1, 2, 3], 1));
        assert_eq!(refused.expect_err("not a batch").kind(), io::ErrorKind::Unsupported);
        let mut pieces = Pieces::new(9);
        for sent in [&[1][..], &[2, 3]] {
            socket.send_to(sent, to).expect("it fits");
            let received = offload.receive(&socket, &mut pieces).expect("it came");
            assert_eq!(received, Received { pieces: 1, drained: false });
            assert_eq!(pieces.get(0), (to, Segments::one(sent)));
        }
    }

    #[test]
    fn a_call_brings_several_pieces_and_tells_when_there_are_no_more() {
        let [socket, first, second] =
            [(); 3].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
        socket.set_nonblocking(true).expect("it can be set");
        let offload = Offload::new(&socket, 3);
        if offload.state.is_none() {
            return; // A host without any of it: see the test above.
        }
        let mut pieces = Pieces::new(99);
        let nothing = offload.receive(&socket, &mut pieces).expect_err("nothing was sent");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let to = socket.local_addr().expect("an address");
        let sender = |number: u8| if number.is_multiple_of(2) { &first } else { &second };
        for count in 1..=PIECES_MAX as u8 {
            (0..count).for_each(|it| assert_eq!(sender(it).send_to(&[it], to).expect("sent"), 1));
            let received = offload.receive(&socket, &mut pieces).expect("they came");
            let drained = usize::from(count) < PIECES_MAX;
            assert_eq!(received, Received { pieces: count.into(), drained });
            for it in 0..count {
                let from = sender(it).local_addr().expect("an address");
                assert_eq!(pieces.get(it.into()), (from, Segments::one(&[it])));
            }
        }
    }
}
