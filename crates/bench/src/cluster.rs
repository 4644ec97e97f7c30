//! The cluster under load: replica processes on free ports of this host.
//!
//! All its files are in one folder. The user names the folder, or it is a temporary one below
//! the current folder, removed when the cluster is dropped. Replicas are the driver's
//! [`Process`]: dropping one kills it, and they end when this process does.

use super::cores::Cores;
use super::lines::{self, Told};
use super::usage::{Usage, disk_kib};
use command_line::Percent;
use driver::folder::Folder;
use driver::process::{Interrupts, Process, Start, ending};
use multipaxos::config::cause;
use multipaxos::runtime::layout::Layout;
use multipaxos::storage::Durability;
use seeds::derive_seed;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The time between two looks at children, their stderr and files, and signals. No single event
/// announces all of these. Latency is measured elsewhere.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// The time in which replicas must warm up, and in which they must end.
const GRACE: Duration = Duration::from_secs(20);

/// Logs are quiet when they are equal and do not change for this long.
const QUIET: Duration = Duration::from_millis(200);

/// The longest time that logs may be unequal without changing.
const STILL: Duration = Duration::from_secs(20);

/// The magic number of tmpfs (statfs(2)).
const TMPFS: i128 = 0x0102_1994;

/// The parts of a cluster.
#[derive(Debug, Clone)]
pub(super) struct ClusterOptions {
    pub(super) f: usize,
    pub(super) durability: Durability,
    pub(super) layout: Layout,
    pub(super) loss: Percent,
    /// The longest datagram, in bytes.
    pub(super) datagram_max: usize,
    /// Whether the kernel may be given several datagrams in one call.
    pub(super) offload: bool,
    /// The file with the cluster's key, if it has one.
    pub(super) key_file: Option<PathBuf>,
    /// Whether the replicas write traces.
    pub(super) trace: bool,
    pub(super) seed: u64,
    pub(super) unpinned: bool,
    pub(super) log_dir: Option<PathBuf>,
}

/// A folder that is removed when this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // A folder that cannot be removed does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) struct Cluster {
    options: ClusterOptions,
    pub(super) addresses: Vec<SocketAddr>,
    // This field comes before the folder, so that all replicas end before it is removed.
    replicas: Vec<Option<Process>>,
    /// How often each replica was started again.
    lives: Vec<u32>,
    folder: Folder,
    /// Shares of the cores: one for each replica in order, and one for this process.
    cores: Option<Cores>,
    pub(super) on_tmpfs: bool,
    program: PathBuf,
    interrupts: Interrupts,
    _temporary: Option<Temporary>,
}

impl Cluster {
    /// Starts all replicas and waits until they have warmed up.
    pub(super) fn start(
        options: ClusterOptions,
        interrupts: Interrupts,
    ) -> Result<Cluster, String> {
        let (below, temporary) = match &options.log_dir {
            Some(dir) => (dir.clone(), None),
            None => {
                let own = PathBuf::from(format!("bench-{}.tmp", std::process::id()));
                let cannot = |e: io::Error| format!("cannot make {}: {}", own.display(), cause(&e));
                fs::create_dir(&own).map_err(cannot)?;
                (own.clone(), Some(Temporary(own)))
            }
        };
        let folder = Folder::open(&below, "bench")?;
        folder.clear()?;
        let n = 2 * options.f + 1;
        let addresses = free_addresses(n).map_err(|e| format!("no free ports: {}", cause(&e)))?;
        let rows: Vec<String> =
            addresses.iter().map(|a| format!("{} {}\n", a.ip(), a.port())).collect();
        let config = folder.path("config.txt");
        let cannot = |e: io::Error| format!("cannot write {}: {}", config.display(), cause(&e));
        fs::write(&config, rows.concat()).map_err(cannot)?;
        let own = std::env::current_exe()
            .map_err(|e| format!("cannot find the path of bench: {}", cause(&e)))?;
        let program = own.with_file_name("replica");
        if !program.is_file() {
            let program = program.display();
            return Err(format!("{program} is missing: `cargo build` puts it beside bench"));
        }
        let on_tmpfs = rustix::fs::statfs(&below).is_ok_and(|fs| i128::from(fs.f_type) == TMPFS);
        let cores = match options.unpinned {
            true => None,
            false => Some(Cores::for_processes(n + 1).map_err(no_cores)?),
        };
        let mut cluster = Cluster {
            options,
            addresses,
            replicas: (0..n).map(|_| None).collect(),
            lives: vec![0; n],
            folder,
            cores,
            on_tmpfs,
            program,
            interrupts,
            _temporary: temporary,
        };
        (0..n).try_for_each(|id| cluster.spawn(id))?;
        let began = Instant::now();
        while !(0..n).all(|id| cluster.is_warm(id)) {
            cluster.look()?;
            if began.elapsed() > GRACE {
                return Err("the replicas do not warm up".into());
            }
            // No single event announces a line on a stderr, a child's end and a signal.
            thread::sleep(LOOK);
        }
        Ok(cluster)
    }

    pub(super) fn n(&self) -> usize {
        self.addresses.len()
    }

    /// Starts a replica for the first time, or again.
    pub(super) fn spawn(&mut self, id: usize) -> Result<(), String> {
        let seed = derive_seed(self.options.seed, &format!("replica {id}"));
        let options = [
            ("f", self.options.f.to_string()),
            ("config_path", self.folder.path("config.txt").display().to_string()),
            ("log_dir", self.folder.as_arg()),
            ("replica_id", id.to_string()),
            ("msg_loss", self.options.loss.to_string()),
            ("rand_seed", seed.to_string()),
            ("durability", self.options.durability.to_string()),
            ("threads", self.options.layout.to_string()),
            ("datagram_max", self.options.datagram_max.to_string()),
        ];
        let mut args = vec!["--die_with_parent".to_owned()];
        if !self.options.offload {
            args.push("--no_offload".to_owned());
        }
        if let Some(file) = &self.options.key_file {
            args.extend(["--key_file".to_owned(), file.display().to_string()]);
        }
        if self.options.trace {
            let file = self.folder.path(&format!("replica{id}.trace"));
            args.extend(["--trace".to_owned(), file.display().to_string()]);
        }
        args.extend(options.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]));
        let start = Start { program: self.program.clone(), args, piped: false, aborts: false };
        // The stderr of a later life goes to a file of its own.
        let life = self.lives[id];
        self.lives[id] += 1;
        let err = match life {
            0 => format!("replica{id}.err"),
            _ => format!("replica{id}.again{life}.err"),
        };
        self.keep_to(id)?;
        let process = Process::spawn(format!("replica {id}"), &start, &self.folder, &err)?;
        self.keep_to(self.n())?;
        self.replicas[id] = Some(process);
        Ok(())
    }

    fn keep_to(&self, process: usize) -> Result<(), String> {
        self.cores.as_ref().map_or(Ok(()), |cores| cores.keep_to(process)).map_err(no_cores)
    }

    /// Ends a replica with SIGKILL.
    pub(super) fn kill(&mut self, id: usize) {
        self.replicas[id] = None;
    }

    /// Whether the replica's present life has warmed up.
    pub(super) fn is_warm(&mut self, id: usize) -> bool {
        self.replicas[id].as_mut().is_some_and(|process| {
            process.tail.poll();
            process.tail.warm
        })
    }

    /// Fails if a signal has come, or if a replica has ended by itself.
    pub(super) fn look(&mut self) -> Result<(), String> {
        if let Some(signal) = self.interrupts.noted() {
            return Err(format!("interrupted by {signal}"));
        }
        for process in self.replicas.iter_mut().flatten() {
            if let Some(status) = process.ended() {
                let words = process.last_words();
                return Err(format!("{} has ended: {}; {words}", process.name, ending(status)));
            }
        }
        Ok(())
    }

    /// The resources that the replica has used; nothing if it is down.
    pub(super) fn usage(&self, id: usize) -> Usage {
        self.replicas[id].as_ref().map_or_else(Usage::default, |process| Usage::of(process.id()))
    }

    /// The size of the data directory in KiB: the acceptor's segments, and all else.
    pub(super) fn disk_kib(&self, id: usize) -> (u64, u64) {
        disk_kib(Path::new(&self.folder.path(&format!("replica{id}"))))
    }

    pub(super) fn log_bytes(&self, id: usize) -> u64 {
        fs::metadata(self.folder.chat_log(id)).map_or(0, |metadata| metadata.len())
    }

    /// Waits until all logs are equally long and quiet. Returns the time until they first were
    /// equal.
    pub(super) fn settle(&mut self) -> Result<Duration, String> {
        let began = Instant::now();
        let (mut last, mut changed_at) = (Vec::new(), began);
        loop {
            self.look()?;
            let lengths: Vec<u64> = (0..self.n()).map(|id| self.log_bytes(id)).collect();
            if lengths != last {
                (last, changed_at) = (lengths, Instant::now());
            }
            let equal = last.iter().all(|length| *length == last[0]);
            let still = changed_at.elapsed();
            if equal && still >= QUIET {
                return Ok(changed_at - began);
            }
            if still >= STILL {
                let seconds = STILL.as_secs();
                return Err(format!(
                    "the logs have not changed for {seconds} s, and have {last:?} bytes"
                ));
            }
            // A file that grows wakes nobody. QUIET is twenty such pauses.
            thread::sleep(LOOK);
        }
    }

    /// Ends the replicas and judges their logs. `told` has one row for each client id.
    pub(super) fn end_and_judge(
        &mut self,
        size: usize,
        told: &[Told],
    ) -> Result<lines::Summary, String> {
        self.replicas.iter_mut().flatten().for_each(Process::terminate);
        let began = Instant::now();
        for process in self.replicas.iter_mut().flatten() {
            while process.ended().is_none() && began.elapsed() < GRACE {
                // The standard library cannot wait for a child with a time limit.
                thread::sleep(LOOK);
            }
            match process.ended() {
                Some(status) if status.success() => {}
                Some(status) => {
                    let words = process.last_words();
                    return Err(format!("{}: {}; {words}", process.name, ending(status)));
                }
                None => {
                    // Its last words say whether the replica waits for the disk.
                    let words = process.last_words();
                    return Err(format!("{} does not end; {words}", process.name));
                }
            }
        }
        let logs: Vec<PathBuf> = (0..self.n()).map(|id| self.folder.chat_log(id)).collect();
        lines::judge(&logs, size, told)
    }
}

fn no_cores(error: io::Error) -> String {
    format!("cannot choose cores: {}; --unpinned leaves them to the system", cause(&error))
}

/// Loopback addresses that were free a moment ago.
fn free_addresses(n: usize) -> io::Result<Vec<SocketAddr>> {
    let bound: io::Result<Vec<UdpSocket>> =
        (0..n).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    bound?.iter().map(UdpSocket::local_addr).collect()
}
