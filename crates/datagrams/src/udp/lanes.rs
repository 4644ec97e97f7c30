//! During a flood: a socket for each sender that is known.
//!
//! A *lane* is a second socket at the address of the first, connected to one sender. The kernel
//! gives it what comes from there, and the first socket what comes from everybody else. So what a
//! peer sends does not queue behind what strangers send, and is not dropped for lack of room.
//! Datagrams leave by the first socket as ever.
//!
//! All peers have lanes, at the addresses where they are reached and heard, and so have up to
//! [`CLIENTS_MAX`] clients: those that were believed last before the flood, and those that are
//! believed meanwhile while there is room. A client that is silent for [`IDLE_US`] makes room.
//!
//! **Guarantees.** Nothing is read from a lane that would not be read from the first socket, and
//! every check is the same. No other process can take the port meanwhile: the first socket lets
//! another one share its address only during the calls that open a lane. If the system gives no
//! lane, the sender goes on without.
//!
//! **Does not** help against whoever forges a known sender's address and port: only a key does.

use super::canonical;
use super::socket::SOCKET_BUFFER_BYTES;
use crate::flood::{Allowance, CLIENT_MAX, UNHEARD_MAX, UNHEARD_US};
use crate::offload::Offload;
use crate::outlet::on_wire;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};

/// The most clients that have lanes.
pub(super) const CLIENTS_MAX: usize = 64;

/// The most lanes for peers: each may be heard from two addresses, as where one is translated.
pub(super) const PEERS_MAX: usize = 32;

/// A client that was silent for so long makes room for another one.
pub(super) const IDLE_US: u64 = 1_000_000;

/// The receive buffer that is asked for a client's lane. It sends little at a time.
const CLIENT_BUFFER_BYTES: usize = 256 << 10;

/// A socket for one sender.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) from: SocketAddr,
    pub(super) is_peer: bool,
    pub(super) socket: UdpSocket,
    source: mio::net::UdpSocket,
    pub(super) offload: Offload,
    token: Token,
    /// Whether epoll tells of it.
    is_listened_to: bool,
    /// Whether it may have datagrams: epoll has told of it, and it was not found empty since.
    pub(super) is_ready: bool,
    pub(super) allowance: Allowance,
    /// When it had something last.
    pub(super) heard_at: u64,
    /// When a message from it was dropped unheard last.
    pub(super) unheard_at: Option<u64>,
}

impl Lane {
    /// How many datagrams may be read of this client in this turn.
    pub(super) fn left(&mut self, now: u64) -> u32 {
        let asks_too_much = self.unheard_at.is_some_and(|at| now.saturating_sub(at) < UNHEARD_US);
        self.allowance.left(now, if asks_too_much { UNHEARD_MAX } else { CLIENT_MAX })
    }

    /// Lets epoll tell of it, or no more: while it is held back nothing should wake the loop.
    pub(super) fn listen(&mut self, registry: &Registry, wanted: bool) -> io::Result<()> {
        if wanted != self.is_listened_to {
            match wanted {
                true => registry.register(&mut self.source, self.token, Interest::READABLE)?,
                false => registry.deregister(&mut self.source)?,
            }
            self.is_listened_to = wanted;
        }
        Ok(())
    }
}

/// The lanes of a socket.
#[derive(Debug)]
pub(super) struct Lanes {
    /// Peers first.
    pub(super) all: Vec<Lane>,
    first_token: usize,
    next_token: usize,
    local: SocketAddr,
    with_offload: bool,
}

impl Lanes {
    /// None yet, for a socket at this address. Their tokens begin with `first_token`.
    pub(super) fn new(local: SocketAddr, first_token: usize, with_offload: bool) -> Self {
        Lanes { all: Vec::new(), first_token, next_token: first_token, local, with_offload }
    }

    /// Opens a lane for `from`, unless it has one, or there is no room for one more client.
    pub(super) fn open(
        &mut self,
        now: u64,
        socket: &UdpSocket,
        registry: &Registry,
        from: SocketAddr,
        is_peer: bool,
    ) {
        if from.port() == 0 || self.find(from).is_some() {
            return;
        }
        let alike = self.all.iter().filter(|lane| lane.is_peer == is_peer).count();
        if is_peer && alike >= PEERS_MAX {
            return;
        }
        if !is_peer && alike >= CLIENTS_MAX {
            let idle = |lane: &Lane| {
                !lane.is_peer && !lane.is_ready && now.saturating_sub(lane.heard_at) >= IDLE_US
            };
            let Some(at) = self.all.iter().position(idle) else { return };
            self.all.remove(at);
        }
        match self.try_open(now, socket, registry, from, is_peer) {
            Ok(lane) => {
                let at = if is_peer { 0 } else { self.all.len() };
                self.all.insert(at, lane);
            }
            Err(error) => log::debug!("no socket of its own for {from}: {error}"),
        }
    }

    fn find(&self, from: SocketAddr) -> Option<&Lane> {
        self.all.iter().find(|lane| lane.from == from)
    }

    fn try_open(
        &mut self,
        now: u64,
        first: &UdpSocket,
        registry: &Registry,
        from: SocketAddr,
        is_peer: bool,
    ) -> io::Result<Lane> {
        let ipv6 = self.local.is_ipv6();
        let lane = Socket::new(Domain::for_address(self.local), Type::DGRAM, Some(Protocol::UDP))?;
        if ipv6 && self.local.ip().is_unspecified() {
            lane.set_only_v6(false)?;
        }
        let bytes = if is_peer { SOCKET_BUFFER_BYTES } else { CLIENT_BUFFER_BYTES };
        lane.set_recv_buffer_size(bytes)?;
        lane.set_nonblocking(true)?;
        lane.set_reuse_address(true)?;
        let shared = SockRef::from(first);
        shared.set_reuse_address(true)?;
        let bound = lane.bind(&self.local.into());
        shared.set_reuse_address(false)?;
        bound?;
        lane.connect(&on_wire(from, ipv6).into())?;
        let socket = UdpSocket::from(lane);
        let prepare = if self.with_offload { Offload::new } else { Offload::none };
        let mut lane = Lane {
            from: canonical(from),
            is_peer,
            source: mio::net::UdpSocket::from_std(socket.try_clone()?),
            offload: prepare(&socket, 0),
            socket,
            token: Token(self.next_token),
            is_listened_to: false,
            // Something may have come before it was listened to.
            is_ready: true,
            allowance: Allowance::default(),
            heard_at: now,
            unheard_at: None,
        };
        self.next_token += 1;
        lane.listen(registry, true)?;
        Ok(lane)
    }

    /// Epoll tells that this one has something.
    pub(super) fn has_come(&mut self, token: Token) {
        if token.0 >= self.first_token
            && let Some(lane) = self.all.iter_mut().find(|lane| lane.token == token)
        {
            lane.is_ready = true;
        }
    }
}

/// The clients that were believed lately, a few of them: at each place the last.
#[derive(Debug)]
pub(super) struct Lately {
    places: Box<[Option<SocketAddr>; CLIENTS_MAX]>,
    last: Option<SocketAddr>,
}

impl Default for Lately {
    fn default() -> Self {
        Lately { places: Box::new([None; CLIENTS_MAX]), last: None }
    }
}

impl Lately {
    /// This client was believed.
    pub(super) fn note(&mut self, from: SocketAddr) {
        // Mostly one client sends many.
        if self.last == Some(from) {
            return;
        }
        self.last = Some(from);
        self.places[usize::from(from.port()) % CLIENTS_MAX] = Some(from);
    }

    /// Those that were.
    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.last.into_iter().chain(self.places.iter().flatten().copied())
    }
}
