//! Runs one replica of a cluster.

// The comments of the options are the text of the help, where `<N>` is no tag.
#![allow(rustdoc::invalid_html_tags)]

use argh::{ArgsInfo, FromArgs};
use command_line::ending::{Ending, end_on_panic, fail};
use command_line::help::Group;
use command_line::{
    Bounded, EXIT_FAILED, LogLevel, Percent, init_logging, parse_args, usage_error,
};
use log::LevelFilter;
use multipaxos::config::{ClusterFile, F_MAX, cause};
use multipaxos::machine::Host;
use multipaxos::net::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::check::{self, Verdict};
use multipaxos::runtime::durable::StartError;
use multipaxos::runtime::layout::Layout;
use multipaxos::runtime::names::{NoAddresses, first_addresses};
use multipaxos::runtime::replica::{ReplicaOptions, run};
use multipaxos::runtime::trust::{self, Trust};
use multipaxos::storage::Durability;
use multipaxos::types::{REPLICAS_MAX, ReplicaId, Slot};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::exit;
use std::str::FromStr;

/// Runs one replica of the chat log until SIGINT or SIGTERM ends it. It warms up with the
/// other replicas, and writes what they agree on to learner<N>.txt in the log directory,
/// where N is its id. Run as many as the configuration lists, on this host or on others.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "The three replicas of configs/three.txt, each in a terminal of its own:\n  \
        {command_name} --config_path configs/three.txt --replica_id 0\n  \
        {command_name} --config_path configs/three.txt --replica_id 1\n  \
        {command_name} --config_path configs/three.txt --replica_id 2",
    example = "The first of the five in configs/config.txt, losing a tenth of what it sends:\n  \
        {command_name} --replica_id 0 --msg_loss 10",
    example = "Whether a replica would work on this host:\n  \
        {command_name} --config_path configs/three.txt --replica_id 0 --check",
    error_code(0, "a signal ended it"),
    error_code(1, "it cannot go on: a port in use, a full disk; or --check has found something"),
    error_code(64, "bad usage, configuration or data directory")
)]
struct Options {
    /// which replica this is: its line in the configuration, from 0; required unless a
    /// key is to be made (default: none)
    #[argh(option, arg_name = "N")]
    replica_id: Option<Bounded<0, { REPLICAS_MAX as u64 - 1 }>>,
    /// how many replicas may fail; the configuration must list 2f+1 (default: counted from
    /// the configuration)
    #[argh(option, arg_name = "N")]
    f: Option<Bounded<0, { F_MAX as u64 }>>,
    /// the configuration: one "ip port" pair a line; the line's number, from 0, is the
    /// replica's id (default configs/config.txt)
    #[argh(option, arg_name = "FILE", default = "PathBuf::from(\"configs/config.txt\")")]
    config_path: PathBuf,
    /// the key of the cluster, which its replicas and clients must have; without one everybody
    /// who reaches them can write, so all addresses must be loopback addresses (default: none)
    #[argh(option, arg_name = "FILE")]
    key_file: Option<PathBuf>,
    /// take addresses that others reach although there is no key: everybody can write
    #[argh(switch)]
    insecure: bool,
    /// run nothing, and make a new key for a cluster, in this file (default: none)
    #[argh(option, arg_name = "FILE")]
    make_key: Option<PathBuf>,
    /// run nothing, and make a key for clients out of that in --key_file, in this file: it can do
    /// what clients can, and not what replicas can (default: none)
    #[argh(option, arg_name = "FILE")]
    make_client_key: Option<PathBuf>,
    /// the folder for the chat log (default logs)
    #[argh(option, arg_name = "DIR", default = "PathBuf::from(\"logs\")")]
    log_dir: PathBuf,
    /// the folder for all that the replica must remember to restart (default: replica<N> in
    /// the log directory)
    #[argh(option, arg_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// write metrics for Prometheus there every few seconds, in the text format that the
    /// textfile collector of its node exporter reads (default: none)
    #[argh(option, arg_name = "FILE")]
    metrics_file: Option<PathBuf>,
    /// serve metrics for Prometheus at this port of the loopback address, or at this address and
    /// port, as in 10.0.0.5:9464; the path is /metrics (default: nowhere)
    #[argh(option, arg_name = "ADDR")]
    metrics_address: Option<MetricsAddress>,
    /// write down there what each role gets and does, for the program trace; a full file goes to
    /// FILE.1 (default: none)
    #[argh(option, arg_name = "FILE")]
    trace: Option<PathBuf>,
    /// begin a new cluster with the lines of this chat log, which is what is left of a former
    /// one; all replicas must be given the same file, and empty folders (default: a new cluster
    /// begins empty)
    #[argh(option, arg_name = "FILE")]
    begin_from: Option<PathBuf>,
    /// put a fresh data directory in the place of one that this replica has lost: it follows, and
    /// once it has caught up it asks for its vote back; not while the lost one's process still runs
    #[argh(switch)]
    rejoin: bool,
    /// follow the log and never vote: no --admin makes this replica a member
    #[argh(switch)]
    observer: bool,
    /// when the replica may send a vote: sync, once it is on the disk; os, once the operating
    /// system has it, so that a power cut may lose it; none, at once, so that a replica that
    /// restarts counts as wiped (default sync)
    #[argh(option, arg_name = "MODE", default = "Durability::Sync")]
    durability: Durability,
    /// on which threads the roles run: per-role, each on its own; one, in turn on the network
    /// thread, but with --durability sync the acceptor on its own (default per-role)
    #[argh(option, arg_name = "LAYOUT", default = "Layout::default()")]
    threads: Layout,
    /// percent of its datagrams that this process drops instead of sending them, 0 to 100
    /// (default 0)
    #[argh(option, arg_name = "PERCENT", default = "Percent::NONE")]
    msg_loss: Percent,
    /// the slot in which the initial primary, replica 0, never proposes (default: it skips
    /// none)
    #[argh(option, arg_name = "SLOT")]
    skip_slot: Option<Bounded<0, { u64::MAX }>>,
    /// seeds the losses and the timeouts (default 591)
    #[argh(option, arg_name = "N", default = "Bounded(591)")]
    rand_seed: Bounded<0, { u64::MAX }>,
    /// the time between two heartbeats of a leader, in milliseconds (default 50)
    #[argh(option, arg_name = "MS", default = "Bounded(50)")]
    heartbeat_ms: Bounded<1, 60_000>,
    /// how long a leader may be silent before this replica tries to replace it, in
    /// milliseconds; each wait is drawn between the two bounds (default 300-600)
    #[argh(option, arg_name = "MIN-MAX", default = "ElectionMs(300, 600)")]
    election_ms: ElectionMs,
    /// the longest datagram to send; a path that carries less is found out (default 1400)
    #[argh(option, arg_name = "BYTES", default = "Bounded(DATAGRAM_BYTES_DEFAULT as u64)")]
    datagram_max: Bounded<{ DATAGRAM_BYTES_MIN as u64 }, { DATAGRAM_BYTES_MAX as u64 }>,
    /// send and receive one datagram a system call, where the kernel or the network card says
    /// that it has sent several and has not
    #[argh(switch)]
    no_offload: bool,
    /// start nothing, and check whether the replica would work here: names, ports, directories,
    /// the disk, the network, the others; exit code 1 if something must be done first
    #[argh(switch)]
    check: bool,
    /// with --check: one JSON object instead of a table
    #[argh(switch)]
    json: bool,
    /// what goes to stderr: off, error, warn, info, debug or trace (default info)
    #[argh(option, arg_name = "LEVEL", default = "LogLevel(LevelFilter::Info)")]
    log_level: LogLevel,
    /// abort once this many accepts have left (fault injection)
    #[argh(option, arg_name = "N", hidden_help)]
    crash_after_accepts: Option<Bounded<1, { u32::MAX as u64 }>>,
    /// end when the parent process does
    #[argh(switch, hidden_help)]
    die_with_parent: bool,
}

const GROUPS: &[Group] = &[
    ("The cluster", "replica_id"),
    ("Keys", "key_file"),
    ("Files", "log_dir"),
    ("Faults", "msg_loss"),
    ("Timing and network", "heartbeat_ms"),
];

/// Two bounds in milliseconds: `300-600`. One number is the lower bound; the upper is
/// twice as long.
#[derive(Clone, Copy)]
struct ElectionMs(u64, u64);

impl FromStr for ElectionMs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not a span like 300-600, in milliseconds from 1 to 1200000".to_string();
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let (min, max) = match text.split_once(['-', '–']) {
            Some((min, max)) => (number(min)?, number(max)?),
            None => (number(text)?, number(text)?.saturating_mul(2)),
        };
        if min == 0 || min > max || max > 1_200_000 { Err(wrong()) } else { Ok(Self(min, max)) }
    }
}

/// A port, of the loopback address unless another one stands in front: `9464`, `10.0.0.5:9464`.
struct MetricsAddress(SocketAddr);

impl FromStr for MetricsAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.parse().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let at = port.or_else(|_| text.parse()).ok().filter(|at: &SocketAddr| at.port() > 0);
        at.map(MetricsAddress).ok_or("not a port like 9464 or an address like 10.0.0.5:9464")
    }
}

/// Checks whether the replica would work here. Returns the exit code.
fn check(
    options: &Options,
    id: ReplicaId,
    trust: Trust,
    file: ClusterFile,
    ending: &Ending,
) -> i32 {
    let subject = check::Subject {
        id,
        file,
        log_dir: options.log_dir.clone(),
        data_dir: data_dir(options, id),
        metrics_address: options.metrics_address.as_ref().map(|MetricsAddress(at)| *at),
        election_max_us: options.election_ms.1 * 1_000,
        datagram_bytes: options.datagram_max.0 as usize,
        offload: !options.no_offload,
        trust,
    };
    let Some(rows) = check::run(&subject, ending) else { return EXIT_FAILED };
    let shown = if options.json { check::json(&rows) } else { check::table(&rows) };
    // A reader that has closed stdout wants the exit code alone.
    let _ = io::stdout().write_all(shown.as_bytes()).and_then(|()| io::stdout().flush());
    if check::worst(&rows) == Verdict::Bad { EXIT_FAILED } else { 0 }
}

/// The folder for all that is durable but the chat log.
fn data_dir(options: &Options, id: ReplicaId) -> PathBuf {
    let own = || options.log_dir.join(format!("replica{id}"));
    options.data_dir.clone().unwrap_or_else(own)
}

/// Makes the keys that the user wants instead of a replica, and ends.
fn make_keys(options: &Options) {
    let made = match (&options.make_key, &options.make_client_key, &options.key_file) {
        (None, None, _) => return,
        (Some(file), None, None) => trust::make_key(file),
        (Some(_), _, _) => usage_error("--make_key: not with --make_client_key or --key_file"),
        (None, Some(_), None) => usage_error("--make_client_key: of which key? (--key_file)"),
        (None, Some(file), Some(cluster)) => trust::make_client_key(cluster, file),
    };
    match made {
        Ok(()) => exit(0),
        Err(refused) => usage_error(refused),
    }
}

fn main() {
    let options: Options = parse_args("replica", GROUPS);
    init_logging(options.log_level.0);
    end_on_panic();
    make_keys(&options);
    let Some(id) = &options.replica_id else {
        usage_error("--replica_id: required, and not given")
    };
    let f = options.f.map(|f| f.0 as usize);
    let id = id.0 as u8;
    let file = ClusterFile::read(&options.config_path, f, Some(usize::from(id)));
    let file = file.unwrap_or_else(|error| usage_error(error));
    if usize::from(id) >= file.hosts().len() {
        let (file, last) = (options.config_path.display(), file.hosts().len() - 1);
        usage_error(format!("--replica_id {id}: {file} lists the ids 0 to {last}"));
    }
    if options.observer && options.rejoin {
        usage_error("--observer: not with --rejoin, which asks for a vote");
    }
    if options.observer && usize::from(id) < file.n() {
        let at = file.place(usize::from(id));
        usage_error(format!(
            "--observer: {at} gives replica {id} a vote from the beginning: put the word \
             \"observer\" behind its port, or list it behind the {} replicas that vote",
            file.n()
        ));
    }
    let election = options.election_ms;
    if election.0 < 2 * options.heartbeat_ms.0 {
        let (election, heartbeat) = (election.0, options.heartbeat_ms.0);
        usage_error(format!(
            "--election_ms {election}: shorter than two heartbeats (--heartbeat_ms {heartbeat})"
        ));
    }
    let trust = Trust::of_options(options.key_file.as_deref(), options.insecure);
    let trust = trust.unwrap_or_else(|refused| usage_error(refused));
    let ending = Ending::watch(options.die_with_parent).unwrap_or_else(|error| fail(error));
    if options.check {
        exit(check(&options, ReplicaId(id), trust, file, &ending));
    }
    if options.json {
        usage_error("--json: only with --check");
    }
    let config = match first_addresses(&file, &ending, None) {
        Ok(config) => config,
        Err(NoAddresses::Ends | NoAddresses::TimedOut) => exit(0),
        Err(NoAddresses::Config(error)) => usage_error(error),
        Err(NoAddresses::Other(error)) => fail(error),
    };
    let keys = trust.replica_keys(&config).unwrap_or_else(|refused| usage_error(refused));
    for loopback in config.loopbacks_among_others() {
        log::warn!(
            "{}:{}: {} is the loopback address {}, which other hosts do not reach: list an \
             address of the host's network, or 0.0.0.0 as a replica's own line",
            options.config_path.display(),
            loopback.line,
            loopback.host,
            loopback.address.ip()
        );
    }
    let data_dir = data_dir(&options, ReplicaId(id));
    let data_option = if options.data_dir.is_some() { "--data_dir" } else { "--log_dir" };
    let data_dir_named = data_dir.display().to_string();
    let ran = run(ReplicaOptions {
        id: ReplicaId(id),
        config,
        names: Some(file),
        keys,
        host: Host::CHAT,
        log_dir: options.log_dir,
        data_dir,
        begin_from: options.begin_from,
        rejoin: options.rejoin,
        observer: options.observer,
        durability: options.durability,
        layout: options.threads,
        skip_slot: options.skip_slot.map(|slot| Slot(slot.0)),
        loss: options.msg_loss.probability(),
        seed: options.rand_seed.0,
        datagram_bytes: options.datagram_max.0 as usize,
        offload: !options.no_offload,
        heartbeat_us: options.heartbeat_ms.0 * 1_000,
        election_us: (election.0 * 1_000, election.1 * 1_000),
        metrics_file: options.metrics_file.clone(),
        metrics_address: options.metrics_address.map(|MetricsAddress(at)| at),
        trace: options.trace.clone(),
        crash_after_accepts: options.crash_after_accepts.map(|accepts| accepts.0 as u32),
        tells_supervisor: true,
        die_with_parent: options.die_with_parent,
    });
    match ran {
        Ok(()) => exit(0),
        Err(StartError::LogDir(error)) => usage_error(format!("--log_dir {}", cause(&error))),
        Err(StartError::MetricsFile(error)) => {
            let file = options.metrics_file.unwrap_or_default();
            usage_error(format!("--metrics_file {}: {error}", file.display()))
        }
        Err(StartError::TraceFile(error)) => {
            let file = options.trace.unwrap_or_default();
            usage_error(format!("--trace {}: {}", file.display(), cause(&error)))
        }
        Err(StartError::DataDir(error)) => usage_error(format!("{data_option} {}", cause(&error))),
        Err(StartError::Foreign(refused)) => {
            usage_error(format!("--data_dir {data_dir_named}: {refused}"))
        }
        Err(StartError::Durability(why)) => usage_error(format!("--durability os: {why}")),
        Err(StartError::Beginning(said)) => usage_error(said),
        Err(StartError::Unusable(error)) => fail(error),
        Err(StartError::Other(error)) => fail(error),
    }
}
