//! A socket, and the loop of the thread that receives from it, as in `net`.

use crate::duties;
use datagrams::udp::{BURST_DATAGRAMS, SOCKET_BUFFER_BYTES};
use datagrams::wait::Patience;
use mio::{Events, Interest, Poll, Token, Waker};
use multipaxos::net::frame::HEADER_BYTES;
use multipaxos::net::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::process::Clock;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// What the network thread tells its caller.
pub(crate) enum Found<'a> {
    Datagram(&'a [u8]),
    /// The burst is over.
    End,
    /// No datagram is there.
    Nothing,
    /// The thread is about to sleep.
    Sleep,
}

/// Wakes the network thread.
#[derive(Default)]
struct Wakeup {
    sleeps: AtomicBool,
    waker: OnceLock<Waker>,
}

/// A socket, and the kernel's help for it: GSO and GRO.
pub(crate) struct Port {
    socket: UdpSocket,
    pub(crate) number: u16,
    kernel: UdpSocketState,
    datagram_max: usize,
    /// Whether frames carry a check.
    checks: bool,
    wakeup: Wakeup,
}

impl Port {
    pub(crate) fn bind(address: SocketAddr, datagram_max: usize, checks: bool) -> io::Result<Port> {
        let socket = UdpSocket::bind(address)?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket2::SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.set_nonblocking(true)?;
        let kernel = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let (number, wakeup) = (socket.local_addr()?.port(), Wakeup::default());
        Ok(Port { number, socket, kernel, datagram_max, checks, wakeup })
    }

    /// Sends items of `item` bytes each, in as few datagrams and calls as possible.
    pub(crate) fn send(
        &self,
        to: SocketAddr,
        kind: u8,
        item: usize,
        items: &[u8],
        buffer: &mut Vec<u8>,
    ) {
        let body = (self.datagram_max - HEADER_BYTES) / item * item;
        let most = self.kernel.max_gso_segments().min(DATAGRAM_BYTES_MAX / self.datagram_max);
        for call in items.chunks(body * most) {
            buffer.clear();
            for body in call.chunks(body) {
                let from = buffer.len();
                buffer.extend_from_slice(&[kind; HEADER_BYTES]);
                buffer.extend_from_slice(body);
                if self.checks {
                    duties::seal(&mut buffer[from..]);
                }
            }
            let segment_size = (call.len() > body).then_some(HEADER_BYTES + body);
            let (destination, contents) = (to, buffer.as_slice());
            let transmit =
                Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
            let sent = match segment_size {
                None => self.socket.send_to(buffer, to).map(|_| ()),
                Some(_) => self.kernel.try_send(UdpSockRef::from(&self.socket), &transmit),
            };
            sent.expect("loopback takes it");
        }
    }

    /// Wakes the network thread if it sleeps: something waits that `deliver` finds.
    pub(crate) fn wake(&self) {
        if self.wakeup.sleeps.swap(false, Ordering::SeqCst) {
            self.wakeup.waker.get().expect("it sleeps").wake().expect("it wakes");
        }
    }

    /// The network thread. `deliver` says whether it had something to do beside.
    pub(crate) fn receive(&self, mut deliver: impl FnMut(Found<'_>) -> bool) {
        let mut poll = Poll::new().expect("there is epoll");
        let mut source =
            mio::net::UdpSocket::from_std(self.socket.try_clone().expect("a second handle"));
        poll.registry().register(&mut source, Token(0), Interest::READABLE).expect("registers");
        let waker = Waker::new(poll.registry(), Token(1)).expect("there is eventfd");
        assert!(self.wakeup.waker.set(waker).is_ok(), "one thread receives");
        let (mut events, mut buffer) = (Events::with_capacity(4), vec![0; usize::from(u16::MAX)]);
        let (clock, mut patience) = (Clock::start(), Patience::default());
        loop {
            let (mut taken, mut drained) = (0, false);
            while taken < BURST_DATAGRAMS && !drained {
                let (mut meta, mut buffers) =
                    ([RecvMeta::default()], [IoSliceMut::new(&mut buffer)]);
                match self.kernel.recv(UdpSockRef::from(&self.socket), &mut buffers, &mut meta) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => drained = true,
                    received => {
                        received.expect("the socket receives");
                        for datagram in buffer[..meta[0].len].chunks(meta[0].stride.max(1)) {
                            if self.checks {
                                duties::check_frame(datagram);
                            }
                            deliver(Found::Datagram(datagram));
                            taken += 1;
                        }
                    }
                }
            }
            let worked = deliver(if taken > 0 { Found::End } else { Found::Nothing });
            if taken > 0 || worked {
                patience.found(clock.now().0);
            }
            if drained && patience.polls_again(clock.now().0) {
                thread::yield_now();
            } else if drained {
                deliver(Found::Sleep);
                self.wakeup.sleeps.store(true, Ordering::SeqCst);
                if !deliver(Found::Nothing) {
                    // Whatever ended the wait, look at the socket next.
                    let _ = poll.poll(&mut events, None);
                }
                self.wakeup.sleeps.store(false, Ordering::SeqCst);
            }
        }
    }
}

/// The thread of many sockets, each with one datagram at most: `deliver` gets each datagram.
pub(crate) fn receive_each(ports: &[Arc<Port>], mut deliver: impl FnMut(&[u8])) {
    let mut poll = Poll::new().expect("there is epoll");
    let mut sources = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let socket = port.socket.try_clone().expect("a second handle");
        sources.push(mio::net::UdpSocket::from_std(socket));
        poll.registry()
            .register(&mut sources[at], Token(at), Interest::READABLE)
            .expect("registers");
    }
    let (mut events, mut buffer) = (Events::with_capacity(1_024), [0; DATAGRAM_BYTES_MIN]);
    let (clock, mut patience) = (Clock::start(), Patience::default());
    loop {
        // Whatever ended the wait, look at the sockets that it names.
        let _ = poll.poll(&mut events, Some(Duration::ZERO));
        if events.is_empty() {
            if patience.polls_again(clock.now().0) {
                thread::yield_now();
                continue;
            }
            let _ = poll.poll(&mut events, None);
        }
        for event in &events {
            if let Ok(bytes) = ports[event.token().0].socket.recv(&mut buffer) {
                if ports[event.token().0].checks {
                    duties::check_frame(&buffer[..bytes]);
                }
                deliver(&buffer[..bytes]);
            }
        }
        patience.found(clock.now().0);
    }
}
