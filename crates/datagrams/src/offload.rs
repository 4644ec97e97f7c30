//! Many datagrams a system call, as far as the kernel can (GSO and GRO).
//!
//! Sending: segments to one destination in one call. Whether the kernel, and the
//! device behind it, really takes that shows when it is tried; the first refusal ends
//! it for this process, and datagrams go one by one again. Receiving: one call yields
//! what came from one sender in a row. A host that has none of it is no error.
//!
//! **IPv6.** Switching GRO on through `quinn-udp` also forbids the kernel to fragment,
//! and for IPv6 there is no way back; a datagram longer than some path takes would be
//! lost for ever. So an IPv6 socket sends in batches and receives one by one. For IPv4
//! the kernel's own way is put back.

use super::batch::Segments;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{ip_mtu_discover, set_ip_mtu_discover};
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

/// What the kernel does for one socket.
#[derive(Debug)]
pub(super) struct Offload {
    state: Option<UdpSocketState>,
    batches: AtomicBool,
}

impl Offload {
    /// Finds out for `socket`, which is bound, and prepares it.
    pub(super) fn new(socket: &UdpSocket) -> Self {
        let state = prepare(socket)
            .inspect_err(|error| log::debug!("the kernel takes one datagram a call: {error}"))
            .ok();
        let batches = state.as_ref().is_some_and(|state| state.max_gso_segments() > 1);
        Offload { state, batches: AtomicBool::new(batches) }
    }

    /// Whether several datagrams may be sent at once.
    pub(super) fn batches(&self) -> bool {
        self.batches.load(Ordering::Relaxed)
    }

    /// Sends all of them in one call, or none.
    pub(super) fn send(
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

    /// A batch was not taken. What cannot work is not tried again.
    pub(super) fn refused(&self, error: &io::Error) {
        use rustix::io::Errno;
        let never = [Errno::IO, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOPROTOOPT]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        if never && self.batches.swap(false, Ordering::Relaxed) {
            log::debug!("datagrams are sent one by one from now on: {error}");
        }
    }

    /// Receives what came in a row: its sender, all its bytes, and the bytes of each
    /// datagram but the last.
    pub(super) fn receive(
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
