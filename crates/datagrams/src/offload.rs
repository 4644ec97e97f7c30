//! Many datagrams a system call, as far as the kernel can (GSO and GRO).
//!
//! Sending: one call takes segments to one destination. Only a try shows whether the
//! kernel and the device behind it take them; after the first refusal this process sends
//! datagrams one by one. Where a batch is taken and nothing arrives, the paths notice that
//! (see [`crate::path::length`]), and datagrams leave one by one as well. Receiving: one call
//! yields several datagrams from one sender. A host that has neither is no error, and both
//! can be switched off.
//!
//! **Fragments of IP.** The kernel is told never to cut a datagram: the paths find out how
//! long a datagram may be.

use crate::batch::Segments;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

/// What the kernel does for one socket.
#[derive(Debug)]
pub(crate) struct Offload {
    state: Option<UdpSocketState>,
    /// Whether the kernel takes batches, as far as it has said.
    takes: AtomicBool,
    /// Whether the batches that it takes arrive, as far as that is known.
    trusted: AtomicBool,
}

impl Offload {
    /// Finds out what the kernel does for `socket`, which is bound, and prepares it.
    pub(crate) fn new(socket: &UdpSocket) -> Self {
        let state = UdpSocketState::new(UdpSockRef::from(socket))
            .inspect_err(|error| log::debug!("the kernel takes one datagram a call: {error}"))
            .ok();
        let takes = state.as_ref().is_some_and(|state| state.max_gso_segments() > 1);
        Offload { state, takes: AtomicBool::new(takes), trusted: AtomicBool::new(true) }
    }

    /// One datagram a call, for `socket`, which is bound.
    pub(crate) fn none(socket: &UdpSocket) -> Self {
        let whole = match socket.local_addr() {
            Ok(address) if address.is_ipv6() => {
                set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)
            }
            _ => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE),
        };
        whole.unwrap_or_else(|error| log::debug!("datagrams may be cut on their way: {error}"));
        Offload { state: None, takes: AtomicBool::new(false), trusted: AtomicBool::new(true) }
    }

    /// Whether several datagrams may be sent at once.
    pub(crate) fn batches(&self) -> bool {
        self.takes() && self.trusted.load(Ordering::Relaxed)
    }

    /// Whether the kernel takes several datagrams at once, whatever becomes of them.
    pub(crate) fn takes(&self) -> bool {
        self.takes.load(Ordering::Relaxed)
    }

    /// Notes whether the batches that the kernel takes arrive.
    pub(crate) fn trust(&self, trusted: bool) {
        if self.trusted.load(Ordering::Relaxed) != trusted {
            self.trusted.store(trusted, Ordering::Relaxed);
            if trusted {
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

    /// Notes that the kernel refused a batch. If the error says that batches cannot work,
    /// this process sends none any more.
    pub(crate) fn refused(&self, error: &io::Error) {
        use rustix::io::Errno;
        let never = [Errno::IO, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOPROTOOPT]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        if never && self.takes.swap(false, Ordering::Relaxed) {
            log::debug!("datagrams are sent one by one from now on: {error}");
        }
    }

    /// Receives datagrams from one sender. Returns its address, the bytes of all datagrams
    /// together, and the bytes of each but the last.
    pub(crate) fn receive(
        &self,
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(SocketAddr, usize, usize)> {
        let Some(state) = &self.state else {
            let (bytes, from) = socket.recv_from(buffer)?;
            return Ok((from, bytes, bytes));
        };
        let mut meta = [RecvMeta::default()];
        let mut buffers = [IoSliceMut::new(buffer)];
        state.recv(UdpSockRef::from(socket), &mut buffers, &mut meta)?;
        let [meta] = meta;
        Ok((meta.addr, meta.len, meta.stride))
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
            prepare(&socket);
            let way = ip_mtu_discover(&socket).expect("it may be asked");
            assert_eq!(way, Ipv4PathMtuDiscovery::PROBE);
            // A host may have no IPv6.
            let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else { continue };
            prepare(&socket);
            let way = ipv6_mtu_discover(&socket).expect("it may be asked");
            assert_eq!(way, Ipv6PathMtuDiscovery::PROBE);
        }
    }

    #[test]
    fn a_host_without_any_of_it_receives_one_by_one_and_sends_no_batches() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let to = socket.local_addr().expect("an address");
        let offload = Offload::none(&socket);
        assert!(!offload.batches());
        let refused = offload.send(&socket, to, Segments::cut(&[1, 2, 3], 1));
        assert_eq!(refused.expect_err("not a batch").kind(), io::ErrorKind::Unsupported);
        let mut buffer = [0; 9];
        for sent in [&[1][..], &[2, 3]] {
            socket.send_to(sent, to).expect("it fits");
            let (from, bytes, stride) = offload.receive(&socket, &mut buffer).expect("it came");
            assert_eq!((from, &buffer[..bytes], stride), (to, sent, sent.len()));
        }
    }
}
