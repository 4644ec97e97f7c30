//! The room that the kernel gives a socket for datagrams that wait to be read.
//!
//! A socket asks for [`SOCKET_BUFFER_BYTES`]. The kernel gives no more than the host allows
//! (`net.core.rmem_max`), and says nothing. What comes while that room is full is dropped, and
//! the kernel counts it for each socket.

use super::socket::SOCKET_BUFFER_BYTES;
use std::fs;
use std::io;
use std::net::UdpSocket;

/// The kernel writes its list of sockets a page at a time, and finds its place again by counting.
/// So it leaves one out now and then while others come and go, and is asked again this often.
const LOOKS_MAX: usize = 4;

/// The room of one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// In bytes, as the host's limit counts them.
    pub bytes: usize,
    /// Where the kernel lists the sockets of its family, and the number of this one there.
    table: &'static str,
    inode: u64,
}

impl Room {
    /// Asks the kernel.
    ///
    /// # Errors
    ///
    /// If it does not say.
    pub fn of(socket: &UdpSocket) -> io::Result<Self> {
        let table = match socket.local_addr()?.is_ipv4() {
            true => "/proc/net/udp",
            false => "/proc/net/udp6",
        };
        // The kernel doubles what is set, for what it keeps beside each datagram.
        let bytes = socket2::SockRef::from(socket).recv_buffer_size()? / 2;
        Ok(Room { bytes, table, inode: rustix::fs::fstat(socket)?.st_ino })
    }

    /// Whether it is less than the socket asked for.
    pub fn is_small(&self) -> bool {
        self.bytes < SOCKET_BUFFER_BYTES
    }

    /// How many datagrams the kernel has dropped at this socket, above all for lack of room.
    /// Takes the kernel a while on a host with thousands of sockets. None if it does not say.
    pub fn dropped(&self) -> Option<u64> {
        let look = |_| dropped_in(&fs::read_to_string(self.table).ok()?, self.inode);
        (0..LOOKS_MAX).find_map(look)
    }
}

/// The last column of a socket's line.
fn dropped_in(table: &str, inode: u64) -> Option<u64> {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, _, _, _, _, _, _, number, _, _, dropped] = fields[..] else { return None };
        (number.parse() == Ok(inode)).then(|| dropped.parse().ok())?
    };
    table.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_socket_is_found_by_its_number() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                     uid  timeout inode ref pointer drops\n 1372: 0100007F:1F90 00000000:0000 07 \
                     00000000:00000000 00:00000000 00000000  1000        0 4711 2 \
                     0000000000000000 57\n 1373: 0100007F:1F91 00000000:0000 07 00000000:00000000 \
                     00:00000000 00000000  1000        0 4712 2 0000000000000000 8\n";
        assert_eq!(dropped_in(table, 4_711), Some(57));
        assert_eq!(dropped_in(table, 4_712), Some(8));
        assert_eq!(dropped_in(table, 4_713), None);
        assert_eq!(dropped_in("inode drops\n1 2 3\n", 3), None);
    }

    #[test]
    fn what_a_full_socket_drops_is_counted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).expect("a port");
            socket2::SockRef::from(&socket).set_recv_buffer_size(1).expect("less is always given");
            let room = Room::of(&socket).expect("the kernel says");
            assert!(room.is_small(), "{room:?}");
            // Other tests open and close sockets meanwhile.
            let dropped = || (0..1_000).find_map(|_| room.dropped());
            assert_eq!(dropped(), Some(0));
            let from = UdpSocket::bind(address).expect("a port");
            let sent = 100;
            for _ in 0..sent {
                from.send_to(&[7; 512], socket.local_addr().expect("bound")).expect("loopback");
            }
            socket.set_nonblocking(true).expect("it is a socket");
            let mut taken = 0;
            while socket.recv(&mut [0; 512]).is_ok() {
                taken += 1;
            }
            assert!(taken < sent, "{taken} had room");
            assert_eq!(dropped(), Some(sent - taken), "{address}");
        }
    }

    #[test]
    fn a_socket_with_all_that_was_asked_for_is_not_small() {
        let room = |bytes| Room { bytes, table: "", inode: 1 };
        assert!(!room(SOCKET_BUFFER_BYTES).is_small());
        assert!(room(SOCKET_BUFFER_BYTES - 1).is_small());
        assert_eq!(room(1).dropped(), None);
    }
}
