//! A line's host: whether it can be one, which addresses it has, and which of them make sense.

use super::cause;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};

/// The longest host name, and the longest part of one between two dots.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host of the cluster file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The line of the file, from 1.
    pub line: usize,
    /// The name or address as the file has it, without brackets.
    pub name: String,
    /// The UDP port, never 0.
    pub port: u16,
}

/// Whose line an address stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// That of the replica which reads the file: it binds the address.
    Own,
    /// Another's: datagrams go there.
    Others,
}

impl Host {
    /// Whether the host is given by name, so that its addresses may change.
    pub fn is_name(&self) -> bool {
        // An address with a zone is resolved as well, but says itself what it is.
        self.name.parse::<IpAddr>().is_err() && !self.name.contains(':')
    }

    /// Every address of the host, in the resolver's order. A name asks the system's resolver,
    /// which may take many seconds.
    ///
    /// # Errors
    ///
    /// What the resolver says. It may be another thing later.
    pub fn look_up(&self) -> Result<Vec<SocketAddr>, String> {
        if let Ok(ip) = self.name.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        match (self.name.as_str(), self.port).to_socket_addrs() {
            Ok(all) => {
                let all: Vec<SocketAddr> = all.collect();
                if all.is_empty() { Err("it has no address".into()) } else { Ok(all) }
            }
            Err(error) => {
                let text = cause(&error);
                Err(text.trim_start_matches("failed to lookup address information: ").to_owned())
            }
        }
    }

    /// Refuses addresses that nobody can be reached at. Every interface, as the own line, is an
    /// address of either family.
    pub(super) fn usable(
        &self,
        found: Vec<SocketAddr>,
        whose: Whose,
    ) -> Result<Vec<SocketAddr>, String> {
        let host = &self.name;
        for address in &found {
            let unzoned = |v6: &SocketAddrV6| v6.ip().is_unicast_link_local() && v6.scope_id() == 0;
            if matches!(address, SocketAddr::V6(v6) if unzoned(v6)) {
                return Err(format!(
                    "{host} is a link-local address: it needs its %zone, the interface, as in \
                     {host}%eth0"
                ));
            }
            let kind = match address.ip().to_canonical() {
                IpAddr::V4(ip) if ip.is_broadcast() => "broadcast",
                ip if ip.is_multicast() => "multicast",
                _ => continue,
            };
            return Err(format!(
                "{host} is a {kind} address: a line has the address of one replica"
            ));
        }
        let every = |address: &&SocketAddr| address.ip().to_canonical().is_unspecified();
        match (found.iter().find(every), whose) {
            (None, _) => Ok(found),
            (Some(_), Whose::Others) => Err(format!(
                "{host} is every interface, which only a replica's own line may say: others need \
                 an address to reach it at"
            )),
            (Some(every), Whose::Own) => {
                let both: [IpAddr; 2] =
                    [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
                Ok(both.map(|ip| SocketAddr::new(ip, every.port())).to_vec())
            }
        }
    }
}

/// Whether this is an address, or could be a name that a resolver knows some day.
pub(super) fn may_be_a_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.chars().all(known)
    };
    let is_name = |name: &str| {
        let only_numbers = name.chars().all(|c| c.is_ascii_digit() || c == '.');
        name.len() <= NAME_BYTES_MAX && !only_numbers && name.split('.').all(is_label)
    };
    let zoned = |(address, zone): (&str, &str)| {
        address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.is_ascii()
    };
    host.parse::<IpAddr>().is_ok()
        || host.split_once('%').is_some_and(zoned)
        || is_name(host.strip_suffix('.').unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_become_a_host_is_told_from_what_is_not_known_yet() {
        let label = "x".repeat(LABEL_BYTES_MAX);
        let long = [label.as_str(); 4].join(".");
        let good =
            ["a", "node-1", "node_1.example.", "10.0.0.1", "::1", "fe80::1%eth0", "1a", &label];
        for host in good {
            assert!(may_be_a_host(host), "{host}");
        }
        let longer = format!("{label}x");
        let bad = [
            "",
            ".",
            "a..b",
            "10.0.0.256",
            "1.2.3",
            "::g",
            "caf\u{e9}",
            "a/b",
            "a:b",
            "fe80::1%",
            "a%eth0",
            &longer,
            &long,
        ];
        for host in bad {
            assert!(!may_be_a_host(host), "{host}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_in_the_resolvers_words() {
        let host = |name: &str| Host { line: 1, name: name.into(), port: 7 };
        // RFC 2606 reserves it: no resolver knows it.
        let unknown = host("no-such-host.invalid").look_up().unwrap_err();
        assert!(!unknown.is_empty() && !unknown.contains("lookup address"), "{unknown:?}");
        assert_eq!(host("10.0.0.1").look_up(), Ok(vec!["10.0.0.1:7".parse().unwrap()]));
        let names = ["a", "10.0.0.1", "::1", "fe80::1%eth0"].map(|name| host(name).is_name());
        assert_eq!(names, [true, false, false, false]);
    }
}
