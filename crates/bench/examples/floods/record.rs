//! Genuine datagrams: a relay between clients and the replicas keeps what it carries.

use crate::cluster::CLIENT_S;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How many clients ask the replicas how they are, one after the other. (They write nothing:
/// `bench` checks the logs.)
const CLIENTS: usize = 3;

/// The relay notices within this time that it should end.
const LOOK: Duration = Duration::from_millis(20);

/// Which way it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to a replica.
    There,
    /// From a replica to the client.
    Back,
}

/// A datagram that was sent and believed.
#[derive(Debug, Clone)]
pub(crate) struct Genuine {
    pub(crate) replica: usize,
    pub(crate) way: Way,
    pub(crate) bytes: Vec<u8>,
    /// For the replica it came from here.
    pub(crate) relay: Arc<UdpSocket>,
}

/// Lets clients ask through a relay, and returns what both sides have sent.
pub(crate) fn genuine(
    bin: &Path,
    folder: &Path,
    key: &Path,
    replicas: &[SocketAddr],
) -> Result<Vec<Genuine>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut relays = Vec::new();
    let mut lines = String::new();
    for (id, replica) in replicas.iter().enumerate() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        socket.set_read_timeout(Some(LOOK)).map_err(|e| e.to_string())?;
        let address = socket.local_addr().map_err(|e| e.to_string())?;
        lines.push_str(&format!("{} {}\n", address.ip(), address.port()));
        let (socket, replica, stop) = (Arc::new(socket), *replica, stop.clone());
        relays.push(thread::spawn(move || carry(id, &socket, replica, &stop)));
    }
    let config = folder.join("relayed.txt");
    std::fs::write(&config, lines).map_err(|e| format!("cannot write a configuration: {e}"))?;
    let ask = || {
        let mut client = Command::new(bin.join("client"));
        client.arg("--status").arg("--config_path").arg(&config).arg("--key_file").arg(key);
        let client = client.args(["--timeout", CLIENT_S]);
        client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    let asked: Vec<_> = (0..CLIENTS).map(|_| ask()).collect();
    stop.store(true, Ordering::SeqCst);
    let recorded = relays.into_iter().flat_map(|relay| relay.join().unwrap_or_default()).collect();
    match asked.into_iter().all(|ended| ended.is_ok_and(|status| status.success())) {
        true => Ok(recorded),
        false => Err("a client hears nothing through a relay".into()),
    }
}

fn carry(
    id: usize,
    socket: &Arc<UdpSocket>,
    replica: SocketAddr,
    stop: &AtomicBool,
) -> Vec<Genuine> {
    let (mut kept, mut client, mut buffer) = (Vec::new(), None, vec![0; 65_535]);
    while !stop.load(Ordering::SeqCst) {
        let Ok((bytes, from)) = socket.recv_from(&mut buffer) else { continue };
        let way = if from == replica { Way::Back } else { Way::There };
        let to = match way {
            Way::There => {
                client = Some(from);
                Some(replica)
            }
            Way::Back => client,
        };
        let bytes = buffer[..bytes].to_vec();
        if let Some(to) = to {
            // What the kernel does not take is lost, and asked for again.
            let _ = socket.send_to(&bytes, to);
        }
        kept.push(Genuine { replica: id, way, bytes, relay: socket.clone() });
    }
    kept
}
