//! Many datagrams a system call, as far as the kernel can (GSO and GRO).
//!
//! Sending: segments to one destination in one call. Whether the kernel, and the
//! device behind it, really takes that shows when it is tried; the first refusal ends
//! it for this process, and datagrams go one by one again. Receiving: one call yields
//! what came from one sender in a row.
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
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the kernel does for one socket.
#[derive(Debug)]
pub(super) struct Offload {
    state: UdpSocketState,
    batches: AtomicBool,
}

impl Offload {
    /// Finds out for `socket`, which is bound, and prepares it.
    pub(super) fn new(socket: &UdpSocket) -> io::Result<Self> {
        let state = if socket.local_addr()?.is_ipv4() {
            let before = ip_mtu_discover(socket)?;
            let state = UdpSocketState::new(UdpSockRef::from(socket))?;
            set_ip_mtu_discover(socket, before)?;
            state
        } else {
            let spare = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
            UdpSocketState::new(UdpSockRef::from(&spare))?
        };
        let batches = state.max_gso_segments() > 1;
        if !batches {
            log::debug!("the kernel takes one datagram a call");
        }
        Ok(Offload { state, batches: AtomicBool::new(batches) })
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
        self.state.try_send(UdpSockRef::from(socket), &transmit)
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
        socket: &impl AsFd,
        buffer: &mut [u8],
    ) -> io::Result<(SocketAddr, usize, usize)> {
        let mut meta = [RecvMeta::default()];
        let mut buffers = [IoSliceMut::new(buffer)];
        self.state.recv(UdpSockRef::from(socket), &mut buffers, &mut meta)?;
        let [meta] = meta;
        Ok((meta.addr, meta.len, meta.stride))
    }
}
