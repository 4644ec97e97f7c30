//! Many datagrams a system call, as far as the kernel can (GSO and GRO).
//!
//! Sending: one call takes segments to one destination. Only a try shows whether the
//! kernel and the device behind it take them; after the first refusal this process sends
//! datagrams one by one. Receiving: one call yields several datagrams from one sender. A
//! host that has neither is no error.
//!
//! **IPv6.** `quinn-udp` switches GRO on and at the same time forbids the kernel to
//! fragment. For IPv6 that cannot be undone, and a datagram longer than a path takes would
//! never arrive. So an IPv6 socket sends in batches and receives one by one. For IPv4 the
//! kernel's setting is restored.

use crate::batch::Segments;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{ip_mtu_discover, set_ip_mtu_discover};
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

/// What the kernel does for one socket.
#[derive(Debug)]
pub(crate) struct Offload {
    state: Option<UdpSocketState>,
    batches: AtomicBool,
}

impl Offload {
    /// Finds out what the kernel does for `socket`, which is bound, and prepares it.
    pub(crate) fn new(socket: &UdpSocket) -> Self {
        let state = prepare(socket)
            .inspect_err(|error| log::debug!("the kernel takes one datagram a call: {error}"))
            .ok();
        let batches = state.as_ref().is_some_and(|state| state.max_gso_segments() > 1);
        Offload { state, batches: AtomicBool::new(batches) }
    }

    /// Whether several datagrams may be sent at once.
    pub(crate) fn batches(&self) -> bool {
        self.batches.load(Ordering::Relaxed)
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
        if never && self.batches.swap(false, Ordering::Relaxed) {
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

fn prepare(socket: &UdpSocket) -> io::Result<UdpSocketState> {
    if socket.local_addr()?.is_ipv4() {
        let before = ip_mtu_discover(socket)?;
        let state = UdpSocketState::new(UdpSockRef::from(socket));
        set_ip_mtu_discover(socket, before)?;
        state
    } else {
        let spare = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        UdpSocketState::new(UdpSockRef::from(&spare))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
    use std::net::Ipv4Addr;

    #[test]
    fn the_kernel_may_still_fragment() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        for way in [Ipv4PathMtuDiscovery::WANT, Ipv4PathMtuDiscovery::DONT] {
            set_ip_mtu_discover(&socket, way).expect("it may be set");
            Offload::new(&socket);
            assert_eq!(ip_mtu_discover(&socket).expect("it may be asked"), way);
        }
    }

    #[test]
    fn a_host_without_any_of_it_receives_one_by_one_and_sends_no_batches() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let to = socket.local_addr().expect("an address");
        let offload = Offload { state: None, batches: AtomicBool::new(false) };
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
