//! What strangers send, and one client that has a key.

use crate::record::{Genuine, Way};
use fastrand::Rng;
use multipaxos::message::{ClientMessage, Party};
use multipaxos::net::frame::{ClusterCell, Guard, Identity};
use multipaxos::net::{
    BoundSocket, DATAGRAM_BYTES_DEFAULT, Deliver, Incoming, Network, NetworkConfig, Outgoing,
    Outlet,
};
use multipaxos::runtime::trust;
use multipaxos::types::{BootId, ReplicaId};
use seeds::stream;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::str::FromStr;
use std::thread;

/// The bytes of a datagram of noise: those of a short request.
const NOISE_BYTES: usize = 136;

/// The bytes of one that is too long: nearly the longest that there are.
const LONG_BYTES: usize = 60_000;

/// How many different datagrams a flooder prepares for each replica. It sends them again and again.
const DIFFERENT: usize = 512;

/// The bytes of a tag, which end a datagram (see the module `guard`).
const TAG_BYTES: usize = 16;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes that are nobody's.
    Random,
    /// Genuine datagrams, cut.
    Cut,
    /// Genuine datagrams, a bit of each flipped.
    Flipped,
    /// Noise that fills a datagram.
    Long,
    /// Genuine datagrams that have come before, from where they came and from elsewhere.
    Old,
    /// Well formed, in the name of a client or of a replica, and tagged by someone who has no key.
    WrongKey,
    /// Genuine questions of a client that asks without a pause.
    ClientKey,
}

impl Kind {
    pub(crate) const ALL: &[Kind] = &[
        Kind::Random,
        Kind::Cut,
        Kind::Flipped,
        Kind::Long,
        Kind::Old,
        Kind::WrongKey,
        Kind::ClientKey,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::Random => "random",
            Kind::Cut => "cut",
            Kind::Flipped => "flipped",
            Kind::Long => "long",
            Kind::Old => "old",
            Kind::WrongKey => "wrong-key",
            Kind::ClientKey => "client-key",
        }
    }

    /// Whether it is made of datagrams that were recorded.
    pub(crate) fn wants_genuine(self) -> bool {
        matches!(self, Kind::Cut | Kind::Flipped | Kind::Old | Kind::WrongKey)
    }

    /// Prepares a flooder.
    pub(crate) fn prepare(
        self,
        seed: u64,
        replicas: &[SocketAddr],
        recorded: &[Genuine],
        client_key: &Path,
    ) -> Result<Sender, String> {
        if self == Kind::ClientKey {
            return asker(seed, replicas, client_key);
        }
        let mut rng = stream(seed, "flood");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let mut datagrams = Vec::new();
        for number in 0..DIFFERENT {
            for (id, address) in replicas.iter().enumerate() {
                let from = recorded.iter().filter(|it| it.replica == id && it.way == Way::There);
                let genuine = from.clone().nth(number % from.count().max(1));
                let bytes = self.datagram(&mut rng, id, replicas.len(), genuine);
                datagrams.push((*address, bytes));
            }
        }
        if self == Kind::Old {
            // What replicas have sent to the client goes back to them, and to the others.
            for (number, it) in recorded.iter().filter(|it| it.way == Way::Back).enumerate() {
                datagrams
                    .push((replicas[(it.replica + number) % replicas.len()], it.bytes.clone()));
            }
        }
        let sockets = match recorded.first() {
            Some(genuine) if self == Kind::Old => {
                let own = genuine.relay.try_clone().map_err(|e| e.to_string())?;
                vec![socket, own]
            }
            _ => vec![socket],
        };
        Ok(Sender::Datagrams { sockets, datagrams })
    }

    fn datagram(self, rng: &mut Rng, id: usize, n: usize, genuine: Option<&Genuine>) -> Vec<u8> {
        let mut bytes = genuine.map(|it| it.bytes.clone()).unwrap_or_default();
        match self {
            Kind::Random | Kind::ClientKey => noise(rng, NOISE_BYTES),
            Kind::Long => noise(rng, LONG_BYTES),
            Kind::Old => bytes,
            Kind::Cut => {
                bytes.truncate(rng.usize(0..bytes.len().max(1)));
                bytes
            }
            Kind::Flipped => {
                let bit = rng.usize(0..8 * bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                bytes
            }
            Kind::WrongKey => {
                let at = bytes.len().saturating_sub(TAG_BYTES);
                rng.fill(&mut bytes[at..]);
                if rng.bool()
                    && let Some(sender) = bytes.get_mut(6)
                {
                    *sender = ((id + 1) % n) as u8;
                }
                bytes
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Kind::ALL.iter().find(|kind| kind.name() == text).copied();
        found.ok_or_else(|| format!("{text} is no kind of flood"))
    }
}

fn noise(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    rng.fill(&mut noise);
    noise
}

/// Sends without a pause.
pub(crate) enum Sender {
    /// The same datagrams again and again, by these sockets in turn.
    Datagrams { sockets: Vec<UdpSocket>, datagrams: Vec<(SocketAddr, Vec<u8>)> },
    /// What a client asks.
    Client { outlet: Box<Outlet>, n: usize },
}

/// Takes no note of any answer.
struct Deaf;

impl Deliver<Incoming> for Deaf {
    fn deliver(&mut self, _: Incoming) {}

    fn end_of_burst(&mut self) {}
}

/// A client with a key of its own.
fn asker(seed: u64, replicas: &[SocketAddr], key: &Path) -> Result<Sender, String> {
    let n = replicas.len();
    let keys = trust::read(key).map_err(|e| e.to_string())?;
    let codec = Identity {
        n,
        rows: n,
        me: Party::Client,
        boot: BootId(seed),
        cluster: ClusterCell::new(),
        guard: Guard::new(&keys, n),
    };
    let config = NetworkConfig {
        codec,
        peers: replicas.to_vec(),
        datagram_max: DATAGRAM_BYTES_DEFAULT,
        offload: true,
        loss: 0.0,
        seed,
    };
    let socket = BoundSocket::for_client(replicas).map_err(|e| e.to_string())?;
    let network = Network::new(socket, config).map_err(|e| e.to_string())?;
    let outlet = Box::new(network.outlet(seed));
    let run = move || drop(network.run(Deaf));
    thread::Builder::new().name("answers".into()).spawn(run).map_err(|e| e.to_string())?;
    Ok(Sender::Client { outlet, n })
}

impl Sender {
    /// Sends a few. Returns how many.
    pub(crate) fn send(&mut self, round: usize) -> usize {
        match self {
            Sender::Datagrams { sockets, datagrams } => {
                let socket = &sockets[round % sockets.len()];
                // A full queue of the kernel loses some, as any flood does.
                let sent = |(to, bytes): &(SocketAddr, Vec<u8>)| socket.send_to(bytes, to).is_ok();
                datagrams.iter().filter(|it| sent(it)).count()
            }
            Sender::Client { outlet, n } => {
                let ask =
                    |id| Outgoing::Call { to: ReplicaId(id as u8), message: ClientMessage::Hello };
                (0..*n).map(|id| outlet.send([ask(id)]).to_peers).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(*kind));
        }
        assert!("flood".parse::<Kind>().is_err());
    }
}
