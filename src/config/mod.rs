//! The cluster file: where the replicas are.
//!
//! All programs read the same *cluster file*. Each of its lines is an `ip port` pair. The
//! number of the line, from 0 and without comments and blank lines, is the replica's id. A
//! host may be a name, an IPv4 or an IPv6 address (also in brackets).
//! Behind them may stand lines `ip port observer`: places without a vote in the beginning, which a
//! change of members may give one. With such lines a file lists at most [`PLACES_MAX`].
//! A cluster of 2f+1 replicas tolerates f failures. [`ClusterFile::read`] counts the lines,
//! and compares their number with `--f` if the user gave it. It refuses a file that makes
//! a cluster wait for ever: an even number of replicas, a number that does not fit `--f`,
//! an address that is listed twice or that no replica can be reached at, port 0. (A
//! replica's own line may say 0.0.0.0 or ::, every interface.) A replica has one socket, so
//! the whole cluster uses one address family: IPv4 if every host has an IPv4 address,
//! otherwise IPv6.
//!
//! *Errors are one line.* The line names the place of the fault, as `file:line: fault` if
//! a line of the file is wrong and as the option otherwise. It is for the user who typed
//! the option, and every program ends with [`command_line::EXIT_USAGE`] after it.
//!
//! *Names* are for the programs to resolve ([`Host::look_up`] blocks), since a resolver may be
//! slow, or not up yet. A cluster whose names are partly unknown is a [`Config`], too.
//!
//! **Does not** watch the file, or test whether an address can be reached. The addresses in
//! the files of two hosts may differ (NAT, proxies), because frames carry replica ids.

mod hosts;

pub use datagrams::peers::UNKNOWN;
pub use hosts::Host;

use crate::types::{PLACES_MAX, REPLICAS_MAX};
use hosts::Whose;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// The most failures a cluster may tolerate: 2f+1 replicas fit [`REPLICAS_MAX`].
pub const F_MAX: usize = (REPLICAS_MAX - 1) / 2;

/// A cluster file has a few lines. A file of more bytes than this is something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The replicas of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many replicas may fail.
    pub f: usize,
    /// The 2f+1 with a vote in the beginning, and then those without one, by id.
    pub replicas: Vec<ReplicaAddress>,
}

/// The address of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaAddress {
    /// The host as the file has it, without brackets.
    pub host: String,
    /// The UDP port, never 0.
    pub port: u16,
    /// The line of the file, from 1.
    pub line: usize,
    /// The address to which the host resolved, or [`UNKNOWN`].
    pub address: SocketAddr,
}

/// A cluster file that was read. Its names are not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFile {
    path: PathBuf,
    f: usize,
    /// The replica that reads it; none for a client.
    own: Option<usize>,
    hosts: Vec<Host>,
}

impl ClusterFile {
    /// Reads the cluster file, for the replica in line `own` or for a client. Without `f`, the
    /// number of replicas decides how many failures the cluster tolerates.
    pub fn read(path: &Path, f: Option<usize>, own: Option<usize>) -> Result<Self, ConfigError> {
        let unreadable = |error: &io::Error| ConfigError::Unreadable {
            path: path.to_owned(),
            cause: cause(error),
        };
        let file = File::open(path).map_err(|e| unreadable(&e))?;
        let mut bytes = Vec::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|e| unreadable(&e))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(ConfigError::Unreadable {
                path: path.to_owned(),
                cause: format!("larger than {FILE_BYTES_MAX} bytes"),
            });
        }
        ClusterFile::parse(path, &bytes, f, own)
    }

    /// Reads the file's content. `path` is only for errors.
    fn parse(
        path: &Path,
        bytes: &[u8],
        f: Option<usize>,
        own: Option<usize>,
    ) -> Result<Self, ConfigError> {
        let fault =
            |line: usize, what: String| ConfigError::Line { path: path.to_owned(), line, what };
        if let Some(f) = f.filter(|f| *f > F_MAX) {
            return Err(ConfigError::TooMany { f });
        }
        let (mut hosts, mut found) = (Vec::new(), 0);
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (index, bytes) in bytes.split(|&b| b == b'\n').enumerate() {
            let line = index + 1;
            let Ok(text) = std::str::from_utf8(bytes) else {
                return Err(fault(line, "not UTF-8".into()));
            };
            let row = parse_row(text).map_err(|what| fault(line, what))?;
            let Some(Row { name, port, observes }) = row else { continue };
            if !observes && hosts.len() > found {
                let what = "a line with \"observer\" stands above: those come last";
                return Err(fault(line, what.into()));
            }
            hosts.push(Host { line, name, port });
            found += usize::from(!observes);
            if observes && hosts.len() > PLACES_MAX {
                let what = format!("with observers a file lists at most {PLACES_MAX}");
                return Err(fault(line, what));
            }
        }
        let f = match f {
            Some(f) if found != 2 * f + 1 => {
                return Err(ConfigError::Count { path: path.to_owned(), f, found });
            }
            Some(f) => f,
            None if found % 2 == 1 && found <= REPLICAS_MAX => found / 2,
            None => return Err(ConfigError::NoCluster { path: path.to_owned(), found }),
        };
        Ok(ClusterFile { path: path.to_owned(), f, own, hosts })
    }

    /// The hosts, by replica id.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Where a line about this replica's host is: `file:line`.
    pub fn place(&self, replica: usize) -> String {
        format!("{}:{}", self.path.display(), self.hosts[replica].line)
    }

    /// How many replicas have a vote in the beginning: 2f+1.
    pub fn n(&self) -> usize {
        2 * self.f + 1
    }

    /// A hash of their lines, without comments and blanks: equal at hosts that list the same.
    pub fn digest(&self) -> u64 {
        let lines: String = self
            .hosts
            .iter()
            .take(self.n())
            .map(|host| format!("{} {}\n", host.name, host.port))
            .collect();
        xxh3_64(lines.as_bytes())
    }

    /// Whether these addresses suffice to begin: a replica needs its own, a client any one.
    pub fn suffices(&self, found: &[Option<Vec<SocketAddr>>]) -> bool {
        match self.own {
            Some(own) => found.get(own).is_some_and(Option::is_some),
            None => found.iter().any(Option::is_some),
        }
    }

    /// The cluster, with its names resolved now.
    fn resolved(&self) -> Result<Config, ConfigError> {
        let look_up = |host: &Host| {
            let unknown = |cause| ConfigError::Line {
                path: self.path.clone(),
                line: host.line,
                what: format!("cannot resolve {:?}: {cause}", host.name),
            };
            host.look_up().map(Some).map_err(unknown)
        };
        let found: Vec<_> = self.hosts.iter().map(look_up).collect::<Result<_, _>>()?;
        self.config(&found)
    }

    /// The cluster, with the addresses that were found for each host. A host without any is
    /// [`UNKNOWN`].
    pub fn config(&self, found: &[Option<Vec<SocketAddr>>]) -> Result<Config, ConfigError> {
        let fault = |replica: usize, what: String| ConfigError::Line {
            path: self.path.clone(),
            line: self.hosts[replica].line,
            what,
        };
        let mut usable = Vec::with_capacity(found.len());
        for (id, (host, found)) in self.hosts.iter().zip(found).enumerate() {
            let whose = if self.own == Some(id) { Whose::Own } else { Whose::Others };
            let of_host = found.clone().map(|found| host.usable(found, whose)).transpose();
            usable.push(of_host.map_err(|what| fault(id, what))?);
        }
        let addresses =
            of_one_family(&self.hosts, &usable).map_err(|(id, what)| fault(id, what))?;
        let mut replicas: Vec<ReplicaAddress> = Vec::with_capacity(self.hosts.len());
        for (id, (Host { line, name, port }, address)) in
            self.hosts.iter().zip(addresses).enumerate()
        {
            let mut known = replicas.iter().filter(|replica| replica.address != UNKNOWN);
            if let Some(same) = known.find(|replica| replica.address == address) {
                let what = format!("{address} is on line {} already", same.line);
                return Err(fault(id, what));
            }
            let (host, port, line) = (name.clone(), *port, *line);
            replicas.push(ReplicaAddress { host, port, line, address });
        }
        Ok(Config { f: self.f, replicas })
    }
}

/// An address for each host, all of one family: IPv4 if every host has such an address,
/// otherwise IPv6.
fn of_one_family(
    hosts: &[Host],
    usable: &[Option<Vec<SocketAddr>>],
) -> Result<Vec<SocketAddr>, (usize, String)> {
    let of_family = |v6: bool| -> Option<Vec<SocketAddr>> {
        let first = |all: &Option<Vec<SocketAddr>>| match all {
            None => Some(UNKNOWN),
            Some(all) => all.iter().find(|address| address.is_ipv6() == v6).copied(),
        };
        usable.iter().map(first).collect()
    };
    if let Some(addresses) = of_family(false).or_else(|| of_family(true)) {
        return Ok(addresses);
    }
    let one = |v6: bool| {
        let only = |all: &Vec<SocketAddr>| all.iter().all(|address| address.is_ipv6() == v6);
        usable.iter().position(|all| all.as_ref().is_some_and(only))
    };
    // One host has no IPv4 address, another has no IPv6 address.
    let (four, six) = (one(false).unwrap_or(0), one(true).unwrap_or(0));
    let (at, other, has, lacks) =
        if four > six { (four, six, "IPv4", "IPv6") } else { (six, four, "IPv6", "IPv4") };
    Err((
        at,
        format!(
            "{} has only {has} addresses, {} on line {} only {lacks}: all hosts need one family",
            hosts[at].name, hosts[other].name, hosts[other].line
        ),
    ))
}

impl Config {
    /// Reads the cluster file and resolves its names once. An unknown name is an error.
    pub fn load(path: &Path, f: Option<usize>, own: Option<usize>) -> Result<Config, ConfigError> {
        ClusterFile::read(path, f, own)?.resolved()
    }

    /// The loopback addresses in a file that has others as well, a line each. Other hosts do not
    /// reach them.
    pub fn loopbacks_among_others(&self) -> Vec<&ReplicaAddress> {
        let local = |replica: &&ReplicaAddress| replica.address.ip().to_canonical().is_loopback();
        match self
            .replicas
            .iter()
            .all(|replica| local(&replica) || replica.address.ip().is_unspecified())
        {
            true => Vec::new(),
            false => self.replicas.iter().filter(local).collect(),
        }
    }

    /// The first replica at an address that other hosts may reach, or at one that is not known
    /// yet.
    pub fn beyond_loopback(&self) -> Option<&ReplicaAddress> {
        self.replicas.iter().find(|it| !it.address.ip().to_canonical().is_loopback())
    }

    /// Whether the addresses that are known are of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.replicas.iter().any(|replica| replica.address.is_ipv6())
    }

    /// How many replicas have a vote in the beginning: 2f+1.
    pub fn n(&self) -> usize {
        2 * self.f + 1
    }

    /// How many replicas there are, those included that have none.
    pub fn places(&self) -> usize {
        self.replicas.len()
    }
}

/// The word behind the address of a replica without a vote in the beginning.
const OBSERVER: &str = "observer";

/// What a line of the file says.
struct Row {
    name: String,
    port: u16,
    observes: bool,
}

/// Reads a line of the file: a replica, or nothing.
fn parse_row(line: &str) -> Result<Option<Row>, String> {
    let text = line.split('#').next().unwrap_or_default();
    let mut fields = text.split_whitespace();
    let Some(host) = fields.next() else {
        return Ok(None);
    };
    let (Some(port), word, None) = (fields.next(), fields.next(), fields.next()) else {
        let fields = text.split_whitespace().count();
        return Err(format!("expected \"ip port\", found {fields} field{}", plural(fields)));
    };
    if word.is_some_and(|word| word != OBSERVER) {
        return Err("expected \"ip port\", found 3 fields".into());
    }
    let port = match port.parse::<u16>() {
        Ok(0) => return Err("port 0 is not a port (1 to 65535)".into()),
        Ok(port) => port,
        Err(_) => return Err(format!("{port:?} is not a port (1 to 65535)")),
    };
    let inner = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        None => host,
        Some(Some(inner)) if inner.contains(':') => inner,
        Some(_) => "",
    };
    if !hosts::may_be_a_host(inner) {
        return Err(format!("{host:?} is not a host name or address"));
    }
    Ok(Some(Row { name: inner.to_owned(), port, observes: word.is_some() }))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The text of an operating system's error without its number, as the end of a line.
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text.replace('\n', " "),
    }
}

/// Why a cluster file cannot be used. Shown, each is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file, as given.
        path: PathBuf,
        /// The operating system's error.
        cause: String,
    },
    /// One line is at fault.
    Line {
        /// The file, as given.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The fault, in words.
        what: String,
    },
    /// The file does not list 2f+1 replicas for the f that the user gave.
    Count {
        /// The file, as given.
        path: PathBuf,
        /// The f that the user gave.
        f: usize,
        /// How many replicas the file lists.
        found: usize,
    },
    /// The number of replicas in the file is not 2f+1 for any f.
    NoCluster {
        /// The file, as given.
        path: PathBuf,
        /// How many replicas the file lists.
        found: usize,
    },
    /// A cluster for this f would have too many replicas.
    TooMany {
        /// The f that the user gave.
        f: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, cause } => {
                write!(out, "--config_path {}: cannot read: {cause}", path.display())
            }
            ConfigError::Line { path, line, what } => {
                write!(out, "{}:{line}: {what}", path.display())
            }
            ConfigError::Count { path, f, found } => {
                let (n, s) = (2 * f + 1, plural(2 * f + 1));
                write!(out, "--f {f} needs {n} replica{s}, {} lists {found}", path.display())
            }
            ConfigError::NoCluster { path, found } => {
                write!(
                    out,
                    "--config_path {}: lists {found} replica{}",
                    path.display(),
                    plural(*found)
                )?;
                match *found {
                    0 => write!(out, "; a cluster of 2f+1 has 1 or more"),
                    found if found > REPLICAS_MAX => {
                        write!(out, "; at most {REPLICAS_MAX} (f = {F_MAX})")
                    }
                    found => {
                        let (f, fewer, more) = (found / 2, found - 1, found + 1);
                        write!(out, ", not 2f+1: {fewer} (f = {}) or {more} (f = {f})", f - 1)
                    }
                }
            }
            ConfigError::TooMany { f } => {
                write!(out, "--f {f}: at most {F_MAX} ({REPLICAS_MAX} replicas)")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], f: usize) -> Result<Config, String> {
        read_any(content, Some(f))
    }

    fn read_any(content: &[u8], f: Option<usize>) -> Result<Config, String> {
        let file = ClusterFile::parse(Path::new("c.txt"), content, f, None);
        file.and_then(|file| file.resolved()).map_err(|e| e.to_string())
    }

    fn read_own(content: &str, own: usize) -> Result<Config, String> {
        let path = Path::new("c.txt");
        let file = ClusterFile::parse(path, content.as_bytes(), None, Some(own));
        file.and_then(|file| file.resolved()).map_err(|e| e.to_string())
    }

    fn addresses(config: &Config) -> Vec<String> {
        config.replicas.iter().map(|replica| replica.address.to_string()).collect()
    }

    #[test]
    fn an_address_that_nobody_can_be_reached_at_is_refused() {
        let every = "is every interface, which only a replica's own line may say: others need an \
                     address to reach it at";
        let one = "address: a line has the address of one replica";
        for (host, what) in [
            ("0.0.0.0", every.to_owned()),
            ("::", every.to_owned()),
            ("255.255.255.255", format!("is a broadcast {one}")),
            ("224.0.0.1", format!("is a multicast {one}")),
            ("::ffff:224.0.0.1", format!("is a multicast {one}")),
            ("ff02::1%1", format!("is a multicast {one}")),
        ] {
            // In another's line, and for a client in any.
            let file = format!("{host} 7001\n");
            assert_eq!(read_any(file.as_bytes(), None), Err(format!("c.txt:1: {host} {what}")));
            let own = read_own(&file, 0);
            let error = format!("c.txt:1: {host} {what}");
            assert_eq!(own.err(), (what != every).then_some(error), "{host}");
        }
    }

    #[test]
    fn every_interface_as_the_own_line_is_bound_in_the_family_of_the_others() {
        let own_last = |others: &str, own: &str| {
            read_own(&format!("{others} 1\n{others} 2\n{own} 3\n"), 2).map(|c| addresses(&c))
        };
        for own in ["0.0.0.0", "::"] {
            let config = own_last("10.0.0.1", own).unwrap();
            assert_eq!(config, ["10.0.0.1:1", "10.0.0.1:2", "0.0.0.0:3"]);
            let config = own_last("fd00::1", own).unwrap();
            assert_eq!(config, ["[fd00::1]:1", "[fd00::1]:2", "[::]:3"]);
        }
        assert!(read_own("0.0.0.0 1\n10.0.0.1 2\n10.0.0.1 3\n", 1).is_err(), "another's line");
    }

    #[test]
    fn a_link_local_address_needs_its_zone() {
        let line = "c.txt:1: fe80::1 is a link-local address: it needs its %zone, the interface, \
                    as in fe80::1%eth0";
        assert_eq!(read_any(b"fe80::1 7001\n", None).unwrap_err(), line);
        assert_eq!(read_own("fe80::1 7001\n", 0).unwrap_err(), line);
        // Every host numbers its loopback interface 1.
        for zone in ["lo", "1"] {
            let config = read_any(format!("fe80::1%{zone} 7001\n").as_bytes(), None).unwrap();
            assert_eq!(addresses(&config), ["[fe80::1%1]:7001"]);
        }
    }

    #[test]
    fn a_loopback_address_among_others_is_noticed() {
        for (file, noticed) in [
            ("127.0.1.1 1\n10.0.0.2 2\n127.0.0.1 3\n", vec![1, 3]),
            ("127.0.1.1 1\n127.0.0.1 2\n127.0.0.1 3\n", vec![]),
            ("0.0.0.0 1\n127.0.0.1 2\n127.0.0.1 3\n", vec![]),
            ("0.0.0.0 1\n127.0.0.1 2\n10.0.0.2 3\n", vec![2]),
            ("fd00::1 1\nfd00::2 2\n::1 3\n", vec![3]),
        ] {
            let config = read_own(file, 0).unwrap();
            let lines: Vec<usize> =
                config.loopbacks_among_others().iter().map(|replica| replica.line).collect();
            assert_eq!(lines, noticed, "{file}");
        }
    }

    #[test]
    fn comments_blank_lines_brackets_and_carriage_returns_are_understood() {
        let text = b"\xef\xbb\xbf# a cluster\n\n::1 7001 # first\r\n  [::1]\t7002\n::1 7003";
        let config = read(text, 1).unwrap();
        let lines: Vec<usize> = config.replicas.iter().map(|r| r.line).collect();
        assert_eq!(lines, [3, 4, 5]);
        assert_eq!(config.replicas[1].host, "::1");
        assert_eq!(config.replicas[1].address, "[::1]:7002".parse().unwrap());
        assert_eq!(config.n(), 3);
    }

    #[test]
    fn a_cluster_of_one_tolerates_no_failure() {
        assert_eq!(read(b"127.0.0.1 7001\n", 0).unwrap().n(), 1);
    }

    #[test]
    fn without_f_the_replicas_are_counted_and_must_be_2f_plus_1() {
        let rows = |n: usize| -> Vec<u8> {
            (1..=n).flat_map(|port| format!("127.0.0.1 {port}\n").into_bytes()).collect()
        };
        for n in [1, 3, 5, REPLICAS_MAX] {
            let config = read_any(&rows(n), None).unwrap();
            assert_eq!((config.n(), config.f), (n, (n - 1) / 2));
            assert_eq!(read_any(&rows(n), Some(config.f)).unwrap(), config);
        }
        for (n, line) in [
            (0, "lists 0 replicas; a cluster of 2f+1 has 1 or more"),
            (2, "lists 2 replicas, not 2f+1: 1 (f = 0) or 3 (f = 1)"),
            (4, "lists 4 replicas, not 2f+1: 3 (f = 1) or 5 (f = 2)"),
            (65, "lists 65 replicas; at most 63 (f = 31)"),
        ] {
            assert_eq!(
                read_any(&rows(n), None).unwrap_err(),
                format!("--config_path c.txt: {line}")
            );
        }
    }

    #[test]
    fn observers_come_last_and_do_not_count_as_failures_that_may_be_tolerated() {
        let three = "1.1.1.1 1\n1.1.1.1 2\n1.1.1.1 3\n";
        let with = |more: &str| read_any(format!("{three}{more}").as_bytes(), None);
        let config = with("1.1.1.1 4 observer # later\n1.1.1.1 5\tobserver\n").unwrap();
        assert_eq!((config.f, config.n(), config.places()), (1, 3, 5));
        let ports: Vec<u16> = config.replicas.iter().map(|replica| replica.port).collect();
        assert_eq!(ports, [1, 2, 3, 4, 5]);
        let many = |count: u16| -> String {
            (0..count).map(|more| format!("1.1.1.1 {} observer\n", 10 + more)).collect()
        };
        assert_eq!(with(&many(4)).unwrap().places(), 7);
        for (more, said) in [
            ("1.1.1.1 4 observer\n1.1.1.1 5\n", "5: a line with \"observer\" stands above"),
            ("1.1.1.1 4 observes\n", "4: expected \"ip port\", found 3 fields"),
            (&many(5), "8: with observers a file lists at most 7"),
        ] {
            let error = with(more).unwrap_err();
            assert!(error.starts_with(&format!("c.txt:{said}")), "{error}");
        }
        let own = format!("{three}1.1.1.1 4 observer\n");
        assert_eq!(read(own.as_bytes(), 2).unwrap_err(), "--f 2 needs 5 replicas, c.txt lists 3");
    }

    #[test]
    fn a_name_that_has_both_families_takes_that_of_the_others() {
        let config = read(b"localhost 7001\n127.0.0.1 7002\n127.0.0.1 7003\n", 1).unwrap();
        assert!(config.replicas.iter().all(|r| r.address.is_ipv4()));
    }

    #[test]
    fn every_fault_is_one_line_that_says_where() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "--f 1 needs 3 replicas, c.txt lists 0"),
            (b"1.1.1.1 1\n1.1.1.1 2\n", "--f 1 needs 3 replicas, c.txt lists 2"),
            (b"1.1.1.1 1\n\n1.1.1.1\n", "c.txt:3: expected \"ip port\", found 1 field"),
            (b"1.1.1.1 1 x\n", "c.txt:1: expected \"ip port\", found 3 fields"),
            (b"#\n1.1.1.1 0\n", "c.txt:2: port 0 is not a port (1 to 65535)"),
            (b"1.1.1.1 70000\n", "c.txt:1: \"70000\" is not a port (1 to 65535)"),
            (b"[1.1.1.1 7\n", "c.txt:1: \"[1.1.1.1\" is not a host name or address"),
            (b"1.1.1.1 1\n\xff 2\n", "c.txt:2: not UTF-8"),
            (
                b"1.1.1.1 1\n1.1.1.1 2\n# again\n1.1.1.1 1\n",
                "c.txt:4: 1.1.1.1:1 is on line 1 already",
            ),
            (
                b"1.1.1.1 1\n::1 2\n1.1.1.1 3\n",
                "c.txt:2: ::1 has only IPv6 addresses, 1.1.1.1 on line 1 only IPv4: \
                 all hosts need one family",
            ),
        ];
        for (content, expected) in cases {
            assert_eq!(read(content, 1).unwrap_err(), *expected);
        }
        assert_eq!(read(b"", 32).unwrap_err(), "--f 32: at most 31 (63 replicas)");
        let missing = Config::load(Path::new("no/such"), None, None).unwrap_err().to_string();
        assert_eq!(missing, "--config_path no/such: cannot read: No such file or directory");
    }
}
