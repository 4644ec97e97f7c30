//! The socket of a process: how it is opened, and which errors of it pass.

use crate::counters::{Counters, NetEvent};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The buffer that a socket asks the kernel for, each way. The kernel may give less.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// A socket with an address, before a `Network` uses it.
#[derive(Debug)]
pub struct BoundSocket {
    pub(super) socket: UdpSocket,
    pub(super) address: SocketAddr,
}

impl BoundSocket {
    /// Takes the UDP port at `address`; port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// If the port cannot be had. The text names the address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let named = |cause: io::Error| {
            io::Error::new(cause.kind(), format!("cannot bind UDP address {address}: {cause}"))
        };
        Self::open(address).map_err(named)
    }

    /// A socket for a client of these peers, at a port that the system chooses.
    ///
    /// # Errors
    ///
    /// If the system gives none.
    pub fn for_client(peers: &[SocketAddr]) -> io::Result<Self> {
        Self::bind(client_address(peers))
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = open_socket(address)?;
        let address = socket.local_addr()?;
        Ok(BoundSocket { socket, address })
    }

    /// The address of the socket.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A socket at `address` that never blocks, with large buffers.
///
/// # Errors
///
/// If the system does not give it.
pub fn open_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    // No SO_REUSEADDR: with it two UDP processes could share a port without noticing.
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    for asked in [
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES),
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES),
    ] {
        asked.unwrap_or_else(|error| log::debug!("socket buffers stay as they are: {error}"));
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(UdpSocket::from(socket))
}

/// The address at which a client of these peers opens its socket: any port, of the peers'
/// address family.
pub fn client_address(peers: &[SocketAddr]) -> SocketAddr {
    if peers.iter().all(SocketAddr::is_ipv4) {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    }
}

/// Counts an error of receiving that passes.
///
/// # Errors
///
/// Any other error: the caller must end.
pub fn pass_over(error: io::Error, counters: &Counters) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        // An ICMP message about a datagram that was sent earlier, or a short lack of
        // memory: neither says anything about this socket.
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::OutOfMemory => {
            counters.count(NetEvent::Refused);
            Ok(())
        }
        kind => Err(io::Error::new(kind, format!("cannot receive datagrams: {error}"))),
    }
}

/// An IPv4 address in its own form, also if it came through an IPv6 socket: another
/// process, with a socket of another family, may have to answer it.
pub(super) fn canonical(from: SocketAddr) -> SocketAddr {
    match from {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::from((ip, v6.port())),
            None => from,
        },
        SocketAddr::V4(_) => from,
    }
}
