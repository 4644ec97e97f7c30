//! `replica --check`: whether a replica would start and work here, before it does.
//!
//! Each check looks at one thing that a replica needs: names, ports, its directories, how long the
//! disk takes for a sync, the receive buffer, what the path to each peer carries, and whether that
//! peer answers. A check that fails says what to do. Peers that do not answer fail nothing, since
//! somebody has to be first.
//!
//! Nothing that is written stays: a file for the sync is made and removed, and directories that
//! are missing are not made. **Does not** read the logs of the data directory: opening them mends
//! them, which is for the replica.

mod table;

pub use table::{Row, Verdict, json, table, worst};

use super::ask;
use super::client::ClientOptions;
use crate::config::{ClusterFile, Config, cause};
use crate::net::DATAGRAM_BYTES_MIN;
use crate::runtime::trust::Trust;
use crate::storage::data_dir::{self, Looked};
use crate::types::{ClientId, ReplicaId};
use command_line::ending::Ending;
use datagrams::udp::{Room, SOCKET_BUFFER_BYTES, open_socket};
use interleavings::threads;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process;

/// How often a sync is timed.
const SYNCS: usize = 21;

/// How much is written before each: a small burst of votes.
const SYNC_BYTES: usize = 4_096;

/// Below this a disk has no room for what a busy replica writes between two checkpoints.
const FREE_BYTES_MIN: u64 = 256 << 20;

/// How long each peer has to answer, in microseconds.
const ANSWER_US: u64 = 1_000_000;

/// What IPv4 or IPv6 and UDP put before a datagram.
const HEADERS_BYTES: [usize; 2] = [28, 48];

/// What is to be checked: the options of the replica.
#[derive(Debug)]
pub struct Subject {
    /// This replica.
    pub id: ReplicaId,
    /// The cluster file.
    pub file: ClusterFile,
    /// Where its chat log goes,
    pub log_dir: PathBuf,
    /// and all else.
    pub data_dir: PathBuf,
    /// Where it serves metrics, if it does.
    pub metrics_address: Option<SocketAddr>,
    /// The longest wait before a leader is suspected, in microseconds.
    pub election_max_us: u64,
    /// The longest datagram.
    pub datagram_bytes: usize,
    /// Whether the kernel may be given several datagrams in one call.
    pub offload: bool,
    /// Whom the replica would believe.
    pub trust: Trust,
}

/// Checks everything. `None` if a signal came first.
pub fn run(subject: &Subject, ending: &Ending) -> Option<Vec<Row>> {
    let (n, places, id) = (subject.file.n(), subject.file.hosts().len(), subject.id);
    let what = match id.index() < n {
        true => format!("replica {id} of {n}, of which {} may fail", n / 2),
        false => format!("replica {id}, without a vote beside {n} in the beginning"),
    };
    let mut rows = vec![Row::good("configuration", what)];
    let found: Vec<_> = subject.file.hosts().iter().map(|host| host.look_up()).collect();
    rows.extend(names(subject, &found));
    let found: Vec<_> = found.into_iter().map(Result::ok).collect();
    let config = match subject.file.config(&found) {
        Ok(config) => config,
        Err(error) => {
            rows.push(Row::bad("names", error.to_string(), "correct the configuration"));
            return Some(rows);
        }
    };
    for loopback in config.loopbacks_among_others() {
        let at = format!("{} is {}", loopback.host, loopback.address.ip());
        let advice = "other hosts do not reach that: list an address of the host's network, or \
                      0.0.0.0 as a replica's own line";
        rows.push(Row::bad("names", at, advice));
    }
    rows.push(match (subject.trust.replica_keys(&config), &subject.trust) {
        (Err(refused), _) => Row::bad("key", refused.to_string(), "see --key_file in --help"),
        (Ok(_), Trust::KeyFile(file)) => Row::good("key", file.display().to_string()),
        (Ok(_), Trust::Loopback) => Row::good("key", "none: all addresses are loopback addresses"),
        (Ok(_), Trust::Insecure) => Row::note("key", "none: everybody is believed", "--key_file"),
    });
    if found[id.index()].is_some() {
        rows.push(port(config.replicas[id.index()].address));
        rows.push(receive_buffer(config.replicas[id.index()].address));
    }
    rows.extend(subject.metrics_address.map(metrics_port));
    rows.push(data_directory(subject, n));
    for (what, folder) in [("log directory", &subject.log_dir), ("free space", &subject.data_dir)] {
        rows.push(folder_row(what, folder));
    }
    rows.push(sync(&subject.data_dir, subject.election_max_us));
    let known = |peer: &ReplicaId| *peer != id && found[peer.index()].is_some();
    let peers: Vec<ReplicaId> = crate::types::replicas(places).filter(known).collect();
    for peer in &peers {
        rows.push(path(*peer, config.replicas[peer.index()].address, subject.datagram_bytes));
    }
    if !peers.is_empty() {
        rows.extend(answers(subject, config, &peers, ending)?);
    }
    Some(rows)
}

fn names(subject: &Subject, found: &[Result<Vec<SocketAddr>, String>]) -> Vec<Row> {
    let hosts = subject.file.hosts();
    let unknown = hosts.iter().zip(found).filter_map(|(host, found)| {
        let why = found.as_ref().err()?;
        let advice = format!("look at `getent ahosts {}` on this host", host.name);
        Some(Row::bad("names", format!("cannot resolve {}: {why}", host.name), advice))
    });
    let rows: Vec<Row> = unknown.collect();
    let names = hosts.iter().filter(|host| host.is_name()).count();
    match (rows.is_empty(), names) {
        (false, _) => rows,
        (true, 0) => vec![Row::good("names", "none: the configuration lists addresses")],
        (true, _) => vec![Row::good("names", format!("all {names} are resolved"))],
    }
}

fn port(at: SocketAddr) -> Row {
    match open_socket(at) {
        Ok(_) => Row::good("port", format!("{at} is free")),
        Err(error) => {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "end the process that has it, perhaps this replica itself: ss -ulpn"
                }
                io::ErrorKind::AddrNotAvailable => {
                    "no interface of this host has that address: correct this replica's line, or \
                     let it say 0.0.0.0"
                }
                _ => "choose another port",
            };
            Row::bad("port", format!("{at}: {}", cause(&error)), advice)
        }
    }
}

fn metrics_port(at: SocketAddr) -> Row {
    match TcpListener::bind(at) {
        Ok(_) => Row::good("metrics", format!("{at} is free")),
        Err(error) => {
            let found = format!("{at}: {}", cause(&error));
            Row::bad("metrics", found, "give --metrics_address another port: ss -tlpn")
        }
    }
}

/// Any port of the family will do: the kernel gives all the same.
fn receive_buffer(own: SocketAddr) -> Row {
    let asked = SOCKET_BUFFER_BYTES;
    let room = open_socket(SocketAddr::new(own.ip(), 0)).and_then(|socket| Room::of(&socket));
    match room {
        Ok(room) if room.is_small() => Row::note(
            "receive buffer",
            format!("{} bytes of the {asked} that are asked for", room.bytes),
            format!("sysctl -w net.core.rmem_max={asked}, else bursts of datagrams are dropped"),
        ),
        Ok(room) => Row::good("receive buffer", format!("{} bytes", room.bytes)),
        Err(error) => {
            Row::note("receive buffer", cause(&error), "it cannot be told; see the row of the port")
        }
    }
}

/// The folder, or the next one above it that is there.
fn standing(folder: &Path) -> &Path {
    let is_there = |folder: &&Path| folder.is_dir();
    folder.ancestors().find(is_there).unwrap_or(Path::new("."))
}

/// Whether the folder may be written, and how much room there is.
fn folder_row(what: &str, folder: &Path) -> Row {
    let there = standing(folder);
    let missing = if there == folder { "" } else { ", and will be made" };
    let named = format!("{}{missing}", folder.display());
    let file = match Scratch::new(there) {
        Ok(file) => file,
        Err(error) => {
            let found = format!("{named}: {}", cause(&error));
            return Row::bad(what, found, "choose another folder, or change its rights");
        }
    };
    match rustix::fs::fstatvfs(&file.file) {
        Ok(room) => {
            let free = room.f_bavail * room.f_frsize;
            let found = format!("{named}: {} MiB are free", free >> 20);
            match free < FREE_BYTES_MIN {
                true => Row::bad(what, found, "make room: a full disk ends a replica"),
                false => Row::good(what, found),
            }
        }
        Err(error) => {
            Row::note(what, format!("{named}: {error}"), "see how much room there is: df")
        }
    }
}

fn data_directory(subject: &Subject, n: usize) -> Row {
    const WHAT: &str = "data directory";
    let named = subject.data_dir.display();
    match data_dir::look(&subject.data_dir, subject.id, n) {
        Ok(Looked::New) => Row::good(WHAT, format!("{named}: new, so it waits for all others")),
        Ok(Looked::Member) => Row::good(WHAT, format!("{named}: of a member of a cluster")),
        Err(refused) => Row::bad(
            WHAT,
            format!("{named}: {refused}"),
            "docs/operations.md has a row for what is said before this",
        ),
    }
}

/// A file that is removed with this value.
struct Scratch {
    file: File,
    path: PathBuf,
}

impl Scratch {
    fn new(folder: &Path) -> io::Result<Scratch> {
        let path = folder.join(format!(".check-{}", process::id()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Scratch { file, path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// How long the disk takes for a sync: the median of some, and the longest.
fn sync(folder: &Path, election_max_us: u64) -> Row {
    const WHAT: &str = "sync";
    let there = standing(folder);
    let mut took = match timed_syncs(there) {
        Ok(took) => took,
        Err(error) => {
            let found = format!("{}: {}", there.display(), cause(&error));
            return Row::bad(WHAT, found, "use a folder on a local disk");
        }
    };
    took.sort_unstable();
    let (median_us, longest_us) = (took[took.len() / 2], took[took.len() - 1]);
    let found = format!("median {median_us} us, longest {longest_us} us, of {SYNCS}");
    // As a replica does that runs.
    match median_us > election_max_us / 4 {
        true => Row::bad(WHAT, found, "use a faster disk, or raise --election_ms"),
        false => Row::good(WHAT, found),
    }
}

fn timed_syncs(folder: &Path) -> io::Result<Vec<u64>> {
    let mut scratch = Scratch::new(folder)?;
    (0..SYNCS)
        .map(|_| {
            scratch.file.write_all(&[0x55; SYNC_BYTES])?;
            let began = threads::now();
            scratch.file.sync_data()?;
            Ok(threads::now().duration_since(began).as_micros() as u64)
        })
        .collect()
}

/// What the kernel knows of the path to a peer. It learns of narrower ones when somebody has sent
/// there.
fn path(peer: ReplicaId, at: SocketAddr, datagram_bytes: usize) -> Row {
    let what = format!("path to {peer}");
    let mtu = match path_mtu(at) {
        Ok(mtu) => mtu,
        Err(error) => {
            let found = format!("{at}: {}", cause(&error));
            return Row::bad(what, found, "see whether there is a way: ip route get");
        }
    };
    let carries = mtu.saturating_sub(HEADERS_BYTES[usize::from(at.is_ipv6())]);
    let found = format!("{at}: packets of {mtu} bytes, datagrams of {carries}");
    if carries < DATAGRAM_BYTES_MIN {
        let least = DATAGRAM_BYTES_MIN;
        Row::bad(what, found, format!("a path must carry {least}: raise its MTU"))
    } else if carries < datagram_bytes {
        let advice = format!("long lines take more datagrams; --datagram_max is {datagram_bytes}");
        Row::note(what, found, advice)
    } else {
        Row::good(what, found)
    }
}

fn path_mtu(at: SocketAddr) -> io::Result<usize> {
    let any = SocketAddr::new(
        match at {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        },
        0,
    );
    let socket = UdpSocket::bind(any)?;
    socket.connect(at)?;
    let mtu = match at {
        SocketAddr::V4(_) => rustix::net::sockopt::ip_mtu(&socket)?,
        SocketAddr::V6(_) => rustix::net::sockopt::ipv6_mtu(&socket)?,
    };
    Ok(mtu as usize)
}

/// Whether the peers answer.
fn answers(
    subject: &Subject,
    config: Config,
    peers: &[ReplicaId],
    ending: &Ending,
) -> Option<Vec<Row>> {
    // A key that cannot be used has a row of its own.
    let keys = subject.trust.client_keys(&config).unwrap_or_default();
    let options = ClientOptions {
        id: ClientId(0),
        config,
        keys,
        names: None,
        loss: 0.0,
        seed: 0,
        datagram_bytes: subject.datagram_bytes,
        offload: subject.offload,
        timeout_us: Some(ANSWER_US),
        trace: None,
        die_with_parent: false,
    };
    let report = match ask::run(&options, ending) {
        Ok(asked) => asked?.report,
        Err(error) => {
            let row = Row::bad("peers", cause(&error), "see the row of the port");
            return Some(vec![row]);
        }
    };
    let row = |peer: &ReplicaId| {
        let what = format!("replica {peer}");
        let row = &report.rows[peer.index()];
        match (row.elsewhere, row.round_trip_us) {
            (true, _) => Row::bad(
                what,
                "belongs to another cluster than the others",
                "give all hosts the same configuration",
            ),
            (false, Some(us)) if row.status.is_some() => {
                Row::good(what, format!("answers after {us} us"))
            }
            (false, _) => Row::note(
                what,
                "is silent",
                "start it, if it does not run; otherwise let UDP pass both firewalls, and give \
                 both the same configuration and build",
            ),
        }
    };
    Some(peers.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_longer_than_a_leader_may_be_silent_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let row = sync(folder.path(), u64::MAX);
        assert_eq!(row.verdict, Verdict::Good, "{row:?}");
        assert!(row.found.starts_with("median ") && row.found.ends_with(" of 21"), "{row:?}");
        assert_eq!(sync(Path::new("/proc"), u64::MAX).verdict, Verdict::Bad);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "nothing stays");
    }

    #[test]
    fn a_folder_that_is_missing_is_looked_for_above_and_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("a/b");
        let row = folder_row("log directory", &missing);
        assert_eq!(row.verdict, Verdict::Good, "{row:?}");
        assert!(row.found.contains("a/b, and will be made: "), "{row:?}");
        assert!(!folder.path().join("a").exists());
        assert_eq!(folder_row("log directory", Path::new("/proc/a")).verdict, Verdict::Bad);
    }

    #[test]
    fn a_port_that_is_taken_fails_and_a_free_one_does_not() {
        let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = taken.local_addr().expect("an address");
        let row = port(at);
        assert_eq!(row.verdict, Verdict::Bad);
        assert!(row.advice.contains("ss -ulpn"), "{row:?}");
        drop(taken);
        assert_eq!(port(at), Row::good("port", format!("{at} is free")));
        let nowhere = SocketAddr::from(([192, 0, 2, 1], 7_000));
        assert!(port(nowhere).advice.contains("no interface"), "{:?}", port(nowhere));
    }

    #[test]
    fn a_path_that_carries_less_than_the_longest_datagram_is_worth_a_look() {
        let at = SocketAddr::from(([127, 0, 0, 1], 7_000));
        assert_eq!(path(ReplicaId(1), at, 1_400).verdict, Verdict::Good);
        let narrow = path(ReplicaId(1), at, 100_000);
        assert_eq!((narrow.verdict, narrow.what.as_str()), (Verdict::Note, "path to 1"));
    }
}
