//! A world: what lies between the processes of a cluster, and under them.
//!
//! A [`World`] is a row of constants. [`Laid`] is a world that exists: namespaces, links, queues
//! and relays, all of which go when it is dropped. There are two grounds.
//!
//! - [`Ground::OneHost`]: one namespace, in which everything talks over its loopback.
//! - [`Ground::Hosts`]: a namespace for each replica and one for all clients, each with an
//!   interface `eth0`. A pair of virtual interfaces joins it to a bridge in a namespace that
//!   is the switch.
//!
//!   ```text
//!   replica 0        replica 1        replica 2        clients
//!   eth0 10.77.0.1   eth0 10.77.0.2   eth0 10.77.0.3   eth0 10.77.0.50
//!     |                |                |                |
//!    port0            port1            port2            port3      the switch:
//!     `----------------+-------+--------+----------------'         a bridge,
//!                              |                                   with the relays
//!                          10.77.0.100                             at its address
//!   ```
//!
//! With [`ClientsAt::OwnSwitch`] a second bridge joins the clients to each replica, and only what
//! replicas send each other crosses the first.
//!
//! A [`Bucket`] limits what leaves the loopback, or `eth0` of each replica: the kernel's token
//! bucket (tbf) with a queue that drops what does not fit. The clients' interface has none.
//! A [`Path`] puts a relay on each direction between two replicas. Clients are near: they
//! talk to replicas without a relay.
//!
//! A world is good until [`Laid::worsen`]: nothing is limited and nothing delayed. So a test can
//! first write in little time what is to be fetched later.

use crate::namespace::{Namespace, Sent};
use crate::relay::{Path, Relay};
use multipaxos::runtime::trust::make_key;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path as FilePath, PathBuf};

/// The port of each replica is this and its id.
const REPLICA_PORT: u16 = 7_000;

/// The port of a relay is this, ten times the sender's id, and the receiver's.
const RELAY_PORT: u16 = 8_000;

/// The last byte of addresses in 10.77.0.0/24.
const CLIENTS_AT: u8 = 50;
const SWITCH_AT: u8 = 100;

/// How many bytes of fragments the kernel keeps until they can be put together.
pub(crate) const FRAGMENTS_LEAST: &str = "ipv4/ipfrag_low_thresh";
const FRAGMENTS_MOST: &str = "ipv4/ipfrag_high_thresh";

/// A token bucket holds what its rate gives in this time, but no less than two packets.
const BUCKET_MS: u64 = 10;
const BUCKET_BYTES_MIN: u64 = 3_000;

/// A limited rate, in front of which packets wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Kilobits a second.
    pub kbit: u64,
    /// A packet that would wait longer is dropped.
    pub queue_ms: u64,
}

impl Bucket {
    /// What passes in a second.
    pub const fn bytes_per_s(self) -> u64 {
        self.kbit * 125
    }
}

/// The longest packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtu {
    /// 1,500 bytes everywhere.
    Usual,
    /// Every interface takes so many, which the kernel knows, and no host puts fragments
    /// together again.
    WithoutFragments(u16),
    /// The switch takes so many and drops what is longer, in silence. (The kernel lets a batch
    /// through where it drops one.)
    OfTheSwitch(u16),
}

/// Where the processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// On the loopback of one host.
    OneHost,
    /// Each replica on a host of its own, and all clients on another.
    Hosts(Mtu),
}

/// How clients reach the replicas, if those are on hosts of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientsAt {
    /// By the switch that joins the replicas.
    SameSwitch,
    /// By a switch of their own, which is as it should be.
    OwnSwitch,
}

/// What the system does to a replica's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Nothing.
    Honest,
    /// Each sync of a file takes so many milliseconds longer.
    SlowSyncs(u64),
    /// The call that sends a batch of datagrams says so, and sends nothing.
    LyingBatches,
}

impl System {
    /// What strace has to put in place of calls, if it is needed.
    pub fn injection(self) -> Option<String> {
        match self {
            System::Honest => None,
            System::SlowSyncs(ms) => Some(format!("fdatasync:delay_enter={}", ms * 1_000)),
            // As if one datagram of the usual length had left.
            System::LyingBatches => Some("sendmsg:retval=1400".into()),
        }
    }
}

/// How much processor time a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// So many milliseconds ...
    pub ms: u64,
    /// ... in each period of so many.
    pub of_ms: u64,
}

/// What lies between the processes and under them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    /// How many replicas the cluster has.
    pub replicas: usize,
    /// Where the processes run.
    pub ground: Ground,
    /// How clients reach the replicas.
    pub clients: ClientsAt,
    /// The rate of each interface.
    pub bucket: Option<Bucket>,
    /// The way between two replicas.
    pub path: Option<Path>,
    /// How many of a hundred datagrams each process drops.
    pub loss_percent: u8,
    /// What the replicas' systems do.
    pub system: System,
    /// The processor time of each replica.
    pub quota: Option<Quota>,
    /// Options of all replicas.
    pub options: &'static [&'static str],
    /// Whether the cluster has a key.
    pub has_key: bool,
}

impl World {
    /// Three replicas on one host, where nothing is slow.
    pub const PLAIN: World = World {
        replicas: 3,
        ground: Ground::OneHost,
        clients: ClientsAt::SameSwitch,
        bucket: None,
        path: None,
        loss_percent: 0,
        system: System::Honest,
        quota: None,
        options: &[],
        has_key: false,
    };

    /// The same on hosts of their own.
    pub const HOSTS: World = World { ground: Ground::Hosts(Mtu::Usual), ..World::PLAIN };

    /// Failures that the cluster tolerates.
    pub fn f(&self) -> usize {
        self.replicas / 2
    }
}

/// A world that exists.
pub struct Laid {
    world: World,
    /// The replicas' hosts; with [`Ground::OneHost`] a single one.
    hosts: Vec<Namespace>,
    client_host: Option<Namespace>,
    /// Held for its bridge, and for the relays' addresses.
    switch: Option<Namespace>,
    /// Dropped before the namespaces.
    relays: Vec<Relay>,
    folder: PathBuf,
}

impl Laid {
    /// Makes the world, as yet without limits and delays. Configurations go to files in `folder`.
    pub fn lay(world: &World, folder: &FilePath, seed: u64) -> Result<Laid, String> {
        let mut laid = Laid {
            world: *world,
            hosts: Vec::new(),
            client_host: None,
            switch: None,
            relays: Vec::new(),
            folder: folder.to_owned(),
        };
        match world.ground {
            Ground::OneHost => laid.hosts.push(Namespace::new()?),
            Ground::Hosts(mtu) => laid.wire(mtu)?,
        }
        if let Some(path) = world.path {
            laid.relays(path, seed)?;
        }
        for id in 0..world.replicas {
            laid.write_config(Some(id))?;
        }
        laid.write_config(None)?;
        if world.has_key {
            make_key(&laid.key_file()).map_err(|error| error.to_string())?;
        }
        Ok(laid)
    }

    /// From now on the buckets limit what leaves, and the paths take their time.
    pub fn worsen(&self) -> Result<(), String> {
        self.relays.iter().for_each(Relay::worsen);
        let Some(bucket) = self.world.bucket else { return Ok(()) };
        self.hosts.iter().try_for_each(|host| shape(host, self.interface(), bucket))
    }

    /// Moves the calling thread to where this replica runs.
    pub fn enter_replica(&self, id: usize) -> Result<(), String> {
        self.host(id).enter()
    }

    /// Moves the calling thread to where the clients run.
    pub fn enter_clients(&self) -> Result<(), String> {
        self.client_host.as_ref().unwrap_or(&self.hosts[0]).enter()
    }

    /// The configuration of a replica, or of the clients.
    pub fn config(&self, replica: Option<usize>) -> PathBuf {
        self.folder.join(match replica {
            Some(id) => format!("replica{id}.txt"),
            None => "clients.txt".into(),
        })
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// The options of all processes that say whom to believe.
    pub fn trust(&self) -> Vec<String> {
        match self.world.has_key {
            true => vec!["--key_file".into(), self.key_file().display().to_string()],
            false => vec!["--insecure".into()],
        }
    }

    /// What the replicas' hosts have sent so far. On one host that is everything, the clients'
    /// share included, and with relays each datagram between replicas twice.
    pub fn sent(&self) -> Result<Sent, String> {
        self.hosts.iter().try_fold(Sent::default(), |sum, host| {
            let sent = host.sent(self.interface())?;
            Ok(Sent { bytes: sum.bytes + sent.bytes, packets: sum.packets + sent.packets })
        })
    }

    /// How many packets the buckets have dropped so far.
    pub fn dropped(&self) -> Result<u64, String> {
        if self.world.bucket.is_none() {
            return Ok(0);
        }
        self.hosts.iter().try_fold(0, |sum, host| Ok(sum + host.dropped(self.interface())?))
    }

    fn interface(&self) -> &'static str {
        match self.world.ground {
            Ground::OneHost => "lo",
            Ground::Hosts(_) => "eth0",
        }
    }

    fn host(&self, id: usize) -> &Namespace {
        match self.world.ground {
            Ground::OneHost => &self.hosts[0],
            Ground::Hosts(_) => &self.hosts[id],
        }
    }

    /// Joins the hosts to a switch.
    fn wire(&mut self, mtu: Mtu) -> Result<(), String> {
        let switch = Namespace::new()?;
        switch.run("ip", &["link", "add", "switch", "type", "bridge"])?;
        let at = |last: u8| format!("10.77.0.{last}/24");
        switch.run("ip", &["addr", "add", &at(SWITCH_AT), "dev", "switch"])?;
        switch.run("ip", &["link", "set", "switch", "up"])?;
        for number in 0..=self.world.replicas {
            let host = Namespace::new()?;
            let port = format!("port{number}");
            let pid = host.pid().to_string();
            let pair =
                ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid];
            switch.run("ip", &pair)?;
            match mtu {
                Mtu::Usual => {}
                Mtu::WithoutFragments(bytes) => {
                    host.run("ip", &["link", "set", "eth0", "mtu", &bytes.to_string()])?;
                    switch.run("ip", &["link", "set", &port, "mtu", &bytes.to_string()])?;
                    // The upper bound may not be below the lower one.
                    host.set(FRAGMENTS_LEAST, "0")?;
                    host.set(FRAGMENTS_MOST, "0")?;
                }
                Mtu::OfTheSwitch(bytes) => {
                    switch.run("ip", &["link", "set", &port, "mtu", &bytes.to_string()])?;
                }
            }
            switch.run("ip", &["link", "set", &port, "master", "switch", "up"])?;
            let last = if number < self.world.replicas { number as u8 + 1 } else { CLIENTS_AT };
            host.run("ip", &["addr", "add", &at(last), "dev", "eth0"])?;
            host.run("ip", &["link", "set", "eth0", "up"])?;
            if number < self.world.replicas {
                self.hosts.push(host);
            } else {
                self.client_host = Some(host);
            }
        }
        if self.world.clients == ClientsAt::OwnSwitch {
            self.wire_clients_apart(&switch)?;
        }
        self.switch = Some(switch);
        Ok(())
    }

    /// Joins the clients to each replica by a second switch. Addresses stay as they are.
    fn wire_clients_apart(&self, switch: &Namespace) -> Result<(), String> {
        switch.run("ip", &["link", "add", "apart", "type", "bridge"])?;
        switch.run("ip", &["link", "set", "apart", "up"])?;
        for (number, host) in (0..).zip(self.hosts.iter().chain(&self.client_host)) {
            let port = format!("apart{number}");
            let pid = host.pid().to_string();
            let pair =
                ["link", "add", &port, "type", "veth", "peer", "name", "eth1", "netns", &pid];
            switch.run("ip", &pair)?;
            switch.run("ip", &["link", "set", &port, "master", "apart", "up"])?;
            host.run("ip", &["link", "set", "eth1", "up"])?;
            let own = if number < self.world.replicas { number as u8 + 1 } else { CLIENTS_AT };
            let others: Vec<u8> = if number < self.world.replicas {
                vec![CLIENTS_AT]
            } else {
                (1..=self.world.replicas as u8).collect()
            };
            for other in others {
                // A route to one address goes before that of the network.
                let (to, from) = (format!("10.77.0.{other}/32"), format!("10.77.0.{own}"));
                host.run("ip", &["route", "add", &to, "dev", "eth1", "src", &from])?;
            }
        }
        Ok(())
    }

    fn relays(&mut self, path: Path, seed: u64) -> Result<(), String> {
        self.switch.as_ref().unwrap_or(&self.hosts[0]).enter()?;
        for (from, to) in self.directions() {
            let at = self.relay_address(from, to);
            let relay = UdpSocket::bind(at)
                .and_then(|socket| {
                    let seed = seed + (from * self.world.replicas + to) as u64;
                    Relay::start(socket, self.replica_address(to), path, seed)
                })
                .map_err(|error| format!("cannot start a relay at {at}: {error}"))?;
            self.relays.push(relay);
        }
        Ok(())
    }

    /// Each replica and each other one.
    fn directions(&self) -> Vec<(usize, usize)> {
        let ids = 0..self.world.replicas;
        let all = ids.clone().flat_map(|from| ids.clone().map(move |to| (from, to)));
        all.filter(|(from, to)| from != to).collect()
    }

    fn replica_address(&self, id: usize) -> SocketAddr {
        let address = match self.world.ground {
            Ground::OneHost => Ipv4Addr::LOCALHOST,
            Ground::Hosts(_) => Ipv4Addr::new(10, 77, 0, id as u8 + 1),
        };
        (address, REPLICA_PORT + id as u16).into()
    }

    fn relay_address(&self, from: usize, to: usize) -> SocketAddr {
        let address = match self.world.ground {
            Ground::OneHost => Ipv4Addr::LOCALHOST,
            Ground::Hosts(_) => Ipv4Addr::new(10, 77, 0, SWITCH_AT),
        };
        (address, RELAY_PORT + 10 * from as u16 + to as u16).into()
    }

    fn write_config(&self, of: Option<usize>) -> Result<(), String> {
        let line = |id: usize| {
            let address = match of {
                Some(from) if from != id && self.world.path.is_some() => {
                    self.relay_address(from, id)
                }
                _ => self.replica_address(id),
            };
            format!("{} {}\n", address.ip(), address.port())
        };
        let text: String = (0..self.world.replicas).map(line).collect();
        let path = self.config(of);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

/// Limits what leaves an interface.
fn shape(host: &Namespace, interface: &str, bucket: Bucket) -> Result<(), String> {
    let burst = (bucket.bytes_per_s() * BUCKET_MS / 1_000).max(BUCKET_BYTES_MIN);
    let burst = burst.to_string();
    let rate = format!("{}kbit", bucket.kbit);
    let latency = format!("{}ms", bucket.queue_ms);
    let args = ["qdisc", "add", "dev", interface, "root", "tbf", "rate", &rate, "burst"];
    let args = [&args[..], &[&burst, "latency", &latency]].concat();
    host.run("tc", &args).map(drop)
}
