//! Names of hosts: resolved on a thread of their own, and again when a host may have moved.
//!
//! A resolver may take seconds, and may not be up yet when a host starts. So neither a role nor
//! the network loop ever asks one.
//!
//! - [`first_addresses`] asks until what a process needs is known: a replica needs its own
//!   address, a client any one. The others may follow later.
//! - [`watch`] looks every [`PERIOD`] which peers were sent something and not heard, or were
//!   heard from another address than the known one, and resolves their names again. A peer that
//!   has moved is reached at its new address from then on. Only an address of its name counts,
//!   so a proxy or a forger in between changes nothing.
//!
//! A cluster file that has no names needs neither: then there is no such thread.

use super::process::LOOK;
use crate::config::{ClusterFile, Config, ConfigError, UNKNOWN};
use crate::members::Moved;
use crate::net::PeerBook;
use crate::types::{Address, ReplicaId};
use command_line::ending::Ending;
use datagrams::peers::Contact;
use interleavings::threads::{self, Receiver, RecvTimeoutError, Sender, bounded};
use seldom::Seldom;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How often it is looked which peers are silent.
pub const PERIOD: Duration = Duration::from_secs(2);

/// The longest time between two lookups of a name whose host stays silent.
const LOOK_UP_MAX: Duration = Duration::from_secs(16);

/// The time between two attempts to resolve the names that a process needs to begin.
const RETRY: Duration = Duration::from_secs(1);

/// The result of resolving one name.
type Found = Result<Vec<SocketAddr>, String>;

/// Why there are no addresses.
#[derive(Debug)]
pub enum NoAddresses {
    /// The file cannot be used.
    Config(ConfigError),
    /// The process is to end.
    Ends,
    /// The time that the user allows is over.
    TimedOut,
    /// The system gives no thread.
    Other(io::Error),
}

/// The cluster, once the names that this process needs are resolved. Asks until then, and says
/// so.
///
/// # Errors
///
/// See [`NoAddresses`].
pub fn first_addresses(
    file: &ClusterFile,
    ending: &Ending,
    timeout: Option<Duration>,
) -> Result<Config, NoAddresses> {
    let began = threads::now();
    let mut told = vec![Seldom::new(); file.hosts().len()];
    loop {
        let found = look_up_all(file, ending)?;
        for (replica, found) in found.iter().enumerate() {
            if let Err(cause) = found {
                tell_unknown(file, replica, cause, began, &mut told[replica]);
            }
        }
        let found: Vec<_> = found.into_iter().map(Result::ok).collect();
        if file.suffices(&found) {
            return file.config(&found).map_err(NoAddresses::Config);
        }
        let next = threads::now() + RETRY;
        while threads::now() < next {
            if ending.is_due() {
                return Err(NoAddresses::Ends);
            }
            if timeout.is_some_and(|timeout| threads::now().duration_since(began) >= timeout) {
                return Err(NoAddresses::TimedOut);
            }
            // Nobody sends on it.
            let (_to, nothing) = bounded::<()>(1);
            let _ = nothing.recv_timeout(LOOK);
        }
    }
}

/// Resolves all names at once.
fn look_up_all(file: &ClusterFile, ending: &Ending) -> Result<Vec<Found>, NoAddresses> {
    let mut answers = Vec::new();
    for host in file.hosts() {
        let (to, answer) = bounded(1);
        match host.is_name() {
            true => {
                let host = host.clone();
                let ask = move || drop(to.send(host.look_up()));
                threads::spawn("names", ask).map_err(NoAddresses::Other)?;
            }
            false => drop(to.send(host.look_up())),
        }
        answers.push(answer);
    }
    answers.iter().map(|answer| receive(answer, ending)).collect()
}

fn receive(answer: &Receiver<Found>, ending: &Ending) -> Result<Found, NoAddresses> {
    loop {
        match answer.recv_timeout(LOOK) {
            Ok(found) => return Ok(found),
            Err(_) if ending.is_due() => return Err(NoAddresses::Ends),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("a lookup answers once"),
        }
    }
}

fn tell_unknown(
    file: &ClusterFile,
    replica: usize,
    cause: &str,
    began: Instant,
    told: &mut Seldom,
) {
    if let Some(repeats) = told.happened(us_since(began)) {
        let (place, name) = (file.place(replica), &file.hosts()[replica].name);
        log::warn!("{place}: cannot resolve {name}: {cause}: tries again{repeats}");
    }
}

fn us_since(began: Instant) -> u64 {
    threads::now().duration_since(began).as_micros() as u64
}

/// Resolves names again, on a thread of its own, as long as the result is kept. Nothing to do
/// if the file has no names but `own`'s.
///
/// # Errors
///
/// When the system gives no thread.
pub fn watch(
    file: ClusterFile,
    own: Option<usize>,
    ipv6: bool,
    peers: PeerBook,
) -> io::Result<Option<Sender<()>>> {
    let named = |replica: &usize| Some(*replica) != own && file.hosts()[*replica].is_name();
    let watched: Vec<Peer> =
        (0..file.hosts().len()).filter(named).map(|replica| Peer::new(replica, ipv6)).collect();
    if watched.is_empty() {
        return Ok(None);
    }
    let (stops, stopped) = bounded(1);
    threads::spawn("names", move || run(&file, watched, &peers, &stopped))?;
    Ok(Some(stops))
}

fn run(file: &ClusterFile, mut watched: Vec<Peer>, peers: &PeerBook, stopped: &Receiver<()>) {
    let began = threads::now();
    while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        for peer in &mut watched {
            let replica = peer.replica;
            if peers.is_settled(replica) {
                // M9: the members say where it is.
                continue;
            }
            let (address, contact) = (peers.address(replica), peers.take_contact(replica));
            if !peer.is_due(us_since(began), address, contact) {
                continue;
            }
            let host = &file.hosts()[replica];
            let found = match host.look_up() {
                Ok(found) => found,
                Err(cause) => {
                    tell_unknown(file, replica, &cause, began, &mut peer.unknown);
                    continue;
                }
            };
            let name = &host.name;
            match peer.judge(&found, address, contact) {
                Verdict::Moved(to) if address == UNKNOWN => {
                    peers.move_to(replica, to);
                    log::info!("replica {replica} ({name}) is at {to}");
                }
                Verdict::Moved(to) => {
                    peers.move_to(replica, to);
                    log::info!("replica {replica} ({name}) is at {to} now, no longer at {address}");
                }
                Verdict::OtherFamily(other) => {
                    if let Some(repeats) = peer.family.happened(us_since(began)) {
                        let place = file.place(replica);
                        log::warn!(
                            "{place}: replica {replica} is silent at {address}; {name} is also \
                             {other}, of a family that this process does not use: other hosts may \
                             have taken that: list addresses instead of names{repeats}"
                        );
                    }
                }
                Verdict::Stays => {}
            }
        }
    }
}

/// M9: a member has moved. What goes to it goes there, whatever the cluster file says. Says so. `own`:
/// the replica that this process is, if it is one.
pub(super) fn follow_move(peers: &PeerBook, own: Option<ReplicaId>, moved: Moved) {
    let Moved { id, to: Address(at) } = moved;
    let has_row = id.index() < peers.len() && Some(id) != own;
    if has_row && peers.settle(id.index(), at) {
        let whose = own.map_or(String::new(), |me| format!("replica {me}: "));
        log::info!("{whose}replica {id} has moved to {at}");
    }
}

/// The same of all members that have moved. All others are where the cluster file says.
pub(super) fn follow_places(peers: &PeerBook, own: Option<ReplicaId>, moved: &[Moved]) {
    let has_moved = |peer: usize| moved.iter().any(|it| it.id.index() == peer);
    (0..peers.len()).filter(|peer| !has_moved(*peer)).for_each(|peer| peers.unsettle(peer));
    moved.iter().for_each(|it| follow_move(peers, own, *it));
}

/// A peer that is listed by name.
#[derive(Debug)]
struct Peer {
    replica: usize,
    /// The family of the process's socket.
    ipv6: bool,
    /// When its name may be resolved again, and how long after that.
    next_us: u64,
    wait: Duration,
    /// The other address from which it was heard last.
    elsewhere: Option<SocketAddr>,
    unknown: Seldom,
    family: Seldom,
}

/// What became of a peer whose name was resolved again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Stays,
    Moved(SocketAddr),
    /// It has this address as well, which cannot be used here.
    OtherFamily(SocketAddr),
}

impl Peer {
    fn new(replica: usize, ipv6: bool) -> Self {
        Peer {
            replica,
            ipv6,
            next_us: 0,
            wait: PERIOD,
            elsewhere: None,
            unknown: Seldom::new(),
            family: Seldom::new(),
        }
    }

    /// Whether its name is to be resolved now. The longer a peer stays silent, the more rarely.
    fn is_due(&mut self, now_us: u64, address: SocketAddr, contact: Contact) -> bool {
        if contact.heard {
            self.wait = PERIOD;
            self.next_us = 0;
            return false;
        }
        let strays = contact.elsewhere.is_some();
        let is_news = strays && contact.elsewhere != self.elsewhere;
        self.elsewhere = contact.elsewhere.or(self.elsewhere);
        let wanted = address == UNKNOWN || contact.sent || strays;
        if !wanted || now_us < self.next_us && !is_news {
            return false;
        }
        self.next_us = now_us + self.wait.as_micros() as u64;
        self.wait = (2 * self.wait).min(LOOK_UP_MAX);
        true
    }

    /// Where the peer is, given the addresses of its name.
    fn judge(&self, found: &[SocketAddr], address: SocketAddr, contact: Contact) -> Verdict {
        let usable = |at: &&SocketAddr| at.is_ipv6() == self.ipv6 && !at.ip().is_unspecified();
        let here: Vec<SocketAddr> = found.iter().filter(usable).copied().collect();
        let other = found.iter().find(|at| at.is_ipv6() != self.ipv6);
        if let Some(at) = contact.elsewhere
            && here.contains(&at)
        {
            return Verdict::Moved(at);
        }
        match here.iter().position(|at| *at == address) {
            None if !here.is_empty() => Verdict::Moved(here[0]),
            // Silent there: its host may have another interface.
            Some(at) if here.len() > 1 && contact.elsewhere.is_none() => {
                Verdict::Moved(here[(at + 1) % here.len()])
            }
            _ => match other {
                Some(other) if contact.elsewhere.is_none() => Verdict::OtherFamily(*other),
                _ => Verdict::Stays,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn silent() -> Contact {
        Contact { sent: true, ..Contact::default() }
    }

    fn heard_at(text: &str) -> Contact {
        Contact { elsewhere: Some(at(text)), ..silent() }
    }

    #[test]
    fn a_peer_is_where_its_name_says_and_it_was_heard() {
        let peer = Peer::new(1, false);
        let (old, new, six) = ("10.0.0.1:7", "10.0.0.9:7", "[fd00::1]:7");
        let known = at(old);
        let judge = |found: &[&str], contact| {
            let found: Vec<SocketAddr> = found.iter().map(|text| at(text)).collect();
            peer.judge(&found, known, contact)
        };
        assert_eq!(judge(&[new], silent()), Verdict::Moved(at(new)));
        assert_eq!(judge(&[old], silent()), Verdict::Stays);
        assert_eq!(judge(&[], silent()), Verdict::Stays);
        // Whoever sends from an address that is not the name's changes nothing.
        assert_eq!(judge(&[old], heard_at(new)), Verdict::Stays);
        assert_eq!(judge(&[old, new], heard_at(new)), Verdict::Moved(at(new)));
        assert_eq!(judge(&[old, new], heard_at("10.9.9.9:7")), Verdict::Stays);
        // Silent at one of several addresses: the next, in turn.
        assert_eq!(judge(&[old, new], silent()), Verdict::Moved(at(new)));
        assert_eq!(judge(&[new, old], silent()), Verdict::Moved(at(new)));
        // The other family cannot be reached from this socket.
        assert_eq!(judge(&[six], silent()), Verdict::OtherFamily(at(six)));
        assert_eq!(judge(&[old, six], silent()), Verdict::OtherFamily(at(six)));
        assert_eq!(judge(&["0.0.0.0:7"], silent()), Verdict::Stays);
        let mut six_only = Peer::new(1, true);
        assert_eq!(six_only.judge(&[at(six)], UNKNOWN, silent()), Verdict::Moved(at(six)));
        assert!(six_only.is_due(0, UNKNOWN, Contact::default()), "its address is wanted");
    }

    #[test]
    fn a_name_is_resolved_again_ever_more_rarely_while_its_host_is_silent() {
        let mut peer = Peer::new(1, false);
        let known = at("10.0.0.1:7");
        let second = 1_000_000;
        let mut due = Vec::new();
        for now in (0..=80).step_by(2) {
            if peer.is_due(now * second, known, silent()) {
                due.push(now);
            }
        }
        assert_eq!(due, [0, 2, 6, 14, 30, 46, 62, 78]);
        assert!(!peer.is_due(79 * second, known, Contact::default()), "nobody wants it");
        // News of another address does not wait, and is no news twice.
        assert!(peer.is_due(79 * second, known, heard_at("10.0.0.9:7")));
        assert!(!peer.is_due(80 * second, known, heard_at("10.0.0.9:7")));
        // Once it is heard, everything begins anew.
        let heard = Contact { heard: true, ..silent() };
        assert!(!peer.is_due(200 * second, known, heard));
        assert!(peer.is_due(202 * second, known, silent()));
        assert!(peer.is_due(204 * second, known, silent()));
    }
}
